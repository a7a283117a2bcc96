"""Importance weights of the codes that a guide proposes, under noise that is the same for all
rows."""

from pyro.distributions import TransformedDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import Independent, Normal

from probgen.programs.terms import elbo_terms


def log_weights(model, guide, args, noise):
    """Run a guide on given noise, and the model on what that gives; their `log_weights` are those
    of the draws.

    Parameters
    ----------
    model, guide : callable
        Pyro programs, as for `elbo_terms`; to be run in `isolated_pyro_state`.
    args : tuple
        Of both.
    noise : Tensor of shape (n_samples, k)
        Standard normal numbers, which the latent sites of the guide use up one after another.

    Returns
    -------
    terms : ElboTerms
        Of shape (n_samples, n).
    """
    with CommonNoise(noise):
        return elbo_terms(model, guide, args, n_particles=len(noise))


class CommonNoise(Messenger):
    """Handler that draws latent sites from given noise, the same for all rows.

    A site that is no Gaussian, and no transformed one, draws from torch's global generator as ever.

    Parameters
    ----------
    noise : Tensor of shape (n_samples, k)
        For batches of shape (n_samples, n).
    """

    def __init__(self, noise):
        super().__init__()
        self.noise = noise

    def __enter__(self):
        self.n_used = 0
        return super().__enter__()

    def _pyro_sample(self, message):
        distribution = message["fn"]
        is_given = message["is_observed"] or message["value"] is not None or message["done"]
        if is_given or not _is_gaussian(distribution):
            return
        width = distribution.event_shape.numel()
        part = self.noise[:, self.n_used : self.n_used + width]
        self.n_used += width
        shape = (len(part), *[1] * (len(distribution.batch_shape) - 1), *distribution.event_shape)
        message["value"], message["done"] = _push(distribution, part.reshape(shape)), True


def _is_gaussian(distribution):
    """Whether a distribution is a Gaussian of independent numbers, perhaps transformed."""
    while isinstance(distribution, TransformedDistribution | Independent):
        distribution = distribution.base_dist
    return isinstance(distribution, Normal)


def _push(distribution, noise):
    """Standard normal noise through such a distribution."""
    if isinstance(distribution, TransformedDistribution):
        value = _push(distribution.base_dist, noise)
        for transform in distribution.transforms:
            value = transform(value)
        return value
    if isinstance(distribution, Independent):
        return _push(distribution.base_dist, noise)
    return distribution.loc + distribution.scale * noise
