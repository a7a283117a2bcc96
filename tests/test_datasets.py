"""All data sets: common promises, the folders of files, and errors for bad arguments and files."""

import gzip
import io
import re
import subprocess
import sys
import warnings

import numpy as np
import pytest

from probgen import datasets
from probgen.datasets import _formats
from probgen.datasets._images import CIFAR10
from probgen.datasets._store import data_folders, obtain


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def npy(array):
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def bare(name, **arguments):
    """fetch_<name> by the name of the family, for errors that all of them share."""
    family = {"fetch_uci": "concrete", "fetch_binary": "dna", "fetch_adbench": "cardio"}
    positional = [family[name]] if name in family else []
    return getattr(datasets, name)(*positional, **arguments)


FETCHERS = sorted(
    name for name in datasets.__all__ if name.startswith("fetch_") and name != "fetch_lfw_people"
)


def test_import_is_light():
    code = (
        "import sys, sklearn.datasets; before = set(sys.modules); import probgen.datasets; "
        "print(sorted({'pandas', 'pooch', 'torch', 'requests'} & (set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == "[]"


def parameter_text(name, parameter):
    """The description of a parameter in a docstring; names in backquotes and sizes left out."""
    text = getattr(datasets, name).__doc__
    match = re.search(rf"^    {parameter} : .*\n((?: {{8}}.*\n)+)", text, flags=re.MULTILINE)
    return re.sub(r"`.*?`|\(\d.*?\)", "", " ".join(match[1].split()))


@pytest.mark.parametrize("parameter", ["data_home", "return_X_y", "as_frame"])
def test_common_parameters_are_described_alike(parameter):
    names = FETCHERS
    if parameter != "data_home":  # These have no target, or text in their frames.
        names = [name for name in FETCHERS if name not in {"fetch_binary", "fetch_frey_faces"}]
        names = [name for name in names if (name, parameter) != ("fetch_adult", "as_frame")]
    assert len({parameter_text(name, parameter) for name in names}) == 1


@pytest.mark.parametrize(
    "name", [name for name in FETCHERS if name not in ("fetch_adult", "fetch_cifar10")]
)
def test_as_frame_holds_the_same_numbers(data_home, name):
    pytest.importorskip("pandas")
    small = {"subset": "test"} if "mnist" in name else {}
    arrays, frames = bare(name, **small), bare(name, as_frame=True, **small)
    np.testing.assert_array_equal(frames.data.to_numpy(), arrays.data)
    assert list(frames.data.columns) == arrays.feature_names
    if arrays.target is None:
        assert frames.target is None
    else:
        np.testing.assert_array_equal(frames.target.to_numpy(), arrays.target)
        assert frames.frame.columns[-1] == frames.target.name


# Where files are looked for


def test_folders(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PROBGEN_DATA_HOME", str(tmp_path / "shared"))
    assert data_folders(None) == [tmp_path / "shared", tmp_path / "cache" / "probgen"]
    assert data_folders(tmp_path) == [tmp_path]
    monkeypatch.delenv("PROBGEN_DATA_HOME")
    assert data_folders(None) == [tmp_path / "cache" / "probgen"]
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folders(None) == [tmp_path / ".cache" / "probgen"]


def test_full_cifar_comes_before_the_subset_of_the_same_folder(tmp_path):
    (tmp_path / "cifar10_subset.npz").touch()
    assert (
        obtain(CIFAR10, data_home=tmp_path, download_if_missing=False).name == "cifar10_subset.npz"
    )
    (tmp_path / "cifar10.npz").touch()
    assert obtain(CIFAR10, data_home=tmp_path, download_if_missing=False).name == "cifar10.npz"


# Bad input


@pytest.mark.parametrize("name", FETCHERS)
def test_a_missing_file_is_named_with_its_folder(tmp_path, name):
    with pytest.raises(OSError, match=r"^\S+\.(npz|csv\.gz) is not in .*; put ") as caught:
        bare(name, data_home=tmp_path, download_if_missing=False)
    assert f"into {tmp_path}" in str(caught.value)
    assert "download_if_missing=False" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["fetch_mnist", "fetch_uci", "fetch_frey_faces", "load_digits", "fetch_adult"]
)
def test_missing_pandas_is_reported_before_any_work(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pandas", None)
    home = {} if name == "load_digits" else {"data_home": tmp_path}
    with pytest.raises(
        ImportError, match="as_frame=True needs pandas; install it with `pip install pandas`"
    ):
        bare(name, as_frame=True, **home)


@pytest.mark.parametrize(
    "call, match",
    [
        (
            lambda: datasets.fetch_uci("iris"),
            "name must be one of 'abalone', 'concrete', .*; got 'iris'",
        ),
        (lambda: datasets.fetch_binary("DNA"), "name must be one of 'dna', 'mushrooms'; got 'DNA'"),
        (lambda: datasets.fetch_adbench(3), "name must be one of 'annthyroid', .*; got 3"),
        (
            lambda: datasets.fetch_mnist(subset="valid"),
            "subset must be one of 'train', 'test', 'all'; got 'valid'",
        ),
        (
            lambda: datasets.fetch_binary("dna", subset="val"),
            "subset must be one of 'train', 'valid', .*; got 'val'",
        ),
        (
            lambda: datasets.fetch_mnist(data_home=3),
            "data_home must be the path of a folder, .*; got 3",
        ),
        (
            lambda: datasets.fetch_mnist(data_home=""),
            "data_home must be the path of a folder, .*; got ''",
        ),
    ],
)
def test_arguments_out_of_range(call, match):
    with pytest.raises(ValueError, match=match):
        call()


GOOD = {"x_train": np.zeros((3, 28, 28), np.uint8), "y_train": np.zeros(3, np.uint8)}


@pytest.mark.parametrize(
    "content, match",
    [
        (b"", r"mnist.npz cannot be read \(EOFError"),
        (b"nothing like it", r"mnist.npz cannot be read \(ValueError"),
        (npz(**GOOD)[:-200], r"mnist.npz cannot be read \(BadZipFile"),
        (npy(np.zeros(3)), r"mnist.npz cannot be read \(ValueError: it is an .npy file"),
        (
            npz(X=np.zeros(3)),
            r"mnist.npz cannot be read \(KeyError.*expected an .npz file with x_train \(uint8",
        ),
        (npz(**GOOD | {"x_train": np.array([{}])}), r"mnist.npz cannot be read \(ValueError"),
        (
            npz(**GOOD | {"x_train": np.zeros((3, 28, 28))}),
            r"holds x_train of shape \(3, 28, 28\) and dtype float64",
        ),
        (
            npz(**GOOD | {"x_train": np.zeros((3, 28, 27), np.uint8)}),
            r"holds x_train of shape \(3, 28, 27\)",
        ),
        (
            npz(**GOOD | {"x_train": np.zeros((0, 28, 28), np.uint8)}),
            r"holds x_train of shape \(0, 28, 28\)",
        ),
        (npz(**GOOD | {"y_train": np.zeros(4, np.uint8)}), r"holds y_train of shape \(4,\)"),
    ],
)
def test_a_file_that_holds_something_else(tmp_path, content, match):
    (tmp_path / "mnist.npz").write_bytes(content)
    with pytest.raises(ValueError, match=match) as caught:
        datasets.fetch_mnist(data_home=tmp_path)
    assert str(tmp_path / "mnist.npz") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"39, State-gov",
        gzip.compress(b"", mtime=0),
        gzip.compress(b"age,income\n39,<=50K\n", mtime=0),
        gzip.compress((",".join(_formats.ADULT_COLUMNS) + "\n1,2,3\n").encode()),
        gzip.compress(
            (",".join(_formats.ADULT_COLUMNS) + "\n" + ",".join(["old"] * 15) + "\n").encode()
        ),
        gzip.compress((",".join(_formats.ADULT_COLUMNS) + "\n").encode())[:-4],
    ],
)
def test_an_adult_file_that_holds_something_else(tmp_path, content):
    (tmp_path / "adult.csv.gz").write_bytes(content)
    with pytest.raises(ValueError, match=r"adult\.csv\.gz is not the Adult table in gzipped CSV"):
        datasets.fetch_adult(data_home=tmp_path)


def test_reading_leaves_no_file_open(data_home):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        datasets.fetch_uci("concrete")
