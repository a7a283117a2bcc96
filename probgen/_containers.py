"""Rows in the containers of other libraries: frames, tensors, masked arrays and what is none.

What can be read as numbers is. All else gets one sentence with the column and a remedy, before
scikit-learn and NumPy meet it, which would read dates as nanoseconds and drop masks.
"""

import datetime
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

DATES = (datetime.date, np.datetime64)  # datetimes and Timestamps are dates
DURATIONS = (datetime.timedelta, np.timedelta64)
DATES_REMEDY = "turn them into numbers first, such as the days since a start"
DURATIONS_REMEDY = "divide them by a unit first, such as pd.Timedelta(hours=1)"
INTERVALS_REMEDY = "take their middles"
OBJECTS_REMEDY = "make numbers of them first"
TEXT_REMEDY = "encode categories first, such as with OrdinalEncoder"
NUMBERS = "biuf"  # kinds of dtypes


def read_rows(X: Any, name: str = "X") -> Any:
    """Return rows that scikit-learn's checks read rightly, or raise a ValueError of one sentence.

    Tensors become arrays, masked values and missing values of pandas NaN, and sparse columns of a
    frame dense ones; frames stay frames. Types that scikit-learn knows to refuse pass.
    """
    X = read_container(X, name)
    if isinstance(X, np.ndarray):
        return _read_array(X, name)
    if is_pandas(X):
        return _read_frame(X, name)
    if is_polars(X):
        _check_polars(X, name)
    elif isinstance(X, list | tuple):
        return _read_list(X, name)
    elif not hasattr(X, "__array__") and not hasattr(X, "toarray"):  # of sparse matrices
        raise ValueError(
            f"{name} must be an array or a frame here; got a {type(X).__name__}; read its rows"
            " into an array first."
        )
    elif hasattr(X, "shape") and not hasattr(X, "toarray"):
        _check_axes(tuple(X.shape), name)
    return X


def read_container(X: Any, name: str = "X") -> Any:
    """Return X as an array where it is a tensor or masked, and refuse what holds no rows itself.

    This is all that a pipeline may do to rows that are yet to meet its steps.
    """
    if _is_complex(X):
        raise ValueError(
            f"Complex data not supported; {name} must hold real numbers; pass the real and the"
            " imaginary parts as columns."
        )
    if isinstance(X, np.ma.MaskedArray):
        return _fill(X)
    if is_pandas(X):
        check_unique_names(X, name)
        return _replace_columns(X, _numbers_of)
    torch = sys.modules.get("torch")
    if torch is not None and isinstance(X, torch.Tensor):
        return _from_tensor(X, name)
    if torch is not None and isinstance(X, torch.utils.data.DataLoader):
        raise ValueError(
            f"{name} must hold rows; got a DataLoader; pass its data set, loader.dataset, to a"
            " model with networks, or np.concatenate([...]) of its batches."
        )
    if isinstance(X, Iterator):
        raise ValueError(
            f"{name} must be an array or a frame; got a {type(X).__name__}, which can be read only"
            " once; make it a list of rows first."
        )
    return X


def _is_complex(X: Any) -> bool:
    """Whether a frame of pandas, an array, or what NumPy makes of a sequence, is complex."""
    if is_pandas(X):
        return any(dtype.kind == "c" for dtype in X.dtypes)
    if not isinstance(X, list | tuple):
        return getattr(getattr(X, "dtype", None), "kind", None) == "c"
    try:
        return np.iscomplexobj(X)
    except ValueError:  # of rows of unequal length
        return False


def is_pandas(X: Any) -> bool:
    """Whether X is a pandas frame, without importing pandas."""
    pandas = sys.modules.get("pandas")
    return pandas is not None and isinstance(X, pandas.DataFrame)


def is_polars(X: Any) -> bool:
    """Whether X is a polars frame, without importing polars."""
    polars = sys.modules.get("polars")
    return polars is not None and isinstance(X, polars.DataFrame)


def index_of(X: Any) -> Any:
    """Return the index of a pandas frame, or None."""
    if is_pandas(X):
        return X.index
    return None


