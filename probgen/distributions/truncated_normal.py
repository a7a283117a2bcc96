"""The standard normal restricted to intervals: accurate probabilities, moments and draws."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import erf, erfc, erfcx, log_ndtr, ndtri_exp

SQRT_2 = np.sqrt(2.0)
SQRT_2PI = np.sqrt(2.0 * np.pi)
# Width of an interval without width, which keeps ratios of probabilities finite.
TINY = 1e-150
# Over this length exp(-z**2 / 2) is an exponential, to a relative error of 1e-10.
SHORT = 1e-5
NODES, NODE_WEIGHTS = np.polynomial.legendre.leggauss(8)
FINE_NODES, FINE_NODE_WEIGHTS = np.polynomial.legendre.leggauss(64)
REACH = 9.0  # from the mode, where the normal density is below rounding error


def log_interval_probability(low: npt.ArrayLike, high: npt.ArrayLike) -> Any:
    """Return log P(low <= z <= high) of a standard normal z, elementwise.

    The relative error is about 1e-14, also for narrow intervals, intervals far in either tail, and
    intervals of probability near 1.

    Parameters
    ----------
    low, high : array-like
        Ends in standard deviations, low <= high, infinities allowed; they broadcast.

    Returns
    -------
    log_probability : ndarray or float
        Of the broadcast shape; -inf where low equals high.

    Raises
    ------
    ValueError
        If an end is NaN or low exceeds high.

    Examples
    --------
    >>> from probgen.distributions.truncated_normal import log_interval_probability
    >>> log_interval_probability([-1.0, 30.0], [1.0, 31.0]).round(4).tolist()
    [-0.3817, -454.3212]
    """
    low, high = check_interval(low, high)
    return np.where(low == high, -np.inf, log_interval(low, high))[()]


def sample_truncated_standard_normal(
    low: npt.ArrayLike, high: npt.ArrayLike, generator: np.random.Generator
) -> np.ndarray:
    """Draw standard normals restricted to intervals, elementwise, by inversion.

    Parameters
    ----------
    low, high : array-like
        Ends in standard deviations, low <= high, infinities allowed; they broadcast.
    generator : numpy.random.Generator
        Source of randomness; one uniform is used for each element.

    Returns
    -------
    z : ndarray
        Of the broadcast shape, every element in its [low, high].

    Raises
    ------
    ValueError
        If an end is NaN or low exceeds high.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.distributions.truncated_normal import sample_truncated_standard_normal
    >>> z = sample_truncated_standard_normal([30.0, -np.inf], [31.0, 0.0], np.random.default_rng(0))
    >>> bool(30.0 <= z[0] <= 31.0), bool(z[1] <= 0.0)
    (True, True)
    """
    low, high = check_interval(low, high)
    uniforms = generator.random(np.broadcast_shapes(low.shape, high.shape))
    return truncated_quantile(uniforms, low, high)


def truncated_quantile(uniforms: np.ndarray, low: Any, high: Any) -> np.ndarray:
    """Return quantiles of standard normals restricted to [low, high], elementwise.

    They increase with the levels `uniforms`, which are in [0, 1).
    """
    # The interval is mirrored if that brings it closer to the left tail, where ndtri_exp is exact.
    mirrored = np.abs(low) < np.abs(high)
    level = np.where(mirrored, 1.0 - uniforms, np.maximum(uniforms, 0.5**54))
    left = np.where(mirrored, -high, low)
    right = np.where(mirrored, -low, high)
    short = (right - left < SHORT) | (right < -1.0 / SHORT)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        log_left, log_right = log_ndtr(left), log_ndtr(right)
        z = ndtri_exp(log_right + np.log(level + (1.0 - level) * np.exp(log_left - log_right)))
        if short.any():
            # The density is exponential over such intervals.
            rate = np.maximum(-right, SHORT)
            step = np.log1p((1.0 - level) * np.expm1(-rate * (right - left))) / rate
            z = np.where(short, right + step, z)
    return np.clip(np.where(mirrored, -z, z), low, high)


def truncated_moments(
    low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return log-probability, mean and variance of a standard normal restricted to [low, high].

    All are elementwise, by quadrature from the end of higher density to where the density is below
    rounding error, so that nothing cancels in the tails.
    """
    on_left = high < 0.0
    start = np.maximum(np.where(on_left, -high, low), -REACH)
    near = np.maximum(start, 0.0)
    before = np.maximum(-start, 0.0)
    # The distance at which the density has fallen by exp(-REACH**2 / 2) from its maximum.
    reach = before + REACH**2 / (near + np.hypot(near, REACH))
    width = np.minimum(np.where(on_left, -low, high) - start, reach)
    steps = 0.5 * np.maximum(width, TINY)[..., None] * (1.0 + FINE_NODES)
    weights = FINE_NODE_WEIGHTS * np.exp(
        -steps * (start[..., None] + 0.5 * steps) - 0.5 * before[..., None] ** 2
    )
    total = weights.sum(axis=-1)
    weights /= total[..., None]
    advance = np.sum(weights * steps, axis=-1)
    variance = np.sum(weights * (steps - advance[..., None]) ** 2, axis=-1)
    with np.errstate(over="ignore"):
        log_probability = np.log(0.5 * np.maximum(width, TINY) / SQRT_2PI * total) - 0.5 * near**2
    return log_probability, np.where(on_left, -1.0, 1.0) * (start + advance), variance


