"""The engine of mixtures: kernels, statistics, M-steps, missing values, threads, starts."""

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

from probgen.gaussians import em
from probgen.gaussians.arrays import arrays_on
from probgen.gaussians.components import (
    DiagonalComponents,
    FullComponents,
    SphericalComponents,
    TiedComponents,
    conditional_gaussian,
)
from probgen.gaussians.fitting import MixtureSettings, fit_in_closed_form
from probgen.gaussians.kernels import (
    CenteredFactorAnalysisKernel,
    CenteredKernel,
    FactorAnalysisKernel,
    FactoredKernel,
    NaturalKernel,
    TiedFactoredKernel,
    TiedKernel,
)
from probgen.gaussians.low_rank import LowRankComponents
from probgen.gaussians.missing import patterns
from probgen.gaussians.regularization import Regularization
from probgen.gaussians.rows import Rows
from probgen.gaussians.starts import kmeans_plusplus, summarise_rows
from probgen.gaussians.statistics import FactorStatistics

TYPES = ["full", "tied", "diag", "spherical", "low_rank"]
SHARED = TYPES[:4]
WEIGHTS = np.array([0.5, 0.2, 0.3])


def make(covariance_type, n_features=4, spread=1.0, width=1.0, seed=0):
    """Three components of a family, with means spread apart and deviations of about width."""
    rng = np.random.default_rng(seed)
    d = n_features
    means = spread * rng.standard_normal((3, d))
    mixing = width * (rng.standard_normal((3, d, d)) / np.sqrt(d) + np.eye(d))
    full = mixing @ mixing.transpose(0, 2, 1)
    if covariance_type == "low_rank":
        loadings = width * rng.standard_normal((3, d, 2))
        return LowRankComponents(WEIGHTS, means, loadings, width**2 * rng.uniform(0.3, 2.0, (3, d)))
    family, covariances = {
        "full": (FullComponents, full),
        "tied": (TiedComponents, full[0]),
        "diag": (DiagonalComponents, np.diagonal(full, axis1=1, axis2=2).copy()),
        "spherical": (SphericalComponents, full[:, 0, 0].copy()),
    }[covariance_type]
    components, repaired = family.build(WEIGHTS, means, covariances, 0.0)
    assert repaired == 0
    return components


