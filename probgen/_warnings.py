"""Warnings that point at the caller's code."""

import contextlib
import os
import sys
import warnings
from collections.abc import Iterator
from contextvars import ContextVar

_places: ContextVar[set | None] = ContextVar("places", default=None)
_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Issue a warning that points at the first frame outside this package."""
    frame = sys._getframe(1)
    places, place = _places.get(), (frame.f_code, frame.f_lineno)
    if places is not None:
        if place in places:
            return
        places.add(place)
    stacklevel = 2  # the caller of this function; 1 is this function itself
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
        stacklevel += 1
    warnings.warn(message, category, stacklevel=stacklevel)


@contextlib.contextmanager
def each_place_once() -> Iterator[None]:
    """Let each place of the package warn once in the block, which calls it over and over."""
    token = _places.set(set())
    try:
        yield
    finally:
        _places.reset(token)
