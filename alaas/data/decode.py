"""The stage that turns bytes into pixels: what a model's own preset does, or nearly so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
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

from alaas.config import LimitsSettings
from alaas.config.preprocessing import Preprocessing
from alaas.core.arrays import Images
from alaas.core.types import Batch, Raw, Raws
from alaas.core.wire import Failure
from alaas.data.problem import ItemError
from alaas.data.resize import check_pixels, place_exactly, place_nearly, resized_size
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
_ON_ITS_SIDE = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))


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
    with _judged(data, max_pixels) as kind:
        image = _opened(kind, data, max_pixels)
        image.load()
        return _upright(_to_rgb(image), _turn(image))


def preprocess(
    raws: Raws, spec: Preprocessing, limits: LimitsSettings, *, pool: Executor | None = None
) -> Batch:
    """Decode, resize and crop a micro-batch of images.

    With ``spec.decode`` *exact*, each row equals, bit for bit, what torchvision's
    classification preset makes of the decoded image before it scales and normalises: `PIL`
    resize of the shorter side, then the centre crop, with black where the image is smaller
    than the crop. With *fast*, a JPEG file is decoded at the fraction of its size that is
    just large enough, and only the crop is resized: on photographs pixels differ by less
    than 2 of 255 grey levels in the mean, and one in a thousand by more than 20. What is
    refused is the same.

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
    kept = [raw for raw, failure in zip(raws.raws, outcomes, strict=True) if failure is None]
    return Batch(
        seq=raws.seq,
        ids=tuple(raw.id for raw in kept),
        array=array,
        failures=raws.failures + failures,
        digests=tuple(raw.digest for raw in kept),
    )


def _place(raw: Raw, row: Images, spec: Preprocessing, max_pixels: int) -> Failure | None:
    # The nearest pixel of a reduced picture is another one.
    fast = spec.decode == "fast" and spec.resize is not None and spec.interpolation != "nearest"
    try:
        if raw.is_text:
            raise ItemError("wrong_modality", "the item is a text; the model takes images")
        if fast:
            _place_fast(raw.data, row, spec, max_pixels)
        else:
            image = decode(raw.data, max_pixels=max_pixels)
            size = resized_size(*image.size, spec, max_pixels)
            place_exactly(row, image, size, _method(spec))
    except ItemError as error:
        return Failure(raw.id, "preprocess", error.code, error.message)
    return None


def _place_fast(data: bytes, row: Images, spec: Preprocessing, max_pixels: int) -> None:
    with _judged(data, max_pixels) as kind:
        source = _opened(kind, data, max_pixels)
        turn = _turn(source)
        wide, high = resized_size(*_turned(source.size, turn), spec, max_pixels)
        # The fraction of a JPEG file that is no smaller than wanted; None for other formats.
        drafted = source.draft(None, _turned((wide, high), turn))
        extent: tuple[float, float] = drafted[1][2:] if drafted else source.size
        source.load()
        image = _to_rgb(source)
    if turn is not None:
        # A last column that is filled in part would be the first one when turned.
        box = (0, 0, *extent)
        image = image.resize(_turned((wide, high), turn), _method(spec), box, reducing_gap=2.0)
        image, extent = image.transpose(turn), (wide, high)
    place_nearly(row, image, (wide, high), _method(spec), extent=extent)


@contextmanager
def _judged(data: bytes, max_pixels: int) -> Iterator[str]:
    """Gives the format of `data`, and says as an `ItemError` what goes wrong inside."""
    kind = name_format(data)
    if kind is None:
        raise ItemError("not_an_image", "the content is not an image of a known format")
    if kind not in _OPEN:
        message = f"the content is {kind}; allowed are {', '.join(FORMATS)}"
        raise ItemError("unsupported_format", message)
    try:
        yield kind
    except (ItemError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ItemError("too_many_pixels", f"the image exceeds {max_pixels} pixels") from None
    except Exception as error:  # broken bytes make Pillow raise anything
        message = f"the {kind} image is truncated or corrupt ({type(error).__name__})"
        raise ItemError("undecodable", message) from error


def _opened(kind: str, data: bytes, max_pixels: int) -> ImageFile:
    image = _OPEN[kind](BytesIO(data))
    check_pixels(image.width, image.height, max_pixels)
    return image


def _method(spec: Preprocessing) -> Image.Resampling:
    return Image.Resampling[spec.interpolation.upper()]


def _to_rgb(image: Image.Image) -> Image.Image:
    # Pillow would carry a transparent colour over, and warn where it cannot.
    image.info.pop("transparency", None)
    if image.mode.startswith("I"):
        grey = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((grey + 128) // 257).astype(np.uint8)).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _turn(source: ImageFile) -> Image.Transpose | None:
    try:
        orientation: Any = source.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001 - a picture is not lost for its broken metadata
        return None
    return _UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _upright(image: Image.Image, turn: Image.Transpose | None) -> Image.Image:
    return image if turn is None else image.transpose(turn)


def _turned(size: tuple[int, int], turn: Image.Transpose | None) -> tuple[int, int]:
    return size[::-1] if turn in _ON_ITS_SIDE else size
