"""Threads of torch for a fit or a query: as many as its sizes repay.

Threads that share the products of a small network wait for each other longer than they compute, and
ten times as long where another program runs beside them. Their number depends on sizes alone, and
not on what else runs, since the order of sums depends on it: a fit that resumes keeps its bits.
"""

import contextlib
import threading
from collections.abc import Iterable, Iterator

import torch

PRODUCTS = 2.5e7  # multiplications of one pass through the networks that repay a thread

_lock = threading.Lock()
_limits: list[int] = []  # threads that the caller allows, for each body that runs
_depth = threading.local()


def count_products(networks: Iterable[torch.nn.Module], n_rows: int, n_features: int) -> int:
    """Return about how many multiplications one pass of rows through networks takes.

    Parameters
    ----------
    networks : iterable of torch.nn.Module
    n_rows : int
    n_features : int
        Convolutions are counted at as many places.

    Examples
    --------
    >>> count_products([torch.nn.Linear(4, 8), torch.nn.Conv2d(1, 2, 3)], 10, 16)
    3200
    """
    total = 0
    for network in networks:
        for parameter in network.parameters():
            if parameter.ndim == 2:
                total += parameter.numel()
            if parameter.ndim > 2:
                total += parameter.numel() * n_features
    return n_rows * total


@contextlib.contextmanager
def threads_for(n_products: float) -> Iterator[None]:
    """Run the body with one thread for each PRODUCTS multiplications, at least one.

    There are never more than before, and as many again afterwards. Bodies may be nested, and may
    overlap in several threads of Python.

    Parameters
    ----------
    n_products : float
        Multiplications of a pass, as `count_products` returns them.
    """
    with _lock:
        before = torch.get_num_threads()
        # A thread of Python that starts beside other bodies begins with their number.
        limit = before
        if _limits:
            limit = _limits[0]
        if not getattr(_depth, "value", 0):
            before = limit
        _limits.append(limit)
    _depth.value = getattr(_depth, "value", 0) + 1
    try:
        torch.set_num_threads(max(1, min(limit, int(n_products // PRODUCTS))))
        yield
    finally:
        _depth.value -= 1
        with _lock:
            _limits.pop()
            torch.set_num_threads(before)
