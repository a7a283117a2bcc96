"""Pipelines that sample: draws against densities, boundaries of images, conditions and classes."""

import copy
import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from preprocessing_rows import SIGNED, SKEWED, UNIT, double
from scipy import integrate, stats
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
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

from probgen.base import ClassGeneratorMixin, GeneratorMixin, Likelihood, get_likelihood
from probgen.pipeline import (
    GenerativePipeline,
    make_generative_pipeline,
    step_image,
)
from probgen.preprocessing import Dequantizer, LogitTransformer


class Gaussian(GeneratorMixin, BaseEstimator):
    """One Gaussian with a full covariance; `mean` and `scale` fix its parameters."""

    def __init__(self, mean=None, scale=None, random_state=0):
        self.mean = mean
        self.scale = scale
        self.random_state = random_state

    def fit(self, X, y=None):
        X = self._validate(X, reset=True)
        d = X.shape[1]
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        if self.mean is not None:
            self.mean_ = np.full(d, self.mean)
        self.cov_ = np.cov(X.T, bias=True).reshape(d, d)
        if self.scale is not None:
            self.cov_ = np.eye(d) * self.scale**2
        self._start_stream()
        return self

    @property
    def _n_features_out(self):
        return self.n_features_in_

    def _transform(self, X):
        return X - self.mean_

    def _score_samples(self, X):
        density = stats.multivariate_normal(self.mean_, self.cov_)
        return density.logpdf(X.astype(np.float64)).reshape(len(X))

    def _sample(self, n_samples, generator):
        return generator.multivariate_normal(self.mean_, self.cov_, size=n_samples)

    def _sample_given(self, conditions, generator):
        """Inversion of the distribution function, for independent columns."""
        X = np.array(conditions.values)
        for i, j in np.argwhere(np.isnan(X)):
            distribution = stats.norm(self.mean_[j], np.sqrt(self.cov_[j, j]))
            low, high = distribution.cdf([conditions.low[i, j], conditions.high[i, j]])
            X[i, j] = distribution.ppf(generator.uniform(low, high))
        return X


class TwoClasses(ClassGeneratorMixin, BaseEstimator):
    """Round Gaussians, one for each class, at the means of the classes."""

    def __init__(self, scale=1.0, random_state=0):
        self.scale = scale
        self.random_state = random_state

    def fit(self, X, y):
        X = self._validate(X, reset=True)
        self.classes_, indices = np.unique(y, return_inverse=True)
        self.means_ = np.stack([X[indices == k].mean(axis=0) for k in range(len(self.classes_))])
        self._start_stream()
        return self

    def _joint_log_likelihood(self, X):
        logs = stats.norm.logpdf(X[:, None], self.means_, self.scale).sum(axis=2)
        return logs - np.log(len(self.classes_))

    def _draw_classes(self, n_samples, generator, conditions):
        return generator.integers(len(self.classes_), size=n_samples)

    def _sample_classes(self, y, generator, conditions):
        noise = generator.standard_normal((len(y), self.means_.shape[1]))
        return self.means_[y] + self.scale * noise


# The boundary of the image


def test_density_of_two_columns_integrates_to_one_where_the_image_is_bounded():
    # Much of the mass of the fixed Gaussian is outside the image, a box that PCA has turned.
    pipeline = make_generative_pipeline(
        PowerTransformer(method="box-cox", standardize=False),
        PCA(),
        Gaussian(mean=0.0, scale=0.6),
        n_normalizer_samples=200_000,
    ).fit(UNIT + 0.01)
    log_normalizer, error = pipeline.log_normalizer()
    assert log_normalizer < -0.05
    logs = np.linspace(-25.0, 3.0, 701)
    rows = np.exp(np.stack(np.meshgrid(logs, logs), axis=-1).reshape(-1, 2))
    density = np.exp(pipeline.score_samples(rows) + np.log(rows).sum(axis=1)).reshape(701, 701)
    total = integrate.simpson(integrate.simpson(density, x=logs), x=logs)
    assert total == pytest.approx(1.0, abs=4.0 * error + 1e-4)


