"""What the distances between two samples share."""

import numpy as np
from sklearn.utils.validation import check_array


def check_samples(X, Y, features):
    """Return both samples, or their features, as float64 arrays of one width; raise ValueError for
    others."""
    X, Y = (_as_array(rows, name) for rows, name in ((X, "X"), (Y, "Y")))
    if X.shape[1] != Y.shape[1]:
        raise ValueError(
            f"X and Y must have the same columns; got {X.shape[1]} and {Y.shape[1]}; both are rows"
            " of one kind."
        )
    if features is None:
        return X, Y
    extract = features.transform if hasattr(features, "transform") else features
    if not callable(extract):
        raise ValueError(
            f"features must be a function of rows, a fitted transformer or None; got {features!r}."
        )
    return _as_array(extract(X), "features(X)"), _as_array(extract(Y), "features(Y)")


def _as_array(rows, name):
    return check_array(rows, dtype=np.float64, ensure_min_samples=2, input_name=name)
