"""A fitted model with latent variables, seen as a joint density of rows and codes that can be
differentiated."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from probgen._constants import LOG_2PI

STEP = 1e-4  # of a difference quotient, in standard deviations of a code
FARTHEST = 1e6  # in the same


@dataclass(frozen=True)
class LatentModel:
    """log p(x, z) = log p(z) + log p(x given z) of certain rows, as functions of their codes z.

    An estimator with latent variables makes one in `_latent_model(X, y=None)`, of checked rows. The
    functions take tensors of which the second dimension, and of `rows` the first, runs over the
    rows; they are also called with some of the rows alone.

    Attributes
    ----------
    rows : tuple of Tensor, each of shape (n, ...)
        What belongs to a row: its features, and whatever else the model knows of it, such as its
        class. They lie on the device of the networks.
    n_components : int
        Size k of a code.
    dtype : torch.dtype
        Of the codes.
    sample_prior : callable
        (n_chains, generator, *rows) -> codes of shape (n_chains, n, k), drawn from p(z) by a NumPy
        Generator.
    log_prior : callable
        (codes (n_chains, n, k), *rows) -> log p(z) of shape (n_chains, n), in nats. Its gradient by
        the codes may be an approximation, so long as it depends on nothing but the codes and the
        rows.
    log_likelihood : callable
        The same of log p(x given z).
    """

    rows: tuple[torch.Tensor, ...]
    n_components: int
    dtype: torch.dtype
    sample_prior: Callable
    log_prior: Callable
    log_likelihood: Callable


def mixture_log_density(weights, means, covariances):
    """Return the log-density of a Gaussian mixture as a function of codes that can be
    differentiated.

    Parameters
    ----------
    weights : Tensor of shape (n_components,)
    means : Tensor of shape (n_components, k)
    covariances : Tensor of shape (n_components, k, k)
        All three in double precision, for components may be narrow.

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
    roots = torch.linalg.inv(
        torch.linalg.cholesky(covariances)
    ).mT  # roots @ roots.mT are the precisions
    offsets = torch.einsum("ck,ckj->cj", means, roots)
    log_dets = torch.diagonal(roots, dim1=1, dim2=2).log().sum(1)
    constants = torch.log(weights) + log_dets - 0.5 * LOG_2PI * means.shape[1]
    stacked = roots.permute(1, 0, 2).flatten(1)  # one product for all components

    def log_density(codes):
        whitened = (codes.to(stacked.dtype) @ stacked).unflatten(-1, offsets.shape) - offsets
        return torch.logsumexp(constants - 0.5 * whitened.square().sum(-1), -1).to(codes.dtype)

    return log_density


class NumpyLogDensity(torch.autograd.Function):
    """log p(z) under a generator that computes in NumPy, with difference quotients as its gradient.

    Hamiltonian Monte Carlo stays exact under a gradient that is merely near, if it is a function of
    the codes alone: leapfrog steps then still keep volumes and can be reversed, and what is
    accepted hangs on exact values.

    `apply` takes codes of shape (..., k), the generator's `score_samples`, and two arrays of shape
    (k,): a code, and standard deviations about it. It returns shape (...). Farther than a million
    deviations from that code, where only trajectories that diverge come, the density counts as 0.
    """

    @staticmethod
    def forward(ctx, codes, score_samples, center, deviations):
        """The values; and the gradient, for whoever asks for one asks for the other."""
        k = codes.shape[-1]
        points = codes.detach().reshape(-1, k).double().cpu().numpy()
        near = (np.abs(points - center) < FARTHEST * deviations).all(axis=1)  # NaN is not
        points = np.where(near[:, np.newaxis], points, center)
        steps = STEP * deviations
        shifted = np.concatenate([points[np.newaxis], points + np.diag(steps)[:, np.newaxis]])
        values = np.asarray(score_samples(shifted.reshape(-1, k)), dtype=np.float64).reshape(
            k + 1, -1
        )
        with np.errstate(invalid="ignore"):  # where the density is 0
            slopes = np.nan_to_num((values[1:] - values[0]).T / steps, posinf=0.0, neginf=0.0)
        ctx.save_for_backward(codes.new_tensor(slopes).reshape(codes.shape))
        return codes.new_tensor(np.where(near, values[0], -np.inf)).reshape(codes.shape[:-1])

    @staticmethod
    def backward(ctx, *gradients):
        """The gradient by the codes."""
        (slopes,) = ctx.saved_tensors
        return gradients[0][..., None] * slopes, None, None, None


def log_mean_exp(log_weights):
    """Logarithm of the mean over the first dimension, and its standard error, both of the other
    dimensions.

    The error is that of independent draws; quasi-random ones have a smaller one.
    """
    n_samples = len(log_weights)
    highest = log_weights.max(0).values
    weights = torch.exp(log_weights - highest)
    mean = weights.mean(0)
    return highest + torch.log(mean), weights.std(0) / (mean * n_samples**0.5)
