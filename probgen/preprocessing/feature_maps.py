"""Maps of the features of a table to the real line, with their densities, and back.

Each map is of one feature (n,), and takes noise u in (0, 1) that spreads what is discrete over a
cell of the line.
"""

from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from probgen._constants import LOG_2PI
from probgen.tables.columns import Feature, center_and_scale

MARGIN = 1e-9  # of cells, so that rounding moves no point into the next one
NEVER = 1e4  # deviations from the mean to an end that no draw reaches
FAR = 30.0  # multiples of the scale beyond which the bend at an end of the support is not seen


@dataclass(frozen=True)
class OutcomeMap:
    """From levels to cells of the line with their probabilities under the standard normal law.

    Independent levels of the training rows, with uniform noise in their cells, are standard normal.

    Attributes
    ----------
    ends : ndarray of shape (n_levels + 1,)
        Cumulative probabilities, from 0 to 1.
    """

    ends: np.ndarray

    @classmethod
    def fit(cls, feature: Feature, levels: np.ndarray) -> "OutcomeMap":
        """Count levels (n,); half a row more of each keeps cells of levels without rows open."""
        present = levels[~np.isnan(levels)].astype(int)
        counts = np.bincount(present, minlength=feature.n_levels) + 0.5
        ends = np.concatenate([[0.0], np.cumsum(counts / counts.sum())])
        ends[-1] = 1.0
        return cls(ends)

    def forward(self, levels: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Points (n,) in the cells of levels (n,), of which none is NaN."""
        places = levels.astype(int)
        low, high = self.ends[places], self.ends[places + 1]
        return ndtri(low + (MARGIN + (1.0 - 2.0 * MARGIN) * u) * (high - low))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Levels (n,) of the cells of points (n,)."""
        last = len(self.ends) - 2
        return np.clip(np.searchsorted(self.ends, ndtr(z), side="right") - 1, 0, last).astype(float)

    def log_density(self, levels: np.ndarray, z: np.ndarray) -> np.ndarray:
        """Log-density (n,) of the noise at points z of the cells of levels (n,)."""
        widths = np.diff(self.ends)
        return -0.5 * (z**2 + LOG_2PI) - np.log(widths[levels.astype(int)])

    def hull(self, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Ends (n,), (n,) of the smallest intervals that hold the cells of levels (n, n_levels)."""
        last = allowed.shape[1] - np.argmax(allowed[:, ::-1], axis=1)
        return ndtri(self.ends[np.argmax(allowed, axis=1)]), ndtri(self.ends[last])


@dataclass(frozen=True)
class ValueMap:
    """From the support of a number to the whole line, nearly affine far from an end.

    z = (x - center) / scale without an end, and log(exp(t) - 1) with t the distance from the end in
    units of the scale. Whole numbers first get noise of the width of a step.
    """

    step: float
    end: float | None
    direction: float
    center: float
    scale: float

    @classmethod
    def fit(cls, feature: Feature, values: np.ndarray) -> "ValueMap":
        """Take center and scale of values (n,), NaN aside."""
        present = values[~np.isnan(values)]
        end, direction = None, 1.0
        if np.isfinite(feature.low):
            end = feature.low - 0.5 * feature.step
        elif np.isfinite(feature.high):
            end, direction = feature.high + 0.5 * feature.step, -1.0
        center, scale = center_and_scale(present)
        if end is not None and direction * (center - end) > NEVER * scale:
            end = None
        return cls(feature.step, end, direction, center, scale)

    def forward(self, x: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Points (n,) of numbers (n,)."""
        return self.image(x, self.step * (MARGIN + (1.0 - 2.0 * MARGIN) * u - 0.5))

    def image(self, x: np.ndarray, noise: np.ndarray | float = 0.0) -> np.ndarray:
        """Points (n,) of numbers (n,) with noise; infinite at the end of the support."""
        if self.end is None:
            return ((x - self.center) + noise) / self.scale
        t = np.maximum(self.direction * ((x - self.end) + noise), 0.0) / self.scale
        with np.errstate(divide="ignore"):
            bent = np.log(np.expm1(np.minimum(t, FAR)))
        return self.direction * np.where(t > FAR, t, bent)

    def box(
        self, values: np.ndarray, low: np.ndarray, high: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points (n,) of known values and of the ends of intervals, which whole ones become."""
        if not self.step:
            return self.image(values), self._end(low), self._end(high)
        is_known = ~np.isnan(values)
        low = np.where(is_known, values, np.ceil(low)) - 0.5 * self.step
        high = np.where(is_known, values, np.floor(high)) + 0.5 * self.step
        return np.full(len(values), np.nan), self._end(low), self._end(high)

    def _end(self, x: np.ndarray) -> np.ndarray:
        """Points (n,) of the ends of intervals, of which an infinite one is its own."""
        return np.where(np.isinf(x), x, self.image(np.where(np.isinf(x), self.center, x)))

    def inverse(self, z: np.ndarray) -> np.ndarray:
        """Numbers (n,) of points (n,), whole ones where the feature is whole."""
        with np.errstate(over="ignore"):
            if self.end is None:
                x = self.center + self.scale * z
            else:
                x = self.end + self.direction * self.scale * np.logaddexp(0.0, self.direction * z)
        if self.step:
            x = np.rint(x)
            if self.end is not None:  # rounding at the end itself
                inner = self.end + 0.5 * self.direction * self.step
                x = self.direction * np.maximum(self.direction * x, self.direction * inner)
        return x

    def log_slope(self, z: np.ndarray) -> np.ndarray:
        """Log of dz/dx (n,) at points z (n,)."""
        if self.end is None:
            return np.full(len(z), -np.log(self.scale))
        # dt/dz is the logistic function of z.
        return np.logaddexp(0.0, -self.direction * z) - np.log(self.scale)
