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
from probgen.gaussians.regularization import EPSILON, rounding_variances
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
STATISTICS: dict[str, Any] = {
    "full": FullStatistics,
    "tied": TiedStatistics,
    "diag": DiagonalStatistics,
    "spherical": SphericalStatistics,
}
INIT_PARAMS = ("kmeans", "k-means++", "random", "random_from_data")

# A value so many deviations from the mean of its feature is wild, and left out of both.
WILD_DEVIATIONS = 5.0
# A window that holds a share p of normal values is typically this many times p deviations wide.
NORMAL_WINDOW = 3.147
# Local and overall scales of features that differ by less start k-means alike.
SIMILAR_SCALES = 3.0
# Rows whose values are sorted to find the local scales of features, where weights are equal.
MOST_SORTED = 1024
# Squared distances that are smaller than this share of their terms are computed anew.
MOST_CANCELLED = 1e-6
# Numbers in a block of rows whose keys are computed at once, few enough to stay in a cache.
KEY_NUMBERS = 2**16
# Features scaled beyond this are cut, so that squares do not overflow.
MOST_SCALED = 1e100


@dataclass
class RowSummary:
    """A sample of the distinct rows, which neither weights nor repeats nor units reorder.

    Attributes
    ----------
    rows : ndarray of shape (m, d)
        Distinct rows relative to origin, with 0 where values are missing.
    weights : ndarray of shape (m,)
    missing : ndarray of shape (m, d)
        Where values are missing.
    origin : ndarray of shape (d,)
        Mean of the rows, without wild values.
    variances : ndarray of shape (d,)
        About that mean, without wild values.
    source : Rows
        All rows, as EM reads them.
    """

    rows: np.ndarray
    weights: np.ndarray
    missing: np.ndarray
    origin: np.ndarray
    variances: np.ndarray
    source: Rows


def summarise_rows(data, weights, n_rows, generator, regularization):
    """Return the RowSummary of an array or RowBlocks, of at most n_rows rows.

    Raises ValueError where squares of the rows overflow or underflow.
    """
    rows, row_weights = sample_rows(data, weights, n_rows, generator)
    missing = np.isnan(rows)
    has_missing = bool(missing.any()) or _any_missing(data)
    has_values = ~missing.all(axis=1)
    if has_values.any() and not has_values.all():
        rows = rows[has_values]
        row_weights = row_weights[has_values]
        missing = missing[has_values]
    is_holed = missing.any()
    if is_holed:
        rows = np.where(missing, 0.0, rows)
    with np.errstate(over="ignore", invalid="ignore"):
        origin, variances = moments_without_wild_values(rows, row_weights[:, None] * ~missing)
        rows = rows - origin
        if is_holed:
            rows[missing] = 0.0
        ranges = rows.max(axis=0) - rows.min(axis=0)
    regularization.check_variances(variances, ranges)
    source = Rows(data, weights, origin, has_missing)
    return RowSummary(rows, row_weights, missing, origin, variances, source)


def moments_without_wild_values(values, weights):
    """Means (d,) and variances (d,) of values (m, d) under weights (m, d), but for wild values.

    Moments are taken again and again, each time without the values that the last ones call wild,
    unless nothing that varies would be left.
    """
    means, variances = _moments(values, weights)
    features = np.arange(values.shape[1])
    while len(features):
        centers = means[features]
        reach = WILD_DEVIATIONS * np.sqrt(variances[features])
        # The extremes are quicker than a mask, which few features need.
        has_far = np.maximum(values.max(axis=0) - centers, centers - values.min(axis=0)) > reach
        features = features[has_far]
        values = values[:, has_far]
        is_near = np.abs(values - centers[has_far]) <= reach[has_far]
        weights = weights[:, has_far] * is_near
        new_means, new_variances = _moments(values, weights)
        is_varied = new_variances > rounding_variances(new_means)
        is_new = is_varied & (new_variances < variances[features])
        features = features[is_new]
        values = values[:, is_new]
        weights = weights[:, is_new]
        means[features] = new_means[is_new]
        variances[features] = new_variances[is_new]
    return means, variances


def _moments(values, weights):
    """Means (d,) and variances (d,) of values (m, d) under weights (m, d)."""
    totals = np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
    means = np.einsum("md,md->d", values, weights) / totals
    deviations = values - means
    deviations *= deviations
    return means, np.einsum("md,md->d", deviations, weights) / totals


def start_components(
    family,
    summary,
    n_components,
    init_params,
    generator,
    *,
    regularization,
    added,
    n_factors=None,
):
    """Return components, relative to the summary's origin, and the number of repairs.

    added is what is added to variances.
    """
    responsibilities = start_responsibilities(
        family, summary, n_components, init_params, generator, added
    )
    weighted = responsibilities * summary.weights[:, None]
    if family == "low_rank":
        return LowRankComponents.from_rows(
            summary.rows, weighted, n_factors, regularization, summary.origin, added, generator
        )
    statistics = moment_statistics(family, summary.rows, weighted)
    return FAMILIES[family].estimate(statistics, regularization, summary.origin, added)


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


