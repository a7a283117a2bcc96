"""Pipelines that sample, and whose densities are those of their input columns."""

import contextlib
import copy
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from sklearn.base import clone
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import Tags, get_tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from probgen._calls import FitInterrupted, GuardedCalls
from probgen._containers import read_container
from probgen._validation import check_count, check_generator
from probgen._warnings import each_place_once
from probgen.base import GeneratorMixin, GeneratorTags, Likelihood, get_likelihood
from probgen.base.comparison import check_comparable
from probgen.conditions.through_steps import StepConditions
from probgen.preprocessing.jacobians import (
    log_abs_det_jacobian,
    register_function_jacobian,
    step_image,
)
from probgen.preprocessing.steps import (
    at_shift,
    choices_of,
    flatten,
    integer_dtypes,
    invert_steps,
    is_bounded,
    is_transformer,
    leaves,
    measure_of,
    table_of,
)
from probgen.preprocessing.transformers import DequantizingStep

__all__ = [
    "GenerativePipeline",
    "log_abs_det_jacobian",
    "make_generative_pipeline",
    "register_function_jacobian",
    "step_image",
]

MAX_ROUNDS = 100  # of draws for rows that the steps cannot invert
ROUND_SIZE = 10_000  # draws in a round


def _with_any_container(name: str) -> Any:
    """scikit-learn's method of a Pipeline, whose rows may be a tensor or a masked array."""
    method = inspect.getattr_static(Pipeline, name)

    @functools.wraps(method.fn)
    def call(self: Any, X: npt.ArrayLike, **params: Any) -> Any:
        return method.fn(self, read_container(X), **params)

    return available_if(method.check)(call)


