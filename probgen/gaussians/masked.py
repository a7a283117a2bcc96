"""E-steps on blocks of rows with NaN, each row with a pattern of its own, for each covariance family.

The kernels keep the promises of `probgen.gaussians.kernels` in NumPy. Their workers also give, for posterior weights
(K, B) of the last block, the rows' means given what is observed. `width` is the largest number of NaN in a row.
"""

from dataclasses import dataclass, replace

import numpy as np

from probgen.gaussians.arrays import NumpyArrays
from probgen.gaussians.components import MAX_CANCELLATION, GaussianComponents
from probgen.gaussians.em import shares
from probgen.gaussians.kernels import LOG_2PI, NaturalKernel, _NaturalWorker
from probgen.gaussians.statistics import (
    DiagonalStatistics,
    FactorStatistics,
    FullStatistics,
    SphericalStatistics,
    TiedStatistics,
)

# Up to this width, inverses are quicker one pivot at a time over all rows than one matrix at a time.
MAX_SWEPT = 16
# Numbers that the buffers of a block aim at, and that a row's matrices may take at most: 4 and 32 MB.
BLOCK_NUMBERS = 2**19
MAX_NUMBERS = 2**22


@dataclass(frozen=True)
class MaskedComponents:
    """Components as the densities of what is observed in rows with at most width NaN each, for an Engine."""

    components: GaussianComponents
    width: int

    @property
    def weights(self):
        """Weights of the components, of shape (K,)."""
        return self.components.weights

    @property
    def means(self):
        """Means of the components, of shape (K, d)."""
        return self.components.means

    def __len__(self):
        return len(self.components)

    def shifted(self, offset):
        """The density of rows with offset (d,) subtracted."""
        return replace(self, components=self.components.shifted(offset))

    def kernel(self, arrays):
        """The E-step of these components."""
        return _KERNELS[self.components.covariance_type](self.components, self.width)


@dataclass(frozen=True)
class FilledComponents(MaskedComponents):
    """Components whose kernel answers a block with its rows (d, B), the missing values replaced by their means."""

    origin: np.ndarray | float = 0.0

    def shifted(self, offset):
        """The same answers for rows with offset (d,) subtracted."""
        return replace(super().shifted(offset), origin=self.origin + offset)

    def kernel(self, arrays):
        """The regressions of these components."""
        return _FillingKernel(super().kernel(arrays), self.origin)


class _FillingKernel:
    def __init__(self, kernel, origin):
        self.kernel, self.block, self.cost = kernel, kernel.block, kernel.cost
        self.means = kernel.means + origin

    def worker(self):
        """Buffers of one thread."""
        return _FillingWorker(self)


class _FillingWorker:
    def __init__(self, kernel):
        self.kernel, self.worker = kernel, kernel.kernel.worker()

    def log_joint(self, block):
        """Rows (d, B) with the posterior means of what is missing."""
        log_joint = self.worker.log_joint(block)
        log_joint[np.isnan(log_joint)] = -np.inf
        posterior = shares(log_joint.T).T
        filled = self.kernel.means.T @ posterior
        if self.worker.lifts is not None:
            lifts = self.worker.lifts[:, : len(block), : block.shape[1]]
            filled += np.einsum("kib,kb->ib", lifts, posterior)
        return filled


def can_mask(components, width):
    """Whether the kernels of masked components keep their digits, in bounded memory."""
    K, d = components.means.shape
    if components.covariance_type == "low_rank":
        q = components.n_factors
        return max(_numbers_of_row(K, d, q), K * d * q**2) <= MAX_NUMBERS
    if components.covariance_type in ("diag", "spherical"):
        variances = components.covariances.reshape(K, -1)
        return np.sum(components.means**2 / variances, axis=1).max() <= MAX_CANCELLATION
    # How far each variance exceeds what the other features leave of it bounds the digits lost in inverses of parts.
    precisions = np.sum(components.precisions_cholesky**2, axis=-1)
    inflations = precisions * np.diagonal(components.covariances, axis1=-2, axis2=-1)
    return _numbers_of_row(K, d, width) <= MAX_NUMBERS and inflations.max() <= MAX_CANCELLATION


def _numbers_of_row(n_components, n_features, width):
    """Numbers that K matrices (width, width) and K filled rows take, work space included."""
    return (n_components + 4) * (width**2 + n_features)


