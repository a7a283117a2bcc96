"""Expectation-maximization of hidden Markov models (Baum, Petrie, Soules & Weiss, 1970)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from probgen.gaussians.em import EMPTY_SHARE, iterate
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.markov.chain import Chain, ChainSettings
from probgen.markov.scan import smooth


@dataclass
class ChainStatistics:
    """Expected counts of weighted sequences, which are additive.

    Attributes
    ----------
    start : ndarray of shape (K,)
        Of first states.
    transitions : ndarray of shape (K, K)
    steps : object or None
        Statistics of the emission; None if no step holds a value.
    total : float
        Weight of the sequences.
    """

    start: np.ndarray
    transitions: np.ndarray
    steps: Any
    total: float

    def __add__(self, other):
        steps = self.steps
        if steps is None:
            steps = other.steps
        elif other.steps is not None:
            steps = steps + other.steps
        return ChainStatistics(
            self.start + other.start,
            self.transitions + other.transitions,
            steps,
            self.total + other.total,
        )

    def scaled(self, factor):
        """The statistics of sequences weighted by factor."""
        steps = None if self.steps is None else self.steps.scaled(factor)
        return ChainStatistics(
            self.start * factor, self.transitions * factor, steps, self.total * factor
        )


@dataclass
class ChainFit:
    """A fitted model and how it was reached; fields as in `probgen.gaussians.em.Fit`."""

    chain: Chain
    emission: Any
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False
    n_reseeded: int = 0
    n_repaired: int = 0
    n_start_repaired: int = 0
    statistics: Any = None

    @property
    def lower_bound(self):
        """Mean log-likelihood of a sequence at the last E-step, in nats."""
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


def expectation(engine, chain, emission, blocks):
    """Sum of weighted log-likelihoods of blocks, and their ChainStatistics or None."""
    total = 0.0
    statistics = None
    for block in blocks:
        n_steps, n = block.is_there.shape
        log_b = emission.prepared_log_likelihoods(engine, block.prepared)
        log_b = log_b.reshape(n_steps, n, len(chain))
        weights = block.is_there * block.weights
        found = smooth(chain, log_b, weights)
        total += float(block.weights @ found.log_likelihood)
        if np.any(weights != 1.0):
            found.posterior *= weights[:, :, None]
        part = ChainStatistics(
            found.posterior[0].sum(axis=0),
            found.transitions,
            emission.statistics(engine, block.prepared, found.posterior.reshape(-1, len(chain))),
            float(block.weights.sum()),
        )
        statistics = part if statistics is None else statistics + part
    if np.isnan(total) or total == np.inf:
        raise ValueError(
            "X holds values whose squares overflow; scale its columns, such as by StandardScaler."
        )
    return total, statistics


def maximisation(settings, chain, emission, statistics, seeds=None):
    """Chain and emission that are likelier for statistics, and the number of repairs.

    seeds are steps (d,), by the states that restart there.
    """
    start, transitions = statistics.start, statistics.transitions
    if seeds:
        start, transitions = _with_seeds(settings, statistics, list(seeds))
    chain = settings.estimate(chain, start, transitions)
    n_repaired = 0
    if statistics.steps is not None:
        emission, n_repaired = emission.maximised(statistics.steps, seeds or {})
    return chain, emission, n_repaired


def _with_seeds(settings: ChainSettings, statistics, states):
    """Counts of first states and transitions, in which some states are as likely as any."""
    n_states = len(statistics.start)
    allowed = settings.allowed(n_states)
    start = statistics.start.copy()
    transitions = statistics.transitions.copy()
    for k in states:
        start[k] += settings.allowed_start(n_states)[k] * statistics.total / n_states
        totals = np.maximum(transitions.sum(axis=1), 1.0)
        transitions[:, k] += allowed[:, k] * totals / n_states
        transitions[k] += allowed[k]
    return start, transitions


def run_em(engine, chain, emission, blocks, settings, *, max_iter, tol, previous, report=None):
    """Fit a chain and its emission to blocks of sequences.

    Parameters
    ----------
    engine : EMEngine
    chain : Chain
    emission : object
    blocks : list of Block
    settings : ChainSettings
    max_iter : int
    tol : float
        Stops once the mean log-likelihood of a sequence changes by less.
    previous : float
        Mean log-likelihood to which the first iteration is compared.
    report : callable, optional
        Called with each iteration's number and mean log-likelihood.

    Returns
    -------
    fit : ChainFit
    """
    fit = ChainFit(chain, emission)

    def improve():
        total, statistics = expectation(engine, fit.chain, fit.emission, blocks)
        seeds = {}
        if settings.transition != "left_right":  # whose last states short sequences do not reach
            seeds = _seeds(engine, fit, blocks, statistics)
        fit.chain, fit.emission, n_repaired = maximisation(
            settings, fit.chain, fit.emission, statistics, seeds
        )
        fit.statistics = statistics
        fit.n_repaired += n_repaired
        fit.n_reseeded += len(seeds)
        return total / statistics.total, not seeds

    iterate(fit, improve, max_iter=max_iter, tol=tol, previous=previous, report=report)
    return fit


def _seeds(engine, fit, blocks, statistics):
    """Steps at which empty states should restart, by state: those of least density.

    A fit restarts at most as many states as it has, because steps that repeat cannot fill them all.
    """
    if statistics.steps is None:
        return {}
    counts = fit.emission.state_counts(statistics.steps)
    empty = np.flatnonzero(counts <= EMPTY_SHARE * counts.sum())
    empty = empty[: len(fit.chain) - fit.n_reseeded]
    if not len(empty):
        return {}
    with np.errstate(divide="ignore"):
        log_shares = np.log(counts / counts.sum())
    scores = np.empty(0)
    rows = np.empty((0, fit.emission.n_features))
    for block in blocks:
        steps = fit.emission.steps_of(block.prepared)
        is_usable = block.is_there.ravel() & ~np.isnan(steps).any(axis=1)
        log_b = fit.emission.prepared_log_likelihoods(engine, block.prepared)
        densities = log_sum_exp(log_b + log_shares, axis=1)
        usable = np.flatnonzero(is_usable)
        lowest = usable[np.argsort(densities[usable], kind="stable")[: len(empty)]]
        scores = np.append(scores, densities[lowest])
        rows = np.concatenate([rows, steps[lowest]])
    worst = rows[np.argsort(scores, kind="stable")[: len(empty)]]
    return dict(zip(empty.tolist(), worst))
