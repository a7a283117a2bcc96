"""Drawing pixel by pixel, at a cost of each that does not depend on the size of the image.

A network is copied with every layer that looks at other pixels replaced by one that sees some
pixels, or a single row, and remembers what it saw before; all else of the network is used as it is.
Attention looks at all pixels before.
"""

import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen.estimators.autoregressive.networks.causal import (
    CausalAttention,
    CausalConv2d,
    ClassBias,
    Hints,
    PositionMap,
    color_groups,
    doubled,
    halved,
)
from probgen.estimators.autoregressive.networks.pixel import Middle, VerticalMiddle


class Drawing:
    """Rows that a PixelNetwork is asked about pixel by pixel, in turns.

    In a turn come all pixels that do not wait for each other: residual blocks see few pixels to the
    right in the row above, so that each row of an image can follow the one above it, some pixels
    behind. Where a network sees all of the rows above (gates, attention, downsampling), the pixels
    have a turn each. Colours have their turns one by one.

    Parameters
    ----------
    network : PixelNetwork
    n_rows : int
    labels : Tensor of shape (n_rows, n_classes), default=None
        Where the network knows classes.
    hints : Tensor of shape (n_rows, n_hints, height, width), default=None
        Where it is told of images beforehand.

    Examples
    --------
    >>> import torch
    >>> from probgen.estimators.autoregressive.networks.pixel import PixelNetwork
    >>> network = PixelNetwork((2, 5, 1), 1, n_filters=4, n_layers=1)
    >>> with torch.inference_mode():
    ...     drawing = Drawing(network, 3)
    ...     for features in drawing.turns():
    ...         values = drawing.put((drawing.answers() > 0.0).float())
    ...     len(drawing), features, values.shape
    (9, tensor([9]), torch.Size([3, 1]))
    """

    def __init__(self, network, n_rows, labels=None, hints=None):
        like = next(network.parameters())
        self.n_rows, self.labels, self.hints = n_rows, labels, hints
        self.height, self.width, self.n_colors = network.image_shape
        lag = _lag(network)
        times = (torch.arange(self.width) + lag * torch.arange(self.height)[:, None]).flatten()
        order, counts = times.argsort(stable=True), times.bincount().tolist()
        self.at_once = max(counts)
        self.of_turns = order.to(like.device).split(counts)
        self.of_firsts = [int(pixels[0]) for pixels in order.split(counts)]
        self.pixel = self.color = 0  # pixel is the first of the turn
        self.colors = like.new_zeros(
            n_rows, self.n_colors
        )  # of this pixel, or of the last before any is put
        self.above = like.new_zeros(n_rows, self.n_colors, 1, self.width)
        self.windows: dict = {}
        self.layers: list = []  # that are told what is put
        self.network: Any = stepwise(network, self)
        self.contexts: list = [[[None] * self.width] * self.n_colors] * (len(network.blocks) + 1)

    def __len__(self):
        return len(self.of_turns) * self.n_colors

    @property
    def column(self):
        """Of the first pixel of the turn."""
        return self.pixel % self.width

    def turns(self):
        """Yield the features (m,) of each turn, before which the network can be asked, and after
        which they are put."""
        for first, pixels in zip(self.of_firsts, self.of_turns):
            self.pixel, self.pixels = first, pixels
            if self.column == 0 and self.network.vertical is not None:
                self._begin_row()
            for color in range(self.n_colors):
                self.color = color
                yield pixels * self.n_colors + color

    def answers(self):
        """Outputs (n_rows, m * n_outputs_per_feature) for the features of the turn."""
        contexts = [context[self.color][self.column] for context in self.contexts]
        told = self.network.answers(self.network.hidden(self.colors, contexts, None, None))
        return told.unflatten(0, (-1, self.n_rows)).transpose(0, 1).flatten(1)

    def put(self, values):
        """Say what the features of the turn are (n_rows, m), and return it."""
        scaled = self.network.scaled(values)
        self.colors[:, self.color] = scaled[:, 0]
        self.above[:, self.color, 0, self.column] = scaled[:, 0]
        for layer in self.layers:
            layer.write(scaled.T.reshape(-1, 1))
        return values

    def _begin_row(self):
        """Compute, for all pixels of a row, what the rows above say of them."""
        groups = color_groups(2 * self.network.n_channels, self.n_colors, 2).to(self.colors.device)
        rows = [
            row[:, :, 0].permute(2, 0, 1).contiguous() for row in self.network.vertical(self.above)
        ]
        self.contexts = [by_color(row, groups, self.n_colors) for row in rows]


