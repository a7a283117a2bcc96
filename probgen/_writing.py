"""Files that are written whole or not at all."""

import contextlib
import os
import secrets


@contextlib.contextmanager
def written_whole(path):
    """Yield the path of a file beside path that takes its place if nothing is raised, and is removed otherwise."""
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
