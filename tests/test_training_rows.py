"""Batches of rows: each row once, resumable anywhere, in bounded memory, from any source."""

import gc
import itertools
import re
import sys
import threading
import warnings
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from probgen import RowBlocks
from probgen.training.memory import default_budget
from probgen.training.rows import float_dtype, open_rows
from probgen.training.streams import THREAD_NAME, one_ahead

N, D = 1003, 3
X = np.arange(N * D, dtype=np.float32).reshape(N, D)  # row i holds 3i, 3i + 1, 3i + 2
SMALL = 6000  # bytes: a budget that X exceeds, with buffers of less than a tenth of its rows
MIB = 2**20


class Items(Dataset):
    """Rows of an array as items of a data set."""

    def __init__(self, array=X):
        self.array = array

    def __len__(self):
        return len(self.array)

    def __getitem__(self, index):
        return self.array[index]


class Pictures(Items):
    """Rows as pictures of one channel with a label beside."""

    def __getitem__(self, index):
        return torch.from_numpy(self.array[index]).reshape(1, 3, 1), "label"


class ManyItems(Items):
    """Rows that can only be asked for in lists, but for the first."""

    def __getitem__(self, index):
        if index:
            raise AssertionError("__getitems__ is there")
        return self.array[index]

    def __getitems__(self, indices):
        return list(self.array[indices])


class Stream(IterableDataset):
    """Rows that come one after the other."""

    def __init__(self, array=X):
        self.array = array

    def __iter__(self):
        return iter(self.array)


def mapped(folder, array=X, mode="r"):
    np.save(folder / "rows.npy", array)
    return np.load(folder / "rows.npy", mmap_mode=mode)


SOURCES = {
    "array": lambda folder: (X, None),
    "map": lambda folder: (mapped(folder), None),
    "small integers": lambda folder: (X.astype(np.int16), None),
    "items": lambda folder: (Pictures(), None),
    "streamed array": lambda folder: (X.astype(np.float64), SMALL),
    "streamed map": lambda folder: (mapped(folder), SMALL),
    "streamed integers": lambda folder: (mapped(folder, X.astype(np.int16)), SMALL),
    "streamed items": lambda folder: (Items(), SMALL),
    "blocks": lambda folder: (RowBlocks(np.array_split(X, 13)), SMALL),
    "stream": lambda folder: (Stream(), SMALL),
}


@pytest.fixture(params=SOURCES)
def rows(request, tmp_path):
    source, budget = SOURCES[request.param](tmp_path)
    opened = open_rows(source, memory_budget=budget)
    assert opened.is_streamed is (budget is not None)
    assert (opened.n_rows, opened.n_features, opened.dtype) == (N, D, torch.float32)
    return opened


@pytest.fixture(autouse=True)
def no_thread_stays():
    yield
    if threads_of_rows():
        gc.collect()  # a caught error may still hold the frames of its iteration
    assert not threads_of_rows()


def threads_of_rows():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREAD_NAME)]


def read(rows, seed=0, batch_size=16, **settings):
    """X of each batch of an epoch."""
    rng = None if seed is None else np.random.default_rng(seed)
    return [batch.numpy() for (batch,) in rows.batches(rng, batch_size, **settings)]


def given_order(rows):
    return np.concatenate(read(rows, None))


def by_row(array):
    """The rows sorted, for comparing them as a set with repeats."""
    return array[np.lexsort(array.T)]


