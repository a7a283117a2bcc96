"""Steps of a chain as draws of independent features of any family, such as counts or levels."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from probgen.conditions.given import Conditions
from probgen.gaussians.starts import RowSummary, sample_rows, start_responsibilities
from probgen.mixtures import draws
from probgen.mixtures.array_columns import column_of_array
from probgen.mixtures.components import EncodedDensity, MixtureComponents, log_joint
from probgen.mixtures.conditions import ColumnConditions
from probgen.mixtures.em import from_responsibilities, maximisation, statistics_of
from probgen.mixtures.layout import Layout, make_family
from probgen.mixtures.rows import MOST_TABULATED, EncodedRows, Encoder, make_encoder
from probgen.mixtures.statistics import Histogram
from probgen.tables.columns import features_of, split_codes

MOST_BISECTIONS = 100


@dataclass
class EncodedSteps:
    """Steps (m, d) of a fit, their features (m, f) and how these are looked up."""

    steps: np.ndarray
    features: np.ndarray
    encoded: EncodedRows
    indicators: Any


@dataclass(frozen=True)
class FamilyEmission:
    """Independent features for each of K states.

    Attributes
    ----------
    components : MixtureComponents
        One for each state, of weight 1.
    smoothing : float
        Pseudo-counts of levels.
    encoder : Encoder or None
        How steps of a fit are looked up.
    """

    components: MixtureComponents
    smoothing: float = 0.0
    encoder: Any = None

    @property
    def n_states(self):
        """Number of states K."""
        return len(self.components)

    @property
    def n_features(self):
        """Numbers of a step."""
        return len(self.components.layout.columns)

    def log_likelihoods(self, engine, Y):
        """Log-likelihood (m, K) of steps (m, d) under each state; NaN are marginalised."""
        return log_joint(engine, self.components, Y)

    def prepare(self, Y):
        """Steps (m, d) as E-steps read them."""
        layout = self.components.layout
        features = split_codes(layout.columns, Y)
        encoded = self.encoder.encode(features)
        indicators = None
        if self.encoder.n_places:
            indicators = encoded.indicators(0, len(Y), self.encoder.n_places)
        return EncodedSteps(Y, features, encoded, indicators)

    def steps_of(self, prepared):
        """Steps (m, d) that were prepared."""
        return prepared.steps

    def prepared_log_likelihoods(self, engine, prepared):
        """Log-likelihood (m, K) of steps of a fit."""
        density = EncodedDensity(self.components, self.encoder)
        n = len(prepared.steps)
        return np.asarray(density.log_joint(prepared.encoded, 0, n, prepared.indicators))

    def statistics(self, engine, prepared, posterior):
        """MixtureStatistics of steps with weighted posteriors (m, K)."""
        return statistics_of(self.components, self.encoder, prepared.features, posterior)

    def state_counts(self, statistics):
        """Weight (K,) of the steps of each state."""
        return statistics.counts

    def maximised(self, statistics, seeds):
        """The likeliest emission for statistics, and how many parameters were mended.

        seeds are steps (d,) by the states that restart there: half such a step, half all steps.
        """
        if seeds:
            statistics = self._with_seeds(statistics, seeds)
        components, n_mended = maximisation(self.components, statistics, self.smoothing)
        components = replace(components, weights=np.ones(self.n_states))
        return replace(self, components=components), int(n_mended)

    def _with_seeds(self, statistics, seeds):
        states = list(seeds)
        features = split_codes(self.components.layout.columns, np.array(list(seeds.values())))
        shares = np.zeros((len(states), self.n_states))
        shares[np.arange(len(states)), states] = 1.0
        seeded = statistics_of(self.components, self.encoder, features, shares)
        # Both are looked up in the tables of one encoder.
        mixed = statistics + seeded
        for part, before in zip(mixed.parts, statistics.parts):
            own, overall = part, before
            if isinstance(part, Histogram):
                own, overall = part.masses, before.masses
            own[:, states] += overall.sum(axis=1, keepdims=True) / statistics.total
        return mixed

    def log_given(self, engine, conditions: Conditions):
        """Log-probability or density (m, K) of conditions on steps."""
        total = np.zeros((len(conditions.values), self.n_states))
        for j in range(self.n_features):
            part = ColumnConditions.read(self.components, j, conditions)
            total += part.log_probability()
        return total

    def _of_state(self, k):
        """The components of one state."""
        components = self.components
        levels = [None if part is None else part[:, [k]] for part in components.levels]
        params = [None if part is None else part[:, [k]] for part in components.params]
        return replace(components, weights=np.ones(1), levels=levels, params=params)

    def draw(self, states, generator):
        """Steps (m, d) of states (m,)."""
        rows = np.empty((len(states), self.n_features))
        for k in np.unique(states):
            members = np.flatnonzero(states == k)
            rows[members] = draws.draw(self._of_state(k), len(members), generator)
        return rows

    def draw_given(self, engine, conditions, states, generator):
        """Steps (m, d) of states (m,) under conditions."""
        rows = conditions.values.copy()
        is_open = np.isnan(rows).any(axis=1)
        for k in np.unique(states[is_open]):
            members = np.flatnonzero(is_open & (states == k))
            part = conditions.take(members)
            rows[members] = draws.draw_given(self._of_state(k), part, generator)
        return rows

    def filled(self, engine, Y, posterior):
        """Steps (m, d) with their NaN replaced by typical codes, given posteriors (m, K)."""
        return draws.conditional_means(self.components, Y, posterior)

    def expected(self, posterior):
        """Means (m, d) of steps whose states have posterior (m, K); of levels, the likeliest."""
        columns = []
        log_z = self.components.log_z
        for j, family in enumerate(self.components.layout.families):
            if family is None:
                likeliest = np.argmax(posterior @ self.components.levels[j].T, axis=1)
                columns.append(likeliest.astype(np.float64))
            else:
                columns.append(posterior @ family.mean(self.components.params[j], log_z[j]))
        return np.column_stack(columns)

    def quantiles(self, level, posterior):
        """Quantiles (m, d) at a level of the features of steps whose states have posterior (m, K).

        For whole numbers and levels it is the least number of which at most the level is below.
        """
        columns = []
        log_z = self.components.log_z
        for j, feature in enumerate(self.components.layout.features):
            if feature.n_levels:
                cumulative = np.cumsum(posterior @ self.components.levels[j].T, axis=1)
                found = (cumulative < level * (1.0 - 1e-12)).sum(axis=1)
                columns.append(np.minimum(found, feature.n_levels - 1).astype(np.float64))
            else:
                columns.append(self._value_quantiles(j, log_z[j], level, posterior))
        return np.column_stack(columns)

    def _value_quantiles(self, j, log_z, level, posterior):
        """Quantiles (m,) of a value, by bisection between those of the states."""
        family = self.components.layout.families[j]
        params = self.components.params[j]
        step = family.step
        first, last = family.gaps[0][0], family.gaps[-1][1]
        own = family.quantile(np.full(self.n_states, level), first, last, params)
        low = np.full(len(posterior), own.min() - max(step, abs(own.min()) * 1e-9))
        high = np.full(len(posterior), own.max())
        for _ in range(MOST_BISECTIONS):
            middle = 0.5 * (low + high)
            if step:
                middle = np.floor(middle)
            logs = family.log_mass(first, middle[:, None], params) - log_z
            is_short = np.sum(np.exp(logs) * posterior, axis=1) < level
            low, high = np.where(is_short, middle, low), np.where(is_short, high, middle)
            if step and np.all(high - low <= step):
                break
        return high

    @property
    def n_parameters(self):
        """Number of free parameters."""
        return self.components.n_free - (self.n_states - 1)


@dataclass
class FamilyStart:
    """What the starts of a fit share: distinct steps (m, d) and their weights (m,)."""

    layout: Layout
    encoder: Encoder
    sample: np.ndarray
    weights: np.ndarray


def read_steps(names, X, weights, n_rows, generator, *, n_categories, min_scale):
    """The FamilyStart of steps (m, d), an array or RowBlocks, for names of the features' families.

    n_categories is the least number of levels of categorical features.
    """
    highest = np.max([np.nanmax(block, axis=0, initial=0.0) for block in _blocks(X)], axis=0)
    columns = [
        column_of_array(j, name, highest[j], n_categories, ()) for j, name in enumerate(names)
    ]
    sample, sample_weights = sample_rows(X, weights, n_rows, generator)
    families: list = []
    tables: list = []
    for feature in features_of(columns):
        if feature.n_levels:
            families.append(None)
            tables.append(None)
            continue
        x = sample[:, feature.column]
        is_there = ~np.isnan(x)
        name = names[feature.column]
        family = make_family(name, feature, x[is_there], sample_weights[is_there], min_scale)
        families.append(family)
        tables.append(_table(family, X, feature.column))
    layout = Layout(columns, families)
    return FamilyStart(layout, make_encoder(layout, tables), sample, sample_weights)


def _blocks(X):
    """Blocks of steps, an array or RowBlocks."""
    return [X] if isinstance(X, np.ndarray) else X


def _table(family, X, column):
    """The distinct numbers of a column of steps, if they are looked up, else None."""
    if not family.step:
        return None
    parts = [np.unique(block[:, column]) for block in _blocks(X)]
    table = np.unique(np.concatenate(parts)).astype(np.float64, copy=False)
    table = table[~np.isnan(table)]
    is_long = len(table) > MOST_TABULATED and not family.needs_values
    return None if is_long else table


def encoder_of(emission, X, statistics):
    """The Encoder of later steps (m, d), an array or RowBlocks, which may hold new numbers."""
    tables: list = []
    for j, (feature, family) in enumerate(
        zip(emission.components.layout.features, emission.components.layout.families)
    ):
        table = None
        is_sums = statistics is not None and isinstance(statistics.parts[j], np.ndarray)
        if family is not None and not is_sums:
            table = _table(family, X, feature.column)
        tables.append(table)
    return make_encoder(emission.components.layout, tables)


def start_family_emission(start, shares, smoothing):
    """An emission for weighted shares (m, K) of the sample of a FamilyStart."""
    features = split_codes(start.layout.columns, start.sample)
    components = from_responsibilities(start.layout, start.encoder, features, shares, smoothing)
    components = replace(components, weights=np.ones(shares.shape[1]))
    return FamilyEmission(components, smoothing, start.encoder)


def start_shares(start, n_states, init_params, generator):
    """Weighted shares (m, K) of the sample of a FamilyStart."""
    values = start.layout.values
    if not values or n_states == 1:
        init_params = "random"  # levels have no distances
    rows = np.zeros((len(start.sample), max(len(values), 1)))
    for i, (j, family) in enumerate(values):
        x = start.sample[:, start.layout.features[j].column]
        part = family.start_coordinate(x)
        rows[:, i] = np.where(np.isfinite(part), part, 0.0)
    holes = np.zeros(rows.shape, dtype=bool)
    ends: Any = np.zeros(rows.shape[1])
    rows -= np.average(rows, axis=0, weights=start.weights)
    source: Any = None
    summary = RowSummary(rows, start.weights, holes, ends, ends + 1.0, source)
    found = start_responsibilities("diag", summary, n_states, init_params, generator, 0.0)
    return found * start.weights[:, None]
