"""PixelRNN: windows of its layers by automatic differentiation, likelihood by enumeration."""

from itertools import product

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare
from torch.nn import functional

from probgen import PixelCNN, PixelRNN
from probgen.estimators.autoregressive.networks.recurrent import (
    DiagonalLSTM,
    RecurrentNetwork,
    RowLSTM,
    run_lstm,
    skewed,
)

SIDE = 5
EVERY = np.array(list(product([0.0, 1.0], repeat=9)))
# Images with one of three rows lit.
STRIPES = np.array([np.roll(np.repeat([1.0, 0.0, 0.0], 3), 3 * k) for k in range(3)])
layers = pytest.mark.parametrize("layer", ["row_lstm", "diagonal_bilstm"])


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        yield


def noisy_stripes(n_rows=400):
    rng = np.random.default_rng(0)
    rows = STRIPES[rng.integers(3, size=n_rows)]
    return np.where(rng.random(rows.shape) < 0.1, 1.0 - rows, rows)


def fit(X, **settings):
    defaults = {
        "n_filters": 4,
        "n_layers": 1,
        "max_iter": 10,
        "learning_rate_init": 0.02,
        "device": "cpu",
    }
    return PixelRNN(**defaults | settings, random_state=0).fit(X)


def seen(layer, n_channels):
    """Whether pixel (i, j) of the outputs depends on pixel (k, m) of the image, on four axes."""
    image = torch.randn(1, n_channels, SIDE, SIDE, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda x: layer(x)[0].sum(0), image)
    return (jacobian[:, :, 0].abs().sum(2) > 0.0).numpy()


