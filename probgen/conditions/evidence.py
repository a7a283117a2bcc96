"""What is known of rows whose features are independent given a code: values, intervals and sets.

Intervals are closed. Under a continuous likelihood their probabilities and the draws from them are
closed formulas; under a discrete one they are sums over its levels.
"""

from typing import NamedTuple

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

from probgen.distributions.bounded import ContinuousBernoulli, DiscretizedLogisticMixture
from probgen.distributions.quantiles import normal_mixture_log_mass, normal_mixture_quantile
from probgen.distributions.truncated_normal import (
    log_interval_probability,
    sample_truncated_standard_normal,
)

FLAT = 1e-6  # log-odds times width below which an exponential density is taken as flat


def elements(distribution):
    """The distribution of single features (..., d) inside that of rows."""
    while isinstance(distribution, Independent | MaskedDistribution | ExpandedDistribution):
        distribution = distribution.base_dist
    return distribution


def means(distribution):
    """Means of features (..., d); torch has none for categories."""
    if isinstance(distribution, Categorical):
        levels = torch.arange(distribution.logits.shape[-1], device=distribution.logits.device)
        return distribution.probs @ levels.to(distribution.logits.dtype)
    return distribution.mean


class Evidence:
    """Conditions on n rows of d features, checked against the distribution that draws them.

    Parameters
    ----------
    conditions : Conditions
    distribution : torch.distributions.Distribution
        Of single features.
    argument : str, default="given"
        What the caller named them, for messages.

    Attributes
    ----------
    values, low, high : ndarray of shape (n, d)
        As in `Conditions`.
    bounded : ndarray of int
        Features that are held to an interval or a set.
    allowed : ndarray of bool of shape (n, len(bounded), n_levels)
        Levels that they may take, under a discrete distribution.

    Raises
    ------
    ValueError
        If nothing that the distribution draws keeps a condition.
    """

    def __init__(self, conditions, distribution, argument="given"):
        self.values, self.low, self.high = conditions.values, conditions.low, conditions.high
        is_bounded = (np.isfinite(self.low) | np.isfinite(self.high)).any(axis=0)
        is_bounded[list(conditions.categories)] = True
        self.bounded, self.allowed = np.flatnonzero(is_bounded), None
        kind, held = support_of(distribution)
        self._check(self.values, kind, held, argument)
        if len(self.bounded) and _law_of(distribution) is None:
            name = type(distribution).__name__
            raise ValueError(
                f"{argument} must fix values alone where the model draws rows from {name}; drop the"
                " others."
            )
        if kind == "levels":
            levels = np.arange(held)
            low, high = self.low[:, self.bounded, None], self.high[:, self.bounded, None]
            self.allowed = (low <= levels) & (levels <= high)
            for j, categories in conditions.categories.items():
                chosen = (
                    np.asarray(categories, dtype=np.float64)
                    if categories.dtype.kind in "biuf"
                    else None
                )
                if chosen is None or not np.isin(chosen, levels).all():
                    raise ValueError(
                        f"{argument} must hold {_name(kind, held)} for feature {j}; got"
                        f" {set(categories)}."
                    )
                self.allowed[:, np.searchsorted(self.bounded, j)] &= np.isin(levels, chosen)
            self._check_room(self.allowed.any(axis=2), kind, held, argument)
        elif kind == "interval":
            low, high = self.low[:, self.bounded], self.high[:, self.bounded]
            self._check_room((low < held[1]) & (high > held[0]), kind, held, argument)

    def __len__(self):
        return len(self.values)

    @property
    def known(self):
        """Whether a value is known, of shape (n, d)."""
        return ~np.isnan(self.values)

    def take(self, rows):
        """The evidence of some rows."""
        twin = object.__new__(Evidence)
        twin.values, twin.low, twin.high = self.values[rows], self.low[rows], self.high[rows]
        twin.bounded, twin.allowed = (
            self.bounded,
            None if self.allowed is None else self.allowed[rows],
        )
        return twin

    def log_mass(self, distribution):
        """Log-probability (n_draws, n) of the intervals and sets, of features (n_draws, n, d)."""
        n_draws = distribution.batch_shape[:-2].numel()
        if not len(self.bounded):
            return np.zeros((n_draws, len(self)))
        law = _law_of(distribution)
        return law.log_mass(
            *self._limits(law), *law.parameters(distribution, self.bounded, len(self))
        ).sum(axis=-1)

    def draw(self, distribution, generator, dtype):
        """Features that keep the intervals and sets; what is known is left to the caller.

        Parameters
        ----------
        distribution : torch.distributions.Distribution
            Of batch shape (n_draws, m * n, d), the rows m times over.
        generator : numpy.random.Generator
            For what is bounded; the rest is drawn from torch's global generator.
        dtype : torch.dtype

        Returns
        -------
        X : Tensor of shape (n_draws, m * n, d)
        """
        X = distribution.sample().to(dtype)
        if len(self.bounded):
            law = _law_of(distribution)
            parameters = law.parameters(distribution, self.bounded, len(self))
            drawn = law.draw(generator, *self._limits(law), *parameters).reshape(*X.shape[:-1], -1)
            X[..., torch.as_tensor(self.bounded, device=X.device)] = torch.as_tensor(
                drawn, dtype=dtype, device=X.device
            )
        return X

    def _limits(self, law):
        return (
            (self.allowed,)
            if law.is_discrete
            else (self.low[:, self.bounded], self.high[:, self.bounded])
        )

    def _check(self, values, kind, held, argument):
        found = ~np.isnan(values)
        if kind == "levels":
            wrong = found & ~np.isin(values, np.arange(held))
        elif kind == "interval":
            wrong = found & ~((values >= held[0]) & (values <= held[1]))
        else:
            return
        if wrong.any():
            i, j = np.argwhere(wrong)[0]
            raise ValueError(
                f"{argument} must hold {_name(kind, held)} for feature {j}, all that the likelihood"
                f" draws; got {values[i, j]:g}."
            )

    def _check_room(self, is_possible, kind, held, argument):
        if not is_possible.all():
            i, m = np.argwhere(~is_possible)[0]
            j = self.bounded[m]
            raise ValueError(
                f"{argument} must leave feature {j} a value of its likelihood, {_name(kind, held)};"
                f" got the interval from {self.low[i, j]:g} to {self.high[i, j]:g}."
            )


