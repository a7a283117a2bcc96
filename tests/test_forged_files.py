"""Arrays of a forged file are checked against what they belong to, before anything uses them."""

import random
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from file_mutations import closed, opened, reshape_array, retype_array
from sklearn.compose import TransformedTargetRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from probgen import MADE, Autoencoder, FileFormatError, GaussianMixture, Trainer, load, save
from probgen.persistence.archive import read_archive, write_archive
from probgen.persistence.checks import check_layer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.InconsistentVersionWarning")

FILES = sorted((Path(__file__).parent / "files").glob("*/*.probgen"))
X = np.random.default_rng(0).normal(size=(64, 4)).astype(np.float32)
N_FORGERIES = 500
# Arrays that may have another shape or type: seeds, labels, whole and single numbers in place of
# double ones, numbers of rows, and what scikit-learn's steps hold.
FREE = (
    *("entropy", "classes_", "class_count_", "levels_", "shifts_", "orderings_", "mask", "step'"),
    *("steps[0][1].mean_", "steps[0][1].scale_", "steps[0][1].var_", " f4"),
)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.probgen"


@pytest.fixture(scope="module")
def fitted():
    return MADE((8,), max_iter=2, random_state=0).fit(X)


def forge(path, change, content=None):
    """Write a file anew, with a right checksum, after a change of its header and arrays."""
    header, arrays = opened(content or path.read_bytes())
    done = change(header, arrays)
    path.write_bytes(closed(header, arrays))
    return done


def file_of(node, path):
    """A file whose estimator is a mixture with this node as a parameter."""
    save(GaussianMixture(), path)
    forge(path, lambda header, _: header["value"]["state"].update(means_init=node))


def kinds_of(content):
    """Shapes and dtypes of the arrays of a file's bytes, by name."""
    return {name: (array.shape, array.dtype) for name, array in opened(content)[1].items()}


def is_refused(path):
    """Whether a file does not load, which it must say in a sentence."""
    try:
        load(path)
    except FileFormatError as error:
        return "\n" not in str(error) or pytest.fail(str(error))
    return False


def test_arrays_of_another_shape_or_type_are_refused(path):
    rng, accepted, n_weights = random.Random(0), [], 0
    contents = [file.read_bytes() for file in FILES]
    for k in range(N_FORGERIES):
        content = rng.choice(contents)
        before = kinds_of(content)
        change = partial([reshape_array, retype_array][k % 2], rng=rng)
        done = forge(path, change, content)
        after = kinds_of(path.read_bytes())
        changed = [name for name in before if before[name] != after[name]]
        if not changed:
            continue
        n_weights += "_training_state" in changed[0] or "_parameters" in changed[0]
        if not is_refused(path):
            accepted.append(done)
    assert n_weights > N_FORGERIES / 3
    unexpected = [done for done in accepted if not any(name in done for name in FREE)]
    print("\naccepted", len(accepted), unexpected)
    assert not [done for done in unexpected if "exp_avg" in done or "'noise'" in done]
    assert len(unexpected) < N_FORGERIES / 20


@pytest.mark.parametrize("size", [1, 5, 10_000])
@pytest.mark.parametrize("names", [("exp_avg_sq",), ("exp_avg",), ("exp_avg", "exp_avg_sq")])
def test_moments_of_another_shape_are_refused(size, names, fitted, path):
    save(fitted, path)

    def change(header, arrays):
        for name in arrays:
            if name.endswith(tuple(f"['{key}']" for key in names)):
                arrays[name] = np.zeros(size, "f4")

    forge(path, change)
    with pytest.raises(FileFormatError, match="the training state must hold moments of"):
        load(path)


def test_moments_of_other_parameters_are_refused_before_they_are_used(path):
    model = Autoencoder(2, hidden_layer_sizes=(4,), max_iter=2, random_state=0).fit(X)
    moments = model._training_state["optimizers"][0]["state"][0]
    moments["exp_avg_sq"] = torch.zeros(1)
    with pytest.raises(FileFormatError, match="moments of one shape"):
        model.partial_fit(X)
    for name in ("exp_avg", "exp_avg_sq"):
        moments[name] = torch.zeros(1)
    with pytest.raises(FileFormatError, match=r"exp_avg.* of the shape of its weights"):
        model.partial_fit(X)


