"""Rows of many patterns of missing values: together they give the results of each pattern alone."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from probgen import GaussianMixture
from probgen.gaussians import masked, missing
from probgen.gaussians.components import (
    DiagonalComponents,
    FullComponents,
    SphericalComponents,
    TiedComponents,
)
from probgen.gaussians.conditional import conditional_mean, log_density, log_joint
from probgen.gaussians.em import EMEngine
from probgen.gaussians.log_probabilities import responsibilities
from probgen.gaussians.low_rank import LowRankComponents
from probgen.gaussians.rows import Rows

TYPES = ["full", "tied", "diag", "spherical", "low_rank"]


def make_components(covariance_type, n_components=3, n_features=7, n_factors=2, seed=0):
    """Components of random parameters."""
    rng = np.random.default_rng(seed)
    K, d = n_components, n_features
    weights, means = rng.dirichlet(np.full(K, 5.0)), 2.0 * rng.standard_normal((K, d))
    mixing = rng.standard_normal((K, d, d))
    covariances = mixing @ mixing.transpose(0, 2, 1) / d + 0.2 * np.eye(d)
    variances = rng.uniform(0.3, 2.0, (K, d))
    if covariance_type == "full":
        return FullComponents.build(weights, means, covariances, 0.0)[0]
    if covariance_type == "tied":
        return TiedComponents.build(weights, means, covariances[0], 0.0)[0]
    if covariance_type == "diag":
        return DiagonalComponents(weights, means, variances)
    if covariance_type == "spherical":
        return SphericalComponents(weights, means, variances[:, 0])
    return LowRankComponents(weights, means, rng.standard_normal((K, d, n_factors)), variances)


def holed_rows(n_rows, n_features, share=0.35, seed=1):
    """Rows with values missing at random, one without any and one with all of them."""
    rng = np.random.default_rng(seed)
    rows = 2.0 * rng.standard_normal((n_rows, n_features))
    rows[rng.random(rows.shape) < share] = np.nan
    rows[0], rows[1] = np.nan, 0.5
    return rows


def one_pattern_at_a_time(monkeypatch):
    """Give each pattern a marginal density of its own."""
    monkeypatch.setattr(missing, "can_mask", lambda components, width: False)


def side_by_side(monkeypatch):
    """Handle all rows in blocks of mixed patterns, and check that the kernels can."""
    met = []

    def can_mask(components, width):
        met.append(width)
        assert masked.can_mask(components, width)
        return True

    monkeypatch.setattr(missing, "can_mask", can_mask)
    monkeypatch.setattr(missing, "MANY_ROWS", 10**9)
    monkeypatch.setattr(missing, "MANY_NUMBERS", 10**18)
    return met


def expect(components, rows, weights=None, origin=None):
    """Total and arrays of uncentred statistics of rows with missing values."""
    origin = np.zeros(rows.shape[1]) if origin is None else origin
    with EMEngine() as engine:
        total, actual = engine.expectation(
            components.shifted(origin), Rows(rows, weights, origin, has_missing=True)
        )
    return total, actual.about(np.zeros_like(actual.centers))


def conditional_by_hand(components, row):
    """Log weighted densities (K,), and mean (K, d) and covariance (K, d, d) of a row."""
    seen, hole = ~np.isnan(row), np.isnan(row)
    joint, means, covariances = [], [], []
    for k, (weight, mean) in enumerate(zip(components.weights, components.means, strict=True)):
        covariance = components.covariance(k)
        inner = covariance[np.ix_(seen, seen)]
        slope = covariance[np.ix_(hole, seen)] @ np.linalg.inv(inner)
        joint.append(np.log(weight) + multivariate_normal(mean[seen], inner).logpdf(row[seen]))
        filled, rest = row.copy(), np.zeros_like(covariance)
        filled[hole] = mean[hole] + slope @ (row[seen] - mean[seen])
        rest[np.ix_(hole, hole)] = (
            covariance[np.ix_(hole, hole)] - slope @ covariance[np.ix_(seen, hole)]
        )
        means.append(filled)
        covariances.append(rest)
    return np.array(joint), np.array(means), np.array(covariances)


@pytest.mark.parametrize("covariance_type", TYPES)
class TestExpectation:
    def test_equals_the_sums_by_hand(self, covariance_type, monkeypatch):
        met = side_by_side(monkeypatch)
        components = make_components(covariance_type)
        rows = holed_rows(80, 7)
        weights = np.random.default_rng(2).uniform(0.5, 2.0, 80)
        total, actual = expect(components, rows, weights)
        assert set(met) == ({1, 2, 4} if covariance_type in ("full", "tied") else {met[0]})
        log_likelihood, counts, sums, squares = 0.0, 0.0, 0.0, 0.0
        for row, weight in zip(rows[1:], weights[1:], strict=True):
            joint, means, covariances = conditional_by_hand(components, row)
            log_likelihood += weight * logsumexp(joint)
            share = weight * np.exp(joint - logsumexp(joint))
            counts += share
            sums += share[:, None] * means
            squares += share[:, None, None] * (means[:, :, None] * means[:, None, :] + covariances)
        np.testing.assert_allclose(total, log_likelihood, rtol=1e-11)
        np.testing.assert_allclose(actual.counts, counts, rtol=1e-10)
        own_sums = actual.crosses[:, :, -1] if covariance_type == "low_rank" else actual.sums
        np.testing.assert_allclose(own_sums, sums, rtol=1e-9, atol=1e-9)
        diagonals = np.diagonal(squares, axis1=1, axis2=2)
        expected = {
            "full": squares,
            "tied": squares.sum(axis=0),
            "spherical": diagonals.sum(axis=1),
        }
        np.testing.assert_allclose(
            actual.squares, expected.get(covariance_type, diagonals), rtol=1e-9, atol=1e-9
        )

    @pytest.mark.parametrize(("share", "n_features"), [(0.1, 30), (0.7, 30), (0.35, 3), (0.5, 2)])
    @pytest.mark.parametrize("n_components", [1, 4])
    def test_equals_one_pattern_at_a_time(
        self, covariance_type, share, n_features, n_components, monkeypatch
    ):
        components = make_components(covariance_type, n_components, n_features)
        rows = holed_rows(150, n_features, share) + 50.0
        weights = np.random.default_rng(2).uniform(0.0, 2.0, 150)
        arguments = (
            components.shifted(np.full(n_features, -50.0)),
            rows,
            weights,
            np.full(n_features, 50.0),
        )
        with monkeypatch.context() as patch:
            one_pattern_at_a_time(patch)
            wanted_total, expected = expect(*arguments)
        side_by_side(monkeypatch)
        total, actual = expect(*arguments)
        np.testing.assert_allclose(total, wanted_total, rtol=1e-11)
        assert type(actual) is type(expected)
        for name, array in vars(expected).items():
            scale = np.abs(array).max()
            np.testing.assert_allclose(
                getattr(actual, name), array, rtol=1e-10, atol=1e-11 * scale, err_msg=name
            )

    def test_patterns_of_many_rows_and_of_few_add_up(self, covariance_type, monkeypatch):
        components = make_components(covariance_type)
        rows = holed_rows(150, 7)
        rows[20:90, 2:4] = np.nan
        rows[20:90, 4:] = 1.0
        side_by_side(monkeypatch)
        total, expected = expect(components, rows)
        monkeypatch.setattr(missing, "MANY_ROWS", 12)
        monkeypatch.setattr(missing, "PIECE_NUMBERS", 7 * 60)
        again, actual = expect(components, rows)
        np.testing.assert_allclose(again, total, rtol=1e-12)
        for name, array in vars(expected).items():
            np.testing.assert_allclose(
                getattr(actual, name), array, rtol=1e-10, atol=1e-10 * np.abs(array).max()
            )

    def test_threads_share_the_rows(self, covariance_type, monkeypatch):
        components = make_components(covariance_type, 3, 12)
        rows = holed_rows(9000, 12, 0.2)
        side_by_side(monkeypatch)
        results = []
        for n_threads in (1, 3):
            monkeypatch.setattr("probgen.gaussians.threads._threads_of_blas", lambda n=n_threads: n)
            monkeypatch.setattr("probgen.gaussians.em.SERIAL_COST", 0)
            results.append(expect(components, rows))
        (total, expected), (again, actual) = results
        np.testing.assert_allclose(again, total, rtol=1e-12)
        np.testing.assert_allclose(actual.squares, expected.squares, rtol=1e-10)


@pytest.mark.parametrize("covariance_type", TYPES)
class TestAnswers:
    @pytest.mark.parametrize(("share", "n_features"), [(0.1, 30), (0.7, 40), (0.35, 3)])
    def test_equal_one_pattern_at_a_time(self, covariance_type, share, n_features, monkeypatch):
        components = make_components(covariance_type, 4, n_features).shifted(
            np.full(n_features, 20.0)
        )
        rows = holed_rows(100, n_features, share) - 20.0
        with EMEngine() as engine:
            with monkeypatch.context() as patch:
                one_pattern_at_a_time(patch)
                expected = [
                    query(engine, components, rows)
                    for query in (log_joint, log_density, conditional_mean)
                ]
            side_by_side(monkeypatch)
            actual = [
                query(engine, components, rows)
                for query in (log_joint, log_density, conditional_mean)
            ]
        for now, before in zip(actual, expected, strict=True):
            np.testing.assert_allclose(now, before, rtol=1e-10, atol=1e-11)

    def test_equal_the_conditionals_by_hand(self, covariance_type, monkeypatch):
        components = make_components(covariance_type)
        rows = holed_rows(60, 7)
        side_by_side(monkeypatch)
        with EMEngine() as engine:
            joint, filled = (
                log_joint(engine, components, rows),
                conditional_mean(engine, components, rows),
            )
        for row, own, whole in zip(rows[1:], joint[1:], filled[1:], strict=True):
            expected, means, _ = conditional_by_hand(components, row)
            np.testing.assert_allclose(own, expected, rtol=1e-10)
            np.testing.assert_allclose(
                whole, responsibilities(expected[None])[0] @ means, rtol=1e-9, atol=1e-10
            )

    def test_a_pattern_of_many_rows_has_the_same_density(self, covariance_type, monkeypatch):
        components = make_components(covariance_type)
        rows = holed_rows(300, 7)
        rows[50:, :2], rows[50:, 2:] = np.nan, np.random.default_rng(3).standard_normal((250, 5))
        monkeypatch.setattr(missing, "MANY_ROWS", 100)
        with EMEngine() as engine:
            alone = log_joint(engine, components, rows, by_size=True)
            np.testing.assert_allclose(alone, log_joint(engine, components, rows), rtol=1e-10)

    @pytest.mark.parametrize(("n_features", "share"), [(9, 0.3), (40, 0.6)])
    def test_do_not_depend_on_the_batch(self, covariance_type, n_features, share):
        components = make_components(covariance_type, 3, n_features, 5)
        rows = holed_rows(1500, n_features, share)
        with EMEngine() as engine:
            for query in (log_joint, log_density, conditional_mean):
                together = query(engine, components, rows)
                backwards = query(engine, components, rows[::-1])[::-1]
                np.testing.assert_array_equal(backwards, together)
                for i in range(0, 1500, 150):
                    np.testing.assert_array_equal(
                        query(engine, components, rows[i : i + 1]), together[i : i + 1]
                    )


class TestChoice:
    def test_patterns_come_in_the_order_of_their_bits(self):
        rng = np.random.default_rng(0)
        for n_features in (3, 8, 70):
            mask = rng.random((300, n_features)) < 0.1
            groups = missing.patterns(mask)
            codes = ["".join("01"[int(bit)] for bit in mask[rows[0]]) for _, rows in groups]
            assert codes == sorted({"".join("01"[int(bit)] for bit in row) for row in mask})
            for observed, rows in groups:
                assert (np.diff(rows) > 0).all()
                assert (mask[rows] == ~np.isin(np.arange(n_features), observed)).all()
            assert sum(len(rows) for _, rows in groups) == 300

    def test_a_feature_that_others_determine_keeps_its_digits(self):
        # The second feature is the first to eight digits: what inverts parts of the precision would
        # lose them.
        covariance = np.array([[1.0, 1.0, 0.3], [1.0, 1.0 + 1e-8, 0.3], [0.3, 0.3, 1.0]])
        components = FullComponents.build(np.ones(1), np.zeros((1, 3)), covariance[None], 0.0)[0]
        assert not masked.can_mask(components, 2)
        rows = np.array([[np.nan, np.nan, 1.0], [np.nan, 0.5, 1.0]])
        with EMEngine() as engine:
            actual = log_density(engine, components, rows)
        expected = [
            multivariate_normal(0.0, 1.0).logpdf(1.0),
            multivariate_normal([0.0, 0.0], covariance[1:, 1:]).logpdf([0.5, 1.0]),
        ]
        np.testing.assert_allclose(actual, expected, rtol=1e-12)

    @pytest.mark.parametrize("covariance_type", ["diag", "spherical"])
    def test_narrow_components_keep_their_digits(self, covariance_type):
        means = np.array([[0.0, 0.0], [1e4, -1e4]])
        variances = np.full((2, 2), 1e-4)
        components = (
            DiagonalComponents(np.full(2, 0.5), means, variances)
            if covariance_type == "diag"
            else SphericalComponents(np.full(2, 0.5), means, variances[:, 0])
        )
        rows = np.array([[1e4 + 0.01, np.nan], [np.nan, -0.02]])
        with EMEngine() as engine:
            actual = log_density(engine, components, rows)
        normal = multivariate_normal(0.0, 1e-4)
        deviations = [rows[0, 0] - 1e4, -0.02]
        np.testing.assert_allclose(actual, np.log(0.5) + normal.logpdf(deviations), rtol=1e-9)

    def test_memory_bounds_the_matrices(self):
        components = make_components("tied", 2, 3)
        assert masked.can_mask(components, 3)
        assert not masked.can_mask(components, 1000)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_a_fit_is_the_fit_of_one_pattern_at_a_time(covariance_type, monkeypatch):
    rows = holed_rows(400, 6, 0.2)
    model = GaussianMixture(
        2, covariance_type=covariance_type, n_factors=2, tol=0.0, max_iter=15, random_state=0
    )
    with pytest.warns(match="converge"):
        bounds = model.fit(rows).lower_bounds_
    one_pattern_at_a_time(monkeypatch)
    with pytest.warns(match="converge"):
        np.testing.assert_allclose(model.fit(rows).lower_bounds_, bounds, rtol=1e-9)
