"""Components of independent columns: log-densities of rows under each."""

from dataclasses import dataclass, fields
from functools import cached_property, partial
from typing import Any

import numpy as np

from probgen.gaussians.em import EMEngine
from probgen.mixtures.families.base import Values
from probgen.mixtures.layout import Layout
from probgen.mixtures.rows import EncodedRows, Encoder
from probgen.tables.columns import log_fixed, split_codes

# Log-densities of a block of rows, few enough to stay in a cache.
BLOCK_NUMBERS = 2**18


@dataclass(frozen=True)
class MixtureComponents:
    """K components.

    Attributes
    ----------
    layout : Layout
    weights : ndarray of shape (K,)
    levels : list
        For each feature the probabilities (L, K) of its levels, or None if it is a value.
    params : list
        For each feature the parameters (P, K) of its family, or None if it is an outcome.
    """

    layout: Layout
    weights: np.ndarray
    levels: list
    params: list

    def __len__(self) -> int:
        return len(self.weights)

    @property
    def log_weights(self) -> np.ndarray:
        """Logarithms (K,) of the weights."""
        with np.errstate(divide="ignore"):
            return np.log(self.weights)

    @property
    def block_rows(self) -> int:
        """Rows of a block."""
        return int(np.clip(BLOCK_NUMBERS // len(self), 64, 4096))

    @property
    def n_free(self) -> int:
        """Number of free parameters."""
        n_free = 0
        for levels, family in zip(self.levels, self.layout.families):
            if family is None:
                n_free += len(levels) - 1
            else:
                n_free += family.n_free
        return len(self) * n_free + len(self) - 1

    @cached_property
    def log_levels(self) -> list:
        """Log-probabilities (L, K) of the levels of all outcomes, None for values."""
        with np.errstate(divide="ignore"):
            return [None if levels is None else np.log(levels) for levels in self.levels]

    @cached_property
    def log_z(self) -> list:
        """Log-probabilities (K,) of the supports of all values, None for outcomes."""
        log_z: list = []
        for family, params in zip(self.layout.families, self.params):
            log_z.append(None if family is None else family.log_z(params))
        return log_z

    def __getstate__(self) -> dict:
        return {each.name: vars(self)[each.name] for each in fields(self)}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state)
        _ = self.log_z, self.log_levels  # at once, so that a copy takes the same steps from here on


class EncodedDensity:
    """Components with all that is the same for every row of an encoder."""

    def __init__(self, components: MixtureComponents, encoder: Encoder) -> None:
        self.components = components
        self.encoder = encoder
        self.log_z = components.log_z
        parts = [np.empty((0, len(components)))]
        histograms = components.layout.histograms
        for j, family in enumerate(components.layout.families):
            if family is None:
                parts.append(components.log_levels[j])
            elif not encoder.sizes[j]:
                continue
            elif j in histograms:
                with np.errstate(divide="ignore"):
                    parts.append(np.log(components.params[j]))
            else:
                parts.append(self.log_prob(j, encoder.tables[j]))
        table = np.concatenate(parts)
        self.table = table if encoder.members is None else encoder.members @ table

    def log_prob(self, j: int, x: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, K) of values (n,) of feature j."""
        family: Values = self.components.layout.families[j]
        return family.log_prob(x, self.components.params[j], self.log_z[j])

    def log_joint(self, rows: EncodedRows, start: int, stop: int, indicators: Any) -> np.ndarray:
        """Log of weight times density (stop - start, K) of some rows."""
        if indicators is None:
            joint = np.zeros((stop - start, len(self.components)))
        else:
            joint = indicators @ self.table
        joint += self.components.log_weights
        if rows.log_within is not None:
            joint += rows.log_within[start:stop, None]
        for i, j in enumerate(self.encoder.numbers):
            _add_present(joint, rows.numbers[i, start:stop], partial(self.log_prob, j))
        return joint


def _add_present(joint, x, log_prob):
    """Add the log-probabilities of numbers (n,) to joint (n, K), but for missing ones."""
    is_missing = np.isnan(x)
    if not is_missing.any():
        joint += log_prob(x)
    elif not is_missing.all():
        present = np.flatnonzero(~is_missing)
        joint[present] += log_prob(x[present])


def log_joint(engine: EMEngine, components: MixtureComponents, X: np.ndarray) -> np.ndarray:
    """Log of weight times density (n, K) of rows of codes (n, d); NaN are marginalised.

    A row's result does not depend on the other rows.
    """
    layout = components.layout
    F = split_codes(layout.columns, X.astype(np.float64, copy=False))
    joint = np.empty((len(X), len(components)))
    encoder = Encoder(layout, [None] * len(layout.families))
    density = EncodedDensity(components, encoder)
    encoded = encoder.encode(F)
    terms = [_term(density, j, family, F[:, j]) for j, family in layout.values]
    n_rows = components.block_rows

    def score(_, starts):
        for start in starts:
            stop = min(start + n_rows, len(X))
            indicators = encoded.indicators(start, stop, len(density.table))
            block = indicators @ density.table
            block += components.log_weights
            for x, log_prob in terms:
                _add_present(block, x[start:stop], log_prob)
            joint[start:stop] = block

    n_workers = engine.threads if len(X) > n_rows else 1
    cost = joint.size * max(F.shape[1], 1)
    engine.in_threads(score, [None] * n_workers, range(0, len(X), n_rows), cost)
    joint += log_fixed(layout.columns, X)[:, None]
    return joint


def _term(density, j, family, x):
    """Numbers (n,) of a feature, or their places in a table, and the log-probabilities of such."""
    if not family.step:
        return x, partial(density.log_prob, j)
    # Whole numbers repeat, and cost more each.
    is_there = ~np.isnan(x)
    values, inverse = np.unique(x[is_there], return_inverse=True)
    places = np.full(len(x), np.nan)
    places[is_there] = inverse
    if len(values) * 2 > len(x):
        return x, partial(density.log_prob, j)
    table = density.log_prob(j, values)
    return places, lambda part: table[part.astype(np.intp)]