def n_turns(network):
    """Turns that it takes to draw with a network."""
    height, width, n_colors = network.image_shape
    return (width + _lag(network) * (height - 1)) * n_colors


def _lag(network):
    """Pixels by which a row has to stay behind the one above it."""
    sees_all = network.vertical is not None or any(
        isinstance(m, CausalAttention | Middle) for m in network.modules()
    )
    return (
        network.image_shape[1]
        if sees_all
        else min(network.first.radius + 1, network.image_shape[1])
    )


@functools.singledispatch
def stepwise(layer, drawing):
    """The layer for one pixel at a time, (n, channels) of one colour; a layer not known here keeps
    its own code."""
    return Stepwise(layer, drawing) if next(layer.children(), None) is not None else layer


@stepwise.register
def _(layers: nn.ModuleList, drawing):
    return [stepwise(layer, drawing) for layer in layers]


@stepwise.register
def _(layers: nn.ModuleDict, drawing):
    return {name: stepwise(layer, drawing) for name, layer in layers.items()}


@stepwise.register
def _(layer: CausalConv2d, drawing):
    if layer.stack == "vertical":
        return RowStep(layer, drawing)
    return PixelStep(layer, drawing)


@stepwise.register
def _(layer: PositionMap, drawing):
    return PositionStep(layer, drawing)


@stepwise.register
def _(layer: ClassBias, drawing):
    return ClassStep(layer, drawing)


@stepwise.register
def _(layer: Hints, drawing):
    return HintStep(layer, drawing)


@stepwise.register
def _(layer: CausalAttention, drawing):
    return AttentionStep(layer, drawing)


@stepwise.register
def _(layer: Middle, drawing):
    return MiddleStep(layer, drawing)


@stepwise.register
def _(layer: VerticalMiddle, drawing):
    return VerticalMiddleStep(layer, drawing)


class Stepwise:
    """A module's own code, run on layers for one pixel at a time."""

    def __init__(self, module, drawing):
        own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        layers = {name: stepwise(layer, drawing) for name, layer in module.named_children()}
        self.__dict__.update(own | layers)
        self.kind = type(module)

    def __getattr__(self, name):
        return functools.partial(getattr(self.kind, name), self)

    def __call__(self, *inputs):
        return self.kind.forward(self, *inputs)


class PixelStep:
    """A CausalConv2d at the pixels of a turn, on what it remembers of those before."""

    def __init__(self, layer, drawing):
        self.drawing, self.n_colors = drawing, layer.n_colors
        n_out, n_in, n_up, _ = layer.weight.shape
        weight = layer.weight.detach()
        groups = color_groups(n_out, layer.n_colors, layer.n_parts).to(weight.device)
        seen = [weight[:, :, i, j].T for i, j in _taps(n_up, layer.radius)]
        bias = weight.new_zeros(n_out) if layer.bias is None else layer.bias.detach()
        self.weights, self.biases = [], []
        for color in range(layer.n_colors):
            self.weights.append(torch.cat(seen)[:, groups == color].contiguous())
            self.biases.append(bias[groups == color])
        self.first, self.is_direct = layer.first, len(seen) == self.n_colors == 1
        if self.is_direct:
            return
        key = n_up, layer.radius
        if key not in drawing.windows:
            drawing.windows[key] = Windows(drawing, *key)
        self.windows = drawing.windows[key]
        self.memory = weight.new_zeros(self.windows.n_cells * drawing.n_rows, n_in)
        self.slots = self.memory.view(len(self.memory), self.n_colors, -1).unbind(1)
        if self.first:
            drawing.layers.append(self)

    def write(self, values):
        """Remember values (m * n_rows, channels) of the present colour."""
        self.slots[self.drawing.color].index_copy_(0, self.windows.own(), values)

    def __call__(self, values):
        color = self.drawing.color
        if not self.is_direct:
            if not self.first:
                self.write(values)
            values = self.memory.index_select(0, self.windows.seen()).view(
                -1, len(self.weights[color])
            )
        return torch.addmm(self.biases[color], values, self.weights[color])


