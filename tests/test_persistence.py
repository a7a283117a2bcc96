"""What is saved comes back as it was, and a file runs nothing."""

import hashlib
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
import zipfile

import numpy as np
import pandas as pd
import pytest
import safetensors.numpy
import scipy.special
import sklearn.base
import torch
from sklearn.base import BaseEstimator, clone
from sklearn.decomposition import PCA
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.model_selection import GridSearchCV, KFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    PowerTransformer,
    QuantileTransformer,
    StandardScaler,
)
from sklearn.utils import Bunch
from torch import nn

from probgen import (
    Autoencoder,
    BayesClassifier,
    Dequantizer,
    FileFormatError,
    GaussianBayes,
    GaussianMixture,
    LogitTransformer,
    Trainer,
    load,
    make_generative_pipeline,
    save,
)
from probgen._writing import atomic_write
from probgen.persistence import archive
from probgen.persistence.archive import read_archive, write_archive
from probgen.training import LatentDoctor
from probgen.training.callbacks._doctor import _Measurement
from probgen.training.callbacks._monitor import _Session

OLD_FILES = pathlib.Path(__file__).parent / "files" / "0.1.0.dev0"

GENERATORS = [
    *(
        GaussianMixture(2, covariance_type=kind, n_factors=1, random_state=0)
        for kind in ("full", "tied", "diag", "spherical", "low_rank")
    ),
    GaussianBayes(random_state=0),
    GaussianBayes(covariance_type="tied", random_state=0),
    GaussianBayes(covariance_type="low_rank", n_factors=1, random_state=0),
    GaussianBayes(covariance_type="diag", n_components=2, random_state=0),
    BayesClassifier(GaussianMixture(), random_state=0),
]
PIPELINES = [
    make_generative_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)),
    make_generative_pipeline(StandardScaler(), PCA(), GaussianMixture(2, random_state=0)),
    make_generative_pipeline(
        QuantileTransformer(output_distribution="normal", n_quantiles=50), GaussianMixture()
    ),
    make_generative_pipeline(PowerTransformer(), GaussianBayes(random_state=0)),
    make_generative_pipeline(FunctionTransformer(np.exp, np.log), GaussianMixture(random_state=0)),
    make_pipeline(StandardScaler(), GaussianMixture(2, random_state=0)),
]
RNG = np.random.default_rng(0)
Y = RNG.integers(3, size=120)
X = RNG.normal(size=(120, 3)) * [1.0, 2.0, 0.5] + Y[:, None]
WORDS = np.array(["ash", "birch", "cedar"])[Y]


class Doubled(nn.Module):
    """A network of one's own."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.register_buffer("scale", torch.tensor(2.0), persistent=False)
        self.note = "twice"

    def forward(self, rows):
        return self.layer(rows) * self.scale


class Shift(BaseEstimator):
    """An estimator of one's own, which knows where it is."""

    def __init__(self, by=1, function=None):
        self.by, self.function = by, function

    def _to_device(self, device):
        self.device_ = device


def negated(value):
    return -value


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.probgen"


def through(value, path, **options):
    """A value that was written and read."""
    write_archive(path, value, kind="test")
    return read_archive(path, kind="test", **options)


def rewrite(path, edit=None, *, arrays=None, comment=None, extra=()):
    """Write a file anew with a header that was edited, and the checksum that goes with it."""
    with zipfile.ZipFile(path) as archive:
        header = json.loads(archive.read("probgen.json"))
        content = archive.read("arrays.safetensors") if arrays is None else arrays
    header = edit(header) or header if edit else header
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("probgen.json", text)
        archive.writestr("arrays.safetensors", content)
        for name in extra:
            archive.writestr(name, b"")
        archive.comment = (
            hashlib.sha256(text + content).hexdigest().encode() if comment is None else comment
        )


def file_of(value, path):
    """A file whose estimator is this node of JSON."""
    save(GaussianMixture(), path)
    rewrite(path, lambda header: header.update(value=value))


# Estimators


def assert_alike(model, copy):
    np.testing.assert_array_equal(copy.score_samples(X), model.score_samples(X))
    np.testing.assert_array_equal(copy.sample(5), model.sample(5))
    np.testing.assert_array_equal(copy.sample(5, random_state=3), model.sample(5, random_state=3))
    for method in ("predict_proba", "transform"):
        if hasattr(model, method):
            np.testing.assert_array_equal(getattr(copy, method)(X), getattr(model, method)(X))


@pytest.mark.parametrize("estimator", GENERATORS, ids=str)
def test_a_generator_scores_draws_and_goes_on_as_before(estimator, path):
    model = clone(estimator).fit(X, WORDS)
    model.sample(3)  # so that the stream stands elsewhere than after fit
    save(model, path)
    copy = load(path)
    assert_alike(model, copy)
    if hasattr(model, "partial_fit"):
        for one in (model, copy):
            one.partial_fit(X[:40] + 1.0, WORDS[:40])
        assert_alike(model, copy)
    assert_alike(clone(copy).fit(X, WORDS), clone(model).fit(X, WORDS))


