"""Hidden Markov models of sequences, by expectation-maximization."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from probgen._devices import resolve_device
from probgen._validation import (
    RandomState,
    check_choice,
    check_columns,
    check_count,
    check_jobs,
    check_real,
    check_verbose,
    check_weights,
    empty_columns,
    show,
)
from probgen._warnings import warn
from probgen.base import GeneratorTags, ImputerMixin, Likelihood
from probgen.conditions.given import Conditions
from probgen.estimators._hidden_markov import ChainMixin
from probgen.gaussians.rows import Rows
from probgen.gaussians.starts import INIT_PARAMS
from probgen.markov.chain import STARTS, TRANSITIONS, Chain, ChainSettings
from probgen.markov.em import ChainFit
from probgen.markov.fitted import arrays_of, emission_of
from probgen.markov.fitting import (
    COVARIANCE_TYPES,
    EmissionSettings,
    fit_sequences,
    summarise_sequences,
    update_sequences,
)
from probgen.markov.model import HiddenMarkov
from probgen.mixtures.layout import ABOVE_LOW, CATEGORICAL, COUNTS, DISTRIBUTIONS, outside
from probgen.row_blocks import RowBlocks

GAUSSIANS = ("gaussian", "mixture")
EMISSIONS = (*GAUSSIANS, *DISTRIBUTIONS)


class HiddenMarkovModel(ChainMixin, ImputerMixin, BaseEstimator):
    r"""Hidden Markov model of sequences, fitted by the algorithm of Baum and Welch.

    .. math:: p(x) = \sum_{s} \pi_{s_1} b_{s_1}(x_1) \prod_{t=2}^T A_{s_{t-1} s_t} b_{s_t}(x_t)

    A row is a sequence of T steps of d numbers, as `sequence_shape` says. NaN are marginalised:
    those at the end of a row make its sequence shorter, others are gaps. `probgen.sequences` turns
    lists of sequences, concatenated ones and long series into such rows, and back. Likelihoods,
    draws under conditions and posteriors are exact.

    Parameters
    ----------
    n_components : int, default=1
        Number of states, K.
    sequence_shape : (int, int), default=None
        Steps T and numbers of a step d of a row, time first; None stands for d = 1.
    emission : str or list of str, default="gaussian"
        Distribution of a step in a state: "gaussian", "mixture" of `n_mixture` Gaussians, or
        independent features of the families of `MixtureModel`: "categorical", "bernoulli",
        "poisson", "negative_binomial", "normal", "student_t", "lognormal", "exponential",
        "gamma", "beta" or "histogram"; a list names one of these for each feature.
    covariance_type : {"diag", "full", "spherical", "tied"}, default="diag"
        Covariances of Gaussians: variances, a matrix, or one variance for each, or one matrix for
        all.
    n_mixture : int, default=2
        Gaussians of a state with `emission="mixture"`.
    transition : {"full", "left_right", "banded"}, default="full"
        Which states can follow: all; from the first state on itself and those after it, by at most
        `bandwidth`; or those at most `bandwidth` away. What is impossible stays so.
    bandwidth : int, default=None
        None is any distance with "left_right", and 1 with "banded".
    start : {"free", "stationary"}, default="free"
        Whether the first state has probabilities of its own, or those that the chain tends to.
    tol : float, default=1e-4
        EM stops once the mean log-likelihood changes by less than this for each step, in nats.
    reg_covar : float or "scale", default="scale"
        Added to variances of Gaussians, in squared units of X; "scale" is 1e-6 of the variance of
        each feature.
    smoothing : float, default=0.1
        Pseudo-counts of the levels of categories, as in `MixtureModel`; 0 is maximum likelihood.
    start_smoothing, transition_smoothing : float, default=0.0
        Added to the expected counts of every possible first state, and transition.
    min_scale : float, default=1e-3
        Least deviation of a state for other families, relative to that of the feature.
    min_categories : int, default=None
        Least number of levels of categories, if X may lack some.
    max_iter : int, default=100
        Largest number of EM iterations; 0 keeps the start.
    n_init : int, default=1
        Number of starts; the best fit is kept.
    init_params : {"kmeans", "k-means++", "random_from_data", "random"}, default="kmeans"
        How steps are first dealt out to states; with "left_right" it is by their time.
    learning_decay : float in [0.5, 1], default=1.0
        How fast `partial_fit` settles, as in `GaussianMixture`.
    random_state : int, RandomState, Generator or None, default=None
        Fixes the fit and the stream of later draws.
    warm_start : bool, default=False
        Whether `fit` resumes from the last fit, if that had the same parameters.
    verbose : int, default=0
        1 prints progress, 2 also the time and the change of each report.
    verbose_interval : int, default=10
        Iterations between two reports.
    n_jobs : int, default=None
        Number of starts that run at once, as joblib counts jobs.
    device : {"auto", "cpu", "cuda"} or str such as "cuda:1", default="auto"
        Where densities of Gaussians are computed; passes over time run on the CPU.

    Attributes
    ----------
    start_probabilities_ : ndarray of shape (n_components,)
    transition_matrix_ : ndarray of shape (n_components, n_components)
        Probabilities of the next state, a row for each state.
    means_ : ndarray of shape (n_components, d), or (n_components, n_mixture, d) of mixtures
        Of Gaussians.
    covariances_ : ndarray
        Of shape (..., d), (..., d, d), (...) or (d, d), by `covariance_type`; of Gaussians.
    weights_ : ndarray of shape (n_components, n_mixture)
        Of mixtures.
    parameters_ : dict
        Of other families, by feature of a step.
    converged_ : bool
    n_iter_ : int
        EM iterations of the best start.
    lower_bound_ : float
        Mean log-likelihood of a sequence, in nats, at the last E-step of the best start.
    lower_bounds_ : list of float
        The same for each iteration.
    n_reseeded_, n_repaired_ : int
        Empty states that were moved, and covariances or deviations that were too small, during the
        best start.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features_in_,)
        If X had names.

    References
    ----------
    L. E. Baum, T. Petrie, G. Soules, N. Weiss, A maximization technique occurring in the
    statistical analysis of probabilistic functions of Markov chains, 1970. L. R. Rabiner, A
    tutorial on hidden Markov models and selected applications in speech recognition, 1989.

    Examples
    --------
    >>> import numpy as np
    >>> from probgen import HiddenMarkovModel
    >>> series = np.repeat([0.0, 5.0, 0.0, 5.0], 25) + np.random.default_rng(0).normal(size=100)
    >>> model = HiddenMarkovModel(2, random_state=0).fit(series.reshape(4, 25))
    >>> np.sort(model.means_.ravel()).round()
    array([0., 5.])
    >>> model.forecast(series[None, :25], steps=3).shape
    (1, 3)
    """

    _missing_values = "all"
    _needs_each_column = False

    def __init__(
        self,
        n_components: int = 1,
        *,
        sequence_shape: tuple[int, int] | None = None,
        emission: str | list[str] = "gaussian",
        covariance_type: str = "diag",
        n_mixture: int = 2,
        transition: str = "full",
        bandwidth: int | None = None,
        start: str = "free",
        tol: float = 1e-4,
        reg_covar: float | str = "scale",
        smoothing: float = 0.1,
        start_smoothing: float = 0.0,
        transition_smoothing: float = 0.0,
        min_scale: float = 1e-3,
        min_categories: int | None = None,
        max_iter: int = 100,
        n_init: int = 1,
        init_params: str = "kmeans",
        learning_decay: float = 1.0,
        random_state: RandomState = None,
        warm_start: bool = False,
        verbose: int = 0,
        verbose_interval: int = 10,
        n_jobs: int | None = None,
        device: str = "auto",
    ) -> None:
        self.n_components = n_components
        self.sequence_shape = sequence_shape
        self.emission = emission
        self.covariance_type = covariance_type
        self.n_mixture = n_mixture
        self.transition = transition
        self.bandwidth = bandwidth
        self.start = start
        self.tol = tol
        self.reg_covar = reg_covar
        self.smoothing = smoothing
        self.start_smoothing = start_smoothing
        self.transition_smoothing = transition_smoothing
        self.min_scale = min_scale
        self.min_categories = min_categories
        self.max_iter = max_iter
        self.n_init = n_init
        self.init_params = init_params
        self.learning_decay = learning_decay
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose
        self.verbose_interval = verbose_interval
        self.n_jobs = n_jobs
        self.device = device

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        names = self._family_names()
        tags.input_tags.categorical = any(name in (*CATEGORICAL, *COUNTS) for name in names)
        tags.input_tags.positive_only = any(
            name in (*CATEGORICAL, *COUNTS, *ABOVE_LOW) for name in names
        )
        return tags

    @property
    def _likelihood(self) -> Likelihood:
        is_discrete = [name in (*CATEGORICAL, *COUNTS) for name in self._family_names()]
        if not any(is_discrete):
            return Likelihood()
        return Likelihood(measure="counting" if all(is_discrete) else "mixed")

    def fit(
        self,
        X: npt.ArrayLike | RowBlocks,
        y: Any = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> Self:
        """Estimate the model.

        Parameters
        ----------
        X : array-like of shape (n, T * d), or RowBlocks
            Sequences, with NaN for gaps and after their ends.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the sequences; an integer weight equals that many repeats.

        Returns
        -------
        self : HiddenMarkovModel

        Raises
        ------
        ValueError
            If X, the weights or a parameter is not as described above, or squares of X overflow or
            underflow, before any work is done.

        Notes
        -----
        RowBlocks are read in every iteration, and a few times before the first one.
        """
        device = self._check_parameters()
        if isinstance(X, RowBlocks):
            n_rows = self._check_blocks(X, True, reset=True)
        else:
            X = self._validate(X, reset=True)
            n_rows = len(X)
        shape = self._read_shape(self.n_features_in_)
        settings = self._emission_settings(shape[1])
        weights = check_weights(sample_weight, n_rows)
        _check_steps(Rows(X, weights, np.zeros(shape[1])), shape, self.n_components)
        self._sequence_shape = shape
        generator = self._start_stream()
        chain_settings = self._chain_settings()
        summary = summarise_sequences(X, weights, shape, settings, self.n_components, generator)
        self._check_layout(summary.layout, X)
        previous = self._resumed(settings, summary.layout)
        arguments: dict[str, Any] = {"max_iter": self.max_iter, "tol": self.tol}
        best: Any
        if previous is not None:
            best = fit_sequences(
                summary,
                chain_settings,
                generator,
                device=device,
                resumed=previous,
                previous=self.lower_bound_,
                report=self._reporter(),
                **arguments,
            )
        else:

            def fit_start(generator: np.random.Generator, n_jobs: int) -> Any:
                return fit_sequences(
                    summary,
                    chain_settings,
                    generator,
                    device=device,
                    n_shares=n_jobs,
                    is_random=self.n_init > 1,
                    report=self._reporter(),
                    **arguments,
                )

            best = self._best_of(fit_start, generator)
        self._store(best, settings, summary.origin)
        self._store_fit(best)
        self._warn_of_repairs()
        self._warn_unless_converged()
        return self

    def partial_fit(
        self, X: npt.ArrayLike, y: Any = None, sample_weight: npt.ArrayLike | None = None
    ) -> Self:
        """Update the fit with more sequences, by stepwise EM on merged expected counts.

        The first call is a `fit`. Each later one takes one E-step over X, merges its counts with
        those so far and takes one M-step. With one state the result is that of one `fit` on all
        rows. A call after `fit` continues from it.

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            New sequences.
        y : object, default=None
            Ignored.
        sample_weight : array-like of shape (n,), default=None
            Weights of the sequences.

        Returns
        -------
        self : HiddenMarkovModel
        """
        if not hasattr(self, "_state"):
            return self.fit(X, sample_weight=sample_weight)
        device = self._check_parameters()
        X = self._validate(X)
        settings = self._emission_settings(self._sequence_shape[1])
        state = self._state
        layout = self._layout(settings)
        if state["layout"] != layout:
            raise ValueError(
                "partial_fit must keep the parameters of the first call that say what a state is,"
                f" {state['layout']}; got {layout}; clone the model to start anew."
            )
        weights = check_weights(sample_weight, len(X))
        check_columns(empty_columns(X[weights > 0.0]), each=False)
        self._check_support(X)
        fit = update_sequences(
            self._model(),
            X,
            weights,
            state,
            self._chain_settings(),
            settings,
            learning_decay=self.learning_decay,
            device=device,
        )
        self._store(fit, settings, state["origin"])
        self._store_update(fit)
        return self

    @property
    def parameters_(self) -> dict[Any, dict[str, Any]]:
        """Parameters of the states by feature of a step, of other families than Gaussians."""
        check_is_fitted(self)
        if not hasattr(self, "_families"):
            raise AttributeError("parameters_ is there for other emissions than Gaussians.")
        components = self._families
        found: dict[Any, dict[str, Any]] = {}
        for j, family in enumerate(components.layout.families):
            if family is None:
                probabilities = components.levels[j].T.copy()
                found[j] = {"distribution": "categorical", "probabilities": probabilities}
            else:
                described = family.described(components.params[j])
                found[j] = {"distribution": family.name, **described}
        return found

    def _family_names(self) -> tuple:
        """The names in `emission`, whatever they are."""
        if isinstance(self.emission, list | tuple):
            return tuple(self.emission)
        return (self.emission,)

    def _check_parameters(self) -> str:
        """Check all parameters that do not depend on X; return the device."""
        check_count("n_components", self.n_components)
        is_list = isinstance(self.emission, list | tuple) and len(self.emission) > 0
        known = DISTRIBUTIONS if is_list else EMISSIONS
        names = self._family_names() if is_list else (self.emission,)
        if not all(isinstance(name, str) and name in known for name in names):
            listed = ", ".join(repr(name) for name in EMISSIONS)
            raise ValueError(
                f"emission must be one of {listed}, or a list of such but the first two, one for"
                f" each feature of a step; got {show(self.emission)}."
            )
        check_choice("covariance_type", self.covariance_type, COVARIANCE_TYPES)
        check_count("n_mixture", self.n_mixture)
        check_choice("transition", self.transition, TRANSITIONS)
        if self.bandwidth is not None:
            check_count("bandwidth", self.bandwidth)
        check_choice("start", self.start, STARTS)
        if self.start == "stationary" and self.transition == "left_right":
            raise ValueError(
                "start must be 'free' with transition='left_right', because such a chain tends to"
                " its last state alone; got 'stationary'."
            )
        check_real("tol", self.tol, low=0.0)
        if not (isinstance(self.reg_covar, str) and self.reg_covar == "scale"):
            check_real("reg_covar", self.reg_covar, low=0.0, hint="Or 'scale'.")
        for name in ("smoothing", "start_smoothing", "transition_smoothing"):
            check_real(name, getattr(self, name), low=0.0)
        check_real("min_scale", self.min_scale, low=1e-12, high=1.0)
        if self.min_categories is not None:
            check_count("min_categories", self.min_categories)
            check_real("min_categories", self.min_categories, high=2**20)
        check_count("max_iter", self.max_iter, low=0)
        check_count("n_init", self.n_init)
        check_choice("init_params", self.init_params, INIT_PARAMS)
        check_real("learning_decay", self.learning_decay, low=0.5, high=1.0)
        check_verbose(self.verbose)
        check_count("verbose_interval", self.verbose_interval)
        check_jobs(self.n_jobs)
        return resolve_device(self.device)

    def _read_shape(self, n_columns: int) -> tuple[int, int]:
        """Steps of a row and numbers of a step."""
        if self.sequence_shape is None:
            return n_columns, 1
        shape: Any = self.sequence_shape
        if isinstance(shape, np.ndarray):
            shape = tuple(shape.ravel().tolist())
        is_pair = isinstance(shape, list | tuple) and len(shape) == 2
        is_pair = is_pair and all(type(side) is int and 0 < side < 2**31 for side in shape)
        if not is_pair:
            raise ValueError(
                "sequence_shape must be None or a pair of the steps of a row and the numbers of a"
                f" step, integers above 0; got {show(self.sequence_shape)}."
            )
        if shape[0] * shape[1] != n_columns:
            raise ValueError(
                f"sequence_shape={show(shape)} holds {shape[0] * shape[1]} numbers, but rows have"
                f" {n_columns}; give the steps of a row and the numbers of a step."
            )
        return shape[0], shape[1]

    def _emission_settings(self, n_features: int) -> EmissionSettings:
        """Settings of the emission."""
        names = None
        if self.emission not in GAUSSIANS:
            names = self._family_names()
            if isinstance(self.emission, str):
                names = names * n_features
            if len(names) != n_features:
                raise ValueError(
                    f"emission must name a family for each of the {n_features} features of a step;"
                    f" got {len(names)}."
                )
        return EmissionSettings(
            names=names,
            covariance_type=self.covariance_type,
            n_mixture=self.n_mixture if self.emission == "mixture" else 1,
            reg_covar=self.reg_covar,
            smoothing=self.smoothing,
            min_scale=self.min_scale,
            n_categories=self.min_categories or 0,
            init_params=self.init_params,
            dtype=np.dtype(self._dtype).type,
        )

    def _chain_settings(self) -> ChainSettings:
        return ChainSettings(
            self.transition,
            self.start,
            self.bandwidth,
            float(self.start_smoothing),
            float(self.transition_smoothing),
        )

    def _layout(self, settings: EmissionSettings) -> tuple:
        """The settings that fix the meaning of the statistics."""
        own = settings.names or (settings.covariance_type, settings.n_mixture)
        chain = self.transition, self.bandwidth, self.start
        return self.n_components, self._sequence_shape[1], own, *chain

    def _resumed(self, settings: EmissionSettings, layout: Any) -> HiddenMarkov | None:
        """The last fit, if a warm start may go on from that."""
        if not self.warm_start or not hasattr(self, "_state"):
            return None
        if self._state["layout"] != self._layout(settings):
            return None
        if layout is not None and layout.columns != self._families.layout.columns:
            return None  # there are other levels
        return self._model()

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        if "categorical" not in self._family_names():
            return {}
        highest = np.nanmax(X, initial=0.0)
        n_levels = int(highest) + 1 if 0.0 <= highest < 2**20 else 0
        return {"min_categories": max(n_levels, self.min_categories or 0, 2)}

    def _check_layout(self, layout: Any, X: Any) -> None:
        """Raise a ValueError if a row has no density under the families of a Layout or None."""
        if layout is None:
            return
        n_features = len(layout.columns)
        for block in [X] if isinstance(X, np.ndarray) else X:
            found = outside(layout, block.reshape(-1, n_features).astype(np.float64, copy=False))
            if found is None:
                continue
            j, value, needs = found
            # scikit-learn's common checks look for these very words.
            prefix = "Negative values in data: " if value < 0.0 else ""
            raise ValueError(
                f"{prefix}HiddenMarkovModel needs {needs} and NaN in feature {j} of a step; X holds"
                f" {value:.17g}; drop such rows, or choose another emission."
            )

    def _check_support(self, X: np.ndarray) -> None:
        if hasattr(self, "_families"):
            self._check_layout(self._families.layout, X)

    def _parse_given(self, given: Any, n_samples: int) -> Conditions | None:
        conditions = super()._parse_given(given, n_samples)
        if conditions is not None and hasattr(self, "_families"):
            layout = self._families.layout
            found = outside(layout, conditions.values.reshape(-1, len(layout.columns)))
            if found is not None:
                j, value, needs = found
                raise ValueError(
                    f"given must hold {needs} and NaN for feature {j} of a step; got {value:.17g}."
                )
        return conditions

    def _store(self, fit: ChainFit, settings: EmissionSettings, origin: Any) -> None:
        """Set the fitted attributes, in the precision of the data."""
        for name in ("means_", "covariances_", "precisions_cholesky_", "weights_", "_families"):
            self.__dict__.pop(name, None)
        self.start_probabilities_ = fit.chain.start.astype(self._dtype)
        self.transition_matrix_ = fit.chain.transitions.astype(self._dtype)
        for name, value in arrays_of(fit.emission, self.emission == "mixture").items():
            if isinstance(value, np.ndarray):
                value = value.astype(self._dtype)
            setattr(self, name, value)
        self._state = {
            "statistics": fit.statistics,
            "origin": origin,
            "layout": self._layout(settings),
        }

    def _model(self) -> HiddenMarkov:
        """The fitted model, from the public attributes."""
        start = np.asarray(self.start_probabilities_, dtype=np.float64)
        transitions = np.asarray(self.transition_matrix_, dtype=np.float64)
        chain = Chain(start / start.sum(), transitions / transitions.sum(axis=1, keepdims=True))
        emission = emission_of(vars(self), self.covariance_type, self.smoothing)
        return HiddenMarkov(chain, emission, self._sequence_shape[0])

    def _warn_of_repairs(self) -> None:
        sentences = []
        if self.n_reseeded_:
            sentences.append(
                f"EM moved {self.n_reseeded_} empty states to steps that the others explain worst;"
                " ask for fewer components if the fit is not what you expect."
            )
        if self.n_repaired_:
            sentences.append(
                f"EM repaired {self.n_repaired_} covariances or deviations that were too small, as"
                " of constant features or of states of few different steps; raise reg_covar or"
                " min_scale, drop such features, or ask for fewer components."
            )
        if sentences:
            warn(" ".join(sentences))


def _check_steps(rows: Rows, shape: tuple[int, int], n_components: int) -> None:
    """Raise unless rows of some weights hold values of every feature, and enough steps."""
    is_empty: Any = True
    n_steps = 0
    weight = 0.0
    for X, weights in rows.chunks():
        used: Any = weights > 0.0
        has_value = ~np.isnan(X[used].reshape(-1, *shape))
        is_empty = is_empty & ~has_value.any(axis=(0, 1))
        lengths = has_value.any(axis=2).sum(axis=1)
        n_steps += int(lengths.sum())
        weight += float(lengths @ weights[used])
    if is_empty.any() and not is_empty.all():
        raise ValueError(
            "X must hold some values of each feature of a step; got only NaN for feature"
            f" {int(np.argmax(is_empty))}; drop it."
        )
    check_columns(is_empty, each=False)
    if max(n_steps, weight) < n_components:
        raise ValueError(
            f"n_components must be at most the number of steps of X that hold a value, {n_steps};"
            f" got {n_components}; ask for fewer components or give more sequences."
        )
