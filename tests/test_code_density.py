"""What generators that decode codes share: their joint density, and rows kept between passes."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from probgen import GAN, VAEGAN, Autoencoder
from probgen.estimators._code_density import latest_rows

X = np.random.default_rng(0).standard_normal((200, 3)) * [1.0, 2.0, 5.0] + [0.0, 3.0, 0.0]
SETTINGS = {"hidden_layer_sizes": (8,), "max_iter": 2, "device": "cpu", "random_state": 0}


@pytest.mark.parametrize("kind", [Autoencoder, GAN, VAEGAN])
def test_the_joint_density_is_that_of_codes_and_of_noise_about_decoded_codes(kind):
    model = kind(2, **SETTINGS).fit(X)
    latent_model = model._latent_model(X[:5])
    codes = latent_model.sample_prior(4, np.random.default_rng(1), *latent_model.rows)
    assert codes.shape == (4, 5, 2)
    flat = codes.reshape(20, 2).numpy()
    means = model.inverse_transform(flat).reshape(4, 5, 3)
    truth = norm.logpdf(X[:5], means, np.sqrt(model.noise_variance_)).sum(axis=2)
    with torch.no_grad():
        log_likelihood = latent_model.log_likelihood(codes, *latent_model.rows)
        log_prior = latent_model.log_prior(codes, *latent_model.rows)
    np.testing.assert_allclose(log_likelihood, truth, rtol=1e-9)
    truth = norm.logpdf(flat).sum(axis=1)
    if kind is not GAN:
        truth = model.latent_density_.score_samples(flat)
    np.testing.assert_allclose(log_prior, truth.reshape(4, 5), rtol=1e-6)


def test_latest_rows_are_kept_in_order():
    rows = np.arange(10.0)[:, np.newaxis]
    kept = latest_rows(None, rows[:3], 5)
    np.testing.assert_array_equal(kept, rows[:3])
    kept = latest_rows(kept, rows[3:6], 5)
    np.testing.assert_array_equal(kept, rows[1:6])
    np.testing.assert_array_equal(latest_rows(kept, rows, 4), rows[6:])


@pytest.mark.parametrize("kind, name", [(Autoencoder, "_kept"), (VAEGAN, "_kept_rows")])
def test_passes_keep_the_rows_that_codes_are_taken_of(kind, name):
    model = kind(2, **SETTINGS)
    for part in np.split(X, 4):
        model.partial_fit(part)
    kept = getattr(model, name)
    assert kept.shape == (200, 3)
    np.testing.assert_allclose(np.sort(kept, axis=0), np.sort(X, axis=0))
