"""Class-conditional GANs against closed forms, Bayes' rule and classifiers."""

import re

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import log_softmax, logsumexp
from scipy.stats import multivariate_normal
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from probgen import (
    AuxiliaryClassifierGAN,
    ConditionalGAN,
    RowBlocks,
    Trainer,
    get_likelihood,
    load,
    save,
)
from probgen.estimators.adversarial.objective import generator_loss
from probgen.metrics import ais_log_likelihood
from probgen.options import R1, AnnealedImportanceSampling, AutoDensity, ParzenWindow

RNG = np.random.default_rng(0)
LABELS = np.array(["ash", "birch", "cedar"])
INDICES = RNG.choice(3, size=300, p=[0.5, 0.3, 0.2])
Y = LABELS[INDICES]
CENTERS = np.array([[-3.0, 0.0, 1.0], [3.0, 0.0, 0.0], [0.0, 4.0, -1.0]])
X = CENTERS[INDICES] + 0.5 * RNG.standard_normal((300, 3))
SHUFFLED = RNG.permutation(1797)
PIXELS, DIGITS = (part[SHUFFLED] for part in load_digits(return_X_y=True))
PIXELS = PIXELS.astype(np.float32)
QUICK = {
    "hidden_layer_sizes": (16,),
    "max_iter": 3,
    "density": AutoDensity(n_draws=300),
    "device": "cpu",
    "random_state": 0,
}
KINDS = [ConditionalGAN, AuxiliaryClassifierGAN]


def fit(kind=ConditionalGAN, rows=X, y=Y, **parameters):
    return kind(2, **QUICK | parameters).fit(rows, y)


@pytest.fixture(
    scope="module", params=[ParzenWindow(3 * 2**14), AnnealedImportanceSampling(16, 40)]
)
def linear_model(request):
    """A model with a linear generator, so that blurred draws of a class are Gaussian."""
    model = fit(hidden_layer_sizes=(), max_iter=40, density=request.param)
    assert model.density_ == request.param.name
    return model


def parts_of(model):
    """p(x given y) of such a model."""
    offsets = [model.inverse_transform(np.zeros((1, 2)), label)[0] for label in LABELS]
    slopes = model.inverse_transform(np.eye(2), LABELS[0]) - offsets[0]
    covariance = slopes.T @ slopes + np.diag(model.noise_variance_)
    return [multivariate_normal(offset, covariance) for offset in offsets]


def near_draws(model, n_rows):
    """Blurred draws, and their classes."""
    draws, y = model.sample(n_rows, return_y=True, random_state=4)
    return (
        draws
        + np.sqrt(model.noise_variance_) * np.random.default_rng(4).standard_normal(draws.shape),
        y,
    )


