"""Whether a network of the user's own fits."""

import copy

import torch
from torch import nn

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


def check_network(network, n_inputs, n_outputs, name, *, dtype=torch.float32):
    """Return a copy of a network, once it has mapped rows to rows of the right width.

    Parameters
    ----------
    network : torch.nn.Module
        Left as it is.
    n_inputs, n_outputs : int
        Widths of the rows.
    name : str
        Of the parameter, for errors.
    dtype : torch.dtype, default=torch.float32
        Of the copy.

    Returns
    -------
    network : torch.nn.Module

    Raises
    ------
    ValueError
        If it has no parameters, does not take such rows, or gives others.

    Examples
    --------
    >>> import torch
    >>> check_network(torch.nn.Linear(4, 2), 4, 2, "encoder")
    Linear(in_features=4, out_features=2, bias=True)
    """
    if not any(parameter.requires_grad for parameter in network.parameters()):
        raise ValueError(f"{name} must have parameters to train; got {type(network).__name__}, which has none.")
    network = copy.deepcopy(network).to(device="cpu", dtype=dtype)
    trial = copy.deepcopy(network).eval()
    expected = f"{name} must map rows of shape (n, {n_inputs}) to (n, {n_outputs})"
    try:
        with torch.no_grad():
            answer = trial(torch.zeros(2, n_inputs, dtype=dtype))
    except (RuntimeError, TypeError, ValueError, IndexError, NotImplementedError) as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise ValueError(f"{expected}; {type(network).__name__} raised {type(error).__name__}: {reason}") from error
    if not isinstance(answer, torch.Tensor) or answer.shape != (2, n_outputs):
        got = (
            f"shape (n, {', '.join(map(str, answer.shape[1:]))})" if hasattr(answer, "shape") else type(answer).__name__
        )
        raise ValueError(f"{expected}; got {got}.")
    return network


def uses_global_generator(network):
    """Return whether a network may draw from torch's global generator while it is trained.

    Examples
    --------
    >>> import torch
    >>> uses_global_generator(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)))
    True
    """
    return any(
        isinstance(module, DROPOUTS) or not type(module).__module__.startswith(KNOWN) for module in network.modules()
    )
