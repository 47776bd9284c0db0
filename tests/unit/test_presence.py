"""Whether the caller is still there."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from test_pipeline_engine import in_time

from alaas.server import presence
from alaas.server.presence import GONE, has_gone, leaves_before


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[asyncio.Transport, socket.socket]]:
    """Our side of a connection, from which nothing is read, and the other side."""
    ours: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Deaf(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            transport.pause_reading()
            ours.set_result(transport)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Deaf, "127.0.0.1", 0)
    with socket.create_connection(server.sockets[0].getsockname()) as theirs:
        transport = await ours
        yield transport, theirs
        transport.abort()
    server.close()
    await server.wait_closed()


LEAVINGS: dict[str, Callable[[socket.socket], None]] = {
    "closes": socket.socket.close,
    "says no more": lambda theirs: theirs.shutdown(socket.SHUT_WR),
    "breaks off": lambda theirs: (
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"),
        theirs.close(),
    )[1],
}


@pytest.mark.parametrize("leaves", LEAVINGS.values(), ids=LEAVINGS)
@pytest.mark.parametrize("unread", [b"", b"." * 50_000])
def test_who_leaves_is_gone_whatever_it_sent(
    leaves: Callable[[socket.socket], None], unread: bytes
) -> None:
    async def scenario() -> None:
        async with connected() as (transport, theirs):
            theirs.sendall(unread)
            assert not has_gone(transport)
            leaves(theirs)
            while not has_gone(transport):  # noqa: ASYNC110  # the kernel tells it soon
                await asyncio.sleep(0)

    in_time(scenario())


def test_where_nobody_can_be_asked_the_caller_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with connected() as (transport, theirs):
            theirs.close()
            monkeypatch.delattr(socket, "TCP_INFO")
            assert not has_gone(transport)
            transport.close()
            assert has_gone(transport)

    in_time(scenario())


def test_a_request_is_read_to_its_end_or_its_caller_leaves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(presence, "LOOK_S", 0)

    async def scenario() -> None:
        complete, looks = asyncio.Event(), iter([False, False, True])
        assert await leaves_before(complete, {"state": {GONE: lambda: next(looks)}})
        assert [*looks] == []
        waiting = asyncio.ensure_future(leaves_before(complete, {"state": {}}))
        await asyncio.sleep(0)
        assert not waiting.done()
        complete.set()
        assert not await waiting

    in_time(scenario())
