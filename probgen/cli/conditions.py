"""Conditions of the command, COLUMN=VALUE, as the argument `given` of `sample`."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from probgen.tables.table import Table

FORMS = "COLUMN=VALUE, COLUMN=LOW:HIGH or COLUMN=A|B"


def parse_conditions(
    given: Iterable[str], names: Sequence[str] | None, table: Table | None = None
) -> dict[Any, Any]:
    """Return the dict for `sample(given=...)`.

    Parameters
    ----------
    given : iterable of str
        COLUMN=VALUE, COLUMN=LOW:HIGH with an open end if one is left out, COLUMN=A|B for one of
        several values, or, for columns of a table, COLUMN= for a gap.
    names : sequence of str or None
        Names of the columns.
    table : Table or None
        The columns of a model of a table; those of other models hold numbers.

    Raises
    ------
    ValueError
        If a text has another form, or holds a value that its column cannot have.
    """
    names = [] if names is None else list(names)
    conditions: dict[Any, Any] = {}
    for text in given:
        column, value = _split(text, names)
        key: Any = column
        if column not in names and column.lstrip("-").isdigit():
            key = int(column)
        place = _place(table, key)
        if table is None or place is None:  # sample names columns that it does not know
            conditions[key] = _parse_numbers(text, value)
        else:
            conditions[key] = _parse_typed(text, value, table, place)
    return conditions


def _split(text: str, names: Sequence[str]) -> tuple[str, str]:
    """The column and the condition; names and values may hold equal signs."""
    known = [name for name in names if text.startswith(f"{name}=")]
    if known:
        column = max(known, key=len)
        return column, text[len(column) + 1 :]
    column, equals, value = text.partition("=")
    if not equals:
        raise _wrong_form(text)
    return column, value


def _wrong_form(text: str, values: str = "numbers") -> ValueError:
    return ValueError(f"--given must be {FORMS} with {values}; got {text!r}.")


def _place(table: Table | None, key: Any) -> int | None:
    """The index of a column of a table, by name or index."""
    if table is None:
        return None
    if key in table.names:
        return table.names.index(key)
    if isinstance(key, int) and 0 <= key < len(table.names):
        return key
    return None


def _parse_numbers(text: str, value: str) -> Any:
    """A number, an interval or a set of numbers."""
    try:
        return _parse(value, float)
    except ValueError:
        raise _wrong_form(text) from None


def _parse(value: str, read: Callable[[str], Any]) -> Any:
    """A value, a pair (low, high) with None for an open end, or a set of values."""
    if "|" in value:
        return {read(part) for part in value.split("|")}
    if ":" not in value:
        return read(value)
    # Times of the day hold colons too, so each may be the one between the ends.
    places = [k for k, letter in enumerate(value) if letter == ":"]
    for place in sorted(places, key=lambda k: abs(k - len(value) / 2)):
        try:
            return tuple(read(end) if end else None for end in (value[:place], value[place + 1 :]))
        except ValueError:
            continue
    return read(value)


def _parse_typed(text: str, value: str, table: Table, place: int) -> Any:
    """A condition on a column of a table, in the values of the column."""
    column, format = table.columns[place], table.formats[place]
    if value == "":
        return None
    if not column.levels or format.unit:
        read, values = float, "numbers"
        if format.unit and format.is_duration:
            read, values = _read_duration, "durations"
        elif format.unit:
            read, values = _read_date, "dates"
        try:
            return _parse(value, read)
        except ValueError:
            raise _wrong_form(text, f"{values} for column {column.name!r}") from None
    levels = {str(level): level for level in column.levels}
    levels |= {f"{level:g}": level for level in column.levels if isinstance(level, float)}

    def read_level(part: str) -> Any:
        if part not in levels:
            known = ", ".join(list(levels)[:12])
            raise ValueError(f"--given names {part!r} for column {column.name!r}; it has {known}.")
        return levels[part]

    if value in levels:
        return levels[value]
    if column.kind == "ordered" or "|" in value:
        return _parse(value, read_level)
    return read_level(value)


def _read_date(text: str) -> Any:
    import pandas as pd

    return pd.to_datetime(text, format="ISO8601")


def _read_duration(text: str) -> Any:
    import pandas as pd

    return pd.Timedelta(text)
