"""Moves of codes that leave a density as it is, along its gradient."""

import torch

N_LEAPFROG, JITTER = 8, 0.3


def hamiltonian_move(log_density, codes, step):
    """Move codes by Hamiltonian Monte Carlo.

    Parameters
    ----------
    log_density : callable
        From codes (n, k) to numbers (n,), each of its own row, in nats up to a constant;
        differentiable.
    codes : Tensor of shape (n, k)
    step : Tensor of shape (n,)
        Sizes of a leapfrog step.

    Returns
    -------
    codes : Tensor of shape (n, k)
        Draws from the density, where those before were.
    acceptance : Tensor of shape (n,)
        Probability with which the move was made.

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
    before, slope = _with_slope(log_density, codes)
    energy, moved = before - 0.5 * momentum.square().sum(1), codes
    for _ in range(N_LEAPFROG):
        momentum = momentum + 0.5 * stride * slope
        moved = moved + stride * momentum
        after, slope = _with_slope(log_density, moved)
        momentum = momentum + 0.5 * stride * slope
    change = (after - 0.5 * momentum.square().sum(1) - energy).nan_to_num(nan=-torch.inf)
    acceptance = torch.exp(change.clamp(max=0.0))
    is_accepted = torch.rand_like(acceptance) < acceptance
    return torch.where(is_accepted[:, None], moved, codes), acceptance


def _with_slope(log_density, codes):
    """Values (n,) of a density, and their gradients (n, k)."""
    with torch.enable_grad():
        codes = codes.detach().requires_grad_(True)
        values = log_density(codes)
        (slope,) = torch.autograd.grad(values.sum(), codes)
    return values.detach(), slope
