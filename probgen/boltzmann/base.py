"""Restricted Boltzmann machines as exponential families, whatever their visible units are.

Rows become units v, and the joint density of units and hidden bits h is

    p(v, h) = exp(b v + c h + h W v - sum(precision v**2) / 2) / Z,

where only real units have the quadratic term. All methods take an inverse temperature `beta`: at 1
the machine is its own, at 0 its weights are 0 and its units have their base rates. In between, the
logarithm of the unnormalised density is interpolated. The machine at beta = 0 is normalised in
closed form, which is where annealing starts.
"""

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from probgen.networks.dense import aligned_linear


class BoltzmannMachine(nn.Module):
    """Restricted Boltzmann machine, abstract in the kind of its visible units.

    Parameters
    ----------
    base_bias : Tensor of shape (n_units,)
        Biases of the units whose base rates are those of the data; the initial biases too.
    n_hidden : int

    Attributes
    ----------
    weight : Parameter of shape (n_hidden, n_units)
    visible_bias : Parameter of shape (n_units,)
    hidden_bias : Parameter of shape (n_hidden,)
    base_bias : Tensor of shape (n_units,)

    References
    ----------
    P. Smolensky, Information processing in dynamical systems, 1986. M. Welling, M. Rosen-Zvi,
    G. Hinton, Exponential family harmoniums with an application to information retrieval, 2005.
    """

    base_bias: Tensor
    measure = "counting"
    n_levels: Any = None

    def __init__(self, base_bias: Tensor, n_hidden: int) -> None:
        super().__init__()
        n_units = len(base_bias)
        self.register_buffer("base_bias", base_bias)
        self.weight = nn.Parameter(torch.randn(n_hidden, n_units) / math.sqrt(n_hidden + n_units))
        self.visible_bias = nn.Parameter(base_bias.clone())
        self.hidden_bias = nn.Parameter(torch.zeros(n_hidden))

    @property
    def n_hidden(self) -> int:
        """Number of hidden units."""
        return len(self.hidden_bias)

    @property
    def n_units(self) -> int:
        """Number of visible units."""
        return len(self.visible_bias)

    def encode(self, X: Tensor) -> Tensor:
        """Return the units (n, n_units) of rows (n, d); those of missing values are 0."""
        return X.nan_to_num(0.0)

    def decode(self, units: Tensor) -> Tensor:
        """Return the rows (..., d) of units, or the means of features for means of units."""
        return units

    def by_unit(self, features: Tensor) -> Tensor:
        """Return values of features (..., d) for each of their units (..., n_units)."""
        return features

    def feature_mask(self, mask: Tensor) -> Tensor:
        """Return a mask of features (..., d) for one of their units (..., n_units)."""
        return mask

    @property
    def log_widths(self) -> Any:
        """Logarithms (d,) of the widths in X of a unit; 0 for discrete features."""
        return 0.0

    def hidden_logits(self, units: Tensor, beta: float = 1.0) -> Tensor:
        """Return the log-odds (..., n_hidden) of the hidden units given visible ones."""
        logits = aligned_linear(units, self.weight, self.hidden_bias)
        if beta != 1.0:
            logits = beta * logits
        return logits

    def visible_field(self, hidden: Tensor, beta: float = 1.0) -> Tensor:
        """Return the linear coefficients (..., n_units) of the units given hidden ones."""
        weight = self.weight.T
        if torch.is_inference_mode_enabled():
            # Queries need equal bits for equal rows, which products with the other layout lack.
            weight = weight.contiguous()
        field = aligned_linear(hidden, weight, self.visible_bias)
        if beta != 1.0:
            field = torch.lerp(self.base_bias.expand_as(field), field, beta)
        return field

    def mean(self, field: Tensor, beta: float = 1.0) -> Tensor:
        """Return the means (..., n_units) of units of a field."""
        raise NotImplementedError

    def draw(
        self,
        field: Tensor,
        generator: torch.Generator,
        beta: float = 1.0,
        limits: Any = None,
        *,
        shared: bool = False,
    ) -> Tensor:
        """Return a draw (..., n_units) of units of a field, within limits of `limits_of`.

        With `shared`, the axis before the last one has the same noise throughout.
        """
        raise NotImplementedError

    def log_normalizer(self, field: Tensor, beta: float = 1.0, limits: Any = None) -> Tensor:
        """Return log-normalisers of units of a field, one for each feature (..., d)."""
        raise NotImplementedError

    def limits_of(self, conditions: Any, argument: str) -> tuple[np.ndarray, Any]:
        """Return known values (n, d) of Conditions, and the limits of the other features.

        Raises a ValueError if a feature cannot have its value, or has none left.
        """
        raise NotImplementedError

    def linear_terms(self, units: Tensor, is_free: Any = None) -> Tensor:
        """Return b v less the quadratic term, summed (n,) over the units, or over those free."""
        return self._summed(units * self.visible_bias, is_free)

    def base_step(self, units: Tensor, is_free: Any = None) -> Tensor:
        """Return the derivative by beta (n,) of what does not depend on the hidden units."""
        return self._summed(units * (self.visible_bias - self.base_bias), is_free)

    def negative_free_energy(self, units: Tensor) -> Tensor:
        """Return the logarithm (n,) of the sum over h of the unnormalised density."""
        return self.linear_terms(units) + functional.softplus(self.hidden_logits(units)).sum(-1)

    def gradient_of_rest(self, units: Tensor, other: Tensor) -> list[Tensor]:
        """Return gradients of the mean energies of units less those of others, by `rest`."""
        return []

    def log_conditional(
        self, units: Tensor, hidden: Tensor, is_free: Any = None, limits: Any = None
    ) -> Tensor:
        """Return log p(v given h) (...) of visible units given hidden ones.

        Where `is_free` is 1 the units are 0, and their features add the logarithm of the
        probability of their limits, of `limits_of`.
        """
        field = self.visible_field(hidden)
        linear = (units * (field - self.visible_bias)).sum(-1) + self.linear_terms(units)
        normalizers = self.log_normalizer(field)
        if is_free is not None:
            within = normalizers
            if limits is not None:
                within = self.log_normalizer(field, 1.0, limits)
            is_free = self.feature_mask(is_free)
            normalizers = torch.where(is_free > 0, normalizers - within, normalizers)
        return linear - normalizers.sum(-1)

    def conditional_gradients(self, units: Tensor, hidden: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return minus the mean of `log_conditional`, and its gradients.

        They are by weight and visible_bias, then by `rest`.
        """
        field = self.visible_field(hidden)
        residuals = (self.mean(field) - units) / len(units)
        rest = self.gradient_of_conditional(units, field)
        loss = -self.log_conditional(units, hidden).mean()
        return loss, [hidden.T @ residuals, residuals.sum(0), *rest]

    def gradient_of_conditional(self, units: Tensor, field: Tensor) -> list[Tensor]:
        """Return gradients of minus the mean of `log_conditional` by `rest`."""
        return []

    def in_order(self) -> list[nn.Parameter]:
        """Return the parameters in the order of `energy_gradients`."""
        return [self.weight, self.visible_bias, self.hidden_bias, *self.rest]

    @property
    def rest(self) -> list[nn.Parameter]:
        """Parameters other than weight, visible_bias and hidden_bias."""
        return []

    def _summed(self, terms: Tensor, is_free: Any) -> Tensor:
        if is_free is not None:
            terms = terms * is_free
        return terms.sum(-1)
