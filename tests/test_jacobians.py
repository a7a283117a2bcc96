"""Jacobians of steps against differences, and densities of pipelines against theory."""

import itertools

import numpy as np
import pytest
from preprocessing_rows import SIGNED, SKEWED, UNIT, double
from scipy import integrate, stats
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture as SklearnMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from probgen.base import Likelihood, get_likelihood
from probgen.estimators import GaussianMixture
from probgen.pipeline import (
    GenerativePipeline,
    log_abs_det_jacobian,
    make_generative_pipeline,
    register_function_jacobian,
    step_image,
)
from probgen.preprocessing import LogitTransformer

MIXED = ColumnTransformer(
    [("last", PowerTransformer(), [2]), ("first", make_pipeline(StandardScaler(), PCA()), [0, 1])],
)
STEPS = {
    "standard": (StandardScaler(), SIGNED),
    "standard-no-mean": (StandardScaler(with_mean=False), SIGNED),
    "standard-no-std": (StandardScaler(with_std=False), SIGNED),
    "minmax": (MinMaxScaler((-3, 5)), SIGNED),
    "maxabs": (MaxAbsScaler(), SIGNED),
    "robust": (RobustScaler(unit_variance=True), SIGNED),
    "robust-no-scaling": (RobustScaler(with_scaling=False), SIGNED),
    "yeo-johnson": (PowerTransformer(), SIGNED),
    "yeo-johnson-skewed": (PowerTransformer(standardize=False), -SKEWED),
    "box-cox": (PowerTransformer(method="box-cox"), SKEWED),
    "box-cox-plain": (PowerTransformer(method="box-cox", standardize=False), SKEWED),
    "quantile-uniform": (QuantileTransformer(n_quantiles=7), SIGNED),
    "quantile-normal": (QuantileTransformer(n_quantiles=7, output_distribution="normal"), SIGNED),
    "pca": (PCA(), SIGNED),
    "pca-whiten": (PCA(whiten=True), SIGNED),
    "log": (FunctionTransformer(np.log), SKEWED),
    "log1p": (FunctionTransformer(np.log1p), SKEWED),
    "exp": (FunctionTransformer(np.exp), UNIT),
    "sqrt": (FunctionTransformer(np.sqrt), SKEWED),
    "arcsinh": (FunctionTransformer(np.arcsinh), SIGNED),
    "identity": (FunctionTransformer(), SIGNED),
    "registered": (FunctionTransformer(double), SIGNED),
    "logit": (LogitTransformer(alpha=0.05), UNIT),
    "logit-bounds": (LogitTransformer(alpha=0.0, bounds=(-1, 2)), UNIT),
    "columns": (MIXED, SIGNED),
    "columns-passthrough": (
        ColumnTransformer([("s", StandardScaler(), [2])], remainder="passthrough"),
        SIGNED,
    ),
    "columns-remainder": (
        ColumnTransformer([("p", "passthrough", [1])], remainder=StandardScaler()),
        SIGNED,
    ),
    "nested": (
        Pipeline([("a", StandardScaler()), ("b", "passthrough"), ("c", PCA(whiten=True))]),
        SIGNED,
    ),
    "nested-generative": (make_generative_pipeline(PowerTransformer(), MinMaxScaler()), SIGNED),
}


@pytest.fixture(params=STEPS)
def step_and_rows(request):
    step, X = STEPS[request.param]
    step = clone(step).fit(X)
    return step, X[:25] * 0.999 + 0.001 * X.mean(axis=0)  # off the knots and ends of quantiles


def numerical_log_abs_det(transform, row, h=1e-6):
    steps = h * np.maximum(1.0, np.abs(row)) * np.eye(len(row))
    columns = [
        (transform(row + step) - transform(row - step)) / (2.0 * step.sum()) for step in steps
    ]
    return np.linalg.slogdet(np.column_stack(columns))[1]


def test_jacobian_equals_a_numerical_one(step_and_rows):
    step, X = step_and_rows
    expected = [numerical_log_abs_det(lambda row: step.transform(row[None])[0], row) for row in X]
    np.testing.assert_allclose(log_abs_det_jacobian(step, X), expected, atol=2e-6)


