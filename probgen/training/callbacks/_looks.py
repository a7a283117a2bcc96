"""What callbacks share that look at a model after epochs, and say which parameter to move where
something is wrong."""

import copy
import inspect
from dataclasses import dataclass, field

import numpy as np
from sklearn.utils import _safe_indexing

from probgen._validation import check_count
from probgen._warnings import warn
from probgen.training.callbacks._base import Callback, epoch_number, is_epoch, last_record


class Doctor(Callback):
    """Base class of callbacks that look at a model after every k-th epoch, on rows of X that are
    always the same.

    A subclass has the parameters `every` and `n_rows`, and writes `_check_estimator(estimator)`,
    which raises; `_look(model, X, y, epoch, record, looks)`, a frozen object with the number
    `epoch` and a method `columns()`, a dict for the record of the epoch, where `looks` are the
    former ones; and `_symptoms(looks, model)`, sentences by the name of what is wrong in the last
    look. From the middle of a fit on, and at its end, it warns of each symptom once.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_looks,)
        Numbers of the epochs after which the model was looked at, from 1, in the last fit; one that
        goes on from an earlier one, such as `partial_fit`, adds to them.
    """

    every: int
    n_rows: int

    @property
    def epochs_(self):
        return np.array([look.epoch for look in self._looks()])

    def setup(self, estimator, context):
        """Check the parameters and the estimator."""
        check_count("every", self.every)
        check_count("n_rows", self.n_rows, low=2)
        self._check_estimator(estimator)

    def is_due(self, estimator, context):
        """Whether the task is an epoch after which to look at the model."""
        return is_epoch(context) and epoch_number(estimator, context) % self.every == 0

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        """Look at the model if it is due, and warn if it is time to."""
        if fitted_estimator is not None and self.is_due(estimator, context):
            self._add_look(estimator, context, fitted_estimator, X, y)
        case = self._kept(context)
        if case is not None and (not is_epoch(context) or _is_late(context)):
            case.warn()

    def teardown(self, estimator, context):
        """Forget the fit, not what was found."""
        self._drop(context)

    def _add_look(self, estimator, context, model, X, y):
        epoch = epoch_number(estimator, context)
        case = self._kept(context.parent)
        if case is None:
            former = vars(self).get("_case")
            case = former if former is not None and former.goes_on_at(epoch) else _Case()
            self._keep(context.parent, case)
            self._case = case
        if not (isinstance(X, list | tuple) or hasattr(X, "shape")):
            name = type(self).__name__
            case.symptoms = {
                "stream": (
                    f"{name} looks at rows of an array, and saw none: X is {type(X).__name__}."
                )
            }
            return
        rows, labels = _spaced_rows(X, y, self.n_rows)
        look = self._look(model, rows, labels, epoch, last_record(estimator), case.looks)
        case.looks.append(look)
        case.symptoms = self._symptoms(case.looks, model)
        last_record(estimator).update(look.columns())

    def _looks(self):
        """What was found in the last fit."""
        case = vars(self).get("_case")
        if case is None or not case.looks:
            raise AttributeError(
                f"{type(self).__name__} has seen no model yet; set it on an estimator, fit that to"
                " an array, and look at this object."
            )
        return case.looks

    def _check_estimator(self, estimator):
        raise NotImplementedError

    def _look(self, model, X, y, epoch, record, looks):
        raise NotImplementedError

    def _symptoms(self, looks, model):
        raise NotImplementedError


@dataclass
class _Case:
    """The looks of a fit, what was wrong in the last one, and what was warned of."""

    looks: list = field(default_factory=list)
    symptoms: dict = field(default_factory=dict)
    known: set = field(default_factory=set)

    def goes_on_at(self, epoch):
        """Whether a fit whose first look comes after this epoch goes on from the one of this
        case."""
        return bool(self.looks) and self.looks[-1].epoch < epoch

    def warn(self):
        """Warn of what is wrong, unless it was warned of."""
        for name, sentence in self.symptoms.items():
            if name not in self.known:
                self.known.add(name)
                warn(sentence)


def without_names(model):
    """A shallow copy of a model that expects arrays, and draws them."""
    twin = copy.copy(model)
    for name in ("feature_names_in_", "_sklearn_output_config"):
        vars(twin).pop(name, None)
    return twin


def now(model, parameter):
    """The value of a parameter, to be added to its name."""
    return f" (now {getattr(model, parameter)!r})" if hasattr(model, parameter) else ""


def ask(model, method, X, y, **options):
    """What a method says of rows, and of their labels if it takes these."""
    options |= {"y": y} if y is not None and takes(model, method, "y") else {}
    return getattr(model, method)(X, **options)


def takes(estimator, method, name):
    """Whether the estimator has a method with this argument."""
    function = getattr(estimator, method, None)
    return callable(function) and name in inspect.signature(function).parameters


def _is_late(context):
    """Whether the epoch is in the second half of the fit."""
    n_epochs = context.parent.max_subtasks
    return n_epochs is not None and 2 * (context.task_id + 1) >= n_epochs


def _spaced_rows(X, y, n_rows):
    """Rows of X, evenly spaced, and what is known of them: labels, or None where some have none."""
    X = X.detach().cpu().numpy() if hasattr(X, "detach") else X
    n = len(X)
    index = np.unique(np.linspace(0, n - 1, min(n, n_rows)).astype(np.int64))
    y = None if y is None else np.asarray(y)[index]
    return _safe_indexing(X, index), None if y is None or np.any(y == -1) else y
