"""Test-time augmentation: what one network makes of a picture that it sees in several ways.

The first view is the picture as it is. Every other one is, in this order:

- mirrored from left to right, one time in two;
- moved by up to an eighth of its height and of its width, in whole pixels; what comes in at
  the border is the picture mirrored there;
- of another contrast: its pixels are 0.8 to 1.2 times as far from their mean as before;
- of another brightness: its pixels are multiplied by 0.8 to 1.2.

All are uniform. A view is the same for every picture of a query.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from alaas.core.arrays import Images
from alaas.models.stochastic.head import HeadDraws
from alaas.models.stochastic.source import Ways
from alaas.models.stochastic.words import Seed

FARTHEST = 8
"""A picture is moved by one part in so many of its sides, at most."""

STRENGTH = 0.2
"""Contrast and brightness change by that share, at most."""


def view(images: Images, *, seed: Seed, number: int) -> Images:
    """Pictures as one of the views shows them.

    Args:
        images: (B, H, W, 3) pixels.
        seed: Seed of all views.
        number: Which of them it is; 0 is the picture itself.

    Returns:
        (B, H, W, 3) pixels.

    Example:
        >>> images = np.full((1, 8, 8, 3), 200, np.uint8)
        >>> view(images, seed=0, number=0) is images
        True
        >>> view(images, seed=0, number=1).shape
        (1, 8, 8, 3)
    """
    if number == 0:
        return images
    words = list(seed) if isinstance(seed, Sequence) else [seed]
    rng = np.random.default_rng([*words, number])
    mirrored = rng.random() < 0.5
    moves = [
        int(rng.integers(-(side // FARTHEST), side // FARTHEST + 1)) for side in images.shape[1:3]
    ]
    contrast, brightness = rng.uniform(1 - STRENGTH, 1 + STRENGTH, 2)
    seen = images[:, :, ::-1] if mirrored else images
    for axis, move in enumerate(moves, start=1):
        seen = seen.take(_rows(seen.shape[axis], move), axis=axis)
    mean = seen.mean(axis=(1, 2, 3), keepdims=True, dtype=np.float64).astype(np.float32)
    pixels = (mean + np.float32(contrast) * (seen - mean)) * np.float32(brightness)
    made: Images = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    return made


def _rows(size: int, move: int) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Where the rows of a moved picture come from; beyond a border the picture is mirrored."""
    wanted = np.abs(np.arange(size) - move)
    return np.where(wanted >= size, 2 * (size - 1) - wanted, wanted)


class Augmentation:
    """Draws that are views of a picture, all by the same network, in its own runtime."""

    most: int | None = None
    last = False
    alone = False
    again: HeadDraws | None = None
    phrase = "augmentation"

    def logits(self, ways: Ways, *, seed: Seed, number: int) -> Tensor:
        """Logits of one view."""
        return ways.engine(view(ways.batch, seed=seed, number=number))
