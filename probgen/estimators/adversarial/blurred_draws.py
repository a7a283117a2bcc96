"""Likelihood of draws that are blurred by noise, for generators without a density of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from sklearn.utils.validation import check_is_fitted

from probgen._constants import LOG_2PI
from probgen._validation import check_count, spawn_generator
from probgen.base import GeneratorTags
from probgen.distributions.observation import gaussian_log_prob
from probgen.estimators._code_density import CodeGenerator
from probgen.marginal_likelihood.annealing import annealed_log_weights, bidirectional_log_weights
from probgen.marginal_likelihood.importance import normal_noise
from probgen.marginal_likelihood.latent_model import LatentModel, log_mean_exp
from probgen.marginal_likelihood.parzen import (
    CentredDraws,
    parzen_bandwidth,
    parzen_log_density,
)
from probgen.options import AutoDensity, Option

PRIORS = ("normal", "uniform")
N_LEAPFROG = 5
# Chains of a row are padded to a multiple, so that matrix products have one shape for any number.
CHAINS = 16
NOISE_DRAWS = 4096  # draws that the noise of the observation model is fitted to


class BlurredDraws(CodeGenerator):
    """Estimates of p(x) = E N(x; g(z), noise_variance_) over the codes z of a generator g.

    A subclass takes `prior` and the option `density` in its constructor, sets `generator_`, from
    codes to scaled rows, `_center` and `_scale`, and implements `_draw_codes(n_samples, generator)`
    and `_inverse_transform(Z)`. Where `prior` does not name the density of its codes, it overrides
    `_window_codes` and `_log_code_density` too. It calls `_remember(*names)` for the parameters
    that its queries depend on when it builds the networks, and `_fit_noise(rows)` when they are
    trained.
    """

    prior: str
    density: str | Option
    density_: str
    generator_: Any
    _bandwidth: float
    _center: np.ndarray
    _n_codes: Any
    _scale: np.ndarray
    _inverse_transform: Any

    def __sklearn_tags__(self) -> GeneratorTags:
        tags = super().__sklearn_tags__()
        tags.draws_follow_density = False
        return tags

    def likelihood_bounds(
        self, n_samples: int = 16, *, random_state: Any = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return bounds on the log-likelihood of blurred draws, by bidirectional annealing.

        For rows that the model itself draws, exact draws from the posterior of the codes are known.
        Annealed importance sampling from the prior up to the posterior gives lower bounds, and from
        those draws down to the prior upper bounds [1]_. The gap between them shows how far
        `score_samples` with density="ais" can be trusted.

        Parameters
        ----------
        n_samples : int, default=16
            Rows to draw, at least 1.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws and the chains; None continues the model's stream.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,)
            In nats. Both hold on average, however poor the annealing, which widens the gap; for a
            single row they may cross by chance.

        References
        ----------
        .. [1] R. B. Grosse, Z. Ghahramani, R. P. Adams, Sandwiching the marginal likelihood using
           bidirectional Monte Carlo, 2015.
        """
        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._generator_of(random_state)
        codes = self._draw_codes(n_samples, generator)
        noise = generator.standard_normal((n_samples, self.n_features_in_))
        scaled = self._in_blocks(codes, self.generator_) + self._bandwidth * noise
        up, down = bidirectional_log_weights(
            self._latent_model_of_scaled(scaled),
            self._to_network_tensor(codes),
            [spawn_generator(generator) for _ in codes],
            **self._annealing_settings,
        )
        lower, _ = log_mean_exp(up)
        minus_upper, _ = log_mean_exp(-down)
        return lower.cpu().numpy(), -minus_upper.cpu().numpy()

    @property
    def _annealing_settings(self) -> dict[str, Any]:
        """Settings of annealed importance sampling."""
        return self._density_option("ais").get_params() | {"n_leapfrog": N_LEAPFROG}

    @property
    def _estimate_remedy(self) -> str:
        if self.density_ == "ais":
            return "raise n_temperatures, as in density=AnnealedImportanceSampling()"
        return "raise n_draws, as in density=ParzenWindow(), or take density='ais'"

    def _density_option(self, name: str) -> Any:
        """The option "ais" or "parzen", with the settings that `density` has for it."""
        option = self.density
        if isinstance(option, str):  # of a file of an earlier version
            option = self._options["density"][option]()
        if isinstance(option, AutoDensity):
            return option.chosen(name)
        if option.name == name:
            return option
        return self._options["density"][name]()

    def _fit_noise(self, rows: np.ndarray) -> None:
        """Choose the estimate, and the noise under which rows (n, d) have the highest density."""
        self._kept_draws = {}
        self.density_ = self._option("density").name
        if self.density_ == "auto":
            self.density_ = "parzen"
        draws = self._window(min(NOISE_DRAWS, self._density_option("parzen").n_draws))
        self._bandwidth = parzen_bandwidth(self._scaled(rows), draws)
        self.noise_variance_ = (self._bandwidth * self._scale) ** 2

    def _window(self, n_draws: int) -> np.ndarray:
        """Scaled draws (n_draws, d) in double precision, always of the same codes."""
        return self._in_blocks(self._window_codes(n_draws), self.generator_).astype(float)

    def _window_codes(self, n_draws: int) -> np.ndarray:
        """Codes (n_draws, n_components), always the same."""
        codes = normal_noise(self._n_codes, n_draws)
        if self.prior == "normal":
            return codes
        return 2.0 * ndtr(codes) - 1.0

    def _estimate(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.density_ == "ais":
            return self._annealed(X)
        with np.errstate(over="ignore", invalid="ignore"):  # is checked next
            values, errors = parzen_log_density(
                self._scaled(X), self._centred_draws(), self._bandwidth, return_std=True
            )
        self._check_answers(X, values)
        return values - np.log(self._scale).sum(), errors

    def _centred_draws(self) -> CentredDraws:
        """The draws of the Parzen window, made by the first query after a fit or a load."""
        kept = self.__dict__.setdefault("_kept_draws", {})
        if "window" not in kept:
            kept["window"] = CentredDraws.of(self._window(self._density_option("parzen").n_draws))
        return kept["window"]

    def __getstate__(self) -> dict:
        state = super().__getstate__()
        state.pop("_kept_draws", None)  # larger than the networks, and soon made again
        return state

    def _annealed(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Estimates by annealed importance sampling, and their standard errors, both (n,)."""

        def estimate(block: torch.Tensor) -> torch.Tensor:
            # Hamiltonian Monte Carlo needs gradients, which tensors of inference mode cannot have.
            with torch.inference_mode(False):
                model = self._latent_model_of_scaled(block.clone())
                log_weights = annealed_log_weights(model, **self._annealing_settings)
                return torch.stack(log_mean_exp(log_weights), dim=1)

        values, errors = self._in_blocks(self._scaled(X), estimate).T
        return values, errors

    def _latent_model(self, X: np.ndarray | torch.Tensor, y: Any = None) -> LatentModel:
        return self._latent_model_of_scaled(self._scaled(np.asarray(X)), y)

    def _latent_model_of_scaled(
        self, rows: np.ndarray | torch.Tensor, y: Any = None
    ) -> LatentModel:
        """A LatentModel of scaled rows, which far from zero have digits that those of X lack.

        Its log-likelihoods are in the units of X.
        """
        return super()._latent_model(rows, y)

    def _log_code_density(self) -> Callable[[torch.Tensor], torch.Tensor]:
        n_codes = self._n_codes
        if self.prior == "normal":
            return lambda codes: -0.5 * (codes.square().sum(-1) + n_codes * LOG_2PI)

        def log_uniform(codes: torch.Tensor) -> torch.Tensor:
            is_inside = (codes.abs() <= 1.0).all(-1)
            constant = -n_codes * np.log(2.0)
            # The first term is 0: it links the result to the codes, for its gradient.
            return 0.0 * codes.sum(-1) + torch.where(is_inside, constant, -torch.inf)

        return log_uniform

    def _observation_log_prob(self) -> Callable:
        variance = self._to_network_tensor(np.full(len(self._scale), self._bandwidth**2))
        log_scale = float(np.log(self._scale).sum())
        return lambda rows, means: gaussian_log_prob(rows, means, variance) - log_scale

    def _decode_chains(self, codes: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Scaled rows (s, n, d) of codes (s, n, k) and labels (n, ...), for s chains of n rows.

        The chains of a row are adjacent and padded to a multiple of CHAINS, so that a row is
        bit-identical whatever else is in the batch.
        """
        n_chains, n_rows, k = codes.shape
        padded = torch.nn.functional.pad(codes.transpose(0, 1), (0, 0, 0, -n_chains % CHAINS))
        repeated = [label.repeat_interleave(padded.shape[1], dim=0) for label in labels]
        rows = self.generator_(padded.reshape(-1, k), *repeated)
        return rows.unflatten(0, (n_rows, -1))[:, :n_chains].transpose(0, 1)

    def _scaled(self, X: np.ndarray) -> np.ndarray:
        """Rows in the units of the networks."""
        return (X - self._center) / self._scale

    def _in_scaled_blocks(
        self, X: np.ndarray, function: Callable[[torch.Tensor], torch.Tensor]
    ) -> np.ndarray:
        """Outputs of a function of scaled rows for the rows of X (n, d), as one array."""
        center = self._to_network_tensor(self._center)
        scale = self._to_network_tensor(self._scale)
        return self._in_blocks(X, lambda block: function((block - center) / scale))

    def _unscale(self, rows: torch.Tensor) -> torch.Tensor:
        """Rows of the networks, a tensor, in the units of X."""
        return rows * self._to_network_tensor(self._scale) + self._to_network_tensor(self._center)
