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
CONSTANT = 1e-3  # deviation of a constant feature, relative to its value
MARGIN = 1e-4  # between the largest value and the root of the largest number of a dtype
ROUNDING = 8.0  # units in the last place within which a feature is constant
LARGEST_EXPONENT = 1000  # of the powers of 2 by which offsets are scaled, in double precision


@dataclass(frozen=True)
class RowStatistics:
    """Statistics of rows, taken in one pass.

    Attributes
    ----------
    mean : ndarray of shape (n_features,)
        Mean of the values that are not missing; 0 for a feature without any.
    scale : float
        Root of the mean variance of the features; the largest of `deviation` if all features are
        constant.
    deviation : ndarray of shape (n_features,)
        Standard deviation of each feature. A constant one, whose values differ by rounding alone,
        gets a thousandth of its value, or 0.001 if that is 0: no other feature has a say in it.
    is_constant : ndarray of bool, of shape (n_features,)
        Which features are constant.
    feature_low, feature_high : ndarray of shape (n_features,)
        Smallest and largest value of each feature; NaN for a feature without any.
    low, high : float
        Smallest and largest value of all.
    is_binary, is_integer, has_missing : bool
        Whether all values are 0 or 1, whether all are whole numbers, and whether some are NaN.
    """

    mean: np.ndarray
    scale: float
    deviation: np.ndarray
    is_constant: np.ndarray
    feature_low: np.ndarray
    feature_high: np.ndarray
    low: float
    high: float
    is_binary: bool
    is_integer: bool
    has_missing: bool

    def units(self, *, shared: bool) -> np.ndarray:
        """Return the unit of each feature, by which networks divide it.

        Parameters
        ----------
        shared : bool
            Whether the features have one unit in common, as the pixels of an image do: that is
            `scale`. Other features have their own `deviation`, so that units of X do not matter.

        Returns
        -------
        units : ndarray of shape (n_features,)
        """
        if shared:
            return np.full(len(self.deviation), self.scale)
        return self.deviation

    def check_range(self, dtype: torch.dtype) -> None:
        """Raise a ValueError if squares of the rows would overflow or underflow in a dtype."""
        limits = torch.finfo(dtype)
        name = str(dtype).removeprefix("torch.")
        hint = "scale its columns, such as by StandardScaler"
        if dtype == torch.float32:
            hint += ", or pass them in float64"
        if max(-self.low, self.high) > MARGIN * math.sqrt(limits.max):
            raise ValueError(
                f"X holds values whose squares overflow in {name}, {self.low:g} to"
                f" {self.high:g}; {hint}."
            )
        if self.deviation.min() < math.sqrt(limits.tiny) / MARGIN:
            raise ValueError(
                f"X holds columns that vary so little, by {self.deviation.min():g}, that the"
                f" squares of their differences underflow in {name}; {hint}."
            )

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
    moments = _Moments(rows.n_features)
    is_integer = True
    for block, *_ in rows.batches(None, READ_ROWS):
        moments.add(block)
        is_integer = is_integer and _are_integers(block)
    is_seen = moments.counts > 0.0
    low, high = np.inf, -np.inf
    if is_seen.any():
        low = float(moments.low[is_seen].min())
        high = float(moments.high[is_seen].max())
    magnitude = np.where(is_seen, np.maximum(np.abs(moments.low), np.abs(moments.high)), 0.0)
    rounding = ROUNDING * torch.finfo(rows.dtype).eps * magnitude
    is_constant = moments.deviation <= rounding
    value = np.where(magnitude > 0.0, magnitude, 1.0)
    deviation = np.where(is_constant, CONSTANT * value, moments.deviation)
    return RowStatistics(
        mean=np.where(is_seen, moments.mean, 0.0),
        scale=_root_mean_square(np.where(is_constant, 0.0, deviation)) or float(deviation.max()),
        deviation=deviation,
        is_constant=is_constant,
        feature_low=np.where(is_seen, moments.low, np.nan),
        feature_high=np.where(is_seen, moments.high, np.nan),
        low=low,
        high=high,
        is_binary=is_integer and low >= 0.0 and high <= 1.0,
        is_integer=is_integer,
        has_missing=moments.has_missing,
    )


