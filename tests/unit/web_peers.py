"""Servers and name services for the tests of the fetch stage.

The peers are raw servers on loopback, which the tests list as a network that may be
reached. Nothing here waits for a time to pass, other than a limit of the fetcher that a
test has set to be short.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_network
from types import TracebackType
from typing import Any, Self

from aiohttp.abc import AbstractResolver, ResolveResult

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.types import Items, Raws
from alaas.core.wire import Failure, Item
from alaas.data.fetch import Fetcher

LOOPBACK = FetchSettings(networks=(ip_network("127.0.0.0/8"),))


class Exchange:
    """One request that a peer got, and the means to answer it."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        line, *fields = head.decode("latin-1").split("\r\n")
        self.target = line.split(" ")[1]
        self.headers = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields if f)}
        self.reader, self.writer = reader, writer

    async def answer(self, body: bytes = b"", *, status: int = 200, **fields: str) -> None:
        fields.setdefault("Content_Length", str(len(body)))
        lines = [
            f"HTTP/1.1 {status} X",
            *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items()),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    async def until_left(self) -> None:
        """Return when the client has closed its side."""
        await self.reader.read()


Handler = Callable[[Exchange], Awaitable[None]]


class Peer:
    """A server on a free port of a loopback address; counts what reaches it."""

    def __init__(
        self, handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.handler, self.host, self.tls = handler, host, tls
        self.connections = 0
        self.requests: list[Exchange] = []
        self.left = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                exchange = Exchange(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                self.requests.append(exchange)
                await self.handler(exchange)
        except (OSError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    def uri(self, path: str = "/a.png", *, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


class Names(AbstractResolver):
    """A name service with a table; a list of answers is used up one lookup at a time."""

    def __init__(self, table: Mapping[str, list[list[str]]]) -> None:
        self.table, self.lookups = table, Counter[str]()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in self.table:
            raise OSError("unknown name")
        answers = self.table[host][min(self.lookups[host], len(self.table[host]) - 1)]
        self.lookups[host] += 1
        return [
            ResolveResult(
                hostname=host, host=one, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
            )
            for one in answers
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


async def fetch(
    *uris: str | Item,
    settings: FetchSettings = LOOPBACK,
    resolver: AbstractResolver | None = None,
    **limits: float,
) -> Raws:
    items = [Item(str(i), uri=u) if isinstance(u, str) else u for i, u in enumerate(uris)]
    bounds = LimitsSettings.model_validate(limits)
    async with Fetcher(settings, bounds, resolver=resolver) as fetcher:
        return await fetcher.fetch(Items(7, tuple(items)))


async def failure(uri: str | Item, **arguments: Any) -> Failure:
    raws = await fetch(uri, **arguments)
    assert raws.raws == ()
    (failed,) = raws.failures
    assert failed.stage == "fetch"
    return failed


async def plain(exchange: Exchange) -> None:
    await exchange.answer(b"body of " + exchange.target.encode())


async def hang(exchange: Exchange) -> None:
    await exchange.until_left()


async def expect(uri: str | Item, code: str, **arguments: Any) -> None:
    assert (await failure(uri, **arguments)).code == code
