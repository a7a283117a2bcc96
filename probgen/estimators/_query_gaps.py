"""What generators share that learn from whole rows, but score and complete rows with gaps."""

from typing import Any

import numpy as np

from probgen.base import GeneratorTags, ImputerMixin
from probgen.training.neural_generator import NeuralGenerator


class QueryGapsGenerator(ImputerMixin, NeuralGenerator):
    """Generators whose fitted model takes NaN as missing values, but whose fits do not.

    A generator counts as fitted once it has the first of its `_networks`.
    """

    _missing_values = "queries"

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = hasattr(self, self._networks[0])  # not in a first fit
        return tags

    def _read(self, X: Any, y: Any, *, reset: bool, ensure_min_samples: int) -> tuple:
        arrays = super()._read(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        rows = arrays[0]
        is_float = isinstance(rows, np.ndarray) and rows.dtype.kind == "f"
        if is_float and np.isnan(rows).any():
            raise ValueError(self._nan_error)
        return arrays

    def _validate(self, X: Any, y: Any = "no_validation", **checks: Any) -> Any:
        try:
            return super()._validate(X, y, **checks)
        except ValueError as error:
            if str(error).startswith("X contains NaN"):
                raise ValueError(self._nan_error) from error
            raise

    @property
    def _nan_error(self) -> str:
        return (
            f"X contains NaN, which {type(self).__name__} cannot learn from, though once fitted it"
            " scores and completes such rows; fill them first, such as with"
            " GaussianMixture.impute."
        )

    def _is_missing(self, X: np.ndarray) -> np.ndarray:
        """Mask (n, d) of the missing values of rows."""
        return np.isnan(X)

    def _refuse_missing(self, X: np.ndarray, query: str) -> None:
        """Raise if rows have missing values, which the named query cannot take."""
        if self._is_missing(X).any():
            raise ValueError(f"X contains NaN, which {query} cannot take; impute it first.")
