"""What a network is trained for: phases, each a loss and the parameters that it moves."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch


@dataclass(frozen=True)
class Phase:
    """One kind of update.

    Attributes
    ----------
    name : str
        Under which the loss stands in the history.
    loss : callable
        Of the tensors of a batch; returns the mean loss of a row, a scalar tensor, or a pair of it
        and a dict of further scalar tensors by name for the history.
    parameters : sequence of torch.nn.Parameter
        What the phase moves.
    every : int
        The phase runs on every so many batches.
    optimizer : dict
        Arguments of the optimiser in place of the trainer's, such as betas; "lr" is a factor on the
        learning rate.
    skip : callable, optional
        Of the loss of a batch, detached; returns a scalar tensor of torch.float32 on its device,
        1.0 where the update is to be left out, else 0.0. For optimisers that torch fuses.
    """

    name: str
    loss: Callable
    parameters: Sequence[torch.nn.Parameter]
    every: int = 1
    optimizer: dict = field(default_factory=dict)
    skip: Callable | None = None


class Objective(torch.nn.Module):
    """Networks and the losses that train them.

    A subclass sets its networks as attributes and writes `loss(*batch)`; with several kinds of
    updates it writes `phases()` in its place. It draws noise from `self.noise`, and from no other
    generator.

    Attributes
    ----------
    noise : torch.Generator
        On the device of the training, which sets it.
    draws_globally : bool
        Whether a network may draw from torch's global generator, such as one with torch.nn.Dropout;
        the training then lends it a state of its own, at some cost a step.

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

    def phases(self):
        """Return the list of Phase, in the order in which they run on a batch."""
        return [Phase("loss", self.loss, list(self.parameters()))]

    def loss(self, *batch):
        """Return the mean loss of the rows of a batch."""
        raise NotImplementedError

    def begin(self, n_batches, n_held_out):
        """Called before a training, with the batches of all its epochs; does nothing by default.

        Parameters
        ----------
        n_batches, n_held_out : dict of int
            Number of batches by their number of rows, in training and validation. They are those of
            the whole fit, also where it resumes from a checkpoint.
        """

    def begin_epoch(self, epoch):
        """Called before the batches of an epoch, numbered from 0; does nothing by default."""

    def end_epoch(self):
        """Called after them; returns a dict of numbers for the record of the epoch, an empty one by
        default."""
        return {}

    def validation_score(self, batches):
        """Return a number that is higher the better the networks are.

        Parameters
        ----------
        batches : iterable of tuple of tensors
            Held-out rows, in order.

        Returns
        -------
        score : float
            By default the loss of the first phase with its sign turned, averaged over the rows.
        """
        first, total, n_rows = self.phases()[0], 0.0, 0
        for batch in batches:
            loss = first.loss(*batch)
            total += len(batch[0]) * float(loss[0] if isinstance(loss, tuple) else loss)
            n_rows += len(batch[0])
        return -total / n_rows
