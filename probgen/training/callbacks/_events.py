"""Events of a fit, reported to callbacks in scikit-learn's protocol."""

import functools
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from typing import Any, Self

from probgen._callbacks import CALLBACKS
from probgen.training.callbacks._context import call_hooks, keywords

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks

    @with_callbacks
    def tear_down_callbacks(estimator: Any) -> None:
        """Tear down the callbacks of `estimator.set_callbacks`, which the decorator does."""

except ImportError:  # scikit-learn < 1.9
    from probgen.training.callbacks._context import CallbackSupportMixin as CallbackSupport
    from probgen.training.callbacks._context import tear_down_callbacks

__all__ = ["CallbackSupport", "FitEvents"]


class FitEvents:
    """Context manager around a fit that reports its start and end, and those of its epochs.

    The callbacks are those of `estimator.set_callbacks`, including those that meta-estimators
    propagate, and then the ones that are passed. All of them are torn down at the end, also after
    an error; exceptions of callbacks are raised.

    Parameters
    ----------
    estimator : CallbackSupport
        The estimator that is being fitted. Callbacks read its `history_`, whose last record must be
        that of the epoch that ended.
    callbacks : sequence of callback objects, default=()
        Further callbacks.
    max_iter : int, default=None
        Largest number of epochs; None if it is not known.
    X, y : object, default=None
        What the caller passed to `fit`.
    fitted_attributes : callable, default=None
        Returns, as a dict, the attributes that the estimator would have if the fit stopped after
        this epoch; only called if a callback requests the fitted estimator. At the end of the fit
        the estimator itself must be fitted.

    Examples
    --------
    >>> from probgen.training.callbacks import CallbackSupport, FitEvents
    >>> class Counter(CallbackSupport):
    ...     def fit(self, X, y=None):
    ...         with FitEvents(
    ...             self, max_iter=3, X=X, fitted_attributes=lambda: {"n_iter_": self.n_iter_}
    ...         ) as events:
    ...             for k in range(3):
    ...                 events.epoch_begin(k)
    ...                 self.n_iter_ = k + 1
    ...                 if events.epoch_end(k):
    ...                     break
    ...         return self
    >>> Counter().fit([[0.0]]).n_iter_
    3
    """

    def __init__(
        self,
        estimator: Any,
        callbacks: Iterable = (),
        *,
        max_iter: int | None = None,
        X: Any = None,
        y: Any = None,
        fitted_attributes: Callable[[], dict] | None = None,
    ) -> None:
        self._estimator = estimator
        self._callbacks = tuple(callbacks)
        self._max_iter = max_iter
        self._data = {"X": lambda: X, "y": lambda: y}
        self._fitted_attributes = fitted_attributes

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            stack.callback(tear_down_callbacks, self._estimator)
            self._fit = self._estimator._init_callback_context(
                max_subtasks=self._max_iter, sequential_subtasks=False
            )
            for callback in self._callbacks:
                stack.callback(callback.teardown, estimator=self._estimator, context=self._fit)
                callback.setup(estimator=self._estimator, context=self._fit)
            self._begin(self._fit)
            self._tear_down = stack.pop_all()
        return self

    def __exit__(self, error_type: Any, error: Any, traceback: Any) -> bool | None:
        if error is not None:
            return self._tear_down.__exit__(error_type, error, traceback)
        with self._tear_down:
            self._end(self._fit)
        return False

    def epoch_begin(self, k: int) -> None:
        """Report the start of an epoch.

        Parameters
        ----------
        k : int
            Number of the epoch, from 0; a fit that resumes an earlier one begins higher.
        """
        self._epoch = self._fit.subcontext("epoch", task_id=k)
        self._begin(self._epoch)

    def epoch_end(self, k: int) -> bool:
        """Report the end of an epoch.

        Parameters
        ----------
        k : int
            Number of the epoch that began last.

        Returns
        -------
        stop : bool
            Whether a callback requests the end of the fit.
        """
        if k != self._epoch.task_id:
            raise ValueError(
                f"k must be the number of the epoch that began last, {self._epoch.task_id}; got"
                f" {k!r}."
            )
        return self._end(self._epoch)

    def _begin(self, context: Any) -> None:
        context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        call_hooks(self._callbacks, "on_fit_task_begin", self._estimator, context, **self._data)

    def _end(self, context: Any) -> bool:
        """Report the end of a task; return whether a callback requests to stop."""
        state = self._data | {"reconstruction_attributes": self._attributes(context)}
        stop = context.call_on_fit_task_end(estimator=self._estimator, **state)
        return (
            call_hooks(self._callbacks, "on_fit_task_end", self._estimator, context, **state)
            or stop
        )

    def _attributes(self, context: Any) -> Callable[[], dict[str, Any]] | None:
        """Function for the fitted attributes at the end of a task, None if none are needed."""
        callbacks = [*getattr(self._estimator, CALLBACKS, ()), *self._callbacks]
        if self._fitted_attributes is None or not any(
            self._is_due(callback, context) for callback in callbacks
        ):
            return None
        if context is self._fit:
            return dict  # the estimator has them all
        return functools.cache(self._fitted_attributes)

    def _is_due(self, callback: Any, context: Any) -> bool:
        if "fitted_estimator" not in keywords(callback.on_fit_task_end):
            return False
        return not hasattr(callback, "is_due") or callback.is_due(self._estimator, context)
