"""Differentiable random changes to the images that a discriminator gets [1]_.

Data and draws are changed in the same way, so they remain as distinguishable as before, but a
discriminator that never gets the same image twice cannot memorise a small data set.

References
----------
.. [1] S. Zhao, Z. Liu, J. Lin, J.-Y. Zhu, S. Han, Differentiable augmentation for data-efficient
   GAN training, 2020.
"""

from collections.abc import Sequence

import torch

AUGMENTATIONS = ("brightness", "translation", "cutout")
LARGEST_SHIFT = 0.125  # of the sides
CUTOUT_SIDE = 0.5  # of the sides
LARGEST_BRIGHTNESS = 0.5


def augment(
    rows: torch.Tensor,
    kinds: Sequence[str],
    image_shape: tuple[int, ...],
    generator: torch.Generator,
) -> torch.Tensor:
    """Return randomly changed images, each changed independently.

    Parameters
    ----------
    rows : Tensor of shape (n, height * width * channels)
        Images, channels last, of values about [-1, 1].
    kinds : sequence of {"brightness", "translation", "cutout"}
        Applied in this order: "brightness" adds a number in [-0.5, 0.5]; "translation" moves the
        image by up to an eighth of its sides, padding with zeros; "cutout" sets a rectangle of
        nearly half the sides, about a random pixel, to 0.
    image_shape : tuple of int
        (height, width, channels).
    generator : torch.Generator
        On the device of the rows.

    Returns
    -------
    rows : Tensor of the same shape

    Examples
    --------
    >>> import torch
    >>> rows = torch.ones(3, 64)
    >>> changed = augment(rows, ["cutout"], (8, 8, 1), torch.Generator().manual_seed(0))
    >>> changed.shape, bool((changed == 0.0).any())
    (torch.Size([3, 64]), True)
    """
    images = rows.unflatten(1, image_shape)
    for kind in kinds:
        images = _CHANGES[kind](images, generator)
    return images.flatten(1)


def _uniform(images: torch.Tensor, *shape: int, generator: torch.Generator | None) -> torch.Tensor:
    """Uniform numbers in [0, 1), of the given shape for each image."""
    return images.new_empty(len(images), *shape).uniform_(generator=generator)


def _brighten(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    uniform = _uniform(images, 1, 1, 1, generator=generator)
    return images + LARGEST_BRIGHTNESS * (2.0 * uniform - 1.0)


def _translate(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    n, height, width, _ = images.shape
    rows, row_is_inside = _origins(height, _uniform(images, 1, generator=generator))
    columns, column_is_inside = _origins(width, _uniform(images, 1, generator=generator))
    # Indices that broadcast to (n, height, width), one pixel of one image each.
    image = torch.arange(n, device=images.device)[:, None, None]
    moved = images[image, rows[:, :, None], columns[:, None, :]]
    is_inside = row_is_inside[:, :, None] & column_is_inside[:, None, :]
    return moved * is_inside.unsqueeze(-1)


def _origins(side: int, uniform: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Where pixels (n, side) along a side come from after a shift, and whether it is inside."""
    largest = round(LARGEST_SHIFT * side)
    # The product may round up to the number of shifts, which would be one shift too many.
    shift = (uniform * (2 * largest + 1)).floor().clamp(max=2 * largest).long() - largest
    origin = torch.arange(side, device=uniform.device) - shift
    return origin.clamp(0, side - 1), (origin >= 0) & (origin < side)


def _cut_out(images: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    _, height, width, _ = images.shape
    is_row = _covered(height, _uniform(images, 1, generator=generator))
    is_column = _covered(width, _uniform(images, 1, generator=generator))
    return images * ~(is_row[:, :, None] & is_column[:, None, :]).unsqueeze(-1)


def _covered(side: int, uniform: torch.Tensor) -> torch.Tensor:
    """Mask (n, side) of the pixels along a side within half of CUTOUT_SIDE of a random pixel."""
    middle = (uniform * side).floor()
    pixels = torch.arange(side, device=uniform.device)
    return (pixels - middle).abs() <= (CUTOUT_SIDE * side - 1.0) / 2.0


_CHANGES = {"brightness": _brighten, "translation": _translate, "cutout": _cut_out}
