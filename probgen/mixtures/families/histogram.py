"""Numbers by bins: a probability of each bin, and one distribution within it for all components."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.mixtures.families.base import TINY, Values
from probgen.mixtures.families.tails import Tail, fit_tail
from probgen.mixtures.numerics import draw_levels, intervals_of

N_BINS = 16
ROWS_OF_BIN = 8  # of a sample, on average


@dataclass(frozen=True)
class Histogram(Values):
    """Parameters: probabilities (B, K) of bins.

    Numbers within a bin are uniform, but for those of the first and the last one, which may have a
    generalised Pareto distribution. Bins divide ranks r: a real number is its own rank, and whole
    numbers that are no atoms have consecutive whole ranks, each of which stands for all that rounds
    to it.

    Attributes
    ----------
    edges : tuple of float
        Ranks (B + 1,) at which bins end, from lowest to highest. Where there is a tail, the outer
        end is that of the support, and may be infinite.
    tails : tuple
        The Tail of the first and of the last bin, each None if numbers are uniform there.
    """

    edges: tuple
    tails: tuple[Tail | None, Tail | None]

    name: ClassVar[str] = "histogram"
    needs_values: ClassVar[bool] = True

    @property
    def n_bins(self) -> int:
        """Number of bins B."""
        return len(self.edges) - 1

    @property
    def n_free(self):
        return self.n_bins - 1

    @property
    def natural_ends(self):
        return self.low, self.high

    @property
    def gaps(self):
        return [self.natural_ends]

    def start_coordinate(self, x):
        # Uniform, however far the tails reach.
        share = (self.bins(x) + 0.5) / self.n_bins
        return np.where(np.isnan(x), np.nan, np.sqrt(12.0) * (share - 0.5))

    def ranks(self, x: Any) -> Any:
        """Ranks (n,) of codes (n,), of atoms that of the next number."""
        if not self.step or not self.atoms:
            return x
        return x - np.searchsorted(self.atoms, x, side="left")

    def codes(self, ranks: np.ndarray) -> np.ndarray:
        """Codes (n,) of ranks (n,), which are rounded where codes are whole."""
        if not self.step:
            return ranks
        ranks = np.rint(ranks)
        return ranks + np.searchsorted(self._first_above_atoms, ranks, side="right")

    @property
    def _first_above_atoms(self) -> np.ndarray:
        """The least rank (A,) of the numbers above each atom."""
        return np.array(self.atoms) - np.arange(len(self.atoms))

    def bins(self, x: np.ndarray) -> np.ndarray:
        """Bins (n,) of codes (n,), of NaN the last one."""
        inner = np.array(self.edges[1:-1])
        return np.searchsorted(inner, self.ranks(x), side="right")

    @property
    def typical(self) -> np.ndarray:
        """A code (B,) of each bin."""
        with np.errstate(invalid="ignore"):
            ranks = 0.5 * (np.array(self.edges[:-1]) + np.array(self.edges[1:]))
        for b, tail in self._tailed_bins():
            ranks[b] = np.nextafter(tail.edge, tail.end)
            if self.step:
                ranks[b] = tail.edge + tail.sign * 0.5 * self.step
        return self.codes(ranks)

    def counts(self, x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Weights (B, K) of bins, from those (n, K) of codes (n,)."""
        counts = np.zeros((self.n_bins, weights.shape[1]))
        np.add.at(counts, self.bins(x), weights)
        return counts

    def log_within(self, x: np.ndarray) -> np.ndarray:
        """Log-density or probability (n,) of codes (n,) given their bin; 0 for NaN."""
        result = np.zeros(len(x))
        is_there = ~np.isnan(x)
        ranks = self.ranks(x[is_there])
        bins = self.bins(x[is_there])
        widths = np.diff(self.edges)
        with np.errstate(divide="ignore"):
            logs = -np.log(widths[bins])
        for b, tail in self._tailed_bins():
            members = bins == b
            logs[members] = tail.log_prob(ranks[members], self.step)
        result[is_there] = logs
        return result

    def _tailed_bins(self):
        """Indices and tails of the bins that have one."""
        pairs = (0, self.tails[0]), (self.n_bins - 1, self.tails[1])
        return [(b, tail) for b, tail in pairs if tail is not None]

    def log_base(self, x, params):
        with np.errstate(divide="ignore"):
            return np.log(params)[self.bins(x)] + self.log_within(x)[:, None]

    def first_params(self, n_components):
        return np.full((self.n_bins, n_components), 1.0 / self.n_bins)

    def estimate_from_values(self, x, weights, params):
        counts = self.counts(x, weights)
        totals = counts.sum(axis=0)
        has_weight = totals > TINY
        return np.where(has_weight, counts / np.where(has_weight, totals, 1.0), params), 0

    def log_shares(self, low: Any, high: Any) -> np.ndarray:
        """Log of the share (B, ...) of each bin between codes low and high, ends included."""
        first, last = np.broadcast_arrays(*self._rank_ends(low, high))
        shape = (-1, *[1] * first.ndim)
        starts = np.array(self.edges[:-1]).reshape(shape)
        stops = np.array(self.edges[1:]).reshape(shape)
        with np.errstate(divide="ignore", invalid="ignore"):
            inside = np.minimum(last, stops) - np.maximum(first, starts)
            logs = np.log(np.maximum(inside, 0.0)) - np.log(stops - starts)
        for b, tail in self._tailed_bins():
            ends = np.maximum(first, self.edges[b]), np.minimum(last, self.edges[b + 1])
            logs[b] = tail.log_interval(*ends)
        return logs

    def _rank_ends(self, low, high):
        """Ranks between which numbers between low and high are, with all that rounds to them."""
        low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
        if not self.step:
            return low, high
        above = high - np.searchsorted(self.atoms, high, side="right")
        return self.ranks(low) - 0.5, above + 0.5

    def log_mass(self, low, high, params):
        logs = self.log_shares(low, high)  # (B, ..., 1), or of as many as there are components
        shape = (self.n_bins, *[1] * (logs.ndim - 2), params.shape[1])
        with np.errstate(divide="ignore"):
            logs = logs + np.log(params).reshape(shape)
        return log_sum_exp(logs)

    def draw(self, params, drawn, low, high, generator):
        bins = np.empty(len(drawn), dtype=np.intp)
        low, high = np.maximum(low, self.low), np.minimum(high, self.high)
        if self.step:
            low, high = np.ceil(low), np.floor(high)
        for first, last, members in intervals_of(low, high):
            with np.errstate(divide="ignore"):
                logs = np.log(params) + self.log_shares(first, last)[:, None]
            peaks = logs.max(axis=0)
            is_there = np.isfinite(peaks)  # at least in the components that are drawn
            shares = np.exp(np.where(is_there, logs - np.where(is_there, peaks, 0.0), 0.0))
            bins[members] = draw_levels(shares, drawn[members], generator)
        return self._draw_within(bins, low, high, generator.random(len(drawn)))

    def _draw_within(self, bins, low, high, u):
        """Codes (n,) of bins (n,) between low (n,) and high (n,), at levels u (n,)."""
        first, last = self._rank_ends(low, high)
        edges = np.array(self.edges)
        first, last = np.maximum(first, edges[bins]), np.minimum(last, edges[bins + 1])
        with np.errstate(invalid="ignore"):
            ranks = first + u * (last - first)
        for b, tail in self._tailed_bins():
            members = np.flatnonzero(bins == b)
            ranks[members] = tail.quantile(u[members], first[members], last[members])
        if self.step:
            half = 0.5 * self.step
            ranks = np.clip(np.rint(ranks), first + half, last - half)
            return self.codes(ranks)
        return np.clip(ranks, first, last)

    def quantile(self, u, low, high, params):
        rows = np.arange(params.shape[1])
        low, high = np.broadcast_to(low, rows.shape), np.broadcast_to(high, rows.shape)
        logs = np.log(np.maximum(params, TINY)) + self.log_shares(low, high)
        shares = np.exp(logs - logs.max(axis=0))
        cumulative = np.cumsum(shares, axis=0)
        target = u * cumulative[-1]
        bins = np.minimum((cumulative <= target).sum(axis=0), self.n_bins - 1)
        own = shares[bins, rows]
        inside = np.clip((target - (cumulative[bins, rows] - own)) / own, 0.0, 1.0)
        return self._draw_within(bins, low, high, inside)

    def mean(self, params, log_z):
        return self._means_of_bins() @ params

    def _means_of_bins(self):
        """Means (B,) of the codes of each bin."""
        edges = np.array(self.edges)
        with np.errstate(invalid="ignore"):
            means = 0.5 * (edges[:-1] + edges[1:])
        for b, tail in self._tailed_bins():
            means[b] = tail.mean(self.step)
        if self.step:
            for atom in self.atoms:  # all numbers above one are further by 1 than their ranks
                means += np.exp(self.log_shares(atom + 1.0, np.inf))
        return means

    def described(self, params):
        edges = np.array(self.edges)
        if self.step:
            edges = self.codes(np.ceil(edges)) - 0.5
        return {"bin_edges": edges, "bin_probabilities": params.T.copy()}


