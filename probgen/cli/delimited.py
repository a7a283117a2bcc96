"""Tables in text, whose separator, decimal mark and header are found in the file itself."""

import contextlib
import csv
import gzip
import io
import math
import re
from pathlib import Path

import numpy as np

from probgen._warnings import warn

SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
# Those that pandas reads as missing values, and the mark of the UCI tables. In lower case.
MISSING = frozenset(
    {"", "?", "na", "n/a", "#na", "#n/a", "#n/a n/a", "<na>", "nan", "-nan", "null", "none"}
    | {"1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"}
)
# Heads of the row numbers that pandas writes before the columns, and of those that it has read.
INDEX_NAMES = frozenset({"", "Unnamed: 0"})
SEPARATOR_LINE = re.compile(r"\Asep=.\r?\n")  # which Excel writes
COMMA_NUMBER = re.compile(r"[+-]?\d*,\d+([eE][+-]?\d+)?", re.ASCII)
THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}", re.ASCII)
# As programs write numbers. A code such as 01234 is text.
INTEGER = re.compile(r"0|-?[1-9]\d*", re.ASCII)
DECIMAL = re.compile(r"-?(0|[1-9]\d*|(?=\.))(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
LARGEST_EXACT = 2**53  # Whole numbers up to this one are exact in float64.
N_JUDGED = 100  # rows that decide between separators


def read_rows(path: Path, separators: str) -> tuple[str, list[list[str]]]:
    """Read the rows of a table in text, or in text that gzip has packed.

    Parameters
    ----------
    path : Path
    separators : str
        Characters that may separate cells; the first one is for files of one column.

    Returns
    -------
    separator : str
        The one of the file.
    rows : list of list of str
        Cells without blanks around them. Empty lines are left out.
    """
    content = path.read_bytes()
    if path.suffix.lower() == ".gz":
        content = gzip.decompress(content)
    text = SEPARATOR_LINE.sub("", _decode(content))
    if not text.strip():
        return separators[0], []
    first_line = text.lstrip("\r\n").splitlines()[0]
    candidates = [separator for separator in separators if separator in first_line]
    if len(candidates) < 2:
        separator = (candidates or separators)[0]
        return separator, _split_cells(text, separator)
    parsed = {}
    for separator in candidates:
        with contextlib.suppress(csv.Error):
            parsed[separator] = _split_cells(text, separator)
    if not parsed:
        raise csv.Error("its quotes do not match")
    best = max(parsed, key=lambda separator: _merit(parsed[separator], separator))
    return best, parsed[best]


def to_columns(
    path: Path, separator: str, rows: list[list[str]]
) -> tuple[list[str] | None, list[tuple[str, ...]]]:
    """Names and cells of the columns of a file, with points for decimal commas.

    The names are None without a header.
    """
    if not rows:
        raise ValueError(f"{str(path)!r} is empty; give a file with at least one row of numbers.")
    width = len(rows[0])
    for i, row in enumerate(rows, start=1):
        if len(row) != width:
            raise ValueError(
                f"{str(path)!r} must have {width} cells in every row, separated by"
                f" {SEPARATORS[separator]}; got {len(row)} in row {i}; decimal commas need"
                " semicolons or tabs between the cells."
            )
    if separator != "," and width > 1:
        rows = _with_points(path, rows)
    names = None
    if _is_header(rows[0]):
        names, *rows = rows
    if not rows:
        return names, [()] * width
    return names, list(zip(*rows, strict=True))


def to_number(cell: str) -> float:
    """The number in a cell, NaN for a missing value; raise a ValueError for anything else."""
    if cell.lower() in MISSING:
        return math.nan
    if "_" in cell:  # Python reads 1_0 as 10.
        raise ValueError(f"{cell!r} is no number.")
    return float(cell)


def is_number(cell: str) -> bool:
    """Whether a cell holds a number rather than text or nothing."""
    try:
        return cell.lower() == "nan" or not math.isnan(to_number(cell))
    except ValueError:
        return False


def to_labels(cells: tuple[str, ...]) -> np.ndarray:
    """Labels of a column: numbers if all cells are, and no two of them become one; else text."""
    texts = np.array(cells, dtype=str)
    distinct = set(cells)
    if all(INTEGER.fullmatch(text) for text in distinct):
        try:
            return np.array([int(text) for text in cells], dtype=np.int64)
        except OverflowError:
            return texts
    if all(DECIMAL.fullmatch(text) for text in distinct):
        values = np.array([float(text) for text in cells])
        if np.isfinite(values).all() and len(np.unique(values)) == len(distinct):
            return whole_as_integers(values)
    return texts


def whole_as_integers(values: np.ndarray) -> np.ndarray:
    """Floating-point numbers as int64, if all are whole and exact."""
    if np.all((values == np.round(values)) & (np.abs(values) < LARGEST_EXACT)):
        return values.astype(np.int64)
    return values


def _decode(content):
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{error}; save it as UTF-8") from error


def _split_cells(text, separator):
    """Rows of cells without blanks around them; empty lines are left out."""
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=True, strict=True
    )
    return [[cell.strip() for cell in row] for row in reader if row]


def _merit(rows, separator):
    """How well a separator suits: rows are equally wide, and their cells hold numbers."""
    is_even = len({len(row) for row in rows}) == 1
    cells = [cell for row in rows[-N_JUDGED:] for cell in row]
    if separator != ",":
        cells = [_with_point(cell) for cell in cells]
    n_known = sum(is_number(cell) or cell.lower() in MISSING for cell in cells)
    return is_even, n_known / len(cells)


def _with_points(path, rows):
    """Rows with points for decimal commas."""
    cells = [cell for row in rows for cell in row]
    with_comma = [cell for cell in cells if COMMA_NUMBER.fullmatch(cell)]
    if not with_comma:
        return rows
    with_point = next((cell for cell in cells if "." in cell and is_number(cell)), None)
    if with_point is not None:
        raise ValueError(
            f"{str(path)!r} must have one decimal mark; got {with_comma[0]!r} and {with_point!r};"
            " write points everywhere."
        )
    if all(THOUSANDS.fullmatch(cell) for cell in with_comma):
        warn(
            f"{str(path)!r} is read with decimal commas: {with_comma[0]!r} is"
            f" {_with_point(with_comma[0])}; leave out commas between thousands."
        )
    return [[_with_point(cell) for cell in row] for row in rows]


def _with_point(cell):
    """A cell whose comma is a point, if that makes it a number."""
    if COMMA_NUMBER.fullmatch(cell):
        return cell.replace(",", ".")
    return cell


def _is_header(cells):
    """Whether a line names columns: it has no numbers, or counts from 0 as pandas does."""
    if cells[0] in INDEX_NAMES:
        cells = cells[1:]
    is_count = cells == [str(j) for j in range(len(cells))]
    return is_count or not any(is_number(cell) for cell in cells)
