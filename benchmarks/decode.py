"""Pictures a second of one thread that decodes, resizes and crops, by the ways there are.

    python -m benchmarks.decode --rounds 5

Two pools: photographs as they are, and one photograph enlarged to what a camera takes. The
ways take turns; a rate is of the thread's own time, a ratio is taken within each round. The
distance is that of the pixels to those of ``decode: exact``, in grey levels of 255.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from alaas.config import LimitsSettings
from alaas.config.preprocessing import Preprocessing
from alaas.core.types import Raw, Raws
from alaas.data.decode import preprocess
from benchmarks import photographs

Way = Callable[[bytes], NDArray[np.uint8]]
SIZE, RESIZE = 224, 256
CAMERA = (4000, 3000)
FASTEST = "torchvision.io"


def ours(decode: str) -> Way:
    """The stage as it is."""
    spec = Preprocessing.model_validate(
        {"size": SIZE, "resize": RESIZE, "mean": [0] * 3, "std": [1] * 3, "decode": decode}
    )
    limits = LimitsSettings()

    def way(data: bytes) -> NDArray[np.uint8]:
        row: NDArray[np.uint8] = preprocess(Raws(0, (Raw("", data),)), spec, limits).array[0]
        return row

    return way


def torchvision_io() -> Way:
    """What was the fastest of all: torch's own decoder and its own resize."""
    import torch
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional

    torch.set_num_threads(1)

    def way(data: bytes) -> NDArray[np.uint8]:
        encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        image = decode_jpeg(encoded, mode=ImageReadMode.RGB)
        image = functional.center_crop(functional.resize(image, RESIZE, antialias=True), SIZE)
        pixels: NDArray[np.uint8] = image.permute(1, 2, 0).contiguous().numpy()
        return pixels

    return way


def opencv() -> Way:
    """simplejpeg, and OpenCV's resize, which does not average."""
    import cv2
    import simplejpeg

    cv2.setNumThreads(1)

    def way(data: bytes) -> NDArray[np.uint8]:
        image = simplejpeg.decode_jpeg(data, "RGB")
        height, width = image.shape[:2]
        scale = RESIZE / min(width, height)
        wide, high = int(width * scale), int(height * scale)
        image = cv2.resize(image, (wide, high), interpolation=cv2.INTER_LINEAR)
        left, top = round((wide - SIZE) / 2), round((high - SIZE) / 2)
        pixels: NDArray[np.uint8] = image[top : top + SIZE, left : left + SIZE].copy()
        return pixels

    return way


def ways() -> dict[str, Way]:
    """Those that can be tried here; what is not installed is said."""
    found: dict[str, Way] = {"exact": ours("exact"), "fast": ours("fast")}
    for name, make in {FASTEST: torchvision_io, "simplejpeg + OpenCV": opencv}.items():
        try:
            found[name] = make()
        except ImportError as error:
            print(f"{name}: not measured, {error}")
    return found


def enlarged(data: bytes) -> bytes:
    """A photograph of twelve million pixels, made of a small one."""
    image = Image.open(BytesIO(data)).convert("RGB").resize(CAMERA, Image.Resampling.BICUBIC)
    file = BytesIO()
    image.save(file, "JPEG", quality=90)
    return file.getvalue()


def measure(found: dict[str, Way], files: list[bytes], rounds: int) -> dict[str, Any]:
    """Rates, ratios to the fastest way of old, and distances."""
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, way in found.items():
            started = time.thread_time()
            for data in files:
                way(data)
            seconds[name].append(time.thread_time() - started)
    exact = np.stack([found["exact"](data) for data in files]).astype(np.int16)
    figures = {}
    for name, way in found.items():
        apart = np.abs(exact - np.stack([way(data) for data in files]))
        figures[name] = {
            "per_second": round(len(files) / statistics.median(seconds[name]), 1),
            "mean_difference": round(float(apart.mean()), 3),
            "difference_99.9": float(np.percentile(apart, 99.9)),
        }
        if FASTEST in found:
            ratios = [a / b for a, b in zip(seconds[FASTEST], seconds[name], strict=True)]
            figures[name]["of_the_fastest"] = round(statistics.median(ratios), 2)
    return figures


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photographs")
    parser.add_argument("--pool", type=int, default=200, help="photographs to decode")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    files, origin = photographs.encoded(arguments.photos, arguments.pool)
    print(origin)
    pools = {"photographs": files, "12 megapixels": [enlarged(data) for data in files[:3]]}
    load, report = os.getloadavg()[0], {}
    for name, pool in pools.items():
        report[name] = measure(ways(), pool, arguments.rounds)
        print(f"\n{name}, {len(pool)} files, load before {load:.1f}")
        for way, figures in report[name].items():
            print(f"  {way:22}" + "".join(f"  {k} {v:>7}" for k, v in figures.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"load": load, "pools": report}, indent=2))


if __name__ == "__main__":
    main()
