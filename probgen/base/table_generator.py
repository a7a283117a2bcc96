"""Generators that take the rows of a frame of mixed columns, each column by its kind."""

from typing import Any

import numpy as np

from probgen.tables.columns import Column


class TableMixin:
    """Frames of mixed columns in, frames of the same columns out. Left of `GeneratorMixin`.

    The model works on rows of codes, as in `probgen.tables.columns`; the columns are in `_columns`
    after `_validate(X, reset=True)`. A subclass writes

    - `_array_columns(X)`, the columns of rows that come without a frame.
    """

    _columns: list[Column]

    def _array_columns(self, X: np.ndarray) -> list[Column]:
        """The columns of validated rows (n, d) that came as an array."""
        raise NotImplementedError

    def _validate(
        self, X: Any, y: Any = "no_validation", *, reset: bool = False, **checks: Any
    ) -> Any:
        checked = super()._validate(X, y, reset=reset, **checks)  # type: ignore[misc]
        if reset:
            rows = checked[0] if isinstance(checked, tuple) else checked
            self._columns = self._array_columns(rows)
        return checked
