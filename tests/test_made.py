"""Autoregression in tables against enumeration, quadrature, autograd and scikit-learn."""

import itertools

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from probgen import (
    MADE,
    ConditionalPixelCNN,
    FullyVisibleBeliefNetwork,
    PixelRNN,
    Trainer,
    get_likelihood,
)
from probgen.distributions.quantiles import quantile
from probgen.estimators.autoregressive.networks.masked import MaskedMLP
from probgen.options import (
    AutoLikelihood,
    Categorical,
    DiscretizedLogistic,
    Gaussian,
    GaussianMixtureLikelihood,
)

RNG = np.random.default_rng(0)
QUICK = {
    "max_iter": 8,
    "learning_rate_init": 0.05,
    "device": "cpu",
    "random_state": 0,
    "trainer": Trainer(),
}


def every_row(n_levels, d):
    return np.array(list(itertools.product(range(n_levels), repeat=d)), dtype=np.float32)


def chained_rows(n_levels, d, n_rows=300, seed=0):
    """Rows of whole numbers, each feature near the one before it."""
    rng = np.random.default_rng(seed)
    first = rng.integers(n_levels, size=(n_rows, 1))
    steps = rng.choice([0, 1], p=[0.7, 0.3], size=(n_rows, d - 1))
    return (np.cumsum(np.hstack([first, steps]), axis=1) % n_levels).astype(np.float32)


BITS, LEVELS = every_row(2, 9), every_row(3, 4)
MODELS = {
    "one order": (MADE((16,), dropout=0.0, **QUICK), BITS),
    "several orders": (MADE((16, 12), n_orderings=3, **QUICK), BITS),
    "no hidden layer": (FullyVisibleBeliefNetwork(**QUICK), BITS),
    "no hidden layer, several orders": (FullyVisibleBeliefNetwork(n_orderings=3, **QUICK), BITS),
    "categories": (MADE((16,), likelihood="categorical", **QUICK), LEVELS),
    "categories, several orders": (
        MADE((16,), likelihood="categorical", n_orderings=2, **QUICK),
        LEVELS,
    ),
    "levels": (MADE((16,), likelihood=DiscretizedLogistic(n_mixture=2), **QUICK), LEVELS),
}


@pytest.fixture(scope="module", params=list(MODELS))
def discrete(request):
    """A fitted model, all possible rows, and their probabilities."""
    model, rows = MODELS[request.param]
    model.fit(chained_rows(int(rows.max()) + 1, rows.shape[1]))
    return model, rows, np.exp(model.score_samples(rows).astype(np.float64))


def assert_follow(draws, rows, probabilities):
    """Pearson's test of draws against probabilities of all rows; rare ones are taken together."""
    codes = (rows.max() + 1) ** np.arange(rows.shape[1])[::-1]
    counts = np.bincount((draws @ codes).astype(int), minlength=len(rows))
    expected = len(draws) * probabilities / probabilities.sum()
    assert counts[probabilities == 0.0].sum() == 0
    often = expected >= 5.0
    counts = np.append(counts[often], counts[~often].sum())
    expected = np.append(expected[often], expected[~often].sum())
    assert chisquare(counts[expected > 0.0], expected[expected > 0.0]).pvalue > 1e-3


