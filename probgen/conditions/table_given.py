"""Conditions of `given` by the names and values of a frame, as conditions on codes."""

import datetime
from typing import Any

import numpy as np

from probgen._containers import is_missing
from probgen._validation import show
from probgen.conditions.given import Conditions, feature_index, parse_given
from probgen.tables.frames import Cells, cells_of_objects, is_frame, read_cells
from probgen.tables.inference import time_codes
from probgen.tables.table import Table


def parse_table_given(table: Table, given: Any, n_samples: int) -> Conditions:
    """Return the Conditions on the codes of a table of an argument `given`.

    Parameters
    ----------
    table : Table
    given : dict or frame
        A dict by the name or index of columns with a value of the column, an interval as a tuple
        (low, high) (None for an open end; of ordered categories too), a set of values, or None for
        a gap; values may be arrays of n_samples. Or a frame of one row or n_samples rows, with gaps
        where the model is to draw.
    n_samples : int

    Raises
    ------
    ValueError
        If a column is unknown, or a condition can be met by no value of its column.
    """
    if is_frame(given):
        given = {name: read_cells(given, j) for j, name in enumerate(given.columns)}
    if not isinstance(given, dict):
        raise ValueError(
            "given must be a dict by the names of columns, or a frame, for a model of a table; got"
            f" {show(given)}."
        )
    coded: dict[Any, Any] = {}
    for key, condition in given.items():
        j = feature_index(key, len(table.columns), table.names)
        name = f"given[{key!r}]"
        if j in coded:
            raise ValueError(
                f"given names column {key!r} twice, by name and by index; give each column once."
            )
        coded[j] = _coded(table, j, condition, name)
    return parse_given(coded, n_samples=n_samples, n_features=len(table.columns))


def _coded(table: Table, j: int, condition: Any, name: str) -> Any:
    """A condition on the codes of column j."""
    column = table.columns[j]
    if isinstance(condition, Cells):
        return _one_or_all(table.codes_of(j, condition, refuse_unknown=True))
    if isinstance(condition, set | frozenset):
        return _coded_set(table, j, condition, name)
    if isinstance(condition, tuple):
        return _coded_interval(table, j, condition, name)
    if isinstance(condition, str) or np.ndim(condition) == 0:
        if is_missing(condition):
            if not column.has_gaps:
                raise ValueError(
                    f"{name} asks for a gap, but column {show(column.name)} had none in fit."
                )
            return {np.nan}
        return _codes(table, j, [condition], name)[0]
    return _codes(table, j, list(condition), name)


def _coded_set(table: Table, j: int, condition: Any, name: str) -> set:
    column = table.columns[j]
    if not condition:
        raise ValueError(f"{name} must hold at least one value; got an empty set.")
    if not column.levels and not column.step:
        free = [value for value in condition if value not in column.atoms]
        if free:
            raise ValueError(
                f"{name} must be a value or an interval, as column {show(column.name)} holds real"
                f" numbers; got a set with {show(free[0])}."
            )
    present = [value for value in condition if not is_missing(value)]
    codes = set()
    if present:
        codes.update(_codes(table, j, present, name).tolist())
    if len(present) < len(condition):
        if not column.has_gaps:
            raise ValueError(
                f"{name} asks for a gap, but column {show(column.name)} had none in fit."
            )
        codes.add(np.nan)
    return codes


