"""Tables and fitted models on disk: read with one clear sentence where they are not what they
should be."""

import contextlib
import csv
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.utils.validation import check_is_fitted

from probgen import persistence
from probgen._writing import check_output, listed, written_whole

MODEL_FORMAT = ".probgen"
FORMATS = (".npy", ".npz", ".csv", ".parquet")
MISSING = frozenset({"", "na", "nan", "null", "none", "?"})


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes
    ----------
    X : ndarray or DataFrame of shape (n, d)
        Numbers; a frame where the file names its columns and pandas is installed.
    y : ndarray of shape (n,) or None
        The target column, where one was asked for.
    """

    X: object
    y: np.ndarray | None = None


def check_table_output(path):
    """Raise unless a table can be written to path."""
    check_output(path, FORMATS)
    if path.suffix.lower() == ".parquet":
        _pandas(path)


def read_table(path, *, key=None, target=None, columns=None):
    """Read rows of numbers.

    Parameters
    ----------
    path : Path
        A .npy, .npz, .csv or .parquet file. Arrays of more than two dimensions, such as images, are
        flattened to rows. A .csv may begin with a line of names; empty cells are missing values.
    key : str, optional
        Array to read from a .npz; without it, X or the only array of more than one dimension.
    target : str, optional
        Column to set apart as y, by name or index; in a .npz also the name of another array.
    columns : sequence of str, optional
        Columns to read, in this order, where the file names its columns; others are left out.

    Returns
    -------
    table : Table

    Raises
    ------
    ValueError, OSError
        If the file does not exist, is of another kind, has no rows or has cells that are not
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
        raise ValueError(f"key={key!r} names an array of a .npz file; {str(path)!r} is none.")
    table = reader(path, key, target, columns)
    if 0 in table.X.shape:
        raise ValueError(
            f"{str(path)!r} must hold at least one row and one column; got shape {table.X.shape}."
        )
    return table


def with_names(X, names):
    """Rows as a frame under these names (None: as they are), where pandas is installed."""
    if names is None:
        return X
    try:
        import pandas as pd
    except ImportError:
        return X
    return pd.DataFrame(np.asarray(X), columns=list(names), copy=False)


def write_table(path, X, y=None, *, names=None):
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
    values, suffix = np.asarray(X), ".csv" if path is None else path.suffix.lower()
    names = [f"x{j}" for j in range(values.shape[1])] if names is None else list(names)
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
        return _write_csv(sys.stdout, names, values, y)
    with written_whole(path) as beside:
        if suffix == ".npy":
            np.save(beside, values)
        elif suffix == ".npz":
            np.savez(beside, X=values, **({} if y is None else {"y": y}))
        elif suffix == ".csv":
            with open(beside, "w", newline="", encoding="utf-8") as file:
                _write_csv(file, names, values, y)
        else:
            frame = _pandas(path).DataFrame(values, columns=names)
            (frame if y is None else frame.assign(y=y)).to_parquet(beside, index=False)


def load_model(path):
    """Return the fitted generator that a file holds."""
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


def first_line(error):
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")


def _read_npy(path, key, target, columns):
    with _numpy(path, np.ndarray) as array:
        return _split(path, _rows(path, array), target)


def _read_npz(path, key, target, columns):
    with _numpy(path, np.lib.npyio.NpzFile) as archive, _reading(path):
        names = archive.files
        if key is None:
            key = "X" if "X" in names else _only([name for name in names if archive[name].ndim > 1])
        arrays = {name: archive[name] for name in {key, target} & set(names)}
    if key not in names:
        raise ValueError(
            f"{str(path)!r} holds the arrays {', '.join(names)}; choose the one of the rows by its"
            " key."
        )
    X = _rows(path, arrays[key])
    if target not in names:
        return _split(path, X, target)
    if arrays[target].shape != (len(X),):
        raise ValueError(
            f"the target must hold one label for each of {len(X)} rows; got shape"
            f" {arrays[target].shape}."
        )
    return Table(X, _labels(arrays[target]))


@contextlib.contextmanager
def _numpy(path, kind):
    """Yield what NumPy makes of a file, if it is of that kind."""
    with open(path, "rb") as file:
        with _reading(path):
            opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, kind):
            raise ValueError(
                f"{str(path)!r} holds {type(opened).__name__}, which its ending does not say;"
                " rename it."
            )
        yield opened


