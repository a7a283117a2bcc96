"""Truncated normals against high precision, quadrature, closed forms and rejection."""

import mpmath
import numpy as np
import pytest
from scipy import integrate, stats

from probgen.distributions import truncated_normal
from probgen.distributions.truncated_normal import (
    log_interval_probability,
    sample_truncated_standard_normal,
)
from probgen.gaussians import truncated
from probgen.gaussians.truncated import log_rectangle_probability, sample_truncated_normal

INF = np.inf
INTERVALS = [
    (-INF, INF),
    (-INF, 0.3),
    (-9.0, INF),
    (-40.0, -38.0),
    (30.0, 31.0),
    (35.0, INF),
    (-INF, -1000.0),
    (2.0, 2.5),
    (-0.5, 1e-3),
    (-3.0, 8.0),
    (-1e-9, 2e-9),
    (1.5, 1.5 + 1e-9),
    (-30.0 - 1e-10, -30.0),
    (1e4, 1e4 + 1e-7),
]


def exact_log_probability(low, high):
    with mpmath.workdps(80):
        low, high = (-high, -low) if low > 0.0 else (low, high)
        low, high = mpmath.mpf(low), mpmath.mpf(high)
        return float(
            mpmath.log(
                (mpmath.erfc(-high / mpmath.sqrt(2)) - mpmath.erfc(-low / mpmath.sqrt(2))) / 2
            )
        )


def exact_distribution(low, high):
    """Distribution function on [low, high] in high precision, for arrays of draws."""

    def distribution(draws):
        return np.exp(
            [
                exact_log_probability(low, z) - whole if z > low else -INF
                for z in np.atleast_1d(draws)
            ]
        )

    whole = exact_log_probability(low, high)
    return distribution


def random_covariance(m, seed):
    root = np.random.default_rng(seed).standard_normal((m, m + 1))
    return root @ root.T


def equicorrelated(m, correlation):
    return correlation + (1.0 - correlation) * np.eye(m)


def rejection_draws(mean, covariance, low, high, n_proposals, seed):
    rows = np.random.default_rng(seed).multivariate_normal(mean, covariance, n_proposals)
    return rows[np.all((rows >= low) & (rows <= high), axis=1)]


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_interval_probability_is_exact_in_tails_and_narrow_intervals(low, high):
    expected = exact_log_probability(low, high)
    np.testing.assert_allclose(
        log_interval_probability(low, high), expected, rtol=2e-14, atol=1e-300
    )


def test_interval_probability_is_elementwise_and_symmetric():
    low, high = np.array(INTERVALS).T
    together = log_interval_probability(low, high)
    alone = [log_interval_probability(*ends) for ends in INTERVALS]
    np.testing.assert_allclose(
        together, alone, rtol=1e-15
    )  # older NumPy rounds arrays otherwise than numbers
    np.testing.assert_allclose(
        together, log_interval_probability(-high, -low), rtol=1e-15, atol=1e-300
    )
    assert log_interval_probability(np.zeros((3, 1)), np.ones(4)).shape == (3, 4)


def test_interval_without_width_has_no_probability():
    assert log_interval_probability(2.0, 2.0) == -INF
    assert log_rectangle_probability([0.0, 0.0], np.eye(2), [1.0, -INF], [1.0, INF]) == -INF


@pytest.mark.parametrize(("low", "high"), INTERVALS)
def test_standard_draws_follow_the_truncated_distribution(low, high):
    draws = sample_truncated_standard_normal(np.full(2000, low), high, np.random.default_rng(0))
    assert np.all((draws >= low) & (draws <= high) & np.isfinite(draws))
    assert stats.kstest(draws, exact_distribution(low, high)).pvalue > 0.01


