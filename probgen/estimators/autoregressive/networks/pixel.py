"""Networks that tell of every pixel how it scatters given those before it."""

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

FIRST_KERNEL, KERNEL = 7, 3
ATTENTION_EVERY = 4  # blocks between two layers of attention


class ResidualBlock(nn.Module):
    """Block of the PixelCNN [1]_: to half the channels, a masked convolution, back to all, and
    added.

    Parameters
    ----------
    n_filters : int
        Channels of the convolution; twice as many come in and go out.
    n_colors, n_classes : int

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016.

    Examples
    --------
    >>> ResidualBlock(4)(torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(self, n_filters, n_colors=1, n_classes=0):
        super().__init__()
        self.narrow = CausalConv2d(2 * n_filters, n_filters, n_colors=n_colors)
        self.conv = CausalConv2d(n_filters, n_filters, KERNEL, n_colors=n_colors)
        self.label = ClassBias(n_classes, n_filters) if n_classes else None
        self.widen = CausalConv2d(n_filters, 2 * n_filters, n_colors=n_colors)

    def forward(self, images, context=None, labels=None):
        hidden = self.conv(functional.relu(self.narrow(functional.relu(images)), inplace=True))
        if self.label is not None:
            hidden = self.label(hidden, labels)
        return images + self.widen(functional.relu(hidden, inplace=True))


class GatedBlock(nn.Module):
    """Layer of the horizontal stack of the gated PixelCNN [1]_, which sees what the vertical one
    says of the pixel.

    Parameters
    ----------
    n_filters : int
        Channels; they come in, and go out.
    n_colors, n_classes : int
    kernel_size : int, default=3
    n_in : int, default=None
        Channels of the image where it is the first layer, which has nothing to add to.

    References
    ----------
    .. [1] A. van den Oord et al., Conditional image generation with PixelCNN decoders, 2016.

    Examples
    --------
    >>> GatedBlock(4)(torch.zeros(2, 4, 5, 5), torch.zeros(2, 8, 5, 5)).shape
    torch.Size([2, 4, 5, 5])
    """

    def __init__(self, n_filters, n_colors=1, n_classes=0, kernel_size=KERNEL, n_in=None):
        super().__init__()
        self.first = n_in is not None
        settings = {"stack": "horizontal", "first": self.first, "n_colors": n_colors, "n_parts": 2}
        self.conv = CausalConv2d(n_in or n_filters, 2 * n_filters, kernel_size, **settings)
        self.label = ClassBias(n_classes, 2 * n_filters, n_parts=2) if n_classes else None
        self.out = CausalConv2d(n_filters, n_filters, n_colors=n_colors)

    def forward(self, images, context, labels=None):
        hidden = self.conv(images) + context
        if self.label is not None:
            hidden = self.label(hidden, labels)
        answers = self.out(_gate(hidden))
        return answers if self.first else images + answers


class VerticalStack(nn.Module):
    """Vertical stack of the gated PixelCNN: what each layer of the horizontal one is told of the
    rows above.

    Parameters
    ----------
    n_filters : int
    n_layers : int
        After the first.
    n_in : int or None
        Channels of the image; None where the stack goes on from another, and has no first layer.
    n_downsamplings : int, default=0
        As in `BlockStack`.

    Examples
    --------
    >>> len(VerticalStack(4, 2, 1)(torch.zeros(2, 1, 5, 5)))
    3
    """

    def __init__(self, n_filters, n_layers, n_in, n_downsamplings=0):
        super().__init__()
        n_outer = outer_layers(n_layers, n_downsamplings)
        convs = (
            []
            if n_in is None
            else [CausalConv2d(n_in, 2 * n_filters, FIRST_KERNEL, stack="vertical", first=True)]
        )
        self.goes_on, self.n_before = n_in is None, len(convs) + n_outer // 2
        convs += [
            CausalConv2d(n_filters, 2 * n_filters, KERNEL, stack="vertical") for _ in range(n_outer)
        ]
        self.convs = nn.ModuleList(convs)
        self.across = nn.ModuleList(Pointwise(2 * n_filters, 2 * n_filters) for _ in convs)
        self.middle = None
        if n_downsamplings:
            inner = VerticalStack(n_filters, n_layers - n_outer, None, n_downsamplings - 1)
            self.middle = VerticalMiddle(n_filters, inner)

    def forward(self, images):
        return self.walk(images)[1]

    def walk(self, images):
        """What the last layer hands on, and what each layer of the horizontal stack is told."""
        contexts = []
        for k, (conv, across) in enumerate(zip(self.convs, self.across)):
            if self.middle is not None and k == self.n_before:
                images, told = self.middle(images)
                contexts += told
            hidden = conv(images)
            contexts.append(across(hidden))
            images = images + _gate(hidden) if k or self.goes_on else _gate(hidden)
        return images, contexts


class VerticalMiddle(nn.Module):
    """Vertical stack at half the size of the image, whose answers are added to what comes in.

    Parameters
    ----------
    n_filters : int
    inner : VerticalStack
    """

    def __init__(self, n_filters, inner):
        super().__init__()
        self.down = CausalConv2d(n_filters, n_filters, KERNEL, stack="vertical", stride=2)
        self.inner = inner
        self.up = Pointwise(n_filters, 4 * n_filters)

    def forward(self, images):
        hidden, contexts = self.inner.walk(self.down(images))
        return images + doubled(self.up(hidden), *images.shape[2:]), contexts


class BlockStack(nn.Module):
    """Blocks of a PixelNetwork one after another, the middle ones at half the size of the image if
    so asked.

    Parameters
    ----------
    n_filters, n_layers : int
        Of all the blocks.
    n_channels : int
        That come in and go out.
    gated, attention, shortcuts : bool
        As in `PixelNetwork`; attention after every fourth block of a size and its last.
    n_downsamplings : int, default=0
        How often the size is halved from the first block to the middle one; each size has about as
        many blocks. The sizes of an image are rounded up, and n_layers is at least 2 *
        n_downsamplings + 1.
    n_colors, n_classes : int

    Examples
    --------
    >>> stack = BlockStack(4, 3, 8, n_downsamplings=1)
    >>> stack(torch.zeros(2, 8, 5, 5), torch.zeros(2, 1, 5, 5), [None] * 3, None).shape
    torch.Size([2, 8, 5, 5])
    """

    def __init__(
        self,
        n_filters,
        n_layers,
        n_channels,
        *,
        gated=False,
        attention=False,
        shortcuts=False,
        n_downsamplings=0,
        n_colors=1,
        n_classes=0,
    ):
        super().__init__()
        block, n_outer = (
            GatedBlock if gated else ResidualBlock,
            outer_layers(n_layers, n_downsamplings),
        )
        self.n_before = -(-n_outer // 2)
        self.layers = nn.ModuleList(block(n_filters, n_colors, n_classes) for _ in range(n_outer))
        attending = [
            k for k in range(n_outer) if k == n_outer - 1 or (k + 1) % ATTENTION_EVERY == 0
        ]
        self.attention = nn.ModuleDict(
            {
                str(k): CausalAttention(n_channels, n_colors)
                for k in (attending if attention else [])
            }
        )
        self.shortcuts = nn.ModuleDict(
            {
                str(k): CausalConv2d(n_channels, n_channels, n_colors=n_colors)
                for k in (range(self.n_before, n_outer) if shortcuts else [])
            }
        )
        self.middle = None
        if n_downsamplings:
            settings = {
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

    def __len__(self):
        return len(self.layers) + (0 if self.middle is None else len(self.middle.inner))

    def forward(self, hidden, images, contexts, labels):
        entered, n_layers = [], len(self.layers)
        for k, block in enumerate(self.layers):
            if self.middle is not None and k == self.n_before:
                hidden = self.middle(hidden, images, contexts[k : k - n_layers], labels)
            entered.append(hidden)
            if str(k) in self.shortcuts:
                hidden = hidden + self.shortcuts[str(k)](entered[n_layers - 1 - k])
            hidden = block(hidden, contexts[k if k < self.n_before else k - n_layers], labels)
            if str(k) in self.attention:
                hidden = self.attention[str(k)](hidden, images)
        return hidden


class Middle(nn.Module):
    """Blocks at half the size of the image, whose answers are added to what comes in, as in
    PixelCNN++ [1]_.

    A convolution of stride two halves the image: of every square of two by two its first pixel
    stands for it, which sees what is before it. What the blocks make of that goes to all four,
    through weights of each.

    Parameters
    ----------
    n_channels : int
        That come in and go out.
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

    def __init__(self, n_channels, inner, gated=False, n_colors=1):
        super().__init__()
        stack = "horizontal" if gated else "raster"
        self.down = CausalConv2d(
            n_channels, n_channels, KERNEL, stack=stack, n_colors=n_colors, stride=2
        )
        self.inner = inner
        self.up = CausalConv2d(n_channels, 4 * n_channels, n_colors=n_colors, n_parts=4)

    def forward(self, hidden, images, contexts, labels):
        answers = self.up(self.inner(self.down(hidden), images[:, :, ::2, ::2], contexts, labels))
        return hidden + doubled(answers, *hidden.shape[2:])


