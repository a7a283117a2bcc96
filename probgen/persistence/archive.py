"""One value in one file: a zip of JSON and safetensors, which holds no code.

`probgen.json` contains the versions and the structure, `arrays.safetensors` the numbers. Both are
stored without compression, and the comment of the zip is the SHA-256 of the two.

In the structure a plain number, text or None is written as itself. Anything else is a JSON object
whose first key is its kind, such as {"tuple": [1, 2]}. A value that occurs several times has an
"id" in the first place and is {"ref": id} in the others. Nothing that a file names is ever called:
an object is created by `__new__` of an allowed class, and then given its state.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import safetensors.numpy

from probgen import __version__
from probgen._writing import atomic_write
from probgen.exceptions import FileFormatError
from probgen.persistence.decoding import decode
from probgen.persistence.encoding import encode
from probgen.persistence.migrations import MIGRATIONS

FORMAT = 2
DOCUMENT = "probgen.json"
ARRAYS = "arrays.safetensors"
# Letters of messages that a file may determine.
LONGEST_REASON = 300
LONGEST_VERSION = 20
LIBRARIES = {"numpy": "numpy", "sklearn": "scikit-learn", "torch": "torch"}


def write_archive(path: str | os.PathLike, value: Any, *, kind: str) -> None:
    """Write a value to a file, whole or not at all.

    Parameters
    ----------
    path : str or path
    value : object
        Anything that `probgen.persistence.encoding.encode` accepts.
    kind : str
        Kind of the file, such as "estimator", which readers check.

    Raises
    ------
    ValueError
        If a part of value cannot be stored; path is not touched.
    OSError
        If the file cannot be written; what was at path stays.
    """
    document, arrays = encode(value, type(value).__name__)
    header = {
        "format": FORMAT,
        "kind": kind,
        "versions": {"probgen": __version__} | _versions(),
        "class": f"{type(value).__module__}:{type(value).__qualname__}",
        "feature_names": _feature_names(value),
        "value": document,
    }
    text = json.dumps(header, allow_nan=False).encode("ascii")
    content = safetensors.numpy.save(arrays)
    with (
        atomic_write(Path(path)) as temporary,
        zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive,
    ):
        # ZipInfo has no time stamp, so that equal values make equal files.
        archive.writestr(zipfile.ZipInfo(DOCUMENT), text)
        archive.writestr(zipfile.ZipInfo(ARRAYS), content)
        archive.comment = _digest(text, content)


def read_archive(
    path: str | os.PathLike,
    *,
    kind: str,
    device: str = "cpu",
    trusted: Sequence[Callable] = (),
) -> Any:
    """Return the value that `write_archive` wrote.

    Parameters
    ----------
    path : str or path
    kind : str
        Required kind of the file.
    device : str, default="cpu"
        Device of the tensors that were on a GPU.
    trusted : sequence of classes and functions
        Names that the file may contain besides those of probgen, scikit-learn and torch.

    Raises
    ------
    FileFormatError
        If the file is of another kind, damaged, or names what is not trusted. No part of it is run,
        and memory stays within a small multiple of its size.
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        with _refusing(path, "is not a file that probgen wrote, or not all of it"):
            archive = zipfile.ZipFile(file)
            archive.getinfo(DOCUMENT)
        with _refusing(path, "is damaged"):
            text = _read(archive, DOCUMENT, size)
            header = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
            writer, version = header["versions"]["probgen"], header["format"]
            if (
                type(version) is not int
                or not isinstance(writer, str)
                or not isinstance(header["kind"], str)
            ):
                raise FileFormatError(
                    "it must name its format, its kind and the version that wrote it"
                )
        _check_header(path, header["kind"], kind, version, writer[:LONGEST_VERSION])
        with _refusing(path, "is damaged"):
            content = _read(archive, ARRAYS, size)
            if sorted(archive.namelist()) != sorted((DOCUMENT, ARRAYS)):
                raise FileFormatError(f"it must hold {DOCUMENT} and {ARRAYS} alone")
            if archive.comment != _digest(text, content):
                raise FileFormatError(
                    "its content does not have the checksum that it was written with"
                )
            arrays = safetensors.numpy.load(content)
    del text, content
    with _refusing(path, "cannot be opened"):
        for old in range(version, FORMAT):
            header, arrays = MIGRATIONS[old](header, arrays)
        return decode(header["value"], arrays, device=device, trusted=trusted)


def _check_header(path, kind, expected, version, writer):
    """Raise if a file is of another version or kind."""
    origin = f"{str(path)!r} was written by probgen {writer} in format {version}"
    if version > FORMAT:
        raise FileFormatError(
            f"{origin}, but probgen {__version__} reads formats up to {FORMAT}; upgrade probgen."
        )
    if any(old not in MIGRATIONS for old in range(version, FORMAT)):
        raise FileFormatError(
            f"{origin}, which probgen {__version__} no longer reads; fit the model again, or load"
            f" it with probgen {writer} and pickle it."
        )
    if kind != expected:
        raise FileFormatError(
            f"{str(path)!r} must be a file of kind {expected!r}; got one of kind {kind[:80]!r}."
        )


def _read(archive, name, file_size):
    """The bytes of a member, if it is stored without compression and fits into the file."""
    members = [member for member in archive.infolist() if member.filename == name]
    if len(members) != 1:
        raise FileFormatError(f"it must hold one {name}; got {len(members)}")
    (member,) = members
    if (
        member.compress_type != zipfile.ZIP_STORED
        or not member.compress_size == member.file_size <= file_size
    ):
        raise FileFormatError(f"{name} must be stored without compression")
    return archive.read(member)


@contextlib.contextmanager
def _refusing(path, verdict):
    """Turn any exception from a foreign or damaged file into a FileFormatError."""
    try:
        yield
    except (MemoryError, ImportError, Warning):
        raise
    except Exception as error:
        raise FileFormatError(f"{str(path)!r} {verdict}: {_reason(error)}.") from error


def _reason(error):
    """An error in one line, without calling `__str__` of objects from the file."""
    reason = " ".join(str(part) for part in error.args if isinstance(part, str))
    if not isinstance(error, FileFormatError | zipfile.BadZipFile):
        reason = f"it says what no writer would ({type(error).__name__}: {reason})"
    return " ".join(reason.split()).rstrip(".")[:LONGEST_REASON]


def _digest(text, content):
    digest = hashlib.sha256(text)
    digest.update(content)
    return digest.hexdigest().encode("ascii")


def _unique(pairs):
    """A JSON object, whose keys must be unique."""
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise FileFormatError("it names a key of its JSON twice")
    return entries


def _no_constant(name):
    raise FileFormatError(f"its JSON holds {name}")


def _versions():
    """Versions of the imported libraries, by the names of their distributions."""
    return {
        name: importlib.metadata.version(name)
        for module, name in LIBRARIES.items()
        if module in sys.modules
    }


def _feature_names(value):
    names = getattr(value, "feature_names_in_", None)
    if names is None:
        return None
    return list(map(str, names))