OWN = [
    *("Adadelta", "Adagrad", "Adam", "AdamW", "Adamax", "ASGD", "NAdam", "RAdam", "RMSprop"),
    *("Rprop", "SGD", "Adafactor"),
]


@pytest.mark.parametrize("name", OWN)
@pytest.mark.parametrize("schedule", ["constant", "one_cycle"])
def test_every_optimiser_goes_on_from_a_file(name, schedule, path):
    optimizer = getattr(torch.optim, name)
    trainer = Trainer(optimizer=optimizer, schedule=schedule, ema_decay=0.9)
    model = MADE((4,), max_iter=2, random_state=0, learning_rate_init=1e-3, trainer=trainer)
    model.fit(X)
    save(model, path)
    again = load(path)
    assert again.partial_fit(X).score(X) == model.partial_fit(X).score(X)


def test_an_optimiser_that_is_fused_with_all_its_moments_goes_on(path):
    for optimizer in ("adam", "adamw", "sgd", "rmsprop"):
        model = MADE((4,), max_iter=1, random_state=0, trainer=Trainer(optimizer=optimizer)).fit(X)
        save(model, path)
        assert load(path).partial_fit(X).score(X) == model.partial_fit(X).score(X)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": -1},
        {"epoch": "one"},
        {"n_steps": 2**70},
        {"best_score": "high"},
        {"is_finished": 3},
        {"seeds": {"dict": {"start": -1}}},
        {"history": {"list": [3]}},
        {"sums": {"dict": {"loss": 3}}},
        {"noise": None},
        {"weights": {"dict": {}}},
        {"optimizers": {"list": [{"dict": {"state": 3}}]}},
        {"schedulers": {"list": [{"dict": {"a": {"class": "builtins:int"}}}]}},
    ],
    ids=str,
)
def test_a_training_state_of_another_form_is_refused(change, fitted, path):
    save(fitted, path)
    forge(
        path, lambda header, _: header["value"]["state"]["_training_state"]["dict"].update(change)
    )
    with pytest.raises(FileFormatError, match="the training state"):
        load(path)


# Random streams


def test_a_position_beyond_the_table_of_a_torch_generator_is_refused(path):
    generator = torch.Generator().manual_seed(3)
    torch.rand(5, generator=generator)

    def with_numbers(n_left, position):
        def change(header, arrays):
            (name,) = arrays
            words = arrays[name].copy()
            words[8:12] = np.frombuffer(np.int32(n_left).tobytes(), np.uint8)
            words[16:24] = np.frombuffer(np.uint64(position).tobytes(), np.uint8)
            arrays[name] = words

        return change

    write_archive(path, generator, kind="test")
    content = path.read_bytes()
    for n_left, position in ((620, 5), (1, 624), (1, 0)):
        forge(path, with_numbers(n_left, position), content)
        torch.rand(700, generator=read_archive(path, kind="test"))
    for n_left, position in ((600, 624), (624, 2), (0, 0), (1, 2**40), (-3, 5)):
        forge(path, with_numbers(n_left, position), content)
        with pytest.raises(FileFormatError, match="out of range"):
            read_archive(path, kind="test")


@pytest.mark.parametrize("kind", ["MT19937", "Philox"])
def test_tables_of_numpy_generators_have_their_shape(kind, path):
    for value in (
        np.random.Generator(getattr(np.random, kind)(0)),
        np.random.RandomState(getattr(np.random, kind)(0)),
    ):
        write_archive(path, value, kind="test")
        content = path.read_bytes()
        for name in opened(content)[1]:
            if "entropy" in name:
                continue
            for array in (np.zeros(1, "u8"), np.zeros(10**4, "u4"), np.zeros((4, 1), "u8")):
                header, arrays = opened(content)
                path.write_bytes(closed(header, arrays | {name: array}))
                with pytest.raises(FileFormatError, match="out of range"):
                    read_archive(path, kind="test")


