"""Files that are written whole or not at all."""

import contextlib
import os
import secrets


@contextlib.contextmanager
def written_whole(path):
    """Yield the path of a file beside path that takes its place if nothing is raised, and is
    removed otherwise."""
    beside = path.with_name(f".{path.stem}.{secrets.token_hex(4)}{path.suffix}")
    try:
        yield beside
        _flush(beside, os.O_RDWR)
        os.replace(beside, path)
        if os.name == "posix":
            _flush(path.parent, os.O_RDONLY)  # or the rename itself may not outlive a loss of power
    finally:
        beside.unlink(missing_ok=True)


def _flush(path, flags):
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_output(path, formats):
    """Raise unless path can be written: a known ending, in a folder that exists."""
    if path.suffix.lower() not in formats:
        raise ValueError(f"the output must end in {listed(formats)}; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(
            f"the output's folder must exist; got {str(path)!r}; make it with `mkdir -p"
            f" {path.parent}`."
        )
    if path.is_dir():
        raise ValueError(f"the output must be a file; got the folder {str(path)!r}.")


def listed(formats):
    """The formats in words, such as ".npy, .npz or .csv"."""
    return formats[0] if len(formats) == 1 else f"{', '.join(formats[:-1])} or {formats[-1]}"
