"""Every fit reports to callbacks in the same way and leaves nothing behind."""

import copy
import importlib.util
import pickle
import subprocess
import sys
import types
import warnings
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probgen.training.callbacks
from probgen import Autoencoder
from probgen.base import GeneratorMixin
from probgen.row_blocks import RowBlocks
from probgen.training.callbacks import (
    Callback,
    CallbackSupport,
    Checkpoint,
    FitEvents,
    ProgressBar,
    SampleHistory,
    TensorBoard,
)
from probgen.training.history import History

X = np.arange(12.0).reshape(6, 2)


class Learner(GeneratorMixin, BaseEstimator):
    """Generator whose draws after epoch k are k plus noise; `trail_` counts its queries."""

    events = FitEvents

    def __init__(self, max_iter=3, callbacks=(), losses=None, scores=None, random_state=None):
        self.max_iter = max_iter
        self.callbacks = callbacks
        self.losses = losses
        self.scores = scores
        self.random_state = random_state

    def fit(self, X, y=None):
        self.history_ = History()
        return self._train(X, y, self.max_iter, self.max_iter)

    def partial_fit(self, X, y=None):
        if not hasattr(self, "history_"):
            self.history_ = History()
        return self._train(X, y, 1, None)

    def _train(self, X, y, n_epochs, max_iter):
        rows = next(iter(X)) if isinstance(X, RowBlocks) else X
        self._validate(rows, reset=True)
        self._start_stream()
        self.trail_ = []

        def fitted_attributes():
            self.trail_.append(len(self.history_))
            return {"level_": len(self.history_)}

        with self.events(
            self, self.callbacks, max_iter=max_iter, X=X, y=y, fitted_attributes=fitted_attributes
        ) as events:
            for k in range(len(self.history_), len(self.history_) + n_epochs):
                events.epoch_begin(k)
                record = {
                    "epoch": k + 1,
                    "loss": 1.0 / (k + 1) if self.losses is None else self.losses[k],
                }
                if self.scores is not None:
                    record["validation_score"] = self.scores[k]
                self.history_.append(record)
                if events.epoch_end(k):
                    break
            self.level_ = len(self.history_)
        return self

    def _sample(self, n_samples, generator):
        return self.level_ + 0.1 * generator.random((n_samples, self.n_features_in_))

    def _score_samples(self, X):
        return np.full(len(X), float(self.level_))


class SupportedLearner(CallbackSupport, Learner):
    """The generator with the callback support that is installed."""


class Witness(Callback):
    """Callback that writes down all it hears."""

    def __init__(self, name="witness", stop_after=None, fail_in=None):
        self.name = name
        self.stop_after = stop_after
        self.fail_in = fail_in
        self.heard = []

    def hear(self, hook, context, **extra):
        self.heard.append((hook, context.task_name, context.task_id, extra))
        if self.fail_in == hook:
            raise RuntimeError(f"{self.name} failed in {hook}")

    def setup(self, estimator, context):
        self.hear("setup", context)

    def teardown(self, estimator, context):
        self.hear("teardown", context)

    def on_fit_task_begin(self, estimator, context, *, X=None, y=None):
        self.hear("begin", context, X=X, y=y)

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        level = None if fitted_estimator is None else fitted_estimator.level_
        parent = None if context.parent is None else context.parent.task_name
        more = {
            "max_subtasks": context.max_subtasks,
            "parent": parent,
            "name": context.estimator_name,
        }
        self.hear("end", context, X=X, y=y, level=level, epochs=len(estimator.history_), **more)
        return context.task_name == "epoch" and context.task_id + 1 == self.stop_after

    def hooks(self):
        return [(hook, task, number) for hook, task, number, _ in self.heard]


class SlimWitness(Callback):
    """Callback that needs no fitted estimator."""

    def __init__(self):
        self.n_epochs = 0

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"


EPOCHS = [(hook, "epoch", k) for k in range(3) for hook in ("begin", "end")]
ALL_HOOKS = [
    ("setup", "fit", 0),
    ("begin", "fit", 0),
    *EPOCHS,
    ("end", "fit", 0),
    ("teardown", "fit", 0),
]


