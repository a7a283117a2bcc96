"""Generators that take the rows of a frame of mixed columns, each column by its kind."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.utils.validation import _check_feature_names, check_is_fitted

from probgen._containers import check_unique_names
from probgen.base.generator import GeneratorMixin
from probgen.conditions.given import Conditions, parse_given
from probgen.conditions.table_given import parse_table_given
from probgen.row_blocks import RowBlocks
from probgen.tables.categorical import named_categories
from probgen.tables.columns import Column, check_codes, measure_of
from probgen.tables.frames import is_frame
from probgen.tables.table import Table

TABLE_PARAMETERS = ("kinds", "missing", "handle_unknown")


class TableMixin(GeneratorMixin):
    """Frames of mixed columns in, frames of the same columns out. Left of `GeneratorMixin`.

    A frame of real numbers alone, without atoms, gaps and ends, is an array with names.

    The model works on rows of codes, as in `probgen.tables.columns`; the columns are in `_columns`
    after `_validate(X, reset=True)`. The names and shapes of the hooks are stable. A subclass has
    the parameters `kinds`, `missing` and `handle_unknown`, as `Table.infer` takes them, or writes
    `_table_settings`, and writes

    - `_array_columns(X)`, the columns of rows that come as an array, or None where the model takes
      such rows as they are;
    - `_reads_table(frame)`, whether a fit reads a frame as a table, rather than as an array.

    The parameter `kinds` may be a Table: of a frame, whose columns are then not inferred anew, or
    of rows of codes, whose columns are then those.
    """

    _columns: Any = None  # a list of Column, or None for rows that are no table
    _table: Table | None = None

    def _table_settings(self, frame: Any = None) -> dict[str, Any]:
        """Arguments of `Table.infer` after the frame, which is None for other rows."""
        settings = {name: getattr(self, name) for name in TABLE_PARAMETERS}
        kinds = settings["kinds"]
        if frame is not None and isinstance(kinds, Mapping | None):
            names = list(frame.columns)
            chosen = named_categories(getattr(self, "categorical_features", None), names)
            named = {names[j]: "category" for j in chosen}
            settings["kinds"] = {**named, **(kinds or {})}
        return settings

    def _columns_of(self, X: np.ndarray) -> list[Column] | None:
        """The columns of validated rows (n, d) that came as an array, or as codes of a Table."""
        kinds = self._table_settings()["kinds"]
        if not isinstance(kinds, Table):
            return self._array_columns(X)
        if len(kinds.columns) != X.shape[1]:
            raise ValueError(
                f"kinds must be of the columns of X; got {len(kinds.columns)} for {X.shape[1]}."
            )
        return kinds.columns

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        """As in `GeneratorMixin`: the columns too, which rows of one class may not tell."""
        choices = super()._choices_for(X)
        columns = self._columns_of(X)
        if columns is not None:
            choices["kinds"] = Table.of_codes(columns)
        return choices

    def _array_columns(self, X: np.ndarray) -> list[Column] | None:
        """The columns of validated rows (n, d) that came as an array."""
        raise NotImplementedError

    def _reads_table(self, frame: Any) -> bool:
        """Whether a fit reads a frame as a table."""
        return True

    @property
    def columns_(self) -> Any:
        """Frame of words on the columns of the fitted table: name, kind and values."""
        check_is_fitted(self)
        if self._table is None:
            raise AttributeError("columns_ is there after a fit to a frame of mixed columns.")
        return self._table.describe()

    def _validate(
        self, X: Any, y: Any = "no_validation", *, reset: bool = False, **checks: Any
    ) -> Any:
        if reset:
            self._table = None
            if is_frame(X) and self._reads_table(X):
                check_unique_names(X, "X")
                table = Table.infer(X, **self._table_settings(X))
                if not table.is_plain:
                    self._table = table
        if self._table is None:
            checked = super()._validate(X, y, reset=reset, **checks)
            if reset:
                rows = checked[0] if isinstance(checked, tuple) else checked
                self._columns = self._columns_of(rows)
            return checked
        if reset:
            self._columns = self._table.columns
        elif is_frame(X):
            _check_feature_names(self, X, reset=False)
        codes = self._table.encode_frame(X)
        return super()._validate(codes, y, reset=reset, **checks)

    def _coded_blocks(self, blocks: RowBlocks, *, reset: bool) -> RowBlocks:
        """RowBlocks of frames as RowBlocks of codes; those of arrays are returned.

        A fit infers the columns from the first block that has a row, unless `kinds` is a Table, and
        refuses later blocks with categories, gaps or ends that the columns do not have.
        """
        first = _first_with_rows(blocks)
        if reset:
            self._table = None
            if is_frame(first) and self._reads_table(first):
                check_unique_names(first, "block 0 of X")
                table = Table.infer(first, **self._table_settings(first))
                if not table.is_plain:
                    self._table = table
        if self._table is None or not is_frame(first):
            return blocks
        table = self._table
        self._columns = table.columns
        refuse_gaps = reset and self._table_settings()["missing"] == "model"

        def coded() -> Iterator[np.ndarray]:
            for i, block in enumerate(blocks.as_given()):
                try:
                    yield table.encode(block, refuse_unknown=reset, refuse_gaps=refuse_gaps)
                except ValueError as error:
                    raise ValueError(f"block {i} of X is unlike the first one: {error}") from error

        return RowBlocks(coded)

    def _check_support(self, X: np.ndarray) -> None:
        if self._columns is not None and self._table is None:
            check_codes(self._columns, X)
        super()._check_support(X)

    def _parse_given(self, given: Any, n_samples: int) -> Conditions | None:
        if given is None or self._columns is None or measure_of(self._columns) == "lebesgue":
            return super()._parse_given(given, n_samples)
        if self._table is not None:
            return parse_table_given(self._table, given, n_samples)
        names = getattr(self, "feature_names_in_", None)
        conditions = parse_given(
            given, n_samples=n_samples, n_features=len(self._columns), feature_names=names
        )
        try:
            check_codes(self._columns, conditions.values)
            for j, categories in conditions.categories.items():
                self._columns[j].check_set(categories)
        except ValueError as error:
            raise ValueError(f"given is nothing that a row can have: {error}") from error
        return conditions

    def _in_container(self, X: np.ndarray, like: Any = None) -> Any:
        if self._table is not None and X.shape[1] == len(self._table.columns):
            return self._table.decode_like(X, like)
        return super()._in_container(X, like)


def _first_with_rows(blocks: RowBlocks) -> Any:
    """The first of RowBlocks that is no frame without rows, or None."""
    for block in blocks.as_given():
        if not is_frame(block) or len(block):
            return block
    return None