def half_outside():
    """Box-Cox with lambda 1, so that z = x - 1 > -1, and a Gaussian at -1: P(inside) = 1/2."""
    pipeline = GenerativePipeline(
        [
            ("power", PowerTransformer(method="box-cox", standardize=False)),
            ("model", Gaussian(mean=-1.0, scale=1.0)),
        ],
        n_normalizer_samples=40_000,
    ).fit(SKEWED[:, :1])
    pipeline[0].lambdas_ = np.array([1.0])
    return pipeline


def test_normalizer_is_the_probability_of_the_image():
    value, error = half_outside().log_normalizer()
    assert error == pytest.approx(np.sqrt(1.0 / 40_000), rel=0.02)
    assert abs(value - np.log(0.5)) < 4.0 * error
    np.testing.assert_allclose(
        half_outside().score_samples([[0.7]]), stats.halfnorm.logpdf(0.7), atol=4.0 * error
    )


def test_draws_outside_the_image_are_drawn_again():
    drawn = half_outside().sample(3000, random_state=0)
    assert np.isfinite(drawn).all()
    assert stats.kstest(drawn[:, 0], stats.halfnorm.cdf).pvalue > 1e-3


def test_draws_outside_the_image_of_one_column_are_drawn_again():
    columns = ColumnTransformer(
        [("quantiles", QuantileTransformer(n_quantiles=5), [1])], remainder=StandardScaler()
    )
    pipeline = make_generative_pipeline(columns, Gaussian(mean=0.0, scale=1.0)).fit(SKEWED)
    value, error = pipeline.log_normalizer()
    assert abs(value - np.log(stats.norm.cdf(1.0) - 0.5)) < 4.0 * error
    ends = SKEWED[:, 1].min(), SKEWED[:, 1].max()
    drawn = pipeline.sample(500, random_state=0)[:, 1]
    assert ((drawn > ends[0]) & (drawn < ends[1])).all()


def test_rows_drawn_again_keep_their_place():
    y = np.where(SKEWED[:, 0] > 2.0, "big", "small")
    pipeline = make_generative_pipeline(
        QuantileTransformer(n_quantiles=9), TwoClasses(scale=0.1)
    ).fit(SKEWED, y)
    pipeline[-1].means_ = np.array([[0.9, 0.5], [0.1, 0.5]])
    requested = np.array(["big", "small"])[np.arange(200) % 2]
    drawn, labels = pipeline.sample(200, y=requested, return_y=True, random_state=0)
    np.testing.assert_array_equal(labels, requested)
    middle = np.median(SKEWED[:, 0])
    np.testing.assert_array_equal(drawn[:, 0] > middle, requested == "big")


def test_normalizer_is_estimated_again_after_a_fit():
    pipeline = half_outside()
    first = pipeline.log_normalizer()
    assert pipeline.log_normalizer() == first
    pipeline.set_params(model__mean=9.0).fit(SKEWED[:, :1])
    assert pipeline.log_normalizer() != first


def test_no_draw_inside_says_so():
    pipeline = half_outside()
    pipeline[-1].mean_ = np.array([-1000.0])
    with pytest.raises(
        ValueError, match=r"sample could not invert the steps for 2 of 2 rows in \d+ draws"
    ):
        pipeline.sample(2)
    with pytest.raises(
        ValueError, match="The steps can invert none of n_normalizer_samples=40000 draws"
    ):
        pipeline.score([[1.0]])


# Draws follow the density


