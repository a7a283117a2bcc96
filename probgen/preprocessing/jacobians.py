"""log|det J|, image and inverse of preprocessing steps.

A density p(z) of the outputs z = f(x) of a step is a density p(f(x)) |det J(x)| of its inputs. The
functions here dispatch on the type of the step; new types can be registered with both public ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import singledispatch
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from probgen._validation import show

# QuantileTransformer treats values this close to an end of its range as the end itself.
QUANTILE_EDGE = 1e-7


@singledispatch
def log_abs_det_jacobian(step: Any, X: npt.ArrayLike) -> np.ndarray:
    """Return log|det J| of a fitted step at each of its input rows.

    Parameters
    ----------
    step : fitted transformer
        One of scikit-learn's StandardScaler, MinMaxScaler, MaxAbsScaler, RobustScaler,
        PowerTransformer, QuantileTransformer, PCA, FunctionTransformer (see
        `register_function_jacobian`), ColumnTransformer and Pipeline; a Dequantizer or
        LogitTransformer; or a registered type.
    X : array-like of shape (n, n_features)
        Input rows of the step. Missing values contribute nothing to steps that map every column
        separately.

    Returns
    -------
    log_abs_det : ndarray of shape (n,)
        In nats; -inf for rows that are no output of the inverse.

    Raises
    ------
    TypeError
        If the type of step is not registered.
    ValueError
        If the step has no density, because it merges points (clipping, ties) or drops dimensions.

    Notes
    -----
    Register a step of your own by its type, and its image with `step_image` if that is not the
    whole space. Draws also need its `inverse_transform`.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.base import BaseEstimator, TransformerMixin
    >>> from sklearn.preprocessing import StandardScaler
    >>> from probgen.pipeline import log_abs_det_jacobian, step_image
    >>> log_abs_det_jacobian(StandardScaler().fit([[0.0], [4.0]]), [[1.0]])  # scale 2
    array([-0.69314718])
    >>> class Square(TransformerMixin, BaseEstimator):
    ...     def fit(self, X, y=None):
    ...         return self
    ...     def transform(self, X):
    ...         return np.square(X)  # of positive numbers
    ...     def inverse_transform(self, X):
    ...         return np.sqrt(X)
    >>> @log_abs_det_jacobian.register
    ... def _(step: Square, X):
    ...     return np.log(2.0 * np.asarray(X)).sum(axis=1)
    >>> @step_image.register
    ... def _(step: Square):
    ...     return 0.0, np.inf
    """
    name = type(step).__name__
    raise TypeError(
        f"log|det J| of {name} is not known, so the density of its inputs is not; register it with "
        f"probgen.pipeline.log_abs_det_jacobian.register({name})."
    )


@singledispatch
def step_image(step: Any) -> tuple | None:
    """Return the box that contains the outputs of a fitted step.

    Parameters
    ----------
    step : fitted transformer
        Any step. The image of an unregistered type is the whole space.

    Returns
    -------
    box : tuple (low, high) or None
        Ends of the box, numbers or arrays of shape (n_outputs,), infinite if open. None is the
        whole space.

    Notes
    -----
    Draws outside the box have no inverse: a `GenerativePipeline` draws them again and divides the
    density by the probability of the box.

    Examples
    --------
    >>> from sklearn.preprocessing import QuantileTransformer
    >>> from probgen.pipeline import step_image
    >>> step_image(QuantileTransformer(n_quantiles=2).fit([[3.0], [4.0]]))
    (0.0, 1.0)
    """
    return None


@dataclass(frozen=True)
class FunctionJacobian:
    """Entry of `register_function_jacobian` for the function of a FunctionTransformer."""

    log_abs_det: Callable
    inverse: Callable | None = None
    image: tuple | None = None
    increasing: bool = False


_FUNCTIONS = {}


def register_function_jacobian(
    func: Callable,
    log_abs_det: Callable,
    *,
    inverse: Callable | None = None,
    image: tuple | None = None,
    increasing: bool = False,
) -> None:
    """Register log|det J| of the `func` of a FunctionTransformer.

    `np.log`, `np.log1p`, `np.exp`, `np.sqrt` and `np.arcsinh` are registered with their inverses.

    Parameters
    ----------
    func : callable
        The function object that is passed to the FunctionTransformer.
    log_abs_det : callable
        Called with a float64 array of shape (n, n_features) and the `kw_args` of the
        FunctionTransformer; returns an array of shape (n,), in nats.
    inverse : callable, default=None
        Inverse of func, for a FunctionTransformer without `inverse_func`.
    image : tuple (low, high), default=None
        Box that contains the outputs, as `step_image` returns it; None is the whole space.
    increasing : bool, default=False
        Whether func maps every column separately by an increasing function; `given` requires it.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.pipeline import register_function_jacobian
    >>> def cube(X):
    ...     return np.power(X, 3)
    >>> register_function_jacobian(
    ...     cube, lambda X: np.log(3.0 * X**2).sum(axis=1), inverse=np.cbrt, increasing=True
    ... )
    """
    functions = {"func": func, "log_abs_det": log_abs_det}
    if inverse is not None:
        functions["inverse"] = inverse
    for name, value in functions.items():
        if not callable(value):
            raise TypeError(f"{name} must be callable; got {show(value)}.")
    _FUNCTIONS[func] = FunctionJacobian(log_abs_det, inverse, image, increasing)


def function_jacobian(step: FunctionTransformer) -> FunctionJacobian | None:
    """The FunctionJacobian of a FunctionTransformer, or None."""
    if step.func is None:
        return _IDENTITY
    try:
        return _FUNCTIONS.get(step.func)
    except TypeError:  # The callable is not hashable.
        return None


def sum_observed(slopes: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Row sums of log-slopes (n, d) over the entries of X that are not NaN."""
    return np.where(np.isnan(X), 0.0, slopes).sum(axis=1)


