"""Modules whose names load on first use, as PEP 562 allows."""

from collections.abc import Callable, Iterable, Mapping
from importlib import import_module
from typing import Any


def lazy_names(
    module: str, homes: Mapping[str, str], submodules: Iterable[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the `__getattr__` and the `__dir__` of a module.

    Parameters
    ----------
    module : str
        The module's `__name__`.
    homes : mapping of str to str
        From each public name to the module that defines it, without the prefix of `module`.
    submodules : iterable of str
        Public submodules.

    Examples
    --------
    >>> from probgen._lazy import lazy_names
    >>> get, _ = lazy_names("probgen", {"RowBlocks": "row_blocks"}, ["metrics"])
    >>> get("RowBlocks")
    <class 'probgen.row_blocks.RowBlocks'>
    """
    names = sorted([*homes, *submodules])

    def get(name: str) -> Any:
        if name in homes:
            return getattr(import_module(f"{module}.{homes[name]}"), name)
        if name in names:
            return import_module(f"{module}.{name}")
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    def listed() -> list[str]:
        return sorted({*vars(import_module(module)), *names})

    return get, listed
