"""The command gives the results of the library, and one line for each error."""

import base64
import io
import itertools
import json
import os
import re
import subprocess
import sys
from fractions import Fraction
from html.parser import HTMLParser

import joblib
import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from matplotlib.image import imread
from scipy.stats import multivariate_normal
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from probgen import (
    VAE,
    Autoencoder,
    GaussianBayes,
    GaussianMixture,
    PixelCNN,
    get_likelihood,
    load,
    make_generative_pipeline,
    save,
)
from probgen.base import Likelihood
from probgen.cli import commands, compared, comparison, tables
from probgen.cli.commands import program
from probgen.datasets import load_digits

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NAMES = ["age", "income", "height"]


def run(*arguments):
    return CliRunner().invoke(program, [str(argument) for argument in arguments])


def succeed(*arguments):
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return result.stdout


def fail(*arguments):
    """The one line on standard error of a command that must exit with 2."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("probgen: error: ")
    return result.stderr


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Outputs that a test does not name fall into its own folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def frame():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        rng.normal(size=(60, 3)) * [10.0, 2e4, 8.0] + [40.0, 5e4, 170.0], columns=NAMES
    )


@pytest.fixture
def people(tmp_path, frame):
    """A CSV file of the frame and a column of text labels."""
    frame.assign(town=np.where(frame.age > 40, "Rome", "Oslo")).to_csv(
        tmp_path / "people.csv", index=False
    )
    return tmp_path / "people.csv"


@pytest.fixture
def mixture(tmp_path, frame):
    """A saved model of the frame."""
    save(GaussianMixture(random_state=0).fit(frame), tmp_path / "mixture.probgen")
    return tmp_path / "mixture.probgen"


@pytest.fixture
def bayes(tmp_path, frame):
    """A saved model of the frame with classes."""
    y = np.where(frame.age > 40, 7, 3)
    save(GaussianBayes(random_state=0).fit(frame, y), tmp_path / "bayes.probgen")
    return tmp_path / "bayes.probgen"


# fit, sample and score


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".parquet"])
def test_a_file_of_any_kind_is_fitted_sampled_and_scored(tmp_path, frame, suffix):
    data = tmp_path / f"data{suffix}"
    drawn = tmp_path / f"drawn{suffix}"
    model = tmp_path / "model.probgen"
    named = suffix in {".csv", ".parquet"}
    tables.write_table(data, frame, names=NAMES)
    parameters = ["--model", "gaussian-mixture", "-p", "n_components=2", "--random-state", 1]
    succeed("fit", data, *parameters, "-o", model)
    X = frame
    if not named:
        X = frame.to_numpy()
    expected = GaussianMixture(2, random_state=1).fit(X)

    succeed("sample", model, "-n", 7, "--random-state", 5, "-o", drawn)
    table = tables.read_table(drawn)
    np.testing.assert_array_equal(table.X, expected.sample(7, random_state=5))
    assert table.names == (NAMES if named else None)

    text = succeed("score", model, data)
    assert float(text.split()[0]) == pytest.approx(expected.score(X), rel=1e-5)
    assert "nats per row (log-density" in text


def test_standard_error_is_that_of_the_mean(mixture, people, frame):
    scores = load(mixture).score_samples(frame)
    text = succeed("score", mixture, people)
    assert float(text.split()[2]) == pytest.approx(scores.std(ddof=1) / np.sqrt(60), rel=1e-5)


def test_scores_of_rows_are_printed_and_written(tmp_path, mixture, people, frame):
    printed = succeed("score", mixture, people, "--per-row", "-o", tmp_path / "scores.csv")
    expected = load(mixture).score_samples(frame)
    np.testing.assert_allclose([float(line) for line in printed.split()], expected, rtol=1e-15)
    written = pd.read_csv(tmp_path / "scores.csv")
    np.testing.assert_allclose(written["log_likelihood"], expected, rtol=1e-15)


def test_columns_are_matched_by_name_and_others_left_out(tmp_path, mixture, people, frame):
    frame[["height", "age", "income"]].assign(noise=1.0).to_csv(
        tmp_path / "shuffled.csv", index=False
    )
    assert succeed("score", mixture, tmp_path / "shuffled.csv") == succeed("score", mixture, people)


def test_a_file_without_names_suits_a_model_with_names(tmp_path, mixture, people, frame):
    np.save(tmp_path / "plain.npy", frame.to_numpy())
    assert succeed("score", mixture, tmp_path / "plain.npy") == succeed("score", mixture, people)


@pytest.mark.filterwarnings("always")
def test_a_file_with_names_suits_a_model_without_names(tmp_path, people, frame):
    np.save(tmp_path / "plain.npy", frame.to_numpy())
    succeed(
        "fit", tmp_path / "plain.npy", "--model", "gaussian-mixture", "-o", tmp_path / "m.probgen"
    )
    with_names = run("score", tmp_path / "m.probgen", people, "--target", "town")
    without_names = run("score", tmp_path / "m.probgen", tmp_path / "plain.npy")
    assert with_names.stdout == without_names.stdout
    assert "people.csv' are taken in their order: age, income, height." in with_names.stderr
    assert without_names.stderr == ""


WITHOUT_PANDAS = """
import json, sys

class NoPandas:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] == "pandas":
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

