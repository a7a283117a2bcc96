"""Kernel maximum mean discrepancy between two samples."""

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial.distance import pdist

from probgen._validation import check_real
from probgen.metrics._samples import check_samples

MEDIAN_ROWS = 500  # in the median distance
FACTORS = (0.25, 0.5, 1.0, 2.0, 4.0)  # bandwidths over the median distance
LEAST_BANDWIDTH = 1e-150  # whose square is above 0
BLOCK_NUMBERS = 2**20  # distances in a block


def kernel_mmd(
    X: npt.ArrayLike,
    Y: npt.ArrayLike,
    *,
    bandwidths: npt.ArrayLike | None = None,
    unbiased: bool = True,
    features: Any = None,
) -> float:
    """Return the squared maximum mean discrepancy between two samples.

    It is E k(x, x') + E k(y, y') - 2 E k(x, y), with independent x, x' from one distribution and
    y, y' from the other [1]_. The kernel k(x, y) is the mean over the bandwidths s of
    exp(-|x - y|^2 / (2 s^2)); several bandwidths detect differences at several scales.

    Parameters
    ----------
    X, Y : array-like of shape (n, n_features) and (m, n_features)
        The samples, of at least 2 rows each. X sets the default bandwidths, so pass the data as X.
    bandwidths : float or array-like of float, default=None
        In units of X or of the features, above 0. None is the median distance between rows of X,
        times 1/4, 1/2, 1, 2 and 4. It does not depend on Y, so values for several Y compare.
    unbiased : bool, default=True
        Whether to leave out the pairs of a row with itself. The estimate is then unbiased and may
        be below 0. Otherwise it is at least 0, and too large by about (1 - E k) (1/n + 1/m).
    features : callable or transformer, default=None
        What to compare in place of the columns: a function from rows (n, n_features) to an array
        (n, k), or a fitted object with `transform`.

    Returns
    -------
    discrepancy : float
        At most 2, without a unit. Its expectation is 0 if the distributions are the same.

    Raises
    ------
    ValueError
        If the samples have different columns, values that are not finite or fewer than 2 rows, or a
        bandwidth is not above 0.

    Notes
    -----
    The time grows with (n + m)^2, the memory with n + m.

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
    bandwidths = np.ravel(np.asarray(bandwidths, dtype=object))
    if not len(bandwidths):
        raise ValueError("bandwidths must hold at least one number, or be None; got none.")
    for bandwidth in bandwidths:
        check_real("bandwidths", bandwidth, low=LEAST_BANDWIDTH)
    precisions = 0.5 / bandwidths.astype(np.float64) ** 2
    centre = X.mean(axis=0)  # Far from zero, squared distances would lose digits.
    X = X - centre
    Y = Y - centre
    within = _mean_within(X, precisions, unbiased) + _mean_within(Y, precisions, unbiased)
    between = _kernel_sum(X, Y, precisions) / (len(X) * len(Y))
    return float(within - 2.0 * between)


def _median_distance(X: np.ndarray) -> float:
    """Median distance between distinct rows of X, of evenly spaced ones if there are many; or 1."""
    chosen = np.linspace(0, len(X) - 1, min(len(X), MEDIAN_ROWS)).astype(np.int64)
    distances = pdist(X[np.unique(chosen)])
    distances = distances[distances > 0.0]
    if not len(distances):
        return 1.0
    return np.median(distances)


def _mean_within(rows: np.ndarray, precisions: np.ndarray, unbiased: bool) -> float:
    """Mean of the kernel over pairs of rows (n, d), of distinct rows only if unbiased."""
    n = len(rows)
    total = _kernel_sum(rows, rows, precisions)
    if unbiased:
        return (total - n) / (n * (n - 1))
    return total / n**2


def _kernel_sum(X: np.ndarray, Y: np.ndarray, precisions: np.ndarray) -> float:
    """Sum of the kernel over all pairs of rows (n, d) and (m, d)."""
    squares_x = np.sum(X**2, axis=1)
    squares_y = np.sum(Y**2, axis=1)
    n_rows = max(1, BLOCK_NUMBERS // len(Y))
    total = 0.0
    for start in range(0, len(X), n_rows):
        block = slice(start, start + n_rows)
        squares = squares_x[block, None] + squares_y - 2.0 * (X[block] @ Y.T)
        np.maximum(squares, 0.0, out=squares)  # Rounding may leave negative ones.
        total += sum(np.exp(-precision * squares).sum() for precision in precisions)
    return total / len(precisions)
