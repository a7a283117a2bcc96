"""Public methods of generators: draws, scores, representations, imputation and decoding."""

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn import get_config
from sklearn.base import DensityMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_array, check_is_fitted, validate_data

from probgen._calls import GuardedCalls
from probgen._containers import check_labels, index_of, is_polars, read_rows
from probgen._validation import (
    RandomState,
    check_choice,
    check_columns,
    check_count,
    check_generator,
    empty_columns,
    spawn_generator,
)
from probgen.base.comparison import check_comparable
from probgen.base.tags import GeneratorTags, Likelihood, names_of_others
from probgen.conditions.given import Conditions, parse_given

TAG_NAMES = tuple(field.name for field in dataclasses.fields(Tags))


class GeneratorMixin(GuardedCalls, TransformerMixin, DensityMixin):
    """Public methods of every generator, on top of the hooks of a subclass.

    The names and shapes of the hooks are stable. They take validated arrays: X is float64 or
    float32 of shape (n, n_features), and generators are `numpy.random.Generator`.

    A subclass writes:

    - `fit(X, y=None)`, which calls `_validate(X, reset=True)` and `_start_stream()`;
    - `_sample(n_samples, generator)`, which returns rows of shape (n_samples, n_features);
    - `_score_samples(X)`, which returns log-likelihoods in nats of shape (n,);
    - `_transform(X)`, which returns representations of shape (n, k);
    - `_n_features_out`, the k of `_transform`.

    It may write:

    - `_sample_given(conditions, generator)`, which returns one row for each row of a `Conditions`,
      of shape (n, n_features), and opens `given` in `sample`;
    - `_log_given(conditions)`, which returns log p(conditions) in nats of shape (n,), so that
      `BayesClassifier` can draw classes under conditions;
    - `_likelihood`, a `Likelihood`, where that is not an exact density;
    - `_choices_for(X)`, where `fit` chooses a likelihood from its rows: the parameters, by name,
      that fix these choices to those of a fit to the rows of X. `BayesClassifier` asks it for the
      rows of all classes;
    - `_missing_values`, "queries" or "all", where NaN is marginalised, as in `GeneratorTags`;
    - `_check_support(X)`, which raises a ValueError for validated rows to which the model gives no
      density, before any query of them is answered;
    - `_dtypes`, the dtypes that `_validate` keeps; rows of other dtypes become the first;
    - `_changed_in_place` and `_query_parameters`, as in `probgen._calls.GuardedCalls`, which puts a
      model back that a failed `fit` has changed, and shows queries the parameters of the fit;
    - `__sklearn_tags__`, for the kind of rows that the model learns from.
    """

    _dtypes: tuple = (np.float64, np.float32)
    _needs_each_column = True  # whether a fit needs values in every column

    @property
    def _likelihood(self) -> Likelihood | None:
        return Likelihood()

    @property
    def _missing_values(self) -> str:
        return "none"

    @property
    def _takes_conditions(self) -> bool:
        """Whether `sample` takes `given`."""
        return hasattr(self, "_sample_given")

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        """Parameters, by name, that fix what `fit` would choose from the rows of X."""
        return {}

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        tags.input_tags.allow_nan = self._missing_values == "all"
        # A shallow copy into the dataclass with the fields of generators.
        shallow = {name: getattr(tags, name) for name in TAG_NAMES}
        return GeneratorTags(
            **shallow,
            likelihood=self._likelihood,
            conditions=self._takes_conditions,
            missing_values=self._missing_values,
        )

    def sample(
        self,
        n_samples: int = 1,
        *,
        y: Any = None,
        given: Any = None,
        return_y: bool = False,
        random_state: RandomState = None,
    ) -> Any:
        """Draw rows from the fitted model.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows, at least 1.
        y : label or array-like of shape (n_samples,), default=None
            Classes to draw from, where the model has classes; None draws them from its priors.
        given : array-like or dict, default=None
            Known features: an array of shape (n_features,) or (n_samples, n_features) with NaN
            where the model is to draw, or a dict by feature name or index with a value, an interval
            as a tuple (low, high) (None for an open end) or a set of categories; values and ends
            may be arrays of n_samples.
        return_y : bool, default=False
            Whether to return the classes too, where the model has classes.
        random_state : int, RandomState, Generator or None, default=None
            None continues the stream that `fit` started from the constructor's `random_state`, so
            that successive draws differ; an integer gives the same rows at every call; a
            RandomState or Generator advances. Copies of a model in worker processes share their
            stream: pass `random_state` to each.

        Returns
        -------
        X : ndarray or frame of shape (n_samples, n_features)
            Independent rows, in the precision of the training data; a frame after `set_output`.
        y : ndarray of shape (n_samples,)
            Classes of the rows, with `return_y=True`.

        Raises
        ------
        ValueError
            If an argument is out of range, or the model has no classes or takes no conditions.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._generator_of(random_state)
        conditions = self._parse_given(given, n_samples)
        X, y = self._draw(n_samples, generator, y, conditions, return_y)
        X = self._in_container(X.astype(self._dtype, copy=False))
        if return_y:
            return X, y
        return X

    def score_samples(self, X: npt.ArrayLike, y: Any = None) -> Any:
        """Return the log-likelihood of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : array-like of shape (n,), default=None
            Classes, where the model has classes: the result is then log p(x, y). Ignored by other
            models.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            In nats, in the units of X; see `get_likelihood` for its kind and measure.
        """
        X = self._validate_query(X)
        return self._score_samples(X).astype(X.dtype, copy=False)

    def score(self, X: npt.ArrayLike, y: Any = None) -> float:
        """Return the mean log-likelihood of the rows of X, in nats; higher is better.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : object, default=None
            Ignored by every generator, so that scores of folds and of kinds of models compare.

        Returns
        -------
        score : float
            The mean of `score_samples(X)`.

        Raises
        ------
        ValueError
            If a search of scikit-learn asks, in this process, and the likelihood has another
            measure than that of its first candidate; see `probgen.metrics.likelihood_scorer`.
        """
        check_comparable(self, X)
        return float(np.mean(self.score_samples(X), dtype=np.float64))

    def transform(self, X: npt.ArrayLike) -> Any:
        """Return the model's representation of each row.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to represent.

        Returns
        -------
        representation : ndarray or frame of shape (n, k)
            Columns are named by `get_feature_names_out`.
        """
        X = self._validate_query(X)
        return self._transform(X).astype(X.dtype, copy=False)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of `transform`, such as gaussianmixture0.

        Parameters
        ----------
        input_features : object, default=None
            Ignored; the names come from the class.

        Returns
        -------
        names : ndarray of str
        """
        check_is_fitted(self, "n_features_in_")
        prefix = type(self).__name__.lower()
        return np.asarray([f"{prefix}{k}" for k in range(self._n_features_out)], dtype=object)

    def _validate(
        self,
        X: Any,
        y: Any = "no_validation",
        *,
        reset: bool = False,
        ensure_min_samples: int = 1,
    ) -> Any:
        """Return X, and y if given, as validated arrays; with reset, remember width and names.

        X becomes one of `_dtypes`, which are float64 and float32 unless a subclass says otherwise.
        """
        allow_nan = self.__sklearn_tags__().input_tags.allow_nan
        X = read_rows(X)
        if y is not None and not isinstance(y, str):
            y = check_labels(y)
        dtype = _polars_dtype(X) or list(self._dtypes)
        try:
            # Its check for NaN sums the rows, which may overflow.
            with np.errstate(over="ignore", invalid="ignore"):
                checked = validate_data(
                    self,
                    X,
                    y,
                    dtype=dtype,
                    reset=reset,
                    ensure_all_finite="allow-nan" if allow_nan else True,
                    ensure_min_samples=ensure_min_samples,
                )
        except ValueError as error:
            sentence = _explain(str(error), self)
            if sentence is None:
                raise
            raise ValueError(sentence) from error
        if reset:
            rows = checked[0] if isinstance(checked, tuple) else checked
            if self._missing_values == "all":
                names = getattr(self, "feature_names_in_", None)
                check_columns(empty_columns(rows), names, each=self._needs_each_column)
            self._dtype = rows.dtype
        return checked

    def _validate_query(self, X: Any) -> np.ndarray:
        """Return X as the validated rows of a query, which are in the support."""
        check_is_fitted(self)
        X = self._validate(X)
        self._check_support(X)
        return X

    def _check_support(self, X: np.ndarray) -> None:
        """Raise a ValueError if the model has no density at some validated row."""

    def _start_stream(self) -> np.random.Generator:
        """Return the Generator of a fit, and start the stream of later draws."""
        generator = check_generator(self.random_state)
        self._stream = spawn_generator(generator)
        return generator

    def _generator_of(self, random_state: RandomState) -> np.random.Generator:
        """The Generator of a query's random_state, or the model's stream for None."""
        if random_state is None:
            return self._stream
        return check_generator(random_state)

    def _parse_given(self, given: Any, n_samples: int) -> Conditions | None:
        """The Conditions of the argument `given`, or None without it."""
        if given is None:
            return None
        if not self._takes_conditions:
            raise ValueError(
                f"given is not known to {type(self).__name__};"
                f" {names_of_others(self, lambda tags: tags.conditions)} draw under conditions."
            )
        names = getattr(self, "feature_names_in_", None)
        conditions = parse_given(
            given, n_samples=n_samples, n_features=self.n_features_in_, feature_names=names
        )
        if conditions.categories and not self.__sklearn_tags__().input_tags.categorical:
            raise ValueError(
                f"given holds a set of categories, but the features of {type(self).__name__} are"
                " continuous; give a value, or an interval as a tuple (low, high)."
            )
        return conditions

    def _draw(
        self,
        n_samples: int,
        generator: np.random.Generator,
        y: Any,
        conditions: Conditions | None,
        return_y: bool,
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows (n_samples, n_features) and None, for checked arguments of `sample`."""
        if y is not None or return_y:
            argument = "return_y" if y is None else "y"
            raise ValueError(
                f"{argument} asks for classes, but {type(self).__name__} has none; leave it out."
            )
        if conditions is None:
            return self._sample(n_samples, generator), None
        return self._sample_given(conditions, generator), None

    def _in_container(self, X: np.ndarray, like: Any = None) -> Any:
        """X in the container that `set_output` chose, under the names of the training data.

        A pandas frame has the index of the frame like, whose rows it answers one by one.
        """
        config = getattr(self, "_sklearn_output_config", {})
        container = config.get("transform", get_config()["transform_output"])
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(X.shape[1])])
        if container == "pandas":
            import pandas as pd

            return pd.DataFrame(X, index=index_of(like), columns=names, copy=False)
        if container == "polars":
            import polars as pl

            return pl.DataFrame(X, schema=list(names), orient="row")
        return X


class ImputerMixin(GeneratorMixin):
    """Imputation of missing values, for generators that marginalise them.

    The name and shapes of the hook are stable. A subclass writes `_impute(X, generator)`, which
    returns rows of shape (n, n_features) for a validated X with NaN where values are missing. The
    generator is the source of draws, or None for conditional means, which must be the same at every
    call. The mixin puts the observed values back. `impute` is absent where `sample` takes no
    `given`.
    """

    @available_if(lambda self: self._takes_conditions)
    def impute(
        self, X: npt.ArrayLike, *, method: str = "mean", random_state: RandomState = None
    ) -> Any:
        """Return X with its missing values filled in.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows with NaN where values are missing.
        method : {"mean", "draw"}, default="mean"
            The conditional mean of the missing values given the observed ones, or a draw from their
            conditional distribution. Gaussian mixtures compute both exactly; other models compute
            them as `sample` does with `given`, by importance sampling where they must.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draw; None continues the model's stream. The mean is the same at every call.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`, with the index of a pandas frame that was given. All that is
            no gap is as it was, categories too that `fit` did not see.

        Raises
        ------
        ValueError
            If the model cannot condition on the observed values of some row.

        Warns
        -----
        UserWarning
            If the effective sample size of importance sampling is below 10 for some row.

        Examples
        --------
        >>> import numpy as np
        >>> from probgen import GaussianMixture
        >>> X = np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        >>> GaussianMixture().fit(X).impute([[1.5, np.nan]]).round(2)
        array([[1.5, 3. ]])
        """
        check_choice("method", method, ("mean", "draw"))
        rows = self._validate_query(X)
        generator = None
        if method == "draw":
            generator = self._generator_of(random_state)
        filled = np.where(np.isnan(rows), self._impute(rows, generator), rows)
        return self._in_container(filled.astype(rows.dtype, copy=False), X)


class DecoderMixin(GeneratorMixin):
    """Public method of a generator that maps representations back to rows.

    The names and shapes of the hooks are stable. A subclass writes `_inverse_transform(Z)`, which
    returns rows of shape (n, n_features) for validated codes Z of shape (n, k). It may write
    `_n_codes`, the k, where that is not the number of columns of `transform`.
    """

    def inverse_transform(self, Z: npt.ArrayLike) -> Any:
        """Return the rows of representations.

        Parameters
        ----------
        Z : array-like of shape (n, k)
            Representations, as `transform` returns them.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`, with the index of a pandas frame that was given.
        """
        check_is_fitted(self)
        codes = self._validate_codes(Z)
        X = self._inverse_transform(codes).astype(codes.dtype, copy=False)
        return self._in_container(X, Z)

    @property
    def _n_codes(self) -> int:
        """Columns of a code."""
        return self._n_features_out

    def _validate_codes(self, Z: npt.ArrayLike) -> np.ndarray:
        """Return Z as a float64 or float32 array with a column for each dimension of a code."""
        Z = check_array(read_rows(Z, "Z"), dtype=[np.float64, np.float32], input_name="Z")
        if Z.shape[1] != self._n_codes:
            expected = f"Z must have shape (n, {self._n_codes})"
            if self._n_codes == self._n_features_out:
                expected += ", as transform returns"
            raise ValueError(f"{expected}; got {Z.shape}.")
        return Z


def _polars_dtype(X: Any) -> type | None:
    """The precision of a polars frame, which scikit-learn does not see, or None for others."""
    if not is_polars(X):
        return None
    dtypes = {str(dtype) for dtype in X.dtypes}
    if dtypes == {"Float32"}:
        return np.float32
    if "Float64" in dtypes:
        return np.float64
    return None


def _explain(message: str, model: Any) -> str | None:
    """A sentence with a remedy for a message of scikit-learn's, or None to keep the message."""
    name = type(model).__name__
    if "X contains NaN" in message:
        learners = names_of_others(model, lambda tags: tags.missing_values == "all")
        scorers = names_of_others(model, lambda tags: tags.missing_values == "queries")
        return (
            f"X contains NaN, which {name} cannot take; {learners} learn from rows with missing"
            f" values, {scorers} score them once fitted, and GaussianMixture.impute fills them in."
        )
    if "X contains infinity" in message:
        return (
            "X must hold finite numbers; got an infinity, or more than its dtype holds; drop or"
            " clip such rows."
        )
    if "Found array with 1 sample(s)" in message:
        return (
            f"X must hold at least 2 rows, for {name} to learn how they vary; got 1 sample; give"
            " it more."
        )
    if "could not convert string" in message:
        value = message.rsplit(": ", 1)[-1].removeprefix("np.str_(").removesuffix(")")
        return (
            f"X must hold numbers; got the string {value}; encode categories first, such as with"
            " OrdinalEncoder."
        )
    return None
