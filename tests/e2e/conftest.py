"""Real servers for the end-to-end tests: in processes of their own, on free ports."""

from __future__ import annotations

import functools
import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from PIL import Image

from alaas.config import Settings
from alaas.server import Server

POOL = 5_000

MODEL: dict[str, Any] = {
    "hub": "python",
    "name": "networks:tiny",
    "weights": "none",
    "preprocess": {"size": 32, "resize": 32, "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    "batch_size": 64,
}


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def listening(port: int) -> bool:
    """Whether somebody accepts connections on that port of this machine."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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
def make_settings(photos: Path) -> Callable[..., Settings]:
    """Settings of a server with the tiny network, on free ports."""

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


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serve a folder on a free port of loopback; gives the URL."""
    handler = functools.partial(_QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_port}"
        finally:
            running.shutdown()
            thread.join()


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
