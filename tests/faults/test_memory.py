"""Rows 30, 31 and 34 once more: what small or endless things cost the processes of a server."""

from __future__ import annotations

import asyncio
import re
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults import Running, running
from fetch_peers import CANARY, picture
from web_peers import Exchange, Peer

OBJECT = 2**20
MB = 10**6


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A server that may reach loopback, and reads objects of 1 MiB."""
    fetch, limits = {"networks": ["127.0.0.0/8"]}, {"object_bytes": OBJECT}
    folder = tmp_path_factory.mktemp("server")
    with running(folder, fetch=fetch, limits=limits, store={"cache": False}) as one:
        yield one
        assert one.stop() == 0


def squeezed(size: int, wbits: int) -> bytes:
    """So many zeros, compressed."""
    packer, zeros = zlib.compressobj(9, wbits=wbits), bytes(10**6)
    return b"".join([packer.compress(zeros) for _ in range(size // 10**6)]) + packer.flush()


def bomb(side: int) -> bytes:
    """A whole and valid grey PNG of nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + body))
        return struct.pack(">I", len(body)) + kind + body + check

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    body = squeezed(side * (side + 1), zlib.MAX_WBITS)
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    return start + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def peaks(server: Running) -> dict[int, int]:
    """Process to the most memory that it has had, in bytes."""
    found = {}
    for process in server.family():
        status = Path(f"/proc/{process.pid}/status").read_text()
        found[process.pid] = int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) * 1024
    return found


def growth(server: Running, *uris: str) -> tuple[int, list[str]]:
    """By how much the process that grows most has grown over a query, and its failures."""
    for process in server.family():
        Path(f"/proc/{process.pid}/clear_refs").write_text("5")  # the peak begins anew
    before = peaks(server)
    data = [CANARY, *({"id": str(row), "uri": uri} for row, uri in enumerate(uris))]
    answer = server.post("/query", {"data": data, "parameters": {"budget": 1}})
    assert answer.status_code == 200, answer.text
    assert [one["id"] for one in answer.json()["data"]] == ["canary"]
    after = peaks(server)
    assert after.keys() == before.keys()
    codes = [one["code"] for one in answer.json()["failures"]]
    return max(after[pid] - before[pid] for pid in before), codes


def test_row30_31_34_bombs_cost_no_memory(server: Running) -> None:
    large = bomb(9000)
    packed = squeezed(900 * MB, 16 + zlib.MAX_WBITS)
    assert len(large) < 100_000
    assert len(packed) < OBJECT

    async def answer(exchange: Exchange) -> None:
        kind = exchange.target.partition("?")[0]
        if kind == "/endless":
            exchange.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                exchange.writer.write(bytes(0x10000))
                await exchange.writer.drain()
        elif kind == "/moved":
            await exchange.answer(packed, status=302, Location="/packed", Content_Encoding="gzip")
        elif kind == "/packed":
            await exchange.answer(packed, Content_Encoding="gzip")
        elif kind == "/large":
            await exchange.answer(large)
        else:
            await exchange.answer(picture())

    async def scenario() -> None:
        async with Peer(answer) as peer:
            await asyncio.to_thread(growth, server, peer.uri("/none") + "\n")  # warms all stages
            for kind, code in {
                "/endless": "object_too_large",
                "/moved": "fetch_failed",
                "/packed": "fetch_failed",
                "/large": "too_many_pixels",
            }.items():
                uris = [peer.uri(f"{kind}?{row}") for row in range(8)]
                grown, codes = await asyncio.to_thread(growth, server, *uris)
                assert codes == [code] * 8
                assert grown < 30 * MB, (kind, grown)

    asyncio.run(asyncio.wait_for(scenario(), 300))
