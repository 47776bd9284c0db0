"""Decoding fast: how near it stays to exact, and that it refuses the same."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from pictures import LIMITS, encoded, picture, spec
from PIL import Image, ImageFilter
from PIL.JpegImagePlugin import JpegImageFile
from test_decode import photographs
from test_decode_files import FILES, bomb

from alaas.config import LimitsSettings
from alaas.config.preprocessing import Preprocessing
from alaas.core.types import Raw, Raws
from alaas.data.decode import preprocess

MEAN, THOUSANDTH = 2.0, 20
"""Grey levels, of 255, that pixels of photographs may differ: in the mean, and 99.9 % of them."""


def placed(
    images: list[bytes], asked: Preprocessing, decode: str, limits: LimitsSettings = LIMITS
) -> Any:
    raws = Raws(0, tuple(Raw(str(i), data) for i, data in enumerate(images)))
    return preprocess(raws, asked.model_copy(update={"decode": decode}), limits)


def difference(images: list[bytes], asked: Preprocessing) -> np.ndarray[Any, Any]:
    exact, fast = (placed(images, asked, decode).array for decode in ("exact", "fast"))
    return np.abs(exact.astype(int) - fast)


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A picture whose pixels are like their neighbours, as in photographs."""
    small = picture(max(2, width // 16), max(2, height // 16), seed=seed)
    return small.resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("size", "resize"), [(224, 256), (56, 64)])
def test_photographs_stay_within_the_tolerance(size: int, resize: int, interpolation: str) -> None:
    """As they are, and as a camera's would be: many times larger than wanted."""
    files = [data for _, data in photographs()]
    found = difference(files, spec(size, resize, interpolation))
    assert 0 < found.mean() < MEAN
    assert np.percentile(found, 99.9) < THOUSANDTH


def test_other_formats_stay_within_the_tolerance() -> None:
    files = []
    for _, data in list(photographs())[:30]:
        files.append(encoded(Image.open(BytesIO(data)).convert("RGB"), compress_level=1))
    for asked in (spec(), spec(28, 32)):
        found = difference(files, asked)
        assert 0 < found.mean() < MEAN / 2
        assert np.percentile(found, 99.9) < THOUSANDTH / 2


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(403, 307), (320, 240), (1501, 997)])
def test_no_picture_is_shifted_or_left_lying(size: tuple[int, int], orientation: int) -> None:
    """Of a smooth picture a shift by half a pixel would show as many grey levels."""
    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(smooth(*size), "JPEG", exif=exif, quality=95)
    for asked in (spec(56, 64), spec((40, 90), (48, 96)), spec(80, 64)):
        found = difference([data], asked)
        assert found.mean() < 1
        assert found.max() < 20


def test_a_camera_file_is_decoded_at_a_fraction(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    load = JpegImageFile.load

    def record(image: JpegImageFile) -> Any:
        loaded = load(image)
        decoded.append(image.size)
        return loaded

    monkeypatch.setattr(JpegImageFile, "load", record)
    sizes = [(2100, 2048), (2100, 2047), (2047, 3001), (1023, 513), (400, 300)]
    for size in sizes:
        placed([encoded(smooth(*size), "JPEG")], spec(), "fast")
    assert list(dict.fromkeys(decoded)) == [
        (263, 256), (525, 512), (512, 751), (512, 257), (400, 300),
    ]  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_every_mode_is_as_near(name: str) -> None:
    found = difference([FILES[name]()], spec(12, 16))
    assert found.mean() < 16  # of noise; another mode's colours would be 64 away


@pytest.mark.parametrize("name", FILES)
def test_the_verdict_on_a_broken_file_is_the_same(name: str) -> None:
    data = FILES[name]()
    broken = [data[:keep] for keep in range(0, len(data), max(1, len(data) // 40))]
    for asked in (spec(12, 16), spec(3, 4)):
        exact, fast = (placed(broken, asked, decode) for decode in ("exact", "fast"))
        assert exact.ids == fast.ids
        assert exact.failures == fast.failures


def test_the_limits_are_the_same() -> None:
    limits = LimitsSettings(pixels=60_000)
    files = [
        bomb(9000, 9000), encoded(Image.new("L", (300, 201)), "JPEG"),
        encoded(Image.new("L", (300, 200)), "JPEG"), encoded(Image.new("L", (40_000, 1))),
        b"II*\0", b"text",
    ]  # fmt: skip
    exact, fast = (placed(files, spec(), decode, limits) for decode in ("exact", "fast"))
    assert fast.ids == exact.ids == ()
    assert fast.failures == exact.failures
    assert [one.code for one in fast.failures] == [
        *["too_many_pixels"] * 4, "unsupported_format", "not_an_image",
    ]  # fmt: skip
    exact, fast = (placed(files, spec(28, 32), decode, limits) for decode in ("exact", "fast"))
    assert exact.ids == fast.ids == ("2",)


@pytest.mark.parametrize("asked", [spec(224, None), spec(224, 256, "nearest")])
def test_where_nothing_is_averaged_fast_is_exact(asked: Preprocessing) -> None:
    files = [encoded(picture(700, 500), "JPEG"), encoded(picture(700, 500))]
    assert difference(files, asked).max() == 0


def test_sharp_edges_are_not_averaged_away() -> None:
    """A reduced picture is no smaller than wanted, so that it has all that exact shows."""
    image = smooth(900, 900).filter(ImageFilter.FIND_EDGES)
    image.paste((255, 0, 0), (0, 0, 450, 900))
    found = difference([encoded(image, "JPEG", quality=95)], spec(224, 224))
    assert found.mean() < MEAN


def test_digests_follow_the_rows_that_remain() -> None:
    good = encoded(picture(30, 20), "JPEG")
    raws = (Raw("a", good, digest="x"), Raw("b", b"bad", digest="y"), Raw("c", good, digest="z"))
    for decode in ("exact", "fast"):
        asked = spec(8, 10).model_copy(update={"decode": decode})
        assert preprocess(Raws(0, raws), asked, LIMITS).digests == ("x", "z")
