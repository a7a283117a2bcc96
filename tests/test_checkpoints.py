"""Fits that are taken up again from the state on a disk."""

import errno
import shutil

import numpy as np
import pytest
import torch
from numpy.random import MT19937
from sklearn.model_selection import GridSearchCV

from probgen import Autoencoder, FileFormatError, RowBlocks, Trainer
from probgen.options import GaussianCorruption
from probgen.persistence.archive import read_archive, write_archive
from probgen.training import Callback, checkpoints
from probgen.training.checkpoints import fingerprint

X = np.random.default_rng(0).standard_normal((120, 4))


class Counter(Callback):
    """Counts epochs, and raises in one."""

    def __init__(self, fail_at=None):
        self.fail_at, self.n_epochs = fail_at, 0

    def on_fit_task_end(self, estimator, context):
        self.n_epochs += context.task_name == "epoch"
        if self.n_epochs == self.fail_at:
            raise RuntimeError("the machine went down")


def make(folder, *, callbacks=(), interval=0.0, **parameters):
    trainer = Trainer(
        checkpoint=folder, checkpoint_interval=interval, schedule="cosine", callbacks=callbacks
    )
    settings = {
        "hidden_layer_sizes": (6,),
        "max_iter": 4,
        "batch_size": 16,
        "device": "cpu",
        "random_state": 0,
    }
    return Autoencoder(2, **settings | parameters, trainer=trainer)


def fit_half(folder):
    with pytest.raises(RuntimeError, match="went down"):
        make(folder, callbacks=[Counter(2)]).fit(X)


def weights(model):
    return [
        p.detach().numpy()
        for network in (model.encoder_, model.decoder_)
        for p in network.parameters()
    ]


def assert_same(model, twin):
    for mine, its in zip(weights(model), weights(twin), strict=True):
        np.testing.assert_array_equal(mine, its)