@pytest.fixture(scope="module")
def old_learner():
    """The generator as it would be with a scikit-learn that has no callbacks."""
    path = Path(probgen.training.callbacks.__file__).with_name("_events.py")
    spec = importlib.util.spec_from_file_location("old_events", path)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sklearn.callback", None)
        spec.loader.exec_module(module)
    assert module.CallbackSupport.__module__ == "probgen.training.callbacks._context"
    return type("OldLearner", (module.CallbackSupport, Learner), {"events": module.FitEvents})


@pytest.fixture(params=["sklearn", "own"])
def learner(request):
    """The class of the generator, with scikit-learn's callback support and with our own."""
    return (
        SupportedLearner if request.param == "sklearn" else request.getfixturevalue("old_learner")
    )


@pytest.fixture(params=["set_callbacks", "callbacks"])
def fitted_with(request, learner):
    """A function that makes a generator with these callbacks, by either road."""

    def make(*callbacks, **params):
        if request.param == "callbacks":
            return learner(callbacks=callbacks, **params)
        return learner(**params).set_callbacks(*callbacks)

    return make


def leftovers(model):
    return [
        name
        for name in vars(model)
        if "callback" in name and name not in {"callbacks", "_skl_callbacks"}
    ]


# What callbacks hear


def test_every_task_is_told_in_order(fitted_with):
    witness = Witness()
    model = fitted_with(witness).fit(X, y=[0] * 6)
    assert witness.hooks() == ALL_HOOKS
    assert not leftovers(model)


def test_callbacks_hear_what_the_caller_passed_and_what_was_learned(fitted_with):
    witness, frame = Witness(), pd.DataFrame(X, columns=["a", "b"])
    model = fitted_with(witness).fit(frame, y="labels")
    tasks = [extra for hook, *_, extra in witness.heard if hook in {"begin", "end"}]
    assert all(extra["X"] is frame and extra["y"] == "labels" for extra in tasks)
    ends = [extra for hook, *_, extra in witness.heard if hook == "end"]
    assert [extra["level"] for extra in ends] == [1, 2, 3, 3]
    assert [extra["epochs"] for extra in ends] == [1, 2, 3, 3]
    assert [extra["max_subtasks"] for extra in ends] == [0, 0, 0, 3]
    assert [extra["parent"] for extra in ends] == ["fit", "fit", "fit", None]
    assert {extra["name"] for extra in ends} == {type(model).__name__}


def test_both_roads_at_once(learner):
    first, second = Witness(), Witness()
    learner(callbacks=[second]).set_callbacks(first).fit(X)
    assert first.hooks() == second.hooks() == ALL_HOOKS


def test_a_callback_stops_the_fit(fitted_with):
    model = fitted_with(Witness(stop_after=2), SlimWitness()).fit(X)
    assert len(model.history_) == 2


def test_the_fitted_estimator_is_made_once_and_only_where_it_is_used(fitted_with):
    assert fitted_with(SlimWitness()).fit(X).trail_ == []
    assert fitted_with(Witness(), Witness()).fit(X).trail_ == [1, 2, 3]
    assert fitted_with(SampleHistory(every=2), SlimWitness(), max_iter=5).fit(X).trail_ == [2, 4]


def test_partial_fit_goes_on_with_the_numbers(fitted_with):
    witness = Witness()
    model = fitted_with(witness).partial_fit(X).partial_fit(X)
    ends = [
        (number, extra["max_subtasks"])
        for hook, task, number, extra in witness.heard
        if hook == "end"
    ]
    assert ends == [(0, 0), (0, None), (1, 0), (0, None)]
    assert len(model.history_) == 2


def test_epochs_end_in_their_order():
    with FitEvents(SupportedLearner()) as events:
        events.epoch_begin(4)
        with pytest.raises(
            ValueError, match="k must be the number of the epoch that began last, 4; got 3"
        ):
            events.epoch_end(3)


def test_blocks_reach_a_callback_as_they_are(fitted_with):
    witness, blocks = Witness(), RowBlocks([X])
    fitted_with(witness).fit(blocks)
    assert all(extra["X"] is blocks for hook, *_, extra in witness.heard if hook == "end")


