"""E-steps on blocks of rows with NaN, where every row may miss other features.

The kernels work like those of `probgen.gaussians.kernels`, in NumPy. Where features are dependent,
each row needs a small matrix inverse of its own: of the size of its missing features, of its
observed ones, or of the number of factors. Neighbouring rows with the same pattern share it.

In the shapes below, B is the number of rows of a block, G of its runs of equal patterns, K of
components, d of features and q of factors.
"""

from dataclasses import dataclass, replace

import numpy as np

from probgen._constants import LOG_2PI
from probgen.gaussians.arrays import NumpyArrays
from probgen.gaussians.components import MAX_CANCELLATION, GaussianComponents
from probgen.gaussians.kernels import NaturalKernel, NaturalWorker, Worker
from probgen.gaussians.log_probabilities import responsibilities
from probgen.gaussians.statistics import (
    DiagonalStatistics,
    FactorStatistics,
    FullStatistics,
    SphericalStatistics,
    TiedStatistics,
)

# Up to this width, inverting all matrices pivot by pivot beats inverting them one by one.
MAX_SWEPT = 16
# Target size of the buffers of a block, and the most that the matrices of a row may take, in
# numbers: 4 and 32 MB.
BLOCK_NUMBERS = 2**19
MAX_NUMBERS = 2**22


@dataclass(frozen=True)
class MaskedComponents:
    """Components as the densities of the observed features of rows with NaN, for an EMEngine.

    Attributes
    ----------
    components : GaussianComponents
    width : int
        Size of a row's matrix, at least the number of its missing features, or of its observed
        ones.
    is_by_missing : bool
        Whether the matrix is that of the missing features.
    """

    components: GaussianComponents
    width: int
    is_by_missing: bool

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

    def balance(self):
        """None: the kernels keep to the origin for which `can_mask` was asked."""
        return None

    def shifted(self, offset):
        """The density of rows with offset (d,) subtracted."""
        return replace(self, components=self.components.shifted(offset))

    def kernel(self, arrays):
        """The E-step of these components."""
        return _KERNELS[self.components.covariance_type](self)


@dataclass(frozen=True)
class FilledComponents(MaskedComponents):
    """Components whose kernel returns rows with their missing values at the conditional means.

    They make a query for log joint densities (K, B) return rows (d, B) instead.
    """

    origin: np.ndarray | float = 0.0

    def shifted(self, offset):
        """The same rows, for input rows with offset (d,) subtracted."""
        return replace(super().shifted(offset), origin=self.origin + offset)

    def kernel(self, arrays):
        """The regressions of these components."""
        return _FillingKernel(super().kernel(arrays), self.origin)


class _FillingKernel:
    def __init__(self, kernel, origin):
        self.kernel = kernel
        self.block = kernel.block
        self.cost = kernel.cost
        self.means = kernel.means + origin

    def worker(self):
        """Buffers of one thread."""
        return _FillingWorker(self)


class _FillingWorker:
    def __init__(self, kernel):
        self.kernel = kernel
        self.worker = kernel.kernel.worker()

    def log_joint(self, block):
        """Rows (d, B) that hold the posterior means of missing values."""
        log_joint = self.worker.log_joint(block)
        log_joint[np.isnan(log_joint)] = -np.inf
        posterior = responsibilities(log_joint.T).T
        filled = self.kernel.means.T @ posterior
        if self.worker.deviations is not None:
            deviations = self.worker.deviations[:, : len(block), : block.shape[1]]
            filled += np.einsum("kib,kb->ib", deviations, posterior)
        return filled


def widths_of(components, n_missing):
    """Widths (n,) of the matrices of rows with n_missing (n,) missing features.

    Also returns whether each matrix is that of the missing features. Widths are rounded up to
    powers of two, so that the matrices of many rows are inverted together.
    """
    is_by_missing = np.ones(len(n_missing), dtype=bool)
    if components.covariance_type == "low_rank":
        return np.full_like(n_missing, components.n_factors), is_by_missing
    if components.covariance_type in ("diag", "spherical"):
        return np.ones_like(n_missing), is_by_missing
    n_observed = components.n_features - n_missing
    sizes = np.minimum(n_missing, n_observed)
    return 2 ** np.ceil(np.log2(sizes)).astype(np.intp), n_missing <= n_observed


