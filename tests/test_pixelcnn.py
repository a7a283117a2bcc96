"""PixelCNN: probabilities and draws by enumeration, draws with and without caches, and classes."""

import copy
import itertools
import re

import numpy as np
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import chisquare
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from probgen import ConditionalPixelCNN, PixelCNN, Trainer, get_likelihood, load, save
from probgen.estimators.autoregressive.feature_sampler import FeatureSampler
from probgen.estimators.autoregressive.networks.multiscale import MultiScaleNetwork
from probgen.estimators.autoregressive.sampler import ChainSampler
from probgen.options import AutoLikelihood, Categorical, DiscretizedLogistic

ARCHITECTURES = [
    {},
    {"shortcuts": True, "position_map": False},
    {"attention": True},
    {"gated": True},
    {"gated": True, "attention": True, "shortcuts": True, "n_downsamplings": 1, "n_layers": 3},
]
OF_LEVELS = ["categorical", DiscretizedLogistic(n_mixture=2)]
architectures = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=str)
SMALL = {
    "n_filters": 6,
    "n_layers": 2,
    "max_iter": 12,
    "learning_rate_init": 0.01,
    "device": "cpu",
    "random_state": 0,
}

SCALED = [{}, {"gated": True, "attention": True}, {"n_layers": 3, "n_downsamplings": 1}]

EVERY = np.array(list(itertools.product([0.0, 1.0], repeat=9)))  # 3 x 3 images of two levels


def chain(n_rows, d, n_levels, seed=0):
    """Rows in which a feature is often one above the last, and classes that shift the start."""
    rng = np.random.default_rng(seed)
    y = rng.integers(3, size=n_rows)
    X = np.empty((n_rows, d))
    X[:, 0] = (y + rng.integers(2, size=n_rows)) % n_levels
    for j in range(1, d):
        X[:, j] = np.where(
            rng.random(n_rows) < 0.7,
            (X[:, j - 1] + 1) % n_levels,
            rng.integers(n_levels, size=n_rows),
        )
    return X, np.array(["ash", "birch", "cedar"])[y]


BITS, BIT_CLASSES = chain(400, 9, 2)


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=str)
def model(request):
    return PixelCNN(**SMALL | request.param).fit(BITS)


@pytest.fixture(scope="module", params=ARCHITECTURES, ids=str)
def conditional(request):
    return ConditionalPixelCNN(**SMALL | request.param).fit(BITS, BIT_CLASSES)


@pytest.fixture(scope="module", params=SCALED, ids=str)
def scaled(request):
    X, y = chain(300, 16, 2)
    return ConditionalPixelCNN(**SMALL | request.param, scales=(1, 2, 4)).fit(X, y)


def assert_follow(draws, every, probabilities):
    """Pearson's test of draws against the probabilities of all rows; rare ones are pooled."""
    places = {tuple(row): k for k, row in enumerate(every)}
    counts = np.bincount([places[tuple(row)] for row in draws], minlength=len(every))
    expected = len(draws) * probabilities / probabilities.sum()
    rare = expected < 5.0
    counts, expected = (np.append(part[~rare], part[rare].sum()) for part in (counts, expected))
    kept = expected > 0.0
    assert chisquare(counts[kept], expected[kept]).pvalue > 1e-3


def draw_both_ways(model, n_rows, *labels):
    """Rows drawn on caches, and by whole passes of the network, under the same noise."""
    with torch.inference_mode():
        uniforms = torch.as_tensor(np.random.default_rng(9).random((n_rows, model.n_features_in_)))
        features = FeatureSampler(model.observation_, uniforms)
        cached = model._sampler().draw(features, 0, labels)
        by_passes = ChainSampler.draw(model._sampler(), features, 0, labels)
    return cached, by_passes