@pytest.mark.parametrize(
    "step",
    [
        PowerTransformer(method="box-cox"),
        PowerTransformer(),
        QuantileTransformer(n_quantiles=20),
        QuantileTransformer(n_quantiles=20, output_distribution="normal"),
        FunctionTransformer(np.log),
        LogitTransformer(bounds=(0, 30)),
    ],
    ids=repr,
)
def test_draws_follow_the_density(step):
    pipeline = make_generative_pipeline(step, Gaussian(), n_normalizer_samples=100_000).fit(
        SKEWED[:, :1]
    )
    drawn = pipeline.sample(1500, random_state=1)[:, 0]
    grid = np.linspace(drawn.min(), drawn.max(), 4001)
    density = np.exp(pipeline.score_samples(grid[:, None]))
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    assert cdf[-1] == pytest.approx(1.0, abs=0.02)
    assert stats.kstest(drawn, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-3


# Conditions


COORDINATEWISE = [
    StandardScaler(),
    MinMaxScaler(),
    MaxAbsScaler(),
    RobustScaler(),
    PowerTransformer(),
    PowerTransformer(method="box-cox"),
    QuantileTransformer(n_quantiles=20),
    QuantileTransformer(n_quantiles=20, output_distribution="normal"),
    LogitTransformer(bounds=(0, 30)),
    FunctionTransformer(np.log),
    make_pipeline(StandardScaler(), RobustScaler()),
    ColumnTransformer([("one", StandardScaler(), [1])], remainder=RobustScaler()),
]


@pytest.mark.parametrize("step", COORDINATEWISE, ids=repr)
def test_values_and_intervals_pass_through_coordinatewise_steps(step):
    pipeline = make_generative_pipeline(clone(step), Gaussian(mean=0.0, scale=1.0)).fit(SKEWED)
    drawn = pipeline.sample(200, given={0: (0.5, 1.5), 1: 2.5}, random_state=0)
    np.testing.assert_array_equal(drawn[:, 1], 2.5)
    assert ((drawn[:, 0] >= 0.5) & (drawn[:, 0] <= 1.5)).all()
    assert np.ptp(drawn[:, 0]) > 0.5
    drawn = pipeline.sample(
        3, given=[[1.0, np.nan], [np.nan, 2.0], [np.nan, np.nan]], random_state=0
    )
    assert drawn[0, 0] == 1.0
    assert drawn[1, 1] == 2.0
    assert np.isfinite(drawn).all()


def test_rounding_does_not_break_an_interval():
    pipeline = make_generative_pipeline(
        StandardScaler(), MinMaxScaler(), Gaussian(mean=0.0, scale=1.0)
    ).fit(SKEWED)
    low, high = 2.5, 2.5 + 2e-15
    drawn = pipeline.sample(200, given={0: (low, high)}, random_state=0)[:, 0]
    assert ((drawn >= low) & (drawn <= high)).all()


def test_conditional_draws_follow_the_conditional_distribution():
    pipeline = make_generative_pipeline(
        FunctionTransformer(np.log), Gaussian(mean=0.2, scale=0.7)
    ).fit(SKEWED)
    drawn = pipeline.sample(2000, given={0: (1.0, None)}, random_state=0)[:, 0]
    distribution = stats.lognorm(0.7, scale=np.exp(0.2))
    assert (
        stats.kstest(
            drawn, lambda x: (distribution.cdf(x) - distribution.cdf(1.0)) / distribution.sf(1.0)
        ).pvalue
        > 1e-3
    )


def test_given_by_name_through_frames():
    frame = pd.DataFrame(SKEWED, columns=["a", "b"])
    columns = ColumnTransformer([("one", StandardScaler(), ["b"])], remainder="passthrough")
    pipeline = make_generative_pipeline(columns, MinMaxScaler(), Gaussian(mean=0.0, scale=1.0))
    drawn = (
        pipeline.set_output(transform="pandas")
        .fit(frame)
        .sample(4, given={"a": 2.0}, random_state=0)
    )
    assert list(drawn.columns) == ["a", "b"]
    assert (drawn["a"] == 2.0).all()


@pytest.mark.parametrize(
    "step, given, message",
    [
        (
            PCA(),
            {0: 1.0},
            (
                "given passes only through steps that map every column separately and increase.*"
                "PCA is not one"
            ),
        ),
        (
            QuantileTransformer(n_quantiles=9),
            {0: 1e6},
            "value outside the range that QuantileTransformer saw",
        ),
        (QuantileTransformer(n_quantiles=9), {0: (1e6, 1e7)}, "interval without probability"),
        (StandardScaler(), {0: {1, 2}}, "given asks for categories, which the steps would rescale"),
        (StandardScaler(), {5: 1.0}, r"index in \[0, 1\]; got 5"),
    ],
)
def test_given_that_cannot_be_met_is_refused(step, given, message):
    pipeline = make_generative_pipeline(step, Gaussian()).fit(SKEWED)
    with pytest.raises(ValueError, match=message):
        pipeline.sample(2, given=given)


# Classes


def test_classes_pass_through():
    y = np.where(SKEWED[:, 0] > 1.0, "big", "small")
    pipeline = make_generative_pipeline(PowerTransformer(method="box-cox"), TwoClasses()).fit(
        SKEWED, y
    )
    drawn, labels = pipeline.sample(500, return_y=True, random_state=0)
    assert set(labels) == {"big", "small"}
    assert drawn[labels == "big", 0].mean() > drawn[labels == "small", 0].mean()
    requested = np.array(["small", "big", "small"])
    np.testing.assert_array_equal(
        pipeline.sample(3, y=requested, return_y=True, random_state=0)[1], requested
    )
    np.testing.assert_array_equal(
        pipeline.sample(2, y="big", return_y=True, random_state=0)[1], ["big", "big"]
    )
    joint = [
        pipeline.score_samples(SKEWED, np.full(len(SKEWED), label)) for label in pipeline.classes_
    ]
    np.testing.assert_allclose(np.logaddexp(*joint), pipeline.score_samples(SKEWED))
    assert pipeline.score(SKEWED, y) == pytest.approx(pipeline.score_samples(SKEWED).mean())
    assert pipeline.predict(SKEWED).shape == (len(SKEWED),)
    assert get_likelihood(pipeline).kind == "estimate"


def test_wrong_number_of_classes_is_refused():
    pipeline = make_generative_pipeline(StandardScaler(), TwoClasses()).fit(
        SKEWED, np.arange(len(SKEWED)) % 2
    )
    with pytest.raises(ValueError, match="y must be one class or n_samples=2 of them; got 3"):
        pipeline.sample(2, y=[0, 1, 0])


# What the numbers are


@pytest.mark.parametrize(
    "steps, likelihood",
    [
        ([StandardScaler()], Likelihood("exact", "lebesgue")),
        (["passthrough", PCA()], Likelihood("exact", "lebesgue")),
        ([LogitTransformer(0.05, bounds=(0, 50))], Likelihood("exact", "lebesgue")),
        ([PowerTransformer(method="box-cox")], Likelihood("estimate", "lebesgue")),
        ([QuantileTransformer(n_quantiles=10)], Likelihood("estimate", "lebesgue")),
        (
            [ColumnTransformer([("q", QuantileTransformer(), [0])])],
            Likelihood("estimate", "lebesgue"),
        ),
        ([Dequantizer()], Likelihood("lower_bound", "counting")),
        ([make_pipeline(Dequantizer(), PowerTransformer())], Likelihood("lower_bound", "counting")),
        (
            [ColumnTransformer([("d", Dequantizer(), [0, 1])])],
            Likelihood("lower_bound", "counting"),
        ),
    ],
)
def test_likelihood_is_declared_before_the_fit(steps, likelihood):
    assert get_likelihood(make_generative_pipeline(*steps, Gaussian())) == likelihood


def test_an_unbounded_power_transform_is_exact_once_fitted():
    X = np.random.default_rng(0).standard_normal((200, 2))
    pipeline = make_generative_pipeline(PowerTransformer(), Gaussian()).fit(X)
    assert step_image(pipeline[0]) is None
    assert get_likelihood(pipeline).kind == "exact"


def test_a_plain_pipeline_inside_is_flattened():
    inner = make_pipeline(StandardScaler(), Gaussian())
    pipeline = make_generative_pipeline(PCA(), inner).fit(SIGNED)
    np.testing.assert_allclose(
        pipeline.score_samples(SIGNED), Gaussian().fit(SIGNED).score_samples(SIGNED)
    )
    assert get_likelihood(pipeline) == Likelihood()
    assert pipeline.sample(2).shape == (2, 3)


# Containers, precision, copies, streams


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_in_frames_out(library):
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library](
        {"a": SKEWED[:, 0], "b": SKEWED[:, 1]}
    )
    pipeline = make_generative_pipeline("passthrough", PowerTransformer(), PCA(), Gaussian())
    pipeline.set_output(transform=library).fit(frame)
    drawn = pipeline.sample(3, random_state=0)
    assert type(drawn) is type(frame)
    assert list(drawn.columns) == ["a", "b"]
    assert np.isfinite(pipeline.score_samples(drawn)).all()
    assert list(pipeline.feature_names_in_) == ["a", "b"]
    assert isinstance(pipeline.set_output(transform="default").sample(1), np.ndarray)
    assert isinstance(
        clone(pipeline.set_output(transform=library)).fit(frame).sample(1), type(frame)
    )


