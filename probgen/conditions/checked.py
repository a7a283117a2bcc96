"""Conditions on rows whose features are independent given a code: values, intervals and sets.

Intervals are closed. Under a continuous distribution their probabilities and the draws within them
are closed formulas; under a discrete one they are sums over its levels.
"""

import copy
from collections.abc import Callable
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from pyro.distributions import (
    Bernoulli,
    Categorical,
    ExpandedDistribution,
    Independent,
    Laplace,
    MaskedDistribution,
    MixtureSameFamily,
    Normal,
)
from scipy.special import log_softmax, logsumexp

from probgen.conditions.given import Conditions
from probgen.distributions.bounded import ContinuousBernoulli, DiscretizedLogisticMixture
from probgen.distributions.mixed import MixedDistribution
from probgen.distributions.quantiles import normal_mixture_log_mass, normal_mixture_quantile
from probgen.distributions.truncated_normal import (
    log_interval_probability,
    sample_truncated_standard_normal,
)

FLAT = 1e-6  # log-odds times width below which an exponential density counts as uniform


def elements(distribution: Any) -> Any:
    """Return the distribution of single features (..., d) inside that of rows."""
    while isinstance(distribution, Independent | MaskedDistribution | ExpandedDistribution):
        distribution = distribution.base_dist
    return distribution


def means(distribution: Any) -> torch.Tensor:
    """Return the means of features (..., d), those of categories too, which torch lacks.

    Those of mixed columns are moments, as `MixedConditions.codes_of_moments` takes them.
    """
    if isinstance(distribution, MixedDistribution):
        return distribution.moments
    if isinstance(distribution, Categorical):
        levels = torch.arange(distribution.logits.shape[-1], device=distribution.logits.device)
        return distribution.probs @ levels.to(distribution.logits.dtype)
    return distribution.mean


