"""The command on tables of mixed columns: what it reads, draws and scores, in their types."""

import gzip
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from sklearn.model_selection import train_test_split

from probgen import MADE, GaussianBayes, GaussianMixture, load, make_generative_pipeline
from probgen.cli import compared, comparison, typed
from probgen.cli.commands import program
from probgen.cli.conditions import parse_conditions
from probgen.cli.rows import Description
from probgen.tables import TableEncoder
from probgen.tables.table import Table

MODEL = ["--model", "gaussian-mixture", "-p", "n_components=2", "--random-state", "0"]


def run(*arguments):
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments):
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def people(n=120):
    """Rows of every kind of column."""
    rng = np.random.default_rng(0)
    town = rng.choice(["Oslo", "Rome", "<=50K a|b"], size=n)
    children = pd.Series(rng.poisson(1.0, size=n)).astype("Int64").mask(rng.random(n) < 0.1)
    return pd.DataFrame(
        {
            "id": [f"p{k:03d}" for k in range(n)],
            "town": pd.Series(town, dtype="str").mask(rng.random(n) < 0.1),
            "age": rng.integers(18, 90, size=n),
            "children": children,
            "height": rng.normal(170.0, 8.0, size=n).round(1),
            "born": pd.Timestamp("1980-01-01") + pd.to_timedelta(rng.integers(9000, size=n), "D"),
            "zip": rng.choice(["01234", "99999"], size=n),
        }
    )