class TestProbabilities:
    def test_of_all_binary_images_add_up_to_one(self, model):
        assert np.exp(model.score_samples(EVERY)).sum() == pytest.approx(1.0, abs=1e-12)

    def test_given_a_class_add_up_to_one(self, conditional):
        joint = np.exp(conditional._joint_log_likelihood(EVERY))
        np.testing.assert_allclose(joint.sum(axis=0), conditional.class_prior_, atol=1e-12)
        np.testing.assert_allclose(
            conditional.class_prior_, np.unique(BIT_CLASSES, return_counts=True)[1] / 400
        )

    @architectures
    @pytest.mark.parametrize("likelihood", OF_LEVELS, ids=str)
    def test_of_all_images_of_levels_add_up_to_one(self, likelihood, architecture):
        X, _ = chain(200, 4, 5)
        model = PixelCNN(**SMALL | architecture, likelihood=likelihood).fit(X)
        every = np.array(list(itertools.product(range(5), repeat=4)), dtype=float)
        assert model.n_levels_ == 5
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-12)

    @architectures
    @pytest.mark.parametrize("likelihood", OF_LEVELS, ids=str)
    def test_of_all_colour_images_add_up_to_one(self, likelihood, architecture):
        X, _ = chain(200, 6, 3)
        settings = {"likelihood": likelihood, "image_shape": (1, 2, 3)}
        model = PixelCNN(**SMALL | architecture | settings).fit(X)
        every = np.array(list(itertools.product(range(3), repeat=6)), dtype=float)
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-12)

    def test_of_pixels_add_up_to_that_of_the_row(self, model, conditional):
        pixels = model.conditional_log_prob(EVERY)
        np.testing.assert_allclose(pixels.sum(axis=1), model.score_samples(EVERY), atol=1e-12)
        # The probability of a first pixel is the sum over all rows that start with it.
        prefixes = EVERY.reshape(2, 256, 9)
        first = np.log([np.exp(model.score_samples(rows)).sum() for rows in prefixes])
        np.testing.assert_allclose(pixels[:, 0], np.repeat(first, 256), atol=1e-12)
        np.testing.assert_allclose(
            conditional.conditional_log_prob(EVERY).sum(axis=1),
            conditional.score_samples(EVERY),
            atol=1e-12,
        )
        given_birch = conditional.conditional_log_prob(EVERY, "birch").sum(axis=1) + np.log(
            conditional.class_prior_[1]
        )
        np.testing.assert_allclose(
            given_birch, conditional.score_samples(EVERY, "birch"), atol=1e-12
        )

    def test_a_missing_pixel_is_summed_over(self, model):
        row = np.array([[0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, np.nan]])
        truth = np.logaddexp.reduce(
            [model.score_samples(np.where(np.isnan(row), v, row))[0] for v in (0.0, 1.0)]
        )
        assert model.score_samples(row)[0] == pytest.approx(truth, abs=1e-9)

    def test_what_repeats_is_learned(self):
        rows = np.tile([[0.0, 1.0, 1.0, 0.0]], (64, 1)).astype(np.float32)
        rows[::2] = 1.0 - rows[::2]
        model = PixelCNN(
            8, 2, max_iter=150, learning_rate_init=0.01, device="cpu", random_state=0
        ).fit(rows)
        np.testing.assert_allclose(model.score_samples(rows), np.log(0.5), atol=0.02)

    def test_is_that_of_the_input_in_counts(self, model):
        likelihood = get_likelihood(model)
        assert (likelihood.kind, likelihood.measure) == ("exact", "counting")
        tags = PixelCNN().__sklearn_tags__().input_tags
        assert tags.categorical
        assert tags.positive_only


