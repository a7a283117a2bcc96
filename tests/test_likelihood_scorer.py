"""Searches by likelihood: what does not compare is refused, whatever runs the search."""

import gc
import itertools

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, validation_curve
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler, RobustScaler, StandardScaler

from probgen import (
    MADE,
    VAE,
    Autoencoder,
    BayesClassifier,
    Dequantizer,
    GaussianBayes,
    GaussianMixture,
    GenerativePipeline,
    PixelCNN,
    make_generative_pipeline,
)
from probgen.base import comparison
from probgen.metrics import likelihood_scorer

RNG = np.random.default_rng(0)
BITS = (RNG.random((60, 3)) < [0.2, 0.5, 0.7]).astype(float)
REALS = RNG.normal(size=(60, 3)) * [1e-2, 1.0, 1e3]
CLASSES = np.arange(60) % 2
QUICK = {"max_iter": 1, "device": "cpu", "random_state": 0}
DENSE = {"hidden_layer_sizes": (4,), **QUICK}
DENSITIES = [
    GaussianMixture(),
    GaussianBayes(),
    BayesClassifier(),
    VAE(1, likelihood="gaussian", **DENSE),
    MADE(likelihood="gaussian_mixture", **DENSE),
    Autoencoder(1, **DENSE),
]
PROBABILITIES = [
    VAE(1, **DENSE),
    MADE(**DENSE),
    BayesClassifier(MADE(**DENSE)),
    PixelCNN(4, 1, image_shape=(1, 3), **QUICK),
    Autoencoder(1, loss="bernoulli", **DENSE),
    make_generative_pipeline(Dequantizer(2, random_state=0), GaussianMixture()),
]
ANY = Pipeline([("model", GaussianMixture())])
STEPS = GenerativePipeline([("step", "passthrough"), ("model", GaussianMixture(reg_covar=0.0))])
REFUSAL = r"The likelihood of .* is a \w+, that of the first candidate .* do not compare; fix"


def search(estimator, grid, X=BITS, **settings):
    settings = {"cv": 2, "scoring": likelihood_scorer, "error_score": "raise", **settings}
    return GridSearchCV(estimator, grid, **settings).fit(X, CLASSES)


def scores(found):
    return found.cv_results_["mean_test_score"]


@pytest.mark.parametrize("density", DENSITIES, ids=str)
@pytest.mark.parametrize("probability", PROBABILITIES, ids=str)
def test_a_density_and_a_probability_are_refused_in_any_order(density, probability):
    for models in itertools.permutations([density, probability]):
        with pytest.raises(ValueError, match=REFUSAL):
            search(ANY, {"model": models})


@pytest.mark.parametrize("models", [DENSITIES, PROBABILITIES])
def test_candidates_of_one_measure_have_the_scores_of_their_own(models):
    def mean_score(model, X, y):
        return model.score(X)

    found = search(ANY, {"model": models})
    truth = search(ANY, {"model": models}, scoring=mean_score)
    np.testing.assert_allclose(scores(found), scores(truth), rtol=1e-5)


def test_by_default_refusals_are_warnings_and_the_best_candidate_compares_with_the_first():
    models = [PROBABILITIES[0], DENSITIES[0], PROBABILITIES[1]]
    with (
        pytest.warns(UserWarning, match=REFUSAL),
        pytest.warns(UserWarning, match="scores are non-finite"),
    ):
        found = search(ANY, {"model": models}, error_score=np.nan)
    assert np.isnan(scores(found)).tolist() == [False, True, False]
    assert found.best_index_ != 1


def test_a_search_of_refused_candidates_alone_has_no_best_score():
    pipeline = make_pipeline(StandardScaler(), GaussianMixture())
    with (
        pytest.warns(UserWarning, match="build the pipeline with probgen.make_generative_pipeline"),
        pytest.warns(UserWarning, match="scores are non-finite"),
    ):
        found = search(pipeline, {"gaussianmixture__n_components": [1, 2]}, error_score=np.nan)
    assert np.isnan(found.best_score_)


def test_searches_one_after_another_do_not_meet():
    folds = list(KFold(2).split(BITS))
    for model in [DENSITIES[0], PROBABILITIES[0], DENSITIES[0]]:
        search(ANY, {"model": [model, clone(model)]}, cv=folds[:1])
        folds = [tuple(part.copy() for part in fold) for fold in folds]
    del folds
    gc.collect()
    assert not comparison._first_of


def test_curves_and_nested_searches_are_searches_too():
    with pytest.raises(ValueError, match=REFUSAL):
        validation_curve(
            ANY,
            BITS,
            None,
            param_name="model",
            param_range=[DENSITIES[0], PROBABILITIES[0]],
            cv=2,
            scoring=likelihood_scorer,
            error_score="raise",
        )
    inner = GridSearchCV(
        ANY,
        {"model": [DENSITIES[0], PROBABILITIES[0]]},
        cv=2,
        scoring=likelihood_scorer,
        error_score="raise",
    )
    with pytest.raises(ValueError, match=REFUSAL):
        cross_val_score(inner, BITS, cv=2, scoring=likelihood_scorer, error_score="raise")
    inner.set_params(param_grid={"model": PROBABILITIES[:2]})
    assert np.isfinite(cross_val_score(inner, BITS, cv=2, scoring=likelihood_scorer)).all()


def test_outside_a_search_nothing_is_compared():
    models = [clone(model).fit(BITS, CLASSES) for model in (DENSITIES[0], PROBABILITIES[0])]
    for model in models:
        assert likelihood_scorer(model, BITS) == pytest.approx(model.score(BITS), rel=1e-6)
        assert likelihood_scorer(model, BITS, CLASSES) == likelihood_scorer(model, BITS)
    with pytest.raises(TypeError, match="get_likelihood expects a generator"):
        likelihood_scorer(KernelDensity().fit(BITS), BITS)