def test_density_follows_the_change_of_variables(step_and_rows):
    step, X = step_and_rows
    pipeline = make_generative_pipeline(step, GaussianMixture()).fit(X)
    expected = pipeline[-1].score_samples(step.transform(X)) + log_abs_det_jacobian(step, X)
    np.testing.assert_allclose(pipeline.score_samples(X), expected - pipeline.log_normalizer()[0])


def test_draws_are_inverted_by_every_step(step_and_rows):
    step, X = step_and_rows
    pipeline = make_generative_pipeline(step, GaussianMixture()).fit(X)
    drawn = pipeline.sample(50, random_state=0)
    assert drawn.shape == (50, X.shape[1])
    assert np.isfinite(pipeline.score_samples(drawn)).all()
    assert abs(pipeline.score(drawn) - pipeline.score(X)) < 1.5


# Comparable numbers


@pytest.mark.parametrize(
    "scaler", [StandardScaler(), FunctionTransformer(double), RobustScaler(), MinMaxScaler()]
)
def test_scaling_does_not_change_the_density(scaler):
    # Two clusters that are distinct on any scale
    X = 10.0 * np.vstack([SIGNED, [200.0, 100.0, 0.0] - SIGNED])
    plain = SklearnMixture(2, random_state=0, reg_covar=0.0).fit(X)
    scaled = make_generative_pipeline(scaler, clone(plain)).fit(X)
    np.testing.assert_allclose(scaled.score_samples(X), plain.score_samples(X))


def test_scaling_by_ten_moves_the_score_by_the_logarithm_of_ten():
    one = make_generative_pipeline(
        StandardScaler(), PCA(whiten=True), GaussianMixture(reg_covar=0.0)
    ).fit(SIGNED)
    ten = clone(one).fit(10.0 * SIGNED)
    np.testing.assert_allclose(ten.score(10.0 * SIGNED), one.score(SIGNED) - 3.0 * np.log(10.0))


def test_score_of_a_gaussian_is_the_same_behind_every_affine_step():
    expected = GaussianMixture(reg_covar=0.0).fit(SIGNED).score_samples(SIGNED)
    for step in (
        StandardScaler(),
        MinMaxScaler((2, 9)),
        MaxAbsScaler(),
        RobustScaler(),
        PCA(),
        PCA(whiten=True),
    ):
        np.testing.assert_allclose(
            make_generative_pipeline(step, GaussianMixture(reg_covar=0.0))
            .fit(SIGNED)
            .score_samples(SIGNED),
            expected,
        )


def test_search_over_preprocessing_finds_the_truth():
    pipeline = GenerativePipeline(
        [("map", StandardScaler()), ("model", GaussianMixture(reg_covar=0.0))]
    )
    steps = [
        "passthrough",
        StandardScaler(),
        MinMaxScaler(),
        PCA(whiten=True),
        FunctionTransformer(np.log),
    ]
    search = GridSearchCV(pipeline, {"map": steps}, cv=3).fit(SKEWED)  # the rows are log-normal
    scores = search.cv_results_["mean_test_score"]
    np.testing.assert_allclose(scores[:4], scores[0])
    assert search.best_params_["map"] is steps[4] or search.best_params_["map"].func is np.log
    truth = stats.multivariate_normal([0.0, 1.0], [[0.3, 0.15], [0.15, 0.2]])
    expected = np.mean(truth.logpdf(np.log(SKEWED)) - np.log(SKEWED).sum(axis=1))
    np.testing.assert_allclose(scores[4], expected, atol=0.05)
    assert get_likelihood(search) == Likelihood("exact", "lebesgue", "input")


# Densities integrate to one


def integral(pipeline, edges):
    points = np.unique(edges)
    total = 0.0
    for low, high in itertools.pairwise(points):
        total += integrate.quad(
            lambda x: np.exp(pipeline.score_samples([[x]])[0]), low, high, limit=200
        )[0]
    return total


