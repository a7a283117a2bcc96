"""Sources of streamed rows, and the buffers through which they pass."""

import itertools
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, IterableDataset

from probgen.row_blocks import RowBlocks

THREAD_NAME = "probgen-rows"
CHECKED_BYTES = 2**20  # of an array that are checked for finite numbers at a time
ITEM_BYTES = 2**20  # of the items of a data set in a block


@dataclass(frozen=True)
class Column:
    """Shape and types of one of the arrays of a row.

    Attributes
    ----------
    shape : tuple of int
        Shape without the axis of rows.
    stored, dtype : torch.dtype
        Types in memory and in batches.
    """

    shape: tuple[int, ...]
    stored: torch.dtype
    dtype: torch.dtype

    @property
    def n_bytes(self) -> int:
        """Bytes of a row in memory."""
        return int(np.prod(self.shape, dtype=np.int64)) * self.stored.itemsize


def open_source(X: Any, dtype: torch.dtype) -> "Source":
    """Return the Source of a RowBlocks or a torch data set, with floating columns of dtype."""
    if isinstance(X, RowBlocks):
        return BlockSource(X, dtype)
    if isinstance(X, IterableDataset):
        if iter(X) is iter(X):
            raise ValueError(
                f"X can be read only once, but a fit reads it many times; got {type(X).__name__},"
                " whose __iter__ must return a fresh iterator."
            )
        return BlockSource(RowBlocks(lambda: _item_blocks(X)), dtype)
    if isinstance(X, Dataset):
        return DatasetSource(X, dtype)
    raise TypeError(f"X must be an ndarray, RowBlocks or a torch data set; got {type(X).__name__}.")


class Source:
    """Rows that can be read several times, part by part.

    A subclass sets `n_rows`, `n_features` and `columns`, and implements `parts(chunk_rows, rng)`.
    This yields tuples of the index of the first row, the number of rows, and a function from a mask
    of these rows, or None, to a tuple of arrays; in random order if possible and rng is not None.
    """

    n_rows: int
    n_features: int
    columns: list[Column]

    def parts(
        self, chunk_rows: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[int, int, Callable]]:
        raise NotImplementedError

    def pieces(
        self,
        chunk_rows: int,
        rng: np.random.Generator | None = None,
        *,
        chosen: np.ndarray | None = None,
        skip: int = 0,
    ) -> Iterator[tuple[np.ndarray, ...]]:
        """Yield tuples of arrays: the rows of a mask (n_rows,), or all, after `skip` rows."""
        for first, length, read in self.parts(chunk_rows, rng):
            mask = None
            count = length
            if chosen is not None:
                mask = chosen[first : first + length]
                count = np.count_nonzero(mask)
            if skip >= count:
                skip -= count
                continue
            yield tuple(array[skip:] for array in read(mask))
            skip = 0


class ArraySource(Source):
    """Rows of arrays or memory maps that share their first axis."""

    def __init__(self, arrays: Sequence[np.ndarray], columns: list[Column]) -> None:
        self.arrays = arrays
        self.columns = columns
        self.n_rows, self.n_features = arrays[0].shape

    def parts(
        self, chunk_rows: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[int, int, Callable]]:
        """Yield contiguous chunks."""
        for first, last in _chunks(self.n_rows, chunk_rows, rng):
            chunk = tuple(array[first:last] for array in self.arrays)
            yield first, last - first, lambda mask, chunk=chunk: _masked(chunk, mask)


