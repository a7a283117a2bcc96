"""Files of earlier versions open, and score, draw and resume as when they were written."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning

import probgen
from probgen import Autoencoder
from probgen.options import (
    ELBO,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
    InverseAutoregressiveFlow,
    MixturePrior,
    VampPrior,
)
from probgen.persistence.migrations import from_format_1

FILES = sorted((Path(__file__).parent / "files").glob("*/*.probgen"))


def opened(path):
    with warnings.catch_warnings():
        # Steps of pipelines may be of another version of scikit-learn.
        warnings.simplefilter("ignore", InconsistentVersionWarning)
        return probgen.load(path, device="cpu")


def scored(model, rows):
    with warnings.catch_warnings():
        # The estimates of the files are by 2 to 8 draws.
        warnings.filterwarnings("ignore", message=".* effective draws", category=UserWarning)
        return model.score_samples(rows)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_scores_and_draws_as_when_it_was_written(path):
    model = opened(path)
    with np.load(path.with_suffix(".npz")) as answers:
        rows = answers["rows"]
        # Other processors round products differently, and most networks are in single precision.
        tolerance = 1e-3
        if isinstance(model, Autoencoder):
            tolerance = 1.0  # an estimate by 8 draws, which are better placed today
        np.testing.assert_allclose(scored(model, rows), answers["scores"], 1e-4, tolerance)
        np.testing.assert_allclose(model.transform(rows), answers["codes"], rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(
            model.sample(3, random_state=1), answers["draws"], rtol=1e-4, atol=1e-3
        )
        np.testing.assert_allclose(model.sample(3), answers["stream"], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_old_file_can_be_saved_anew_and_trained_further(path, tmp_path):
    model = opened(path)
    probgen.save(model, tmp_path / "model.probgen")
    with np.load(path.with_suffix(".npz")) as answers:
        rows = answers["rows"]
    if hasattr(model, "_training_state"):
        epochs = model.n_iter_
        labels = np.resize(model.classes_, len(rows)) if hasattr(model, "classes_") else None
        model.partial_fit(rows, labels)
        assert model.n_iter_ == epochs + 1
        assert np.isfinite(scored(model, rows)).all()


VAE_PARAMETERS = {  # what the models of the files were made with, in today's form
    "vae_bernoulli": {
        "likelihood": "bernoulli",
        "architecture": "dense",
        "elbo__kind": "mean_field",
        "elbo__kl_warmup": 2,
        "elbo__free_bits": 0.01,
        "elbo__n_particles": 1,
    },
    "vae_gaussian": {"likelihood": Gaussian, "likelihood__scale": "learned", "beta": 2.0},
    "vae_logistic": {
        "likelihood": DiscretizedLogistic,
        "likelihood__n_levels": 17,
        "likelihood__n_mixture": 2,
        "prior": MixturePrior,
        "prior__n_components": 3,
    },
    "vae_categorical": {
        "likelihood": Categorical,
        "likelihood__n_levels": 5,
        "elbo__kind": "iwae",
        "elbo__n_particles": 2,
        "elbo__kl_warmup": 0,
    },
    "vae_mixture": {
        "likelihood": GaussianMixtureLikelihood,
        "likelihood__n_mixture": 2,
        "elbo": "trace",
    },
    "vae_laplace": {"likelihood": "laplace", "prior": VampPrior, "prior__n_components": 3},
    "vae_iaf": {
        "likelihood": "gaussian",
        "posterior": InverseAutoregressiveFlow,
        "posterior__n_flows": 1,
        "prior": "normal",
        "elbo": "mean_field",
    },
    "vae_conv": {"architecture": "conv", "likelihood": "auto"},
    "conditional_vae": {"architecture": "dense", "likelihood": "auto", "posterior": "gaussian"},
    "semi_supervised_vae": {"architecture": "dense", "elbo": "mean_field", "prior": "normal"},
}


@pytest.mark.parametrize("name", VAE_PARAMETERS)
def test_an_old_vae_has_the_parameters_it_was_made_with(name):
    model = opened(next(path for path in FILES if path.stem == name))
    parameters = model.get_params()
    for key, value in VAE_PARAMETERS[name].items():
        if isinstance(value, type):
            assert type(parameters[key]) is value
        else:
            assert parameters[key] == value
    assert "n_levels" not in vars(model)
    clone(model)._check_parameters()


def test_every_family_has_a_file():
    classes = {type(opened(path)).__name__ for path in FILES}
    assert set(probgen.estimators.__all__) | {"GenerativePipeline"} <= classes


PARAMETERS = {  # of old files, in today's form
    "made_gaussian": {"likelihood": "auto", "likelihood__n_mixture": 2, "n_orderings": 2},
    "made_categorical": {"likelihood": "categorical", "likelihood__n_levels": 5},
    "made_order_agnostic": {"likelihood": "auto", "likelihood__n_mixture": 2},
    "fvbn": {"likelihood": "auto"},
    "pixelcnn_levels": {
        "likelihood": "auto",
        "likelihood__n_mixture": 2,
        "likelihood__n_levels": 17,
    },
    "pixelcnn_bits": {"likelihood": "auto"},
    "conditional_pixelcnn": {"likelihood": "auto"},
    "pixelrnn_row": {"likelihood": "auto"},
    "autoencoder_dense": {
        "architecture": "dense",
        "corruption": "gaussian",
        "penalty": "contractive",
    },
    "autoencoder_sparse": {"corruption": "masking", "penalty": "kl_sparsity"},
    "autoencoder_conv": {"architecture": "conv", "corruption": None, "penalty": None},
    "gan_dense": {
        "loss": "non_saturating",
        "penalty": "r1",
        "penalty__weight": 0.2,
        "density": "parzen",
        "density__n_draws": 64,
        "prior": "normal",
    },
    "gan_wasserstein": {
        "loss": "wasserstein",
        "penalty": "wgan_gp",
        "density": "ais",
        "density__n_chains": 2,
        "density__n_temperatures": 4,
    },
    "gan_conv": {"density": "parzen", "penalty": "r1"},
    "vaegan": {"density": "parzen", "density__n_draws": 64},
    "conditional_gan": {"density": "parzen", "density__n_draws": 64},
    "auxiliary_classifier_gan": {"density": "parzen", "density__n_draws": 64},
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_an_old_file_keeps_its_parameters(name):
    (path,) = [path for path in FILES if path.stem == name]
    parameters = opened(path).get_params()
    for key, value in PARAMETERS[name].items():
        assert getattr(parameters[key], "name", parameters[key]) == value


@pytest.mark.parametrize(
    "settings, elbo",
    [
        ({}, "trace"),
        ({"n_particles": 1, "kl_warmup": 3, "free_bits": 0.1}, ELBO("trace", kl_warmup=3)),
        ({"n_particles": 4, "free_bits": 0.1}, ELBO("iwae", n_particles=4)),
    ],
)
def test_a_bound_without_effect_becomes_the_bound_that_it_was(settings, elbo):
    path = "probgen.estimators.vae:VAE"
    header = {"value": {"object": path, "state": {"elbo": "iwae", **settings}}}
    migrated = from_format_1(header, {})[0]["value"]["state"]["elbo"]
    if isinstance(elbo, str):
        assert migrated == elbo
    else:
        assert migrated["object"] == "probgen.options.variational:ELBO"
        assert migrated["state"] == elbo.get_params()