class PixelNetwork(nn.Module):
    """Network of the PixelCNN, from rows to what an observation model is told of each pixel and
    colour.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Numbers for each colour of a pixel.
    n_filters, n_layers : int
        Channels of the convolutions, a multiple of the colours or rounded up to one, and number of
        blocks.
    gated, attention, shortcuts, position_map : bool
        Gated stacks in place of residual blocks; attention after every fourth block and the last;
        whether blocks of the second half see what those of the first half made, the last that of
        the first; a position map.
    n_downsamplings : int, default=0
        As in `BlockStack`.
    n_classes : int, default=0
        Classes that the network is told, as rows (n, n_classes) of zeros with a single 1.
    n_levels : int, default=2
        Of pixels; 0 to n_levels - 1 are brought to [-1, 1].
    n_hints : int, default=0
        Channels of images that are known beforehand.

    Examples
    --------
    >>> network = PixelNetwork((4, 4, 1), 3, n_filters=4, n_layers=2)
    >>> network(torch.zeros(2, 16)).shape, network.features(torch.zeros(2, 16)).shape
    (torch.Size([2, 48]), torch.Size([2, 8]))
    """

    def __init__(
        self,
        image_shape,
        n_outputs_per_feature,
        *,
        n_filters,
        n_layers,
        gated=False,
        attention=False,
        shortcuts=False,
        position_map=True,
        n_downsamplings=0,
        n_classes=0,
        n_levels=2,
        n_hints=0,
    ):
        super().__init__()
        height, width, n_colors = self.image_shape = tuple(image_shape)
        self.n_outputs_per_feature = n_outputs_per_feature
        self.n_classes = n_classes
        self.n_levels = n_levels
        n_filters = -(-n_filters // n_colors) * n_colors
        self.n_channels = n_filters if gated else 2 * n_filters
        settings = {"n_colors": n_colors, "n_classes": n_classes}
        self.vertical = (
            VerticalStack(n_filters, n_layers, n_colors, n_downsamplings) if gated else None
        )
        self.first: nn.Module
        if gated:
            self.first = GatedBlock(n_filters, **settings, kernel_size=FIRST_KERNEL, n_in=n_colors)
        else:
            self.first = CausalConv2d(
                n_colors, self.n_channels, FIRST_KERNEL, first=True, n_colors=n_colors
            )
        self.position = (
            PositionMap(self.n_channels, height, width, n_classes) if position_map else None
        )
        self.hints = Hints(n_hints, self.n_channels) if n_hints else None
        settings |= {"gated": gated, "attention": attention, "shortcuts": shortcuts}
        self.blocks = BlockStack(
            n_filters, n_layers, self.n_channels, **settings, n_downsamplings=n_downsamplings
        )
        self.last = CausalConv2d(self.n_channels, self.n_channels, n_colors=n_colors)
        n_outputs = n_colors * n_outputs_per_feature
        self.head = CausalConv2d(self.n_channels, n_outputs, n_colors=n_colors)

    def forward(self, rows, labels=None, hints=None):
        images = self.images(rows)
        answers = self.answers(self.hidden(images, self.contexts(images), labels, hints))
        return answers.movedim(1, -1).flatten(1)

    def features(self, rows, labels=None, hints=None):
        """Channels (n, n_pooled) of the last hidden layer, averaged over the pixels."""
        images = self.images(rows)
        hidden = self.last(
            functional.relu(self.hidden(images, self.contexts(images), labels, hints))
        )
        return functional.relu(hidden).mean(dim=(2, 3))

    @property
    def n_pooled(self):
        """Numbers that `features` gives."""
        return self.n_channels

    def images(self, rows):
        """Images (n, colours, height, width) in [-1, 1] of rows."""
        return self.scaled(rows.unflatten(1, self.image_shape).movedim(-1, 1))

    def scaled(self, values):
        """Values from 0 to n_levels - 1, brought to [-1, 1]."""
        return values * (2.0 / (self.n_levels - 1)) - 1.0

    def contexts(self, images):
        """What the vertical stack says, for the first layer and each block."""
        return [None] * (len(self.blocks) + 1) if self.vertical is None else self.vertical(images)

    def hidden(self, images, contexts, labels, hints):
        """What the blocks make of images."""
        hidden = (
            self.first(images) if self.vertical is None else self.first(images, contexts[0], labels)
        )
        if self.position is not None:
            hidden = self.position(hidden, labels)
        if self.hints is not None:
            hidden = self.hints(hidden, hints)
        return self.blocks(hidden, images, contexts[1:], labels)

    def answers(self, hidden):
        """Numbers (n, colours * n_outputs_per_feature, height, width) for the observation model."""
        return self.head(functional.relu(self.last(functional.relu(hidden)), inplace=True))


def outer_layers(n_layers, n_downsamplings):
    """Layers at the size of the image itself, half of them before those in the middle, which see
    smaller ones."""
    return 2 * -(-n_layers // (2 * n_downsamplings + 2)) if n_downsamplings else n_layers


def _gate(hidden):
    """tanh of one half of the channels, times the logistic function of the other."""
    one, other = hidden.chunk(2, dim=1)
    return torch.tanh(one) * torch.sigmoid(other)
