"""Weighted Gaussian components, one class a covariance family.

They compute their densities, M-step, marginals and draws. Components are immutable. Means may be
relative to any origin; the caller shifts them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular
from scipy.linalg.lapack import dtrtri

from probgen._constants import LOG_2PI
from probgen.gaussians.kernels import (
    CenteredKernel,
    FactoredKernel,
    NaturalKernel,
    TiedFactoredKernel,
    TiedKernel,
    fill_diagonal,
    fill_full,
    fill_spherical,
    pack_spherical,
    unpack_diagonal,
    unpack_full,
    unpack_spherical,
)
from probgen.gaussians.regularization import LEAST_VARIANCES, RELATIVE_FLOOR
from probgen.gaussians.statistics import DiagonalStatistics, MomentStatistics
from probgen.gaussians.threads import single_threaded_blas

# Up to this many features, the natural form beats the factored one (measured on two cores).
MAX_NATURAL_FEATURES = 48
# Largest ratio of the terms of a squared distance to the distance itself: at 1e7, cancellation
# leaves nine of sixteen digits.
MAX_CANCELLATION = 1e7
# Numbers in a block of draws, few enough to stay in a cache.
DRAW_NUMBERS = 2**18


@dataclass(frozen=True)
class GaussianComponents:
    """K weighted Gaussians over d features.

    Attributes
    ----------
    weights : ndarray of shape (K,)
    means : ndarray of shape (K, d)
    """

    weights: np.ndarray
    means: np.ndarray

    covariance_type: ClassVar[str]

    @property
    def n_features(self):
        """Number of features d."""
        return self.means.shape[1]

    def __len__(self):
        return len(self.weights)

    def shifted(self, offset):
        """The density of rows with offset (d,) subtracted."""
        return replace(self, means=self.means - offset)

    def select(self, components):
        """Some of the components, their weights scaled to sum to one."""
        weights = self.weights[components]
        return replace(
            self,
            weights=weights / weights.sum(),
            means=self.means[components],
            **self.family_arrays(components),
        )

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        raise NotImplementedError

    def sample(self, n_samples, generator):
        """Rows of the mixture, of shape (n_samples, d).

        Many rows are drawn in blocks, each from a generator of its own, so that the rows do not
        depend on the number of threads.
        """
        size = max(DRAW_NUMBERS // self.n_features, 1024)
        if n_samples <= size:
            return self._sample_block(n_samples, generator)
        rows = np.empty((n_samples, self.n_features))
        starts = range(0, n_samples, size)
        seeds = generator.integers(0, 2**63, size=(len(starts), 4))
        with single_threaded_blas() as n_threads, ThreadPoolExecutor(n_threads) as pool:
            ready = self.ready_to_draw()

            def fill(start, seed):
                block = rows[start : start + size]
                block[:] = ready._sample_block(len(block), np.random.default_rng(seed))

            list(pool.map(fill, starts, seeds))
        return rows

    def ready_to_draw(self):
        """The same components, with the arrays that draws share computed once."""
        return self

    def _sample_block(self, n_samples, generator):
        """Rows of the mixture (n_samples, d), all at once."""
        # Draw the sizes of the components, then their rows, and shuffle them.
        counts = generator.multinomial(n_samples, self.weights / self.weights.sum())
        rows = np.concatenate([self.draw(k, counts[k], generator) for k in np.flatnonzero(counts)])
        return rows[generator.permutation(n_samples)]

    @classmethod
    def concatenate(cls, parts, shares):
        """The components of all parts in a row; the weights of each part add up to its share."""
        weights = [share * part.weights for part, share in zip(parts, shares, strict=True)]
        means = [part.means for part in parts]
        return cls(np.concatenate(weights), np.concatenate(means), **cls._join(parts, shares))

    @classmethod
    def _join(cls, parts, shares):
        """Covariance arrays of all parts, by field name."""
        arrays = [part.family_arrays(slice(None)) for part in parts]
        return {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}

    def family_arrays(self, components):
        """Arrays that give the covariances of some components, by field name."""
        raise NotImplementedError

    def balance(self):
        """An origin (d,) about which the squares of the components cancel least, or None.

        It is the mean of the means by their precisions. None if squares are taken about every mean.
        """
        return None

    def log_weights(self):
        """Logs of the weights, of shape (K,), -inf where a weight is 0."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)


