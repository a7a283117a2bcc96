"""What estimators of mixtures share: queries by responsibilities, rows of a fit, and starts."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from joblib import Parallel, delayed, effective_n_jobs
from sklearn.exceptions import ConvergenceWarning

from probgen._validation import check_columns, check_weights, empty_columns, spawn_generator
from probgen._warnings import warn
from probgen.base import GeneratorMixin
from probgen.gaussians.em import Fit
from probgen.gaussians.log_probabilities import responsibilities
from probgen.row_blocks import RowBlocks


class MixtureMixin(GeneratorMixin):
    """Public methods of mixtures that EM fits.

    A subclass writes `_log_joint(X)`, the log of weight times density (n, K), and
    `_n_parameters()`, beside the hooks of a generator.
    """

    fit: Any
    lower_bound_: float
    max_iter: int
    n_features_in_: Any
    n_init: int
    n_jobs: int | None
    verbose: int
    verbose_interval: int
    weights_: Any

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def _n_parameters(self) -> int:
        raise NotImplementedError

    def fit_predict(
        self,
        X: npt.ArrayLike,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> np.ndarray:
        """Fit, and return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows.

        Returns
        -------
        labels : ndarray of shape (n,)
        """
        return self.fit(X, sample_weight=sample_weight).predict(X)

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the most probable component of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows, which may hold NaN.

        Returns
        -------
        labels : ndarray of shape (n,)
        """
        return np.argmax(self._log_joint(self._validate_query(X)), axis=1)

    def predict_proba(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the probability of each component given each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows, which may hold NaN.

        Returns
        -------
        responsibilities : ndarray of shape (n, n_components)
        """
        X = self._validate_query(X)
        return self._transform(X).astype(X.dtype, copy=False)

    def bic(self, X: npt.ArrayLike) -> float:
        """Return the Bayesian information criterion on X; lower is better.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        bic : float
        """
        scores = self.score_samples(X)
        penalty = self._n_parameters() * np.log(len(scores))
        return float(-2.0 * np.sum(scores, dtype=np.float64) + penalty)

    def aic(self, X: npt.ArrayLike) -> float:
        """Return the Akaike information criterion on X; lower is better.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        aic : float
        """
        scores = self.score_samples(X)
        penalty = 2.0 * self._n_parameters()
        return float(-2.0 * np.sum(scores, dtype=np.float64) + penalty)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        return responsibilities(self._log_joint(X))

    @property
    def _n_features_out(self) -> int:
        return len(self.weights_)

    def _check_rows(
        self, X: Any, sample_weight: npt.ArrayLike | None, *, reset: bool
    ) -> tuple[Any, np.ndarray | None]:
        """Validated rows, as an array or RowBlocks, and their weights or None."""
        if isinstance(X, RowBlocks):
            n_rows = self._check_blocks(X, sample_weight is not None, reset=reset)
        else:
            ensure_min_samples = 2 if reset and sample_weight is None else 1
            X = self._validate(X, reset=reset, ensure_min_samples=ensure_min_samples)
            n_rows = len(X)
            check_columns(empty_columns(X), each=False)
        if sample_weight is None:
            return X, None
        return X, check_weights(sample_weight, n_rows)

    def _check_blocks(self, blocks: RowBlocks, has_weights: bool, *, reset: bool) -> int:
        """Validate RowBlocks, and set the attributes that a fit learns from X; return n_rows."""
        n_rows = 0
        is_empty: Any = True
        for block in blocks:
            # The extremes are NaN or infinite where any value is, and quicker than masks.
            is_finite = np.isfinite(block.min()) and np.isfinite(block.max())
            if not is_finite and np.isinf(block).any():
                raise ValueError(
                    "X must hold finite numbers or NaN; got an infinity in its blocks."
                )
            is_empty = is_empty & empty_columns(block)
            n_rows += len(block)
            width = block.shape[1]
            dtype = block.dtype
        check_columns(is_empty, each=reset and self._needs_each_column)
        if reset and n_rows < 2 and not has_weights:
            raise ValueError(
                "X must have at least 2 rows, to have a variance; got RowBlocks with 1."
            )
        if reset:
            self.__dict__.pop("feature_names_in_", None)
            self.n_features_in_ = width
            self._dtype = dtype
        elif width != self.n_features_in_:
            raise ValueError(
                f"X has {width} features, but {type(self).__name__} is expecting"
                f" {self.n_features_in_} features."
            )
        return n_rows

    def _best_of(
        self, fit_start: Callable, generator: np.random.Generator, n_init: int | None = None
    ) -> Fit:
        """The best of fit_start(generator, n_jobs) for n_init generators, run by n_jobs threads."""
        n_init = n_init or self.n_init
        n_jobs = min(effective_n_jobs(self.n_jobs), n_init)
        generators = [spawn_generator(generator) for _ in range(n_init)]

        def fit_one(number: int) -> Fit:
            if self.verbose:
                print(f"Initialization {number}")
            return fit_start(generators[number], n_jobs)

        fits = Parallel(n_jobs=n_jobs, prefer="threads")(
            delayed(fit_one)(number) for number in range(n_init)
        )
        return max(fits, key=lambda fit: fit.lower_bound)

    def _store_fit(self, fit: Fit) -> None:
        """Set the fitted attributes that all mixtures have."""
        self.converged_ = fit.converged
        self.n_iter_ = len(fit.lower_bounds)
        self.lower_bound_ = fit.lower_bound
        self.lower_bounds_ = fit.lower_bounds
        self.n_reseeded_ = fit.n_reseeded
        self.n_repaired_ = fit.n_start_repaired + fit.n_repaired

    def _store_update(self, fit: Fit) -> None:
        """Update these attributes after one more step of a fit."""
        self.n_repaired_ += fit.n_repaired
        self.n_iter_ += 1
        self.lower_bound_ = fit.lower_bound
        self.lower_bounds_ = [*self.lower_bounds_, fit.lower_bound]

    def _reporter(self) -> Callable[[int, float], None] | None:
        """A report of EM's progress for every verbose_interval iterations, or None."""
        if not self.verbose:
            return None
        start = time.perf_counter()
        last = -np.inf

        def report(iteration: int, lower_bound: float) -> None:
            nonlocal last
            if iteration % self.verbose_interval == 0:
                line = f"  Iteration {iteration}"
                if self.verbose > 1:
                    seconds = time.perf_counter() - start
                    line += f"\t time {seconds:.3f}s\t change {lower_bound - last:.5f}"
                print(line)
            last = lower_bound

        return report

    def _warn_unless_converged(self) -> None:
        if not self.converged_ and self.max_iter > 0:
            warn(
                "Best performing initialization did not converge. Try different init parameters, or"
                " increase max_iter, tol, or check for degenerate data.",
                ConvergenceWarning,
            )
