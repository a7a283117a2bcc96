"""Steps of a chain as draws of Gaussians, or of mixtures of them, one for each state."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import ndtr

from probgen.gaussians import conditional
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.gaussians.missing import density_groups
from probgen.gaussians.starts import FAMILIES, moment_statistics

# Deviations of a component between which quantiles are looked for.
FARTHEST_QUANTILE = 40.0
TINY = np.finfo(np.float64).tiny


@dataclass(frozen=True)
class GaussianEmission:
    """M Gaussians for each of K states.

    Attributes
    ----------
    components : GaussianComponents
        Those of the first state come first; the weights of each state add up to one.
    n_states : int
    regularization : Regularization or None
        What M-steps add to variances.
    origin : ndarray of shape (d,), optional
        What rows had subtracted.
    """

    components: Any
    n_states: int
    regularization: Any = None
    origin: Any = 0.0

    @property
    def n_mixture(self):
        """Gaussians of a state, M."""
        return len(self.components) // self.n_states

    @property
    def n_features(self):
        """Numbers of a step."""
        return self.components.n_features

    def shifted(self, offset):
        """The emission of steps with offset (d,) subtracted."""
        return replace(self, components=self.components.shifted(offset))

    def of_state(self, k):
        """The components of one state."""
        return self.components.select(slice(k * self.n_mixture, (k + 1) * self.n_mixture))

    def _by_state(self, joint):
        """Log-densities (m, K) of states from log joint densities (m, K * M)."""
        if self.n_mixture == 1:
            return joint
        return log_sum_exp(joint.reshape(len(joint), self.n_states, -1), axis=2)

    def log_likelihoods(self, engine, Y):
        """Log-density (m, K) of steps (m, d) under each state; NaN are marginalised."""
        return self._by_state(conditional.log_joint(engine, self.components, Y))

    def prepare(self, Y):
        """Steps (m, d) as E-steps read them."""
        return Y

    def steps_of(self, prepared):
        """Steps (m, d) that were prepared."""
        return prepared

    def prepared_log_likelihoods(self, engine, Y):
        """Log-density (m, K) of steps of a fit."""
        return self._by_state(conditional.log_joint(engine, self.components, Y, by_size=True))

    def statistics(self, engine, Y, posterior):
        """MomentStatistics of steps (m, d) with weighted posteriors (m, K); None without values."""
        shares = posterior
        if self.n_mixture > 1:
            joint = conditional.log_joint(engine, self.components, Y, by_size=True)
            within = joint.reshape(len(Y), self.n_states, -1)
            peaks = np.maximum(within.max(axis=2, keepdims=True), -np.finfo(np.float64).max)
            within = np.exp(within - peaks)
            within /= np.maximum(within.sum(axis=2, keepdims=True), TINY)
            shares = (within * posterior[:, :, None]).reshape(len(Y), -1)
        total = None
        for members, features, density in density_groups(engine, self.components, Y, by_size=True):
            if not len(features):
                continue
            if len(members) == len(Y) and len(features) == Y.shape[1]:
                part = engine.statistics(density, Y, shares)
            elif len(features) == Y.shape[1]:
                part = engine.statistics(density, Y[members], shares[members])
            else:
                rows = Y[np.ix_(members, features)]
                part = engine.statistics(density, rows, shares[members])
                part = self.components.complete(features, part)
            total = part if total is None else total + part
        return total

    def state_counts(self, statistics):
        """Weight (K,) of the steps of each state."""
        return statistics.counts.reshape(self.n_states, -1).sum(axis=1)

    def maximised(self, statistics, seeds):
        """The likeliest emission for statistics, and how many covariances were repaired.

        seeds are steps (d,) by the states that restart there, as wide as the heaviest state.
        """
        before = self.components
        family = before.covariance_type
        added = self.regularization.added(statistics, self.origin)
        components, n_repaired = _estimate(
            family, statistics, self.regularization, self.origin, added
        )
        weights = _within_states(statistics.counts, self.n_states, before.weights)
        components = replace(components, weights=weights)
        empty = np.flatnonzero(statistics.counts <= TINY)
        if len(empty):
            components = _with_arrays(components, empty, before, empty)
        if seeds:
            heaviest = int(np.argmax(self.state_counts(statistics)))
            components = self._reseeded(components, seeds, heaviest)
        return replace(self, components=components), int(n_repaired)

    def _reseeded(self, components, seeds, heaviest):
        """Components of which those of some states restart at steps, by state."""
        source = np.arange(heaviest * self.n_mixture, (heaviest + 1) * self.n_mixture)
        for k, row in seeds.items():
            members = source + (k - heaviest) * self.n_mixture
            components = _with_arrays(components, members, components, source)
            means = components.means.copy()
            means[members] += row - means[source].mean(axis=0)
            components = replace(components, means=means)
        return components

    def log_given(self, engine, conditions):
        """Log-density of known values times the probability of intervals (m, K)."""
        return self._by_state(
            conditional.log_joint_of_conditions(engine, self.components, conditions)
        )

    def draw(self, states, generator):
        """Steps (m, d) of states (m,)."""
        rows = np.empty((len(states), self.n_features))
        for k in np.unique(states):
            members = np.flatnonzero(states == k)
            rows[members] = self.of_state(k).sample(len(members), generator)
        return rows

    def draw_given(self, engine, conditions, states, generator):
        """Steps (m, d) of states (m,) under conditions."""
        rows = conditions.values.copy()
        is_open = np.isnan(rows).any(axis=1)
        for k in np.unique(states[is_open]):
            members = np.flatnonzero(is_open & (states == k))
            part = conditions.take(members)
            rows[members] = conditional.draw_given(engine, self.of_state(k), part, generator)[0]
        return rows

    def filled(self, engine, Y, posterior):
        """Steps (m, d) with their NaN replaced by means, given posteriors (m, K) of the states."""
        holed = np.flatnonzero(np.isnan(Y).any(axis=1))
        filled = Y.copy()
        means = np.zeros((len(holed), Y.shape[1]))
        for k in range(self.n_states):
            values = conditional.conditional_mean(engine, self.of_state(k), Y[holed])
            means += posterior[holed, k, None] * values
        filled[holed] = np.where(np.isnan(Y[holed]), means, Y[holed])
        return filled

    def expected(self, posterior):
        """Means (m, d) of steps whose states have posterior (m, K)."""
        shares = np.repeat(posterior, self.n_mixture, axis=1) * self.components.weights
        return shares @ self.components.means

    def quantiles(self, level, posterior):
        """Quantiles (m, d) at a level of the features of steps whose states have posterior (m, K).

        They are found by bisection.
        """
        means = self.components.means
        scales = np.sqrt(self.variances)
        shares = np.repeat(posterior, self.n_mixture, axis=1) * self.components.weights
        low = np.tile((means - FARTHEST_QUANTILE * scales).min(axis=0), (len(posterior), 1))
        high = np.tile((means + FARTHEST_QUANTILE * scales).max(axis=0), (len(posterior), 1))
        for _ in range(100):
            middle = 0.5 * (low + high)
            z = (middle[:, :, None] - means.T) / scales.T  # (m, d, K * M)
            is_below = np.einsum("mdk,mk->md", ndtr(z), shares) < level
            low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
        return 0.5 * (low + high)

    @property
    def variances(self):
        """Variances (K * M, d) of the features."""
        covariances = [self.components.covariance(k) for k in range(len(self.components))]
        return np.array([np.diagonal(covariance) for covariance in covariances])

    @property
    def n_parameters(self):
        """Number of free parameters."""
        n = len(self.components)
        n_covariance = type(self.components).n_covariance_parameters(n, self.n_features)
        return n_covariance + n * self.n_features + n - self.n_states


def start_emission(family, rows, shares, n_mixture, regularization, origin, added, generator):
    """An emission of steps (m, d) without NaN under weighted shares (m, K), and its repairs.

    With several Gaussians for a state, its steps are dealt out to them by their distance from the
    mean of the state, along a random direction.
    """
    n_states = shares.shape[1]
    if n_mixture > 1:
        shares = _split(rows, shares, n_mixture, generator)
    statistics = moment_statistics(family, rows, shares)
    components, n_repaired = _estimate(family, statistics, regularization, origin, added)
    equal = np.full(len(components), 1.0 / n_mixture)
    weights = _within_states(statistics.counts, n_states, equal)
    components = replace(components, weights=weights)
    return GaussianEmission(components, n_states, regularization, origin), int(n_repaired)


def _split(rows, shares, n_mixture, generator):
    """Weighted shares (m, K * M) of the Gaussians of each state."""
    scales = np.sqrt(np.mean(rows**2, axis=0))
    direction = generator.standard_normal(rows.shape[1]) / np.where(scales > 0.0, scales, 1.0)
    places = rows @ direction
    order = np.argsort(places, kind="stable")
    parts = np.zeros((*shares.shape, n_mixture))
    for k in range(shares.shape[1]):
        # Ranks within the state, by its own weight.
        cumulative = np.cumsum(shares[order, k])
        total = max(cumulative[-1], np.finfo(np.float64).tiny)
        middle = (cumulative - 0.5 * shares[order, k]) / total
        member = np.minimum((middle * n_mixture).astype(int), n_mixture - 1)
        parts[order, k, member] = shares[order, k]
    return parts.reshape(len(rows), -1)


def _estimate(family, statistics, regularization, origin, added):
    """Components of an M-step, and the number of repairs; those without weight are arbitrary."""
    counts = statistics.counts
    empty = np.flatnonzero(counts <= TINY)
    if len(empty) and family != "tied":
        # In their place the heaviest, so that there is nothing to repair.
        places = np.arange(len(counts))
        places[empty] = np.argmax(counts)
        statistics = statistics.select(places)
    return FAMILIES[family].estimate(statistics, regularization, origin, added)


def _with_arrays(components, members, others, sources):
    """Components of which some have the means and covariances of others."""
    arrays = {"means": components.means.copy()}
    arrays["means"][members] = others.means[sources]
    given = others.family_arrays(slice(None))
    for name, array in components.family_arrays(slice(None)).items():
        arrays[name] = array.copy()
        arrays[name][members] = given[name][sources]
    return replace(components, **arrays)


def _within_states(counts, n_states, previous):
    """Weights (K * M,) of Gaussians within their states, from counts (K * M,)."""
    counts = counts.reshape(n_states, -1)
    totals = counts.sum(axis=1, keepdims=True)
    is_known = totals > TINY
    weights = counts / np.where(is_known, totals, 1.0)
    return np.where(is_known, weights, previous.reshape(counts.shape)).ravel()
