"""Annealed importance sampling of the likelihood of rows under models with latent variables.

Chains start at draws from the prior p(z) and pass through densities f_t(z) proportional to p(z) p(x
given z)^b_t, up to the posterior, b = 1. At step t the weight of a chain is multiplied by p(x given
z)^(b_t - b_(t-1)); then Hamiltonian Monte Carlo, which leaves f_t invariant, moves the chain. The
mean of the final weights is an unbiased estimate of p(x).
"""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from probgen.marginal_likelihood.latent_model import LatentModel

STEEPNESS = 4.0  # of the sigmoid: temperatures are dense at both ends
TARGET_ACCEPTANCE = 0.65
# Of the trial run that adapts the step sizes.
TRIAL_CHAINS = 4
FIRST_STEP = 0.3
ADAPTATION_RATE = 0.2
SCALE_DRAWS = 64  # draws from the prior, for the standard deviations of the codes
STEP_JITTER = 0.25  # with a fixed step size, trajectories may be periodic
WORK_NUMBERS = 2**22  # numbers in the rows of all chains of a block


def annealed_log_weights(
    model: LatentModel, *, n_chains: int, n_temperatures: int, n_leapfrog: int
) -> torch.Tensor:
    """Return log weights of chains for the rows of a LatentModel, with the same noise for each row.

    The result of a row then does not depend on other rows, if that holds for the model's functions.

    Parameters
    ----------
    model : LatentModel
    n_chains, n_temperatures, n_leapfrog : int
        As in `ais_log_likelihood`.

    Returns
    -------
    log_weights : Tensor of shape (n_chains, n)
        In double precision; the mean over the chains of their exponentials estimates p(x).
    """
    annealing = Annealing(model, sigmoid_temperatures(n_temperatures), n_chains, n_leapfrog, None)
    return annealing.run(model.rows, [np.random.default_rng(0) for _ in model.rows[0]])


