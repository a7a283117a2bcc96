"""Fitting networks: sources of rows, resuming, bounds of parameters, failures and messages."""

import pickle
import random
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from small_generators import DISCRETE, GENERATORS
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from probgen import Autoencoder, RowBlocks, Trainer, load, save
from probgen.training import Callback, Objective
from probgen.training.neural_generator import NeuralGenerator

X = np.random.default_rng(0).standard_normal((120, 4)).astype(np.float32)


def make(**parameters):
    settings = {
        "hidden_layer_sizes": (6,),
        "max_iter": 3,
        "batch_size": 16,
        "device": "cpu",
        "random_state": 0,
    }
    return Autoencoder(2, **settings | parameters)


def weights(model):
    return [
        p.detach().numpy().copy()
        for network in (model.encoder_, model.decoder_)
        for p in network.parameters()
    ]


def assert_same(model, twin):
    for mine, its in zip(weights(model), weights(twin), strict=True):
        np.testing.assert_array_equal(mine, its)


class Items(Dataset):
    """Rows of a torch data set, with labels that are not looked at."""

    def __len__(self):
        return len(X)

    def __getitem__(self, index):
        return torch.from_numpy(X[index]), index % 2


class Stream(IterableDataset):
    def __iter__(self):
        return iter(torch.from_numpy(X))


class TestSources:
    @pytest.mark.parametrize(
        "source",
        [
            lambda path: pd.DataFrame(X, columns=list("abcd")),
            lambda path: np.asfortranarray(X),
            lambda path: torch.from_numpy(X),
            lambda path: np.load(path, mmap_mode="r"),
            lambda path: TensorDataset(torch.from_numpy(X)),
            lambda path: Items(),
        ],
        ids=["frame", "fortran", "tensor", "map", "tensors", "items"],
    )
    def test_the_same_rows_give_the_same_weights(self, tmp_path, source):
        np.save(tmp_path / "rows.npy", X)
        assert_same(make().fit(source(tmp_path / "rows.npy")), make().fit(X))

    @pytest.mark.parametrize(
        "source", [lambda: RowBlocks([X[:50], X[50:]]), Stream], ids=["blocks", "stream"]
    )
    def test_rows_in_sequence_are_learned_from(self, source):
        model = make(max_iter=20, learning_rate_init=0.01).fit(source())
        assert model.n_features_in_ == 4
        assert model.history_["loss"][-1] < 0.8 * model.history_["loss"][0]
        assert model.sample(3).shape == (3, 4)
        assert model.reconstruct(X).dtype == np.float32

    def test_a_map_beyond_the_budget_is_streamed(self, tmp_path):
        rows = np.random.default_rng(1).standard_normal((20_000, 40)).astype(np.float32)
        np.save(tmp_path / "rows.npy", rows)
        mapped = np.load(tmp_path / "rows.npy", mmap_mode="r")
        model = make(batch_size=256, trainer=Trainer(memory_budget=0.5)).fit(mapped)
        whole = make(batch_size=256).fit(rows)
        assert model.history_["loss"][-1] == pytest.approx(whole.history_["loss"][-1], rel=0.05)

    @pytest.mark.parametrize(
        "dtype, trained",
        [
            ("uint8", "float32"),
            ("int64", "float32"),
            ("float32", "float32"),
            ("float64", "float64"),
        ],
    )
    def test_precision_is_double_where_the_data_are(self, tmp_path, dtype, trained):
        rows = (10.0 * np.abs(X)).astype(dtype)
        np.save(tmp_path / "rows.npy", rows)
        for source in (rows, np.load(tmp_path / "rows.npy", mmap_mode="r")):
            model = make().fit(source)
            assert {w.dtype for w in weights(model)} == {np.dtype(trained)}
            assert model.sample().dtype == trained


