"""Latent variable models as differentiable joint densities of rows and codes."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from probgen._constants import LOG_2PI
from probgen.marginal_likelihood.effective_draws import LEAST_EFFECTIVE

STEP = 1e-4  # of a difference quotient, in standard deviations of a code
FARTHEST = 1e6  # distance of a code from the centre, in standard deviations


@dataclass(frozen=True)
class LatentModel:
    """log p(x, z) = log p(z) + log p(x given z) of given rows, as functions of their codes z.

    An estimator with latent variables returns one from `_latent_model(X, y=None)`, for validated
    rows. The functions take codes (n_chains, n, k) and the tensors in `rows`, (n, ...); they are
    also called with a subset of the rows.

    Attributes
    ----------
    rows : tuple of Tensor, each of shape (n, ...)
        The features of each row, and other known values such as its class, on the device of the
        networks.
    n_components : int
        Length k of a code.
    dtype : torch.dtype
        Of the codes.
    sample_prior : callable
        (n_chains, generator, *rows) -> codes of shape (n_chains, n, k), drawn from p(z) by a NumPy
        Generator.
    log_prior : callable
        (codes (n_chains, n, k), *rows) -> log p(z) of shape (n_chains, n), in nats. Its gradient
        with respect to the codes may be an approximation that depends on codes and rows alone.
    log_likelihood : callable
        The same of log p(x given z).
    """

    rows: tuple[torch.Tensor, ...]
    n_components: int
    dtype: torch.dtype
    sample_prior: Callable
    log_prior: Callable
    log_likelihood: Callable


def mixture_log_density(
    weights: torch.Tensor, means: torch.Tensor, covariances: torch.Tensor
) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the log-density of a Gaussian mixture as a differentiable function of codes.

    Parameters
    ----------
    weights : Tensor of shape (n_components,)
    means : Tensor of shape (n_components, k)
    covariances : Tensor of shape (n_components, k, k)
        All three in double precision, as components may be narrow.

    Returns
    -------
    log_density : callable
        From codes (..., k) of any precision to log p(z) of shape (...), in nats.

    Examples
    --------
    >>> import torch
    >>> covariances = torch.eye(2).expand(1, 2, 2)
    >>> log_density = mixture_log_density(torch.ones(1), torch.zeros(1, 2), covariances)
    >>> log_density(torch.zeros(3, 2))
    tensor([-1.8379, -1.8379, -1.8379])
    """
    # roots @ roots.mT are the precision matrices.
    roots = torch.linalg.inv(torch.linalg.cholesky(covariances)).mT
    offsets = torch.einsum("ck,ckj->cj", means, roots)
    log_dets = torch.diagonal(roots, dim1=1, dim2=2).log().sum(1)
    constants = torch.log(weights) + log_dets - 0.5 * LOG_2PI * means.shape[1]
    stacked = roots.permute(1, 0, 2).flatten(1)  # one product for all components

    def log_density(codes: torch.Tensor) -> torch.Tensor:
        whitened = (codes.to(stacked.dtype) @ stacked).unflatten(-1, offsets.shape) - offsets
        return torch.logsumexp(constants - 0.5 * whitened.square().sum(-1), -1).to(codes.dtype)

    return log_density


class NumpyLogDensity(torch.autograd.Function):
    """log p(z) under a generator that computes in NumPy, with difference quotients as its gradient.

    Hamiltonian Monte Carlo stays exact with an approximate gradient that is a function of the codes
    alone: leapfrog steps still preserve volume and are reversible, and moves are accepted by exact
    values.

    `apply` takes codes of shape (..., k), the generator's `score_samples`, and two arrays of shape
    (k,): a centre and standard deviations of the codes. It returns shape (...). Beyond a million
    deviations from the centre, which only divergent trajectories reach, the density is 0.
    """

    @staticmethod
    def forward(
        ctx: Any,
        codes: torch.Tensor,
        score_samples: Callable,
        center: np.ndarray,
        deviations: np.ndarray,
    ) -> torch.Tensor:
        """The values; the gradient is computed too, as callers always need both."""
        k = codes.shape[-1]
        points = codes.detach().reshape(-1, k).double().cpu().numpy()
        is_near = (np.abs(points - center) < FARTHEST * deviations).all(axis=1)  # False for NaN
        points = np.where(is_near[:, np.newaxis], points, center)
        steps = STEP * deviations
        # The points, and k copies that are shifted along one axis each: (k + 1, n, k).
        shifted = np.concatenate([points[np.newaxis], points + np.diag(steps)[:, np.newaxis]])
        values = np.asarray(score_samples(shifted.reshape(-1, k)), dtype=np.float64)
        values = values.reshape(k + 1, -1)
        with np.errstate(invalid="ignore"):  # the difference of two densities of 0
            quotients = (values[1:] - values[0]).T / steps
        gradient = np.nan_to_num(quotients, posinf=0.0, neginf=0.0)
        ctx.save_for_backward(codes.new_tensor(gradient).reshape(codes.shape))
        return codes.new_tensor(np.where(is_near, values[0], -np.inf)).reshape(codes.shape[:-1])

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple:
        """The gradient with respect to the codes; the other arguments have none."""
        (gradient,) = ctx.saved_tensors
        return gradients[0][..., None] * gradient, None, None, None


def log_mean_exp(log_weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Logarithm of the mean of exp over the first dimension, and its standard error.

    The error is that of independent draws; quasi-random draws have a smaller one. It is inf where
    fewer than LEAST_EFFECTIVE draws are effective: the largest weights are then still to come, and
    those at hand do not tell how large. NaN, of draws that overflowed, counts as no weight.
    """
    log_weights = log_weights.nan_to_num(-torch.inf, posinf=torch.inf, neginf=-torch.inf)
    n_samples = len(log_weights)
    values = torch.logsumexp(log_weights, 0) - math.log(n_samples)
    shares = torch.softmax(log_weights, 0)
    is_known = 1.0 / shares.square().sum(0) >= LEAST_EFFECTIVE
    return values, torch.where(is_known, shares.std(0) * n_samples**0.5, torch.inf)
