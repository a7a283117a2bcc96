"""Values as JSON and arrays, and back: what a file may hold, and what it may build.

A plain number, text or None stands for itself. Anything else is a JSON object whose first key is its kind, such as
{"tuple": [1, 2]}; one that is met again is marked with an "id" and stands as {"ref": id} in the other places. Nothing
is ever called that a file names: an object is made empty, by `__new__` of a class that is allowed, and given its state.
"""

import base64
import collections
import copyreg
import importlib
import json
import math
import re
import sys
import types
from pathlib import Path, PurePath
from typing import ClassVar

import numpy as np

from probgen.training.devices import resolve_device

IMPORTED = re.compile(r"(probgen|sklearn)(\.\w+)*|torch\.(nn\.modules|optim)(\.\w+)*")
NEVER_IMPORTED = re.compile(r"(^|\.)(tests?|conftest|externals|__\w*)(\.|$)")
TYPES = {f"builtins:{kind.__name__}": kind for kind in (bool, bytes, dict, float, int, list, set, str, tuple)}
CONTAINERS = {"collections:OrderedDict": collections.OrderedDict}
# Of scikit-learn's classes that are no estimators, those that hold nothing but settings and results.
SKLEARN_PARTS = re.compile(r"sklearn\.(utils\._bunch|model_selection\._split|metrics\._scorer):\w+")
BIT_GENERATORS = {name: getattr(np.random, name) for name in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")}
STORED_DTYPES = {np.dtype(name) for name in "? i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8 c8".split()}
DTYPE = re.compile(r"[<>|=]?[biufcmMUS]\d+(\[\w+\])?")
LONGEST_INT = 2**1000  # in decimal digits, of which Python reads a few thousand at most
LARGEST_POOL = 1024  # of a SeedSequence, in words


class FileFormatError(ValueError):
    """A file is damaged, foreign, of another version, or names what is not trusted.

    Examples
    --------
    >>> import tempfile, pathlib, probgen
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "notes.probgen"
    >>> _ = path.write_text("no model")
    >>> probgen.load(path)
    Traceback (most recent call last):
        ...
    probgen._codec.FileFormatError: ...notes.probgen' is not a file that probgen wrote: File is not a zip file.
    """


def encode(value, name):
    """Return a value as a document for JSON and a dict of arrays.

    Parameters
    ----------
    value : object
        Any nest of None, numbers, text, containers, paths, arrays, tensors, random generators, classes, and objects
        whose state is made of such.
    name : str
        What errors call the value.

    Returns
    -------
    document : None, bool, int, float, str or dict
    arrays : dict of str to ndarray
        Contiguous and of types that safetensors knows, named after their place in the value.

    Raises
    ------
    ValueError
        If there is something inside that cannot be stored; the sentence names its place.
    """
    encoder = _Encoder()
    try:
        return encoder.encode(value, name), encoder.arrays
    except RecursionError:
        raise ValueError(f"{name} is nested too deeply to be stored; flatten it.") from None


def decode(document, arrays, *, device="cpu", trusted=()):
    """Return the value that `encode` was given.

    Parameters
    ----------
    document, arrays
        As `encode` returns them, or anything else.
    device : str, default="cpu"
        Where tensors go that were not on a CPU, and objects with a method `_to_device`; with "auto" they choose.
    trusted : sequence of classes and functions
        What the document may name besides the classes of probgen, scikit-learn's estimators and torch's modules.

    Raises
    ------
    FileFormatError
        If a class is not allowed. Other nonsense raises whatever it leads to, and runs nothing.
    """
    decoder = _Decoder(arrays, device, trusted)
    value = decoder.decode(document)
    if device != "auto":
        for part in decoder.built:
            if hasattr(type(part), "_to_device"):
                part._to_device(device)
    return value


class _Encoder:
    def __init__(self):
        self.arrays = {}
        self._met = {}  # id of a value: the value, which keeps its id taken, and its node
        self._open = set()  # ids of values that cannot hold themselves

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
        identity = dict(node)  # where the value was met again inside itself
        node.clear()
        node.update(content | identity)
        return node

    def _reference(self, value, path):
        if id(value) in self._open:
            raise ValueError(f"{path} is a {type(value).__name__} that holds itself, which cannot be stored.")
        node = self._met[id(value)][1]
        if "id" not in node:
            self._references = getattr(self, "_references", 0) + 1
            node["id"] = self._references
        return {"ref": node["id"]}

    def _writer(self, value):
        """The function that writes a value of no exact type of `_WRITERS`."""
        if isinstance(value, type):
            return _Encoder._class
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
            return _Encoder._function
        if isinstance(value, np.generic):
            return _Encoder._scalar
        if isinstance(value, np.dtype):
            return lambda self, value, path: {"dtype": _dtype_name(value, path)}
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
        # The order of a set changes from process to process.
        return {type(value).__name__: sorted(self._items(value, path), key=json.dumps)}

    def _dict(self, value, path):
        return {"dict": self._entries(value, path)}

    def _entries(self, value, path):
        """An object if all keys are text, else a list of pairs."""
        if all(type(key) is str for key in value):
            return {key: self.encode(entry, f"{path}[{key!r}]") for key, entry in value.items()}
        return [
            [self.encode(key, f"{path}.keys()"), self.encode(entry, f"{path}[{key!r}]")] for key, entry in value.items()
        ]

    def _scalar(self, value, path):
        return {"scalar": _dtype_name(value.dtype, path), "bytes": _to_text(value.tobytes())}

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
        """Put an array among the arrays; return its name, and what is needed to make it again."""
        order = sorted(range(array.ndim), key=lambda axis: -array.strides[axis])
        entry = {"name": self._free_name(path)}
        if order != list(range(array.ndim)) and array.transpose(order).flags.c_contiguous:
            array, entry["order"] = array.transpose(order), order
        array = np.asarray(array, order="C")
        if array.dtype not in STORED_DTYPES:
            entry |= {"dtype": _dtype_name(array.dtype, path), "shape": list(array.shape)}
            array = np.frombuffer(array.tobytes(), dtype=np.uint8)
        self.arrays[entry["name"]] = array
        return entry

    def _free_name(self, path):
        name, k = path, 1
        while name in self.arrays:
            name, k = f"{path}#{k}", k + 1
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
        return {"bit_generator": name, "state": self.encode(value.state, path), "seeds": self.encode(seeds, path)}

    def _tensor(self, value, path):
        torch = sys.modules["torch"]
        is_parameter = type(value) is torch.nn.Parameter
        is_plain = is_parameter or type(value) is torch.Tensor
        if not is_plain or value.layout != torch.strided or value.is_meta or value.is_quantized:
            raise _unstorable(value, path)
        tensor = value.detach().cpu().resolve_conj().resolve_neg()
        node = {}
        try:
            array = tensor.numpy()
        except TypeError:  # NumPy has no such type
            sizes = {1: torch.uint8, 2: torch.int16}
            if tensor.element_size() not in sizes:
                raise _unstorable(value, path) from None
            node["dtype"] = str(tensor.dtype).removeprefix("torch.")
            array = tensor.view(sizes[tensor.element_size()]).numpy()
        node = {"parameter" if is_parameter else "tensor": self._stored(array, path), **node}
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
        for name, blank in vars(sys.modules["torch"].nn.Module()).items():
            if name.endswith(("_hooks", "_hooks_with_kwargs", "_hooks_always_called")):
                if state.pop(name, blank):
                    raise ValueError(
                        f"{path} has hooks in {name}, which are functions and cannot be stored; remove them first."
                    )
        return {"module": _path_of(value, type(value), path), "state": self._attributes(state, path)}

    def _object(self, value, path):
        kind = type(value)
        state, entries, elements = self._reduced(value, path)
        node = {"object": _path_of(value, kind, path)}
        if state is not None:
            node["state"] = self._attributes(state, path) if _is_attributes(state) else self.encode(state, path)
        if entries is not None:
            node["entries"] = self._entries(dict(entries), path)
        if elements is not None:
            node["elements"] = self._items(elements, path)
        return node

    def _attributes(self, state, path):
        return {"attributes": {name: self.encode(entry, f"{path}.{name}") for name, entry in state.items()}}

    def _reduced(self, value, path):
        """The state of an object, its entries if it is a dict, its elements if it is a list."""
        try:
            make, arguments, state, elements, entries = (*value.__reduce_ex__(2), None, None, None)[:5]
        except Exception as error:  # whatever an object has against being copied
            raise _unstorable(value, path) from error
        is_plain = make is copyreg.__newobj__ and arguments == (type(value),)
        is_container = make in CONTAINERS.values() and not arguments
        if not (is_plain or is_container) or hasattr(type(value), "__del__"):
            raise _unstorable(value, path)
        return state, entries, elements

    def _class(self, value, path):
        if issubclass(value, np.generic):
            return {"scalar_type": _dtype_name(np.dtype(value), path)}
        return {"class": _path_of(value, value, path)}

    def _function(self, value, path):
        return {"function": _path_of(value, value, path)}

    _WRITERS: ClassVar[dict] = {
        list: lambda self, value, path: {"list": self._items(value, path)},
        tuple: lambda self, value, path: {"tuple": self._items(value, path)},
        set: _set,
        frozenset: _set,
        dict: _dict,
        bytes: lambda self, value, path: {"bytes": _to_text(value)},
        slice: lambda self, value, path: {"slice": self._items((value.start, value.stop, value.step), path)},
        range: lambda self, value, path: {"range": [value.start, value.stop, value.step]},
        np.ndarray: _array,
        np.memmap: _array,
        np.ma.MaskedArray: _masked_array,
        np.random.Generator: _generator,
        np.random.RandomState: _random_state,
    }


class _Decoder:
    def __init__(self, arrays, device, trusted):
        self.built = []
        self._arrays, self._device = arrays, device
        self._trusted = {f"{thing.__module__}:{thing.__qualname__}": thing for thing in trusted}
        self._values = {}

    def decode(self, node):
        """The value of a node."""
        if node is None or isinstance(node, bool | int | float | str):
            return node
        kind = next(iter(node))
        if kind == "ref":
            return self._values[node["ref"]]
        value = self._READERS[kind](self, node[kind], node)
        self._remember(node, value)
        return value

    def _remember(self, node, value):
        if "id" in node:
            self._values[node["id"]] = value

    def _all(self, nodes):
        _check(type(nodes) is list)
        return [self.decode(node) for node in nodes]

    def _list(self, content, node):
        values = []
        self._remember(node, values)  # before its elements, which may hold it
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
            entries = ((self.decode(key), entry) for key, entry in entries)
        for key, entry in entries:
            dict.__setitem__(values, key, self.decode(entry))

    def _scalar(self, content, node):
        return np.frombuffer(_from_text(node["bytes"]), dtype=_dtype(content), count=1)[0]

    def _array(self, content, node=None):
        array = self._arrays[content["name"]]
        if "dtype" in content:
            array = array.view(_dtype(content["dtype"])).reshape(content["shape"])
        return array.transpose(np.argsort(content["order"])) if "order" in content else array

    def _objects(self, content, node):
        array = np.empty(len(content), dtype=object)
        values = array.reshape(node["shape"])
        self._remember(node, values)
        for k, value in enumerate(self._all(content)):
            array[k] = value
        return values

    def _masked_array(self, content, node):
        data, mask, fill_value = self._all(content)
        return np.ma.MaskedArray(data, mask=mask, fill_value=fill_value)

    def _generator(self, content, node):
        return np.random.Generator(_instance(self.decode(content), np.random.BitGenerator))

    def _random_state(self, content, node):
        state = self.decode(content)
        _check_state(state)
        generator = np.random.RandomState(BIT_GENERATORS[state["bit_generator"]](0))
        generator.set_state(state)
        return generator

    def _bit_generator(self, content, node):
        state, seeds = self.decode(node["state"]), self.decode(node["seeds"])
        _check_state(state)
        if seeds is not None:
            _check(0 < seeds["pool_size"] <= LARGEST_POOL)
            seeds = np.random.SeedSequence(**seeds)
        generator = BIT_GENERATORS[content](0 if seeds is None else seeds)
        generator.state = state
        return generator

    def _tensor(self, content, node):
        torch = _import_torch()
        tensor = torch.from_numpy(self._array(content))
        if "dtype" in node:
            tensor = tensor.view(_torch_dtype(node["dtype"]))
        if "device" in node:
            tensor = tensor.to(resolve_device(self._device))
        return tensor.requires_grad_(node.get("requires_grad", False) is True)

    def _parameter(self, content, node):
        tensor = self._tensor(content, {**node, "requires_grad": False})
        return _import_torch().nn.Parameter(tensor, requires_grad=node.get("requires_grad", False) is True)

    def _torch_generator(self, content, node):
        torch = _import_torch()
        device = "cpu" if node["device"] == "cpu" else resolve_device(self._device)
        generator = torch.Generator(device)
        if torch.device(device).type == torch.device(node["device"]).type:
            return generator.set_state(_instance(self.decode(content), torch.Tensor)) or generator
        return generator.manual_seed(node["seed"])  # a device draws in a way of its own

    def _module(self, content, node):
        torch = _import_torch()
        module = self._new(content, torch.nn.Module)
        torch.nn.Module.__init__(module)
        self._remember(node, module)
        state = {**vars(module), **self._attributes(node["state"])}
        kinds = {"_parameters": torch.nn.Parameter, "_buffers": torch.Tensor, "_modules": torch.nn.Module}
        for name, kind in kinds.items():
            for part in _instance(state[name], dict).values():
                _instance(part, kind | None)
        module.__setstate__(state)
        return module

    def _object(self, content, node):
        value = self._new(content, object)
        self._remember(node, value)
        if "state" in node:
            state = node["state"]
            state = self._attributes(state) if "attributes" in state else self.decode(state)
            _set_state(value, state)
        if "entries" in node:
            self._fill(_instance(value, dict), node["entries"])
        if "elements" in node:
            list.extend(_instance(value, list), self._all(node["elements"]))
        return value

    def _new(self, path, kind):
        """An empty object of the class of a path."""
        cls = self._named(path, type)
        if "torch" in sys.modules and issubclass(cls, sys.modules["torch"].nn.Module) is (kind is object):
            raise FileFormatError(f"it builds {path} in a way that does not fit it.")
        if hasattr(cls, "__del__") or issubclass(cls, type | BaseException) or path in TYPES:
            raise FileFormatError(f"it builds {path}, which no model holds.")
        value = cls.__new__(cls)
        self.built.append(value)
        return value

    def _attributes(self, node):
        return {name: self.decode(entry) for name, entry in node["attributes"].items()}

    def _class(self, content, node):
        return self._named(content, type)

    def _function(self, content, node):
        return self._named(content, types.FunctionType | types.BuiltinFunctionType)

    def _named(self, path, kind):
        """The class or function of a path, if a file may name it."""
        found = self._trusted.get(path) or TYPES.get(path) or CONTAINERS.get(path) or _imported(path)
        if found is None:
            raise FileFormatError(
                f"it names {path!r}, which is none of probgen's classes, scikit-learn's estimators or torch's modules; "
                "pass it in trusted=[...] if you know what it does."
            )
        return _instance(found, kind)

    _READERS: ClassVar[dict] = {
        "int": lambda self, content, node: int(content, 16),
        "float": lambda self, content, node: float(content),
        "list": _list,
        "tuple": lambda self, content, node: tuple(self._all(content)),
        "set": lambda self, content, node: set(self._all(content)),
        "frozenset": lambda self, content, node: frozenset(self._all(content)),
        "dict": _dict,
        "bytes": lambda self, content, node: _from_text(content),
        "slice": lambda self, content, node: slice(*self._all(content)),
        "range": lambda self, content, node: range(*content),
        "path": lambda self, content, node: Path(content),
        "dtype": lambda self, content, node: _dtype(content),
        "scalar": _scalar,
        "scalar_type": lambda self, content, node: _dtype(content).type,
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
    }


def _unstorable(value, path):
    shown = repr(value).splitlines()[0] if repr(value) else ""
    shown = shown if len(shown) <= 80 else f"{shown[:77]}..."
    return ValueError(
        f"{path} is a {type(value).__name__} and cannot be stored in a file that holds no code; got {shown}; "
        "remove it, or put plain values in its place."
    )


def _path_of(value, named, path):
    """The module:name of a class or function, which must lead back to it."""
    module, name = getattr(named, "__module__", None), getattr(named, "__qualname__", "")
    found = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is not named:
        raise _unstorable(value, path)
    return f"{module}:{name}"


def _imported(path):
    """The class of a path in probgen, scikit-learn or torch, or a metric of scikit-learn; None for any other."""
    module, _, name = path.partition(":")
    if not IMPORTED.fullmatch(module) or NEVER_IMPORTED.search(module):
        return None
    try:
        found = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise FileFormatError(f"it names {path!r}, which is not there in the versions that are installed.") from error
    if f"{getattr(found, '__module__', '')}:{getattr(found, '__qualname__', '')}" != path:
        return None  # only passing through that module
    if not isinstance(found, type):
        return found if module.startswith("sklearn.metrics.") else None
    if module.startswith("sklearn."):
        from sklearn.base import BaseEstimator

        return found if issubclass(found, BaseEstimator) or SKLEARN_PARTS.fullmatch(path) else None
    return found


def _set_state(value, state):
    """Give an object its state, as copying does."""
    if hasattr(value, "__setstate__"):
        value.__setstate__(state)
        return
    attributes, slots = state if type(state) is tuple else (state, None)
    vars(value).update(attributes or {}) if attributes else None
    for name, entry in (slots or {}).items():
        object.__setattr__(value, name, entry)


def _is_attributes(state):
    return type(state) is dict and all(type(name) is str for name in state)


def _dtype_name(dtype, path):
    if not DTYPE.fullmatch(dtype.str):
        raise ValueError(f"{path} is of dtype {dtype}, which cannot be stored; convert it to numbers or text.")
    return dtype.str


def _dtype(name):
    _check(DTYPE.fullmatch(name))
    return np.dtype(name)


def _torch_dtype(name):
    torch = _import_torch()
    return _instance(getattr(torch, name), torch.dtype)


def _check_state(state):
    """Raise if a position of a random generator lies outside its buffer, which NumPy would read all the same."""
    if state["bit_generator"] == "MT19937":
        _check(0 <= state["state"]["pos"] <= 624)
    if state["bit_generator"] == "Philox":
        _check(0 <= state["buffer_pos"] <= 4)


def _instance(value, kind):
    if not isinstance(value, kind):
        raise TypeError(f"expected {kind}, got {type(value).__name__}")
    return value


def _check(is_right):
    if not is_right:
        raise ValueError("a value is out of range")


def _to_text(content):
    return base64.b64encode(content).decode("ascii")


def _from_text(text):
    return base64.b64decode(text, validate=True)


def _import_torch():
    try:
        import torch
    except ImportError as error:
        raise ImportError("This file needs torch; install it with `pip install torch`.") from error
    return torch