def support_of(distribution):
    """("levels", their number), ("interval", its ends) or ("real", None) for the values of a
    feature."""
    support = distribution.support
    if support.is_discrete:
        return "levels", int(getattr(support, "upper_bound", 1)) + 1
    if hasattr(support, "lower_bound") and hasattr(support, "upper_bound"):
        return "interval", (float(support.lower_bound), float(support.upper_bound))
    return "real", None


def _name(kind, held):
    if kind == "levels":
        return "0 or 1" if held == 2 else f"whole numbers from 0 to {held - 1}"
    return f"numbers in [{held[0]:g}, {held[1]:g}]"


class _Law(NamedTuple):
    """Probabilities of, and draws from, intervals or sets of levels."""

    parameters: object  # (distribution, features, n_rows) -> arrays (m, n_rows, n_features, ...)
    log_mass: object  # (low, high, *parameters), or (allowed, table) if discrete
    draw: object  # the same after a generator
    is_discrete: bool = False


def _pick(*names):
    """A function that takes parameters of some features from a distribution, as arrays."""

    def parameters(distribution, features, n_rows):
        return [_array(getattr(distribution, name)[..., features], n_rows) for name in names]

    return parameters


def _array(tensor, n_rows, n_kept=1):
    """Tensor (..., m * n_rows, *kept) as a double array (m', n_rows, *kept)."""
    return tensor.double().cpu().numpy().reshape(-1, n_rows, *tensor.shape[tensor.ndim - n_kept :])


def _normal_mass(low, high, loc, scale):
    return log_interval_probability((low - loc) / scale, (high - loc) / scale)


def _normal_draw(generator, low, high, loc, scale):
    z = sample_truncated_standard_normal((low - loc) / scale, (high - loc) / scale, generator)
    return np.clip(loc + scale * z, low, high)


def _laplace_limits(low, high, loc, scale):
    """Standardised ends, mirrored where that brings the interval nearer to the left, and where."""
    low, high = (low - loc) / scale, (high - loc) / scale
    mirrored = np.abs(low) < np.abs(high)
    return np.where(mirrored, -high, low), np.where(mirrored, -low, high), mirrored


def _laplace_mass(low, high, loc, scale):
    low, high, _ = _laplace_limits(low, high, loc, scale)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        on_left = high + np.log(-np.expm1(low - high))
        about = np.log(-np.expm1(low) - np.expm1(-high))
    return np.where(high <= 0.0, on_left, about) - np.log(2.0)


