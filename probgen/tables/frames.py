"""Columns of pandas and polars frames as arrays, and arrays as columns of the same dtypes."""

import datetime
import re
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NoReturn

import numpy as np

from probgen._containers import is_missing, is_pandas, is_polars
from probgen._validation import show

LARGEST_WHOLE = 2**53  # beyond it, float64 merges whole numbers
OBJECT_DATES = "object of dates"


@dataclass(frozen=True)
class Cells:
    """The cells of one column of a frame.

    Attributes
    ----------
    name : object
    type : {"number", "boolean", "text", "category", "ordered", "datetime", "duration"}
    data : ndarray of shape (n,)
        float64 with NaN for gaps: numbers, or indices into levels; datetime64 (the time that a
        clock on the wall shows, in the column's zone) or timedelta64 with NaT for gaps.
    dtype : str
        Dtype of the column, which `write_column` restores.
    levels : tuple
        The categories: all that the dtype declares, or the sorted texts that occur.
    zone : str or None
        Time zone of dates.
    """

    name: Any
    type: str
    data: np.ndarray
    dtype: str
    levels: tuple = ()
    zone: str | None = None


def is_frame(X: Any) -> bool:
    """Whether X is a frame of pandas or polars, without importing either."""
    return is_pandas(X) or is_polars(X)


def has_categories(frame: Any) -> bool:
    """Whether a column of a frame is text, categories or booleans."""
    if is_polars(frame):
        import polars as pl

        kinds = (pl.String, pl.Categorical, pl.Enum, pl.Boolean)
        return any(dtype in kinds for dtype in frame.dtypes)
    import pandas as pd

    kinds = (pd.StringDtype, pd.CategoricalDtype)
    for j, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, kinds) or dtype.kind == "b":
            return True
        if isinstance(dtype, np.dtype) and dtype.kind == "O":
            if any(isinstance(value, str | bool) for value in frame.iloc[:, j]):
                return True
    return False


def read_cells(frame: Any, j: int) -> Cells:
    """Return the cells of column j of a frame, or of an array of float64.

    Raises
    ------
    ValueError
        If its values are of several types, or of a type that is no kind of column.
    """
    if is_polars(frame):
        return _read_polars(frame.to_series(j))
    if isinstance(frame, np.ndarray):
        return Cells(f"x{j}", "number", frame[:, j], "float64")
    return _read_pandas(frame.iloc[:, j])


def _read_pandas(series: Any) -> Cells:
    import pandas as pd

    dtype = series.dtype
    name = series.name
    if isinstance(dtype, pd.SparseDtype):
        return replace(_read_pandas(series.sparse.to_dense()), dtype=str(dtype))
    if isinstance(dtype, pd.CategoricalDtype):
        codes = series.cat.codes.to_numpy(np.float64)
        data = np.where(codes < 0.0, np.nan, codes)
        levels = tuple(dtype.categories.tolist())
        if dtype.ordered:
            return Cells(name, "ordered", data, "category", levels)
        return Cells(name, "category", data, "category", levels)
    if isinstance(dtype, pd.PeriodDtype):
        _refuse(name, "periods", "take their starts, such as with .dt.to_timestamp()")
    if isinstance(dtype, pd.IntervalDtype):
        _refuse(name, "intervals", "take their middles, or make text of them")
    if dtype.kind == "b":
        data = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return Cells(name, "boolean", data, str(dtype))
    if dtype.kind in "iuf":
        _check_whole(name, dtype, series)
        data = series.to_numpy(dtype=np.float64, na_value=np.nan)
        return Cells(name, "number", data, str(dtype))
    if dtype.kind == "m":
        return Cells(name, "duration", series.to_numpy(), str(dtype))
    if dtype.kind == "M":
        zone = getattr(dtype, "tz", None)
        if zone is None:
            data = series.to_numpy()
            if data.dtype.kind == "O":  # dates of Arrow
                data = series.astype("datetime64[us]").to_numpy()
            return Cells(name, "datetime", data, str(dtype))
        wall = series.dt.tz_localize(None).to_numpy()
        return Cells(name, "datetime", wall, str(dtype), zone=str(zone))
    if isinstance(dtype, pd.StringDtype) or dtype.kind == "O":
        if pd.api.types.infer_dtype(series, skipna=True) == "string":
            return _read_pandas_texts(series)
        return _read_objects(series.to_numpy(dtype=object), name, str(dtype))
    _refuse(name, f"values of dtype {dtype}", "make numbers, text or dates of them")


