"""A history is read by epoch and by column, and survives copies."""

import copy
import math
import pickle
import sys

import numpy as np
import pytest

from probgen.training.history import History

RECORDS = [
    {"epoch": 1, "critic": 3.0, "learning_rate": 0.1, "seconds": 0.5},
    {
        "epoch": 2,
        "critic": 2.0,
        "generator": 7.0,
        "validation_score": -1.5,
        "learning_rate": 0.1,
        "seconds": 0.25,
    },
]


def test_epochs_and_columns():
    history = History()
    for record in RECORDS:
        history.append(record)
    assert len(history) == 2
    assert list(history) == RECORDS
    assert history[0] == RECORDS[0]
    assert history[-1] == RECORDS[1]
    assert history[:1] == RECORDS[:1]
    assert history["critic"] == [3.0, 2.0]


def test_what_an_epoch_did_not_report_is_nan():
    first, second = History(RECORDS)["validation_score"]
    assert math.isnan(first)
    assert second == -1.5


def test_columns_stand_in_one_order():
    history = History(RECORDS)
    assert history.loss_names == ["critic", "generator"]
    assert history.columns == [
        "epoch",
        "critic",
        "generator",
        "validation_score",
        "learning_rate",
        "seconds",
    ]


def test_unknown_column_is_named_with_the_known_ones():
    with pytest.raises(
        KeyError,
        match="no column 'loss'; its columns are epoch, critic, generator, validation_score",
    ):
        History(RECORDS)["loss"]
    with pytest.raises(KeyError, match="it has no epochs yet"):
        History()["loss"]


def test_records_are_the_history_s_own():
    record = {"epoch": 1, "loss": 1.0}
    history = History([record])
    record["loss"] = 2.0
    assert history["loss"] == [1.0]


def test_frame():
    frame = History(RECORDS).to_frame()
    assert list(frame.columns) == History(RECORDS).columns
    np.testing.assert_array_equal(frame["generator"], [np.nan, 7.0])


def test_frame_without_pandas(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(
        ImportError, match=r"to_frame needs pandas; install it with `pip install pandas`\."
    ):
        History(RECORDS).to_frame()


@pytest.mark.parametrize(
    "remake", [copy.deepcopy, lambda history: pickle.loads(pickle.dumps(history))]
)
def test_equality_survives_copies_and_knows_nan(remake):
    history = History([*RECORDS, {"epoch": 3, "critic": float("nan")}])
    twin = remake(history)
    assert twin == history
    twin[-1]["critic"] = 0.0
    assert twin != history


@pytest.mark.parametrize(
    "other", [History(), History(RECORDS[:1]), History(reversed(RECORDS)), RECORDS]
)
def test_other_histories_are_unequal(other):
    assert History(RECORDS) != other


def test_an_epoch_without_a_record_is_not_no_epoch():
    assert History([{}]) != History()


def test_repr_shows_the_last_epoch():
    assert repr(History()) == "History(no epochs)"
    assert (
        repr(History(RECORDS[:1]))
        == "History(1 epoch, the last: epoch=1, critic=3, learning_rate=0.1, seconds=0.5)"
    )
    assert repr(History(RECORDS)).startswith(
        "History(2 epochs, the last: epoch=2, critic=2, generator=7, validation_s"
    )