class TestDensity:
    def test_of_a_linear_model_is_that_of_gaussians(self, linear_model):
        rows, y = near_draws(linear_model, 20)
        truth = np.stack([part.logpdf(rows) for part in parts_of(linear_model)], axis=1)
        truth += np.log(linear_model.class_prior_)
        values, std = linear_model.score_samples(rows, y, return_std=True)
        error = values - truth[np.arange(20), np.searchsorted(LABELS, y)]
        assert np.abs(error).mean() < 2.0 * std.mean() + 0.02
        values, std = linear_model.score_samples(rows, return_std=True)
        assert np.abs(values - logsumexp(truth, axis=1)).mean() < 2.0 * std.mean() + 0.02
        np.testing.assert_allclose(
            linear_model.predict_proba(rows), np.exp(log_softmax(truth, axis=1)), atol=0.05
        )

    def test_classes_are_weighted_by_their_frequencies_or_by_priors(self):
        model = fit()
        np.testing.assert_allclose(model.class_prior_, np.bincount(INDICES) / 300.0)
        given = fit(priors=[0.2, 0.2, 0.6])
        given.noise_variance_, given._bandwidth = model.noise_variance_, model._bandwidth
        shift = given.score_samples(X, Y) - model.score_samples(X, Y)
        np.testing.assert_allclose(
            shift, np.log(given.class_prior_ / model.class_prior_)[INDICES], atol=1e-9
        )
        _, drawn = given.sample(5000, return_y=True, random_state=0)
        assert np.mean(drawn == "cedar") == pytest.approx(0.6, abs=0.03)

    def test_bounds_enclose_the_likelihood(self, linear_model):
        lower, upper = linear_model.likelihood_bounds(30, y="birch", random_state=3)
        entropy = parts_of(linear_model)[1].entropy()
        assert (upper - lower).mean() < 1.0
        assert lower.mean() - 0.5 < -entropy + 3.0 * np.sqrt(
            1.5 / 30.0
        )  # the deviation of log p is sqrt(d / 2)
        assert upper.mean() + 0.5 > -entropy - 3.0 * np.sqrt(1.5 / 30.0)
        assert linear_model.likelihood_bounds(4, random_state=0)[0].shape == (4,)

    def test_annealing_is_conditional_on_the_classes(self, linear_model):
        rows, y = near_draws(linear_model, 30)
        truth = np.stack([part.logpdf(rows) for part in parts_of(linear_model)], axis=1)
        truth = truth[np.arange(30), np.searchsorted(LABELS, y)]
        values, std = ais_log_likelihood(
            linear_model, rows, y, n_temperatures=100, return_std=True, random_state=0
        )
        assert np.mean(np.abs(values - truth) < 3.0 * std) >= 0.9
        assert std.max() < 0.5

    def test_its_likelihood_is_an_estimate(self):
        assert get_likelihood(ConditionalGAN()).kind == "estimate"
        assert fit().density_ == "parzen"


class TestDraws:
    @pytest.mark.parametrize("kind", KINDS)
    def test_lie_where_their_class_does(self, kind):
        model = fit(kind, hidden_layer_sizes=(32, 32), max_iter=60)
        for label, center in zip(LABELS, CENTERS):
            draws, y = model.sample(500, y=label, return_y=True, random_state=0)
            assert (y == label).all()
            assert np.mean(np.linalg.norm(draws - center, axis=1) < 2.5) > 0.9
        assert np.mean(model.predict(X) == Y) > 0.97

    def test_a_code_is_decoded_to_a_row_of_each_class(self):
        model = fit()
        codes = RNG.standard_normal((6, 2))
        each = [model.inverse_transform(codes, label) for label in LABELS]
        mixed = model.inverse_transform(codes, LABELS[[0, 1, 2, 2, 1, 0]])
        np.testing.assert_allclose(
            mixed, [each[k][j] for j, k in enumerate([0, 1, 2, 2, 1, 0])], rtol=1e-6
        )
        mean = np.tensordot(model.class_prior_, each, axes=1)
        np.testing.assert_allclose(model.inverse_transform(codes), mean, rtol=1e-6, atol=1e-9)
        codes = np.random.default_rng(5).standard_normal((7, 2))
        np.testing.assert_array_equal(
            model.sample(7, y="birch", random_state=5), model.inverse_transform(codes, "birch")
        )

    def test_frames_and_files_keep_the_classes(self, tmp_path):
        frame = pd.DataFrame(X, columns=list("abc"))
        model = fit(rows=frame, y=pd.Series(Y))
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(again.score_samples(frame, Y), model.score_samples(frame, Y))
        for one, other in zip(model.sample(9, return_y=True), again.sample(9, return_y=True)):
            np.testing.assert_array_equal(one, other)


