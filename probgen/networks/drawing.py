"""Drawing pixel by pixel, at a cost of each that does not depend on the size of the image.

A network is copied with every layer that looks at other pixels replaced by one that sees a single pixel, or a single
row, and remembers what it saw before; all else of the network is used as it is. Attention looks at all pixels before.
"""

import functools
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from probgen.networks.causal import (
    CausalAttention,
    CausalConv2d,
    ClassBias,
    Hints,
    PositionMap,
    color_groups,
    doubled,
    halved,
)
from probgen.networks.pixel import Middle, VerticalMiddle


class Drawing:
    """Rows that a PixelNetwork is asked about one number at a time, in order.

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
    >>> from probgen.networks.pixel import PixelNetwork
    >>> network = PixelNetwork((2, 2, 1), 1, n_filters=4, n_layers=1)
    >>> with torch.inference_mode():
    ...     drawing = Drawing(network, 3)
    ...     for _ in range(4):
    ...         answers = drawing.answers()
    ...         drawing.put((answers[:, 0] > 0.0).float())
    >>> answers.shape
    torch.Size([3, 1])
    """

    def __init__(self, network, n_rows, labels=None, hints=None):
        like = next(network.parameters())
        self.n_rows, self.labels, self.hints = n_rows, labels, hints
        self.height, self.width, self.n_colors = network.image_shape
        self.pixel = self.column = self.color = 0
        self.colors = like.new_zeros(n_rows, self.n_colors)  # of this pixel, or of the last before any is put
        self.above = like.new_zeros(n_rows, self.n_colors, 1, self.width)
        self.layers: list = []  # that have rows to begin
        self.network: Any = stepwise(network, self)
        self.contexts: list = [[[None] * self.width] * self.n_colors] * (len(network.blocks) + 1)

    def answers(self):
        """What the network says (n_rows, n_answers) of the present colour, given what was put."""
        if self.column == self.color == 0:
            self._begin_row()
        contexts = [context[self.color][self.column] for context in self.contexts]
        return self.network.answers(self.network.hidden(self.colors, contexts, None, None))

    def put(self, values):
        """Say what the present colour is (n_rows,), and go on to the next."""
        scaled = self.network.scaled(values)
        self.colors[:, self.color] = scaled
        self.above[:, self.color, 0, self.column] = scaled
        for layer in self.layers:
            if layer.first:
                layer.write(scaled[:, None])
        self.color += 1
        if self.color == self.n_colors:
            self.pixel, self.color = self.pixel + 1, 0
            self.column = self.pixel % self.width

    def _begin_row(self):
        """Compute, for all pixels of a row, what the rows above say of them."""
        for layer in self.layers:
            layer.begin_row()
        if self.network.vertical is not None:
            groups = color_groups(2 * self.network.n_channels, self.n_colors, 2).to(self.colors.device)
            rows = [row[:, :, 0].permute(2, 0, 1).contiguous() for row in self.network.vertical(self.above)]
            self.contexts = [by_color(row, groups, self.n_colors) for row in rows]