class CheckedConditions:
    """Conditions on n rows of d features, checked against the distribution of the features.

    Parameters
    ----------
    conditions : Conditions
    distribution : torch.distributions.Distribution
        Distribution of single features.
    argument : str, default="given"
        Name of the caller's argument, for messages.

    Attributes
    ----------
    values, low, high : ndarray of shape (n, d)
        As in `Conditions`.
    bounded : ndarray of int
        Indices of the features with an interval or a set.
    allowed : ndarray of bool of shape (n, len(bounded), n_levels)
        Allowed levels of these features under a discrete distribution, else None.

    Raises
    ------
    ValueError
        If no value of a feature satisfies its condition.
    """

    values: np.ndarray
    low: np.ndarray
    high: np.ndarray
    bounded: np.ndarray
    allowed: np.ndarray | None

    def __init__(self, conditions: Conditions, distribution: Any, argument: str = "given"):
        self.values = conditions.values
        self.low = conditions.low
        self.high = conditions.high
        is_bounded = (np.isfinite(self.low) | np.isfinite(self.high)).any(axis=0)
        is_bounded[list(conditions.categories)] = True
        self.bounded = np.flatnonzero(is_bounded)
        self.allowed = None
        kind, extent = support_of(distribution)
        self._check_values(kind, extent, argument)
        if len(self.bounded) and _family_of(distribution) is None:
            name = type(distribution).__name__
            raise ValueError(
                f"{argument} must fix values alone where the model draws rows from {name}; drop the"
                " others."
            )
        if kind == "levels":
            self.allowed = self._allowed_levels(conditions.categories, extent, argument)
            self._check_room(self.allowed.any(axis=2), kind, extent, argument)
        elif kind == "interval":
            low, high = self.low[:, self.bounded], self.high[:, self.bounded]
            self._check_room((low < extent[1]) & (high > extent[0]), kind, extent, argument)

    def __len__(self):
        return len(self.values)

    @property
    def known(self) -> np.ndarray:
        """Mask (n, d) of the known values."""
        return ~np.isnan(self.values)

    @property
    def known_columns(self) -> np.ndarray:
        """The known values, as each feature is a column of its own."""
        return self.known

    @property
    def bounded_columns(self) -> np.ndarray:
        """The features with an interval or a set."""
        return self.bounded

    def take(self, rows: Any) -> Self:
        """Return the conditions of some rows, an index or mask array."""
        part = copy.copy(self)
        part.values = self.values[rows]
        part.low = self.low[rows]
        part.high = self.high[rows]
        if self.allowed is not None:
            part.allowed = self.allowed[rows]
        return part

    def log_mass(self, distribution: Any) -> np.ndarray:
        """Return the log-probabilities of the intervals and sets, known values apart.

        Parameters
        ----------
        distribution : torch.distributions.Distribution
            Distribution of features (n_draws, n, d).

        Returns
        -------
        log_mass : ndarray of shape (n_draws, n)
        """
        if not len(self.bounded):
            return np.zeros((distribution.batch_shape[:-2].numel(), len(self)))
        family = _family_of(distribution)
        parameters = family.parameters(distribution, self.bounded, len(self))
        return family.log_mass(*self._limits(family), *parameters).sum(axis=-1)

    def draw(self, distribution: Any, generator: np.random.Generator, dtype: Any) -> torch.Tensor:
        """Draw features that satisfy the intervals and sets; known values are left to the caller.

        Parameters
        ----------
        distribution : torch.distributions.Distribution
            Distribution of features (n_draws, m * n, d), the n rows m times over.
        generator : numpy.random.Generator
            Source of the features with an interval or a set; torch's global generator is the source
            of all others.
        dtype : torch.dtype

        Returns
        -------
        X : Tensor of shape (n_draws, m * n, d)
        """
        X = distribution.sample().to(dtype)
        if len(self.bounded):
            family = _family_of(distribution)
            # Arrays (n_draws * m, n, n_bounded, ...) broadcast against limits (n, n_bounded).
            parameters = family.parameters(distribution, self.bounded, len(self))
            drawn = family.draw(generator, *self._limits(family), *parameters)
            columns = torch.as_tensor(self.bounded, device=X.device)
            drawn = torch.as_tensor(drawn, dtype=dtype, device=X.device)
            X[..., columns] = drawn.reshape(*X.shape[:-1], -1)
        return X

    def average(self, start: torch.Tensor, averages: torch.Tensor) -> torch.Tensor:
        """Return rows (n, d) of the known values in start, and averages of the others."""
        known = torch.as_tensor(self.known, device=start.device)
        return torch.where(known, start, averages.to(start.dtype))

    def _limits(self, family):
        """Arguments of the family's functions that describe the intervals or sets."""
        if family.is_discrete:
            return (self.allowed,)
        return self.low[:, self.bounded], self.high[:, self.bounded]

    def _allowed_levels(self, categories, n_levels, argument):
        """Mask (n, n_bounded, n_levels) of the levels inside the intervals and sets."""
        levels = np.arange(n_levels)
        low, high = self.low[:, self.bounded, None], self.high[:, self.bounded, None]
        allowed = (low <= levels) & (levels <= high)
        for j, chosen in categories.items():
            is_numeric = chosen.dtype.kind in "biuf"
            if not is_numeric or not np.isin(chosen.astype(np.float64), levels).all():
                raise ValueError(
                    f"{argument} must hold {_in_words('levels', n_levels)} for feature {j}; got"
                    f" {set(chosen)}."
                )
            allowed[:, np.searchsorted(self.bounded, j)] &= np.isin(levels, chosen)
        return allowed

    def _check_values(self, kind, extent, argument):
        """Raise unless the known values are in the support."""
        if kind == "real":
            return
        if kind == "levels":
            is_inside = np.isin(self.values, np.arange(extent))
        else:
            is_inside = (self.values >= extent[0]) & (self.values <= extent[1])
        wrong = self.known & ~is_inside
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            raise ValueError(
                f"{argument} must hold {_in_words(kind, extent)} for feature {j}, all that the"
                f" likelihood draws; got {self.values[i, j]:g}."
            )

    def _check_room(self, is_possible, kind, extent, argument):
        """Raise unless each bounded feature (n, n_bounded) has a value left."""
        if not is_possible.all():
            i, m = np.argwhere(~is_possible)[0]
            j = self.bounded[m]
            raise ValueError(
                f"{argument} must leave feature {j} a value of its likelihood,"
                f" {_in_words(kind, extent)}; got the interval from {self.low[i, j]:g} to"
                f" {self.high[i, j]:g}."
            )