def write(frame, name):
    if name.endswith(".parquet"):
        frame.to_parquet(name, index=False)
    else:
        frame.to_csv(name, index=False, sep="\t" if ".tsv" in name else ",")


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.tsv", "a.parquet"])
def test_a_table_is_fitted_drawn_and_scored_in_its_own_types(name):
    frame = people()
    write(frame, name)
    text = succeed("fit", name, *MODEL, "--index", "id")
    assert [line.partition(",")[0] for line in text.splitlines()[:-1]] == [
        "town: category",
        "age: integer",
        "children: integer",
        "height: real",
        "born: datetime",
        "zip: category",
    ]
    features = frame.drop(columns="id")
    expected = make_generative_pipeline(
        TableEncoder(random_state=0), GaussianMixture(2, random_state=0)
    ).fit(features)
    drawn = "drawn" + name[1:]
    succeed("sample", "model.probgen", "-n", 50, "--random-state", 1, "-o", drawn)
    rows = typed.read_frame(Path(drawn)).frame
    truth = expected.sample(50, random_state=1)
    assert list(rows.columns) == list(features.columns)
    assert rows.dtypes.astype(str).str.lower().to_dict() == (
        truth.dtypes.astype(str).str.lower().to_dict()
    )
    pd.testing.assert_frame_equal(rows, truth, check_dtype=False)
    succeed("score", "model.probgen", name, "--index", "id", "-o", "scores.csv")
    scores = pd.read_csv("scores.csv")
    assert scores["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(scores.log_likelihood, expected.score_samples(features), rtol=1e-9)


def test_draws_are_printed_with_the_header_of_the_file():
    write(people(), "a.csv")
    succeed("fit", "a.csv", *MODEL, "--drop", "id,zip", "--drop", "age")
    header, *rows = succeed("sample", "model.probgen", "-n", 5).splitlines()
    assert header == "town,children,height,born"
    assert len(rows) == 5
    pd.to_datetime([row.rpartition(",")[2] for row in rows], format="%Y-%m-%d")


def test_conditions_speak_of_the_values_of_the_columns():
    write(people(), "a.csv")
    succeed("fit", "a.csv", *MODEL, "--index", "id")
    given = ["town=Oslo|<=50K a|b", "age=30:40", "born=1990-01-01:", "zip=01234", "children="]
    arguments = [part for text in given[1:] for part in ("--given", text)]
    text = succeed("sample", "model.probgen", "-n", 20, "--given", "town=<=50K a|b", *arguments)
    rows = pd.read_csv(io.StringIO(text), dtype={"zip": str}, parse_dates=["born"])
    assert set(rows.town) == {"<=50K a|b"}
    assert rows.age.between(30, 40).all()
    assert (rows.born >= "1990-01-01").all()
    assert set(rows.zip) == {"01234"}
    assert rows.children.isna().all()
    text = succeed("sample", "model.probgen", "-n", 60, "--given", "town=Oslo|Rome")
    assert set(pd.read_csv(io.StringIO(text)).town) == {"Oslo", "Rome"}


def test_conditions_on_times_and_sets():
    frame = pd.DataFrame(
        {
            "t": pd.date_range("2020-01-01", periods=40, freq="7h"),
            "wait": pd.to_timedelta(np.arange(40) ** 2, "min"),
            "size": pd.Categorical(["S", "M", "L", "M"] * 10, ["S", "M", "L"], ordered=True),
        }
    )
    table = Table.infer(frame)
    given = ["t=2020-01-01 07:00:2020-01-02 14:00", "wait=:1h", "size=S:M"]
    found = parse_conditions(given, table.names, table)
    assert found == {
        "t": (pd.Timestamp("2020-01-01 07:00"), pd.Timestamp("2020-01-02 14:00")),
        "wait": (None, pd.Timedelta("1h")),
        "size": ("S", "M"),
    }
    assert parse_conditions(["0=1|2", "a=b=3"], ["a=b"]) == {0: {1.0, 2.0}, "a=b": 3.0}


def test_texts_that_mean_a_gap_in_parquet():
    write(pd.DataFrame({"a": ["x", " Unknown", None, "y"]}), "a.parquet")
    column = typed.read_frame(Path("a.parquet"), missing=["unknown"]).frame["a"]
    assert column.isna().tolist() == [False, True, True, False]
    Path("a.csv").write_text("a,b\nx,\ny,?\n")
    assert typed.read_frame(Path("a.csv")).frame["b"].isna().all()


def test_texts_that_mean_a_gap_and_kinds_by_name():
    frame = people().assign(age=lambda f: f.age.astype(str).mask(f.age > 60, "unknown"))
    write(frame, "a.csv")
    kinds = ["--columns", "zip=category,children=category", "--columns", "height=real"]
    text = succeed("fit", "a.csv", *MODEL, "--index", "id", "--missing", "unknown", *kinds)
    assert "age: integer, whole numbers, never negative; gaps" in text
    assert "children: category," in text
    rows = pd.read_csv(io.StringIO(succeed("sample", "model.probgen", "-n", 200)))
    assert 0.2 < rows.age.isna().mean() < 0.8
    assert rows.age.max() <= 60 + 30
    scored = succeed("score", "model.probgen", "a.csv", "--missing", "unknown")
    assert "nats per row" in scored


@pytest.mark.parametrize(
    "cells, dtype",
    [
        (["1", "2", "-3"], "int64"),
        (["1", "?", "3"], "Int64"),
        (["1.0", "2", ""], "float64"),
        (["01", "2"], "str"),
        (["+1", "1e3"], "float64"),
        (["9007199254740993", "1"], "float64"),
        (["true", "False"], "str"),
        (["2020-01-01", "2020-12-31"], "datetime64[us]"),
        (["2020-01-01T10:00", "2020-12-31 23:59:59.5"], "datetime64[us]"),
        (["2020-01-01T10:00Z", "2020-12-31T10:00+02:00"], "datetime64[us, UTC]"),
        (["01/02/2020", "03/04/2020"], "str"),
        (["1", "x"], "str"),
    ],
)
def test_types_of_cells(tmp_path, cells, dtype):
    lines = [f'"{cell}",z' for cell in cells]
    (tmp_path / "a.csv").write_text("\n".join(["a,b", *lines]) + "\n")
    column = typed.read_frame(tmp_path / "a.csv").frame["a"]
    assert str(column.dtype) == dtype
    assert [text in ("", "?") for text in cells] == column.isna().tolist()
    if dtype == "str":
        assert column.tolist() == cells


def test_a_score_file_is_read_in_the_types_of_the_model():
    frame = people()
    frame["zip"] = np.where(frame.zip == "99999", "x", "7")
    write(frame, "a.csv")
    succeed("fit", "a.csv", *MODEL, "--index", "id")
    write(frame[frame.zip == "7"][::-1], "b.csv")  # whose zip would be a number by itself
    text = succeed("score", "model.probgen", "b.csv", "--per-row", "--index", "id")
    names = [line.partition(",")[0] for line in text.splitlines()]
    assert names == frame.id[frame.zip == "7"][::-1].tolist()
    values = [float(line.partition(",")[2]) for line in text.splitlines()]
    truth = load("model.probgen").score_samples(frame.drop(columns="id")[frame.zip == "7"][::-1])
    np.testing.assert_allclose(values, truth, rtol=1e-12)


def test_real_numbers_need_no_encoder():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(60, 2)), columns=["a", "b"])
    frame.loc[0, "a"] = np.nan
    write(frame, "a.csv")
    succeed("fit", "a.csv", *MODEL)
    model = load("model.probgen")
    assert isinstance(model, GaussianMixture)
    assert model.score(frame) == GaussianMixture(2, random_state=0).fit(frame).score(frame)
    succeed("fit", "a.csv", *MODEL, "--columns", "a=real", "-p", "tableencoder__n_shifts=2")
    assert load("model.probgen")[0].n_shifts == 2


