"""Statistics of rows against NumPy."""

import numpy as np
import pytest
import torch

from probgen import RowBlocks
from probgen.training.rows import open_rows
from probgen.training.statistics import take_statistics

RNG = np.random.default_rng(0)
X = RNG.normal([0.0, 5.0, 1e8], [1.0, 0.1, 3.0], size=(20_000, 3))


@pytest.mark.parametrize("rows", [X, RowBlocks([X[:7], X[7:]])], ids=["array", "blocks"])
def test_mean_and_scale_are_those_of_numpy(rows):
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    np.testing.assert_allclose(found.mean, X.mean(axis=0), rtol=1e-12)
    assert found.scale == pytest.approx(np.sqrt(X.var(axis=0).mean()), rel=1e-9)
    np.testing.assert_allclose(found.deviation, X.std(axis=0), rtol=1e-7)
    assert (found.low, found.high) == (X.min(), X.max())
    assert (found.is_binary, found.is_integer, found.has_missing) == (False, False, False)


@pytest.mark.parametrize("n_features", [63, 64, 65, 128, 129, 200])
@pytest.mark.parametrize("share_missing", [0.0, 0.2])
def test_many_features(n_features, share_missing):
    rows = RNG.normal(np.arange(n_features), 1.0, size=(9000, n_features))
    rows[RNG.random(rows.shape) < share_missing] = np.nan
    before = rows.copy()
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    np.testing.assert_allclose(found.mean, np.nanmean(rows, axis=0), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(found.deviation, np.nanstd(rows, axis=0), rtol=1e-12)
    assert found.has_missing == (share_missing > 0.0)
    np.testing.assert_array_equal(rows, before)


def test_missing_values_are_left_out():
    rows = np.where(RNG.random(X.shape) < 0.3, np.nan, X)
    rows = np.column_stack([rows, np.full(len(X), np.nan)])
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    np.testing.assert_allclose(found.mean, [*np.nanmean(rows[:, :3], axis=0), 0.0], rtol=1e-12)
    assert found.scale == pytest.approx(np.sqrt(np.nanvar(rows[:, :3], axis=0).sum() / 4), rel=1e-9)
    assert found.has_missing


@pytest.mark.parametrize(
    "values, is_binary, is_integer",
    [([0.0, 1.0], True, True), ([0.0, 2.0], False, True), ([0.0, 0.5], False, False)],
)
def test_kinds_of_values(values, is_binary, is_integer):
    found = take_statistics(open_rows(np.array(values)[:, np.newaxis], dtype=torch.float64))
    assert (found.is_binary, found.is_integer) == (is_binary, is_integer)


def test_the_deviation_of_a_constant_feature_is_relative_to_its_value():
    rows = np.column_stack([X[:, 0], np.full(len(X), -7.0), np.zeros(len(X))])
    rows[::2, 1] *= 1.0 + np.finfo(float).eps  # rounding
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    np.testing.assert_allclose(found.deviation[1:], [7e-3, 1e-3])
    np.testing.assert_array_equal(found.is_constant, [False, True, True])


def test_constant_rows_have_a_scale():
    found = take_statistics(open_rows(np.full((5, 2), 3.0), dtype=torch.float64))
    assert found.scale == pytest.approx(3e-3)


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e150, 1e300])
@pytest.mark.parametrize("as_blocks", [False, True])
def test_no_square_overflows(size, as_blocks):
    rows = np.ascontiguousarray(X[:100, :2])
    large = RowBlocks([size * rows[:7], size * rows[7:]]) if as_blocks else size * rows
    found = take_statistics(open_rows(large, dtype=torch.float64))
    np.testing.assert_allclose(found.mean / size, rows.mean(axis=0))
    np.testing.assert_allclose(found.deviation / size, rows.std(axis=0))
    assert found.scale / size == pytest.approx(np.sqrt(rows.var(axis=0).mean()))


def test_ranges_of_features():
    rows = np.where(RNG.random(X.shape) < 0.3, np.nan, X)
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    np.testing.assert_array_equal(found.feature_low, np.nanmin(rows, axis=0))
    np.testing.assert_array_equal(found.feature_high, np.nanmax(rows, axis=0))


def test_units_are_of_each_feature_or_shared():
    found = take_statistics(open_rows(X, dtype=torch.float64))
    np.testing.assert_allclose(found.units(shared=False), X.std(axis=0), rtol=1e-7)
    overall = np.sqrt(X.var(axis=0).mean())
    np.testing.assert_allclose(found.units(shared=True), np.full(3, overall), rtol=1e-7)
