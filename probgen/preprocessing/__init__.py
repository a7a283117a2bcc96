"""Steps before a generator, and what they do to densities."""

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
