"""The mixins alone: three toy generators written on them keep scikit-learn's contract and ours."""

import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.stats import multivariate_normal, norm
from sklearn import config_context
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import get_tags
from sklearn.utils.estimator_checks import parametrize_with_checks

import probgen
from probgen import (
    GAN,
    Autoencoder,
    BayesClassifier,
    GaussianMixture,
    LogitTransformer,
    make_generative_pipeline,
)
from probgen._validation import (
    check_choice,
    check_count,
    check_generator,
    check_real,
    check_weights,
)
from probgen.base import (
    ClassGeneratorMixin,
    DecoderMixin,
    GeneratorMixin,
    ImputerMixin,
    Likelihood,
    get_likelihood,
)

LOG_2PI = np.log(2.0 * np.pi)


class DiagonalGaussian(GeneratorMixin, BaseEstimator):
    """Independent Gaussian features; `transform` standardises."""

    def __init__(self, *, reg_covar=1e-6, random_state=None):
        self.reg_covar = reg_covar
        self.random_state = random_state

    def fit(self, X, y=None, sample_weight=None):
        X = self._validate(X, reset=True)
        weights = check_weights(sample_weight, len(X))
        self._start_stream()
        self.means_ = np.average(X, axis=0, weights=weights)
        self.variances_ = (
            np.average((X - self.means_) ** 2, axis=0, weights=weights) + self.reg_covar
        )
        return self

    def _sample(self, n_samples, generator):
        noise = generator.standard_normal((n_samples, self.n_features_in_))
        return self.means_ + np.sqrt(self.variances_) * noise

    def _sample_given(self, conditions, generator):
        return np.where(
            np.isnan(conditions.values),
            self._sample(len(conditions.values), generator),
            conditions.values,
        )

    def _score_samples(self, X):
        return -0.5 * np.sum(
            (X - self.means_) ** 2 / self.variances_ + np.log(self.variances_) + LOG_2PI, axis=1
        )

    def _transform(self, X):
        return (X - self.means_) / np.sqrt(self.variances_)

    @property
    def _n_features_out(self):
        return self.n_features_in_


class ImputingGaussian(ImputerMixin, DiagonalGaussian):
    """Independent features, so that missing values follow their marginal density."""

    _missing_values = "queries"

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = hasattr(self, "means_")
        return tags

    def _impute(self, X, generator):
        if generator is None:
            return np.tile(self.means_, (len(X), 1))
        return self._sample(len(X), generator)


class ClassGaussian(ClassGeneratorMixin, BaseEstimator):
    """A diagonal Gaussian for each class."""

    def __init__(self, *, reg_covar=1e-6, random_state=None):
        self.reg_covar = reg_covar
        self.random_state = random_state

    def fit(self, X, y, sample_weight=None):
        X, y = self._validate_classes(X, y, reset=True)
        weights = check_weights(sample_weight, len(X))
        X, y, weights = X[weights > 0.0], y[weights > 0.0], weights[weights > 0.0]
        self._start_stream()
        self.classes_, indices = np.unique(y, return_inverse=True)
        members = weights * (indices == np.arange(len(self.classes_))[:, np.newaxis])
        self.class_prior_ = members.sum(axis=1) / weights.sum()
        self.means_ = members @ X / members.sum(axis=1, keepdims=True)
        second = members @ (X * X) / members.sum(axis=1, keepdims=True)
        self.variances_ = np.maximum(second - self.means_**2, 0.0) + self.reg_covar
        return self

    def _joint_log_likelihood(self, X):
        squares = (X[:, np.newaxis] - self.means_) ** 2 / self.variances_
        densities = -0.5 * np.sum(squares + np.log(self.variances_) + LOG_2PI, axis=2)
        return densities + np.log(self.class_prior_)

    def _draw_classes(self, n_samples, generator, conditions):
        return generator.choice(len(self.classes_), size=n_samples, p=self.class_prior_)

    def _sample_classes(self, indices, generator, conditions):
        noise = generator.standard_normal((len(indices), self.n_features_in_))
        return self.means_[indices] + np.sqrt(self.variances_[indices]) * noise


