"""Parzen windows: the density of draws that are each blurred by a Gaussian, for models that can be
drawn from alone."""

import numpy as np

from probgen._constants import LOG_2PI
from probgen._validation import check_real

BLOCK_NUMBERS = 2**20  # distances of a block, about
TILE, MOST_TILES = (
    64,
    16,
)  # rows: the kernels of a product treat the last few of an odd number otherwise
GRID_POINTS, N_GRIDS = 12, 3  # each grid spans the two steps about the best point of the one before
FLOOR = 1e-3  # least bandwidth, as a share of the largest


def parzen_log_density(X, draws, bandwidth, *, return_std=False):
    """Return the log-density of rows under draws of a model, each blurred by a Gaussian.

    It is log (1/m) sum_j N(x; draw_j, bandwidth^2 I), the estimate that the literature of
    adversarial networks began with [1]_. In many columns it says little of the model: with any
    affordable number of draws it is far from the likelihood, it ranks models otherwise than the
    likelihood does, and centres of k-means clusters in place of draws score better than the
    training data themselves [2]_. To choose among models take a distance between samples.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Rows to score.
    draws : ndarray of shape (m, n_features)
        Draws of the model, in the units of X.
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
        With return_std=True. A value near 1 says that one draw outweighs all others: the error is
        then larger.

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
    answers = []
    for squares in _squared_distances(X, draws):
        values, weights = _log_mean(squares, bandwidth)
        errors = (
            weights.std(axis=1) / (weights.mean(axis=1) * np.sqrt(len(draws)))
            if return_std
            else values
        )
        answers.append((values, errors))
    values, errors = np.concatenate(answers, axis=1)
    values -= X.shape[1] * (np.log(bandwidth) + 0.5 * LOG_2PI)
    return (values, errors) if return_std else values


def parzen_bandwidth(X, draws):
    """Return the bandwidth under which rows have the highest mean log-density.

    The optimum is the root mean square distance of rows from draws by the posterior of these,
    divided by sqrt(n_features). It lies between that from the nearest draw and that from all draws;
    three grids narrow it down, to about one part in a hundred.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Rows that the model was not fitted to: of those that it may have learned by heart the
        bandwidth gets too small.
    draws : ndarray of shape (m, n_features)
        Draws of the model, in the units of X.

    Returns
    -------
    bandwidth : float
        In units of X; at least a thousandth of the root mean square distance, so that it is above 0
        where rows are draws, and 0.001 where all are the same.

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
    blocks = [
        (squares.min(axis=1).sum(), squares.mean(axis=1).sum())
        for squares in _squared_distances(X, draws)
    ]
    low, high = np.sqrt(np.sum(blocks, axis=0) / (len(X) * d))
    if high == 0.0:
        return FLOOR
    low, high = np.log(max(low, FLOOR * high)), np.log(high)
    for _ in range(N_GRIDS):
        grid = np.linspace(low, high, GRID_POINTS)
        totals = -d * len(X) * grid
        for squares in _squared_distances(X, draws):
            totals += [_log_mean(squares, np.exp(point))[0].sum() for point in grid]
        best = int(np.argmax(totals))
        low, high = grid[max(best - 1, 0)], grid[min(best + 1, GRID_POINTS - 1)]
    return float(np.exp(grid[best]))


def _log_mean(squares, bandwidth):
    """Log means (n,) of exp(-squares (n, m) / (2 bandwidth^2)) over the draws, and those numbers
    over their maximum."""
    weights = squares * (-0.5 / bandwidth**2)
    largest = weights.max(axis=1)
    weights -= largest[:, np.newaxis]
    np.exp(weights, out=weights)
    return largest + np.log(weights.mean(axis=1)), weights


def _squared_distances(X, draws):
    """Yield squared distances (rows of a block, m) of rows from draws, in double precision.

    Blocks are filled up to one shape of whole tiles, so that the digits of a row do not depend on
    the others.
    """
    centre = draws.mean(
        axis=0, dtype=np.float64
    )  # far from zero the squared distances would lose digits
    draws = draws - centre
    squares = np.sum(draws**2, axis=1)
    n_rows = TILE * min(max(1, BLOCK_NUMBERS // (TILE * len(draws))), MOST_TILES)
    block = np.zeros((n_rows, X.shape[1]))
    for start in range(0, len(X), n_rows):
        n_real = min(n_rows, len(X) - start)
        np.subtract(X[start : start + n_real], centre, out=block[:n_real])
        distances = np.sum(block**2, axis=1)[:, np.newaxis] + squares - 2.0 * (block @ draws.T)
        yield np.maximum(distances, 0.0, out=distances)[:n_real]
