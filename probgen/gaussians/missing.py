"""Missing values: each row under the marginals of what it holds (Ghahramani & Jordan, 1994).

Rows that miss the same features share a marginal density where they are many; the others are answered side by side,
each with a pattern of its own.
"""

import numpy as np

from probgen.gaussians.em import Rows
from probgen.gaussians.masked import MaskedComponents, can_mask

# From this many rows on, a marginal density of their own is the faster for rows of one pattern (measured).
MANY_ROWS = 256
# Numbers in a piece of rows that is sorted by pattern at once: 32 MB.
PIECE_NUMBERS = 2**22


def patterns(mask):
    """Pairs of observed feature indices and row indices, for a (n, d) mask that is True where values are missing."""
    if not mask.any():
        return [(np.arange(mask.shape[1]), np.arange(len(mask)))]
    order, starts = _sorted_by_pattern(mask)
    return [(np.flatnonzero(~mask[rows[0]]), rows) for rows in np.split(order, starts[1:])]


def _sorted_by_pattern(mask):
    """Indices of the rows of a (n, d) mask, equal ones together, and where each group of them starts."""
    packed = np.packbits(mask, axis=1)
    packed = np.pad(packed, [(0, 0), (0, -packed.shape[1] % 8)])
    keys = packed.view(">u8").astype(np.uint64)
    order = np.lexsort(keys.T[::-1])
    ordered = keys[order]
    is_first = np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1))
    return order, np.flatnonzero(is_first)


def parts(engine, components, X, origin=0.0, many=None):
    """Rows that can be answered at once, for rows (n, d) with NaN: their indices, features and density.

    The density is of these features alone: all of them, where it is MaskedComponents or no value is missing, and none
    for rows that hold nothing. Rows of one pattern get a marginal density where they are at least many. Which rows
    are together tells nothing else of a row than its own pattern, unless many is given. Origin (d,) is what the engine
    will subtract.
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
    if many is not None and len(holed) >= many:
        order, starts = _sorted_by_pattern(missing[holed])
        sizes = np.diff(starts, append=len(order))
        for start, size in zip(starts[sizes >= many], sizes[sizes >= many], strict=True):
            members = holed[order[start : start + size]]
            observed = np.flatnonzero(~missing[members[0]])
            yield members, observed, components.marginal(observed)
        holed = np.sort(holed[order[np.repeat(sizes < many, sizes)]])
    # Matrices of one width for rows with about as many NaN: 1, 2, 3 to 4, 5 to 8, ...
    widths = np.minimum(2 ** np.ceil(np.log2(n_missing[holed])).astype(np.intp), n_features)
    for width in np.unique(widths):
        members = holed[widths == width]
        if not engine.arrays.on_device and can_mask(components.shifted(origin), width):
            yield members, features, MaskedComponents(components, width)
            continue
        for observed, rows in patterns(missing[members]):
            yield members[rows], observed, components.marginal(observed)


def expectation_with_missing(engine, components, rows):
    """Sum of weighted log-densities of what is observed, and the expected statistics of whole rows.

    Rows without any value say nothing of the components and are left out.
    """
    log_likelihood, statistics = 0.0, None
    for data, weights in _pieces(rows):
        for members, features, density in parts(engine, components, data, many=MANY_ROWS):
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
            yield data[start : start + step], None if weights is None else weights[start : start + step]