@pytest.mark.parametrize(
    "estimator", PIPELINES, ids=lambda pipeline: "-".join(pipeline.named_steps)
)
def test_a_pipeline_scores_and_draws_as_before(estimator, path):
    model = clone(estimator).fit(X, WORDS)
    save(model, path)
    copy = load(path)
    np.testing.assert_array_equal(copy.score_samples(X), model.score_samples(X))
    if hasattr(model, "sample"):
        np.testing.assert_array_equal(copy.sample(5), model.sample(5))


def test_pixels_score_as_before(path):
    pixels = RNG.integers(256, size=(60, 4))
    steps = (
        Dequantizer(256, random_state=0),
        LogitTransformer(),
        GaussianMixture(reg_covar=0.1, random_state=0),
    )
    model = make_generative_pipeline(*steps).fit(pixels)
    save(model, path)
    np.testing.assert_array_equal(load(path).score_samples(pixels), model.score_samples(pixels))


@pytest.mark.parametrize("scoring", [None, "accuracy"])
def test_a_search_keeps_its_results(scoring, path):
    search = GridSearchCV(
        GaussianBayes(), {"reg_param": [0.0, 0.1]}, cv=KFold(3), scoring=scoring
    ).fit(X, WORDS)
    save(search, path)
    copy = load(path)
    assert copy.score(X, WORDS) == search.score(X, WORDS)
    assert copy.best_params_ == search.best_params_
    pd.testing.assert_frame_equal(pd.DataFrame(copy.cv_results_), pd.DataFrame(search.cv_results_))
    assert clone(copy).fit(X, WORDS).best_params_ == search.best_params_


def test_names_of_columns_and_containers_stay(path):
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    model = GaussianMixture(random_state=0).set_output(transform="pandas").fit(frame)
    save(model, path)
    pd.testing.assert_frame_equal(load(path).sample(3), model.sample(3))
    with zipfile.ZipFile(path) as archive:
        assert json.loads(archive.read("probgen.json"))["feature_names"] == ["a", "b", "c"]


@pytest.mark.parametrize("estimator", [*GENERATORS, *PIPELINES[:2]], ids=str)
def test_an_unfitted_estimator_keeps_its_parameters(estimator, path):
    save(estimator, path)
    assert repr(load(path)) == repr(estimator)


def test_equal_models_make_equal_files(tmp_path):
    for name in "ab":
        save(GaussianMixture(2, random_state=0).fit(X), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_another_library_reads_the_arrays(path):
    model = GaussianMixture(2, random_state=0).fit(X)
    save(model, path)
    with zipfile.ZipFile(path) as archive:
        arrays = safetensors.numpy.load(archive.read("arrays.safetensors"))
    (means,) = [
        array
        for name, array in arrays.items()
        if name.startswith("GaussianMixture.") and "means" in name
    ]
    np.testing.assert_array_equal(means, model.means_)


def test_a_mixture_loads_without_torch(path):
    save(make_generative_pipeline(StandardScaler(), GaussianMixture()).fit(X), path)
    code = (
        f"import probgen, sys; probgen.load({str(path)!r}).sample(3); print('torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"


def test_a_step_of_another_scikit_learn_warns_as_pickle_does(path, monkeypatch):
    scaler = StandardScaler().fit(X)
    with monkeypatch.context() as patch:
        patch.setattr(sklearn.base, "__version__", "1.0.2")
        save(scaler, path)
    with pytest.warns(
        InconsistentVersionWarning, match=r"unpickle estimator StandardScaler from version 1\.0\.2"
    ):
        load(path)


def test_a_parameter_that_is_newer_than_the_file_has_its_default(path):
    save(GaussianMixture(3), path)
    rewrite(path, lambda header: header["value"]["state"].pop("learning_decay") and None)
    assert load(path).get_params() == GaussianMixture(3).get_params()


# Values


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            True,
            0,
            -(10**30),
            0.1,
            -0.0,
            float("inf"),
            "text \ud800",
            b"\x00\xff",
            (),
            (1, (2,)),
        ),
        *(
            [],
            [1, [2]],
            {},
            {"a": 1},
            {1: "a", (2, "x"): None, None: 3.5},
            {1, 2},
            frozenset({(1, 2)}),
        ),
        *(
            slice(1, None, 2),
            range(3, 0, -1),
            pathlib.Path("a/b"),
            np.dtype("<U3"),
            np.float64,
            int,
            torch.optim.Adam,
        ),
        *(torch.float16, torch.device("cpu"), np.exp, scipy.special.logit, Bunch(a=1, b=[2])),
        *(
            np.float32(0.1),
            np.int8(-3),
            np.bool_(True),
            np.str_("é"),
            np.datetime64("2020-02-02"),
            np.longdouble("0.1"),
        ),
    ],
    ids=repr,
)
def test_a_value_comes_back(value, path):
    copy = through([value], path)[0]
    assert type(copy) is type(value)
    assert copy == value
    assert repr(copy) == repr(value)


def test_nan_and_long_numbers_come_back(path):
    copy = through([float("nan"), 7 ** (10**4)], path)
    assert np.isnan(copy[0])
    assert copy[1] == 7 ** (10**4)


