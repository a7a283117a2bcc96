"""Mixtures of factor analysers (Ghahramani & Hinton, 1997).

Covariances are those of a few factors plus independent noise.
"""

from dataclasses import dataclass, replace

import numpy as np

from probgen._constants import LOG_2PI
from probgen.gaussians.components import (
    MAX_CANCELLATION,
    GaussianComponents,
    positive_variances,
    reach,
)
from probgen.gaussians.kernels import CenteredFactorAnalysisKernel, FactorAnalysisKernel
from probgen.gaussians.statistics import FactorStatistics


@dataclass(frozen=True)
class LowRankComponents(GaussianComponents):
    """Covariances loadings @ loadings' + diag(noise).

    loadings are of shape (K, d, q), noise of shape (K, d).
    """

    loadings: np.ndarray
    noise: np.ndarray

    covariance_type = "low_rank"

    @staticmethod
    def n_covariance_parameters(n_components, n_features, n_factors):
        """Number of free covariance parameters, at most those of a full matrix.

        Rotations of the factors do not count.
        """
        free = n_features * (n_factors + 1) - n_factors * (n_factors - 1) // 2
        return n_components * min(free, n_features * (n_features + 1) // 2)

    @classmethod
    def estimate(cls, statistics, regularization, origins, added):
        """The M-step: maximum-likelihood components, and how many were repaired."""
        counts = np.maximum(statistics.counts, np.finfo(np.float64).tiny)
        # The codes of an empty component, or of one without noise, have no inverse.
        inverse_codes = np.linalg.pinv(statistics.codes, hermitian=True)
        augmented = statistics.crosses @ inverse_codes  # loadings, then shifts of the means
        explained = np.sum(augmented * statistics.crosses, axis=2)
        noise = np.maximum((statistics.squares - explained) / counts[:, None], 0.0)
        reg_param = regularization.reg_param
        noise = (1.0 - reg_param) * noise + (reg_param + added)
        loadings = np.sqrt(1.0 - reg_param) * augmented[:, :, :-1]
        means = statistics.centers + augmented[:, :, -1]
        floor = regularization.floor(statistics.squares / counts[:, None], reach(means, origins))
        noise, n_repaired = positive_variances(noise, floor)
        return cls(counts / counts.sum(), means, loadings, noise), n_repaired

    @classmethod
    def from_rows(cls, rows, responsibilities, n_factors, regularization, origin, added, generator):
        """Components that start at the principal axes of rows (n, d), and how many were repaired.

        responsibilities are of shape (n, K).
        """
        counts = np.maximum(responsibilities.sum(axis=0), np.finfo(np.float64).tiny)
        means = (responsibilities.T @ rows) / counts[:, None]
        K, d = means.shape
        loadings = np.zeros((K, d, n_factors))
        noise = np.zeros((K, d))
        variances = np.zeros((K, d))
        for k in range(K):
            used = responsibilities[:, k] > 0.0
            roots = np.sqrt(responsibilities[used, k] / counts[k])
            centred = (rows[used] - means[k]) * roots[:, None]
            variances[k] = np.sum(centred**2, axis=0)
            # Axes of standardised features, which do not depend on their units.
            scales = np.sqrt(np.where(variances[k] > 0.0, variances[k], 1.0))
            loadings[k] = scales[:, None] * _principal_loadings(centred / scales, n_factors)
            # EM never moves a factor whose loadings are all zero.
            jitter = 1e-2 * np.sqrt(variances[k] + added)[:, None]
            loadings[k] += jitter * generator.standard_normal((d, n_factors)) / np.sqrt(n_factors)
            # Noise near zero would keep EM at the start.
            residuals = variances[k] - np.sum(loadings[k] ** 2, axis=1)
            noise[k] = np.maximum(residuals, 0.01 * variances[k]) + added
        floor = regularization.floor(variances, reach(means, origin))
        noise, n_repaired = positive_variances(noise, floor)
        return cls(counts / counts.sum(), means, loadings, noise), n_repaired

    @property
    def n_factors(self):
        """Number of factors q."""
        return self.loadings.shape[2]

    def family_arrays(self, components):
        return {"loadings": self.loadings[components], "noise": self.noise[components]}

    def balance(self):
        return np.sum(self.means / self.noise, axis=0) / np.sum(1.0 / self.noise, axis=0)

    def kernel(self, arrays):
        """The E-step of these components."""
        constants = self.log_weights() - 0.5 * self.n_features * LOG_2PI
        is_narrow = np.sum(self.means**2 / self.noise, axis=1).max() > MAX_CANCELLATION
        kernel = CenteredFactorAnalysisKernel if is_narrow else FactorAnalysisKernel
        return kernel(arrays, constants, self.means, self.loadings, self.noise)

    def covariance(self, k):
        """Covariance matrix (d, d) of component k."""
        return self.loadings[k] @ self.loadings[k].T + np.diag(self.noise[k])

    def marginal(self, observed):
        """The components over some features only."""
        return replace(
            self,
            means=self.means[:, observed],
            loadings=self.loadings[:, observed],
            noise=self.noise[:, observed],
        )

    def complete(self, observed, statistics):
        """Expected statistics of all features, from those of rows of the observed features."""
        statistics = statistics.about(self.means[:, observed])
        # Missing features follow the factors; about their means, the shift of the code is 0.
        augmented = np.concatenate([self.loadings, np.zeros_like(self.means)[:, :, None]], axis=2)
        crosses = augmented @ statistics.codes
        squares = np.sum(crosses * augmented, axis=2) + statistics.counts[:, None] * self.noise
        crosses[:, observed] = statistics.crosses
        squares[:, observed] = statistics.squares
        return FactorStatistics(statistics.counts, crosses, statistics.codes, squares, self.means)

    def draw(self, k, n_samples, generator):
        """Rows of component k, of shape (n_samples, d)."""
        codes = generator.standard_normal((n_samples, self.n_factors))
        rows = generator.standard_normal((n_samples, self.n_features))
        rows *= np.sqrt(self.noise[k])
        rows += codes @ self.loadings[k].T
        rows += self.means[k]
        return rows


def _principal_loadings(centred, n_factors):
    """Loadings (d, n_factors) of weighted rows (n, d) by probabilistic PCA.

    See Tipping & Bishop (1999).
    """
    n_rows, d = centred.shape
    loadings = np.zeros((d, n_factors))
    if not n_rows:
        return loadings
    if n_rows < d:  # the eigenvectors of the smaller matrix give the axes
        values, left = np.linalg.eigh(centred @ centred.T)
        axes = centred.T @ left
        is_positive = values > 1e-12 * max(values[-1], 1e-300)
        with np.errstate(divide="ignore", invalid="ignore"):
            axes = np.where(is_positive, axes / np.sqrt(np.abs(values)), 0.0)
    else:
        values, axes = np.linalg.eigh(centred.T @ centred)
    # eigh sorts upwards.
    rank = min(n_factors, len(values))
    leading = values[::-1][:rank]
    rest = values[::-1][rank:]
    residual = max(rest.sum(), 0.0) / max(d - rank, 1)
    loadings[:, :rank] = axes[:, ::-1][:, :rank] * np.sqrt(np.maximum(leading - residual, 0.0))
    return loadings