def log_interval(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return log P(low <= z <= high), elementwise, without checks."""
    with np.errstate(over="ignore"):
        return _log_scaled_probability(low, high) - 0.5 * _nearest(low, high) ** 2


def _nearest(low, high):
    """Distances from 0 to intervals."""
    return np.maximum(np.maximum(low, -high), 0.0)


def _log_scaled_probability(low, high):
    """log P(low <= z <= high) + near**2 / 2, which does not overflow.

    `near` is the distance from 0 to the interval.
    """
    low, high = np.broadcast_arrays(low, high)
    on_left = high < 0.0
    start = np.where(on_left, -high, low)
    stop = np.where(on_left, -low, high)
    result = np.empty(low.shape)
    with np.errstate(over="ignore"):
        narrow = (stop - start) * (2.0 * np.maximum(start, 0.0) + (stop - start)) < 1.0
    tail = ~narrow & (start > 0.0)
    for region, formula in (
        (narrow, _log_narrow),
        (tail, _log_tail),
        (~narrow & ~tail, _log_central),
    ):
        if region.any():
            result[region] = formula(start[region], stop[region])
    return result[()]


def _log_narrow(start, stop):
    """Scaled log-probability by Gauss-Legendre quadrature, where exp(-z**2 / 2) changes little."""
    width = np.maximum(stop - start, TINY)
    steps = 0.5 * width[:, None] * (1.0 + NODES)
    changes = np.exp(-steps * (start[:, None] + 0.5 * steps)) @ NODE_WEIGHTS
    return np.log(0.5 * width / SQRT_2PI * changes) - 0.5 * np.minimum(start, 0.0) ** 2


def _log_tail(start, stop):
    """Scaled log-probability by Mills ratios, for 0 < start."""
    with np.errstate(over="ignore"):
        drop = np.exp(-0.5 * (stop - start) * (stop + start))
    return np.log(0.5 * (erfcx(start / SQRT_2) - erfcx(stop / SQRT_2) * drop))


def _log_central(low, high):
    """Log-probability for low <= 0 <= high, from the inside if small, from the outside if large."""
    low = low / SQRT_2
    high = high / SQRT_2
    inside = 0.5 * (erf(high) - erf(low))
    return np.where(inside < 0.5, np.log(inside), np.log1p(-0.5 * (erfc(high) + erfc(-low))))


def check_interval(low: npt.ArrayLike, high: npt.ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Return ends as float arrays, or raise a ValueError."""
    low = np.asarray(low, dtype=np.float64)
    high = np.asarray(high, dtype=np.float64)
    wrong = ~((low <= high) & (low < np.inf) & (high > -np.inf))
    if wrong.any():
        at = np.unravel_index(np.argmax(wrong), wrong.shape)
        first, last = np.broadcast_to(low, wrong.shape)[at], np.broadcast_to(high, wrong.shape)[at]
        raise ValueError(
            f"low must be <= high around some real number; got ({first:g}, {last:g}); correct the"
            " interval."
        )
    return low, high
