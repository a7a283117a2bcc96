"""Callbacks hear of every fit in the same way, by whatever road they came, and leave nothing behind."""

import copy
import importlib.util
import io
import pickle
import sys
import types
import warnings
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator, clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import probgen.training.callbacks
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
    """Generator whose draws after epoch k are k plus noise; `trail_` counts the fitted estimators it was asked for."""

    events = FitEvents

    def __init__(self, max_iter=3, callbacks=(), losses=None, scores=None, image_shape=None, random_state=None):
        self.max_iter = max_iter
        self.callbacks = callbacks
        self.losses = losses
        self.scores = scores
        self.image_shape = image_shape
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
        torch.manual_seed(0)
        network = torch.nn.Sequential(torch.nn.Linear(self.n_features_in_, 3), torch.nn.ReLU())

        def fitted_attributes():
            self.trail_.append(len(self.history_))
            return {"network_": copy.deepcopy(network), "level_": len(self.history_)}

        with self.events(
            self, self.callbacks, max_iter=max_iter, X=X, y=y, fitted_attributes=fitted_attributes
        ) as events:
            for k in range(len(self.history_), len(self.history_) + n_epochs):
                events.epoch_begin(k)
                record = {"epoch": k + 1, "loss": 1.0 / (k + 1) if self.losses is None else self.losses[k]}
                if self.scores is not None:
                    record["validation_score"] = self.scores[k]
                self.history_.append(record)
                if events.epoch_end(k):
                    break
            self.network_, self.level_ = network, len(self.history_)
        return self

    def _sample(self, n_samples, generator):
        return self.level_ + 0.1 * generator.random((n_samples, self.n_features_in_))

    def _transform(self, X):
        padded = np.concatenate([X, np.zeros((10, X.shape[1]))])
        with torch.inference_mode():
            return self.network_(torch.from_numpy(padded).float()).numpy()[: len(X)]

    def _score_samples(self, X):
        return np.full(len(X), float(self.level_))

    @property
    def _n_features_out(self):
        return 3


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
        more = {"max_subtasks": context.max_subtasks, "parent": parent, "name": context.estimator_name}
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
ALL_HOOKS = [("setup", "fit", 0), ("begin", "fit", 0), *EPOCHS, ("end", "fit", 0), ("teardown", "fit", 0)]


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
    return SupportedLearner if request.param == "sklearn" else request.getfixturevalue("old_learner")


@pytest.fixture(params=["set_callbacks", "callbacks"])
def fitted_with(request, learner):
    """A function that makes a generator with these callbacks, by either road."""

    def make(*callbacks, **params):
        if request.param == "callbacks":
            return learner(callbacks=callbacks, **params)
        return learner(**params).set_callbacks(*callbacks)

    return make


def leftovers(model):
    return [name for name in vars(model) if "callback" in name and name not in {"callbacks", "_skl_callbacks"}]


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
    ends = [(number, extra["max_subtasks"]) for hook, task, number, extra in witness.heard if hook == "end"]
    assert ends == [(0, 0), (0, None), (1, 0), (0, None)]
    assert len(model.history_) == 2


def test_epochs_end_in_their_order():
    with FitEvents(SupportedLearner()) as events:
        events.epoch_begin(4)
        with pytest.raises(ValueError, match="k must be the number of the epoch that began last, 4; got 3"):
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
    assert [h for h, *_ in last.hooks() if h in {"setup", "teardown"}] == ["setup", "teardown"] * was_set_up
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
        patch.setattr(_progressbar, "send", lambda handle, event: (events.append(event.copy()), send(handle, event)))
        search = GridSearchCV(
            make_pipeline(StandardScaler(), SupportedLearner()), {"supportedlearner__max_iter": [2, 4]}, cv=2
        )
        search.set_callbacks(bar).fit(X)
    fits = [event for event in events if event.get("estimator_name") == "SupportedLearner"]
    assert sorted(event["max_subtasks"] for event in fits) == [2, 2, 4, 4, 4]
    inside = [event["path"] for event in events if event["event"] == "end"]
    assert all([*fit["path"], k] in inside for fit in fits for k in range(fit["max_subtasks"]))


def test_our_callbacks_hear_the_fits_of_a_search():
    witness = Witness()
    GridSearchCV(SupportedLearner().set_callbacks(witness), {"max_iter": [1, 2]}, cv=2).fit(X)
    epochs = [number for hook, task, number, _ in witness.heard if hook == "end" and task == "epoch"]
    assert epochs == [0, 0, 0, 1, 0, 1, 0, 1]
    assert [hook for hook, *_ in witness.heard].count("teardown") == 5