@pytest.mark.parametrize(("low", "high"), [(-1.0, 0.5), (-INF, -2.0), (4.0, 5.0), (-0.2, INF)])
def test_many_standard_draws_agree_with_scipy(low, high):
    draws = sample_truncated_standard_normal(np.full(200_000, low), high, np.random.default_rng(1))
    assert stats.kstest(draws, stats.truncnorm(low, high).cdf).pvalue > 0.01


def test_standard_draws_survive_the_largest_ends():
    low, high = np.array([1e200, -INF, -1e300, 5e-324]), np.array([INF, -1e150, -1e299, 1e-300])
    draws = sample_truncated_standard_normal(low, high, np.random.default_rng(0))
    assert np.all((draws >= low) & (draws <= high) & np.isfinite(draws))


@pytest.mark.parametrize(
    ("low", "high"), [(-1.0, 2.0), (-INF, 0.1), (9.0, INF), (-40.0, -39.9), (3.0, 3.0 + 1e-4)]
)
def test_moments_of_an_interval_agree_with_quadrature(low, high):
    near = max(
        low, -high, 0.0
    )  # the integrals are scaled to be near 1, where mpmath controls their error
    with mpmath.workdps(40):
        inner = np.linspace(max(low, -60.0), min(high, 60.0), 9)[1:-1]
        ends = [mpmath.mpf(float(end)) for end in (low, *inner, high)]
        powers = [
            mpmath.quad(lambda z, k=k: z**k * mpmath.exp((near**2 - z**2) / 2), ends)
            for k in range(3)
        ]
        mean = powers[1] / powers[0]
        variance = powers[2] / powers[0] - mean**2
        log_probability = (
            mpmath.log(powers[0] / mpmath.sqrt(2 * mpmath.pi)) - mpmath.mpf(near) ** 2 / 2
        )
    got = truncated_normal.truncated_moments(np.array(low), np.array(high))
    np.testing.assert_allclose(
        got, [float(log_probability), float(mean), float(variance)], rtol=1e-12
    )


@pytest.mark.parametrize("correlation", [-0.999, -0.5, 0.2, 0.9, 0.99999])
def test_orthant_of_two_features(correlation):
    got = log_rectangle_probability(
        np.zeros(2), equicorrelated(2, correlation), np.zeros(2), np.full(2, INF)
    )
    assert np.exp(got) == pytest.approx(0.25 + np.arcsin(correlation) / (2.0 * np.pi), rel=1e-5)


def test_orthant_of_three_features():
    covariance = np.array([[1.0, 0.3, -0.6], [0.3, 1.0, 0.4], [-0.6, 0.4, 1.0]])
    expected = 0.125 + np.arcsin([0.3, -0.6, 0.4]).sum() / (4.0 * np.pi)
    scale = np.array([1e-3, 1.0, 50.0])
    got = log_rectangle_probability(
        np.zeros(3), covariance * np.outer(scale, scale), np.full(3, -INF), np.zeros(3)
    )
    assert np.exp(got) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("m", range(2, 11))
def test_orthant_of_half_correlated_features(m):
    got = log_rectangle_probability(
        np.zeros(m), equicorrelated(m, 0.5), np.zeros(m), np.full(m, INF)
    )
    assert np.exp(got) == pytest.approx(1.0 / (m + 1), rel=5e-4)


@pytest.mark.parametrize(
    ("mean", "correlation", "low", "high"),
    [
        ((0.3, -1.0), 0.8, (-0.5, -2.0), (1.0, 0.5)),
        ((0.0, 0.0), -0.95, (1.0, 0.5), (INF, 2.0)),
        ((0.0, 0.0), 0.6, (12.0, -INF), (INF, 1.0)),
        ((0.0, 0.0), -0.7, (18.0, 20.0), (19.0, INF)),
    ],
)
def test_rectangle_of_two_features_agrees_with_quadrature(mean, correlation, low, high):
    covariance = equicorrelated(2, correlation)
    spread = np.sqrt(1.0 - correlation**2)
    with mpmath.workdps(30):

        def slice_density(x):
            shift = mean[1] + correlation * (x - mean[0])
            start, stop = (mpmath.mpf(end - shift) / spread for end in (low[1], high[1]))
            start, stop = (-stop, -start) if start > 0 else (start, stop)
            return (
                mpmath.npdf(x - mean[0])
                * (mpmath.erfc(-stop / mpmath.sqrt(2)) - mpmath.erfc(-start / mpmath.sqrt(2)))
                / 2
            )

        ends = np.linspace(low[0], min(high[0], low[0] + 12.0), 13)
        expected = float(mpmath.log(mpmath.quad(slice_density, ends)))
    got = log_rectangle_probability(mean, covariance, low, high)
    assert got == pytest.approx(expected, abs=1e-5)