sys.meta_path.insert(0, NoPandas)
from click.testing import CliRunner
from probgen.cli.commands import program
results = [CliRunner().invoke(program, line.split()) for line in sys.argv[1:]]
print(json.dumps([[result.exit_code, result.output] for result in results]))
"""


def test_names_are_kept_and_matched_without_pandas(people, frame, mixture):
    frame.to_csv("frame.csv", index=False)
    frame[["height", "age", "income"]].assign(noise="x").to_csv("shuffled.csv", index=False)
    frame.drop(columns="income").to_csv("narrow.csv", index=False)
    steps = make_generative_pipeline(StandardScaler(), GaussianMixture(random_state=0))
    save(steps.set_output(transform="pandas").fit(frame), "pipeline.probgen")
    commands = [
        "fit frame.csv --model gaussian-mixture -o m.probgen",
        "fit people.csv --model bayes-classifier --target town -p estimator=gaussian-mixture"
        " -o b.probgen",
        "score m.probgen frame.csv",
        "score m.probgen shuffled.csv",
        f"score {mixture} shuffled.csv",
        "score pipeline.probgen shuffled.csv",
        "score m.probgen narrow.csv",
        "sample m.probgen -n 2 --given height=180",
        "sample b.probgen -n 2 --class Oslo --given age=30",
        "sample pipeline.probgen -n 2",
    ]
    done = subprocess.run(
        [sys.executable, "-P", "-c", WITHOUT_PANDAS, *commands], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    *scores, narrow, drawn, of_class, of_pipeline = results[2:]
    mean = load(mixture).score(frame)
    for exit_code, text in scores:
        assert exit_code == 0, text
        assert "warning" not in text
        assert float(text.split()[0]) == pytest.approx(mean, rel=1e-5)
    assert narrow[0] == 2
    assert "narrow.csv' has no column 'income'; it has age, height." in narrow[1]
    for (exit_code, text), condition in [
        (drawn, "height == 180"),
        (of_class, "age == 30"),
        (of_pipeline, "age < inf"),
    ]:
        assert exit_code == 0, text
        rows = pd.read_csv(io.StringIO(text))
        assert list(rows.columns) == NAMES
        assert len(rows.query(condition)) == 2
    # Python sees the names too.
    assert load("m.probgen").score(frame) == pytest.approx(mean, rel=1e-12)
    with pytest.raises(ValueError, match="feature names should match"):
        load("m.probgen").score(frame[["height", "age", "income"]])


def test_rows_are_printed_as_csv_without_an_output(mixture):
    header, *lines = succeed("sample", mixture, "-n", 3, "--random-state", 0).splitlines()
    assert header.split(",") == NAMES
    rows = np.loadtxt(lines, delimiter=",")
    np.testing.assert_array_equal(rows, load(mixture).sample(3, random_state=0))


def test_classes_are_learned_and_requested(tmp_path, people):
    model = tmp_path / "model.probgen"
    parameters = ["--model", "gaussian-bayes", "--target", "town", "-p", "reg_param=0.1"]
    succeed("fit", people, *parameters, "-o", model)
    text = succeed("sample", model, "-n", 4, "--class", "Oslo", "--labels")
    rows = pd.read_csv(io.StringIO(text))
    assert rows["y"].tolist() == ["Oslo"] * 4
    assert load(model).reg_param == 0.1


def test_numeric_classes_are_requested_by_their_digits(tmp_path, bayes):
    succeed("sample", bayes, "-n", 4, "--class", 7, "--labels", "-o", tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as archive:
        assert archive["y"].tolist() == [7] * 4
        assert archive["X"].shape == (4, 3)


def test_conditions_fix_values_and_intervals(mixture):
    conditions = ["--given", "age=30", "--given", "income=5e4:", "--given", "2=:170"]
    rows = pd.read_csv(io.StringIO(succeed("sample", mixture, "-n", 50, *conditions)))
    assert (rows["age"] == 30).all()
    assert (rows["income"] >= 5e4).all()
    assert (rows["height"] <= 170).all()


def test_a_parameter_can_be_a_model_with_parameters(tmp_path, people):
    model = tmp_path / "model.probgen"
    parameters = ["-p", "estimator=gaussian-mixture", "-p", "estimator__covariance_type=diag"]
    succeed(
        "fit", people, "--model", "bayes-classifier", "--target", "town", *parameters, "-o", model
    )
    assert load(model).estimator.covariance_type == "diag"


# Reading files


def test_empty_cells_are_missing_values(tmp_path):
    (tmp_path / "a.csv").write_text("\ufeffa, b\n1,\n?,2.5\nNA,-1e3\n", encoding="utf-8")
    table = tables.read_table(tmp_path / "a.csv")
    assert table.names == ["a", "b"]
    np.testing.assert_array_equal(table.X, [[1, np.nan], [np.nan, 2.5], [np.nan, -1000]])


DIALECTS = [
    (name, separator, decimal)
    for separator, decimal in itertools.product(",;\t|", ".,")
    for name in ["a.csv", "a.csv.gz", "a.tsv", "a.tsv.gz"]
    if decimal != separator and (separator == "\t" or ".csv" in name)
]


@pytest.mark.parametrize("name, separator, decimal", DIALECTS)
@pytest.mark.parametrize("has_header", [True, False])
def test_dialects_are_read(tmp_path, frame, name, separator, decimal, has_header):
    frame = frame.mask(frame > frame.quantile(0.9)).assign(town=["a;b", 'c, "d"'] * 30)
    frame.to_csv(
        tmp_path / name,
        sep=separator,
        decimal=decimal,
        header=has_header,
        index=False,
        na_rep="n/a",
    )
    table = tables.read_table(tmp_path / name, target="town" if has_header else "3")
    np.testing.assert_array_equal(table.X, frame[NAMES])
    assert table.names == (NAMES if has_header else None)
    assert table.y.tolist() == frame.town.tolist()


@pytest.mark.parametrize(
    "text, expected",
    [
        ("1,5;2,5\n3,5;4,5\n", [[1.5, 2.5], [3.5, 4.5]]),  # equally wide with commas
        ("a;b\n-,5;1,5e3\n", [[-0.5, 1500]]),
        ('"a;b","c;d"\n1,2\n', [[1, 2]]),
        ('"a,b";"c,d"\n1;2\n', [[1, 2]]),
        ("a, b\n 1, 2\n", [[1, 2]]),
        ("sep=;\na;b\n1;2\n", [[1, 2]]),
        ("x\n1.5\n", [[1.5]]),
        ("a,b\nNULL,#N/A\n?,-NaN\n", [[np.nan, np.nan], [np.nan, np.nan]]),
    ],
)
def test_texts_that_could_be_read_otherwise(tmp_path, text, expected):
    (tmp_path / "a.csv").write_text(text)
    np.testing.assert_array_equal(tables.read_table(tmp_path / "a.csv").X, expected)


def test_commas_that_may_be_between_thousands_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("a;b\n1,234;5\n")
    with pytest.warns(UserWarning, match=r"decimal commas: '1,234' is 1.234; leave out commas"):
        assert tables.read_table(tmp_path / "a.csv").X.tolist() == [[1.234, 5]]


@pytest.mark.parametrize("columns", [["a", "b", "c"], [0, 1, 2]])
@pytest.mark.parametrize("rows", [slice(None), slice(5, 9)])
def test_row_numbers_of_pandas_are_no_feature(tmp_path, frame, columns, rows):
    frame.set_axis(columns, axis=1)[rows].to_csv(tmp_path / "a.csv")
    with pytest.warns(UserWarning, match="has no name, so it is taken for row numbers"):
        table = tables.read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.X, frame[rows])
    assert table.names == list(map(str, columns))
    # Once more through pandas, which names the row numbers.
    pd.read_csv(tmp_path / "a.csv").to_csv(tmp_path / "b.csv", index=False)
    with pytest.warns(UserWarning, match="has no name, so it is taken for row numbers"):
        np.testing.assert_array_equal(tables.read_table(tmp_path / "b.csv").X, frame[rows])
    named = tables.read_table(tmp_path / "b.csv", columns=["Unnamed: 0", str(columns[0])])
    np.testing.assert_array_equal(named.X[:, 0], frame.index[rows])


def test_a_line_of_numbers_is_no_header(tmp_path):
    (tmp_path / "a.csv").write_text("1,2\n3,4\n")
    np.testing.assert_array_equal(tables.read_table(tmp_path / "a.csv").X, [[1, 2], [3, 4]])


def test_the_header_of_an_unnamed_frame_is_no_row(tmp_path):
    pd.DataFrame([[5.0, 6.0], [7.0, 8.0]]).to_csv(tmp_path / "a.csv", index=False)
    np.testing.assert_array_equal(tables.read_table(tmp_path / "a.csv").X, [[5, 6], [7, 8]])


def test_csv_reads_as_pandas_reads_it(tmp_path, frame):
    frame.to_csv(tmp_path / "a.csv", index=False)
    table = tables.read_table(tmp_path / "a.csv")
    np.testing.assert_array_equal(table.X, pd.read_csv(tmp_path / "a.csv"))
    assert table.names == NAMES


def test_parquet_with_missing_integers(tmp_path):
    frame = pd.DataFrame(
        {"a": pd.array([1, None], dtype="Int64"), "b": [True, False], "c": ["x", "y"]}
    )
    frame.to_parquet(tmp_path / "a.parquet")
    table = tables.read_table(tmp_path / "a.parquet", target="c")
    np.testing.assert_array_equal(table.X, [[1, 1], [np.nan, 0]])
    assert table.y.tolist() == ["x", "y"]


def test_images_of_an_archive_become_rows(tmp_path):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    np.savez(tmp_path / "a.npz", x_train=images, y_train=[4, 5], x_test=images + 1)
    table = tables.read_table(tmp_path / "a.npz", key="x_test", target="y_train")
    np.testing.assert_array_equal(table.X, images.reshape(2, 12) + 1)
    assert table.y.tolist() == [4, 5]


def test_the_only_matrix_of_an_archive_is_read(tmp_path):
    np.savez(tmp_path / "a.npz", rows=np.ones((3, 2)), y=np.arange(3))
    assert tables.read_table(tmp_path / "a.npz").X.shape == (3, 2)


def test_the_target_is_a_column_by_index(tmp_path):
    np.save(tmp_path / "a.npy", np.array([[1.0, 0.5], [2.0, 0.25]], dtype=np.float32))
    table = tables.read_table(tmp_path / "a.npy", target="0")
    assert table.X.dtype == np.float32
    np.testing.assert_array_equal(table.X, [[0.5], [0.25]])
    assert table.y.tolist() == [1, 2]
    assert table.y.dtype == np.int64


TRICKY_LABELS = [
    *("0", "-0", "00", "0.0", "1", "+1", "01", "1.0", "1.", "1e0", "1_0", "10", "1e1", ".5", "0.5"),
    *("inf", "-inf", "nan", "NA", "1e999", "True", "0x1", "\uff11", "\u0661"),
    *("9007199254740992", "9007199254740993", "9007199254740993.0", "9223372036854775807"),
    *("9223372036854775808", "99999999999999999999", "01234", "1234", "1234.0"),
]


def test_labels_that_differ_stay_apart(tmp_path):
    for labels in itertools.combinations(TRICKY_LABELS, 2):
        (tmp_path / "a.csv").write_text("x,y\n1,{}\n2,{}\n".format(*labels), encoding="utf-8")
        y = tables.read_table(tmp_path / "a.csv", target="y").y
        value = {"U": str, "i": Fraction, "f": float}[y.dtype.kind]
        assert y.tolist() == [value(label) for label in labels]
        assert len(np.unique(y)) == 2, labels


def test_labels_that_are_text_stay_text(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((len(TRICKY_LABELS), 1)), y=TRICKY_LABELS)
    pd.DataFrame({"x": 1.0, "y": TRICKY_LABELS}).to_parquet(tmp_path / "a.parquet")
    for name in ["a.npz", "a.parquet"]:
        assert tables.read_table(tmp_path / name, target="y").y.tolist() == TRICKY_LABELS


@pytest.mark.parametrize(
    "labels, expected",
    [
        (["9007199254740993", "-7"], [2**53 + 1, -7]),
        (["1.0", "2.0", "1.0"], [1, 2, 1]),
        (["0.5", "-1e-3"], [0.5, -0.001]),
        (["1", "2", "x"], ["1", "2", "x"]),
        (["10001", "01234"], ["10001", "01234"]),
    ],
)
def test_labels_are_numbers_in_a_column_of_numbers(tmp_path, labels, expected):
    (tmp_path / "a.csv").write_text("x,y\n" + "".join(f"1,{label}\n" for label in labels))
    y = tables.read_table(tmp_path / "a.csv", target="y").y
    assert y.tolist() == expected


@pytest.mark.parametrize(
    "values", [[1.0, np.inf], [1.0, np.nan], [2.0**63, 2.0**64], [1.0, 2.0**53]]
)
def test_floats_beyond_the_integers_stay_floats(tmp_path, values):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 1)), y=values)
    y = tables.read_table(tmp_path / "a.npz", target="y").y
    np.testing.assert_array_equal(y, values)
    assert y.dtype == np.float64


@pytest.mark.parametrize("command", ["fit", "compare"])
def test_missing_labels_are_no_class(tmp_path, command):
    (tmp_path / "a.csv").write_text("x,y\n" + "1,a\n2,b\n3,\n" * 5)
    pd.DataFrame({"x": [1.0, 2, 3] * 5, "y": ["a", "b", None] * 5}).to_parquet("a.parquet")
    np.savez(tmp_path / "a.npz", X=np.ones((15, 1)), y=[1, 2, np.nan] * 5)
    for name in ["a.csv", "a.parquet", "a.npz"]:
        arguments = [name, "--model", "gaussian-bayes"]
        if command == "compare":
            arguments = ["--data", name]
        assert f"{name}' must have a label in every row; row 3 of the target has none;" in fail(
            command, *arguments, "--target", "y"
        )


def test_float32_is_written_in_its_own_digits(tmp_path):
    tables.write_table(tmp_path / "a.csv", np.array([[0.1]], dtype=np.float32))
    assert (tmp_path / "a.csv").read_text() == "x0\n0.1\n"


def test_tables_are_read_without_pandas(tmp_path, frame, monkeypatch):
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame.to_parquet(tmp_path / "a.parquet")
    monkeypatch.setitem(sys.modules, "pandas", None)
    table = tables.read_table(tmp_path / "a.csv", columns=["height", "age"])
    np.testing.assert_array_equal(table.X, frame.to_numpy()[:, [2, 0]])
    assert table.names == ["height", "age"]
    with pytest.raises(
        ImportError,
        match="needs pandas and pyarrow; install them with `pip install pandas pyarrow`",
    ):
        tables.read_table(tmp_path / "a.parquet")


# Bad input


def truncated_archive(path):
    np.savez(path, X=np.arange(4000.0).reshape(100, 40))
    path.write_bytes(path.read_bytes()[:2000])


def damaged_archive(path):
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=(100, 40)))
    content = bytearray(path.read_bytes())
    content[5000:5100] = bytes(100)
    path.write_bytes(content)


BAD_FILES = {
    "nothing.csv": (None, "nothing.csv' does not exist; give a .npy, .npz, .csv, .tsv,"),
    "data.txt": (
        lambda path: path.write_text("1,2"),
        "data.txt' must be a .npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz or .parquet file",
    ),
    "folder.csv": (lambda path: path.mkdir(), "folder.csv' must be a .npy"),
    "png.npy": (lambda path: path.write_bytes(PNG), "png.npy' is not a readable .npy file."),
    "png.npz": (lambda path: path.write_bytes(PNG), "png.npz' is not a readable .npz file."),
    "png.csv": (
        lambda path: path.write_bytes(PNG),
        "png.csv' is not a readable .csv file: 'utf-8' codec",
    ),
    "png.parquet": (
        lambda path: path.write_bytes(PNG),
        "png.parquet' is not a readable .parquet file",
    ),
    "empty.npy": (lambda path: path.write_bytes(b""), "empty.npy' is not a readable .npy file"),
    "truncated.npz": (
        truncated_archive,
        "truncated.npz' is not a readable .npz file: File is not a zip file",
    ),
    "damaged.npz": (damaged_archive, "damaged.npz' is not a readable .npz file"),
    "empty.csv": (
        lambda path: path.write_text("\n"),
        "empty.csv' is empty; give a file with at least one row",
    ),
    "header.csv": (
        lambda path: path.write_text("a,b\n"),
        "header.csv' must hold at least one row and one column",
    ),
    "ragged.csv": (
        lambda path: path.write_text("a,b\n1,2\n3\n"),
        "must have 2 cells in every row, separated by commas; got 1 in row 3",
    ),
    "text.csv": (
        lambda path: path.write_text("a,b\n" + "".join(f"1,name {k}\n" for k in range(99))),
        "column 'b' holds text with 99 different values in 99 rows, which are no categories",
    ),
    "points.csv": (
        lambda path: path.write_text("a;b\n1,5;2.5\n"),
        "must have one decimal mark; got '1,5' and '2.5'; write points everywhere",
    ),
    "quoted.csv": (
        lambda path: path.write_text('a,b\n"1,5","2,5"\n'),
        "column 'a' has '1,5'; write it as 1234.5, or 1234,5 where semicolons or tabs separate",
    ),
    "commas.csv": (
        lambda path: path.write_text("a,b\n1,5,2,5\n"),
        "separated by commas; got 4 in row 2; decimal commas need semicolons or tabs",
    ),
    "commas.tsv": (
        lambda path: path.write_text("a,b\n1,5\n"),
        "commas.tsv' must hold numbers with points; column 'a,b' has '1,5'",
    ),
    "spaces.csv": (
        lambda path: path.write_text("a b\n1 2\n"),
        "has '1 2' in one cell; cells are separated by commas",
    ),
    "latin.csv": (
        lambda path: path.write_text("größe\n1\n", encoding="latin-1"),
        "invalid start byte; save it as UTF-8.",
    ),
    "nameless.csv": (
        lambda path: path.write_text("a,,b\n1,2,3\n"),
        "must name every column in its first line; column 2 has no name",
    ),
    "plain.csv.gz": (
        lambda path: path.write_text("a,b\n1,2\n"),
        "plain.csv.gz' is not a readable .csv.gz file",
    ),
    "numbers.npy.gz": (lambda path: path.write_bytes(b""), "numbers.npy.gz' must be a .npy"),
    "periods.parquet": (
        lambda path: pd.DataFrame({"m": pd.period_range("2020", periods=3)}).to_parquet(path),
        "column 'm' holds periods; take their starts",
    ),
    "twice.csv": (
        lambda path: path.write_text("a,a\n1,2\n"),
        "must name each column once; got 'a' twice",
    ),
    "flat.npy": (
        lambda path: np.save(path, np.arange(3.0)),
        "an array of two dimensions or more; got shape (3,)",
    ),
    "words.npy": (
        lambda path: np.save(path, [["a", "b"]]),
        "words.npy' must hold numbers; got <U1",
    ),
    "objects.npy": (
        lambda path: np.save(path, np.array([[{}]])),
        "objects.npy' is not a readable .npy file",
    ),
    "rowless.npy": (
        lambda path: np.save(path, np.ones((0, 2))),
        "at least one row and one column; got shape (0, 2)",
    ),
    "many.npz": (
        lambda path: np.savez(path, a=np.ones((2, 2)), b=np.ones((2, 2))),
        "holds the arrays a, b; choose",
    ),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_files_that_hold_something_else(tmp_path, name):
    make, message = BAD_FILES[name]
    if make is not None:
        make(tmp_path / name)
    assert message in fail(
        "fit", tmp_path / name, "--model", "gaussian-mixture", "-o", tmp_path / "m.probgen"
    )
    assert not (tmp_path / "m.probgen").exists()


def test_an_archive_under_the_name_of_an_array(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    assert "which does not match its suffix; rename it" in fail(
        "fit", tmp_path / "a.npy", "--model", "gaussian-mixture"
    )


BAD_MODELS = {
    "nothing.probgen": (
        None,
        "nothing.probgen' does not exist; give a file that `probgen.save` wrote",
    ),
    "png.probgen": (
        lambda path: path.write_bytes(PNG),
        "png.probgen' is not a file that probgen wrote",
    ),
    "empty.probgen": (
        lambda path: path.write_bytes(b""),
        "empty.probgen' is not a file that probgen wrote",
    ),
    "pickled.probgen": (
        lambda path: joblib.dump({}, path),
        "pickled.probgen' is not a file that probgen wrote",
    ),
    "model.joblib": (
        lambda path: joblib.dump({}, path),
        "model.joblib' may run code when it is opened, so only",
    ),
    "scaler.probgen": (
        lambda path: save(StandardScaler(), path),
        "which can sample and score; got a Standard",
    ),
    "unfitted.probgen": (lambda path: save(GaussianMixture(), path), "is not fitted yet"),
}


@pytest.mark.parametrize("name", BAD_MODELS)
@pytest.mark.parametrize("command", ["sample", "score"])
def test_models_that_are_something_else(tmp_path, people, name, command):
    make, message = BAD_MODELS[name]
    if make is not None:
        make(tmp_path / name)
    assert message in fail(
        command, tmp_path / name, *([people, "--target", "town"] if command == "score" else [])
    )


def test_truncated_model(tmp_path, mixture):
    mixture.write_bytes(mixture.read_bytes()[:300])
    assert "is not a file that probgen wrote, or not all of it" in fail("sample", mixture)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-n", "0"], "n_samples must be an integer >= 1; got 0"),
        (["-n", "many"], "'many' is not a valid integer. See `probgen sample --help`."),
        (["--class", "3"], "y asks for classes, but GaussianMixture has none"),
        (["--labels"], "return_y asks for classes, but GaussianMixture has none"),
        (
            ["--given", "age"],
            "--given must be COLUMN=VALUE, COLUMN=LOW:HIGH or COLUMN=A|B with numbers; got 'age'",
        ),
        (["--given", "age=old"], "with numbers; got 'age=old'"),
        (["--given", "age=9:3"], "must be an interval with low < high; got (9.0, 3.0)"),
        (["--given", "shoe=3"], "given names feature 'shoe', which the model does not know"),
        (["--given", "9=3"], "by an index in [0, 2]; got 9"),
        (
            ["--output", "x.txt"],
            "the output must end in .npy, .npz, .csv, .tsv, .csv.gz, .tsv.gz or",
        ),
        (["--output", "nowhere/x.csv"], "the output's folder must exist; got 'nowhere/x.csv'"),
        (["--random-state", "-1"], "random_state must be"),
        (["--colour", "red"], "No such option"),
    ],
)
def test_bad_draws(mixture, arguments, message):
    assert message in fail("sample", mixture, *arguments)


def test_unknown_class(bayes):
    assert "--class must be one of 3, 7; got '5'" in fail("sample", bayes, "--class", "5")


def test_classes_do_not_fit_into_one_array(tmp_path, bayes):
    assert "classes do not fit" in fail("sample", bayes, "--labels", "-o", tmp_path / "x.npy")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--model", "gaussian-mixtur"], "'gaussian-mixtur' is not one of"),
        (
            ["--model", "gaussian-mixture", "-p", "n_component=2"],
            "no parameter 'n_component'; did you mean n_components?",
        ),
        (
            ["--model", "gaussian-mixture", "-p", "zzz=2"],
            "gaussian-mixture has no parameter 'zzz'; it has n_components,",
        ),
        (["--model", "gaussian-mixture", "-p", "n_components"], "--param must be NAME=VALUE"),
        (
            ["--model", "gaussian-mixture", "--target", "town", "-p", "n_components=0"],
            "n_components must be",
        ),
        (
            ["--model", "gaussian-mixture", "--random-state", "-1"],
            "random_state must be an integer >= 0; got -1",
        ),
        (
            ["--model", "gaussian-mixture", "--target", "city"],
            "has no column 'city'; it has age, income, height, town",
        ),
        (["--model", "gaussian-mixture", "--key", "X"], "names an array of a .npz file"),
        (
            ["--model", "gaussian-bayes"],
            "learns classes; name their column with --target",
        ),
        (
            ["--model", "gaussian-mixture", "-o", "model.pkl"],
            "the output must end in .probgen; got 'model.pkl'",
        ),
        ([], "Missing option '--model'"),
    ],
)
def test_bad_fits(people, arguments, message):
    assert message in fail("fit", people, *arguments)


def test_scores_of_other_columns(tmp_path, mixture, frame):
    frame.drop(columns="income").to_csv(tmp_path / "narrow.csv", index=False)
    assert "narrow.csv' has no column 'income'; it has age, height" in fail(
        "score", mixture, tmp_path / "narrow.csv"
    )
    np.save(tmp_path / "narrow.npy", np.ones((2, 2)))
    assert "must have the 3 columns of the model's data; got 2" in fail(
        "score", mixture, tmp_path / "narrow.npy"
    )


def test_unknown_command():
    assert "No such command 'fitt'" in fail("fitt")


# The program


@pytest.mark.parametrize("command", ["compare", "fit", "sample", "score"])
def test_help(command):
    assert succeed(command, "--help").startswith(f"Usage: probgen {command}")


def test_help_of_the_program():
    text = succeed()
    assert text == succeed("--help")
    assert re.findall(r"^  (\w+)  ", text, flags=re.MULTILINE) == [
        "compare",
        "fit",
        "sample",
        "score",
    ]


def test_interrupt_leaves_the_old_file(tmp_path, people, monkeypatch):
    def interrupted(self, X, y=None):
        raise KeyboardInterrupt

    monkeypatch.setattr(GaussianMixture, "fit", interrupted)
    (tmp_path / "model.probgen").write_text("old")
    parameters = ["--model", "gaussian-mixture", "--target", "town"]
    result = run("fit", people, *parameters, "-o", tmp_path / "model.probgen")
    assert result.exit_code == 130
    assert "interrupted" in result.stderr
    assert (tmp_path / "model.probgen").read_text() == "old"


INTERRUPTED_COMMAND = """
import os, signal, sys
from probgen import GaussianMixture
from probgen.cli import main

