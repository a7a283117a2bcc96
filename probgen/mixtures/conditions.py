"""Conditions on one column: what they say of its outcomes, and of numbers beside them."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import logsumexp

from probgen.conditions.given import Conditions
from probgen.mixtures.components import MixtureComponents
from probgen.tables.columns import Column


@dataclass(frozen=True)
class ColumnConditions:
    """Conditions of n rows on one column, under K components.

    Attributes
    ----------
    column : Column
    levels : ndarray of shape (L, K)
        Probabilities of the outcomes.
    family, params, log_z : object
        Of the numbers beside them, or None.
    known, low, high : ndarray of shape (n,)
        Known codes, NaN where they are to be drawn, and the ends of intervals.
    allowed : ndarray or None
        Allowed codes, where there is a set; NaN in it is a gap.
    """

    column: Column
    levels: np.ndarray
    family: Any
    params: Any
    log_z: Any
    known: np.ndarray
    low: np.ndarray
    high: np.ndarray
    allowed: np.ndarray | None = None

    @classmethod
    def open(cls, components: MixtureComponents, j: int, n: int) -> "ColumnConditions":
        """No conditions on column j."""
        layout = components.layout
        levels = np.ones((1, len(components)))
        family = params = log_z = None
        for i, feature in enumerate(layout.features):
            if feature.column != j:
                continue
            if feature.n_levels:
                levels = components.levels[i]
            else:
                family, params = layout.families[i], components.params[i]
                log_z = components.log_z[i]
        nothing = np.full(n, np.nan)
        ends = np.full(n, np.inf)
        column = layout.columns[j]
        return cls(column, levels, family, params, log_z, nothing, -ends, ends)

    @classmethod
    def read(
        cls, components: MixtureComponents, j: int, conditions: Conditions
    ) -> "ColumnConditions":
        """The conditions on column j."""
        nothing = cls.open(components, j, len(conditions.values))
        return replace(
            nothing,
            known=conditions.values[:, j],
            low=conditions.low[:, j],
            high=conditions.high[:, j],
            allowed=conditions.categories.get(j),
        )

    def take(self, rows: np.ndarray) -> "ColumnConditions":
        """The conditions of some rows."""
        return replace(self, known=self.known[rows], low=self.low[rows], high=self.high[rows])

    @property
    def is_open(self) -> bool:
        """Whether nothing is asked of the rows, but for known codes."""
        has_ends = np.isfinite(self.low).any() or np.isfinite(self.high).any()
        return self.allowed is None and not has_ends

    @property
    def outcome_codes(self) -> np.ndarray:
        """Codes (L,) of the outcomes, NaN for a gap and for the rest."""
        codes = np.full(len(self.levels), np.nan)
        known = [*range(len(self.column.levels)), *self.column.atoms]
        codes[: len(known)] = known[: len(codes)]
        return codes

    def log_probability(self) -> np.ndarray:
        """Log-probability or density (n, K) of the conditions."""
        n, n_components = len(self.known), self.levels.shape[1]
        result = np.zeros((n, n_components))
        is_known = ~np.isnan(self.known)
        if is_known.any():
            result[is_known] = self._log_known(self.known[is_known])
        if not is_known.all() and not self.is_open:
            is_asked = np.isfinite(self.low) | np.isfinite(self.high) | (self.allowed is not None)
            rows = np.flatnonzero(~is_known & is_asked)
            ends, inverse = np.unique(
                np.stack([self.low[rows], self.high[rows]]), axis=1, return_inverse=True
            )
            for i, (low, high) in enumerate(ends.T):
                members = rows[inverse.ravel() == i]
                result[members] = logsumexp(self._log_terms(low, high), axis=0)
        return result

    def _log_known(self, codes):
        """Log-probability or density (n, K) of codes (n,)."""
        column = self.column
        outcomes = column.outcomes(codes).astype(np.intp)
        result = np.zeros((len(codes), self.levels.shape[1]))
        if len(self.levels) > 1:
            with np.errstate(divide="ignore"):
                result += np.log(self.levels)[outcomes]
        is_rest = (outcomes == column.rest_outcome) & (column.rest != "none")
        if self.family is not None and is_rest.any():
            result[is_rest] += self.family.log_prob(codes[is_rest], self.params, self.log_z)
        result += column.log_fixed(codes)[:, None]
        return result

    def _log_terms(self, low, high):
        """Log-probability (L, K) of each outcome together with an interval and the set."""
        codes = self.outcome_codes
        is_in = ~np.isnan(codes) & (low <= codes) & (codes <= high)
        column = self.column
        if self.allowed is not None:
            is_in &= np.isin(codes, self.allowed)
        with np.errstate(divide="ignore"):
            terms = np.where(is_in[:, None], np.log(self.levels), -np.inf)
            if column.has_gaps and self.allowed is not None and np.isnan(self.allowed).any():
                terms[column.gap_outcome] = np.log(self.levels[column.gap_outcome])
            if column.rest != "none":
                rest = self._log_rest(low, high, has_atoms=bool(is_in.any()))
                own = 0 if len(self.levels) == 1 else column.rest_outcome
                terms[own] = np.log(self.levels[own]) + rest
        return terms

    def _log_rest(self, low, high, has_atoms):
        """Log-probability (K,) of an interval and the set, given that the outcome is the rest."""
        n_components = self.levels.shape[1]
        if self.allowed is not None:
            values = self._allowed_rest(low, high)
            # Single numbers have no probability beside atoms, but a density where there are none.
            if not len(values) or (has_atoms and not self.column.step):
                return np.full(n_components, -np.inf)
            if self.family is None:
                logs = np.repeat(self.column.log_fixed(values)[:, None], n_components, axis=1)
            else:
                logs = self.family.log_prob(values, self.params, self.log_z)
            return logsumexp(logs, axis=0)
        if self.family is not None:
            ends = np.array([low]), np.array([high])
            return self.family.log_interval(*ends, self.params, self.log_z)[0]
        return np.full(n_components, _log_fixed_interval(self.column, low, high))

    def _allowed_rest(self, low, high):
        """The numbers of the set that are no atoms, are in the support, and in an interval."""
        column = self.column
        allowed: Any = self.allowed
        values = allowed[~np.isnan(allowed)]
        values = values[(values >= max(low, column.low)) & (values <= min(high, column.high))]
        if column.step:
            values = values[values == np.rint(values)]
        return values[~np.isin(values, column.atoms)]

    def log_outcomes(self, drawn: np.ndarray) -> np.ndarray:
        """Log-probability (n, L) of each outcome with the conditions, under drawn components."""
        result = np.empty((len(drawn), len(self.levels)))
        ends, inverse = np.unique(np.stack([self.low, self.high]), axis=1, return_inverse=True)
        for i, (low, high) in enumerate(ends.T):
            members = np.flatnonzero(inverse.ravel() == i)
            terms = self._log_terms(low, high)
            if not np.isfinite(low) and not np.isfinite(high) and self.allowed is None:
                with np.errstate(divide="ignore"):
                    terms = np.log(self.levels)
            result[members] = terms.T[drawn[members]]
        return result

    def draw_rest(self, drawn: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Numbers (n,) beside the outcomes, under drawn components (n,)."""
        if self.allowed is not None:
            return self._draw_allowed(drawn, generator)
        if self.family is not None:
            return self.family.draw(self.params, drawn, self.low, self.high, generator)
        return _draw_fixed(self.column, self.low, self.high, generator)

    def _draw_allowed(self, drawn, generator):
        """Numbers (n,) of the set, by their probabilities or densities."""
        draws = np.empty(len(drawn))
        if not len(drawn):
            return draws
        values = self._allowed_rest(-np.inf, np.inf)
        logs = np.repeat(self.column.log_fixed(values)[:, None], self.levels.shape[1], axis=1)
        if self.family is not None:
            logs = self.family.log_prob(values, self.params, self.log_z)
        is_in = (values >= self.low[:, None]) & (values <= self.high[:, None])
        logs = np.where(is_in, logs.T[drawn], -np.inf)
        cumulative = np.cumsum(np.exp(logs - logs.max(axis=1, keepdims=True)), axis=1)
        uniforms = generator.uniform(size=(len(drawn), 1)) * cumulative[:, -1:]
        chosen = np.minimum((cumulative <= uniforms).sum(axis=1), len(values) - 1)
        return values[chosen]


