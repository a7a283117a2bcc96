"""GANs on real images: draws of a requested digit, and features learned without classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from probgen import GAN, AuxiliaryClassifierGAN, ConditionalGAN
from probgen.datasets import fetch_mnist
from probgen.metrics import frechet_distance
from probgen.options import ParzenWindow

SETTINGS = {
    "architecture": "conv",
    "hidden_layer_sizes": (16, 32),
    "density": ParzenWindow(4000),
    "device": "cpu",
    "random_state": 0,
}


@pytest.fixture(scope="module")
def digits(data_home):
    """Digits of 14 x 14 pixels in [0, 1] and their classes: 10,000 training and 2,000 test rows."""
    arrays = []
    for subset, n_rows in (("train", 10_000), ("test", 2000)):
        part = fetch_mnist(subset=subset)
        small = part.data[:n_rows].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(n_rows, -1)
        arrays += [(small / 255.0).astype(np.float32), part.target[:n_rows]]
    return tuple(arrays)


@pytest.fixture(scope="module")
def classifier(digits):
    return LogisticRegression(max_iter=200, tol=1e-2).fit(*digits[:2])


def trained_accuracy(X, y, T, t):
    """Accuracy on rows T of a linear classifier that is trained on rows X."""
    return LogisticRegression(max_iter=300, tol=1e-2).fit(X, y).score(T, t)


def test_training_improves_features_for_classification(digits):
    X, y, T, t = digits
    before = GAN(16, **SETTINGS | {"max_iter": 1, "learning_rate_init": 0.0}).fit(X[:500])
    after = GAN(16, **SETTINGS | {"max_iter": 6}).fit(X)
    accuracies = []
    for model in (before, after):
        features = model.transform(X[:3000])
        scale = features.std(axis=0) + 1e-6
        accuracies.append(
            trained_accuracy(features / scale, y[:3000], model.transform(T) / scale, t)
        )
    untrained, trained = accuracies
    assert trained > untrained + 0.01
    draws = after.sample(2000, random_state=0)
    assert frechet_distance(T, draws) < 0.3 * frechet_distance(
        T, before.sample(2000, random_state=0)
    )


@pytest.mark.parametrize("kind", [ConditionalGAN, AuxiliaryClassifierGAN])
def test_draws_are_of_the_requested_digit(digits, classifier, kind):
    X, y, T, t = digits
    model = kind(16, **SETTINGS | {"max_iter": 4}).fit(X, y)
    requested = np.arange(2000) % 10
    draws = model.sample(2000, y=requested, random_state=0)
    agrees = classifier.predict(draws) == requested
    assert agrees.mean() > 0.8
    assert np.bincount(requested[agrees], minlength=10).min() > 100  # half of them
    assert trained_accuracy(draws, requested, T, t) > 0.6
    assert np.mean(model.predict(T[:500]) == t[:500]) > (0.6 if kind == ConditionalGAN else 0.8)
