"""Nests of plain values and tensors, such as the state of a training."""

from collections.abc import Callable
from typing import Any

import torch


def on_cpu(value: Any) -> Any:
    """A copy of a nest with its tensors on the CPU."""
    return _map_tensors(value, lambda tensor: tensor.detach().to("cpu", copy=True))


def to_device(value: Any, device: str) -> Any:
    """A nest with its tensors on a device, copied where they are not there."""
    return _map_tensors(value, lambda tensor: tensor.to(device))


def _map_tensors(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_tensors(entry, change) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_map_tensors(entry, change) for entry in value)
    return value
