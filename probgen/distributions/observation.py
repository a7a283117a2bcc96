"""Observation models: p(x given decoder outputs), independent over features. In torch, in nats."""

import math
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor, nn
from torch.nn import functional

from probgen._constants import LOG_2PI
from probgen.options import AutoLikelihood, Categorical, DiscretizedLogistic, Option
from probgen.options.likelihoods import LIKELIHOODS, check_n_levels

# Relative to the unit of a feature: one that is decoded exactly still has a density.
NOISE_FLOOR = 1e-3
# Smallest scale of a logistic, in half cells: one level can have all but 7e-4 of its mass.
LOGISTIC_FLOOR = 0.125
ROUNDING = 1e-5  # errors of arithmetic in single precision around 1
# Remedy for rows outside the support of a likelihood of levels.
REAL_VALUES = "take a likelihood for real values, 'gaussian' in a VAE, 'gaussian_mixture' in a MADE"


def gaussian_log_prob(X: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    """Log-density of rows under independent Gaussians.

    Parameters
    ----------
    X, mean : Tensor of shape (..., d)
    variance : Tensor of shape (d,)

    Returns
    -------
    log_prob : Tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> gaussian_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(2))
    tensor([-1.8379])
    """
    constant = torch.log(variance).sum() + X.shape[-1] * LOG_2PI
    return -0.5 * (((X - mean) ** 2 / variance).sum(-1) + constant)


def bernoulli_log_prob(X: Tensor, logits: Tensor) -> Tensor:
    """Log-probability of rows of 0 and 1 under independent Bernoulli variables.

    For values between 0 and 1 it is the negative cross-entropy, which is not a log-density.

    Parameters
    ----------
    X, logits : Tensor of shape (..., d)
        Values in [0, 1], and log-odds of a 1.

    Returns
    -------
    log_prob : Tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> bernoulli_log_prob(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))
    tensor([-1.3863])
    """
    X, logits = torch.broadcast_tensors(X, logits)
    return -functional.binary_cross_entropy_with_logits(logits, X, reduction="none").sum(-1)


class ObservationModel(nn.Module):
    """Distribution of the features of a row, independent given the outputs of a decoder.

    Attributes
    ----------
    name : str
        The string that selects it in the parameter `likelihood`.
    measure : {"lebesgue", "counting"}
        Reference measure of its densities, as in `Likelihood`.
    parameter : str
        Name of the parameter that selects it, for messages.
    n_outputs_per_feature : int
        Decoder outputs for each feature. The outputs of one feature are adjacent.
    n_levels : int or None
        Number of values of a feature, 0 to n_levels - 1; None if they are real.
    has_fixed_unit : bool
        Whether its support is the same in all features, such as [0, 1], so that they have one unit.
    """

    name: str
    measure = "counting"
    has_fixed_unit = True
    parameter = "likelihood"
    n_outputs_per_feature = 1
    n_levels: int | None = None

    @classmethod
    def from_option(cls, option: Option, statistics: Any, *, shared_unit: bool = False) -> Self:
        """Return the observation model of an option for rows of these RowStatistics.

        Parameters
        ----------
        option : Option
            The option of the same name.
        statistics : RowStatistics
        shared_unit : bool, default=False
            Whether features of real values have one unit in common, as pixels have.

        Returns
        -------
        observation : ObservationModel
        """
        return cls()

    def check(self, low: float, high: float, is_integer: bool) -> None:
        """Raise a ValueError if values of a fit are outside the support.

        Parameters
        ----------
        low, high : float
            Smallest and largest value.
        is_integer : bool
            Whether all values are whole.
        """
        if not self._supports(low, high, is_integer):
            remedy = self._remedy(low, high, is_integer)
            raise ValueError(self._refusal(low, high, is_integer, remedy))

    def check_rows(self, X: np.ndarray) -> None:
        """Raise a ValueError if rows of a query are outside the support.

        Parameters
        ----------
        X : ndarray of shape (n, n_features)
            Rows, where NaN is a missing value.
        """
        is_missing = np.isnan(X)
        has_missing = bool(is_missing.any())
        values = X[~is_missing] if has_missing else X
        if not values.size:
            return
        low, high = float(values.min()), float(values.max())
        is_integer = bool((values == np.rint(values)).all())
        if not self._supports(low, high, is_integer):
            remedy = self._query_remedy(low, high, is_integer)
            raise ValueError(self._refusal(low, high, is_integer, remedy, has_missing))

    def _refusal(self, low, high, is_integer, remedy, has_missing=False):
        """The sentence that refuses values, with what to do about them."""
        prefix = ""
        if low < 0.0 and self.measure == "counting":
            # scikit-learn's common checks look for these very words.
            prefix = "Negative values in data: "
        values = f"{in_digits(low)} to {in_digits(high)}"
        if has_missing:
            values += " and NaN"  # which the common checks look for, too
        if self.measure == "counting" and not is_integer:
            values += ", not all of them whole"
        needs = f"{self.parameter}={self.name!r} needs {self._support}"
        return f"{prefix}{needs}; X holds {values}; {remedy}."

    def distribution(self, outputs: Tensor) -> Any:
        """Return the distribution of features.

        Parameters
        ----------
        outputs : Tensor of shape (..., d * n_outputs_per_feature)

        Returns
        -------
        distribution : pyro.distributions.TorchDistribution
            Of batch shape (..., d), over scalars. Its log_prob, in nats, is finite on the whole
            support.
        """
        raise NotImplementedError

    def mean(self, outputs: Tensor) -> Tensor:
        """Return the means of features, in units of X.

        Parameters
        ----------
        outputs : Tensor of shape (..., d * n_outputs_per_feature)

        Returns
        -------
        mean : Tensor of shape (..., d)
        """
        return self.distribution(outputs).mean

    def n_outputs_of(self, n_features: int) -> int:
        """Return the number of decoder outputs for so many features."""
        return n_features * self.n_outputs_per_feature

    def _supports(self, low, high, is_integer):
        """Whether values from low to high, all whole or not, are in the support."""
        return True

    @property
    def _support(self):
        """The support in words."""
        return "real values"

    def _remedy(self, low, high, is_integer):
        """What to do about values outside the support."""
        return REAL_VALUES

    def _query_remedy(self, low, high, is_integer):
        """What to do about them where the model is fitted."""
        return self._remedy(low, high, is_integer)

    def _by_feature(self, outputs):
        """Outputs with an axis for the feature, (..., d, n_outputs_per_feature)."""
        return outputs.unflatten(-1, (-1, self.n_outputs_per_feature))


class BernoulliObservation(ObservationModel):
    """Values 0 and 1; outputs are log-odds."""

    name = "bernoulli"
    n_levels = 2

    def _supports(self, low, high, is_integer):
        return is_integer and low >= 0.0 and high <= 1.0

    @property
    def _support(self):
        return "values 0 and 1"

    def _remedy(self, low, high, is_integer):
        if low >= 0.0 and high <= 1.0:
            return (
                "set dynamic_binarization=True to draw bits with these probabilities in training,"
                " take X > 0.5, or in a VAE take 'continuous_bernoulli'"
            )
        if low >= 0.0 and is_integer:
            return "take likelihood='categorical'"
        return REAL_VALUES

    def _query_remedy(self, low, high, is_integer):
        if low >= 0.0 and high <= 1.0:
            return (
                "draw bits with these probabilities, as rng.random(X.shape) < X does for a NumPy"
                " Generator rng, or take X > 0.5"
            )
        return self._remedy(low, high, is_integer)

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from pyro.distributions import Bernoulli

        return Bernoulli(logits=outputs, validate_args=False)


class ContinuousBernoulliObservation(ObservationModel):
    """Values in [0, 1], of density proportional to p^x (1 - p)^(1 - x); outputs are log-odds of p.

    The density of a feature that is always 0, or always 1, is unbounded: training keeps raising it.

    References
    ----------
    G. Loaiza-Ganem and J. P. Cunningham, The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders, 2019.
    """

    name = "continuous_bernoulli"
    measure = "lebesgue"

    def _supports(self, low, high, is_integer):
        return low >= 0.0 and high <= 1.0

    @property
    def _support(self):
        return "values in [0, 1]"

    def _remedy(self, low, high, is_integer):
        if low > -ROUNDING and high < 1.0 + ROUNDING:
            return "clip rounding errors, as np.clip(X, 0, 1) does"
        return "scale them, or take 'gaussian'"

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from probgen.distributions.bounded import ContinuousBernoulli

        return ContinuousBernoulli(outputs)


class _LocationScaleObservation(ObservationModel):
    """Noise around a location; the output is the location in the units of the features."""

    measure = "lebesgue"
    has_fixed_unit = False
    center: Tensor
    spread: Any  # a Tensor of shape (d,); files of format 1 hold one number for all features

    def __init__(self, statistics, scale, shared_unit=False):
        super().__init__()
        self.register_buffer("spread", torch.as_tensor(statistics.units(shared=shared_unit)))
        self.register_buffer("center", torch.as_tensor(statistics.mean))
        self.fixed_scale = None
        if scale == "learned":
            self.log_scale = nn.Parameter(torch.zeros(()))
        elif scale == "per_feature":
            self.log_scale = nn.Parameter(torch.zeros(len(statistics.mean)))
        else:
            self.fixed_scale = float(scale)

    @classmethod
    def from_option(cls, option: Any, statistics: Any, *, shared_unit: bool = False) -> Self:
        """See ObservationModel."""
        return cls(statistics, option.scale, shared_unit)

    @property
    def scale(self) -> Any:
        """Scale of the noise, in units of X: a number, or a Tensor of shape (d,)."""
        if self.fixed_scale is not None:
            return self.fixed_scale
        return self.spread * (torch.exp(self.log_scale) + NOISE_FLOOR)

    def mean(self, outputs: Tensor) -> Tensor:
        """See ObservationModel."""
        return self.center + self.spread * outputs


class GaussianObservation(_LocationScaleObservation):
    """Gaussian noise; the scale is its standard deviation."""

    name = "gaussian"

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from pyro.distributions import Normal

        return Normal(self.mean(outputs), self.scale, validate_args=False)


class LaplaceObservation(_LocationScaleObservation):
    """Laplace noise; the scale is its mean absolute deviation."""

    name = "laplace"

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from pyro.distributions import Laplace

        return Laplace(self.mean(outputs), self.scale, validate_args=False)


class _LevelsObservation(ObservationModel):
    """Whole numbers from 0 to n_levels - 1."""

    n_levels: int

    def _supports(self, low, high, is_integer):
        return is_integer and low >= 0.0 and high <= self.n_levels - 1

    @property
    def _support(self):
        return f"whole numbers from 0 to n_levels - 1 = {self.n_levels - 1}"

    def _remedy(self, low, high, is_integer):
        if not is_integer:
            return (
                "round them first, such as with np.rint(X * (n_levels - 1)) for values in [0, 1],"
                f" or {REAL_VALUES}"
            )
        if low < 0.0:
            return f"count them from 0, or {REAL_VALUES}"
        return f"set likelihood__n_levels={high + 1:.0f}, or {REAL_VALUES}"


class CategoricalObservation(_LevelsObservation):
    """Whole numbers from 0 up; outputs are the unnormalised log-probability of each."""

    name = "categorical"

    def __init__(self, n_levels):
        super().__init__()
        self.n_levels = n_levels
        self.n_outputs_per_feature = n_levels

    @classmethod
    def from_option(cls, option: Any, statistics: Any, *, shared_unit: bool = False) -> Self:
        """See ObservationModel."""
        return cls(_count_levels(option, statistics))

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from pyro.distributions import Categorical

        return Categorical(logits=self._by_feature(outputs), validate_args=False)

    def mean(self, outputs: Tensor) -> Tensor:
        """See ObservationModel."""
        levels = torch.arange(self.n_levels, dtype=outputs.dtype, device=outputs.device)
        return functional.softmax(self._by_feature(outputs), -1) @ levels


class DiscretizedLogisticObservation(_LevelsObservation):
    """Whole numbers from 0 up: a mixture of logistics, integrated over the cell of each number.

    The first and the last cell include the tails. Outputs are the logits of the weights, then the
    locations, on an axis where the numbers span [-1, 1], then the log-scales, to which a floor is
    added.
    """

    name = "discretized_logistic"

    def __init__(self, n_levels, n_mixture):
        super().__init__()
        self.n_levels = n_levels
        self.n_outputs_per_feature = 3 * n_mixture

    @classmethod
    def from_option(cls, option: Any, statistics: Any, *, shared_unit: bool = False) -> Self:
        """See ObservationModel."""
        return cls(_count_levels(option, statistics), option.n_mixture)

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from probgen.distributions.bounded import DiscretizedLogisticMixture

        logits, locations, log_scales = self._by_feature(outputs).chunk(3, -1)
        floor = math.log(LOGISTIC_FLOOR / (self.n_levels - 1))
        # The logarithm of the sum of the scale and its floor.
        log_scales = functional.softplus(log_scales - floor) + floor
        return DiscretizedLogisticMixture(logits, locations, log_scales, self.n_levels)


class GaussianMixtureObservation(ObservationModel):
    """Real values: a mixture of Gaussians for each feature.

    Outputs are the logits of the weights, then the locations, then the pre-softplus standard
    deviations, in standard deviations of the feature around its mean. Locations are offset by
    quantiles of a Gaussian, so that a mixture starts spread out.
    """

    name = "gaussian_mixture"
    measure = "lebesgue"
    has_fixed_unit = False
    center: Tensor
    deviation: Tensor
    offsets: Tensor

    def __init__(self, statistics, n_mixture, shared_unit=False):
        super().__init__()
        self.n_outputs_per_feature = 3 * n_mixture
        self.register_buffer("center", torch.as_tensor(statistics.mean)[:, None])
        units = torch.as_tensor(statistics.units(shared=shared_unit))
        self.register_buffer("deviation", units[:, None])
        levels = (torch.arange(n_mixture, dtype=torch.float64) + 0.5) / n_mixture
        self.register_buffer("offsets", torch.special.ndtri(levels))

    @classmethod
    def from_option(cls, option: Any, statistics: Any, *, shared_unit: bool = False) -> Self:
        """See ObservationModel."""
        return cls(statistics, option.n_mixture, shared_unit)

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        from pyro.distributions import Categorical, MixtureSameFamily, Normal

        logits, locations, scales = self._by_feature(outputs).chunk(3, -1)
        locations = self.center + self.deviation * (locations + self.offsets)
        scales = self.deviation * (functional.softplus(scales) + NOISE_FLOOR)
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            Normal(locations, scales, validate_args=False),
            validate_args=False,
        )


