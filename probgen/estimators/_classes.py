"""What generators of rows given their class share: labelled rows, and sums over the classes."""

import functools
from collections.abc import Callable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from sklearn.utils import assert_all_finite, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from probgen._validation import check_priors
from probgen.base import ClassGeneratorMixin
from probgen.base.class_generator import class_indices, draw_columns
from probgen.conditions.given import Conditions
from probgen.marginal_likelihood.effective_draws import checked_estimates
from probgen.training.neural_generator import NeuralGenerator

NEGLIGIBLE_SHARE = 1e-3  # posterior probability of a class whose estimate may be poor


class ClassConditional(ClassGeneratorMixin, NeuralGenerator):
    """Base of generators whose network computes p(x given y) from a row and the class y.

    It reads rows with their classes, sets `classes_`, `class_count_` and `class_prior_`, and passes
    class indices to the engine. It also writes each sum over the classes once: log p(x, y) for all
    classes, means over the classes, and rows completed when their class is unknown.

    A subclass takes `priors` in its constructor, has a generator of rows alone as its next base
    class, names that generator in `_without_classes`, and implements `_estimate_for_class(X, k)`,
    which returns log p(x given class k) of checked rows, and its standard errors, both (n,). Where
    a model scores rows and classes together, it overrides `_estimates` and `_joint_estimate`.
    """

    priors: npt.ArrayLike | None
    _estimate_remedy: Any
    classes_: np.ndarray
    class_count_: np.ndarray
    class_prior_: np.ndarray
    _without_classes: str
    _estimate_for_class: Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

    def fit(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> Self:
        """Train the networks on rows and their classes.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; memory maps that exceed the trainer's memory_budget are streamed. The networks
            have the precision of X: double for float64, else single.
        y : array-like of shape (n,)
            Classes of the rows, numbers or strings; at least 2 different ones.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            If a parameter is out of range, X does not suit the likelihood, or y does not hold a
            class for each row; with warm_start, if y holds a new class.
        """
        return super().fit(X, y)

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike | None = None,
        classes: npt.ArrayLike | None = None,
    ) -> Self:
        """Train for one pass over the rows of X, resuming where earlier calls ended.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows; the first call fixes their width.
        y : array-like of shape (n,)
            Classes of the rows.
        classes : array-like of shape (n_classes,), default=None
            Every class that any call will contain; required by the first call.

        Returns
        -------
        self : estimator object

        Raises
        ------
        ValueError
            As in `fit`; if the first call does not list the classes.
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

    def score_samples(
        self, X: npt.ArrayLike, y: npt.ArrayLike | None = None, *, return_std: bool = False
    ) -> Any:
        """Return the log-likelihood of each row, in nats, or an estimate of it.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; missing values are integrated out by generators that allow them.
        y : label or array-like of shape (n,), default=None
            Classes of the rows.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            log p(x), summed over the classes, or log p(x, y) if y is given.
        std : ndarray of shape (n,)
            With return_std=True. It is 0 where the value is exact, and inf where fewer than 5 of
            the draws behind an estimate are effective: the estimate may then be nats too low.

        Warns
        -----
        UserWarning
            If it is inf for more than one row in ten.
        """
        X = self._validate_query(X)
        return checked_estimates(
            self._estimates(X, y), X.dtype, return_std=return_std, remedy=self._estimate_remedy
        )

    def _read(
        self,
        X: Any,
        y: Any,
        *,
        reset: bool,
        ensure_min_samples: int,
        classes: np.ndarray | None = None,
        adds_up: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Checked rows, and the indices of their classes (n,), -1 where there is none.

        The rows of each class are counted too; with adds_up, on top of earlier calls.
        """
        if y is None:
            raise ValueError(
                f"{type(self).__name__} requires y to be passed, but the target y is None; give the"
                " class of each row."
            )
        (X,) = super()._read(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        if not isinstance(X, np.ndarray):
            raise ValueError(
                f"X must be an array, as y holds a class for each row; got {type(X).__name__}."
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
                f"y must hold the class of some rows; all {len(y)} are -1, which marks rows without"
                " a class."
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

    def _has_label(self, y: np.ndarray) -> np.ndarray:
        """Mask (n,) of the rows that have a class."""
        return np.ones(len(y), dtype=bool)

    def _one_hot(self, indices: np.ndarray) -> Any:
        """Labels (n, n_classes) of class indices (n,), in the form that `_complete` takes."""
        return np.eye(len(self.classes_))[indices]

    def _class_labels(self, k: int, n_rows: int) -> Any:
        """Labels (n_rows, n_classes) of rows of class k."""
        return self._one_hot(np.full(n_rows, k))

    def _requested_classes(
        self, n_samples: int, generator: np.random.Generator, y: Any
    ) -> np.ndarray:
        """Class indices (n_samples,) of y, or drawn from `class_prior_` where y is None."""
        if y is None:
            return self._draw_classes(n_samples, generator, None)
        return self._class_indices(y, n_samples)

    def _estimates(self, X: np.ndarray, y: Any) -> Any:
        """log p(x) of checked rows, or log p(x, y), and standard errors, both (n,)."""
        if y is not None:
            return self._by_class(self._joint_estimate, X, y).T
        joint, errors = self._joint_estimates(X)
        with np.errstate(under="ignore"):
            values = np.logaddexp.reduce(joint, axis=1)
            # First-order propagation: the derivative by each term is its posterior probability.
            posterior = np.exp(joint - values[:, np.newaxis])
        counts = np.isfinite(errors) | (posterior > NEGLIGIBLE_SHARE)
        errors = np.where(counts, errors, 0.0)
        return values, np.sqrt(np.sum((posterior * errors) ** 2, axis=1))

    def _joint_estimates(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """log p(x, y) of checked rows for each class, and standard errors, both (n, n_classes)."""
        errors = np.zeros((len(X), len(self.classes_)))

        def log_likelihood(k: int) -> np.ndarray:
            values, errors[:, k] = self._estimate_for_class(X, k)
            return values

        return self._log_joint(log_likelihood), errors

    def _joint_estimate(self, X: np.ndarray, k: int) -> np.ndarray:
        """log p(x, y) for class k, and standard errors: (n, 2)."""
        if self.class_prior_[k] == 0.0:
            return np.column_stack([np.full(len(X), -np.inf), np.zeros(len(X))])
        values, errors = self._estimate_for_class(X, k)
        return np.column_stack([values + np.log(self.class_prior_[k]), errors])

    def _joint_log_likelihood(self, X: np.ndarray) -> np.ndarray:
        return self._joint_estimates(X)[0]

    def _log_joint(self, log_likelihood: Callable[[int], np.ndarray]) -> np.ndarray:
        """log p(x, y) of shape (..., n_classes) for each class y.

        `log_likelihood(k)` returns log p(x given class k) of shape (...). It is not called for
        classes of probability zero, whose entries are -inf.
        """
        possible = np.flatnonzero(self.class_prior_).tolist()
        joint = {k: log_likelihood(k) + np.log(self.class_prior_[k]) for k in possible}
        impossible = np.full_like(joint[possible[0]], -np.inf)
        return np.stack([joint.get(k, impossible) for k in range(len(self.classes_))], axis=-1)

    def _class_mean(self, function: Callable[[int], np.ndarray], weights: np.ndarray) -> Any:
        """Mean of function(k), an array (n, m) for class k, under weights (n, n_classes).

        The function is not called for classes that have no weight in any row.
        """
        total: Any = 0.0
        for k, weight in enumerate(weights.T):
            if weight.any():
                total = total + weight[:, np.newaxis] * function(k)
        return total

    def _by_class(self, function: Callable, X: np.ndarray, y: npt.ArrayLike) -> np.ndarray:
        """function(rows of class k, k) for each class k in y, as one array in the order of X."""
        indices = self._class_indices(y, len(X))
        parts = {k: function(X[indices == k], k) for k in np.unique(indices)}
        first = next(iter(parts.values()))
        values = np.empty((len(X), *first.shape[1:]), dtype=first.dtype)
        for k, part in parts.items():
            values[indices == k] = part
        return values

    def _complete(
        self,
        conditions: Conditions,
        generator: Any,
        argument: str,
        *labels: Any,
        average: bool = False,
    ) -> np.ndarray:
        """Rows (n, d), draws or means under conditions; without labels, over all classes."""
        parent: Any = super()
        complete = functools.partial(
            parent._complete, conditions, generator, argument, average=average
        )
        if labels:
            return complete(*labels)
        log_joint = self._log_joint_of_conditions(conditions, argument)
        posterior = np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=1, keepdims=True))
        if not average:
            return complete(self._one_hot(draw_columns(posterior, generator)))
        n_rows = len(posterior)
        rows = self._class_mean(lambda k: complete(self._class_labels(k, n_rows)), posterior)
        return np.where(np.isnan(conditions.values), rows, conditions.values)


def one_hot(indices: torch.Tensor, n_classes: int, dtype: torch.dtype) -> torch.Tensor:
    """Tensor (n, n_classes) with a 1 for the class of each row; all zeros for index -1."""
    return (indices[:, None] == torch.arange(n_classes, device=indices.device)).to(dtype)
