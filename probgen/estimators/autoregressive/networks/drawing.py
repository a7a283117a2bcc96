"""Drawing pixel by pixel, at a cost per pixel that does not depend on the size of the image.

A network is copied, and each layer with a window of several pixels is replaced by a step: it
computes a few pixels, or a single row, from the values that it keeps of earlier ones. All other
layers are used as they are. Only attention depends on all pixels before.

Steps work on values (m * n_rows, channels) of one colour: the m pixels of a turn in all n_rows
images, pixel by pixel.
"""

import functools
from collections.abc import Iterator, Sequence
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
    """Evaluation of a PixelNetwork in turns of a few pixels, while an image is drawn.

    A turn has all pixels that do not depend on each other: the window of residual blocks ends a few
    pixels to the right in the row above, so each row of an image follows the row above it at that
    distance. If a network depends on all of the rows above (gates, attention, downsampling), each
    pixel has a turn of its own. Each colour has a turn of its own.

    Parameters
    ----------
    network : PixelNetwork
    n_rows : int
    labels : Tensor of shape (n_rows, n_classes), default=None
        For a network with classes.
    hints : Tensor of shape (n_rows, n_hints, height, width), default=None
        For a network with hints.

    Examples
    --------
    >>> import torch
    >>> from probgen.estimators.autoregressive.networks.pixel import PixelNetwork
    >>> network = PixelNetwork((2, 5, 1), 1, n_filters=4, n_layers=1)
    >>> with torch.inference_mode():
    ...     drawing = Drawing(network, 3)
    ...     for features in drawing.turns():
    ...         values = drawing.put((drawing.outputs() > 0.0).float())
    ...     len(drawing), features, values.shape
    (9, tensor([9]), torch.Size([3, 1]))
    """

    def __init__(
        self,
        network: Any,
        n_rows: int,
        labels: torch.Tensor | None = None,
        hints: torch.Tensor | None = None,
    ) -> None:
        like = next(network.parameters())
        self.n_rows = n_rows
        self.labels = labels
        self.hints = hints
        self.height, self.width, self.n_colors = network.image_shape
        # The turn of each pixel: row i starts i * lag turns after the first row.
        lag = _lag(network)
        turns = (torch.arange(self.width) + lag * torch.arange(self.height)[:, None]).flatten()
        order = turns.argsort(stable=True)
        counts = turns.bincount().tolist()
        self.most_pixels = max(counts)  # in a turn
        self.pixels_of_turns = order.to(like.device).split(counts)
        self.first_pixels = [int(pixels[0]) for pixels in order.split(counts)]
        self.pixel = 0  # the first pixel of the turn
        self.color = 0
        # Colours (n_rows, n_colors) of this pixel, or of the last one before this one is put.
        self.colors = like.new_zeros(n_rows, self.n_colors)
        self.above = like.new_zeros(n_rows, self.n_colors, 1, self.width)
        self.windows: dict = {}
        self.layers: list = []  # layers with inputs from the image itself
        self.network: Any = stepwise(network, self)
        # Contexts from the vertical stack, by layer, colour and column.
        self.contexts: list = [[[None] * self.width] * self.n_colors] * (len(network.blocks) + 1)

    def __len__(self) -> int:
        return len(self.pixels_of_turns) * self.n_colors

    @property
    def column(self) -> int:
        """Column of the first pixel of the turn."""
        return self.pixel % self.width

    def turns(self) -> Iterator[torch.Tensor]:
        """Yield the features (m,) of each turn.

        Before the next turn the caller takes `outputs`, draws and calls `put`.
        """
        for first, pixels in zip(self.first_pixels, self.pixels_of_turns):
            self.pixel = first
            self.pixels = pixels
            if self.column == 0 and self.network.vertical is not None:
                self._begin_row()
            for color in range(self.n_colors):
                self.color = color
                yield pixels * self.n_colors + color

    def outputs(self) -> torch.Tensor:
        """Outputs (n_rows, m * n_outputs_per_feature) for the features of the turn."""
        contexts = [context[self.color][self.column] for context in self.contexts]
        outputs = self.network.outputs(self.network.hidden(self.colors, contexts, None, None))
        return outputs.unflatten(0, (-1, self.n_rows)).transpose(0, 1).flatten(1)

    def put(self, values: torch.Tensor) -> torch.Tensor:
        """Set the features of the turn to values (n_rows, m), and return these."""
        scaled = self.network.scaled(values)
        self.colors[:, self.color] = scaled[:, 0]
        self.above[:, self.color, 0, self.column] = scaled[:, 0]
        for layer in self.layers:
            layer.write(scaled.T.reshape(-1, 1))
        return values

    def _begin_row(self) -> None:
        """Compute the contexts of all pixels of a row from the rows above."""
        groups = color_groups(2 * self.network.n_channels, self.n_colors, 2).to(self.colors.device)
        self.contexts = []
        for context in self.network.vertical(self.above):
            row = context[:, :, 0].permute(2, 0, 1).contiguous()  # (width, n_rows, channels)
            self.contexts.append(by_color(row, groups, self.n_colors))


