"""Sentences that refuse values outside the support of a Boltzmann machine."""

import numpy as np

from probgen.distributions.observation import ROUNDING, in_digits


def check_values(
    visible: str,
    n_levels: int | None,
    low: float,
    high: float,
    is_integer: bool,
    *,
    has_missing: bool = False,
) -> None:
    """Raise a ValueError for values from low to high, all whole or not, outside of the support."""
    if visible == "gaussian":
        return
    if visible == "bernoulli":
        if low >= 0.0 and high <= 1.0:
            return
        needs = "values in [0, 1]"
        remedy = "scale them, take visible='gaussian', or 'categorical' for whole numbers"
        if low > -ROUNDING and high < 1.0 + ROUNDING:
            remedy = "clip rounding errors, as np.clip(X, 0, 1) does"
    else:
        most = (n_levels or 1) - 1
        if is_integer and low >= 0.0 and high <= most:
            return
        needs = f"whole numbers from 0 to n_levels - 1 = {most}"
        remedy = "take visible='gaussian' for real values"
        if is_integer and low >= 0.0:
            remedy = f"set visible__n_levels={high + 1:.0f}, or {remedy}"
    values = f"{in_digits(low)} to {in_digits(high)}"
    if has_missing:
        values += " and NaN"
    if visible == "categorical" and not is_integer:
        values += ", not all of them whole"
    prefix = ""
    if low < 0.0:
        # scikit-learn's common checks look for these very words.
        prefix = "Negative values in data: "
    raise ValueError(f"{prefix}visible={visible!r} needs {needs}; X holds {values}; {remedy}.")


def check_bits(X: np.ndarray) -> None:
    """Raise a ValueError unless rows (n, d) in [0, 1] are bits, missing values apart."""
    is_bit = (X == 0.0) | (X == 1.0) | np.isnan(X)
    if not is_bit.all():
        value = float(X[~is_bit][0])
        raise ValueError(
            "visible='bernoulli' needs rows of 0 and 1 for a likelihood; X holds"
            f" {in_digits(value)}; draw bits with these probabilities, as rng.random(X.shape) < X"
            " does for a NumPy Generator rng, or take X > 0.5."
        )
