"""Queries of variational autoencoders for rows of which a part is known."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from probgen._warnings import warn
from probgen.base import ImputerMixin
from probgen.conditions.given import observed, representable
from probgen.programs.completion import complete
from probgen.training.neural_generator import NeuralGenerator

CHAINS_WITH_FLOWS = 3  # flows take long to tell the density of a code
FLOW_NUMBERS = 256  # that they compute for it
FEW = 10.0  # effective sample size below which a row is warned of


class CompletionMixin(ImputerMixin, NeuralGenerator):
    """Draws under conditions, and imputation, for a model and a guide of rows.

    The host has the programs `model` and `guide`, an `encoder_`, an `observation_` and `_fill`, the
    means of the features.
    """

    model: Callable
    guide: Callable
    hidden_layer_sizes: Any
    encoder_: Any
    observation_: Any
    _fill: torch.Tensor

    def _impute(self, X, generator):
        is_mean = generator is None
        if is_mean:
            generator = np.random.default_rng(0)
        return self._complete(observed(X), generator, "X", average=is_mean)

    def _sample_given(self, conditions, generator):
        return self._complete(conditions, generator, "given")

    def _propose(self, conditions, generator, argument, labels=(), average=False):
        """What is Completed of rows, of which the programs are told the labels too."""
        n_outputs = self.n_features_in_ * self.observation_.n_outputs_per_feature
        width = max(n_outputs, *self.hidden_layer_sizes, 1)
        return complete(
            self.model,
            self.guide,
            conditions,
            generator,
            self._fill.to(self.device_),
            labels,
            width=width,
            **(
                {"n_chains": CHAINS_WITH_FLOWS, "code_width": FLOW_NUMBERS}
                if len(self.encoder_.flows)
                else {}
            ),
            average=average,
            argument=argument,
        )

    def _complete(self, conditions, generator, argument, *labels, average=False):
        """Rows (n, d), draws or means under conditions; a warning where weights are uneven."""
        low, high = representable(conditions, self._dtype, argument)
        completed = self._propose(conditions, generator, argument, labels, average)
        uneven = completed.sizes < FEW
        if uneven.any():
            warn(
                f"{argument} is hard to meet: the effective sample size of the proposed codes is"
                f" below {FEW:g} for {uneven.sum()} of {len(uneven)} rows (least"
                f" {completed.sizes.min():.1f}), which a short Markov chain takes to their"
                " condition roughly; train longer, or fix less.",
            )
        rows = np.clip(completed.rows, low, high)
        return np.where(np.isnan(conditions.values), rows, conditions.values)
