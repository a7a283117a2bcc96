"""The semi-supervised variational autoencoder against Pyro's enumeration, and with few labels."""

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from probgen import SemiSupervisedVAE, Trainer, load, save
from probgen.options import ELBO
from probgen.programs import isolated_pyro_state
from probgen.training import Callback
from probgen.training.neural_generator import FitContext
from probgen.training.rows import open_rows

RNG = np.random.default_rng(0)
INDICES = RNG.integers(3, size=300)
Y = np.where(RNG.random(300) < 0.2, INDICES, -1)
X = 2.0 * np.eye(3, 6)[INDICES] + 0.7 * RNG.standard_normal((300, 6))
BITS = (X > 0.8).astype(np.float64)
SHUFFLED = RNG.permutation(1797)
PIXELS, DIGITS = (part[SHUFFLED] for part in load_digits(return_X_y=True))
PIXELS = (PIXELS > 7.0).astype(np.float32)
FEW = np.concatenate([np.flatnonzero(DIGITS == k)[:10] for k in range(10)])


def make(**parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "max_iter": 5,
        "device": "cpu",
        "random_state": 0,
    }
    return SemiSupervisedVAE(**settings | parameters)


def fit(rows=X, y=Y, **parameters):
    return make(**parameters).fit(rows, y)


def make_objective(model, rows=X, y=Y):
    """The objective of a fitted model, as if it went on with these rows."""
    rows = open_rows(rows, y, dtype=torch.float64)
    objective = model._make_objective(FitContext(rows, 64, n_batches=1, max_iter=1))
    objective.noise = torch.Generator().manual_seed(0)
    return objective


def gradients(model, loss):
    parameters = [p for name in model._networks for p in getattr(model, name).parameters()]
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [
        torch.zeros_like(p) if gradient is None else gradient
        for p, gradient in zip(parameters, gradients)
    ]


def pyro_loss(elbo, model, guide, *batch):
    with isolated_pyro_state("cpu", seed=7):
        return elbo.differentiable_loss(model, guide, *batch) / len(batch[0])


class TestObjective:
    """The sum over classes, written on tensors, is that of Pyro."""

    @pytest.mark.parametrize("rows", [X, BITS], ids=["numbers", "bits"])
    def test_unlabelled_rows_are_enumerated_as_in_pyro(self, rows):
        model = fit(rows, elbo="trace")
        batch = torch.from_numpy(rows[:40])
        objective = make_objective(model, rows)
        unlabelled = torch.zeros(40, 3, dtype=torch.float64)
        with isolated_pyro_state("cpu", seed=7):
            ours, _ = objective._loss(batch[:0], unlabelled[:0], batch, unlabelled)
        theirs = pyro_loss(
            TraceEnum_ELBO(max_plate_nesting=1), model.model, config_enumerate(model.guide), batch
        )
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)
        for actual, expected in zip(gradients(model, ours), gradients(model, theirs)):
            torch.testing.assert_close(actual, expected)
        with isolated_pyro_state("cpu", seed=7):
            assert -objective._bound(batch, unlabelled).item() == pytest.approx(
                theirs.item(), rel=1e-12
            )

    def test_missing_values_are_masked_as_in_pyro(self):
        model = fit(elbo="trace")
        batch = torch.from_numpy(X[:40])
        seen = torch.from_numpy(RNG.random((40, 6)) < 0.7)
        unlabelled = torch.zeros(40, 3, dtype=torch.float64)
        with isolated_pyro_state("cpu", seed=7):
            ours, _ = make_objective(model)._loss(
                batch[:0], unlabelled[:0], batch, unlabelled, seen
            )
        elbo = TraceEnum_ELBO(max_plate_nesting=1)
        theirs = pyro_loss(elbo, model.model, config_enumerate(model.guide), batch, None, seen)
        assert ours.item() == pytest.approx(theirs.item(), rel=1e-12)

    def test_labelled_rows_count_their_class_alone(self):
        model = fit(elbo="trace", classification_weight=0.0)
        batch, classes = torch.from_numpy(X[:40]), torch.eye(3, dtype=torch.float64)[INDICES[:40]]
        with isolated_pyro_state("cpu", seed=7):
            ours, _ = make_objective(model)._loss(batch[:0], classes[:0], batch, classes)
        draws = [pyro_loss(Trace_ELBO(), model.model, model.guide, batch, classes).item()]
        for seed in range(200):
            with isolated_pyro_state("cpu", seed=seed):
                draws.append(Trace_ELBO().loss(model.model, model.guide, batch, classes) / 40)
        assert ours.item() == pytest.approx(np.mean(draws), abs=6.0 * np.std(draws))
        assert ours.item() != pytest.approx(np.mean(draws) - np.log(3.0), abs=6.0 * np.std(draws))

    def test_divergences_in_closed_form_have_the_same_mean(self):
        model = fit(max_iter=20)
        batch, unlabelled = torch.from_numpy(X[:40]), torch.zeros(40, 3, dtype=torch.float64)
        means = {}
        for elbo in ("trace", "mean_field"):
            objective = make_objective(model.set_params(elbo=ELBO(elbo, n_particles=64)))
            with isolated_pyro_state("cpu", seed=7):
                means[elbo] = np.mean(
                    [-objective._bound(batch, unlabelled).item() for _ in range(10)]
                )
        assert means["mean_field"] == pytest.approx(means["trace"], abs=0.05)
        assert -means["trace"] == pytest.approx(model.elbo_samples(X[:40]).elbo.mean(), abs=0.05)

    def test_the_classifier_learns_from_all_labels(self):
        model = fit(classification_weight=0.25)
        objective = make_objective(model)
        batch = torch.from_numpy(X[:50])
        labels = torch.cat(
            [
                torch.eye(3, dtype=torch.float64)[INDICES[:20]],
                torch.zeros(30, 3, dtype=torch.float64),
            ]
        )
        drawn, classes = batch[30:42], torch.eye(3, dtype=torch.float64)[INDICES[30:42]]
        with isolated_pyro_state("cpu", seed=7):
            loss, parts = objective._loss(drawn, classes, batch, labels)
        seen = [*range(20), *range(30, 42)]
        truth = log_loss(INDICES[seen], model.predict_proba(X[seen]), labels=[0, 1, 2])
        assert parts["classification"].item() == pytest.approx(truth, rel=1e-9)
        rest = parts["kl"] - parts["reconstruction"] - parts["entropy"]
        assert (loss - rest).item() == pytest.approx(0.25 * truth, rel=1e-9)

    def test_labelled_rows_are_drawn_for_every_batch(self):
        objective = make_objective(fit())
        rows, labels = objective._draw_labelled(2000)
        known = X[Y >= 0]
        is_same = (rows.numpy()[:, None] == known).all(axis=2)
        assert (is_same.sum(axis=1) == 1).all()
        np.testing.assert_array_equal(labels.argmax(1), Y[Y >= 0][is_same.argmax(axis=1)])
        assert is_same.any(axis=0).all()

    @pytest.mark.parametrize(
        "settings",
        [{"beta": 0.5}, {"elbo": ELBO(kl_warmup=4)}, {"elbo": ELBO(free_bits=0.3)}],
        ids=str,
    )
    def test_divergences_are_charged_as_in_the_vae(self, settings):
        model = fit(**settings)
        objective = make_objective(model)
        objective.begin_epoch(1)
        batch, unlabelled = torch.from_numpy(X[:40]), torch.zeros(40, 3, dtype=torch.float64)
        with isolated_pyro_state("cpu", seed=7):
            loss, parts = objective._loss(batch[:0], unlabelled[:0], batch, unlabelled)
        charged = (loss + parts["reconstruction"] + parts["entropy"]).item()
        if model.get_params().get("elbo__free_bits"):
            assert charged >= max(parts["kl"].item(), 2 * 0.3) - 1e-9
        else:
            factor = {"beta": 0.5, "elbo": 0.25}[next(iter(settings))]
            assert charged == pytest.approx(factor * parts["kl"].item())