def can_mask(components, width):
    """Whether the masked kernels are accurate for these components and bounded in memory."""
    K, d = components.means.shape
    if components.covariance_type in ("diag", "spherical"):
        variances = components.covariances.reshape(K, -1)
        return np.sum(components.means**2 / variances, axis=1).max() <= MAX_CANCELLATION
    if _numbers_of_row(K, d, width) > MAX_NUMBERS:
        return False
    if components.covariance_type == "low_rank":
        return K * d * width**2 <= MAX_NUMBERS
    # The ratio of a feature's variance to its conditional variance given all others bounds the
    # digits that are lost when a part of a matrix is inverted.
    precisions = np.sum(components.precisions_cholesky**2, axis=-1)
    variances = np.diagonal(components.covariances, axis1=-2, axis2=-1)
    return (precisions * variances).max() <= MAX_CANCELLATION


def _numbers_of_row(n_components, n_features, width):
    """Numbers that the K matrices and K filled rows of a row take, with their work space."""
    return (n_components + 4) * (width**2 + n_features)


def _block_rows(numbers):
    """Rows of a block, a power of two, if each row takes some numbers."""
    return int(np.clip(2 ** int(np.log2(max(BLOCK_NUMBERS / numbers, 1))), 1, 1024))


class MaskedGaussianKernel:
    """Full or tied covariances S, given by one or K upper factors P of the precisions P P'.

    Let z be a row less the mean, with 0 where values are missing, m its missing features and o its
    observed ones.

    By missing features, A = (P P')_mm is inverted. The missing features have the conditional mean
    -A^-1 (P P' z)_m and covariance A^-1. With z filled in by that mean, |P' z|^2 is the squared
    Mahalanobis length of z_o alone, and log|S_oo| = log|A| - log|P P'|.

    By observed features, A = S_oo is inverted. The squared length is z_o' A^-1 z_o, and the missing
    features have the conditional mean S_mo A^-1 z_o and covariance (S - S_.o A^-1 S_o.)_mm.

    So that the matrices of all rows have one width, each is padded by independent features of unit
    variance, whose indices are d, ..., d + width - 1.
    """

    arrays = NumpyArrays()

    def __init__(self, masked):
        components = masked.components
        self.width = masked.width
        self.is_by_missing = masked.is_by_missing
        self.means = components.means
        K, d = self.means.shape
        self.n_components = K
        self.n_features = d
        self.is_tied = components.covariance_type == "tied"
        precisions_cholesky = components.precisions_cholesky.reshape(-1, d, d)
        self.factors = np.ascontiguousarray(precisions_cholesky.transpose(0, 2, 1))
        self.constants = components.log_weights() - 0.5 * d * LOG_2PI
        if self.is_by_missing:
            self.constants += np.log(np.diagonal(precisions_cholesky, axis1=1, axis2=2)).sum(axis=1)
            matrices = precisions_cholesky @ self.factors
        else:
            matrices = components.covariances.reshape(-1, d, d)
        n_matrices = len(matrices)  # 1 if tied, else K
        self.matrices = np.zeros((n_matrices, d + self.width, d + self.width))
        self.matrices[:] = np.eye(d + self.width)
        self.matrices[:, :d, :d] = matrices
        self.block = _block_rows(_numbers_of_row(K, d, self.width))

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * (3 * self.n_features**2 + 10 * self.width**3)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedGaussianWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        d = self.n_features
        counts = sum(worker.counts for worker in workers)
        sums = sum(worker.sums for worker in workers)
        squares = sum(worker.squares for worker in workers)
        inverses = sum(worker.inverse_sums for worker in workers)
        # Sum (n_matrices, d, d) over rows of the conditional covariances of missing features.
        spread = inverses.reshape(self.matrices.shape)[:, :d, :d]
        if not self.is_by_missing:
            covariances = self.matrices[:, :d, :d]
            weights = counts.sum(keepdims=True) if self.is_tied else counts
            spread = weights[:, None, None] * covariances - covariances @ spread @ covariances
        if self.is_tied:
            return TiedStatistics(counts, sums, squares.sum(axis=0) + spread[0], self.means)
        return FullStatistics(counts, sums, squares + spread, self.means)


