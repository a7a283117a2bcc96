"""Draws from a chain of conditionals: each feature given those before it in an order."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from probgen.estimators.autoregressive.feature_sampler import FeatureSampler
from probgen.training.neural_generator import QUERY_ROWS

WORK_BYTES = 2**27  # of the outputs for rows that are drawn at a time
DRAWN_ROWS = 4096  # rows of a block where there are so many, else QUERY_ROWS


class ChainSampler:
    """Draws rows from a network of conditionals.

    A subclass may have other conditionals, orders or ways to draw.

    Parameters
    ----------
    network : callable
        From rows (n, d), and labels (n, ...), to outputs (n, d * n_outputs_per_feature); those of a
        feature depend on the features before it alone.
    observation : ObservationModel
    orders : ndarray of shape (n_orders, d)
        The features in the order in which they are drawn; rows take each order equally often.
    dtype : dtype
        float32 or float64, the precision of the network.
    device : str
        The device of the network.
    """

    def __init__(
        self, network: Any, observation: Any, orders: np.ndarray, *, dtype: Any, device: str
    ) -> None:
        self.network = network
        self.observation = observation
        self.orders = orders
        self.dtype = np.dtype(dtype)
        self.device = device

    @property
    def n_features(self) -> int:
        """Number of features."""
        return self.orders.shape[1]

    @property
    def rows_at_once(self) -> int:
        """Rows whose outputs fit in WORK_BYTES."""
        per_feature = max(self.observation.n_outputs_per_feature, self.observation.n_levels or 1)
        return max(QUERY_ROWS, WORK_BYTES // (8 * self.n_features * per_feature))

    def conditionals(self, order: Any) -> Any:
        """Return the function from rows and labels to outputs in an order.

        Parameters
        ----------
        order : int or object
            Index into `orders`, or an order that `orders_under` has yielded.

        Returns
        -------
        function : callable
            Any folding of weights has been done.
        """
        return self.network

    def orders_under(self, conditions: Any) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
        """Yield groups of rows, and the orders in which those are drawn.

        Parameters
        ----------
        conditions : CheckedConditions
            On n rows.

        Yields
        ------
        indices : ndarray of shape (m,)
            Rows of a group.
        orders : sequence of length n_orders
            As `conditionals` and `draw` take them.
        features : ndarray of shape (n_orders, d)
            The features in each of the orders.
        """
        yield np.arange(len(conditions)), range(len(self.orders)), self.orders

    def to_tensor(self, array: np.ndarray | Tensor) -> Tensor:
        """Return an array as a tensor in the network's precision, on its device."""
        dtype = torch.float64 if self.dtype == np.float64 else torch.float32
        return torch.as_tensor(array, dtype=dtype, device=self.device)

    def make_feature_sampler(
        self, uniforms: np.ndarray, conditions: Any = None, rows: np.ndarray | None = None
    ) -> FeatureSampler:
        """Return the FeatureSampler of uniform numbers (n, d); see there."""
        uniforms = torch.as_tensor(np.ascontiguousarray(uniforms), device=self.device)
        return FeatureSampler(self.observation, uniforms, conditions, rows)

    def sample(
        self, n_samples: int, generator: np.random.Generator, labels: Sequence[np.ndarray] = ()
    ) -> np.ndarray:
        """Return rows.

        Parameters
        ----------
        n_samples : int
        generator : numpy.random.Generator
        labels : sequence of ndarray of shape (n_samples, ...)
            Labels of the rows, which the network takes.

        Returns
        -------
        X : ndarray of shape (n_samples, d)
        """
        n_orders = len(self.orders)
        X = np.empty((n_samples, self.n_features), dtype=self.dtype)
        for start in range(0, n_samples, self.rows_at_once):
            block = np.arange(start, min(start + self.rows_at_once, n_samples))
            uniforms = generator.random((len(block), self.n_features))
            orders = np.zeros(len(block), dtype=int)
            if n_orders > 1:
                orders = generator.integers(n_orders, size=len(block))
            for order in np.unique(orders):
                in_order = orders == order
                indices = block[in_order]
                feature_sampler = self.make_feature_sampler(uniforms[in_order])
                tensors = [self.to_tensor(label[indices]) for label in labels]
                X[indices] = self.draw(feature_sampler, order, tensors).cpu().numpy()
        return X

    @torch.inference_mode()
    def draw(
        self, feature_sampler: FeatureSampler, order: Any, labels: Sequence[Tensor] = ()
    ) -> Tensor:
        """Return the rows (n, d) that a FeatureSampler draws in an order.

        This is a fixed-point iteration: each pass draws all features given the rows of the last
        pass, until nothing changes. After k passes the first k features are those that drawing one
        feature after another would give. So are all features of a row that a pass left unchanged.
        """
        conditionals = self.conditionals(order)
        n = len(feature_sampler)
        X = self.to_tensor(np.zeros((n, self.n_features)))
        active = torch.arange(n, device=self.device)
        size = block_size(n)
        for _ in range(self.n_features):
            changed = []
            for index, n_rows in padded_blocks(active, size):
                outputs = conditionals(X[index], *[label[index] for label in labels])
                drawn = feature_sampler.take(index).sample(outputs)[:n_rows]
                index = index[:n_rows]
                changed.append(index[(drawn != X[index]).any(1)])
                X[index] = drawn
            active = torch.cat(changed)
            if not len(active):
                break
        return X


def block_size(n_rows: int) -> int:
    """Rows of a block, the same for all passes over ever fewer of n_rows."""
    if n_rows >= DRAWN_ROWS:
        return DRAWN_ROWS
    return QUERY_ROWS


def padded_blocks(index: Tensor, size: int) -> Iterator[tuple[Tensor, int]]:
    """Yield blocks (size,) of an index Tensor (n,), and how many of their entries are not padding.

    Blocks of one size make outputs bit-identical however few rows are left.
    """
    for part in index.split(size):
        padding = part[:1].expand(size - len(part))
        yield torch.cat([part, padding]), len(part)