# What goes wrong


@pytest.mark.parametrize("hook", ["setup", "begin", "end", "teardown"])
def test_a_failing_callback_surfaces_and_all_are_torn_down(fitted_with, hook):
    first, failing, last = Witness(), Witness("the second", fail_in=hook), Witness()
    model = fitted_with(first, failing, last)
    with pytest.raises(RuntimeError, match=f"the second failed in {hook}"):
        model.fit(X)
    assert first.hooks()[-1] == failing.hooks()[-1] == ("teardown", "fit", 0)
    was_set_up = hook != "setup"
    assert [h for h, *_ in last.hooks() if h in {"setup", "teardown"}] == [
        "setup",
        "teardown",
    ] * was_set_up
    assert not leftovers(model)
    failing.fail_in = None
    failing.heard.clear()
    model.fit(X)
    assert failing.hooks() == ALL_HOOKS


def test_a_failing_teardown_does_not_hide_the_failure_of_the_fit(fitted_with):
    with pytest.raises(RuntimeError, match="failed in teardown") as caught:
        fitted_with(Witness(fail_in="teardown"), losses=[]).fit(X)
    assert isinstance(caught.value.__context__, IndexError)


def test_an_interrupted_fit_is_torn_down(fitted_with):
    witness = Witness()
    with pytest.raises(IndexError):
        fitted_with(witness, losses=[1.0]).fit(X)
    assert witness.hooks()[-2:] == [("begin", "epoch", 1), ("teardown", "fit", 0)]


def test_a_hook_cannot_ask_for_what_there_is_not(fitted_with):
    class Curious(Callback):
        def on_fit_task_end(self, estimator, context, *, weather=None):
            return None

    with pytest.raises(TypeError, match="weather"):
        fitted_with(Curious()).fit(X)


@pytest.mark.parametrize("wrong", [Witness, object(), "progress"])
def test_set_callbacks_takes_callbacks_only(learner, wrong):
    with pytest.raises(TypeError, match="callbacks must be instances"):
        learner().set_callbacks(wrong)


# With scikit-learn's callbacks and meta-estimators


