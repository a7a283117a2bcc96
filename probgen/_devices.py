"""Choice of the device of a model."""

import ctypes.util
import os
import sys
from functools import lru_cache

from probgen._validation import show


def resolve_device(device: str) -> str:
    """Return "cpu" or a CUDA device's name for the `device` parameter of a generator.

    Parameters
    ----------
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1"
        "auto" takes CUDA if it is available. torch is only imported if a CUDA driver is installed.

    Returns
    -------
    device : str

    Raises
    ------
    ValueError
        If the name is unknown, or the device is not available.

    Examples
    --------
    >>> from probgen._devices import resolve_device
    >>> resolve_device("cpu")
    'cpu'
    """
    if isinstance(device, str) and device == "cpu":
        return "cpu"
    is_cuda = isinstance(device, str) and (device == "cuda" or device.startswith("cuda:"))
    is_auto = isinstance(device, str) and device == "auto"
    if not is_auto and not is_cuda:
        raise ValueError(
            f"device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'; got {show(device)}."
        )
    if is_auto:
        return "cuda" if cuda_is_available() else "cpu"
    if not cuda_is_available():
        raise ValueError(
            f"device={device!r} asks for CUDA, which is not available here; use 'auto' or 'cpu'."
        )
    import torch

    index = device.partition(":")[2]
    if index and not (index.isdecimal() and int(index) < torch.cuda.device_count()):
        raise ValueError(
            f"device={device!r} is not here: there are {torch.cuda.device_count()} CUDA devices."
        )
    return device


def cuda_is_available() -> bool:
    """Whether torch can use CUDA; imports torch only if a driver is installed."""
    if "torch" not in sys.modules and not _has_driver():
        return False
    import torch

    return torch.cuda.is_available()


@lru_cache(maxsize=1)
def _has_driver() -> bool:
    library = "nvcuda" if sys.platform == "win32" else "cuda"
    return os.path.exists("/dev/nvidiactl") or ctypes.util.find_library(library) is not None