def check_conditions(conditions: Any, distribution: Any, argument: str = "given") -> Any:
    """Return conditions checked against the distribution of single features.

    Parameters
    ----------
    conditions : Conditions or MixedConditions
        The latter are checked already.
    distribution : torch.distributions.Distribution
    argument : str, default="given"

    Returns
    -------
    conditions : CheckedConditions or MixedConditions
    """
    if isinstance(conditions, Conditions):
        return CheckedConditions(conditions, distribution, argument)
    return conditions


def support_of(distribution: Any) -> tuple[str, Any]:
    """Return the support of a feature.

    Parameters
    ----------
    distribution : torch.distributions.Distribution

    Returns
    -------
    kind : {"levels", "interval", "real"}
    extent : int, tuple of float or None
        The number of levels, or the ends of the interval.
    """
    support = distribution.support
    if support.is_discrete:
        return "levels", int(getattr(support, "upper_bound", 1)) + 1
    if hasattr(support, "lower_bound") and hasattr(support, "upper_bound"):
        return "interval", (float(support.lower_bound), float(support.upper_bound))
    return "real", None


def _in_words(kind, extent):
    if kind == "interval":
        return f"numbers in [{extent[0]:g}, {extent[1]:g}]"
    if extent == 2:
        return "0 or 1"
    return f"whole numbers from 0 to {extent - 1}"


class _Family(NamedTuple):
    """Formulas of one family of distributions, for intervals or for sets of levels."""

    # (distribution, features, n_rows) -> arrays (m, n_rows, n_features, ...)
    parameters: Callable[..., list[np.ndarray]]
    # (low, high, *parameters) -> log-probabilities; (allowed, table) if discrete
    log_mass: Callable[..., np.ndarray]
    # (generator, *arguments of log_mass) -> draws
    draw: Callable[..., np.ndarray]
    is_discrete: bool = False


def _attributes(*names):
    """A function that takes attributes of a distribution as its parameters."""

    def parameters(distribution, features, n_rows):
        return [_array(getattr(distribution, name)[..., features], n_rows) for name in names]

    return parameters


def _array(tensor, n_rows, n_kept=1):
    """Tensor (..., m * n_rows, *kept) as a double array (m', n_rows, *kept)."""
    kept = tensor.shape[tensor.ndim - n_kept :]
    return tensor.double().cpu().numpy().reshape(-1, n_rows, *kept)


def _normal_mass(low, high, loc, scale):
    return log_interval_probability((low - loc) / scale, (high - loc) / scale)


def _normal_draw(generator, low, high, loc, scale):
    z = sample_truncated_standard_normal((low - loc) / scale, (high - loc) / scale, generator)
    return np.clip(loc + scale * z, low, high)


def _laplace_limits(low, high, loc, scale):
    """Standardised ends, mirrored at 0 where the interval is mostly above 0; and where they are.

    The formulas take exponentials of the ends, which are precise below 0.
    """
    low, high = (low - loc) / scale, (high - loc) / scale
    mirrored = np.abs(low) < np.abs(high)
    return np.where(mirrored, -high, low), np.where(mirrored, -low, high), mirrored


def _laplace_mass(low, high, loc, scale):
    low, high, _ = _laplace_limits(low, high, loc, scale)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        below_zero = high + np.log(-np.expm1(low - high))
        across_zero = np.log(-np.expm1(low) - np.expm1(-high))
    return np.where(high <= 0.0, below_zero, across_zero) - np.log(2.0)


def _laplace_draw(generator, low, high, loc, scale):
    """Draws by inversion of the distribution function within the interval."""
    left, right, mirrored = _laplace_limits(low, high, loc, scale)
    u = _uniforms(generator, left.shape)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        below_zero = right + np.log1p((1.0 - u) * np.expm1(left - right))
        # Twice the masses on either side of 0, in an interval that contains it.
        mass_below = -np.expm1(left)
        mass_above = -np.expm1(-right)
        level = u * (mass_below + mass_above)
        across_zero = np.where(
            level < mass_below, np.log(np.exp(left) + level), -np.log1p(mass_below - level)
        )
        z = np.where(right <= 0.0, below_zero, across_zero)
    return np.clip(loc + scale * np.where(mirrored, -z, z), low, high)


