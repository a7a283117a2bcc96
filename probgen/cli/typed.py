"""Tables of mixed columns in files, as frames of pandas: numbers, text, dates and gaps."""

import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from probgen._containers import is_polars
from probgen._warnings import warn
from probgen._writing import atomic_write
from probgen.cli.delimited import (
    COMMA_NUMBER,
    INDEX_NAMES,
    INTEGER,
    LARGEST_EXACT,
    MISSING,
    read_rows,
    to_columns,
    to_labels,
    to_number,
)
from probgen.cli.tables import (
    as_labels,
    check_readable,
    find,
    has_pandas,
    import_parquet,
    one_sentence,
    open_text,
    separator_of,
    suffix_of,
    write_table,
)
from probgen.tables.columns import KINDS
from probgen.tables.table import Table

NAMED = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")  # whose columns may have names and types
# As ISO 8601 writes dates, with or without a time of the day and a zone.
DATE = re.compile(
    r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?(?P<zone>Z|[+-]\d\d:?\d\d)?",
    re.ASCII,
)
PADDED = re.compile(r"[+-]?0\d+", re.ASCII)  # such as a postal code


@dataclass(frozen=True)
class TypedRows:
    """Rows of a file, in the types of their columns.

    Attributes
    ----------
    frame : pandas DataFrame of shape (n, d)
    y : ndarray of shape (n,) or None
        The target column, if one was requested.
    index : pandas Series of shape (n,) or None
        The column that names the rows, if one was requested.
    has_names : bool
        Whether the file names its columns; otherwise they are x0, x1, ...
    """

    frame: Any
    y: np.ndarray | None = None
    index: Any = None
    has_names: bool = True


def is_named(path: Path) -> bool:
    """Whether a file may have names and types of columns."""
    return suffix_of(path) in NAMED


def read_frame(
    path: Path,
    *,
    missing: Iterable[str] = (),
    drop: Iterable[str] = (),
    index: str | None = None,
    target: str | None = None,
    kinds: Mapping[str, str] | None = None,
    table: Table | None = None,
) -> TypedRows:
    """Read the columns of a file as a frame.

    Parameters
    ----------
    path : Path
        A .csv, .tsv, .csv.gz, .tsv.gz or .parquet file. In text, columns of numbers become int64,
        Int64 with gaps, or float64; dates as ISO 8601 writes them datetime64; others text. Numbers
        with leading zeros are text.
    missing : iterable of str
        Texts that mean a gap, beside the usual ones.
    drop : iterable of str
        Columns to leave out.
    index : str, optional
        The column that names the rows, which is no column of the frame.
    target : str, optional
        Column to return as y, by name or index.
    kinds : mapping of str to str, optional
        Kinds of columns as the user names them.
    table : Table, optional
        The columns of a model, which are read in their order and types; others are left out.

    Raises
    ------
    ValueError, OSError
        If the file is no table, or a column is unknown or does not hold what it should.
    ImportError
        If pandas, or pyarrow for a .parquet, is missing.
    """
    check_readable(path)
    if not has_pandas():
        raise ImportError(
            f"{str(path)!r} holds more than numbers, or is to be read as a table, for which pandas"
            " is missing; install it with `pip install 'probgen[cli]'`."
        )
    gaps = MISSING | {text.lower() for text in missing}
    columns, has_names = _columns(path, index)
    kinds = _check_kinds(kinds or {}, columns, path)
    rows = None
    if index is not None:
        find(path, index, list(columns))
        rows = _series(path, index, columns.pop(index), gaps, None)
    y = None
    if target is not None:
        name = _target_name(path, target, columns)
        cells = columns.pop(name)
        y = to_labels(cells) if isinstance(cells, tuple) else as_labels(cells.to_numpy())
    for name in drop:
        find(path, name, list(columns))
        del columns[name]
    if table is not None:
        for name in table.names:
            find(path, str(name).strip(), list(columns))
        columns = {name: columns[str(name).strip()] for name in table.names}
    if not columns or not len(next(iter(columns.values()))):
        raise ValueError(f"{str(path)!r} must hold at least one row and one column; it has none.")
    import pandas as pd

    wanted = _wanted_types(columns, kinds, table)
    parts = {
        name: _series(path, name, cells, gaps, wanted[name]) for name, cells in columns.items()
    }
    return TypedRows(pd.DataFrame(parts), y, rows, has_names)


