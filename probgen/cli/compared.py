"""Data sets and files for a comparison, split into rows to learn from and held-out rows."""

import dataclasses
import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils.multiclass import type_of_target

from probgen import datasets
from probgen._validation import check_count, check_image_shape
from probgen.cli import typed
from probgen.cli.rows import Description
from probgen.cli.tables import check_labels, has_pandas, read_table
from probgen.tables.table import Table

TEST_SIZE = 0.25
MIN_ROWS = 8
MAX_LEVELS = 256
MAX_CLASSES = 100
AS_INFERRED = Description({}, [], None, ())


@dataclass(frozen=True)
class Data:
    """A data set, split into rows to learn from and held-out rows.

    Attributes
    ----------
    name : str
    X_train, X_test : ndarray or DataFrame of shape (n, d)
        A frame where columns are not all real numbers, or not all small integers; uint8 where
        `levels` is not None.
    y_train, y_test : ndarray of shape (n,) or None
        Classes; None if the data have none.
    image_shape : tuple of int or None
        Shape of an image; None for a table.
    levels : int, ndarray of shape (d,) or None
        Number of levels of integers that start at 0, for all columns or for each; None for real
        values.
    feature_names : list of str or None
        Names of the columns; None if they have none.
    kinds : dict of str to str
        Kinds of columns that the user has named.
    table : Table or None
        The columns of a frame.
    split : str
        The split as Python code.
    """

    name: str
    X_train: np.ndarray
    X_test: np.ndarray
    y_train: np.ndarray | None
    y_test: np.ndarray | None
    image_shape: tuple | None
    levels: Any
    feature_names: list | None
    kinds: dict = dataclasses.field(default_factory=dict)
    table: Table | None = None
    split: str = ""

    @property
    def n_features(self) -> int:
        """Number of columns."""
        return self.X_train.shape[1]

    @property
    def classes(self) -> list:
        """Sorted labels; empty without classes."""
        if self.y_train is None:
            return []
        return np.unique(self.y_train).tolist()


def data_names() -> list[str]:
    """Names of the data sets of `probgen.datasets`, without load_ and fetch_."""
    return [name.removeprefix("load_").removeprefix("fetch_") for name in datasets.__all__]


def load_data(
    source: str,
    *,
    key: str | None = None,
    target: str | None = None,
    image_shape: tuple | None = None,
    max_rows: int | None = None,
    random_state: int = 0,
    description: Description = AS_INFERRED,
) -> Data:
    """Load and split rows.

    Parameters
    ----------
    source : str
        Name of a data set, followed by a colon and the name of a part where it has parts
        (uci:wine_quality), or path of a file.
    key, target : str, optional
        As in `read_table`; for files only.
    image_shape : tuple of int, optional
        Shape of the images in a file, which must hold integers from 0 to 255.
    max_rows : int, optional
        Number of rows to use, drawn at random; all by default.
    random_state : int, default=0
        Seeds the choice of rows and the split.
    description : Description, optional
        What the user says of the columns of a file.

    Returns
    -------
    data : Data

    Raises
    ------
    ValueError, OSError
        If the data do not exist or have too few rows.
    """
    if max_rows is not None:
        check_count("max_rows", max_rows, low=MIN_ROWS)
    if _is_data_set(source):
        if (key, target, image_shape) != (None, None, None) or description:
            raise ValueError(
                f"key, target and image_shape describe a file; the data set {source!r} has its own."
            )
        X, y, feature_names, image_shape, levels = _read_data_set(source)
    else:
        levels = None
        X, y, feature_names = _read_file(Path(source), key, target, image_shape, description)
        if image_shape is not None:
            image_shape = check_image_shape(image_shape, X.shape[1])
    if len(X) < MIN_ROWS:
        raise ValueError(
            f"data must hold at least {MIN_ROWS} rows, to fit on some and score on others; got"
            f" {len(X)}."
        )
    table = None
    if not isinstance(X, np.ndarray):
        table = Table.infer(X, description.kinds)
    elif levels is None:
        levels = _levels(X, image_shape)
    if levels is not None:
        X = X.astype(np.uint8)  # Networks read integers in single precision, which is faster.
    if not _are_classes(y):
        y = None

    rows = np.arange(len(X))
    if max_rows is not None and max_rows < len(X):
        rows = np.sort(np.random.default_rng(random_state).permutation(len(X))[:max_rows])
    stratify = None
    if y is not None and np.unique(y[rows], return_counts=True)[1].min() >= 2:
        stratify = y[rows]
    train, test = train_test_split(
        rows, test_size=TEST_SIZE, stratify=stratify, random_state=random_state
    )
    y_train = y_test = None
    if y is not None:
        y_train = y[train]
        y_test = y[test]
    stratified = ""
    if stratify is not None:
        stratified = " stratify=y,"
    return Data(
        source,
        _take(X, train),
        _take(X, test),
        y_train,
        y_test,
        image_shape,
        levels,
        feature_names,
        description.kinds,
        table,
        f"train_test_split(X, test_size={TEST_SIZE},{stratified} random_state={random_state})",
    )


