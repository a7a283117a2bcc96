"""Frames of mixed columns as rows of codes, and back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from probgen._containers import index_of, is_pandas, is_polars
from probgen._validation import check_choice, show
from probgen.tables.columns import Column, check_codes, measure_of
from probgen.tables.frames import (
    Cells,
    integer_range,
    is_frame,
    join_columns,
    read_cells,
    with_cells,
    write_column,
)
from probgen.tables.inference import (
    MISSING,
    UNITS,
    UNKNOWN,
    Format,
    infer_column,
    time_codes,
    times_of,
)

OBJECTS = ("category", "object")
MOST_SHOWN = 5  # categories in the words on a column


@dataclass(frozen=True)
class Table:
    """The columns of a frame: what they are, and how they are written.

    Attributes
    ----------
    columns : list of Column
    formats : list of Format
    container : {"pandas", "polars", "array", "codes"}
        Where the rows came in; columns of an array have the names x0, x1, ... Rows of codes are
        arrays that are not read, but for checks.
    """

    columns: list[Column]
    formats: list[Format]
    container: str

    @classmethod
    def infer(
        cls, frame: Any, kinds: Any = None, missing: str = "model", handle_unknown: str = "level"
    ) -> "Table":
        """Return the Table of a frame.

        Parameters
        ----------
        frame : pandas or polars DataFrame
        kinds : dict, Table or None
            Kinds by the names of columns; those of other columns are inferred. A Table is returned.
        missing : {"model", "marginalise"}
            Whether a gap is an outcome of a column that has some, or is missing at random.
        handle_unknown : {"level", "error"}
            Whether categories that the frame does not hold are later one more level, which is not
            drawn, or refused.

        Raises
        ------
        ValueError
            If the frame has no row, or a column is of no kind, with its name.
        """
        if isinstance(kinds, Table):
            return kinds
        check_choice("missing", missing, MISSING)
        check_choice("handle_unknown", handle_unknown, UNKNOWN)
        names = _names_of(frame)
        kinds = _check_kinds(kinds, names)
        if not len(frame):
            raise ValueError("X must have at least one row; got a frame without any.")
        columns, formats = [], []
        for j, name in enumerate(names):
            column, format = infer_column(
                read_cells(frame, j), kinds.get(name), missing, handle_unknown
            )
            columns.append(column)
            formats.append(format)
        container = "array"
        if is_pandas(frame):
            container = "pandas"
        elif is_polars(frame):
            container = "polars"
        return cls(columns, formats, container)

    @classmethod
    def of_codes(cls, columns: list[Column]) -> "Table":
        """Return the Table of arrays of codes of columns."""
        return cls(columns, [Format("float64")] * len(columns), "codes")

    def encode(
        self, frame: Any, *, refuse_unknown: bool = False, refuse_gaps: bool = False
    ) -> np.ndarray:
        """Return codes (n, d) of the rows of a frame of the same columns, NaN for gaps.

        refuse_unknown refuses categories without a code of their own, and refuse_gaps gaps in
        columns that do not model them.

        Raises
        ------
        ValueError
            If the columns are others or in another order, or a value is none of its column.
        """
        if self.container == "codes":
            check_codes(self.columns, frame)
            return frame
        if not is_frame(frame) and self.container != "array":
            raise ValueError(
                "X must be a frame with the columns of the fitted one, because they are not all"
                f" numbers; got {show(frame)}."
            )
        self._check_names(_names_of(frame))
        X = np.empty((len(frame), len(self.columns)), order="F")
        for j in range(len(self.columns)):
            X[:, j] = self.codes_of(j, read_cells(frame, j), refuse_unknown=refuse_unknown)
            if refuse_gaps and not self.columns[j].has_gaps and np.isnan(X[:, j]).any():
                raise ValueError(f"column {show(self.names[j])} has a gap, and had none.")
        return X

    def encode_frame(self, frame: Any) -> Any:
        """Return the codes of the rows of a frame as a frame of the same names and index."""
        codes = self.encode(frame)
        if self.container == "polars":
            import polars as pl

            return pl.DataFrame(codes, schema=self.names, orient="row")
        import pandas as pd

        return pd.DataFrame(codes, columns=pd.Index(self.names), index=index_of(frame), copy=False)

    def codes_of(self, j: int, cells: Cells, *, refuse_unknown: bool = False) -> np.ndarray:
        """Codes (n,) of cells as values of column j.

        refuse_unknown refuses categories without a code of their own.

        Raises
        ------
        ValueError
            If a cell is no value of the column.
        """
        column, format = self.columns[j], self.formats[j]
        name = show(column.name)
        is_time = cells.data.dtype.kind in "Mm"
        if column.levels and not (format.unit and is_time):
            return _level_codes(column, cells, refuse_unknown)
        if not format.unit and cells.type != "number" and not np.isnan(cells.data).all():
            raise ValueError(f"column {name} must hold numbers; got {cells.type}.")
        if not format.unit:
            codes = cells.data
        elif not is_time and np.isnan(cells.data).all():
            codes = cells.data
        elif cells.type != column.kind and column.kind != "constant":
            raise ValueError(f"column {name} must hold {column.kind}; got {cells.type}.")
        else:
            codes = time_codes(cells.data, format)
            if column.step and np.any(codes[~np.isnan(codes)] % 1.0):
                raise ValueError(
                    f"column {name} must hold times of whole {UNITS[format.unit]}s, as in fit."
                )
        column.check_codes(codes, lambda code: self._shown(j, code))
        return codes

    def decode(self, X: np.ndarray, index: Any = None) -> Any:
        """Return the frame of codes (n, d), for pandas with an index."""
        if self.container == "codes":
            return X
        parts = [self._series(j, X[:, j]) for j in range(len(self.columns))]
        if self.container == "array":
            return np.column_stack(parts)
        return join_columns(self.container, parts, self.names, index)

    def decode_like(self, X: np.ndarray, like: Any) -> Any:
        """Return the frame of codes (n, d) with the index of a pandas frame, if like is one.

        Categories that were not seen are those of like, if that is a frame of n rows.
        """
        frame = self.decode(X, index_of(like))
        if not is_frame(like) or len(like) != len(X):
            return frame
        for j, column in enumerate(self.columns):
            if column.levels and column.rest == "fixed":
                is_unseen = X[:, j] == len(column.levels)
                if is_unseen.any():
                    frame = with_cells(frame, j, is_unseen, like)
        return frame

    @property
    def names(self) -> list:
        """Names of the columns."""
        return [column.name for column in self.columns]

    @property
    def is_plain(self) -> bool:
        """Whether all columns hold any real numbers and nothing else, as those of an array."""
        return all(
            column.kind == "real"
            and not (column.atoms or column.has_gaps)
            and np.isinf([column.low, column.high]).all()
            for column in self.columns
        )

    @property
    def measure(self) -> str:
        """The measure of the rows: "counting", "lebesgue" or "mixed"."""
        return measure_of(self.columns)

    def describe(self) -> Any:
        """Return a frame of words, one row a column: its name, its kind and what it holds."""
        words = {
            "column": [str(column.name) for column in self.columns],
            "kind": [column.kind for column in self.columns],
            "values": [self._words(j) for j in range(len(self.columns))],
        }
        if self.container == "polars":
            import polars as pl

            return pl.DataFrame(words)
        import pandas as pd

        return pd.DataFrame(words)

    def _check_names(self, names: list) -> None:
        expected = self.names
        if names == expected:
            return
        for name in expected:
            if name not in names:
                raise ValueError(f"X lacks column {show(name)}, which fit has seen.")
        for name in names:
            if name not in expected:
                raise ValueError(f"X has column {show(name)}, which fit has not seen; drop it.")
        first = next(name for name, other in zip(names, expected, strict=False) if name != other)
        raise ValueError(
            "X must have its columns in the order of fit; the first one elsewhere is"
            f" {show(first)}; use X[list(model.feature_names_in_)]."
        )

    def _series(self, j: int, codes: np.ndarray) -> Any:
        """Column j of a frame, of codes (n,)."""
        column, format = self.columns[j], self.formats[j]
        if column.step:
            codes = np.rint(codes).clip(*integer_range(format.dtype))  # rint of means
        elif column.levels:
            codes = np.where(codes < len(column.levels), codes, np.nan)
        data = codes
        levels = column.levels
        if format.unit:
            data = times_of(codes, format)
            levels = ()
        elif (
            levels and not isinstance(levels[0], str) and format.dtype not in ("category", "object")
        ):
            known = np.array([*levels, np.nan], dtype=np.float64)
            data = known[np.where(np.isnan(codes), len(levels), codes).astype(int)]
            levels = ()
        return write_column(
            self.container,
            column.name,
            data,
            dtype=format.dtype,
            levels=levels,
            is_ordered=column.kind == "ordered",
            zone=format.zone,
        )

    def _shown(self, j: int, code: float) -> str:
        """A code as the user writes it."""
        if not self.formats[j].unit or not np.isfinite(code):
            return f"{code:g}"
        return str(times_of(np.array([code]), self.formats[j])[0])

    def _words(self, j: int) -> str:
        """What a column holds, in words."""
        column, format = self.columns[j], self.formats[j]
        if column.kind == "constant" and format.unit:
            words = "one date"
        elif column.kind == "constant":
            words = f"always {column.levels[0]}"
        elif column.levels:
            shown = [str(level) for level in column.levels[:MOST_SHOWN]]
            if len(column.levels) > MOST_SHOWN:
                shown.append("...")
            words = f"{len(column.levels)} levels: {', '.join(shown)}"
        else:
            words = self._number_words(j)
        if column.has_gaps:
            words += "; gaps, which are drawn too"
        return words

    def _number_words(self, j: int) -> str:
        column, format = self.columns[j], self.formats[j]
        words = {"real": "real numbers", "integer": "whole numbers"}.get(column.kind, "")
        if format.unit:
            words = f"times by the {UNITS[format.unit]}"
            if format.zone is not None:
                words += f" in {format.zone}"
        if column.low == 0.0:
            words += ", never negative"
        elif column.high == 0.0:
            words += ", never positive"
        if len(column.atoms) > MOST_SHOWN:
            words += f"; {len(column.atoms)} values with a probability each"
        elif column.atoms:
            atoms = ", ".join(self._shown(j, atom) for atom in column.atoms)
            words += f"; a probability of their own at {atoms}"
        return words


def _names_of(frame: Any) -> list:
    """Names of the columns of a frame, or x0, x1, ... for an array."""
    if is_frame(frame):
        return list(frame.columns)
    return [f"x{j}" for j in range(frame.shape[1])]


def _check_kinds(kinds: Mapping | None, names: Sequence) -> dict:
    """The kinds by the names of columns."""
    if kinds is None:
        return {}
    if not isinstance(kinds, Mapping):
        raise ValueError(
            f"kinds must be a dict from names of columns to kinds, or None; got {show(kinds)}."
        )
    for name in kinds:
        if name not in names:
            raise ValueError(
                f"kinds names column {show(name)}, which X does not have; it has {show(names)}."
            )
    return dict(kinds)


def _level_codes(column: Column, cells: Cells, refuse_unknown: bool) -> np.ndarray:
    """Indices (n,) of cells among the categories of a column, NaN for gaps.

    Categories that the column does not have share the index after the last one, or are refused.
    """
    name = show(column.name)
    places = {level: place for place, level in enumerate(column.levels)}
    if cells.data.dtype.kind in "Mm":
        raise ValueError(f"column {name} must hold categories; got {cells.type}.")
    local: Sequence = cells.levels
    data = cells.data
    if not local:
        unique, inverse = np.unique(data, return_inverse=True)
        data = np.where(np.isnan(data), np.nan, inverse)
        local = unique.tolist()
    used = np.unique(data[~np.isnan(data)]).astype(int)
    table = np.full(len(local) + 1, np.nan)
    for place in used:
        level = local[place]
        if level not in places and (column.rest == "none" or refuse_unknown):
            raise ValueError(
                f"column {name} has {show(level)}, which is none of its {len(places)} categories in"
                " fit."
            )
        table[place] = places.get(level, len(places))
    return table[np.where(np.isnan(data), len(local), data).astype(int)]