class TestDiscriminator:
    def test_adds_a_projection_of_the_features_on_the_class(self):
        model = fit()
        features, network = model.transform(X), model.discriminator_
        weight, bias = (
            part.detach().numpy() for part in (network.by_class.weight, network.by_class.bias)
        )
        plain = features @ network.head.weight.detach().numpy()[0] + network.head.bias.item()
        truth = plain + np.sum(features * (weight.T[INDICES] + bias), axis=1)
        np.testing.assert_allclose(model.discriminate(X, Y), truth, rtol=1e-5, atol=1e-7)
        every = np.stack([model.discriminate(X, label) for label in LABELS])
        np.testing.assert_allclose(
            model.discriminate(X), model.class_prior_ @ every, rtol=1e-5, atol=1e-7
        )

    def test_rows_with_a_wrong_class_get_lower_scores(self):
        trainer = Trainer(ema_decay=None)
        model = fit(max_iter=60, penalty=R1(weight=0.01), trainer=trainer)
        wrong = LABELS[(INDICES + 1) % 3]
        assert np.mean(model.discriminate(X, Y) > model.discriminate(X, wrong)) > 0.8

    def test_joint_scores_are_those_of_one_more_class(self):
        model = fit(AuxiliaryClassifierGAN, heads="joint")
        features, network = torch.from_numpy(model.transform(X)), model.discriminator_
        with torch.no_grad():
            logits = torch.cat(
                [network.classes(features), -network.network.score(features)[:, None]], dim=1
            )
            real, target = torch.log_softmax(logits, dim=1), torch.from_numpy(INDICES)
            scores = network.score(features)
            classes = torch.nn.functional.cross_entropy(network.classes(features), target)
        np.testing.assert_allclose(torch.nn.functional.logsigmoid(-scores), real[:, -1], rtol=1e-6)
        np.testing.assert_allclose(
            generator_loss("non_saturating", scores) + classes,
            -real[torch.arange(300), target].mean(),
            rtol=1e-6,
        )
        np.testing.assert_allclose(model.discriminate(X), scores, rtol=1e-6)

    def test_the_classification_is_the_prediction(self):
        model = fit(AuxiliaryClassifierGAN)
        network = model.discriminator_
        with torch.no_grad():
            logits = network.classes(network.features(torch.from_numpy(model._scaled(X))))
        np.testing.assert_allclose(
            model.predict_log_proba(X), log_softmax(logits.numpy(), axis=1), rtol=1e-6
        )
        np.testing.assert_array_equal(model.predict(X), LABELS[logits.argmax(dim=1)])
        np.testing.assert_array_equal(model.discriminate(X, Y), model.discriminate(X))

    def test_the_classification_is_learned_from_the_data(self):
        model = fit(AuxiliaryClassifierGAN, max_iter=20)
        losses = model.history_["classification"]
        assert losses[-1] < 0.5 * losses[0]
        unweighted = fit(AuxiliaryClassifierGAN, max_iter=20, classification_weight=0.0)
        assert unweighted.history_["classification"][-1] > 0.5


class TestDigits:
    @pytest.mark.parametrize(
        "parameters", [{}, {"heads": "auxiliary"}, {"heads": "joint"}], ids=str
    )
    def test_draws_of_a_digit_are_recognised(self, parameters):
        kind = AuxiliaryClassifierGAN if parameters else ConditionalGAN
        settings = {
            "hidden_layer_sizes": (128, 128),
            "max_iter": 15,
            "density": AutoDensity(n_draws=500),
        }
        model = kind(8, **QUICK | settings | parameters).fit(PIXELS[:1400], DIGITS[:1400])
        classifier = LogisticRegression(max_iter=1000).fit(PIXELS / 16.0, DIGITS)
        y = np.repeat(np.arange(10), 50)
        draws = model.sample(500, y=y, random_state=0)
        assert np.mean(classifier.predict(draws / 16.0) == y) > 0.85
        assert np.mean(model.predict(PIXELS[1400:]) == DIGITS[1400:]) > 0.85

    def test_convolutions_are_conditional_too(self):
        settings = {"architecture": "conv", "hidden_layer_sizes": (8, 16), "max_iter": 1}
        model = ConditionalGAN(4, **QUICK | settings).fit(PIXELS[:300], DIGITS[:300])
        zero, one = (model.inverse_transform(np.zeros((1, 4), dtype=np.float32), y) for y in (0, 1))
        assert zero.shape == (1, 64)
        assert np.abs(zero - one).max() > 1e-3