def _read_pandas_texts(series: Any) -> Cells:
    codes, texts = series.factorize()
    order = np.argsort(np.asarray(texts, dtype=object))
    places = np.full(len(texts) + 1, np.nan)  # the last one is that of gaps, whose code is -1
    places[order] = np.arange(len(texts))
    levels = tuple(np.asarray(texts, dtype=object)[order].tolist())
    return Cells(series.name, "text", places[codes], str(series.dtype), levels)


def _read_polars(series: Any) -> Cells:
    import polars as pl

    dtype = series.dtype
    name = series.name
    text = str(dtype)
    if dtype in (pl.Categorical, pl.Enum) or dtype == pl.String:
        return _read_polars_levels(series)
    if dtype == pl.Boolean:
        return Cells(name, "boolean", _polars_floats(series), text)
    if dtype.is_numeric():
        if dtype.is_integer():
            _check_whole(name, np.dtype(np.int64), series)
        return Cells(name, "number", _polars_floats(series), text)
    if dtype == pl.Date:
        return Cells(name, "datetime", series.to_numpy(), text)
    if dtype == pl.Datetime:
        wall = series.dt.replace_time_zone(None).to_numpy()
        return Cells(name, "datetime", wall, text, zone=dtype.time_zone)
    if dtype == pl.Duration:
        return Cells(name, "duration", series.to_numpy(), text)
    if dtype == pl.Object:
        return _read_objects(np.array(series.to_list(), dtype=object), name, text)
    if dtype == pl.Null:
        return Cells(name, "number", np.full(len(series), np.nan), text)
    _refuse(name, f"values of dtype {dtype}", "split it into columns of numbers or text")


def _polars_floats(series: Any) -> np.ndarray:
    import polars as pl

    return series.cast(pl.Float64).to_numpy().astype(np.float64)


def _read_polars_levels(series: Any) -> Cells:
    import polars as pl

    kind = "text" if series.dtype == pl.String else "category"
    if series.dtype == pl.Enum:
        levels = series.dtype.categories.to_list()
    else:
        levels = series.drop_nulls().cast(pl.String).unique().sort().to_list()
    codes = series.cast(pl.String).cast(pl.Enum(levels)).to_physical()
    dtype = str(series.dtype).partition("(")[0]
    return Cells(series.name, kind, _polars_floats(codes), dtype, tuple(levels))


