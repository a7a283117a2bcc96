"""Weighted Gaussian components, one class a covariance family: their densities, M-step, marginals
and draws.

Components are immutable. Means may be relative to any origin; the caller shifts them.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_triangular

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
from probgen.gaussians.statistics import DiagonalStatistics, MomentStatistics
from probgen.gaussians.threads import single_threaded_blas

# Up to this many features the exponential form is the faster; beyond, the factored one (measured on
# two cores).
MAX_NATURAL_FEATURES = 48
# The exponential form loses this many digits' worth of its terms to cancellation: 1e7 leaves nine
# of sixteen.
MAX_CANCELLATION = 1e7
# Numbers of a block of draws: they stay in a cache.
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

        Many rows are drawn in blocks, each from a generator of its own, so that the number of
        threads changes nothing.
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
        """The same components, with what many draws share."""
        return self

    def _sample_block(self, n_samples, generator):
        counts = generator.multinomial(n_samples, self.weights / self.weights.sum())
        rows = np.concatenate([self.draw(k, counts[k], generator) for k in np.flatnonzero(counts)])
        return rows[generator.permutation(n_samples)]

    @classmethod
    def concatenate(cls, parts, shares):
        """The components of all parts, side by side; the weights of each part add up to its
        share."""
        weights = np.concatenate(
            [share * part.weights for part, share in zip(parts, shares, strict=True)]
        )
        return cls(
            weights, np.concatenate([part.means for part in parts]), **cls._join(parts, shares)
        )

    @classmethod
    def _join(cls, parts, shares):
        """Family arrays of all parts, by field name."""
        arrays = [part.family_arrays(slice(None)) for part in parts]
        return {name: np.concatenate([part[name] for part in arrays]) for name in arrays[0]}

    def family_arrays(self, components):
        """Family arrays of some components, by field name."""
        raise NotImplementedError

    def log_weights(self):
        with np.errstate(divide="ignore"):
            return np.log(self.weights)


def _mean_and_counts(statistics: MomentStatistics):
    """Counts kept off zero, means (K, d) and their shifts from the centres."""
    counts = np.maximum(statistics.counts, np.finfo(np.float64).tiny)
    shifts = statistics.sums / counts[:, None]
    return counts, statistics.centers + shifts, shifts


@dataclass(frozen=True)
class FullComponents(GaussianComponents):
    """A covariance matrix for each component: covariances and precisions_cholesky of shape (K, d,
    d).

    roots, of the same shape, are the inverses of precisions_cholesky, where many draws are to come.
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
        """Components and how many covariances had to be repaired to be positive definite."""
        factors = np.empty_like(covariances)
        repaired = 0
        covariances = covariances.copy()
        for k in range(len(covariances)):
            covariances[k], factors[k], touched = _positive_definite(covariances[k], floor)
            repaired += touched
        return cls(weights, means, covariances, factors), repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from upper factors P of the precisions P P'."""
        inverses = np.array([_inverse_upper(factor) for factor in precisions_cholesky])
        return cls(weights, means, inverses.transpose(0, 2, 1) @ inverses, precisions_cholesky)

    @classmethod
    def estimate(cls, statistics, reg_covar, floor, reg_param=0.0):
        """The M-step: maximum-likelihood components, and how many covariances were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        covariances = (
            statistics.squares / counts[:, None, None] - shifts[:, :, None] * shifts[:, None, :]
        )
        d = np.arange(means.shape[1])
        covariances *= 1.0 - reg_param
        covariances[:, d, d] = np.maximum(covariances[:, d, d], 0.0) + (reg_param + reg_covar)
        return cls.build(counts / counts.sum(), means, covariances, floor)

    def family_arrays(self, components):
        return {
            "covariances": self.covariances[components],
            "precisions_cholesky": self.precisions_cholesky[components],
        }

    def _log_constants(self):
        diagonals = np.diagonal(self.precisions_cholesky, axis1=1, axis2=2)
        return self.log_weights() + np.log(diagonals).sum(axis=1) - 0.5 * self.n_features * LOG_2PI

    def kernel(self, arrays):
        """The E-step of these components."""
        d = self.n_features
        if d > MAX_NATURAL_FEATURES:
            return FactoredKernel(
                arrays, self._log_constants(), self.means, self.precisions_cholesky
            )
        precisions = self.precisions_cholesky @ self.precisions_cholesky.transpose(0, 2, 1)
        reach = np.abs(self.means) + np.sqrt(np.diagonal(self.covariances, axis1=1, axis2=2))
        if np.einsum("ki,kij,kj->k", reach, np.abs(precisions), reach).max() > MAX_CANCELLATION:
            return FactoredKernel(
                arrays, self._log_constants(), self.means, self.precisions_cholesky
            )
        linear = np.einsum("kij,kj->ki", precisions, self.means)
        constants = self._log_constants() - 0.5 * np.sum(linear * self.means, axis=1)
        upper = np.triu_indices(d)
        quadratic = np.where(upper[0] == upper[1], -0.5, -1.0) * precisions[:, upper[0], upper[1]]
        return NaturalKernel(
            arrays, np.column_stack([constants, linear, quadratic]), fill_full, unpack_full
        )

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.covariances[k]

    def marginal(self, observed):
        """The components over some features only."""
        covariances = self.covariances[:, observed[:, None], observed]
        return FullComponents.build(self.weights, self.means[:, observed], covariances, 0.0)[0]

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of which only some features were
        observed."""
        statistics = statistics.about(self.means[:, observed])
        K, d = self.means.shape
        sums, squares = np.zeros((K, d)), np.zeros((K, d, d))
        missing = np.setdiff1d(np.arange(d), observed)
        for k in range(K):
            regression, conditional = conditional_gaussian(self, k, observed, missing)
            lift = np.zeros((d, len(observed)))
            lift[observed, np.arange(len(observed))] = 1.0
            lift[missing] = regression
            sums[k] = lift @ statistics.sums[k]
            squares[k] = lift @ statistics.squares[k] @ lift.T
            squares[k][np.ix_(missing, missing)] += statistics.counts[k] * conditional
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        root = None if self.roots is None else self.roots[k]
        return self.means[k] + _correlated(self.precisions_cholesky[k], root, n_samples, generator)

    def ready_to_draw(self):
        """The same components, with what many draws share."""
        return replace(
            self, roots=np.array([_inverse_upper(factor) for factor in self.precisions_cholesky])
        )


