"""The conditional variational autoencoder against enumeration, closed forms and Bayes' rule."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from probgen import ConditionalVAE, RowBlocks, get_likelihood, load, save
from probgen.metrics import ais_log_likelihood
from probgen.options import Gaussian, MixturePrior, VampPrior

RNG = np.random.default_rng(0)
LABELS = np.array(["ash", "birch", "cedar"])
INDICES = RNG.choice(3, size=400, p=[0.5, 0.3, 0.2])
Y = LABELS[INDICES]
FACTORS = RNG.standard_normal((400, 2)) @ RNG.standard_normal((2, 5))
X = FACTORS + 2.0 * RNG.standard_normal((3, 5))[INDICES] + 0.5 * RNG.standard_normal((400, 5))
BITS = (FACTORS + 2.0 * np.eye(3, 5)[INDICES] > 0.5).astype(np.float64)
EVERY = np.array(list(itertools.product([0.0, 1.0], repeat=5)))  # rows of five bits
SHUFFLED = RNG.permutation(1797)
PIXELS, DIGITS = (part[SHUFFLED] for part in load_digits(return_X_y=True))
PIXELS = (PIXELS > 7.0).astype(np.float32)


def fit(rows=X, y=Y, kind=ConditionalVAE, **parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "max_iter": 5,
        "device": "cpu",
        "random_state": 0,
    }
    return kind(**settings | parameters).fit(rows, y)


@pytest.fixture(scope="module")
def linear_model():
    """A linear model, trained until its encoder matches its decoder."""
    settings = {"hidden_layer_sizes": (), "likelihood": "gaussian"}
    return fit(**settings, max_iter=200, learning_rate_init=0.01, n_importance_samples=512)


@pytest.fixture(scope="module")
def binary_model():
    return fit(BITS, max_iter=40, learning_rate_init=0.01, n_importance_samples=1024)


@pytest.fixture(scope="module")
def digits_model():
    settings = {
        "n_components": 6,
        "hidden_layer_sizes": (128,),
        "max_iter": 30,
        "learning_rate_init": 3e-3,
    }
    return fit(PIXELS[:1400], DIGITS[:1400], **settings, n_importance_samples=32)


def conditionals(model):
    """p(x given y) of a linear model, as Gaussians, and the decoder's weights."""
    offsets = [model.inverse_transform(np.zeros((1, 2)), label)[0] for label in LABELS]
    weights = (model.inverse_transform(np.eye(2), LABELS[0]) - offsets[0]).T
    with torch.no_grad():
        noise = model.observation_.distribution(torch.zeros(5, dtype=torch.float64)).stddev.numpy()
    covariance = weights @ weights.T + np.diag(noise**2)
    return [multivariate_normal(offset, covariance) for offset in offsets], weights


def joint(model, rows):
    """log p(x, y) of a linear model in closed form, for each class."""
    return np.stack([part.logpdf(rows) for part in conditionals(model)[0]], axis=1) + np.log(
        model.class_prior_
    )


