"""What the tests of faults share: small pictures, and a server that is harmed by none of them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import Running, running
from PIL import Image


def picture(row: int) -> bytes:
    """A PNG of 8 by 8 pixels, of a colour of its own."""
    rng = np.random.default_rng(row)
    pixels = np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (8, 8, 3))
    stream = BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 200 small pictures, `000.png` to `199.png`."""
    folder = tmp_path_factory.mktemp("pictures")
    for row in range(200):
        (folder / f"{row:03}.png").write_bytes(picture(row))
    return folder


@pytest.fixture(scope="session")
def paths(pictures: Path) -> list[str]:
    """The paths of those pictures, in order."""
    return [str(path) for path in sorted(pictures.iterdir())]


@pytest.fixture(scope="session")
def blobs(paths: list[str]) -> list[dict[str, Any]]:
    """The first 20 of them as items of a request."""
    return [
        {"id": Path(path).stem, "blob": base64.b64encode(Path(path).read_bytes()).decode()}
        for path in paths[:20]
    ]


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Iterator[Running]:
    """A server that speaks HTTP, WebSocket and gRPC, for tests that leave it unharmed."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, grpc=True, fetch={"roots": [str(pictures)]}) as one:
        yield one
        assert one.stop() == 0