def _mean_and_counts(statistics: MomentStatistics):
    """Counts (K,) kept off zero, means (K, d) and their shifts (K, d) from the centres."""
    counts = np.maximum(statistics.counts, np.finfo(np.float64).tiny)
    shifts = statistics.sums / counts[:, None]
    return counts, statistics.centers + shifts, shifts


def _balance(means, precisions):
    """Mean (d,) of means (K, d) by precisions (K, d)."""
    return (precisions * means).sum(axis=0) / precisions.sum(axis=0)


@lru_cache(maxsize=32)
def _upper_triangle(d):
    """Indices of the upper triangle of (d, d), and the factors of its products in an exponent."""
    i, j = np.triu_indices(d)
    # Off-diagonal products stand for both (i, j) and (j, i).
    return i, j, np.where(i == j, -0.5, -1.0)


def origin_of(means):
    """An origin (d,) for queries: of each feature, the mean (K, d) that is nearest to zero.

    No row loses more digits by its subtraction than it loses by that of its own component's mean.
    """
    return means[np.argmin(np.abs(means), axis=0), np.arange(means.shape[1])]


def reach(means, origins):
    """Bounds (K, d) of the values whose rounding enters statistics, up to their deviations."""
    return np.abs(means) + np.abs(origins)


@dataclass(frozen=True)
class FullComponents(GaussianComponents):
    """A covariance matrix for each component.

    covariances and precisions_cholesky are of shape (K, d, d). roots, of the same shape, are the
    inverses of precisions_cholesky; they are set where many draws follow.
    """

    covariances: np.ndarray
    precisions_cholesky: np.ndarray
    roots: np.ndarray | None = None

    covariance_type = "full"

    @staticmethod
    def n_covariance_parameters(n_components, n_features):
        """Number of free covariance parameters."""
        return n_components * n_features * (n_features + 1) // 2

    @classmethod
    def build(cls, weights, means, covariances, floor):
        """Components, and how many covariances were repaired to be positive definite."""
        floors = np.broadcast_to(floor, covariances.shape[:2])
        roots = _healthy_roots(covariances, floors)
        if roots is not None:
            factors = np.array([_inverse_lower(root).T for root in roots])
            return cls(weights, means, covariances, factors), 0
        factors = np.empty_like(covariances)
        n_repaired = 0
        covariances = covariances.copy()
        for k in range(len(covariances)):
            covariances[k], factors[k], is_repaired = _positive_definite(covariances[k], floors[k])
            n_repaired += is_repaired
        return cls(weights, means, covariances, factors), n_repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from upper factors P of the precisions P P'."""
        inverses = np.array([_inverse_upper(factor) for factor in precisions_cholesky])
        return cls(weights, means, inverses.transpose(0, 2, 1) @ inverses, precisions_cholesky)

    @classmethod
    def estimate(cls, statistics, regularization, origins, added):
        """The M-step: maximum-likelihood components, and how many covariances were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        covariances = statistics.squares / counts[:, None, None]
        diagonal = np.arange(means.shape[1])
        floor = regularization.floor(covariances[:, diagonal, diagonal], reach(means, origins))
        covariances -= shifts[:, :, None] * shifts[:, None, :]
        covariances *= 1.0 - regularization.reg_param
        variances = np.maximum(covariances[:, diagonal, diagonal], 0.0)
        covariances[:, diagonal, diagonal] = variances + (regularization.reg_param + added)
        return cls.build(counts / counts.sum(), means, covariances, floor)

    def family_arrays(self, components):
        return {
            "covariances": self.covariances[components],
            "precisions_cholesky": self.precisions_cholesky[components],
        }

    def balance(self):
        if self.n_features > MAX_NATURAL_FEATURES:
            return None
        return _balance(self.means, (self.precisions_cholesky**2).sum(axis=-1))

    def _log_constants(self):
        log_pivots = np.log(self.precisions_cholesky.diagonal(0, 1, 2))
        return self.log_weights() + log_pivots.sum(axis=1) - 0.5 * self.n_features * LOG_2PI

    def kernel(self, arrays):
        """The E-step of these components."""
        factors = self.precisions_cholesky
        d = self.n_features
        if d > MAX_NATURAL_FEATURES:
            return FactoredKernel(arrays, self._log_constants(), self.means, factors)
        # The natural form expands (x - mean)' precision (x - mean), whose terms may cancel.
        precisions = factors @ factors.transpose(0, 2, 1)
        variances = self.covariances.diagonal(0, 1, 2)
        extents = (np.abs(self.means) + np.sqrt(variances))[:, :, None]
        terms = np.abs(precisions) @ extents
        terms *= extents
        if terms.sum(axis=1).max() > MAX_CANCELLATION:
            return FactoredKernel(arrays, self._log_constants(), self.means, factors)
        i, j, weights = _upper_triangle(d)
        theta = np.empty((len(self), 1 + d + len(i)))
        linear = theta[:, 1 : d + 1]
        np.matmul(precisions, self.means[:, :, None], out=linear[:, :, None])
        theta[:, 0] = self._log_constants()
        theta[:, 0] -= 0.5 * (linear * self.means).sum(axis=1)
        np.multiply(precisions[:, i, j], weights, out=theta[:, d + 1 :])
        return NaturalKernel(arrays, theta, fill_full, unpack_full)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.covariances[k]

    def marginal(self, observed):
        """The components over some features only."""
        covariances = self.covariances[:, observed[:, None], observed]
        return FullComponents.build(self.weights, self.means[:, observed], covariances, 0.0)[0]

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of the observed features."""
        statistics = statistics.about(self.means[:, observed])
        K, d = self.means.shape
        sums = np.zeros((K, d))
        squares = np.zeros((K, d, d))
        missing = np.setdiff1d(np.arange(d), observed)
        for k in range(K):
            completion, conditional = _completion(self, k, observed, missing)
            sums[k] = completion @ statistics.sums[k]
            squares[k] = completion @ statistics.squares[k] @ completion.T
            squares[k][np.ix_(missing, missing)] += statistics.counts[k] * conditional
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        root = None if self.roots is None else self.roots[k]
        return self.means[k] + _correlated(self.precisions_cholesky[k], root, n_samples, generator)

    def ready_to_draw(self):
        """The same components, with the arrays that draws share computed once."""
        roots = [_inverse_upper(factor) for factor in self.precisions_cholesky]
        return replace(self, roots=np.array(roots))


