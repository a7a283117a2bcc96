"""Mixtures of Gaussians given some features: posterior weights, conditional laws, and draws under
intervals."""

import numpy as np

from probgen.distributions.truncated_normal import (
    log_interval_probability,
    sample_truncated_standard_normal,
)
from probgen.gaussians.components import conditional_gaussian
from probgen.gaussians.log_probabilities import log_sum_exp, responsibilities
from probgen.gaussians.masked import FilledComponents, MaskedComponents
from probgen.gaussians.missing import parts, patterns
from probgen.gaussians.truncated import log_rectangle_probability, sample_truncated_normal


def log_joint(engine, components, X, by_size=False):
    """Log of weight times the marginal density of what is observed, (n, K), for rows with NaN where
    nothing is.

    By size, rows of a pattern that many share are answered the quicker, to other last digits.
    """
    joint = np.empty((len(X), len(components)))
    with np.errstate(divide="ignore"):
        log_weights = np.log(components.weights)
    for members, density, rows in _marginals(engine, components, X, by_size):
        if not rows.shape[1]:
            joint[members] = log_weights
            continue
        found = np.empty((len(components), len(rows)))

        def write(block, values, found=found):
            found[:, block] = values[:, : block.stop - block.start]

        engine.query(density, rows, write)
        joint[members] = found.T
    return joint


def log_density(engine, components, X):
    """Marginal log-density of what is observed, (n,), for rows with NaN where nothing is; 0 where
    all is missing."""
    scores = np.zeros(len(X))
    for members, density, rows in _marginals(engine, components, X):
        if rows.shape[1]:
            scores[members] = engine.log_densities(density, rows)
    return scores


def _marginals(engine, components, X, by_size=False):
    """Indices, densities and values of rows that are answered together."""
    origin = components.weights @ components.means
    for members, features, density in parts(engine, components, X, origin, by_size):
        is_all = len(members) == len(X) and len(features) == X.shape[1]
        yield members, density, X if is_all else X[np.ix_(members, features)]


def conditional_mean(engine, components, X):
    """X with its NaN replaced by the mean of the missing features given the observed ones."""
    filled = X.copy()
    for members, features, density in parts(
        engine, components, X, components.weights @ components.means
    ):
        rows = X[members]
        if isinstance(density, MaskedComponents):
            means = np.empty_like(rows)

            def write(block, values, means=means):
                means[block] = values[:, : block.stop - block.start].T

            engine.query(
                FilledComponents(components, density.width, density.is_by_missing), rows, write
            )
            filled[members] = np.where(np.isnan(rows), means, rows)
        elif len(features) < X.shape[1]:
            filled[members] = _filled_alike(
                components, rows, features, responsibilities(log_joint(engine, components, rows))
            )
    return filled


def _filled_alike(components, rows, observed, posterior):
    """Rows that miss all but the observed features, filled with their means under posterior weights
    (n, K)."""
    filled = rows.copy()
    missing = np.setdiff1d(np.arange(rows.shape[1]), observed)
    values = np.zeros((len(rows), len(missing)))
    for k in np.flatnonzero(posterior.max(axis=0) > 0.0):
        regression, _ = conditional_gaussian(components, k, observed, missing)
        shift = rows[:, observed] - components.means[k, observed]
        values += posterior[:, k, None] * (components.means[k, missing] + shift @ regression.T)
    filled[:, missing] = values
    return filled


def log_joint_of_conditions(engine, components, conditions):
    """Log of weight, times the density of the known values, times the probability of the intervals;
    (n, K)."""
    joint = log_joint(engine, components, conditions.values, by_size=True)
    for known, bounded, members in _layouts(conditions):
        if not len(bounded):
            continue
        low, high = (
            conditions.low[np.ix_(members, bounded)],
            conditions.high[np.ix_(members, bounded)],
        )
        for k in range(len(components)):
            means, covariance = _law(
                components, k, conditions.values[np.ix_(members, known)], known, bounded
            )
            joint[members, k] += _log_probabilities(means, covariance, low, high)
    return joint


