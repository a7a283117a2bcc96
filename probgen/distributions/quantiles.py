"""Quantile functions: one uniform number makes one value of a feature."""

import numpy as np
import torch
from pyro.distributions import Bernoulli, Categorical, MixtureSameFamily
from scipy.special import log_softmax, logsumexp

from probgen.distributions.bounded import DiscretizedLogisticMixture
from probgen.distributions.truncated_normal import log_interval_probability, truncated_quantile

LEAST, MOST = 2.0**-60, 1.0 - 2.0**-53  # of the open unit interval


def quantile(distribution, uniforms):
    """Return values of features by inversion.

    Parameters
    ----------
    distribution : torch.distributions.Distribution
        Of single features, of batch shape (n, m).
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
        return _level(distribution.logits.double().softmax(-1), uniforms)[0].double()
    if isinstance(distribution, DiscretizedLogisticMixture):
        chosen, rest = _component(distribution.logits, uniforms)
        location, log_scale = (
            part.gather(-1, chosen[..., None])[..., 0].double()
            for part in (distribution.locations, distribution.log_scales)
        )
        drawn = location + torch.exp(log_scale) * torch.logit(rest)
        top = distribution.n_levels - 1
        return torch.round(0.5 * (drawn + 1.0) * top).clamp(0.0, top)
    if isinstance(distribution, MixtureSameFamily):  # of Gaussians
        chosen, rest = _component(distribution.mixture_distribution.logits, uniforms)
        normal = distribution.component_distribution
        location, scale = (
            part.gather(-1, chosen[..., None])[..., 0].double()
            for part in (normal.loc, normal.scale)
        )
        return location + scale * torch.special.ndtri(rest)
    return distribution.icdf(uniforms)


def level_quantile(table, allowed, uniforms):
    """Levels (n, m) that are allowed (n, m, n_levels), of log-probabilities of that shape."""
    table = torch.where(allowed, table, -torch.inf)
    weights = torch.exp(table - table.amax(-1, keepdim=True))
    levels = torch.arange(table.shape[-1], device=table.device)
    last = torch.where(weights > 0.0, levels, 0).amax(-1)  # rounding may reach beyond it
    return torch.minimum(_level(weights, uniforms)[0], last).double()


def normal_mixture_log_mass(low, high, logits, loc, scale):
    """Log-probability of intervals under mixtures of Gaussians.

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
    return logsumexp(_component_masses(low, high, logits, loc, scale), axis=-1)


def normal_mixture_quantile(uniforms, low, high, logits, loc, scale):
    """Values of mixtures of Gaussians within intervals; arguments as in `normal_mixture_log_mass`,
    uniforms (...)."""
    masses = _component_masses(low, high, logits, loc, scale)
    weights = np.exp(masses - masses.max(axis=-1, keepdims=True))
    chosen, rest = _level(
        torch.from_numpy(weights), torch.from_numpy(np.ascontiguousarray(uniforms))
    )
    chosen = chosen.numpy()[..., None]
    loc, scale = (np.take_along_axis(part, chosen, axis=-1)[..., 0] for part in (loc, scale))
    z = truncated_quantile(
        np.clip(rest.numpy(), LEAST, MOST), (low - loc) / scale, (high - loc) / scale
    )
    return np.clip(loc + scale * z, low, high)


def _component_masses(low, high, logits, loc, scale):
    low, high = (low[..., None] - loc) / scale, (high[..., None] - loc) / scale
    return log_softmax(logits, axis=-1) + log_interval_probability(low, high)


def mixture_arrays(distribution, features):
    """Parameters (n, m, n_components) of some features under mixtures of Gaussians."""
    normal = distribution.component_distribution
    parts = (distribution.mixture_distribution.logits, normal.loc, normal.scale)
    return [part[:, features].double().cpu().numpy() for part in parts]


def _component(logits, uniforms):
    """Indices (n, m) of components of weights (n, m, k) as logits, and what is left of the
    uniforms."""
    weights = logits.double().softmax(-1)
    chosen, rest = _level(weights, uniforms)
    return chosen, rest.clamp(LEAST, MOST)


def _level(weights, uniforms):
    """Indices (n, m) by weights (n, m, k) >= 0, and the uniform numbers that are left within
    them."""
    steps = weights.cumsum(-1)
    position = uniforms * steps[..., -1]
    index = (position[..., None] >= steps).sum(-1).clamp_max(weights.shape[-1] - 1)
    width = weights.gather(-1, index[..., None])[..., 0]
    start = steps.gather(-1, index[..., None])[..., 0] - width
    return index, (position - start) / width.clamp_min(torch.finfo(weights.dtype).tiny)
