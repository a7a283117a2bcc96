"""Exponential and gamma numbers above a low end, and beta numbers between two ends."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import (
    betainc,
    betaincc,
    betainccinv,
    betaincinv,
    betaln,
    gammainc,
    gammaincc,
    gammainccinv,
    gammaincinv,
    gammaln,
)

from probgen.mixtures.families.base import TINY, Values, weighted_means
from probgen.mixtures.numerics import ascend

LEAST_SHAPE = 1e-3


@dataclass(frozen=True)
class Positive(Values):
    """Numbers x above low, as t = (x - low) / scale, by their distribution function."""

    @property
    def origin(self):
        return self.low

    @property
    def natural_ends(self):
        return self.low, np.inf

    def _t(self, x):
        return (np.asarray(x) - self.low) / self.scale

    def _below(self, t, params):
        """Probability of less than t."""
        raise NotImplementedError

    def _above(self, t, params):
        """Probability of more than t."""
        raise NotImplementedError

    def _from_below(self, p, params):
        """The t of which the probability of less is p."""
        raise NotImplementedError

    def _from_above(self, p, params):
        """The t of which the probability of more is p."""
        raise NotImplementedError

    def log_mass(self, low, high, params):
        first, last = self._t(low), self._t(high)
        below = self._below(last, params) - self._below(first, params)
        above = self._above(first, params) - self._above(last, params)
        # The tail in which the difference has more digits.
        is_low = self._below(first, params) < 0.5
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(np.where(is_low, below, above), 0.0))

    def quantile(self, u, low, high, params):
        first, last = self._t(low), self._t(high)
        start = self._below(first, params)
        below = start + u * (self._below(last, params) - start)
        end = self._above(last, params)
        above = end + (1.0 - u) * (self._above(first, params) - end)
        is_low = start < 0.5
        t = np.where(is_low, self._from_below(below, params), self._from_above(above, params))
        return self.low + self.scale * t

    def _maximised(self, objective, params, low, high):
        """Parameters that raise an objective of unnormalised parameters (P, K) in the support."""

        def within(logs):
            trial = np.exp(logs)
            return objective(trial) - self.log_z(trial)

        start = np.log(np.maximum(params, TINY))
        return np.exp(ascend(within, start, low=np.log(low), high=np.log(high)))


@dataclass(frozen=True)
class Gamma(Positive):
    """Parameters: means and shapes (2, K) of t."""

    name: ClassVar[str] = "gamma"

    def log_base(self, x, params):
        mean, shape = params
        t = self._t(x)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            constant = shape * np.log(shape / mean) - gammaln(shape) - np.log(self.scale)
            return constant + (shape - 1.0) * np.log(t) - t * (shape / mean)

    def statistics(self, x, weights, params):
        t = self._t(x)
        return np.stack([np.ones_like(t), t, np.log(t)]) @ weights

    def _mean_log_base(self, params, mean_t, mean_log):
        mean, shape = params
        constant = shape * np.log(shape / mean) - gammaln(shape)
        return constant + (shape - 1.0) * mean_log - mean_t * shape / mean

    def estimate(self, statistics, params):
        (_, mean_t, mean_log), has_weight = weighted_means(statistics)
        mean_t = np.where(has_weight, mean_t, 1.0)
        most = np.maximum((mean_t / self.min_scale) ** 2, 2.0 * LEAST_SHAPE)
        shape = np.exp(
            ascend(
                lambda logs: self._mean_log_base((mean_t, np.exp(logs[0])), mean_t, mean_log),
                np.log(params[1:]),
                low=np.log(LEAST_SHAPE),
                high=np.log(most),
            )
        )
        estimate = np.concatenate([mean_t[None], shape])
        if not self.is_whole:
            bounds = np.stack([1e-3 * mean_t, 0.0 * most + LEAST_SHAPE])
            estimate = self._maximised(
                lambda trial: self._mean_log_base(trial, mean_t, mean_log),
                params,
                bounds,
                np.stack([1e6 * mean_t, most]),
            )
        estimate = np.where(has_weight, estimate, params)
        return estimate, int(np.sum(has_weight & (estimate[1] >= most)))

    def first_params(self, n_components):
        return np.ones((2, n_components))

    def _below(self, t, params):
        return gammainc(params[1], np.maximum(t, 0.0) * (params[1] / params[0]))

    def _above(self, t, params):
        return gammaincc(params[1], np.maximum(t, 0.0) * (params[1] / params[0]))

    def _from_below(self, p, params):
        return gammaincinv(params[1], p) * (params[0] / params[1])

    def _from_above(self, p, params):
        return gammainccinv(params[1], p) * (params[0] / params[1])

    def plain_draws(self, params, generator):
        return self.low + self.scale * (generator.gamma(params[1]) * (params[0] / params[1]))

    def log_first_moment(self, low, high, params):
        # t times its density is a gamma density of a shape that is larger by 1.
        mean, shape = params
        raised = np.stack([mean * (shape + 1.0) / shape, shape + 1.0])
        return np.log(mean * self.scale) + self.log_mass(low, high, raised)

    def described(self, params):
        mean, shape = params
        return {"shape": shape.copy(), "scale": self.scale * mean / shape}


@dataclass(frozen=True)
class Exponential(Gamma):
    """Parameters: means (1, K) of t."""

    name: ClassVar[str] = "exponential"

    def log_base(self, x, params):
        return -np.log(params[0] * self.scale) - self._t(x)[:, None] / params[0]

    def statistics(self, x, weights, params):
        t = self._t(x)
        return np.stack([np.ones_like(t), t]) @ weights

    def estimate(self, statistics, params):
        (_, mean_t), has_weight = weighted_means(statistics)
        estimate = mean_t[None]
        if not self.is_whole:
            typical = np.maximum(mean_t, self.min_scale)
            estimate = self._maximised(
                lambda trial: -np.log(trial[0]) - mean_t / trial[0],
                params,
                1e-3 * typical,
                1e6 * typical,
            )
        estimate = np.where(has_weight, estimate, params)
        n_mended = int(np.sum(estimate < self.min_scale))
        return np.maximum(estimate, self.min_scale), n_mended

    def first_params(self, n_components):
        return np.ones((1, n_components))

    def _as_gamma(self, params):
        return np.stack([params[0], np.ones_like(params[0])])

    def _below(self, t, params):
        return super()._below(t, self._as_gamma(params))

    def _above(self, t, params):
        return super()._above(t, self._as_gamma(params))

    def _from_below(self, p, params):
        return super()._from_below(p, self._as_gamma(params))

    def _from_above(self, p, params):
        return super()._from_above(p, self._as_gamma(params))

    def plain_draws(self, params, generator):
        return self.low + self.scale * (params[0] * generator.standard_exponential(params.shape[1]))

    def log_first_moment(self, low, high, params):
        # t times its density is a gamma density of shape 2.
        first, last = self._t(low) / params[0], self._t(high) / params[0]
        share = gammainc(2.0, np.maximum(last, 0.0)) - gammainc(2.0, np.maximum(first, 0.0))
        with np.errstate(divide="ignore"):
            return np.log(params[0] * self.scale) + np.log(np.maximum(share, 0.0))

    def described(self, params):
        return {"mean": self.low + self.scale * params[0]}


@dataclass(frozen=True)
class Beta(Positive):
    """Parameters: the exponents a and b (2, K) of t = (x - low) / (high - low)."""

    name: ClassVar[str] = "beta"

    @property
    def natural_ends(self):
        return self.low, self.high

    def _t(self, x):
        return (np.asarray(x) - self.low) / (self.high - self.low)

    def log_base(self, x, params):
        a, b = params
        t = self._t(x)[:, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            log_density = (a - 1.0) * np.log(t) + (b - 1.0) * np.log1p(-t)
        return log_density - betaln(a, b) - np.log(self.high - self.low)

    def statistics(self, x, weights, params):
        t = self._t(x)
        return np.stack([np.ones_like(t), np.log(t), np.log1p(-t)]) @ weights

    def estimate(self, statistics, params):
        (_, log_t, log_rest), has_weight = weighted_means(statistics)
        most = (0.5 / self.min_scale) ** 2

        def objective(logs):
            a, b = np.exp(logs)
            return (a - 1.0) * log_t + (b - 1.0) * log_rest - betaln(a, b)

        found = ascend(objective, np.log(params), low=np.log(LEAST_SHAPE), high=np.log(most))
        estimate = np.where(has_weight, np.exp(found), params)
        return estimate, int(np.sum(has_weight & (estimate.max(axis=0) >= most)))

    def first_params(self, n_components):
        return np.ones((2, n_components))

    def _below(self, t, params):
        return betainc(params[0], params[1], np.clip(t, 0.0, 1.0))

    def _above(self, t, params):
        return betaincc(params[0], params[1], np.clip(t, 0.0, 1.0))

    def _from_below(self, p, params):
        return betaincinv(params[0], params[1], p)

    def _from_above(self, p, params):
        return betainccinv(params[0], params[1], p)

    def quantile(self, u, low, high, params):
        x = super().quantile(u, low, high, params)
        return self.low + (x - self.low) * ((self.high - self.low) / self.scale)

    def plain_draws(self, params, generator):
        return self.low + (self.high - self.low) * generator.beta(params[0], params[1])

    def log_first_moment(self, low, high, params):
        a, b = params
        mean = (self.high - self.low) * a / (a + b)
        return np.log(mean) + self.log_mass(low, high, np.stack([a + 1.0, b]))

    def described(self, params):
        return {"a": params[0].copy(), "b": params[1].copy()}
