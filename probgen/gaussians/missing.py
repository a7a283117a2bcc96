"""Missing values: rows grouped by what is observed, each group under the marginals (Ghahramani & Jordan, 1994)."""

import numpy as np

from probgen.gaussians.em import Rows


def patterns(mask):
    """Pairs of observed feature indices and row indices, for a (n, d) mask that is True where values are missing."""
    if not mask.any():
        return [(np.arange(mask.shape[1]), np.arange(len(mask)))]
    packed = np.packbits(mask, axis=1)
    _, first, inverse = np.unique(packed, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(inverse.ravel(), kind="stable")
    groups = np.split(order, np.cumsum(np.bincount(inverse.ravel()))[:-1])
    return [(np.flatnonzero(~mask[i]), rows) for i, rows in zip(first, groups, strict=True)]


def expectation_with_missing(engine, components, rows):
    """Sum of weighted log-densities of what is observed, and the expected statistics of whole rows.

    Rows without any value say nothing of the components and are left out.
    """
    log_likelihood, statistics = 0.0, None
    for data, weights in rows.chunks():
        for observed, members in patterns(np.isnan(data)):
            if not len(observed):
                continue
            whole = len(observed) == data.shape[1]
            part = Rows(
                data[members] if whole else data[np.ix_(members, observed)],
                None if weights is None else weights[members],
                rows.origin[observed],
            )
            marginal = components if whole else components.marginal(observed)
            total, found = engine.expectation(marginal, part)
            found = found if whole else components.complete(observed, found)
            log_likelihood += total
            statistics = found if statistics is None else statistics + found
    return log_likelihood, statistics