class ProbabilisticPCA(DecoderMixin, BaseEstimator):
    """Rows W z + mean + noise (Tipping and Bishop, 1999); `transform` gives the mean of z."""

    def __init__(self, n_components=1, *, random_state=None):
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X, y=None):
        X = self._validate(X, reset=True, ensure_min_samples=2)
        self._start_stream()
        self.mean_ = X.mean(axis=0, dtype=np.float64)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(X.T.astype(np.float64), bias=True)))
        q = min(self.n_components, X.shape[1])
        self.noise_ = max(values[:-q].mean() if q < len(values) else 0.0, 1e-6)
        scale = np.sqrt(np.maximum(values[-q:] - self.noise_, 0.0))
        signs = np.sign(vectors[np.argmax(np.abs(vectors[:, -q:]), axis=0), np.arange(-q, 0)])
        self.loadings_ = vectors[:, -q:] * scale * signs
        return self

    def _sample(self, n_samples, generator):
        Z = generator.standard_normal((n_samples, self._n_features_out))
        noise = generator.standard_normal((n_samples, self.n_features_in_))
        return self._inverse_transform(Z) + np.sqrt(self.noise_) * noise

    def _score_samples(self, X):
        covariance = self.loadings_ @ self.loadings_.T + self.noise_ * np.eye(self.n_features_in_)
        cholesky = np.linalg.cholesky(covariance)
        white = np.einsum("ij,kj->ki", np.linalg.inv(cholesky), X - self.mean_)
        squares = np.sum(white**2, axis=1) + self.n_features_in_ * LOG_2PI
        return -0.5 * squares - np.log(np.diag(cholesky)).sum()

    def _transform(self, X):
        inner = self.loadings_.T @ self.loadings_ + self.noise_ * np.eye(self._n_features_out)
        return np.einsum("ij,kj->ki", np.linalg.solve(inner, self.loadings_.T), X - self.mean_)

    def _inverse_transform(self, Z):
        return Z @ self.loadings_.T + self.mean_

    @property
    def _n_features_out(self):
        return self.loadings_.shape[1]


TOYS = [DiagonalGaussian(), ClassGaussian(), ProbabilisticPCA()]


@parametrize_with_checks(TOYS)
def test_scikit_learn_contract(estimator, check):
    check(estimator)


RNG = np.random.default_rng(0)
X = (
    RNG.standard_normal((60, 3)) @ np.array([[2.0, 0.0, 0.0], [1.0, 1.0, 0.0], [0.0, 0.5, 0.3]])
    + 5.0
)
Y = np.array(["a", "b", "c"])[RNG.integers(3, size=60)]


class TestQueries:
    def test_scores_are_those_of_the_marginal_gaussian(self):
        model = ProbabilisticPCA().fit(X)
        covariance = model.loadings_ @ model.loadings_.T + model.noise_ * np.eye(3)
        truth = multivariate_normal(model.mean_, covariance).logpdf(X)
        np.testing.assert_allclose(model.score_samples(X), truth, rtol=1e-10)
        assert model.score(X) == pytest.approx(truth.mean())

    def test_classes_give_joint_and_marginal(self):
        model = ClassGaussian().fit(X, Y)
        joint = np.stack(
            [
                norm(mean, np.sqrt(variance)).logpdf(X).sum(axis=1) + np.log(prior)
                for mean, variance, prior in zip(model.means_, model.variances_, model.class_prior_)
            ]
        )
        chosen = np.searchsorted(model.classes_, Y)
        np.testing.assert_allclose(
            model.score_samples(X, Y), joint[chosen, np.arange(60)], rtol=1e-10
        )
        np.testing.assert_allclose(model.score_samples(X, "b"), joint[1], rtol=1e-10)
        np.testing.assert_allclose(
            model.score_samples(X), np.log(np.exp(joint).sum(axis=0)), rtol=1e-10
        )
        np.testing.assert_allclose(
            model.predict_proba(X), (np.exp(joint) / np.exp(joint).sum(axis=0)).T, rtol=1e-9
        )
        assert model.score(X, Y) == pytest.approx(model.score(X))  # y is ignored
        np.testing.assert_array_equal(model.predict(X), model.classes_[joint.argmax(axis=0)])

    def test_a_row_that_no_class_allows_gets_no_preference(self):
        model = ClassGaussian().fit(X, Y)
        model._joint_log_likelihood = lambda rows: np.full((len(rows), 3), -np.inf)
        np.testing.assert_allclose(model.predict_proba(X[:2]), np.full((2, 3), 1.0 / 3.0))

    def test_decoder_maps_back(self):
        model = ProbabilisticPCA(n_components=3).fit(X)
        representation = model.transform(X)
        assert representation.shape == (60, 3)
        np.testing.assert_allclose(model.inverse_transform(representation), X, atol=0.1)
        assert model.inverse_transform(representation.astype(np.float32)).dtype == np.float32

    @pytest.mark.parametrize(
        "container, frame", [("pandas", pd.DataFrame), ("polars", pl.DataFrame)]
    )
    def test_decoder_returns_frames(self, container, frame):
        names = ["height", "width", "depth"]
        model = (
            ProbabilisticPCA(n_components=2)
            .set_output(transform=container)
            .fit(frame(dict(zip(names, X.T))))
        )
        decoded = model.inverse_transform(model.transform(frame(dict(zip(names, X.T)))))
        assert isinstance(decoded, frame)
        assert list(decoded.columns) == names

    def test_global_output_governs_draws(self):
        with config_context(transform_output="pandas"):
            assert list(DiagonalGaussian().fit(X).sample(2).columns) == ["x0", "x1", "x2"]

    def test_known_values_come_back(self):
        draws = DiagonalGaussian(random_state=0).fit(X).sample(5, given={1: 7.0})
        np.testing.assert_array_equal(draws[:, 1], 7.0)
        assert len(np.unique(draws[:, 0])) == 5


