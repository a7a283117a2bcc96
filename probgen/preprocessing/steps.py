"""Walks over fitted preprocessing steps, through nested pipelines and ColumnTransformers."""

import copy
from functools import singledispatch

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
from probgen.preprocessing.transformers import Dequantizer, LogitTransformer

INCREASING = (
    LogitTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    StandardScaler,
)
# Draws nearer to a wall of an image than this, relative to its distance from zero, count as
# outside: the rounding of an inverse could cross the wall.
WALL = 1e-10


def flatten(pipeline):
    """Steps of a pipeline in a row, those of pipelines inside it in line."""
    flat = []
    for _, step in pipeline.steps:
        flat += flatten(step) if isinstance(step, Pipeline) else [step]
    return flat


def is_transformer(step):
    """Whether a step does anything: 'passthrough' and None do not."""
    return step is not None and not isinstance(step, str)


def _parts(step):
    """Steps inside a ColumnTransformer, as fitted or else as declared."""
    if hasattr(step, "transformers_"):
        used = step._transformer_to_input_indices
        return [inner for name, inner, _ in step.transformers_ if len(used[name]) > 0]
    return [inner for _, inner, _ in step.transformers] + (
        [] if step.remainder == "drop" else [step.remainder]
    )


def leaves(steps):
    """The steps that are no pipeline and no ColumnTransformer, of a list of steps."""
    for step in steps:
        if isinstance(step, Pipeline):
            yield from leaves(flatten(step))
        elif isinstance(step, ColumnTransformer):
            yield from leaves(_parts(step))
        elif is_transformer(step):
            yield step


def is_bounded(steps):
    """Whether the outputs of a step fill only part of the space, or might before it is fitted."""
    for leaf in leaves(steps):
        try:
            if step_image(leaf) is not None:
                return True
        except AttributeError:  # not fitted yet
            return True
    return False


def measure_of(steps):
    """Measure of the rows that go into a list of steps: "lebesgue", "counting" after a Dequantizer,
    or "mixed"."""
    first, *rest = [step for step in steps if is_transformer(step)] or [None]
    if any(isinstance(leaf, Dequantizer) for leaf in leaves(rest)):
        raise ValueError(
            "Dequantizer must be the first step, as it takes the integers themselves; put it first."
        )
    if isinstance(first, Pipeline):
        return measure_of(flatten(first))
    if isinstance(first, ColumnTransformer):
        measures = {measure_of([part]) for part in _parts(first) if part != "drop"}
        return measures.pop() if len(measures) == 1 else "mixed" if measures else "lebesgue"
    return "counting" if isinstance(first, Dequantizer) else "lebesgue"


def integer_dtypes(step):
    """Dtypes of the integer columns that a Dequantizer in a fitted step takes, by index."""
    if isinstance(step, Dequantizer):
        return (
            dict.fromkeys(range(step.n_features_in_), step.dtype_)
            if step.dtype_.kind in "iub"
            else {}
        )
    if isinstance(step, Pipeline):
        return next((integer_dtypes(inner) for inner in flatten(step) if is_transformer(inner)), {})
    if isinstance(step, ColumnTransformer):
        blocks = [(integer_dtypes(inner), indices) for _, inner, indices, _ in column_blocks(step)]
        return {indices[j]: dtype for inner, indices in blocks for j, dtype in inner.items()}
    return {}


def is_increasing(step):
    """Whether a fitted step maps every column alone, by an increasing function."""
    if isinstance(step, (Pipeline, ColumnTransformer)):
        return all(is_increasing(leaf) for leaf in leaves([step]))
    if isinstance(step, FunctionTransformer):
        known = function_jacobian(step)
        return known is not None and known.increasing
    return isinstance(step, INCREASING)