# Layers


LAYERS = [
    nn.Linear(3, 2),
    nn.Linear(3, 2, bias=False),
    nn.Conv2d(2, 4, 3, groups=2),
    nn.ConvTranspose1d(2, 4, 3),
    nn.BatchNorm1d(3),
    nn.BatchNorm2d(3, affine=False),
    nn.LayerNorm((2, 3)),
    nn.GroupNorm(2, 4),
    nn.Embedding(5, 2),
    nn.Bilinear(2, 3, 4),
    nn.PReLU(3),
    nn.GRU(3, 2, num_layers=2, bidirectional=True),
    nn.LSTM(3, 4, proj_size=2),
    nn.MultiheadAttention(4, 2),
    nn.MultiheadAttention(4, 2, kdim=3, vdim=2),
    nn.LSTMCell(3, 2),
    nn.Sequential(nn.Linear(2, 2), nn.ReLU()),
    nn.InstanceNorm1d(3, affine=True, track_running_stats=True),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: str(layer).split("\n")[0])
def test_layers_come_back_and_have_the_shapes_of_their_settings(layer, path):
    write_archive(path, layer, kind="test")
    read_archive(path, kind="test")
    for part in layer.modules():
        tensors = {**part._parameters, **part._buffers}
        for name, tensor in tensors.items():
            if tensor is None:
                continue
            state = vars(part).copy()
            group = "_parameters" if name in part._parameters else "_buffers"
            state[group] = {**state[group], name: torch.zeros(*tensor.shape, 2)}
            with pytest.raises(FileFormatError, match=f"the {name} of a .* must have the shape"):
                check_layer(type(part), state)


def test_a_stack_of_layers_beyond_its_weights_is_refused(path):
    write_archive(path, nn.GRU(3, 2), kind="test")
    forge(path, lambda header, _: header["value"]["state"].update(num_layers=10**12))
    with pytest.raises(FileFormatError):
        read_archive(path, kind="test")


# Work and memory


def doubled(first, n, join):
    """A nest in which each value refers twice to the one before it, 2**n parts in all."""
    nodes = [{**first, "id": 0}]
    for k in range(n):
        nodes.append({**join({"ref": k}, {"ref": k}), "id": k + 1})
    return {"list": nodes}


def regressor(first, second):
    """A node of an estimator with two others as parameters."""
    state = dict.fromkeys(("func", "inverse_func", "check_inverse"))
    return {"object": REGRESSOR, "state": state | {"regressor": first, "transformer": second}}


REGRESSOR = "sklearn.compose._target:TransformedTargetRegressor"
NESTS = {
    "lists": doubled({"list": []}, 60, lambda a, b: {"list": [a, b]}),
    "dicts": doubled({"dict": {}}, 60, lambda a, b: {"dict": {"a": a, "b": b}}),
    "tuples": doubled({"tuple": []}, 60, lambda a, b: {"tuple": [a, b]}),
    "estimators": doubled(regressor(None, None), 60, regressor),
}


@pytest.mark.parametrize("name", NESTS)
def test_nested_references_do_not_multiply(name, path):
    file_of(NESTS[name], path)
    with pytest.raises(FileFormatError, match="its values refer to each other more often than any"):
        load(path)


def test_modules_that_contain_each_other_twice_do_not_multiply(path):
    network = nn.Linear(1, 1)
    for _ in range(40):
        network = nn.Sequential(nn.Sequential(network), network)
    write_archive(path, network, kind="test")
    with pytest.raises(FileFormatError, match="more often than any model's do"):
        read_archive(path, kind="test")


def test_what_is_shared_a_thousand_times_is_read(path):
    part = TransformedTargetRegressor(GaussianMixture())
    write_archive(path, [part] * 3000, kind="test")
    again = read_archive(path, kind="test")
    assert len(again) == 3000
    assert all(other is again[0] for other in again)


