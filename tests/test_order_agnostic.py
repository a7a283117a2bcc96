"""Networks trained in all orders of the features: exact results under any known values."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare

from probgen import MADE, FullyVisibleBeliefNetwork, PixelCNN, Trainer, load, save
from probgen.estimators.autoregressive.networks.masked import MaskedMLP
from probgen.options import DiscretizedLogistic, GaussianMixtureLikelihood

QUICK = {
    "max_iter": 8,
    "learning_rate_init": 0.05,
    "device": "cpu",
    "random_state": 0,
    "trainer": Trainer(),
}
AGNOSTIC = {**QUICK, "order_agnostic": True, "n_importance_samples": None}


def every_row(n_levels, d):
    return np.array(list(itertools.product(range(n_levels), repeat=d)), dtype=np.float32)


def chained_rows(n_levels, d, n_rows=300, seed=0):
    """Rows of whole numbers, each feature near the one before it."""
    rng = np.random.default_rng(seed)
    first = rng.integers(n_levels, size=(n_rows, 1))
    steps = rng.choice([0, 1], p=[0.7, 0.3], size=(n_rows, d - 1))
    return (np.cumsum(np.hstack([first, steps]), axis=1) % n_levels).astype(np.float32)


BITS, LEVELS = every_row(2, 7), every_row(3, 4)
MODELS = {
    "one order": (MADE((24,), dropout=0.0, **AGNOSTIC), BITS),
    "several orders": (MADE((24, 16), n_orderings=3, **AGNOSTIC), BITS),
    "no hidden layer": (FullyVisibleBeliefNetwork(**AGNOSTIC), BITS),
    "categories": (MADE((24,), likelihood="categorical", n_orderings=2, **AGNOSTIC), LEVELS),
    "levels": (MADE((24,), likelihood=DiscretizedLogistic(n_mixture=2), **AGNOSTIC), LEVELS),
}


@pytest.fixture(scope="module", params=list(MODELS))
def discrete(request):
    """A fitted model, and all possible rows."""
    model, rows = MODELS[request.param]
    return model.fit(chained_rows(int(rows.max()) + 1, rows.shape[1])), rows


def log_prob(model, rows, order):
    """Log-probabilities (n,) of rows in an order of the features, from the network's outputs."""
    positions = torch.as_tensor(np.argsort(order))
    with torch.no_grad():
        outputs = model.network_(torch.from_numpy(rows), positions).double()
        return (
            model.observation_.distribution(outputs)
            .log_prob(torch.from_numpy(rows).double())
            .sum(1)
            .numpy()
        )


def known_first(model, known):
    """The orders of a model with the known features moved to the front."""
    return [
        [j for j in order if j in known] + [j for j in order if j not in known]
        for order in model.orderings_
    ]


def mixed(model, rows, known):
    """Probabilities (n,) of rows, averaged over these orders."""
    each = [log_prob(model, rows, order) for order in known_first(model, known)]
    return np.exp(logsumexp(each, axis=0) - np.log(len(each)))


def assert_follow(draws, rows, probabilities):
    """Pearson's test of draws against probabilities of all rows; rare ones are taken together."""
    codes = (rows.max() + 1) ** np.arange(rows.shape[1])[::-1]
    counts = np.bincount((draws @ codes).astype(int), minlength=len(rows))
    expected = len(draws) * probabilities / probabilities.sum()
    assert counts[probabilities == 0.0].sum() == 0
    often = expected >= 5.0
    counts, expected = (np.append(part[often], part[~often].sum()) for part in (counts, expected))
    assert chisquare(counts[expected > 0.0], expected[expected > 0.0]).pvalue > 1e-3