def draw_given(engine, components, conditions, generator):
    """Rows (n, d), one for each row of the conditions, and the component each came from."""
    joint = log_joint_of_conditions(engine, components, conditions)
    totals = log_sum_exp(joint.T)
    if not np.isfinite(totals).all():
        row = int(np.flatnonzero(~np.isfinite(totals))[0])
        raise ValueError(
            f"given asks for rows that the fitted model holds impossible (row {row} has probability"
            " zero); widen its intervals or move its values nearer to the data."
        )
    cumulative = np.cumsum(np.exp(joint - totals[:, None]), axis=1)
    uniforms = generator.uniform(size=(len(joint), 1)) * cumulative[:, -1:]
    chosen = np.minimum((cumulative <= uniforms).sum(axis=1), len(components) - 1)
    rows = conditions.values.copy()
    for known, bounded, members in _layouts(conditions):
        for k in np.unique(chosen[members]):
            mine = members[chosen[members] == k]
            if len(bounded):
                means, covariance = _law(components, k, rows[np.ix_(mine, known)], known, bounded)
                low, high = (
                    conditions.low[np.ix_(mine, bounded)],
                    conditions.high[np.ix_(mine, bounded)],
                )
                rows[np.ix_(mine, bounded)] = _truncated(means, covariance, low, high, generator)
            fixed = np.union1d(known, bounded).astype(np.intp)
            free = np.setdiff1d(np.arange(rows.shape[1]), fixed)
            if len(free) == rows.shape[1]:
                rows[mine] = components.draw(k, len(mine), generator)
            elif len(free):
                means, covariance = _law(components, k, rows[np.ix_(mine, fixed)], fixed, free)
                noise = generator.standard_normal((len(mine), len(free)))
                rows[np.ix_(mine, free)] = means + noise @ _square_root(covariance)
    return rows, chosen


def _layouts(conditions):
    """Known features, bounded features and row indices, for rows that share both."""
    known = ~np.isnan(conditions.values)
    bounded = ~known & (np.isfinite(conditions.low) | np.isfinite(conditions.high))
    n_features = known.shape[1]
    for _, members in patterns(np.column_stack([known, bounded])):
        first = members[0]
        features = np.arange(n_features)
        yield features[known[first]], features[bounded[first]], members


def _law(components, k, values, known, asked):
    """Conditional means (n, a) and covariance (a, a) of the asked features given known values (n,
    o)."""
    regression, covariance = conditional_gaussian(components, k, known, asked)
    return (
        components.means[k, asked] + (values - components.means[k, known]) @ regression.T,
        covariance,
    )


def _log_probabilities(means, covariance, low, high):
    """Log-probabilities (n,) of boxes under Gaussians of one covariance."""
    if means.shape[1] == 1:
        scale = np.sqrt(covariance[0, 0])
        return log_interval_probability((low - means)[:, 0] / scale, (high - means)[:, 0] / scale)
    return _each(
        means,
        low,
        high,
        lambda mean, lower, upper, n: log_rectangle_probability(mean, covariance, lower, upper),
    )


def _truncated(means, covariance, low, high, generator):
    """Draws (n, a) from Gaussians of one covariance within boxes."""
    if means.shape[1] == 1:
        scale = np.sqrt(covariance[0, 0])
        noise = sample_truncated_standard_normal(
            (low - means) / scale, (high - means) / scale, generator
        )
        # Scaling back may round past an end.
        return np.clip(means + scale * noise, low, high)
    return _each(
        means,
        low,
        high,
        lambda mean, lower, upper, n: sample_truncated_normal(
            mean, covariance, lower, upper, n, generator
        ),
    )


def _each(means, low, high, compute):
    """Results of compute(mean, low, high, n) for each distinct row of arguments, in the rows'
    order."""
    _, first, inverse = np.unique(
        np.concatenate([means, low, high], axis=1), axis=0, return_index=True, return_inverse=True
    )
    inverse = inverse.ravel()
    results = None
    for i, row in enumerate(first):
        members = np.flatnonzero(inverse == i)
        found = np.asarray(compute(means[row], low[row], high[row], len(members)))
        if results is None:
            results = np.empty((len(means), *found.shape[1:]))
        results[members] = found
    return results


def _square_root(covariance):
    """R with R'R = covariance (a, a), which may be singular."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(np.maximum(values, 0.0))).T
