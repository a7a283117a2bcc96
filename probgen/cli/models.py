"""Models by their names and parameters, and behind an encoder where they take no tables."""

import ast
import difflib
import importlib
import inspect
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags

from probgen import estimators
from probgen._validation import check_count
from probgen.base import get_likelihood
from probgen.base.table_generator import TableMixin
from probgen.options import AutoLikelihood, Mixed
from probgen.tables.table import Table

# gaussian-mixture: GaussianMixture, and so on
MODELS = {re.sub(r"(?<=[a-z])(?=[A-Z])", "-", name).lower(): name for name in estimators.__all__}
ENCODER = "tableencoder__"
HOMES = ("probgen", "probgen.options", "probgen.preprocessing", "sklearn.preprocessing")


def build(name: str, params: Sequence[str], random_state: int | None) -> Any:
    """Return a generator from its name and NAME=VALUE texts, whose values may be names too.

    Parameters of the encoder, which begin with `ENCODER`, are left out.
    """
    kind = getattr(estimators, MODELS[name])
    known = list(inspect.signature(kind).parameters)
    own: dict[str, Any] = {}
    nested: dict[str, Any] = {}
    for key, text in _pairs(params):
        if key.startswith(ENCODER):
            continue
        if key.partition("__")[0] not in known:
            hint = f"it has {', '.join(known)}."
            close = difflib.get_close_matches(key, known, n=1)
            if close:
                hint = f"did you mean {close[0]}?"
            raise ValueError(f"{name} has no parameter {key!r}; {hint}")
        value = build(text, (), None) if text in MODELS else _literal(text)
        if "__" in key:
            nested[key] = value
        else:
            own[key] = value
    return seed(kind(**own).set_params(**nested), random_state)


def seed(model: Any, random_state: int | None) -> Any:
    """Return a model with every random_state in it set, if there is a seed."""
    if random_state is not None:
        check_count("random_state", random_state, low=0)
        names = [key for key in model.get_params() if key.split("__")[-1] == "random_state"]
        model.set_params(**dict.fromkeys(names, random_state))
    return model


def for_table(
    generator: Any,
    frame: Any,
    kinds: Mapping[str, str],
    params: Sequence[str] = (),
    random_state: int | None = None,
) -> Any:
    """Return a generator for a frame: itself if it takes tables, or behind a TableEncoder.

    Parameters
    ----------
    generator : estimator object
    frame : DataFrame
    kinds : mapping of str to str
        Kinds of columns that the user names.
    params : sequence of str
        NAME=VALUE texts, of which those that begin with `ENCODER` are for the encoder.
    random_state : int, optional
    """
    from probgen.pipeline import make_generative_pipeline
    from probgen.preprocessing.table_encoder import TableEncoder

    settings = [(key, text) for key, text in _pairs(params) if key.startswith(ENCODER)]
    if reads_table(generator, frame):
        if settings:
            raise ValueError(
                f"{settings[0][0]} is a parameter of the encoder, which"
                f" {type(generator).__name__} does not need; it has kinds and missing itself."
            )
        names = [key for key in generator.get_params() if key.split("__")[-1] == "kinds"]
        if kinds:
            generator.set_params(**{key: dict(kinds) for key in names})
        likelihood = generator.get_params(deep=False).get("likelihood")
        if isinstance(likelihood, AutoLikelihood):
            generator.set_params(likelihood=Mixed(likelihood.n_mixture))
        elif likelihood is not None:
            generator.set_params(likelihood="mixed")
        return generator
    encoder = TableEncoder(kinds=dict(kinds) or None)
    for key, text in settings:
        encoder.set_params(**{key.removeprefix(ENCODER): _literal(text)})
    return make_generative_pipeline(seed(encoder, random_state), generator)


def reads_table(generator: Any, frame: Any) -> bool:
    """Whether a generator takes the rows of a frame as a table, without an encoder."""
    if not isinstance(generator, TableMixin) or not generator._reads_table(frame):
        return False
    return getattr(generator, "_likelihood_name", "mixed") in ("auto", "mixed")


def takes_array(generator: Any, frame: Any, table: Table) -> bool:
    """Whether a generator is to take the columns of a frame as an array of numbers.

    That is so for real numbers, which need no encoder, unless the model fits families to columns,
    and for numbers that are pixels, or levels of a model of levels.
    """
    is_native = reads_table(generator, frame)
    if is_native and "likelihood" not in generator.get_params(deep=False):
        return False
    is_real = all(column.kind == "real" and not column.atoms for column in table.columns)
    has_gaps = any(column.has_gaps for column in table.columns)
    if is_real and (get_tags(generator).input_tags.allow_nan or not has_gaps):
        return True
    if is_native or any(dtype.kind not in "iuf" for dtype in frame.dtypes):
        return False
    is_image = generator.get_params().get("image_shape") is not None
    return is_image or get_likelihood(generator).measure == "counting"


def as_code(value: Any) -> str:
    """Python code of an estimator with the parameters that are not the defaults, or of a value."""
    if isinstance(value, Pipeline):
        steps = ", ".join(as_code(step) for _, step in value.steps)
        return f"make_generative_pipeline({steps})"
    if isinstance(value, BaseEstimator):
        return f"{type(value).__name__}({', '.join(_changed_params(value))})"
    if isinstance(value, np.ndarray | np.generic):
        return repr(value.tolist())
    return repr(value)


def as_program(model: Any) -> str:
    """Python code of an estimator, after the imports that it needs."""
    code = as_code(model)
    names = set(re.findall(r"\b([A-Za-z_]\w*)\(", code))
    lines = []
    for home in HOMES:
        module = importlib.import_module(home)
        here = sorted(name for name in names if hasattr(module, name))
        names -= set(here)
        if here:
            lines.append(f"from {home} import {', '.join(here)}")
    return "\n".join([*lines, f"model = {code}"])


def _changed_params(estimator: BaseEstimator) -> list[str]:
    """NAME=CODE of the parameters of an estimator that are not the defaults."""
    defaults = inspect.signature(type(estimator)).parameters
    changed = []
    for name, value in estimator.get_params(deep=False).items():
        code = as_code(value)
        if name not in defaults or code != as_code(defaults[name].default):
            changed.append(f"{name}={code}")
    return changed


def table_of_model(model: Any) -> Table | None:
    """The table that a fitted model was fitted to, or None if its rows are arrays."""
    table = getattr(model, "_table", None)
    if table is None and isinstance(model, Pipeline):
        from probgen.preprocessing.steps import table_of

        table = table_of(model[:-1])
    if table is None or table.container not in ("pandas", "polars"):
        return None
    return table


def _pairs(params: Sequence[str]) -> list[tuple[str, str]]:
    """Names and texts of NAME=VALUE texts."""
    pairs = []
    for param in params:
        key, equals, text = param.partition("=")
        if not equals:
            raise ValueError(f"--param must be NAME=VALUE, such as n_components=10; got {param!r}.")
        pairs.append((key, text))
    return pairs


def _literal(text: str) -> Any:
    """The value of a Python literal, or the text itself if it is none."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
