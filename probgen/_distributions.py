"""Distributions that neither torch nor Pyro has."""

import torch
from pyro.distributions import TorchDistribution, constraints
from torch.nn import functional

SMALLEST_MASS = 1e-12


class DiscretizedLogisticMixture(TorchDistribution):
    """Mixture of logistics on whole numbers 0 to n_levels - 1, each of which has the mass of its cell.

    Parameters
    ----------
    logits, locations, log_scales : Tensor of shape (*batch_shape, n_logistics)
        Weights, locations and scales, where the numbers span [-1, 1]. The end cells take the tails.
    n_levels : int

    References
    ----------
    T. Salimans et al., PixelCNN++, 2017, section 2.1.

    Examples
    --------
    >>> import torch
    >>> d = DiscretizedLogisticMixture(torch.zeros(1), torch.zeros(1), torch.zeros(1), n_levels=3)
    >>> d.log_prob(torch.arange(3.0)).exp().sum().item()
    1.0
    """

    arg_constraints = {  # noqa: RUF012 (as in torch)
        "logits": constraints.independent(constraints.real, 1),
        "locations": constraints.independent(constraints.real, 1),
        "log_scales": constraints.independent(constraints.real, 1),
    }

    def __init__(self, logits, locations, log_scales, n_levels):
        self.logits, self.locations, self.log_scales = torch.broadcast_tensors(logits, locations, log_scales)
        self.n_levels = n_levels
        super().__init__(self.logits.shape[:-1], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        """Whole numbers from 0 to n_levels - 1."""
        return constraints.integer_interval(0, self.n_levels - 1)

    def expand(self, batch_shape, _instance=None):
        """The distribution for a batch of that shape."""
        shape = torch.Size([*batch_shape, self.logits.shape[-1]])
        parts = (part.expand(shape) for part in (self.logits, self.locations, self.log_scales))
        return type(self)(*parts, self.n_levels)

    def log_prob(self, value):
        """Log-probability of whole numbers."""
        value = value.unsqueeze(-1)
        half = 1.0 / (self.n_levels - 1)  # of a cell
        offset = 2.0 * half * value - 1.0 - self.locations
        inverse = torch.exp(-self.log_scales)
        upper, lower = inverse * (offset + half), inverse * (offset - half)
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), which keeps its digits in the tails.
        inner = (
            functional.logsigmoid(upper)
            + functional.logsigmoid(-lower)
            + torch.log(-torch.expm1(-2.0 * half * inverse) + SMALLEST_MASS)
        )
        ends = torch.where(value == 0.0, functional.logsigmoid(upper), functional.logsigmoid(-lower))
        mass = torch.where((value == 0.0) | (value == self.n_levels - 1), ends, inner)
        return torch.logsumexp(mass + functional.log_softmax(self.logits, -1), -1)

    def sample(self, sample_shape=()):
        """Draws of shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            shape = torch.Size([*sample_shape, *self.logits.shape])
            chosen = torch.distributions.Categorical(logits=self.logits.expand(shape), validate_args=False).sample()
            location, log_scale = (
                part.expand(shape).gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
                for part in (self.locations, self.log_scales)
            )
            uniform = torch.rand_like(location).clamp(1e-7, 1.0 - 1e-7)
            drawn = location + torch.exp(log_scale) * torch.logit(uniform)
            return torch.round(0.5 * (drawn + 1.0) * (self.n_levels - 1)).clamp(0.0, self.n_levels - 1.0)

    @property
    def mean(self):
        """Mean number, the sum of the probabilities of being at least 1, 2, and so on."""
        weights, scales = functional.softmax(self.logits, -1), torch.exp(self.log_scales)
        total = torch.zeros_like(self.logits[..., 0])
        for level in range(1, self.n_levels):  # one at a time, for all would be n_levels times as many numbers
            edge = (2.0 * level - 1.0) / (self.n_levels - 1) - 1.0
            total = total + (weights * torch.sigmoid((self.locations - edge) / scales)).sum(-1)
        return total