def test_classes_beside_a_table():
    write(people(), "a.csv")
    arguments = ["--model", "gaussian-bayes", "--index", "id", "--target", "zip"]
    succeed("fit", "a.csv", *arguments, "-p", "reg_param=0.1")
    rows = succeed("sample", "model.probgen", "-n", 3, "--class", "01234", "--labels").splitlines()
    assert rows[0].endswith(",born,y")
    assert all(row.endswith(",01234") for row in rows[1:])


def test_files_without_names_and_packed_ones():
    lines = "".join(f"{k % 7},{'ab'[k % 2]}\n" for k in range(60))
    with gzip.open("a.csv.gz", "wt") as file:
        file.write(lines)
    text = succeed("fit", "a.csv.gz", *MODEL)
    assert text.startswith("x0: integer")
    succeed("sample", "model.probgen", "-n", 4, "--given", "x1=a", "-o", "b.tsv.gz")
    rows = pd.read_csv("b.tsv.gz", sep="\t")
    assert rows.columns.tolist() == ["x0", "x1"]
    assert set(rows.x1) == {"a"}


BAD_FITS = {
    "a.csv' has no column 'shoe'; it has id, town": ["--drop", "shoe"],
    "has no column 'name'; it has": ["--index", "name"],
    "has no column 'sex'; it has": ["--columns", "sex=category"],
    "--columns must be NAME=KIND,..., such as zip=category; got 'age'": ["--columns", "age"],
    "real, integer, datetime, duration for column 'age'; got 'number'": ["--columns", "age=number"],
    "must hold dates as 2020-12-31 or 2020-12-31 23:59:00 in column 'town'": [
        *("--columns", "town=datetime")
    ],
    "column 'height' cannot be of kind 'integer': it holds": [
        *("--index", "id", "--columns", "height=integer")
    ],
    "column 'id' holds text with 120 different values": [],
}


@pytest.mark.parametrize("message", BAD_FITS)
def test_bad_fits(message):
    write(people(), "a.csv")
    assert message in fail("fit", "a.csv", *MODEL, *BAD_FITS[message])


def test_tables_are_described_only_where_files_have_columns():
    np.save("a.npy", np.ones((9, 2)))
    assert "describe a table such as a .csv; got 'a.npy'" in fail(
        "fit", "a.npy", *MODEL, "--drop", "a"
    )


def test_bad_draws_and_scores():
    write(people(), "a.csv")
    succeed("fit", "a.csv", *MODEL, "--index", "id")
    for given, message in {
        "town=Paris": "--given names 'Paris' for column 'town'; it has <=50K a|b, Oslo, Rome",
        "age=old": "with numbers for column 'age'; got 'age=old'",
        "born=soon": "with dates for column 'born'; got 'born=soon'",
        "shoe=3": "'shoe', which the model does not know",
        "age=": "column 'age' had none in fit",
    }.items():
        assert message in fail("sample", "model.probgen", "--given", given)
    assert "column 'town' holds other values; write a .csv or .parquet" in fail(
        "sample", "model.probgen", "-o", "x.npz"
    )
    np.save("a.npy", np.ones((9, 6)))
    assert "must be a table such as a .csv" in fail("score", "model.probgen", "a.npy")
    write(people().drop(columns="age"), "b.csv")
    assert "b.csv' has no column 'age'; it has" in fail("score", "model.probgen", "b.csv")
    write(people().assign(age="x"), "b.csv")
    assert "must hold numbers in column 'age'; got 'x'" in fail("score", "model.probgen", "b.csv")