@pytest.mark.parametrize(
    "step, edges",
    [
        (PowerTransformer(method="box-cox"), [1e-12, 0.1, 1.0, 5.0, 50.0, 3000.0]),
        (PowerTransformer(), [-8.0, -0.5, 0.0, 1.0, 5.0, 50.0, 3000.0]),
        (FunctionTransformer(np.log), [1e-12, 0.1, 1.0, 5.0, 50.0]),
        (FunctionTransformer(np.sqrt), [1e-12, 0.1, 1.0, 5.0, 50.0]),
        (MinMaxScaler(), [-9.0, 0.0, 2.0, 15.0]),
    ],
    ids=repr,
)
def test_density_integrates_to_one(step, edges):
    pipeline = make_generative_pipeline(step, GaussianMixture(), n_normalizer_samples=100_000).fit(
        SKEWED[:, :1]
    )
    error = pipeline.log_normalizer()[1]
    assert integral(pipeline, edges) == pytest.approx(1.0, abs=4.0 * error + 1e-5)


@pytest.mark.parametrize("distribution", ["uniform", "normal"])
def test_density_behind_quantiles_integrates_to_one_over_their_range(distribution):
    step = QuantileTransformer(n_quantiles=9, output_distribution=distribution)
    pipeline = make_generative_pipeline(step, GaussianMixture(), n_normalizer_samples=100_000).fit(
        SKEWED[:, :1]
    )
    knots = pipeline[0].quantiles_[:, 0]
    assert integral(pipeline, knots) == pytest.approx(
        1.0, abs=4.0 * pipeline.log_normalizer()[1] + 1e-4
    )
    outside = [[knots[0] - 1e-3], [knots[-1] + 1e-3]]
    np.testing.assert_array_equal(pipeline.score_samples(outside), -np.inf)
    assert np.isfinite(pipeline.score_samples(knots[:, None])).all()


# Images


@pytest.mark.parametrize(
    "name", ["box-cox", "yeo-johnson-skewed", "quantile-uniform", "quantile-normal", "exp"]
)
def test_outputs_lie_in_the_image(name):
    step, X = STEPS[name]
    step = clone(step).fit(X)
    low, high = step_image(step)
    Z = step.transform(X)
    assert ((Z >= low - 1e-4) & (Z <= high + 1e-4)).all()


@pytest.mark.parametrize("lmbda", [-1.3, 0.0, 0.7, 2.0, 3.1])
@pytest.mark.parametrize("method", ["box-cox", "yeo-johnson"])
def test_image_of_a_power_is_where_huge_values_go(method, lmbda):
    step = PowerTransformer(method=method, standardize=True).fit(SKEWED[:, :1])
    step.lambdas_ = np.array([lmbda])
    low, high = step_image(step) or (np.array([-np.inf]), np.array([np.inf]))
    smallest = 1e-80 if method == "box-cox" else -1e80
    Z = step.transform([[smallest], [1e80]])[:, 0]
    for end, z in zip([low[0], high[0]], Z, strict=True):
        assert (np.isinf(end) and abs(z) > 50.0) or end == pytest.approx(z, rel=1e-6)


def test_missing_values_leave_out_their_share_of_the_jacobian():
    X = np.array([[1.0, np.nan], [2.0, 3.0]])
    steps = StandardScaler().fit(SKEWED), PowerTransformer().fit(SKEWED)
    for step in steps:
        alone = clone(step).fit(SKEWED[:, :1])
        np.testing.assert_allclose(
            log_abs_det_jacobian(step, X)[0], log_abs_det_jacobian(alone, X[:1, :1])[0]
        )


def test_constant_columns_under_a_scaler():
    X = np.column_stack([SKEWED, np.full(len(SKEWED), 7.0)])
    for step in (StandardScaler(), MinMaxScaler(), RobustScaler(), MaxAbsScaler()):
        assert np.isfinite(log_abs_det_jacobian(clone(step).fit(X), X)).all()


# What is refused


