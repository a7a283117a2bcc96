"""Draws of rows from masked networks."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from probgen.estimators.autoregressive.sampler import ChainSampler


class MaskedSampler(ChainSampler):
    """Draws rows from a MaskedMLP.

    A network for any order draws the rows of each pattern of conditions in orders of its own.
    """

    def conditionals(self, order: Any) -> Any:
        """See ChainSampler; the masks of the order are folded into the weights."""
        if isinstance(order, np.ndarray):
            order = torch.from_numpy(order.argsort()).to(self.device)
        return self.network.folded(order)

    def orders_under(self, conditions: Any) -> Iterator[tuple[np.ndarray, Any, np.ndarray]]:
        """See ChainSampler; known values and then bounded features move to the front."""
        if not self.network.any_order:
            yield from super().orders_under(conditions)
            return
        # 0 for a known value, 1 for a bounded column, 2 for others, of shape (n, d).
        ranks = np.where(conditions.known_columns, 0, 2)
        bounded = conditions.bounded_columns
        ranks[:, bounded] = np.minimum(ranks[:, bounded], 1)
        patterns, pattern_of_row = np.unique(ranks, axis=0, return_inverse=True)
        for k, rank in enumerate(patterns):
            # A stable sort keeps the order of features of the same rank.
            orders = np.stack([order[rank[order].argsort(kind="stable")] for order in self.orders])
            yield np.flatnonzero(pattern_of_row == k), orders, orders
