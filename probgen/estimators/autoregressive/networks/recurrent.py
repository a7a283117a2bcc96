"""Networks of the PixelRNN: long short-term memories that run over the pixels of an image."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen.estimators.autoregressive.networks.causal import CausalConv2d
from probgen.estimators.autoregressive.networks.pixel import PixelNetwork

N_GATES = 4  # output, forget, input and content
KERNEL = 3  # pixels of the row above that the Row LSTM takes states from


class RowLSTM(nn.Module):
    """Residual layer that runs down an image, one row at a time [1]_.

    The state of a pixel depends on the states of the three pixels above it, and thereby on a
    triangle of the image.

    Parameters
    ----------
    n_filters : int
        Size of a state; inputs and outputs have twice as many channels.
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

    def __init__(self, n_filters: int, n_colors: int = 1) -> None:
        super().__init__()
        settings: dict[str, Any] = {"stack": "horizontal", "n_colors": n_colors, "n_parts": N_GATES}
        self.inputs = CausalConv2d(2 * n_filters, N_GATES * n_filters, KERNEL, **settings)
        self.states = nn.Conv1d(n_filters, N_GATES * n_filters, KERNEL, padding=KERNEL // 2)
        self.out = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(
        self,
        images: torch.Tensor,
        context: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        states = run_lstm(self.inputs(images).unbind(2), self.states)
        return images + self.out(torch.stack(states, dim=2))


class DiagonalLSTM(nn.Module):
    """Residual layer that runs over the diagonals of an image, from both upper corners [1]_.

    The state of a pixel depends on the states of the pixel beside it and of the pixel above it, and
    thereby on all pixels before it.

    Parameters
    ----------
    n_filters : int
        Size of a state; inputs and outputs have twice as many channels.
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

    def __init__(self, n_filters: int, n_colors: int = 1) -> None:
        super().__init__()
        n_gates = N_GATES * n_filters
        self.inputs = nn.ModuleList(
            CausalConv2d(2 * n_filters, n_gates, n_colors=n_colors, n_parts=N_GATES)
            for _ in range(2)
        )
        self.states = nn.ModuleList(nn.Conv1d(n_filters, n_gates, 2) for _ in range(2))
        self.out = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(
        self,
        images: torch.Tensor,
        context: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        rightwards = self._run(images, 0)
        leftwards = self._run(images.flip(3), 1).flip(3)
        # States from the right depend on the rest of their row, so they move down by one row.
        leftwards = functional.pad(leftwards, (0, 0, 1, 0))[:, :, :-1]
        return images + self.out(rightwards + leftwards)

    def _run(self, images: torch.Tensor, direction: Any) -> torch.Tensor:
        """States (n, n_filters, height, width), computed column by column of the skewed images."""
        convolve = self.states[direction]
        gates = skewed(self.inputs[direction](images))
        states = run_lstm(gates.unbind(3), lambda state: convolve(functional.pad(state, (1, 0))))
        return straightened(torch.stack(states, dim=3))


class RecurrentNetwork(PixelNetwork):
    """Network of the PixelRNN, from rows to outputs for an observation model.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Outputs for each colour of a pixel.
    layer : {"row_lstm", "diagonal_bilstm"}
    n_filters, n_layers : int
        Size of a state, rounded up to a multiple of the colours, and number of layers.
    n_levels : int, default=2
        Levels of pixels; 0 to n_levels - 1 are scaled to [-1, 1].

    Examples
    --------
    >>> network = RecurrentNetwork((4, 4, 1), 3, layer="row_lstm", n_filters=4, n_layers=2)
    >>> network(torch.zeros(2, 16)).shape
    torch.Size([2, 48])
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs_per_feature: int,
        *,
        layer: str,
        n_filters: int,
        n_layers: int,
        n_levels: int = 2,
    ) -> None:
        super().__init__(
            image_shape, n_outputs_per_feature, n_filters=n_filters, n_layers=0, n_levels=n_levels
        )
        n_colors = self.image_shape[2]
        layers = [LAYERS[layer](self.n_channels // 2, n_colors) for _ in range(n_layers)]
        self.blocks.layers = nn.ModuleList(layers)


LAYERS = {"row_lstm": RowLSTM, "diagonal_bilstm": DiagonalLSTM}


def run_lstm(inputs: Any, convolve: Callable[[torch.Tensor], torch.Tensor]) -> list[torch.Tensor]:
    """States of a long short-term memory, one for each step.

    Parameters
    ----------
    inputs : sequence of Tensor of shape (n, 4 * n_filters, size)
        Inputs of each step to the output, forget and input gates and to the content.
    convolve : callable
        From the last states (n, n_filters, size) to their share of these inputs.

    Returns
    -------
    states : list of Tensor of shape (n, n_filters, size)
    """
    n_rows, n_gates, size = inputs[0].shape
    state = cell = inputs[0].new_zeros(n_rows, n_gates // N_GATES, size)
    states = []
    for step in inputs:
        gate_out, forget, gate_in, content = (step + convolve(state)).chunk(N_GATES, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(gate_in) * torch.tanh(content)
        state = torch.sigmoid(gate_out) * torch.tanh(cell)
        states.append(state)
    return states


def skewed(images: torch.Tensor) -> torch.Tensor:
    """Images (n, c, height, width) with row i moved right by i pixels.

    The result has shape (n, c, height, width + height - 1).

    Examples
    --------
    >>> skewed(torch.ones(1, 1, 3, 2))[0, 0]
    tensor([[1., 1., 0., 0.],
            [0., 1., 1., 0.],
            [0., 0., 1., 1.]])
    """
    height, width = images.shape[2:]
    # Rows of width + height numbers, read as rows one shorter, each start one pixel later.
    flat = functional.pad(images, (0, height)).flatten(2)
    return flat[:, :, : height * (width + height - 1)].unflatten(2, (height, width + height - 1))


def straightened(images: torch.Tensor) -> torch.Tensor:
    """Inverse of `skewed`.

    Examples
    --------
    >>> bool((straightened(skewed(torch.ones(1, 1, 3, 2))) == 1.0).all())
    True
    """
    height, skewed_width = images.shape[2:]
    rows = functional.pad(images.flatten(2), (0, height)).unflatten(2, (height, skewed_width + 1))
    return rows[:, :, :, : skewed_width + 1 - height]
