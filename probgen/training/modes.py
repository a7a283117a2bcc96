"""Torch's global modes during the calls of a generator."""

import contextlib
import threading
from collections.abc import Iterator

import torch

_calls = threading.local()


@contextlib.contextmanager
def own_modes() -> Iterator[None]:
    """Run the block with gradients, and leave torch's modes as they were, whatever happens.

    An interrupt between the instructions of a `with` statement can leave the mode on that it was
    about to take back: gradients that are off, or a recorder of operations that has lost its end.
    A call inside of another one keeps the modes that it finds.
    """
    if getattr(_calls, "is_inside", False):
        yield
        return
    _calls.is_inside = True
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
        _calls.is_inside = False
