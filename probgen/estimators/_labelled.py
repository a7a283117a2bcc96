"""What conditional generators with a network share: rows and their classes, read and counted."""

import inspect

import numpy as np
import torch
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from probgen._validation import check_priors
from probgen.base import class_indices
from probgen.training.neural_generator import NeuralGenerator


class LabelledRows(NeuralGenerator):
    """Reading of rows with classes, for a generator that takes `priors` in its constructor.

    It sets `classes_`, `class_count_` and `class_prior_`, and gives the engine the index of each
    row's class.
    """

    priors: np.ndarray | None
    classes_: np.ndarray
    class_count_: np.ndarray
    class_prior_: np.ndarray
    _without_classes: str  # name of the generator of rows alone

    def fit(self, X, y=None):
        """Train the network on rows and their classes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; memory maps that exceed the trainer's memory_budget are streamed. The networks are
            of the precision of X: double for float64, else single.
        y : array-like of shape (n,)
            Their classes, numbers or strings; at least 2 of them.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            If a parameter is out of range, X does not suit the likelihood, or y does not hold a
            class for each row; in a fit that goes on (warm_start), if it holds a new one.
        """
        return super().fit(X, y)

    def partial_fit(self, X, y=None, classes=None):
        """Train for one pass over the rows of X, going on from where earlier calls ended.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; the first call fixes their width.
        y : array-like of shape (n,)
            Their classes.
        classes : array-like of shape (n_classes,), default=None
            Every class that will ever come; needed at the first call.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            As in `fit`; if the first call does not say the classes.
        """
        resume = hasattr(self, "_training_state")
        if classes is not None:
            classes = np.unique(classes)
            if resume and not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"classes must be those of the first partial_fit, {self.classes_.tolist()}, or"
                    f" be left out; got {classes.tolist()}."
                )
        elif not resume:
            raise ValueError(
                "classes must be passed to the first partial_fit; list every class that will come."
            )
        return self._train(X, y, resume=resume, partial=True, classes=classes, adds_up=True)

    def _read(self, X, y, *, reset, ensure_min_samples, classes=None, adds_up=False):
        """Checked rows, and the indices of their classes (n,), -1 where there is none; classes are
        counted too."""
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; give the"
                " class of each row."
            )
        (X,) = super()._read(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        if not isinstance(X, np.ndarray):
            raise ValueError(
                "X must be an array, as classes stand beside its rows in y; got"
                f" {type(X).__name__}."
            )
        y = column_or_1d(y, warn=True)
        check_consistent_length(X, y)
        has_label = self._has_label(y)
        labels = y[has_label]
        if len(labels):
            assert_all_finite(labels, input_name="y")
            check_classification_targets(labels)
        elif reset or not adds_up:
            raise ValueError(
                f"y must tell the class of some rows; all {len(y)} are -1, which stands for none."
            )
        if not reset:
            classes = self.classes_
        elif classes is None:
            classes = np.unique(labels)
        if len(classes) < 2:
            raise ValueError(
                f"y must hold at least 2 classes; got {len(classes)} class, {classes.tolist()}; "
                f"use {self._without_classes}."
            )
        indices = np.full(len(X), -1)
        indices[has_label] = class_indices(labels, classes, len(labels))
        count = np.bincount(indices[has_label], minlength=len(classes)).astype(np.float64)
        if adds_up and not reset:
            count += self.class_count_
        prior = check_priors(self.priors, count)
        self.classes_, self.class_count_, self.class_prior_ = classes, count, prior
        return X, indices

    def _has_label(self, y):
        """Which rows (n,) have a class."""
        return np.ones(len(y), dtype=bool)


def one_hot(indices, n_classes, dtype):
    """Tensor (n, n_classes) with a 1 for the class of each row, and only zeros for index -1."""
    return (indices[:, None] == torch.arange(n_classes, device=indices.device)).to(dtype)


def with_parameters_of(parent, without=()):
    """Decorator of an `__init__` that hands **parameters on to the parent's: its signature names
    those too.

    `without` names those that it sets itself.
    """

    def decorate(function):
        own = inspect.signature(function).parameters
        theirs = inspect.signature(parent.__init__).parameters
        kept = [
            parameter for parameter in own.values() if parameter.kind is not parameter.VAR_KEYWORD
        ]
        kept += [
            parameter
            for name, parameter in theirs.items()
            if name not in own and name not in without
        ]
        function.__signature__ = inspect.Signature(kept)
        return function

    return decorate
