"""The events of a fit, told to callbacks in scikit-learn's protocol."""

import functools
from contextlib import ExitStack

from probgen._callbacks import CALLBACKS
from probgen.training.callbacks._context import call_hooks, keywords

try:
    from sklearn.callback import CallbackSupportMixin as CallbackSupport
    from sklearn.callback import with_callbacks

    @with_callbacks
    def tear_down_callbacks(estimator):
        """Tear down the callbacks of `estimator.set_callbacks`, which the decorator does at the end
        of a method."""

except ImportError:  # scikit-learn < 1.9
    from probgen.training.callbacks._context import (
        CallbackSupportMixin as CallbackSupport,  # noqa: F401
    )
    from probgen.training.callbacks._context import tear_down_callbacks


class FitEvents:
    """Context manager round a fit that tells callbacks of its beginning and end, and of those of
    its epochs.

    The callbacks are those of `estimator.set_callbacks`, with what meta-estimators propagate, and
    then the ones that are passed. All of them are torn down at the end, whatever happened; what a
    callback raises surfaces.

    Parameters
    ----------
    estimator : CallbackSupport
        The estimator that is being fitted. Callbacks look at its `history_`, whose last record is
        to be that of the epoch that ended.
    callbacks : sequence of callback objects, default=()
        Further callbacks.
    max_iter : int, default=None
        Number at which the epochs end at the latest; None if that is not known.
    X, y : object, default=None
        What the caller passed to `fit`.
    fitted_attributes : callable, default=None
        Returns, as a dict, the attributes that the estimator would have if the fit stopped after
        this epoch; called only where a callback asks for the fitted estimator. At the end of the
        fit the estimator itself is to be fitted.

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
        self, estimator, callbacks=(), *, max_iter=None, X=None, y=None, fitted_attributes=None
    ):
        self._estimator, self._callbacks, self._max_iter = estimator, tuple(callbacks), max_iter
        self._data = {"X": lambda: X, "y": lambda: y}
        self._fitted_attributes = fitted_attributes

    def __enter__(self):
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

    def __exit__(self, error_type, error, traceback):
        if error is not None:
            return self._tear_down.__exit__(error_type, error, traceback)
        with self._tear_down:
            self._end(self._fit)
        return False

    def epoch_begin(self, k):
        """Tell the callbacks that an epoch begins.

        Parameters
        ----------
        k : int
            Number of the epoch, from 0; a fit that goes on from an earlier one begins at a higher
            number.
        """
        self._epoch = self._fit.subcontext("epoch", task_id=k)
        self._begin(self._epoch)

    def epoch_end(self, k):
        """Tell the callbacks that an epoch ended.

        Parameters
        ----------
        k : int
            Number of the epoch that began last.

        Returns
        -------
        stop : bool
            Whether a callback asks for the end of the fit.
        """
        if k != self._epoch.task_id:
            raise ValueError(
                f"k must be the number of the epoch that began last, {self._epoch.task_id}; got"
                f" {k!r}."
            )
        return self._end(self._epoch)

    def _begin(self, context):
        context.call_on_fit_task_begin(estimator=self._estimator, **self._data)
        call_hooks(self._callbacks, "on_fit_task_begin", self._estimator, context, **self._data)

    def _end(self, context):
        """Tell the callbacks that a task ended; return whether one of them asks to stop."""
        state = self._data | {"reconstruction_attributes": self._attributes(context)}
        stop = context.call_on_fit_task_end(estimator=self._estimator, **state)
        return (
            call_hooks(self._callbacks, "on_fit_task_end", self._estimator, context, **state)
            or stop
        )

    def _attributes(self, context):
        """What makes the fitted estimator at the end of a task, None where nobody has a use for
        it."""
        callbacks = [*getattr(self._estimator, CALLBACKS, ()), *self._callbacks]
        if self._fitted_attributes is None or not any(
            self._is_due(callback, context) for callback in callbacks
        ):
            return None
        return dict if context is self._fit else functools.cache(self._fitted_attributes)

    def _is_due(self, callback, context):
        if "fitted_estimator" not in keywords(callback.on_fit_task_end):
            return False
        return not hasattr(callback, "is_due") or callback.is_due(self._estimator, context)
