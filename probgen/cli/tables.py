"""Read and write tables, and open fitted models, with one clear sentence for each bad file."""

import contextlib
import csv
import importlib
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_is_fitted

from probgen import persistence
from probgen._writing import atomic_write, check_output, listed

MODEL_FORMAT = ".probgen"
FORMATS = (".npy", ".npz", ".csv", ".parquet")
MISSING = frozenset({"", "na", "nan", "null", "none", "?"})


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes
    ----------
    X : ndarray or DataFrame of shape (n, d)
        Numbers; a frame if the file names its columns and pandas is installed.
    y : ndarray of shape (n,) or None
        The target column, if one was requested.
    """

    X: Any
    y: np.ndarray | None = None


def check_table_output(path: Path) -> None:
    """Raise unless a table can be written to path."""
    check_output(path, FORMATS)
    if path.suffix.lower() == ".parquet":
        _import_pandas(path)


def read_table(
    path: str | Path,
    *,
    key: str | None = None,
    target: str | None = None,
    columns: Sequence[str] | None = None,
) -> Table:
    """Read rows of numbers.

    Parameters
    ----------
    path : Path
        A .npy, .npz, .csv or .parquet file. Arrays of more than two dimensions, such as images, are
        flattened to rows. A .csv may begin with a line of names; empty cells are missing values.
    key : str, optional
        Array to read from a .npz; by default X, or the only array of more than one dimension.
    target : str, optional
        Column to return as y, by name or index; in a .npz also the name of another array.
    columns : sequence of str, optional
        Columns to read, in this order. Ignored for files without names of columns.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError, OSError
        If the file does not exist, has another format, has no rows, or has cells that are not
        numbers.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; give a {listed(FORMATS)} file.")
    reader = {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".parquet": _read_parquet,
    }.get(path.suffix.lower())
    if reader is None or not path.is_file():
        raise ValueError(f"{str(path)!r} must be a {listed(FORMATS)} file.")
    if key is not None and reader is not _read_npz:
        raise ValueError(f"key={key!r} names an array of a .npz file; got {str(path)!r}.")
    table = reader(path, key, target, columns)
    if 0 in table.X.shape:
        raise ValueError(
            f"{str(path)!r} must hold at least one row and one column; got shape {table.X.shape}."
        )
    return table


def with_names(X: npt.ArrayLike, names: Sequence[str] | None) -> Any:
    """Return rows as a frame with these names; as they are without names or without pandas."""
    if names is None:
        return X
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(np.asarray(X), columns=list(names), copy=False)


def write_table(
    path: Path | None,
    X: npt.ArrayLike,
    y: np.ndarray | None = None,
    *,
    names: Sequence[str] | None = None,
) -> None:
    """Write rows.

    Parameters
    ----------
    path : Path or None
        A .npy, .npz, .csv or .parquet file; None prints CSV.
    X : array-like of shape (n, d)
    y : ndarray of shape (n,), optional
        Classes, written as a last column y, or as an array y of a .npz.
    names : sequence of str, optional
        Names of the columns; x0, x1, ... by default.
    """
    values = np.asarray(X)
    suffix = ".csv"
    if path is not None:
        suffix = path.suffix.lower()
    if names is None:
        names = [f"x{j}" for j in range(values.shape[1])]
    else:
        names = list(names)
    if y is not None and suffix == ".npy":
        raise ValueError(
            f"a .npy file holds one array, so classes do not fit; got {str(path)!r}; write a .npz"
            " or .csv."
        )
    if y is not None and "y" in names:
        raise ValueError(
            "classes are written as column y, but a feature has that name; rename it, or leave them"
            " out."
        )
    if path is None:
        _write_csv(sys.stdout, names, values, y)
        return
    with atomic_write(path) as temporary:
        if suffix == ".npy":
            np.save(temporary, values)
        elif suffix == ".npz":
            arrays: dict[str, Any] = {"X": values}
            if y is not None:
                arrays["y"] = y
            np.savez(temporary, **arrays)
        elif suffix == ".csv":
            with open(temporary, "w", newline="", encoding="utf-8") as file:
                _write_csv(file, names, values, y)
        else:
            frame = _import_pandas(path).DataFrame(values, columns=names)
            if y is not None:
                frame["y"] = y
            frame.to_parquet(temporary, index=False)


