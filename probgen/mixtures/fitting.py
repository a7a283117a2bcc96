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

N_STEPS_OF_ONE = 8  # of EM with one component
MOST_REGRESSORS = 1024
RAREST = 0.03  # deviation of the indicators of levels that k-means tells apart
RAREST_REGRESSOR = 0.1  # deviation of those that are regressors
RIDGE = 1e-3  # of correlations, of which those of the levels of a column are dependent


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
    may_bin: bool,
) -> Layout:
    """The Layout of columns with distributions, by name or "auto", from features (n, m).

    may_bin says that "auto" may be a histogram.
    """
    families: list = []
    for j, feature in enumerate(features_of(columns)):
        if feature.n_levels:
            families.append(None)
            continue
        is_there = ~np.isnan(sample[:, j])
        x, x_weights = sample[is_there, j], weights[is_there]
        name = family_of(columns[feature.column], distributions[feature.column], x, x_weights)
        families.append(make_family(name, feature, x, x_weights, min_scale))
    layout = Layout(columns, families)
    if not may_bin:
        return layout
    information = _information_of_others(layout, sample, weights)
    for j, family in layout.values:
        if distributions[layout.features[j].column] != "auto":
            continue
        is_there = ~np.isnan(sample[:, j])
        x, x_weights = sample[is_there, j], weights[is_there]
        binned = make_family("histogram", layout.features[j], x, x_weights, min_scale)
        if _gain(binned, family, x, x_weights) > information[j]:
            families[j] = binned
    return Layout(columns, families)


def _gain(binned, family, x, weights):
    """How much likelier a number is in bins than in a family, in nats, less a penalty (BIC)."""
    shares = weights / max(weights.sum(), np.finfo(np.float64).tiny)
    used = shares > 0.0
    x, shares = x[used], shares[used]
    scores = []
    for each in (binned, family):
        params = each.first_params(1)
        for _ in range(N_STEPS_OF_ONE):
            params, _ = each.estimate_from_values(x, shares[:, None], params)
        log_prob = each.log_prob(x, params, each.log_z(params))[:, 0]
        scores.append(shares @ log_prob - 0.5 * each.n_free * np.log(len(x)) / len(x))
    return scores[0] - scores[1]


def _information_of_others(layout, sample, weights):
    """What other features (n, m) tell of each value by linear regression, in nats.

    Components are narrow in a value that depends on others, whose own shape then matters less. It
    is infinite where there are too many features for the rows.
    """
    rows, owners = start_rows(layout, sample, weights)
    shares = weights / weights.sum()
    rows = rows - shares @ rows
    deviations = np.sqrt(shares @ rows**2)
    used = np.flatnonzero(deviations > RAREST_REGRESSOR)
    n, p = len(rows), len(used)
    if p > min(n // 2, MOST_REGRESSORS):
        return dict.fromkeys(owners, np.inf)
    rows = rows[:, used] / deviations[used]
    correlation = (rows * shares[:, None]).T @ rows
    correlation[np.diag_indices(p)] += RIDGE
    # The variance that is left, by the inverse of the correlation, but for what chance explains.
    left = np.ones(len(owners))
    left[used] = np.minimum(n / (n - p) / np.diag(np.linalg.inv(correlation)), 1.0)
    return dict(zip(owners, -0.5 * np.log(left)))


def summarise(
    columns: list[Column],
    distributions: list[str],
    data: Any,
    weights: np.ndarray | None,
    n_rows: int,
    generator: np.random.Generator,
    min_scale: float,
    may_bin: bool = False,
) -> TableSummary:
    """The TableSummary of rows of codes, an array or RowBlocks, with a sample of n_rows rows.

    may_bin says that "auto" may be a histogram.
    """
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
    layout = choose_layout(columns, distributions, sample, sample_weights, min_scale, may_bin)
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
        if statistics is not None and isinstance(statistics.parts[j], np.ndarray):
            table = None
        tables.append(table)
    with EMEngine("cpu") as engine:
        total, batch = expectation(engine, components, rows, make_encoder(layout, tables, survey))
    lower_bound = total / batch.total + survey.log_fixed / survey.total
    if statistics is not None:
        batch = merged(statistics, batch, learning_decay)
    estimate, n_repaired = maximisation(components, batch, settings.smoothing)
    fit: Any = Fit(estimate, lower_bounds=[lower_bound], statistics=batch)
    fit.n_repaired = n_repaired
    return fit


def start_rows(
    layout: Layout, sample: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, list[int]]:
    """Features (n, m) as numbers (n, p) among which k-means finds clusters, 0 where missing.

    The second result tells whose feature each number is.
    """
    parts, owners = [np.zeros((len(sample), 0))], []
    for j, (feature, family) in enumerate(zip(layout.features, layout.families)):
        x = sample[:, j]
        if family is None:
            atoms = layout.columns[feature.column].atoms
            part = _level_coordinates(x, weights, feature.n_levels, len(atoms))
        else:
            part = family.start_coordinate(x)[:, None]
        is_missing = np.isnan(x)[:, None]
        parts.append(np.where(is_missing | ~np.isfinite(part), 0.0, part))
        owners += [j] * part.shape[1]
    return np.concatenate(parts, axis=1), owners


def _level_coordinates(x, weights, n_levels, n_atoms):
    """Indicators (n, p) of the common levels of x (n,), and a rank of levels that are numbers."""
    levels = np.arange(n_levels)
    if n_levels == 2:  # which need one indicator
        levels = levels[:1]
    indicators = x[:, None] == levels
    shares = np.average(indicators, axis=0, weights=weights * ~np.isnan(x) + 1e-300)
    is_common = shares * (1.0 - shares) > RAREST**2
    if not is_common.any():
        is_common[:] = True
    part = indicators[:, is_common] - shares[is_common]
    if n_atoms > 2:
        ranks = np.cumsum(shares) - 0.5 * shares
        is_atom = x < n_atoms
        places = np.where(is_atom, x, 0.0).astype(np.intp)
        rank = np.where(is_atom, np.sqrt(12.0) * (ranks[places] - 0.5), 0.0)
        part = np.column_stack([rank, part])
    return part


def _numeric_summary(summary):
    """The RowSummary of the sample, for starts."""
    rows, owners = start_rows(summary.layout, summary.sample, summary.sample_weights)
    holes = np.isnan(summary.sample)[:, owners]
    if not owners:
        rows, holes = np.zeros((len(rows), 1)), np.zeros((len(rows), 1), dtype=bool)
    ends: Any = np.zeros(rows.shape[1])
    source: Any = None
    return RowSummary(rows, summary.sample_weights, holes, ends, ends + 1.0, source)
