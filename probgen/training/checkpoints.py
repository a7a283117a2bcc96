"""State of an unfinished fit on disk."""

import hashlib
import os
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch

from probgen._warnings import warn
from probgen.persistence.archive import read_archive, write_archive

KIND = "checkpoint"
HASHED_ROWS = 1024
# Parameters that may change before a fit resumes, as they do not change the weights.
FREE = (
    "device",
    "verbose",
    "trainer__callbacks",
    "trainer__checkpoint",
    "trainer__checkpoint_interval",
)


class CheckpointFile:
    """File for the state of a fit of an estimator on certain rows.

    Parameters
    ----------
    folder : path
        Created if it does not exist.
    estimator : estimator object
    arrays : sequence
        Data of the fit: rows and perhaps labels.
    start : dict or None
        State of the training that the fit resumes, which distinguishes it from a new fit.

    Raises
    ------
    ValueError
        If the folder cannot be written to.
    """

    def __init__(
        self, folder: str | PathLike, estimator: Any, arrays: tuple, start: dict | None
    ) -> None:
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"checkpoint must be a folder that can be made; got {str(folder)!r}"
                f" ({error.strerror})."
            ) from error
        if not os.access(folder, os.W_OK):
            raise ValueError(
                f"checkpoint must be a folder that can be written to; got {str(folder)!r}."
            )
        self.name = type(estimator).__name__
        self.fingerprint = fingerprint(estimator, arrays, start)
        self.path = folder / f"{self.name}-{self.fingerprint[:16]}.checkpoint"
        for unfinished in folder.glob(f".{self.path.stem}.*"):  # of a write that was killed
            unfinished.unlink(missing_ok=True)

    def load(self) -> dict | None:
        """Return the state of an earlier fit, or None if there is none."""
        if not self.path.exists():
            return None
        value = read_archive(self.path, kind=KIND)
        if isinstance(value, dict) and value.get("fingerprint") == self.fingerprint:
            return value["state"]
        owner = "an unknown model"
        if isinstance(value, dict):
            owner = value.get("name", owner)
        raise ValueError(
            f"{str(self.path)!r} is the checkpoint of another fit, of {owner}; delete it or name"
            " another folder."
        )

    def save(self, state: dict) -> None:
        """Write a state; if that fails, warn and keep the last one."""
        try:
            write_archive(
                self.path,
                {"fingerprint": self.fingerprint, "name": self.name, "state": state},
                kind=KIND,
            )
        except OSError as error:
            warn(
                f"The checkpoint {str(self.path)!r} could not be written"
                f" ({error.strerror or error}); training continues, and resumes from the last one"
                " written if it is killed.",
                RuntimeWarning,
            )


def fingerprint(estimator: Any, arrays: tuple, start: dict | None) -> str:
    """A hash of the class, the parameters, the data and the start of a fit, in hexadecimal."""
    digest = hashlib.sha256(type(estimator).__qualname__.encode())
    for name, value in sorted(estimator.get_params(deep=True).items()):
        if name not in FREE:
            digest.update(f"{name}=".encode())
            _hash_parameter(digest, value)
    for array in arrays:
        _hash_data(digest, array)
    if start is not None:
        digest.update(f"start={start['epoch']}".encode())
        _hash_tensors(digest, start["weights"].values())
    return digest.hexdigest()


def _hash_parameter(digest: Any, value: Any) -> None:
    if isinstance(value, torch.nn.Module):
        digest.update(repr(value).encode())
        _hash_tensors(digest, value.state_dict().values())
    elif isinstance(value, np.ndarray):
        digest.update(value.tobytes())
    elif isinstance(value, None | bool | int | float | str | tuple | list | os.PathLike):
        digest.update(repr(value).encode())
    else:  # nested estimators have their own entries, and other reprs may contain an address
        digest.update(type(value).__qualname__.encode())


def _hash_tensors(digest: Any, tensors: Any) -> None:
    for tensor in tensors:
        digest.update(
            tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
        )


def _hash_data(digest: Any, data: Any) -> None:
    """Add shape, type and evenly spaced rows of an array, or the type of another source."""
    if not isinstance(data, np.ndarray):
        digest.update(type(data).__qualname__.encode())
        return
    digest.update(f"{data.shape}{data.dtype}".encode())
    chosen = np.unique(np.linspace(0, len(data) - 1, HASHED_ROWS).astype(np.int64))
    digest.update(np.ascontiguousarray(data[chosen]).tobytes())
