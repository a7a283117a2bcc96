"""The doctor measures closed forms, warns of problems, and does not change the fit."""

import pickle
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.utils import Bunch

from probgen import VAE, RowBlocks, Trainer, load, save
from probgen.base import GeneratorMixin
from probgen.options import ELBO, MixturePrior, VampPrior
from probgen.training import Callback, LatentDoctor, ProgressBar, TensorBoard
from probgen.training.callbacks import CallbackSupport, FitEvents
from probgen.training.history import History

RNG = np.random.default_rng(0)
X = RNG.standard_normal((300, 2)) @ RNG.standard_normal((2, 5)) + 0.3 * RNG.standard_normal(
    (300, 5)
)
COLUMNS = {"active_units", "elbo_reconstruction", "elbo_kl", "kl_per_dimension"}


def fit(doctor, rows=X, kind=VAE, **parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "max_iter": 20,
        "learning_rate_init": 0.01,
    }
    settings |= {"trainer": Trainer(callbacks=[doctor] if doctor is not None else [])}
    settings |= {"device": "cpu", "random_state": 0, "n_importance_samples": 16}
    return kind(**settings | parameters).fit(rows)


class Learner(CallbackSupport, GeneratorMixin, BaseEstimator):
    """Model whose codes, bounds and records are given, the same after every epoch."""

    def __init__(self, means=None, kl=1.0, elbo=0.0, callbacks=(), max_iter=4, records=None):
        self.means = means
        self.kl = kl
        self.elbo = elbo
        self.callbacks = callbacks
        self.max_iter = max_iter
        self.records = records

    def fit(self, X, y=None):
        self.history_ = History()
        return self._train(X, y, self.max_iter)

    def partial_fit(self, X, y=None):
        if not hasattr(self, "history_"):
            self.history_ = History()
        return self._train(X, y, 1)

    def _train(self, X, y, n_epochs):
        self.seen_ = []
        start = len(self.history_)
        settings = {"max_iter": start + n_epochs, "X": X, "y": y, "fitted_attributes": dict}
        with FitEvents(self, self.callbacks, **settings) as events:
            for k in range(start, start + n_epochs):
                events.epoch_begin(k)
                self.history_.append({"epoch": k + 1} | (self.records or {}))
                events.epoch_end(k)
        return self

    def transform(self, X, y=None, return_std=False):
        self.seen_.append((X, y))
        means = (
            np.asarray(X)
            if self.means is None
            else np.resize(self.means, (len(X), len(self.means[0])))
        )
        return means, np.full(means.shape, 0.5)

    def elbo_samples(self, X, y=None):
        n = len(X)
        elbo = np.resize(self.elbo, n)
        return Bunch(elbo=elbo, reconstruction=elbo + self.kl, kl=np.full(n, self.kl))


