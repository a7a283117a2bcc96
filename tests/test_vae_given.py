"""Completion by a VAE against conditional Gaussians, quadrature, enumeration and SciPy."""

import itertools
import re
import warnings

import numpy as np
import pandas as pd
import pyro.distributions as dist
import pytest
import torch
from scipy import stats
from scipy.integrate import quad
from scipy.special import expit
from sklearn.datasets import load_digits

from probgen import VAE
from probgen.conditions.checked import CheckedConditions, means
from probgen.conditions.given import parse_given
from probgen.distributions.bounded import ContinuousBernoulli, DiscretizedLogisticMixture
from probgen.options import Categorical, DiscretizedLogistic, MixturePrior, VampPrior
from probgen.programs import completion
from probgen.programs.hamiltonian import hamiltonian_move

RNG = np.random.default_rng(0)
X = (
    RNG.standard_normal((300, 2)) @ RNG.standard_normal((2, 5))
    + 0.5 * RNG.standard_normal((300, 5))
    + np.arange(5.0)
)
BITS = (RNG.random((400, 1)) + 0.3 * RNG.standard_normal((400, 5)) > 0.5).astype(np.float64)
LEVELS = np.clip(np.round(X), 0.0, 5.0)
UNIT = expit(X - X.mean(axis=0))
NAN, INF = np.nan, np.inf


def fit(rows=X, **parameters):
    settings = {
        "n_components": 2,
        "hidden_layer_sizes": (16,),
        "max_iter": 20,
        "device": "cpu",
        "random_state": 0,
    }
    return VAE(**settings | {"learning_rate_init": 0.01} | parameters).fit(rows)


def marginal(model):
    """Mean and covariance of rows under a linear model."""
    offset = model.inverse_transform(np.zeros((1, 2)))[0]
    weights = (model.inverse_transform(np.eye(2)) - offset).T
    with torch.no_grad():
        noise = model.observation_.distribution(torch.zeros(5, dtype=torch.float64)).stddev.numpy()
    return offset, weights @ weights.T + np.diag(noise**2)


def conditional(model, row):
    """Mean and covariance of what is NaN in a row, given the rest."""
    mean, covariance = marginal(model)
    known, free = np.flatnonzero(~np.isnan(row)), np.flatnonzero(np.isnan(row))
    slopes = np.linalg.solve(covariance[np.ix_(known, known)], covariance[np.ix_(known, free)]).T
    left = covariance[np.ix_(free, free)] - slopes @ covariance[np.ix_(known, free)]
    return mean[free] + slopes @ (row[known] - mean[known]), left


def assert_moments(draws, mean, covariance):
    """Means and covariances of draws within five standard errors."""
    variances = np.diag(covariance)
    assert (np.abs(draws.mean(axis=0) - mean) < 5.0 * np.sqrt(variances / len(draws))).all()
    errors = np.sqrt((np.outer(variances, variances) + covariance**2) / len(draws))
    assert (np.abs(np.cov(draws, rowvar=False) - covariance) < 5.0 * errors).all()


@pytest.fixture(scope="module")
def linear_model():
    return fit(hidden_layer_sizes=(), likelihood="gaussian", max_iter=200)


