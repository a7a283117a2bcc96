"""Checkpoints, draws by epoch and TensorBoard keep what the model was after each epoch."""

import copy
import io
import sys
import types

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import BaseEstimator
from sklearn.preprocessing import StandardScaler

import probgen
from probgen.base import GeneratorMixin
from probgen.row_blocks import RowBlocks
from probgen.training import Trainer
from probgen.training.callbacks import (
    CallbackSupport,
    Checkpoint,
    FitEvents,
    SampleHistory,
    TensorBoard,
)
from probgen.training.history import History

X = np.arange(12.0).reshape(6, 2)


class Learner(CallbackSupport, GeneratorMixin, BaseEstimator):
    """Generator whose draws after epoch k are k plus noise, with a network that pads its rows."""

    def __init__(
        self,
        max_iter=3,
        callbacks=(),
        losses=None,
        scores=None,
        image_shape=None,
        random_state=None,
    ):
        self.max_iter = max_iter
        self.callbacks = callbacks
        self.losses = losses
        self.scores = scores
        self.image_shape = image_shape
        self.random_state = random_state

    def fit(self, X, y=None):
        self.history_ = History()
        return self._train(X, self.max_iter)

    def partial_fit(self, X, y=None):
        if not hasattr(self, "history_"):
            self.history_ = History()
        return self._train(X, 1)

    def _train(self, X, n_epochs):
        self._validate(next(iter(X)) if isinstance(X, RowBlocks) else X, reset=True)
        self._start_stream()
        network = torch.nn.Sequential(torch.nn.Linear(self.n_features_in_, 3), torch.nn.ReLU())

        def fitted_attributes():
            return {"network_": copy.deepcopy(network), "level_": len(self.history_)}

        with FitEvents(self, self.callbacks, X=X, fitted_attributes=fitted_attributes) as events:
            for k in range(len(self.history_), len(self.history_) + n_epochs):
                events.epoch_begin(k)
                record = {
                    "epoch": k + 1,
                    "loss": 1.0 / (k + 1) if self.losses is None else self.losses[k],
                }
                if self.scores is not None:
                    record["validation_score"] = self.scores[k]
                self.history_.append(record)
                events.epoch_end(k)
            self.network_, self.level_ = network, len(self.history_)
        return self

    def _sample(self, n_samples, generator):
        return self.level_ + 0.1 * generator.random((n_samples, self.n_features_in_))

    def _transform(self, X):
        padded = np.concatenate([X, np.zeros((10, X.shape[1]))])
        with torch.inference_mode():
            return self.network_(torch.from_numpy(padded).float()).numpy()[: len(X)]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


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


def test_checkpoint_keeps_the_last_models(saved, tmp_path):
    folder = tmp_path / "new" / "models"
    Learner(callbacks=[Checkpoint(folder, every=2, keep=2)], max_iter=7).fit(X)
    assert list(saved) == ["epoch-0002.probgen", "epoch-0004.probgen", "epoch-0006.probgen"]
    assert names(folder) == ["epoch-0004.probgen", "epoch-0006.probgen"]


def test_a_checkpoint_is_the_model_of_its_epoch(saved, tmp_path):
    Learner(callbacks=[Checkpoint(tmp_path, keep=None)], random_state=0).fit(X)
    models = list(saved.values())
    assert [model.level_ for model in models] == [1, 2, 3]
    assert [np.floor(model.sample(random_state=0)).max() for model in models] == [1, 2, 3]
    assert not any(
        "callback" in name for model in models for name in vars(model) if name != "callbacks"
    )


def test_a_checkpoint_opens_as_a_fitted_model_without_callbacks(tmp_path):
    class Stranger(Checkpoint):
        """Class that no file could name."""

    callbacks = [Stranger(tmp_path, every=3)]
    model = Learner(callbacks=callbacks, random_state=0)
    model.trainer = Trainer(callbacks=[Stranger(tmp_path)], ema_decay=0.5)
    model.set_callbacks(*callbacks).set_params(callbacks=()).fit(X)
    opened = probgen.load(tmp_path / "epoch-0003.probgen", trusted=[Learner])
    np.testing.assert_array_equal(opened.sample(2, random_state=1), model.sample(2, random_state=1))
    assert opened.history_ == model.history_
    assert opened.trainer.ema_decay == 0.5
    assert len(model.trainer.callbacks) == 1


