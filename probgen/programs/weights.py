"""Importance weights of codes that a guide proposes from noise that is the same for all rows."""

from collections.abc import Callable
from typing import Self

import torch
from pyro.distributions import TransformedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import Independent, Normal

from probgen.programs.terms import ElboTerms, elbo_terms


def log_weights(model: Callable, guide: Callable, args: tuple, noise: torch.Tensor) -> ElboTerms:
    """Run a guide on given noise, and the model on the draws.

    Parameters
    ----------
    model, guide : callable
        Pyro programs, as for `elbo_terms`; to be called within `isolated_pyro_state`.
    args : tuple
        Arguments of both programs.
    noise : Tensor of shape (n_samples, k)
        Standard normal numbers. The latent sites of the guide take consecutive columns.

    Returns
    -------
    terms : ElboTerms
        Terms of shape (n_samples, n), whose `log_weights` are those of the draws.
    """
    with CommonNoise(noise):
        return elbo_terms(model, guide, args, n_particles=len(noise))


class CommonNoise(Messenger):
    """Handler that draws latent sites from given noise, the same for all rows.

    Sites that are neither Gaussian nor a transformed Gaussian draw from torch's global generator.

    Parameters
    ----------
    noise : Tensor of shape (n_samples, k)
        Standard normal numbers, for sites of batch shape (n_samples, n).
    """

    def __init__(self, noise: torch.Tensor):
        super().__init__()
        self.noise = noise

    def __enter__(self) -> Self:
        self.n_used = 0
        return super().__enter__()

    def _pyro_sample(self, message):
        distribution = message["fn"]
        has_value = message["is_observed"] or message["value"] is not None or message["done"]
        if has_value or not _is_gaussian(distribution):
            return
        width = distribution.event_shape.numel()
        columns = self.noise[:, self.n_used : self.n_used + width]
        self.n_used += width
        # (n_samples, 1, ..., 1, *event_shape) broadcasts over the rows.
        ones = [1] * (len(distribution.batch_shape) - 1)
        noise = columns.reshape(len(columns), *ones, *distribution.event_shape)
        message["value"] = _push(distribution, noise)
        message["done"] = True


def _is_gaussian(distribution):
    """Whether a distribution is Gaussian with independent dimensions, perhaps transformed."""
    while isinstance(distribution, TransformedDistribution | Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, Normal)


def _push(distribution, noise):
    """The value of such a distribution for standard normal noise."""
    if isinstance(distribution, TransformedDistribution):
        value = _push(distribution.base_dist, noise)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    if isinstance(distribution, Independent):
        return _push(distribution.base_dist, noise)
    return distribution.loc + distribution.scale * noise
