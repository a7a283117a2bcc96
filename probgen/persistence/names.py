"""Names in a file: the classes that it may construct, and types of numbers."""

import collections
import importlib
import re
import sys
import types
from pathlib import PurePath

import numpy as np
import scipy.special
from sklearn.base import BaseEstimator

from probgen.exceptions import FileFormatError

IMPORTED = re.compile(
    r"(probgen|sklearn)(\.\w+)*|torch\.(nn\.modules|optim)(\.\w+)*|pyro\.(nn\.auto_reg_nn|distributions\.transforms(\.\w+)?)"
)
NEVER_IMPORTED = re.compile(r"(^|\.)(tests?|conftest|externals|__\w*)(\.|$)")
TYPES = {
    f"builtins:{kind.__name__}": kind
    for kind in (bool, bytes, dict, float, int, list, set, str, tuple)
}
CONTAINERS = {"collections:OrderedDict": collections.OrderedDict}
# Classes of scikit-learn other than estimators that contain only settings and results.
SKLEARN_PARTS = re.compile(r"sklearn\.(utils\._bunch|model_selection\._split|metrics\._scorer):\w+")
BIT_GENERATORS = {
    name: getattr(np.random, name) for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
}
UFUNCS = {"numpy": np, "scipy.special": scipy.special}
# Endings of the names of attributes in which a torch module keeps functions.
HOOKS = ("_hooks", "_hooks_with_kwargs", "_hooks_always_called")
DTYPE = re.compile(r"[<>|=]?[biufcmMUS]\d+(\[\w+\])?")
PLAIN_KEYS = (types.NoneType, bool, int, float, str, bytes, np.generic, np.dtype, PurePath, type)
# Modules whose classes are named in files of earlier versions, and where those are now; other moved
# modules need no entry. A class that moved alone, or was renamed, has its whole path in RENAMED.
# `tests/test_old_files.py` opens files that need both.
MOVED = {
    "probgen.preprocessing": "probgen.preprocessing.transformers",
    "probgen.likelihoods": "probgen.distributions.observation",
    "probgen.estimators.gan": "probgen.estimators.adversarial.gan",
    "probgen.estimators.conditional_gan": "probgen.estimators.adversarial.conditional_gan",
    "probgen.estimators.vaegan": "probgen.estimators.adversarial.vaegan",
    "probgen.networks.adversarial": "probgen.estimators.adversarial.networks",
    "probgen.estimators.made": "probgen.estimators.autoregressive.made",
    "probgen.estimators.pixelcnn": "probgen.estimators.autoregressive.pixelcnn",
    "probgen.estimators.pixelrnn": "probgen.estimators.autoregressive.pixelrnn",
    "probgen.networks.masked": "probgen.estimators.autoregressive.networks.masked",
    "probgen.networks.pixel": "probgen.estimators.autoregressive.networks.pixel",
    "probgen.networks.causal": "probgen.estimators.autoregressive.networks.causal",
    "probgen.networks.multiscale": "probgen.estimators.autoregressive.networks.multiscale",
    "probgen.networks.recurrent": "probgen.estimators.autoregressive.networks.recurrent",
    "probgen.estimators.vae": "probgen.estimators.variational.vae",
    "probgen.estimators.conditional_vae": "probgen.estimators.variational.conditional_vae",
    "probgen.estimators.semi_supervised_vae": "probgen.estimators.variational.semi_supervised_vae",
    "probgen.networks.latents": "probgen.estimators.variational.code_distributions",
    "probgen.training.callbacks._looks": "probgen.training.callbacks._monitor",
}
RENAMED = {
    "probgen.training.callbacks._looks:_Case": "probgen.training.callbacks._monitor:_Session",
    "probgen.training.callbacks._doctor:_Look": "probgen.training.callbacks._doctor:_Measurement",
    "probgen.training.callbacks._adversarial_doctor:_Look": (
        "probgen.training.callbacks._adversarial_doctor:_Measurement"
    ),
    "probgen.networks.latents:GaussianPosterior": (
        "probgen.estimators.variational.code_distributions:CodePosterior"
    ),
    "probgen.networks.latents:NormalPrior": (
        "probgen.estimators.variational.code_distributions:StandardNormalCodes"
    ),
    "probgen.networks.latents:MixturePrior": (
        "probgen.estimators.variational.code_distributions:GaussianMixtureCodes"
    ),
    "probgen.networks.latents:VampPrior": (
        "probgen.estimators.variational.code_distributions:PosteriorMixtureCodes"
    ),
    "probgen.likelihoods:Bernoulli": "probgen.distributions.observation:BernoulliObservation",
    "probgen.likelihoods:ContinuousBernoulli": (
        "probgen.distributions.observation:ContinuousBernoulliObservation"
    ),
    "probgen.likelihoods:Gaussian": "probgen.distributions.observation:GaussianObservation",
    "probgen.likelihoods:Laplace": "probgen.distributions.observation:LaplaceObservation",
    "probgen.likelihoods:GaussianMixture": (
        "probgen.distributions.observation:GaussianMixtureObservation"
    ),
    "probgen.likelihoods:Categorical": "probgen.distributions.observation:CategoricalObservation",
    "probgen.likelihoods:DiscretizedLogistic": (
        "probgen.distributions.observation:DiscretizedLogisticObservation"
    ),
}
LARGEST_KEY = 1000  # parts of a tuple to hash, which references could make endless


