"""Random changes to images that let gradients through, shown to a discriminator in place of the
images [1]_.

What is changed alike in data and in draws tells them apart no less, but a discriminator that never
sees a row twice cannot learn few rows by heart.

References
----------
.. [1] S. Zhao, Z. Liu, J. Lin, J.-Y. Zhu, S. Han, Differentiable augmentation for data-efficient
   GAN training, 2020.
"""

import torch

AUGMENTATIONS = ("brightness", "translation", "cutout")
LARGEST_SHIFT = 0.125  # of the sides
CUTOUT_SIDE = 0.5  # of the sides
LARGEST_BRIGHTNESS = 0.5


def augment(rows, kinds, image_shape, generator):
    """Return images changed at random, each by itself.

    Parameters
    ----------
    rows : Tensor of shape (n, height * width * channels)
        Images, channels last, of values about [-1, 1].
    kinds : sequence of {"brightness", "translation", "cutout"}
        In this order: a number in [-0.5, 0.5] is added; the image is moved by up to an eighth of
        its sides, zeros coming in; a rectangle of nearly half the sides, about a random pixel, is
        set to 0.
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


def _uniform(images, *shape, generator):
    return torch.empty(len(images), *shape, dtype=images.dtype, device=images.device).uniform_(
        generator=generator
    )


def _brighten(images, generator):
    return images + LARGEST_BRIGHTNESS * (
        2.0 * _uniform(images, 1, 1, 1, generator=generator) - 1.0
    )


def _translate(images, generator):
    n, height, width, _ = images.shape
    rows, row_is_in = _moved(height, _uniform(images, 1, generator=generator))
    columns, column_is_in = _moved(width, _uniform(images, 1, generator=generator))
    moved = images[
        torch.arange(n, device=images.device)[:, None, None], rows[:, :, None], columns[:, None, :]
    ]
    return moved * (row_is_in[:, :, None] & column_is_in[:, None, :]).unsqueeze(-1)


def _moved(side, uniform):
    """Where pixels (n, side) along a side come from, and whether that lies within."""
    most = round(LARGEST_SHIFT * side)
    shift = (uniform * (2 * most + 1)).floor().clamp(max=2 * most).long() - most
    origin = torch.arange(side, device=uniform.device) - shift
    return origin.clamp(0, side - 1), (origin >= 0) & (origin < side)


def _cut_out(images, generator):
    _, height, width, _ = images.shape
    is_row = _covered(height, _uniform(images, 1, generator=generator))
    is_column = _covered(width, _uniform(images, 1, generator=generator))
    return images * ~(is_row[:, :, None] & is_column[:, None, :]).unsqueeze(-1)


def _covered(side, uniform):
    """Which pixels (n, side) along a side lie in a stretch of CUTOUT_SIDE about a random one."""
    middle = (uniform * side).floor()
    pixels = torch.arange(side, device=uniform.device)
    return (pixels - middle).abs() <= (CUTOUT_SIDE * side - 1.0) / 2.0


_CHANGES = {"brightness": _brighten, "translation": _translate, "cutout": _cut_out}
