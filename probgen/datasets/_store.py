"""Storage of data sets: folders, validation, download and checksums."""

import contextlib
import hashlib
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from probgen._writing import atomic_write

_UNREADABLE = (
    ValueError,
    KeyError,
    IndexError,
    OSError,
    EOFError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
)


@dataclass(frozen=True)
class Source:
    """A file of a data set, and its conversion from the publisher's files.

    Attributes
    ----------
    file : str
        Name of the file in the folder.
    arrays : mapping of str to tuple
        Kind (as in `np.issubdtype`) and shape of each array of an .npz file. A shape holds fixed
        sizes, and names of sizes that must agree between the arrays.
    urls : mapping of str to str or None
        The publisher's files by URL, with "md5:..." if the publisher states a checksum. The last
        parts of the URLs are distinct.
    convert : callable
        Takes the contents of those files as bytes, in the order of urls. Returns a dict of arrays,
        or the bytes of the file.
    download : callable or None
        Returns the arguments of convert, if another library downloads the data.
    digest : str or None
        `array_digest` of the converted arrays, if the publisher states no checksum.
    other_file : str or None
        Name of another file that may be used in place of `file`.
    """

    file: str
    arrays: Mapping[str, tuple]
    urls: Mapping[str, str | None]
    convert: Callable
    download: Callable | None = None
    digest: str | None = None
    other_file: str | None = None

    @property
    def raw_folder(self) -> str:
        """Name of the folder of the publisher's files until they are converted."""
        return self.file.split(".")[0] + "_raw"