def _coded_interval(table: Table, j: int, condition: tuple, name: str) -> Any:
    column, format = table.columns[j], table.formats[j]
    if len(condition) != 2:
        raise ValueError(
            f"{name} must be a value, a pair (low, high) or a set; got {show(condition)}."
        )
    if column.kind == "ordered":
        return _ordered_interval(table, j, condition, name)
    if column.levels:
        raise ValueError(
            f"{name} must be a value or a set, as column {show(column.name)} holds categories; got"
            f" the interval {show(condition)}."
        )
    ends: list[Any] = []
    for end, open_end in zip(condition, (-np.inf, np.inf), strict=True):
        if end is None:
            ends.append(open_end)
        elif format.unit:
            cells = _cells(table, j, _as_list(end), name)
            ends.append(_one_or_all(time_codes(cells.data, format)))
        else:
            ends.append(end)
    low, high = ends
    try:
        is_outside = np.any(np.less(high, column.low)) or np.any(np.greater(low, column.high))
    except TypeError:
        is_outside = False  # no numbers, of which parse_given has a sentence
    if is_outside:
        raise ValueError(
            f"{name} must be an interval that holds values of column {show(column.name)}, which lie"
            f" between {column.low:g} and {column.high:g}; got {show(condition)}."
        )
    return low, high


def _ordered_interval(table: Table, j: int, condition: tuple, name: str) -> set:
    column = table.columns[j]
    ends = [0.0, len(column.levels) - 1.0]
    for place, end in enumerate(condition):
        if end is not None:
            ends[place] = _codes(table, j, [end], name)[0]
    if ends[0] > ends[1]:
        raise ValueError(
            f"{name} must be an interval with low before high; got {show(condition)}, in the order"
            f" {show(column.levels)}."
        )
    return set(np.arange(ends[0], ends[1] + 1.0).tolist())


def _codes(table: Table, j: int, values: list, name: str) -> np.ndarray:
    """Codes (n,) of values that a user gives for column j, which must be values of the column."""
    cells = _cells(table, j, values, name)
    try:
        return table.codes_of(j, cells, refuse_unknown=True)
    except ValueError as error:
        raise ValueError(f"{name} is no value that the model knows: {error}") from error


def _cells(table: Table, j: int, values: list, name: str) -> Cells:
    """Cells of values that a user gives for column j; texts may be dates, or name categories."""
    column, format = table.columns[j], table.formats[j]
    if format.unit:
        return _time_cells(table, j, values, name)
    by_text = {str(level).strip(): level for level in column.levels}
    read = []
    for value in values:
        if isinstance(value, str) and value not in column.levels:
            value = by_text.get(value.strip(), value)
        read.append(value)
    return cells_of_objects(read, column.name, format.dtype)


def _time_cells(table: Table, j: int, values: list, name: str) -> Cells:
    column, format = table.columns[j], table.formats[j]
    is_duration = format.is_duration
    kind, letter, what = "datetime", "M", "a date, such as '2024-01-31'"
    if is_duration:
        kind, letter, what = "duration", "m", "a duration, such as '3 hours'"
    data = np.full(len(values), "NaT", dtype=f"{letter}8[us]")
    for place, value in enumerate(values):
        if is_missing(value):
            continue
        try:
            data[place] = _time_of(value, is_duration)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{name} must be {what}; got {show(value)}.") from error
    return Cells(column.name, kind, data, format.dtype)


def _time_of(value: Any, is_duration: bool) -> Any:
    """A date, on the clock on the wall, or a duration."""
    if is_duration:
        if isinstance(value, str):
            import pandas as pd

            value = pd.Timedelta(value)
        if not isinstance(value, datetime.timedelta | np.timedelta64):
            raise TypeError(type(value).__name__)
        return np.timedelta64(value).astype("m8[us]")
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.replace(tzinfo=None)
    if not isinstance(value, str | datetime.date | np.datetime64):
        raise TypeError(type(value).__name__)
    time = np.datetime64(value)
    if np.datetime_data(time.dtype)[0] not in ("ns", "us"):
        time = time.astype("M8[us]")
    return time


def _one_or_all(codes: np.ndarray) -> Any:
    """A single code as a number, which holds for all rows; else the codes."""
    if len(codes) == 1:
        return codes[0]
    return codes


def _as_list(value: Any) -> list:
    if isinstance(value, str) or np.ndim(value) == 0:
        return [value]
    return list(value)
