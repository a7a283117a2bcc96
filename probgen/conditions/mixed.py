"""Conditions on rows of mixed columns: values, intervals and sets, of atoms and gaps too."""

import copy
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from probgen._validation import show
from probgen.conditions.given import Conditions, representable
from probgen.distributions.mixed import (
    MixedDistribution,
    MixedObservation,
    draw_logistic,
    free_intervals,
    log_interval_mass,
    standardised,
)
from probgen.distributions.quantiles import choose_level, level_quantile
from probgen.tables.columns import Column, check_codes

GAPS = ("known", "drawn", "filled")


@dataclass(frozen=True)
class Limits:
    """What n rows may hold in one column.

    Attributes
    ----------
    allowed : ndarray of bool, of shape (n, n_outcomes)
        Outcomes, of which the rest is one only if a number of it is left.
    low, high : ndarray of shape (n, n_intervals)
        Intervals of the numbers of the rest, in units of its distribution.
    log_rest : ndarray of shape (n,)
        Log-probability of these intervals where the distribution of the rest is fixed, else 0.
    """

    allowed: np.ndarray
    low: np.ndarray
    high: np.ndarray
    log_rest: np.ndarray

    def take(self, rows: Any) -> "Limits":
        """Return the limits of some rows, an index or mask array."""
        parts = (self.allowed, self.low, self.high, self.log_rest)
        return replace(self, **dict(zip(vars(self), (part[rows] for part in parts))))


