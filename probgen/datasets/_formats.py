"""Pure functions from the bytes of publishers' files to arrays, without unpickling."""

import csv
import gzip
import io
import string
import tarfile

import numpy as np
import numpy.typing as npt

ADULT_COLUMNS = (
    "age",
    "workclass",
    "fnlwgt",
    "education",
    "education-num",
    "marital-status",
    "occupation",
    "relationship",
    "race",
    "sex",
    "capital-gain",
    "capital-loss",
    "hours-per-week",
    "native-country",
    "income",
)
ADULT_NUMERIC = ("age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week")


def parse_idx(raw: bytes) -> np.ndarray:
    """The uint8 array in gzipped idx bytes.

    They are 0, 0, the type 8, the number of axes, the big-endian sizes of the axes, and the values.
    """
    raw = gzip.decompress(raw)
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise ValueError(f"idx data of unsigned bytes start with 00 00 08, got {raw[:3].hex(' ')}")
    start = 4 + 4 * raw[3]
    shape = np.frombuffer(raw[4:start], ">u4")
    values = np.frombuffer(raw, np.uint8, offset=start)
    if values.size != shape.prod(dtype=np.uint64):
        raise ValueError(f"idx data of shape {shape.tolist()} cannot hold {values.size} values")
    return values.reshape(shape)


def mnist_arrays(
    train_images: bytes, train_labels: bytes, test_images: bytes, test_labels: bytes
) -> dict[str, np.ndarray]:
    """Arrays of the four gzipped idx files of MNIST and of sets in its format."""
    return {
        "x_train": parse_idx(train_images),
        "y_train": parse_idx(train_labels),
        "x_test": parse_idx(test_images),
        "y_test": parse_idx(test_labels),
    }


def cifar10_arrays(archive: bytes) -> dict[str, np.ndarray]:
    """Arrays of the binary version of CIFAR-10, of records of a label and (3, 32, 32) values."""
    with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
        train = b"".join(_cifar10_member(tar, f"data_batch_{k}.bin") for k in range(1, 6))
        test = _cifar10_member(tar, "test_batch.bin")
        names = _cifar10_member(tar, "batches.meta.txt").decode().split()
    arrays = {"class_names": np.array(names)}
    for part, raw in (("train", train), ("test", test)):
        records = np.frombuffer(raw, np.uint8).reshape(-1, 1 + 3 * 32 * 32)
        images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        arrays |= {f"x_{part}": np.ascontiguousarray(images), f"y_{part}": records[:, 0].copy()}
    return arrays


def olivetti_arrays(images: npt.ArrayLike) -> dict[str, np.ndarray]:
    """Arrays of scikit-learn's Olivetti faces, whose grey values are divided by 242."""
    grey = np.rint(np.asarray(images) * 242.0).astype(np.uint8)
    return {"x": grey, "y": np.repeat(np.arange(40, dtype=np.uint8), 10)}


def frey_arrays(mat: bytes) -> dict[str, np.ndarray]:
    """Arrays of the MATLAB file of the Frey faces, `ff` (560, n) with an image in each column."""
    from scipy.io import loadmat

    columns = loadmat(io.BytesIO(mat), variable_names=["ff"])["ff"]
    return {"x": np.ascontiguousarray(columns.T).reshape(-1, 28, 20)}


def adult_csv(raw: bytes) -> bytes:
    """Gzipped CSV with a header from the bytes of adult.data."""
    text = io.StringIO(newline="")
    rows = [line.split(",") for line in raw.decode().splitlines() if line.strip()]
    csv.writer(text, lineterminator="\n").writerows([ADULT_COLUMNS, *rows])
    return gzip.compress(text.getvalue().encode(), mtime=0)


def adult_rows(content: bytes) -> list[list[str]]:
    """Rows of 15 stripped strings in the gzipped CSV."""
    header, *rows = csv.reader(io.StringIO(gzip.decompress(content).decode()))
    if tuple(header) != ADULT_COLUMNS:
        raise ValueError(f"the header is {header}, expected {list(ADULT_COLUMNS)}")
    if not rows or any(len(row) != len(ADULT_COLUMNS) for row in rows):
        raise ValueError(f"every row must have {len(ADULT_COLUMNS)} fields")
    return [[field.strip() for field in row] for row in rows]


def split_table_arrays(
    data: bytes, feature_columns: bytes, target_column: bytes, *test_rows: bytes
) -> dict[str, np.ndarray]:
    """Arrays of a text table, the indices of its columns, and the test rows of each split."""
    files = (data, feature_columns, target_column, *test_rows)
    table, features, target, *tests = [np.loadtxt(io.BytesIO(raw)) for raw in files]
    test_mask = np.zeros((len(tests), len(table)), dtype=bool)
    for mask, rows in zip(test_mask, tests, strict=True):
        mask[rows.astype(int)] = True
    return {"X": table[:, features.astype(int)], "y": table[:, int(target)], "test_mask": test_mask}


def wine_arrays(red: bytes, white: bytes) -> dict[str, np.ndarray]:
    """Arrays of the CSV files of wine quality, red first; color is 0 for red and 1 for white."""
    tables = [np.loadtxt(io.BytesIO(raw), delimiter=";", skiprows=1) for raw in (red, white)]
    table = np.concatenate(tables)
    color = np.repeat(np.array([0, 1], dtype=np.uint8), [len(part) for part in tables])
    return {"X": table[:, :-1].copy(), "y": table[:, -1].astype(np.uint8), "color": color}


def abalone_arrays(raw: bytes) -> dict[str, np.ndarray]:
    """Arrays of abalone.data; sex is 0 for M, 1 for F and 2 for I."""
    sex, values = _letter_table(raw)
    codes = np.array(["MFI".index(letter) for letter in sex], dtype=np.uint8)
    return {"X": values[:, :-1].copy(), "y": values[:, -1].astype(np.uint8), "sex": codes}


def letter_arrays(raw: bytes) -> dict[str, np.ndarray]:
    """Arrays of letter-recognition.data; y is 0 for A to 25 for Z."""
    letters, values = _letter_table(raw)
    codes = np.array([string.ascii_uppercase.index(letter) for letter in letters], dtype=np.uint8)
    return {"X": values.astype(np.uint8), "y": codes}


def binary_arrays(raw: bytes) -> dict[str, np.ndarray]:
    """Arrays of the publisher's .npz file of a binary table, which holds floats."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        parts = {part: file[f"{part}_data"] for part in ("train", "valid", "test")}
    return {f"x_{part}": rows.astype(np.uint8) for part, rows in parts.items()}


def anomaly_arrays(raw: bytes, dtype: npt.DTypeLike) -> dict[str, np.ndarray]:
    """Arrays of an .npz file of an anomaly-detection table, X in dtype."""
    with np.load(io.BytesIO(raw), allow_pickle=False) as file:
        return {"X": file["X"].astype(dtype), "y": file["y"].astype(np.uint8)}


def _cifar10_member(tar: tarfile.TarFile, name: str) -> bytes:
    """Bytes of a file in the archive."""
    file = tar.extractfile(f"cifar-10-batches-bin/{name}")
    if file is None:
        raise ValueError(f"{name} is not a file")
    return file.read()


def _letter_table(raw: bytes) -> tuple[list[str], np.ndarray]:
    """Letters in the first column of comma-separated lines, and numbers in the others."""
    rows = [line.split(",") for line in raw.decode().split()]
    return [row[0] for row in rows], np.array([row[1:] for row in rows], dtype=np.float64)