def test_scikit_learn_monitors_scores_of_the_epochs():
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring=lambda model, X, y: {"level": model.score(X)})
    SupportedLearner().set_callbacks(monitor).fit(X, np.zeros(6))
    scores = [row["level"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert scores == [1.0, 2.0, 3.0]


def test_scikit_learn_progress_bar_reaches_the_epochs_through_search_and_pipeline():
    from sklearn.callback import ProgressBar as TheirBar
    from sklearn.callback import _progressbar

    bar = TheirBar(max_propagation_depth=None)
    events = []
    with pytest.MonkeyPatch.context() as patch:
        send = _progressbar.send
        patch.setattr(
            _progressbar,
            "send",
            lambda handle, event: (events.append(event.copy()), send(handle, event)),
        )
        search = GridSearchCV(
            make_pipeline(StandardScaler(), SupportedLearner()),
            {"supportedlearner__max_iter": [2, 4]},
            cv=2,
        )
        search.set_callbacks(bar).fit(X)
    fits = [event for event in events if event.get("estimator_name") == "SupportedLearner"]
    assert sorted(event["max_subtasks"] for event in fits) == [2, 2, 4, 4, 4]
    inside = [event["path"] for event in events if event["event"] == "end"]
    assert all([*fit["path"], k] in inside for fit in fits for k in range(fit["max_subtasks"]))


def test_our_callbacks_hear_the_fits_of_a_search():
    witness = Witness()
    GridSearchCV(SupportedLearner().set_callbacks(witness), {"max_iter": [1, 2]}, cv=2).fit(X)
    epochs = [
        number for hook, task, number, _ in witness.heard if hook == "end" and task == "epoch"
    ]
    assert epochs == [0, 0, 0, 1, 0, 1, 0, 1]
    assert [hook for hook, *_ in witness.heard].count("teardown") == 5


def test_a_search_in_processes_writes_a_line_for_each_fit(capfd):
    # A generator of the package, for worker processes cannot import this file.
    model = Autoencoder(
        1, hidden_layer_sizes=(2,), max_iter=2, device="cpu", random_state=0, verbose=1
    )
    GridSearchCV(model, {"n_components": [1]}, cv=2, n_jobs=2, refit=False).fit(
        np.random.default_rng(0).random((40, 3))
    )
    lines = [line for line in capfd.readouterr().err.splitlines() if "Autoencoder" in line]
    assert [line[:21] for line in lines] == ["Autoencoder: 2/2 epoc"] * 2
    assert all("loss=" in line for line in lines)


# Copies


@pytest.mark.parametrize(
    "callback",
    [
        ProgressBar(),
        Checkpoint("models", every=2, keep=None, best_only=True),
        TensorBoard("runs", every=3),
        SampleHistory(every=4, n_samples=2, random_state=5),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_copies_are_independent(callback):
    for twin in (clone(callback), copy.deepcopy(callback), pickle.loads(pickle.dumps(callback))):
        assert twin is not callback
        assert vars(twin) == vars(callback) == callback.get_params()


def test_copies_in_the_middle_of_a_fit(learner, tmp_path):
    """Open files and bars stay with the fit that opened them."""

    class Copier(Callback):
        def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
            pickle.loads(
                pickle.dumps([callback for callback in estimator.callbacks if callback is not self])
            )
            copy.deepcopy(bar)

    bar = ProgressBar()
    shipped = [bar, TensorBoard(tmp_path / "runs"), SampleHistory()]
    learner(callbacks=[*shipped, Copier()]).fit(X)
    assert [vars(clone(callback)) for callback in shipped] == [
        callback.get_params() for callback in shipped
    ]


def test_a_clone_does_not_hold_the_draws():
    history = SampleHistory()
    SupportedLearner(callbacks=[history]).fit(X)
    twin = clone(history)
    with pytest.raises(AttributeError, match="SampleHistory has no draws yet"):
        _ = twin.samples_
    assert len(pickle.loads(pickle.dumps(history)).samples_) == 3


# Progress bar


def test_progress_bar_counts_epochs_and_shows_losses(fitted_with, capsys):
    fitted_with(ProgressBar(), scores=[0.0, 0.0, -4.5], losses=[1.0, 1.0, 0.125]).fit(X)
    out, err = capsys.readouterr()
    assert out == ""
    last = err.replace("\r", "\n").strip().splitlines()[-1]
    assert "3/3" in last
    assert "loss=0.125, validation_score=-4.5" in last


def test_no_bar_without_a_progress_bar(learner, capsys):
    learner(callbacks=[SlimWitness()]).fit(X)
    assert capsys.readouterr() == ("", "")


def test_progress_bar_of_unknown_length_goes_on(learner, capsys):
    learner(callbacks=[ProgressBar()]).partial_fit(X).partial_fit(X)
    lines = capsys.readouterr().err.replace("\r", "\n").strip().splitlines()
    assert lines[-1].startswith("SupportedLearner: 2epoch") or lines[-1].startswith(
        "OldLearner: 2epoch"
    )


def test_one_bar_serves_fits_in_threads(learner, capsys):
    bar, errors = ProgressBar(), []

    def fit():
        try:
            learner(max_iter=20, callbacks=[bar]).fit(X)
        except Exception as error:
            errors.append(error)

    threads = [Thread(target=fit) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert capsys.readouterr().err.count("20/20") >= 4


def test_progress_bar_is_a_widget_in_a_notebook(monkeypatch):
    from tqdm import notebook, tqdm

    from probgen.training.callbacks._progress import progress_bar_class

    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(notebook, "IProgress", object(), raising=False)
    before = list(warnings.filters)
    assert progress_bar_class() is notebook.tqdm
    monkeypatch.setattr(notebook, "IProgress", None)
    assert progress_bar_class() is tqdm
    shell.config = {}
    assert progress_bar_class() is tqdm
    assert warnings.filters == before


def test_the_callbacks_load_neither_torch_nor_matplotlib():
    code = (
        "import sys, probgen.training.callbacks; assert not {'torch', 'matplotlib', 'tensorboard'}"
        " & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
