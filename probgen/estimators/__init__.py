"""The generators: a file for each classical family, a folder for each neural one."""

if __name__ != "probgen.estimators":
    raise ImportError(
        f"The generators are imported as probgen.estimators, not as {__name__!r}: a second copy of"
        " every class would result. Write `from probgen.estimators import ...`."
    )

from typing import TYPE_CHECKING

from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.estimators.adversarial.conditional_gan import (
        AuxiliaryClassifierGAN,
        ConditionalGAN,
    )
    from probgen.estimators.adversarial.gan import GAN
    from probgen.estimators.adversarial.vaegan import VAEGAN
    from probgen.estimators.autoencoder import Autoencoder
    from probgen.estimators.autoregressive.made import MADE, FullyVisibleBeliefNetwork
    from probgen.estimators.autoregressive.pixelcnn import ConditionalPixelCNN, PixelCNN
    from probgen.estimators.autoregressive.pixelrnn import PixelRNN
    from probgen.estimators.bayes_classifier import BayesClassifier
    from probgen.estimators.energy.deep_belief_network import (
        DeepBeliefClassifier,
        DeepBeliefNetwork,
    )
    from probgen.estimators.energy.restricted_boltzmann_machine import RestrictedBoltzmannMachine
    from probgen.estimators.gaussian_bayes import GaussianBayes
    from probgen.estimators.gaussian_mixture import GaussianMixture
    from probgen.estimators.hidden_markov_model import HiddenMarkovModel
    from probgen.estimators.mixture_model import MixtureModel
    from probgen.estimators.variational.conditional_vae import ConditionalVAE
    from probgen.estimators.variational.semi_supervised_vae import SemiSupervisedVAE
    from probgen.estimators.variational.vae import VAE

__all__ = [
    "GAN",
    "MADE",
    "VAE",
    "VAEGAN",
    "Autoencoder",
    "AuxiliaryClassifierGAN",
    "BayesClassifier",
    "ConditionalGAN",
    "ConditionalPixelCNN",
    "ConditionalVAE",
    "DeepBeliefClassifier",
    "DeepBeliefNetwork",
    "FullyVisibleBeliefNetwork",
    "GaussianBayes",
    "GaussianMixture",
    "HiddenMarkovModel",
    "MixtureModel",
    "PixelCNN",
    "PixelRNN",
    "RestrictedBoltzmannMachine",
    "SemiSupervisedVAE",
]
_HOMES = {
    "Autoencoder": "autoencoder",
    "AuxiliaryClassifierGAN": "adversarial.conditional_gan",
    "BayesClassifier": "bayes_classifier",
    "ConditionalGAN": "adversarial.conditional_gan",
    "ConditionalPixelCNN": "autoregressive.pixelcnn",
    "ConditionalVAE": "variational.conditional_vae",
    "DeepBeliefClassifier": "energy.deep_belief_network",
    "DeepBeliefNetwork": "energy.deep_belief_network",
    "FullyVisibleBeliefNetwork": "autoregressive.made",
    "GAN": "adversarial.gan",
    "GaussianBayes": "gaussian_bayes",
    "GaussianMixture": "gaussian_mixture",
    "HiddenMarkovModel": "hidden_markov_model",
    "MixtureModel": "mixture_model",
    "MADE": "autoregressive.made",
    "PixelCNN": "autoregressive.pixelcnn",
    "PixelRNN": "autoregressive.pixelrnn",
    "RestrictedBoltzmannMachine": "energy.restricted_boltzmann_machine",
    "SemiSupervisedVAE": "variational.semi_supervised_vae",
    "VAE": "variational.vae",
    "VAEGAN": "adversarial.vaegan",
}

__getattr__, __dir__ = lazy_names(__name__, _HOMES)
