"""Random calls of every public estimator, and which outcomes of them are within the contract."""

import collections
import inspect
import re
import warnings

import numpy as np
import pandas as pd
import polars as pl
import scipy.sparse
import torch
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.preprocessing import StandardScaler
from small_generators import DISCRETE, ESTIMATORS, with_few_epochs

from probgen import GaussianMixture, GenerativePipeline, RowBlocks
from probgen.preprocessing import Dequantizer, LogitTransformer
from probgen.tables import TableEncoder

FEW_DRAWS = {"n_importance_samples": 4}
MODELS = [
    *with_few_epochs([*ESTIMATORS, *DISCRETE]),
    GenerativePipeline([("scale", StandardScaler()), ("mixture", GaussianMixture())]),
    Dequantizer(4),
    LogitTransformer(bounds=(-9, 9)),
    TableEncoder(random_state=0),
]
for _model in MODELS:
    if "n_importance_samples" in _model.get_params(deep=False):
        _model.set_params(**FEW_DRAWS)

VALUES = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "levels": lambda rng, shape: rng.integers(0, 3, shape),
    "bits": lambda rng, shape: rng.integers(0, 2, shape),
    "unit": lambda rng, shape: rng.random(shape),
    "constant": lambda rng, shape: np.full(shape, 7.0),
    "far": lambda rng, shape: 1e9 + rng.standard_normal(shape),
    "huge": lambda rng, shape: 1e300 * rng.standard_normal(shape),
    "tiny": lambda rng, shape: 1e-300 * rng.standard_normal(shape),
    "gaps": lambda rng, shape: np.where(rng.random(shape) < 0.3, np.nan, rng.random(shape)),
    "all gaps": lambda rng, shape: np.full(shape, np.nan),
    "infinite": lambda rng, shape: np.where(rng.random(shape) < 0.1, np.inf, rng.random(shape)),
}
DTYPES = ["f8", "f8", "f8", "f4", "f4", "f2", "i8", "i1", "u1", "?", "O", "c16", "U4", "M8[s]"]
CONTAINERS = {
    "array": np.asarray,
    "list": lambda a: a.tolist(),
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1, ::-1],
    "pandas": lambda a: pd.DataFrame(a, columns=[f"c{j}" for j in range(a.shape[1])]),
    "polars": lambda a: pl.DataFrame({f"c{j}": a[:, j] for j in range(a.shape[1])}),
    "masked": lambda a: np.ma.masked_array(a, np.zeros(a.shape, dtype=bool)),
    "sparse": scipy.sparse.csr_matrix,
    "tensor": torch.tensor,
    "blocks": lambda a: RowBlocks([a]),
    "images": lambda a: a[:, :, np.newaxis],
    "one row": lambda a: a[0],
    "nothing": lambda a: None,
}
NASTY = [
    None,
    True,
    -1,
    0,
    1,
    2,
    np.int8(2),
    np.uint8(3),
    10**400,
    1.5,
    -0.5,
    0.0,
    1e-300,
    1e300,
    np.nan,
    np.inf,
    np.float32(0.5),
    "auto",
    "full",
    "nonsense",
    "",
    (),
    (2,),
    (2, 2),
    [],
    [0.5, 0.5],
    {},
    np.array([1.0, 2.0]),
    object,
]
REFUSALS = (ValueError, TypeError, NotFittedError, AttributeError)
LONGEST = 700


@st.composite
def tables(draw):
    """Rows in some container, and labels of as many rows, or of another number."""
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    n = draw(st.sampled_from([20, 20, 20, 20, 2, 1, 0]))
    d = draw(st.sampled_from([4, 4, 4, 4, 1, 2, 0]))
    values = VALUES[draw(st.sampled_from([*VALUES, "normal", "levels", "bits"]))](rng, (n, d))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        array = values
        dtype = draw(st.sampled_from(DTYPES))
        try:
            array = values.astype(dtype)
            table = CONTAINERS[draw(st.sampled_from(["array"] * 6 + [*CONTAINERS]))](array)
        except (TypeError, ValueError, IndexError, RuntimeError, pl.exceptions.PolarsError):
            table = values  # what no container of this kind can hold
    kind = draw(st.sampled_from(["numbers", "numbers", "text", "one", "gap", "short", "none"]))
    labels = {
        "numbers": np.arange(n) % 2,
        "text": np.array(["a", "b"])[np.arange(n) % 2],
        "one": np.zeros(n),
        "gap": np.where(np.arange(n) % 2, np.nan, 1.0),
        "short": np.arange(max(0, n - 1)) % 2,
        "none": None,
    }
    return table, labels[kind]


def methods_of(model):
    """Names of the public methods of an estimator, by which it may be asked."""
    names = [name for name, _ in inspect.getmembers(type(model), callable)]
    left_out = ("set_", "get_", "model", "guide")
    return [name for name in names if not name.startswith(("_", *left_out))]


@st.composite
def calls(draw, model):
    """The name of a method and arguments for it."""
    name = draw(st.sampled_from(["fit", "fit", "set_params", *methods_of(model)]))
    if name == "set_params":
        parameter = draw(st.sampled_from(sorted(model.get_params(deep=True))))
        return name, {parameter: draw(st.sampled_from(NASTY))}
    table, labels = draw(tables())
    arguments = {}
    for parameter in inspect.signature(getattr(type(model), name)).parameters.values():
        if parameter.name in ("X", "Z", "D"):
            arguments[parameter.name] = table
        elif parameter.name == "y" and name != "sample":
            arguments["y"] = labels
        elif parameter.name == "y" and draw(st.booleans()):
            arguments["y"] = draw(st.sampled_from([0, "a", [0, 1], {}, None]))
        elif parameter.name == "given" and draw(st.booleans()):
            given = [{0: 0.5}, {0: (0.0, None)}, {9: 1.0}, {"c1": 0.5}, [1.0, np.nan], {0: 1e300}]
            arguments["given"] = draw(st.sampled_from([*given, table]))
        elif parameter.name not in ("self", "args", "kwargs", "params") and not draw(
            st.sampled_from([True, True, True, False])
        ):
            arguments[parameter.name] = draw(st.sampled_from(NASTY))
    return name, arguments


def is_sentence(message):
    """Whether a message of an error is one that a person can use."""
    is_short = 0 < len(message) <= LONGEST
    return is_short and not re.search(r"(?<!to)array\(|tensor\(|\d{40}|Traceback", message)


def outcome(model, name, arguments):
    """ "result", "refusal", or what is outside of the contract."""
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            answer = getattr(model, name)(**arguments)
    except REFUSALS as error:
        if is_sentence(str(error)):
            return "refusal"
        return f"{type(error).__name__} in {name}: {str(error)[:300]}"
    except Exception as error:  # what no user should see
        return f"{type(error).__name__} in {name}: {str(error)[:300]}"
    # Transformers pass gaps on, which no generator does.
    is_answer = name in ("score_samples", "transform", "sample", "predict_proba")
    if is_answer and hasattr(model, "sample") and not isinstance(answer, tuple):
        values = np.asarray(answer)
        if values.dtype.kind == "f" and np.isnan(values).any():
            return f"NaN from {name}"
    return "result"


def play(data, model, counts, n_calls=4):
    """Draw a sequence of calls of a copy of a model, and count their outcomes."""
    model = clone(model)
    history = []
    for _ in range(n_calls):
        name, arguments = data.draw(calls(model))
        history.append((name, arguments))
        found = outcome(model, name, arguments)
        counts[found if found in ("result", "refusal") else "outside"] += 1
        yield found, history


def new_counts():
    return collections.Counter(result=0, refusal=0, outside=0)