class TestProbabilities:
    def test_of_all_rows_sum_to_one(self, discrete):
        _, _, probabilities = discrete
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        assert probabilities.max() > 3.0 / len(probabilities)  # something was learned

    def test_of_bits_drawn_in_training_sum_to_one(self):
        grey = RNG.random((200, 6)).astype(np.float32)
        model = MADE((8,), dynamic_binarization=True, **QUICK).fit(grey)
        assert model.likelihood_ == "bernoulli"
        assert np.exp(model.score_samples(every_row(2, 6))).sum() == pytest.approx(1.0, abs=1e-5)

    def test_are_averaged_over_orders_and_not_conditionals(self):
        X = chained_rows(2, 6)
        model = MADE((16,), n_orderings=4, **QUICK).fit(X)
        assert model.orderings_.shape == (4, 6)
        np.testing.assert_array_equal(model.orderings_[0], np.arange(6))
        np.testing.assert_array_equal(
            np.sort(model.orderings_, axis=1), np.tile(np.arange(6), (4, 1))
        )
        rows = every_row(2, 6)
        with torch.no_grad():
            logits = [model.network_(torch.from_numpy(rows), order).numpy() for order in range(4)]
        each = []
        for logit in logits:
            each.append(-np.logaddexp(0.0, np.where(rows > 0.0, -logit, logit)).sum(axis=1))
        np.testing.assert_allclose(np.exp(each).sum(axis=1), 1.0, rtol=1e-5)
        np.testing.assert_allclose(
            model.score_samples(rows), logsumexp(each, axis=0) - np.log(4), rtol=1e-5
        )

    def test_of_features_add_up_to_those_of_rows(self):
        X = chained_rows(3, 5)
        model = MADE((16,), likelihood="categorical", **QUICK).fit(X)
        each = model.conditional_log_prob(X)
        assert each.shape == X.shape
        np.testing.assert_allclose(each.sum(axis=1), model.score_samples(X), rtol=1e-5)
        twin = model.set_params(representation="log_prob")
        np.testing.assert_array_equal(twin.transform(X), each)
        assert list(twin.get_feature_names_out()) == [f"log_prob_x{j}" for j in range(5)]

    def test_of_a_feature_do_not_depend_on_those_after_it(self):
        model = MADE((16,), likelihood="categorical", **QUICK).fit(chained_rows(3, 5))
        rows = every_row(3, 5)
        each = model.conditional_log_prob(rows).reshape(*[3] * 5, 5)
        for j in range(5):
            alike = each[..., j].reshape(*[3] * (j + 1), -1)
            np.testing.assert_allclose(
                alike, alike[..., :1].repeat(alike.shape[-1], axis=-1), rtol=1e-5
            )
            np.testing.assert_allclose(np.exp(alike[..., 0]).sum(axis=-1), 1.0, rtol=1e-5)

    @pytest.mark.parametrize("kind", [MADE, FullyVisibleBeliefNetwork])
    @pytest.mark.parametrize("n_orderings", [1, 2])
    def test_of_real_values_integrate_to_one(self, kind, n_orderings):
        first = RNG.standard_normal(400)
        X = np.column_stack([100.0 + first, 0.01 * (first**2 + 0.3 * RNG.standard_normal(400))])
        settings = QUICK | {"max_iter": 20, "learning_rate_init": 0.01}
        model = kind(
            n_orderings=n_orderings, likelihood=GaussianMixtureLikelihood(3), **settings
        ).fit(X)
        assert (model.likelihood_, get_likelihood(model).measure) == (
            "gaussian_mixture",
            "lebesgue",
        )
        axes = np.linspace(75.0, 125.0, 601), np.linspace(-0.4, 0.5, 601)
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
        density = np.exp(model.score_samples(grid)).reshape(601, 601)
        assert np.trapezoid(np.trapezoid(density, axes[1]), axes[0]) == pytest.approx(1.0, abs=1e-3)
        if n_orderings == 1:
            each = np.exp(model.conditional_log_prob(grid)).reshape(601, 601, 2)
            np.testing.assert_allclose(np.trapezoid(each[:, 0, 0], axes[0]), 1.0, atol=1e-3)
            fine = np.linspace(-0.4, 0.5, 20_001)
            for first in (98.0, 99.5, 101.0):
                rows = np.column_stack([np.full(len(fine), first), fine])
                second = np.exp(model.conditional_log_prob(rows))[:, 1]
                assert np.trapezoid(second, fine) == pytest.approx(1.0, abs=1e-3)


