"""Rows of mixed columns: a distribution of its own for each outcome and each number. In nats.

Numbers have mixtures of logistics, whose distribution function is precise in the tails in single
precision: whole numbers take the mass of their cell, and what a number cannot be (below an end of
its support, or an atom, which is an outcome) is cut out of the mixture.
"""

import math
from typing import Any, ClassVar

import numpy as np
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.nn import functional

from probgen.distributions.observation import (
    LOGISTIC_FLOOR,
    NOISE_FLOOR,
    ObservationModel,
)
from probgen.distributions.quantiles import LEAST, MOST, choose_level, level_quantile
from probgen.tables.coder import RowCoder
from probgen.tables.columns import Column, Feature, measure_of

FAR = 1e9  # deviations that stand for infinity


class MixedObservation(ObservationModel):
    """Features of mixed columns, as `RowCoder` encodes them.

    Outputs are the logits of all outcomes, to which the logarithms of their shares are added, and
    then for each value the logits of the weights, the locations and the pre-softplus scales of a
    mixture of logistics. A value is in standard deviations around its mean.

    Parameters
    ----------
    coder : RowCoder
    n_mixture : int
        Logistics for each value.

    Attributes
    ----------
    input_columns, output_columns : int64 Tensor
        For each number of `encode`, and for each output, the column that it belongs to.
    outcome_places, value_places : dict of int to int
        From a feature to its place among the outcomes, and among the values.
    """

    name = "mixed"
    has_fixed_unit = False
    input_columns: Tensor
    output_columns: Tensor
    offsets: Tensor
    starts: Tensor
    segments: Tensor
    membership: Tensor
    outcomes: Tensor
    values: Tensor
    places: Tensor
    level_numbers: Tensor
    half_cell: Tensor
    is_whole: Tensor
    log_unit: Tensor
    floor: Tensor
    low: Tensor
    high: Tensor
    outcome_of_value: Tensor
    rest: Tensor

    def __init__(self, coder: RowCoder, n_mixture: int) -> None:
        super().__init__()
        self.coder = coder
        self.measure = measure_of(coder.columns)
        self.n_mixture = n_mixture
        features = coder.features
        self.n_features = len(features)
        outcomes = [k for k, feature in enumerate(features) if feature.n_levels]
        values = [k for k, feature in enumerate(features) if not feature.n_levels]
        self.outcome_places = {k: place for place, k in enumerate(outcomes)}
        self.value_places = {k: place for place, k in enumerate(values)}
        self.sizes = [features[k].n_levels for k in outcomes]
        self.n_logits = sum(self.sizes)
        self.n_outputs = self.n_logits + 3 * n_mixture * len(values)
        columns = np.array([feature.column for feature in features])
        of_logits = np.repeat(columns[outcomes], self.sizes)
        of_inputs = np.concatenate([of_logits, np.tile(columns[values], 2)])
        of_outputs = np.concatenate([of_logits, np.repeat(columns[values], 3 * n_mixture)])
        self.register_buffer("input_columns", torch.as_tensor(of_inputs))
        self.register_buffer("output_columns", torch.as_tensor(of_outputs))
        # The largest number of arrays that a feature needs in a query.
        self.n_outputs_per_feature = max([3 * n_mixture, *self.sizes])
        self._add_outcomes(outcomes)
        self._add_values(values, features)
        self.register_buffer("places", torch.as_tensor(np.argsort([*outcomes, *values])))

    def _add_outcomes(self, outcomes: list[int]) -> None:
        """Buffers of the outcomes, whose logits are adjacent."""
        sizes = np.array(self.sizes, dtype=int)
        starts = np.cumsum(sizes) - sizes
        segments = np.repeat(np.arange(len(sizes)), sizes)
        offsets = np.zeros(self.n_outputs)
        if len(sizes):
            offsets[: self.n_logits] = np.concatenate(self.coder.log_shares)
        spread = (np.arange(self.n_mixture) + 0.5) / self.n_mixture
        by_value = offsets[self.n_logits :].reshape(-1, 3, self.n_mixture)
        by_value[:, 1] = np.log(spread / (1.0 - spread)) * math.sqrt(3.0) / math.pi
        by_value[:, 2] = math.log(math.expm1(math.sqrt(3.0) / math.pi))
        self.register_buffer("offsets", torch.as_tensor(offsets))
        self.register_buffer("outcomes", torch.as_tensor(outcomes, dtype=torch.int64))
        self.register_buffer("starts", torch.as_tensor(starts))
        self.register_buffer("segments", torch.as_tensor(segments))
        self.register_buffer(
            "level_numbers", torch.as_tensor(np.arange(len(segments)) - starts[segments]).double()
        )
        self.register_buffer(
            "membership", functional.one_hot(self.segments, max(len(sizes), 1)).double()
        )

    def _add_values(self, values: list[int], features: list[Feature]) -> None:
        """Buffers of the values."""
        scale = self.coder.scale[values]
        step = np.array([features[k].step for k in values])
        half = 0.5 * step / scale
        ends = [
            free_intervals(features[k], self.coder.center[k], self.coder.scale[k]) for k in values
        ]
        self.free_low, self.free_high = _stacked(ends)
        self.is_free = bool((self.free_low == -FAR).all() and (self.free_high == FAR).all())
        n_positions = self.n_features
        # Values without an outcome look at a column of zeros behind the features.
        of_value = [
            n_positions if features[k].outcome is None else features[k].outcome for k in values
        ]
        rest = [0.0 if features[k].outcome is None else float(features[k].rest) for k in values]
        self.register_buffer("values", torch.as_tensor(values, dtype=torch.int64))
        self.register_buffer("is_whole", torch.as_tensor(step > 0.0))
        self.register_buffer("half_cell", torch.as_tensor(half))
        self.register_buffer("floor", torch.as_tensor(NOISE_FLOOR + LOGISTIC_FLOOR * half))
        self.register_buffer("log_unit", torch.as_tensor(np.log(scale)))
        self.register_buffer("low", torch.as_tensor(self.free_low))
        self.register_buffer("high", torch.as_tensor(self.free_high))
        self.register_buffer("outcome_of_value", torch.as_tensor(of_value, dtype=torch.int64))
        self.register_buffer("rest", torch.as_tensor(rest, dtype=torch.float64))

    def n_outputs_of(self, n_features: int) -> int:
        """See ObservationModel."""
        return self.n_outputs

    def features_of_column(self, j: int) -> list[int]:
        """Indices of the features of column j."""
        return [k for k, feature in enumerate(self.coder.features) if feature.column == j]

    def places_of_column(self, j: int) -> tuple[int | None, int | None]:
        """Places of column j among the outcomes and among the values, None where it has none."""
        outcome = value = None
        for k in self.features_of_column(j):
            outcome = self.outcome_places.get(k, outcome)
            value = self.value_places.get(k, value)
        return outcome, value

    def encode(self, rows: Tensor) -> Tensor:
        """Return what networks see of rows (..., m): one-hot levels, numbers, and their presence.

        Missing and absent values are zeros.
        """
        parts = []
        if len(self.sizes):
            levels = rows.index_select(-1, self.outcomes).index_select(-1, self.segments)
            parts.append((levels == self.level_numbers).to(rows.dtype))
        if len(self.values):
            numbers, is_present = self.numbers(rows)
            parts += [numbers, is_present.to(rows.dtype)]
        return torch.cat(parts, -1)

    def numbers(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Values (..., n_values) of rows (..., m), 0 where there is none, and whether there is."""
        numbers = rows.index_select(-1, self.values)
        padded = functional.pad(rows, (0, 1))
        is_present = padded.index_select(-1, self.outcome_of_value) == self.rest
        is_present = is_present & ~numbers.isnan()
        return torch.where(is_present, numbers, 0.0), is_present

    def codes_of_moments(self, moments: np.ndarray, *, with_gaps: bool) -> np.ndarray:
        """Return codes of averaged moments: the likeliest categories, and means of numbers.

        Parameters
        ----------
        moments : ndarray of shape (n, n_logits + n_values)
            As of `MixedDistribution`.
        with_gaps : bool
            Whether a column whose gap is likelier than all else is NaN.

        Returns
        -------
        X : ndarray of shape (n, d)
            Whole where codes are.
        """
        columns = self.coder.columns
        X = np.empty((len(moments), len(columns)))
        ends = np.cumsum(self.sizes)
        for j, column in enumerate(columns):
            outcome, value = self.places_of_column(j)
            shares = np.ones((len(moments), 1))
            if outcome is not None:
                shares = moments[:, ends[outcome] - self.sizes[outcome] : ends[outcome]]
            rest = np.full(len(moments), column.center)
            if value is not None:
                k = int(self.values[value])
                share = 1.0 if outcome is None else shares[:, column.rest_outcome]
                number = moments[:, self.n_logits + value] / np.maximum(share, LEAST)
                rest = self.coder.center[k] + self.coder.scale[k] * number
            X[:, j] = column_means(column, shares, rest)
            if column.has_gaps and with_gaps:
                X[shares[:, column.gap_outcome] > 0.5, j] = np.nan
        return X

    def distribution(self, outputs: Tensor) -> Any:
        """See ObservationModel."""
        return MixedDistribution(outputs + self.offsets.to(outputs.dtype), self)


class MixedDistribution(TorchDistribution):
    """Distribution of the features of mixed columns.

    Parameters
    ----------
    outputs : Tensor of shape (..., n_outputs)
        Logits, and the parameters of mixtures.
    observation : MixedObservation
    """

    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}
    support = constraints.real

    def __init__(self, outputs: Tensor, observation: MixedObservation) -> None:
        self.outputs = outputs
        self.observation = observation
        shape = (*outputs.shape[:-1], observation.n_features)
        super().__init__(torch.Size(shape), validate_args=False)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """Return the distribution expanded to a batch shape (..., m)."""
        outputs = self.outputs.expand(*batch_shape[:-1], -1)
        return type(self)(outputs, self.observation)

    @property
    def mixtures(self) -> tuple[Tensor, Tensor, Tensor]:
        """Log-weights, locations and scales (..., n_values, n_mixture)."""
        observation = self.observation
        outputs = self.outputs[..., observation.n_logits :]
        shape = (len(observation.values), 3, observation.n_mixture)
        logits, locations, scales = outputs.unflatten(-1, shape).unbind(-2)
        scales = functional.softplus(scales) + observation.floor.to(scales.dtype)[:, None]
        return functional.log_softmax(logits, -1), locations, scales

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log-probabilities or densities (..., m) of features; 0 where one is missing."""
        shape = torch.broadcast_shapes(value.shape[:-1], self.outputs.shape[:-1])
        value = value.expand(*shape, -1)
        observation = self.observation
        parts = []
        if len(observation.sizes):
            parts.append(self._log_prob_of_outcomes(value))
        if len(observation.values):
            parts.append(self._log_prob_of_values(value))
        return torch.cat(parts, -1).index_select(-1, observation.places)

    def _log_prob_of_outcomes(self, value: Tensor) -> Tensor:
        observation = self.observation
        logits = self.outputs[..., : observation.n_logits]
        levels = value.index_select(-1, observation.outcomes)
        is_missing = levels.isnan()
        index = torch.where(is_missing, 0.0, levels).long() + observation.starts
        chosen = logits.expand(*value.shape[:-1], -1).gather(-1, index)
        # Sums over the levels of each outcome are a product with a matrix of 0 and 1.
        with torch.no_grad():
            parts = logits.split(observation.sizes, -1)
            highest = torch.stack([part.amax(-1) for part in parts], -1)
            shift = highest.index_select(-1, observation.segments)
        sums = torch.exp(logits - shift) @ observation.membership.to(logits.dtype)
        return torch.where(is_missing, 0.0, chosen - highest - torch.log(sums))

    def _log_prob_of_values(self, value: Tensor) -> Tensor:
        observation = self.observation
        numbers, is_present = observation.numbers(value)
        log_weights, locations, scales = self.mixtures
        z = (numbers[..., None] - locations) / scales
        half = torch.where(observation.is_whole, observation.half_cell, 1.0).to(z.dtype)[:, None]
        radius = half / scales
        cut = torch.where(observation.is_whole[:, None], radius, 0.0)
        log_cells = torch.log(-torch.expm1(-2.0 * radius))
        log_units = -torch.log(scales) - observation.log_unit.to(z.dtype)[:, None]
        log_density = functional.logsigmoid(z + cut) + functional.logsigmoid(cut - z)
        log_density = log_density + torch.where(observation.is_whole[:, None], log_cells, log_units)
        total = torch.logsumexp(log_weights + log_density, -1)
        if not observation.is_free:
            total = total - self._log_free(log_weights, locations, scales)
        return torch.where(is_present, total, 0.0)

    def _log_free(
        self, log_weights: Tensor, locations: Tensor, scales: Tensor, v: Any = slice(None)
    ) -> Tensor:
        """Log-probabilities (..., n_values) of what values can be, or those of the value v."""
        low = self.observation.low[v].to(scales.dtype)[..., None, :]
        high = self.observation.high[v].to(scales.dtype)[..., None, :]
        masses = log_interval_mass(
            (low - locations[..., None]) / scales[..., None],
            (high - locations[..., None]) / scales[..., None],
        )
        return torch.logsumexp(log_weights[..., None] + masses, (-2, -1))

    def log_levels(self, o: int) -> Tensor:
        """Log-probabilities (..., n_levels) of the levels of outcome o, in double precision."""
        observation = self.observation
        start = sum(observation.sizes[:o])
        logits = self.outputs[..., start : start + observation.sizes[o]].double()
        return functional.log_softmax(logits, -1)

    def log_masses_between(self, v: int, low: Tensor, high: Tensor) -> Tensor:
        """Log-probabilities (..., n_mixture, n_intervals) that the value v is in intervals.

        These are intervals (..., n_intervals) of what it can be; all of those together have the
        probability 1.
        """
        log_weights, locations, scales = self._mixture(v)
        masses = log_interval_mass(
            (low[..., None, :] - locations[..., None]) / scales[..., None],
            (high[..., None, :] - locations[..., None]) / scales[..., None],
        )
        log_masses = log_weights[..., None] + masses
        if self.observation.is_free:
            return log_masses
        free = self._log_free(log_weights, locations, scales, v)
        return log_masses - free[..., None, None]

    def draw_between(self, v: int, low: Tensor, high: Tensor, uniforms: Tensor) -> Tensor:
        """Draws (...) of the value v within intervals (..., n_intervals), by inversion."""
        log_masses = self.log_masses_between(v, low, high).nan_to_num(nan=-torch.inf)
        highest = log_masses.amax((-2, -1), keepdim=True)
        weights = torch.exp(log_masses - torch.where(highest.isinf(), 0.0, highest))
        cell, left = choose_level(weights.flatten(-2), uniforms)
        component = (cell // low.shape[-1])[..., None]
        interval = (cell % low.shape[-1])[..., None]
        low = low.expand(*cell.shape, -1).gather(-1, interval)[..., 0]
        high = high.expand(*cell.shape, -1).gather(-1, interval)[..., 0]
        _, locations, scales = self._mixture(v)
        location = locations.gather(-1, component)[..., 0]
        scale = scales.gather(-1, component)[..., 0]
        z = draw_logistic((low - location) / scale, (high - location) / scale, left)
        return self._on_grid(v, location + scale * z, low, high)

    def _mixture(self, v: int) -> tuple[Tensor, Tensor, Tensor]:
        """Double log-weights, locations and scales (..., n_mixture) of the value v."""
        n_numbers = 3 * self.observation.n_mixture
        start = self.observation.n_logits + v * n_numbers
        outputs = self.outputs[..., start : start + n_numbers].double()
        logits, locations, scales = outputs.chunk(3, -1)
        scales = functional.softplus(scales) + self.observation.floor[v].double()
        return functional.log_softmax(logits, -1), locations, scales

    def _on_grid(self, v: int, drawn: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Draws (...) clipped to intervals, and for whole values moved to the next whole one."""
        coder = self.observation.coder
        k = int(self.observation.values[v])
        if not coder.features[k].step:
            return torch.minimum(torch.maximum(drawn, low), high)
        center, scale = float(coder.center[k]), float(coder.scale[k])
        whole = torch.round(center + scale * drawn)
        least = torch.round(center + scale * low + 0.5)
        most = torch.round(center + scale * high - 0.5)
        return (torch.minimum(torch.maximum(whole, least), most) - center) / scale

    def draw(self, uniforms: Tensor) -> Tensor:
        """Return double features (..., m) by inversion of uniform numbers (..., m)."""
        rows = torch.zeros(uniforms.shape, dtype=torch.float64, device=uniforms.device)
        for k in range(self.observation.n_features):
            rows[..., k] = self.draw_feature(k, uniforms[..., k])
        self.drop_absent(rows)
        return rows

    def draw_feature(self, k: int, uniforms: Tensor) -> Tensor:
        """Return double draws (...) of feature k, of values as if they were there."""
        observation = self.observation
        if k in observation.outcome_places:
            log_levels = self.log_levels(observation.outcome_places[k])
            allowed = torch.ones((), dtype=torch.bool, device=uniforms.device)
            return level_quantile(log_levels, allowed, uniforms)
        v = observation.value_places[k]
        low = torch.as_tensor(observation.free_low[v], device=uniforms.device)
        high = torch.as_tensor(observation.free_high[v], device=uniforms.device)
        return self.draw_between(v, low, high, uniforms)

    def drop_absent(self, rows: Tensor) -> None:
        """Set values of rows (..., m) to 0, in place, whose outcome is not the rest."""
        numbers, _ = self.observation.numbers(rows)
        rows[..., self.observation.values] = numbers

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Return draws of shape (*sample_shape, *batch_shape)."""
        with torch.no_grad():
            shape = torch.Size([*sample_shape, *self.batch_shape])
            uniforms = torch.rand(shape, dtype=torch.float64, device=self.outputs.device)
            expanded = self.expand(shape)
            return expanded.draw(uniforms).to(self.outputs.dtype)

    @property
    def mean(self) -> Tensor:
        """The likeliest level of each outcome, and the mean of each value that is then there."""
        observation = self.observation
        rows = torch.zeros(self.batch_shape, dtype=torch.float64, device=self.outputs.device)
        if len(observation.sizes):
            parts = self.outputs[..., : observation.n_logits].split(observation.sizes, -1)
            levels = torch.stack([part.argmax(-1) for part in parts], -1)
            rows[..., observation.outcomes] = levels.double()
        for v, k in enumerate(observation.value_places):
            rows[..., k] = self.mean_of_value(v)
        self.drop_absent(rows)
        return rows.to(self.outputs.dtype)

    @property
    def moments(self) -> Tensor:
        """Probabilities of all levels, and means of all values times the probability of each.

        Of shape (..., n_logits + n_values), in double precision: what may be averaged over
        distributions.
        """
        observation = self.observation
        levels = [self.log_levels(o).exp() for o in range(len(observation.sizes))]
        parts = list(levels)
        for v, k in enumerate(observation.value_places):
            feature = observation.coder.features[k]
            mean = self.mean_of_value(v)
            if feature.outcome is not None:
                place = observation.outcome_places[feature.outcome]
                mean = mean * levels[place][..., feature.rest]
            parts.append(mean[..., None])
        return torch.cat(parts, -1)

    def mean_of_value(self, v: int) -> Tensor:
        """Mean (...) of the value v, in double precision, as if it were there."""
        log_weights, locations, scales = (part[..., None] for part in self._mixture(v))
        low = torch.as_tensor(self.observation.free_low[v], device=scales.device)
        high = torch.as_tensor(self.observation.free_high[v], device=scales.device)
        left, right = (low - locations) / scales, (high - locations) / scales
        log_masses = log_weights + log_interval_mass(left, right)
        weights = log_masses.flatten(-2).softmax(-1).unflatten(-1, log_masses.shape[-2:])
        # The integral of u times the density is u sigmoid(u) - softplus(u), an even function.
        shift = (_integral(right) - _integral(left)) / log_interval_mass(left, right).exp()
        offsets = locations + scales * shift.nan_to_num(0.0, 0.0, 0.0)
        means = torch.minimum(torch.maximum(offsets, low), high)
        return (weights * means).sum((-2, -1))


def _integral(u: Tensor) -> Tensor:
    size = u.abs()
    return -(size * torch.sigmoid(-size) + torch.log1p(torch.exp(-size)))


def column_means(column: Column, shares: np.ndarray, rest: np.ndarray) -> np.ndarray:
    """Return the likeliest categories, or the means of numbers, gaps apart.

    Parameters
    ----------
    column : Column
    shares : ndarray of shape (n, n_outcomes)
        Probabilities of the outcomes.
    rest : ndarray of shape (n,)
        Means of the numbers of the rest.

    Returns
    -------
    codes : ndarray of shape (n,)
    """
    if column.levels:
        return shares[:, : column.n_known].argmax(axis=1).astype(np.float64)
    total = shares[:, : column.n_known] @ np.array(column.atoms)
    weight = shares[:, : column.n_known].sum(axis=1)
    if column.rest != "none":
        total = total + shares[:, column.rest_outcome] * rest
        weight = weight + shares[:, column.rest_outcome]
    means = total / np.maximum(weight, LEAST)
    if column.step:
        means = np.rint(means)
    return np.clip(means, column.low, column.high)


def free_intervals(feature: Any, center: float, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the intervals of what a value can be: its support without its atoms.

    Parameters
    ----------
    feature : Feature or Column
    center, scale : float
        What stands for 0 and 1.

    Returns
    -------
    low, high : ndarray of shape (n_intervals,)
        In these units. Those of whole numbers end half a cell beyond them.
    """
    low, high = np.array([feature.low]), np.array([feature.high])
    if feature.step:
        atoms = np.array(feature.atoms)
        atoms = atoms[(atoms >= feature.low) & (atoms <= feature.high)]
        low = np.concatenate([low, atoms + 1.0]) - 0.5
        high = np.concatenate([atoms - 1.0, high]) + 0.5
        is_free = low < high
        low, high = low[is_free], high[is_free]
    return standardised(low, center, scale), standardised(high, center, scale)


def standardised(ends: np.ndarray, center: float, scale: float) -> np.ndarray:
    """Return ends of intervals in units of a value, where FAR stands for infinity."""
    return np.clip((ends - center) / scale, -FAR, FAR)


def _stacked(ends: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Intervals as arrays (n_values, n_intervals), filled up by intervals without mass."""
    n_intervals = max([len(low) for low, _ in ends], default=1)
    all_low = np.full((len(ends), n_intervals), 2.0 * FAR)
    all_high = np.full((len(ends), n_intervals), 3.0 * FAR)
    for v, (low, high) in enumerate(ends):
        all_low[v, : len(low)] = low
        all_high[v, : len(high)] = high
    return all_low, all_high


def log_interval_mass(low: Tensor, high: Tensor) -> Tensor:
    """Return the log-probabilities of intervals under the standard logistic distribution.

    Parameters
    ----------
    low, high : Tensor of shape (...)
        Finite ends; an interval of no width has the probability 0.

    Returns
    -------
    log_mass : Tensor of shape (...)

    Examples
    --------
    >>> log_interval_mass(torch.tensor(0.0), torch.tensor(1e9)).exp()
    tensor(0.5000)
    """
    width = -torch.expm1(low - high)
    return functional.logsigmoid(high) + functional.logsigmoid(-low) + torch.log(width)


def draw_logistic(low: Tensor, high: Tensor, uniforms: Tensor) -> Tensor:
    """Return values of the standard logistic distribution within intervals, by inversion.

    Parameters
    ----------
    low, high : double Tensor of shape (...)
    uniforms : double Tensor of shape (...)
        In [0, 1).

    Returns
    -------
    values : double Tensor of shape (...)
    """
    # Mirrored to where the distribution function is small, and so precise.
    is_mirrored = low + high > 0.0
    left = torch.where(is_mirrored, -high, low)
    right = torch.where(is_mirrored, -low, high)
    level = torch.where(is_mirrored, 1.0 - uniforms, uniforms).clamp(LEAST, MOST)
    log_level = torch.logaddexp(
        functional.logsigmoid(left) + torch.log1p(-level),
        functional.logsigmoid(right) + torch.log(level),
    ).clamp_max(-LEAST)
    z = log_level - torch.log(-torch.expm1(log_level))
    return torch.where(is_mirrored, -z, z).clamp(low, high)
