"""Memory of arrays and tensors, and how much of it there is."""

import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

COPIED_BYTES = 64 * 2**20  # copied to a device at a time


def default_budget(device: torch.device) -> int:
    """Bytes for rows: a quarter of the machine's memory, or half of the free memory of a GPU.

    On a CPU it does not depend on what else runs, so that a resumed fit streams rows as before.
    """
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] // 2
    return _machine_memory() // 4


def to_tensor(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    """Return an array as a tensor on the device, without a copy if `is_shared`."""
    if is_shared(array, dtype, device):
        return _host_tensor(array)
    readable = np.dtype(np.float64)
    if array.dtype.kind in "biuf" and array.dtype.itemsize <= 8:
        readable = array.dtype.newbyteorder("=")
    tensor = torch.empty(array.shape, dtype=dtype, device=device)
    step = max(1, COPIED_BYTES // max(1, array[:1].nbytes))
    for first in range(0, len(array), step):
        part = np.require(array[first : first + step], readable, ["C", "A"])
        tensor[first : first + step].copy_(_host_tensor(part))
    return tensor


def _host_tensor(array: np.ndarray) -> torch.Tensor:
    """A CPU tensor that shares the memory of a contiguous array."""
    if not array.flags.writeable:
        array = np.asarray(_AsWritable(array))
    return torch.from_numpy(array)


class _AsWritable:
    """A read-only array, presented as writable: torch only reads it, but would warn."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array  # keeps the memory alive
        address, _ = array.__array_interface__["data"]
        self.__array_interface__ = {**array.__array_interface__, "data": (address, False)}


def is_shared(array: np.ndarray, dtype: torch.dtype, device: torch.device) -> bool:
    """Return whether a tensor of dtype on the device can share the memory of an array."""
    flags = array.flags
    return (
        device.type == "cpu"
        and flags.c_contiguous
        and flags.aligned
        and array.dtype.isnative
        and array.dtype == torch.empty(0, dtype=dtype).numpy().dtype
    )


def is_mapped(array: Any) -> bool:
    """Return whether an array is a view of a memory-mapped file."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap):
            return True
        array = array.base
    return isinstance(array, mmap.mmap)


def _machine_memory() -> int:
    """Bytes of the machine's memory, or of the limit of the container."""
    try:
        sizes = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # a system without sysconf
        sizes = [8 * 2**30]
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        try:
            sizes.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or no limit
            pass
    return min(sizes)