class TestNetwork:
    @pytest.mark.parametrize("hidden", [(), (7,), (20, 5), (3, 9, 9)])
    @pytest.mark.parametrize("n_outputs", [1, 3])
    @pytest.mark.parametrize(
        "scaling", [{}, {"center": torch.ones(6), "scale": torch.full((6,), 2.0)}]
    )
    def test_outputs_depend_on_features_before_alone(self, hidden, n_outputs, scaling):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            orders = torch.stack([torch.arange(6), torch.randperm(6), torch.randperm(6)])
            network = MaskedMLP(orders.argsort(dim=1), n_outputs, hidden, "tanh", **scaling)
            for weight in network.parameters():
                torch.nn.init.normal_(weight)
        rows = torch.from_numpy(RNG.standard_normal((1, 6)).astype(np.float32))
        for k, order in enumerate(orders):
            jacobian = torch.autograd.functional.jacobian(lambda x, k=k: network(x, k)[0], rows)
            jacobian = jacobian[:, 0]
            depends = jacobian.reshape(6, n_outputs, 6).abs().amax(1)[order][:, order] > 0.0
            np.testing.assert_array_equal(depends, np.tri(6, k=-1, dtype=bool))

    def test_categories_are_one_hot_encoded(self):
        network = MaskedMLP(torch.tensor([[1, 2, 0]]), 4, (30,), n_levels=4)
        for weight in network.parameters():
            torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(0))
        start = network(torch.zeros(1, 3)).reshape(3, 4)
        for j, moved in [(0, [False, True, False]), (1, [False] * 3), (2, [True, True, False])]:
            rows = torch.zeros(1, 3)
            rows[0, j] = 3.0
            assert ((network(rows).reshape(3, 4) - start).abs().sum(1) > 0.0).tolist() == moved

    def test_masks_may_be_folded_into_weights(self):
        orders = torch.stack([torch.arange(6), torch.arange(6).flip(0)])
        network = MaskedMLP(orders, 2, (8, 8))
        rows = torch.from_numpy(RNG.standard_normal((5, 6)).astype(np.float32))
        with torch.no_grad():
            for order in (0, 1):
                outputs = network(rows, order)
                np.testing.assert_array_equal(network.folded(order)(rows), outputs)
                np.testing.assert_array_equal(network(rows, torch.tensor([order])), outputs)

    def test_dropout_is_for_training_alone(self):
        network = MaskedMLP(torch.arange(6)[None], 1, (50,), dropout=0.5, input_dropout=0.5)
        torch.nn.init.ones_(network.short_cut.weight)
        rows, noise = torch.ones(200, 6), torch.Generator().manual_seed(0)
        whole = network(rows).detach()
        assert not torch.equal(network(rows, 0, noise), whole)
        assert torch.equal(network.eval()(rows, 0, noise), whole)

    def test_huge_inputs_have_finite_scores(self):
        X = RNG.standard_normal((200, 3))
        model = MADE((8,), **QUICK).fit(X)
        scores = model.score_samples(np.array([[1e30, 0.0, 0.0], [0.0, 0.0, 1e30]]))
        assert np.isfinite(scores).all()
        assert (scores < -1e10).all()


def drawn_in_turn(model, uniforms, order=0):
    """Rows (n, d) of bits or levels, drawn one feature after another by inversion."""
    X = torch.zeros(uniforms.shape, dtype=torch.float32)
    with torch.inference_mode():
        conditionals = model.network_.folded(order)
        for j in model.orderings_[order]:
            padded = torch.cat([X, X[:1].expand(-len(X) % 256, -1)]).split(256)
            outputs = torch.cat([conditionals(part) for part in padded])[: len(X)]
            if model.likelihood_ == "bernoulli":
                X[:, j] = (uniforms[:, j] >= torch.sigmoid(-outputs[:, j].double())).float()
            else:
                steps = outputs.unflatten(1, (X.shape[1], -1))[:, j].double().softmax(-1).cumsum(-1)
                X[:, j] = (uniforms[:, j, None] * steps[:, -1:] >= steps).sum(-1).float()
    return X.numpy()