class _Moments:
    """Counts, means, standard deviations and ranges of features, block by block.

    No square leaves the range of its type: offsets are scaled by powers of 2 first, and deviations
    are added as the sides of right-angled triangles.
    """

    def __init__(self, n_features: int) -> None:
        self.counts = np.zeros(n_features)
        self.mean = np.zeros(n_features)
        self.deviation = np.zeros(n_features)
        self.low = np.full(n_features, np.inf)
        self.high = np.full(n_features, -np.inf)
        self.has_missing = False

    def add(self, block: torch.Tensor) -> None:
        """Take in a block of rows (n, d)."""
        parts = [_moments(part) for part in _column_blocks(block)]
        stacked = torch.cat(parts, dim=1).cpu().numpy()
        counts, mean, deviation, low, high = stacked
        self.has_missing = self.has_missing or bool((counts < len(block)).any())
        self.low = np.minimum(self.low, low)
        self.high = np.maximum(self.high, high)
        # The moments of two sets of rows together, by T. F. Chan et al., 1983.
        total = self.counts + counts
        share = counts / np.maximum(total, 1.0)
        step = mean - self.mean
        within = np.hypot(np.sqrt(1.0 - share) * self.deviation, np.sqrt(share) * deviation)
        self.deviation = np.hypot(within, np.sqrt(share * (1.0 - share)) * step)
        self.mean = self.mean + share * step
        self.counts = total


def _moments(part: torch.Tensor) -> torch.Tensor:
    """Counts, means, deviations, smallest and largest values (5, d) of the features of rows (n, d).

    In double precision. A feature without values has the count 0, and a range of inf to -inf.
    """
    low, high = part.amin(0).double(), part.amax(0).double()  # NaN where a value is
    counts = torch.full_like(low, len(part))
    has_missing = bool(low.isnan().any())
    if has_missing:
        is_missing = part.isnan()
        counts = (~is_missing).sum(0).double()
        low = part.masked_fill(is_missing, torch.inf).amin(0).double()
        high = part.masked_fill(is_missing, -torch.inf).amax(0).double()
    # Far from zero, and far from one, squares of the values themselves would lose digits.
    origin = (0.5 * low + 0.5 * high).nan_to_num(0.0)
    exponents = torch.frexp(torch.maximum(high - origin, origin - low).clamp(min=0.0)).exponent
    exponents = exponents.clamp(-LARGEST_EXPONENT, LARGEST_EXPONENT).double()
    offsets = part.to(torch.float64, copy=True).sub_(origin)
    if bool(exponents.any()):  # else the powers are 1
        offsets.mul_(torch.exp2(-exponents))
    if has_missing:
        offsets.nan_to_num_(0.0)
    divisor = counts.clamp(min=1.0)
    shift = offsets.sum(0) / divisor
    variance = (offsets.square_().sum(0) / divisor - shift.square()).clamp(min=0.0)
    unit = torch.exp2(exponents)
    return torch.stack([counts, origin + unit * shift, unit * variance.sqrt(), low, high])


def _root_mean_square(values: np.ndarray) -> float:
    """The root of the mean square of numbers of any size."""
    largest = float(values.max(initial=0.0))
    if largest == 0.0:
        return 0.0
    return largest * float(np.sqrt(np.mean((values / largest) ** 2)))


def _are_integers(block: torch.Tensor) -> bool:
    """Whether all values that are not missing are whole numbers.

    They are read in parts that fit in a processor's cache.
    """
    for part in block.flatten().split(CACHED_VALUES):
        whole = part.round()
        if not torch.equal(part, whole) and not bool(((part == whole) | part.isnan()).all()):
            return False
    return True


def _column_blocks(values: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Values (..., d) in parts of some columns, so that blocks of rows fit in a processor's cache.

    Parts of fewer than SUMMED_COLUMNS columns would change the order of sums, and so their bits.
    """
    n_columns = values.shape[-1]
    ends = range(SUMMED_COLUMNS, n_columns - SUMMED_COLUMNS + 1, SUMMED_COLUMNS)
    return values.tensor_split(list(ends), dim=-1)