def column_blocks(step: ColumnTransformer) -> Iterator[tuple[str, Any, list, slice]]:
    """Yield (name, inner step, input indices, output slice) of a fitted ColumnTransformer.

    Raise if it drops a column or uses one twice.
    """
    if step.transformer_weights:
        raise ValueError(
            "ColumnTransformer must have no transformer_weights in a pipeline that knows its"
            " density."
        )
    seen = set()
    for name, inner, _ in step.transformers_:
        indices = list(step._transformer_to_input_indices[name])
        if not indices:
            continue
        if isinstance(inner, str) and inner == "drop":
            raise ValueError(
                f"ColumnTransformer drops {len(indices)} of {step.n_features_in_} columns"
                f" ({name!r}), so its rows have no density and no way back; keep them with"
                " remainder='passthrough'."
            )
        if seen & set(indices):
            raise ValueError(
                f"ColumnTransformer must use each column once; {name!r} uses one for the second"
                " time."
            )
        seen |= set(indices)
        yield name, inner, indices, step.output_indices_[name]


def _rows(step: Any, X: npt.ArrayLike) -> np.ndarray:
    """X as a float64 array, for a fitted step."""
    check_is_fitted(step)
    return check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")


def _affine_log_det(step: Any, X: npt.ArrayLike, log_slopes: npt.ArrayLike) -> np.ndarray:
    """log|det J| of an affine map of each column, from log-slopes of shape (d,)."""
    X = _rows(step, X)
    return sum_observed(np.broadcast_to(log_slopes, X.shape), X)


def _check_no_clipping(step: Any) -> None:
    if getattr(step, "clip", False):
        raise ValueError(
            f"{type(step).__name__} with clip=True moves all values outside its range to one point,"
            " and a point with probability has no density; set clip=False."
        )


@log_abs_det_jacobian.register(type(None))
@log_abs_det_jacobian.register(str)
def _(step: Any, X: Any) -> np.ndarray:
    if step not in (None, "passthrough"):
        raise TypeError(f"A step must be a transformer, 'passthrough' or None; got {show(step)}.")
    return np.zeros(len(X))


