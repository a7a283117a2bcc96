"""Normal and lognormal numbers, real or rounded to whole ones, within ends."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from probgen._constants import LOG_2PI
from probgen.distributions.truncated_normal import truncated_quantile
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.mixtures.families.base import TINY, Values, weighted_means
from probgen.mixtures.numerics import ascend, interval_moments, log_interval_masses

N_INNER = 3  # steps of Newton's method for a truncated support
FARTHEST = 1e3  # of a mean, in deviations of the feature
MOST_ENUMERATED = 20_000
MOST_DIRECT = 2**12  # values times components of which the likelihood itself is maximised
# Whole numbers are as good as real ones where steps are below this many deviations.
SMALL_CELL = 2e-3
LEAST_LOG = -1e5  # of a probability that underflows


@dataclass(frozen=True)
class Normal(Values):
    """Parameters: means and deviations (2, K) of y = (x - center) / scale.

    A whole number stands for all numbers that round to it.
    """

    name: ClassVar[str] = "normal"

    def coordinate(self, x):
        """The coordinate y that is normal."""
        return (x - self.center) / self.scale

    def inverse(self, y):
        """The number of a coordinate."""
        return self.center + self.scale * y

    def log_slope(self, x):
        """Log of dy / dx."""
        return -np.log(self.scale)

    def start_coordinate(self, x):
        return self.coordinate(x)

    def _ends(self, low, high, params):
        """Ends in standard deviations, of whole numbers with all that round to them."""
        half = 0.5 * self.step
        mean, deviation = params
        first = (self.coordinate(np.asarray(low) - half) - mean) / deviation
        last = (self.coordinate(np.asarray(high) + half) - mean) / deviation
        return first, last

    def log_base(self, x, params):
        if not self.step:
            return self._log_density(self.coordinate(x), self.log_slope(x), params)
        middles, widths = self._cells(x)
        is_small = widths < SMALL_CELL * params[1].min()
        if is_small.all():
            return self._log_density(middles, np.log(widths), params)
        result = np.empty((len(x), params.shape[1]))
        result[is_small] = self._log_density(middles[is_small], np.log(widths[is_small]), params)
        others = x[~is_small, None]
        result[~is_small] = log_interval_masses(*self._ends(others, others, params))
        return result

    def _cells(self, x):
        """Middles (n,) and widths (n,) of whole numbers (n,) with all that round to them."""
        half = 0.5 * self.step
        low, high = self.coordinate(x - half), self.coordinate(x + half)
        with np.errstate(invalid="ignore"):
            return 0.5 * (low + high), high - low

    def _log_density(self, y, log_factor, params):
        """Log-density (n, K) of coordinates (n,), plus log_factor (n,)."""
        mean, deviation = params
        z = y[:, None] - mean
        z /= deviation
        z *= z
        z *= -0.5
        z -= np.log(deviation) + 0.5 * LOG_2PI
        z += np.broadcast_to(log_factor, y.shape)[:, None]
        return z

    def log_mass(self, low, high, params):
        return log_interval_masses(*self._ends(low, high, params))

    def statistics(self, x, weights, params):
        if not self.step:
            y = self.coordinate(x)
            return np.stack([np.ones_like(y), y, y * y]) @ weights
        middles, widths = self._cells(x)
        is_small = widths < SMALL_CELL * params[1].min()
        if not is_small.all():
            small = np.flatnonzero(is_small)
            others = np.flatnonzero(~is_small)
            sums = self._statistics_of_cells(x[others], weights[others], params)
            middles, widths, weights = middles[small], widths[small], weights[small]
        else:
            sums = 0.0
        squares = middles * middles + widths * widths / 12.0
        return sums + np.stack([np.ones_like(middles), middles, squares]) @ weights

    def _statistics_of_cells(self, x, weights, params):
        """The statistics, from what is expected of numbers that round to whole ones."""
        mean, deviation = params
        _, first, second = interval_moments(*self._ends(x[:, None], x[:, None], params))
        expected = mean + deviation * first
        squares = mean**2 + 2.0 * mean * deviation * first + deviation**2 * second
        sums = [weights.sum(axis=0), np.sum(weights * expected, axis=0)]
        return np.stack([*sums, np.sum(weights * squares, axis=0)])

    def estimate(self, statistics, params):
        (_, mean, square), has_weight = weighted_means(statistics)
        if self.is_whole:
            estimate = np.stack([mean, np.sqrt(np.maximum(square - mean**2, 0.0))])
        else:
            estimate = self._estimate_within(mean, square, params)
        estimate = np.where(has_weight, estimate, params)
        is_narrow = estimate[1] < self.min_scale
        estimate[1] = np.maximum(estimate[1], self.min_scale)
        # A rounded number has a width of its own.
        is_wrong = is_narrow & ~(self.step > 0.0)
        return estimate, int(is_wrong.sum())

    def _estimate_within(self, mean, square, params):
        """Parameters that rise in likelihood given that numbers are in the support.

        mean (K,) and square (K,) are those of y and y**2.
        """

        def objective(trial):
            location, deviation = trial
            spread = square - 2.0 * mean * location + location**2
            return -0.5 * spread / deviation**2 - np.log(deviation) - self.log_z(trial)

        return self._ascended(objective, params)

    def _ascended(self, objective, params):
        """Parameters that raise an objective of parameters (2, K)."""
        high = np.array([[FARTHEST], [np.log(FARTHEST)]])
        low = np.array([[-FARTHEST], [np.log(self.min_scale)]])
        start = np.stack([params[0], np.log(params[1])])
        found = ascend(
            lambda trial: objective(np.stack([trial[0], np.exp(trial[1])])),
            start,
            low=low,
            high=high,
            n_steps=N_INNER,
        )
        return np.stack([found[0], np.exp(found[1])])

    def estimate_from_values(self, x, weights, params):
        if weights.size > MOST_DIRECT or not self.step:
            return self.estimate(self.statistics(x, weights, params), params)
        # Few values are quicker than sums, which converge slowly where components are narrow.
        shares, has_weight = weights / np.maximum(weights.sum(axis=0), TINY), weights.any(axis=0)

        def objective(trial):
            log_prob = self.log_prob(x, trial, self.log_z(trial))
            return np.sum(shares * np.maximum(log_prob, LEAST_LOG), axis=0)

        return np.where(has_weight, self._ascended(objective, params), params), 0

    def first_params(self, n_components):
        return np.stack([np.zeros(n_components), np.ones(n_components)])

    def plain_draws(self, params, generator):
        y = params[0] + params[1] * generator.standard_normal(params.shape[1])
        x = self.inverse(y)
        return np.rint(x) if self.step else x

    def quantile(self, u, low, high, params):
        z = truncated_quantile(u, *self._ends(low, high, params))
        x = self.inverse(params[0] + params[1] * z)
        return np.rint(x) if self.step else x

    def mean(self, params, log_z):
        if self.step:
            values = self._enumerable(params)
            if values is not None:
                return values @ np.exp(self.log_prob(values, params, log_z))
        return self._mean_before_rounding(params, log_z)

    def _mean_before_rounding(self, params, log_z):
        ends = np.array(self.gaps).T[:, :, None]
        log_masses, first, _ = interval_moments(*self._ends(ends[0], ends[1], params))
        shares = np.exp(log_masses - log_z)
        return self.inverse(params[0] + params[1] * np.sum(shares * first, axis=0))

    def _enumerable(self, params):
        """All whole numbers of the support that matter, or None if there are too many."""
        reach = 9.0 * params[1]
        with np.errstate(over="ignore"):
            low = max(self.low, np.floor(self.inverse(np.min(params[0] - reach))))
            high = min(self.high, np.ceil(self.inverse(np.max(params[0] + reach))))
        if not high - low < MOST_ENUMERATED:
            return None
        values = np.arange(low, max(high, low) + 1.0)
        return values[~np.isin(values, self.atoms)]

    def described(self, params):
        return {"mean": self.inverse(params[0]), "scale": self.scale * params[1]}


@dataclass(frozen=True)
class LogNormal(Normal):
    """Parameters: as of a normal, with y = (log(x - origin) - center) / scale."""

    name: ClassVar[str] = "lognormal"

    @property
    def origin(self):
        return self.low - 0.5 * self.step

    @property
    def natural_ends(self):
        return self.low, np.inf

    def coordinate(self, x):
        with np.errstate(divide="ignore"):
            return (np.log(np.maximum(x - self.origin, 0.0)) - self.center) / self.scale

    def inverse(self, y):
        with np.errstate(over="ignore"):
            return self.origin + np.exp(self.center + self.scale * y)

    def log_slope(self, x):
        with np.errstate(divide="ignore"):
            return -np.log(x - self.origin) - np.log(self.scale)

    def _mean_before_rounding(self, params, log_z):
        # E[exp(s y); interval] is the mass of the interval under a normal of another mean.
        mean, deviation = params
        tilt = self.scale * deviation**2
        ends = np.array(self.gaps).T[:, :, None]
        tilted = np.stack([mean + tilt, deviation])
        log_masses = log_sum_exp(log_interval_masses(*self._ends(ends[0], ends[1], tilted)))
        log_mean = self.center + self.scale * mean + 0.5 * self.scale * tilt
        with np.errstate(over="ignore"):
            return self.origin + np.exp(log_mean + log_masses - log_z)

    def described(self, params):
        return {
            "mean_log": self.center + self.scale * params[0],
            "scale_log": self.scale * params[1],
        }