def _columns(path: Path, index: str | None) -> tuple[dict[str, Any], bool]:
    """Cells of each column by its name, text of a .csv or series of a .parquet.

    And whether the file has names.
    """
    has_names = True
    if suffix_of(path) == ".parquet":
        pandas = import_parquet(path)
        with one_sentence(path):
            frame = pandas.read_parquet(path)
        if index is not None and frame.index.name == index:
            frame = frame.reset_index()
        names = [str(name).strip() for name in frame.columns]
        cells: Sequence = [frame.iloc[:, j].reset_index(drop=True) for j in range(len(names))]
    else:
        separators = "\t" if suffix_of(path).startswith(".tsv") else ",;\t|"
        with one_sentence(path):
            separator, rows = read_rows(path, separators)
        _check_blanks(path, rows)
        found, cells = to_columns(path, separator, rows)
        has_names = found is not None
        names = found or [f"x{j}" for j in range(len(cells))]
    twice = [name for k, name in enumerate(names) if name in names[:k]]
    if twice:
        raise ValueError(f"{str(path)!r} must name each column once; got {twice[0]!r} twice.")
    columns = dict(zip(names, cells, strict=True))
    if names and names[0] in INDEX_NAMES and names[0] != index:
        warn(
            f"The first column of {str(path)!r} has no name, so it is taken for row numbers and"
            " left out; name it to use it."
        )
        del columns[names[0]]
    if "" in columns and index != "":
        raise ValueError(
            f"{str(path)!r} must name every column in its first line; column"
            f" {names.index('') + 1} has no name."
        )
    return columns, has_names


def _check_blanks(path: Path, rows: list[list[str]]) -> None:
    """Raise if blanks separate the numbers of a file of one column."""
    if not rows or len(rows[-1]) > 1 or not rows[-1]:
        return
    parts = rows[-1][0].split()
    if len(parts) > 1 and all(_is_number(part) for part in parts):
        raise ValueError(
            f"{str(path)!r} has {rows[-1][0]!r} in one cell; cells are separated by commas,"
            " semicolons, tabs or vertical bars."
        )


def _check_kinds(kinds: Mapping[str, str], columns: dict, path: Path) -> dict[str, str]:
    for name, kind in kinds.items():
        find(path, name, list(columns))
        if kind not in KINDS:
            raise ValueError(
                f"--columns must name one of {', '.join(KINDS)} for column {name!r}; got {kind!r}."
            )
    return dict(kinds)


def _target_name(path: Path, target: str, columns: dict) -> str:
    """The name of the target, which may be its index."""
    names = list(columns)
    if target not in names and target.isdigit() and int(target) < len(names):
        return names[int(target)]
    return names[find(path, target, names)]


def _wanted_types(columns: dict, kinds: Mapping[str, str], table: Table | None) -> dict:
    """For each column text, number or time, or None to find it from the cells."""
    wanted: dict[Any, str | None] = dict.fromkeys(columns)
    for name, kind in kinds.items():
        if name in wanted and kind == "datetime":
            wanted[name] = "time"
    if table is None:
        return wanted
    for column, format in zip(table.columns, table.formats, strict=True):
        wanted[column.name] = "number"
        if format.unit:
            wanted[column.name] = "time"
        elif column.levels and isinstance(column.levels[0], str):
            wanted[column.name] = "text"
        elif column.levels and isinstance(column.levels[0], bool):
            wanted[column.name] = None
    return wanted


def _series(path: Path, name: str, cells: Any, gaps: frozenset, wanted: str | None) -> Any:
    """A column of pandas from its cells, in the wanted type or in the one that suits them."""
    import pandas as pd

    if not isinstance(cells, tuple):
        series = cells
        if series.dtype.kind == "O" or isinstance(series.dtype, pd.StringDtype):
            is_gap = series.astype("str").str.strip().str.lower().isin(gaps - MISSING)
            series = series.mask(is_gap)
        return series.rename(name)
    texts, codes = _coded(cells, gaps)
    kind = wanted or _type_of(path, name, texts)
    if kind == "number":
        values = _numbers(path, name, texts)
    elif kind == "time":
        values = _times(path, name, texts)
    else:
        values = pd.array(texts, dtype="str")
    series = pd.Series(values, name=name)
    if series.dtype == np.int64 and (codes < 0).any():
        series = series.astype("Int64")
    return series.reindex(codes).reset_index(drop=True)


