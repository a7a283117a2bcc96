"""Moments of normals within intervals, and Newton's method for many components at once."""

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
SETTLED = 1e-9  # change of a logarithm below which Newton's method stops


def log_interval_masses(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Log-probability of intervals under the standard normal, elementwise; -inf if empty."""
    low, high = np.broadcast_arrays(low, high)
    middle, width, is_narrow = _narrow(low, high)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        result = _series(middle, width)
    others = np.nonzero(~is_narrow)
    if len(others[0]):
        ends = low[others], high[others]
        with np.errstate(divide="ignore", invalid="ignore"):
            result[others] = np.where(ends[0] < ends[1], log_interval(*ends), -np.inf)
    return result


def interval_moments(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, ...]:
    """Log-probability of intervals under the standard normal, and E[z] and E[z**2] within."""
    low, high = np.broadcast_arrays(low, high)
    log_masses = log_interval_masses(low, high)
    middle, width, is_narrow = _narrow(low, high)
    with np.errstate(invalid="ignore", over="ignore"):
        near_low, near_high = _ratio(low, log_masses), _ratio(high, log_masses)
        first = near_low - near_high
        second = 1.0 + _times(low, near_low) - _times(high, near_high)
        share = width**2 / 12.0
        first = np.where(is_narrow, middle * (1.0 - share), first)
        second = np.where(is_narrow, middle**2 * (1.0 - 2.0 * share) + share, second)
    # Where a probability underflows, all of it is at the end that is nearer to 0.
    end = np.clip(0.0, low, high)
    is_lost = ~np.isfinite(log_masses) | ~np.isfinite(first) | ~np.isfinite(second)
    first = np.clip(np.where(is_lost, end, first), low, high)
    second = np.maximum(np.where(is_lost, end**2, second), first**2)
    return log_masses, first, second


def _narrow(low, high):
    """Middles and widths of intervals, and which of them are narrow."""
    is_finite = np.isfinite(low) & np.isfinite(high)
    with np.errstate(invalid="ignore", over="ignore"):
        width = np.where(is_finite, high - low, np.inf)
        middle = np.where(is_finite, 0.5 * low + 0.5 * high, 0.0)
        is_narrow = (width * (1.0 + np.abs(middle)) < NARROW) & (width > 0.0)
    return middle, np.where(is_narrow, width, 0.0), is_narrow


def _series(middle, width):
    """Log-probability of narrow intervals."""
    curvature = width**2 / 24.0 * (middle**2 - 1.0)
    return -0.5 * (middle**2 + LOG_2PI) + np.log(width) + np.log1p(curvature)


def _ratio(end, log_masses):
    """Density at an end, over the probability of the interval."""
    return np.exp(-0.5 * (end**2 + LOG_2PI) - log_masses)


def _times(end, ratio):
    """Product of an end and a ratio, which is 0 where the end is infinite."""
    return np.where(np.isinf(end), 0.0, end) * ratio


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
        direction = _direction(objective, best, value)
        moved = np.zeros(best.shape[1])
        is_open = np.abs(direction).max(axis=0) > SETTLED
        for _ in range(N_HALVINGS):
            if not is_open.any():
                break
            trial = np.clip(best + direction * is_open, low, high)
            trial_value = objective(trial)
            is_better = is_open & (trial_value > value)
            moved = np.where(is_better, np.abs(trial - best).max(axis=0), moved)
            best = np.where(is_better, trial, best)
            value = np.where(is_better, trial_value, value)
            is_open &= ~is_better
            direction = 0.5 * direction
        if moved.max(initial=0.0) <= SETTLED:
            break
    return best


def _direction(objective, variables, value):
    """Newton's direction (P, K), which leads up, of limited length."""
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
    return direction.T
