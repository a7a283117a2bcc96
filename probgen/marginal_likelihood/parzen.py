"""Parzen windows: a density from draws, for models that can only be sampled."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from probgen._constants import LOG_2PI
from probgen._validation import check_real
from probgen.marginal_likelihood.effective_draws import LEAST_EFFECTIVE

# Rows of a matrix product, which has this shape for any number of rows: a kernel may round another
# one differently. So few are cheap for a single row, and hardly slower than more for many.
TILE = 16
# Each grid covers the two steps about the best point of the one before.
GRID_POINTS = 12
N_GRIDS = 3
FLOOR = 1e-3  # least bandwidth, as a share of the largest


@dataclass(frozen=True)
class CentredDraws:
    """Draws of a model, prepared for windows on them.

    Attributes
    ----------
    centre : ndarray of shape (n_features,)
        Mean of the draws.
    offsets : ndarray of shape (m, n_features)
        Draws minus their centre, in double precision.
    squares : ndarray of shape (m,)
        Squared lengths of the offsets.
    """

    centre: np.ndarray
    offsets: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, draws: np.ndarray) -> Self:
        """Prepare draws (m, n_features)."""
        # Far from the origin, products would cancel most digits of the squared distances.
        centre = draws.mean(axis=0, dtype=np.float64)
        offsets = draws - centre
        return cls(centre, offsets, np.sum(offsets**2, axis=1))

    def __len__(self) -> int:
        return len(self.offsets)


def parzen_log_density(
    X: np.ndarray, draws: np.ndarray | CentredDraws, bandwidth: float, *, return_std: bool = False
) -> Any:
    """Return the log-density of rows under draws of a model, each blurred by a Gaussian.

    It is log (1/m) sum_j N(x; draw_j, bandwidth^2 I), the estimate of the first papers on
    adversarial networks [1]_. With many columns it says little about the model: with any affordable
    number of draws it is far from the likelihood, it ranks models differently, and centres of
    k-means clusters in place of draws score better than the training data themselves [2]_. To
    choose among models, use a distance between samples.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Rows to score.
    draws : ndarray of shape (m, n_features) or CentredDraws
        Draws of the model, in the units of X; prepared ones where many calls share them.
    bandwidth : float
        Standard deviation of the Gaussians in units of X, above 0; such as the one of
        `parzen_bandwidth`.
    return_std : bool, default=False
        Whether to return also the standard errors that come from the finite number of draws.

    Returns
    -------
    log_density : ndarray of shape (n,)
        In nats, in double precision.
    std : ndarray of shape (n,)
        With return_std=True. It is inf where fewer than LEAST_EFFECTIVE draws are effective.

    Raises
    ------
    ValueError
        If the bandwidth is not above 0.

    References
    ----------
    .. [1] I. Goodfellow et al., Generative adversarial nets, 2014.
    .. [2] L. Theis, A. van den Oord and M. Bethge, A note on the evaluation of generative models,
       2016.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.marginal_likelihood.parzen import parzen_log_density
    >>> parzen_log_density(np.array([[0.0]]), np.array([[0.0], [0.0]]), 1.0).round(4)
    array([-0.9189])
    """
    check_real("bandwidth", bandwidth, low=np.finfo(np.float64).tiny)
    values = []
    errors = []
    for squares in _squared_distances(X, draws):
        block_values, weights = _log_mean(squares, bandwidth)
        values.append(block_values)
        if return_std:
            is_known = weights.sum(axis=1) ** 2 >= LEAST_EFFECTIVE * np.square(weights).sum(axis=1)
            block_errors = weights.std(axis=1) / (weights.mean(axis=1) * np.sqrt(len(draws)))
            errors.append(np.where(is_known, block_errors, np.inf))
    log_density = np.concatenate(values)
    log_density -= X.shape[1] * (np.log(bandwidth) + 0.5 * LOG_2PI)
    if return_std:
        return log_density, np.concatenate(errors)
    return log_density


def parzen_bandwidth(X: np.ndarray, draws: np.ndarray) -> float:
    """Return the bandwidth under which rows have the highest mean log-density.

    The optimum is the root mean squared distance of rows from draws, weighted by the posterior of
    the draws, over sqrt(n_features). It lies between the value for the nearest draw and that for
    all draws; three nested grids locate it to about one percent.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Rows that the model was not fitted to: for memorised rows the bandwidth is too small.
    draws : ndarray of shape (m, n_features)
        Draws of the model, in the units of X.

    Returns
    -------
    bandwidth : float
        In units of X; at least a thousandth of the root mean squared distance, so that it is
        above 0 where rows are draws, and 0.001 where all rows and draws are equal.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.marginal_likelihood.parzen import parzen_bandwidth
    >>> rng = np.random.default_rng(0)
    >>> rows, draws = rng.normal(size=(500, 1)), np.zeros((1, 1))
    >>> round(parzen_bandwidth(rows, draws), 1)  # the deviation from the one draw
    1.0
    """
    d = X.shape[1]
    nearest = []
    mean = []
    for squares in _squared_distances(X, draws):
        nearest.append(squares.min(axis=1).sum())
        mean.append(squares.mean(axis=1).sum())
    lowest = np.sqrt(np.sum(nearest) / (len(X) * d))
    highest = np.sqrt(np.sum(mean) / (len(X) * d))
    if highest == 0.0:
        return FLOOR
    low = np.log(max(lowest, FLOOR * highest))
    high = np.log(highest)
    for _ in range(N_GRIDS):
        grid = np.linspace(low, high, GRID_POINTS)
        totals = -d * len(X) * grid
        for squares in _squared_distances(X, draws):
            totals += [_log_mean(squares, np.exp(point))[0].sum() for point in grid]
        best = int(np.argmax(totals))
        low = grid[max(best - 1, 0)]
        high = grid[min(best + 1, GRID_POINTS - 1)]
    return float(np.exp(grid[best]))


def _log_mean(squares: np.ndarray, bandwidth: float) -> tuple[np.ndarray, np.ndarray]:
    """Log means (n,) over the draws of exp(-squares / (2 bandwidth^2)), and these up to a factor.

    squares are (n, m); the second array is divided by the maximum of each row.
    """
    weights = squares * (-0.5 / bandwidth**2)
    largest = weights.max(axis=1)
    weights -= largest[:, np.newaxis]
    np.exp(weights, out=weights)
    return largest + np.log(weights.mean(axis=1)), weights


def _squared_distances(X: np.ndarray, draws: np.ndarray | CentredDraws) -> Iterator[np.ndarray]:
    """Yield squared distances (TILE or fewer, m) of rows from draws, in double precision.

    The last rows are padded to a whole tile, so that a row is bit-identical in any batch.
    """
    if isinstance(draws, np.ndarray):
        draws = CentredDraws.of(draws)
    tile = np.zeros((TILE, X.shape[1]))
    for start in range(0, len(X), TILE):
        n_real = min(TILE, len(X) - start)
        np.subtract(X[start : start + n_real], draws.centre, out=tile[:n_real])
        distances = (tile @ draws.offsets.T)[:n_real]
        distances *= -2.0
        distances += draws.squares
        distances += np.sum(tile[:n_real] ** 2, axis=1)[:, np.newaxis]
        yield np.maximum(distances, 0.0, out=distances)
