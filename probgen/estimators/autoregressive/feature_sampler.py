"""Draws of features by inversion of distribution functions, one uniform number for each.

The same numbers make the same rows whatever the order in which features are drawn, and however
often. Features may be known, or bounded by intervals and sets.
"""

import copy
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from probgen.distributions.quantiles import (
    level_quantile,
    mixture_arrays,
    normal_mixture_log_mass,
    normal_mixture_quantile,
    quantile,
)


class FeatureSampler:
    """Values of the features of rows, from uniform numbers and under conditions.

    Parameters
    ----------
    observation : ObservationModel
        From outputs of a network to distributions of features.
    uniforms : double Tensor of shape (n, d)
        In [0, 1).
    conditions : CheckedConditions, default=None
        Conditions on rows; None is no condition.
    rows : int64 ndarray of shape (n,), default=None
        The row of the conditions that each row of the uniforms keeps; None takes them in order.

    Examples
    --------
    >>> import torch
    >>> from probgen.distributions.observation import BernoulliObservation
    >>> uniforms = torch.tensor([[0.2, 0.7], [0.6, 0.4]], dtype=torch.float64)
    >>> FeatureSampler(BernoulliObservation(), uniforms).sample(torch.zeros(2, 2))
    tensor([[0., 1.],
            [1., 0.]])
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
        self.has_conditions = conditions is not None
        if conditions is None:
            return
        device = uniforms.device
        if rows is None:
            rows = np.arange(len(uniforms))
        self.rows = torch.as_tensor(rows, device=device)
        self.known = torch.as_tensor(conditions.values, device=device)
        self.low = torch.as_tensor(conditions.low, device=device)
        self.high = torch.as_tensor(conditions.high, device=device)
        self.bounded = torch.as_tensor(conditions.bounded)
        self.allowed: Any = None  # levels of discrete features, (n, n_bounded, n_levels)
        if conditions.allowed is not None:
            self.allowed = torch.as_tensor(conditions.allowed, device=device)
        # From a feature to its place among those that are bounded, -1 for others.
        self.slots = torch.full((uniforms.shape[1],), -1)
        self.slots[self.bounded] = torch.arange(len(self.bounded))

    def __len__(self) -> int:
        return len(self.uniforms)

    def take(self, index: Tensor) -> Self:
        """Return the sampler of some rows, an int64 Tensor."""
        part = copy.copy(self)
        part.uniforms = self.uniforms[index]
        if self.has_conditions:
            part.rows = self.rows[index]
        return part

    def known_values(self) -> Tensor:
        """Return rows (n, d) of the known values, with 0 for others."""
        return self.known[self.rows].nan_to_num()

    def sample(self, outputs: Tensor, features: slice | Tensor = slice(None)) -> Tensor:
        """Return values of features.

        Parameters
        ----------
        outputs : Tensor of shape (n, m * n_outputs_per_feature)
            Outputs of the network for these features.
        features : slice or int64 Tensor of shape (m,), default=slice(None)
            Indices of the features.

        Returns
        -------
        values : Tensor of shape (n, m)
            In the dtype of the outputs. Known values are returned as they are.
        """
        values = quantile(self.observation.distribution(outputs), self.uniforms[:, features])
        if self.has_conditions:
            if len(self.bounded):
                self._bound(values, outputs, features)
            known = self.known[:, features][self.rows]
            values = torch.where(known.isnan(), values, known)
        return values.to(outputs.dtype)

    def log_weights(self, outputs: Tensor, X: Tensor) -> Tensor:
        """Return the log-probability of the conditions, each feature given those before it.

        Parameters
        ----------
        outputs : Tensor of shape (n, d * n_outputs_per_feature)
            Outputs of the network for X.
        X : Tensor of shape (n, d)
            Rows that keep the conditions.

        Returns
        -------
        log_weights : double Tensor of shape (n,)
            Sum of the log-densities of known values and the log-probabilities of intervals and
            sets.
        """
        is_known = ~self.known[self.rows].isnan()
        log_prob = self.observation.distribution(outputs).log_prob(X).double()
        total = torch.where(is_known, log_prob, 0.0).sum(1)
        if len(self.bounded):
            log_masses = self._log_masses(outputs)
            # A value that is known counts by its density, even where its feature is bounded.
            is_known = is_known[:, self.bounded.to(X.device)]
            total += torch.where(is_known, 0.0, log_masses).sum(1)
        return total

    def _bound(self, values: Tensor, outputs: Tensor, features: slice | Tensor) -> None:
        """Replace the values (n, m) of bounded features, in place, by draws within bounds."""
        if not isinstance(features, slice):
            features = features.cpu()
        slots = self.slots[features]
        # Columns of `values` that are bounded, and their places in `self.bounded`.
        columns = torch.nonzero(slots >= 0)[:, 0]
        if not len(columns):
            return
        slots = slots[columns]
        columns = columns.to(values.device)
        uniforms = self.uniforms[:, features][:, columns]
        if self.allowed is not None:
            table = self._level_log_probs(outputs, columns)
            allowed = self.allowed[:, slots.to(values.device)][self.rows]
            values[:, columns] = level_quantile(table, allowed, uniforms)
        else:
            mixture = mixture_arrays(self.observation.distribution(outputs), columns)
            drawn = normal_mixture_quantile(uniforms.cpu().numpy(), *self._ends(slots), *mixture)
            values[:, columns] = torch.as_tensor(drawn, device=values.device)

    def _log_masses(self, outputs: Tensor) -> Tensor:
        """Log-probabilities (n, n_bounded) of intervals and sets."""
        bounded = self.bounded.to(outputs.device)
        if self.allowed is not None:
            table = self._level_log_probs(outputs, bounded)
            return torch.where(self.allowed[self.rows], table, -torch.inf).logsumexp(-1)
        mixture = mixture_arrays(self.observation.distribution(outputs), bounded)
        log_masses = normal_mixture_log_mass(*self._ends(torch.arange(len(bounded))), *mixture)
        return torch.as_tensor(log_masses, device=outputs.device)

    def _ends(self, slots: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper ends, arrays (n, k), of the bounded features at k slots."""
        features = self.bounded[slots].to(self.low.device)
        low = self.low[:, features][self.rows]
        high = self.high[:, features][self.rows]
        return low.cpu().numpy(), high.cpu().numpy()

    def _level_log_probs(self, outputs: Tensor, columns: Tensor) -> Tensor:
        """Log-probabilities (n, k, n_levels) of all levels of k of the features of outputs."""
        by_feature = outputs.unflatten(-1, (-1, self.observation.n_outputs_per_feature))
        distribution = self.observation.distribution(by_feature[:, columns].flatten(-2))
        levels = torch.arange(self.allowed.shape[-1], device=outputs.device, dtype=outputs.dtype)
        # Levels come first, to broadcast against features (n, k).
        table = distribution.log_prob(levels[:, None, None]).movedim(0, -1)
        return table.double().log_softmax(-1)
