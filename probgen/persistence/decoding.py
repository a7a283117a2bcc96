"""Values from a document and arrays, which are untrusted."""

import base64
import functools
import inspect
import sys
import types
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator

from probgen._devices import resolve_device
from probgen.exceptions import FileFormatError
from probgen.persistence.checks import (
    check_bit_generator,
    check_bits,
    check_layer,
    check_seeds,
    check_shapes,
    check_steps,
    check_torch_state,
)
from probgen.persistence.names import (
    BIT_GENERATORS,
    CONTAINERS,
    HOOKS,
    TYPES,
    check_keys,
    current_path,
    dtype_of,
    imported,
    ufunc_of,
)

# A value that occurs several times counts as often where the parts of a whole are counted. Their
# number may be this multiple of the number of nodes, and a few more.
LARGEST_MULTIPLE = 100
FEW_PARTS = 100_000


def decode(
    document: Any,
    arrays: dict[str, np.ndarray],
    *,
    device: str = "cpu",
    trusted: Sequence[Callable] = (),
) -> Any:
    """Return the value that `encode` was given.

    Parameters
    ----------
    document, arrays
        As returned by `encode`; any other content raises.
    device : str, default="cpu"
        Device of tensors that were not on a CPU, and of objects with a method `_to_device`; with
        "auto" these choose their own.
    trusted : sequence of classes and functions
        Names that the document may contain besides the classes of probgen, scikit-learn's
        estimators and torch's modules.

    Raises
    ------
    FileFormatError
        If a class is not allowed. Other invalid content may raise any exception, but runs no code.
    """
    decoder = _Decoder(arrays, device, trusted)
    value = decoder.decode(document)
    for part in decoder.built:
        check_steps(part)
        if type(part).__module__.startswith(("probgen.", "pyro.")):
            check_shapes(part)
        if hasattr(type(part), "_check_loaded"):
            part._check_loaded()
    if device != "auto":
        for part in decoder.built:
            if hasattr(type(part), "_to_device"):
                part._to_device(device)
    return value


