"""The stage that turns bytes into pixels: what a model's own preset does, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor
from io import BytesIO
from typing import Any

import numpy as np
from PIL import ExifTags, Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import jpeg_factory
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from alaas.config.preprocessing import Preprocessing
from alaas.config.tree import LimitsSettings
from alaas.core.arrays import Images
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Failure
from alaas.data.problem import ItemError
from alaas.data.signatures import name_format

# Pillow's plug-ins by format, called without `Image.open`: it would try all formats that
# are installed, and would warn of large pictures by a threshold that is not ours.
_OPEN: dict[str, Callable[[BytesIO], ImageFile]] = {
    "BMP": BmpImageFile,
    "GIF": GifImageFile,
    "JPEG": jpeg_factory,
    "PNG": PngImageFile,
    "WEBP": WebPImageFile,
}
FORMATS = tuple(_OPEN)
"""The formats that are decoded. MPO, which cameras write, counts as JPEG."""

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, *, max_pixels: int) -> Image.Image:
    """Decode an encoded image to RGB, upright, the first frame of several.

    The pixels equal those of ``Image.open(...).convert("RGB")``, which is what a loop over
    a torchvision data set sees, with two exceptions where that is not what the picture
    shows: an EXIF orientation is applied, and 16-bit greys are scaled to 8 bits, not
    clipped. Transparency is dropped, as there.

    Args:
        data: The file's content, in one of `FORMATS`.
        max_pixels: Largest width times height; read from the header before any decoding.

    Raises:
        ItemError: ``not_an_image``, ``unsupported_format``, ``too_many_pixels`` or
            ``undecodable``.
    """
    kind = name_format(data)
    if kind is None:
        raise ItemError("not_an_image", "the content is not an image of a known format")
    if kind not in _OPEN:
        message = f"the content is {kind}; allowed are {', '.join(FORMATS)}"
        raise ItemError("unsupported_format", message)
    try:
        image = _OPEN[kind](BytesIO(data))
        _check_pixels(image.width, image.height, max_pixels)
        image.load()
        return _upright(image, _to_rgb(image))
    except (ItemError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ItemError("too_many_pixels", f"the image exceeds {max_pixels} pixels") from None
    except Exception as error:  # broken bytes make Pillow raise anything
        message = f"the {kind} image is truncated or corrupt ({type(error).__name__})"
        raise ItemError("undecodable", message) from error


def preprocess(
    raws: Raws, spec: Preprocessing, limits: LimitsSettings, *, pool: Executor | None = None
) -> Batch:
    """Decode, resize and crop a micro-batch of images.

    Each row equals, bit for bit, what torchvision's classification preset makes of the
    decoded image before it scales and normalises: `PIL` resize of the shorter side, then
    the centre crop, with black where the image is smaller than the crop.

    Args:
        raws: What *fetch* gave.
        spec: Sizes and interpolation; `mean` and `std` are for the model to apply.
        limits: `pixels` bounds the image as it comes and as it is resized.
        pool: Threads to decode in; by default the calling one.

    Returns:
        (B, H, W, 3) uint8, C-contiguous, with H and W those of `spec.size`. An item that
        cannot be decoded has no row but a failure: those of `decode`, or
        ``wrong_modality`` for text.
    """
    array = np.zeros((len(raws.raws), *spec.size, 3), np.uint8)

    def place(row: int) -> Failure | None:
        return _place(raws.raws[row], array[row], spec, limits.pixels)

    rows = range(len(raws.raws))
    outcomes = list(map(place, rows) if pool is None else pool.map(place, rows))
    failures = tuple(one for one in outcomes if one is not None)
    if failures:
        array = array[[row for row in rows if outcomes[row] is None]]
    return Batch(
        seq=raws.seq,
        ids=tuple(raw.id for raw, failure in zip(raws.raws, outcomes, strict=True) if not failure),
        array=array,
        failures=raws.failures + failures,
    )


def _place(raw: Raw, row: Images, spec: Preprocessing, max_pixels: int) -> Failure | None:
    try:
        if raw.is_text:
            raise ItemError("wrong_modality", "the item is a text; the model takes images")
        _crop_into(row, _resize(decode(raw.data, max_pixels=max_pixels), spec, max_pixels))
    except ItemError as error:
        return Failure(raw.id, "preprocess", error.code, error.message)
    return None


def _check_pixels(width: int, height: int, most: int, *, how: str = "has") -> None:
    if width * height > most:
        message = f"the image {how} {width} x {height} pixels; at most {most} are allowed"
        raise ItemError("too_many_pixels", message)


def _to_rgb(image: ImageFile) -> Image.Image:
    # Pillow would carry a transparent colour over, and warn where it cannot.
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _upright(source: ImageFile, image: Image.Image) -> Image.Image:
    try:
        orientation: Any = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a picture is not lost for its broken metadata
        return image
    turn = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if turn is None else image.transpose(turn)


def _resize(image: Image.Image, spec: Preprocessing, max_pixels: int) -> Image.Image:
    if spec.resize is None:
        return image
    if isinstance(spec.resize, int):
        short, long = sorted(image.size)
        sides = (spec.resize, int(spec.resize * long / short))
        width, height = sides if image.width <= image.height else sides[::-1]
    else:
        height, width = spec.resize
    # A line of one pixel by many, brought to 256 on its short side, is a bomb too.
    _check_pixels(width, height, max_pixels, how="would be resized to")
    if image.size == (width, height):
        return image
    return image.resize((width, height), Image.Resampling[spec.interpolation.upper()])


def _crop_into(row: Images, image: Image.Image) -> None:
    top, y, height = _centre(image.height, row.shape[0])
    left, x, width = _centre(image.width, row.shape[1])
    part = image.crop((left, top, left + width, top + height))
    row[y : y + height, x : x + width] = np.asarray(part)


def _centre(have: int, want: int) -> tuple[int, int, int]:
    """Where one axis is cut: start in the image, start in the crop, length."""
    if have < want:
        return 0, (want - have) // 2, have
    return round((have - want) / 2), 0, want