class TestImpute:
    HOLES = np.array([[np.nan, 1.0, 2.0], [3.0, np.nan, np.nan]], dtype=np.float32)

    def test_means_fill_holes_and_known_values_stay(self):
        model = ImputingGaussian().fit(X)
        filled = model.impute(self.HOLES)
        a, b, c = X.mean(axis=0)
        np.testing.assert_allclose(filled, [[a, 1.0, 2.0], [3.0, b, c]], rtol=1e-6)
        assert filled.dtype == np.float32

    def test_draws_continue_the_stream_unless_seeded(self):
        model = ImputingGaussian(random_state=0).fit(X)
        first, second = (model.impute(self.HOLES, method="draw") for _ in range(2))
        assert (first != second)[np.isnan(self.HOLES)].all()
        np.testing.assert_array_equal(
            model.impute(self.HOLES, method="draw", random_state=1),
            model.impute(self.HOLES, method="draw", random_state=1),
        )

    def test_frames_in_frames_out(self):
        model = ImputingGaussian().set_output(transform="pandas")
        model.fit(pd.DataFrame(X, columns=["a", "b", "c"]))
        filled = model.impute(pd.DataFrame(self.HOLES, columns=["a", "b", "c"]))
        assert list(filled.columns) == ["a", "b", "c"]

    def test_another_method_is_refused(self):
        with pytest.raises(ValueError, match="method must be one of 'mean', 'draw'; got 'mode'"):
            ImputingGaussian().fit(X).impute(self.HOLES, method="mode")

    def test_a_model_without_conditions_does_not_impute(self):
        class Closed(ImputingGaussian):
            _takes_conditions = False

        assert not hasattr(Closed().fit(X), "impute")


class TestMessages:
    @pytest.mark.parametrize(
        "call, message",
        [
            (lambda m: m.sample(0), "n_samples must be an integer >= 1; got 0."),
            (lambda m: m.sample(2.5), "n_samples must be an integer >= 1; got 2.5."),
            (
                lambda m: m.sample(random_state="x"),
                "random_state must be None, an integer >= 0, .*; got 'x'",
            ),
            (
                lambda m: m.sample(y=1),
                "y asks for classes, but DiagonalGaussian has none; leave it out",
            ),
            (
                lambda m: m.sample(return_y=True),
                "return_y asks for classes, but DiagonalGaussian has none",
            ),
            (
                lambda m: m.sample(given={0: {1, 2}}),
                "set of categories, but the features of DiagonalGaussian are cont",
            ),
            (
                lambda m: m.score_samples(np.where(X > 5, np.nan, X)),
                "X contains NaN, which DiagonalGaussian cannot",
            ),
        ],
    )
    def test_of_a_generator(self, call, message):
        model = DiagonalGaussian().fit(X)
        with pytest.raises(ValueError, match=message):
            call(model)

    @pytest.mark.parametrize(
        "call, message",
        [
            (
                lambda m: m.sample(y="d"),
                "y must hold the classes of the fit, ['a', 'b', 'c']; got 'd'",
            ),
            (lambda m: m.sample(y=1), "y must hold the classes of the fit, ['a', 'b', 'c']; got 1"),
            (
                lambda m: m.sample(y=["a", "b"]),
                "one for each of the 1 rows (in sample: n_samples=1); got shape (2,)",
            ),
            (
                lambda m: m.sample(2, y=np.array(["a", 3], dtype=object)),
                "y must hold the classes of the fit",
            ),
            (lambda m: m.score_samples(X, Y[:3]), "one for each of the 60 rows"),
            (lambda m: m.sample(given={0: 1.0}), "given is not known to ClassGaussian"),
        ],
    )
    def test_of_classes(self, call, message):
        model = ClassGaussian().fit(X, Y)
        with pytest.raises(ValueError, match=re.escape(message)):
            call(model)

    def test_missing_labels_are_not_blamed_on_X(self):
        labels = np.where(Y == "a", np.nan, 1.0)
        with pytest.raises(ValueError, match="Input y contains NaN"):
            ClassGaussian().fit(X, labels)

    @pytest.mark.parametrize(
        "rows, message",
        [
            (
                np.zeros((2, 5)),
                "Z must have shape \\(n, 1\\), as transform returns; got \\(2, 5\\)",
            ),
            (np.array([[np.nan]]), "Input Z contains NaN"),
            (np.zeros(3), "Expected 2D array"),
        ],
    )
    def test_of_a_decoder(self, rows, message):
        model = ProbabilisticPCA().fit(X)
        with pytest.raises(ValueError, match=message):
            model.inverse_transform(rows)