def start_responsibilities(family, summary, n_components, init_params, generator, added):
    """Responsibilities (m, K) of the summary's rows."""
    rows = summary.rows
    weights = summary.weights
    if init_params == "random":
        responsibilities = generator.uniform(size=(len(rows), n_components))
        return responsibilities / responsibilities.sum(axis=1, keepdims=True)
    if init_params == "random_from_data":
        chosen = _draw_rows(weights, min(n_components, len(rows)), generator)
    candidates = []
    for scales in _scales(family, summary, n_components):
        scaled = np.clip(rows / scales, -MOST_SCALED, MOST_SCALED)
        if init_params == "random_from_data":
            centers = scaled[chosen]
        else:
            centers = kmeans_plusplus(scaled, weights, n_components, generator)
        if init_params == "kmeans" and len(centers) > 1:
            labels = _lloyd(scaled, weights, centers)
        else:
            labels = np.argmin(_squared_distances(scaled, centers), axis=1)
        candidates.append((labels, len(centers)))
    best = 0
    if len(candidates) > 1:
        best = int(np.argmin([_log_spread(rows, weights, *found, added) for found in candidates]))
    labels, n_clusters = candidates[best]
    # With fewer distinct rows than components, several components share a cluster.
    cluster = np.arange(n_components) % n_clusters
    return (labels[:, None] == cluster) / np.bincount(cluster)[cluster]


def _scales(family, summary, n_components):
    """Scales (d,) of the features under which rows may be near each other; at most two of them.

    The first are overall scales, which tell wide clusters apart. The second are local, and tell
    clusters apart that are narrow and far from each other, even beside features that hold none or
    hold wild values. Spherical components have one unit for all features.
    """
    d = summary.rows.shape[1]
    if n_components == 1:
        return [np.ones(d)]
    overall = _overall_scales(summary)
    if family == "spherical":
        return [np.full(d, overall.max())]
    if d == 1:
        return [overall]
    local = _local_scales(summary, 0.25 / n_components)
    local = np.where(local > 0.0, local, overall)
    ratios = local / overall
    if ratios.max() < SIMILAR_SCALES * ratios.min():
        return [overall]
    return [overall, local]


def _overall_scales(summary):
    """Fourth roots (d,) of the fourth moments of the features, 1 for constant ones.

    Unlike deviations, they keep features that are rarely other than zero from being blown up.
    """
    largest = np.abs(summary.rows).max(axis=0)
    largest = np.where(largest > 0.0, largest, 1.0)
    weights = summary.weights[:, None] * ~summary.missing
    powers = (summary.rows / largest) ** 2
    powers *= powers
    powers = np.sum(weights * powers, axis=0)
    moments = powers / np.maximum(weights.sum(axis=0), np.finfo(np.float64).tiny)
    return largest * np.where(moments > 0.0, moments, 1.0) ** 0.25


