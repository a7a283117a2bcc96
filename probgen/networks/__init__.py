"""Building blocks of networks, in plain torch and without training code."""

from probgen.networks.activations import activation
from probgen.networks.checks import check_module, check_network, uses_global_generator
from probgen.networks.convolutional import ConvDecoder, ConvEncoder
from probgen.networks.dense import MLP, TiedMLP
from probgen.networks.own import RowNetwork, least_rows, own_network

__all__ = [
    "MLP",
    "ConvDecoder",
    "ConvEncoder",
    "RowNetwork",
    "TiedMLP",
    "activation",
    "check_module",
    "check_network",
    "least_rows",
    "own_network",
    "uses_global_generator",
]
