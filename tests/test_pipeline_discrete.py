"""Pipelines of integer rows: a dequantized score against enumeration, and draws of integers."""

import itertools

import numpy as np
import pandas as pd
import polars as pl
from scipy import stats
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from probgen.base import Likelihood, get_likelihood
from probgen.estimators import GaussianMixture
from probgen.pipeline import make_generative_pipeline
from probgen.preprocessing import Dequantizer, LogitTransformer

SIZES = np.random.default_rng(0).lognormal(0.0, 0.55, size=(400, 1))


def integer_rows(levels=5, n=400):
    return np.random.default_rng(3).binomial(levels - 1, [0.3, 0.6], size=(n, 2)).astype(np.uint8)


def test_dequantized_score_is_a_bound_below_the_exact_probability():
    X = integer_rows()
    pipeline = make_generative_pipeline(
        Dequantizer(levels=5, n_shifts=64, random_state=0), StandardScaler(), GaussianMixture()
    ).fit(X)
    model, scaler = pipeline[-1], pipeline[1]
    states = np.array(list(itertools.product(range(5), repeat=2)))
    bound = pipeline.score_samples(states)
    distribution = stats.multivariate_normal(model.means_[0], model.covariances_[0])
    lows, highs = scaler.transform(states / 5.0), scaler.transform((states + 1) / 5.0)
    exact = [distribution.cdf(high, lower_limit=low) for low, high in zip(lows, highs, strict=True)]
    assert np.all(bound <= np.log(exact) + 0.01)
    assert np.exp(bound).sum() <= 1.0
    assert np.exp(bound).sum() > 0.8


def test_dequantized_score_averages_over_its_shifts():
    X = integer_rows()
    pipeline = make_generative_pipeline(
        Dequantizer(levels=5, random_state=0), GaussianMixture()
    ).fit(X)
    expected = [pipeline[-1].score_samples((X + u) / 5.0) for u in pipeline[0].shifts_]
    np.testing.assert_allclose(
        pipeline.score_samples(X), np.mean(expected, axis=0) - 2.0 * np.log(5.0)
    )


def test_discrete_draws_are_integers_in_range():
    X = integer_rows()
    pipeline = make_generative_pipeline(
        Dequantizer(levels=5, random_state=0), LogitTransformer(0.05), GaussianMixture()
    ).fit(X)
    drawn = pipeline.sample(4000, random_state=0)
    assert drawn.dtype == np.uint8
    assert drawn.max() == 4
    np.testing.assert_allclose(drawn.mean(axis=0), X.mean(axis=0), atol=0.15)


def test_dequantizer_within_columns_scores_every_part_in_its_measure():
    X = np.column_stack([integer_rows(), SIZES])
    columns = ColumnTransformer(
        [("power", FunctionTransformer(np.log), [2])], remainder=Dequantizer(5, random_state=0)
    )
    pipeline = make_generative_pipeline(columns, GaussianMixture()).fit(X)
    dequantizer = columns.named_transformers_["remainder"]
    logs = np.log(X[:, 2:])
    versions = [np.column_stack([logs, (X[:, :2] + u) / 5.0]) for u in dequantizer.shifts_]
    expected = (
        np.mean([pipeline[-1].score_samples(Z) for Z in versions], axis=0)
        - 2.0 * np.log(5.0)
        - logs[:, 0]
    )
    np.testing.assert_allclose(pipeline.score_samples(X), expected)
    drawn = pipeline.sample(100, random_state=0)
    np.testing.assert_array_equal(drawn[:, :2], np.round(drawn[:, :2]))
    assert get_likelihood(pipeline) == Likelihood("lower_bound", "mixed", "input")


def test_integer_columns_of_a_mixed_frame_come_back_as_integers():
    frame = pd.DataFrame(
        {"size": SIZES[:, 0], "a": integer_rows()[:, 0], "b": integer_rows()[:, 1].astype(np.int64)}
    )
    columns = ColumnTransformer(
        [("ints", Dequantizer(levels=5), ["b", "a"])], remainder=StandardScaler()
    )
    for library in ("pandas", "polars"):
        pipeline = make_generative_pipeline(clone(columns), GaussianMixture()).set_output(
            transform=library
        )
        data = (
            frame
            if library == "pandas"
            else pl.DataFrame({name: frame[name].to_numpy() for name in frame})
        )
        drawn = pipeline.fit(data).sample(5, random_state=0)
        assert list(drawn.columns) == ["size", "a", "b"]
        assert [np.asarray(drawn[name]).dtype.kind for name in drawn.columns] == ["f", "i", "i"]
        assert np.isfinite(pipeline.score_samples(data)).all()
