"""Hidden Markov models against enumeration of all paths, closed forms and published fits."""

import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import chisquare, multivariate_normal, norm, poisson

from probgen import (
    GAN,
    MADE,
    BayesClassifier,
    GaussianMixture,
    HiddenMarkovModel,
    get_likelihood,
    load,
    save,
)
from probgen.markov import paths, scan
from probgen.markov.chain import Chain, ChainSettings, stationary_distribution
from probgen.plots import SequenceDisplay, StateDisplay
from probgen.sequences import from_lengths, from_list, to_lengths, to_list, windows

RNG = np.random.default_rng(0)
# Two states that stay for some steps, in two dimensions.
STATES = np.repeat(RNG.integers(2, size=(12, 4)), 5, axis=1)
STEPS = 2.5 * STATES[:, :, None] + RNG.normal(size=(12, 20, 2))
X = STEPS.reshape(12, 40)
SHAPE = (20, 2)
QUAKES = Path(os.environ.get("PROBGEN_DATA_HOME", "")) / "earthquakes.csv"


def fitted(rows=X, n_components=2, sequence_shape=SHAPE, **parameters):
    parameters = {"random_state": 0, **parameters}
    return HiddenMarkovModel(n_components, sequence_shape=sequence_shape, **parameters).fit(rows)


def small(n_components=3, **parameters):
    """A fit to sequences of four steps of one number, of which all paths can be listed."""
    rows = np.random.default_rng(1).normal(size=(40, 4)) + np.array([0.0, 1.0, 3.0, 2.0])
    return fitted(rows, n_components, None, max_iter=8, tol=0.0, **parameters)


def all_paths(model, n_steps):
    """Paths (P, T) and their log-probabilities (P,) under the chain."""
    start, transitions = model.start_probabilities_, model.transition_matrix_
    paths = np.array(list(itertools.product(range(len(start)), repeat=n_steps)))
    with np.errstate(divide="ignore"):
        logs = np.log(start)[paths[:, 0]]
        for before, after in itertools.pairwise(paths.T):
            logs = logs + np.log(transitions)[before, after]
    return paths, logs


def log_joint(model, row):
    """Paths (P, T), and the log-probability (P,) of each together with the known steps of a row."""
    paths, logs = all_paths(model, len(row))
    scales = np.sqrt(model.covariances_.ravel())
    for t in np.flatnonzero(~np.isnan(row)):
        states = paths[:, t]
        logs = logs + norm.logpdf(row[t], model.means_[states, 0], scales[states])
    return paths, logs