def test_pandas_is_named_where_it_is_missing():
    write(people(), "a.csv")
    code = (
        "import sys; sys.modules['pandas'] = None; sys.modules['pyarrow'] = None\n"
        "import json\nfrom click.testing import CliRunner\n"
        "from probgen.cli.commands import program\n"
        "lines = ['fit a.csv --model gaussian-mixture --index id', 'fit a.csv --model vae']\n"
        "print(json.dumps([CliRunner().invoke(program, line.split()).output for line in lines]))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert "install it with `pip install 'probgen[cli]'`" in first
    assert "must hold numbers; column 'id' has 'p000'" in second


# compare


@pytest.fixture
def few_models(monkeypatch):
    """A short registry: behind an encoder, taking tables, and learning classes."""
    models = {
        "Gaussians": lambda n, d, shape: GaussianMixture(2, reg_covar=1e-4),
        "Masked": lambda n, d, shape: MADE((8,), max_iter=2),
        "Per class": lambda n, d, shape: GaussianBayes(reg_param=0.1),
    }
    monkeypatch.setattr(comparison, "MODELS", models)


@pytest.mark.usefixtures("few_models")
def test_the_code_of_each_model_gives_its_number():
    write(people(), "a.csv")
    description = Description({"children": "category"}, [], "id", ())
    data = compared.load_data("a.csv", target="zip", description=description, random_state=3)
    assert [column.kind for column in data.table.columns] == [
        *("category", "integer", "category", "real", "datetime")
    ]
    measures = set()
    for name, model in comparison.generators(data, 3).items():
        result = comparison.evaluate(name, model, data, 3)
        scope = {}
        exec(result.parameters, scope)
        again = scope["model"].fit(data.X_train, data.y_train)
        assert again.score(data.X_test) == pytest.approx(result.nats, rel=1e-9), name
        measures.add(result.likelihood.measure)
    assert measures == {"mixed"}
    X = people().drop(columns=["id", "zip"])
    y = people().zip.to_numpy(str)
    _, test = eval(data.split, {"train_test_split": train_test_split, "X": X, "y": y})
    pd.testing.assert_frame_equal(test.reset_index(drop=True), data.X_test)


@pytest.mark.usefixtures("few_models")
def test_a_report_shows_the_columns_of_a_table():
    write(people(), "a.csv")
    text = succeed("compare", "--data", "a.csv", "--index", "id", "-o", "a.html")
    assert "from probgen import " in text
    page = Path("a.html").read_text(encoding="utf-8")
    assert page.count("<img ") == 4  # the data, and three models without classes
    assert "Columns drawn from Gaussians before those of held-out rows." in page
    assert "born: datetime, times by the day" in page
    assert "TableEncoder(random_state=0)" in page
    assert "train_test_split(X, test_size=0.25, random_state=0)" in page
    assert "column &#x27;id&#x27;" not in page
    assert "column 'id' holds text with 120" in fail("compare", "--data", "a.csv")
    assert "describe a file" in fail("compare", "--drop", "x")


@pytest.mark.parametrize(
    "columns, is_table",
    [
        ({"a": [0.5, 1.5], "b": [2.5, -1.0]}, False),
        ({"a": [1, 2], "b": [0, 255]}, False),
        ({"a": [1, 2], "b": [0.5, 1.5]}, True),
        ({"a": [1, 2000], "b": [3, 4]}, True),
        ({"a": [0.5, None], "b": [2.5, 1.5]}, True),
    ],
)
def test_arrays_suit_real_numbers_and_small_integers(columns, is_table):
    write(pd.DataFrame(columns).sample(40, replace=True, random_state=0), "a.csv")
    assert (compared.load_data("a.csv").table is not None) == is_table