class TestUnits:
    SCALERS = (StandardScaler(), MinMaxScaler(), RobustScaler())

    @pytest.mark.parametrize(
        "scalers", list(itertools.permutations([*SCALERS[:2], "passthrough"], 2))
    )
    def test_scalers_in_a_plain_pipeline_are_refused(self, scalers):
        plain = Pipeline(STEPS.steps)
        with pytest.raises(ValueError, match="in the units of its last step, not of the rows"):
            search(plain, {"step": scalers}, REALS)

    @pytest.mark.parametrize("scoring", [likelihood_scorer, None])
    def test_scalers_in_a_generative_pipeline_compare(self, scoring):
        found = search(STEPS, {"step": [*self.SCALERS, "passthrough"]}, REALS, scoring=scoring)
        np.testing.assert_allclose(scores(found), scores(found)[0], rtol=1e-9)

    def test_a_plain_pipeline_without_scaler_is_in_units_of_the_rows(self):
        plain = search(Pipeline(STEPS.steps), {}, REALS)
        assert scores(plain) == pytest.approx(scores(search(STEPS, {}, REALS)))

    def test_probabilities_have_no_units(self):
        rows = 2.0 * BITS + [3.0, -1.0, 40.0]
        scaled = make_generative_pipeline(MinMaxScaler(), MADE(**DENSE)).fit(rows)
        every = np.array(list(itertools.product([0.0, 1.0], repeat=3)))
        total = np.exp(scaled.score_samples(2.0 * every + [3.0, -1.0, 40.0])).sum()
        assert total == pytest.approx(1.0, rel=1e-5)


class TestWithoutAScorer:
    """`score` refuses what it can see: other measures in one process."""

    @pytest.mark.parametrize(
        "pipeline, name", [(ANY, "model"), (Pipeline([("outer", ANY)]), "outer__model")]
    )
    def test_last_steps_of_plain_pipelines(self, pipeline, name):
        for models in itertools.permutations([DENSITIES[0], PROBABILITIES[0]]):
            with pytest.raises(ValueError, match=REFUSAL):
                search(pipeline, {name: models}, scoring=None)

    def test_generative_pipelines(self):
        with pytest.raises(ValueError, match=REFUSAL):
            search(STEPS, {"step": ["passthrough", Dequantizer(2)]}, scoring=None)

    @pytest.mark.parametrize(
        "model, name, values",
        [
            (VAE(1, **DENSE), "likelihood", ["gaussian", "bernoulli"]),
            (MADE(**DENSE), "likelihood", ["categorical", "gaussian_mixture"]),
            (Autoencoder(1, **DENSE), "loss", ["squared_error", "bernoulli"]),
            (BayesClassifier(), "estimator", [GaussianMixture(), MADE(**DENSE)]),
        ],
        ids=str,
    )
    def test_generators(self, model, name, values):
        for order in (values, values[::-1]):
            with pytest.raises(ValueError, match=REFUSAL):
                search(model, {name: order}, scoring=None)

    def test_the_observation_model_of_an_autoencoder_can_be_fixed(self):
        model = Autoencoder(1, observation="gaussian", **DENSE)
        found = search(model, {"loss": ["squared_error", "bernoulli"]}, scoring=None)
        assert np.isfinite(scores(found)).all()


class TestWorkers:
    """Threads see the other candidates; processes accept only what is sure to compare."""

    MODELS = (DENSITIES[0], PROBABILITIES[-1])

    @pytest.mark.parametrize("models", [MODELS, MODELS[::-1]])
    def test_threads(self, models):
        with (
            joblib.parallel_config("threading"),
            pytest.raises(ValueError, match="these do not compare; fix the parameter likelihood"),
        ):
            search(ANY, {"model": models}, n_jobs=2)
        with joblib.parallel_config("threading"):
            found = search(ANY, {"model": [GaussianMixture(), GaussianMixture(2)]}, n_jobs=2)
        assert np.isfinite(scores(found)).all()

    def test_processes_refuse_what_may_not_compare_whatever_comes_first(self):
        mixed = ColumnTransformer([("first", Dequantizer(2), [0])], remainder="passthrough")
        bit_and_reals = np.column_stack([BITS[:, 0], REALS])
        for model, grid, rows, are_refused in [
            (ANY, {"model": self.MODELS}, BITS, [True, False]),
            (ANY, {"model": self.MODELS[::-1]}, BITS, [False, True]),
            (STEPS, {"step": [mixed, "passthrough"]}, bit_and_reals, [True, False]),
        ]:
            with pytest.warns(UserWarning, match="scores are non-finite"):
                found = search(model, grid, rows, n_jobs=2, error_score=np.nan)
            assert np.isnan(scores(found)).tolist() == are_refused
        with pytest.raises(ValueError, match="is a density, and in a process of its own the score"):
            search(ANY, {"model": self.MODELS}, n_jobs=2)

    def test_processes_accept_what_is_sure_to_compare(self):
        steps = {"step": [StandardScaler(), "passthrough"]}
        for model, grid, rows in [
            (GaussianMixture(), {"n_components": [1, 2]}, BITS),  # keeps the measure
            (STEPS, steps, REALS),
            (STEPS, {"step": [Dequantizer(2), Dequantizer(3)]}, BITS),
            (ANY, {"model": [self.MODELS[0]]}, BITS),
        ]:
            assert np.isfinite(scores(search(model, grid, rows, n_jobs=2))).all()


def test_the_scores_of_other_estimators_are_not_asked():
    outer = make_pipeline(FunctionTransformer(), KernelDensity())
    assert np.isfinite(scores(search(outer, {"kerneldensity__bandwidth": [1.0]}, scoring=None)))