ROWS = np.array([[0.1, 2.0, np.nan, 1.0], [3.0, -1.0, 0.5, np.nan], [1.0, 1.0, 2.0, 2.5]])


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("transition", ["full", "left_right", "banded"])
class TestAllPaths:
    def test_likelihood_posterior_and_path(self, transition):
        model = small(transition=transition)
        posteriors = model.posterior(ROWS)
        for row, score, posterior, path in zip(
            ROWS, model.score_samples(ROWS), posteriors, model.decode(ROWS)
        ):
            paths, logs = log_joint(model, row)
            assert score == pytest.approx(np.logaddexp.reduce(logs), rel=1e-12)
            length = 4 - np.isnan(row[3])
            weights = np.exp(logs - score)
            truth = [weights @ (paths == k) for k in range(3)]
            np.testing.assert_allclose(posterior[:length], np.array(truth).T[:length], atol=1e-12)
            assert np.isnan(posterior[length:]).all()
            short, short_logs = log_joint(model, row[:length])
            np.testing.assert_array_equal(path[:length], short[np.argmax(short_logs)])
            assert (path[length:] == -1).all()
        last = posteriors[np.arange(3), [3, 2, 3]]
        np.testing.assert_allclose(model.transform(ROWS), last)
        np.testing.assert_array_equal(model.predict(ROWS), last.argmax(axis=1))

    def test_draws_given_values_and_intervals_follow_bayes_rule(self, transition):
        model = small(transition=transition)
        low, high, known = 0.0, 2.0, 1.5
        draws = model.sample(4000, given={0: (low, high), 2: known}, random_state=1)
        assert ((draws[:, 0] >= low) & (draws[:, 0] <= high)).all()
        assert (draws[:, 2] == known).all()
        means, scales = model.means_.ravel(), np.sqrt(model.covariances_.ravel())
        paths, logs = log_joint(model, np.array([np.nan, np.nan, known, np.nan]))

        def mass(t, low, high):  # of an interval of step t, along each path
            ends = (np.array([[low], [high]]) - means) / scales
            return np.diff(norm.cdf(ends), axis=0)[0][paths[:, t]]

        weights = np.exp(logs) * mass(0, low, high)
        weights /= weights.sum()
        edges = np.array([-np.inf, -0.5, 0.5, 1.5, 2.5, 3.5, np.inf])
        for t in (1, 3):
            shares = [weights @ mass(t, *ends) for ends in itertools.pairwise(edges)]
            counts = np.histogram(draws[:, t], edges)[0]
            assert chisquare(counts, 4000 * np.array(shares)).pvalue > 1e-3
        middle = weights @ (mass(0, 0.0, 1.0) / mass(0, low, high))
        assert np.mean(draws[:, 0] < 1.0) == pytest.approx(middle, abs=0.03)

    def test_gaps_are_filled_with_means(self, transition):
        model = small(transition=transition)
        filled = model.impute(ROWS)
        for row, values in zip(ROWS, filled):
            paths, logs = log_joint(model, row)
            weights = np.exp(logs - np.logaddexp.reduce(logs))
            means = weights @ model.means_[paths, 0]
            np.testing.assert_allclose(values, np.where(np.isnan(row), means, row), rtol=1e-10)

    def test_what_is_impossible_stays_so(self, transition):
        model = small(4, transition=transition)
        allowed = ChainSettings(transition, "free", None, 0.0, 0.0).allowed(4)
        assert (model.transition_matrix_[~allowed] == 0.0).all()
        np.testing.assert_allclose(model.transition_matrix_.sum(axis=1), 1.0)
        if transition == "left_right":
            np.testing.assert_array_equal(model.start_probabilities_, [1.0, 0.0, 0.0, 0.0])
            assert (np.diff(model.decode(ROWS[2:])) >= 0).all()


def random_chain(transition, n_states, rng):
    return ChainSettings(transition, "free", None, 0.0, 0.0).first(n_states, rng)


