"""Which columns the parameter `categorical_features` names."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probgen._validation import show

FROM_DTYPE = "from_dtype"


def is_from_dtype(categorical_features: Any) -> bool:
    """Whether columns are categories by their dtype."""
    return isinstance(categorical_features, str) and categorical_features == FROM_DTYPE


def named_categories(categorical_features: Any, names: Sequence) -> list[int]:
    """Return the indices of the columns that a mask, indices or names choose.

    Parameters
    ----------
    categorical_features : "from_dtype", None or array-like
        The first two name none.
    names : sequence
        Names of the columns, or their indices where they have none.

    Raises
    ------
    ValueError
        If it is of another kind, or names what is no column.
    """
    if categorical_features is None or is_from_dtype(categorical_features):
        return []
    names = list(names)
    d = len(names)
    is_list = np.iterable(categorical_features) and not isinstance(
        categorical_features, str | bytes | dict
    )
    if is_list:
        items = np.asarray(categorical_features).tolist()
        if items and all(isinstance(item, bool) for item in items):
            if len(items) == d:
                return [j for j, is_category in enumerate(items) if is_category]
        elif all(isinstance(item, int) and -d <= item < d for item in items):
            return [item % d for item in items]
        elif all(isinstance(item, str) and item in names for item in items):
            return [names.index(item) for item in items]
    raise ValueError(
        f"categorical_features must be 'from_dtype', a mask of the {d} features, indices or"
        f" names of some, or None; got {show(categorical_features)}."
    )
