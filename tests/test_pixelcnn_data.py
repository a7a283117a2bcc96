"""PixelCNNs of real images: completed halves, coloured grey images, larger images and outliers."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import NearestNeighbors

from probgen import PixelCNN
from probgen.datasets import fetch_cifar10, fetch_fashion_mnist, fetch_mnist
from probgen.options import AutoLikelihood

N_LEVELS = 16


@pytest.fixture(scope="module")
def digits(data_home):
    """Training and test rows of 0 and 1, 14 x 14."""
    return [reduced(fetch_mnist(subset=subset).data, 28, 2) > 127 for subset in ("train", "test")]


def reduced(X, side, factor, n_colors=1):
    """Rows of images, the means of blocks of factor x factor pixels."""
    small = side // factor
    blocks = X.reshape(-1, small, factor, small, factor, n_colors)
    return blocks.mean(axis=(2, 4)).reshape(len(X), -1)


def trained(X, **settings):
    defaults = {
        "n_filters": 16,
        "n_layers": 3,
        "max_iter": 4,
        "learning_rate_init": 5e-3,
        "device": "cpu",
    }
    return PixelCNN(**defaults | settings, random_state=0).fit(X.astype(np.float32))


@pytest.fixture(scope="module")
def model_of_digits(digits):
    return trained(digits[0][:20_000])


def test_clothes_are_outliers_of_a_model_of_digits(digits, model_of_digits):
    T = digits[1][:500]
    clothes = reduced(fetch_fashion_mnist(subset="test").data[:500], 28, 2) > 127
    scores = model_of_digits.score_samples(np.vstack([T, clothes]).astype(np.float32))
    assert roc_auc_score(np.repeat([1, 0], 500), scores) > 0.93


def test_lower_halves_are_predicted_better_than_by_the_nearest_digit(digits, model_of_digits):
    X, T = digits[0][:20_000], digits[1][:1000]
    half = X.shape[1] // 2
    log_prob = model_of_digits.conditional_log_prob(T.astype(np.float32))[:, half:].sum(axis=1)
    search = NearestNeighbors(n_neighbors=2).fit(X[:, :half])
    copied = X[search.kneighbors(T[:, :half], n_neighbors=1, return_distance=False)[:, 0], half:]
    # Bits of the neighbour are wrong with one probability, which is fitted to the training digits.
    second = X[search.kneighbors(X[:1000, :half], return_distance=False)[:, 1], half:]
    wrong = np.mean(second != X[:1000, half:])
    by_copy = np.where(copied == T[:, half:], np.log1p(-wrong), np.log(wrong)).sum(axis=1)
    assert log_prob.mean() > by_copy.mean() + 5.0
    given = np.where(np.arange(2 * half) < half, T[:20], np.nan)
    drawn = model_of_digits.sample(20, given=given, random_state=0)
    np.testing.assert_array_equal(drawn[:, :half], T[:20, :half])
    assert (drawn[:, half:] != T[:20, half:]).any()


@pytest.fixture(scope="module")
def photographs(data_home):
    """A function from a side length to training and test rows of colour images, as levels."""

    def load(side):
        images = [fetch_cifar10(subset=subset).data for subset in ("train", "test")]
        return [leveled(reduced(X.astype(np.float64), 32, 32 // side, 3)) for X in images]

    return load


def leveled(X):
    """Values from 0 to 255 in N_LEVELS levels."""
    return np.rint((X / 256.0 * N_LEVELS - 0.5).clip(0, N_LEVELS - 1))


def log_frequencies(given, values, given_of_test, values_of_test):
    """Log-probabilities of test values (n, d) given one level each, by counts in training rows."""
    counts = np.ones((N_LEVELS, N_LEVELS))
    np.add.at(counts, (given.ravel().astype(int), values.ravel().astype(int)), 1.0)
    log_prob = np.log(counts / counts.sum(axis=1, keepdims=True))
    return log_prob[given_of_test.astype(int), values_of_test.astype(int)]


def test_colours_of_grey_images_are_predicted_better_than_pixel_by_pixel(photographs):
    """Grey images come before the coloured ones in the rows, and so in the order of drawing."""
    colors = photographs(4)
    greys = [np.rint(X.reshape(-1, 16, 3).mean(axis=2)).repeat(3, axis=1) for X in colors]
    X, T = (np.hstack(pair) for pair in zip(greys, colors))
    model = trained(
        X,
        image_shape=(8, 4, 3),
        likelihood=AutoLikelihood(n_levels=N_LEVELS),
        n_filters=18,
        max_iter=5,
        learning_rate_init=4e-3,
    )
    log_prob = model.conditional_log_prob(T.astype(np.float32))[:, 48:].sum(axis=1)
    by_grey = 0.0
    for color in range(3):
        of_color = [part[:, color::3] for part in (greys[0], colors[0], greys[1], colors[1])]
        by_grey = by_grey + log_frequencies(*of_color).sum(axis=1)
    assert log_prob.mean() > by_grey.mean() + 5.0
    given = np.where(np.arange(96) < 48, T[:4], np.nan)
    drawn = model.sample(4, given=given, random_state=0)
    np.testing.assert_array_equal(drawn[:, :48], T[:4, :48])
    assert np.abs(drawn[:, 48:].reshape(-1, 16, 3).mean(axis=2) - greys[1][:4, ::3]).mean() < 2.0


def test_images_twice_as_large_are_drawn_from_small_ones(photographs):
    """One of four pixels is known, and comes first in the order of a model of two scales."""
    X, T = photographs(8)
    model = trained(
        X,
        image_shape=(8, 8, 3),
        likelihood=AutoLikelihood(n_levels=N_LEVELS),
        scales=(4, 8),
        n_filters=18,
        learning_rate_init=4e-3,
    )
    is_small = np.zeros((8, 8, 3), dtype=bool)
    is_small[::2, ::2] = True
    rest = ~is_small.ravel()
    log_prob = model.conditional_log_prob(T.astype(np.float32))[:, rest].sum(axis=1)
    near = [
        rows.reshape(-1, 8, 8, 3)[:, ::2, ::2].repeat(2, axis=1).repeat(2, axis=2)
        for rows in (X, T)
    ]
    near = [rows.reshape(len(rows), -1)[:, rest] for rows in near]
    by_copy = log_frequencies(near[0], X[:, rest], near[1], T[:, rest]).sum(axis=1)
    assert log_prob.mean() > by_copy.mean() + 20.0
    drawn = model.sample(3, given=np.where(rest, np.nan, T[:3]), random_state=0)
    np.testing.assert_array_equal(drawn[:, ~rest], T[:3, ~rest])