class DatasetSource(Source):
    """Rows of a torch data set with a length."""

    def __init__(self, dataset: Any, dtype: torch.dtype) -> None:
        self.n_rows = _length(dataset)
        self.dataset = dataset
        self.shape = first_row(dataset).shape
        self.n_features = int(np.prod(self.shape))
        self.columns = [Column((self.n_features,), dtype, dtype)]

    def parts(
        self, chunk_rows: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[int, int, Callable]]:
        """Yield chunks of successive items."""
        for first, last in _chunks(self.n_rows, chunk_rows, rng):
            yield (
                first,
                last - first,
                lambda mask, first=first, last=last: (self._read(first, last, mask),),
            )

    def _read(self, first: int, last: int, mask: np.ndarray | None) -> np.ndarray:
        """Items as an array of rows."""
        indices = list(range(first, last))
        if mask is not None:
            indices = (first + np.flatnonzero(mask)).tolist()
        if callable(getattr(self.dataset, "__getitems__", None)):
            items = self.dataset.__getitems__(indices)
        else:
            items = [self.dataset[index] for index in indices]
        return stack_items(items, self.shape)


class BlockSource(Source):
    """Rows of RowBlocks in their given order; a first pass counts and checks them."""

    def __init__(self, blocks: RowBlocks, dtype: torch.dtype) -> None:
        self.blocks = blocks
        self.n_rows = 0
        for block in blocks:
            check_finite(block)
            self.n_rows += len(block)
            self.n_features = block.shape[1]
        self.columns = [Column((self.n_features,), dtype, dtype)]

    def parts(
        self, chunk_rows: int, rng: np.random.Generator | None
    ) -> Iterator[tuple[int, int, Callable]]:
        """Yield the blocks."""
        first = 0
        with closing(iter(self.blocks)) as blocks:
            for block in blocks:
                if first + len(block) > self.n_rows or block.shape[1] != self.n_features:
                    raise self._changed(
                        f"{first + len(block)} or more, of {block.shape[1]} features"
                    )
                yield first, len(block), lambda mask, block=block: _masked((block,), mask)
                first += len(block)
        if first < self.n_rows:
            raise self._changed(str(first))

    def _changed(self, later: str) -> ValueError:
        return ValueError(
            f"X must give the same rows each time it is read; the first pass saw {self.n_rows} rows"
            f" of {self.n_features} features, a later one {later}."
        )


class Buffer:
    """Memory for a number of rows, which is filled several times.

    Parameters
    ----------
    columns : sequence of Column
    n_rows : int
    pinned : bool, default=False
        Whether a GPU can read it while the CPU continues.

    Attributes
    ----------
    tensors : tuple of Tensor of shape (n_rows, ...)
    read : torch.cuda.Event or None
        Event that must happen before the buffer can be filled again.
    """

    def __init__(self, columns: Sequence[Column], n_rows: int, *, pinned: bool = False) -> None:
        self.tensors = tuple(
            torch.empty((n_rows, *c.shape), dtype=c.stored, pin_memory=pinned) for c in columns
        )
        self.arrays = tuple(tensor.numpy() for tensor in self.tensors)
        self.n_rows = n_rows
        self.read = None

    def write(self, first: int, parts: Sequence[np.ndarray]) -> None:
        """Put rows, one array for each column, at index first."""
        for array, part in zip(self.arrays, parts):
            written = array[first : first + len(part)]
            with np.errstate(over="ignore"):  # an overflow is an infinity, which is checked next
                written[:] = part
            check_finite(written)


def filled_buffers(
    buffers: Sequence[Buffer], pieces: Iterator[tuple[np.ndarray, ...]]
) -> Generator[tuple[Buffer, int], None, None]:
    """Fill the buffers in turn with pieces, and yield (buffer, number of rows) for each."""
    rest = next(pieces, None)
    for buffer in itertools.cycle(buffers):
        if buffer.read is not None:
            buffer.read.synchronize()
        filled = 0
        while rest is not None and filled < buffer.n_rows:
            taken = min(buffer.n_rows - filled, len(rest[0]))
            buffer.write(filled, tuple(array[:taken] for array in rest))
            filled += taken
            if taken < len(rest[0]):
                rest = tuple(array[taken:] for array in rest)
            else:
                rest = next(pieces, None)
        if not filled:
            return
        yield buffer, filled


