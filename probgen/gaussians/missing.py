"""Missing values: each row under the marginals of what it holds (Ghahramani & Jordan, 1994).

Rows that miss the same features share a marginal density where they are many; the others are
answered side by side, each with a pattern of its own.
"""

import numpy as np

from probgen.gaussians.masked import MaskedComponents, can_mask, widths_of
from probgen.gaussians.rows import Rows

# Rows of one pattern from which on a marginal density of their own is the faster: at most, and
# times the numbers in the matrix that each row takes otherwise (measured on two cores).
MANY_ROWS = 256
MANY_NUMBERS = 2**14
# Numbers in a piece of rows that is sorted by pattern at once: 32 MB.
PIECE_NUMBERS = 2**22


def patterns(mask):
    """Pairs of observed feature indices and row indices, for a (n, d) mask that is True where
    values are missing."""
    if not mask.any():
        return [(np.arange(mask.shape[1]), np.arange(len(mask)))]
    order, starts = _sorted_by_pattern(mask)
    return [(np.flatnonzero(~mask[rows[0]]), rows) for rows in np.split(order, starts[1:])]


def _sorted_by_pattern(mask):
    """Indices of the rows of a (n, d) mask, equal ones together, and where each group of them
    starts."""
    packed = np.packbits(mask, axis=1)
    packed = np.pad(packed, [(0, 0), (0, -packed.shape[1] % 8)])
    keys = packed.view(">u8").astype(np.uint64)
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    is_first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    return order, np.flatnonzero(is_first)


def parts(engine, components, X, origin=0.0, by_size=False):
    """Rows that can be answered at once, for rows (n, d) with NaN: their indices, features and
    density.

    The density is of these features alone: all of them, where it is MaskedComponents or no value is
    missing, and none for rows that hold nothing. Origin (d,) is what the engine will subtract. By
    size, patterns of many rows get a marginal density of their own; else a row's own pattern alone
    tells what becomes of it, so that its answer is the same to the last digit beside any others.
    """
    missing = np.isnan(X)
    n_missing, n_features = missing.sum(axis=1), X.shape[1]
    features = np.arange(n_features)
    whole, empty = np.flatnonzero(n_missing == 0), np.flatnonzero(n_missing == n_features)
    if len(whole):
        yield whole, features, components
    if len(empty):
        yield empty, features[:0], components
    holed = np.flatnonzero((n_missing > 0) & (n_missing < n_features))
    if not len(holed):
        return
    order, starts = _sorted_by_pattern(missing[holed])
    holed, sizes = holed[order], np.diff(starts, append=len(order))
    widths, is_by_missing = widths_of(components, n_missing[holed[starts]])
    for width, side in np.unique(np.column_stack([widths, is_by_missing]), axis=0):
        mine = (widths == width) & (is_by_missing == side)
        can = not engine.arrays.on_device and can_mask(components.shifted(origin), width)
        many = np.clip(MANY_NUMBERS // width**2, 2, MANY_ROWS) if by_size else np.inf
        alone = mine & (sizes >= (many if can else 1))
        for start, size in zip(starts[alone], sizes[alone], strict=True):
            members = holed[start : start + size]
            observed = np.flatnonzero(~missing[members[0]])
            yield members, observed, components.marginal(observed)
        members = holed[np.repeat(mine & ~alone, sizes)]
        if len(members):
            yield members, features, MaskedComponents(components, int(width), bool(side))


def expectation_with_missing(engine, components, rows):
    """Sum of weighted log-densities of what is observed, and the expected statistics of whole rows.

    Rows without any value say nothing of the components and are left out.
    """
    log_likelihood, statistics = 0.0, None
    for data, weights in _pieces(rows):
        for members, features, density in parts(engine, components, data, by_size=True):
            if not len(features):
                continue
            is_all = len(features) == data.shape[1]
            part = Rows(
                data[members] if is_all else data[np.ix_(members, features)],
                None if weights is None else weights[members],
                rows.origin[features],
            )
            total, found = engine.expectation(density, part)
            found = found if is_all else components.complete(features, found)
            log_likelihood += total
            statistics = found if statistics is None else statistics + found
    return log_likelihood, statistics


def _pieces(rows):
    """Chunks of the rows and their weights, cut so that copies of a piece stay small."""
    for data, weights in rows.chunks():
        step = max(PIECE_NUMBERS // data.shape[1], 1)
        for start in range(0, len(data), step):
            yield (
                data[start : start + step],
                None if weights is None else weights[start : start + step],
            )
