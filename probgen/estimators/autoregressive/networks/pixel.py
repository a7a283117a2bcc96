"""Networks that output the conditional distribution of each pixel given those before it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen.estimators.autoregressive.networks.causal import (
    CausalAttention,
    CausalConv2d,
    ClassBias,
    Hints,
    Pointwise,
    PositionMap,
    doubled,
)

FIRST_KERNEL = 7
KERNEL = 3
ATTENTION_EVERY = 4  # blocks to a layer of attention


class ResidualBlock(nn.Module):
    """Residual block of the PixelCNN [1]_: a masked convolution on half of the channels.

    Parameters
    ----------
    n_filters : int
        Channels of the convolution; inputs and outputs have twice as many.
    n_colors, n_classes : int

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016.

    Examples
    --------
    >>> ResidualBlock(4)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, n_filters: int, n_colors: int = 1, n_classes: int = 0) -> None:
        super().__init__()
        self.narrow = CausalConv2d(2 * n_filters, n_filters, n_colors=n_colors)
        self.conv = CausalConv2d(n_filters, n_filters, KERNEL, n_colors=n_colors)
        self.label = None
        if n_classes:
            self.label = ClassBias(n_classes, n_filters)
        self.widen = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(
        self,
        images: torch.Tensor,
        context: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
    ) -> torch.Tensor:
        hidden = self.conv(functional.relu(self.narrow(functional.relu(images)), inplace=True))
        if self.label is not None:
            hidden = self.label(hidden, labels)
        return images + self.widen(functional.relu(hidden, inplace=True))


