"""Generators and discriminators of GANs; images are rows with channels last."""

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from probgen.networks import RowNetwork
from probgen.networks.activations import activation as make_activation
from probgen.networks.dense import MLP, Linear, aligned_linear

KERNEL, STRIDE, PADDING = 4, 2, 1
LEAST_SIDE = 2  # pixels of a side after the last layer that halves it
SLOPE = 0.2  # of leaky ReLUs below 0
FIRST_ITERATIONS = 15  # of the power method on new weights


class DenseGenerator(nn.Module):
    """Multilayer perceptron from codes to rows.

    Parameters
    ----------
    n_inputs : int
        Length of a code.
    hidden_layer_sizes : sequence of int
    n_outputs : int
    n_classes : int, default=0
        Length of the one-hot labels that are concatenated to the codes; 0 for none.
    activation : str, class or torch.nn.Module, default="relu"

    Examples
    --------
    >>> import torch
    >>> DenseGenerator(4, (8,), 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_layer_sizes: Sequence[int],
        n_outputs: int,
        *,
        n_classes: int = 0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        self.layers = MLP(n_inputs + n_classes, hidden_layer_sizes, n_outputs, activation)

    def forward(self, codes: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Rows (n, n_outputs) of codes (n, n_inputs) and labels (n, n_classes)."""
        return self.layers(torch.cat([codes, *labels], dim=1) if labels else codes)


