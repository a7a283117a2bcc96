"""Generators of rows given their class, which classify by Bayes' rule."""

from collections.abc import Hashable
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets

from probgen._validation import check_weights, show
from probgen.base.generator import GeneratorMixin
from probgen.conditions.given import Conditions


class ClassGeneratorMixin(ClassifierMixin, GeneratorMixin):
    """Public methods of a generator that models p(x given y), and so classifies by Bayes' rule.

    The names and shapes of the hooks are stable. A subclass sets `classes_` and `class_prior_` in
    `fit`, both of shape (n_classes,), and writes in place of `_sample` and `_score_samples`:

    - `_sample_classes(indices, generator, conditions)`, which returns one row for each class index,
      of shape (n, n_features), and obeys conditions, a `Conditions` of n rows, unless it is None;
    - `_joint_log_likelihood(X)`, which returns log p(x, y) of shape (n, n_classes).

    It may write `_log_joint_of_conditions(conditions)`, which returns log p(conditions, y) of shape
    (n, n_classes), and opens `given` in `sample`.

    `_transform` gives p(y given x) unless it is overridden.
    """

    @property
    def _takes_conditions(self) -> bool:
        return hasattr(self, "_log_joint_of_conditions")

    def score_samples(self, X: npt.ArrayLike, y: Any = None) -> Any:
        """Return the log-likelihood of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : array-like of shape (n,), default=None
            Classes of the rows.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            log p(x), summed over the classes, or log p(x, y) if y is given; in nats.
        """
        X = self._validate_query(X)
        if y is None:
            with np.errstate(under="ignore"):
                scores = np.logaddexp.reduce(self._joint_log_likelihood(X), axis=1)
        else:
            indices = self._class_indices(y, len(X))
            scores = self._joint_log_likelihood(X)[np.arange(len(X)), indices]
        return scores.astype(X.dtype, copy=False)

    def score(self, X: npt.ArrayLike, y: Any = None) -> float:
        """Return the mean of log p(x) over the rows of X, in nats; y is ignored.

        This is the marginal likelihood, as for every generator, so that kinds of models compare in
        one search. For accuracy pass `scoring="accuracy"` to the search or to `cross_val_score`.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : object, default=None
            Ignored.

        Returns
        -------
        score : float
        """
        return GeneratorMixin.score(self, X)

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the most probable class of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to classify.

        Returns
        -------
        y : ndarray of shape (n,)
        """
        joint = self._joint_log_likelihood(self._validate_query(X))
        return self.classes_[np.argmax(joint, axis=1)]

    def predict_log_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """Return log p(y given x) of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to classify.

        Returns
        -------
        log_proba : ndarray of shape (n, n_classes)
            In float64, in the order of `classes_`.
        """
        return self._log_posterior(self._validate_query(X))

    def predict_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """Return p(y given x) of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to classify.

        Returns
        -------
        proba : ndarray of shape (n, n_classes)
            In float64, in the order of `classes_`.
        """
        return np.exp(self.predict_log_proba(X))

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return np.exp(self._log_posterior(X))

    @property
    def _n_features_out(self) -> int:
        return len(self.classes_)

    @np.errstate(under="ignore")
    def _log_posterior(self, X: np.ndarray) -> np.ndarray:
        """log p(y given x) (n, n_classes); uniform for rows that no class allows."""
        joint = self._joint_log_likelihood(X).astype(np.float64, copy=False)
        is_impossible = np.isneginf(joint).all(axis=1, keepdims=True)
        joint = np.where(is_impossible, 0.0, joint)
        return joint - np.logaddexp.reduce(joint, axis=1, keepdims=True)

    def _draw(
        self,
        n_samples: int,
        generator: np.random.Generator,
        y: Any,
        conditions: Conditions | None,
        return_y: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        if y is None:
            indices = self._draw_classes(n_samples, generator, conditions)
        else:
            indices = self._class_indices(y, n_samples)
        return self._sample_classes(indices, generator, conditions), self.classes_[indices]

    def _validate_classes(
        self, X: Any, y: Any, *, reset: bool = False, ensure_min_samples: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the validated X and y (n,) of a fit; y holds the caller's labels."""
        X, y = self._validate(X, y, reset=reset, ensure_min_samples=ensure_min_samples)
        check_classification_targets(y)
        return X, y

    def _validate_weighted(
        self, X: Any, y: Any, sample_weight: npt.ArrayLike | None, *, reset: bool = False
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Return validated rows of positive weight, their classes, and their weights or None."""
        X, y = self._validate_classes(X, y, reset=reset)
        if sample_weight is None:
            return X, y, None
        weights = check_weights(sample_weight, len(X))
        if weights.all():
            return X, y, weights
        kept = weights > 0.0
        return X[kept], y[kept], weights[kept]

    def _draw_classes(
        self, n_samples: int, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        """Class indices (n_samples,) from the priors, or from their posterior under conditions."""
        if conditions is None:
            return generator.choice(len(self.classes_), size=n_samples, p=self.class_prior_)
        log_weights = self._log_joint_of_conditions(conditions)  # (n_samples, n_classes)
        highest = log_weights.max(axis=1, keepdims=True)
        if np.isneginf(highest).any():
            raise ValueError("given is impossible under every class; widen it.")
        return draw_columns(np.exp(log_weights - highest), generator)

    def _class_indices(self, y: Any, n_rows: int) -> np.ndarray:
        """Indices into classes_ of a label, or of one label for each row."""
        return class_indices(y, self.classes_, n_rows)


def draw_columns(weights: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """Return a column (n,) for each row of weights (n, k), drawn in proportion to them."""
    cumulative = np.cumsum(weights, axis=1)
    uniforms = generator.random((len(weights), 1)) * cumulative[:, -1:]
    columns = np.sum(cumulative <= uniforms, axis=1)
    return np.minimum(columns, weights.shape[1] - 1)  # rounding may reach past the last column


def class_indices(y: Any, classes: np.ndarray, n_rows: int) -> np.ndarray:
    """Return indices (n_rows,) into classes, from one label or one for each row."""
    labels = np.asarray(y)
    if labels.shape not in {(), (n_rows,)}:
        raise ValueError(
            f"y must be one class, or one for each of the {n_rows} rows (in sample:"
            f" n_samples={n_rows}); got shape {labels.shape}."
        )
    numbers = "biuf"
    if labels.dtype.kind in numbers and classes.dtype.kind in numbers:
        places = np.minimum(np.searchsorted(classes, labels), len(classes) - 1)
        if (classes[places] == labels).all():
            return np.broadcast_to(places, n_rows)
    index_of = {label: index for index, label in enumerate(classes.tolist())}
    indices = []
    for label in labels.reshape(-1).tolist():
        if not isinstance(label, Hashable) or label not in index_of:
            raise ValueError(
                f"y must hold the classes of the fit, {show(list(index_of))}; got {show(label)}."
            )
        indices.append(index_of[label])
    return np.broadcast_to(np.array(indices), n_rows)
