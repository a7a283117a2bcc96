"""What a fitted machine answers: draws, completions and log-probabilities of partly known rows.

Where the hidden states are few, or the states of the free bits of a row, they are enumerated; else
chains run along temperatures.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.chains import Clamp, draw_hidden, draw_visible, tempered_chains
from probgen.boltzmann.enumeration import (
    bits_of,
    blocks_of_states,
    clamped_log_weights,
    completions,
    draw_states,
    in_double,
    smaller_side,
    state_log_weights,
)
from probgen.boltzmann.machine import BernoulliMachine
from probgen.boltzmann.partition import annealed_log_partition
from probgen.marginal_likelihood.annealing import sigmoid_temperatures

MOST_TABLE_NUMBERS = 2**24  # units times states of a table from which draws are exact
MOST_ROW_NUMBERS = 2**18  # units times states that are summed for each row
BLOCK_NUMBERS = 2**24  # of rows times states at once
CHAIN_ROWS = 1024  # chains that run together
MEAN_CHAINS = 64  # behind the mean of a missing value that has no closed form


def schedule(n_steps: int) -> np.ndarray:
    """Temperatures of tempered chains: half of the steps rise to 1, half stay there."""
    n_rising = n_steps // 2
    rising = np.asarray(sigmoid_temperatures(n_rising)[1:]) if n_rising else np.empty(0)
    return np.concatenate([rising, np.ones(n_steps - n_rising)])


def draw_units(
    machine: BoltzmannMachine, n_samples: int, n_steps: int, generator: torch.Generator
) -> Tensor:
    """Return draws (n_samples, n_units), exact ones where the states of one side are few."""
    side = smaller_side(machine)
    if side is not None:
        n_bits = {"hidden": machine.n_hidden, "visible": machine.n_units}[side]
        n_numbers = 2**n_bits * max(machine.n_units, machine.n_hidden)
        if n_numbers <= MOST_TABLE_NUMBERS:
            numbers = uniforms(n_samples, machine, generator)
            indices = draw_states(state_log_weights(machine), numbers)
            states = bits_of(indices, n_bits, machine.weight.dtype)
            if side == "visible":
                return states
            return draw_visible(machine, states, generator)
    temperatures = schedule(n_steps)
    parts = []
    for first in range(0, n_samples, CHAIN_ROWS):
        n_chains = min(CHAIN_ROWS, n_samples - first)
        parts.append(tempered_chains(machine, n_chains, temperatures, generator))
    return torch.cat(parts)


def draw_clamped(
    machine: BoltzmannMachine, clamp: Clamp, n_steps: int, generator: torch.Generator
) -> Tensor:
    """Return one draw (n, n_units) of the free units for each row of a clamp."""
    parts = []
    if sums_rows(machine):
        for _, part in parts_of_clamp(clamp, _rows_at_once(machine)):
            numbers = uniforms(len(part.units), machine, generator)
            indices = draw_states(clamped_log_weights(machine, part), numbers)
            hidden = bits_of(indices, machine.n_hidden, machine.weight.dtype)
            parts.append(draw_visible(machine, hidden, generator, clamp=part))
        return torch.cat(parts)
    drawn = torch.empty_like(clamp.units)
    few = few_free_bits(machine, clamp)
    exact = in_double(machine)
    numbers = uniforms(len(few.rows), machine, generator)
    for i, row in enumerate(few.rows):
        states, log_weights = completions(exact, clamp, row)
        (index,) = draw_states(log_weights, numbers[i : i + 1])
        drawn[row] = states[index].to(drawn.dtype)
    temperatures = schedule(n_steps)
    for _, part in parts_of_clamp(few.others_of(clamp), CHAIN_ROWS):
        parts.append(tempered_chains(machine, 1, temperatures, generator, clamp=part)[0])
    if parts:
        drawn[few.others] = torch.cat(parts)
    return drawn


def mean_clamped(
    machine: BoltzmannMachine, clamp: Clamp, n_steps: int, generator: torch.Generator
) -> Tensor:
    """Return the means (n, n_units) of free units given the known ones; limits are not allowed.

    They are exact where hidden states or free bits are enumerated, else means over the last half of
    the steps of clamped chains.
    """
    if sums_rows(machine):
        (states,) = blocks_of_states(machine.n_hidden, machine, whole=True)
        shares = torch.softmax(clamped_log_weights(machine, clamp), -1)
        means = machine.mean(machine.visible_field(states))
        return clamp.put((shares @ means.double()).to(means.dtype))
    result = torch.empty_like(clamp.units)
    few = few_free_bits(machine, clamp)
    exact = in_double(machine)
    for row in few.rows:
        states, log_weights = completions(exact, clamp, row)
        result[row] = (torch.softmax(log_weights, 0) @ states).to(result.dtype)
    if few.others.any():
        others = few.others_of(clamp)
        result[few.others] = _mean_of_chains(machine, others, n_steps, generator)
    return result


def _mean_of_chains(machine, clamp, n_steps, generator):
    """Means (n, n_units) of the free units over clamped chains."""
    rising = schedule(n_steps)[: n_steps // 2]
    units = tempered_chains(machine, MEAN_CHAINS, rising, generator, clamp=clamp)
    total: Tensor = torch.zeros_like(clamp.units)
    n_kept = max(1, n_steps - len(rising))
    for _ in range(n_kept):
        hidden = draw_hidden(machine.hidden_logits(units), generator, clamp)
        total += machine.mean(machine.visible_field(hidden)).mean(0)
        units = draw_visible(machine, hidden, generator, clamp=clamp)
    return clamp.put(total / n_kept)


def log_mass(
    machine: BoltzmannMachine,
    clamp: Clamp,
    n_chains: int,
    temperatures: Sequence[float],
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Return log-masses (n,) of the rows of a clamp before division by Z, and standard errors.

    The free units are integrated out within their limits: exactly where hidden states or free bits
    are enumerated, else by annealed importance sampling.
    """
    if sums_rows(machine):
        values = torch.logsumexp(clamped_log_weights(machine, clamp), -1)
        return values, torch.zeros_like(values)
    few = few_free_bits(machine, clamp)
    exact = in_double(machine)
    values = torch.zeros(len(clamp.units), dtype=torch.float64, device=machine.weight.device)
    errors = torch.zeros_like(values)
    for row in few.rows:
        values[row] = torch.logsumexp(completions(exact, clamp, row)[1], 0)
    if few.others.any():
        values[few.others], errors[few.others] = annealed_log_partition(
            machine, temperatures, n_chains, generator, few.others_of(clamp)
        )
    return values, errors