class TestDraws:
    def test_follow_their_probabilities(self, discrete):
        model, rows, probabilities = discrete
        assert_follow(model.sample(20_000, random_state=1), rows, probabilities)

    @pytest.mark.parametrize("n_levels", [2, 4])
    def test_all_at_once_are_those_in_turn_in_fewer_passes(self, n_levels, monkeypatch):
        X = chained_rows(n_levels, 60)
        likelihood = "bernoulli" if n_levels == 2 else "categorical"
        model = MADE((64,), likelihood=likelihood, **QUICK).fit(X)
        uniforms = np.random.default_rng(3).random((256, 60))
        passes = []
        folded = model.network_.folded

        def counted(order):
            conditionals = folded(order)
            return lambda rows: passes.append(1) or conditionals(rows)

        monkeypatch.setattr(model.network_, "folded", counted)
        drawn = model.sample(256, random_state=3)
        assert len(passes) < 50
        np.testing.assert_array_equal(drawn, drawn_in_turn(model, torch.from_numpy(uniforms)))

    def test_of_real_values_all_at_once_are_those_in_turn(self):
        X = RNG.standard_normal((300, 6)).cumsum(axis=1)
        model = MADE((16,), likelihood=GaussianMixtureLikelihood(2), **QUICK).fit(X)
        at_once = model.sample(50, random_state=3)
        uniforms = torch.from_numpy(np.random.default_rng(3).random((50, 6)))
        in_turn = np.zeros((50, 6))
        for j in range(6):
            with torch.inference_mode():
                outputs = model.network_.folded()(torch.from_numpy(in_turn))
                values = quantile(model.observation_.distribution(outputs), uniforms)
                in_turn[:, j] = values[:, j]
        np.testing.assert_allclose(at_once, in_turn, rtol=1e-9)

    def test_known_values_first_are_exact(self):
        X = chained_rows(2, 6)
        model = MADE((16,), n_importance_samples=2, **QUICK).fit(X)
        rows = every_row(2, 6)
        probabilities = np.exp(model.score_samples(rows).astype(np.float64))
        kept = (rows[:, 0] == 1) & (rows[:, 1] == 0)
        draws = model.sample(20_000, given={0: 1, 1: 0}, random_state=2)
        assert_follow(draws, rows, np.where(kept, probabilities, 0.0))

    @pytest.mark.parametrize("n_orderings", [1, 3])
    @pytest.mark.parametrize("given", [{3: 1}, {1: 2, 2: 0}, {0: {0, 2}, 3: (0.5, None)}])
    def test_under_conditions_follow_their_probabilities(self, n_orderings, given):
        X = chained_rows(3, 4, n_rows=600)
        settings = {"n_orderings": n_orderings, "n_importance_samples": 200, **QUICK}
        model = MADE((16,), likelihood="categorical", **settings).fit(X)
        kept = np.ones(len(LEVELS), dtype=bool)
        for j, condition in given.items():
            if isinstance(condition, tuple):
                allowed = [1, 2]
            elif isinstance(condition, set):
                allowed = list(condition)
            else:
                allowed = [condition]
            kept &= np.isin(LEVELS[:, j], allowed)
        probabilities = np.where(kept, np.exp(model.score_samples(LEVELS).astype(np.float64)), 0.0)
        assert_follow(model.sample(2000, given=given, random_state=4), LEVELS, probabilities)

    def test_uneven_weights_give_a_warning(self):
        X = np.zeros((200, 12), dtype=np.float32)
        X[::40] = 1.0
        model = MADE((16,), **{**QUICK, "max_iter": 60}).fit(X)
        with pytest.warns(
            UserWarning,
            match="effective sample size of the proposed rows is below 10 for 1 of 1 rows",
        ):
            model.sample(given={11: 1}, random_state=0)


