"""Mixtures of tables: joined levels, streams of frames, unseen categories, names."""

import numpy as np
import pandas as pd
import pytest

from probgen import BayesClassifier, MixtureModel, RowBlocks
from probgen.gaussians.em import EMEngine
from probgen.mixtures import rows as mixture_rows
from probgen.mixtures.em import expectation, from_responsibilities
from probgen.mixtures.fitting import summarise
from probgen.mixtures.rows import Encoder, TableRows
from probgen.tables.columns import Column
from probgen.tables.table import Table

COLUMNS = [
    Column("bit", "boolean", levels=(False, True)),
    Column("gap", "category", levels=("a", "b", "c")),
    Column("many", "category", levels=tuple(range(300))),
    Column("count", "integer", step=1.0, low=0.0, rest="modelled"),
    Column("zeros", "integer", atoms=(0.0,), step=1.0, low=0.0, rest="modelled"),
    Column("real", "real", rest="modelled"),
    Column("binned", "real", rest="modelled"),
]
FAMILIES = ["categorical"] * 3 + ["poisson", "poisson", "normal", "histogram"]


def mixed_rows(n, seed=0):
    """Rows of codes of the columns, of which some are missing."""
    rng = np.random.default_rng(seed)
    X = np.column_stack(
        [
            rng.integers(2, size=n),
            rng.integers(3, size=n),
            rng.integers(300, size=n),
            rng.poisson(3.0, n),
            np.maximum(rng.poisson(3.0, n) - 2, 0),
            rng.normal(size=n),
            rng.standard_t(3.0, n),
        ]
    ).astype(float)
    X[rng.random(n) < 0.2, 1] = np.nan
    X[rng.random(n) < 0.1, 4] = np.nan
    X[rng.random(n) < 0.1, 6] = np.nan
    return X


def test_joined_levels_have_the_likelihood_and_the_statistics_of_single_ones(monkeypatch):
    monkeypatch.setattr(mixture_rows, "ROWS_OF_PLACE", 1)
    X = mixed_rows(500)
    weights = np.random.default_rng(1).random(len(X))
    generator = np.random.default_rng(0)
    summary = summarise(COLUMNS, FAMILIES, X, weights, 500, generator, 1e-3)
    joined = summary.encoder
    assert len(joined.groups) < sum(size > 0 for size in joined.sizes)
    assert joined.n_places > joined.offsets[-1]
    single = Encoder(joined.layout, joined.tables)
    rng = np.random.default_rng(2)
    shares = rng.dirichlet(np.ones(3), size=len(summary.sample))
    components = from_responsibilities(summary.layout, single, summary.sample, shares, 0.1)
    found = []
    for encoder in (joined, single):
        with EMEngine() as engine:
            found.append(expectation(engine, components, TableRows(COLUMNS, X, weights), encoder))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-12)
    for one, other in zip(found[0][1].parts, found[1][1].parts):
        first, second = getattr(one, "masses", one), getattr(other, "masses", other)
        np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


def people(n=400, seed=0):
    """A frame of numbers, text, and gaps."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "age": rng.integers(9, size=n),
            "town": rng.choice(["x", "y", "z"], n),
            "height": rng.normal(size=n),
            "pay": np.where(rng.random(n) < 0.2, np.nan, rng.gamma(2.0, size=n)),
        }
    )


class TestStreamsOfFrames:
    def test_blocks_of_frames_are_the_frame(self):
        frame = people()
        kinds = Table.infer(frame)
        whole = MixtureModel(kinds=kinds).fit(frame)
        blocks = RowBlocks([frame[:150], frame[150:150], frame[150:]])
        parts = MixtureModel(kinds=kinds).fit(blocks)
        assert parts.score(frame) == pytest.approx(whole.score(frame), rel=1e-9)
        assert list(parts.sample(3, random_state=0).dtypes) == list(frame.dtypes)
        assert list(parts.feature_names_in_) == list(frame.columns)
        first = MixtureModel(2, random_state=0).fit(blocks)
        assert list(first.columns_["kind"]) == ["integer", "category", "real", "real"]
        assert np.isfinite(first.partial_fit(RowBlocks([people(seed=1)])).score(frame))
        assert first.fit(RowBlocks([np.eye(3)])).sample().shape == (1, 3)

    @pytest.mark.parametrize(
        ("column", "value", "words"),
        [
            ("town", "new", "'town' has 'new', which is none of its 3 categories"),
            ("height", np.nan, "'height' has a gap, and had none"),
            ("age", -1, "'age' must hold values between 0 and inf"),
        ],
    )
    def test_later_blocks_must_be_like_the_first(self, column, value, words):
        frame = people()
        frame.loc[300, column] = value
        with pytest.raises(ValueError, match=f"block 1 of X is unlike the first one.*{words}"):
            MixtureModel().fit(RowBlocks([frame[:200], frame[200:]]))
        known = MixtureModel(kinds=Table.infer(frame)).fit(RowBlocks([frame[:200], frame[200:]]))
        assert np.isfinite(known.score(frame))


@pytest.mark.parametrize("dtype", [None, "category", object])
def test_categories_that_were_not_seen_are_no_gaps(dtype):
    frame = people()
    model = MixtureModel(2, random_state=0).fit(frame.astype({"town": dtype} if dtype else {}))
    rows = people(4, seed=1)
    rows["town"] = ["new", "x", None, "newer"]
    if dtype:
        rows = rows.astype({"town": dtype})
    rows.index = [5, 3, 9, 1]
    rows.loc[5, "height"] = np.nan
    filled = model.impute(rows)
    assert filled["town"][[5, 3, 1]].tolist() == ["new", "x", "newer"]
    assert filled["town"][9] in ("x", "y", "z")
    assert not filled.isna().any(axis=None)
    assert list(filled.index) == [5, 3, 9, 1]


def test_unseen_categories_of_polars_stay():
    pl = pytest.importorskip("polars")
    frame = people()
    for dtype in (pl.String, pl.Categorical, pl.Enum(["x", "y", "z"])):
        table = pl.DataFrame(frame.to_dict("list")).with_columns(pl.col("town").cast(dtype))
        model = MixtureModel(random_state=0).fit(table)
        rows = pl.DataFrame(people(3, seed=1).to_dict("list"))
        rows = rows.with_columns(pl.Series("town", ["new", None, "x"]))
        if dtype != pl.String and dtype != pl.Categorical:
            rows = rows.with_columns(pl.col("town").cast(pl.Enum(["new", "x"])))
        else:
            rows = rows.with_columns(pl.col("town").cast(dtype))
        filled = model.impute(rows)
        assert filled["town"].to_list()[::2] == ["new", "x"]
        assert filled["town"].null_count() == 0


def test_classes_know_the_names_of_plain_frames():
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=200)
    frame = pd.DataFrame({"a": rng.normal(y), "b": rng.normal(size=200)})
    named = BayesClassifier(MixtureModel(distributions={"b": "student_t"})).fit(frame, y)
    indexed = BayesClassifier(MixtureModel(distributions={1: "student_t"})).fit(frame.to_numpy(), y)
    np.testing.assert_array_equal(
        named.predict_proba(frame), indexed.predict_proba(frame.to_numpy())
    )
