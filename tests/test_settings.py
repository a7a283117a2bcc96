"""Every setting has an effect: another valid value of a parameter moves a number.

Each public generator is fitted with small settings, then with another value of one parameter. Some
of its numbers must differ: draws, scores, representations, probabilities of classes, or draws under
a condition. What a parameter does besides numbers, such as where the fit runs, is excused by name.
"""

import copy
import functools
import inspect
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone, is_classifier
from sklearn.preprocessing import PowerTransformer
from sklearn.utils import get_tags

import probgen
from probgen import (
    GAN,
    MADE,
    VAE,
    Autoencoder,
    Dequantizer,
    GaussianMixture,
    LogitTransformer,
    PixelCNN,
    RestrictedBoltzmannMachine,
    SemiSupervisedVAE,
    Trainer,
    make_generative_pipeline,
)
from probgen.options import AnnealedImportanceSampling, AutoDensity, AutoLikelihood, ParzenWindow
from probgen.training import History

# Few rows and few iterations make many fits warn.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

KINDS = [getattr(probgen.estimators, name) for name in probgen.estimators.__all__]
N_ROWS = 48
RNG = np.random.default_rng(0)
LABELS = np.arange(N_ROWS) % 2
BITS = (RNG.random((N_ROWS, 16)) < np.where(LABELS, 0.3, 0.6)[:, np.newaxis]).astype(float)
ROWS = {
    "reals": RNG.standard_normal((N_ROWS, 16)) + 2.0 * LABELS[:, np.newaxis],
    "levels": RNG.integers(0, 4, (N_ROWS, 16)).astype(float),
    "grey": np.clip(RNG.random((N_ROWS, 16)), 0.1, 0.9),
    "bits": BITS,
    "singles": RNG.standard_normal((N_ROWS, 16)).astype(np.float32),
    "many": RNG.integers(0, 100, (N_ROWS, 16)).astype(float),
}

EXCUSED = {
    "device": "says where to compute",
    "n_jobs": "says how many fits run at once",
    "verbose": "prints",
    "verbose_interval": "prints",
    "handle_unknown": "of frames of mixed columns: test_native_tables",
    "kinds": "of frames of mixed columns: test_native_tables",
    "missing": "of frames of mixed columns: test_native_tables",
    "trainer__callbacks": "watches: test_callbacks",
    "trainer__checkpoint": "writes files: test_checkpoints",
    "trainer__checkpoint_interval": "writes files: test_checkpoints",
    "trainer__memory_budget": "says where rows are kept, with equal results: test_training_rows",
    "trainer__compile": "says how to compute, with equal results: test_training",
    "trainer__cuda_graph": "says how to compute on a GPU: test_cuda",
}


@dataclass
class Setting:
    """Another value of a parameter.

    Attributes
    ----------
    value : object
        A valid value that is not the default.
    context : dict
        Other parameters, without which the parameter has no effect, as its docstring says.
    rows : str
        Key of the rows; by default those that the generator takes.
    calls : {"fit", "refit", "partial_fit"}
        What is called before the numbers are taken.
    is_refused_without : bool
        Whether the rows are refused without it, which is effect enough.
    """

    value: Any
    context: dict = field(default_factory=dict)
    rows: str = ""
    calls: str = "fit"
    is_refused_without: bool = False


