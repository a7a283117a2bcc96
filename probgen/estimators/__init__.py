"""The generators: a file for each classical family, a folder with its networks for each neural
one."""

if __name__ != "probgen.estimators":
    raise ImportError(
        f"The generators are imported as probgen.estimators, not as {__name__!r}: a second copy of"
        " every class would result. Write `from probgen.estimators import ...`."
    )

from importlib import import_module

_HOMES = {
    "Autoencoder": "autoencoder",
    "AuxiliaryClassifierGAN": "adversarial.conditional_gan",
    "BayesClassifier": "bayes_classifier",
    "ConditionalGAN": "adversarial.conditional_gan",
    "ConditionalPixelCNN": "autoregressive.pixelcnn",
    "ConditionalVAE": "variational.conditional_vae",
    "FullyVisibleBeliefNetwork": "autoregressive.made",
    "GAN": "adversarial.gan",
    "GaussianBayes": "gaussian_bayes",
    "GaussianMixture": "gaussian_mixture",
    "MADE": "autoregressive.made",
    "PixelCNN": "autoregressive.pixelcnn",
    "PixelRNN": "autoregressive.pixelrnn",
    "SemiSupervisedVAE": "variational.semi_supervised_vae",
    "VAE": "variational.vae",
    "VAEGAN": "adversarial.vaegan",
}

__all__ = sorted(_HOMES)


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(f"probgen.estimators.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'probgen.estimators' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