@dataclass(frozen=True)
class TiedComponents(GaussianComponents):
    """One covariance matrix for all components.

    covariances, precisions_cholesky and roots are those of FullComponents, of shape (d, d).
    """

    covariances: np.ndarray
    precisions_cholesky: np.ndarray
    roots: np.ndarray | None = None

    covariance_type = "tied"

    @staticmethod
    def n_covariance_parameters(n_components, n_features):
        """Number of free covariance parameters."""
        return n_features * (n_features + 1) // 2

    @classmethod
    def build(cls, weights, means, covariances, floor):
        """Components, and whether the covariance was repaired to be positive definite."""
        covariances, factor, is_repaired = _positive_definite(covariances, floor)
        return cls(weights, means, covariances, factor), is_repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the upper factor P of the precision P P'."""
        inverse = _inverse_upper(precisions_cholesky)
        return cls(weights, means, inverse.T @ inverse, precisions_cholesky)

    @classmethod
    def estimate(cls, statistics, regularization, origins, added):
        """The M-step: maximum-likelihood components, and whether the covariance was repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        weights = counts / counts.sum()
        diagonal = np.arange(means.shape[1])
        second_moments = statistics.squares[diagonal, diagonal] / counts.sum()
        locations = np.sqrt(weights @ reach(means, origins) ** 2)
        floor = regularization.floor(second_moments, locations)
        covariance = (statistics.squares - (counts[:, None] * shifts).T @ shifts) / counts.sum()
        covariance *= 1.0 - regularization.reg_param
        variances = np.maximum(covariance[diagonal, diagonal], 0.0)
        covariance[diagonal, diagonal] = variances + (regularization.reg_param + added)
        return cls.build(weights, means, covariance, floor)

    @classmethod
    def _join(cls, parts, shares):
        pooled = sum(share * part.covariances for part, share in zip(parts, shares, strict=True))
        covariances, factor, _ = _positive_definite(pooled / np.sum(shares), 0.0)
        return {"covariances": covariances, "precisions_cholesky": factor}

    def family_arrays(self, components):
        return {}

    def balance(self):
        return self.means.mean(axis=0)

    def kernel(self, arrays):
        """The E-step of these components."""
        log_determinant = np.log(np.diagonal(self.precisions_cholesky)).sum()
        constants = self.log_weights() + log_determinant - 0.5 * self.n_features * LOG_2PI
        factor = self.precisions_cholesky
        if np.sum((self.means @ factor) ** 2, axis=1).max() > MAX_CANCELLATION:
            factors = np.broadcast_to(factor, (len(self), *factor.shape))
            return TiedFactoredKernel(arrays, constants, self.means, factors)
        return TiedKernel(arrays, constants, self.means, factor)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.covariances

    def marginal(self, observed):
        """The components over some features only."""
        covariance = self.covariances[np.ix_(observed, observed)]
        return TiedComponents.build(self.weights, self.means[:, observed], covariance, 0.0)[0]

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of the observed features."""
        statistics = statistics.about(self.means[:, observed])
        missing = np.setdiff1d(np.arange(self.n_features), observed)
        # All components share one regression.
        completion, conditional = _completion(self, 0, observed, missing)
        sums = statistics.sums @ completion.T
        squares = completion @ statistics.squares @ completion.T
        squares[np.ix_(missing, missing)] += statistics.total * conditional
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        noise = _correlated(self.precisions_cholesky, self.roots, n_samples, generator)
        return self.means[k] + noise

    def ready_to_draw(self):
        """The same components, with the arrays that draws share computed once."""
        return replace(self, roots=_inverse_upper(self.precisions_cholesky))