class Cube(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return np.power(X, 3)

    def inverse_transform(self, X):
        return np.cbrt(X)


def test_unknown_step_names_the_function_that_registers_it():
    pipeline = make_generative_pipeline(Cube(), GaussianMixture()).fit(SIGNED)
    with pytest.raises(
        TypeError, match=r"log\|det J\| of Cube is not known.*log_abs_det_jacobian.register\(Cube\)"
    ):
        pipeline.score(SIGNED)
    assert pipeline.sample(2).shape == (2, 3)


def test_registered_step_scores():
    class Known(Cube):
        pass

    @log_abs_det_jacobian.register
    def _(step: Known, X):
        return np.log(3.0 * np.square(X)).sum(axis=1)

    pipeline = make_generative_pipeline(Known(), GaussianMixture()).fit(SIGNED)
    expected = pipeline[-1].score_samples(SIGNED**3) + np.log(3.0 * SIGNED**2).sum(axis=1)
    np.testing.assert_allclose(pipeline.score_samples(SIGNED), expected)


TIED = np.column_stack([np.repeat([0.0, 1.0, 2.0], 20), np.arange(60.0)])


@pytest.mark.parametrize(
    "step, X, message",
    [
        (
            MinMaxScaler(clip=True),
            SIGNED,
            "MinMaxScaler with clip=True moves all values outside its range to one point",
        ),
        (
            PCA(2),
            SIGNED,
            "PCA keeps 2 of 3 dimensions, so its rows lie on a plane and have no density",
        ),
        (
            PCA(whiten=True),
            SIGNED[:, [0, 0, 1]],
            "PCA with whiten=True divides by a variance of zero",
        ),
        (
            QuantileTransformer(n_quantiles=9),
            TIED,
            "QuantileTransformer has tied quantiles in column 0, at 0",
        ),
        (
            QuantileTransformer(n_quantiles=1),
            SIGNED,
            "QuantileTransformer has tied quantiles in column 0",
        ),
        (
            QuantileTransformer(n_quantiles=9, output_distribution="normal"),
            1e-7 * SIGNED,
            "QuantileTransformer merges values within 1e-07 of the ends of its range",
        ),
        (
            ColumnTransformer([("a", StandardScaler(), [0])]),
            SIGNED,
            r"drops 2 of 3 columns \('remainder'\)",
        ),
        (
            ColumnTransformer([("a", StandardScaler(), [0, 1]), ("b", RobustScaler(), [1, 2])]),
            SIGNED,
            "ColumnTransformer must use each column once; 'b' uses one for the second time",
        ),
        (
            ColumnTransformer([("a", StandardScaler(), [0, 1, 2])], transformer_weights={"a": 2.0}),
            SIGNED,
            "ColumnTransformer must have no transformer_weights",
        ),
        (
            FunctionTransformer(np.sqrt),
            np.abs(SIGNED) * [0, 1, 1],
            "X must lie where .*sqrt.* has a finite derivative",
        ),
    ],
)
def test_steps_without_a_density_say_why(step, X, message):
    pipeline = make_generative_pipeline(step, GaussianMixture()).fit(X)
    with pytest.raises(ValueError, match=message):
        pipeline.score(X)


@pytest.mark.parametrize(
    "step, message",
    [
        (
            FunctionTransformer(np.cbrt),
            r"FunctionTransformer\(func=<ufunc 'cbrt'>\) is not known.*register_function_jacobian",
        ),
        (Normalizer(), r"log_abs_det_jacobian.register\(Normalizer\)"),
    ],
)
def test_unregistered_functions_and_types(step, message):
    pipeline = make_generative_pipeline(step, GaussianMixture()).fit(SIGNED)
    with pytest.raises(TypeError, match=message):
        pipeline.score(SIGNED)


def test_functions_to_register_must_be_callable():
    with pytest.raises(TypeError, match="log_abs_det must be callable; got 3"):
        register_function_jacobian(np.cbrt, 3)
    with pytest.raises(TypeError, match="inverse must be callable; got 3"):
        register_function_jacobian(np.cbrt, len, inverse=3)
