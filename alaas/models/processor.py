"""What an image processor of Transformers does, in the words of our own preprocessing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from alaas.config import Preprocessing
from alaas.core.errors import ModelUnavailable

FILE = "preprocessor_config.json"

_METHODS: dict[int, Literal["nearest", "lanczos", "bilinear", "bicubic"]] = {
    0: "nearest",
    1: "lanczos",
    2: "bilinear",
    3: "bicubic",
}
"""As Pillow numbers them."""


def read(folder: Path, name: str) -> Preprocessing:
    """Read the configuration of an image processor.

    Args:
        folder: The model's folder.
        name: The model, for the message.

    Raises:
        ModelUnavailable: There is none, or it does something that is not resize, crop,
            scale to [0, 1] and normalise.
    """
    try:
        stated = json.loads((folder / FILE).read_text("utf-8"))
        return _preprocessing(stated)
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise ModelUnavailable(
            f"{name} does not say in {FILE} how a picture is prepared "
            f"({type(error).__name__}: {str(error).splitlines()[0]}): set `preprocess`"
        ) from error


def _preprocessing(stated: Mapping[str, Any]) -> Preprocessing:
    if abs(stated.get("rescale_factor", 1 / 255) - 1 / 255) > 1e-9:
        raise ValueError(f"rescale_factor {stated['rescale_factor']} is not 1/255")
    resize, size = _sizes(stated)
    normalises = stated.get("do_normalize", True)
    return Preprocessing(
        size=size,
        resize=resize,
        mean=stated["image_mean"] if normalises else (0, 0, 0),
        std=stated["image_std"] if normalises else (1, 1, 1),
        interpolation=_METHODS[stated.get("resample", 2)],
    )


def _sizes(stated: Mapping[str, Any]) -> tuple[Any, tuple[int, int]]:
    """What a picture is resized to, and what is cut out of it."""
    size = stated["size"]
    if isinstance(size, int):
        size = {"height": size, "width": size}
    if not stated.get("do_resize", True):
        resize = None
    elif "shortest_edge" in size:
        resize = size["shortest_edge"]
    else:
        resize = (size["height"], size["width"])
    if "crop_pct" in stated and isinstance(resize, int) and resize < 384:
        # ConvNeXt: the edge is that of the crop, and the picture is larger by this share.
        return int(resize / stated["crop_pct"]), (resize, resize)
    crop = stated.get("crop_size") if stated.get("do_center_crop") else None
    if isinstance(crop, int):
        crop = {"height": crop, "width": crop}
    if crop is not None:
        return resize, (crop["height"], crop["width"])
    if isinstance(resize, int):
        raise ValueError("the shorter side is resized and nothing is cut out")
    if resize is None:
        raise ValueError("pictures of all sizes are taken as they are")
    return resize, resize
