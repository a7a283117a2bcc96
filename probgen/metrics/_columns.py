"""Columns of several frames side by side, as categories or numbers, and their associations."""

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._containers import is_pandas, is_polars
from probgen._validation import show

MICROSECONDS = 8.64e10  # of a day
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
        series = [part[name] for part in parts.values()]
        kind = _kind(series[0])
        if name in categorical:
            kind = "category"
        if kind == "category":
            columns.append(_categories(name, series))
        else:
            values = [_numbers(each, name, argument) for argument, each in zip(parts, series)]
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


def _parts(frame: Any, argument: str) -> dict:
    """The columns of a frame or array by name or index."""
    if is_pandas(frame):
        if not frame.columns.is_unique:
            twice = frame.columns[frame.columns.duplicated()][0]
            raise ValueError(
                f"{argument} must have columns of different names; got {twice!r} more than once;"
                " rename or drop one."
            )
        parts = {name: frame[name] for name in frame.columns}
    elif is_polars(frame):
        parts = {name: frame[name] for name in frame.columns}
    else:
        rows = np.asarray(frame)
        if rows.ndim != 2:
            raise ValueError(
                f"{argument} must be a frame, or an array of two axes; got {show(frame)}."
            )
        parts = {j: rows[:, j] for j in range(rows.shape[1])}
    if not parts or not len(next(iter(parts.values()))):
        raise ValueError(f"{argument} must have at least one row and one column; got none.")
    return parts


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


def _kind(series: Any) -> str:
    """What a column of pandas, polars or NumPy holds, by its dtype or by its objects."""
    dtype = str(series.dtype)
    kind = getattr(series.dtype, "kind", None)
    if kind in ("b", "U", "S") or dtype.startswith(("Bool", "bool", "category", "Categorical")):
        return "category"
    if dtype.startswith(("Enum", "String", "str", "Utf8")):
        return "category"
    if kind == "O":
        return _kind_of_objects(series)
    if kind == "M" or dtype.startswith(("Date", "period")):
        return "date"
    if kind == "m" or dtype.startswith("Duration"):
        return "duration"
    if kind in ("i", "u", "f") or dtype.startswith(("Int", "UInt", "Float", "Decimal")):
        return "number"
    return "category"


def _kind_of_objects(series: Any) -> str:
    values = [value for value in np.asarray(series, dtype=object).tolist() if not _is_gap(value)]
    kinds: dict[str, tuple[type, ...]] = {
        "number": (int, float, np.number),
        "date": (datetime.date, np.datetime64),
        "duration": (datetime.timedelta, np.timedelta64),
    }
    for name, types in kinds.items():
        if values and all(isinstance(v, types) and not isinstance(v, bool) for v in values):
            return name
    return "category"


def _categories(name: Any, series: list) -> ComparedColumn:
    """A column of categories of several frames, with codes that they share."""
    code_of: dict[Any, int] = {}
    values = []
    has_gaps = False
    for each in series:
        codes, levels = _codes(each)
        places = np.array([code_of.setdefault(level, len(code_of)) for level in levels], int)
        values.append(np.append(places, -1)[codes])
        has_gaps |= bool((codes < 0).any())
    levels = list(code_of)
    if has_gaps:
        values = [np.where(codes < 0, len(levels), codes) for codes in values]
        levels.append(GAP)
    return ComparedColumn(name, "category", values, levels, _is_ordered(series[0]))


def _is_ordered(series: Any) -> bool:
    """Whether a column has categories with an order, or numbers as categories."""
    dtype = series.dtype
    kind = getattr(dtype, "kind", None)
    is_enum = str(dtype).startswith("Enum")
    return is_enum or bool(getattr(dtype, "ordered", False)) or kind in ("i", "u", "f")


def _codes(series: Any) -> tuple[np.ndarray, list]:
    """Codes (n,), -1 for gaps, and the levels of a column of categories."""
    module = type(series).__module__.partition(".")[0]
    if module == "polars":
        text = series
        if str(series.dtype).startswith(("Categorical", "Enum")):
            text = series.cast(str)
        codes = text.rank("dense").cast(int).fill_null(0).to_numpy() - 1
        levels = text.drop_nulls().unique().sort().to_list()
        return codes, levels
    if module == "pandas":
        import pandas as pd

        if isinstance(series.dtype, pd.CategoricalDtype):
            return series.cat.codes.to_numpy(np.int64), series.cat.categories.tolist()
        codes, levels = pd.factorize(series)
        levels = levels.tolist()
    else:
        found: dict[Any, int] = {}
        codes = np.array(
            [-1 if _is_gap(v) else found.setdefault(v, len(found)) for v in series.tolist()], int
        )
        levels = list(found)
    try:
        order = sorted(range(len(levels)), key=levels.__getitem__)
    except TypeError:  # text beside numbers, which have no order
        order = list(range(len(levels)))
    ranks = np.empty(len(order) + 1, int)
    ranks[order] = range(len(order))
    ranks[-1] = -1
    return ranks[codes], [levels[place] for place in order]


def _numbers(series: Any, name: Any, argument: str) -> np.ndarray:
    """A column as float64 with NaN for gaps; dates in days since 1970, durations in days."""
    try:
        values = _as_floats(series)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{argument} must hold numbers in column {name!r}, as the first frame does; got"
            f" {series.dtype}."
        ) from error
    if np.isinf(values).any():
        raise ValueError(
            f"{argument} must hold finite numbers in column {name!r}; got infinity; make it a gap."
        )
    return values


def _as_floats(series: Any) -> np.ndarray:
    module = type(series).__module__.partition(".")[0]
    dtype = str(series.dtype)
    if module == "polars":
        if dtype.startswith("Date"):
            return _floats_of_polars(series.dt.epoch("us")) / MICROSECONDS
        if dtype.startswith("Duration"):
            return _floats_of_polars(series.dt.total_microseconds()) / MICROSECONDS
        return _floats_of_polars(series)
    if module == "pandas" and dtype.startswith("period"):
        series = series.dt.to_timestamp()
    if module == "pandas" and series.dtype.kind == "M":
        if getattr(series.dtype, "tz", None) is not None:
            series = series.dt.tz_convert(None)
        return _days(series.to_numpy())
    if module == "pandas":
        if series.dtype.kind in "Om":
            return _days(series.to_numpy())
        return series.to_numpy(dtype=np.float64, na_value=np.nan)
    return _days(series)


def _days(values: np.ndarray) -> np.ndarray:
    """Numbers, dates and durations of NumPy, or objects of them, as float64."""
    if values.dtype.kind == "O":
        present = [value for value in values.tolist() if not _is_gap(value)]
        kind: Any = np.float64
        if present and isinstance(present[0], datetime.date | np.datetime64):
            kind = "datetime64[us]"
        elif present and isinstance(present[0], datetime.timedelta | np.timedelta64):
            kind = "timedelta64[us]"
        gap: Any = np.nan
        if isinstance(kind, str):
            gap = "NaT"
        values = np.array([gap if _is_gap(v) else v for v in values.tolist()], dtype=kind)
    if values.dtype.kind == "M":
        values = values - np.datetime64(0, "s")
    if values.dtype.kind == "m":
        return values / np.timedelta64(1, "D")
    return values.astype(np.float64)


def _floats_of_polars(series: Any) -> np.ndarray:
    return series.cast(float).fill_null(np.nan).to_numpy()


def _is_gap(value: Any) -> bool:
    """Whether a value is None, NaN, NaT or NA."""
    if value is None:
        return True
    try:
        return bool(value != value)
    except TypeError:  # the NA of pandas
        return True
