"""What files of earlier formats need to be read as files of today.

A migration takes the header and the arrays of a file and returns those of the next format. Moved
and renamed classes need none: `names.py` has a table of these. A change of the parameters or
attributes of a class needs one, and `tests/test_old_files.py` opens files that hold the promise.
"""

from collections.abc import Callable
from typing import Any

State = dict[str, Any]

# Functions from the old attributes of an object, as nodes of the document, to those of today, by
# the path of its class in files of format 1.
FROM_FORMAT_1: dict[str, Callable[[State], State]] = {}


def _rename_outputs(state):
    """Networks and observation models called the outputs for a feature answers."""
    state["n_outputs_per_feature"] = state.pop("n_answers")
    return state


def _vertical_stack(state):
    """A stack inside another was said to go on."""
    state["is_inner"] = state.pop("goes_on")
    return state


def _categorical(state):
    """Categories had no other count than that of their outputs."""
    state = _rename_outputs(state)
    return {**state, "n_levels": state["n_outputs_per_feature"]}


def _autoregressive(state):
    """The settings of likelihoods were parameters of the estimator."""
    fold(
        state,
        "likelihood",
        {"n_levels": "n_levels", "n_components": "n_mixture"},
        {"scale": "per_feature", "n_levels": None, "n_mixture": 10},
        {
            "auto": ("likelihoods:AutoLikelihood", ("scale", "n_levels", "n_mixture")),
            "categorical": ("likelihoods:Categorical", ("n_levels",)),
            "discretized_logistic": ("likelihoods:DiscretizedLogistic", ("n_levels", "n_mixture")),
            "gaussian_mixture": ("likelihoods:GaussianMixtureLikelihood", ("n_mixture",)),
        },
    )
    return state


FROM_FORMAT_1 |= {
    "probgen.estimators.made:FullyVisibleBeliefNetwork": _autoregressive,
    "probgen.estimators.made:MADE": _autoregressive,
    "probgen.estimators.pixelcnn:PixelCNN": _autoregressive,
    "probgen.estimators.pixelcnn:ConditionalPixelCNN": _autoregressive,
    "probgen.estimators.pixelrnn:PixelRNN": _autoregressive,
    "probgen.likelihoods:Categorical": _categorical,
    "probgen.likelihoods:DiscretizedLogistic": _rename_outputs,
    "probgen.likelihoods:GaussianMixture": _rename_outputs,
    "probgen.networks.masked:MaskedMLP": _rename_outputs,
    "probgen.networks.pixel:PixelNetwork": _rename_outputs,
    "probgen.networks.pixel:VerticalStack": _vertical_stack,
    "probgen.networks.recurrent:RecurrentNetwork": _rename_outputs,
}


VAE_LIKELIHOODS: dict[str, tuple[str, tuple[str, ...]]] = {
    "auto": ("likelihoods:AutoLikelihood", ("scale", "n_levels", "n_mixture")),
    "gaussian": ("likelihoods:Gaussian", ("scale",)),
    "laplace": ("likelihoods:Laplace", ("scale",)),
    "gaussian_mixture": ("likelihoods:GaussianMixtureLikelihood", ("n_mixture",)),
    "categorical": ("likelihoods:Categorical", ("n_levels",)),
    "discretized_logistic": ("likelihoods:DiscretizedLogistic", ("n_levels", "n_mixture")),
}


def _vae(state):
    """Variational autoencoders had the settings of all options as parameters."""
    fold(
        state,
        "likelihood",
        {"noise_scale": "scale", "n_levels": "n_levels", "n_logistics": "n_mixture"},
        {"scale": "per_feature", "n_levels": 256, "n_mixture": 1},
        VAE_LIKELIHOODS,
    )
    mixed = ("n_components",)
    fold(
        state,
        "prior",
        {"n_prior_components": "n_components"},
        {"n_components": 50},
        {"mixture": ("variational:MixturePrior", mixed), "vamp": ("variational:VampPrior", mixed)},
    )
    flow = ("n_flows",)
    fold(
        state,
        "posterior",
        {"n_flows": "n_flows"},
        {"n_flows": 2},
        {
            "iaf": ("variational:InverseAutoregressiveFlow", flow),
            "spline": ("variational:SplineFlow", flow),
        },
    )
    kind = state["elbo"]
    bound = ("n_particles", "kl_warmup", "free_bits")
    fold(
        state,
        "elbo",
        {name: name for name in bound},
        {"n_particles": 1, "kl_warmup": 0, "free_bits": 0.0},
        dict.fromkeys(("mean_field", "trace", "iwae"), ("variational:ELBO", bound)),
    )
    if state["elbo"] != kind:
        state["elbo"]["state"]["kind"] = kind
    if state["architecture"] == "mlp":
        state["architecture"] = "dense"
    return state


FROM_FORMAT_1 |= {
    "probgen.estimators.vae:VAE": _vae,
    "probgen.estimators.conditional_vae:ConditionalVAE": _vae,
    "probgen.estimators.semi_supervised_vae:SemiSupervisedVAE": _vae,
}


