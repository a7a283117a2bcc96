"""Callback that writes curves, histograms and pictures of a fit for TensorBoard."""

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from typing import Any

import numpy as np

from probgen._validation import check_count, check_image_shape
from probgen.training.callbacks._base import (
    Callback,
    check_folder,
    check_seed,
    epoch_number,
    is_epoch,
    last_record,
)
from probgen.training.callbacks._monitor import as_in_training
from probgen.training.history import MEASURES, TRAILING

MAX_COLUMNS = 16  # largest number of features that have a histogram each


class TensorBoard(Callback):
    """Write the history, and histograms and pictures of draws and activations, for TensorBoard.

    Scalars are the columns of `history_`. Histograms show the draws (each feature of a table of up
    to 16, else all together), and the outputs of the layers of the networks for the first rows of
    X, or for the draws in layers that rows do not pass. Networks are the torch modules among the
    attributes of the fitted estimator that end in an underscore. Draws of a model with an
    `image_shape` are written as pictures too. Needs the extra "tensorboard".

    Parameters
    ----------
    log_dir : str or path
        Folder of the event files, created if needed. Each fit needs its own.
    every : int, default=1
        Epochs from one set of histograms and pictures to the next, at least 1; scalars are written
        after each.
    n_samples : int, default=64
        Number of draws and of rows, at least 1.
    random_state : int, default=0
        Seed of the draws, the same after each epoch.

    Raises
    ------
    ImportError
        At the beginning of a fit, if tensorboard is not installed.
    OSError
        At the beginning of a fit, if the folder cannot be created or written to.
    ValueError
        At the beginning of a fit, if a parameter is out of range.

    Examples
    --------
    >>> from probgen.training import TensorBoard
    >>> TensorBoard("runs/first", every=5)
    TensorBoard(every=5, log_dir='runs/first')
    """

    def __init__(
        self,
        log_dir: str | os.PathLike,
        *,
        every: int = 1,
        n_samples: int = 64,
        random_state: int = 0,
    ) -> None:
        self.log_dir = log_dir
        self.every = every
        self.n_samples = n_samples
        self.random_state = random_state

    def setup(self, estimator: Any, context: Any) -> None:
        """Check the parameters, and open an event file."""
        check_count("every", self.every)
        check_count("n_samples", self.n_samples)
        check_seed(self.random_state)
        check_folder("log_dir", self.log_dir)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ImportError(
                "TensorBoard needs tensorboard; install it with `pip install"
                " 'probgen[tensorboard]'`."
            ) from error
        self._keep(context, SummaryWriter(str(self.log_dir)))

    def is_due(self, estimator: Any, context: Any) -> bool:
        """Return whether the task is an epoch after which to write histograms."""
        return is_epoch(context) and epoch_number(estimator, context) % self.every == 0

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, X: Any = None, fitted_estimator: Any = None
    ) -> None:
        """Write the record of an epoch, and histograms if they are due."""
        writer = self._kept(context)
        if writer is None or not is_epoch(context):
            return
        epoch = epoch_number(estimator, context)
        for name, value in last_record(estimator).items():
            if isinstance(value, list):
                writer.add_histogram(name, np.asarray(value), epoch)
            elif name in (*MEASURES, *TRAILING):
                writer.add_scalar(name, value, epoch)
            elif name != "epoch":
                writer.add_scalar(f"loss/{name}", value, epoch)
        if fitted_estimator is not None and self.is_due(estimator, context):
            self._write_model(writer, fitted_estimator, X, epoch)
        writer.flush()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Close the event file."""
        writer = self._drop(context)
        if writer is not None:
            writer.close()

    def _write_model(self, writer: Any, model: Any, X: Any, epoch: int) -> None:
        with _watched(_layers(model), self.n_samples) as activations:
            if X is not None and hasattr(model, "_transform"):
                observer, rows = as_in_training(model, _first_rows(X, self.n_samples))
                observer.transform(rows)
            draws = np.asarray(model.sample(self.n_samples, random_state=self.random_state))
        for name, values in activations.items():
            writer.add_histogram(f"activations/{name}", values, epoch)
        names = getattr(model, "feature_names_in_", [f"x{j}" for j in range(draws.shape[1])])
        if len(names) > MAX_COLUMNS:
            writer.add_histogram("samples", draws, epoch)
        else:
            for name, column in zip(names, draws.T):
                writer.add_histogram(f"samples/{name}", column, epoch)
        images = _as_images(model, draws)
        if images is not None:
            writer.add_images("samples", images, epoch, dataformats="NHWC")


def _layers(model: Any) -> dict[str, Any]:
    """The innermost modules of the networks of a model, by name."""
    import torch

    networks = {name: value for name, value in vars(model).items() if name.endswith("_")}
    return {
        f"{name}/{path or type(layer).__name__}": layer
        for name, network in networks.items()
        if isinstance(network, torch.nn.Module)
        for path, layer in network.named_modules()
        if not list(layer.children())
    }


@contextmanager
def _watched(layers: dict[str, Any], n_rows: int) -> Iterator[dict]:
    """Yield a dict that gets the outputs of each layer for n_rows in its first call, as arrays."""
    import torch

    outputs = {}

    def watch(name: str) -> Callable:
        def hook(layer: Any, inputs: Any, output: Any) -> None:
            if name not in outputs and isinstance(output, torch.Tensor):
                # Blocks may be padded after their rows.
                outputs[name] = output[:n_rows].detach().float().cpu().numpy()

        return hook

    with ExitStack() as stack:
        for name, layer in layers.items():
            stack.callback(layer.register_forward_hook(watch(name)).remove)
        yield outputs


def _first_rows(X: Any, n_rows: int) -> np.ndarray | None:
    """The first rows of any X that `fit` accepts."""
    from probgen.row_blocks import RowBlocks

    if isinstance(X, RowBlocks):
        return next(iter(X))[:n_rows]
    if hasattr(X, "iloc"):
        return X.iloc[:n_rows]
    if isinstance(X, list):
        return np.asarray(X[:n_rows])
    if hasattr(X, "shape"):
        return X[:n_rows]
    items = [X[i] for i in islice(range(len(X)), n_rows)]  # a torch data set
    return np.stack(
        [np.asarray(item[0] if isinstance(item, tuple) else item).ravel() for item in items]
    )


def _as_images(model: Any, draws: np.ndarray) -> np.ndarray | None:
    """Draws in [0, 1] of shape (n, height, width, channels), None if they are rows of a table."""
    if not hasattr(model, "image_shape"):
        return None
    height, width, channels = check_image_shape(model.image_shape, draws.shape[1])
    if height == 1:
        return None
    low, high = draws.min(), draws.max()
    return ((draws - low) / max(high - low, 1e-12)).reshape(-1, height, width, channels)
