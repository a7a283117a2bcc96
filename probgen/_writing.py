"""Output files: their names are checked, and they are written whole or not at all."""

import contextlib
import os
import re
import secrets
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 143  # bytes of a temporary file's; encrypted file systems allow no more
FLUSHED = os.O_RDWR  # how a file is opened to be flushed; on POSIX reading will do
if os.name == "posix":
    FLUSHED = os.O_RDONLY
N_RANDOM = 4  # bytes that make its name unique
IRREGULAR = {
    stat.S_IFDIR: "folder",
    stat.S_IFIFO: "named pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield the path of a temporary file, which takes the place of path after the body.

    The file is flushed to the disk and then renamed; if the body raises, it is removed, and what
    was at path stays. A file that is replaced hands on its mode, and a symbolic link stays, as its
    target is replaced. The files of writers that were killed are removed first. A ValueError is
    raised if there is something other than a regular file at path.
    """
    check_regular(path)
    path = Path(os.path.realpath(path))
    remove_unfinished(path)
    temporary, descriptor = _create(path)
    try:
        yield temporary
        _take_mode(temporary, path)
        _flush(temporary, FLUSHED)
        os.replace(temporary, path)
        if os.name == "posix":
            _flush(path.parent, os.O_RDONLY)  # or the rename itself could be lost with the power
    finally:
        temporary.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files for path whose writers were killed, where the system can tell.

    A writer locks its file, and the lock ends with its process.
    """
    if fcntl is None:
        return
    prefix, suffix = _name_parts(path)
    name = re.compile(rf"{re.escape(prefix)}[0-9a-f]+{re.escape(suffix)}")
    with contextlib.suppress(OSError):  # a folder that cannot be read
        for entry in os.scandir(path.parent):
            if name.fullmatch(entry.name):
                _remove_unless_locked(entry.path)


def _create(path: Path) -> tuple[Path, int | None]:
    """A new temporary file for path, and a descriptor that holds its lock."""
    prefix, suffix = _name_parts(path)
    while True:
        temporary = path.with_name(f"{prefix}{secrets.token_hex(N_RANDOM)}{suffix}")
        # Only the owner may read what is to replace a file that perhaps only the owner may read.
        mode = 0o666
        if path.exists():
            mode = 0o600
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode)
        if fcntl is None:
            os.close(descriptor)
            return temporary, None
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if temporary.exists():
            return temporary, descriptor
        os.close(descriptor)  # another writer removed it before it was locked


def _remove_unless_locked(path: str) -> None:
    """Remove a file that no process has locked, if this one may."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.unlink(path)
    except OSError:
        pass
    finally:
        os.close(descriptor)


def _name_parts(path: Path) -> tuple[str, str]:
    """How the names of temporary files for path begin and end, short however long its name is."""
    stem, suffix = path.stem, path.suffix
    room = LONGEST_NAME - 2 * N_RANDOM - len("..")
    if len(os.fsencode(suffix)) > room // 2:
        stem, suffix = path.name, ""
    kept = os.fsencode(stem)[: room - len(os.fsencode(suffix))].decode("utf-8", "ignore")
    return f".{kept}.", suffix


def _take_mode(temporary: Path, path: Path) -> None:
    """Give a temporary file the mode of the file that it is to replace, if there is one."""
    with contextlib.suppress(FileNotFoundError):
        os.chmod(temporary, stat.S_IMODE(os.stat(path).st_mode))


def _flush(path: Path, flags: int) -> None:
    """Wait until a file or folder is on the disk."""
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def check_regular(path: Path, name: str = "the output") -> None:
    """Raise a ValueError if there is a folder, a device or the like at path."""
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except OSError:
        return  # nothing is there, or writing will say why it cannot be reached
    if kind != stat.S_IFREG:
        raise ValueError(
            f"{name} must be a file; got the {IRREGULAR.get(kind, 'special file')} {str(path)!r};"
            " give another name."
        )


def check_output(path: Path, formats: Sequence[str]) -> None:
    """Raise a ValueError unless path has a known ending and lies in a folder that exists."""
    if path.suffix.lower() not in formats:
        raise ValueError(f"the output must end in {listed(formats)}; got {str(path)!r}.")
    if not path.parent.is_dir():
        raise ValueError(
            f"the output's folder must exist; got {str(path)!r}; make it with `mkdir -p"
            f" {path.parent}`."
        )
    check_regular(path)


def listed(formats: Sequence[str]) -> str:
    """The formats in words, such as ".npy, .npz or .csv"."""
    *others, last = formats
    if not others:
        return last
    return f"{', '.join(others)} or {last}"
