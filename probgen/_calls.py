"""What the calls of every estimator promise, whatever a family writes in them.

A `fit` or `partial_fit` that raises leaves the estimator as it was, and a query sees the parameters
of the fit, not those that were set since. Both are here, around the methods of all classes, so that
no family has to see to it.
"""

import contextlib
import copy
import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from types import FunctionType
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import BaseEstimator, clone

from probgen._validation import check_flags, plain

FITS = ("fit", "partial_fit", "fit_transform", "fit_predict")
# Public methods that are no queries of what was fitted.
OTHERS = frozenset(
    {
        *FITS,
        "get_params",
        "set_params",
        "set_output",
        "set_callbacks",
        "get_metadata_routing",
    }
)

# NumPy's defaults, on which the code counts, whatever the caller has set.
FLOATING_POINT: Any = {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}


class FitInterrupted(KeyboardInterrupt):
    """Ctrl-C in the first fit of a network, whose estimator keeps what it has learned."""


class GuardedCalls:
    """Base of estimators whose failed fits change nothing, and whose queries see the fit alone.

    A subclass may set these class attributes:

    - `_changed_in_place`, the names of attributes that a fit changes in place, of which a copy is
      kept until it has succeeded;
    - `_query_parameters`, the names of parameters that queries read anew at each call, such as the
      number of draws behind an estimate;
    - `_modes`, a function that returns the context of all calls, which sets global modes and puts
      them back.
    """

    get_params: Any  # of scikit-learn's BaseEstimator
    _changed_in_place: Any = ()
    _modes: ClassVar[Callable] = contextlib.nullcontext
    _query_parameters: ClassVar[frozenset] = frozenset()

    def __init_subclass__(cls, **settings: Any) -> None:
        super().__init_subclass__(**settings)
        for name in FITS:
            member = inspect.getattr_static(cls, name, None)
            if member is not None:
                setattr(cls, name, _wrapped(member, _guarded_fit))
        for name, member in list(vars(cls).items()):
            is_method = isinstance(member, FunctionType) or hasattr(member, "fn")
            if is_method and not name.startswith("_") and name not in OTHERS:
                setattr(cls, name, _wrapped(member, _guarded_query))

    @contextlib.contextmanager
    def _unchanged_if_broken(self) -> Iterator[None]:
        """Restore all attributes if the block raises."""
        before = dict(vars(self))
        changed = {name: before[name] for name in self._changed_in_place if name in before}
        before.update(copy.deepcopy(changed))
        try:
            yield
        except FitInterrupted:
            raise
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def __getstate__(self) -> dict:
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_former_parameters"}

    def _keep_parameters(self) -> None:
        """Keep the parameters of a fit for the queries after it."""
        parameters = self.get_params(deep=False)
        self._fitted_parameters = {
            name: _kept(value)
            for name, value in parameters.items()
            if name not in self._query_parameters
        }

    def _with_fitted_parameters(self) -> Self:
        """This estimator, or a shallow copy with the parameters of the fit if some were set since.

        Models of files of earlier versions know no others than their own.
        """
        kept: Mapping[str, Any] = vars(self).get("_fitted_parameters", {})
        changed = {
            name: value for name, value in kept.items() if not same(getattr(self, name), value)
        }
        for name in self._query_parameters & vars(self).keys():
            value = getattr(self, name)
            if plain(value) is not value:
                changed[name] = plain(value)
        if not changed:
            return self
        twin = object.__new__(type(self))
        vars(twin).update(vars(self))
        vars(twin).update(changed)
        return twin

    @contextlib.contextmanager
    def _plain_parameters(self) -> Iterator[None]:
        """Have Python's numbers for NumPy's, which overflow in small types, within the block."""
        given = {}
        for name, value in self.get_params(deep=False).items():
            number = plain(value)
            if number is not value:
                given[name] = value
                setattr(self, name, number)
        try:
            yield
        finally:
            for name, value in given.items():
                setattr(self, name, value)


def same(value: Any, kept: Any) -> bool:
    """Whether the value of a parameter is the one that was kept."""
    if value is kept:
        return True
    if type(value) is not type(kept):
        return False
    if isinstance(value, BaseEstimator):
        parameters, others = value.get_params(deep=False), kept.get_params(deep=False)
        return all(same(parameters[name], other) for name, other in others.items())
    if isinstance(value, np.ndarray):
        return np.array_equal(value, kept)
    if isinstance(value, list | tuple):
        return len(value) == len(kept) and all(map(same, value, kept))
    if isinstance(value, dict):
        return value.keys() == kept.keys() and all(same(value[key], kept[key]) for key in kept)
    return isinstance(value, str | int | float | bool) and value == kept


def _kept(value: Any) -> Any:
    """The value of a parameter as it is now, whatever becomes of the object."""
    if isinstance(value, BaseEstimator):
        return clone(value)
    if isinstance(value, list | dict | set | np.ndarray):
        return copy.deepcopy(value)
    return value


def _plain_argument(value: Any) -> Any:
    """An argument of a query with a number of Python in place of one of NumPy."""
    if isinstance(value, np.generic):
        return plain(value)
    return value


def _wrapped(member: Any, wrap: Callable) -> Any:
    """A method, or scikit-learn's descriptor of one that is there at times, within a guard."""
    if hasattr(member, "fn"):  # of available_if
        if hasattr(member.fn, "_is_guarded"):
            return member
        member = copy.copy(member)
        member.fn = wrap(member.fn)
        return member
    if hasattr(member, "_is_guarded"):
        return member
    return wrap(member)


def _marked(guard: Any) -> Callable:
    """A guard, which will not be put around itself in a subclass."""
    guard._is_guarded = True
    return guard


def _guarded_fit(method: Callable) -> Callable:
    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        # An override that calls this one, or a fit inside of another call, is guarded already.
        if "_former_parameters" in vars(self):
            return method(self, *args, **kwargs)
        floats = np.errstate(**FLOATING_POINT)
        with self._unchanged_if_broken(), self._plain_parameters(), floats, self._modes():
            check_flags(self)
            # Queries inside of the fit see its own parameters, which are those that are set.
            self._former_parameters = vars(self).pop("_fitted_parameters", {})
            try:
                result = method(self, *args, **kwargs)
                self._keep_parameters()
            except FitInterrupted:
                self._keep_parameters()
                raise
            finally:
                del self._former_parameters
        return result

    return _marked(guarded)


def _guarded_query(method: Callable) -> Callable:
    @functools.wraps(method)
    def guarded(self: Any, *args: Any, **kwargs: Any) -> Any:
        args = tuple(map(_plain_argument, args))
        kwargs = {name: _plain_argument(value) for name, value in kwargs.items()}
        with np.errstate(**FLOATING_POINT), self._modes():
            return method(self._with_fitted_parameters(), *args, **kwargs)

    return _marked(guarded)
