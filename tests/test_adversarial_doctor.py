"""The doctor of GANs measures known quantities and names only symptoms that are present."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.stats import norm
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits

from probgen import (
    GAN,
    VAE,
    AuxiliaryClassifierGAN,
    ConditionalGAN,
    GaussianMixture,
    RowBlocks,
    Trainer,
)
from probgen.base import GeneratorMixin
from probgen.options import AutoDensity
from probgen.training import AdversarialDoctor
from probgen.training.callbacks import CallbackSupport, FitEvents
from probgen.training.history import History

RNG = np.random.default_rng(7)
CORNERS = np.array([[x, y] for x in (-1.0, 0.0, 1.0, 2.0) for y in (0.0, 1.0)])
X = np.tile(CORNERS, (50, 1)) + 0.01 * RNG.standard_normal((400, 2))  # 8 modes
COLUMNS = {"discriminator_auc", "diversity", "clusters_hit", "generator_gradient"}


class Player(CallbackSupport, GeneratorMixin, BaseEstimator):
    """Model whose draws, scores and gradients are given by functions of the epoch."""

    def __init__(
        self,
        modes=None,
        margin=None,
        gradient=None,
        callbacks=(),
        max_iter=4,
        loss="non_saturating",
        penalty=None,
        instance_noise=0.0,
        learning_rate_init=None,
    ):
        self.modes = modes  # of draws
        self.margin = (
            margin  # of the scores of rows over those of draws, in their standard deviations
        )
        self.gradient = gradient
        self.callbacks = callbacks
        self.max_iter = max_iter
        self.loss = loss
        self.penalty = penalty
        self.instance_noise = instance_noise
        self.learning_rate_init = learning_rate_init

    def fit(self, X, y=None):
        self._validate(X, reset=True)
        self.history_ = History()
        return self._train(X, self.max_iter)

    def partial_fit(self, X, y=None):
        if not hasattr(self, "history_"):
            self._validate(X, reset=True)
            self.history_ = History()
        return self._train(X, 1)

    def _train(self, X, n_epochs):
        start = len(self.history_)
        settings = {"max_iter": start + n_epochs, "X": X, "y": None, "fitted_attributes": dict}
        with FitEvents(self, self.callbacks, **settings) as events:
            for k in range(start, start + n_epochs):
                events.epoch_begin(k)
                self.history_.append({"epoch": k + 1})
                self.epoch_ = k + 1
                events.epoch_end(k)
        return self

    def _sample(self, n_samples, generator):
        modes = CORNERS if self.modes is None else self.modes(self.epoch_)
        return modes[np.arange(n_samples) % len(modes)] + 0.01 * generator.standard_normal(
            (n_samples, 2)
        )

    def discriminate(self, X):
        """Scores (n,) from the sums of features, by which only half of the rows are recognised."""
        X = self._validate(X)
        is_row = np.isin(X[:, 0], DATA[:, 0])
        margin = 1.0 if self.margin is None else self.margin(self.epoch_)
        noise = np.random.default_rng(1 + is_row[0]).standard_normal(len(X))
        return noise + margin * is_row


class Feeler(Player):
    """The same, and it tells gradients."""

    def _generator_gradients(self, n_samples, generator):
        return np.full(n_samples, 1.0 if self.gradient is None else self.gradient(self.epoch_))


DATA = X


def told(model, rows=X, **parameters):
    """Sentences of the warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.set_params(**parameters).fit(rows)
    assert all(warning.category is UserWarning for warning in caught)
    return [str(warning.message) for warning in caught]


def doctor(**parameters):
    return AdversarialDoctor(**{"n_rows": 400, "n_clusters": 8} | parameters)


# What is measured


def test_numbers_of_an_epoch_are_those_that_are_known():
    watcher = doctor(every=2)
    model = Feeler(callbacks=[watcher], gradient=lambda epoch: 0.5 * epoch).fit(X)
    record = model.history_[-1]
    assert COLUMNS.isdisjoint(model.history_[0])
    assert record["clusters_hit"] == 8
    assert record["diversity"] == pytest.approx(1.0, abs=0.01)
    assert record["generator_gradient"] == 2.0
    assert record["discriminator_auc"] == pytest.approx(norm.cdf(1.0 / np.sqrt(2.0)), abs=0.03)
    np.testing.assert_array_equal(watcher.epochs_, [2, 4])
    np.testing.assert_allclose(watcher.cluster_shares_, np.full((2, 8), 0.125))
    assert model.history_.loss_names == []


