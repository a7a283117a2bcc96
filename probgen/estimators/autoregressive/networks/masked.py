"""Dense networks in which an answer depends on the inputs before it alone, in one of several
orders.

Every unit has a degree in every order: the position of the last input that it may see. Those of
inputs are their positions, counted from 0; a hidden unit sees units of degrees up to its own, an
answer those of lower degrees than the position of its feature [1]_.

References
----------
.. [1] M. Germain, K. Gregor, I. Murray, H. Larochelle, MADE: masked autoencoder for distribution
   estimation, 2015.
"""

from functools import partial
from itertools import pairwise

import torch
from torch import nn

from probgen.networks.activations import activation as make_activation
from probgen.networks.dense import aligned_linear

# Of scaled inputs; a number beyond would overflow, and 0 times infinity leaves a mask no hold
REACH = 1e3


class MaskedLinear(nn.Linear):
    """Linear layer of which every order sees a part of the weights.

    Parameters
    ----------
    in_degrees, out_degrees : int64 Tensor of shape (n_orders, n_inputs) and (n_orders, n_outputs)
        Degrees of the units before and after the layer.
    strict : bool, default=False
        Whether an output sees lower degrees than its own alone.
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

    def __init__(self, in_degrees, out_degrees, *, strict=False, bias=True):
        super().__init__(in_degrees.shape[1], out_degrees.shape[1], bias=bias)
        self.strict = strict
        self.register_buffer("mask", self.mask_of(in_degrees, out_degrees), persistent=False)

    def mask_of(self, in_degrees, out_degrees):
        """Return masks (n_orders, n_outputs, n_inputs) of degrees as in the constructor."""
        before, after = in_degrees[:, None, :], out_degrees[:, :, None]
        mask = before < after if self.strict else before <= after
        return mask.to(self.weight.dtype)  # a product is quicker than a choice

    def masked_weight(self, order=0):
        """Return the weights (n_outputs, n_inputs) of an order, an int or an int64 Tensor of shape
        (1,)."""
        mask = (
            self.mask.index_select(0, order)[0]
            if isinstance(order, torch.Tensor)
            else self.mask[order]
        )
        return self.weight * mask

    def forward(self, rows, order=0):
        return aligned_linear(rows, self.masked_weight(order), self.bias)


class MaskedMLP(nn.Module):
    """Multilayer perceptron from features to answers, with short cuts from the inputs to the
    answers.

    Without a hidden layer it is the short cuts, a linear map.

    Parameters
    ----------
    positions : int64 Tensor of shape (n_orders, d)
        Of the features in each order, from 0.
    n_outputs_per_feature : int
        Numbers for each feature, which stand together.
    hidden_layer_sizes : sequence of int, default=()
        The degrees 0 to d - 2 are spread evenly over the units of a layer, and at random over
        several orders.
    activation : str, class or torch.nn.Module, default="relu"
    n_levels : int, default=None
        Levels of features that the network is to see as that many numbers, a 1 for the right one
        and 0 for the others.
    center, scale : Tensor of shape (d,), default=None
        Of features that it is to see as numbers, to be brought to about unit size. None leaves them
        as they are.
    dropout, input_dropout : float, default=0.0
        Shares of hidden units and of inputs that count for nothing in a pass of the training.
    any_order : bool, default=False
        Whether the network is asked in orders that are not known beforehand too. Hidden units then
        have the same degrees in all orders, and beside each number stands a 1, so that a unit can
        tell what it does not see from 0.

    Attributes
    ----------
    n_pooled : int
        Numbers of `features`.

    Examples
    --------
    >>> import torch
    >>> network = MaskedMLP(torch.arange(4)[None], 1, (8,))
    >>> network(torch.zeros(3, 4)).shape, network.features(torch.zeros(3, 4)).shape
    (torch.Size([3, 4]), torch.Size([3, 8]))
    """

    center: torch.Tensor
    scale: torch.Tensor

    def __init__(
        self,
        positions,
        n_outputs_per_feature,
        hidden_layer_sizes=(),
        activation="relu",
        *,
        n_levels=None,
        center=None,
        scale=None,
        dropout=0.0,
        input_dropout=0.0,
        any_order=False,
    ):
        super().__init__()
        self.n_orders = len(positions)
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
        self.short_cut = (
            MaskedLinear(degrees[0], outputs, strict=True, bias=False) if len(self.hidden) else None
        )
        nn.init.zeros_(self.last.bias)
        nn.init.zeros_((self.short_cut or self.last).weight)
        self.activation = make_activation(activation)
        self.n_pooled = degrees[-1].shape[1] if len(self.hidden) else outputs.shape[1]

    def forward(self, rows, order=0, noise=None):
        """Outputs (n, d * n_outputs_per_feature) in an order, an int or an int64 Tensor (1,).

        In training `noise` seeds the dropout.
        With any_order a Tensor (d,) holds the positions of the features in one.
        """
        return self._answer(rows, self._weights(order), noise)

    def folded(self, order=0):
        """Return the function from rows to answers in an order as above, its masks folded into
        weights once."""
        with torch.no_grad():
            return partial(self._answer, weights=self._weights(order))

    def features(self, rows):
        """Return the last hidden layer (n, n_pooled), or the answers without one: the mean over the
        orders."""
        return self.folded_features()(rows)

    def folded_features(self):
        """Return `features` with its masks folded into weights once."""
        weights = [self._weights(order) for order in range(self.n_orders)]
        return lambda rows: torch.stack([self._pool(rows, each) for each in weights]).mean(0)

    def _weights(self, order):
        """Masked weights of the hidden layers, the last one and the short cuts."""
        layers = [*self.hidden, self.last, *([] if self.short_cut is None else [self.short_cut])]
        if not self.any_order or not isinstance(order, torch.Tensor):
            return [layer.masked_weight(order) for layer in layers]
        *degrees, outputs = self._degrees(order[None])
        ends = [*pairwise(degrees), (degrees[-1], outputs), (degrees[0], outputs)]
        return [layer.weight * layer.mask_of(*pair)[0] for layer, pair in zip(layers, ends)]

    def _degrees(self, positions):
        """Degrees (n_orders, n_units) of the inputs, the hidden layers and the answers."""
        n_orders, d = positions.shape
        n_inputs = self.n_levels or (2 if self.any_order else 1)
        hidden = [
            _spread(width, d, positions.device).expand(n_orders, -1)
            for width in self.hidden_layer_sizes
        ]
        if n_orders > 1 and not self.any_order:
            hidden = [
                torch.stack([row[torch.randperm(len(row))] for row in degrees])
                for degrees in hidden
            ]
        inputs, outputs = (
            positions.repeat_interleave(n, dim=1) for n in (n_inputs, self.n_outputs_per_feature)
        )
        return [inputs, *hidden, outputs]

    def _hide(self, rows, weights, noise=None):
        """The encoded inputs, and the last hidden layer."""
        inputs = hidden = self._dropped(self._encode(rows), self.input_dropout, noise)
        for layer, weight in zip(self.hidden, weights):
            hidden = self.activation(aligned_linear(hidden, weight, layer.bias))
            hidden = self._dropped(hidden, self.dropout, noise)
        return inputs, hidden

    def _pool(self, rows, weights):
        return self._hide(rows, weights)[1] if len(self.hidden) else self._answer(rows, weights)

    def _answer(self, rows, weights, noise=None):
        inputs, hidden = self._hide(rows, weights, noise)
        answers = aligned_linear(hidden, weights[len(self.hidden)], self.last.bias)
        return (
            answers
            if self.short_cut is None
            else answers + aligned_linear(inputs, weights[-1], None)
        )

    def _encode(self, rows):
        """What the network sees of rows (n, d)."""
        if self.n_levels is not None:
            levels = torch.arange(self.n_levels, device=rows.device)
            return (rows[..., None] == levels).to(rows.dtype).flatten(-2)
        if self.center is not None:
            rows = ((rows - self.center) / self.scale).clamp(-REACH, REACH)
        return (
            torch.stack([rows, torch.ones_like(rows)], dim=-1).flatten(-2)
            if self.any_order
            else rows
        )

    def _dropped(self, values, share, noise):
        if not self.training or noise is None or share == 0.0:
            return values
        kept = torch.empty_like(values).bernoulli_(1.0 - share, generator=noise)
        return values * kept.div_(1.0 - share)


def _spread(width, d, device):
    """Degrees (width,) of hidden units, 0 to d - 2 alike often."""
    return torch.arange(width, device=device) * max(d - 1, 0) // width