def _local_scales(summary, share):
    """Deviations (d,) of the features if they were normal, from the width of windows.

    A window holds a share of the weight, and the scale is that of the median window.
    """
    values = np.where(summary.missing, np.inf, summary.rows).T
    levels = (1.0 - share) * np.linspace(0.0, 1.0, 65)
    ends = np.minimum(levels + share, 1.0)
    if not summary.missing.any() and (summary.weights == summary.weights[0]).all():
        # The rows are in the order of a projection, so that every so many of them are fair.
        values = np.sort(values[:, :: -(-values.shape[1] // MOST_SORTED)], axis=1)
        last = values.shape[1] - 1
        widths = values[:, np.floor(ends * last).astype(int)]
        widths -= values[:, np.ceil(levels * last).astype(int)]
        return np.maximum(np.median(widths, axis=1), 0.0) / (NORMAL_WINDOW * share)
    order = np.argsort(values, axis=1)
    scales = np.empty(len(values))
    for j, column in enumerate(values):
        cumulative = np.cumsum(summary.weights[order[j]] * ~summary.missing[order[j], j])
        total = cumulative[-1]
        low = np.searchsorted(cumulative, levels * total)
        high = np.searchsorted(cumulative, ends * total * (1.0 - 1e-12))
        widths = column[order[j, high]] - column[order[j, low]]
        scales[j] = np.median(widths) / (NORMAL_WINDOW * share)
    return scales


def _log_spread(rows, weights, labels, n_clusters, added):
    """Sum over the features of the log variances within clusters, to which `added` is added."""
    members = weights[:, None] * (labels[:, None] == np.arange(n_clusters))
    counts = np.maximum(members.sum(axis=0), np.finfo(np.float64).tiny)
    means = (members.T @ rows) / counts[:, None]
    variances = np.average((rows - means[labels]) ** 2, axis=0, weights=weights)
    rounding = EPSILON * np.average(rows**2, axis=0, weights=weights)
    variances = np.maximum(variances, rounding) + added
    return np.sum(np.log(np.where(variances > 0.0, variances, 1.0)))


def _lloyd(rows, weights, centers, max_iter=100, tol=1e-3):
    """Labels (n,) of k-means (Lloyd, 1982) that starts from centers (m, d).

    It stops once every centre moves by less than a share of its cluster's own width. An empty
    cluster moves to the row farthest from its centre. This is written out because scikit-learn's
    implementation spends more time on threads than a few thousand rows take.
    """
    squares = np.sum(rows**2, axis=1)
    every_row = np.arange(len(rows))
    labels = None
    for _ in range(max_iter):
        distances = _squared_distances(rows, centers, squares)
        previous = labels
        labels = np.argmin(distances, axis=1)
        if previous is not None and np.array_equal(labels, previous):
            break
        members = np.zeros_like(distances)
        members[every_row, labels] = weights
        counts = members.sum(axis=0)
        totals = np.maximum(counts, np.finfo(np.float64).tiny)
        moved = (members.T @ rows) / totals[:, None]
        empty = np.flatnonzero(counts == 0.0)
        nearest = distances[every_row, labels]
        if len(empty):
            farthest = np.argsort(-nearest, kind="stable")
            moved[empty] = rows[farthest[: len(empty)]]
        widths = np.bincount(labels, weights * nearest, minlength=len(centers)) / totals
        shifts = np.sum((moved - centers) ** 2, axis=1)
        centers = moved
        if np.all(shifts <= tol * widths):
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
    sums = squares[:, None] + np.sum(centers**2, axis=1)
    distances = rows @ (-2.0 * centers.T)
    distances += sums
    # Where the sum cancels, rounding would hide what is near what.
    i, j = np.nonzero(distances <= MOST_CANCELLED * sums)
    if len(i):
        distances[i, j] = np.sum((rows[i] - centers[j]) ** 2, axis=1)
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


def sample_rows(data, weights, n_rows, generator):
    """At most n_rows distinct rows (m, d) of an array or RowBlocks, in float64, and their weights.

    Neither weights nor repeats nor units of an array's rows reorder them.
    """
    if isinstance(data, np.ndarray):
        rows, row_weights = _sample_array(data, weights, n_rows, generator)
    else:
        rows, row_weights = _sample_stream(data, weights, n_rows, generator)
    return np.asarray(rows, dtype=np.float64), row_weights


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
    used = np.arange(len(data))
    if weights is None:
        weights = np.ones(len(data))
    elif not weights.all():
        used = np.flatnonzero(weights)
        data = data[used]
        weights = weights[used]
    keys = _sort_keys(data, weights)
    order = np.argsort(keys)
    keys = keys[order]
    is_first = np.append(True, keys[1:] != keys[:-1])
    # Rows of equal keys are equal, but for collisions.
    later = np.flatnonzero(~is_first)
    step = max(KEY_NUMBERS // data.shape[1], 1)
    for start in range(0, len(later), step):
        part = later[start : start + step]
        rows = data[order[part]]
        others = data[order[part - 1]]
        is_equal = (rows == others) | (np.isnan(rows) & np.isnan(others))
        is_first[part] = ~is_equal.all(axis=1)
    first = np.flatnonzero(is_first)
    return used[order[first]], np.add.reduceat(weights[order], first)


@np.errstate(over="ignore", invalid="ignore")
def _sort_keys(data, weights):
    """A number (n,) for each row, equal for equal rows, that the units of the features leave alone.

    It sums the places of the row's values between the least and the greatest of their features,
    each with a factor of its own, from the end that is nearer to the mean. A missing value has
    another factor.
    """
    factors, missing_factors = np.random.default_rng(0).uniform(0.5, 1.5, size=(2, data.shape[1]))
    step = max(KEY_NUMBERS // data.shape[1], 1)
    starts = range(0, len(data), step)
    lows = np.full(data.shape[1], np.inf)
    highs = np.full(data.shape[1], -np.inf)
    sums = np.zeros(data.shape[1])
    counts = np.zeros(data.shape[1])
    for start in starts:
        block = data[start : start + step].astype(np.float64)
        block_weights = weights[start : start + step]
        np.fmin(lows, np.fmin.reduce(block), out=lows)
        np.fmax(highs, np.fmax.reduce(block), out=highs)
        missing = np.isnan(block)
        np.copyto(block, 0.0, where=missing)
        sums += block_weights @ block
        counts += block_weights @ ~missing
    is_varied = lows < highs
    lows = np.where(is_varied, lows, 0.0)
    highs = np.where(is_varied, highs, 0.0)
    is_high = sums > counts * (0.5 * lows + 0.5 * highs)
    origins = np.where(is_high, highs, lows)
    ranges = np.where(is_high, lows - highs, highs - lows)
    factors = factors / np.where(np.abs(ranges) > MOST_SCALED**-3.0, ranges, np.inf)
    keys = np.empty(len(data))
    for start in starts:
        block = data[start : start + step].astype(np.float64)
        block -= origins
        block *= factors
        np.copyto(block, 2.0 * missing_factors, where=np.isnan(block))
        # Row by row, so that the other rows do not change the rounding.
        keys[start : start + step] = block.sum(axis=1)
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
    with np.errstate(over="ignore", invalid="ignore"):
        # A sum is quicker than a mask, and NaN where any value is.
        return any(bool(np.isnan(block.sum()) and np.isnan(block).any()) for block in blocks)