ENDLESS = {"list": [{"ref": 9}, {"ref": 9}], "id": 9}
SEEDS = {"entropy": ENDLESS, "spawn_key": {"tuple": []}, "pool_size": 4, "n_children_spawned": 0}
TWISTER = {"key": ENDLESS, "pos": 3}
MISUSES = {
    "seeds": {"bit_generator": "PCG64", "state": None, "seeds": {"dict": SEEDS}},
    "masked array": {"masked_array": [ENDLESS, False, 0]},
    "random state": {
        "random_state": {
            "dict": {
                "bit_generator": "MT19937",
                "state": {"dict": TWISTER},
                "has_gauss": 0,
                "gauss": 0.0,
            }
        }
    },
    "method": {
        "object": "probgen.estimators.gaussian_mixture:GaussianMixture",
        "state": {"get_params": {"class": "builtins:dict"}},
    },
}


@pytest.mark.parametrize("node", MISUSES.values(), ids=MISUSES)
def test_nests_in_themselves_are_not_made_arrays_and_methods_stay(node, path):
    file_of(node, path)
    with pytest.raises(FileFormatError):
        load(path)


def test_an_array_is_used_once(path):
    """Lest copies of it for a device outgrow the file."""
    save(GaussianMixture(), path)
    arrays = {"a": np.zeros(3)}
    nodes = {"list": [{"array": {"name": "a"}}, {"array": {"name": "a"}}]}
    header, _ = opened(path.read_bytes())
    header["value"]["state"]["means_init"] = nodes
    path.write_bytes(closed(header, arrays))
    with pytest.raises(FileFormatError, match="KeyError"):
        load(path)


def test_loading_leaves_the_global_generator_alone(fitted, path):
    save(fitted, path)
    before = torch.get_rng_state()
    load(path)
    assert torch.equal(torch.get_rng_state(), before)


def test_steps_of_a_pipeline_are_pairs(path):
    save(make_pipeline(StandardScaler(), GaussianMixture()), path)
    content = path.read_bytes()
    for steps in (0.5, {"slice": [1, 2, 3]}, {"list": [3]}, {"list": []}, {"dict": {"a": 1}}):
        header, arrays = opened(content)
        header["value"]["state"]["steps"] = steps
        path.write_bytes(closed(header, arrays))
        with pytest.raises(FileFormatError):
            load(path)


def test_bits_are_0_or_1(path):
    """NumPy and torch add the bytes of a mask up to know how much memory a selection takes."""
    for value in (np.array([True, False, True]), torch.tensor([True, False, True])):
        write_archive(path, value, kind="test")
        content = path.read_bytes()
        header, arrays = opened(content)
        (name,) = arrays
        for byte in (2, 255):
            forged = np.array([byte, 0, 1], dtype=np.uint8).view(bool)
            path.write_bytes(closed(header, {name: forged}))
            with pytest.raises(FileFormatError, match="out of range"):
                read_archive(path, kind="test")
    nodes = [
        {"scalar": "|b1", "bytes": "/w=="},
        {"array": {"name": "a", "dtype": "|b1", "shape": [3]}},
        {"tensor": {"name": "a"}, "dtype": "bool"},
    ]
    for node in nodes:
        header["value"] = node
        path.write_bytes(closed(header, {"a": np.array([255, 0, 1], dtype=np.uint8)}))
        with pytest.raises(FileFormatError, match="out of range"):
            read_archive(path, kind="test")


def test_keys_of_one_hash_do_not_take_the_square_of_time(path):
    modulus = 2**61 - 1  # of the hashes of integers
    for kind in ("dict", "set"):
        keys = [k * modulus for k in range(1, 50_000)]
        file_of({kind: [[key, 0] for key in keys] if kind == "dict" else keys}, path)
        with pytest.raises(FileFormatError, match="too many keys of one hash"):
            load(path)
