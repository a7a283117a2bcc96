"""Sequences of unequal lengths to rows that end in NaN, and back.

A row holds the steps of a sequence one after another, each of d numbers. A shorter sequence ends in
NaN, and a NaN before its last number is a gap.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probgen._validation import check_count, read_numbers, show


def from_lengths(X: npt.ArrayLike, lengths: npt.ArrayLike) -> np.ndarray:
    """Return rows of sequences that follow one another, as hmmlearn takes them.

    Parameters
    ----------
    X : array-like of shape (n_steps, d) or (n_steps,)
        The steps of all sequences.
    lengths : array-like of shape (n,)
        Number of steps of each sequence; they add up to n_steps.

    Returns
    -------
    rows : ndarray of shape (n, T * d)
        With T the greatest of the lengths.

    Raises
    ------
    ValueError
        If the lengths are no integers above 0, or do not add up to the steps of X.

    Examples
    --------
    >>> from probgen.sequences import from_lengths
    >>> from_lengths([[1.0], [2.0], [3.0]], [2, 1])
    array([[ 1.,  2.],
           [ 3., nan]])
    """
    steps = _steps("X", X)
    counts = read_numbers("lengths", lengths, "one for each sequence")
    if counts.ndim != 1 or not len(counts) or not np.all((counts >= 1) & (counts % 1 == 0)):
        raise ValueError(
            f"lengths must hold an integer >= 1 for each sequence; got {show(lengths)}."
        )
    if counts.sum() != len(steps):
        raise ValueError(
            f"lengths must add up to the {len(steps)} steps of X; got a sum of {counts.sum():g}."
        )
    ends = np.cumsum(counts.astype(np.int64))
    return _padded(np.split(steps, ends[:-1]))


def from_list(sequences: Sequence[Any]) -> np.ndarray:
    """Return rows of a list of sequences.

    Parameters
    ----------
    sequences : list of array-like of shape (length, d) or (length,)
        Sequences of the same d.

    Returns
    -------
    rows : ndarray of shape (n, T * d)
        With T the greatest of the lengths.

    Raises
    ------
    ValueError
        If the list is empty, or a sequence has no step or another d than the first.

    Examples
    --------
    >>> from probgen.sequences import from_list
    >>> from_list([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0]]])
    array([[ 1.,  2.,  3.,  4.],
           [ 5.,  6., nan, nan]])
    """
    if isinstance(sequences, str | bytes | dict | set) or not np.iterable(sequences):
        raise ValueError(f"sequences must be a list of arrays; got {show(sequences)}.")
    found = [_steps(f"sequences[{i}]", sequence) for i, sequence in enumerate(sequences)]
    if not found:
        raise ValueError("sequences must hold at least one sequence; got an empty list.")
    for i, steps in enumerate(found):
        if steps.shape[1] != found[0].shape[1]:
            raise ValueError(
                f"sequences must have the same number of features; sequences[0] has"
                f" {found[0].shape[1]} and sequences[{i}] has {steps.shape[1]}."
            )
    return _padded(found)


def windows(series: npt.ArrayLike, length: int, step: int = 1) -> np.ndarray:
    """Return the windows of a long series as rows.

    Parameters
    ----------
    series : array-like of shape (n_steps, d) or (n_steps,)
        Steps in the order of time.
    length : int
        Steps of a window, from 1 to n_steps.
    step : int, default=1
        Steps from the start of one window to that of the next.

    Returns
    -------
    rows : ndarray of shape (n, length * d)
        The windows that fit in, the first first.

    Raises
    ------
    ValueError
        If a number is out of range.

    Examples
    --------
    >>> from probgen.sequences import windows
    >>> windows([1.0, 2.0, 3.0, 4.0, 5.0], 3, step=2)
    array([[1., 2., 3.],
           [3., 4., 5.]])
    """
    steps = _steps("series", series)
    check_count("length", length)
    check_count("step", step)
    if length > len(steps):
        raise ValueError(
            f"length must be at most the number of steps of the series, {len(steps)}; got {length}."
        )
    found = np.lib.stride_tricks.sliding_window_view(steps, int(length), axis=0)[:: int(step)]
    return np.ascontiguousarray(found.swapaxes(1, 2)).reshape(len(found), -1)


def to_list(rows: npt.ArrayLike, n_features: int = 1) -> list[np.ndarray]:
    """Return the sequences of rows, without the NaN after their ends.

    Parameters
    ----------
    rows : array-like of shape (n, T * d)
        Sequences, as the functions of this module return them.
    n_features : int, default=1
        Numbers of a step, d.

    Returns
    -------
    sequences : list of n ndarrays of shape (length, d)
        A row without any number has length 0.

    Raises
    ------
    ValueError
        If rows do not hold a whole number of steps.

    Examples
    --------
    >>> from probgen.sequences import to_list
    >>> [sequence.ravel().tolist() for sequence in to_list([[1.0, 2.0], [3.0, float("nan")]])]
    [[1.0, 2.0], [3.0]]
    """
    check_count("n_features", n_features)
    array = read_numbers("rows", rows)
    if array.ndim != 2 or array.shape[1] % n_features:
        raise ValueError(
            f"rows must have shape (n, T * {n_features}), of steps of n_features={n_features}"
            f" numbers; got {array.shape}."
        )
    steps = array.reshape(len(array), -1, int(n_features))
    lengths = lengths_of(array, int(n_features))
    return [sequence[:length].copy() for sequence, length in zip(steps, lengths)]


def to_lengths(rows: npt.ArrayLike, n_features: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return the steps of rows one after another and their lengths, as hmmlearn takes them.

    Parameters
    ----------
    rows : array-like of shape (n, T * d)
        Sequences, as the functions of this module return them.
    n_features : int, default=1
        Numbers of a step, d.

    Returns
    -------
    X : ndarray of shape (n_steps, d)
        The steps of all sequences.
    lengths : ndarray of shape (n,)
        Numbers of steps.

    Raises
    ------
    ValueError
        If rows do not hold a whole number of steps.

    Examples
    --------
    >>> from probgen.sequences import to_lengths
    >>> X, lengths = to_lengths([[1.0, 2.0], [3.0, float("nan")]])
    >>> X.ravel(), lengths
    (array([1., 2., 3.]), array([2, 1]))
    """
    sequences = to_list(rows, n_features)
    empty = np.empty((0, int(n_features)))
    lengths = np.array([len(sequence) for sequence in sequences], dtype=np.int64)
    return np.concatenate([empty, *sequences]), lengths