def load_model(path: Path) -> Any:
    """Return the fitted generator in a file."""
    if path.suffix.lower() in {".joblib", ".pkl", ".pickle"}:
        raise ValueError(
            f"{str(path)!r} may run code when it is opened, so only {MODEL_FORMAT} files are read;"
            " open it in Python and write it with `probgen.save`."
        )
    model = persistence.load(path)
    if not (hasattr(model, "sample") and hasattr(model, "score_samples")):
        raise ValueError(
            f"{str(path)!r} must hold a generator, which can sample and score; got a"
            f" {type(model).__name__}."
        )
    check_is_fitted(model)
    return model


def first_line(error: Exception | Warning | str) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")


def _read_npy(path, key, target, columns):
    with _open_numpy(path, np.ndarray) as array:
        return _split(path, _as_rows(path, array), target)


def _read_npz(path, key, target, columns):
    with _open_numpy(path, np.lib.npyio.NpzFile) as archive, _one_sentence(path):
        names = archive.files
        if key is None:
            key = _default_key(archive)
        arrays = {name: archive[name] for name in {key, target} & set(names)}
    if key not in names:
        raise ValueError(
            f"{str(path)!r} holds the arrays {', '.join(names)}; choose the one with the rows by"
            " its key."
        )
    X = _as_rows(path, arrays[key])
    if target not in names:
        return _split(path, X, target)
    if arrays[target].shape != (len(X),):
        raise ValueError(
            f"the target must hold one label for each of {len(X)} rows; got shape"
            f" {arrays[target].shape}."
        )
    return Table(X, _as_labels(arrays[target]))


def _default_key(archive):
    """X, or the only array of more than one dimension, or None."""
    if "X" in archive.files:
        return "X"
    candidates = [name for name in archive.files if archive[name].ndim > 1]
    if len(candidates) == 1:
        return candidates[0]
    return None


@contextlib.contextmanager
def _open_numpy(path, kind):
    """Yield an open NumPy file, which must be of the kind that its suffix promises."""
    with open(path, "rb") as file:
        with _one_sentence(path):
            opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, kind):
            raise ValueError(
                f"{str(path)!r} holds {type(opened).__name__}, which does not match its suffix;"
                " rename it."
            )
        yield opened


def _read_csv(path, key, target, columns):
    with _one_sentence(path), open(path, newline="", encoding="utf-8-sig") as file:
        lines = [row for row in csv.reader(file, strict=True) if row]
    if not lines:
        raise ValueError(f"{str(path)!r} is empty; give a file with at least one row of numbers.")
    width = len(lines[0])
    for i, row in enumerate(lines, start=1):
        if len(row) != width:
            raise ValueError(
                f"{str(path)!r} must have {width} cells in every row; got {len(row)} in row {i}."
            )
    names = None
    if _is_header(lines[0]):
        names = [cell.strip() for cell in lines.pop(0)]
    cells = [()] * width
    if lines:
        cells = list(zip(*lines, strict=True))
    return _from_columns(path, cells, names, target, columns)


def _is_header(cells):
    """Whether a line names columns: it has no numbers, or counts from 0 as pandas does."""
    is_count = cells == [str(j) for j in range(len(cells))]
    return is_count or not any(_is_number(cell) for cell in cells)


def _read_parquet(path, key, target, columns):
    pandas = _import_pandas(path)
    with _one_sentence(path):
        frame = pandas.read_parquet(path)
    cells = [frame[name].to_numpy() for name in frame.columns]
    return _from_columns(path, cells, [str(name) for name in frame.columns], target, columns)


