"""Losses, gradient penalties and density estimates of adversarial networks."""

from probgen._validation import check_count, check_real
from probgen.options._base import Option


class _SmoothedLoss(Option):
    label_smoothing: float

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_real("label_smoothing", self.label_smoothing, low=0.0, high=0.5)


class Minimax(_SmoothedLoss):
    """The minimax loss of the first GAN [1]_.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        The discriminator's target for data is 1 minus this, in [0, 0.5].

    References
    ----------
    .. [1] I. Goodfellow et al., Generative adversarial nets, 2014.

    Examples
    --------
    >>> from probgen import GAN
    >>> from probgen.options import Minimax
    >>> GAN(loss=Minimax(label_smoothing=0.1)).loss
    Minimax(label_smoothing=0.1)
    """

    name = "minimax"

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing


class _BalancedLoss(_SmoothedLoss):
    def __init__(self, label_smoothing: float = 0.0, balance_ratio: float | None = None) -> None:
        self.label_smoothing = label_smoothing
        self.balance_ratio = balance_ratio

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        super().check()
        if self.balance_ratio is not None:
            check_real("balance_ratio", self.balance_ratio, low=1.0)


class NonSaturating(_BalancedLoss):
    """The loss of the first GAN with a generator's gradient that does not saturate [1]_.

    Parameters
    ----------
    label_smoothing : float, default=0.0
        The discriminator's target for data is 1 minus this, in [0, 0.5].
    balance_ratio : float, default=None
        A network skips its update while its loss, times this, is below the other network's; at
        least 1, such as 2. None never skips.

    References
    ----------
    .. [1] I. Goodfellow et al., Generative adversarial nets, 2014.

    Examples
    --------
    >>> from probgen import GAN
    >>> GAN().set_params(loss__balance_ratio=2.0).loss
    NonSaturating(balance_ratio=2.0)
    """

    name = "non_saturating"


class LeastSquares(_BalancedLoss):
    """Squared distances of scores from their targets [1]_.

    Parameters
    ----------
    label_smoothing, balance_ratio : float
        As in `NonSaturating`.

    References
    ----------
    .. [1] X. Mao et al., Least squares generative adversarial networks, 2017.

    Examples
    --------
    >>> from probgen.options import LeastSquares
    >>> LeastSquares(label_smoothing=0.1)
    LeastSquares(label_smoothing=0.1)
    """

    name = "least_squares"


class Hinge(Option):
    """The hinge loss [1]_.

    References
    ----------
    .. [1] J. H. Lim and J. C. Ye, Geometric GAN, 2017.

    Examples
    --------
    >>> from probgen.options import Hinge
    >>> Hinge().name
    'hinge'
    """

    name = "hinge"


class Wasserstein(Option):
    """The difference of mean scores, an estimate of the Wasserstein distance [1]_.

    References
    ----------
    .. [1] M. Arjovsky, S. Chintala, L. Bottou, Wasserstein generative adversarial networks, 2017.

    Examples
    --------
    >>> from probgen.options import Wasserstein
    >>> Wasserstein().name
    'wasserstein'
    """

    name = "wasserstein"


class _GradientPenalty(Option):
    def __init__(self, weight: float | None = None) -> None:
        self.weight = weight

    def check(self) -> None:
        """Raise a ValueError of one sentence if weight is out of range."""
        if self.weight is not None:
            check_real("weight", self.weight, low=0.0, hint="Or None.")


class R1(_GradientPenalty):
    """Penalty on the squared gradient of the discriminator at the data [1]_.

    Parameters
    ----------
    weight : float, default=None
        Factor on the penalty, of scaled rows, at least 0. None takes n_features / 20, or 0.1 with
        architecture="conv".

    References
    ----------
    .. [1] L. Mescheder, A. Geiger, S. Nowozin, Which training methods for GANs do actually
       converge?, 2018.

    Examples
    --------
    >>> from probgen import GAN
    >>> GAN().set_params(penalty__weight=0.5).penalty
    R1(weight=0.5)
    """

    name = "r1"


class WGANGP(_GradientPenalty):
    """Penalty on gradients between data and draws whose norm is not 1 [1]_.

    Parameters
    ----------
    weight : float, default=None
        Factor on the penalty, of scaled rows, at least 0. None takes 0.1, or 10 with
        architecture="conv".

    References
    ----------
    .. [1] I. Gulrajani et al., Improved training of Wasserstein GANs, 2017.

    Examples
    --------
    >>> from probgen import GAN
    >>> from probgen.options import WGANGP
    >>> GAN(loss="wasserstein", penalty=WGANGP(weight=1.0)).penalty
    WGANGP(weight=1.0)
    """

    name = "wgan_gp"


class AnnealedImportanceSampling(Option):
    """An estimate of a density or a partition function by annealed importance sampling.

    Parameters
    ----------
    n_chains : int, default=16
        Chains for each row or for a partition function, at least 2. More tighten the estimate.
    n_temperatures : int, default=50
        Distributions from the prior to the posterior of a code, or from the base rates to a
        machine, at least 1. More tighten the estimate; `likelihood_bounds`, or the bracket of
        `log_partition`, shows whether they are enough.

    Examples
    --------
    >>> from probgen.options import AnnealedImportanceSampling
    >>> AnnealedImportanceSampling(n_temperatures=200)
    AnnealedImportanceSampling(n_temperatures=200)
    """

    name = "ais"

    def __init__(self, n_chains: int = 16, n_temperatures: int = 50) -> None:
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_count("n_chains", self.n_chains, low=2)
        check_count("n_temperatures", self.n_temperatures)


class ParzenWindow(Option):
    """An estimate of the density of blurred draws by a Gaussian kernel on each of many draws.

    Parameters
    ----------
    n_draws : int, default=10_000
        Draws, at least 1.

    Examples
    --------
    >>> from probgen.options import ParzenWindow
    >>> ParzenWindow(n_draws=1000)
    ParzenWindow(n_draws=1000)
    """

    name = "parzen"

    def __init__(self, n_draws: int = 10_000) -> None:
        self.n_draws = n_draws

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_draws is out of range."""
        check_count("n_draws", self.n_draws)


class AutoDensity(Option):
    """A Parzen window, and settings of annealed importance sampling for bounds.

    Parameters
    ----------
    n_chains, n_temperatures : int, default=16 and 50
        Of `likelihood_bounds`, as in `AnnealedImportanceSampling`; scores do not depend on them.
    n_draws : int, default=10_000
        As in `ParzenWindow`.

    Examples
    --------
    >>> from probgen import GAN
    >>> GAN().set_params(density__n_draws=1000).density
    AutoDensity(n_draws=1000)
    """

    name = "auto"

    def __init__(self, n_chains: int = 16, n_temperatures: int = 50, n_draws: int = 10_000) -> None:
        self.n_chains = n_chains
        self.n_temperatures = n_temperatures
        self.n_draws = n_draws

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_count("n_chains", self.n_chains, low=2)
        check_count("n_temperatures", self.n_temperatures)
        check_count("n_draws", self.n_draws)

    def chosen(self, name: str) -> Option:
        """Return "ais" or "parzen" with these settings.

        Parameters
        ----------
        name : {"ais", "parzen"}

        Returns
        -------
        density : Option
        """
        if name == "ais":
            return AnnealedImportanceSampling(self.n_chains, self.n_temperatures)
        return ParzenWindow(self.n_draws)