def test_columns_by_name_may_come_in_another_order():
    frame = pd.DataFrame(SKEWED, columns=["a", "b"])
    columns = ColumnTransformer(
        [("one", PowerTransformer(), ["b"]), ("two", StandardScaler(), ["a"])]
    )
    pipeline = make_generative_pipeline(columns, Gaussian()).fit(frame)
    np.testing.assert_allclose(
        pipeline.score_samples(frame[["b", "a"]]), pipeline.score_samples(frame)
    )


@pytest.mark.parametrize(
    "step", [StandardScaler(), PowerTransformer(), QuantileTransformer(n_quantiles=9), PCA()]
)
def test_float32_stays_float32(step):
    X = SKEWED.astype(np.float32)
    pipeline = make_generative_pipeline(step, Gaussian()).fit(X)
    assert pipeline.sample(2).dtype == np.float32
    assert pipeline.score_samples(X).dtype == np.float32


def test_stream_continues_and_seeds_repeat():
    pipeline = make_generative_pipeline(StandardScaler(), Gaussian()).fit(SKEWED)
    assert not np.array_equal(pipeline.sample(3), pipeline.sample(3))
    np.testing.assert_array_equal(
        pipeline.sample(3, random_state=1), pipeline.sample(3, random_state=1)
    )
    again = clone(pipeline).fit(SKEWED)
    assert not np.array_equal(again.sample(3), pipeline.sample(3))


