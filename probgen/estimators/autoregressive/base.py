"""Base of generators by the chain rule: log p(x) is the sum of log p(x_j given those before)."""

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import logsumexp
from sklearn.utils.validation import check_is_fitted

from probgen._validation import check_choice, check_count
from probgen.base import GeneratorTags, Likelihood
from probgen.conditions.given import Conditions, observed
from probgen.distributions.observation import measure_of
from probgen.estimators._observation import ObservationGenerator
from probgen.estimators._query_gaps import QueryGapsGenerator
from probgen.estimators.autoregressive.conditioning import complete, log_mass
from probgen.estimators.autoregressive.sampler import ChainSampler
from probgen.marginal_likelihood.effective_draws import checked_estimates
from probgen.options import AutoLikelihood, Bernoulli, Categorical, DiscretizedLogistic
from probgen.training.neural_generator import FitContext
from probgen.training.objective import Objective
from probgen.training.statistics import RowStatistics
from probgen.training.trainer import Trainer

REPRESENTATIONS = ("features", "log_prob")


class AutoregressiveGenerator(QueryGapsGenerator, ObservationGenerator):
    """Base of generators by the chain rule, whose likelihood is exact.

    A subclass takes `likelihood`, `dynamic_binarization`, `representation`, `n_importance_samples`
    and the parameters of `NeuralGenerator` in its constructor, and writes these hooks:

    - `_make_network(statistics)` returns a module from rows (n, d), and labels (n, n_extra), to
      outputs (n, d * n_outputs_per_feature); those of a feature depend on the features before it
      alone. Its method `features(rows, *labels)` returns (n, `n_pooled`).
    - `_auto_likelihood(statistics, n_levels)` returns the name of the likelihood that "auto" stands
      for.
    - `_sampler()`, optional, returns the ChainSampler of the fitted network, which knows the orders
      of the features.
    - `_pooled()`, optional, returns the function behind `transform`.

    A draw goes one way: from here to `conditioning`, if there are conditions, from there to the
    sampler, and from there to the network.

    Attributes
    ----------
    network_, observation_ : torch.nn.Module
        From rows to outputs, and from outputs to the conditional distribution of each feature.
    likelihood_ : str
        The likelihood that was chosen.
    n_levels_ : int or None
        Levels of a discrete likelihood.
    """

    _networks: tuple[str, ...] = ("network_", "observation_")
    _options: ClassVar[Mapping] = {
        "likelihood": {
            "auto": AutoLikelihood,
            "bernoulli": Bernoulli,
            "categorical": Categorical,
            "discretized_logistic": DiscretizedLogistic,
        }
    }
    _choices_of_auto: tuple[str, ...] = ("bernoulli", "categorical", "discretized_logistic")
    _measure_of_auto = "counting"  # of likelihood="auto" before a fit
    representation: str
    n_importance_samples: int | None
    network_: Any

    def score_samples(
        self, X: npt.ArrayLike, y: Any = None, *, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score; missing values are integrated out.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return standard errors too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
            Exact where no known value follows a missing one in the order of the model, else an
            estimate from n_importance_samples proposals.
        std : ndarray of shape (n,)
            With return_std=True. It is 0 where the value is exact, and inf where fewer than 5 of
            the proposals are effective: the estimate may then be nats too low.

        Warns
        -----
        UserWarning
            If it is inf for more than one row in ten.
        """
        X = self._validate_query(X)
        return checked_estimates(
            self._estimate(X), X.dtype, return_std=return_std, remedy=self._estimate_remedy
        )

    def conditional_log_prob(self, X: npt.ArrayLike) -> np.ndarray:
        """Return the log-probability of every feature given those before it.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows.

        Returns
        -------
        log_prob : ndarray of shape (n, n_features)
            In nats; a row adds up to its `score_samples`. With several orderings it is the mean
            over them, which adds up to less.
        """
        X = self._validate_query(X)
        return self._log_conditionals(X).astype(X.dtype, copy=False)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return the names of the columns of `transform`, such as made0, or log_prob_x0.

        Parameters
        ----------
        input_features : object, default=None
            Ignored.

        Returns
        -------
        names : ndarray of str
        """
        if self.representation != "log_prob":
            return super().get_feature_names_out(input_features)
        check_is_fitted(self, "n_features_in_")
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(self.n_features_in_)])
        return np.asarray([f"log_prob_{name}" for name in names], dtype=object)

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        is_discrete = self._likelihood.measure == "counting"
        tags.input_tags.categorical = is_discrete
        tags.input_tags.positive_only = is_discrete
        return tags

    @property
    def _likelihood(self) -> Likelihood:
        if hasattr(self, "observation_"):
            measure = self.observation_.measure
        elif self._likelihood_name == "auto":
            measure = self._measure_of_auto
        else:
            measure = measure_of(self._likelihood_name)
        return Likelihood("exact", measure)

    @property
    def _n_features_out(self) -> int:
        if self.representation == "features":
            return self.network_.n_pooled
        return self.n_features_in_

    def _check_parameters(self) -> None:
        super()._check_parameters()
        check_choice("representation", self.representation, REPRESENTATIONS)
        if self.n_importance_samples is not None:
            check_count(
                "n_importance_samples",
                self.n_importance_samples,
                low=2,
                hint="Or None, to refuse what is not exact.",
            )

    def _auto_likelihood(self, statistics: RowStatistics, n_levels: int | None) -> str:
        raise NotImplementedError

    def _build(self, fit: FitContext) -> None:
        statistics = self._statistics(fit)
        self.observation_ = self._make_observation(statistics)
        self.likelihood_ = self.observation_.name
        self.n_levels_ = self.observation_.n_levels
        self.network_ = self._make_network(statistics)
        for name in self._networks:
            getattr(self, name).to(fit.rows.dtype)

    def _make_network(self, statistics: RowStatistics) -> Any:
        raise NotImplementedError

    def _make_objective(self, fit: FitContext) -> Objective:
        return LikelihoodObjective(self.network_, self.observation_, self._prepare_training)

    def _prepare_training(
        self, X: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator
    ) -> tuple[torch.Tensor, ...]:
        """Inputs of the network for a batch in training."""
        if self.dynamic_binarization:
            X = self._draw_bits(X, generator)
        return X, *labels

    def _default_trainer(self, n_rows: int | None = None) -> Trainer:
        return Trainer(schedule="cosine")

    def _sampler(self) -> ChainSampler:
        """The ChainSampler of the fitted network, here in the order of the columns."""
        orders = np.arange(self.n_features_in_)[np.newaxis]
        return ChainSampler(
            self.network_, self.observation_, orders, dtype=self._dtype, device=self.device_
        )

    def _pooled(self) -> Callable:
        """The function from rows and labels to pooled features."""
        return self.network_.features

    def _transform(self, X: np.ndarray) -> np.ndarray:
        if self.representation == "log_prob":
            return self._log_conditionals(X)
        self._refuse_missing(X, "transform")
        return self._features(self._encoded(X))

    def _features(self, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        """Pooled features (n, n_pooled) of rows."""
        with torch.inference_mode():
            features = self._pooled()
        return self._over_blocks(features, X, *labels)

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._estimate(X)[0]

    def _estimate(self, X: np.ndarray, *labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log-likelihoods (n,) of checked rows, in double precision, and their standard errors.

        Missing values are integrated out.
        """
        has_missing = self._is_missing(X).any(axis=1)
        is_whole = ~has_missing
        scores, errors = np.empty(len(X)), np.zeros(len(X))
        if is_whole.any():
            scores[is_whole] = self._log_likelihood_of_whole(
                self._encoded(X[is_whole]), *[label[is_whole] for label in labels]
            )
        if has_missing.any():
            scores[has_missing], errors[has_missing] = self._log_mass(
                observed(X[has_missing]), "X", *[label[has_missing] for label in labels]
            )
        return scores + self._log_fixed(X), errors

    def _log_likelihood_of_whole(self, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        """Log-likelihoods (n,) of encoded rows without missing values, averaged over orders."""
        sampler = self._sampler()
        n_orders = len(sampler.orders)
        by_order = []
        for order in range(n_orders):
            log_prob = self._log_prob_function(sampler, order, total=True)
            by_order.append(self._over_blocks(log_prob, X, *labels))
        return logsumexp(by_order, axis=0) - np.log(n_orders)

    def _log_conditionals(self, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        """Log-probabilities (n, d) of features given those before, averaged over the orders."""
        self._refuse_missing(X, "conditional_log_prob")
        sampler = self._sampler()
        n_orders = len(sampler.orders)
        rows = self._encoded(X)
        total: Any = 0
        for order in range(n_orders):
            log_prob = self._log_prob_function(sampler, order)
            total = total + self._over_blocks(log_prob, rows, *labels)
        return total / n_orders

    def _log_prob_function(
        self, sampler: ChainSampler, order: int, total: bool = False
    ) -> Callable:
        """Function from rows and labels to log-probabilities (n, d) of features in an order.

        With `total` they are summed to (n,) in double precision.
        """
        conditionals = sampler.conditionals(order)

        def log_prob(X: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
            each = self.observation_.distribution(conditionals(X, *labels)).log_prob(X)
            if total:
                return each.double().sum(1)
            return each

        return log_prob

    def _over_blocks(self, function: Callable, X: np.ndarray, *labels: np.ndarray) -> np.ndarray:
        """Outputs of a function of row and label tensors, as an array."""
        widths = [array.shape[1] for array in (X, *labels)]
        rows = X
        if labels:
            rows = np.hstack([X, *labels])
        return self._in_blocks(rows, lambda block: function(*block.split(widths, dim=1)))

    def _sample(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return self._sampler().sample(n_samples, generator)

    def _sample_given(self, conditions: Conditions, generator: np.random.Generator) -> np.ndarray:
        return self._complete(conditions, generator, "given")

    def _impute(self, X: np.ndarray, generator: np.random.Generator | None) -> np.ndarray:
        filled = X.copy()
        has_missing = np.isnan(X).any(axis=1)
        if has_missing.any():
            is_mean = generator is None
            conditions = observed(X[has_missing])
            filled[has_missing] = self._complete(conditions, generator, "X", average=is_mean)
        return filled

    def _complete(
        self,
        conditions: Conditions,
        generator: np.random.Generator | None,
        argument: str,
        *labels: np.ndarray,
        average: bool = False,
    ) -> np.ndarray:
        """Rows (n, d), draws or means under conditions, of which the network takes labels too."""
        return complete(
            self._sampler(),
            conditions,
            generator,
            argument=argument,
            n_proposals=self.n_importance_samples,
            labels=labels,
            average=average,
        )

    def _log_mass(
        self, conditions: Conditions, argument: str, *labels: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log-probabilities or densities (n,) of conditions, and their standard errors."""
        return log_mass(
            self._sampler(),
            conditions,
            argument=argument,
            n_proposals=self.n_importance_samples,
            labels=labels,
        )


class LikelihoodObjective(Objective):
    """Minus the mean log-likelihood of rows, in nats.

    Parameters
    ----------
    network, observation : torch.nn.Module
        From rows to outputs, and from outputs to distributions.
    prepare : callable
        From a batch, and `generator` by name, to the inputs of the network.
    """

    network: Any  # torch types modules and tensors as their union
    observation: Any

    def __init__(
        self, network: torch.nn.Module, observation: torch.nn.Module, prepare: Callable
    ) -> None:
        super().__init__()
        self.network = network
        self.observation = observation
        self.prepare = prepare

    def loss(self, *batch: torch.Tensor) -> torch.Tensor:
        """See Objective."""
        X, *labels = self.prepare(*batch, generator=self.noise)
        return -self.log_likelihood(self.network(X, *labels), X).mean()

    def log_likelihood(self, outputs: torch.Tensor, X: torch.Tensor) -> torch.Tensor:
        """Log-likelihoods (n,) of rows."""
        return self.observation.distribution(outputs.to(X.dtype)).log_prob(X).sum(1)