@dataclass(frozen=True)
class TiedComponents(GaussianComponents):
    """One covariance matrix shared by all components: covariances, precisions_cholesky and roots of
    shape (d, d)."""

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
        """Components and whether the covariance had to be repaired to be positive definite."""
        covariances, factor, repaired = _positive_definite(covariances, floor)
        return cls(weights, means, covariances, factor), repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the upper factor P of the precision P P'."""
        inverse = _inverse_upper(precisions_cholesky)
        return cls(weights, means, inverse.T @ inverse, precisions_cholesky)

    @classmethod
    def estimate(cls, statistics, reg_covar, floor, reg_param=0.0):
        """The M-step: maximum-likelihood components, and whether the covariance was repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        covariance = (statistics.squares - (counts[:, None] * shifts).T @ shifts) / counts.sum()
        d = np.arange(len(covariance))
        covariance *= 1.0 - reg_param
        covariance[d, d] = np.maximum(covariance[d, d], 0.0) + (reg_param + reg_covar)
        return cls.build(counts / counts.sum(), means, covariance, floor)

    @classmethod
    def _join(cls, parts, shares):
        pooled = sum(
            share * part.covariances for part, share in zip(parts, shares, strict=True)
        ) / np.sum(shares)
        covariances, factor, _ = _positive_definite(pooled, 0.0)
        return {"covariances": covariances, "precisions_cholesky": factor}

    def family_arrays(self, components):
        return {}

    def kernel(self, arrays):
        """The E-step of these components."""
        log_determinant = np.log(np.diagonal(self.precisions_cholesky)).sum()
        constants = self.log_weights() + log_determinant - 0.5 * self.n_features * LOG_2PI
        if np.sum((self.means @ self.precisions_cholesky) ** 2, axis=1).max() > MAX_CANCELLATION:
            factors = np.broadcast_to(
                self.precisions_cholesky, (len(self), *self.precisions_cholesky.shape)
            )
            return TiedFactoredKernel(arrays, constants, self.means, factors)
        return TiedKernel(arrays, constants, self.means, self.precisions_cholesky)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.covariances

    def marginal(self, observed):
        """The components over some features only."""
        covariance = self.covariances[np.ix_(observed, observed)]
        return TiedComponents.build(self.weights, self.means[:, observed], covariance, 0.0)[0]

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of which only some features were
        observed."""
        statistics = statistics.about(self.means[:, observed])
        d = self.n_features
        missing = np.setdiff1d(np.arange(d), observed)
        regression, conditional = conditional_gaussian(self, 0, observed, missing)
        lift = np.zeros((d, len(observed)))
        lift[observed, np.arange(len(observed))] = 1.0
        lift[missing] = regression
        squares = lift @ statistics.squares @ lift.T
        squares[np.ix_(missing, missing)] += statistics.total * conditional
        return replace(
            statistics, sums=statistics.sums @ lift.T, squares=squares, centers=self.means
        )

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        return self.means[k] + _correlated(
            self.precisions_cholesky, self.roots, n_samples, generator
        )

    def ready_to_draw(self):
        """The same components, with what many draws share."""
        return replace(self, roots=_inverse_upper(self.precisions_cholesky))


