"""The networks between rows and codes, dense or convolutional."""

from dataclasses import dataclass
from typing import Any

from torch import nn

from probgen.networks.convolutional import ConvDecoder, ConvEncoder
from probgen.networks.dense import MLP

ARCHITECTURES = ("dense", "conv")


def are_images(architecture: str, image_shape: tuple[int, ...] | None) -> bool:
    """Return whether rows are images, whose pixels share one unit.

    Parameters
    ----------
    architecture : {"dense", "conv"}
    image_shape : tuple of int or None
        The parameters of an estimator: convolutions need images, and a shape says so.

    Returns
    -------
    are_images : bool
    """
    return architecture == "conv" or image_shape is not None


@dataclass(frozen=True)
class Architecture:
    """A choice of networks between rows and codes.

    Attributes
    ----------
    kind : {"dense", "conv"}
    hidden_layer_sizes : tuple of int
        Widths of the encoder's hidden layers, or channels of its convolutions; a decoder has them
        in reverse.
    activation : str, class or torch.nn.Module
    image_shape : tuple of int or None
        (height, width) or (height, width, channels) of the rows, for convolutions.

    Examples
    --------
    >>> import torch
    >>> architecture = Architecture("dense", (8,))
    >>> architecture.encoder(4, 2)(torch.zeros(3, 4)).shape
    torch.Size([3, 2])
    >>> architecture.decoder(2, 4)(torch.zeros(3, 2)).shape
    torch.Size([3, 4])
    """

    kind: str
    hidden_layer_sizes: tuple[int, ...]
    activation: Any = "relu"
    image_shape: tuple[int, ...] | None = None

    def encoder(self, n_inputs: int, n_outputs: int) -> nn.Module:
        """Return a network from rows (n, n_inputs) to (n, n_outputs)."""
        if self.kind == "conv":
            return ConvEncoder(
                self.image_shape, self.hidden_layer_sizes, n_outputs, self.activation
            )
        return MLP(n_inputs, self.hidden_layer_sizes, n_outputs, self.activation)

    def decoder(self, n_inputs: int, n_features: int, n_per_feature: int = 1) -> nn.Module:
        """Return a network from codes (n, n_inputs) to (n, n_features * n_per_feature).

        The outputs of one feature are adjacent.
        """
        hidden = self.hidden_layer_sizes[::-1]
        if self.kind == "conv":
            height, width, channels = (*(self.image_shape or ()), 1)[:3]
            shape = (height, width, channels * n_per_feature)
            return ConvDecoder(n_inputs, hidden, shape, self.activation)
        return MLP(n_inputs, hidden, n_features * n_per_feature, self.activation)