def _laplace_draw(generator, low, high, loc, scale):
    left, right, mirrored = _laplace_limits(low, high, loc, scale)
    u = _uniforms(generator, left.shape)
    with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
        on_left = right + np.log1p((1.0 - u) * np.expm1(left - right))
        below, above = (
            -np.expm1(left),
            -np.expm1(-right),
        )  # twice the masses on either side of the centre
        level = u * (below + above)
        about = np.where(level < below, np.log(np.exp(left) + level), -np.log1p(below - level))
        z = np.where(right <= 0.0, on_left, about)
    return np.clip(loc + scale * np.where(mirrored, -z, z), low, high)


def _exponential_mass(low, high, rate):
    """Log of the integral of exp(rate x) from low to high, less rate times the end where it is
    largest."""
    step = np.abs(rate) * (high - low)
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = np.log(-np.expm1(-step)) - np.log(np.abs(rate))
    return np.where(step < FLAT, np.log(high - low) - 0.5 * step, steep)


def _continuous_bernoulli_mass(low, high, logits):
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    nearest = np.where(logits > 0.0, logits * (high - 1.0), logits * low)
    return nearest + _exponential_mass(low, high, logits) - _exponential_mass(0.0, 1.0, logits)


def _continuous_bernoulli_draw(generator, low, high, logits):
    low, high = np.maximum(low, 0.0), np.minimum(high, 1.0)
    step = np.abs(logits) * (high - low)
    u = _uniforms(generator, step.shape)
    with np.errstate(divide="ignore", invalid="ignore"):
        steep = -np.log1p(u * np.expm1(-step)) / np.abs(logits)
    from_likeliest = np.where(step < FLAT, u * (high - low), steep)
    return np.clip(np.where(logits > 0.0, high - from_likeliest, low + from_likeliest), low, high)


def _mixture_parameters(distribution, features, n_rows):
    normal = distribution.component_distribution
    parts = (distribution.mixture_distribution.logits, normal.loc, normal.scale)
    return [_array(part[..., features, :], n_rows, 2) for part in parts]


def _mixture_draw(generator, low, high, logits, loc, scale):
    return normal_mixture_quantile(
        _uniforms(generator, logits.shape[:-1]), low, high, logits, loc, scale
    )


def _uniforms(generator, shape):
    """Numbers in the open unit interval."""
    return generator.random(shape).clip(2.0**-60, 1.0 - 2.0**-53)


def _binary_table(distribution, features, n_rows):
    logits = _array(distribution.logits[..., features], n_rows)
    return [log_softmax(np.stack([np.zeros_like(logits), logits], axis=-1), axis=-1)]


def _categorical_table(distribution, features, n_rows):
    return [log_softmax(_array(distribution.logits[..., features, :], n_rows, 2), axis=-1)]


def _logistic_table(distribution, features, n_rows):
    logits, locations, log_scales = (
        part[..., features, None, :]
        for part in (distribution.logits, distribution.locations, distribution.log_scales)
    )
    levels = torch.arange(distribution.n_levels, device=distribution.logits.device).to(
        distribution.logits.dtype
    )
    table = DiscretizedLogisticMixture(
        logits, locations, log_scales, distribution.n_levels
    ).log_prob(levels)
    return [log_softmax(_array(table, n_rows, 2), axis=-1)]


def _levels_mass(allowed, table):
    return logsumexp(np.where(allowed, table, -np.inf), axis=-1)


def _levels_draw(generator, allowed, table):
    return np.argmax(
        np.where(allowed, table + generator.gumbel(size=table.shape), -np.inf), axis=-1
    )


_LAWS = {
    Normal: _Law(_pick("loc", "scale"), _normal_mass, _normal_draw),
    Laplace: _Law(_pick("loc", "scale"), _laplace_mass, _laplace_draw),
    MixtureSameFamily: _Law(_mixture_parameters, normal_mixture_log_mass, _mixture_draw),
    ContinuousBernoulli: _Law(
        _pick("logits"), _continuous_bernoulli_mass, _continuous_bernoulli_draw
    ),
    Bernoulli: _Law(_binary_table, _levels_mass, _levels_draw, is_discrete=True),
    Categorical: _Law(_categorical_table, _levels_mass, _levels_draw, is_discrete=True),
    DiscretizedLogisticMixture: _Law(_logistic_table, _levels_mass, _levels_draw, is_discrete=True),
}


def _law_of(distribution):
    return next((law for kind, law in _LAWS.items() if isinstance(distribution, kind)), None)
