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


def test_a_constant_feature_hardly_deviates():
    rows = np.column_stack([X[:, 0], np.full(len(X), 7.0)])
    found = take_statistics(open_rows(rows, dtype=torch.float64))
    assert found.deviation[1] == pytest.approx(1e-3 * found.scale)


def test_constant_rows_have_scale_one():
    assert take_statistics(open_rows(np.full((5, 2), 3.0), dtype=torch.float64)).scale == 1.0
