"""Rows in the containers of other libraries: read rightly, or refused in one sentence.

The truth for what is read is the model of the plain array of the same numbers.
"""

import datetime
import re

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from small_generators import DISCRETE, ESTIMATORS, each, with_few_epochs
from torch.utils.data import DataLoader, TensorDataset

from probgen import (
    BayesClassifier,
    GaussianBayes,
    GaussianMixture,
    RowBlocks,
    make_generative_pipeline,
)
from probgen.base.table_generator import TableMixin
from probgen.preprocessing import Dequantizer, LogitTransformer

RNG = np.random.default_rng(0)
Y = np.arange(60) % 2
# Whole numbers, which all estimators take.
X = RNG.integers(0, 3, size=(60, 4)).astype(np.float64) + Y[:, np.newaxis]
NAMES = ["a", "b", "c", "d"]
FRAME = pd.DataFrame(X, columns=NAMES)
DAYS = pd.date_range("2026-01-01", periods=60)
PIPELINE = make_generative_pipeline(StandardScaler(), GaussianMixture(random_state=0))
GENERATORS = with_few_epochs([*ESTIMATORS, *DISCRETE])
for network in GENERATORS:
    if hasattr(network, "n_importance_samples"):
        network.set_params(n_importance_samples=32)
TRANSFORMERS = [Dequantizer(levels=8, random_state=0), LogitTransformer(bounds=(-1.0, 9.0))]

pytestmark = pytest.mark.filterwarnings("ignore:.* effective draws", "ignore:.*did not converge")


