"""Student's t, by its mixture of normals of one mean."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, digamma, gammaln, stdtr, stdtrit

from probgen.mixtures.families.base import Values, weighted_means
from probgen.mixtures.numerics import ascend

FARTHEST = 1e3  # of a location or scale, in deviations of the feature
N_INNER = 3  # steps of Newton's method for a truncated support
LEAST_DF, MOST_DF = 0.1, 1e4
N_BISECTIONS = 60


@dataclass(frozen=True)
class StudentT(Values):
    """Parameters: means, scales and degrees of freedom (3, K) of y = (x - center) / scale."""

    name: ClassVar[str] = "student_t"

    def _z(self, x, params):
        return ((x - self.center) / self.scale - params[0]) / params[1]

    def log_base(self, x, params):
        df = params[2]
        z = self._z(x[:, None], params)
        constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * np.log(np.pi * df)
        constant -= np.log(params[1] * self.scale)
        return constant - 0.5 * (df + 1.0) * np.log1p(z * z / df)

    def log_mass(self, low, high, params):
        df = params[2]
        first, last = self._z(low, params), self._z(high, params)
        # Mirrored into the left tail, where the distribution function is precise.
        is_right = first > 0.0
        first, last = np.where(is_right, -last, first), np.where(is_right, -first, last)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(np.maximum(_cdf(df, last) - _cdf(df, first), 0.0))

    def statistics(self, x, weights, params):
        df = params[2]
        y = ((x - self.center) / self.scale)[:, None]
        z = (y - params[0]) / params[1]
        precisions = (df + 1.0) / (df + z * z)
        weighted = weights * precisions
        log_terms = weights * (np.log(precisions) - precisions)
        terms = [weights, weighted, weighted * y, weighted * (y * y), log_terms]
        return np.stack([np.sum(term, axis=0) for term in terms])

    def estimate(self, statistics, params):
        """One step of EM with precisions as missing data (Liu & Rubin, 1995)."""
        (_, weight, first, second, log_terms), has_weight = weighted_means(statistics)
        weight = np.where(has_weight, weight, 1.0)
        mean = first / weight
        deviation = np.sqrt(np.maximum(second - weight * mean**2, 0.0))
        estimate = np.stack([mean, deviation, _degrees_of_freedom(log_terms, params[2])])
        if not self.is_whole:
            estimate = self._estimate_within(weight, first, second, log_terms, params)
        estimate = np.where(has_weight, estimate, params)
        n_mended = int(np.sum(estimate[1] < self.min_scale))
        estimate[1] = np.maximum(estimate[1], self.min_scale)
        return estimate, n_mended

    def _estimate_within(self, weight, first, second, log_terms, params):
        """Parameters that rise in likelihood given that numbers are in the support.

        The support takes its probability from the objective of EM, which stays a bound.
        """
        half = 0.5 * (params[2] + 1.0)
        expected = log_terms + digamma(half) - np.log(half)  # of log u - u, for precisions u

        def objective(trial):
            location, deviation, df = trial[0], np.exp(trial[1]), np.exp(trial[2])
            spread = second - 2.0 * location * first + location**2 * weight
            normal = -0.5 * spread / deviation**2 - trial[1]
            gamma = 0.5 * df * (np.log(0.5 * df) + expected) - gammaln(0.5 * df)
            return normal + gamma - self.log_z(np.stack([location, deviation, df]))

        found = ascend(
            objective,
            np.stack([params[0], *np.log(params[1:])]),
            low=np.array([[-FARTHEST], [np.log(self.min_scale)], [np.log(LEAST_DF)]]),
            high=np.array([[FARTHEST], [np.log(FARTHEST)], [np.log(MOST_DF)]]),
            n_steps=N_INNER,
        )
        return np.stack([found[0], *np.exp(found[1:])])

    def first_params(self, n_components):
        ones = np.ones(n_components)
        return np.stack([0.0 * ones, ones, 10.0 * ones])

    def plain_draws(self, params, generator):
        return self.center + self.scale * (params[0] + params[1] * generator.standard_t(params[2]))

    def quantile(self, u, low, high, params):
        df = params[2]
        first, last = self._z(low, params), self._z(high, params)
        is_right = first > 0.0
        u = np.where(is_right, 1.0 - u, u)
        first, last = np.where(is_right, -last, first), np.where(is_right, -first, last)
        start = _cdf(df, first)
        z = stdtrit(df, start + u * (_cdf(df, last) - start))
        z = np.where(is_right, -z, z)
        return self.center + self.scale * (params[0] + params[1] * z)

    def mean(self, params, log_z):
        """The mean, or the median of what has no mean."""
        if self.is_whole:
            return self.center + self.scale * params[0]
        df = np.where(np.abs(params[2] - 1.0) < 1e-6, 1.0 + 1e-6, params[2])
        near = self._tail_moment(self._z(self.low, params), df)
        far = self._tail_moment(self._z(self.high, params), df)
        mean = self.center + self.scale * (
            params[0] + params[1] * (near - far) / (df - 1.0) * np.exp(-log_z)
        )
        median = self.quantile(np.full(len(df), 0.5), self.low, self.high, params)
        is_open = np.isinf(self.low) or np.isinf(self.high)
        return np.where(is_open & (df <= 1.0), median, mean)

    def _tail_moment(self, z, df):
        """(df + z**2) times the density at z, for which EZ above z is that over df - 1."""
        log_constant = gammaln(0.5 * (df + 1.0)) - gammaln(0.5 * df) - 0.5 * np.log(np.pi * df)
        with np.errstate(over="ignore"):
            log_power = np.log1p(z * z / df)
        moment = df * np.exp(log_constant + 0.5 * (1.0 - df) * log_power)
        return np.where(np.isinf(z), 0.0, moment)

    def described(self, params):
        return {
            "mean": self.center + self.scale * params[0],
            "scale": self.scale * params[1],
            "df": params[2].copy(),
        }


def _cdf(df, z):
    """Distribution function, precise in the left tail."""
    with np.errstate(over="ignore"):
        share = df / (df + z * z)
    tail = 0.5 * betainc(0.5 * df, 0.5, share)
    return np.where(z < 0.0, tail, stdtr(df, np.maximum(z, 0.0)))


def _degrees_of_freedom(log_terms, previous):
    """Degrees of freedom (K,) that maximise the expected log-likelihood, by bisection.

    log_terms (K,) are means of log u - u, for precisions u under the previous degrees of freedom.
    """
    half = 0.5 * (previous + 1.0)
    constant = 1.0 + log_terms + digamma(half) - np.log(half)
    low, high = np.full_like(previous, np.log(LEAST_DF)), np.full_like(previous, np.log(MOST_DF))
    for _ in range(N_BISECTIONS):
        middle = 0.5 * (low + high)
        half = 0.5 * np.exp(middle)
        is_below = np.log(half) - digamma(half) + constant > 0.0
        low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
    return np.exp(0.5 * (low + high))