class TestNetwork:
    @pytest.mark.parametrize("hidden", [(), (20,), (20, 9)])
    @pytest.mark.parametrize(
        "scaling", [{}, {"center": torch.ones(6), "scale": torch.full((6,), 2.0)}]
    )
    def test_outputs_depend_on_features_before_alone_in_every_order(self, hidden, scaling):
        network = MaskedMLP(torch.arange(6)[None], 2, hidden, "tanh", any_order=True, **scaling)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
        rng = np.random.default_rng(0)
        rows = torch.from_numpy(rng.standard_normal((1, 6)).astype(np.float32))
        for order in [np.arange(6), *(rng.permutation(6) for _ in range(5))]:
            positions = torch.from_numpy(order.argsort())
            jacobian = torch.autograd.functional.jacobian(
                lambda x, p=positions: network(x, p)[0], rows
            )[:, 0]
            depends = jacobian.reshape(6, 2, 6).abs().amax(1)[order][:, order] > 0.0
            np.testing.assert_array_equal(depends, np.tri(6, k=-1, dtype=bool))

    def test_an_order_may_be_named_by_its_number_or_by_its_positions(self):
        positions = torch.stack(
            [torch.arange(5), torch.randperm(5, generator=torch.Generator().manual_seed(0))]
        )
        network = MaskedMLP(positions, 3, (8, 8), n_levels=4, any_order=True)
        rows = torch.ones(2, 5)
        for k in (0, 1):
            torch.testing.assert_close(
                network(rows, k), network(rows, positions[k]), rtol=0.0, atol=0.0
            )

    def test_a_masked_feature_differs_from_zero(self):
        network = MaskedMLP(torch.arange(2)[None], 1, any_order=True)
        torch.nn.init.ones_(network.last.weight)
        rows = torch.zeros(1, 2)
        assert network(rows, torch.tensor([0, 1])).tolist() == [[0.0, 1.0]]
        assert network(rows, torch.tensor([1, 0])).tolist() == [[1.0, 0.0]]