@pytest.mark.parametrize("transition", ["full", "left_right", "banded"])
@pytest.mark.parametrize("pieces", [2, 3, 7])
def test_pieces_give_what_whole_sequences_give(transition, pieces):
    rng = np.random.default_rng(2)
    chain = random_chain(transition, 3, rng)
    log_b = 3.0 * rng.normal(size=(20, 4, 3))
    weights = rng.random((20, 4))
    whole = scan.smooth(chain, log_b.copy(), weights, 1)
    cut = scan.smooth(chain, log_b.copy(), weights, pieces)
    np.testing.assert_allclose(cut.log_likelihood, whole.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(cut.posterior, whole.posterior, atol=1e-12)
    np.testing.assert_allclose(cut.transitions, whole.transitions, atol=1e-12)
    np.testing.assert_allclose(
        scan.log_likelihoods(chain, log_b.copy(), pieces), whole.log_likelihood, rtol=1e-12
    )
    lengths = np.array([20, 13, 1, 20])
    truth = paths.viterbi(chain, log_b, lengths, 1)
    np.testing.assert_array_equal(paths.viterbi(chain, log_b, lengths, pieces), truth)


@pytest.mark.parametrize("stay", [0.5, 0.999999])
def test_long_pieces_start_where_those_before_end(stay):
    # The first chain forgets its past within a piece; what the other does long ago matters.
    rng = np.random.default_rng(12)
    chain = Chain(np.array([0.9, 0.1]), np.array([[stay, 1.0 - stay], [1.0 - stay, stay]]))
    log_b = 1e-3 * rng.normal(size=(600, 2, 2))
    weights = rng.random((600, 2))
    whole = scan.smooth(chain, log_b.copy(), weights, 1)
    cut = scan.smooth(chain, log_b.copy(), weights, 4)
    np.testing.assert_allclose(cut.log_likelihood, whole.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(cut.posterior, whole.posterior, atol=1e-11)
    np.testing.assert_allclose(cut.transitions, whole.transitions, rtol=1e-10)


@pytest.mark.parametrize("pieces", [1, 10])
def test_a_state_that_seemed_impossible_may_win(pieces):
    # The first state falls e^-800 behind, and only then the steps speak for it.
    chain = Chain(np.array([0.5, 0.5]), np.array([[1.0, 0.0], [0.0, 1.0]]))
    log_b = np.zeros((900, 1, 2))
    log_b[:400, :, 1] = 2.0
    log_b[400:, :, 0] = 3.0
    found = scan.smooth(chain, log_b, pieces=pieces)
    assert found.log_likelihood[0] == pytest.approx(np.log(0.5) + 1500.0, rel=1e-12)
    np.testing.assert_allclose(found.posterior[:, 0, 0], 1.0)


def test_one_state_is_the_closed_form():
    rows = X.copy()
    rows[0, 30:] = np.nan
    steps = from_lengths(*to_lengths(rows, 2))[~np.isnan(rows).all(axis=1)].reshape(-1, 2)
    steps = steps[~np.isnan(steps[:, 0])]
    model = fitted(rows, 1, covariance_type="full", reg_covar=0.0)
    np.testing.assert_allclose(model.means_[0], steps.mean(axis=0))
    np.testing.assert_allclose(model.covariances_[0], np.cov(steps.T, bias=True))
    truth = multivariate_normal(steps.mean(axis=0), np.cov(steps.T, bias=True)).logpdf(STEPS)
    np.testing.assert_allclose(model.score_samples(X), truth.sum(axis=1))
    later = fitted(rows[:5], 1, covariance_type="full", reg_covar=0.0).partial_fit(rows[5:])
    np.testing.assert_allclose(later.covariances_, model.covariances_)


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_an_iteration_is_that_of_baum_and_welch():
    rows = np.random.default_rng(3).normal(size=(5, 4))
    rows[3, 2:] = np.nan  # a short sequence
    rows[4, 1] = np.nan  # a gap
    before = fitted(rows, 2, None, max_iter=3, tol=0.0, reg_covar=0.0)
    after = fitted(rows, 2, None, max_iter=4, tol=0.0, reg_covar=0.0)
    posterior, pairs = np.zeros((5, 4, 2)), np.zeros((2, 2))
    for i, length in enumerate([4, 4, 4, 2, 4]):
        paths, logs = log_joint(before, rows[i, :length])
        weights = np.exp(logs - np.logaddexp.reduce(logs))
        for k in range(2):
            posterior[i, :length, k] = weights @ (paths == k)
        for t in range(length - 1):
            np.add.at(pairs, (paths[:, t], paths[:, t + 1]), weights)
    np.testing.assert_allclose(after.start_probabilities_, posterior[:, 0].mean(axis=0))
    posterior[np.isnan(rows)] = 0.0
    values = np.nan_to_num(rows)
    counts = posterior.sum(axis=(0, 1))
    means = np.einsum("ntk,nt->k", posterior, values) / counts
    squares = (values[:, :, None] - means) ** 2
    np.testing.assert_allclose(
        after.transition_matrix_, pairs / pairs.sum(axis=1, keepdims=True), rtol=1e-9
    )
    np.testing.assert_allclose(after.means_.ravel(), means)
    variances = np.einsum("ntk,ntk->k", posterior, squares) / counts
    np.testing.assert_allclose(after.covariances_.ravel(), variances)


SETTINGS = [
    {"covariance_type": "full"},
    {"covariance_type": "tied"},
    {"covariance_type": "spherical"},
    {"transition": "left_right"},
    {"transition": "banded", "n_components": 3},
    {"start": "stationary"},
    {"emission": "mixture", "n_mixture": 2},
    {"emission": "mixture", "covariance_type": "tied"},
    {"emission": "student_t"},
    {"emission": ["normal", "student_t"]},
]


@pytest.mark.filterwarnings("ignore:.*did not converge")
@pytest.mark.parametrize("parameters", SETTINGS, ids=str)
def test_likelihood_rises_with_gaps_and_short_sequences(parameters, tmp_path):
    rows = np.where(np.random.default_rng(4).random(X.shape) < 0.1, np.nan, X)
    rows[:3, 24:] = np.nan
    model = fitted(rows, reg_covar=0.0, max_iter=12, tol=0.0, **parameters)
    assert np.all(np.diff(model.lower_bounds_) > -1e-8)
    assert np.isfinite(model.score_samples(rows)).all()
    assert not np.isnan(model.impute(rows)).any()
    model.sample(2)
    save(model, tmp_path / "model.probgen")
    twin = load(tmp_path / "model.probgen")
    np.testing.assert_array_equal(twin.score_samples(rows), model.score_samples(rows))
    np.testing.assert_array_equal(twin.sample(2), model.sample(2))
    levels = model.forecast(rows, 3, quantiles=[0.1, 0.5, 0.9])
    assert levels.shape == (3, 12, 6)
    assert (np.diff(levels, axis=0) > 0.0).all()


@pytest.mark.skipif(not QUAKES.exists(), reason="PROBGEN_DATA_HOME has no earthquakes.csv")
@pytest.mark.parametrize("start, truth", [("free", 328.5275), ("stationary", 329.4603)])
def test_published_fits_to_earthquakes(start, truth):
    # Zucchini & MacDonald, Hidden Markov Models for Time Series, 2009, of three Poisson states.
    counts = np.genfromtxt(QUAKES, delimiter=",", names=True)["count"][None]
    model = HiddenMarkovModel(
        3, emission="poisson", start=start, tol=1e-9, max_iter=500, random_state=0
    ).fit(counts)
    assert -model.score(counts) == pytest.approx(truth, abs=6e-5)
    means = np.sort(model.parameters_[0]["mean"])
    np.testing.assert_allclose(means, [13.1, 19.7, 29.7], atol=0.1)
    if start == "stationary":
        transitions = model.transition_matrix_
        np.testing.assert_allclose(
            model.start_probabilities_ @ transitions, model.start_probabilities_, atol=1e-9
        )


class TestCounts:
    ROWS = np.random.default_rng(5).poisson(np.repeat([1.0, 9.0, 1.0], 2), size=(30, 6)) * 1.0

    def test_probabilities_sum_to_one(self):
        model = fitted(self.ROWS[:, :2], 2, None, emission="poisson")
        pairs = np.array(list(itertools.product(range(60), repeat=2)), dtype=float)
        assert np.exp(model.score_samples(pairs)).sum() == pytest.approx(1.0, abs=1e-9)
        assert get_likelihood(model).measure == "counting"

    def test_draws_given_an_interval_and_a_set(self):
        model = fitted(self.ROWS, 2, None, emission="poisson")
        draws = model.sample(3000, given={2: (4, None), 5: {0, 3}}, random_state=0)
        assert (draws[:, 2] >= 4.0).all()
        assert np.isin(draws[:, 5], [0.0, 3.0]).all()
        paths, logs = all_paths(model, 6)
        means = model.parameters_[0]["mean"]
        weights = np.exp(logs) * poisson.sf(3, means)[paths[:, 2]]
        at = poisson.pmf(np.array([[0], [3]]), means)[:, paths[:, 5]]  # (2, P)
        share = (weights @ at[0]) / (weights @ at.sum(axis=0))
        assert np.mean(draws[:, 5] == 0.0) == pytest.approx(share, abs=0.03)

    def test_forecast_is_the_mixture_at_each_step(self):
        model = fitted(self.ROWS, 2, None, emission="poisson")
        states = model.transform(self.ROWS[:1])
        means = model.parameters_[0]["mean"]
        future = model.forecast(self.ROWS[:1], 2)[0]
        medians = model.forecast(self.ROWS[:1], 2, quantiles=0.5)[0]
        for mean, median in zip(future, medians):
            states = states @ model.transition_matrix_
            assert mean == pytest.approx((states @ means)[0])
            assert poisson.cdf(median, means) @ states[0] >= 0.5
            assert poisson.cdf(median - 1.0, means) @ states[0] < 0.5

    def test_a_negative_count_is_refused(self):
        with pytest.raises(ValueError, match="needs whole numbers >= 0"):
            fitted(-self.ROWS - 1.0, 2, None, emission="poisson")


@pytest.mark.filterwarnings("ignore:.*did not converge")
def test_categories_are_baum_and_welchs_own():
    rng = np.random.default_rng(6)
    rows = rng.integers(3, size=(6, 4)).astype(float)
    parameters = {"emission": "categorical", "smoothing": 0.0, "tol": 0.0}
    before = fitted(rows, 2, None, max_iter=3, **parameters)
    after = fitted(rows, 2, None, max_iter=4, **parameters)
    levels = before.parameters_[0]["probabilities"]  # (K, L)
    posterior = np.zeros((6, 4, 2))
    for row, own in zip(rows.astype(int), posterior):
        paths, logs = all_paths(before, 4)
        weights = np.exp(logs) * np.prod(levels[paths, row], axis=1)
        for k in range(2):
            own[:, k] = weights @ (paths == k) / weights.sum()
    np.testing.assert_allclose(before.posterior(rows), posterior, atol=1e-12)
    counts = np.einsum("ntk,ntl->kl", posterior, rows[:, :, None] == np.arange(3))
    truth = counts / counts.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(after.parameters_[0]["probabilities"], truth, rtol=1e-9)
    assert np.isin(before.sample(20, given={1: {0, 2}})[:, 1], [0.0, 2.0]).all()
    grid = np.array(list(itertools.product(range(3), repeat=4)), dtype=float)
    assert np.exp(after.score_samples(grid)).sum() == pytest.approx(1.0, abs=1e-12)


def test_unequal_lengths_equal_separate_sequences():
    rows = X.copy()
    rows[0, 12:] = np.nan
    rows[5, 30:] = np.nan
    model = fitted(rows)
    alone = HiddenMarkovModel(2, sequence_shape=(6, 2), max_iter=0).fit(X[:, :12])
    for name in ("start_probabilities_", "transition_matrix_", "means_", "covariances_"):
        setattr(alone, name, getattr(model, name))
    np.testing.assert_allclose(model.score_samples(rows[:1]), alone.score_samples(rows[:1, :12]))
    np.testing.assert_array_equal(model.predict(rows[:1]), alone.predict(rows[:1, :12]))
    wider = fitted(np.hstack([rows, np.full((12, 4), np.nan)]), sequence_shape=(22, 2))
    np.testing.assert_allclose(wider.transition_matrix_, model.transition_matrix_, rtol=1e-12)
    np.testing.assert_allclose(wider.lower_bound_, model.lower_bound_, rtol=1e-12)


@pytest.mark.parametrize("transition", ["full", "left_right"])
def test_weights_equal_repeats(transition):
    weights = np.random.default_rng(7).integers(0, 3, size=12)
    model = HiddenMarkovModel(2, sequence_shape=SHAPE, transition=transition, random_state=0)
    weighted = model.fit(X, sample_weight=weights).score_samples(X)
    repeated = model.fit(np.repeat(X, weights, axis=0)).score_samples(X)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-9)


def test_a_long_sequence_does_not_underflow():
    rng = np.random.default_rng(8)
    chain = np.cumsum(rng.random(100_000) < 0.01) % 2
    series = (3.0 * chain + rng.normal(size=100_000))[None]
    model = HiddenMarkovModel(2, random_state=0).fit(series)
    np.testing.assert_allclose(np.sort(model.means_.ravel()), [0.0, 3.0], atol=0.05)
    np.testing.assert_allclose(np.diag(model.transition_matrix_), 0.99, atol=0.002)
    # Entropies of the noise and of the chain, which the steps tell almost surely.
    entropy = 0.5 * np.log(2.0 * np.pi * np.e) - 0.01 * np.log(0.01) - 0.99 * np.log(0.99)
    assert model.score(series) / 100_000 == pytest.approx(-entropy, abs=0.02)
    assert np.mean((model.posterior(series)[0, :, np.argmax(model.means_)] > 0.5) == chain) > 0.98


def test_a_classifier_of_sequences():
    rng = np.random.default_rng(9)
    labels = np.arange(40) % 2
    lengths = np.where(labels, 2, 8)  # how long a state lasts
    states = (np.arange(24) // lengths[:, None]) % 2
    rows = 3.0 * states + rng.normal(size=(40, 24))
    model = BayesClassifier(HiddenMarkovModel(2), random_state=0).fit(rows[:20], labels[:20])
    assert (model.predict(rows[20:]) == labels[20:]).all()
    drawn, classes = model.sample(50, given={0: (1.0, None)}, return_y=True, random_state=0)
    assert (drawn[:, 0] >= 1.0).all()
    assert set(classes) == {0, 1}


def test_a_classifier_of_pen_strokes(data_file):
    with np.load(data_file("adbench_pendigits.npz")) as file:
        strokes, is_zero = file["X"], file["y"]
    members = np.append(np.flatnonzero(is_zero), np.flatnonzero(is_zero == 0)[:300])
    noise = np.random.default_rng(0).random((len(members), 16))
    rows, labels = 100.0 * strokes[members] + noise, is_zero[members]
    train, test = np.arange(len(rows)) % 3 > 0, np.arange(len(rows)) % 3 == 0
    chain = HiddenMarkovModel(8, sequence_shape=(8, 2), covariance_type="full")
    for base in (chain, GaussianMixture(2)):
        model = BayesClassifier(base, random_state=0).fit(rows[train], labels[train])
        assert np.mean(model.predict(rows[test]) == labels[test]) > 0.95
    halves = np.where(np.arange(16) < 12, rows, np.nan)  # the pen has not come to its end
    model = BayesClassifier(chain, random_state=0).fit(rows[train], labels[train])
    assert np.mean(model.predict(halves[test]) == labels[test]) > 0.9


def test_quantiles_of_a_forecast_are_those_of_the_mixture():
    model = fitted(covariance_type="full")
    states = model.transform(X) @ model.transition_matrix_
    scales = np.sqrt(np.diagonal(model.covariances_, axis1=1, axis2=2))  # (K, d)
    for level, values in zip([0.05, 0.7], model.forecast(X, quantiles=[0.05, 0.7])):
        z = (values[:, None, :] - model.means_) / scales
        reached = np.einsum("nk,nkd->nd", states, norm.cdf(z))
        np.testing.assert_allclose(reached, level, rtol=1e-6)
    np.testing.assert_allclose(model.forecast(X), states @ model.means_)


def test_units_do_not_matter():
    factors, shifts = np.array([1e-6, 3e3]), np.array([2e-3, -1e5])
    there = (STEPS * factors + shifts).reshape(12, 40)
    before, after = fitted(), fitted(there)
    expected = before.score_samples(X) - 20 * np.log(factors).sum()
    np.testing.assert_allclose(after.score_samples(there), expected, rtol=1e-6)
    np.testing.assert_allclose(after.transform(there), before.transform(X), atol=1e-6)
    draws = before.sample(3, random_state=0).reshape(3, 20, 2) * factors + shifts
    np.testing.assert_allclose(after.sample(3, random_state=0), draws.reshape(3, 40), rtol=1e-5)


def test_a_stationary_distribution_stays():
    transitions = random_chain("full", 4, np.random.default_rng(10)).transitions
    stationary = stationary_distribution(transitions)
    np.testing.assert_allclose(stationary @ transitions, stationary)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"sequence_shape": (7, 2)}, r"sequence_shape=\(7, 2\) holds 14 numbers, but rows have 40"),
        ({"sequence_shape": 3}, "must be None or a pair"),
        ({"emission": "gauss"}, "emission must be one of 'gaussian', 'mixture'"),
        ({"emission": ["normal"]}, "must name a family for each of the 2 features"),
        ({"start": "stationary", "transition": "left_right"}, "start must be 'free'"),
        ({"n_components": 300}, "at most the number of steps of X that hold a value, 240"),
    ],
)
def test_errors_name_the_value(parameters, message):
    model = HiddenMarkovModel(2, sequence_shape=SHAPE).set_params(**parameters)
    with pytest.raises(ValueError, match=message):
        model.fit(X)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda model: model.fit(np.full((3, 40), np.nan)), "some values; got only NaN"),
        (lambda model: model.set_params(bandwidth=0).fit(X), "bandwidth must be an integer >= 1"),
        (lambda model: model.forecast(X, 0), "steps must be an integer >= 1; got 0"),
        (lambda model: model.forecast(X, quantiles=1.5), r"a number in \(0, 1\) or a list"),
        (lambda model: model.sample(1, given={40: 1.0}), r"an index in \[0, 39\]; got 40"),
        (lambda model: model.posterior(X[:, :30]), "X has 30 features, but HiddenMarkovModel"),
    ],
)
def test_queries_say_what_they_need(call, message):
    model = fitted(max_iter=0)
    with pytest.raises(ValueError, match=message):
        call(model)