OBSERVATION_MODELS: dict[str, type[ObservationModel]] = {
    kind.name: kind
    for kind in (
        BernoulliObservation,
        ContinuousBernoulliObservation,
        GaussianObservation,
        LaplaceObservation,
        GaussianMixtureObservation,
        CategoricalObservation,
        DiscretizedLogisticObservation,
    )
}


def in_digits(value):
    """A number in words, with all digits where a few would round it to a whole number."""
    text = f"{value:g}"
    if float(text).is_integer() and not value.is_integer():
        return repr(value)
    return text


def measure_of(likelihood: Any) -> str:
    """Measure of the likelihood of a name; unknown names count as discrete."""
    if likelihood == "mixed":
        return "mixed"  # until the columns are known
    if isinstance(likelihood, str) and likelihood in LIKELIHOODS:
        return OBSERVATION_MODELS[likelihood].measure
    return "counting"


def without_choices(option: Option, statistics: Any, auto: str = "") -> Option:
    """Return an option that leaves nothing to be chosen from the rows.

    Parameters
    ----------
    option : Option
        One of `probgen.options.likelihoods`.
    statistics : RowStatistics
        Of the rows.
    auto : str, default=""
        The likelihood that `AutoLikelihood` stands for; by default "bernoulli" for rows of 0 and 1,
        else "gaussian".

    Returns
    -------
    option : Option
        No `AutoLikelihood`; where n_levels was None, levels are counted up to the largest value.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.options import Categorical
    >>> from probgen.training.rows import open_rows
    >>> from probgen.training.statistics import take_statistics
    >>> without_choices(Categorical(), take_statistics(open_rows(np.array([[0.0], [4.0]]))))
    Categorical(n_levels=5)
    """
    option.check()
    if isinstance(option, AutoLikelihood):
        if not auto:
            auto = "gaussian"
            if statistics.is_binary:
                auto = "bernoulli"
        option = option.chosen(auto)
    if isinstance(option, Categorical | DiscretizedLogistic):
        option = clone(option).set_params(n_levels=_count_levels(option, statistics))
    return option