class Windows:
    """Where the pixels of a turn, and what a kernel sees from there, are in a memory of the last
    rows of images.

    A cell has the pixels of one place in all images; the last cell, of zeros, is the place of what
    is outside.

    Parameters
    ----------
    drawing : Drawing
    n_up : int
        Rows that a kernel sees, its own among them.
    radius : int
    """

    def __init__(self, drawing, n_up, radius):
        self.drawing, height, width = drawing, drawing.height, drawing.width
        n_kept = n_up - 1 + drawing.at_once
        self.n_cells = n_kept * width + 1
        device = drawing.colors.device
        up, right = torch.tensor(_taps(n_up, radius), device=device).T
        up, right = up - (n_up - 1), right - radius
        pixels = torch.arange(height * width, device=device)
        rows, columns = pixels[:, None] // width + up, pixels[:, None] % width + right
        is_inside = (rows >= 0) & (columns >= 0) & (columns < width)
        self.cells = (
            torch.where(is_inside, rows % n_kept * width + columns, n_kept * width) * drawing.n_rows
        )
        self.images = torch.arange(drawing.n_rows, device=device)
        self.pixel = None

    def own(self):
        """Places (m * n_rows,) of the pixels of the turn."""
        self._look()
        return self.places[0]

    def seen(self):
        """Places (m * n_rows * n_taps,) of what is seen from there, row by row of the images."""
        self._look()
        return self.places[1]

    def _look(self):
        if self.pixel == self.drawing.pixel:
            return
        self.pixel = self.drawing.pixel
        cells = self.cells[self.drawing.pixels]
        own = (cells[:, -1:] + self.images).flatten()
        self.places = own, (cells[:, None] + self.images[:, None]).flatten()


def _taps(n_up, radius):
    """Rows and columns of the numbers of a causal kernel, its own pixel last."""
    return [
        (i, j) for i in range(n_up) for j in range(2 * radius + 1 if i < n_up - 1 else radius + 1)
    ]


class RowStep:
    """A CausalConv2d of a vertical stack, for rows (n, channels, 1, width) that are given one at a
    time."""

    def __init__(self, layer, drawing):
        self.weight, self.bias, self.radius = (
            layer.weight.detach(),
            layer.bias.detach(),
            layer.radius,
        )
        n_in, height = layer.weight.shape[1:3]
        self.before = self.weight.new_zeros(drawing.n_rows, n_in, height - 1, drawing.width)

    def __call__(self, row):
        rows = torch.cat([self.before, row], dim=2)
        self.before = rows[:, :, 1:]
        return functional.conv2d(rows, self.weight, self.bias, padding=(0, self.radius))


def by_color(row, groups, n_colors):
    """Numbers (width, n, channels) as a list of those of a group, one for each colour."""
    return [row if n_colors == 1 else row[:, :, groups == color] for color in range(n_colors)]


class PositionStep:
    """A PositionMap at one pixel."""

    def __init__(self, layer, drawing):
        self.drawing = drawing
        self.maps = self._by_feature(layer.map)
        self.class_maps = None if layer.class_maps is None else self._by_feature(layer.class_maps)

    def _by_feature(self, maps):
        """Maps (..., channels, height, width) as (n_features, ..., channels of a colour)."""
        by_color = maps.detach().unflatten(-3, (self.drawing.n_colors, -1)).flatten(-2)
        return by_color.movedim((-1, -3), (0, 1)).flatten(0, 1).contiguous()

    def __call__(self, values, labels):
        drawing = self.drawing
        features = drawing.pixels * drawing.n_colors + drawing.color
        values = values.unflatten(0, (-1, drawing.n_rows)) + self.maps[features][:, None]
        if self.class_maps is not None:
            values += drawing.labels @ self.class_maps[features]
        return values.flatten(0, 1)


class ClassStep:
    """A ClassBias of one pixel."""

    def __init__(self, layer, drawing):
        self.drawing = drawing
        biases = drawing.labels @ layer.weight.detach()
        groups = color_groups(biases.shape[1], drawing.n_colors, layer.n_parts).to(biases.device)
        self.biases = [biases[:, groups == color].contiguous() for color in range(drawing.n_colors)]

    def __call__(self, values, labels):
        return (
            values.unflatten(0, (-1, self.drawing.n_rows)) + self.biases[self.drawing.color]
        ).flatten(0, 1)


class HintStep:
    """Hints at one pixel."""

    def __init__(self, layer, drawing):
        self.drawing = drawing
        told = layer.told(drawing.hints).unflatten(1, (drawing.n_colors, -1)).flatten(3)
        self.told = told.permute(3, 1, 0, 2).flatten(0, 1).contiguous()

    def __call__(self, values, hints):
        drawing = self.drawing
        return values + self.told[drawing.pixels * drawing.n_colors + drawing.color].flatten(0, 1)