def cells_of_objects(values: list, name: Any, dtype: str) -> Cells:
    """Return the cells of a list of Python objects, as of a column of a frame."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values
    return _read_objects(objects, name, dtype)


def _read_objects(values: np.ndarray, name: Any, dtype: str) -> Cells:
    """Cells of Python objects (n,), which must be of one type."""
    gaps = np.fromiter((is_missing(value) for value in values), bool, len(values))
    present = values[~gaps]
    if all(isinstance(value, str) for value in present):
        return _read_texts(values, gaps, name, dtype)
    data: np.ndarray = np.full(len(values), np.nan)
    if all(isinstance(value, bool | np.bool_) for value in present):
        data[~gaps] = present.astype(np.float64)
        return Cells(name, "boolean", data, dtype)
    is_bool = any(isinstance(value, bool | np.bool_) for value in present)
    if not is_bool and all(isinstance(value, Real) for value in present):
        data[~gaps] = present.astype(np.float64)
        return Cells(name, "number", data, dtype)
    if all(isinstance(value, datetime.date | np.datetime64) for value in present):
        return _read_dates(values, gaps, name, dtype)
    kinds = sorted({type(value).__name__ for value in present})
    if len(kinds) > 1:
        _refuse(name, f"values of several types, {', '.join(kinds)}", "make them one type first")
    _refuse(name, f"objects of type {kinds[0]}", "make numbers, text or dates of them")


def _read_texts(values: np.ndarray, gaps: np.ndarray, name: Any, dtype: str) -> Cells:
    levels, inverse = _sorted_unique(values[~gaps])
    data = np.full(len(values), np.nan)
    data[~gaps] = inverse
    return Cells(name, "text", data, dtype, levels)


def _sorted_unique(texts: np.ndarray) -> tuple[tuple, np.ndarray]:
    """The sorted texts that occur, and the index of each one."""
    found: dict[str, int] = {}
    first = np.fromiter((found.setdefault(text, len(found)) for text in texts), int, len(texts))
    levels = sorted(found)
    places = np.empty(len(found), dtype=int)
    for place, level in enumerate(levels):
        places[found[level]] = place
    return tuple(levels), places[first]


def _read_dates(values: np.ndarray, gaps: np.ndarray, name: Any, dtype: str) -> Cells:
    present = values[~gaps]
    if any(getattr(value, "tzinfo", None) is not None for value in present):
        _refuse(name, "dates with zones as objects", "use pd.to_datetime first")
    unit = "us"
    if not any(isinstance(value, datetime.datetime | np.datetime64) for value in present):
        unit = "D"
        dtype = OBJECT_DATES
    data = np.full(len(values), "NaT", dtype=f"datetime64[{unit}]")
    data[~gaps] = present.astype(f"datetime64[{unit}]")
    return Cells(name, "datetime", data, dtype)


def _check_whole(name: Any, dtype: Any, series: Any) -> None:
    """Raise if whole numbers are too large for float64."""
    if dtype.kind == "f" or not len(series):
        return
    largest = max(abs(series.max() or 0), abs(series.min() or 0))
    if largest > LARGEST_WHOLE:
        _refuse(
            name,
            f"whole numbers as large as {largest}, which float64 does not tell apart",
            "drop it, or make text of it if it names categories",
        )


def write_column(
    container: str,
    name: Any,
    data: np.ndarray,
    *,
    dtype: str,
    levels: tuple = (),
    is_ordered: bool = False,
    zone: str | None = None,
) -> Any:
    """Return a column of a frame of the named container, "pandas", "polars" or "array".

    Parameters
    ----------
    container, name, dtype, zone
        As in `Cells`, whose column it is.
    data : ndarray of shape (n,)
        As in `Cells`: numbers or indices into levels, with NaN for gaps, or dates with NaT.
    levels : tuple
        If not empty, data are indices into it.
    is_ordered : bool
        Whether the categories of a pandas column have an order.
    """
    if container == "polars":
        return _write_polars(name, data, dtype, levels, zone)
    if container == "array":
        return data
    return _write_pandas(name, data, dtype, levels, is_ordered, zone)


def _write_pandas(
    name: Any, data: np.ndarray, dtype: str, levels: tuple, is_ordered: bool, zone: str | None
) -> Any:
    import pandas as pd

    if levels:
        codes = np.where(np.isnan(data), -1.0, data).astype(int)
        categories = pd.Categorical.from_codes(codes, pd.Index(levels), ordered=is_ordered)
        series: Any = pd.Series(categories, name=name)
        if dtype == "category":
            return series
        series = series.astype(object)
        if dtype == "object":
            return series.where(series.notna(), None)
        return _as_dtype(series, dtype)
    if dtype == OBJECT_DATES:
        return pd.Series(data.astype("datetime64[D]").astype(object), name=name, dtype=object)
    if data.dtype.kind in "Mm":
        series = pd.Series(data, name=name)
        if zone is not None:
            # Hours that a change of clocks repeats are standard time, and those it skips move on.
            standard = np.zeros(len(series), dtype=bool)
            series = series.dt.tz_localize(zone, ambiguous=standard, nonexistent="shift_forward")
        return series.astype(dtype)
    return _as_dtype(pd.Series(data, name=name), dtype)


def _as_dtype(series: Any, dtype: str) -> Any:
    """A pandas column of numbers, texts or booleans in a dtype, gaps as that dtype marks them."""
    import pandas as pd

    target: Any = pd.api.types.pandas_dtype(dtype)
    if isinstance(target, np.dtype) and target.kind in "iub" and series.isna().any():
        return series  # such dtypes have no gaps
    if target.kind in "iu" and series.dtype.kind == "f":
        gaps = series.isna()
        whole = series.where(~gaps, 0.0).astype(f"{target.kind}{target.itemsize}").astype(dtype)
        if gaps.any():
            whole = whole.mask(gaps)
        return whole
    return series.astype(target)


def _write_polars(name: Any, data: np.ndarray, dtype: str, levels: tuple, zone: str | None) -> Any:
    import polars as pl

    if levels:
        codes = pl.Series(data).fill_nan(None).cast(pl.UInt32)
        column = pl.Series(name, levels).gather(codes)
        if dtype == "Enum":
            return column.cast(pl.Enum(levels))
        return column.cast(getattr(pl, dtype))
    if data.dtype.kind in "Mm":
        named = re.search(r"time_unit='(\w+)'", dtype)
        unit = named[1] if named else "D"
        column = pl.Series(name, data.astype(f"{data.dtype.kind}8[{unit}]"))
        if zone is not None:
            column = column.dt.replace_time_zone(zone, ambiguous="latest", non_existent="null")
        if dtype == "Date":
            column = column.cast(pl.Date)
        return column
    column = pl.Series(name, data).fill_nan(None)
    if dtype.startswith("Decimal"):
        precision, scale = (int(number) for number in re.findall(r"\d+", dtype))
        return column.cast(pl.Decimal(precision, scale))
    return column.cast(getattr(pl, dtype))


def integer_range(dtype: str) -> tuple[float, float]:
    """The least and the largest number of a dtype of whole numbers; infinite for other dtypes."""
    name = re.match(r"u?int(8|16|32|64)\b", dtype.lower())
    if name is None:
        return -np.inf, np.inf
    ends = np.iinfo(name[0])
    return float(max(ends.min, -LARGEST_WHOLE)), float(min(ends.max, LARGEST_WHOLE))


def join_columns(container: str, columns: list, names: list, index: Any = None) -> Any:
    """Return a frame of columns, for pandas with an index."""
    if container == "polars":
        import polars as pl

        return pl.DataFrame(columns)
    import pandas as pd

    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame()
    frame.columns = pd.Index(names)
    if index is not None:
        frame.index = index
    return frame


def with_cells(frame: Any, j: int, rows: np.ndarray, other: Any) -> Any:
    """Return a frame that has some cells of column j from another one of the same container.

    rows is a mask (n,); categories of these cells become categories of the column.
    """
    if is_polars(frame):
        import polars as pl

        column, cells = frame.to_series(j), other.to_series(j)
        dtype = column.dtype
        if dtype == pl.Enum:
            new = cells.filter(pl.Series(rows)).cast(pl.String).unique(maintain_order=True)
            dtype = pl.Enum([*dtype.categories, *new])
        if dtype in (pl.Categorical, pl.Enum):
            column, cells = column.cast(pl.String), cells.cast(pl.String)
        mixed = cells.zip_with(pl.Series(rows), column).cast(dtype)
        return frame.with_columns(mixed.alias(frame.columns[j]))
    import pandas as pd

    column = frame.iloc[:, j].copy()
    cells = other.iloc[:, j][rows]
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.add_categories(cells.unique().tolist())
    column[rows] = cells.tolist()
    frame = frame.copy()
    frame.isetitem(j, column)
    return frame


def _refuse(name: Any, what: str, remedy: str) -> NoReturn:
    raise ValueError(f"column {show(name)} holds {what}; {remedy}.")
