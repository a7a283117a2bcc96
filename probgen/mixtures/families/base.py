"""What every family of numbers has: supports with holes, their probabilities, and draws."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from probgen.gaussians.log_probabilities import log_sum_exp

TINY = np.finfo(np.float64).tiny
# Rounds of plain draws before the rest are drawn by inversion, gap by gap.
N_ROUNDS = 3


@dataclass(frozen=True)
class Values:
    """The numbers of one feature, under the parameters (P, K) of K components.

    Numbers are codes x. A component gives them its distribution within [low, high], without atoms.
    Parameters are in units of `scale`, and relative to the origin of the family. Logarithms of the
    normaliser, log_z (K,), are passed in, because they are the same for all rows.

    Attributes
    ----------
    low, high : float
        Ends of the support.
    step : float
        0 for real numbers, 1 for whole ones.
    atoms : tuple of float
        Numbers that are never there.
    center, scale : float
        Where typical rows are, and how wide they vary, in the coordinate of the family.
    min_scale : float
        Least deviation of a component, in units of scale.
    """

    low: float
    high: float
    step: float
    atoms: tuple
    center: float
    scale: float
    min_scale: float

    name: ClassVar[str]
    needs_values: ClassVar[bool] = False  # whether sums over rows do not suffice

    # To be written by a family.

    def log_base(self, x: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Log-density or probability (n, K) of codes (n,), not normalised to the support."""
        raise NotImplementedError

    def statistics(self, x: np.ndarray, weights: np.ndarray, params: np.ndarray) -> np.ndarray:
        """Sums (S, K) over codes (n,) with weights (n, K), of which the first is that of ones."""
        raise NotImplementedError

    def estimate(self, statistics: np.ndarray, params: np.ndarray) -> tuple[np.ndarray, int]:
        """Parameters (P, K) that are likelier for the statistics, and how many had to be mended.

        Components without weight keep their params.
        """
        raise NotImplementedError

    def first_params(self, n_components: int) -> np.ndarray:
        """Parameters (P, K) of typical rows."""
        raise NotImplementedError

    def log_mass(self, low: Any, high: Any, params: np.ndarray) -> np.ndarray:
        """Log-probability of low <= x <= high, not normalised; ends broadcast to (..., K)."""
        raise NotImplementedError

    def quantile(self, u: np.ndarray, low: Any, high: Any, params: np.ndarray) -> np.ndarray:
        """Quantiles (n,) at u of codes within [low, high], under params (P, n)."""
        raise NotImplementedError

    def plain_draws(self, params: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Draws (n,) under params (P, n), not restricted to the support."""
        raise NotImplementedError

    def log_first_moment(self, low: Any, high: Any, params: np.ndarray) -> np.ndarray:
        """Log of E[x - origin] within low <= x <= high, times the probability of that."""
        raise NotImplementedError

    def described(self, params: np.ndarray) -> dict[str, np.ndarray]:
        """Parameters (K,) by name, in the units of the codes."""
        raise NotImplementedError

    @property
    def n_free(self) -> int:
        """Free parameters of a component."""
        return len(self.first_params(1))

    @property
    def origin(self) -> float:
        """Where moments start."""
        return 0.0

    @property
    def natural_ends(self) -> tuple[float, float]:
        """The support of the family itself."""
        return -np.inf, np.inf

    # The same for every family.

    def start_coordinate(self, x: np.ndarray) -> np.ndarray:
        """Numbers (n,), by which k-means finds clusters, of codes (n,)."""
        return (x - self.center) / self.scale

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """The parts of the support between atoms, ends included."""
        low, high = max(self.low, self.natural_ends[0]), min(self.high, self.natural_ends[1])
        if not self.step:
            return [(low, high)]
        gaps = []
        for atom in self.atoms:
            if not low <= atom <= high:
                continue
            if low <= atom - self.step:
                gaps.append((low, atom - self.step))
            low = atom + self.step
        if low <= high:
            gaps.append((low, high))
        return gaps

    @property
    def is_whole(self) -> bool:
        """Whether the support is that of the family itself."""
        return self.gaps == [self.natural_ends]

    def log_z(self, params: np.ndarray) -> np.ndarray:
        """Log-probability (K,) of the support."""
        if self.is_whole:
            return np.zeros(params.shape[1])
        return np.maximum(log_sum_exp(self._masses(self.gaps, params)), np.log(TINY))

    def _masses(self, gaps: list[tuple[float, float]], params: np.ndarray) -> np.ndarray:
        """Log-probabilities (G, K) of gaps."""
        ends = np.array(gaps).T[:, :, None]
        return self.log_mass(ends[0], ends[1], params)

    def log_prob(self, x: np.ndarray, params: np.ndarray, log_z: np.ndarray) -> np.ndarray:
        """Log-density or probability (n, K) of codes (n,) in the support."""
        log_prob = self.log_base(x, params)
        if not self.is_whole:
            log_prob -= log_z
        return log_prob

    def log_interval(
        self, low: np.ndarray, high: np.ndarray, params: np.ndarray, log_z: np.ndarray
    ) -> np.ndarray:
        """Log-probability (n, K) of codes between low (n,) and high (n,), ends included."""
        pairs, inverse = np.unique(np.stack([low, high]), axis=1, return_inverse=True)
        result = np.empty((pairs.shape[1], params.shape[1]))
        for i, (first, last) in enumerate(pairs.T):
            result[i] = log_sum_exp(self._masses(self.gaps_within(first, last), params)) - log_z
        return np.minimum(result, 0.0)[inverse.ravel()]

    def gaps_within(self, low: float, high: float) -> list[tuple[float, float]]:
        """The parts of an interval that are in the support, or one empty part."""
        if self.step:
            low, high = np.ceil(low), np.floor(high)
        parts = [(max(low, first), min(high, last)) for first, last in self.gaps]
        parts = [(first, last) for first, last in parts if first <= last]
        return parts or [(1.0, 0.0)]

    def draw(
        self,
        params: np.ndarray,
        drawn: np.ndarray,
        low: np.ndarray,
        high: np.ndarray,
        generator: np.random.Generator,
    ) -> np.ndarray:
        """Draws (n,) of codes between low (n,) and high (n,), under the drawn components (n,)."""
        params = params[:, drawn]
        draws = np.empty(len(drawn))
        pending = np.arange(len(draws))
        low, high = np.maximum(low, self.low), np.minimum(high, self.high)
        for _ in range(N_ROUNDS):
            x = self._in_open_ends(self.plain_draws(params[:, pending], generator))
            is_in = (low[pending] <= x) & (x <= high[pending])
            if self.atoms and self.step:
                is_in &= ~np.isin(x, self.atoms)
            draws[pending[is_in]] = x[is_in]
            pending = pending[~is_in]
            if not len(pending):
                return draws
        x = self._invert(params[:, pending], low[pending], high[pending], generator)
        draws[pending] = self._in_open_ends(x)
        return draws

    def _in_open_ends(self, x):
        """Draws (n,) of real numbers that are not the ends of the family, however near."""
        if self.step:
            return x
        low, high = self.natural_ends
        return np.clip(x, np.nextafter(low, np.inf), np.nextafter(high, -np.inf))

    def _invert(self, params, low, high, generator):
        """Draws (n,) between low (n,) and high (n,): a gap by its probability, then a quantile."""
        gaps = np.array(self.gaps)
        if self.step:
            low, high = np.ceil(low), np.floor(high)
        first = np.maximum(gaps[:, :1], low)  # (G, n)
        last = np.minimum(gaps[:, 1:], high)
        is_there = first <= last
        masses = np.where(is_there, self.log_mass(first, last, params), -np.inf)
        masses = np.exp(masses - np.maximum(masses.max(axis=0), np.log(TINY)))
        cumulative = np.cumsum(masses, axis=0)
        u = generator.random((2, params.shape[1]))
        chosen = (cumulative < u[0] * cumulative[-1]).sum(axis=0)
        # If all probabilities underflow, the first part that is there.
        chosen = np.where(cumulative[-1] > 0.0, chosen, np.argmax(is_there, axis=0))
        rows = np.arange(params.shape[1])
        first, last = first[chosen, rows], last[chosen, rows]
        return np.clip(self.quantile(u[1], first, last, params), first, last)

    def mean(self, params: np.ndarray, log_z: np.ndarray) -> np.ndarray:
        """Expectations (K,) of codes in the support."""
        ends = np.array(self.gaps).T[:, :, None]
        moments = self.log_first_moment(ends[0], ends[1], params)
        return self.origin + np.exp(log_sum_exp(moments) - log_z)

    def estimate_from_values(
        self, x: np.ndarray, weights: np.ndarray, params: np.ndarray
    ) -> tuple[np.ndarray, int]:
        """As `estimate`, from distinct codes (n,) and the weight (n, K) of each."""
        return self.estimate(self.statistics(x, weights, params), params)


def weighted_means(statistics: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Statistics (S, K) over their first row, and which components have weight."""
    has_weight = statistics[0] > TINY
    return statistics / np.where(has_weight, statistics[0], 1.0), has_weight