class TestGoingOn:
    def test_warm_start_goes_on(self):
        model = make(warm_start=True).fit(X)
        first = weights(model)
        model.fit(X)
        assert model.n_iter_ == 6
        assert model.history_["epoch"] == [1, 2, 3, 4, 5, 6]
        assert any(not np.array_equal(a, b) for a, b in zip(first, weights(model)))
        assert_same(
            make(noise_fraction=0.0, warm_start=True).fit(X).fit(X),
            make(noise_fraction=0.0, max_iter=6).fit(X),
        )

    def test_passes_of_partial_fit_are_epochs(self):
        model = make(noise_fraction=0.0)
        for _ in range(3):
            model.partial_fit(X)
        assert_same(model, make(noise_fraction=0.0).fit(X))

    @pytest.mark.parametrize("through", ["pickle", "file"])
    def test_partial_fit_goes_on_after_a_reload(self, tmp_path, through):
        model = make(trainer=Trainer(ema_decay=0.9)).partial_fit(X)
        if through == "pickle":
            twin = pickle.loads(pickle.dumps(model))
        else:
            save(model, tmp_path / "model.probgen")
            twin = load(tmp_path / "model.probgen")
        assert_same(model.partial_fit(X), twin.partial_fit(X))
        np.testing.assert_array_equal(model.sample(3), twin.sample(3))
        assert model.history_["loss"] == twin.history_["loss"]

    def test_partial_fit_takes_few_rows(self):
        model = make().partial_fit(X[:2])
        for row in X[2:40]:
            model.partial_fit(row[np.newaxis])
        assert model.n_iter_ == 39
        assert np.isfinite(model.score_samples(X)).all()

    @pytest.mark.parametrize("rows", [X[:, :3], RowBlocks([X[:, :3]])], ids=["array", "blocks"])
    def test_rows_of_another_width(self, rows):
        model = make().partial_fit(X)
        with pytest.raises(
            ValueError, match="X has 3 features, but Autoencoder is expecting 4 features"
        ):
            model.partial_fit(rows)

    def test_early_stopping_stops(self):
        trainer = Trainer(early_stopping=True, n_iter_no_change=2, tol=1e6)  # no gain is enough
        model = make(max_iter=50, trainer=trainer).fit(X)
        assert model.n_iter_ == 3
        assert len(model.history_["validation_score"]) == 3


class TestTrainerWithinReach:
    def test_through_set_params(self):
        model, other = make(), make()
        assert model.set_params(trainer__schedule="cosine").trainer.schedule == "cosine"
        assert other.trainer is None
        model.set_params(trainer=Trainer(schedule="plateau"), trainer__tol=0.5)
        assert (model.trainer.schedule, model.trainer.tol) == ("plateau", 0.5)
        model.set_params(trainer=None, trainer__tol=0.25)
        assert (model.trainer.schedule, model.trainer.tol) == ("constant", 0.25)

    def test_through_a_search(self):
        model = make()
        search = GridSearchCV(
            model, {"trainer__weight_decay": [0.0, 0.1], "n_components": [1, 2]}, cv=2
        ).fit(X)
        assert model.trainer is None
        assert len(set(search.cv_results_["mean_test_score"])) == 4

    def test_clones_do_not_share_it(self):
        model = make(trainer=Trainer())
        assert clone(model).trainer is not model.trainer


class Forgetful(torch.nn.Module):
    """A network of the user's own, with dropout."""

    def __init__(self, n_inputs, n_outputs):
        super().__init__()
        self.dropout, self.linear = torch.nn.Dropout(0.5), torch.nn.Linear(n_inputs, n_outputs)

    def forward(self, X):
        return self.linear(self.dropout(X))


def test_dropout_leaves_the_global_generator_alone():
    encoder = Forgetful(4, 2)
    before = torch.get_rng_state()
    model, twin = make(encoder=encoder).fit(X), make(encoder=encoder).fit(X)
    assert torch.equal(torch.get_rng_state(), before)
    assert_same(model, twin)
    np.testing.assert_array_equal(model.transform(X), model.transform(X))


class Interrupt(Callback):
    def on_fit_task_end(self, estimator, context):
        if context.task_name == "epoch" and len(estimator.history_) == 2:
            raise KeyboardInterrupt


class Spread(Objective):
    """Mean squared distance of rows from a point."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def loss(self, X):
        return (X - self.network.bias).square().sum(1).mean()


class Point(NeuralGenerator):
    """A generator of one's own: draws are the mean of the rows. It writes down its hooks."""

    _networks = ("network_",)

    def __init__(self, max_iter=2, random_state=0, trainer=None, calls=()):
        self.max_iter = max_iter
        self.random_state = random_state
        self.trainer = trainer
        self.calls = calls
        self.batch_size = 16
        self.learning_rate_init = 0.1
        self.device = "cpu"
        self.verbose = 0
        self.warm_start = False

    def _check_parameters(self):
        super()._check_parameters()
        self.calls.append("check")

    def _hold_out(self, rows, trainer, rng):
        self.calls.append("hold out")
        return super()._hold_out(rows, trainer, rng)

    def _build(self, fit):
        self.calls.append("build")
        self.network_ = torch.nn.Linear(1, fit.rows.n_features).to(fit.rows.dtype)

    def _begin(self, fit):
        self.calls.append("begin")

    def _make_objective(self, fit):
        self.calls.append("make objective")
        self.fit_seen = fit
        return Spread(self.network_)

    def _finish(self, fit, generator):
        self.calls.append("finish")
        self.point_ = self.network_.bias.detach().numpy().copy()

    def _sample(self, n_samples, generator):
        return np.tile(self.point_, (n_samples, 1))


