"""Rows of files for a fit and for scores, as arrays of numbers or as frames of typed columns."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np

from probgen.cli import models, tables, typed
from probgen.tables.table import Table


@dataclass(frozen=True)
class Description:
    """What the user says of the columns of a file.

    Attributes
    ----------
    kinds : dict of str to str
        Kinds of columns.
    drop : list of str
        Columns to leave out.
    index : str or None
        The column that names the rows.
    missing : sequence of str
        Texts that mean a gap.
    """

    kinds: dict[str, str]
    drop: list[str]
    index: str | None
    missing: Sequence[str]

    def __bool__(self) -> bool:
        return bool(self.kinds or self.drop or self.index or self.missing)


def parse_names(options: Sequence[str]) -> list[str]:
    """Names in options of several names, separated by commas."""
    return [name.strip() for option in options for name in option.split(",") if name.strip()]


def parse_kinds(options: Sequence[str]) -> dict[str, str]:
    """Kinds by names, of options NAME=KIND,NAME=KIND."""
    kinds = {}
    for text in parse_names(options):
        name, equals, kind = text.rpartition("=")
        if not equals:
            raise ValueError(
                f"--columns must be NAME=KIND,..., such as zip=category; got {text!r}."
            )
        kinds[name] = kind
    return kinds


def read_for_fit(
    path: Path,
    generator: Any,
    params: Sequence[str],
    random_state: int | None,
    description: Description,
    *,
    key: str | None,
    target: str | None,
) -> tuple[Any, np.ndarray | None, list[str] | None, Any]:
    """Read rows, and say of each column of a table what it was taken for.

    Parameters
    ----------
    path : Path
    generator : estimator object
    params : sequence of str
        NAME=VALUE texts, of which some may be for the encoder.
    random_state : int or None
        Seeds the encoder.
    description : Description
    key, target : str or None
        As in `tables.read_table`.

    Returns
    -------
    X : ndarray or DataFrame of shape (n, d)
    y : ndarray of shape (n,) or None
        The target.
    names : list of str or None
        Names of the columns of an array, if it has names.
    generator : estimator object
        The generator, behind an encoder if it needs one for a frame.
    """
    is_named = typed.is_named(path) and key is None
    if not is_named and description:
        raise ValueError(
            "--columns, --drop, --index and --missing describe a table such as a .csv; got"
            f" {str(path)!r}."
        )
    if not is_named or not (description or tables.has_pandas()):
        table = tables.read_table(path, key=key, target=target)
        return table.X, table.y, table.names, generator
    rows = typed.read_frame(
        path,
        missing=description.missing,
        drop=description.drop,
        index=description.index,
        target=target,
        kinds=description.kinds,
    )
    described = Table.infer(rows.frame, description.kinds)
    click.echo("\n".join(typed.describe(described)))
    if not description.kinds and models.takes_array(generator, rows.frame, described):
        X = rows.frame.to_numpy(dtype=np.float64, na_value=np.nan)
        names = None
        if rows.has_names:
            names = list(rows.frame.columns)
        return X, rows.y, names, generator
    generator = models.for_table(generator, rows.frame, description.kinds, params, random_state)
    return rows.frame, rows.y, None, generator


def read_for_score(
    generator: Any,
    path: Path,
    *,
    key: str | None,
    target: str | None,
    index: str | None,
    missing: Sequence[str],
) -> tuple[Any, Any]:
    """Return rows with the columns that a generator was fitted to, and their names or None."""
    described = models.table_of_model(generator)
    if described is not None:
        tables.check_readable(path)
        if not typed.is_named(path):
            raise ValueError(
                f"{str(path)!r} must be a table such as a .csv, with the columns of the model."
            )
        rows = typed.read_frame(path, missing=missing, index=index, target=target, table=described)
        return rows.frame, rows.index
    if missing:
        raise ValueError("--missing is for models of tables; this one was fitted to numbers.")
    names = getattr(generator, "feature_names_in_", None)
    table = tables.read_table(path, key=key, target=index or target, columns=names)
    width = getattr(generator, "n_features_in_", table.X.shape[1])
    if table.X.shape[1] != width:
        raise ValueError(
            f"{str(path)!r} must have the {width} columns of the model's data; got"
            f" {table.X.shape[1]}."
        )
    if names is None and table.names is not None:
        warnings.warn(
            f"The model knows no names of columns, so those of {str(path)!r} are taken in their"
            f" order: {tables.shortened(table.names)}.",
            stacklevel=2,
        )
    labels = None
    if index is not None:
        labels = table.y
    return tables.with_names(table.X, names), labels