@pytest.mark.parametrize("make", [lambda: MADE((4,), max_iter=1), lambda: GAN(2, max_iter=1)])
def test_a_gap_where_a_model_cannot_learn_from_one(make):
    holed = X.copy()
    holed[0, 3] = np.nan
    with pytest.raises(ValueError, match=r"X contains NaN, which (MADE|GAN) cannot"):
        make().fit(holed)


def test_a_display_shows_the_states_and_the_forecast():
    model = fitted()
    rows = X.copy()
    rows[1, 30:] = np.nan
    display = SequenceDisplay.from_estimator(model, rows, row=1, forecast=4)
    states = model.decode(rows[1:2])[0, :15]
    assert len(display.spans_) == 1 + np.count_nonzero(np.diff(states))
    np.testing.assert_array_equal(display.lines_[1].get_ydata(), STEPS[1, :15, 1])
    np.testing.assert_array_equal(display.lines_[2].get_xdata(), np.arange(15, 19))
    with pytest.raises(TypeError, match="must decode sequences"):
        SequenceDisplay.from_estimator(BayesClassifier(), rows)


class TestStateDisplay:
    TRANSITIONS = ((0.7, 0.3, 0.0), (0.005, 0.5, 0.495), (0.0, 0.0, 1.0))

    def test_arrows_are_as_wide_as_they_are_probable(self):
        display = StateDisplay(self.TRANSITIONS).plot()
        assert len(display.nodes_) == 3
        assert set(display.arrows_) == {(0, 0), (0, 1), (1, 1), (1, 2), (2, 2)}
        widths = {pair: arrow.get_linewidth() for pair, arrow in display.arrows_.items()}
        for (before, after), width in widths.items():
            assert width == pytest.approx(widths[2, 2] * self.TRANSITIONS[before][after])
        assert (1, 0) in StateDisplay(self.TRANSITIONS).plot(min_probability=0.001).arrows_

    @pytest.mark.parametrize("n_states", [1, 2, 5])
    def test_arrows_lead_from_node_to_node(self, n_states):
        display = StateDisplay(np.full((n_states, n_states), 1.0 / n_states)).plot()
        for (before, after), arrow in display.arrows_.items():
            vertices = arrow.get_path().vertices
            for k in (before, after):
                node = display.nodes_[k]
                distances = np.linalg.norm(vertices - node.center, axis=1) - node.radius
                assert abs(distances).min() < 0.05

    def test_a_fitted_chain_is_drawn(self):
        model = fitted()
        display = StateDisplay.from_estimator(model, labels=["low", "high"], min_probability=0.0)
        assert len(display.arrows_) == 4
        texts = {text.get_text() for text in display.ax_.texts}
        assert {"low", "high", f"{model.transition_matrix_[0, 0]:.2g}"} <= texts
        with pytest.raises(TypeError, match="must have a chain of states"):
            StateDisplay.from_estimator(BayesClassifier())

    @pytest.mark.parametrize(
        "arguments, message",
        [
            ((np.ones((2, 3)),), r"must have shape \(K, K\); got \(2, 3\)"),
            ((np.ones((2, 2)),), "rows of which add up to 1"),
            ((np.eye(2), ["a"]), "one for each of 2 states; got 1"),
        ],
    )
    def test_errors_name_the_value(self, arguments, message):
        with pytest.raises(ValueError, match=message):
            StateDisplay(*arguments)


