"""Columns of several frames side by side, as categories or numbers, and their associations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._containers import check_unique_names
from probgen._validation import show
from probgen.tables.frames import Cells, cells_of_objects, is_frame, read_cells

KINDS = {"number": "number", "datetime": "date", "duration": "duration"}
ROUNDING = 1e-12  # of the mean of equal numbers
GAP = None  # the level of gaps


@dataclass(frozen=True)
class ComparedColumn:
    """One column of several frames.

    Attributes
    ----------
    name : object
    kind : {"category", "number", "date", "duration"}
    values : list of ndarray of shape (n,)
        The column of each frame: codes of categories; numbers, dates in days since 1970 and
        durations in days, with NaN for gaps.
    levels : list
        Categories in the order of their codes, those of the first frame first. The last one is
        `GAP` if a frame has gaps.
    is_ordered : bool
        Whether the order of the categories has a meaning.
    """

    name: Any
    kind: str
    values: list[np.ndarray]
    levels: list
    is_ordered: bool = False

    @property
    def is_category(self) -> bool:
        """Whether the values are codes of categories."""
        return self.kind == "category"

    @property
    def has_gaps(self) -> bool:
        """Whether a frame has gaps in this column."""
        if self.is_category:
            return GAP in self.levels[-1:]
        return any(np.isnan(values).any() for values in self.values)

    def shares(self, frame: int) -> np.ndarray:
        """Share (n_levels,) of each category among the rows of a frame."""
        counts = np.bincount(self.values[frame], minlength=len(self.levels))
        return counts / counts.sum()

    def rows(self, frame: int, chosen: np.ndarray) -> "ComparedColumn":
        """The column of one frame alone, at the chosen rows."""
        return ComparedColumn(self.name, self.kind, [self.values[frame][chosen]], self.levels)


def read_columns(
    frames: dict[str, Any], categorical_features: Iterable = ()
) -> list[ComparedColumn]:
    """Read frames of the same columns, of which the first one says what the columns are.

    Parameters
    ----------
    frames : dict of str to frame or array-like of shape (n, d)
        By the names of the arguments, for messages.
    categorical_features : iterable
        Names, or indices of arrays, of columns of numbers that are categories.

    Raises
    ------
    ValueError
        If a frame has no rows, infinite numbers, or other columns than the first one.
    """
    parts = {argument: _parts(frame, argument) for argument, frame in frames.items()}
    first, *others = parts
    names = list(parts[first])
    for argument in others:
        if list(parts[argument]) == list(range(len(names))):  # an array, whose columns are in order
            parts[argument] = dict(zip(names, parts[argument].values()))
        _check_names(parts[argument], argument, names, first)
    categorical = set(categorical_features)
    unknown = categorical - set(names)
    if unknown:
        raise ValueError(
            f"categorical_features must name columns of {first}; got {show(min(unknown, key=str))};"
            f" it has {show(names)}."
        )
    columns = []
    for name in names:
        cells = {argument: part[name] for argument, part in parts.items()}
        kind = KINDS.get(cells[first].type, "category")
        if kind == "category" or name in categorical:
            columns.append(_categories(name, list(cells.values())))
        else:
            values = [_numbers(each, argument, kind) for argument, each in cells.items()]
            columns.append(ComparedColumn(name, kind, values, []))
    return columns


def associations(columns: Sequence[ComparedColumn], frame: int) -> np.ndarray:
    """Association (d, d) of each pair of columns in a frame, 1 on the diagonal.

    It is Cramer's V of two categories, Pearson's correlation of two numbers, and the correlation
    ratio of a number given a category. Rows with a gap in a number are left out of its pairs; a gap
    in a category is a level. A column that is constant has an association of 0.
    """
    d = len(columns)
    result = np.eye(d)
    numbers = [j for j in range(d) if not columns[j].is_category]
    categories = [j for j in range(d) if columns[j].is_category]
    if numbers:
        values = np.column_stack([columns[j].values[frame] for j in numbers])
        result[np.ix_(numbers, numbers)] = _correlations(values)
    for i, j in ((i, j) for i in categories for j in numbers):
        ratio = _correlation_ratio(columns[i].values[frame], columns[j].values[frame])
        result[i, j] = result[j, i] = ratio
    for at, i in enumerate(categories):
        for j in categories[at + 1 :]:
            result[i, j] = result[j, i] = _cramers_v(
                columns[i].values[frame], columns[j].values[frame]
            )
    return result


def _correlations(values: np.ndarray) -> np.ndarray:
    """Correlations (m, m) of columns of numbers (n, m), each of the rows without a gap."""
    known = ~np.isnan(values)
    Z = _centered(values)
    known = known.astype(np.float64)
    n = np.maximum(known.T @ known, 1.0)
    sums = Z.T @ known  # of the rows of i where j is known
    products = Z.T @ Z - sums * sums.T / n
    variances = np.maximum((Z**2).T @ known - sums**2 / n, 0.0)
    norms = np.sqrt(variances * variances.T)
    is_known = norms > 1e-12 * n
    correlations = np.where(is_known, products / np.where(is_known, norms, 1.0), 0.0)
    np.fill_diagonal(correlations, 1.0)
    return np.clip(correlations, -1.0, 1.0)


def _correlation_ratio(codes: np.ndarray, values: np.ndarray) -> float:
    """Root of the share of the variance of values (n,) that lies between categories (n,)."""
    known = ~np.isnan(values)
    codes = codes[known]
    values = _centered(values[known])
    total = values @ values
    if total == 0.0:
        return 0.0
    counts = np.bincount(codes)
    sums = np.bincount(codes, weights=values)
    between = np.sum(sums[counts > 0] ** 2 / counts[counts > 0])
    return float(np.sqrt(min(between / total, 1.0)))


def _centered(values: np.ndarray) -> np.ndarray:
    """Numbers (n, ...) less their means, in units of the largest; 0 for gaps and constants."""
    known = ~np.isnan(values)
    values = np.where(known, values, 0.0)
    largest = np.abs(values).max(axis=0, initial=0.0)
    values = values / np.where(largest > 0.0, largest, 1.0)
    centers = values.sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centered = np.where(known, values - centers, 0.0)
    widest = np.abs(centered).max(axis=0, initial=0.0)
    return centered * np.where(widest > ROUNDING, 1.0 / np.maximum(widest, ROUNDING), 0.0)


def _cramers_v(a: np.ndarray, b: np.ndarray) -> float:
    """Cramer's V of two columns of codes (n,)."""
    counts_a = np.bincount(a)
    counts_b = np.bincount(b)
    least = min(np.count_nonzero(counts_a), np.count_nonzero(counts_b)) - 1
    if least == 0:
        return 0.0
    joint = a * len(counts_b) + b
    if len(counts_a) * len(counts_b) <= 4 * len(a):
        counts = np.bincount(joint)
        cells = np.flatnonzero(counts)
        counts = counts[cells]
    else:
        cells, counts = np.unique(joint, return_counts=True)
    rows, columns = np.divmod(cells, len(counts_b))
    # chi-squared / n is the sum over the cells of n_ij^2 / (n_i n_j), less 1.
    mean_square = np.sum(counts / counts_a[rows] * (counts / counts_b[columns])) - 1.0
    return float(np.sqrt(np.clip(mean_square / least, 0.0, 1.0)))