def test_of_pairs_that_are_equal_half_count():
    model = Player(callbacks=[doctor()], max_iter=1)
    model.discriminate = lambda X: np.zeros(len(X))
    assert model.fit(X).history_[-1]["discriminator_auc"] == 0.5


def test_gradients_that_are_not_told_are_nan():
    assert np.isnan(
        Player(callbacks=[doctor()], max_iter=1).fit(X).history_[-1]["generator_gradient"]
    )


def test_diversity_is_that_of_standardised_columns_or_of_the_units_of_the_networks():
    half = 0.5 * (CORNERS - CORNERS.mean(axis=0)) + CORNERS.mean(axis=0)
    model = Player(modes=lambda epoch: half, callbacks=[doctor()], max_iter=1)
    with pytest.warns(UserWarning, match="times as far apart as rows"):
        model.fit(X * [1.0, 1.0])
    assert model.history_[-1]["diversity"] == pytest.approx(0.5, abs=0.01)
    model.modes = lambda epoch: CORNERS * [1.0, 0.0]
    model._scaled = lambda rows: rows * [1.0, 0.0]
    model.fit(X)
    assert model.history_[-1]["diversity"] == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    "make",
    [pd.DataFrame, pl.DataFrame, lambda rows: rows.tolist()],
    ids=["pandas", "polars", "list"],
)
def test_rows_of_every_container(make):
    rows = make(pd.DataFrame(X, columns=["a", "b"]) if make is pd.DataFrame else X)
    model = Player(callbacks=[doctor()], max_iter=2).fit(rows)
    assert model.history_[-1]["clusters_hit"] == 8
    if make is pd.DataFrame:
        assert told(model.set_output(transform="pandas"), rows) == []


def test_rows_that_are_all_the_same_have_no_diversity():
    model = Player(modes=lambda epoch: np.ones((1, 2)), callbacks=[doctor()], max_iter=1)
    assert told(model, np.ones((30, 2))) == []
    assert model.history_[-1]["clusters_hit"] == 1
    assert np.isnan(model.history_[-1]["diversity"])


def test_a_fit_that_goes_on_adds_to_what_was_found_and_keeps_its_clusters():
    watcher = doctor()
    model = Player(callbacks=[watcher], max_iter=2).fit(X)
    model.partial_fit(X[::-1])
    np.testing.assert_array_equal(watcher.epochs_, [1, 2, 3])
    np.testing.assert_allclose(watcher.cluster_shares_, np.full((3, 8), 0.125))
    model.fit(X)
    np.testing.assert_array_equal(watcher.epochs_, [1, 2])


def test_what_was_found_survives_a_pickle():
    watcher = doctor()
    model = pickle.loads(pickle.dumps(Player(callbacks=[watcher]).fit(X)))
    np.testing.assert_array_equal(model.callbacks[0].epochs_, watcher.epochs_)


# What it warns of


def test_a_healthy_model_gets_no_warning():
    assert told(Feeler(callbacks=[doctor()], max_iter=10)) == []


def test_a_saturated_discriminator():
    model = Player(margin=lambda epoch: 10.0, callbacks=[doctor()])
    (sentence,) = told(model)
    assert sentence.startswith(
        "After epoch 2 the discriminator tells 100 % of pairs of a row and a draw apart"
    )
    assert sentence.endswith("it is saturated; set penalty='r1' or raise instance_noise (now 0.0).")
    assert told(model, penalty="r1")[0].endswith("it is saturated; raise instance_noise (now 0.0).")
    assert told(model, loss="wasserstein") == []
    assert told(model, loss="hinge", margin=lambda epoch: 2.0) == []
    assert (
        told(model, loss="hinge", margin=lambda epoch: 10.0 * (epoch == 2)) == []
    )  # once is nothing