class AttentionStep:
    """A CausalAttention of one pixel, on keys and values that are remembered."""

    def __init__(self, layer, drawing):
        self.drawing, self.layer = drawing, layer
        self.queries, self.out = stepwise(layer.queries, drawing), stepwise(layer.out, drawing)
        n_rows, n_channels = drawing.n_rows, layer.queries.weight.shape[1]
        self.here = layer.start.new_zeros(n_rows, n_channels)
        self.slots = self.here.view(n_rows, drawing.n_colors, -1).unbind(1)
        size = (2, n_rows, layer.n_heads, drawing.height * drawing.width, layer.size)
        self.pairs = layer.start.new_zeros(size)

    def __call__(self, values, images):
        drawing, layer = self.drawing, self.layer
        if drawing.color == 0:
            if drawing.pixel == 0:
                pairs = layer.start.expand(drawing.n_rows, -1)
            else:
                past = torch.cat([self.here, drawing.colors], dim=1)
                pairs = functional.linear(past, layer.keys.weight[:, :, 0, 0], layer.keys.bias)
            self.pairs[:, :, :, drawing.pixel] = pairs.view(
                -1, 2, layer.n_heads, layer.size
            ).transpose(0, 1)
        self.slots[drawing.color].copy_(values)
        queries = self.queries(values).view(drawing.n_rows, -1, 1, layer.size)
        n_heads = queries.shape[1]
        own = slice(drawing.color * n_heads, (drawing.color + 1) * n_heads)
        keys, pasts = self.pairs[:, :, own, : drawing.pixel + 1]
        seen = functional.scaled_dot_product_attention(queries, keys, pasts)
        return values + self.out(seen.flatten(1))


class HalfDrawing:
    """What layers at half the size are told of a drawing: of every square of two by two it is at
    the first pixel."""

    at_once = 1

    def __init__(self, drawing):
        self.whole, self.layers, self.windows = drawing, [], {}
        self.n_rows, self.n_colors, self.labels = drawing.n_rows, drawing.n_colors, drawing.labels
        self.height, self.width = halved(drawing.height), halved(drawing.width)
        self.colors = torch.zeros_like(drawing.colors)

    @property
    def color(self):
        return self.whole.color

    @property
    def column(self):
        return self.whole.column // 2

    @property
    def pixel(self):
        return self.whole.pixel // self.whole.width // 2 * self.width + self.column

    @property
    def pixels(self):
        return torch.tensor([self.pixel], device=self.colors.device)

    @property
    def place(self):
        """Row and column of the pixel in its square."""
        return self.whole.pixel // self.whole.width % 2, self.whole.column % 2

    def write(self, values):
        """Take note of values (n_rows, 1) of the present colour, if they are of the first pixel of
        a square."""
        if self.place == (0, 0):
            self.colors[:, self.color] = values[:, 0]
            for layer in self.layers:
                layer.write(values)


class MiddleStep:
    """A Middle at one pixel: its blocks are asked at the first pixel of a square, for all four."""

    def __init__(self, layer, drawing):
        self.half = HalfDrawing(drawing)
        drawing.layers.append(self.half)
        self.down = stepwise(layer.down, drawing)
        self.inner, self.up = stepwise(layer.inner, self.half), stepwise(layer.up, self.half)
        self.made: list = [[None] * self.half.width for _ in range(drawing.n_colors)]

    def __call__(self, values, images, contexts, labels):
        row, column = self.half.place
        made = self.made[self.half.color]
        if row == column == 0:
            hidden = self.inner(self.down(values), images, contexts, labels)
            made[self.half.column] = self.up(hidden).chunk(4, dim=1)
        else:
            self.down.write(values)
        return values + made[self.half.column][2 * row + column]


class VerticalMiddleStep:
    """A VerticalMiddle, for rows that are given one at a time: its stack is asked at every second,
    for both."""

    def __init__(self, layer, drawing):
        self.down, self.inner = (
            stepwise(layer.down, drawing),
            stepwise(layer.inner, HalfDrawing(drawing)),
        )
        self.up = layer.up
        self.is_second = True  # of the row that is given last
        self.rows: Any = None
        self.contexts: list = []

    def __call__(self, row):
        width = row.shape[3]
        down = self.down(row)[:, :, :, ::2]
        self.is_second = not self.is_second
        if not self.is_second:
            hidden, contexts = self.inner.walk(down)
            self.rows = doubled(self.up(hidden), 2, width)
            # Blocks at half the size are asked at every second pixel.
            self.contexts = [
                context.repeat_interleave(2, dim=3)[:, :, :, :width] for context in contexts
            ]
        second = int(self.is_second)
        return row + self.rows[:, :, second : second + 1], self.contexts