class TestLinearModel:
    @pytest.mark.parametrize("shift", [0.0, 3.0])  # in standard deviations: also where no row was
    def test_given_values(self, linear_model, shift):
        row = np.where([True, False, True, False, False], X[3] + shift * X.std(axis=0), NAN)
        draws = linear_model.sample(2000, given=row, random_state=0)
        np.testing.assert_array_equal(draws[:, [0, 2]], np.tile(row[[0, 2]], (2000, 1)))
        assert_moments(draws[:, [1, 3, 4]], *conditional(linear_model, row))

    def test_given_an_interval(self, linear_model):
        mean, covariance = marginal(linear_model)
        scale = np.sqrt(covariance[0, 0])
        ends = mean[0] + scale * np.array([0.5, 1.5])
        draws = linear_model.sample(2000, given={0: tuple(ends)}, random_state=1)
        truth = stats.truncnorm(0.5, 1.5, mean[0], scale)
        assert stats.kstest(draws[:, 0], truth.cdf).pvalue > 1e-3
        slopes = covariance[1:, 0] / covariance[0, 0]
        left = covariance[1:, 1:] - np.outer(slopes, covariance[0, 1:])
        expected = mean[1:] + slopes * (truth.mean() - mean[0])
        assert_moments(draws[:, 1:], expected, left + np.outer(slopes, slopes) * truth.var())

    def test_given_a_value_and_two_intervals(self, linear_model):
        mean, covariance = conditional(linear_model, np.array([X[0, 0], NAN, NAN, NAN, NAN]))
        given = {0: X[0, 0], 1: (mean[0], None), 4: (None, mean[3] - 0.5)}
        draws = linear_model.sample(2000, given=given, random_state=2)
        rows = np.random.default_rng(0).multivariate_normal(mean, covariance, 400_000)
        rows = rows[(rows[:, 0] >= given[1][0]) & (rows[:, 3] <= given[4][1])]
        assert len(rows) > 20_000
        assert (draws[:, 1] >= given[1][0]).all()
        assert (draws[:, 4] <= given[4][1]).all()
        for j in range(4):
            assert stats.ks_2samp(draws[:, j + 1], rows[:, j]).pvalue > 1e-3

    def test_a_condition_for_each_row(self, linear_model):
        values, low = np.linspace(X[:, 0].min(), X[:, 0].max(), 1000), np.linspace(-1.0, 1.0, 1000)
        draws = linear_model.sample(1000, given={0: values, 2: (low + 2.0, None)}, random_state=3)
        np.testing.assert_array_equal(draws[:, 0], values)
        conditionals = [
            conditional(linear_model, np.array([value, NAN, NAN, NAN, NAN])) for value in values
        ]
        centre = np.array([mean[1] for mean, _ in conditionals])
        scale = np.sqrt(conditionals[0][1][1, 1])
        truth = stats.truncnorm((low + 2.0 - centre) / scale, INF, centre, scale)
        assert stats.kstest(truth.cdf(draws[:, 2]), "uniform").pvalue > 1e-3

    def test_the_estimated_probability_is_that_of_the_gaussian(self, linear_model):
        mean, covariance = marginal(linear_model)
        given = parse_given({0: X[0, 0], 2: (1.0, 3.0)}, n_samples=50, n_features=5)
        fill = torch.from_numpy(X.mean(axis=0))
        completed = completion.complete(
            linear_model.model, linear_model.guide, given, np.random.default_rng(0), fill, width=5
        )
        centre, left = conditional(linear_model, np.array([X[0, 0], NAN, NAN, NAN, NAN]))
        interval = np.diff(stats.norm.cdf([1.0, 3.0], centre[1], np.sqrt(left[1, 1])))[0]
        truth = stats.norm.logpdf(X[0, 0], mean[0], np.sqrt(covariance[0, 0])) + np.log(interval)
        assert np.log(np.mean(np.exp(completed.log_mass))) == pytest.approx(truth, abs=0.02)
        assert completed.sizes.min() > 64.0

    def test_imputed_means_and_draws(self, linear_model):
        holes = np.where(np.random.default_rng(1).random((60, 5)) < 0.4, NAN, X[:60])
        filled, drawn = (
            linear_model.impute(holes),
            linear_model.impute(holes, method="draw", random_state=0),
        )
        np.testing.assert_array_equal(linear_model.impute(holes), filled)
        standard = []
        for row, mean, draw in zip(holes, filled, drawn):
            known, free = ~np.isnan(row), np.isnan(row)
            np.testing.assert_array_equal(mean[known], row[known])
            np.testing.assert_array_equal(draw[known], row[known])
            truth, covariance = conditional(linear_model, row)
            deviations = np.sqrt(np.diag(covariance))
            np.testing.assert_allclose(mean[free], truth, atol=0.3 * deviations.max(initial=1e-9))
            standard.extend((draw[free] - truth) / deviations)
        assert stats.kstest(standard, "norm").pvalue > 1e-3

    def test_a_markov_chain_corrects_bad_proposals(self, linear_model, monkeypatch):
        for name, value in {"N_STEPS": 0, "MAX_ROUNDS": 1, "ENOUGH": INF}.items():
            monkeypatch.setattr(completion, name, value)
        row = np.where([False, True, True, False, False], X[5] + 2.0 * X.std(axis=0), NAN)
        conditions = {1: row[1], 2: row[2], 4: (None, X[5, 4])}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            draws = linear_model.sample(1000, given=conditions, random_state=0)
        mean, covariance = conditional(linear_model, row)
        rows = np.random.default_rng(0).multivariate_normal(mean, covariance, 400_000)
        rows = rows[rows[:, 2] <= X[5, 4]]
        for j, k in enumerate([0, 3, 4]):
            assert stats.ks_2samp(draws[:, k], rows[:, j]).pvalue > 1e-3

    def test_log_masses_need_no_markov_chain(self, linear_model, monkeypatch):
        monkeypatch.setattr(completion, "ENOUGH", INF)
        given = parse_given({0: X[0, 0], 2: (1.0, 3.0)}, n_samples=5, n_features=5)
        fill = torch.from_numpy(X.mean(axis=0))
        programs = (linear_model.model, linear_model.guide)
        moved, still = (
            completion.complete(
                *programs, given, np.random.default_rng(0), fill, width=5, move=move
            )
            for move in (True, False)
        )
        np.testing.assert_array_equal(still.log_mass, moved.log_mass)
        np.testing.assert_array_equal(still.sizes, moved.sizes)
        assert not np.isin(still.rows[:, 1], moved.rows[:, 1]).any()

    def test_few_effective_draws_warn(self, linear_model, monkeypatch):
        for name, value in {"N_STEPS": 0, "MAX_ROUNDS": 1}.items():
            monkeypatch.setattr(completion, name, value)
        far = X.mean(axis=0) + 40.0 * X.std(axis=0) * [1.0, 0.0, -1.0, 0.0, 1.0]
        with pytest.warns(
            UserWarning,
            match=r"given is hard to meet: the effective sample size .* below 10 for 2 of 2",
        ):
            linear_model.sample(2, given={0: far[0], 2: far[2], 4: far[4]}, random_state=0)