def _log_fixed_interval(column, low, high):
    """Log-probability of an interval under the fixed distribution of the rest of a column."""
    half = 0.5 * column.step
    if column.step:
        low, high = np.ceil(low), np.floor(high)
    low, high = max(low, column.low), min(high, column.high)
    if low > high:
        return -np.inf
    mass = column._cdf(high + half) - column._cdf(low - half)
    atoms = np.array([atom for atom in column.atoms if low <= atom <= high])
    free = 1.0
    if column.step:
        mass -= column._mass(atoms).sum()
        free = column._free_mass
    else:
        free = column._cdf(column.high) - column._cdf(column.low)
    with np.errstate(divide="ignore"):
        return float(np.log(np.maximum(mass, 0.0)) - np.log(free))


def _draw_fixed(column, low, high, generator):
    """Numbers (n,) from the fixed distribution of the rest of a column, within intervals (n,)."""
    draws = np.empty(len(low))
    intervals, inverse = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
    for i, (first, last) in enumerate(intervals.T):
        members = np.flatnonzero(inverse.ravel() == i)
        part = column
        if np.isfinite(first) or np.isfinite(last):
            if column.step:
                first, last = np.ceil(first), np.floor(last)
            ends = max(first, column.low), min(last, column.high)
            part = replace(column, low=ends[0], high=ends[1])
        draws[members] = part.draw_fixed(len(members), generator)
    return draws
