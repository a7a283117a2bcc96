"""What a network is told of the rows that it will see: centre, scale and range."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch

READ_ROWS = 8192
CONSTANT = 1e-3  # of the scale: how far a constant feature is taken to deviate


@dataclass(frozen=True)
class RowStatistics:
    """Statistics of rows, taken in one pass.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Of the numbers that are there; 0 for a feature without any.
    scale : float
        Root of the mean variance of the features; 1.0 where they are all constant.
    deviation : ndarray of shape (n_features,)
        Standard deviation of each feature; a thousandth of `scale` for a constant one.
    low, high : float
        Smallest and largest value.
    is_binary, is_integer, has_missing : bool
        Whether all values are 0 or 1, whether they are whole numbers, whether some are NaN.
    """

    mean: np.ndarray
    scale: float
    deviation: np.ndarray
    low: float
    high: float
    is_binary: bool
    is_integer: bool
    has_missing: bool

    def binarized(self):
        """Return the statistics of rows of 0 and 1 whose probabilities these are.

        Raises
        ------
        ValueError
            If some values are no probabilities.
        """
        if not (self.low >= 0.0 and self.high <= 1.0):
            raise ValueError(
                "dynamic_binarization=True needs probabilities, values in [0, 1]; X holds"
                f" {self.low:g} to {self.high:g}; scale it first."
            )
        return dataclasses.replace(self, low=0.0, high=1.0, is_binary=True, is_integer=True)


def take_statistics(rows):
    """Return the RowStatistics of Rows, NaN left out.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.training.rows import open_rows
    >>> rows = open_rows(np.array([[0.0, 2.0], [2.0, 4.0]], dtype=np.float32))
    >>> statistics = take_statistics(rows)
    >>> statistics.mean, statistics.scale, statistics.is_integer
    (array([1., 3.]), 1.0, True)
    """
    origin = torch.zeros(0)
    total = squares = count = np.zeros(rows.n_features)
    low, high, is_binary, is_integer, has_missing = np.inf, -np.inf, True, True, False
    for block, *_ in rows.batches(None, READ_ROWS):
        block = block.double()
        seen = ~block.isnan()
        if not len(origin):
            origin = block.nanmean(0).nan_to_num(
                0.0
            )  # far from zero, squares would lose their digits
        values, offset = block[seen], (block - origin).nan_to_num(0.0)
        total = total + offset.sum(0).cpu().numpy()
        squares = squares + offset.square().sum(0).cpu().numpy()
        count = count + seen.sum(0).cpu().numpy()
        if len(values):
            low, high = min(low, float(values.min())), max(high, float(values.max()))
        is_binary = is_binary and bool(((values == 0.0) | (values == 1.0)).all())
        is_integer = is_integer and bool((values == values.round()).all())
        has_missing = has_missing or not bool(seen.all())
    shift = total / np.maximum(count, 1.0)
    variance = np.maximum(squares / np.maximum(count, 1.0) - shift**2, 0.0)
    scale = float(np.sqrt(variance.mean())) or 1.0
    deviation = np.where(variance > 0.0, np.sqrt(variance), CONSTANT * scale)
    mean = origin.cpu().numpy() + shift
    return RowStatistics(mean, scale, deviation, low, high, is_binary, is_integer, has_missing)
