"""Columns of a table as models see them: outcomes that carry mass, and numbers beside them.

Every column of a frame becomes one column of codes, float64: a category its number, a date its
distance from the first one, a number itself, a gap NaN. A model then sees up to two features of it:

- an *outcome*, one of a few levels: each category, each atom (a number that carries mass by itself,
  such as the zeros of an income), the gap if gaps are modelled, and last the *rest*, which is all
  other numbers;
- a *value*, a number that is there only if the outcome is the rest.

A category has an outcome alone, a number without atoms and gaps a value alone.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit

from probgen._validation import show

CATEGORIES = ("category", "ordered", "boolean", "constant")
NUMBERS = ("real", "integer", "datetime", "duration")
KINDS = (*CATEGORIES, *NUMBERS)


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes
    ----------
    name : object
    kind : str
        One of `KINDS`.
    levels : tuple
        The categories in the order of their codes 0, 1, ...; empty for numbers.
    atoms : tuple of float
        Sorted codes of a number that carry mass by themselves.
    has_gaps : bool
        Whether a gap is an outcome, with a probability; otherwise gaps are marginalised.
    step : float
        Distance of neighbouring codes: 0 for real numbers, 1 for whole ones.
    low, high : float
        Ends of the support, which belong to it where codes are whole.
    rest : {"none", "fixed", "modelled"}
        What is known of numbers that are no atoms: there are none; a logistic distribution of
        `center` and `scale` for all rows alike, because hardly any were seen; a feature. The rest
        of categories, if "fixed", is all that were not seen, whose code is the number of levels.
    center, scale : float
        Mean and deviation of the codes.
    """

    name: Any
    kind: str
    levels: tuple = ()
    atoms: tuple = ()
    has_gaps: bool = False
    step: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    rest: str = "none"
    center: float = 0.0
    scale: float = 1.0

    @property
    def n_known(self) -> int:
        """Outcomes that are one code each: categories or atoms."""
        return len(self.levels) + len(self.atoms)

    @property
    def n_outcomes(self) -> int:
        """Levels of the outcome, of which the gap and the rest come last."""
        return self.n_known + self.has_gaps + (self.rest != "none")

    @property
    def last_code(self) -> int:
        """The largest code of a category; that of all that were not seen, if there is one."""
        return len(self.levels) - (self.rest == "none")

    @property
    def gap_outcome(self) -> int:
        """Level of a gap, where gaps are modelled."""
        return self.n_known

    @property
    def rest_outcome(self) -> int:
        """Level of numbers that are no atoms."""
        return self.n_known + self.has_gaps

    def check_codes(self, codes: np.ndarray, shown: Callable = "{:g}".format) -> None:
        """Raise a ValueError if codes (n,), NaN aside, are not those of values of the column.

        `shown` writes a code as the user does.
        """
        present = codes[~np.isnan(codes)]
        name = show(self.name)
        if self.levels:
            last = self.last_code
            is_wrong = (present != np.rint(present)) | (present < 0) | (present > last)
            expected = f"codes of its categories, 0 to {last}"
        elif self.step and np.any(present != np.rint(present)):
            is_wrong = present != np.rint(present)
            expected = "whole numbers"
        else:
            is_wrong = (present < self.low) | (present > self.high)
            if not self.step:  # the ends are open, but for atoms there
                is_end = (present == self.low) | (present == self.high)
                is_wrong |= (is_end | np.isinf(present)) & ~np.isin(present, self.atoms)
            expected = f"values between {shown(self.low)} and {shown(self.high)}, as in fit"
        if is_wrong.any():
            other = shown(present[is_wrong][0])
            raise ValueError(f"column {name} must hold {expected}; got {other}.")

    def check_set(self, codes: np.ndarray) -> None:
        """Raise a ValueError unless a set of codes (n,) has a probability in the column."""
        self.check_codes(codes)
        is_real = not self.levels and not self.step
        if is_real and not np.isin(codes[~np.isnan(codes)], self.atoms).all():
            raise ValueError(
                f"column {show(self.name)} must be given a value or an interval, as it holds real"
                " numbers; got a set."
            )

    def outcomes(self, codes: np.ndarray) -> np.ndarray:
        """Levels (n,) of the outcomes of codes (n,), as floats; NaN for marginalised gaps."""
        if self.levels:
            outcomes = np.where(codes == len(self.levels), self.rest_outcome, codes)
        else:
            outcomes = np.full(len(codes), float(self.rest_outcome))
            if self.atoms:
                atoms = np.array(self.atoms)
                places = np.searchsorted(atoms, codes).clip(max=len(atoms) - 1)
                is_atom = atoms[places] == codes
                outcomes[is_atom] = places[is_atom]
        outcomes[np.isnan(codes)] = self.gap_outcome if self.has_gaps else np.nan
        return outcomes

    def codes_of(self, outcomes: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Codes (n,) of outcomes (n,) and of values (n,), which are used where it is the rest."""
        known = np.array([*range(len(self.levels)), *self.atoms, np.nan], dtype=np.float64)
        places = outcomes.astype(int)
        codes = known[np.minimum(places, self.n_known)]
        if self.rest != "none":
            codes = np.where(places == self.rest_outcome, values, codes)
        return codes

    def log_fixed(self, codes: np.ndarray) -> np.ndarray:
        """Log-probability or density (n,) of codes under the fixed distribution of the rest.

        It is 0 for codes that are no rest, or gaps.
        """
        log_probability = np.zeros(len(codes))
        if self.levels:
            return log_probability
        is_rest = self.outcomes(codes) == self.rest_outcome
        x = codes[is_rest]
        if not self.step:
            z = (x - self.center) / self._width
            inside = self._cdf(self.high) - self._cdf(self.low)
            log_density = log_expit(z) + log_expit(-z) - np.log(self._width * inside)
            log_probability[is_rest] = log_density
        else:
            log_probability[is_rest] = np.log(self._mass(x)) - np.log(self._free_mass)
        return log_probability

    def draw_fixed(self, n: int, generator: np.random.Generator) -> np.ndarray:
        """Draws (n,) from the fixed distribution of the rest; of categories, seen ones."""
        if self.levels:
            return generator.integers(len(self.levels), size=n).astype(np.float64)
        half = 0.5 * self.step
        ends = self._cdf(self.low - half), self._cdf(self.high + half)
        draws = np.empty(n)
        pending = np.arange(n)
        while len(pending):
            u = generator.uniform(*ends, size=len(pending)).clip(2.0**-60, 1.0 - 2.0**-53)
            x = self.center + self._width * logit(u)
            if self.step:
                x = np.clip(np.rint(x), self.low, self.high)
            is_free = ~np.isin(x, self.atoms)
            draws[pending[is_free]] = x[is_free]
            pending = pending[~is_free]
        return draws

    @property
    def _width(self) -> float:
        """Scale of the logistic distribution of twice the deviation."""
        return 2.0 * self.scale * np.sqrt(3.0) / np.pi

    @property
    def _free_mass(self) -> float:
        """Probability of the support without the atoms, under the distribution of the rest."""
        half = 0.5 * self.step
        inside = self._cdf(self.high + half) - self._cdf(self.low - half)
        return inside - self._mass(np.array(self.atoms)).sum()

    def _cdf(self, x: Any) -> Any:
        return expit((x - self.center) / self._width)

    def _mass(self, x: np.ndarray) -> np.ndarray:
        """Probability (n,) of whole codes under the logistic distribution."""
        # Mirrored into the left tail, where differences of the distribution function are precise.
        z = -np.abs(x - self.center)
        half = 0.5 * self.step
        return expit((z + half) / self._width) - expit((z - half) / self._width)


def center_and_scale(x: np.ndarray) -> tuple[float, float]:
    """Mean and deviation of numbers (n,), whose squares may overflow; 1 for a deviation of 0."""
    largest = np.abs(x).max()
    if not largest > 0.0:
        return 0.0, 1.0
    small = x / largest
    scale = float(largest * small.std())
    return float(largest * small.mean()), scale or 1.0


@dataclass(frozen=True)
class Feature:
    """One feature that a model sees of a column.

    Attributes
    ----------
    column : int
        Index of the column.
    n_levels : int
        Levels of an outcome, at least 2; 0 for a value.
    step, low, high : float
        Of a value, as in `Column`.
    atoms : tuple of float
        Codes that a value never has, because they are outcomes.
    outcome : int or None
        Of a value, the index of the feature of its outcome, if there is one.
    rest : int
        The level of that outcome at which the value is there.
    """

    column: int
    n_levels: int = 0
    step: float = 0.0
    low: float = -np.inf
    high: float = np.inf
    atoms: tuple = ()
    outcome: int | None = None
    rest: int = 0


def features_of(columns: list[Column]) -> list[Feature]:
    """The features of columns: outcomes and values, in the order of the columns.

    A column of one outcome and no value, such as a constant, has no feature.
    """
    features: list[Feature] = []
    for j, column in enumerate(columns):
        outcome = None
        if column.n_outcomes > 1:
            outcome = len(features)
            features.append(Feature(j, column.n_outcomes))
        if column.rest == "modelled":
            features.append(
                Feature(
                    j,
                    step=column.step,
                    low=column.low,
                    high=column.high,
                    atoms=column.atoms,
                    outcome=outcome,
                    rest=column.rest_outcome,
                )
            )
    return features


def check_codes(columns: list[Column], X: np.ndarray) -> None:
    """Raise a ValueError unless rows of codes (n, d) are those of values of their columns."""
    for j, column in enumerate(columns):
        column.check_codes(X[:, j])


def measure_of(columns: list[Column]) -> str:
    """The measure of rows: "counting", "lebesgue" if all are real without atoms, or "mixed"."""
    is_real = [column.kind == "real" for column in columns]
    if not any(is_real):
        return "counting"
    if all(is_real) and all(column.n_outcomes == 1 for column in columns):
        return "lebesgue"
    return "mixed"


def split_codes(columns: list[Column], X: np.ndarray) -> np.ndarray:
    """Features (n, m) of rows of codes (n, d).

    NaN in an outcome, or in a value whose outcome is the rest or NaN, is a gap to marginalise; any
    other NaN in a value says that there is none.
    """
    features = features_of(columns)
    split = np.empty((len(X), len(features)), order="F")
    for k, feature in enumerate(features):
        column = columns[feature.column]
        codes = X[:, feature.column]
        outcomes = column.outcomes(codes)
        if feature.n_levels:
            split[:, k] = outcomes
        else:
            split[:, k] = np.where(outcomes == column.rest_outcome, codes, np.nan)
    return split


def join_features(
    columns: list[Column], F: np.ndarray, generator: np.random.Generator
) -> np.ndarray:
    """Rows of codes (n, d) of features (n, m) without gaps; the generator draws fixed rests."""
    X = np.empty((len(F), len(columns)), order="F")
    places: list[list[int]] = [[] for _ in columns]
    features = features_of(columns)
    for k, feature in enumerate(features):
        places[feature.column].append(k)
    for j, column in enumerate(columns):
        outcomes = np.zeros(len(F))
        if column.rest != "none":
            outcomes += column.rest_outcome
        values = np.full(len(F), np.nan)
        for k in places[j]:
            if features[k].n_levels:
                outcomes = F[:, k]
            else:
                values = F[:, k]
        if column.rest == "fixed":
            is_rest = outcomes == column.rest_outcome
            values[is_rest] = column.draw_fixed(int(is_rest.sum()), generator)
        X[:, j] = column.codes_of(outcomes, values)
    return X


def log_fixed(columns: list[Column], X: np.ndarray) -> np.ndarray:
    """Log-probability or density (n,) of rests with a fixed distribution, in rows (n, d)."""
    total = np.zeros(len(X))
    for j, column in enumerate(columns):
        if column.rest == "fixed":
            total += column.log_fixed(X[:, j])
    return total


def allowed_outcomes(column: Column, conditions: Any, j: int) -> np.ndarray:
    """Mask (n, n_outcomes) of the outcomes that `Conditions` on column j leave open.

    The rest is open where numbers other than atoms may meet the conditions.
    """
    values, low, high = (array[:, j] for array in conditions.box)
    allowed = np.ones((len(values), column.n_outcomes), dtype=bool)
    codes = np.array([*range(len(column.levels)), *column.atoms], dtype=np.float64)
    is_limited = ~(np.isneginf(low) & np.isposinf(high))
    allowed[is_limited] = False
    allowed[:, : column.n_known] |= (codes >= low[:, None]) & (codes <= high[:, None])
    if column.rest != "none":
        allowed[:, column.rest_outcome] = True
    if j in conditions.categories:
        chosen = column.outcomes(conditions.categories[j])
        is_chosen = np.isin(np.arange(column.n_outcomes), chosen)
        allowed &= is_chosen
    is_known = ~np.isnan(values)
    known = column.outcomes(values[is_known]).astype(int)
    allowed[is_known] = np.arange(column.n_outcomes) == known[:, None]
    return allowed