class _MaskedGaussianWorker(Worker):
    """Buffers and sums of one thread.

    `deviations` (K, d + width, block) are the rows less each mean, with missing values at their
    conditional means; the features beyond d are padding.
    """

    def __init__(self, kernel):
        self.kernel = kernel
        K = kernel.n_components
        d = kernel.n_features
        padded = kernel.matrices.shape[1]
        self.deviations = np.zeros((K, padded, kernel.block))
        self.products = np.zeros((padded, kernel.block))
        self.counts = np.zeros(K)
        self.sums = np.zeros((K, d))
        self.squares = np.zeros((K, d, d))
        self.inverse_sums = np.zeros((len(kernel.matrices), padded**2))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel = self.kernel
        d, self.n_rows = block.shape
        missing = np.isnan(block)
        # Features (width, B) that span the matrix of each row.
        index = self._padded_index(missing if kernel.is_by_missing else ~missing)
        self.firsts, runs = _runs(missing)
        # Positions (width, width, G) of the entries of each run's matrix in a flattened one.
        index_of_run = index[:, self.firsts]
        self.entries = index_of_run[:, None] * len(self.products) + index_of_run
        self.inverses = []  # one array (width, width, G) for each matrix of the kernel
        log_determinants = []
        for matrix in kernel.matrices:
            inverses, log_determinant = _inverse(np.take(matrix, self.entries))
            self.inverses.append(inverses)
            log_determinants.append(log_determinant)
        logits = np.empty((kernel.n_components, self.n_rows))
        fill = self._fill_by_missing if kernel.is_by_missing else self._fill_by_observed
        for k, mean in enumerate(kernel.means):
            m = 0 if kernel.is_tied else k  # the matrix of component k
            deviations = self.deviations[k, :, : self.n_rows]
            np.subtract(block, mean[:, None], out=deviations[:d])
            np.copyto(deviations[:d], 0.0, where=missing)
            inverses_of_rows = np.take(self.inverses[m], runs, axis=2)
            fill(m, inverses_of_rows, index, missing, deviations, logits[k])
            logits[k] += log_determinants[m][runs]
        logits -= LOG_2PI * missing.sum(axis=0)
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def _fill_by_missing(self, m, inverses, index, missing, deviations, lengths):
        """Fill in deviations (d + width, B), and write the squared lengths (B,) of observed parts.

        inverses (width, width, B) are those of the missing features' precisions.
        """
        kernel = self.kernel
        d = kernel.n_features
        products = self.products[:, : self.n_rows]
        np.matmul(kernel.matrices[m, :d, :d], deviations[:d], out=products[:d])
        products_of_missing = np.take_along_axis(products, index, axis=0)
        means = np.einsum("ijb,jb->ib", inverses, products_of_missing)
        np.put_along_axis(deviations, index, -means, axis=0)
        whitened = np.matmul(kernel.factors[m], deviations[:d], out=products[:d])
        np.einsum("ij,ij->j", whitened, whitened, out=lengths)

    def _fill_by_observed(self, m, inverses, index, missing, deviations, lengths):
        """Fill in deviations (d + width, B), and write the squared lengths (B,) of observed parts.

        inverses (width, width, B) are those of the observed features' covariances.
        """
        kernel = self.kernel
        d = kernel.n_features
        products = self.products[:, : self.n_rows]
        observed = np.take_along_axis(deviations, index, axis=0)
        solved = np.einsum("ijb,jb->ib", inverses, observed)
        np.einsum("ij,ij->j", observed, solved, out=lengths)
        products[:d] = 0.0
        np.put_along_axis(products, index, solved, axis=0)
        np.copyto(deviations[:d], kernel.matrices[m, :d, :d] @ products[:d], where=missing)

    def _padded_index(self, mask):
        """Indices (width, B) of the features in a mask (d, B), padded by d, ..., d + width - 1."""
        kernel = self.kernel
        # Queries pad a block by columns without NaN; their log densities are never read.
        mask = mask & (mask.sum(axis=0) <= kernel.width)
        n_chosen = mask.sum(axis=0)
        padding = np.arange(kernel.n_features, len(self.products))
        index = np.repeat(padding[:, None], len(n_chosen), axis=1)
        # The i-th feature of a row goes to position i of its column.
        rows, features = np.nonzero(mask.T)
        starts = np.cumsum(n_chosen) - n_chosen
        index[np.arange(len(rows)) - starts[rows], rows] = features
        return index

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        d = kernel.n_features
        self.counts += responsibilities.sum(axis=1)
        roots = np.sqrt(responsibilities)
        scaled = self.products[:d, : self.n_rows]
        for k in range(kernel.n_components):
            deviations = self.deviations[k, :d, : self.n_rows]
            self.sums[k] += deviations @ responsibilities[k]
            np.multiply(deviations, roots[k], out=scaled)
            self.squares[k] += scaled @ scaled.T
        # Weights (n_matrices, G) of the inverses of each run.
        weights = np.add.reduceat(responsibilities, self.firsts, axis=1)
        if kernel.is_tied:
            weights = weights.sum(axis=0, keepdims=True)
        entries = self.entries.ravel()
        for total, inverses, weight in zip(self.inverse_sums, self.inverses, weights, strict=True):
            total += np.bincount(entries, (inverses * weight).ravel(), minlength=len(total))


