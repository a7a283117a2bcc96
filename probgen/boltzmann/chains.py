"""Gibbs chains of a restricted Boltzmann machine, at one temperature and along many."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.noise import draw_bits


@dataclass(frozen=True)
class Clamp:
    """What is known of the visible units of chains.

    Attributes
    ----------
    units : Tensor of shape (n, n_units)
        Known units, 0 where they are free.
    is_free : Tensor of shape (n, n_units)
        1 for free units, 0 for known ones.
    limits : object
        Of `BoltzmannMachine.limits_of`, for the free features.
    shares_noise : bool
        Whether all rows have the same noise, so that a row does not depend on others.
    """

    units: Tensor
    is_free: Tensor
    limits: Any = None
    shares_noise: bool = False

    def put(self, units: Tensor) -> Tensor:
        """Return units (..., n, n_units) with the known ones put in."""
        return torch.where(self.is_free > 0, units, self.units)

    def take(self, rows: slice | Tensor) -> "Clamp":
        """Return the clamp of some rows."""
        limits = self.limits
        if isinstance(limits, tuple):
            limits = tuple(end[rows] for end in limits)
        elif limits is not None:
            limits = limits[rows]
        return Clamp(self.units[rows], self.is_free[rows], limits, self.shares_noise)

    def limits_by_state(self) -> Any:
        """Return the limits with an axis after that of the rows, for states of hidden units."""
        if isinstance(self.limits, tuple):
            return tuple(end[:, np.newaxis] for end in self.limits)
        return self.limits[:, np.newaxis]


def clamp_of(machine: BoltzmannMachine, conditions: Any, argument: str = "given") -> Clamp:
    """Return the Clamp of Conditions on rows."""
    values, limits = machine.limits_of(conditions, argument)
    known = torch.as_tensor(values, device=machine.weight.device).to(machine.weight.dtype)
    return clamp_of_rows(machine, known, limits)


def clamp_of_rows(
    machine: BoltzmannMachine, X: Tensor, limits: Any = None, *, shares_noise: bool = False
) -> Clamp:
    """Return the Clamp of rows (n, d), free where they are NaN."""
    is_free = machine.by_unit(torch.isnan(X).to(X.dtype))
    return Clamp(machine.encode(X) * (1.0 - is_free), is_free, limits, shares_noise)


def gibbs(
    machine: BoltzmannMachine,
    units: Tensor,
    n_steps: int,
    generator: torch.Generator,
    *,
    beta: float = 1.0,
    clamp: Clamp | None = None,
) -> Tensor:
    """Return visible units (n, n_units) after so many steps of block Gibbs sampling."""
    for _ in range(n_steps):
        hidden = draw_hidden(machine.hidden_logits(units, beta), generator, clamp)
        units = draw_visible(machine, hidden, generator, beta, clamp)
    return units


def draw_visible(
    machine: BoltzmannMachine,
    hidden: Tensor,
    generator: torch.Generator,
    beta: float = 1.0,
    clamp: Clamp | None = None,
) -> Tensor:
    """Return visible units (..., n_units) given hidden ones, the known ones left as they are."""
    field = machine.visible_field(hidden, beta)
    if clamp is None:
        return machine.draw(field, generator, beta)
    shared = clamp.shares_noise
    return clamp.put(machine.draw(field, generator, beta, clamp.limits, shared=shared))


def draw_hidden(logits: Tensor, generator: torch.Generator, clamp: Clamp | None = None) -> Tensor:
    """Return hidden units (..., n_hidden) with these log-odds."""
    return draw_bits(logits, generator, shared=clamp is not None and clamp.shares_noise)


def draw_base(
    machine: BoltzmannMachine, n_chains: int, generator: torch.Generator, clamp: Clamp | None
) -> Tensor:
    """Return units (n_chains, n_units) from the base rates, or (n_chains, n, n_units) clamped."""
    if clamp is None:
        return machine.draw(machine.base_bias.repeat(n_chains, 1), generator, 0.0)
    field = machine.base_bias.expand(n_chains, *clamp.units.shape).contiguous()
    shared = clamp.shares_noise
    return clamp.put(machine.draw(field, generator, 0.0, clamp.limits, shared=shared))


def tempered_chains(
    machine: BoltzmannMachine,
    n_chains: int,
    temperatures: Sequence[float] | np.ndarray,
    generator: torch.Generator,
    *,
    clamp: Clamp | None = None,
) -> Tensor:
    """Return the last units of chains that start at the base rates, one step at each temperature.

    Parameters
    ----------
    machine : BoltzmannMachine
    n_chains : int
        For each row of the clamp, if there is one.
    temperatures : sequence of float
        Values of beta, of which the last are 1.
    generator : torch.Generator
    clamp : Clamp, optional

    Returns
    -------
    units : Tensor of shape (n_chains, n_units), or (n_chains, n, n_units) clamped
    """
    units = draw_base(machine, n_chains, generator, clamp)
    for beta in temperatures:
        units = gibbs(machine, units, 1, generator, beta=float(beta), clamp=clamp)
    return units
