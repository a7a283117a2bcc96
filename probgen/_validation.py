"""Checks of arguments.

An error is one sentence: the argument, the expectation, the value received, and a remedy.
"""

import math
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

RandomState = int | np.random.RandomState | np.random.Generator | None


def check_count(name: str, value: Any, *, low: int = 1, hint: str = "") -> None:
    """Raise unless value is an integer of at least low (NumPy integers count, booleans do not)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or int(value) < low:
        raise ValueError(f"{name} must be an integer >= {low}; got {value!r}.{_remedy(hint)}")


def check_real(
    name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, hint: str = ""
) -> None:
    """Raise unless value is a finite number in [low, high], of Python or NumPy."""
    is_real = isinstance(value, Real) and not isinstance(value, bool)
    if is_real and math.isfinite(value) and low <= value <= high:
        return
    expected = "a finite number"
    if high < np.inf:
        expected += f" in [{low:g}, {high:g}]"
    elif low > -np.inf:
        expected += f" >= {low:g}"
    raise ValueError(f"{name} must be {expected}; got {value!r}.{_remedy(hint)}")


def check_choice(name: str, value: Any, choices: Iterable[str], *, hint: str = "") -> None:
    """Raise unless value is one of choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.{_remedy(hint)}")


def check_hidden_layer_sizes(sizes: Any, *, optional: bool = False) -> None:
    """Raise unless sizes is a sequence of positive integers; with optional=True also None."""
    if sizes is None and optional:
        return
    if isinstance(sizes, str) or not np.iterable(sizes):
        expected = "a sequence of integers, or None" if optional else "a sequence of integers"
        raise ValueError(f"hidden_layer_sizes must be {expected}; got {sizes!r}.")
    for width in sizes:
        check_count("hidden_layer_sizes", width)


def check_weights(sample_weight: npt.ArrayLike | None, n_rows: int) -> np.ndarray:
    """Return sample_weight as a float64 array of shape (n_rows,).

    None gives ones, and a number a constant.
    """
    if sample_weight is None:
        return np.ones(n_rows)
    try:
        weights = np.asarray(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"sample_weight must hold numbers, one for each row of X; got {sample_weight!r}."
        ) from error
    if weights.ndim == 0:
        weights = np.full(n_rows, float(weights))
    if weights.ndim != 1:
        # scikit-learn's common checks look for these very words.
        raise ValueError(f"Sample weights must be 1D array or scalar; got shape {weights.shape}.")
    if len(weights) != n_rows:
        raise ValueError(
            f"sample_weight.shape == {weights.shape}, expected ({n_rows},): one weight for each row"
            " of X."
        )
    bad = ~np.isfinite(weights) | (weights < 0.0)
    if bad.any():
        raise ValueError(
            f"sample_weight must be finite and >= 0; got {weights[bad][0]:g}; drop such rows or"
            " give them weight 0."
        )
    if not weights.sum() > 0.0:
        raise ValueError(
            "sample_weight must have a positive sum; got only zeros; leave it out to weigh rows"
            " alike."
        )
    return weights


def check_priors(priors: npt.ArrayLike | None, class_count: np.ndarray) -> np.ndarray:
    """Return p(y) of shape (n_classes,): priors, or the relative class_count if that is None.

    A class without rows, where class_count is 0, has probability 0.
    """
    if priors is None:
        return class_count / class_count.sum()
    array = np.asarray(priors, dtype=np.float64)
    if (
        array.shape != class_count.shape
        or not np.all(array >= 0.0)
        or not np.isclose(array.sum(), 1.0)
    ):
        raise ValueError(
            f"priors must be {len(class_count)} numbers >= 0, one for each class, that add up to 1;"
            f" got {priors!r}."
        )
    with_rows = np.where(class_count > 0.0, array, 0.0)
    if not with_rows.any():
        raise ValueError(
            f"priors must give a class that has rows a probability above 0; got {priors!r}."
        )
    return with_rows / with_rows.sum()


def check_generator(random_state: RandomState, name: str = "random_state") -> np.random.Generator:
    """Return a numpy Generator for random_state, leaving NumPy's global generator alone.

    None gives fresh entropy, an integer a fixed seed, a RandomState seeds a Generator from its own
    stream, and a Generator passes through.
    """
    if random_state is None:
        return np.random.default_rng()
    if isinstance(random_state, np.random.Generator):
        return random_state
    if isinstance(random_state, np.random.RandomState):
        return np.random.default_rng(random_state.randint(0, 2**32, size=4, dtype=np.uint64))
    if (
        isinstance(random_state, Integral)
        and not isinstance(random_state, bool)
        and int(random_state) >= 0
    ):
        return np.random.default_rng(int(random_state))
    raise ValueError(
        f"{name} must be None, an integer >= 0, a RandomState or a Generator; got {random_state!r}."
    )


def spawn_generator(generator: np.random.Generator) -> np.random.Generator:
    """Return a new Generator seeded from generator's stream."""
    return np.random.default_rng(generator.integers(0, 2**63, size=4))


def check_image_shape(image_shape: Any, n_features: int) -> tuple[int, int, int]:
    """Return (height, width, channels); rows that are no square have one line of pixels."""
    if image_shape is None:
        side = math.isqrt(n_features)
        if side * side == n_features:
            return side, side, 1
        return 1, n_features, 1
    shape = tuple(np.atleast_1d(np.asarray(image_shape, dtype=object)))
    whole = all(isinstance(side, (int, np.integer)) and side >= 1 for side in shape)
    if not whole or len(shape) not in {2, 3} or shape[2:] not in {(), (1,), (3,)}:
        raise ValueError(
            "image_shape must be (height, width) or (height, width, channels) with 1 or 3"
            f" channels; got {image_shape!r}."
        )
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={image_shape!r} holds {math.prod(shape)} numbers, but rows have"
            f" {n_features}; give the height, width and channels of one image."
        )
    height, width, channels = (*shape, 1)[:3]
    return int(height), int(width), int(channels)


def _remedy(hint: str) -> str:
    return f" {hint}" if hint else ""
