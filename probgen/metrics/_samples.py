"""Validation of two samples for the distances between them."""

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.utils.validation import check_array

from probgen._containers import read_rows
from probgen._validation import show


def check_samples(
    X: npt.ArrayLike, Y: npt.ArrayLike, features: Any
) -> tuple[np.ndarray, np.ndarray]:
    """Return both samples, or their features, as float64 arrays with the same columns."""
    X = _as_array(X, "X")
    Y = _as_array(Y, "Y")
    _check_columns(X, Y, "X and Y")
    if features is None:
        return X, Y
    extract = getattr(features, "transform", features)
    if not callable(extract):
        raise ValueError(
            f"features must be a function of rows, a fitted transformer or None; got"
            f" {show(features)}."
        )
    X = _as_array(extract(X), "features(X)")
    Y = _as_array(extract(Y), "features(Y)")
    _check_columns(X, Y, "features(X) and features(Y)")
    return X, Y


def _check_columns(X: np.ndarray, Y: np.ndarray, names: str) -> None:
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"{names} must have the same columns; got {X.shape[1]} and {Y.shape[1]}; both are rows"
            " of one kind."
        )


def _as_array(rows: npt.ArrayLike, name: str) -> np.ndarray:
    return check_array(
        read_rows(rows, name), dtype=np.float64, ensure_min_samples=2, input_name=name
    )
