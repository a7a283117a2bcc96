"""Draws of rows of mixed columns from a masked network, and their means."""

import copy
from collections.abc import Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from probgen.estimators.autoregressive.conditioning import propose, warn_of_small_samples
from probgen.estimators.autoregressive.masked_sampler import MaskedSampler
from probgen.estimators.autoregressive.sampler import block_size, padded_blocks
from probgen.tables.columns import Column


class MixedFeatureSampler:
    """Features of rows of mixed columns, from uniform numbers and under conditions.

    Parameters
    ----------
    observation : MixedObservation
    uniforms : double Tensor of shape (n, m)
        In [0, 1).
    conditions : MixedConditions, default=None
        Conditions on rows; None is no condition.
    rows : int64 ndarray of shape (n,), default=None
        The row of the conditions that each row of the uniforms keeps; None takes them in order.
    """

    def __init__(
        self,
        observation: Any,
        uniforms: Tensor,
        conditions: Any = None,
        rows: np.ndarray | None = None,
    ) -> None:
        self.observation = observation
        self.uniforms = uniforms
        self.conditions = conditions
        if conditions is None:
            return
        if rows is not None:
            self.conditions = conditions.take(rows)
        self.known = torch.as_tensor(self.conditions.values, device=uniforms.device)

    def __len__(self) -> int:
        return len(self.uniforms)

    def take(self, index: Tensor) -> Self:
        """Return the sampler of some rows, an int64 Tensor."""
        part = copy.copy(self)
        part.uniforms = self.uniforms[index]
        if self.conditions is not None:
            part.conditions = self.conditions.take(index.cpu().numpy())
            part.known = self.known[index]
        return part

    def known_values(self) -> Tensor:
        """Return rows (n, m) of the known features, with 0 for others."""
        return self.known.nan_to_num()

    def fill_column(self, j: int, X: Tensor, outputs: Tensor) -> None:
        """Replace the features of column j in rows X (n, m), in place, by draws or known values.

        Parameters
        ----------
        j : int
        X : Tensor of shape (n, m)
        outputs : Tensor of shape (n, n_outputs)
            Outputs of the network for X.
        """
        features = self.observation.features_of_column(j)
        if not features:
            return
        distribution = self.observation.distribution(outputs)
        rows = X.double()
        if self.conditions is not None and j in self.conditions.limits:
            self.conditions.bound_column(j, rows, distribution, self.uniforms)
        else:
            for k in features:
                rows[:, k] = distribution.draw_feature(k, self.uniforms[:, k])
        distribution.drop_absent(rows)
        if self.conditions is not None:
            rows = torch.where(self.known.isnan(), rows, self.known)
        X[:, features] = rows[:, features].to(X.dtype)

    def log_weights(self, outputs: Tensor, X: Tensor) -> Tensor:
        """Return the log-probability (n,) of the conditions, each column given those before it.

        Parameters
        ----------
        outputs : Tensor of shape (n, n_outputs)
            Outputs of the network for X.
        X : Tensor of shape (n, m)
            Rows that keep the conditions.
        """
        distribution = self.observation.distribution(outputs.double())
        log_prob = distribution.log_prob(X.double())
        total = torch.where(self.known.isnan(), 0.0, log_prob).sum(1)
        if self.conditions.limits:
            total = total + self.conditions.log_column_masses(distribution).sum(1)
        return total


class MixedSampler(MaskedSampler):
    """Draws rows of mixed columns from a MaskedMLP, whose orders are those of the columns."""

    @property
    def n_features(self) -> int:
        """Number of features, of which a column may have two."""
        return self.observation.n_features

    def make_feature_sampler(
        self, uniforms: np.ndarray, conditions: Any = None, rows: np.ndarray | None = None
    ) -> Any:
        """See ChainSampler."""
        tensor = torch.as_tensor(np.ascontiguousarray(uniforms), device=self.device)
        return MixedFeatureSampler(self.observation, tensor, conditions, rows)

    @torch.inference_mode()
    def draw(self, feature_sampler: Any, order: Any, labels: Sequence[Tensor] = ()) -> Tensor:
        """See ChainSampler; one column is drawn after another, as their features differ."""
        conditionals = self.conditionals(order)
        columns = order
        if not isinstance(order, np.ndarray):
            columns = self.orders[order]
        n = len(feature_sampler)
        X = self.to_tensor(np.zeros((n, self.n_features)))
        for index, n_rows in padded_blocks(torch.arange(n, device=self.device), block_size(n)):
            block = feature_sampler.take(index)
            rows = X[index]
            for j in columns:
                block.fill_column(int(j), rows, conditionals(rows))
            X[index[:n_rows]] = rows[:n_rows]
        return X

    def mean_codes(self, conditions: Any, n_proposals: int | None, argument: str) -> np.ndarray:
        """Return rows of codes (n, d): the likeliest categories, and the means of numbers.

        Parameters
        ----------
        conditions : MixedConditions
            On n rows.
        n_proposals, argument
            As of `complete`.
        """
        means = np.array(conditions.codes)
        sample_sizes = np.full(len(means), np.inf)
        generator = np.random.default_rng(0)
        for indices, rows, weights, sizes in self._weighted(conditions, n_proposals, argument):
            sample_sizes[indices] = sizes
            part = conditions.take(indices)
            draws = np.stack([part.codes_of(draw, generator) for draw in rows])
            for j, column in enumerate(self.observation.coder.columns):
                means[indices, j] = mean_code(column, draws[..., j], weights)
        warn_of_small_samples(sample_sizes, argument)
        return np.where(np.isnan(conditions.codes), means, conditions.codes)

    def _weighted(self, conditions: Any, n_proposals: int | None, argument: str) -> Iterator[tuple]:
        """Indices (k,) of rows, draws (s, k, m), normalised weights (s, k) and effective sizes."""
        blocks = propose(
            self,
            conditions,
            None,
            argument=argument,
            n_proposals=n_proposals,
            always_many=True,
        )
        for indices, rows, log_weights, is_exact in blocks:
            weights = np.exp(log_weights - log_weights.max(axis=0))
            weights /= weights.sum(axis=0)
            sizes = np.full(len(indices), np.inf)
            if not is_exact:
                sizes = 1.0 / np.square(weights).sum(axis=0)
            yield indices, rows, weights, sizes


def mean_code(column: Column, codes: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the likeliest categories, or the means of numbers, of weighted codes.

    Parameters
    ----------
    column : Column
    codes, weights : ndarray of shape (n_draws, n)
        Weights add up to 1. Gaps among the numbers are left out.

    Returns
    -------
    means : ndarray of shape (n,)
        Whole where the codes are.
    """
    if column.levels:
        levels = np.arange(len(column.levels))[:, None, None]
        shares = np.where(codes == levels, weights, 0.0).sum(axis=1)
        return shares.argmax(axis=0).astype(np.float64)
    is_seen = ~np.isnan(codes)
    weights = np.where(is_seen, weights, 0.0)
    total = weights.sum(axis=0)
    means = (weights * np.where(is_seen, codes, 0.0)).sum(axis=0) / np.where(total, total, 1.0)
    if column.step:
        means = np.rint(means)
    return means
