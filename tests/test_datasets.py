"""Data sets: embedded, read from real files, and converted from small files in the formats of their publishers."""

import csv
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import subprocess
import sys
import tarfile
import threading
import urllib.error
import warnings

import numpy as np
import pytest
from scipy.io import savemat
from sklearn import datasets as sklearn_datasets
from sklearn.utils import Bunch

from probgen import datasets
from probgen.datasets import _formats
from probgen.datasets._faces import FREY_FACES, OLIVETTI_FACES
from probgen.datasets._images import CIFAR10, FASHION_MNIST, MNIST
from probgen.datasets._store import Source, array_digest, data_folders, obtain, read_arrays
from probgen.datasets._table_list import ADBENCH, ADULT, BINARY, UCI

TABLES = [table.source for table in UCI.values()] + [source for source, _ in (BINARY | ADBENCH).values()]
UCI_SHAPES = {
    "abalone": (4177, 7),
    "concrete": (1030, 8),
    "letter_recognition": (20000, 16),
    "naval": (11934, 16),
    "power_plant": (9568, 4),
    "protein": (45730, 9),
    "wine_quality": (6497, 11),
}
ADBENCH_TRUTH = {  # rows, columns and anomalies as the collection publishes them
    "annthyroid": (7200, 6, 534),
    "cardio": (1831, 21, 176),
    "letter": (1600, 32, 100),
    "musk": (3062, 166, 97),
    "pendigits": (6870, 16, 156),
    "satellite": (6435, 36, 2036),
    "shuttle": (49097, 9, 3511),
    "thyroid": (3772, 6, 93),
}


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """An empty folder as the user's cache, and no folder of data."""
    monkeypatch.delenv("PROBGEN_DATA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "probgen"


@pytest.fixture
def publish(monkeypatch):
    """A function that takes the content of raw files by name, which pooch then downloads; checksums are not asked."""
    pooch = pytest.importorskip("pooch")

    def published(contents):
        def retrieve(url, known_hash, fname, path):
            path.mkdir(parents=True, exist_ok=True)
            (path / fname).write_bytes(contents[fname])
            return str(path / fname)

        monkeypatch.setattr(pooch, "retrieve", retrieve)

    return published


def idx(array):
    """Gzipped idx bytes of a uint8 array, written by the book."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes())


def text(array, delimiter=" "):
    return "\n".join(delimiter.join(map(repr, row)) for row in np.atleast_2d(array.T).T.tolist()).encode() + b"\n"


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


FETCHERS = sorted(name for name in datasets.__all__ if name.startswith("fetch_") and name != "fetch_lfw_people")


# Embedded


def test_digits_are_those_of_scikit_learn():
    ours, theirs = datasets.load_digits(), sklearn_datasets.load_digits()
    np.testing.assert_array_equal(ours.data, theirs.data)
    np.testing.assert_array_equal(ours.target, theirs.target)
    assert ours.image_shape == ours.images.shape[1:] == (8, 8)
    assert ours.levels == ours.data.max() + 1 == 17
    X, y = datasets.load_digits(n_class=3, return_X_y=True)
    assert X.shape == (len(y), 64)
    assert set(y) == {0, 1, 2}


def test_digits_as_frame():
    pytest.importorskip("pandas")
    digits = datasets.load_digits(as_frame=True)
    assert list(digits.frame.columns) == [*digits.feature_names, "target"]


def test_digits_refuse_another_number_of_classes():
    with pytest.raises(ValueError, match=r"n_class must be an integer in \[1, 10\]; got 11"):
        datasets.load_digits(n_class=11)


def test_import_is_light():
    code = (
        "import sys, sklearn.datasets; before = set(sys.modules); import probgen.datasets; "
        "print(sorted({'pandas', 'pooch', 'torch', 'requests'} & (set(sys.modules) - before)))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


# Real files


def test_mnist(data_home):
    mnist = datasets.fetch_mnist()
    assert mnist.data.shape == (60000, 784)
    assert mnist.data.dtype == np.uint8
    assert mnist.target.dtype == np.int64
    np.testing.assert_array_equal(mnist.target[:10], [5, 0, 4, 1, 9, 2, 1, 3, 1, 4])
    np.testing.assert_array_equal(
        np.bincount(mnist.target), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    )
    np.testing.assert_allclose([mnist.data.mean() / 255, mnist.data.std() / 255], [0.1307, 0.3081], atol=5e-5)
    np.testing.assert_array_equal(mnist.images.reshape(60000, -1), mnist.data)
    assert (mnist.image_shape, mnist.levels, mnist.frame) == ((28, 28), 256, None)
    assert (len(mnist.feature_names), mnist.feature_names[29]) == (784, "pixel_1_1")
    assert mnist.target_names == list("0123456789")
    assert mnist.filename == str(data_home / "mnist.npz")
    assert "MNIST" in mnist.DESCR


def test_mnist_test_part_and_all(data_home):
    X, y = datasets.fetch_mnist(subset="test", return_X_y=True)
    assert X.shape == (10000, 784)
    np.testing.assert_array_equal(np.bincount(y), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    every = datasets.fetch_mnist(subset="all", data_home=str(data_home))
    assert every.data.shape == (70000, 784)
    np.testing.assert_array_equal(every.data[60000:], X)
    np.testing.assert_array_equal(every.target[60000:], y)


def test_fashion_mnist(data_home):
    fashion = datasets.fetch_fashion_mnist()
    assert fashion.data.shape == (60000, 784)
    np.testing.assert_allclose([fashion.data.mean() / 255, fashion.data.std() / 255], [0.2860, 0.3530], atol=5e-5)
    np.testing.assert_array_equal(np.bincount(fashion.target), np.full(10, 6000))
    assert fashion.target_names[fashion.target[0]] == "Ankle boot"
    assert np.bincount(datasets.fetch_fashion_mnist(subset="test").target).tolist() == [1000] * 10


def test_cifar10(data_file):
    data_file("cifar10_subset.npz")
    cifar = datasets.fetch_cifar10(subset="test")
    assert cifar.data.shape == (len(cifar.target), 3072)
    assert cifar.image_shape == (32, 32, 3)
    assert cifar.feature_names[:4] == ["pixel_0_0_0", "pixel_0_0_1", "pixel_0_0_2", "pixel_0_1_0"]
    np.testing.assert_array_equal(cifar.data[5].reshape(32, 32, 3), cifar.images[5])
    assert np.ptp(np.bincount(cifar.target)) == 0
    with np.load(cifar.filename) as file:
        assert cifar.target_names == file["class_names"].tolist()
    assert "do not compare with published" in cifar.DESCR
    assert cifar.images[cifar.target == 0][..., 2].mean() > cifar.images[cifar.target == 6][..., 2].mean() + 30  # sky


def test_olivetti_faces(data_home):
    faces = datasets.fetch_olivetti_faces()
    assert faces.data.shape == (400, 4096)
    assert faces.data.dtype == np.uint8
    assert (faces.data.min(), faces.data.max()) == (0, 242)
    np.testing.assert_array_equal(faces.target, np.arange(400) // 10)
    # Upright rows: a face is nearer to its mirror image than a face on its side would be.
    mean = faces.images.mean(axis=0)
    assert np.abs(mean - mean[:, ::-1]).mean() < 0.5 * np.abs(mean - mean[::-1]).mean()


def test_frey_faces(data_home):
    faces = datasets.fetch_frey_faces()
    assert faces.data.shape == (1965, 560)
    assert (faces.image_shape, faces.target) == ((28, 20), None)
    steps = np.abs(np.diff(faces.data.astype(float), axis=0)).mean()
    far = np.abs(faces.data[:-700].astype(float) - faces.data[700:]).mean()
    assert steps < 0.5 * far  # frames follow each other
    X, y = datasets.fetch_frey_faces(return_X_y=True)
    assert X.shape == (1965, 560)
    assert y is None


@pytest.mark.parametrize("name", UCI)
def test_uci(data_home, name):
    table = datasets.fetch_uci(name)
    assert table.data.shape == UCI_SHAPES[name]
    assert len(table.target) == len(table.data)
    assert len(table.feature_names) == table.data.shape[1]
    with np.load(table.filename) as file:
        np.testing.assert_array_equal(table.data, file["X"])
        np.testing.assert_array_equal(table.target, file["y"])
        if "feature_names" in file:
            assert table.feature_names == file["feature_names"].tolist()


@pytest.mark.parametrize("name, n_splits", [("concrete", 20), ("naval", 20), ("power_plant", 20), ("protein", 5)])
def test_uci_splits(data_home, name, n_splits):
    table = datasets.fetch_uci(name)
    assert table.test_mask.shape == (n_splits, len(table.data))
    np.testing.assert_allclose(table.test_mask.mean(axis=1), 0.1, atol=0.001)
    assert len(np.unique(table.test_mask, axis=0)) == n_splits
    assert table.target_names == [UCI[name].target_name]


def test_uci_codes(data_home):
    abalone = datasets.fetch_uci("abalone")
    np.testing.assert_array_equal(np.bincount(abalone.sex), [1528, 1307, 1342])  # as in abalone.names
    assert abalone.target.dtype == np.int64
    assert (abalone.target.min(), abalone.target.max()) == (1, 29)
    wine = datasets.fetch_uci("wine_quality")
    np.testing.assert_array_equal(np.bincount(wine.color), [1599, 4898])
    letters = datasets.fetch_uci("letter_recognition")
    np.testing.assert_array_equal(
        np.bincount(letters.target)[[0, 1, 25]], [789, 766, 734]
    )  # A, B, Z of the .names file
    assert letters.target_names[letters.target[0]] == "T"


@pytest.mark.parametrize("name, shapes", [("dna", [1400, 600, 1186]), ("mushrooms", [2000, 500, 5624])])
def test_binary(data_home, name, shapes):
    parts = [datasets.fetch_binary(name, subset=subset).data for subset in ("train", "valid", "test")]
    assert [len(part) for part in parts] == shapes
    assert all(part.dtype == np.uint8 and set(np.unique(part)) == {0, 1} for part in parts)
    X, y = datasets.fetch_binary(name, subset="all", return_X_y=True)
    np.testing.assert_array_equal(X, np.concatenate(parts))
    assert y is None


@pytest.mark.parametrize("name", ADBENCH)
def test_adbench(data_home, name):
    n, d, n_anomalies = ADBENCH_TRUTH[name]
    table = datasets.fetch_adbench(name)
    assert table.data.shape == (n, d)
    np.testing.assert_array_equal(np.bincount(table.target), [n - n_anomalies, n_anomalies])
    assert table.target_names == ["normal", "anomaly"]
    assert len(table.feature_names) == d


def test_adult(data_home):
    adult = datasets.fetch_adult()
    assert adult.data.shape == (32561, 14)
    first = [39.0, "State-gov", 77516.0, "Bachelors", 13.0, "Never-married", "Adm-clerical", "Not-in-family", "White"]
    assert adult.data[0].tolist() == [*first, "Male", 2174.0, 0.0, 40.0, "United-States"]
    assert (adult.target == ">50K").sum() == 7841  # 24.08 %, as in adult.names
    missing = {name: sum(value != value for value in adult.data[:, j]) for j, name in enumerate(adult.feature_names)}
    assert {k: n for k, n in missing.items() if n} == {"workclass": 1836, "occupation": 1843, "native-country": 583}
    assert len(adult.categorical_features) == 8


def test_adult_as_frame(data_home):
    pytest.importorskip("pandas")
    adult = datasets.fetch_adult(as_frame=True)
    assert list(adult.frame.columns) == [*adult.feature_names, "income"]
    for name in adult.feature_names:
        assert adult.data[name].dtype == ("category" if name in adult.categorical_features else np.float64)
    assert adult.data.isna().sum().sum() == 1836 + 1843 + 583
    assert sorted(adult.target.cat.categories) == sorted(adult.target_names)
    assert adult.data["education"].cat.categories.size == 16
    X, y = datasets.fetch_adult(as_frame=True, return_X_y=True)
    assert X.equals(adult.data)
    assert y.equals(adult.target)


@pytest.mark.parametrize("name", [name for name in FETCHERS if name not in ("fetch_adult", "fetch_cifar10")])
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


@pytest.mark.parametrize("source", [OLIVETTI_FACES, FREY_FACES, *TABLES], ids=lambda source: source.file)
def test_digests_belong_to_the_real_arrays(data_file, source):
    with np.load(data_file(source.file)) as file:
        assert array_digest({name: file[name] for name in source.arrays}) == source.digest


# From the publishers' bytes


def test_idx_bytes_and_the_way_from_download_to_cache(no_home, publish):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(7, 28, 28), dtype=np.uint8)
    labels = rng.integers(0, 10, size=7, dtype=np.uint8)
    raw = [idx(images[:5]), idx(labels[:5]), idx(images[5:]), idx(labels[5:])]
    publish(dict(zip((url.rsplit("/", 1)[1] for url in MNIST.urls), raw, strict=True)))
    mnist = datasets.fetch_mnist(subset="all")
    np.testing.assert_array_equal(mnist.images, images)
    np.testing.assert_array_equal(mnist.target, labels)
    assert [path.name for path in no_home.iterdir()] == ["mnist.npz"]  # raw files and temporary ones are gone
    publish({})
    np.testing.assert_array_equal(datasets.fetch_mnist(subset="all").data, mnist.data)


@pytest.mark.parametrize(
    "raw, match",
    [
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\0"), "start with 00 00 08, got 00 00 0d"),
        (idx(np.zeros((2, 3), np.uint8))[:-9], "end-of-stream"),
        (gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 5, 1])), r"shape \[5\] cannot hold 1 values"),
    ],
)
def test_idx_refuses_other_bytes(raw, match):
    with pytest.raises((ValueError, EOFError), match=match):
        _formats.parse_idx(raw)


def test_cifar_binary_version(no_home, publish):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, size=(12, 32, 32, 3), dtype=np.uint8)
    labels = rng.integers(0, 10, size=12, dtype=np.uint8)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:

        def add(name, content):
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))

        for k, name in enumerate([f"data_batch_{j}.bin" for j in range(1, 6)] + ["test_batch.bin"]):
            records = b""
            for row in (2 * k, 2 * k + 1):
                red_green_blue = [images[row, :, :, channel].tobytes() for channel in range(3)]
                records += bytes([labels[row]]) + b"".join(red_green_blue)
            add(name, records)
        add("batches.meta.txt", "\n".join(["airplane", "automobile", "", ""]).encode())
    publish({"cifar-10-binary.tar.gz": buffer.getvalue()})
    cifar = datasets.fetch_cifar10(subset="all")
    np.testing.assert_array_equal(cifar.images, images)
    np.testing.assert_array_equal(cifar.target, labels)
    assert "pixel for pixel" in cifar.DESCR
    assert cifar.filename == str(no_home / "cifar10.npz")


def olivetti_raw(file):
    return [(file["x"] / 242).astype(np.float32)]


def frey_raw(file):
    buffer = io.BytesIO()
    savemat(buffer, {"ff": file["x"].reshape(-1, 560).T})
    return [buffer.getvalue()]


def table_raw(source, file):
    """Raw files of a table, written from its arrays in the format of its publisher."""
    if "test_mask" in file:
        columns = np.arange(file["X"].shape[1])
        tests = [
            text(np.random.default_rng(0).permutation(np.flatnonzero(mask)).astype(float)) for mask in file["test_mask"]
        ]
        return [text(np.column_stack([file["X"], file["y"]])), text(columns), text(np.array([len(columns)])), *tests]
    if "color" in file:
        table = np.column_stack([file["X"], file["y"]])
        return [b'"a";"b"\n' + text(table[file["color"] == k], ";") for k in (0, 1)]
    if "sex" in file or "letter_recognition" in source.file:
        first = ["MFI"[k] for k in file["sex"]] if "sex" in file else [chr(65 + k) for k in file["y"]]
        rows = np.column_stack([file["X"], file["y"]]) if "sex" in file else file["X"]
        lines = [f"{a},{','.join(map(str, row))}" for a, row in zip(first, rows.tolist(), strict=True)]
        return ["\n".join(lines).replace(".0\n", "\n").encode()]
    if "x_valid" in file:
        return [npz(**{f"{part}_data": file[f"x_{part}"].astype(float) for part in ("train", "valid", "test")})]
    return [npz(X=file["X"].astype(float), y=file["y"].astype(int))]


@pytest.mark.parametrize("source", [OLIVETTI_FACES, FREY_FACES, *TABLES], ids=lambda source: source.file)
def test_publishers_formats_lead_to_the_real_arrays(data_file, source):
    with np.load(data_file(source.file)) as npz_file:
        file = dict(npz_file)
    if source is OLIVETTI_FACES:
        raw = olivetti_raw(file)
    elif source is FREY_FACES:
        raw = frey_raw(file)
    else:
        raw = table_raw(source, file)
    assert len(raw) == max(len(source.urls), 1)
    converted = source.convert(*raw)
    for name in source.arrays:
        np.testing.assert_array_equal(converted[name], file[name])
        assert converted[name].dtype == file[name].dtype


def test_adult_from_its_publisher(data_file, no_home, publish):
    with gzip.open(data_file("adult.csv.gz"), "rt", newline="") as file:
        _, *rows = csv.reader(file)
    raw = "".join(", ".join(field.strip() for field in row) + "\n" for row in rows) + "\n"
    assert "md5:" + hashlib.md5(raw.encode()).hexdigest() in ADULT.urls.values()
    publish({"adult.data": raw.encode()})
    ours = datasets.fetch_adult()
    theirs = datasets.fetch_adult(data_home=data_file("adult.csv.gz").parent)
    assert ours.filename == str(no_home / "adult.csv.gz")
    for j in range(14):
        assert ours.data[:, j].astype(str).tolist() == theirs.data[:, j].astype(str).tolist()


def test_a_download_with_another_content_is_refused_by_its_checksum(no_home, publish):
    publish({"dna.npz": npz(**{f"{part}_data": np.ones((3, 180)) for part in ("train", "valid", "test")})})
    with pytest.raises(OSError, match=r"downloaded for binary_dna.npz differs from the published data.*remove .*_raw"):
        datasets.fetch_binary("dna")


def test_a_download_in_another_format_is_refused(no_home, publish):
    publish({"dna.npz": b"<html>Not found</html>"})
    with pytest.raises(OSError, match=r"downloaded for binary_dna.npz cannot be converted \(ValueError"):
        datasets.fetch_binary("dna")


def test_olivetti_faces_come_through_scikit_learn(data_file, no_home, monkeypatch):
    with np.load(data_file("olivetti_faces.npz")) as file:
        images = (file["x"] / 242).astype(np.float32)
    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", lambda: Bunch(images=images))
    faces = datasets.fetch_olivetti_faces()
    assert faces.filename == str(no_home / "olivetti_faces.npz")
    np.testing.assert_allclose(faces.data / 242, images.reshape(400, -1), rtol=1e-6)


@pytest.fixture
def server(tmp_path_factory):
    """Folder and address of a web server on this machine."""
    folder = tmp_path_factory.mktemp("served")
    handler = functools.partial(QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A web server that logs nothing."""

    def log_message(self, *_):
        pass


def test_a_download_over_the_network_is_checked_and_kept(server, tmp_path):
    pytest.importorskip("pooch")
    folder, address = server
    labels = np.arange(5, dtype=np.uint8)
    content = idx(labels)
    (folder / "labels.gz").write_bytes(content)
    source = Source(
        "labels.npz",
        {"y": (np.integer, "n")},
        {f"{address}/labels.gz": f"md5:{hashlib.md5(content).hexdigest()}"},
        lambda raw: {"y": _formats.parse_idx(raw)},
    )
    wrong = dataclasses.replace(source, urls={f"{address}/labels.gz": "md5:" + "0" * 32})
    with pytest.raises(OSError, match=r"labels.npz is not in .* the download failed \(ValueError: MD5 hash"):
        obtain(wrong, data_home=tmp_path, download_if_missing=True)
    absent = dataclasses.replace(source, urls={f"{address}/nothing.gz": None})
    with pytest.raises(OSError, match=r"the download failed \(HTTPError: 404"):
        obtain(absent, data_home=tmp_path, download_if_missing=True)
    path = obtain(source, data_home=tmp_path, download_if_missing=True)
    np.testing.assert_array_equal(read_arrays(path, source, ["y"])[0], labels)
    assert [file.name for file in tmp_path.iterdir()] == ["labels.npz"]


# Labeled Faces in the Wild, through scikit-learn's loader


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_lfw_rows_are_the_images_in_uint8(no_home, monkeypatch, shape):
    values = np.random.default_rng(0).integers(0, 256, size=(6, *shape), dtype=np.uint8)
    asked = {}

    def loader(**arguments):
        asked.update(arguments)
        images = values.astype(np.float32) / 255
        names = np.array(["Ada", "Bob"])
        return Bunch(images=images, target=np.arange(6) % 2, target_names=names, DESCR="LFW")

    monkeypatch.setattr(sklearn_datasets, "fetch_lfw_people", loader)
    faces = datasets.fetch_lfw_people(min_faces_per_person=3, color=len(shape) == 3, data_home=no_home)
    np.testing.assert_array_equal(faces.data, values.reshape(6, -1))
    assert (faces.image_shape, faces.levels, faces.target_names) == (shape, 256, ["Ada", "Bob"])
    assert asked["data_home"] == str(no_home)
    assert asked["min_faces_per_person"] == 3
    assert asked["color"] == (len(shape) == 3)


def test_lfw_that_is_missing(tmp_path):
    with pytest.raises(OSError, match=r"not complete in .*lfw_home \(.*is missing\); put lfw-funneled.tgz"):
        datasets.fetch_lfw_people(data_home=tmp_path, download_if_missing=False)


@pytest.mark.parametrize(
    "arguments, match",
    [
        ({"min_faces_per_person": -1}, "min_faces_per_person must be an integer >= 0; got -1"),
        ({"resize": 0.0}, r"resize must be .* >= 0.02; got 0.0"),
    ],
)
def test_lfw_refuses_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        datasets.fetch_lfw_people(**arguments)


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


def test_the_named_folder_comes_before_the_cache_and_is_not_written_to(no_home, publish, monkeypatch, tmp_path):
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("PROBGEN_DATA_HOME", str(named))
    image, label = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    publish({url.rsplit("/", 1)[1]: idx(image if "images" in url else label) for url in MNIST.urls})
    assert obtain(MNIST, data_home=None, download_if_missing=True) == no_home / "mnist.npz"
    assert not list(named.iterdir())
    (named / "mnist.npz").write_bytes((no_home / "mnist.npz").read_bytes())
    assert obtain(MNIST, data_home=None, download_if_missing=False) == named / "mnist.npz"


def test_full_cifar_comes_before_the_subset_of_the_same_folder(tmp_path):
    (tmp_path / "cifar10_subset.npz").touch()
    assert obtain(CIFAR10, data_home=tmp_path, download_if_missing=False).name == "cifar10_subset.npz"
    (tmp_path / "cifar10.npz").touch()
    assert obtain(CIFAR10, data_home=tmp_path, download_if_missing=False).name == "cifar10.npz"


# Bad input


@pytest.mark.parametrize("name", FETCHERS)
def test_a_missing_file_is_named_with_its_folder(tmp_path, name):
    with pytest.raises(OSError, match=r"^\S+\.(npz|csv\.gz) is not in .*; put ") as caught:
        bare(name, data_home=tmp_path, download_if_missing=False)
    assert f"into {tmp_path}" in str(caught.value)
    assert "download_if_missing=False" in str(caught.value)


def test_a_failed_download_says_what_to_put_where(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")

    def offline(*_, **__):
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(OSError, match=r"download failed \(ConnectionError: Name or service not known\)") as caught:
        datasets.fetch_fashion_mnist(data_home=tmp_path)
    assert f"put fashion_mnist.npz into {tmp_path}" in str(caught.value)
    assert f"into {tmp_path / 'fashion_mnist_raw'} what https://" in str(caught.value)
    assert all(url.rsplit("/", 1)[1] in str(caught.value) for url in FASHION_MNIST.urls)
    assert "\n" not in str(caught.value)


def test_a_failed_download_through_scikit_learn(tmp_path, monkeypatch):
    def offline():
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", offline)
    with pytest.raises(OSError, match=r"olivetti_faces.npz is not in .* download failed .*put olivetti_faces.npz into"):
        datasets.fetch_olivetti_faces(data_home=tmp_path)


def test_a_file_put_among_the_raw_ones_serves_offline(tmp_path, monkeypatch, data_file):
    pytest.importorskip("pooch")
    with np.load(data_file("adbench_cardio.npz")) as file:
        raw = npz(X=file["X"], y=file["y"].astype(int))
    folder = tmp_path / "adbench_cardio_raw"
    folder.mkdir()
    (folder / "6_cardio.npz").write_bytes(raw)
    assert datasets.fetch_adbench("cardio", data_home=tmp_path).data.shape == (1831, 21)


def test_pooch_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError, match=r"Downloading mnist.npz needs pooch; install it with `pip install 'probgen\[data\]'`"
    ):
        datasets.fetch_mnist(data_home=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    images = np.zeros((400, 64, 64), np.float32)
    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", lambda: Bunch(images=images))
    monkeypatch.setattr("probgen.datasets._store.array_digest", lambda _: OLIVETTI_FACES.digest)
    with pytest.raises(OSError, match=r"file cannot be written to .*pass another folder as data_home"):
        datasets.fetch_olivetti_faces(data_home=tmp_path / "file")


@pytest.mark.parametrize("name", ["fetch_mnist", "fetch_uci", "fetch_frey_faces", "load_digits", "fetch_adult"])
def test_pandas_is_asked_for_before_any_work(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, "pandas", None)
    home = {} if name == "load_digits" else {"data_home": tmp_path}
    with pytest.raises(ImportError, match="as_frame=True needs pandas; install it with `pip install pandas`"):
        bare(name, as_frame=True, **home)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: datasets.fetch_uci("iris"), "name must be one of 'abalone', 'concrete', .*; got 'iris'"),
        (lambda: datasets.fetch_binary("DNA"), "name must be one of 'dna', 'mushrooms'; got 'DNA'"),
        (lambda: datasets.fetch_adbench(3), "name must be one of 'annthyroid', .*; got 3"),
        (lambda: datasets.fetch_mnist(subset="valid"), "subset must be one of 'train', 'test', 'all'; got 'valid'"),
        (lambda: datasets.fetch_binary("dna", subset="val"), "subset must be one of 'train', 'valid', .*; got 'val'"),
        (lambda: datasets.fetch_mnist(data_home=3), "data_home must be the path of a folder, .*; got 3"),
        (lambda: datasets.fetch_mnist(data_home=""), "data_home must be the path of a folder, .*; got ''"),
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
        (npz(X=np.zeros(3)), r"mnist.npz cannot be read \(KeyError.*expected an .npz file with x_train \(uint8"),
        (npz(**GOOD | {"x_train": np.array([{}])}), r"mnist.npz cannot be read \(ValueError"),
        (npz(**GOOD | {"x_train": np.zeros((3, 28, 28))}), r"holds x_train of shape \(3, 28, 28\) and dtype float64"),
        (npz(**GOOD | {"x_train": np.zeros((3, 28, 27), np.uint8)}), r"holds x_train of shape \(3, 28, 27\)"),
        (npz(**GOOD | {"x_train": np.zeros((0, 28, 28), np.uint8)}), r"holds x_train of shape \(0, 28, 28\)"),
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
        gzip.compress(b""),
        gzip.compress(b"age,income\n39,<=50K\n"),
        gzip.compress((",".join(_formats.ADULT_COLUMNS) + "\n1,2,3\n").encode()),
        gzip.compress((",".join(_formats.ADULT_COLUMNS) + "\n" + ",".join(["old"] * 15) + "\n").encode()),
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