def test_checkpoints_of_partial_fits_are_kept_in_number_too(saved, tmp_path):
    model = Learner(callbacks=[Checkpoint(tmp_path, keep=2)])
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
def test_best_models_only(saved, tmp_path, params, epochs):
    every = params.get("every", 1)
    rest = {name: value for name, value in params.items() if name != "every"}
    Learner(
        callbacks=[Checkpoint(tmp_path, every=every, keep=None, best_only=True)], max_iter=4, **rest
    ).fit(X)
    assert list(saved) == [f"epoch-{epoch:04d}.probgen" for epoch in epochs]


def test_best_only_needs_something_to_compare(saved, tmp_path):
    class Silent(Learner):
        def fit(self, X, y=None):
            with FitEvents(self, self.callbacks, fitted_attributes=dict) as events:
                events.epoch_begin(0)
                events.epoch_end(0)

    with pytest.raises(
        ValueError,
        match="best_only=True needs a history_ with a loss or a validation_score, which S",
    ):
        Silent(callbacks=[Checkpoint(tmp_path, best_only=True)]).fit(X)


def test_a_full_disk_is_warned_of_and_the_fit_goes_on(monkeypatch, tmp_path):
    def save(model, path):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(sys.modules, "probgen.persistence", types.SimpleNamespace(save=save))
    model = Learner(max_iter=1, callbacks=[Checkpoint(tmp_path)])
    with pytest.warns(
        UserWarning,
        match=r"could not write '.*epoch-0001.probgen': No space left on device; the fit",
    ):
        model.fit(X)
    assert model.level_ == 1


@pytest.mark.parametrize("make, name", [(Checkpoint, "folder"), (TensorBoard, "log_dir")])
def test_a_folder_that_cannot_be_made(tmp_path, make, name):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        OSError, match=f"{name} must be a folder that can be written to; got '.*file'"
    ):
        Learner(callbacks=[make(tmp_path / "file")]).fit(X)


@pytest.mark.parametrize(
    "callback, sentence",
    [
        (Checkpoint("models", every=0), "every must be an integer >= 1; got 0"),
        (Checkpoint("models", keep=0), "keep must be an integer >= 1; got 0. Or None, for all"),
        (Checkpoint(None), "folder must be the path of a folder; got None"),
        (TensorBoard("runs", every=0.5), "every must be an integer >= 1; got 0.5"),
        (TensorBoard("runs", n_samples=0), "n_samples must be an integer >= 1; got 0"),
        (
            TensorBoard("runs", random_state="one"),
            "random_state must be an integer, one seed for all draws; got 'one'",
        ),
        (TensorBoard(3), "log_dir must be the path of a folder; got 3"),
        (SampleHistory(every=-1), "every must be an integer >= 1; got -1"),
        (SampleHistory(n_samples=None), "n_samples must be an integer >= 1; got None"),
        (
            SampleHistory(random_state=None),
            "random_state must be an integer, one seed for all draws; got None",
        ),
    ],
)
def test_parameters_are_checked_before_the_fit(callback, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=sentence):
        Learner(callbacks=[callback]).fit(X)
    assert names(tmp_path) == []


# SampleHistory


def test_draws_of_every_few_epochs_come_from_one_seed():
    history = SampleHistory(every=2, n_samples=4, random_state=7)
    model = Learner(callbacks=[history], max_iter=5, random_state=0).fit(X)
    np.testing.assert_array_equal(history.epochs_, [2, 4])
    assert history.samples_.shape == (2, 4, 2)
    np.testing.assert_allclose(history.samples_[1] - history.samples_[0], 2.0)
    np.testing.assert_allclose(history.samples_[0], model.sample(4, random_state=7) - 3.0)


def test_draws_leave_the_stream_of_the_fit_alone():
    watched = Learner(callbacks=[SampleHistory()], random_state=0).fit(X)
    np.testing.assert_array_equal(watched.sample(3), Learner(random_state=0).fit(X).sample(3))


def test_a_fit_that_goes_on_adds_draws_and_a_new_one_begins_again():
    history = SampleHistory(n_samples=1)
    model = Learner(callbacks=[history]).partial_fit(X).partial_fit(X)
    np.testing.assert_array_equal(history.epochs_, [1, 2])
    model.fit(X)
    np.testing.assert_array_equal(history.epochs_, [1, 2, 3])
    Learner(max_iter=2, callbacks=[history]).fit(np.zeros((3, 5)))
    assert history.samples_.shape == (2, 1, 5)


def test_draws_of_a_frame_are_kept_as_an_array():
    history = SampleHistory(n_samples=2)
    Learner(callbacks=[history]).set_output(transform="pandas").fit(
        pd.DataFrame(X, columns=["a", "b"])
    )
    assert type(history.samples_) is np.ndarray


