"""Mixtures of rows with missing values: marginals, maximum likelihood, imputation."""

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import kstest, multivariate_normal, norm

from probgen import GaussianMixture

TYPES = ["full", "tied", "diag", "spherical", "low_rank"]
WEIGHTS = np.array([0.3, 0.7])
MEANS = np.array([[1.0, -2.0, 0.5, 3.0], [2.0, 0.0, -1.0, 1.0]])


def make_model(covariance_type):
    """A known mixture of two components over four features, and its covariances (2, 4, 4)."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((200, 4)) * 2.0
    model = GaussianMixture(
        2, covariance_type=covariance_type, n_factors=2, max_iter=0, random_state=0
    ).fit(rows)
    model.weights_, model.means_ = WEIGHTS, MEANS
    mixing = rng.standard_normal((2, 4, 4))
    dense = mixing @ mixing.transpose(0, 2, 1) + 0.5 * np.eye(4)
    if covariance_type == "low_rank":
        model.loadings_, model.noise_variances_ = mixing[:, :, :2], rng.uniform(0.3, 2.0, (2, 4))
        low_rank = model.loadings_ @ model.loadings_.transpose(0, 2, 1)
        return model, low_rank + np.eye(4) * model.noise_variances_[:, None, :]
    if covariance_type == "full":
        model.covariances_ = dense
        model.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(dense)).transpose(0, 2, 1)
        return model, dense
    if covariance_type == "tied":
        model.covariances_ = dense[0]
        model.precisions_cholesky_ = np.linalg.inv(np.linalg.cholesky(dense[0])).T
        return model, np.array([dense[0], dense[0]])
    variances = (
        np.diagonal(dense, axis1=1, axis2=2) if covariance_type == "diag" else dense[:, 0, :1]
    )
    model.covariances_ = variances if covariance_type == "diag" else variances[:, 0]
    model.precisions_cholesky_ = model.covariances_**-0.5
    return model, np.eye(4) * variances[:, :, None]


def with_holes(n_rows, share=0.35, seed=1):
    """Rows with each pattern of missing values, the one without values included."""
    rng = np.random.default_rng(seed)
    rows = 2.0 * rng.standard_normal((n_rows, 4))
    rows[rng.random(rows.shape) < share] = np.nan
    rows[0] = np.nan
    return rows


def posterior_by_hand(covariances, row):
    """Log of weight times marginal density of the observed part of one row, (2,)."""
    seen = ~np.isnan(row)
    if not seen.any():
        return np.log(WEIGHTS)
    normals = [
        multivariate_normal(MEANS[k][seen], covariances[k][np.ix_(seen, seen)]) for k in range(2)
    ]
    return np.log(WEIGHTS) + [normal.logpdf(row[seen]) for normal in normals]


def conditional_by_hand(covariances, row):
    """Posterior weights, conditional means and covariances of the missing features of one row."""
    seen, hole = ~np.isnan(row), np.isnan(row)
    joint = posterior_by_hand(covariances, row)
    means, rests = [], []
    for k in range(2):
        slope = covariances[k][np.ix_(hole, seen)] @ np.linalg.inv(
            covariances[k][np.ix_(seen, seen)]
        )
        means.append(MEANS[k][hole] + slope @ (row[seen] - MEANS[k][seen]))
        rests.append(
            covariances[k][np.ix_(hole, hole)] - slope @ covariances[k][np.ix_(seen, hole)]
        )
    return np.exp(joint - logsumexp(joint)), np.array(means), np.array(rests)


@pytest.mark.parametrize("covariance_type", TYPES)
class TestQueries:
    def test_densities_are_marginal(self, covariance_type):
        model, covariances = make_model(covariance_type)
        rows = with_holes(60)
        joint = np.array([posterior_by_hand(covariances, row) for row in rows])
        np.testing.assert_allclose(
            model.score_samples(rows), logsumexp(joint, axis=1), rtol=1e-9, atol=1e-12
        )
        posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        np.testing.assert_allclose(model.predict_proba(rows), posterior, atol=1e-9)
        np.testing.assert_array_equal(model.predict(rows), np.argmax(posterior, axis=1))

    def test_a_row_without_values_scores_zero_and_keeps_the_prior(self, covariance_type):
        model, _ = make_model(covariance_type)
        nothing = np.full((2, 4), np.nan)
        np.testing.assert_allclose(model.score_samples(nothing), 0.0, atol=1e-15)
        np.testing.assert_allclose(model.predict_proba(nothing), [WEIGHTS, WEIGHTS], rtol=1e-12)

    def test_queries_do_not_depend_on_the_batch(self, covariance_type):
        model, _ = make_model(covariance_type)
        rows = with_holes(3000)
        scores, filled = model.score_samples(rows), model.impute(rows)
        for i in range(0, 3000, 100):
            np.testing.assert_array_equal(model.score_samples(rows[i : i + 1]), scores[i : i + 1])
            np.testing.assert_allclose(model.impute(rows[i : i + 1]), filled[i : i + 1], rtol=1e-12)

    def test_holes_are_filled_with_the_regression(self, covariance_type):
        model, covariances = make_model(covariance_type)
        rows = with_holes(60)
        filled = model.impute(rows)
        np.testing.assert_array_equal(np.where(np.isnan(rows), np.nan, filled), rows)
        for row, whole in zip(rows, filled):
            if np.isnan(row).any():
                posterior, means, _ = conditional_by_hand(covariances, row)
                np.testing.assert_allclose(
                    whole[np.isnan(row)], posterior @ means, rtol=1e-8, atol=1e-10
                )

    @pytest.mark.parametrize(
        "row", [[1.5, np.nan, np.nan, 2.0], [np.nan, -1.0, 0.0, 1.0], [np.nan] * 4]
    )
    def test_draws_in_holes_have_the_conditional_moments(self, covariance_type, row):
        model, covariances = make_model(covariance_type)
        row = np.array(row)
        hole = np.isnan(row)
        draws = model.impute(np.tile(row, (40_000, 1)), method="draw", random_state=2)
        np.testing.assert_array_equal(draws[:, ~hole], np.tile(row[~hole], (40_000, 1)))
        posterior, means, rests = conditional_by_hand(covariances, row)
        mean = posterior @ means
        shifts = means - mean
        covariance = np.einsum(
            "k,kij->ij", posterior, rests + shifts[:, :, None] * shifts[:, None, :]
        )
        errors = np.sqrt(np.diag(covariance) / 40_000)
        np.testing.assert_array_less(np.abs(draws[:, hole].mean(axis=0) - mean), 5.0 * errors)
        np.testing.assert_allclose(
            np.atleast_2d(np.cov(draws[:, hole].T)), covariance, atol=0.04 * covariance.max()
        )
        j = np.flatnonzero(hole)[0]
        deviations = np.sqrt(rests[:, 0, 0])
        cdf = lambda x: norm.cdf((x[:, None] - means[:, 0]) / deviations) @ posterior  # noqa: E731
        assert kstest(draws[:5000, j], cdf).pvalue > 1e-3


class TestImputation:
    def test_draws_differ_and_seeded_ones_repeat(self):
        model, _ = make_model("full")
        rows = with_holes(50)
        holes = np.isnan(rows)
        first, second = (model.impute(rows, method="draw") for _ in range(2))
        assert not (first[holes] == second[holes]).any()
        seeded = [model.impute(rows, method="draw", random_state=3) for _ in range(2)]
        np.testing.assert_array_equal(*seeded)

    def test_frames_give_frames_after_set_output(self):
        rows = pd.DataFrame(
            np.random.default_rng(0).standard_normal((50, 2)), columns=["height", "width"]
        )
        model = GaussianMixture(random_state=0).set_output(transform="pandas").fit(rows)
        rows.loc[3, "width"] = np.nan
        filled = model.impute(rows)
        assert isinstance(filled, pd.DataFrame)
        assert list(filled.columns) == ["height", "width"]
        pd.testing.assert_frame_equal(filled.drop(index=3), rows.drop(index=3))

    def test_single_precision_stays(self):
        rows = with_holes(100).astype(np.float32)
        model = GaussianMixture(random_state=0).fit(rows)
        for method in ("mean", "draw"):
            filled = model.impute(rows, method=method)
            assert filled.dtype == np.float32
            assert np.isfinite(filled).all()

    def test_unknown_methods_are_refused(self):
        model, _ = make_model("full")
        with pytest.raises(ValueError, match="method must be one of 'mean', 'draw'; got 'median'"):
            model.impute(with_holes(5), method="median")

    def test_beats_the_column_means_on_a_real_table(self, data_file):
        X = np.load(data_file("uci_power_plant.npz"))["X"]
        X = (X - X.mean(axis=0)) / X.std(axis=0)
        train, test = X[:6000], X[6000:].copy()
        holes = np.random.default_rng(0).random(test.shape) < 0.25
        truth = test[holes]
        test[holes] = np.nan
        filled = GaussianMixture(5, random_state=0).fit(train).impute(test)[holes]
        by_means = np.broadcast_to(train.mean(axis=0), test.shape)[holes]
        assert np.mean((filled - truth) ** 2) < 0.6 * np.mean((by_means - truth) ** 2)


class TestFit:
    def direct(self, rows, weights):
        """Maximum-likelihood mean (2,) and covariance (2, 2) by a general optimizer."""
        seen = ~np.isnan(rows)

        def parts(theta):
            factor = np.array([[np.exp(theta[2]), 0.0], [theta[3], np.exp(theta[4])]])
            return theta[:2], factor @ factor.T

        def loss(theta):
            mean, covariance = parts(theta)
            total = 0.0
            for pattern in ([True, True], [True, False], [False, True]):
                chosen, mine = np.flatnonzero(pattern), (seen == pattern).all(axis=1)
                normal = multivariate_normal(mean[chosen], covariance[np.ix_(chosen, chosen)])
                total -= weights[mine] @ normal.logpdf(rows[np.ix_(mine, chosen)]).reshape(-1)
            return total / weights.sum()

        actual = minimize(loss, np.zeros(5), method="BFGS", options={"gtol": 1e-9, "maxiter": 2000})
        return parts(actual.x)

    @pytest.mark.parametrize("is_weighted", [False, True])
    @pytest.mark.parametrize("depends", [False, True])
    def test_maximises_the_likelihood_of_what_is_observed(self, is_weighted, depends):
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((150, 2)) @ np.array([[1.0, 0.8], [0.0, 0.6]]) + [3.0, -1.0]
        hidden = (
            rows[:, 0] > 3.0 if depends else rng.random(150) < 0.4
        )  # at random, given what is seen
        rows[hidden, 1] = np.nan
        rows[~hidden & (rng.random(150) < 0.2), 0] = np.nan
        weights = rng.uniform(0.5, 2.0, 150) if is_weighted else np.ones(150)
        model = GaussianMixture(reg_covar=0.0, tol=1e-13, max_iter=20_000).fit(
            rows, sample_weight=weights
        )
        mean, covariance = self.direct(rows, weights)
        np.testing.assert_allclose(model.means_[0], mean, atol=2e-5)
        np.testing.assert_allclose(model.covariances_[0], covariance, atol=2e-5)

    @pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_rows_without_values_change_nothing(self, covariance_type):
        rows = with_holes(200)
        rows = rows[~np.isnan(rows).all(axis=1)]
        padded = np.insert(rows, [0, 0, 50, len(rows)], np.nan, axis=0)
        model = GaussianMixture(
            covariance_type=covariance_type, n_factors=2, random_state=0, max_iter=20
        )
        bounds = [model.fit(X).lower_bounds_ for X in (rows, padded)]
        np.testing.assert_allclose(*bounds, rtol=1e-9)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_recovers_clusters_from_holed_rows(self, covariance_type):
        rng = np.random.default_rng(0)
        centers = np.array([[0.0, 0.0, 0.0], [8.0, 8.0, 0.0], [0.0, 8.0, 8.0]])
        labels = rng.integers(3, size=900)
        rows = centers[labels] + rng.standard_normal((900, 3))
        rows[rng.random(rows.shape) < 0.3] = np.nan
        model = GaussianMixture(
            3, covariance_type=covariance_type, n_factors=1, n_init=3, random_state=0
        ).fit(rows)
        actual = model.means_[
            np.argmin(np.linalg.norm(centers[:, None] - model.means_, axis=2), axis=1)
        ]
        np.testing.assert_allclose(actual, centers, atol=0.5)

    def test_only_missing_values_are_refused(self):
        with pytest.raises(ValueError, match="X must hold some values; got only NaN"):
            GaussianMixture().fit(np.full((5, 2), np.nan))
