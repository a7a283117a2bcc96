"""State of an unfinished fit on disk."""

import hashlib
import os
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from types import FunctionType
from typing import Any

import numpy as np
import torch

from probgen._warnings import warn
from probgen._writing import remove_unfinished
from probgen.exceptions import FileFormatError
from probgen.persistence.archive import read_archive, write_archive
from probgen.training.rows import open_rows
from probgen.training.state_checks import check_state

KIND = "checkpoint"
HASHED_BYTES = 2**24  # in one piece
HASHED_AT_ONCE = 4096  # rows of blocks and data sets
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
        remove_unfinished(self.path)

    def load(self) -> dict | None:
        """Return the state of an earlier fit, or None if there is none."""
        if not self.path.exists():
            return None
        value = read_archive(self.path, kind=KIND)
        if isinstance(value, dict) and value.get("fingerprint") == self.fingerprint:
            state = value.get("state")
            try:
                check_state(state, networks=())
            except FileFormatError as error:
                raise FileFormatError(
                    f"{str(self.path)!r} cannot be resumed from, as {error}; delete it."
                ) from error
            return state
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
    """A hash of the class, the parameters, all data and the start of a fit, in hexadecimal.

    Blocks and data sets are read once for it.
    """
    digest = hashlib.sha256(type(estimator).__qualname__.encode())
    for name, value in sorted(estimator.get_params(deep=True).items()):
        if name not in FREE:
            digest.update(f"{name}=".encode())
            _hash_value(digest, value)
    for array in arrays:
        _hash_data(digest, array)
    if start is not None:
        digest.update(f"start={start['epoch']}".encode())
        _hash_value(digest, start["weights"])
    return digest.hexdigest()


def _hash_value(digest: Any, value: Any) -> None:
    """Add the value of a parameter, without the address that some representations have."""
    if isinstance(value, torch.nn.Module):
        digest.update(repr(value).encode())
        _hash_value(digest, value.state_dict())
    elif isinstance(value, torch.Tensor):
        _hash_rows(digest, value.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    elif isinstance(value, np.ndarray):
        _hash_rows(digest, value)
    elif isinstance(value, np.random.RandomState):
        _hash_value(digest, value.get_state(legacy=False))
    elif isinstance(value, np.random.Generator):
        _hash_value(digest, value.bit_generator.state)
    elif isinstance(value, Mapping):
        for name, part in value.items():
            digest.update(f"{name}:".encode())
            _hash_value(digest, part)
    elif isinstance(value, tuple | list):
        digest.update(f"{len(value)} values".encode())
        for part in value:
            _hash_value(digest, part)
    elif isinstance(value, type | FunctionType):
        digest.update(f"{value.__module__}.{value.__qualname__}".encode())
        digest.update(getattr(getattr(value, "__code__", None), "co_code", b""))
    elif isinstance(value, None | bool | int | float | str | np.generic | os.PathLike):
        digest.update(repr(value).encode())
    else:  # nested estimators have their own entries
        digest.update(type(value).__qualname__.encode())


def _hash_data(digest: Any, data: Any) -> None:
    """Add all rows of an array, of blocks or of a torch data set."""
    if isinstance(data, np.ndarray):
        _hash_rows(digest, data)
        return
    digest.update(type(data).__qualname__.encode())
    for block in open_rows(data, dtype=torch.float64).batches(None, HASHED_AT_ONCE):
        _hash_value(digest, block)


def _hash_rows(digest: Any, array: np.ndarray) -> None:
    """Add an array in pieces, so that a memory map is not copied as a whole."""
    digest.update(f"{array.shape}{array.dtype}".encode())
    if array.dtype == object:
        digest.update(repr(array.tolist()).encode())
        return
    array = np.atleast_1d(array)
    n_rows = max(1, HASHED_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), n_rows):
        digest.update(np.ascontiguousarray(array[start : start + n_rows]).view(np.uint8).data)
