"""Annealed importance sampling of the likelihood of rows under models with latent variables.

Chains start at draws from the prior p(z) and go through densities f_t(z), proportional to p(z) p(x
given z)^b_t, up to the posterior, b = 1. At temperature t the weight of a chain grows by p(x given
z)^(b_t - b_(t-1)), and then Hamiltonian Monte Carlo, which leaves f_t as it is, moves the chain.
The mean of the final weights is an unbiased estimate of p(x).
"""

import math
from typing import NamedTuple

import numpy as np
import torch

STEEPNESS = 4.0  # of the sigmoid: temperatures are dense at both ends
TARGET_ACCEPTANCE = 0.65
TRIAL_CHAINS = 4  # of the trial run that finds the step sizes
FIRST_STEP, ADAPTATION_RATE = 0.3, 0.2  # of that run
SCALE_DRAWS = 64  # from the prior, for the deviations of the codes
STEP_JITTER = 0.25  # a fixed number of fixed steps may come back to where it began
WORK_NUMBERS = 2**22  # numbers in the rows of all chains of a block


def annealed_log_weights(model, *, n_chains, n_temperatures, n_leapfrog):
    """Return log weights of chains for the rows of a LatentModel, all under the same noise.

    What a row gets then depends on no other, if the model's functions see to that.

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


def bidirectional_log_weights(model, codes, generators, *, n_chains, n_temperatures, n_leapfrog):
    """Return log weights of chains up from the prior, and of chains down from draws of the
    posterior [1]_.

    Of rows that the model itself made, the codes that they were made of are draws from the
    posterior. The mean of the weights of chains up is on average p(x), that of the reciprocals of
    chains down 1 / p(x).

    Parameters
    ----------
    model : LatentModel
    codes : Tensor of shape (n, k)
        Of the rows of the model.
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


def sigmoid_temperatures(n_temperatures):
    """Powers (n_temperatures + 1,) of the likelihood, from 0 to 1, along a sigmoid."""
    sigmoid = 1.0 / (1.0 + np.exp(-STEEPNESS * np.linspace(-1.0, 1.0, n_temperatures + 1)))
    return ((sigmoid - sigmoid[0]) / (sigmoid[-1] - sigmoid[0])).tolist()


class _State(NamedTuple):
    """Codes (s, n, k) of chains, with both parts (s, n) of log p(x, z) and their gradients (s, n,
    k)."""

    codes: torch.Tensor
    log_prior: torch.Tensor
    log_likelihood: torch.Tensor
    prior_slope: torch.Tensor
    likelihood_slope: torch.Tensor

    def energy(self, temperature):
        """log f(z) (s, n), and its gradient, at a temperature."""
        return (
            self.log_prior + temperature * self.log_likelihood,
            self.prior_slope + temperature * self.likelihood_slope,
        )


