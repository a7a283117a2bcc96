"""Choices with settings of their own: objects for parameters that also take a string.

`VAE(likelihood="gaussian")` is `VAE(likelihood=Gaussian())`, and
`VAE(likelihood=Gaussian(scale="learned"))` changes a setting that only this likelihood has. A grid
search reaches it as `likelihood__scale`, from the string too.
"""

from probgen.options._base import Option
from probgen.options.adversarial import (
    R1,
    WGANGP,
    AnnealedImportanceSampling,
    AutoDensity,
    Hinge,
    LeastSquares,
    Minimax,
    NonSaturating,
    ParzenWindow,
    Wasserstein,
)
from probgen.options.autoencoder import (
    L1,
    Contractive,
    GaussianCorruption,
    KLSparsity,
    MaskingCorruption,
    SaltAndPepperCorruption,
)
from probgen.options.boltzmann import ContrastiveDivergence, PersistentContrastiveDivergence
from probgen.options.likelihoods import (
    AutoLikelihood,
    Bernoulli,
    Categorical,
    ContinuousBernoulli,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    Laplace,
    Mixed,
)
from probgen.options.variational import (
    ELBO,
    GaussianPosterior,
    InverseAutoregressiveFlow,
    MixturePrior,
    NormalPrior,
    SplineFlow,
    VampPrior,
)

__all__ = [
    "ELBO",
    "L1",
    "R1",
    "WGANGP",
    "AnnealedImportanceSampling",
    "AutoDensity",
    "AutoLikelihood",
    "Bernoulli",
    "Categorical",
    "ContinuousBernoulli",
    "Contractive",
    "ContrastiveDivergence",
    "DiscretizedLogistic",
    "Gaussian",
    "GaussianCorruption",
    "GaussianMixtureLikelihood",
    "GaussianPosterior",
    "Hinge",
    "InverseAutoregressiveFlow",
    "KLSparsity",
    "Laplace",
    "LeastSquares",
    "MaskingCorruption",
    "Minimax",
    "Mixed",
    "MixturePrior",
    "NonSaturating",
    "NormalPrior",
    "Option",
    "ParzenWindow",
    "PersistentContrastiveDivergence",
    "SaltAndPepperCorruption",
    "SplineFlow",
    "VampPrior",
    "Wasserstein",
]
