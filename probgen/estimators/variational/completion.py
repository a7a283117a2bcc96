"""Queries of variational autoencoders for rows of which a part is known."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_choice, check_generator
from probgen.conditions.given import Conditions, representable
from probgen.programs.completion import complete
from probgen.training.neural_generator import NeuralGenerator

CHAINS_WITH_FLOWS = 3  # flows take long to tell the density of a code
FLOW_NUMBERS = 256  # that they compute for it
FEW = 10.0  # effective sample size below which a row is warned of


class CompletionMixin(NeuralGenerator):
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

    @available_if(lambda self: self._takes_conditions)
    def impute(self, X, *, method="mean", random_state=None):
        """Return X with its missing values filled in.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows with NaN where values are missing.
        method : {"mean", "draw"}, default="mean"
            The mean of what is missing given what is there, or a draw from that law; both by
            importance sampling.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draw; None continues the model's stream. The mean is the same at every call.

        Returns
        -------
        X : ndarray or frame of shape (n, n_features)
            A frame after `set_output`.

        Warns
        -----
        UserWarning
            If the effective sample size is below 10 for some row.

        Examples
        --------
        >>> import numpy as np
        >>> from probgen import VAE
        >>> from sklearn.datasets import load_digits
        >>> X = (load_digits().data > 7).astype("float32")
        >>> model = VAE(n_components=4, hidden_layer_sizes=(64,), max_iter=5, random_state=0).fit(X)
        >>> half = X[:1].copy()
        >>> half[:, 32:] = np.nan
        >>> model.impute(half, method="draw", random_state=0).shape
        (1, 64)
        """
        check_is_fitted(self)
        check_choice("method", method, ("mean", "draw"))
        X = self._validate(X)
        ends = np.full(X.shape, np.inf)
        conditions = Conditions(X.astype(np.float64), -ends, ends)
        if method == "mean":
            generator = np.random.default_rng(0)
        else:
            generator = self._stream if random_state is None else check_generator(random_state)
        filled = self._complete(conditions, generator, "X", stacklevel=3, average=method == "mean")
        filled = np.where(np.isnan(X), filled, X)
        return self._in_container(filled.astype(X.dtype, copy=False))

    def _sample_given(self, conditions, generator):
        return self._complete(conditions, generator, "given", stacklevel=5)

    def _propose(self, conditions, generator, argument, labels=(), average=False):
        """What is Completed of rows, of which the programs are told the labels too."""
        width = max(self.n_features_in_ * self.observation_.n_answers, *self.hidden_layer_sizes, 1)
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

    def _complete(self, conditions, generator, argument, *, stacklevel, labels=(), average=False):
        """Rows (n, d), draws or means under conditions; a warning where weights are uneven."""
        low, high = representable(conditions, self._dtype, argument)
        completed = self._propose(conditions, generator, argument, labels, average)
        uneven = completed.sizes < FEW
        if uneven.any():
            warnings.warn(
                f"{argument} is hard to meet: the effective sample size of the proposed codes is"
                f" below {FEW:g} for {uneven.sum()} of {len(uneven)} rows (least"
                f" {completed.sizes.min():.1f}), which a short Markov chain takes to their"
                " condition roughly; train longer, or fix less.",
                UserWarning,
                stacklevel=stacklevel,
            )
        rows = np.clip(completed.rows, low, high)
        return np.where(np.isnan(conditions.values), rows, conditions.values)