def _parts(frame: Any, argument: str) -> dict[Any, Cells]:
    """The cells of a frame or array by the names or indices of the columns."""
    if is_frame(frame):
        check_unique_names(frame, argument)
        parts = {name: read_cells(frame, j) for j, name in enumerate(frame.columns)}
    else:
        rows = np.asarray(frame)
        if rows.ndim != 2:
            raise ValueError(
                f"{argument} must be a frame, or an array of two axes; got {show(frame)}."
            )
        parts = {j: _cells_of_array(rows[:, j], j) for j in range(rows.shape[1])}
    if not parts or not len(next(iter(parts.values())).data):
        raise ValueError(f"{argument} must have at least one row and one column; got none.")
    return parts


def _cells_of_array(values: np.ndarray, j: int) -> Cells:
    kind = values.dtype.kind
    if kind == "b":
        return Cells(j, "boolean", values.astype(np.float64), "bool")
    if kind in "iuf":
        return Cells(j, "number", values.astype(np.float64), "float64")
    return cells_of_objects(values.tolist(), j, "object")


def _check_names(parts: dict, argument: str, names: list, first: str) -> None:
    if set(parts) == set(names):
        return
    missing = [name for name in names if name not in parts]
    if missing:
        raise ValueError(f"{argument} must have the columns of {first}; it lacks {missing[0]!r}.")
    extra = next(name for name in parts if name not in names)
    raise ValueError(
        f"{argument} must have the columns of {first}; it has {extra!r} too; drop that column."
    )


def _categories(name: Any, cells: list[Cells]) -> ComparedColumn:
    """A column of categories of several frames, with codes that they share."""
    code_of: dict[Any, int] = {}
    values = []
    has_gaps = False
    for each in cells:
        is_gap = np.isnat(each.data) if each.data.dtype.kind in "Mm" else np.isnan(each.data)
        levels: Any = each.levels
        places = each.data
        if not levels:
            distinct, inverse = np.unique(each.data[~is_gap], return_inverse=True)
            places = np.zeros(len(is_gap))
            places[~is_gap] = inverse
            levels = distinct.tolist()
        if each.type == "boolean":
            levels = [bool(level) for level in levels]
        codes = np.array([code_of.setdefault(level, len(code_of)) for level in levels] + [-1])
        values.append(codes[np.where(is_gap, -1, places).astype(int)])
        has_gaps |= bool(is_gap.any())
    all_levels = list(code_of)
    if has_gaps:
        values = [np.where(codes < 0, len(all_levels), codes) for codes in values]
        all_levels.append(GAP)
    is_ordered = cells[0].type in ("ordered", "number") or cells[0].dtype == "Enum"
    return ComparedColumn(name, "category", values, all_levels, is_ordered)


def _numbers(cells: Cells, argument: str, kind: str) -> np.ndarray:
    """Cells as float64 with NaN for gaps; dates in days since 1970, durations in days."""
    data = cells.data
    is_number = data.dtype.kind == "f" and not cells.levels
    if KINDS.get(cells.type, "number") != kind or not (is_number or data.dtype.kind in "Mm"):
        raise ValueError(
            f"{argument} must hold {kind}s in column {cells.name!r}, as the first frame does; got"
            f" {cells.type}."
        )
    if data.dtype.kind == "M":
        data = data - np.datetime64(0, "D")
    if data.dtype.kind == "m":
        return data / np.timedelta64(1, "D")
    if np.isinf(data).any():
        raise ValueError(
            f"{argument} must hold finite numbers in column {cells.name!r}; got infinity; make it a"
            " gap."
        )
    return data
