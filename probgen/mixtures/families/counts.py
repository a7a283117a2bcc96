"""Poisson and negative binomial counts, within ends and without atoms."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, gammainc, gammaincc, gammaln, xlogy

from probgen.mixtures.families.base import TINY, Values, weighted_means
from probgen.mixtures.numerics import ascend

LEAST_SIZE, MOST_SIZE = 1e-3, 1e6


@dataclass(frozen=True)
class Counts(Values):
    """Whole numbers x >= 0, by their distribution function."""

    @property
    def natural_ends(self):
        return 0.0, np.inf

    def _at_most(self, x, params):
        """Probability of x or less."""
        raise NotImplementedError

    def _more_than(self, x, params):
        """Probability of more than x."""
        raise NotImplementedError

    def log_mass(self, low, high, params):
        before = np.asarray(low) - 1.0
        at_most = self._at_most(before, params)
        below = self._at_most(high, params) - at_most
        above = self._more_than(before, params) - self._more_than(high, params)
        with np.errstate(divide="ignore"):
            log_mass = np.log(np.maximum(np.where(at_most < 0.5, below, above), 0.0))
        is_one = np.broadcast_to(np.equal(low, high), log_mass.shape)
        if is_one.any():
            one = self._log_pmf(np.broadcast_to(low, log_mass.shape), params)
            log_mass = np.where(is_one, one, log_mass)
        return log_mass

    def _log_pmf(self, x, params):
        """Log-probability of counts, elementwise."""
        raise NotImplementedError

    def log_base(self, x, params):
        return self._log_pmf(x[:, None], params)

    def quantile(self, u, low, high, params):
        # By bisection between the ends, which needs no inverse that may be off by one.
        first = np.asarray(low, dtype=np.float64) - 1.0
        last = np.asarray(high, dtype=np.float64)
        start, end = self._at_most(first, params), self._more_than(last, params)
        # Probability of more than x, within the interval: 1 at first, 0 at last.
        total = np.where(
            start < 0.5, self._at_most(last, params) - start, self._more_than(first, params) - end
        )
        is_low = start < 0.5
        target = np.where(is_low, start + u * total, end + (1.0 - u) * total)
        is_open = np.isinf(last)
        last = np.where(is_open, np.ceil(np.maximum(first, params[0])) + 1.0, last)
        while True:
            p = np.where(is_low, self._at_most(last, params), self._more_than(last, params))
            is_short = is_open & np.where(is_low, p < target, p > target) & (last < 2.0**60)
            if not is_short.any():
                break
            last = np.where(is_short, 2.0 * last + 1.0, last)
        for _ in range(64):
            if not np.any(last - first > 1.0):
                break
            middle = np.floor(0.5 * (first + last))
            p = np.where(is_low, self._at_most(middle, params), self._more_than(middle, params))
            is_above = np.where(is_low, p >= target, p <= target)
            last = np.where(is_above & (middle > first), middle, last)
            first = np.where(~is_above, middle, first)
        return last


@dataclass(frozen=True)
class Poisson(Counts):
    """Parameters: means (1, K)."""

    name: ClassVar[str] = "poisson"

    def _log_pmf(self, x, params):
        return xlogy(x, params[0]) - params[0] - gammaln(x + 1.0)

    def _at_most(self, x, params):
        return np.where(np.asarray(x) < 0.0, 0.0, gammaincc(np.maximum(x, 0.0) + 1.0, params[0]))

    def _more_than(self, x, params):
        return np.where(np.asarray(x) < 0.0, 1.0, gammainc(np.maximum(x, 0.0) + 1.0, params[0]))

    def statistics(self, x, weights, params):
        return np.stack([np.ones_like(x), x]) @ weights

    def estimate(self, statistics, params):
        (_, mean), has_weight = weighted_means(statistics)
        least = (self.min_scale * self.scale) ** 2
        estimate = mean[None]
        if not self.is_whole:

            def objective(logs):
                trial = np.exp(logs)
                return mean * logs[0] - trial[0] - self.log_z(trial)

            start = np.log(np.maximum(params, least))
            estimate = np.exp(ascend(objective, start, low=np.log(least)))
        estimate = np.where(has_weight, estimate, params)
        return np.maximum(estimate, least), 0

    def first_params(self, n_components):
        return np.full((1, n_components), max(self.center, self.scale))

    def plain_draws(self, params, generator):
        return generator.poisson(np.minimum(params[0], 2.0**62)).astype(np.float64)

    def log_first_moment(self, low, high, params):
        # x times its probability is the mean times that of x - 1.
        first = np.maximum(np.asarray(low), 1.0)
        return np.log(params[0]) + self.log_mass(first - 1.0, np.asarray(high) - 1.0, params)

    def described(self, params):
        return {"mean": params[0].copy()}


@dataclass(frozen=True)
class NegativeBinomial(Counts):
    """Parameters: means and sizes (2, K); the variance is mean + mean**2 / size."""

    name: ClassVar[str] = "negative_binomial"
    needs_values: ClassVar[bool] = True

    def _log_pmf(self, x, params):
        mean, size = params
        log_pmf = gammaln(x + size) - gammaln(size) - gammaln(x + 1.0)
        return log_pmf - size * np.log1p(mean / size) + xlogy(x, mean / (size + mean))

    def _at_most(self, x, params):
        return self._tail(x, params, 0.0, lambda x, n, p: betainc(n, x, p))

    def _more_than(self, x, params):
        mean, size = params
        failure = mean / (size + mean)
        inside = betainc(np.maximum(np.minimum(x, 2.0**1000), 0.0) + 1.0, size, failure)
        inside = np.where(np.isinf(x), 0.0, inside)
        return np.where(np.asarray(x) < 0.0, 1.0, inside)

    def _tail(self, x, params, outside, inside):
        mean, size = params
        success = size / (size + mean)
        value = inside(np.maximum(np.minimum(x, 2.0**1000), 0.0) + 1.0, size, success)
        value = np.where(np.isinf(x), 1.0, value)
        return np.where(np.asarray(x) < 0.0, outside, value)

    def estimate_from_values(self, x, weights, params):
        totals = weights.sum(axis=0)
        has_weight = totals > TINY
        shares = weights / np.where(has_weight, totals, 1.0)
        mean = np.maximum(x @ shares, (self.min_scale * self.scale) ** 2)
        used = weights.sum(axis=1) > 0.0
        x, shares = x[used], shares[used]
        column = x[:, None]

        def mean_log_pmf(trial):
            return np.sum(shares * self._log_pmf(column, trial), axis=0)

        if self.is_whole:
            log_size = ascend(
                lambda logs: mean_log_pmf((mean, np.exp(logs[0]))),
                np.log(params[1:]),
                low=np.log(LEAST_SIZE),
                high=np.log(MOST_SIZE),
            )
            estimate = np.concatenate([mean[None], np.exp(log_size)])
        else:

            def objective(logs):
                trial = np.exp(logs)
                return mean_log_pmf(trial) - self.log_z(trial)

            low = np.log([[(self.min_scale * self.scale) ** 2], [LEAST_SIZE]])
            high = np.log([[1e3 * (x.max(initial=1.0) + 1.0)], [MOST_SIZE]])
            estimate = np.exp(ascend(objective, np.log(params), low=low, high=high))
        return np.where(has_weight, estimate, params), 0

    def first_params(self, n_components):
        ones = np.ones(n_components)
        mean = max(self.center, self.scale)
        return np.stack([mean * ones, ones])

    def plain_draws(self, params, generator):
        mean, size = params
        rates = generator.gamma(size) * (mean / size)
        return generator.poisson(np.minimum(rates, 2.0**62)).astype(np.float64)

    def log_first_moment(self, low, high, params):
        # x times its probability is the mean times that of x - 1 for a size that is larger by 1.
        mean, size = params
        raised = np.stack([mean * (size + 1.0) / size, size + 1.0])
        first = np.maximum(np.asarray(low), 1.0)
        return np.log(mean) + self.log_mass(first - 1.0, np.asarray(high) - 1.0, raised)

    def described(self, params):
        return {"mean": params[0].copy(), "size": params[1].copy()}
