"""Observation models: how a row scatters about what a decoder says of it. In torch, in nats, one number a row."""

import math

import torch

LOG_2PI = math.log(2.0 * math.pi)


def gaussian_log_prob(X, mean, variance):
    """Log-density of rows under independent Gaussians.

    Parameters
    ----------
    X, mean : Tensor of shape (..., d)
    variance : Tensor of shape (d,)

    Returns
    -------
    log_prob : Tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> gaussian_log_prob(torch.zeros(1, 2), torch.zeros(1, 2), torch.ones(2))
    tensor([-1.8379])
    """
    constant = torch.log(variance).sum() + X.shape[-1] * LOG_2PI
    return -0.5 * (((X - mean) ** 2 / variance).sum(-1) + constant)


def bernoulli_log_prob(X, logits):
    """Log-probability of rows of 0 and 1 under independent Bernoulli variables.

    For values between, it is the negative cross-entropy, which is no log-density.

    Parameters
    ----------
    X, logits : Tensor of shape (..., d)
        Values in [0, 1], and log-odds of a 1.

    Returns
    -------
    log_prob : Tensor of shape (...)

    Examples
    --------
    >>> import torch
    >>> bernoulli_log_prob(torch.tensor([[0.0, 1.0]]), torch.zeros(1, 2))
    tensor([-1.3863])
    """
    X, logits = torch.broadcast_tensors(X, logits)
    return -torch.nn.functional.binary_cross_entropy_with_logits(logits, X, reduction="none").sum(-1)