def files(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_fit_that_broke_off_goes_on(tmp_path):
    fit_half(tmp_path)
    counter = Counter()
    model = make(tmp_path, callbacks=[counter]).fit(X)
    assert counter.n_epochs == 2
    assert_same(model, make(None).fit(X))
    np.testing.assert_array_equal(model.sample(3), make(None).fit(X).sample(3))
    assert len(model.history_) == 4


def test_a_fit_without_a_seed_goes_on_with_the_rows_it_had(tmp_path):
    with pytest.raises(RuntimeError, match="went down"):
        make(tmp_path, random_state=None, callbacks=[Counter(2)]).fit(X)
    shutil.copytree(tmp_path, tmp_path.with_name("copy"))
    first, second = (
        make(folder, random_state=None).fit(X) for folder in (tmp_path, tmp_path.with_name("copy"))
    )
    assert_same(first, second)
    np.testing.assert_array_equal(first.noise_variance_, second.noise_variance_)


def test_a_finished_fit_is_not_done_again(tmp_path):
    model, counter = make(tmp_path).fit(X), Counter()
    twin = make(tmp_path, callbacks=[counter]).fit(X)
    assert counter.n_epochs == 0
    assert_same(model, twin)
    assert twin.n_iter_ == 4


@pytest.mark.parametrize(
    "change", [{"max_iter": 5}, {"random_state": 1}, {"trainer__schedule": "constant"}, "rows"]
)
def test_another_fit_has_a_file_of_its_own(tmp_path, change):
    make(tmp_path).fit(X)
    if change == "rows":
        other = make(tmp_path).fit(X + 1.0)
        truth = make(None).fit(X + 1.0)
    else:
        other, truth = (make(folder).set_params(**change).fit(X) for folder in (tmp_path, None))
    assert len(files(tmp_path)) == 2
    assert_same(other, truth)


ROWS = np.random.default_rng(0).standard_normal((3000, 3))


class Table(torch.utils.data.Dataset):
    """Rows as a data set."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        return torch.from_numpy(self.rows[i])


def blocks(rows):
    return RowBlocks([rows[:1000], rows[1000:]])


@pytest.mark.parametrize("source", [np.asarray, Table, blocks])
@pytest.mark.parametrize("place", [(1, 0), (1234, 1), (2999, 2)])
def test_one_value_makes_another_fit(source, place):
    other = ROWS.copy()
    other[place] = np.nextafter(other[place], 9.0)
    prints = [fingerprint(make(None), (source(rows),), None) for rows in (ROWS, ROWS, other)]
    assert prints[0] == prints[1] != prints[2]


def test_one_label_makes_another_fit():
    labels = np.arange(3000) % 3
    other = np.where(np.arange(3000) == 1501, 2, labels)
    prints = [fingerprint(make(None), (ROWS, y), None) for y in (labels, labels, other)]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    "make_seed",
    [int, np.random.RandomState, np.random.default_rng, lambda s: np.random.Generator(MT19937(s))],
)
def test_seeds_of_every_kind_make_fits_of_their_own(make_seed):
    prints = [
        fingerprint(make(None, random_state=make_seed(seed)), (X,), None) for seed in (3, 3, 4)
    ]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    "name, values",
    [
        ("trainer__optimizer", (torch.optim.Adam, torch.optim.SGD)),
        ("corruption", (GaussianCorruption(scale=0.1), GaussianCorruption(scale=0.2))),
        ("hidden_layer_sizes", ((6,), (6, 6))),
        ("encoder", (torch.nn.Linear(4, 2), torch.nn.Linear(4, 2))),
    ],
)
def test_parameters_of_every_kind_make_fits_of_their_own(name, values):
    models = [make(None).set_params(**{name: value}) for value in (values[0], *values)]
    prints = [fingerprint(model, (X,), None) for model in models]
    assert prints[0] == prints[1] != prints[2]


def test_what_does_not_change_the_weights_may_change(tmp_path):
    fit_half(tmp_path)
    make(tmp_path, interval=10.0).fit(X)
    assert len(files(tmp_path)) == 1


def test_a_fit_that_goes_on_from_an_earlier_one_is_another_fit(tmp_path):
    warm, truth = (make(folder, warm_start=True).fit(X).fit(X) for folder in (tmp_path, None))
    assert_same(warm, truth)
    assert warm.n_iter_ == 8


def test_the_checkpoint_of_another_model(tmp_path):
    make(tmp_path / "a").fit(X)
    make(tmp_path / "b", max_iter=5).fit(X)
    (mine,), (other,) = (list((tmp_path / name).iterdir()) for name in "ab")
    shutil.copy(other, mine)
    with pytest.raises(
        ValueError,
        match="is the checkpoint of another fit, of Autoencoder; delete it or name another",
    ):
        make(tmp_path / "a").fit(X)


def test_a_damaged_checkpoint(tmp_path):
    make(tmp_path).fit(X)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(FileFormatError, match="checkpoint"):
        make(tmp_path).fit(X)


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ValueError, match="checkpoint must be a folder that can be made; got"):
        make(tmp_path / "file" / "folder").fit(X)


def test_a_full_disk_costs_a_warning(tmp_path, monkeypatch):
    def write(path, value, *, kind):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "write_archive", write)
    with pytest.warns(
        RuntimeWarning, match="could not be written .No space left on device.; training continues"
    ):
        model = make(tmp_path).fit(X)
    assert_same(model, make(None).fit(X))


def test_leftovers_of_killed_writes_are_removed(tmp_path):
    make(tmp_path).fit(X)
    (path,) = tmp_path.iterdir()
    (tmp_path / f".{path.stem}.1234.checkpoint").write_text("half")
    make(tmp_path).fit(X)
    assert files(tmp_path) == [path.name]


def test_the_fits_of_a_search_share_a_folder(tmp_path):
    grid = {"n_components": [1, 2]}
    alone = GridSearchCV(make(None), grid, cv=2).fit(X)
    together = GridSearchCV(make(tmp_path), grid, cv=2, n_jobs=2).fit(X)
    np.testing.assert_allclose(
        together.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"], rtol=1e-9
    )
    assert len(files(tmp_path)) == 5


def test_a_forged_state_is_refused(tmp_path):
    make(tmp_path).fit(X)
    (path,) = tmp_path.iterdir()
    value = read_archive(path, kind="checkpoint")
    value["state"]["optimizers"][0]["state"][0]["exp_avg_sq"] = torch.zeros(1)
    write_archive(path, value, kind="checkpoint")
    with pytest.raises(
        FileFormatError, match=r"cannot be resumed from, as .* moments of one shape"
    ):
        make(tmp_path).fit(X)
