"""Forged model files: mutations of their structure and of their arrays, under right checksums."""

import hashlib
import io
import json
import math
import zipfile

import numpy as np
import safetensors.numpy

NUMBERS = [-1, 0, 1, 2, 7, 100, 2**63, 2**70, 0.5, -0.5, 1e-30, 1e308, -1e308]
TEXTS = ["", "x", "auto", "é" * 300, "<f8", "cpu", "cuda:7", "torch.nn.modules.linear:Linear"]
NODES = [
    None,
    True,
    *NUMBERS,
    *TEXTS,
    [],
    {},
    [[]],
    {"ref": 1},
    {"ref": 3},
    {"list": []},
    {"tuple": [1, 2]},
    {"dict": {"a": 1}},
    {"float": "nan"},
    {"float": "inf"},
    {"bytes": "AA=="},
    {"set": [1]},
    {"slice": [1, 2, 3]},
    {"range": [0, 10**30, 1]},
    {"dtype": "<U999999999"},
    {"dtype": "<f4"},
    {"objects": [1, "a"], "shape": [2]},
    {"scalar": "<f8", "bytes": "AAAAAAAA8D8="},
    {"class": "builtins:int"},
    {"class": "probgen.estimators.gaussian_mixture:GaussianMixture"},
    {"object": "os:system"},
    {"object": "sklearn.preprocessing._data:StandardScaler", "state": {}},
    {"module": "torch.nn.modules.linear:Identity", "state": {}},
]
DTYPES = ["f2", "f4", "f8", "i4", "i8", "u1", "?"]


def opened(content):
    """The header and the arrays of a file's bytes."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        arrays = safetensors.numpy.load(archive.read("arrays.safetensors"))
        return json.loads(archive.read("probgen.json")), arrays


def closed(header, arrays):
    """The bytes of a file of this header and these arrays, whose checksum is right."""
    text, content = json.dumps(header).encode(), safetensors.numpy.save(arrays)
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("probgen.json", text)
        archive.writestr("arrays.safetensors", content)
        archive.comment = hashlib.sha256(text + content).hexdigest().encode()
    return file.getvalue()


def mutated(content, rng):
    """A file's bytes with one to three mutations by a source of chance, and what they were."""
    while True:
        header, arrays = opened(content)
        done = []
        for _ in range(rng.choice([1, 1, 1, 2, 3])):
            mutate = rng.choice(ARRAY_MUTATIONS if arrays and rng.random() < 0.5 else MUTATIONS)
            done.append(f"{mutate.__name__} {mutate(header, arrays, rng)}")
        try:
            return closed(header, arrays), "; ".join(done)
        except (ValueError, RecursionError):  # a node that was put into itself
            continue


# Of the structure. Each returns the place that it changed.


def _place(header, rng, wanted=lambda value: True):
    """A random node's parent and key; the wanted one of a hundred, if there is one."""
    places = list(_places(header["value"], "value")) or [(header, "value", "value")]
    for _ in range(100):
        parent, key, name = rng.choice(places)
        if wanted(parent[key]):
            break
    return parent, key, name


def _places(node, name):
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key, f"{name}.{key}"
        if isinstance(node[key], dict | list):
            yield from _places(node[key], f"{name}.{key}")


def replace_node(header, arrays, rng):
    parent, key, name = _place(header, rng)
    parent[key] = rng.choice(NODES)
    return f"{name} = {parent[key]!r:.60}"


def change_number(header, arrays, rng):
    parent, key, name = _place(header, rng, lambda value: type(value) in (int, float))
    parent[key] = rng.choice(NUMBERS)
    return f"{name} = {parent[key]!r}"


def change_text(header, arrays, rng):
    parent, key, name = _place(header, rng, lambda value: type(value) is str)
    other, other_key, _ = _place(header, rng, lambda value: type(value) is str)
    parent[key] = rng.choice([other[other_key], rng.choice(TEXTS)])
    return f"{name} = {parent[key]!r:.60}"


