"""Distributions of the features of a row, given a code or the features before: p(x given ...)."""

from collections.abc import Sequence
from typing import Any

from probgen._validation import check_count, is_real, show
from probgen.options._base import Option

MOST_LEVELS = 65_536


class Bernoulli(Option):
    """Values 0 and 1.

    Examples
    --------
    >>> from probgen.options import Bernoulli
    >>> Bernoulli().name
    'bernoulli'
    """

    name = "bernoulli"


class ContinuousBernoulli(Option):
    """Values in [0, 1], such as grey levels, of density proportional to p^x (1 - p)^(1 - x) [1]_.

    References
    ----------
    .. [1] G. Loaiza-Ganem and J. P. Cunningham, The continuous Bernoulli: fixing a pervasive error
       in variational autoencoders, 2019.

    Examples
    --------
    >>> from probgen.options import ContinuousBernoulli
    >>> ContinuousBernoulli().name
    'continuous_bernoulli'
    """

    name = "continuous_bernoulli"


class _LocationScale(Option):
    def __init__(self, scale: str | float = "per_feature") -> None:
        self.scale = scale

    def check(self) -> None:
        """Raise a ValueError of one sentence if scale is out of range."""
        _check_scale(self.scale)


class Gaussian(_LocationScale):
    """Real values with Gaussian noise.

    Parameters
    ----------
    scale : {"per_feature", "learned"} or float, default="per_feature"
        Standard deviation of the noise: learned for each feature; one learned for all, in
        standard deviations of each feature, or in the one unit of all pixels [1]_; or a number
        above 0, in units of X.

    References
    ----------
    .. [1] O. Rybkin, K. Daniilidis, S. Levine, Simple and effective VAE training with calibrated
       decoders, 2021.

    Examples
    --------
    >>> from probgen import VAE
    >>> from probgen.options import Gaussian
    >>> VAE(likelihood=Gaussian(scale="learned")).get_params()["likelihood__scale"]
    'learned'
    """

    name = "gaussian"


class Laplace(_LocationScale):
    """Real values with Laplace noise, which has heavier tails than Gaussian noise.

    Parameters
    ----------
    scale : {"per_feature", "learned"} or float, default="per_feature"
        Mean absolute deviation of the noise, as in `Gaussian`.

    Examples
    --------
    >>> from probgen.options import Laplace
    >>> Laplace(scale=0.5)
    Laplace(scale=0.5)
    """

    name = "laplace"


class GaussianMixtureLikelihood(Option):
    """Real values, each from a mixture of Gaussians of its own.

    Parameters
    ----------
    n_mixture : int, default=10
        Gaussians mixed for each feature, at least 1.

    Examples
    --------
    >>> from probgen import MADE
    >>> from probgen.options import GaussianMixtureLikelihood
    >>> MADE(likelihood=GaussianMixtureLikelihood(n_mixture=3)).likelihood.n_mixture
    3
    """

    name = "gaussian_mixture"

    def __init__(self, n_mixture: int = 10) -> None:
        self.n_mixture = n_mixture

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_mixture is out of range."""
        check_count("n_mixture", self.n_mixture)


class Categorical(Option):
    """Whole numbers from 0 to n_levels - 1, without an order among them.

    Parameters
    ----------
    n_levels : int, default=None
        Number of values, from 2 to 65,536. None counts up to the largest value in X.

    Examples
    --------
    >>> from probgen.options import Categorical
    >>> Categorical(n_levels=17)
    Categorical(n_levels=17)
    """

    name = "categorical"

    def __init__(self, n_levels: int | None = None) -> None:
        self.n_levels = n_levels

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_levels is out of range."""
        check_n_levels(self.n_levels)


class DiscretizedLogistic(Option):
    """Whole numbers from 0 to n_levels - 1, from a mixture of logistics cut into cells [1]_.

    Parameters
    ----------
    n_levels : int, default=None
        Number of values, from 2 to 65,536. None counts up to the largest value in X.
    n_mixture : int, default=10
        Logistics mixed for each feature, at least 1.

    References
    ----------
    .. [1] T. Salimans et al., PixelCNN++: improving the PixelCNN with discretized logistic mixture
       likelihood and other modifications, 2017.

    Examples
    --------
    >>> from probgen.options import DiscretizedLogistic
    >>> DiscretizedLogistic(n_levels=256, n_mixture=5)
    DiscretizedLogistic(n_levels=256, n_mixture=5)
    """

    name = "discretized_logistic"

    def __init__(self, n_levels: int | None = None, n_mixture: int = 10) -> None:
        self.n_levels = n_levels
        self.n_mixture = n_mixture

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_n_levels(self.n_levels)
        check_count("n_mixture", self.n_mixture)


