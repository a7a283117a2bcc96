"""Draws of bits, levels and noise for the units of Boltzmann machines."""

import torch
from torch import Tensor
from torch.nn import functional


def draw_bits(logits: Tensor, generator: torch.Generator, *, shared: bool = False) -> Tensor:
    """Return bits with these log-odds of a 1; for shared noise see `BoltzmannMachine.draw`."""
    uniforms = empty_noise(logits, shared).uniform_(generator=generator)
    return (uniforms < torch.sigmoid(logits)).to(logits.dtype)


def draw_levels(logits: Tensor, generator: torch.Generator, *, shared: bool = False) -> Tensor:
    """Return one-hot levels (..., n_levels) with these unnormalised log-probabilities."""
    noise = empty_noise(logits, shared).exponential_(generator=generator).log()
    return one_hot_of_largest(logits - noise)


def one_hot_of_largest(values: Tensor) -> Tensor:
    """Return one-hot vectors of the largest of the values along the last axis."""
    return functional.one_hot(values.argmax(-1), values.shape[-1]).to(values.dtype)


def empty_noise(like: Tensor, shared: bool) -> Tensor:
    """Return a tensor for noise of the shape of another one, or of one row that all share."""
    shape = list(like.shape)
    if shared:
        shape[-2] = 1
    return like.new_empty(shape)
