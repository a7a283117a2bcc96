"""Where EM starts: a survey of the rows, k-means on a part of them, and the components of its
clusters."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._validation import spawn_generator
from probgen.gaussians.components import (
    DiagonalComponents,
    FullComponents,
    SphericalComponents,
    TiedComponents,
)
from probgen.gaussians.low_rank import LowRankComponents
from probgen.gaussians.statistics import (
    DiagonalStatistics,
    FullStatistics,
    SphericalStatistics,
    TiedStatistics,
)

FAMILIES: dict[str, Any] = {
    "full": FullComponents,
    "tied": TiedComponents,
    "diag": DiagonalComponents,
    "spherical": SphericalComponents,
    "low_rank": LowRankComponents,
}
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")

# Least variance of a feature, as a share of its variance in all rows: below it, rounding is all
# that is left.
RELATIVE_FLOOR = 1e-13


@dataclass
class Survey:
    """A part of the rows that stands for all of them, in an order that neither weights nor repeats
    change.

    Attributes
    ----------
    rows : ndarray of shape (m, d)
        Distinct rows, relative to origin; missing values stand at the mean.
    weights : ndarray of shape (m,)
    origin : ndarray of shape (d,)
        Mean of the rows.
    floor : ndarray of shape (d,)
        Least variance of each feature that covariances are repaired to.
    has_missing : bool
        Whether any row had missing values.
    """

    rows: np.ndarray
    weights: np.ndarray
    origin: np.ndarray
    floor: np.ndarray
    has_missing: bool


def survey(data, weights, n_rows, generator):
    """Return the Survey of an array or RowBlocks, of about n_rows rows."""
    if isinstance(data, np.ndarray):
        rows, weights = _distinct(data, weights)
        rows, weights = _thinned(rows, weights, n_rows, generator)
    else:
        rows, weights = _reservoir(data, weights, n_rows, generator)
    rows = np.asarray(rows, dtype=np.float64)
    missing = np.isnan(rows)
    has_missing = bool(missing.any()) or _any_missing(data)
    told = ~missing.all(axis=1)
    if told.any():
        rows, weights, missing = rows[told], weights[told], missing[told]
    shares = weights[:, None] * ~missing
    with np.errstate(invalid="ignore", over="ignore"):
        known = np.maximum(shares.sum(axis=0), np.finfo(np.float64).tiny)
        origin = np.sum(np.where(missing, 0.0, rows) * shares, axis=0) / known
        rows = np.where(missing, 0.0, rows - origin)
        variances = np.sum(rows**2 * shares, axis=0) / known
    if not np.isfinite(variances.sum()):
        raise ValueError(
            "X holds values whose squares overflow; scale its columns, such as by StandardScaler."
        )
    return Survey(rows, weights, origin, _floor(variances, origin), has_missing)


def _floor(variances, origin):
    """Least variance (d,) of each feature; that of the steadiest other one where a feature is zero
    throughout."""
    # What rounding makes of a constant is some 1e-16 of it.
    spreads = np.maximum(variances, (1e-6 * origin) ** 2)
    least = np.min(spreads, where=spreads > 0.0, initial=np.inf)
    return RELATIVE_FLOOR * np.where(spreads > 0.0, spreads, least if np.isfinite(least) else 1.0)


def start_components(
    family, found, n_components, init_params, generator, *, reg_covar, n_factors=None, reg_param=0.0
):
    """Return components, relative to the survey's origin, and how many covariances had to be
    repaired."""
    responsibilities = _start_responsibilities(found, n_components, init_params, generator)
    weighted = responsibilities * found.weights[:, None]
    if family == "low_rank":
        return LowRankComponents.from_rows(
            found.rows, weighted, n_factors, reg_covar, found.floor, generator
        )
    statistics = moment_statistics(family, found.rows, weighted)
    return FAMILIES[family].estimate(statistics, reg_covar, found.floor, reg_param)


def moment_statistics(family, rows, responsibilities):
    """Statistics of rows (n, d) under weighted responsibilities (n, K), about the means."""
    counts = responsibilities.sum(axis=0)
    centers = (responsibilities.T @ rows) / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
    sums = np.zeros_like(centers)
    roots = np.sqrt(responsibilities)
    if family in ("full", "tied"):
        d = rows.shape[1]
        squares = np.zeros((len(counts), d, d) if family == "full" else (d, d))
        for k in range(len(counts)):
            used = np.flatnonzero(responsibilities[:, k])
            centred = (rows[used] - centers[k]) * roots[used, k, None]
            if family == "full":
                squares[k] = centred.T @ centred
            else:
                squares += centred.T @ centred
        return (FullStatistics if family == "full" else TiedStatistics)(
            counts, sums, squares, centers
        )
    squares = np.empty_like(centers)
    for k in range(len(counts)):
        squares[k] = responsibilities[:, k] @ (rows - centers[k]) ** 2
    if family == "diag":
        return DiagonalStatistics(counts, sums, squares, centers)
    return SphericalStatistics(counts, sums, squares.sum(axis=1), centers)


def _start_responsibilities(found, n_components, init_params, generator):
    rows, weights = found.rows, found.weights
    if init_params == "random":
        responsibilities = generator.uniform(size=(len(rows), n_components))
        return responsibilities / responsibilities.sum(axis=1, keepdims=True)
    if init_params == "random_from_data":
        centers = rows[_draw_rows(weights, min(n_components, len(rows)), generator)]
    else:
        centers = kmeans_plusplus(rows, weights, n_components, generator)
    if init_params == "kmeans" and len(centers) > 1:
        labels = _lloyd(rows, weights, centers)
    else:
        labels = np.argmin(_squared_distances(rows, centers), axis=1)
    # Where distinct rows are fewer than components, the ones left over share the clusters.
    cluster = np.arange(n_components) % len(centers)
    return (labels[:, None] == cluster) / np.bincount(cluster)[cluster]


def _lloyd(rows, weights, centers, max_iter=100, tol=1e-4):
    """Labels of k-means (Lloyd, 1982) from given centres; a cluster that runs empty moves to the
    farthest row.

    Written out, because scikit-learn's spends more on its threads than on a few thousand rows.
    """
    squares = np.sum(rows**2, axis=1)
    threshold = tol * np.average(squares, weights=weights) / rows.shape[1]
    for _ in range(max_iter):
        distances = _squared_distances(rows, centers, squares)
        labels = np.argmin(distances, axis=1)
        members = np.zeros_like(distances)
        members[np.arange(len(rows)), labels] = weights
        counts = members.sum(axis=0)
        moved = (members.T @ rows) / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
        empty = np.flatnonzero(counts == 0.0)
        moved[empty] = rows[
            np.argsort(-distances[np.arange(len(rows)), labels], kind="stable")[: len(empty)]
        ]
        shift = np.sum((moved - centers) ** 2)
        centers = moved
        if shift <= threshold:
            break
    return labels


def kmeans_plusplus(rows, weights, n_components, generator):
    """Centres by greedy k-means++ (Arthur & Vassilvitskii, 2007), drawn by inverse CDF over the
    rows' order.

    There are fewer than n_components where there are fewer distinct rows.
    """
    n_trials = 2 + int(np.log(n_components))
    squares = np.sum(rows**2, axis=1)
    centers = [rows[_inverse_cdf(weights, generator.uniform(size=1))[0]]]
    distances = _squared_distances(rows, centers[0][None], squares)[:, 0]
    while len(centers) < n_components:
        potential = weights * distances
        if not potential.sum() > 0.0:
            break
        candidates = rows[_inverse_cdf(potential, generator.uniform(size=n_trials))]
        closer = np.minimum(distances[:, None], _squared_distances(rows, candidates, squares))
        best = np.argmin(weights @ closer)
        centers.append(candidates[best])
        distances = closer[:, best]
    return np.array(centers)


def _squared_distances(rows, centers, squares=None):
    """Squared distances (n, m) of rows (n, d) from centres (m, d); exact zeros for a row that is a
    centre."""
    squares = np.sum(rows**2, axis=1) if squares is None else squares
    own = np.sum(centers**2, axis=1)
    distances = squares[:, None] + own - 2.0 * rows @ centers.T
    # What rounding leaves of a zero must not attract a second centre.
    distances[distances <= 1e-12 * (squares[:, None] + own)] = 0.0
    return distances


def _inverse_cdf(weights, uniforms):
    """Indices drawn in proportion to weights by uniforms in [0, 1)."""
    cumulative = np.cumsum(weights)
    return np.minimum(
        np.searchsorted(cumulative, uniforms * cumulative[-1], side="right"), len(weights) - 1
    )


def _draw_rows(weights, n, generator):
    """n different indices drawn in proportion to weights."""
    weights = weights.copy()
    drawn = np.empty(n, dtype=np.intp)
    for i in range(n):
        drawn[i] = _inverse_cdf(weights, generator.uniform(size=1))[0]
        weights[drawn[i]] = 0.0
    return drawn


def _distinct(data, weights):
    """Indices of distinct rows in the order of a fixed projection, with their weights added up."""
    keys = _sort_keys(data)
    order = np.argsort(keys)
    keys = keys[order]
    first = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    ordered = np.ones(len(order)) if weights is None else weights[order]
    totals = np.add.reduceat(ordered, first)
    used = totals > 0.0
    return (data, order[first[used]]), totals[used]


def _sort_keys(data):
    """A number for each row, equal for equal rows, computed feature by feature so that neighbours
    do not matter."""
    directions = np.random.default_rng(0).uniform(0.5, 1.5, size=data.shape[1])
    keys = np.zeros(len(data))
    for j, direction in enumerate(directions):
        column = data[:, j].astype(np.float64)
        column *= direction
        np.nan_to_num(column, copy=False, nan=np.pi * direction)
        keys += column
    return keys


def _thinned(rows, weights, n_rows, generator):
    """At most n_rows of the distinct rows, at even steps of the weights' sum."""
    data, indices = rows
    if len(indices) <= n_rows:
        return data[indices], weights
    steps = (np.arange(n_rows) + generator.uniform()) / n_rows
    chosen, repeats = np.unique(_inverse_cdf(weights, steps), return_counts=True)
    return data[indices[chosen]], repeats * (weights.sum() / n_rows)


