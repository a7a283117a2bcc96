"""Importance sampling of the likelihood of a row under a latent variable model with a decoder.

p(x) is the integral of p(x given z) p(z) over the codes z. With draws z_s from q, the mean of
p(x given z_s) p(z_s) / q(z_s) is an unbiased estimate of it, whose logarithm lies below on average.
Here q is a mix: most draws come from a Student's t about the posterior mode, the others from p(z),
which bounds the weights wherever the posterior has further modes [1]_.

References
----------
.. [1] T. Hesterberg, Weighted average importance sampling and defensive mixture distributions,
   Technometrics, 1995.
"""

import math
from functools import lru_cache

import numpy as np
import torch
from scipy.special import gammaln
from scipy.stats import chi2, norm, qmc

DEGREES_OF_FREEDOM = 8.0  # tails heavier than the posterior's, so that no weight is unbounded
NEWTON_STEPS = 4
PRIOR_SHARE = 4  # one draw of so many comes from the prior
STEP = 1e-3  # of a difference quotient, in standard deviations of a code


def log_likelihood(X, codes, decode, log_prob, curvature, prior, *, n_samples):
    """Estimate log p(x) of rows, with the standard error.

    Parameters
    ----------
    X : Tensor of shape (n, d)
    codes : Tensor of shape (n, k)
        Where to begin to look for the posterior modes, such as the codes of an encoder.
    decode : callable
        From codes (m, k) to parameters (m, d) of the observation model.
    log_prob : callable
        Of rows and parameters, which broadcast, of shape (..., d); log p(x given z) of shape (...).
    curvature : callable
        Of the same: the gradient of log_prob by the parameters, and the expected negative second
        derivative.
    prior : object
        With `score_samples`, the log-density of codes, `sample(n, random_state=)`, and `mean` (k,)
        and `precision` (k, k), a Gaussian near it.
    n_samples : int
        Draws for each row, at least PRIOR_SHARE; the same for all rows up to the shape of the
        proposal.

    Returns
    -------
    values, errors : ndarray of shape (n,)
        In nats.
    """
    mode, scale = _proposal(X, codes, decode, log_prob, curvature, prior)
    n, k = mode.shape
    n_far = n_samples // PRIOR_SHARE
    noise, log_t = _noise(k, n_samples - n_far)
    near = mode[:, None, :] + torch.einsum(
        "nij,sj->nsi", scale, torch.tensor(noise, device=scale.device)
    )
    far = torch.tensor(
        np.asarray(prior.sample(n_far, random_state=0), dtype=np.float64), device=scale.device
    )
    offsets = torch.linalg.solve_triangular(scale, far.T - mode[:, :, None], upper=False)
    log_t = np.hstack(
        [np.broadcast_to(log_t, (n, len(log_t))), _log_t(_array(offsets.square().sum(1)), k)]
    )
    log_t = log_t - _array(torch.log(torch.diagonal(scale, dim1=1, dim2=2)).sum(1))[:, np.newaxis]

    def given(codes):
        parameters = decode(codes.reshape(-1, k).to(X.dtype)).reshape(*codes.shape[:-1], -1)
        return _array(log_prob(X[:, None, :], parameters))

    log_prior = prior.score_samples(_array(torch.cat([near.reshape(-1, k), far])))
    log_prior = np.hstack(
        [log_prior[: -len(far)].reshape(n, -1), np.broadcast_to(log_prior[-len(far) :], (n, n_far))]
    )
    share = n_far / n_samples
    log_proposal = np.logaddexp(np.log1p(-share) + log_t, np.log(share) + log_prior)
    log_weights = np.hstack([given(near), given(far)]) + log_prior - log_proposal
    highest = log_weights.max(axis=1)
    weights = np.exp(log_weights - highest[:, np.newaxis])
    mean = weights.mean(axis=1)
    return highest + np.log(mean), weights.std(axis=1, ddof=1) / (mean * math.sqrt(n_samples))


def _array(tensor):
    return tensor.double().cpu().numpy()


