"""Checks of arguments, each with one sentence that names the argument, the expectation, the value
and a remedy."""

import math
from numbers import Integral, Real

import numpy as np


def check_count(name, value, *, low=1, hint=""):
    """Raise unless value is an integer of at least low (NumPy integers count, booleans do not)."""
    if not isinstance(value, Integral) or isinstance(value, bool) or value < low:
        raise ValueError(f"{name} must be an integer >= {low}; got {value!r}.{_remedy(hint)}")


def check_real(name, value, *, low=-np.inf, high=np.inf, hint=""):
    """Raise unless value is a finite number in [low, high] (NumPy scalars count, booleans do
    not)."""
    if (
        not isinstance(value, Real)
        or isinstance(value, bool)
        or not math.isfinite(value)
        or not low <= value <= high
    ):
        expected = (
            f" in [{low:g}, {high:g}]" if high < np.inf else f" >= {low:g}" if low > -np.inf else ""
        )
        raise ValueError(f"{name} must be a finite number{expected}; got {value!r}.{_remedy(hint)}")


def check_choice(name, value, choices, *, hint=""):
    """Raise unless value is one of choices."""
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {value!r}.{_remedy(hint)}")


def check_hidden_layer_sizes(sizes, *, optional=False):
    """Raise unless sizes is a sequence of positive integers; with optional=True also None."""
    if sizes is None and optional:
        return
    if isinstance(sizes, str) or not np.iterable(sizes):
        expected = "a sequence of integers, or None" if optional else "a sequence of integers"
        raise ValueError(f"hidden_layer_sizes must be {expected}; got {sizes!r}.")
    for width in sizes:
        check_count("hidden_layer_sizes", width)


def check_weights(sample_weight, n_rows):
    """Return sample_weight as a float64 array of shape (n_rows,), ones for None, a constant for a
    number."""
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


def check_priors(priors, class_count):
    """Return p(y) of shape (n_classes,), 0 where class_count is: the shares of class_count, or
    priors if not None."""
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
    seen = np.where(class_count > 0.0, array, 0.0)
    if not seen.any():
        raise ValueError(
            f"priors must give a class that has rows a probability above 0; got {priors!r}."
        )
    return seen / seen.sum()


def check_generator(random_state, name="random_state"):
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


def spawn_generator(generator):
    """Return a new Generator seeded from generator's stream."""
    return np.random.default_rng(generator.integers(0, 2**63, size=4))


def check_image_shape(image_shape, n_features):
    """Return (height, width, channels) for what the user gave."""
    if image_shape is None:
        side = math.isqrt(n_features)
        return (side, side, 1) if side * side == n_features else (1, n_features, 1)
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
    return tuple(int(side) for side in (*shape, 1)[:3])


def _remedy(hint):
    return f" {hint}" if hint else ""