class TestLayers:
    def test_a_row_layer_sees_a_triangle(self):
        is_seen = seen(RowLSTM(2).double(), 4)
        for i, j, k, m in product(range(SIDE), repeat=4):
            own_row = k == i and j - 1 <= m <= j
            # One pixel wider for each row, and one more to the left by the inputs.
            above = k < i and j - (i - k) - 1 <= m <= j + (i - k)
            assert is_seen[i, j, k, m] == (own_row or above), (i, j, k, m)

    def test_a_diagonal_layer_sees_all_that_is_before(self):
        is_seen = seen(DiagonalLSTM(2).double(), 4)
        for i, j, k, m in product(range(SIDE), repeat=4):
            assert is_seen[i, j, k, m] == (k < i or (k == i and m <= j)), (i, j, k, m)

    def test_the_recurrence_is_that_of_torch(self):
        """Where the convolution is one pixel wide, every column is a sequence of its own."""
        cell = torch.nn.LSTM(3, 2, batch_first=True).double()
        steps = torch.randn(4, 6, 3, dtype=torch.float64)  # rows, steps, inputs
        truth, _ = cell(steps)
        swap = torch.tensor([6, 7, 2, 3, 0, 1, 4, 5])  # torch has input, forget, content, output
        inputs = (steps @ cell.weight_ih_l0.T + cell.bias_ih_l0 + cell.bias_hh_l0)[:, :, swap]
        hidden = cell.weight_hh_l0[swap]
        states = run_lstm(
            [step.T[None] for step in inputs.unbind(1)],
            lambda state: torch.einsum("gh,nhs->ngs", hidden, state),
        )
        torch.testing.assert_close(torch.stack(states)[:, 0].permute(2, 0, 1), truth)

    @pytest.mark.parametrize("shape", [(3, 5), (5, 3), (1, 4), (4, 1)])
    def test_skewing_puts_diagonals_into_columns(self, shape):
        image = torch.randn(2, 3, *shape)
        shifted = skewed(image)
        for i in range(shape[0]):
            row = functional.pad(image[:, :, i], (i, shape[0] - 1 - i))
            torch.testing.assert_close(shifted[:, :, i], row)

    @layers
    @pytest.mark.parametrize("n_colors", [1, 3])
    def test_a_network_is_strictly_causal(self, layer, n_colors):
        network = RecurrentNetwork(
            (3, 4, n_colors), 2, layer=layer, n_filters=3, n_layers=2
        ).double()
        for parameter in network.position.parameters():
            torch.nn.init.normal_(parameter)
        row = torch.rand(1, 12 * n_colors, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(lambda x: network(x)[0], row)[:, 0]
        depends = (jacobian.unflatten(0, (-1, 2)).abs().sum(1) > 0.0).numpy()
        assert not np.triu(depends).any()
        assert depends.any()


class TestLikelihood:
    @layers
    def test_probabilities_of_all_images_add_up(self, layer):
        model = fit(noisy_stripes(), layer=layer)
        assert logsumexp(model.score_samples(EVERY)) == pytest.approx(0.0, abs=1e-9)

    @layers
    def test_of_colours_and_levels_too(self, layer):
        rng = np.random.default_rng(0)
        X = rng.integers(3, size=(200, 6)).astype(float)
        X[:, 3:] = (X[:, :3] + 1) % 3  # the second pixel follows from the first
        model = fit(
            X,
            layer=layer,
            image_shape=(1, 2, 3),
            likelihood="categorical",
            n_filters=6,
            max_iter=60,
        )
        every = np.array(list(product([0.0, 1.0, 2.0], repeat=6)))
        assert logsumexp(model.score_samples(every)) == pytest.approx(0.0, abs=1e-9)
        assert model.score(X) > -1.1 * 3 * np.log(3)

    @layers
    def test_it_learns_dependence(self, layer):
        X = noisy_stripes()
        model = fit(X, layer=layer, max_iter=60)
        share = X.mean(axis=0)
        independent = (X * np.log(share) + (1 - X) * np.log(1 - share)).sum(axis=1).mean()
        assert model.score(X) > independent + 1.0


class TestDraws:
    @layers
    def test_follow_the_probabilities(self, layer):
        model = fit(noisy_stripes(), layer=layer)
        draws = model.sample(4000, random_state=1)
        counts = np.bincount(draws.astype(int) @ 2 ** np.arange(8, -1, -1), minlength=512)
        expected = 4000 * np.exp(model.score_samples(EVERY))
        often = expected >= 5.0
        observed = np.append(counts[often], counts[~often].sum())
        wanted = np.append(expected[often], expected[~often].sum())
        assert chisquare(observed, wanted * observed.sum() / wanted.sum()).pvalue > 1e-3

    def test_the_rest_of_an_image_follows_from_its_beginning(self):
        model = fit(noisy_stripes())
        known = np.array([1.0, 1.0, 1.0, 0.0])
        draws = model.sample(3000, given=dict(enumerate(known)), random_state=0)
        possible = EVERY[(EVERY[:, :4] == known).all(axis=1)]
        weights = np.exp(model.score_samples(possible))
        truth = weights @ possible / weights.sum()
        np.testing.assert_allclose(draws.mean(axis=0), truth, atol=0.05)


def test_rows_that_are_no_square_are_images_of_one_row():
    model = fit(noisy_stripes()[:, :7])
    assert model.image_shape_ == (1, 7, 1)
    assert model.transform(noisy_stripes()[:5, :7]).shape == (5, 8)


def test_settings_are_those_of_the_pixelcnn():
    of_cnn = set(PixelCNN().get_params())
    of_rnn = set(PixelRNN().get_params())
    assert of_rnn - of_cnn == {"layer"}
    assert of_cnn - of_rnn == {
        "gated",
        "attention",
        "shortcuts",
        "n_downsamplings",
        "position_map",
        "scales",
    }


@pytest.mark.parametrize(
    "settings, message",
    [
        (
            {"layer": "column_lstm"},
            "layer must be one of 'row_lstm', 'diagonal_bilstm'; got 'column_lstm'",
        ),
        ({"n_layers": 0}, "n_layers must be an integer >= 1; got 0"),
        ({"n_filters": 0}, "n_filters must be an integer >= 1; got 0"),
        ({"image_shape": (2, 4)}, "image_shape"),
    ],
    ids=str,
)
def test_bad_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        fit(noisy_stripes(), **settings)