def current_path(path):
    """The present path of a class or function that a file names."""
    path = RENAMED.get(path, path)
    module, _, name = path.partition(":")
    return f"{MOVED.get(module, module)}:{name}"


def imported(path):
    """The class of probgen, scikit-learn or torch at a path, or a metric of scikit-learn.

    None for any other path.
    """
    module, _, name = path.partition(":")
    if not IMPORTED.fullmatch(module) or NEVER_IMPORTED.search(module):
        return None
    try:
        target = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
    except (ImportError, AttributeError) as error:
        raise FileFormatError(
            f"it names {path!r}, which is not there in the versions that are installed."
        ) from error
    if f"{getattr(target, '__module__', '')}:{getattr(target, '__qualname__', '')}" != path:
        return None  # imported into that module from another one
    is_allowed = True
    if not isinstance(target, type):
        is_allowed = module.startswith("sklearn.metrics.")
    elif module.startswith("sklearn."):
        is_allowed = issubclass(target, BaseEstimator) or SKLEARN_PARTS.fullmatch(path) is not None
    return target if is_allowed else None


def ufunc_of(path):
    """The NumPy ufunc of a path such as numpy:exp, None for any other path."""
    module, _, name = path.partition(":")
    function = getattr(UFUNCS.get(module), name, None)
    return function if isinstance(function, np.ufunc) else None


def dtype_name(dtype, path):
    """The name of a dtype, for `dtype_of`."""
    if not DTYPE.fullmatch(dtype.str):
        raise ValueError(
            f"{path} is of dtype {dtype}, which cannot be stored; convert it to numbers or text."
        )
    return dtype.str


def dtype_of(name):
    """The dtype of a name."""
    if not DTYPE.fullmatch(name):
        raise ValueError(f"{name!r} is no dtype")
    return np.dtype(name)


def check_keys(keys, path="it"):
    """Return keys of a set or dict, if hashing them is quick and runs no code of theirs."""
    for key in keys:
        parts, n_parts = [key], 0
        while parts:
            part, n_parts = parts.pop(), n_parts + 1
            if n_parts > LARGEST_KEY:
                raise ValueError(
                    f"{path} has a key of more than {LARGEST_KEY} parts, which cannot be stored."
                )
            if isinstance(part, tuple | frozenset):
                parts.extend(part)
            elif not (isinstance(part, PLAIN_KEYS) or type(part).__hash__ in _quick_hashes()):
                raise ValueError(
                    f"{path} has a {type(part).__name__} as a key, which cannot be stored; use"
                    " plain keys."
                )
    # A table of keys with one hash would take the square of their number in time.
    if len(keys) - len(set(map(hash, keys))) > LARGEST_KEY:
        raise ValueError(f"{path} has too many keys of one hash, which cannot be stored.")
    return keys


def _quick_hashes():
    hashes = {object.__hash__}
    torch = sys.modules.get("torch")
    if torch is not None:
        hashes |= {torch.Tensor.__hash__, torch.device.__hash__}
    return hashes
