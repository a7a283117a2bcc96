"""What files of earlier formats need to be read as files of today.

A migration takes the header and the arrays of a file and returns those of the next format. Moved
and renamed classes need none: `names.py` has a table of these. A change of the parameters or
attributes of a class needs one, and `tests/test_old_files.py` opens files that hold the promise.
"""

from collections.abc import Callable
from typing import Any

State = dict[str, Any]


def from_format_1(header, arrays):
    """Rename attributes, and put settings of one choice of a parameter into options."""
    _migrate(header["value"], FROM_FORMAT_1)
    return {**header, "format": 2}, arrays


def _migrate(node, table):
    """Migrate the state of each object and module in a node of a document, in place."""
    if isinstance(node, list):
        for part in node:
            _migrate(part, table)
    if not isinstance(node, dict):
        return
    for part in node.values():
        _migrate(part, table)
    path = node.get("object", node.get("module"))
    if isinstance(path, str) and path in table and isinstance(node.get("state"), dict):
        node["state"] = table[path](node["state"])


def _renamed(state, names):
    """A state whose attributes have the new names of a dict from old ones, in the same order."""
    return {names.get(name, name): value for name, value in state.items()}


def _fold(state, parameter, settings, defaults, options):
    """Move settings of a parameter into the option that it names.

    Parameters
    ----------
    state : dict
        Attributes of an estimator as nodes; settings are removed from it.
    parameter : str
        Such as "likelihood", whose value is a string. A file without it gets the default.
    settings : dict
        From names of attributes to the names of settings of options.
    defaults : dict
        Values of the settings for which the string stands, by their new names.
    options : dict
        From each value of the parameter that has settings to the path of its option in
        `probgen.options` and the names of its settings.
    """
    values = {new: state.pop(old) for old, new in settings.items() if old in state}
    choice = state.get(parameter)
    if not isinstance(choice, str) or choice not in options:
        return
    path, names = options[choice]
    own = {name: values.get(name, defaults[name]) for name in names}
    if any(value != defaults[name] for name, value in own.items()):
        state[parameter] = {"object": f"probgen.options.{path}", "state": own}


# Of format 1: functions from the old attributes of an object, as nodes of the document, to those of
# today, by the path of its class in the file.


def _rename_outputs(state):
    return _renamed(state, {"n_answers": "n_outputs_per_feature"})


def _vertical_stack(state):
    return _renamed(state, {"goes_on": "is_inner"})


def _categorical(state):
    """Categories had no other count than that of their outputs."""
    state = _rename_outputs(state)
    return {**state, "n_levels": state["n_outputs_per_feature"]}


LIKELIHOODS = {
    "auto": ("likelihoods:AutoLikelihood", ("scale", "n_levels", "n_mixture")),
    "gaussian": ("likelihoods:Gaussian", ("scale",)),
    "laplace": ("likelihoods:Laplace", ("scale",)),
    "gaussian_mixture": ("likelihoods:GaussianMixtureLikelihood", ("n_mixture",)),
    "categorical": ("likelihoods:Categorical", ("n_levels",)),
    "discretized_logistic": ("likelihoods:DiscretizedLogistic", ("n_levels", "n_mixture")),
}


def _autoregressive(state):
    """The settings of likelihoods were parameters of the estimator."""
    _fold(
        state,
        "likelihood",
        {"n_levels": "n_levels", "n_components": "n_mixture"},
        {"scale": "per_feature", "n_levels": None, "n_mixture": 10},
        LIKELIHOODS,
    )
    return state


def _rename_dense(state):
    if state.get("architecture") == "mlp":
        state["architecture"] = "dense"


def _vae(state):
    """Variational autoencoders had the settings of all options as parameters."""
    _fold(
        state,
        "likelihood",
        {"noise_scale": "scale", "n_levels": "n_levels", "n_logistics": "n_mixture"},
        {"scale": "per_feature", "n_levels": 256, "n_mixture": 1},
        LIKELIHOODS,
    )
    mixed = ("n_components",)
    _fold(
        state,
        "prior",
        {"n_prior_components": "n_components"},
        {"n_components": 50},
        {"mixture": ("variational:MixturePrior", mixed), "vamp": ("variational:VampPrior", mixed)},
    )
    flow = ("n_flows",)
    _fold(
        state,
        "posterior",
        {"n_flows": "n_flows"},
        {"n_flows": 2},
        {
            "iaf": ("variational:InverseAutoregressiveFlow", flow),
            "spline": ("variational:SplineFlow", flow),
        },
    )
    if state.get("elbo") == "iwae":
        state["free_bits"] = 0.0  # which had no effect
        if state.get("n_particles", 1) == 1:
            state["elbo"] = "trace"  # the same bound
    kind = state.get("elbo")
    bound = ("n_particles", "kl_warmup", "free_bits")
    _fold(
        state,
        "elbo",
        {name: name for name in bound},
        {"n_particles": 1, "kl_warmup": 0, "free_bits": 0.0},
        dict.fromkeys(("mean_field", "trace", "iwae"), ("variational:ELBO", bound)),
    )
    if state.get("elbo") != kind:
        state["elbo"]["state"]["kind"] = kind
    _rename_dense(state)
    return state


def _autoencoder(state):
    """Corruptions and penalties had their settings in parameters of the estimator."""
    setting = "fraction"
    if state.get("corruption") == "gaussian":
        setting = "scale"
    _fold(
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
    _fold(
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
    _rename_dense(state)
    return state


def _gan(state):
    """Losses, penalties and densities had their settings in parameters of the estimator."""
    _fold(
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
    _fold(
        state,
        "penalty",
        {"penalty_weight": "weight"},
        {"weight": None},
        {"r1": ("adversarial:R1", ("weight",)), "wgan_gp": ("adversarial:WGANGP", ("weight",))},
    )
    _fold(
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
    state.pop("_n_batches", None)
    return _renamed(state, {"noise": "prior"})


def _doctor(state):
    """The state of a callback that measures models, or of its session."""
    names = {"_case": "_session", "looks": "measurements", "known": "reported"}
    return _renamed(state, names)


FROM_FORMAT_1: dict[str, Callable[[State], State]] = {
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
    "probgen.estimators.vae:VAE": _vae,
    "probgen.estimators.conditional_vae:ConditionalVAE": _vae,
    "probgen.estimators.semi_supervised_vae:SemiSupervisedVAE": _vae,
    "probgen.estimators.autoencoder:Autoencoder": _autoencoder,
    "probgen.estimators.gan:GAN": _gan,
    "probgen.estimators.vaegan:VAEGAN": _gan,
    "probgen.estimators.conditional_gan:ConditionalGAN": _gan,
    "probgen.estimators.conditional_gan:AuxiliaryClassifierGAN": _gan,
    "probgen.training.callbacks._doctor:LatentDoctor": _doctor,
    "probgen.training.callbacks._adversarial_doctor:AdversarialDoctor": _doctor,
    "probgen.training.callbacks._looks:_Case": _doctor,
}
MIGRATIONS: dict[int, Callable] = {1: from_format_1}
