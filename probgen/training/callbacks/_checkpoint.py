"""Fitted models on disk, as they are after some of the epochs."""

import copy
import math
import os
from pathlib import Path

from probgen._callbacks import CALLBACKS, CALLBACKS_TO_TEAR_DOWN, FIT_CONTEXT, PARENT_CONTEXT
from probgen._validation import check_count
from probgen._warnings import warn
from probgen.training.callbacks._base import Callback, check_folder, epoch_number, is_epoch
from probgen.training.history import History

PATTERN = "epoch-[0-9]*.probgen"
FIT_ATTRIBUTES = (CALLBACKS, CALLBACKS_TO_TEAR_DOWN, FIT_CONTEXT, PARENT_CONTEXT)


class Checkpoint(Callback):
    """Save the model as it is after some of the epochs, to files such as `epoch-0005.probgen`.

    `probgen.load` opens them as fitted models without callbacks; to go on with a fit that was
    killed, give the trainer a `checkpoint` folder. A file that cannot be written is warned of, and
    the fit goes on.

    Parameters
    ----------
    folder : str or path
        Folder of the files, made where it is missing. Each fit needs its own.
    every : int, default=1
        Epochs from one file to the next, at least 1.
    keep : int, default=3
        Number of files that are kept, those written last; None keeps all.
    best_only : bool, default=False
        Whether to write only what is better than all before: in `validation_score` where rows were
        held out, else in the loss (the first of several).

    Raises
    ------
    OSError
        At the beginning of a fit, if the folder cannot be made or written to.
    ValueError
        At the beginning of a fit, if a parameter is out of range; after an epoch, with best_only,
        if the estimator keeps no history.

    Examples
    --------
    >>> from probgen.training import Checkpoint
    >>> Checkpoint("models", every=10)
    Checkpoint(every=10, folder='models')
    """

    def __init__(self, folder, *, every=1, keep=3, best_only=False):
        self.folder = folder
        self.every = every
        self.keep = keep
        self.best_only = best_only

    def setup(self, estimator, context):
        """Check the parameters, and make the folder."""
        check_count("every", self.every)
        if self.keep is not None:
            check_count("keep", self.keep, hint="Or None, for all.")
        check_folder("folder", self.folder)

    def is_due(self, estimator, context):
        """Whether the task is an epoch that is to be saved."""
        if not is_epoch(context) or epoch_number(estimator, context) % self.every:
            return False
        return not self.best_only or self._is_best(estimator)

    def on_fit_task_end(self, estimator, context, *, fitted_estimator=None):
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
            warn(
                f"Checkpoint could not write {str(path)!r}: {reason}; the fit goes on.",
            )

    def _is_best(self, estimator):
        """Whether the last epoch is better than those before it that were due."""
        history = History(getattr(estimator, "history_", ()))
        if not history.loss_names and "validation_score" not in history.columns:
            raise ValueError(
                "best_only=True needs a history_ with a loss or a validation_score, which"
                f" {type(estimator).__name__} does not keep; set best_only=False."
            )
        scored = not math.isnan(history[-1].get("validation_score", math.nan))
        column = (
            history["validation_score"]
            if scored
            else [-loss for loss in history[history.loss_names[0]]]
        )
        *before, last = [
            value for value, epoch in zip(column, history["epoch"]) if epoch % self.every == 0
        ]
        return all(last > value for value in before if not math.isnan(value))

    def _remove_old(self):
        files = sorted(
            Path(self.folder).glob(PATTERN), key=lambda file: (os.stat(file).st_mtime_ns, file)
        )
        for file in [] if self.keep is None else files[: -self.keep]:
            file.unlink()


def _forget_callbacks(model):
    """Take the callbacks from a copy of an estimator, and from its trainer, which it shares with
    the original."""
    for name in FIT_ATTRIBUTES:
        vars(model).pop(name, None)
    if getattr(getattr(model, "trainer", None), "callbacks", ()):
        model.trainer = copy.copy(model.trainer).set_params(callbacks=())
