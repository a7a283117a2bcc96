"""Checks of arrays from a file against what the objects that they belong to expect.

An array of another shape or type than its owner expects would fail in some later call, or be read
beyond its end by code that does not look, such as fused optimisers and random generators.
"""

import functools
import inspect
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.pipeline import Pipeline

from probgen.exceptions import FileFormatError

# Of a SeedSequence, in bits and in words.
LARGEST_SEED = 2**20
LARGEST_POOL = 1024
MERSENNE_WORDS = 624
MERSENNE_HEADER = np.dtype(
    [("seed", "u8"), ("n_left", "i4"), ("is_seeded", "i4"), ("position", "u8")]
)
LARGEST_COUNT = 2**62

# Shapes of arrays in objects of probgen, by the names of attributes: a letter is one size all over
# an object, d that of a row and c the number of classes. Several shapes are alternatives.
SHAPES = {
    # Estimators, and the statistics with which they go on.
    "classes_": ("c",),
    "class_count_": ("c",),
    "class_prior_": ("c",),
    "start_probabilities_": ("k",),
    "transition_matrix_": ("kk",),
    "weights_": ("k", "km"),
    "means_": ("kd", "kmd"),
    "covariances_": ("kdd", "dd", "kd", "k", "kmdd", "kmd", "km"),
    "precisions_cholesky_": ("kdd", "dd", "kd", "k", "kmdd"),
    "loadings_": ("kdr",),
    "noise_variances_": ("kd",),
    "noise_variance_": ("d", ""),
    "orderings_": ("od",),
    "levels_": ("d",),
    "shifts_": ("sd", "sq"),
    "_center": ("d", ""),
    "_mean": ("d", ""),
    "_scale": ("d", ""),
    "_fill": ("d", ""),
    "_code_mean": ("z",),
    "_code_precision": ("zz",),
    "floor": ("d",),
    "origin": ("d",),
    "start": ("k",),
    "transitions": ("kk",),
    "origins": ("cd",),
    "weights": ("k",),
    "counts": ("k",),
    "sums": ("kd",),
    "squares": ("kdd", "dd", "kd", "k"),
    "centers": ("kd",),
    "crosses": ("kdq",),
    "codes": ("kqq",),
    "masses": ("uk",),
    # Networks, priors of codes and observation models.
    "weight": ("oihw", "oi"),
    "bias": ("o",),
    "visible_bias": ("i",),
    "hidden_bias": ("o",),
    "base_bias": ("i",),
    "log_precision": ("i", ""),
    "mask": ("oihw", "noi", "oi"),
    "map": ("ohw",),
    "class_maps": ("cohw",),
    "center": ("d", "de"),
    "scale": ("d", "de", ""),
    "deviation": ("d", "de"),
    "offsets": ("k",),
    "log_scale": ("d", ""),
    "logits": ("k",),
    "means": ("kz",),
    "log_scales": ("kz",),
    "pseudo_inputs": ("kd",),
    "mean": ("d",),
    "reversal": ("z",),
    "probabilities": ("c",),
    "order": ("p",),
    "places": ("p",),
    "permutation": ("d",),
    "mask_skip": ("oi",),
}
# Attributes that hold arrays of the same sizes, as a dict or as another object.
PARTS = ("_parameters", "_buffers", "_state", "statistics")
INDICES = {"orderings_", "order", "places", "permutation", "reversal"}
COUNTS = {"class_count_", "levels_"}  # whole numbers, which some models hold as real ones
WIDEST = 8  # bytes of a number, and half of it is the least of a real one


def check_like(value: Any, template: Any) -> None:
    """Raise unless a nest has the keys of another one, and arrays and numbers where it has them."""
    if isinstance(template, dict):
        _check(type(value) is dict and value.keys() == template.keys())
        for key, part in template.items():
            check_like(value[key], part)
    elif isinstance(template, np.ndarray):
        _check(isinstance(value, np.ndarray))
        _check(value.shape == template.shape and value.dtype == template.dtype)
    elif isinstance(template, bool | str):
        _check(type(value) is type(template))
    else:
        _check(type(value) in (int, float, bool) or isinstance(value, np.integer | np.floating))