def test_a_search_in_processes_writes_a_line_for_each_fit(capfd):
    search = GridSearchCV(SupportedLearner(callbacks=[ProgressBar()]), {"max_iter": [2]}, cv=2, n_jobs=2, refit=False)
    search.fit(X)
    lines = capfd.readouterr().err.splitlines()
    assert [line[:26] for line in lines if "SupportedLearner" in line] == ["SupportedLearner: 2/2 epoc"] * 2
    assert all("loss=0.5" in line for line in lines)


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
            pickle.loads(pickle.dumps([callback for callback in estimator.callbacks if callback is not self]))
            copy.deepcopy(bar)

    bar = ProgressBar()
    shipped = [bar, TensorBoard(tmp_path / "runs"), SampleHistory()]
    learner(callbacks=[*shipped, Copier()]).fit(X)
    assert [vars(clone(callback)) for callback in shipped] == [callback.get_params() for callback in shipped]


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
    assert lines[-1].startswith("SupportedLearner: 2epoch") or lines[-1].startswith("OldLearner: 2epoch")


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

    from probgen.training.callbacks._progress import _bar_class

    shell = types.SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setattr(notebook, "IProgress", object(), raising=False)
    before = list(warnings.filters)
    assert _bar_class() is notebook.tqdm
    monkeypatch.setattr(notebook, "IProgress", None)
    assert _bar_class() is tqdm
    shell.config = {}
    assert _bar_class() is tqdm
    assert warnings.filters == before


# Checkpoint


@pytest.fixture
def saved(monkeypatch):
    """Models by the names of their files, in the order in which they were saved."""
    models = {}

    def save(model, path):
        path.touch()
        models[path.name] = model

    monkeypatch.setitem(sys.modules, "probgen.persistence", types.SimpleNamespace(save=save))
    return models


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_checkpoint_keeps_the_last_models(fitted_with, saved, tmp_path):
    folder = tmp_path / "new" / "models"
    fitted_with(Checkpoint(folder, every=2, keep=2), max_iter=7).fit(X)
    assert list(saved) == ["epoch-0002.probgen", "epoch-0004.probgen", "epoch-0006.probgen"]
    assert names(folder) == ["epoch-0004.probgen", "epoch-0006.probgen"]


def test_a_checkpoint_is_the_model_of_its_epoch(fitted_with, saved, tmp_path):
    fitted_with(Checkpoint(tmp_path, keep=None), random_state=0).fit(X)
    models = list(saved.values())
    assert [model.level_ for model in models] == [1, 2, 3]
    assert [np.floor(model.sample(random_state=0)).max() for model in models] == [1, 2, 3]
    assert not any("callback" in name for model in models for name in vars(model) if name != "callbacks")


def test_checkpoints_of_partial_fits_are_kept_in_number_too(learner, saved, tmp_path):
    model = learner(callbacks=[Checkpoint(tmp_path, keep=2)])
    for _ in range(4):
        model.partial_fit(X)
    assert names(tmp_path) == ["epoch-0003.probgen", "epoch-0004.probgen"]


@pytest.mark.parametrize(
    "params, epochs",
    [
        ({"losses": [5.0, 3.0, 4.0, 2.0]}, [1, 2, 4]),
        ({"losses": [5.0, 3.0, 4.0, 2.0], "scores": [-2.0, -3.0, -1.0, -1.0]}, [1, 3]),
        ({"losses": [5.0, 3.0, 4.0, 3.5], "every": 2}, [2]),
    ],
    ids=["loss", "score", "every"],
)
def test_best_models_only(fitted_with, saved, tmp_path, params, epochs):
    every = params.get("every", 1)
    rest = {name: value for name, value in params.items() if name != "every"}
    fitted_with(Checkpoint(tmp_path, every=every, keep=None, best_only=True), max_iter=4, **rest).fit(X)
    assert list(saved) == [f"epoch-{epoch:04d}.probgen" for epoch in epochs]


def test_best_only_needs_something_to_compare(learner, saved, tmp_path):
    class Silent(learner):
        def fit(self, X, y=None):
            with self.events(self, self.callbacks, fitted_attributes=dict) as events:
                events.epoch_begin(0)
                events.epoch_end(0)

    with pytest.raises(ValueError, match="best_only=True needs a history_ with a loss or a validation_score, which S"):
        Silent(callbacks=[Checkpoint(tmp_path, best_only=True)]).fit(X)