def interrupt(self, X, y=None):
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # as in a callback, whose exceptions Python drops
        pass
    open("went on", "w")

if sys.argv[1] == "fit":
    GaussianMixture.fit = interrupt
else:
    from probgen.cli import comparison
    stops = type("Stops", (GaussianMixture,), {"fit": interrupt})
    kinds = {"works": GaussianMixture, "stops": stops}
    makes = {name: lambda n, d, shape, kind=kind: kind() for name, kind in kinds.items()}
    names = os.environ["MODELS"].split()
    comparison.MODELS = {f"{i} {name}": makes[name] for i, name in enumerate(names)}
main()
"""


def interrupted(*arguments, models=""):
    """The process of a command that gets Ctrl-C within a fit."""
    return subprocess.run(
        [sys.executable, "-P", "-c", INTERRUPTED_COMMAND, *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"MODELS": models},
    )


def test_ctrl_c_leaves_the_old_file(tmp_path, people):
    (tmp_path / "model.probgen").write_text("old")
    done = interrupted("fit", "people.csv", "--model", "gaussian-mixture", "--target", "town")
    assert (done.returncode, done.stderr) == (130, "probgen: interrupted\n")
    assert (tmp_path / "model.probgen").read_text() == "old"
    assert {path.name for path in tmp_path.iterdir()} == {"people.csv", "model.probgen"}


def test_a_failed_write_leaves_only_the_old_file(tmp_path):
    (tmp_path / "a.csv").write_text("old")
    rows = np.array([[1.0], [2.0]])
    with pytest.raises(IndexError, match="out of bounds"):
        tables.write_table(tmp_path / "a.csv", rows, np.array(["one label for two rows"]))
    assert [path.name for path in tmp_path.iterdir()] == ["a.csv"]
    assert (tmp_path / "a.csv").read_text() == "old"


@pytest.mark.parametrize("package", ["click", "rich"])
def test_missing_packages_are_named(package):
    code = f"import sys; sys.modules[{package!r}] = None; from probgen.cli import main; main()"
    done = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr
        == f"The command probgen needs {package}; install it with `pip install 'probgen[cli]'`.\n"
    )


def test_only_the_report_needs_matplotlib(tmp_path):
    code = "import sys; sys.modules['matplotlib'] = None; "
    code += "import probgen.cli.comparison, probgen.cli.commands as commands; "
    code += "commands.program(['compare'])"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 2
    assert done.stderr == (
        "probgen: error: the report needs matplotlib; install it with `pip install"
        " 'probgen[plot]'`.\n"
    )


def test_a_closed_pipe_is_no_error(mixture):
    command = (
        f"{sys.executable} -P -c 'from probgen.cli import main; main()' sample {mixture} -n 100000"
        " | head -n 2"
    )
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("age,income,height\n")
    assert done.stderr == ""


# compare


class Page(HTMLParser):
    """Tags and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.words = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.words.append(data)


