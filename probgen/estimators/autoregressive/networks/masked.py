"""Dense networks whose outputs for a feature depend on the features before it alone.

The features may have several orders. Every unit has a degree in each order: the position of the
last input that it may depend on. Degrees of inputs are their positions, counted from 0. A hidden
unit depends on units of degrees up to its own, an output on units of degrees below the position of
its feature [1]_.

References
----------
.. [1] M. Germain, K. Gregor, I. Murray, H. Larochelle, MADE: masked autoencoder for distribution
   estimation, 2015.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.networks.activations import activation as make_activation
from probgen.networks.dense import aligned_linear

# Largest size of a scaled input: it must not overflow, as a mask cannot hide 0 times infinity.
LARGEST_INPUT = 1e3


class MaskedLinear(nn.Linear):
    """Linear layer with a mask on its weights for each order.

    Parameters
    ----------
    in_degrees, out_degrees : int64 Tensor of shape (n_orders, n_inputs) and (n_orders, n_outputs)
        Degrees of the inputs and outputs.
    strict : bool, default=False
        Whether an output depends on lower degrees alone, not on its own degree.
    bias : bool, default=True

    Examples
    --------
    >>> import torch
    >>> layer = MaskedLinear(torch.tensor([[0, 1, 2]]), torch.tensor([[0, 1]]))
    >>> layer.masked_weight().shape, layer.mask[0]
    (torch.Size([2, 3]), tensor([[1., 0., 0.],
            [1., 1., 0.]]))
    """

    mask: torch.Tensor

    def __init__(
        self,
        in_degrees: torch.Tensor,
        out_degrees: torch.Tensor,
        *,
        strict: bool = False,
        bias: bool = True,
    ) -> None:
        super().__init__(in_degrees.shape[1], out_degrees.shape[1], bias=bias)
        self.strict = strict
        self.register_buffer("mask", self.mask_of(in_degrees, out_degrees), persistent=False)

    def mask_of(self, in_degrees: torch.Tensor, out_degrees: torch.Tensor) -> torch.Tensor:
        """Return masks (n_orders, n_outputs, n_inputs) of degrees as in the constructor."""
        before = in_degrees[:, None, :]
        after = out_degrees[:, :, None]
        if self.strict:
            mask = before < after
        else:
            mask = before <= after
        return mask.to(self.weight.dtype)  # a product is faster than a selection

    def masked_weight(self, order: int | torch.Tensor = 0) -> torch.Tensor:
        """Return the weights (n_outputs, n_inputs) of an order.

        The order is an int, or an int64 Tensor of shape (1,), which needs no copy to the host.
        """
        if isinstance(order, torch.Tensor):
            return self.weight * self.mask.index_select(0, order)[0]
        return self.weight * self.mask[order]

    def forward(self, rows: torch.Tensor, order: int | torch.Tensor = 0) -> torch.Tensor:
        return aligned_linear(rows, self.masked_weight(order), self.bias)


class MaskedMLP(nn.Module):
    """Multilayer perceptron from features to outputs, with shortcuts from inputs to outputs.

    Without a hidden layer it is a linear map.

    Parameters
    ----------
    positions : int64 Tensor of shape (n_orders, d)
        Positions of the features in each order, from 0.
    n_outputs_per_feature : int
        Outputs for each feature, which are adjacent.
    hidden_layer_sizes : sequence of int, default=()
        Widths of the hidden layers. The degrees 0 to d - 2 are spread evenly over the units of a
        layer; with several orders they are permuted at random in each.
    activation : str, class or torch.nn.Module, default="relu"
    n_levels : int, default=None
        Levels of the features, which are one-hot encoded. None takes features as numbers.
    center, scale : Tensor of shape (d,), default=None
        Location and scale by which numbers are standardised. None leaves them as they are.
    dropout, input_dropout : float, default=0.0
        Dropout probabilities of hidden units and of inputs.
    encoder : torch.nn.Module, default=None
        Its method `encode` maps rows (n, m) to the inputs of the first layer. Its buffers
        `input_columns` and `output_columns` name the column, among those whose positions are
        given, that each input and each output belongs to. It replaces n_outputs_per_feature,
        n_levels, center and scale.
    any_order : bool, default=False
        Whether the network also runs in orders that are not among `positions`. Hidden units then
        have the same degrees in all orders, and each number is followed by a 1, which
        distinguishes a masked feature from a feature of 0.

    Attributes
    ----------
    n_pooled : int
        Number of `features`.

    Examples
    --------
    >>> import torch
    >>> network = MaskedMLP(torch.arange(4)[None], 1, (8,))
    >>> network(torch.zeros(3, 4)).shape, network.features(torch.zeros(3, 4)).shape
    (torch.Size([3, 4]), torch.Size([3, 8]))
    """

    center: torch.Tensor
    scale: torch.Tensor
    encoder: Any

    def __init__(
        self,
        positions: torch.Tensor,
        n_outputs_per_feature: int = 1,
        hidden_layer_sizes: Sequence[int] = (),
        activation: Any = "relu",
        *,
        n_levels: int | None = None,
        center: torch.Tensor | None = None,
        scale: torch.Tensor | None = None,
        dropout: float = 0.0,
        input_dropout: float = 0.0,
        encoder: nn.Module | None = None,
        any_order: bool = False,
    ) -> None:
        super().__init__()
        self.n_orders, self.n_columns = positions.shape
        self.encoder = encoder
        self.n_outputs_per_feature = n_outputs_per_feature
        self.any_order = any_order
        self.n_levels = n_levels
        self.dropout = dropout
        self.input_dropout = input_dropout
        self.hidden_layer_sizes = tuple(hidden_layer_sizes)
        self.register_buffer("center", center)
        self.register_buffer("scale", scale)
        *degrees, outputs = self._degrees(positions)
        self.hidden = nn.ModuleList(
            MaskedLinear(before, after) for before, after in pairwise(degrees)
        )
        self.last = MaskedLinear(degrees[-1], outputs, strict=True)
        self.short_cut = None
        self.n_pooled = outputs.shape[1]
        if len(self.hidden):
            self.short_cut = MaskedLinear(degrees[0], outputs, strict=True, bias=False)
            self.n_pooled = degrees[-1].shape[1]
        nn.init.zeros_(self.last.bias)
        nn.init.zeros_((self.short_cut or self.last).weight)
        self.activation = make_activation(activation)
        for width in (mask.shape[1] for mask in degrees[1:]):
            make_activation(activation, (1, width))  # checks

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        if "encoder" not in self._modules:  # of a file of an earlier version
            self.encoder = None

    def forward(
        self,
        rows: torch.Tensor,
        order: int | torch.Tensor = 0,
        noise: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Outputs (n, d * n_outputs_per_feature) in an order.

        The order is an int, or an int64 Tensor of shape (1,); with any_order a Tensor (d,) is the
        positions of the features in an order. In training `noise` seeds the dropout.
        """
        return self._outputs(rows, self._weights(order), noise)

    def folded(self, order: int | torch.Tensor = 0) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function from rows to outputs in an order, with its masks folded in once."""
        with torch.no_grad():
            return partial(self._outputs, weights=self._weights(order))

    def features(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the last hidden layer (n, n_pooled), or the outputs, averaged over the orders."""
        return self.folded_features()(rows)

    def folded_features(self) -> Callable[[torch.Tensor], torch.Tensor]:
        """Return the function `features` with the masks folded in once."""
        weights = [self._weights(order) for order in range(self.n_orders)]
        return lambda rows: torch.stack([self._pool(rows, each) for each in weights]).mean(0)

    def _weights(self, order: int | torch.Tensor) -> list[torch.Tensor]:
        """Masked weights of the hidden layers, the last layer and the shortcuts, if any."""
        layers = [*self.hidden, self.last]
        if self.short_cut is not None:
            layers.append(self.short_cut)
        if not self.any_order or not isinstance(order, torch.Tensor):
            return [layer.masked_weight(order) for layer in layers]
        # Masks of an order that the network was not made with.
        *degrees, outputs = self._degrees(order[None])
        ends = [*pairwise(degrees), (degrees[-1], outputs), (degrees[0], outputs)]
        return [layer.weight * layer.mask_of(*pair)[0] for layer, pair in zip(layers, ends)]

    def _degrees(self, positions: torch.Tensor) -> list[torch.Tensor]:
        """Degrees (n_orders, n_units) of the inputs, each hidden layer and the outputs."""
        n_orders, d = positions.shape
        if self.encoder is not None:
            inputs = positions[:, self.encoder.input_columns]
            outputs = positions[:, self.encoder.output_columns]
            return [inputs, *self._hidden_degrees(n_orders, d, positions.device), outputs]
        n_inputs = 1  # for each feature
        if self.n_levels is not None:
            n_inputs = self.n_levels
        elif self.any_order:
            n_inputs = 2
        inputs = positions.repeat_interleave(n_inputs, dim=1)
        outputs = positions.repeat_interleave(self.n_outputs_per_feature, dim=1)
        return [inputs, *self._hidden_degrees(n_orders, d, positions.device), outputs]

    def _hidden_degrees(self, n_orders: int, d: int, device: torch.device) -> list[torch.Tensor]:
        """Degrees (n_orders, n_units) of each hidden layer."""
        hidden = []
        for width in self.hidden_layer_sizes:
            degrees = _spread(width, d, device).expand(n_orders, -1)
            if n_orders > 1 and not self.any_order:
                degrees = torch.stack([row[torch.randperm(width)] for row in degrees])
            hidden.append(degrees)
        return hidden

    def _hidden(
        self,
        rows: torch.Tensor,
        weights: Sequence[torch.Tensor],
        noise: torch.Generator | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoded inputs, and the last hidden layer."""
        inputs = self._dropped(self._encode(rows), self.input_dropout, noise)
        hidden = inputs
        for layer, weight in zip(self.hidden, weights):
            hidden = self.activation(aligned_linear(hidden, weight, layer.bias))
            hidden = self._dropped(hidden, self.dropout, noise)
        return inputs, hidden

    def _pool(self, rows: torch.Tensor, weights: Sequence[torch.Tensor]) -> torch.Tensor:
        """Features (n, n_pooled) in one order."""
        if len(self.hidden):
            return self._hidden(rows, weights)[1]
        return self._outputs(rows, weights)

    def _outputs(
        self,
        rows: torch.Tensor,
        weights: Sequence[torch.Tensor],
        noise: torch.Generator | None = None,
    ) -> torch.Tensor:
        inputs, hidden = self._hidden(rows, weights, noise)
        outputs = aligned_linear(hidden, weights[len(self.hidden)], self.last.bias)
        if self.short_cut is not None:
            outputs = outputs + aligned_linear(inputs, weights[-1], None)
        return outputs

    def _encode(self, rows: torch.Tensor) -> torch.Tensor:
        """Inputs (n, d * n_inputs) of the first layer for rows (n, d)."""
        if self.encoder is not None:
            return self.encoder.encode(rows).clamp(-LARGEST_INPUT, LARGEST_INPUT)
        if self.n_levels is not None:
            levels = torch.arange(self.n_levels, device=rows.device)
            return (rows[..., None] == levels).to(rows.dtype).flatten(-2)
        if self.center is not None:
            rows = ((rows - self.center) / self.scale).clamp(-LARGEST_INPUT, LARGEST_INPUT)
        if self.any_order:
            rows = torch.stack([rows, torch.ones_like(rows)], dim=-1).flatten(-2)
        return rows

    def _dropped(
        self, values: torch.Tensor, share: float, noise: torch.Generator | None
    ) -> torch.Tensor:
        """Values after dropout in training."""
        if not self.training or noise is None or share == 0.0:
            return values
        kept = torch.empty_like(values).bernoulli_(1.0 - share, generator=noise)
        return values * kept.div_(1.0 - share)


def _spread(width: int, d: int, device: torch.device) -> torch.Tensor:
    """Degrees (width,) of hidden units, 0 to d - 2 equally often."""
    return torch.arange(width, device=device) * max(d - 1, 0) // width
