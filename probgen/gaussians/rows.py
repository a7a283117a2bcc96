"""Rows as EM reads them."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

# Most numbers of which a transposed copy is kept between passes: 8 MB.
KEPT_NUMBERS = 2**20


@dataclass
class Rows:
    """Rows of a fit and their weights, read in chunks.

    Attributes
    ----------
    data : ndarray of shape (n, d), or RowBlocks
    weights : ndarray of shape (n,), or None for ones
    origin : ndarray of shape (d,)
        Subtracted from the rows before anything is squared.
    has_missing : bool
        Whether there may be NaN.
    on_device : list
        Chunks that stay on the device between passes.
    """

    data: Any
    weights: np.ndarray | None
    origin: np.ndarray
    has_missing: bool = False
    on_device: list = field(default_factory=list)

    def chunks(self):
        """Pairs of rows (m, d) and their weights (m,) or None."""
        if isinstance(self.data, np.ndarray):
            yield self.data, self.weights
            return
        start = 0
        for block in self.data:
            stop = start + len(block)
            yield block, None if self.weights is None else self.weights[start:stop]
            start = stop

    @cached_property
    def columns(self):
        """A contiguous transposed copy (d, n) of an array that is small, else None.

        Small fits spend their time in transposing blocks otherwise.
        """
        if not isinstance(self.data, np.ndarray) or self.data.size > KEPT_NUMBERS:
            return None
        return np.ascontiguousarray(self.data.T, dtype=np.float64)
