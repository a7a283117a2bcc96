"""Output files: their names are checked, and they are written whole or not at all."""

import contextlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file in the folder of path.

    After the body, the file is flushed to the disk and renamed to path; if the body raises, the
    file is removed, and what was at path stays.
    """
    temporary = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield temporary
        _flush(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if os.name == "posix":
            _flush(path.parent, os.O_RDONLY)  # or the rename itself could be lost with the power
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path, flags: int) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_output(path: Path, formats: Sequence[str]) -> None:
    """Raise a ValueError unless path has a known ending and lies in a folder that exists."""
    if path.suffix.lower() not in formats:
        raise ValueError(f"the output must end in {listed(formats)}; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(
            f"the output's folder must exist; got {str(path)!r}; make it with `mkdir -p"
            f" {path.parent}`."
        )
    if path.is_dir():
        raise ValueError(f"the output must be a file; got the folder {str(path)!r}.")


def listed(formats: Sequence[str]) -> str:
    """The formats in words, such as ".npy, .npz or .csv"."""
    *others, last = formats
    if not others:
        return last
    return f"{', '.join(others)} or {last}"
