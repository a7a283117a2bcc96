"""Preprocessing steps for generators, and their log|det J|."""

from probgen.preprocessing.jacobians import (
    log_abs_det_jacobian,
    register_function_jacobian,
    step_image,
)
from probgen.preprocessing.transformers import Dequantizer, LogitTransformer

__all__ = [
    "Dequantizer",
    "LogitTransformer",
    "log_abs_det_jacobian",
    "register_function_jacobian",
    "step_image",
]
