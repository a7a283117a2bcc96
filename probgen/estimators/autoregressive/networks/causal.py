"""Layers whose outputs for a pixel depend on the pixels before it alone, in raster order.

The colours of a pixel have an order too. Hidden channels form as many groups as there are colours:
group g of a pixel may depend on all colours of earlier pixels and on the colours before g of its
own pixel; from the second layer on, it may depend on the hidden groups up to g.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen.networks.dense import ALIGNMENT

DOUBLES = 8  # doubles in the widest vector of any processor
HEADS = 4  # heads of attention; one for each colour where there are more colours


def color_groups(n_channels: int, n_colors: int, n_parts: int = 1) -> torch.Tensor:
    """Colour group of each channel; each of n_parts consecutive chunks has all groups.

    Examples
    --------
    >>> color_groups(6, 3), color_groups(4, 2, n_parts=2)
    (tensor([0, 0, 1, 1, 2, 2]), tensor([0, 1, 0, 1]))
    """
    width = n_channels // n_parts
    return torch.arange(n_channels) % width // (width // n_colors)


class CausalConv2d(nn.Module):
    """Convolution that does not depend on later pixels; images keep their size.

    Parameters
    ----------
    n_in, n_out : int
        Channels; multiples of n_colors.
    kernel_size : int, default=1
        Odd side of the window, of which the causal part is kept.
    stack : {"raster", "vertical", "horizontal"}, default="raster"
        The window of a pixel: "raster" has the rows above and the pixels to its left;
        "horizontal" has the pixels to its left; "vertical" has the rows above and, on hidden
        layers, its own row.
    first : bool, default=False
        Whether the inputs are the image itself. Then the window leaves out the pixel itself (mask A
        of [1]_), or the own row in a vertical stack [2]_; otherwise it includes them (mask B).
    n_colors : int, default=1
    n_parts : int, default=1
        Chunks of the output channels, each of which has groups of all colours.
    bias : bool, default=True
    stride : int, default=1
        Distance of the pixels, and of the rows, that have outputs; the first has.

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016.
    .. [2] A. van den Oord et al., Conditional image generation with PixelCNN decoders, 2016.

    Examples
    --------
    >>> layer = CausalConv2d(1, 4, 3, first=True)
    >>> layer(torch.zeros(2, 1, 5, 5)).shape, int(layer.mask[0, 0].sum())
    (torch.Size([2, 4, 5, 5]), 4)
    """

    mask: torch.Tensor

    def __init__(
        self,
        n_in: int,
        n_out: int,
        kernel_size: int = 1,
        *,
        stack: str = "raster",
        first: bool = False,
        n_colors: int = 1,
        n_parts: int = 1,
        bias: bool = True,
        stride: int = 1,
    ) -> None:
        super().__init__()
        half = kernel_size // 2
        self.stack = stack
        self.radius = half
        self.first = first
        self.n_colors = n_colors
        self.n_parts = n_parts
        self.stride = stride
        # The kernel ends with the row of the pixel itself, but for the first vertical layer.
        height = half + 1
        width = kernel_size
        self.padding = (half, half)
        if stack == "horizontal":
            height = 1
            width = half + 1
            self.padding = (0, half)
        elif stack == "vertical" and first:
            height = half
        mask = torch.ones(n_out, n_in, height, width)
        if stack != "vertical":
            mask[:, :, -1, half + 1 :] = 0.0  # pixels to the right
            group_out = color_groups(n_out, n_colors, n_parts)[:, None]
            group_in = color_groups(n_in, n_colors)
            if first:
                is_seen = group_out > group_in
            else:
                is_seen = group_out >= group_in
            mask[:, :, -1, half] = is_seen.float()
        self.register_buffer("mask", mask, persistent=False)
        self.is_masked = not bool(mask.all())
        # Masked weights start at 0 and get no gradient, so queries need not multiply by the mask.
        bound = 1.0 / math.sqrt(max(float(mask[0].sum()), float(mask[-1].sum()), 1.0))
        self.weight = nn.Parameter(torch.empty_like(mask).uniform_(-bound, bound) * mask)
        self.bias = None
        if bias:
            self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weight = self.weight
        if self.is_masked and torch.is_grad_enabled():
            weight = weight * self.mask
        return _convolve(images, weight, self.bias, self.padding, self.stride)


class Pointwise(nn.Conv2d):
    """Linear layer of each pixel by itself, without an order of the colours.

    Parameters
    ----------
    n_in, n_out : int

    Examples
    --------
    >>> Pointwise(3, 4)(torch.zeros(2, 3, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(n_in, n_out, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return _convolve(images, self.weight, self.bias)


class PositionMap(nn.Module):
    """Adds a learned bias for each pixel and channel, and another for each class.

    Parameters
    ----------
    n_channels, height, width : int
    n_classes : int, default=0

    Examples
    --------
    >>> PositionMap(3, 5, 5)(torch.zeros(2, 3, 5, 5)).shape
    torch.Size([2, 3, 5, 5])
    """

    def __init__(self, n_channels: int, height: int, width: int, n_classes: int = 0) -> None:
        super().__init__()
        self.map = nn.Parameter(torch.zeros(n_channels, height, width))
        self.class_maps = None
        if n_classes:
            self.class_maps = nn.Parameter(torch.zeros(n_classes, n_channels, height, width))

    def forward(self, images: torch.Tensor, labels: Any = None) -> torch.Tensor:
        images = images + self.map
        if self.class_maps is None:
            return images
        return images + (labels @ self.class_maps.flatten(1)).unflatten(1, self.map.shape)


class ClassBias(nn.Module):
    """Adds a learned bias for each class and channel, the same for all pixels.

    Parameters
    ----------
    n_classes, n_channels : int
    n_parts : int, default=1
        Chunks of the channels, as in `CausalConv2d`.

    Examples
    --------
    >>> ClassBias(2, 3)(torch.zeros(4, 3, 5, 5), torch.eye(2)[[0, 1, 1, 0]]).shape
    torch.Size([4, 3, 5, 5])
    """

    def __init__(self, n_classes: int, n_channels: int, n_parts: int = 1) -> None:
        super().__init__()
        self.n_parts = n_parts
        bound = 1.0 / math.sqrt(n_channels)
        self.weight = nn.Parameter(torch.empty(n_classes, n_channels).uniform_(-bound, bound))

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return images + (labels @ self.weight)[:, :, None, None]


class Hints(nn.Module):
    """Adds features of an image that is known in advance; its convolutions are not causal.

    Parameters
    ----------
    n_in, n_channels : int
    kernel_sizes : sequence of int, default=(7, 3)
        Of the two convolutions.

    Examples
    --------
    >>> Hints(2, 4)(torch.zeros(3, 4, 5, 5), torch.zeros(3, 2, 5, 5)).shape
    torch.Size([3, 4, 5, 5])
    """

    def __init__(self, n_in: int, n_channels: int, kernel_sizes: Sequence[int] = (7, 3)) -> None:
        super().__init__()
        size, last_size = kernel_sizes
        self.first = nn.Conv2d(n_in, n_channels, size, padding=size // 2)
        self.last = nn.Conv2d(n_channels, n_channels, last_size, padding=last_size // 2)

    def embed(self, hints: torch.Tensor) -> torch.Tensor:
        """Features (n, n_channels, height, width) of hints (n, n_in, height, width)."""
        hidden = _convolve(hints, self.first.weight, self.first.bias, self.first.padding)
        hidden = functional.relu(hidden)
        return _convolve(hidden, self.last.weight, self.last.bias, self.last.padding)

    def forward(self, images: torch.Tensor, hints: torch.Tensor) -> torch.Tensor:
        return images + self.embed(hints)


class CausalAttention(nn.Module):
    """Residual layer of attention from each pixel to all pixels before it, as in PixelSNAIL [1]_.

    Keys and values are functions of the hidden channels and the colours of a pixel, queries of the
    hidden channels. A learned key and value come before the first pixel, which otherwise would have
    nothing to attend to.

    Parameters
    ----------
    n_channels : int
        Channels of the hidden layer; a multiple of n_colors.
    n_colors : int, default=1

    References
    ----------
    .. [1] X. Chen, N. Mishra, M. Rohaninejad, P. Abbeel, PixelSNAIL: an improved autoregressive
       generative model, 2018.

    Examples
    --------
    >>> CausalAttention(8)(torch.zeros(2, 8, 5, 5), torch.zeros(2, 1, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, n_channels: int, n_colors: int = 1) -> None:
        super().__init__()
        self.n_heads = n_colors * max(1, HEADS // n_colors)
        # Whole vectors for each head make outputs bit-identical at any place in a batch.
        self.size = -(-n_channels // (self.n_heads * ALIGNMENT)) * ALIGNMENT
        inner = self.n_heads * self.size
        self.queries = CausalConv2d(n_channels, inner, n_colors=n_colors)
        self.keys = Pointwise(n_channels + n_colors, 2 * inner)
        self.start = nn.Parameter(0.1 * torch.randn(2 * inner))
        self.out = CausalConv2d(inner, n_channels, n_colors=n_colors)

    def heads(self, channels: torch.Tensor) -> torch.Tensor:
        """Channels (n, n_heads * size, n_pixels) as (n, n_heads, n_pixels, size), contiguous."""
        return channels.unflatten(1, (self.n_heads, self.size)).transpose(-1, -2).contiguous()

    def forward(self, hidden: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        n = len(hidden)
        queries = self.heads(self.queries(hidden).flatten(2))
        # Keys and values (n, 2 * n_heads * size, n_pixels), shifted by one pixel: query p attends
        # to the start and to the pixels before p.
        pairs = self.keys(torch.cat([hidden, images], dim=1)).flatten(2)[:, :, :-1]
        pairs = torch.cat([self.start[:, None].expand(n, -1, 1), pairs], dim=2)
        keys, values = (self.heads(part) for part in pairs.chunk(2, dim=1))
        attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        return hidden + self.out(attended.transpose(-1, -2).reshape(n, -1, *hidden.shape[2:]))


def halved(size: int) -> int:
    """Side length after halving, rounded up."""
    return -(-size // 2)


def doubled(images: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """Images (n, c, height, width) from 4 * c channels at half the size.

    The four chunks of the channels are the pixels of a square of two by two, row by row.

    Examples
    --------
    >>> doubled(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1), 2, 2)
    tensor([[[[1., 2.],
              [3., 4.]]]])
    """
    # (n, row in square, column in square, c, h, w) to (n, c, h, row, w, column).
    squares = images.unflatten(1, (2, 2, -1)).permute(0, 3, 4, 1, 5, 2)
    return squares.flatten(4).flatten(2, 3)[:, :, :height, :width]


def _convolve(
    images: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    padding: Any = (0, 0),
    stride: int = 1,
) -> torch.Tensor:
    """The first rows and columns of a convolution with a causal kernel, one output a pixel.

    In training the kernel is padded to a full window, because the gradient of a slice is a copy,
    which costs more than products with zeros. In double precision on the CPU torch multiplies the
    images of a batch one by one; queries pad them with rows of zeros so that each starts at a whole
    vector, which makes outputs bit-identical at any place in a batch.
    """
    pad_height, pad_width = padding
    kernel_height, kernel_width = weight.shape[2:]
    if torch.is_grad_enabled():
        below = 2 * pad_height + 1 - kernel_height
        right = 2 * pad_width + 1 - kernel_width
        if below or right:
            weight = functional.pad(weight, (0, right, 0, below))
        return functional.conv2d(images, weight, bias, padding=padding, stride=stride)
    height, width = images.shape[2:]
    if images.dtype == torch.float64 and images.device.type == "cpu":
        n_rows = (height + 2 * pad_height - kernel_height) // stride + 1
        n_columns = (width + 2 * pad_width - kernel_width) // stride + 1
        # Output rows until n_rows * n_columns is a multiple of DOUBLES.
        missing = -n_rows % (DOUBLES // math.gcd(DOUBLES, n_columns))
        images = functional.pad(images, (0, 0, 0, stride * missing))
    # Padding on both sides and slicing is faster than padding on one side.
    outputs = functional.conv2d(images, weight, bias, padding=padding, stride=stride)
    return outputs[:, :, : -(-height // stride), : -(-width // stride)]
