"""Quantile functions: each uniform number gives one value of a feature."""

from typing import Any

import numpy as np
import torch
from pyro.distributions import Bernoulli, Categorical, MixtureSameFamily
from scipy.special import log_softmax, logsumexp
from torch import Tensor

from probgen.distributions.bounded import DiscretizedLogisticMixture
from probgen.distributions.truncated_normal import log_interval_probability, truncated_quantile

# Ends of the open unit interval in double precision.
LEAST = 2.0**-60
MOST = 1.0 - 2.0**-53


def quantile(distribution: Any, uniforms: Tensor) -> Tensor:
    """Return values of features by inversion of their distribution functions.

    A mixture chooses a component by the uniform number, and takes a value from the component by
    what remains of it.

    Parameters
    ----------
    distribution : torch.distributions.Distribution
        Distributions of scalars, of batch shape (n, m).
    uniforms : double Tensor of shape (n, m)

    Returns
    -------
    values : double Tensor of shape (n, m)

    Examples
    --------
    >>> import torch
    >>> uniforms = torch.tensor([[0.1, 0.6]], dtype=torch.float64)
    >>> quantile(Categorical(logits=torch.zeros(1, 2, 4)), uniforms)
    tensor([[0., 2.]], dtype=torch.float64)
    """
    if isinstance(distribution, Bernoulli):
        return (uniforms >= torch.sigmoid(-distribution.logits.double())).double()
    if isinstance(distribution, Categorical):
        return choose_level(distribution.logits.double().softmax(-1), uniforms)[0].double()
    if isinstance(distribution, DiscretizedLogisticMixture):
        component, rest = _component(distribution.logits, uniforms)
        location = _of_component(distribution.locations, component)
        scale = torch.exp(_of_component(distribution.log_scales, component))
        value = location + scale * torch.logit(rest)
        # From the axis where levels span [-1, 1] to levels.
        top = distribution.n_levels - 1
        return torch.round(0.5 * (value + 1.0) * top).clamp(0.0, top)
    if isinstance(distribution, MixtureSameFamily):  # of Gaussians
        component, rest = _component(distribution.mixture_distribution.logits, uniforms)
        normal = distribution.component_distribution
        location = _of_component(normal.loc, component)
        scale = _of_component(normal.scale, component)
        return location + scale * torch.special.ndtri(rest)
    return distribution.icdf(uniforms)


def level_quantile(log_probs: Tensor, allowed: Tensor, uniforms: Tensor) -> Tensor:
    """Return levels (n, m) by inversion, restricted to allowed ones.

    Parameters
    ----------
    log_probs : Tensor of shape (n, m, n_levels)
    allowed : boolean Tensor of shape (n, m, n_levels)
    uniforms : double Tensor of shape (n, m)

    Returns
    -------
    levels : double Tensor of shape (n, m)
    """
    log_probs = torch.where(allowed, log_probs, -torch.inf)
    weights = torch.exp(log_probs - log_probs.amax(-1, keepdim=True))
    levels = torch.arange(log_probs.shape[-1], device=log_probs.device)
    # Rounding of the cumulated weights may lead past the last level that is allowed.
    last = torch.where(weights > 0.0, levels, 0).amax(-1)
    return torch.minimum(choose_level(weights, uniforms)[0], last).double()


def normal_mixture_log_mass(
    low: np.ndarray, high: np.ndarray, logits: np.ndarray, loc: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Return log-probabilities of intervals under mixtures of Gaussians.

    Parameters
    ----------
    low, high : ndarray of shape (...)
    logits, loc, scale : ndarray of shape (..., n_components)

    Returns
    -------
    log_mass : ndarray of shape (...)

    Examples
    --------
    >>> import numpy as np
    >>> one = np.ones((1, 2))
    >>> np.exp(normal_mixture_log_mass(np.array([-np.inf]), np.array([0.0]), one, 0.0 * one, one))
    array([0.5])
    """
    return logsumexp(_component_log_masses(low, high, logits, loc, scale), axis=-1)


def normal_mixture_quantile(
    uniforms: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    logits: np.ndarray,
    loc: np.ndarray,
    scale: np.ndarray,
) -> np.ndarray:
    """Return values of mixtures of Gaussians restricted to intervals, by inversion.

    Parameters
    ----------
    uniforms, low, high : ndarray of shape (...)
    logits, loc, scale : ndarray of shape (..., n_components)

    Returns
    -------
    values : ndarray of shape (...)
    """
    log_masses = _component_log_masses(low, high, logits, loc, scale)
    highest = log_masses.max(axis=-1, keepdims=True)
    # Intervals out of reach of all components have values too, from any of them.
    weights = np.exp(log_masses - np.where(np.isneginf(highest), 0.0, highest))
    weights[np.isneginf(highest[..., 0])] = 1.0
    uniforms = np.ascontiguousarray(uniforms)
    component, rest = choose_level(torch.from_numpy(weights), torch.from_numpy(uniforms))
    component = component.numpy()[..., None]
    loc = np.take_along_axis(loc, component, axis=-1)[..., 0]
    scale = np.take_along_axis(scale, component, axis=-1)[..., 0]
    levels = np.clip(rest.numpy(), LEAST, MOST)
    z = truncated_quantile(levels, (low - loc) / scale, (high - loc) / scale)
    return np.clip(loc + scale * z, low, high)


def _component_log_masses(low, high, logits, loc, scale):
    """Log-probabilities (..., n_components) of a component and the interval (...)."""
    low = (low[..., None] - loc) / scale
    high = (high[..., None] - loc) / scale
    return log_softmax(logits, axis=-1) + log_interval_probability(low, high)


def mixture_arrays(distribution: Any, features: Tensor) -> list[np.ndarray]:
    """Return logits, locations and scales (n, m, n_components) of m features, as arrays."""
    normal = distribution.component_distribution
    parts = (distribution.mixture_distribution.logits, normal.loc, normal.scale)
    return [part[:, features].double().cpu().numpy() for part in parts]


def _component(logits, uniforms):
    """Components (n, m) by logits (n, m, k), and the rest of the uniform numbers."""
    weights = logits.double().softmax(-1)
    component, rest = choose_level(weights, uniforms)
    return component, rest.clamp(LEAST, MOST)


def _of_component(parameters, component):
    """Parameters (n, m) of the chosen components, out of those of all (n, m, k)."""
    return parameters.gather(-1, component[..., None])[..., 0].double()


def choose_level(weights: Tensor, uniforms: Tensor) -> tuple[Tensor, Tensor]:
    """Indices (n, m) by weights (n, m, k) >= 0, and the rest of the uniform numbers.

    The rest is the position of a uniform number within the share of its index; it is uniform too.
    """
    steps = weights.cumsum(-1)
    position = uniforms * steps[..., -1]
    index = (position[..., None] >= steps).sum(-1).clamp_max(weights.shape[-1] - 1)
    width = weights.gather(-1, index[..., None])[..., 0]
    start = steps.gather(-1, index[..., None])[..., 0] - width
    return index, (position - start) / width.clamp_min(torch.finfo(weights.dtype).tiny)
