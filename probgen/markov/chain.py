"""Chains of K states: which transitions there can be, and their maximum-likelihood estimates."""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

TRANSITIONS = ("full", "left_right", "banded")
STARTS = ("free", "stationary")
# Least probability of an allowed transition of a stationary chain, so that there is one start.
LEAST_STATIONARY = 1e-12


@dataclass(frozen=True)
class Chain:
    """A Markov chain.

    Attributes
    ----------
    start : ndarray of shape (K,)
        Probabilities of the first state.
    transitions : ndarray of shape (K, K)
        Probabilities of the next state, a row for each state.
    """

    start: np.ndarray
    transitions: np.ndarray

    def __len__(self):
        return len(self.start)

    @property
    def log_start(self):
        """Logs (K,) of the probabilities of the first state."""
        with np.errstate(divide="ignore"):
            return np.log(self.start)

    @property
    def log_transitions(self):
        """Logs (K, K) of the probabilities of the next state."""
        with np.errstate(divide="ignore"):
            return np.log(self.transitions)


@dataclass(frozen=True)
class ChainSettings:
    """Settings of a chain, under the names of the estimator's parameters."""

    transition: str
    start: str
    bandwidth: int | None
    start_smoothing: float
    transition_smoothing: float

    def allowed(self, n_states):
        """Mask (K, K) of the transitions that there can be."""
        jumps = np.arange(n_states) - np.arange(n_states)[:, None]
        if self.transition == "full":
            return np.ones((n_states, n_states), dtype=bool)
        if self.transition == "banded":
            return np.abs(jumps) <= (self.bandwidth or 1)
        return (jumps >= 0) & (jumps <= (self.bandwidth or n_states))

    def allowed_start(self, n_states):
        """Mask (K,) of the first states that there can be."""
        if self.transition == "left_right":
            return np.arange(n_states) == 0
        return np.ones(n_states, dtype=bool)

    def first(self, n_states, generator=None):
        """The chain that a fit starts from, which stays in a state half of the time.

        With a generator, rows are drawn at random.
        """
        allowed = self.allowed(n_states).astype(np.float64)
        if generator is not None:
            allowed *= generator.standard_exponential(allowed.shape)
        transitions = 0.5 * (np.eye(n_states) + allowed / allowed.sum(axis=1, keepdims=True))
        start = self.allowed_start(n_states).astype(np.float64)
        if self.start == "stationary":
            return Chain(stationary_distribution(transitions), transitions)
        return Chain(start / start.sum(), transitions)

    def estimate(self, chain, start_counts, transition_counts):
        """A likelier chain for expected counts of first states (K,) and of transitions (K, K)."""
        allowed = self.allowed(len(chain))
        counts = transition_counts + self.transition_smoothing * allowed
        if self.start == "stationary":
            return _stationary_estimate(chain, start_counts, counts, allowed)
        start = start_counts + self.start_smoothing * self.allowed_start(len(chain))
        return Chain(_normalised(start, chain.start), _normalised(counts, chain.transitions))

    def n_parameters(self, n_states):
        """Number of free parameters of a chain."""
        n_free = int(self.allowed(n_states).sum()) - n_states
        if self.start == "free":
            n_free += int(self.allowed_start(n_states).sum()) - 1
        return n_free


def _normalised(counts, previous):
    """Counts over their sum along the last axis; previous where that is 0."""
    totals = counts.sum(axis=-1, keepdims=True)
    is_known = totals > np.finfo(np.float64).tiny
    return np.where(is_known, counts / np.where(is_known, totals, 1.0), previous)


def stationary_distribution(transitions):
    """Probabilities (K,) that a step of the chain leaves as they are."""
    n_states = len(transitions)
    equations = np.vstack([transitions.T - np.eye(n_states), np.ones(n_states)])
    right = np.append(np.zeros(n_states), 1.0)
    solution = np.maximum(np.linalg.lstsq(equations, right, rcond=None)[0], 0.0)
    return solution / solution.sum()


def _stationary_estimate(chain, start_counts, counts, allowed):
    """A chain that starts from its stationary distribution, by BFGS.

    It starts from the better of the present chain and the one for a free start, and maximises the
    expected log-likelihood over logits of the rows. With Z the inverse of 1 - A + 1 pi', the
    derivative of pi by A in a direction D is pi D Z.
    """
    n_states = len(chain)
    places = np.flatnonzero(allowed)
    free = _normalised(counts, chain.transitions)

    def chain_of(logits):
        full = np.full(n_states * n_states, -np.inf)
        full[places] = logits
        full = full.reshape(n_states, n_states)
        transitions = np.exp(full - full.max(axis=1, keepdims=True))
        transitions /= transitions.sum(axis=1, keepdims=True)
        transitions = np.where(allowed, np.maximum(transitions, LEAST_STATIONARY), 0.0)
        transitions /= transitions.sum(axis=1, keepdims=True)
        start = np.maximum(stationary_distribution(transitions), np.finfo(np.float64).tiny)
        return Chain(start, transitions)

    def loss(logits):
        found = chain_of(logits)
        A, start = found.transitions, found.start
        logs = np.log(np.where(allowed, A, 1.0))
        value = np.sum(counts * logs) + start_counts @ np.log(start)
        inverse = np.linalg.pinv(np.eye(n_states) - A + start)
        slopes = np.outer(start, inverse @ (start_counts / start))
        gradient = counts + A * slopes
        gradient = gradient - A * gradient.sum(axis=1, keepdims=True)
        return -value / scale, -gradient.ravel()[places] / scale

    scale = max(float(counts.sum() + start_counts.sum()), np.finfo(np.float64).tiny)
    logits = [
        np.log(np.maximum(start.ravel()[places], LEAST_STATIONARY))
        for start in (chain.transitions, free)
    ]
    losses = [loss(start)[0] for start in logits]
    best = int(np.argmin(losses))
    options = {"maxiter": 50, "ftol": 1e-14, "gtol": 1e-10}
    result = minimize(loss, logits[best], jac=True, method="L-BFGS-B", options=options)
    if np.isfinite(result.fun) and result.fun <= losses[best]:
        return chain_of(result.x)
    return chain_of(logits[best])