class _Decoder:
    def __init__(self, arrays, device, trusted):
        self.built = []
        self._arrays, self._device = arrays, device
        self._trusted = {f"{thing.__module__}:{thing.__qualname__}": thing for thing in trusted}
        self._values = {}
        self._n_nodes = self._n_parts = 0
        self._sizes = {}  # by id: parts of a complete value

    def decode(self, node):
        """The value of a node."""
        self._n_nodes += 1
        self._n_parts += 1
        if node is None or isinstance(node, bool | int | float | str):
            return node
        kind = next(iter(node))
        if kind == "ref":
            self._count(node["ref"])
            return self._values[node["ref"]]
        before = self._n_parts
        value = self._READERS[kind](self, node[kind], node)
        self._remember(node, value)
        if "id" in node:
            self._sizes[node["id"]] = self._n_parts - before
        return value

    def _count(self, reference):
        """Count the parts of a value anew; nested references could make them 2**n."""
        self._n_parts += self._sizes.get(reference, 0)
        if self._n_parts > FEW_PARTS + LARGEST_MULTIPLE * self._n_nodes:
            raise FileFormatError("its values refer to each other more often than any model's do")

    def _remember(self, node, value):
        if "id" in node:
            self._values[node["id"]] = value

    def _all(self, nodes):
        _check(type(nodes) is list)
        return [self.decode(node) for node in nodes]

    def _list(self, content, node):
        values = []
        self._remember(node, values)  # before its elements, which may contain it
        values.extend(self._all(content))
        return values

    def _dict(self, content, node):
        values = {}
        self._remember(node, values)
        self._fill(values, content)
        return values

    def _fill(self, values, entries):
        if type(entries) is dict:
            entries = entries.items()
        else:
            entries = [(self.decode(key), entry) for key, entry in entries]
            check_keys([key for key, _ in entries])
        for key, entry in entries:
            values[key] = self.decode(entry)

    def _scalar(self, content, node):
        array = np.frombuffer(_from_text(node["bytes"]), dtype=dtype_of(content), count=1)
        check_bits(array)
        return array[0]

    def _array(self, content, node=None):
        array = self._arrays.pop(content["name"])  # or copies could outgrow the file
        if "dtype" in content:
            array = array.view(dtype_of(content["dtype"])).reshape(content["shape"])
        check_bits(array)
        if "order" in content:
            array = array.transpose(np.argsort(content["order"]))
        return array

    def _objects(self, content, node):
        array = np.empty(len(content), dtype=object)
        values = array.reshape(node["shape"])
        self._remember(node, values)
        for k, value in enumerate(self._all(content)):
            array[k] = value
        return values

    def _masked_array(self, content, node):
        data, mask, fill_value = self._all(content)
        _check(type(data) is type(mask) is np.ndarray and data.shape == mask.shape)
        _check(np.isscalar(fill_value) or np.ndim(_instance(fill_value, np.ndarray)) == 0)
        return np.ma.MaskedArray(data, mask=mask, fill_value=fill_value)

    def _generator(self, content, node):
        return np.random.Generator(_instance(self.decode(content), np.random.BitGenerator))

    def _random_state(self, content, node):
        state = _instance(self.decode(content), dict)
        generator = np.random.RandomState(BIT_GENERATORS[state["bit_generator"]](0))
        check_bit_generator(state, generator.get_state(legacy=False))
        generator.set_state(state)
        return generator

    def _bit_generator(self, content, node):
        state, seeds = self.decode(node["state"]), self.decode(node["seeds"])
        seed = 0
        if seeds is not None:
            check_seeds(**seeds)
            seed = np.random.SeedSequence(**seeds)
        generator = BIT_GENERATORS[content](seed)
        check_bit_generator(state, generator.state)
        generator.state = state
        return generator

    def _tensor(self, content, node):
        torch = _import_torch()
        tensor = torch.from_numpy(self._array(content))
        if "dtype" in node:
            tensor = tensor.view(_torch_dtype(node["dtype"]))
            _check(tensor.dtype != torch.bool)  # NumPy has this type, so it was not viewed
        if "strides" in node:
            moved = [
                size > 1 and a != b
                for size, a, b in zip(tensor.shape, tensor.stride(), node["strides"])
            ]
            _check(not any(moved))
            tensor = tensor.as_strided(tensor.shape, node["strides"])
        if "device" in node:
            tensor = tensor.to(resolve_device(self._device))
        return tensor.requires_grad_(node.get("requires_grad", False) is True)

    def _parameter(self, content, node):
        tensor = self._tensor(content, {**node, "requires_grad": False})
        return _import_torch().nn.Parameter(
            tensor, requires_grad=node.get("requires_grad", False) is True
        )

    def _torch_generator(self, content, node):
        torch = _import_torch()
        device = "cpu"
        if node["device"] != "cpu":
            device = resolve_device(self._device)
        generator = torch.Generator(device)
        if torch.device(device).type == torch.device(node["device"]).type:
            state = self.decode(content)
            check_torch_state(state, generator.get_state())
            return generator.set_state(state) or generator
        return generator.manual_seed(node["seed"])  # other kinds of devices draw other numbers

    def _module(self, content, node):
        torch = _import_torch()
        module = self._new(content, torch.nn.Module)
        torch.nn.Module.__init__(module)
        self._remember(node, module)
        _check(not any(name.endswith(HOOKS) for name in node["state"]))
        _check_shadows(type(module), node["state"])
        state = {**vars(module), **self._attributes(node["state"])}
        kinds = {
            "_parameters": torch.nn.Parameter,
            "_buffers": torch.Tensor,
            "_modules": torch.nn.Module,
        }
        for name, kind in kinds.items():
            for part in _instance(state[name], dict).values():
                _instance(part, kind | None)
        check_layer(type(module), state)
        module.__setstate__(state)
        return module

    def _object(self, content, node):
        value = self._new(content, object)
        self._remember(node, value)
        if "state" in node:
            _check_shadows(type(value), node["state"])
            state = self._attributes(node["state"])
            if hasattr(value, "__setstate__"):
                value.__setstate__(state)
            else:
                vars(value).update(state)
        if isinstance(value, BaseEstimator):
            _complete(value)
        if "entries" in node:
            self._fill(_instance(value, dict), node["entries"])
        if "elements" in node:
            list.extend(_instance(value, list), self._all(node["elements"]))
        return value

    def _new(self, path, kind):
        """An empty object of the class of a path."""
        cls = self._named(path, type)
        if "torch" in sys.modules and issubclass(cls, sys.modules["torch"].nn.Module) is (
            kind is object
        ):
            raise FileFormatError(f"it builds {path} in a way that does not fit it.")
        if hasattr(cls, "__del__") or issubclass(cls, type | BaseException) or path in TYPES:
            raise FileFormatError(f"it builds {path}, which no model holds.")
        value = cls.__new__(cls)
        self.built.append(value)
        return value

    def _attributes(self, node):
        return {name: self.decode(entry) for name, entry in node.items()}

    def _class(self, content, node):
        return self._named(content, type)

    def _function(self, content, node):
        return self._named(content, types.FunctionType | types.BuiltinFunctionType)

    def _named(self, path, kind):
        """The class or function of a path, if a file may name it."""
        path = current_path(path)
        named = self._trusted.get(path) or TYPES.get(path) or CONTAINERS.get(path) or imported(path)
        if named is None:
            raise FileFormatError(
                f"it names {path!r}, which is none of probgen's classes, scikit-learn's estimators"
                " or torch's modules; pass it in trusted=[...] if you know what it does."
            )
        return _instance(named, kind)

    _READERS: ClassVar[dict] = {
        "int": lambda self, content, node: int(content, 16),
        "float": lambda self, content, node: float(content),
        "list": _list,
        "tuple": lambda self, content, node: tuple(self._all(content)),
        "set": lambda self, content, node: set(check_keys(self._all(content))),
        "frozenset": lambda self, content, node: frozenset(check_keys(self._all(content))),
        "dict": _dict,
        "bytes": lambda self, content, node: _from_text(content),
        "slice": lambda self, content, node: slice(*self._all(content)),
        "range": lambda self, content, node: range(*content),
        "path": lambda self, content, node: Path(content),
        "dtype": lambda self, content, node: dtype_of(content),
        "scalar": _scalar,
        "scalar_type": lambda self, content, node: dtype_of(content).type,
        "array": _array,
        "objects": _objects,
        "masked_array": _masked_array,
        "generator": _generator,
        "random_state": _random_state,
        "bit_generator": _bit_generator,
        "tensor": _tensor,
        "parameter": _parameter,
        "torch_generator": _torch_generator,
        "torch_dtype": lambda self, content, node: _torch_dtype(content),
        "torch_device": lambda self, content, node: _import_torch().device(content),
        "module": _module,
        "object": _object,
        "class": _class,
        "function": _function,
        "ufunc": lambda self, content, node: _instance(ufunc_of(content), np.ufunc),
    }