QUICK = {"max_iter": 2, "batch_size": 24, "random_state": 0, "device": "cpu"}
SHORT_CODES = {"n_components": 1, "hidden_layer_sizes": (4,), "n_importance_samples": 4, **QUICK}
CHAINS = {"n_importance_samples": 4, "likelihood": AutoLikelihood(n_mixture=2), **QUICK}
PIXELS = {"n_filters": 4, "n_layers": 1, "n_importance_samples": 4, **QUICK}
GANS = {"n_components": 1, "hidden_layer_sizes": (4,), "density": ParzenWindow(64), **QUICK}
BELIEFS = {
    "hidden_layer_sizes": (4, 3),
    "visible": "gaussian",
    "n_pretraining": 1,
    "n_importance_samples": 4,
    "n_sampling_steps": 10,
    **QUICK,
}
SMALL = {  # by the names of the classes
    "Autoencoder": SHORT_CODES,
    "AuxiliaryClassifierGAN": GANS,
    "BayesClassifier": {"random_state": 0},
    "ConditionalGAN": GANS,
    "ConditionalPixelCNN": PIXELS,
    "ConditionalVAE": SHORT_CODES,
    "DeepBeliefClassifier": BELIEFS,
    "DeepBeliefNetwork": BELIEFS,
    "FullyVisibleBeliefNetwork": CHAINS,
    "GAN": GANS,
    "GaussianBayes": {"reg_covar": 0.1, "random_state": 0},
    "GaussianMixture": {"reg_covar": 0.1, "random_state": 0},
    "HiddenMarkovModel": {"tol": 1e-3, "random_state": 0},
    "MADE": {"hidden_layer_sizes": (4,), **CHAINS},
    "MixtureModel": {"random_state": 0},
    "PixelCNN": PIXELS,
    "PixelRNN": PIXELS,
    "RestrictedBoltzmannMachine": {"n_components": 3, "visible": "gaussian", **QUICK},
    "SemiSupervisedVAE": SHORT_CODES,
    "VAE": SHORT_CODES,
    "VAEGAN": GANS,
}
DISCRETE = {"PixelCNN", "ConditionalPixelCNN", "PixelRNN"}

MIXED = {"n_components": 2, "max_iter": 1}
SLOW = {"n_components": 3, "covariance_type": "diag"}
LOW_RANK = {"covariance_type": "low_rank", "n_factors": 1}
CONV = {"architecture": "conv"}
STOPPING = {"trainer__early_stopping": True, "max_iter": 14, "learning_rate_init": 0.01}

SCORE_OF_FEATURES = torch.nn.Sequential(
    torch.nn.Linear(16, 5), torch.nn.ReLU(), torch.nn.Linear(5, 1)
)

BINARIZED = Setting(True, {"visible": "bernoulli"}, rows="grey")

