"""Rows that come block by block, for data that do not fit in memory."""

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from probgen._containers import read_container, read_rows
from probgen._validation import show


class RowBlocks:
    """Rows that are read block by block, as often as a fit needs them.

    Parameters
    ----------
    blocks : iterable of array-like of shape (n_i, n_features), or callable
        An iterable that gives the same rows in the same order each time, such as a list, a data
        set object or the delayed blocks of a Dask array; or a function without arguments that
        returns a fresh iterator. A generator, which can be read only once, is refused.

    Raises
    ------
    ValueError
        If blocks can be iterated over only once; while reading, if a block is not a two-dimensional
        array of real numbers or is of another width than the first, or if there is no row.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen import GaussianMixture, RowBlocks
    >>> files = [np.zeros((3, 2)), np.ones((3, 2))]  # each would be read from a disk
    >>> rows = RowBlocks(lambda: iter(files))
    >>> GaussianMixture(1).fit(rows).means_
    array([[0.5, 0.5]])
    """

    def __init__(
        self, blocks: Iterable[npt.ArrayLike] | Callable[[], Iterable[npt.ArrayLike]]
    ) -> None:
        if not callable(blocks):
            try:
                is_iterator = iter(blocks) is blocks
            except TypeError as error:
                raise ValueError(
                    "blocks must be a re-iterable of arrays or a function that returns an"
                    f" iterator; got {show(blocks)}."
                ) from error
            if is_iterator:
                raise ValueError(
                    "blocks can be read only once, but a fit reads it many times; got"
                    f" {show(blocks)}; pass a list or a function that returns a fresh iterator."
                )
        self.blocks = blocks

    def as_given(self) -> Iterator[Any]:
        """Return an iterator over the blocks as they are."""
        return iter(self.blocks() if callable(self.blocks) else self.blocks)

    def __iter__(self) -> Generator[np.ndarray, None, None]:
        """Yield blocks of rows in float64 or float32, and leave out empty ones."""
        width = None
        n_rows = 0
        for i, block in enumerate(self.as_given()):
            block = _as_floats(block, i)
            if width is not None and block.shape[1] != width:
                raise ValueError(
                    f"block {i} of X must have {width} features like the first; got"
                    f" {block.shape[1]}."
                )
            width = block.shape[1]
            n_rows += len(block)
            if len(block):
                yield block
        if not n_rows:
            raise ValueError("X must have at least one row; got RowBlocks without any.")


def read_block(block: npt.ArrayLike, i: int) -> np.ndarray:
    """Block i as an array of its own dtype, whatever its container."""
    name = f"block {i} of X"
    block = read_container(block, name)
    if getattr(block, "ndim", 2) == 2:  # of others the shape is told below
        block = read_rows(block, name)
    return np.asarray(block)


def _as_floats(block: npt.ArrayLike, i: int) -> np.ndarray:
    """Block i as a float64 or float32 array of two dimensions."""
    array = read_block(block, i)
    if array.dtype.kind == "c":
        raise ValueError(f"block {i} of X must hold real numbers; got dtype {array.dtype}.")
    if array.dtype != np.float32:
        try:
            array = array.astype(np.float64, copy=False)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f"block {i} of X must hold real numbers; got dtype {array.dtype}."
            ) from error
    if array.ndim != 2:
        raise ValueError(
            f"block {i} of X must be 2-dimensional, rows by features; got shape {array.shape}."
        )
    return array