@dataclass(frozen=True)
class DiagonalComponents(GaussianComponents):
    """Independent features in each component: covariances are their variances (K, d)."""

    covariances: np.ndarray

    covariance_type = "diag"

    @staticmethod
    def n_covariance_parameters(n_components, n_features):
        """Number of free covariance parameters."""
        return n_components * n_features

    @classmethod
    def build(cls, weights, means, covariances, floor):
        """Components, and how many had variances that were not positive."""
        covariances, n_repaired = positive_variances(covariances, floor)
        return cls(weights, means, covariances), n_repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the square roots of the precisions."""
        return cls(weights, means, precisions_cholesky**-2.0)

    @property
    def precisions_cholesky(self):
        """Square roots of the precisions, of shape (K, d)."""
        return self.covariances**-0.5

    @classmethod
    def estimate(cls, statistics, regularization, origins, added):
        """The M-step: maximum-likelihood components, and how many were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        second_moments = statistics.squares / counts[:, None]
        variances = np.maximum(second_moments - shifts**2, 0.0)
        reg_param = regularization.reg_param
        variances = (1.0 - reg_param) * variances + (reg_param + added)
        floor = regularization.floor(second_moments, reach(means, origins))
        return cls.build(counts / counts.sum(), means, variances, floor)

    def family_arrays(self, components):
        return {"covariances": self.covariances[components]}

    def balance(self):
        return _balance(self.means, 1.0 / self.covariances)

    def kernel(self, arrays):
        """The E-step of these components."""
        linear = self.means / self.covariances
        distances = np.sum(linear * self.means, axis=1)
        constants = self.log_weights() - 0.5 * np.sum(np.log(self.covariances) + LOG_2PI, axis=1)
        if distances.max() > MAX_CANCELLATION:
            precisions = 1.0 / self.covariances
            return CenteredKernel(arrays, constants, self.means, precisions, DiagonalStatistics)
        constants -= 0.5 * distances
        theta = np.column_stack([constants, linear, -0.5 / self.covariances])
        return NaturalKernel(arrays, theta, fill_diagonal, unpack_diagonal)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return np.diag(self.covariances[k])

    def marginal(self, observed):
        """The components over some features only."""
        return DiagonalComponents(
            self.weights, self.means[:, observed], self.covariances[:, observed]
        )

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of the observed features."""
        statistics = statistics.about(self.means[:, observed])
        sums = np.zeros(self.means.shape)
        sums[:, observed] = statistics.sums
        squares = statistics.counts[:, None] * self.covariances
        squares[:, observed] = statistics.squares
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        noise = generator.standard_normal((n_samples, self.n_features))
        return self.means[k] + np.sqrt(self.covariances[k]) * noise


@dataclass(frozen=True)
class SphericalComponents(GaussianComponents):
    """One variance for all features of a component: covariances of shape (K,)."""

    covariances: np.ndarray

    covariance_type = "spherical"

    @staticmethod
    def n_covariance_parameters(n_components, n_features):
        """Number of free covariance parameters."""
        return n_components

    @classmethod
    def build(cls, weights, means, covariances, floor):
        """Components, and how many had a variance that was not positive."""
        floors = np.broadcast_to(floor, covariances.shape)[:, None]
        covariances, n_repaired = positive_variances(covariances[:, None], floors)
        return cls(weights, means, covariances[:, 0]), n_repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the square roots of the precisions."""
        return cls(weights, means, precisions_cholesky**-2.0)

    @property
    def precisions_cholesky(self):
        """Square roots of the precisions, of shape (K,)."""
        return self.covariances**-0.5

    @classmethod
    def estimate(cls, statistics, regularization, origins, added):
        """The M-step: maximum-likelihood components, and how many were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        second_moments = statistics.squares / (counts * means.shape[1])
        variances = np.maximum(second_moments - np.mean(shifts**2, axis=1), 0.0)
        reg_param = regularization.reg_param
        variances = (1.0 - reg_param) * variances + (reg_param + added)
        floor = regularization.floor(second_moments[:, None], reach(means, origins)).mean(axis=1)
        return cls.build(counts / counts.sum(), means, variances, floor)

    def family_arrays(self, components):
        return {"covariances": self.covariances[components]}

    def balance(self):
        return _balance(self.means, 1.0 / self.covariances[:, None])

    def kernel(self, arrays):
        """The E-step of these components."""
        d = self.n_features
        precisions = 1.0 / self.covariances
        distances = precisions * np.sum(self.means**2, axis=1)
        constants = self.log_weights() - 0.5 * d * (np.log(self.covariances) + LOG_2PI)
        if distances.max() > MAX_CANCELLATION:
            precisions = np.repeat(precisions[:, None], d, axis=1)
            return CenteredKernel(arrays, constants, self.means, precisions, pack_spherical)
        constants -= 0.5 * distances
        theta = np.column_stack([constants, self.means * precisions[:, None], -0.5 * precisions])
        return NaturalKernel(arrays, theta, fill_spherical, unpack_spherical)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.covariances[k] * np.eye(self.n_features)

    def marginal(self, observed):
        """The components over some features only."""
        return replace(self, means=self.means[:, observed])

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of the observed features."""
        statistics = statistics.about(self.means[:, observed])
        sums = np.zeros(self.means.shape)
        sums[:, observed] = statistics.sums
        n_missing = self.n_features - len(observed)
        squares = statistics.squares + n_missing * statistics.counts * self.covariances
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        noise = generator.standard_normal((n_samples, self.n_features))
        return self.means[k] + np.sqrt(self.covariances[k]) * noise


