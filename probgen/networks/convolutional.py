"""Convolutional networks between rows and codes; images are rows with channels last."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.networks.activations import activation as make_activation
from probgen.networks.dense import Linear

KERNEL = 3
STRIDE = 2
PADDING = 1
SMALLEST = 2  # side in pixels before the last layer that halves it


class ConvEncoder(nn.Module):
    """Strided convolutions, each of which halves the height and the width, and a linear layer.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    channels : sequence of int
        Output channels of the convolutions, at least one.
    n_outputs : int
    activation : str, class or torch.nn.Module, default="relu"

    Raises
    ------
    ValueError
        If there is no layer, or the images are too small for so many layers.

    Examples
    --------
    >>> import torch
    >>> ConvEncoder((28, 28), (16, 32), 2)(torch.zeros(3, 784)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        image_shape: Any,
        channels: Sequence[int],
        n_outputs: int,
        activation: Any = "relu",
    ) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        height, width = _sizes(self.image_shape, channels)[-1]
        layers: list[nn.Module] = []
        for before, after in pairwise([self.image_shape[2], *channels]):
            layers.append(nn.Conv2d(before, after, KERNEL, STRIDE, PADDING))
            layers.append(make_activation(activation, (1, after, 4, 4)))
        self.layers = nn.Sequential(*layers)
        self.head = Linear(channels[-1] * height * width, n_outputs)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        images = rows.unflatten(-1, self.image_shape).reshape(-1, *self.image_shape).movedim(-1, -3)
        return self.head(self.layers(images).flatten(-3)).reshape(*rows.shape[:-1], -1)


class ConvDecoder(nn.Module):
    """A linear layer, and transposed convolutions that each double the height and the width.

    Parameters
    ----------
    n_inputs : int
    channels : sequence of int
        Input channels of the convolutions, at least one: those of a ConvEncoder in reverse.
    image_shape : tuple of int
        (height, width) or (height, width, channels).
    activation : str, class or torch.nn.Module, default="relu"

    Raises
    ------
    ValueError
        If there is no layer, or the images are too small for so many layers.

    Examples
    --------
    >>> import torch
    >>> ConvDecoder(2, (32, 16), (28, 20, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 1680])
    """

    def __init__(
        self,
        n_inputs: int,
        channels: Sequence[int],
        image_shape: Sequence[int],
        activation: Any = "relu",
    ) -> None:
        super().__init__()
        self.image_shape = _with_channels(image_shape)
        sizes = _sizes(self.image_shape, channels)[::-1]
        self.start = (channels[0], *sizes[0])
        self.head = Linear(n_inputs, channels[0] * sizes[0][0] * sizes[0][1])
        layers = [make_activation(activation, (1, channels[0], 4, 4))]
        for k, (before, after) in enumerate(zip(channels, [*channels[1:], self.image_shape[2]])):
            # Sides of 2 n and of 2 n - 1 pixels both halve to n; output padding tells them apart.
            extra: Any = tuple(
                wide - 2 * narrow + 1 for narrow, wide in zip(sizes[k], sizes[k + 1])
            )
            layers.append(nn.ConvTranspose2d(before, after, KERNEL, STRIDE, PADDING, extra))
            layers.append(make_activation(activation))
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        images = self.layers(self.head(codes).reshape(-1, *self.start))
        return images.movedim(-3, -1).reshape(*codes.shape[:-1], -1)


def _with_channels(image_shape: Sequence[int]) -> tuple[int, ...]:
    """(height, width, channels) of an image shape."""
    if len(image_shape) == 2:
        return (*image_shape, 1)
    return tuple(image_shape)


def _sizes(image_shape: Sequence[int], channels: Sequence[int]) -> list[tuple[int, ...]]:
    """Heights and widths before each layer and after the last one."""
    if not len(channels):
        raise ValueError(
            "hidden_layer_sizes must hold the channels of at least one layer for"
            " architecture='conv'."
        )
    sizes = [tuple(image_shape[:2])]
    for _ in channels:
        if min(sizes[-1]) < SMALLEST:
            raise ValueError(
                f"images of {image_shape[0]} x {image_shape[1]} pixels are too small for"
                f" {len(channels)} layers, each of which halves them; name fewer in"
                " hidden_layer_sizes."
            )
        sizes.append(tuple((side + 1) // 2 for side in sizes[-1]))
    return sizes
