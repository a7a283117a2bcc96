"""What generators with an observation model share: its choice, its support and drawn bits."""

from typing import Any

import numpy as np
import torch

from probgen._validation import show
from probgen.conditions.given import Conditions
from probgen.distributions.observation import make_observation, without_choices
from probgen.options import AutoLikelihood, Option
from probgen.training.neural_generator import FitContext, NeuralGenerator
from probgen.training.statistics import RowStatistics


class ObservationGenerator(NeuralGenerator):
    """Base of generators whose networks compute the parameters of an `ObservationModel`.

    A subclass takes `likelihood` and `dynamic_binarization` in its constructor, and sets
    `observation_` in `_build`, for rows of the statistics `_statistics(fit)`. It names the
    likelihoods that "auto" may stand for in `_choices_of_auto`. Rows of a fit and of
    all queries are held against the support of `observation_` here. With dynamic binarization, a
    fit takes probabilities of bits, whereas queries take bits, of which alone the model has a
    likelihood.
    """

    _choices_of_auto: tuple[str, ...] = ("bernoulli", "gaussian")
    _estimate_remedy = "raise n_importance_samples"  # where standard errors are not known
    likelihood: Any
    dynamic_binarization: bool
    observation_: Any

    @property
    def _likelihood_name(self) -> str:
        """The string of the parameter likelihood, also where it is an option."""
        return getattr(self.likelihood, "name", self.likelihood)

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if isinstance(self.likelihood, AutoLikelihood):
            default = self._options["likelihood"]["auto"]()
            self.likelihood.check_among(self._choices_of_auto, default)
        name = self._likelihood_name
        if self.dynamic_binarization and name not in ("auto", "bernoulli"):
            raise ValueError(
                "dynamic_binarization=True draws rows of 0 and 1, which need likelihood='bernoulli'"
                f" or 'auto'; got {show(name)}; take one of these, or dynamic_binarization=False."
            )

    def _choices_for(self, X: np.ndarray) -> dict[str, Any]:
        self._check_parameters()
        statistics = self._binarized(self._statistics_of(X))
        likelihood = self._chosen_likelihood(statistics)
        make_observation(likelihood, statistics)  # raises for rows outside of its support
        return {"likelihood": likelihood}

    def _chosen_likelihood(self, statistics: RowStatistics) -> Option:
        """The likelihood for rows of these statistics, without "auto"."""
        option = self._option("likelihood")
        auto = ""
        if isinstance(option, AutoLikelihood):
            auto = self._auto_likelihood(statistics, option.n_levels)
        return without_choices(option, statistics, auto)

    def _auto_likelihood(self, statistics: RowStatistics, n_levels: int | None) -> str:
        """Name of the likelihood that "auto" stands for; "" leaves that to `without_choices`.

        n_levels is the setting of the option, a number or None.
        """
        return ""

    def _make_observation(self, statistics: RowStatistics, **settings: Any) -> Any:
        """The ObservationModel for rows of these statistics."""
        return make_observation(self._chosen_likelihood(statistics), statistics, **settings)

    def _statistics(self, fit: FitContext) -> RowStatistics:
        """Statistics of all rows of a fit, because the levels of held-out rows count too."""
        return self._binarized(fit.all_statistics)

    def _binarized(self, statistics: RowStatistics) -> RowStatistics:
        """Statistics of the rows that training sees, of which probabilities become bits."""
        if self.dynamic_binarization:
            return statistics.binarized()
        return statistics

    def _begin(self, fit: FitContext) -> None:
        statistics = self._statistics(fit)
        self.observation_.check(statistics.low, statistics.high, statistics.is_integer)

    def _check_support(self, X: np.ndarray) -> None:
        self.observation_.check_rows(X)

    def _encoded(self, X: np.ndarray) -> np.ndarray:
        """What the networks take for validated rows (n, d)."""
        return X

    def _decoded(self, rows: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """Rows (n, d) of what the networks draw; the generator draws what they do not."""
        return rows

    def _is_missing(self, X: np.ndarray) -> np.ndarray:
        """Mask (n, d) of the missing values of rows."""
        return np.isnan(X)

    def _log_fixed(self, X: np.ndarray) -> Any:
        """Log-probabilities (n,) of what the networks do not see of rows."""
        return 0.0

    def _codes_of_means(self, means: np.ndarray) -> np.ndarray:
        """Rows (n, d) of means of the networks' rows, or moments of mixed columns."""
        return means

    def _conditions_of(self, conditions: Conditions, argument: str, gaps: str) -> Any:
        """Conditions as the networks' rows have them; for gaps see MixedConditions."""
        return conditions

    def _draw_bits(self, X: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Rows of 0 and 1 (n, d), drawn with the probabilities in a training batch X."""
        return (torch.empty_like(X).uniform_(generator=generator) < X).to(X.dtype)
