"""Pipelines that sample, and whose densities are those of the columns that the user sees."""

import dataclasses
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.utils import Tags, get_tags
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_count, check_generator
from probgen.base import GeneratorMixin, GeneratorTags, Likelihood, get_likelihood
from probgen.conditions.given import parse_given
from probgen.preprocessing import Dequantizer
from probgen.preprocessing.jacobians import (
    log_abs_det_jacobian,
    register_function_jacobian,
    step_image,
)
from probgen.preprocessing.steps import (
    at_shift,
    flatten,
    integer_dtypes,
    invert_steps,
    is_bounded,
    is_increasing,
    is_transformer,
    leaves,
    measure_of,
    without_names,
)

__all__ = [
    "GenerativePipeline",
    "log_abs_det_jacobian",
    "make_generative_pipeline",
    "register_function_jacobian",
    "step_image",
]

MAX_ROUNDS = 100
ROUND_SIZE = 10_000


class GenerativePipeline(Pipeline):
    """A scikit-learn Pipeline that ends in a generator, and that is itself a generator of its input
    columns.

    Parameters, attributes and methods are those of `sklearn.pipeline.Pipeline`; what differs is
    that `score_samples` and `score` add log|det J| of every step, so that scores compare whatever
    the preprocessing, and that `sample` takes draws backwards through the steps. Steps whose
    log|det J| is not known still fit, transform, predict and sample.

    Where the outputs of a step fill only part of the space (PowerTransformer, QuantileTransformer),
    draws outside are drawn again, and the density is divided by the probability of the part, which
    is estimated once for a fitted pipeline from draws with a fixed seed; `log_normalizer` returns
    it with its standard error.

    A row that no draw can reach has density zero, and scores -inf: so do rows outside the range
    that a QuantileTransformer saw in `fit`. With a Dequantizer as the first step, scores are lower
    bounds on the log-probability of the integer rows.

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
        Number of draws for the estimate of `log_normalizer`; unused where every step fills the
        space.

    Attributes
    ----------
    n_features_in_ : int
        Number of input columns.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the input columns, where they are strings.

    See Also
    --------
    make_generative_pipeline : The same without names for the steps.
    log_abs_det_jacobian : What is known of the steps, and how to teach it new ones.

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
        steps,
        *,
        transform_input=None,
        memory=None,
        verbose=False,
        n_normalizer_samples=10_000,
    ):
        super().__init__(steps, transform_input=transform_input, memory=memory, verbose=verbose)
        self.n_normalizer_samples = n_normalizer_samples

    def score_samples(self, X, y=None):
        """Return the log-likelihood of each row, in nats and in the units of X.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score, as they were before the first step.
        y : array-like of shape (n,), default=None
            Classes, where the last step has classes: the result is then log p(x, y).

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            That of the last step at the transformed rows, plus log|det J| of every step, minus the
            log-normaliser. With a Dequantizer, a lower bound on the log-probability of the integer
            rows, the mean over its shifts.

        Raises
        ------
        TypeError
            If the last step is no generator, or the log|det J| of a step is not known.
        ValueError
            If a step gives no density, or X does not fit the first step.
        """
        steps, model = self._chain("score_samples")
        measure_of(steps)
        n_shifts = max(
            (len(leaf.shifts_) for leaf in leaves(steps) if isinstance(leaf, Dequantizer)),
            default=0,
        )
        versions = [[at_shift(step, k) for step in steps] for k in range(n_shifts)] or [steps]
        total = 0.0
        for version in versions:
            Z, log_det = X, 0.0
            for step in version:
                with np.errstate(
                    divide="ignore", invalid="ignore"
                ):  # log_abs_det_jacobian says it in words
                    after = step.transform(Z)
                Z, log_det = after, log_det + log_abs_det_jacobian(step, Z)
            scores = model.score_samples(Z) if y is None else model.score_samples(Z, y)
            total = total + scores.astype(np.float64) + log_det
        return (total / len(versions) - self.log_normalizer()[0]).astype(scores.dtype, copy=False)

    def score(self, X, y=None):
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
        """
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def sample(self, n_samples=1, *, y=None, given=None, return_y=False, random_state=None):
        """Draw rows from the last step and take them backwards through the steps.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes to draw from, where the last step has classes.
        given : array-like or dict, default=None
            What is known of the rows, in the units of the input columns; see
            `GaussianMixture.sample`. The steps must map each column alone and increase, as scalers,
            PowerTransformer, QuantileTransformer and LogitTransformer.
        return_y : bool, default=False
            Whether to return the classes too.
        random_state : int, RandomState, Generator or None, default=None
            None continues the stream of the last step; anything else is a fixed start.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features_in_)
            Rows like those that were fitted; a frame after `set_output`. Integers come back from a
            Dequantizer.
        y : ndarray of shape (n_samples,)
            Classes of the rows, with `return_y=True`.

        Raises
        ------
        TypeError
            If the last step is no generator, or a step cannot be undone.
        ValueError
            If an argument is out of range, or hardly any draw lies where the steps can be undone.
        """
        steps, model = self._chain("sample")
        check_count("n_samples", n_samples, low=1)
        if y is not None and np.ndim(y) > 0 and len(y) != n_samples:
            raise ValueError(f"y must be one class or n_samples={n_samples} of them; got {len(y)}.")
        known = None if given is None else _Known(given, n_samples, self, steps)
        generator = None if random_state is None else check_generator(random_state)

        def draw(rows):
            classes = y if y is None or np.ndim(y) == 0 else np.asarray(y)[rows]
            conditions = None if known is None else known.in_model(rows)
            drawn = model.sample(
                len(rows), y=classes, given=conditions, return_y=return_y, random_state=generator
            )
            return drawn if return_y else (drawn, None)

        X, labels = _draw_inside(draw, steps, n_samples)
        if known is not None:
            X = known.put_back(X)
        X = self._as_output(X, steps)
        return (X, labels) if return_y else X

    def log_normalizer(self):
        """Return the log-probability that a draw of the last step can be undone, and its standard
        error.

        Returns
        -------
        log_normalizer : float
            In nats; subtracted by `score_samples`. Zero where every step fills the space.
        standard_error : float
            Of the estimate, from `n_normalizer_samples` draws; zero where nothing is estimated.

        Raises
        ------
        ValueError
            If none of the draws can be undone.

        Notes
        -----
        With a Dequantizer it is zero too: scores are lower bounds then, and stay so without the
        term, which can only raise them.
        """
        steps, model = self._chain("log_normalizer")
        if measure_of(steps) != "lebesgue" or not is_bounded(steps):
            return 0.0, 0.0
        key, cache = (self.n_normalizer_samples, model, *steps), self._normalizer_cache
        if cache is None or cache[0] != key:
            cache = self._normalizer_cache = (
                key,
                _estimate_log_normalizer(steps, model, self.n_normalizer_samples),
            )
        return cache[1]

    def set_output(self, *, transform=None):
        """Choose the container of `transform`, `fit_transform` and `sample`.

        Parameters
        ----------
        transform : {"default", "pandas", "polars"} or None, default=None
            None leaves the choice as it is.

        Returns
        -------
        self : GenerativePipeline
        """
        super().set_output(transform=transform)
        if transform is not None:
            self._sklearn_output_config = {"transform": transform}
        return self

    @property
    def n_features_in_(self):
        """Number of input columns."""
        return self._first_step.n_features_in_

    @property
    def feature_names_in_(self):
        """Names of the input columns, where they are strings."""
        return self._first_step.feature_names_in_

    @property
    def _first_step(self):
        """The first step that is not 'passthrough'."""
        return next((step for _, _, step in self._iter()), self.steps[-1][1])

    def _fit(self, *args, **kwargs):
        self._normalizer_cache = None
        return super()._fit(*args, **kwargs)

    def _chain(self, method):
        """The transformers, those of nested pipelines in line, and the generator at the end."""
        check_is_fitted(self)
        *before, model = flatten(self)
        needed = "sample" if method == "sample" else "score_samples"
        if not hasattr(model, needed):
            name = type(model).__name__ if is_transformer(model) else repr(model)
            raise TypeError(
                f"{method} needs a generator as the last step of the pipeline, such as"
                f" GaussianMixture; got {name}, which has no {needed}."
            )
        return [step for step in before if is_transformer(step)], model

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        chain = (
            [step for step in flatten(self) if is_transformer(step)]
            if isinstance(self.steps, list)
            else []
        )
        of_model: dict[str, Any] = {}
        if chain:
            inputs = [get_tags(step).input_tags for step in chain]
            tags.input_tags.categorical, tags.input_tags.positive_only = (
                inputs[0].categorical,
                inputs[0].positive_only,
            )
            tags.input_tags.allow_nan = all(each.allow_nan for each in inputs)
            model_tags = get_tags(chain[-1])
            if isinstance(model_tags, GeneratorTags):
                of_model = {
                    "conditions": model_tags.conditions,
                    "semi_supervised": model_tags.semi_supervised,
                    "draws_follow_density": model_tags.draws_follow_density,
                }
                if all(each.allow_nan for each in inputs[:-1]):
                    of_model["missing_values"] = model_tags.missing_values
        shallow = {field.name: getattr(tags, field.name) for field in dataclasses.fields(Tags)}
        return GeneratorTags(**shallow, likelihood=self._declare_likelihood(), **of_model)

    def _declare_likelihood(self):
        """The Likelihood of score_samples, or None without a generator at the end."""
        try:
            *steps, model = flatten(self)
            likelihood, measure = get_likelihood(model), measure_of(steps)
        except (TypeError, ValueError):  # not a pipeline that scores: fit or score will say so
            return None
        if measure != "lebesgue":
            kind = "lower_bound" if likelihood.kind == "exact" else likelihood.kind
            return Likelihood(kind, measure, likelihood.space)
        return dataclasses.replace(likelihood, kind="estimate") if is_bounded(steps) else likelihood

    def _as_output(self, X, steps):
        """X in the container that `set_output` chose, with the integer columns of a mixed frame as
        integers."""
        out = GeneratorMixin._in_container(self, X)
        dtypes = integer_dtypes(steps[0]) if steps else {}
        if isinstance(out, np.ndarray) or X.dtype.kind != "f" or not dtypes:
            return out
        columns = {
            name: X[:, j].astype(dtypes.get(j, X.dtype)) for j, name in enumerate(out.columns)
        }
        return type(out)(columns)