def lengths_of(rows: np.ndarray, n_features: int) -> np.ndarray:
    """Numbers (n,) of steps of rows (n, T * d) up to the last one that holds a value."""
    has_value = ~np.isnan(rows).reshape(len(rows), -1, n_features).all(axis=2)
    n_steps = has_value.shape[1]
    last = n_steps - np.argmax(has_value[:, ::-1], axis=1)
    return np.where(has_value.any(axis=1), last, 0)


def _steps(name: str, values: Any) -> np.ndarray:
    """Steps (n, d) of an argument, at least one."""
    array = read_numbers(name, values)
    if array.ndim not in (1, 2) or not array.size:
        raise ValueError(
            f"{name} must have shape (n_steps, d) or (n_steps,), of at least one step; got"
            f" {array.shape}."
        )
    if np.isinf(array).any():
        raise ValueError(f"{name} must hold finite numbers, or NaN for gaps; got an infinity.")
    return array.reshape(len(array), -1)


def _padded(sequences: list[np.ndarray]) -> np.ndarray:
    """Rows (n, T * d) of sequences of steps (length, d)."""
    longest = max(map(len, sequences))
    rows = np.full((len(sequences), longest, sequences[0].shape[1]), np.nan)
    for row, steps in zip(rows, sequences, strict=True):
        row[: len(steps)] = steps
    return rows.reshape(len(rows), -1)