def told(learner, rows=X, y=None):
    """Sentences of the warnings of a fit."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        learner.fit(rows, y)
    assert all(warning.category is UserWarning for warning in caught)
    return [str(warning.message) for warning in caught]


# What is measured


def test_numbers_of_an_epoch_are_those_of_the_closed_form():
    doctor = LatentDoctor(every=2, n_rows=len(X))
    model = fit(doctor, max_iter=6, n_importance_samples=1024)
    means, std = model.transform(X, return_std=True)
    truth = np.mean(0.5 * (means**2 + std**2 - np.log(std**2) - 1.0), axis=0)
    np.testing.assert_array_equal(doctor.epochs_, [2, 4, 6])
    np.testing.assert_allclose(doctor.kl_per_dimension_[-1], truth, rtol=1e-5)
    record = model.history_[-1]
    assert record["elbo_kl"] == pytest.approx(truth.sum(), rel=0.01)
    bounds = model.elbo_samples(X)
    assert record["elbo_reconstruction"] == pytest.approx(bounds.reconstruction.mean())
    assert record["active_units"] == np.sum(means.var(axis=0) > 0.01) == 2
    assert COLUMNS.isdisjoint(model.history_[0])
    frame = model.history_.to_frame()
    np.testing.assert_array_equal(frame["active_units"].isna(), [True, False] * 3)


def test_a_divergence_that_is_known():
    """Means 3 and -3 in one dimension, 0 in the other, deviations 1 / 2."""
    doctor = LatentDoctor()
    model = Learner(means=[[3.0, 0.0], [-3.0, 0.0]], callbacks=[doctor], max_iter=1).fit(X)
    rest = 0.25 / 2.0 - 0.5 + np.log(2.0)
    np.testing.assert_allclose(doctor.kl_per_dimension_, [[4.5 + rest, rest]])
    numbers = {"epoch": 1, "active_units": 1, "elbo_reconstruction": 1.0, "elbo_kl": 1.0}
    assert model.history_[-1] == numbers | {
        "kl_per_dimension": doctor.kl_per_dimension_[0].tolist()
    }
    assert model.history_.loss_names == []


@pytest.mark.parametrize("posterior", ["iaf", "spline"])
def test_under_flows_it_is_less_than_the_divergence(posterior):
    doctor = LatentDoctor(every=10, n_rows=100)
    model = fit(doctor, posterior=posterior, max_iter=10, n_importance_samples=256)
    assert 0.5 < doctor.kl_per_dimension_[-1].sum() < model.history_[-1]["elbo_kl"] + 0.05


@pytest.mark.parametrize("prior", [MixturePrior(3), VampPrior(3)])
def test_other_priors_have_no_divergence_by_dimension(prior):
    doctor = LatentDoctor(every=5)
    model = fit(doctor, prior=prior)
    assert np.isnan(doctor.kl_per_dimension_).all()
    assert doctor.kl_per_dimension_.shape == (4, 2)
    assert model.history_[-1]["elbo_kl"] > 0.0


def test_rows_are_evenly_spaced_and_always_the_same():
    rows = np.column_stack([np.arange(10.0), np.zeros(10)])
    model = Learner(callbacks=[LatentDoctor(n_rows=4)], max_iter=2).fit(rows)
    for seen, _ in model.seen_:
        np.testing.assert_array_equal(seen, rows[[0, 3, 6, 9]])
    model.set_params(callbacks=[LatentDoctor(n_rows=1000)]).fit(rows)
    np.testing.assert_array_equal(model.seen_[0][0], rows)


def test_labels_are_told_where_they_are_asked_for_and_all_known():
    labels = np.repeat([0, 1, -1], 100)
    means = [[1.0], [-1.0]]
    model = Learner(means, callbacks=[LatentDoctor(n_rows=2)], max_iter=1).fit(
        X[:200], labels[:200]
    )
    np.testing.assert_array_equal(model.seen_[0][1], [0, 1])
    assert model.fit(X, labels).seen_[0][1] is None
    assert model.fit(X, np.array(["a", "b", "c"] * 100)).seen_[0][1].tolist() == ["a", "c"]


@pytest.mark.parametrize(
    "make", [pd.DataFrame, pl.DataFrame, torch.tensor, lambda rows: rows.tolist()]
)
@pytest.mark.parametrize("is_grey", [False, True])
@pytest.mark.filterwarnings("ignore:After epoch 2:UserWarning")
def test_rows_of_every_container(make, is_grey):
    rows = X if not is_grey else 1.0 / (1.0 + np.exp(-X))
    rows = make(pd.DataFrame(rows, columns=list("abcde")) if make is pd.DataFrame else rows)
    doctor = LatentDoctor(every=2)
    model = fit(doctor, rows, max_iter=2, n_components=1, dynamic_binarization=is_grey)
    assert doctor.kl_per_dimension_.shape == (1, 1)
    if not is_grey:
        means, std = model.transform(
            np.asarray(rows) if make is torch.tensor else rows, return_std=True
        )
        truth = np.mean((np.asarray(means) ** 2 + std**2 - 1.0) / 2.0 - np.log(std))
        np.testing.assert_allclose(doctor.kl_per_dimension_, truth, rtol=1e-5)


def test_grey_values_are_binarized_as_in_training():
    rows = np.tile([0.0, 0.25, 1.0, np.nan], (1000, 1))
    model = Learner(callbacks=[LatentDoctor()], max_iter=2)
    model.dynamic_binarization = True
    assert len(told(model, rows)) == 1
    first, second = [seen for seen, _ in model.seen_]
    np.testing.assert_array_equal(first, second)
    assert set(first[:, 1]) == {0.0, 1.0}
    np.testing.assert_allclose(first.mean(axis=0), rows[0], atol=0.05)


def test_a_fit_that_goes_on_adds_to_what_was_found_and_a_new_one_begins_again():
    doctor = LatentDoctor()
    model = fit(doctor, max_iter=2, warm_start=True)
    model.fit(X).partial_fit(X)
    np.testing.assert_array_equal(doctor.epochs_, [1, 2, 3, 4, 5])
    assert not np.isnan(model.history_["active_units"]).any()
    model.set_params(warm_start=False).fit(X)
    np.testing.assert_array_equal(doctor.epochs_, [1, 2])


# What it leaves alone


@pytest.mark.parametrize(
    "settings",
    [{}, {"posterior": "iaf", "elbo": ELBO("iwae", n_particles=2)}],
    ids=["plain", "flow"],
)
def test_weights_and_draws_are_those_of_a_fit_without_it(settings):
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    watched, alone = fit(LatentDoctor(), max_iter=4, **settings), fit(None, max_iter=4, **settings)
    for name in watched._networks:
        mine, its = getattr(watched, name).state_dict(), getattr(alone, name).state_dict()
        assert all(torch.equal(mine[key], its[key]) for key in mine), name
    np.testing.assert_array_equal(watched.sample(5), alone.sample(5))
    for mine, its in zip(watched.history_, alone.history_):
        assert {key: mine[key] for key in its if key != "seconds"} == {
            k: v for k, v in its.items() if k != "seconds"
        }
    assert torch.equal(torch.get_rng_state(), before[0])
    np.testing.assert_array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_its_columns_pass_through_the_other_readers_of_a_history(tmp_path):
    from matplotlib.figure import Figure

    from probgen.plots import TrainingCurveDisplay

    callbacks = [LatentDoctor(every=2), TensorBoard(tmp_path / "runs", every=9), ProgressBar()]
    model = fit(None, max_iter=3, trainer=Trainer(callbacks=callbacks))
    assert set(model.history_.columns) >= COLUMNS
    assert COLUMNS.isdisjoint(model.history_.loss_names)
    TrainingCurveDisplay.from_estimator(model, ax=Figure().subplots())
    assert pickle.loads(pickle.dumps(model)).history_ == model.history_
    model.set_params(trainer__callbacks=callbacks[:1])
    save(model, tmp_path / "model.probgen")
    assert load(tmp_path / "model.probgen").history_ == model.history_


# What it warns of


def test_a_healthy_model_gets_no_warning():
    doctor = LatentDoctor()
    model = fit(doctor, max_iter=30)
    assert model.history_[-1]["active_units"] == 2


def test_a_collapsed_model_is_told_which_parameter_to_move():
    sentence = (
        r"After epoch \d+ 0 of 2 dimensions of the code are active: the posterior has collapsed"
        r" onto the prior.*; "
        r"raise elbo__kl_warmup or elbo__free_bits, lower beta \(now 1000\.0\), or make the decoder"
    )
    doctor = LatentDoctor()
    with pytest.warns(UserWarning, match=sentence) as caught:
        model = fit(doctor, beta=1000.0)
    assert len(caught) == 1
    assert model.history_[-1]["active_units"] == 0
    assert doctor.kl_per_dimension_[-1].sum() < 0.05


def test_dimensions_that_are_not_used_are_counted():
    means = np.zeros((2, 8))
    means[0, :3] = 1.0
    (sentence,) = told(Learner(means, callbacks=[LatentDoctor()]))
    assert sentence.startswith("After epoch 2 3 of 8 dimensions of the code are active: the others")
    assert "lower n_components" in sentence
    means[0, 3] = 1.0
    assert told(Learner(means, callbacks=[LatentDoctor()])) == []


def test_a_negative_divergence_is_named():
    (sentence,) = told(Learner(kl=-0.25, callbacks=[LatentDoctor()]))
    assert "the prior is estimated as -0.25 nats" in sentence
    assert sentence.endswith("raise n_importance_samples.")
    (sentence,) = told(Learner(kl=0.25, records={"kl": -0.5}, callbacks=[LatentDoctor()]))
    assert "is in training estimated as -0.5 nats" in sentence
    assert sentence.endswith("raise elbo__n_particles.")
    assert told(Learner(kl=-1e-4, records={"kl": -1e-4}, callbacks=[LatentDoctor()])) == []


def test_noise_of_a_constant_feature_is_named():
    rows = np.column_stack([X, np.full(len(X), 2.0)])
    with pytest.warns(
        UserWarning,
        match="1 of 6 noise scales nears the floor, .*; drop features.* or give likelihood__scale",
    ):
        fit(LatentDoctor(50), rows, learning_rate_init=0.03, max_iter=100)


def test_overfitting_is_named_where_rows_are_held_out():
    """Bounds of mean 0 and standard deviation 4: a gap is large from 2 nats on."""
    bounds = [-4.0, 4.0]
    doctor = LatentDoctor()
    (sentence,) = told(Learner(elbo=bounds, records={"validation_score": -2.5}, callbacks=[doctor]))
    assert "held-out rows is 2.5 nats below" in sentence
    assert "early_stopping" in sentence
    assert told(Learner(elbo=bounds, records={"validation_score": -1.5}, callbacks=[doctor])) == []
    assert told(Learner(records={"validation_score": -0.4}, callbacks=[doctor])) == []
    assert told(Learner(elbo=bounds, callbacks=[doctor])) == []


def test_an_overfitted_network_is_caught():
    rows = load_digits().data[:60:2] / 16.0
    trainer = Trainer(
        early_stopping=True,
        validation_fraction=0.3,
        n_iter_no_change=200,
        callbacks=[LatentDoctor(20)],
    )
    with pytest.warns(UserWarning, match="nats below that of the rows of X, which is overfitting"):
        fit(None, rows, trainer=trainer, hidden_layer_sizes=(64,), n_components=2, max_iter=200)


@pytest.mark.parametrize(
    "max_iter, every, epochs",
    [(10, 1, 5), (10, 4, 4), (1, 1, 1), (3, 2, 2)],
    ids=["halfway", "last look before", "one epoch", "between"],
)
def test_warnings_wait_for_the_middle_of_a_fit(max_iter, every, epochs):
    """What is wrong at first may mend itself; what still is, is told once."""
    (sentence,) = told(
        Learner(np.zeros((1, 3)), callbacks=[LatentDoctor(every)], max_iter=max_iter)
    )
    assert f"After epoch {epochs} 0 of 3" in sentence


def test_a_fit_that_stops_early_is_judged_at_its_end():
    class Stop(Callback):
        def on_fit_task_end(self, estimator, context):
            return context.task_id == 19

    with pytest.warns(
        UserWarning, match=r"After epoch 20 0 of 2 dimensions of the code are active"
    ):
        fit(None, beta=1000.0, max_iter=500, trainer=Trainer(callbacks=[LatentDoctor(), Stop()]))


def test_passes_over_a_stream_of_rows_warn_once_in_all():
    model = Learner(np.zeros((1, 3)), callbacks=[LatentDoctor()])
    with pytest.warns(UserWarning, match="0 of 3 dimensions"):
        model.partial_fit(X)
    model.partial_fit(X)


def test_of_streams_it_says_that_it_sees_nothing():
    doctor = LatentDoctor()
    with pytest.warns(
        UserWarning, match="measures rows of an array, and got none: X is RowBlocks"
    ) as caught:
        model = fit(doctor, RowBlocks([X[:100], X[100:]]), max_iter=4)
    assert len(caught) == 1
    assert COLUMNS.isdisjoint(model.history_.columns)
    with pytest.raises(AttributeError, match="has measured no model yet"):
        doctor.epochs_  # noqa: B018


# What it refuses


@pytest.mark.parametrize(
    "doctor, sentence",
    [
        (LatentDoctor(every=0), "every must be an integer >= 1; got 0"),
        (LatentDoctor(n_rows=1), "n_rows must be an integer >= 2; got 1"),
    ],
)
def test_parameters_are_checked_before_the_fit(doctor, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(doctor)


def test_an_estimator_without_bounds_is_refused():
    from probgen import Autoencoder

    model = Autoencoder(2, trainer=Trainer(callbacks=[LatentDoctor()]))
    with pytest.raises(
        TypeError,
        match=r"needs an estimator with transform\(X, return_std=True\).*; got Autoencoder",
    ):
        model.fit(X)