@pytest.fixture
def two_models(monkeypatch):
    """A short registry: one generator without and one with classes."""
    models = {
        "Gaussian": lambda n, d, shape: GaussianMixture(reg_covar=0.0),
        "Per class": lambda n, d, shape: GaussianBayes(reg_param=0.1),
    }
    monkeypatch.setattr(comparison, "MODELS", models)


@pytest.mark.usefixtures("two_models")
def test_compare_writes_a_page_that_needs_nothing_else(tmp_path):
    text = succeed("compare", "-o", tmp_path / "report.html")
    assert "Gaussian" in text
    assert "Per class" in text
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == 5  # the data, and each model's draws and completions
    for image in images:
        header, content = image["src"].split(",")
        assert header == "data:image/png;base64"
        assert imread(io.BytesIO(base64.b64decode(content))).min() < 0.1  # there is something on it
        assert len(image["alt"]) > 10
    links = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in {"src", "href"}
    ]
    assert len(links) == 5
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    assert "@import" not in "".join(page.words)
    assert "url(" not in "".join(page.words)
    words = " ".join(page.words)
    assert "1,347 to learn from, 450 held out (25%, stratified by class)" in words
    assert "lower bound" in words
    assert np.__version__ in words


def test_results_are_printed_while_other_generators_are_fitted(monkeypatch):
    class Watching(GaussianMixture):
        def fit(self, X, y=None):
            sys.stderr.flush()
            printed.append(sys.stderr.buffer.getvalue().decode())
            return super().fit(X, y)

    printed = []
    models = {
        "First": lambda n, d, shape: GaussianMixture(),
        "Second": lambda n, d, shape: Watching(),
    }
    monkeypatch.setattr(comparison, "MODELS", models)
    assert run("compare", "--max-rows", 60).exit_code == 0
    assert re.search(r"^First +[\d,.]+ bits/dim, fit in \d+\.\d s$", printed[0], re.MULTILINE)