def _exponential_mass(low, high, rate):
    """Log of the integral of exp(rate x) from low to high, minus the larger of its exponents."""
    exponent = np.abs(rate) * (high - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = np.log(-np.expm1(-exponent)) - np.log(np.abs(rate))
    return np.where(exponent < FLAT, np.log(high - low) - 0.5 * exponent, steep)


def _continuous_bernoulli_mass(low, high, logits):
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    nearest = np.where(logits > 0.0, logits * (high - 1.0), logits * low)
    return nearest + _exponential_mass(low, high, logits) - _exponential_mass(0.0, 1.0, logits)


def _continuous_bernoulli_draw(generator, low, high, logits):
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    exponent = np.abs(logits) * (high - low)
    u = _uniforms(generator, exponent.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = -np.log1p(u * np.expm1(-exponent)) / np.abs(logits)
    # Distance from the end where the density is largest.
    distance = np.where(exponent < FLAT, u * (high - low), steep)
    return np.clip(np.where(logits > 0.0, high - distance, low + distance), low, high)


def _mixture_parameters(distribution, features, n_rows):
    normal = distribution.component_distribution
    parts = (distribution.mixture_distribution.logits, normal.loc, normal.scale)
    return [_array(part[..., features, :], n_rows, 2) for part in parts]


def _mixture_draw(generator, low, high, logits, loc, scale):
    u = _uniforms(generator, logits.shape[:-1])
    return normal_mixture_quantile(u, low, high, logits, loc, scale)


def _uniforms(generator, shape):
    """Numbers in the open unit interval."""
    return generator.random(shape).clip(2.0**-60, 1.0 - 2.0**-53)


def _binary_table(distribution, features, n_rows):
    logits = _array(distribution.logits[..., features], n_rows)
    return [log_softmax(np.stack([np.zeros_like(logits), logits], axis=-1), axis=-1)]


def _categorical_table(distribution, features, n_rows):
    return [log_softmax(_array(distribution.logits[..., features, :], n_rows, 2), axis=-1)]


def _logistic_table(distribution, features, n_rows):
    # Parameters (..., n_features, 1, n_mixture) broadcast against levels (n_levels,).
    logits = distribution.logits[..., features, None, :]
    locations = distribution.locations[..., features, None, :]
    log_scales = distribution.log_scales[..., features, None, :]
    n_levels = distribution.n_levels
    mixture = DiscretizedLogisticMixture(logits, locations, log_scales, n_levels)
    levels = torch.arange(n_levels, device=logits.device).to(logits.dtype)
    return [log_softmax(_array(mixture.log_prob(levels), n_rows, 2), axis=-1)]


def _levels_mass(allowed, table):
    return logsumexp(np.where(allowed, table, -np.inf), axis=-1)


def _levels_draw(generator, allowed, table):
    """The largest of log-probabilities with Gumbel noise is a draw."""
    noisy = table + generator.gumbel(size=table.shape)
    return np.argmax(np.where(allowed, noisy, -np.inf), axis=-1)


_FAMILIES = {
    Normal: _Family(_attributes("loc", "scale"), _normal_mass, _normal_draw),
    Laplace: _Family(_attributes("loc", "scale"), _laplace_mass, _laplace_draw),
    MixtureSameFamily: _Family(_mixture_parameters, normal_mixture_log_mass, _mixture_draw),
    ContinuousBernoulli: _Family(
        _attributes("logits"), _continuous_bernoulli_mass, _continuous_bernoulli_draw
    ),
    Bernoulli: _Family(_binary_table, _levels_mass, _levels_draw, is_discrete=True),
    Categorical: _Family(_categorical_table, _levels_mass, _levels_draw, is_discrete=True),
    DiscretizedLogisticMixture: _Family(
        _logistic_table, _levels_mass, _levels_draw, is_discrete=True
    ),
}


def _family_of(distribution):
    """The _Family of a distribution, None for a distribution of another family."""
    for kind, family in _FAMILIES.items():
        if isinstance(distribution, kind):
            return family
    return None