class Mixed(Option):
    """Columns each under a distribution of its own: categories, whole numbers and real ones.

    Categories have a probability each. Numbers are from a mixture of logistics, which is cut into
    cells where they are whole and ends where they do, such as at 0. Values that many rows share
    have a probability of their own.

    Parameters
    ----------
    n_mixture : int, default=10
        Logistics mixed for each column of numbers, at least 1.

    Examples
    --------
    >>> from probgen.options import Mixed
    >>> Mixed(n_mixture=3)
    Mixed(n_mixture=3)
    """

    name = "mixed"

    def __init__(self, n_mixture: int = 10) -> None:
        self.n_mixture = n_mixture

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_mixture is out of range."""
        check_count("n_mixture", self.n_mixture)


class AutoLikelihood(Option):
    """The likelihood that suits the rows of the fit, with these settings where it has them.

    In a search, choose a likelihood instead: likelihoods of different measures do not compare. A
    setting that none of an estimator's choices has is refused, such as n_levels in a `VAE`, which
    chooses between "bernoulli" and "gaussian".

    Parameters
    ----------
    scale : {"per_feature", "learned"} or float, default="per_feature"
        As in `Gaussian`.
    n_levels : int, default=None
        As in `DiscretizedLogistic`.
    n_mixture : int, default=10
        As in `DiscretizedLogistic` and `GaussianMixtureLikelihood`.

    Examples
    --------
    >>> from probgen import PixelCNN
    >>> PixelCNN().set_params(likelihood__n_levels=17).likelihood
    AutoLikelihood(n_levels=17)
    """

    name = "auto"

    def __init__(
        self, scale: str | float = "per_feature", n_levels: int | None = None, n_mixture: int = 10
    ) -> None:
        self.scale = scale
        self.n_levels = n_levels
        self.n_mixture = n_mixture

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        _check_scale(self.scale)
        check_n_levels(self.n_levels)
        check_count("n_mixture", self.n_mixture)

    def check_among(self, names: Sequence[str], default: "AutoLikelihood") -> None:
        """Raise a ValueError of one sentence if a setting can have no effect.

        Parameters
        ----------
        names : sequence of str
            The likelihoods that "auto" may stand for.
        default : AutoLikelihood
            What the string "auto" stands for.
        """
        known = [setting for name in names for setting in LIKELIHOODS[name]._get_param_names()]
        for setting, value in self.get_params().items():
            defaults = (getattr(default, setting), getattr(AutoLikelihood(), setting))
            if setting not in known and value not in defaults:
                choices = " and ".join(repr(name) for name in names)
                raise ValueError(
                    f"likelihood__{setting}={value!r} has no effect on likelihood='auto', which"
                    f" chooses among {choices} here; set likelihood to one that has {setting}."
                )

    def chosen(self, name: str) -> Option:
        """Return the likelihood of a name with these settings.

        Parameters
        ----------
        name : str
            Such as "bernoulli".

        Returns
        -------
        likelihood : Option
        """
        kind = LIKELIHOODS[name]
        settings = {key: getattr(self, key) for key in kind._get_param_names()}
        return kind(**settings)


LIKELIHOODS: dict[str, type[Option]] = {
    kind.name: kind
    for kind in (
        Bernoulli,
        ContinuousBernoulli,
        Gaussian,
        Laplace,
        GaussianMixtureLikelihood,
        Categorical,
        DiscretizedLogistic,
    )
}


def _check_scale(scale: Any) -> None:
    """Raise unless scale is a string of a learned scale, or a positive number."""
    if isinstance(scale, str):
        is_good = scale in ("learned", "per_feature")
    else:
        is_good = is_real(scale) and scale > 0.0
    if not is_good:
        raise ValueError(
            "scale must be 'learned', 'per_feature' or a finite number > 0 in units of X; got"
            f" {show(scale)}; take 'learned' where the noise is not known."
        )


def check_n_levels(n_levels: int | None) -> None:
    """Raise unless n_levels is a number of levels that networks can have, or None."""
    if n_levels is None:
        return
    check_count("n_levels", n_levels, low=2, hint="Or None.")
    if n_levels > MOST_LEVELS:
        raise ValueError(
            f"n_levels must be at most {MOST_LEVELS:,}; got {n_levels:,}; put the numbers into"
            " fewer bins, such as with KBinsDiscretizer(encode='ordinal')."
        )
