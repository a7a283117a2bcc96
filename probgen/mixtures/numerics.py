"""Moments of normals within intervals, Newton's method for many components, draws of levels."""

from collections.abc import Callable
from typing import Any

import numpy as np

from probgen._constants import LOG_2PI
from probgen.distributions.truncated_normal import log_interval

# Intervals of less width, times their distance from 0, are summed by a series.
NARROW = 1.0 / 64.0
DIFFERENCE = 1e-4  # of the logarithm of a parameter, in numerical derivatives
LONGEST_STEP = 2.0  # of the logarithm of a parameter
N_HALVINGS = 12
ENOUGH = 1e-4
SETTLED = 1e-9  # change of a logarithm below which Newton's method stops


def log_interval_masses(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Log-probability of intervals under the standard normal, elementwise; -inf if empty."""
    low, high = np.broadcast_arrays(low, high)
    shape = low.shape
    low, high = low.ravel(), high.ravel()
    result = np.empty(len(low))
    narrow, others = _parts(low, high)
    if len(narrow):
        result[narrow] = _narrow_masses(*_middles(low[narrow], high[narrow]))
    if len(others):
        result[others] = _wide_masses(low[others], high[others])
    return result.reshape(shape)


def interval_moments(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log-probability of intervals under the standard normal, and E[z] and E[z**2] within."""
    low, high = np.broadcast_arrays(low, high)
    shape = low.shape
    low, high = low.ravel(), high.ravel()
    results = np.empty((3, len(low)))
    narrow, others = _parts(low, high)
    if len(narrow):
        middle, width = _middles(low[narrow], high[narrow])
        share = width**2 / 12.0
        results[0, narrow] = _narrow_masses(middle, width)
        results[1, narrow] = middle * (1.0 - share)
        results[2, narrow] = middle**2 * (1.0 - 2.0 * share) + share
    if len(others):
        results[:, others] = _wide_moments(low[others], high[others])
    return tuple(results.reshape(3, *shape))


def _parts(low, high):
    """Indices of the narrow ones among intervals (n,), and of the others."""
    with np.errstate(invalid="ignore", over="ignore"):
        width = high - low
        is_narrow = (width > 0.0) & (width * (1.0 + np.abs(low)) < NARROW)
    return np.flatnonzero(is_narrow), np.flatnonzero(~is_narrow)


def _middles(low, high):
    """Middles and widths of narrow intervals."""
    return 0.5 * (low + high), high - low


def _narrow_masses(middle, width):
    """Log-probability of narrow intervals, by a series."""
    curvature = width**2 / 24.0 * (middle**2 - 1.0)
    return -0.5 * (middle**2 + LOG_2PI) + np.log(width) + np.log1p(curvature)


def _wide_masses(low, high):
    """Log-probability of intervals that may be of any width, -inf if empty."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(low < high, log_interval(low, high), -np.inf)


def _wide_moments(low, high):
    """Log-probability, E[z] and E[z**2] of intervals that may be of any width."""
    log_masses = _wide_masses(low, high)
    with np.errstate(invalid="ignore", over="ignore"):
        # Densities at the ends, over the probability of the interval.
        near_low = np.exp(-0.5 * (low**2 + LOG_2PI) - log_masses)
        near_high = np.exp(-0.5 * (high**2 + LOG_2PI) - log_masses)
        first = near_low - near_high
        second = 1.0 + np.where(np.isinf(low), 0.0, low) * near_low
        second -= np.where(np.isinf(high), 0.0, high) * near_high
    # Where a probability underflows, all of it is at the end that is nearer to 0.
    end = np.clip(0.0, low, high)
    is_lost = ~np.isfinite(log_masses) | ~np.isfinite(first) | ~np.isfinite(second)
    first = np.clip(np.where(is_lost, end, first), low, high)
    return log_masses, first, np.maximum(np.where(is_lost, end**2, second), first**2)


def ascend(
    objective: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    *,
    low: Any = -np.inf,
    high: Any = np.inf,
    n_steps: int = 20,
) -> np.ndarray:
    """Maximise K functions of P variables each, by Newton's method with numerical derivatives.

    No step lowers any of the functions.

    Parameters
    ----------
    objective : callable
        Takes variables (P, K), returns values (K,).
    start : ndarray of shape (P, K)
    low, high : array-like
        Bounds, which broadcast to (P, K).
    n_steps : int
        Most steps.

    Returns
    -------
    variables : ndarray of shape (P, K)
    """
    best = np.clip(start, low, high)
    value = objective(best)
    for _ in range(n_steps):
        direction, rise = _direction(objective, best, value)
        moved = np.zeros(best.shape[1])
        is_open = np.abs(direction).max(axis=0) > SETTLED
        for _ in range(N_HALVINGS):
            if not is_open.any():
                break
            trial = np.clip(best + direction * is_open, low, high)
            trial_value = objective(trial)
            # Enough of the rise that the slope promises (Armijo, 1966), or steps might alternate.
            is_better = is_open & (trial_value > value + ENOUGH * rise)
            moved = np.where(is_better, np.abs(trial - best).max(axis=0), moved)
            best = np.where(is_better, trial, best)
            value = np.where(is_better, trial_value, value)
            is_open &= ~is_better
            direction, rise = 0.5 * direction, 0.5 * rise
        if moved.max(initial=0.0) <= SETTLED:
            break
    return best


def _direction(objective, variables, value):
    """Newton's direction (P, K), which leads up, of limited length, and its slope (K,)."""
    n_variables, n_components = variables.shape
    gradient = np.empty((n_components, n_variables))
    hessian = np.empty((n_components, n_variables, n_variables))
    h = DIFFERENCE
    for i in range(n_variables):
        step = np.zeros((n_variables, 1))
        step[i] = h
        above, below = objective(variables + step), objective(variables - step)
        gradient[:, i] = (above - below) / (2.0 * h)
        hessian[:, i, i] = (above - 2.0 * value + below) / h**2
        for j in range(i):
            cross = np.zeros((n_variables, 1))
            cross[j] = h
            mixed = objective(variables + step + cross) - objective(variables + step - cross)
            mixed -= objective(variables - step + cross) - objective(variables - step - cross)
            hessian[:, i, j] = hessian[:, j, i] = mixed / (4.0 * h**2)
    gradient = np.nan_to_num(gradient, posinf=0.0, neginf=0.0)
    hessian = np.nan_to_num(hessian, posinf=0.0, neginf=0.0)
    curvatures, axes = np.linalg.eigh(hessian)
    # Uphill along every axis, also where the function is not concave.
    curvatures = np.maximum(np.abs(curvatures), 1e-6)
    direction = np.einsum("kia,ka->ki", axes, np.einsum("kia,ki->ka", axes, gradient) / curvatures)
    length = np.abs(direction).max(axis=1, keepdims=True)
    direction *= np.minimum(1.0, LONGEST_STEP / np.maximum(length, np.finfo(np.float64).tiny))
    return direction.T, np.sum(direction * gradient, axis=1)


def intervals_of(low: np.ndarray, high: np.ndarray) -> list[tuple[float, float, Any]]:
    """The distinct intervals among low (n,) and high (n,), each with the rows that have it."""
    if not len(low):
        return []
    if low.min() == low.max() and high.min() == high.max():
        return [(float(low[0]), float(high[0]), slice(None))]
    ends, inverse = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    rows = [np.flatnonzero(inverse.ravel() == i) for i in range(ends.shape[1])]
    return [(float(first), float(last), own) for (first, last), own in zip(ends.T, rows)]


def draw_levels(probabilities: np.ndarray, drawn: np.ndarray, generator: Any) -> np.ndarray:
    """Levels (n,) of rows of the drawn components (n,), for probabilities (L, K)."""
    n_levels, n_components = probabilities.shape
    cumulative = np.cumsum(probabilities, axis=0)
    cumulative /= cumulative[-1]
    # One sorted table: component k takes the numbers from k to k + 1.
    table = (cumulative + np.arange(n_components)).T.ravel()
    found = np.searchsorted(table, drawn + generator.random(len(drawn)), side="right")
    levels = np.minimum(found - drawn * n_levels, n_levels - 1)
    return _possible(levels, probabilities, drawn)


def _possible(levels, probabilities, drawn):
    """The levels (n,), with those that rounding drew against a probability of 0 moved."""
    is_wrong = probabilities[levels, drawn] == 0.0
    if is_wrong.any():
        levels[is_wrong] = np.argmax(probabilities[:, drawn[is_wrong]], axis=0)
    return levels
