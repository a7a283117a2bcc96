"""Expectation-maximization over blocks of rows, and queries in blocks of one fixed shape."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from probgen.gaussians.arrays import arrays_on
from probgen.gaussians.components import origin_of
from probgen.gaussians.kernels import STACK_NUMBERS, query_rows
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.gaussians.missing import expectation_with_missing
from probgen.gaussians.threads import count_threads, single_threaded_blas

# Below this many multiplications a pass, threads cost more than they save (measured on two cores).
SERIAL_COST = 4_000_000
# Most rows of a block of a query on the CPU.
QUERY_ROWS = 1024
# A component with less than this fraction of all weight is empty.
EMPTY_SHARE = 1e-10


@dataclass
class Fit:
    """A fitted mixture and how it was reached.

    Attributes
    ----------
    components : GaussianComponents
    lower_bounds : list of float
        Mean log-likelihood of a row at each E-step, in nats.
    converged : bool
    n_reseeded : int
        Empty components that were moved.
    n_repaired : int
        Covariances of M-steps that were made positive definite.
    n_start_repaired : int
        Covariances of the start that were made positive definite.
    statistics : MomentStatistics, FactorStatistics or None
        Those of the last E-step, each component's relative to the origin of its group.
    origins : ndarray of shape (n_groups, d)
        The origins of the groups of rows.
    """

    components: Any  # of a GaussianMixture or a MixtureModel
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False
    n_reseeded: int = 0
    n_repaired: int = 0
    n_start_repaired: int = 0
    statistics: Any = None
    origins: Any = None

    @property
    def lower_bound(self):
        """Mean log-likelihood of the last E-step, in nats."""
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


class EMEngine:
    """Passes over rows on a device, with a pool of threads on the CPU; a context manager.

    It takes one of n_shares equal parts of the processors, for fits that run in parallel.
    """

    def __init__(self, device="cpu", n_shares=1):
        self.arrays = arrays_on(device)
        self.n_shares = n_shares

    def __enter__(self):
        self._stack = ExitStack()
        self._stack.enter_context(np.errstate(under="ignore"))
        self._is_limited = False
        self._pool = None
        return self

    @cached_property
    def threads(self):
        """Number of threads that work at once."""
        if self.arrays.on_device:
            return 1
        return max(1, count_threads() // self.n_shares)

    def _limit_blas(self):
        """Limit BLAS to one thread until the end, which takes longer than little work."""
        if not self._is_limited:
            self._is_limited = True
            self._stack.enter_context(single_threaded_blas())

    def __exit__(self, *exception):
        self._stack.close()

    def expectation(self, components, rows):
        """Sum of weighted log-densities of the rows, and their statistics under the components.

        Raises ValueError where squares overflow.
        """
        if rows.has_missing:
            return expectation_with_missing(self, components, rows)
        shift, kernel = _kernel(components, self.arrays)
        workers = [kernel.worker() for _ in range(self.threads)]
        origin = self.arrays.asarray((rows.origin + shift)[:, None])
        columns = None if self.arrays.on_device else rows.columns
        total = 0.0
        for data, weights in self._chunks(rows):

            def sweep(worker, starts, data=data, weights=weights):
                return _sweep(worker, data, weights, origin, starts, columns)

            starts = range(0, len(data), kernel.block)
            total += sum(self.in_threads(sweep, workers, starts, len(data) * kernel.cost))
        total = float(total)
        if not np.isfinite(total):
            raise ValueError(
                "X holds values whose squares overflow; scale its columns, such as by"
                " StandardScaler."
            )
        statistics = kernel.statistics(workers)
        return total, replace(statistics, centers=statistics.centers + shift)

    def statistics(self, components, X, responsibilities):
        """Statistics of rows (n, d) whose weighted responsibilities (n, K) are known.

        NaN are allowed where the components are masked.
        """
        shift, kernel = _kernel(components, self.arrays)
        workers = [kernel.worker() for _ in range(self.threads)]
        origin = self.arrays.asarray(np.array(shift)[:, None])

        def sweep(worker, starts):
            buffer = worker.block_buffer(X.shape[1])
            for start in starts:
                rows = self.arrays.asarray(X[start : start + kernel.block])
                shares = responsibilities[start : start + kernel.block].T
                worker.log_joint(self.arrays.transposed(rows, origin, buffer))
                worker.add(self.arrays.asarray(np.array(shares, order="C")))

        starts = range(0, len(X), kernel.block)
        self.in_threads(sweep, workers, starts, len(X) * kernel.cost)
        statistics = kernel.statistics(workers)
        return replace(statistics, centers=statistics.centers + shift)

    def query(self, components, X, write):
        """Call write(rows, log_joint) for slices of rows and their log joint densities.

        log_joint is of shape (S, K, B), of S blocks of B rows. Densities that underflow are -inf.
        Every block is padded to one shape, which depends on the components alone, so that a row's
        result does not depend on the other rows. `write` must skip the padding.
        """
        origin, kernel = _kernel(components, self.arrays, origin_of(components.means))
        if hasattr(kernel, "log_joint") and not self.arrays.on_device:
            self._query_in_stacks(kernel, X, origin, write)
        else:
            self._query_in_blocks(kernel, X, origin, write)

    def _query_in_stacks(self, kernel, X, origin, write):
        """Queries on the CPU, by stacks of small blocks."""
        block = query_rows(kernel.cost)
        d = X.shape[1]
        n_rows = block * min(max(STACK_NUMBERS // (d * block), 1), QUERY_ROWS // block)

        def score(_, starts):
            for start in starts:
                rows = X[start : start + n_rows]
                n_blocks = -(-len(rows) // block)
                stack = np.empty((n_blocks * block, d))
                np.subtract(rows, origin, out=stack[: len(rows)], dtype=np.float64)
                stack[len(rows) :] = 0.0
                with np.errstate(over="ignore", invalid="ignore"):
                    log_joint = kernel.log_joint(stack.reshape(n_blocks, block, d))
                _write_densities(write, slice(start, start + len(rows)), log_joint)

        starts = range(0, len(X), n_rows)
        n_workers = 1
        if len(starts) > 1:
            n_workers = min(self.threads, len(starts))
        self.in_threads(score, [None] * n_workers, starts, len(X) * kernel.cost)

    def _query_in_blocks(self, kernel, X, origin, write):
        """Queries on a device or with missing values, by blocks that are worth their overhead."""
        column = self.arrays.asarray(origin[:, None])
        # Small enough that a few rows do not pay for a block of thousands, and that some thousands
        # of rows keep every thread busy.
        block = min(kernel.block, 2 ** int(np.log2(max(2**28 / kernel.cost, 64))))
        if not self.arrays.on_device:
            block = min(block, QUERY_ROWS)

        def score(worker, starts):
            buffer = self.arrays.zeros((X.shape[1], block))
            for start in starts:
                rows = self.arrays.asarray(X[start : start + block])
                buffer[:, len(rows) :] = 0.0
                self.arrays.transposed(rows, column, buffer)
                with np.errstate(over="ignore", invalid="ignore"):
                    log_joint = self.arrays.to_numpy(worker.log_joint(buffer))
                _write_densities(write, slice(start, start + len(rows)), log_joint[None])

        n_workers = self.threads if len(X) > block else 1
        workers = [kernel.worker() for _ in range(n_workers)]
        self.in_threads(score, workers, range(0, len(X), block), len(X) * kernel.cost)

    def log_joint(self, components, X):
        """Log of weight times density of each row, of shape (n, K)."""
        joint = np.empty((len(X), len(components)))

        def write(rows, log_joint):
            by_row = log_joint.transpose(0, 2, 1)
            found = joint[rows]
            if len(found) < log_joint.shape[0] * log_joint.shape[2]:
                found[:] = by_row.reshape(-1, len(components))[: len(found)]
            else:
                found.reshape(by_row.shape)[:] = by_row  # without a copy in between

        self.query(components, X, write)
        return joint

    def log_densities(self, components, X):
        """Log-density of each row, of shape (n,)."""
        densities = np.empty(len(X))

        def write(rows, log_joint):
            by_row = log_sum_exp(log_joint, axis=1).ravel()
            densities[rows] = by_row[: rows.stop - rows.start]

        self.query(components, X, write)
        return densities

    def in_threads(self, work, workers, starts, cost):
        """Results of work(worker, starts), with the blocks dealt out to the workers."""
        if cost < SERIAL_COST:
            return [work(workers[0], starts)]
        self._limit_blas()
        n = len(workers)
        if n == 1:
            return [work(workers[0], starts)]
        if self._pool is None:
            self._pool = self._stack.enter_context(ThreadPoolExecutor(self.threads))
        return list(self._pool.map(work, workers, [starts[i::n] for i in range(n)]))

    def _chunks(self, rows):
        """Pairs of rows and weights on the device, where they stay between passes if they fit."""
        if not self.arrays.on_device:
            yield from rows.chunks()
            return
        if rows.on_device:
            yield from rows.on_device
            return
        room = self.arrays.room()
        chunks = []
        # All chunks stay on the device, or none: once room runs out, they are read anew each pass.
        for data, weights in rows.chunks():
            data = self.arrays.asarray(data)
            if weights is not None:
                weights = self.arrays.asarray(weights)
            yield data, weights
            room -= data.nbytes
            if room > 0:
                chunks.append((data, weights))
            else:
                chunks.clear()
        if room > 0:
            rows.on_device = chunks


def _kernel(components, arrays, lossless=0.0):
    """An origin (d,) to subtract from rows, and the kernel of the components relative to it.

    The origin is where the components' squares cancel least, if that makes a kernel for which they
    need not be taken about every mean; else it is a lossless one.
    """
    balance = components.balance()
    if balance is not None:
        kernel = components.shifted(balance).kernel(arrays)
        if not kernel.is_centered:
            return balance, kernel
    lossless = np.broadcast_to(lossless, components.means.shape[1:])
    return lossless, components.shifted(lossless).kernel(arrays)


def _write_densities(write, rows, log_joint):
    """Call write for log joint densities (S, K, B) whose squares may have overflowed."""
    # NaN arises only there, where the density is 0.
    log_joint[np.isnan(log_joint)] = -np.inf
    write(rows, log_joint)


@np.errstate(over="ignore", invalid="ignore")
def _sweep(worker, data, weights, origin, starts, columns=None):
    """Add the statistics of some blocks to a worker's; return the sum of weighted log-densities.

    columns (d, n) is the transposed data, if there is a copy.
    """
    kernel = worker.kernel
    xp = kernel.arrays.xp
    buffer = worker.block_buffer(data.shape[1])
    total = 0.0
    for start in starts:
        stop = start + kernel.block
        if columns is None:
            block = kernel.arrays.transposed(data[start:stop], origin, buffer)
        else:
            part = columns[:, start:stop]
            block = np.subtract(part, origin, out=buffer[:, : part.shape[1]])
        # The log joint densities (K, B) become responsibilities in place.
        responsibilities = worker.log_joint(block)
        peaks = xp.amax(responsibilities, axis=0)
        responsibilities -= peaks
        xp.exp(responsibilities, out=responsibilities)
        sums = responsibilities.sum(0)
        log_densities = xp.log(sums)
        log_densities += peaks
        if weights is None:
            total += log_densities.sum()
            responsibilities *= 1.0 / sums
        else:
            block_weights = weights[start:stop]
            total += (block_weights * log_densities).sum()
            responsibilities *= block_weights / sums
        worker.add(responsibilities)
    return total


def run_em(
    engine,
    components,
    groups,
    *,
    regularization,
    max_iter,
    tol,
    previous=-np.inf,
    report=None,
):
    """Fit components to rows by EM (Dempster, Laird & Rubin, 1977).

    Parameters
    ----------
    engine : EMEngine
    components : GaussianComponents
        The start.
    groups : list of (Rows, slice)
        Groups of rows and the components that explain them, as many for each; the slices follow one
        another. A plain mixture has one group, class-conditional mixtures have one a class.
    regularization : Regularization
    max_iter : int
        Most iterations.
    tol : float
        Stops once the mean log-likelihood changes by less.
    previous : float
        Mean log-likelihood to which the first iteration is compared.
    report : callable, optional
        Called with each iteration's number and mean log-likelihood.

    Returns
    -------
    fit : Fit
    """
    fit = Fit(components)
    n_of_group = len(components) // len(groups)
    origins = np.repeat([rows.origin for rows, _ in groups], n_of_group, axis=0)  # (K, d)

    def improve():
        lower_bound, statistics = expectation_of_groups(engine, fit.components, groups)
        seeds = _reseeds(engine, fit, groups, statistics)
        added = regularization.added(statistics, origins)
        estimate, n_repaired = type(components).estimate(statistics, regularization, origins, added)
        fit.components = _reseeded(estimate, seeds)
        fit.statistics = statistics
        fit.n_repaired += n_repaired
        fit.n_reseeded += len(seeds)
        return lower_bound, not seeds

    iterate(fit, improve, max_iter=max_iter, tol=tol, previous=previous, report=report)
    return fit


def iterate(fit, improve, *, max_iter, tol, previous=-np.inf, report=None):
    """Improve a Fit until its mean log-likelihood changes by less than tol, or max_iter times.

    improve() takes an E-step and an M-step, and returns the mean log-likelihood of the E-step and
    whether the iteration may be the last. The other parameters are those of `run_em`.
    """
    for iteration in range(1, max_iter + 1):
        lower_bound, may_end = improve()
        fit.lower_bounds.append(lower_bound)
        if report is not None:
            report(iteration, lower_bound)
        if may_end and abs(lower_bound - previous) < tol:
            fit.converged = True
            break
        previous = lower_bound


def expectation_of_groups(engine, components, groups):
    """Mean log-likelihood of all groups under their components, and the statistics of those."""
    if len(groups) == 1:
        rows, _ = groups[0]
        total, statistics = engine.expectation(components, rows)
        return total / statistics.total, statistics
    totals = []
    parts = []
    for rows, members in groups:
        total, part = engine.expectation(components.select(members), rows)
        totals.append(total)
        parts.append(part)
    statistics = type(parts[0]).concatenate(parts)
    return sum(totals) / statistics.total, statistics


def _reseeds(engine, fit, groups, statistics):
    """Rows that empty components should move to, by component: the rows of least density.

    No row is taken twice in an iteration. A fit re-seeds at most as many times as it has
    components, because rows that repeat cannot fill them all.
    """
    empty = np.flatnonzero(statistics.counts <= EMPTY_SHARE * statistics.total)
    empty = empty[: len(fit.components) - fit.n_reseeded]
    seeds = {}
    if not len(empty):
        return seeds
    for rows, members in groups:
        places = range(*members.indices(len(fit.components)))
        empty_members = [k for k in empty if k in places]
        if not empty_members:
            continue
        components = fit.components
        if len(groups) > 1:
            components = components.select(members)
        worst = _worst_rows(engine, components, rows, len(empty_members))
        seeds.update(zip(empty_members, worst, strict=False))
    return seeds


def _worst_rows(engine, components, rows, n):
    """The n complete rows (n, d) of least density, relative to the origin."""
    worst_scores = np.empty(0)
    worst_rows = np.empty((0, components.n_features))
    for data, weights in rows.chunks():
        is_usable = ~np.isnan(data).any(axis=1)
        if weights is not None:
            is_usable &= weights > 0.0
        usable = np.flatnonzero(is_usable)
        scores = engine.log_densities(components.shifted(-rows.origin), data[usable])
        lowest = np.argsort(scores)[:n]
        worst_scores = np.concatenate([worst_scores, scores[lowest]])
        worst_rows = np.concatenate([worst_rows, data[usable[lowest]] - rows.origin])
    return worst_rows[np.argsort(worst_scores)[:n]]


def _reseeded(components, seeds):
    """Components of which some restart at a row (d,), as wide as the heaviest of the others."""
    if not seeds:
        return components
    empty = np.array(list(seeds))
    healthy = np.setdiff1d(np.arange(len(components)), empty)
    means = components.means.copy()
    means[empty] = np.array(list(seeds.values()))
    weights = components.weights.copy()
    weights[empty] = 1.0 / len(components)
    arrays = {}
    if components.covariance_type != "tied":
        # Not the mean of the others: a mean of triangular factors is not the factor of a mean.
        heaviest = healthy[np.argmax(components.weights[healthy])]
        for name, array in components.family_arrays(slice(None)).items():
            arrays[name] = array.copy()
            arrays[name][empty] = array[heaviest]
    return replace(components, weights=weights / weights.sum(), means=means, **arrays)
