"""Rows outside the support of a model are refused by every query, and not given a number."""

import functools
import inspect

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.utils import get_tags
from small_generators import DISCRETE, GENERATORS

import probgen.metrics
from probgen import (
    MADE,
    VAE,
    Autoencoder,
    BayesClassifier,
    ConditionalVAE,
    GenerativePipeline,
    Trainer,
    get_likelihood,
)
from probgen.options import Categorical, DiscretizedLogistic
from probgen.training import LatentDoctor, TensorBoard

# Models have few draws, since no score is judged here.
pytestmark = pytest.mark.filterwarnings("ignore:.* effective draws")

RNG = np.random.default_rng(0)
SHAPE = (40, 4)
Y = np.arange(40) % 2
ROUNDED = 1.0 + 1e-7  # as arithmetic in single precision leaves a 1
ROWS = {
    "bits": (RNG.random(SHAPE) < 0.5).astype(float),
    "levels": RNG.integers(4, size=SHAPE).astype(float),
    "shares": RNG.random(SHAPE),
}
ROWS["levels"][0] = 3.0
OUTSIDE = {
    "bits": (0.5, 2.0, -3.0, 7.0, ROUNDED, -1e-7),
    "levels": (0.5, 4.0, -3.0, 7.0, ROUNDED),
    "shares": (2.0, -3.0, 7.0, ROUNDED, -1e-7),
}
NEEDS = {
    "bits": "needs (values|rows of) 0 and 1; X holds ",
    "levels": "needs whole numbers from 0 to n_levels - 1 = 3; X holds ",
    "shares": r"needs values in \[0, 1\]; X holds ",
}
KINDS = {  # settings and rows by the likelihood that they choose
    "bernoulli": ("bernoulli", "bits"),
    "continuous_bernoulli": ("continuous_bernoulli", "shares"),
    "categorical": (Categorical(n_levels=4), "levels"),
    "discretized_logistic": (DiscretizedLogistic(n_levels=4, n_mixture=1), "levels"),
}
# Programs of tensors, and the map of codes to rows, which ask nothing about rows.
NO_QUERIES = {"model", "guide", "inverse_transform"}
# Those of mixed columns, which have supports each, are in test_native_tables.
UNBOUNDED = {"auto", "gaussian", "laplace", "gaussian_mixture", "mixed"}


def cases():
    """Every public generator with every likelihood of bounded support, as pytest parameters."""
    one_of_each = {type(estimator): estimator for estimator in [*DISCRETE, *GENERATORS]}
    for kind, template in one_of_each.items():
        settings = []
        for name in set(getattr(kind, "_options", {}).get("likelihood", ())) - UNBOUNDED:
            likelihood, rows = KINDS[name]
            settings.append((rows, {"likelihood": likelihood}))
            if name == "bernoulli":
                settings.append((rows, {"likelihood": name, "dynamic_binarization": True}))
        if "loss" in template.get_params() and template.loss == "squared_error":
            settings.append(("bits", {"loss": "bernoulli"}))
        for rows, setting in sorted(settings, key=str):
            small = {**setting, "max_iter": 1}
            if kind is not Autoencoder and "n_importance_samples" in template.get_params():
                small["n_importance_samples"] = 4
            model = clone(template).set_params(**small)
            yield pytest.param(model, rows, id=f"{kind.__name__}-{rows}-{len(setting)}")
    settings = {"hidden_layer_sizes": (4,), "likelihood": "bernoulli", "max_iter": 1}
    vae = VAE(1, n_importance_samples=4, **settings)
    by_class = ConditionalVAE(1, n_importance_samples=4, **settings)
    for model in [BayesClassifier(vae), BayesClassifier(MADE(**settings))]:
        yield pytest.param(model, "bits", id=f"classes of {type(model.estimator).__name__}")
    for model in [vae, by_class, MADE(**settings)]:
        pipeline = GenerativePipeline([("nothing", "passthrough"), ("model", model)])
        yield pytest.param(pipeline, "bits", id=f"pipeline of {type(model).__name__}")


CASES = list(cases())


def each_case(takes=lambda model: True):
    """Parametrize a test by the cases whose estimators a predicate is true of."""
    chosen = [case for case in CASES if takes(case.values[0])]
    return pytest.mark.parametrize("estimator, kind", chosen)


def takes_missing_values(model):
    """Whether some rows may have missing values, of the model that is to be fitted or the last."""
    last = getattr(model, "steps", [(None, model)])[-1][1]
    last = getattr(last, "estimator", last)
    return get_tags(last).missing_values != "none"


@functools.cache
def fitted(estimator, kind):
    rows = ROWS[kind]
    if getattr(estimator, "dynamic_binarization", False):
        rows = 0.2 + 0.6 * rows
    return clone(estimator).fit(rows, Y)


def queries(model):
    """All public methods of a fitted model that ask about rows, by name."""
    found = {}
    for name in dir(model):
        method = getattr(model, name, None)
        is_query = not name.startswith(("_", "fit", "partial_fit")) and name not in NO_QUERIES
        if is_query and inspect.ismethod(method) and "X" in inspect.signature(method).parameters:
            found[name] = method
    for name in probgen.metrics.__all__:
        function = getattr(probgen.metrics, name)
        if list(inspect.signature(function).parameters)[:2] == ["estimator", "X"]:
            found[name] = functools.partial(function, model)
    return found


