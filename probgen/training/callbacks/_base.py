"""What the shipped callbacks share."""

import os
import tempfile

from sklearn.base import BaseEstimator


class Callback(BaseEstimator):
    """Base class of callbacks: four hooks that do nothing.

    A subclass overrides the hooks it needs, and may name any of the keyword-only arguments `X`, `y`
    and `fitted_estimator` in those of tasks. Its parameters are those of its constructor, as in
    every estimator, so that `clone` gives a fresh one. One callback can serve several fits at a
    time: what belongs to one fit is kept under its context. The fitted estimator is made only where
    `is_due` says that a callback has a use for it.

    Examples
    --------
    >>> from probgen.training.callbacks import Callback
    >>> class StopAfter(Callback):
    ...     def __init__(self, n_epochs):
    ...         self.n_epochs = n_epochs
    ...
    ...     def on_fit_task_end(self, estimator, context):
    ...         return context.task_name == "epoch" and context.task_id + 1 >= self.n_epochs
    >>> StopAfter(5)
    StopAfter(n_epochs=5)
    """

    def setup(self, estimator, context):
        """Called before a fit.

        Parameters
        ----------
        estimator : estimator object
            The estimator about to be fitted.
        context : CallbackContext
            The task of the fit.
        """

    def teardown(self, estimator, context):
        """Called after a fit, whatever became of it.

        Parameters
        ----------
        estimator : estimator object
            The estimator that was fitted.
        context : CallbackContext
            The task of the fit.
        """

    def on_fit_task_begin(self, estimator, context):
        """Called when a fit or one of its epochs begins.

        Parameters
        ----------
        estimator : estimator object
            The estimator being fitted.
        context : CallbackContext
            The task, with `task_name`, `task_id` and `parent`.
        """

    def on_fit_task_end(self, estimator, context):
        """Called when a fit or one of its epochs has ended.

        Parameters
        ----------
        estimator : estimator object
            The estimator being fitted.
        context : CallbackContext
            The task, with `task_name`, `task_id` and `parent`.

        Returns
        -------
        stop : bool or None
            True asks for the end of the fit.
        """

    def is_due(self, estimator, context):
        """Whether the callback has a use for the fitted estimator at the end of a task.

        Parameters
        ----------
        estimator : estimator object
            The estimator being fitted.
        context : CallbackContext
            The task.

        Returns
        -------
        due : bool
        """
        return True

    def __getstate__(self):
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_live"}

    def _keep(self, context, value):
        """Keep what belongs to a fit while it lasts."""
        self.__dict__.setdefault("_live", {})[id(context)] = value

    def _kept(self, context):
        """What was kept for the fit that this task belongs to, None without any."""
        live = vars(self).get("_live", {})
        while context is not None and id(context) not in live:
            context = context.parent
        return None if context is None else live[id(context)]

    def _drop(self, context):
        """What was kept for this fit, and is no longer."""
        return vars(self).get("_live", {}).pop(id(context), None)


def is_epoch(context):
    """Whether a task is a step of a fit, and not a whole fit."""
    return (
        context.max_subtasks == 0
        and context.parent is not None
        and context.source_task_name is None
    )


def last_record(estimator):
    """The record of the epoch that ended last, empty where an estimator keeps no history."""
    history = getattr(estimator, "history_", None)
    return history[-1] if history else {}


def epoch_number(estimator, context):
    """Number of the epoch that ended, from 1: the one in the history, or else by its place in the
    fit."""
    return last_record(estimator).get("epoch", context.task_id + 1)


def check_folder(name, folder):
    """Make the folder if it is missing, and raise unless files can be written there."""
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"{name} must be the path of a folder; got {folder!r}.")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=os.fspath(folder)):
            pass
    except OSError as error:
        raise OSError(
            f"{name} must be a folder that can be written to; got {os.fspath(folder)!r}:"
            f" {error.strerror}."
        ) from error