def n_turns(network: Any) -> int:
    """Number of turns of a drawing with a network."""
    height, width, n_colors = network.image_shape
    return (width + _lag(network) * (height - 1)) * n_colors


def _lag(network: Any) -> int:
    """Pixels by which a row has to lag behind the row above it."""
    width = network.image_shape[1]
    if network.vertical is not None:
        return width
    if any(isinstance(module, CausalAttention | Middle) for module in network.modules()):
        return width
    return min(network.first.radius + 1, width)


@functools.singledispatch
def stepwise(layer: Any, drawing: Any) -> Any:
    """The step of a layer; modules without a step of their own keep their code."""
    if next(layer.children(), None) is None:
        return layer
    return Stepwise(layer, drawing)


@stepwise.register
def _(layers: nn.ModuleList, drawing: Any) -> Any:
    return [stepwise(layer, drawing) for layer in layers]


@stepwise.register
def _(layers: nn.ModuleDict, drawing: Any) -> Any:
    return {name: stepwise(layer, drawing) for name, layer in layers.items()}


@stepwise.register
def _(layer: CausalConv2d, drawing: Any) -> Any:
    if layer.stack == "vertical":
        return RowStep(layer, drawing)
    return PixelStep(layer, drawing)


@stepwise.register
def _(layer: PositionMap, drawing: Any) -> Any:
    return PositionStep(layer, drawing)


@stepwise.register
def _(layer: ClassBias, drawing: Any) -> Any:
    return ClassStep(layer, drawing)


@stepwise.register
def _(layer: Hints, drawing: Any) -> Any:
    return HintStep(layer, drawing)


@stepwise.register
def _(layer: CausalAttention, drawing: Any) -> Any:
    return AttentionStep(layer, drawing)


@stepwise.register
def _(layer: Middle, drawing: Any) -> Any:
    return MiddleStep(layer, drawing)


@stepwise.register
def _(layer: VerticalMiddle, drawing: Any) -> Any:
    return VerticalMiddleStep(layer, drawing)


class Stepwise:
    """A module's own code, run on the steps of its layers."""

    def __init__(self, module: nn.Module, drawing: Any) -> None:
        own = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        layers = {name: stepwise(layer, drawing) for name, layer in module.named_children()}
        self.__dict__.update(own | layers)
        self.kind = type(module)

    def __getattr__(self, name: str) -> Any:
        return functools.partial(getattr(self.kind, name), self)

    def __call__(self, *inputs: Any) -> Any:
        return self.kind.forward(self, *inputs)


