"""EM with empty components, singular and narrow covariances, and unlike units."""

import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.mixture import GaussianMixture as Theirs

from probgen import GaussianMixture, RowBlocks

SHARED = ["full", "tied", "diag", "spherical"]
TYPES = [*SHARED, "low_rank"]
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def assert_usable(model, X):
    """No attribute of the model is NaN, and its queries work."""
    for name, value in vars(model).items():
        if name.endswith("_") and isinstance(value, np.ndarray) and value.dtype.kind == "f":
            assert np.isfinite(value).all(), name
    assert np.isfinite(model.lower_bounds_).all()
    assert np.isfinite(model.score_samples(X)).all()
    assert np.isfinite(model.sample(20, random_state=0)).all()
    assert model.weights_.sum() == pytest.approx(1.0, abs=1e-9)


def fit_with_repairs(model, X):
    """Fit, and assert that exactly one warning says what was repaired."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X)
    messages = [
        str(warning.message) for warning in caught if str(warning.message).startswith("EM ")
    ]
    assert len(messages) == 1
    expected = {
        f"moved {model.n_reseeded_} empty components": model.n_reseeded_ > 0,
        f"repaired {model.n_repaired_} covariances": model.n_repaired_ > 0,
    }
    for words, is_said in expected.items():
        assert (words in messages[0]) == is_said
    assert ("fewer components" in messages[0]) or ("reg_covar" in messages[0])
    assert all(issubclass(warning.category, UserWarning) for warning in caught)
    return model


class TestEmptyComponents:
    @pytest.mark.parametrize("in_blocks", [False, True])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_move_to_rows_that_are_explained_worst(self, covariance_type, in_blocks):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((400, 2)) + np.repeat(
            [[0.0, 0.0], [30.0, 0.0], [0.0, 30.0]], [199, 199, 2], axis=0
        )
        start = [[0.0, 0.0], [30.0, 0.0], [1e7, 1e7]]
        model = GaussianMixture(
            3,
            covariance_type=covariance_type,
            n_factors=1,
            means_init=start,
            random_state=0,
            reg_covar=1e-2,
            max_iter=300,
        )
        fit_with_repairs(model, RowBlocks([X[:150], X[300:], X[150:300]]) if in_blocks else X)
        assert_usable(model, X)
        assert (model.n_reseeded_, model.n_repaired_) == (1, 0)
        assert np.abs(model.means_).max() < 40.0
        if covariance_type == "low_rank":  # which has other maxima to climb to from there
            return
        # The third component found the two rows that no other explained.
        np.testing.assert_allclose(model.means_[2], X[-2:].mean(axis=0), atol=0.5)
        assert model.weights_[2] == pytest.approx(2 / 400, rel=0.1)

    @pytest.mark.parametrize("is_lost", [False, True])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_are_not_moved_for_ever_where_rows_repeat(self, covariance_type, is_lost):
        distinct = np.array([[0.0, 1.0, 5.0], [2.0, 0.0, 5.0]])
        X = np.repeat(distinct, 10, axis=0)
        model = GaussianMixture(
            6, covariance_type=covariance_type, n_factors=2, reg_covar=0.0, random_state=0
        )
        if is_lost:
            model.set_params(
                means_init=np.concatenate([distinct, 1e7 + np.arange(12.0).reshape(4, 3)])
            )
        fit_with_repairs(model, X)
        assert_usable(model, X)
        assert (4 if is_lost else 0) <= model.n_reseeded_ <= 6
        assert model.n_repaired_ > 0
        assert model.converged_
        filled = model.impute([[0.0, np.nan, 5.0], [2.0, np.nan, 5.0]])
        np.testing.assert_allclose(filled[:, 1], distinct[:, 1], atol=1e-4)

    @unconverged
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_where_every_row_misses_something(self, covariance_type):
        X = np.random.default_rng(0).standard_normal((60, 2))
        X[np.arange(60), np.arange(60) % 2] = np.nan
        start = [[0.0, 0.0], [1e6, 1e6]]
        model = GaussianMixture(
            2,
            covariance_type=covariance_type,
            n_factors=1,
            means_init=start,
            random_state=0,
            max_iter=10,
        )
        with warnings.catch_warnings(category=UserWarning, action="ignore"):
            model.fit(X)
        assert_usable(model, X)


class TestSingularCovariances:
    @pytest.mark.parametrize("reg_covar", [0.0, 1e-6])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_rows_all_alike(self, covariance_type, reg_covar):
        X = np.full((10, 3), 0.1)
        model = GaussianMixture(
            1, covariance_type=covariance_type, n_factors=1, reg_covar=reg_covar
        )
        if reg_covar:
            model.fit(X)
            assert model.n_repaired_ == 0
            truth = 3 * norm(0.0, np.sqrt(reg_covar)).logpdf(0.0)
            np.testing.assert_allclose(model.score_samples(X), truth, rtol=1e-3)
        else:
            fit_with_repairs(model, X)
            assert model.n_repaired_ > 0
        assert_usable(model, X)
        np.testing.assert_allclose(model.sample(10), 0.1, atol=0.01)

    @pytest.mark.parametrize("covariance_type", ["full", "tied"])
    def test_of_features_that_repeat(self, covariance_type):
        rng = np.random.default_rng(0)
        x = rng.standard_normal((200, 1))
        X = np.column_stack([x, x, 1e6 * x, rng.standard_normal(200)])
        model = fit_with_repairs(
            GaussianMixture(1, covariance_type=covariance_type, reg_covar=0.0), X
        )
        assert_usable(model, X)
        draws = model.sample(1000, random_state=0)
        np.testing.assert_allclose(draws[:, 1], draws[:, 0], atol=1e-4)
        np.testing.assert_allclose(draws[:, 2] / 1e6, draws[:, 0], atol=1e-4)
        marginal = model.score_samples(np.where([True, False, False, True], X, np.nan))
        truth = multivariate_normal(
            X[:, [0, 3]].mean(axis=0), np.cov(X[:, [0, 3]].T, bias=True)
        ).logpdf(X[:, [0, 3]])
        np.testing.assert_allclose(marginal, truth, rtol=1e-6)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_a_constant_feature_leave_the_others_alone(self, covariance_type):
        X = np.random.default_rng(0).standard_normal((100, 3))
        X[:, 1] = 7.0
        model = GaussianMixture(
            1, covariance_type=covariance_type, n_factors=1, reg_covar=0.0, tol=1e-8, max_iter=500
        )
        if covariance_type == "spherical":
            model.fit(X)
        else:
            fit_with_repairs(model, X)
            others = model.score_samples(np.where([True, False, True], X, np.nan))
            scores = [norm(x.mean(), x.std()).logpdf(x) for x in X[:, [0, 2]].T]
            if covariance_type == "diag":
                np.testing.assert_allclose(others, sum(scores), rtol=1e-9)
            np.testing.assert_allclose(model.sample(50)[:, 1], 7.0, atol=1e-4)
        assert_usable(model, X)


@pytest.mark.parametrize("covariance_type", TYPES)
def test_units_of_the_features_do_not_matter(covariance_type):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((500, 3)) @ rng.standard_normal((3, 3))
    units = np.full(3, 1e8) if covariance_type == "spherical" else np.array([1e-4, 1.0, 1e8])
    model = GaussianMixture(
        covariance_type=covariance_type, n_factors=1, reg_covar=0.0, tol=1e-6, max_iter=1000
    )
    one = model.fit(X).score_samples(X)
    scaled = model.fit(X * units)
    assert scaled.n_repaired_ == 0
    tolerance = 1e-3 if covariance_type == "low_rank" else 1e-8
    np.testing.assert_allclose(
        scaled.score_samples(X * units) + np.log(units).sum(), one, rtol=tolerance, atol=tolerance
    )


def test_a_small_feature_beside_a_large_one_is_fitted_as_scikit_learn_fits_it():
    rng = np.random.default_rng(0)
    X = np.column_stack(
        [1.6e9 + 1e7 * rng.standard_normal(1000), rng.integers(0, 2, 1000) + 0.1 * rng.random(1000)]
    )
    ours, theirs = GaussianMixture().fit(X), Theirs().fit(X)
    assert ours.n_repaired_ == 0
    assert ours.score(X) == pytest.approx(theirs.score(X), rel=1e-6)


class TestNarrowComponents:
    """Deviations of 1e-2 about means 1e4 apart: squares about one origin lose all digits."""

    def make(self, n_features, covariance_type):
        rng = np.random.default_rng(0)
        centers = 1e4 * rng.standard_normal((3, n_features))
        labels = rng.integers(3, size=900)
        precision = {
            "full": np.tile(1e4 * np.eye(n_features), (3, 1, 1)),
            "tied": 1e4 * np.eye(n_features),
            "diag": np.full((3, n_features), 1e4),
            "spherical": np.full(3, 1e4),
        }[covariance_type]
        start = {
            "weights_init": np.full(3, 1 / 3),
            "means_init": centers,
            "precisions_init": precision,
        }
        return (
            centers[labels] + 1e-2 * rng.standard_normal((900, n_features)),
            labels,
            centers,
            start,
        )

    @pytest.mark.parametrize("n_features", [2, 60])
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_are_learned_to_the_digits_that_the_rows_have(self, covariance_type, n_features):
        X, labels, centers, start = self.make(n_features, covariance_type)
        model = GaussianMixture(3, covariance_type=covariance_type, reg_covar=0.0, **start).fit(X)
        first = logsumexp(
            [multivariate_normal(mean, 1e-4).logpdf(X) for mean in centers], axis=0
        ) - np.log(3.0)
        assert model.lower_bounds_[0] == pytest.approx(first.mean(), rel=1e-9)
        weights = np.bincount(labels) / 900
        within = np.array([np.cov(X[labels == k].T, bias=True) for k in range(3)])
        pooled = np.einsum("k,kij->ij", weights, within)
        truth = {
            "full": within,
            "tied": pooled,
            "diag": np.diagonal(within, axis1=1, axis2=2),
            "spherical": np.trace(within, axis1=1, axis2=2) / n_features,
        }[covariance_type]
        np.testing.assert_allclose(model.covariances_, truth, rtol=1e-6, atol=1e-6 * 1e-4)
        dense = {
            "full": within,
            "tied": [pooled] * 3,
            "diag": [np.diag(np.diag(covariance)) for covariance in within],
            "spherical": [
                np.trace(covariance) / n_features * np.eye(n_features) for covariance in within
            ],
        }[covariance_type]
        own = [
            multivariate_normal(X[labels == k].mean(axis=0), dense[k]).logpdf(X[labels == k])
            + np.log(weights[k])
            for k in range(3)
        ]
        scores = model.score_samples(X)
        for k in range(3):
            np.testing.assert_allclose(scores[labels == k], own[k], rtol=1e-8, atol=1e-8)
        assert model.lower_bound_ == pytest.approx(scores.mean(), rel=1e-9)

    def test_of_factors_are_learned_too(self):
        X, labels, _, _ = self.make(4, "full")
        model = GaussianMixture(
            3,
            covariance_type="low_rank",
            n_factors=3,
            reg_covar=0.0,
            tol=1e-8,
            max_iter=3000,
            random_state=0,
        ).fit(X)
        assert np.diff(model.lower_bounds_).min() > -1e-9
        scores = model.score_samples(X)
        for k in range(3):
            own = X[labels == k]
            normal = multivariate_normal(own.mean(axis=0), np.cov(own.T, bias=True))
            np.testing.assert_allclose(
                scores[labels == k].mean(),
                normal.logpdf(own).mean() + np.log(len(own) / 900),
                atol=1e-3,
            )
            mean, loadings, noise = (
                array[model.predict(own[:1])[0]]
                for array in (model.means_, model.loadings_, model.noise_variances_)
            )
            dense = multivariate_normal(mean, loadings @ loadings.T + np.diag(noise))
            np.testing.assert_allclose(
                scores[labels == k], dense.logpdf(own) + np.log(len(own) / 900), atol=1e-7
            )


class TestOverflow:
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_is_said_in_fit(self, covariance_type):
        model = GaussianMixture(1, covariance_type=covariance_type, n_factors=1)
        with pytest.raises(ValueError, match="squares overflow; scale its columns"):
            model.fit([[1e200, 0.0], [-1e200, 1.0], [0.0, 2.0]])

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_is_said_in_partial_fit_and_does_no_harm(self, covariance_type):
        X = np.random.default_rng(0).standard_normal((100, 2))
        model = GaussianMixture(
            2, covariance_type=covariance_type, n_factors=1, random_state=0
        ).fit(X)
        before = model.score_samples(X)
        with pytest.raises(ValueError, match="squares overflow; scale its columns"):
            model.partial_fit([[1e200, -1e200]])
        np.testing.assert_array_equal(model.score_samples(X), before)
        assert np.isfinite(model.partial_fit(X).score(X))
