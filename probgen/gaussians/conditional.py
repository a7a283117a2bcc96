"""Conditional distributions of mixtures of Gaussians, given values and intervals of features."""

import numpy as np

from probgen.distributions.truncated_normal import (
    log_interval_probability,
    sample_truncated_standard_normal,
)
from probgen.gaussians.components import conditional_gaussian, origin_of
from probgen.gaussians.log_probabilities import log_sum_exp, responsibilities
from probgen.gaussians.masked import FilledComponents, MaskedComponents
from probgen.gaussians.missing import density_groups, patterns
from probgen.gaussians.truncated import log_rectangle_probability, sample_truncated_normal


def log_joint(engine, components, X, by_size=False):
    """Log of weight times the marginal density of the observed values, (n, K), of rows with NaN.

    With by_size, rows of a pattern that many rows share take a faster path, which rounds otherwise.
    """
    if X.shape[1] and not np.isnan(X).any():
        return engine.log_joint(components, X)
    joint = np.empty((len(X), len(components)))
    with np.errstate(divide="ignore"):
        log_weights = np.log(components.weights)
    for members, density, rows in _marginals(engine, components, X, by_size):
        if rows.shape[1]:
            joint[members] = engine.log_joint(density, rows)
        else:
            joint[members] = log_weights
    return joint


def log_density(engine, components, X):
    """Marginal log-density (n,) of the observed values of rows with NaN; 0 if there are none."""
    scores = np.zeros(len(X))
    for members, density, rows in _marginals(engine, components, X):
        if rows.shape[1]:
            scores[members] = engine.log_densities(density, rows)
    return scores


def _marginals(engine, components, X, by_size=False):
    """Yield row indices, their shared density and the values of the features that it is over."""
    if not np.isnan(X).any():
        yield slice(None), components, X
        return
    origin = origin_of(components.means)
    for members, features, density in density_groups(engine, components, X, origin, by_size):
        yield members, density, X[np.ix_(members, features)]


def conditional_mean(engine, components, X):
    """X (n, d) with its NaN replaced by the means of missing features given observed ones."""
    filled = X.copy()
    origin = origin_of(components.means)
    for members, features, density in density_groups(engine, components, X, origin):
        rows = X[members]
        if isinstance(density, MaskedComponents):
            regression = FilledComponents(components, density.width, density.is_by_missing)
            means = np.empty_like(rows)

            def write(block, values, means=means):
                means[block] = values[0, :, : block.stop - block.start].T

            engine.query(regression, rows, write)
            filled[members] = np.where(np.isnan(rows), means, rows)
        elif len(features) < X.shape[1]:
            posterior = responsibilities(log_joint(engine, components, rows))
            filled[members] = _filled_alike(components, rows, features, posterior)
    return filled


def _filled_alike(components, rows, observed, posterior):
    """Rows (n, d) whose missing features, all but observed, are filled in with conditional means.

    posterior (n, K) weighs the means under each component.
    """
    filled = rows.copy()
    missing = np.setdiff1d(np.arange(rows.shape[1]), observed)
    values = np.zeros((len(rows), len(missing)))
    for k in np.flatnonzero(posterior.max(axis=0) > 0.0):
        regression, _ = conditional_gaussian(components, k, observed, missing)
        deviations = rows[:, observed] - components.means[k, observed]
        means = components.means[k, missing] + deviations @ regression.T
        values += posterior[:, k, None] * means
    filled[:, missing] = values
    return filled


def log_joint_of_conditions(engine, components, conditions):
    """Log of weight times the density of known values and the probability of intervals, (n, K)."""
    joint = log_joint(engine, components, conditions.values, by_size=True)
    for known, bounded, members in _layouts(conditions):
        if not len(bounded):
            continue
        values = conditions.values[np.ix_(members, known)]
        low = conditions.low[np.ix_(members, bounded)]
        high = conditions.high[np.ix_(members, bounded)]
        for k in range(len(components)):
            means, covariance = _conditional(components, k, values, known, bounded)
            joint[members, k] += _log_probabilities(means, covariance, low, high)
    return joint