def test_a_full_disk_is_warned_of_and_the_fit_goes_on(learner, monkeypatch, tmp_path):
    def save(model, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(sys.modules, "probgen.persistence", types.SimpleNamespace(save=save))
    model = learner(max_iter=1, callbacks=[Checkpoint(tmp_path)])
    with pytest.warns(UserWarning, match=r"could not write '.*epoch-0001.probgen': No space left on device; the fit"):
        model.fit(X)
    assert model.level_ == 1


@pytest.mark.parametrize("make, name", [(Checkpoint, "folder"), (TensorBoard, "log_dir")])
def test_a_folder_that_cannot_be_made(learner, tmp_path, make, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OSError, match=f"{name} must be a folder that can be written to; got '.*file'"):
        learner(callbacks=[make(tmp_path / "file")]).fit(X)


@pytest.mark.parametrize(
    "callback, sentence",
    [
        (Checkpoint("models", every=0), "every must be an integer >= 1; got 0"),
        (Checkpoint("models", keep=0), "keep must be an integer >= 1; got 0. Or None, for all"),
        (Checkpoint(None), "folder must be the path of a folder; got None"),
        (TensorBoard("runs", every=0.5), "every must be an integer >= 1; got 0.5"),
        (TensorBoard("runs", n_samples=0), "n_samples must be an integer >= 1; got 0"),
        (TensorBoard(3), "log_dir must be the path of a folder; got 3"),
        (SampleHistory(every=-1), "every must be an integer >= 1; got -1"),
        (SampleHistory(n_samples=None), "n_samples must be an integer >= 1; got None"),
        (SampleHistory(random_state=None), "random_state must be an integer, one seed for all draws; got None"),
    ],
)
def test_parameters_are_checked_before_the_fit(learner, callback, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        learner(callbacks=[callback]).fit(X)
    assert names(tmp_path) == []


# SampleHistory


def test_draws_of_every_few_epochs_come_from_one_seed(fitted_with):
    history = SampleHistory(every=2, n_samples=4, random_state=7)
    model = fitted_with(history, max_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(history.epochs_, [2, 4])
    assert history.samples_.shape == (2, 4, 2)
    np.testing.assert_allclose(history.samples_[1] - history.samples_[0], 2.0)
    np.testing.assert_allclose(history.samples_[0], model.sample(4, random_state=7) - 3.0)


def test_draws_leave_the_stream_of_the_fit_alone(learner):
    watched = learner(callbacks=[SampleHistory()], random_state=0).fit(X)
    np.testing.assert_array_equal(watched.sample(3), learner(random_state=0).fit(X).sample(3))


def test_a_fit_that_goes_on_adds_draws_and_a_new_one_begins_again(learner):
    history = SampleHistory(n_samples=1)
    model = learner(callbacks=[history]).partial_fit(X).partial_fit(X)
    np.testing.assert_array_equal(history.epochs_, [1, 2])
    model.fit(X)
    np.testing.assert_array_equal(history.epochs_, [1, 2, 3])
    learner(max_iter=2, callbacks=[history]).fit(np.zeros((3, 5)))
    assert history.samples_.shape == (2, 1, 5)


def test_draws_of_a_frame_are_kept_as_an_array(learner):
    history = SampleHistory(n_samples=2)
    learner(callbacks=[history]).set_output(transform="pandas").fit(pd.DataFrame(X, columns=["a", "b"]))
    assert type(history.samples_) is np.ndarray


def test_an_estimator_that_cannot_sample_is_refused():
    with pytest.raises(TypeError, match=r"needs an estimator that can sample; got StandardScaler\(\)"):
        StandardScaler().set_callbacks(SampleHistory()).fit(X)


def test_grid_has_a_row_for_each_epoch(learner):
    from matplotlib.figure import Figure

    history = SampleHistory(n_samples=5)
    learner(callbacks=[history]).fit(np.zeros((3, 6)))
    display = history.plot(image_shape=(2, 3), ax=Figure().subplots(), value_range=(0, 4))
    picture = display.image_.get_array()
    assert picture.shape == (3 * 3 - 1, 5 * 4 - 1)
    np.testing.assert_allclose(picture[::3, ::4], history.samples_[:, :, 0] / 4)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["epoch 1", "epoch 2", "epoch 3"]


def test_animation_has_a_frame_for_each_epoch(learner, tmp_path):
    history = SampleHistory(n_samples=9)
    learner(callbacks=[history]).fit(np.zeros((3, 16)))
    path = history.save_gif(tmp_path / "draws.gif", duration=0.5, value_range=(0, 4))
    assert names(tmp_path) == ["draws.gif"]
    brightness = []
    with Image.open(path) as film:
        assert film.n_frames == 3
        for k in range(3):
            film.seek(k)
            assert film.info["duration"] == 500
            pixels = np.asarray(film.convert("L"))
            centre = pixels[len(pixels) // 2, pixels.shape[1] // 2]
            brightness.append(centre / 255)
    np.testing.assert_allclose(brightness, (np.arange(3) + 1.05) / 4, atol=0.03)


def test_animation_that_cannot_be_written_leaves_the_old_one(learner, tmp_path, monkeypatch):
    history = SampleHistory(n_samples=4)
    learner(callbacks=[history]).fit(X)
    path = tmp_path / "draws.gif"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(Image.Image, "save", lambda self, file, **params: (file.write_bytes(b"half"), 1 / 0))
    with pytest.raises(ZeroDivisionError):
        history.save_gif(path)
    assert names(tmp_path) == ["draws.gif"]
    assert path.read_bytes() == b"the old one"


@pytest.mark.parametrize(
    "name, params, sentence",
    [
        ("draws.png", {}, "must end in .gif; got 'draws.png'"),
        ("nowhere/draws.gif", {}, "folder must exist"),
        ("draws.gif", {"duration": 0}, r"duration must be a finite number >= 0\.02; got 0"),
        ("draws.gif", {"image_shape": (3, 3)}, r"image_shape=\(3, 3\) holds 9 numbers, but rows have 2"),
    ],
)
def test_animation_refuses_what_it_cannot_write(name, params, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = SampleHistory(n_samples=1)
    SupportedLearner(callbacks=[history]).fit(X)
    with pytest.raises(ValueError, match=sentence):
        history.save_gif(name, **params)
    assert names(tmp_path) == []


# TensorBoard


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(str(folder), size_guidance={"histograms": 0, "images": 0, "scalars": 0}).Reload()


def test_tensorboard_gets_the_history(fitted_with, tmp_path):
    fitted_with(TensorBoard(tmp_path), scores=[-3.0, -2.0, -1.0]).fit(X)
    events = read_events(tmp_path)
    assert set(events.Tags()["scalars"]) == {"loss/loss", "validation_score"}
    losses = events.Scalars("loss/loss")
    assert [event.step for event in losses] == [1, 2, 3]
    np.testing.assert_allclose([event.value for event in losses], [1, 1 / 2, 1 / 3])


@pytest.mark.parametrize(
    "data",
    [X, pd.DataFrame(X, columns=["a", "b"]), RowBlocks([X]), X.tolist()],
    ids=["array", "frame", "blocks", "list"],
)
def test_tensorboard_gets_draws_and_activations_of_the_first_rows(data, tmp_path):
    """The network is that of seed 0, its input 4 rows; the draws are in [epoch, epoch + 0.1]."""
    model = SupportedLearner(callbacks=[TensorBoard(tmp_path, every=2, n_samples=4)]).fit(data)
    events = read_events(tmp_path)
    columns = ["a", "b"] if isinstance(data, pd.DataFrame) else ["x0", "x1"]
    layers = ["activations/network_/0", "activations/network_/1"]
    assert set(events.Tags()["histograms"]) == {*layers, *[f"samples/{name}" for name in columns]}
    (draws,) = events.Histograms(f"samples/{columns[0]}")
    assert draws.step == 2
    assert draws.histogram_value.num == 4
    assert 2.0 <= draws.histogram_value.min <= draws.histogram_value.max <= 2.1
    (linear,) = events.Histograms(layers[0])
    expected = model.network_[0](torch.from_numpy(X[:4]).float()).detach().numpy()
    assert linear.histogram_value.num == expected.size
    np.testing.assert_allclose(linear.histogram_value.sum, expected.sum(), rtol=1e-5)
    assert not any(layer._forward_hooks for layer in model.network_)


def test_hooks_are_removed_from_the_networks_that_were_watched(learner, tmp_path):
    """Also where the model fails in between."""

    class Failing(learner):
        def _sample(self, n_samples, generator):
            networks.append(self.network_)
            assert self.network_[0]._forward_hooks
            raise RuntimeError("no draws today")

    networks = []
    with pytest.raises(RuntimeError, match="no draws today"):
        Failing(callbacks=[TensorBoard(tmp_path)]).fit(X)
    assert not any(layer._forward_hooks for network in networks for layer in network)


def test_tensorboard_gets_pictures_where_there_are_images(learner, tmp_path):
    wide = np.zeros((3, 4 * 5 * 3))
    learner(max_iter=1, image_shape=(4, 5, 3), callbacks=[TensorBoard(tmp_path, n_samples=2)]).fit(wide)
    events = read_events(tmp_path)
    assert events.Tags()["histograms"][-1] == "samples"
    (picture,) = events.Images("samples")
    assert Image.open(io.BytesIO(picture.encoded_image_string)).size == (2 * 5, 4)


def test_tensorboard_says_what_to_install(learner, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match=r"TensorBoard needs tensorboard; .* `pip install 'probgen\[tensorboard\]'`"):
        learner(callbacks=[TensorBoard(tmp_path)]).fit(X)


def test_the_callbacks_load_neither_torch_nor_matplotlib():
    import subprocess

    code = (
        "import sys, probgen.training.callbacks; assert not {'torch', 'matplotlib', 'tensorboard'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