@pytest.mark.parametrize(
    "dtype", [*"?bBhHiIlLqQefdgFDG", "U3", "S2", "m8[s]", "M8[ns]", ">f8", ">i2"]
)
def test_an_array_comes_back(dtype, path):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    for view in (
        array,
        array[..., :0],
        array[0, 0, 0, ...],
        array.T,
        array.transpose(1, 0, 2),
        array[::-1, ::2],
    ):
        copy = through(view, path)
        np.testing.assert_array_equal(copy, view)
        assert copy.dtype == view.dtype
        assert copy.flags.writeable
        assert copy.flags.f_contiguous == view.flags.f_contiguous


def test_arrays_of_objects_and_masked_arrays_come_back(path):
    objects = np.array([["a", None], [(1, 2), np.ones(2)]], dtype=object)
    copy = through(objects, path)
    assert copy[1, 0] == (1, 2)
    np.testing.assert_array_equal(copy[1, 1], np.ones(2))
    masked = np.ma.MaskedArray([1.0, 2.0], mask=[True, False], fill_value=-1.0)
    copy = through(masked, path)
    assert copy.mask.tolist() == [True, False]
    assert copy.fill_value == -1.0


@pytest.mark.parametrize("kind", ["MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64"])
def test_random_streams_go_on(kind, path):
    generator = np.random.Generator(getattr(np.random, kind)(5))
    generator.random(3, dtype=np.float32)
    copy = through(generator, path)
    np.testing.assert_array_equal(
        copy.random(9, dtype=np.float32), generator.random(9, dtype=np.float32)
    )
    assert copy.spawn(1)[0].random() == generator.spawn(1)[0].random()


def test_legacy_and_torch_streams_go_on(path):
    legacy, modern = np.random.RandomState(3), torch.Generator().manual_seed(4)
    legacy.normal(size=3)
    copies = through((legacy, modern), path)
    np.testing.assert_array_equal(copies[0].normal(size=9), legacy.normal(size=9))
    assert torch.equal(torch.rand(9, generator=copies[1]), torch.rand(9, generator=modern))


def test_what_is_shared_stays_shared(path):
    array, inner = np.ones(2), {"a": 1}
    values = [array, inner, {"array": array, "inner": inner}, (inner,)]
    values.append(values)
    copy = through(values, path)
    assert copy[0] is copy[2]["array"]
    assert copy[1] is copy[2]["inner"] is copy[3][0]
    assert copy[4] is copy
    generator = np.random.default_rng(0)
    one, two = through({"one": generator, "two": generator}, path).values()
    assert one is two


# Networks


@pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn, torch.complex128, torch.uint16]
)
def test_a_tensor_comes_back(dtype, path):
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    for view in (tensor, tensor.T, tensor[0, 0], tensor[:, :0]):
        copy = through(view, path)
        assert copy.dtype == dtype
        assert copy.shape == view.shape
        assert copy.stride() == view.stride() or 0 in view.shape
        assert torch.equal(copy.to(torch.complex128), view.to(torch.complex128))


def test_a_network_comes_back(path):
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ELU(), nn.Flatten(), nn.Linear(144, 3)
    )
    network = network.to(memory_format=torch.channels_last)
    rows = torch.rand(5, 1, 8, 8)
    network(rows)  # moves the running means
    network[4].bias.requires_grad_(False)
    copy = through(network.eval(), path)
    assert torch.equal(copy(rows), network(rows))
    assert repr(copy) == repr(network)
    assert not copy.training
    assert [parameter.requires_grad for parameter in copy.parameters()] == [True] * 5 + [False]
    assert copy[0].weight.stride() == network[0].weight.stride()
    assert type(copy[0].weight) is nn.Parameter


@pytest.mark.parametrize(
    "network, shape",
    [
        (nn.LSTM(3, 4, num_layers=2), (5, 1, 3)),
        (nn.MultiheadAttention(4, 2), (5, 1, 4)),
    ],
)
def test_networks_of_many_kinds(network, shape, path):
    rows = [torch.rand(shape)] * (3 if isinstance(network, nn.MultiheadAttention) else 1)
    torch.testing.assert_close(through(network, path)(*rows), network(*rows), rtol=0, atol=0)


def test_tied_weights_stay_tied(path):
    encoder, decoder = nn.Linear(3, 3), nn.Linear(3, 3)
    decoder.weight = encoder.weight
    copy = through({"network": nn.ModuleList([encoder, decoder]), "last": decoder}, path)
    first, second = copy["network"]
    assert first.weight is second.weight
    assert copy["last"] is second


def test_a_network_of_ones_own_must_be_trusted(path):
    network = Doubled(nn.Linear(3, 2))
    network.scale.fill_(3.0)
    save(Shift(by=network), path)
    with pytest.raises(
        FileFormatError,
        match=r"names '[\w.]+:Shift', which is none of .*; pass it in trusted=\[...\]",
    ):
        load(path)
    with pytest.raises(FileFormatError, match=r"names '[\w.]+:Doubled'"):
        load(path, trusted=[Shift])
    copy = load(path, trusted=[Shift, Doubled]).by
    rows = torch.rand(4, 3)
    assert torch.equal(copy(rows), network(rows))
    assert copy.note == "twice"
    assert list(copy.state_dict()) == list(network.state_dict())