def one_ahead(items: Generator) -> Generator:
    """Yield the items of a generator, each produced in a background thread while the last is used.

    The generator is never more than one item ahead, and so may reuse the memory of an item for the
    second item after it. The thread ends with the iteration, or when this generator is closed.
    """
    executor = ThreadPoolExecutor(1, thread_name_prefix=THREAD_NAME)
    try:
        future = executor.submit(next, items, None)
        while (item := future.result()) is not None:
            future = executor.submit(next, items, None)
            yield item
    finally:
        # The garbage collector may close this from any thread; a thread cannot wait for itself.
        inside = threading.current_thread().name.startswith(THREAD_NAME)
        executor.shutdown(wait=not inside, cancel_futures=True)
        if not inside:
            items.close()


def check_finite(array: np.ndarray) -> None:
    """Raise unless all numbers of an array (n, ...) are finite."""
    if array.dtype.kind != "f":
        return
    step = max(1, CHECKED_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), step):
        block = array[first : first + step]
        finite = np.isfinite(block)
        if not finite.all():
            row = np.flatnonzero(~finite.reshape(len(block), -1).all(axis=1))[0]
            bad = block[row][~finite[row]].flat[0]
            raise ValueError(
                f"X must hold finite numbers; got {bad}, or more than its dtype holds; drop, clip"
                " or impute such rows."
            )


def as_row(item: Any) -> Any:
    """The row of an item of a data set as an array, before flattening.

    The row is the item itself, or the first entry of a tuple.
    """
    if isinstance(item, tuple):
        item = item[0]
    if isinstance(item, torch.Tensor):
        item = item.detach().cpu()
        if item.dtype == torch.bfloat16:
            item = item.float()
        return item.numpy()
    row = np.asarray(item)
    if row.dtype.kind not in "biuf":
        raise ValueError(
            "the items of X must be rows of real numbers, or tuples that start with one; got"
            f" {type(item).__name__}."
        )
    return row


def first_row(dataset: Any) -> Any:
    """Return the row of the first item of a data set, before flattening."""
    empty = "X must have at least one row; got a data set without any."
    if isinstance(dataset, IterableDataset):
        for item in dataset:
            return as_row(item)
        raise ValueError(empty)
    if not _length(dataset):
        raise ValueError(empty)
    return as_row(dataset[0])


def stack_items(items: Iterable, shape: Sequence[int]) -> np.ndarray:
    """Items of a data set, whose rows must have this shape, as an array of flat rows."""
    rows = [as_row(item) for item in items]
    for row in rows:
        if row.shape != shape:
            raise ValueError(
                f"the items of X must all have shape {shape}, like the first; got {row.shape}."
            )
    return np.stack(rows).reshape(len(rows), -1)


def _length(dataset: Any) -> int:
    try:
        return len(dataset)
    except TypeError as error:
        raise ValueError(
            "X must be a torch data set with a length, or an IterableDataset; got"
            f" {type(dataset).__name__}."
        ) from error


def _item_blocks(dataset: Iterable) -> Iterator[np.ndarray]:
    """Yield arrays of successive items."""
    items = iter(dataset)
    first = next(items, None)
    if first is None:
        return
    row = as_row(first)
    length = max(1, ITEM_BYTES // max(1, row.nbytes))
    items = itertools.chain([first], items)
    while block := list(itertools.islice(items, length)):
        yield stack_items(block, row.shape)


def _chunks(
    n_rows: int, chunk_rows: int, rng: np.random.Generator | None
) -> Iterator[tuple[int, int]]:
    """Yield the ends (first, last) of chunks of rows, in random order if there is a generator."""
    firsts = np.arange(0, n_rows, chunk_rows)
    if rng is not None:
        firsts = rng.permutation(firsts)
    for first in firsts.tolist():
        yield first, min(first + chunk_rows, n_rows)


def _masked(arrays: Sequence[np.ndarray], mask: np.ndarray | None) -> tuple[np.ndarray, ...]:
    """The rows of a mask, or all rows."""
    if mask is None:
        return tuple(arrays)
    return tuple(array[mask] for array in arrays)