@pytest.mark.parametrize(
    "twin", [lambda p: pickle.loads(pickle.dumps(p)), copy.deepcopy, lambda p: clone(p).fit(SKEWED)]
)
def test_copies_score_and_draw_alike(twin):
    pipeline = make_generative_pipeline(
        PowerTransformer(method="box-cox"), FunctionTransformer(double), Gaussian()
    )
    pipeline.fit(SKEWED).score(SKEWED)
    other = twin(pipeline)
    np.testing.assert_array_equal(other.score_samples(SKEWED), pipeline.score_samples(SKEWED))
    np.testing.assert_array_equal(
        other.sample(3, random_state=0), pipeline.sample(3, random_state=0)
    )


# What is refused


def test_dequantizer_must_come_first():
    X = np.random.default_rng(3).binomial(4, [0.3, 0.6], size=(400, 2)).astype(np.uint8)
    pipeline = make_generative_pipeline(FunctionTransformer(double), Dequantizer(), Gaussian()).fit(
        X
    )
    with pytest.raises(ValueError, match="Dequantizer must be the first step"):
        pipeline.score(X)


@pytest.mark.parametrize(
    "step, message",
    [
        (FunctionTransformer(np.cbrt), "which has no inverse_func; set it"),
        (Normalizer(), "sample needs the inverse of Normalizer, which has no inverse_transform"),
    ],
)
def test_steps_without_an_inverse_do_not_sample(step, message):
    pipeline = make_generative_pipeline(step, Gaussian(mean=0.0, scale=1.0)).fit(SIGNED)
    with pytest.raises(TypeError, match=message):
        pipeline.sample(2)


@pytest.mark.parametrize("method", ["score", "score_samples"])
@pytest.mark.parametrize(
    "last, name", [(StandardScaler(), "StandardScaler"), ("passthrough", "'passthrough'")]
)
def test_last_step_must_be_a_generator(last, name, method):
    pipeline = make_generative_pipeline(StandardScaler(), last).fit(SIGNED)
    with pytest.raises(
        TypeError, match=f"score_samples needs a generator as the last step.*{name}, which has no"
    ):
        getattr(pipeline, method)(SIGNED)


def test_classifier_at_the_end_does_not_sample():
    pipeline = make_generative_pipeline(StandardScaler(), LogisticRegression()).fit(
        SIGNED, SIGNED[:, 0] > 1
    )
    with pytest.raises(
        TypeError,
        match=r"sample needs a generator as the last step of the pipeline.*LogisticRegression",
    ):
        pipeline.sample(2)


def test_number_of_draws_is_checked():
    pipeline = make_generative_pipeline(StandardScaler(), Gaussian()).fit(SIGNED)
    with pytest.raises(ValueError, match="n_samples must be an integer >= 1; got 0"):
        pipeline.sample(0)