class PixelStep:
    """A CausalConv2d at the pixels of a turn, from its memory of earlier pixels."""

    def __init__(self, layer: CausalConv2d, drawing: Any) -> None:
        self.drawing = drawing
        self.n_colors = layer.n_colors
        self.first = layer.first
        n_out, n_in, n_up, _ = layer.weight.shape
        weight = layer.weight.detach()
        bias = weight.new_zeros(n_out)
        if layer.bias is not None:
            bias = layer.bias.detach()
        groups = color_groups(n_out, layer.n_colors, layer.n_parts).to(weight.device)
        # The kernel as one matrix (n_taps * n_in, channels) for each colour.
        taps = [weight[:, :, i, j].T for i, j in _taps(n_up, layer.radius)]
        self.weights = []
        self.biases = []
        for color in range(layer.n_colors):
            self.weights.append(torch.cat(taps)[:, groups == color].contiguous())
            self.biases.append(bias[groups == color])
        # A window of one pixel and colour needs no memory.
        self.is_direct = len(taps) == self.n_colors == 1
        if self.is_direct:
            return
        key = n_up, layer.radius
        if key not in drawing.windows:
            drawing.windows[key] = Windows(drawing, *key)
        self.windows = drawing.windows[key]
        self.memory = weight.new_zeros(self.windows.n_cells * drawing.n_rows, n_in)
        # Views of the memory (n_cells * n_rows, channels of a colour), one for each colour.
        self.slots = self.memory.view(len(self.memory), self.n_colors, -1).unbind(1)
        if self.first:
            drawing.layers.append(self)

    def write(self, values: torch.Tensor) -> None:
        """Store values (m * n_rows, channels) of the present colour."""
        self.slots[self.drawing.color].index_copy_(0, self.windows.own(), values)

    def __call__(self, values: torch.Tensor) -> torch.Tensor:
        color = self.drawing.color
        if not self.is_direct:
            if not self.first:
                self.write(values)
            # The windows (m * n_rows, n_taps * n_in) of the pixels.
            values = self.memory.index_select(0, self.windows.seen())
            values = values.view(-1, len(self.weights[color]))
        return torch.addmm(self.biases[color], values, self.weights[color])


class Windows:
    """Positions of the pixels of a turn, and of their windows, in a memory of the last image rows.

    A cell of the memory has the values of one pixel in all n_rows images. Image rows take turns in
    it. The last cell is zero, and represents all pixels outside of the image.

    Parameters
    ----------
    drawing : Drawing
    n_up : int
        Rows of a kernel, the pixel's own row included.
    radius : int
        Columns of a kernel on either side of the pixel.
    """

    def __init__(self, drawing: Any, n_up: int, radius: int) -> None:
        self.drawing = drawing
        height, width = drawing.height, drawing.width
        device = drawing.colors.device
        n_kept = n_up - 1 + drawing.most_pixels  # image rows, as a turn has one pixel of each row
        outside = n_kept * width
        self.n_cells = outside + 1
        # Rows and columns (height * width, n_taps) of each pixel's window.
        taps = torch.tensor(_taps(n_up, radius), device=device)
        pixels = torch.arange(height * width, device=device)[:, None]
        rows = pixels // width + taps[:, 0] - (n_up - 1)
        columns = pixels % width + taps[:, 1] - radius
        is_inside = (rows >= 0) & (columns >= 0) & (columns < width)
        cells = torch.where(is_inside, rows % n_kept * width + columns, outside)
        self.starts = cells * drawing.n_rows
        self.images = torch.arange(drawing.n_rows, device=device)
        self.pixel = None

    def own(self) -> torch.Tensor:
        """Positions (m * n_rows,) of the pixels of the turn."""
        self._update()
        return self.own_positions

    def seen(self) -> torch.Tensor:
        """Positions (m * n_rows * n_taps,) of their windows."""
        self._update()
        return self.seen_positions

    def _update(self) -> None:
        """Compute the positions of the turn, once for all layers of this window."""
        if self.pixel == self.drawing.pixel:
            return
        self.pixel = self.drawing.pixel
        starts = self.starts[self.drawing.pixels]  # (m, n_taps), the own pixel last
        self.own_positions = (starts[:, -1:] + self.images).flatten()
        self.seen_positions = (starts[:, None] + self.images[:, None]).flatten()


def _taps(n_up: int, radius: int) -> list[tuple[int, int]]:
    """Rows and columns (i, j) of the entries of a causal kernel, the own pixel last."""
    above = [(i, j) for i in range(n_up - 1) for j in range(2 * radius + 1)]
    return above + [(n_up - 1, j) for j in range(radius + 1)]