class TestDraws:
    def test_follow_the_probabilities(self, model):
        assert_follow(model.sample(4000, random_state=1), EVERY, np.exp(model.score_samples(EVERY)))

    def test_of_a_class_follow_its_probabilities(self, conditional):
        draws, y = conditional.sample(4000, y="cedar", return_y=True, random_state=1)
        assert (y == "cedar").all()
        assert_follow(draws, EVERY, np.exp(conditional.score_samples(EVERY, "cedar")))

    def test_of_all_classes_follow_the_joint_probabilities(self, conditional):
        draws, y = conditional.sample(4000, return_y=True, random_state=2)
        codes = np.searchsorted(conditional.classes_, y)
        every = np.column_stack([np.repeat(np.arange(3), 512), np.tile(EVERY, (3, 1))])
        joint = np.exp(conditional._joint_log_likelihood(EVERY)).T.ravel()
        assert_follow(np.column_stack([codes, draws]), every, joint)

    def test_on_caches_are_those_of_whole_passes(self, model, conditional):
        cached, by_passes = draw_both_ways(model, 500)
        assert torch.equal(cached, by_passes)
        labels = torch.eye(3, dtype=torch.float64)[torch.arange(500) % 3]
        cached, by_passes = draw_both_ways(conditional, 500, labels)
        assert torch.equal(cached, by_passes)

    @architectures
    @pytest.mark.parametrize("likelihood", OF_LEVELS, ids=str)
    def test_of_colours_on_caches_are_those_of_whole_passes(self, likelihood, architecture):
        X, _ = chain(200, 36, 7)
        settings = {
            "likelihood": likelihood,
            "image_shape": (3, 4, 3),
            "max_iter": 2,
        }
        model = PixelCNN(**SMALL | architecture | settings).fit(X.astype(np.float32))
        cached, by_passes = draw_both_ways(model, 40)
        assert torch.equal(cached, by_passes)
        assert len(np.unique(cached)) == 7

    def test_in_several_blocks_are_those_in_one(self, model, monkeypatch):
        whole = model.sample(20, random_state=3)
        monkeypatch.setattr("probgen.estimators.autoregressive.pixelcnn.DRAWN_ROWS", {"cpu": 7})
        np.testing.assert_array_equal(model.sample(20, random_state=3), whole)

    def test_show_a_progress_bar(self, model, capsys):
        copy.copy(model).set_params(verbose=1).sample(2)
        assert "PixelCNN draws: 100%" in capsys.readouterr().err

    def test_given_a_prefix_follow_the_enumerated_conditionals(self, model):
        known = np.array([1.0, 0.0, 0.0, 1.0])
        draws = model.sample(3000, given=np.append(known, np.full(5, np.nan)), random_state=4)
        np.testing.assert_array_equal(draws[:, :4], np.tile(known, (3000, 1)))
        possible = EVERY[(EVERY[:, :4] == known).all(axis=1)]
        assert_follow(draws, possible, np.exp(model.score_samples(possible)))

    def test_given_later_pixels_follow_the_enumerated_conditionals(self, model):
        model = copy.copy(model).set_params(n_importance_samples=50)
        draws = model.sample(300, given={8: 1.0, 4: 0.0}, random_state=5)
        possible = EVERY[(EVERY[:, 8] == 1.0) & (EVERY[:, 4] == 0.0)]
        assert_follow(draws, possible, np.exp(model.score_samples(possible)))

    def test_of_classes_given_a_prefix_follow_bayes_rule(self, conditional):
        given = np.append([1.0, 0.0, 1.0], np.full(6, np.nan))
        draws, y = conditional.sample(2000, given=given, return_y=True, random_state=6)
        possible = EVERY[(EVERY[:, :3] == given[:3]).all(axis=1)]
        joint = np.exp(conditional._joint_log_likelihood(possible))
        codes = np.searchsorted(conditional.classes_, y)
        every = np.column_stack([np.repeat(np.arange(3), len(possible)), np.tile(possible, (3, 1))])
        assert_follow(np.column_stack([codes, draws]), every, joint.T.ravel())

    def test_a_set_of_levels_is_kept(self):
        X, _ = chain(200, 4, 5)
        model = PixelCNN(**SMALL).fit(X)
        draws = model.sample(1000, given={0: {1, 3}, 1: (2, None)}, random_state=7)
        every = np.array(
            list(itertools.product([1, 3], [2, 3, 4], range(5), range(5))), dtype=float
        )
        assert_follow(draws, every, np.exp(model.score_samples(every)))