class MaskedNaturalKernel(NaturalKernel):
    """Independent features as an exponential family.

    phi holds 1 and, for each feature, whether it is observed, its value and its square.
    """

    def __init__(self, masked):
        components = masked.components
        means = components.means
        variances = np.broadcast_to(components.covariances.reshape(len(means), -1), means.shape)
        self.means = means
        self.variances = variances
        self.is_diagonal = components.covariance_type == "diag"
        constants = -0.5 * (np.log(variances) + LOG_2PI + means**2 / variances)
        theta = np.column_stack(
            [components.log_weights(), constants, means / variances, -0.5 / variances]
        )
        super().__init__(NumpyArrays(), theta, fill_observed, self.complete)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedNaturalWorker(self)

    def complete(self, sums):
        """Expected statistics of whole rows, from sums (K, 3 d + 1) of phi."""
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
    """Write 1 and, for each feature, whether it is observed, its value and square or else 0."""
    d = block.shape[0]
    is_observed = phi[1 : d + 1]
    values = phi[d + 1 : 2 * d + 1]
    squares = phi[2 * d + 1 :]
    phi[0] = 1.0
    xp.equal(block, block, out=is_observed, casting="unsafe")  # NaN differs from itself
    values[:] = 0.0
    xp.copyto(values, block, where=is_observed > 0.0)
    xp.multiply(values, values, out=squares)


class _MaskedNaturalWorker(NaturalWorker):
    # Independent features: missing values stay at the mean of each component.
    deviations = None

    # phi holds no copy of x in which a block could be written.
    block_buffer = Worker.block_buffer


class MaskedFactorKernel:
    """Covariances W W' + diag(s) of loadings W and noise s, by each row's posterior of q factors.

    Let z be a row less the mean, and W and s be restricted to its observed features. The factors
    have posterior covariance C = (1 + W' (W / s))^-1 and mean c = C W' (z / s), and the squared
    Mahalanobis length of z is |(z - W c) / sqrt(s)|^2 + |c|^2.
    """

    arrays = NumpyArrays()

    def __init__(self, masked):
        components = masked.components
        self.means = components.means
        self.loadings = components.loadings
        self.noise = components.noise
        K, d, q = self.loadings.shape
        self.n_components = K
        self.n_features = d
        self.n_factors = q
        self.constants = components.log_weights()
        weighted = self.loadings / self.noise[:, :, None]
        self.encoders = np.ascontiguousarray(weighted.transpose(0, 2, 1))
        # Products (K, q * q, d) of the loadings of each feature, over its noise: C^-1 of a row sums
        # those of its observed features.
        products = weighted[:, :, :, None] * self.loadings[:, :, None, :]
        self.products = np.ascontiguousarray(products.reshape(K, d, -1).transpose(0, 2, 1))
        self.precisions = 1.0 / self.noise
        self.log_noise = np.log(self.noise) + LOG_2PI
        self.block = _block_rows(_numbers_of_row(K, d, q))

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
        K, d, q = self.loadings.shape
        crosses = sum(worker.crosses for worker in workers)
        codes = sum(worker.codes for worker in workers)
        squares = sum(worker.squares for worker in workers)
        missing = sum(worker.missing for worker in workers)
        code_covariances = sum(worker.code_covariances for worker in workers).reshape(K, d, q, q)
        # A missing feature varies with the factors: its covariance with them is W C, summed over
        # the rows that miss it.
        covariances = np.einsum("kdq,kdqp->kdp", self.loadings, code_covariances)
        crosses[:, :, :-1] += covariances
        squares += np.sum(covariances * self.loadings, axis=2) + missing * self.noise
        return FactorStatistics(codes[:, -1, -1].copy(), crosses, codes, squares, self.means)


