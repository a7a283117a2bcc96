"""Rows of a deep belief network, completed where only some of their features are known.

Recognition proposes hidden layers, and importance weights choose among them.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from probgen.boltzmann.beliefs import MOST_MIXED, BeliefNetwork, log_bound
from probgen.boltzmann.chains import Clamp, draw_visible
from probgen.boltzmann.enumeration import draw_states
from probgen.boltzmann.queries import parts_of_clamp, uniforms

N_PROPOSALS = 256  # for each row
BLOCK_NUMBERS = 2**20  # numbers in the layers, or pairs, of all proposals at once


def draw_completed(
    network: BeliefNetwork, clamp: Clamp, generator: torch.Generator, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return a draw of the free units of each row, and effective sample sizes of the proposals.

    Parameters
    ----------
    network : BeliefNetwork
    clamp : Clamp
        Of n rows.
    generator : torch.Generator
    labels : Tensor of shape (n,), optional
        Indices of the classes of the rows; without them, draws are over all classes.

    Returns
    -------
    units : Tensor of shape (n, n_units)
    sizes : Tensor of shape (n,)
        From 1 to N_PROPOSALS.
    """
    parts, sizes = [], []
    for rows, part in _parts(network, clamp):
        n = len(part.units)
        log_weights, hidden = network.propose(
            part, N_PROPOSALS, generator, by_class=labels is not None
        )
        if labels is not None:
            index = labels[rows].expand(N_PROPOSALS, n).unsqueeze(-1)
            log_weights = log_weights.gather(-1, index).squeeze(-1)
        chosen = draw_states(log_weights.T.contiguous(), uniforms(n, network.bottom, generator))
        own = hidden[chosen, torch.arange(n, device=chosen.device)]
        parts.append(draw_visible(network.bottom, own, generator, clamp=part))
        sizes.append(effective_sizes(log_weights))
    return torch.cat(parts), torch.cat(sizes)


def mean_completed(
    network: BeliefNetwork, clamp: Clamp, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return means (n, n_units) of the free units of rows without limits, and sizes (n,)."""
    log_weights, hidden = network.propose(clamp, N_PROPOSALS, generator)
    shares = torch.softmax(log_weights, 0).to(hidden.dtype)
    means = network.bottom.mean(network.bottom.visible_field(hidden))
    return clamp.put((shares.unsqueeze(-1) * means).sum(0)), effective_sizes(log_weights)


def log_masses(
    network: BeliefNetwork, clamp: Clamp, generator: torch.Generator, *, by_class: bool
) -> Tensor:
    """Return log-masses (n,) of a clamp before division by Z, or (n, n_classes) with each class."""
    parts = []
    for _, part in _parts(network, clamp):
        log_weights, _ = network.propose(part, N_PROPOSALS, generator, by_class=by_class)
        parts.append(log_bound(log_weights))
    return torch.cat(parts)


def effective_sizes(log_weights: Tensor) -> Tensor:
    """Return the effective sample sizes (n,) of log-weights (n_draws, n)."""
    return 1.0 / torch.softmax(log_weights, 0).square().sum(0)


def _parts(network: BeliefNetwork, clamp: Clamp) -> Iterator[tuple[slice, Clamp]]:
    """Yield slices of the rows of a clamp, and their clamps."""
    machines = (*network.generation, network.top)
    width = max(MOST_MIXED, *[machine.n_units for machine in machines])
    return parts_of_clamp(clamp, max(1, BLOCK_NUMBERS // (N_PROPOSALS * width)))
