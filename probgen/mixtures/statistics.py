"""Sufficient statistics of weighted rows under the components of a mixture.

They are additive, as those of Gaussians are, so that blocks of rows and fits merge.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Histogram:
    """Weights (U, K) of distinct values (U,) under K components."""

    values: np.ndarray
    masses: np.ndarray

    def __add__(self, other: "Histogram") -> "Histogram":
        values = np.union1d(self.values, other.values)
        masses = np.zeros((len(values), self.masses.shape[1]))
        for part in (self, other):
            masses[np.searchsorted(values, part.values)] += part.masses
        return Histogram(values, masses)

    def scaled(self, factor: Any) -> "Histogram":
        """Weights times a factor."""
        return Histogram(self.values, self.masses * factor)


@dataclass
class MixtureStatistics:
    """Statistics of K components.

    Attributes
    ----------
    counts : ndarray of shape (K,)
        Sums of responsibilities.
    parts : list
        For each feature: weights (L, K) of the levels of an outcome, and of a value either a
        Histogram or the sums (S, K) of its family.
    """

    counts: np.ndarray
    parts: list

    @property
    def total(self) -> float:
        """Weight of all rows."""
        return float(self.counts.sum())

    def __add__(self, other: "MixtureStatistics") -> "MixtureStatistics":
        parts = [one + more for one, more in zip(self.parts, other.parts)]
        return MixtureStatistics(self.counts + other.counts, parts)

    def scaled(self, factor: float) -> "MixtureStatistics":
        """The statistics of rows weighted by factor."""
        parts = []
        for part in self.parts:
            if isinstance(part, Histogram):
                parts.append(part.scaled(factor))
            else:
                parts.append(part * factor)
        return MixtureStatistics(self.counts * factor, parts)
