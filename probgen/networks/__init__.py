"""Building blocks of networks, in plain torch and without training code."""

from probgen.networks.activations import activation
from probgen.networks.checks import check_module, check_network, uses_global_generator
from probgen.networks.convolutional import ConvDecoder, ConvEncoder
from probgen.networks.dense import MLP, TiedMLP

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "TiedMLP",
    "activation",
    "check_module",
    "check_network",
    "uses_global_generator",
]
