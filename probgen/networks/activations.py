"""Activations by name."""

import copy
import inspect

from torch import nn

ACTIVATIONS = {
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "logistic": nn.Sigmoid,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "softplus": nn.Softplus,
}


def activation(name: str | type[nn.Module] | nn.Module) -> nn.Module:
    """Return a new module that computes an activation.

    Parameters
    ----------
    name : str, class or torch.nn.Module
        Name in scikit-learn or torch, class of torch.nn that needs no arguments, or module to copy.

    Returns
    -------
    module : torch.nn.Module

    Raises
    ------
    ValueError
        If the name is unknown, or the class needs arguments.

    Examples
    --------
    >>> activation("tanh")
    Tanh()
    """
    if isinstance(name, nn.Module):
        return copy.deepcopy(name)
    if inspect.isclass(name) and issubclass(name, nn.Module):
        try:
            return name()
        except TypeError as error:
            raise ValueError(
                f"activation must be a module where its class needs arguments; got {name!r}."
            ) from error
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(repr(known) for known in ACTIVATIONS)
        raise ValueError(
            f"activation must be one of {known}, or a class of torch.nn; got {name!r}."
        )
    return ACTIVATIONS[name]()
