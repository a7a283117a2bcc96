"""Expectation-maximization over blocks of rows, and queries in blocks of one fixed shape."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from probgen.gaussians.arrays import arrays_on
from probgen.gaussians.components import GaussianComponents
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.gaussians.missing import expectation_with_missing
from probgen.gaussians.threads import single_threaded_blas

# Below this many multiplications a pass, threads cost more than they save (measured on two cores).
SERIAL_COST = 4_000_000
# Most rows of a query's block on the CPU.
QUERY_ROWS = 1024
# A component with less than this share of all weight is empty.
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
    floor : ndarray of shape (d,)
        Least variance of each feature.
    """

    components: GaussianComponents
    lower_bounds: list[float] = field(default_factory=list)
    converged: bool = False
    n_reseeded: int = 0
    n_repaired: int = 0
    n_start_repaired: int = 0
    statistics: Any = None
    origins: Any = None
    floor: Any = None

    @property
    def lower_bound(self):
        """Mean log-likelihood of the last E-step, in nats."""
        return self.lower_bounds[-1] if self.lower_bounds else -np.inf


class EMEngine:
    """Passes over rows on a device, with a pool of threads on the CPU; a context manager.

    Of the processors it takes one of n_shares equal parts, for fits that run side by side.
    """

    def __init__(self, device="cpu", n_shares=1):
        self.arrays = arrays_on(device)
        self.n_shares = n_shares

    def __enter__(self):
        self._stack = ExitStack()
        threads = self._stack.enter_context(single_threaded_blas())
        threads = 1 if self.arrays.on_device else max(1, threads // self.n_shares)
        self.threads = threads
        self._pool = self._stack.enter_context(ThreadPoolExecutor(threads)) if threads > 1 else None
        return self

    def __exit__(self, *exception):
        self._stack.close()

    def expectation(self, components, rows):
        """Sum of weighted log-densities of the rows, and their statistics under the components.

        Raises ValueError where squares overflow.
        """
        if rows.has_missing:
            return expectation_with_missing(self, components, rows)
        kernel = components.kernel(self.arrays)
        workers = [kernel.worker() for _ in range(self.threads)]
        origin = self.arrays.asarray(rows.origin[:, None])
        total = 0.0
        for data, weights in self._chunks(rows):
            total += sum(
                self._in_threads(
                    lambda worker, starts, data=data, weights=weights: _sweep(
                        worker, data, weights, origin, starts
                    ),
                    workers,
                    range(0, len(data), kernel.block),
                    len(data) * kernel.cost,
                )
            )
        total = float(total)
        if not np.isfinite(total):
            raise ValueError(
                "X holds values whose squares overflow; scale its columns, such as by"
                " StandardScaler."
            )
        return total, kernel.statistics(workers)

    def query(self, components, X, write):
        """Call write(rows, log_joint) with slices of rows and their log joint densities (K, B),
        -inf where too small.

        Every block is padded to one shape, which depends on the components alone, so that a row's
        answer depends neither on its neighbours nor on their number. The columns beyond the rows'
        number are not theirs.
        """
        origin = components.weights @ components.means
        kernel = components.shifted(origin).kernel(self.arrays)
        column = self.arrays.asarray(origin[:, None])
        # A few rows should not wait for a block of thousands, and some thousands should keep every
        # thread busy.
        block = min(
            kernel.block,
            kernel.block if self.arrays.on_device else QUERY_ROWS,
            2 ** int(np.log2(max(2**28 / kernel.cost, 64))),
        )

        def answer(worker, starts):
            buffer = self.arrays.zeros((X.shape[1], block))
            for start in starts:
                rows = self.arrays.asarray(X[start : start + block])
                buffer[:, len(rows) :] = 0.0
                self.arrays.transposed(rows, column, buffer)
                with np.errstate(over="ignore", invalid="ignore"):
                    log_joint = self.arrays.to_numpy(worker.log_joint(buffer))
                # Only where squares overflow, and the density with them vanishes.
                log_joint[np.isnan(log_joint)] = -np.inf
                write(slice(start, start + len(rows)), log_joint)

        workers = [kernel.worker() for _ in range(self.threads if len(X) > block else 1)]
        self._in_threads(answer, workers, range(0, len(X), block), len(X) * kernel.cost)

    def log_densities(self, components, X):
        """Log-density of each row, of shape (n,)."""
        found = np.empty(len(X))

        def write(rows, log_joint):
            found[rows] = log_sum_exp(log_joint)[: rows.stop - rows.start]

        self.query(components, X, write)
        return found

    def _in_threads(self, work, workers, starts, cost):
        """Results of work(worker, starts) with the blocks dealt out to the workers."""
        if self._pool is None or len(workers) == 1 or cost < SERIAL_COST:
            return [work(workers[0], starts)]
        n = len(workers)
        return list(self._pool.map(work, workers, [starts[i::n] for i in range(n)]))

    def _chunks(self, rows):
        """Chunks of the rows where the arrays are; what fits stays on the device between passes."""
        if not self.arrays.on_device:
            yield from rows.chunks()
            return
        if rows.on_device:
            yield from rows.on_device
            return
        room = self.arrays.room()
        keep: list | None = []
        for data, weights in rows.chunks():
            chunk = (
                self.arrays.asarray(data),
                None if weights is None else self.arrays.asarray(weights),
            )
            yield chunk
            room -= chunk[0].nbytes
            if keep is not None:
                keep = [*keep, chunk] if room > 0 else None
        rows.on_device = keep or []


@np.errstate(over="ignore", invalid="ignore")
def _sweep(worker, data, weights, origin, starts):
    """Add the statistics of some blocks of data to a worker's; returns the sum of weighted
    log-densities."""
    kernel = worker.kernel
    xp = kernel.arrays.xp
    buffer = worker.block_buffer(data.shape[1])
    total = 0.0
    for start in starts:
        block = kernel.arrays.transposed(data[start : start + kernel.block], origin, buffer)
        block_weights = None if weights is None else weights[start : start + kernel.block]
        responsibilities = worker.log_joint(block)
        peaks = xp.amax(responsibilities, axis=0)
        responsibilities -= peaks
        xp.exp(responsibilities, out=responsibilities)
        sums = responsibilities.sum(0)
        log_densities = xp.log(sums)
        log_densities += peaks
        if block_weights is None:
            total += log_densities.sum()
            responsibilities *= 1.0 / sums
        else:
            total += (block_weights * log_densities).sum()
            responsibilities *= block_weights / sums
        worker.add(responsibilities)
    return total


def run_em(
    engine,
    components,
    groups,
    *,
    reg_covar,
    floor,
    max_iter,
    tol,
    reg_param=0.0,
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
        Rows, and the components that may explain them; the slices follow one another. A plain
        mixture has one group; class-conditional mixtures have one a class.
    reg_covar, floor : float, ndarray of shape (d,)
        Added to variances; least variance of each feature.
    max_iter, tol : int, float
        Stops after max_iter iterations, or once the mean log-likelihood changes by less than tol.
    reg_param : float
        How far each M-step shrinks covariances towards the identity, in [0, 1].
    previous : float
        Mean log-likelihood that the first iteration is compared with.
    report : callable, optional
        Called with each iteration's number and mean log-likelihood.

    Returns
    -------
    fit : Fit
    """
    fit = Fit(components)
    for iteration in range(1, max_iter + 1):
        lower_bound, statistics = expectation_of_groups(engine, fit.components, groups)
        seeds = _reseeds(engine, fit, groups, statistics)
        estimate, repaired = type(components).estimate(statistics, reg_covar, floor, reg_param)
        fit.components, fit.statistics = _reseeded(estimate, seeds), statistics
        fit.n_repaired += repaired
        fit.n_reseeded += len(seeds)
        fit.lower_bounds.append(lower_bound)
        if report is not None:
            report(iteration, lower_bound)
        if not seeds and abs(lower_bound - previous) < tol:
            fit.converged = True
            break
        previous = lower_bound
    return fit


def expectation_of_groups(engine, components, groups):
    """Mean log-likelihood of all groups given their components, and the statistics of all
    components."""
    if len(groups) == 1:
        total, statistics = engine.expectation(components, groups[0][0])
        return total / statistics.total, statistics
    parts = [engine.expectation(components.select(members), rows) for rows, members in groups]
    statistics = type(parts[0][1]).concatenate([part for _, part in parts])
    return sum(total for total, _ in parts) / statistics.total, statistics


def _reseeds(engine, fit, groups, statistics):
    """Rows that empty components should move to, by component: those explained worst, each taken
    once.

    A fit re-seeds at most as many times as it has components, since rows that repeat cannot fill
    them all.
    """
    empty = np.flatnonzero(statistics.counts <= EMPTY_SHARE * statistics.total)[
        : len(fit.components) - fit.n_reseeded
    ]
    seeds = {}
    for rows, members in groups if len(empty) else []:
        inside = [k for k in empty if k in range(*members.indices(len(fit.components)))]
        if inside:
            components = fit.components if len(groups) == 1 else fit.components.select(members)
            seeds.update(
                zip(inside, _worst_rows(engine, components, rows, len(inside)), strict=False)
            )
    return seeds


def _worst_rows(engine, components, rows, n):
    """The n rows of least density, relative to the origin; missing values stand at the mean."""
    scores, found = np.empty(0), np.empty((0, components.n_features))
    for data, weights in rows.chunks():
        whole = ~np.isnan(data).any(axis=1)
        usable = np.flatnonzero(whole if weights is None else whole & (weights > 0.0))
        chunk = engine.log_densities(components.shifted(-rows.origin), data[usable])
        lowest = np.argsort(chunk)[:n]
        scores = np.concatenate([scores, chunk[lowest]])
        found = np.concatenate([found, data[usable[lowest]] - rows.origin])
    return found[np.argsort(scores)[:n]]


def _reseeded(components, seeds):
    """Components of which some start anew at a row, as wide as the heaviest of the others."""
    if not seeds:
        return components
    empty = np.array(list(seeds))
    healthy = np.setdiff1d(np.arange(len(components)), empty)
    means, weights = components.means.copy(), components.weights.copy()
    means[empty] = np.array(list(seeds.values()))
    weights[empty] = 1.0 / len(components)
    arrays = {}
    if components.covariance_type != "tied":
        for name, array in components.family_arrays(slice(None)).items():
            arrays[name] = array.copy()
            # A mean of the others would do as well, but a mean of factors is no member of the
            # family.
            arrays[name][empty] = array[healthy[np.argmax(components.weights[healthy])]]
    return replace(components, weights=weights / weights.sum(), means=means, **arrays)
