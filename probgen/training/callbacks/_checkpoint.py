"""Callback that saves the model after some of the epochs."""

import copy
import math
import os
from pathlib import Path
from typing import Any

from probgen._callbacks import CALLBACKS, CALLBACKS_TO_TEAR_DOWN, FIT_CONTEXT, PARENT_CONTEXT
from probgen._validation import check_count
from probgen._warnings import warn
from probgen.training.callbacks._base import Callback, check_folder, epoch_number, is_epoch
from probgen.training.history import History

PATTERN = "epoch-[0-9]*.probgen"
FIT_ATTRIBUTES = (CALLBACKS, CALLBACKS_TO_TEAR_DOWN, FIT_CONTEXT, PARENT_CONTEXT)


class Checkpoint(Callback):
    """Save the model after some of the epochs, to files such as `epoch-0005.probgen`.

    `probgen.load` opens them as fitted models without callbacks. To resume a fit that was killed,
    give the trainer a `checkpoint` folder. If a file cannot be written, there is a warning, and the
    fit continues.

    Parameters
    ----------
    folder : str or path
        Folder of the files, created if needed. Each fit needs its own.
    every : int, default=1
        Epochs from one file to the next, at least 1.
    keep : int, default=3
        Number of files to keep, the latest ones; None keeps all.
    best_only : bool, default=False
        Whether to save only models that are better than all before, by `validation_score` if rows
        are held out, else by the first loss.

    Raises
    ------
    OSError
        At the beginning of a fit, if the folder cannot be created or written to.
    ValueError
        At the beginning of a fit, if a parameter is out of range; after an epoch, with best_only,
        if the estimator has no history.

    Examples
    --------
    >>> from probgen.training import Checkpoint
    >>> Checkpoint("models", every=10)
    Checkpoint(every=10, folder='models')
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        *,
        every: int = 1,
        keep: int | None = 3,
        best_only: bool = False,
    ) -> None:
        self.folder = folder
        self.every = every
        self.keep = keep
        self.best_only = best_only

    def setup(self, estimator: Any, context: Any) -> None:
        """Check the parameters, and create the folder."""
        check_count("every", self.every)
        if self.keep is not None:
            check_count("keep", self.keep, hint="Or None, for all.")
        check_folder("folder", self.folder)

    def is_due(self, estimator: Any, context: Any) -> bool:
        """Return whether the task is an epoch after which to save."""
        if not is_epoch(context) or epoch_number(estimator, context) % self.every:
            return False
        return not self.best_only or self._is_best(estimator)

    def on_fit_task_end(
        self, estimator: Any, context: Any, *, fitted_estimator: Any = None
    ) -> None:
        """Save the model if it is due."""
        if fitted_estimator is None or not self.is_due(estimator, context):
            return
        from probgen.persistence import save

        _forget_callbacks(fitted_estimator)
        path = Path(self.folder) / f"epoch-{epoch_number(estimator, context):04d}.probgen"
        try:
            save(fitted_estimator, path)
            self._remove_old()
        except OSError as error:
            reason = error.strerror or str(error)
            warn(f"Checkpoint could not write {str(path)!r}: {reason}; the fit continues.")

    def _is_best(self, estimator: Any) -> bool:
        """Whether the last epoch is better than those before it that were due."""
        history = History(getattr(estimator, "history_", ()))
        if not history.loss_names and "validation_score" not in history.columns:
            raise ValueError(
                "best_only=True needs a history_ with a loss or a validation_score, which"
                f" {type(estimator).__name__} does not keep; set best_only=False."
            )
        if math.isnan(history[-1].get("validation_score", math.nan)):
            scores = [-loss for loss in history[history.loss_names[0]]]
        else:
            scores = history["validation_score"]
        *before, last = [
            score for score, epoch in zip(scores, history["epoch"]) if epoch % self.every == 0
        ]
        return all(last > score for score in before if not math.isnan(score))

    def _remove_old(self) -> None:
        """Remove all but the latest files."""
        if self.keep is None:
            return
        files = sorted(
            Path(self.folder).glob(PATTERN), key=lambda file: (os.stat(file).st_mtime_ns, file)
        )
        for file in files[: -self.keep]:
            file.unlink()


def _forget_callbacks(model: Any) -> None:
    """Remove the callbacks from a copy of an estimator, whose trainer the original shares."""
    for name in FIT_ATTRIBUTES:
        vars(model).pop(name, None)
    if getattr(getattr(model, "trainer", None), "callbacks", ()):
        model.trainer = copy.copy(model.trainer).set_params(callbacks=())
