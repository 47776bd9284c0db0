"""What the benchmarks work on: photographs on disk and behind a web server, and weights."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import cycle, islice
from pathlib import Path

ARCHIVE = "imagenet-200.zip"
START_OF_IMAGE = b"\xff\xd8"
YESTERDAY_S = 86_400


@dataclass(frozen=True, slots=True)
class Pool:
    """Some photographs, as files and as addresses.

    Attributes:
        paths: The files.
        uris: Where a web server has the same, in the same order.
    """

    paths: tuple[str, ...]
    uris: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def part(self, count: int) -> Pool:
        """The first of them."""
        return Pool(self.paths[:count], self.uris[:count])


def encoded(given: str | None, count: int) -> tuple[list[bytes], str]:
    """So many different JPEG files, and one line on where they come from.

    From a folder of yours; else from the ImageNet sample beside the repository, or the folder
    that ``ALAAS_TEST_DATA`` names; else drawn at random. Where there are fewer than asked
    for, mirrored and trimmed versions of them follow.
    """
    originals, origin = _originals(given)
    if not originals:
        return [_drawn(row) for row in range(count)], "random pictures of 500 by 375 pixels"
    made = []
    for row, data in enumerate(islice(cycle(originals), count)):
        turn = row // len(originals)
        made.append(_variant(data, turn) if turn else data)
    return made, origin


def _originals(given: str | None) -> tuple[list[bytes], str]:
    if given:
        paths = sorted(one for one in Path(given).rglob("*") if one.suffix.lower() in
                       {".jpg", ".jpeg"})  # fmt: skip
        if not paths:
            sys.exit(f"--photos: no .jpg in {given}")
        return [path.read_bytes() for path in paths], f"{len(paths)} photographs of {given}"
    root = Path(os.environ.get("ALAAS_TEST_DATA", Path(__file__).parents[2] / "shared" / "data"))
    if not (root / ARCHIVE).is_file():
        return [], ""
    with zipfile.ZipFile(root / ARCHIVE) as archive:
        names = sorted(name for name in archive.namelist() if name.lower().endswith("g"))
        return [archive.read(name) for name in names], f"{len(names)} photographs of ImageNet"


def _variant(data: bytes, turn: int) -> bytes:
    """A photograph mirrored in every other turn, and with a little less of its border."""
    from PIL import Image, ImageOps

    with Image.open(BytesIO(data)) as image:
        picture = image.convert("RGB")
    border = turn * min(picture.size) // 50 % (min(picture.size) // 4)
    if turn % 2:
        picture = ImageOps.mirror(picture)
    return _jpeg(ImageOps.crop(picture, border))


def _drawn(row: int) -> bytes:
    """A picture of soft random patches, so that it compresses as a photograph does."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(row)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
    picture = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-24, 25, picture.shape, np.int16)
    return _jpeg(Image.fromarray((picture + grain).clip(0, 255).astype(np.uint8)))


def _jpeg(picture: object) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=92)  # type: ignore[attr-defined]
    return out.getvalue()


def write(files: list[bytes], folder: Path, url: str, *, mark: str) -> Pool:
    """Write photographs that nobody has seen before, with the same pixels.

    Args:
        files: JPEG files.
        folder: Where to; it is made.
        url: Where a web server has the folder.
        mark: Stands as a comment in each, which gives it a content of its own.
    """
    folder.mkdir(parents=True)
    comment = mark.encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    paths = []
    for row, data in enumerate(files):
        path = folder / f"{row:06}.jpg"
        path.write_bytes(START_OF_IMAGE + segment + data[2:])
        # A file that changed a moment ago might change again unseen: nobody trusts its date.
        before = path.stat().st_mtime - YESTERDAY_S
        os.utime(path, (before, before))
        paths.append(path)
    return Pool(tuple(map(str, paths)), tuple(f"{url}/{path.name}" for path in paths))


def random_weights(path: Path) -> Path:
    """Save a ResNet-18 of random weights, the same in every run."""
    import torch
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None)
    # With its initial statistics an untrained network calls every photograph the same.
    network.train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, 3, 64, 64))
    torch.save(network.state_dict(), path)
    return path


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback from a process of its own; gives the URL."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.webserver", str(folder), str(port)]
    process = subprocess.Popen(command)
    try:
        while True:
            if process.poll() is not None:
                sys.exit("the web server of the photographs did not start")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    """A port of loopback that is free just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