class MixedConditions:
    """Conditions on n rows of mixed columns, as `MixedDistribution` takes them.

    Parameters
    ----------
    conditions : Conditions
        On rows of codes (n, d).
    observation : MixedObservation
    dtype : dtype
        Of the rows of codes that keep them.
    argument : str, default="given"
        Name of the caller's argument, for messages.
    gaps : {"known", "drawn", "filled"}, default="drawn"
        What NaN among the values says of a column whose gaps are modelled: that there is a gap,
        that the column is to be drawn, or that it is to be drawn without a gap.

    Attributes
    ----------
    values : ndarray of shape (n, m)
        Known features, as of `RowCoder`; NaN where the model is to draw.
    low, high : ndarray of shape (n, m)
        Infinities: intervals are among the limits.
    known_columns : ndarray of bool, of shape (n, d)
    bounded_columns, bounded : ndarray of int
        Columns with limits, and their features.
    allowed : None

    Raises
    ------
    ValueError
        If a column can have no value that satisfies its condition.
    """

    allowed = None

    def __init__(
        self,
        conditions: Conditions,
        observation: MixedObservation,
        dtype: Any,
        argument: str = "given",
        gaps: str = "drawn",
    ) -> None:
        self.observation = observation
        self.argument = argument
        coder = observation.coder
        codes = conditions.values
        check_codes(coder.columns, codes)
        self.codes = codes
        self.code_low, self.code_high = representable(conditions, dtype, argument)
        self.known_columns = ~np.isnan(codes)
        self.values = coder.encode(codes)
        for j, column in enumerate(coder.columns):
            if not column.has_gaps:
                continue
            if gaps == "known":
                self.known_columns[:, j] = True
            else:
                features = observation.features_of_column(j)
                self.values[np.ix_(~self.known_columns[:, j], features)] = np.nan
        self.low = np.full(self.values.shape, -np.inf)
        self.high = np.full(self.values.shape, np.inf)
        self.limits: dict[int, Limits] = {}
        for j, column in enumerate(coder.columns):
            low, high = conditions.low[:, j], conditions.high[:, j]
            chosen = conditions.categories.get(j)
            is_open = np.isinf(low).all() and np.isinf(high).all() and chosen is None
            if not is_open or (gaps == "filled" and column.has_gaps):
                self.limits[j] = self._limits(j, low, high, chosen, gaps)
        self.bounded_columns = np.array([*self.limits], dtype=int)
        bounded = [observation.features_of_column(j) for j in self.limits]
        self.bounded = np.array([k for features in bounded for k in features], dtype=int)

    def __len__(self):
        return len(self.values)

    @property
    def known(self) -> np.ndarray:
        """Mask (n, m) of the known features."""
        return ~np.isnan(self.values)

    def take(self, rows: Any) -> Self:
        """Return the conditions of some rows, an index or mask array."""
        part = copy.copy(self)
        for name in ("codes", "code_low", "code_high", "known_columns", "values", "low", "high"):
            setattr(part, name, getattr(self, name)[rows])
        part.limits = {j: limits.take(rows) for j, limits in self.limits.items()}
        return part

    def log_column_masses(self, distribution: MixedDistribution) -> Tensor:
        """Return log-probabilities (..., n, n_bounded) of the limits, 0 where a value is known.

        Parameters
        ----------
        distribution : MixedDistribution
            Of batch shape (..., n, m).
        """
        masses = []
        for j in self.limits:
            total = torch.logsumexp(self._outcome_table(distribution, j), -1)
            known = torch.as_tensor(self.known_columns[:, j], device=total.device)
            masses.append(torch.where(known, 0.0, total))
        return torch.stack(masses, -1)

    def log_mass(self, distribution: MixedDistribution) -> np.ndarray:
        """Return log-probabilities (n_draws, n) of all limits together; see CheckedConditions."""
        n_draws = distribution.batch_shape[:-2].numel()
        if not self.limits:
            return np.zeros((n_draws, len(self)))
        return self.log_column_masses(distribution).sum(-1).reshape(n_draws, -1).cpu().numpy()

    def bound(self, rows: Tensor, distribution: MixedDistribution, uniforms: Tensor) -> None:
        """Replace the features of bounded columns, in place, by draws within their limits.

        Parameters
        ----------
        rows, uniforms : double Tensor of shape (..., n, m)
        distribution : MixedDistribution
        """
        for j in self.limits:
            self.bound_column(j, rows, distribution, uniforms)
        distribution.drop_absent(rows)

    def bound_column(
        self, j: int, rows: Tensor, distribution: MixedDistribution, uniforms: Tensor
    ) -> None:
        """Replace the features of column j, in place; values are there whatever the outcome is."""
        limits = self.limits[j]
        outcome, value = self.observation.places_of_column(j)
        if outcome is not None:
            k = int(self.observation.outcomes[outcome])
            log_probs = self._outcome_table(distribution, j)
            rows[..., k] = level_quantile(log_probs, log_probs > -torch.inf, uniforms[..., k])
        if value is not None and limits.low.shape[1]:
            k = int(self.observation.values[value])
            low = torch.as_tensor(limits.low, device=rows.device)
            high = torch.as_tensor(limits.high, device=rows.device)
            rows[..., k] = distribution.draw_between(value, low, high, uniforms[..., k])

    def draw(self, distribution: MixedDistribution, generator: Any, dtype: Any) -> Tensor:
        """Draw features that satisfy the limits; see CheckedConditions."""
        X = distribution.sample()
        if self.limits:
            uniforms = torch.as_tensor(generator.random(X.shape), device=X.device)
            n_copies = X.shape[-2] // len(self)
            rows = X.double()
            self.take(np.tile(np.arange(len(self)), n_copies)).bound(rows, distribution, uniforms)
            X = rows
        return X.to(dtype)

    def average(self, start: Tensor, averages: Tensor) -> Tensor:
        """Return averaged moments as they are; see CheckedConditions."""
        return averages

    def codes_of_moments(self, moments: np.ndarray) -> np.ndarray:
        """Return rows of codes (n, d) of averaged moments, with the known codes put back."""
        X = self.observation.codes_of_moments(moments, with_gaps=False)
        return np.where(np.isnan(self.codes), X, self.codes)

    def codes_of(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return rows of codes (n, d) of drawn features (n, m), with the known codes put back."""
        coder = self.observation.coder
        X = coder.decode(rows, generator)
        for j, limits in self.limits.items():
            column = coder.columns[j]
            is_rest = column.outcomes(X[:, j]) == column.rest_outcome
            if column.rest == "fixed" and is_rest.any():
                X[is_rest, j] = _draw_fixed(column, limits.take(is_rest), generator)
            elif column.rest == "modelled" and not column.step:
                clipped = np.clip(X[:, j], self.code_low[:, j], self.code_high[:, j])
                X[is_rest, j] = clipped[is_rest]
        return np.where(np.isnan(self.codes), X, self.codes)

    def _outcome_table(self, distribution: MixedDistribution, j: int) -> Tensor:
        """Log-probabilities (..., n, n_outcomes) of column j's outcomes and limits together."""
        limits = self.limits[j]
        column = self.observation.coder.columns[j]
        outcome, value = self.observation.places_of_column(j)
        device = distribution.outputs.device
        allowed = torch.as_tensor(limits.allowed, device=device)
        if outcome is not None:
            log_probs = distribution.log_levels(outcome)
        else:
            shape = (*distribution.batch_shape[:-1], column.n_outcomes)
            log_probs = torch.zeros(shape, dtype=torch.float64, device=device)
        rest = torch.as_tensor(limits.log_rest, device=device)
        if value is not None:
            low = torch.as_tensor(limits.low, device=device)
            high = torch.as_tensor(limits.high, device=device)
            masses = distribution.log_masses_between(value, low, high)
            rest = torch.logsumexp(masses.nan_to_num(nan=-torch.inf), (-2, -1))
        is_rest = torch.arange(column.n_outcomes, device=device) == column.rest_outcome
        log_probs = log_probs + torch.where(is_rest, rest[..., None], 0.0)
        return torch.where(allowed, log_probs, -torch.inf)

    def _limits(
        self, j: int, low: np.ndarray, high: np.ndarray, chosen: np.ndarray | None, gaps: str
    ) -> Limits:
        """The Limits of column j, for ends (n,) of intervals and a set of codes or None."""
        column = self.observation.coder.columns[j]
        numbers = None
        if chosen is not None:
            if chosen.dtype.kind not in "biuf":
                raise ValueError(
                    f"{self.argument} must hold codes for column {show(column.name)}; got"
                    f" {set(chosen.tolist())}."
                )
            numbers = chosen.astype(np.float64)
        allowed = np.zeros((len(low), column.n_outcomes), dtype=bool)
        known = np.array([*range(len(column.levels)), *column.atoms])
        is_inside = (low[:, None] <= known) & (known <= high[:, None])
        if numbers is not None:
            is_inside &= np.isin(known, numbers)
        allowed[:, : column.n_known] = is_inside
        if column.has_gaps and gaps != "filled":
            allowed[:, column.gap_outcome] = np.isinf(low) & np.isinf(high)
            if numbers is not None:
                allowed[:, column.gap_outcome] &= np.isnan(numbers).any()
        rest_low, rest_high, log_rest = self._rest_limits(j, low, high, numbers)
        if column.rest != "none":
            allowed[:, column.rest_outcome] = (rest_low < rest_high).any(axis=1)
        without = ~allowed.any(axis=1)
        if without.any():
            i = int(without.argmax())
            words = f"the interval from {low[i]:g} to {high[i]:g}"
            if numbers is not None:
                words = str(set(numbers.tolist()))
            raise ValueError(
                f"{self.argument} must leave column {show(column.name)} a value of its"
                f" distribution; got {words}."
            )
        return Limits(allowed, rest_low, rest_high, log_rest)

    def _rest_limits(
        self, j: int, low: np.ndarray, high: np.ndarray, numbers: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Intervals (n, n_intervals) of the rest of column j, and their log-probabilities (n,)."""
        column = self.observation.coder.columns[j]
        n = len(low)
        if column.rest == "none" or column.levels:  # categories that were not seen are not drawn
            return np.zeros((n, 0)), np.zeros((n, 0)), np.zeros(n)
        center, scale = column.center, column._width
        _, value = self.observation.places_of_column(j)
        if value is not None:
            k = int(self.observation.values[value])
            center, scale = self.observation.coder.center[k], self.observation.coder.scale[k]
        free_low, free_high = free_intervals(column, center, scale)
        if numbers is not None:
            own = numbers[np.isin(numbers, column.atoms, invert=True)]
            own = own[(own >= column.low) & (own <= column.high) & (own == np.rint(own))]
            if not column.step:
                own = own[:0]  # a single real number has no probability
            ends = (own - 0.5 - center) / scale, (own + 0.5 - center) / scale
            left, right = (np.tile(part, (n, 1)) for part in ends)
        else:
            if column.step:
                low, high = np.ceil(low) - 0.5, np.floor(high) + 0.5
            left = np.maximum(free_low, standardised(low[:, None], center, scale))
            right = np.minimum(free_high, standardised(high[:, None], center, scale))
            right = np.maximum(left, right)
        log_rest = np.zeros(n)
        if column.rest == "fixed" and left.shape[1]:
            masses = _log_mass(left, right)
            log_rest = masses - _log_mass(free_low, free_high)
        return left, right, log_rest


def _log_mass(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Log-probabilities (...) of unions of intervals (..., n_intervals), of a logistic."""
    masses = log_interval_mass(torch.as_tensor(low), torch.as_tensor(high))
    return torch.logsumexp(masses, -1).numpy()


def _draw_fixed(column: Column, limits: Limits, generator: np.random.Generator) -> np.ndarray:
    """Draws (n,) from the fixed distribution of the rest of a column, within limits."""
    low, high = torch.as_tensor(limits.low), torch.as_tensor(limits.high)
    masses = log_interval_mass(low, high)
    weights = torch.exp(masses - masses.amax(-1, keepdim=True))
    uniforms = torch.as_tensor(generator.random(len(low)))
    interval, left = choose_level(weights, uniforms)
    low = low.gather(-1, interval[:, None])[:, 0]
    high = high.gather(-1, interval[:, None])[:, 0]
    z = draw_logistic(low, high, left).numpy()
    drawn = column.center + column._width * z
    if not column.step:
        return drawn
    least = np.rint(column.center + column._width * low.numpy() + 0.5)
    most = np.rint(column.center + column._width * high.numpy() - 0.5)
    return np.clip(np.rint(drawn), least, most)