def test_rectangle_of_three_features_agrees_with_quadrature():
    mean, covariance = np.array([0.5, 0.0, -0.5]), random_covariance(3, seed=2)
    low, high = np.array([-1.0, 0.0, -2.0]), np.array([2.0, 1.5, 1.0])
    nodes, weights = np.polynomial.legendre.leggauss(40)
    points = [0.5 * (a + b) + 0.5 * (b - a) * nodes for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*points, indexing="ij"), axis=-1)
    density = stats.multivariate_normal(mean, covariance).pdf(grid)
    expected = np.einsum("ijk,i,j,k->", density, weights, weights, weights) * np.prod(
        0.5 * (high - low)
    )
    assert np.exp(log_rectangle_probability(mean, covariance, low, high)) == pytest.approx(
        expected, rel=1e-5
    )


@pytest.mark.parametrize("m", [4, 7])
def test_rectangle_of_more_features_agrees_with_scipy(m):
    mean, covariance = np.linspace(-1.0, 1.0, m), random_covariance(m, seed=m)
    low, high = np.full(m, -2.0), np.full(m, 2.5)
    low[1] = -INF
    normal = stats.multivariate_normal(mean, covariance, seed=np.random.default_rng(0))
    normal.maxpts, normal.abseps, normal.releps = 1_000_000, 1e-7, 1e-7
    expected = normal.cdf(high, lower_limit=low)
    assert np.exp(log_rectangle_probability(mean, covariance, low, high)) == pytest.approx(
        expected, rel=2e-4
    )


@pytest.mark.parametrize("threshold", [2.0, 10.0, 25.0, 100.0])
def test_rare_orthant_agrees_with_one_dimensional_quadrature(threshold):
    """Features sqrt(rho) s + sqrt(1 - rho) e_j above a threshold: given s they are independent."""
    m, correlation = 6, 0.4
    with mpmath.workdps(30):

        def given_common(s):
            tail = (
                mpmath.erfc(
                    (threshold - mpmath.sqrt(correlation) * s) / mpmath.sqrt(2 * (1 - correlation))
                )
                / 2
            )
            return mpmath.npdf(s) * tail**m

        mode = threshold * m * np.sqrt(correlation) / (1.0 - correlation + m * correlation)
        expected = float(
            mpmath.log(mpmath.quad(given_common, np.linspace(mode - 9.0, mode + 9.0, 19)))
        )
    got = log_rectangle_probability(
        np.zeros(m), equicorrelated(m, correlation), np.full(m, threshold), np.full(m, INF)
    )
    assert got == pytest.approx(expected, abs=1e-4)


def test_independent_features_multiply():
    low, high = np.array([30.0, -1.0, -INF, 2.0]), np.array([31.0, 1.0, 5.0, INF])
    mean, scale = np.array([1.0, 0.0, 2.0, 3.0]), np.array([1.0, 2.0, 0.1, 4.0])
    got = log_rectangle_probability(mean, np.diag(scale**2), low, high)
    assert got == pytest.approx(
        log_interval_probability((low - mean) / scale, (high - mean) / scale).sum(), rel=1e-14
    )


