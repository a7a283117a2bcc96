"""Dense networks."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.networks.activations import activation as make_activation

ALIGNMENT = 16  # numbers, a multiple of the vector length of every processor


class Linear(nn.Linear):
    """Linear layer whose outputs for a row are bit-identical at any place in a batch.

    The order of the sums in a matrix product may depend on whether a row begins at a multiple of
    the processor's vector length in memory. On the CPU and without gradients, this layer lays rows
    out so that all of them do; `torch.nn.Linear` does not.

    Parameters
    ----------
    in_features, out_features : int
    **parameters
        As in `torch.nn.Linear`.

    Examples
    --------
    >>> import torch
    >>> layer = Linear(5, 3)
    >>> with torch.inference_mode():
    ...     outputs = layer(torch.ones(256, 5))
    >>> bool((outputs == outputs[0]).all())
    True
    """

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return aligned_linear(rows, self.weight, self.bias)


def aligned_linear(rows: torch.Tensor, weight: torch.Tensor, bias: Any) -> torch.Tensor:
    """torch.nn.functional.linear of rows that begin at multiples of ALIGNMENT numbers."""
    n_inputs = rows.shape[-1]
    if torch.is_grad_enabled() or rows.device.type != "cpu" or n_inputs % ALIGNMENT == 0:
        return nn.functional.linear(rows, weight, bias)
    shape = rows.shape[:-1]
    spaced = rows.new_empty(shape.numel(), n_inputs + -n_inputs % ALIGNMENT)[:, :n_inputs]
    spaced.copy_(rows.reshape(-1, n_inputs))
    return nn.functional.linear(spaced, weight, bias).reshape(*shape, len(weight))


class MLP(nn.Sequential):
    """Multilayer perceptron: linear layers with an activation between them.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : sequence of int
        Widths of the hidden layers; () makes one linear layer.
    n_outputs : int
    activation : str, class or torch.nn.Module, default="relu"
        Activation of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> MLP(4, (8,), 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_layer_sizes: Sequence[int],
        n_outputs: int,
        activation: Any = "relu",
    ) -> None:
        sizes = [n_inputs, *hidden_layer_sizes, n_outputs]
        layers: list[nn.Module] = []
        for before, after in pairwise(sizes):
            if layers:
                layers.append(make_activation(activation, (1, before)))
            layers.append(Linear(before, after))
        super().__init__(*layers)


class TiedMLP(nn.Module):
    """Multilayer perceptron with the transposed weights of another one, in reverse order.

    Parameters
    ----------
    mirrored : MLP
        Network whose weights are shared, so that they get the gradients of both.
    activation : str, class or torch.nn.Module, default="relu"
        Activation of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> encoder = MLP(4, (8,), 2)
    >>> TiedMLP(encoder)(torch.zeros(3, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(self, mirrored: Any, activation: Any = "relu") -> None:
        super().__init__()
        weights = [layer.weight for layer in mirrored if isinstance(layer, nn.Linear)][::-1]
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(weight.new_zeros(weight.shape[1]) for weight in weights)
        self.activations = nn.ModuleList(
            make_activation(activation, (1, len(weight))) for weight in weights[1:]
        )

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            if k > 0:
                rows = self.activations[k - 1](rows)
            rows = aligned_linear(rows, weight.T, bias)
        return rows
