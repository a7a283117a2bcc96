"""Parameters that a user gives EM to start from.

The errors have the words of scikit-learn's GaussianMixture, which its users know.
"""

from dataclasses import dataclass, replace

import numpy as np

from probgen._validation import read_numbers
from probgen.gaussians.starts import FAMILIES


@dataclass(frozen=True)
class GivenStart:
    """The given part of a start; None for what is not given.

    Attributes
    ----------
    weights : ndarray of shape (K,) or None
    means : ndarray of shape (K, d) or None
    factors : ndarray or None
        Factors P of precisions P P', in the layout of precisions_cholesky_.
    """

    weights: np.ndarray | None
    means: np.ndarray | None
    factors: np.ndarray | None

    @classmethod
    def read(
        cls, weights_init, means_init, precisions_init, *, covariance_type, n_components, n_features
    ):
        """Check the parameters of a GaussianMixture; raise ValueError where one is unsuitable."""
        if precisions_init is not None and covariance_type == "low_rank":
            raise ValueError(
                "precisions_init must be None with covariance_type='low_rank', which keeps no"
                " precisions."
            )
        weights = None
        if weights_init is not None:
            weights = _checked_weights(weights_init, n_components)
        means = None
        if means_init is not None:
            means = _checked("means", means_init, (n_components, n_features))
        factors = None
        if precisions_init is not None:
            factors = _factors(precisions_init, covariance_type, n_components, n_features)
        return cls(weights, means, factors)

    @property
    def is_whole(self):
        """Whether there is nothing left to estimate."""
        return self.weights is not None and self.means is not None and self.factors is not None

    def components(self, covariance_type, origin):
        """The components of a whole start, relative to origin."""
        return FAMILIES[covariance_type].from_precisions(
            self.weights, self.means - origin, self.factors
        )

    def override(self, components, origin):
        """Components, relative to origin, with the given parameters in place of their own."""
        weights = components.weights if self.weights is None else self.weights
        means = components.means if self.means is None else self.means - origin
        if self.factors is not None:
            return type(components).from_precisions(weights, means, self.factors)
        return replace(components, weights=weights, means=means)


def _checked(name, value, shape):
    array = read_numbers(name, value)
    if array.shape != shape:
        raise ValueError(
            f"The parameter '{name}' should have the shape of {shape}, but got {array.shape}"
        )
    if not np.isfinite(array).all():
        raise ValueError(f"The parameter '{name}' should be finite, but got NaN or an infinity")
    return array


def _checked_weights(value, n_components):
    weights = _checked("weights", value, (n_components,))
    if weights.min() < 0.0 or weights.max() > 1.0:
        raise ValueError(
            "The parameter 'weights' should be in the range [0, 1], but got max value "
            f"{weights.max():.5f}, min value {weights.min():.5f}"
        )
    if not np.isclose(weights.sum(), 1.0, rtol=1e-6):
        raise ValueError(
            "The parameter 'weights' should be normalized, but got sum(weights) ="
            f" {weights.sum():.5f}"
        )
    return weights


def _factors(value, covariance_type, n_components, n_features):
    """Factors of precisions, in the layout of precisions_cholesky_."""
    K, d = n_components, n_features
    shape = {"full": (K, d, d), "tied": (d, d), "diag": (K, d), "spherical": (K,)}[covariance_type]
    precisions = _checked(f"{covariance_type} precision", value, shape)
    if covariance_type in ("diag", "spherical"):
        if precisions.min() <= 0.0:
            raise ValueError(f"'{covariance_type} precision' should be positive")
        return np.sqrt(precisions)
    try:
        if not np.allclose(precisions, np.swapaxes(precisions, -1, -2)):
            raise np.linalg.LinAlgError
        # P is upper triangular: the reversed Cholesky factor of the reversed matrix.
        return np.linalg.cholesky(precisions[..., ::-1, ::-1])[..., ::-1, ::-1]
    except np.linalg.LinAlgError:
        raise ValueError(
            f"'{covariance_type} precision' should be symmetric, positive-definite"
        ) from None
