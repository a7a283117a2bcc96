"""Refuses scores of a search that do not compare: of unlike measures, or in units of a step."""

import multiprocessing
import sys
import threading
import weakref
from numbers import Number
from types import FrameType
from typing import Any

import numpy as np

from probgen.base.tags import get_likelihood

MOST_FRAMES = 10  # between a score and the task of a search that asked for it
# Parameters whose strings choose between measures.
CHOICES = {"dynamic_binarization", "likelihood", "loss", "observation"}
WORDS = {"lebesgue": "a density", "counting": "a probability", "mixed": "of a mixed measure"}
# The measure and the name of the first candidate that was scored on a fold, by the id of the array
# of its rows, which all candidates of a search in one process share.
_first_of: dict[int, tuple[str, str]] = {}


def check_comparable(estimator: Any, X: Any, *, strict: bool = False) -> None:
    """Raise if a candidate of a search has a likelihood of another measure than the first.

    Outside the searches and curves of scikit-learn nothing is refused.

    Parameters
    ----------
    estimator : estimator object
        The fitted estimator, of which a search may have asked a score, also through a pipeline.
    X : array-like of shape (n, n_features)
        The rows to be scored.
    strict : bool, default=False
        What to do in a worker process, which cannot see the other candidates, if these may have
        another measure: whether to refuse densities of whole numbers, and mixed measures, since
        only probabilities of whole numbers and densities of other rows are sure to compare.

    Raises
    ------
    ValueError
        If the likelihoods do not compare.
    """
    task = _task_of(estimator)
    if task is None:
        return
    measure = get_likelihood(estimator).measure
    if _is_alone(task):
        if strict and _may_differ(task) and measure != _natural_measure(X):
            raise ValueError(
                f"The likelihood of {_name(estimator)} is {WORDS[measure]}, and in a process of its"
                " own the scorer cannot see whether other candidates have another measure; search"
                " with n_jobs=None, or within joblib.parallel_config('threading'), or put a"
                " Dequantizer first in make_generative_pipeline."
            )
        return
    first_measure, first = _remember(task.f_locals["test"], measure, _name(estimator))
    if measure != first_measure:
        raise ValueError(
            f"The likelihood of {_name(estimator)} is {WORDS[measure]}, that of the first candidate"
            f" of this search, {first}, {WORDS[first_measure]}, and these do not compare; fix the"
            " parameter likelihood, or give whole numbers a probability under each model with"
            " make_generative_pipeline(Dequantizer(), model)."
        )


def check_units(estimator: Any) -> None:
    """Raise if the likelihood of an estimator is in units of the outputs of earlier steps."""
    if get_likelihood(estimator).space != "input":
        raise ValueError(
            f"The likelihood of {_name(estimator)} is in the units of its last step, not of the"
            " rows, so candidates with other steps do not compare; build the pipeline with"
            " probgen.make_generative_pipeline, which accounts for the change of units."
        )


def _task_of(estimator: Any) -> FrameType | None:
    """The frame in which scikit-learn scores the estimator, or a pipeline of it, or None."""
    frame: FrameType | None = sys._getframe(2)
    for _ in range(MOST_FRAMES):
        if frame is None:
            return None
        is_task = frame.f_code.co_name == "_fit_and_score" and _is_of(frame, "_validation")
        if is_task and _ends_in(frame.f_locals.get("estimator"), estimator):
            return frame
        frame = frame.f_back
    return None


def _ends_in(candidate: Any, estimator: Any) -> bool:
    """Whether a candidate is the estimator, or a pipeline that asks it for the score."""
    while candidate is not estimator and getattr(candidate, "steps", None):
        candidate = candidate.steps[-1][1]
    return candidate is estimator


def _is_of(frame: FrameType, module: str) -> bool:
    return frame.f_globals.get("__name__") == f"sklearn.model_selection.{module}"


def _is_alone(task: FrameType) -> bool:
    """Whether the other candidates of a task are in other processes."""
    frame = task.f_back
    while frame is not None:
        if _is_of(frame, "_search") or _is_of(frame, "_validation"):
            return False
        frame = frame.f_back
    is_main = threading.current_thread() is threading.main_thread()
    return is_main or multiprocessing.parent_process() is not None


def _may_differ(task: FrameType) -> bool:
    """Whether other candidates of a task may have another measure, by the parameters they vary."""
    progress = task.f_locals.get("candidate_progress")
    if progress is not None and progress[1] == 1:
        return False
    parameters = task.f_locals.get("parameters") or {}
    return not all(_keeps_measure(name, value) for name, value in parameters.items())


def _keeps_measure(name: str, value: Any) -> bool:
    """Whether a parameter of this name, which has values of this kind, cannot change a measure."""
    if name.split("__")[-1] in CHOICES:
        return False
    if isinstance(value, tuple):
        return all(_keeps_measure(name, part) for part in value)
    return isinstance(value, Number | str) and value != "passthrough"


def _natural_measure(X: Any) -> str:
    """The measure of likelihoods that suits rows: "counting" for whole numbers."""
    try:
        values = np.asarray(X, dtype=np.float64)
    except (TypeError, ValueError):  # strings
        return "counting"
    values = values[~np.isnan(values)]
    if np.array_equal(values, np.rint(values)):
        return "counting"
    return "lebesgue"


def _remember(fold: np.ndarray, measure: str, name: str) -> tuple[str, str]:
    """Measure and name of the first candidate of a fold: the given ones if there was none."""
    key = id(fold)
    if key not in _first_of:
        weakref.finalize(fold, _first_of.pop, key, None).atexit = False
    return _first_of.setdefault(key, (measure, name))


def _name(estimator: Any) -> str:
    """The class of an estimator, with those of the steps of a pipeline."""
    name = type(estimator).__name__
    if not getattr(estimator, "steps", None):  # no Pipeline, whose module would load rich
        return name
    steps = [step if isinstance(step, str) else _name(step) for _, step in estimator.steps]
    return f"{name}({', '.join(steps)})"