class TestLikelihood:
    def test_of_a_linear_model_is_that_of_gaussians(self, linear_model):
        truth = joint(linear_model, X)
        values, errors = linear_model.score_samples(X, Y, return_std=True)
        np.testing.assert_allclose(values, truth[np.arange(400), INDICES], atol=0.05)
        assert errors.max() < 0.1
        values, errors = linear_model.score_samples(X, return_std=True)
        assert np.mean(np.abs(values - logsumexp(truth, axis=1)) < 3.0 * errors + 1e-3) > 0.95
        assert np.abs(values - logsumexp(truth, axis=1)).mean() < 0.02

    def test_joint_probabilities_of_bits_sum_to_one(self, binary_model):
        masses = np.exp([binary_model.score_samples(EVERY, label) for label in LABELS])
        np.testing.assert_allclose(masses.sum(axis=1), binary_model.class_prior_, atol=5e-3)
        np.testing.assert_allclose(
            masses.sum(axis=0), np.exp(binary_model.score_samples(EVERY)), rtol=1e-6
        )
        draws, y = binary_model.sample(20_000, return_y=True, random_state=1)
        shares = [
            [((draws == row).all(axis=1) & (y == label)).mean() for row in EVERY]
            for label in LABELS
        ]
        np.testing.assert_allclose(shares, masses, atol=0.01)
        likelihood = get_likelihood(binary_model)
        assert (likelihood.kind, likelihood.measure) == ("lower_bound", "counting")

    @pytest.mark.parametrize(
        "settings",
        [{"prior": VampPrior(4)}, {"prior": MixturePrior(4)}, {"posterior": "iaf"}],
        ids=str,
    )
    def test_holds_under_other_priors_and_posteriors(self, settings):
        model = fit(BITS, **settings, max_iter=15, learning_rate_init=0.01)
        model.set_params(n_importance_samples=1024)
        assert np.exp(model.score_samples(EVERY)).sum() == pytest.approx(1.0, abs=0.03)

    def test_missing_bits_are_summed_out(self, binary_model):
        holes = np.array([[1.0, np.nan, 0.0, np.nan, 1.0]])
        agree = EVERY[(EVERY[:, [0, 2, 4]] == [1.0, 0.0, 1.0]).all(axis=1)]
        for label in LABELS:
            truth = logsumexp(binary_model.score_samples(agree, label))
            assert binary_model.score_samples(holes, label)[0] == pytest.approx(truth, abs=0.02)

    def test_bounds_are_below_the_importance_weighted_ones(self, binary_model):
        bounds = binary_model.elbo_samples(EVERY)
        np.testing.assert_allclose(bounds.elbo, bounds.reconstruction - bounds.kl, rtol=1e-9)
        assert (bounds.elbo <= binary_model.score_samples(EVERY) + 1e-9).all()
        for label in LABELS:
            bounds = binary_model.elbo_samples(EVERY, label)
            assert (bounds.elbo <= binary_model.score_samples(EVERY, label) + 1e-9).all()

    def test_bound_of_a_row_averages_over_predicted_classes(self, binary_model):
        posterior = binary_model.predict_proba(EVERY)
        bounds = [binary_model.elbo_samples(EVERY, label) for label in LABELS]
        truth = sum(q * (bound.elbo - np.log(q)) for q, bound in zip(posterior.T, bounds))
        np.testing.assert_allclose(binary_model.elbo_samples(EVERY).elbo, truth, rtol=1e-6)
        truth = sum(q * bound.reconstruction for q, bound in zip(posterior.T, bounds))
        np.testing.assert_allclose(
            binary_model.elbo_samples(EVERY).reconstruction, truth, rtol=1e-6
        )

    def test_does_not_depend_on_the_batch(self, binary_model):
        rows, y = np.tile(EVERY, (10, 1)), np.resize(Y, 320)
        together = binary_model.score_samples(rows, y)
        np.testing.assert_array_equal(
            binary_model.score_samples(rows[::-1], y[::-1])[::-1], together
        )
        np.testing.assert_array_equal(
            binary_model.score_samples(rows[250:270], y[250:270]), together[250:270]
        )
        np.testing.assert_array_equal(
            binary_model.score_samples(rows[:32]), binary_model.score_samples(rows)[-32:]
        )

    def test_training_starts_from_the_bound(self):
        model = fit(BITS, max_iter=1, learning_rate_init=0.0, n_importance_samples=2**10)
        record = model.history_[0]
        bounds = model.elbo_samples(BITS, Y)
        assert -record["loss"] == pytest.approx(bounds.elbo.mean(), abs=0.1)


