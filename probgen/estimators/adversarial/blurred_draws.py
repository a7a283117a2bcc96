"""Likelihood of draws that are blurred by noise, for generators that have no other."""

from typing import Any

import numpy as np
import torch
from scipy.special import ndtr
from sklearn.utils.validation import check_is_fitted

from probgen._constants import LOG_2PI
from probgen._validation import check_choice, check_count, check_generator, spawn_generator
from probgen.base import Likelihood
from probgen.distributions.observation import gaussian_log_prob
from probgen.marginal_likelihood.importance import normal_noise
from probgen.marginal_likelihood.latent_model import LatentModel
from probgen.marginal_likelihood.parzen import parzen_bandwidth, parzen_log_density
from probgen.training.neural_generator import NeuralGenerator

DENSITIES = ("auto", "ais", "parzen")
FEW_FEATURES, MANY_COMPONENTS = 4, 64  # of which density="auto" takes a Parzen window
N_LEAPFROG = 5
CHAINS = 16  # rows of codes that are decoded side by side are filled up to a multiple
NOISE_DRAWS = 4096  # that the noise of the observation model is fitted to


class BlurredDraws(NeuralGenerator):
    """Estimates of p(x) = E_z N(x; g(z), noise_variance_) for a generator g of codes z.

    A subclass takes `noise`, `density`, `n_chains`, `n_temperatures` and `n_density_draws` in its
    constructor, sets `generator_`, from codes to scaled rows, `_center` and `_scale`, and writes
    `_draw_codes(n_samples, generator)` and `_inverse_transform(Z)`; `_window_codes` and
    `_log_code_density` too, where `noise` does not say it all. It calls `_fit_noise(rows)` when the
    networks are trained.
    """

    n_components: int
    noise: str
    density: str
    n_chains: int
    n_temperatures: int
    n_density_draws: int
    generator_: Any
    _center: np.ndarray
    _scale: np.ndarray
    _draw_codes: Any
    _inverse_transform: Any

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.draws_follow_density = False
        return tags

    def score_samples(self, X, y=None, *, return_std=False):
        """Return an estimate of the log-likelihood of each row under blurred draws, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return the standard errors of the estimates too. A value near 1 or above says
            that the estimate is too low: few of the draws or chains are anywhere near the row.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
        std : ndarray of shape (n,)
            With return_std=True.
        """
        check_is_fitted(self)
        X = self._validate(X)
        values, errors = (part.astype(X.dtype, copy=False) for part in self._estimate(X))
        return (values, errors) if return_std else values

    def likelihood_bounds(self, n_samples=16, *, random_state=None):
        """Return bounds on the log-likelihood of blurred draws by bidirectional annealed importance
        sampling.

        Of rows that the model itself draws, exact draws from the posterior of the codes are known.
        Chains from the prior up to the posterior give lower bounds, chains from those draws down to
        the prior upper ones [1]_; what lies between tells how far `score_samples` with
        density="ais" can be trusted.

        Parameters
        ----------
        n_samples : int, default=16
            Rows to draw, at least 1.
        random_state : int, RandomState, Generator or None, default=None
            Seeds the draws and the chains; None continues the model's stream.

        Returns
        -------
        lower, upper : ndarray of shape (n_samples,)
            In nats. Each holds on average; for one row chance may turn them round.

        References
        ----------
        .. [1] R. B. Grosse, Z. Ghahramani, R. P. Adams, Sandwiching the marginal likelihood using
           bidirectional Monte Carlo, 2015.
        """
        from probgen.marginal_likelihood.annealing import bidirectional_log_weights
        from probgen.marginal_likelihood.latent_model import log_mean_exp

        check_is_fitted(self)
        check_count("n_samples", n_samples, low=1)
        generator = self._stream if random_state is None else check_generator(random_state)
        codes = self._draw_codes(n_samples, generator)
        noise = np.sqrt(self.noise_variance_) * generator.standard_normal(
            (n_samples, self.n_features_in_)
        )
        model = self._latent_model(self._inverse_transform(codes) + noise)
        generators = [spawn_generator(generator) for _ in codes]
        up, down = bidirectional_log_weights(
            model, self._to_network_tensor(codes), generators, **self._annealing
        )
        return tuple(
            bound.cpu().numpy() for bound in (log_mean_exp(up)[0], -log_mean_exp(-down)[0])
        )

    @property
    def _likelihood(self):
        return Likelihood("estimate")

    @property
    def _annealing(self):
        """Settings of annealed importance sampling."""
        return {
            "n_chains": self.n_chains,
            "n_temperatures": self.n_temperatures,
            "n_leapfrog": N_LEAPFROG,
        }

    def _check_parameters(self):
        super()._check_parameters()
        check_choice("density", self.density, DENSITIES)
        check_count("n_chains", self.n_chains, low=2)
        check_count("n_temperatures", self.n_temperatures)
        check_count("n_density_draws", self.n_density_draws)

    def _fit_noise(self, rows):
        """Choose the estimate, and the noise under which rows (n, d) have the highest density."""
        few_features = self.n_features_in_ <= FEW_FEATURES
        simple = "parzen" if few_features or self.n_components > MANY_COMPONENTS else "ais"
        self.density_ = simple if self.density == "auto" else self.density
        draws = self._window(min(NOISE_DRAWS, self.n_density_draws))
        self._bandwidth = parzen_bandwidth(self._scaled(rows), draws)
        self.noise_variance_ = (self._bandwidth * self._scale) ** 2

    def _window(self, n_draws):
        """Scaled draws (n_draws, d) in double precision, always of the same codes."""
        return self._in_blocks(self._window_codes(n_draws), self.generator_).astype(float)

    def _window_codes(self, n_draws):
        """Codes (n_draws, n_components), always the same."""
        codes = normal_noise(self.n_components, n_draws)
        return codes if self.noise == "normal" else 2.0 * ndtr(codes) - 1.0

    def _score_samples(self, X):
        return self._estimate(X)[0]

    def _estimate(self, X):
        """Log-likelihoods and standard errors (n,) of checked rows."""
        if self.density_ == "ais":
            return self._annealed(X)
        draws = self._window(self.n_density_draws)
        values, errors = parzen_log_density(
            self._scaled(X), draws, self._bandwidth, return_std=True
        )
        return values - np.log(self._scale).sum(), errors

    def _annealed(self, X):
        from probgen.marginal_likelihood.annealing import annealed_log_weights
        from probgen.marginal_likelihood.latent_model import log_mean_exp

        def estimate(block):
            with torch.inference_mode(False):
                weights = annealed_log_weights(self._latent_model(block.clone()), **self._annealing)
                return torch.stack(log_mean_exp(weights), dim=1)

        return tuple(self._in_blocks(X, estimate).T)

    def _latent_model(self, X, y=None):
        """The joint density of checked rows and their codes."""
        rows = self._to_network_tensor(X)
        variance = self._to_network_tensor(self.noise_variance_)

        log_density = self._log_code_density()

        def sample_prior(n_chains, generator, rows):
            codes = self._draw_codes(n_chains * len(rows), generator)
            return self._to_network_tensor(codes).unflatten(0, (n_chains, len(rows)))

        def log_prior(codes, rows):
            return log_density(codes)

        def log_likelihood(codes, rows):
            return gaussian_log_prob(rows, self._decode_side_by_side(codes), variance)

        return LatentModel(
            (rows,), self.n_components, rows.dtype, sample_prior, log_prior, log_likelihood
        )

    def _log_code_density(self):
        """log p(z) as a function of codes (..., n_components) that can be differentiated."""
        if self.noise == "normal":
            return lambda codes: -0.5 * (codes.square().sum(-1) + self.n_components * LOG_2PI)

        def log_uniform(codes):
            is_in = (codes.abs() <= 1.0).all(-1)
            return 0.0 * codes.sum(-1) + torch.where(
                is_in, -self.n_components * np.log(2.0), -torch.inf
            )

        return log_uniform

    def _decode_side_by_side(self, codes):
        """Rows (s, n, d) of codes (s, n, k) of s chains for each of n rows.

        The chains of a row stand together and are filled up, so that a row gets the same digits
        wherever it stands.
        """
        n_chains, n_rows, k = codes.shape
        filled = torch.nn.functional.pad(codes.transpose(0, 1), (0, 0, 0, -n_chains % CHAINS))
        rows = self._unscale(self.generator_(filled.reshape(-1, k))).unflatten(0, (n_rows, -1))
        return rows[:, :n_chains].transpose(0, 1)

    def _scaled(self, X):
        """Rows as the networks see them."""
        return (X - self._center) / self._scale

    def _unscale(self, rows):
        return rows * self._to_network_tensor(self._scale) + self._to_network_tensor(self._center)