def conditional_gaussian(components, k, observed, missing):
    """Conditional distribution of missing features given observed ones, under component k.

    Returns the regression (m, o) of the missing features on the observed ones, and the conditional
    covariance (m, m).
    """
    covariance = components.covariance(k)
    missing_covariance = covariance[np.ix_(missing, missing)]
    if not len(observed):
        return np.zeros((len(missing), 0)), missing_covariance
    cross = covariance[np.ix_(missing, observed)]
    _, factor, _ = _positive_definite(covariance[np.ix_(observed, observed)], 0.0)
    half = cross @ factor
    return half @ factor.T, missing_covariance - half @ half.T


def _completion(components, k, observed, missing):
    """Linear map (d, o) of observed features to all, missing ones by regression under component k.

    Also returns the conditional covariance (m, m) of the missing features.
    """
    regression, conditional = conditional_gaussian(components, k, observed, missing)
    completion = np.zeros((components.n_features, len(observed)))
    completion[observed, np.arange(len(observed))] = 1.0
    completion[missing] = regression
    return completion, conditional


def _positive_definite(covariance, floor):
    """The covariance, the upper factor of its precision, and whether it was repaired.

    A repair raises variances to the floor (d,), and then the eigenvalues of the correlations to
    1e-12 of the largest, so that the factor exists and the units of the features do not matter.
    """
    factor = _healthy_roots(covariance, floor)
    is_repaired = False
    if factor is None:
        variances = np.diagonal(covariance)
        lowest = np.maximum(floor, LEAST_VARIANCES[np.float64])
        scales = np.sqrt(np.maximum(variances, lowest))
        correlation = covariance / np.outer(scales, scales)
        np.fill_diagonal(correlation, 1.0)
        values, vectors = np.linalg.eigh(correlation)
        is_repaired = bool(np.any(variances < lowest) or values[0] < 1e-12 * values[-1])
        values = np.maximum(values, 1e-12 * values[-1])
        root = scales[:, None] * vectors * np.sqrt(values)
        covariance = root @ root.T
        # QR of the square root is a Cholesky factor that rounding cannot make indefinite.
        triangle = np.linalg.qr(root.T, mode="r")
        factor = (triangle * np.sign(np.diagonal(triangle))[:, None]).T
    return covariance, _inverse_lower(factor).T, is_repaired