class RowStep:
    """A CausalConv2d of a vertical stack, for one row (n, channels, 1, width) at a time."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.weight = layer.weight.detach()
        self.bias = layer.bias.detach()
        self.radius = layer.radius
        n_in, height = layer.weight.shape[1:3]
        self.before = self.weight.new_zeros(drawing.n_rows, n_in, height - 1, drawing.width)

    def __call__(self, row: torch.Tensor) -> torch.Tensor:
        rows = torch.cat([self.before, row], dim=2)
        self.before = rows[:, :, 1:]
        return functional.conv2d(rows, self.weight, self.bias, padding=(0, self.radius))


def by_color(row: torch.Tensor, groups: torch.Tensor, n_colors: int) -> list[torch.Tensor]:
    """A row (width, n, channels) as a list of its channels for each colour."""
    if n_colors == 1:
        return [row]
    return [row[:, :, groups == color] for color in range(n_colors)]


class PositionStep:
    """A PositionMap at the pixels of a turn."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.drawing = drawing
        self.maps = self._by_feature(layer.map)
        self.class_maps = None
        if layer.class_maps is not None:
            self.class_maps = self._by_feature(layer.class_maps)

    def _by_feature(self, maps: torch.Tensor) -> torch.Tensor:
        """Maps (..., channels, height, width) as (n_features, ..., channels of a colour)."""
        by_color = maps.detach().unflatten(-3, (self.drawing.n_colors, -1)).flatten(-2)
        return by_color.movedim((-1, -3), (0, 1)).flatten(0, 1).contiguous()

    def __call__(self, values: torch.Tensor, labels: Any) -> torch.Tensor:
        drawing = self.drawing
        features = drawing.pixels * drawing.n_colors + drawing.color
        values = values.unflatten(0, (-1, drawing.n_rows)) + self.maps[features][:, None]
        if self.class_maps is not None:
            values += drawing.labels @ self.class_maps[features]
        return values.flatten(0, 1)


class ClassStep:
    """A ClassBias at the pixels of a turn."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.drawing = drawing
        biases = drawing.labels @ layer.weight.detach()
        groups = color_groups(biases.shape[1], drawing.n_colors, layer.n_parts).to(biases.device)
        self.biases = [biases[:, groups == color].contiguous() for color in range(drawing.n_colors)]

    def __call__(self, values: torch.Tensor, labels: Any) -> torch.Tensor:
        by_pixel = values.unflatten(0, (-1, self.drawing.n_rows))
        return (by_pixel + self.biases[self.drawing.color]).flatten(0, 1)


class HintStep:
    """Hints at the pixels of a turn."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.drawing = drawing
        # From (n_rows, n_colors, channels, n_pixels) to (n_features, n_rows, channels).
        embedded = layer.embed(drawing.hints).unflatten(1, (drawing.n_colors, -1)).flatten(3)
        self.embedded = embedded.permute(3, 1, 0, 2).flatten(0, 1).contiguous()

    def __call__(self, values: torch.Tensor, hints: Any) -> torch.Tensor:
        features = self.drawing.pixels * self.drawing.n_colors + self.drawing.color
        return values + self.embedded[features].flatten(0, 1)


