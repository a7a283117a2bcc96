"""One E-step on a block of rows, for each covariance family, with NumPy or torch arrays.

A kernel holds arrays derived from the current parameters; `worker()` makes the buffers of one
thread. A worker takes a block of B rows, transposed to (d, B) so that products run along memory.
`log_joint` returns log joint densities (K, B); `add` then takes responsibilities (K, B) and adds
the block's statistics. Rows and means are relative to one origin near the data.

Queries in NumPy have no statistics. There, the kernel's own `log_joint` takes a stack of S small
blocks (S, B, d) and returns log joint densities (S, K, B). All its products are of one shape, so
that the digits of a row do not depend on S, and so small that BLAS keeps them on one thread.
"""

from functools import cached_property
from typing import Any

import numpy as np

from probgen.gaussians.statistics import (
    DiagonalStatistics,
    FactorStatistics,
    FullStatistics,
    SphericalStatistics,
    TiedStatistics,
)


def block_rows(width, arrays):
    """Rows of a block, a power of two, if each row takes width float64 numbers.

    A block stays in a core's cache, or fills a GPU.
    """
    if arrays.on_device:
        return min(max(_power_of_two(2**27 // width), 1024), 2**17)
    return min(max(_power_of_two(2**18 // width), 256), 2048)


# Multiplications of a product of matrices that BLAS never divides among threads.
SERIAL_PRODUCT = 2**18
# Numbers of the work space of a query, few enough to stay in a cache.
STACK_NUMBERS = 2**17


def query_rows(cost):
    """Rows of a block of a query, a power of two, if each takes `cost` multiplications.

    Few, so that one row does not pay for many, and enough for products of matrices.
    """
    return min(max(_power_of_two(SERIAL_PRODUCT // cost), 8), 64)


def _power_of_two(number):
    """The largest power of two up to a whole number, at least 1."""
    return 1 << max(int(number).bit_length() - 1, 0)


def _product(matrix, stack):
    """Products (S, m, B) of a matrix (m, p) and a stack (S, p, B), of panels of the matrix."""
    m, p = matrix.shape
    panel = max(SERIAL_PRODUCT // (p * stack.shape[-1]), 1)
    if m <= panel:
        return np.matmul(matrix, stack)
    products = np.empty((len(stack), m, stack.shape[-1]))
    for start in range(0, m, panel):
        np.matmul(matrix[start : start + panel], stack, out=products[:, start : start + panel])
    return products


def _summed(arrays, workers, *names):
    """Sums over the workers of their arrays of these names, in NumPy."""
    return [sum(arrays.to_numpy(getattr(worker, name)) for worker in workers) for name in names]


class Worker:
    """Buffers and sums of one thread; base of the workers of all kernels."""

    kernel: Any

    def block_buffer(self, n_features):
        """Buffer (d, B) in which blocks for log_joint are best written."""
        return self.kernel.arrays.empty((n_features, self.kernel.block))


class NaturalKernel:
    """Gaussians as an exponential family.

    Log joint densities are theta @ phi(x), and statistics are responsibilities @ phi'. `fill`
    writes phi (p, B) of a block, whose first rows are 1 and x; `theta` is (K, p); `unpack` turns
    sums (K, p) of phi into statistics.
    """

    is_centered = False

    def __init__(self, arrays, theta, fill, unpack):
        self.arrays = arrays
        self.fill = fill
        self.unpack = unpack
        self.theta = arrays.asarray(theta)
        self.n_components, self.width = theta.shape
        self.block = block_rows(self.width, arrays)

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * self.width

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        phi = np.empty((len(stack), self.width, stack.shape[1]))
        self.fill(np, stack.transpose(2, 0, 1), phi.transpose(1, 0, 2))
        return _product(self.theta, phi)

    def worker(self):
        """Buffers and sums of one thread."""
        return NaturalWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        (sums,) = _summed(self.arrays, workers, "sums")
        return self.unpack(sums)


class NaturalWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        arrays = kernel.arrays
        self.phi = arrays.empty((kernel.width, kernel.block))
        self.logits = arrays.empty((kernel.n_components, kernel.block))
        self.sums = arrays.zeros((kernel.n_components, kernel.width))

    def block_buffer(self, n_features):
        """The rows of phi that hold x, so that x need not be copied into phi."""
        return self.phi[1 : n_features + 1]

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B), in a buffer of the worker's."""
        xp = self.kernel.arrays.xp
        self.rows = block.shape[1]
        phi = self.phi[:, : self.rows]
        self.kernel.fill(xp, block, phi)
        # The buffer has the shape of a whole block; the last block may be shorter.
        if self.rows == self.kernel.block:
            return xp.matmul(self.kernel.theta, phi, out=self.logits)
        return xp.matmul(self.kernel.theta, phi)

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        self.sums += responsibilities @ self.phi[:, : self.rows].T


def fill_full(xp, block, phi):
    """Write 1, x and the upper triangle of xx'."""
    d = block.shape[0]
    phi[0] = 1.0
    phi[1 : d + 1] = block
    start = d + 1
    for i in range(d):
        xp.multiply(block[i:], block[i : i + 1], out=phi[start : start + d - i])
        start += d - i


def fill_diagonal(xp, block, phi):
    """Write 1, x and x * x."""
    d = block.shape[0]
    phi[0] = 1.0
    phi[1 : d + 1] = block
    xp.multiply(block, block, out=phi[d + 1 :])


def fill_spherical(xp, block, phi):
    """Write 1, x and x'x."""
    phi[0] = 1.0
    phi[1:-1] = block
    phi[-1] = (block * block).sum(0)


def unpack_full(sums):
    """FullStatistics of (K, p) sums of phi."""
    n_components, width = sums.shape
    d = int((np.sqrt(8 * width + 1) - 3) / 2)  # width is 1 + d + d (d + 1) / 2
    i, j = np.triu_indices(d)
    squares = np.empty((n_components, d, d))
    squares[:, i, j] = sums[:, d + 1 :]
    squares[:, j, i] = sums[:, d + 1 :]
    return FullStatistics(sums[:, 0], sums[:, 1 : d + 1], squares, np.zeros((n_components, d)))


def unpack_diagonal(sums):
    """DiagonalStatistics of (K, 2 d + 1) sums of phi."""
    d = (sums.shape[1] - 1) // 2
    centers = np.zeros((len(sums), d))
    return DiagonalStatistics(sums[:, 0], sums[:, 1 : d + 1], sums[:, d + 1 :], centers)


def unpack_spherical(sums):
    """SphericalStatistics of (K, d + 2) sums of phi."""
    centers = np.zeros((len(sums), sums.shape[1] - 2))
    return SphericalStatistics(sums[:, 0], sums[:, 1:-1], sums[:, -1], centers)


class FactoredKernel:
    """Full covariances through the Cholesky factors of their precisions.

    It serves many features or narrow components. Squares are taken about the current means, so that
    nothing cancels.
    """

    is_centered = True

    panel = 64

    def __init__(self, arrays, log_constants, means, precisions_cholesky):
        self.arrays = arrays
        self.n_components, self.n_features = means.shape
        self.means = means
        self.log_constants = log_constants
        self.precisions_cholesky = precisions_cholesky
        if arrays.on_device:
            self.block = block_rows(2 * self.n_features, arrays)
        else:
            self.block = 1024

    @cached_property
    def factors(self):
        """Factors transposed to lower triangles: rows j:e of a product need the first e features.

        They are made for the E-step alone.
        """
        factors = [np.ascontiguousarray(factor.T) for factor in self.precisions_cholesky]
        return [self.arrays.asarray(factor) for factor in factors]

    @cached_property
    def centers(self):
        """Means (K, d, 1) on the device."""
        return self.arrays.asarray(self.means[:, :, None])

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * self.n_features**2

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        n_blocks, n_rows, d = stack.shape
        panel = min(self.panel, _power_of_two(SERIAL_PRODUCT // (n_rows * d)))
        step = max(STACK_NUMBERS // stack.size, 1)
        logits = np.empty((self.n_components, n_blocks, n_rows))
        for k in range(0, self.n_components, step):
            members = slice(k, k + step)
            centred = stack - self.means[members, None, None]  # (K, S, B, d)
            whitened = np.empty_like(centred)
            for j in range(0, d, panel):
                e = min(j + panel, d)
                factors = self.precisions_cholesky[members, None, :e, j:e]
                np.matmul(centred[..., :e], factors, out=whitened[..., j:e])
            np.einsum("ksbd,ksbd->ksb", whitened, whitened, out=logits[members])
        logits *= -0.5
        logits += self.log_constants[:, None, None]
        return logits.transpose(1, 0, 2)

    def worker(self):
        """Buffers and sums of one thread."""
        return _FactoredWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        counts, sums = _summed(self.arrays, workers, "counts", "sums")
        # Squares are made by the first block; queries need none, and idle workers have none.
        (squares,) = _summed(self.arrays, [w for w in workers if w.squares is not None], "squares")
        return FullStatistics(counts, sums - counts[:, None] * self.means, squares, self.means)


class _FactoredWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        arrays = kernel.arrays
        K = kernel.n_components
        d = kernel.n_features
        self.buffer = arrays.empty((d, kernel.block))
        self.whitened = arrays.empty((d, kernel.block))
        self.logits = arrays.empty((K, kernel.block))
        self.counts = arrays.zeros(K)
        self.sums = arrays.zeros((K, d))
        self.squares = None

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B), in a buffer of the worker's."""
        kernel = self.kernel
        xp = kernel.arrays.xp
        self.rows = block.shape[1]
        self.last = block
        centred = self.buffer[:, : self.rows]
        whitened = self.whitened[:, : self.rows]
        logits = self.logits[:, : self.rows]
        for k, factor in enumerate(kernel.factors):
            xp.subtract(block, kernel.centers[k], out=centred)
            # Panels of rows skip the zeros of the triangle.
            for j in range(0, kernel.n_features, kernel.panel):
                e = min(j + kernel.panel, kernel.n_features)
                xp.matmul(factor[j:e, :e], centred[:e], out=whitened[j:e])
            logits[k] = xp.einsum("ij,ij->j", whitened, whitened)
            logits[k] *= -0.5
            logits[k] += kernel.log_constants[k]
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        xp = kernel.arrays.xp
        if self.squares is None:
            d = kernel.n_features
            self.squares = kernel.arrays.zeros((kernel.n_components, d, d))
        self.counts += responsibilities.sum(1)
        self.sums += responsibilities @ self.last.T
        # With rows scaled by roots, their squares have the weight of the row.
        roots = xp.sqrt(responsibilities)
        centred = self.buffer[:, : self.rows]
        for k in range(kernel.n_components):
            xp.subtract(self.last, kernel.centers[k], out=centred)
            centred *= roots[k]
            self.squares[k] += centred @ centred.T


class TiedKernel:
    """One covariance for all components: rows are whitened once, and their squares summed once."""

    is_centered = False

    def __init__(self, arrays, log_constants, means, precision_cholesky):
        self.arrays = arrays
        self.n_components, self.n_features = means.shape
        # |P'(x - mean)|^2 = |P'x|^2 - 2 (P'mean)'(P'x) + |P'mean|^2, with the first term in common.
        whitened_means = means @ precision_cholesky
        self.factor = arrays.asarray(np.ascontiguousarray(precision_cholesky.T))
        self.linear = arrays.asarray(whitened_means)
        constants = log_constants - 0.5 * np.sum(whitened_means**2, axis=1)
        self.constants = arrays.asarray(constants[:, None])
        self.block = block_rows(2 * self.n_features, arrays)

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_features * (self.n_features + self.n_components)

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        whitened = _product(self.factor, np.ascontiguousarray(stack.swapaxes(1, 2)))
        logits = _product(self.linear, whitened)
        logits += self.constants
        whitened *= whitened
        logits -= 0.5 * whitened.sum(axis=1, keepdims=True)
        return logits

    def worker(self):
        """Buffers and sums of one thread."""
        return _TiedWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        counts, sums, squares = _summed(self.arrays, workers, "counts", "sums", "squares")
        return TiedStatistics(counts, sums, squares, np.zeros_like(sums))


class _TiedWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        arrays = kernel.arrays
        K = kernel.n_components
        d = kernel.n_features
        self.counts = arrays.zeros(K)
        self.sums = arrays.zeros((K, d))
        self.squares = arrays.zeros((d, d))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel = self.kernel
        self.last = block
        whitened = kernel.factor @ block
        logits = kernel.linear @ whitened
        logits += kernel.constants
        whitened *= whitened
        logits -= 0.5 * whitened.sum(0)
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        self.counts += responsibilities.sum(1)
        self.sums += responsibilities @ self.last.T
        # Summed over the components, the responsibilities are the weights of the rows.
        weighted = self.last * self.kernel.arrays.xp.sqrt(responsibilities.sum(0))
        self.squares += weighted @ weighted.T


class TiedFactoredKernel(FactoredKernel):
    """One covariance for all narrow components: `precisions_cholesky` repeats one factor."""

    def statistics(self, workers):
        """The workers' statistics, added up."""
        full = super().statistics(workers)
        return TiedStatistics(full.counts, full.sums, full.squares.sum(axis=0), full.centers)


class CenteredKernel:
    """Independent features of narrow components: squares are taken about the current means.

    `pack` turns squares (K, d) into those of the statistics' layout.
    """

    is_centered = True

    def __init__(self, arrays, log_constants, means, precisions, pack):
        self.arrays = arrays
        self.pack = pack
        self.n_components, self.n_features = means.shape
        self.means = means
        self.log_constants = log_constants
        self.centers = arrays.asarray(means[:, :, None])
        self.precisions = arrays.asarray(precisions)
        self.block = block_rows(2 * self.n_features, arrays)

    @property
    def cost(self):
        """Multiplications for a row."""
        return 4 * self.n_components * self.n_features

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        n_blocks, n_rows, _ = stack.shape
        step = max(STACK_NUMBERS // stack.size, 1)
        logits = np.empty((self.n_components, n_blocks, n_rows))
        for k in range(0, self.n_components, step):
            members = slice(k, k + step)
            centred = stack - self.means[members, None, None]  # (K, S, B, d)
            centred *= centred
            centred *= self.precisions[members, None, None]
            np.sum(centred, axis=-1, out=logits[members])
        logits *= -0.5
        logits += self.log_constants[:, None, None]
        return logits.transpose(1, 0, 2)

    def worker(self):
        """Buffers and sums of one thread."""
        return _CenteredWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        counts, sums, squares = _summed(self.arrays, workers, "counts", "sums", "squares")
        return self.pack(counts, sums, squares, self.means)


class _CenteredWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        arrays = kernel.arrays
        K = kernel.n_components
        d = kernel.n_features
        self.buffer = arrays.empty((d, kernel.block))
        self.logits = arrays.empty((K, kernel.block))
        self.counts = arrays.zeros(K)
        self.sums = arrays.zeros((K, d))
        self.squares = arrays.zeros((K, d))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B), in a buffer of the worker's."""
        kernel = self.kernel
        n_rows = block.shape[1]
        self.last = block
        centred = self.buffer[:, :n_rows]
        logits = self.logits[:, :n_rows]
        for k in range(kernel.n_components):
            kernel.arrays.xp.subtract(block, kernel.centers[k], out=centred)
            centred *= centred
            logits[k] = kernel.precisions[k] @ centred
            logits[k] *= -0.5
            logits[k] += kernel.log_constants[k]
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        centred = self.buffer[:, : self.last.shape[1]]
        self.counts += responsibilities.sum(1)
        for k in range(kernel.n_components):
            kernel.arrays.xp.subtract(self.last, kernel.centers[k], out=centred)
            self.sums[k] += centred @ responsibilities[k]
            centred *= centred
            self.squares[k] += centred @ responsibilities[k]


def pack_spherical(counts, sums, squares, centers):
    """SphericalStatistics of squares (K, d) by feature."""
    return SphericalStatistics(counts, sums, squares.sum(axis=1), centers)


class FactorAnalysisKernel:
    """Covariances loadings @ loadings' + diag(noise), without ever forming a (d, d) matrix.

    For component k, let A = loadings' / noise and M = 1 + A loadings = C C'. The squared length of
    the whitened row is |(x - mean) / sqrt(noise)|^2 - |C^-1 A (x - mean)|^2, and the factors have
    the posterior mean E[z given x] = C'^-1 C^-1 A (x - mean). Halves are C^-1 A (x - mean).
    """

    is_centered = False

    def __init__(self, arrays, log_constants, means, loadings, noise):
        self.arrays = arrays
        self.n_components, self.n_features, self.n_factors = loadings.shape
        self.means = means
        self.noise = noise
        weighted = loadings.transpose(0, 2, 1) / noise[:, None, :]  # A, (K, q, d)
        factors = np.linalg.cholesky(np.eye(self.n_factors) + weighted @ loadings)
        inverses = np.linalg.inv(factors)
        self.code_covariances = inverses.transpose(0, 2, 1) @ inverses
        self.decoders = arrays.asarray(inverses.transpose(0, 2, 1))
        log_pivots = np.log(np.diagonal(factors, axis1=1, axis2=2))
        log_determinants = np.log(noise).sum(axis=1) + 2.0 * log_pivots.sum(axis=1)
        self.block = block_rows(self.n_features, arrays)
        self.prepare(log_constants - 0.5 * log_determinants, inverses @ weighted)

    def prepare(self, constants, halves):
        """Set the arrays of the workers, from log constants (K,) and C^-1 A (K, q, d)."""
        asarray = self.arrays.asarray
        K, q, d = halves.shape
        half_means = np.einsum("kqd,kd->kq", halves, self.means)
        self.halves = asarray(halves.reshape(K * q, d))
        self.half_offsets = asarray(half_means.reshape(K * q, 1))
        self.quadratic = asarray(-0.5 / self.noise)
        self.linear = asarray(self.means / self.noise)
        constants = constants - 0.5 * np.sum(self.means**2 / self.noise, axis=1)
        self.constants = asarray(constants[:, None])

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * self.n_features * (self.n_factors + 2)

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        block = np.ascontiguousarray(stack.swapaxes(1, 2))  # (S, d, B)
        halves = _product(self.halves, block)
        halves -= self.half_offsets
        halves *= halves
        logits = _product(self.linear, block)
        block *= block
        logits += _product(self.quadratic, block)
        logits += self.constants
        shape = (len(stack), self.n_components, self.n_factors, stack.shape[1])
        logits += 0.5 * halves.reshape(shape).sum(axis=2)
        return logits

    def worker(self):
        """Buffers and sums of one thread."""
        return _FactorAnalysisWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        crosses, codes, squares = _summed(self.arrays, workers, "crosses", "codes", "squares")
        # Codes are augmented by 1. The workers sum outer products of posterior means, to which each
        # row adds the posterior covariance, which is the same for all rows of a component.
        counts = codes[:, -1, -1].copy()
        codes[:, :-1, :-1] += counts[:, None, None] * self.code_covariances
        return FactorStatistics(counts, crosses.transpose(0, 2, 1), codes, squares, self.centers())

    def centers(self):
        """Centres of the statistics, (K, d)."""
        return np.zeros_like(self.means)


class _FactorAnalysisWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        zeros = kernel.arrays.zeros
        K, d, q = kernel.n_components, kernel.n_features, kernel.n_factors
        self.crosses = zeros((K, q + 1, d))
        self.codes = zeros((K, q + 1, q + 1))
        self.squares = zeros((K, d))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel = self.kernel
        self.last = block
        self.last_squares = block * block
        halves = kernel.halves @ block
        halves -= kernel.half_offsets
        self.halves = halves.reshape(kernel.n_components, kernel.n_factors, -1)
        logits = kernel.quadratic @ self.last_squares
        logits += kernel.linear @ block
        logits += kernel.constants
        logits += 0.5 * (self.halves * self.halves).sum(1)
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        codes, weighted = self.weighted_codes(responsibilities)
        self.codes += weighted @ codes.swapaxes(1, 2)
        n_rows = self.last.shape[1]
        crosses = weighted.reshape(-1, n_rows) @ self.last.T
        self.crosses += crosses.reshape(self.crosses.shape)
        self.squares += responsibilities @ self.last_squares.T

    def weighted_codes(self, responsibilities):
        """Augmented codes (K, q + 1, B) of the last block, without and with responsibilities."""
        K, q, n_rows = self.halves.shape
        codes = self.kernel.arrays.empty((K, q + 1, n_rows))
        self.kernel.arrays.xp.matmul(self.kernel.decoders, self.halves, out=codes[:, :-1])
        codes[:, -1] = 1.0
        return codes, codes * responsibilities[:, None]


class CenteredFactorAnalysisKernel(FactorAnalysisKernel):
    """Narrow factor analysers far from the origin: squares are taken about the current means."""

    is_centered = True

    def prepare(self, constants, halves):
        """Set the arrays of the workers, from log constants (K,) and C^-1 A (K, q, d)."""
        asarray = self.arrays.asarray
        self.halves = asarray(halves)
        self.quadratic = asarray(-0.5 / self.noise)
        self.offsets = asarray(self.means[:, :, None])
        self.constants = asarray(constants[:, None])

    def log_joint(self, stack):
        """Log of weight times density (S, K, B) of a stack of rows (S, B, d)."""
        block = np.ascontiguousarray(stack.swapaxes(1, 2))  # (S, d, B)
        logits = np.empty((len(stack), self.n_components, stack.shape[1]))
        for k in range(self.n_components):
            centred = block - self.offsets[k]
            halves = _product(self.halves[k], centred)
            halves *= halves
            centred *= centred
            centred *= self.quadratic[k, :, None]
            logits[:, k] = centred.sum(axis=1)
            logits[:, k] += 0.5 * halves.sum(axis=1)
        logits += self.constants
        return logits

    def worker(self):
        """Buffers and sums of one thread."""
        return _CenteredFactorAnalysisWorker(self)

    def centers(self):
        """Centres of the statistics, (K, d)."""
        return self.means


class _CenteredFactorAnalysisWorker(_FactorAnalysisWorker):
    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel = self.kernel
        arrays = kernel.arrays
        n_rows = block.shape[1]
        self.last = block
        self.halves = arrays.empty((kernel.n_components, kernel.n_factors, n_rows))
        logits = arrays.empty((kernel.n_components, n_rows))
        for k in range(kernel.n_components):
            centred = block - kernel.offsets[k]
            arrays.xp.matmul(kernel.halves[k], centred, out=self.halves[k])
            centred *= centred
            logits[k] = kernel.quadratic[k] @ centred
        logits += kernel.constants
        logits += 0.5 * (self.halves * self.halves).sum(1)
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        codes, weighted = self.weighted_codes(responsibilities)
        self.codes += weighted @ codes.swapaxes(1, 2)
        for k in range(self.kernel.n_components):
            centred = self.last - self.kernel.offsets[k]
            self.crosses[k] += weighted[k] @ centred.T
            centred *= centred
            self.squares[k] += centred @ responsibilities[k]