class GenerativePipeline(GuardedCalls, Pipeline):
    """A scikit-learn Pipeline that ends in a generator and is a generator of its input columns.

    It has the parameters, attributes and methods of `sklearn.pipeline.Pipeline`, with two
    differences. `score_samples` and `score` add log|det J| of every step to a density, so scores
    compare across preprocessing. `sample` passes draws backwards through the steps. A step whose
    log|det J| is unknown still fits, transforms, predicts and samples.

    The outputs of some steps fill only part of the space (PowerTransformer, QuantileTransformer).
    Draws outside that part are drawn again, and the density is divided by the probability of the
    part. This probability is estimated once for a fitted pipeline, from draws with a fixed seed;
    `log_normalizer` returns its logarithm and standard error.

    Rows that cannot be drawn have density zero and score -inf. This includes rows outside the
    fitted range of a QuantileTransformer. With a Dequantizer or a TableEncoder as the first
    step, scores are lower bounds on the log-probability of the discrete rows.

    Parameters
    ----------
    steps : list of (str, estimator) tuples
        Transformers, 'passthrough' or None, and last a generator.
    transform_input : list of str, default=None
        As in `sklearn.pipeline.Pipeline`.
    memory : str or joblib.Memory, default=None
        As in `sklearn.pipeline.Pipeline`.
    verbose : bool, default=False
        As in `sklearn.pipeline.Pipeline`.
    n_normalizer_samples : int, default=10_000
        Number of draws for the estimate of `log_normalizer`, if some step does not fill the space.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the input columns, if they are strings.

    See Also
    --------
    make_generative_pipeline : Builds a pipeline without names for the steps.
    log_abs_det_jacobian : log|det J| of the known steps, and how to register new ones.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.preprocessing import StandardScaler
    >>> from probgen import GaussianMixture, GenerativePipeline
    >>> X = 10.0 * np.random.default_rng(0).standard_normal((500, 2))
    >>> steps = [("scale", StandardScaler()), ("model", GaussianMixture(reg_covar=0.0))]
    >>> pipeline = GenerativePipeline(steps).fit(X)
    >>> bool(np.isclose(pipeline.score(X), GaussianMixture(reg_covar=0.0).fit(X).score(X)))
    True
    >>> pipeline.sample(3, random_state=0).shape
    (3, 2)
    """

    _normalizer_cache: tuple | None = None

    def __init__(
        self,
        steps: list[tuple[str, Any]],
        *,
        transform_input: list[str] | None = None,
        memory: Any = None,
        verbose: bool = False,
        n_normalizer_samples: int = 10_000,
    ) -> None:
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.n_normalizer_samples = n_normalizer_samples

    def score_samples(self, X: npt.ArrayLike, y: npt.ArrayLike | None = None) -> np.ndarray:
        """Return the log-likelihood of each row, in nats and in the units of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score, as inputs of the first step.
        y : array-like of shape (n,), default=None
            Classes, if the last step has classes; the result is then log p(x, y).

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            The log-likelihood of the last step for the transformed rows, plus log|det J| of every
            step if that is a density, minus the log-normaliser. With a Dequantizer, its mean over
            the shifts, which is a lower bound on the log-probability of the integer rows.

        Raises
        ------
        TypeError
            If the last step is no generator, or the log|det J| of a step is unknown.
        ValueError
            If a step has no density, or X does not fit the first step.
        """
        steps, model = self._chain("score_samples")
        measure_of(steps)
        X = read_container(X)
        is_discrete = _is_discrete(model)
        n_shifts = 0
        for leaf in leaves(steps):
            if isinstance(leaf, DequantizingStep):
                n_shifts = max(n_shifts, len(leaf.shifts_))
        versions = [[at_shift(step, k) for step in steps] for k in range(n_shifts)] or [steps]
        total: Any = 0.0
        with each_place_once():
            for version in versions:
                Z = X
                log_det = 0.0
                for step in version:
                    # log_abs_det_jacobian raises for the rows that NumPy would warn about.
                    with np.errstate(divide="ignore", invalid="ignore"):
                        outputs = step.transform(Z)
                    log_det = log_det + log_abs_det_jacobian(step, Z)
                    Z = outputs
                if is_discrete:  # a probability is that of the row, whatever the units
                    log_det = np.where(np.isneginf(log_det), log_det, 0.0)
                if y is None:
                    scores = model.score_samples(Z)
                else:
                    scores = model.score_samples(Z, y)
                total = total + scores.astype(np.float64) + log_det
        log_likelihood = total / len(versions) - self.log_normalizer()[0]
        return log_likelihood.astype(scores.dtype, copy=False)

    def score(self, X: npt.ArrayLike, y: Any = None) -> float:
        """Return the mean log-likelihood of the rows of X, in nats; higher is better.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : object, default=None
            Ignored, as by every generator.

        Returns
        -------
        score : float
            The mean of `score_samples(X)`.

        Raises
        ------
        TypeError, ValueError
            As in `score_samples`; and if a search of scikit-learn asks, in this process, and the
            likelihood has another measure than that of its first candidate; see
            `probgen.metrics.likelihood_scorer`.
        """
        check_comparable(self, X)
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(
        self,
        n_samples: int = 1,
        *,
        y: Any = None,
        given: Any = None,
        return_y: bool = False,
        random_state: Any = None,
    ) -> Any:
        """Draw rows from the last step and pass them backwards through the steps.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes to draw from, if the last step has classes.
        given : array-like or dict, default=None
            Conditions on the rows, in the units of the input columns; see `GaussianMixture.sample`.
            Each step must map every column separately and increase, as scalers, PowerTransformer,
            QuantileTransformer and LogitTransformer do, or be a TableEncoder, whose columns also
            take values of their own, such as texts and dates, and sets of them.
        return_y : bool, default=False
            Whether to return the classes as well.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws; None continues the stream of the last step.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features_in_)
            Rows with the columns of the fitted ones; a frame after `set_output`. A Dequantizer
            returns integers, a TableEncoder a frame like the fitted one.
        y : ndarray of shape (n_samples,)
            Classes of the rows, with `return_y=True`.

        Raises
        ------
        TypeError
            If the last step is no generator, or a step has no inverse.
        ValueError
            If an argument is out of range, or the steps can invert hardly any draw.
        """
        steps, model = self._chain("sample")
        check_count("n_samples", n_samples, low=1)
        if y is not None and np.ndim(y) > 0 and len(y) != n_samples:
            raise ValueError(f"y must be one class or n_samples={n_samples} of them; got {len(y)}.")
        conditions = None
        if given is not None:
            conditions = StepConditions(
                given,
                n_samples=n_samples,
                n_features=self.n_features_in_,
                feature_names=getattr(self, "feature_names_in_", None),
                steps=steps,
            )
        generator = None
        if random_state is not None:
            generator = check_generator(random_state)

        def draw(rows: np.ndarray) -> tuple[Any, Any]:
            settings = {"y": y, "return_y": return_y, "random_state": generator}
            if np.ndim(y) > 0:
                settings["y"] = np.asarray(y)[rows]
            if conditions is not None:
                settings["given"] = conditions.for_model(rows)
            drawn = model.sample(len(rows), **settings)
            if return_y:
                return drawn
            return drawn, None

        X, labels = _draw_invertible(draw, steps, n_samples, conditions)
        if conditions is not None:
            X = conditions.restore(X)
        X = self._as_output(X, steps)
        if return_y:
            return X, labels
        return X

    transform = _with_any_container("transform")
    predict = _with_any_container("predict")
    predict_proba = _with_any_container("predict_proba")
    predict_log_proba = _with_any_container("predict_log_proba")

    @available_if(lambda self: hasattr(super(), "inverse_transform"))
    def inverse_transform(self, X: npt.ArrayLike, **params: Any) -> Any:
        """Return the input rows of representations, as the steps' own inverses give them.

        Parameters
        ----------
        X : array-like of shape (n, k)
            Representations, as `transform` returns them.
        **params : object
            As in `sklearn.pipeline.Pipeline`.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features_in_)
            A frame after `set_output`, with the index of a pandas frame that was given.
        """
        rows = super().inverse_transform(read_container(X), **params)
        return GeneratorMixin._in_container(self, np.asarray(rows), X)

    def log_normalizer(self) -> tuple[float, float]:
        """Return the log-probability that the steps can invert a draw, and its standard error.

        Returns
        -------
        log_normalizer : float
            In nats; `score_samples` subtracts it. Zero if every step fills the space.
        standard_error : float
            Standard error of the estimate from `n_normalizer_samples` draws; zero if the value is
            exact.

        Raises
        ------
        ValueError
            If the steps can invert none of the draws.

        Notes
        -----
        With a Dequantizer it is zero too: scores are lower bounds then, and remain lower bounds
        without the term, which could only raise them.
        """
        steps, model = self._chain("log_normalizer")
        if measure_of(steps) != "lebesgue" or not is_bounded(steps):
            return 0.0, 0.0
        key = (self.n_normalizer_samples, model, *steps)
        if self._normalizer_cache is None or self._normalizer_cache[0] != key:
            estimate = _estimate_log_normalizer(steps, model, self.n_normalizer_samples)
            self._normalizer_cache = (key, estimate)
        return self._normalizer_cache[1]

    def set_output(self, *, transform: str | None = None) -> Self:
        """Choose the container of `transform`, `fit_transform` and `sample`.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None keeps the current choice.

        Returns
        -------
        self : GenerativePipeline
        """
        super().set_output(transform=transform)
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    @property
    def n_features_in_(self) -> int:
        """Number of input columns."""
        return self._first_step.n_features_in_

    @property
    def feature_names_in_(self) -> np.ndarray:
        """Names of the input columns, if they are strings."""
        return self._first_step.feature_names_in_

    @property
    def _first_step(self) -> Any:
        """The first step that is not 'passthrough'."""
        return next((step for _, _, step in self._iter()), self.steps[-1][1])

    @contextlib.contextmanager
    def _unchanged_if_broken(self) -> Iterator[None]:
        # Steps are fitted in place, so what they hold is put back; generators see to it themselves.
        before = [(step, copy.copy(vars(step))) for _, _, step in self._iter()]
        try:
            with super()._unchanged_if_broken():
                yield
        except FitInterrupted:
            raise
        except BaseException:
            for step, attributes in before:
                vars(step).clear()
                vars(step).update(attributes)
            raise

    def _keep_parameters(self) -> None:
        """Nothing, as the steps keep theirs."""

    def _fit(self, X: Any, *args: Any, **kwargs: Any) -> Any:
        self._normalizer_cache = None
        return super()._fit(read_container(X), *args, **kwargs)

    def _chain(self, method: str) -> tuple[list, Any]:
        """The transformers, with those of nested pipelines, and the generator at the end."""
        check_is_fitted(self)
        *steps, model = flatten(self)
        needed = "score_samples"
        if method == "sample":
            needed = "sample"
        if not hasattr(model, needed):
            name = repr(model)
            if is_transformer(model):
                name = type(model).__name__
            raise TypeError(
                f"{method} needs a generator as the last step of the pipeline, such as"
                f" GaussianMixture; got {name}, which has no {needed}."
            )
        return [step for step in steps if is_transformer(step)], model

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        chain = []
        if isinstance(self.steps, list):
            chain = [step for step in flatten(self) if is_transformer(step)]
        model_fields: dict[str, Any] = {}
        if chain:
            inputs = [get_tags(step).input_tags for step in chain]
            tags.input_tags.categorical = inputs[0].categorical
            tags.input_tags.positive_only = inputs[0].positive_only
            tags.input_tags.allow_nan = all(each.allow_nan for each in inputs)
            model_tags = get_tags(chain[-1])
            if isinstance(model_tags, GeneratorTags):
                model_fields = {
                    "conditions": model_tags.conditions,
                    "semi_supervised": model_tags.semi_supervised,
                    "draws_follow_density": model_tags.draws_follow_density,
                }
                if all(each.allow_nan for each in inputs[:-1]):
                    model_fields["missing_values"] = model_tags.missing_values
        shallow = {field.name: getattr(tags, field.name) for field in dataclasses.fields(Tags)}
        return GeneratorTags(**shallow, likelihood=self._declare_likelihood(), **model_fields)

    def _choices_for(self, X: npt.ArrayLike) -> dict[str, Any]:
        """As in `GeneratorMixin`: what the steps and the generator choose from the rows of X."""
        choices = {}
        for name, step in self.steps[:-1]:
            if is_transformer(step):
                fitted = clone(step)
                X = fitted.fit_transform(X)
                choices |= _under(name, choices_of(fitted))
        name, model = self.steps[-1]
        if isinstance(model, Pipeline):
            model = GenerativePipeline(model.steps)
        if hasattr(model, "_choices_for"):
            choices |= _under(name, model._choices_for(X))
        return choices

    def _declare_likelihood(self) -> Likelihood | None:
        """The Likelihood of score_samples, or None without a generator at the end."""
        try:
            *steps, model = flatten(self)
            likelihood = get_likelihood(model)
            measure = measure_of(steps)
        except (TypeError, ValueError):  # no pipeline that scores, which fit or score reports
            return None
        kind = likelihood.kind
        if measure == "lebesgue":
            if is_bounded(steps):
                kind = "estimate"
            return dataclasses.replace(likelihood, kind=kind)
        if kind == "exact":
            kind = "lower_bound"
        return Likelihood(kind, measure, likelihood.space)

    def _as_output(self, X: np.ndarray, steps: list) -> Any:
        """X in the container of `set_output`, or the frame of a TableEncoder.

        Integer columns of a mixed frame become integers.
        """
        table = None
        if steps:
            table = table_of(steps[0])
        if table is not None:
            return table.decode(X)
        out = GeneratorMixin._in_container(self, X)
        dtypes = {}
        if steps:
            dtypes = integer_dtypes(steps[0])
        if isinstance(out, np.ndarray) or X.dtype.kind != "f" or not dtypes:
            return out
        columns = {}
        for j, name in enumerate(out.columns):
            columns[name] = X[:, j].astype(dtypes.get(j, X.dtype))
        return type(out)(columns)