class TestRows:
    SEQUENCES = (np.ones((2, 3)), np.arange(12.0).reshape(4, 3), np.zeros((1, 3)))

    def test_there_and_back(self):
        rows = from_list(self.SEQUENCES)
        assert rows.shape == (3, 12)
        for sequence, truth in zip(to_list(rows, 3), self.SEQUENCES):
            np.testing.assert_array_equal(sequence, truth)
        steps, lengths = to_lengths(rows, 3)
        np.testing.assert_array_equal(lengths, [2, 4, 1])
        np.testing.assert_array_equal(from_lengths(steps, lengths), rows)

    def test_windows_slide(self):
        series = np.arange(14.0).reshape(7, 2)
        found = windows(series, 3, step=2)
        np.testing.assert_array_equal(found, [series[t : t + 3].ravel() for t in (0, 2, 4)])

    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda: from_lengths(np.ones((3, 1)), [1, 1]), "add up to the 3 steps"),
            (lambda: from_lengths(np.ones((3, 1)), [3, 0]), "an integer >= 1"),
            (lambda: from_lengths([1.0, 2.0], [1.5, 0.5]), "an integer >= 1"),
            (lambda: from_lengths([], []), r"X must have shape .* got \(0,\)"),
            (lambda: from_lengths([1.0, np.inf], [2]), "finite numbers, or NaN for gaps"),
            (lambda: from_list([]), "at least one sequence"),
            (lambda: from_list([[1.0], []]), r"sequences\[1\] .* at least one step; got \(0,\)"),
            (lambda: from_list("ab"), "must be a list of arrays; got 'ab'"),
            (lambda: from_list([np.ones((2, 1)), np.ones((2, 2))]), "same number of features"),
            (lambda: windows([1.0, 2.0], 3), "at most the number of steps"),
            (lambda: windows([1.0, 2.0], 1, step=0), "step must be an integer >= 1; got 0"),
            (lambda: to_list(np.ones((2, 3)), 2), "of steps of n_features=2 numbers"),
        ],
    )
    def test_errors_are_one_sentence(self, call, message):
        with pytest.raises(ValueError, match=message):
            call()
