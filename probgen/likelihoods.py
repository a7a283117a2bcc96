"""Observation models: how a row scatters about what a decoder says of it. In torch, in nats."""

import math

import torch
from torch import nn
from torch.nn import functional

from probgen._validation import check_choice, check_count, check_real

LOG_2PI = math.log(2.0 * math.pi)
LIKELIHOODS = ("bernoulli", "continuous_bernoulli", "gaussian", "laplace", "categorical", "discretized_logistic")
NOISE_FLOOR = 1e-3  # of the scale of the data: a feature that is decoded exactly still has a density
LOGISTIC_FLOOR = -7.0  # least logarithm of a scale, in units of half the range of the levels


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
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits, X, reduction="none").sum(-1)


def make_observation(name, statistics, *, noise_scale="learned", n_logistics=1, n_levels=256):
    """Return the observation model of a name for rows of these statistics.

    Parameters
    ----------
    name : str
        "auto" or one of LIKELIHOODS. "auto" is "bernoulli" for rows of 0 and 1, else "gaussian".
    statistics : RowStatistics
        Of the rows.
    noise_scale : {"learned", "per_feature"} or float, default="learned"
        Of "gaussian" and "laplace": one learned scale for all features [1]_, one for each, or a number in units of X.
    n_logistics : int, default=1
        Logistics mixed in "discretized_logistic" [2]_.
    n_levels : int, default=256
        Values 0 to n_levels - 1 of "categorical" and "discretized_logistic".

    Returns
    -------
    observation : ObservationModel

    Raises
    ------
    ValueError
        If the name is unknown, a number is out of range, or the rows are not in the support.

    References
    ----------
    .. [1] O. Rybkin, K. Daniilidis, S. Levine, Simple and effective VAE training with calibrated decoders, 2021.
    .. [2] T. Salimans et al., PixelCNN++, 2017.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.training.rows import open_rows
    >>> from probgen.training.statistics import take_statistics
    >>> make_observation("auto", take_statistics(open_rows(np.eye(2)))).name
    'bernoulli'
    """
    check_choice("likelihood", name, ("auto", *LIKELIHOODS))
    check_count("n_logistics", n_logistics)
    check_count("n_levels", n_levels, low=2)
    if not (isinstance(noise_scale, str) and noise_scale in ("learned", "per_feature")):
        check_real("noise_scale", noise_scale, low=0.0, hint="Or 'learned' or 'per_feature'.")
        if noise_scale == 0.0:
            raise ValueError("noise_scale must be positive; got 0.0; take 'learned' if the noise is not known.")
    if name == "auto":
        name = "bernoulli" if statistics.is_binary else "gaussian"
    found = f"X holds {statistics.low:g} to {statistics.high:g}"
    if name == "bernoulli":
        if not statistics.is_binary:
            is_grey = statistics.low >= 0.0 and statistics.high <= 1.0
            remedy = "set dynamic_binarization=True or take 'continuous_bernoulli'" if is_grey else "take 'gaussian'"
            raise ValueError(f"likelihood='bernoulli' needs values 0 and 1; {found}; {remedy}.")
        return Bernoulli()
    if name == "continuous_bernoulli":
        if not (statistics.low >= 0.0 and statistics.high <= 1.0):
            raise ValueError(f"likelihood={name!r} needs values in [0, 1]; {found}; scale it, or take 'gaussian'.")
        return ContinuousBernoulli()
    if name in ("gaussian", "laplace"):
        return (Gaussian if name == "gaussian" else Laplace)(statistics, noise_scale)
    if not (statistics.is_integer and statistics.low >= 0.0 and statistics.high <= n_levels - 1):
        kind = found if statistics.is_integer else f"{found}, not all of them whole"
        raise ValueError(
            f"likelihood={name!r} needs whole numbers from 0 to n_levels - 1 = {n_levels - 1}; {kind}; set n_levels, "
            "or take 'gaussian'."
        )
    return Categorical(n_levels) if name == "categorical" else DiscretizedLogistic(n_levels, n_logistics)