@pytest.fixture(scope="module")
def model():
    """A model of digits, ten of each with a label."""
    y = np.full(1797, -1)
    y[FEW] = DIGITS[FEW]
    settings = {
        "n_components": 4,
        "hidden_layer_sizes": (128,),
        "max_iter": 40,
        "learning_rate_init": 3e-3,
    }
    return fit(PIXELS, y, **settings, n_importance_samples=16)


class TestFewLabels:
    def test_unlabelled_rows_help(self, model):
        others = np.setdiff1d(np.arange(1797), FEW)
        supervised = LogisticRegression(max_iter=1000).fit(PIXELS[FEW], DIGITS[FEW])
        accuracy = np.mean(model.predict(PIXELS[others]) == DIGITS[others])
        assert accuracy > supervised.score(PIXELS[others], DIGITS[others]) + 0.03

    def test_draws_of_a_digit_are_recognised(self, model):
        judge = LogisticRegression(max_iter=1000).fit(PIXELS, DIGITS)
        y = np.repeat(np.arange(10), 50)
        assert np.mean(judge.predict(model.sample(500, y=y, random_state=0)) == y) > 0.8

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # for other classes
    def test_bayes_rule_agrees_with_the_classifier(self, model):
        joint = np.stack([model.score_samples(PIXELS[:300], k) for k in range(10)], axis=1)
        assert np.mean(joint.argmax(axis=1) == model.predict(PIXELS[:300])) > 0.9
        np.testing.assert_allclose(
            model.score_samples(PIXELS[:300]), np.logaddexp.reduce(joint, axis=1), rtol=1e-4
        )

    def test_shares_are_those_of_the_labelled(self, model):
        np.testing.assert_array_equal(model.classes_, np.arange(10))
        np.testing.assert_array_equal(model.class_count_, 10.0)
        np.testing.assert_allclose(model.class_prior_, 0.1)

    def test_saved_and_loaded_models_are_equal(self, model, tmp_path):
        save(model, tmp_path / "model.probgen")
        again = load(tmp_path / "model.probgen")
        np.testing.assert_array_equal(
            again.predict_proba(PIXELS[:50]), model.predict_proba(PIXELS[:50])
        )