def check_bits(array: np.ndarray) -> None:
    """Raise if an array of bool has bytes other than 0 and 1, by whose sum NumPy allots memory."""
    if array.dtype == bool:
        _check(not np.any(array.view(np.uint8) > 1))


def check_bit_generator(state: Any, template: dict) -> None:
    """Raise unless NumPy can take over the state of a bit generator, or go out of its bounds.

    NumPy checks neither the shapes of arrays nor positions in buffers.
    """
    check_like(state, template)
    _check(state["bit_generator"] == template["bit_generator"])
    if state["bit_generator"] == "MT19937":
        _check(0 <= state["state"]["pos"] <= MERSENNE_WORDS)
    if state["bit_generator"] == "Philox":
        _check(0 <= state["buffer_pos"] <= 4)


def check_seeds(entropy: Any, spawn_key: Any, pool_size: Any, n_children_spawned: Any) -> None:
    """Raise if a SeedSequence would take long to construct."""
    _check(0 < pool_size <= LARGEST_POOL)
    _check(isinstance(n_children_spawned, int))
    numbers = [entropy, spawn_key]
    for number in numbers:
        if isinstance(number, list | tuple):
            numbers.extend(number)
            _check(len(numbers) <= LARGEST_SEED)
        elif isinstance(number, int):
            _check(number.bit_length() <= LARGEST_SEED)
        else:
            _check(isinstance(number, np.ndarray | np.integer) and number.dtype.kind in "iu")


def check_torch_state(state: Any, template: Any) -> None:
    """Raise unless a torch generator can take over a state, as a tensor of bytes like another.

    The position of a Mersenne twister must leave room for the numbers that it has yet to give,
    which torch does not check.
    """
    _check(type(state) is type(template))
    _check(state.shape == template.shape and state.dtype == template.dtype)
    if state.nbytes <= MERSENNE_HEADER.itemsize:  # of a GPU, whose generator has no table
        return
    header = np.frombuffer(state.cpu().numpy().tobytes(), MERSENNE_HEADER, count=1)[0]
    position, n_left = int(header["position"]), int(header["n_left"])
    _check(header["is_seeded"] == 1 and 1 <= n_left <= MERSENNE_WORDS)
    _check(position + n_left <= MERSENNE_WORDS + 1)


def check_layer(cls: Any, state: dict) -> None:
    """Raise unless the parameters and buffers of a torch module are those of its settings.

    The module is built anew on torch's meta device, which has shapes and no memory. A module whose
    settings are not its attributes, such as a container, is left alone.
    """
    tensors = {**state["_parameters"], **state["_buffers"]}
    tensors = {name: tensor for name, tensor in tensors.items() if tensor is not None}
    base, accepted = _layer_of(cls)
    if base is None or not tensors:
        return
    settings = {name: state[name] for name in accepted if name in state}
    if "bias" in accepted and "bias" not in settings:
        settings["bias"] = any(name.endswith("bias") for name in tensors)
    # A stack is built in a loop, and each of its layers has parameters.
    _check(settings.get("num_layers", 1) <= len(tensors))
    required = {name for name, setting in accepted.items() if setting.default is setting.empty}
    if not required <= settings.keys():
        return
    model = base(**settings | {"device": "meta"})
    expected = dict(model.named_parameters(recurse=False))
    expected |= dict(model.named_buffers(recurse=False))
    for name in expected.keys() & tensors.keys():
        if tensors[name].shape != expected[name].shape:
            raise FileFormatError(
                f"the {name} of a {cls.__name__} must have the shape {tuple(expected[name].shape)};"
                f" got {tuple(tensors[name].shape)}"
            )
        _check(tensors[name].is_floating_point() == expected[name].is_floating_point())