def _from_columns(path, cells, names, target, columns):
    """Table of a list of columns, whose target keeps its values and whose others become numbers."""
    if names is None:
        labels = [str(j) for j in range(len(cells))]
    else:
        labels = names
    if len(set(labels)) < len(labels):
        twice = next(label for k, label in enumerate(labels) if label in labels[:k])
        raise ValueError(f"{str(path)!r} must name each column once; got {twice!r} twice.")
    y = None
    chosen = list(range(len(cells)))
    if target is not None:
        at = _find(path, target, labels)
        chosen.remove(at)
        y = _as_labels(cells[at])
    if columns is not None and names is not None:
        chosen = [_find(path, name, names) for name in columns]
    X = np.empty((0, 0))
    if chosen:
        X = np.column_stack([_as_numbers(path, labels[j], cells[j]) for j in chosen])
    if names is None:
        return Table(X, y)
    return Table(with_names(X, [names[j] for j in chosen]), y)


def _split(path, X, target):
    """Table of an array, whose target column is given by its index."""
    if target is None:
        return Table(X)
    at = _find(path, target, [str(j) for j in range(X.shape[1])])
    return Table(np.delete(X, at, axis=1), _as_labels(X[:, at]))


def _find(path, name, names):
    """Index of a name in a list of names."""
    if name not in names:
        listing = ", ".join(names[:12])
        if len(names) > 12:
            listing += ", ..."
        raise ValueError(f"{str(path)!r} has no column {name!r}; it has {listing}.")
    return names.index(name)


def _as_rows(path, array):
    """A numeric array as (n, d); images are flattened."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{str(path)!r} must hold numbers; got {array.dtype}.")
    if array.ndim < 2:
        raise ValueError(
            f"{str(path)!r} must hold rows, an array of two dimensions or more; got shape"
            f" {array.shape}; reshape it to (n, 1) if it has one feature."
        )
    return array.reshape(len(array), math.prod(array.shape[1:]))


def _as_numbers(path, name, cells):
    """A column of text or values as float64, with NaN for empty cells."""
    if not isinstance(cells, np.ndarray):
        cells = ["nan" if cell.strip().lower() in MISSING else cell for cell in cells]
    try:
        return np.asarray(cells).astype(np.float64)
    except (TypeError, ValueError) as error:
        wrong = next(cell for cell in cells if not _is_number(cell))
        raise ValueError(
            f"{str(path)!r} must hold numbers; column {name!r} has {wrong!r}; encode it, leave it"
            " out, or make it the target."
        ) from error


def _as_labels(cells):
    """Labels of a column: integers if all are whole, numbers if all are numbers, else text."""
    labels = np.asarray(cells)
    if labels.dtype.kind == "O":
        labels = labels.astype(str)
    if labels.dtype.kind == "U":
        labels = np.char.strip(labels)
        if all(_is_number(label) for label in labels):
            labels = labels.astype(np.float64)
    if labels.dtype.kind == "f" and np.all(labels == np.round(labels)):
        labels = labels.astype(np.int64)
    return labels


def _is_number(cell):
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _write_csv(file, names, values, y):
    writer = csv.writer(file, lineterminator="\n")
    if y is None:
        writer.writerow(names)
        writer.writerows(row.astype(str) for row in values)
        return
    writer.writerow([*names, "y"])
    for i, row in enumerate(values):
        writer.writerow([*row.astype(str), y[i]])


def _import_pandas(path):
    try:
        importlib.import_module("pyarrow")  # what pandas reads and writes parquet with
        import pandas
    except ImportError as error:
        raise ImportError(
            f"{str(path)!r} needs pandas and pyarrow; install them with `pip install pandas"
            " pyarrow`."
        ) from error
    return pandas


@contextlib.contextmanager
def _one_sentence(path):
    """Turn the errors of readers into one sentence about the file."""
    try:
        yield
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # Damaged files raise nearly anything: zlib.error, struct.error, ...
        reason = f": {first_line(error)}"
        if "pickle" in str(error):
            reason = ""
        raise ValueError(
            f"{str(path)!r} is not a readable {path.suffix.lower()} file{reason}."
        ) from error