def check_labels(y: Any) -> Any:
    """Return labels without the types that their sorting would break on.

    Whole numbers among objects become integers. Raises a ValueError for labels that are missing.
    """
    if isinstance(y, np.ma.MaskedArray):
        if np.ma.is_masked(y):
            raise ValueError(
                "y must hold a label for each row; got masked ones; drop such rows first."
            )
        y = y.data
    labels = np.asarray(y)
    if labels.dtype.kind in "Mm":
        raise ValueError(f"y must hold labels, integers or text; got {labels.dtype}; use str(y).")
    if labels.dtype.kind != "O" or labels.ndim != 1:
        return y
    values = labels.tolist()
    for row, value in enumerate(values):
        if is_missing(value):
            raise ValueError(
                f"y must hold a label for each row; got {value!r} in row {row}; drop such rows, or"
                " give them a label of their own."
            )
    if all(isinstance(value, int | np.integer) for value in values):
        return np.array(values)
    return y


def _fill(X: Any) -> np.ndarray:
    """The values of a masked array, with NaN where they are masked."""
    if not np.ma.is_masked(X):
        return X.data
    if X.dtype.kind == "f":
        return X.filled(np.nan)
    if X.dtype.kind in NUMBERS:
        return X.astype(np.float64).filled(np.nan)
    return X.astype(object).filled(np.nan)


def _from_tensor(X: Any, name: str) -> np.ndarray:
    """A tensor as an array; those of types that NumPy lacks in single precision."""
    if str(X.layout) != "torch.strided" or X.is_quantized:
        raise ValueError(
            f"{name} must be a dense tensor; got one of layout {X.layout}; use {name}.to_dense()."
        )
    X = X.detach().cpu().resolve_conj()
    if str(X.dtype) == "torch.bfloat16" or str(X.dtype).startswith("torch.float8"):
        X = X.float()
    return X.numpy()


def _read_array(X: np.ndarray, name: str) -> np.ndarray:
    if X.dtype.names is not None:
        raise ValueError(
            f"{name} must be an array of numbers; got a structured array; use"
            " numpy.lib.recfunctions.structured_to_unstructured first."
        )
    _check_axes(X.shape, name)
    if X.dtype.kind in "Mm":
        _refuse(name, None, *_kind_of_time(X.dtype.kind))
    if X.dtype.kind == "O" and X.ndim == 2:
        return _read_objects(X, name, [None] * X.shape[1])
    return X


def _read_list(X: Any, name: str) -> Any:
    """Check the rows of a list, which scikit-learn converts; those with pd.NA are converted."""
    try:
        array = np.asarray(X)
    except ValueError as error:
        raise ValueError(
            f"{name} must have rows of one length, all of numbers; got a list of {len(X)} that is"
            " no array; fill short rows with NaN."
        ) from error
    except (TypeError, RuntimeError):
        return X
    read = _read_array(array, name)
    if read is array:
        return X
    return read


def _read_frame(X: Any, name: str) -> Any:
    """A pandas frame of numbers and NaN."""
    if all(isinstance(dtype, np.dtype) and dtype.kind in NUMBERS for dtype in X.dtypes):
        return X
    return _replace_columns(X, lambda column: _read_column(column, name))


def _replace_columns(X: Any, replace: Callable) -> Any:
    """A pandas frame with other columns where replace(column) is not None."""
    columns = {j: replace(X.iloc[:, j]) for j in range(X.shape[1])}
    read = {j: column for j, column in columns.items() if column is not None}
    if not read:
        return X
    X = X.copy(deep=False)
    names, X.columns = X.columns, range(X.shape[1])
    for j, column in read.items():
        X[j] = column
    X.columns = names
    return X


def _numbers_of(column: Any) -> Any:
    """A column of objects that are numbers or missing in float64, or None for other columns.

    Sparse columns become dense.
    """
    if hasattr(column, "sparse"):
        return column.sparse.to_dense()
    if column.dtype.kind != "O" or not isinstance(column.dtype, np.dtype):
        return None
    values = column.to_numpy()
    if not all(isinstance(value, int | float) or is_missing(value) for value in values):
        return None
    return np.array([np.nan if is_missing(value) else value for value in values], np.float64)