@functools.singledispatch
def stepwise(layer, drawing):
    """The layer for one pixel at a time, (n, channels) of one colour; a layer not known here keeps its own code."""
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
    """A CausalConv2d at one pixel: what it makes of the rows above is computed once a row, for all of its pixels."""

    def __init__(self, layer, drawing):
        self.drawing, self.first, self.radius = drawing, layer.first, layer.radius
        n_colors, (n_out, n_in) = layer.n_colors, layer.weight.shape[:2]
        self.groups = color_groups(n_out, n_colors, layer.n_parts).to(layer.weight.device)
        weight = layer.weight.detach()
        seen = weight[:, :, -1, : self.radius + 1].transpose(1, 2).flatten(1)
        self.weights = [seen[self.groups == color].T.contiguous() for color in range(n_colors)]
        bias = weight.new_zeros(n_out) if layer.bias is None else layer.bias.detach()
        bias = bias.expand(drawing.n_rows, -1)
        self.biases = [bias[:, self.groups == color].contiguous() for color in range(n_colors)]
        self.above = RowsAbove(weight[:, :, :-1], bias[0], drawing) if weight.shape[2] > 1 else None
        self.is_direct = self.radius == 0 and n_colors == 1
        if not self.is_direct:
            wide = drawing.width + self.radius
            self.row = weight.new_zeros(drawing.n_rows, wide, n_in)
            self.slots = self.row.view(drawing.n_rows, wide * n_colors, n_in // n_colors).unbind(1)
            flat, size = self.row.flatten(1), (self.radius + 1) * n_in
            drawing.layers.append(self)
            self.windows = [flat[:, j * n_in : j * n_in + size] for j in range(drawing.width)]

    def begin_row(self):
        """Take what was remembered of a row, if there was one, as the row above."""
        if self.above is not None:
            self.starts = by_color(self.above(self.row[:, self.radius :]), self.groups, self.drawing.n_colors)

    def write(self, values):
        """Remember values (n, channels) of the present colour."""
        drawing = self.drawing
        self.slots[(drawing.column + self.radius) * drawing.n_colors + drawing.color].copy_(values)

    def __call__(self, values):
        drawing = self.drawing
        color, column = drawing.color, drawing.column
        if not self.is_direct:
            if not self.first:
                self.write(values)
            values = self.windows[column]
        start = self.biases[color] if self.above is None else self.starts[color][column]
        return torch.addmm(start, values, self.weights[color])


class RowsAbove:
    """What a convolution makes of the last rows (n, width, channels), given one at a time: (width, n, outputs)."""

    def __init__(self, weight, bias, drawing):
        n_out, n_in, height, kernel_size = weight.shape
        self.radius, self.bias = kernel_size // 2, bias
        self.weight = weight.permute(2, 3, 1, 0).reshape(-1, n_out).contiguous()
        wide = drawing.width + 2 * self.radius
        self.rows = weight.new_zeros(drawing.n_rows, height, wide, n_in)
        size, strides = (drawing.width, drawing.n_rows, height, kernel_size * n_in), self.rows.stride()
        self.windows = self.rows.as_strided(size, (strides[2], strides[0], strides[1], 1))

    def __call__(self, row):
        self.rows.copy_(self.rows.roll(-1, dims=1))
        self.rows[:, -1, self.radius : -self.radius] = row
        size = self.windows.shape
        return torch.addmm(self.bias, self.windows.reshape(size[0] * size[1], -1), self.weight).view(*size[:2], -1)


class RowStep:
    """A CausalConv2d of a vertical stack, for rows (n, channels, 1, width) that are given one at a time."""

    def __init__(self, layer, drawing):
        self.weight, self.bias, self.radius = layer.weight.detach(), layer.bias.detach(), layer.radius
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
        """Maps (..., channels, height, width) as a list of (..., channels of a colour) in order of drawing."""
        by_color = maps.detach().unflatten(-3, (self.drawing.n_colors, -1)).flatten(-2)
        return by_color.movedim((-1, -3), (0, 1)).flatten(0, 1).contiguous().unbind(0)

    def __call__(self, values, labels):
        drawing = self.drawing
        feature = drawing.pixel * drawing.n_colors + drawing.color
        values = values + self.maps[feature]
        return values if self.class_maps is None else values + drawing.labels @ self.class_maps[feature]


class ClassStep:
    """A ClassBias of one pixel."""

    def __init__(self, layer, drawing):
        self.drawing = drawing
        biases = drawing.labels @ layer.weight.detach()
        groups = color_groups(biases.shape[1], drawing.n_colors, layer.n_parts).to(biases.device)
        self.biases = [biases[:, groups == color].contiguous() for color in range(drawing.n_colors)]

    def __call__(self, values, labels):
        return values + self.biases[self.drawing.color]


class HintStep:
    """Hints at one pixel."""

    def __init__(self, layer, drawing):
        self.drawing = drawing
        told = layer.told(drawing.hints).unflatten(1, (drawing.n_colors, -1)).flatten(3)
        self.told = told.permute(3, 1, 0, 2).flatten(0, 1).contiguous().unbind(0)

    def __call__(self, values, hints):
        drawing = self.drawing
        return values + self.told[drawing.pixel * drawing.n_colors + drawing.color]


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
            self.pairs[:, :, :, drawing.pixel] = pairs.view(-1, 2, layer.n_heads, layer.size).transpose(0, 1)
        self.slots[drawing.color].copy_(values)
        queries = self.queries(values).view(drawing.n_rows, -1, 1, layer.size)
        n_heads = queries.shape[1]
        own = slice(drawing.color * n_heads, (drawing.color + 1) * n_heads)
        keys, pasts = self.pairs[:, :, own, : drawing.pixel + 1]
        seen = functional.scaled_dot_product_attention(queries, keys, pasts)
        return values + self.out(seen.flatten(1))


class HalfDrawing:
    """What layers at half the size are told of a drawing: of every square of two by two it is at the first pixel."""

    first = True  # it is told what is put

    def __init__(self, drawing):
        self.whole, self.layers = drawing, []
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
    def place(self):
        """Row and column of the pixel in its square."""
        return self.whole.pixel // self.whole.width % 2, self.whole.column % 2

    def begin_row(self):
        if self.place[0] == 0:
            for layer in self.layers:
                layer.begin_row()

    def write(self, values):
        if self.place == (0, 0):
            self.colors[:, self.color] = values[:, 0]
            for layer in self.layers:
                if layer.first:
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
    """A VerticalMiddle, for rows that are given one at a time: its stack is asked at every second, for both."""

    def __init__(self, layer, drawing):
        self.down, self.inner = stepwise(layer.down, drawing), stepwise(layer.inner, HalfDrawing(drawing))
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
            self.contexts = [context.repeat_interleave(2, dim=3)[:, :, :, :width] for context in contexts]
        second = int(self.is_second)
        return row + self.rows[:, :, second : second + 1], self.contexts
