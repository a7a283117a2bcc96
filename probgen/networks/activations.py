"""Activations by name."""

import copy
import inspect
from collections.abc import Sequence

import torch
from torch import nn

from probgen._validation import show

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


def activation(
    name: str | type[nn.Module] | nn.Module, shape: Sequence[int] | None = None
) -> nn.Module:
    """Return a new module that computes an activation.

    Parameters
    ----------
    name : str, class or torch.nn.Module
        Name in scikit-learn or torch, class of torch.nn that needs no arguments, or module to copy.
    shape : sequence of int, optional
        Shape of tensors that the module must keep.

    Returns
    -------
    module : torch.nn.Module

    Raises
    ------
    ValueError
        If the name is unknown, the class needs arguments, or the module changes the shape.

    Examples
    --------
    >>> activation("tanh")
    Tanh()
    """
    if isinstance(name, nn.Module):
        module = copy.deepcopy(name)
        if shape is not None and not _keeps(module, shape):
            raise ValueError(
                "activation must be a module that keeps the shape of a hidden layer; got"
                f" {show(name)} for {shape[1]} units."
            )
        return module
    if inspect.isclass(name) and issubclass(name, nn.Module):
        try:
            return name()
        except TypeError as error:
            raise ValueError(
                f"activation must be a module where its class needs arguments; got {show(name)}."
            ) from error
    if not isinstance(name, str) or name not in ACTIVATIONS:
        known = ", ".join(repr(known) for known in ACTIVATIONS)
        raise ValueError(
            f"activation must be one of {known}, or a class of torch.nn; got {show(name)}."
        )
    return ACTIVATIONS[name]()


def _keeps(module: nn.Module, shape: Sequence[int]) -> bool:
    """Whether a module keeps a shape of tensors."""
    try:
        with torch.no_grad():
            outputs = copy.deepcopy(module).eval()(torch.zeros(*shape))
    except (RuntimeError, TypeError, ValueError):
        return False
    return isinstance(outputs, torch.Tensor) and outputs.shape == tuple(shape)
