"""Checks of arguments.

An error is one sentence: the argument, the expectation, the value received, and a remedy.
"""

import copy
import inspect
import math
import re
from collections.abc import Iterable
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.base import BaseEstimator

from probgen._containers import read_container

LARGEST_COUNT = 2**63 - 1
LOG10_2 = math.log10(2.0)
LARGEST_SEED_BITS = 1024
LONGEST_SHOWN = 100  # characters of a value in a message
MOST_SHOWN = 20  # items of a collection in a message
RandomState = int | np.random.RandomState | np.random.Generator | None


def show(value: Any) -> str:
    """Return a short text for a value in a message; arrays give their shape alone."""
    if isinstance(value, int) and abs(value) > LARGEST_COUNT:
        return f"an integer of about {round(int(value).bit_length() * LOG10_2)} digits"
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and not isinstance(value, np.generic):
        return f"{type(value).__name__} of shape {tuple(shape)}"
    if isinstance(value, list | tuple | dict | set) and len(value) > MOST_SHOWN:
        return f"{type(value).__name__} of {len(value)} items"
    try:
        text = repr(value)
    except Exception:  # of a class that we do not know, or an integer of too many digits
        return f"an object of type {type(value).__name__}"
    text = " ".join(text.split())
    text = re.sub(r"\d{30,}", lambda digits: f"{digits[0][:3]}... ({len(digits[0])} digits)", text)
    if len(text) > LONGEST_SHOWN:
        text = text[: LONGEST_SHOWN - 3] + "..."
    return text


def plain(value: Any) -> Any:
    """Return a parameter with Python's numbers in place of NumPy's, which overflow in small types.

    Numbers in tuples, lists, arrays of integers and objects of settings count too. A value without
    any is returned as it is.
    """
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, np.generic):
        return _plain_number(value)
    if isinstance(value, list | tuple) and len(value) <= MOST_SHOWN:
        items = [plain(item) for item in value]
        if all(map(_is, items, value)) or type(value) not in (list, tuple):
            return value
        return type(value)(items)
    if isinstance(value, np.ndarray) and value.dtype.kind in "iu":
        return value.astype(np.int64, copy=False)
    if isinstance(value, BaseEstimator) and not hasattr(value, "fit"):
        settings = value.get_params(deep=False)
        changed = {name: plain(setting) for name, setting in settings.items()}
        if all(changed[name] is setting for name, setting in settings.items()):
            return value
        value = copy.copy(value)
        vars(value).update(changed)
    return value


def check_count(name: str, value: Any, *, low: int = 1, hint: str = "") -> None:
    """Raise unless value is an integer of at least low (NumPy integers count, booleans do not)."""
    is_count = isinstance(value, Integral) and not isinstance(value, bool)
    if is_count and low <= int(value) <= LARGEST_COUNT:
        return
    expected = f"an integer >= {low}"
    if is_count and int(value) > LARGEST_COUNT:
        expected += " and below 2**63"
    raise ValueError(f"{name} must be {expected}; got {show(value)}.{_remedy(hint)}")


def check_real(
    name: str, value: Any, *, low: float = -np.inf, high: float = np.inf, hint: str = ""
) -> None:
    """Raise unless value is a finite number in [low, high], of Python or NumPy."""
    if is_real(value) and low <= value <= high:
        return
    expected = "a finite number"
    if high < np.inf:
        expected += f" in [{low:g}, {high:g}]"
    elif low > -np.inf:
        expected += f" >= {low:g}"
    raise ValueError(f"{name} must be {expected}; got {show(value)}.{_remedy(hint)}")


def is_real(value: Any) -> bool:
    """Whether value is a finite number that a float can hold; booleans are none."""
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def check_flag(name: str, value: Any) -> None:
    """Raise unless value is True or False, of Python or NumPy."""
    if isinstance(value, bool | np.bool_):
        return
    raise ValueError(f"{name} must be True or False; got {show(value)}.")


def check_flags(owner: Any) -> None:
    """Raise unless the parameters of an object that are annotated as bool are True or False."""
    for name, parameter in inspect.signature(type(owner).__init__).parameters.items():
        if parameter.annotation in (bool, "bool"):
            check_flag(name, getattr(owner, name))


def check_verbose(value: Any) -> None:
    """Raise unless verbose is a bool or an integer >= 0."""
    if not isinstance(value, bool | np.bool_):
        check_count("verbose", value, low=0, hint="Or a bool.")


def check_jobs(value: Any) -> None:
    """Raise unless n_jobs is None or an integer other than 0."""
    if value is None:
        return
    is_integer = isinstance(value, Integral) and not isinstance(value, bool)
    if not is_integer or value == 0 or abs(int(value)) > 2**31:
        raise ValueError(
            "n_jobs must be None or an integer other than 0, -1 for all processors; got"
            f" {show(value)}."
        )


def check_choice(name: str, value: Any, choices: Iterable[str], *, hint: str = "") -> None:
    """Raise unless value is one of choices."""
    choices = tuple(choices)
    if not isinstance(value, str) or value not in choices:
        listed = ", ".join(repr(choice) for choice in choices)
        raise ValueError(f"{name} must be one of {listed}; got {show(value)}.{_remedy(hint)}")