class TestScales:
    """Networks of several scales."""

    @pytest.mark.parametrize("architecture", SCALED, ids=str)
    def test_probabilities_of_all_images_add_up_to_one(self, architecture):
        X, _ = chain(200, 12, 2)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
        model = PixelCNN(**SMALL | architecture, image_shape=(2, 6), scales=(1, 2)).fit(X)
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-12)
        X, _ = chain(200, 6, 3)
        every = np.array(list(itertools.product(range(3), repeat=6)), dtype=float)
        model = PixelCNN(**SMALL, image_shape=(2, 1, 3), scales=(2,)).fit(X)
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-12)

    @pytest.mark.parametrize("n_colors", [1, 3])
    def test_outputs_depend_on_all_features_before_in_their_order_and_on_no_others(self, n_colors):
        d = 16 * n_colors
        settings = {"n_filters": 24 * n_colors, "n_layers": 2, "gated": True}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = MultiScaleNetwork((4, 4, n_colors), 1, (1, 2, 4), **settings).double()
            X = torch.rand(4, d, dtype=torch.float64)
        total = torch.zeros(d, d, dtype=torch.float64)
        for x in X:
            total += torch.autograd.functional.jacobian(lambda x: network(x[None])[0], x).abs()
        seen = total > 0.0
        order = network.order
        np.testing.assert_array_equal(seen[order][:, order].numpy(), np.tri(d, k=-1, dtype=bool))

    def test_draws_on_caches_are_those_of_whole_passes(self, scaled):
        labels = torch.eye(3, dtype=torch.float64)[torch.arange(200) % 3]
        cached, by_passes = draw_both_ways(scaled, 200, labels)
        assert torch.equal(cached, by_passes)

    def test_draws_of_colours_on_caches_are_those_of_whole_passes(self):
        X, _ = chain(60, 48, 5)
        model = PixelCNN(**SMALL | {"max_iter": 1}, image_shape=(4, 4, 3), scales=(2, 4)).fit(X)
        cached, by_passes = draw_both_ways(model, 30)
        assert torch.equal(cached, by_passes)

    def test_small_images_are_given_without_proposals(self, scaled, monkeypatch):
        monkeypatch.setattr(scaled, "n_importance_samples", 2)  # proposals would give a warning
        known = np.full((4, 4), np.nan)
        known[::2, ::2] = [[0.0, 1.0], [1.0, 1.0]]
        draws = scaled.sample(5, y="ash", given=known.ravel(), random_state=0).reshape(5, 4, 4)
        np.testing.assert_array_equal(draws[:, ::2, ::2], np.tile(known[::2, ::2], (5, 1, 1)))

    @pytest.mark.parametrize("scales", [(3, 4), (2,), (4, 2), (), (2, 4, 8), (1, 3), (4, 4)])
    def test_that_do_not_fit(self, scales):
        X, _ = chain(20, 16, 2)
        with pytest.raises(
            ValueError, match="scales must rise to the height of the image, 4, each a divisor"
        ):
            PixelCNN(**SMALL, scales=scales).fit(X)


class TestDownsampling:
    """Residual blocks; the architectures above have gated ones."""

    @pytest.mark.parametrize("image_shape", [(3, 4), (1, 12), (12, 1), (2, 2, 3)], ids=str)
    def test_probabilities_of_all_images_add_up_to_one_and_draws_are_those_of_whole_passes(
        self, image_shape
    ):
        X, _ = chain(200, 12, 2)
        settings = SMALL | {"n_layers": 5, "n_downsamplings": 2, "shortcuts": True, "max_iter": 3}
        model = PixelCNN(**settings, image_shape=image_shape).fit(X)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=12)))
        assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-12)
        cached, by_passes = draw_both_ways(model, 300)
        assert torch.equal(cached, by_passes)


class TestClasses:
    def test_follow_bayes_rule(self, conditional):
        joint = np.stack(
            [conditional.score_samples(EVERY, label) for label in conditional.classes_], axis=1
        )
        posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        np.testing.assert_allclose(conditional.predict_proba(EVERY), posterior, atol=1e-12)
        np.testing.assert_array_equal(
            conditional.predict(EVERY), conditional.classes_[posterior.argmax(axis=1)]
        )
        np.testing.assert_allclose(
            conditional.score_samples(EVERY), np.logaddexp.reduce(joint, axis=1), atol=1e-12
        )

    def test_given_with_rows_cost_one_pass_and_are_those_of_the_sum(self, conditional, monkeypatch):
        indices = np.arange(512) % 3
        truth = conditional._joint_log_likelihood(EVERY)[np.arange(512), indices]
        monkeypatch.setattr(conditional, "class_prior_", conditional.class_prior_ * [1.0, 1.0, 0.0])
        monkeypatch.setattr(conditional, "_joint_log_likelihood", None)
        actual = conditional.score_samples(EVERY, conditional.classes_[indices])
        np.testing.assert_allclose(actual[indices < 2], truth[indices < 2], atol=1e-12)
        assert np.isneginf(actual[indices == 2]).all()

    def test_standard_errors_of_rows_with_gaps(self, conditional):
        row = EVERY[137].astype(np.float64)
        gaps = [0, 4]
        row[gaps] = np.nan
        row = row[np.newaxis]
        agree = (np.delete(EVERY, gaps, axis=1) == np.delete(EVERY[137], gaps)).all(axis=1)
        joint = logsumexp(conditional._joint_log_likelihood(EVERY[agree]), axis=0)
        for y, truth in (("birch", joint[1]), (None, logsumexp(joint))):
            values, errors = conditional.score_samples(row, y, return_std=True)
            assert 0.0 < errors[0] < 0.5
            assert abs(values[0] - truth) < 4.0 * errors[0]
            np.testing.assert_array_equal(values, conditional.score_samples(row, y))
        _, errors = conditional.score_samples(EVERY[:3], return_std=True)
        np.testing.assert_array_equal(errors, 0.0)

    def test_given_priors(self):
        model = ConditionalPixelCNN(**SMALL, priors=[0.5, 0.25, 0.25]).fit(BITS, BIT_CLASSES)
        np.testing.assert_array_equal(model.class_prior_, [0.5, 0.25, 0.25])

    def test_are_predicted(self):
        X, y = load_digits(return_X_y=True)
        X = (X > 7).astype(np.float32)
        model = ConditionalPixelCNN(16, 2, max_iter=8, device="cpu", random_state=0).fit(
            X[:1200], y[:1200]
        )
        assert np.mean(model.predict(X[1200:]) == y[1200:]) > 0.85

    def test_of_several_partial_fits_are_counted(self):
        model = ConditionalPixelCNN(**SMALL)
        for part in (slice(0, 200), slice(200, 400)):
            model.partial_fit(BITS[part], BIT_CLASSES[part], classes=["ash", "birch", "cedar"])
        np.testing.assert_array_equal(
            model.class_count_, np.unique(BIT_CLASSES, return_counts=True)[1]
        )
        assert len(model.history_) == 2


