"""Real servers for the end-to-end tests: in processes of their own, on free ports."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from local_servers import MODEL, POOL, free_ports, listening, serving
from PIL import Image

from alaas.config import Settings
from alaas.server import Server


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 5,000 small PNG files: coloured noise around a colour of its own."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for row in range(POOL):
        colour = rng.integers(0, 256, 3)
        noise = rng.normal(0, rng.uniform(5, 80), (32, 32, 3))
        pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{row:04}.png", compress_level=1)
    return folder


@pytest.fixture(scope="session")
def make_settings(
    photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., Settings]:
    """Settings of a server with the tiny network, on free ports and with a store of its own."""

    def make(*, protocol: list[str], count: int, **worker: Any) -> Settings:
        return Settings.model_validate(
            {
                "active_learning": {
                    "strategy": {"model": MODEL},
                    "al_worker": {
                        "protocol": protocol,
                        "host": "127.0.0.1",
                        "port": free_ports(count),
                        **worker,
                    },
                },
                "fetch": {"roots": [str(photos)], "networks": ["127.0.0.0/8"]},
                # Only one process writes a folder, and only what is written is found again.
                "store": {"url": str(tmp_path_factory.mktemp("store"))},
                "log": {"level": "warning"},
            }
        )

    return make


@pytest.fixture(scope="session")
def server(make_settings: Callable[..., Settings]) -> Iterator[Server]:
    """A server with two replicas that speaks HTTP, WebSocket and gRPC."""
    port, other = free_ports(2)
    settings = make_settings(protocol=["http", "ws", "grpc"], count=1, replicas=2)
    worker = settings.active_learning.al_worker.model_copy(update={"port": (port, port, other)})
    learning = settings.active_learning.model_copy(update={"al_worker": worker})
    with Server(settings.model_copy(update={"active_learning": learning})) as running:
        assert running.pid is not None
        family = [running.pid, *(p.pid for p in psutil.Process(running.pid).children(True))]
        yield running
    assert not [pid for pid in family if psutil.pid_exists(pid)]
    assert not listening(port)
    assert not listening(other)


@pytest.fixture(scope="session")
def web(photos: Path) -> Iterator[str]:
    """The photos behind a web server on loopback; its URL."""
    with serving(photos) as url:
        yield url
