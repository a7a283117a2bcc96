"""Torch's global modes during the calls of a generator."""

import contextlib
import threading
from collections.abc import Iterator

import torch

_calls = threading.local()
_lock = threading.Lock()
_defaults: list[torch.dtype] = []  # the caller's default dtype, once for each call at work


@contextlib.contextmanager
def own_modes() -> Iterator[None]:
    """Run the block with gradients and float32 as the default dtype, and put back all modes after.

    An interrupt between the instructions of a `with` statement can leave the mode on that it was
    about to take back: gradients that are off, or a recorder of operations that has lost its end.
    A call inside of another one keeps the modes that it finds. The default dtype is that of all
    threads, so the last call to end puts it back.
    """
    if getattr(_calls, "is_inside", False):
        yield
        return
    _calls.is_inside = True
    with _lock:
        _defaults.append((_defaults or [torch.get_default_dtype()])[0])
        torch.set_default_dtype(torch.float32)
    has_gradients = torch.is_grad_enabled()
    n_functions = torch._C._len_torch_function_stack()
    n_dispatches = torch._C._len_torch_dispatch_stack()
    try:
        with torch.inference_mode(False):
            torch.set_grad_enabled(True)
            yield
    finally:
        while torch._C._len_torch_function_stack() > n_functions:
            torch._C._pop_torch_function_stack()
        while torch._C._len_torch_dispatch_stack() > n_dispatches:
            torch._C._pop_torch_dispatch_stack(None)
        torch.set_grad_enabled(has_gradients)
        with _lock:
            default = _defaults.pop()
            if not _defaults:
                torch.set_default_dtype(default)
        _calls.is_inside = False