def _healthy_roots(covariances, floors):
    """Cholesky factors of covariances (..., d, d), or None where one needs repair.

    It does if a variance given the features before is below the floors (..., d), or below rounding.
    """
    try:
        roots = np.linalg.cholesky(covariances)
    except np.linalg.LinAlgError:
        return None
    variances = np.diagonal(covariances, axis1=-2, axis2=-1)
    lowest = np.maximum(floors, RELATIVE_FLOOR * variances)
    is_healthy = np.diagonal(roots, axis1=-2, axis2=-1) ** 2 > lowest
    if is_healthy.all():
        return roots
    return None


def _inverse_lower(factor):
    """Inverse (d, d) of a lower triangular matrix."""
    return dtrtri(factor, lower=1)[0]


def positive_variances(variances, floor):
    """Variances (K, d) raised to the floor, (K, d) or a number, and how many components changed."""
    lowest = np.maximum(floor, LEAST_VARIANCES[np.float64])
    is_low = variances <= lowest
    if not is_low.any():
        return variances, 0
    return np.where(is_low, lowest, variances), int(is_low.any(axis=1).sum())


def _correlated(factor, root, n_samples, generator):
    """Normal rows (n_samples, d) of mean zero, from the upper factor of their precision.

    root is the inverse of that factor, or None if it is not known.
    """
    noise = generator.standard_normal((n_samples, len(factor)))
    if root is not None:
        return noise @ root
    if n_samples < len(factor):
        return solve_triangular(factor, noise.T, trans=1).T
    return noise @ _inverse_upper(factor)


def _inverse_upper(factor):
    """Inverse (d, d) of an upper triangular matrix."""
    return solve_triangular(factor, np.eye(len(factor)))
