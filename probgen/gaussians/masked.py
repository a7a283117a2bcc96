"""E-steps on blocks of rows with NaN, each row with a pattern of its own, for each covariance
family.

The kernels keep the promises of `probgen.gaussians.kernels` in NumPy. Where features depend on one
another, a row takes a small matrix of its own: as wide as what it misses, as what it holds, or as
the number of factors. Neighbours of one pattern share theirs.
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

# Up to this width, inverses are quicker one pivot at a time over all rows than one matrix at a
# time.
MAX_SWEPT = 16
# Numbers that the buffers of a block aim at, and that a row's matrices may take at most: 4 and 32
# MB.
BLOCK_NUMBERS = 2**19
MAX_NUMBERS = 2**22


@dataclass(frozen=True)
class MaskedComponents:
    """Components as the densities of what is observed in rows with NaN, for an EMEngine.

    Attributes
    ----------
    components : GaussianComponents
    width : int
        Size of a row's matrix, at least the number of its missing features, or of its observed
        ones.
    is_by_missing : bool
        Which of the two.
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

    def shifted(self, offset):
        """The density of rows with offset (d,) subtracted."""
        return replace(self, components=self.components.shifted(offset))

    def kernel(self, arrays):
        """The E-step of these components."""
        return _KERNELS[self.components.covariance_type](self)


@dataclass(frozen=True)
class FilledComponents(MaskedComponents):
    """Components whose kernel answers a block with its rows (d, B), the missing values replaced by
    their means."""

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
        posterior = responsibilities(log_joint.T).T
        filled = self.kernel.means.T @ posterior
        if self.worker.lifts is not None:
            lifts = self.worker.lifts[:, : len(block), : block.shape[1]]
            filled += np.einsum("kib,kb->ib", lifts, posterior)
        return filled


def widths_of(components, n_missing):
    """Sizes of the matrices of rows that miss so many features each, and whether they are of the
    missing ones.

    Sizes are few, so that the matrices of many rows are inverted together: 1, 2, 4, 8, ...
    """
    d = components.n_features
    if components.covariance_type == "low_rank":
        return np.full_like(n_missing, components.n_factors), np.ones(len(n_missing), dtype=bool)
    if components.covariance_type in ("diag", "spherical"):
        return np.ones_like(n_missing), np.ones(len(n_missing), dtype=bool)
    sizes = np.minimum(n_missing, d - n_missing)
    return 2 ** np.ceil(np.log2(sizes)).astype(np.intp), 2 * n_missing <= d


def can_mask(components, width):
    """Whether the kernels of masked components keep their digits, in bounded memory."""
    K, d = components.means.shape
    if components.covariance_type in ("diag", "spherical"):
        variances = components.covariances.reshape(K, -1)
        return np.sum(components.means**2 / variances, axis=1).max() <= MAX_CANCELLATION
    if _numbers_of_row(K, d, width) > MAX_NUMBERS:
        return False
    if components.covariance_type == "low_rank":
        return K * d * width**2 <= MAX_NUMBERS
    # How far each variance exceeds what the other features leave of it bounds the digits lost in
    # inverses of parts.
    precisions = np.sum(components.precisions_cholesky**2, axis=-1)
    return (
        precisions * np.diagonal(components.covariances, axis1=-2, axis2=-1)
    ).max() <= MAX_CANCELLATION


def _numbers_of_row(n_components, n_features, width):
    """Numbers that K matrices (width, width) and K filled rows take, work space included."""
    return (n_components + 4) * (width**2 + n_features)


def _block_of(numbers):
    """Rows of a block, a power of two, of which each takes some numbers."""
    return int(np.clip(2 ** int(np.log2(max(BLOCK_NUMBERS / numbers, 1))), 1, 1024))


