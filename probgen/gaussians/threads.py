"""Threads over blocks of rows, each with a single-threaded BLAS."""

import os
import threading
from contextlib import contextmanager
from functools import lru_cache

from threadpoolctl import ThreadpoolController


class _Limit:
    """A process-wide limit of BLAS to one thread a call, until it is released.

    A thread of its own sets the limit and lifts it: threadpoolctl lets only the thread that set a
    limit lift it, and fits that share one may end in any order. Where BLAS has one thread anyway,
    nothing is set.
    """

    def __init__(self):
        self.n_threads = _threads_of_blas()
        self._keeper = None
        if self.n_threads == 1:
            return
        self._is_set = threading.Event()
        self._is_over = threading.Event()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        self._is_set.wait()

    def _keep(self):
        with _controller().limit(limits=1):
            self._is_set.set()
            self._is_over.wait()

    def release(self):
        """Give BLAS its threads back."""
        if self._keeper is not None:
            self._is_over.set()
            self._keeper.join()


_lock = threading.Lock()
_users: list[_Limit] = []


@contextmanager
def single_threaded_blas():
    """Limit BLAS to one thread a call; yield how many threads the caller may start itself.

    Concurrent fits share one limit: the first sets it, and the last to end lifts it.
    """
    with _lock:
        limit = _users[0] if _users else _Limit()
        _users.append(limit)
    try:
        yield limit.n_threads
    finally:
        with _lock:
            _users.pop()
            if not _users:
                limit.release()


def count_threads():
    """How many threads `single_threaded_blas` would yield, without setting the limit."""
    with _lock:
        if _users:
            return _users[0].n_threads
    return _threads_of_blas()


@lru_cache(maxsize=1)
def _controller():
    return ThreadpoolController().select(user_api="blas")


def _threads_of_blas():
    """Threads that BLAS would use, at most the number of processors.

    BLAS follows OMP_NUM_THREADS and joblib's limits.
    """
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        processors = os.cpu_count() or 1
    counts = [library.get_num_threads() for library in _controller().lib_controllers]
    return max(1, min([processors, *(count for count in counts if count)]))