class TestMissing:
    def test_values_are_summed_out(self, discrete):
        model, rows, probabilities = discrete
        d = rows.shape[1]
        for gaps in ([0], [1, d - 1], list(range(d - 2)), list(range(d))):
            seen = [j for j in range(d) if j not in gaps]
            X = rows[:: len(rows) // 9].copy()
            truth = []
            for row in X:
                kept = (rows[:, seen] == row[seen]).all(axis=1)
                truth.append(np.log(probabilities[kept].sum()))
            X[:, gaps] = np.nan
            model.set_params(n_importance_samples=2048)
            np.testing.assert_allclose(model.score_samples(X), truth, atol=0.05)

    def test_estimates_know_their_errors(self, discrete):
        model, rows, probabilities = discrete
        d = rows.shape[1]
        model.set_params(n_importance_samples=200)
        for gaps in ([0], [1, d - 1]):
            seen = [j for j in range(d) if j not in gaps]
            X = rows.copy()
            X[:, gaps] = np.nan
            same = (rows[:, None, seen] == rows[None][..., seen]).all(axis=2)
            truth = np.log(same @ probabilities)
            values, errors = model.score_samples(X, return_std=True)
            np.testing.assert_array_equal(values, model.score_samples(X))
            # Single precision leaves an error where all proposals have the same weight.
            assert (np.abs(values - truth) < 4.0 * errors + 1e-4).mean() > 0.97
            # Where whole rows of the same model stand among them, these are exact.
            mixed = np.where(np.arange(len(X))[:, None] % 2, X, rows)
            assert (model.score_samples(mixed, return_std=True)[1][::2] == 0.0).all()

    def test_few_effective_proposals_are_told(self):
        X = np.zeros((200, 12), dtype=np.float32)
        X[::40] = 1.0
        model = MADE((16,), **{**QUICK, "max_iter": 60}).fit(X)
        rare = np.full((2, 12), np.nan, dtype=np.float32)
        rare[0, 11] = 1.0
        with pytest.warns(UserWarning, match="1 of 2 rows rest on fewer than 5 effective draws"):
            errors = model.score_samples(rare, return_std=True)[1]
        np.testing.assert_array_equal(errors, [np.inf, 0.0])

    def test_at_the_end_are_exact(self):
        model = MADE((16,), n_importance_samples=2, **QUICK).fit(chained_rows(2, 6))
        rows = every_row(2, 6)
        probabilities = np.exp(model.score_samples(rows).astype(np.float64))
        probabilities = probabilities.reshape(8, 8).sum(axis=1)
        X = np.where(np.arange(6) < 3, rows[::8], np.nan)
        values, errors = model.score_samples(X, return_std=True)
        np.testing.assert_allclose(values, np.log(probabilities), rtol=1e-5)
        np.testing.assert_array_equal(errors, 0.0)

    def test_are_filled_with_means_and_draws(self):
        model = MADE((16,), n_importance_samples=512, **QUICK).fit(chained_rows(2, 6))
        rows = every_row(2, 6)
        probabilities = np.exp(model.score_samples(rows).astype(np.float64))
        X = np.array(
            [[np.nan, 1.0, np.nan, 0.0, 0.0, 1.0], [0.0, 1.0, 1.0, 1.0, 0.0, 0.0]], dtype=np.float32
        )
        seen = ~np.isnan(X[0])
        kept = np.where((rows[:, seen] == X[0, seen]).all(axis=1), probabilities, 0.0)
        filled = model.impute(X)
        np.testing.assert_allclose(filled[0], kept @ rows / kept.sum(), atol=0.02)
        np.testing.assert_array_equal(filled[1], X[1])
        np.testing.assert_array_equal(model.impute(X), filled)
        drawn = model.impute(np.tile(X[:1], (1500, 1)), method="draw", random_state=0)
        assert_follow(drawn, rows, kept)

    def test_real_values_are_integrated_out(self):
        first = RNG.standard_normal(400)
        X = np.column_stack([first, first + 0.5 * RNG.standard_normal(400)])
        model = MADE(
            (16,), likelihood=GaussianMixtureLikelihood(2), n_importance_samples=2048, **QUICK
        ).fit(X)
        axis, values = np.linspace(-12.0, 12.0, 2401), np.array([-1.0, 0.2, 2.0])
        for gap in (0, 1):
            rows = np.full((3, 2), np.nan)
            rows[:, 1 - gap] = values
            grids = [np.insert(axis[:, None], 1 - gap, value, axis=1) for value in values]
            truth = [
                np.log(np.trapezoid(np.exp(model.score_samples(grid)), axis)) for grid in grids
            ]
            np.testing.assert_allclose(model.score_samples(rows), truth, atol=1e-6 if gap else 0.03)


def test_without_a_hidden_layer_it_is_logistic_regression():
    rng = np.random.default_rng(0)
    X = np.zeros((500, 4))
    for j, weights in enumerate([[], [1.5], [-1.0, 1.0], [0.5, 0.0, -2.0]]):
        X[:, j] = rng.random(500) < 1.0 / (1.0 + np.exp(-(X[:, :j] @ np.array(weights) - 0.3)))
    model = FullyVisibleBeliefNetwork(
        batch_size=500,
        max_iter=600,
        learning_rate_init=0.1,
        trainer=Trainer(schedule="cosine"),
        random_state=0,
    ).fit(X)
    rows = every_row(2, 4)
    actual = model.conditional_log_prob(rows)
    share = X[:, 0].mean()
    np.testing.assert_allclose(
        actual[:, 0], np.log(np.where(rows[:, 0] > 0.0, share, 1.0 - share)), atol=1e-3
    )
    for j in range(1, 4):
        peer = LogisticRegression(C=1e8, max_iter=10_000).fit(X[:, :j], X[:, j])
        truth = peer.predict_log_proba(rows[:, :j])
        np.testing.assert_allclose(
            actual[:, j], truth[np.arange(16), rows[:, j].astype(int)], atol=2e-3
        )


def test_features_are_the_last_hidden_layer():
    X = chained_rows(2, 6)
    model = MADE((16, 10), **QUICK).fit(X)
    features = model.transform(X)
    assert features.shape == (300, 10)
    assert (features >= 0.0).all()
    assert list(model.get_feature_names_out()) == [f"made{k}" for k in range(10)]
    assert FullyVisibleBeliefNetwork(**QUICK).fit(X).transform(X).shape == (300, 6)


@pytest.mark.parametrize("kind", [MADE, FullyVisibleBeliefNetwork, ConditionalPixelCNN, PixelRNN])
def test_settings_of_likelihoods_are_reached_from_their_strings(kind):
    for name, make_option in kind._options["likelihood"].items():
        for setting in make_option().get_params():
            model = clone(kind(likelihood=name)).set_params(**{f"likelihood__{setting}": 3})
            assert model.likelihood.name == name
            assert model.get_params()[f"likelihood__{setting}"] == 3


def test_training_continues_and_held_out_levels_count():
    X = chained_rows(3, 4)
    X[17, 2] = 7.0
    model = MADE((8,), likelihood="categorical", max_iter=3, device="cpu", random_state=0).fit(X)
    assert model.n_levels_ == 8
    before = model.score(X)
    for _ in range(5):
        model.partial_fit(X)
    assert model.score(X) > before
    with pytest.raises(
        ValueError,
        match="0 to n_levels - 1 = 7; X holds 0 to 9; set likelihood__n_levels=10",
    ):
        model.partial_fit(np.where(X == 7.0, 9.0, X))


GREY = np.array([[0.0, 0.25], [1.0, 0.5]])


@pytest.mark.parametrize(
    "parameters, rows, message",
    [
        (
            {"likelihood": "poisson"},
            BITS,
            "likelihood must be one of 'auto', 'bernoulli', .*; got 'poisson'",
        ),
        ({"likelihood": "gaussian"}, BITS, "likelihood must be one of .*; got 'gaussian'"),
        (
            {"likelihood": "bernoulli"},
            GREY,
            "needs values 0 and 1; X holds 0 to 1, not all of them whole; set dynamic_binarization",
        ),
        (
            {"likelihood": "bernoulli"},
            LEVELS,
            "needs values 0 and 1; X holds 0 to 2; take likelihood='categorical'",
        ),
        (
            {"likelihood": "categorical"},
            GREY,
            r"not all of them whole; round them first, such as with np\.rint",
        ),
        (
            {"likelihood": "categorical"},
            -LEVELS,
            "Negative values in data: .* X holds -2 to .*; count",
        ),
        (
            {"likelihood": Categorical(2)},
            LEVELS,
            "= 1; X holds 0 to 2; set likelihood__n_levels=3",
        ),
        (
            {"likelihood": Categorical(65_537)},
            LEVELS,
            "n_levels must be at most 65,536; got 65,537",
        ),
        (
            {"likelihood": "categorical"},
            70_000 * BITS,
            "n_levels must be at most 65,536; got 70,001; put the numbers",
        ),
        (
            {"likelihood": AutoLikelihood(n_levels=1)},
            LEVELS,
            "n_levels must be an integer >= 2; got 1. Or None",
        ),
        (
            {"likelihood": AutoLikelihood(n_mixture=0)},
            BITS,
            "n_mixture must be an integer >= 1; got 0",
        ),
        (
            {"likelihood": Gaussian()},
            BITS,
            r"likelihood must be one of 'auto', .*; got Gaussian\(\)\. Or give .*: AutoLikelihood",
        ),
        ({"n_orderings": 0}, BITS, "n_orderings must be an integer >= 1; got 0"),
        ({"n_importance_samples": 1}, BITS, "n_importance_samples must be an integer >= 2; got 1"),
        (
            {"representation": "code"},
            BITS,
            "representation must be one of 'features', 'log_prob'; got 'code'",
        ),
        (
            {"hidden_layer_sizes": "500"},
            BITS,
            "hidden_layer_sizes must be a sequence of integers; got '500'",
        ),
        ({"hidden_layer_sizes": (0,)}, BITS, "hidden_layer_sizes must be an integer >= 1; got 0"),
        ({"dropout": 1.0}, BITS, r"dropout must be below 1; got 1\.0"),
        (
            {"input_dropout": -0.1},
            BITS,
            r"input_dropout must be a finite number in \[0, 1\]; got -0\.1",
        ),
        (
            {"dynamic_binarization": True},
            LEVELS,
            r"needs probabilities, values in \[0, 1\]; X holds 0 to 2; scale",
        ),
        (
            {"likelihood": "categorical"},
            10_000.0 * LEVELS,
            "a weight for each pair of levels, 6.4e.09 for 4 features of 20001 levels, ",
        ),
        (
            {"dynamic_binarization": True, "likelihood": "categorical"},
            BITS,
            "dynamic_binarization=True draws rows of 0 and 1, .* or 'auto'; got 'categorical'",
        ),
        (
            {},
            np.where(LEVELS == 2, np.nan, LEVELS),
            "X contains NaN, which MADE cannot learn from, though",
        ),
    ],
    ids=lambda value: None if isinstance(value, np.ndarray) else str(value),
)
def test_bad_parameters_and_rows(parameters, rows, message):
    with pytest.raises(ValueError, match=message):
        MADE(**parameters).fit(rows)


@pytest.mark.parametrize(
    "query, rows, message",
    [
        ("score_samples", BITS + 0.5, "X holds 0.5 to 1.5, not all of them whole"),
        (
            "score_samples",
            2.0 * BITS,
            "needs values 0 and 1; X holds 0 to 2",
        ),
        ("transform", 2.0 * BITS, "needs values 0 and 1; X holds 0 to 2"),
        (
            "impute",
            2.0 * BITS,
            "likelihood='bernoulli' needs values 0 and 1; X holds 0 to 2 and NaN",
        ),
        (
            "transform",
            np.where(BITS > 0, np.nan, 0.0),
            "X contains NaN, which transform cannot take; impute it first",
        ),
        (
            "conditional_log_prob",
            np.where(BITS > 0, np.nan, 0.0),
            "X contains NaN, which conditional_log_prob cannot",
        ),
    ],
)
def test_bad_queries(query, rows, message):
    model = MADE((8,), **QUICK).fit(BITS)
    if query == "impute":
        rows = np.where(np.arange(9) == 0, np.nan, rows)
    with pytest.raises(ValueError, match=message):
        getattr(model, query)(rows)


@pytest.mark.parametrize(
    "given, message",
    [
        ({2: 0.5}, "given must hold 0 or 1 for feature 2"),
        ({2: {0, 3}}, "given must hold 0 or 1 for feature 2"),
    ],
)
def test_bad_conditions(given, message):
    model = MADE((8,), **QUICK).fit(BITS)
    with pytest.raises(ValueError, match=message):
        model.sample(given=given)