class TestQueries:
    @pytest.mark.parametrize(
        "estimator", [PixelCNN(**SMALL), ConditionalPixelCNN(**SMALL)], ids=["plain", "classes"]
    )
    def test_representations(self, estimator):
        model = clone(estimator).fit(BITS, BIT_CLASSES)
        features = model.transform(BITS)
        assert features.shape == (400, 12)
        assert features.std(axis=0).max() > 0.0
        assert model.get_feature_names_out()[1] == f"{type(model).__name__.lower()}1"
        model.set_params(representation="log_prob")
        np.testing.assert_allclose(model.transform(BITS), model.conditional_log_prob(BITS))
        assert model.get_feature_names_out().tolist() == [f"log_prob_x{j}" for j in range(9)]

    def test_imputation_fills_what_is_missing_by_its_conditional_mean(self, model):
        row = np.append([1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 1.0], np.nan)[np.newaxis]
        both = np.vstack([np.where(np.isnan(row), value, row) for value in (0.0, 1.0)])
        share = np.exp(model.score_samples(both))
        # One uniform number for each of 100 proposals, evenly spread.
        assert model.impute(row)[0, 8] == pytest.approx(share[1] / share.sum(), abs=0.02)

    def test_imputation_of_unknown_classes(self, conditional):
        rows = BITS[:3].copy()
        rows[:, 2:5] = np.nan
        filled = conditional.impute(rows)
        np.testing.assert_array_equal(filled[:, 5:], rows[:, 5:])
        assert ((filled >= 0.0) & (filled <= 1.0)).all()
        drawn = conditional.impute(rows, method="draw", random_state=0)
        assert np.isin(drawn, [0.0, 1.0]).all()

    @architectures
    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    @pytest.mark.parametrize("image_shape", [(1, 13), (3, 5, 3)], ids=str)
    def test_batches_and_order_do_not_matter(self, image_shape, dtype, architecture):
        X, _ = chain(300, int(np.prod(image_shape)), 4)
        X = X.astype(dtype)
        settings = {"max_iter": 1, "image_shape": image_shape}
        model = PixelCNN(**SMALL | architecture | settings).fit(X[:60])
        shuffled = np.random.default_rng(2).permutation(300)
        for query in (model.score_samples, model.transform, model.conditional_log_prob):
            whole = query(X)
            np.testing.assert_array_equal(query(X[shuffled]), whole[shuffled])
            np.testing.assert_array_equal(np.concatenate([query(X[:1]), query(X[1:])]), whole)

    def test_it_is_saved_and_loaded(self, conditional, tmp_path):
        save(conditional, tmp_path / "model.probgen")
        twin = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(twin.score_samples(EVERY), conditional.score_samples(EVERY))
        np.testing.assert_array_equal(
            twin.sample(5, random_state=0), conditional.sample(5, random_state=0)
        )

    def test_settings_are_reached_from_the_string(self):
        model = clone(PixelCNN()).set_params(likelihood__n_levels=17, likelihood__n_mixture=3)
        assert model.get_params()["likelihood__n_levels"] == 17
        model.set_params(likelihood="categorical", likelihood__n_levels=5)
        assert isinstance(model.likelihood, Categorical)
        search = GridSearchCV(
            PixelCNN(**SMALL | {"max_iter": 1}, likelihood="discretized_logistic"),
            {"likelihood__n_mixture": [1, 2]},
            cv=2,
        )
        best = search.fit(chain(60, 4, 3)[0]).best_estimator_
        assert best.observation_.n_outputs_per_feature == 3 * best.likelihood.n_mixture

    def test_a_number_of_levels_is_kept(self):
        X, _ = chain(60, 4, 3)
        model = PixelCNN(**SMALL | {"max_iter": 1}).set_params(likelihood__n_levels=9).fit(X)
        assert (model.likelihood_, model.n_levels_) == ("categorical", 9)
        model.set_params(likelihood__n_levels=99).fit(X)
        assert (model.likelihood_, model.n_levels_) == ("discretized_logistic", 99)

    def test_likelihoods_are_chosen_by_levels(self):
        X, _ = chain(60, 4, 2)
        for factor, name in [(1, "bernoulli"), (63, "categorical"), (255, "discretized_logistic")]:
            model = PixelCNN(**SMALL | {"max_iter": 1}).fit(factor * X)
            assert (model.likelihood_, model.n_levels_) == (name, factor + 1)

    def test_probabilities_are_drawn_from_in_training(self):
        X = np.random.default_rng(0).random((50, 9)).astype(np.float32)
        model = PixelCNN(**SMALL, dynamic_binarization=True, trainer=Trainer(ema_decay=0.9)).fit(X)
        assert model.likelihood_ == "bernoulli"
        assert np.isfinite(model.score_samples((X > 0.5).astype(np.float32))).all()