class MaskedGaussianKernel:
    """Full or tied covariances, of one or K upper factors P of the precisions P P'.

    Let z be a row less the mean, 0 where missing. Where less is missing than observed, let A = (P
    P')_mm be the precision of the missing features given the observed ones. Their mean is -A^-1 (P
    P' z)_m off their own; filled in with it, z has the squared length |P' z|^2 of the observed part
    alone, whose covariance has the log-determinant log|A| - log|P P'|. Elsewhere let A = S_oo be
    the covariance S of the observed features. Then the squared length is z_o' A^-1 z_o, and the
    missing features have mean S_mo A^-1 z_o and covariance (S - S_.o A^-1 S_o.)_mm. A is filled up
    to one width by features of unit variance of their own.
    """

    arrays = NumpyArrays()

    def __init__(self, masked):
        components, self.width, self.is_by_missing = (
            masked.components,
            masked.width,
            masked.is_by_missing,
        )
        self.means = components.means
        self.n_components, d = self.means.shape
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
        self.matrices = np.zeros((len(matrices), d + self.width, d + self.width))
        self.matrices[:] = np.eye(d + self.width)
        self.matrices[:, :d, :d] = matrices
        self.block = _block_of(_numbers_of_row(self.n_components, d, self.width))

    @property
    def cost(self):
        """Multiplications for a row."""
        return self.n_components * (3 * self.n_features**2 + 10 * self.width**3)

    def worker(self):
        """Buffers and sums of one thread."""
        return _MaskedGaussianWorker(self)

    def statistics(self, workers):
        """The workers' statistics, added up."""
        counts, sums, squares, inverses = (
            sum(getattr(worker, name) for worker in workers)
            for name in ("counts", "sums", "squares", "inverse_sums")
        )
        d = self.n_features
        spread = inverses.reshape(self.matrices.shape)[:, :d, :d]
        if not self.is_by_missing:
            covariances = self.matrices[:, :d, :d]
            weights = counts.sum(keepdims=True) if self.is_tied else counts
            spread = weights[:, None, None] * covariances - covariances @ spread @ covariances
        if self.is_tied:
            return TiedStatistics(counts, sums, squares.sum(axis=0) + spread[0], self.means)
        return FullStatistics(counts, sums, squares + spread, self.means)


class _MaskedGaussianWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        K, d, size = kernel.n_components, kernel.n_features, kernel.matrices.shape[1]
        self.lifts, self.products = (
            np.zeros((K, size, kernel.block)),
            np.zeros((size, kernel.block)),
        )
        self.counts, self.sums, self.squares = np.zeros(K), np.zeros((K, d)), np.zeros((K, d, d))
        self.inverse_sums = np.zeros((len(kernel.matrices), size**2))

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel, (d, self.n_rows) = self.kernel, block.shape
        holes = np.isnan(block)
        index = self._chosen(holes if kernel.is_by_missing else ~holes)
        self.firsts, groups = _runs(holes)
        heads = index[:, self.firsts]
        self.pairs = heads[:, None] * len(self.products) + heads
        laws = [_inverse(np.take(matrix, self.pairs)) for matrix in kernel.matrices]
        self.inverses = [inverses for inverses, _ in laws]
        logits = np.empty((kernel.n_components, self.n_rows))
        regress = self._regress_by_missing if kernel.is_by_missing else self._regress_by_observed
        for k, mean in enumerate(kernel.means):
            lift = self.lifts[k, :, : self.n_rows]
            np.subtract(block, mean[:, None], out=lift[:d])
            np.copyto(lift[:d], 0.0, where=holes)
            law = k % len(laws)
            inverses, log_determinants = laws[law]
            regress(law, np.take(inverses, groups, axis=2), index, holes, lift, logits[k])
            logits[k] += log_determinants[groups]
        logits -= LOG_2PI * holes.sum(axis=0)
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def _regress_by_missing(self, law, inverses, index, holes, lift, lengths):
        """Fill in a lift (d + width, B), and write the squared lengths (B,) of what is observed."""
        kernel, d, products = self.kernel, self.kernel.n_features, self.products[:, : self.n_rows]
        np.matmul(kernel.matrices[law, :d, :d], lift[:d], out=products[:d])
        pulls = np.einsum("ijb,jb->ib", inverses, np.take_along_axis(products, index, axis=0))
        np.put_along_axis(lift, index, -pulls, axis=0)
        whitened = np.matmul(kernel.factors[law], lift[:d], out=products[:d])
        np.einsum("ij,ij->j", whitened, whitened, out=lengths)

    def _regress_by_observed(self, law, inverses, index, holes, lift, lengths):
        """Fill in a lift (d + width, B), and write the squared lengths (B,) of what is observed."""
        kernel, d, products = self.kernel, self.kernel.n_features, self.products[:, : self.n_rows]
        observed = np.take_along_axis(lift, index, axis=0)
        solved = np.einsum("ijb,jb->ib", inverses, observed)
        np.einsum("ij,ij->j", observed, solved, out=lengths)
        products[:d] = 0.0
        np.put_along_axis(products, index, solved, axis=0)
        np.copyto(lift[:d], kernel.matrices[law, :d, :d] @ products[:d], where=holes)

    def _chosen(self, mask):
        """Indices (width, B) of features of a mask (d, B), filled up by those beyond the d of the
        rows."""
        kernel = self.kernel
        n_chosen = mask.sum(axis=0)
        # The columns that pad a block of queries have no NaN, and no need of an answer.
        mask = mask & (n_chosen <= kernel.width)
        n_chosen = mask.sum(axis=0)
        index = np.repeat(
            np.arange(kernel.n_features, len(self.products))[:, None], len(n_chosen), axis=1
        )
        rows, features = np.nonzero(mask.T)
        starts = np.cumsum(n_chosen) - n_chosen
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
        weights = np.add.reduceat(responsibilities, self.firsts, axis=1)
        weights = weights.sum(axis=0, keepdims=True) if kernel.is_tied else weights
        for total, inverses, weight in zip(self.inverse_sums, self.inverses, weights, strict=True):
            total += np.bincount(
                self.pairs.ravel(), (inverses * weight).ravel(), minlength=len(total)
            )


