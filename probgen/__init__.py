"""Generative models, classical and neural, with the scikit-learn API.

Every generator is fitted, sampled, scored and used as a transform in the same way. Public names
load on first use, so that `import probgen` stays light and a mixture never waits for torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOMES = {
    "Autoencoder": "probgen.estimators",
    "AuxiliaryClassifierGAN": "probgen.estimators",
    "BayesClassifier": "probgen.estimators",
    "ConditionalGAN": "probgen.estimators",
    "ConditionalPixelCNN": "probgen.estimators",
    "ConditionalVAE": "probgen.estimators",
    "Dequantizer": "probgen.preprocessing",
    "FileFormatError": "probgen.exceptions",
    "FullyVisibleBeliefNetwork": "probgen.estimators",
    "GAN": "probgen.estimators",
    "GaussianBayes": "probgen.estimators",
    "GaussianMixture": "probgen.estimators",
    "GenerativePipeline": "probgen.pipeline",
    "Likelihood": "probgen.base",
    "LogitTransformer": "probgen.preprocessing",
    "MADE": "probgen.estimators",
    "PixelCNN": "probgen.estimators",
    "PixelRNN": "probgen.estimators",
    "RowBlocks": "probgen.row_blocks",
    "SemiSupervisedVAE": "probgen.estimators",
    "Trainer": "probgen.training",
    "VAE": "probgen.estimators",
    "VAEGAN": "probgen.estimators",
    "get_likelihood": "probgen.base",
    "load": "probgen.persistence",
    "log_abs_det_jacobian": "probgen.pipeline",
    "make_generative_pipeline": "probgen.pipeline",
    "save": "probgen.persistence",
}
_SUBMODULES = (
    "base",
    "datasets",
    "estimators",
    "metrics",
    "options",
    "pipeline",
    "plots",
    "preprocessing",
    "training",
)

__all__ = sorted([*_HOMES, *_SUBMODULES])


def __getattr__(name):
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    if name in _SUBMODULES:
        return import_module(f"probgen.{name}")
    raise AttributeError(f"module 'probgen' has no attribute {name!r}")


def __dir__():
    return sorted([*globals(), *__all__])