class TestProbabilities:
    def test_of_all_rows_sum_to_one_in_every_order(self, discrete):
        model, rows = discrete
        rng = np.random.default_rng(0)
        for order in [rng.permutation(rows.shape[1]) for _ in range(20)]:
            assert np.exp(log_prob(model, rows, order)).sum() == pytest.approx(1.0, abs=1e-5)

    def test_of_whole_rows_are_those_of_its_own_orders(self, discrete):
        model, rows = discrete
        np.testing.assert_allclose(
            model.score_samples(rows), np.log(mixed(model, rows, ())), rtol=1e-4
        )
        assert_follow(model.sample(5000, random_state=0), rows, mixed(model, rows, ()))

    def test_with_gaps_are_exact_in_an_order_with_what_is_known_first(self, discrete):
        model, rows = discrete
        d = rows.shape[1]
        X = rows[:: len(rows) // 5].copy()
        for i, known in enumerate(
            [(), (d - 1,), (1, d - 1), (0, 2, d - 2), tuple(range(1, d)), (0,)][: len(X)]
        ):
            truth = mixed(model, rows, known)[(rows[:, known] == X[i, known]).all(axis=1)].sum()
            X[i, [j for j in range(d) if j not in known]] = np.nan
            assert model.score_samples(X[i : i + 1])[0] == pytest.approx(np.log(truth), abs=1e-4)
        alone = [model.score_samples(X[i : i + 1])[0] for i in range(len(X))]
        # Scores do not depend on what is missing in other rows.
        np.testing.assert_array_equal(model.score_samples(X), alone)


class TestDraws:
    @pytest.mark.parametrize("given", [{-1: 1.0}, {1: 0.0, -1: 1.0}, {0: 1.0, 2: 1.0}])
    def test_follow_the_conditionals_of_an_order_with_what_is_known_first(self, discrete, given):
        model, rows = discrete
        known = [j % rows.shape[1] for j in given]
        kept = (rows[:, known] == list(given.values())).all(axis=1)
        draws = model.sample(4000, given=given, random_state=1)
        assert_follow(draws, rows, np.where(kept, mixed(model, rows, known), 0.0))

    def test_keep_one_set_and_values_exactly(self, discrete):
        model, rows = discrete
        last = rows.shape[1] - 1
        kept = (rows[:, last] == 1.0) & (rows[:, 1] >= 1.0)
        orders = [
            [last, 1, *[j for j in order if j not in (last, 1)]] for order in model.orderings_
        ]
        truth = np.exp(logsumexp([log_prob(model, rows, order) for order in orders], axis=0))
        draws = model.sample(4000, given={last: 1.0, 1: (1.0, None)}, random_state=2)
        assert_follow(draws, rows, np.where(kept, truth, 0.0))

    def test_fill_gaps_row_by_row(self, discrete):
        model, rows = discrete
        d = rows.shape[1]
        X = np.tile(rows[5], (4000, 1))
        X[::2, 0], X[1::2, [1, d - 1]] = np.nan, np.nan
        drawn = model.impute(X, method="draw", random_state=0)
        for start, known in ((0, range(1, d)), (1, [0, *range(2, d - 1)])):
            kept = (rows[:, known] == rows[5, known]).all(axis=1)
            truth = np.where(kept, mixed(model, rows, known), 0.0)
            assert_follow(drawn[start::2], rows, truth)
            np.testing.assert_allclose(
                model.impute(X[start : start + 1])[0], truth @ rows / truth.sum(), atol=0.05
            )


def test_real_values_are_integrated_out_in_either_order():
    rng = np.random.default_rng(0)
    first = rng.standard_normal(400)
    X = np.column_stack([first, first + 0.5 * rng.standard_normal(400)])
    model = MADE((16,), likelihood=GaussianMixtureLikelihood(2), **AGNOSTIC).fit(X)
    axis, values = np.linspace(-12.0, 12.0, 2401), np.array([-1.0, 0.2, 2.0])
    for gap in (0, 1):
        rows = np.full((3, 2), np.nan)
        rows[:, 1 - gap] = values
        grids = [np.insert(axis[:, None], 1 - gap, value, axis=1) for value in values]
        density = [np.exp(log_prob(model, grid, [1 - gap, gap])) for grid in grids]
        np.testing.assert_allclose(
            model.score_samples(rows), np.log(np.trapezoid(density, axis)), atol=1e-5
        )
        np.testing.assert_allclose(
            model.impute(rows)[:, gap],
            np.trapezoid(density * axis, axis) / np.trapezoid(density, axis),
            atol=0.05,
        )


def test_it_is_saved_loaded_and_trained_further(tmp_path):
    model = MADE((16,), n_orderings=2, **AGNOSTIC).fit(chained_rows(2, 7))
    save(model, tmp_path / "model.probgen")
    twin = load(tmp_path / "model.probgen")
    X = np.where(np.arange(7) % 2, BITS, np.nan)
    np.testing.assert_array_equal(twin.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(twin.transform(BITS), model.transform(BITS))
    before = model.score(BITS)
    assert model.partial_fit(chained_rows(2, 7)).score(BITS) != before


class TestExactResultsAlone:
    """With n_importance_samples=None."""

    @pytest.mark.parametrize("kind", [MADE, PixelCNN])
    def test_are_refused_where_there_are_none(self, kind):
        model = kind(n_importance_samples=None, max_iter=1, device="cpu", random_state=0).fit(
            chained_rows(2, 4)
        )
        message = (
            "given must fix the features that come first in the order of the model, as"
            " n_importance_samples=None allows only exact results; row 0 fixes feature 3, but not"
            " feature 1, which comes before it; fix that too, or take"
        )
        with pytest.raises(ValueError, match=message):
            model.sample(2, given={0: 1.0, 3: 0.0})
        row = np.array([[1.0, np.nan, 1.0, 0.0]])
        message = "X must fix .* row 0 fixes feature 3, but not feature 1"
        with pytest.raises(ValueError, match=message):
            model.score_samples(row)
        with pytest.raises(ValueError, match=message):
            model.impute(row)

    @pytest.mark.parametrize("kind", [MADE, PixelCNN])
    def test_are_given_where_known_features_come_first(self, kind):
        X = chained_rows(2, 4)
        model = kind(n_importance_samples=None, max_iter=1, device="cpu", random_state=0).fit(X)
        known = np.append(X[0, :2], [np.nan, np.nan])
        rows = every_row(2, 4)
        truth = np.where(
            (rows[:, :2] == known[:2]).all(axis=1),
            np.exp(model.score_samples(rows).astype(float)),
            0.0,
        )
        assert_follow(model.sample(3000, given=known, random_state=0), rows, truth)
        assert model.score_samples(known[None])[0] == pytest.approx(np.log(truth.sum()), abs=1e-5)
        np.testing.assert_allclose(
            model.impute(known[None])[0], truth @ rows / truth.sum(), atol=0.05
        )

    def test_two_sets_have_no_order_that_is_exact(self):
        model = MADE((16,), likelihood="categorical", **AGNOSTIC).fit(chained_rows(3, 4))
        with pytest.raises(
            ValueError, match=r"given must fix .* row 0 fixes feature 3, but not feature 1, which"
        ):
            model.sample(2, given={1: {0, 2}, 3: {0, 1}})
        model.set_params(n_importance_samples=300)
        kept = np.isin(LEVELS[:, 1], [0, 2]) & np.isin(LEVELS[:, 3], [0, 1])
        truth = np.where(kept, np.exp(log_prob(model, LEVELS, [1, 3, 0, 2])), 0.0)
        assert_follow(
            model.sample(3000, given={1: {0, 2}, 3: {0, 1}}, random_state=0), LEVELS, truth
        )
