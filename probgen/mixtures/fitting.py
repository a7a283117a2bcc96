"""A fit of a mixture of independent columns, from rows of codes to components."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen.gaussians.em import EMEngine, Fit
from probgen.gaussians.starts import RowSummary, sample_rows, start_responsibilities
from probgen.gaussians.statistics import merged
from probgen.mixtures.components import MixtureComponents
from probgen.mixtures.em import Settings, expectation, from_responsibilities, maximisation, run_em
from probgen.mixtures.layout import Layout, family_of, make_family
from probgen.mixtures.rows import MOST_TABULATED, Encoder, TableRows, make_encoder
from probgen.tables.columns import Column, features_of, split_codes


@dataclass
class TableSummary:
    """What starts of a fit share.

    Attributes
    ----------
    layout : Layout
    rows : TableRows
    encoder : Encoder
    sample : ndarray of shape (n, m)
        Features of some distinct rows.
    sample_weights : ndarray of shape (n,)
    constant : float
        Mean log-likelihood of rests with a fixed distribution.
    """

    layout: Layout
    rows: TableRows
    encoder: Encoder
    sample: np.ndarray
    sample_weights: np.ndarray
    constant: float


def choose_layout(
    columns: list[Column],
    distributions: list[str],
    sample: np.ndarray,
    weights: np.ndarray,
    min_scale: float,
) -> Layout:
    """The Layout of columns with distributions, by name or "auto", from features (n, m)."""
    families: list = []
    for j, feature in enumerate(features_of(columns)):
        if feature.n_levels:
            families.append(None)
            continue
        is_there = ~np.isnan(sample[:, j])
        x, x_weights = sample[is_there, j], weights[is_there]
        name = family_of(columns[feature.column], distributions[feature.column], x, x_weights)
        families.append(make_family(name, feature, x, x_weights, min_scale))
    return Layout(columns, families)


def summarise(
    columns: list[Column],
    distributions: list[str],
    data: Any,
    weights: np.ndarray | None,
    n_rows: int,
    generator: np.random.Generator,
    min_scale: float,
) -> TableSummary:
    """The TableSummary of rows of codes, an array or RowBlocks, with a sample of n_rows rows."""
    rows = TableRows(columns, data, weights)
    codes, sample_weights = sample_rows(data, weights, n_rows, generator)
    sample = split_codes(columns, codes)
    features = features_of(columns)
    survey = rows.survey(len(features), [feature.step for feature in features])
    # The least number of all rows decides on what is possible, not that of the sample.
    for j, feature in enumerate(features):
        is_auto = distributions[feature.column] == "auto"
        is_zero_possible = feature.low == 0.0 and not feature.step and not feature.n_levels
        if is_auto and is_zero_possible and survey.lowest[j] <= 0.0:
            distributions = [*distributions]
            distributions[feature.column] = "normal"
    layout = choose_layout(columns, distributions, sample, sample_weights, min_scale)
    tables = []
    for family, table in zip(layout.families, survey.tables):
        if table is not None and len(table) > MOST_TABULATED and not family.needs_values:
            table = None
        tables.append(table)
    constant = survey.log_fixed / survey.total
    encoder = make_encoder(layout, tables, survey)
    return TableSummary(layout, rows, encoder, sample, sample_weights, constant)


def fit_table(
    summary: TableSummary,
    settings: Settings,
    *,
    n_components: int,
    init_params: str,
    generator: np.random.Generator,
    n_shares: int = 1,
    components: MixtureComponents | None = None,
    previous: float = -np.inf,
    report: Any = None,
) -> Fit:
    """Fit components to the rows of a summary by EM, from a start or from given components."""
    if components is None:
        weighted = start_responsibilities(
            "diag",
            _numeric_summary(summary),
            n_components,
            init_params,
            generator,
            0.0,
        )
        components = from_responsibilities(
            summary.layout,
            summary.encoder,
            summary.sample,
            weighted * summary.sample_weights[:, None],
            settings.smoothing,
        )
    with EMEngine("cpu", n_shares) as engine:
        return run_em(
            engine,
            components,
            summary.rows,
            summary.encoder,
            settings,
            constant=summary.constant,
            previous=previous,
            report=report,
        )


def update_table(
    components: MixtureComponents,
    statistics: Any,
    data: Any,
    weights: np.ndarray | None,
    settings: Settings,
    learning_decay: float,
) -> Fit:
    """Fit components to more rows by one E-step over them and one M-step over all statistics."""
    layout = components.layout
    rows = TableRows(layout.columns, data, weights)
    steps = [feature.step for feature in layout.features]
    survey = rows.survey(len(steps), steps)
    tables: list = []
    for j, table in enumerate(survey.tables):
        # A feature whose statistics are sums stays without a table.
        is_sums = statistics is not None and isinstance(statistics.parts[j], np.ndarray)
        tables.append(None if is_sums else table)
    with EMEngine("cpu") as engine:
        total, batch = expectation(engine, components, rows, make_encoder(layout, tables, survey))
    lower_bound = total / batch.total + survey.log_fixed / survey.total
    if statistics is not None:
        batch = merged(statistics, batch, learning_decay)
    estimate, n_repaired = maximisation(components, batch, settings.smoothing)
    fit: Any = Fit(estimate, lower_bounds=[lower_bound], statistics=batch)
    fit.n_repaired = n_repaired
    return fit


def _numeric_summary(summary):
    """The sample as numbers among which k-means finds clusters: levels become indicators."""
    parts = []
    missing = []
    for j, (feature, family) in enumerate(zip(summary.layout.features, summary.layout.families)):
        x = summary.sample[:, j]
        is_missing = np.isnan(x)
        if family is None:
            # Two levels need one indicator.
            levels = np.arange(feature.n_levels if feature.n_levels > 2 else 1)
            part = (x[:, None] == levels) - np.average(
                x[:, None] == levels, axis=0, weights=summary.sample_weights * ~is_missing + 1e-300
            )
        else:
            part = family.start_coordinate(x)[:, None]
        part = np.where(is_missing[:, None] | ~np.isfinite(part), 0.0, part)
        parts.append(part)
        missing.append(np.repeat(is_missing[:, None], part.shape[1], axis=1))
    if not parts:
        parts, missing = (
            [np.zeros((len(summary.sample), 1))],
            [np.zeros((len(summary.sample), 1), dtype=bool)],
        )
    rows = np.concatenate(parts, axis=1)
    ends: Any = np.zeros(rows.shape[1])
    source: Any = None
    holes = np.concatenate(missing, axis=1)
    return RowSummary(rows, summary.sample_weights, holes, ends, ends + 1.0, source)
