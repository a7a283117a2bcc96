"""Draws from components of independent columns, with and without conditions, and means."""

from dataclasses import replace

import numpy as np

from probgen.conditions.given import Conditions
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.mixtures.components import MixtureComponents
from probgen.mixtures.conditions import ColumnConditions
from probgen.mixtures.numerics import draw_levels
from probgen.tables.columns import Column

ROW_NUMBERS = 2**20  # probabilities of levels that differ from row to row, at once


def draw(components: MixtureComponents, n: int, generator: np.random.Generator) -> np.ndarray:
    """Rows of codes (n, d)."""
    drawn = draw_levels(components.weights[:, None], np.zeros(n, dtype=np.intp), generator)
    X = np.empty((n, len(components.layout.columns)), order="F")
    for j in range(X.shape[1]):
        part = ColumnConditions.open(components, j, n)
        X[:, j] = _draw_column(part, drawn, generator)
    return X


def draw_given(
    components: MixtureComponents, conditions: Conditions, generator: np.random.Generator
) -> np.ndarray:
    """Rows of codes (n, d) under conditions on the columns."""
    parts = [ColumnConditions.read(components, j, conditions) for j in _columns(components)]
    joint = components.log_weights + sum(part.log_probability() for part in parts)
    totals = log_sum_exp(joint, axis=1)
    if not np.isfinite(totals).all():
        row = int(np.flatnonzero(~np.isfinite(totals))[0])
        raise ValueError(
            f"given asks for rows that are impossible under the fitted model (row {row} has"
            " probability zero); widen its intervals or move its values nearer to the data."
        )
    cumulative = np.cumsum(np.exp(joint - totals[:, None]), axis=1)
    uniforms = generator.uniform(size=(len(joint), 1)) * cumulative[:, -1:]
    drawn = np.minimum((cumulative <= uniforms).sum(axis=1), len(components) - 1)
    X = np.empty(conditions.values.shape, order="F")
    for j, part in enumerate(parts):
        known = conditions.values[:, j]
        X[:, j] = known
        is_open = np.isnan(known)
        if is_open.any():
            rows = np.flatnonzero(is_open)
            X[rows, j] = _draw_column(part.take(rows), drawn[rows], generator)
    return X


def log_given(components: MixtureComponents, conditions: Conditions) -> np.ndarray:
    """Log-probability or density (n,) of conditions on the columns."""
    joint = components.log_weights + sum(
        ColumnConditions.read(components, j, conditions).log_probability()
        for j in _columns(components)
    )
    return log_sum_exp(joint, axis=1)


def conditional_means(
    components: MixtureComponents, X: np.ndarray, posterior: np.ndarray
) -> np.ndarray:
    """X (n, d) with its NaN replaced, given responsibilities (n, K).

    Numbers are means, rounded where they are whole; categories are the most probable ones. A gap
    that is an outcome is filled in with what would be there.
    """
    filled = X.astype(np.float64)
    for j, column in enumerate(components.layout.columns):
        rows = np.flatnonzero(np.isnan(filled[:, j]))
        if len(rows):
            filled[rows, j] = _mean_codes(components, j, column, posterior[rows])
    return filled


def conditional_draws(
    components: MixtureComponents,
    X: np.ndarray,
    posterior: np.ndarray,
    generator: np.random.Generator,
) -> np.ndarray:
    """X (n, d) with its NaN replaced by draws, given responsibilities (n, K).

    A gap that is an outcome is filled in with what would be there.
    """
    cumulative = np.cumsum(posterior, axis=1)
    uniforms = generator.uniform(size=(len(X), 1)) * cumulative[:, -1:]
    drawn = np.minimum((cumulative <= uniforms).sum(axis=1), len(components) - 1)
    filled = X.astype(np.float64)
    for j in _columns(components):
        rows = np.flatnonzero(np.isnan(filled[:, j]))
        if len(rows):
            part = _without_gap(ColumnConditions.open(components, j, len(rows)))
            filled[rows, j] = _draw_column(part, drawn[rows], generator)
    return filled


def _without_gap(part):
    """Conditions on a column of which nothing is a gap."""
    if not part.column.has_gaps or len(part.levels) == 1:
        return part
    levels = part.levels.copy()  # (L, K)
    levels[part.column.gap_outcome] = 0.0
    levels /= np.maximum(levels.sum(axis=0), np.finfo(np.float64).tiny)
    return replace(part, levels=levels)


def _mean_codes(components, j, column, posterior):
    """Codes (n,) of a column that are typical under responsibilities (n, K)."""
    part = _without_gap(ColumnConditions.open(components, j, 1))
    levels = part.levels
    probabilities = posterior @ levels.T  # (n, L)
    if column.levels:
        return np.argmax(probabilities[:, : len(column.levels)], axis=1).astype(np.float64)
    means = probabilities[:, : column.n_known] @ np.array(column.atoms)
    if column.rest == "modelled":
        by_component = part.family.mean(part.params, part.log_z)
        share = levels[column.rest_outcome] * by_component
        means = means + posterior @ share
    elif column.rest == "fixed":
        means = means + probabilities[:, column.rest_outcome] * column.center
    if column.step:
        means = np.clip(np.rint(means), column.low, column.high)
    return means


def _columns(components):
    return range(len(components.layout.columns))


def _draw_column(part, drawn, generator):
    """Codes (n,) of a column for rows of the drawn components (n,), under conditions."""
    column: Column = part.column
    outcomes = np.zeros(len(drawn))
    if len(part.levels) > 1:
        outcomes = _draw_outcomes(part, drawn, generator)
    elif column.rest != "none":
        outcomes += column.rest_outcome
    values = np.full(len(drawn), np.nan)
    if column.rest != "none":
        rest = np.flatnonzero(outcomes == column.rest_outcome)
        values[rest] = part.take(rest).draw_rest(drawn[rest], generator)
    return column.codes_of(outcomes, values)


def _draw_outcomes(part, drawn, generator):
    """Outcomes (n,), as floats, of rows of the drawn components (n,)."""
    if part.is_open:
        return draw_levels(part.levels, drawn, generator).astype(np.float64)
    outcomes = np.empty(len(drawn))
    step = max(ROW_NUMBERS // len(part.levels), 1)
    for start in range(0, len(drawn), step):
        rows = np.arange(start, min(start + step, len(drawn)))
        logs = part.take(rows).log_outcomes(drawn[rows])  # (n, L)
        peaks = logs.max(axis=1, keepdims=True)
        cumulative = np.cumsum(np.exp(logs - peaks), axis=1)
        uniforms = generator.uniform(size=(len(rows), 1)) * cumulative[:, -1:]
        outcomes[rows] = (cumulative <= uniforms).sum(axis=1)
    return np.minimum(outcomes, len(part.levels) - 1.0)
