"""Draws under conditions and imputation for variational autoencoders."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from probgen.base import ImputerMixin
from probgen.conditions.given import Conditions, observed, representable
from probgen.estimators._observation import ObservationGenerator
from probgen.marginal_likelihood.effective_draws import warn_of_uneven_proposals
from probgen.programs.completion import Completion, complete

CHAINS_WITH_FLOWS = 3  # fewer chains, as the density of a code is expensive under flows
FLOW_WIDTH = 256  # values that flows compute for the density of a code


class CompletionMixin(ImputerMixin, ObservationGenerator):
    """Draws under conditions, and imputation, for a model and a guide of rows.

    A subclass has the programs `model` and `guide`, the modules `encoder_` and `observation_`, and
    `_fill`, the means of the features.
    """

    model: Callable
    guide: Callable
    hidden_layer_sizes: Any
    encoder_: Any
    _fill: torch.Tensor

    @property
    def _largest_width(self) -> int:
        """Largest number of values that the networks compute for a row at once."""
        n_outputs = self.observation_.n_outputs_of(self.n_features_in_)
        return max(n_outputs, *self.hidden_layer_sizes, 1)

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        is_mean = generator is None
        if generator is None:
            generator = np.random.default_rng(0)
        return self._complete(observed(X), generator, "X", average=is_mean)

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        return self._complete(conditions, generator, "given")

    def _in_network_terms(self, conditions: Conditions, argument: str) -> Any:
        """Conditions as the networks' rows have them: what X lacks is no gap."""
        return self._conditions_of(conditions, argument, "filled" if argument == "X" else "drawn")

    def _propose(
        self,
        conditions: Any,
        generator: np.random.Generator,
        argument: str,
        labels: Any = (),
        average: bool = False,
        move: bool = True,
    ) -> Completion:
        """The Completion of rows under conditions, given labels where the programs take some."""
        if isinstance(conditions, Conditions):
            conditions = self._in_network_terms(conditions, argument)
        settings = {}
        if len(self.encoder_.flows):
            settings = {"n_chains": CHAINS_WITH_FLOWS, "code_width": FLOW_WIDTH}
        return complete(
            self.model,
            self.guide,
            conditions,
            generator,
            self._fill.to(self.device_),
            labels,
            width=self._largest_width,
            average=average,
            move=move,
            argument=argument,
            **settings,
        )

    def _complete(
        self,
        conditions: Conditions,
        generator: np.random.Generator,
        argument: str,
        *labels: Any,
        average: bool = False,
    ) -> np.ndarray:
        """Rows (n, d), draws or means under conditions; warns where weights are uneven."""
        low, high = representable(conditions, self._dtype, argument)
        of_networks = self._in_network_terms(conditions, argument)
        completion = self._propose(of_networks, generator, argument, labels, average)
        warn_of_uneven_proposals(
            completion.sizes,
            argument,
            "codes",
            "whose codes a short Markov chain moves towards their condition",
        )
        if of_networks is not conditions and average:
            return of_networks.codes_of_moments(completion.rows)
        if of_networks is not conditions:
            return of_networks.codes_of(completion.rows, generator)
        rows = np.clip(completion.rows, low, high)
        return np.where(np.isnan(conditions.values), rows, conditions.values)
