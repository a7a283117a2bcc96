"""Rows for training, in batches of tensors: on the device if they fit, else streamed."""

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, TensorDataset

from probgen.row_blocks import RowBlocks, read_block
from probgen.training.memory import default_budget, is_mapped, is_shared, to_tensor
from probgen.training.streams import (
    ArraySource,
    Buffer,
    Column,
    DatasetSource,
    Source,
    as_row,
    check_finite,
    filled_buffers,
    first_row,
    one_ahead,
    open_source,
)

MIB = 2**20
LARGEST_BUFFER = 256 * MIB
ORDERED_BUFFER = 8 * MIB  # without shuffling, a large buffer has no use
LEAST_BATCHES = 4  # in a buffer that is shuffled
LARGEST_CHUNK = MIB // 2
CHUNKS_PER_BUFFER = 64
MASK_ROWS = 10**6  # part of the rows in which held-out rows are drawn at a time
# Rows of these types take at most half the memory of floats; batches are converted instead.
SMALL = {
    np.dtype(name): getattr(torch, name) for name in ("bool", "uint8", "int8", "int16", "float16")
}


def open_rows(
    *arrays: Any,
    device: str | torch.device = "cpu",
    dtype: torch.dtype = torch.float32,
    memory_budget: int | None = None,
) -> "Rows":
    """Return the Rows of X and of further arrays of the same length.

    Parameters
    ----------
    *arrays : X, then ndarrays of shape (n,) or (n, k)
        X is a validated real ndarray of shape (n, d), perhaps a memory map; a RowBlocks; or a torch
        data set, whose items are rows, images (which are flattened), or tuples that start with one.
        Further arrays, such as labels, need X to be an ndarray; integers become int64 tensors.
    device : str, default="cpu"
        Device of the batches.
    dtype : torch.dtype, default=torch.float32
        Type of floating batches.
    memory_budget : int, default=None
        Bytes of the device that rows may take. None takes a quarter of the machine's memory, or
        half of the free memory of a GPU. Rows that exceed it are streamed: they are read a buffer
        at a time, the next one in a background thread while one is used, in about half of the
        budget and at most 512 MiB. A contiguous array in memory of the right dtype takes no further
        memory on a CPU; blocks and data sets without a length are always streamed.

    Returns
    -------
    rows : Rows

    Raises
    ------
    ValueError
        If there are no rows, rows of unequal width, arrays of unequal length, or numbers in blocks
        and data sets that are not finite; while reading, if blocks differ from those of the first
        pass.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen.training.rows import open_rows
    >>> rows = open_rows(np.arange(10.0).reshape(5, 2))
    >>> [len(batch) for (batch,) in rows.batches(np.random.default_rng(0), 2)]
    [2, 2, 1]
    """
    X, *further = arrays
    device = torch.device(device)
    budget = memory_budget
    if budget is None:
        budget = default_budget(device)
    if isinstance(X, TensorDataset):
        X = as_row(X.tensors[0])
        X = X.reshape(len(X), math.prod(X.shape[1:]))
        check_finite(X)
    if isinstance(X, np.ndarray):
        return _open_arrays([X, *further], device, dtype, budget)
    if further:
        raise ValueError(
            f"further arrays, such as labels, need X as an array; got X of {type(X).__name__}."
        )
    source = open_source(X, dtype)
    rows = StreamedRows(source, device, min(budget // 4, LARGEST_BUFFER))
    if isinstance(source, DatasetSource) and source.n_rows * source.columns[0].n_bytes <= budget:
        return rows.held()
    return rows


def float_dtype(X: Any) -> type:
    """Return numpy's float64 for an array, RowBlocks or torch data set of doubles, else float32."""
    if isinstance(X, TensorDataset):
        dtype = as_row(X.tensors[0][:0]).dtype
    elif isinstance(X, Dataset):
        dtype = first_row(X).dtype
    elif isinstance(X, RowBlocks):
        blocks = X.blocks
        if callable(blocks):
            blocks = blocks()
        arrays = map(read_block, blocks, itertools.count())
        dtype = next((array.dtype for array in arrays if array.size), np.dtype(np.float32))
    else:
        dtype = np.asarray(X).dtype
    if dtype.kind == "f" and dtype.itemsize >= 8:
        return np.float64
    return np.float32


class Rows:
    """Rows that a training reads in every epoch.

    Attributes
    ----------
    n_rows, n_features : int
    dtype : torch.dtype
        Of floating batches.
    is_streamed : bool
        Whether the rows are read while they are used, and not kept in memory.
    """

    n_rows: int
    n_features: int
    dtype: torch.dtype
    is_streamed = False

    def n_batches(self, batch_size: int, world_size: int = 1) -> int:
        """Return the number of batches of an epoch."""
        return -(-self.n_rows // (batch_size * world_size))

    def batch_sizes(self, batch_size: int, *, rank: int = 0, world_size: int = 1) -> dict[int, int]:
        """Return the number of batches of an epoch by their number of rows, as a dict of int."""
        n_full = self.n_rows // (batch_size * world_size)
        sizes = {}
        if n_full:
            sizes[batch_size] = n_full
        for first, last in _shares(self.n_rows, batch_size, n_full, rank, world_size):
            sizes[last - first] = sizes.get(last - first, 0) + 1
        return sizes

    def batches(
        self,
        rng: np.random.Generator | None,
        batch_size: int,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Return an iterator over the batches of an epoch, tuples of tensors on the device.

        Parameters
        ----------
        rng : numpy Generator or None
            Shuffles; its numbers are drawn in the call. None keeps the order, and may give views of
            the data, which must not be written to.
        batch_size : int
            Rows of a batch, in each process; the last batch may be smaller.
        start : int, default=0
            Batches to skip; the remaining ones are those of a whole epoch.
        rank, world_size : int, default=0 and 1
            This process among those that share each batch of batch_size * world_size rows. Its
            share is contiguous and may be empty; if a last batch cannot be shared evenly, the first
            processes take one row more.
        """
        raise NotImplementedError

    def split(self, fraction: float, rng: np.random.Generator) -> tuple["Rows", "Rows"]:
        """Return the rows to train on and those held out, a fraction drawn by rng.

        Either part has at least one row.
        """
        if self.n_rows < 2:
            raise ValueError(
                f"X must hold at least 2 rows, for some to be held out; got {self.n_rows}."
            )
        n_out = min(max(round(fraction * self.n_rows), 1), self.n_rows - 1)
        mask = _draw_mask(self.n_rows, n_out, rng)
        return self._take(~mask), self._take(mask)

    def _take(self, mask: np.ndarray) -> "Rows":
        """The rows of a mask (n_rows,)."""
        raise NotImplementedError


class HeldRows(Rows):
    """Rows that are on the device as a whole.

    Parameters
    ----------
    tensors : sequence of Tensor of shape (n, ...)
    dtypes : sequence of torch.dtype
        Types in batches.
    index : int64 Tensor, optional
        Indices of the rows among those of the tensors.
    """

    def __init__(
        self,
        tensors: Sequence[torch.Tensor],
        dtypes: Sequence[torch.dtype],
        index: torch.Tensor | None = None,
    ) -> None:
        self.tensors = tensors
        self.dtypes = dtypes
        self.index = index
        self.n_rows = len(tensors[0]) if index is None else len(index)
        self.n_features = tensors[0].shape[1]
        self.dtype = dtypes[0]

    def batches(
        self,
        rng: np.random.Generator | None,
        batch_size: int,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """See Rows."""
        order = self.index
        if rng is not None:
            order = torch.from_numpy(rng.permutation(self.n_rows)).to(self.tensors[0].device)
            if self.index is not None:
                order = self.index[order]
        shares = _shares(self.n_rows, batch_size, start, rank, world_size)
        return _slices(self.tensors, self.dtypes, order, shares)

    def _take(self, mask: np.ndarray) -> "Rows":
        index = torch.from_numpy(np.flatnonzero(mask)).to(self.tensors[0].device)
        if self.index is not None:
            index = self.index[index]
        return HeldRows(self.tensors, self.dtypes, index)


class StreamedRows(Rows):
    """Rows that are read while they are used, in buffers that are shuffled.

    Parameters
    ----------
    source : Source
    device : torch.device
    buffer_bytes : int
        Size of each of the two buffers.
    chosen : boolean ndarray of shape (source.n_rows,), optional
        Mask of the rows among those of the source.
    """

    is_streamed = True

    def __init__(
        self,
        source: Source,
        device: torch.device,
        buffer_bytes: int,
        chosen: np.ndarray | None = None,
    ) -> None:
        self.source = source
        self.device = device
        self.buffer_bytes = buffer_bytes
        self.chosen = chosen
        self.n_rows = source.n_rows if chosen is None else int(np.count_nonzero(chosen))
        self.n_features = source.n_features
        self.dtype = source.columns[0].dtype

    def batches(
        self,
        rng: np.random.Generator | None,
        batch_size: int,
        *,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """See Rows."""
        key = None if rng is None else rng.integers(2**63, size=4).tolist()
        return self._stream(key, batch_size, start, rank, world_size)

    def held(self) -> HeldRows:
        """Read the rows once, and return them on the device as a whole."""
        columns = self.source.columns
        capacity, chunk_rows = self._sizes(1, is_ordered=True)
        tensors = [
            torch.empty((self.n_rows, *c.shape), dtype=c.stored, device=self.device)
            for c in columns
        ]
        first = 0
        pieces = self.source.pieces(chunk_rows, chosen=self.chosen)
        for buffer, n_rows in filled_buffers([Buffer(columns, min(capacity, self.n_rows))], pieces):
            for tensor, part in zip(tensors, buffer.tensors):
                tensor[first : first + n_rows].copy_(part[:n_rows])
            first += n_rows
        return HeldRows(tensors, [column.dtype for column in columns])

    def _stream(
        self, key: list[int] | None, batch_size: int, start: int, rank: int, world_size: int
    ) -> Iterator[tuple[torch.Tensor, ...]]:
        """Yield batches, which are copies, in an order drawn from key; None keeps the order."""
        capacity, chunk_rows = self._sizes(batch_size * world_size, is_ordered=key is None)
        first, start = divmod(start, capacity // (batch_size * world_size))
        rng = None
        if key is not None:
            rng = np.random.default_rng([*key, 0])
        pieces = self.source.pieces(chunk_rows, rng, chosen=self.chosen, skip=first * capacity)
        is_cuda = self.device.type == "cuda"
        size = min(capacity, self.n_rows)
        n_buffers = 1
        if size < self.n_rows:
            n_buffers = 2
        buffers = [Buffer(self.source.columns, size, pinned=is_cuda) for _ in range(n_buffers)]
        dtypes = [column.dtype for column in self.source.columns]
        with closing(one_ahead(filled_buffers(buffers, pieces))) as filled:
            for number, (buffer, n_rows) in enumerate(filled, first + 1):
                tensors = [
                    tensor[:n_rows].to(self.device, non_blocking=True) for tensor in buffer.tensors
                ]
                if is_cuda:
                    buffer.read = torch.cuda.Event()
                    buffer.read.record(torch.cuda.current_stream(self.device))
                order = np.arange(n_rows)
                if key is not None:
                    order = np.random.default_rng([*key, number]).permutation(n_rows)
                order = torch.from_numpy(order).to(self.device)
                shares = _shares(n_rows, batch_size, start, rank, world_size)
                yield from _slices(tensors, dtypes, order, shares)
                start = 0

    def _sizes(self, global_batch: int, *, is_ordered: bool) -> tuple[int, int]:
        """Rows of a buffer, which is a whole number of batches, and of a chunk."""
        row_bytes = sum(column.n_bytes for column in self.source.columns)
        n_bytes = self.buffer_bytes
        least = LEAST_BATCHES
        if is_ordered:
            n_bytes = min(n_bytes, ORDERED_BUFFER)
            least = 1
        wanted = n_bytes // (row_bytes + 8)  # the order takes 8 bytes a row
        capacity = max(wanted // global_batch, least) * global_batch
        chunk_bytes = min(LARGEST_CHUNK, capacity * row_bytes // CHUNKS_PER_BUFFER)
        return capacity, max(1, chunk_bytes // row_bytes)

    def _take(self, mask: np.ndarray) -> "Rows":
        chosen = mask
        if self.chosen is not None:
            chosen = self.chosen.copy()
            chosen[self.chosen] = mask
        return StreamedRows(self.source, self.device, self.buffer_bytes, chosen)


def _open_arrays(
    arrays: Sequence[np.ndarray], device: torch.device, dtype: torch.dtype, budget: int
) -> "Rows":
    """Rows of X and further arrays."""
    X = arrays[0]
    if not len(X):
        raise ValueError("X must have at least one row; got an array without any.")
    for array in arrays[1:]:
        if len(array) != len(X):
            raise ValueError(
                f"further arrays must have {len(X)} rows, like X; got one of {len(array)}."
            )
    columns = [Column(X.shape[1:], SMALL.get(X.dtype, dtype), dtype)]
    for array in arrays[1:]:
        stored = torch.int64
        if array.dtype.kind == "f":
            stored = dtype
        columns.append(Column(array.shape[1:], stored, stored))
    if is_mapped(X):
        needed = X.nbytes
    elif is_shared(X, columns[0].stored, device):
        needed = 0
    else:
        needed = len(X) * columns[0].n_bytes
    if needed > budget:
        return StreamedRows(ArraySource(arrays, columns), device, min(budget // 4, LARGEST_BUFFER))
    tensors = [to_tensor(array, column.stored, device) for array, column in zip(arrays, columns)]
    return HeldRows(tensors, [column.dtype for column in columns])


def _slices(
    tensors: Sequence[torch.Tensor],
    dtypes: Sequence[torch.dtype],
    order: torch.Tensor | None,
    shares: Iterable[tuple[int, int]],
) -> Iterator[tuple[torch.Tensor, ...]]:
    """Yield tuples of the rows order[a:b] of the tensors, or of their rows [a:b] without order."""
    are_ready = all(tensor.dtype == dtype for tensor, dtype in zip(tensors, dtypes))
    for first, last in shares:
        if order is None:
            batch = tuple([tensor[first:last] for tensor in tensors])
        else:
            index = order[first:last]
            batch = tuple([tensor.index_select(0, index) for tensor in tensors])
        if not are_ready:
            batch = tuple([part.to(dtype) for part, dtype in zip(batch, dtypes)])
        yield batch


def _shares(
    n_rows: int, batch_size: int, start: int, rank: int, world_size: int
) -> Iterator[tuple[int, int]]:
    """Yield the ends of this rank's share of each batch."""
    whole = batch_size * world_size
    for first in range(start * whole, n_rows, whole):
        least, extra = divmod(min(whole, n_rows - first), world_size)
        first += rank * least + min(rank, extra)
        yield first, first + least + (rank < extra)


def _draw_mask(n_rows: int, n_chosen: int, rng: np.random.Generator) -> np.ndarray:
    """A mask (n_rows,) of n_chosen rows, drawn uniformly in little more memory than the mask."""
    sizes = np.full(-(-n_rows // MASK_ROWS), MASK_ROWS)
    sizes[-1] = n_rows - sizes[:-1].sum()
    counts = rng.multivariate_hypergeometric(sizes, n_chosen, method="marginals")
    mask = np.zeros(n_rows, dtype=bool)
    for part, size, count in zip(range(0, n_rows, MASK_ROWS), sizes, counts):
        mask[part + rng.choice(size, count, replace=False)] = True
    return mask
