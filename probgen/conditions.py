"""What `given` asks of a draw: known values, intervals and sets of categories, feature by feature."""

from dataclasses import dataclass, field
from numbers import Integral, Real

import numpy as np


@dataclass(frozen=True)
class Conditions:
    """Conditions on n rows of d features, checked and broadcast.

    Attributes
    ----------
    values : ndarray of shape (n, d)
        Known values, NaN where the model is to draw.
    low, high : ndarray of shape (n, d)
        Bounds of the features to draw, -inf and inf where open; meaningless where a value is known.
    categories : dict of int to ndarray
        Allowed categories by feature index.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    categories: dict = field(default_factory=dict)

    @property
    def has_intervals(self):
        """Whether any feature is bounded."""
        return bool(np.isfinite(self.low).any() or np.isfinite(self.high).any())


def parse_given(given, *, n_samples, n_features, feature_names=None):
    """Return the Conditions that given states.

    Parameters
    ----------
    given : array-like or dict
        An array of shape (n_features,) or (n_samples, n_features) with NaN where the model is to draw; or a dict by
        feature name or index, whose entries are a number or an array of n_samples numbers (values), a pair
        (low, high) as a tuple with None or an infinity for an open end and numbers or arrays of n_samples (an
        interval), or a set (categories).
    n_samples, n_features : int
        Shape of the draw.
    feature_names : sequence of str, optional
        Names by which a dict may refer to the features.

    Raises
    ------
    ValueError
        If a feature is unknown, a shape does not fit, a value is not finite or an interval is empty.
    """
    shape = (n_samples, n_features)
    values = np.full(shape, np.nan)
    low, high = np.full(shape, -np.inf), np.full(shape, np.inf)
    categories = {}
    if not isinstance(given, dict):
        values[:] = _given_array(given, shape, feature_names)
        return Conditions(values, low, high)
    named = set()
    for key, condition in given.items():
        j = _feature_index(key, n_features, feature_names)
        if j in named:
            raise ValueError(f"given names feature {key!r} twice, by name and by index; give each feature once.")
        named.add(j)
        if isinstance(condition, (set, frozenset)):
            if not condition:
                raise ValueError(f"given[{key!r}] must hold at least one category; got an empty set.")
            categories[j] = np.array(sorted(condition))
        elif isinstance(condition, tuple):
            low[:, j], high[:, j] = _interval(key, condition, n_samples)
        else:
            values[:, j] = _column(f"given[{key!r}]", condition, n_samples)
            if np.isinf(values[:, j]).any():
                raise ValueError(f"given[{key!r}] must be finite, or NaN to draw; got {condition!r}.")
    return Conditions(values, low, high, categories)


def _given_array(given, shape, feature_names):
    """Known values as an array that broadcasts to shape; a frame is read in the order of feature_names."""
    if hasattr(given, "columns") and feature_names is not None:
        unknown = [name for name in given.columns if name not in set(feature_names)]
        if unknown:
            raise ValueError(f"given has no such feature in the fitted model: {unknown[0]!r}; known: {list(feature_names)}.")
        known = {name: np.asarray(given[name], dtype=np.float64) for name in given.columns}
        missing = np.full(len(given), np.nan)
        given = np.column_stack([known.get(name, missing) for name in feature_names])
    try:
        array = np.asarray(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"given must be an array of numbers with NaN to draw, or a dict; got {given!r}.") from error
    if array.shape not in {shape, (1, shape[1]), (shape[1],)}:
        raise ValueError(
            f"given must have shape ({shape[1]},) or {shape}, one row for each of the n_samples={shape[0]} draws; "
            f"got {array.shape}."
        )
    if np.isinf(array).any():
        raise ValueError("given must be finite, or NaN where the model is to draw; got an infinity.")
    return array


def _feature_index(key, n_features, feature_names):
    if isinstance(key, str):
        if feature_names is None:
            raise ValueError(f"given names feature {key!r}, but the model was fitted without names; use its index.")
        matches = np.flatnonzero(np.asarray(feature_names, dtype=object) == key)
        if not len(matches):
            raise ValueError(f"given names feature {key!r}, which the model does not know; known: {list(feature_names)}.")
        return int(matches[0])
    if not isinstance(key, Integral) or isinstance(key, bool) or not -n_features <= key < n_features:
        raise ValueError(f"given must name features by name or by an index in [0, {n_features - 1}]; got {key!r}.")
    return int(key) % n_features


def _interval(key, condition, n_samples):
    if len(condition) != 2:
        raise ValueError(f"given[{key!r}] must be a value, a pair (low, high) or a set; got {condition!r}.")
    low = _column(f"given[{key!r}]", -np.inf if condition[0] is None else condition[0], n_samples)
    high = _column(f"given[{key!r}]", np.inf if condition[1] is None else condition[1], n_samples)
    if not np.all(low < high):
        raise ValueError(f"given[{key!r}] must be an interval with low < high; got {condition!r}.")
    return low, high


def _column(name, value, n_samples):
    if isinstance(value, Real) and not isinstance(value, bool):
        return np.full(n_samples, float(value))
    try:
        column = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} must hold numbers; got {value!r}.") from error
    if column.shape not in {(), (n_samples,)}:
        raise ValueError(f"{name} must be one number or n_samples={n_samples} of them; got shape {column.shape}.")
    return column
