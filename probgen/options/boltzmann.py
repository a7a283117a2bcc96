"""Estimates of the gradient of a Boltzmann machine."""

from probgen._validation import check_count
from probgen.options._base import Option


class ContrastiveDivergence(Option):
    """Short Gibbs chains that start at the rows of each batch [1]_.

    The direction is biased, so likelihoods are lower than with `PersistentContrastiveDivergence`;
    features may be as good.

    Parameters
    ----------
    n_steps : int, default=1
        Gibbs steps of a chain, at least 1.

    References
    ----------
    .. [1] G. E. Hinton, Training products of experts by minimizing contrastive divergence, 2002.

    Examples
    --------
    >>> from probgen.options import ContrastiveDivergence
    >>> ContrastiveDivergence(n_steps=5)
    ContrastiveDivergence(n_steps=5)
    """

    name = "cd"

    def __init__(self, n_steps: int = 1) -> None:
        self.n_steps = n_steps

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_count("n_steps", self.n_steps)


class PersistentContrastiveDivergence(Option):
    """Gibbs chains that go on from batch to batch [1]_, and so follow the model.

    Parameters
    ----------
    n_steps : int, default=1
        Gibbs steps between two updates, at least 1.
    n_chains : int, default=100
        Number of chains, at least 1. It stays when training is resumed.

    References
    ----------
    .. [1] T. Tieleman, Training restricted Boltzmann machines using approximations to the
       likelihood gradient, 2008.

    Examples
    --------
    >>> from probgen.options import PersistentContrastiveDivergence
    >>> PersistentContrastiveDivergence(n_chains=500)
    PersistentContrastiveDivergence(n_chains=500)
    """

    name = "pcd"

    def __init__(self, n_steps: int = 1, n_chains: int = 100) -> None:
        self.n_steps = n_steps
        self.n_chains = n_chains

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_count("n_steps", self.n_steps)
        check_count("n_chains", self.n_chains)