def make_generative_pipeline(
    *steps: Any,
    transform_input: list[str] | None = None,
    memory: Any = None,
    verbose: bool = False,
    n_normalizer_samples: int = 10_000,
) -> GenerativePipeline:
    """Return a GenerativePipeline of the steps, with names from their types.

    Parameters
    ----------
    *steps : estimators
        Transformers, and last a generator.
    transform_input, memory, verbose, n_normalizer_samples
        As in `GenerativePipeline`.

    Returns
    -------
    pipeline : GenerativePipeline

    Examples
    --------
    >>> from sklearn.preprocessing import StandardScaler
    >>> from probgen import GaussianMixture, make_generative_pipeline
    >>> list(make_generative_pipeline(StandardScaler(), GaussianMixture()).named_steps)
    ['standardscaler', 'gaussianmixture']
    """
    return GenerativePipeline(
        make_pipeline(*steps).steps,
        transform_input=transform_input,
        memory=memory,
        verbose=verbose,
        n_normalizer_samples=n_normalizer_samples,
    )


def _is_discrete(model: Any) -> bool:
    """Whether a model gives probabilities; False for scikit-learn's own, which do not say."""
    try:
        return get_likelihood(model).measure == "counting"
    except TypeError:
        return False


def _under(name: str, parameters: dict[str, Any]) -> dict[str, Any]:
    """Parameters of a step by their names in the pipeline."""
    return {f"{name}__{key}": value for key, value in parameters.items()}


