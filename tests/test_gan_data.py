"""What GANs are for, on real images: digits of a class that is asked for, and features learned
without classes."""

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
    """Rows (n, 196) of digits from 0 to 1, 14 x 14, and their classes: 10,000 to train on, 2,000 to
    test on."""
    arrays = []
    for subset, n_rows in (("train", 10_000), ("test", 2000)):
        part = fetch_mnist(subset=subset)
        small = part.data[:n_rows].reshape(-1, 14, 2, 14, 2).mean(axis=(2, 4)).reshape(n_rows, -1)
        arrays += [(small / 255.0).astype(np.float32), part.target[:n_rows]]
    return tuple(arrays)


@pytest.fixture(scope="module")
def judge(digits):
    return LogisticRegression(max_iter=200, tol=1e-2).fit(*digits[:2])


def learned(X, y, T, t):
    """Accuracy in rows T of what a linear classifier learns from rows X."""
    return LogisticRegression(max_iter=300, tol=1e-2).fit(X, y).score(T, t)


def test_features_tell_digits_apart_better_for_the_training(digits):
    X, y, T, t = digits
    before = GAN(16, **SETTINGS | {"max_iter": 1, "learning_rate_init": 0.0}).fit(X[:500])
    after = GAN(16, **SETTINGS | {"max_iter": 6}).fit(X)
    found = []
    for model in (before, after):
        shown, tested = model.transform(X[:3000]), model.transform(T)
        scale = shown.std(axis=0) + 1e-6
        found.append(learned(shown / scale, y[:3000], tested / scale, t))
    assert found[1] > found[0] + 0.01
    draws = after.sample(2000, random_state=0)
    assert frechet_distance(T, draws) < 0.3 * frechet_distance(
        T, before.sample(2000, random_state=0)
    )


@pytest.mark.parametrize("kind", [ConditionalGAN, AuxiliaryClassifierGAN])
def test_draws_are_of_the_digit_that_was_asked_for(digits, judge, kind):
    X, y, T, t = digits
    model = kind(16, **SETTINGS | {"max_iter": 4}).fit(X, y)
    asked = np.arange(2000) % 10
    draws = model.sample(2000, y=asked, random_state=0)
    agreed = judge.predict(draws) == asked
    assert agreed.mean() > 0.8
    assert np.bincount(asked[agreed], minlength=10).min() > 100  # half of them
    assert learned(draws, asked, T, t) > 0.6
    assert np.mean(model.predict(T[:500]) == t[:500]) > (0.6 if kind == ConditionalGAN else 0.8)