def _block_of(numbers):
    """Rows of a block, a power of two, of which each takes some numbers."""
    return int(np.clip(2 ** int(np.log2(max(BLOCK_NUMBERS / numbers, 1))), 1, 1024))


class MaskedGaussianKernel:
    """Full or tied covariances, of one or K upper factors P of the precisions P P'.

    With the precision's rows and columns of the missing features, A = (P P')_mm, the missing features given the
    observed ones have covariance A^-1 and mean A^-1 g off their own, where g = -(P P' z)_m and z is the row less the
    mean, 0 where missing. Filled in with that, z has the squared length |P' z|^2 of the observed part alone, whose
    log-determinant is log|P P'| - log|A|. A is filled up to one width by features of unit precision of their own.
    """

    arrays = NumpyArrays()

    def __init__(self, components, width):
        self.n_components, self.n_features = components.means.shape
        self.width, self.means = width, components.means
        self.is_tied = components.covariance_type == "tied"
        precisions_cholesky = components.precisions_cholesky.reshape(-1, self.n_features, self.n_features)
        self.factors = np.ascontiguousarray(precisions_cholesky.transpose(0, 2, 1))
        self.precisions = np.zeros((len(self.factors), d := self.n_features + width, d))
        self.precisions[:] = np.eye(d)
        self.precisions[:, : self.n_features, : self.n_features] = precisions_cholesky @ self.factors
        log_determinants = np.log(np.diagonal(precisions_cholesky, axis1=1, axis2=2)).sum(axis=1)
        self.constants = components._log_weights() + log_determinants - 0.5 * self.n_features * LOG_2PI
        self.block = _block_of(_numbers_of_row(self.n_components, self.n_features, width))

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * (3 * self.n_features**2 + 10 * self.width**3)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedGaussianWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        counts, sums, squares, spread = (
            sum(getattr(worker, name) for worker in workers) for name in ("counts", "sums", "squares", "spread")
        )
        d = self.n_features
        spread = spread.reshape(self.precisions.shape)[:, :d, :d]
        if self.is_tied:
            return TiedStatistics(counts, sums, squares.sum(axis=0) + spread[0], self.means)
        return FullStatistics(counts, sums, squares + spread, self.means)


class _MaskedGaussianWorker:
    def __init__(self, kernel):
        self.kernel = kernel
        K, d, size = kernel.n_components, kernel.n_features, kernel.precisions.shape[1]
        self.lifts = np.empty((K, size, kernel.block))
        self.products = np.zeros((size, kernel.block))
        self.counts, self.sums, self.squares = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
        self.spread = np.zeros((len(kernel.precisions), size**2))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel, (d, self.n_rows) = self.kernel, block.shape
        holes = np.isnan(block)
        n_holes = holes.sum(axis=0)
        index = self._missing(holes, n_holes)
        self.pairs = index[:, None] * len(self.products) + index
        laws = [_inverse(np.take(precision, self.pairs)) for precision in kernel.precisions]
        self.covariances = [covariances for covariances, _ in laws]
        logits = np.empty((kernel.n_components, self.n_rows))
        products = self.products[:, : self.n_rows]
        for k, mean in enumerate(kernel.means):
            covariances, log_determinants = laws[k % len(laws)]
            lift = self.lifts[k, :, : self.n_rows]
            np.subtract(block, mean[:, None], out=lift[:d])
            np.copyto(lift[:d], 0.0, where=holes)
            np.matmul(kernel.precisions[k % len(laws), :d, :d], lift[:d], out=products[:d])
            pulls = np.take_along_axis(products, index, axis=0)
            np.put_along_axis(lift, index, -np.einsum("ijb,jb->ib", covariances, pulls), axis=0)
            whitened = np.matmul(kernel.factors[k % len(laws)], lift[:d], out=products[:d])
            logits[k] = np.einsum("ij,ij->j", whitened, whitened)
            logits[k] += log_determinants
        logits -= LOG_2PI * n_holes
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def _missing(self, holes, n_holes):
        """Indices (width, B) of missing features, filled up by those beyond the d of the rows."""
        kernel = self.kernel
        index = np.repeat(np.arange(kernel.n_features, len(self.products))[:, None], len(n_holes), axis=1)
        rows, features = np.nonzero(holes.T)
        starts = np.cumsum(n_holes) - n_holes
        index[np.arange(len(rows)) - starts[rows], rows] = features
        return index

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel, d = self.kernel, self.kernel.n_features
        self.counts += responsibilities.sum(axis=1)
        roots = np.sqrt(responsibilities)
        scaled = self.products[:d, : self.n_rows]
        for k in range(kernel.n_components):
            lift = self.lifts[k, :d, : self.n_rows]
            self.sums[k] += lift @ responsibilities[k]
            np.multiply(lift, roots[k], out=scaled)
            self.squares[k] += scaled @ scaled.T
        weights = responsibilities.sum(axis=0, keepdims=True) if kernel.is_tied else responsibilities
        for spread, covariances, weight in zip(self.spread, self.covariances, weights, strict=True):
            spread += np.bincount(self.pairs.ravel(), (covariances * weight).ravel(), minlength=len(spread))