# Another value of each parameter, by its name, or by the class and the name where they differ.
SETTINGS = {
    "activation": Setting("tanh"),
    "algorithm": Setting("cd"),
    "atoms": Setting({0: [0.0, 1.0]}, rows="levels"),
    "architecture": Setting("conv"),
    "attention": Setting(True),
    "augmentation": Setting(["brightness"]),
    "bandwidth": Setting(2, {"transition": "banded", "n_components": 4}),
    "batch_size": Setting(12),
    "beta": Setting(0.5),
    "categorical_features": Setting([0, 3], rows="levels"),
    "classification_weight": Setting(3.0),
    "classifier": Setting(torch.nn.Linear(16, 2)),
    "corruption": Setting("gaussian"),
    "covariance_type": Setting("diag"),
    "decoder": Setting(torch.nn.Linear(1, 16)),
    "ConditionalVAE.decoder": Setting(torch.nn.Linear(3, 16)),
    "density": Setting(AnnealedImportanceSampling(2, 2)),
    "distributions": Setting("student_t"),
    "dropout": Setting(0.1),
    "dynamic_binarization": Setting(True, rows="grey"),
    "elbo": Setting("trace"),
    "emission": Setting("student_t"),
    "encoder": Setting(torch.nn.Linear(16, 2)),
    "Autoencoder.encoder": Setting(torch.nn.Linear(16, 1)),
    "ConditionalVAE.encoder": Setting(torch.nn.Linear(18, 2)),
    "estimator": Setting(GaussianMixture(2)),
    "gated": Setting(True),
    "heads": Setting("joint"),
    "hidden_layer_sizes": Setting((5,)),
    "DeepBeliefNetwork.hidden_layer_sizes": Setting((5, 4)),
    "image_shape": Setting((2, 8), CONV),
    "init_params": Setting("random", {**SLOW, "max_iter": 1}),
    "input_dropout": Setting(0.3),
    "instance_noise": Setting(0.5),
    "latent_density": Setting(GaussianMixture(2, random_state=0)),
    "layer": Setting("diagonal_bilstm"),
    "learning_decay": Setting(0.6, calls="partial_fit"),
    "learning_rate_init": Setting(0.05),
    "likelihood": Setting("laplace"),
    "loss": Setting("absolute_error"),
    "max_iter": Setting(3),
    "means_init": Setting(np.outer([0.0, 5.0], np.ones(16)), MIXED),
    "min_categories": Setting(9, {"distributions": "categorical"}, "levels"),
    "min_scale": Setting(0.9, {"n_components": 3}),
    "n_components": Setting(2),
    "n_discriminator_steps": Setting(2),
    "n_downsamplings": Setting(1, {"n_layers": 3}),
    "n_factors": Setting(2, LOW_RANK),
    "n_filters": Setting(6),
    "n_importance_samples": Setting(6),
    "n_init": Setting(3, {**SLOW, "init_params": "random", "max_iter": 2}),
    "n_layers": Setting(2),
    "n_orderings": Setting(2),
    "n_pretraining": Setting(2),
    "n_sampling_steps": Setting(5, {"n_components": 21}),
    "DeepBeliefNetwork.n_sampling_steps": Setting(5, {"hidden_layer_sizes": (21, 21)}),
    "noise_fraction": Setting(0.5),
    "observation": Setting("gaussian", {"loss": "bernoulli"}, "bits"),
    "order_agnostic": Setting(True),
    "partition": Setting(AnnealedImportanceSampling(4, 20), {"n_components": 21}),
    "DeepBeliefNetwork.partition": Setting(
        AnnealedImportanceSampling(4, 20), {"hidden_layer_sizes": (21, 21)}
    ),
    "penalty": Setting("l1"),
    "position_map": Setting(False),
    "posterior": Setting("iaf"),
    "precisions_init": Setting(np.stack([np.eye(16), 9.0 * np.eye(16)]), MIXED),
    "prior": Setting("mixture"),
    "priors": Setting([0.2, 0.8]),
    "random_state": Setting(1),
    "reconstruction_weight": Setting(3.0),
    "reg_covar": Setting(0.2),
    "reg_param": Setting(0.3),
    "representation": Setting("log_prob"),
    "scales": Setting((2, 4)),
    "sequence_shape": Setting((4, 4)),
    "shortcuts": Setting(True, {"n_layers": 2}),
    "smoothing": Setting(3.0, {"distributions": "categorical"}, "levels"),
    "spectral_norm": Setting(True),
    "start": Setting("stationary", {"n_components": 2}),
    "start_smoothing": Setting(3.0, {"n_components": 2}),
    "tied_weights": Setting(True),
    "transition": Setting("left_right", {"n_components": 3}),
    "transition_smoothing": Setting(3.0, {"n_components": 2}),
    "tol": Setting(10.0, {**SLOW, "init_params": "random"}),
    "truncation": Setting(0.1),
    "up_down_rate": Setting(0.5),
    "validation_metric": Setting("frechet", STOPPING),
    "visible": Setting("categorical", rows="levels"),
    "warm_start": Setting(True, calls="refit"),
    "weights_init": Setting([0.9, 0.1], MIXED),
    "FullyVisibleBeliefNetwork.likelihood": Setting("discretized_logistic", rows="levels"),
    "MADE.likelihood": Setting("discretized_logistic", rows="levels"),
    "GAN.encoder": Setting(True),
    "GAN.generator": Setting(torch.nn.Linear(1, 16)),
    "GAN.discriminator": Setting(torch.nn.Sequential(torch.nn.Linear(16, 1))),
    "VAEGAN.discriminator": Setting(SCORE_OF_FEATURES),
    "ConditionalGAN.generator": Setting(torch.nn.Linear(3, 16)),
    "ConditionalGAN.discriminator": Setting(torch.nn.Linear(18, 1)),
    "AuxiliaryClassifierGAN.discriminator": Setting(SCORE_OF_FEATURES),
    "GAN.loss": Setting("hinge"),
    "GAN.penalty": Setting("wgan_gp"),
    "GAN.prior": Setting("uniform"),
    "GaussianBayes.max_iter": Setting(1, {**SLOW, "init_params": "random"}),
    "GaussianMixture.max_iter": Setting(1, {**SLOW, "init_params": "random"}),
    "GaussianMixture.warm_start": Setting(True, {**SLOW, "max_iter": 1}, calls="refit"),
    "GAN.image_shape": Setting((2, 8)),
    "HiddenMarkovModel.covariance_type": Setting("full", {"sequence_shape": (4, 4)}),
    "HiddenMarkovModel.init_params": Setting("random", {"n_components": 3, "max_iter": 1}),
    "HiddenMarkovModel.max_iter": Setting(1, {"n_components": 3, "init_params": "random"}),
    "HiddenMarkovModel.min_categories": Setting(9, {"emission": "categorical"}, "levels"),
    "HiddenMarkovModel.min_scale": Setting(0.9, {"emission": "normal", "n_components": 3}),
    "HiddenMarkovModel.n_init": Setting(3, {"n_components": 3, "max_iter": 2}),
    "HiddenMarkovModel.n_mixture": Setting(3, {"emission": "mixture"}),
    "HiddenMarkovModel.smoothing": Setting(3.0, {"emission": "categorical"}, "levels"),
    "HiddenMarkovModel.tol": Setting(10.0, {"n_components": 3, "covariance_type": "tied"}),
    "HiddenMarkovModel.warm_start": Setting(
        True, {"n_components": 3, "max_iter": 1}, calls="refit"
    ),
    "MixtureModel.init_params": Setting("random", {"n_components": 3, "max_iter": 1}),
    "MixtureModel.max_iter": Setting(1, {"n_components": 3, "init_params": "random"}),
    "MixtureModel.n_init": Setting(3, {"n_components": 3, "init_params": "random", "max_iter": 2}),
    "MixtureModel.tol": Setting(10.0, {"n_components": 3, "init_params": "random"}),
    "MixtureModel.warm_start": Setting(True, {"n_components": 3, "max_iter": 1}, calls="refit"),
    "RestrictedBoltzmannMachine.dynamic_binarization": BINARIZED,
    "DeepBeliefNetwork.dynamic_binarization": BINARIZED,
    "RestrictedBoltzmannMachine.penalty": Setting("kl_sparsity"),
    "PixelGenerator.dynamic_binarization": Setting(True, rows="grey", is_refused_without=True),
    "PixelGenerator.image_shape": Setting((2, 8)),
    "PixelGenerator.likelihood": Setting("discretized_logistic"),
}

