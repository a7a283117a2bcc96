"""Parzen windows against those of scikit-learn, integrals and fine grids."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits
from sklearn.neighbors import KernelDensity

from probgen.marginal_likelihood import parzen
from probgen.marginal_likelihood.parzen import (
    CentredDraws,
    parzen_bandwidth,
    parzen_log_density,
)

RNG = np.random.default_rng(0)
DRAWS = RNG.standard_normal((300, 3)) * [1.0, 2.0, 0.5] + [0.0, 5.0, -3.0]
X = RNG.standard_normal((200, 3)) * [1.0, 2.0, 0.5] + [0.0, 5.0, -3.0]


@pytest.mark.parametrize("bandwidth", [1e-2, 0.3, 50.0])
@pytest.mark.parametrize("tile", [1, 16, 64])
def test_is_the_one_of_scikit_learn(bandwidth, tile, monkeypatch):
    monkeypatch.setattr(parzen, "TILE", tile)
    # One leaf, as trees lose the tails.
    peer = KernelDensity(bandwidth=bandwidth, leaf_size=1000).fit(DRAWS)
    np.testing.assert_allclose(
        parzen_log_density(X[:50], DRAWS, bandwidth), peer.score_samples(X[:50]), rtol=1e-8
    )


def test_integrates_to_one():
    grid = np.linspace(-20.0, 20.0, 4001)[:, np.newaxis]
    density = np.exp(parzen_log_density(grid, RNG.standard_normal((50, 1)), 0.2))
    assert density.sum() * 0.01 == pytest.approx(1.0, rel=1e-6)


def test_far_away_the_nearest_draw_dominates():
    far = np.array([[1e3, 5.0, -3.0]])
    truth = logsumexp(norm.logpdf(far, DRAWS, 0.1).sum(1)) - np.log(300)
    assert parzen_log_density(far, DRAWS, 0.1)[0] == pytest.approx(truth, rel=1e-12)


def test_no_digits_are_lost_far_from_zero_and_in_single_precision():
    truth = parzen_log_density(X, DRAWS, 0.5)
    np.testing.assert_allclose(parzen_log_density(X + 1e7, DRAWS + 1e7, 0.5), truth, atol=1e-5)
    rows, draws = X.astype(np.float32), DRAWS.astype(np.float32)
    exact = parzen_log_density(rows.astype(float), draws.astype(float), 0.5)
    np.testing.assert_allclose(parzen_log_density(rows, draws, 0.5), exact, rtol=1e-12)


@pytest.mark.parametrize("n_features", [1, 3, 61])
@pytest.mark.parametrize("n_draws", [7, 1000, 5001])
def test_values_are_bit_identical_in_any_batch(n_features, n_draws):
    rows, draws = (
        RNG.standard_normal((1200, n_features)),
        RNG.standard_normal((n_draws, n_features)),
    )
    whole, order = parzen_log_density(rows, draws, 0.4), RNG.permutation(1200)
    np.testing.assert_array_equal(parzen_log_density(rows[order], draws, 0.4), whole[order])
    np.testing.assert_array_equal(parzen_log_density(np.asfortranarray(rows), draws, 0.4), whole)
    parts = [
        parzen_log_density(rows[part], draws, 0.4)
        for part in (slice(1), slice(1, 731), slice(731, None))
    ]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    np.testing.assert_array_equal(parzen_log_density(rows, CentredDraws.of(draws), 0.4), whole)


def test_standard_error_is_that_of_repetitions():
    means, errors = [], []
    for _ in range(200):
        draws = RNG.standard_normal((500, 1))
        value, error = parzen_log_density(np.array([[0.5]]), draws, 0.5, return_std=True)
        means.append(value[0])
        errors.append(error[0])
    assert np.mean(errors) == pytest.approx(np.std(means), rel=0.2)
    truth = norm.logpdf(0.5, 0.0, np.sqrt(1.25))  # the density of a draw and its blur
    assert abs(np.mean(means) - truth) < 3.0 * np.std(means) / np.sqrt(200)


class TestBandwidth:
    @pytest.mark.parametrize("scale", [1.0, 1e-5, 1e5])
    def test_is_the_best_of_a_fine_grid(self, scale):
        grid = np.exp(np.linspace(-4.0, 3.0, 701))
        scores = [KernelDensity(bandwidth=h, rtol=1e-8).fit(DRAWS).score(X) for h in grid]
        chosen = parzen_bandwidth(scale * X, scale * DRAWS) / scale
        assert chosen == pytest.approx(grid[np.argmax(scores)], rel=0.02)

    def test_is_the_optimum_where_that_is_known(self):
        """The root mean squared distance from one draw, or from the nearer of two distant ones."""
        assert parzen_bandwidth(X, np.zeros((1, 3))) == pytest.approx(
            np.sqrt(np.mean(X**2)), rel=1e-6
        )
        pair = np.array([[0.0], [1000.0]])
        rows = np.array([[-1.0], [1.0], [999.0], [1001.0]])
        assert parzen_bandwidth(rows, pair) == pytest.approx(1.0, rel=0.01)

    def test_of_the_draws_themselves_is_above_zero(self):
        distances = np.sqrt(np.mean((DRAWS[:, np.newaxis] - DRAWS) ** 2))
        assert parzen_bandwidth(DRAWS, DRAWS) == pytest.approx(1e-3 * distances)
        assert parzen_bandwidth(np.ones((4, 2)), np.ones((3, 2))) == 1e-3

    def test_is_always_the_same(self):
        assert parzen_bandwidth(X, DRAWS) == parzen_bandwidth(X.copy(), DRAWS.copy())


def test_centres_of_clusters_beat_the_data():
    """The warning of the literature holds here too: it does not measure a sampler."""
    rows = load_digits().data[RNG.permutation(1797)] / 16.0
    train, held_out, test = rows[:1000], rows[1000:1400], rows[1400:]

    def score(draws):
        return parzen_log_density(test, draws, parzen_bandwidth(held_out, draws)).mean()

    centres = KMeans(100, n_init=1, random_state=0).fit(train).cluster_centers_
    assert score(centres) > score(train[:100])


@pytest.mark.parametrize("bandwidth", [0.0, -1.0, np.nan, None])
def test_bandwidth_is_above_zero(bandwidth):
    with pytest.raises(ValueError, match="bandwidth must be a finite number"):
        parzen_log_density(X, DRAWS, bandwidth)
