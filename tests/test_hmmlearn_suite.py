"""What hmmlearn's own tests ask of hidden Markov models, asked of ours.

hmmlearn is not installed here. So its tests are written afresh, by what they assert: `asks` names
the tests of hmmlearn (module: name) that a test stands for. All others are listed with the reason.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from chains import categorical_chain, gaussian_chain, poisson_chain

from probgen import HiddenMarkovModel
from probgen.sequences import from_lengths

PATH = Path(__file__).parent / "references" / "hmmlearn.json"
THEIRS = json.loads(PATH.read_text(encoding="utf-8"))["tests"]
PRIVATE = {
    "base: converged_by_iterations": "of the class ConvergenceMonitor",
    "base: converged_by_log_prob": "of the class ConvergenceMonitor",
    "base: reset": "of the class ConvergenceMonitor",
    "base: report_first_iteration": "of the class ConvergenceMonitor",
    "base: report": "of the class ConvergenceMonitor",
    "base: do_forward_scaling_pass": "calls a compiled function",
    "base: do_forward_pass": "calls a compiled function",
    "base: do_backward_scaling_pass": "calls a compiled function",
    "base: do_backward_log_pass": "calls a compiled function",
    "base: base_hmm_attributes": "calls the method _check",
    "categorical_hmm: attributes": "calls the method _check",
    "poisson_hmm: attributes": "calls the method _check",
    "gaussian_hmm: covar_is_writeable": "looks at the attribute _covars_",
    "gmm_hmm_new: check_good_covariance_type": "calls the method _check",
    "gmm_hmm_new: init": "calls the method _init",
    "kl_divergence: dirichlet": "of a private module",
    "kl_divergence: normal": "of a private module",
    "kl_divergence: multivariate_normal": "of a private module",
    "kl_divergence: gamma": "of a private module",
    "kl_divergence: wishart": "of a private module",
    "utils: normalize": "of a helper",
    "utils: normalize_along_axis": "of a helper",
    "utils: fill_covars": "of a helper",
}
DIFFERENT = {
    "base: generate_samples": "draws go on from past steps (`given`), not from a state",
    "categorical_hmm: fit_emissionprob": "a fit learns all parameters",
    "gaussian_hmm: fit_ignored_init_warns": "parameters of a start are not taken from attributes",
    "gaussian_hmm: fit_too_little_data": (
        "a fit warns where it had to repair a covariance, not of few steps for its parameters"
    ),
    "gaussian_hmm: fit_startprob_and_transmat": "a fit learns all parameters",
    "poisson_hmm: fit_lambdas": "a fit learns all parameters",
}
ABSENT = {
    "multinomial_hmm: attributes": "no multinomial counts",
    "multinomial_hmm: score_samples": "no multinomial counts",
    "multinomial_hmm: sample": "no multinomial counts",
    "multinomial_hmm: fit": "no multinomial counts",
    "multinomial_hmm: fit_emissionprob": "no multinomial counts",
    "multinomial_hmm: fit_with_init": "no multinomial counts",
    "multinomial_hmm: _check_and_set_multinomial_n_features_n_trials": "no multinomial counts",
    "multinomial_hmm: compare_with_categorical_hmm": "no multinomial counts",
    "variational_categorical: init_priors": "no variational inference",
    "variational_categorical: n_features": "no variational inference",
    "variational_categorical: init_incorrect_priors": "no variational inference",
    "variational_categorical: fit_beal": "no variational inference",
    "variational_categorical: fit_and_compare_with_em": "no variational inference",
    "variational_categorical: fit_length_1_sequences": "no variational inference",
    "variational_gaussian: random_fit": "no variational inference",
    "variational_gaussian: fit_mcgrory_titterington1d": "no variational inference",
    "variational_gaussian: common_initialization": "no variational inference",
    "variational_gaussian: initialization": "no variational inference",
}
ASKED = set()
COVARIANCE_TYPES = ("spherical", "diag", "tied", "full")
K, D = 3, 3
RNG = np.random.default_rng(10)
START = RNG.dirichlet(np.ones(K))
TRANSITIONS = RNG.dirichlet(np.ones(K), size=K)
MEANS = RNG.integers(-20, 20, size=(K, D)).astype(float)
# Rows of which three columns have a singular covariance in every state; the first is constant.
LINE = np.arange(9.0)
SINGULAR = np.column_stack([np.full(9, 715.0), 585.0 - 65.0 * LINE, np.sin(LINE), -8.0 * LINE])

pytestmark = pytest.mark.filterwarnings("ignore:.*did not converge")
by_covariance_type = pytest.mark.parametrize("covariance_type", COVARIANCE_TYPES)
repaired = pytest.mark.filterwarnings("ignore:EM (moved|repaired)")


def asks(*names):
    """Mark a test as one that asks what some tests of hmmlearn ask."""
    ASKED.update(names)
    return lambda test: test


def covariances(covariance_type, *states):
    """Small covariances of Gaussians."""
    factors = 0.3 * np.random.default_rng(11).normal(size=(*states, D, D))
    full = factors @ factors.swapaxes(-1, -2) + 0.1 * np.eye(D)
    if covariance_type == "full":
        return full
    if covariance_type == "tied":
        return full.reshape(-1, D, D)[0]
    variances = np.diagonal(full, axis1=-2, axis2=-1)
    return variances if covariance_type == "diag" else variances[..., 0]


def gaussians(covariance_type, n_steps, spread=20.0):
    """A model of states that are far apart."""
    matrices = covariances(covariance_type, K)
    return gaussian_chain(START, TRANSITIONS, n_steps, spread * MEANS, matrices, covariance_type)


def mixtures(covariance_type, n_steps, spread=20.0):
    """A model of mixtures of two Gaussians, whose states are far apart."""
    means = spread * (MEANS[:, None] + np.array([[-0.5], [0.5]]))
    matrices = covariances(covariance_type, K, 2)
    weights = [[0.3, 0.7], [0.5, 0.5], [0.6, 0.4]]
    return gaussian_chain(START, TRANSITIONS, n_steps, means, matrices, covariance_type, weights)


def fitted(rows, n_components=K, sequence_shape=None, **parameters):
    parameters = {"random_state": 0, **parameters}
    if sequence_shape is None:
        sequence_shape = rows.shape[1] // D, D
    return HiddenMarkovModel(n_components, sequence_shape=sequence_shape, **parameters).fit(rows)


def assert_likelihood_rises(model):
    assert len(model.lower_bounds_) > 2
    assert np.all(np.diff(model.lower_bounds_) > -1e-8 * np.abs(model.lower_bounds_[0]))


class TestWikipediasUmbrella:
    # https://en.wikipedia.org/wiki/Forward-backward_algorithm; 0 is an umbrella, 1 is none.
    EMISSIONS = ((0.9, 0.1), (0.2, 0.8))
    ROW = np.array([[0.0, 0.0, 1.0, 0.0, 0.0]])

    def model(self):
        return categorical_chain([0.5, 0.5], [[0.7, 0.3], [0.3, 0.7]], 5, self.EMISSIONS)

    @asks("base: score_samples")
    def test_likelihood_and_posterior(self):
        model = self.model()
        assert model.score_samples(self.ROW)[0] == pytest.approx(-3.3725, abs=5e-5)
        rain = [0.8673, 0.8204, 0.3075, 0.8204, 0.8673]
        np.testing.assert_allclose(model.posterior(self.ROW)[0, :, 0], rain, atol=5e-5)

    @asks("base: do_viterbi_pass")
    def test_path(self):
        np.testing.assert_array_equal(self.model().decode(self.ROW), self.ROW)


class TestWikipediasWeather:
    # https://en.wikipedia.org/wiki/Viterbi_algorithm: rain or sun; walk, shop or clean.
    ROW = np.array([[0.0, 1.0, 2.0]])

    def model(self):
        transitions = [[0.7, 0.3], [0.4, 0.6]]
        return categorical_chain([0.6, 0.4], transitions, 3, [[0.1, 0.4, 0.5], [0.6, 0.3, 0.1]])

    @asks("categorical_hmm: decode_viterbi")
    def test_path(self):
        model = self.model()
        path = model.decode(self.ROW)[0]
        np.testing.assert_array_equal(path, [1, 0, 0])
        along = model.start_probabilities_[1] * np.prod(model.transition_matrix_[[1, 0], [0, 0]])
        levels = model.parameters_[0]["probabilities"]
        assert along * np.prod(levels[path, [0, 1, 2]]) == pytest.approx(0.01344)

    @asks("categorical_hmm: decode_map", "categorical_hmm: predict")
    def test_posterior(self):
        model = self.model()
        posterior = model.posterior(self.ROW)[0]
        np.testing.assert_array_equal(posterior.argmax(axis=1), [1, 0, 0])
        np.testing.assert_allclose(
            posterior[:, 0], [0.23170303, 0.62406281, 0.86397706], rtol=0.0, atol=1e-6
        )
        assert model.predict(self.ROW)[0] == 0

    @asks("categorical_hmm: score_samples", "categorical_hmm: sample")
    def test_draws_and_their_posterior(self):
        model = self.model()
        rows = model.sample(200)
        assert rows.shape == (200, 3)
        np.testing.assert_array_equal(np.unique(rows), [0.0, 1.0, 2.0])
        np.testing.assert_allclose(model.posterior(rows).sum(axis=2), 1.0)

    @asks("categorical_hmm: n_features", "categorical_hmm: fit", "categorical_hmm: fit_with_init")
    def test_fits(self):
        rows = self.model().sample(60, random_state=0)
        model = fitted(rows, 2, (3, 1), emission="categorical", smoothing=0.0, tol=0.0, max_iter=6)
        assert_likelihood_rises(model)
        assert model.parameters_[0]["probabilities"].shape == (2, 3)
        wider = fitted(rows, 2, (3, 1), emission="categorical", min_categories=5)
        assert wider.parameters_[0]["probabilities"].shape == (2, 5)

    @asks("categorical_hmm: _check_and_set_categorical_n_features")
    @pytest.mark.parametrize("value", [1.5, -2.0])
    def test_levels_are_whole_numbers_from_0(self, value):
        rows = np.array([[0.0, 2.0, value, 3.0]])
        with pytest.raises(ValueError, match="needs whole numbers from 0"):
            fitted(rows, 2, (4, 1), emission="categorical")


class TestUninformativeTransitions:
    """Equal probabilities of all transitions make a mixture of independent steps."""

    LEVELS = RNG.dirichlet(np.ones(10), size=8)
    ROW = np.arange(10.0)[None]

    @asks("base: score_samples", "base: decode")
    def test_posterior_and_path(self):
        model = categorical_chain(np.full(8, 0.125), np.full((8, 8), 0.125), 10, self.LEVELS)
        truth = (self.LEVELS / self.LEVELS.sum(axis=0)).T
        np.testing.assert_allclose(model.posterior(self.ROW)[0], truth)
        np.testing.assert_array_equal(model.decode(self.ROW)[0], truth.argmax(axis=1))


@asks("base: stationary_distribution")
def test_a_stationary_start_stays():
    rows = np.random.default_rng(0).normal(size=(20, 10)).cumsum(axis=1)
    model = fitted(rows, 4, (10, 1), start="stationary", max_iter=5)
    after = model.start_probabilities_ @ model.transition_matrix_
    np.testing.assert_allclose(after, model.start_probabilities_, atol=1e-12)


@by_covariance_type
@pytest.mark.parametrize("emission", [gaussians, mixtures])
class TestGaussians:
    @asks(
        "gaussian_hmm: score_samples_and_decode",
        "gmm_hmm: score_samples_and_decode",
        "gmm_hmm_new: score_samples_and_decode",
    )
    def test_paths_of_distant_states(self, emission, covariance_type):
        model = emission(covariance_type, 15)
        states = np.repeat(np.arange(K), 5)
        centers = model.means_.reshape(K, -1, D)[states, 0]
        rows = (centers + np.random.default_rng(0).normal(size=(15, D))).reshape(1, -1)
        np.testing.assert_allclose(model.posterior(rows).sum(axis=2), 1.0)
        np.testing.assert_array_equal(model.decode(rows)[0], states)

    @asks(
        "gaussian_hmm: sample", "gmm_hmm: sample", "gmm_hmm_new: sample", "gaussian_hmm: issue_385"
    )
    def test_draws_of_parameters_that_were_set(self, emission, covariance_type):
        model = emission(covariance_type, 100)
        rows = model.sample(10)
        assert rows.shape == (10, 100 * D)
        centers = model.means_.reshape(-1, D)
        distances = np.linalg.norm(rows.reshape(-1, 1, D) - centers, axis=2)
        assert distances.min(axis=1).max() < 20.0
        assert set(distances.argmin(axis=1)) == set(range(len(centers)))

    @asks(
        "gaussian_hmm: fit",
        "gaussian_hmm: fit_with_priors",
        "gmm_hmm: fit",
        "gmm_hmm_new: fit",
        "gmm_hmm_new: fit_sparse_data",
    )
    @pytest.mark.parametrize("spread", [2.0, 2000.0])
    def test_a_fit_finds_the_means(self, emission, covariance_type, spread):
        truth = emission(covariance_type, 10, spread)
        rows = truth.sample(40, random_state=0)
        model = fitted(
            rows,
            emission=truth.emission,
            covariance_type=covariance_type,
            init_params="k-means++",
            reg_covar=0.0,
            n_init=2,
        )
        assert np.all(np.diff(model.lower_bounds_) > -1e-8 * np.abs(model.lower_bounds_[0]))
        if emission is gaussians:
            found = np.sort(model.means_, axis=0)
            wide = np.sort(truth.means_, axis=0)
            np.testing.assert_allclose(found, wide, atol=0.5, rtol=0.01)
        assert model.score(rows) > truth.score(rows) - 1e-3 * abs(truth.score(rows))

    @asks("gaussian_hmm: criterion", "gmm_hmm_new: criterion")
    def test_criteria_choose_the_number_of_states(self, emission, covariance_type):
        truth = emission(covariance_type, 20, 3.0)
        rows = truth.sample(25, random_state=0)
        parameters = {"emission": truth.emission, "covariance_type": covariance_type, "n_init": 2}
        models = [fitted(rows, n, **parameters) for n in (1, K)]
        for criterion in ("aic", "bic"):
            few, right = (getattr(model, criterion)(rows) for model in models)
            assert 0.0 < right < few

    @repaired
    @asks(
        "gaussian_hmm: fit_sequences_of_different_length",
        "gaussian_hmm: fit_with_length_one_signal",
        "gmm_hmm: fit_works_on_sequences_of_different_length",
    )
    @pytest.mark.parametrize("lengths", [(3, 4, 5), (10, 8, 1)])
    def test_sequences_of_unequal_lengths(self, emission, covariance_type, lengths):
        steps = np.random.default_rng(0).random((sum(lengths), D))
        name = emission(covariance_type, 2).emission
        rows = from_lengths(steps, lengths)
        model = fitted(rows, emission=name, covariance_type=covariance_type, max_iter=5)
        assert np.isfinite(model.score_samples(rows)).all()

    @repaired
    @asks("gaussian_hmm: fit_zero_variance", "gmm_hmm_new: fit_zero_variance")
    def test_a_constant_feature_is_no_obstacle(self, emission, covariance_type):
        name = emission(covariance_type, 2).emission
        model = HiddenMarkovModel(
            K,
            sequence_shape=(9, 4),
            emission=name,
            covariance_type=covariance_type,
            max_iter=10,
            random_state=0,
        )
        model.fit(SINGULAR.reshape(1, -1))
        assert np.isfinite(model.score(SINGULAR.reshape(1, -1)))

    @asks("gaussian_hmm: bad_covariance_type", "gmm_hmm_new: check_bad_covariance_type")
    def test_another_covariance_type_is_refused(self, emission, covariance_type):
        model = emission(covariance_type, 2).set_params(covariance_type="bad")
        with pytest.raises(ValueError, match="covariance_type must be one of"):
            model.fit(np.ones((4, 2 * D)))


@asks("gaussian_hmm: underflow_from_scaling")
def test_an_outlier_does_not_underflow():
    rng = np.random.default_rng(0)
    series = np.repeat([0.0, 5.0, 0.0, 5.0], 100) + rng.normal(size=400)
    series[40] = 10_000.0
    model = gaussian_chain(
        [0.0, 1.0], [[0.4, 0.6], [0.6, 0.4]], 400, [[0.0], [5.0]], [1.0, 1.0], "spherical"
    )
    assert model.score(series[None]) < -1e7
    model.set_params(max_iter=20, tol=0.0).fit(series[None])
    assert_likelihood_rises(model)
    assert np.isfinite(model.score(series[None]))


@asks("gaussian_hmm: fit_left_right")
def test_left_to_right_stays_so():
    rows = from_lengths(np.random.default_rng(0).random((19, D)), [10, 8, 1])
    model = fitted(rows, transition="left_right", bandwidth=1, max_iter=5)
    np.testing.assert_array_equal(model.start_probabilities_, [1.0, 0.0, 0.0])
    transitions = model.transition_matrix_
    assert (transitions[np.subtract.outer(range(K), range(K)) != 0][[1, 2, 4]] == 0.0).all()
    posterior = model.posterior(rows)[0]
    np.testing.assert_allclose(posterior.sum(axis=1), 1.0)
    assert (np.diff(model.decode(rows)[0]) >= 0).all()


@repaired
@asks("gmm_hmm_new: kmeans")
def test_fewer_steps_of_a_state_than_gaussians():
    rng = np.random.default_rng(0)
    steps = np.concatenate([rng.uniform(0, 1, size=(100, 2)), rng.uniform(5, 6, size=(5, 2))])
    model = fitted(steps.reshape(1, -1), 2, (105, 2), emission="mixture", n_mixture=10, max_iter=5)
    assert ((model.means_ > 0.0) & (model.means_ < 6.0)).all()


@by_covariance_type
@asks("gmm_hmm_new: chunked")
def test_independent_steps_may_be_cut_anywhere(covariance_type):
    centers = np.array([[-9.0, 0.0], [0.0, 9.0], [9.0, 0.0]])
    rng = np.random.default_rng(0)
    states = rng.permutation(np.arange(300) % 3)  # of equal shares
    steps = centers[states] + rng.normal(size=(300, 2))
    parameters = {"emission": "mixture", "covariance_type": covariance_type, "max_iter": 1}
    whole = fitted(steps.reshape(1, -1), 3, (300, 2), **parameters)
    cut = fitted(steps.reshape(5, -1), 3, (60, 2), **parameters)
    np.testing.assert_allclose(cut.means_, whole.means_, atol=1e-2)
    np.testing.assert_allclose(cut.covariances_, whole.covariances_, atol=1e-2)
    np.testing.assert_allclose(cut.weights_, whole.weights_, atol=1e-2)
    np.testing.assert_allclose(cut.transition_matrix_, whole.transition_matrix_, atol=2e-2)


@by_covariance_type
@asks("gmm_hmm_multisequence: gmmhmm_multi_sequence_fit_invariant_to_sequence_ordering")
def test_the_order_of_sequences_does_not_matter(covariance_type):
    rng = np.random.default_rng(0)
    scales = np.array([0.01, 0.1, 0.1, 0.05])
    rows = (scales * rng.normal(size=(3, 50, 4)).cumsum(axis=1)).reshape(3, -1)
    parameters = {"emission": "mixture", "covariance_type": covariance_type}
    scores = []
    for order in ([0, 1, 2], [2, 0, 1], [1, 0, 2]):
        model = fitted(rows[order], 2, (50, 4), **parameters)
        assert np.all(np.diff(model.lower_bounds_) > -1e-6)
        scores.append(model.score(rows))
    np.testing.assert_allclose(scores, np.mean(scores), rtol=5e-3)


class TestCounts:
    MEANS = ((3.1, 1.4, 4.5), (1.6, 5.3, 0.1))

    def rows(self, n):
        model = poisson_chain([0.6, 0.4], [[0.7, 0.3], [0.4, 0.6]], 10, self.MEANS)
        return model, model.sample(n, random_state=0)

    @asks("poisson_hmm: score_samples")
    def test_posterior_of_draws(self):
        model, rows = self.rows(20)
        assert rows.shape == (20, 30)
        np.testing.assert_allclose(model.posterior(rows).sum(axis=2), 1.0)

    @asks("poisson_hmm: fit", "poisson_hmm: fit_with_init", "poisson_hmm: criterion")
    def test_fits(self):
        _, rows = self.rows(40)
        models = [
            fitted(rows, n, emission="poisson", tol=0.0, max_iter=30, n_init=2) for n in (1, 2)
        ]
        assert_likelihood_rises(models[1])
        means = np.array([models[1].parameters_[j]["mean"] for j in range(3)]).T
        np.testing.assert_allclose(means[np.argsort(means[:, 1])], self.MEANS, atol=0.6)
        for criterion in ("aic", "bic"):
            few, right = (getattr(model, criterion)(rows) for model in models)
            assert 0.0 < right < few


def test_none_of_their_tests_is_left_out_in_silence():
    parts = [ASKED, set(PRIVATE), set(DIFFERENT), set(ABSENT)]
    assert set.union(*parts) == set(THEIRS)
    assert sum(map(len, parts)) == len(THEIRS)  # none is in two of them
