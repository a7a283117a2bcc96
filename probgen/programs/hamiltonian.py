"""Hamiltonian Monte Carlo moves of codes, which leave a density invariant."""

from collections.abc import Callable

import torch
from torch import Tensor

N_LEAPFROG = 8
JITTER = 0.3  # relative; steps of random size avoid periodic trajectories


def hamiltonian_move(
    log_density: Callable[[Tensor], Tensor], codes: Tensor, step: Tensor
) -> tuple[Tensor, Tensor]:
    """Move codes by one step of Hamiltonian Monte Carlo.

    Parameters
    ----------
    log_density : callable
        Differentiable function from codes (n, k) to unnormalised log-densities (n,), row by row.
    codes : Tensor of shape (n, k)
    step : Tensor of shape (n,)
        Sizes of the leapfrog steps.

    Returns
    -------
    codes : Tensor of shape (n, k)
        Draws from the density if the codes were.
    acceptance : Tensor of shape (n,)
        Acceptance probabilities of the moves.

    References
    ----------
    R. M. Neal, MCMC using Hamiltonian dynamics, 2011.

    Examples
    --------
    >>> import torch
    >>> codes = torch.zeros(3, 2)
    >>> log_density = lambda z: -0.5 * z.square().sum(1)
    >>> moved, acceptance = hamiltonian_move(log_density, codes, torch.full((3,), 0.5))
    >>> moved.shape, bool((acceptance > 0.5).all())
    (torch.Size([3, 2]), True)
    """
    stride = (step * (1.0 + JITTER * (2.0 * torch.rand_like(step) - 1.0)))[:, None]
    momentum = torch.randn_like(codes)
    value, gradient = _value_and_gradient(log_density, codes)
    log_joint = value - 0.5 * momentum.square().sum(1)
    moved = codes
    for _ in range(N_LEAPFROG):
        momentum = momentum + 0.5 * stride * gradient
        moved = moved + stride * momentum
        value, gradient = _value_and_gradient(log_density, moved)
        momentum = momentum + 0.5 * stride * gradient
    change = (value - 0.5 * momentum.square().sum(1) - log_joint).nan_to_num(nan=-torch.inf)
    acceptance = torch.exp(change.clamp(max=0.0))
    is_accepted = torch.rand_like(acceptance) < acceptance
    return torch.where(is_accepted[:, None], moved, codes), acceptance


def _value_and_gradient(log_density, codes):
    """Values (n,) of a log-density, and their gradients (n, k)."""
    with torch.enable_grad():
        codes = codes.detach().requires_grad_(True)
        values = log_density(codes)
        (gradient,) = torch.autograd.grad(values.sum(), codes)
    return values.detach(), gradient
