"""Sending a pool through an engine: enter it in the books, and compute what is missing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import NamedTuple

from alaas.core.digest import digest
from alaas.core.types import Admitted, Items, Plan, Scored
from alaas.core.wire import Item
from alaas.pipeline.claims import Key, claimed, key_of
from alaas.pipeline.engine import Engine

log = logging.getLogger(__name__)

ADMITTED = 1_024
"""Items that are entered in the books at a time, at most."""


PARTS = 4
"""Into how many pieces a micro-batch is cut that is not full, at most."""


class Member(NamedTuple):
    """An item and where it stands in the pool.

    Attributes:
        row: Its row.
        item: The item.
        digest: The name of its content, where it is known.
        lost: Whether it is lost already, and only its id is wanted.
    """

    row: int
    item: Item
    digest: str = ""
    lost: bool = False


class Feed:
    """Sends items through an engine, never more micro-batches at a time than it has slots.

    Args:
        engine: What runs the stages.
        plan: The query.
        admitted: Takes in what was known of items, and of how many all was.
        scored: Takes in what came out of the stages for some.
    """

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        *,
        admitted: Callable[[Admitted, int], None],
        scored: Callable[[Scored, Sequence[Member]], None],
    ) -> None:
        self._engine = engine
        self._plan = plan
        self._admitted = admitted
        self._scored = scored
        self._seq = count()
        self._views = claimed(plan)
        self._claimed: set[Key] = set()

    async def run(self, parts: AsyncIterable[list[Member]]) -> None:
        """Send all of them, and wait until they are through."""
        try:
            async with asyncio.TaskGroup() as group:
                waiting: list[Member] = []
                async for part in self._cut(parts):
                    missing = await self._admit(part)
                    waiting += self._unclaimed(missing, group)
                    while len(waiting) >= self._engine.batch_size:
                        await self._send(group, waiting[: self._engine.batch_size])
                        del waiting[: self._engine.batch_size]
                await self._send_rest(group, waiting)
        except BaseExceptionGroup as many:
            # The first error is the cause; the others are its echo.
            first = many.exceptions[0]
            raise first from first.__cause__
        finally:
            self._engine.claims.release(self._claimed)

    async def _cut(self, parts: AsyncIterable[list[Member]]) -> AsyncIterator[list[Member]]:
        """Parts of a good size for the books: a micro-batch at least, as soon as it is there."""
        waiting: list[Member] = []
        async for part in parts:
            waiting += part
            while len(waiting) >= self._engine.batch_size:
                yield waiting[:ADMITTED]
                del waiting[:ADMITTED]
        if waiting:
            yield waiting

    async def _admit(self, part: Sequence[Member]) -> list[Member]:
        """Enter items in the books; those whose views are not stored."""
        named = [_named(member) if self._plan.cache else member for member in part]
        admitted = await self._engine.admit(
            self._plan,
            Items(
                seq=part[0].row,
                # Bytes stay here until it is known that they are needed.
                items=tuple(replace(member.item, blob=None) for member in part),
                rows=tuple(member.row for member in part),
                digests=tuple(member.digest for member in named),
            ),
        )
        missing = [named[position] for position in admitted.missing if not part[position].lost]
        self._admitted(admitted, sum(not member.lost for member in part) - len(missing))
        return missing

    def _unclaimed(self, missing: list[Member], group: asyncio.TaskGroup) -> list[Member]:
        """Those that no other query computes just now; the others are waited for."""
        ours, theirs, ends = [], [], []
        for member in missing:
            key = key_of(self._views, member.item, member.digest)
            running = None if key is None else self._engine.claims.claim(key)
            if running is not None:
                theirs.append(member)
                ends.append(running)
                continue
            if key is not None:
                self._claimed.add(key)
            ours.append(member)
        if theirs:
            group.create_task(self._after(theirs, ends))
        return ours

    async def _after(self, members: list[Member], ends: list[asyncio.Future[None]]) -> None:
        """Take in items that somebody else has computed; compute what is still missing."""
        await asyncio.wait(ends)
        missing = await self._admit(members)
        size = self._engine.batch_size
        async with asyncio.TaskGroup() as group:
            for start in range(0, len(missing) - size + 1, size):
                await self._send(group, missing[start : start + size])
            await self._send_rest(group, missing[len(missing) - len(missing) % size :])

    async def _send_rest(self, group: asyncio.TaskGroup, members: list[Member]) -> None:
        """Send what makes no whole micro-batch, cut so that several lanes can work on it.

        Whoever asks for a few items would wait for one core otherwise, beside idle ones. It
        depends on the number of items alone, for the same floats on every machine.
        """
        part = -(-self._engine.batch_size // PARTS)
        for start in range(0, len(members), part):
            await self._send(group, members[start : start + part])

    async def _send(self, group: asyncio.TaskGroup, members: list[Member]) -> None:
        await self._engine.slots.acquire(self._plan.query)
        items = Items(next(self._seq), tuple(member.item for member in members))
        task = group.create_task(self._through(items, members))
        # Not in a `finally` of its own: a task that is cancelled early never enters it.
        task.add_done_callback(lambda _: self._engine.slots.release(self._plan.query))

    async def _through(self, items: Items, members: list[Member]) -> None:
        scored = await self._engine.process(self._plan, items)
        keys = {key_of(self._views, member.item, member.digest) for member in members}
        done = {key for key in keys if key is not None and key in self._claimed}
        self._claimed -= done
        self._engine.claims.release(done)
        self._scored(scored, members)


def _named(member: Member) -> Member:
    """With the name of its content, where the content is at hand."""
    item = member.item
    if member.digest:
        return member
    if item.blob is not None:
        return member._replace(digest=digest(item.blob))
    if item.text is not None:
        return member._replace(digest=digest(item.text.encode(), is_text=True))
    return member


async def forget(engine: Engine, plan: Plan) -> None:
    """Have an engine forget a query that an error has ended."""
    try:
        await engine.discard(plan)
    except Exception:
        # The error that ended the query is the one to tell; this one is its echo.
        log.debug("a query could not be discarded", exc_info=True)