class TestHooks:
    FIT = ("check", "hold out", "build", "begin", "make objective", "finish")

    def test_are_called_in_the_order_of_the_documentation(self):
        model = Point(calls=[]).fit(X)
        assert tuple(model.calls) == self.FIT
        model.calls.clear()
        model.partial_fit(X)
        assert model.calls == ["check", "begin", "make objective", "finish"]
        assert model.sample(2).shape == (2, 4)

    def test_know_the_fit(self):
        trainer = Trainer(early_stopping=True, validation_fraction=0.25)
        model = Point(max_iter=7, trainer=trainer, calls=[]).fit(X)
        fit = model.fit_seen
        assert (fit.rows.n_rows, fit.held_out.n_rows, fit.all_rows.n_rows) == (90, 30, 120)
        assert (fit.batch_size, fit.n_batches, fit.max_iter, fit.is_partial) == (16, 6, 7, False)
        np.testing.assert_allclose(fit.all_statistics.mean, X.mean(axis=0), rtol=1e-5, atol=1e-7)
        held_out = np.concatenate([batch.numpy() for (batch,) in fit.held_out.batches(None, 64)])
        rest = (120 * X.mean(axis=0) - held_out.sum(axis=0)) / 90
        np.testing.assert_allclose(fit.statistics.mean, rest, rtol=1e-4, atol=1e-6)

    def test_know_a_pass(self):
        fit = Point(max_iter=7, calls=[]).partial_fit(X[:20]).fit_seen
        assert (fit.batch_size, fit.n_batches, fit.max_iter, fit.is_partial) == (16, 2, 7, True)
        assert fit.held_out is None
        assert fit.all_statistics is fit.statistics


