"""Observation models: how a row scatters about what a decoder says of it. In torch, in nats."""

import math
from numbers import Real
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen._validation import check_choice, check_count

LOG_2PI = math.log(2.0 * math.pi)
NOISE_FLOOR = (
    1e-3  # of the scale of the data: a feature that is decoded exactly still has a density
)
LOGISTIC_FLOOR = (
    0.125  # least scale of a logistic, in half cells: one number can have all but 7e-4 of its mass
)


def gaussian_log_prob(X, mean, variance):
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


def bernoulli_log_prob(X, logits):
    """Log-probability of rows of 0 and 1 under independent Bernoulli variables.

    For values between, it is the negative cross-entropy, which is no log-density.

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
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits, X, reduction="none").sum(
        -1
    )


class ObservationModel(nn.Module):
    """How the features of a row scatter, independently, about what a decoder says of them.

    Attributes
    ----------
    name : str
        As in the parameter `likelihood`.
    measure : {"lebesgue", "counting"}
        Of its probabilities, as in `Likelihood`.
    n_answers : int
        Numbers that the decoder gives for a feature; those of one feature stand together.
    """

    name: str
    measure = "counting"
    n_answers = 1

    @classmethod
    def check(cls, statistics, n_levels):
        """Raise a ValueError if rows of these RowStatistics are not in the support."""

    def distribution(self, answers):
        """Return the distribution of features.

        Parameters
        ----------
        answers : Tensor of shape (..., d * n_answers)

        Returns
        -------
        distribution : pyro.distributions.TorchDistribution
            Of batch shape (..., d), over single numbers. Its log_prob, in nats, is finite on all of
            the support.
        """
        raise NotImplementedError

    def mean(self, answers):
        """Return the means of features, in units of X.

        Parameters
        ----------
        answers : Tensor of shape (..., d * n_answers)

        Returns
        -------
        mean : Tensor of shape (..., d)
        """
        return self.distribution(answers).mean

    def _by_feature(self, answers):
        return answers.unflatten(-1, (-1, self.n_answers))


class Bernoulli(ObservationModel):
    """Values 0 and 1; answers are log-odds."""

    name = "bernoulli"

    @classmethod
    def check(cls, statistics, n_levels):
        """See ObservationModel."""
        if not statistics.is_binary:
            is_grey = statistics.low >= 0.0 and statistics.high <= 1.0
            remedy = (
                "set dynamic_binarization=True or take 'continuous_bernoulli'"
                if is_grey
                else "take 'gaussian'"
            )
            raise ValueError(
                f"likelihood='bernoulli' needs values 0 and 1; {_found(statistics)}; {remedy}."
            )

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Bernoulli

        return Bernoulli(logits=answers, validate_args=False)


class ContinuousBernoulli(ObservationModel):
    """Values in [0, 1], of density proportional to p^x (1 - p)^(1 - x); answers are log-odds of p.

    A feature that is always 0, or always 1, has a density without bound, to which training comes
    ever closer.

    References
    ----------
    G. Loaiza-Ganem and J. P. Cunningham, The continuous Bernoulli: fixing a pervasive error in
    variational autoencoders, 2019.
    """

    name, measure = "continuous_bernoulli", "lebesgue"

    @classmethod
    def check(cls, statistics, n_levels):
        """See ObservationModel."""
        if not (statistics.low >= 0.0 and statistics.high <= 1.0):
            raise ValueError(
                f"likelihood='continuous_bernoulli' needs values in [0, 1]; {_found(statistics)};"
                " scale them, or take 'gaussian'."
            )

    def distribution(self, answers):
        """See ObservationModel."""
        from probgen.distributions.bounded import ContinuousBernoulli

        return ContinuousBernoulli(answers)


class _LocationScale(ObservationModel):
    """Noise about a location, which is the answer in units of the data."""

    measure = "lebesgue"
    center: torch.Tensor

    def __init__(self, statistics, noise_scale):
        super().__init__()
        self.spread = statistics.scale
        self.register_buffer("center", torch.as_tensor(statistics.mean))
        self.fixed_scale = None if isinstance(noise_scale, str) else float(noise_scale)
        if self.fixed_scale is None:
            self.log_scale = nn.Parameter(
                torch.zeros(() if noise_scale == "learned" else len(statistics.mean))
            )

    @property
    def scale(self):
        """Scale of the noise, in units of X: a number, or a Tensor of shape () or (d,)."""
        if self.fixed_scale is not None:
            return self.fixed_scale
        return self.spread * (torch.exp(self.log_scale) + NOISE_FLOOR)

    def mean(self, answers):
        """See ObservationModel."""
        return self.center + self.spread * answers


class Gaussian(_LocationScale):
    """Gaussian noise, of which the scale is the standard deviation."""

    name = "gaussian"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Normal

        return Normal(self.mean(answers), self.scale, validate_args=False)


class Laplace(_LocationScale):
    """Laplace noise, of which the scale is the mean absolute error."""

    name = "laplace"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Laplace

        return Laplace(self.mean(answers), self.scale, validate_args=False)


class _Levels(ObservationModel):
    """Whole numbers from 0 to n_levels - 1."""

    @classmethod
    def check(cls, statistics, n_levels):
        """See ObservationModel."""
        if not (
            statistics.is_integer and statistics.low >= 0.0 and statistics.high <= n_levels - 1
        ):
            kind = "" if statistics.is_integer else ", not all of them whole"
            remedy = "take 'gaussian'"
            if statistics.is_integer and statistics.low >= 0.0:
                remedy = f"set n_levels={statistics.high + 1:.0f}, or {remedy}"
            raise ValueError(
                f"likelihood={cls.name!r} needs whole numbers from 0 to n_levels - 1 ="
                f" {n_levels - 1}; {_found(statistics)}{kind}; {remedy}."
            )


class Categorical(_Levels):
    """Whole numbers from 0 up; answers are unnormalised log-probabilities of each."""

    name = "categorical"

    def __init__(self, n_levels):
        super().__init__()
        self.n_answers = n_levels

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Categorical

        return Categorical(logits=self._by_feature(answers), validate_args=False)

    def mean(self, answers):
        """See ObservationModel."""
        levels = torch.arange(self.n_answers, dtype=answers.dtype, device=answers.device)
        return functional.softmax(self._by_feature(answers), -1) @ levels


class DiscretizedLogistic(_Levels):
    """Whole numbers from 0 up: a mixture of logistics, of which each number has the mass of its
    cell.

    The first and the last cell take the tails. Answers are the weights of the logistics, as logits,
    then their locations, where the numbers span [-1, 1], then the logarithms of their scales, to
    which a floor is added.
    """

    name = "discretized_logistic"

    def __init__(self, n_levels, n_logistics):
        super().__init__()
        self.n_levels, self.n_answers = n_levels, 3 * n_logistics

    def distribution(self, answers):
        """See ObservationModel."""
        from probgen.distributions.bounded import DiscretizedLogisticMixture

        logits, locations, log_scales = self._by_feature(answers).chunk(3, -1)
        floor = math.log(LOGISTIC_FLOOR / (self.n_levels - 1))
        log_scales = (
            functional.softplus(log_scales - floor) + floor
        )  # the logarithm of the sum of both scales
        return DiscretizedLogisticMixture(logits, locations, log_scales, self.n_levels)


class GaussianMixture(ObservationModel):
    """Real values: a mixture of Gaussians.

    Answers are the weights of the Gaussians, as logits, then their locations and what softplus
    makes their standard deviations of, in standard deviations of the feature about its mean.
    Locations are counted from quantiles of a Gaussian, so that a mixture begins spread out.
    """

    name, measure = "gaussian_mixture", "lebesgue"
    center: torch.Tensor
    deviation: torch.Tensor
    offsets: torch.Tensor

    def __init__(self, statistics, n_gaussians):
        super().__init__()
        self.n_answers = 3 * n_gaussians
        self.register_buffer("center", torch.as_tensor(statistics.mean)[:, None])
        self.register_buffer("deviation", torch.as_tensor(statistics.deviation)[:, None])
        levels = (torch.arange(n_gaussians, dtype=torch.float64) + 0.5) / n_gaussians
        self.register_buffer("offsets", torch.special.ndtri(levels))

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Categorical, MixtureSameFamily, Normal

        logits, locations, scales = self._by_feature(answers).chunk(3, -1)
        locations = self.center + self.deviation * (locations + self.offsets)
        scales = self.deviation * (functional.softplus(scales) + NOISE_FLOOR)
        return MixtureSameFamily(
            Categorical(logits=logits, validate_args=False),
            Normal(locations, scales, validate_args=False),
            validate_args=False,
        )


FAMILIES: dict[str, Any] = {
    family.name: family
    for family in (
        Bernoulli,
        ContinuousBernoulli,
        Gaussian,
        Laplace,
        GaussianMixture,
        Categorical,
        DiscretizedLogistic,
    )
}
LIKELIHOODS = tuple(FAMILIES)


def make_observation(name, statistics, *, noise_scale="learned", n_logistics=1, n_levels=256):
    """Return the observation model of a name for rows of these statistics.

    Parameters
    ----------
    name : str
        "auto" or one of LIKELIHOODS. "auto" is "bernoulli" for rows of 0 and 1, else "gaussian".
    statistics : RowStatistics
        Of the rows.
    noise_scale : {"learned", "per_feature"} or float, default="learned"
        Of "gaussian" and "laplace": one learned scale for all features [1]_, one for each, or a
        number in units of X.
    n_logistics : int, default=1
        Logistics mixed in "discretized_logistic" [2]_, or Gaussians in "gaussian_mixture"; at least
        1.
    n_levels : int, default=256
        Values 0 to n_levels - 1 of "categorical" and "discretized_logistic", at least 2.

    Returns
    -------
    observation : ObservationModel

    Raises
    ------
    ValueError
        If the name is unknown, a number is out of range, or the rows are not in the support.

    References
    ----------
    .. [1] O. Rybkin, K. Daniilidis, S. Levine, Simple and effective VAE training with calibrated
       decoders, 2021.
    .. [2] T. Salimans et al., PixelCNN++, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.training.rows import open_rows
    >>> from probgen.training.statistics import take_statistics
    >>> observation = make_observation("auto", take_statistics(open_rows(np.eye(2))))
    >>> observation.name, observation.mean(torch.zeros(1, 2))
    ('bernoulli', tensor([[0.5000, 0.5000]]))
    """
    check_choice("likelihood", name, ("auto", *LIKELIHOODS))
    check_count("n_logistics", n_logistics)
    check_count("n_levels", n_levels, low=2)
    _check_noise_scale(noise_scale)
    if name == "auto":
        name = "bernoulli" if statistics.is_binary else "gaussian"
    family = FAMILIES[name]
    family.check(statistics, n_levels)
    if issubclass(family, _LocationScale):
        return family(statistics, noise_scale)
    if family is Categorical:
        return family(n_levels)
    if family is GaussianMixture:
        return family(statistics, n_logistics)
    return family(n_levels, n_logistics) if family is DiscretizedLogistic else family()


def _check_noise_scale(noise_scale):
    if isinstance(noise_scale, str):
        is_good = noise_scale in ("learned", "per_feature")
    else:
        is_good = (
            isinstance(noise_scale, Real)
            and not isinstance(noise_scale, bool)
            and 0.0 < float(noise_scale) < math.inf
        )
    if not is_good:
        raise ValueError(
            "noise_scale must be 'learned', 'per_feature' or a finite number > 0 in units of X;"
            f" got {noise_scale!r}; take 'learned' where the noise is not known."
        )


def _found(statistics):
    return f"X holds {statistics.low:g} to {statistics.high:g}"
