"""Read and write tables, and open fitted models, with one clear sentence for each bad file."""

import contextlib
import csv
import gzip
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
from probgen._warnings import warn
from probgen._writing import atomic_write, check_output, listed
from probgen.cli.delimited import (
    INDEX_NAMES,
    read_rows,
    to_columns,
    to_labels,
    to_number,
    whole_as_integers,
)

MODEL_FORMAT = ".probgen"
FORMATS = (".npy", ".npz", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")  # that are written
READABLE = (".npy", ".npz", ".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")


@dataclass(frozen=True)
class Table:
    """Rows of a file.

    Attributes
    ----------
    X : ndarray of shape (n, d)
        Numbers.
    y : ndarray of shape (n,) or None
        The target column, if one was requested.
    names : list of str or None
        Names of the columns of X; None if the file has none.
    """

    X: np.ndarray
    y: np.ndarray | None = None
    names: list[str] | None = None


def check_table_output(path: Path) -> None:
    """Raise unless a table can be written to path."""
    formats = FORMATS
    if suffix_of(path) in FORMATS:
        formats = (path.suffix.lower(),)
    check_output(path, formats)
    if path.suffix.lower() == ".parquet":
        import_parquet(path)


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
        A .npy, .npz, .csv, .tsv or .parquet file; a .csv or .tsv may be packed as .csv.gz. Arrays
        of more than two dimensions, such as images, are flattened to rows. A .csv may separate
        cells by commas, semicolons, tabs or vertical bars, where it is not by commas write numbers
        with decimal commas, and begin with a line of names; its empty cells are missing values. A
        first column without a name, the row numbers of pandas, is left out with a warning.
    key : str, optional
        Array to read from a .npz; by default X, or the only array of more than one dimension.
    target : str, optional
        Column to return as y, by name or index; in a .npz also the name of another array. Its
        values are integers or numbers where all of them are, as programs write them, and text
        otherwise, so that labels such as 1234 and 01234 stay apart.
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
    check_readable(path)
    reader = {
        ".npy": _read_npy,
        ".npz": _read_npz,
        ".csv": _read_csv,
        ".tsv": _read_tsv,
        ".parquet": _read_parquet,
    }[suffix_of(path).removesuffix(".gz")]
    if key is not None and reader is not _read_npz:
        raise ValueError(f"key={key!r} names an array of a .npz file; got {str(path)!r}.")
    table = reader(path, key, target, columns)
    if 0 in table.X.shape:
        raise ValueError(
            f"{str(path)!r} must hold at least one row and one column; got shape {table.X.shape}."
        )
    return table


def check_readable(path: Path) -> None:
    """Raise unless there is a file with a known ending."""
    if not path.exists():
        raise FileNotFoundError(f"{str(path)!r} does not exist; give a {listed(READABLE)} file.")
    if suffix_of(path) not in READABLE or not path.is_file():
        raise ValueError(f"{str(path)!r} must be a {listed(READABLE)} file.")


def check_labels(path: str | Path, y: np.ndarray | None) -> None:
    """Raise if a label is missing, which would be a class of its own."""
    if y is None:
        return
    if y.dtype.kind == "f":
        is_missing = np.isnan(y)
    else:
        is_missing = y.astype(str) == ""
    if is_missing.any():
        raise ValueError(
            f"{str(path)!r} must have a label in every row; row {np.argmax(is_missing) + 1} of the"
            " target has none; fill it in, or leave the row out."
        )


def with_names(X: npt.ArrayLike, names: Sequence[str] | None) -> Any:
    """Return rows as a frame with these names; as they are without names or without pandas."""
    if names is None or not has_pandas():
        return X
    import pandas as pd

    return pd.DataFrame(np.asarray(X), columns=list(names), copy=False)


def has_pandas():
    try:
        import pandas  # noqa: F401, which is there if it can be imported
    except ImportError:
        return False
    return True


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
        A file of a type in FORMATS; None prints CSV.
    X : array-like of shape (n, d)
    y : ndarray of shape (n,), optional
        Classes, written as a last column y, or as an array y of a .npz.
    names : sequence of str, optional
        Names of the columns; x0, x1, ... by default.
    """
    values = np.asarray(X)
    suffix = ".csv"
    if path is not None:
        suffix = suffix_of(path)
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
        elif suffix != ".parquet":
            with open_text(temporary, suffix) as file:
                _write_csv(file, names, values, y, separator_of(suffix))
        else:
            frame = import_parquet(path).DataFrame(values, columns=names)
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
    if not has_pandas() and hasattr(model, "set_output"):
        model.set_output(transform="default")  # It may have been set to frames of pandas.
    return model


def shortened(names: Sequence[str]) -> str:
    """The first names of a list, in words."""
    listing = ", ".join(names[:12])
    if len(names) > 12:
        listing += ", ..."
    return listing


def first_line(error: Exception | Warning | str) -> str:
    """The first line of an error's message."""
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")


def _read_npy(path, key, target, columns):
    with _open_numpy(path, np.ndarray) as array:
        return _split(path, _as_rows(path, array), target)


def _read_npz(path, key, target, columns):
    with _open_numpy(path, np.lib.npyio.NpzFile) as archive, one_sentence(path):
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
    return Table(X, as_labels(arrays[target]))


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
        with one_sentence(path):
            opened = np.load(file, allow_pickle=False)
        if not isinstance(opened, kind):
            raise ValueError(
                f"{str(path)!r} holds {type(opened).__name__}, which does not match its suffix;"
                " rename it."
            )
        yield opened


def _read_csv(path, key, target, columns, separators=",;\t|"):
    with one_sentence(path):
        separator, rows = read_rows(path, separators)
    names, cells = to_columns(path, separator, rows)
    return _from_columns(path, cells, names, target, columns)


def _read_tsv(path, key, target, columns):
    return _read_csv(path, key, target, columns, separators="\t")


def _read_parquet(path, key, target, columns):
    pandas = import_parquet(path)
    with one_sentence(path):
        frame = pandas.read_parquet(path)
    cells = [frame[name].to_numpy() for name in frame.columns]
    return _from_columns(path, cells, [str(name) for name in frame.columns], target, columns)


def _from_columns(path, cells, names, target, columns):
    """Table of a list of columns, whose target keeps its values and whose others become numbers."""
    if names is None:
        labels = [str(j) for j in range(len(cells))]
    else:
        labels = names = [name.strip() for name in names]
    if len(set(labels)) < len(labels):
        twice = next(label for k, label in enumerate(labels) if label in labels[:k])
        raise ValueError(f"{str(path)!r} must name each column once; got {twice!r} twice.")
    y = None
    chosen = list(range(len(cells)))
    if target is not None:
        at = find(path, target, labels)
        chosen.remove(at)
        y = as_labels(cells[at])
    if names is not None and columns is not None:
        chosen = [find(path, name.strip(), names) for name in columns]
    elif names is not None:
        chosen = _without_index(path, names, chosen)
    X = np.empty((0, 0))
    if chosen:
        X = np.column_stack([_as_numbers(path, labels[j], cells[j]) for j in chosen])
    if names is not None:
        names = [names[j] for j in chosen]
    return Table(X, y, names)


def _without_index(path, names, chosen):
    """The chosen columns without row numbers; raise if another one has no name."""
    if chosen[:1] == [0] and names[0] in INDEX_NAMES:
        warn(
            f"The first column of {str(path)!r} has no name, so it is taken for row numbers and"
            " left out; name it to use it."
        )
        chosen = chosen[1:]
    if "" in [names[j] for j in chosen]:
        raise ValueError(
            f"{str(path)!r} must name every column in its first line; column"
            f" {names.index('') + 1} has no name."
        )
    return chosen


def _split(path, X, target):
    """Table of an array, whose target column is given by its index."""
    if target is None:
        return Table(X)
    at = find(path, target, [str(j) for j in range(X.shape[1])])
    return Table(np.delete(X, at, axis=1), as_labels(X[:, at]))


def find(path, name, names):
    """Index of a name in a list of names."""
    if name not in names:
        raise ValueError(f"{str(path)!r} has no column {name!r}; it has {shortened(names)}.")
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
    """A column of text or values as float64, with NaN for missing values."""
    try:
        if not isinstance(cells, np.ndarray):
            return np.array([to_number(cell) for cell in cells])
        if cells.dtype.kind in "mM":
            raise TypeError("Dates and durations have no unit of their own.")
        return cells.astype(np.float64)
    except (TypeError, ValueError) as error:
        wrong = next((cell for cell in cells if not _is_known(cell)), np.asarray(cells).dtype)
        remedy = "encode it, leave it out, or make it the target"
        if isinstance(wrong, str) and "," in wrong:
            remedy = "write it as 1234.5, or 1234,5 where semicolons or tabs separate the cells"
        elif isinstance(wrong, str) and " " in wrong:
            remedy += "; cells are separated by commas, semicolons, tabs or vertical bars"
        raise ValueError(
            f"{str(path)!r} must hold numbers; column {name!r} has {str(wrong)!r}; {remedy}."
        ) from error


def _is_known(cell):
    """Whether a cell of text or another value is a number or missing."""
    try:
        to_number(str(cell))
    except ValueError:
        return False
    return True


def as_labels(cells):
    """Labels of a column: whole numbers as int64, numbers as they are, anything else as text."""
    if not isinstance(cells, np.ndarray):
        return to_labels(cells)
    if cells.dtype.kind == "f":
        return whole_as_integers(cells)
    if cells.dtype.kind in "biu":
        return cells
    return np.array([_to_text(cell) for cell in cells], dtype=str)


def _to_text(cell):
    """A label in words; nothing for a missing value, which is no equal of itself."""
    try:
        is_known = cell is not None and bool(cell == cell)
    except TypeError:  # the missing value of pandas
        is_known = False
    if not is_known:
        return ""
    return str(cell).strip()


def open_text(path: Path, suffix: str) -> Any:
    """Open a file to write text, which is packed if the suffix ends in .gz."""
    if suffix.endswith(".gz"):
        return gzip.open(path, "wt", newline="", encoding="utf-8")
    return open(path, "w", newline="", encoding="utf-8")


def separator_of(suffix: str) -> str:
    """What separates the cells in files of a suffix that are written."""
    if suffix.startswith(".tsv"):
        return "\t"
    return ","


def _write_csv(file, names, values, y, separator=","):
    writer = csv.writer(file, delimiter=separator, lineterminator="\n")
    if y is None:
        writer.writerow(names)
        writer.writerows(row.astype(str) for row in values)
        return
    writer.writerow([*names, "y"])
    for i, row in enumerate(values):
        writer.writerow([*row.astype(str), y[i]])


def import_parquet(path):
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
def one_sentence(path):
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
            f"{str(path)!r} is not a readable {suffix_of(path)} file{reason}."
        ) from error


def suffix_of(path):
    """The ending of a file's name, in lower case; .gz with the one before it."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        return path.with_suffix("").suffix.lower() + suffix
    return suffix