class _MaskedFactorWorker(Worker):
    """Buffers and sums of one thread.

    `deviations` (K, d, block) are the rows less each mean, with missing values at their conditional
    means; `codes_of_rows` (K, q + 1, block) are the posterior means of the factors, then 1.
    """

    def __init__(self, kernel):
        self.kernel = kernel
        K, d, q = kernel.loadings.shape
        self.deviations = np.empty((K, d, kernel.block))
        self.codes_of_rows = np.empty((K, q + 1, kernel.block))
        self.codes_of_rows[:, -1] = 1.0
        self.crosses = np.zeros((K, d, q + 1))
        self.codes = np.zeros((K, q + 1, q + 1))
        self.squares = np.zeros((K, d))
        # Weights of the rows that miss a feature, and the sums of their factors' covariances.
        self.missing = np.zeros((K, d))
        self.code_covariances = np.zeros((K, d, q**2))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel = self.kernel
        q = kernel.n_factors
        self.n_rows = block.shape[1]
        self.holes = np.isnan(block)
        observed = np.subtract(1.0, self.holes)
        self.firsts, runs = _runs(self.holes)
        self.covariances = []  # posterior covariances (q, q, G) of the factors, by component
        logits = kernel.log_noise @ observed
        for k, mean in enumerate(kernel.means):
            deviations = self.deviations[k, :, : self.n_rows]
            codes = self.codes_of_rows[k, :-1, : self.n_rows]
            np.subtract(block, mean[:, None], out=deviations)
            np.copyto(deviations, 0.0, where=self.holes)
            precisions = _matmul_in_batches(kernel.products[k], observed[:, self.firsts])
            precisions = precisions.reshape(q, q, -1)
            precisions[np.arange(q), np.arange(q)] += 1.0
            covariances, log_determinants = _inverse(precisions)
            self.covariances.append(covariances)
            covariances_of_rows = np.take(covariances, runs, axis=2)
            encoded = kernel.encoders[k] @ deviations
            np.einsum("ijb,jb->ib", covariances_of_rows, encoded, out=codes)
            means = kernel.loadings[k] @ codes
            residuals = deviations - means
            residuals *= observed
            residuals *= residuals
            logits[k] += log_determinants[runs]
            logits[k] += kernel.precisions[k] @ residuals
            logits[k] += np.einsum("ij,ij->j", codes, codes)
            np.copyto(deviations, means, where=self.holes)
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        q = kernel.n_factors
        weights_of_runs = np.add.reduceat(responsibilities, self.firsts, axis=1)
        holes = self.holes[:, self.firsts].astype(np.float64)
        self.missing += weights_of_runs @ holes.T
        for k, weights in enumerate(responsibilities):
            deviations = self.deviations[k, :, : self.n_rows]
            codes = self.codes_of_rows[k, :, : self.n_rows]
            weighted_codes = codes * weights
            covariances = (self.covariances[k] * weights_of_runs[k]).reshape(q**2, -1)
            self.codes[k] += weighted_codes @ codes.T
            self.codes[k, :-1, :-1] += covariances.sum(axis=1).reshape(q, q)
            self.crosses[k] += deviations @ weighted_codes.T
            self.code_covariances[k] += holes @ covariances.T
            self.squares[k] += (deviations * deviations) @ weights


_KERNELS = {
    "full": MaskedGaussianKernel,
    "tied": MaskedGaussianKernel,
    "diag": MaskedNaturalKernel,
    "spherical": MaskedNaturalKernel,
    "low_rank": MaskedFactorKernel,
}


def _runs(mask):
    """Where runs of equal columns of a mask (d, B) start (G,), and the run of each column (B,)."""
    is_first = np.append(True, (mask[:, 1:] != mask[:, :-1]).any(axis=0))
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def _matmul_in_batches(matrix, columns, batch=16):
    """Product of a matrix (p, d) and columns (d, n), whose digits do not depend on n.

    BLAS rounds products of different shapes differently, so every product is of one shape.
    """
    d, n = columns.shape
    padded = np.zeros((-(-n // batch) * batch, d))
    padded[:n] = columns.T
    products = matrix @ padded.reshape(-1, batch, d).transpose(0, 2, 1)
    return products.transpose(1, 0, 2).reshape(len(matrix), -1)[:, :n]


def _inverse(matrices):
    """Inverses (w, w, n) of symmetric positive definite matrices (w, w, n), and log|A| (n,).

    The matrices may be overwritten.
    """
    width = len(matrices)
    if width > MAX_SWEPT:
        # Scaled to unit diagonals, so that the units of the features do not choose the pivots.
        scales = np.sqrt(np.diagonal(matrices)).T  # (w, n)
        matrices = matrices / (scales[:, None] * scales)
        stacked = np.ascontiguousarray(matrices.transpose(2, 0, 1))
        inverses = np.linalg.inv(stacked).transpose(1, 2, 0) / (scales[:, None] * scales)
        log_determinants = np.linalg.slogdet(stacked)[1] + 2.0 * np.log(scales).sum(axis=0)
        return np.ascontiguousarray(inverses), log_determinants
    # Gauss-Jordan elimination in place; the determinant is the product of the pivots.
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
