"""From a picture to the rows of a batch: the resize and the centre crop of a model's preset."""

from __future__ import annotations

import numpy as np
from PIL import Image

from alaas.config.preprocessing import Preprocessing
from alaas.core.arrays import Images
from alaas.data.problem import ItemError


def resized_size(width: int, height: int, spec: Preprocessing, max_pixels: int) -> tuple[int, int]:
    """Width and height after the resize and before the crop.

    Args:
        width: Of the upright picture, in pixels.
        height: The same.
        spec: Its `resize` says what is wanted.
        max_pixels: Largest product of the two.

    Raises:
        ItemError: ``too_many_pixels``: a line of one pixel by many, brought to 256 on its
            short side, is a bomb too.
    """
    if spec.resize is None:
        return width, height
    if isinstance(spec.resize, int):
        short, long = sorted((width, height))
        sides = (spec.resize, int(spec.resize * long / short))
        wide, high = sides if width <= height else sides[::-1]
    else:
        high, wide = spec.resize
    check_pixels(wide, high, max_pixels, how="would be resized to")
    return wide, high


def check_pixels(width: int, height: int, most: int, *, how: str = "has") -> None:
    """Refuse a picture of more than `most` pixels.

    Raises:
        ItemError: ``too_many_pixels``.
    """
    if width * height > most:
        message = f"the image {how} {width} x {height} pixels; at most {most} are allowed"
        raise ItemError("too_many_pixels", message)


def place_exactly(row: Images, image: Image.Image, size: tuple[int, int], method: int) -> None:
    """Resize the whole picture and cut out its centre, as torchvision's presets do.

    Args:
        row: (H, W, 3) uint8, written where the crop lies inside the picture.
        image: The upright picture, RGB.
        size: Width and height to resize to, as `resized_size` gives them.
        method: One of `Image.Resampling`.
    """
    left, x, width = _centre(size[0], row.shape[1])
    top, y, height = _centre(size[1], row.shape[0])
    # To resize the crop alone changes pixels: Pillow rounds the edges of a box to float32,
    # and whether it resizes along the rows or along the columns first depends on the sizes.
    if image.size != size:
        image = image.resize(size, method)
    image = image.crop((left, top, left + width, top + height))
    row[y : y + height, x : x + width] = np.asarray(image)


def place_nearly(
    row: Images,
    image: Image.Image,
    size: tuple[int, int],
    method: int,
    *,
    extent: tuple[float, float],
) -> None:
    """Resize no more than the crop, by way of a reduced picture where it is large.

    Args:
        row: (H, W, 3) uint8, written where the crop lies inside the picture.
        image: The upright picture, RGB.
        size: Width and height that the whole picture would be resized to.
        method: One of `Image.Resampling`.
        extent: Width and height of `image` that the picture fills; the last column and row
            of one that was reduced may be filled in part.
    """
    left, x, width = _centre(size[0], row.shape[1])
    top, y, height = _centre(size[1], row.shape[0])
    across, down = extent[0] / size[0], extent[1] / size[1]
    box = (left * across, top * down, (left + width) * across, (top + height) * down)
    image = image.resize((width, height), method, box=box, reducing_gap=2.0)
    row[y : y + height, x : x + width] = np.asarray(image)


def _centre(have: int, want: int) -> tuple[int, int, int]:
    """Where one axis is cut: start in the picture, start in the crop, length."""
    if have < want:
        return 0, (want - have) // 2, have
    return round((have - want) / 2), 0, want