@dataclass(frozen=True)
class DiagonalComponents(GaussianComponents):
    """Independent features in each component: covariances, the variances, of shape (K, d)."""

    covariances: np.ndarray

    covariance_type = "diag"

    @staticmethod
    def n_covariance_parameters(n_components, n_features):
        """Number of free covariance parameters."""
        return n_components * n_features

    @classmethod
    def build(cls, weights, means, covariances, floor):
        """Components and how many had variances that were not positive."""
        covariances, repaired = positive_variances(covariances, floor)
        return cls(weights, means, covariances), repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the square roots of the precisions."""
        return cls(weights, means, precisions_cholesky**-2.0)

    @property
    def precisions_cholesky(self):
        """Square roots of the precisions, of shape (K, d)."""
        return self.covariances**-0.5

    @classmethod
    def estimate(cls, statistics, reg_covar, floor, reg_param=0.0):
        """The M-step: maximum-likelihood components, and how many were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        variances = (1.0 - reg_param) * np.maximum(
            statistics.squares / counts[:, None] - shifts**2, 0.0
        )
        variances += reg_param + reg_covar
        return cls.build(counts / counts.sum(), means, variances, floor)

    def family_arrays(self, components):
        return {"covariances": self.covariances[components]}

    def kernel(self, arrays):
        """The E-step of these components."""
        linear = self.means / self.covariances
        distances = np.sum(linear * self.means, axis=1)
        constants = self.log_weights() - 0.5 * np.sum(np.log(self.covariances) + LOG_2PI, axis=1)
        if distances.max() > MAX_CANCELLATION:
            return CenteredKernel(
                arrays, constants, self.means, 1.0 / self.covariances, DiagonalStatistics
            )
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
        """Expected statistics of all features, from those of rows of which only some features were
        observed."""
        statistics = statistics.about(self.means[:, observed])
        sums, squares = np.zeros(self.means.shape), statistics.counts[:, None] * self.covariances
        sums[:, observed], squares[:, observed] = statistics.sums, statistics.squares
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
        """Components and how many had a variance that was not positive."""
        covariances, repaired = positive_variances(covariances[:, None], np.mean(floor))
        return cls(weights, means, covariances[:, 0]), repaired

    @classmethod
    def from_precisions(cls, weights, means, precisions_cholesky):
        """Components from the square roots of the precisions."""
        return cls(weights, means, precisions_cholesky**-2.0)

    @property
    def precisions_cholesky(self):
        """Square roots of the precisions, of shape (K,)."""
        return self.covariances**-0.5

    @classmethod
    def estimate(cls, statistics, reg_covar, floor, reg_param=0.0):
        """The M-step: maximum-likelihood components, and how many were repaired."""
        counts, means, shifts = _mean_and_counts(statistics)
        variances = (statistics.squares / counts - np.sum(shifts**2, axis=1)) / means.shape[1]
        variances = (1.0 - reg_param) * np.maximum(variances, 0.0) + (reg_param + reg_covar)
        return cls.build(counts / counts.sum(), means, variances, floor)

    def family_arrays(self, components):
        return {"covariances": self.covariances[components]}

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
        """Expected statistics of all features, from those of rows of which only some features were
        observed."""
        statistics = statistics.about(self.means[:, observed])
        sums = np.zeros(self.means.shape)
        sums[:, observed] = statistics.sums
        n_missing = self.n_features - len(observed)
        squares = statistics.squares + n_missing * statistics.counts * self.covariances
        return replace(statistics, sums=sums, squares=squares, centers=self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        return self.means[k] + np.sqrt(self.covariances[k]) * generator.standard_normal(
            (n_samples, self.n_features)
        )


def conditional_gaussian(components, k, observed, missing):
    """Regression (m, o) of the missing features on the observed ones in component k, and what
    stays, (m, m)."""
    covariance = components.covariance(k)
    if not len(observed):
        return np.zeros((len(missing), 0)), covariance[np.ix_(missing, missing)]
    cross = covariance[np.ix_(missing, observed)]
    factor = _positive_definite(covariance[np.ix_(observed, observed)], 0.0)[1]
    half = cross @ factor
    return half @ factor.T, covariance[np.ix_(missing, missing)] - half @ half.T


def _positive_definite(covariance, floor):
    """The covariance, the upper factor of its precision, and whether it had to be repaired.

    A repair raises variances to the floor (d,), and then the eigenvalues of the correlations to
    1e-12 of the largest, so that the factor exists and the units of the features do not matter.
    """
    try:
        factor = np.linalg.cholesky(covariance)
        healthy = np.all(np.diagonal(factor) ** 2 > floor)
    except np.linalg.LinAlgError:
        healthy = False
    if not healthy:
        variances = np.diagonal(covariance)
        lowest = np.maximum(floor, np.finfo(np.float64).tiny ** 0.5)
        scales = np.sqrt(np.maximum(variances, lowest))
        correlation = covariance / np.outer(scales, scales)
        np.fill_diagonal(correlation, 1.0)
        values, vectors = np.linalg.eigh(correlation)
        repaired = bool(np.any(variances < lowest) or values[0] < 1e-12 * values[-1])
        values = np.maximum(values, 1e-12 * values[-1])
        root = scales[:, None] * vectors * np.sqrt(values)
        covariance = root @ root.T
        # QR of the square root is a Cholesky factor that rounding cannot make indefinite.
        triangle = np.linalg.qr(root.T, mode="r")
        factor = (triangle * np.sign(np.diagonal(triangle))[:, None]).T
    else:
        repaired = False
    return covariance, solve_triangular(factor, np.eye(len(factor)), lower=True).T, repaired


def positive_variances(variances, floor):
    """Variances (K, d) raised to the floor (d,), and how many components that touched."""
    lowest = np.maximum(floor, np.finfo(np.float64).tiny ** 0.5)
    low = variances <= lowest
    if not low.any():
        return variances, 0
    return np.where(low, lowest, variances), int(low.any(axis=1).sum())


def _correlated(factor, root, n_samples, generator):
    """Normal rows (n_samples, d) of mean zero, from the upper factor of their precision or its
    inverse."""
    noise = generator.standard_normal((n_samples, len(factor)))
    if root is None and n_samples < len(factor):
        return solve_triangular(factor, noise.T, trans=1).T
    return noise @ (_inverse_upper(factor) if root is None else root)


def _inverse_upper(factor):
    return solve_triangular(factor, np.eye(len(factor)))
