"""Where the files of data sets live: folders, reading, downloading, checking and keeping them."""

import contextlib
import hashlib
import os
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np

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
    """A file of a data set, and how to make it from what its publisher offers.

    Attributes
    ----------
    file : str
        Name of the file in the folder.
    arrays : mapping of str to tuple
        Kind (as for `np.issubdtype`) and shape of each array of an .npz file; in the shapes a
        number is fixed, and a name stands for one number throughout the file.
    urls : mapping of str to str or None
        Raw files by address, with "md5:..." where the publisher states it; their names differ in
        the last part.
    convert : callable
        Contents of the raw files, as bytes in the order of urls -> dict of arrays, or the bytes of
        the file.
    download : callable or None
        Gives the arguments of convert, where another library does the download.
    digest : str or None
        `array_digest` of the converted arrays, where the raw files have no checksum.
    other_file : str or None
        A file that serves as well.
    """

    file: str
    arrays: Mapping[str, tuple]
    urls: Mapping[str, str | None]
    convert: Callable
    download: Callable | None = None
    digest: str | None = None
    other_file: str | None = None

    @property
    def raw_folder(self):
        """Name of the folder beside the file in which raw files are kept until they are
        converted."""
        return self.file.split(".")[0] + "_raw"


def data_folders(data_home):
    """Folders to look in, in order; the last one is written to."""
    if data_home is not None:
        if not isinstance(data_home, (str, os.PathLike)) or not os.fspath(data_home):
            raise ValueError(
                "data_home must be the path of a folder, or None for the default; got"
                f" {data_home!r}."
            )
        return [Path(data_home).expanduser()]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "probgen"
    named = os.environ.get("PROBGEN_DATA_HOME")
    return [Path(named).expanduser(), cache] if named else [cache]


def obtain(source, *, data_home, download_if_missing):
    """Path of the file of a source, downloaded if it must and may be."""
    folders = data_folders(data_home)
    for folder in folders:
        for name in (source.file, source.other_file):
            if name and (folder / name).is_file():
                return folder / name
    raw_folder = folders[-1] / source.raw_folder
    if not download_if_missing:
        raise OSError(_missing(source, folders, "and download_if_missing=False"))
    try:
        raw = source.download() if source.download else _download(source, raw_folder)
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


def read_arrays(path, source, names):
    """Arrays of an .npz file in the order of names, after a look at their kinds and shapes."""
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
            found = f"holds {name} of shape {array.shape} and dtype {array.dtype}"
            raise ValueError(_not_as_expected(path, source, found))
    return arrays


def array_digest(arrays):
    """SHA-256 of names, dtypes, shapes and values of arrays, whatever the file format."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.name} {array.shape}".encode())
        digest.update(array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes())
    return digest.hexdigest()


def _fits(array, expected, sizes):
    """Whether an array has the expected kind and shape; sizes remembers what the names of sizes
    stand for."""
    kind, *shape = expected
    if not np.issubdtype(array.dtype, kind) or array.ndim != len(shape) or array.size == 0:
        return False
    pairs = zip(array.shape, shape, strict=True)
    return all(
        size == (sizes.setdefault(want, size) if isinstance(want, str) else want)
        for size, want in pairs
    )


def _missing(source, folders, reason, raw_folder=None):
    """The sentence for a file that is nowhere, with the raw files that would serve if raw_folder is
    given."""
    looked = " or ".join(str(folder) for folder in folders)
    remedy = f"put {source.file} into {folders[0]}"
    if raw_folder is not None and source.urls:
        names = [_name(url) for url in source.urls]
        shown = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        remedy += (
            f", or into {raw_folder} what {next(iter(source.urls)).rsplit('/', 1)[0]} offers"
            f" ({shown})"
        )
    return (
        f"{source.file} is not in {looked}, {reason}; {remedy}, or name its folder by data_home or"
        " PROBGEN_DATA_HOME."
    )


def _name(url):
    """Name of the file at an address."""
    return url.rsplit("/", 1)[-1]


def _shortened(error):
    """The beginning of an error's text, on one line."""
    text = " ".join(str(error).split())
    return text if len(text) <= 90 else text[:87] + "..."


def _not_as_expected(path, source, found):
    listed = ", ".join(
        f"{name} ({kind.__name__}, {' x '.join(map(str, shape))})"
        for name, (kind, *shape) in source.arrays.items()
    )
    return (
        f"{path} {found}; expected an .npz file with {listed}; replace it, or remove it to fetch it"
        " anew."
    )


def _download(source, folder):
    """Contents of the raw files of a source, each fetched into the folder unless it is there."""
    try:
        import pooch
    except ImportError as error:
        raise ImportError(
            f"Downloading {source.file} needs pooch; install it with `pip install 'probgen[data]'`,"
            f" or put the file into {folder.parent}."
        ) from error
    return [
        Path(pooch.retrieve(url, known_hash, fname=_name(url), path=folder)).read_bytes()
        for url, known_hash in source.urls.items()
    ]


def _convert(source, raw, folder):
    """Converted raw contents, checked."""
    try:
        content = source.convert(*raw)
    except _UNREADABLE as error:
        reason = f"cannot be converted ({type(error).__name__}: {error})"
    else:
        if source.digest is None or array_digest(content) == source.digest:
            return content
        reason = "differs from the published data, by its checksum"
    raise OSError(
        f"What was downloaded for {source.file} {reason}; remove {folder} to download it anew, "
        f"or put {source.file} into {folder.parent}."
    )


def _write(path, content):
    """Write bytes, or arrays as .npz, beside the path and rename."""
    if not isinstance(content, bytes):
        buffer = BytesIO()
        np.savez_compressed(buffer, **content)
        content = buffer.getvalue()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, beside = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    except OSError as error:
        raise OSError(
            f"{path.parent} cannot be written to ({error}); pass another folder as data_home."
        ) from error
    try:
        with open(handle, "wb") as file:
            file.write(content)
        os.replace(beside, path)
    except BaseException:
        os.unlink(beside)
        raise


def _remove_if_empty(folder):
    """Remove a folder that nothing is in."""
    with contextlib.suppress(OSError):  # it holds something, or another process was here before
        folder.rmdir()
