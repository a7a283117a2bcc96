"""Missing values: each row under the marginal density of its observed features.

Rows that miss the same features share a marginal density if there are many of them; the others are
handled in blocks of rows with different patterns (Ghahramani & Jordan, 1994).
"""

import numpy as np

from probgen.gaussians.masked import MaskedComponents, can_mask, widths_of
from probgen.gaussians.rows import Rows

# Least number of rows of one pattern for which a marginal density of their own is faster: at most
# MANY_ROWS, and about MANY_NUMBERS over the size of the matrix that each row takes otherwise
# (measured on two cores).
MANY_ROWS = 256
MANY_NUMBERS = 2**14
# Numbers in a piece of rows that is sorted by pattern at once: 32 MB.
PIECE_NUMBERS = 2**22


def patterns(mask):
    """Pairs of observed features and row indices, one for each pattern of a mask (n, d) of NaN."""
    if not mask.any():
        return [(np.arange(mask.shape[1]), np.arange(len(mask)))]
    order, starts = _sorted_by_pattern(mask)
    return [(np.flatnonzero(~mask[rows[0]]), rows) for rows in np.split(order, starts[1:])]


def _sorted_by_pattern(mask):
    """Indices (n,) that sort the rows of a mask (n, d), and where each pattern starts in them."""
    # Eight bytes of a pattern at a time make a sort key.
    packed = np.packbits(mask, axis=1)
    packed = np.pad(packed, [(0, 0), (0, -packed.shape[1] % 8)])
    keys = packed.view(">u8").astype(np.uint64)
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    is_first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    return order, np.flatnonzero(is_first)


def density_groups(engine, components, X, origin=0.0, by_size=False):
    """Yield the rows of X (n, d) that share a density: row indices, features and the density.

    The density is over these features: all of them if no value is missing or if it is
    MaskedComponents, and none for rows without a value. origin (d,) is what the engine will
    subtract. With by_size, a pattern of many rows gets a marginal density of its own; otherwise a
    row's density depends on its own pattern alone, so that its result is bit-identical whatever the
    other rows are.
    """
    missing = np.isnan(X)
    n_features = X.shape[1]
    n_missing = missing.sum(axis=1)
    features = np.arange(n_features)
    complete = np.flatnonzero(n_missing == 0)
    if len(complete):
        yield complete, features, components
    empty = np.flatnonzero(n_missing == n_features)
    if len(empty):
        yield empty, features[:0], components
    holed = np.flatnonzero((n_missing > 0) & (n_missing < n_features))
    if not len(holed):
        return
    order, starts = _sorted_by_pattern(missing[holed])
    holed = holed[order]
    sizes = np.diff(starts, append=len(order))  # rows of each pattern
    widths, is_by_missing = widths_of(components, n_missing[holed[starts]])
    for width, by_missing in np.unique(np.column_stack([widths, is_by_missing]), axis=0):
        is_member = (widths == width) & (is_by_missing == by_missing)
        if engine.arrays.on_device or not can_mask(components.shifted(origin), width):
            least_size = 1
        elif by_size:
            least_size = np.clip(MANY_NUMBERS // width**2, 2, MANY_ROWS)
        else:
            least_size = np.inf
        is_alone = is_member & (sizes >= least_size)
        for start, size in zip(starts[is_alone], sizes[is_alone], strict=True):
            members = holed[start : start + size]
            observed = np.flatnonzero(~missing[members[0]])
            yield members, observed, components.marginal(observed)
        members = holed[np.repeat(is_member & ~is_alone, sizes)]
        if len(members):
            yield members, features, MaskedComponents(components, int(width), bool(by_missing))


def expectation_with_missing(engine, components, rows):
    """Sum of weighted log-densities of observed values, and expected statistics of whole rows.

    Rows without any value are left out. The statistics are None if there are no others.
    """
    log_likelihood = 0.0
    statistics = None
    for data, weights in _pieces(rows):
        for members, features, density in density_groups(engine, components, data, by_size=True):
            if not len(features):
                continue
            member_weights = None if weights is None else weights[members]
            if len(features) == data.shape[1]:
                part = Rows(data[members], member_weights, rows.origin)
                total, part_statistics = engine.expectation(density, part)
            else:
                observed = data[np.ix_(members, features)]
                part = Rows(observed, member_weights, rows.origin[features])
                total, part_statistics = engine.expectation(density, part)
                part_statistics = components.complete(features, part_statistics)
            log_likelihood += total
            if statistics is None:
                statistics = part_statistics
            else:
                statistics = statistics + part_statistics
    return log_likelihood, statistics


def _pieces(rows):
    """Chunks of the rows and their weights, cut so that copies of a piece stay small."""
    for data, weights in rows.chunks():
        step = max(PIECE_NUMBERS // data.shape[1], 1)
        for start in range(0, len(data), step):
            stop = start + step
            yield data[start:stop], None if weights is None else weights[start:stop]