class GatedBlock(nn.Module):
    """Layer of the horizontal stack of the gated PixelCNN [1]_, with inputs from the vertical one.

    Parameters
    ----------
    n_filters : int
        Channels of the inputs and outputs.
    n_colors, n_classes : int
    kernel_size : int, default=3
    n_in : int, default=None
        Channels of the image, for the first layer, which is not residual.

    References
    ----------
    .. [1] A. van den Oord et al., Conditional image generation with PixelCNN decoders, 2016.

    Examples
    --------
    >>> GatedBlock(4)(torch.zeros(2, 4, 5, 5), torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(
        self,
        n_filters: int,
        n_colors: int = 1,
        n_classes: int = 0,
        kernel_size: int = KERNEL,
        n_in: int | None = None,
    ) -> None:
        super().__init__()
        self.first = n_in is not None
        settings: dict[str, Any] = {
            "stack": "horizontal",
            "first": self.first,
            "n_colors": n_colors,
            "n_parts": 2,
        }
        self.conv = CausalConv2d(n_in or n_filters, 2 * n_filters, kernel_size, **settings)
        self.label = None
        if n_classes:
            self.label = ClassBias(n_classes, 2 * n_filters, n_parts=2)
        self.out = CausalConv2d(n_filters, n_filters, n_colors=n_colors)

    def forward(
        self, images: torch.Tensor, context: torch.Tensor | None, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        hidden = self.conv(images) + context
        if self.label is not None:
            hidden = self.label(hidden, labels)
        outputs = self.out(_gate(hidden))
        if self.first:
            return outputs
        return images + outputs


class VerticalStack(nn.Module):
    """Vertical stack of the gated PixelCNN: contexts of the horizontal layers, from the rows above.

    Parameters
    ----------
    n_filters : int
    n_layers : int
        Layers after the first.
    n_in : int or None
        Channels of the image; None for a stack inside another, which has no first layer.
    n_downsamplings : int, default=0
        As in `BlockStack`.

    Examples
    --------
    >>> len(VerticalStack(4, 2, 1)(torch.zeros(2, 1, 5, 5)))
    3
    """

    def __init__(
        self, n_filters: int, n_layers: int, n_in: int | None, n_downsamplings: int = 0
    ) -> None:
        super().__init__()
        n_outer = outer_layers(n_layers, n_downsamplings)
        convs = []
        if n_in is not None:
            conv = CausalConv2d(n_in, 2 * n_filters, FIRST_KERNEL, stack="vertical", first=True)
            convs.append(conv)
        self.is_inner = n_in is None
        self.n_before = len(convs) + n_outer // 2  # layers before those in the middle
        for _ in range(n_outer):
            convs.append(CausalConv2d(n_filters, 2 * n_filters, KERNEL, stack="vertical"))
        self.convs = nn.ModuleList(convs)
        self.across = nn.ModuleList(Pointwise(2 * n_filters, 2 * n_filters) for _ in convs)
        self.middle = None
        if n_downsamplings:
            inner = VerticalStack(n_filters, n_layers - n_outer, None, n_downsamplings - 1)
            self.middle = VerticalMiddle(n_filters, inner)

    def forward(self, images: torch.Tensor) -> list:
        return self.run(images)[1]

    def run(self, images: torch.Tensor) -> tuple[torch.Tensor, list]:
        """Outputs of the last layer, and the context of each layer of the horizontal stack."""
        contexts = []
        for k, (conv, across) in enumerate(zip(self.convs, self.across)):
            if self.middle is not None and k == self.n_before:
                images, middle_contexts = self.middle(images)
                contexts += middle_contexts
            hidden = conv(images)
            contexts.append(across(hidden))
            outputs = _gate(hidden)
            if k > 0 or self.is_inner:  # residual, but for the first layer
                outputs = images + outputs
            images = outputs
        return images, contexts


class VerticalMiddle(nn.Module):
    """Residual layer: a vertical stack at half the size of the image.

    Parameters
    ----------
    n_filters : int
    inner : VerticalStack
    """

    def __init__(self, n_filters: int, inner: VerticalStack) -> None:
        super().__init__()
        self.down = CausalConv2d(n_filters, n_filters, KERNEL, stack="vertical", stride=2)
        self.inner = inner
        self.up = Pointwise(n_filters, 4 * n_filters)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, list]:
        hidden, contexts = self.inner.run(self.down(images))
        return images + doubled(self.up(hidden), *images.shape[2:]), contexts


class BlockStack(nn.Module):
    """Sequence of the blocks of a PixelNetwork, the middle ones at smaller sizes if asked for.

    Parameters
    ----------
    n_filters : int
        Filters of each block.
    n_layers : int
        Number of blocks, at all sizes together.
    n_channels : int
        Channels of the inputs and outputs.
    gated, attention, shortcuts : bool
        As in `PixelNetwork`. Attention comes after every fourth block of a size and its last.
    n_downsamplings : int, default=0
        Number of times that the size is halved, rounded up, from the first block to the middle one.
        Each size has about the same number of blocks; n_layers is at least 2 * n_downsamplings + 1.
    n_colors, n_classes : int

    Examples
    --------
    >>> stack = BlockStack(4, 3, 8, n_downsamplings=1)
    >>> stack(torch.zeros(2, 8, 5, 5), torch.zeros(2, 1, 5, 5), [None] * 3, None).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        n_filters: int,
        n_layers: int,
        n_channels: int,
        *,
        gated: bool = False,
        attention: bool = False,
        shortcuts: bool = False,
        n_downsamplings: int = 0,
        n_colors: int = 1,
        n_classes: int = 0,
    ) -> None:
        super().__init__()
        block = GatedBlock if gated else ResidualBlock
        n_outer = outer_layers(n_layers, n_downsamplings)
        self.n_before = -(-n_outer // 2)  # blocks before those in the middle
        self.layers = nn.ModuleList(block(n_filters, n_colors, n_classes) for _ in range(n_outer))
        self.attention = nn.ModuleDict()
        if attention:
            for k in range(n_outer):
                if (k + 1) % ATTENTION_EVERY == 0 or k == n_outer - 1:
                    self.attention[str(k)] = CausalAttention(n_channels, n_colors)
        self.shortcuts = nn.ModuleDict()
        if shortcuts:
            for k in range(self.n_before, n_outer):
                layer = CausalConv2d(n_channels, n_channels, n_colors=n_colors)
                self.shortcuts[str(k)] = layer
        self.middle = None
        if n_downsamplings:
            settings: dict[str, Any] = {
                "gated": gated,
                "attention": attention,
                "shortcuts": shortcuts,
                "n_classes": n_classes,
            }
            inner = BlockStack(
                n_filters,
                n_layers - n_outer,
                n_channels,
                **settings,
                n_colors=n_colors,
                n_downsamplings=n_downsamplings - 1,
            )
            self.middle = Middle(n_channels, inner, gated, n_colors)

    def __len__(self) -> int:
        if self.middle is None:
            return len(self.layers)
        return len(self.layers) + len(self.middle.inner)

    def forward(
        self,
        hidden: torch.Tensor,
        images: torch.Tensor,
        contexts: Sequence[Any],
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        n_layers = len(self.layers)
        inputs = []  # of each block
        for k, block in enumerate(self.layers):
            # Contexts of the blocks before the middle come first, then those of the middle.
            if self.middle is not None and k == self.n_before:
                hidden = self.middle(hidden, images, contexts[k : k - n_layers], labels)
            context = contexts[k]
            if k >= self.n_before:
                context = contexts[k - n_layers]
            inputs.append(hidden)
            if str(k) in self.shortcuts:
                hidden = hidden + self.shortcuts[str(k)](inputs[n_layers - 1 - k])
            hidden = block(hidden, context, labels)
            if str(k) in self.attention:
                hidden = self.attention[str(k)](hidden, images)
        return hidden


class Middle(nn.Module):
    """Residual layer of blocks at half the size of the image, as in PixelCNN++ [1]_.

    A convolution of stride two halves the image: the first pixel of each square of two by two
    represents the square. The outputs of the blocks go to all four pixels, with weights for each.

    Parameters
    ----------
    n_channels : int
        Channels of the inputs and outputs.
    inner : BlockStack
    gated : bool, default=False
        Whether the blocks are those of a horizontal stack.
    n_colors : int, default=1

    References
    ----------
    .. [1] T. Salimans, A. Karpathy, X. Chen, D. P. Kingma, PixelCNN++: improving the PixelCNN with
       discretized logistic mixture likelihood and other modifications, 2017.

    Examples
    --------
    >>> middle = Middle(8, BlockStack(4, 1, 8))
    >>> middle(torch.zeros(2, 8, 5, 5), torch.zeros(2, 1, 5, 5), [None], None).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self, n_channels: int, inner: BlockStack, gated: bool = False, n_colors: int = 1
    ) -> None:
        super().__init__()
        stack = "horizontal" if gated else "raster"
        self.down = CausalConv2d(
            n_channels, n_channels, KERNEL, stack=stack, n_colors=n_colors, stride=2
        )
        self.inner = inner
        self.up = CausalConv2d(n_channels, 4 * n_channels, n_colors=n_colors, n_parts=4)

    def forward(
        self,
        hidden: torch.Tensor,
        images: torch.Tensor,
        contexts: Sequence[Any],
        labels: torch.Tensor | None,
    ) -> torch.Tensor:
        half = self.inner(self.down(hidden), images[:, :, ::2, ::2], contexts, labels)
        return hidden + doubled(self.up(half), *hidden.shape[2:])


class PixelNetwork(nn.Module):
    """Network of the PixelCNN, from rows to outputs for an observation model.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Outputs for each colour of a pixel.
    n_filters, n_layers : int
        Channels of the convolutions, rounded up to a multiple of the colours, and number of blocks.
    gated, attention, shortcuts, position_map : bool
        Whether to use gated stacks in place of residual blocks; attention after every fourth block
        and the last; shortcuts from the inputs of the first blocks to those of the last, the first
        to the last one; and a position map.
    n_downsamplings : int, default=0
        As in `BlockStack`.
    n_classes : int, default=0
        Classes; labels are one-hot rows (n, n_classes).
    n_levels : int, default=2
        Levels of pixels; 0 to n_levels - 1 are scaled to [-1, 1].
    n_hints : int, default=0
        Channels of images that are known in advance.

    Examples
    --------
    >>> network = PixelNetwork((4, 4, 1), 3, n_filters=4, n_layers=2)
    >>> network(torch.zeros(2, 16)).shape, network.features(torch.zeros(2, 16)).shape
    (torch.Size([2, 48]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs_per_feature: int,
        *,
        n_filters: int,
        n_layers: int,
        gated: bool = False,
        attention: bool = False,
        shortcuts: bool = False,
        position_map: bool = True,
        n_downsamplings: int = 0,
        n_classes: int = 0,
        n_levels: int = 2,
        n_hints: int = 0,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        height, width, n_colors = self.image_shape
        self.n_outputs_per_feature = n_outputs_per_feature
        self.n_classes = n_classes
        self.n_levels = n_levels
        n_filters = -(-n_filters // n_colors) * n_colors
        self.n_channels = n_filters if gated else 2 * n_filters
        settings: dict[str, Any] = {"n_colors": n_colors, "n_classes": n_classes}
        self.vertical = None
        self.first: nn.Module
        if gated:
            self.vertical = VerticalStack(n_filters, n_layers, n_colors, n_downsamplings)
            self.first = GatedBlock(n_filters, **settings, kernel_size=FIRST_KERNEL, n_in=n_colors)
        else:
            self.first = CausalConv2d(
                n_colors, self.n_channels, FIRST_KERNEL, first=True, n_colors=n_colors
            )
        self.position = None
        if position_map:
            self.position = PositionMap(self.n_channels, height, width, n_classes)
        self.hints = None
        if n_hints:
            self.hints = Hints(n_hints, self.n_channels)
        settings |= {"gated": gated, "attention": attention, "shortcuts": shortcuts}
        self.blocks = BlockStack(
            n_filters, n_layers, self.n_channels, **settings, n_downsamplings=n_downsamplings
        )
        self.last = CausalConv2d(self.n_channels, self.n_channels, n_colors=n_colors)
        n_outputs = n_colors * n_outputs_per_feature
        self.head = CausalConv2d(self.n_channels, n_outputs, n_colors=n_colors)

    def forward(
        self,
        rows: torch.Tensor,
        labels: torch.Tensor | None = None,
        hints: torch.Tensor | None = None,
    ) -> torch.Tensor:
        images = self.images(rows)
        outputs = self.outputs(self.hidden(images, self.contexts(images), labels, hints))
        # Channels last, as in rows: outputs of a pixel and colour are adjacent.
        return outputs.movedim(1, -1).flatten(1)

    def features(
        self,
        rows: torch.Tensor,
        labels: torch.Tensor | None = None,
        hints: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Channels (n, n_pooled) of the last hidden layer, averaged over the pixels."""
        images = self.images(rows)
        hidden = self.hidden(images, self.contexts(images), labels, hints)
        return functional.relu(self.last(functional.relu(hidden))).mean(dim=(2, 3))

    @property
    def n_pooled(self) -> int:
        """Number of `features`."""
        return self.n_channels

    def images(self, rows: torch.Tensor) -> torch.Tensor:
        """Images (n, colours, height, width) in [-1, 1] of rows."""
        return self.scaled(rows.unflatten(1, self.image_shape).movedim(-1, 1))

    def scaled(self, values: torch.Tensor) -> torch.Tensor:
        """Values from 0 to n_levels - 1, scaled to [-1, 1]."""
        return values * (2.0 / (self.n_levels - 1)) - 1.0

    def contexts(self, images: torch.Tensor) -> Sequence[Any]:
        """Contexts of the first layer and of each block, from the vertical stack or None."""
        if self.vertical is None:
            return [None] * (len(self.blocks) + 1)
        return self.vertical(images)

    def hidden(
        self,
        images: torch.Tensor,
        contexts: Sequence[Any],
        labels: torch.Tensor | None,
        hints: torch.Tensor | None,
    ) -> torch.Tensor:
        """Outputs (n, n_channels, height, width) of the blocks."""
        if self.vertical is None:
            hidden = self.first(images)
        else:
            hidden = self.first(images, contexts[0], labels)
        if self.position is not None:
            hidden = self.position(hidden, labels)
        if self.hints is not None:
            hidden = self.hints(hidden, hints)
        return self.blocks(hidden, images, contexts[1:], labels)

    def outputs(self, hidden: torch.Tensor) -> torch.Tensor:
        """Outputs (n, colours * n_outputs_per_feature, height, width) for the observation model."""
        return self.head(functional.relu(self.last(functional.relu(hidden)), inplace=True))


def outer_layers(n_layers: int, n_downsamplings: int) -> int:
    """Layers at the full size of the image, half of them before and half after the smaller ones."""
    if not n_downsamplings:
        return n_layers
    return 2 * -(-n_layers // (2 * n_downsamplings + 2))


def _gate(hidden: torch.Tensor) -> torch.Tensor:
    """Gated activation: tanh of the first half of the channels times sigmoid of the second."""
    content, gate = hidden.chunk(2, dim=1)
    return torch.tanh(content) * torch.sigmoid(gate)