class TestClasses:
    def test_follow_bayes_rule(self, linear_model):
        truth = joint(linear_model, X)
        posterior = np.exp(truth - logsumexp(truth, axis=1, keepdims=True))
        np.testing.assert_allclose(linear_model.predict_proba(X), posterior, atol=0.01)
        np.testing.assert_array_equal(
            linear_model.predict(X), LABELS[np.argmax(linear_model.predict_proba(X), axis=1)]
        )

    def test_priors_are_shares_or_given(self):
        model = fit(BITS)
        np.testing.assert_array_equal(model.class_count_, np.bincount(INDICES))
        np.testing.assert_allclose(model.class_prior_, np.bincount(INDICES) / 400.0)
        given = fit(BITS, priors=[0.2, 0.2, 0.6])
        np.testing.assert_allclose(given.class_prior_, [0.2, 0.2, 0.6])
        shift = given.score_samples(BITS, Y) - model.score_samples(BITS, Y)
        np.testing.assert_allclose(
            shift, np.log(given.class_prior_ / model.class_prior_)[INDICES], atol=1e-9
        )

    def test_digits_are_recognised(self, digits_model):
        assert np.mean(digits_model.predict(PIXELS[1400:]) == DIGITS[1400:]) > 0.9

    def test_draws_of_a_digit_are_recognised(self, digits_model):
        judge = LogisticRegression(max_iter=1000).fit(PIXELS, DIGITS)
        y = np.repeat(np.arange(10), 50)
        draws, drawn = digits_model.sample(500, y=y, return_y=True, random_state=0)
        np.testing.assert_array_equal(drawn, y)
        assert np.mean(judge.predict(draws) == y) > 0.85
        assert (
            np.mean(judge.predict(digits_model.sample_mean(500, y=y, random_state=0) > 0.5) == y)
            > 0.9
        )

    def test_frames_and_files(self, tmp_path):
        model = fit(
            pd.DataFrame(BITS, columns=list("abcde")),
            pd.Series(Y),
            prior=VampPrior(4),
        )
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        frame = pd.DataFrame(BITS, columns=list("abcde"))
        np.testing.assert_array_equal(again.score_samples(frame, Y), model.score_samples(frame, Y))
        np.testing.assert_array_equal(again.predict(frame), model.predict(frame))
        draws, drawn_again = (each.sample(9, return_y=True) for each in (model, again))
        for expected, actual in zip(draws, drawn_again):
            np.testing.assert_array_equal(actual, expected)


class TestCodes:
    def test_of_a_linear_model_are_the_posterior_means(self, linear_model):
        parts, weights = conditionals(linear_model)
        gain = np.linalg.solve(parts[0].cov, weights)
        means = np.stack([part.mean for part in parts])[INDICES]
        codes, std = linear_model.transform(X, Y, return_std=True)
        assert np.abs(codes - (X - means) @ gain).mean() < 0.1
        assert std.shape == codes.shape == (400, 2)
        np.testing.assert_array_equal(codes, linear_model.transform(X, Y))

    def test_without_classes_are_those_of_the_mixture(self, linear_model):
        weights = linear_model.predict_proba(X).T[:, :, np.newaxis]
        each = [linear_model.transform(X, label, return_std=True) for label in LABELS]
        mean = sum(w * m for w, (m, _) in zip(weights, each))
        square = sum(w * (s**2 + m**2) for w, (m, s) in zip(weights, each))
        codes, std = linear_model.transform(X, return_std=True)
        np.testing.assert_allclose(codes, mean, atol=1e-9)
        np.testing.assert_allclose(std**2, square - mean**2, atol=1e-9)
        np.testing.assert_allclose(linear_model.transform(X), mean, atol=1e-9)

    def test_decode_to_means_of_a_class_or_of_all(self, linear_model):
        codes = RNG.standard_normal((6, 2))
        each = [linear_model.inverse_transform(codes, label) for label in LABELS]
        mean = np.tensordot(linear_model.class_prior_, each, axes=1)
        np.testing.assert_allclose(linear_model.inverse_transform(codes), mean, atol=1e-9)
        mixed = linear_model.inverse_transform(codes, LABELS[[0, 1, 2, 2, 1, 0]])
        np.testing.assert_allclose(
            mixed, [each[k][j] for j, k in enumerate([0, 1, 2, 2, 1, 0])], atol=1e-9
        )

    def test_means_share_the_codes_of_draws(self):
        model = fit(likelihood=Gaussian(scale=0.25))
        means, draws = (draw(6000, random_state=3) for draw in (model.sample_mean, model.sample))
        np.testing.assert_allclose((draws - means).std(axis=0), 0.25, rtol=0.05)

    def test_reconstructions_fill_in_missing_values(self, linear_model):
        holes = X.copy()
        holes[:, 1] = np.nan
        for filled in (linear_model.reconstruct(holes, Y), linear_model.reconstruct(holes)):
            assert np.mean((filled[:, 1] - X[:, 1]) ** 2) < 0.5 * X[:, 1].var()


