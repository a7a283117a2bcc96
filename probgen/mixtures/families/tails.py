"""Generalised Pareto tails of numbers beyond an edge, fitted by moments."""

from dataclasses import dataclass

import numpy as np

HEAVIEST = 0.8  # shape up to which a tail has a mean that draws are near to
LIGHTEST = 0.02  # shapes below this are exponential
N_SUMMED = 4096


@dataclass(frozen=True)
class Tail:
    """Numbers from an edge to an end, which may be infinite.

    Attributes
    ----------
    edge, end : float
    scale, shape : float
        Of the generalised Pareto distribution of the distance from the edge; 0 is exponential.
    """

    edge: float
    end: float
    scale: float
    shape: float

    @property
    def sign(self) -> float:
        """1 for a tail to the right of its edge, -1 for one to its left."""
        return 1.0 if self.end > self.edge else -1.0

    @property
    def reach(self) -> float:
        """Distance of the end from the edge."""
        return abs(self.end - self.edge)

    def _log_beyond(self, y):
        """Log-probability of more than y, where numbers do not end."""
        if not self.shape:
            return -y / self.scale
        return -np.log1p(self.shape * y / self.scale) / self.shape

    def _log_between(self, near, far):
        """Log-probability of distances between near and far, where numbers do not end."""
        start = self._log_beyond(near)
        with np.errstate(divide="ignore", invalid="ignore"):
            return start + np.log(-np.expm1(self._log_beyond(far) - start))

    @property
    def _log_inside(self) -> float:
        return float(self._log_between(0.0, self.reach))

    def log_prob(self, x: np.ndarray, step: float) -> np.ndarray:
        """Log-density (n,) of numbers (n,), or log-probability of all that rounds to them."""
        y = self.sign * (x - self.edge)
        if step:
            logs = self._log_between(y - 0.5 * step, y + 0.5 * step)
        else:
            logs = (1.0 + self.shape) * self._log_beyond(y) - np.log(self.scale)
        return logs - self._log_inside

    def log_interval(self, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Log-probability of numbers between low and high, which are in the tail."""
        near, far = self._distances(low, high)
        is_there = near < far
        logs = self._log_between(np.where(is_there, near, 0.0), np.where(is_there, far, 1.0))
        return np.where(is_there, logs - self._log_inside, -np.inf)

    def _distances(self, low, high):
        if self.sign > 0.0:
            return low - self.edge, high - self.edge
        return self.edge - high, self.edge - low

    def quantile(self, u: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Quantiles (n,) at u of numbers between low (n,) and high (n,)."""
        if self.sign < 0.0:
            u = 1.0 - u
        near, far = self._distances(low, high)
        start = self._log_beyond(near)
        logs = start + np.log1p(u * np.expm1(self._log_beyond(far) - start))
        y = -self.scale * logs
        if self.shape:
            y = self.scale * np.expm1(-self.shape * logs) / self.shape
        return self.edge + self.sign * y

    def mean(self, step: float) -> float:
        """Expectation of the numbers, rounded to whole ones where they have a step."""
        if step:
            distance = 0.5 + self._sum_beyond()
        else:
            distance = self._area_beyond(0.0)
        return self.edge + self.sign * distance

    def _area_beyond(self, start):
        """Integral from start of the probability of more, given the end."""
        cut = np.exp(self._log_beyond(self.reach))
        area = self._area(start)
        if np.isfinite(self.reach):
            area -= self._area(self.reach) + cut * (self.reach - start)
        return area / (1.0 - cut)

    def _area(self, y):
        beyond = np.exp(self._log_beyond(y))
        return (self.scale + self.shape * y) * beyond / (1.0 - self.shape)

    def _sum_beyond(self):
        """Sum of the probabilities of more than 1, 2, ... given the end."""
        n_terms = int(min(N_SUMMED, self.reach))
        cut = np.exp(self._log_beyond(self.reach))
        terms = np.exp(self._log_beyond(np.arange(1.0, n_terms))) - cut
        total = terms.sum() / (1.0 - cut)
        if self.reach > n_terms:  # the others hardly differ from one to the next
            total += self._area_beyond(n_terms - 0.5)
        return total


def fit_tail(
    edge: float, end: float, x: np.ndarray, weights: np.ndarray, step: float, least: float
) -> Tail | None:
    """The tail of sorted x (n,) from an edge to an end, or None where uniform numbers fit better.

    least is the least scale. Scale and shape are those of probability-weighted moments (Hosking and
    Wallis, 1987), with shapes that are not negative.
    """
    is_right = end > edge
    is_beyond = x >= edge if is_right else x < edge
    y, w = np.abs(x[is_beyond] - edge), weights[is_beyond]
    if not is_right:
        y, w = y[::-1], w[::-1]
    total = w.sum()
    if not total > 0.0:
        return None if np.isfinite(end) else Tail(edge, end, least, 0.0)
    mean = max(w @ y / total, least)
    above = 1.0 - (np.cumsum(w) - 0.5 * w) / total
    moment = w @ (y * above) / total
    shape = 0.0
    if mean > 2.0 * moment:
        shape = float(np.clip(2.0 - mean / (mean - 2.0 * moment), 0.0, HEAVIEST))
    if shape < LIGHTEST:
        shape = 0.0
    tail = Tail(edge, end, float(mean * (1.0 - shape)), shape)
    if np.isfinite(end):
        log_prob = tail.log_prob(edge + tail.sign * y, step)
        if not w @ log_prob / total > -np.log(tail.reach):
            return None
    return tail
