"""Kernel maximum mean discrepancy between two samples."""

import numpy as np
from scipy.spatial.distance import pdist

from probgen._validation import check_real
from probgen.metrics._samples import check_samples

MEDIAN_ROWS = 500  # for the median distance
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # of the median distance, for the bandwidths
BLOCK_NUMBERS = 2**20  # distances of a block


def kernel_mmd(X, Y, *, bandwidths=None, unbiased=True, features=None):
    """Return the squared maximum mean discrepancy between two samples.

    It is E k(x, x') + E k(y, y') - 2 E k(x, y) with independent x, x' and y, y' of either kind
    [1]_, where k(x, y) is the mean over the bandwidths s of exp(-|x - y|^2 / (2 s^2)). Several
    bandwidths see differences of several sizes.

    Parameters
    ----------
    X, Y : array-like of shape (n, n_features) and (m, n_features)
        The samples, of at least 2 rows each. X is the one that sets the bandwidths, such as the
        data.
    bandwidths : float or array-like of float, default=None
        In units of X or of the features, above 0. None takes the median distance between rows of X,
        times 1/4, 1/2, 1, 2 and 4; they do not depend on Y, so that several Y compare.
    unbiased : bool, default=True
        Whether to leave out the pairs of a row with itself: then the mean over samples is the
        discrepancy of their distributions, and values below 0 occur. Otherwise the value is at
        least 0, and too large by about (1 - E k) (1/n + 1/m).
    features : callable or transformer, default=None
        What to compare in place of the columns: a function from rows (n, n_features) to an array
        (n, k), or a fitted object with `transform`.

    Returns
    -------
    discrepancy : float
        At most 2; 0 means that the distributions are the same. It has no unit.

    Raises
    ------
    ValueError
        If the samples have other than the same columns, finite numbers and 2 rows each, or a
        bandwidth is not above 0.

    Notes
    -----
    The time goes with (n + m)^2, the memory with n + m.

    References
    ----------
    .. [1] A. Gretton, K. M. Borgwardt, M. J. Rasch, B. Scholkopf and A. Smola, A kernel two-sample
       test, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.metrics import kernel_mmd
    >>> rng = np.random.default_rng(0)
    >>> X, Y = rng.normal(size=(500, 2)), rng.normal(size=(500, 2))
    >>> bool(kernel_mmd(X, Y + 0.5) > 10 * abs(kernel_mmd(X, Y)))
    True
    """
    X, Y = check_samples(X, Y, features)
    if bandwidths is None:
        bandwidths = _median_distance(X) * np.array(FACTORS)
    for bandwidth in np.ravel(np.asarray(bandwidths, dtype=object)):
        check_real("bandwidths", bandwidth, low=np.finfo(float).tiny)
    precisions = 0.5 / np.ravel(np.asarray(bandwidths, dtype=np.float64)) ** 2
    centre = X.mean(axis=0)  # far from zero the squared distances would lose digits
    X, Y = X - centre, Y - centre
    within = sum(_mean_within(rows, precisions, unbiased) for rows in (X, Y))
    return float(within - 2.0 * _kernel_sum(X, Y, precisions) / (len(X) * len(Y)))


def _median_distance(X):
    """Median distance between unlike rows of X, 1 if there are none; of evenly spaced rows where
    there are many."""
    rows = X[np.unique(np.linspace(0, len(X) - 1, min(len(X), MEDIAN_ROWS)).astype(np.int64))]
    distances = pdist(rows)
    unlike = distances[distances > 0.0]
    return np.median(unlike) if len(unlike) else 1.0


def _mean_within(rows, precisions, unbiased):
    """Mean of the kernel over pairs of rows (n, d), without those of a row with itself if
    unbiased."""
    n = len(rows)
    total = _kernel_sum(rows, rows, precisions)
    return (total - n) / (n * (n - 1)) if unbiased else total / n**2


def _kernel_sum(X, Y, precisions):
    """Sum of the kernel over all pairs of rows (n, d) and (m, d)."""
    squares_x, squares_y = np.sum(X**2, axis=1), np.sum(Y**2, axis=1)
    n_rows = max(1, BLOCK_NUMBERS // len(Y))
    total = 0.0
    for start in range(0, len(X), n_rows):
        block = slice(start, start + n_rows)
        squares = squares_x[block, None] + squares_y - 2.0 * (X[block] @ Y.T)
        np.maximum(squares, 0.0, out=squares)
        total += sum(np.exp(-precision * squares).sum() for precision in precisions)
    return total / len(precisions)
