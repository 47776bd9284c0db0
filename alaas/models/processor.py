"""What an image processor of Transformers does, in the words of our own preprocessing."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alaas.config import Preprocessing
from alaas.core.errors import ModelUnavailable
from alaas.models.reason import reason

FILE = "preprocessor_config.json"

TOLERANCE = 3
"""Levels, out of 255, by which a smooth picture may come out differently.

Libraries round differently when they resize, and cut half a pixel off on different sides.
"""

_METHODS: dict[int, Literal["nearest", "lanczos", "bilinear", "bicubic"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
"""As Pillow numbers them."""

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}


def read(folder: Path, name: str) -> Preprocessing:
    """Read the configuration of an image processor, and try it on a picture.

    Args:
        folder: The model's folder.
        name: The model, for the message.

    Raises:
        ModelUnavailable: There is none, or it does something that is not resize, crop,
            scale to [0, 1] and normalise.
    """
    from transformers import AutoImageProcessor

    if not (folder / FILE).is_file():
        raise ModelUnavailable(
            f"{name} has no {FILE} that says how a picture is prepared: set `preprocess`"
        )
    try:
        own = AutoImageProcessor.from_pretrained(folder, local_files_only=True)  # type: ignore[no-untyped-call]
        spec = _preprocessing(own.to_dict())
        apart = max(_apart(own, spec, turned=turned) for turned in (False, True))
    except Exception as error:  # whatever is in the file
        raise ModelUnavailable(
            f"{name} says in {FILE} how a picture is prepared, and that cannot be done here "
            f"({reason(error)}): set `preprocess`"
        ) from error
    if not apart <= TOLERANCE:
        raise ModelUnavailable(
            f"{name} prepares pictures in a way of its own, that of {type(own).__name__}, and not "
            f"by resizing, cutting out and normalising alone: set `preprocess`"
        )
    return spec


def _preprocessing(stated: Mapping[str, Any]) -> Preprocessing:
    resize, size = _sizes(stated)
    normalises = stated.get("do_normalize", True)
    method = int(stated.get("resample", 2))
    if method not in _METHODS:
        raise ValueError(f"pictures are resized by a method, {method}, that is not known")
    return Preprocessing(
        size=size,
        resize=resize,
        mean=stated["image_mean"] if normalises else (0, 0, 0),
        std=stated["image_std"] if normalises else (1, 1, 1),
        interpolation=_METHODS[method],
    )


def _sizes(stated: Mapping[str, Any]) -> tuple[Any, tuple[int, int]]:
    """What a picture is resized to, and what is cut out of it."""
    resize = _size(stated["size"]) if stated.get("do_resize", True) else None
    if "crop_pct" in stated and isinstance(resize, int):
        # ConvNeXT: the edge is that of the crop, and of larger crops the whole picture.
        edge = int(resize / stated["crop_pct"]) if resize < 384 else (resize, resize)
        return edge, (resize, resize)
    crop = _size(stated["crop_size"]) if stated.get("do_center_crop") else resize
    if crop is None:
        raise ValueError("pictures of all sizes are taken as they are")
    if isinstance(crop, int):
        raise ValueError("the shorter side is resized and nothing is cut out")
    return resize, crop


def _size(stated: Any) -> int | tuple[int, int]:
    known = {key: value for key, value in dict(stated).items() if value}
    if known.keys() == {"height", "width"}:
        return known["height"], known["width"]
    if known.keys() == {"shortest_edge"}:
        return int(known["shortest_edge"])
    raise ValueError(f"the size is stated by {', '.join(known)}")


def _apart(own: Any, spec: Preprocessing, *, turned: bool) -> float:
    """Levels, out of 255, between what a processor makes of a picture and what `spec` says."""
    picture = _picture(spec, turned=turned)
    made = np.asarray(own(images=picture, return_tensors="np")["pixel_values"][0], np.float64)
    wanted = _prepared(picture, spec).transpose(2, 0, 1)
    if made.shape != wanted.shape:
        return np.inf
    return float((np.abs(made - wanted).max(axis=(1, 2)) * spec.std).max() * 255)


def _picture(spec: Preprocessing, *, turned: bool) -> Image.Image:
    """A smooth picture, twice as wide as it is high or the other way round, of no symmetry."""
    long = 4 * max(spec.size)
    shape = (long, long // 2) if turned else (long // 2, long)
    down, along = np.mgrid[0 : shape[0], 0 : shape[1]]
    down, along = down / shape[0], along / shape[1]
    channels = [down, 0.25 + along / 2, 0.5 * (1 - down * along)]
    return Image.fromarray(np.rint(255 * np.stack(channels, axis=2)).astype(np.uint8))


def _prepared(picture: Image.Image, spec: Preprocessing) -> NDArray[np.float64]:
    width, height = picture.size
    if isinstance(spec.resize, int):
        short = min(width, height)
        width, height = spec.resize * width // short, spec.resize * height // short
    elif spec.resize is not None:
        height, width = spec.resize
    resized = picture.resize((width, height), _RESAMPLING[spec.interpolation])
    top, left = (height - spec.size[0]) // 2, (width - spec.size[1]) // 2
    cut = np.asarray(resized)[top : top + spec.size[0], left : left + spec.size[1]]
    pixels: NDArray[np.float64] = (cut / 255 - spec.mean) / spec.std
    return pixels