def _coded(cells: tuple, gaps: frozenset) -> tuple[list[str], np.ndarray]:
    """The distinct cells that are no gaps, and the index (n,) of each cell, -1 for gaps."""
    found: dict[str, int] = {}
    codes = np.fromiter((found.setdefault(cell, len(found)) for cell in cells), int, len(cells))
    texts = [cell for cell in found if cell.lower() not in gaps]
    places = np.full(len(found), -1)
    places[[found[text] for text in texts]] = range(len(texts))
    return texts, places[codes]


def _type_of(path: Path, name: str, present: list[str]) -> str:
    """What distinct cells hold: number, time or text."""
    if all(_is_number(cell) for cell in present):
        return "number"
    if all(DATE.fullmatch(cell) for cell in present):
        return "time"
    if all(COMMA_NUMBER.fullmatch(cell) for cell in present):
        raise ValueError(
            f"{str(path)!r} must hold numbers with points; column {name!r} has {present[0]!r};"
            " write it as 1234.5, or 1234,5 where semicolons or tabs separate the cells."
        )
    return "text"


def _is_number(cell: str) -> bool:
    if PADDED.fullmatch(cell):
        return False
    try:
        to_number(cell)
    except ValueError:
        return False
    return True


def _numbers(path: Path, name: str, texts: list[str]) -> np.ndarray:
    """Numbers as an array of int64 or float64."""
    numbers = []
    for text in texts:
        try:
            numbers.append(to_number(text))
        except ValueError:
            raise ValueError(
                f"{str(path)!r} must hold numbers in column {name!r}; got {text!r}."
            ) from None
    values = np.array(numbers, dtype=np.float64)
    is_whole = bool(texts) and all(INTEGER.fullmatch(text) for text in texts)
    if is_whole and np.abs(values).max() < LARGEST_EXACT:
        return values.astype(np.int64)
    return values


def _times(path: Path, name: str, texts: list[str]) -> Any:
    """Dates as a pandas series."""
    import pandas as pd

    matches = {text: DATE.fullmatch(text) for text in texts}
    wrong = [text for text, match in matches.items() if match is None]
    zoned = [text for text, match in matches.items() if match and match["zone"]]
    if zoned and not wrong:
        wrong = [text for text in texts if text not in zoned]
    if not wrong:
        try:
            dates = pd.Series(texts, dtype="str")
            return pd.to_datetime(dates, format="ISO8601", utc=bool(zoned))
        except ValueError:
            wrong = texts
    raise ValueError(
        f"{str(path)!r} must hold dates as 2020-12-31 or 2020-12-31 23:59:00 in column {name!r},"
        f" all with a zone or none; got {wrong[0]!r}."
    )


def describe(table: Table) -> list[str]:
    """One line for each column of a table: its name, and what it was taken for."""
    words = table.describe()
    cells = zip(*(words[heading] for heading in ("column", "kind", "values")), strict=True)
    return [f"{name}: {kind}, {values}" for name, kind, values in cells]


def write_frame(path: Path | None, frame: Any, y: np.ndarray | None = None) -> None:
    """Write a frame of pandas or polars in the types of its columns.

    Parameters
    ----------
    path : Path or None
        A file of a type in FORMATS; None prints CSV. A .npy or .npz holds numbers alone.
    frame : DataFrame of shape (n, d)
    y : ndarray of shape (n,), optional
        Classes, written as a last column y.
    """
    if is_polars(frame):
        frame = _to_pandas(frame)
    if path is not None and suffix_of(path) in (".npy", ".npz"):
        text = [name for name in frame.columns if frame[name].dtype.kind not in "biuf"]
        if text:
            raise ValueError(
                f"{str(path)!r} holds numbers alone, but column {text[0]!r} holds other values;"
                " write a .csv or .parquet."
            )
        write_table(path, frame.to_numpy(dtype=np.float64, na_value=np.nan), y)
        return
    if y is not None and "y" in frame.columns:
        raise ValueError(
            "classes are written as column y, but a column has that name; rename it, or leave them"
            " out."
        )
    if y is not None:
        frame = frame.assign(y=y)
    if path is None:
        frame.to_csv(sys.stdout, index=False, lineterminator="\n")
        return
    suffix = suffix_of(path)
    with atomic_write(path) as temporary:
        if suffix == ".parquet":
            import_parquet(path)
            frame.to_parquet(temporary, index=False)
            return
        with open_text(temporary, suffix) as file:
            frame.to_csv(file, index=False, lineterminator="\n", sep=separator_of(suffix))


def _to_pandas(frame: Any) -> Any:
    """A frame of polars as one of pandas, which does not need pyarrow."""
    import pandas as pd

    return pd.DataFrame({name: frame[name].to_list() for name in frame.columns})