def swap_nodes(header, arrays, rng):
    (a, key, name), (b, other, other_name) = _place(header, rng), _place(header, rng)
    a[key], b[other] = b[other], a[key]
    return f"{name}, {other_name}"


def remove_node(header, arrays, rng):
    parent, key, name = _place(header, rng)
    del parent[key]
    return name


def repeat_node(header, arrays, rng):
    parent, key, name = _place(header, rng, lambda value: type(value) is list)
    if type(parent[key]) is list and parent[key]:
        parent[key] *= rng.choice([2, 3, 50])
    return name


def rename_key(header, arrays, rng):
    parent, key, name = _place(header, rng)
    if isinstance(parent, dict):
        _, other_key, _ = _place(header, rng)
        parent[str(other_key)] = parent.pop(key)
        return f"{name} to {other_key}"
    return name


def refer(header, arrays, rng):
    """Let a node be another one, or that of its parents."""
    parent, key, name = _place(header, rng)
    target, target_key, target_name = _place(header, rng, lambda value: type(value) is dict)
    if type(target[target_key]) is dict:
        identity = target[target_key].setdefault("id", 10_000)
        parent[key] = {"ref": identity}
    return f"{name} = {target_name}"


# Of arrays


def reshape_array(header, arrays, rng):
    name = rng.choice(list(arrays))
    array = arrays[name]
    flat = array.ravel()
    shapes = {
        "flat": lambda: flat,
        "one": lambda: flat[:1],
        "none": lambda: flat[:0],
        "longer": lambda: np.concatenate([flat, flat, flat[:1]]),
        "turned": lambda: np.ascontiguousarray(array.T),
        "wrapped": lambda: array[None],
        "more rows": lambda: np.concatenate([array, array[:1]]) if array.ndim else array[None],
        "fewer rows": lambda: array[:-1] if array.ndim else array,
        "fewer columns": lambda: np.ascontiguousarray(array[..., :-1]) if array.ndim else array,
    }
    kind = rng.choice(list(shapes))
    arrays[name] = shapes[kind]()
    return f"{name} {kind}"


def retype_array(header, arrays, rng):
    name = rng.choice(list(arrays))
    dtype = rng.choice(DTYPES)
    with np.errstate(all="ignore"):
        arrays[name] = arrays[name].astype(dtype)
    return f"{name} {dtype}"


def fill_array(header, arrays, rng):
    """Put special or random values into some places of an array, or all."""
    name = rng.choice(list(arrays))
    array = arrays[name].copy()
    flat = array.reshape(-1)
    chosen = slice(None)
    if rng.random() < 0.5 and len(flat):
        chosen = rng.randrange(len(flat))
    if rng.random() < 0.3:
        flat.view(np.uint8)[:] = np.frombuffer(rng.randbytes(flat.nbytes), np.uint8)
        value = "random bits"
    elif array.dtype.kind == "f":
        value = rng.choice([math.nan, math.inf, -math.inf, 0.0, -1.0, 1e30, 1e-30])
        flat[chosen] = value
    else:
        limits = np.iinfo(array.dtype) if array.dtype.kind in "iu" else np.iinfo(np.uint8)
        value = rng.choice([0, 1, limits.min, limits.max, 100])
        flat[chosen] = value
    arrays[name] = array
    return f"{name} {value}"


def swap_arrays(header, arrays, rng):
    a, b = rng.choice(list(arrays)), rng.choice(list(arrays))
    arrays[a], arrays[b] = arrays[b], arrays[a]
    return f"{a}, {b}"


def remove_array(header, arrays, rng):
    name = rng.choice(list(arrays))
    if len(arrays) > 1:
        del arrays[name]
    return name


ARRAY_MUTATIONS = [
    reshape_array,
    reshape_array,
    retype_array,
    fill_array,
    fill_array,
    swap_arrays,
    remove_array,
]
MUTATIONS = [
    replace_node,
    replace_node,
    change_number,
    change_number,
    change_text,
    swap_nodes,
    remove_node,
    repeat_node,
    rename_key,
    refer,
]