def _take(X: Any, rows: np.ndarray) -> Any:
    """Rows of an array, or of a frame with a new index."""
    if isinstance(X, np.ndarray):
        return X[rows]
    return X.iloc[rows].reset_index(drop=True)


def _is_data_set(source):
    """Whether a source names a data set rather than a file; raise if it is neither."""
    name, _, _ = source.partition(":")
    if name.replace("-", "_") in data_names():
        return True
    if not Path(source).exists():
        raise FileNotFoundError(
            f"data must be a file or one of {', '.join(data_names())}; got {source!r}."
        )
    return False


def _read_file(path, key, target, image_shape, description):
    """X, y and feature names of a file; X is a frame where an array would not do."""
    if not typed.is_named(path) or key is not None or not (description or has_pandas()):
        if description:
            raise ValueError(
                "--columns, --drop, --index and --missing describe a table such as a .csv; got"
                f" {str(path)!r}."
            )
        table = read_table(path, key=key, target=target)
        check_labels(path, table.y)
        return table.X, table.y, table.names
    rows = typed.read_frame(
        path,
        missing=description.missing,
        drop=description.drop,
        index=description.index,
        target=target,
        kinds=description.kinds,
    )
    check_labels(path, rows.y)
    names = None
    if rows.has_names:
        names = list(rows.frame.columns)
    if description.kinds or not _suits_array(rows.frame, image_shape):
        return rows.frame, rows.y, names
    return rows.frame.to_numpy(dtype=np.float64), rows.y, names


def _suits_array(frame, image_shape):
    """Whether all columns of a frame are real numbers, or all of them small integers."""
    if any(dtype.kind not in "iuf" for dtype in frame.dtypes) or frame.isna().any(axis=None):
        return False
    if image_shape is not None or _are_levels(frame.to_numpy()):
        return True
    return all(column.kind == "real" and not column.atoms for column in Table.infer(frame).columns)


def _read_data_set(source):
    """X, y, feature names, image shape and levels of a data set of `probgen.datasets`."""
    name, _, part = source.partition(":")
    bunch = _load_bunch(name.replace("-", "_"), part)
    X, y = bunch.data, bunch.target
    if bunch.get("categorical_features"):
        bunch = _load_bunch(name.replace("-", "_"), part, as_frame=True)
        X, y = bunch.data, np.asarray(bunch.target, dtype=str)
    return X, y, bunch.feature_names, bunch.get("image_shape"), bunch.get("levels")


def _levels(X, image_shape):
    """Levels of small integers, the same for all columns of images; None for other values."""
    if not _are_levels(X):
        if image_shape is not None:
            raise ValueError(
                f"images must hold integers from 0 to {MAX_LEVELS - 1}; got {X.min():g} to"
                f" {X.max():g}."
            )
        return None
    if image_shape is not None:
        return MAX_LEVELS
    return X.max(axis=0).astype(np.int64) + 1


def _are_levels(X):
    """Whether all numbers are small integers."""
    return bool(np.all((X >= 0) & (X < MAX_LEVELS) & (X == np.floor(X))))


def _load_bunch(name, part, **settings):
    """The Bunch of a data set, or of one of its parts."""
    load = getattr(datasets, f"load_{name}", None) or getattr(datasets, f"fetch_{name}")
    first_parameter = next(iter(inspect.signature(load).parameters.values()))
    has_parts = first_parameter.default is inspect.Parameter.empty
    if has_parts and not part:
        raise ValueError(
            f"data {name!r} has parts; name one as {name}:NAME, such as uci:wine_quality."
        )
    if part and not has_parts:
        raise ValueError(
            f"data {name!r} has no parts; got {name}:{part}; leave out the colon and what follows."
        )
    if has_parts:
        return load(part, **settings)
    return load(**settings)


def _are_classes(y):
    """Whether a target holds at most MAX_CLASSES classes."""
    if y is None or type_of_target(y) not in {"binary", "multiclass"}:
        return False
    return len(np.unique(y)) <= MAX_CLASSES
