"""Draws under conditions, and imputation, for deep belief networks."""

from typing import Any

import numpy as np
import torch

from probgen.boltzmann.chains import clamp_of, clamp_of_rows
from probgen.boltzmann.completion import (
    N_PROPOSALS,
    draw_completed,
    log_masses,
    mean_completed,
)
from probgen.conditions.given import Conditions, observed, representable
from probgen.estimators._query_gaps import QueryGapsGenerator
from probgen.estimators.energy.machines import MachineGenerator
from probgen.marginal_likelihood.effective_draws import warn_of_uneven_proposals


class BeliefCompletion(QueryGapsGenerator, MachineGenerator):
    """Completes rows by importance resampling of hidden layers; a subclass has a `network_`."""

    network_: Any

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        return self._draw_completed(conditions, generator, "given")

    def _log_given(self, conditions: Conditions) -> np.ndarray:
        return self._log_masses(conditions, by_class=False)

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        filled = X.copy()
        has_missing = np.isnan(X).any(axis=1)
        if not has_missing.any():
            return filled
        if generator is not None:
            filled[has_missing] = self._draw_completed(observed(X[has_missing]), generator, "X")
            return filled
        network = self.network_

        def means(rows: torch.Tensor) -> torch.Tensor:
            clamp = clamp_of_rows(network.bottom, rows, shares_noise=True)
            units, sizes = mean_completed(network, clamp, self._seeded_noise(3))
            return torch.cat([network.bottom.decode(units), sizes[:, None].to(units.dtype)], -1)

        completed = self._in_blocks(X[has_missing], means, n_copies=N_PROPOSALS)
        _warn_of_uneven(completed[:, -1], "X")
        filled[has_missing] = completed[:, :-1]
        return filled

    def _draw_completed(
        self,
        conditions: Conditions,
        generator: np.random.Generator,
        argument: str,
        indices: np.ndarray | None = None,
    ) -> np.ndarray:
        """Rows (n, d) drawn under conditions, of classes of these indices if there are any."""
        network = self.network_
        low, high = representable(conditions, np.dtype(self._dtype), argument)
        labels = None
        if indices is not None:
            labels = torch.as_tensor(indices.copy(), device=self.device_)
        with torch.inference_mode(), self._threads_for(len(conditions.values)):
            clamp = clamp_of(network.bottom, conditions, argument)
            units, sizes = draw_completed(network, clamp, self._noise(generator), labels)
            drawn = network.bottom.decode(units).cpu().numpy()
        _warn_of_uneven(sizes.cpu().numpy(), argument)
        drawn = np.clip(drawn, low, high)
        return np.where(np.isnan(conditions.values), drawn, conditions.values)

    def _log_masses(self, conditions: Conditions, *, by_class: bool) -> np.ndarray:
        """Lower bounds (n,) of log p(conditions), or (n, n_classes) of those with each class."""
        network = self.network_
        with torch.inference_mode(), self._threads_for(len(conditions.values)):
            clamp = clamp_of(network.bottom, conditions)
            values = log_masses(network, clamp, self._seeded_noise(1), by_class=by_class)
            is_free = torch.isnan(torch.as_tensor(conditions.values))
            widths = torch.as_tensor(network.bottom.log_widths).cpu()
            widths = torch.where(is_free, widths, 0.0).sum(-1)
            if by_class:
                widths = widths[:, None]
        return (values.cpu() + widths).numpy() - self.log_partition().value


def _warn_of_uneven(sizes: np.ndarray, argument: str) -> None:
    warn_of_uneven_proposals(
        sizes, argument, "hidden layers", "whose draws may be far from their distribution"
    )