def test_open_features_are_marginalised():
    mean, covariance = np.arange(4.0), random_covariance(4, seed=0)
    low, high = np.array([-INF, 0.0, -INF, 1.0]), np.array([INF, 2.0, INF, INF])
    kept = [1, 3]
    expected = log_rectangle_probability(
        mean[kept], covariance[np.ix_(kept, kept)], low[kept], high[kept]
    )
    assert log_rectangle_probability(mean, covariance, low, high) == pytest.approx(
        expected, rel=1e-12
    )
    assert log_rectangle_probability(mean, covariance, np.full(4, -INF), np.full(4, INF)) == 0.0


def test_rectangle_probability_is_deterministic():
    problem = (np.zeros(5), random_covariance(5, seed=1), np.zeros(5), np.full(5, 2.0))
    first = log_rectangle_probability(*problem)
    truncated._sobol_points.cache_clear()
    assert log_rectangle_probability(*problem) == first


@pytest.mark.parametrize(
    ("m", "low", "high"),
    [(2, -0.5, 1.0), (3, 0.3, INF), (5, -1.0, 2.0), (5, -INF, 0.4)],
)
def test_draws_agree_with_rejection_from_the_normal(m, low, high):
    mean, covariance = np.linspace(-0.5, 0.5, m), random_covariance(m, seed=10 + m)
    low, high = np.full(m, low), np.full(m, high)
    rows = sample_truncated_normal(mean, covariance, low, high, 20_000, np.random.default_rng(0))
    assert rows.shape == (20_000, m)
    assert np.all((rows >= low) & (rows <= high))
    reference = rejection_draws(mean, covariance, low, high, 400_000, seed=1)
    contrast = np.random.default_rng(2).standard_normal((m, m))
    for direction in [*np.eye(m), *contrast]:
        assert stats.ks_2samp(rows @ direction, reference @ direction).pvalue > 1e-3


def test_partly_open_rows_agree_with_rejection():
    mean, covariance = np.array([1.0, 0.0, -1.0, 2.0]), random_covariance(4, seed=4)
    low, high = np.array([-INF, 0.5, -INF, 0.0]), np.array([INF, 2.0, INF, INF])
    rows = sample_truncated_normal(mean, covariance, low, high, 20_000, np.random.default_rng(0))
    reference = rejection_draws(mean, covariance, low, high, 300_000, seed=1)
    contrast = np.random.default_rng(2).standard_normal((4, 4))
    for direction in [*np.eye(4), *contrast]:
        assert stats.ks_2samp(rows @ direction, reference @ direction).pvalue > 1e-3


def test_rows_far_in_the_tail_have_the_marginals_of_quadrature():
    correlation, low, high = 0.6, np.array([8.0, -1.0]), np.array([9.0, INF])
    rows = sample_truncated_normal(
        np.zeros(2), equicorrelated(2, correlation), low, high, 20_000, np.random.default_rng(0)
    )
    assert np.all((rows >= low) & (rows <= high))
    x = np.linspace(8.0, 9.0, 2001)
    tail = stats.norm.sf((low[1] - correlation * x) / np.sqrt(1.0 - correlation**2))
    cumulative = integrate.cumulative_simpson(np.exp(32.0 - 0.5 * x**2) * tail, x=x, initial=0.0)
    assert (
        stats.kstest(rows[:, 0], lambda q: np.interp(q, x, cumulative / cumulative[-1])).pvalue
        > 0.01
    )
    residual = (rows[:, 1] - correlation * rows[:, 0]) / np.sqrt(1.0 - correlation**2)
    assert stats.kstest(residual, "norm").pvalue > 0.01  # here the second interval hardly binds


