"""Generators of the form p(x) = E p(x given z), where the codes z have a density of their own."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.base import clone

from probgen._validation import show
from probgen.base import Likelihood
from probgen.estimators.gaussian_mixture import GaussianMixture
from probgen.marginal_likelihood.effective_draws import checked_estimates
from probgen.marginal_likelihood.latent_model import (
    LatentModel,
    NumpyLogDensity,
    mixture_log_density,
)
from probgen.training.neural_generator import NeuralGenerator

# A component of the default density needs so many rows, and so many for each number of a code.
ROWS_PER_COMPONENT = 25
ROWS_PER_CODE_NUMBER = 4
MAX_COMPONENTS = 10


class CodeGenerator(NeuralGenerator):
    """Base class of generators that decode codes: p(x) = E p(x given z) over the codes z.

    A subclass takes `n_components`, the length of a code, in its constructor, and implements:

    - `_draw_codes(n_samples, generator)` returns codes as an array, drawn by a NumPy Generator;
    - `_log_code_density()` returns log p(z) as a differentiable function of codes (..., k);
    - `_decode_chains(codes, *labels)` decodes codes (n_chains, n, k), a tensor, to
      (n_chains, n, d);
    - `_observation_log_prob()` returns log p(x given z) as a function of rows and decoded codes;
    - `_estimate(X)` returns estimates of log p(x) of checked rows, and their standard errors.

    It overrides `_estimate_remedy` where more draws become effective in another way. Where decoded
    codes depend on the class of a row too, it overrides `_decoder_labels(y, n_rows)`, which returns
    the labels that `_decode_chains` gets, tensors (n_rows, ...).
    """

    n_components: int
    _draw_codes: Any
    _log_code_density: Any
    _decode_chains: Any
    _observation_log_prob: Any
    _estimate: Any

    def score_samples(
        self, X: npt.ArrayLike, y: Any = None, *, return_std: bool = False
    ) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
        """Return an estimate of the log-likelihood of each row, in nats.

        Parameters
        ----------
        X : array-like of shape (n, n_features)
            Rows to score.
        y : object, default=None
            Ignored.
        return_std : bool, default=False
            Whether to return the standard errors of the estimates too.

        Returns
        -------
        log_likelihood : ndarray of shape (n,)
        std : ndarray of shape (n,)
            With return_std=True. It is inf where fewer than 5 of the draws behind an estimate are
            effective: the estimate may then be nats too low.

        Warns
        -----
        UserWarning
            If that is so for more than one row in ten.
        """
        X = self._validate_query(X)
        return checked_estimates(
            self._estimate(X), X.dtype, return_std=return_std, remedy=self._estimate_remedy
        )

    @property
    def _likelihood(self) -> Likelihood | None:
        return Likelihood("estimate")

    @property
    def _estimate_remedy(self) -> str:
        return "raise n_importance_samples"

    def _score_samples(self, X: np.ndarray) -> np.ndarray:
        return self._estimate(X)[0]

    def _latent_model(self, X: np.ndarray | torch.Tensor, y: Any = None) -> LatentModel:
        """The joint density of checked rows and their codes; given the classes y, if any."""
        rows = self._to_network_tensor(X)
        labels = self._decoder_labels(y, len(rows))
        log_code_density = self._log_code_density()
        log_prob = self._observation_log_prob()

        def sample_prior(
            n_chains: int, generator: np.random.Generator, rows: torch.Tensor, *_: torch.Tensor
        ) -> torch.Tensor:
            codes = self._draw_codes(n_chains * len(rows), generator)
            return self._to_network_tensor(codes).unflatten(0, (n_chains, len(rows)))

        def log_prior(codes: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return log_code_density(codes)

        def log_likelihood(
            codes: torch.Tensor, rows: torch.Tensor, *labels: torch.Tensor
        ) -> torch.Tensor:
            return log_prob(rows, self._decode_chains(codes, *labels))

        return LatentModel(
            (rows, *labels), self._n_codes, rows.dtype, sample_prior, log_prior, log_likelihood
        )

    def _decoder_labels(self, y: Any, n_rows: int) -> tuple[torch.Tensor, ...]:
        return ()


class FittedCodeDensity(CodeGenerator):
    """Base class of a CodeGenerator whose density of codes is fitted to the codes of rows.

    A subclass takes `latent_density` in its constructor, calls `_fit_code_density` when its
    networks are trained, and has the attribute or property `_code_moments`: a mean and standard
    deviations (k,) of the codes, for the gradient of a density that is no GaussianMixture.
    """

    latent_density: Any
    latent_density_: Any
    _code_moments: Any

    def _check_parameters(self) -> None:
        super()._check_parameters()
        density = self.latent_density
        is_generator = hasattr(density, "sample") and hasattr(density, "score_samples")
        if density is not None and (isinstance(density, type) or not is_generator):
            raise ValueError(f"latent_density must be a generator, or None; got {show(density)}.")

    def _fit_code_density(self, codes: np.ndarray, generator: np.random.Generator) -> None:
        """Fit a clone of latent_density to codes (n, k); generator seeds it if it has no seed."""
        if self.latent_density is None:
            density = default_density(codes)
        else:
            density = clone(self.latent_density)
        parameters = density.get_params()
        if "random_state" in parameters and parameters["random_state"] is None:
            density.set_params(random_state=int(generator.integers(2**31)))
        self.latent_density_ = density.fit(codes)

    def _draw_codes(self, n_samples: int, generator: np.random.Generator) -> np.ndarray:
        return np.asarray(self.latent_density_.sample(n_samples, random_state=generator))

    def _log_code_density(self) -> Callable[[torch.Tensor], torch.Tensor]:
        mean, deviations = self._code_moments
        return log_code_density(self.latent_density_, mean, deviations, self.device_)


def default_density(codes: np.ndarray) -> GaussianMixture:
    """A GaussianMixture for codes (n, k), of as many components as they support, not yet fitted."""
    rows_needed = max(ROWS_PER_COMPONENT, ROWS_PER_CODE_NUMBER * codes.shape[1])
    n_components = max(1, min(MAX_COMPONENTS, len(codes) // rows_needed))
    return GaussianMixture(n_components, reg_covar=1e-6 * max(float(codes.var()), 1e-12))


def log_code_density(
    density: Any, mean: np.ndarray, deviations: np.ndarray, device: str
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return log p(z) under a fitted density as a differentiable function of codes (..., k).

    mean and deviations (k,) are those of the codes that it was fitted to. A density that is no
    GaussianMixture costs k + 1 queries.
    """
    if not isinstance(density, GaussianMixture):
        return lambda codes: NumpyLogDensity.apply(codes, density.score_samples, mean, deviations)
    return mixture_log_density(
        *(torch.as_tensor(part, device=device) for part in gaussians_of(density))
    )


def gaussians_of(mixture: GaussianMixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights (C,), means (C, k) and covariances (C, k, k) of a fitted mixture."""
    components = mixture._components()
    covariances = [components.covariance(c) for c in range(len(components))]
    return components.weights, components.means, np.stack(covariances)


def latest_rows(kept: np.ndarray | None, rows: np.ndarray, n_rows: int) -> np.ndarray:
    """The last n_rows rows of `kept`, those of earlier passes or None, and of new `rows` (n, d)."""
    if kept is not None:
        rows = np.concatenate([kept, rows])
    return rows[-n_rows:]
