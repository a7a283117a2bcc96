"""Base class and helpers of the shipped callbacks."""

import os
import tempfile
from numbers import Integral
from typing import Any

from sklearn.base import BaseEstimator

from probgen._validation import show


class Callback(BaseEstimator):
    """Base class of callbacks: four hooks that do nothing.

    A subclass overrides the hooks that it needs; hooks of tasks may have any of the keyword-only
    arguments `X`, `y` and `fitted_estimator`. Its parameters are those of its constructor, as in
    every estimator, so that `clone` returns a fresh callback. One callback can serve several fits
    at a time: state of a fit is stored by its context. The fitted estimator is only made if
    `is_due` returns True.

    Examples
    --------
    >>> from probgen.training import Callback
    >>> class StopAfter(Callback):
    ...     def __init__(self, n_epochs):
    ...         self.n_epochs = n_epochs
    ...
    ...     def on_fit_task_end(self, estimator, context):
    ...         return context.task_name == "epoch" and context.task_id + 1 >= self.n_epochs
    >>> StopAfter(5)
    StopAfter(n_epochs=5)
    """

    def setup(self, estimator: Any, context: Any) -> None:
        """Called before a fit.

        Parameters
        ----------
        estimator : estimator object
            The estimator about to be fitted.
        context : CallbackContext
            The task of the fit.
        """

    def teardown(self, estimator: Any, context: Any) -> None:
        """Called after a fit, also if it failed.

        Parameters
        ----------
        estimator : estimator object
            The estimator that was fitted.
        context : CallbackContext
            The task of the fit.
        """

    def on_fit_task_begin(self, estimator: Any, context: Any) -> None:
        """Called when a fit or one of its epochs begins.

        Parameters
        ----------
        estimator : estimator object
            The estimator being fitted.
        context : CallbackContext
            The task, with `task_name`, `task_id` and `parent`.
        """

    def on_fit_task_end(self, estimator: Any, context: Any) -> bool | None:
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
            True requests the end of the fit.
        """

    def is_due(self, estimator: Any, context: Any) -> bool:
        """Return whether the callback needs the fitted estimator at the end of a task.

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

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_live"}

    def _keep(self, context: Any, value: Any) -> None:
        """Store a value for the duration of a fit."""
        self.__dict__.setdefault("_live", {})[id(context)] = value

    def _kept(self, context: Any) -> Any:
        """The value stored for the fit of a task, or None."""
        live = vars(self).get("_live", {})
        while context is not None and id(context) not in live:
            context = context.parent
        if context is None:
            return None
        return live[id(context)]

    def _drop(self, context: Any) -> Any:
        """Remove and return the value stored for a fit."""
        return vars(self).get("_live", {}).pop(id(context), None)


def is_epoch(context: Any) -> bool:
    """Whether a task is an epoch, and not a whole fit."""
    return (
        context.max_subtasks == 0
        and context.parent is not None
        and context.source_task_name is None
    )


def last_record(estimator: Any) -> dict[str, Any]:
    """The record of the last epoch, empty if the estimator has no history."""
    history = getattr(estimator, "history_", None)
    if not history:
        return {}
    return history[-1]


def epoch_number(estimator: Any, context: Any) -> int:
    """Number of the epoch that ended, from 1, by the history or else by its place in the fit."""
    return last_record(estimator).get("epoch", context.task_id + 1)


def check_seed(random_state: Any) -> None:
    """Raise unless random_state is an integer."""
    if not isinstance(random_state, Integral):
        raise ValueError(
            f"random_state must be an integer, one seed for all draws; got {show(random_state)}."
        )


def check_folder(name: str, folder: Any) -> None:
    """Create the folder if needed, and raise unless files can be written to it."""
    if not isinstance(folder, str | os.PathLike):
        raise ValueError(f"{name} must be the path of a folder; got {show(folder)}.")
    try:
        os.makedirs(folder, exist_ok=True)
        with tempfile.TemporaryFile(dir=os.fspath(folder)):
            pass
    except OSError as error:
        raise OSError(
            f"{name} must be a folder that can be written to; got {os.fspath(folder)!r}:"
            f" {error.strerror}."
        ) from error
