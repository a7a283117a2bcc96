"""Base class of callbacks that measure a model after epochs and advise where something is wrong."""

import copy
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.utils import _safe_indexing

from probgen._validation import check_count
from probgen._warnings import warn
from probgen.training.callbacks._base import Callback, epoch_number, is_epoch, last_record


class Doctor(Callback):
    """Base class of callbacks that measure a model after every k-th epoch, on fixed rows of X.

    A subclass has the parameters `every` and `n_rows`, and implements:

    - `_check_estimator(estimator)`, which raises for an estimator that it cannot measure;
    - `_measure(model, X, y, epoch, record, former)`, which returns a frozen object with the number
      `epoch` and a method `columns()`, a dict for the record of the epoch; `former` are the earlier
      measurements of the fit;
    - `_symptoms(measurements, model)`, which returns sentences by the name of what is wrong in the
      last measurement.

    From the middle of a fit on, and at its end, it warns of each symptom once.

    Attributes
    ----------
    epochs_ : ndarray of shape (n_measurements,)
        Numbers of the epochs after which the model was measured, from 1, in the last fit; a fit
        that resumes an earlier one, such as `partial_fit`, adds to them.
    """

    every: int
    n_rows: int

    @property
    def epochs_(self) -> np.ndarray:
        return np.array([measurement.epoch for measurement in self._measurements()])

    def setup(self, estimator: Any, context: Any) -> None:
        """Check the parameters and the estimator."""
        check_count("every", self.every)
        check_count("n_rows", self.n_rows, low=2)
        self._check_estimator(estimator)

    def is_due(self, estimator: Any, context: Any) -> bool:
        """Whether the task is an epoch after which to measure."""
        return is_epoch(context) and epoch_number(estimator, context) % self.every == 0

    def on_fit_task_end(
        self,
        estimator: Any,
        context: Any,
        *,
        X: Any = None,
        y: Any = None,
        fitted_estimator: Any = None,
    ) -> None:
        """Measure the model if it is due, and warn if it is time to."""
        if fitted_estimator is not None and self.is_due(estimator, context):
            self._add_measurement(estimator, context, fitted_estimator, X, y)
        session = self._kept(context)
        if session is not None and (not is_epoch(context) or _is_late(context)):
            session.warn()

    def teardown(self, estimator: Any, context: Any) -> None:
        """Forget the fit, but not its measurements."""
        self._drop(context)

    def _add_measurement(self, estimator: Any, context: Any, model: Any, X: Any, y: Any) -> None:
        epoch = epoch_number(estimator, context)
        session = self._kept(context.parent)
        if session is None:
            session = vars(self).get("_session")
            if session is None or not session.is_resumed_by(epoch):
                session = _Session()
            self._keep(context.parent, session)
            self._session = session
        if not (isinstance(X, list | tuple) or hasattr(X, "shape")):
            session.symptoms = {
                "stream": (
                    f"{type(self).__name__} measures rows of an array, and got none: X is"
                    f" {type(X).__name__}."
                )
            }
            return
        rows, labels = _spaced_rows(X, y, self.n_rows)
        record = last_record(estimator)
        measurement = self._measure(model, rows, labels, epoch, record, session.measurements)
        session.measurements.append(measurement)
        session.symptoms = self._symptoms(session.measurements, model)
        record.update(measurement.columns())

    def _measurements(self) -> list:
        """Measurements of the last fit."""
        session = vars(self).get("_session")
        if session is None or not session.measurements:
            raise AttributeError(
                f"{type(self).__name__} has measured no model yet; set it on an estimator, fit that"
                " to an array, and read this attribute again."
            )
        return session.measurements

    def _check_estimator(self, estimator: Any) -> None:
        raise NotImplementedError

    def _measure(
        self,
        model: Any,
        X: np.ndarray,
        y: np.ndarray | None,
        epoch: int,
        record: dict,
        former: list,
    ) -> Any:
        raise NotImplementedError

    def _symptoms(self, measurements: list, model: Any) -> dict[str, str]:
        raise NotImplementedError


@dataclass
class _Session:
    """Measurements of a fit, symptoms of the last one, and names of symptoms already reported."""

    measurements: list = field(default_factory=list)
    symptoms: dict = field(default_factory=dict)
    reported: set = field(default_factory=set)

    def is_resumed_by(self, epoch: int) -> bool:
        """Whether a fit that is first measured after this epoch resumes the fit of this session."""
        return bool(self.measurements) and self.measurements[-1].epoch < epoch

    def warn(self) -> None:
        """Warn of each symptom that was not reported before."""
        for name, sentence in self.symptoms.items():
            if name not in self.reported:
                self.reported.add(name)
                warn(sentence)


def without_names(model: Any) -> Any:
    """A shallow copy of a model that expects arrays, and draws them."""
    twin = copy.copy(model)
    for name in ("feature_names_in_", "_sklearn_output_config"):
        vars(twin).pop(name, None)
    return twin


def as_in_training(model: Any, X: Any) -> tuple[Any, Any]:
    """A model and rows as training has them, which draws bits with dynamic binarization.

    The bits are the same at every call, and missing values stay missing.
    """
    if not getattr(model, "dynamic_binarization", False):
        return model, X
    X = np.asarray(X, dtype=np.float64)
    return without_names(model), np.ceil(X - np.random.default_rng(0).random(X.shape))


def current_value(model: Any, parameter: str) -> str:
    """The value of a parameter in brackets, to follow its name in a sentence."""
    if not hasattr(model, parameter):
        return ""
    return f" (now {getattr(model, parameter)!r})"


def call_with_labels(model: Any, method: str, X: Any, y: Any, **options: Any) -> Any:
    """The result of a method for rows, which gets their labels too if it accepts y."""
    if y is not None and accepts(model, method, "y"):
        options["y"] = y
    return getattr(model, method)(X, **options)


def accepts(estimator: Any, method: str, argument: str) -> bool:
    """Whether the estimator has a method with this argument."""
    function = getattr(estimator, method, None)
    return callable(function) and argument in inspect.signature(function).parameters


def _is_late(context: Any) -> bool:
    """Whether the epoch is in the second half of the fit."""
    n_epochs = context.parent.max_subtasks
    return n_epochs is not None and 2 * (context.task_id + 1) >= n_epochs


def _spaced_rows(X: Any, y: Any, n_rows: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Evenly spaced rows of X and their labels, or None if some of the rows have none."""
    if hasattr(X, "detach"):
        X = X.detach().cpu().numpy()
    n = len(X)
    index = np.unique(np.linspace(0, n - 1, min(n, n_rows)).astype(np.int64))
    rows = _safe_indexing(X, index)
    if y is None:
        return rows, None
    labels = np.asarray(y)[index]
    if np.any(labels == -1):
        return rows, None
    return rows, labels