class MaskedNaturalKernel(NaturalKernel):
    """Independent features: an exponential family in 1, and whether a feature is observed, it and its square if so."""

    def __init__(self, components, width):
        means = self.means = components.means
        variances = np.broadcast_to(components.covariances.reshape(len(means), -1), means.shape)
        self.variances, self.is_diagonal = variances, components.covariance_type == "diag"
        constants = -0.5 * (np.log(variances) + LOG_2PI + means**2 / variances)
        theta = np.column_stack([components._log_weights(), constants, means / variances, -0.5 / variances])
        super().__init__(NumpyArrays(), theta, fill_observed, self.complete)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedNaturalWorker(self)

    def complete(self, sums):
        """Expected statistics of whole rows, of (K, 3 d + 1) sums."""
        counts = sums[:, 0]
        observed, sums, squares = np.split(sums[:, 1:], 3, axis=1)
        missing = counts[:, None] - observed
        sums = sums + missing * self.means
        squares = squares + missing * (self.means**2 + self.variances)
        centers = np.zeros_like(self.means)
        if self.is_diagonal:
            return DiagonalStatistics(counts, sums, squares, centers)
        return SphericalStatistics(counts, sums, squares.sum(axis=1), centers)


def fill_observed(xp, block, phi):
    """Write 1, and for each feature whether it is observed, its value and its square, 0 where it is missing."""
    d = block.shape[0]
    phi[0] = 1.0
    xp.equal(block, block, out=phi[1 : d + 1], casting="unsafe")
    phi[d + 1 : 2 * d + 1] = 0.0
    xp.copyto(phi[d + 1 : 2 * d + 1], block, where=phi[1 : d + 1] > 0.0)
    xp.multiply(phi[d + 1 : 2 * d + 1], phi[d + 1 : 2 * d + 1], out=phi[2 * d + 1 :])


class _MaskedNaturalWorker(_NaturalWorker):
    # What is observed tells nothing of what is not.
    lifts = None


class MaskedFactorKernel:
    """Covariances loadings @ loadings' + diag(noise), through each row's posterior of the q factors.

    With W the loadings and s the noise of the observed features, and z the row less the mean there, the factors have
    posterior covariance C = (1 + W' (W / s))^-1 and mean c = C W' (z / s); the squared length of the whitened row is
    |(z - W c) / sqrt(s)|^2 + |c|^2.
    """

    arrays = NumpyArrays()

    def __init__(self, components, width):
        self.means, self.loadings, self.noise = components.means, components.loadings, components.noise
        loadings, noise = self.loadings, self.noise
        self.n_components, self.n_features, self.n_factors = loadings.shape
        self.constants = components._log_weights()
        weighted = loadings / noise[:, :, None]
        self.encoders = np.ascontiguousarray(weighted.transpose(0, 2, 1))
        products = weighted[:, :, :, None] * loadings[:, :, None, :]
        self.products = np.ascontiguousarray(products.reshape(*noise.shape, -1).transpose(0, 2, 1))
        self.precisions, self.log_noise = 1.0 / noise, np.log(noise) + LOG_2PI
        self.block = _block_of(_numbers_of_row(self.n_components, self.n_features, self.n_factors))

    @property
    def cost(self):
        """Multiplications for a row."""
        q = self.n_factors
        return 2 * self.n_components * (self.n_features * (q**2 + 2 * q + 4) + 5 * q**3)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedFactorWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        crosses, codes, squares, missing, spread = (
            sum(getattr(worker, name) for worker in workers)
            for name in ("crosses", "codes", "squares", "missing", "spread")
        )
        # Missing features follow the factors, whose posterior covariances were summed where each was missing.
        unseen = np.einsum("kdq,kdqp->kdp", self.loadings, spread.reshape(*self.loadings.shape, -1))
        crosses[:, :, :-1] += unseen
        squares += np.sum(unseen * self.loadings, axis=2) + missing * self.noise
        return FactorStatistics(codes[:, -1, -1].copy(), crosses, codes, squares, self.means)