def says(message, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


def with_column(values):
    frame = FRAME.copy()
    frame["b"] = values
    return frame


def with_object(value):
    frame = FRAME.astype({"b": object})
    frame.loc[3, "b"] = value
    return frame


def answers(model, rows):
    """What the queries of a fitted model answer for rows."""
    names = ["score_samples", "transform", "predict", "impute", "reconstruct"]
    return [np.asarray(getattr(model, name)(rows)) for name in names if hasattr(model, name)]


@each(GENERATORS)
class TestIndex:
    def test_of_answers_row_by_row(self, estimator):
        index = RNG.permutation(60)
        frame = FRAME.set_axis(index)
        model = clone(estimator).set_output(transform="pandas").fit(frame, Y)
        codes = model.transform(frame)
        answered = [codes]
        for name in ["impute", "reconstruct"]:
            if hasattr(model, name):
                answered.append(getattr(model, name)(frame))
        if hasattr(model, "inverse_transform"):
            codes = pd.DataFrame(np.zeros((60, model.n_components)), index=index)
            answered.append(model.inverse_transform(codes))
        for answer in answered:
            pd.testing.assert_index_equal(answer.index, frame.index)


@each([estimator for estimator in GENERATORS if hasattr(estimator, "impute")])
def test_the_index_of_gaps_is_that_of_what_fills_them(estimator):
    model = clone(estimator).set_output(transform="pandas")
    model.fit(FRAME, Y)
    frame = FRAME.set_axis(np.arange(60)[::-1])
    gaps = frame.copy()
    gaps.loc[::3, "b"] = np.nan
    filled = model.impute(gaps)
    pd.testing.assert_frame_equal(filled[["a", "c", "d"]], frame[["a", "c", "d"]])
    assert not gaps.fillna(filled).isna().any(axis=None)


class TestIndexOfPipeline:
    def test_inverse_transform(self):
        frame = FRAME.set_axis(np.arange(60)[::-1])
        pipeline = make_generative_pipeline(StandardScaler(), StandardScaler())
        pipeline.set_output(transform="pandas").fit(frame)
        pd.testing.assert_frame_equal(
            pipeline.inverse_transform(pipeline.transform(frame)), frame, atol=1e-12
        )


MASK = RNG.random(X.shape) < 0.2
GAPS = np.where(MASK, np.nan, X)


def in_columns_of_all_kinds(rows):
    """A frame of the values of rows (n, 4), with another type of column for each."""
    frame = pd.DataFrame(rows, columns=NAMES)
    objects = frame["b"].astype(object)
    return frame.assign(
        a=frame["a"].astype(pd.SparseDtype("float64")),
        b=objects.where(frame["b"].notna(), pd.NA),
        c=frame["c"].astype("Float64"),
        d=frame["d"].astype("category"),
    )


SAME = {
    "columns of all kinds": in_columns_of_all_kinds(X),
    "tensor that asks for gradients": torch.tensor(X, requires_grad=True),
    "masked array without a mask": np.ma.masked_array(X),
    "sparse frame": FRAME.astype(pd.SparseDtype("float64")),
    "frame of objects": FRAME.astype(object),
    "polars": pl.DataFrame(X, schema=NAMES, orient="row"),
}
MISSING = {
    "columns of all kinds": in_columns_of_all_kinds(GAPS),
    "masked array": np.ma.masked_array(np.where(MASK, -999.0, X), MASK),
    "masked integers": np.ma.masked_array(X.astype(int), MASK),
    "None among objects": FRAME.astype(object).where(~MASK, None),
    "pd.NA of an extension type": FRAME.mask(MASK).astype("Float64"),
    "polars": pl.DataFrame(X, schema=NAMES, orient="row").with_columns(
        pl.when(pl.Series(MASK[:, j])).then(None).otherwise(pl.col(name)).alias(name)
        for j, name in enumerate(NAMES)
    ),
}


def reads_tables(estimator):
    """Whether the columns of a frame have kinds for an estimator, which `test_tables` holds."""
    return isinstance(estimator, TableMixin) and not isinstance(estimator, BayesClassifier)


def kinds(estimator, containers):
    """All containers for models that are fitted at once, and one for networks.

    Frames are tables, and no rows of numbers, for models that read them as such.
    """
    if reads_tables(estimator):
        containers = {why: rows for why, rows in containers.items() if not hasattr(rows, "columns")}
    if hasattr(estimator, "learning_rate_init"):
        return list(containers.items())[:1]
    return containers.items()


@each([*GENERATORS, PIPELINE])
def test_rows_of_other_containers_are_the_same_rows(estimator):
    truth = answers(clone(estimator).fit(X, Y), X)
    for why, rows in kinds(estimator, SAME):
        others = answers(clone(estimator).fit(rows, Y), rows)
        for answer, true in zip(others, truth, strict=True):
            np.testing.assert_allclose(answer, true, rtol=1e-12, atol=1e-12, err_msg=why)


@each([*GENERATORS, PIPELINE])
def test_missing_values_are_nan_where_the_model_takes_them(estimator):
    missing = get_tags(estimator).missing_values
    if missing == "none":
        for rows in MISSING.values():
            with says("NaN"):
                clone(estimator).fit(rows, Y)
        return
    for why, rows in kinds(estimator, MISSING):
        if missing == "all":
            fitted, same = rows, GAPS
        else:
            fitted, same = (FRAME if hasattr(rows, "columns") else X), X
        model = clone(estimator).fit(fitted, Y)
        scores = clone(estimator).fit(same, Y).score_samples(GAPS)
        np.testing.assert_allclose(model.score_samples(rows), scores, rtol=1e-12, err_msg=why)


REFUSED = {
    "dates": (with_column(DAYS), "dates in column 'b'"),
    "dates with a zone": (with_column(DAYS.tz_localize("UTC")), "dates in column 'b'"),
    "months": (with_column(DAYS.to_period("M")), "dates in column 'b'"),
    "intervals": (with_column(pd.cut(X[:, 1], 3)), "column 'b'"),
    "durations": (with_column(DAYS - DAYS[0]), "durations in column 'b'"),
    "a date among objects": (with_object(datetime.date(2026, 1, 1)), "dates in column 'b'"),
    "text": (with_column("red"), "the string 'red' in column 'b'; encode"),
    "text among objects": (with_object("red"), "the string 'red' in column 'b'; encode"),
    "categories": (with_column(pd.Categorical(["red"] * 60)), "the string 'red' in column 'b'"),
    "only dates": (pd.DataFrame({"when": DAYS, "b": DAYS}), "dates in column 'when'"),
    "array of dates": (X.astype(int).astype("M8[s]"), "must hold numbers; got dates"),
    "array of durations": (X.astype(int).astype("m8[s]"), "must hold numbers; got durations"),
    "polars dates": (pl.DataFrame({"when": list(DAYS)}), "dates in column 'when'"),
    "names that are not unique": (FRAME.set_axis(["a", "b", "b", "c"], axis=1), "got 'b' more"),
    "three axes": (X.reshape(60, 2, 2), "flatten images with X.reshape(len(X), -1)"),
    "tensor of images": (torch.tensor(X).reshape(60, 1, 2, 2), "channels come last"),
    "one axis": (X[0], "Reshape your data"),
    "no axis": (3.0, "must be an array or a frame"),
    "nothing": (None, "must be an array or a frame"),
    "generator": ((row for row in X), "can be read only once"),
    "loader": (DataLoader(TensorDataset(torch.tensor(X))), "got a DataLoader"),
    "sparse tensor": (torch.tensor(X).to_sparse(), "must be a dense tensor"),
    "rows of unlike lengths": ([[1.0, 2.0], [3.0]], "rows of one length"),
    "fields": (np.zeros(60, dtype=[("a", float), ("b", float)]), "got a structured array"),
}


@each([*GENERATORS, *TRANSFORMERS])
def test_what_holds_no_numbers_is_refused_in_a_sentence(estimator):
    model = clone(estimator).fit(X, Y)
    for rows, message in REFUSED.values():
        if not (reads_tables(estimator) and hasattr(rows, "columns")):
            with says(message):
                clone(estimator).fit(rows, Y)
        with says(message):
            model.transform(rows)
    with says("Sparse data was passed", TypeError):
        model.transform(csr_array(X))


def test_what_holds_no_numbers_is_refused_in_blocks():
    for name in ["dates", "text", "array of dates", "loader"]:
        rows, message = REFUSED[name]
        with says(message):
            GaussianMixture().fit(RowBlocks([X, rows]))
    blocks = RowBlocks([np.ma.masked_array(np.where(MASK, -999.0, X), MASK)])
    truth = GaussianMixture().fit(np.where(MASK, np.nan, X))
    np.testing.assert_allclose(GaussianMixture().fit(blocks).means_, truth.means_)


def test_missing_values_of_an_array_of_objects_and_of_lists():
    truth = GaussianMixture().fit(np.where(MASK, np.nan, X))
    objects = FRAME.astype(object).mask(MASK, pd.NA).to_numpy()
    for rows in [objects, objects.tolist()]:
        np.testing.assert_array_equal(GaussianMixture().fit(rows).means_, truth.means_)


class TestEmptyColumns:
    @pytest.mark.parametrize("covariance_type", ["full", "tied", "diag", "spherical", "low_rank"])
    def test_are_named(self, covariance_type):
        model = GaussianMixture(covariance_type=covariance_type)
        with says("got only NaN in column 'b'; drop it"):
            model.fit(with_column(np.nan))
        rows = with_column(np.nan).to_numpy()
        with says("got only NaN in column 1; drop it"):
            model.fit(rows)
        with says("got only NaN in column 1; drop it"):
            model.fit(RowBlocks([rows[:30], rows[30:]]))

    def test_of_some_blocks_do_no_harm(self):
        rows = np.where(MASK, np.nan, X)
        rows[:30, 1] = np.nan
        blocks = GaussianMixture().fit(RowBlocks([rows[:30], rows[30:]]))
        np.testing.assert_allclose(blocks.means_, GaussianMixture().fit(rows).means_)

    def test_of_queries_do_no_harm(self):
        model = GaussianMixture().fit(X)
        rows = with_column(np.nan).to_numpy()
        assert np.isfinite(model.score_samples(rows)).all()
        assert np.isfinite(model.impute(rows)).all()


class TestLabels:
    @pytest.mark.parametrize("missing", [None, np.nan, pd.NA], ids=str)
    def test_that_are_missing(self, missing):
        labels = np.array(["u", "v"] * 30, dtype=object)
        labels[3] = missing
        with says(f"y must hold a label for each row; got {missing!r} in row 3"):
            GaussianBayes().fit(X, labels)

    def test_that_are_masked(self):
        with says("y must hold a label for each row; got masked ones"):
            GaussianBayes().fit(X, np.ma.masked_array(Y, Y == 1))

    def test_integers_among_objects(self):
        model = GaussianBayes().fit(X, Y.astype(object))
        np.testing.assert_array_equal(model.classes_, [0, 1])
