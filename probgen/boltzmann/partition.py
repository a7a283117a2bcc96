"""Annealed importance sampling of partition functions, forwards and in reverse.

Chains start at the base rates, whose machine is normalised, and pass through the machines at
temperatures up to the machine itself. At each step the weight of a chain is multiplied by the ratio
of the two unnormalised densities of its visible units, the hidden ones summed out; then a step of
Gibbs sampling moves it. The mean weight is an unbiased estimate of the ratio of the two partition
functions. Chains in reverse start at draws from the machine; their mean reciprocal weight is an
unbiased estimate of the reciprocal ratio.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.chains import Clamp, draw_base, draw_hidden, draw_visible
from probgen.marginal_likelihood.latent_model import log_mean_exp


class LogPartition(NamedTuple):
    """The logarithm of a partition function, in nats.

    Attributes
    ----------
    value : float
        log Z, for densities in units of X.
    std : float
        Standard error of the value; 0 if it is exact, inf if too few chains are effective.
    low, high : float
        A bracket: estimates by annealed importance sampling forwards, which are too low on average,
        and in reverse, which are too high on average as far as the chains that they start from have
        reached the distribution of the machine. Both are the value if it is exact.
    """

    value: float
    std: float
    low: float
    high: float


def annealed_log_partition(
    machine: BoltzmannMachine,
    temperatures: Sequence[float],
    n_chains: int,
    generator: torch.Generator,
    clamp: Clamp | None = None,
) -> tuple[Tensor, Tensor]:
    """Return log Z by annealing from the base rates, and its standard error.

    Parameters
    ----------
    machine : BoltzmannMachine
    temperatures : sequence of float
        From 0 to 1.
    n_chains : int
    generator : torch.Generator
    clamp : Clamp, optional
        Of n rows: log Z is then that of the free units of each row, with the energy of the known
        ones.

    Returns
    -------
    log_partition, std : Tensor of shape () or (n,), in double precision

    References
    ----------
    R. Salakhutdinov, I. Murray, On the quantitative analysis of deep belief networks, 2008.
    """
    units = draw_base(machine, n_chains, generator, clamp)
    log_weights = units.new_zeros(units.shape[:-1], dtype=torch.float64)
    is_free = None if clamp is None else clamp.is_free
    for beta, next_beta in pairwise(temperatures):
        logits = machine.hidden_logits(units)
        log_weights += _log_ratio(machine, units, logits, beta, next_beta, is_free)
        if next_beta < 1.0:
            hidden = draw_hidden(next_beta * logits, generator, clamp)
            units = draw_visible(machine, hidden, generator, next_beta, clamp)
    values, errors = log_mean_exp(log_weights)
    return values + _log_base(machine, clamp), errors


def reverse_log_partition(
    machine: BoltzmannMachine,
    temperatures: Sequence[float],
    units: Tensor,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return log Z by annealing draws (n_chains, n_units) of the machine down to the base rates.

    Returns
    -------
    log_partition, std : Tensor of shape (), in double precision

    References
    ----------
    R. B. Grosse, Z. Ghahramani, R. P. Adams, Sandwiching the marginal likelihood using
    bidirectional Monte Carlo, 2015.
    """
    downwards = temperatures[::-1]
    log_weights = units.new_zeros(len(units), dtype=torch.float64)
    for beta, next_beta in pairwise(downwards):
        logits = machine.hidden_logits(units)
        if beta < 1.0:
            # As a step of visible units alone, it is its own reverse.
            hidden = draw_hidden(beta * logits, generator)
            units = draw_visible(machine, hidden, generator, beta)
            logits = machine.hidden_logits(units)
        log_weights += _log_ratio(machine, units, logits, beta, next_beta, None)
    values, errors = log_mean_exp(log_weights)
    return _log_base(machine, None) - values, errors


def _log_ratio(
    machine: BoltzmannMachine,
    units: Tensor,
    logits: Tensor,
    beta: float,
    next_beta: float,
    is_free: Tensor | None,
) -> Tensor:
    """Log-ratio of the unnormalised densities of units at two temperatures."""
    # Differences before sums, which would lose the digits of single precision.
    steps = functional.softplus(next_beta * logits) - functional.softplus(beta * logits)
    base = (next_beta - beta) * machine.base_step(units, is_free)
    return base.double() + steps.sum(-1).double()


def _log_base(machine: BoltzmannMachine, clamp: Clamp | None) -> Tensor:
    """Log Z of the base rates, with the energy of the known units of a clamp."""
    constant = machine.n_hidden * math.log(2.0)
    if clamp is None:
        return machine.log_normalizer(machine.base_bias, 0.0).double().sum() + constant
    field = machine.base_bias.expand(clamp.units.shape)
    masses = machine.log_normalizer(field, 0.0, clamp.limits).double()
    is_free = machine.feature_mask(clamp.is_free) > 0
    free = torch.where(is_free, masses, 0.0).sum(-1)
    known = machine.linear_terms(clamp.units, 1.0 - clamp.is_free).double()
    return free + known + constant
