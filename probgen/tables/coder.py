"""Rows of codes as the numbers that networks see, and back."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from probgen.tables.columns import Column, Feature, features_of, join_features, split_codes

CONSTANT = 1e-3  # deviation of a constant value, relative to its size
ROUNDING = 1e-7  # of numbers in single precision, in deviations
SMOOTHING = 0.5  # rows that are added to the count of each level


@dataclass(frozen=True)
class RowCoder:
    """Rows of codes (n, d) as features (n, m) for networks: levels, and standardised numbers.

    A value that is absent, because its outcome is not the rest, is 0. NaN is a missing value.

    Attributes
    ----------
    columns : list of Column
    center, scale : ndarray of shape (m,)
        Mean and deviation of each value; 0 and 1 for outcomes.
    log_shares : list of ndarray of shape (n_levels,)
        Of each outcome, the logarithms of the smoothed shares of its levels.
    """

    columns: list[Column]
    center: np.ndarray
    scale: np.ndarray
    log_shares: list[np.ndarray]

    @classmethod
    def of_rows(cls, columns: list[Column], X: np.ndarray) -> "RowCoder":
        """Return the coder of columns, with the moments and counts of rows of codes (n, d)."""
        features = features_of(columns)
        split = split_codes(columns, X)
        center = np.zeros(len(features))
        scale = np.ones(len(features))
        log_shares = []
        for k, feature in enumerate(features):
            seen = split[~np.isnan(split[:, k]), k]
            if feature.n_levels:
                counts = np.bincount(seen.astype(int), minlength=feature.n_levels) + SMOOTHING
                log_shares.append(np.log(counts / counts.sum()))
            elif len(seen):
                center[k], scale[k] = _moments(seen, feature.step)
        return cls(columns, center, scale, log_shares)

    @cached_property
    def features(self) -> list[Feature]:
        """The features of the columns."""
        return features_of(self.columns)

    @property
    def n_inputs(self) -> int:
        """Numbers of a row that networks see: one for each level, and two for each value."""
        return sum(feature.n_levels or 2 for feature in self.features)

    def encode(self, X: np.ndarray) -> np.ndarray:
        """Return features (n, m) of rows of codes (n, d)."""
        rows = split_codes(self.columns, np.asarray(X, dtype=np.float64))
        for k, feature in enumerate(self.features):
            if feature.n_levels:
                continue
            values = (rows[:, k] - self.center[k]) / self.scale[k]
            if feature.outcome is not None:
                outcomes = rows[:, feature.outcome]
                values[~np.isnan(outcomes) & (outcomes != feature.rest)] = 0.0
            rows[:, k] = values
        return rows

    def decode(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Return rows of codes (n, d) of features (n, m); the generator draws fixed rests."""
        split = self.center + self.scale * np.asarray(rows, dtype=np.float64)
        for k, feature in enumerate(self.features):
            if feature.step:
                split[:, k] = np.rint(split[:, k])
            if not feature.n_levels:
                # The ends of densities are open.
                margin = 0.0 if feature.step else ROUNDING * self.scale[k]
                split[:, k] = np.clip(split[:, k], feature.low + margin, feature.high - margin)
        return join_features(self.columns, split, generator)


def _moments(values: np.ndarray, step: float) -> tuple[float, float]:
    """Mean and deviation of values (n,)."""
    center = float(values.mean())
    scale = float(values.std())
    size = np.abs(values).max()
    if scale <= 8.0 * np.finfo(np.float64).eps * size:
        scale = CONSTANT * (size or 1.0)
    return center, max(scale, step)
