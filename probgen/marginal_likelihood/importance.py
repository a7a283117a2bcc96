"""Importance sampling of the likelihood of a row under a latent variable model with a decoder.

p(x) is the integral of p(x given z) p(z) over the codes z. With draws z_s from q, the mean of
p(x given z_s) p(z_s) / q(z_s) is an unbiased estimate of it; its logarithm is too low on average.
Here q is a mixture: most draws come from a Student's t about the posterior mode, the others from
p(z), which bounds the weights wherever the posterior has further modes [1]_.

References
----------
.. [1] T. Hesterberg, Weighted average importance sampling and defensive mixture distributions,
   Technometrics, 1995.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from scipy.special import gammaln
from scipy.stats import chi2, norm, qmc

DEGREES_OF_FREEDOM = 8.0  # heavier tails than the posterior's, so that all weights are bounded
NEWTON_STEPS = 4
PRIOR_SHARE = 4  # one draw in so many comes from the prior
STEP = 1e-3  # of a difference quotient, in standard deviations of a code


def log_likelihood(
    X: torch.Tensor,
    codes: torch.Tensor,
    decode: Callable,
    log_prob: Callable,
    curvature: Callable,
    prior: Any,
    *,
    n_samples: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Return estimates of log p(x) of rows, and their standard errors.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    codes : Tensor of shape (n, k)
        Start of the search for the posterior modes, such as the codes of an encoder.
    decode : callable
        From codes (m, k) to parameters (m, d) of the observation model.
    log_prob : callable
        From rows and parameters (..., d), which broadcast, to log p(x given z) of shape (...).
    curvature : callable
        From the same to the gradient of log_prob with respect to the parameters, and its expected
        negative second derivative.
    prior : object
        With `score_samples`, the log-density of codes, `sample(n, random_state=)`, and `mean` (k,)
        and `precision` (k, k) of a Gaussian that approximates it.
    n_samples : int
        Draws for each row, at least PRIOR_SHARE; the same for all rows up to the location and the
        shape of the proposal.

    Returns
    -------
    values, errors : ndarray of shape (n,)
        In nats.
    """
    mode, factor = _proposal(X, codes, decode, log_prob, curvature, prior)
    n, k = mode.shape
    n_far = n_samples // PRIOR_SHARE
    device = factor.device

    # Draws of the Student's t are the row's own (n, s, k), draws of the prior are shared (s', k).
    noise, log_t_near = _noise(k, n_samples - n_far)
    scaled_noise = torch.einsum("nij,sj->nsi", factor, torch.tensor(noise, device=device))
    near = mode[:, None, :] + scaled_noise
    prior_draws = np.asarray(prior.sample(n_far, random_state=0), dtype=np.float64)
    far = torch.tensor(prior_draws, device=device)

    # Both parts of the mixture have a density at every draw: first the Student's t, (n, n_samples).
    offsets = torch.linalg.solve_triangular(factor, far.T - mode[:, :, None], upper=False)
    log_t_far = _log_t(_array(offsets.square().sum(1)), k)
    log_t = np.hstack([np.broadcast_to(log_t_near, (n, len(log_t_near))), log_t_far])
    log_determinant = torch.log(torch.diagonal(factor, dim1=1, dim2=2)).sum(1)
    log_t = log_t - _array(log_determinant)[:, np.newaxis]

    log_prior = prior.score_samples(_array(torch.cat([near.reshape(-1, k), far])))
    log_prior_near = log_prior[:-n_far].reshape(n, -1)
    log_prior_far = np.broadcast_to(log_prior[-n_far:], (n, n_far))
    log_prior = np.hstack([log_prior_near, log_prior_far])

    def log_likelihood_given(codes: torch.Tensor) -> np.ndarray:
        parameters = decode(codes.reshape(-1, k).to(X.dtype)).reshape(*codes.shape[:-1], -1)
        return _array(log_prob(X[:, None, :], parameters))

    share = n_far / n_samples
    log_proposal = np.logaddexp(np.log1p(-share) + log_t, np.log(share) + log_prior)
    log_given = np.hstack([log_likelihood_given(near), log_likelihood_given(far)])
    log_weights = log_given + log_prior - log_proposal

    highest = log_weights.max(axis=1)
    weights = np.exp(log_weights - highest[:, np.newaxis])
    mean = weights.mean(axis=1)
    errors = weights.std(axis=1, ddof=1) / (mean * math.sqrt(n_samples))
    return highest + np.log(mean), errors


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.double().cpu().numpy()


