"""Sums over all states of the smaller side of a machine: partition functions and exact draws."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.chains import Clamp
from probgen.boltzmann.machine import BernoulliMachine
from probgen.networks.dense import aligned_linear

MOST_BITS = 20  # of the side that is enumerated
BLOCK_NUMBERS = 2**22  # numbers in the units of a block of states


def can_enumerate(machine: BoltzmannMachine) -> bool:
    """Whether the partition function is computed by enumeration."""
    return smaller_side(machine) is not None


def smaller_side(machine: BoltzmannMachine) -> str | None:
    """Return the side to enumerate, "hidden" or "visible", or None if both are too large.

    Visible units can be enumerated if they are bits.
    """
    is_bits = type(machine) is BernoulliMachine  # without classes
    if is_bits and machine.n_units < machine.n_hidden and machine.n_units <= MOST_BITS:
        return "visible"
    if machine.n_hidden <= MOST_BITS:
        return "hidden"
    return None


def log_partition(machine: BoltzmannMachine) -> float:
    """Return log Z, the sum over all states of the smaller side, in double precision.

    Z is an integral over units; of the width of units in X see `log_widths`.
    """
    return float(torch.logsumexp(state_log_weights(machine), 0))


def state_log_weights(machine: BoltzmannMachine) -> Tensor:
    """Return unnormalised log-probabilities (2**k,) of the states of the smaller side."""
    side = smaller_side(machine)
    n_bits = machine.n_hidden
    if side == "visible":
        n_bits = machine.n_units
    machine = in_double(machine)
    parts = []
    with torch.inference_mode():
        for states in blocks_of_states(n_bits, machine):
            if side == "visible":
                parts.append(machine.negative_free_energy(states))
            else:
                masses = machine.log_normalizer(machine.visible_field(states)).sum(-1)
                parts.append(states @ machine.hidden_bias + masses)
    return torch.cat(parts)


def clamped_log_weights(machine: BoltzmannMachine, clamp: Clamp) -> Tensor:
    """Return unnormalised log-probabilities (n, 2**k) of hidden states and the known units.

    The free units are summed or integrated out, within their limits.
    """
    machine = in_double(machine)
    known = clamp.units.double()
    is_free = clamp.is_free.double()
    with torch.inference_mode():
        (states,) = blocks_of_states(machine.n_hidden, machine, whole=True)
        rows = machine.linear_terms(known, 1.0 - is_free)
        logits = aligned_linear(machine.hidden_logits(known), states, None)
        field = machine.visible_field(states)  # the same for all rows
        feature_is_free = machine.feature_mask(is_free)
        if clamp.limits is None:
            masses = machine.log_normalizer(field)
            return rows[:, None] + logits + aligned_linear(feature_is_free, masses, None)
        masses = machine.log_normalizer(field, 1.0, clamp.limits_by_state())
        masses = torch.where(feature_is_free[:, None] > 0, masses, 0.0)
        return rows[:, None] + logits + masses.sum(-1)


def completions(machine: BoltzmannMachine, clamp: Clamp, row: int) -> tuple[Tensor, Tensor]:
    """Return all completions (2**k, n_units) of a row with k free bits, and log-probabilities.

    These (2**k,) are unnormalised, in the precision of the machine.
    """
    places = torch.nonzero(clamp.is_free[row])[:, 0]
    numbers = torch.arange(2 ** len(places), device=machine.weight.device)
    dtype = machine.weight.dtype
    units = clamp.units[row].to(dtype).repeat(len(numbers), 1)
    units[:, places] = bits_of(numbers, len(places), dtype)
    with torch.inference_mode():
        return units, machine.negative_free_energy(units)


def draw_states(log_weights: Tensor, uniforms: Tensor) -> Tensor:
    """Return indices (n,) of states drawn by uniform numbers (n,), of one table or one a row."""
    shares = torch.softmax(log_weights, -1).cumsum(-1)
    targets = uniforms.double() * shares[..., -1]
    if log_weights.ndim == 1:
        indices = torch.searchsorted(shares, targets, right=True)
    else:
        indices = torch.searchsorted(shares, targets[:, None], right=True)[:, 0]
    return indices.clamp(max=log_weights.shape[-1] - 1)


def bits_of(indices: Tensor, n_bits: int, dtype: torch.dtype) -> Tensor:
    """Return the bits (n, n_bits) of numbers of states."""
    places = torch.arange(n_bits, device=indices.device)
    return ((indices[:, None] >> places) & 1).to(dtype)


def blocks_of_states(
    n_bits: int, machine: BoltzmannMachine, *, whole: bool = False
) -> Iterator[Tensor]:
    """Yield all states of n_bits, in blocks (m, n_bits) or as one."""
    n_states = 2**n_bits
    size = n_states
    if not whole:
        size = max(1, BLOCK_NUMBERS // max(machine.n_units, machine.n_hidden))
    for first in range(0, n_states, size):
        numbers = torch.arange(first, min(first + size, n_states), device=machine.weight.device)
        yield bits_of(numbers, n_bits, machine.weight.dtype)


def in_double(machine: BoltzmannMachine) -> BoltzmannMachine:
    """Return a copy of a machine in double precision."""
    return copy.deepcopy(machine).double()