def shares_of_codes(model, known):
    """Probabilities of all rows of bits that match the known ones, by quadrature."""
    nodes = np.linspace(-7.0, 7.0, 141)
    codes = torch.tensor(list(itertools.product(nodes, nodes)))
    every = np.array(list(itertools.product([0.0, 1.0], repeat=5)))
    every = every[(np.isnan(known) | (every == known)).all(axis=1)]
    with torch.no_grad():
        log_prior = model.prior_().log_prob(codes).numpy()
        logits = model.decoder_(codes).numpy()
    joint = (
        log_prior[:, None]
        - np.logaddexp(0.0, -logits) @ every.T
        - np.logaddexp(0.0, logits) @ (1.0 - every).T
    )
    masses = np.exp(joint).sum(axis=0)
    return every, masses / masses.sum()


class TestBits:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"posterior": "iaf", "prior": VampPrior(3)},
            {"posterior": "spline", "prior": MixturePrior(3)},
        ],
        ids=["plain", "iaf-vamp", "spline-mixture"],
    )
    def test_completions_have_their_conditional_probabilities(self, settings):
        model = fit(BITS, **settings)
        known = np.array([NAN, 1.0, NAN, 0.0, NAN])
        every, shares = shares_of_codes(model, known)
        draws = model.sample(300 if "posterior" in settings else 2000, given=known, random_state=0)
        counts = np.array([(draws == row).all(axis=1).sum() for row in every])
        assert counts.sum() == len(draws)
        assert stats.chisquare(counts, len(draws) * shares).pvalue > 1e-3

    def test_imputed_means_are_conditional_probabilities(self):
        model = fit(BITS)
        known = np.array([[NAN, 1.0, NAN, 0.0, NAN], [0.0, NAN, NAN, NAN, 0.0]])
        for row, filled in zip(known, model.impute(known)):
            every, shares = shares_of_codes(model, row)
            np.testing.assert_allclose(filled, shares @ every, atol=0.05)