def make_histogram(x: np.ndarray, weights: np.ndarray, **settings: Any) -> Histogram:
    """The Histogram of a sample x (n,) with weights (n,); settings are those of all Values.

    Its bins hold equal shares of the sample, but for repeats.
    """
    plain = Histogram(edges=(), tails=(None, None), **settings)
    ranks = plain.ranks(x)
    order = np.argsort(ranks, kind="stable")
    ranks, weights = ranks[order], weights[order]
    ends = plain._rank_ends(plain.low, plain.high)
    ends = float(ends[0]), float(ends[1])
    n_bins = int(np.clip(len(ranks) // ROWS_OF_BIN, 1, N_BINS))
    inner = _quantiles(ranks, weights, n_bins)
    least = max(plain.step, plain.min_scale * plain.scale)
    if plain.step:
        inner = np.floor(inner) + 0.5
    kept: list[float] = []
    for edge in inner.tolist():
        previous = kept[-1] if kept else max(ends[0], float(ranks.min(initial=edge)) - least)
        if edge - previous >= least and ends[1] - edge >= least:
            kept.append(edge)
    if not kept:
        kept = [0.5 * (max(ends[0], -1.0) + min(ends[1], 1.0))] if np.isinf(ends).any() else []
    tails = (None, None)
    if kept:
        tails = (
            fit_tail(kept[0], ends[0], ranks, weights, plain.step, least),
            fit_tail(kept[-1], ends[1], ranks, weights, plain.step, least),
        )
    return Histogram(edges=(ends[0], *kept, ends[1]), tails=tails, **settings)


def _quantiles(x, weights, n_bins):
    """Numbers (n_bins - 1,) between which equal shares of sorted x (n,) are."""
    if not len(x):
        return np.empty(0)
    levels = np.arange(1, n_bins) / n_bins
    cumulative = np.cumsum(weights)
    places = np.searchsorted(cumulative, levels * cumulative[-1])
    return x[np.minimum(places, len(x) - 1)]
