"""Which family each feature of a table has, and rows of codes as features."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from probgen.gaussians.regularization import Regularization, rounding_variances
from probgen.gaussians.starts import moments_without_wild_values
from probgen.mixtures.families.base import Values
from probgen.mixtures.families.counts import NegativeBinomial, Poisson
from probgen.mixtures.families.histogram import Histogram, make_histogram
from probgen.mixtures.families.normal import LogNormal, Normal
from probgen.mixtures.families.positive import Beta, Exponential, Gamma
from probgen.mixtures.families.student_t import StudentT
from probgen.tables.columns import Column, Feature, features_of

FAMILIES: dict[str, Any] = {
    kind.name: kind
    for kind in (
        Normal,
        StudentT,
        LogNormal,
        Exponential,
        Gamma,
        Beta,
        Poisson,
        NegativeBinomial,
        Histogram,
    )
}
CATEGORICAL = ("bernoulli", "categorical")
COUNTS = ("poisson", "negative_binomial")
ROUNDED = ("normal", "lognormal", "histogram")  # which whole numbers may have too
ABOVE_LOW = ("lognormal", "exponential", "gamma", "beta")
DISTRIBUTIONS = (*FAMILIES, *CATEGORICAL)


@dataclass(frozen=True)
class Layout:
    """The columns of a table and the families of their features.

    Attributes
    ----------
    columns : list of Column
    families : list
        For each feature of `features_of(columns)` None, if it is an outcome, or its Values.
    """

    columns: list
    families: list

    @cached_property
    def features(self) -> list[Feature]:
        """The features of the columns."""
        return features_of(self.columns)

    @property
    def histograms(self) -> dict[int, Histogram]:
        """The families of the features that are values in bins, by index."""
        pairs = enumerate(self.families)
        return {j: family for j, family in pairs if isinstance(family, Histogram)}

    @property
    def values(self) -> list[tuple[int, Values]]:
        """Indices and families of the features that are values."""
        return [(j, family) for j, family in enumerate(self.families) if family is not None]

    def __getstate__(self) -> dict:
        return {"columns": self.columns, "families": self.families}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        _ = self.features  # at once, so that a copy takes the same steps from here on


def family_of(column: Column, distribution: str, x: np.ndarray, weights: np.ndarray) -> str:
    """Name of the family of a column's numbers, of which x (n,) with weights (n,) are a sample."""
    if distribution != "auto":
        return distribution
    if not np.isfinite(column.low) or not len(x):
        return "normal"
    if not column.step:
        is_positive = column.low == 0.0 and x.min() > 0.0
        return "lognormal" if is_positive else "normal"
    # The likelier of the two for all rows.
    logs = np.log(x - column.low + 0.5)
    mean, mean_log = np.average(x, weights=weights), np.average(logs, weights=weights)
    variance = np.average((x - mean) ** 2, weights=weights)
    variance_log = np.average((logs - mean_log) ** 2, weights=weights)
    is_lognormal = (
        variance_log > 0.0 and 0.5 * np.log(variance) > 0.5 * np.log(variance_log) + mean_log
    )
    return "lognormal" if is_lognormal else "normal"


def make_family(
    name: str, feature: Feature, x: np.ndarray, weights: np.ndarray, min_scale: float
) -> Values:
    """The family of a feature, of which x (n,) with weights (n,) are a sample.

    Raises ValueError where squares of the sample overflow or underflow.
    """
    origin = 0.0
    if name == "lognormal":
        origin = feature.low - 0.5 * feature.step
        with np.errstate(divide="ignore", invalid="ignore"):
            x = np.log(x - origin)
        is_number = np.isfinite(x)  # others are refused where the support is checked
        x, weights = x[is_number], weights[is_number]
    center, scale = _center_and_scale(x, weights)
    settings: dict[str, Any] = {
        "low": feature.low,
        "high": feature.high,
        "step": feature.step,
        "atoms": feature.atoms,
        "center": center,
        "scale": scale,
        "min_scale": min_scale,
    }
    if name == "histogram":
        return make_histogram(x, weights, **settings)
    return FAMILIES[name](**settings)


def _center_and_scale(x, weights):
    """Mean and deviation of numbers (n,), but for wild ones; the deviation is never 0."""
    if not len(x):
        return 0.0, 1.0
    with np.errstate(over="ignore", invalid="ignore"):
        means, variances = moments_without_wild_values(x[:, None] - x[0], weights[:, None])
        means = means + x[0]
        ranges = np.array([x.max() - x.min()])
        rounding = rounding_variances(means)[0]
    Regularization(0.0).check_variances(variances, ranges)
    center = float(means[0])
    if variances[0] > rounding:
        return center, float(np.sqrt(variances[0]))
    # Numbers that do not vary have no width but their own size.
    return center, abs(center) or 1.0


def outside(layout: Layout, X: np.ndarray) -> tuple[int, float, str] | None:
    """Column, code and needs of a code of X (n, d) that has no density, or None."""
    families = {layout.features[j].column: family for j, family in layout.values}
    found = None
    for j, column in enumerate(layout.columns):
        codes = X[:, j]
        codes = codes[~np.isnan(codes)]
        if column.levels:
            is_in = (codes == np.rint(codes)) & (codes >= 0.0) & (codes <= column.last_code)
            needs = f"whole numbers from 0 to {column.last_code}"
        else:
            is_in, needs = _in_support(column, families.get(j), codes)
        if is_in.all():
            continue
        worst = float(codes[~is_in].min())
        if found is None or worst < min(found[1], 0.0):
            found = j, worst, needs
    return found


def _in_support(column, family, codes):
    """Which codes (n,) of numbers have a density, and what they need to have one."""
    if column.rest == "none":
        return np.isin(codes, column.atoms), "one of its atoms"
    low, high = column.low, column.high
    is_in = (codes >= low) & (codes <= high)
    needs = "numbers"
    if column.step:
        is_in &= codes == np.rint(codes)
        needs = "whole numbers"
    is_open = family is not None and family.name in ABOVE_LOW and not column.step
    if is_open and family.name != "exponential":
        is_in &= codes > low
    if is_open and family.name == "beta":
        is_in &= codes < high
    if column.atoms:
        is_in |= np.isin(codes, column.atoms)
    if np.isfinite(low):
        above = "above" if is_open and family.name != "exponential" else ">="
        needs += f" {above} {low:g}"
        if np.isfinite(high):
            needs += " and"
    if np.isfinite(high):
        below = "below" if is_open and family.name == "beta" else "<="
        needs += f" {below} {high:g}"
    return is_in, needs