@functools.lru_cache
def _layer_of(cls: Any) -> tuple[Any, Mapping[str, inspect.Parameter]]:
    """The module of torch that a class extends, and its arguments, if its device is one of them."""
    for parent in cls.__mro__:
        if parent.__module__.startswith("torch.nn.modules."):
            accepted = inspect.signature(parent).parameters
            if "device" in accepted:
                return parent, accepted
    return None, {}


def check_steps(estimator: Any) -> None:
    """Raise unless the steps of a pipeline are pairs of a name and a step."""
    if isinstance(estimator, Pipeline):
        _check(type(estimator.steps) is list and estimator.steps)
        for step in estimator.steps:
            _check(type(step) in (tuple, list) and len(step) == 2 and isinstance(step[0], str))


def check_shapes(thing: Any) -> None:
    """Raise unless the arrays of an object of probgen have shapes that belong together."""
    attributes = _arrays_of(thing)
    sizes: dict[str, int] = {}
    n_features = vars(thing).get("n_features_in_")
    if n_features is not None:
        check_count(n_features)
        sizes["d"] = n_features
    if "_sequence_shape" in vars(thing):  # rows are steps of so many numbers
        n_steps, sizes["d"] = vars(thing)["_sequence_shape"]
        check_count(n_steps)
        check_count(sizes["d"])
        _check(n_steps * sizes["d"] == n_features)
    for name, alternatives in SHAPES.items():
        if name not in attributes:
            continue
        array = attributes[name]
        found = [_sizes_of(letters, array.shape, sizes) for letters in alternatives]
        matching = [named for named in found if named is not None]
        if not matching or not _is_usual(name, array.dtype):
            raise FileFormatError(
                f"the {name} of a {type(thing).__name__} must be an array that fits its other"
                f" arrays; got {array.dtype} of shape {tuple(array.shape)}"
            )
        sizes |= matching[0]


def _is_usual(name: str, dtype: Any) -> bool:
    """Whether a dtype of NumPy or torch is that of indices or counts, or else single or double.

    Labels may be of any dtype.
    """
    kind = "i"
    if getattr(dtype, "is_floating_point", False):  # of torch
        kind = "f"
    kind = getattr(dtype, "kind", kind)
    if name == "classes_":
        return True
    if name in INDICES or (name in COUNTS and kind in "iu"):
        return kind in "iu"
    return kind == "f" and WIDEST // 2 <= dtype.itemsize <= WIDEST


def _arrays_of(thing: Any) -> dict[str, Any]:
    """Arrays and tensors of an object and its parts, by the names of their attributes."""
    arrays = {}
    attributes = thing
    if not isinstance(thing, dict):
        attributes = getattr(thing, "__dict__", {})
    for name, value in attributes.items():
        if name in PARTS:
            arrays |= _arrays_of(value)
        elif name in SHAPES and hasattr(value, "shape") and hasattr(value, "dtype"):
            arrays[name] = value
    return arrays


def _sizes_of(letters: str, shape: tuple, sizes: dict[str, int]) -> dict[str, int] | None:
    """The sizes that letters have in a shape, or None if they contradict each other or sizes."""
    if len(letters) != len(shape):
        return None
    found: dict[str, int] = {}
    for letter, size in zip(letters, shape):
        if found.get(letter, sizes.get(letter, size)) != size:
            return None
        found[letter] = size
    return found


def check_count(value: Any) -> None:
    """Raise unless a value is an integer that a count can be."""
    _check(isinstance(value, int | np.integer) and not isinstance(value, bool))
    _check(0 <= value < LARGEST_COUNT)


def is_subsequence(parts: Iterable[Any], whole: Sequence[Any]) -> bool:
    """Whether parts occur in whole in their order."""
    rest = iter(whole)
    return all(part in rest for part in parts)


def _check(is_right: Any) -> None:
    if not is_right:
        raise ValueError("a value is out of range")
