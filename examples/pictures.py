"""Draw some pictures to try things with.

    python examples/pictures.py photos

The first are one plain colour, the last are pure noise.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image


def draw(folder: Path, count: int = 40) -> list[Path]:
    """Write `count` JPEG files of 128 x 96 pixels: 000.jpg, 001.jpg and so on.

    The same count gives the same pictures.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    paths = []
    for row in range(count):
        colour = rng.integers(0, 256, 3)
        noise = rng.normal(0, 128 * row / count, (96, 128, 3))
        pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
        path = folder / f"{row:03}.jpg"
        Image.fromarray(pixels).save(path)
        paths.append(path)
    return paths


if __name__ == "__main__":
    target = Path(sys.argv[1] if len(sys.argv) > 1 else "photos")
    print(f"{len(draw(target))} pictures in {target}")
