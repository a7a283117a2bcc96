"""Densities of the codes of trained networks, which make generators of them."""

import numpy as np
import torch
from sklearn.base import clone

from probgen.estimators.gaussian_mixture import GaussianMixture
from probgen.marginal_likelihood.latent_model import NumpyLogDensity, mixture_log_density

MAX_COMPONENTS = 10
ROWS_A_COMPONENT, ROWS_A_CODE = (
    25,
    4,
)  # of the default density: a component needs so many, and so many a code number


def check_code_density(density):
    """Raise unless density is a generator, or None for the default one."""
    if density is not None and not hasattr(density, "score_samples"):
        raise ValueError(f"latent_density must be a generator, or None; got {density!r}.")


def fit_code_density(density, codes, generator):
    """A clone of a density, or a GaussianMixture for None, fitted to codes (n, k); generator seeds
    it if need be."""
    if density is None:
        enough = max(ROWS_A_COMPONENT, ROWS_A_CODE * codes.shape[1])
        n_components = max(1, min(MAX_COMPONENTS, len(codes) // enough))
        density = GaussianMixture(n_components, reg_covar=1e-6 * max(float(codes.var()), 1e-12))
    else:
        density = clone(density)
    if "random_state" in density.get_params() and density.get_params()["random_state"] is None:
        density.set_params(random_state=int(generator.integers(2**31)))
    return density.fit(codes)


def log_code_density(density, mean, deviations, device):
    """log p(z) under a fitted density as a function of codes (..., k) that can be differentiated.

    mean and deviations (k,) are those of the codes that it was fitted to. A density that is no
    GaussianMixture costs k + 1 queries.
    """
    if isinstance(density, GaussianMixture):
        parts = density._components()
        covariances = np.stack([parts.covariance(c) for c in range(len(parts))])
        return mixture_log_density(
            *(
                torch.as_tensor(part, device=device)
                for part in (parts.weights, parts.means, covariances)
            )
        )
    return lambda codes: NumpyLogDensity.apply(codes, density.score_samples, mean, deviations)
