"""Bad input raises one sentence: the argument, the expectation, the value, the remedy."""

import functools
import re
import warnings

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_array
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from small_generators import CLASSIFIERS, CONDITIONAL, GENERATORS, WEIGHTED, each

from probgen import BayesClassifier, GaussianBayes, GaussianMixture, RowBlocks
from probgen.training import NeuralGenerator

RNG = np.random.default_rng(0)
X = RNG.standard_normal((40, 3))
Y = np.repeat(["ash", "birch"], 20)
X[20:] += 2.0


@functools.cache
def fitted(estimator):
    """One fit for all queries; none of them changes what the others see."""
    return clone(estimator).fit(X, Y)


def says(message, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


def with_entry(value):
    rows = X.copy()
    rows[3, 1] = value
    return rows


BAD_ROWS = [
    (X[0], "Expected 2D array, got 1D array instead"),
    (X[np.newaxis], "Found array with dim 3"),
    (X[:0], "Found array with 0 sample(s)"),
    (with_entry(np.inf), "X must hold finite numbers; got an infinity"),
    (with_entry(-np.inf), "X must hold finite numbers; got an infinity"),
    (X.astype(str).astype(object) + "?", "X must hold numbers; got the string "),
    (np.full((40, 3), "red"), "X must hold numbers; got the string 'red'; encode categories first"),
    (X + 1j, "Complex data not supported"),
]


@each(GENERATORS)
class TestRows:
    @pytest.mark.parametrize(
        "rows, message", BAD_ROWS, ids=[message[:25] for _, message in BAD_ROWS]
    )
    def test_in_fit_and_in_queries(self, estimator, rows, message):
        with says(message):
            clone(estimator).fit(rows, Y[: len(rows)])
        model = fitted(estimator)
        for query in [model.score_samples, model.transform, model.score]:
            with says(message):
                query(rows)

    def test_sparse_rows(self, estimator):
        with says("Sparse data was passed", TypeError):
            clone(estimator).fit(csr_array(X), Y)

    @pytest.mark.parametrize("query", ["score_samples", "score", "transform"])
    def test_wrong_number_of_features(self, estimator, query):
        model = fitted(estimator)
        with says(f"X has 2 features, but {type(estimator).__name__} is expecting 3 features"):
            getattr(model, query)(X[:, :2])

    @pytest.mark.parametrize(
        "query", ["sample", "score_samples", "score", "transform", "get_feature_names_out"]
    )
    def test_before_fit(self, estimator, query):
        unfitted = clone(estimator)
        arguments = [X] if query in ("score_samples", "score", "transform") else []
        with says("not fitted yet", NotFittedError):
            getattr(unfitted, query)(*arguments)

    @pytest.mark.filterwarnings("ignore:.* effective draws")  # off the constant
    def test_constant_columns_do_no_harm(self, estimator):
        rows = X.copy()
        rows[:, 1] = 4.0
        model = clone(estimator)
        if isinstance(model, NeuralGenerator):
            model.set_params(max_iter=150)  # networks learn slowly that there is no noise
        model.fit(rows, Y)
        assert np.isfinite(model.score_samples(rows)).all()
        # Others have one variance for all columns.
        is_by_column = getattr(model, "covariance_type", None) != "spherical"
        if is_by_column and not hasattr(model, "sequence_shape"):
            np.testing.assert_allclose(model.sample(100)[:, 1], 4.0, atol=0.05)

    def test_rows_that_are_all_alike_do_no_harm(self, estimator):
        # There are fewer distinct rows than components.
        with warnings.catch_warnings(category=UserWarning, action="ignore"):
            model = clone(estimator).fit(np.ones((40, 3)), Y)
        assert np.isfinite(model.score_samples(np.ones((2, 3)))).all()


class TestRefusedRefits:
    """A fitted model that refuses other rows, of another width, stays as it was."""

    @each(GENERATORS)
    def test_of_rows(self, estimator):
        model = clone(estimator).fit(X, Y)
        names, scores = vars(model).keys(), model.score_samples(X)
        rows = pd.DataFrame(with_entry(np.inf)[:, :2], columns=["height", "width"])
        with says("X must hold finite numbers; got an infinity"):
            model.fit(rows, Y)
        assert vars(model).keys() == names
        np.testing.assert_array_equal(model.score_samples(X), scores)

    @pytest.mark.parametrize(
        "model, parameters, message",
        [
            (GaussianMixture(), {"means_init": np.zeros((1, 3))}, "The parameter 'means' should"),
            (GaussianMixture(), {"n_components": 41}, "n_components must be at most"),
            (GaussianBayes(), {"priors": [1.0]}, "priors must be 2 numbers"),
            (GaussianBayes(), {"n_components": 21}, "n_components must be at most"),
            (BayesClassifier(GaussianMixture()), {"priors": [1.0]}, "priors must be 2 numbers"),
            (
                BayesClassifier(GaussianMixture()),
                {"estimator__n_components": 21},
                "class 'ash', which has 20 rows here, could not be learned",
            ),
        ],
        ids=str,
    )
    def test_of_parameters_that_do_not_suit_the_rows(self, model, parameters, message):
        model = clone(model).fit(X, Y).set_params(**parameters)
        before = vars(model).copy()
        with says(message):
            model.fit(X[:, :2], Y)
        assert vars(model) == before

    def test_of_rows_without_values(self):
        model = GaussianMixture().fit(X)
        before = vars(model).copy()
        for rows in [np.full((5, 2), np.nan), RowBlocks([np.full((5, 2), np.nan)])]:
            with says("X must hold some values; got only NaN"):
                model.fit(rows)
            assert vars(model) == before


@each(GENERATORS)
class TestDraws:
    @pytest.mark.parametrize("n_samples", [0, -1, 1.5, "3", None, True])
    def test_number(self, estimator, n_samples):
        model = fitted(estimator)
        with says(f"n_samples must be an integer >= 1; got {n_samples!r}"):
            model.sample(n_samples)

    @pytest.mark.parametrize("random_state", [-1, "0", 0.5, np.random])
    def test_seed(self, estimator, random_state):
        model = fitted(estimator)
        with says("random_state must be None, an integer >= 0, a RandomState or a Generator; got"):
            model.sample(random_state=random_state)
        with says("random_state must be None, an integer >= 0, a RandomState or a Generator; got"):
            clone(estimator).set_params(random_state=random_state).fit(X, Y)


@each(CONDITIONAL)
class TestConditions:
    @pytest.mark.parametrize(
        "given, message",
        [
            ({0: (2.0, 1.0)}, "given[0] must be an interval with low < high; got (2.0, 1.0)"),
            (
                {0: (1.0, 2.0, 3.0)},
                "given[0] must be a value, a pair (low, high) or a set; got (1.0, 2.0, 3.0)",
            ),
            ({7: 1.0}, "given must name features by name or by an index in [0, 2]; got 7"),
            (
                {"height": 1.0},
                (
                    "given names feature 'height', but the model was fitted without names; use its"
                    " index"
                ),
            ),
            ({0: np.inf}, "given[0] must be finite, or NaN to draw; got inf"),
            (
                {0: "tall"},
                (
                    "given[0] must be a number, an interval as a tuple (low, high) or a set; got"
                    " 'tall'"
                ),
            ),
            ({0: {1.0, 2.0}}, "given holds a set of categories, but the features of"),
            (
                [1.0, np.nan],
                "given must have shape (3,) or (5, 3), one row for each of the n_samples=5 draws",
            ),
        ],
    )
    def test_in_draws(self, estimator, given, message):
        model = fitted(estimator)
        with says(message):
            model.sample(5, given=given)


@each(WEIGHTED)
class TestWeights:
    @pytest.mark.parametrize(
        "weights, message",
        [
            (np.r_[-1.0, np.ones(39)], "sample_weight must be finite and >= 0; got -1"),
            (np.r_[np.nan, np.ones(39)], "sample_weight must be finite and >= 0; got nan"),
            (np.zeros(40), "sample_weight must have a positive sum; got only zeros"),
            (np.ones(39), "one weight for each row of X"),
            (["heavy"] * 40, "sample_weight must hold numbers"),
        ],
    )
    def test_in_fit(self, estimator, weights, message):
        with says(message):
            clone(estimator).fit(X, Y, sample_weight=weights)


@each(CLASSIFIERS)
class TestClasses:
    @pytest.mark.parametrize("unknown", ["cedar", 0, None, 1.5])
    def test_unknown(self, estimator, unknown):
        model = fitted(estimator)
        labels = np.array(["ash", unknown] * 20, dtype=object)
        message = f"y must hold the classes of the fit, ['ash', 'birch']; got {unknown!r}"
        with says(message):
            model.sample(40, y=labels)
        with says(message):
            model.score_samples(X, labels)

    def test_a_wrong_number(self, estimator):
        model = fitted(estimator)
        with says(
            "y must be one class, or one for each of the 3 rows (in sample: n_samples=3); got shape"
            " (2,)"
        ):
            model.sample(3, y=["ash", "birch"])

    @pytest.mark.parametrize(
        "labels, message",
        [
            (None, "requires y to be passed, but the target y is None"),
            (Y[:5], "Found input variables with inconsistent numbers of samples"),
            (X[:, 0], "Unknown label type: continuous"),
            (np.where(Y == "ash", np.nan, 1.0), "Input y contains NaN"),
        ],
    )
    def test_in_fit(self, estimator, labels, message):
        with says(message):
            clone(estimator).fit(X, labels)


@pytest.mark.parametrize("argument", ["y", "return_y"])
def test_classes_of_a_model_without(argument):
    model = GaussianMixture().fit(X)
    with says(f"{argument} asks for classes, but GaussianMixture has none; leave it out"):
        model.sample(2, **{argument: True})


class TestParameters:
    @pytest.mark.parametrize(
        "parameters, message",
        [
            ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
            ({"n_components": 2.0}, "n_components must be an integer >= 1; got 2.0"),
            (
                {"n_components": 41},
                "n_components must be at most the number of rows of X, 40; got 41; ask for fewer",
            ),
            ({"covariance_type": "ful"}, "covariance_type must be one of "),
            ({"reg_covar": -1e-6}, "reg_covar must be a finite number >= 0; got -1e-06"),
            ({"tol": -1.0}, "tol must be a finite number >= 0; got -1.0"),
            ({"max_iter": -1}, "max_iter must be an integer >= 0; got -1"),
            ({"n_init": 0}, "n_init must be an integer >= 1; got 0"),
            ({"init_params": "kmean"}, "init_params must be one of "),
            (
                {"device": "gpu"},
                "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'; got 'gpu'",
            ),
            (
                {"covariance_type": "low_rank", "n_factors": 0},
                "n_factors must be an integer >= 1; got 0",
            ),
        ],
        ids=str,
    )
    def test_of_the_mixture(self, parameters, message):
        with says(message):
            GaussianMixture(**parameters).fit(X)

    @pytest.mark.parametrize(
        "parameters, message",
        [
            ({"covariance_type": "ful"}, "covariance_type must be one of "),
            ({"reg_param": -0.1}, "reg_param must be a finite number in [0, 1]; got -0.1"),
            ({"priors": [0.5, 0.6]}, "priors must be"),
            ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
        ],
        ids=str,
    )
    def test_of_the_classifier(self, parameters, message):
        with says(message):
            GaussianBayes(**parameters).fit(X, Y)


@pytest.mark.parametrize("covariance_type", ["full", "low_rank"])
def test_one_row_has_no_spread(covariance_type):
    with says(
        "X must hold at least 2 rows, for GaussianMixture to learn how they vary; got 1 sample;"
        " give it more."
    ):
        GaussianMixture(covariance_type=covariance_type).fit(X[:1])
