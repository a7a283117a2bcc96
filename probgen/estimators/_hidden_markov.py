"""What a fitted hidden Markov model answers."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probgen._devices import resolve_device
from probgen._validation import check_count, read_numbers, show
from probgen.conditions.given import Conditions
from probgen.estimators._expectation_maximization import MixtureMixin
from probgen.gaussians.em import EMEngine
from probgen.markov.chain import ChainSettings
from probgen.markov.model import HiddenMarkov
from probgen.sequences.conversion import lengths_of


class ChainMixin(MixtureMixin):
    """Queries of a chain of hidden states.

    A subclass writes `_model()`, the fitted HiddenMarkov, and `_chain_settings()`, and sets
    `_sequence_shape` in `fit`.
    """

    device: str
    start_probabilities_: np.ndarray
    _sequence_shape: tuple[int, int]

    def _model(self) -> HiddenMarkov:
        raise NotImplementedError

    def _chain_settings(self) -> ChainSettings:
        raise NotImplementedError

    def predict(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the most probable last state of each sequence.

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            Sequences, which may hold NaN; the last step is the last one that holds a value.

        Returns
        -------
        states : ndarray of shape (n,)
        """
        return np.argmax(self._transform(self._validate_query(X)), axis=1)

    def decode(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the most probable path of states of each sequence (Viterbi, 1967).

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            Sequences, which may hold NaN.

        Returns
        -------
        paths : ndarray of shape (n, T)
            Integers, -1 after the end of a sequence.
        """
        X = self._validate_query(X)
        with EMEngine(self._query_device()) as engine:
            return self._model().paths(engine, X)

    def posterior(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the probability of each state at each step, given the whole sequence.

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            Sequences, which may hold NaN.

        Returns
        -------
        posterior : ndarray of shape (n, T, n_components)
            NaN after the end of a sequence.
        """
        X = self._validate_query(X)
        with EMEngine(self._query_device()) as engine:
            found = self._model().posterior(engine, X)
        ends = lengths_of(X, self._sequence_shape[1])
        found[np.arange(self._sequence_shape[0]) >= ends[:, None]] = np.nan
        return found.astype(X.dtype, copy=False)

    def forecast(self, X: npt.ArrayLike, steps: int = 1, *, quantiles: Any = None) -> np.ndarray:
        """Return means or quantiles of the steps that follow each sequence.

        They are those of each number by itself; `sample` with `given` draws whole futures.

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            Sequences, which may hold NaN; the future of each starts after its own end.
        steps : int, default=1
            Number of steps, at least 1; they may reach past T.
        quantiles : float or array-like of shape (q,), default=None
            Levels in (0, 1); None stands for means, or the most probable level of categories.

        Returns
        -------
        future : ndarray of shape (n, steps * d), or (q, n, steps * d) for an array of levels
            Time first, as in X.
        """
        check_count("steps", steps)
        X = self._validate_query(X)
        model = self._model()
        with EMEngine(self._query_device()) as engine:
            posterior = model.future(engine, X, steps)
        if quantiles is None:
            found = [model.emission.expected(posterior)]
        else:
            levels = read_numbers("quantiles", quantiles, "levels in (0, 1)")
            if levels.ndim > 1 or not levels.size or not np.all((levels > 0.0) & (levels < 1.0)):
                raise ValueError(
                    "quantiles must be a number in (0, 1) or a list of such; got"
                    f" {show(quantiles)}."
                )
            found = [model.emission.quantiles(level, posterior) for level in np.ravel(levels)]
        rows = [
            step.reshape(steps, len(X), -1).swapaxes(0, 1).reshape(len(X), -1) for step in found
        ]
        future = np.array(rows).astype(X.dtype, copy=False)
        return future if quantiles is not None and np.ndim(quantiles) else future[0]

    def bic(self, X: npt.ArrayLike) -> float:
        """Return the Bayesian information criterion on X, whose observations are its steps.

        Parameters
        ----------
        X : array-like of shape (n, T * d)
            Sequences.

        Returns
        -------
        bic : float
            Lower is better.
        """
        scores = self.score_samples(X)
        steps = self._validate(X).reshape(-1, self._sequence_shape[1])
        n_steps = np.count_nonzero(~np.isnan(steps).all(axis=1))
        penalty = self._n_parameters() * np.log(n_steps)
        return float(-2.0 * np.sum(scores, dtype=np.float64) + penalty)

    def _query_device(self) -> str:
        """Where queries run: on the CPU if the model was fitted on CUDA and there is none here."""
        try:
            return resolve_device(self.device)
        except ValueError:
            return "cpu"

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return self._model().draw(n_samples, generator)

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return self._model().draw_given(engine, conditions, generator)

    def _log_given(self, conditions: Conditions) -> np.ndarray:
        """Log of the density of known values times the probability of the rest, (n,)."""
        with EMEngine(self._query_device()) as engine:
            return self._model().log_given(engine, conditions)

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        if generator is not None:
            rows = X.astype(np.float64)
            conditions: Any = self._parse_given(rows, len(rows))
            return self._sample_given(conditions, generator)
        with EMEngine(self._query_device()) as engine:
            return self._model().filled(engine, X)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return self._model().log_likelihoods(engine, X)

    def _transform(self, X: np.ndarray) -> np.ndarray:
        with EMEngine(self._query_device()) as engine:
            return self._model().last_posterior(engine, X)

    @property
    def _n_features_out(self) -> int:
        return len(self.start_probabilities_)

    def _n_parameters(self) -> int:
        """Number of free parameters, for the information criteria."""
        n_states = len(self.start_probabilities_)
        return self._chain_settings().n_parameters(n_states) + self._model().emission.n_parameters
