"""One generator for each class, against scikit-learn's classifiers and Bayes' rule."""

import itertools

import numpy as np
import pytest
from scipy.stats import chisquare, kstest, norm, truncnorm
from sklearn.base import BaseEstimator, clone
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.mixture import GaussianMixture as UnfitGaussianMixture
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler
from sklearn.utils import get_tags

from probgen import (
    MADE,
    VAE,
    Autoencoder,
    BayesClassifier,
    Dequantizer,
    FullyVisibleBeliefNetwork,
    GaussianMixture,
    PixelCNN,
    PixelRNN,
    get_likelihood,
    make_generative_pipeline,
)
from probgen.base import GeneratorMixin, Likelihood
from probgen.options import AutoLikelihood, Categorical, DiscretizedLogistic

X, CODES = load_iris(return_X_y=True)
Y = np.array(["setosa", "versicolor", "virginica"])[CODES]


class Independent(GeneratorMixin, BaseEstimator):
    """Independent Gaussian features: the classifier over it is Gaussian naive Bayes."""

    _likelihood = Likelihood("lower_bound")  # a claim, to see that it is passed on

    def __init__(self, *, random_state=None):
        self.random_state = random_state

    def fit(self, X, y=None):
        X = self._validate(X, reset=True, ensure_min_samples=2)
        self._start_stream()
        self.means_, self.scales_ = X.mean(axis=0), X.std(axis=0)
        return self

    def _sample(self, n_samples, generator):
        return self.means_ + self.scales_ * generator.standard_normal(
            (n_samples, self.n_features_in_)
        )

    def _score_samples(self, X):
        return norm(self.means_, self.scales_).logpdf(X).sum(axis=1)


class Running(Independent):
    """Takes weights, further rows and conditions."""

    _likelihood = Likelihood()

    def fit(self, X, y=None, sample_weight=None):
        self.sums_ = np.zeros((3, 1))
        return self.partial_fit(X, sample_weight=sample_weight)

    def partial_fit(self, X, y=None, sample_weight=None):
        X = self._validate(X, reset=not hasattr(self, "n_features_in_"))
        if not hasattr(self, "_stream"):
            self._start_stream()
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        powers = np.stack([np.ones_like(X), X, X * X])
        self.sums_ = getattr(self, "sums_", 0.0) + np.einsum("i,kij->kj", weights, powers)
        self.means_ = self.sums_[1] / self.sums_[0]
        self.scales_ = np.sqrt(np.maximum(self.sums_[2] / self.sums_[0] - self.means_**2, 1e-9))
        return self

    def _standardised_ends(self, conditions):
        return (conditions.low - self.means_) / self.scales_, (
            conditions.high - self.means_
        ) / self.scales_

    def _sample_given(self, conditions, generator):
        low, high = self._standardised_ends(conditions)
        draws = self.means_ + self.scales_ * truncnorm(low, high).rvs(random_state=generator)
        return np.where(np.isnan(conditions.values), draws, conditions.values)

    def _log_given(self, conditions):
        low, high = self._standardised_ends(conditions)
        values = norm(self.means_, self.scales_).logpdf(conditions.values)
        with np.errstate(divide="ignore"):
            return np.where(np.isnan(values), np.log(norm.cdf(high) - norm.cdf(low)), values).sum(
                axis=1
            )


@pytest.fixture
def model():
    return BayesClassifier(Running(), random_state=0).fit(X, Y)


