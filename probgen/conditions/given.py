"""Conditions of `given`: known values, intervals and sets of categories, feature by feature."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

import numpy as np

from probgen._containers import read_container
from probgen._validation import show


@dataclass(frozen=True)
class Conditions:
    """Conditions on n rows of d features, checked and broadcast.

    Attributes
    ----------
    values : ndarray of shape (n, d)
        Known values, NaN where the model is to draw.
    low, high : ndarray of shape (n, d)
        Bounds of the features to draw, -inf and inf where open; open too where a value is known.
    categories : dict of int to ndarray
        Allowed categories by feature index.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    categories: dict[int, np.ndarray] = field(default_factory=dict)

    def take(self, rows: np.ndarray) -> "Conditions":
        """Return the conditions of some rows, an index or mask array."""
        return Conditions(self.values[rows], self.low[rows], self.high[rows], self.categories)

    def columns(self, indices: list[int]) -> "Conditions":
        """Return the conditions on some features, in the order of their indices."""
        categories = {k: self.categories[j] for k, j in enumerate(indices) if j in self.categories}
        values, low, high = (array[:, indices] for array in self.box)
        return Conditions(values, low, high, categories)

    @property
    def box(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, low and high."""
        return self.values, self.low, self.high

    @property
    def hull(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, low and high (n,) of a single feature, with the ends of a set for those open."""
        low, high = self.low[:, 0], self.high[:, 0]
        for categories in self.categories.values():
            present = categories[~np.isnan(categories)]
            if len(present):
                low, high = np.maximum(low, present.min()), np.minimum(high, present.max())
        return self.values[:, 0], low, high

    def hold(self, X: np.ndarray) -> np.ndarray:
        """Mask (n,) of rows (n, d) within all intervals and sets; values are not compared."""
        is_open = np.isneginf(self.low) & np.isposinf(self.high)
        holds = np.all(is_open | ((X >= self.low) & (X <= self.high)), axis=1)
        for j, categories in self.categories.items():
            is_gap = np.isnan(X[:, j]) & np.isnan(categories).any()
            holds &= is_gap | np.isin(X[:, j], categories)
        return holds


def parse_given(
    given: Any,
    *,
    n_samples: int,
    n_features: int,
    feature_names: Sequence[str] | np.ndarray | None = None,
) -> Conditions:
    """Return the Conditions of an argument `given`.

    Parameters
    ----------
    given : array-like or dict
        An array or frame of shape (n_features,), (1, n_features) or (n_samples, n_features) with
        NaN where the model is to draw, or a dict by feature name or index. An entry of the dict is
        a value, as a number or an array of n_samples numbers; an interval, as a tuple (low, high)
        of such, with None or an infinity for an open end; or a set of categories.
    n_samples, n_features : int
        Shape of the draw.
    feature_names : sequence of str, optional
        Names by which a dict or frame may refer to the features.

    Returns
    -------
    conditions : Conditions

    Raises
    ------
    ValueError
        If a feature is unknown, a shape does not fit, a value is not finite or an interval is
        empty.
    """
    shape = (n_samples, n_features)
    values = np.full(shape, np.nan)
    low = np.full(shape, -np.inf)
    high = np.full(shape, np.inf)
    categories = {}
    if hasattr(given, "columns") and feature_names is not None:
        given = {name: given[name] for name in given.columns}
    if not isinstance(given, dict):
        values[:] = _given_array(given, shape)
        return Conditions(values, low, high)
    named = set()
    for key, condition in given.items():
        j = feature_index(key, n_features, feature_names)
        name = f"given[{key!r}]"
        if j in named:
            raise ValueError(
                f"given names feature {key!r} twice, by name and by index; give each feature once."
            )
        named.add(j)
        if isinstance(condition, (set, frozenset)):
            categories[j] = _categories(name, condition)
        elif isinstance(condition, tuple):
            low[:, j], high[:, j] = _interval(name, condition, n_samples)
        else:
            values[:, j] = _column(name, condition, n_samples)
            if np.isinf(values[:, j]).any():
                raise ValueError(f"{name} must be finite, or NaN to draw; got {show(condition)}.")
    return Conditions(values, low, high, categories)


def _given_array(given: Any, shape: tuple[int, int]) -> np.ndarray:
    """Known values as an array that broadcasts to shape."""
    try:
        array = _floats(given)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"given must be an array of numbers with NaN to draw, or a dict; got {show(given)}."
        ) from error
    if array.shape not in {shape, (1, shape[1]), (shape[1],)}:
        raise ValueError(
            f"given must have shape ({shape[1]},) or {shape}, one row for each of the"
            f" n_samples={shape[0]} draws; got {array.shape}."
        )
    if np.isinf(array).any():
        raise ValueError(
            "given must be finite, or NaN where the model is to draw; got an infinity."
        )
    return array