def test_moments_of_a_wedge_agree_with_quadrature():
    """Opposite constraints on strongly dependent features, log probability about -300."""
    correlation, low, high = 0.9, np.array([7.0, -INF]), np.array([INF, -4.0])
    rows = sample_truncated_normal(
        np.zeros(2), equicorrelated(2, correlation), low, high, 50_000, np.random.default_rng(3)
    )
    spread = np.sqrt(1.0 - correlation**2)
    x = np.linspace(7.0, 7.5, 4001)
    weight = np.exp(
        stats.norm.logpdf(x) + stats.norm.logcdf((-4.0 - correlation * x) / spread) + 300.0
    )
    total = integrate.simpson(weight, x=x)
    mean = integrate.simpson(weight * x, x=x) / total
    variance = integrate.simpson(weight * (x - mean) ** 2, x=x) / total
    assert log_rectangle_probability(
        np.zeros(2), equicorrelated(2, correlation), low, high
    ) == pytest.approx(np.log(total) - 300.0, abs=1e-5)
    assert rows[:, 0].mean() == pytest.approx(mean, abs=4.0 * np.sqrt(variance / len(rows)))
    assert rows[:, 0].var() == pytest.approx(variance, rel=0.05)


def test_draws_reveal_the_rectangle_probability():
    """The share of draws in part of a box is a ratio of rectangle probabilities."""
    m = 8
    covariance, low, high = random_covariance(m, seed=5), np.full(m, 1.0), np.full(m, INF)
    rows = sample_truncated_normal(
        np.zeros(m), covariance, low, high, 40_000, np.random.default_rng(0)
    )
    for j in range(m):
        cut = np.median(rows[:, j])
        part = high.copy()
        part[j] = cut
        share = np.exp(
            log_rectangle_probability(np.zeros(m), covariance, low, part)
            - log_rectangle_probability(np.zeros(m), covariance, low, high)
        )
        assert np.mean(rows[:, j] <= cut) == pytest.approx(
            share, abs=4.0 * 0.5 / np.sqrt(len(rows))
        )


def test_draws_repeat_with_the_generator_and_are_distinct():
    problem = (np.zeros(3), random_covariance(3, seed=0), np.full(3, -1.0), np.ones(3), 500)
    first = sample_truncated_normal(*problem, np.random.default_rng(7))
    np.testing.assert_array_equal(
        sample_truncated_normal(*problem, np.random.default_rng(7)), first
    )
    assert len(np.unique(first[:, 0])) == 500
    assert abs(np.corrcoef(first[:-1, 0], first[1:, 0])[0, 1]) < 0.15


def test_nearly_and_exactly_singular_covariances():
    truth = stats.truncnorm(0.5, 1.0)
    for correlation in (1.0 - 1e-10, 1.0):
        covariance = equicorrelated(2, correlation)
        low, high = np.array([0.0, 0.5]), np.array([1.0, 2.0])
        expected = np.log(stats.norm.cdf(1.0) - stats.norm.cdf(0.5))
        assert log_rectangle_probability(np.zeros(2), covariance, low, high) == pytest.approx(
            expected, abs=1e-3
        )
        rows = sample_truncated_normal(
            np.zeros(2), covariance, low, high, 5000, np.random.default_rng(0)
        )
        assert np.all((rows >= low) & (rows <= high))
        assert np.abs(rows[:, 0] - rows[:, 1]).max() < 1e-4
        assert stats.kstest(rows[:, 0], truth.cdf).pvalue > 0.01