class Breaks(Callback):
    """Raises at the end of an epoch."""

    def __init__(self, epoch):
        self.epoch, self.n_epochs = epoch, 0

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"
        if self.n_epochs == self.epoch:
            raise RuntimeError("the machine went down")


class TestTraining:
    def test_an_interrupted_fit_resumes(self, tmp_path):
        trainer = Trainer(checkpoint=tmp_path, checkpoint_interval=0.0, callbacks=[Breaks(2)])
        with pytest.raises(RuntimeError, match="went down"):
            fit(trainer=trainer)
        resumed = fit(trainer=Trainer(checkpoint=tmp_path, checkpoint_interval=0.0))
        whole = fit(trainer=Trainer())
        np.testing.assert_array_equal(resumed.predict_proba(X), whole.predict_proba(X))
        np.testing.assert_array_equal(resumed.score_samples(X), whole.score_samples(X))

    def test_held_out_rows_are_not_trained_on(self):
        model = make(trainer=Trainer(early_stopping=True, validation_fraction=0.3))
        seen = []
        make_objective = model._make_objective

        def spy(fit):
            objective = make_objective(fit)
            seen.append((fit.rows.n_rows, len(objective.labelled[0])))
            return objective

        model._make_objective = spy
        model.fit(X, Y)
        ((n_rows, n_labelled),) = seen
        assert n_rows == 210
        assert n_labelled < (Y >= 0).sum()
        assert np.isfinite(model.history_["validation_score"]).all()

    def test_partial_fits_may_have_no_label(self):
        model = make(learning_rate_init=0.01).partial_fit(X, Y, classes=[0, 1, 2])
        model.partial_fit(X, np.full(300, -1))
        np.testing.assert_array_equal(model.class_count_, np.bincount(Y[Y >= 0]))
        assert np.isfinite(model.score_samples(X)).all()

    def test_partial_fits_may_announce_later_classes(self):
        model = make().partial_fit(X, np.where(Y == 2, -1, Y), classes=[0, 1, 2])
        assert model.class_prior_[2] == 0.0
        assert np.isfinite(model.history_["loss"]).all()
        assert np.isfinite(model.score_samples(X)).all()

    def test_text_labels_in_an_array_of_objects(self):
        names = np.array(["ash", "birch", "cedar"], dtype=object)
        y = np.where(Y >= 0, names[Y], -1)
        model = fit(y=y)
        np.testing.assert_array_equal(model.classes_, names)
        assert set(model.predict(X)) <= set(names)

    def test_a_classifier_of_the_users_own(self):
        network = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.Dropout(0.2), torch.nn.Linear(8, 3)
        )
        model = fit(classifier=network, max_iter=40, learning_rate_init=0.01)
        assert np.mean(model.predict(X) == INDICES) > 0.9
        np.testing.assert_array_equal(model.predict_proba(X), model.predict_proba(X))

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # of 4 draws
    def test_missing_values_and_convolutions(self):
        holes = np.where(RNG.random((300, 64)) < 0.1, np.nan, PIXELS[:300])
        y = np.where(RNG.random(300) < 0.5, DIGITS[:300], -1)
        model = fit(
            holes,
            y,
            architecture="conv",
            hidden_layer_sizes=(4, 8),
            max_iter=2,
            n_importance_samples=4,
        )
        assert model.predict_proba(holes).shape == (300, 10)
        assert np.isfinite(model.score_samples(holes[:20])).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (
            {"y": np.full(300, -1)},
            "y must hold the class of some rows; all 300 are -1, which marks rows without",
        ),
        ({"y": None}, "SemiSupervisedVAE requires y to be passed, but the target y is None"),
        ({"y": np.where(Y >= 0, 0, -1)}, r"y must hold at least 2 classes; got 1 class, \[0\]"),
        (
            {"y": Y.astype(str)},
            "y must hold -1, the number, where a row has no class; got the text '-1'",
        ),
        ({"elbo": "iwae"}, "elbo must be one of 'mean_field', 'trace'; got 'iwae'"),
        (
            {"elbo": ELBO("iwae", n_particles=2)},
            "elbo must be one of 'mean_field', 'trace'; got 'iwae'",
        ),
        ({"elbo": TraceEnum_ELBO()}, "elbo must be one of 'mean_field', 'trace'; got <"),
        (
            {"classification_weight": -1.0},
            "classification_weight must be a finite number >= 0; got -1.0",
        ),
        ({"classifier": "mlp"}, "classifier must be a torch.nn.Module, or None; got 'mlp'"),
        (
            {"classifier": torch.nn.Linear(6, 2)},
            r"classifier must map rows of shape \(n, 6\) to \(n, 3\)",
        ),
    ],
    ids=lambda value: value.split(";")[0] if isinstance(value, str) else "",
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(**arguments)


def test_a_new_class_in_a_resumed_fit():
    model = fit(warm_start=True)
    with pytest.raises(ValueError, match=r"y must hold the classes of the fit, \[0, 1, 2\]; got 3"):
        model.fit(X, np.where(Y == 2, 3, Y))