class TestTags:
    """What tags and error sentences say of a generator, and what it does."""

    BITS = np.random.default_rng(1).integers(2, size=(40, 4)).astype(float)
    LABELS = np.repeat([0, 1], 20)
    HOLED = np.where(np.arange(160).reshape(40, 4) == 5, np.nan, BITS)

    def small(self, name):
        estimator = getattr(probgen, name)()
        if "max_iter" in estimator.get_params():
            estimator.set_params(max_iter=1)
        if "device" in estimator.get_params():
            estimator.set_params(device="cpu")
        if "density" in estimator.get_params():
            estimator.set_params(density__n_draws=64)
        return estimator

    def does(self, call, refusal):
        """Whether a call succeeds; if not, it says why in the words of the contract."""
        with warnings.catch_warnings(action="ignore"):
            try:
                call()
            except ValueError as error:
                if not str(error).startswith(refusal):
                    raise
                return False
        return True

    @pytest.mark.parametrize("name", probgen.estimators.__all__)
    def test_of_a_generator_are_true(self, name):
        model = self.small(name)
        tags = get_tags(model)
        can_learn = self.does(lambda: model.fit(self.HOLED, self.LABELS), "X contains NaN")
        assert can_learn == (tags.missing_values == "all")
        with warnings.catch_warnings(action="ignore"):
            model = self.small(name).fit(self.BITS, self.LABELS)
        can_score = self.does(lambda: model.score_samples(self.HOLED), "X contains NaN")
        assert can_score == (tags.missing_values != "none")
        can_condition = self.does(lambda: model.sample(given={0: 1.0}), "given is not known")
        assert can_condition == tags.conditions

    @pytest.mark.parametrize(
        "call, named",
        [
            (
                lambda m: m.sample(given={0: 1.0}),
                {r"; (.*) draw under conditions\.": lambda tags: tags.conditions},
            ),
            (
                lambda m: m.score_samples([[np.nan, 0.0, 0.0]]),
                {
                    r"take; (.*) learn from": lambda tags: tags.missing_values == "all",
                    r"values, (.*) score them": lambda tags: tags.missing_values == "queries",
                },
            ),
        ],
    )
    def test_decide_which_generators_an_error_names(self, call, named):
        with pytest.raises(ValueError, match=r"^given is not known|^X contains NaN") as caught:
            call(ClassGaussian().fit(X, Y))
        for pattern, accept in named.items():
            names = re.search(pattern, str(caught.value))[1].replace(" and ", ", ").split(", ")
            assert names == [
                name
                for name in sorted(probgen.estimators.__all__)
                if accept(get_tags(getattr(probgen, name)()))
            ]

    def test_an_error_does_not_send_back_to_its_own_class(self):
        model = BayesClassifier(Autoencoder(1, max_iter=1, device="cpu")).fit(X, Y)
        with pytest.raises(ValueError, match="known to BayesClassifier; ConditionalPixelCNN, "):
            model.sample(given={0: 1.0})

    def test_of_a_pipeline_are_those_of_its_generator(self):
        tags = get_tags(make_generative_pipeline(StandardScaler(), GaussianMixture()))
        assert tags.conditions
        assert tags.missing_values == "all"
        tags = get_tags(make_generative_pipeline(LogitTransformer(), GAN()))
        assert not tags.conditions
        assert not tags.draws_follow_density
        assert tags.missing_values == "none"


