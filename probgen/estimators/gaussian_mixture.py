"""Gaussian mixtures by expectation-maximization."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from probgen._devices import resolve_device
from probgen._validation import (
    RandomState,
    check_choice,
    check_count,
    check_jobs,
    check_real,
    check_verbose,
)
from probgen.base import ImputerMixin
from probgen.conditions.given import Conditions
from probgen.estimators._expectation_maximization import MixtureMixin
from probgen.gaussians import conditional
from probgen.gaussians.em import EMEngine, Fit
from probgen.gaussians.fitted import FittedComponentsMixin
from probgen.gaussians.fitting import MixtureSettings, fit_mixture, update_mixture
from probgen.gaussians.given_start import GivenStart
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.gaussians.rows import Rows
from probgen.gaussians.starts import FAMILIES, INIT_PARAMS, RowSummary, summarise_rows
from probgen.row_blocks import RowBlocks


class GaussianMixture(FittedComponentsMixin, MixtureMixin, ImputerMixin, BaseEstimator):
    r"""Gaussian mixture, fitted by expectation-maximization.

    .. math:: p(x) = \sum_k \pi_k \, N(x; \mu_k, \Sigma_k)

    A drop-in replacement for scikit-learn's class of that name, but for `sample`, which returns the
    rows alone. In addition it takes sample weights and missing values (NaN), draws under
    conditions, has low-rank covariances, fits incrementally, out of core and on CUDA, and repairs
    empty components and singular covariances in place of an error.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    covariance_type : {"full", "tied", "diag", "spherical", "low_rank"}, default="full"
        A matrix for each component, one matrix for all, variances, one variance, or a mixture of
        factor analysers: `n_factors` directions and independent noise, which suits image-sized
        rows.
    tol : float, default=1e-3
        EM stops once the mean log-likelihood of a row changes by less than this, in nats.
    reg_covar : float, default=1e-6
        Added to all variances, in squared units of X, as in scikit-learn; at least 0. With 0, fits
        are the same in all units of the features (with "spherical", in one unit for all of them).
    max_iter : int, default=100
        Largest number of EM iterations; 0 keeps the start.
    n_init : int, default=1
        Number of starts; the best fit is kept.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How responsibilities start.
    weights_init : array-like of shape (n_components,), default=None
        Weights to start from.
    means_init : array-like of shape (n_components, n_features), default=None
        Means to start from.
    precisions_init : array-like, default=None
        Inverse covariances to start from, in the shape of `covariances_`; not for "low_rank".
    random_state : int, RandomState, Generator or None, default=None
        Fixes the fit and the stream of later draws.
    warm_start : bool, default=False
        Whether `fit` resumes from the last fit, if that had the same components and features.
    verbose : int, default=0
        1 prints progress, 2 also the time and the change of each report.
    verbose_interval : int, default=10
        Iterations between two reports.
    n_factors : int, default=10
        Factors of each component with "low_rank"; at most n_features are used.
    learning_decay : float in [0.5, 1], default=1.0
        How fast `partial_fit` settles: n new rows after N get a fraction of
        (n / (N + n)) ** learning_decay of all weight. 1 weighs all rows alike; less forgets old
        rows sooner (Cappe & Moulines, 2009).
    n_jobs : int, default=None
        Number of starts that run at once, as joblib counts jobs.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where EM runs; "auto" takes CUDA if it is available.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
    means_ : ndarray of shape (n_components, n_features)
    covariances_, precisions_, precisions_cholesky_ : ndarray
        Of shape (n_components, n_features, n_features), (n_features, n_features), (n_components,
        n_features) or (n_components,), by `covariance_type`; not with "low_rank".
    loadings_ : ndarray of shape (n_components, n_features, n_factors)
        With "low_rank": covariances are loadings @ loadings.T + diag(noise variances).
    noise_variances_ : ndarray of shape (n_components, n_features)
        With "low_rank".
    converged_ : bool
    n_iter_ : int
        EM iterations of the best start.
    lower_bound_ : float
        Mean log-likelihood of a row, in nats, at the last E-step of the best start.
    lower_bounds_ : list of float
        The same for each iteration.
    n_reseeded_, n_repaired_ : int
        Empty components that were moved, and covariances that were made positive definite, during
        the best start.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If X had names.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum likelihood from incomplete data via the EM
    algorithm, 1977. Z. Ghahramani, M. I. Jordan, Supervised learning from incomplete data via an EM
    approach, 1994. Z. Ghahramani, G. E. Hinton, The EM algorithm for mixtures of factor analyzers,
    1997. O. Cappe, E. Moulines, On-line expectation-maximization algorithm for latent data models,
    2009.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen import GaussianMixture
    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [9.0, 10.0], [10.0, 9.0]])
    >>> model = GaussianMixture(2, random_state=0).fit(X)
    >>> np.sort(model.means_[:, 0]).round(3)
    array([0.5, 9.5])
    >>> model.sample(3, given={0: 10.0}).shape
    (3, 2)
    """

    _missing_values = "all"

    lower_bound_: float
    n_features_in_: Any
    _state: dict

    def __init__(
        self,
        n_components: int = 1,
        *,
        covariance_type: str = "full",
        tol: float = 1e-3,
        reg_covar: float = 1e-6,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        weights_init: npt.ArrayLike | None = None,
        means_init: npt.ArrayLike | None = None,
        precisions_init: npt.ArrayLike | None = None,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_factors: int = 10,
        learning_decay: float = 1.0,
        n_jobs: int | None = None,
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.covariance_type = covariance_type
        self.tol = tol
        self.reg_covar = reg_covar
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.weights_init = weights_init
        self.means_init = means_init
        self.precisions_init = precisions_init
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_factors = n_factors
        self.learning_decay = learning_decay
        self.n_jobs = n_jobs
        self.device = device

    def fit(
        self,
        X: npt.ArrayLike | RowBlocks,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Estimate the mixture.

        Parameters
        ----------
        X : array-like of shape (n, n_features), or RowBlocks
            Rows; NaN are marginalised. A memory-mapped array is read in place.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows; an integer weight equals that many repeats of the row.

        Returns
        -------
        self : GaussianMixture

        Raises
        ------
        ValueError
            If X, the weights or a parameter is not as described above, a column holds no value, or
            squares of X overflow or underflow, before any work is done.
        """
        device = self._check_parameters()
        rows, weights = self._check_rows(X, sample_weight, reset=True)
        given = GivenStart.read(
            self.weights_init,
            self.means_init,
            self.precisions_init,
            covariance_type=self.covariance_type,
            n_components=self.n_components,
            n_features=self.n_features_in_,
        )
        generator = self._start_stream()
        summary = summarise_rows(
            rows, weights, self._n_start_rows(), generator, self._settings().regularization
        )
        self._check_enough(rows, summary)
        layout = self._layout()
        if self.warm_start and hasattr(self, "_state") and self._state["layout"] == layout:
            best = fit_mixture(
                [summary],
                self._settings(),
                [generator],
                device=device,
                components=self._components(),
                previous=self.lower_bound_,
                report=self._reporter(),
            )
        else:
            best = self._best_of_starts(summary, given, generator, device)
        self._store(best.components)
        self._state = {
            "statistics": best.statistics,
            "origin": summary.origin,
            "layout": layout,
        }
        self._store_fit(best)
        self._warn_of_repairs()
        self._warn_unless_converged()
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike | RowBlocks,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Update the fit with more rows, by stepwise EM on merged sufficient statistics.

        The first call is a `fit`, and needs at least n_components rows. Each later one takes one
        E-step over X, merges its statistics with those so far and takes one M-step. With one
        component the result is that of one `fit` on all rows (but for "low_rank", whose statistics
        depend on the parameters). A call after `fit` continues from it.

        Parameters
        ----------
        X : array-like of shape (n, n_features), or RowBlocks
            New rows, which may hold NaN.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        self : GaussianMixture
        """
        if not hasattr(self, "_state"):
            return self.fit(X, sample_weight=sample_weight)
        device = self._check_parameters()
        state = self._state
        if state["layout"] != self._layout():
            raise ValueError(
                "partial_fit must keep the covariance_type, n_components and n_factors of the first"
                f" call, {state['layout']}; got {self._layout()}; clone the model to start anew."
            )
        rows, weights = self._check_rows(X, sample_weight, reset=False)
        fit = update_mixture(
            self._components(),
            Rows(rows, weights, state["origin"], has_missing=True),
            state["statistics"],
            self._settings(),
            learning_decay=self.learning_decay,
            device=device,
        )
        if fit is None:  # no row holds a value
            return self
        self._state = {**state, "statistics": fit.statistics}
        self._store(fit.components)
        self._store_update(fit)
        return self

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return self._components().sample(n_samples, generator)

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return conditional.draw_given(engine, self._components(), conditions, generator)[0]

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        rows = X.astype(np.float64)
        with EMEngine(self._query_device()) as engine:
            if generator is None:
                return conditional.conditional_mean(engine, self._components(), rows)
            conditions = self._parse_given(rows, len(rows))
            return conditional.draw_given(engine, self._components(), conditions, generator)[0]

    def _log_given(self, conditions: Conditions) -> np.ndarray:
        """Log of the density of known values times the probability of intervals, (n,)."""
        with EMEngine(self._query_device()) as engine:
            joint = conditional.log_joint_of_conditions(engine, self._components(), conditions)
        return log_sum_exp(joint.T)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return conditional.log_density(engine, self._components(), X)

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return conditional.log_joint(engine, self._components(), X)

    def _check_parameters(self) -> str:
        """Check all parameters that do not depend on X; return the device."""
        check_count("n_components", self.n_components)
        check_choice("covariance_type", self.covariance_type, tuple(FAMILIES))
        check_real("tol", self.tol, low=0.0)
        check_real("reg_covar", self.reg_covar, low=0.0)
        check_count("max_iter", self.max_iter, low=0)
        check_count("n_init", self.n_init)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_count("n_factors", self.n_factors)
        check_real("learning_decay", self.learning_decay, low=0.5, high=1.0)
        check_verbose(self.verbose)
        check_count("verbose_interval", self.verbose_interval)
        check_jobs(self.n_jobs)
        return resolve_device(self.device)

    def _check_enough(self, X: Any, summary: RowSummary) -> None:
        """Raise unless there are n_components rows, where an integer weight counts as repeats."""
        n_rows = len(X) if isinstance(X, np.ndarray) else len(summary.rows)
        if max(n_rows, summary.weights.sum()) < self.n_components:
            raise ValueError(
                f"n_components must be at most the number of rows of X, {n_rows}; got"
                f" {self.n_components}; ask for fewer components or give more rows."
            )

    def _n_start_rows(self) -> int:
        """Rows to start from: enough for each cluster, few enough to cost less than EM."""
        return max(4096, self.n_components * max(128, 4 * self.n_features_in_))

    def _settings(self) -> MixtureSettings:
        return MixtureSettings(
            covariance_type=self.covariance_type,
            n_components=self.n_components,
            init_params=self.init_params,
            reg_covar=self.reg_covar,
            n_factors=min(self.n_factors, self.n_features_in_),
            tol=self.tol,
            max_iter=self.max_iter,
            dtype=np.dtype(self._dtype).type,
        )

    def _best_of_starts(
        self, summary: RowSummary, given: GivenStart, generator: np.random.Generator, device: str
    ) -> Fit:
        """The best of n_init fits."""

        def fit_start(generator: np.random.Generator, n_jobs: int) -> Fit:
            return fit_mixture(
                [summary],
                self._settings(),
                [generator],
                device=device,
                n_shares=n_jobs,
                given=given,
                report=self._reporter(),
            )

        return self._best_of(fit_start, generator, 1 if given.is_whole else self.n_init)

    def _n_parameters(self) -> int:
        """Number of free parameters, for the information criteria."""
        K, d = self.means_.shape
        family = FAMILIES[self.covariance_type]
        if self.covariance_type == "low_rank":
            n_covariance = family.n_covariance_parameters(K, d, self.loadings_.shape[2])
        else:
            n_covariance = family.n_covariance_parameters(K, d)
        return n_covariance + K * d + K - 1