# Settings of options: another value of each, by its name or by that of its parameter and its name.
OPTION_SETTINGS = {
    "balance_ratio": Setting(1.01),
    "fraction": Setting(0.6),
    "free_bits": Setting(1.0),
    "kind": Setting("trace"),
    "kl_warmup": Setting(2),
    "label_smoothing": Setting(0.2),
    "n_chains": Setting(4),
    "n_components": Setting(2),
    "n_draws": Setting(32),
    "n_flows": Setting(1),
    "n_levels": Setting(7, rows="levels"),
    "n_mixture": Setting(3),
    "n_particles": Setting(3),
    "n_steps": Setting(2),
    "n_temperatures": Setting(3),
    "scale": Setting(0.7),
    "target": Setting(0.3),
    "weight": Setting(2.0),
}

TRAINER_SETTINGS = {
    "optimizer": Setting("sgd"),
    "schedule": Setting("one_cycle"),
    "weight_decay": Setting(0.5),
    "max_grad_norm": Setting(1e-3),
    "ema_decay": Setting(0.1),
    "precision": Setting("bf16", rows="singles"),
    "early_stopping": Setting(True),
    "MADE.early_stopping": Setting(False, {"max_iter": 4, "trainer__weight_decay": 0.0}),
    "validation_fraction": Setting(0.4, STOPPING),
    "n_iter_no_change": Setting(1, {**STOPPING, "learning_rate_init": 0.3}),
    "tol": Setting(1e3, {**STOPPING, "trainer__n_iter_no_change": 1}),
}


def small(kind, context):
    """A generator with small settings and those of a context, whose names may be nested."""
    nested = {name: value for name, value in context.items() if "__" in name}
    own = {name: value for name, value in context.items() if "__" not in name}
    return kind(**{**SMALL[kind.__name__], **own}).set_params(**nested)