def make_observation(
    option: Option, statistics: Any, *, shared_unit: bool = False
) -> ObservationModel:
    """Return the observation model of an option for rows of these statistics.

    Parameters
    ----------
    option : Option
        One of `probgen.options.likelihoods`. `AutoLikelihood` is "bernoulli" for rows of 0 and 1,
        else "gaussian". Where n_levels is None, levels are counted up to the largest value.
    statistics : RowStatistics
        Of the rows.
    shared_unit : bool, default=False
        Whether features of real values have one unit in common, as pixels have.

    Returns
    -------
    observation : ObservationModel

    Raises
    ------
    ValueError
        If a setting is out of range, or the rows are outside the support.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.options import Bernoulli
    >>> from probgen.training.rows import open_rows
    >>> from probgen.training.statistics import take_statistics
    >>> observation = make_observation(Bernoulli(), take_statistics(open_rows(np.eye(2))))
    >>> observation.name, observation.mean(torch.zeros(1, 2))
    ('bernoulli', tensor([[0.5000, 0.5000]]))
    """
    option = without_choices(option, statistics)
    kind = OBSERVATION_MODELS[option.name]
    observation = kind.from_option(option, statistics, shared_unit=shared_unit)
    observation.check(statistics.low, statistics.high, statistics.is_integer)
    return observation


def _count_levels(option, statistics):
    """The option's number of levels, or else one more than the largest value, at least 2."""
    if option.n_levels is not None:
        return int(option.n_levels)
    if not statistics.is_integer:
        return 2  # no number of levels suits such rows, which `check` says
    n_levels = int(max(statistics.high, 1.0)) + 1
    check_n_levels(n_levels)
    return n_levels
