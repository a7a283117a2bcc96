"""Rows as sequences of steps, in blocks of like lengths with time first."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen.markov.scan import block_size
from probgen.row_blocks import RowBlocks
from probgen.sequences.conversion import lengths_of


@dataclass
class Block:
    """Sequences of a fit that passes take at once.

    Attributes
    ----------
    prepared : object
        Their T * n steps, time first, as the emission reads them.
    is_there : ndarray of shape (T, n)
        Which steps come before the end of their sequence.
    weights : ndarray of shape (n,)
    """

    prepared: Any
    is_there: np.ndarray
    weights: np.ndarray


def steps_first(X, n_features):
    """Steps (T * n, d) of rows (n, T * d), those of the first time first."""
    steps = X.reshape(len(X), -1, n_features).swapaxes(0, 1)
    return np.array(steps, dtype=np.float64, order="C").reshape(-1, n_features)


def rows_of(steps, n):
    """Rows (n, T * d) of steps (T * n, d), those of the first time first."""
    n_features = steps.shape[1]
    return np.ascontiguousarray(steps.reshape(-1, n, n_features).swapaxes(0, 1)).reshape(n, -1)


class StreamedBlocks:
    """Blocks of the sequences of a stream, prepared anew each time that they are read.

    rows are the Rows of a fit, of which `blocks_of` gives the blocks.
    """

    def __init__(self, rows, origin, emission):
        self.rows = rows
        self.origin = origin
        self.emission = emission

    def __iter__(self):
        for X, weights in self.rows.chunks():
            yield from blocks_of(X, weights, self.origin, self.emission)


def steps_of_rows(rows, n_features):
    """Steps that hold a value, of Rows with weights: an array or RowBlocks, and their weights."""
    if isinstance(rows.data, np.ndarray):
        return _used_steps(rows.data, rows.weights, n_features)

    def read():
        for X, weights in rows.chunks():
            yield _used_steps(X, weights, n_features)[0]

    weights = [_used_steps(X, weights, n_features)[1] for X, weights in rows.chunks()]
    return RowBlocks(read), np.concatenate(weights)


def _used_steps(X, weights, n_features):
    """Steps (m, d) of rows (n, T * d) that hold a value and have a weight, and weights (m,)."""
    steps = X.reshape(-1, n_features)
    step_weights = np.repeat(weights, X.shape[1] // n_features)
    used = (step_weights > 0.0) & ~np.isnan(steps).all(axis=1)
    return steps[used], step_weights[used]


def blocks_of(X, weights, origin, emission):
    """Blocks of rows (n, T * d), in the order of their lengths, with an origin (d,) subtracted.

    Sequences without a value or a weight are left out.
    """
    n_features = emission.n_features
    lengths = lengths_of(X, n_features)
    used = np.flatnonzero((lengths > 0) & (weights > 0.0))
    used = used[np.argsort(-lengths[used], kind="stable")]
    blocks = []
    start = 0
    while start < len(used):
        n_steps = int(lengths[used[start]])
        stop = start + block_size(n_steps, emission.n_states)
        members = used[start:stop]
        steps = steps_first(X[members, : n_steps * n_features], n_features) - origin
        is_there = np.arange(n_steps)[:, None] < lengths[members]
        blocks.append(Block(emission.prepare(steps), is_there, weights[members]))
        start = stop
    return blocks