def _check_shadows(cls, names):
    """Raise if an attribute would take the place of a method."""
    shadows = _methods(cls) & names.keys()
    if shadows:
        raise FileFormatError(f"it has a value in place of {cls.__name__}.{min(shadows)}")


@functools.lru_cache
def _methods(cls):
    """Names of the functions of a class."""
    values = {}
    for parent in reversed(cls.__mro__):
        values |= vars(parent)
    return {name for name, value in values.items() if isinstance(value, types.FunctionType)}


def _complete(estimator):
    """Give an estimator the defaults of parameters that are newer than the file."""
    for name, parameter in inspect.signature(type(estimator)).parameters.items():
        if not hasattr(estimator, name):
            if parameter.default is parameter.empty:
                raise FileFormatError(
                    f"it lacks the parameter {name} of {type(estimator).__name__}."
                )
            setattr(estimator, name, parameter.default)


def _torch_dtype(name):
    torch = _import_torch()
    return _instance(getattr(torch, name), torch.dtype)


def _instance(value, kind):
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, got {type(value).__name__}")
    return value


def _check(is_right):
    if not is_right:
        raise ValueError("a value is out of range")


def _from_text(text):
    return base64.b64decode(text, validate=True)


def _import_torch():
    try:
        import torch
    except ImportError as error:
        raise ImportError("This file needs torch; install it with `pip install torch`.") from error
    return torch