class MaskedNaturalKernel(NaturalKernel):
    """Independent features: an exponential family in 1, and whether a feature is observed, it and
    its square if so."""

    def __init__(self, masked):
        components = masked.components
        means = self.means = components.means
        variances = np.broadcast_to(components.covariances.reshape(len(means), -1), means.shape)
        self.variances, self.is_diagonal = variances, components.covariance_type == "diag"
        constants = -0.5 * (np.log(variances) + LOG_2PI + means**2 / variances)
        theta = np.column_stack(
            [components.log_weights(), constants, means / variances, -0.5 / variances]
        )
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
    """Write 1, and for each feature whether it is observed, its value and its square, 0 where it is
    missing."""
    d = block.shape[0]
    phi[0] = 1.0
    xp.equal(block, block, out=phi[1 : d + 1], casting="unsafe")
    phi[d + 1 : 2 * d + 1] = 0.0
    xp.copyto(phi[d + 1 : 2 * d + 1], block, where=phi[1 : d + 1] > 0.0)
    xp.multiply(phi[d + 1 : 2 * d + 1], phi[d + 1 : 2 * d + 1], out=phi[2 * d + 1 :])


class _MaskedNaturalWorker(NaturalWorker):
    # What is observed tells nothing of what is not.
    lifts = None

    # Its phi has masks where that of whole rows has x.
    block_buffer = Worker.block_buffer


class MaskedFactorKernel:
    """Covariances loadings @ loadings' + diag(noise), through each row's posterior of the q
    factors.

    With W the loadings and s the noise of the observed features, and z the row less the mean there,
    the factors have posterior covariance C = (1 + W' (W / s))^-1 and mean c = C W' (z / s); the
    squared length of the whitened row is |(z - W c) / sqrt(s)|^2 + |c|^2.
    """

    arrays = NumpyArrays()

    def __init__(self, masked):
        components = masked.components
        self.means, self.loadings, self.noise = (
            components.means,
            components.loadings,
            components.noise,
        )
        loadings, noise = self.loadings, self.noise
        self.n_components, self.n_features, self.n_factors = loadings.shape
        self.constants = components.log_weights()
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
        # Missing features follow the factors, whose posterior covariances were summed where each
        # was missing.
        unseen = np.einsum("kdq,kdqp->kdp", self.loadings, spread.reshape(*self.loadings.shape, -1))
        crosses[:, :, :-1] += unseen
        squares += np.sum(unseen * self.loadings, axis=2) + missing * self.noise
        return FactorStatistics(codes[:, -1, -1].copy(), crosses, codes, squares, self.means)


