"""Generative models, classical and neural, with the scikit-learn API.

Every generator is fitted, sampled, scored and used as a transform in the same way. Public names
load on first use, so that `import probgen` stays light and a mixture never waits for torch.
"""

from typing import TYPE_CHECKING

from probgen import estimators
from probgen._lazy import lazy_names

if TYPE_CHECKING:
    from probgen.base import Likelihood, get_likelihood
    from probgen.estimators import *
    from probgen.exceptions import FileFormatError
    from probgen.persistence import load, save
    from probgen.pipeline import GenerativePipeline, log_abs_det_jacobian, make_generative_pipeline
    from probgen.preprocessing import Dequantizer, LogitTransformer
    from probgen.preprocessing.table_encoder import TableEncoder
    from probgen.row_blocks import RowBlocks
    from probgen.training import Trainer

__version__ = "0.1.0"

_HOMES = {
    **dict.fromkeys(estimators.__all__, "estimators"),
    "Dequantizer": "preprocessing",
    "FileFormatError": "exceptions",
    "GenerativePipeline": "pipeline",
    "Likelihood": "base",
    "LogitTransformer": "preprocessing",
    "RowBlocks": "row_blocks",
    "TableEncoder": "preprocessing.table_encoder",
    "Trainer": "training",
    "get_likelihood": "base",
    "load": "persistence",
    "log_abs_det_jacobian": "pipeline",
    "make_generative_pipeline": "pipeline",
    "save": "persistence",
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
    "sequences",
    "tables",
    "training",
)

__all__ = sorted([*_HOMES, *_SUBMODULES])
__getattr__, __dir__ = lazy_names(__name__, _HOMES, _SUBMODULES)
