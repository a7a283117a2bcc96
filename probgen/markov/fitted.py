"""Emissions as the public attributes of an estimator, and back."""

import numpy as np

from probgen.gaussians.starts import FAMILIES
from probgen.markov.family_emission import FamilyEmission
from probgen.markov.gaussian_emission import GaussianEmission

FAMILY = "_families"


def arrays_of(emission, is_mixture):
    """Attributes of an emission, by name."""
    if isinstance(emission, FamilyEmission):
        return {FAMILY: emission.components}
    components = emission.components
    arrays = {"means_": components.means, "covariances_": components.covariances}
    if hasattr(components, "precisions_cholesky") and components.covariance_type in (
        "full",
        "tied",
    ):
        arrays["precisions_cholesky_"] = components.precisions_cholesky
    if not is_mixture:
        return arrays
    shape = emission.n_states, emission.n_mixture
    found = {"weights_": components.weights.reshape(shape)}
    for name, array in arrays.items():
        if name != "means_" and components.covariance_type == "tied":
            found[name] = array
        else:
            found[name] = array.reshape(*shape, *array.shape[1:])
    return found


def emission_of(attributes, covariance_type, smoothing):
    """The emission of attributes, as `arrays_of` gives them."""
    if FAMILY in attributes:
        return FamilyEmission(attributes[FAMILY], smoothing)

    def read(name, n_own):
        array = np.asarray(attributes[name], dtype=np.float64)
        if n_own is None:
            return array
        return array.reshape(-1, *array.shape[array.ndim - n_own :])

    n_states = len(attributes["start_probabilities_"])
    means = read("means_", 1)
    weights = np.ones(n_states)
    if "weights_" in attributes:
        weights = read("weights_", None)
        weights = (weights / weights.sum(axis=1, keepdims=True)).ravel()
    n_own = {"full": 2, "tied": None, "diag": 1, "spherical": 0}[covariance_type]
    arrays = [read("covariances_", n_own)]
    if covariance_type in ("full", "tied"):
        arrays.append(read("precisions_cholesky_", n_own))
    components = FAMILIES[covariance_type](weights, means, *arrays)
    return GaussianEmission(components, n_states)
