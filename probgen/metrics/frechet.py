"""Frechet distance between the Gaussians that have the moments of two samples."""

import numpy as np

from probgen.metrics._samples import check_samples


def frechet_distance(X, Y, *, features=None):
    """Return the squared Frechet distance between Gaussians fitted to two samples.

    It is |mean_X - mean_Y|^2 + trace(C_X + C_Y - 2 (C_X C_Y)^(1/2)), with the means and the
    covariance matrices of the rows: the squared 2-Wasserstein distance of two Gaussians [1]_. On
    features of a network that was trained to tell classes apart it is the usual measure of
    pictures, the Frechet inception distance where that network is Inception [2]_. Values on other
    features, or from samples of other sizes, do not compare.

    Parameters
    ----------
    X, Y : array-like of shape (n, n_features) and (m, n_features)
        The samples, such as data and draws, of at least 2 rows each.
    features : callable or transformer, default=None
        What to compare in place of the columns: a function from rows (n, n_features) to an array
        (n, k), or a fitted object with `transform`.

    Returns
    -------
    distance : float
        At least 0, and 0 where means and covariances agree; in squared units of X, or of the
        features.

    Raises
    ------
    ValueError
        If the samples have other than the same columns, finite numbers and 2 rows each.

    Notes
    -----
    A small sample lies: of n rows in d columns with identity covariance the distance to another
    such sample is about d/n + d/m by the means alone, and more by the covariances, which are
    singular for n <= d. Take many rows, and as many for one model as for the other.

    The trace of the root is the sum of the singular values of R_X R_Y', where R is the triangular
    factor of centred rows, R'R = (n - 1) C. No root is taken of a matrix, so that singular
    covariances cost no digits.

    References
    ----------
    .. [1] D. C. Dowson and B. V. Landau, The Frechet distance between multivariate normal
       distributions, 1982.
    .. [2] M. Heusel et al., GANs trained by a two time-scale update rule converge to a local Nash
       equilibrium, 2017.

    Examples
    --------
    >>> from probgen.metrics import frechet_distance
    >>> X = [[0.0, 0.0], [2.0, 0.0], [0.0, 2.0]]
    >>> Y = [[3.0, 4.0], [5.0, 4.0], [3.0, 6.0]]
    >>> round(frechet_distance(X, Y), 6)
    25.0
    """
    X, Y = check_samples(X, Y, features)
    mean_x, mean_y = X.mean(axis=0), Y.mean(axis=0)
    root_x, root_y = (_triangular_root(rows - mean) for rows, mean in ((X, mean_x), (Y, mean_y)))
    common = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    distance = np.sum((mean_x - mean_y) ** 2) + np.sum(root_x**2) + np.sum(root_y**2) - 2.0 * common
    return max(float(distance), 0.0)


def _triangular_root(rows):
    """Matrix R (min(n, d), d) with R'R the covariance of centred rows (n, d)."""
    return np.linalg.qr(rows, mode="r") / np.sqrt(len(rows) - 1.0)
