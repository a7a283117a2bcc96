"""Saving models to files that contain no code, and loading them."""

import os
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from probgen._devices import resolve_device
from probgen._writing import check_regular
from probgen.exceptions import FileFormatError
from probgen.persistence.archive import read_archive, write_archive

__all__ = ["FileFormatError", "load", "save"]

KIND = "estimator"


def save(estimator: Any, path: str | os.PathLike) -> None:
    """Write an estimator to a file.

    The file is a zip of JSON and safetensors: numbers, text and names of classes, and no code. It
    contains everything that pickle keeps: parameters, fitted attributes, the streams of random
    draws, and the state from which `partial_fit` resumes.

    Parameters
    ----------
    estimator : estimator object
        A generator, or any other scikit-learn estimator, pipeline or search, fitted or not.
    path : str or path
        File to write, such as "model.probgen". A failure leaves an earlier file as it was, and a
        success keeps its mode. A symbolic link stays, as the file that it leads to is replaced.

    Raises
    ------
    ValueError
        If estimator is not an estimator, or has an attribute that cannot be stored, such as a
        lambda or an open file; the message names it. If there is something other than a regular
        file at path.
    OSError
        If the file cannot be written.

    See Also
    --------
    load : Read the file.

    Examples
    --------
    >>> import tempfile, pathlib, probgen
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.probgen"
    >>> model = probgen.GaussianMixture(random_state=0).fit([[0.0], [1.0], [3.0]])
    >>> probgen.save(model, path)
    >>> bool(probgen.load(path).score([[2.0]]) == model.score([[2.0]]))
    True
    """
    if not _is_estimator(estimator):
        raise ValueError(
            f"estimator must be an estimator object, such as GaussianMixture(); got {estimator!r}."
        )
    path = _check_path(path)
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f"path must be a file in a folder that exists; got {str(path)!r}.")
    check_regular(path, "path")
    try:
        write_archive(path, estimator, kind=KIND)
    except OSError as error:
        raise type(error)(
            f"{str(path)!r} could not be written ({error.strerror or error}); name a file in a"
            " folder that has room and that you may write to."
        ) from error


def load(path: str | os.PathLike, device: str = "auto", trusted: Sequence[Callable] = ()) -> Any:
    """Return the estimator that `save` wrote, without running anything from the file.

    Parameters
    ----------
    path : str or path
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Device of the networks; "auto" is the one they were on, or the CPU if it is not available.
    trusted : sequence of classes and functions, default=()
        Your own networks and steps that the file may name, besides the classes of probgen, the
        estimators of scikit-learn and the modules of torch.

    Returns
    -------
    estimator : estimator object
        Scores and draws like the one that was saved.

    Raises
    ------
    FileFormatError
        If the file is damaged, was written by another program or a newer probgen, or names a class
        or function that is not trusted.
    ValueError
        If device is unknown or not available.
    OSError
        If the file does not exist or cannot be read.

    Warns
    -----
    sklearn.exceptions.InconsistentVersionWarning
        If a step of scikit-learn was saved under another version of scikit-learn, as with pickle.

    See Also
    --------
    save : Write the file.

    Examples
    --------
    >>> import tempfile, pathlib, probgen
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "model.probgen"
    >>> probgen.save(probgen.GaussianMixture(n_components=2), path)
    >>> probgen.load(path)
    GaussianMixture(n_components=2)
    """
    path = _check_path(path)
    if path.is_dir():
        raise IsADirectoryError(
            f"{str(path)!r} is a folder; give a file that `probgen.save` wrote."
        )
    if not path.exists():
        raise FileNotFoundError(
            f"{str(path)!r} does not exist; give a file that `probgen.save` wrote."
        )
    check_regular(path, "path")  # or opening a pipe would wait for ever
    if device != "auto":
        resolve_device(device)
    if isinstance(trusted, type) or not isinstance(trusted, Iterable):
        raise ValueError(f"trusted must be a sequence of classes and functions; got {trusted!r}.")
    trusted = tuple(trusted)
    for thing in trusted:
        if not isinstance(thing, type | types.FunctionType | types.BuiltinFunctionType):
            raise ValueError(
                f"trusted must be a sequence of classes and functions; got {thing!r} in it."
            )
    estimator = read_archive(path, kind=KIND, device=device, trusted=trusted)
    if not _is_estimator(estimator):
        raise FileFormatError(
            f"{str(path)!r} must hold an estimator; got {type(estimator).__name__}."
        )
    try:
        estimator.get_params(deep=False)
    except Exception as error:  # parameters of a wrong type may raise anything
        raise FileFormatError(
            f"{str(path)!r} holds parameters that {type(estimator).__name__} cannot have."
        ) from error
    return estimator


def _check_path(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise ValueError(f"path must be the path of a file; got {path!r}.")
    return Path(path)


def _is_estimator(value: Any) -> bool:
    return hasattr(value, "get_params") and not isinstance(value, type)
