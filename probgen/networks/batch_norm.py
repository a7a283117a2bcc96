"""Running statistics of batch norm, which training keeps for the weights that it passes through."""

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import nn


def batch_norms(network: nn.Module) -> list[Any]:
    """Return the batch norm layers of a network, as a list.

    Examples
    --------
    >>> batch_norms(nn.Sequential(nn.Linear(4, 2), nn.BatchNorm1d(2)))
    [BatchNorm1d(2, eps=1e-05, momentum=0.1, ...)]
    """
    kind = nn.modules.batchnorm._BatchNorm
    return [module for module in network.modules() if isinstance(module, kind)]


@contextlib.contextmanager
def measured_batch_norm(network: nn.Module) -> Iterator[None]:
    """Make the running statistics plain means over the batches that the body runs.

    Parameters
    ----------
    network : torch.nn.Module
        Its batch norms are in training mode within the body, and all else in evaluation mode,
        without the dropout that queries do not have either.

    Examples
    --------
    >>> import torch
    >>> norm = nn.BatchNorm1d(1).eval()
    >>> with measured_batch_norm(norm):
    ...     for mean in (1.0, 2.0):
    ...         outputs = norm(torch.tensor([[mean - 1.0], [mean + 1.0]]))
    >>> norm.running_mean, norm.training
    (tensor([1.5000]), False)
    """
    norms = batch_norms(network)
    was_training = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over all batches
    network.eval()
    for norm in norms:
        norm.train()
    try:
        yield
    finally:
        for module, mode in was_training:
            module.training = mode
        for norm, momentum in zip(norms, momenta):
            norm.momentum = momentum
