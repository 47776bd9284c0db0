"""The handwritten digits that scikit-learn carries, as images and as PNG files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from alaas.core.errors import ValidationFailed

DARKEST = 16
"""The largest value of a pixel in the data set."""


@dataclass(frozen=True, slots=True)
class Digits:
    """Images and what they show.

    Attributes:
        images: (N, 8, 8) uint8, 0 for paper and 255 for ink.
        labels: (N,) the digits, 0 to 9.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, slots=True)
class Split:
    """Row numbers of three parts that share no row and together hold them all.

    Attributes:
        labelled: Rows whose labels the network starts with.
        held_out: Rows that only measure accuracy.
        pool: All other rows, in the order of the data set.
    """

    labelled: NDArray[np.int64]
    held_out: NDArray[np.int64]
    pool: NDArray[np.int64]


def load() -> Digits:
    """Read the 1,797 digits."""
    bunch = load_digits()
    images = np.rint(bunch.images * (255 / DARKEST)).astype(np.uint8)
    return Digits(images, bunch.target.astype(np.int64))


def write(digits: Digits, folder: Path) -> tuple[Path, ...]:
    """Write one greyscale PNG a digit, named ``<row>.png``.

    Args:
        digits: What to write.
        folder: Where to; it is made if it is not there.

    Returns:
        The files, in row order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{row}.png" for row in range(len(digits)))
    for image, path in zip(digits.images, paths, strict=True):
        Image.fromarray(image).save(path)
    return paths


def split(count: int, *, seed: int, labelled: int = 100, held_out: int = 500) -> Split:
    """Deal rows at random into a labelled part, a held-out part and a pool.

    Args:
        count: Rows to deal.
        seed: The same seed gives the same split.
        labelled: Rows of the labelled part.
        held_out: Rows of the held-out part.

    Raises:
        ValidationFailed: Nothing would be left for the pool.
    """
    if labelled + held_out >= count:
        raise ValidationFailed(
            f"{labelled} labelled and {held_out} held-out rows leave no pool of {count} rows"
        )
    order = np.random.default_rng(seed).permutation(count)
    first, second, rest = np.split(order, [labelled, labelled + held_out])
    return Split(labelled=first, held_out=second, pool=np.sort(rest))