class TestBadInput:
    @pytest.mark.parametrize(
        "parameters, rows, message",
        [
            (
                {},
                BITS - 1.0,
                "whole numbers from 0 to n_levels - 1 = 1; X holds -1 to 0; count them from 0",
            ),
            (
                {},
                BITS + 0.5,
                "X holds 0.5 to 1.5, not all of them whole; round them first, such as with np.rint",
            ),
            (
                {"likelihood": AutoLikelihood(n_levels=3)},
                3.0 * BITS,
                "needs whole numbers from 0 to n_levels - 1 = 2; X holds 0 to 3; ",
            ),
            (
                {"likelihood": AutoLikelihood(n_levels=65_537)},
                BITS,
                "n_levels must be at most 65,536; got 65,537; put the numbers into fewer bins",
            ),
            (
                {},
                70_000.0 * BITS,
                "n_levels must be at most 65,536; got 70,001; put the numbers into fewer bins",
            ),
            ({"image_shape": (2, 4)}, BITS, "image_shape=(2, 4) holds 8 numbers, but rows have 9"),
            (
                {"image_shape": (3, 3, 2)},
                BITS,
                "image_shape must be (height, width) or (height, width, channels)",
            ),
            (
                {"likelihood": "gaussian"},
                BITS,
                "likelihood must be one of 'auto', 'bernoulli', 'categorical'",
            ),
            ({"n_filters": 0}, BITS, "n_filters must be an integer >= 1; got 0"),
            ({"n_layers": 1.5}, BITS, "n_layers must be an integer >= 1; got 1.5"),
            ({"n_downsamplings": -1}, BITS, "n_downsamplings must be an integer >= 0; got -1"),
            (
                {"n_downsamplings": 1},
                BITS,
                "n_layers must be at least 2 * n_downsamplings + 1 = 3, a block for every",
            ),
        ],
        ids=str,
    )
    def test_in_fits(self, parameters, rows, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            PixelCNN(**SMALL | parameters).fit(rows)

    def test_in_queries(self):
        model = PixelCNN(**SMALL).fit(BITS)
        with pytest.raises(ValueError, match="needs values 0 and 1; X holds 0 to 2"):
            model.score_samples(2.0 * BITS)
        with pytest.raises(ValueError, match="given must hold 0 or 1 for feature 3"):
            model.sample(2, given={3: 2.0})

    def test_in_classes(self):
        with pytest.raises(
            ValueError, match=r"y must hold at least 2 classes; got 1 class, \[0.0\]; use PixelCNN"
        ):
            ConditionalPixelCNN(**SMALL).fit(BITS, np.zeros(400))
        with pytest.raises(ValueError, match="classes must be passed to the first partial_fit"):
            ConditionalPixelCNN(**SMALL).partial_fit(BITS, BIT_CLASSES)
