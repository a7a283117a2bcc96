"""The generators, one file a family."""

if __name__ != "probgen.estimators":
    raise ImportError(
        f"The generators are imported as probgen.estimators, not as {__name__!r}: a second copy of every class would "
        "result. Write `from probgen.estimators import ...`."
    )

from importlib import import_module

_HOMES = {
    "Autoencoder": "autoencoder",
    "AuxiliaryClassifierGAN": "conditional_gan",
    "BayesClassifier": "bayes_classifier",
    "ConditionalGAN": "conditional_gan",
    "ConditionalPixelCNN": "pixelcnn",
    "ConditionalVAE": "conditional_vae",
    "FullyVisibleBeliefNetwork": "made",
    "GAN": "gan",
    "GaussianBayes": "gaussian_bayes",
    "GaussianMixture": "gaussian_mixture",
    "MADE": "made",
    "PixelCNN": "pixelcnn",
    "PixelRNN": "pixelrnn",
    "SemiSupervisedVAE": "semi_supervised_vae",
    "VAE": "vae",
    "VAEGAN": "vaegan",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"probgen.estimators.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probgen.estimators' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
