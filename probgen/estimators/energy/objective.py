"""Training of Boltzmann machines by gradients in closed form."""

from collections.abc import Callable, Iterable
from typing import Any

import torch

from probgen.boltzmann.base import BoltzmannMachine
from probgen.boltzmann.beliefs import BeliefNetwork, log_bound
from probgen.boltzmann.chains import Clamp, draw_visible, gibbs
from probgen.boltzmann.enumeration import can_enumerate, log_partition
from probgen.boltzmann.gradients import energy_gradients, sparsity_gradients
from probgen.boltzmann.partition import annealed_log_partition
from probgen.marginal_likelihood.annealing import sigmoid_temperatures
from probgen.training.objective import Objective, Phase

CENTER_RATE = 0.01  # share of a batch in the moving means of hidden units
# Of the estimates of log Z behind validation scores.
N_CHAINS = 64
N_TEMPERATURES = 300
N_BOUND_DRAWS = 4  # of the hidden layers of a row, behind validation scores


class KnownGradient(torch.autograd.Function):
    """A loss whose gradients are known already, so that autograd records nothing.

    The engine calls `backward` as for every loss, and gets these gradients.
    """

    @staticmethod
    def forward(ctx: Any, loss: Any, gradients: Any, *parameters: Any) -> Any:
        """Return the loss."""
        ctx.gradients = gradients
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return the gradients times the factor on the loss."""
        (factor,) = grad_outputs
        return None, None, *[factor * gradient for gradient in ctx.gradients]


class BoltzmannObjective(Objective):
    """Minus the log-likelihood of a restricted Boltzmann machine, by contrastive divergence.

    The loss in the history is the mean free energy of the rows less that of the chains, whose
    gradient the update follows. It is near 0 where chains look like rows, and does not measure the
    likelihood. Validation scores are log-likelihoods, exact or by annealed importance sampling.

    Parameters
    ----------
    machine : BoltzmannMachine
    algorithm : Option
        `ContrastiveDivergence` or `PersistentContrastiveDivergence`.
    penalty : KLSparsity or None
    prepare : callable
        (rows of a batch, generator) -> visible units.
    """

    chains: torch.Tensor
    hidden_center: torch.Tensor

    def __init__(
        self, machine: BoltzmannMachine, algorithm: Any, penalty: Any, prepare: Callable
    ) -> None:
        super().__init__()
        self.machine = machine
        self.algorithm = algorithm
        self.penalty = penalty
        self.prepare = prepare
        self.is_persistent = algorithm.name == "pcd"
        if self.is_persistent:
            # Hidden states, which start the visible units at their base rates.
            shape = (algorithm.n_chains, machine.n_hidden)
            self.register_buffer("chains", machine.weight.detach().new_zeros(shape))
        center = torch.sigmoid(machine.hidden_bias.detach())
        self.register_buffer("hidden_center", center)

    def phases(self) -> list[Phase]:
        """See Objective."""
        return [Phase("loss", self.loss, self.machine.in_order())]

    def loss(self, *batch: torch.Tensor) -> Any:
        """See Objective."""
        with torch.no_grad():
            units = self.prepare(*batch, generator=self.noise)
            loss, gradients = self.loss_of_units(units, self.model_units(units))
        return KnownGradient.apply(loss, gradients, *self.machine.in_order())

    def model_units(self, units: torch.Tensor) -> torch.Tensor:
        """Return visible units of chains, from their last states or from the units of rows."""
        n_steps = self.algorithm.n_steps
        if self.is_persistent:
            drawn = draw_visible(self.machine, self.chains, self.noise)
            return gibbs(self.machine, drawn, n_steps - 1, self.noise)
        return gibbs(self.machine, units, n_steps, self.noise)

    def loss_of_units(
        self, units: torch.Tensor, model_units: torch.Tensor
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """Return the loss of units of rows and of chains, and its gradients; moves the chains."""
        machine = self.machine
        centers = (machine.mean(machine.base_bias, 0.0), self.hidden_center)
        loss, hidden, gradients, model_hidden = energy_gradients(
            machine, units, model_units, centers
        )
        if self.is_persistent:
            uniforms = torch.empty_like(model_hidden).uniform_(generator=self.noise)
            self.chains.copy_(uniforms < model_hidden)
        self.hidden_center.lerp_(hidden.mean(0), CENTER_RATE)
        if self.penalty is not None:
            penalty, by_weight, by_bias = sparsity_gradients(
                units, hidden, self.penalty.target, self.penalty.weight
            )
            loss = loss + penalty
            gradients[0] = gradients[0] + by_weight
            gradients[2] = gradients[2] + by_bias
        return loss, gradients

    def validation_score(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
        """See Objective."""
        total, n_rows = 0.0, 0
        for batch in batches:
            units = self.prepare(*batch, generator=self.noise)
            total += float(self.machine.negative_free_energy(units).double().sum())
            n_rows += len(units)
        return total / n_rows - quick_log_partition(self.machine, self.noise)


class UpDownObjective(Objective):
    """The up-down pass of a deep belief network.

    The loss is minus the mean log-probability of each layer given a draw of the layer above, plus
    the loss of the top machine. Validation scores are lower bounds of log-likelihoods.

    Parameters
    ----------
    network : BeliefNetwork
    algorithm : Option
        Of the top machine.
    prepare : callable
        (rows of a batch, generator) -> visible units.
    with_labels : callable
        (units below the top machine, further tensors of a batch) -> units of the top machine.
    """

    def __init__(
        self, network: BeliefNetwork, algorithm: Any, prepare: Callable, with_labels: Callable
    ) -> None:
        super().__init__()
        self.network = network
        self.prepare = prepare
        self.with_labels = with_labels
        self.top = BoltzmannObjective(network.top, algorithm, None, prepare)

    def phases(self) -> list[Phase]:
        """See Objective."""
        return [Phase("loss", self.loss, self._in_order())]

    def loss(self, X: torch.Tensor, *labels: torch.Tensor) -> Any:
        """See Objective."""
        network, top = self.network, self.top
        with torch.no_grad():
            top.noise = self.noise
            states = network.draw_up(self.prepare(X, generator=self.noise), self.noise)
            units = self.with_labels(states[-1], *labels)
            model_units = top.model_units(units)
            loss, gradients = top.loss_of_units(units, model_units)
            dreams = network.draw_down(network.without_labels(model_units), self.noise)
            own, by_layer = network.up_down_gradients(states, dreams)
        return KnownGradient.apply(own + loss, [*by_layer, *gradients], *self._in_order())

    def validation_score(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
        """See Objective."""
        total, n_rows = 0.0, 0
        for X, *_ in batches:
            units = self.prepare(X, generator=self.noise)
            whole = Clamp(units, torch.zeros_like(units), shares_noise=True)
            weights, _ = self.network.propose(whole, N_BOUND_DRAWS, self.noise)
            total += float(log_bound(weights).sum())
            n_rows += len(units)
        return total / n_rows - quick_log_partition(self.network.top, self.noise)

    def _in_order(self) -> list[torch.nn.Parameter]:
        return [*self.network.parameters_of_layers(), *self.network.top.in_order()]


def quick_log_partition(machine: BoltzmannMachine, noise: torch.Generator) -> float:
    """Return log Z, exact or by few temperatures."""
    if can_enumerate(machine):
        return log_partition(machine)
    temperatures = sigmoid_temperatures(N_TEMPERATURES)
    value, _ = annealed_log_partition(machine, temperatures, N_CHAINS, noise)
    return float(value)