def _proposal(X, codes, decode, log_prob, curvature, prior):
    """Posterior modes (n, k) by damped Gauss-Newton steps, and lower factors (n, k, k) of the
    covariances there."""
    mean = torch.as_tensor(prior.mean, dtype=torch.float64, device=X.device)
    precision = torch.as_tensor(prior.precision, dtype=torch.float64, device=X.device)

    def objective(codes):
        offset = codes - mean
        return log_prob(X, decode(codes.to(X.dtype))).double() - 0.5 * (
            (offset @ precision) * offset
        ).sum(1)

    codes = codes.double()
    value = objective(codes)
    for _ in range(NEWTON_STEPS):
        slope, hessian = _expand(X, codes, decode, curvature, mean, precision)
        step = torch.cholesky_solve(slope.unsqueeze(2), _cholesky(hessian)).squeeze(2)
        for factor in (1.0, 0.25):
            moved = codes + factor * step
            new_value = objective(moved)
            better = new_value > value
            codes = torch.where(better[:, None], moved, codes)
            value = torch.where(better, new_value, value)
    _, hessian = _expand(X, codes, decode, curvature, mean, precision)
    inverse = torch.cholesky_inverse(_cholesky(hessian))
    return codes, _cholesky(0.5 * (inverse + inverse.mT))


def _expand(X, codes, decode, curvature, mean, precision):
    """Gradient (n, k) and Gauss-Newton matrix (n, k, k) of the log-posterior at codes."""
    n, k = codes.shape
    steps = STEP / torch.sqrt(torch.diagonal(precision))
    shifted = torch.cat([codes.unsqueeze(0), codes + torch.diag(steps).unsqueeze(1)]).to(X.dtype)
    parameters = decode(shifted.reshape(-1, k)).reshape(k + 1, n, -1)
    jacobian = ((parameters[1:] - parameters[0]) / steps.to(X.dtype)[:, None, None]).permute(
        1, 2, 0
    )
    gradient, information = curvature(X, parameters[0])
    slope = torch.einsum("ndk,nd->nk", jacobian, gradient).double() - (codes - mean) @ precision
    hessian = torch.einsum("ndk,nd,ndj->nkj", jacobian, information, jacobian).double()
    return slope, hessian + precision


def _cholesky(matrix):
    """Lower factors of (n, k, k) positive matrices, a little added to the diagonal for rounding."""
    diagonal = torch.diagonal(matrix, dim1=1, dim2=2)
    return torch.linalg.cholesky(matrix + torch.diag_embed(1e-10 * diagonal))


def normal_noise(k, n_samples):
    """Return quasi-random draws (n_samples, k) of a standard Gaussian, always the same: a scrambled
    Sobol sequence."""
    return norm.ppf(_uniform(k, n_samples))


@lru_cache(maxsize=8)
def _uniform(k, n_samples):
    """Scrambled Sobol points (n_samples, k) within the unit cube."""
    exponent = max(0, math.ceil(math.log2(n_samples)))
    points = qmc.Sobol(k, rng=np.random.default_rng(0)).random_base2(exponent)[:n_samples]
    points = np.clip(points, 1e-12, 1.0 - 1e-12)
    points.flags.writeable = False
    return points


@lru_cache(maxsize=8)
def _noise(k, n_samples):
    """Quasi-random draws (n_samples, k) of a standard Student's t, and their log-densities
    (n_samples,)."""
    uniform = _uniform(k + 1, n_samples)
    spread = np.sqrt(DEGREES_OF_FREEDOM / chi2.ppf(uniform[:, :1], DEGREES_OF_FREEDOM))
    noise = spread * norm.ppf(uniform[:, 1:])
    log_density = _log_t(np.square(noise).sum(axis=1), k)
    noise.flags.writeable = log_density.flags.writeable = False
    return noise, log_density


def _log_t(squares, k):
    """Log-density of a standard Student's t in k dimensions at points of these squared lengths."""
    half = 0.5 * (DEGREES_OF_FREEDOM + k)
    constant = (
        gammaln(half)
        - gammaln(0.5 * DEGREES_OF_FREEDOM)
        - 0.5 * k * math.log(math.pi * DEGREES_OF_FREEDOM)
    )
    return constant - half * np.log1p(squares / DEGREES_OF_FREEDOM)
