"""PixelCNNs of an image at several sizes, each conditioned on the smaller image."""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.estimators.autoregressive.networks.drawing import Drawing, n_turns
from probgen.estimators.autoregressive.networks.pixel import PixelNetwork


class MultiScaleNetwork(nn.Module):
    """Networks for a coarse grid of pixels, for finer grids given it, and last for all pixels [1]_.

    The pixels of a small image are pixels of the large one and come first, so the conditionals of
    all scales multiply to one distribution of the large image.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Outputs for each colour of a pixel.
    scales : sequence of int
        Heights of the images, each a divisor of the next; the last is the height of the image. The
        ratios divide the width too.
    **settings
        As in `PixelNetwork`.

    Attributes
    ----------
    order : Tensor of shape (n_features,)
        The features in the order of drawing.

    References
    ----------
    .. [1] A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu, Pixel recurrent neural networks, 2016,
       section 3.6.

    Examples
    --------
    >>> network = MultiScaleNetwork((4, 4, 1), 1, (2, 4), n_filters=4, n_layers=1)
    >>> network(torch.zeros(3, 16)).shape, network.order[:6].tolist()
    (torch.Size([3, 16]), [0, 2, 8, 10, 1, 3])
    """

    order: torch.Tensor
    places: torch.Tensor

    def __init__(
        self,
        image_shape: Sequence[int],
        n_outputs_per_feature: int,
        scales: Sequence[int],
        **settings: Any,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        height, width, n_colors = self.image_shape
        self.strides = [height // scale for scale in scales]
        self.ratios = [before // after for before, after in pairwise(self.strides)]
        shapes = [(height // stride, width // stride, n_colors) for stride in self.strides]
        n_hints = [0] + [n_colors + 1] * (len(shapes) - 1)
        self.networks = nn.ModuleList(
            PixelNetwork(shape, n_outputs_per_feature, n_hints=n, **settings)
            for shape, n in zip(shapes, n_hints)
        )
        # For each scale, the pixels of its image and whether no smaller image has them.
        pixels = torch.arange(height * width).view(height, width)
        self.pixels = [pixels[::stride, ::stride].flatten() for stride in self.strides]
        self.is_new = [torch.ones(len(self.pixels[0]), dtype=torch.bool)]
        self.is_new += [~torch.isin(after, before) for before, after in pairwise(self.pixels)]
        order = torch.cat([part[new] for part, new in zip(self.pixels, self.is_new)])
        # From the order of drawing back to raster order.
        self.register_buffer("places", order.argsort(), persistent=False)
        features = order[:, None] * n_colors + torch.arange(n_colors)
        self.register_buffer("order", features.flatten(), persistent=False)

    @property
    def n_pooled(self) -> int:
        """Number of `features`."""
        finest: Any = self.networks[-1]
        return finest.n_pooled

    def forward(self, rows: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        outputs = []
        for k, (network, is_new) in enumerate(zip(self.networks, self.is_new)):
            by_scale = network(self.subsampled(rows, k), labels, self.hints(rows, k))
            by_pixel = by_scale.unflatten(1, (len(is_new), -1))
            outputs.append(by_pixel[:, is_new.to(rows.device)])
        return torch.cat(outputs, dim=1)[:, self.places].flatten(1)

    def features(self, rows: torch.Tensor, labels: torch.Tensor | None = None) -> torch.Tensor:
        """Channels (n, n_pooled) of the finest network's last layer, averaged over the pixels."""
        finest: Any = self.networks[-1]
        return finest.features(rows, labels, self.hints(rows, len(self.networks) - 1))

    def subsampled(self, rows: torch.Tensor, k: int) -> torch.Tensor:
        """Rows (n, n_features of scale k) of the image at scale k."""
        stride = self.strides[k]
        return rows.unflatten(1, self.image_shape)[:, ::stride, ::stride].flatten(1)

    def hints(self, rows: torch.Tensor, k: int) -> torch.Tensor | None:
        """The smaller image in its places at scale k, and a channel of 1 where it is.

        The shape is (n, colours + 1, height, width), with 0 elsewhere; None for the smallest scale.
        """
        if k == 0:
            return None
        network: Any = self.networks[k]
        ratio = self.ratios[k - 1]
        images = network.images(self.subsampled(rows, k))
        hints = images.new_zeros(len(rows), images.shape[1] + 1, *images.shape[2:])
        hints[:, :-1, ::ratio, ::ratio] = images[:, :, ::ratio, ::ratio]
        hints[:, -1, ::ratio, ::ratio] = 1.0
        return hints


class MultiScaleDrawing:
    """Evaluation of a MultiScaleNetwork in turns, as in `Drawing`, one image after another.

    Parameters
    ----------
    network : MultiScaleNetwork
    n_rows : int
    labels : Tensor of shape (n_rows, n_classes), default=None
    """

    def __init__(
        self, network: MultiScaleNetwork, n_rows: int, labels: torch.Tensor | None = None
    ) -> None:
        self.network = network
        self.labels = labels
        self.rows = next(network.parameters()).new_zeros(n_rows, math.prod(network.image_shape))

    def __len__(self) -> int:
        return sum(n_turns(network) for network in self.network.networks)

    def turns(self) -> Iterator[torch.Tensor]:
        """Yield the features (m,) of each turn, features of smaller images included."""
        n_colors = self.network.image_shape[2]
        for k in range(len(self.network.networks)):
            network: Any = self.network.networks[k]
            hints = self.network.hints(self.rows, k)
            self.drawing = Drawing(network, len(self.rows), self.labels, hints)
            pixels_of_scale = self.network.pixels[k].to(self.rows.device)
            is_new = self.network.is_new[k].to(self.rows.device)
            for features in self.drawing.turns():
                # From features of the small image to those of the large one.
                pixels = features // n_colors
                self.features = pixels_of_scale[pixels] * n_colors + features % n_colors
                self.is_new = is_new[pixels]
                yield self.features

    def outputs(self) -> torch.Tensor:
        """Outputs (n_rows, m * n_outputs_per_feature) for the features of the turn."""
        return self.drawing.outputs()

    def put(self, values: torch.Tensor) -> torch.Tensor:
        """Set the features of the turn to values (n_rows, m), but for those set at a smaller scale.

        It returns what the features are.
        """
        self.rows[:, self.features] = torch.where(self.is_new, values, self.rows[:, self.features])
        return self.drawing.put(self.rows[:, self.features])