@pytest.mark.parametrize(
    "likelihood, rows",
    [
        ("gaussian", X),
        ("laplace", X),
        ("continuous_bernoulli", UNIT),
        (Categorical(6), LEVELS),
        (DiscretizedLogistic(6, n_mixture=2), LEVELS),
    ],
)
class TestLikelihoods:
    def test_conditions_hold_in_single_precision(self, likelihood, rows):
        model = fit(rows.astype(np.float32), likelihood=likelihood)
        middle = np.median(rows, axis=0)
        low, high = middle[1] - 0.1, middle[1] + 1e-7
        if rows is LEVELS:
            low, high = 1.0 - 1e-9, 3.0 + 1e-9
        draws = model.sample(
            500, given={0: rows[0, 0], 1: (low, high), 2: (None, middle[2])}, random_state=0
        )
        assert draws.dtype == np.float32
        assert (draws[:, 0] == np.float32(rows[0, 0])).all()
        assert (
            (draws[:, 1].astype(np.float64) >= low) & (draws[:, 1].astype(np.float64) <= high)
        ).all()
        assert (draws[:, 2] <= middle[2]).all()
        assert np.isfinite(draws).all()

    def test_draws_match_unconditional_draws_that_satisfy_the_condition(self, likelihood, rows):
        model = fit(rows, likelihood=likelihood)
        low, high = (2.0, 4.0) if rows is LEVELS else np.quantile(rows[:, 1], [0.4, 0.8])
        draws = model.sample(1000, given={1: (low, high)}, random_state=0)
        plain = model.sample(30_000, random_state=1)
        plain = plain[(plain[:, 1] >= low) & (plain[:, 1] <= high)]
        for j in range(5):
            assert stats.ks_2samp(draws[:, j], plain[:, j]).pvalue > 1e-3


class TestForms:
    def test_sets_of_levels(self):
        model = fit(LEVELS, likelihood=Categorical(6))
        draws = model.sample(1000, given={1: {0, 2}, 3: 3.0}, random_state=0)
        plain = model.sample(100_000, random_state=1)
        plain = plain[np.isin(plain[:, 1], [0, 2]) & (plain[:, 3] == 3.0)]
        assert set(np.unique(draws[:, 1])) == {0.0, 2.0}
        for j in range(5):
            assert stats.ks_2samp(draws[:, j], plain[:, j]).pvalue > 1e-3

    def test_known_rows_are_returned(self, linear_model):
        np.testing.assert_array_equal(linear_model.sample(3, given=X[0]), np.tile(X[0], (3, 1)))
        np.testing.assert_array_equal(linear_model.impute(X), X)

    def test_without_conditions_draws_are_unconditional(self, linear_model):
        draws = linear_model.sample(2000, given=[NAN] * 5, random_state=0)
        assert_moments(draws, *marginal(linear_model))

    def test_seeds_repeat_and_streams_continue(self, linear_model):
        given = {0: 1.0, 1: (0.0, None)}
        first, again = (linear_model.sample(5, given=given, random_state=7) for _ in range(2))
        np.testing.assert_array_equal(first, again)
        state = torch.get_rng_state()
        one, two = (linear_model.sample(5, given=given) for _ in range(2))
        assert not np.isin(one[:, 1:], two[:, 1:]).any()
        assert torch.equal(torch.get_rng_state(), state)

    def test_many_rows_are_completed_in_blocks(self, linear_model, monkeypatch):
        monkeypatch.setattr(completion, "MAX_ROWS", 7)
        monkeypatch.setattr(completion, "WORK_BYTES", 2**14)
        row = np.where([True, False, True, False, False], X[3], NAN)
        draws = linear_model.sample(150, given=row, random_state=0)
        assert_moments(draws[:, [1, 3, 4]], *conditional(linear_model, row))

    def test_frames(self):
        frame = pd.DataFrame(X, columns=list("abcde"))
        model = fit(frame).set_output(transform="pandas")
        assert model.sample(3, given={"b": 1.5})["b"].tolist() == [1.5] * 3
        holes = frame.head(4).copy()
        holes.loc[1, "d"] = NAN
        filled = model.impute(holes)
        assert list(filled.columns) == list("abcde")
        assert filled.notna().all(axis=None)

    def test_convolutions(self):
        pixels = (load_digits().data[:200] > 7.0).astype(np.float32)
        model = fit(pixels, architecture="conv", hidden_layer_sizes=(4, 8), max_iter=3)
        given = np.where(np.arange(64) < 32, pixels[:10], NAN)
        draws = model.sample(10, given=given, random_state=0)
        np.testing.assert_array_equal(draws[:, :32], pixels[:10, :32])


