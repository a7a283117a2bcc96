"""Rows as EM of mixtures of columns reads them: places in one table of levels, and numbers."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from probgen.mixtures.layout import Layout
from probgen.tables.columns import log_fixed, split_codes

# Distinct whole numbers of a feature up to which log-probabilities are looked up in a table.
MOST_TABULATED = 4096
# Places up to which levels of several features share one, and rows for each from which they do.
MOST_JOINED = 256
ROWS_OF_PLACE = 16
PIECE_ROWS = 2**16  # rows of an array that are encoded at once


@dataclass
class EncodedRows:
    """Some rows.

    Attributes
    ----------
    places : ndarray
        Rows of the table of levels, of all rows of X one after another.
    starts : ndarray of shape (n + 1,)
        Where each row of X starts among the places.
    numbers : ndarray of shape (m, n)
        Values that are not looked up, NaN where there is none.
    log_within : ndarray of shape (n,) or None
        Log-densities of numbers within their bins, which are those of all components.
    """

    places: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray
    log_within: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.starts) - 1

    def indicators(self, start: int, stop: int, n_levels: int) -> csr_matrix:
        """Sparse indicators (stop - start, n_levels) of the places of some rows."""
        first, last = self.starts[start], self.starts[stop]
        parts = (
            np.ones(last - first),
            self.places[first:last],
            self.starts[start : stop + 1] - first,
        )
        return csr_matrix(parts, shape=(stop - start, n_levels), copy=False)


def make_encoder(layout: Layout, tables: list, survey: "Survey | None" = None) -> "Encoder":
    """The Encoder that looks up some features among their distinct values, where there are any.

    A value in bins is looked up by its bin, which is the same for all rows of a fit. If a survey
    tells that there are many rows, features of few levels are looked up together.
    """
    histograms = layout.histograms
    own = [histograms[j].typical if j in histograms else table for j, table in enumerate(tables)]
    if survey is None or survey.n_rows < ROWS_OF_PLACE * MOST_JOINED:
        return Encoder(layout, own)
    return Encoder(layout, own, tuple(survey.is_missing.tolist()))


@dataclass(frozen=True)
class Encoder:
    """Encodes rows of codes.

    Attributes
    ----------
    layout : Layout
    tables : list
        For each feature its distinct values, if it is a value that is looked up, a code of each
        bin, if it has bins, else None.
    is_missing : tuple of bool or None
        Which features some rows do not have, if features may be joined.
    """

    layout: Layout
    tables: list
    is_missing: tuple | None = None

    @cached_property
    def sizes(self) -> list[int]:
        """Rows of each feature in the table of levels."""
        sizes = []
        for feature, table in zip(self.layout.features, self.tables):
            size = feature.n_levels
            if table is not None:
                size = len(table)
            sizes.append(size)
        return sizes

    @cached_property
    def offsets(self) -> list[int]:
        """The first row of each feature in the table of levels."""
        return [0, *np.cumsum(self.sizes).tolist()]

    @cached_property
    def numbers(self) -> list[int]:
        """The features that are not looked up."""
        is_number = [size == 0 for size in self.sizes]
        return [j for j, family in self.layout.values if is_number[j] and self.tables[j] is None]

    @cached_property
    def groups(self) -> list[list[int]]:
        """The features that are looked up, together with those that share a place."""
        found = [j for j, size in enumerate(self.sizes) if size]
        if self.is_missing is None:
            return [[j] for j in found]
        groups: list[list[int]] = []
        n_joined = MOST_JOINED + 1
        for j in sorted(found, key=self._radix):
            n_joined *= self._radix(j)
            if n_joined > MOST_JOINED:
                groups.append([])
                n_joined = self._radix(j)
            groups[-1].append(j)
        return groups

    def _radix(self, j):
        """Levels of a feature, of which one more says that there is none."""
        return self.sizes[j] + bool(self.is_missing and self.is_missing[j])

    def _places_of(self, group):
        """Number of places of a group."""
        if len(group) == 1:
            return self.sizes[group[0]]
        return int(np.prod([self._radix(j) for j in group]))

    @cached_property
    def n_places(self) -> int:
        """Places that rows are looked up at: levels, or combinations of some."""
        return sum(self._places_of(group) for group in self.groups)

    @cached_property
    def members(self) -> csr_matrix | None:
        """Indicators (n_places, n_levels) of the levels of each place, None if they are equal."""
        if all(len(group) == 1 for group in self.groups):
            return None
        rows, levels = [], []
        start = 0
        for group in self.groups:
            codes = np.arange(self._places_of(group))
            for j in group:
                radix = self._radix(j) if len(group) > 1 else self.sizes[j]
                codes, own = np.divmod(codes, radix)
                is_there = own < self.sizes[j]
                rows.append(start + np.flatnonzero(is_there))
                levels.append(self.offsets[j] + own[is_there])
            start += self._places_of(group)
        places = np.concatenate(rows), np.concatenate(levels)
        ones = np.ones(len(places[0]))
        return csr_matrix((ones, places), shape=(self.n_places, self.offsets[-1]))

    def encode(self, F: np.ndarray) -> EncodedRows:
        """Features (n, m), as `split_codes` returns them, as EncodedRows."""
        places = np.empty((len(F), len(self.groups)), dtype=np.int32)
        start = 0
        for i, group in enumerate(self.groups):
            joined = np.zeros(len(F), dtype=np.intp)
            for j in reversed(group):
                levels, is_missing = self._levels(j, F[:, j])
                if len(group) == 1:
                    joined = np.where(is_missing, -1 - start, levels)
                else:
                    joined = joined * self._radix(j) + np.where(is_missing, self.sizes[j], levels)
            places[:, i] = start + joined
            start += self._places_of(group)
        is_there = places >= 0
        starts = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int32)
        flat = places.ravel() if is_there.all() else places[is_there]
        numbers = np.ascontiguousarray(F[:, self.numbers].T)
        return EncodedRows(flat, starts, numbers, self._log_within(F))

    def _levels(self, j, column):
        """Levels (n,) of a feature (n,), and where it is missing."""
        is_missing = np.isnan(column)
        filled = np.where(is_missing, 0.0, column)
        if j in self.layout.histograms:
            return self.layout.histograms[j].bins(filled), is_missing
        if self.tables[j] is not None:
            return np.searchsorted(self.tables[j], filled), is_missing
        return filled.astype(np.intp), is_missing

    def _log_within(self, F):
        """Log-densities (n,) of numbers within their bins, or None if there are no bins."""
        total = None
        for j, family in self.layout.histograms.items():
            if self.tables[j] is not None:
                own = family.log_within(F[:, j])
                total = own if total is None else total + own
        return total


@dataclass
class Survey:
    """What one pass over all rows tells, for each feature.

    Attributes
    ----------
    lowest : ndarray of shape (m,)
        Least numbers, inf where there is none.
    tables : list
        Distinct whole numbers of values, None for others and where there are too many.
    log_fixed : float
        Weighted sum of the log-probabilities of rests with a fixed distribution.
    total : float
        Weight of all rows.
    n_rows : int
    is_missing : ndarray of shape (m,)
        Which features some rows do not have.
    """

    lowest: np.ndarray
    tables: list
    log_fixed: float
    total: float
    n_rows: int
    is_missing: np.ndarray


class TableRows:
    """Rows of codes (n, d), an array or RowBlocks, and their weights (n,) or None."""

    def __init__(self, columns: list, data: Any, weights: np.ndarray | None) -> None:
        if isinstance(data, np.ndarray) and weights is not None and not weights.all():
            data, weights = data[weights > 0.0], weights[weights > 0.0]
        self.columns = columns
        self.data = data
        self.weights = weights
        self._encoded: list | None = None

    def blocks(self):
        """Rows of codes in float64 and their weights or None, block by block."""
        if isinstance(self.data, np.ndarray):
            for first in range(0, len(self.data), PIECE_ROWS):
                part = slice(first, first + PIECE_ROWS)
                weights = None if self.weights is None else self.weights[part]
                yield self.data[part].astype(np.float64, copy=False), weights
            return
        start = 0
        for block in self.data:
            block = block.astype(np.float64, copy=False)
            weights = None
            if self.weights is not None:
                weights = self.weights[start : start + len(block)]
                block = block[weights > 0.0]
                start += len(weights)
                weights = weights[weights > 0.0]
            yield block, weights

    def encoded(self, encoder: Encoder):
        """EncodedRows and their weights or None; those of an array are kept."""
        if self._encoded is not None:
            yield from self._encoded
            return
        if isinstance(self.data, np.ndarray):
            self._encoded = list(self._encode(encoder))
            yield from self._encoded
            return
        yield from self._encode(encoder)

    def _encode(self, encoder):
        for block, weights in self.blocks():
            yield encoder.encode(split_codes(self.columns, block)), weights

    def survey(self, n_features: int, steps: list[float]) -> Survey:
        """One pass over all rows; steps are those of the features, 0 for outcomes."""
        lowest = np.full(n_features, np.inf)
        tables: list = [np.empty(0) if step else None for step in steps]
        fixed = 0.0
        total = 0.0
        n_rows = 0
        is_missing = np.zeros(n_features, dtype=bool)
        for block, weights in self.blocks():
            n_rows += len(block)
            F = split_codes(self.columns, block)
            logs = log_fixed(self.columns, block)
            if weights is None:
                fixed += float(logs.sum())
                total += len(block)
            else:
                fixed += float(weights @ logs)
                total += float(weights.sum())
            for j in range(n_features):
                values = F[:, j][~np.isnan(F[:, j])]
                is_missing[j] |= len(values) < len(F)
                if len(values):
                    lowest[j] = min(lowest[j], values.min())
                if tables[j] is not None:
                    tables[j] = np.union1d(tables[j], values)
        return Survey(lowest, tables, fixed, total, n_rows, is_missing)