class AttentionStep:
    """A CausalAttention at one pixel, from its memory of keys and values."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.drawing = drawing
        self.layer = layer
        self.queries = stepwise(layer.queries, drawing)
        self.out = stepwise(layer.out, drawing)
        n_rows = drawing.n_rows
        n_channels = layer.queries.weight.shape[1]
        # Hidden channels of the last pixel, and views of those of each colour.
        self.hidden = layer.start.new_zeros(n_rows, n_channels)
        self.slots = self.hidden.view(n_rows, drawing.n_colors, -1).unbind(1)
        # Keys and values; those at p are of the pixel before p, or the start.
        n_pixels = drawing.height * drawing.width
        self.pairs = layer.start.new_zeros(2, n_rows, layer.n_heads, n_pixels, layer.size)

    def __call__(self, values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        drawing = self.drawing
        layer = self.layer
        if drawing.color == 0:
            self._append_pair()
        self.slots[drawing.color].copy_(values)
        queries = self.queries(values).view(drawing.n_rows, -1, 1, layer.size)
        n_heads = queries.shape[1]  # of the present colour
        own_heads = slice(drawing.color * n_heads, (drawing.color + 1) * n_heads)
        keys, attended = self.pairs[:, :, own_heads, : drawing.pixel + 1]
        outputs = functional.scaled_dot_product_attention(queries, keys, attended)
        return values + self.out(outputs.flatten(1))

    def _append_pair(self) -> None:
        """Store the key and value of the pixel before the present one."""
        drawing = self.drawing
        layer = self.layer
        if drawing.pixel == 0:
            pairs = layer.start.expand(drawing.n_rows, -1)
        else:
            inputs = torch.cat([self.hidden, drawing.colors], dim=1)
            pairs = functional.linear(inputs, layer.keys.weight[:, :, 0, 0], layer.keys.bias)
        pairs = pairs.view(-1, 2, layer.n_heads, layer.size).transpose(0, 1)
        self.pairs[:, :, :, drawing.pixel] = pairs


class HalfDrawing:
    """A drawing for layers at half the size.

    A square of two by two pixels is one pixel, which has the colours of the square's first pixel.
    """

    most_pixels = 1

    def __init__(self, drawing: Any) -> None:
        self.whole = drawing
        self.layers = []
        self.windows = {}
        self.n_rows = drawing.n_rows
        self.n_colors = drawing.n_colors
        self.labels = drawing.labels
        self.height = halved(drawing.height)
        self.width = halved(drawing.width)
        self.colors = torch.zeros_like(drawing.colors)

    @property
    def color(self) -> int:
        """Present colour."""
        return self.whole.color

    @property
    def column(self) -> int:
        """Column of the square."""
        return self.whole.column // 2

    @property
    def pixel(self) -> int:
        """Index of the square."""
        return self.whole.pixel // self.whole.width // 2 * self.width + self.column

    @property
    def pixels(self) -> torch.Tensor:
        """Index of the square as a Tensor of shape (1,)."""
        return torch.tensor([self.pixel], device=self.colors.device)

    @property
    def place(self) -> tuple[int, int]:
        """Row and column of the pixel in its square."""
        return self.whole.pixel // self.whole.width % 2, self.whole.column % 2

    def write(self, values: torch.Tensor) -> None:
        """Store values (n_rows, 1) of the present colour at the first pixel of a square."""
        if self.place == (0, 0):
            self.colors[:, self.color] = values[:, 0]
            for layer in self.layers:
                layer.write(values)


class MiddleStep:
    """A Middle at one pixel; its blocks run at the first pixel of a square, for all four."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.half = HalfDrawing(drawing)
        drawing.layers.append(self.half)
        self.down = stepwise(layer.down, drawing)
        self.inner = stepwise(layer.inner, self.half)
        self.up = stepwise(layer.up, self.half)
        # Outputs for the pixels of each square of a row, by colour and column of the square.
        self.outputs: list = [[None] * self.half.width for _ in range(drawing.n_colors)]

    def __call__(
        self, values: torch.Tensor, images: torch.Tensor, contexts: Sequence[Any], labels: Any
    ) -> torch.Tensor:
        row, column = self.half.place
        outputs = self.outputs[self.half.color]
        if row == column == 0:
            hidden = self.inner(self.down(values), images, contexts, labels)
            outputs[self.half.column] = self.up(hidden).chunk(4, dim=1)
        else:
            # The windows of later squares reach this pixel.
            self.down.write(values)
        return values + outputs[self.half.column][2 * row + column]


class VerticalMiddleStep:
    """A VerticalMiddle for one row at a time; its stack runs at the first of two rows, for both."""

    def __init__(self, layer: Any, drawing: Any) -> None:
        self.down = stepwise(layer.down, drawing)
        self.inner = stepwise(layer.inner, HalfDrawing(drawing))
        self.up = layer.up
        self.is_second = True  # whether the last row was the second of two
        self.rows: Any = None  # outputs (n, channels, 2, width) for both
        self.contexts: list = []

    def __call__(self, row: torch.Tensor) -> tuple[torch.Tensor, list]:
        width = row.shape[3]
        down = self.down(row)[:, :, :, ::2]
        self.is_second = not self.is_second
        if not self.is_second:
            hidden, contexts = self.inner.run(down)
            self.rows = doubled(self.up(hidden), 2, width)
            # Blocks at half the size take the context at the column of a square's first pixel.
            self.contexts = [
                context.repeat_interleave(2, dim=3)[:, :, :, :width] for context in contexts
            ]
        second = int(self.is_second)
        return row + self.rows[:, :, second : second + 1], self.contexts
