"""What an M-step adds to variances, and the least that they may be."""

from dataclasses import dataclass
from typing import Any

import numpy as np

# reg_covar="scale" adds this share of the variance of a feature within a class.
SCALE_SHARE = 1e-6
# Least variance of a feature that is zero in all rows of a component, relative to the largest
# second moment of the feature in another component.
RELATIVE_FLOOR = 1e-13
# Variances that precisions and the dtype of the attributes can hold, with room to spare.
LEAST_VARIANCES = {np.float64: 1e-290, np.float32: 1e-34}
MOST_VARIANCES = {np.float64: 1e304, np.float32: 1e36}
EPSILON = np.finfo(np.float64).eps
# Deviations below this many units in the last place of a value are rounding errors.
ROUNDING_UNITS = 64.0


@dataclass(frozen=True)
class Regularization:
    """How M-steps keep variances positive.

    Attributes
    ----------
    reg_covar : float or "scale"
        Added to variances. "scale" stands for SCALE_SHARE of `typical_variances`.
    reg_param : float
        How far covariances shrink towards the identity, in [0, 1].
    n_components : int
        Components of each group of rows.
    dtype : type
        Precision of the attributes that store variances.
    """

    reg_covar: float | str = 1e-6
    reg_param: float = 0.0
    n_components: int = 1
    dtype: Any = np.float64

    @property
    def is_relative(self):
        """Whether what is added depends on the rows."""
        return self.reg_covar == "scale"

    @property
    def adds(self):
        """Whether something is added to every variance."""
        return self.reg_covar != 0.0 or self.reg_param > 0.0

    def added(self, statistics, origins):
        """What is added to variances, a number or (d,), by the statistics of all components.

        origins, (d,) or (K, d), are what the rows had subtracted.
        """
        if not self.is_relative:
            return self.reg_covar
        return SCALE_SHARE * typical_variances(*statistics.of_groups(self.n_components, origins))

    def added_at_start(self, summaries, is_spherical):
        """The same from the RowSummary of each group, before there are statistics."""
        if not self.is_relative:
            return self.reg_covar
        counts = np.array([summary.weights.sum() for summary in summaries])
        means = np.array([summary.origin for summary in summaries])
        variances = np.array([summary.variances for summary in summaries])
        if is_spherical:
            variances = variances.mean(axis=1, keepdims=True)
        return SCALE_SHARE * typical_variances(counts, means, variances)

    def floor(self, second_moments, locations):
        """Least variances (..., d) that rounding leaves meaningful.

        second_moments (..., d) are means of squares from which variances were computed, and
        locations (..., d) bound the values from which those were computed.
        """
        floor = np.maximum(16.0 * EPSILON * second_moments, LEAST_VARIANCES[self.dtype])
        if self.adds:
            return floor
        floor = np.maximum(floor, rounding_variances(locations))
        # Rows that are all zero have no unit but that of other components.
        largest = second_moments.reshape(-1, second_moments.shape[-1]).max(axis=0)
        largest = np.where(largest > 0.0, largest, 1.0)
        is_zero = (second_moments == 0.0) & (locations == 0.0)
        return np.where(is_zero, RELATIVE_FLOOR * largest, floor)

    def check_variances(self, variances, ranges):
        """Raise ValueError where the variances (d,) of rows of some ranges (d,) are beyond a dtype.

        NaN and infinities are beyond it too.
        """
        hint = "scale its columns, such as by StandardScaler"
        if self.dtype == np.float32:
            hint += ", or pass them in float64"
        with np.errstate(over="ignore"):
            largest = np.max(ranges**2)
        if not largest < MOST_VARIANCES[self.dtype]:
            raise ValueError(f"X holds values whose squares overflow; {hint}.")
        is_lost = (ranges > 0.0) & (variances < LEAST_VARIANCES[self.dtype])
        if (self.is_relative or not self.adds) and is_lost.any():
            raise ValueError(
                "X holds columns that vary so little that the squares of their differences"
                f" underflow; {hint}."
            )


def typical_variances(counts, means, variances):
    """Variance (d,) of each feature within a typical group, positive.

    It is the median over the groups (G, d) that vary at all, the lower of two, so that neither wild
    values of one group nor groups that are constant matter. Where none varies, the variance between
    the means (G, d), weighted by counts (G,), takes its place; where there is none either, the
    square of the mean; and for zeros 1. Variances may be of shape (1, d), pooled over the groups,
    or (G, 1), shared by the features.
    """
    rounding = rounding_variances(means)
    if len(variances) == 1:
        rounding = rounding.max(axis=0, keepdims=True)
    if variances.shape[1] == 1:
        rounding = rounding.mean(axis=1, keepdims=True)
    is_positive = variances > rounding
    n_positive = is_positive.sum(axis=0)
    ordered = np.sort(np.where(is_positive, variances, np.inf), axis=0)
    middle = np.maximum(n_positive - 1, 0) // 2
    typical = np.take_along_axis(ordered, middle[None], axis=0)[0]
    if n_positive.all():
        return typical
    mean = counts @ means / counts.sum()
    between = counts @ (means - mean) ** 2 / counts.sum()
    fallback = np.where(between > rounding_variances(mean), between, mean**2)
    if variances.shape[1] == 1:
        fallback = fallback.mean(keepdims=True)
    fallback = np.where(fallback > 0.0, fallback, 1.0)
    return np.where(n_positive > 0, typical, fallback)


def rounding_variances(values):
    """Variances that rounding of values alone can give."""
    return (ROUNDING_UNITS * EPSILON * values) ** 2
