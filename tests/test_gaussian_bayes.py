"""GaussianBayes against discriminant analysis, naive Bayes, mixtures and Bayes' rule."""

import pickle
import re
import warnings

import numpy as np
import pytest
from scipy.stats import chisquare, multivariate_normal, norm
from sklearn.datasets import load_iris, load_wine
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis, QuadraticDiscriminantAnalysis
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.naive_bayes import GaussianNB
from sklearn.utils.estimator_checks import parametrize_with_checks

from probgen import GaussianBayes, GaussianMixture, get_likelihood
from probgen.gaussians import em
from probgen.gaussians.arrays import TorchArrays

FAMILIES = ["full", "tied", "diag", "spherical", "low_rank"]
MOMENT_FAMILIES = FAMILIES[:-1]
SETTINGS = [
    GaussianBayes(random_state=0),
    GaussianBayes(covariance_type="tied", random_state=0),
    GaussianBayes(covariance_type="diag", reg_param=0.1, random_state=0),
    GaussianBayes(covariance_type="low_rank", n_factors=1, random_state=0),
    GaussianBayes(n_components=2, random_state=0),
    GaussianBayes(covariance_type="tied", n_components=2, random_state=0),
]
TABLES = {"wine": load_wine(return_X_y=True), "iris": load_iris(return_X_y=True)}
IRIS, SPECIES = TABLES["iris"]
PEER_DIVIDES_BY_N = np.isclose(
    QuadraticDiscriminantAnalysis(store_covariance=True)
    .fit([[0.0], [2.0], [5.0], [9.0]], [0, 0, 1, 1])
    .covariance_[0],
    1.0,
)


def each(name, values):
    return pytest.mark.parametrize(name, values, ids=str)


def says(message, error=ValueError):
    return pytest.raises(error, match=re.escape(message))


def fit(rows=IRIS, y=SPECIES, sample_weight=None, **parameters):
    """A fit that may stop before it has converged."""
    with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
        return GaussianBayes(**{"random_state": 0} | parameters).fit(
            rows, y, sample_weight=sample_weight
        )


def gaussian_classes(model, rows):
    """log p(x, y) with one full Gaussian a class, from SciPy's normals."""
    normals = zip(model.means_, model.covariances_, strict=True)
    columns = [multivariate_normal(mean, covariance).logpdf(rows) for mean, covariance in normals]
    return np.column_stack(columns) + np.log(model.class_prior_)