@log_abs_det_jacobian.register(StandardScaler)
@log_abs_det_jacobian.register(RobustScaler)
@log_abs_det_jacobian.register(MaxAbsScaler)
def _(step: Any, X: npt.ArrayLike) -> np.ndarray:
    _check_no_clipping(step)
    check_is_fitted(step)
    if step.scale_ is None:
        return _affine_log_det(step, X, 0.0)
    return _affine_log_det(step, X, -np.log(step.scale_))


@log_abs_det_jacobian.register
def _(step: MinMaxScaler, X: npt.ArrayLike) -> np.ndarray:
    _check_no_clipping(step)
    check_is_fitted(step)
    return _affine_log_det(step, X, np.log(step.scale_))


@log_abs_det_jacobian.register
def _(step: PowerTransformer, X: npt.ArrayLike) -> np.ndarray:
    X = _rows(step, X)
    if step.method == "box-cox":
        if np.nanmin(X, initial=np.inf) <= 0.0:
            raise ValueError(
                f"X must be positive for the Box-Cox transformation; got {np.nanmin(X):g}."
            )
        slopes = (step.lambdas_ - 1.0) * np.log(X)
    else:
        slopes = (step.lambdas_ - 1.0) * np.sign(X) * np.log1p(np.abs(X))
    if step.standardize:
        slopes = slopes - np.log(step._scaler.scale_)
    return sum_observed(slopes, X)


@step_image.register
def _(step: PowerTransformer) -> tuple | None:
    check_is_fitted(step)
    lambdas = np.asarray(step.lambdas_, dtype=np.float64)
    low = np.full(len(lambdas), -np.inf)
    high = np.full(len(lambdas), np.inf)
    if step.method == "box-cox":
        low[lambdas > 0.0] = -1.0 / lambdas[lambdas > 0.0]
    else:
        low[lambdas > 2.0] = -1.0 / (lambdas[lambdas > 2.0] - 2.0)
    high[lambdas < 0.0] = -1.0 / lambdas[lambdas < 0.0]
    if np.isinf(low).all() and np.isinf(high).all():
        return None
    if step.standardize:
        low = (low - step._scaler.mean_) / step._scaler.scale_
        high = (high - step._scaler.mean_) / step._scaler.scale_
    return low, high


@log_abs_det_jacobian.register
def _(step: QuantileTransformer, X: npt.ArrayLike) -> np.ndarray:
    X = _rows(step, X)
    slopes = [_quantile_log_slopes(step, column, j) for j, column in enumerate(X.T)]
    return sum_observed(np.column_stack(slopes), X)


def _quantile_log_slopes(step: QuantileTransformer, x: np.ndarray, j: int) -> np.ndarray:
    """Log-slopes (n,) of column j of a QuantileTransformer at x; -inf outside its fitted range."""
    quantiles = step.quantiles_[:, j].astype(np.float64)
    references = step.references_
    widths = np.diff(quantiles)
    if not len(widths) or widths.min() <= 0.0:
        value = quantiles[0]
        if len(widths):
            value = quantiles[np.argmin(widths)]
        raise ValueError(
            f"QuantileTransformer has tied quantiles in column {j}, at {value:g}: many rows share"
            " that value, and a point with probability has no density; lower n_quantiles, or"
            " dequantize the column first."
        )
    is_normal = step.output_distribution == "normal"
    if is_normal and quantiles[-1] - quantiles[0] < 1e3 * QUANTILE_EDGE:
        raise ValueError(
            f"QuantileTransformer merges values within {QUANTILE_EDGE:g} of the ends of its range,"
            f" which is much of column {j}, because it spans only {quantiles[-1] - quantiles[0]:g};"
            " put a StandardScaler before it."
        )
    cells = np.clip(np.searchsorted(quantiles, x, side="right") - 1, 0, len(widths) - 1)
    slopes = np.log(np.diff(references) / widths)[cells]
    if is_normal:
        # The image of x is ppf(u), with the slope of u over the normal density.
        u = np.clip(np.interp(x, quantiles, references), QUANTILE_EDGE, 1.0 - QUANTILE_EDGE)
        slopes = slopes - stats.norm.logpdf(stats.norm.ppf(u))
    return np.where((x < quantiles[0]) | (x > quantiles[-1]), -np.inf, slopes)