def with_entry(kind, value):
    rows = ROWS[kind][:3].copy()
    rows[1, 2] = value
    return rows


def test_cases_cover_every_family_with_a_bounded_support():
    names = {type(case.values[0]).__name__ for case in CASES}
    without = {"GaussianMixture", "GaussianBayes", "GAN", "VAEGAN", "ConditionalGAN"}
    without |= {"AuxiliaryClassifierGAN", "MixtureModel", "HiddenMarkovModel"}
    # Their parameter is called visible: test_boltzmann.
    without |= {"RestrictedBoltzmannMachine", "DeepBeliefNetwork", "DeepBeliefClassifier"}
    assert names - {"GenerativePipeline"} == set(probgen.estimators.__all__) - without


@each_case()
def test_every_query_refuses_rows_outside_the_support(estimator, kind):
    model = fitted(estimator, kind)
    inner = getattr(model, "steps", [(None, model)])[-1][1]
    refused = []
    for name, query in queries(model).items():
        if name in probgen.metrics.__all__ and not hasattr(inner, "_latent_model"):
            continue
        if name == "ais_log_likelihood":
            if model is not inner:
                continue
            query = functools.partial(query, y=Y[:3], n_temperatures=1, n_chains=2)
        query(ROWS[kind][:3])
        for value in OUTSIDE[kind]:
            with pytest.raises(ValueError, match=NEEDS[kind]):
                query(with_entry(kind, value))
        refused.append(name)
    assert {"score_samples", "score", "transform"} <= set(refused)


@each_case(lambda model: get_tags(model).conditions)
def test_conditions_outside_the_support_are_refused(estimator, kind):
    model = fitted(estimator, kind)
    known_class = {"y": 0} if isinstance(model, BayesClassifier) else {}
    for value in OUTSIDE[kind]:
        with pytest.raises(ValueError, match=r"^given must hold .* feature 2"):
            model.sample(1, given={2: value}, random_state=0, **known_class)


@each_case(takes_missing_values)
def test_missing_values_hide_nothing(estimator, kind):
    model = fitted(estimator, kind)
    rows = with_entry(kind, np.nan)
    assert np.isfinite(model.score_samples(rows)).all()
    rows[2, 0] = 7.0
    with pytest.raises(ValueError, match=NEEDS[kind] + r".* and NaN"):
        model.score_samples(rows)


@each_case(lambda model: hasattr(model, "partial_fit"))
def test_a_model_that_goes_on_learning_refuses_them_and_stays_as_it_was(estimator, kind):
    model = fitted(estimator, kind)
    before = model.score_samples(ROWS[kind])
    history = list(getattr(model, "history_", ()))
    for value in (7.0, -3.0):
        with pytest.raises(ValueError, match=r"need.* X holds .*; "):
            model.partial_fit(with_entry(kind, value), Y[:3])
    np.testing.assert_array_equal(model.score_samples(ROWS[kind]), before)
    assert list(getattr(model, "history_", ())) == history


def test_the_sentence_has_the_digits_and_the_remedy():
    shares = fitted(VAE(1, likelihood="continuous_bernoulli", max_iter=1), "shares")
    with pytest.raises(ValueError, match=r"X holds 0\.\d+ to 1.0000001; clip rounding errors, as"):
        shares.score_samples(with_entry("shares", ROUNDED))
    drawn = VAE(1, dynamic_binarization=True, max_iter=1).fit(ROWS["shares"])
    for query in [drawn.score, drawn.transform, drawn.reconstruct]:
        with pytest.raises(ValueError, match=r"; draw bits .*, as rng.random\(X.shape\) < X does"):
            query(ROWS["shares"])


def test_a_likelihood_of_real_values_takes_all_of_them():
    for likelihood in ["gaussian", "laplace", "gaussian_mixture"]:
        model = VAE(1, likelihood=likelihood, max_iter=1).fit(ROWS["shares"])
        assert np.isfinite(model.score_samples(np.full((1, 4), -7.5))).all()


@pytest.mark.filterwarnings("ignore:After epoch:UserWarning")
@pytest.mark.parametrize("kind", [VAE, MADE])
def test_probabilities_of_bits_are_validated_and_watched_in_training(kind, tmp_path):
    callbacks = [TensorBoard(tmp_path)]
    if kind is VAE:
        callbacks.append(LatentDoctor())
    trainer = Trainer(early_stopping=True, callbacks=callbacks)
    model = kind(dynamic_binarization=True, max_iter=2, trainer=trainer).fit(ROWS["shares"])
    assert np.isfinite(model.history_["validation_score"]).all()
    assert get_likelihood(model).measure == "counting"


def test_levels_of_held_out_rows_are_in_the_support():
    rows = np.zeros((30, 2))
    rows[:3] = 5.0
    trainer = Trainer(early_stopping=True, validation_fraction=0.5)
    likelihood = Categorical(n_levels=None)
    for seed in range(3):
        model = VAE(1, likelihood=likelihood, trainer=trainer, max_iter=1, random_state=seed)
        assert model.fit(rows).observation_.n_levels == 6