class TestConditions:
    """Draws given some features, against Gaussians conditioned in closed form."""

    KNOWN, FREE = [0, 3], [1, 2, 4]

    def conditionals_given(self, model, values):
        """Of each class log p(values, y), and mean and covariance of the other features."""
        parts, _ = conditionals(model)
        cut = np.ix_(self.KNOWN, self.KNOWN)
        slopes = np.linalg.solve(parts[0].cov[cut], parts[0].cov[np.ix_(self.KNOWN, self.FREE)]).T
        left = (
            parts[0].cov[np.ix_(self.FREE, self.FREE)]
            - slopes @ parts[0].cov[np.ix_(self.KNOWN, self.FREE)]
        )
        log_joint = [
            multivariate_normal(part.mean[self.KNOWN], part.cov[cut]).logpdf(values) + np.log(prior)
            for part, prior in zip(parts, model.class_prior_)
        ]
        means = [part.mean[self.FREE] + slopes @ (values - part.mean[self.KNOWN]) for part in parts]
        return np.array(log_joint), means, left

    def test_draws_of_a_class(self, linear_model):
        values = X[5, self.KNOWN]
        _, means, left = self.conditionals_given(linear_model, values)
        draws = linear_model.sample(
            1500, y="birch", given=dict(zip(self.KNOWN, values)), random_state=0
        )
        np.testing.assert_array_equal(draws[:, self.KNOWN], np.tile(values, (1500, 1)))
        errors = np.sqrt(np.diag(left) / 1500)
        assert (np.abs(draws[:, self.FREE].mean(axis=0) - means[1]) < 5.0 * errors).all()
        np.testing.assert_allclose(np.cov(draws[:, self.FREE], rowvar=False), left, atol=0.25)

    def test_classes_follow_bayes_rule(self, linear_model):
        values = X[:, self.KNOWN].mean(axis=0)
        log_joint, _, _ = self.conditionals_given(linear_model, values)
        given = dict(zip(self.KNOWN, values))
        _, y = linear_model.sample(1500, given=given, return_y=True, random_state=0)
        shares = [np.mean(y == label) for label in LABELS]
        np.testing.assert_allclose(shares, np.exp(log_joint - logsumexp(log_joint)), atol=0.06)

    @pytest.mark.parametrize("method", ["mean", "draw"])
    def test_imputation_averages_over_the_classes(self, linear_model, method):
        row = np.full((1, 5), np.nan)
        row[0, self.KNOWN] = X[:, self.KNOWN].mean(axis=0)
        log_joint, means, _ = self.conditionals_given(linear_model, row[0, self.KNOWN])
        truth = np.exp(log_joint - logsumexp(log_joint)) @ np.array(means)
        filled = linear_model.impute(
            np.repeat(row, 1 if method == "mean" else 800, axis=0), method=method
        )
        np.testing.assert_allclose(filled[:, self.FREE].mean(axis=0), truth, atol=0.25)

    def test_annealing_agrees_with_the_closed_form(self, linear_model):
        log_prior = np.log(linear_model.class_prior_)[INDICES[:10]]
        truth = joint(linear_model, X[:10])[np.arange(10), INDICES[:10]] - log_prior
        values, std = ais_log_likelihood(
            linear_model, X[:10], Y[:10], n_temperatures=300, random_state=0, return_std=True
        )
        assert abs(np.mean(values - truth)) < 4.0 * np.sqrt(np.sum(std**2)) / 10.0
        with pytest.raises(
            ValueError, match=r"y must hold the classes of the rows, on which the codes .* depend"
        ):
            ais_log_likelihood(linear_model, X[:10])


