"""Distributions that neither torch nor Pyro has, or not in all digits. In nats."""

import torch
from pyro.distributions import TorchDistribution, constraints
from torch.nn import functional

SERIES_RADIUS = 0.25  # of log(sinh(h) / h), whose next term is below 1e-11 there


class ContinuousBernoulli(TorchDistribution):
    """Values in [0, 1] of density proportional to exp(logit * value), which is that of the
    continuous Bernoulli.

    That of torch computes with probabilities, so that single precision loses what log-odds beyond
    16 say.

    Parameters
    ----------
    logits : Tensor of shape batch_shape

    References
    ----------
    G. Loaiza-Ganem and J. P. Cunningham, The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders, 2019.

    Examples
    --------
    >>> import torch
    >>> d = ContinuousBernoulli(torch.tensor([0.0, 100.0]))
    >>> d.log_prob(torch.ones(2)), d.mean
    (tensor([0.0000, 4.6052]), tensor([0.5000, 0.9900]))
    """

    arg_constraints = {"logits": constraints.real}  # noqa: RUF012 (as in torch)
    support = constraints.unit_interval

    def __init__(self, logits):
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    def expand(self, batch_shape, _instance=None):
        """The distribution for a batch of that shape."""
        return type(self)(self.logits.expand(batch_shape))

    def log_prob(self, value):
        """Log-density: logit (value - 1/2) - log(sinh(h) / h), where h is half the logit."""
        logits = self.logits
        half, is_near, size = self._halves()
        square = half.square()
        series = square * (
            1.0 / 6.0 - square * (1.0 / 180.0 - square * (1.0 / 2835.0 - square / 37800.0))
        )
        far = functional.relu(logits) + torch.log1p(-torch.exp(-2.0 * size)) - torch.log(2.0 * size)
        return logits * value - torch.where(is_near, 0.5 * logits + series, far)

    def sample(self, sample_shape=()):
        """Draws of shape (*sample_shape, *batch_shape), by the inverse of the distribution
        function."""
        with torch.no_grad():
            logits = self.logits.expand(torch.Size([*sample_shape, *self.logits.shape]))
            size = logits.abs().clamp_min(torch.finfo(logits.dtype).tiny)
            drawn = -torch.log1p(torch.rand_like(size) * torch.expm1(-size)) / size
            return torch.where(logits > 0.0, 1.0 - drawn, drawn).clamp(0.0, 1.0)

    @property
    def mean(self):
        """Mean: 1/2 + (coth(h) - 1 / h) / 2, where h is half the logit."""
        half, is_near, size = self._halves()
        square = half.square()
        series = half * (
            1.0 / 3.0 - square * (1.0 / 45.0 - square * (2.0 / 945.0 - square / 4725.0))
        )
        far = torch.sign(half) * (1.0 / torch.tanh(size) - 1.0 / size)
        return 0.5 + 0.5 * torch.where(is_near, series, far)

    def _halves(self):
        """Half the logits, whether series serve for them, and their size where they do not."""
        half = 0.5 * self.logits
        is_near = half.abs() < SERIES_RADIUS
        far = half.abs().clamp_min(SERIES_RADIUS)
        return torch.where(is_near, half, torch.sign(half) * SERIES_RADIUS), is_near, far


class DiscretizedLogisticMixture(TorchDistribution):
    """Mixture of logistics on whole numbers 0 to n_levels - 1, each of which has the mass of its
    cell.

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
    >>> d.log_prob(torch.arange(3.0)).exp()
    tensor([0.3775, 0.2449, 0.3775])
    """

    arg_constraints = {  # noqa: RUF012 (as in torch)
        "logits": constraints.independent(constraints.real, 1),
        "locations": constraints.independent(constraints.real, 1),
        "log_scales": constraints.independent(constraints.real, 1),
    }

    def __init__(self, logits, locations, log_scales, n_levels):
        self.logits, self.locations, self.log_scales = torch.broadcast_tensors(
            logits, locations, log_scales
        )
        self.n_levels = n_levels
        super().__init__(self.logits.shape[:-1], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self):
        """Whole numbers from 0 to n_levels - 1."""
        return constraints.integer_interval(0, self.n_levels - 1)

    def expand(self, batch_shape, _instance=None):
        """The distribution for a batch of that shape."""
        shape = torch.Size([*batch_shape, self.logits.shape[-1]])
        logits, locations = self.logits.expand(shape), self.locations.expand(shape)
        return type(self)(logits, locations, self.log_scales.expand(shape), self.n_levels)

    def log_prob(self, value):
        """Log-probability of whole numbers."""
        value = value.unsqueeze(-1)
        half = 1.0 / (self.n_levels - 1)  # of a cell
        offset = 2.0 * half * value - 1.0 - self.locations
        inverse = torch.exp(-self.log_scales)
        below = functional.logsigmoid(
            inverse * (offset + half)
        )  # the logarithm of the mass up to the cell's upper edge
        above = functional.logsigmoid(-inverse * (offset - half))
        # sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)), which keeps its digits
        # in the tails.
        width = (2.0 * half * inverse).clamp_min(torch.finfo(inverse.dtype).tiny)
        inner = below + above + torch.log(-torch.expm1(-width))
        mass = torch.where(
            value == 0.0, below, torch.where(value == self.n_levels - 1.0, above, inner)
        )
        return torch.logsumexp(mass + functional.log_softmax(self.logits, -1), -1)

    def sample(self, sample_shape=()):
        """Draws of shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            shape = torch.Size([*sample_shape, *self.logits.shape])
            chosen = torch.distributions.Categorical(
                logits=self.logits.expand(shape), validate_args=False
            ).sample()
            location, log_scale = (
                part.expand(shape).gather(-1, chosen.unsqueeze(-1)).squeeze(-1)
                for part in (self.locations, self.log_scales)
            )
            drawn = location + torch.exp(log_scale) * torch.logit(torch.rand_like(location))
            return torch.round(0.5 * (drawn + 1.0) * (self.n_levels - 1)).clamp(
                0.0, self.n_levels - 1.0
            )

    @property
    def mean(self):
        """Mean number, the sum of the probabilities of being at least 1, 2, and so on."""
        weights, inverse = functional.softmax(self.logits, -1), torch.exp(-self.log_scales)
        total = torch.zeros_like(self.logits[..., 0])
        for level in range(
            1, self.n_levels
        ):  # one at a time, for all would be n_levels times as many numbers
            edge = (2.0 * level - 1.0) / (self.n_levels - 1) - 1.0
            total = total + (weights * torch.sigmoid((self.locations - edge) * inverse)).sum(-1)
        return total