def draw_given(engine, components, conditions, generator):
    """Rows (n, d) drawn under conditions, and the component (n,) that each came from."""
    joint = log_joint_of_conditions(engine, components, conditions)
    totals = log_sum_exp(joint.T)
    if not np.isfinite(totals).all():
        row = int(np.flatnonzero(~np.isfinite(totals))[0])
        raise ValueError(
            f"given asks for rows that are impossible under the fitted model (row {row} has"
            " probability zero); widen its intervals or move its values nearer to the data."
        )
    # A component for each row by its posterior, then rows of one component and layout at once.
    cumulative = np.cumsum(np.exp(joint - totals[:, None]), axis=1)
    uniforms = generator.uniform(size=(len(joint), 1)) * cumulative[:, -1:]
    drawn = np.minimum((cumulative <= uniforms).sum(axis=1), len(components) - 1)
    rows = conditions.values.copy()
    for known, bounded, members in _layouts(conditions):
        for k in np.unique(drawn[members]):
            members_of_k = members[drawn[members] == k]
            block = conditions.take(members_of_k)
            rows[members_of_k] = _draw_alike(components, k, block, known, bounded, generator)
    return rows, drawn


def _draw_alike(components, k, conditions, known, bounded, generator):
    """Rows (n, d) of component k under conditions that share known and bounded features.

    Bounded features are drawn given the known ones, then the free features given both.
    """
    n, d = conditions.values.shape
    rows = conditions.values.copy()
    if len(bounded):
        values = np.take(rows, known, axis=1)
        means, covariance = _conditional(components, k, values, known, bounded)
        low = conditions.low[:, bounded]
        high = conditions.high[:, bounded]
        rows[:, bounded] = _draw_truncated(means, covariance, low, high, generator)
    fixed = np.union1d(known, bounded).astype(np.intp)
    free = np.setdiff1d(np.arange(d), fixed)
    if len(free) == d:
        return components.draw(k, n, generator)
    if len(free):
        values = np.take(rows, fixed, axis=1)
        means, covariance = _conditional(components, k, values, fixed, free)
        noise = generator.standard_normal((n, len(free)))
        rows[:, free] = means + noise @ _square_root(covariance)
    return rows


def _layouts(conditions):
    """Yield known features, bounded features and row indices, for rows that share both."""
    known = ~np.isnan(conditions.values)
    bounded = ~known & (np.isfinite(conditions.low) | np.isfinite(conditions.high))
    for _, members in patterns(np.column_stack([known, bounded])):
        first = members[0]
        yield np.flatnonzero(known[first]), np.flatnonzero(bounded[first]), members


def _conditional(components, k, values, known, features):
    """Means (n, a) and covariance (a, a) of features under component k, given values (n, o)."""
    regression, covariance = conditional_gaussian(components, k, known, features)
    deviations = values - components.means[k, known]
    return components.means[k, features] + deviations @ regression.T, covariance


def _log_probabilities(means, covariance, low, high):
    """Log-probabilities (n,) of boxes under Gaussians of one covariance."""
    if means.shape[1] == 1:
        scale = np.sqrt(covariance[0, 0])
        return log_interval_probability((low - means)[:, 0] / scale, (high - means)[:, 0] / scale)

    def log_probability(mean, lower, upper, n):
        return log_rectangle_probability(mean, covariance, lower, upper)

    return _for_distinct_rows(means, low, high, log_probability)


def _draw_truncated(means, covariance, low, high, generator):
    """Draws (n, a) from Gaussians of one covariance within boxes."""
    if means.shape[1] == 1:
        scale = np.sqrt(covariance[0, 0])
        noise = sample_truncated_standard_normal(
            (low - means) / scale, (high - means) / scale, generator
        )
        return np.clip(means + scale * noise, low, high)  # scaling back may round past an end

    def draw(mean, lower, upper, n):
        return sample_truncated_normal(mean, covariance, lower, upper, n, generator)

    return _for_distinct_rows(means, low, high, draw)


def _for_distinct_rows(means, low, high, compute):
    """Results of compute(mean, low, high, n), called once for each set of n equal rows."""
    # Often all rows share one condition, whose minimax tilting is then solved once.
    arguments = np.concatenate([means, low, high], axis=1)
    _, first, inverse = np.unique(arguments, axis=0, return_index=True, return_inverse=True)
    inverse = inverse.ravel()
    results = None
    for i, row in enumerate(first):
        members = np.flatnonzero(inverse == i)
        values = np.asarray(compute(means[row], low[row], high[row], len(members)))
        if results is None:
            results = np.empty((len(means), *values.shape[1:]))
        results[members] = values
    return results


def _square_root(covariance):
    """R with R'R = covariance (a, a), which may be singular."""
    # Of the correlations, so that features in small units keep their digits beside large ones.
    scales = np.sqrt(np.maximum(np.diagonal(covariance), 0.0))
    scales = np.where(scales > 0.0, scales, 1.0)
    correlations = covariance / np.outer(scales, scales)
    try:
        root = np.linalg.cholesky(correlations).T
    except np.linalg.LinAlgError:
        values, vectors = np.linalg.eigh(correlations)
        root = (vectors * np.sqrt(np.maximum(values, 0.0))).T
    return root * scales
