"""Training objectives: phases, each with a loss and the parameters that it updates."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from probgen.networks.batch_norm import measured_batch_norm


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    Attributes
    ----------
    name : str
        Name of the loss in the history.
    loss : callable
        Function of the tensors of a batch; returns the mean loss per row as a scalar tensor, or a
        pair of it and a dict of further scalar tensors for the history.
    parameters : sequence of torch.nn.Parameter
        Parameters that the phase updates.
    every : int
        The phase runs on every `every`-th batch.
    optimizer : dict
        Arguments of the optimiser in place of the trainer's, such as betas; "lr" is a factor on the
        learning rate.
    skip : callable, optional
        Function of the detached loss of a batch; returns a scalar tensor of torch.float32 on its
        device, 1.0 to skip the update and 0.0 otherwise. For optimisers that torch fuses.
    """

    name: str
    loss: Callable
    parameters: Sequence[torch.nn.Parameter]
    every: int = 1
    optimizer: dict = field(default_factory=dict)
    skip: Callable | None = None


class Objective(torch.nn.Module):
    """Networks and the losses that train them.

    A subclass sets its networks as attributes and implements `loss(*batch)`, or `phases()` for
    several kinds of updates. It draws noise only from `self.noise`.

    Attributes
    ----------
    noise : torch.Generator
        Source of noise, on the device of the training, which sets it.
    draws_globally : bool
        Whether a network may draw from torch's global generator, as torch.nn.Dropout does; each
        step then runs with a state of the training's own, which costs time.
    n_copies : int
        How often networks see a row of a batch at once, such as with several draws of its code.

    Examples
    --------
    >>> import torch
    >>> class Mean(Objective):
    ...     def __init__(self, n_features):
    ...         super().__init__()
    ...         self.mean = torch.nn.Parameter(torch.zeros(n_features))
    ...
    ...     def loss(self, X):
    ...         return (X - self.mean).square().sum(1).mean()
    >>> Mean(2).loss(torch.ones(3, 2)).item()
    2.0
    """

    noise: torch.Generator
    draws_globally = False
    n_copies = 1

    def phases(self) -> list[Phase]:
        """Return the phases, in the order in which they run on a batch."""
        return [Phase("loss", self.loss, list(self.parameters()))]

    # Type checkers accept any arguments in place of these, such as loss(self, X).
    def loss(self, *batch: Any, **_: Any) -> Any:
        """Return the mean loss per row of a batch, as in Phase."""
        raise NotImplementedError

    def begin(self, n_batches: dict[int, int], n_held_out: dict[int, int]) -> None:
        """Called before a training, with the batches of all its epochs; does nothing by default.

        Parameters
        ----------
        n_batches, n_held_out : dict of int
            Number of batches by their number of rows, in training and validation. They are those of
            the whole fit, also where it resumes from a checkpoint.
        """

    def begin_epoch(self, epoch: int) -> None:
        """Called before the batches of an epoch, numbered from 0; does nothing by default."""

    def end_epoch(self) -> dict:
        """Called after the batches of an epoch; returns numbers for its record, none by default."""
        return {}

    def measure_batch_norm(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> None:
        """Set the running statistics of batch norm to means over batches, run without gradients.

        Called where the weights are averages, for which the statistics of the training are wrong.

        Parameters
        ----------
        batches : iterable of tuple of tensors
            Rows to train on.
        """
        first = self.phases()[0]
        with measured_batch_norm(self):
            for batch in batches:
                first.loss(*batch)

    def validation_score(self, batches: Iterable[tuple[torch.Tensor, ...]]) -> float:
        """Return a score of the networks on held-out rows; higher is better.

        Parameters
        ----------
        batches : iterable of tuple of tensors
            Held-out rows, in order.

        Returns
        -------
        score : float
            By default minus the mean loss of the first phase.
        """
        first = self.phases()[0]
        total, n_rows = 0.0, 0
        for batch in batches:
            loss = first.loss(*batch)
            if isinstance(loss, tuple):
                loss, _ = loss
            total += len(batch[0]) * float(loss)
            n_rows += len(batch[0])
        return -total / n_rows