def make_generative_pipeline(
    *steps, transform_input=None, memory=None, verbose=False, n_normalizer_samples=10_000
):
    """Return a GenerativePipeline of the steps, named by their types.

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


class _Known:
    """What `given` fixes, on both sides of the steps."""

    def __init__(self, given, n_samples, pipeline, steps):
        for step in steps:
            if not is_increasing(step):
                raise ValueError(
                    "given passes only through steps that map every column alone and increase,"
                    f" such as scalers; {type(step).__name__} is not one of them: leave it out, or"
                    " leave out given."
                )
        names = getattr(pipeline, "feature_names_in_", None)
        asked = parse_given(
            given, n_samples=n_samples, n_features=pipeline.n_features_in_, feature_names=names
        )
        if asked.categories and steps:
            raise ValueError(
                "given asks for categories, which the steps would rescale; give a value or an"
                " interval."
            )
        self.asked = asked
        self.steps = [without_names(step) for step in steps]
        self.values = self._values_in_model()
        self.low, self.high = (
            self._ends_in_model(asked.low, -np.inf),
            self._ends_in_model(asked.high, np.inf),
        )
        empty = ~(self.low < self.high)
        if np.any(empty):
            raise ValueError(
                "given has an interval without probability: the steps send both of its ends to one"
                " point."
            )

    def in_model(self, rows):
        """What the model is given for some rows, as a dict by index."""
        given: dict = {j: set(categories) for j, categories in self.asked.categories.items()}
        for j in range(self.values.shape[1]):
            values, low, high = self.values[rows, j], self.low[rows, j], self.high[rows, j]
            if not np.isnan(values).all():
                given[j] = values
            elif np.isfinite(low).any() or np.isfinite(high).any():
                given[j] = low, high
        return given or None

    def put_back(self, X):
        """X with the known entries to the last digit, and within the intervals."""
        X = np.clip(X, self.asked.low, self.asked.high).astype(X.dtype, copy=False)
        known = ~np.isnan(self.asked.values)
        X[known] = self.asked.values[known]
        return X

    def _values_in_model(self):
        Z = self.asked.values
        for step in self.steps:
            if np.isneginf(log_abs_det_jacobian(step, Z)).any():
                raise ValueError(
                    f"given has a value outside the range that {type(step).__name__} saw in fit."
                )
            Z = np.asarray(step.transform(Z))
        return Z

    def _ends_in_model(self, ends, open_end):
        Z = np.where(np.isfinite(ends), ends, np.nan)
        for step in self.steps:
            with np.errstate(all="ignore"):
                Z = np.asarray(step.transform(np.where(np.isfinite(Z), Z, np.nan)))
        return np.where(np.isnan(Z), open_end, Z)


def _draw_inside(draw, steps, n_samples):
    """Rows before the steps and their classes, from `draw(rows)`; rows outside the steps' images
    are drawn again."""
    X: np.ndarray = np.empty(0)
    labels: np.ndarray | None = None
    pending, n_draws = np.arange(n_samples), 0
    for k in range(MAX_ROUNDS):
        rows = np.repeat(pending, min(2**k, max(1, ROUND_SIZE // len(pending))))
        drawn, classes = draw(rows)
        candidates, inside = invert_steps(steps, np.asarray(drawn))
        found, first = np.unique(rows[inside], return_index=True)
        chosen = np.flatnonzero(inside)[first]
        if k == 0:
            X = np.empty((n_samples, candidates.shape[1]), dtype=candidates.dtype)
            labels = (
                None if classes is None else np.empty(n_samples, dtype=np.asarray(classes).dtype)
            )
        X[found] = candidates[chosen]
        if labels is not None:
            labels[found] = np.asarray(classes)[chosen]
        pending, n_draws = np.setdiff1d(pending, found), n_draws + len(rows)
        if not len(pending):
            return X, labels
    raise ValueError(
        f"sample found no place for {len(pending)} of {n_samples} rows in {n_draws} draws: the last"
        " step puts hardly any probability where the steps can be undone; use other steps, or a"
        " model that fits better."
    )


def _estimate_log_normalizer(steps, model, n_draws):
    """Logarithm of the share of draws that can be undone, and its standard error."""
    check_count("n_normalizer_samples", n_draws)
    generator = np.random.default_rng(0)
    hits = 0
    for start in range(0, n_draws, ROUND_SIZE):
        Z = model.sample(min(ROUND_SIZE, n_draws - start), random_state=generator)
        hits += int(invert_steps(steps, np.asarray(Z))[1].sum())
    if hits == 0:
        raise ValueError(
            f"None of n_normalizer_samples={n_draws} draws of the last step can be undone by the"
            " steps, so the density cannot be normalised; draw more, or use other steps."
        )
    return float(np.log(hits / n_draws)), float(np.sqrt((1.0 - hits / n_draws) / hits))
