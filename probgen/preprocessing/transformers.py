"""Transformers of discrete and bounded data to real values, and back."""

import copy
from numbers import Integral
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.special import expit, logit
from scipy.stats import qmc
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils import Tags, check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from probgen._calls import GuardedCalls
from probgen._containers import read_rows
from probgen._validation import check_count, check_generator, check_real, show
from probgen.preprocessing.jacobians import log_abs_det_jacobian, sum_observed

FLOAT_DTYPES = (np.float64, np.float32)


class DequantizingStep:
    """Base of steps whose `fit_transform` adds noise, over which scoring averages.

    They have `shifts_`, `at_shift(index)`, the `measure` of the rows they take, and `choices`.
    """

    shifts_: np.ndarray

    @property
    def measure(self) -> str:
        """The measure of the rows: "counting", "lebesgue" or "mixed"."""
        return "counting"

    @property
    def choices(self) -> dict[str, Any]:
        """Parameters, by name, that fix what the fit chose from its rows."""
        return {}

    def at_shift(self, index: int) -> Any:
        """Return a copy whose `transform` adds the noise of a row of `shifts_`."""
        raise NotImplementedError


class Dequantizer(
    DequantizingStep, GuardedCalls, OneToOneFeatureMixin, TransformerMixin, BaseEstimator
):
    r"""Spread integers 0, ..., levels - 1 over the unit interval, which gives them a density.

    Level k becomes the point (k + u) / levels with u in [0, 1). `fit_transform`, which pipelines
    call on training rows, draws an independent u for every entry. `transform` is deterministic and
    takes the centre of the cell, u = 1/2. `inverse_transform` returns the level of the cell, or the
    nearest level for values outside the unit interval.

    In a `GenerativePipeline`, `score_samples` averages over `n_shifts` common values of u. By
    Jensen's inequality

    .. math:: E_u \log p(x + u) \le \log \int_0^1 p(x + u) du = \log P(x),

    so the score is a lower bound on the log-probability of the integers. The mean over `n_shifts`
    points has an error of expectation zero over `random_state`.

    Parameters
    ----------
    levels : int, array-like of shape (n_features,) or None, default=256
        Number of levels of all columns, or of each, at least 1. None is the maximum of each column
        plus 1.
    n_shifts : int, default=8
        Number of values of u that scoring averages over, a power of two. The time for scoring is
        proportional to it.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the noise of `fit_transform` and the shifts.

    Attributes
    ----------
    levels_ : ndarray of shape (n_features,)
        Number of levels of each column.
    shifts_ : ndarray of shape (n_shifts, n_features)
        The values of u that scoring averages over: Sobol points, rotated at random.
    dtype_ : numpy dtype
        Dtype of the fitted data, and of the levels that `inverse_transform` returns.
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if they are strings.

    References
    ----------
    L. Theis, A. van den Oord and M. Bethge, A note on the evaluation of generative models, ICLR
    2016, section 3.1. R. Cranley and T. N. L. Patterson, Randomization of number theoretic methods
    for multiple integration, SIAM Journal on Numerical Analysis 13, 1976.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen import Dequantizer
    >>> pixels = np.array([[0, 255], [128, 3]], dtype=np.uint8)
    >>> dequantizer = Dequantizer(levels=256, random_state=0)
    >>> noisy = dequantizer.fit_transform(pixels)
    >>> dequantizer.inverse_transform(noisy)
    array([[  0, 255],
           [128,   3]], dtype=uint8)
    """

    def __init__(self, levels: Any = 256, *, n_shifts: int = 8, random_state: Any = None) -> None:
        self.levels = levels
        self.n_shifts = n_shifts
        self.random_state = random_state

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Learn the levels of X and draw the shifts.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Integers from 0 to levels - 1, of any dtype.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : Dequantizer

        Raises
        ------
        ValueError
            If X holds anything but integers from 0 to levels - 1, or a parameter is out of range.
        """
        self._fit(X)
        return self

    def fit_transform(self, X: npt.ArrayLike, y: Any = None) -> Any:
        """Fit, and return X with independent uniform noise: (X + u) / levels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Integers from 0 to levels - 1, of any dtype.
        y : object, default=None
            Ignored.

        Returns
        -------
        Z : ndarray or frame of shape (n, n_features)
            In the open unit interval; float32 for float32, else float64.
        """
        X, generator = self._fit(X)
        dtype: type = np.float64
        if X.dtype == np.float32:
            dtype = np.float32
        return self._place(X, generator.random(X.shape, dtype=dtype))

    def transform(self, X: npt.ArrayLike) -> Any:
        """Return the centres of the cells of X: (X + 1/2) / levels.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Integers from 0 to levels - 1, of any dtype.

        Returns
        -------
        Z : ndarray or frame of shape (n, n_features)
            In the open unit interval; float32 for float32, else float64.
        """
        check_is_fitted(self)
        X = validate_data(self, read_rows(X), dtype="numeric", reset=False)
        _check_levels(X, self.levels_)
        return self._place(X, self._offset)

    def inverse_transform(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the levels of the cells that hold X, the nearest level outside the unit interval.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Real numbers.

        Returns
        -------
        levels : ndarray of shape (n, n_features)
            Integers from 0 to levels - 1, in the dtype that was fitted.
        """
        check_is_fitted(self)
        X = _check_columns(self, check_array(read_rows(X), dtype=FLOAT_DTYPES))
        cells = np.floor(X.astype(np.float64) * self.levels_)
        return np.clip(cells, 0, self.levels_ - 1).astype(self.dtype_)

    @property
    def choices(self) -> dict[str, Any]:
        """The levels, if they were counted."""
        if self.levels is not None:
            return {}
        return {"levels": self.levels_}

    def at_shift(self, index: int) -> "Dequantizer":
        """Return a copy whose `transform` uses one of the shifts in place of u = 1/2.

        Parameters
        ----------
        index : int
            Row of `shifts_`.

        Returns
        -------
        dequantizer : Dequantizer
            Fitted copy that shares the arrays of this object.

        Raises
        ------
        ValueError
            If there is no such row.
        """
        check_is_fitted(self)
        check_count("index", index, low=0)
        if index >= len(self.shifts_):
            raise ValueError(
                f"index must be below the number of shifts, {len(self.shifts_)}; got {index}."
            )
        shifted = copy.copy(self)
        shifted._offset = self.shifts_[index]
        return shifted

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.categorical = True  # The common checks then use integers.
        tags.input_tags.positive_only = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _fit(self, X: npt.ArrayLike) -> tuple[np.ndarray, np.random.Generator]:
        """Validated X, and the generator of its noise."""
        check_shifts(self.n_shifts)
        X = validate_data(self, read_rows(X), dtype="numeric")
        levels = _read_levels(self.levels, X)
        _check_levels(X, levels)
        generator = check_generator(self.random_state)
        self.levels_ = levels
        self.dtype_ = X.dtype
        self.shifts_ = sobol_shifts(self.n_shifts, X.shape[1], generator)
        self._offset = 0.5
        return X, generator

    def _place(self, X: np.ndarray, offset: np.ndarray | float) -> np.ndarray:
        """Points at an offset u in [0, 1) in the cells of levels (n, d)."""
        dtype: type = np.float64
        if X.dtype == np.float32:
            dtype = np.float32
        # A margin at both ends of a cell keeps rounding from moving a point into the next cell.
        margin = np.minimum(2.0 * np.finfo(dtype).eps * self.levels_, 0.25)
        Z = X + (margin + (1.0 - 2.0 * margin) * offset).astype(dtype)
        return (Z / self.levels_).astype(dtype, copy=False)