def setting_of(kind, name, table):
    """The Setting of a parameter of a class, or of the nearest of its bases that has its own."""
    for parent in kind.__mro__:
        if f"{parent.__name__}.{name}" in table:
            return table[f"{parent.__name__}.{name}"]
    return table[name]


def fitted(model, X, calls):
    model = clone(model)
    if calls == "partial_fit":
        classes = {}
        if "classes" in inspect.signature(model.partial_fit).parameters:
            classes["classes"] = [0, 1]
        half = N_ROWS // 2
        model.partial_fit(X[:half], LABELS[:half], **classes)
        return model.partial_fit(X[half:], LABELS[half:])
    model.fit(X, LABELS)
    if calls == "refit":
        model.fit(X, LABELS)
    return model


def answers(model, X):
    """Yield what a fitted generator answers, the cheap answers first."""
    rows = X[:3]
    is_binary = getattr(model, "visible", None) == "bernoulli"
    if getattr(model, "dynamic_binarization", False) or is_binary:
        rows = np.rint(rows)
    yield model.score_samples(rows)
    yield model.transform(rows)
    yield model.sample(3, random_state=0)
    yield copy.deepcopy(model).sample(3)  # the stream of the model itself stays where it is
    yield getattr(model, "n_iter_", 0)
    if is_classifier(model):
        yield model.predict_proba(rows)
    if "validation_score" in getattr(model, "history_", History()).columns:
        yield model.history_["validation_score"]
    if isinstance(getattr(model, "density", None), AutoDensity):
        yield from model.likelihood_bounds(2, random_state=0)
    if get_tags(model).conditions:
        yield model.sample(3, given={5: rows[0, 5]}, random_state=0)
    if get_tags(model).missing_values != "none":
        yield model.score_samples(np.where(np.arange(16) == 3, np.nan, rows))


fitted_once = functools.cache(lambda key: fitted(MODELS[key], ROWS[key[1]], key[2]))
MODELS: dict[tuple, Any] = {}


def assert_moves(kind, context, setting, name, rows=""):
    """Assert that the setting of a parameter moves some number."""
    rows = rows or setting.rows or ("levels" if kind.__name__ in DISCRETE else "reals")
    X = ROWS[rows]
    model = small(kind, {**context, **setting.context})
    changed = clone(model).set_params(**{name: setting.value})
    changed = fitted(changed, X, setting.calls)
    if setting.is_refused_without:
        with pytest.raises(ValueError, match="X holds"):
            fitted(model, X, setting.calls)
        return
    key = (repr(model), rows, setting.calls)
    MODELS[key] = model
    pairs = zip(answers(fitted_once(key), X), answers(changed, X))
    assert any(not np.array_equal(*pair) for pair in pairs), (
        f"{name}={setting.value!r} changes nothing of {model!r}"
    )


PARAMETERS = [
    pytest.param(kind, name, id=f"{kind.__name__}-{name}")
    for kind in KINDS
    for name in kind().get_params(deep=False)
    if name not in EXCUSED and name != "trainer"
]


@pytest.mark.parametrize("kind, name", PARAMETERS)
def test_a_parameter_moves_a_number(kind, name):
    assert_moves(kind, {}, setting_of(kind, name, SETTINGS), name)


REFUSED = {
    (MADE, "auto", "n_levels"),
    (MADE, "auto", "scale"),
    (PixelCNN, "auto", "scale"),
    (VAE, "auto", "n_levels"),
    (VAE, "auto", "n_mixture"),
    (VAE, "iwae", "free_bits"),  # test_vae
}
OPTIONS = [
    pytest.param(kind, name, string, key, id=f"{kind.__name__}-{name}-{string}-{key}")
    for kind in (
        Autoencoder,
        GAN,
        MADE,
        PixelCNN,
        RestrictedBoltzmannMachine,
        SemiSupervisedVAE,
        VAE,
    )
    for name, makers in kind._options.items()
    for string, maker in makers.items()
    for key in (maker().get_params() if string is not None else ())
    if kind is not SemiSupervisedVAE or name == "elbo"  # the rest is that of VAE
    if (kind, string, key) not in REFUSED
]