def _read_csv(path, key, target, columns):
    with _reading(path), open(path, newline="", encoding="utf-8-sig") as file:
        lines = [row for row in csv.reader(file, strict=True) if row]
    if not lines:
        raise ValueError(f"{str(path)!r} is empty; give a file with at least one row of numbers.")
    numbered = lines[0] == [
        str(j) for j in range(len(lines[0]))
    ]  # as pandas heads a frame without names
    named = numbered or not any(_is_number(cell) for cell in lines[0])
    names = [cell.strip() for cell in lines.pop(0)] if named else None
    width = len(lines[0] if names is None else names)
    ragged = next((i for i, row in enumerate(lines) if len(row) != width), None)
    if ragged is not None:
        line = ragged + 1 + named
        raise ValueError(
            f"{str(path)!r} must have {width} cells in every row; got {len(lines[ragged])} in row"
            f" {line}."
        )
    cells = list(zip(*lines, strict=True)) if lines else [()] * width
    return _from_columns(path, cells, names, target, columns)


def _read_parquet(path, key, target, columns):
    pandas = _pandas(path)
    with _reading(path):
        frame = pandas.read_parquet(path)
    cells = [frame[name].to_numpy() for name in frame.columns]
    return _from_columns(path, cells, [str(name) for name in frame.columns], target, columns)


def _from_columns(path, cells, names, target, columns):
    """Table of a list of columns: the target taken out as it is, the others as numbers."""
    labels = names if names is not None else [str(j) for j in range(len(cells))]
    if len(set(labels)) < len(labels):
        raise ValueError(f"{str(path)!r} must name each column once; got {_twice(labels)!r} twice.")
    at = None if target is None else _find(path, target, labels)
    chosen = [j for j in range(len(cells)) if j != at]
    if columns is not None and names is not None:
        chosen = [_find(path, name, names) for name in columns]
    X = [_numbers(path, labels[j], cells[j]) for j in chosen]
    X = np.column_stack(X) if X else np.empty((0, 0))
    y = None if at is None else _labels(cells[at])
    return Table(with_names(X, [labels[j] for j in chosen] if names is not None else None), y)


def _only(names):
    return names[0] if len(names) == 1 else None


def _split(path, X, target):
    """Table of an array, with the target column taken out by its index."""
    if target is None:
        return Table(X)
    at = _find(path, target, [str(j) for j in range(X.shape[1])])
    return Table(np.delete(X, at, axis=1), _labels(X[:, at]))


def _find(path, name, names):
    if name not in names:
        shown = ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
        raise ValueError(f"{str(path)!r} has no column {name!r}; it has {shown}.")
    return names.index(name)


def _rows(path, array):
    """A numeric array as (n, d); images are flattened."""
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{str(path)!r} must hold numbers; got {array.dtype}.")
    if array.ndim < 2:
        raise ValueError(
            f"{str(path)!r} must hold rows, an array of two dimensions or more; got shape"
            f" {array.shape}; reshape it to (n, 1) if it has one feature."
        )
    return array.reshape(len(array), -1) if array.ndim > 2 else array


def _numbers(path, name, cells):
    """A column of text or values as float64, NaN where empty."""
    if not isinstance(cells, np.ndarray):
        cells = [cell if cell.strip().lower() not in MISSING else "nan" for cell in cells]
    try:
        return np.asarray(cells).astype(np.float64)
    except (TypeError, ValueError) as error:
        wrong = next(cell for cell in cells if not _is_number(cell))
        raise ValueError(
            f"{str(path)!r} must hold numbers; column {name!r} has {wrong!r}; encode it, leave it"
            " out, or make it the target."
        ) from error


def _labels(cells):
    """Labels of a column: integers or numbers where all of them are, text otherwise."""
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


def _twice(names):
    return next(name for k, name in enumerate(names) if name in names[:k])


def _write_csv(file, names, values, y):
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(names if y is None else [*names, "y"])
    for i, row in enumerate(values):
        writer.writerow([*row.astype(str), *([] if y is None else [y[i]])])


def _pandas(path):
    try:
        import pandas
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"{str(path)!r} needs pandas and pyarrow; install them with `pip install pandas"
            " pyarrow`."
        ) from error
    return pandas


@contextlib.contextmanager
def _reading(path):
    """Turn whatever a reader says of a foreign or broken file into one sentence."""
    try:
        yield
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # NumPy, zipfile, zlib, csv and pyarrow each have their own
        reason = "" if "pickle" in str(error) else f": {first_line(error)}"
        raise ValueError(
            f"{str(path)!r} is not a readable {path.suffix.lower()} file{reason}."
        ) from error