def test_half_digits_are_completed_better_than_by_means():
    pixels = (load_digits().data > 7.0).astype(np.float32)
    train, test = pixels[:1500], pixels[1500:1540]
    model = fit(train, n_components=4, hidden_layer_sizes=(64,), max_iter=30)
    half = test.copy()
    half[:, 32:] = NAN
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        filled, drawn = model.impute(half), model.impute(half, method="draw", random_state=0)
    error = np.mean((filled - test)[:, 32:] ** 2)
    assert error < 0.85 * np.mean((train.mean(axis=0) - test)[:, 32:] ** 2)
    assert error < np.mean((drawn - test)[:, 32:] ** 2)
    assert set(np.unique(drawn)) == {0.0, 1.0}


class TestBadConditions:
    @pytest.mark.parametrize(
        "rows, settings, given, message",
        [
            (
                BITS,
                {},
                {0: 0.5},
                "given must hold 0 or 1 for feature 0, all that the likelihood draws; got 0.5",
            ),
            (
                BITS,
                {},
                {0: (0.2, 0.8)},
                "given must leave feature 0 a value of its likelihood, 0 or 1; got the interval",
            ),
            (BITS, {}, {1: {0, 7}}, "given must hold 0 or 1 for feature 1; got"),
            (BITS, {}, {1: {"a"}}, "given must hold 0 or 1 for feature 1; got"),
            (
                UNIT,
                {"likelihood": "continuous_bernoulli"},
                {2: 1.5},
                "given must hold numbers in [0, 1] for feature 2",
            ),
            (
                UNIT,
                {"likelihood": "continuous_bernoulli"},
                {2: (1.0, 2.0)},
                "must leave feature 2 a value",
            ),
            (
                LEVELS,
                {"likelihood": Categorical(6)},
                {0: 6.0},
                "whole numbers from 0 to 5 for feature 0",
            ),
            (
                X,
                {},
                {0: {1.0}},
                "given holds a set of categories, but the features of VAE are continuous",
            ),
            (
                X,
                {},
                {0: 1e200},
                "given asks for rows that are impossible under the fitted model (row 0",
            ),
            (
                X.astype(np.float32),
                {},
                {0: (1.0 + 1e-9, 1.0 + 2e-9)},
                "must leave feature 0 a number of float32",
            ),
        ],
    )
    def test_one_sentence(self, rows, settings, given, message):
        model = fit(rows, max_iter=1, **settings)
        with pytest.raises(ValueError, match=re.escape(message)):
            model.sample(2, given=given)

    def test_imputation_names_its_own_argument(self):
        model = fit(BITS, max_iter=1)
        with pytest.raises(ValueError, match=r"needs values 0 and 1; X holds 0 to 0\.5 and NaN"):
            model.impute([[0.5, NAN, 0.0, 0.0, 0.0]])
        with pytest.raises(ValueError, match="method must be one of 'mean', 'draw'; got 'mode'"):
            model.impute(BITS, method="mode")


PARAMETERS = torch.tensor([[-30.0, -2.0, -1e-9, 0.0, 0.7, 3.0, 30.0]], dtype=torch.float64)
CONTINUOUS = [
    dist.Normal(PARAMETERS, 1.5, validate_args=False),
    dist.Laplace(PARAMETERS, 1.5, validate_args=False),
    ContinuousBernoulli(PARAMETERS),
]
DISCRETE = [
    dist.Bernoulli(logits=PARAMETERS, validate_args=False),
    dist.Categorical(logits=torch.arange(28.0).sin().reshape(1, 7, 4) * 3.0, validate_args=False),
    DiscretizedLogisticMixture(
        *(3.0 * torch.arange(k, k + 14.0).sin().reshape(1, 7, 2) for k in (0, 20, 40)), 4
    ),
]


def kind(distribution):
    return type(distribution).__name__


def checked(distribution, given):
    conditions = parse_given(given, n_samples=1, n_features=7)
    return CheckedConditions(conditions, distribution)