class TestTraining:
    def test_convolutions_depend_on_the_class(self):
        settings = {
            "architecture": "conv",
            "hidden_layer_sizes": (8, 16),
            "max_iter": 10,
            "learning_rate_init": 3e-3,
        }
        model = fit(PIXELS[:1000], DIGITS[:1000], **settings, n_importance_samples=16)
        assert np.mean(model.predict(PIXELS[1000:1300]) == DIGITS[1000:1300]) > 0.7
        label = torch.eye(10)[:2]
        with torch.no_grad():
            answers = model.encoder_.network(torch.cat([torch.zeros(2, 64), label], dim=1))
        assert not torch.allclose(answers[0], answers[1])

    def test_networks_of_the_users_own_take_the_class_last(self):
        encoder, decoder = torch.nn.Linear(5 + 3, 4), torch.nn.Linear(2 + 3, 5)
        model = fit(BITS, encoder=encoder, decoder=decoder)
        assert model.transform(BITS, Y).shape == (400, 2)

    def test_partial_fits_resume_and_count_classes(self):
        model = ConditionalVAE(2, hidden_layer_sizes=(16,), device="cpu", random_state=0)
        known = INDICES < 2
        model.partial_fit(BITS[known], Y[known], classes=LABELS)
        assert model.class_prior_[2] == 0.0
        assert not (model.predict(BITS) == "cedar").any()
        np.testing.assert_array_equal(
            model.score_samples(BITS[:3], LABELS[:2].repeat(2)[:3]) < 0.0, True
        )
        model.partial_fit(BITS[~known], Y[~known])
        np.testing.assert_array_equal(model.class_count_, np.bincount(INDICES))
        assert model.n_iter_ == 2

    def test_missing_values_and_grey_ones_can_be_trained_on(self):
        grey = np.where(RNG.random(BITS.shape) < 0.1, np.nan, 0.1 + 0.8 * BITS)
        model = fit(grey, dynamic_binarization=True, max_iter=20)
        assert model.likelihood_ == "bernoulli"
        assert np.isfinite(model.score_samples(BITS)).all()


def partial_fit_twice(classes):
    model = ConditionalVAE(2, hidden_layer_sizes=(16,), device="cpu", random_state=0)
    model.partial_fit(BITS, Y, classes=LABELS).partial_fit(BITS, Y, classes=classes)


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda: fit(y=None),
            "ConditionalVAE requires y to be passed, but the target y is None; give the class",
        ),
        (
            lambda: fit(y=np.full(400, "ash")),
            r"y must hold at least 2 classes; got 1 class, \['ash'\]",
        ),
        (lambda: fit(priors=[0.5, 0.5]), "priors must be 3 numbers >= 0, one for each class"),
        (lambda: fit(y=RNG.random(400)), "Unknown label type: continuous"),
        (
            lambda: fit(RowBlocks([X])),
            "X must be an array, as y holds a class for each row; got RowBlocks",
        ),
        (
            lambda: fit(encoder=torch.nn.Linear(5, 4)),
            r"encoder must map rows of shape \(n, 8\) to \(n, 4\)",
        ),
        (
            lambda: ConditionalVAE().partial_fit(X, Y),
            "classes must be passed to the first partial_fit; list every",
        ),
        (
            lambda: partial_fit_twice(["ash", "oak"]),
            r"classes must be those of the first .*got \['ash', 'oak'\]",
        ),
        (
            lambda: fit(warm_start=True).fit(X, np.full(400, "oak")),
            r"y must hold the classes of the fit, \['ash', 'birch', 'cedar'\]; got 'oak'",
        ),
    ],
)
def test_bad_arguments_of_a_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize(
    "query, arguments, message",
    [
        ("sample", {"y": "oak"}, r"y must hold the classes of the fit, .*; got 'oak'"),
        (
            "score_samples",
            {"X": X, "y": "oak"},
            r"y must hold the classes of the fit, .*; got 'oak'",
        ),
        (
            "transform",
            {"X": X, "y": Y[:5]},
            r"y must be one class, or one for each of the 400 rows .*got shape \(5,\)",
        ),
        ("inverse_transform", {"Z": np.zeros((2, 3))}, r"Z must have shape \(n, 2\)"),
        ("sample_mean", {"n_samples": 0}, "n_samples must be an integer >= 1; got 0"),
    ],
)
def test_bad_arguments_of_queries(linear_model, query, arguments, message):
    with pytest.raises(ValueError, match=message):
        getattr(linear_model, query)(**arguments)
