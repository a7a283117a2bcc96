"""Mixtures of independent columns, each of a distribution of its own."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from probgen._validation import (
    RandomState,
    check_choice,
    check_count,
    check_jobs,
    check_real,
    check_verbose,
    show,
)
from probgen._warnings import warn
from probgen.base import GeneratorTags, ImputerMixin, Likelihood
from probgen.base.table_generator import TableMixin
from probgen.conditions.given import Conditions
from probgen.estimators._expectation_maximization import MixtureMixin
from probgen.estimators._named_columns import NamedColumnsMixin
from probgen.gaussians.em import EMEngine, Fit
from probgen.gaussians.log_probabilities import log_sum_exp
from probgen.gaussians.starts import INIT_PARAMS
from probgen.mixtures import array_columns, draws
from probgen.mixtures.components import MixtureComponents, log_joint
from probgen.mixtures.em import Settings
from probgen.mixtures.fitting import TableSummary, fit_table, summarise, update_table
from probgen.mixtures.layout import ABOVE_LOW, CATEGORICAL, COUNTS, Layout, outside
from probgen.mixtures.rows import make_encoder
from probgen.row_blocks import RowBlocks
from probgen.tables.columns import Column, measure_of
from probgen.tables.table import Table

START_NUMBERS = 2**19  # indicators and numbers among which k-means finds clusters
POSITIVE = (*CATEGORICAL, *COUNTS, *ABOVE_LOW)
DISCRETE = (*CATEGORICAL, *COUNTS)


class MixtureModel(NamedColumnsMixin, TableMixin, MixtureMixin, ImputerMixin, BaseEstimator):
    r"""Mixture of independent columns, each of a distribution of its own, fitted by EM.

    .. math:: p(x) = \sum_k \pi_k \prod_j p_j(x_j \mid \theta_{kj})

    With categories alone this is latent class analysis, with one component the model of independent
    columns, and with normal numbers alone `GaussianMixture(covariance_type="diag")`.

    `BayesClassifier(MixtureModel(1, distributions=...))` is naive Bayes. "normal" is scikit-learn's
    GaussianNB with `var_smoothing=0`, "bernoulli" its BernoulliNB and "categorical" its
    CategoricalNB, each with `alpha=smoothing`. MultinomialNB and ComplementNB are no products of
    distributions of columns. But "poisson" gives the posteriors of maximum-likelihood multinomials
    to which a Poisson distribution of the sum of the row, given the class, is added.

    Parameters
    ----------
    n_components : int, default=1
        Number of components, K.
    distributions : str or dict, default="auto"
        The distribution of all columns, or a dict of such by column name or index, "auto" for
        others: "normal", "student_t", "lognormal", "exponential", "gamma", "beta", "poisson",
        "negative_binomial", "histogram", "bernoulli" or "categorical". Categories are always
        categorical. "auto" is "normal" for columns of an array. In a frame it is "lognormal" for
        positive real numbers, "normal" for others, and for whole numbers the likelier of the two,
        rounded; but "histogram" where that is likelier than either by more than other columns tell
        of the column.
        "histogram" has at most 16 bins of equal shares of the rows. All components share the bins,
        and each has its own probabilities of them. Numbers are uniform within a bin, but for
        generalised Pareto tails in the outer ones.
        "lognormal", "exponential", "gamma" and "beta" start at the least number that the column can
        have, which is 0 in an array; "beta" ends at 1 there.
    atoms : "auto", None or dict, default="auto"
        Numbers that have a probability of their own, such as the zeros of an income: those that are
        found in the columns of a frame; none; or a dict of numbers by column name or index.
    categorical_features : "from_dtype", None or array-like, default="from_dtype"
        Which columns are categories: those whose dtype says so, or names, indices or a mask. In an
        array their values are 0, 1, ...
    kinds : dict, Table or None, default=None
        Kinds of the columns of a frame by name, where they should not be inferred: "real",
        "integer", "category", "ordered", "boolean", "datetime", "duration" or "constant"; or the
        `probgen.tables.Table.infer(frame)` of other rows.
    missing : {"model", "marginalise"}, default="model"
        Whether gaps of a frame are outcomes with a probability, so that draws have gaps too, or
        missing at random and integrated out, as in an array.
    handle_unknown : {"level", "error"}, default="level"
        Whether categories that `fit` did not see are one more level, which is never drawn, or
        refused.
    min_categories : int or array-like of shape (n_features,), default=None
        Least number of levels of categorical columns of an array; None takes those up to the
        greatest value in X.
    smoothing : float, default=0.1
        Pseudo-rows of each level of a categorical column: the frequencies of the L levels in the
        whole table get `smoothing` rows of each level, and those of a component of several get ten
        times as many in all of such frequencies. 0 is maximum likelihood.
    min_scale : float, default=1e-3
        Least standard deviation of a component, in standard deviations of the column; above 0.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How responsibilities start, by distances between rows in which levels are indicators.
    tol, max_iter, n_init, random_state, warm_start
        As in `GaussianMixture`.
    verbose, verbose_interval, learning_decay, n_jobs
        As in `GaussianMixture`.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
    parameters_ : dict
        For each column by name or index a dict: "distribution"; arrays (n_components,) of its
        parameters in the units of X; where it has levels, their "probabilities" of shape
        (n_components, n_levels); and of a histogram "bin_edges" and "bin_probabilities" of shape
        (n_components, n_bins).
    n_repaired_ : int
        Deviations of M-steps that were raised to `min_scale` during the best start.
    converged_, n_iter_, lower_bound_, lower_bounds_, n_reseeded_, n_features_in_, feature_names_in_
        As in `GaussianMixture`.

    References
    ----------
    A. P. Dempster, N. M. Laird, D. B. Rubin, Maximum likelihood from incomplete data via the EM
    algorithm, 1977. P. F. Lazarsfeld, N. W. Henry, Latent structure analysis, 1968. C. Liu, D. B.
    Rubin, ML estimation of the t distribution using EM and its extensions, 1995. O. Cappe, E.
    Moulines, On-line expectation-maximization algorithm for latent data models, 2009.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen import MixtureModel
    >>> rng = np.random.default_rng(0)
    >>> kind = rng.integers(2, size=500)
    >>> X = np.column_stack([kind, rng.poisson(2.0 + 20.0 * kind)])
    >>> distributions = {0: "categorical", 1: "poisson"}
    >>> model = MixtureModel(2, distributions=distributions, random_state=0).fit(X)
    >>> np.sort(model.parameters_[1]["mean"]).round()
    array([ 2., 22.])
    >>> bool(model.sample(200, given={0: 1}, random_state=0)[:, 1].mean() > 15.0)
    True
    """

    _missing_values = "all"

    _columns: list[Column]
    _mixture: MixtureComponents
    _state: dict

    def __init__(
        self,
        n_components: int = 1,
        *,
        distributions: Any = "auto",
        atoms: Any = "auto",
        categorical_features: Any = "from_dtype",
        kinds: Any = None,
        missing: str = "model",
        handle_unknown: str = "level",
        min_categories: Any = None,
        smoothing: float = 0.1,
        min_scale: float = 1e-3,
        tol: float = 1e-3,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        learning_decay: float = 1.0,
        n_jobs: int | None = None,
    ) -> None:
        self.n_components = n_components
        self.distributions = distributions
        self.atoms = atoms
        self.categorical_features = categorical_features
        self.kinds = kinds
        self.missing = missing
        self.handle_unknown = handle_unknown
        self.min_categories = min_categories
        self.smoothing = smoothing
        self.min_scale = min_scale
        self.tol = tol
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.learning_decay = learning_decay
        self.n_jobs = n_jobs

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        # Sets of numbers are asked of discrete columns.
        tags.input_tags.categorical = self._likelihood.measure != "lebesgue"
        names = self.distributions if isinstance(self.distributions, str) else "auto"
        tags.input_tags.positive_only = names in POSITIVE
        return tags

    @property
    def _likelihood(self) -> Likelihood:
        if hasattr(self, "_mixture"):
            return Likelihood(measure=measure_of(self._mixture.layout.columns))
        names = {self.distributions} if isinstance(self.distributions, str) else {"auto"}
        if isinstance(self.distributions, dict):
            names |= {name for name in self.distributions.values() if isinstance(name, str)}
        if names <= set(DISCRETE):
            return Likelihood(measure="counting")
        is_plain = isinstance(self.categorical_features, str | None) and self.atoms in (
            "auto",
            None,
        )
        if is_plain and not names & set(DISCRETE):
            return Likelihood()
        return Likelihood(measure="mixed")

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
            Rows; NaN are marginalised. A memory-mapped array is read in place. The columns of
            blocks of frames are those of the first block, which must have all categories and kinds
            of gaps, or those of a Table that `kinds` is.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the rows; an integer weight equals that many repeats of the row.

        Returns
        -------
        self : MixtureModel

        Raises
        ------
        ValueError
            If X, the weights or a parameter is not as described above, a column holds no value or a
            value that its distribution cannot have, or squares of X overflow or underflow, before
            any work is done.
        """
        self._check_parameters()
        rows, weights = self._check_rows(X, sample_weight, reset=True)
        if isinstance(rows, RowBlocks) and self._table is None:
            self._columns = self._columns_of_blocks(rows)
        names = self._names()
        distributions = self._distributions(names)
        columns = self._adapted_columns(distributions, names)
        generator = self._start_stream()
        summary = summarise(
            columns,
            distributions,
            rows,
            weights,
            self._n_start_rows(columns),
            generator,
            self.min_scale,
            self._table is not None or isinstance(self.kinds, Table),
        )
        self._check_enough(rows, summary)
        resumed = self._resumed(summary)
        if resumed is not None:
            summary = resumed
        self._check_rows_in_support(summary.layout, rows)
        if resumed is not None:
            best = fit_table(
                summary,
                self._settings(),
                n_components=self.n_components,
                init_params=self.init_params,
                generator=generator,
                components=self._mixture,
                previous=self.lower_bound_,
                report=self._reporter(),
            )
        else:
            best = self._best_of_starts(summary, generator)
        self._columns = columns
        if self._table is not None:
            self._table = replace(self._table, columns=columns)
        self._store(best)
        self._store_fit(best)
        self._warn_of_empty_components()
        self._warn_unless_converged()
        return self

    def partial_fit(
        self,
        X: npt.ArrayLike | RowBlocks,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Update the fit with more rows, by stepwise EM on merged sufficient statistics.

        The first call is a `fit`, needs at least n_components rows, and decides on the columns,
        their levels and their distributions. Each later one takes one E-step over X, merges its
        statistics with those so far and takes one M-step. With one component the result is that of
        one `fit` on all rows, as far as the distributions have sufficient statistics, which
        "student_t" has not, nor "histogram", whose bins stay. A call after `fit` continues from it.

        Parameters
        ----------
        X, y, sample_weight
            As in `fit`; the rows are new ones.

        Returns
        -------
        self : MixtureModel
        """
        if not hasattr(self, "_mixture"):
            return self.fit(X, sample_weight=sample_weight)
        self._check_parameters()
        if self.n_components != len(self._mixture):
            raise ValueError(
                f"partial_fit must keep the n_components of the first call, {len(self._mixture)};"
                f" got {self.n_components}; clone the model to start anew."
            )
        rows, weights = self._check_rows(X, sample_weight, reset=False)
        self._check_rows_in_support(self._mixture.layout, rows)
        fit = update_table(
            self._mixture,
            self._state["statistics"],
            rows,
            weights,
            self._settings(),
            self.learning_decay,
        )
        self._store(fit)
        self._store_update(fit)
        return self

    @property
    def parameters_(self) -> dict[Any, dict[str, Any]]:
        """Parameters of the components, by column."""
        mixture = self._mixture
        found: dict[Any, dict[str, Any]] = {}
        for j, feature in enumerate(mixture.layout.features):
            entry = found.setdefault(mixture.layout.columns[feature.column].name, {})
            family = mixture.layout.families[j]
            if family is None:
                entry.setdefault("distribution", "categorical")
                entry["probabilities"] = mixture.levels[j].T.copy()
            else:
                entry["distribution"] = family.name
                entry.update(family.described(mixture.params[j]))
        return found

    def _check_rows(
        self, X: Any, sample_weight: npt.ArrayLike | None, *, reset: bool
    ) -> tuple[Any, np.ndarray | None]:
        if isinstance(X, RowBlocks):
            X = self._coded_blocks(X, reset=reset)
        rows = super()._check_rows(X, sample_weight, reset=reset)
        if isinstance(X, RowBlocks) and reset and self._table is not None:
            self.feature_names_in_ = np.array(self._table.names, dtype=object)
        return rows

    def _check_parameters(self) -> None:
        """Check all parameters that do not depend on X."""
        check_count("n_components", self.n_components)
        if not isinstance(self.distributions, dict):
            array_columns.check_distribution(self.distributions, self.distributions)
        array_columns.check_atoms(self.atoms)
        check_real("smoothing", self.smoothing, low=0.0)
        check_real("min_scale", self.min_scale, low=1e-12, high=1.0)
        check_real("tol", self.tol, low=0.0)
        check_count("max_iter", self.max_iter, low=0)
        check_count("n_init", self.n_init)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_real("learning_decay", self.learning_decay, low=0.5, high=1.0)
        check_verbose(self.verbose)
        check_count("verbose_interval", self.verbose_interval)
        check_jobs(self.n_jobs)

    def _check_enough(self, X: Any, summary: TableSummary) -> None:
        """Raise unless there are n_components rows, where an integer weight counts as repeats."""
        n_rows = len(X) if isinstance(X, np.ndarray) else len(summary.sample)
        if max(n_rows, summary.sample_weights.sum()) < self.n_components:
            raise ValueError(
                f"n_components must be at most the number of rows of X, {n_rows}; got"
                f" {self.n_components}; ask for fewer components or give more rows."
            )

    def _check_rows_in_support(self, layout: Layout, X: Any) -> None:
        """Raise a ValueError if a row of an array or RowBlocks has no density."""
        blocks = [X] if isinstance(X, np.ndarray) else X
        for block in blocks:
            found = outside(layout, block.astype(np.float64, copy=False))
            if found is not None:
                j, value, needs = found
                # scikit-learn's common checks look for these very words.
                prefix = "Negative values in data: " if value < 0.0 else ""
                name = layout.columns[j].name
                raise ValueError(
                    f"{prefix}MixtureModel needs {needs} and NaN in column {name!r}; X"
                    f" holds {value:.17g}; drop such rows, or choose another distribution for the"
                    " column."
                )

    def _check_support(self, X: np.ndarray) -> None:
        self._check_rows_in_support(self._mixture.layout, X)

    def _n_start_rows(self, columns: list[Column]) -> int:
        """Rows to start from: some for each cluster, few enough to cost less than EM."""
        width = sum(max(column.n_outcomes, 1) for column in columns)
        return max(min(4096, START_NUMBERS // width), 8 * self.n_components)

    def _settings(self) -> Settings:
        return Settings(self.smoothing, self.tol, self.max_iter)

    def _resumed(self, summary: TableSummary) -> TableSummary | None:
        """The summary under the layout of the last fit, if a warm start may go on from that."""
        if not self.warm_start or not hasattr(self, "_mixture"):
            return None
        last = self._mixture.layout
        names = [family and family.name for family in last.families]
        is_same = last.columns == summary.layout.columns and names == [
            family and family.name for family in summary.layout.families
        ]
        if not is_same or len(self._mixture) != self.n_components:
            return None
        return replace(summary, layout=last, encoder=make_encoder(last, summary.encoder.tables))

    def _best_of_starts(self, summary: TableSummary, generator: np.random.Generator) -> Fit:
        """The best of n_init fits."""

        def fit_start(generator: np.random.Generator, n_jobs: int) -> Fit:
            return fit_table(
                summary,
                self._settings(),
                n_components=self.n_components,
                init_params=self.init_params,
                generator=generator,
                n_shares=n_jobs,
                report=self._reporter(),
            )

        return self._best_of(fit_start, generator)

    def _store(self, fit: Fit) -> None:
        """Set the fitted components."""
        components: Any = fit.components
        self._mixture = components
        self._state = {"statistics": fit.statistics}
        self.weights_ = components.weights.astype(self._dtype)

    def _warn_of_empty_components(self) -> None:
        if self.n_reseeded_:
            warn(
                f"EM moved {self.n_reseeded_} empty components to rows that the others explain"
                " worst; ask for fewer components if the fit is not what you expect."
            )

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return draws.draw(self._mixture, n_samples, generator)

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        self._check_given(conditions)
        return draws.draw_given(self._mixture, conditions, generator)

    def _log_given(self, conditions: Conditions) -> np.ndarray:
        """Log of the density of known values times the probability of the rest, (n,)."""
        self._check_given(conditions)
        return draws.log_given(self._mixture, conditions)

    def _check_given(self, conditions: Conditions) -> None:
        """Raise a ValueError for known values that no row can have."""
        found = outside(self._mixture.layout, conditions.values)
        if found is not None:
            j, value, needs = found
            raise ValueError(f"given must hold {needs} and NaN for feature {j}; got {show(value)}.")

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        posterior = self._transform(X)
        if generator is None:
            return draws.conditional_means(self._mixture, X, posterior)
        return draws.conditional_draws(self._mixture, X, posterior, generator)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return log_sum_exp(self._log_joint(X), axis=1)

    def _log_joint(self, X: np.ndarray) -> np.ndarray:
        with EMEngine() as engine:
            return log_joint(engine, self._mixture, X)

    def _n_parameters(self) -> int:
        return self._mixture.n_free