def test_ctrl_c_keeps_the_results_that_there_are(tmp_path):
    options = ["compare", "--max-rows", "60", "-o", "a.html"]
    done = interrupted(*options, models="works stops works")
    assert done.returncode == 130
    assert "Report: a.html" in done.stdout
    assert done.stderr.endswith("probgen: interrupted\n")
    page = (tmp_path / "a.html").read_text(encoding="utf-8")
    assert page.count("<article>") == 1
    assert "The comparison was interrupted: 2 more generators are missing." in page
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_ctrl_c_before_the_first_result_leaves_the_old_report(tmp_path):
    (tmp_path / "a.html").write_text("old")
    done = interrupted("compare", "--max-rows", "60", "-o", "a.html", models="stops works")
    assert done.returncode == 130
    assert done.stdout == ""
    assert (tmp_path / "a.html").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.html"]


def test_reconstructions_and_codes_are_shown(tmp_path, monkeypatch):
    quick = {
        "n_components": 4,
        "hidden_layer_sizes": (16,),
        "max_iter": 2,
        "n_importance_samples": 4,
    }
    models = {
        "Decodes": lambda n, d, shape: Autoencoder(**quick),
        "Does not": lambda n, d, shape: GaussianMixture(),
    }
    monkeypatch.setattr(comparison, "MODELS", models)
    succeed("compare", "--max-rows", 60, "-o", tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    ends = ["reconstructions by Decodes.", "codes of Decodes by class.", "drawn by Does not."]
    assert [sum(alt.lower().endswith(end.lower()) for alt in alts) for end in ends] == [1, 1, 1]
    assert len(alts) == 7
    assert "estimate" in page.words


def test_two_dimensional_codes_are_shown_as_a_plane(tmp_path, monkeypatch):
    quick = {
        "hidden_layer_sizes": (16,),
        "likelihood": "gaussian",
        "max_iter": 2,
        "n_importance_samples": 4,
    }
    monkeypatch.setattr(comparison, "MODELS", {"Plane": lambda n, d, shape: VAE(2, **quick)})
    succeed("compare", "--max-rows", 60, "-o", tmp_path / "report.html")
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    alts = [attributes["alt"] for tag, attributes in page.tags if tag == "img"]
    assert len(alts) == 7
    for said in [
        "Rows drawn from",
        "Decoded means of",
        "reconstructions by",
        "Lower halves drawn by",
        "Codes of",
        "over the codes",
    ]:
        assert sum(said in alt for alt in alts) == 1


def test_models_of_integers_take_them_without_noise(monkeypatch):
    pixels = PixelCNN(4, 1, max_iter=1, random_state=0)
    models = {
        "Pixels": lambda n, d, shape: pixels,
        "Density": lambda n, d, shape: GaussianMixture(),
    }
    monkeypatch.setattr(comparison, "MODELS", models)
    data = compared.load_data("digits", max_rows=100)
    pipelines = comparison.generators(data)
    result = comparison.evaluate("Pixels", pipelines["Pixels"], data)
    assert result.notes == []
    assert pipelines["Pixels"][-1].n_levels_ == 17
    # Integers are read in single precision, so that a network does not train in double.
    assert {weight.dtype for weight in pixels.network_.parameters()} == {torch.float32}
    assert result.nats == pytest.approx(float(pipelines["Pixels"][-1].score(data.X_test)))
    assert [get_likelihood(model).measure for model in pipelines.values()] == [
        "counting",
        "counting",
    ]


def test_estimates_are_scored_on_fewer_rows_with_a_note(monkeypatch):
    quick = {
        "n_components": 4,
        "hidden_layer_sizes": (16,),
        "max_iter": 2,
        "n_importance_samples": 256,
    }
    models = {
        "Estimate": lambda n, d, shape: Autoencoder(**quick),
        "Bound": lambda n, d, shape: GaussianMixture(),
    }
    monkeypatch.setattr(comparison, "MODELS", models)
    monkeypatch.setattr(comparison, "MIN_ESTIMATED_ROWS", 10)
    monkeypatch.setattr(comparison, "MAX_ESTIMATED_VALUES", 64 * 12)
    data = compared.load_data("digits", max_rows=100)
    results = {
        name: comparison.evaluate(name, model, data)
        for name, model in comparison.generators(data).items()
    }
    assert results["Estimate"].notes == [
        "Scored on 12 of the held-out rows only, because each row takes many draws."
    ]
    assert results["Bound"].notes == []
    scores = results["Estimate"].model.score_samples(data.X_test[:12])
    assert results["Estimate"].nats == pytest.approx(scores.mean())


@pytest.mark.parametrize(
    "shape, expected", [((8, 8), True), ((7, 9), False), ((16, 16, 3), True), (None, False)]
)
def test_convolutions_are_for_images_of_some_size(shape, expected):
    model = comparison.MODELS["Convolutional autoencoder"](
        100, 64 if shape is None else int(np.prod(shape)), shape
    )
    assert (model is not None) == expected


def test_every_generator_fits_few_rows_of_few_columns(tmp_path, frame):
    frame[["age"]].head(16).to_csv(tmp_path / "people.csv", index=False)
    data = compared.load_data(str(tmp_path / "people.csv"))
    for name, model in comparison.generators(data).items():
        assert np.isfinite(comparison.evaluate(name, model, data).nats), name


def test_digits_score_as_published():
    data = compared.load_data("digits")
    X, y = load_digits(return_X_y=True)
    np.testing.assert_array_equal(
        data.X_test, train_test_split(X, test_size=0.25, stratify=y, random_state=0)[1]
    )
    model = comparison.generators(data)["Gaussian"]
    assert comparison.evaluate("Gaussian", model, data).bits_per_dim == pytest.approx(
        2.966, abs=0.01
    )


@pytest.mark.usefixtures("two_models")
def test_tables_are_scored_in_their_own_units(tmp_path, frame):
    frame.to_csv(tmp_path / "people.csv", index=False)
    data = compared.load_data(str(tmp_path / "people.csv"))
    models = comparison.generators(data)
    assert list(models) == ["Gaussian"]  # no classes to learn
    result = comparison.evaluate("Gaussian", models["Gaussian"], data)
    reference = multivariate_normal(
        data.X_train.mean(axis=0), np.cov(data.X_train.T, bias=True)
    ).logpdf(data.X_test)
    assert result.nats == pytest.approx(reference.mean(), rel=1e-9)
    assert result.error == pytest.approx(reference.std(ddof=1) / np.sqrt(15), rel=1e-9)
    assert np.isnan(result.bits_per_dim)
    assert (result.likelihood.kind, result.likelihood.measure) == ("exact", "lebesgue")


@pytest.mark.usefixtures("two_models")
def test_integers_are_scored_as_probabilities(tmp_path):
    rows = np.random.default_rng(0).integers(0, [2, 5, 9], size=(400, 3))
    np.save(tmp_path / "counts.npy", rows)
    data = compared.load_data(str(tmp_path / "counts.npy"))
    assert data.levels.tolist() == [2, 5, 9]
    result = comparison.evaluate("Gaussian", comparison.generators(data)["Gaussian"], data)
    assert result.likelihood.kind == "lower_bound"
    entropy = np.log2([2, 5, 9]).mean()
    assert result.bits_per_dim > entropy - 0.05  # No code is shorter than the entropy.
    assert result.bits_per_dim < entropy + 0.5


@pytest.mark.usefixtures("two_models")
def test_compare_takes_files_with_classes_and_images(tmp_path):
    rows = np.random.default_rng(0).integers(0, 256, size=(80, 2, 3), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", images=rows, kind=np.repeat(["x", "<y>"], 40))
    out = tmp_path / "a.html"
    options = ["--target", "kind", "--image-shape", "2x3", "--max-rows", 60]
    text = succeed("compare", "--data", tmp_path / "a.npz", *options, "-o", out)
    assert "15 rows held out" in text
    assert "accuracy" in text
    assert "images of 2x3x1 with 256 levels" in out.read_text(encoding="utf-8")


def test_a_model_that_fails_is_reported_and_the_others_remain(tmp_path, frame, monkeypatch):
    models = {
        "Works": lambda n, d, shape: GaussianMixture(),
        "Fails": lambda n, d, shape: GaussianMixture(10**6),
    }
    monkeypatch.setattr(comparison, "MODELS", models)
    frame.to_csv(tmp_path / "people.csv", index=False)
    result = run("compare", "--data", tmp_path / "people.csv", "-o", tmp_path / "a.html")
    assert result.exit_code == 0
    assert "Fails: Failed: " in result.stderr
    assert "Failed: " in (tmp_path / "a.html").read_text(encoding="utf-8")


def test_the_table_of_results_fits_on_80_columns(monkeypatch):
    result = comparison.Result(
        "Low-rank mixture per class",
        "",
        model=GaussianBayes(),
        likelihood=Likelihood("lower_bound", "counting"),
        nats=-131.613,
        error=0.951,
        bits_per_dim=2.967,
        accuracy=1.0,
        fit_seconds=12.34,
        draw_seconds=0.1234,
    )
    data = compared.load_data("digits", max_rows=100)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(commands, "TABLE_WIDTH", None)
    with CliRunner().isolation() as (out, *_):
        commands._print_results(data, [result])
        lines = out.getvalue().decode().splitlines()
    assert max(map(len, lines)) <= 80
    cells = "lower bound -131.61 ± 0.95 2.967 100.0% 12.3 s 0.123 s"
    assert any(" ".join(line.split()).endswith(cells) for line in lines)


@pytest.mark.usefixtures("two_models")
def test_compare_repeats_and_ranks_by_likelihood():
    data = compared.load_data("digits", max_rows=400)
    runs = []
    for _ in range(2):
        results = [
            comparison.evaluate(name, model, data)
            for name, model in comparison.generators(data, 3).items()
        ]
        runs.append([result.nats for result in comparison.sort_by_likelihood(results)])
    assert runs[0] == runs[1] == sorted(runs[0], reverse=True)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--data", "nowhere.csv"], "data must be a file or one of"),
        (["--data", "uci"], "data 'uci' has parts; name one as uci:NAME"),
        (["--data", "digits:3"], "data 'digits' has no parts"),
        (
            ["--data", "digits", "--target", "y"],
            "describe a file; the data set 'digits' has its own",
        ),
        (["--image-shape", "8"], "expected a shape such as 28x28 or 32x32x3; got '8'"),
        (["--max-rows", "3"], "max_rows must be an integer >= 8; got 3"),
        (["--random-state", "-1"], "random_state must be an integer >= 0; got -1"),
        (["--output", "report.pdf"], "the output must end in .html; got 'report.pdf'"),
    ],
)
def test_bad_comparisons(arguments, message):
    assert message in fail("compare", *arguments)


def test_too_few_rows(tmp_path):
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    assert "data must hold at least 8 rows" in fail("compare", "--data", tmp_path / "a.npy")


def test_images_must_fit_their_shape_and_levels(tmp_path):
    np.save(tmp_path / "a.npy", np.full((20, 6), 0.5))
    assert "images must hold integers" in fail(
        "compare", "--data", tmp_path / "a.npy", "--image-shape", "2x3"
    )
    np.save(tmp_path / "a.npy", np.ones((20, 6)))
    assert "holds 4 numbers, but rows have 6" in fail(
        "compare", "--data", tmp_path / "a.npy", "--image-shape", "2x2"
    )