class TestGetLikelihood:
    def test_of_a_generator(self):
        assert get_likelihood(DiagonalGaussian()) == Likelihood("exact", "lebesgue", "input")

    def test_through_a_pipeline(self):
        assert (
            get_likelihood(make_pipeline(StandardScaler(), DiagonalGaussian())).space
            == "transformed"
        )
        assert get_likelihood(make_pipeline("passthrough", DiagonalGaussian())).space == "input"

    def test_through_a_search_of_pipelines(self):
        pipeline = make_pipeline(StandardScaler(), DiagonalGaussian())
        search = GridSearchCV(pipeline, {"standardscaler": [StandardScaler(), "passthrough"]}, cv=2)
        assert get_likelihood(search) == get_likelihood(pipeline)
        chosen = search.fit(X).best_estimator_
        assert get_likelihood(search) == get_likelihood(chosen)

    def test_through_a_frozen_estimator(self):
        assert get_likelihood(FrozenEstimator(DiagonalGaussian().fit(X))).kind == "exact"

    def test_keeps_kind_and_measure(self):
        class Counting(DiagonalGaussian):
            _likelihood = Likelihood("lower_bound", "counting")

        assert get_likelihood(make_pipeline(StandardScaler(), Counting())) == Likelihood(
            "lower_bound", "counting", "transformed"
        )

    @pytest.mark.parametrize("other", [LogisticRegression(), "passthrough", DiagonalGaussian])
    def test_of_something_else(self, other):
        with pytest.raises(TypeError, match="get_likelihood expects"):
            get_likelihood(other)


class TestChecks:
    @pytest.mark.parametrize("value", [1, np.int64(3)])
    def test_counts_pass(self, value):
        check_count("n_components", value)

    @pytest.mark.parametrize("value", [0, True, 1.0, "1", None])
    def test_other_counts_do_not(self, value):
        with pytest.raises(
            ValueError, match=f"n_components must be an integer >= 1; got {value!r}. Try 2."
        ):
            check_count("n_components", value, hint="Try 2.")

    @pytest.mark.parametrize("value", [-0.5, np.nan, np.inf, "1", None, True])
    def test_numbers(self, value):
        with pytest.raises(ValueError, match=f"tol must be a finite number >= 0; got {value!r}"):
            check_real("tol", value, low=0.0)

    def test_number_in_a_range(self):
        check_real("share", np.float32(0.5), low=0.0, high=1.0)
        with pytest.raises(ValueError, match=r"share must be a finite number in \[0, 1\]; got 2"):
            check_real("share", 2, low=0.0, high=1.0)

    def test_choice(self):
        check_choice("kind", "full", ("full", "tied"))
        with pytest.raises(ValueError, match="kind must be one of 'full', 'tied'; got 'ful'"):
            check_choice("kind", "ful", ("full", "tied"))

    def test_weights(self):
        np.testing.assert_array_equal(check_weights(None, 2), [1.0, 1.0])
        np.testing.assert_array_equal(check_weights(3, 2), [3.0, 3.0])
        np.testing.assert_array_equal(check_weights([0, 2], 2), [0.0, 2.0])

    @pytest.mark.parametrize(
        "weights, message",
        [
            ([1.0, -2.0], "sample_weight must be finite and >= 0; got -2"),
            ([1.0, np.nan], "sample_weight must be finite and >= 0; got nan"),
            ([0.0, 0.0], "sample_weight must have a positive sum; got only zeros"),
            ([1.0], "one weight for each row of X"),
            ([[1.0, 1.0]], "Sample weights must be 1D array or scalar"),
            (["heavy", "light"], "sample_weight must hold numbers"),
        ],
    )
    def test_bad_weights(self, weights, message):
        with pytest.raises(ValueError, match=message):
            check_weights(weights, 2)

    def test_generators(self):
        generator = np.random.default_rng(0)
        assert check_generator(generator) is generator
        assert check_generator(5).random() == np.random.default_rng(5).random()
        first, second = (check_generator(np.random.RandomState(1)).random() for _ in range(2))
        assert first == second
        assert check_generator(None).random() != check_generator(None).random()

    @pytest.mark.parametrize("value", [-1, 1.5, True, "0", np.random])
    def test_other_seeds(self, value):
        with pytest.raises(
            ValueError, match="random_state must be None, an integer >= 0, a RandomState or a Gen"
        ):
            check_generator(value)
