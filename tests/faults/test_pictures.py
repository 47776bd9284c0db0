"""Rows 33 to 36: files that are no good pictures, or that are no pictures at all."""

from __future__ import annotations

import struct
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from fetch_peers import asking, picture, run
from PIL import Image
from test_decode_files import FILES, bomb


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_row33_broken_pictures_are_failures_of_their_items() -> None:
    spoiled = bytearray(FILES["png"]())
    spoiled[spoiled.index(b"IDAT") + 20] ^= 0xFF
    whole = {name: make() for name, make in FILES.items()}
    broken = [data[:20] for data in whole.values()] + [bytes(spoiled)]
    broken += [whole[name][: len(whole[name]) // 2] for name in ("jpeg", "webp", "bmp", "gif")]

    async def scenario() -> None:
        async with asking() as asked:
            failures = await asked.fail(*broken)
            assert {(one["stage"], one["code"]) for one in failures} == {
                ("preprocess", "undecodable")
            }
            assert (await asked.query(*whole.values()))["failures"] == []

    run(scenario())


def test_row34_enormous_pictures_are_refused_by_their_headers() -> None:
    bombs = [
        bomb(9000, 9000), bomb(20_000, 20_000), bomb(2**31 - 1, 2**31 - 1), bomb(1, 2**31 - 1),
        b"GIF89a\xff\xff\xff\xff\0\0\0," + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\2\0;",
        b"BM" + bytes(12) + struct.pack("<IiiHH24x", 40, 30_000, 30_000, 1, 24),
        encoded(Image.new("1", (4_000_000, 1)), "PNG"),  # not many, until its side is resized
    ]  # fmt: skip

    async def scenario() -> None:
        async with asking() as asked:
            failures = await asked.fail(*bombs)
            assert [one["code"] for one in failures] == ["too_many_pixels"] * len(bombs)

    run(scenario())


def test_row35_odd_pictures_are_ranked_or_fail_and_the_next_query_is_answered(
    tmp_path: Path,
) -> None:
    orientation = Image.Exif()
    orientation[274] = 6
    animation = {"save_all": True, "append_images": [Image.new("RGB", (16, 12), "red")]}
    small = Image.open(BytesIO(picture()))
    odd = {
        "1x1": encoded(Image.new("RGB", (1, 1)), "PNG"),
        "1xN": encoded(Image.new("RGB", (1, 3000)), "PNG"),
        "Nx1": encoded(Image.new("RGB", (3000, 1)), "GIF"),
        "16 bit": encoded(Image.fromarray(np.arange(192, dtype=np.uint16).reshape(12, 16)), "PNG"),
        "bits": encoded(small.convert("1"), "PNG"),
        "CMYK": encoded(small.convert("CMYK"), "JPEG"),
        "palette": encoded(small.quantize(20), "PNG", transparency=bytes(range(20))),
        "alpha": encoded(small.convert("RGBA"), "WEBP"),
        "animated GIF": encoded(small, "GIF", **animation),
        "animated WEBP": encoded(small, "WEBP", **animation),
        "rotated": encoded(small, "JPEG", exif=orientation),
        "MPO": encoded(small, "MPO", **animation),
    }
    bad = {
        "no width": bomb(0, 10),
        "no height": bomb(10, 0),
        "no frame": b"GIF89a\1\0\1\0\0\0\0;",
        "no rows": b"BM" + bytes(12) + struct.pack("<IiiHH24x", 40, 10, 0, 1, 24),
    }
    for row, data in enumerate(odd.values()):
        (tmp_path / f"{row}.bin").write_bytes(data)

    async def scenario() -> None:
        async with asking({"roots": [str(tmp_path)]}) as asked:
            before = await asked.query(picture(1), picture(2))
            failures = await asked.fail(*bad.values())
            assert {one["code"] for one in failures} == {"undecodable"}
            for items in (
                list(odd.values()),
                [str(tmp_path / f"{row}.bin") for row in range(len(odd))],
            ):
                assert (await asked.query(*items))["failures"] == []
            after = await asked.query(picture(1), picture(2))
            assert after["data"] == before["data"]

    run(scenario())


def test_row36_formats_that_are_not_allowed_are_not_opened() -> None:
    small = Image.open(BytesIO(picture()))
    others = {kind: encoded(small, kind) for kind in ("TIFF", "PDF", "EPS", "JPEG2000", "AVIF")}
    others |= {
        "ICO": encoded(small.resize((16, 16)), "ICO"),
        "FITS": b"SIMPLE  =                    T" + bytes(2880),
        "SVG": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n(/etc/passwd) run\n",
        "PSD": b"8BPS\0\1" + bytes(100),
    }

    async def scenario() -> None:
        async with asking() as asked:
            failures = await asked.fail(*others.values())
            codes = {kind: one["code"] for kind, one in zip(others, failures, strict=True)}
            assert codes == dict.fromkeys(others, "unsupported_format")
            assert all("allowed are BMP, GIF, JPEG" in one["message"] for one in failures)

    run(scenario())
