"""Corruptions and penalties of autoencoders."""

from probgen._validation import check_real
from probgen.options._base import Option


class GaussianCorruption(Option):
    """Gaussian noise added to the inputs of the encoder in training.

    Parameters
    ----------
    scale : float, default=0.3
        Standard deviation of the noise, at least 0: in standard deviations of each column, or in
        units of X for images and loss="bernoulli".

    Examples
    --------
    >>> from probgen import Autoencoder
    >>> Autoencoder(corruption="gaussian").set_params(corruption__scale=0.1).corruption
    GaussianCorruption(scale=0.1)
    """

    name = "gaussian"

    def __init__(self, scale: float = 0.3) -> None:
        self.scale = scale

    def check(self) -> None:
        """Raise a ValueError of one sentence if scale is out of range."""
        check_real("scale", self.scale, low=0.0)


class _RandomFeatures(Option):
    def __init__(self, fraction: float = 0.3) -> None:
        self.fraction = fraction

    def check(self) -> None:
        """Raise a ValueError of one sentence if fraction is out of range."""
        check_real("fraction", self.fraction, low=0.0, high=1.0)


class MaskingCorruption(_RandomFeatures):
    """Features of the inputs of the encoder that are hidden at random in training.

    They are set to their means, or to 0 for images and loss="bernoulli".

    Parameters
    ----------
    fraction : float, default=0.3
        Share of the features, in [0, 1].

    Examples
    --------
    >>> from probgen.options import MaskingCorruption
    >>> MaskingCorruption(fraction=0.5)
    MaskingCorruption(fraction=0.5)
    """

    name = "masking"


class SaltAndPepperCorruption(_RandomFeatures):
    """Features that are set to an extreme value at random in training.

    That is the smallest or the largest value of the column, or of X for images and
    loss="bernoulli".

    Parameters
    ----------
    fraction : float, default=0.3
        Share of the features, in [0, 1].

    Examples
    --------
    >>> from probgen.options import SaltAndPepperCorruption
    >>> SaltAndPepperCorruption(fraction=0.1)
    SaltAndPepperCorruption(fraction=0.1)
    """

    name = "salt_and_pepper"


class _CodePenalty(Option):
    weight: float

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_real("weight", self.weight, low=0.0)


class KLSparsity(_CodePenalty):
    """Divergence of the mean activity of each unit of a logistic code from a target [1]_.

    Parameters
    ----------
    weight : float, default=1e-3
        Factor on the penalty, at least 0. The loss is a mean over features, of scaled rows.
    target : float, default=0.05
        Wanted mean activity of a unit, in (0, 1).

    References
    ----------
    .. [1] A. Ng, Sparse autoencoder, CS294A lecture notes, 2011.

    Examples
    --------
    >>> from probgen import Autoencoder
    >>> Autoencoder(penalty="kl_sparsity").set_params(penalty__target=0.1).penalty
    KLSparsity(target=0.1)
    """

    name = "kl_sparsity"

    def __init__(self, weight: float = 1e-3, target: float = 0.05) -> None:
        self.weight = weight
        self.target = target

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        super().check()
        check_real("target", self.target, low=1e-6, high=1.0 - 1e-6)


class L1(_CodePenalty):
    """Mean absolute value of the code.

    Parameters
    ----------
    weight : float, default=1e-3
        Factor on the penalty, at least 0. The loss is a mean over features, of scaled rows.

    Examples
    --------
    >>> from probgen.options import L1
    >>> L1(weight=0.01)
    L1(weight=0.01)
    """

    name = "l1"

    def __init__(self, weight: float = 1e-3) -> None:
        self.weight = weight


class Contractive(_CodePenalty):
    """Squared Frobenius norm of the encoder's Jacobian [1]_, along one random direction a row.

    Parameters
    ----------
    weight : float, default=1e-3
        Factor on the penalty, at least 0. The loss is a mean over features, of scaled rows.

    References
    ----------
    .. [1] S. Rifai et al., Contractive auto-encoders: explicit invariance during feature
       extraction, 2011.

    Examples
    --------
    >>> from probgen.options import Contractive
    >>> Contractive(weight=0.1)
    Contractive(weight=0.1)
    """

    name = "contractive"

    def __init__(self, weight: float = 1e-3) -> None:
        self.weight = weight