class TestBlocks:
    def lengths(self, model, **settings):
        """Rows of the blocks that a query of 300 rows sees."""
        seen = []

        def function(block):
            seen.append(len(block))
            return block.sum(1)

        rows = np.resize(X, (300, 4))
        np.testing.assert_array_equal(
            model._in_blocks(rows, function, **settings),
            model._in_blocks(rows[::-1], function, **settings)[::-1],
        )
        return seen

    @pytest.mark.parametrize(
        "n_copies, n_rows", [(1, 256), (8, 256), (9, 128), (100, 16), (2048, 1), (10**5, 1)]
    )
    def test_copies_of_the_rows_make_blocks_small(self, n_copies, n_rows, monkeypatch):
        monkeypatch.setattr("probgen.training.neural_generator.FEW_PRODUCTS", 0.0)
        lengths = self.lengths(make().fit(X), n_copies=n_copies)
        assert lengths == [n_rows] * 2 * -(-300 // n_rows)

    def test_small_networks_see_whole_blocks(self):
        assert self.lengths(make().fit(X), n_copies=1000) == [256] * 4

    def test_an_answer_that_is_no_number(self):
        model = make().fit(X)
        rows = np.zeros((3, 4), dtype=np.float32)
        rows[1, 2] = -1e30
        with pytest.raises(ValueError, match="float32 networks can carry; row 1 holds one of size"):
            model._in_blocks(rows, lambda block: block.square() - block.square())


class TestMishaps:
    def test_ctrl_c_leaves_a_usable_model(self):
        model = make(max_iter=9, trainer=Trainer(callbacks=[Interrupt()]))
        with (
            pytest.warns(ConvergenceWarning, match="interrupted in epoch 3; the model is usable"),
            pytest.raises(KeyboardInterrupt),
        ):
            model.fit(X)
        assert model.n_iter_ == 2
        assert np.isfinite(model.score_samples(X)).all()
        assert model.sample(3).shape == (3, 4)

    def test_ctrl_c_in_a_refit_leaves_the_fitted_model(self):
        model = make(max_iter=2).fit(X)
        scores = model.score_samples(X)
        model.set_params(max_iter=9, trainer=Trainer(callbacks=[Interrupt()]))
        with pytest.raises(KeyboardInterrupt):
            model.fit(X + 1.0)
        assert model.n_iter_ == 2
        np.testing.assert_array_equal(model.score_samples(X), scores)

    def test_ctrl_c_stops_a_search(self):
        search = GridSearchCV(
            make(max_iter=9, trainer=Trainer(callbacks=[Interrupt()])), {"n_components": [1, 2]}
        )
        with pytest.warns(ConvergenceWarning), pytest.raises(KeyboardInterrupt):
            search.fit(X)
        assert not hasattr(search, "cv_results_")

    def test_divergence_leaves_a_usable_model(self):
        model = make(learning_rate_init=1e6, trainer=Trainer(optimizer="sgd"))
        with pytest.warns(
            ConvergenceWarning, match="Lower learning_rate_init .now 1e.06., set max_grad_norm"
        ):
            model.fit(X)
        assert np.isfinite(model.score_samples(X)).all()
        assert np.isfinite(model.sample(3)).all()

    def test_surroundings_are_left_alone(self):
        def surroundings():
            return (
                torch.get_rng_state().numpy().copy(),
                np.random.get_state(),  # noqa: NPY002
                random.getstate(),
                torch.get_num_threads(),
                torch.get_default_dtype(),
                list(warnings.filters),
            )

        before = surroundings()
        model = make(corruption="gaussian", verbose=0).fit(X)
        model.sample(3), model.score_samples(X), model.transform(X), model.partial_fit(X)
        np.testing.assert_equal(surroundings(), before)

    @pytest.mark.parametrize("verbose", [0, 1])
    def test_a_bar_is_shown_when_asked_for(self, verbose, capsys):
        make(verbose=verbose).fit(X)
        shown = capsys.readouterr()
        assert not shown.out
        assert bool(shown.err) == bool(verbose)


def test_a_batch_larger_than_the_data():
    with pytest.warns(
        UserWarning, match="batch_size is 500, but there are only 108 rows; they make one batch"
    ):
        model = make(batch_size=500).fit(X)
    assert model.n_iter_ == 3


def odd_blocks():
    return RowBlocks([X[:50], X[50:, :3]])


def nan_blocks():
    return RowBlocks([X[:50], np.full((3, 4), np.nan)])


@pytest.mark.parametrize(
    "parameters, rows, message",
    [
        ({"max_iter": 0}, X, "max_iter must be an integer >= 1; got 0"),
        ({"batch_size": 0}, X, "batch_size must be an integer >= 1; got 0. Or 'auto'"),
        ({"batch_size": "all"}, X, "batch_size must be an integer >= 1; got 'all'. Or 'auto'"),
        (
            {"learning_rate_init": -1.0},
            X,
            "learning_rate_init must be a finite number >= 0; got -1.0",
        ),
        ({"verbose": -1}, X, "verbose must be an integer >= 0; got -1"),
        ({"trainer": "fast"}, X, "trainer must be a Trainer, or None; got 'fast'"),
        ({"trainer": Trainer(schedule="linear")}, X, "schedule must be one of"),
        ({"device": "gpu"}, X, "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'; got 'gpu'"),
        ({"device": "cuda:99"}, X, "device='cuda:99'"),
        ({}, RowBlocks([]), "X must have at least one row; got RowBlocks without any"),
        ({}, odd_blocks(), "block 1 of X must have 4 features like the first; got 3"),
        ({}, nan_blocks(), "X must hold finite numbers"),
        (
            {},
            X[:1],
            "X must hold at least 2 rows, for Autoencoder to learn how they vary; got 1 sample",
        ),
        (
            {},
            RowBlocks([X[:1]]),
            "X must hold at least 2 rows, for Autoencoder to learn how they vary; got 1; give it",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_bad_input(parameters, rows, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters).fit(rows)


NETWORKS = [model for model in [*GENERATORS, *DISCRETE] if "trainer" in model.get_params()]


@pytest.mark.parametrize("kind", sorted({type(model) for model in NETWORKS}, key=str))
def test_settings_of_the_trainer_are_referred_to_it(kind):
    own = kind().get_params(deep=False)
    for name, value in Trainer().get_params(deep=False).items():
        if name in own:
            continue
        message = rf"{kind.__name__} has no parameter {name}, which is a setting of its trainer; "
        with pytest.raises(TypeError, match=rf"{message}write .*set_params\(trainer__{name}=.*"):
            kind(**{name: value})
        with pytest.raises(ValueError, match=rf"{message}set trainer__{name}"):
            kind().set_params(**{name: value})
        assert getattr(kind().set_params(**{f"trainer__{name}": value}).trainer, name) == value
    with pytest.raises(TypeError, match="unexpected keyword argument 'epochs'"):
        kind(epochs=3)
    twin = pickle.loads(pickle.dumps(clone(kind(random_state=3))))
    assert twin.random_state == 3