@step_image.register
def _(step: QuantileTransformer) -> tuple | None:
    if step.output_distribution == "normal":
        end = stats.norm.isf(QUANTILE_EDGE)
        return -end, end
    return 0.0, 1.0


@log_abs_det_jacobian.register
def _(step: PCA, X: Any) -> np.ndarray:
    check_is_fitted(step)
    kept, d = step.components_.shape
    if kept < d:
        raise ValueError(
            f"PCA keeps {kept} of {d} dimensions, so its rows lie on a plane and have no density"
            f" over all {d}; keep all with n_components=None, or do not call score and"
            " score_samples."
        )
    log_det = 0.0
    if step.whiten:
        variances = step.explained_variance_.astype(np.float64)
        least = d * np.finfo(step.explained_variance_.dtype).eps
        if not np.sqrt(variances.min() / variances.max()) > least:
            raise ValueError(
                "PCA with whiten=True divides by a variance of zero here; set whiten=False."
            )
        log_det = -0.5 * np.sum(np.log(variances))
    return np.full(len(X), log_det)


@log_abs_det_jacobian.register
def _(step: FunctionTransformer, X: npt.ArrayLike) -> np.ndarray:
    known = function_jacobian(step)
    if known is None:
        raise TypeError(
            f"log|det J| of FunctionTransformer(func={step.func!r}) is not known; register it with "
            "probgen.pipeline.register_function_jacobian(func, log_abs_det)."
        )
    X = check_array(X, dtype=np.float64, ensure_all_finite="allow-nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        log_det = np.asarray(known.log_abs_det(X, **(step.kw_args or {})))
    if log_det.shape != (len(X),):
        raise ValueError(
            f"log_abs_det of {step.func!r} must return shape ({len(X)},); got {log_det.shape}."
        )
    if not np.isfinite(log_det).all():
        row = X[np.argmin(np.isfinite(log_det))]
        raise ValueError(
            f"X must lie where {step.func!r} has a finite derivative; got the row {row}; move it"
            " first."
        )
    return log_det


@step_image.register
def _(step: FunctionTransformer) -> tuple | None:
    known = function_jacobian(step)
    if known is None:
        return None
    return known.image


@log_abs_det_jacobian.register
def _(step: ColumnTransformer, X: Any) -> np.ndarray:
    check_is_fitted(step)
    total = np.zeros(len(X))
    for _, inner, indices, _ in column_blocks(step):
        total += log_abs_det_jacobian(inner, _take_columns(step, X, indices))
    return total


def _take_columns(step: ColumnTransformer, X: Any, indices: list) -> Any:
    """Columns of X as the ColumnTransformer selects them: by name if there are names."""
    if hasattr(X, "columns") and hasattr(step, "feature_names_in_"):
        return X[list(step.feature_names_in_[indices])]
    if hasattr(X, "columns"):
        return X[[X.columns[j] for j in indices]]
    return np.asarray(X)[:, indices]


@log_abs_det_jacobian.register
def _(step: Pipeline, X: Any) -> np.ndarray:
    total = np.zeros(len(X))
    for _, inner in step.steps:
        total = total + log_abs_det_jacobian(inner, X)
        if inner is not None and not isinstance(inner, str):
            X = inner.transform(X)
    return total


_IDENTITY = FunctionJacobian(lambda X: np.zeros(len(X)), inverse=lambda Z: Z, increasing=True)

for _func, _log_slope, _inverse, _image in (
    (np.log, lambda x: -np.log(x), np.exp, None),
    (np.log1p, lambda x: -np.log1p(x), np.expm1, None),
    (np.exp, lambda x: x, np.log, (0.0, np.inf)),
    (np.sqrt, lambda x: -0.5 * np.log(4.0 * x), np.square, (0.0, np.inf)),
    (np.arcsinh, lambda x: -0.5 * np.log1p(x**2), np.sinh, None),
):
    register_function_jacobian(
        _func,
        lambda X, _log_slope=_log_slope: sum_observed(_log_slope(X), X),
        inverse=_inverse,
        image=_image,
        increasing=True,
    )