def test_an_estimator_that_cannot_sample_is_refused():
    with pytest.raises(
        TypeError, match=r"needs an estimator that can sample; got StandardScaler\(\)"
    ):
        StandardScaler().set_callbacks(SampleHistory()).fit(X)


def test_grid_has_a_row_for_each_epoch():
    from matplotlib.figure import Figure

    history = SampleHistory(n_samples=5)
    Learner(callbacks=[history]).fit(np.zeros((3, 6)))
    display = history.plot(image_shape=(2, 3), ax=Figure().subplots(), value_range=(0, 4))
    picture = display.image_.get_array()
    assert picture.shape == (3 * 3 - 1, 5 * 4 - 1)
    np.testing.assert_allclose(picture[::3, ::4], history.samples_[:, :, 0] / 4)
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == [
        "epoch 1",
        "epoch 2",
        "epoch 3",
    ]


def test_animation_has_a_frame_for_each_epoch(tmp_path):
    history = SampleHistory(n_samples=9)
    Learner(callbacks=[history]).fit(np.zeros((3, 16)))
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


def test_animation_of_two_features_shows_points(tmp_path):
    history = SampleHistory(n_samples=50)
    Learner(callbacks=[history]).fit(
        X
    )  # after each epoch the draws are one farther, in both features
    path = history.save_gif(tmp_path / "draws.gif", color="red", value_range=(-3, 7))
    centres = []
    with Image.open(path) as film:
        for k in range(3):
            film.seek(k)
            red, green, _ = np.moveaxis(np.asarray(film.convert("RGB")).astype(int), 2, 0)
            centres.append(np.mean(np.nonzero(red - green > 100), axis=1) * [-1, 1])  # up, right
    steps = np.diff(centres, axis=0)
    assert steps.min() > 20
    np.testing.assert_allclose(steps, steps.mean(), atol=3)  # pixels


def test_animation_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    history = SampleHistory(n_samples=4)
    Learner(callbacks=[history]).fit(X)
    path = tmp_path / "draws.gif"
    path.write_bytes(b"the old one")
    monkeypatch.setattr(
        Image.Image, "save", lambda self, file, **params: (file.write_bytes(b"half"), 1 / 0)
    )
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
        (
            "draws.gif",
            {"value_range": (3, 1)},
            r"value_range must be \(low, high\) with low <= high",
        ),
        (
            "draws.gif",
            {"value_range": "dark"},
            r"value_range must be \(low, high\) with low <= high",
        ),
        (
            "draws.gif",
            {"image_shape": (3, 3)},
            r"image_shape=\(3, 3\) holds 9 numbers, but rows have 2",
        ),
    ],
)
def test_animation_refuses_what_it_cannot_write(name, params, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    history = SampleHistory(n_samples=1)
    Learner(callbacks=[history]).fit(X)
    with pytest.raises(ValueError, match=sentence):
        history.save_gif(name, **params)
    assert names(tmp_path) == []


# TensorBoard


def read_events(folder):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    return EventAccumulator(
        str(folder), size_guidance={"histograms": 0, "images": 0, "scalars": 0}
    ).Reload()


def test_tensorboard_gets_the_history(tmp_path):
    Learner(callbacks=[TensorBoard(tmp_path)], scores=[-3.0, -2.0, -1.0]).fit(X)
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
    model = Learner(callbacks=[TensorBoard(tmp_path, every=2, n_samples=4)]).fit(data)
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


def test_hooks_are_removed_from_the_networks_that_were_watched(tmp_path):
    """Also where the model fails in between."""

    class Failing(Learner):
        def _sample(self, n_samples, generator):
            networks.append(self.network_)
            assert self.network_[0]._forward_hooks
            raise RuntimeError("no draws today")

    networks = []
    with pytest.raises(RuntimeError, match="no draws today"):
        Failing(callbacks=[TensorBoard(tmp_path)]).fit(X)
    assert not any(layer._forward_hooks for network in networks for layer in network)


def test_tensorboard_gets_pictures_where_there_are_images(tmp_path):
    wide = np.zeros((3, 4 * 5 * 3))
    Learner(max_iter=1, image_shape=(4, 5, 3), callbacks=[TensorBoard(tmp_path, n_samples=2)]).fit(
        wide
    )
    events = read_events(tmp_path)
    assert events.Tags()["histograms"][-1] == "samples"
    (picture,) = events.Images("samples")
    assert Image.open(io.BytesIO(picture.encoded_image_string)).size == (2 * 5, 4)


def test_tensorboard_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(
        ImportError,
        match=r"TensorBoard needs tensorboard; .* `pip install 'probgen\[tensorboard\]'`",
    ):
        Learner(callbacks=[TensorBoard(tmp_path)]).fit(X)