class FewFree(NamedTuple):
    """Rows whose free bits have few states, and whether (n,) a row is another one."""

    rows: list[int]
    others: Tensor

    def others_of(self, clamp: Clamp) -> Clamp:
        """Return the clamp of the other rows."""
        if not self.rows:
            return clamp  # which may have limits
        return clamp.take(self.others)


def few_free_bits(machine: BoltzmannMachine, clamp: Clamp) -> FewFree:
    """Return the rows of a clamp whose free bits are enumerated."""
    n_numbers = 2.0 ** clamp.is_free.sum(-1) * max(machine.n_units, machine.n_hidden)
    is_few = n_numbers <= MOST_ROW_NUMBERS
    if type(machine) is not BernoulliMachine or clamp.limits is not None:
        is_few = torch.zeros_like(is_few)
    return FewFree(torch.nonzero(is_few)[:, 0].tolist(), ~is_few)


def sums_rows(machine: BoltzmannMachine) -> bool:
    """Whether hidden states are few enough to be enumerated for each row."""
    return machine.n_hidden <= 20 and 2**machine.n_hidden * machine.n_units <= MOST_ROW_NUMBERS


def _rows_at_once(machine: BoltzmannMachine) -> int:
    """Rows of which all hidden states are enumerated at once."""
    return max(1, BLOCK_NUMBERS // (2**machine.n_hidden * machine.n_units))


def parts_of_clamp(clamp: Clamp, n_rows: int) -> Iterator[tuple[slice, Clamp]]:
    """Yield slices of so many rows of a clamp, and the clamps of these rows."""
    for first in range(0, len(clamp.units), n_rows):
        rows = slice(first, first + n_rows)
        yield rows, clamp.take(rows)


def uniforms(n: int, machine: BoltzmannMachine, generator: torch.Generator) -> Tensor:
    """Return uniform numbers (n,) in double precision, on the device of a machine."""
    device = machine.weight.device
    return torch.rand(n, generator=generator, device=device, dtype=torch.float64)