class ConvGenerator(nn.Module):
    """A linear layer, then transposed convolutions with batch norm that double the sides [1]_.

    Parameters
    ----------
    n_inputs : int
        Length of a code.
    channels : sequence of int
        Of the layers, from the smallest images to the largest: those of a ConvDiscriminator in
        reverse.
    image_shape : tuple of int
        (height, width, channels).
    n_classes : int, default=0
        Length of the one-hot labels that are concatenated to the codes; 0 for none.
    activation : str, class or torch.nn.Module, default="relu"

    Raises
    ------
    ValueError
        If there is no layer, or the images are too small for so many.

    References
    ----------
    .. [1] A. Radford, L. Metz, S. Chintala, Unsupervised representation learning with deep
       convolutional generative adversarial networks, 2016.

    Examples
    --------
    >>> import torch
    >>> ConvGenerator(2, (16, 8), (28, 20, 3))(torch.zeros(5, 2)).shape
    torch.Size([5, 1680])
    """

    def __init__(
        self,
        n_inputs: int,
        channels: Sequence[int],
        image_shape: tuple[int, int, int],
        *,
        n_classes: int = 0,
        activation: str = "relu",
    ) -> None:
        super().__init__()
        sizes = _sizes(image_shape, channels)[::-1]
        self.start = (channels[0], *sizes[0])
        self.head = Linear(n_inputs + n_classes, math.prod(self.start))
        layers = []
        for k, (before, after) in enumerate(pairwise([*channels, image_shape[2]])):
            # Doubling makes even sides: an odd one needs the pixel that halving dropped.
            height, width = sizes[k + 1]
            output_padding = (height % 2, width % 2)
            layers += [nn.BatchNorm2d(before), make_activation(activation, (1, before, 4, 4))]
            layers.append(
                nn.ConvTranspose2d(before, after, KERNEL, STRIDE, PADDING, output_padding)
            )
        self.layers = nn.Sequential(*layers, nn.Tanh())

    def forward(self, codes: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Images (n, height * width * channels) in [-1, 1] of codes and labels (n, n_classes)."""
        start = self.head(torch.cat([codes, *labels], dim=1) if labels else codes)
        return self.layers(start.reshape(-1, *self.start)).movedim(-3, -1).flatten(1)


class OwnGenerator(RowNetwork):
    """A user's network as a generator.

    Parameters
    ----------
    network : torch.nn.Module
        From codes, with one-hot labels appended if there are any, to rows.

    Examples
    --------
    >>> import torch
    >>> OwnGenerator(torch.nn.Linear(4, 2))(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    """

    def forward(self, codes: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Rows (n, n_outputs) of codes (n, n_inputs) and labels (n, n_classes)."""
        return super().forward(torch.cat([codes, *labels], dim=1))


class Discriminator(nn.Module):
    """Base of networks that compute features of rows, and scores that are linear in them.

    A label adds weights of its own to those of the score [1]_, so features do not depend on it. A
    subclass sets `n_features` and implements `features(rows, *labels, generator=None)`.

    Attributes
    ----------
    n_features : int
    labels_change_features : bool

    References
    ----------
    .. [1] T. Miyato and M. Koyama, cGANs with projection discriminator, 2018.
    """

    n_features: int
    labels_change_features = False
    features: Any
    head: Any
    by_class: Any

    def _make_head(self, n_classes: int, spectral_norm: bool) -> None:
        kind = SpectralLinear if spectral_norm else Linear
        self.head = kind(self.n_features, 1)
        self.by_class = kind(n_classes, self.n_features) if n_classes else None

    def forward(
        self, rows: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """Scores (n,) of rows (n, d) and labels (n, n_classes); generator draws the dropout."""
        return self.score(self.features(rows, *labels, generator=generator), *labels)

    def score(self, features: torch.Tensor, *labels: torch.Tensor) -> torch.Tensor:
        """Scores (n,) of features (n, n_features) and labels (n, n_classes)."""
        scores = self.head(features)[:, 0]
        if labels:
            scores = scores + (features * self.by_class(labels[0])).sum(1)
        return scores


class DenseDiscriminator(Discriminator):
    """Multilayer perceptron from rows to features, the last hidden layer, and to scores.

    Parameters
    ----------
    n_inputs : int
    hidden_layer_sizes : sequence of int
        () makes scores linear in the rows.
    n_classes : int, default=0
        Length of the one-hot labels; 0 for none.
    spectral_norm : bool, default=False
        Whether weights are divided by their largest singular value.

    Examples
    --------
    >>> import torch
    >>> network = DenseDiscriminator(4, (8, 5))
    >>> network(torch.zeros(3, 4)).shape, network.features(torch.zeros(3, 4)).shape
    (torch.Size([3]), torch.Size([3, 5]))
    """

    def __init__(
        self,
        n_inputs: int,
        hidden_layer_sizes: Sequence[int],
        *,
        n_classes: int = 0,
        spectral_norm: bool = False,
    ) -> None:
        super().__init__()
        kind = SpectralLinear if spectral_norm else Linear
        sizes = [n_inputs, *hidden_layer_sizes]
        layers = []
        for before, after in pairwise(sizes):
            layers += [kind(before, after), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers)
        self.n_features = sizes[-1]
        self._make_head(n_classes, spectral_norm)

    def features(
        self, rows: torch.Tensor, *_: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """The last hidden layer (n, n_features) of rows (n, n_inputs)."""
        return self.layers(rows)


class ConvDiscriminator(Discriminator):
    """Strided convolutions, each of which halves the sides, with leaky ReLUs and dropout [1]_.

    Parameters
    ----------
    image_shape : tuple of int
        (height, width, channels).
    channels : sequence of int
        Of the layers, at least one.
    n_classes : int, default=0
        Length of the one-hot labels; 0 for none.
    spectral_norm : bool, default=False
        Whether weights are divided by their largest singular value.
    dropout : float, default=0.0
        Probability of dropout after each layer in training, drawn by the generator passed to
        `forward`; without a generator there is none.

    Raises
    ------
    ValueError
        If there is no layer, or the images are too small for so many.

    References
    ----------
    .. [1] A. Radford, L. Metz, S. Chintala, Unsupervised representation learning with deep
       convolutional generative adversarial networks, 2016.

    Examples
    --------
    >>> import torch
    >>> network = ConvDiscriminator((28, 28, 1), (4, 8))
    >>> network(torch.zeros(3, 784)).shape, network.features(torch.zeros(3, 784)).shape
    (torch.Size([3]), torch.Size([3, 392]))
    """

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        channels: Sequence[int],
        *,
        n_classes: int = 0,
        spectral_norm: bool = False,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.image_shape = tuple(image_shape)
        self.dropout = dropout
        height, width = _sizes(image_shape, channels)[-1]
        kind = SpectralConv2d if spectral_norm else nn.Conv2d
        self.layers = nn.ModuleList(
            kind(before, after, KERNEL, STRIDE, PADDING)
            for before, after in pairwise([image_shape[2], *channels])
        )
        self.n_features = channels[-1] * height * width
        self._make_head(n_classes, spectral_norm)

    def features(
        self, rows: torch.Tensor, *_: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """The last layer (n, n_features) of rows (n, height * width * channels)."""
        images = rows.unflatten(1, self.image_shape).movedim(-1, -3)
        for layer in self.layers:
            images = nn.functional.leaky_relu(layer(images), SLOPE)
            if self.training and self.dropout and generator is not None:
                kept = torch.empty_like(images).bernoulli_(1.0 - self.dropout, generator=generator)
                images = images * kept / (1.0 - self.dropout)
        return images.flatten(1)


class OwnDiscriminator(Discriminator):
    """A user's network as a discriminator.

    The features are what the last layer with weights of a torch.nn.Sequential gets; any other
    network has none but its scores.

    Parameters
    ----------
    network : torch.nn.Module
        From rows, with one-hot labels appended if there are any, to scores (n, 1).
    n_inputs : int
        Width of its rows.

    Examples
    --------
    >>> import torch
    >>> layers = [torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1)]
    >>> network = OwnDiscriminator(torch.nn.Sequential(*layers), 4)
    >>> network(torch.zeros(3, 4)).shape, network.features(torch.zeros(3, 4)).shape
    (torch.Size([3]), torch.Size([3, 8]))
    """

    labels_change_features = True
    body: nn.Module

    def __init__(self, network: nn.Module, n_inputs: int) -> None:
        super().__init__()
        n_layers = n_feature_layers(network)
        self.body = network
        self.head = nn.Identity()
        if n_layers:
            layers = list(network.children())
            self.body = nn.Sequential(*layers[:n_layers])
            self.head = nn.Sequential(*layers[n_layers:])
        like = next(network.parameters())
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            trial = copy.deepcopy(self.body).eval()(like.new_zeros(1, n_inputs))
        self.shape = tuple(trial.shape[1:])
        self.n_features = math.prod(self.shape)

    def features(
        self, rows: torch.Tensor, *labels: torch.Tensor, generator: torch.Generator | None = None
    ) -> torch.Tensor:
        """What the last layer gets (n, n_features) of rows (n, d) and labels (n, n_classes).

        As in a ConvDiscriminator, there is no dropout without a generator, which draws none of it.
        """
        self.body.train(self.training and generator is not None)
        return self.body(torch.cat([rows, *labels], dim=1)).flatten(1)

    def score(self, features: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
        """Scores (n,) of features (n, n_features), which know the labels."""
        return self.head(features.unflatten(1, self.shape))[:, 0]


class SpectralLinear(Linear):
    """Linear layer whose weight is divided by its largest singular value [1]_.

    The power method tracks the left singular vector in training.

    Parameters
    ----------
    in_features, out_features : int
    **parameters
        As in `torch.nn.Linear`.

    References
    ----------
    .. [1] T. Miyato et al., Spectral normalization for generative adversarial networks, 2018.

    Examples
    --------
    >>> import torch
    >>> SpectralLinear(5, 3)(torch.zeros(2, 5)).shape
    torch.Size([2, 3])
    """

    direction: torch.Tensor

    def __init__(self, in_features: int, out_features: int, **parameters: Any) -> None:
        super().__init__(in_features, out_features, **parameters)
        self.register_buffer("direction", _first_direction(self.weight))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return aligned_linear(
            rows, _normalize(self.weight, self.direction, self.training), self.bias
        )


class SpectralConv2d(nn.Conv2d):
    """Convolution whose weight is divided by its largest singular value.

    The weight counts as a matrix from patches to channels.

    Parameters
    ----------
    *sizes, **parameters
        As in `torch.nn.Conv2d`.

    Examples
    --------
    >>> import torch
    >>> SpectralConv2d(3, 4, 4, 2, 1)(torch.zeros(2, 3, 8, 8)).shape
    torch.Size([2, 4, 4, 4])
    """

    direction: torch.Tensor

    def __init__(self, *sizes: Any, **parameters: Any) -> None:
        super().__init__(*sizes, **parameters)
        self.register_buffer("direction", _first_direction(self.weight))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        weight = _normalize(self.weight, self.direction, self.training)
        return nn.functional.conv2d(images, weight, self.bias, self.stride, self.padding)


def n_halvings(image_shape: tuple[int, ...]) -> int:
    """How often the sides of an image can be halved, to no less than LEAST_SIDE pixels."""
    return max(0, (min(image_shape[:2]) // LEAST_SIDE).bit_length() - 1)


def n_feature_layers(network: nn.Module) -> int:
    """How many layers of a torch.nn.Sequential lead to its last one with weights; 0 for others."""
    if type(network).forward is not nn.Sequential.forward:
        return 0
    has_weights = [any(True for _ in layer.parameters()) for layer in network.children()]
    return max((k for k, has_some in enumerate(has_weights) if has_some), default=0)


def _first_direction(weight: torch.Tensor) -> torch.Tensor:
    """Approximate left singular vector of the largest singular value of a new weight."""
    matrix = weight.detach().flatten(1)
    direction = nn.functional.normalize(torch.randn(len(matrix), dtype=matrix.dtype), dim=0)
    for _ in range(FIRST_ITERATIONS):
        direction = _next_direction(matrix, direction)
    return direction


def _next_direction(matrix: torch.Tensor, direction: torch.Tensor) -> torch.Tensor:
    """The left singular vector after one iteration of the power method."""
    right = nn.functional.normalize(matrix.mT @ direction, dim=0)
    return nn.functional.normalize(matrix @ right, dim=0)


def _normalize(weight: torch.Tensor, direction: torch.Tensor, training: bool) -> torch.Tensor:
    """A weight divided by its largest singular value; in training the direction is updated."""
    matrix = weight.flatten(1)
    with torch.no_grad():
        if training:
            direction.copy_(_next_direction(matrix, direction))
        # A later call updates the buffer while the gradient of this one still needs its values.
        left = direction.clone()
        right = nn.functional.normalize(matrix.mT @ left, dim=0)
    return weight / (left @ matrix @ right)


def _sizes(image_shape: tuple[int, int, int], channels: Sequence[int]) -> list[tuple[int, int]]:
    """Height and width before each layer, and after the last."""
    if not len(channels):
        raise ValueError(
            "hidden_layer_sizes must hold the channels of at least one layer for"
            " architecture='conv'."
        )
    height, width = image_shape[:2]
    least = LEAST_SIDE * STRIDE ** len(channels)
    if min(height, width) < least:
        n_layers = "1 layer"
        remedies = ["take 'dense'"]
        if len(channels) > 1:
            n_layers = f"{len(channels)} layers"
            remedies.insert(0, "name fewer layers in hidden_layer_sizes")
        if height == 1:  # the default shape of rows whose width is no perfect square
            remedies.insert(0, "name image_shape")
        raise ValueError(
            f"architecture='conv' with {n_layers} needs images of at least {least} x {least}"
            f" pixels; got {height} x {width}; {', or '.join(remedies)}."
        )
    return [(height // STRIDE**k, width // STRIDE**k) for k in range(len(channels) + 1)]
