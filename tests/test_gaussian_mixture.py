"""The Gaussian mixture against scikit-learn's, scipy's densities and the theory of EM."""

import pickle

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import chisquare, multivariate_normal
from sklearn.datasets import load_digits
from sklearn.decomposition import FactorAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture as Theirs

from probgen import GaussianMixture

SHARED = ["full", "tied", "diag", "spherical"]
TYPES = [*SHARED, "low_rank"]
unconverged = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def make_rows(n_rows=400, n_features=3, n_clusters=3, seed=0):
    """Overlapping clusters of unlike shapes, far from the origin."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n_clusters):
        mixing = rng.standard_normal((n_features, n_features)) + np.eye(n_features)
        rows.append(
            10.0
            + 3.0 * rng.standard_normal(n_features)
            + rng.standard_normal((n_rows, n_features)) @ mixing.T
        )
    return np.concatenate(rows)[rng.permutation(n_clusters * n_rows)[:n_rows]]


def make_start(X, n_components, covariance_type, scale=1.0, seed=1):
    """Arguments weights_init, means_init and precisions_init, all of them uneven."""
    rng = np.random.default_rng(seed)
    K, d = n_components, X.shape[1]
    mixing = rng.standard_normal((K, d, d)) / np.sqrt(d)
    full = (mixing @ mixing.transpose(0, 2, 1) + np.eye(d)) / scale**2
    precisions = {
        "full": full,
        "tied": full[0],
        "diag": np.diagonal(full, axis1=1, axis2=2).copy(),
        "spherical": full[:, 0, 0].copy(),
    }
    weights = rng.uniform(1.0, 2.0, K)
    return {
        "weights_init": weights / weights.sum(),
        "means_init": X[rng.choice(len(X), K, replace=False)],
        "precisions_init": precisions[covariance_type],
        "covariance_type": covariance_type,
    }


def covariances_of(model):
    """The covariances of a fitted model, (K, d, d), whatever its type."""
    K, d = model.means_.shape
    if model.covariance_type == "low_rank":
        products = model.loadings_ @ model.loadings_.transpose(0, 2, 1)
        return products + np.eye(d) * model.noise_variances_[:, None, :]
    if model.covariance_type in ("full", "tied"):
        return np.broadcast_to(model.covariances_, (K, d, d))
    return np.eye(d) * model.covariances_.reshape(K, 1, -1)


def log_joint_by_scipy(model, X):
    """Log of weight times density, (n, K), from dense covariances."""
    normals = [
        multivariate_normal(mean, covariance)
        for mean, covariance in zip(model.means_, covariances_of(model))
    ]
    return np.column_stack([normal.logpdf(X) for normal in normals]) + np.log(model.weights_)


class TestAgainstScikitLearn:
    """From one start, the same path."""

    def assert_same_path(self, X, n_components, arguments):
        ours = GaussianMixture(n_components, **arguments).fit(X)
        theirs = Theirs(n_components, **arguments).fit(X)
        assert (ours.n_iter_, ours.converged_) == (theirs.n_iter_, theirs.converged_)
        assert ours.n_iter_ > 3
        if hasattr(theirs, "lower_bounds_"):  # since scikit-learn 1.7
            np.testing.assert_allclose(ours.lower_bounds_, theirs.lower_bounds_, rtol=1e-9)
        assert ours.lower_bound_ == pytest.approx(theirs.lower_bound_, rel=1e-9)
        for name in ("weights_", "means_", "covariances_", "precisions_", "precisions_cholesky_"):
            mine, other = getattr(ours, name), getattr(theirs, name)
            assert mine.shape == other.shape
            np.testing.assert_allclose(
                mine, other, rtol=1e-6, atol=1e-7 * np.abs(other).max(), err_msg=name
            )
        np.testing.assert_allclose(ours.score_samples(X), theirs.score_samples(X), rtol=1e-7)
        np.testing.assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-7)
        np.testing.assert_array_equal(ours.predict(X), theirs.predict(X))
        assert ours.bic(X) == pytest.approx(theirs.bic(X), rel=1e-9)
        assert ours.aic(X) == pytest.approx(theirs.aic(X), rel=1e-9)

    @unconverged
    @pytest.mark.parametrize("n_features", [1, 3, 49, 70])
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_from_a_given_start(self, covariance_type, n_features):
        X = make_rows(600, n_features)
        start = make_start(X, 3, covariance_type, scale=X.std())
        self.assert_same_path(X, 3, {**start, "max_iter": 12, "reg_covar": 1e-4})

    @unconverged
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_on_digits(self, covariance_type):
        X = load_digits().data
        start = make_start(X, 5, covariance_type, scale=6.0)
        self.assert_same_path(X, 5, {**start, "max_iter": 8, "reg_covar": 0.01})

    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_until_it_converges_on_a_real_table(self, data_file, covariance_type):
        X = np.load(data_file("uci_power_plant.npz"))["X"][:2000]
        start = make_start(X, 2, covariance_type, scale=X.std(axis=0).mean())
        self.assert_same_path(X, 2, {**start, "max_iter": 400, "tol": 1e-4})

    @unconverged
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_a_usual_fit_is_no_worse(self, covariance_type):
        X = make_rows(1000, 4)
        arguments = {"covariance_type": covariance_type, "random_state": 0, "n_init": 5}
        ours, theirs = GaussianMixture(3, **arguments).fit(X), Theirs(3, **arguments).fit(X)
        assert ours.score(X) > theirs.score(X) - 0.01

    @unconverged
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_fit_predict_labels_by_the_last_parameters(self, covariance_type):
        X = make_rows(600, 3)
        start = make_start(X, 3, covariance_type, scale=X.std())
        arguments = {**start, "max_iter": 2, "reg_covar": 1e-4}
        ours = GaussianMixture(3, **arguments)
        theirs = Theirs(3, **arguments)
        labels = ours.fit_predict(X, np.zeros(600))
        np.testing.assert_array_equal(labels, theirs.fit_predict(X))
        np.testing.assert_array_equal(labels, ours.predict(X))
        # The E-step before gave other labels, so that these show the last M-step.
        arguments["max_iter"] = 1
        assert (labels != Theirs(3, **arguments).fit_predict(X)).any()

    @unconverged
    def test_fit_predict_weighs_rows(self):
        X = make_rows(100, 2)
        weights = np.random.default_rng(0).integers(0, 4, size=100)
        start = make_start(X, 2, "full", scale=X.std())
        labels = GaussianMixture(2, **start, max_iter=5).fit_predict(X, sample_weight=weights)
        theirs = Theirs(2, **start, max_iter=5).fit(np.repeat(X, weights, axis=0))
        np.testing.assert_array_equal(labels, theirs.predict(X))
        unweighted = Theirs(2, **start, max_iter=5).fit(X)
        assert (labels != unweighted.predict(X)).any()


class TestDensity:
    @pytest.mark.parametrize("n_features", [1, 2, 50])
    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_is_that_of_scipy(self, covariance_type, n_features):
        X = make_rows(300, n_features)
        model = GaussianMixture(
            2, covariance_type=covariance_type, random_state=0, reg_covar=1e-3
        ).fit(X)
        joint = log_joint_by_scipy(model, X)
        np.testing.assert_allclose(model.score_samples(X), logsumexp(joint, axis=1), rtol=1e-9)
        posterior = np.exp(joint - logsumexp(joint, axis=1, keepdims=True))
        np.testing.assert_allclose(model.predict_proba(X), posterior, atol=1e-9)
        np.testing.assert_array_equal(model.transform(X), model.predict_proba(X))
        np.testing.assert_array_equal(model.predict(X), np.argmax(joint, axis=1))

    @unconverged
    @pytest.mark.parametrize("n_features, n_factors", [(5, 1), (5, 4), (5, 5), (5, 9), (60, 3)])
    def test_of_factors_is_that_of_their_dense_covariance(self, n_features, n_factors):
        X = make_rows(300, n_features)
        model = GaussianMixture(
            2, covariance_type="low_rank", n_factors=n_factors, random_state=0, max_iter=10
        ).fit(X)
        assert model.loadings_.shape == (2, n_features, min(n_factors, n_features))
        truth = logsumexp(log_joint_by_scipy(model, X), axis=1)
        np.testing.assert_allclose(model.score_samples(X), truth, rtol=1e-8)

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_rows_out_of_reach_is_nothing_and_no_component_is_preferred(self, covariance_type):
        X = make_rows(300, 2)
        model = GaussianMixture(
            2, covariance_type=covariance_type, n_factors=1, random_state=0
        ).fit(X)
        far = np.array([[1e200, 0.0], [1e200, -1e200]])
        np.testing.assert_array_equal(model.score_samples(far), -np.inf)
        np.testing.assert_array_equal(model.predict_proba(far), 0.5)
        for reach in (1e8, 1e100):
            posterior = model.predict_proba([[reach, -reach]])
            assert posterior.sum() == pytest.approx(1.0, abs=1e-12)

    @unconverged
    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    @pytest.mark.parametrize("n_features, n_components", [(2, 17), (60, 4), (300, 2)])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_of_a_row_alone_is_bit_for_bit_that_in_a_batch(
        self, covariance_type, n_features, n_components, dtype
    ):
        X = np.random.default_rng(0).standard_normal((5000, n_features)).astype(dtype)
        model = GaussianMixture(
            n_components,
            covariance_type=covariance_type,
            n_factors=2,
            max_iter=1,
            init_params="random_from_data",
        ).fit(X[:600])
        scores, posterior = model.score_samples(X), model.predict_proba(X)
        for i in (0, 1, 2500, 4999):
            np.testing.assert_array_equal(model.score_samples(X[i : i + 1]), scores[i : i + 1])
            np.testing.assert_array_equal(model.predict_proba(X[i : i + 1]), posterior[i : i + 1])
        np.testing.assert_array_equal(model.score_samples(X[700:1900]), scores[700:1900])
        np.testing.assert_array_equal(model.score_samples(X[::-1]), scores[::-1])


class TestExpectationMaximization:
    @unconverged
    @pytest.mark.parametrize("has_missing", [False, True])
    @pytest.mark.parametrize("is_weighted", [False, True])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_never_lowers_the_likelihood(self, covariance_type, is_weighted, has_missing):
        X = make_rows(300, 4)
        rng = np.random.default_rng(2)
        weights = rng.uniform(0.0, 3.0, len(X)) if is_weighted else None
        if has_missing:
            X[rng.random(X.shape) < 0.2] = np.nan
        model = GaussianMixture(
            3,
            covariance_type=covariance_type,
            n_factors=2,
            reg_covar=0.0,
            tol=0.0,
            max_iter=40,
            random_state=0,
        ).fit(X, sample_weight=weights)
        assert len(model.lower_bounds_) > 20
        assert np.diff(model.lower_bounds_).min() > -1e-10
        assert model.lower_bounds_[-1] > model.lower_bounds_[0] + 0.01
        present = ~np.isnan(X).all(axis=1)
        mean = np.average(
            model.score_samples(X)[present], weights=None if weights is None else weights[present]
        )
        assert mean >= model.lower_bound_ - 1e-10

    def test_reaches_the_likelihood_of_factor_analysis(self):
        rng = np.random.default_rng(0)
        X = rng.standard_normal((400, 2)) @ rng.standard_normal((2, 6)) + rng.standard_normal(
            (400, 6)
        ) * rng.uniform(0.3, 1.5, 6)
        ours = GaussianMixture(
            covariance_type="low_rank", n_factors=2, tol=1e-10, max_iter=5000, reg_covar=0.0
        ).fit(X)
        theirs = FactorAnalysis(2, svd_method="lapack", tol=1e-10, max_iter=5000).fit(X)
        assert ours.score(X) == pytest.approx(theirs.score(X), abs=1e-6)
        np.testing.assert_allclose(covariances_of(ours)[0], theirs.get_covariance(), atol=1e-3)

    def test_with_all_but_one_factor_reaches_the_full_covariance(self):
        X = make_rows(400, 4, n_clusters=1)
        low_rank = GaussianMixture(
            covariance_type="low_rank", n_factors=3, tol=1e-9, max_iter=5000
        ).fit(X)
        full = GaussianMixture().fit(X)
        assert low_rank.score(X) == pytest.approx(full.score(X), abs=1e-4)
        assert low_rank.bic(X) == pytest.approx(
            full.bic(X), abs=0.2
        )  # rotations of the factors do not count

    def test_sharper_pictures_of_digits_by_factors(self):
        X = load_digits().data / 16.0
        train, test = X[::2], X[1::2]
        scores = {
            kind: (
                GaussianMixture(
                    10, covariance_type=kind, n_factors=8, reg_covar=1e-3, random_state=0
                )
                .fit(train)
                .score(test)
            )
            for kind in ("low_rank", "tied", "diag")
        }
        assert scores["low_rank"] > max(scores["tied"], scores["diag"]) + 5.0

    @pytest.mark.parametrize("covariance_type", SHARED)
    def test_with_one_component_is_the_sample_covariance(self, covariance_type):
        X = make_rows(200, 3)
        model = GaussianMixture(covariance_type=covariance_type, reg_covar=0.5).fit(X)
        empirical = np.cov(X.T, bias=True)
        truth = {
            "full": empirical[None] + 0.5 * np.eye(3),
            "tied": empirical + 0.5 * np.eye(3),
            "diag": np.diag(empirical)[None] + 0.5,
            "spherical": np.array([np.trace(empirical) / 3.0 + 0.5]),
        }
        np.testing.assert_allclose(model.covariances_, truth[covariance_type], rtol=1e-12)
        np.testing.assert_allclose(model.means_[0], X.mean(axis=0), rtol=1e-12)


class TestWeightsAndOrder:
    @pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data"])
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_integer_weights_equal_repeated_rows(self, covariance_type, init_params):
        X = make_rows(250, 3)
        weights = np.random.default_rng(3).integers(0, 4, len(X))
        model = GaussianMixture(
            3,
            covariance_type=covariance_type,
            n_factors=1,
            init_params=init_params,
            random_state=0,
            max_iter=300,
        )
        weighted = pickle.loads(pickle.dumps(model)).fit(X, sample_weight=weights)
        repeated = model.fit(
            np.repeat(X, weights, axis=0)[np.random.default_rng(4).permutation(weights.sum())]
        )
        assert weighted.n_iter_ == repeated.n_iter_
        np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-9)
        np.testing.assert_allclose(weighted.means_, repeated.means_, rtol=1e-7)
        np.testing.assert_allclose(covariances_of(weighted), covariances_of(repeated), atol=1e-6)

    @unconverged
    def test_also_with_missing_values(self):
        X = make_rows(250, 3)
        X[np.random.default_rng(5).random(X.shape) < 0.2] = np.nan
        weights = np.random.default_rng(3).integers(0, 4, len(X))
        weighted = GaussianMixture(2, random_state=0, max_iter=10).fit(X, sample_weight=weights)
        repeated = GaussianMixture(2, random_state=0, max_iter=10).fit(
            np.repeat(X, weights, axis=0)
        )
        np.testing.assert_allclose(weighted.lower_bounds_, repeated.lower_bounds_, rtol=1e-9)

    def test_weights_move_the_fit(self):
        X = make_rows(200, 2)
        weights = np.random.default_rng(3).uniform(size=200)
        model = GaussianMixture(reg_covar=0.0).fit(X, sample_weight=weights)
        np.testing.assert_allclose(
            model.means_[0], np.average(X, axis=0, weights=weights), rtol=1e-12
        )
        np.testing.assert_allclose(
            model.covariances_[0], np.cov(X.T, aweights=weights, bias=True), rtol=1e-10
        )

    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_the_order_of_the_rows_does_not_matter(self, covariance_type):
        X = make_rows(300, 3)
        model = GaussianMixture(
            3, covariance_type=covariance_type, n_factors=1, random_state=0, max_iter=300
        )
        bounds = [model.fit(rows).lower_bounds_ for rows in (X, X[::-1])]
        np.testing.assert_allclose(*bounds, rtol=1e-9)


class TestStarts:
    @unconverged
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_in_parallel_end_alike(self, covariance_type):
        X = make_rows(300, 3)
        alone, together = (
            GaussianMixture(
                3,
                covariance_type=covariance_type,
                n_factors=1,
                n_init=4,
                n_jobs=n_jobs,
                random_state=0,
                max_iter=15,
            ).fit(X)
            for n_jobs in (1, 2)
        )
        np.testing.assert_allclose(together.lower_bounds_, alone.lower_bounds_, rtol=1e-12)
        np.testing.assert_allclose(together.means_, alone.means_, rtol=1e-9)

    @unconverged
    def test_the_best_is_kept(self):
        X = make_rows(300, 2, n_clusters=6)
        fits = [
            GaussianMixture(6, n_init=n, init_params="random", random_state=0, max_iter=5).fit(X)
            for n in (1, 8)
        ]
        assert fits[1].lower_bound_ > fits[0].lower_bound_
        assert fits[1].lower_bound_ == fits[1].lower_bounds_[-1]

    @pytest.mark.parametrize("init_params", ["kmeans", "k-means++", "random_from_data", "random"])
    def test_without_iterations_is_the_start(self, init_params):
        X = make_rows(300, 2)
        model = GaussianMixture(3, init_params=init_params, max_iter=0, random_state=0).fit(X)
        assert (model.n_iter_, model.converged_, model.lower_bounds_) == (0, False, [])
        assert model.sample(5).shape == (5, 2)
        assert model.weights_.sum() == pytest.approx(1.0, abs=1e-12)

    def test_a_given_start_without_iterations_is_kept(self):
        X = make_rows(300, 2)
        start = make_start(X, 3, "full")
        model = GaussianMixture(3, max_iter=0, **start).fit(X)
        np.testing.assert_allclose(model.weights_, start["weights_init"], rtol=1e-12)
        np.testing.assert_allclose(model.means_, start["means_init"], rtol=1e-12)
        np.testing.assert_allclose(model.precisions_, start["precisions_init"], rtol=1e-10)
        np.testing.assert_allclose(
            model.covariances_, np.linalg.inv(start["precisions_init"]), rtol=1e-10
        )

    def test_part_of_a_start_may_be_given(self):
        X = make_rows(300, 2)
        start = make_start(X, 3, "diag")
        del start["weights_init"]
        model = GaussianMixture(3, max_iter=0, random_state=0, **start).fit(X)
        np.testing.assert_allclose(model.means_, start["means_init"], rtol=1e-12)
        np.testing.assert_allclose(model.precisions_, start["precisions_init"], rtol=1e-12)

    @unconverged
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_warm_ones_go_on(self, covariance_type):
        X = make_rows(300, 3)
        arguments = {
            "covariance_type": covariance_type,
            "n_factors": 1,
            "random_state": 0,
            "tol": 0.0,
        }
        whole = GaussianMixture(3, max_iter=7, **arguments).fit(X)
        model = GaussianMixture(3, max_iter=3, warm_start=True, **arguments).fit(X)
        first = model.lower_bounds_
        model.set_params(max_iter=4).fit(X)
        np.testing.assert_allclose([*first, *model.lower_bounds_], whole.lower_bounds_, rtol=1e-9)

    @pytest.mark.parametrize("changed", [{"n_components": 4}, {"covariance_type": "diag"}])
    def test_warm_ones_of_another_shape_start_anew(self, changed):
        X = make_rows(300, 3)
        model = (
            GaussianMixture(2, warm_start=True, random_state=0).fit(X).set_params(**changed).fit(X)
        )
        anew = GaussianMixture(**{"n_components": 2, "random_state": 0, **changed}).fit(X)
        np.testing.assert_array_equal(model.means_, anew.means_)
        assert model.fit(X[:, :2]).means_.shape[1] == 2

    @pytest.mark.parametrize(
        "name, value, message",
        [
            (
                "weights_init",
                [0.5, 0.25, 0.5],
                r"'weights' should be normalized, but got sum\(weights\) = 1.25",
            ),
            (
                "weights_init",
                [1.5, -0.5, 0.0],
                "'weights' should be in the range .* max value 1.5.*, min value -0.5",
            ),
            (
                "weights_init",
                [0.5, 0.5],
                r"'weights' should have the shape of \(3,\), but got \(2,\)",
            ),
            (
                "means_init",
                np.zeros((2, 2)),
                r"'means' should have the shape of \(3, 2\), but got \(2, 2\)",
            ),
            ("means_init", np.full((3, 2), np.nan), "'means' should be finite"),
            ("precisions_init", np.ones((3, 2)), "'full precision' should have the shape"),
            (
                "precisions_init",
                np.ones((3, 2, 2)),
                "'full precision' should be symmetric, positive-definite",
            ),
        ],
    )
    def test_of_another_shape_or_range_are_refused(self, name, value, message):
        with pytest.raises(ValueError, match=message):
            GaussianMixture(3, **{name: value}).fit(make_rows(50, 2))


@unconverged
def test_too_few_iterations_are_warned_about():
    with pytest.warns(ConvergenceWarning, match="did not converge"):
        GaussianMixture(3, max_iter=1, random_state=0).fit(make_rows(100, 2))


@pytest.mark.parametrize("covariance_type", TYPES)
def test_single_precision_rows_give_single_precision_attributes(covariance_type):
    X = make_rows(300, 3).astype(np.float32)
    model = GaussianMixture(2, covariance_type=covariance_type, n_factors=1, random_state=0).fit(X)
    double = GaussianMixture(2, covariance_type=covariance_type, n_factors=1, random_state=0).fit(
        X.astype(np.float64)
    )
    names = ["weights_", "means_"]
    names += (
        ["loadings_", "noise_variances_"]
        if covariance_type == "low_rank"
        else ["covariances_", "precisions_"]
    )
    for name in names:
        assert getattr(model, name).dtype == np.float32
        np.testing.assert_allclose(
            getattr(model, name), getattr(double, name), rtol=1e-3, atol=1e-3
        )
    assert (
        model.score_samples(X).dtype
        == model.predict_proba(X).dtype
        == model.sample(3).dtype
        == np.float32
    )
    np.testing.assert_allclose(model.score_samples(X), double.score_samples(X), atol=1e-3)


def test_a_fitted_model_is_small_on_disk():
    X = make_rows(20_000, 8)
    model = GaussianMixture(3, random_state=0).fit(X)
    assert len(pickle.dumps(model)) < 20_000  # and the rows are 1,280,000 bytes


class TestDraws:
    @pytest.mark.parametrize("covariance_type", TYPES)
    def test_have_the_mixture_s_moments(self, covariance_type):
        X = make_rows(500, 3)
        model = GaussianMixture(
            3, covariance_type=covariance_type, n_factors=1, random_state=0, max_iter=300
        ).fit(X)
        draws = model.sample(200_000, random_state=1)
        mean = model.weights_ @ model.means_
        second = covariances_of(model) + model.means_[:, :, None] * model.means_[:, None, :]
        covariance = np.einsum("k,kij->ij", model.weights_, second) - np.outer(mean, mean)
        scales = np.sqrt(np.diag(covariance))
        np.testing.assert_allclose(draws.mean(axis=0) / scales, mean / scales, atol=0.01)
        np.testing.assert_allclose(
            np.cov(draws.T) / np.outer(scales, scales),
            covariance / np.outer(scales, scales),
            atol=0.02,
        )

    def test_come_from_components_in_proportion_to_weights(self):
        X = np.concatenate([np.full((n, 2), 100.0 * n) for n in (10, 30, 60)])
        X += np.random.default_rng(0).standard_normal(X.shape)
        model = GaussianMixture(3, random_state=0).fit(X)
        np.testing.assert_allclose(np.sort(model.weights_), [0.1, 0.3, 0.6], rtol=1e-9)
        counts = np.bincount(model.predict(model.sample(10_000, random_state=1)), minlength=3)
        assert chisquare(counts, 10_000 * model.weights_).pvalue > 1e-3

    def test_differ_from_call_to_call(self):
        model = GaussianMixture(2, random_state=0).fit(make_rows(100, 2))
        assert not np.isin(model.sample(50), model.sample(50)).any()