def _rebuilt(step, change, columns=None):
    """Shallow copy of a fitted step with change made to the steps inside it; columns overrides
    theirs by name."""
    step = copy.copy(step)
    if isinstance(step, Pipeline):
        step.steps = [
            (name, change(inner) if is_transformer(inner) else inner) for name, inner in step.steps
        ]
    elif isinstance(step, ColumnTransformer):
        step.transformers_ = [
            (
                name,
                change(inner) if is_transformer(inner) else inner,
                (columns or {}).get(name, selected),
            )
            for name, inner, selected in step.transformers_
        ]
    return step


def at_shift(step, k):
    """The step with its Dequantizers at their k-th shift."""
    if isinstance(step, Dequantizer):
        return step.at_shift(k % len(step.shifts_))
    return _rebuilt(step, lambda inner: at_shift(inner, k))


def without_names(step):
    """The step as if it had been fitted on arrays, so that arrays go through without a warning and
    come out."""
    step = _rebuilt(step, without_names, getattr(step, "_transformer_to_input_indices", None))
    if not isinstance(step, Pipeline):
        vars(step).pop("feature_names_in_", None)
        step._sklearn_output_config = {"transform": "default"}
    return step


def invert_steps(steps, Z):
    """Undo a list of steps on rows Z; return the rows, and which of them had a place in every
    step's image.

    Rows without a place hold zeros or anything else.
    """
    X, inside = Z.astype(np.float64), np.isfinite(Z).all(axis=1)
    for step in reversed(steps):
        X, possible = _invert(step, X)
        inside &= possible
    if X.dtype.kind == "f":
        with np.errstate(over="ignore"):
            X = X.astype(Z.dtype, copy=False)
        inside &= np.isfinite(X).all(axis=1)
    return X, inside


@singledispatch
def _invert(step, Z):
    """(n, d) rows before a step and which of them exist, for rows Z after it."""
    inside = np.isfinite(Z).all(axis=1)
    box = step_image(step)
    if box is not None:
        low, high = (np.asarray(end, dtype=np.float64) for end in box)
        with np.errstate(invalid="ignore"):
            inside &= ((Z >= low + WALL * np.abs(low)) | np.isneginf(low)).all(axis=1)
            inside &= ((Z <= high - WALL * np.abs(high)) | np.isposinf(high)).all(axis=1)
    if not inside.any():
        return np.zeros((len(Z), getattr(step, "n_features_in_", Z.shape[1]))), inside
    with np.errstate(all="ignore"):
        found = np.asarray(_inverse_function(step)(Z[inside]))
    if inside.all():
        return found, inside
    X = np.zeros((len(Z), found.shape[1]), dtype=found.dtype)
    X[inside] = found
    return X, inside


def _inverse_function(step):
    """The function that undoes a step on arrays."""
    if isinstance(step, FunctionTransformer) and step.inverse_func is None:
        known = function_jacobian(step)
        if known is not None and known.inverse is not None:
            return known.inverse
        raise TypeError(
            f"sample runs backwards through FunctionTransformer(func={step.func!r}), which has no"
            " inverse_func; set it."
        )
    if not hasattr(step, "inverse_transform"):
        raise TypeError(
            f"sample runs backwards through {type(step).__name__}, which has no inverse_transform."
        )
    if isinstance(step, INCREASING):
        step = without_names(step)  # before scikit-learn 1.9, some warn here of arrays
    return step.inverse_transform


@_invert.register(type(None))
@_invert.register(str)
def _(step, Z):
    return Z, np.ones(len(Z), dtype=bool)


@_invert.register
def _(step: Pipeline, Z):
    inside = np.ones(len(Z), dtype=bool)
    for inner in reversed(flatten(step)):
        Z, possible = _invert(inner, Z)
        inside &= possible
    return Z, inside


@_invert.register
def _(step: ColumnTransformer, Z):
    columns: list = [None] * step.n_features_in_
    inside = np.ones(len(Z), dtype=bool)
    for _, inner, indices, outputs in column_blocks(step):
        block, possible = _invert(inner, Z[:, outputs])
        inside &= possible
        for j, column in zip(indices, block.T, strict=True):
            columns[j] = column
    return np.column_stack(columns), inside
