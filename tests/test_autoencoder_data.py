"""Autoencoders on real data: denoising, classification of codes, choice of sizes, and anomalies."""

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probgen import Autoencoder, GaussianBayes, GaussianMixture, Trainer
from probgen.datasets import fetch_adbench, fetch_mnist
from probgen.options import GaussianCorruption, MaskingCorruption

SIGMA = 0.5


@pytest.fixture(scope="module")
def mnist(data_home):
    """Training and test rows in [0, 1], and their labels."""
    bunches = [fetch_mnist(subset=subset) for subset in ("train", "test")]
    X, T = (bunch.data.astype(np.float32) / 255.0 for bunch in bunches)
    return X, T, *(bunch.target for bunch in bunches)


IMAGES = {"image_shape": (28, 28)}


def trained(n_components, **parameters):
    """An autoencoder with a short training and a simple density."""
    settings = {
        "batch_size": 128,
        "trainer": Trainer(schedule="one_cycle"),
        "latent_density": GaussianMixture(1),
    }
    return Autoencoder(n_components, **settings | parameters, device="cpu", random_state=0)


def psnr(X, truth):
    """Peak signal-to-noise ratio in dB, for values in [0, 1]."""
    return -10.0 * np.log10(np.mean((X - truth) ** 2, dtype=np.float64))


def test_denoising_beats_the_best_linear_filter(mnist):
    X, T, *_ = mnist
    X, T = X[:20_000], T[:2000]
    noisy = T + SIGMA * np.random.default_rng(1).standard_normal(T.shape, dtype=np.float32)
    mean, covariance = X.mean(axis=0), np.cov(X, rowvar=False)
    gain = np.linalg.solve(covariance + SIGMA**2 * np.eye(784), covariance)
    wiener = psnr(mean + (noisy - mean) @ gain, T) - psnr(noisy, T)
    model = trained(
        128,
        hidden_layer_sizes=(512,),
        corruption=GaussianCorruption(scale=SIGMA),
        max_iter=5,
        noise_fraction=0.01,
        **IMAGES,
    ).fit(X)
    gained = psnr(model.reconstruct(noisy), T) - psnr(noisy, T)
    assert 10.5 < wiener < 11.5
    assert gained >= wiener + 0.25


def test_gaussians_classify_95_percent_of_digits_by_32_codes(mnist):
    X, T, y, t = mnist
    X, y = X[:15_000], y[:15_000]
    model = make_pipeline(
        trained(
            32,
            hidden_layer_sizes=(256,),
            corruption=MaskingCorruption(fraction=0.2),
            max_iter=5,
            **IMAGES,
        ),
        GaussianBayes(n_components=10, reg_covar=1e-3, random_state=0),
    ).fit(X, y)
    assert np.mean(model.predict(T) == t) >= 0.95


def test_reconstructions_of_a_deep_code_beat_those_of_as_many_principal_components(mnist):
    X, T, *_ = mnist
    linear = PCA(8, random_state=0).fit(X[:10_000])
    model = trained(8, hidden_layer_sizes=(128, 32), max_iter=10, **IMAGES).fit(X[:10_000])
    error = np.mean((linear.inverse_transform(linear.transform(T)) - T) ** 2)
    assert model.reconstruction_error(T).mean() < 0.8 * error


@pytest.mark.filterwarnings("ignore:.* effective draws")  # of 16 draws
def test_a_grid_search_finds_the_length_of_the_code(mnist):
    X, T, *_ = mnist
    search = GridSearchCV(
        trained(2, hidden_layer_sizes=(64,), max_iter=25, n_importance_samples=16, **IMAGES),
        {"n_components": [1, 8]},
        cv=2,
    ).fit(X[:2000])
    scores = search.cv_results_["mean_test_score"]
    assert np.all(np.diff(scores) > 0.0)
    assert search.best_params_ == {"n_components": 8}
    # Probabilistic PCA with as many numbers is the same model with a linear decoder and one noise
    # for all pixels.
    assert search.score(T[:100]) > PCA(8, random_state=0).fit(X[:2000]).score(T[:100])


@pytest.mark.parametrize("table, least", [("thyroid", 0.9), ("musk", 0.95)])
def test_anomalies_are_hard_to_reconstruct(data_home, table, least):
    bunch = fetch_adbench(table)
    X = StandardScaler().fit_transform(bunch.data.astype(np.float32))
    settings = {
        "corruption": MaskingCorruption(fraction=0.2),
        "noise_fraction": 0.0,
        "batch_size": 32,
    }
    model = trained(32, hidden_layer_sizes=(64,), max_iter=10, **settings).fit(X)
    assert roc_auc_score(bunch.target, model.reconstruction_error(X)) > least
