"""Families of numbers: densities add up to one, follow SciPy's, and M-steps maximise."""

import functools
import itertools

import numpy as np
import pytest
from scipy import stats
from scipy.integrate import quad
from scipy.optimize import minimize

from probgen.mixtures.families.base import Values
from probgen.mixtures.families.tails import Tail, fit_tail
from probgen.mixtures.layout import make_family
from probgen.mixtures.numerics import ascend, interval_moments
from probgen.mixtures.statistics import Histogram, MixtureStatistics
from probgen.tables.columns import Feature

RNG = np.random.default_rng(0)
N_ROWS = 600
LEVELS = np.linspace(0.0, 1.0, 9)[1:-1]
WHOLE = {  # draws, and supports as whole numbers of a table have them
    "normal": (lambda: RNG.normal(4.0, 2.5, N_ROWS), {}),
    "normal from 0": (lambda: RNG.normal(1.0, 3.0, N_ROWS), {"low": 0.0}),
    "normal with atoms": (
        lambda: RNG.normal(4.0, 3.0, N_ROWS),
        {"low": 0.0, "high": 9.0, "atoms": (2.0, 3.0, 9.0)},
    ),
    "lognormal": (lambda: RNG.lognormal(1.0, 0.7, N_ROWS), {"low": 0.0}),
    "lognormal with atoms": (
        lambda: 5.0 + RNG.lognormal(1.5, 0.7, N_ROWS),
        {"low": 5.0, "high": 60.0, "atoms": (5.0, 8.0)},
    ),
    "poisson": (lambda: RNG.poisson(3.0, N_ROWS), {"low": 0.0}),
    "poisson without zeros": (lambda: RNG.poisson(0.7, N_ROWS), {"low": 0.0, "atoms": (0.0,)}),
    "poisson to 4": (lambda: RNG.poisson(3.0, N_ROWS), {"low": 1.0, "high": 4.0}),
    "negative_binomial": (lambda: RNG.negative_binomial(1.7, 0.3, N_ROWS), {"low": 0.0}),
    "negative_binomial with atoms": (
        lambda: RNG.negative_binomial(1.7, 0.3, N_ROWS),
        {"low": 0.0, "high": 30.0, "atoms": (0.0, 3.0)},
    ),
    "histogram": (lambda: RNG.normal(4.0, 9.0, N_ROWS), {}),
    "histogram from 0": (lambda: RNG.gamma(3.0, 9.0, N_ROWS), {"low": 0.0}),
    "histogram with atoms": (
        lambda: RNG.gamma(2.0, 5.0, N_ROWS),
        {"low": 0.0, "high": 80.0, "atoms": (2.0, 3.0, 9.0, 41.0)},
    ),
}
REAL = {
    "normal": (lambda: RNG.normal(4.0, 2.5, N_ROWS), {}),
    "normal from 0": (lambda: RNG.normal(1.0, 3.0, N_ROWS), {"low": 0.0}),
    "normal within ends": (lambda: RNG.normal(0.8, 1.0, N_ROWS), {"low": -1.0, "high": 2.0}),
    "student_t": (lambda: 3.0 + 2.0 * RNG.standard_t(4.0, N_ROWS), {}),
    "student_t from 0": (lambda: 1.0 + 2.0 * RNG.standard_t(4.0, N_ROWS), {"low": 0.0}),
    "student_t within ends": (
        lambda: 1.0 + 2.0 * RNG.standard_t(4.0, N_ROWS),
        {"low": -6.0, "high": 9.0},
    ),
    "lognormal": (lambda: RNG.lognormal(1.0, 0.7, N_ROWS), {"low": 0.0}),
    "lognormal within ends": (
        lambda: 2.0 + RNG.lognormal(1.0, 0.7, N_ROWS),
        {"low": 2.0, "high": 6.0},
    ),
    "exponential": (lambda: 1.0 + RNG.exponential(3.0, N_ROWS), {"low": 1.0}),
    "exponential within ends": (lambda: RNG.exponential(3.0, N_ROWS), {"low": 0.0, "high": 4.0}),
    "gamma": (lambda: RNG.gamma(2.5, 3.0, N_ROWS), {"low": 0.0}),
    "gamma within ends": (lambda: RNG.gamma(2.5, 3.0, N_ROWS), {"low": 0.0, "high": 9.0}),
    "histogram": (lambda: RNG.standard_t(3.0, N_ROWS), {}),
    "histogram from 0": (lambda: RNG.gamma(2.5, 3.0, N_ROWS), {"low": 0.0}),
    "histogram within ends": (lambda: RNG.uniform(-1.0, 4.0, N_ROWS), {"low": -1.0, "high": 4.0}),
    "beta": (lambda: -1.0 + 5.0 * RNG.beta(2.0, 0.7, N_ROWS), {"low": -1.0, "high": 4.0}),
}
CASES = {
    **{f"{key}, real": (*case, 0.0) for key, case in REAL.items()},
    **{f"{key}, whole": (*case, 1.0) for key, case in WHOLE.items()},
}
BINNED = [key for key in CASES if key.startswith("histogram")]
PARAMETRIC = [key for key in CASES if key not in BINNED]
TRUTHS = {  # families of SciPy by the parameters of ours
    "normal": lambda p, low: stats.norm(p["mean"], p["scale"]),
    "student_t": lambda p, low: stats.t(p["df"], p["mean"], p["scale"]),
    "lognormal": lambda p, low: stats.lognorm(p["scale_log"], low, np.exp(p["mean_log"])),
    "exponential": lambda p, low: stats.expon(low, p["mean"] - low),
    "gamma": lambda p, low: stats.gamma(p["shape"], low, p["scale"]),
    "poisson": lambda p, low: stats.poisson(p["mean"]),
    "negative_binomial": lambda p, low: stats.nbinom(
        p["size"], p["size"] / (p["size"] + p["mean"])
    ),
}


