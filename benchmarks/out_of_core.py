"""Read a file larger than the memory that is allowed for it, in shuffled batches.

    python benchmarks/out_of_core.py [gigabytes] [budget in MiB]

One epoch of batches of 256 rows of 784 float32 features from a memory-mapped sparse file, 4 GiB
unless told otherwise, under a budget of 256 MiB. The bar: the anonymous memory that comes on top
stays below the budget, whatever the file's size. Beside it a plain sequential copy of the file, 1
MiB at a time, which knows no order but its own.
"""

import re
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from probgen.training.rows import open_rows

N_FEATURES, BATCH_SIZE = 784, 256
MIB = 2**20


class PeakMemory:
    """Track this process's anonymous memory in a thread; `extra` is the peak increase in bytes."""

    def __enter__(self):
        self.start, self.extra, self.done = anonymous_bytes(), 0, threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        self.thread.join()

    def _watch(self):
        while not self.done.wait(0.01):
            self.extra = max(self.extra, anonymous_bytes() - self.start)


def anonymous_bytes():
    """Memory of this process that no file backs."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * int(re.search(r"RssAnon:\s+(\d+) kB", status)[1])


def read_epoch(array, budget):
    """Rows, seconds and extra bytes of an epoch of shuffled batches."""
    rows = open_rows(array, memory_budget=budget)
    with PeakMemory() as memory:
        start = time.perf_counter()
        n_rows = sum(len(batch) for (batch,) in rows.batches(np.random.default_rng(0), BATCH_SIZE))
        seconds = time.perf_counter() - start
    assert rows.is_streamed
    assert n_rows == len(array)
    return n_rows, seconds, memory.extra


def copy_through(array):
    """Seconds of a sequential copy."""
    step = MIB // array[:1].nbytes
    chunk = np.empty((step, array.shape[1]), dtype=array.dtype)
    start = time.perf_counter()
    for first in range(0, len(array), step):
        part = array[first : first + step]
        chunk[: len(part)] = part
    return time.perf_counter() - start


def main(gigabytes, budget):
    """Print sizes, speeds and their ratio."""
    n_rows = int(gigabytes * 2**30) // (4 * N_FEATURES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.npy"
        array = np.lib.format.open_memmap(
            path, mode="w+", dtype=np.float32, shape=(n_rows, N_FEATURES)
        )
        array[-1] = 1.0
        array.flush()
        array = np.load(path, mmap_mode="r")
        read_epoch(array[: 4 * budget // array[:1].nbytes], budget)  # what is loaded on first use
        copy_through(array)  # as much of the file as fits is now in the system's cache, for both
        copy_seconds = copy_through(array)
        n_rows, seconds, extra = read_epoch(array, budget)
        print(f"file                        {path.stat().st_size / MIB:10.0f} MiB, {n_rows} rows")
        print(f"memory budget               {budget / MIB:10.0f} MiB")
        print(f"peak extra anonymous memory {extra / MIB:10.0f} MiB")
        print(
            f"shuffled batches            {n_rows / seconds:10.0f} rows/s, {seconds:.1f} s an epoch"
        )
        print(f"sequential copy             {n_rows / copy_seconds:10.0f} rows/s")
        print(f"ratio of seconds            {seconds / copy_seconds:10.2f}")


if __name__ == "__main__":
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 4.0,
        int(float(sys.argv[2]) * MIB) if len(sys.argv) > 2 else 256 * MIB,
    )