def test_feature_of_tiny_or_no_conditional_variance():
    loading = np.array([1.0, 2.0, -1.0])
    covariance = np.outer(loading, loading) + np.diag([1.0, 1e-12, 1e-10])
    low, high = np.array([-INF, 0.5, -INF]), np.array([1.0, INF, 0.0])
    rows = sample_truncated_normal(
        np.zeros(3), covariance, low, high, 2000, np.random.default_rng(0)
    )
    assert np.all((rows >= low) & (rows <= high))
    np.testing.assert_allclose(rows[:, 1], -2.0 * rows[:, 2], atol=2e-4)
    fixed = sample_truncated_normal(
        [3.0, 0.0], np.diag([0.0, 1.0]), [2.0, 0.0], [4.0, 1.0], 10, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(fixed[:, 0], 3.0)


def test_draws_at_the_edges_of_use():
    covariance = random_covariance(3, seed=0)
    generator = np.random.default_rng(0)
    free = np.full(3, -INF), np.full(3, INF)
    assert sample_truncated_normal(
        np.zeros(3), covariance, np.zeros(3), np.ones(3), 0, generator
    ).shape == (0, 3)
    rows = sample_truncated_normal(np.zeros(3), covariance, *free, 50_000, generator)
    np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.05 * np.trace(covariance))
    narrow = 0.1 + 1e-13 * np.arange(3), 0.1 + 1e-13 * np.arange(1, 4)
    rows = sample_truncated_normal(np.zeros(3), covariance, *narrow, 100, generator)
    assert np.all((rows >= narrow[0]) & (rows <= narrow[1]))


def test_conditioning_on_a_value_is_an_interval_without_width():
    """x1 in [0, 1] given x0 = 2, correlation 0.8: a truncated N(1.6, 0.6^2)."""
    rows = sample_truncated_normal(
        np.zeros(2), equicorrelated(2, 0.8), [2.0, 0.0], [2.0, 1.0], 5000, np.random.default_rng(0)
    )
    np.testing.assert_array_equal(rows[:, 0], 2.0)
    assert stats.kstest(rows[:, 1], stats.truncnorm(-1.6 / 0.6, -1.0, 1.6, 0.6).cdf).pvalue > 0.01


def test_intervals_that_contradict_the_covariance_are_refused():
    sum_of_two = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 2.0]])
    low, high = [0.0, 0.0, -2.0], [1.0, 1.0, -1.0]
    assert log_rectangle_probability(np.zeros(3), sum_of_two, low, high) < -1e10
    with pytest.raises(RuntimeError, match=r"5 rows must be drawn .* widen some intervals"):
        sample_truncated_normal(np.zeros(3), sum_of_two, low, high, 5, np.random.default_rng(0))


def test_draws_give_up_after_their_allowance(monkeypatch):
    monkeypatch.setattr(truncated, "FREE_PROPOSALS", 0)
    monkeypatch.setattr(truncated, "PROPOSALS_PER_DRAW", 1)
    monkeypatch.setattr(truncated, "MAX_BATCH", 10)
    problem = (np.zeros(5), random_covariance(5, seed=1), np.full(5, -1.0), np.ones(5))
    with pytest.raises(RuntimeError, match="failed after 100 proposals for 5 dependent features"):
        sample_truncated_normal(*problem, 100, np.random.default_rng(0))


@pytest.mark.parametrize(("low", "high"), [(1.0, 0.0), (np.nan, 1.0), (INF, INF), (-INF, -INF)])
def test_bad_intervals_are_named(low, high):
    with pytest.raises(ValueError, match="low must be <= high"):
        log_interval_probability([0.0, low], [1.0, high])
    with pytest.raises(ValueError, match="low must be <= high"):
        sample_truncated_standard_normal(low, high, np.random.default_rng(0))
    with pytest.raises(ValueError, match="low must be <= high"):
        log_rectangle_probability([0.0, 0.0], np.eye(2), [0.0, low], [1.0, high])


def test_bad_shapes_are_named():
    generator = np.random.default_rng(0)
    with pytest.raises(ValueError, match=r"mean must be a finite vector"):
        log_rectangle_probability([[0.0]], np.eye(1), [0.0], [1.0])
    with pytest.raises(ValueError, match=r"covariance must be a finite matrix of shape \(2, 2\)"):
        sample_truncated_normal([0.0, 0.0], np.eye(3), [0.0, 0.0], [1.0, 1.0], 1, generator)
    with pytest.raises(ValueError, match=r"low and high must have shape \(2,\)"):
        sample_truncated_normal([0.0, 0.0], np.eye(2), [0.0], [1.0, 1.0], 1, generator)