@functools.cache
def case(key):
    """A sample in the support, its family, and parameters of one component fitted to it."""
    draw, support, step = CASES[key]
    name = key.split(",")[0].split(" ")[0]
    feature = Feature(0, step=step, **support)
    x = draw().astype(float)
    if step:
        x = np.rint(x)
    x = x[(x >= feature.low) & (x <= feature.high) & ~np.isin(x, feature.atoms)]
    family = make_family(name, feature, x, np.ones(len(x)), 1e-3)
    return x, family, fitted(family, x, np.ones((len(x), 1)))


def step_of(family, x, weights, params):
    """One M-step."""
    if family.step or family.needs_values:
        values, inverse = np.unique(x, return_inverse=True)
        sums = np.zeros((len(values), weights.shape[1]))
        np.add.at(sums, inverse, weights)
        return family.estimate_from_values(values, sums, params)[0]
    return family.estimate(family.statistics(x, weights, params), params)[0]


def fitted(family, x, weights, n_steps=100):
    params = family.first_params(weights.shape[1])
    for _ in range(n_steps):
        previous = params
        params = step_of(family, x, weights, params)
        if np.allclose(params, previous, rtol=1e-9, atol=0.0):
            break
    return params


def log_prob(family, x, params):
    return family.log_prob(np.atleast_1d(x), params, family.log_z(params))


def integral(family, params, function, low, high):
    """The integral, or sum over whole numbers, of a function times the density."""

    def term(x):
        return function(x) * np.exp(log_prob(family, x, params)[:, 0])

    if family.step:
        last = np.floor(min(high, family.high, 3000.0))
        x = np.arange(np.ceil(max(low, family.low, -500.0)), last + 1.0)
        return term(x[~np.isin(x, family.atoms)]).sum()
    cuts = np.array([-np.inf, 0.5, 1.0, 2.0, 5.0, 20.0, np.inf])
    if family.name == "histogram":
        cuts = np.concatenate([cuts, family.edges])
    ends = np.unique(np.clip(cuts, max(low, family.low), min(high, family.high)))
    return sum(
        quad(lambda x: term(x)[0], a, b, epsabs=1e-11)[0] for a, b in itertools.pairwise(ends)
    )


@pytest.mark.parametrize("key", CASES)
def test_probabilities_add_up_to_one_and_intervals_have_theirs(key):
    _, family, params = case(key)
    ends = family.low, family.high
    assert integral(family, params, np.ones_like, *ends) == pytest.approx(1.0, abs=1e-7)
    for low, high in [(1.5, 3.6), (2.0, np.inf), (-np.inf, 3.0)]:
        found = family.log_interval(np.array([low]), np.array([high]), params, family.log_z(params))
        truth = integral(family, params, np.ones_like, low, high)
        assert np.exp(found[0, 0]) == pytest.approx(truth, abs=1e-7)