class ObservationModel(nn.Module):
    """How the features of a row scatter, independently, about what a decoder says of them.

    Attributes
    ----------
    name : str
    measure : {"lebesgue", "counting"}
        Of its probabilities, as in `Likelihood`.
    n_answers : int
        Numbers that the decoder gives for a feature; those of one feature stand together.
    """

    name: str
    measure = "counting"
    n_answers = 1

    def distribution(self, answers):
        """The distribution, of Pyro, of features (..., d) for answers (..., d * n_answers)."""
        raise NotImplementedError

    def mean(self, answers):
        """The means (..., d), in units of X."""
        return self.distribution(answers).mean

    def _by_feature(self, answers):
        return answers.unflatten(-1, (-1, self.n_answers))


class Bernoulli(ObservationModel):
    """Values 0 and 1; answers are log-odds."""

    name = "bernoulli"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Bernoulli

        return Bernoulli(logits=answers, validate_args=False)


class ContinuousBernoulli(ObservationModel):
    """Values in [0, 1], of density proportional to p^x (1 - p)^(1 - x); answers are log-odds of p.

    References
    ----------
    G. Loaiza-Ganem and J. P. Cunningham, The continuous Bernoulli: fixing a pervasive error in variational
    autoencoders, 2019.
    """

    name, measure = "continuous_bernoulli", "lebesgue"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import ContinuousBernoulli

        return ContinuousBernoulli(logits=answers, validate_args=False)


class _LocationScale(ObservationModel):
    """Noise about a location, which is the answer in units of the data."""

    measure = "lebesgue"
    center: torch.Tensor

    def __init__(self, statistics, noise_scale):
        super().__init__()
        self.spread = statistics.scale
        self.register_buffer("center", torch.as_tensor(statistics.mean))
        if isinstance(noise_scale, str):
            shape = () if noise_scale == "learned" else (len(statistics.mean),)
            self.log_scale = nn.Parameter(torch.zeros(shape))
        else:
            self.log_scale, self.fixed_scale = None, float(noise_scale)

    @property
    def scale(self):
        """Scale of the noise, in units of X: a number, or of shape (d,)."""
        if self.log_scale is None:
            return self.fixed_scale
        return self.spread * (torch.exp(self.log_scale) + NOISE_FLOOR)

    def mean(self, answers):
        """See ObservationModel."""
        return self.center + self.spread * answers


class Gaussian(_LocationScale):
    """Gaussian noise."""

    name = "gaussian"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Normal

        return Normal(self.mean(answers), self.scale, validate_args=False)


class Laplace(_LocationScale):
    """Laplace noise, whose likelihood is the absolute error."""

    name = "laplace"

    def distribution(self, answers):
        """See ObservationModel."""
        from pyro.distributions import Laplace

        return Laplace(self.mean(answers), self.scale, validate_args=False)


class Categorical(ObservationModel):
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


class DiscretizedLogistic(ObservationModel):
    """Whole numbers from 0 up: a mixture of logistics, of which each number has the mass of its cell.

    The first and the last cell take the tails. Answers of a logistic are its weight, as a logit, its location and the
    logarithm of its scale, in units of half the range.
    """

    name = "discretized_logistic"

    def __init__(self, n_levels, n_logistics):
        super().__init__()
        self.n_levels, self.n_answers = n_levels, 3 * n_logistics

    def distribution(self, answers):
        """See ObservationModel."""
        from probgen._distributions import DiscretizedLogisticMixture

        logits, locations, log_scales = self._by_feature(answers).chunk(3, -1)
        return DiscretizedLogisticMixture(
            logits, locations, functional.softplus(log_scales - LOGISTIC_FLOOR) + LOGISTIC_FLOOR, self.n_levels
        )
