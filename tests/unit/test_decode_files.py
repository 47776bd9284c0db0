"""Decoding files of every mode, broken files, bombs, and what is no image at all."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import LIMITS, PIXELS, code, encoded, picture, spec
from PIL import Image, ImageCms

from alaas.config import LimitsSettings
from alaas.core.types import Raw, Raws
from alaas.data.decode import FORMATS, decode, preprocess
from alaas.data.problem import ItemError

# ---- modes


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": lambda: encoded(picture(33, 20), "JPEG"),
    "jpeg-progressive": lambda: encoded(picture(33, 20), "JPEG", progressive=True),
    "jpeg-grey": lambda: encoded(picture(33, 20, "L"), "JPEG"),
    "jpeg-cmyk": lambda: encoded(picture(33, 20, "CMYK"), "JPEG"),
    "mpo": lambda: encoded(
        picture(33, 20), "MPO", save_all=True, append_images=[picture(33, 20, seed=1)]
    ),
    "png": lambda: encoded(picture(33, 20)),
    "png-grey": lambda: encoded(picture(33, 20, "L")),
    "png-grey-alpha": lambda: encoded(picture(33, 20, "LA")),
    "png-rgba": lambda: encoded(picture(33, 20, "RGBA")),
    "png-bit": lambda: encoded(picture(33, 20).convert("1")),
    "png-palette": lambda: encoded(picture(33, 20).quantize(40)),
    "png-palette-key": lambda: encoded(picture(33, 20).quantize(40), transparency=3),
    "png-palette-alpha": lambda: encoded(
        picture(33, 20).quantize(40), transparency=bytes(range(0, 200, 5))
    ),
    "png-rgb-key": lambda: encoded(picture(33, 20), transparency=(1, 2, 3)),
    "png-profile": lambda: encoded(
        picture(33, 20),
        icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
    ),
    "apng": lambda: encoded(
        picture(33, 20), save_all=True, append_images=[picture(33, 20, seed=1)]
    ),
    "webp": lambda: encoded(picture(33, 20), "WEBP"),
    "webp-rgba": lambda: encoded(picture(33, 20, "RGBA"), "WEBP", lossless=True),
    "webp-animated": lambda: encoded(
        picture(33, 20), "WEBP", save_all=True, append_images=[picture(33, 20, seed=1)]
    ),
    "bmp": lambda: encoded(picture(33, 20), "BMP"),
    "bmp-palette": lambda: encoded(picture(33, 20).quantize(40), "BMP"),
    "bmp-rgba": lambda: encoded(picture(33, 20, "RGBA"), "BMP"),
    "gif": lambda: encoded(picture(33, 20), "GIF"),
    "gif-key": lambda: encoded(picture(33, 20).quantize(40), "GIF", transparency=2),
    "gif-animated": lambda: encoded(
        picture(33, 20), "GIF", save_all=True, append_images=[picture(33, 20, seed=1)]
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_row35_every_mode_equals_convert_rgb_and_warns_of_nothing(name: str) -> None:
    data = FILES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = np.asarray(Image.open(BytesIO(data)).convert("RGB"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(data, max_pixels=PIXELS)
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image), expected)


def test_row35_16_bit_greys_are_scaled_not_clipped() -> None:
    levels = np.array([[0, 128, 129, 257, 32896, 65406, 65407, 65535]], np.uint16)
    image = decode(encoded(Image.fromarray(levels)), max_pixels=PIXELS)
    expected = np.rint(levels / 65535 * 255).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(image)[..., 0], expected)
    assert expected.tolist() == [[0, 0, 1, 1, 128, 254, 255, 255]]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_row35_an_exif_orientation_is_applied(kind: str, orientation: int) -> None:
    from PIL import ImageOps

    exif = Image.Exif()
    exif[274] = orientation
    data = encoded(picture(40, 24), kind, exif=exif)
    with Image.open(BytesIO(data)) as image:
        expected = ImageOps.exif_transpose(image).convert("RGB")
    np.testing.assert_array_equal(np.asarray(decode(data, max_pixels=PIXELS)), np.asarray(expected))


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("exif", [b"Exif\0\0junk", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0"])
def test_a_broken_exif_block_costs_nothing_but_itself(exif: bytes) -> None:
    plain, data = encoded(picture(9, 5), "JPEG"), encoded(picture(9, 5), "JPEG", exif=exif)
    expected = np.asarray(decode(plain, max_pixels=PIXELS))
    np.testing.assert_array_equal(np.asarray(decode(data, max_pixels=PIXELS)), expected)


# ---- what is no image that can be used


@pytest.mark.parametrize("name", FILES)
def test_row33_a_truncated_file_is_undecodable(name: str) -> None:
    data = FILES[name]()
    assert code(data[:20]) == "undecodable"
    if name not in {"mpo", "apng", "gif-animated", "png-profile"}:
        assert code(data[: len(data) // 2]) == "undecodable"


def test_row33_a_bad_checksum_is_undecodable() -> None:
    data = bytearray(encoded(picture(40, 40)))
    data[data.index(b"IDAT") + 20] ^= 0xFF
    assert code(bytes(data)) == "undecodable"


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(FILES)),
    edits=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=8),
    keep=st.integers(0, 4000),
)
def test_row33_no_damage_raises_anything_but_an_item_error(
    name: str, edits: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(FILES[name]()[:keep])
    for place, value in edits:
        if place < len(data):
            data[place] = value
    raws = Raws(0, (Raw("a", bytes(data)),))
    batch = preprocess(raws, spec(8, 9), LimitsSettings(pixels=100_000))
    assert len(batch.ids) + len(batch.failures) == 1
    assert all(failure.code != "" for failure in batch.failures)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\0", b"<!DOCTYPE html><html></html>", b'{"error": 1}', b"BMW makes cars, a text",
        b"<?xml version='1.0'?><feed/>", b"\x1f\x8b\x08\0", b"PK\3\4", b"\x7fELF",
        b"\0\0\0\x18ftypmp42", b"RIFF\0\0\0\0WAVEfmt ",
    ],
)  # fmt: skip
def test_row32_what_is_no_image_is_called_so(data: bytes) -> None:
    assert code(data) == "not_an_image"


@pytest.mark.parametrize(
    "data",
    [
        encoded(picture(4, 4), "TIFF"), encoded(picture(4, 4), "PDF"),
        encoded(picture(4, 4), "EPS"), encoded(picture(16, 16), "ICO"),
        encoded(picture(4, 4), "JPEG2000"), encoded(picture(4, 4), "AVIF"),
        b"SIMPLE  =                    T", b"8BPS\0\1",
        b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"\xef\xbb\xbf<?xml version='1.0'?>\n<svg/>",
    ],
)  # fmt: skip
def test_row36_a_format_that_is_not_allowed_is_unsupported(data: bytes) -> None:
    with pytest.raises(ItemError) as caught:
        decode(data, max_pixels=PIXELS)
    assert caught.value.code == "unsupported_format"
    assert all(name in caught.value.message for name in FORMATS)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises a picture that its body does not have."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(b"\0" * 1000)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    "data",
    [
        bomb(9000, 9000), bomb(10_000, 9000), bomb(13_000, 13_000), bomb(20_000, 20_000),
        b"GIF89a\xff\xff\xff\xff\0\0\0," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\0;",
        b"BM" + bytes(12) + struct.pack("<IiiHH24x", 40, 30_000, 30_000, 1, 24),
    ],
)  # fmt: skip
def test_row34_a_pixel_bomb_is_refused_by_its_header_without_a_warning(data: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert code(data) == "too_many_pixels"


def test_row34_the_limit_itself_is_allowed() -> None:
    data = encoded(picture(20, 10))
    assert decode(data, max_pixels=200).size == (20, 10)
    assert code(data, max_pixels=199) == "too_many_pixels"


def memory_to_decode(data: bytes, max_pixels: int) -> tuple[str, int]:
    """The outcome, and the bytes by which the memory of a fresh process grew."""
    script = (
        "import re, sys\n"
        "from alaas.data.decode import decode\n"
        "from alaas.data.problem import ItemError\n"
        "def peak():\n"
        "    found = re.search('VmHWM:\\\\s+([0-9]+) kB', open('/proc/self/status').read())\n"
        "    return int(found[1]) * 1024\n"
        "data, before, outcome = sys.stdin.buffer.read(), peak(), 'decoded'\n"
        "try:\n"
        "    decode(data, max_pixels=int(sys.argv[1]))\n"
        "except ItemError as error:\n"
        "    outcome = error.code\n"
        "print(outcome, peak() - before)\n"
    )
    command = [sys.executable, "-c", script, str(max_pixels)]
    done = subprocess.run(command, input=data, capture_output=True, check=True)
    outcome, grown = done.stdout.decode().split()
    return outcome, int(grown)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_row34_a_bomb_costs_no_memory(kind: str) -> None:
    data = encoded(Image.new("L", (7000, 4000)), kind)
    assert len(data) < 200_000
    outcome, grown = memory_to_decode(data, PIXELS)
    assert (outcome, grown < 10 * 2**20) == ("too_many_pixels", True)
    outcome, grown = memory_to_decode(data, 7000 * 4000)
    assert (outcome, grown > 80 * 2**20) == ("decoded", True)


def test_row35_a_line_that_would_be_resized_to_a_bomb_is_refused() -> None:
    raws = Raws(0, (Raw("line", encoded(Image.new("L", (100_000, 1)))),))
    batch = preprocess(raws, spec(224, 256), LIMITS)
    assert [failure.code for failure in batch.failures] == ["too_many_pixels"]
    assert batch.array.shape == (0, 224, 224, 3)


def test_memory_running_out_is_not_blamed_on_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(_: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", exhausted)
    with pytest.raises(MemoryError):
        decode(encoded(picture(4, 4)), max_pixels=PIXELS)
