"""PixelCNNs of one image at several sizes, each told what the smaller one drew."""

import math
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.estimators.autoregressive.networks.drawing import Drawing, n_turns
from probgen.estimators.autoregressive.networks.pixel import PixelNetwork


class MultiScaleNetwork(nn.Module):
    """Networks for every pixel in so many, for finer ones given these, and so on to all pixels
    [1]_.

    The pixels of a small image are pixels of the large one, drawn first; so the probabilities of
    all add up to one.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, colours).
    n_outputs_per_feature : int
        Numbers for each colour of a pixel.
    scales : sequence of int
        Heights of the images, each a divisor of the next, the last that of the image; ratios divide
        the width too.
    **settings
        As in `PixelNetwork`.

    Attributes
    ----------
    order : Tensor of shape (n_features,)
        The features in the order in which they are drawn.

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

    def __init__(self, image_shape, n_outputs_per_feature, scales, **settings):
        super().__init__()
        height, width, n_colors = self.image_shape = tuple(image_shape)
        self.strides = [height // scale for scale in scales]
        self.ratios = [before // after for before, after in pairwise(self.strides)]
        shapes = [(height // stride, width // stride, n_colors) for stride in self.strides]
        self.networks = nn.ModuleList(
            PixelNetwork(shape, n_outputs_per_feature, n_hints=n_colors + 1 if k else 0, **settings)
            for k, shape in enumerate(shapes)
        )
        pixels = torch.arange(height * width).view(height, width)
        self.pixels = [pixels[::stride, ::stride].flatten() for stride in self.strides]
        self.is_new = [torch.ones(len(self.pixels[0]), dtype=torch.bool)]
        self.is_new += [~torch.isin(after, before) for before, after in pairwise(self.pixels)]
        order = torch.cat([part[new] for part, new in zip(self.pixels, self.is_new)])
        self.register_buffer("places", order.argsort(), persistent=False)
        features = order[:, None] * n_colors + torch.arange(n_colors)
        self.register_buffer("order", features.flatten(), persistent=False)

    @property
    def n_pooled(self):
        """Numbers that `features` gives."""
        return self.networks[-1].n_pooled

    def forward(self, rows, labels=None):
        answers = []
        for k, (network, new) in enumerate(zip(self.networks, self.is_new)):
            told = network(self.subsampled(rows, k), labels, self.hints(rows, k))
            answers.append(told.unflatten(1, (len(new), -1))[:, new.to(rows.device)])
        return torch.cat(answers, dim=1)[:, self.places].flatten(1)

    def features(self, rows, labels=None):
        """Channels (n, n_pooled) of the last hidden layer of the finest network, averaged over the
        pixels."""
        finest: Any = self.networks[-1]
        return finest.features(rows, labels, self.hints(rows, len(self.networks) - 1))

    def subsampled(self, rows, k):
        """The rows of the image at scale k."""
        stride = self.strides[k]
        return rows.unflatten(1, self.image_shape)[:, ::stride, ::stride].flatten(1)

    def hints(self, rows, k):
        """What is known at scale k (n, colours + 1, height, width): the smaller image in its
        places, and where."""
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
    """Rows that a MultiScaleNetwork is asked about in turns, as `Drawing` is, image after image.

    Parameters
    ----------
    network : MultiScaleNetwork
    n_rows : int
    labels : Tensor of shape (n_rows, n_classes), default=None
    """

    def __init__(self, network, n_rows, labels=None):
        self.network, self.labels = network, labels
        self.rows = next(network.parameters()).new_zeros(n_rows, math.prod(network.image_shape))

    def __len__(self):
        return sum(n_turns(network) for network in self.network.networks)

    def turns(self):
        """Yield the features (m,) of each turn, those of a smaller image among them, which are
        known."""
        for k in range(len(self.network.networks)):
            network: Any = self.network.networks[k]
            hints = self.network.hints(self.rows, k)
            self.drawing = Drawing(network, len(self.rows), self.labels, hints)
            places, is_new = (
                part[k].to(self.rows.device) for part in (self.network.pixels, self.network.is_new)
            )
            for features in self.drawing.turns():
                pixels, colors = (
                    features // network.image_shape[2],
                    features % network.image_shape[2],
                )
                self.features, self.is_new = (
                    places[pixels] * network.image_shape[2] + colors,
                    is_new[pixels],
                )
                yield self.features

    def answers(self):
        """Outputs (n_rows, m * n_outputs_per_feature) for the features of the turn."""
        return self.drawing.answers()

    def put(self, values):
        """Say what the features of the turn are (n_rows, m); return it, with what was known."""
        self.rows[:, self.features] = torch.where(self.is_new, values, self.rows[:, self.features])
        return self.drawing.put(self.rows[:, self.features])