def assert_same(mine, its):
    for a, b in zip(mine, its, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


class TestEverySource:
    def test_the_given_order_is_that_of_the_source(self, rows):
        batches = read(rows, None)
        np.testing.assert_array_equal(np.concatenate(batches), X)
        assert {batch.dtype for batch in batches} == {np.dtype(np.float32)}

    def test_batches_have_their_size(self, rows):
        assert [len(batch) for batch in read(rows)] == [16] * 62 + [11]
        assert (rows.n_batches(16), rows.n_batches(16, 2), rows.n_batches(N)) == (63, 32, 1)

    @pytest.mark.parametrize("batch_size", [16, 17, 1003, 2000])
    @pytest.mark.parametrize("rank, world_size", [(0, 1), (0, 3), (2, 3)])
    def test_sizes_of_batches_are_known_before(self, rows, batch_size, rank, world_size):
        ranks = {"rank": rank, "world_size": world_size}
        batches = rows.batches(np.random.default_rng(0), batch_size, **ranks)
        sizes = Counter(len(batch) for (batch,) in batches)
        assert rows.batch_sizes(batch_size, **ranks) == sizes

    def test_an_epoch_visits_each_row_once(self, rows):
        for batch_size in (1, 16, 700, N, 5000):
            epoch = np.concatenate(read(rows, batch_size=batch_size))
            np.testing.assert_array_equal(by_row(epoch), X)

    def test_order_follows_the_generator(self, rows):
        assert_same(read(rows, 1), read(rows, 1))
        assert not np.array_equal(np.concatenate(read(rows, 1)), np.concatenate(read(rows, 2)))
        rng = np.random.default_rng(0)
        first, second = (
            np.concatenate([b.numpy() for (b,) in rows.batches(rng, 16)]) for _ in range(2)
        )
        assert not np.array_equal(first, second)

    def test_the_generator_is_drawn_from_at_once(self, rows):
        rng, twin = np.random.default_rng(0), np.random.default_rng(0)
        late = rows.batches(rng, 16)
        rng.random()
        assert_same([b.numpy() for (b,) in late], [b.numpy() for (b,) in rows.batches(twin, 16)])

    @pytest.mark.parametrize("seed", [None, 3])
    def test_what_is_left_of_an_epoch_is_the_same_to_the_bit(self, rows, seed):
        for world_size in (1, 2):
            whole = read(rows, seed, rank=world_size - 1, world_size=world_size)
            for start in (0, 1, 3, 4, 5, 17, len(whole) - 1, len(whole)):
                rest = read(rows, seed, start=start, rank=world_size - 1, world_size=world_size)
                assert_same(rest, whole[start:])

    @pytest.mark.parametrize("seed", [None, 3])
    def test_shares_joined_are_the_batches_of_one(self, rows, seed):
        whole = read(rows, seed, 32)
        parts = [read(rows, seed, 16, rank=rank, world_size=2) for rank in range(2)]
        assert_same([np.concatenate(pair) for pair in zip(*parts, strict=True)], whole)
        of_three = [read(rows, seed, 16, rank=rank, world_size=3) for rank in range(3)]
        lengths = [[len(part) for part in rank] for rank in of_three]
        assert [rank[-1] for rank in lengths] == [15, 14, 14]  # 1003 = 20 * 48 + 43

    def test_batches_stay_as_they_were(self, rows):
        for seed in (None, 0):
            rng = None if seed is None else np.random.default_rng(seed)
            kept = [batch for (batch,) in rows.batches(rng, 16)]
            assert_same([batch.numpy() for batch in kept], read(rows, seed))

    def test_split_is_a_partition(self, rows):
        train, held_out = rows.split(0.1, np.random.default_rng(0))
        assert (train.n_rows, held_out.n_rows) == (903, 100)
        assert train.is_streamed == held_out.is_streamed == rows.is_streamed
        both = np.concatenate([given_order(train), given_order(held_out)])
        np.testing.assert_array_equal(by_row(both), X)
        np.testing.assert_array_equal(by_row(np.concatenate(read(train))), given_order(train))
        assert_same(read(train, 4, start=20), read(train, 4)[20:])

    def test_held_out_rows_keep_their_order(self, rows):
        _, held_out = rows.split(0.3, np.random.default_rng(0))
        kept = given_order(held_out)
        np.testing.assert_array_equal(kept, by_row(kept))
        assert not np.array_equal(kept, X[: len(kept)])

    def test_a_part_can_be_split(self, rows):
        rng = np.random.default_rng(0)
        train, _ = rows.split(0.5, rng)
        inner, outer = train.split(0.5, rng)
        both = np.concatenate([given_order(inner), given_order(outer)])
        np.testing.assert_array_equal(by_row(both), given_order(train))

    def test_an_iteration_can_end_early(self, rows):
        iterator = rows.batches(np.random.default_rng(0), 16)
        next(iterator)
        iterator.close()
        assert not threads_of_rows()

    def test_an_error_of_the_reader_ends_the_iteration(self, rows):
        def fail():
            for _ in rows.batches(np.random.default_rng(0), 16):
                raise KeyError("the step failed")

        with pytest.raises(KeyError, match="the step failed"):
            fail()
        gc.collect()
        assert not threads_of_rows()

    def test_threads_read_the_same(self, rows):
        alone = [read(rows, seed) for seed in range(4)]
        with ThreadPoolExecutor(4) as executor:
            for mine, its in zip(executor.map(lambda seed: read(rows, seed), range(4)), alone):
                assert_same(mine, its)


class TestSplit:
    @pytest.mark.parametrize(
        "fraction, n_out", [(0.0, 1), (0.04, 1), (0.26, 3), (0.5, 5), (1.0, 9)]
    )
    def test_sizes(self, fraction, n_out):
        train, held_out = open_rows(X[:10]).split(fraction, np.random.default_rng(0))
        assert (train.n_rows, held_out.n_rows) == (10 - n_out, n_out)

    def test_every_row_is_held_out_as_often(self, monkeypatch):
        monkeypatch.setattr("probgen.training.rows.MASK_ROWS", 4)  # parts of 4, 4 and 2 rows
        rng, rows = np.random.default_rng(0), open_rows(np.arange(10.0)[:, None])
        counts = np.zeros(10)
        for _ in range(2000):
            counts[given_order(rows.split(0.3, rng)[1]).astype(int).ravel()] += 1
        assert counts.sum() == 6000
        np.testing.assert_allclose(counts, 600, atol=5 * np.sqrt(2000 * 0.3 * 0.7))

    def test_one_row_cannot_be_split(self):
        rows = open_rows(X[:1])
        with pytest.raises(
            ValueError, match="X must hold at least 2 rows, for some to be held out; got 1"
        ):
            rows.split(0.1, np.random.default_rng(0))


class TestArrays:
    @pytest.mark.parametrize("dtype", "? b B h H i I l L e f d g >f4 >i2".split())
    @pytest.mark.parametrize("budget", [None, 100])
    def test_every_dtype_is_read(self, dtype, budget):
        array = (
            np.arange(600).reshape(200, 3) % 2
            + (dtype != "?") * np.arange(600).reshape(200, 3) % 100
        ).astype(dtype)
        for target, precision in ((torch.float32, np.float32), (torch.float64, np.float64)):
            rows = open_rows(array, dtype=target, memory_budget=budget)
            np.testing.assert_array_equal(given_order(rows), array.astype(precision))
            assert given_order(rows).dtype == precision
            np.testing.assert_array_equal(
                by_row(np.concatenate(read(rows))), by_row(array.astype(precision))
            )

    @pytest.mark.parametrize(
        "view", [X.T.copy().T, X[::-1], X[:, ::2], X[::3], np.broadcast_to(X[:1], (50, D))]
    )
    @pytest.mark.parametrize("budget", [None, 100])
    def test_every_layout_is_read(self, view, budget):
        np.testing.assert_array_equal(given_order(open_rows(view, memory_budget=budget)), view)

    def test_memory_is_shared_where_it_can_be(self, tmp_path):
        locked = X.copy()
        locked.flags.writeable = False
        for array in (X, locked, mapped(tmp_path), X.view()):
            ((batch,),) = open_rows(array, memory_budget=array.nbytes).batches(None, N)
            assert batch.data_ptr() == array.ctypes.data
        ((batch,),) = open_rows(X.astype(np.float64)).batches(None, N)
        assert batch.dtype == torch.float32

    def test_shared_memory_outlives_the_rows(self, tmp_path):
        ((batch,),) = open_rows(mapped(tmp_path)).batches(None, N)
        gc.collect()
        np.testing.assert_array_equal(batch.numpy(), X)

    def test_read_only_maps_do_not_warn(self, tmp_path):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for dtype in (torch.float32, torch.float64):
                read(open_rows(mapped(tmp_path), dtype=dtype))
        assert not caught

    def test_a_map_is_streamed_when_it_exceeds_the_budget(self, tmp_path):
        for array in (
            mapped(tmp_path),
            np.asarray(mapped(tmp_path))[1:],
        ):  # validation drops the subclass
            assert open_rows(array, memory_budget=array.nbytes - 1).is_streamed
            assert not open_rows(array, memory_budget=array.nbytes).is_streamed
        assert not open_rows(X, memory_budget=1).is_streamed  # it is in memory as it is
        assert open_rows(X, memory_budget=1, dtype=torch.float64).is_streamed

    @pytest.mark.parametrize("budget", [None, SMALL])
    def test_further_arrays_keep_to_their_rows(self, budget):
        labels, weights = np.arange(N, dtype=np.int32), np.arange(2.0 * N).reshape(N, 2)
        rows = open_rows(X.astype(np.float64), labels, weights, memory_budget=budget)
        for part in (rows, *rows.split(0.2, np.random.default_rng(0))):
            for batch, label, weight in part.batches(np.random.default_rng(0), 16):
                assert (label.dtype, weight.dtype) == (torch.int64, torch.float32)
                assert torch.equal(batch[:, 0], 3.0 * label)
                assert torch.equal(weight[:, 1], 2.0 * label + 1.0)

    def test_small_integers_stay_small(self):
        pictures = np.full((40, 5), 250, dtype=np.uint8)
        rows = open_rows(pictures, memory_budget=1)
        assert not rows.is_streamed
        assert rows.tensors[0].data_ptr() == pictures.ctypes.data
        assert [len(batch) for batch in read(rows)] == [16, 16, 8]

    def test_the_budget_is_a_part_of_what_there_is(self):
        total = default_budget(torch.device("cpu")) * 4
        assert 2**28 < total
        if sys.platform == "linux":
            kilobytes = re.search(
                r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text(encoding="ascii")
            )[1]
            assert total <= 1024 * int(kilobytes)


class TestStreams:
    @pytest.mark.parametrize("source", ["map", "items"])
    def test_chunks_and_buffers_mix_the_rows(self, source, tmp_path):
        index = np.arange(200_000, dtype=np.float64)[:, None]
        data = mapped(tmp_path, index) if source == "map" else Items(index)
        rows = open_rows(data, dtype=torch.float64, memory_budget=index.nbytes // 2)
        capacity, chunk_rows = rows._sizes(100, is_ordered=False)
        order = np.concatenate(read(rows, batch_size=100)).ravel()
        # Chunks in random order correlate with their positions as N(0, 1 / number of chunks).
        assert abs(np.corrcoef(order, index.ravel())[0, 1]) < 4.0 / np.sqrt(200_000 / chunk_rows)
        # The mean of a batch: of 100 uniform draws, around the mean of its buffer's chunks.
        truth = 200_000 / np.sqrt(12.0) * np.sqrt(1 / 100 + chunk_rows / capacity)
        assert order.reshape(-1, 100).mean(axis=1).std() == pytest.approx(truth, rel=0.15)

    def test_blocks_are_shuffled_within_buffers(self):
        rows = open_rows(RowBlocks([X]), memory_budget=SMALL)
        batches = read(rows)
        capacity, _ = rows._sizes(16, is_ordered=False)
        assert 4 * 16 <= capacity < N / 5
        assert capacity % 16 == 0
        epoch = np.concatenate(batches)
        for first in range(0, N, capacity):
            part = epoch[first : first + capacity]
            assert not np.array_equal(part, X[first : first + capacity])
            np.testing.assert_array_equal(by_row(part), X[first : first + capacity])

    def test_the_next_item_is_made_while_one_is_in_use(self):
        made = [threading.Event() for _ in range(4)]
        names = []

        def make():
            for i in range(3):
                names.append(threading.current_thread().name)
                made[i].set()
                yield i

        items = one_ahead(make())
        assert next(items) == 0
        assert made[1].wait(10.0)
        assert not made[2].wait(0.05)  # it may use the memory of the first
        assert list(items) == [1, 2]
        assert all(name.startswith(THREAD_NAME) for name in names)

    def test_the_source_is_closed_with_the_iteration(self):
        closed = threading.Event()

        def blocks():
            try:
                for _ in range(100):
                    yield X
            finally:
                closed.set()

        rows = open_rows(RowBlocks(blocks), memory_budget=SMALL)
        closed.clear()
        iterator = rows.batches(None, 16)
        next(iterator)
        assert not closed.is_set()
        iterator.close()
        assert closed.is_set()
        assert not threads_of_rows()

    def test_an_error_of_the_source_surfaces(self):
        class Broken(Items):
            def __getitem__(self, index):
                if index == 900:
                    raise OSError("the disk is gone")
                return super().__getitem__(index)

        rows = open_rows(Broken(), memory_budget=SMALL)
        with pytest.raises(OSError, match="the disk is gone"):
            read(rows)
        assert not threads_of_rows()

    @pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
    def test_memory_stays_flat(self, tmp_path):
        read(open_rows(X.astype(np.float64), memory_budget=SMALL))  # what is loaded on first use
        shape = (64 * MIB // 400, 100)
        array = np.memmap(tmp_path / "rows", dtype=np.float32, mode="w+", shape=shape)
        rows = open_rows(array, memory_budget=4 * MIB)
        assert rows.is_streamed
        before = peak = anonymous_bytes()
        n_rows = 0
        for (batch,) in rows.batches(np.random.default_rng(0), 64):
            n_rows += len(batch)
            peak = max(peak, anonymous_bytes())
        assert n_rows == len(array)
        assert peak - before < 4 * MIB + MIB  # the allocator's slack

    def test_large_blocks_pass_through_small_buffers(self):
        rows = open_rows(RowBlocks([X[:900], X[900:]]), memory_budget=1)
        assert rows._sizes(16, is_ordered=False)[0] == 64
        np.testing.assert_array_equal(by_row(np.concatenate(read(rows))), X)


def anonymous_bytes():
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


class TestDataSets:
    @pytest.mark.parametrize("budget", [None, SMALL])
    @pytest.mark.parametrize("kind", [Items, Pictures, ManyItems])
    def test_items_become_rows(self, kind, budget):
        rows = open_rows(kind(), memory_budget=budget)
        assert rows.is_streamed is (budget is not None)
        np.testing.assert_array_equal(given_order(rows), X)
        _, held_out = rows.split(0.1, np.random.default_rng(0))
        assert np.isin(given_order(held_out)[:, 0], X[:, 0]).all()

    def test_tensors_are_taken_whole(self):
        pictures = torch.arange(24).to(torch.uint8).reshape(4, 1, 2, 3)
        rows = open_rows(TensorDataset(pictures, torch.zeros(4)))
        np.testing.assert_array_equal(given_order(rows), np.arange(24).reshape(4, 6))

    def test_half_precision_is_read(self):
        for dtype in (torch.bfloat16, torch.float16):
            data = TensorDataset(torch.ones(5, 2, dtype=dtype))
            assert float_dtype(data) == np.float32
            np.testing.assert_array_equal(given_order(open_rows(data)), np.ones((5, 2)))

    def test_items_of_a_budget_are_read_once(self):
        class Counted(Items):
            n_reads = 0

            def __getitem__(self, index):
                self.n_reads += 1
                return super().__getitem__(index)

        data = Counted()
        rows = open_rows(data, memory_budget=X.nbytes)
        read(rows)
        assert data.n_reads == N + 1  # the first is looked at for its shape

    def test_scalars_and_lists_are_rows(self):
        np.testing.assert_array_equal(given_order(open_rows(Items([1.0, 2.0]))), [[1.0], [2.0]])
        np.testing.assert_array_equal(
            given_order(open_rows(Items([[1, 2], [3, 4]]))), [[1.0, 2.0], [3.0, 4.0]]
        )


@pytest.mark.parametrize(
    "make, dtype",
    [
        (lambda dtype: X.astype(dtype), None),
        (lambda dtype: RowBlocks([np.empty((0, D)), X.astype(dtype)]), None),
        (lambda dtype: RowBlocks(lambda: iter([X.astype(dtype)])), None),
        (lambda dtype: Items(X.astype(dtype)), None),
        (lambda dtype: Stream(X.astype(dtype)), None),
        (lambda dtype: TensorDataset(torch.from_numpy(X.astype(dtype))), None),
    ],
)
def test_precision_follows_the_data(make, dtype):
    assert float_dtype(make(np.float64)) == np.float64
    for dtype in (np.float32, np.float16, np.int64, np.uint8, bool):
        assert float_dtype(make(dtype)) == np.float32


@pytest.mark.parametrize("budget", [None, SMALL])
def test_double_precision_is_kept(budget):
    thirds = np.arange(N * D).reshape(N, D) / 3.0
    for data in (thirds, RowBlocks([thirds]), Items(thirds), Stream(thirds)):
        np.testing.assert_array_equal(
            given_order(open_rows(data, dtype=torch.float64, memory_budget=budget)), thirds
        )


class TestBadInput:
    @pytest.mark.parametrize(
        "data, message",
        [
            (X[:0], "X must have at least one row; got an array without any"),
            (RowBlocks([]), "X must have at least one row; got RowBlocks without any"),
            (
                RowBlocks(lambda: iter([X[:0]])),
                "X must have at least one row; got RowBlocks without any",
            ),
            (Items(X[:0]), "X must have at least one row; got a data set without any"),
            (
                TensorDataset(torch.empty(0, 1, 2, 2)),
                "X must have at least one row; got an array without any",
            ),
            (Stream([]), "X must have at least one row; got RowBlocks without any"),
            (RowBlocks([X, X[:, :2]]), "block 1 of X must have 3 features like the first; got 2"),
            (
                Items([X[0], X[0, :2]]),
                r"the items of X must all have shape \(3,\), like the first; got \(2,\)",
            ),
            (
                Stream([X[0], X[0, :2]]),
                r"the items of X must all have shape \(3,\), like the first; got \(2,\)",
            ),
            (
                Items(["word"]),
                (
                    "the items of X must be rows of real numbers, or tuples that start with one;"
                    " got str"
                ),
            ),
            (Items([X[0], [1.0, np.nan, 2.0]]), "X must hold finite numbers; got nan"),
            (
                Items([X[0], [1.0, 1e39, 2.0]]),
                "X must hold finite numbers; got inf, or more than its dtype holds",
            ),
            (
                TensorDataset(torch.tensor([[1.0], [-torch.inf]])),
                "X must hold finite numbers; got -inf",
            ),
            (RowBlocks([X, np.full((1, D), np.inf)]), "X must hold finite numbers; got inf"),
        ],
    )
    def test_wrong_rows_are_named(self, data, message):
        with pytest.raises(ValueError, match=message):
            open_rows(data)

    @pytest.mark.parametrize("data", [Items(X[:0]), Stream([])])
    def test_no_rows_have_no_precision(self, data):
        with pytest.raises(
            ValueError, match="X must have at least one row; got a data set without any"
        ):
            float_dtype(data)

    def test_a_further_array_of_another_length(self):
        with pytest.raises(
            ValueError, match="further arrays must have 1003 rows, like X; got one of 7"
        ):
            open_rows(X, np.zeros(7))

    def test_further_arrays_need_an_array(self):
        with pytest.raises(
            ValueError,
            match="further arrays, such as labels, need X as an array; got X of RowBlocks",
        ):
            open_rows(RowBlocks([X]), np.zeros(N))

    def test_a_data_set_without_length(self):
        class Endless(Dataset):
            def __getitem__(self, index):
                return X[0]

        with pytest.raises(
            ValueError, match="data set with a length, or an IterableDataset; got Endless"
        ):
            open_rows(Endless())

    def test_a_data_set_that_is_read_once(self):
        class Once(IterableDataset):
            items = iter(X)

            def __iter__(self):
                return self.items

        with pytest.raises(
            ValueError, match="X can be read only once, but a fit reads it many times; got Once"
        ):
            open_rows(Once())

    def test_something_else(self):
        with pytest.raises(
            TypeError, match="X must be an ndarray, RowBlocks or a torch data set; got str"
        ):
            open_rows("rows")

    @pytest.mark.parametrize("later", [[X[:100]], [X, X], [X[:, :2]], [X[:100], X[:, :2]]])
    def test_blocks_that_change(self, later):
        passes = itertools.chain([[X]], itertools.repeat(later))
        rows = open_rows(RowBlocks(lambda: iter(next(passes))), memory_budget=SMALL)
        with pytest.raises(
            ValueError,
            match=r"X must give the same rows each time|must have 3 features|must have 2",
        ):
            read(rows)

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
    def test_numbers_that_stop_being_finite(self, bad):
        changed = X.astype(np.float64)
        passes = itertools.chain(
            [[changed]], itertools.repeat([np.where(changed == 2700, bad, changed)])
        )
        rows = open_rows(RowBlocks(lambda: iter(next(passes))), memory_budget=SMALL)
        with pytest.raises(ValueError, match=f"X must hold finite numbers; got {bad}"):
            read(rows)

    def test_a_map_with_a_hole(self, tmp_path):
        rows = open_rows(mapped(tmp_path, np.where(X == 2700, np.nan, X)), memory_budget=SMALL)
        with pytest.raises(ValueError, match="X must hold finite numbers; got nan"):
            read(rows)

    def test_an_overflow_of_single_precision(self):
        rows = open_rows(np.full((N, D), 1e300), memory_budget=SMALL)
        with pytest.raises(
            ValueError, match="X must hold finite numbers; got inf, or more than its dtype holds"
        ):
            read(rows)


@pytest.mark.gpu
class TestGpu:
    @pytest.mark.parametrize("budget", [None, SMALL])
    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
    def test_batches_are_those_of_the_cpu(self, budget, dtype):
        array, labels = (X % 200).astype(dtype), np.arange(N)
        on_cpu, on_gpu = (
            open_rows(
                array.astype(np.float64),
                labels,
                device=device,
                memory_budget=SMALL if budget else None,
            )
            for device in ("cpu", "cuda")
        )
        assert on_gpu.is_streamed is (budget is not None)
        for seed in (None, 0):
            pair = [
                rows.batches(None if seed is None else np.random.default_rng(seed), 16)
                for rows in (on_cpu, on_gpu)
            ]
            for mine, its in zip(*pair, strict=True):
                for a, b in zip(mine, its):
                    assert b.is_cuda
                    assert torch.equal(a, b.cpu())

    def test_a_buffer_is_not_filled_before_it_was_read(self):
        array = np.random.default_rng(0).standard_normal((40_000, 100)).astype(np.float32)
        rows = open_rows(array, device="cuda", memory_budget=MIB)
        assert rows.is_streamed
        kept = []
        for (batch,) in rows.batches(np.random.default_rng(0), 64):
            torch.cuda._sleep(100_000)  # the device falls behind
            kept.append(batch)
        np.testing.assert_array_equal(by_row(torch.cat(kept).cpu().numpy()), by_row(array))
