"""Statistics used to centre and scale rows, and to choose a likelihood."""

import dataclasses
import math
from dataclasses import dataclass

import numpy as np
import torch

from probgen.training.rows import Rows

READ_ROWS = 8192
SUMMED_COLUMNS = 64
CACHED_VALUES = 2**17  # values of a part that fits in a processor's cache
CONSTANT = 1e-3  # standard deviation of a constant feature, in units of the scale


@dataclass(frozen=True)
class RowStatistics:
    """Statistics of rows, taken in one pass.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the values that are not missing; 0 for a feature without any.
    scale : float
        Root of the mean variance of the features; 1.0 if they are all constant.
    deviation : ndarray of shape (n_features,)
        Standard deviation of each feature; a thousandth of `scale` for a constant one.
    low, high : float
        Smallest and largest value.
    is_binary, is_integer, has_missing : bool
        Whether all values are 0 or 1, whether all are whole numbers, and whether some are NaN.
    """

    mean: np.ndarray
    scale: float
    deviation: np.ndarray
    low: float
    high: float
    is_binary: bool
    is_integer: bool
    has_missing: bool

    def binarized(self) -> "RowStatistics":
        """Return the statistics of rows of 0 and 1, for rows of their probabilities.

        Raises
        ------
        ValueError
            If some values are not in [0, 1].
        """
        if not (self.low >= 0.0 and self.high <= 1.0):
            raise ValueError(
                "dynamic_binarization=True needs probabilities, values in [0, 1]; X holds"
                f" {self.low:g} to {self.high:g}; scale it first."
            )
        return dataclasses.replace(self, low=0.0, high=1.0, is_binary=True, is_integer=True)


def take_statistics(rows: Rows) -> RowStatistics:
    """Return the RowStatistics of Rows, missing values left out.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.training.rows import open_rows
    >>> rows = open_rows(np.array([[0.0, 2.0], [2.0, 4.0]], dtype=np.float32))
    >>> statistics = take_statistics(rows)
    >>> statistics.mean, statistics.scale, statistics.is_integer
    (array([1., 3.]), 1.0, True)
    """
    d = rows.n_features
    origin = torch.zeros(d)
    totals = np.zeros(d)
    squares = np.zeros(d)
    counts = np.zeros(d)
    low, high = np.inf, -np.inf
    is_integer, has_missing = True, False
    for index, (block, *_) in enumerate(rows.batches(None, READ_ROWS)):
        least, most = (float(end) for end in block.aminmax())  # NaN if any value is
        if math.isnan(least):
            has_missing = True
            is_seen = ~block.isnan()
            counts += is_seen.sum(0).cpu().numpy()
            values = block[is_seen]
            if len(values):
                least, most = (float(end) for end in values.aminmax())
        else:
            counts += len(block)
            values = block
        if len(values):
            low, high = min(low, least), max(high, most)
        is_integer = is_integer and _are_integers(values)
        if index == 0:
            # Far from zero, squares of the values themselves would lose digits.
            mean = torch.mean
            if has_missing:
                mean = torch.nanmean
            means = [mean(part.double(), dim=0) for part in _column_blocks(block)]
            origin = torch.cat(means).nan_to_num(0.0)
        block_totals, block_squares = _sums(block, origin, is_whole=values is block)
        totals += block_totals.cpu().numpy()
        squares += block_squares.cpu().numpy()
    shift = totals / np.maximum(counts, 1.0)
    variance = np.maximum(squares / np.maximum(counts, 1.0) - shift**2, 0.0)
    scale = float(np.sqrt(variance.mean())) or 1.0
    deviation = np.where(variance > 0.0, np.sqrt(variance), CONSTANT * scale)
    return RowStatistics(
        mean=origin.cpu().numpy() + shift,
        scale=scale,
        deviation=deviation,
        low=low,
        high=high,
        is_binary=is_integer and low >= 0.0 and high <= 1.0,
        is_integer=is_integer,
        has_missing=has_missing,
    )


def _are_integers(values: torch.Tensor) -> bool:
    """Whether all values are whole numbers, read in parts that fit in a processor's cache."""
    parts = values.flatten().split(CACHED_VALUES)
    return all(torch.equal(part, part.round()) for part in parts)


def _sums(
    block: torch.Tensor, origin: torch.Tensor, *, is_whole: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sums (d,) of the offsets of rows (n, d) from origin (d,), and of their squares."""
    totals, squares = [], []
    for part, center in zip(_column_blocks(block), _column_blocks(origin)):
        offsets = part.to(torch.float64, copy=True).sub_(center)
        if not is_whole:
            offsets.nan_to_num_(0.0)
        totals.append(offsets.sum(0))
        squares.append(offsets.square_().sum(0))
    return torch.cat(totals), torch.cat(squares)


def _column_blocks(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Values (..., d) in parts of some columns, so that blocks of rows fit in a processor's cache.

    Parts of fewer than SUMMED_COLUMNS columns would change the order of sums, and so their bits.
    """
    n_columns = values.shape[-1]
    ends = range(SUMMED_COLUMNS, n_columns - SUMMED_COLUMNS + 1, SUMMED_COLUMNS)
    return values.tensor_split(list(ends), dim=-1)
