"""Traversal of fitted preprocessing steps, through nested pipelines and ColumnTransformers."""

import copy
from collections.abc import Callable, Iterable, Iterator
from functools import singledispatch
from typing import Any

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)

from probgen.preprocessing.jacobians import column_blocks, function_jacobian, step_image
from probgen.preprocessing.transformers import Dequantizer, DequantizingStep, LogitTransformer
from probgen.tables.columns import Column
from probgen.tables.inference import Format
from probgen.tables.table import Table

INCREASING = (
    LogitTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
# Draws this close to an end of an image, relative to the end, count as outside, because rounding in
# the inverse could cross it.
MARGIN = 1e-10


def flatten(pipeline: Pipeline) -> list:
    """Steps of a pipeline as a list, with the steps of nested pipelines in their places."""
    flat = []
    for name, step in pipeline.steps:
        if is_transformer(step) and not hasattr(step, "fit"):
            raise ValueError(
                f"steps must be pairs of a name and an estimator, or 'passthrough'; {name!r} is a"
                f" {type(step).__name__}."
            )
        if isinstance(step, Pipeline):
            flat += flatten(step)
        else:
            flat.append(step)
    return flat


def is_transformer(step: Any) -> bool:
    """Whether a step is an estimator, rather than 'passthrough' or None."""
    return step is not None and not isinstance(step, str)


def _parts(step: ColumnTransformer) -> list:
    """Steps inside a ColumnTransformer: the fitted ones if it is fitted, else the declared ones."""
    if hasattr(step, "transformers_"):
        used = step._transformer_to_input_indices
        return [inner for name, inner, _ in step.transformers_ if len(used[name]) > 0]
    parts = [inner for _, inner, _ in step.transformers]
    if step.remainder != "drop":
        parts.append(step.remainder)
    return parts


def leaves(steps: Iterable) -> Iterator:
    """Yield the transformers in a list of steps, inside pipelines and ColumnTransformers too."""
    for step in steps:
        if isinstance(step, Pipeline):
            yield from leaves(flatten(step))
        elif isinstance(step, ColumnTransformer):
            yield from leaves(_parts(step))
        elif is_transformer(step):
            yield step


def is_bounded(steps: Iterable) -> bool:
    """Whether some step fills only part of the space, or may do so once it is fitted."""
    for leaf in leaves(steps):
        try:
            if step_image(leaf) is not None:
                return True
        except AttributeError:  # not fitted yet
            return True
    return False


def measure_of(steps: Iterable) -> str:
    """Measure of the input rows of a list of steps.

    It is "counting" with a Dequantizer as the first step, "mixed" with one for some columns,
    that of the table with a TableEncoder, and "lebesgue" without.
    """
    transformers = [step for step in steps if is_transformer(step)]
    if not transformers:
        return "lebesgue"
    first, *rest = transformers
    for leaf in leaves(rest):
        if isinstance(leaf, DequantizingStep):
            takes = "integers" if isinstance(leaf, Dequantizer) else "the columns of a table"
            raise ValueError(
                f"{type(leaf).__name__} must be the first step, because it takes {takes}; put it"
                " first."
            )
    if isinstance(first, DequantizingStep):
        return first.measure
    if isinstance(first, Pipeline):
        return measure_of(flatten(first))
    if isinstance(first, ColumnTransformer):
        measures = {measure_of([part]) for part in _parts(first) if part != "drop"}
        if len(measures) == 1:
            return measures.pop()
        if measures:
            return "mixed"
    return "lebesgue"


def choices_of(step: Any) -> dict[str, Any]:
    """What the dequantizing steps in a fitted step chose, by the names of their parameters."""
    if isinstance(step, DequantizingStep):
        return step.choices
    parts: list = []
    if isinstance(step, Pipeline):
        parts = step.steps
    elif isinstance(step, ColumnTransformer):
        parts = [(name, inner) for name, inner, _ in step.transformers_]
    choices = {}
    for name, inner in parts:
        for key, value in choices_of(inner).items():
            choices[f"{name}__{key}"] = value
    return choices


def has_box(step: Any) -> bool:
    """Whether a step passes conditions on the columns of a table by itself."""
    return hasattr(step, "box")


@singledispatch
def table_of(step: Any) -> Table | None:
    """The Table of the input columns of a fitted step, or None if these are all numbers."""
    return None


@table_of.register
def _(step: Pipeline) -> Table | None:
    steps = [inner for inner in flatten(step) if is_transformer(inner)]
    if not steps:
        return None
    return table_of(steps[0])


@table_of.register
def _(step: ColumnTransformer) -> Table | None:
    tables = [table_of(inner) for _, inner, _, _ in column_blocks(step)]
    if not any(tables):
        return None
    dtypes = integer_dtypes(step)
    n_features = step.n_features_in_
    columns: list = [None] * n_features
    formats: list = [None] * n_features
    names = getattr(step, "feature_names_in_", [f"x{j}" for j in range(n_features)])
    for table, (_, _, indices, _) in zip(tables, column_blocks(step), strict=True):
        for k, j in enumerate(indices):
            if table is None:
                columns[j] = Column(names[j], "real")
                formats[j] = Format(str(dtypes.get(j, "float64")))
            else:
                columns[j], formats[j] = table.columns[k], table.formats[k]
    return Table(columns, formats, next(table for table in tables if table).container)


def integer_dtypes(step: Any) -> dict[int, np.dtype]:
    """Dtypes of the integer columns of a Dequantizer in a fitted step, by column index."""
    if isinstance(step, Dequantizer) and step.dtype_.kind in "iub":
        return dict.fromkeys(range(step.n_features_in_), step.dtype_)
    if isinstance(step, Pipeline):
        for inner in flatten(step):
            if is_transformer(inner):
                return integer_dtypes(inner)
    dtypes = {}
    if isinstance(step, ColumnTransformer):
        for _, inner, indices, _ in column_blocks(step):
            for j, dtype in integer_dtypes(inner).items():
                dtypes[indices[j]] = dtype
    return dtypes


def is_increasing(step: Any) -> bool:
    """Whether a fitted step maps every column separately by an increasing function.

    A step that passes conditions on a table by itself counts as one.
    """
    if has_box(step):
        return True
    if isinstance(step, (Pipeline, ColumnTransformer)):
        return all(is_increasing(leaf) for leaf in leaves([step]))
    if isinstance(step, FunctionTransformer):
        known = function_jacobian(step)
        return known is not None and known.increasing
    return isinstance(step, INCREASING)


def _copy_with(step: Any, change: Callable[[Any], Any], columns: dict | None = None) -> Any:
    """Shallow copy of a fitted step, with `change` applied to the steps inside it.

    columns, a dict by name, replaces the selected columns of a ColumnTransformer.
    """

    def changed(inner: Any) -> Any:
        if is_transformer(inner):
            return change(inner)
        return inner

    step = copy.copy(step)
    if isinstance(step, Pipeline):
        step.steps = [(name, changed(inner)) for name, inner in step.steps]
    elif isinstance(step, ColumnTransformer):
        columns = columns or {}
        step.transformers_ = [
            (name, changed(inner), columns.get(name, selected))
            for name, inner, selected in step.transformers_
        ]
    return step


def at_shift(step: Any, k: int) -> Any:
    """The step with its Dequantizers at their k-th shift."""
    if isinstance(step, DequantizingStep):
        return step.at_shift(k % len(step.shifts_))
    return _copy_with(step, lambda inner: at_shift(inner, k))


def without_names(step: Any) -> Any:
    """The step as if it was fitted on arrays: it takes and returns arrays without a warning."""
    step = _copy_with(step, without_names, getattr(step, "_transformer_to_input_indices", None))
    if not isinstance(step, Pipeline):
        vars(step).pop("feature_names_in_", None)
        step._sklearn_output_config = {"transform": "default"}
    return step


def invert_steps(steps: list, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Invert a list of steps on rows Z; return the rows and a mask of those inside every image.

    The values of rows outside are undefined. Rows of a table are codes, with NaN for gaps.
    """
    X = Z.astype(np.float64)
    inside = np.isfinite(Z).all(axis=1)
    for step in reversed(steps):
        X, is_inside = invert_step(step, X)
        inside &= is_inside
    if X.dtype.kind == "f" and not (steps and table_of(steps[0]) is not None):
        with np.errstate(over="ignore"):
            X = X.astype(Z.dtype, copy=False)
        inside &= np.isfinite(X).all(axis=1)
    return X, inside


@singledispatch
def invert_step(step: Any, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Input rows (n, d) of a step for its output rows Z, and a mask of those in its image."""
    inside = np.isfinite(Z).all(axis=1)
    box = step_image(step)
    if box is not None:
        low = np.asarray(box[0], dtype=np.float64)
        high = np.asarray(box[1], dtype=np.float64)
        with np.errstate(invalid="ignore"):
            inside &= ((Z >= low + MARGIN * np.abs(low)) | np.isneginf(low)).all(axis=1)
            inside &= ((Z <= high - MARGIN * np.abs(high)) | np.isposinf(high)).all(axis=1)
    if not inside.any():
        n_features: Any = getattr(step, "n_features_in_", Z.shape[1])
        return np.zeros((len(Z), n_features)), inside
    with np.errstate(all="ignore"):
        rows = np.asarray(_inverse_function(step)(Z[inside]))
    if inside.all():
        return rows, inside
    X = np.zeros((len(Z), rows.shape[1]), dtype=rows.dtype)
    X[inside] = rows
    return X, inside


def _inverse_function(step: Any) -> Callable:
    """The inverse of a step, as a function of arrays."""
    if isinstance(step, FunctionTransformer) and step.inverse_func is None:
        known = function_jacobian(step)
        if known is not None and known.inverse is not None:
            return known.inverse
        raise TypeError(
            f"sample needs the inverse of FunctionTransformer(func={step.func!r}), which has no"
            " inverse_func; set it."
        )
    if not hasattr(step, "inverse_transform"):
        raise TypeError(
            f"sample needs the inverse of {type(step).__name__}, which has no inverse_transform."
        )
    if isinstance(step, INCREASING):
        step = without_names(step)  # Before scikit-learn 1.9, some warn about arrays here.
    return step.inverse_transform


@invert_step.register(type(None))
@invert_step.register(str)
def _(step: Any, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return Z, np.ones(len(Z), dtype=bool)


@invert_step.register
def _(step: Pipeline, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = np.ones(len(Z), dtype=bool)
    for inner in reversed(flatten(step)):
        Z, is_inside = invert_step(inner, Z)
        inside &= is_inside
    return Z, inside


@invert_step.register
def _(step: ColumnTransformer, Z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    columns: list = [None] * step.n_features_in_
    inside = np.ones(len(Z), dtype=bool)
    for _, inner, indices, outputs in column_blocks(step):
        block, is_inside = invert_step(inner, Z[:, outputs])
        inside &= is_inside
        for j, column in zip(indices, block.T, strict=True):
            columns[j] = column
    return np.column_stack(columns), inside
