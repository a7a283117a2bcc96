"""Values as a document and arrays."""

import base64
import copyreg
import math
import sys
import types
from pathlib import PurePath
from typing import Any, ClassVar

import numpy as np

from probgen._callbacks import CALLBACKS
from probgen.persistence.names import (
    BIT_GENERATORS,
    CONTAINERS,
    HOOKS,
    UFUNCS,
    check_keys,
    dtype_name,
    ufunc_of,
)

STORED_DTYPES = {np.dtype(name) for name in "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8".split()}
LEFT_OUT = (CALLBACKS,)  # callbacks monitor a fit, and are no part of what it learned
LONGEST_INT = 2**1000  # written as decimal digits, of which Python reads a few thousand at most


def encode(value: Any, name: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Return a value as a document for JSON and a dict of arrays.

    Parameters
    ----------
    value : object
        Any nest of None, numbers, text, containers, paths, arrays, tensors, random generators,
        classes, and objects whose state is made of such.
    name : str
        Name of the value in errors.

    Returns
    -------
    document : None, bool, int, float, str or dict
    arrays : dict of str to ndarray
        Contiguous arrays of types that safetensors supports, named after their place in the value.

    Raises
    ------
    ValueError
        If a part of it cannot be stored; the message names its place.
    """
    encoder = _Encoder()
    try:
        return encoder.encode(value, name), encoder.arrays
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply to be stored; flatten it.") from None


class _Encoder:
    def __init__(self):
        self.arrays = {}
        self._met = {}  # by id: the value, which keeps the id taken, and its node
        self._open = set()  # ids of immutable containers that are being encoded
        self._n_references = 0

    def encode(self, value, path):
        """The node of a value."""
        kind = type(value)
        if value is None or kind in (bool, str):
            return value
        if kind is int:
            return value if abs(value) < LONGEST_INT else {"int": hex(value)}
        if kind is float:
            return value if math.isfinite(value) else {"float": repr(value)}
        if id(value) in self._met:
            return self._reference(value, path)
        node = {}
        self._met[id(value)] = value, node
        closed = kind in (tuple, frozenset, set, slice)
        if closed:
            self._open.add(id(value))
        write = self._WRITERS.get(kind) or self._writer(value)
        content = write(self, value, path)
        if closed:
            self._open.discard(id(value))
        identity = dict(node)  # an id, if the value contains itself
        node.clear()
        node.update(content | identity)
        return node

    def _reference(self, value, path):
        if id(value) in self._open:
            raise ValueError(
                f"{path} is a {type(value).__name__} that holds itself, which cannot be stored."
            )
        node = self._met[id(value)][1]
        if "id" not in node:
            self._n_references += 1
            node["id"] = self._n_references
        return {"ref": node["id"]}

    def _writer(self, value):
        """The function that writes a value whose exact type is not in `_WRITERS`."""
        if isinstance(value, type):
            return _Encoder._class
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
            return _Encoder._function
        if isinstance(value, np.ufunc):
            return _Encoder._ufunc
        if isinstance(value, np.generic):
            return _Encoder._scalar
        if isinstance(value, np.dtype):
            return lambda self, value, path: {"dtype": dtype_name(value, path)}
        if isinstance(value, np.random.BitGenerator):
            return _Encoder._bit_generator
        if isinstance(value, PurePath):
            return lambda self, value, path: {"path": str(value)}
        torch = sys.modules.get("torch")
        if torch is not None:
            for kind, writer in (
                (torch.Tensor, _Encoder._tensor),
                (torch.nn.Module, _Encoder._module),
                (torch.Generator, _Encoder._torch_generator),
                (torch.dtype | torch.device, _Encoder._torch_name),
            ):
                if isinstance(value, kind):
                    return writer
        return _Encoder._object

    def _items(self, values, path):
        return [self.encode(value, f"{path}[{k}]") for k, value in enumerate(values)]

    def _set(self, value, path):
        check_keys(value, path)
        try:
            values = sorted(value)  # the order of a set differs between processes
        except TypeError:
            values = list(value)
        return {type(value).__name__: self._items(values, path)}

    def _dict(self, value, path):
        return {"dict": self._entries(value, path)}

    def _entries(self, value, path):
        """An object if all keys are text, else a list of pairs."""
        if all(type(key) is str for key in value):
            return {key: self.encode(entry, f"{path}[{key!r}]") for key, entry in value.items()}
        check_keys(value, path)
        return [
            [self.encode(key, f"{path}.keys()"), self.encode(entry, f"{path}[{key!r}]")]
            for key, entry in value.items()
        ]

    def _scalar(self, value, path):
        return {"scalar": dtype_name(value.dtype, path), "bytes": _to_text(value.tobytes())}

    def _array(self, value, path):
        if value.dtype.hasobject:
            if value.dtype != object:
                raise _unstorable(value, path)
            return {"objects": self._items(value.ravel(), path), "shape": list(value.shape)}
        return {"array": self._stored(value, path)}

    def _masked_array(self, value, path):
        parts = (value.data, np.ma.getmaskarray(value), value.fill_value)
        return {"masked_array": self._items(parts, path)}

    def _stored(self, array, path):
        """Store an array; return its name, and what is needed to restore it."""
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        entry = {"name": self._free_name(path)}
        if order != list(range(array.ndim)) and array.transpose(order).flags.c_contiguous:
            array, entry["order"] = array.transpose(order), order
        array = np.asarray(array, order="C")
        if array.dtype not in STORED_DTYPES:
            entry |= {"dtype": dtype_name(array.dtype, path), "shape": list(array.shape)}
            array = np.frombuffer(array.tobytes(), dtype=np.uint8)
        self.arrays[entry["name"]] = array
        return entry

    def _free_name(self, path):
        name = path
        k = 1
        while name in self.arrays:
            name = f"{path}#{k}"
            k += 1
        return name

    def _generator(self, value, path):
        return {"generator": self.encode(value.bit_generator, f"{path}.bit_generator")}

    def _random_state(self, value, path):
        return {"random_state": self.encode(value.get_state(legacy=False), path)}

    def _bit_generator(self, value, path):
        name, seeds = type(value).__name__, getattr(value, "seed_seq", None)
        if BIT_GENERATORS.get(name) is not type(value):
            raise _unstorable(value, path)
        seeds = seeds.state if type(seeds) is np.random.SeedSequence else None
        return {
            "bit_generator": name,
            "state": self.encode(value.state, path),
            "seeds": self.encode(seeds, path),
        }

    def _tensor(self, value, path):
        torch = sys.modules["torch"]
        is_parameter = type(value) is torch.nn.Parameter
        is_plain = is_parameter or type(value) is torch.Tensor
        if not is_plain or value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise _unstorable(value, path)
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        node: dict = {}
        try:
            array = tensor.numpy()
        except TypeError:  # NumPy has no such type
            sizes = {1: torch.uint8, 2: torch.int16}
            if tensor.element_size() not in sizes:
                raise _unstorable(value, path) from None
            node["dtype"] = str(tensor.dtype).removeprefix("torch.")
            array = tensor.view(sizes[tensor.element_size()]).numpy()
        node = {"parameter" if is_parameter else "tensor": self._stored(array, path)} | node
        if value.is_contiguous() and 1 in value.shape:
            # torch chooses its kernels by the stride of a side of length 1 too.
            node["strides"] = list(value.stride())
        if value.requires_grad:
            node["requires_grad"] = True
        if value.device.type != "cpu":
            node["device"] = str(value.device)
        return node

    def _torch_generator(self, value, path):
        state = self.encode(value.get_state(), f"{path}.get_state()")
        return {"torch_generator": state, "device": str(value.device), "seed": value.initial_seed()}

    def _torch_name(self, value, path):
        return {f"torch_{type(value).__name__}": str(value).removeprefix("torch.")}

    def _module(self, value, path):
        state = dict(self._reduced(value, path)[0])
        for name in [name for name in state if name.endswith(HOOKS)]:
            if state.pop(name):
                raise ValueError(
                    f"{path}.{name} holds functions, which cannot be stored; remove these hooks"
                    " first."
                )
        return {
            "module": _path_of(value, type(value), path),
            "state": self._attributes(state, path),
        }

    def _object(self, value, path):
        kind = type(value)
        state, entries, elements = self._reduced(value, path)
        node = {"object": _path_of(value, kind, path)}
        if state is not None:
            node["state"] = self._attributes(state, path)
        if entries is not None:
            node["entries"] = self._entries(dict(entries), path)
        if elements is not None:
            node["elements"] = self._items(elements, path)
        return node

    def _attributes(self, state, path):
        return {
            name: self.encode(entry, f"{path}.{name}")
            for name, entry in state.items()
            if name not in LEFT_OUT
        }

    def _reduced(self, value, path):
        """The attributes of an object, entries of a dict, and elements of a list."""
        try:
            reduced = (*value.__reduce_ex__(2), None, None, None)
        except Exception as error:  # an object that cannot be copied may raise anything
            raise _unstorable(value, path) from error
        make, arguments, state, elements, entries = reduced[:5]
        is_plain = make is copyreg.__newobj__ and arguments == (type(value),)  # type: ignore[attr-defined]
        is_container = make in CONTAINERS.values() and not arguments
        is_named = state is None or (
            type(state) is dict and all(type(name) is str for name in state)
        )
        if not ((is_plain or is_container) and is_named) or hasattr(type(value), "__del__"):
            raise _unstorable(value, path)
        return state, entries, elements

    def _class(self, value, path):
        if issubclass(value, np.generic):
            return {"scalar_type": dtype_name(np.dtype(value), path)}
        return {"class": _path_of(value, value, path)}

    def _ufunc(self, value, path):
        for module in UFUNCS:
            if ufunc_of(f"{module}:{value.__name__}") is value:
                return {"ufunc": f"{module}:{value.__name__}"}
        raise _unstorable(value, path)

    def _function(self, value, path):
        return {"function": _path_of(value, value, path)}

    _WRITERS: ClassVar[dict] = {
        list: lambda self, value, path: {"list": self._items(value, path)},
        tuple: lambda self, value, path: {"tuple": self._items(value, path)},
        set: _set,
        frozenset: _set,
        dict: _dict,
        bytes: lambda self, value, path: {"bytes": _to_text(value)},
        slice: lambda self, value, path: {
            "slice": self._items((value.start, value.stop, value.step), path)
        },
        range: lambda self, value, path: {"range": [value.start, value.stop, value.step]},
        np.ndarray: _array,
        np.memmap: _array,
        np.ma.MaskedArray: _masked_array,
        np.random.Generator: _generator,
        np.random.RandomState: _random_state,
    }


def _unstorable(value, path):
    shown = " ".join(repr(value).split())
    if len(shown) > 80:
        shown = f"{shown[:77]}..."
    return ValueError(
        f"{path} is a {type(value).__name__} and cannot be stored in a file that holds no code; got"
        f" {shown}; remove it, or put plain values in its place."
    )


def _path_of(value, named, path):
    """The module:name of a class or function, which must lead back to it."""
    module, name = getattr(named, "__module__", None), getattr(named, "__qualname__", "")
    target = sys.modules.get(str(module))
    for part in name.split("."):
        target = getattr(target, part, None)
    if target is not named:
        raise _unstorable(value, path)
    return f"{module}:{name}"


def _to_text(content):
    return base64.b64encode(content).decode("ascii")
