"""Expectation-maximization of mixtures of independent columns."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probgen.gaussians.em import EMPTY_SHARE, EMEngine, Fit, iterate
from probgen.mixtures.components import EncodedDensity, MixtureComponents
from probgen.mixtures.layout import Layout
from probgen.mixtures.rows import EncodedRows, Encoder, TableRows
from probgen.mixtures.statistics import Histogram, MixtureStatistics
from probgen.tables.columns import split_codes


class _Sums:
    """Statistics of the blocks of one thread."""

    def __init__(self, density: EncodedDensity) -> None:
        self.density = density
        n_components = len(density.components)
        self.counts = np.zeros(n_components)
        self.levels = np.zeros_like(density.table)
        self.numbers: list[Any] = [0.0] * len(density.encoder.numbers)
        self.log_likelihood = 0.0

    def add(self, rows: EncodedRows, start: int, stop: int, indicators, weighted) -> None:
        """Add rows with weighted responsibilities (stop - start, K)."""
        components = self.density.components
        self.counts += weighted.sum(axis=0)
        if indicators is not None:
            self.levels += indicators.T @ weighted
        for i, j in enumerate(self.density.encoder.numbers):
            x = rows.numbers[i, start:stop]
            part = weighted
            is_missing = np.isnan(x)
            if is_missing.any():
                present = np.flatnonzero(~is_missing)
                x, part = x[present], weighted[present]
            family: Any = components.layout.families[j]
            self.numbers[i] = self.numbers[i] + family.statistics(x, part, components.params[j])

    def expect(self, rows: EncodedRows, weights: Any, starts: Any, n_rows: int) -> None:
        """Add some blocks of rows with their responsibilities."""
        density = self.density
        for start in starts:
            stop = min(start + n_rows, len(rows))
            indicators = None
            if len(density.table):
                indicators = rows.indicators(start, stop, len(density.table))
            joint = density.log_joint(rows, start, stop, indicators)
            # The log joint densities become responsibilities in place.
            peaks = np.maximum(joint.max(axis=1, keepdims=True), -np.finfo(np.float64).max)
            joint -= peaks
            np.exp(joint, out=joint)
            sums = joint.sum(axis=1, keepdims=True)
            with np.errstate(divide="ignore"):
                log_densities = (np.log(sums) + peaks).ravel()
            is_lost = sums == 0.0
            if is_lost.any():  # rows that no component explains, as after new levels
                joint += is_lost
                sums += len(density.components) * is_lost
            factors = 1.0 / sums
            if weights is None:
                self.log_likelihood += log_densities.sum()
            else:
                block_weights = weights[start:stop]
                self.log_likelihood += block_weights @ log_densities
                factors *= block_weights[:, None]
            joint *= factors
            self.add(rows, start, stop, indicators, joint)


def expectation(
    engine: EMEngine, components: MixtureComponents, rows: TableRows, encoder: Encoder
) -> tuple[float, MixtureStatistics]:
    """Sum of weighted log-likelihoods of the features of rows, and their statistics."""
    density = EncodedDensity(components, encoder)
    workers = [_Sums(density) for _ in range(engine.threads)]
    n_rows = components.block_rows
    for encoded, weights in rows.encoded(encoder):

        def sweep(worker, starts, encoded=encoded, weights=weights):
            worker.expect(encoded, weights, starts, n_rows)

        cost = len(encoded) * len(components) * max(len(components.levels), 1)
        engine.in_threads(sweep, workers, range(0, len(encoded), n_rows), cost)
    total = sum(worker.log_likelihood for worker in workers)
    return float(total), _statistics(workers)


def _statistics(workers):
    """The MixtureStatistics of all workers."""
    encoder = workers[0].density.encoder
    levels = sum(worker.levels for worker in workers)
    if encoder.members is not None:
        levels = encoder.members.T @ levels
    numbers = [sum(parts) for parts in zip(*(worker.numbers for worker in workers))]
    parts: list[Any] = []
    shape = len(workers[0].density.components)
    for j, table in enumerate(encoder.tables):
        if j in encoder.numbers:
            part = numbers[encoder.numbers.index(j)]
            if not np.ndim(part):  # of no rows
                part = np.zeros((1, shape))
        else:
            part = levels[encoder.offsets[j] : encoder.offsets[j + 1]]
            if table is not None:
                part = Histogram(table, part)
        parts.append(part)
    return MixtureStatistics(sum(worker.counts for worker in workers), parts)


def statistics_of(
    components: MixtureComponents, encoder: Encoder, F: np.ndarray, weighted: np.ndarray
) -> MixtureStatistics:
    """Statistics of features (n, m) under weighted responsibilities (n, K)."""
    sums = _Sums(EncodedDensity(components, encoder))
    encoded = encoder.encode(F)
    sums.add(encoded, 0, len(F), encoded.indicators(0, len(F), encoder.n_places), weighted)
    return _statistics([sums])


def maximisation(
    components: MixtureComponents, statistics: MixtureStatistics, smoothing: float
) -> tuple[MixtureComponents, int]:
    """Components that are likelier for the statistics, and how many parameters were mended."""
    levels: list = []
    params: list = []
    n_mended = 0
    histograms = components.layout.histograms
    for j, family in enumerate(components.layout.families):
        part = statistics.parts[j]
        if family is None:
            levels.append(smoothed(part, smoothing))
            params.append(None)
            continue
        previous = components.params[j]
        if j in histograms:
            levels.append(None)
            params.append(smoothed(histograms[j].counts(part.values, part.masses), smoothing))
            continue
        if isinstance(part, Histogram):
            found, n_wrong = family.estimate_from_values(part.values, part.masses, previous)
        else:
            found, n_wrong = family.estimate(part, previous)
        n_mended += n_wrong
        levels.append(None)
        params.append(found)
    weights = statistics.counts / statistics.total
    return replace(components, weights=weights, levels=levels, params=params), n_mended


def smoothed(counts: np.ndarray, smoothing: float) -> np.ndarray:
    """Probabilities (L, K) of levels of which there are counts (L, K), with pseudo-counts.

    The frequencies in the whole table get `smoothing` rows of each level. One component is the
    whole table; each of several gets PRIOR_ROWS * smoothing rows of these frequencies, whatever the
    number of levels, lest numbers of many levels lose what tells components apart.
    """
    n_levels, n_components = counts.shape
    prior = PRIOR_ROWS * smoothing
    overall = counts.sum(axis=1, keepdims=True)
    total = overall.sum() + smoothing * n_levels
    frequencies = np.full_like(overall, 1.0 / n_levels)
    if total > 0.0:
        frequencies = (overall + smoothing) / total
    if n_components == 1:
        return frequencies
    totals = counts.sum(axis=0) + prior
    is_known = totals > np.finfo(np.float64).tiny
    probabilities = (counts + prior * frequencies) / np.where(is_known, totals, 1.0)
    return np.where(is_known, probabilities, frequencies)


PRIOR_ROWS = 10.0  # of a component, for each row of `smoothing`


@dataclass(frozen=True)
class Settings:
    """Parameters of a fit, under the names that the estimator gives them."""

    smoothing: float
    tol: float
    max_iter: int


def run_em(
    engine: EMEngine,
    components: MixtureComponents,
    rows: TableRows,
    encoder: Encoder,
    settings: Settings,
    *,
    constant: float = 0.0,
    previous: float = -np.inf,
    report: Any = None,
) -> Fit:
    """Fit components to rows by EM.

    constant is the mean log-likelihood of rests with a fixed distribution; previous is the mean
    log-likelihood to which the first iteration is compared.
    """
    fit: Any = Fit(components)

    def improve():
        total, statistics = expectation(engine, fit.components, rows, encoder)
        lower_bound = total / statistics.total + constant
        seeds = _reseed(fit, statistics, rows, encoder)
        fit.components, n_repaired = maximisation(fit.components, statistics, settings.smoothing)
        fit.statistics = statistics
        fit.n_repaired += n_repaired
        fit.n_reseeded += seeds
        return lower_bound, not seeds

    iterate(
        fit,
        improve,
        max_iter=settings.max_iter,
        tol=settings.tol,
        previous=previous,
        report=report,
    )
    return fit


def _reseed(fit, statistics, rows, encoder):
    """Give empty components statistics: half of a badly explained row, half of all rows.

    Returns how many there were. A fit re-seeds at most as many times as it has components,
    because rows that repeat cannot fill them all.
    """
    empty = np.flatnonzero(statistics.counts <= EMPTY_SHARE * statistics.total)
    empty = empty[: len(fit.components) - fit.n_reseeded]
    if not len(empty):
        return 0
    worst = _worst_rows(fit.components, rows, encoder, len(empty))
    empty = empty[: len(worst)]
    if not len(empty):
        return 0
    weighted = np.zeros((len(worst), len(fit.components)))
    weighted[np.arange(len(empty)), empty] = 1.0
    seeded = statistics_of(fit.components, encoder, worst, weighted)
    for part, seed in zip(statistics.parts, seeded.parts):
        arrays = part, seed
        if isinstance(part, Histogram):
            arrays = part.masses, seed.masses
        overall = arrays[0].sum(axis=1, keepdims=True) / statistics.total
        arrays[0][:, empty] = overall + arrays[1][:, empty]
    statistics.counts[empty] = statistics.total / len(fit.components)
    return len(empty)


def _worst_rows(components, rows, encoder, n):
    """Features (n, m) of the n rows of least density, which are different rows."""
    density = EncodedDensity(components, encoder)
    found = np.empty((0, len(components.layout.families)))
    scores = np.empty(0)
    n_rows = components.block_rows
    for block, _ in rows.blocks():
        F = split_codes(rows.columns, block)
        encoded = encoder.encode(F)
        for start in range(0, len(F), n_rows):
            stop = min(start + n_rows, len(F))
            indicators = encoded.indicators(start, stop, encoder.n_places)
            joint = density.log_joint(encoded, start, stop, indicators)
            peaks = joint.max(axis=1)
            lowest = np.argsort(peaks, kind="stable")[:n]
            found = np.concatenate([found, F[start + lowest]])
            scores = np.concatenate([scores, peaks[lowest]])
            best = np.argsort(scores, kind="stable")[:n]
            found, scores = found[best], scores[best]
    return found


def start_components(layout: Layout, n_components: int) -> MixtureComponents:
    """Components that are all alike, for the first statistics."""
    levels: list = []
    params: list = []
    for feature, family in zip(layout.features, layout.families):
        if family is None:
            levels.append(np.full((feature.n_levels, n_components), 1.0 / feature.n_levels))
            params.append(None)
        else:
            levels.append(None)
            params.append(family.first_params(n_components))
    return MixtureComponents(layout, np.full(n_components, 1.0 / n_components), levels, params)


def from_responsibilities(
    layout: Layout,
    encoder: Encoder,
    F: np.ndarray,
    weighted: np.ndarray,
    smoothing: float,
) -> MixtureComponents:
    """Components of features (n, m) under weighted responsibilities (n, K).

    A level that no row of a component has gets some probability, because EM never gives it any.
    """
    start = start_components(layout, weighted.shape[1])
    statistics = statistics_of(start, encoder, F, weighted)
    components, _ = maximisation(start, statistics, 0.0)
    levels, params = list(components.levels), list(components.params)
    for j, part in enumerate(statistics.parts):
        if levels[j] is not None:
            levels[j] = smoothed(part, max(smoothing, 1.0 / len(part)))
        elif j in layout.histograms:
            counts = layout.histograms[j].counts(part.values, part.masses)
            params[j] = smoothed(counts, max(smoothing, 1.0 / len(counts)))
    return replace(components, levels=levels, params=params)