class TestBayesRule:
    def test_is_naive_bayes_over_independent_gaussians(self, model):
        reference = GaussianNB(var_smoothing=0.0).fit(X, Y)
        np.testing.assert_allclose(
            model.predict_log_proba(X), reference.predict_log_proba(X), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_array_equal(model.predict(X), reference.predict(X))
        np.testing.assert_allclose(model.class_prior_, reference.class_prior_)
        for k, label in enumerate(model.classes_):
            np.testing.assert_allclose(
                model.score_samples(X, label), reference.predict_joint_log_proba(X)[:, k], rtol=1e-6
            )

    def test_priors_and_weights(self):
        weights = np.random.default_rng(0).uniform(0.0, 3.0, size=len(X))
        weights[::7] = 0.0
        reference = GaussianNB(var_smoothing=0.0, priors=[0.5, 0.2, 0.3]).fit(
            X, Y, sample_weight=weights
        )
        model = BayesClassifier(Running(), priors=[0.5, 0.2, 0.3]).fit(X, Y, sample_weight=weights)
        np.testing.assert_allclose(
            model.predict_log_proba(X), reference.predict_log_proba(X), rtol=1e-6, atol=1e-9
        )
        np.testing.assert_allclose(model.class_count_, reference.class_count_)
        np.testing.assert_allclose(
            BayesClassifier(Running()).fit(X, Y, weights).class_prior_.sum(), 1.0
        )

    def test_a_prior_of_zero_rules_the_class_out(self):
        model = BayesClassifier(Running(), priors=[0.5, 0.5, 0.0]).fit(X, Y)
        assert "virginica" not in model.predict(X)
        assert np.isneginf(model.score_samples(X, Y)[CODES == 2]).all()
        assert "virginica" not in model.sample(1000, return_y=True)[1]
        assert model.sample(2, y="virginica").shape == (2, 4)

    def test_classes_without_weight_are_no_classes(self):
        model = BayesClassifier(Running()).fit(X, Y, sample_weight=np.where(CODES == 1, 0.0, 1.0))
        assert model.classes_.tolist() == ["setosa", "virginica"]

    def test_one_class_alone(self):
        model = BayesClassifier(Running()).fit(X, np.full(len(X), 7))
        np.testing.assert_array_equal(model.predict(X), 7)
        np.testing.assert_allclose(model.score_samples(X), model.estimators_[0].score_samples(X))

    def test_likelihood_is_that_of_the_estimator(self):
        assert get_likelihood(BayesClassifier(Independent())).kind == "lower_bound"
        assert get_likelihood(BayesClassifier(Running())).kind == "exact"


N_ROWS = 120
HALF = np.arange(N_ROWS) % 2
RNG = np.random.default_rng(5)
BITS = (RNG.random((N_ROWS, 3)) < 0.4).astype(float)
LEVELS = RNG.integers(0, 4, (N_ROWS, 3)).astype(float)
GREY = RNG.random((N_ROWS, 3))
QUICK = {"max_iter": 1, "random_state": 0}
DENSE = {"hidden_layer_sizes": (8,), **QUICK}
IMAGE = {"image_shape": (1, 3), **QUICK}
CHOOSERS = {  # generators that choose a likelihood or levels, and the rows that all of them take
    "VAE": (VAE(1, **DENSE), (BITS, LEVELS, GREY)),
    "VAE of levels": (VAE(1, likelihood=Categorical(), **DENSE), (BITS, LEVELS)),
    "MADE": (MADE(**DENSE), (BITS, LEVELS, GREY)),
    "MADE of levels": (MADE(likelihood="categorical", **DENSE), (BITS, LEVELS)),
    "logistics": (MADE(likelihood=DiscretizedLogistic(n_mixture=2), **DENSE), (BITS, LEVELS)),
    "FullyVisibleBeliefNetwork": (FullyVisibleBeliefNetwork(**QUICK), (BITS, LEVELS, GREY)),
    "PixelCNN": (PixelCNN(4, 1, **IMAGE), (BITS, LEVELS)),
    "PixelRNN": (PixelRNN(4, 1, **IMAGE), (BITS, LEVELS)),
    "Autoencoder": (Autoencoder(1, loss="bernoulli", **DENSE), (BITS, GREY)),
    "Dequantizer": (
        make_generative_pipeline(Dequantizer(None), GaussianMixture(random_state=0)),
        (BITS, LEVELS),
    ),
    "Dequantizers of columns": (
        make_generative_pipeline(
            ColumnTransformer([("first", Dequantizer(None), [0])], remainder=Dequantizer(None)),
            GaussianMixture(random_state=0),
        ),
        (BITS, LEVELS),
    ),
    "scaled MADE": (make_generative_pipeline(MinMaxScaler(), MADE(**DENSE)), (BITS, LEVELS, GREY)),
    "nested": (
        make_generative_pipeline("passthrough", Pipeline([("model", MADE(**DENSE))])),
        (BITS, LEVELS, GREY),
    ),
}
UNLIKE = [
    pytest.param(estimator, first, second, id=f"{name}-{i}{j}")
    for name, (estimator, kinds) in CHOOSERS.items()
    for i, first in enumerate(kinds)
    for j, second in enumerate(kinds)
]


@pytest.mark.parametrize("estimator, first, second", UNLIKE)
def test_one_likelihood_for_all_classes(estimator, first, second):
    rows = np.where(HALF[:, np.newaxis] == 0, first, second)
    model = BayesClassifier(estimator).fit(rows, HALF)
    # What the estimator chooses from the rows of all classes, with no classes at all.
    whole = clone(estimator).fit(rows)
    assert get_likelihood(model) == get_likelihood(whole)
    assert {get_likelihood(each) for each in model.estimators_} == {get_likelihood(whole)}
    assert np.isfinite(model.score_samples(rows)).all()
    np.testing.assert_allclose(model.predict_proba(rows).sum(axis=1), 1.0)


@pytest.mark.parametrize("order", [(BITS, LEVELS), (LEVELS, BITS)])
def test_probabilities_of_all_rows_add_up_to_one(order):
    rows = np.where(HALF[:, np.newaxis] == 0, *order)
    model = BayesClassifier(MADE(likelihood="categorical", **DENSE)).fit(rows, HALF)
    every = np.array(list(itertools.product(range(4), repeat=3)), dtype=float)
    assert np.exp(model.score_samples(every)).sum() == pytest.approx(1.0, abs=1e-5)
    assert {each.n_levels_ for each in model.estimators_} == {4}


def test_likelihood_is_the_fitted_one_whatever_is_set_later():
    model = BayesClassifier(MADE(**DENSE))
    assert get_likelihood(model).measure == "lebesgue"  # of "auto" before a fit
    model.fit(BITS, HALF)
    assert get_likelihood(model).measure == "counting"
    model.set_params(estimator=GaussianMixture())
    assert get_likelihood(model).measure == "counting"
    assert get_likelihood(model.fit(GREY, HALF)).measure == "lebesgue"


def test_queries_take_missing_values_where_the_fitted_estimators_do():
    model = BayesClassifier(MADE(**DENSE)).fit(BITS, HALF)
    gappy = BITS.copy()
    gappy[:, 2] = np.nan  # the last in the order, so that it is summed over exactly
    joint = [np.log(0.5) + each.score_samples(gappy) for each in model.estimators_]
    np.testing.assert_allclose(model.score_samples(gappy), np.logaddexp.reduce(joint, axis=0))
    assert get_tags(model).missing_values == "queries"
    for unfit in (model, BayesClassifier(MADE(**DENSE))):
        with pytest.raises(ValueError, match="X contains NaN, which"):
            unfit.fit(gappy, HALF)
    np.testing.assert_allclose(model.score_samples(gappy), np.logaddexp.reduce(joint, axis=0))


@pytest.mark.parametrize("name", ["MADE of levels", "PixelCNN", "Autoencoder", "Dequantizer"])
def test_rows_that_no_choice_allows_are_refused_before_a_class_is_learned(name):
    rows = np.where(HALF[:, np.newaxis] == 0, BITS, -1.5 * GREY)  # the first class could be learned
    with pytest.raises(ValueError, match=r"^(Negative values|loss='bernoulli' needs values in)"):
        BayesClassifier(CHOOSERS[name][0]).fit(rows, HALF)


class Fickle(Independent):
    """Claims a measure by the sign of its rows."""

    @property
    def _likelihood(self):
        is_negative = hasattr(self, "means_") and self.means_[0] < 0.0
        return Likelihood("exact", "counting" if is_negative else "lebesgue")


def test_unlike_measures_never_meet():
    signs = np.where(CODES == 1, -1.0, 1.0)[:, np.newaxis]
    model = BayesClassifier(Fickle()).fit(X, Y)
    before = model.score_samples(X)
    message = "got 'lebesgue' for class 'setosa' and 'counting' for class 'versicolor'"
    with pytest.raises(ValueError, match=message):
        model.fit(signs * X, Y)
    np.testing.assert_array_equal(model.score_samples(X), before)


def test_steps_that_do_not_take_the_rows_of_other_classes_are_refused():
    rows = np.where(HALF[:, np.newaxis] == 0, GREY, 2.0 * GREY)
    steps = FunctionTransformer(check_within_one), GaussianMixture()
    model = BayesClassifier(make_generative_pipeline(MinMaxScaler(), *steps))
    with pytest.raises(ValueError, match="class 0 has steps fitted to its own rows, which do not"):
        model.fit(rows, HALF)
    make_generative_pipeline(MinMaxScaler(), *steps[:1], BayesClassifier()).fit(rows, HALF)


def check_within_one(rows):
    if rows.max() > 1.0 + 1e-9:
        raise ValueError("X must lie in [0, 1].")
    return rows


class TestPartialFit:
    def test_the_first_rows_choose_for_classes_that_come_later(self):
        model = BayesClassifier(MADE(likelihood=AutoLikelihood(n_mixture=2), **DENSE))
        model.partial_fit(LEVELS[:60], np.zeros(60), classes=[0, 1])
        model.partial_fit(BITS[:60], np.ones(60))
        assert {each.likelihood_ for each in model.estimators_} == {"gaussian_mixture"}
        assert np.isfinite(model.score_samples(LEVELS)).all()

    def test_rows_that_the_choice_does_not_allow_are_refused(self):
        model = BayesClassifier(MADE(**DENSE)).partial_fit(BITS, 0 * HALF, classes=[0, 1, 2])
        before = model.score_samples(BITS)
        message = "class 2, which has 60 rows here, could not be learned: likelihood='bernoulli'"
        rows = np.where(HALF[:, np.newaxis] == 0, BITS, LEVELS)
        with pytest.raises(ValueError, match=message):
            model.partial_fit(rows, 2 * HALF)  # of class 0 too, which could be learned
        np.testing.assert_array_equal(model.score_samples(BITS), before)
        np.testing.assert_array_equal(model.class_count_, [N_ROWS, 0, 0])

    def test_in_parts_equals_at_once(self, model):
        order = np.random.default_rng(1).permutation(len(X))
        parts = BayesClassifier(Running(), random_state=0)
        for rows in np.array_split(order, 4):
            parts.partial_fit(X[rows], Y[rows], classes=model.classes_)
        np.testing.assert_allclose(parts.score_samples(X), model.score_samples(X), rtol=1e-9)
        np.testing.assert_array_equal(parts.class_count_, [50.0, 50.0, 50.0])

    def test_a_class_may_come_later(self):
        model = BayesClassifier(Running()).partial_fit(X[:100], Y[:100], classes=np.unique(Y))
        np.testing.assert_array_equal(model.class_prior_, [0.5, 0.5, 0.0])
        assert (model.predict_proba(X)[:, 2] == 0.0).all()
        with pytest.raises(
            ValueError,
            match="class 'virginica', of which partial_fit has had no rows yet",
        ):
            model.sample(y="virginica")
        model.partial_fit(X[100:], Y[100:])
        np.testing.assert_allclose(
            model.score_samples(X), BayesClassifier(Running()).fit(X, Y).score_samples(X)
        )

    def test_fit_starts_anew(self, model):
        model.partial_fit(X + 100.0, Y)
        again = model.fit(X, Y)
        np.testing.assert_array_equal(
            again.score_samples(X), BayesClassifier(Running()).fit(X, Y).score_samples(X)
        )

    def test_is_there_only_with_the_estimator_s(self):
        assert hasattr(BayesClassifier(Running()), "partial_fit")
        assert not hasattr(BayesClassifier(Independent()), "partial_fit")


class TestDraws:
    def test_classes_come_with_their_priors_and_features_with_their_gaussians(self):
        model = BayesClassifier(Running(), priors=[0.6, 0.3, 0.1], random_state=0).fit(X, Y)
        draws, y = model.sample(6000, return_y=True)
        counts = [np.sum(y == label) for label in model.classes_]
        assert chisquare(counts, [3600, 1800, 600]).pvalue > 1e-3
        for k, label in enumerate(model.classes_):
            rows = X[CODES == k]
            assert (
                kstest(
                    draws[y == label][:, 2], norm(rows[:, 2].mean(), rows[:, 2].std()).cdf
                ).pvalue
                > 1e-3
            )

    def test_conditions_weigh_the_classes(self, model):
        _, y = model.sample(5000, given={2: (4.5, 5.2), 3: 1.7}, return_y=True)
        rows = X.reshape(3, 50, 4)  # the classes come one after the other
        petals = norm(rows.mean(axis=1)[:, 2], rows.std(axis=1)[:, 2])
        widths = norm(rows.mean(axis=1)[:, 3], rows.std(axis=1)[:, 3])
        weights = (petals.cdf(5.2) - petals.cdf(4.5)) * widths.pdf(1.7)
        assert weights[0] < 1e-30
        counts = [np.sum(y == label) for label in model.classes_]
        assert counts[0] == 0
        assert chisquare(counts[1:], 5000 * weights[1:] / weights[1:].sum()).pvalue > 1e-3

    def test_a_class_and_a_condition_together(self, model):
        draws, y = model.sample(
            3, y=["setosa", "virginica", "setosa"], given={0: [1.0, 2.0, 3.0]}, return_y=True
        )
        assert y.tolist() == ["setosa", "virginica", "setosa"]
        np.testing.assert_array_equal(draws[:, 0], [1.0, 2.0, 3.0])
        assert draws[1, 2] > 4.0 > draws[0, 2]

    def test_each_class_has_a_seed_of_its_own(self):
        seeds = {
            e.random_state for e in BayesClassifier(Running(), random_state=0).fit(X, Y).estimators_
        }
        assert len(seeds) == 3
        again = {
            e.random_state for e in BayesClassifier(Running(), random_state=0).fit(X, Y).estimators_
        }
        assert again == seeds
        kept = {
            e.random_state for e in BayesClassifier(Running(random_state=5)).fit(X, Y).estimators_
        }
        assert kept == {5}


class TestMessages:
    @pytest.mark.parametrize(
        "other",
        [
            LogisticRegression(),
            UnfitGaussianMixture(),
            KernelDensity(),
            BayesClassifier(Running()),
            3,
        ],
    )
    def test_of_an_estimator_that_is_no_plain_generator(self, other):
        with pytest.raises(
            ValueError, match="estimator must be a generator without classes of its own"
        ):
            BayesClassifier(other).fit(X, Y)

    def test_of_weights_that_the_estimator_cannot_use(self):
        with pytest.raises(
            ValueError, match="sample_weight asks for an estimator that takes weights"
        ):
            BayesClassifier(Independent()).fit(X, Y, sample_weight=np.ones(len(X)))

    def test_of_a_class_with_too_few_rows(self):
        with pytest.raises(
            ValueError,
            match="class 'virginica', which has 1 row here, could not be learned: X must",
        ):
            BayesClassifier(Independent()).fit(X[:101], Y[:101])

    @pytest.mark.parametrize(
        "priors", [[0.5, 0.5], [0.5, 0.6, -0.1], [0.5, 0.5, 0.5], [np.nan, 0.5, 0.5]]
    )
    def test_of_priors(self, priors):
        with pytest.raises(
            ValueError, match="priors must be 3 numbers >= 0, one for each class, that add up to 1"
        ):
            BayesClassifier(Running(), priors=priors).fit(X, Y)

    def test_of_conditions_that_no_class_allows(self, model):
        with pytest.raises(ValueError, match="given is impossible under every class"):
            model.sample(given={0: (1e6, None)})

    def test_of_conditions_on_an_estimator_without(self):
        with pytest.raises(ValueError, match="given is not known to BayesClassifier"):
            BayesClassifier(Independent()).fit(X, Y).sample(given={0: 1.0})

    def test_of_conditions_that_cannot_weigh_classes(self):
        class Blind(Running):
            _log_given = property()

        model = BayesClassifier(Blind()).fit(X, Y)
        assert model.sample(2, y="setosa", given={0: 1.0}).shape == (2, 4)
        with pytest.raises(
            ValueError, match="given needs y too, because Blind cannot compute its probability"
        ):
            model.sample(2, given={0: 1.0})

    def test_of_a_first_partial_fit_without_classes(self):
        with pytest.raises(ValueError, match="classes must be passed to the first partial_fit"):
            BayesClassifier(Running()).partial_fit(X, Y)

    def test_of_other_classes_later(self, model):
        with pytest.raises(ValueError, match="classes must be those of the first partial_fit"):
            model.partial_fit(X, Y, classes=["setosa"])

    def test_of_labels_outside_the_classes(self):
        with pytest.raises(
            ValueError, match=r"y must hold the classes of the fit, \['setosa'\]; got 'versicolor'"
        ):
            BayesClassifier(Running()).partial_fit(X, Y, classes=["setosa"])
