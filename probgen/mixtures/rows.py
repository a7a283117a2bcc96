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
    """

    places: np.ndarray
    starts: np.ndarray
    numbers: np.ndarray

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


@dataclass(frozen=True)
class Encoder:
    """Encodes rows of codes.

    Attributes
    ----------
    layout : Layout
    tables : list
        For each feature its distinct values, if it is a value that is looked up, else None.
    """

    layout: Layout
    tables: list

    @cached_property
    def sizes(self) -> list[int]:
        """Rows of each feature in the table of levels."""
        sizes = []
        for feature, table in zip(self.layout.features, self.tables):
            sizes.append(feature.n_levels if table is None else len(table))
        return sizes

    @cached_property
    def offsets(self) -> list[int]:
        """The first row of each feature in the table of levels."""
        return [0, *np.cumsum(self.sizes).tolist()]

    @property
    def n_levels(self) -> int:
        """Rows of the table of levels."""
        return self.offsets[-1]

    @cached_property
    def numbers(self) -> list[int]:
        """The features that are not looked up."""
        is_number = [size == 0 for size in self.sizes]
        return [j for j, family in self.layout.values if is_number[j] and self.tables[j] is None]

    def encode(self, F: np.ndarray) -> EncodedRows:
        """Features (n, m), as `split_codes` returns them, as EncodedRows."""
        found = [j for j, size in enumerate(self.sizes) if size]
        places = np.empty((len(F), len(found)), dtype=np.int32)
        for i, j in enumerate(found):
            column = F[:, j]
            is_missing = np.isnan(column)
            filled = np.where(is_missing, 0.0, column)
            if self.tables[j] is not None:
                filled = np.searchsorted(self.tables[j], filled)
            places[:, i] = np.where(is_missing, -1, filled + self.offsets[j])
        is_there = places >= 0
        starts = np.concatenate([[0], np.cumsum(is_there.sum(axis=1))]).astype(np.int32)
        flat = places.ravel() if is_there.all() else places[is_there]
        numbers = np.ascontiguousarray(F[:, self.numbers].T)
        return EncodedRows(flat, starts, numbers)


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
    """

    lowest: np.ndarray
    tables: list
    log_fixed: float
    total: float


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
        for block, weights in self.blocks():
            F = split_codes(self.columns, block)
            logs = log_fixed(self.columns, block)
            fixed += float(logs.sum() if weights is None else weights @ logs)
            total += float(len(block) if weights is None else weights.sum())
            for j in range(n_features):
                values = F[:, j][~np.isnan(F[:, j])]
                if len(values):
                    lowest[j] = min(lowest[j], values.min())
                if tables[j] is not None:
                    tables[j] = np.union1d(tables[j], values)
        return Survey(lowest, tables, fixed, total)
