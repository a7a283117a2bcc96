"""Restricted Boltzmann machines over bits, bits with classes, categories and real values."""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probgen._constants import LOG_2PI
from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.noise import draw_bits, draw_levels, empty_noise, one_hot_of_largest

LEAST_RATE = 1e-3  # smallest probability of a level under the base rates
# Least standard deviation of a real unit given the hidden ones, in that of its column, and the
# inverse of the largest.
LEAST_NOISE = 1e-3


class BernoulliMachine(BoltzmannMachine):
    """Machine whose units are bits; values in between count as their probabilities.

    Parameters
    ----------
    rates : Tensor of shape (n_features,)
        Shares of ones in the data.
    n_hidden : int
    """

    name = "bernoulli"
    n_levels = 2

    def __init__(self, rates: Tensor, n_hidden: int) -> None:
        super().__init__(torch.logit(rates.clamp(LEAST_RATE, 1.0 - LEAST_RATE)), n_hidden)

    def mean(self, field: Tensor, beta: float = 1.0) -> Tensor:
        """See BoltzmannMachine."""
        return torch.sigmoid(field)

    def draw(
        self,
        field: Tensor,
        generator: torch.Generator,
        beta: float = 1.0,
        limits: Any = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """See BoltzmannMachine."""
        return draw_bits(field, generator, shared=shared)

    def log_normalizer(self, field: Tensor, beta: float = 1.0, limits: Any = None) -> Tensor:
        """See BoltzmannMachine."""
        return functional.softplus(field)

    def limits_of(self, conditions: Any, argument: str) -> tuple[np.ndarray, Any]:
        """See BoltzmannMachine; a feature with one level left is known."""
        allowed = allowed_levels(conditions, 2, argument)
        alone = np.where(allowed.sum(-1) == 1, allowed.argmax(-1), np.nan)
        return np.where(np.isnan(conditions.values), alone, conditions.values), None


class LabelledMachine(BernoulliMachine):
    """Machine whose units are bits, then one unit for each class, of which one is 1.

    Parameters
    ----------
    rates : Tensor of shape (n_bits,)
        Shares of ones in the data.
    class_rates : Tensor of shape (n_classes,)
        Shares of the classes.
    n_hidden : int

    References
    ----------
    H. Larochelle, Y. Bengio, Classification using discriminative restricted Boltzmann machines,
    2008.
    """

    def __init__(self, rates: Tensor, class_rates: Tensor, n_hidden: int) -> None:
        super().__init__(torch.cat([rates, class_rates]), n_hidden)
        self.n_classes = len(class_rates)
        with torch.no_grad():
            self.base_bias[-self.n_classes :] = torch.log(class_rates.clamp(min=LEAST_RATE))
            self.visible_bias.copy_(self.base_bias)

    def mean(self, field: Tensor, beta: float = 1.0) -> Tensor:
        """See BoltzmannMachine."""
        bits, classes = self.split(field)
        return torch.cat([torch.sigmoid(bits), torch.softmax(classes, -1)], -1)

    def draw(
        self,
        field: Tensor,
        generator: torch.Generator,
        beta: float = 1.0,
        limits: Any = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """See BoltzmannMachine."""
        bits, classes = self.split(field)
        drawn = draw_levels(classes, generator, shared=shared)
        return torch.cat([draw_bits(bits, generator, shared=shared), drawn], -1)

    def log_normalizer(self, field: Tensor, beta: float = 1.0, limits: Any = None) -> Tensor:
        """See BoltzmannMachine; the classes are one feature."""
        bits, classes = self.split(field)
        of_classes = torch.logsumexp(classes, -1, keepdim=True)
        return torch.cat([functional.softplus(bits), of_classes], -1)

    def feature_mask(self, mask: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        bits, classes = self.split(mask)
        return torch.cat([bits, classes[..., :1]], -1)

    def clamped_classes(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """Return units (n, n_units) of known classes, and a mask of those that are free."""
        units = self.base_bias.new_zeros(len(indices), self.n_units)
        is_free = torch.ones_like(units)
        self.split(units)[1].copy_(functional.one_hot(indices, self.n_classes))
        self.split(is_free)[1].zero_()
        return units, is_free

    def split(self, units: Tensor) -> tuple[Tensor, Tensor]:
        """Return the part of the bits and that of the classes."""
        n_bits = units.shape[-1] - self.n_classes
        return units[..., :n_bits], units[..., n_bits:]


class CategoricalMachine(BoltzmannMachine):
    """Machine whose features are levels, each a group of units of which one is 1 (softmax units).

    Parameters
    ----------
    rates : Tensor of shape (n_features, n_levels)
        Shares of the levels in the data.
    n_hidden : int

    References
    ----------
    R. Salakhutdinov, A. Mnih, G. Hinton, Restricted Boltzmann machines for collaborative
    filtering, 2007.
    """

    name = "categorical"
    n_levels: int

    def __init__(self, rates: Tensor, n_hidden: int) -> None:
        super().__init__(torch.log(rates.clamp(min=LEAST_RATE)).flatten(), n_hidden)
        self.n_levels = rates.shape[1]

    def encode(self, X: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        levels = torch.arange(self.n_levels, device=X.device, dtype=X.dtype)
        return (X.unsqueeze(-1) == levels).to(X.dtype).flatten(-2)

    def decode(self, units: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        levels = torch.arange(self.n_levels, device=units.device, dtype=units.dtype)
        return (self._grouped(units) * levels).sum(-1)

    def feature_mask(self, mask: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        return mask[..., :: self.n_levels]

    def by_unit(self, features: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        return features.repeat_interleave(self.n_levels, dim=-1)

    def mean(self, field: Tensor, beta: float = 1.0) -> Tensor:
        """See BoltzmannMachine."""
        return torch.softmax(self._grouped(field), -1).flatten(-2)

    def draw(
        self,
        field: Tensor,
        generator: torch.Generator,
        beta: float = 1.0,
        limits: Any = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """See BoltzmannMachine; the largest of the log-odds with Gumbel noise."""
        noise = self._grouped(empty_noise(field, shared).exponential_(generator=generator).log())
        return one_hot_of_largest(self._allowed(field, limits) - noise).flatten(-2)

    def log_normalizer(self, field: Tensor, beta: float = 1.0, limits: Any = None) -> Tensor:
        """See BoltzmannMachine."""
        return torch.logsumexp(self._allowed(field, limits), -1)

    def limits_of(self, conditions: Any, argument: str) -> tuple[np.ndarray, Any]:
        """See BoltzmannMachine; the limits are 0 for allowed levels and -inf for others."""
        allowed = allowed_levels(conditions, self.n_levels, argument)
        if allowed.all():
            return conditions.values, None
        return conditions.values, np.where(allowed, 0.0, -np.inf)

    def _grouped(self, field: Tensor) -> Tensor:
        return field.unflatten(-1, (-1, self.n_levels))

    def _allowed(self, field: Tensor, limits: Any) -> Tensor:
        grouped = self._grouped(field)
        if limits is not None:
            grouped = grouped + torch.as_tensor(limits, dtype=field.dtype, device=field.device)
        return grouped


class GaussianMachine(BoltzmannMachine):
    """Machine whose units are real values, columns in standard deviations from their means.

    Given the hidden units, a unit is normal with the mean field / precision. The standard deviation
    of the noise is learned for each unit, or for all together, or is a given number.

    Parameters
    ----------
    center, deviation : Tensor of shape (n_features,)
        Means and standard deviations of the columns.
    n_hidden : int
    scale : {"per_feature", "learned"} or float
        As in `probgen.options.Gaussian`.

    References
    ----------
    K. Cho, A. Ilin, T. Raiko, Improved learning of Gaussian-Bernoulli restricted Boltzmann
    machines, 2011.
    """

    name = "gaussian"
    measure = "lebesgue"
    center: Tensor
    deviation: Tensor

    def __init__(self, center: Tensor, deviation: Tensor, n_hidden: int, scale: Any) -> None:
        super().__init__(torch.zeros_like(center), n_hidden)
        self.register_buffer("center", center)
        self.register_buffer("deviation", deviation)
        self.is_learned = isinstance(scale, str)
        if scale == "learned":
            log_precision = torch.zeros(())
        elif scale == "per_feature":
            log_precision = torch.zeros_like(center)
        else:
            log_precision = 2.0 * torch.log(deviation / scale)
        self.log_precision = nn.Parameter(log_precision, requires_grad=self.is_learned)

    def encode(self, X: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        return ((X - self.center) / self.deviation).nan_to_num(0.0)

    def decode(self, units: Tensor) -> Tensor:
        """See BoltzmannMachine."""
        return self.center + self.deviation * units

    @property
    def log_widths(self) -> Any:
        """See BoltzmannMachine."""
        return torch.log(self.deviation.double())

    def precision(self, beta: float = 1.0) -> Tensor:
        """Return the quadratic coefficients of the units; those of the base rates are 1."""
        limit = 2.0 * math.log(1.0 / LEAST_NOISE)
        precision = torch.exp(self.log_precision)
        if self.is_learned:
            precision = torch.exp(self.log_precision.clamp(-limit, limit))
        return (1.0 - beta) + beta * precision

    def mean(self, field: Tensor, beta: float = 1.0) -> Tensor:
        """See BoltzmannMachine."""
        return field / self.precision(beta)

    def draw(
        self,
        field: Tensor,
        generator: torch.Generator,
        beta: float = 1.0,
        limits: Any = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """See BoltzmannMachine."""
        mean = self.mean(field, beta)
        deviation = self.precision(beta).rsqrt()
        if limits is None:
            noise = empty_noise(mean, shared).normal_(generator=generator)
            return mean + deviation * noise
        from probgen.distributions.truncated_normal import truncated_quantile

        uniforms = empty_noise(mean, shared).uniform_(generator=generator).double()
        low, high = self._in_noise(limits, mean, deviation)
        noise = truncated_quantile(uniforms.cpu().numpy(), low, high)
        units = mean + deviation * torch.as_tensor(noise, dtype=mean.dtype, device=mean.device)
        ends = [torch.as_tensor(end, dtype=mean.dtype, device=mean.device) for end in limits]
        return torch.clamp(units, *ends)

    def log_normalizer(self, field: Tensor, beta: float = 1.0, limits: Any = None) -> Tensor:
        """See BoltzmannMachine."""
        precision = self.precision(beta)
        values = 0.5 * (field.square() / precision + LOG_2PI - torch.log(precision))
        if limits is None:
            return values
        from probgen.distributions.truncated_normal import log_interval

        mean = self.mean(field, beta)
        masses = log_interval(*self._in_noise(limits, mean, precision.rsqrt()))
        return values + torch.as_tensor(masses, dtype=field.dtype, device=field.device)

    def limits_of(self, conditions: Any, argument: str) -> tuple[np.ndarray, Any]:
        """See BoltzmannMachine; the limits are ends in units, a tuple of two arrays."""
        if np.isneginf(conditions.low).all() and np.isposinf(conditions.high).all():
            return conditions.values, None
        center, deviation = (
            self.center.double().cpu().numpy(),
            self.deviation.double().cpu().numpy(),
        )
        return conditions.values, tuple(
            (end - center) / deviation for end in (conditions.low, conditions.high)
        )

    def linear_terms(self, units: Tensor, is_free: Any = None) -> Tensor:
        """See BoltzmannMachine."""
        terms = units * (self.visible_bias - 0.5 * self.precision() * units)
        return self._summed(terms, is_free)

    def base_step(self, units: Tensor, is_free: Any = None) -> Tensor:
        """See BoltzmannMachine."""
        terms = units * (
            self.visible_bias - self.base_bias - 0.5 * (self.precision() - 1.0) * units
        )
        return self._summed(terms, is_free)

    def gradient_of_rest(self, units: Tensor, other: Tensor) -> list[Tensor]:
        """See BoltzmannMachine."""
        if not self.is_learned:
            return []
        gradient = 0.5 * self.precision() * (units.square().mean(0) - other.square().mean(0))
        if not self.log_precision.ndim:
            gradient = gradient.sum()
        return [gradient]

    def gradient_of_conditional(self, units: Tensor, field: Tensor) -> list[Tensor]:
        """See BoltzmannMachine."""
        if not self.is_learned:
            return []
        precision = self.precision()
        squares = precision * (units.square() - (field / precision).square()).mean(0)
        gradient = 0.5 * (squares - 1.0)
        if not self.log_precision.ndim:
            gradient = gradient.sum()
        return [gradient]

    @property
    def rest(self) -> list[nn.Parameter]:
        """See BoltzmannMachine."""
        return [self.log_precision] if self.is_learned else []

    def _in_noise(self, limits: Any, mean: Tensor, deviation: Tensor) -> list[np.ndarray]:
        """Ends of intervals in standard deviations from the mean of each unit."""
        center, width = (tensor.detach().double().cpu().numpy() for tensor in (mean, deviation))
        return [(end - center) / width for end in limits]


def allowed_levels(conditions: Any, n_levels: int, argument: str) -> np.ndarray:
    """Return a mask (n, d, n_levels) of the levels that Conditions leave to each feature.

    Raises a ValueError if a known value is no level, or a feature has no level left.
    """
    levels = np.arange(n_levels)
    words = "0 or 1" if n_levels == 2 else f"whole numbers from 0 to {n_levels - 1}"
    known = ~np.isnan(conditions.values)
    allowed = (conditions.low[..., None] <= levels) & (levels <= conditions.high[..., None])
    for j, chosen in conditions.categories.items():
        is_numeric = chosen.dtype.kind in "biuf"
        if not is_numeric or not np.isin(chosen.astype(np.float64), levels).all():
            raise ValueError(f"{argument} must hold {words} for feature {j}; got {set(chosen)}.")
        allowed[:, j] &= np.isin(levels, chosen)
    allowed = np.where(known[..., None], conditions.values[..., None] == levels, allowed)
    if not allowed.any(-1).all():
        i, j = np.argwhere(~allowed.any(-1))[0]
        if known[i, j]:
            got = f"{conditions.values[i, j]:g}"
        else:
            got = f"the interval from {conditions.low[i, j]:g} to {conditions.high[i, j]:g}"
        raise ValueError(f"{argument} must leave feature {j} {words}; got {got}.")
    return allowed
