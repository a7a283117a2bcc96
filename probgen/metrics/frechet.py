"""Frechet distance between the Gaussians that have the moments of two samples."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probgen.metrics._samples import check_samples


def frechet_distance(X: npt.ArrayLike, Y: npt.ArrayLike, *, features: Any = None) -> float:
    """Return the squared Frechet distance between Gaussians fitted to two samples.

    It is |mean_X - mean_Y|^2 + trace(C_X + C_Y - 2 (C_X C_Y)^(1/2)), with the means and the
    covariance matrices of the rows: the squared 2-Wasserstein distance of two Gaussians [1]_. On
    the features of a classifier it is the usual measure of the quality of images; with an Inception
    network it is the Frechet inception distance [2]_. Compare values only for the same features and
    the same sample sizes.

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
        If the samples have different columns, values that are not finite, or fewer than 2 rows.

    Notes
    -----
    Small samples are biased. Two samples of n and m rows from one distribution of d columns with
    identity covariance have means at a squared distance of about d/n + d/m. Their covariances add
    more, and are singular for n <= d. Use many rows, and as many for one model as for the other.

    The trace of the matrix root is the sum of the singular values of R_X R_Y', where R is the
    triangular factor of centred rows, R'R = (n - 1) C. No matrix root is computed, so singular
    covariances lose no precision.

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
    mean_x = X.mean(axis=0)
    mean_y = Y.mean(axis=0)
    root_x = _covariance_root(X - mean_x)
    root_y = _covariance_root(Y - mean_y)
    trace_of_root = np.linalg.svd(root_x @ root_y.T, compute_uv=False).sum()
    traces = np.sum(root_x**2) + np.sum(root_y**2)
    distance = np.sum((mean_x - mean_y) ** 2) + traces - 2.0 * trace_of_root
    return max(float(distance), 0.0)


def _covariance_root(rows: np.ndarray) -> np.ndarray:
    """Triangular matrix R (min(n, d), d) with R'R the covariance of centred rows (n, d)."""
    return np.linalg.qr(rows, mode="r") / np.sqrt(len(rows) - 1.0)