@parametrize_with_checks(SETTINGS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


@each("table", TABLES)
class TestDiscriminantAnalysis:
    @pytest.mark.skipif(not PEER_DIVIDES_BY_N, reason="this scikit-learn divides scatter by n - 1")
    @each("reg_param", [0.0, 0.1, 1.0])
    def test_full_is_quadratic(self, table, reg_param):
        rows, y = TABLES[table]
        peer = QuadraticDiscriminantAnalysis(store_covariance=True, reg_param=reg_param).fit(
            rows, y
        )
        ours = GaussianBayes(reg_covar=0.0, reg_param=reg_param).fit(rows, y)
        np.testing.assert_allclose(ours.covariances_, peer.covariance_, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(ours.means_, peer.means_, rtol=1e-12)
        np.testing.assert_allclose(ours.class_prior_, peer.priors_, rtol=1e-12)
        np.testing.assert_allclose(
            ours.predict_log_proba(rows), peer.predict_log_proba(rows), rtol=1e-6, atol=1e-8
        )

    @each("reg_param", [0.0, 0.1, 1.0])
    def test_reg_param_shrinks_towards_the_identity(self, table, reg_param):
        rows, y = TABLES[table]
        identity = np.eye(rows.shape[1])
        for k, scatter in enumerate([np.cov(rows[y == k].T, bias=True) for k in range(3)]):
            expected = (1 - reg_param) * scatter + (reg_param + 1e-6) * identity
            settings = {"reg_param": reg_param, "reg_covar": 1e-6}
            actual = fit(rows, y, **settings).covariances_[k]
            np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-12)
            actual = fit(rows, y, **settings, covariance_type="diag").covariances_[k]
            np.testing.assert_allclose(actual, np.diag(expected), rtol=1e-7)
            actual = fit(rows, y, **settings, covariance_type="spherical").covariances_[k]
            np.testing.assert_allclose(actual, np.trace(expected) / len(expected), rtol=1e-7)
        within = np.sum(
            [np.sum(y == k) * np.cov(rows[y == k].T, bias=True) for k in range(3)], axis=0
        ) / len(y)
        expected = (1 - reg_param) * within + (reg_param + 1e-6) * identity
        actual = fit(rows, y, **settings, covariance_type="tied").covariances_
        np.testing.assert_allclose(actual, expected, rtol=1e-7, atol=1e-12)

    def test_tied_is_linear(self, table):
        rows, y = TABLES[table]
        peer = LinearDiscriminantAnalysis(solver="lsqr", store_covariance=True).fit(rows, y)
        ours = GaussianBayes(covariance_type="tied", reg_covar=0.0).fit(rows, y)
        np.testing.assert_allclose(ours.covariances_, peer.covariance_, rtol=1e-9)
        np.testing.assert_allclose(
            ours.predict_log_proba(rows), peer.predict_log_proba(rows), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_array_equal(ours.predict(rows), peer.predict(rows))

    def test_diag_is_naive_bayes(self, table):
        rows, y = TABLES[table]
        peer = GaussianNB().fit(rows, y)
        ours = GaussianBayes(covariance_type="diag", reg_covar=peer.epsilon_).fit(rows, y)
        np.testing.assert_allclose(ours.covariances_, peer.var_, rtol=1e-9)
        np.testing.assert_allclose(
            ours.predict_log_proba(rows), peer.predict_log_proba(rows), rtol=1e-8, atol=1e-8
        )
        joint = np.column_stack([ours.score_samples(rows, [k] * len(rows)) for k in ours.classes_])
        np.testing.assert_allclose(joint, peer.predict_joint_log_proba(rows), rtol=1e-9)

    @each("covariance_type", MOMENT_FAMILIES)
    def test_one_component_is_a_closed_form(self, table, covariance_type):
        rows, y = TABLES[table]
        model = GaussianBayes(covariance_type=covariance_type, reg_param=0.01).fit(rows, y)
        assert (model.n_iter_, model.converged_) == (1, True)
        given_class = model.score_samples(rows, y) - np.log(model.class_prior_)[y]
        assert model.lower_bound_ == pytest.approx(given_class.mean(), rel=1e-9)


def test_spherical_is_the_mean_variance():
    model = GaussianBayes(covariance_type="spherical", reg_covar=0.5).fit(IRIS, SPECIES)
    expected = [IRIS[SPECIES == k].var(axis=0).mean() + 0.5 for k in range(3)]
    np.testing.assert_allclose(model.covariances_, expected, rtol=1e-10)


def test_low_rank_of_full_rank_reaches_the_full_likelihood():
    full = fit(reg_covar=0.0)
    low = fit(covariance_type="low_rank", n_factors=3, tol=1e-7, max_iter=5000)
    assert low.lower_bound_ == pytest.approx(full.lower_bound_, abs=0.01)
    assert low.lower_bound_ <= full.lower_bound_ + 1e-6


def test_low_rank_shrinks_as_reg_param_says():
    plain, shrunk = (
        fit(covariance_type="low_rank", n_factors=1, max_iter=1, reg_param=r, reg_covar=1e-6)
        for r in (0.0, 0.3)
    )
    for k in range(3):
        covariance = plain.loadings_[k] @ plain.loadings_[k].T + np.diag(
            plain.noise_variances_[k] - 1e-6
        )
        actual = shrunk.loadings_[k] @ shrunk.loadings_[k].T + np.diag(
            shrunk.noise_variances_[k] - 1e-6
        )
        np.testing.assert_allclose(actual, 0.7 * covariance + 0.3 * np.eye(4), rtol=1e-9)


class TestMixturesInClasses:
    @each("covariance_type", ["full", "diag", "spherical"])
    def test_untied_is_a_mixture_a_class(self, covariance_type):
        settings = {
            "covariance_type": covariance_type,
            "n_components": 2,
            "tol": 0.0,
            "reg_covar": 1e-6,
        }
        start, ours = fit(max_iter=1, **settings), fit(max_iter=6, **settings)
        for k in range(3):
            own = slice(2 * k, 2 * k + 2)
            peer = GaussianMixture(
                max_iter=5,
                weights_init=start.weights_[own] / start.weights_[own].sum(),
                means_init=start.means_[own],
                precisions_init=start.precisions_[own],
                **settings,
            )
            with warnings.catch_warnings(category=ConvergenceWarning, action="ignore"):
                peer.fit(IRIS[SPECIES == k])
            np.testing.assert_allclose(
                ours.weights_[own], peer.weights_ * ours.class_prior_[k], rtol=1e-7
            )
            np.testing.assert_allclose(ours.means_[own], peer.means_, rtol=1e-7)
            np.testing.assert_allclose(
                ours.covariances_[own], peer.covariances_, rtol=1e-6, atol=1e-12
            )
            expected = peer.score_samples(IRIS) + np.log(1 / 3)
            np.testing.assert_allclose(ours.score_samples(IRIS, [k] * 150), expected, rtol=1e-7)

    def test_tied_pools_the_scatter_of_all_classes(self):
        model = fit(covariance_type="tied", n_components=2, tol=0.0, max_iter=200, reg_covar=0.0)
        joint = np.column_stack(
            [
                np.log(weight) + multivariate_normal(mean, model.covariances_).logpdf(IRIS)
                for weight, mean in zip(model.weights_, model.means_, strict=True)
            ]
        )
        joint[np.repeat(np.arange(3), 2) != SPECIES[:, None]] = -np.inf
        shares = np.exp(joint - np.logaddexp.reduce(joint, axis=1, keepdims=True))
        # EM has arrived: its own M-step, written out, changes nothing.
        means = shares.T @ IRIS / shares.sum(axis=0)[:, None]
        centred = IRIS[:, None] - model.means_
        covariance = np.einsum("nk,nki,nkj->ij", shares, centred, centred) / len(IRIS)
        np.testing.assert_allclose(model.means_, means, atol=1e-4)
        np.testing.assert_allclose(model.covariances_, covariance, atol=1e-4)

    @each("covariance_type", FAMILIES)
    def test_em_climbs(self, covariance_type):
        bounds = [
            fit(
                covariance_type=covariance_type, n_components=2, n_factors=1, max_iter=n, tol=0.0
            ).lower_bound_
            for n in (1, 2, 4, 8, 16)
        ]
        assert np.all(np.diff(bounds) > 0.0)

    @each("covariance_type", FAMILIES)
    def test_more_components_than_distinct_rows_share_them(self, covariance_type):
        rows = np.repeat([[0.0], [1.0], [5.0], [6.0]], 3, axis=0)
        y = np.repeat([0, 1], 6)
        settings = {
            "covariance_type": covariance_type,
            "reg_covar": 0.01,
            "n_factors": 1,
            "tol": 1e-9,
        }
        many, enough = (
            fit(rows, y, n_components=4, **settings),
            fit(rows, y, n_components=2, **settings),
        )
        np.testing.assert_array_equal(many.predict(rows), y)
        assert many.score(rows) == pytest.approx(enough.score(rows), abs=0.05)


class TestPartialFit:
    ATTRIBUTES = ("means_", "covariances_", "weights_", "class_count_", "class_prior_")

    @each("covariance_type", MOMENT_FAMILIES)
    @each("order", ["mixed", "by class"])
    def test_equals_one_fit_on_the_union(self, covariance_type, order):
        rows = np.arange(150) if order == "by class" else np.random.default_rng(0).permutation(150)
        whole = fit(covariance_type=covariance_type, reg_param=0.05)
        model = GaussianBayes(covariance_type=covariance_type, reg_param=0.05, random_state=0)
        for batch in np.split(
            rows, [1, 40, 90]
        ):  # by class, the last class is first met in the last batch
            model.partial_fit(IRIS[batch], SPECIES[batch], classes=[0, 1, 2])
        for name in self.ATTRIBUTES:
            np.testing.assert_allclose(
                getattr(model, name), getattr(whole, name), rtol=1e-8, atol=1e-14, err_msg=name
            )

    def test_goes_on_from_fit(self):
        weights = np.random.default_rng(0).uniform(0.5, 2.0, 150)
        whole = fit(sample_weight=weights)
        model = fit(IRIS[::2], SPECIES[::2], weights[::2])
        model.partial_fit(IRIS[1::2], SPECIES[1::2], sample_weight=weights[1::2])
        for name in self.ATTRIBUTES:
            np.testing.assert_allclose(
                getattr(model, name), getattr(whole, name), rtol=1e-8, err_msg=name
            )

    @each("covariance_type", FAMILIES)
    def test_a_class_that_was_not_met(self, covariance_type):
        old = SPECIES < 2
        model = GaussianBayes(
            covariance_type=covariance_type, n_factors=1, max_iter=500, random_state=0
        )
        model.partial_fit(IRIS[old], SPECIES[old], classes=[0, 1, 2])
        np.testing.assert_allclose(model.class_prior_, [0.5, 0.5, 0.0])
        assert np.isnan(model.means_[2]).all()
        np.testing.assert_array_equal(model.predict_proba(IRIS)[:, 2], 0.0)
        np.testing.assert_array_equal(model.score_samples(IRIS, [2] * 150), -np.inf)
        pair = fit(
            IRIS[old], SPECIES[old], covariance_type=covariance_type, n_factors=1, max_iter=500
        )
        np.testing.assert_allclose(model.score_samples(IRIS), pair.score_samples(IRIS), rtol=1e-9)
        with says("y asks for class 2, of which partial_fit has had no rows yet"):
            model.sample(3, y=2)
        model.partial_fit(IRIS[~old], SPECIES[~old])
        assert np.isfinite(model.means_).all()
        assert model.score(IRIS) == pytest.approx(
            fit(covariance_type=covariance_type, n_factors=1).score(IRIS), abs=0.1
        )

    def test_the_first_class_may_come_last(self):
        model = GaussianBayes(random_state=0).partial_fit(
            IRIS[50:], SPECIES[50:], classes=[0, 1, 2]
        )
        rows, y = model.sample(200, y=[1, 2] * 100, return_y=True, random_state=0)
        assert np.mean(model.predict(rows) == y) > 0.95
        assert set(model.sample(50, return_y=True)[1]) == {1, 2}
        assert set(model.sample(50, given={2: 5.0}, return_y=True)[1]) == {1, 2}
        model.partial_fit(IRIS[:50], SPECIES[:50])
        np.testing.assert_allclose(model.means_, fit().means_, rtol=1e-9)

    def test_learning_decay_forgets(self):
        rows, y = np.r_[np.zeros((100, 1)), np.ones((100, 1))], np.zeros(200)
        model = GaussianBayes(learning_decay=0.6).partial_fit(rows[:100], y[:100], classes=[0])
        model.partial_fit(rows[100:], y[100:])
        assert model.means_[0, 0] == pytest.approx(0.5**0.6)

    @each("covariance_type", FAMILIES)
    def test_stepwise_em_comes_near_a_fit(self, covariance_type):
        settings = {
            "covariance_type": covariance_type,
            "n_components": 2,
            "n_factors": 1,
            "max_iter": 500,
        }
        order = np.random.default_rng(0).permutation(150)
        model = GaussianBayes(learning_decay=0.7, random_state=0, **settings)
        for batch in [order[:75], order[75:]] * 10:
            model.partial_fit(IRIS[batch], SPECIES[batch], classes=[0, 1, 2])
        assert model.score(IRIS) > fit(**settings).score(IRIS) - 0.15

    def test_a_prior_of_zero_keeps_the_components_of_its_class(self):
        settings = {"n_components": 2, "random_state": 0}
        free, held = GaussianBayes(**settings), GaussianBayes(priors=[0.0, 0.5, 0.5], **settings)
        for model in (free, held):
            model.fit(IRIS[::2], SPECIES[::2]).partial_fit(IRIS[1::2], SPECIES[1::2])
        np.testing.assert_allclose(held.means_, free.means_, rtol=1e-10)
        np.testing.assert_allclose(held.class_prior_, [0.0, 0.5, 0.5])
        assert held.sample(5, y=0).shape == (5, 4)

    def test_rows_without_values_count_for_the_prior_alone(self):
        model = fit()
        means = model.means_.copy()
        model.partial_fit(np.r_[np.full((50, 4), np.nan), IRIS[:1]], [2] * 50 + [0])
        np.testing.assert_allclose(model.class_prior_, np.array([51, 50, 100]) / 201)
        np.testing.assert_allclose(model.means_[1:], means[1:], rtol=1e-12)


@each("covariance_type", FAMILIES)
@each("n_components", [1, 2])
def test_integer_weights_equal_repeats(covariance_type, n_components):
    settings = {"covariance_type": covariance_type, "n_components": n_components, "n_factors": 1}
    weights = np.random.default_rng(0).integers(0, 4, 150)
    weighted = fit(sample_weight=weights, **settings)
    repeated = fit(np.repeat(IRIS, weights, axis=0), np.repeat(SPECIES, weights), **settings)
    np.testing.assert_allclose(weighted.class_count_, repeated.class_count_)
    np.testing.assert_allclose(
        weighted.score_samples(IRIS), repeated.score_samples(IRIS), rtol=1e-8
    )


@each("covariance_type", FAMILIES)
def test_torch_takes_the_same_path_as_numpy(covariance_type, monkeypatch):
    settings = {
        "covariance_type": covariance_type,
        "n_components": 2,
        "n_factors": 1,
        "max_iter": 5,
        "device": "cpu",
    }
    plain = fit(**settings)
    monkeypatch.setattr(TorchArrays, "room", lambda self: 2**30)
    monkeypatch.setattr(em, "arrays_on", lambda device: TorchArrays("cpu"))
    torch = fit(**settings)
    np.testing.assert_allclose(torch.means_, plain.means_, rtol=1e-7)
    assert torch.score(IRIS) == pytest.approx(plain.score(IRIS), rel=1e-9)


class TestMissingValues:
    def test_queries_marginalise(self):
        model = fit()
        rows = IRIS[::10].copy()
        holes = np.random.default_rng(0).random(rows.shape) < 0.4
        rows[holes] = np.nan
        rows[0] = np.nan
        expected = np.tile(np.log(model.class_prior_), (len(rows), 1))
        for i, row in enumerate(rows):
            seen = np.flatnonzero(~np.isnan(row))
            for k in range(3) if len(seen) else ():
                covariance = model.covariances_[k][np.ix_(seen, seen)]
                expected[i, k] += multivariate_normal(model.means_[k, seen], covariance).logpdf(
                    row[seen]
                )
        marginal = np.logaddexp.reduce(expected, axis=1)
        np.testing.assert_allclose(model.score_samples(rows), marginal, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(
            model.predict_log_proba(rows), expected - marginal[:, None], rtol=1e-8, atol=1e-12
        )
        np.testing.assert_allclose(
            model.score_samples(rows, [1] * len(rows)), expected[:, 1], rtol=1e-9
        )

    def test_fit_finds_the_maximum_of_the_marginal_likelihood(self):
        # Monotone pattern: the maximum has a closed form, by regression on the whole rows (Little &
        # Rubin, 2019).
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((400, 2)) @ [[1.0, 0.8], [0.0, 0.5]] + [[1.0, 2.0]]
        y = np.repeat([0, 1], 200)
        rows[y == 1] += 3.0
        rows[::3, 1] = np.nan
        model = fit(rows, y, tol=1e-12, max_iter=2000, reg_covar=0.0)
        for k in range(2):
            first, second = rows[y == k].T
            whole = ~np.isnan(second)
            slope, intercept = np.polyfit(first[whole], second[whole], 1)
            rest = np.mean((second[whole] - intercept - slope * first[whole]) ** 2)
            np.testing.assert_allclose(
                model.means_[k], [first.mean(), intercept + slope * first.mean()], rtol=1e-6
            )
            cross = slope * first.var()
            expected = [[first.var(), cross], [cross, rest + slope * cross]]
            np.testing.assert_allclose(model.covariances_[k], expected, rtol=1e-5)

    @each("covariance_type", FAMILIES)
    def test_fit_and_predict_with_holes(self, covariance_type):
        rows = IRIS.copy()
        rows[np.random.default_rng(0).random(rows.shape) < 0.2] = np.nan
        model = fit(rows, covariance_type=covariance_type, n_factors=2)
        assert np.mean(model.predict(rows) == SPECIES) > 0.85
        assert np.isfinite(model.sample(10)).all()


class TestDraws:
    def test_classes_come_with_their_priors(self):
        model = fit(priors=[0.2, 0.5, 0.3])
        _, y = model.sample(3000, return_y=True, random_state=0)
        assert chisquare(np.bincount(y), 3000 * model.class_prior_).pvalue > 1e-3

    @each("covariance_type", FAMILIES)
    def test_moments_of_each_class(self, covariance_type):
        model = fit(covariance_type=covariance_type, n_factors=2)
        for k in range(3):
            rows = model.sample(20_000, y=k, random_state=k)
            covariance = {
                "full": lambda k: model.covariances_[k],
                "tied": lambda k: model.covariances_,
                "diag": lambda k: np.diag(model.covariances_[k]),
                "spherical": lambda k: model.covariances_[k] * np.eye(4),
                "low_rank": lambda k: (
                    model.loadings_[k] @ model.loadings_[k].T + np.diag(model.noise_variances_[k])
                ),
            }[covariance_type](k)
            np.testing.assert_allclose(rows.mean(axis=0), model.means_[k], atol=0.03)
            np.testing.assert_allclose(np.cov(rows.T), covariance, atol=0.02)

    def test_components_of_a_class_come_with_their_weights(self):
        centers = np.repeat([-20.0, 20.0, 100.0], [75, 25, 50])
        rows = (centers + np.random.default_rng(0).standard_normal(150))[:, None]
        model = fit(rows, (centers > 50).astype(int), n_components=2)
        draws = model.sample(4000, y=0, random_state=0)[:, 0]
        assert np.mean(draws < 0.0) == pytest.approx(0.75, abs=0.03)

    def test_labels_asked_for_row_by_row(self):
        names = np.array(["ash", "birch", "cedar"])
        model = fit(y=names[SPECIES])
        asked = names[np.arange(300) % 3]
        rows, y = model.sample(300, y=asked, return_y=True, random_state=0)
        np.testing.assert_array_equal(y, asked)
        assert np.mean(model.predict(rows) == asked) > 0.95

    def test_given_values_change_the_classes_by_bayes_rule(self):
        model = fit()
        value = 5.0  # a petal of either of the last two species
        rows, y = model.sample(4000, given={2: value}, return_y=True, random_state=0)
        np.testing.assert_array_equal(rows[:, 2], value)
        scales = np.sqrt(model.covariances_[:, 2, 2])
        posterior = model.class_prior_ * norm(model.means_[:, 2], scales).pdf(value)
        posterior /= posterior.sum()
        np.testing.assert_allclose(np.bincount(y, minlength=3) / 4000, posterior, atol=0.03)
        for k in (1, 2):
            slopes = model.covariances_[k, [0, 1, 3], 2] / model.covariances_[k, 2, 2]
            expected = model.means_[k, [0, 1, 3]] + slopes * (value - model.means_[k, 2])
            np.testing.assert_allclose(rows[y == k][:, [0, 1, 3]].mean(axis=0), expected, atol=0.06)

    def test_intervals_change_the_classes_by_bayes_rule(self):
        model = fit()
        rows, y = model.sample(4000, given={2: (4.8, 5.2)}, return_y=True, random_state=0)
        assert np.all((rows[:, 2] >= 4.8) & (rows[:, 2] <= 5.2))
        normals = norm(model.means_[:, 2], np.sqrt(model.covariances_[:, 2, 2]))
        posterior = model.class_prior_ * (normals.cdf(5.2) - normals.cdf(4.8))
        np.testing.assert_allclose(
            np.bincount(y, minlength=3) / 4000, posterior / posterior.sum(), atol=0.03
        )

    def test_given_and_class_together(self):
        model = fit(n_components=2)
        rows, y = model.sample(50, y=1, given={0: 6.0}, return_y=True, random_state=0)
        np.testing.assert_array_equal(rows[:, 0], 6.0)
        np.testing.assert_array_equal(y, 1)


class TestDensity:
    @each("covariance_type", FAMILIES)
    @each("n_components", [1, 3])
    def test_integrates_to_one(self, covariance_type, n_components):
        model = fit(
            IRIS[:, 2:3], covariance_type=covariance_type, n_components=n_components, n_factors=1
        )
        grid, step = np.linspace(-10.0, 20.0, 200_001, retstep=True)
        assert np.exp(model.score_samples(grid[:, None])).sum() * step == pytest.approx(
            1.0, abs=1e-6
        )
        joint = [
            np.exp(model.score_samples(grid[:, None], [k] * len(grid))).sum() * step
            for k in range(3)
        ]
        np.testing.assert_allclose(joint, model.class_prior_, atol=1e-6)

    def test_joint_marginal_and_posterior_agree_with_scipy(self):
        model = fit()
        joint = gaussian_classes(model, IRIS)
        np.testing.assert_allclose(
            model.score_samples(IRIS, SPECIES), joint[np.arange(150), SPECIES], rtol=1e-9
        )
        np.testing.assert_allclose(
            model.score_samples(IRIS), np.logaddexp.reduce(joint, axis=1), rtol=1e-9
        )
        np.testing.assert_array_equal(model.predict(IRIS), np.argmax(joint, axis=1))
        assert get_likelihood(model).kind == "exact"

    def test_priors_shift_the_joint_density(self):
        free, held = fit(), fit(priors=[0.1, 0.2, 0.7])
        shift = np.log(held.class_prior_ / free.class_prior_)[SPECIES]
        np.testing.assert_allclose(
            held.score_samples(IRIS, SPECIES), free.score_samples(IRIS, SPECIES) + shift
        )

    def test_weights_add_up_by_class(self):
        model = fit(n_components=3, priors=[0.1, 0.2, 0.7])
        np.testing.assert_allclose(
            model.weights_.reshape(3, 3).sum(axis=1), [0.1, 0.2, 0.7], rtol=1e-12
        )

    def test_many_features(self):
        rng = np.random.default_rng(0)
        rows, y = rng.standard_normal((300, 60)) + 5.0, np.repeat([0, 1], 150)
        rows[y == 1] *= np.linspace(0.5, 2.0, 60)
        model = fit(rows, y)
        joint = gaussian_classes(model, rows)
        np.testing.assert_allclose(
            model.score_samples(rows), np.logaddexp.reduce(joint, axis=1), rtol=1e-9
        )

    def test_classes_far_apart_keep_their_digits(self):
        rng = np.random.default_rng(0)
        offsets = np.array([0.0, 1e6, -3e7])
        y = rng.integers(3, size=600)
        rows = rng.standard_normal((600, 2)) + offsets[y, None]
        model = fit(rows, y, reg_covar=0.0)
        expected = [np.cov(rows[y == k].T, bias=True) for k in range(3)]
        np.testing.assert_allclose(model.covariances_, expected, rtol=1e-6)

    def test_single_precision_stays(self):
        rows = IRIS.astype(np.float32)
        model = fit(rows, n_components=2)
        for array in (
            model.means_,
            model.covariances_,
            model.weights_,
            model.sample(2),
            model.score_samples(rows),
        ):
            assert array.dtype == np.float32
        assert model.predict_proba(rows).dtype == np.float64
        np.testing.assert_allclose(
            model.score_samples(rows), fit(n_components=2).score_samples(IRIS), atol=1e-3
        )


class TestSearches:
    def test_accuracy_is_a_scoring_and_score_the_marginal(self):
        accuracy = cross_val_score(GaussianBayes(), IRIS, SPECIES, scoring="accuracy")
        peer = cross_val_score(QuadraticDiscriminantAnalysis(), IRIS, SPECIES)
        assert accuracy.mean() == pytest.approx(peer.mean(), abs=0.01)
        model = fit()
        assert model.score(IRIS, SPECIES) == pytest.approx(model.score_samples(IRIS).mean())

    def test_grids_reach_every_setting(self):
        grid = {"covariance_type": FAMILIES, "reg_param": [0.0, 0.1]}
        search = GridSearchCV(
            GaussianBayes(n_factors=1, max_iter=500), grid, scoring="accuracy", cv=3
        )
        assert search.fit(IRIS, SPECIES).best_score_ > 0.95

    def test_pickles(self):
        model = fit(n_components=2)
        copy = pickle.loads(pickle.dumps(model))
        np.testing.assert_array_equal(copy.score_samples(IRIS), model.score_samples(IRIS))
        copy.partial_fit(IRIS, SPECIES)


class TestOddRows:
    @each("covariance_type", FAMILIES)
    def test_a_class_with_one_row_is_as_wide_as_reg_covar(self, covariance_type):
        rows, y = np.r_[IRIS[:50], [[9.0, 9.0, 9.0, 9.0]]], [0] * 50 + [1]
        model = fit(rows, y, covariance_type=covariance_type, reg_covar=0.01, n_factors=1)
        np.testing.assert_allclose(model.means_[1], 9.0, atol=1e-6)
        assert model.predict([[9.0, 9.0, 9.0, 9.0]]) == [1]
        if covariance_type == "full":
            np.testing.assert_allclose(model.covariances_[1], 0.01 * np.eye(4), atol=1e-12)

    @each("covariance_type", FAMILIES)
    def test_constant_columns(self, covariance_type):
        rows = np.c_[IRIS, np.full(150, 7.0)]
        model = fit(rows, covariance_type=covariance_type, n_factors=1)
        assert np.isfinite(model.score_samples(rows)).all()
        assert np.mean(model.predict(rows) == SPECIES) > 0.85

    def test_without_regularisation_singular_covariances_are_repaired_and_told(self):
        rows = np.c_[IRIS, IRIS[:, 0]]
        with pytest.warns(UserWarning, match="repaired 3 covariances"):
            model = GaussianBayes(reg_covar=0.0).fit(rows, SPECIES)
        assert model.n_repaired_ == 3
        assert np.isfinite(model.score_samples(rows)).all()


class TestBadInput:
    @each(
        "parameters, message",
        [
            ({"covariance_type": "ful"}, "covariance_type must be one of "),
            ({"n_components": 0}, "n_components must be an integer >= 1; got 0"),
            ({"reg_param": 1.5}, "reg_param must be a finite number in [0, 1]; got 1.5"),
            ({"reg_covar": -1.0}, "reg_covar must be a finite number >= 0; got -1.0"),
            ({"n_factors": 0}, "n_factors must be an integer >= 1; got 0"),
            ({"tol": -1.0}, "tol must be a finite number >= 0; got -1.0"),
            ({"max_iter": 0}, "max_iter must be an integer >= 1; got 0"),
            ({"init_params": "kmean"}, "init_params must be one of "),
            (
                {"learning_decay": 0.1},
                "learning_decay must be a finite number in [0.5, 1]; got 0.1",
            ),
            (
                {"device": "gpu"},
                "device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'; got 'gpu'",
            ),
            (
                {"priors": [0.5, 0.5]},
                "priors must be 3 numbers >= 0, one for each class, that add up to 1",
            ),
            (
                {"priors": [-0.5, 0.5, 1.0]},
                "priors must be 3 numbers >= 0, one for each class, that add up to 1",
            ),
        ],
    )
    def test_parameters(self, parameters, message):
        with says(message):
            GaussianBayes(**parameters).fit(IRIS, SPECIES)

    def test_more_components_than_rows_of_a_class(self):
        y = np.array(["ash"] * 147 + ["birch"] * 3)
        with says(
            "got 4, but class 'birch' has 3; ask for fewer components or give more of its rows"
        ):
            GaussianBayes(n_components=4).fit(IRIS, y)

    def test_a_new_class_of_partial_fit_with_too_few_rows(self):
        model = GaussianBayes(n_components=2, random_state=0).partial_fit(
            IRIS[:50], SPECIES[:50], classes=[0, 1]
        )
        before = model.means_.copy()
        with says("got 2, but class 1 has 1; ask for fewer"):
            model.partial_fit(IRIS[:1], [1])
        np.testing.assert_array_equal(model.means_, before)

    def test_a_class_without_values(self):
        rows = IRIS.copy()
        rows[SPECIES == 1] = np.nan
        with says("got 1, but class 1 has 0; ask for fewer components or give more of its rows"):
            GaussianBayes().fit(rows, SPECIES)
        with says("X must hold some values; got only NaN"):
            GaussianBayes().fit(np.full((4, 2), np.nan), [0, 0, 1, 1])

    def test_negative_weights(self):
        with says("sample_weight must be finite and >= 0; got -1"):
            GaussianBayes().fit(IRIS, SPECIES, sample_weight=np.full(150, -1.0))

    def test_classes_of_partial_fit(self):
        with says(
            "classes must be passed to the first partial_fit; list every class that will come"
        ):
            GaussianBayes().partial_fit(IRIS, SPECIES)
        with says("y must hold the classes of the fit, [0, 1]; got 2"):
            GaussianBayes().partial_fit(IRIS, SPECIES, classes=[0, 1])
        model = fit()
        with says(
            "classes must be those of the first partial_fit, [0, 1, 2], or be left out; got [0, 1]"
        ):
            model.partial_fit(IRIS, SPECIES, classes=[0, 1])
        with says("y must hold the classes of the fit, [0, 1, 2]; got 3"):
            model.partial_fit(IRIS, SPECIES + 1)

    def test_unknown_classes(self):
        model = fit()
        with says("y must hold the classes of the fit, [0, 1, 2]; got 7"):
            model.sample(2, y=7)
        with says("y must hold the classes of the fit, [0, 1, 2]; got 3"):
            model.score_samples(IRIS, SPECIES + 1)

    def test_impossible_conditions(self):
        model = fit()
        with says("given is impossible under every class; widen it"):
            model.sample(2, given={0: 1e200})

    def test_does_not_converge(self):
        with pytest.warns(
            ConvergenceWarning, match="EM did not converge in max_iter=2 iterations; raise max_iter"
        ):
            GaussianBayes(n_components=3, max_iter=2, tol=0.0, random_state=0).fit(IRIS, SPECIES)


def test_partial_fit_says_that_its_layout_cannot_change():
    X, y = np.arange(16.0).reshape(8, 2), np.arange(8) % 2
    model = GaussianBayes(random_state=0).partial_fit(X, y, classes=[0, 1])
    model.set_params(covariance_type="diag")
    with pytest.raises(
        ValueError, match=r"partial_fit must keep the .* \('full', 1, 2, None\); got \('diag', 1"
    ):
        model.partial_fit(X, y)