def _draw_invertible(
    draw: Callable[[np.ndarray], tuple[Any, Any]],
    steps: list,
    n_samples: int,
    conditions: StepConditions | None = None,
) -> tuple[np.ndarray, np.ndarray | None]:
    """Rows before the steps, and their classes or None.

    `draw(rows)` returns candidates and classes for an array of row indices. Rows outside the images
    of the steps, or off the conditions, are drawn again, with twice as many candidates a row in
    each round.
    """
    X: np.ndarray = np.empty(0)
    labels: np.ndarray | None = None
    pending = np.arange(n_samples)
    n_draws = 0
    for k in range(MAX_ROUNDS):
        rows = np.repeat(pending, min(2**k, max(1, ROUND_SIZE // len(pending))))
        drawn, classes = draw(rows)
        candidates, inside = invert_steps(steps, np.asarray(drawn))
        if conditions is not None:
            inside &= conditions.hold(candidates, rows)
        done, first = np.unique(rows[inside], return_index=True)
        chosen = np.flatnonzero(inside)[first]  # the first candidate of each row
        if k == 0:
            X = np.empty((n_samples, candidates.shape[1]), dtype=candidates.dtype)
            if classes is not None:
                labels = np.empty(n_samples, dtype=np.asarray(classes).dtype)
        X[done] = candidates[chosen]
        if labels is not None:
            labels[done] = np.asarray(classes)[chosen]
        pending = np.setdiff1d(pending, done)
        n_draws += len(rows)
        if not len(pending):
            return X, labels
    raise ValueError(
        f"sample could not invert the steps for {len(pending)} of {n_samples} rows in {n_draws}"
        " draws: the last step puts hardly any probability where the steps have an inverse, or on"
        " what given asks for; use other steps, a model that fits better, or conditions that are"
        " less rare."
    )


def _estimate_log_normalizer(steps: list, model: Any, n_draws: int) -> tuple[float, float]:
    """Logarithm of the share of draws that the steps can invert, and its standard error."""
    check_count("n_normalizer_samples", n_draws)
    n_draws = int(n_draws)
    generator = np.random.default_rng(0)
    n_inside = 0
    for start in range(0, n_draws, ROUND_SIZE):
        Z = model.sample(min(ROUND_SIZE, n_draws - start), random_state=generator)
        _, inside = invert_steps(steps, np.asarray(Z))
        n_inside += int(inside.sum())
    if n_inside == 0:
        raise ValueError(
            f"The steps can invert none of n_normalizer_samples={n_draws} draws of the last step,"
            " so the density cannot be normalised; draw more, or use other steps."
        )
    share = n_inside / n_draws
    return float(np.log(share)), float(np.sqrt((1.0 - share) / n_inside))
