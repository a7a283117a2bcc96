"""Every public generator, made small and quick, for the tests that each one must pass."""

import pytest
from sklearn.base import clone, is_classifier
from sklearn.utils import get_tags
from sklearn.utils.validation import has_fit_parameter

from probgen import (
    GAN,
    MADE,
    VAE,
    VAEGAN,
    Autoencoder,
    AuxiliaryClassifierGAN,
    BayesClassifier,
    ConditionalGAN,
    ConditionalPixelCNN,
    ConditionalVAE,
    DeepBeliefClassifier,
    DeepBeliefNetwork,
    FullyVisibleBeliefNetwork,
    GaussianBayes,
    GaussianMixture,
    HiddenMarkovModel,
    MixtureModel,
    PixelCNN,
    PixelRNN,
    RestrictedBoltzmannMachine,
    SemiSupervisedVAE,
)
from probgen.options import AutoDensity, AutoLikelihood, ParzenWindow

NETWORKS = {"max_iter": 30, "learning_rate_init": 0.02, "device": "cpu", "random_state": 0}
ORDERED = {**NETWORKS, "likelihood": AutoLikelihood(n_mixture=2), "n_importance_samples": 256}
ADVERSARIAL = {"hidden_layer_sizes": (16,), "max_iter": 30, "device": "cpu", "random_state": 0}
PIXELS = {**NETWORKS, "max_iter": 20}
WITHOUT_DROPOUT = {"dropout": 0.0, "input_dropout": 0.0}

ESTIMATORS = [
    GaussianMixture(n_components=2, covariance_type="full", random_state=0),
    GaussianMixture(n_components=2, covariance_type="tied", random_state=0),
    GaussianMixture(n_components=2, covariance_type="diag", random_state=0),
    GaussianMixture(n_components=2, covariance_type="spherical", random_state=0),
    GaussianMixture(n_components=2, covariance_type="low_rank", n_factors=1, random_state=0),
    MixtureModel(n_components=2, random_state=0),
    HiddenMarkovModel(n_components=2, transition="left_right", tol=1e-3, random_state=0),
    GaussianBayes(random_state=0),
    GaussianBayes(covariance_type="tied", random_state=0),
    GaussianBayes(covariance_type="low_rank", n_factors=1, random_state=0),
    BayesClassifier(GaussianMixture(), random_state=0),
    Autoencoder(1, hidden_layer_sizes=(8,), **NETWORKS),
    VAE(1, hidden_layer_sizes=(8,), **NETWORKS),
    ConditionalVAE(1, hidden_layer_sizes=(8,), **NETWORKS),
    SemiSupervisedVAE(1, hidden_layer_sizes=(8,), **NETWORKS),
    MADE((8,), **WITHOUT_DROPOUT, **ORDERED),
    FullyVisibleBeliefNetwork(**ORDERED),
    RestrictedBoltzmannMachine(3, visible="gaussian", **NETWORKS),
    DeepBeliefNetwork((4, 3), visible="gaussian", n_pretraining=3, **NETWORKS),
    GAN(2, density=ParzenWindow(512), **ADVERSARIAL),
    VAEGAN(2, density=ParzenWindow(512), **ADVERSARIAL),
    ConditionalGAN(2, density=AutoDensity(n_draws=1536), **{**ADVERSARIAL, "max_iter": 60}),
    AuxiliaryClassifierGAN(2, density=AutoDensity(n_draws=1536), **ADVERSARIAL),
]
DISCRETE = [  # generators of whole numbers, which scikit-learn's checks feed with such
    PixelCNN(4, 1, **PIXELS),
    ConditionalPixelCNN(4, 1, **PIXELS),
    PixelCNN(4, 3, n_downsamplings=1, **PIXELS),
    PixelRNN(4, 1, **PIXELS),
    MADE((8,), likelihood="categorical", **WITHOUT_DROPOUT, **PIXELS),
    RestrictedBoltzmannMachine(3, visible="categorical", **NETWORKS),
    DeepBeliefClassifier(
        (8, 8), visible="categorical", n_pretraining=30, n_sampling_steps=20, **PIXELS
    ),
]
# Known features come first in orders of their own, so conditionals have no one joint distribution.
IN_ANY_ORDER = MADE((8,), order_agnostic=True, likelihood=AutoLikelihood(n_mixture=2), **NETWORKS)
# States that any column may have, so that densities of columns reach as far as the widest one.
CHAIN = HiddenMarkovModel(n_components=2, tol=1e-3, random_state=0)
GENERATORS = [  # settings that need more rows in each class than scikit-learn's checks have
    *ESTIMATORS,
    GaussianBayes(covariance_type="diag", n_components=2, random_state=0),
]
CLASSIFIERS = [estimator for estimator in GENERATORS if is_classifier(estimator)]
WEIGHTED = [estimator for estimator in GENERATORS if has_fit_parameter(estimator, "sample_weight")]
CONDITIONAL = [estimator for estimator in GENERATORS if get_tags(estimator).conditions]


def with_few_epochs(estimators):
    """Copies whose networks are trained for 3 epochs, for promises that no good fit is needed for.

    Networks have a learning rate, unlike Gaussians, whose EM stops on its own.
    """
    copies = [clone(estimator) for estimator in estimators]
    for model in copies:
        if hasattr(model, "learning_rate_init"):
            model.set_params(max_iter=3)
        if hasattr(model, "n_pretraining"):
            model.set_params(n_pretraining=3)
    return copies


def each(estimators):
    """Parametrize a test by estimators."""
    return pytest.mark.parametrize("estimator", estimators, ids=str)