class TestTraining:
    @pytest.mark.parametrize("kind", KINDS)
    def test_passes_resume_and_count_classes(self, kind):
        model = kind(2, **QUICK)
        known = INDICES < 2
        model.partial_fit(X[known], Y[known], classes=LABELS)
        assert model.class_prior_[2] == 0.0
        assert (model.score_samples(X[:3], "cedar") == -np.inf).all()
        assert np.isfinite(model.score_samples(X)).all()
        model.partial_fit(X[~known], Y[~known])
        np.testing.assert_array_equal(model.class_count_, np.bincount(INDICES))
        assert model.n_iter_ == 2

    @pytest.mark.parametrize("kind", KINDS)
    def test_early_stopping_encoders_and_penalties_take_classes(self, kind):
        trainer = Trainer(early_stopping=True, n_iter_no_change=2)
        settings = {
            "loss": "wasserstein",
            "penalty": "wgan_gp",
            "spectral_norm": True,
            "encoder": True,
        }
        model = fit(kind, **settings, trainer=trainer)
        assert len(model.history_["validation_score"]) == model.n_iter_
        assert model.transform(X).shape == (300, 2)

    def test_the_fit_is_that_of_the_classes_whatever_their_names(self):
        named, counted = fit(), fit(y=INDICES)
        np.testing.assert_array_equal(
            named.sample(20, random_state=0), counted.sample(20, random_state=0)
        )


class TestBadInput:
    @pytest.mark.parametrize(
        "kind, parameters, message",
        [
            (
                AuxiliaryClassifierGAN,
                {"heads": "both"},
                "heads must be one of 'auxiliary', 'joint'; got 'both'",
            ),
            (
                AuxiliaryClassifierGAN,
                {"classification_weight": -1.0},
                "classification_weight must be a finite number >= 0; got -1.0",
            ),
            (ConditionalGAN, {"priors": [0.5, 0.5]}, "priors must"),
            (ConditionalGAN, {"loss": "kl"}, "loss must be one of"),
        ],
        ids=str,
    )
    def test_parameters(self, kind, parameters, message):
        with pytest.raises(ValueError, match=re.escape(message)):
            fit(kind, **parameters)

    @pytest.mark.parametrize("kind", KINDS)
    def test_classes(self, kind):
        with pytest.raises(
            ValueError, match=f"{kind.__name__} requires y to be passed, but the target y is None"
        ):
            kind(**QUICK).fit(X)
        with pytest.raises(
            ValueError, match=r"y must hold at least 2 classes; got 1 class, \['ash'\]; use GAN"
        ):
            fit(kind, y=np.full(300, "ash"))
        with pytest.raises(ValueError, match="classes must be passed to the first partial_fit"):
            kind(**QUICK).partial_fit(X, Y)
        with pytest.raises(ValueError, match="X must be an array, as y holds a class for each row"):
            fit(kind, rows=RowBlocks(lambda: [X]))
        model = fit(kind, warm_start=True)
        for query in (model.sample, model.likelihood_bounds):
            with pytest.raises(
                ValueError, match=r"y must hold the classes of the fit, .* got 'oak'"
            ):
                query(1, y="oak")
        for query in (model.score_samples, model.inverse_transform):
            rows = X if query == model.score_samples else X[:, :2]
            with pytest.raises(
                ValueError, match=r"y must hold the classes of the fit, .* got 'oak'"
            ):
                query(rows, "oak")
        with pytest.raises(ValueError, match=r"y must hold the classes of the fit, .* got 'oak'"):
            ais_log_likelihood(model, X, "oak")
        with pytest.raises(
            ValueError, match=f"the decoded rows of {kind.__name__} depend; got None"
        ):
            ais_log_likelihood(model, X)
        with pytest.raises(ValueError, match=r"y must hold the classes of the fit, .* got 'oak'"):
            model.fit(X, np.where(Y == "ash", "oak", Y))