def check_hidden_layer_sizes(sizes: Any, *, optional: bool = False) -> None:
    """Raise unless sizes is a sequence of positive integers; with optional=True also None."""
    if sizes is None and optional:
        return
    if isinstance(sizes, str) or not np.iterable(sizes):
        expected = "a sequence of integers, or None" if optional else "a sequence of integers"
        raise ValueError(f"hidden_layer_sizes must be {expected}; got {show(sizes)}.")
    for width in sizes:
        check_count("hidden_layer_sizes", width)


def check_weights(sample_weight: npt.ArrayLike | None, n_rows: int) -> np.ndarray:
    """Return sample_weight as a float64 array of shape (n_rows,).

    None gives ones, and a number a constant.
    """
    if sample_weight is None:
        return np.ones(n_rows)
    weights = read_numbers("sample_weight", sample_weight, "one for each row of X")
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
    with np.errstate(over="ignore", under="ignore"):
        total = weights.sum()
    if not total > 0.0:
        raise ValueError(
            "sample_weight must have a positive sum; got only zeros; leave it out to weigh rows"
            " alike."
        )
    if not np.finfo(np.float64).tiny <= total < np.inf:
        raise ValueError(
            "sample_weight must have a sum that float64 holds in full precision; got"
            f" {total:g}; divide the weights by their mean."
        )
    return weights


def read_numbers(name: str, values: Any, count: str = "") -> np.ndarray:
    """Return an argument as a float64 array, or raise a ValueError unless it holds real numbers.

    count says how many there should be.
    """
    array: Any = None
    if not np.ma.is_masked(values):
        try:
            array = np.asarray(read_container(values, name))
            if array.dtype.kind not in "cMm":
                return array.astype(np.float64, copy=False)
        except (TypeError, ValueError, OverflowError):
            pass
    expected = "numbers"
    if count:
        expected += f", {count}"
    received = show(values)
    if isinstance(array, np.ndarray):
        received = f"dtype {array.dtype}"
    elif np.ma.is_masked(values):
        received = "masked values"
    raise ValueError(f"{name} must hold {expected}; got {received}.")


def empty_columns(X: np.ndarray) -> np.ndarray:
    """Return a mask (d,) of the columns of X (n, d) that hold nothing but NaN."""
    is_empty = np.isnan(X[0])
    for j in np.flatnonzero(is_empty):
        is_empty[j] = np.isnan(X[:, j]).all()
    return is_empty


def check_columns(is_empty: np.ndarray, names: Any = None, *, each: bool = True) -> None:
    """Raise if all columns are empty, or one of them unless each is False.

    names are those of the columns.
    """
    if is_empty.all():
        raise ValueError("X must hold some values; got only NaN.")
    if each and is_empty.any():
        column = int(np.argmax(is_empty))
        place = str(column)
        if names is not None:
            place = repr(names[column])
        raise ValueError(
            f"X must hold some values in each column; got only NaN in column {place}; drop it."
        )


def check_priors(priors: npt.ArrayLike | None, class_count: np.ndarray) -> np.ndarray:
    """Return p(y) of shape (n_classes,): priors, or the relative class_count if that is None.

    A class without rows, where class_count is 0, has probability 0.
    """
    if priors is None:
        return class_count / class_count.sum()
    array = read_numbers("priors", priors, "one for each class")
    if (
        array.shape != class_count.shape
        or not np.all(array >= 0.0)
        or not np.isclose(array.sum(), 1.0)
    ):
        raise ValueError(
            f"priors must be {len(class_count)} numbers >= 0, one for each class, that add up to 1;"
            f" got {show(priors)}."
        )
    with_rows = np.where(class_count > 0.0, array, 0.0)
    if not with_rows.any():
        raise ValueError(
            f"priors must give a class that has rows a probability above 0; got {show(priors)}."
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
        and 0 <= int(random_state)
        and int(random_state).bit_length() <= LARGEST_SEED_BITS
    ):
        return np.random.default_rng(int(random_state))
    raise ValueError(
        f"{name} must be None, an integer >= 0, a RandomState or a Generator; got"
        f" {show(random_state)}."
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
    shape = (image_shape,)
    if isinstance(image_shape, list | tuple | np.ndarray):
        shape = tuple(image_shape)
    whole = all(_is_side(side) for side in shape)
    if not whole or len(shape) not in {2, 3} or shape[2:] not in {(), (1,), (3,)}:
        raise ValueError(
            "image_shape must be (height, width) or (height, width, channels) with 1 or 3"
            f" channels; got {show(image_shape)}."
        )
    shape = tuple(int(side) for side in shape)
    if math.prod(shape) != n_features:
        raise ValueError(
            f"image_shape={show(image_shape)} holds {math.prod(shape)} numbers, but rows have"
            f" {n_features}; give the height, width and channels of one image."
        )
    height, width, channels = (*shape, 1)[:3]
    return height, width, channels


def _is_side(value: Any) -> bool:
    """Whether value can be a side of an image."""
    return isinstance(value, int | np.integer) and 1 <= int(value) <= LARGEST_COUNT


def _remedy(hint: str) -> str:
    return f" {hint}" if hint else ""


def _plain_number(value: np.generic) -> Any:
    """A NumPy number or bool as one of Python; others as they are."""
    if value.dtype.kind == "f":
        return float(value)
    if value.dtype.kind in "biu":
        return value.item()
    return value


def _is(item: Any, other: Any) -> bool:
    return item is other
