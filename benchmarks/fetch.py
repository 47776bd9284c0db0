"""Photographs a second that are fetched over loopback, by the ways there are.

    python -m benchmarks.fetch --pool 300 --rounds 5

A web server in a process of its own serves them. A rate is of the client's own time on the
processor; a ratio is taken within each round, to a bare loop of aiohttp that checks nothing
and names each content too. What is known already is then asked for again, with the index.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.types import Items
from alaas.core.wire import Item
from alaas.data.fetch import Fetcher
from alaas.store.sources import SourceIndex
from benchmarks import photographs

AT_ONCE, BATCH = 16, 64
Way = Callable[[list[str]], Awaitable[int]]


async def bare(uris: list[str]) -> int:
    """A loop of aiohttp without any check, which reads and names as many at once."""
    async with aiohttp.ClientSession() as session:
        turn = asyncio.Semaphore(AT_ONCE)

        async def one(uri: str) -> int:
            async with turn, session.get(uri) as response:
                data = await response.read()
            return len(digest(data)) and len(data)

        return sum(await asyncio.gather(*map(one, uris)))


async def kept_alive(uris: list[str]) -> int:
    """One connection of the standard library, one request after the other."""
    connection = http.client.HTTPConnection(urlsplit(uris[0]).netloc)
    size = 0
    for uri in uris:
        parts = urlsplit(uri)
        connection.request("GET", f"{parts.path}?{parts.query}")
        data = connection.getresponse().read()
        size += len(digest(data)) and len(data)
    connection.close()
    return size


def settings() -> tuple[FetchSettings, LimitsSettings]:
    """Loopback allowed, and as many at once as the bare loop has."""
    limits = LimitsSettings(fetch_concurrency=AT_ONCE, fetch_per_host=AT_ONCE)
    return FetchSettings(networks=(ip_network("127.0.0.0/8"),), roots=(Path("/"),)), limits


def items(addresses: list[str], size: int) -> list[Items]:
    """The pool in micro-batches."""
    rows = [Item(str(row), uri=uri) for row, uri in enumerate(addresses)]
    starts = range(0, len(rows), size)
    return [Items(seq, tuple(rows[start : start + size])) for seq, start in enumerate(starts)]


def ours(index: SourceIndex | None = None) -> Way:
    """The stage as it is."""

    async def way(uris: list[str]) -> int:
        async with Fetcher(*settings(), index=index) as fetcher:
            parts = await asyncio.gather(*map(fetcher.fetch, items(uris, BATCH)))
        assert not any(part.failures for part in parts), "all can be fetched"
        return sum(len(raw.data) for part in parts for raw in part.raws)

    return way


def identified(index: SourceIndex) -> Way:
    """What is known is confirmed, not read."""

    async def way(addresses: list[str]) -> int:
        async with Fetcher(*settings(), index=index) as fetcher:
            found = [await fetcher.identify(part) for part in items(addresses, 1024)]
        assert sum(map(len, found)) == len(addresses), "all is known"
        return 0

    return way


def measure(ways: dict[str, tuple[Way, list[str]]], rounds: int) -> dict[str, Any]:
    """Rates by the processor and by the clock, and ratios to the bare loop."""
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        sizes = set()
        for name, (way, addresses) in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            sizes.add(asyncio.run(_awaited(way(addresses))))
            cpu[name].append(time.process_time() - busy)
            wall[name].append(time.perf_counter() - started)
        assert len(sizes - {0}) == 1, "all read the same"
    return {
        name: {
            "per_cpu_second": round(len(addresses) / statistics.median(cpu[name])),
            "per_second": round(len(addresses) / statistics.median(wall[name])),
            "of_bare_aiohttp": round(
                statistics.median(
                    a / b for a, b in zip(cpu["bare aiohttp"], cpu[name], strict=True)
                ),
                2,
            ),
        }
        for name, (_, addresses) in ways.items()
    }


async def _awaited(work: Awaitable[int]) -> int:
    return await work


def main() -> None:
    """Measure, print a table, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--photos", help="folder of photographs")
    parser.add_argument("--pool", type=int, default=300, help="items in the pool")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        files, origin = photographs.encoded(arguments.photos, arguments.pool)
        index = SourceIndex(Path(scratch) / "sources.sqlite")
        with photographs.served(Path(scratch)) as url:
            pool = photographs.write(files, Path(scratch) / "pool", f"{url}/pool", mark="fetch")
            uris, names = list(pool.uris), list(pool.paths)
            for addresses in (uris, names):
                asyncio.run(_awaited(ours(index)(addresses)))
            ways: dict[str, tuple[Way, list[str]]] = {
                "bare aiohttp": (bare, uris),
                "http.client": (kept_alive, uris),
                "fetch": (ours(), uris),
                "fetch and note": (ours(index), uris),
                "fetch files": (ours(), names),
                "identify by server": (identified(index), uris),
                "identify files": (identified(index), names),
            }
            load = os.getloadavg()[0]
            figures = measure(ways, arguments.rounds)
        index.close()
    print(f"{arguments.pool} pictures ({origin}), load before {load:.1f}")
    for name, row in figures.items():
        print(f"  {name:20}" + "".join(f"  {k} {v:>7}" for k, v in row.items()))
    if arguments.json:
        arguments.json.write_text(json.dumps({"load": load, "ways": figures}, indent=2))


if __name__ == "__main__":
    main()