def _read_column(column: Any, name: str) -> Any:
    """What a column of a pandas frame becomes, or None to keep it."""
    import pandas as pd

    dtype = column.dtype
    if isinstance(dtype, pd.SparseDtype):
        return column.sparse.to_dense()
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype) or dtype.kind in "Mm":
        if isinstance(dtype, pd.IntervalDtype):
            _refuse(name, column.name, "intervals", INTERVALS_REMEDY)
        _refuse(name, column.name, *_kind_of_time(dtype.kind))
    if isinstance(dtype, pd.CategoricalDtype):
        if dtype.categories.dtype.kind in NUMBERS:
            return np.asarray(column)
        column = column.astype(object)
    if column.dtype.kind == "O" or isinstance(dtype, pd.StringDtype):
        objects = column.to_numpy(dtype=object)[:, np.newaxis]
        return _read_objects(objects, name, [column.name])[:, 0].astype(np.float64)
    if not isinstance(dtype, np.dtype) and dtype.kind in NUMBERS:  # such as Float64
        if column.isna().any():
            kind = np.float64
            if dtype.itemsize <= 4 and dtype.kind == "f":
                kind = np.float32
            return column.to_numpy(dtype=kind, na_value=np.nan)
        return column.to_numpy(dtype=f"{dtype.kind}{dtype.itemsize}")
    return None


def _read_objects(X: np.ndarray, name: str, names: list) -> np.ndarray:
    """Objects (n, d) with NaN for the missing ones, which all others than numbers are refused."""
    gaps = np.zeros(X.shape, dtype=bool)
    for place, value in np.ndenumerate(X):
        if isinstance(value, float | int):
            continue
        column = names[place[1]]
        if column is None:
            column = place[1]
        if is_missing(value):
            gaps[place] = True
        elif isinstance(value, DATES):
            _refuse(name, column, *_kind_of_time("M"))
        elif isinstance(value, DURATIONS):
            _refuse(name, column, *_kind_of_time("m"))
        elif isinstance(value, str) and not _is_number(value):
            _refuse(name, column, f"the string {_shortened(value)}", TEXT_REMEDY)
        elif names[place[1]] is not None and not isinstance(value, str | np.number | np.bool_):
            _refuse(name, column, f"a {type(value).__name__}", OBJECTS_REMEDY)
    if not gaps.any():
        return X
    X = X.copy()
    X[gaps] = np.nan
    return X


def _check_polars(X: Any, name: str) -> None:
    for column, dtype in zip(X.columns, X.dtypes, strict=True):
        kind = str(dtype)
        if kind.startswith(("Date", "Time")):
            _refuse(name, column, *_kind_of_time("M"))
        if kind.startswith("Duration"):
            _refuse(name, column, "durations", "take a number of a unit first, such as hours")
        if kind.startswith(("List", "Array", "Struct", "Object", "Binary")):
            _refuse(name, column, kind.partition("(")[0], "split it into columns of numbers")


def check_unique_names(X: Any, name: str) -> None:
    """Raise if a frame has two columns of one name, where names are text."""
    if not is_pandas(X) or X.columns.is_unique:
        return
    twice = X.columns[X.columns.duplicated()][0]
    if isinstance(twice, str):
        raise ValueError(
            f"{name} must have columns of different names; got {twice!r} more than once; rename or"
            " drop one."
        )


def _check_axes(shape: tuple, name: str) -> None:
    """Raise unless there are two axes; with words that scikit-learn's common checks look for."""
    if len(shape) < 2:
        raise ValueError(
            f"Expected 2D array, got {len(shape)}D array instead, of shape {shape}. Reshape your"
            f" data: {name}.reshape(-1, 1) if it is one column, or {name}.reshape(1, -1) if it is"
            " one row."
        )
    if len(shape) > 2:
        order = ""
        if len(shape) == 4 and shape[1] in {1, 3}:
            order = f"; channels come last in rows, so np.moveaxis({name}, 1, -1) first"
        raise ValueError(
            f"Found array with dim {len(shape)}, while {name} must have two axes, rows by columns;"
            f" got shape {shape}; flatten images with {name}.reshape(len({name}), -1){order}."
        )


def _refuse(name: str, column: Any, what: str, remedy: str) -> None:
    place = ""
    if column is not None:
        place = f" in column {column!r}"
    raise ValueError(f"{name} must hold numbers; got {what}{place}; {remedy}.")


def _kind_of_time(kind: str) -> tuple[str, str]:
    """What a dtype of dates or periods, or of durations (kind "m") holds, and the remedy."""
    if kind == "m":
        return "durations", DURATIONS_REMEDY
    return "dates", DATES_REMEDY


def is_missing(value: Any) -> bool:
    """Whether an object is None, NaN, or one of pandas' marks of a missing value."""
    if value is None or type(value).__name__ in {"NAType", "NaTType"}:
        return True
    return isinstance(value, float) and math.isnan(value)


def _is_number(text: str) -> bool:
    """Whether NumPy reads a text as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shortened(text: str) -> str:
    if len(text) > 40:
        text = text[:37] + "..."
    return repr(str(text))