class Annealing:
    """Runs of chains from the prior to the posterior."""

    def __init__(self, model, temperatures, n_chains, n_leapfrog, step_size):
        self.model, self.temperatures = model, temperatures
        self.n_chains, self.n_leapfrog, self.step_size = n_chains, n_leapfrog, step_size

    def run(self, rows, generators):
        """Log weights (n_chains, n) of rows, of which each has a generator of its own, in double
        precision."""
        scale, steps = self._choose_steps(rows, generators)
        state = self._evaluate(self._draw_prior(self.n_chains, rows, generators), rows)
        log_weights = self.temperatures[1] * state.log_likelihood.double()
        later = zip(
            self.temperatures[1:],
            self.temperatures[2:],
            steps,
            self._noise(self.n_chains, generators),
        )
        for temperature, next_temperature, step, noise in later:
            state, _ = self._move(state, rows, temperature, step, scale, noise)
            log_weights += (next_temperature - temperature) * state.log_likelihood.double()
        return log_weights

    def run_down(self, codes, rows, generators):
        """The same of chains that go from codes (n, k), draws from the posterior, down to the
        prior."""
        scale, steps = self._choose_steps(rows, generators)
        state = self._evaluate(codes.expand(self.n_chains, *codes.shape).contiguous(), rows)
        sizes = np.diff(self.temperatures)
        log_weights = sizes[-1] * state.log_likelihood.double()
        n_moves = len(self.temperatures) - 2
        noises = self._noise(self.n_chains, generators)
        below = zip(self.temperatures[-2:0:-1], sizes[-2::-1], steps[:n_moves].flip(0), noises)
        for temperature, size, step, noise in below:
            state, _ = self._move(state, rows, temperature, step, scale, noise)
            log_weights += size * state.log_likelihood.double()
        return log_weights

    def _choose_steps(self, rows, generators):
        """Scales (n, k) of the codes, and step sizes of the moves up (n_temperatures - 1 or more,
        n)."""
        draws = self._draw_prior(SCALE_DRAWS, rows, generators)
        scale = draws.std(0)
        if self.step_size is None:
            return scale, self._find_steps(draws[:TRIAL_CHAINS], rows, generators, scale)
        return scale, scale.new_full((len(self.temperatures), len(scale)), self.step_size)

    def _find_steps(self, codes, rows, generators, scale):
        """Step sizes (n_temperatures - 1, n) from chains of their own.

        Steps that followed the chains which are weighed would depend on their past, and bias the
        weights.
        """
        log_step = scale.new_full((len(scale),), math.log(FIRST_STEP))
        steps = [log_step.exp()]
        state = self._evaluate(codes, rows)
        for temperature, noise in zip(self.temperatures[1:-1], self._noise(len(codes), generators)):
            state, acceptance = self._move(state, rows, temperature, steps[-1], scale, noise)
            log_step = log_step + ADAPTATION_RATE * (acceptance.mean(0) - TARGET_ACCEPTANCE)
            steps.append(log_step.exp())
        return torch.stack(steps)

    def _move(self, state, rows, temperature, step, scale, noise):
        """The state after one move that leaves f_t as it is, and the probabilities (s, n) with
        which it was accepted.

        step (n,), scale (n, k); noise (s, n, k + 2) is standard normal.
        """
        momentum, for_step, for_test = noise[..., :-2], noise[..., -2:-1], noise[..., -1]
        jitter = 1.0 + STEP_JITTER * (2.0 * torch.special.ndtr(for_step) - 1.0)
        strides = step[:, None] * jitter * scale
        before, slope = state.energy(temperature)
        energy = before - 0.5 * momentum.square().sum(-1)
        moved = state
        for _ in range(self.n_leapfrog):
            momentum = momentum + 0.5 * strides * slope
            moved = self._evaluate(moved.codes + strides * momentum, rows)
            after, slope = moved.energy(temperature)
            momentum = momentum + 0.5 * strides * slope
        log_ratio = after - 0.5 * momentum.square().sum(-1) - energy
        log_ratio = torch.nan_to_num(
            log_ratio, nan=-torch.inf, posinf=torch.inf, neginf=-torch.inf
        ).clamp(max=0.0)
        accepted = torch.special.log_ndtr(for_test) < log_ratio
        chosen = [
            torch.where(accepted.reshape(accepted.shape + (1,) * (new.ndim - 2)), new, old)
            for new, old in zip(moved, state)
        ]
        return _State(*chosen), log_ratio.exp()

    def _evaluate(self, codes, rows):
        with torch.enable_grad():
            codes = codes.detach().requires_grad_()
            log_prior = self.model.log_prior(codes, *rows)
            log_likelihood = self.model.log_likelihood(codes, *rows)
            (prior_slope,) = torch.autograd.grad(log_prior.sum(), codes)
            (likelihood_slope,) = torch.autograd.grad(log_likelihood.sum(), codes)
        return _State(
            codes.detach(),
            log_prior.detach(),
            log_likelihood.detach(),
            prior_slope,
            likelihood_slope,
        )

    def _draw_prior(self, n_chains, rows, generators):
        """Codes (n_chains, n, k), those of a row by its own generator."""
        draws = [
            self.model.sample_prior(
                n_chains, generator, *(part[index : index + 1] for part in rows)
            )
            for index, generator in enumerate(generators)
        ]
        return torch.cat(draws, dim=1)

    def _noise(self, n_chains, generators):
        """Yield standard normal numbers (n_chains, n, k + 2) for each move, those of a row by its
        own generator."""
        n_moves, width = len(self.temperatures) - 2, self.model.n_components + 2
        dtype = torch.empty(0, dtype=self.model.dtype).numpy().dtype
        n_ahead = max(1, WORK_NUMBERS // (len(generators) * n_chains * width))
        for start in range(0, n_moves, n_ahead):
            numbers = np.empty(
                (len(generators), min(n_ahead, n_moves - start), n_chains, width), dtype
            )
            for generator, part in zip(generators, numbers):
                generator.standard_normal(out=part, dtype=dtype)
            yield from torch.from_numpy(numbers).to(self.model.rows[0].device).permute(1, 2, 0, 3)
