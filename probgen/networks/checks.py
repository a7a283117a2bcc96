"""Checks of networks that users pass."""

import copy
from typing import Any

import torch
from torch import nn

from probgen._validation import show

DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
    nn.RReLU,
    nn.FractionalMaxPool2d,
    nn.FractionalMaxPool3d,
    nn.RNNBase,
    nn.MultiheadAttention,
)
KNOWN = ("torch.nn.", "probgen.")
N_TRIAL = 2  # rows that a network is tried on


def check_module(name: str, value: Any) -> None:
    """Raise unless value is a torch.nn.Module or None."""
    if not (value is None or isinstance(value, nn.Module)):
        raise ValueError(f"{name} must be a torch.nn.Module, or None; got {show(value)}.")


def check_network(
    network: nn.Module,
    n_inputs: int,
    n_outputs: int,
    name: str,
    *,
    dtype: torch.dtype = torch.float32,
) -> nn.Module:
    """Return a copy of a network, once it has mapped rows to rows of the right width.

    Parameters
    ----------
    network : torch.nn.Module
        Not changed.
    n_inputs, n_outputs : int
        Widths of the rows.
    name : str
        Name of the parameter in errors.
    dtype : torch.dtype, default=torch.float32
        Precision of the copy.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    ValueError
        If it has no parameters to train, or lazy ones, or does not map such rows to rows of the
        right width.

    Examples
    --------
    >>> import torch
    >>> check_network(torch.nn.Linear(4, 2), 4, 2, "encoder")
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(
            f"{name} must have parameters to train; got {type(network).__name__}, which has none."
        )
    if any(isinstance(parameter, nn.UninitializedParameter) for parameter in network.parameters()):
        raise ValueError(
            f"{name} must have parameters of known shapes; {type(network).__name__} is lazy; call"
            f" it once on rows of shape (n, {n_inputs})."
        )
    network = copy.deepcopy(network).to(device="cpu", dtype=dtype)
    expected = f"{name} must map rows of shape (n, {n_inputs}) to (n, {n_outputs})"
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            output = copy.deepcopy(network).eval()(torch.zeros(N_TRIAL, n_inputs, dtype=dtype))
    except Exception as error:  # whatever a user's forward may raise
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"{expected}; {type(network).__name__} raised {type(error).__name__}: {reason}"
        ) from error
    if not isinstance(output, torch.Tensor):
        raise ValueError(f"{expected}; got {type(output).__name__}.")
    if output.shape != (N_TRIAL, n_outputs) or not output.is_floating_point():
        raise ValueError(f"{expected}; got {_describe(output)}.")
    return network


def _describe(output: torch.Tensor) -> str:
    """What is wrong with the output for N_TRIAL rows, a tensor."""
    if not output.is_floating_point():
        return f"numbers of {output.dtype}, which have no gradient"
    if output.ndim > 1 and len(output) == N_TRIAL:
        return f"shape (n, {', '.join(map(str, output.shape[1:]))})"
    return f"shape {tuple(output.shape)} for {N_TRIAL} rows"


def uses_global_generator(network: nn.Module) -> bool:
    """Return whether a network may draw from torch's global generator while it is trained.

    Examples
    --------
    >>> import torch
    >>> uses_global_generator(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)))
    True
    """
    return any(map(_may_draw, network.modules()))


def _may_draw(module: nn.Module) -> bool:
    """Whether a module itself may draw: a user's, or dropout with a probability above 0."""
    if not type(module).__module__.startswith(KNOWN):
        return True
    if not isinstance(module, DROPOUTS):
        return False
    return getattr(module, "dropout", getattr(module, "p", 1.0)) > 0.0
