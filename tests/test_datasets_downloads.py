"""Data sets from publishers' bytes: conversion, download, cache, and errors."""

import csv
import dataclasses
import functools
import gzip
import hashlib
import http.server
import io
import sys
import tarfile
import threading
import urllib.error

import numpy as np
import pytest
from scipy.io import savemat
from sklearn import datasets as sklearn_datasets
from sklearn.utils import Bunch

from probgen import datasets
from probgen.datasets import _formats
from probgen.datasets._faces import FREY_FACES, OLIVETTI_FACES
from probgen.datasets._images import FASHION_MNIST, MNIST
from probgen.datasets._store import Source, array_digest, obtain, read_arrays
from probgen.datasets._table_list import ADBENCH, ADULT, BINARY, UCI

TABLES = [table.source for table in UCI.values()] + [
    source for source, _ in (BINARY | ADBENCH).values()
]


@pytest.fixture
def no_home(tmp_path, monkeypatch):
    """An empty folder as the user's cache, and no folder of data."""
    monkeypatch.delenv("PROBGEN_DATA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "probgen"


@pytest.fixture
def publish(monkeypatch):
    """A function that takes contents of files by name, for pooch to return without checksums."""
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
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes(), mtime=0)


def text(array, delimiter=" "):
    return (
        "\n".join(
            delimiter.join(map(repr, row)) for row in np.atleast_2d(array.T).T.tolist()
        ).encode()
        + b"\n"
    )


def npz(**arrays):
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


@pytest.mark.parametrize(
    "source", [OLIVETTI_FACES, FREY_FACES, *TABLES], ids=lambda source: source.file
)
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
    # The raw files and the temporary ones are gone.
    assert [path.name for path in no_home.iterdir()] == ["mnist.npz"]
    publish({})
    np.testing.assert_array_equal(datasets.fetch_mnist(subset="all").data, mnist.data)


@pytest.mark.parametrize(
    "raw, match",
    [
        (gzip.compress(b"\0\0\x0d\x01\0\0\0\0", mtime=0), "start with 00 00 08, got 00 00 0d"),
        (idx(np.zeros((2, 3), np.uint8))[:-9], "end-of-stream"),
        (
            gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 5, 1]), mtime=0),
            r"shape \[5\] cannot hold 1 values",
        ),
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
            text(np.random.default_rng(0).permutation(np.flatnonzero(mask)).astype(float))
            for mask in file["test_mask"]
        ]
        return [
            text(np.column_stack([file["X"], file["y"]])),
            text(columns),
            text(np.array([len(columns)])),
            *tests,
        ]
    if "color" in file:
        table = np.column_stack([file["X"], file["y"]])
        return [b'"a";"b"\n' + text(table[file["color"] == k], ";") for k in (0, 1)]
    if "sex" in file or "letter_recognition" in source.file:
        first = (
            ["MFI"[k] for k in file["sex"]] if "sex" in file else [chr(65 + k) for k in file["y"]]
        )
        rows = np.column_stack([file["X"], file["y"]]) if "sex" in file else file["X"]
        lines = [
            f"{a},{','.join(map(str, row))}" for a, row in zip(first, rows.tolist(), strict=True)
        ]
        return ["\n".join(lines).replace(".0\n", "\n").encode()]
    if "x_valid" in file:
        return [
            npz(
                **{
                    f"{part}_data": file[f"x_{part}"].astype(float)
                    for part in ("train", "valid", "test")
                }
            )
        ]
    return [npz(X=file["X"].astype(float), y=file["y"].astype(int))]


@pytest.mark.parametrize(
    "source", [OLIVETTI_FACES, FREY_FACES, *TABLES], ids=lambda source: source.file
)
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
    publish(
        {
            "dna.npz": npz(
                **{f"{part}_data": np.ones((3, 180)) for part in ("train", "valid", "test")}
            )
        }
    )
    with pytest.raises(
        OSError,
        match=r"downloaded for binary_dna.npz differs from the published data.*remove .*_raw",
    ):
        datasets.fetch_binary("dna")


def test_a_download_in_another_format_is_refused(no_home, publish):
    publish({"dna.npz": b"<html>Not found</html>"})
    with pytest.raises(
        OSError, match=r"downloaded for binary_dna.npz cannot be converted \(ValueError"
    ):
        datasets.fetch_binary("dna")


def test_olivetti_faces_come_through_scikit_learn(data_file, no_home, monkeypatch):
    with np.load(data_file("olivetti_faces.npz")) as file:
        images = (file["x"] / 242).astype(np.float32)
    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", lambda: Bunch(images=images))
    faces = datasets.fetch_olivetti_faces()
    assert faces.filename == str(no_home / "olivetti_faces.npz")
    np.testing.assert_allclose(faces.data / 242, images.reshape(400, -1), rtol=1e-6)


