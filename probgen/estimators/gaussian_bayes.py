"""Bayes' rule with Gaussians, or mixtures of them, in each class."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning

from probgen._devices import resolve_device
from probgen._validation import (
    RandomState,
    check_choice,
    check_count,
    check_priors,
    check_real,
    spawn_generator,
)
from probgen._warnings import warn
from probgen.base import ClassGeneratorMixin
from probgen.base.class_generator import class_indices
from probgen.conditions.given import Conditions
from probgen.gaussians import conditional
from probgen.gaussians.em import EMEngine, Fit
from probgen.gaussians.fitted import FittedComponentsMixin
from probgen.gaussians.fitting import (
    MixtureSettings,
    fit_in_closed_form,
    fit_mixture,
    mean_expectation,
)
from probgen.gaussians.rows import Rows
from probgen.gaussians.starts import FAMILIES, INIT_PARAMS, summarise_rows
from probgen.gaussians.statistics import merged


class GaussianBayes(FittedComponentsMixin, ClassGeneratorMixin, BaseEstimator):
    r"""Class-conditional Gaussians, or mixtures of them, as a joint density of rows and classes.

    .. math:: p(x, y) = p(y) \sum_k \pi_{yk} \, N(x; \mu_{yk}, \Sigma_{yk})

    Classical classifiers are special cases: quadratic discriminant analysis is
    `covariance_type="full"`, linear discriminant analysis "tied" (one matrix for all components of
    all classes; with `n_components` > 1, mixture discriminant analysis) and Gaussian naive Bayes
    "diag". `score` is the mean of log p(x), summed over the classes, so that it compares with other
    generators; for accuracy pass `scoring="accuracy"` to the search.

    Parameters
    ----------
    covariance_type : {"full", "tied", "diag", "spherical", "low_rank"}, default="full"
        A matrix for each component, one matrix for all, variances, one variance, or factor
        analysers: `n_factors` directions and independent noise, which suits image-sized rows.
    n_components : int, default=1
        Number of components of each class, m.
    priors : array-like of shape (n_classes,), default=None
        p(y) in the order of the sorted classes, adding up to one; by default the (weighted) shares
        of the classes.
    reg_param : float in [0, 1], default=0.0
        Shrinks covariances S to (1 - reg_param) S + reg_param I, in squared units of X, as
        scikit-learn's QuadraticDiscriminantAnalysis does. 0.03 to 0.1 is a good range for images
        with pixels in [0, 1].
    reg_covar : float or "scale", default="scale"
        Added to all variances: a number in squared units of X, at least 0, or "scale" for 1e-6
        times the variance of each feature within a class (the median over the classes that vary).
        "scale" tells classes apart alike in all units: it is relative, unlike the 1e-6 of
        `GaussianMixture`; to each feature, unlike the `var_smoothing` of scikit-learn's GaussianNB,
        which the feature of the largest units decides; and to the classes, so that neither
        distances between them nor wild values of one of them matter.
    n_factors : int, default=10
        Factors of each component with "low_rank"; at most n_features are used.
    tol : float, default=1e-3
        EM stops once the mean log-likelihood of a row given its class changes by less than this, in
        nats. Solutions in closed form (see `n_iter_`) do not depend on it, on max_iter or on
        init_params.
    max_iter : int, default=100
        Largest number of EM iterations.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How the components of a class start.
    random_state : int, RandomState, Generator or None, default=None
        Fixes the fit and the stream of later draws.
    learning_decay : float in [0.5, 1], default=1.0
        How fast `partial_fit` settles: n new rows after N get a fraction of
        (n / (N + n)) ** learning_decay of all weight. 1 weighs all rows alike; less forgets old
        rows sooner.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where EM runs; "auto" takes CUDA if it is available.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        The labels, sorted.
    class_count_ : ndarray of shape (n_classes,)
        Number of rows of each class, or the sum of their weights.
    class_prior_ : ndarray of shape (n_classes,)
        p(y); 0 for a class without rows so far.
    weights_ : ndarray of shape (n_classes * m,)
        p(y) times the weight of the component in its class; adds up to one. Here and below, the
        components of class i are those from i * m to (i + 1) * m, and those of a class without rows
        so far are NaN.
    means_ : ndarray of shape (n_classes * m, n_features)
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of shape (n_classes * m, n_features, n_features), (n_features, n_features), (n_classes * m,
        n_features) or (n_classes * m,), by `covariance_type`; not with "low_rank".
    loadings_ : ndarray of shape (n_classes * m, n_features, n_factors)
        With "low_rank": covariances are loadings @ loadings.T + diag(noise variances).
    noise_variances_ : ndarray of shape (n_classes * m, n_features)
        With "low_rank".
    converged_ : bool
    n_iter_ : int
        EM iterations; 1 if the solution is in closed form: one component in each class, no missing
        values and not "low_rank".
    lower_bound_ : float
        Mean of log p(x given y) over the rows, in nats, at the last E-step or in closed form.
    n_reseeded_, n_repaired_ : int
        Empty components that were moved, and covariances that were made positive definite.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If X had names.

    References
    ----------
    T. Hastie, R. Tibshirani, Discriminant analysis by Gaussian mixtures, 1996.
    J. H. Friedman, Regularized discriminant analysis, 1989.
    Z. Ghahramani, G. E. Hinton, The EM algorithm for mixtures of factor analyzers, 1997.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import cross_val_score
    >>> from probgen import GaussianBayes
    >>> X, y = load_iris(return_X_y=True)
    >>> model = GaussianBayes(random_state=0).fit(X, y)
    >>> model.sample(3, y=[0, 0, 2]).shape
    (3, 4)
    >>> float(cross_val_score(GaussianBayes(), X, y, scoring="accuracy").mean().round(2))
    0.98
    """

    _missing_values = "all"

    def __init__(
        self,
        *,
        covariance_type: str = "full",
        n_components: int = 1,
        priors: npt.ArrayLike | None = None,
        reg_param: float = 0.0,
        reg_covar: float | str = "scale",
        n_factors: int = 10,
        tol: float = 1e-3,
        max_iter: int = 100,
        init_params: str = "kmeans",
        random_state: RandomState = None,
        learning_decay: float = 1.0,
        device: str = "auto",
    ) -> None:
        self.covariance_type = covariance_type
        self.n_components = n_components
        self.priors = priors
        self.reg_param = reg_param
        self.reg_covar = reg_covar
        self.n_factors = n_factors
        self.tol = tol
        self.max_iter = max_iter
        self.init_params = init_params
        self.random_state = random_state
        self.learning_decay = learning_decay
        self.device = device

    def fit(
        self, X: npt.ArrayLike, y: npt.ArrayLike, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Estimate the components of every class.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Training rows; NaN are marginalised.
        y : array-like of shape (n,)
            Their classes, numbers or strings.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0; an integer weight equals that many repeats of the row,
            0 leaves it out.

        Returns
        -------
        self : GaussianBayes

        Raises
        ------
        ValueError
            If X, y, the weights or a parameter is not as described above, a class has fewer rows
            than `n_components`, or squares of X overflow or underflow, before any work is done.
        """
        device = self._check_parameters()
        X, y, weights = self._validate_weighted(X, y, sample_weight, reset=True)
        return self._begin(device, X, y, weights, np.unique(y))

    def partial_fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        classes: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Update the fit with more rows, by merged sufficient statistics.

        The first rows of a class start it as `fit` does, so that there must be at least
        `n_components` of them; later rows take one E-step, then one M-step with all rows so far.
        With one component in each class the result is that of one `fit` on all rows (but for
        "low_rank" and missing values, whose statistics depend on the parameters). A call after
        `fit` continues from it.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            New rows, which may hold NaN.
        y : array-like of shape (n,)
            Their classes.
        classes : array-like of shape (n_classes,), default=None
            Every class that will ever come; needed at the first call.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows, at least 0.

        Returns
        -------
        self : GaussianBayes

        Raises
        ------
        ValueError
            As in `fit`; if the first call lacks the classes, or a label is not among them.
        """
        device = self._check_parameters()
        if not hasattr(self, "_state"):
            if classes is None:
                raise ValueError(
                    "classes must be passed to the first partial_fit; list every class that will"
                    " come."
                )
            X, y, weights = self._validate_weighted(X, y, sample_weight, reset=True)
            return self._begin(device, X, y, weights, np.unique(classes))
        if classes is not None and not np.array_equal(np.unique(classes), self.classes_):
            known, received = self.classes_.tolist(), np.unique(classes).tolist()
            raise ValueError(
                f"classes must be those of the first partial_fit, {known}, or be left out; got"
                f" {received}."
            )
        if self._state["layout"] != self._layout():
            raise ValueError(
                "partial_fit must keep the covariance_type, n_components and n_factors of the first"
                f" call, {self._state['layout']}; got {self._layout()}; clone the model to start"
                " anew."
            )
        X, y, weights = self._validate_weighted(X, y, sample_weight, reset=False)
        return self._continue(device, X, y, weights)

    def _begin(
        self,
        device: str,
        X: np.ndarray,
        y: np.ndarray,
        weights: np.ndarray | None,
        classes: np.ndarray,
    ) -> Self:
        """Fit the classes that have rows."""
        indices = class_indices(y, classes, len(X))
        class_count = np.bincount(indices, weights, minlength=len(classes))
        class_prior = check_priors(self.priors, class_count)
        rows = self._rows_of_classes(X, indices, weights, classes, class_count > 0.0)
        fit = self._fit_classes(X, weights, list(rows.values()), self._start_stream(), device)
        seen = list(rows)
        origins = np.zeros((len(classes), X.shape[1]))
        origins[seen] = fit.origins
        n_all = len(classes) * self.n_components
        self.classes_ = classes
        self._state = {
            "statistics": fit.statistics.placed(self._members(seen), n_all),
            "origins": origins,
            "layout": self._layout(),
        }
        self.n_reseeded_ = fit.n_reseeded
        self.n_repaired_ = fit.n_repaired
        self.converged_ = fit.converged
        self.n_iter_ = len(fit.lower_bounds)
        self.lower_bound_ = fit.lower_bound
        self._store_classes(fit.components, class_count, class_prior)
        self._warn()
        return self

    def _continue(
        self, device: str, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None
    ) -> Self:
        """Take an E-step over known classes, start new ones, and estimate all of them."""
        indices = class_indices(y, self.classes_, len(X))
        batch_count = np.bincount(indices, weights, minlength=len(self.classes_))
        class_count = self.class_count_ + batch_count
        class_prior = check_priors(self.priors, class_count)
        is_known = self.class_count_ > 0.0
        is_new = ~is_known & (batch_count > 0.0)
        rows = self._rows_of_classes(X, indices, weights, self.classes_, is_new)
        known = [i for i in rows if is_known[i]]
        new = [i for i in rows if not is_known[i]]
        state = dict(self._state, origins=self._state["origins"].copy())
        n_all = len(self.weights_)
        # Known and new classes have statistics of disjoint components, which add up to a batch.
        log_likelihood = 0.0
        batches = []
        if known:
            mean, statistics = self._expectation(X, weights, {i: rows[i] for i in known}, device)
            batches.append(statistics.placed(self._members(known), n_all))
            log_likelihood += mean * statistics.total
        if new:
            generator = spawn_generator(self._stream)
            fit = self._fit_classes(X, weights, [rows[i] for i in new], generator, device)
            batches.append(fit.statistics.placed(self._members(new), n_all))
            log_likelihood += fit.lower_bound * fit.statistics.total
            state["origins"][new] = fit.origins
            self.n_reseeded_ += fit.n_reseeded
            self.n_repaired_ += fit.n_repaired
        batch = sum(batches[1:], batches[0])
        state["statistics"] = merged(state["statistics"], batch, self.learning_decay)
        seen = np.flatnonzero(class_count)
        statistics = state["statistics"].select(self._members(seen))
        origins = np.repeat(state["origins"][seen], self.n_components, axis=0)
        regularization = self._settings().regularization
        added = regularization.added(statistics, origins)
        components, repaired = FAMILIES[self.covariance_type].estimate(
            statistics, regularization, origins, added
        )
        self._state = state
        self.n_iter_ += 1
        self.n_repaired_ += repaired
        self.lower_bound_ = log_likelihood / batch.total
        self._store_classes(components.shifted(-origins), class_count, class_prior)
        return self

    def _settings(self) -> MixtureSettings:
        return MixtureSettings(
            covariance_type=self.covariance_type,
            n_components=self.n_components,
            init_params=self.init_params,
            reg_covar=self.reg_covar,
            n_factors=min(self.n_factors, self.n_features_in_),
            tol=self.tol,
            max_iter=self.max_iter,
            reg_param=self.reg_param,
            dtype=np.dtype(self._dtype).type,
        )

    def _fit_classes(
        self,
        X: np.ndarray,
        weights: np.ndarray | None,
        rows: Sequence[np.ndarray],
        generator: np.random.Generator,
        device: str,
    ) -> Fit:
        """The Fit of classes that had no rows before, from the indices of the rows of each."""
        settings = self._settings()
        is_closed = self.n_components == 1 and self.covariance_type != "low_rank"
        if is_closed and not np.isnan(X).any():
            return fit_in_closed_form(X, weights, rows, settings)
        generators = [spawn_generator(generator) for _ in rows]
        n_start_rows = max(8192, 256 * self.n_components)
        summaries = [
            summarise_rows(
                X[members], _taken(weights, members), n_start_rows, own, settings.regularization
            )
            for members, own in zip(rows, generators, strict=True)
        ]
        return fit_mixture(summaries, settings, generators, device=device)

    def _expectation(
        self,
        X: np.ndarray,
        weights: np.ndarray | None,
        rows: dict[int, np.ndarray],
        device: str,
    ) -> tuple[float, Any]:
        """Mean of log p(x given y) of rows of known classes, and their statistics."""
        # A class prior of 0 must not hide how the components of the class share its rows.
        components = replace(self._components(), weights=self._state["weights"])
        # _components leaves out classes without rows, so the others move up.
        place = np.cumsum(self.class_count_ > 0.0) - 1
        components = components.select(self._members(place[list(rows)]))
        groups = []
        for i, members in rows.items():
            data = X[members]
            origin = self._state["origins"][i]
            has_missing = bool(np.isnan(data).any())
            groups.append(Rows(data, _taken(weights, members), origin, has_missing))
        return mean_expectation(components, groups, self.n_components, device=device)

    def _members(self, classes: npt.ArrayLike) -> np.ndarray:
        """Indices of the components of some classes, in their order."""
        within = np.arange(self.n_components)
        return (np.asarray(classes)[:, None] * self.n_components + within).ravel()

    def _check_parameters(self) -> str:
        """Check all parameters that do not depend on X; return the device."""
        check_choice("covariance_type", self.covariance_type, tuple(FAMILIES))
        check_count("n_components", self.n_components)
        check_real("reg_param", self.reg_param, low=0.0, high=1.0)
        if isinstance(self.reg_covar, str):
            check_choice("reg_covar", self.reg_covar, ("scale",), hint="Or give a number >= 0.")
        else:
            check_real("reg_covar", self.reg_covar, low=0.0)
        check_count("n_factors", self.n_factors)
        check_real("tol", self.tol, low=0.0)
        check_count("max_iter", self.max_iter)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_real("learning_decay", self.learning_decay, low=0.5, high=1.0)
        return resolve_device(self.device)

    def _rows_of_classes(
        self,
        X: np.ndarray,
        indices: np.ndarray,
        weights: np.ndarray | None,
        classes: np.ndarray,
        is_new: np.ndarray,
    ) -> dict[int, np.ndarray]:
        """Indices of the rows that hold a value, by class index.

        Raises ValueError where a new class has too few rows.
        """
        missing = np.isnan(X)
        has_values = np.ones(len(X), dtype=bool)
        if missing.any():
            has_values = ~missing.all(axis=1)
        if not has_values.any():
            raise ValueError("X must hold some values; got only NaN.")
        rows = {}
        for i in np.unique(indices).tolist():
            members = np.flatnonzero((indices == i) & has_values)
            n_rows = len(members)
            if weights is not None:
                n_rows = max(n_rows, weights[members].sum())  # a weight stands for repeats
            if is_new[i] and n_rows < self.n_components:
                raise ValueError(
                    "n_components must be at most the number of rows with values of each class;"
                    f" got {self.n_components}, but class {classes.tolist()[i]!r} has"
                    f" {len(members)}; ask for fewer components or give more of its rows."
                )
            if len(members):
                rows[i] = members
        return rows

    def _store_classes(
        self, components: Any, class_count: np.ndarray, class_prior: np.ndarray
    ) -> None:
        """Set the fitted attributes from components of the classes that have rows."""
        seen = np.flatnonzero(class_count)
        within = components.weights.reshape(len(seen), self.n_components)
        within = within / within.sum(axis=1, keepdims=True)
        self._state["weights"] = within.ravel() / len(seen)
        self._store(replace(components, weights=(class_prior[seen, None] * within).ravel()))
        self.class_count_ = class_count
        self.class_prior_ = class_prior
        if len(seen) == len(class_count):
            return
        by_component = {"weights_", "means_", "loadings_", "noise_variances_"}
        if self.covariance_type != "tied":
            by_component |= {"covariances_", "precisions_cholesky_"}
        for name in by_component & vars(self).keys():
            array = getattr(self, name)
            shape = (len(class_count) * self.n_components, *array.shape[1:])
            padded = np.full(shape, np.nan, dtype=array.dtype)
            padded[self._members(seen)] = array
            setattr(self, name, padded)

    def _components(self) -> Any:
        """The fitted components of the classes that have rows."""
        components = super()._components()
        has_rows = self.class_count_ > 0.0
        if has_rows.all():
            return components
        return components.select(self._members(np.flatnonzero(has_rows)))

    def _joint_log_likelihood(self, X: np.ndarray) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return self._sum_in_classes(conditional.log_joint(engine, self._components(), X))

    @np.errstate(under="ignore")
    def _sum_in_classes(self, log_joint: np.ndarray) -> np.ndarray:
        """Log joint densities (n, n_classes), from those (n, K) of the components of classes."""
        n_rows = len(log_joint)
        seen = np.flatnonzero(self.class_count_)
        by_class = np.full((n_rows, len(self.classes_)), -np.inf)
        by_class[:, seen] = np.logaddexp.reduce(log_joint.reshape(n_rows, len(seen), -1), axis=2)
        return by_class

    def _log_joint_of_conditions(self, conditions: Conditions) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            joint = conditional.log_joint_of_conditions(engine, self._components(), conditions)
        return self._sum_in_classes(joint)

    def _sample_classes(
        self, indices: np.ndarray, generator: np.random.Generator, conditions: Conditions | None
    ) -> np.ndarray:
        rows = np.empty((len(indices), self.n_features_in_))
        # A class prior of 0 must not hide the components of a class that is asked for.
        components = replace(self._components(), weights=self._state["weights"])
        with EMEngine(self._query_device()) as engine:
            for i in np.unique(indices):
                if not self.class_count_[i]:
                    label = self.classes_.tolist()[i]
                    raise ValueError(
                        f"y asks for class {label!r}, of which partial_fit has had no rows yet."
                    )
                members = np.flatnonzero(indices == i)
                place = np.count_nonzero(self.class_count_[:i])  # among the classes with rows
                of_class = components.select(self._members([place]))
                if conditions is None:
                    rows[members] = of_class.sample(len(members), generator)
                else:
                    block = conditions.take(members)
                    rows[members], _ = conditional.draw_given(engine, of_class, block, generator)
        return rows

    def _warn(self) -> None:
        self._warn_of_repairs()
        if not self.converged_:
            warn(
                f"EM did not converge in max_iter={self.max_iter} iterations; raise max_iter or"
                " tol, or ignore this: the components are usable.",
                ConvergenceWarning,
            )


def _taken(weights: np.ndarray | None, rows: np.ndarray) -> np.ndarray | None:
    """The weights of some rows, or None for ones."""
    if weights is None:
        return None
    return weights[rows]
