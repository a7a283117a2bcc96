"""Threads over blocks of rows, each with a single-threaded BLAS."""

import os
import threading
from contextlib import contextmanager

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_state = {"users": 0, "limiter": None, "threads": None, "controller": None}


def _controller():
    if _state["controller"] is None:
        _state["controller"] = ThreadpoolController().select(user_api="blas")
    return _state["controller"]


def _count_threads():
    """Threads that BLAS would use, which follows OMP_NUM_THREADS and joblib's limits, and at most the processors."""
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS and Windows
        processors = os.cpu_count() or 1
    counts = [library.get_num_threads() for library in _controller().lib_controllers]
    return max(1, min([processors, *(count for count in counts if count)]))


@contextmanager
def single_threaded_blas():
    """Hold BLAS to one thread a call; yields how many threads the caller may start itself.

    The limit is process-wide, so that concurrent fits share it: the first sets it and the last restores it.
    """
    with _lock:
        if not _state["users"]:
            _state["threads"] = _count_threads()
            _state["limiter"] = _controller().limit(limits=1)
            _state["limiter"].__enter__()
        _state["users"] += 1
        threads = _state["threads"]
    try:
        yield threads
    finally:
        with _lock:
            _state["users"] -= 1
            if not _state["users"]:
                _state["limiter"].__exit__(None, None, None)
                _state["limiter"] = None
