"""Conditions of `given` on the input columns of a pipeline, passed through its steps."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from probgen.conditions.given import Conditions, parse_given
from probgen.conditions.table_given import parse_table_given
from probgen.preprocessing.jacobians import column_blocks, log_abs_det_jacobian
from probgen.preprocessing.steps import (
    has_box,
    is_increasing,
    is_transformer,
    table_of,
    without_names,
)


class StepConditions:
    """Conditions of `given`, in the units of the input columns and in those of the last step.

    Parameters
    ----------
    given : dict or array-like
    n_samples, n_features : int
    feature_names : sequence of str or None
    steps : list of transformers
        Fitted; each maps every column separately and increases, or has a method `box(conditions)`,
        as a TableEncoder does.
    """

    def __init__(
        self,
        given: Any,
        *,
        n_samples: int,
        n_features: int,
        feature_names: Sequence | np.ndarray | None,
        steps: list,
    ) -> None:
        for step in steps:
            if not is_increasing(step):
                raise ValueError(
                    "given passes only through steps that map every column separately and increase,"
                    f" such as scalers; {type(step).__name__} is not one of them: leave it out, or"
                    " leave out given."
                )
        table = None
        if steps:
            table = table_of(steps[0])
        if table is not None:
            conditions = parse_table_given(table, given, n_samples)
        else:
            conditions = parse_given(
                given, n_samples=n_samples, n_features=n_features, feature_names=feature_names
            )
        if conditions.categories and steps and table is None:
            raise ValueError(
                "given asks for categories, which the steps would rescale; give a value or an"
                " interval."
            )
        self.conditions = conditions
        self.has_table = table is not None
        box = conditions.values, conditions.low, conditions.high
        if self.has_table:
            box = _box(steps[0], conditions)
            steps = steps[1:]
        self.values, self.low, self.high = _through([without_names(step) for step in steps], *box)
        if np.any(~(self.low < self.high)):
            raise ValueError(
                "given has an interval without probability: the steps map both of its ends to one"
                " point."
            )

    def for_model(self, rows: np.ndarray) -> dict[int, Any] | None:
        """The `given` of the last step for some rows, as a dict by index."""
        given: dict[int, Any] = {}
        if not self.has_table:
            for j, categories in self.conditions.categories.items():
                given[j] = set(categories)
        for j in range(self.values.shape[1]):
            values = self.values[rows, j]
            low = self.low[rows, j]
            high = self.high[rows, j]
            if not np.isnan(values).all():
                given[j] = values
            elif np.isfinite(low).any() or np.isfinite(high).any():
                given[j] = low, high
        return given or None

    def hold(self, X: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Mask (n,) of draws X that meet the conditions on some rows.

        Only a table can miss them: the box of a set of categories holds those in between too.
        """
        if not self.has_table:
            return np.ones(len(X), dtype=bool)
        return self.conditions.take(rows).hold(X)

    def restore(self, X: np.ndarray) -> np.ndarray:
        """X with the exact given values, and clipped to the intervals, which inverses round."""
        X = np.clip(X, self.conditions.low, self.conditions.high).astype(X.dtype, copy=False)
        known = ~np.isnan(self.conditions.values)
        X[known] = self.conditions.values[known]
        return X


def _box(step: Any, conditions: Conditions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Values, low and high ends (n, m) of the outputs of a step to the columns of a table."""
    if has_box(step):
        return step.box(conditions)
    parts: list = []
    for _, inner, indices, outputs in column_blocks(step):
        chosen = conditions.columns(indices)
        if not is_transformer(inner) or not has_box(inner):
            parts.append((outputs, _through([without_names(inner)], *chosen.box)))
        else:
            parts.append((outputs, inner.box(chosen)))
    width = max(outputs.stop for outputs, _ in parts)
    values, low, high = (np.empty((len(conditions.values), width)) for _ in range(3))
    box = values, low, high
    for outputs, part in parts:
        for whole, block in zip(box, part, strict=True):
            whole[:, outputs] = block
    return box


def _through(
    steps: list, values: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A box of conditions (n, d) in the units of the outputs of increasing steps."""
    steps = [step for step in steps if is_transformer(step)]
    return (
        _transform_values(steps, values),
        _transform_ends(steps, low, -np.inf),
        _transform_ends(steps, high, np.inf),
    )


def _transform_values(steps: list, Z: np.ndarray) -> np.ndarray:
    for step in steps:
        if np.isneginf(log_abs_det_jacobian(step, Z)).any():
            raise ValueError(
                f"given has a value outside the range that {type(step).__name__} saw in fit."
            )
        Z = np.asarray(step.transform(Z))
    return Z


def _transform_ends(steps: list, ends: np.ndarray, open_end: float) -> np.ndarray:
    """Ends of intervals in the units of the last step. Open ends pass as NaN."""
    Z = np.where(np.isfinite(ends), ends, np.nan)
    for step in steps:
        with np.errstate(all="ignore"):
            Z = np.asarray(step.transform(np.where(np.isfinite(Z), Z, np.nan)))
    return np.where(np.isnan(Z), open_end, Z)
