"""Networks of the PixelRNN: long short-term memories that walk over an image, and see what is
before each pixel."""

import torch
from torch import nn
from torch.nn import functional

from probgen.estimators.autoregressive.networks.causal import CausalConv2d
from probgen.estimators.autoregressive.networks.pixel import PixelNetwork

N_GATES = 4  # output, forget, input and content
KERNEL = 3  # of the Row LSTM, along a row


class RowLSTM(nn.Module):
    """Layer that walks down an image, all pixels of a row at a time [1]_, and is added to what
    comes in.

    The state of a pixel depends on those of the three pixels above it, and so on a triangle of the
    image.

    Parameters
    ----------
    n_filters : int
        Numbers of a state; twice as many channels come in and go out.
    n_colors : int, default=1

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016,
       section 3.1.

    Examples
    --------
    >>> RowLSTM(4)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, n_filters, n_colors=1):
        super().__init__()
        settings = {"stack": "horizontal", "n_colors": n_colors, "n_parts": N_GATES}
        self.inputs = CausalConv2d(2 * n_filters, N_GATES * n_filters, KERNEL, **settings)
        self.states = nn.Conv1d(n_filters, N_GATES * n_filters, KERNEL, padding=KERNEL // 2)
        self.out = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(self, images, context=None, labels=None):
        states = walk(self.inputs(images).unbind(2), self.states)
        return images + self.out(torch.stack(states, dim=2))


class DiagonalLSTM(nn.Module):
    """Layer that walks over an image along its diagonals, from both upper corners [1]_, and is
    added to what comes in.

    The state of a pixel depends on those of the pixel beside and of the pixel above it, and so on
    all that is before.

    Parameters
    ----------
    n_filters : int
        Numbers of a state; twice as many channels come in and go out.
    n_colors : int, default=1

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016,
       section 3.2.

    Examples
    --------
    >>> DiagonalLSTM(4)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, n_filters, n_colors=1):
        super().__init__()
        n_gates, settings = N_GATES * n_filters, {"n_colors": n_colors, "n_parts": N_GATES}
        self.inputs = nn.ModuleList(
            CausalConv2d(2 * n_filters, n_gates, **settings) for _ in range(2)
        )
        self.states = nn.ModuleList(nn.Conv1d(n_filters, n_gates, 2) for _ in range(2))
        self.out = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(self, images, context=None, labels=None):
        rightwards = self._walk(images, 0)
        leftwards = self._walk(images.flip(3), 1).flip(3)
        # What comes from the right has seen the rest of its row: a pixel is told of the row above
        # alone.
        return images + self.out(rightwards + functional.pad(leftwards, (0, 0, 1, 0))[:, :, :-1])

    def _walk(self, images, direction):
        """States (n, n_filters, height, width), the columns of the skewed images one after
        another."""
        convolve = self.states[direction]
        gates = skewed(self.inputs[direction](images))
        states = walk(gates.unbind(3), lambda state: convolve(functional.pad(state, (1, 0))))
        return straightened(torch.stack(states, dim=3))


class RecurrentNetwork(PixelNetwork):
    """Network of the PixelRNN, from rows to what an observation model is told of each pixel and
    colour.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Numbers for each colour of a pixel.
    layer : {"row_lstm", "diagonal_bilstm"}
    n_filters, n_layers : int
        Numbers of a state, a multiple of the colours or rounded up to one, and layers.
    n_levels : int, default=2
        Of pixels; 0 to n_levels - 1 are brought to [-1, 1].

    Examples
    --------
    >>> network = RecurrentNetwork((4, 4, 1), 3, layer="row_lstm", n_filters=4, n_layers=2)
    >>> network(torch.zeros(2, 16)).shape
    torch.Size([2, 48])
    """

    def __init__(
        self, image_shape, n_outputs_per_feature, *, layer, n_filters, n_layers, n_levels=2
    ):
        super().__init__(
            image_shape, n_outputs_per_feature, n_filters=n_filters, n_layers=0, n_levels=n_levels
        )
        n_colors = self.image_shape[2]
        layers = [LAYERS[layer](self.n_channels // 2, n_colors) for _ in range(n_layers)]
        self.blocks.layers = nn.ModuleList(layers)


LAYERS = {"row_lstm": RowLSTM, "diagonal_bilstm": DiagonalLSTM}


def walk(inputs, convolve):
    """States of a long short-term memory, one for each of the inputs.

    Parameters
    ----------
    inputs : sequence of Tensor of shape (n, 4 * n_filters, size)
        What each step is told, for the gates of output, forgetting and input and for the content.
    convolve : callable
        From the last states (n, n_filters, size) to what they tell the gates.

    Returns
    -------
    states : list of Tensor of shape (n, n_filters, size)
    """
    n_rows, n_gates, size = inputs[0].shape
    state = cell = inputs[0].new_zeros(n_rows, n_gates // N_GATES, size)
    states = []
    for told in inputs:
        opens, keeps, takes, content = (told + convolve(state)).chunk(N_GATES, dim=1)
        cell = torch.sigmoid(keeps) * cell + torch.sigmoid(takes) * torch.tanh(content)
        state = torch.sigmoid(opens) * torch.tanh(cell)
        states.append(state)
    return states


def skewed(images):
    """Images (n, c, height, width) with row i moved i pixels to the right: (n, c, height, width +
    height - 1).

    Examples
    --------
    >>> skewed(torch.ones(1, 1, 3, 2))[0, 0]
    tensor([[1., 1., 0., 0.],
            [0., 1., 1., 0.],
            [0., 0., 1., 1.]])
    """
    height, width = images.shape[2:]
    wide = functional.pad(images, (0, height)).flatten(
        2
    )  # read with rows one shorter, each begins one pixel later
    return wide[:, :, : height * (width + height - 1)].unflatten(2, (height, width + height - 1))


def straightened(images):
    """Images that `skewed` made, as they were.

    Examples
    --------
    >>> bool((straightened(skewed(torch.ones(1, 1, 3, 2))) == 1.0).all())
    True
    """
    height, wide = images.shape[2:]
    rows = functional.pad(images.flatten(2), (0, height)).unflatten(2, (height, wide + 1))
    return rows[:, :, :, : wide + 1 - height]