def _floats(values: Any) -> np.ndarray:
    """Numbers as float64, with NaN where they are masked or missing, but no dates."""
    array = np.asarray(read_container(values, "given"))
    if array.dtype.kind in "cMm":
        raise TypeError(f"no numbers: {array.dtype}")
    return array.astype(np.float64, copy=False)


def feature_index(
    key: Any, n_features: int, feature_names: Sequence[str] | np.ndarray | None
) -> int:
    """Index in [0, n_features) of a feature's name or (possibly negative) index."""
    if isinstance(key, str):
        if feature_names is None:
            raise ValueError(
                f"given names feature {key!r}, but the model was fitted without names; use its"
                " index."
            )
        names = list(feature_names)
        if key not in names:
            raise ValueError(
                f"given names feature {key!r}, which the model does not know; known: {names}."
            )
        return names.index(key)
    if (
        not isinstance(key, Integral)
        or isinstance(key, bool)
        or not -n_features <= int(key) < n_features
    ):
        raise ValueError(
            f"given must name features by name or by an index in [0, {n_features - 1}]; got"
            f" {show(key)}."
        )
    return int(key) % n_features


def _categories(name: str, condition: Any) -> np.ndarray:
    """The categories of a set, sorted."""
    if not condition:
        raise ValueError(f"{name} must hold at least one category; got an empty set.")
    try:
        return np.array(sorted(condition))
    except TypeError as error:
        raise ValueError(
            f"{name} must hold categories of one type; got {show(condition)}."
        ) from error


def _interval(name: str, condition: tuple, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends, each of shape (n_samples,)."""
    if len(condition) != 2:
        raise ValueError(
            f"{name} must be a value, a pair (low, high) or a set; got {show(condition)}."
        )
    low, high = condition
    low = _column(name, -np.inf if low is None else low, n_samples)
    high = _column(name, np.inf if high is None else high, n_samples)
    if not np.all(low < high):
        raise ValueError(f"{name} must be an interval with low < high; got {show(condition)}.")
    return low, high


def _column(name: str, value: Any, n_samples: int) -> np.ndarray:
    """A number, or one for each row, as an array of shape (n_samples,)."""
    try:
        column = _floats(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{name} must be a number, an interval as a tuple (low, high) or a set; got"
            f" {show(value)}."
        ) from error
    if column.shape not in {(), (1,), (n_samples,)}:
        raise ValueError(
            f"{name} must be one number or n_samples={n_samples} of them, or an interval as a tuple"
            f" (low, high); got shape {column.shape}."
        )
    return np.broadcast_to(column, n_samples)


def representable(
    conditions: Conditions, dtype: np.dtype, argument: str
) -> tuple[np.ndarray, np.ndarray]:
    """The ends (n, d) of the intervals, rounded inwards to a dtype."""
    with np.errstate(over="ignore"):
        low = conditions.low.astype(dtype)
        high = conditions.high.astype(dtype)
    # Rounding to the nearest number may leave the interval; then the next one lies inside.
    low = np.where(low < conditions.low, np.nextafter(low, dtype.type(np.inf)), low)
    high = np.where(high > conditions.high, np.nextafter(high, dtype.type(-np.inf)), high)
    is_empty = (low > high) | (low == np.inf) | (high == -np.inf)
    if is_empty.any():
        i, j = np.argwhere(is_empty)[0]
        raise ValueError(
            f"{argument} must leave feature {j} a number of {dtype}, the precision of the model;"
            f" got the interval from {conditions.low[i, j]} to {conditions.high[i, j]}."
        )
    return low, high


def observed(X: np.ndarray) -> Conditions:
    """The Conditions that fix the values of rows (n, d) where they are not NaN."""
    open_ends = np.full(X.shape, np.inf)
    return Conditions(X.astype(np.float64), -open_ends, open_ends)
