"""Tables for regression and classification, binary, for anomaly detection, and of mixed columns."""

import zlib
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from probgen._validation import check_choice
from probgen.datasets import _formats
from probgen.datasets._bunch import check_frames, make_bunch
from probgen.datasets._store import obtain, read_arrays
from probgen.datasets._table_list import ADBENCH, ADULT, BINARY, UCI

BINARY_SUBSETS = ("train", "valid", "test", "all")


def fetch_uci(
    name: str,
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load a table of the UCI repository, with the values of the source.

    Repeated rows are kept, as in the source. Drop them before a split if they must not raise the
    test likelihood.

    Parameters
    ----------
    name : str
        A regression table with fixed splits: "concrete" (1,030 x 8), "naval" (11,934 x 16),
        "power_plant" (9,568 x 4) or "protein" (45,730 x 9); an ordinal one: "abalone" (4,177 x 7)
        or "wine_quality" (6,497 x 11); or one of classes: "letter_recognition" (20,000 x 16,
        commonly split after 16,000 rows).
    data_home : path-like, default=None
        Folder of `uci_<name>.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the table (up to 4 MB, with pooch) if it is not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    table : Bunch, or a pair (data, target)
        data : float64 (uint8 for letters) of shape (n, d), target : float64 or int64 of shape (n,),
        frame (None unless as_frame), feature_names, target_names, DESCR, filename; and, for tables
        that have them, test_mask : bool of shape (n_splits, n), whose k-th row marks the test rows
        of the k-th split, sex (abalone; 0 = M, 1 = F, 2 = I) or color (wine_quality; 0 = red, 1 =
        white) : int64 of shape (n,).

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If there is no such table, or the file holds something else.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    M. Kelly, R. Longjohn and K. Nottingham, The UCI machine learning repository,
    https://archive.ics.uci.edu. J. M. Hernandez-Lobato and R. P. Adams, Probabilistic
    backpropagation, 2015 (the splits).

    Examples
    --------
    >>> from probgen.datasets import fetch_uci
    >>> concrete = fetch_uci("concrete")  # doctest: +SKIP
    >>> test = concrete.test_mask[0]  # doctest: +SKIP
    >>> X_train, X_test = concrete.data[~test], concrete.data[test]  # doctest: +SKIP
    """
    check_choice("name", name, UCI)
    check_frames(as_frame)
    table = UCI[name]
    path = obtain(table.source, data_home=data_home, download_if_missing=download_if_missing)
    names = list(table.source.arrays)
    arrays = dict(zip(names, read_arrays(path, table.source, names), strict=True))
    target = arrays.pop("y")
    more = {key: _codes(array) for key, array in arrays.items() if key != "X"}
    return make_bunch(
        arrays["X"],
        _codes(target),
        feature_names=list(table.feature_names),
        target_name=table.target_name,
        target_names=list(table.target_names),
        DESCR=table.descr,
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
        **more,
    )


def fetch_binary(
    name: str,
    *,
    subset: str = "train",
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load a table of zeros and ones, a benchmark of autoregressive density estimators.

    Parameters
    ----------
    name : str
        "dna" (180 columns; 1,400, 600 and 1,186 rows) or "mushrooms" (112 columns; 2,000, 500 and
        5,624 rows).
    subset : {"train", "valid", "test", "all"}, default="train"
        The training, validation or test rows, or all in this order.
    data_home : path-like, default=None
        Folder of `binary_<name>.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the table (with pooch) if it is not found.
    return_X_y : bool, default=False
        Whether to return (data, None) instead of a Bunch; there is no target.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame.

    Returns
    -------
    table : Bunch, or a pair (data, None)
        data : uint8 of shape (n, d), zeros and ones, target : None, frame (None unless as_frame),
        feature_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If there is no such table or subset, or the file holds something else.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    M. Germain, K. Gregor, I. Murray and H. Larochelle, MADE: masked autoencoder for distribution
    estimation, 2015.

    Examples
    --------
    >>> from probgen.datasets import fetch_binary
    >>> fetch_binary("dna", subset="test").data.shape  # doctest: +SKIP
    (1186, 180)
    """
    check_choice("name", name, BINARY)
    check_choice("subset", subset, BINARY_SUBSETS)
    check_frames(as_frame)
    source, descr = BINARY[name]
    path = obtain(source, data_home=data_home, download_if_missing=download_if_missing)
    parts = [subset]
    if subset == "all":
        parts = ["train", "valid", "test"]
    data = np.concatenate(read_arrays(path, source, [f"x_{part}" for part in parts]))
    return make_bunch(
        data,
        None,
        feature_names=_numbered(data),
        DESCR=descr,
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_adbench(
    name: str,
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load a table for anomaly detection of the ADBench collection.

    Parameters
    ----------
    name : str
        "annthyroid" (7,200 x 6), "cardio" (1,831 x 21), "letter" (1,600 x 32), "musk" (3,062 x
        166), "pendigits" (6,870 x 16), "satellite" (6,435 x 36), "shuttle" (49,097 x 9) or
        "thyroid" (3,772 x 6).
    data_home : path-like, default=None
        Folder of `adbench_<name>.npz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the table (up to 4 MB, with pooch) if it is not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame and target a Series.

    Returns
    -------
    table : Bunch, or a pair (data, target)
        data : float64, uint8 or int16 of shape (n, d), depending on the values, target : int64 of
        shape (n,), 1 for an anomaly and 0 otherwise, frame (None unless as_frame), feature_names,
        target_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If there is no such table, or the file holds something else.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    S. Han, X. Hu, H. Huang, M. Jiang and Y. Zhao, ADBench: anomaly detection benchmark, 2022.

    Examples
    --------
    >>> from probgen.datasets import fetch_adbench
    >>> X, y = fetch_adbench("cardio", return_X_y=True)  # doctest: +SKIP
    """
    check_choice("name", name, ADBENCH)
    check_frames(as_frame)
    source, descr = ADBENCH[name]
    path = obtain(source, data_home=data_home, download_if_missing=download_if_missing)
    data, target = read_arrays(path, source, ["X", "y"])
    return make_bunch(
        data,
        _codes(target),
        feature_names=_numbered(data),
        target_names=["normal", "anomaly"],
        DESCR=descr,
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def fetch_adult(
    *,
    data_home: str | PathLike | None = None,
    download_if_missing: bool = True,
    return_X_y: bool = False,
    as_frame: bool = False,
) -> Any:
    """Load Adult, a census table of 6 numeric and 8 categorical columns; the target is the income.

    Parameters
    ----------
    data_home : path-like, default=None
        Folder of `adult.csv.gz`; None looks in the folder of the environment variable
        PROBGEN_DATA_HOME and in the user's cache.
    download_if_missing : bool, default=True
        Whether to download the table (4 MB, with pooch) if it is not found.
    return_X_y : bool, default=False
        Whether to return (data, target) instead of a Bunch.
    as_frame : bool, default=False
        Whether data is a pandas DataFrame, with text in categorical columns, and target a
        categorical Series.

    Returns
    -------
    adult : Bunch, or a pair (data, target)
        data : object array of shape (32561, 14) of floats and strings, or a frame of float64 and
        categorical columns; missing values are NaN. target : "<=50K" or ">50K", of shape (32561,),
        frame (None unless as_frame), feature_names, categorical_features (their names),
        target_names, DESCR, filename.

    Raises
    ------
    OSError
        If the file is not found and not downloaded.
    ValueError
        If the file holds something else.
    ImportError
        If pooch or pandas is needed and missing.

    References
    ----------
    B. Becker and R. Kohavi, Adult, UCI machine learning repository, 1996.

    Examples
    --------
    >>> from probgen.datasets import fetch_adult
    >>> fetch_adult(as_frame=True).data.dtypes["age"]  # doctest: +SKIP
    dtype('float64')
    """
    check_frames(as_frame)
    path = obtain(ADULT, data_home=data_home, download_if_missing=download_if_missing)
    columns, categorical = _adult_columns(path)
    *features, target_name = columns
    if as_frame:
        import pandas as pd

        for name in (*categorical, target_name):
            columns[name] = pd.Categorical(columns[name])
        target = columns.pop(target_name)
        data = pd.DataFrame(columns)
    else:
        target = columns[target_name]
        data = np.empty((len(target), len(features)), dtype=object)
        for j, name in enumerate(features):
            data[:, j] = columns[name]
    return make_bunch(
        data,
        target,
        feature_names=features,
        target_name=target_name,
        categorical_features=categorical,
        target_names=["<=50K", ">50K"],
        DESCR=(
            "Adult: 32,561 people of the census of 1994, the official training part, by B. Becker"
            " and R. Kohavi (CC BY 4.0); missing are 1,836 values of workclass, 1,843 of occupation"
            " and 583 of native-country."
        ),
        filename=str(path),
        return_X_y=return_X_y,
        as_frame=as_frame,
    )


def _adult_columns(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Columns of Adult by name, and the names of the categorical features.

    Columns are float64, or object with NaN for missing values.
    """
    try:
        fields = np.array(_formats.adult_rows(path.read_bytes()), dtype=object).T
        columns = dict(zip(_formats.ADULT_COLUMNS, fields, strict=True))
        for name, values in columns.items():
            if name in _formats.ADULT_NUMERIC:
                columns[name] = values.astype(np.float64)
            else:
                columns[name] = np.where(values == "?", np.nan, values)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise ValueError(
            f"{path} is not the Adult table in gzipped CSV ({error}); replace it, or remove it to"
            " download it again."
        ) from error
    features = _formats.ADULT_COLUMNS[:-1]
    return columns, [name for name in features if name not in _formats.ADULT_NUMERIC]


def _codes(values: np.ndarray) -> np.ndarray:
    """Integers as int64, which small unsigned ones are too narrow for; other values unchanged."""
    if values.dtype.kind in "iu":
        return values.astype(np.int64)
    return values


def _numbered(data: np.ndarray) -> list[str]:
    """Names for columns without names."""
    return [f"x{j}" for j in range(data.shape[1])]
