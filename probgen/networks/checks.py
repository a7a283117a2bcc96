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
N_TRIAL = 2  # rows


def check_module(name, value):
    """Raise unless value is a torch.nn.Module or None."""
    if not (value is None or isinstance(value, nn.Module)):
        raise ValueError(f"{name} must be a torch.nn.Module, or None; got {value!r}.")


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
        If it has no parameters to train, or lazy ones, does not take such rows, or gives others.

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
            answer = copy.deepcopy(network).eval()(torch.zeros(N_TRIAL, n_inputs, dtype=dtype))
    except Exception as error:  # whatever a user's forward may raise
        reason = (str(error).strip().splitlines() or ["no reason given"])[0]
        raise ValueError(
            f"{expected}; {type(network).__name__} raised {type(error).__name__}: {reason}"
        ) from error
    is_tensor = isinstance(answer, torch.Tensor)
    if not is_tensor or answer.shape != (N_TRIAL, n_outputs) or not answer.is_floating_point():
        raise ValueError(
            f"{expected}; got {_describe(answer) if is_tensor else type(answer).__name__}."
        )
    return network


def _describe(answer):
    """What is wrong with a tensor that answers N_TRIAL rows."""
    if not answer.is_floating_point():
        return f"numbers of {answer.dtype}, which have no gradient"
    if answer.ndim > 1 and len(answer) == N_TRIAL:
        return f"shape (n, {', '.join(map(str, answer.shape[1:]))})"
    return f"shape {tuple(answer.shape)} for {N_TRIAL} rows"


def uses_global_generator(network):
    """Return whether a network may draw from torch's global generator while it is trained.

    Examples
    --------
    >>> import torch
    >>> uses_global_generator(torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.Dropout(0.5)))
    True
    """
    return any(map(_may_draw, network.modules()))


def _may_draw(module):
    """Whether a module by itself may draw: it is a user's, or drops out with a probability above
    0."""
    if not type(module).__module__.startswith(KNOWN):
        return True
    return (
        isinstance(module, DROPOUTS) and getattr(module, "dropout", getattr(module, "p", 1.0)) > 0.0
    )
