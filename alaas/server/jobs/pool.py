"""The pool of a job on its way into the database and out of it."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterable, AsyncIterator

from sqlalchemy import select

from alaas.core.wire import Failure, Item
from alaas.pipeline.ledger import Part
from alaas.pipeline.replay import Again, read_line, write_line
from alaas.server.jobs.database import Database
from alaas.server.jobs.model import parts

ITEMS, BYTES = 512, 2**20
"""Items of a stored part at most, and bytes of content beyond which one is complete."""


class StoredPool(Again):
    """The pool of a job, which can be read as often as it is wanted.

    Args:
        database: Where it is.
        job: Number of the job.
    """

    def __init__(self, database: Database, job: int) -> None:
        super().__init__(())
        self._database = database
        self._job = job

    async def __aiter__(self) -> AsyncIterator[Part]:
        seq = 0
        while (packed := await self._part(seq)) is not None:
            yield unpack(packed)
            seq += 1

    async def _part(self, seq: int) -> bytes | None:
        asked = select(parts.c.content).where(parts.c.job == self._job, parts.c.seq == seq)
        return await self._database.read(lambda connection: connection.scalar(asked))

    async def blobs(self, ids: set[str]) -> dict[str, bytes]:
        """The bytes of some items: of those that came as bytes."""
        found = {}
        async for part in self:
            for item in part:
                if isinstance(item, Item) and item.blob is not None and item.id in ids:
                    found[item.id] = item.blob
        return found


async def cut(source: AsyncIterable[Part]) -> AsyncIterator[list[Item | Failure]]:
    """Cut a pool as it arrives into parts that are worth a row each."""
    waiting: list[Item | Failure] = []
    size = 0
    async for part in source:
        for item in part:
            waiting.append(item)
            size += _weight(item)
            if len(waiting) >= ITEMS or size >= BYTES:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


def pack(part: Part) -> bytes:
    """A part as it is stored."""
    return zlib.compress(write_line(part).encode(), level=1)


def unpack(packed: bytes) -> list[Item | Failure]:
    """Read what `pack` wrote."""
    return read_line(zlib.decompress(packed))


def _weight(item: Item | Failure) -> int:
    if isinstance(item, Failure):
        return len(item.message)
    return len(item.blob or b"") + len(item.uri or item.text or "")