@pytest.mark.parametrize("key", CASES)
def test_means_are_those_of_the_density(key):
    _, family, params = case(key)
    truth = integral(family, params, lambda x: x, family.low, family.high)
    assert family.mean(params, family.log_z(params))[0] == pytest.approx(truth, rel=1e-6)


@pytest.mark.parametrize("key", PARAMETRIC)
def test_densities_are_those_of_scipy_within_the_support(key):
    x, family, params = case(key)
    if family.name == "beta":
        a, b = params[:, 0]
        truth = stats.beta(a, b, family.low, family.high - family.low).logpdf(x)
    else:
        own = {name: value[0] for name, value in family.described(params).items()}
        low = family.origin if family.name == "lognormal" else family.low
        scipy_family = TRUTHS[family.name](own, low)
        half = 0.5 * family.step
        if family.name in ("poisson", "negative_binomial"):
            truth, half = scipy_family.logpmf(x), 0.0
        elif family.step:
            truth = np.log(scipy_family.cdf(x + half) - scipy_family.cdf(x - half))
        else:
            truth = scipy_family.logpdf(x)
        first = family.low - half if half else np.nextafter(family.low, -np.inf)
        if family.name in ("poisson", "negative_binomial"):
            first = family.low - 1.0
        inside = scipy_family.cdf(family.high + half) - scipy_family.cdf(first)
        for atom in family.atoms:
            if half:
                inside -= scipy_family.cdf(atom + half) - scipy_family.cdf(atom - half)
            else:
                inside -= scipy_family.pmf(atom)
        truth = truth - np.log(inside)
    np.testing.assert_allclose(log_prob(family, x, params)[:, 0], truth, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("key", PARAMETRIC)
def test_an_m_step_never_lowers_the_likelihood_and_ends_at_its_maximum(key):
    x, family, params = case(key)
    weights = RNG.random((len(x), 3)) ** 4
    trial = family.first_params(3)
    last = -np.inf
    for _ in range(8):
        value = np.sum(weights * log_prob(family, x, trial), axis=0) / weights.sum(axis=0)
        assert np.all(value >= last - 1e-11)
        last = value
        trial = step_of(family, x, weights, trial)
    # No other parameters of one component are likelier.
    best = log_prob(family, x, params)[:, 0].mean()
    positive = np.ones(len(params), dtype=bool)
    if family.name in ("normal", "lognormal", "student_t"):
        positive[0] = False

    def cost(v):
        p = np.where(positive, np.exp(np.clip(v, -20.0, 12.0)), v)[:, None]
        return -log_prob(family, x, p)[:, 0].mean()

    start = np.where(positive, np.log(np.abs(params[:, 0])), params[:, 0])
    found = minimize(cost, start + 0.02, method="Nelder-Mead", options={"fatol": 1e-10})
    slack = 1e-6
    if key in {"student_t from 0, real", "student_t within ends, real"}:
        # The ends leave little of the tails, so that EM is slow.
        slack = 1e-3
    assert best >= -found.fun - slack


def free_numbers(family, low, high):
    """Whole numbers between two halves that are no atoms."""
    x = np.arange(low + 0.5, high)
    return x[~np.isin(x, family.atoms)]


@pytest.mark.parametrize("key", BINNED)
def test_bins_have_the_shares_of_the_rows_and_are_flat_but_for_tails(key):
    x, family, _ = case(key)
    weights = RNG.random((len(x), 2)) ** 4
    params = step_of(family, x, weights, family.first_params(2))
    described = family.described(params)
    edges = described["bin_edges"]
    counts = np.stack([np.histogram(x, edges, weights=w)[0] for w in weights.T])
    shares = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(described["bin_probabilities"], shares, rtol=1e-12)
    first, last = family.tails
    flat = slice(int(first is not None), len(edges) - 1 - int(last is not None))
    places = np.searchsorted(edges, x, side="right") - 1
    sizes = np.diff(edges)
    if family.step:
        pairs = itertools.pairwise(edges[flat.start : flat.stop + 1])
        inner = [len(free_numbers(family, a, b)) for a, b in pairs]
        sizes = np.concatenate([np.ones(flat.start), inner, [1.0]])
    is_flat = (places >= flat.start) & (places < flat.stop)
    truth = np.log(shares[:, places[is_flat]] / sizes[places[is_flat]])
    found = log_prob(family, x[is_flat], params)
    np.testing.assert_allclose(found.T, truth, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("end", [np.inf, 12.5])
@pytest.mark.parametrize("shape", [0.0, 0.4])
def test_tails_are_generalised_pareto(end, shape):
    truth = stats.genpareto(shape, 2.5, 3.0)
    tail = Tail(2.5, end, 3.0, shape)
    inside = truth.cdf(end)
    x = np.array([2.6, 4.0, 12.0])
    np.testing.assert_allclose(tail.log_prob(x, 0.0), truth.logpdf(x) - np.log(inside))
    whole = np.array([3.0, 7.0, 12.0])
    masses = (truth.cdf(whole + 0.5) - truth.cdf(whole - 0.5)) / inside
    np.testing.assert_allclose(np.exp(tail.log_prob(whole, 1.0)), masses)
    mean = quad(lambda y: y * truth.pdf(y), 2.5, end, epsabs=1e-10)[0] / inside
    assert tail.mean(0.0) == pytest.approx(mean, rel=1e-7)
    u = np.array([0.0, 0.3, 0.9])
    low, high = truth.cdf(3.0), truth.cdf(9.0)
    found = tail.quantile(u, np.full(3, 3.0), np.full(3, 9.0))
    np.testing.assert_allclose(found, truth.ppf(low + u * (high - low)))
    mirrored = Tail(-2.5, -end, 3.0, shape)
    np.testing.assert_allclose(mirrored.log_prob(-x, 0.0), tail.log_prob(x, 0.0))
    np.testing.assert_allclose(
        mirrored.quantile(1.0 - u, -np.full(3, 9.0), -np.full(3, 3.0)), -found
    )
    assert mirrored.mean(1.0) == pytest.approx(-tail.mean(1.0))


def test_means_of_whole_tails_are_sums():
    for end, shape in [(np.inf, 0.0), (40.5, 0.3), (9000.5, 0.5)]:
        tail = Tail(2.5, end, 3.0, shape)
        x = np.arange(3.0, min(end, 9001.0))
        truth = x @ np.exp(tail.log_prob(x, 1.0))
        assert tail.mean(1.0) == pytest.approx(truth, rel=1e-9)


def test_tails_are_found_where_there_are_some():
    n = 20_000
    pareto = 1.0 + np.sort(stats.genpareto(0.4, scale=2.0).rvs(n, random_state=0))
    tail = fit_tail(1.0, np.inf, pareto, np.ones(n), 0.0, 1e-3)
    assert tail.shape == pytest.approx(0.4, abs=0.05)
    assert tail.scale == pytest.approx(2.0, rel=0.05)
    doubled = fit_tail(1.0, np.inf, np.repeat(pareto, 2), np.full(2 * n, 0.5), 0.0, 1e-3)
    assert doubled.scale == pytest.approx(tail.scale, rel=1e-3)
    mirrored = fit_tail(-1.0, -np.inf, -pareto[::-1], np.ones(n), 0.0, 1e-3)
    assert (mirrored.scale, mirrored.shape) == pytest.approx((tail.scale, tail.shape))
    flat = np.linspace(0.0, 1.0, 200)
    assert fit_tail(0.0, 1.0, flat, np.ones(200), 0.0, 1e-3) is None
    assert fit_tail(0.0, 1000.0, flat, np.ones(200), 0.0, 1e-3) is not None


@pytest.mark.parametrize("key", CASES)
def test_draws_follow_the_density(key):
    _, family, params = case(key)
    log_z = family.log_z(params)
    generator = np.random.default_rng(3)
    first = max(family.low, 0.0)
    for low, high in [(-np.inf, np.inf), (first + 0.2, first + 5.4)]:
        n = 4000
        drawn = np.zeros(n, dtype=int)
        draws = family.draw(params, drawn, np.full(n, low), np.full(n, high), generator)
        assert not np.isin(draws, family.atoms).any()
        assert np.all((draws >= max(low, family.low)) & (draws <= min(high, family.high)))
        cuts = np.unique(np.quantile(draws, LEVELS, method="inverted_cdf")) + 0.5 * family.step
        below = np.concatenate([[low], cuts])
        above = np.concatenate([cuts, [high]])
        if family.step:
            below = np.concatenate([[low], cuts + 0.5])
        masses = np.exp(family.log_interval(below, above, params, log_z)[:, 0])
        counts = np.histogram(draws, np.concatenate([[-np.inf], cuts, [np.inf]]))[0]
        expected = n * masses / masses.sum()
        used = expected > 0.0
        assert counts[~used].sum() == 0
        if used.sum() > 1:
            assert stats.chisquare(counts[used], expected[used]).pvalue > 1e-4


def test_inverted_draws_follow_the_density():
    """Components far out of an interval are drawn by inversion alone."""
    for key in PARAMETRIC:
        _, family, params = case(key)
        n = 2000
        many = np.repeat(params, n, axis=1)
        first = max(family.low, 0.0)
        ends = (first + 0.2, first + 0.7 + 5.0 * family.step)
        low, high = np.full(n, ends[0]), np.full(n, ends[1])
        x = family._invert(many, low, high, np.random.default_rng(0))
        assert np.all((x >= low) & (x <= high))
        middle = np.array([0.5 * sum(ends)])
        parts = [
            family.log_interval(a, b, params, family.log_z(params))[0, 0]
            for a, b in [(low[:1], middle), (low[:1], high[:1])]
        ]
        share = np.exp(parts[0] - parts[1])
        assert abs(np.mean(x <= middle) - share) < 5.0 * np.sqrt(0.25 / n), key


@pytest.mark.parametrize("name", ["normal", "lognormal"])
def test_wide_whole_numbers_cost_a_density_and_have_the_probability_of_their_cell(name):
    x = np.rint(RNG.lognormal(12.0, 0.5, 500))
    family = make_family(name, Feature(0, step=1.0, low=0.0), x, np.ones(len(x)), 1e-3)
    params = np.array([[0.1, 0.0], [0.7, 2e-3]])
    found = log_prob(family, x, params)
    half = 0.5
    y = family.coordinate(np.stack([x - half, x + half]))[:, :, None]
    z = (y - params[0]) / params[1]
    near = np.abs(z[0, :, 0]) < 4.0
    truth = np.log(stats.norm.cdf(z[1, near, 0]) - stats.norm.cdf(z[0, near, 0]))
    log_z = family.log_z(params)
    np.testing.assert_allclose(found[near, 0] + log_z[0], truth, rtol=1e-7)


def test_moments_of_intervals_are_those_of_quadrature():
    for low, high in [(-1.0, 2.0), (0.3, 0.30001), (5.0, np.inf), (-9.0, -8.0), (20.0, 20.02)]:
        top = min(high, low + 12.0)

        def term(z, power, low=low):
            return (z - low) ** power * np.exp(-0.5 * (z * z - low * low))

        parts = [quad(term, low, top, args=(power,))[0] for power in range(3)]
        first, second = parts[1] / parts[0], parts[2] / parts[0]
        log_mass, mean, square = (
            part[0] for part in interval_moments(np.array([low]), np.array([high]))
        )
        truth = np.log(parts[0]) - 0.5 * (low**2 + np.log(2.0 * np.pi))
        assert log_mass == pytest.approx(truth, rel=1e-8)
        assert mean == pytest.approx(low + first, rel=1e-8)
        assert square == pytest.approx(low**2 + 2.0 * low * first + second, rel=1e-8)


def test_newton_climbs_where_functions_are_not_concave():
    places = np.array([[0.5, -3.0], [2.0, 1.0]])

    def hills(v):
        return -np.log1p(np.sum((v - places) ** 2, axis=0))

    np.testing.assert_allclose(ascend(hills, np.zeros((2, 2))), places, atol=1e-6)


def test_histograms_add_up_by_value():
    one = Histogram(np.array([1.0, 3.0]), np.array([[1.0], [2.0]]))
    two = Histogram(np.array([2.0, 3.0]), np.array([[5.0], [7.0]]))
    both = MixtureStatistics(np.ones(1), [one]) + MixtureStatistics(np.ones(1), [two]).scaled(2.0)
    np.testing.assert_array_equal(both.parts[0].values, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(both.parts[0].masses, [[1.0], [10.0], [16.0]])
    assert both.total == 3.0
    assert isinstance(case("gamma, real")[1], Values)