class LogitTransformer(GuardedCalls, OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    r"""Map an interval to the real line by z = logit(alpha + (1 - 2 alpha) x), column by column.

    Parameters
    ----------
    alpha : float, default=1e-6
        Distance by which the ends of the unit interval are moved inwards to keep their logits
        finite, in [0, 0.5). Usual values for images are 1e-6 (MNIST) and 0.05 (CIFAR-10).
    bounds : tuple of two floats, default=(0, 1)
        Interval of the data, which x is first scaled from to the unit interval.

    Attributes
    ----------
    n_features_in_ : int
        Number of columns.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the columns, if they are strings.

    Notes
    -----
    The inverse maps the whole line to the interval, widened on each side by alpha / (1 - 2 alpha)
    of its width. `transform` accepts values of the widened interval, where a density of z gives a
    normalised density of x without a correction. `fit` accepts values within `bounds` only. NaN
    passes through.

    References
    ----------
    L. Dinh, J. Sohl-Dickstein and S. Bengio, Density estimation using Real NVP, ICLR 2017, section
    4.1.

    Examples
    --------
    >>> from probgen import LogitTransformer
    >>> LogitTransformer(alpha=0.05).fit_transform([[0.0], [0.5], [1.0]]).round(3)
    array([[-2.944],
           [ 0.   ],
           [ 2.944]])
    """

    def __init__(self, alpha: float = 1e-6, *, bounds: Any = (0, 1)) -> None:
        self.alpha = alpha
        self.bounds = bounds

    def fit(self, X: npt.ArrayLike, y: Any = None) -> Self:
        """Check that X lies within the bounds; nothing is learned.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Values within `bounds`.
        y : object, default=None
            Ignored.

        Returns
        -------
        self : LogitTransformer

        Raises
        ------
        ValueError
            If a value is outside `bounds`, or at one of them with `alpha=0`, or a parameter is out
            of range.
        """
        check_real("alpha", self.alpha, low=0.0)
        if not self.alpha < 0.5:
            raise ValueError(f"alpha must be a real number in [0, 0.5); got {show(self.alpha)}.")
        low, high = self._read_bounds()
        X = validate_data(self, read_rows(X), dtype=FLOAT_DTYPES, ensure_all_finite="allow-nan")
        self._squeeze(X, outside=(X < low) | (X > high))
        return self

    def transform(self, X: npt.ArrayLike) -> Any:
        """Return the logits of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Values within `bounds`, widened as in the notes of the class.

        Returns
        -------
        Z : ndarray or frame of shape (n, n_features)
            Real numbers.

        Raises
        ------
        ValueError
            If a value is outside.
        """
        check_is_fitted(self, "n_features_in_")
        X = validate_data(
            self, read_rows(X), dtype=FLOAT_DTYPES, reset=False, ensure_all_finite="allow-nan"
        )
        return logit(self._squeeze(X)).astype(X.dtype, copy=False)

    def inverse_transform(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the values with the logits X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Real numbers.

        Returns
        -------
        values : ndarray of shape (n, n_features)
            Values within `bounds`, widened as in the notes of the class.
        """
        check_is_fitted(self, "n_features_in_")
        X = _check_columns(
            self, check_array(read_rows(X), dtype=FLOAT_DTYPES, ensure_all_finite="allow-nan")
        )
        low, high = self._read_bounds()
        unit = (expit(X.astype(np.float64)) - self.alpha) / (1.0 - 2.0 * self.alpha)
        return (low + (high - low) * unit).astype(X.dtype, copy=False)

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "n_features_in_")

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _read_bounds(self) -> tuple[float, float]:
        try:
            low, high = (float(end) for end in self.bounds)
        except (TypeError, ValueError, OverflowError):
            low = high = np.nan
        if not (np.isfinite([low, high]).all() and low < high):
            raise ValueError(
                f"bounds must be two finite numbers, the lower first; got {show(self.bounds)}."
            )
        return low, high

    def _squeeze(self, X: np.ndarray, outside: np.ndarray | bool = False) -> np.ndarray:
        """(n, d) values as float64 arguments of the logit, strictly inside the unit interval."""
        low, high = self._read_bounds()
        unit = self.alpha + (1.0 - 2.0 * self.alpha) * (X.astype(np.float64) - low) / (high - low)
        outside = outside | (unit <= 0.0) | (unit >= 1.0)
        if np.any(outside):
            row, column = np.argwhere(outside)[0]
            ends = f"[{low:g}, {high:g}]"
            if self.alpha == 0.0:
                ends = f"({low:g}, {high:g}), as alpha=0"
            raise ValueError(
                f"X must lie in {ends}; got {X[row, column]:g} in column {column}; scale it first,"
                " for example with MinMaxScaler, or set bounds and alpha."
            )
        return unit


@log_abs_det_jacobian.register
def _(step: Dequantizer, X: Any) -> np.ndarray:
    return np.full(len(X), -np.sum(np.log(step.levels_)))


@log_abs_det_jacobian.register
def _(step: LogitTransformer, X: npt.ArrayLike) -> np.ndarray:
    X = check_array(read_rows(X), dtype=np.float64, ensure_all_finite="allow-nan")
    low, high = step._read_bounds()
    unit = step._squeeze(X)
    log_scale = np.log((1.0 - 2.0 * step.alpha) / (high - low))
    return sum_observed(log_scale - np.log(unit) - np.log1p(-unit), X)


def _read_levels(levels: Any, X: np.ndarray) -> np.ndarray:
    """Number of levels of each column of X, as an int64 array of shape (d,)."""
    d = X.shape[1]
    if levels is None:
        return np.maximum(X.max(axis=0).astype(np.int64) + 1, 1)
    if isinstance(levels, Integral) and not isinstance(levels, bool):
        check_count("levels", levels)
        return np.full(d, int(levels))
    array = np.asarray(levels)
    if array.shape != (d,) or array.dtype.kind not in "iu" or array.min() < 1:
        raise ValueError(
            f"levels must be an integer >= 1, {d} of them (one for each column) or None; got"
            f" {show(levels)}."
        )
    return array.astype(np.int64)


def _check_levels(X: np.ndarray, levels: np.ndarray) -> None:
    """Raise unless the (n, d) X holds integers from 0 to levels - 1."""
    wrong = (X < 0) | (X >= levels)
    if X.dtype.kind == "f":
        wrong |= X != np.floor(X)
    if np.any(wrong):
        row, column = np.argwhere(wrong)[0]
        value = X[row, column]
        highest = levels[column] - 1
        if value < 0:
            raise ValueError(
                "Negative values in data passed to X: it must hold integers from 0 to levels - 1 ="
                f" {highest}; got {value} in column {column}; shift or round it."
            )
        raise ValueError(
            f"X must hold integers from 0 to levels - 1 = {highest}; got {value} in column"
            f" {column}; round it, or set levels."
        )


def _check_columns(step: Any, X: np.ndarray) -> np.ndarray:
    if X.shape[1] != step.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(step).__name__} is expecting"
            f" {step.n_features_in_} features as input: as many as it was fitted on."
        )
    return X


def check_shifts(n_shifts: Any) -> None:
    """Raise a ValueError unless n_shifts is a power of two."""
    check_count("n_shifts", n_shifts)
    if n_shifts & (n_shifts - 1):
        raise ValueError(
            f"n_shifts must be a power of two, for balanced points; got {show(n_shifts)}."
        )


def sobol_shifts(n_shifts: int, n_features: int, generator: np.random.Generator) -> np.ndarray:
    """Sobol points (n_shifts, d), rotated by one vector modulo 1, so that each is uniform."""
    blocks = []
    for start in range(0, n_features, qmc.Sobol.MAXDIM):
        sobol = qmc.Sobol(min(qmc.Sobol.MAXDIM, n_features - start), scramble=False)
        blocks.append(sobol.random_base2(n_shifts.bit_length() - 1))
    return (np.hstack(blocks) + generator.random(n_features)) % 1.0
