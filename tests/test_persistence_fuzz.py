"""Damaged and forged files are refused in one sentence, or load what was saved."""

import contextlib
import hashlib
import io
import json
import pathlib
import random
import tracemalloc
import zipfile

import numpy as np
import pytest
import torch  # noqa: F401, lest a load that names its modules be charged with its import
from file_mutations import mutated

from probgen import FileFormatError, GaussianMixture, load, make_generative_pipeline, save
from probgen.preprocessing import LogitTransformer

X = np.random.default_rng(0).uniform(0.1, 0.9, size=(40, 2))
N_CORRUPTIONS, N_FORGERIES, N_MUTATIONS = 2000, 600, 400
SMALL_FILES = sorted((pathlib.Path(__file__).parent / "files").glob("*/*.probgen"))
MEMORY = 2**20  # bytes that a load may take beside a multiple of the size of the file
MULTIPLE = 40


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """A model and the bytes of its file."""
    path = tmp_path_factory.mktemp("original") / "model.probgen"
    model = make_generative_pipeline(LogitTransformer(), GaussianMixture(2, random_state=0)).fit(X)
    save(model, path)
    load(path)  # whatever is imported or cached by a first load is not counted
    return model, path.read_bytes()


# Corruptions: functions of the bytes and a source of chance


def flip(content, rng):
    content = bytearray(content)
    for _ in range(rng.choice([1, 1, 1, 2, 8])):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    return content


def truncate(content, rng):
    return content[: rng.randrange(len(content))]


def cut(content, rng):
    start, length = rng.randrange(len(content)), rng.randrange(1, 200)
    return content[:start] + content[start + length :]


def insert(content, rng):
    place = rng.choice([0, len(content), rng.randrange(len(content))])
    return content[:place] + rng.randbytes(rng.choice([1, 4, 100, 5000])) + content[place:]


def swap(content, rng):
    length = rng.choice([4, 16, 64, 256])
    first, second = sorted(rng.randrange(len(content) - length) for _ in range(2))
    second = max(second, first + length)
    parts = content[:first], content[first : first + length], content[first + length : second]
    return (
        parts[0]
        + content[second : second + length]
        + parts[2]
        + parts[1]
        + content[second + length :]
    )


def overwrite(content, rng):
    start, length = rng.randrange(len(content)), rng.choice([1, 2, 4, 8, 64])
    return content[:start] + rng.choice([b"\0", b"\xff", b"9"]) * length + content[start + length :]


