"""Bounds, priors and posteriors of variational autoencoders."""

from probgen._validation import check_choice, check_count, check_real, show
from probgen.options._base import Option

ELBO_KINDS = ("mean_field", "trace", "iwae")


class ELBO(Option):
    """The evidence lower bound that is trained.

    Parameters
    ----------
    kind : {"mean_field", "trace", "iwae"}, default="mean_field"
        "mean_field" takes the divergence in closed form where there is one, "trace" estimates all
        terms from draws, and "iwae" is the importance weighted bound of the particles [1]_, with at
        least 2 of them; the string "iwae" stands for 5.
    n_particles : int, default=1
        Draws for each row in training, at least 1.
    kl_warmup : int, default=0
        Epochs over which the factor on the divergence rises from 0 to beta, at least 0.
    free_bits : float, default=0.0
        Nats of each code dimension's mean divergence that cost nothing, at least 0 [2]_; 0 for
        "iwae", whose bound is no sum of divergences.

    References
    ----------
    .. [1] Y. Burda, R. Grosse, R. Salakhutdinov, Importance weighted autoencoders, 2016.
    .. [2] D. P. Kingma et al., Improving variational inference with inverse autoregressive flow,
       2016, section C.8.

    Examples
    --------
    >>> from probgen import VAE
    >>> from probgen.options import ELBO
    >>> model = VAE(elbo=ELBO(n_particles=8, kl_warmup=10))
    >>> model.set_params(elbo__free_bits=0.02).elbo
    ELBO(free_bits=0.02, kl_warmup=10, n_particles=8)
    """

    name = "elbo"

    def __init__(
        self,
        kind: str = "mean_field",
        *,
        n_particles: int = 1,
        kl_warmup: int = 0,
        free_bits: float = 0.0,
    ) -> None:
        self.kind = kind
        self.n_particles = n_particles
        self.kl_warmup = kl_warmup
        self.free_bits = free_bits

    def check(self) -> None:
        """Raise a ValueError of one sentence for the first setting that is out of range."""
        check_choice("kind", self.kind, ELBO_KINDS)
        check_count("n_particles", self.n_particles)
        check_count("kl_warmup", self.kl_warmup, low=0)
        check_real("free_bits", self.free_bits, low=0.0)
        if self.kind == "iwae" and self.n_particles == 1:
            raise ValueError(
                "n_particles must be at least 2 for kind='iwae', whose bound with one is that of"
                " 'trace'; got 1; take 5, or kind='trace'."
            )
        if self.kind == "iwae" and self.free_bits > 0.0:
            raise ValueError(
                "free_bits must be 0 for kind='iwae', whose bound is no sum of divergences; got"
                f" {show(self.free_bits)}; leave it out, or take kind='mean_field'."
            )


class NormalPrior(Option):
    """A standard Gaussian prior of codes.

    Examples
    --------
    >>> from probgen.options import NormalPrior
    >>> NormalPrior().name
    'normal'
    """

    name = "normal"


class _MixedPrior(Option):
    def __init__(self, n_components: int = 50) -> None:
        self.n_components = n_components

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_components is out of range."""
        check_count("n_components", self.n_components)


class MixturePrior(_MixedPrior):
    """A prior that is a mixture of Gaussians with diagonal covariances, learned with the model.

    Parameters
    ----------
    n_components : int, default=50
        Gaussians, at least 1.

    Examples
    --------
    >>> from probgen import VAE
    >>> VAE(prior="mixture").set_params(prior__n_components=5).prior
    MixturePrior(n_components=5)
    """

    name = "mixture"


class VampPrior(_MixedPrior):
    """A prior that is a mixture of the posteriors of learned pseudo-inputs [1]_.

    Parameters
    ----------
    n_components : int, default=50
        Pseudo-inputs, at least 1.

    References
    ----------
    .. [1] J. M. Tomczak and M. Welling, VAE with a VampPrior, 2018.

    Examples
    --------
    >>> from probgen.options import VampPrior
    >>> VampPrior(n_components=100)
    VampPrior(n_components=100)
    """

    name = "vamp"


class GaussianPosterior(Option):
    """An approximate posterior of independent Gaussians.

    Examples
    --------
    >>> from probgen.options import GaussianPosterior
    >>> GaussianPosterior().name
    'gaussian'
    """

    name = "gaussian"


class _FlowPosterior(Option):
    def __init__(self, n_flows: int = 2) -> None:
        self.n_flows = n_flows

    def check(self) -> None:
        """Raise a ValueError of one sentence if n_flows is out of range."""
        check_count("n_flows", self.n_flows)


class InverseAutoregressiveFlow(_FlowPosterior):
    """An approximate posterior of Gaussians transformed by inverse autoregressive flows [1]_.

    Parameters
    ----------
    n_flows : int, default=2
        Flows, at least 1.

    References
    ----------
    .. [1] D. P. Kingma et al., Improving variational inference with inverse autoregressive flow,
       2016.

    Examples
    --------
    >>> from probgen import VAE
    >>> VAE(posterior="iaf").set_params(posterior__n_flows=4).posterior
    InverseAutoregressiveFlow(n_flows=4)
    """

    name = "iaf"


class SplineFlow(_FlowPosterior):
    """An approximate posterior of Gaussians transformed by autoregressive splines [1]_.

    Parameters
    ----------
    n_flows : int, default=2
        Flows, at least 1.

    References
    ----------
    .. [1] C. Durkan, A. Bekasov, I. Murray, G. Papamakarios, Neural spline flows, 2019.

    Examples
    --------
    >>> from probgen.options import SplineFlow
    >>> SplineFlow(n_flows=1)
    SplineFlow(n_flows=1)
    """

    name = "spline"