@pytest.mark.parametrize("kind, name, string, key", OPTIONS)
def test_a_setting_of_an_option_moves_a_number(kind, name, string, key):
    rows = ""
    if string in ("categorical", "discretized_logistic"):
        rows = "levels"
    if (kind, string, key) == (PixelCNN, "auto", "n_mixture"):
        rows = "many"  # for few levels "auto" takes no mixture
    setting = setting_of(kind, key, OPTION_SETTINGS)
    if (string, key) == ("trace", "kind"):
        setting = Setting("mean_field")
    option = kind._options[name][string]()
    if "n_draws" in option.get_params():
        option.set_params(n_draws=64)
    if "n_temperatures" in option.get_params():
        option.set_params(n_chains=2, n_temperatures=2)
    context = {name: option}
    if name == "partition":
        context["n_components"] = 21  # too many to enumerate
    assert_moves(kind, context, setting, f"{name}__{key}", rows)


@pytest.mark.parametrize(
    "model, setting, value",
    [
        (MADE(), "likelihood__n_levels", 7),
        (MADE(), "likelihood__scale", 0.7),
        (PixelCNN(), "likelihood__scale", 0.7),
        (PixelCNN(n_layers=1), "shortcuts", True),
        (VAE(), "likelihood__n_levels", 7),
        (VAE(), "likelihood__n_mixture", 3),
        (VAE(), "trainer__precision", "bf16"),  # of rows in double precision
    ],
    ids=str,
)
def test_a_setting_that_can_have_no_effect_is_refused(model, setting, value):
    model = clone(model).set_params(max_iter=1, **{setting: value})
    sentence = f"{setting.removeprefix('trainer__')}={value!r} has no effect"
    with pytest.raises(ValueError, match=sentence):
        model.fit(ROWS["levels"])


@pytest.mark.parametrize("kind", [Autoencoder, GAN, MADE, VAE])
@pytest.mark.parametrize("name", Trainer().get_params())
def test_a_setting_of_the_trainer_moves_a_number(kind, name):
    if f"trainer__{name}" not in EXCUSED:
        setting = setting_of(kind, name, TRAINER_SETTINGS)
        assert_moves(kind, {}, setting, f"trainer__{name}")


@pytest.mark.parametrize(
    "transformer, name, value",
    [
        (Dequantizer(4, random_state=0), "levels", 5),
        (Dequantizer(4, random_state=0), "n_shifts", 4),
        (Dequantizer(4, random_state=0), "random_state", 1),
        (LogitTransformer(0.1), "alpha", 0.2),
        (LogitTransformer(0.1), "bounds", (-1, 4)),
    ],
    ids=str,
)
def test_a_parameter_of_a_transformer_moves_a_number(transformer, name, value):
    levels = np.minimum(ROWS["levels"], 1.0)
    before, after = (
        make_generative_pipeline(each, GaussianMixture()).fit(levels)
        for each in (transformer, clone(transformer).set_params(**{name: value}))
    )
    assert (before.score_samples(levels) != after.score_samples(levels)).any()


def test_a_parameter_of_a_pipeline_moves_a_number():
    positive = RNG.lognormal(size=(N_ROWS, 1)) + 1.0  # a power below 0, of bounded image
    pipeline = make_generative_pipeline(PowerTransformer("box-cox"), GaussianMixture())
    pipeline.set_params(n_normalizer_samples=20).fit(positive)
    before = pipeline.log_normalizer()
    assert pipeline.set_params(n_normalizer_samples=2000).log_normalizer() != before


def test_every_parameter_is_tried_or_excused():
    names = {name for kind in KINDS for name in kind().get_params(deep=False)}
    names |= {f"trainer__{name}" for name in Trainer().get_params()}
    tried = {name.rpartition(".")[2] for name in SETTINGS}
    tried |= {f"trainer__{name.rpartition('.')[2]}" for name in TRAINER_SETTINGS}
    assert names - {"trainer"} == tried | EXCUSED.keys()
    assert not tried & EXCUSED.keys()
    options = [getattr(probgen.options, name) for name in probgen.options.__all__]
    settings = {name for option in options for name in inspect.signature(option).parameters}
    assert settings == OPTION_SETTINGS.keys()
    assert {kind.__name__ for kind in KINDS} == SMALL.keys()
