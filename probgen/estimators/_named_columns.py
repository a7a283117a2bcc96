"""Columns of a mixture by the parameters that name them."""

import copy
from typing import Any

import numpy as np

from probgen.mixtures import array_columns
from probgen.mixtures.layout import CATEGORICAL
from probgen.row_blocks import RowBlocks
from probgen.tables.categorical import named_categories
from probgen.tables.columns import Column
from probgen.tables.table import Table


class NamedColumnsMixin:
    """Columns of arrays, and of frames with other atoms. Left of `TableMixin`."""

    atoms: Any
    categorical_features: Any
    distributions: Any
    kinds: Any
    min_categories: Any
    n_features_in_: Any
    _columns: list[Column]

    def _array_columns(self, X: np.ndarray) -> list[Column]:
        with np.errstate(invalid="ignore"):
            highest = np.fmax.reduce(X, axis=0).astype(np.float64)
        return self._columns_up_to(highest)

    def _columns_of_blocks(self, blocks: RowBlocks) -> list[Column]:
        """The columns of validated RowBlocks."""
        highest: Any = -np.inf
        for block in blocks:
            with np.errstate(invalid="ignore"):
                highest = np.fmax(highest, np.fmax.reduce(block, axis=0).astype(np.float64))
        return self._columns_up_to(highest)

    def _columns_up_to(self, highest: np.ndarray) -> list[Column]:
        """Columns of an array with greatest numbers (d,)."""
        names = self._names()
        n_features = len(highest)
        n_levels = array_columns.read_min_categories(self.min_categories, n_features)
        atoms = self._atoms(names)
        columns = []
        for j, distribution in enumerate(self._distributions(names)):
            name = j if names is None else names[j]
            column = array_columns.column_of_array(
                name, distribution, highest[j], n_levels[j], atoms.get(j, ())
            )
            columns.append(column)
        return columns

    def _adapted_columns(self, distributions: list[str], names: Any) -> list[Column]:
        """The columns with the atoms that the parameters ask for."""
        atoms: dict[int, Any] = self._atoms(names)
        if self.atoms is None:
            atoms = dict.fromkeys(range(len(self._columns)), ())
        return [
            array_columns.adapted(column, distribution, atoms.get(j))
            for j, (column, distribution) in enumerate(zip(self._columns, distributions))
        ]

    def _names(self) -> Any:
        """Names of the columns, if X or the table of its codes has some."""
        if isinstance(self.kinds, Table):
            return self.kinds.names
        return getattr(self, "feature_names_in_", None)

    def _distributions(self, names: Any) -> list[str]:
        """The distribution of each column, "auto" where none is named."""
        n_features = self.n_features_in_
        chosen = array_columns.read_distributions(self.distributions, n_features, names)
        if names is None:
            names = range(n_features)
        for j in named_categories(self.categorical_features, names):
            if chosen[j] not in CATEGORICAL:
                chosen[j] = "categorical"
        return chosen

    def _atoms(self, names: Any) -> dict[int, tuple]:
        """The atoms of the columns for which the parameter names some."""
        if not isinstance(self.atoms, dict):
            return {}
        return array_columns.read_atoms(self.atoms, self.n_features_in_, names)

    def _with_indices(self, names: Any) -> dict[str, Any]:
        """The parameters that name columns, by indices for rows that come without names (d,)."""
        names = list(names)
        found: dict[str, Any] = {}
        for argument in ("distributions", "atoms"):
            named = getattr(self, argument)
            if isinstance(named, dict):
                d = len(names)
                found[argument] = {
                    array_columns.column_index(argument, key, d, names): value
                    for key, value in named.items()
                }
        chosen = named_categories(self.categorical_features, names)
        if chosen:
            found["categorical_features"] = chosen
        return found

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        """The numbers of levels of a fit to X, which are the same for all classes."""
        if isinstance(self.kinds, Table):
            return {}
        model: Any = copy.copy(self)
        model.n_features_in_ = X.shape[1]
        if any(isinstance(key, str) for key in _keys(self)):
            return {}  # X comes without names, and a fit says so
        n_levels = [len(column.levels) for column in model._array_columns(X)]
        return {"min_categories": n_levels} if any(n_levels) else {}


def _keys(model: Any) -> list:
    """Names and indices of columns in the parameters of a model."""
    keys: list = []
    for argument in (model.distributions, model.atoms):
        if isinstance(argument, dict):
            keys.extend(argument)
    if isinstance(model.categorical_features, list | tuple | np.ndarray):
        keys.extend(np.asarray(model.categorical_features).tolist())
    return keys
