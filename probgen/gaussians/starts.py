"""Where EM starts: a summary of the rows, k-means on it, and the components of its clusters."""

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
from probgen.gaussians.rows import Rows
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

# Least variance of a feature, relative to its variance in all rows; less is rounding error.
RELATIVE_FLOOR = 1e-13


@dataclass
class RowSummary:
    """A sample of the distinct rows, which neither weights nor repeats reorder, and their scale.

    Attributes
    ----------
    rows : ndarray of shape (m, d)
        Distinct rows relative to origin, with 0 where values are missing.
    weights : ndarray of shape (m,)
    origin : ndarray of shape (d,)
        Mean of the rows.
    floor : ndarray of shape (d,)
        Least variance of each feature; covariances are repaired to it.
    source : Rows
        All rows, as EM reads them.
    """

    rows: np.ndarray
    weights: np.ndarray
    origin: np.ndarray
    floor: np.ndarray
    source: Rows


def summarise_rows(data, weights, n_rows, generator):
    """Return the RowSummary of an array or RowBlocks, of at most n_rows rows."""
    if isinstance(data, np.ndarray):
        rows, row_weights = _sample_array(data, weights, n_rows, generator)
    else:
        rows, row_weights = _sample_stream(data, weights, n_rows, generator)
    rows = np.asarray(rows, dtype=np.float64)
    missing = np.isnan(rows)
    has_missing = bool(missing.any()) or _any_missing(data)
    has_values = ~missing.all(axis=1)
    if has_values.any():
        rows = rows[has_values]
        row_weights = row_weights[has_values]
        missing = missing[has_values]
    observed_weights = row_weights[:, None] * ~missing
    with np.errstate(invalid="ignore", over="ignore"):
        totals = np.maximum(observed_weights.sum(axis=0), np.finfo(np.float64).tiny)
        origin = np.sum(np.where(missing, 0.0, rows) * observed_weights, axis=0) / totals
        rows = np.where(missing, 0.0, rows - origin)
        variances = np.sum(rows**2 * observed_weights, axis=0) / totals
    if not np.isfinite(variances.sum()):
        raise ValueError(
            "X holds values whose squares overflow; scale its columns, such as by StandardScaler."
        )
    source = Rows(data, weights, origin, has_missing)
    return RowSummary(rows, row_weights, origin, _variance_floor(variances, origin), source)


def _variance_floor(variances, origin):
    """Least variance (d,) of each feature; for constant zeros, that of the steadiest feature."""
    # A constant column keeps a variance of about (1e-16 * constant)^2 by rounding.
    scales = np.maximum(variances, (1e-6 * origin) ** 2)
    is_positive = scales > 0.0
    least = scales[is_positive].min() if is_positive.any() else 1.0
    return RELATIVE_FLOOR * np.where(is_positive, scales, least)


def start_components(
    family,
    summary,
    n_components,
    init_params,
    generator,
    *,
    reg_covar,
    n_factors=None,
    reg_param=0.0,
):
    """Return components, relative to the summary's origin, and the number of repairs."""
    responsibilities = _start_responsibilities(summary, n_components, init_params, generator)
    weighted = responsibilities * summary.weights[:, None]
    if family == "low_rank":
        return LowRankComponents.from_rows(
            summary.rows, weighted, n_factors, reg_covar, summary.floor, generator
        )
    statistics = moment_statistics(family, summary.rows, weighted)
    return FAMILIES[family].estimate(statistics, reg_covar, summary.floor, reg_param)


def moment_statistics(family, rows, responsibilities):
    """Statistics of rows (n, d) under weighted responsibilities (n, K), about the means."""
    n_components = responsibilities.shape[1]
    d = rows.shape[1]
    counts = responsibilities.sum(axis=0)
    centers = (responsibilities.T @ rows) / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
    sums = np.zeros_like(centers)
    if family == "full":
        scatters = [_scatter(rows, r, c) for r, c in zip(responsibilities.T, centers)]
        return FullStatistics(counts, sums, np.array(scatters), centers)
    if family == "tied":
        squares = np.zeros((d, d))
        for k in range(n_components):
            squares += _scatter(rows, responsibilities[:, k], centers[k])
        return TiedStatistics(counts, sums, squares, centers)
    squares = np.empty_like(centers)
    for k in range(n_components):
        squares[k] = responsibilities[:, k] @ (rows - centers[k]) ** 2
    if family == "diag":
        return DiagonalStatistics(counts, sums, squares, centers)
    return SphericalStatistics(counts, sums, squares.sum(axis=1), centers)


def _scatter(rows, weights, center):
    """Weighted sum (d, d) of (x - center)(x - center)' over rows (n, d)."""
    used = np.flatnonzero(weights)
    centred = (rows[used] - center) * np.sqrt(weights[used, None])
    return centred.T @ centred


def _start_responsibilities(summary, n_components, init_params, generator):
    """Responsibilities (m, K) of the summary's rows."""
    rows = summary.rows
    weights = summary.weights
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
    # With fewer distinct rows than components, several components share a cluster.
    cluster = np.arange(n_components) % len(centers)
    return (labels[:, None] == cluster) / np.bincount(cluster)[cluster]