def bidirectional_log_weights(
    model: LatentModel,
    codes: torch.Tensor,
    generators: list[np.random.Generator],
    *,
    n_chains: int,
    n_temperatures: int,
    n_leapfrog: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return log weights of chains from the prior to the posterior, and of chains back [1]_.

    The codes from which the model drew its rows are draws from their posteriors. The mean weight of
    the chains up has the expectation p(x), the mean reciprocal weight of the chains down 1 / p(x).

    Parameters
    ----------
    model : LatentModel
    codes : Tensor of shape (n, k)
        From which the rows of the model were drawn.
    generators : list of numpy Generator
        One for each row.
    n_chains, n_temperatures, n_leapfrog : int
        As in `ais_log_likelihood`.

    Returns
    -------
    up, down : Tensor of shape (n_chains, n)
        In double precision.

    References
    ----------
    .. [1] R. B. Grosse, Z. Ghahramani, R. P. Adams, Sandwiching the marginal likelihood using
       bidirectional Monte Carlo, 2015.
    """
    annealing = Annealing(model, sigmoid_temperatures(n_temperatures), n_chains, n_leapfrog, None)
    return annealing.run(model.rows, generators), annealing.run_down(codes, model.rows, generators)


def sigmoid_temperatures(n_temperatures: int) -> list[float]:
    """Powers (n_temperatures + 1,) of the likelihood, from 0 to 1 along a sigmoid, as a list."""
    sigmoid = 1.0 / (1.0 + np.exp(-STEEPNESS * np.linspace(-1.0, 1.0, n_temperatures + 1)))
    return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).tolist()


class _State(NamedTuple):
    """Codes (s, n, k) of chains; both terms (s, n) of log p(x, z) and their gradients (s, n, k)."""

    codes: torch.Tensor
    log_prior: torch.Tensor
    log_likelihood: torch.Tensor
    prior_gradient: torch.Tensor
    likelihood_gradient: torch.Tensor

    def log_density(self, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
        """log f(z) (s, n) up to a constant, and its gradient (s, n, k), at a temperature."""
        value = self.log_prior + temperature * self.log_likelihood
        gradient = self.prior_gradient + temperature * self.likelihood_gradient
        return value, gradient


class Annealing:
    """Runs of chains from the prior to the posterior."""

    def __init__(
        self,
        model: LatentModel,
        temperatures: Sequence[float],
        n_chains: int,
        n_leapfrog: int,
        step_size: float | None,
    ) -> None:
        self.model = model
        self.temperatures = temperatures
        self.n_chains = n_chains
        self.n_leapfrog = n_leapfrog
        self.step_size = step_size

    def run(
        self, rows: Sequence[torch.Tensor], generators: Sequence[np.random.Generator]
    ) -> torch.Tensor:
        """Log weights (n_chains, n) of rows, in double precision, with a generator for each row."""
        scale, steps = self._choose_steps(rows, generators)
        state = self._evaluate(self._draw_prior(self.n_chains, rows, generators), rows)
        log_weights = self.temperatures[1] * state.log_likelihood.double()
        noises = self._noise(self.n_chains, generators)
        later = zip(self.temperatures[1:], self.temperatures[2:], steps, noises)
        for temperature, next_temperature, step, noise in later:
            state, _ = self._move(state, rows, temperature, step, scale, noise)
            log_weights += (next_temperature - temperature) * state.log_likelihood.double()
        return log_weights

    def run_down(
        self,
        codes: torch.Tensor,
        rows: Sequence[torch.Tensor],
        generators: Sequence[np.random.Generator],
    ) -> torch.Tensor:
        """Log weights of chains from codes (n, k), draws from the posterior, to the prior."""
        scale, steps = self._choose_steps(rows, generators)
        state = self._evaluate(codes.expand(self.n_chains, *codes.shape).contiguous(), rows)
        differences = np.diff(self.temperatures)
        log_weights = differences[-1] * state.log_likelihood.double()
        n_moves = len(self.temperatures) - 2
        noises = self._noise(self.n_chains, generators)
        # The moves of `run` in reverse order: the same temperatures with the same step sizes.
        earlier = zip(
            self.temperatures[-2:0:-1], differences[-2::-1], steps[:n_moves].flip(0), noises
        )
        for temperature, difference, step, noise in earlier:
            state, _ = self._move(state, rows, temperature, step, scale, noise)
            log_weights += difference * state.log_likelihood.double()
        return log_weights

    def _choose_steps(
        self, rows: Sequence[torch.Tensor], generators: Sequence[np.random.Generator]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scales (n, k) of the codes, and a step size for each move and row, moves first."""
        draws = self._draw_prior(SCALE_DRAWS, rows, generators)
        scale = draws.std(0)
        if self.step_size is None:
            return scale, self._find_steps(draws[:TRIAL_CHAINS], rows, generators, scale)
        return scale, scale.new_full((len(self.temperatures), len(scale)), self.step_size)

    def _find_steps(
        self,
        codes: torch.Tensor,
        rows: Sequence[torch.Tensor],
        generators: Sequence[np.random.Generator],
        scale: torch.Tensor,
    ) -> torch.Tensor:
        """Step sizes (n_temperatures - 1, n), adapted on separate chains.

        Step sizes adapted on the weighted chains would depend on their past, and bias the weights.
        """
        log_step = scale.new_full((len(scale),), math.log(FIRST_STEP))
        steps = [log_step.exp()]
        state = self._evaluate(codes, rows)
        for temperature, noise in zip(self.temperatures[1:-1], self._noise(len(codes), generators)):
            state, acceptance = self._move(state, rows, temperature, steps[-1], scale, noise)
            log_step = log_step + ADAPTATION_RATE * (acceptance.mean(0) - TARGET_ACCEPTANCE)
            steps.append(log_step.exp())
        return torch.stack(steps)

    def _move(
        self,
        state: _State,
        rows: Sequence[torch.Tensor],
        temperature: float,
        step: torch.Tensor,
        scale: torch.Tensor,
        noise: torch.Tensor,
    ) -> tuple[_State, torch.Tensor]:
        """The state after one Hamiltonian move, and its acceptance probabilities (s, n).

        step is (n,) and scale (n, k); noise (s, n, k + 2) is standard normal.
        """
        momentum = noise[..., :-2]
        step_noise = noise[..., -2:-1]
        test_noise = noise[..., -1]
        # The distribution function of the normal turns noise into uniform numbers.
        jitter = 1.0 + STEP_JITTER * (2.0 * torch.special.ndtr(step_noise) - 1.0)
        strides = step[:, None] * jitter * scale
        value, gradient = state.log_density(temperature)
        before = value - 0.5 * momentum.square().sum(-1)
        moved = state
        for _ in range(self.n_leapfrog):
            momentum = momentum + 0.5 * strides * gradient
            moved = self._evaluate(moved.codes + strides * momentum, rows)
            value, gradient = moved.log_density(temperature)
            momentum = momentum + 0.5 * strides * gradient
        after = value - 0.5 * momentum.square().sum(-1)
        # A trajectory that diverged to NaN is rejected.
        log_ratio = torch.nan_to_num(
            after - before, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf
        ).clamp(max=0.0)
        is_accepted = torch.special.log_ndtr(test_noise) < log_ratio
        parts = []
        for new, old in zip(moved, state):
            mask = is_accepted.reshape(is_accepted.shape + (1,) * (new.ndim - 2))
            parts.append(torch.where(mask, new, old))
        return _State(*parts), log_ratio.exp()

    def _evaluate(self, codes: torch.Tensor, rows: Sequence[torch.Tensor]) -> _State:
        """The state of chains at codes (s, n, k)."""
        with torch.enable_grad():
            codes = codes.detach().requires_grad_()
            log_prior = self.model.log_prior(codes, *rows)
            log_likelihood = self.model.log_likelihood(codes, *rows)
            (prior_gradient,) = torch.autograd.grad(log_prior.sum(), codes)
            (likelihood_gradient,) = torch.autograd.grad(log_likelihood.sum(), codes)
        return _State(
            codes.detach(),
            log_prior.detach(),
            log_likelihood.detach(),
            prior_gradient,
            likelihood_gradient,
        )

    def _draw_prior(
        self, n_chains: int, rows: Sequence[torch.Tensor], generators: Sequence[np.random.Generator]
    ) -> torch.Tensor:
        """Codes (n_chains, n, k) from the prior, each row's from its own generator."""
        draws = []
        for index, generator in enumerate(generators):
            row = [part[index : index + 1] for part in rows]
            draws.append(self.model.sample_prior(n_chains, generator, *row))
        return torch.cat(draws, dim=1)

    def _noise(
        self, n_chains: int, generators: Sequence[np.random.Generator]
    ) -> Iterator[torch.Tensor]:
        """Yield normal noise (n_chains, n, k + 2) for each move, by the generator of each row."""
        n_moves = len(self.temperatures) - 2
        width = self.model.n_components + 2
        dtype = torch.empty(0, dtype=self.model.dtype).numpy().dtype
        n_ahead = max(1, WORK_NUMBERS // (len(generators) * n_chains * width))
        for start in range(0, n_moves, n_ahead):
            n_drawn = min(n_ahead, n_moves - start)
            numbers = np.empty((len(generators), n_drawn, n_chains, width), dtype)
            for generator, part in zip(generators, numbers):
                generator.standard_normal(out=part, dtype=dtype)
            yield from torch.from_numpy(numbers).to(self.model.rows[0].device).permute(1, 2, 0, 3)