@pytest.mark.parametrize("distribution", CONTINUOUS, ids=kind)
@pytest.mark.parametrize(
    "ends", [(0.2, 0.7), (0.2, None), (None, 0.7), (0.3, 0.3 + 1e-6), (0.999, 5.0)], ids=str
)
class TestIntervals:
    def test_log_mass_is_that_of_quadrature(self, distribution, ends):
        low, high = (0.0, 1.0) if kind(distribution) == "ContinuousBernoulli" else (-100.0, 100.0)
        low, high = (
            max(low, -INF if ends[0] is None else ends[0]),
            min(high, INF if ends[1] is None else ends[1]),
        )
        for j in range(7):

            def log_density(x, j=j):
                value = torch.full((1, 7), float(x), dtype=torch.float64)
                return float(distribution.log_prob(value)[0, j])

            at = PARAMETERS[0, j].clamp(low, high).item()
            if kind(distribution) == "ContinuousBernoulli":
                at = high if PARAMETERS[0, j] > 0.0 else low
            top = log_density(at)
            points = [
                at + step
                for step in (-3.0, -0.5, -0.05, 0.0, 0.05, 0.5, 3.0)
                if low < at + step < high
            ]
            mass = quad(
                lambda x, top=top: np.exp(log_density(x) - top),
                low,
                high,
                points=points,
                epsabs=0.0,
                limit=500,
            )[0]
            conditions = checked(distribution, {j: ends})
            assert conditions.log_mass(distribution)[0, 0] == pytest.approx(
                top + np.log(mass), rel=1e-6, abs=1e-6
            )

    def test_draws_follow_the_distribution_within_the_interval(self, distribution, ends):
        many = distribution.expand((4000, 1, 7))
        conditions = checked(distribution, dict.fromkeys(range(7), ends))
        with torch.random.fork_rng():
            draws = conditions.draw(many, np.random.default_rng(0), torch.float64).numpy()[:, 0]
        low, high = -INF if ends[0] is None else ends[0], INF if ends[1] is None else ends[1]
        assert ((draws >= low) & (draws <= high)).all()
        for j in range(7):
            shares = [
                checked(distribution, {j: (ends[0], middle)}).log_mass(distribution)[0, 0]
                - checked(distribution, {j: ends}).log_mass(distribution)[0, 0]
                for middle in np.quantile(draws[:, j], [0.1, 0.5, 0.9])
            ]
            np.testing.assert_allclose(np.exp(shares), [0.1, 0.5, 0.9], atol=0.03)


@pytest.mark.parametrize("distribution", DISCRETE, ids=kind)
class TestLevels:
    def test_log_mass_is_a_sum(self, distribution):
        conditions = checked(distribution, {2: {0, 1}, 3: (0.5, 3.0), 4: 1.0})
        n_levels = conditions.allowed.shape[2]
        tables = np.exp(
            [
                distribution.log_prob(torch.full((1, 7), float(k)))[0].numpy()
                for k in range(n_levels)
            ]
        )
        truth = np.log(tables[[0, 1], 2].sum()) + np.log(tables[1:4, 3].sum())
        assert conditions.log_mass(distribution)[0, 0] == pytest.approx(truth, abs=1e-5)

    def test_draws_have_their_probabilities(self, distribution):
        conditions = checked(distribution, dict.fromkeys(range(7), (1.0, 2.0)))
        with torch.random.fork_rng():
            draws = conditions.draw(
                distribution.expand((4000, 1, 7)), np.random.default_rng(0), torch.float64
            )[:, 0]
        assert set(draws.unique().tolist()) <= {1.0, 2.0}
        masses = [
            distribution.log_prob(torch.full((1, 7), level)).double().exp()[0].numpy()
            for level in (1.0, 2.0)
        ]
        if kind(distribution) != "Bernoulli":
            shares = (draws == 1.0).double().mean(0).numpy()
            np.testing.assert_allclose(shares, masses[0] / (masses[0] + masses[1]), atol=0.03)

    def test_means_are_sums(self, distribution):
        levels = range(2 if kind(distribution) == "Bernoulli" else 4)
        truth = sum(k * distribution.log_prob(torch.full((1, 7), float(k))).exp() for k in levels)
        np.testing.assert_allclose(means(distribution), truth, rtol=1e-5, atol=1e-6)


def test_hamiltonian_moves_leave_a_density_invariant():
    target = stats.gamma(3.0)

    def log_density(z):  # of the logarithm of gamma variables
        return (3.0 * z - torch.exp(z)).sum(1)

    with torch.random.fork_rng():
        torch.manual_seed(0)
        codes = torch.zeros(4000, 1, dtype=torch.float64)
        acceptances = []
        for _ in range(20):
            codes, acceptance = hamiltonian_move(
                log_density, codes, torch.full((4000,), 0.4, dtype=torch.float64)
            )
            acceptances.append(float(acceptance.mean()))
    assert 0.6 < np.mean(acceptances) < 0.999
    assert stats.kstest(np.exp(codes[:, 0].numpy()), target.cdf).pvalue > 1e-3