def _lloyd(rows, weights, centers, max_iter=100, tol=1e-4):
    """Labels (n,) of k-means (Lloyd, 1982) that starts from centers (m, d).

    An empty cluster moves to the row farthest from its centre. This is written out because
    scikit-learn's implementation spends more time on threads than a few thousand rows take.
    """
    squares = np.sum(rows**2, axis=1)
    threshold = tol * np.average(squares, weights=weights) / rows.shape[1]
    every_row = np.arange(len(rows))
    for _ in range(max_iter):
        distances = _squared_distances(rows, centers, squares)
        labels = np.argmin(distances, axis=1)
        members = np.zeros_like(distances)
        members[every_row, labels] = weights
        counts = members.sum(axis=0)
        moved = (members.T @ rows) / np.maximum(counts, np.finfo(np.float64).tiny)[:, None]
        empty = np.flatnonzero(counts == 0.0)
        farthest = np.argsort(-distances[every_row, labels], kind="stable")
        moved[empty] = rows[farthest[: len(empty)]]
        shift = np.sum((moved - centers) ** 2)
        centers = moved
        if shift <= threshold:
            break
    return labels


def kmeans_plusplus(rows, weights, n_components, generator):
    """Centres (m, d) by greedy k-means++ (Arthur & Vassilvitskii, 2007).

    Rows are drawn by inverse CDF in their order. There are fewer centres than n_components where
    there are fewer distinct rows.
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
    """Squared distances (n, m) of rows (n, d) from centers (m, d), exactly 0 at a centre.

    squares (n,) are the squared norms of the rows, if they are known.
    """
    if squares is None:
        squares = np.sum(rows**2, axis=1)
    squared_centers = np.sum(centers**2, axis=1)
    distances = squares[:, None] + squared_centers - 2.0 * rows @ centers.T
    # A rounding error in place of a zero would attract a second centre.
    distances[distances <= 1e-12 * (squares[:, None] + squared_centers)] = 0.0
    return distances


def _inverse_cdf(weights, uniforms):
    """Indices drawn in proportion to weights by uniforms in [0, 1)."""
    cumulative = np.cumsum(weights)
    indices = np.searchsorted(cumulative, uniforms * cumulative[-1], side="right")
    return np.minimum(indices, len(weights) - 1)


def _draw_rows(weights, n, generator):
    """n different indices drawn in proportion to weights."""
    weights = weights.copy()
    drawn = np.empty(n, dtype=np.intp)
    for i in range(n):
        drawn[i] = _inverse_cdf(weights, generator.uniform(size=1))[0]
        weights[drawn[i]] = 0.0
    return drawn


def _sample_array(data, weights, n_rows, generator):
    """At most n_rows distinct rows of an array, at even steps of the cumulative weight."""
    indices, totals = _distinct_rows(data, weights)
    if len(indices) <= n_rows:
        return data[indices], totals
    steps = (np.arange(n_rows) + generator.uniform()) / n_rows
    chosen, repeats = np.unique(_inverse_cdf(totals, steps), return_counts=True)
    return data[indices[chosen]], repeats * (totals.sum() / n_rows)


def _distinct_rows(data, weights):
    """Indices of the distinct rows, ordered by a fixed projection, and their summed weights."""
    keys = _sort_keys(data)
    order = np.argsort(keys)
    keys = keys[order]
    is_first = np.concatenate([[True], keys[1:] != keys[:-1]])
    first = np.flatnonzero(is_first)
    ordered_weights = np.ones(len(order)) if weights is None else weights[order]
    totals = np.add.reduceat(ordered_weights, first)
    used = totals > 0.0
    return order[first[used]], totals[used]


def _sort_keys(data):
    """A number (n,) for each row, equal for equal rows.

    It is summed feature by feature, so that the other rows do not change its rounding.
    """
    directions = np.random.default_rng(0).uniform(0.5, 1.5, size=data.shape[1])
    keys = np.zeros(len(data))
    for j, direction in enumerate(directions):
        column = data[:, j].astype(np.float64)
        column *= direction
        np.nan_to_num(column, copy=False, nan=np.pi * direction)
        keys += column
    return keys


def _sample_stream(blocks, weights, n_rows, generator):
    """At most n_rows rows of a stream and their weights.

    This is weighted sampling without replacement (Efraimidis & Spirakis, 2006): keep the rows of
    the smallest exponential variates of rate weight.
    """
    generator = spawn_generator(generator)
    kept_rows = None
    kept_keys = np.empty(0)
    kept_weights = np.empty(0)
    n_read = 0
    for block in blocks:
        if weights is None:
            block_weights = np.ones(len(block))
        else:
            block_weights = weights[n_read : n_read + len(block)]
        n_read += len(block)
        with np.errstate(divide="ignore"):
            keys = generator.standard_exponential(len(block)) / block_weights
        smallest = np.argsort(keys)[:n_rows]
        smallest = smallest[np.isfinite(keys[smallest])]  # rows of weight 0 have infinite keys
        if kept_rows is None:
            kept_rows = block[smallest]
        else:
            kept_rows = np.concatenate([kept_rows, block[smallest]])
        kept_keys = np.concatenate([kept_keys, keys[smallest]])
        kept_weights = np.concatenate([kept_weights, block_weights[smallest]])
        smallest = np.argsort(kept_keys)[:n_rows]
        kept_rows = kept_rows[smallest]
        kept_keys = kept_keys[smallest]
        kept_weights = kept_weights[smallest]
    if n_read > n_rows:
        kept_weights = np.ones(len(kept_weights))  # the weights went into the choice of rows
    return kept_rows, kept_weights


def _any_missing(data):
    """Whether an array or RowBlocks holds NaN."""
    blocks = [data] if isinstance(data, np.ndarray) else data
    # A sum is quicker than a mask, and NaN where any value is.
    return any(bool(np.isnan(block.sum()) and np.isnan(block).any()) for block in blocks)