def test_functions_must_be_trusted_unless_they_are_sums(path):
    save(Shift(function=negated), path)
    with pytest.raises(FileFormatError, match=r"names '[\w.]+:negated'"):
        load(path, trusted=[Shift])
    assert load(path, trusted=[Shift, negated]).function is negated


def test_an_optimiser_goes_on(path):
    def step(network, optimizer):
        optimizer.zero_grad()
        network(torch.ones(2, 3)).square().sum().backward()
        optimizer.step()

    network = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    step(network, optimizer)
    states = through({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, path)
    twin = nn.Linear(3, 1)
    twin.load_state_dict(states["network"])
    other = torch.optim.AdamW(twin.parameters(), lr=0.5)
    other.load_state_dict(states["optimizer"])
    step(network, optimizer)
    step(twin, other)
    assert torch.equal(twin.weight, network.weight)


# Devices


def test_estimators_are_told_their_device(path):
    save(make_pipeline(Shift(), Shift()), path)
    assert not hasattr(load(path, trusted=[Shift])[0], "device_")
    assert [step.device_ for _, step in load(path, device="cpu", trusted=[Shift]).steps] == [
        "cpu",
        "cpu",
    ]


def test_tensors_of_a_gpu_that_is_not_here_come_to_the_cpu(path):
    save(Shift(by=torch.ones(2)), path)
    rewrite(path, lambda header: header["value"]["state"]["by"].update(device="cuda:0"))
    assert load(path, device="cpu", trusted=[Shift]).by.device.type == "cpu"
    if not torch.cuda.is_available():
        assert load(path, trusted=[Shift]).by.device.type == "cpu"


@pytest.mark.gpu
def test_tensors_come_back_to_the_gpu_or_to_the_cpu(path):
    generator = torch.Generator("cuda").manual_seed(1)
    state = {"weight": torch.ones(2, device="cuda"), "rows": torch.ones(2), "noise": generator}
    save(Shift(by=state), path)
    for device, expected in (("auto", "cuda"), ("cuda", "cuda"), ("cpu", "cpu")):
        copy = load(path, device=device, trusted=[Shift]).by
        assert copy["weight"].device.type == copy["noise"].device.type == expected
        assert copy["rows"].device.type == "cpu"
    copy = load(path, trusted=[Shift]).by["noise"]
    assert torch.equal(
        torch.rand(5, generator=copy, device="cuda"),
        torch.rand(5, generator=generator, device="cuda"),
    )


def test_bad_devices_are_told_of_before_the_file_is_read(path):
    path.write_text("no model")
    with pytest.raises(
        ValueError, match="device must be 'auto', 'cpu', 'cuda' or 'cuda:<index>'; got 'tpu'"
    ):
        load(path, device="tpu")


# What cannot be stored


class Slotted:
    __slots__ = ("a",)

    def __init__(self):
        self.a = 1


class Last:
    def __del__(self):
        pass


def looped():
    values = []
    values.append((values, Shift()))
    loop = ([],)
    loop[0].append(loop)
    return loop


def deep():
    values = []
    for _ in range(10**5):
        values = [values]
    return values


def hooked():
    layer = nn.Linear(1, 1)
    layer.register_forward_hook(lambda *arguments: None)
    return layer


UNSTORABLE = {
    "lambda": (
        lambda: lambda x: x,
        r"Shift\.by is a function and cannot be stored .*; got <function <lambda>",
    ),
    "file": (lambda: open(os.devnull), r"Shift\.by is a TextIOWrapper and cannot be stored"),
    "inside": (
        lambda: {"a": [1, (2, iter([]))]},
        r"Shift\.by\['a'\]\[1\]\[1\] is a list_iterator and",
    ),
    "local class": (lambda: type("Local", (), {}), r"Shift\.by is a type and cannot"),
    "object of a local class": (
        lambda: type("Local", (), {})(),
        r"Shift\.by is a Local and cannot",
    ),
    "bound method": (lambda: [].append, r"Shift\.by is a builtin_function_or_method and cannot"),
    "module": (lambda: sys, r"Shift\.by is a module and cannot"),
    "complex": (lambda: 1j, r"Shift\.by is a complex and cannot"),
    "slots": (Slotted, r"Shift\.by is a Slotted and cannot"),
    "finaliser": (Last, r"Shift\.by is a Last and cannot"),
    "forest": (
        lambda: RandomForestClassifier(2).fit(X, Y),
        r"Shift\.by\.estimators_\[0\]\.tree_ is a Tree and cannot",
    ),
    "frame": (lambda: pd.DataFrame({"a": [1]}), r"Shift\.by\._mgr is a BlockManager and cannot"),
    "records": (
        lambda: np.zeros(2, dtype="f4,i4"),
        r"Shift\.by is of dtype .*, which cannot be stored",
    ),
    "sparse tensor": (lambda: torch.eye(2).to_sparse(), r"Shift\.by is a Tensor and cannot"),
    "parametrization": (
        lambda: nn.utils.parametrizations.weight_norm(nn.Linear(1, 1)),
        r"Shift\.by is a ParametrizedLinear and cannot",
    ),
    "hooks": (
        hooked,
        (
            r"Shift\.by\._forward_hooks holds functions, which cannot be stored; remove these hooks"
            r" first"
        ),
    ),
    "tuple in itself": (looped, r"Shift\.by\[0\]\[0\] is a tuple that holds itself"),
    "depth": (deep, "Shift is nested too deeply to be stored; flatten it"),
    "key": (
        lambda: {range(3): 1},
        r"Shift\.by has a range as a key, which cannot be stored; use plain keys",
    ),
}


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
@pytest.mark.parametrize("name", UNSTORABLE)
def test_what_cannot_be_stored_is_named_and_the_old_file_stays(name, path):
    make, message = UNSTORABLE[name]
    path.write_text("old")
    estimator = Shift(make())
    with pytest.raises(ValueError, match=message) as caught:
        save(estimator, path)
    assert len(str(caught.value)) < 300
    assert path.read_text() == "old"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("value", [None, GaussianMixture, {"a": 1}])
def test_only_estimators_are_saved(value, path):
    with pytest.raises(ValueError, match="estimator must be an estimator object"):
        save(value, path)
    assert not path.exists()


def test_a_folder_that_is_not_there(path):
    with pytest.raises(
        ValueError, match=r"path must be a file in a folder that exists; got '.*nowhere.*'"
    ):
        save(GaussianMixture(), path.parent / "nowhere" / "model.probgen")
    with pytest.raises(ValueError, match="path must be a file in a folder that exists"):
        save(GaussianMixture(), path.parent)
    with pytest.raises(ValueError, match="path must be the path of a file; got 3"):
        load(3)
    with pytest.raises(
        FileNotFoundError,
        match=r"model\.probgen' does not exist; give a file that `probgen\.save` wrote",
    ):
        load(path)
    with pytest.raises(IsADirectoryError, match="is a folder; give a file that"):
        load(path.parent)


@pytest.mark.parametrize("failing", ["open", "replace", "fsync"])
def test_a_failed_write_leaves_the_old_file(failing, path, monkeypatch):
    save(GaussianMixture(3), path)

    def full(*arguments):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr(os, failing, full)
        with pytest.raises(
            PermissionError,
            match=r"model\.probgen' could not be written \(Permission denied\); name a",
        ):
            save(GaussianMixture(4), path)
    assert load(path).n_components == 3
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.skipif(
    os.name != "posix" or os.geteuid() == 0, reason="the superuser writes everywhere"
)
def test_a_folder_that_is_read_only(path):
    path.parent.chmod(0o500)
    with pytest.raises(PermissionError, match="could not be written"):
        save(GaussianMixture(), path)
    path.parent.chmod(0o700)


# Files that are something else

NO_CLASS = "which is none of probgen's classes, scikit-learn's estimators or torch's modules"


@pytest.mark.parametrize("kind", ["object", "class", "function", "module"])
@pytest.mark.parametrize(
    "named",
    [
        *(
            "os:system",
            "builtins:eval",
            "builtins:exec",
            "subprocess:Popen",
            "posix:system",
            "this:s",
            "nt:system",
        ),
        *(
            "probgen.cli:main",
            "probgen.cli.commands:sys",
            "probgen.cli.tables:Path",
            "sklearn.utils:joblib.load",
            "torch:load",
        ),
        *(
            "sklearn.conftest:pytest",
            "sklearn.base.__main__:x",
            "probgen..base:x",
            "sklearn:show_versions",
            "",
            ":",
            "x",
        ),
        *(
            "sklearn.externals._arff:ArffEncoder",
            "torch.hub:load",
            "torch.nn.modules.module:Module.forward",
        ),
        *(
            "sklearn.tree._tree:Tree",
            "sklearn.utils._testing:TempMemmap",
            "torch.utils.data:DataLoader",
        ),
    ],
)
def test_what_is_not_allowed_is_neither_built_nor_imported(named, kind, path):
    file_of({kind: named, "state": {}}, path)
    loaded = set(sys.modules)
    with pytest.raises(FileFormatError, match=r"model\.probgen' cannot be opened: "):
        load(path)
    assert not {"this", "sklearn.conftest", "sklearn.externals._arff"} & (set(sys.modules) - loaded)


def test_the_sentence_says_what_to_do(path):
    file_of({"object": "os:system", "state": {}}, path)
    with pytest.raises(
        FileFormatError, match=f"it names 'os:system', {NO_CLASS}; pass it in trusted="
    ):
        load(path)
    file_of({"object": "probgen.estimators.bygone:Model", "state": {}}, path)
    with pytest.raises(
        FileFormatError, match="which is not there in the versions that are installed"
    ):
        load(path)


@pytest.mark.parametrize("trusted", [Doubled, None, 3], ids=["class", "None", "number"])
def test_trusted_is_a_sequence(trusted, path):
    save(GaussianMixture(), path)
    with pytest.raises(ValueError, match="trusted must be a sequence of classes and functions"):
        load(path, trusted=trusted)


def test_trusted_are_classes_and_functions(path):
    save(GaussianMixture(), path)
    with pytest.raises(
        ValueError,
        match="trusted must be a sequence of classes and functions; got 'os:system' in it",
    ):
        load(path, trusted=["os:system"])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("bombed",)


def test_a_pickle_is_not_opened(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(
        FileFormatError,
        match="is not a file that probgen wrote, or not all of it: File is not a zip file",
    ):
        load(path)
    assert not os.path.exists("bombed")


def exhausting_key():
    """A tuple of 2**100 parts, made of references."""
    nodes = [{"tuple": [1, 2], "id": 0}]
    nodes += [{"tuple": [{"ref": k}, {"ref": k}], "id": k + 1} for k in range(100)]
    return {"list": [*nodes, {"set": [{"ref": 100}]}]}


def seeded(**changes):
    seeds = {
        "entropy": 0,
        "spawn_key": {"tuple": []},
        "pool_size": 4,
        "n_children_spawned": 0,
    } | changes
    return {"bit_generator": "PCG64", "state": None, "seeds": {"dict": seeds}}


def positioned(kind, position):
    state = getattr(np.random, kind)(0).state
    where = state if kind == "Philox" else state["state"]
    where["pos" if kind == "MT19937" else "buffer_pos"] = position
    content = {
        name: {"list": np.ravel(v).tolist()} if np.ndim(v) else v
        for name, v in state["state"].items()
    }
    rest = {
        name: {"list": v.tolist()} if np.ndim(v) else v
        for name, v in state.items()
        if name != "state"
    }
    return {
        "bit_generator": kind,
        "state": {"dict": rest | {"state": {"dict": content}}},
        "seeds": None,
    }


@pytest.mark.parametrize(
    "value",
    [
        *(
            None,
            3,
            "model",
            [],
            {},
            {"list": 3},
            {"nonsense": 1},
            {"ref": 7},
            {"tuple": [{"ref": 1}], "id": 1},
        ),
        *(
            {"array": {"name": "absent"}},
            {"array": 5},
            {"dtype": "O"},
            {"dtype": "U4,U4"},
            {"scalar": "f8", "bytes": ""},
        ),
        *(
            {"set": [{"list": []}]},
            exhausting_key(),
            {"int": "0b1"},
            {"objects": [1], "shape": [2]},
        ),
        *(
            seeded(pool_size=2**40),
            seeded(entropy={"int": hex(2 ** (2**21))}),
            seeded(spawn_key="x"),
        ),
        *(positioned("MT19937", 10**6), positioned("MT19937", -5), positioned("Philox", -(10**6))),
        *(
            {"bit_generator": "system", "state": None, "seeds": None},
            {"torch_dtype": "load"},
            {"ufunc": "os"},
        ),
        *(
            {"object": "builtins:dict"},
            {"class": "probgen.estimators.gaussian_mixture:GaussianMixture"},
        ),
        {
            "module": "torch.nn.modules.linear:Linear",
            "state": {"_parameters": {"dict": {"weight": "x"}}},
        },
        {
            "module": "torch.nn.modules.linear:Linear",
            "state": {"_forward_hooks": {"dict": {"a": {"class": "builtins:int"}}}},
        },
        {"object": "torch.nn.modules.linear:Linear", "state": {}},
        {"module": "probgen.estimators.gaussian_mixture:GaussianMixture", "state": {}},
        {"object": "probgen.estimators.gaussian_mixture:GaussianMixture", "state": []},
        {"object": "probgen.exceptions:FileFormatError", "state": {}},
        {"object": "probgen.pipeline:GenerativePipeline", "state": {}},
        {
            "random_state": {
                "dict": {"bit_generator": {"module": "torch.nn.modules.linear:Linear", "state": {}}}
            }
        },
    ],
    ids=lambda value: str(value)[:60],
)
def test_nonsense_is_refused(value, path):
    file_of(value, path)
    with pytest.raises(
        FileFormatError, match=r"model\.probgen' (cannot be opened|must hold an estimator)"
    ) as caught:
        load(path)
    assert len(str(caught.value)) < 500


def test_a_nest_without_end_is_refused(path):
    save(GaussianMixture(), path)
    rewrite(path, lambda header: b'{"value": ' + b"[" * 10**5 + b"]" * 10**5 + b"}")
    with pytest.raises(
        FileFormatError, match=r"is damaged: it says what no writer would .RecursionError"
    ):
        load(path)
    rewrite_deep = b'{"list": [' * 3000 + b"]}" * 3000
    save(GaussianMixture(), path)
    rewrite(
        path,
        lambda header: (
            json.dumps(header | {"value": 0}).replace('"value": 0', '"value": %s').encode()
            % rewrite_deep
        ),
    )
    with pytest.raises(FileFormatError, match="Recursion"):
        load(path)


def test_keys_of_json_come_once(path):
    save(GaussianMixture(), path)
    rewrite(
        path, lambda header: json.dumps(header).replace('"kind"', '"format": 1, "kind"').encode()
    )
    with pytest.raises(FileFormatError, match="is damaged: it names a key of its JSON twice"):
        load(path)
    save(GaussianMixture(), path)
    rewrite(path, lambda header: json.dumps(header).replace('"tol": 0.001', '"tol": NaN').encode())
    with pytest.raises(FileFormatError, match="its JSON holds NaN"):
        load(path)


def header_of(arrays, length=None):
    text = json.dumps(arrays).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text


@pytest.mark.parametrize(
    "arrays",
    [
        b"",
        header_of({}, 2**62),
        header_of({"a": {"dtype": "F64", "shape": [2**40, 2**40], "data_offsets": [0, 8]}})
        + bytes(8),
        header_of({"a": {"dtype": "F64", "shape": [2**61, 8], "data_offsets": [0, 0]}}),
        header_of({name: {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]} for name in "ab"})
        + bytes(8),
        header_of({"a": {"dtype": "U8", "shape": [4], "data_offsets": [4, 8]}}) + bytes(8),
        header_of({"a": {"dtype": "O", "shape": [1], "data_offsets": [0, 8]}}) + bytes(8),
        header_of({"a": {"dtype": "U8", "shape": [-8], "data_offsets": [0, 8]}}) + bytes(8),
        (10**5 * 5 + 3).to_bytes(8, "little") + b'{"":' + b"[" * 10**5 + b"]" * 10**5,
    ],
    ids=range(9),
)
def test_foreign_arrays_are_refused(arrays, path):
    save(GaussianMixture().fit(X), path)
    rewrite(path, arrays=arrays)
    with pytest.raises(FileFormatError, match="is damaged"):
        load(path)


def test_members_of_the_zip_are_two(path):
    save(GaussianMixture(), path)
    for extra in ("../../evil.py", "/etc/passwd", "evil.pkl"):
        rewrite(path, extra=[extra])
        with pytest.raises(
            FileFormatError,
            match=r"is damaged: it must hold probgen.json and arrays.safetensors alone",
        ):
            load(path)
    with pytest.warns(UserWarning, match="Duplicate name"):
        rewrite(path, extra=["probgen.json"])
    with pytest.raises(FileFormatError, match=r"is damaged: it must hold one probgen\.json; got 2"):
        load(path)


def test_a_bomb_does_not_go_off(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("probgen.json", bytes(2**26))
        archive.writestr("arrays.safetensors", b"")
    assert path.stat().st_size < 10**5
    with pytest.raises(
        FileFormatError, match=r"is damaged: probgen\.json must be stored without compression"
    ):
        load(path)


def test_a_size_beyond_the_file_is_refused(path):
    save(GaussianMixture(), path)
    content = bytearray(path.read_bytes())
    start = content.index(b"PK\x01\x02")  # of the list of members, with the sizes at 20 and 24
    content[start + 20 : start + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(content)
    with pytest.raises(FileFormatError, match=r"probgen\.json must be stored without compression"):
        load(path)


def test_a_checksum_that_does_not_fit(path):
    save(GaussianMixture(), path)
    rewrite(path, lambda header: header["value"]["state"].update(n_components=2), comment=b"0" * 64)
    with pytest.raises(FileFormatError, match="is damaged: its content does not have the checksum"):
        load(path)


def test_a_newer_file_asks_for_an_upgrade(path):
    save(GaussianMixture(), path)
    newer = archive.FORMAT + 1
    rewrite(path, lambda header: header.update(format=newer, versions={"probgen": "9.8"}))
    with pytest.raises(
        FileFormatError,
        match=(
            rf"was written by probgen 9\.8 in format {newer}, but .* reads formats up to"
            rf" {archive.FORMAT}; upgrade probgen\."
        ),
    ):
        load(path)


def test_an_older_file_says_what_to_do_or_is_carried_over(path, monkeypatch):
    save(GaussianMixture(), path)
    rewrite(path, lambda header: header.update(format=0, versions={"probgen": "0.0.1"}))
    with pytest.raises(
        FileFormatError,
        match=r"by probgen 0\.0\.1 in format 0, .* no longer reads; fit the model again, or",
    ):
        load(path)

    def rename(header, arrays):
        header["value"]["state"]["n_components"] = 5
        return header, arrays

    monkeypatch.setitem(archive.MIGRATIONS, 0, rename)
    assert load(path).n_components == 5


def test_a_file_of_format_1_gets_the_defaults_of_parameters_that_it_lacks(path):
    shutil.copy(OLD_FILES / "vae_bernoulli.probgen", path)

    def forget(header):
        for name in ("likelihood", "posterior", "elbo", "architecture"):
            del header["value"]["state"][name]

    rewrite(path, forget)
    parameters = load(path, device="cpu").get_params()
    assert parameters["likelihood"] == "auto"
    assert parameters["posterior"] == "gaussian"
    assert parameters["elbo"] == "mean_field"
    assert parameters["architecture"] == "dense"


def test_a_part_of_format_1_that_lacks_an_attribute_is_refused(path):
    shutil.copy(OLD_FILES / "vae_categorical.probgen", path)

    def forget(header):
        del header["value"]["state"]["observation_"]["state"]["n_answers"]

    rewrite(path, forget)
    with pytest.raises(FileFormatError, match="cannot be opened: it says what no writer would"):
        load(path, device="cpu")


def test_a_doctor_of_format_1_keeps_its_measurements(path):
    doctor = LatentDoctor(every=3)
    doctor._session = _Session(
        [_Measurement(3, 1, np.zeros(2), 1.0, -5.0, 0.5, 0.25, np.nan)], {}, {"unused"}
    )
    save(Autoencoder(trainer=Trainer(callbacks=[doctor])), path)

    def put_back(header):
        text = json.dumps({**header, "format": 1})
        for new, old in {
            "_monitor:_Session": "_looks:_Case",
            "_doctor:_Measurement": "_doctor:_Look",
            '"_session"': '"_case"',
            '"measurements"': '"looks"',
            '"reported"': '"known"',
        }.items():
            assert new in text
            text = text.replace(new, old)
        return text.encode()

    rewrite(path, put_back)
    (opened,) = load(path).trainer.callbacks
    np.testing.assert_array_equal(opened.epochs_, [3])
    np.testing.assert_array_equal(opened.kl_per_dimension_, np.zeros((1, 2)))
    assert opened._session.reported == {"unused"}


@pytest.mark.parametrize("version", [True, 1.0, "1", None])
def test_a_format_is_a_number(version, path):
    save(GaussianMixture(), path)
    rewrite(path, lambda header: header.update(format=version))
    with pytest.raises(FileFormatError, match="is damaged: it must name its format"):
        load(path)


def test_a_file_of_another_kind(path):
    write_archive(path, {}, kind="checkpoint")
    with pytest.raises(
        FileFormatError, match="must be a file of kind 'estimator'; got one of kind 'checkpoint'"
    ):
        load(path)


def test_callbacks_that_watch_a_fit_stay_out_of_the_file(path):
    model = GaussianMixture(random_state=0).fit([[0.0], [1.0], [3.0]])
    model._skl_callbacks = [lambda: None]  # as set_callbacks of scikit-learn keeps them
    assert not hasattr(through(model, path), "_skl_callbacks")


# Where a file goes


@pytest.fixture(params=["save", "atomic_write"])
def write(request):
    """A function that writes a file to a path."""

    def directly(path):
        with atomic_write(path) as temporary:
            temporary.write_text("content")

    return {"save": lambda path: save(GaussianMixture(), path), "atomic_write": directly}[
        request.param
    ]


def test_a_link_stays_and_its_target_is_replaced(write, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for link, target in (("a", folder / "there.probgen"), ("b", folder / "not_yet.probgen")):
        (tmp_path / link).symlink_to(target)
        if link == "a":
            target.write_text("old")
        write(tmp_path / link)
        assert (tmp_path / link).is_symlink()
        assert target.read_bytes() == (tmp_path / link).read_bytes() != b"old"
    (tmp_path / "chain").symlink_to("a")
    write(tmp_path / "chain")
    assert (tmp_path / "chain").is_symlink()
    assert (tmp_path / "a").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "loop")
    assert sorted(os.listdir(folder)) == ["not_yet.probgen", "there.probgen"]


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_file_that_is_replaced_hands_on_its_mode(write, path):
    former = os.umask(0o027)
    try:
        write(path)
        assert path.stat().st_mode & 0o777 == 0o640
        for mode in (0o600, 0o664, 0o400):
            path.chmod(mode)
            write(path)
            assert path.stat().st_mode & 0o777 == mode
    finally:
        os.umask(former)


@pytest.mark.skipif(os.name != "posix", reason="special files are those of POSIX")
def test_what_is_no_regular_file_is_refused(write, path):
    os.mkfifo(path)
    with pytest.raises(ValueError, match=r"must be a file; got the named pipe '.*'; give another"):
        write(path)
    with pytest.raises(ValueError, match="path must be a file; got the named pipe"):
        load(path)
    with pytest.raises(ValueError, match=r"must be a file; got the device '/dev/null'"):
        write(pathlib.Path("/dev/null"))
    with pytest.raises(ValueError, match="must be a file"):
        write(path.parent)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("name", ["x" * 247 + ".probgen", "." + "y" * 254, "é" * 127, "x." * 127])
def test_a_name_may_be_as_long_as_the_file_system_allows(name, write, tmp_path):
    write(tmp_path / name)
    write(tmp_path / name)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.skipif(os.name != "posix", reason="the system cannot tell whose file it is")
def test_a_killed_writer_leaves_nothing_after_the_next_save_and_a_live_one_is_left_alone(
    write, path
):
    script = (
        "import os, pathlib, sys\n"
        "from probgen._writing import atomic_write\n"
        "with atomic_write(pathlib.Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", script, path], check=False)
    (leftover,) = os.listdir(path.parent)
    with atomic_write(path) as temporary:
        assert not (path.parent / leftover).exists()
        temporary.write_text("first")
        write(path)
        assert temporary.exists()
    assert path.read_text() == "first"
    assert os.listdir(path.parent) == [path.name]
