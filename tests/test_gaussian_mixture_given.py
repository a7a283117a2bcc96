"""Conditional draws from mixtures, against closed forms, quadrature and exact laws."""

import numpy as np
import pandas as pd
import pytest
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal, norm

from probgen import GaussianMixture

TYPES = ["full", "tied", "diag", "spherical", "low_rank"]
N_DRAWS = 20_000


def fitted(covariance_type="full", n_features=3):
    """A mixture of three correlated, overlapping components, and their covariances (3, d, d)."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((3, n_features, n_features)) + 0.5 * np.eye(n_features)
    rows = [
        2.0 * rng.standard_normal(n_features) + rng.standard_normal((200, n_features)) @ each.T
        for each in mixing
    ]
    model = GaussianMixture(
        3,
        covariance_type=covariance_type,
        n_factors=1,
        reg_covar=0.05,
        random_state=0,
        max_iter=500,
    ).fit(np.concatenate(rows))
    if covariance_type == "low_rank":
        products = model.loadings_ @ model.loadings_.transpose(0, 2, 1)
        return model, products + np.eye(n_features) * model.noise_variances_[:, None, :]
    if covariance_type in ("full", "tied"):
        return model, np.broadcast_to(model.covariances_, (3, n_features, n_features))
    return model, np.eye(n_features) * model.covariances_.reshape(3, 1, -1)


def given_value(model, covariances, j, value):
    """Posterior weights (3,), means (3, m) and covariances (3, m, m) given feature j."""
    rest = np.delete(np.arange(model.means_.shape[1]), j)
    joint = np.log(model.weights_) + norm.logpdf(
        value, model.means_[:, j], np.sqrt(covariances[:, j, j])
    )
    slopes = covariances[:, rest, j] / covariances[:, j, j, None]
    means = model.means_[:, rest] + slopes * (value - model.means_[:, j])[:, None]
    left = covariances[:, rest[:, None], rest] - slopes[:, :, None] * covariances[:, None, j, rest]
    return np.exp(joint - logsumexp(joint)), means, left


def mass_left_of(model, covariances, low, high, j, t):
    """Probability of low < x < high and x[j] < t, by Gaussian rectangles of scipy."""
    high = np.array(high, dtype=float)
    high[j] = min(high[j], t)
    if high[j] <= low[j]:
        return 0.0
    masses = [
        multivariate_normal.cdf(high, mean, covariance, abseps=1e-10, releps=1e-10, lower_limit=low)
        for mean, covariance in zip(model.means_, covariances)
    ]
    return model.weights_ @ np.ravel(masses)


def assert_follows(draws, cdf):
    """Kolmogorov-Smirnov, with the distribution function tabulated."""
    grid = np.linspace(draws.min() - 1e-9, draws.max() + 1e-9, 200)
    table = np.array([cdf(t) for t in grid])
    assert np.all(np.diff(table) > -1e-9)
    assert kstest(draws, lambda x: np.interp(x, grid, table)).pvalue > 1e-3


@pytest.mark.parametrize("covariance_type", TYPES)
class TestLaw:
    @pytest.mark.parametrize("value", [0.5, -3.0, 6.0])
    def test_given_a_value_has_closed_form_moments(self, covariance_type, value):
        model, covariances = fitted(covariance_type)
        draws = model.sample(N_DRAWS, given={1: value}, random_state=1)
        np.testing.assert_array_equal(draws[:, 1], value)
        posterior, means, left = given_value(model, covariances, 1, value)
        mean = posterior @ means
        shifts = means - mean
        covariance = np.einsum(
            "k,kij->ij", posterior, left + shifts[:, :, None] * shifts[:, None, :]
        )
        errors = np.sqrt(np.diag(covariance) / N_DRAWS)
        np.testing.assert_array_less(np.abs(draws[:, [0, 2]].mean(axis=0) - mean), 5.0 * errors)
        np.testing.assert_allclose(
            np.cov(draws[:, [0, 2]].T), covariance, atol=0.05 * covariance.max()
        )
        deviations = np.sqrt(left[:, 0, 0])
        assert_follows(draws[:, 0], lambda t: posterior @ norm.cdf((t - means[:, 0]) / deviations))

    def test_given_an_interval_follows_the_exact_distribution(self, covariance_type):
        model, covariances = fitted(covariance_type, n_features=2)
        low, high = np.array([0.5, -np.inf]), np.array([2.0, np.inf])
        draws = model.sample(N_DRAWS, given={0: (0.5, 2.0)}, random_state=2)
        assert ((draws[:, 0] >= 0.5) & (draws[:, 0] <= 2.0)).all()
        total = mass_left_of(model, covariances, low, high, 0, np.inf)
        for j in (0, 1):
            assert_follows(
                draws[:, j],
                lambda t, j=j: mass_left_of(model, covariances, low, high, j, t) / total,
            )

    def test_given_two_intervals_follows_the_exact_distribution(self, covariance_type):
        model, covariances = fitted(covariance_type, n_features=2)
        low, high = np.array([-np.inf, -1.0]), np.array([0.5, 1.5])
        draws = model.sample(5000, given={0: (None, 0.5), 1: (-1.0, 1.5)}, random_state=3)
        assert ((draws <= high) & (draws >= low)).all()
        total = mass_left_of(model, covariances, low, high, 0, np.inf)
        for j in (0, 1):
            assert_follows(
                draws[:, j],
                lambda t, j=j: mass_left_of(model, covariances, low, high, j, t) / total,
            )

    def test_given_a_value_and_an_interval_together(self, covariance_type):
        model, covariances = fitted(covariance_type)
        draws = model.sample(N_DRAWS, given={0: 1.0, 2: (0.0, 1.0)}, random_state=4)
        np.testing.assert_array_equal(draws[:, 0], 1.0)
        assert ((draws[:, 2] >= 0.0) & (draws[:, 2] <= 1.0)).all()
        posterior, means, left = given_value(model, covariances, 0, 1.0)

        def mass(t):  # of feature 1 below t, feature 2 in its interval
            rectangles = [
                multivariate_normal(mean, covariance).cdf([t, 1.0], lower_limit=[-np.inf, 0.0])
                for mean, covariance in zip(means, left)
            ]
            return posterior @ np.ravel(rectangles)

        total = mass(np.inf)
        assert_follows(draws[:, 1], lambda t: mass(t) / total)

    def test_the_probability_of_an_interval_is_that_of_quadrature(self, covariance_type):
        model, _ = fitted(covariance_type)
        conditions = model._parse_given({0: 1.0, 2: (0.0, 1.0)}, 1)
        by_quadrature = quad(
            lambda t: np.exp(model.score_samples([[1.0, np.nan, t]]))[0], 0.0, 1.0, epsabs=1e-12
        )[0]
        assert model._log_given(conditions)[0] == pytest.approx(np.log(by_quadrature), abs=1e-8)

    def test_the_probability_of_a_rectangle_is_that_of_quadrature(self, covariance_type):
        model, _ = fitted(covariance_type)
        conditions = model._parse_given({0: (0.5, None), 1: (0.0, 1.0)}, 1)
        nodes, weights = np.polynomial.legendre.leggauss(60)
        x, y = 0.5 + 10.0 * (nodes + 1.0), 0.5 * (nodes + 1.0)  # density beyond 20.5 is nothing
        grid = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)
        density = np.exp(
            model.score_samples(np.column_stack([grid, np.full(len(grid), np.nan)]))
        ).reshape(60, 60)
        by_quadrature = 10.0 * weights @ density @ (0.5 * weights)
        assert model._log_given(conditions)[0] == pytest.approx(np.log(by_quadrature), abs=1e-4)

    def test_far_in_the_tail(self, covariance_type):
        model, _ = fitted(covariance_type, n_features=2)
        scale = np.sqrt(np.cov(model.sample(2000, random_state=0).T)[0, 0])
        low = model.means_[:, 0].max() + 30.0 * scale
        draws = model.sample(500, given={0: (low, None)}, random_state=5)
        assert np.isfinite(draws).all()
        assert (draws[:, 0] >= low).all()
        assert draws[:, 0].max() < low + 5.0 * scale
        assert len(np.unique(draws[:, 0])) == 500


class TestForms:
    def test_by_name_by_index_and_by_array_are_one(self):
        rows = np.random.default_rng(0).standard_normal((100, 3))
        frame = pd.DataFrame(rows, columns=["height", "width", "depth"])
        model = GaussianMixture(2, random_state=0).fit(frame)
        by_name, *others = (
            model.sample(20, given=given, random_state=1)
            for given in (
                {"width": 0.5},
                {1: 0.5},
                {-2: 0.5},
                {np.int64(1): np.float32(0.5)},
                [np.nan, 0.5, np.nan],
                np.tile([np.nan, 0.5, np.nan], (20, 1)),
                {"width": np.full(20, 0.5)},
                pd.DataFrame({"width": np.full(20, 0.5)}),
            )
        )
        for other in others:
            np.testing.assert_array_equal(other, by_name)

    def test_values_of_each_row(self):
        model, covariances = fitted()
        values = np.linspace(-3.0, 3.0, 1000)
        draws = model.sample(1000, given={1: values}, random_state=2)
        np.testing.assert_array_equal(draws[:, 1], values)
        posteriors = [given_value(model, covariances, 1, value) for value in values]
        levels = [
            posterior @ norm.cdf((x - means[:, 0]) / np.sqrt(left[:, 0, 0]))
            for x, (posterior, means, left) in zip(draws[:, 0], posteriors)
        ]
        assert kstest(levels, "uniform").pvalue > 1e-3

    def test_intervals_of_each_row(self):
        model, covariances = fitted(n_features=2)
        low = np.linspace(-3.0, 3.0, 300)
        high = low + np.linspace(0.1, 2.0, 300)
        draws = model.sample(300, given={0: (low, high)}, random_state=3)[:, 0]
        assert ((draws >= low) & (draws <= high)).all()
        deviations = np.sqrt(covariances[:, 0, 0])
        below = [
            norm.cdf((t[:, None] - model.means_[:, 0]) / deviations) @ model.weights_
            for t in (low, draws, high)
        ]
        assert kstest((below[1] - below[0]) / (below[2] - below[0]), "uniform").pvalue > 1e-3

    def test_everything_known_comes_back(self):
        model, _ = fitted()
        np.testing.assert_array_equal(
            model.sample(3, given=[1.0, 2.0, 3.0]), np.tile([1.0, 2.0, 3.0], (3, 1))
        )

    def test_nothing_known_is_a_plain_draw(self):
        model, _ = fitted()
        draws = model.sample(N_DRAWS, given=[np.nan] * 3, random_state=4)
        plain = model.sample(N_DRAWS, random_state=5)
        for j in range(3):
            assert kstest(draws[:, j], plain[:, j]).pvalue > 1e-3

    def test_draws_differ(self):
        model, _ = fitted()
        first, second = (model.sample(50, given={0: 1.0, 1: (0.0, 2.0)}) for _ in range(2))
        assert not np.isin(first[:, 1:], second[:, 1:]).any()

    def test_features_that_determine_each_other(self):
        x = np.random.default_rng(0).standard_normal((300, 1))
        model = GaussianMixture(reg_covar=1e-10).fit(np.column_stack([x, 2.0 * x, np.ones(300)]))
        np.testing.assert_allclose(
            model.sample(20, given={0: 1.5})[:, 1:], np.tile([3.0, 1.0], (20, 1)), atol=1e-3
        )
        draws = model.sample(20, given={0: 1.5, 1: (2.0, 4.0)})
        np.testing.assert_allclose(draws[:, 1], 3.0, atol=1e-3)

    def test_frames_after_set_output(self):
        frame = pd.DataFrame(
            np.random.default_rng(0).standard_normal((50, 2)), columns=["height", "width"]
        )
        model = GaussianMixture(random_state=0).set_output(transform="pandas").fit(frame)
        draws = model.sample(4, given={"width": (0.0, 1.0)})
        assert list(draws.columns) == ["height", "width"]
        assert draws["width"].between(0.0, 1.0).all()


class TestBadConditions:
    def test_that_the_model_holds_impossible(self):
        model, _ = fitted()
        with pytest.raises(
            ValueError, match="given asks for rows that are impossible under the fitted model"
        ):
            model.sample(2, given={0: [1.0, 1e200]})

    @pytest.mark.parametrize("interval", [(2.0, 1.0), (1.0, 1.0), (np.nan, 1.0)])
    def test_of_an_empty_interval(self, interval):
        model, _ = fitted()
        with pytest.raises(
            ValueError, match=r"given\[0\] must be an interval with low < high; got"
        ):
            model.sample(2, given={0: interval})

    def test_that_name_a_feature_twice(self):
        frame = pd.DataFrame(
            np.random.default_rng(0).standard_normal((50, 2)), columns=["height", "width"]
        )
        model = GaussianMixture().fit(frame)
        with pytest.raises(ValueError, match="twice, by name and by index"):
            model.sample(2, given={"height": 1.0, 0: 2.0})

    def test_of_a_name_that_is_not_there(self):
        frame = pd.DataFrame(
            np.random.default_rng(0).standard_normal((50, 2)), columns=["height", "width"]
        )
        model = GaussianMixture().fit(frame)
        with pytest.raises(
            ValueError, match="given names feature 'age', which the model does not know; known"
        ):
            model.sample(2, given={"age": 1.0})

    def test_of_a_wrong_number_of_values(self):
        model, _ = fitted()
        with pytest.raises(ValueError, match="must be one number or n_samples=3 of them"):
            model.sample(3, given={0: [1.0, 2.0]})
