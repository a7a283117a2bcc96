"""Dense networks."""

from itertools import pairwise

from torch import nn

from probgen.networks.activations import activation as make_activation


class MLP(nn.Sequential):
    """Multilayer perceptron: linear layers with an activation between them.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : sequence of int
        () makes one linear layer.
    n_outputs : int
    activation : str, class or torch.nn.Module, default="relu"
        Of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> MLP(4, (8,), 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(self, n_inputs, hidden_layer_sizes, n_outputs, activation="relu"):
        sizes = [n_inputs, *hidden_layer_sizes, n_outputs]
        layers = []
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), make_activation(activation)]
        super().__init__(*layers[:-1])


class TiedMLP(nn.Module):
    """Multilayer perceptron whose weights are those of another, transposed and in reverse order.

    Parameters
    ----------
    mirrored : MLP
        Its weights are shared, so that they get the gradients of both.
    activation : str, class or torch.nn.Module, default="relu"
        Of the hidden layers.

    Examples
    --------
    >>> import torch
    >>> encoder = MLP(4, (8,), 2)
    >>> TiedMLP(encoder)(torch.zeros(3, 2)).shape
    torch.Size([3, 4])
    """

    def __init__(self, mirrored, activation="relu"):
        super().__init__()
        weights = [layer.weight for layer in mirrored if isinstance(layer, nn.Linear)][::-1]
        self.weights = nn.ParameterList(weights)
        self.biases = nn.ParameterList(weight.new_zeros(weight.shape[1]) for weight in weights)
        self.activations = nn.ModuleList(make_activation(activation) for _ in weights[1:])

    def forward(self, rows):
        for k, (weight, bias) in enumerate(zip(self.weights, self.biases)):
            if k > 0:
                rows = self.activations[k - 1](rows)
            rows = nn.functional.linear(rows, weight.T, bias)
        return rows
