"""Bayes' rule over any generator, with one copy of it for each class."""

from collections.abc import Sequence
from copy import copy, deepcopy
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator, MetaEstimatorMixin, clone, is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from probgen._validation import RandomState, check_jobs, check_priors, show
from probgen.base import ClassGeneratorMixin, GeneratorTags, Likelihood, get_likelihood
from probgen.base.class_generator import class_indices
from probgen.base.table_generator import TABLE_PARAMETERS, TableMixin
from probgen.conditions.given import Conditions
from probgen.preprocessing.table_encoder import TableEncoder
from probgen.tables.table import Table

KINDS = ("exact", "lower_bound", "estimate")  # a sum of several is of the last kind among them


def _can_continue(classifier: Any) -> bool:
    return hasattr(classifier._models()[0], "partial_fit")


class BayesClassifier(TableMixin, MetaEstimatorMixin, ClassGeneratorMixin, BaseEstimator):
    """Class-conditional generator made of any generator.

    A clone of `estimator` learns p(x given y) for each class. With the priors p(y) this is a joint
    density p(x, y), which classifies by Bayes' rule, draws rows of chosen classes, and scores rows
    by the sum over classes.

    What the estimator would choose from its rows, such as `likelihood="auto"` and a number of
    levels, is chosen from the rows of all classes and is the same for each, so that a probability
    never meets a density in Bayes' rule. `get_likelihood` of a fitted classifier is that of its
    classes.

    Parameters
    ----------
    estimator : generator, default=None
        The density of one class; None stands for `GaussianMixture()`. The steps of a
        `GenerativePipeline` are fitted to the rows of each class.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, adding up to one; by default the (weighted) shares
        of the classes.
    n_jobs : int, default=None
        Number of classes fitted at once through joblib; None means 1, or the setting of an
        enclosing `joblib.parallel_config`.
    random_state : int, RandomState, Generator or None, default=None
        Seeds the stream of draws, and every `random_state` of `estimator` that is None, differently
        in each class.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Number of rows of each class, or the sum of their weights.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class without rows so far.
    estimators_ : list of n_classes generators
        The fitted clones, in the order of `classes_`, with the choices for all classes as
        parameters.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the columns, if X was a frame.

    References
    ----------
    A. Y. Ng and M. I. Jordan, On discriminative vs. generative classifiers: a comparison of
    logistic regression and naive Bayes, Advances in Neural Information Processing Systems 14, 2001.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from probgen import BayesClassifier, GaussianMixture
    >>> X, y = load_iris(return_X_y=True)
    >>> model = BayesClassifier(GaussianMixture(n_components=2), random_state=0).fit(X, y)
    >>> bool((model.predict(X) == y).mean() > 0.95)
    True
    >>> model.sample(3, y=[0, 0, 2]).shape
    (3, 4)
    """

    def __init__(
        self,
        estimator: Any = None,
        *,
        priors: npt.ArrayLike | None = None,
        n_jobs: int | None = None,
        random_state: RandomState = None,
    ) -> None:
        self.estimator = estimator
        self.priors = priors
        self.n_jobs = n_jobs
        self.random_state = random_state

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        model = self._models()[0]
        if hasattr(model, "__sklearn_tags__"):
            inner_tags = get_tags(model)
            tags.input_tags = copy(inner_tags.input_tags)
            tags.draws_follow_density = getattr(inner_tags, "draws_follow_density", True)
        return tags

    @property
    def _likelihood(self) -> Likelihood | None:
        try:
            likelihoods = [get_likelihood(model) for model in self._models()]
        except TypeError:  # not a generator: `fit` says so
            return None
        kind = max((likelihood.kind for likelihood in likelihoods), key=KINDS.index)
        measures = {likelihood.measure for likelihood in likelihoods}
        measure = "mixed"
        if len(measures) == 1:
            measure = measures.pop()
        return Likelihood(kind, measure, likelihoods[0].space)

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Fit a clone of the estimator to the rows of each class.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Training rows.
        y : array-like of shape (n,)
            Their classes, numbers or strings.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0, where the estimator takes weights; a row of weight 0 is
            left out.

        Returns
        -------
        self : BayesClassifier

        Raises
        ------
        ValueError
            If the estimator is not a generator or takes no weights, the priors are unsuitable, or a
            class, which is then named, has too few rows for the estimator, or a likelihood of
            another measure than the other classes.
        """
        X, y, sample_weight = self._check_rows(X, y, sample_weight, reset=True)
        return self._learn("fit", X, y, sample_weight, np.unique(y))

    @available_if(_can_continue)
    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Continue the fit with more rows, where the estimator has `partial_fit`.

        The rows of the first call choose the likelihood and the levels of all classes, also of
        those that come later. If later calls bring other values, choose them in the estimator, such
        as with likelihood=Categorical(n_levels=17).

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            More rows.
        y : array-like of shape (n,)
            Their classes.
        classes : array-like of shape (n_classes,), default=None
            Every class that will ever come; needed at the first call.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0.

        Returns
        -------
        self : BayesClassifier

        Raises
        ------
        ValueError
            As in `fit`; if the first call lacks the classes, or a label is not among them.
        """
        if not hasattr(self, "estimators_"):
            if classes is None:
                raise ValueError(
                    "classes must be passed to the first partial_fit; list every class that will"
                    " come."
                )
            X, y, sample_weight = self._check_rows(X, y, sample_weight, reset=True)
            return self._learn("partial_fit", X, y, sample_weight, np.unique(classes))
        X, y, sample_weight = self._check_rows(X, y, sample_weight, reset=False)
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            known, received = self.classes_.tolist(), np.unique(classes).tolist()
            raise ValueError(
                f"classes must be those of the first partial_fit, {known}, or be left out; got"
                f" {received}."
            )
        return self._learn(
            "partial_fit", X, y, sample_weight, self.classes_, self.estimators_, self.class_count_
        )

    def _learn(
        self,
        method: str,
        X: np.ndarray,
        y: np.ndarray,
        sample_weight: np.ndarray | None,
        classes: np.ndarray,
        estimators: Sequence[Any] | None = None,
        class_count: np.ndarray | float = 0.0,
    ) -> Self:
        """Call a method of each class's estimator on its rows, and set the fitted attributes."""
        indices = class_indices(y, classes, len(X))
        class_count = class_count + np.bincount(indices, sample_weight, minlength=len(classes))
        class_prior = check_priors(self.priors, class_count)
        labels = classes.tolist()
        present = np.unique(indices)
        if estimators is None:
            estimators = self._clones(len(classes), X)
        else:
            # Copies, so that rows that one class refuses leave all classes as they were.
            estimators = deepcopy(list(estimators))
            for k in present:  # of copies, so that an error in one class leaves all as they were
                estimators[k] = deepcopy(estimators[k])

        def job(k: int) -> Any:
            rows = np.flatnonzero(indices == k)
            weights = None if sample_weight is None else sample_weight[rows]
            return delayed(_learn_class)(method, estimators[k], labels[k], X[rows], weights)

        fitted = Parallel(n_jobs=self.n_jobs)(job(k) for k in present)
        for k, estimator in zip(present, fitted, strict=True):
            estimators[k] = estimator
        models = {labels[k]: estimators[k] for k in np.flatnonzero(class_count)}
        _check_measures(models)
        _check_steps(models, X)
        self.classes_ = classes
        self.estimators_ = estimators
        self.class_count_ = class_count
        self.class_prior_ = class_prior
        return self

    def _check_rows(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        sample_weight: npt.ArrayLike | None,
        *,
        reset: bool,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """The validated rows of positive weight, their classes, and their weights or None."""
        check_jobs(self.n_jobs)
        inner = self._inner()
        if not _is_generator(inner) or is_classifier(inner):
            raise ValueError(
                "estimator must be a generator without classes of its own, such as"
                f" GaussianMixture(); got {show(inner)}."
            )
        if sample_weight is not None and not has_fit_parameter(inner, "sample_weight"):
            raise ValueError(
                "sample_weight asks for an estimator that takes weights, such as"
                f" GaussianMixture(); got {show(inner)}."
            )
        return self._validate_weighted(X, y, sample_weight, reset=reset)

    def _clones(self, n_classes: int, X: np.ndarray) -> list:
        """Unfitted estimators, one for each class, with seeds where the user set none.

        Their choices are those for the rows X (n, d) of all classes.
        """
        template: Any = clone(self._inner())
        if self._table is not None:
            name = str(_table_parameter(template))
            template.set_params(**{name: Table.of_codes(self._table.columns)})
        elif hasattr(template, "_with_indices") and hasattr(self, "feature_names_in_"):
            template.set_params(**template._with_indices(self.feature_names_in_))
        if hasattr(template, "_choices_for"):
            template.set_params(**clone(template)._choices_for(X))
        generator = self._start_stream()
        clones = [clone(template) for _ in range(n_classes)]
        for estimator in clones:
            seeds = {}
            for name, value in sorted(estimator.get_params().items()):
                if value is None and name.split("__")[-1] == "random_state":
                    seeds[name] = int(generator.integers(2**31))
            estimator.set_params(**seeds)
        return clones

    def _reads_table(self, frame: Any) -> bool:
        inner = self._inner()
        if isinstance(inner, TableMixin):
            return inner._reads_table(frame)
        return _table_parameter(inner) is not None

    def _table_settings(self, frame: Any = None) -> dict[str, Any]:
        inner = self._inner()
        name = _table_parameter(inner)
        if name is None:
            return {"kinds": None}
        if isinstance(inner, TableMixin):
            return inner._table_settings(frame)
        parameters = inner.get_params()
        step = name.removesuffix("kinds")
        return {each: parameters[step + each] for each in TABLE_PARAMETERS}

    def _array_columns(self, X: np.ndarray) -> None:
        return None

    def _inner(self) -> Any:
        """The estimator of a class, unfitted."""
        if self.estimator is not None:
            return self.estimator
        from probgen.estimators import GaussianMixture

        return GaussianMixture()

    def _models(self) -> list:
        """The fitted estimators of classes that have had rows; before a fit the unfitted one."""
        if not hasattr(self, "estimators_"):
            return [self._inner()]
        return [self.estimators_[k] for k in np.flatnonzero(self.class_count_)]

    @property
    def _takes_conditions(self) -> bool:
        return hasattr(self._models()[0], "_sample_given")

    @property
    def _missing_values(self) -> str:
        model = self._models()[0]
        if not hasattr(model, "__sklearn_tags__"):  # not a generator: `fit` says so
            return "none"
        tags = get_tags(model)
        if isinstance(tags, GeneratorTags):
            return tags.missing_values
        if tags.input_tags.allow_nan:
            return "all"
        return "none"

    def _joint_log_likelihood(self, X: np.ndarray) -> np.ndarray:
        joint = np.full((len(X), len(self.classes_)), -np.inf)
        for k in np.flatnonzero(self.class_prior_):
            joint[:, k] = self.estimators_[k].score_samples(X) + np.log(self.class_prior_[k])
        return joint

    def _log_joint_of_conditions(self, conditions: Conditions) -> np.ndarray:
        model = self._models()[0]
        if not hasattr(model, "_log_given"):
            raise ValueError(
                f"given needs y too, because {type(model).__name__} cannot compute its"
                " probability in each class."
            )
        joint = np.full((len(conditions.values), len(self.classes_)), -np.inf)
        for k in np.flatnonzero(self.class_prior_):
            joint[:, k] = self.estimators_[k]._log_given(conditions) + np.log(self.class_prior_[k])
        return joint

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        X = np.empty((len(indices), self.n_features_in_), dtype=self._dtype)
        for k in np.unique(indices):
            if not self.class_count_[k]:
                label = self.classes_.tolist()[k]
                raise ValueError(
                    f"y asks for class {label!r}, of which partial_fit has had no rows yet."
                )
            estimator = self.estimators_[k]
            rows = np.flatnonzero(indices == k)
            if conditions is None:
                X[rows] = np.asarray(estimator.sample(len(rows), random_state=generator))
            else:
                X[rows] = estimator._sample_given(conditions.take(rows), generator)
        return X


def _table_parameter(estimator: Any) -> str | None:
    """The name of the parameter kinds of an estimator that reads tables itself, or in a first step.

    None for other estimators.
    """
    if isinstance(estimator, TableMixin):
        return "kinds"
    if isinstance(estimator, Pipeline) and isinstance(estimator.steps[0][1], TableEncoder):
        return f"{estimator.steps[0][0]}__kinds"
    return None


def _is_generator(estimator: Any) -> bool:
    """Whether an estimator samples and has a likelihood."""
    try:
        get_likelihood(estimator)
    except TypeError:
        return False
    return hasattr(estimator, "sample")


def _check_measures(models: dict[Any, Any]) -> None:
    """Raise unless the fitted models of classes, by label, have likelihoods of one measure."""
    (first, model), *others = models.items()
    measure = get_likelihood(model).measure
    for label, other in others:
        if get_likelihood(other).measure != measure:
            raise ValueError(
                "estimator must give the rows of every class likelihoods of one measure; got"
                f" {measure!r} for class {first!r} and {get_likelihood(other).measure!r} for class"
                f" {label!r}, between which Bayes' rule cannot choose; fix the likelihood in its"
                " parameters."
            )


def _check_steps(models: dict[Any, Any], X: np.ndarray) -> None:
    """Raise unless the steps of each class, if it is a pipeline, take the rows of all classes."""
    pipelines = {label: model for label, model in models.items() if isinstance(model, Pipeline)}
    # A range that steps have learned ends before an extreme row, if before any.
    extremes = np.unique([X.argmin(axis=0), X.argmax(axis=0)])
    for label, pipeline in pipelines.items():
        try:
            pipeline.transform(X[extremes])
        except ValueError as error:
            raise ValueError(
                f"class {label!r} has steps fitted to its own rows, which do not take those of"
                f" other classes: {error} Put the steps before BayesClassifier, in"
                " make_generative_pipeline(step, BayesClassifier(model))."
            ) from error


def _learn_class(
    method: str, estimator: Any, label: Any, X: np.ndarray, sample_weight: np.ndarray | None
) -> Any:
    """Fit the estimator to the rows of one class; errors name the class."""
    weights = {} if sample_weight is None else {"sample_weight": sample_weight}
    try:
        return getattr(estimator, method)(X, **weights)
    except ValueError as error:
        rows = "1 row" if len(X) == 1 else f"{len(X)} rows"
        raise ValueError(
            f"class {label!r}, which has {rows} here, could not be learned: {error}"
        ) from error
