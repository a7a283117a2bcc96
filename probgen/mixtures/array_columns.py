"""Columns of arrays, and of frames, by the distributions that the user names for them."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np

from probgen._validation import is_real, show
from probgen.mixtures.layout import ABOVE_LOW, CATEGORICAL, COUNTS, DISTRIBUTIONS, ROUNDED
from probgen.tables.columns import Column

MOST_LEVELS = 2**20  # of a column of an array


def read_distributions(distributions: Any, n_features: int, names: Any) -> list[str]:
    """The distribution of each column, "auto" where none is named; raise where one is unknown."""
    if isinstance(distributions, dict):
        chosen = ["auto"] * n_features
        for key, name in distributions.items():
            chosen[column_index("distributions", key, n_features, names)] = name
    else:
        chosen = [distributions] * n_features
    for name in chosen:
        check_distribution(name, distributions)
    return chosen


def check_distribution(name: Any, received: Any) -> None:
    """Raise unless name is that of a distribution, or "auto"."""
    if isinstance(name, str) and name in ("auto", *DISTRIBUTIONS):
        return
    listed = ", ".join(repr(known) for known in ("auto", *DISTRIBUTIONS))
    raise ValueError(
        f"distributions must be one of {listed}, or a dict of columns and such; got"
        f" {show(received)}."
    )


def column_index(argument: str, key: Any, n_features: int, names: Any) -> int:
    """Index in [0, n_features) of a column's name or (possibly negative) index."""
    if names is not None and isinstance(key, str):
        known = list(names)
        if key in known:
            return known.index(key)
    is_index = isinstance(key, Integral) and not isinstance(key, bool)
    if is_index and -n_features <= int(key) < n_features:
        return int(key) % n_features
    raise ValueError(
        f"{argument} must name columns of X by name or by an index in [0, {n_features - 1}]; got"
        f" {show(key)}."
    )


def read_atoms(atoms: Any, n_features: int, names: Any) -> dict[int, tuple]:
    """The atoms of the columns that the dict atoms names, sorted."""
    found = {}
    for key, values in atoms.items():
        j = column_index("atoms", key, n_features, names)
        if is_real(values):
            values = [values]
        is_list = np.iterable(values) and not isinstance(values, str | bytes)
        if not is_list or not all(map(is_real, values)):
            raise ValueError(
                f"atoms[{key!r}] must be a number or a list of finite numbers; got {show(values)}."
            )
        found[j] = tuple(sorted({float(value) for value in values}))
    return found


def check_atoms(atoms: Any) -> None:
    """Raise unless atoms is "auto", None or a dict."""
    if atoms is None or isinstance(atoms, dict) or (isinstance(atoms, str) and atoms == "auto"):
        return
    raise ValueError(
        f"atoms must be 'auto', None or a dict of columns and numbers; got {show(atoms)}."
    )


def read_min_categories(min_categories: Any, n_features: int) -> Sequence[int]:
    """Least numbers of levels of the columns."""
    if min_categories is None:
        return [0] * n_features
    values = [min_categories] * n_features
    if np.iterable(min_categories) and not isinstance(min_categories, str | dict):
        values = np.asarray(min_categories).tolist()
    is_count = [isinstance(value, Integral) and not isinstance(value, bool) for value in values]
    if len(values) != n_features or not all(is_count) or min(values) < 0 or max(values) > 2**31:
        raise ValueError(
            f"min_categories must be None, an integer >= 0, or {n_features} such, one for each"
            f" column; got {show(min_categories)}."
        )
    return [int(value) for value in values]


def column_of_array(
    name: Any, distribution: str, highest: float, n_levels: int, atoms: tuple
) -> Column:
    """The Column of a column of an array whose greatest number is highest."""
    if distribution in CATEGORICAL:
        if distribution == "bernoulli":
            n_levels = 2
        elif 0.0 <= highest < MOST_LEVELS:
            n_levels = max(n_levels, int(highest) + 1)
        # Other rows are refused where the support is checked.
        return Column(name, "category", levels=tuple(range(max(n_levels, 2))))
    settings: dict[str, Any] = {"kind": "real", "atoms": atoms, "rest": "modelled"}
    if distribution in COUNTS:
        settings |= {"kind": "integer", "step": 1.0, "low": 0.0}
    elif distribution in ABOVE_LOW:
        settings["low"] = 0.0
    if distribution == "beta":
        settings["high"] = 1.0
    return Column(name, **settings)


def adapted(column: Column, distribution: str, atoms: tuple | None) -> Column:
    """The column with other atoms, None for its own; raise if the distribution does not suit."""
    if column.levels:
        if distribution == "bernoulli" and len(column.levels) != 2:
            raise ValueError(
                f"distributions must be 'categorical' or 'auto' for column {column.name!r}, which"
                f" has {len(column.levels)} categories; got 'bernoulli'."
            )
        return column
    if atoms is not None and atoms != column.atoms and column.kind != "constant":
        column = replace(column, atoms=atoms, rest="modelled")
    if distribution in CATEGORICAL:
        raise ValueError(
            f"distributions must be one of numbers for column {column.name!r}; got"
            f" {distribution!r}; make it a column of categories to give each number a probability."
        )
    expected = None
    if column.step and distribution not in ("auto", *COUNTS, *ROUNDED):
        expected = "'normal', 'lognormal', 'histogram', 'poisson' or 'negative_binomial'"
    if not column.step and distribution in COUNTS:
        expected = "a distribution of real numbers"
    if distribution in COUNTS and not column.low >= 0.0:
        expected = "a distribution of numbers below 0 too"
    if distribution in ABOVE_LOW and not np.isfinite(column.low):
        expected = "a distribution without a least number"
    if distribution == "beta" and not np.isfinite(column.high):
        expected = "a distribution without a greatest number"
    if expected is not None and column.rest == "modelled":
        raise ValueError(
            f"distributions must be {expected} for column {column.name!r}; got {distribution!r}."
        )
    return column
