"""Rows for different preprocessing steps, and a registered function, for several test files."""

import numpy as np

from probgen.pipeline import register_function_jacobian

_RNG = np.random.default_rng(0)
_MIXING = np.array([[3.0, 0.0, 0.0], [1.0, 0.5, 0.0], [0.0, 1.0, 9.0]])
SKEWED = np.exp(_RNG.multivariate_normal([0.0, 1.0], [[0.3, 0.15], [0.15, 0.2]], size=400))
SIGNED = _RNG.standard_normal((300, 3)) @ _MIXING + [1.0, -5.0, 40.0]
UNIT = _RNG.beta(2.0, 3.0, size=(300, 2))


def double(X):
    """A function for FunctionTransformer, whose Jacobian and inverse are registered."""
    return 2.0 * X


register_function_jacobian(
    double, lambda X: np.full(len(X), X.shape[1] * np.log(2.0)), inverse=lambda Z: Z / 2.0
)
