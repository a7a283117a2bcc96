"""Layers in which a pixel sees the pixels before it alone, in raster order, and its colours in
order.

Hidden channels stand in as many groups as an image has colours: group g of a pixel may depend on
all colours of earlier pixels and on the colours before g of its own, and from the second layer on,
on hidden groups up to g.
"""

import math

import torch
from torch import nn
from torch.nn import functional

from probgen.networks.dense import ALIGNMENT

STACKS = ("raster", "vertical", "horizontal")
DOUBLES = 8  # in a vector of any processor
HEADS = 4  # of attention, at least; as many as there are colours where those are more


def color_groups(n_channels, n_colors, n_parts=1):
    """Group of every channel, where channels are n_parts that are chunks of each other's shape.

    Examples
    --------
    >>> color_groups(6, 3), color_groups(4, 2, n_parts=2)
    (tensor([0, 0, 1, 1, 2, 2]), tensor([0, 1, 0, 1]))
    """
    width = n_channels // n_parts
    return torch.arange(n_channels) % width // (width // n_colors)


class CausalConv2d(nn.Module):
    """Convolution that does not see what comes later; images keep their size.

    Parameters
    ----------
    n_in, n_out : int
        Channels; multiples of n_colors.
    kernel_size : int, default=1
        Odd side of the window, of which the causal part is kept.
    stack : {"raster", "vertical", "horizontal"}, default="raster"
        What a pixel sees: the rows above and its own to its left; the rows above with its own whole
        row of a vertical stack; its own row to its left.
    first : bool, default=False
        Whether the inputs are the image itself, of which a pixel must not see itself (mask A of
        [1]_) nor a vertical stack [2]_ its own row. Other layers do (mask B).
    n_colors : int, default=1
    n_parts : int, default=1
        Parts of the outputs, each of which has groups of all colours.
    bias : bool, default=True
    stride : int, default=1
        Every so many pixels of every so many rows are answered, from the first on.

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
        n_in,
        n_out,
        kernel_size=1,
        *,
        stack="raster",
        first=False,
        n_colors=1,
        n_parts=1,
        bias=True,
        stride=1,
    ):
        super().__init__()
        half = kernel_size // 2
        self.stack, self.radius, self.first = stack, half, first
        self.n_colors, self.n_parts, self.stride = n_colors, n_parts, stride
        height = {"raster": half + 1, "vertical": half if first else half + 1, "horizontal": 1}[
            stack
        ]
        width = half + 1 if stack == "horizontal" else kernel_size
        self.padding = (0 if stack == "horizontal" else half, half)
        mask = torch.ones(n_out, n_in, height, width)
        if stack != "vertical":
            mask[:, :, -1, half + 1 :] = 0.0
            after, before = (
                color_groups(n_out, n_colors, n_parts)[:, None],
                color_groups(n_in, n_colors),
            )
            mask[:, :, -1, half] = (after > before if first else after >= before).float()
        self.register_buffer("mask", mask, persistent=False)
        self.is_masked = not bool(mask.all())
        # Where the mask is 0 a weight starts at 0 and gets no gradient, so that queries need not
        # multiply.
        bound = 1.0 / math.sqrt(max(float(mask[0].sum()), float(mask[-1].sum()), 1.0))
        self.weight = nn.Parameter(torch.empty_like(mask).uniform_(-bound, bound) * mask)
        self.bias = nn.Parameter(torch.empty(n_out).uniform_(-bound, bound)) if bias else None

    def forward(self, images):
        weight = (
            self.weight * self.mask if self.is_masked and torch.is_grad_enabled() else self.weight
        )
        return _convolve(images, weight, self.bias, self.padding, self.stride)


class Pointwise(nn.Conv2d):
    """Linear layer of every pixel by itself, all of its colours alike.

    Parameters
    ----------
    n_in, n_out : int

    Examples
    --------
    >>> Pointwise(3, 4)(torch.zeros(2, 3, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(self, n_in, n_out):
        super().__init__(n_in, n_out, 1)

    def forward(self, images):
        return _convolve(images, self.weight, self.bias)


class PositionMap(nn.Module):
    """Learned numbers for every pixel and channel, and for every class those of its own, which are
    added.

    Parameters
    ----------
    n_channels, height, width : int
    n_classes : int, default=0

    Examples
    --------
    >>> PositionMap(3, 5, 5)(torch.zeros(2, 3, 5, 5)).shape
    torch.Size([2, 3, 5, 5])
    """

    def __init__(self, n_channels, height, width, n_classes=0):
        super().__init__()
        self.map = nn.Parameter(torch.zeros(n_channels, height, width))
        self.class_maps = (
            nn.Parameter(torch.zeros(n_classes, n_channels, height, width)) if n_classes else None
        )

    def forward(self, images, labels=None):
        images = images + self.map
        if self.class_maps is None:
            return images
        return images + (labels @ self.class_maps.flatten(1)).unflatten(1, self.map.shape)


class ClassBias(nn.Module):
    """Learned numbers for every class and channel, which are added to every pixel alike.

    Parameters
    ----------
    n_classes, n_channels : int
    n_parts : int, default=1
        Parts of the channels, as in `CausalConv2d`.

    Examples
    --------
    >>> ClassBias(2, 3)(torch.zeros(4, 3, 5, 5), torch.eye(2)[[0, 1, 1, 0]]).shape
    torch.Size([4, 3, 5, 5])
    """

    def __init__(self, n_classes, n_channels, n_parts=1):
        super().__init__()
        self.n_parts = n_parts
        bound = 1.0 / math.sqrt(n_channels)
        self.weight = nn.Parameter(torch.empty(n_classes, n_channels).uniform_(-bound, bound))

    def forward(self, images, labels):
        return images + (labels @ self.weight)[:, :, None, None]


class Hints(nn.Module):
    """What convolutions make of an image that is known beforehand, all of it, which is added.

    Parameters
    ----------
    n_in, n_channels : int
    kernel_sizes : sequence of int, default=(7, 3)

    Examples
    --------
    >>> Hints(2, 4)(torch.zeros(3, 4, 5, 5), torch.zeros(3, 2, 5, 5)).shape
    torch.Size([3, 4, 5, 5])
    """

    def __init__(self, n_in, n_channels, kernel_sizes=(7, 3)):
        super().__init__()
        one, other = kernel_sizes
        self.first = nn.Conv2d(n_in, n_channels, one, padding=one // 2)
        self.last = nn.Conv2d(n_channels, n_channels, other, padding=other // 2)

    def told(self, hints):
        """What is added (n, n_channels, height, width)."""
        hidden = functional.relu(
            _convolve(hints, self.first.weight, self.first.bias, self.first.padding)
        )
        return _convolve(hidden, self.last.weight, self.last.bias, self.last.padding)

    def forward(self, images, hints):
        return images + self.told(hints)


class CausalAttention(nn.Module):
    """Attention of every pixel to all pixels before it, as in PixelSNAIL [1]_, which is added to
    what comes in.

    Keys and values are made of the hidden channels and the colours of a pixel, queries of the
    hidden channels. One more key and value stand before the first pixel, which has none to attend
    to otherwise.

    Parameters
    ----------
    n_channels : int
        Of the hidden layer; a multiple of n_colors.
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

    def __init__(self, n_channels, n_colors=1):
        super().__init__()
        self.n_heads = n_colors * max(1, HEADS // n_colors)
        # Blocks of whole vectors, or a row's digits would depend on where in a batch it stands.
        self.size = -(-n_channels // (self.n_heads * ALIGNMENT)) * ALIGNMENT
        inner = self.n_heads * self.size
        self.queries = CausalConv2d(n_channels, inner, n_colors=n_colors)
        self.keys = Pointwise(n_channels + n_colors, 2 * inner)
        self.start = nn.Parameter(0.1 * torch.randn(2 * inner))
        self.out = CausalConv2d(inner, n_channels, n_colors=n_colors)

    def heads(self, numbers):
        """Numbers (n, n_heads * size, n_pixels) as (n, n_heads, n_pixels, size), laid out as quick
        attention wants."""
        return numbers.unflatten(1, (self.n_heads, self.size)).transpose(-1, -2).contiguous()

    def forward(self, hidden, images):
        queries = self.queries(hidden).flatten(2)
        pairs = self.keys(torch.cat([hidden, images], dim=1)).flatten(2)[:, :, :-1]
        pairs = torch.cat([self.start[:, None].expand(len(hidden), -1, 1), pairs], dim=2)
        keys, values = (self.heads(part) for part in pairs.chunk(2, dim=1))
        seen = functional.scaled_dot_product_attention(
            self.heads(queries), keys, values, is_causal=True
        )
        return hidden + self.out(seen.transpose(-1, -2).reshape(len(hidden), -1, *hidden.shape[2:]))


def halved(size):
    """Pixels of a side, of which every second is left."""
    return -(-size // 2)


def doubled(images, height, width):
    """Images (n, c, height, width) of four parts of the channels, those of the pixels in squares of
    two by two.

    Examples
    --------
    >>> doubled(torch.tensor([1.0, 2.0, 3.0, 4.0]).reshape(1, 4, 1, 1), 2, 2)
    tensor([[[[1., 2.],
              [3., 4.]]]])
    """
    parts = images.unflatten(1, (2, 2, -1)).permute(0, 3, 4, 1, 5, 2)
    return parts.flatten(4).flatten(2, 3)[:, :, :height, :width]


def _convolve(images, weight, bias, padding=(0, 0), stride=1):
    """The first rows and columns of a convolution, as many as there are pixels.

    In training kernels are made whole, for the gradient of a cut is a copy, which takes longer than
    the products with zeros. In double precision on the CPU images are multiplied one by one; in a
    query rows of zeros are added below, so that each begins at a whole vector, or its digits would
    depend on where in a batch it stands.
    """
    if torch.is_grad_enabled():
        below, right = (2 * pad + 1 - kernel for pad, kernel in zip(padding, weight.shape[2:]))
        weight = functional.pad(weight, (0, right, 0, below)) if below or right else weight
        return functional.conv2d(images, weight, bias, padding=padding, stride=stride)
    height, width = images.shape[2:]
    if images.dtype == torch.float64 and images.device.type == "cpu":
        n_rows, n_columns = (
            (side + 2 * pad - kernel) // stride + 1
            for side, pad, kernel in zip((height, width), padding, weight.shape[2:])
        )
        images = functional.pad(
            images, (0, 0, 0, stride * (-n_rows % (DOUBLES // math.gcd(DOUBLES, n_columns))))
        )
    # Padding on both sides and cutting is quicker than padding on one.
    answers = functional.conv2d(images, weight, bias, padding=padding, stride=stride)
    return answers[:, :, : -(-height // stride), : -(-width // stride)]