def data_folders(data_home: str | os.PathLike | None) -> list[Path]:
    """Folders to search, in order; downloads go to the last one."""
    if data_home is not None:
        if not isinstance(data_home, (str, os.PathLike)) or not os.fspath(data_home):
            raise ValueError(
                "data_home must be the path of a folder, or None for the default; got"
                f" {data_home!r}."
            )
        return [Path(data_home).expanduser()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probgen"
    named = os.environ.get("PROBGEN_DATA_HOME")
    if not named:
        return [cache]
    return [Path(named).expanduser(), cache]


def obtain(
    source: Source, *, data_home: str | os.PathLike | None, download_if_missing: bool
) -> Path:
    """Path of the file of a source, which is downloaded if it is missing and that is allowed."""
    folders = data_folders(data_home)
    for folder in folders:
        for name in (source.file, source.other_file):
            if name and (folder / name).is_file():
                return folder / name
    raw_folder = folders[-1] / source.raw_folder
    if not download_if_missing:
        raise OSError(_missing(source, folders, "and download_if_missing=False"))
    try:
        if source.download is not None:
            raw = source.download()
        else:
            raw = _download(source, raw_folder)
    except (OSError, ValueError) as error:
        _remove_if_empty(raw_folder)
        reason = f"and the download failed ({type(error).__name__}: {_shortened(error)})"
        raise OSError(_missing(source, folders, reason, raw_folder)) from error
    path = folders[-1] / source.file
    _write(path, _convert(source, raw, raw_folder))
    for url in source.urls:
        (raw_folder / _name(url)).unlink(missing_ok=True)
    _remove_if_empty(raw_folder)
    return path


def read_arrays(path: Path, source: Source, names: list[str]) -> list[np.ndarray]:
    """Arrays of an .npz file in the order of names, with validated kinds and shapes."""
    try:
        with open(path, "rb") as raw:
            file = np.load(raw, allow_pickle=False)
            if isinstance(file, np.ndarray):
                raise ValueError("it is an .npy file")
            arrays = [file[name] for name in names]
    except _UNREADABLE as error:
        raise ValueError(
            _not_as_expected(path, source, f"cannot be read ({type(error).__name__}: {error})")
        ) from error
    sizes: dict[str, int] = {}
    for name, array in zip(names, arrays, strict=True):
        if not _fits(array, source.arrays[name], sizes):
            problem = f"holds {name} of shape {array.shape} and dtype {array.dtype}"
            raise ValueError(_not_as_expected(path, source, problem))
    return arrays


def array_digest(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, dtypes, shapes and values of arrays, independent of the file format."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _fits(array: np.ndarray, expected: tuple, sizes: dict[str, int]) -> bool:
    """Whether an array has the expected kind and shape; stores named sizes in the dict sizes."""
    kind, *shape = expected
    if not np.issubdtype(array.dtype, kind) or array.ndim != len(shape) or array.size == 0:
        return False
    for size, wanted in zip(array.shape, shape, strict=True):
        if isinstance(wanted, str):
            wanted = sizes.setdefault(wanted, size)
        if size != wanted:
            return False
    return True


def _missing(
    source: Source, folders: list[Path], reason: str, raw_folder: Path | None = None
) -> str:
    """Error message for a missing file; with raw_folder it offers the publisher's files too."""
    searched = " or ".join(str(folder) for folder in folders)
    remedy = f"put {source.file} into {folders[0]}"
    if raw_folder is not None and source.urls:
        names = [_name(url) for url in source.urls]
        listing = ", ".join(names[:4])
        if len(names) > 4:
            listing += f" and {len(names) - 4} more"
        publisher = next(iter(source.urls)).rsplit("/", 1)[0]
        remedy += f", or put the files of {publisher} ({listing}) into {raw_folder}"
    return (
        f"{source.file} is not in {searched}, {reason}; {remedy}, or name its folder by data_home"
        " or PROBGEN_DATA_HOME."
    )


def _name(url: str) -> str:
    """Name of the file at a URL."""
    return url.rsplit("/", 1)[-1]


def _shortened(error: Exception) -> str:
    """The text of an error on one line, cut to 90 characters."""
    text = " ".join(str(error).split())
    if len(text) > 90:
        text = text[:87] + "..."
    return text


def _not_as_expected(path: Path, source: Source, problem: str) -> str:
    """Error message for a file with other contents."""
    listing = ", ".join(
        f"{name} ({kind.__name__}, {' x '.join(map(str, shape))})"
        for name, (kind, *shape) in source.arrays.items()
    )
    return (
        f"{path} {problem}; expected an .npz file with {listing}; replace it, or remove it to"
        " download it again."
    )


def _download(source: Source, folder: Path) -> list[bytes]:
    """Contents of the publisher's files, which are downloaded to the folder if they are missing."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"Downloading {source.file} needs pooch; install it with `pip install 'probgen[data]'`,"
            f" or put the file into {folder.parent}."
        ) from error
    contents = []
    for url, known_hash in source.urls.items():
        path = pooch.retrieve(url, known_hash, fname=_name(url), path=folder)
        contents.append(Path(path).read_bytes())
    return contents


def _convert(source: Source, raw: Sequence, folder: Path) -> Any:
    """The converted contents, verified by their digest."""
    try:
        content = source.convert(*raw)
    except _UNREADABLE as error:
        reason = f"cannot be converted ({type(error).__name__}: {error})"
    else:
        if source.digest is None or array_digest(content) == source.digest:
            return content
        reason = "differs from the published data, by its checksum"
    raise OSError(
        f"What was downloaded for {source.file} {reason}; remove {folder} to download it"
        f" again, or put {source.file} into {folder.parent}."
    )


def _write(path: Path, content: Any) -> None:
    """Write bytes, or arrays as .npz, whole or not at all."""
    if not isinstance(content, bytes):
        buffer = BytesIO()
        np.savez_compressed(buffer, **content)
        content = buffer.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)
    except OSError as error:
        raise OSError(
            f"{path.parent} cannot be written to ({error}); pass another folder as data_home."
        ) from error


def _remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is empty."""
    with contextlib.suppress(OSError):  # It holds files, or another process has removed it.
        folder.rmdir()