class _MaskedFactorWorker(Worker):
    def __init__(self, kernel):
        self.kernel = kernel
        K, d, q = kernel.n_components, kernel.n_features, kernel.n_factors
        self.lifts, self.codes_of_rows = (
            np.empty((K, d, kernel.block)),
            np.empty((K, q + 1, kernel.block)),
        )
        self.codes_of_rows[:, -1] = 1.0
        self.crosses, self.codes = np.zeros((K, d, q + 1)), np.zeros((K, q + 1, q + 1))
        self.squares, self.missing, self.spread = (
            np.zeros((K, d)),
            np.zeros((K, d)),
            np.zeros((K, d, q**2)),
        )

    def log_joint(self, block):
        """Log of weight times density, of shape (K, B)."""
        kernel, (_, self.n_rows) = self.kernel, block.shape
        q = kernel.n_factors
        self.holes = np.isnan(block)
        observed = np.subtract(1.0, self.holes)
        self.firsts, groups = _runs(self.holes)
        self.covariances = []
        logits = kernel.log_noise @ observed
        for k, mean in enumerate(kernel.means):
            lift, codes = self.lifts[k, :, : self.n_rows], self.codes_of_rows[k, :-1, : self.n_rows]
            np.subtract(block, mean[:, None], out=lift)
            np.copyto(lift, 0.0, where=self.holes)
            matrices = _in_shares(kernel.products[k], observed[:, self.firsts]).reshape(q, q, -1)
            matrices[np.arange(q), np.arange(q)] += 1.0
            covariances, log_determinants = _inverse(matrices)
            self.covariances.append(covariances)
            np.einsum(
                "ijb,jb->ib",
                np.take(covariances, groups, axis=2),
                kernel.encoders[k] @ lift,
                out=codes,
            )
            means = kernel.loadings[k] @ codes
            rest = lift - means
            rest *= observed
            rest *= rest
            logits[k] += log_determinants[groups]
            logits[k] += kernel.precisions[k] @ rest
            logits[k] += np.einsum("ij,ij->j", codes, codes)
            np.copyto(lift, means, where=self.holes)
        logits *= -0.5
        logits += kernel.constants[:, None]
        return logits

    def add(self, responsibilities):
        """Add the statistics of the last block."""
        kernel = self.kernel
        weights = np.add.reduceat(responsibilities, self.firsts, axis=1)
        holes = self.holes[:, self.firsts].astype(np.float64)
        self.missing += weights @ holes.T
        for k, weight in enumerate(responsibilities):
            lift, codes = self.lifts[k, :, : self.n_rows], self.codes_of_rows[k, :, : self.n_rows]
            covariances = (self.covariances[k] * weights[k]).reshape(kernel.n_factors**2, -1)
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


def _runs(mask):
    """Where runs of equal columns of a mask (d, B) start, and the run of each column."""
    is_first = np.append(True, (mask[:, 1:] != mask[:, :-1]).any(axis=0))
    return np.flatnonzero(is_first), np.cumsum(is_first) - 1


def _in_shares(matrix, columns, share=16):
    """Product of a matrix (p, d) and columns (d, n), a fixed number at a time, so that none depends
    on how many."""
    d, n = columns.shape
    stack = np.zeros((-(-n // share) * share, d))
    stack[:n] = columns.T
    products = matrix @ stack.reshape(-1, share, d).transpose(0, 2, 1)
    return products.transpose(1, 0, 2).reshape(len(matrix), -1)[:, :n]


def _inverse(matrices):
    """Inverses (w, w, B) of symmetric positive definite matrices (w, w, B), which it may overwrite,
    and log|A| (B,)."""
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