def _autoencoder(state):
    """Corruptions and penalties had their settings in parameters of the estimator."""
    setting = "scale" if state["corruption"] == "gaussian" else "fraction"
    fold(
        state,
        "corruption",
        {"corruption_level": setting},
        {"scale": 0.3, "fraction": 0.3},
        {
            "gaussian": ("autoencoder:GaussianCorruption", ("scale",)),
            "masking": ("autoencoder:MaskingCorruption", ("fraction",)),
            "salt_and_pepper": ("autoencoder:SaltAndPepperCorruption", ("fraction",)),
        },
    )
    fold(
        state,
        "penalty",
        {"penalty_weight": "weight", "sparsity_target": "target"},
        {"weight": 1e-3, "target": 0.05},
        {
            "kl_sparsity": ("autoencoder:KLSparsity", ("weight", "target")),
            "l1": ("autoencoder:L1", ("weight",)),
            "contractive": ("autoencoder:Contractive", ("weight",)),
        },
    )
    if state["architecture"] == "mlp":
        state["architecture"] = "dense"
    return state


def _gan(state):
    """Losses, penalties and densities had their settings in parameters of the estimator."""
    fold(
        state,
        "loss",
        {"label_smoothing": "label_smoothing", "balance_ratio": "balance_ratio"},
        {"label_smoothing": 0.0, "balance_ratio": None},
        {
            "minimax": ("adversarial:Minimax", ("label_smoothing",)),
            "non_saturating": ("adversarial:NonSaturating", ("label_smoothing", "balance_ratio")),
            "least_squares": ("adversarial:LeastSquares", ("label_smoothing", "balance_ratio")),
        },
    )
    fold(
        state,
        "penalty",
        {"penalty_weight": "weight"},
        {"weight": None},
        {"r1": ("adversarial:R1", ("weight",)), "wgan_gp": ("adversarial:WGANGP", ("weight",))},
    )
    fold(
        state,
        "density",
        {"n_chains": "n_chains", "n_temperatures": "n_temperatures", "n_density_draws": "n_draws"},
        {"n_chains": 16, "n_temperatures": 50, "n_draws": 10_000},
        {
            "auto": ("adversarial:AutoDensity", ("n_chains", "n_temperatures", "n_draws")),
            "ais": ("adversarial:AnnealedImportanceSampling", ("n_chains", "n_temperatures")),
            "parzen": ("adversarial:ParzenWindow", ("n_draws",)),
        },
    )
    state["prior"] = state.pop("noise")
    state.pop("_n_batches", None)
    return state


FROM_FORMAT_1 |= {
    "probgen.estimators.autoencoder:Autoencoder": _autoencoder,
    "probgen.estimators.gan:GAN": _gan,
    "probgen.estimators.vaegan:VAEGAN": _gan,
    "probgen.estimators.conditional_gan:ConditionalGAN": _gan,
    "probgen.estimators.conditional_gan:AuxiliaryClassifierGAN": _gan,
}


def _doctor(state):
    """The state of a callback that measures models, and the state of its session."""
    names = {"_case": "_session", "looks": "measurements", "known": "reported"}
    return {names.get(name, name): value for name, value in state.items()}


FROM_FORMAT_1 |= {
    "probgen.training.callbacks._doctor:LatentDoctor": _doctor,
    "probgen.training.callbacks._adversarial_doctor:AdversarialDoctor": _doctor,
    "probgen.training.callbacks._looks:_Case": _doctor,
}


def from_format_1(header, arrays):
    """Put settings that belong to one choice of a parameter into the options of today."""
    return {**header, "format": 2, "value": _migrated(header["value"], FROM_FORMAT_1)}, arrays


MIGRATIONS: dict[int, Callable] = {1: from_format_1}


def option(path, **settings):
    """The node of an option: the path of its class in `probgen.options`, and its settings."""
    return {"object": f"probgen.options.{path}", "state": settings}


def fold(state, parameter, settings, defaults, options):
    """Move settings of a parameter into the option that it names.

    Parameters
    ----------
    state : dict
        Attributes of an estimator as nodes; settings are removed from it.
    parameter : str
        Such as "likelihood", whose value is a string.
    settings : dict
        From names of attributes to the names of settings of options.
    defaults : dict
        Values of the settings for which the string stands, by their new names.
    options : dict
        From each value of the parameter to the path of its option and the names of its settings.
    """
    values = {new: state.pop(old) for old, new in settings.items() if old in state}
    path, names = options.get(state[parameter], (None, ()))
    own = {name: values.get(name, defaults[name]) for name in names}
    if path is not None and any(value != defaults[name] for name, value in own.items()):
        state[parameter] = option(path, **own)


def _migrated(node, table):
    """A node of a document with the state of each object and module in it migrated."""
    if isinstance(node, list):
        return [_migrated(part, table) for part in node]
    if not isinstance(node, dict):
        return node
    node = {key: _migrated(part, table) for key, part in node.items()}
    migrate = None
    kind = next(iter(node), None)
    if kind in ("object", "module") and isinstance(node[kind], str):
        migrate = table.get(node[kind])
    if migrate is not None and isinstance(node.get("state"), dict):
        node["state"] = migrate(dict(node["state"]))
    return node
