"""Dequantizer and LogitTransformer: scikit-learn's contract, noise, shifts, bounds and errors."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
from packaging.version import Version
from scipy import stats
from sklearn.base import clone
from sklearn.utils.estimator_checks import parametrize_with_checks

from probgen.preprocessing import Dequantizer, LogitTransformer

PIXELS = np.random.default_rng(0).integers(0, 256, size=(2000, 3), dtype=np.uint8)

# Before scikit-learn 1.7 this check takes a mean off integers in place, which NumPy refuses.
MISTAKEN = {"check_positive_only_tag_during_fit": "fails by itself on integers"}
IS_OLD = Version(sklearn.__version__) < Version("1.7")


# Bounds wide enough for the data of the common checks, which are not all in the unit interval.
@parametrize_with_checks(
    [Dequantizer(), LogitTransformer(bounds=(-1000, 1000))],
    expected_failed_checks=lambda step: (
        MISTAKEN if IS_OLD and isinstance(step, Dequantizer) else {}
    ),
)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


def test_noise_of_fit_is_independent_and_uniform_within_the_cell():
    X = np.full((4000, 2), 3)
    noise = Dequantizer(levels=10, random_state=0).fit_transform(X) * 10 - 3
    assert stats.kstest(noise[:, 0], "uniform").pvalue > 1e-3
    assert abs(np.corrcoef(noise.T)[0, 1]) < 0.06
    assert len(np.unique(noise)) == noise.size


def test_transform_is_the_centre_of_the_cell():
    step = Dequantizer(levels=4).fit([[0], [3]])
    np.testing.assert_allclose(
        step.transform([[0], [1], [3]]), [[0.125], [0.375], [0.875]], rtol=1e-12
    )


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.float32, np.float64, bool])
def test_levels_come_back_in_their_dtype(dtype):
    X = (PIXELS % 2 if dtype is bool else PIXELS).astype(dtype)
    step = Dequantizer(random_state=0)
    noisy = step.fit_transform(X)
    assert noisy.dtype == (np.float32 if dtype is np.float32 else np.float64)
    back = step.inverse_transform(noisy)
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, X)
    for k in range(step.n_shifts):
        np.testing.assert_array_equal(step.inverse_transform(step.at_shift(k).transform(X)), X)


def test_no_level_moves_in_float32_with_many_levels():
    X = np.random.default_rng(0).integers(0, 50_001, size=(200_000, 1)).astype(np.float32)
    step = Dequantizer(levels=50_001, random_state=0)
    np.testing.assert_array_equal(step.inverse_transform(step.fit_transform(X)), X)


def test_inverse_goes_to_the_nearest_level_outside_the_unit_interval():
    step = Dequantizer(levels=4).fit([[0], [3]])
    np.testing.assert_array_equal(
        step.inverse_transform([[-7.0], [-1e-9], [1.0], [9.0]]), [[0], [0], [3], [3]]
    )


def test_shifts_fill_every_column_evenly():
    step = Dequantizer(n_shifts=16, random_state=1).fit(PIXELS)
    cells = np.sort((step.shifts_ * 16 - step.shifts_[0] * 16) % 16, axis=0)
    np.testing.assert_allclose(cells, np.tile(np.arange(16.0)[:, None], (1, 3)), atol=1e-9)


def test_shifts_of_more_columns_than_sobol_knows():
    step = Dequantizer(levels=2, n_shifts=2).fit(np.zeros((1, 30_000), dtype=np.uint8))
    assert step.shifts_.shape == (2, 30_000)
    np.testing.assert_allclose(np.abs(np.diff(step.shifts_, axis=0)), 0.5)


def test_each_shift_is_uniform_over_seeds():
    shifts = [
        Dequantizer(n_shifts=4, random_state=seed).fit([[0]]).shifts_[2, 0] for seed in range(300)
    ]
    assert stats.kstest(shifts, "uniform").pvalue > 1e-3


def test_levels_by_column_and_from_the_data():
    X = np.array([[0, 5], [1, 9]])
    np.testing.assert_array_equal(Dequantizer(levels=[2, 12]).fit(X).levels_, [2, 12])
    np.testing.assert_array_equal(Dequantizer(levels=None).fit(X).levels_, [2, 10])


def test_seed_fixes_noise_and_shifts():
    one, two = (Dequantizer(random_state=5).fit_transform(PIXELS) for _ in range(2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, Dequantizer(random_state=6).fit_transform(PIXELS))


def test_global_random_state_is_left_alone():
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    Dequantizer().fit_transform(PIXELS)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_frames_keep_their_names(library):
    frame = {"pandas": pd.DataFrame, "polars": pl.DataFrame}[library]({"a": [0, 1], "b": [2, 3]})
    step = Dequantizer(levels=4, random_state=0).set_output(transform=library)
    assert list(step.fit_transform(frame).columns) == ["a", "b"]
    assert list(step.at_shift(0).transform(frame).columns) == ["a", "b"]
    assert step.inverse_transform(step.transform(frame)).dtype == np.int64


@pytest.mark.parametrize(
    "X, message",
    [
        (
            [[0.0, 1.5]],
            r"must hold integers from 0 to levels - 1 = 255; got 1.5 in column 1; round it",
        ),
        ([[256, 0]], r"must hold integers from 0 to levels - 1 = 255; got 256 in column 0"),
        (
            [[0, -1]],
            r"must hold integers from 0 to levels - 1 = 255; got -1 in column 1; shift or round it",
        ),
        ([[np.nan, 0.0]], "contains NaN"),
        ([["a", "b"]], "not compatible with arrays of bytes/strings"),
    ],
)
def test_dequantizer_refuses_what_is_no_level(X, message):
    with pytest.raises(ValueError, match=message):
        Dequantizer().fit(X)


def test_dequantizer_refuses_new_levels_in_transform():
    step = Dequantizer(levels=None).fit([[0], [3]])
    with pytest.raises(ValueError, match="levels - 1 = 3; got 4 in column 0"):
        step.transform([[4]])


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"levels": 0}, "levels must be an integer >= 1; got 0"),
        ({"levels": [2, 2, 2]}, "levels must be an integer >= 1, 2 of them"),
        ({"levels": 2.5}, "levels must be an integer"),
        ({"n_shifts": 6}, "n_shifts must be a power of two, for balanced points; got 6"),
        ({"n_shifts": 0}, "n_shifts must be an integer >= 1; got 0"),
        ({"random_state": "x"}, "random_state must be None"),
    ],
)
def test_dequantizer_refuses_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        Dequantizer(**parameters).fit([[0, 1]])


def test_logit_by_its_formula_and_back():
    X = np.random.default_rng(0).random((50, 2))
    step = LogitTransformer(alpha=0.05).fit(X)
    s = 0.05 + 0.9 * X
    np.testing.assert_allclose(step.transform(X), np.log(s / (1 - s)), rtol=1e-12)
    np.testing.assert_allclose(step.inverse_transform(step.transform(X)), X, rtol=1e-12)


def test_logit_of_other_bounds_keeps_nan():
    step = LogitTransformer(bounds=(0, 100)).fit([[0.0], [50.0], [np.nan]])
    np.testing.assert_allclose(step.transform([[50.0], [np.nan]]), [[0.0], [np.nan]], atol=1e-12)
    np.testing.assert_allclose(step.inverse_transform([[0.0], [np.nan]]), [[50.0], [np.nan]])


def test_logit_takes_what_its_inverse_gives():
    step = LogitTransformer(alpha=0.05).fit([[0.5]])
    Z = np.array([[-6.0], [6.0]])
    X = step.inverse_transform(Z)
    assert X[0, 0] < 0.0 < 1.0 < X[1, 0]
    np.testing.assert_allclose(step.transform(X), Z)


def test_logit_keeps_float32():
    step = LogitTransformer().fit(np.float32([[0.25]]))
    assert step.transform(np.float32([[0.25]])).dtype == np.float32
    assert step.inverse_transform(np.float32([[0.25]])).dtype == np.float32


@pytest.mark.parametrize(
    "step, X, message",
    [
        (
            LogitTransformer(),
            [[0.5, 1.5]],
            r"X must lie in \[0, 1\]; got 1.5 in column 1; scale it first",
        ),
        (LogitTransformer(alpha=0.05), [[1.01]], r"X must lie in \[0, 1\]; got 1.01 in column 0"),
        (
            LogitTransformer(alpha=0.0),
            [[0.0]],
            r"X must lie in \(0, 1\), as alpha=0; got 0 in column 0",
        ),
        (
            LogitTransformer(alpha=0.5),
            [[0.5]],
            r"alpha must be a real number in \[0, 0.5\); got 0.5",
        ),
        (LogitTransformer(alpha=-1), [[0.5]], "alpha must be a .*number >= 0; got -1"),
        (
            LogitTransformer(bounds=(1, 0)),
            [[0.5]],
            r"bounds must be two finite numbers, the lower first; got \(1, 0\)",
        ),
        (LogitTransformer(bounds=3), [[0.5]], "bounds must be two finite numbers"),
    ],
)
def test_logit_refuses(step, X, message):
    with pytest.raises(ValueError, match=message):
        step.fit(X)


def test_inverse_refuses_other_widths():
    step = LogitTransformer().fit([[0.5, 0.5]])
    with pytest.raises(ValueError, match="X has 1 features, but LogitTransformer is expecting 2"):
        step.inverse_transform([[0.0]])


@pytest.mark.parametrize("step", [Dequantizer(random_state=0), LogitTransformer(bounds=(0, 256))])
def test_clone_and_pickle(step):
    fitted = clone(step).fit(PIXELS)
    np.testing.assert_array_equal(
        pickle.loads(pickle.dumps(fitted)).transform(PIXELS), fitted.transform(PIXELS)
    )
