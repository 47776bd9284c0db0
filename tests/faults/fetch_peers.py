"""A whole service in this process, asked over HTTP, and a record of whom it dials.

Names of the network lead to 127.0.0.2 and its neighbours, which a test lists as networks that
may be reached; the listeners there count what reaches them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from io import BytesIO
from ipaddress import ip_address
from typing import Any
from unittest import mock

import aiohttp
import numpy as np
import uvicorn
from aiohttp.abc import AbstractResolver
from faults import MODEL
from PIL import Image

from alaas.config import Settings
from alaas.data.fetch import Fetcher
from alaas.pipeline import worker
from alaas.pipeline.engine import LocalEngine
from alaas.server.http import create_app
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.service import Service

WAIT_S = 120

Found = dict[str, dict[str, Any]]


def picture(seed: int = 0, kind: str = "PNG", **options: Any) -> bytes:
    """A small encoded picture of noise."""
    pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


CANARY = {"id": "canary", "blob": base64.b64encode(picture()).decode()}


class _Quiet(uvicorn.Server):
    """A server that leaves signals alone."""

    def install_signal_handlers(self) -> None:
        pass


class Asked:
    """A service, and a client of it.

    Attributes:
        url: Where it is asked.
        session: The client.
        engine: What runs its stages.
        service: The service itself.
    """

    def __init__(
        self, url: str, session: aiohttp.ClientSession, engine: LocalEngine, service: Service
    ) -> None:
        self.url, self.session = url, session
        self.engine, self.service = engine, service

    async def query(self, *items: str | bytes, **parameters: Any) -> dict[str, Any]:
        """The answer to a query over these items and a picture in which nothing is wrong."""
        data = [_document(str(row), item) for row, item in enumerate(items)]
        body = {"data": [CANARY, *data], "parameters": {"budget": 1 + len(items), **parameters}}
        async with self.session.post(f"{self.url}/query", json=body) as response:
            answer: dict[str, Any] = await response.json()
            assert response.status == 200, answer
        assert "canary" in [pick["id"] for pick in answer["data"]]
        return answer

    async def fail(self, *items: str | bytes) -> list[dict[str, Any]]:
        """The failures of items none of which can be ranked, in their order."""
        answer = await self.query(*items)
        found = {one["id"]: one for one in answer["failures"]}
        assert [pick["id"] for pick in answer["data"]] == ["canary"], answer["data"]
        return [found[str(row)] for row in range(len(items))]

    async def codes(self, *items: str | bytes) -> dict[str | bytes, str]:
        """Item to the code of its failure."""
        failures = await self.fail(*items)
        return {item: one["code"] for item, one in zip(items, failures, strict=True)}


def _document(name: str, item: str | bytes) -> dict[str, str]:
    if isinstance(item, str):
        return {"id": name, "uri": item}
    return {"id": name, "blob": base64.b64encode(item).decode()}


@asynccontextmanager
async def asking(
    fetch: Mapping[str, Any] | None = None,
    *,
    resolver: AbstractResolver | None = None,
    **sections: Any,
) -> AsyncIterator[Asked]:
    """Run a service with the tiny model in this event loop.

    Args:
        fetch: Its section of the configuration.
        resolver: What asks the name service; by default that of the system.
        sections: Other sections.
    """
    settings = Settings.model_validate(
        {
            "active_learning": {"strategy": {"model": MODEL}, "al_worker": {"host": "127.0.0.1"}},
            "fetch": fetch or {},
            "store": {"cache": False},
            **sections,
        }
    )
    with mock.patch.object(worker, "Fetcher", partial(Fetcher, resolver=resolver)):
        engine = LocalEngine(settings)
    service = Service(Models([engine]), settings, Metrics([engine.card]))
    config = uvicorn.Config(create_app(service), loop="none", log_config=None, lifespan="off")
    bound, server = socket.create_server(("127.0.0.1", 0)), _Quiet(config)
    serving = asyncio.create_task(server.serve([bound]))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    try:
        async with aiohttp.ClientSession() as session:
            # One connection, opened here, is all that the client needs.
            async with session.get(f"{url}/livez") as response:
                assert response.status == 200
            yield Asked(url, session, engine, service)
    finally:
        server.should_exit = True
        await serving
        await engine.close()


def run(scenario: Awaitable[None]) -> None:
    """Run to the end; what hangs fails."""
    asyncio.run(asyncio.wait_for(scenario, WAIT_S))


class Dialled:
    """Whom this process has dialled and asked for, while it was watched.

    Attributes:
        addresses: Host and port of every connection that was begun.
        names: What the name service of the system was asked for.
    """

    def __init__(self) -> None:
        self.addresses: list[tuple[str, int]] = []
        self.names: list[str] = []


_watching: list[Dialled] = []


def _audit(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching:
        return
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host, port = arguments[1][:2]
        _watching[-1].addresses.append((host, port))
        if not ip_address(host).is_loopback:
            raise ConnectionRefusedError("a test stays on its machine")
    elif event == "socket.getaddrinfo":
        _watching[-1].names.append(str(arguments[0]))


sys.addaudithook(_audit)


@contextmanager
def dialled() -> Iterator[Dialled]:
    """Watch whom this process dials; who is not on this machine, refuses."""
    seen = Dialled()
    _watching.append(seen)
    try:
        yield seen
    finally:
        with contextlib.suppress(ValueError):
            _watching.remove(seen)