def _reservoir(blocks, weights, n_rows, generator):
    """At most n_rows rows of a stream, weighted without replacement (Efraimidis & Spirakis,
    2006)."""
    generator = spawn_generator(generator)
    kept, kept_keys, kept_weights, start = np.empty((0, 0)), np.empty(0), np.empty(0), 0
    for block in blocks:
        own = np.ones(len(block)) if weights is None else weights[start : start + len(block)]
        start += len(block)
        with np.errstate(divide="ignore"):
            keys = generator.standard_exponential(len(block)) / own
        low = np.argsort(keys)[:n_rows]
        low = low[np.isfinite(keys[low])]
        kept = np.concatenate([kept, block[low]]) if start > len(block) else block[low]
        kept_keys = np.concatenate([kept_keys, keys[low]])
        kept_weights = np.concatenate([kept_weights, own[low]])
        lowest = np.argsort(kept_keys)[:n_rows]
        kept, kept_keys, kept_weights = kept[lowest], kept_keys[lowest], kept_weights[lowest]
    whole = start <= n_rows
    return kept, kept_weights if whole else np.ones(len(kept))


def _any_missing(data):
    if isinstance(data, np.ndarray):
        return bool(np.isnan(data.sum())) and bool(np.isnan(data).any())
    return any(np.isnan(block.sum()) and np.isnan(block).any() for block in data)
