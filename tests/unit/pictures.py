"""Pictures for the tests of the preprocess stage, made on the spot."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from alaas.config import LimitsSettings
from alaas.config.preprocessing import Preprocessing
from alaas.core.types import Raw, Raws
from alaas.data.decode import decode, preprocess
from alaas.data.problem import ItemError

PIXELS = 25_000_000
LIMITS = LimitsSettings()


def spec(size: Any = 224, resize: Any = 256, interpolation: str = "bilinear") -> Preprocessing:
    return Preprocessing.model_validate(
        {
            "size": size,
            "resize": resize,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "interpolation": interpolation,
        }
    )


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Noise over a gradient: every pixel counts, and neighbours differ."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    noise = np.random.default_rng(seed).integers(0, 128, (height, width, bands), np.uint8)
    slope = np.linspace(0, 127, width, dtype=np.uint8)[None, :, None]
    return Image.frombytes(mode, (width, height), (noise + slope).tobytes())


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def code(data: bytes, max_pixels: int = PIXELS) -> str:
    with pytest.raises(ItemError) as caught:
        decode(data, max_pixels=max_pixels)
    return caught.value.code


def rows(images: list[bytes], asked: Preprocessing) -> np.ndarray[Any, Any]:
    raws = tuple(Raw(str(i), data) for i, data in enumerate(images))
    batch = preprocess(Raws(0, raws), asked, LIMITS)
    assert batch.failures == ()
    return batch.array