def test_draws_of_few_modes():
    model = Player(modes=lambda epoch: CORNERS[[0, 2, 5, 7]], callbacks=[doctor()])
    (sentence,) = told(model)
    assert "draws hit 4 of 8 clusters of the rows" in sentence
    advice = "set penalty='r1', lower learning_rate_init or raise max_iter (now 4)."
    assert sentence.endswith(f"collapsed to few modes, or has not found the others yet; {advice}")
    assert told(model, modes=lambda epoch: CORNERS[[0, 1, 3, 5, 7]]) == []


def test_a_mode_with_less_than_a_tenth_of_its_due_is_not_hit():
    few = np.concatenate([np.tile(CORNERS[:7], (57, 1)), CORNERS[7:]])  # 1 of 400, due are 50
    watcher = doctor()
    model = Player(modes=lambda epoch: few, callbacks=[watcher], max_iter=1).fit(X)
    assert model.history_[-1]["clusters_hit"] == 7
    assert watcher.cluster_shares_.min() == 1 / 400


def test_a_gradient_that_vanishes():
    model = Feeler(
        gradient=lambda epoch: 10.0 ** (-epoch),
        margin=lambda epoch: 3.0,
        callbacks=[doctor()],
        max_iter=8,
    )
    (sentence,) = told(model)
    assert sentence.startswith(
        "After epoch 4 the gradient that the generator learns from is 0.0001, at most 0.1 before"
    )
    assert "set penalty='r1'" in sentence
    assert "set loss='non_saturating'" in told(model, loss="minimax")[0]
    assert told(model, margin=lambda epoch: 0.5) == []  # nothing is left to learn
    assert (
        told(model, margin=lambda epoch: 3.0, gradient=lambda epoch: 0.4**epoch, max_iter=5) == []
    )
    assert (
        "is 1, at most 200 before"
        in told(model, gradient=lambda epoch: 200.0 if epoch == 1 else 1.0)[0]
    )


def test_draws_that_hop_between_modes():
    hop = lambda epoch: CORNERS[epoch % 2 :: 2]  # noqa: E731
    sentences = told(Player(modes=hop, callbacks=[doctor()], max_iter=8))
    assert len(sentences) == 2  # half of the modes at a time is a collapse too
    assert any(
        "100 % of the draws change clusters from epoch to epoch" in sentence
        for sentence in sentences
    )
    spread = lambda epoch: CORNERS[min(epoch - 1, 3) :: max(1, 5 - epoch)]  # noqa: E731
    assert (
        told(Player(modes=spread, callbacks=[doctor()], max_iter=8)) == []
    )  # on their way to where they should be
    turn = lambda epoch: np.delete(CORNERS, epoch % 8, axis=0)  # noqa: E731
    assert told(Player(modes=turn, callbacks=[doctor()], max_iter=8)) == []
    assert len(told(Player(modes=hop, callbacks=[doctor()], max_iter=3))) == 1


def test_rows_in_the_order_of_their_modes_do_not_look_narrow():
    order = np.lexsort(X.round().T)
    model = Player(callbacks=[doctor()], max_iter=1).fit(np.repeat(X[order], 2, axis=0) + 0.001)
    assert model.history_[-1]["diversity"] == pytest.approx(1.0, abs=0.02)


def test_a_gan_that_was_made_to_collapse_is_told_what_to_move():
    settings = {
        "loss": "minimax",
        "penalty": None,
        "n_discriminator_steps": 5,
        "learning_rate_init": 2e-3,
    }
    settings |= {
        "max_iter": 16,
        "density": AutoDensity(n_draws=256),
        "device": "cpu",
        "random_state": 0,
    }
    watcher = AdversarialDoctor(every=4, n_rows=200, n_clusters=10)
    model = GAN(4, trainer=Trainer(callbacks=[watcher]), **settings)
    sentences = told(model, load_digits().data[:400].astype(np.float32))
    for symptom in (
        "it is saturated",
        "the generator has collapsed to few modes",
        "it has vanished",
    ):
        (sentence,) = [sentence for sentence in sentences if symptom in sentence]
        assert "set penalty='r1'" in sentence
    record = model.history_[-1]
    assert record["discriminator_auc"] > 0.99
    assert record["diversity"] < 0.3
    assert record["clusters_hit"] <= 2
    assert np.nanmin(model.history_["generator_gradient"]) < 0.01