class _MaskedFactorWorker:
    def __init__(self, kernel):
        self.kernel = kernel
        K, d, q = kernel.n_components, kernel.n_features, kernel.n_factors
        self.lifts, self.codes_of_rows = np.empty((K, d, kernel.block)), np.empty((K, q + 1, kernel.block))
        self.codes_of_rows[:, -1] = 1.0
        self.crosses, self.codes = np.zeros((K, d, q + 1)), np.zeros((K, q + 1, q + 1))
        self.squares, self.missing, self.spread = np.zeros((K, d)), np.zeros((K, d)), np.zeros((K, d, q**2))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel, (_, self.n_rows) = self.kernel, block.shape
        q = kernel.n_factors
        self.holes = np.isnan(block)
        observed = np.subtract(1.0, self.holes)
        self.covariances = []
        logits = kernel.log_noise @ observed
        for k, mean in enumerate(kernel.means):
            lift, codes = self.lifts[k, :, : self.n_rows], self.codes_of_rows[k, :-1, : self.n_rows]
            np.subtract(block, mean[:, None], out=lift)
            np.copyto(lift, 0.0, where=self.holes)
            matrices = (kernel.products[k] @ observed).reshape(q, q, -1)
            matrices[np.arange(q), np.arange(q)] += 1.0
            covariances, log_determinants = _inverse(matrices)
            self.covariances.append(covariances)
            np.einsum("ijb,jb->ib", covariances, kernel.encoders[k] @ lift, out=codes)
            means = kernel.loadings[k] @ codes
            rest = lift - means
            rest *= observed
            rest *= rest
            logits[k] += log_determinants
            logits[k] += kernel.precisions[k] @ rest
            logits[k] += np.einsum("ij,ij->j", codes, codes)
            np.copyto(lift, means, where=self.holes)
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        holes = self.holes.astype(np.float64)
        self.missing += responsibilities @ holes.T
        for k, weight in enumerate(responsibilities):
            lift, codes = self.lifts[k, :, : self.n_rows], self.codes_of_rows[k, :, : self.n_rows]
            covariances = (self.covariances[k] * weight).reshape(kernel.n_factors**2, -1)
            weighted = codes * weight
            self.codes[k] += weighted @ codes.T
            self.codes[k, :-1, :-1] += covariances.sum(axis=1).reshape(kernel.n_factors, -1)
            self.crosses[k] += lift @ weighted.T
            self.spread[k] += holes @ covariances.T
            self.squares[k] += (lift * lift) @ weight


_KERNELS = {
    "full": MaskedGaussianKernel,
    "tied": MaskedGaussianKernel,
    "diag": MaskedNaturalKernel,
    "spherical": MaskedNaturalKernel,
    "low_rank": MaskedFactorKernel,
}


def _inverse(matrices):
    """Inverses (w, w, B) of symmetric positive definite matrices (w, w, B), which it may overwrite, and log|A| (B,)."""
    width = len(matrices)
    if width > MAX_SWEPT:
        stacked = np.ascontiguousarray(matrices.transpose(2, 0, 1))
        inverses = np.linalg.inv(stacked).transpose(1, 2, 0)
        return np.ascontiguousarray(inverses), np.linalg.slogdet(stacked)[1]
    log_determinants = np.zeros(matrices.shape[2])
    for j in range(width):
        pivot = matrices[j, j].copy()
        log_determinants += np.log(pivot)
        column = matrices[:, j].copy()
        row = matrices[j] / pivot
        matrices -= column[:, None] * row
        np.divide(column, -pivot, out=matrices[:, j])
        matrices[j] = row
        np.divide(1.0, pivot, out=matrices[j, j])
    return matrices, log_determinants