def draw(components, n_rows, seed=1):
    """Rows of the components in turn, and some from all over."""
    rng = np.random.default_rng(seed)
    rows = np.concatenate([components.draw(k, n_rows // 3, rng) for k in range(3)])
    return np.concatenate([rows, rows[: n_rows - len(rows)] + 0.1])


def joint_by_scipy(components, X):
    normals = [multivariate_normal(components.means[k], components.covariance(k)) for k in range(3)]
    return np.column_stack([normal.logpdf(X).reshape(-1) for normal in normals]) + np.log(WEIGHTS)


def moments_by_hand(covariance_type, X, responsibilities, centers):
    """Counts, sums and squares of rows (n, d) under responsibilities (n, K) of a family."""
    centred = X[:, None] - centers
    outer = np.einsum("nk,nki,nkj->kij", responsibilities, centred, centred)
    squares = {
        "full": outer,
        "tied": outer.sum(axis=0),
        "diag": np.diagonal(outer, axis1=1, axis2=2),
        "spherical": np.trace(outer, axis1=1, axis2=2),
    }[covariance_type]
    return responsibilities.sum(axis=0), np.einsum("nk,nki->ki", responsibilities, centred), squares


def factor_moments_by_hand(components, X, responsibilities, centers):
    """Statistics of rows under factor analysers, row by row through the dense posterior."""
    q = components.n_factors
    counts, crosses = responsibilities.sum(axis=0), np.zeros((3, X.shape[1], q + 1))
    codes, squares = np.zeros((3, q + 1, q + 1)), np.zeros((3, X.shape[1]))
    for k in range(3):
        loadings = components.loadings[k]
        gain = loadings.T @ np.linalg.inv(components.covariance(k))
        rest = np.eye(q) - gain @ loadings
        centred = X - centers[k]
        code = np.column_stack([(X - components.means[k]) @ gain.T, np.ones(len(X))])
        r = responsibilities[:, k]
        crosses[k] = (r[:, None] * centred).T @ code
        codes[k] = (r[:, None] * code).T @ code
        codes[k, :q, :q] += r.sum() * rest
        squares[k] = r @ centred**2
    return counts, crosses, codes, squares


def arrays_of(statistics):
    names = ("crosses", "codes") if isinstance(statistics, FactorStatistics) else ("sums",)
    return [getattr(statistics, name) for name in ("counts", *names, "squares")]


def by_hand(covariance_type, components, X, weights, centers):
    """Weighted log-likelihood and statistics of an E-step, by dense formulas."""
    joint = joint_by_scipy(components, X)
    totals = logsumexp(joint, axis=1)
    responsibilities = np.exp(joint - totals[:, None]) * weights[:, None]
    if covariance_type == "low_rank":
        return weights @ totals, factor_moments_by_hand(components, X, responsibilities, centers)
    return weights @ totals, moments_by_hand(covariance_type, X, responsibilities, centers)


def expectation(components, X, weights=None, origin=None, has_missing=False):
    origin = np.zeros(X.shape[1]) if origin is None else origin
    with em.EMEngine() as engine:
        return engine.expectation(components, Rows(X, weights, origin, has_missing))


# Family, features, spread of the means, deviation, and the kernel that such components take
KERNELS = [
    ("full", 4, 1.0, 1.0, NaturalKernel),
    ("full", 50, 1.0, 1.0, FactoredKernel),
    ("full", 150, 1.0, 1.0, FactoredKernel),
    ("full", 3, 1e3, 1e-2, FactoredKernel),
    ("tied", 4, 1.0, 1.0, TiedKernel),
    ("tied", 70, 1.0, 1.0, TiedKernel),
    ("tied", 3, 1e3, 1e-2, TiedFactoredKernel),
    ("diag", 4, 1.0, 1.0, NaturalKernel),
    ("diag", 3, 1e3, 1e-2, CenteredKernel),
    ("spherical", 4, 1.0, 1.0, NaturalKernel),
    ("spherical", 3, 1e3, 1e-2, CenteredKernel),
    ("low_rank", 4, 1.0, 1.0, FactorAnalysisKernel),
    ("low_rank", 60, 1.0, 1.0, FactorAnalysisKernel),
    ("low_rank", 3, 1e3, 1e-2, CenteredFactorAnalysisKernel),
]


class TestExpectation:
    @pytest.mark.parametrize("is_weighted", [False, True])
    @pytest.mark.parametrize("covariance_type, n_features, spread, width, kernel", KERNELS)
    def test_is_that_of_dense_formulas(
        self, covariance_type, n_features, spread, width, kernel, is_weighted
    ):
        components = make(covariance_type, n_features, spread, width)
        assert type(components.kernel(arrays_on("cpu"))) is kernel
        X = draw(
            components, 2500 if n_features < 50 else 1100
        )  # some whole blocks and a part of one
        weights = np.random.default_rng(2).uniform(size=len(X)) if is_weighted else None
        total, statistics = expectation(components, X, weights)
        ones = np.ones(len(X)) if weights is None else weights
        truth, moments = by_hand(covariance_type, components, X, ones, statistics.centers)
        assert total == pytest.approx(truth, rel=1e-9)
        for actual, expected in zip(arrays_of(statistics), moments, strict=True):
            np.testing.assert_allclose(
                actual, expected, rtol=1e-6, atol=1e-9 * np.abs(expected).max()
            )

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_does_not_depend_on_the_origin(self, covariance_type):
        components = make(covariance_type)
        X = draw(components, 500)
        offset = np.array([3.0, -1.0, 0.5, 10.0])
        total, statistics = expectation(components, X)
        moved, others = expectation(components.shifted(offset), X, origin=offset)
        assert moved == pytest.approx(total, rel=1e-12)
        others = others.about(statistics.centers - offset)
        for actual, expected in zip(arrays_of(others), arrays_of(statistics), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_rows_with_holes_is_that_of_each_row_completed(self, covariance_type):
        components = make(covariance_type)
        X = draw(components, 60)
        X[np.random.default_rng(3).random(X.shape) < 0.35] = np.nan
        X[0] = np.nan  # says nothing, and is left out
        weights = np.random.default_rng(2).uniform(size=len(X))
        total, statistics = expectation(components, X, weights, has_missing=True)
        truth = 0.0
        counts, sums = np.zeros(3), np.zeros((3, 4))
        seconds = np.zeros((3, 4, 4))
        for row, weight in zip(X[1:], weights[1:]):
            seen, hole = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
            if not len(seen):
                continue
            normals = [
                multivariate_normal(
                    components.means[k, seen], components.covariance(k)[np.ix_(seen, seen)]
                )
                for k in range(3)
            ]
            joint = np.log(WEIGHTS) + [normal.logpdf(row[seen]) for normal in normals]
            truth += weight * logsumexp(joint)
            for k, r in enumerate(weight * np.exp(joint - logsumexp(joint))):
                covariance = components.covariance(k)
                slope = covariance[np.ix_(hole, seen)] @ np.linalg.inv(
                    covariance[np.ix_(seen, seen)]
                )
                whole = row - components.means[k]
                whole[hole] = slope @ whole[seen]
                second = np.outer(whole, whole)
                second[np.ix_(hole, hole)] += (
                    covariance[np.ix_(hole, hole)] - slope @ covariance[np.ix_(seen, hole)]
                )
                counts[k] += r
                sums[k] += r * whole
                seconds[k] += r * second
        assert total == pytest.approx(truth, rel=1e-9)
        statistics = statistics.about(components.means)
        np.testing.assert_allclose(statistics.counts, counts, rtol=1e-9)
        expected = {
            "full": seconds,
            "tied": seconds.sum(axis=0),
            "diag": np.diagonal(seconds, axis1=1, axis2=2),
            "spherical": np.trace(seconds, axis1=1, axis2=2),
            "low_rank": np.diagonal(seconds, axis1=1, axis2=2),
        }[covariance_type]
        np.testing.assert_allclose(statistics.squares, expected, rtol=1e-8)
        actual = statistics.crosses[:, :, -1] if covariance_type == "low_rank" else statistics.sums
        np.testing.assert_allclose(actual, sums, rtol=1e-8, atol=1e-10)


class TestThreads:
    @pytest.fixture
    def engine(self, monkeypatch):
        """An engine of three threads, whatever the machine, that deals out even little work."""
        monkeypatch.setattr(em, "count_threads", lambda: 3)
        monkeypatch.setattr(em, "SERIAL_COST", 0)
        with em.EMEngine() as engine:
            assert engine.threads == 3
            yield engine

    @pytest.mark.parametrize("n_features", [3, 60])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_change_nothing_but_the_last_digits_of_sums(self, engine, covariance_type, n_features):
        components = make(covariance_type, n_features)
        X = draw(components, 7000)
        rows = Rows(X, np.random.default_rng(2).uniform(size=len(X)), np.zeros(n_features))
        total, statistics = expectation(components, X, rows.weights)
        threaded, others = engine.expectation(components, rows)
        assert threaded == pytest.approx(total, rel=1e-12)
        for actual, expected in zip(arrays_of(others), arrays_of(statistics), strict=True):
            np.testing.assert_allclose(
                actual, expected, rtol=1e-9, atol=1e-10 * np.abs(expected).max()
            )
        again, repeated = engine.expectation(components, rows)
        assert again == threaded
        for actual, expected in zip(arrays_of(repeated), arrays_of(others), strict=True):
            np.testing.assert_array_equal(actual, expected)

    @pytest.mark.parametrize("n_features", [3, 60])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_do_not_change_a_query(self, engine, covariance_type, n_features):
        components = make(covariance_type, n_features)
        X = draw(components, 7000)
        threaded = engine.log_densities(components, X)
        with em.EMEngine(n_shares=3) as alone:
            assert alone.threads == 1
            np.testing.assert_array_equal(alone.log_densities(components, X), threaded)


class TestQueries:
    @pytest.mark.parametrize(("spread", "width"), [(1.0, 1.0), (1e4, 1e-2)])
    @pytest.mark.parametrize("n_features", [1, 3, 20, 60, 300])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_rows_keep_their_bits_in_any_batch(self, covariance_type, n_features, spread, width):
        components = make(covariance_type, n_features, spread, width)
        X = draw(components, 2500)
        with em.EMEngine() as engine:
            densities = engine.log_densities(components, X)
            joint = engine.log_joint(components, X)
            for part in (slice(0, 1), slice(7, 12), slice(1000, 1111), slice(2499, 2500)):
                np.testing.assert_array_equal(
                    engine.log_densities(components, X[part]), densities[part]
                )
                np.testing.assert_array_equal(engine.log_joint(components, X[part]), joint[part])
            order = np.random.default_rng(0).permutation(len(X))
            np.testing.assert_array_equal(
                engine.log_densities(components, X[order]), densities[order]
            )
        np.testing.assert_allclose(joint[::50], joint_by_scipy(components, X[::50]), rtol=1e-6)


class TestStatistics:
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_parts_merge_about_any_centres(self, covariance_type):
        components = make(covariance_type)
        X = draw(components, 300)
        centers = np.random.default_rng(4).standard_normal((3, 4))
        _, whole = expectation(components, X)
        (_, first), (_, second) = expectation(components, X[:100]), expectation(components, X[100:])
        merged = first + second.about(centers)
        assert merged.total == pytest.approx(300.0, rel=1e-12)
        back = whole.about(centers).about(whole.centers)
        for part, other, expected in zip(
            arrays_of(merged), arrays_of(back), arrays_of(whole), strict=True
        ):
            np.testing.assert_allclose(part, expected, rtol=1e-9, atol=1e-9)
            np.testing.assert_allclose(other, expected, rtol=1e-9, atol=1e-9)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_scaled_are_those_of_weighted_rows(self, covariance_type):
        components = make(covariance_type)
        X = draw(components, 300)
        _, weighted = expectation(components, X, np.full(300, 2.5))
        _, whole = expectation(components, X)
        for actual, expected in zip(arrays_of(whole.scaled(2.5)), arrays_of(weighted), strict=True):
            np.testing.assert_allclose(actual, expected, rtol=1e-10, atol=1e-10)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_side_by_side_are_those_of_groups(self, covariance_type):
        components = make(covariance_type)
        X = draw(components, 300)
        groups = [(slice(0, 1), X[:120]), (slice(1, 3), X[120:])]
        parts = [expectation(components.select(members), rows)[1] for members, rows in groups]
        joined = type(parts[0]).concatenate(parts)
        assert joined.counts.shape == (3,)
        assert joined.counts[0] == pytest.approx(120.0, rel=1e-12)
        assert joined.total == pytest.approx(300.0, rel=1e-12)


class TestMaximization:
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_gives_weighted_covariances(self, covariance_type):
        X = draw(make("full"), 300)
        responsibilities = np.random.default_rng(5).dirichlet([1.0, 2.0, 3.0], len(X))
        template = make(covariance_type)
        _, statistics = expectation(template, X)
        centers = np.random.default_rng(4).standard_normal((3, 4))
        counts, sums, squares = moments_by_hand(covariance_type, X, responsibilities, centers)
        statistics = type(statistics)(counts, sums, squares, centers)
        actual, repaired = type(template).estimate(
            statistics, Regularization(0.1), np.zeros(4), 0.1
        )
        weights = responsibilities.mean(axis=0)
        full = np.array([np.cov(X.T, aweights=r, bias=True) for r in responsibilities.T])
        truth = {
            "full": full + 0.1 * np.eye(4),
            "tied": np.einsum("k,kij->ij", weights, full) + 0.1 * np.eye(4),
            "diag": np.diagonal(full, axis1=1, axis2=2) + 0.1,
            "spherical": np.trace(full, axis1=1, axis2=2) / 4.0 + 0.1,
        }[covariance_type]
        assert repaired == 0
        np.testing.assert_allclose(actual.weights, weights, rtol=1e-12)
        np.testing.assert_allclose(
            actual.means, [r @ X / r.sum() for r in responsibilities.T], rtol=1e-9, atol=1e-12
        )
        np.testing.assert_allclose(actual.covariances, truth, rtol=1e-9, atol=1e-12)

    def test_of_factors_is_a_stationary_point_of_the_expected_likelihood(self):
        X = draw(make("full"), 300)
        components = make("low_rank")
        responsibilities = np.random.default_rng(5).dirichlet([1.0, 2.0, 3.0], len(X))
        statistics = FactorStatistics(
            *factor_moments_by_hand(components, X, responsibilities, np.zeros((3, 4))),
            np.zeros((3, 4)),
        )
        actual, repaired = LowRankComponents.estimate(
            statistics, Regularization(0.0), np.zeros(4), 0.0
        )
        assert repaired == 0

        def expected_log_likelihood(means, loadings, noise):
            maps = np.concatenate([loadings, means[:, :, None]], axis=2)
            errors = (
                statistics.squares
                - 2.0 * np.sum(maps * statistics.crosses, axis=2)
                + np.einsum("kdi,kij,kdj->kd", maps, statistics.codes, maps)
            )
            return -0.5 * np.sum(statistics.counts[:, None] * np.log(noise) + errors / noise)

        best = expected_log_likelihood(actual.means, actual.loadings, actual.noise)
        rng = np.random.default_rng(6)
        for _ in range(50):
            step = [
                1e-3 * rng.standard_normal(a.shape)
                for a in (actual.means, actual.loadings, actual.noise)
            ]
            moved = (
                actual.means + step[0],
                actual.loadings + step[1],
                actual.noise * np.exp(step[2]),
            )
            assert expected_log_likelihood(*moved) < best

    @pytest.mark.parametrize("covariance_type", ["full", "tied"])
    @pytest.mark.parametrize("rank", [0, 1, 3])
    def test_repairs_what_is_not_positive_definite_in_any_units(self, covariance_type, rank):
        half = np.random.default_rng(0).standard_normal((4, rank))
        singular = half @ half.T
        units = np.array([1e-6, 1.0, 1e3, 1e8])
        floor = np.full(4, 1e-10)
        family = FullComponents if covariance_type == "full" else TiedComponents
        repaired = []
        for scale in (np.ones(4), units):
            covariance = singular * np.outer(scale, scale)
            covariances = covariance if covariance_type == "tied" else np.array([covariance] * 3)
            components, n_repaired = family.build(
                WEIGHTS, np.zeros((3, 4)), covariances, floor * scale**2
            )
            assert n_repaired == (1 if covariance_type == "tied" else 3)
            factor = components.precisions_cholesky.reshape(-1, 4, 4)[0]
            mended = components.covariance(0)
            np.testing.assert_allclose(np.triu(factor), factor)
            scaled = (
                (factor.T * scale) @ (mended / np.outer(scale, scale)) @ (factor * scale[:, None])
            )
            np.testing.assert_allclose(scaled, np.eye(4), atol=1e-3)
            repaired.append(mended / np.outer(scale, scale))
        np.testing.assert_allclose(repaired[1], repaired[0], rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(repaired[0], singular, atol=1e-9)


class TestMarginals:
    @pytest.mark.parametrize("observed", [[0], [1, 3], [0, 1, 2, 3]])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_are_parts_of_the_covariance(self, covariance_type, observed):
        components = make(covariance_type)
        observed = np.array(observed)
        marginal = components.marginal(observed)
        for k in range(3):
            np.testing.assert_allclose(
                marginal.covariance(k), components.covariance(k)[np.ix_(observed, observed)]
            )
        np.testing.assert_array_equal(marginal.means, components.means[:, observed])

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_conditional_distributions_are_schur_complements(self, covariance_type):
        components = make(covariance_type)
        observed, missing = np.array([0, 2]), np.array([1, 3])
        for k in range(3):
            precision = np.linalg.inv(components.covariance(k))
            regression, rest = conditional_gaussian(components, k, observed, missing)
            own = np.linalg.inv(precision[np.ix_(missing, missing)])
            np.testing.assert_allclose(rest, own, atol=1e-10)
            np.testing.assert_allclose(
                regression, -own @ precision[np.ix_(missing, observed)], atol=1e-10
            )

    def test_patterns_part_the_rows(self):
        mask = np.random.default_rng(0).random((500, 11)) < 0.2
        actual = patterns(mask)
        np.testing.assert_array_equal(
            np.sort(np.concatenate([rows for _, rows in actual])), np.arange(500)
        )
        for observed, rows in actual:
            seen = np.isin(np.arange(11), observed)
            assert (mask[rows] == ~seen).all()
        assert len(actual) == len(np.unique(mask, axis=0))

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_draws_have_the_component_s_moments(self, covariance_type):
        components = make(covariance_type)
        for k in range(3):
            rows = components.draw(k, 100_000, np.random.default_rng(k))
            covariance = components.covariance(k)
            np.testing.assert_allclose(rows.mean(axis=0), components.means[k], atol=0.03)
            np.testing.assert_allclose(
                np.cov(rows.T), covariance, atol=0.03 * np.abs(covariance).max()
            )


class TestStarts:
    def test_rows_that_repeat_are_one_of_their_summed_weight(self):
        rows = np.random.default_rng(0).standard_normal((50, 3))
        rows[::7, 1] = np.nan
        repeats = np.random.default_rng(1).integers(1, 4, 50)
        order = np.random.default_rng(2).permutation(repeats.sum())
        many = summarise_rows(
            np.repeat(rows, repeats, axis=0)[order],
            None,
            1000,
            np.random.default_rng(3),
            Regularization(),
        )
        few = summarise_rows(
            rows, repeats.astype(float), 1000, np.random.default_rng(3), Regularization()
        )
        assert len(many.rows) == len(few.rows) == 50
        np.testing.assert_allclose(many.rows, few.rows, atol=1e-12)
        np.testing.assert_array_equal(many.weights, few.weights)
        np.testing.assert_allclose(
            few.origin,
            [np.average(x[k], weights=repeats[k]) for x in rows.T for k in [~np.isnan(x)]],
        )

    def test_a_part_of_the_rows_stands_for_all(self):
        rows = np.random.default_rng(0).standard_normal((5000, 2)) * [1.0, 10.0] + 3.0
        weights = np.random.default_rng(1).uniform(size=5000)
        actual = summarise_rows(rows, weights, 1000, np.random.default_rng(2), Regularization())
        assert 900 <= len(actual.rows) <= 1000
        assert actual.weights.sum() == pytest.approx(weights.sum(), rel=1e-9)
        np.testing.assert_allclose(
            actual.origin, np.average(rows, axis=0, weights=weights), atol=0.5
        )

    def test_centres_are_different_rows_and_no_more_than_there_are(self):
        rows = np.array([[0.0, 0.0], [1e-3, 0.0], [5.0, 5.0], [1e4, 1e4]])
        actual = kmeans_plusplus(rows, np.ones(4), 4, np.random.default_rng(0))
        np.testing.assert_array_equal(np.unique(actual, axis=0), rows)
        assert (
            len(
                kmeans_plusplus(
                    np.repeat(rows, 5, axis=0), np.ones(20), 9, np.random.default_rng(0)
                )
            )
            == 4
        )

    def test_centres_find_clusters_far_apart(self):
        rng = np.random.default_rng(0)
        rows = np.repeat(100.0 * rng.standard_normal((6, 2)), 50, axis=0) + rng.standard_normal(
            (300, 2)
        )
        for seed in range(5):
            actual = kmeans_plusplus(rows, np.ones(300), 6, np.random.default_rng(seed))
            nearest = np.argmin(((rows[::50, None] - actual) ** 2).sum(axis=2), axis=1)
            assert len(np.unique(nearest)) == 6


def test_groups_far_apart_are_fitted_in_their_own_units():
    rng = np.random.default_rng(7)
    groups = [rng.standard_normal((50, 2)) + 1e4, 3.0 * rng.standard_normal((80, 2)) - 1e4]
    settings = MixtureSettings(
        covariance_type="full",
        n_components=1,
        init_params="kmeans",
        reg_covar=0.1,
        n_factors=1,
        tol=1e-3,
        max_iter=10,
    )
    members = [np.arange(50), np.arange(50, 130)]
    fit = fit_in_closed_form(np.concatenate(groups), None, members, settings)
    scores = []
    for rows, mean, covariance in zip(groups, fit.components.means, fit.components.covariances):
        np.testing.assert_allclose(mean, rows.mean(axis=0), rtol=1e-14)
        truth = np.cov(rows.T, bias=True) + 0.1 * np.eye(2)
        np.testing.assert_allclose(covariance, truth, rtol=1e-9)
        scores.append(multivariate_normal(rows.mean(axis=0), truth).logpdf(rows))
    np.testing.assert_allclose(fit.components.weights, [50 / 130, 80 / 130])
    assert fit.lower_bound == pytest.approx(np.concatenate(scores).mean(), rel=1e-9)
    assert fit.converged