def test_a_gan_in_good_health_is_told_nothing_and_trained_as_without_the_doctor():
    watcher = AdversarialDoctor(every=5, n_rows=400, n_clusters=8)
    settings = {
        "max_iter": 20,
        "density": AutoDensity(n_draws=256),
        "device": "cpu",
        "random_state": 0,
    }
    watched = GAN(2, trainer=Trainer(ema_decay=0.99, callbacks=[watcher]), **settings)
    assert told(watched) == []
    assert watched.history_[-1]["clusters_hit"] == 8
    alone = GAN(2, trainer=Trainer(ema_decay=0.99), **settings).fit(X)
    np.testing.assert_array_equal(watched.sample(5), alone.sample(5))


@pytest.mark.parametrize("kind", [ConditionalGAN, AuxiliaryClassifierGAN])
def test_gans_of_classes_are_asked_with_their_labels(kind):
    watcher = doctor(every=4)
    labels = np.where(X[:, 0] > 0.5, "right", "left")
    settings = {
        "max_iter": 4,
        "density": AutoDensity(n_draws=256),
        "device": "cpu",
        "random_state": 0,
    }
    model = kind(2, trainer=Trainer(ema_decay=0.99, callbacks=[watcher]), **settings)
    with warnings.catch_warnings(action="ignore", category=UserWarning):
        model.fit(X, labels)
    record = model.history_[-1]
    assert 0.0 <= record["discriminator_auc"] <= 1.0
    assert record["generator_gradient"] > 0.0
    assert watcher.cluster_shares_.shape == (1, 8)


def test_scores_and_gradients_of_a_gan_are_those_of_its_networks():
    model = GAN(2, max_iter=2, loss="least_squares", device="cpu", random_state=0).fit(X)
    draws = model.sample(50, random_state=3)
    codes = torch.from_numpy(np.random.default_rng(3).standard_normal((50, 2)))
    scaled = model.generator_(codes).detach().requires_grad_()
    np.testing.assert_allclose(model._scaled(draws), scaled.detach(), rtol=1e-9)
    scores = model.discriminator_(scaled)
    np.testing.assert_allclose(model.discriminate(draws), scores.detach(), rtol=1e-7)
    (slopes,) = torch.autograd.grad(scores.sum(), scaled)
    truth = (scores - 1.0).abs().detach() * slopes.norm(dim=1)  # of (s - 1)^2 / 2
    np.testing.assert_allclose(
        model._generator_gradients(50, np.random.default_rng(3)), truth, rtol=1e-7
    )


def test_warnings_wait_for_the_middle_of_a_fit():
    model = Player(
        modes=lambda epoch: CORNERS[:1] if epoch < 5 else CORNERS, callbacks=[doctor()], max_iter=10
    )
    assert told(model) == []
    assert "After epoch 4 draws hit 1 of 8" in told(model, max_iter=8)[0]


def test_of_streams_it_says_that_it_sees_nothing():
    model = Player(callbacks=[doctor()])
    model._validate = lambda rows, **settings: None
    with pytest.warns(
        UserWarning,
        match="AdversarialDoctor measures rows of an array, and got none: X is RowBlocks",
    ):
        model.fit(RowBlocks([X]))
    with pytest.raises(AttributeError, match="AdversarialDoctor has measured no model yet"):
        model.callbacks[0].cluster_shares_  # noqa: B018


# What it refuses


@pytest.mark.parametrize("name, low", [("every", 1), ("n_rows", 2), ("n_clusters", 1)])
def test_parameters_are_checked_before_the_fit(name, low):
    model = Player(callbacks=[AdversarialDoctor(**{name: low - 1})])
    with pytest.raises(ValueError, match=f"{name} must be an integer >= {low}; got {low - 1}"):
        model.fit(X)


def test_an_estimator_without_discriminator_is_refused():
    model = VAE(2, trainer=Trainer(callbacks=[AdversarialDoctor()]))
    with pytest.raises(
        TypeError,
        match=r"needs an estimator with sample and discriminate\(X\), such as GAN; got VAE",
    ):
        model.fit(X)
    assert not hasattr(GaussianMixture(), "discriminate")
