"""Distributions that torch and Pyro lack, or do not compute to full precision. In nats."""

from typing import Any, ClassVar

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn import functional

SERIES_RADIUS = 0.25  # of log(sinh(h) / h), whose next term is below 1e-11 there


class ContinuousBernoulli(TorchDistribution):
    """The continuous Bernoulli on [0, 1], of density proportional to exp(logit * value).

    The class of torch computes with probabilities, which in single precision are 0 or 1 for
    log-odds beyond 16.

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

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {"logits": constraints.real}
    support = constraints.unit_interval

    def __init__(self, logits: Tensor) -> None:
        self.logits = logits
        super().__init__(logits.shape, validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the distribution expanded to a batch shape."""
        return type(self)(self.logits.expand(batch_shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density, logit (value - 1/2) - log(sinh(h) / h) with h half the logit."""
        logits = self.logits
        half, is_near, size = self._halves()
        square = half.square()
        series = square * (
            1.0 / 6.0 - square * (1.0 / 180.0 - square * (1.0 / 2835.0 - square / 37800.0))
        )
        far = functional.relu(logits) + torch.log1p(-torch.exp(-2.0 * size)) - torch.log(2.0 * size)
        return logits * value - torch.where(is_near, 0.5 * logits + series, far)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return draws of shape (*sample_shape, *batch_shape), by inversion."""
        with torch.no_grad():
            logits = self.logits.expand(torch.Size([*sample_shape, *self.logits.shape]))
            size = logits.abs().clamp_min(torch.finfo(logits.dtype).tiny)
            drawn = -torch.log1p(torch.rand_like(size) * torch.expm1(-size)) / size
            return torch.where(logits > 0.0, 1.0 - drawn, drawn).clamp(0.0, 1.0)

    @property
    def mean(self) -> Tensor:
        """Mean, 1/2 + (coth(h) - 1 / h) / 2 with h half the logit."""
        half, is_near, size = self._halves()
        square = half.square()
        series = half * (
            1.0 / 3.0 - square * (1.0 / 45.0 - square * (2.0 / 945.0 - square / 4725.0))
        )
        far = torch.sign(half) * (1.0 / torch.tanh(size) - 1.0 / size)
        return 0.5 + 0.5 * torch.where(is_near, series, far)

    def _halves(self):
        """Half the logits, whether they are near 0, and their absolute values.

        Near 0 the series are accurate. The first result is clipped to their radius and the last to
        its outside, so that gradients stay finite where they are not used.
        """
        half = 0.5 * self.logits
        is_near = half.abs() < SERIES_RADIUS
        far = half.abs().clamp_min(SERIES_RADIUS)
        return torch.where(is_near, half, torch.sign(half) * SERIES_RADIUS), is_near, far


class DiscretizedLogisticMixture(TorchDistribution):
    """Mixture of logistics on 0, ..., n_levels - 1; each number has the mass of its cell.

    Parameters
    ----------
    logits, locations, log_scales : Tensor of shape (*batch_shape, n_mixture)
        Weights, locations and scales, on an axis where the numbers span [-1, 1]. The first and last
        cells include the tails.
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

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {
        "logits": constraints.independent(constraints.real, 1),
        "locations": constraints.independent(constraints.real, 1),
        "log_scales": constraints.independent(constraints.real, 1),
    }

    def __init__(
        self, logits: Tensor, locations: Tensor, log_scales: Tensor, n_levels: int
    ) -> None:
        self.logits, self.locations, self.log_scales = torch.broadcast_tensors(
            logits, locations, log_scales
        )
        self.n_levels = n_levels
        super().__init__(self.logits.shape[:-1], validate_args=False)

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """Whole numbers from 0 to n_levels - 1."""
        return constraints.integer_interval(0, self.n_levels - 1)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the distribution expanded to a batch shape."""
        shape = torch.Size([*batch_shape, self.logits.shape[-1]])
        logits = self.logits.expand(shape)
        locations = self.locations.expand(shape)
        log_scales = self.log_scales.expand(shape)
        return type(self)(logits, locations, log_scales, self.n_levels)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability of whole numbers."""
        value = value.unsqueeze(-1)
        half = 1.0 / (self.n_levels - 1)  # half the width of a cell
        offset = 2.0 * half * value - 1.0 - self.locations
        inverse = torch.exp(-self.log_scales)
        # Log-masses up to the upper edge of the cell, and from its lower edge.
        below = functional.logsigmoid(inverse * (offset + half))
        above = functional.logsigmoid(-inverse * (offset - half))
        # Accurate in the tails: sigmoid(u) - sigmoid(l) = sigmoid(u) sigmoid(-l) (1 - exp(l - u)).
        width = (2.0 * half * inverse).clamp_min(torch.finfo(inverse.dtype).tiny)
        inner = below + above + torch.log(-torch.expm1(-width))
        log_mass = torch.where(value == self.n_levels - 1.0, above, inner)
        log_mass = torch.where(value == 0.0, below, log_mass)
        return torch.logsumexp(log_mass + functional.log_softmax(self.logits, -1), -1)

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return draws of shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            shape = torch.Size([*sample_shape, *self.logits.shape])
            logits = self.logits.expand(shape)
            mixture = torch.distributions.Categorical(logits=logits, validate_args=False)
            component = mixture.sample().unsqueeze(-1)
            location = self.locations.expand(shape).gather(-1, component).squeeze(-1)
            log_scale = self.log_scales.expand(shape).gather(-1, component).squeeze(-1)
            value = location + torch.exp(log_scale) * torch.logit(torch.rand_like(location))
            top = self.n_levels - 1
            return torch.round(0.5 * (value + 1.0) * top).clamp(0.0, top)

    @property
    def mean(self) -> Tensor:
        """Mean number: the sum of the probabilities of being at least 1, 2, and so on."""
        weights = functional.softmax(self.logits, -1)
        inverse = torch.exp(-self.log_scales)
        total = torch.zeros_like(self.logits[..., 0])
        # One level at a time, as all at once would take n_levels times the memory.
        for level in range(1, self.n_levels):
            edge = (2.0 * level - 1.0) / (self.n_levels - 1) - 1.0
            total = total + (weights * torch.sigmoid((self.locations - edge) * inverse)).sum(-1)
        return total
