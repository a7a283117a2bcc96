"""Tables of mixed columns as real numbers, for generators of real rows."""

import copy
from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from scipy.special import ndtri
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import (
    _check_feature_names,
    _check_n_features,
    check_is_fitted,
    validate_data,
)

from probgen._calls import GuardedCalls
from probgen._constants import LOG_2PI
from probgen._containers import check_unique_names, index_of, read_rows
from probgen._validation import RandomState, check_generator
from probgen.preprocessing.feature_maps import OutcomeMap, ValueMap
from probgen.preprocessing.jacobians import log_abs_det_jacobian
from probgen.preprocessing.steps import invert_step, table_of
from probgen.preprocessing.transformers import DequantizingStep, check_shifts, sobol_shifts
from probgen.tables.columns import (
    allowed_outcomes,
    features_of,
    join_features,
    log_fixed,
    split_codes,
)
from probgen.tables.frames import is_frame
from probgen.tables.table import Table


class TableEncoder(DequantizingStep, GuardedCalls, TransformerMixin, BaseEstimator):
    r"""Map the rows of a mixed table to real numbers, and back to the same table.

    Each column of a frame of pandas or polars gets a kind, from its dtype and its values: real,
    integer, category, ordered, boolean, datetime, duration or constant. A category becomes one real
    number: its levels are cells of the line, whose probabilities under the standard normal law are
    their shares of the rows, and noise spreads each row over its cell. A whole number gets noise
    within one unit. Values of a number that many rows share, such as the zeros of an income, are
    levels of an outcome of their own, beside the number for all other rows; so are gaps. The ends
    of the support of a number (0, if it is never negative) are mapped to infinity, so that no draw
    lies beyond them.

    `fit_transform`, which pipelines call on training rows, draws the noise; `transform` takes the
    middle of each cell. In a `GenerativePipeline`, `sample` and `given` speak of the columns of the
    frame, and `score_samples` is in nats on the measure of the table: densities of real numbers,
    probabilities of all else. With noise it is a lower bound, as of the `Dequantizer`.

    Parameters
    ----------
    kinds : dict or None, default=None
        Kinds by the names of columns, where they should not be inferred.
    missing : {"model", "marginalise"}, default="model"
        Whether gaps are outcomes with a probability, so that draws have gaps too, or stay NaN, for
        models that integrate them out.
    handle_unknown : {"level", "error"}, default="level"
        Whether categories that were not seen in `fit` share a level of their own, which scores them
        and is never drawn, or are refused.
    n_shifts : int, default=8
        Number of values of the noise that scoring averages over, a power of two.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the noise of `fit_transform` and the shifts.

    Attributes
    ----------
    columns_ : frame of shape (n_features_in_, 3)
        Name, kind and values of each column, in words.
    shifts_ : ndarray of shape (n_shifts, n_outputs)
        The noise that scoring averages over: Sobol points, rotated at random.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If the columns have names.

    Notes
    -----
    The noise of a row x is a density q(z | x) on the points that map back to x. By Jensen's
    inequality

    .. math:: \log P(x) = \log \int_{z \mapsto x} p(z) dz \ge E_q [\log p(z) - \log q(z | x)],

    and `log_abs_det_jacobian` returns -log q(z | x), and the logarithm of the slope for real
    numbers. A number that is an outcome leaves its second column to standard normal noise.

    References
    ----------
    D. Nielsen, P. Jaini, E. Hoogeboom, O. Winther, M. Welling, SurVAE flows: surjections to bridge
    the gap between VAEs and flows, 2020.

    Examples
    --------
    >>> import pandas as pd
    >>> from probgen import GaussianMixture, make_generative_pipeline
    >>> from probgen.tables import TableEncoder
    >>> frame = pd.DataFrame({"age": [31, 58, 46, 22] * 9, "job": ["a", "b", "b", "a"] * 9})
    >>> model = make_generative_pipeline(TableEncoder(random_state=0), GaussianMixture())
    >>> model.fit(frame).sample(2, given={"job": "a"}, random_state=0).dtypes.to_dict()
    {'age': dtype('int64'), 'job': <StringDtype(na_value=nan)>}
    """

    def __init__(
        self,
        *,
        kinds: Mapping | None = None,
        missing: str = "model",
        handle_unknown: str = "level",
        n_shifts: int = 8,
        random_state: RandomState = None,
    ) -> None:
        self.kinds = kinds
        self.missing = missing
        self.handle_unknown = handle_unknown
        self.n_shifts = n_shifts
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> Self:
        """Learn the kinds of the columns, and their levels, shares and scales.

        Parameters
        ----------
        X : frame or array-like of shape (n, n_features)
            An array must hold numbers, and NaN for gaps.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : TableEncoder

        Raises
        ------
        ValueError
            If a column is of no kind: without any value, of several types, or free text.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit, and return X as real numbers with independent noise.

        Parameters
        ----------
        X : frame or array-like of shape (n, n_features)
        y : object, default=None
            Ignored.

        Returns
        -------
        Z : ndarray or frame of shape (n, n_outputs)
            A frame after `set_output`.
        """
        codes, generator = self._fit(X)
        features = split_codes(self._table.columns, codes)
        return self._place(features, generator.random(features.shape))

    def transform(self, X: Any) -> Any:
        """Return X as real numbers, the middles of cells where columns are discrete.

        Parameters
        ----------
        X : frame or array-like of shape (n, n_features)
            With the columns of `fit`.

        Returns
        -------
        Z : ndarray or frame of shape (n, n_outputs)
            A frame after `set_output`.

        Raises
        ------
        ValueError
            If the columns are others, or a value is none that its column can have.
        """
        check_is_fitted(self)
        return self._place(split_codes(self._table.columns, self._encode(X)), self._offset)

    def inverse_transform(self, X: Any) -> Any:
        """Return the rows of the table that real numbers stand for.

        Parameters
        ----------
        X : array-like of shape (n, n_outputs)

        Returns
        -------
        rows : frame or ndarray of shape (n, n_features_in_)
            As the fitted ones, in names, dtypes and categories; for pandas with the index of X.
        """
        check_is_fitted(self)
        Z = check_array(read_rows(X), dtype=np.float64, ensure_all_finite="allow-nan")
        return self._table.decode(self.codes(Z), index_of(X))

    def codes(self, Z: np.ndarray) -> np.ndarray:
        """Return the codes (n, n_features) of the rows that real numbers (n, n_outputs) stand for.

        Numbers that hardly any training row had are drawn, with the numbers themselves as seed.
        """
        features = np.empty(Z.shape)
        for k, each in enumerate(self._maps):
            features[:, k] = each.inverse(Z[:, k])
        seed = np.ascontiguousarray(Z[:1000]).view(np.uint32).ravel()
        return join_features(self._table.columns, features, np.random.default_rng(seed))

    def at_shift(self, index: int) -> "TableEncoder":
        """Return a copy whose `transform` uses one of the shifts in place of the middles.

        Parameters
        ----------
        index : int
            Row of `shifts_`.

        Returns
        -------
        encoder : TableEncoder
            Fitted copy that shares the arrays of this object.
        """
        check_is_fitted(self)
        shifted = copy.copy(self)
        shifted._offset = self.shifts_[index]
        return shifted

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of `transform`, such as age, and age_outcome.

        Parameters
        ----------
        input_features : object, default=None
            Ignored; the names are those of the fitted columns.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self)
        features = features_of(self._table.columns)
        n_parts = np.bincount([feature.column for feature in features], minlength=1)
        names = []
        for feature in features:
            name = str(self._table.columns[feature.column].name)
            if feature.n_levels and n_parts[feature.column] > 1:
                name += "_outcome"
            names.append(name)
        return np.asarray(names, dtype=object)

    @property
    def columns_(self) -> Any:
        """Name, kind and values of each column, in words."""
        check_is_fitted(self)
        return self._table.describe()

    @property
    def measure(self) -> str:
        """The measure of the rows: "counting", "lebesgue" or "mixed"; "mixed" before a fit."""
        if not hasattr(self, "_table"):
            return "mixed"
        return self._table.measure

    @property
    def choices(self) -> dict[str, Any]:
        """The fitted table, which the parameter kinds takes too."""
        return {"kinds": self._table}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.non_deterministic = True  # fit_transform draws noise
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        return tags

    def _fit(self, X: Any) -> tuple[np.ndarray, np.random.Generator]:
        """The codes of X, and the generator of the noise."""
        check_shifts(self.n_shifts)
        if is_frame(X):
            check_unique_names(X, "X")
            _check_feature_names(self, X, reset=True)
            _check_n_features(self, X, reset=True)
        else:
            X = self._read_array(X, reset=True)
        self._table = Table.infer(X, self.kinds, self.missing, self.handle_unknown)
        codes = self._table.encode(X)
        features = split_codes(self._table.columns, codes)
        if not features.shape[1]:
            raise ValueError(
                "X must have a column whose values differ; got n_samples="
                f"{len(codes)} rows that are all the same."
            )
        self._maps = []
        for k, feature in enumerate(features_of(self._table.columns)):
            kind = OutcomeMap if feature.n_levels else ValueMap
            self._maps.append(kind.fit(feature, features[:, k]))
        generator = check_generator(self.random_state)
        self.shifts_ = sobol_shifts(self.n_shifts, features.shape[1], generator)
        self._offset = np.full(features.shape[1], 0.5)
        return codes, generator

    def _encode(self, X: Any) -> np.ndarray:
        """Codes (n, n_features) of rows."""
        if not is_frame(X):
            X = self._read_array(X, reset=False)
        else:
            check_unique_names(X, "X")
            _check_feature_names(self, X, reset=False)
        return self._table.encode(X)

    def _read_array(self, X: Any, *, reset: bool) -> np.ndarray:
        return validate_data(
            self, read_rows(X), dtype=np.float64, ensure_all_finite="allow-nan", reset=reset
        )

    def _place(self, features: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Points (n, m) of features (n, m), with noise u of the same shape or of shape (m,)."""
        u = np.broadcast_to(u, features.shape)
        Z = np.empty(features.shape)
        for k, each in enumerate(self._maps):
            is_there = ~np.isnan(features[:, k])
            Z[:, k] = np.where(self._is_absent(features, k), ndtri(u[:, k].clip(1e-15)), np.nan)
            Z[is_there, k] = each.forward(features[is_there, k], u[is_there, k])
        return Z

    def _is_absent(self, features: np.ndarray, k: int) -> np.ndarray:
        """Where (n,) the value of feature k is none, because the outcome is not the rest."""
        feature = features_of(self._table.columns)[k]
        if feature.outcome is None:
            return np.zeros(len(features), dtype=bool)
        outcome = features[:, feature.outcome]
        return ~np.isnan(outcome) & (outcome != feature.rest)

    def log_abs_det(self, X: Any) -> np.ndarray:
        """Return the log-densities (n,) of `log_abs_det_jacobian` for rows X, at the shift."""
        codes = self._encode(X)
        features = split_codes(self._table.columns, codes)
        Z = self._place(features, self._offset)
        total = log_fixed(self._table.columns, codes)
        for k, each in enumerate(self._maps):
            is_there = ~np.isnan(features[:, k])
            z = Z[is_there, k]
            if isinstance(each, OutcomeMap):
                total[is_there] -= each.log_density(features[is_there, k], z)
            else:
                total[is_there] += each.log_slope(z)
                is_absent = self._is_absent(features, k)
                total[is_absent] += 0.5 * (Z[is_absent, k] ** 2 + LOG_2PI)
        return total

    def box(self, conditions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return what `Conditions` on n rows of codes say of the outputs.

        Returns
        -------
        values, low, high : ndarray of shape (n, n_outputs)
            As of Conditions: the smallest box that holds all rows that meet the conditions.
        """
        columns = self._table.columns
        features = features_of(columns)
        allowed = [allowed_outcomes(column, conditions, j) for j, column in enumerate(columns)]
        shape = (len(conditions.values), len(features))
        values, low, high = np.full(shape, np.nan), np.full(shape, -np.inf), np.full(shape, np.inf)
        for k, (feature, each) in enumerate(zip(features, self._maps, strict=True)):
            outcomes = allowed[feature.column]
            if isinstance(each, OutcomeMap):
                low[:, k], high[:, k] = each.hull(outcomes)
                continue
            is_rest = outcomes.sum(axis=1) == 1
            if feature.outcome is not None:
                is_rest &= outcomes[:, feature.rest]
            part = each.box(*conditions.columns([feature.column]).hull)
            for whole, block in zip((values, low, high), part, strict=True):
                whole[is_rest, k] = block[is_rest]
        return values, low, high


@log_abs_det_jacobian.register
def _(step: TableEncoder, X: Any) -> np.ndarray:
    return step.log_abs_det(X)


@table_of.register
def _(step: TableEncoder) -> Table:
    return step._table


@invert_step.register
def _(step: TableEncoder, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    codes = step.codes(np.where(np.isinf(Z), 0.0, Z))
    inside = ~np.isinf(Z).any(axis=1) & ~np.isinf(codes).any(axis=1)
    return np.where(np.isinf(codes), 0.0, codes), inside
