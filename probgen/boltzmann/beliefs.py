"""Deep belief networks: directed layers of bits below a restricted Boltzmann machine."""

import copy
import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.chains import Clamp, draw_base, draw_hidden, draw_visible
from probgen.boltzmann.machine import LabelledMachine
from probgen.boltzmann.noise import draw_bits
from probgen.networks.dense import Linear

FILLING_STEPS = 8  # of recognition and generation, which draw the free units of a row
MOST_MIXED = 64  # draws whose proposals are mixed


class BeliefNetwork(nn.Module):
    """Directed layers, upwards by recognition and downwards by generation, and the machine on top.

    Parameters
    ----------
    machines : sequence of BoltzmannMachine
        Trained layer by layer; each but the last becomes a directed layer, whose recognition
        weights start as those of the machine.

    Attributes
    ----------
    generation : ModuleList of BoltzmannMachine
        p(units given the layer above), from the visible layer up.
    recognition : ModuleList of Linear
        Log-odds of the layer above given units.
    top : BoltzmannMachine

    References
    ----------
    G. E. Hinton, S. Osindero, Y.-W. Teh, A fast learning algorithm for deep belief nets, 2006.
    """

    # Modules in a list, which type checkers cannot know.
    generation: Any
    recognition: Any
    top: Any

    def __init__(self, machines: list[BoltzmannMachine]) -> None:
        super().__init__()
        *lower, top = machines
        self.generation = nn.ModuleList(lower)
        self.top = top
        self.recognition = nn.ModuleList(_recognition(machine) for machine in lower)
        for machine in lower:
            machine.hidden_bias.requires_grad_(False)  # not a part of p(v given h)

    @property
    def bottom(self) -> Any:
        """The layer of the visible units."""
        return self.generation[0]

    def means_up(self, units: Tensor) -> list[Tensor]:
        """Return probabilities of each hidden layer below the top, each given those of the last."""
        means = []
        for layer in self.recognition:
            units = torch.sigmoid(layer(units))
            means.append(units)
        return means

    def draw_up(self, units: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return the units, and a draw of each hidden layer below the top given the one below."""
        states = [units]
        for layer in self.recognition:
            states.append(draw_bits(layer(states[-1]), generator))
        return states

    def draw_down(self, states: Tensor, generator: torch.Generator) -> list[Tensor]:
        """Return a draw of each layer given the one above, the visible units first.

        The states (n, n_units) are those of the highest directed layer, and come last.
        """
        drawn = [states]
        for machine in reversed(self.generation):
            drawn.insert(0, machine.draw(machine.visible_field(drawn[0]), generator))
        return drawn

    def propose(
        self, clamp: Clamp, n_draws: int, generator: torch.Generator, *, by_class: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Return draws of the hidden layers by recognition, for what is known of the visible units.

        Recognition needs whole rows, so each draw has free units of its own, from a chain of
        recognition and generation. The lowest hidden layer is then from the mixture over all of
        these (the balance heuristic [1]_), and the weights are unbiased whatever they are.

        Parameters
        ----------
        clamp : Clamp
            Of n rows.
        n_draws : int
        generator : torch.Generator
        by_class : bool, default=False
            For a top machine with classes: whether the weights are those of each class.

        Returns
        -------
        log_weights : Tensor of shape (n_draws, n), or (n_draws, n, n_classes)
            log p(known v, h) + log Z - log q(h given v), in double precision.
        hidden : Tensor of shape (n_draws, n, n_hidden)
            The lowest hidden layer.

        References
        ----------
        .. [1] E. Veach, L. J. Guibas, Optimally combining sampling techniques for Monte Carlo
           rendering, 1995.
        """
        shared = clamp.shares_noise
        states = self._filled(clamp, n_draws, generator)
        logits = self.recognition[0](states)
        hidden = states = draw_bits(logits, generator, shared=shared)
        if clamp.is_free.any():
            known = self.bottom.log_conditional(clamp.units, states, clamp.is_free, clamp.limits)
            total = known.double() - log_bits_of_mixture(logits, states)
        else:
            known = self.bottom.log_conditional(clamp.units, states)
            total = known.double() - log_bits(logits, states)
        for machine, layer in zip(self.generation[1:], self.recognition[1:]):
            logits = layer(states)
            above = draw_bits(logits, generator, shared=shared)
            total = total + machine.log_conditional(states, above).double()
            total = total - log_bits(logits, above)
            states = above
        if not isinstance(self.top, LabelledMachine):
            return total + self.top.negative_free_energy(states).double(), hidden
        weights = total.unsqueeze(-1) + self.of_classes(states)
        if by_class:
            return weights, hidden
        return torch.logsumexp(weights, -1), hidden

    def _filled(self, clamp: Clamp, n_draws: int, generator: torch.Generator) -> Tensor:
        """Visible units (n_draws, n, n_units) with the free ones drawn."""
        if not clamp.is_free.any():
            return clamp.units.expand(n_draws, *clamp.units.shape)
        units = draw_base(self.bottom, n_draws, generator, clamp)
        for _ in range(FILLING_STEPS):
            hidden = draw_hidden(self.recognition[0](units), generator, clamp)
            units = draw_visible(self.bottom, hidden, generator, clamp=clamp)
        return units

    def without_labels(self, units: Tensor) -> Tensor:
        """Return the bits among units of the top machine."""
        return units[..., : self.generation[-1].n_hidden]

    def of_classes(self, states: Tensor) -> Tensor:
        """Return minus the free energies (..., n_classes) of states with each class."""
        labels = torch.eye(self.top.n_classes, dtype=states.dtype, device=states.device)
        parts = []
        for label in labels:
            joint = torch.cat([states, label.expand(*states.shape[:-1], -1)], -1)
            parts.append(self.top.negative_free_energy(joint).double())
        return torch.stack(parts, -1)

    def up_down_gradients(
        self, states: list[Tensor], dreams: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """Return a loss and its gradients by `parameters_of_layers`.

        Parameters
        ----------
        states : list of Tensor
            Of `draw_up` of rows: generation learns to undo them.
        dreams : list of Tensor
            Of `draw_down`: recognition learns to undo them.
        """
        loss: Any = 0.0
        gradients = []
        for machine, below, above in zip(self.generation, states, states[1:]):
            own, by_parameter = machine.conditional_gradients(below, above)
            loss = loss + own
            gradients.extend(by_parameter)
        for layer, below, above in zip(self.recognition, dreams, dreams[1:]):
            residuals = (torch.sigmoid(layer(below)) - above) / len(below)
            gradients.extend([residuals.T @ below, residuals.sum(0)])
        return loss, gradients

    def parameters_of_layers(self) -> list[nn.Parameter]:
        """Return the parameters of generation, then those of recognition, layer by layer."""
        parameters = []
        for machine in self.generation:
            parameters.extend([machine.weight, machine.visible_bias, *machine.rest])
        for layer in self.recognition:
            parameters.extend([layer.weight, layer.bias])
        return parameters

    def encoder(self) -> nn.Sequential:
        """Return a network from units to the probabilities of the top layer, in plain torch."""
        layers: list[nn.Module] = []
        for layer in self.recognition:
            layers.extend([copy.deepcopy(layer), nn.Sigmoid()])
        n_bits = self.generation[-1].n_hidden
        last = Linear(n_bits, self.top.n_hidden)
        with torch.no_grad():
            last.weight.copy_(self.top.weight[:, :n_bits])
            last.bias.copy_(self.top.hidden_bias)
        return nn.Sequential(*layers, last.to(self.top.weight.dtype), nn.Sigmoid())


def log_bits(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the log-probabilities (...) of bits (..., n) with these log-odds of a 1."""
    cross = functional.binary_cross_entropy_with_logits(logits, bits, reduction="none")
    return -cross.sum(-1).double()


def log_bits_of_mixture(logits: Tensor, bits: Tensor) -> Tensor:
    """Return the log-probabilities (n_draws, n) of bits under mixtures over the draws.

    Both are (n_draws, n, n_bits). The draws are mixed in groups, whose number of pairs is bounded.
    """
    parts = []
    for own, drawn in zip(logits.split(MOST_MIXED), bits.split(MOST_MIXED)):
        normalizers = functional.softplus(own).sum(-1)
        pairs = torch.einsum("inh,jnh->ijn", drawn, own) - normalizers
        parts.append(torch.logsumexp(pairs.double(), 1) - math.log(len(own)))
    return torch.cat(parts)


def log_bound(log_weights: Tensor) -> Tensor:
    """Return the logarithms of the means of weights over the first axis."""
    return torch.logsumexp(log_weights, 0) - math.log(len(log_weights))


def _recognition(machine: BoltzmannMachine) -> Linear:
    layer = Linear(machine.n_units, machine.n_hidden)
    with torch.no_grad():
        layer.weight.copy_(machine.weight)
        layer.bias.copy_(machine.hidden_bias)
    return layer.to(machine.weight.dtype)
