"""Calls of the hooks of callbacks, and callback support for versions of scikit-learn without it.

Names and meanings are those of `sklearn.callback`, reduced to what a single estimator needs.
"""

import copy
import functools
import inspect
import uuid
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Self

from probgen._callbacks import CALLBACKS, CALLBACKS_TO_TEAR_DOWN, FIT_CONTEXT
from probgen._validation import show

HOOKS = ("setup", "teardown", "on_fit_task_begin", "on_fit_task_end")
ARGUMENTS = ("X", "y", "metadata", "fitted_estimator")


def keywords(hook: Callable) -> list[str]:
    """Names of the keyword-only arguments of a hook."""
    return [p.name for p in inspect.signature(hook).parameters.values() if p.kind is p.KEYWORD_ONLY]


def call_hooks(
    callbacks: Iterable[Any],
    hook: str,
    estimator: Any,
    context: Any,
    *,
    X: Any = None,
    y: Any = None,
    metadata: Any = None,
    reconstruction_attributes: Any = None,
) -> bool:
    """Call a hook of each callback; return whether one of them returned True.

    Each hook gets those of ARGUMENTS that are keyword-only in its signature. They may be given as
    functions without arguments, which are called at most once, if a hook needs the value.
    """

    @functools.cache
    def value(name: str) -> Any:
        if name == "fitted_estimator":
            return _as_if_fitted(estimator, _called(reconstruction_attributes))
        return _called({"X": X, "y": y, "metadata": metadata}[name])

    stop = False
    for callback in callbacks:
        method = getattr(callback, hook)
        names = keywords(method)
        for name in names:
            if name not in ARGUMENTS:
                raise TypeError(
                    f"{hook} of {type(callback).__name__} has the keyword {name!r}; a hook can ask"
                    f" for {', '.join(ARGUMENTS)}."
                )
        stop |= bool(method(estimator, context, **{name: value(name) for name in names}))
    return stop


class CallbackContext:
    """A task of a fit: the fit itself or one of its epochs.

    Attributes
    ----------
    task_name : str
        "fit" or "epoch".
    task_id : int
        Number of the task among those of its parent, from 0.
    max_subtasks : int or None
        Largest number of tasks within this one; None if it is not known.
    sequential_subtasks : bool
        Whether the subtasks are numbered from 0 without a gap.
    parent : CallbackContext or None
        The task around this one.
    estimator_name : str
        Name of the class of the estimator.
    root_uuid : UUID
        Identifier of the fit.
    init_time : datetime
        Time at which the task began.
    source_estimator_name, source_task_name : None
        There are no tasks of meta-estimators here.
    """

    source_estimator_name = source_task_name = None

    def __init__(
        self,
        callbacks: list,
        estimator_name: str,
        task_name: str,
        task_id: int | None,
        max_subtasks: int | None,
        sequential_subtasks: bool,
        parent: "CallbackContext | None" = None,
    ) -> None:
        self._callbacks = callbacks
        self.estimator_name, self.task_name, self.task_id = estimator_name, task_name, task_id
        self.max_subtasks, self.sequential_subtasks = max_subtasks, sequential_subtasks
        self.parent = parent
        self.root_uuid: uuid.UUID = uuid.uuid4()
        if parent is not None:
            self.root_uuid = parent.root_uuid
        self.init_time = datetime.now(UTC)

    def __repr__(self) -> str:
        return f"CallbackContext({self.estimator_name}, {self.task_name}, {self.task_id})"

    def subcontext(
        self,
        task_name: str = "",
        task_id: int | None = None,
        max_subtasks: int | None = 0,
        sequential_subtasks: bool = True,
    ) -> "CallbackContext":
        """Return the context of a task within this one."""
        return CallbackContext(
            self._callbacks,
            self.estimator_name,
            task_name,
            task_id,
            max_subtasks,
            sequential_subtasks,
            parent=self,
        )

    def call_on_fit_task_begin(self, *, estimator: Any, **lazy: Any) -> Self:
        """Report the start of this task to the callbacks."""
        call_hooks(self._callbacks, "on_fit_task_begin", estimator, self, **lazy)
        return self

    def call_on_fit_task_end(self, *, estimator: Any, **lazy: Any) -> bool:
        """Report the end of this task; return whether a callback requests to stop."""
        return call_hooks(self._callbacks, "on_fit_task_end", estimator, self, **lazy)


class CallbackSupportMixin:
    """Mixin of estimators that report to callbacks."""

    def set_callbacks(self, *callbacks: Any) -> Self:
        """Set the callbacks of later fits, replacing earlier ones.

        Parameters
        ----------
        *callbacks : callback objects
            With the methods `setup`, `teardown`, `on_fit_task_begin` and `on_fit_task_end`.

        Returns
        -------
        self : object

        Raises
        ------
        TypeError
            If an object lacks one of the methods, or is a class.
        """
        for callback in callbacks:
            if isinstance(callback, type) or not all(hasattr(callback, hook) for hook in HOOKS):
                raise TypeError(
                    f"callbacks must be instances with the methods {', '.join(HOOKS)}; got"
                    f" {show(callback)}."
                )
        setattr(self, CALLBACKS, list(callbacks))
        return self

    def _init_callback_context(
        self,
        task_name: str = "fit",
        task_id: int = 0,
        max_subtasks: int | None = 0,
        sequential_subtasks: bool = True,
    ) -> CallbackContext:
        """Return the context of a fit whose callbacks are set up."""
        callbacks = getattr(self, CALLBACKS, [])
        name = type(self).__name__
        context = CallbackContext(
            callbacks, name, task_name, task_id, max_subtasks, sequential_subtasks
        )
        set_up: list = []
        setattr(self, FIT_CONTEXT, context)
        setattr(self, CALLBACKS_TO_TEAR_DOWN, set_up)
        for callback in callbacks:
            set_up.append(callback)
            callback.setup(estimator=self, context=context)
        return context


def tear_down_callbacks(estimator: Any) -> None:
    """Tear down the callbacks that were set up, each of them even if another one fails."""
    context = vars(estimator).pop(FIT_CONTEXT, None)
    errors = []
    for callback in vars(estimator).pop(CALLBACKS_TO_TEAR_DOWN, []):
        try:
            callback.teardown(estimator=estimator, context=context)
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _called(value: Any) -> Any:
    if callable(value):
        return value()
    return value


def _as_if_fitted(estimator: Any, attributes: dict | None) -> Any:
    """A shallow copy of estimator with these attributes, None without any."""
    if attributes is None:
        return None
    fitted = copy.copy(estimator)
    vars(fitted).update(attributes)
    return fitted