def edit_structure(content, rng):
    """Change a number among the headers of the zip."""
    marks = [b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"]
    starts = [k for mark in marks for k in _all_places(content, mark)]
    place, width = rng.choice(starts) + rng.randrange(4, 46), rng.choice([1, 2, 4])
    number = (
        rng.choice([0, 1, 8, 2**15, 2**31 - 1, 2**31, 2**32 - 1, rng.randrange(2**32)]) % 256**width
    )
    return content[:place] + number.to_bytes(width, "little") + content[place + width :]


def edit_members(content, rng):
    """Change the members, and write a zip whose own checksums are right."""
    members, comment = _open(content)
    name = rng.choice(list(members))
    change = rng.choice([flip, truncate, cut, insert, swap, overwrite])
    members[name] = bytes(change(members[name], rng))
    return _close(members, comment)


def edit_lengths(content, rng):
    """Change a shape or an offset in the header of the arrays, under right checksums of the zip."""
    members, comment = _open(content)
    arrays = members["arrays.safetensors"]
    length = int.from_bytes(arrays[:8], "little")
    header = json.loads(arrays[8 : 8 + length])
    entry = rng.choice(list(header.values()))
    entry[rng.choice(["shape", "data_offsets"])] = [
        rng.choice([-1, 0, 8, 2**31, 2**63, 2**64]) for _ in range(2)
    ]
    text = json.dumps(header).encode()
    members["arrays.safetensors"] = len(text).to_bytes(8, "little") + text + arrays[8 + length :]
    return _close(members, comment if rng.random() < 0.5 else None)


CORRUPTIONS = [
    flip,
    truncate,
    cut,
    insert,
    swap,
    overwrite,
    edit_structure,
    edit_members,
    edit_lengths,
]


# Forgeries: other documents, under right checksums all through

JUNK = [
    None,
    True,
    -1,
    0.5,
    2**70,
    "",
    "x",
    [],
    {},
    [[]],
    {"ref": 1},
    {"list": []},
    {"tuple": [1, 2]},
    {"dict": {"a": 1}},
]
JUNK += [
    {"object": "os:system"},
    {"class": "builtins:eval"},
    {"module": "torch.nn.modules.linear:Linear", "state": {}},
]
JUNK += [
    {"float": "nan"},
    {"bytes": "AA=="},
    {"set": [1]},
    {"slice": [1, 2, 3]},
    {"range": [0, 10**30, 1]},
    {"dtype": "<U999999999"},
]


def forge(content, rng):
    """Put junk in place of one node of the document."""
    members, _ = _open(content)
    header = json.loads(members["probgen.json"])
    places = list(_places(header))
    for _ in range(rng.choice([1, 1, 2])):
        parent, key = rng.choice(places)
        if rng.random() < 0.2 and isinstance(parent, dict):
            parent[rng.choice(["list", "id", "object", "ref", "array"])] = parent.pop(key, None)
        else:
            parent[key] = rng.choice(JUNK) if rng.random() < 0.7 else rng.choice(places)[0]
    try:
        text = json.dumps(header)
    except ValueError:  # a node that was put into itself
        return content
    members["probgen.json"] = text.encode()
    return _close(members)


def _places(node):
    for key in node if isinstance(node, dict) else range(len(node)):
        yield node, key
        if isinstance(node[key], dict | list):
            yield from _places(node[key])


def _all_places(content, mark):
    place = content.find(mark)
    while place >= 0:
        yield place
        place = content.find(mark, place + 1)


def _open(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}, archive.comment


def _close(members, comment=None):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        archive.comment = (
            hashlib.sha256(b"".join(members.values())).hexdigest().encode()
            if comment is None
            else comment
        )
    return file.getvalue()


def load_within_bounds(path, content):
    """What a file of this content loads as, or the FileFormatError; memory is watched."""
    path.write_bytes(content)
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        loaded = load(path)
    except FileFormatError as error:
        loaded = error
    assert tracemalloc.get_traced_memory()[1] - before < MEMORY + MULTIPLE * len(content)
    if isinstance(loaded, FileFormatError):
        assert "\n" not in str(loaded)
        assert len(str(loaded)) < 1000
    return loaded


@pytest.fixture
def _watched():
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_watched")
def test_corruptions(original, tmp_path):
    model, content = original
    expected, rng = model.score_samples(X), random.Random(0)
    outcomes = {change.__name__: [0, 0] for change in CORRUPTIONS}
    for k in range(N_CORRUPTIONS):
        change = CORRUPTIONS[k % len(CORRUPTIONS)]
        loaded = load_within_bounds(tmp_path / "model.probgen", bytes(change(content, rng)))
        refused = isinstance(loaded, FileFormatError)
        outcomes[change.__name__][refused] += 1
        if not refused:
            np.testing.assert_array_equal(loaded.score_samples(X), expected)
    print(
        "\nloaded as saved, refused:", outcomes, [sum(counts) for counts in zip(*outcomes.values())]
    )
    for name in ("truncate", "cut", "edit_members", "edit_lengths"):
        assert outcomes[name][0] <= 2, outcomes  # such as a change that changes nothing


@pytest.mark.usefixtures("_watched")
def test_forgeries(original, tmp_path):
    rng, n_refused = random.Random(0), 0
    for _ in range(N_FORGERIES):
        loaded = load_within_bounds(tmp_path / "model.probgen", forge(original[1], rng))
        n_refused += isinstance(loaded, FileFormatError)
        assert isinstance(loaded, FileFormatError) or loaded.get_params() is not None
    print("\nrefused", n_refused, "of", N_FORGERIES)
    assert N_FORGERIES // 3 < n_refused < N_FORGERIES


# Mutations of the structure and the arrays of files of every family


@pytest.mark.filterwarnings("ignore")
def test_mutations(tmp_path):
    """Memory is not watched here, which takes longer than the loads."""
    contents = [path.read_bytes() for path in SMALL_FILES]
    rng, n_refused = random.Random(0), 0
    for _ in range(N_MUTATIONS):
        content, change = mutated(rng.choice(contents), rng)
        (tmp_path / "model.probgen").write_bytes(content)
        message = ""
        try:
            assert load(tmp_path / "model.probgen").get_params(deep=False) is not None
        except FileFormatError as error:
            message = str(error)
        n_refused += message != ""
        assert "\n" not in message, change
        assert len(message) < 1000, change
    print("\nrefused", n_refused, "of", N_MUTATIONS)
    assert N_MUTATIONS // 3 < n_refused < N_MUTATIONS


@pytest.mark.filterwarnings("ignore")
def test_what_loads_after_a_mutation_is_used_without_a_crash(tmp_path):
    """`benchmarks/fuzz_files.py` does this for files of all families, and many more of them."""
    path = next(path for path in SMALL_FILES if path.stem == "made_order_agnostic")
    content = path.read_bytes()
    with np.load(path.with_suffix(".npz")) as answers:
        rows = answers["rows"]
    rng = random.Random(0)
    for _ in range(N_MUTATIONS // 10):
        (tmp_path / "model.probgen").write_bytes(mutated(content, rng)[0])
        for method, argument in (("score", rows), ("sample", 3), ("partial_fit", rows)):
            with contextlib.suppress(Exception):
                getattr(load(tmp_path / "model.probgen"), method)(argument)