def _proposal(
    X: torch.Tensor,
    codes: torch.Tensor,
    decode: Callable,
    log_prob: Callable,
    curvature: Callable,
    prior: Any,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Posterior modes (n, k) and lower factors (n, k, k) of the covariances there.

    The modes are found by damped Gauss-Newton steps, with the Gaussian near the prior in its place.
    """
    mean = torch.as_tensor(prior.mean, dtype=torch.float64, device=X.device)
    precision = torch.as_tensor(prior.precision, dtype=torch.float64, device=X.device)

    def log_posterior(codes: torch.Tensor) -> torch.Tensor:
        offset = codes - mean
        log_prior = -0.5 * ((offset @ precision) * offset).sum(1)
        return log_prob(X, decode(codes.to(X.dtype))).double() + log_prior

    codes = codes.double()
    value = log_posterior(codes)
    for _ in range(NEWTON_STEPS):
        gradient, hessian = _expand(X, codes, decode, curvature, mean, precision)
        step = torch.cholesky_solve(gradient.unsqueeze(2), _cholesky(hessian)).squeeze(2)
        # A full step, then a quarter of one, each where it improves the row.
        for damping in (1.0, 0.25):
            moved = codes + damping * step
            new_value = log_posterior(moved)
            is_better = new_value > value
            codes = torch.where(is_better[:, None], moved, codes)
            value = torch.where(is_better, new_value, value)
    _, hessian = _expand(X, codes, decode, curvature, mean, precision)
    covariance = torch.cholesky_inverse(_cholesky(hessian))
    return codes, _cholesky(0.5 * (covariance + covariance.mT))


def _expand(
    X: torch.Tensor,
    codes: torch.Tensor,
    decode: Callable,
    curvature: Callable,
    mean: torch.Tensor,
    precision: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient (n, k) and Gauss-Newton matrix (n, k, k) of the log-posterior at codes."""
    n, k = codes.shape
    steps = STEP / torch.sqrt(torch.diagonal(precision))
    # The codes, and k copies that are shifted along one axis each: (k + 1, n, k).
    shifted = torch.cat([codes.unsqueeze(0), codes + torch.diag(steps).unsqueeze(1)]).to(X.dtype)
    parameters = decode(shifted.reshape(-1, k)).reshape(k + 1, n, -1)
    differences = (parameters[1:] - parameters[0]) / steps.to(X.dtype)[:, None, None]
    jacobian = differences.permute(1, 2, 0)  # (n, d, k)
    gradient, information = curvature(X, parameters[0])
    by_codes = torch.einsum("ndk,nd->nk", jacobian, gradient).double()
    hessian = torch.einsum("ndk,nd,ndj->nkj", jacobian, information, jacobian).double()
    return by_codes - (codes - mean) @ precision, hessian + precision


def _cholesky(matrix: torch.Tensor) -> torch.Tensor:
    """Lower factors of positive matrices (n, k, k), with a ridge against rounding errors."""
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    return torch.linalg.cholesky(matrix + torch.diag_embed(1e-10 * diagonal))


def normal_noise(k: int, n_samples: int) -> np.ndarray:
    """Return quasi-random standard normal draws (n_samples, k), always the same.

    They come from a scrambled Sobol sequence.
    """
    return norm.ppf(_uniform(k, n_samples))


@lru_cache(maxsize=8)
def _uniform(k: int, n_samples: int) -> np.ndarray:
    """Scrambled Sobol points (n_samples, k) in the open unit cube."""
    exponent = max(0, math.ceil(math.log2(n_samples)))
    points = qmc.Sobol(k, rng=np.random.default_rng(0)).random_base2(exponent)[:n_samples]
    points = np.clip(points, 1e-12, 1.0 - 1e-12)
    points.flags.writeable = False
    return points


@lru_cache(maxsize=8)
def _noise(k: int, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Quasi-random draws (n_samples, k) of a standard Student's t, and their log-densities."""
    uniform = _uniform(k + 1, n_samples)
    # A Student's t is a Gaussian over the root of a chi-squared variable per degree of freedom.
    spread = np.sqrt(DEGREES_OF_FREEDOM / chi2.ppf(uniform[:, :1], DEGREES_OF_FREEDOM))
    noise = spread * norm.ppf(uniform[:, 1:])
    log_density = _log_t(np.square(noise).sum(axis=1), k)
    noise.flags.writeable = False
    log_density.flags.writeable = False
    return noise, log_density


def _log_t(squared_norms: np.ndarray, k: int) -> np.ndarray:
    """Log-density of a standard Student's t in k dimensions at points of these squared norms."""
    half = 0.5 * (DEGREES_OF_FREEDOM + k)
    constant = (
        gammaln(half)
        - gammaln(0.5 * DEGREES_OF_FREEDOM)
        - 0.5 * k * math.log(math.pi * DEGREES_OF_FREEDOM)
    )
    return constant - half * np.log1p(squared_norms / DEGREES_OF_FREEDOM)
