"""Processes that train one model together, as started by torchrun."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from probgen.training.objective import Objective, Phase


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together.

    Attributes
    ----------
    rank : int
        Number of this process, from 0.
    world_size : int
        Number of processes; 1 for an ordinary fit.
    """

    rank: int = 0
    world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes files and reports."""
        return self.rank == 0

    def agree(self, value: float) -> float:
        """Return the largest of the numbers that the processes pass."""
        if self.world_size == 1:
            return value
        device = "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
        shared = torch.tensor(float(value), dtype=torch.float64, device=device)
        torch.distributed.all_reduce(shared, torch.distributed.ReduceOp.MAX)
        return shared.item()

    def share(self, value: Any) -> Any:
        """Return the value, any that pickle can copy, that the first rank passes."""
        if self.world_size == 1:
            return value
        holder = [value]
        torch.distributed.broadcast_object_list(holder, 0)
        return holder[0]


@contextlib.contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """Yield the Ranks of a fit; join the processes that torchrun started, unless the caller has.

    Parameters
    ----------
    device : str
        "cpu" takes the gloo backend, CUDA takes nccl.
    """
    if not torch.distributed.is_available():
        yield Ranks()
        return
    joining = not torch.distributed.is_initialized() and int(os.environ.get("WORLD_SIZE", "1")) > 1
    if joining:
        backend = "nccl"
        if device == "cpu":
            backend = "gloo"
        torch.distributed.init_process_group(backend)
    try:
        if torch.distributed.is_initialized():
            yield Ranks(torch.distributed.get_rank(), torch.distributed.get_world_size())
        else:
            yield Ranks()
    finally:
        if joining:
            torch.distributed.destroy_process_group()


def local_device(device: str, ranks: Ranks) -> str:
    """The CUDA device of this process, where torchrun started one for each; device otherwise."""
    if ranks.world_size > 1 and device == "cuda" and "LOCAL_RANK" in os.environ:
        return f"cuda:{os.environ['LOCAL_RANK']}"
    return device


class LossRunner(torch.nn.Module):
    """The losses of an objective behind one forward, which DistributedDataParallel needs."""

    def __init__(self, objective: Objective, phases: list[Phase]) -> None:
        super().__init__()
        self.objective = objective
        self.losses = [phase.loss for phase in phases]

    def forward(self, index: int, *batch: torch.Tensor) -> Any:
        return self.losses[index](*batch)


class IndexedLoss:
    """One loss of a runner."""

    def __init__(self, runner: torch.nn.Module, index: int) -> None:
        self.runner = runner
        self.index = index

    def __call__(self, *batch: torch.Tensor) -> Any:
        return self.runner(self.index, *batch)
