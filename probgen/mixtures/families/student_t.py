"""Student's t, by its mixture of normals of one mean."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy.special import betainc, digamma, gammaln, stdtr, stdtrit

from probgen.mixtures.families.base import Values, weighted_means

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
        df = _degrees_of_freedom(log_terms, params[2])
        estimate = np.where(has_weight, np.stack([mean, deviation, df]), params)
        n_mended = int(np.sum(estimate[1] < self.min_scale))
        estimate[1] = np.maximum(estimate[1], self.min_scale)
        return estimate, n_mended

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
        return self.center + self.scale * params[0]

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