# Over the network


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
    with pytest.raises(
        OSError, match=r"labels.npz is not in .* the download failed \(ValueError: MD5 hash"
    ):
        obtain(wrong, data_home=tmp_path, download_if_missing=True)
    absent = dataclasses.replace(source, urls={f"{address}/nothing.gz": None})
    with pytest.raises(OSError, match=r"the download failed \(HTTPError: 404"):
        obtain(absent, data_home=tmp_path, download_if_missing=True)
    path = obtain(source, data_home=tmp_path, download_if_missing=True)
    np.testing.assert_array_equal(read_arrays(path, source, ["y"])[0], labels)
    assert [file.name for file in tmp_path.iterdir()] == ["labels.npz"]


def test_the_named_folder_comes_before_the_cache_and_is_not_written_to(
    no_home, publish, monkeypatch, tmp_path
):
    named = tmp_path / "named"
    named.mkdir()
    monkeypatch.setenv("PROBGEN_DATA_HOME", str(named))
    image, label = np.zeros((1, 28, 28), np.uint8), np.zeros(1, np.uint8)
    publish({url.rsplit("/", 1)[1]: idx(image if "images" in url else label) for url in MNIST.urls})
    assert obtain(MNIST, data_home=None, download_if_missing=True) == no_home / "mnist.npz"
    assert not list(named.iterdir())
    (named / "mnist.npz").write_bytes((no_home / "mnist.npz").read_bytes())
    assert obtain(MNIST, data_home=None, download_if_missing=False) == named / "mnist.npz"


def test_a_failed_download_says_what_to_put_where(tmp_path, monkeypatch):
    pooch = pytest.importorskip("pooch")

    def offline(*_, **__):
        raise ConnectionError("Name or service\nnot known")

    monkeypatch.setattr(pooch, "retrieve", offline)
    with pytest.raises(
        OSError, match=r"download failed \(ConnectionError: Name or service not known\)"
    ) as caught:
        datasets.fetch_fashion_mnist(data_home=tmp_path)
    assert f"put fashion_mnist.npz into {tmp_path}" in str(caught.value)
    assert "or put the files of https://" in str(caught.value)
    assert f"into {tmp_path / 'fashion_mnist_raw'}" in str(caught.value)
    assert all(url.rsplit("/", 1)[1] in str(caught.value) for url in FASHION_MNIST.urls)
    assert "\n" not in str(caught.value)


def test_a_failed_download_through_scikit_learn(tmp_path, monkeypatch):
    def offline():
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", offline)
    with pytest.raises(
        OSError,
        match=r"olivetti_faces.npz is not in .* download failed .*put olivetti_faces.npz into",
    ):
        datasets.fetch_olivetti_faces(data_home=tmp_path)


def test_a_file_put_among_the_raw_ones_serves_offline(tmp_path, monkeypatch, data_file):
    pytest.importorskip("pooch")
    with np.load(data_file("adbench_cardio.npz")) as file:
        raw = npz(X=file["X"], y=file["y"].astype(int))
    folder = tmp_path / "adbench_cardio_raw"
    folder.mkdir()
    (folder / "6_cardio.npz").write_bytes(raw)
    assert datasets.fetch_adbench("cardio", data_home=tmp_path).data.shape == (1831, 21)


def test_missing_pooch_is_reported(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(
        ImportError,
        match=r"Downloading mnist.npz needs pooch; install it with `pip install 'probgen\[data\]'`",
    ):
        datasets.fetch_mnist(data_home=tmp_path)


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    images = np.zeros((400, 64, 64), np.float32)
    monkeypatch.setattr(sklearn_datasets, "fetch_olivetti_faces", lambda: Bunch(images=images))
    monkeypatch.setattr("probgen.datasets._store.array_digest", lambda _: OLIVETTI_FACES.digest)
    with pytest.raises(
        OSError, match=r"file cannot be written to .*pass another folder as data_home"
    ):
        datasets.fetch_olivetti_faces(data_home=tmp_path / "file")


# Labeled Faces in the Wild, through scikit-learn's loader


@pytest.mark.parametrize("shape", [(4, 5), (4, 5, 3)])
def test_lfw_rows_are_the_images_in_uint8(no_home, monkeypatch, shape):
    values = np.random.default_rng(0).integers(0, 256, size=(6, *shape), dtype=np.uint8)
    requested = {}

    def loader(**arguments):
        requested.update(arguments)
        images = values.astype(np.float32) / 255
        names = np.array(["Ada", "Bob"])
        return Bunch(images=images, target=np.arange(6) % 2, target_names=names, DESCR="LFW")

    monkeypatch.setattr(sklearn_datasets, "fetch_lfw_people", loader)
    faces = datasets.fetch_lfw_people(
        min_faces_per_person=3, color=len(shape) == 3, data_home=no_home
    )
    np.testing.assert_array_equal(faces.data, values.reshape(6, -1))
    assert (faces.image_shape, faces.levels, faces.target_names) == (shape, 256, ["Ada", "Bob"])
    assert requested["data_home"] == str(no_home)
    assert requested["min_faces_per_person"] == 3
    assert requested["color"] == (len(shape) == 3)


def test_lfw_that_is_missing(tmp_path):
    with pytest.raises(
        OSError, match=r"not complete in .*lfw_home \(.*is missing\); put lfw-funneled.tgz"
    ):
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
