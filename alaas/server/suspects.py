"""Micro-batches whose process died: whose fault was it?

A process that dies takes all with it that it had been given, and nobody can say what of it
was to blame, if anything: an operator's ``kill`` looks like a picture that crashes a decoder.
So what was delivered to a process that died is sent again with nothing beside it, and what
dies alone, twice, while a picture of ours gets through in between, is to blame.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from itertools import count
from typing import NamedTuple

import structlog

from alaas.core.types import Items, Plan, Scored, Spent
from alaas.core.wire import STAGES, Failure, Item, Stage
from alaas.server.links import Lost

DEATHS = 2
"""Processes that an item may end while it is alone with them, before it is given up."""

CODE = "item_crashed_worker"

Run = Callable[[Plan, Items], Awaitable[Scored]]
Probe = Callable[[Plan, Items], Awaitable[None]]

log = structlog.get_logger()


class Gate:
    """Lets many pass at a time, or one alone. Leaving never waits, so nobody is forgotten."""

    def __init__(self) -> None:
        self._inside = 0
        self._alone = 0
        self._taken = False
        self._waiting: list[asyncio.Future[None]] = []

    @contextmanager
    def _left(self, leave: Callable[[], None]) -> Iterator[None]:
        try:
            yield
        finally:
            leave()
            for waiter in self._waiting:
                if not waiter.done():
                    waiter.set_result(None)
            self._waiting.clear()

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    @asynccontextmanager
    async def crowd(self) -> AsyncIterator[None]:
        """Be inside with others, once nobody wants to be alone."""
        await self._until(lambda: not self._alone)
        self._inside += 1
        with self._left(self._leave_crowd):
            yield

    @asynccontextmanager
    async def alone(self) -> AsyncIterator[None]:
        """Be inside with nobody else, once all have left."""
        self._alone += 1
        with self._left(self._want_no_more):
            await self._until(lambda: not self._inside and not self._taken)
            self._taken = True
            with self._left(self._leave_alone):
                yield

    def _leave_crowd(self) -> None:
        self._inside -= 1

    def _leave_alone(self) -> None:
        self._taken = False

    def _want_no_more(self) -> None:
        self._alone -= 1


class _Guilty(NamedTuple):
    item: Item
    stage: str


class Suspects:
    """Sends micro-batches through the stages, and finds out what ends their processes.

    Args:
        run: Sends a micro-batch through all stages.
        probe: Sends one through those that compute, and forgets what comes out.
        canary: Sends an item of ours through all stages.
    """

    def __init__(self, run: Run, probe: Probe, canary: Callable[[], Awaitable[None]]) -> None:
        self._run = run
        self._probe = probe
        self._canary = canary
        self._gate = Gate()
        # Those of queries are not negative.
        self._seqs = count(-1, -1)

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send a micro-batch; items that end their process come back as failures."""
        try:
            async with self._gate.crowd():
                return await self._run(plan, items)
        except Lost as lost:
            log.warning("a micro-batch is sent again", request_id=plan.query, stage=lost.stage)
        async with self._gate.alone():
            return await self._settle(plan, items)

    async def _settle(self, plan: Plan, items: Items) -> Scored:
        """Whole; or without those that are to blame; or in halves, if only the number is."""
        if (scored := await self._survives(plan, items)) is not None:
            return scored
        guilty = [one for item in items.items if (one := await self._try(plan, item)) is not None]
        failures = tuple(_failure(one) for one in guilty)
        blamed = {one.item.id for one in guilty}
        left = replace(items, items=tuple(one for one in items.items if one.id not in blamed))
        if not left.items:
            return Scored(items.seq, 0, failures)
        scored = await self._survives(plan, left)
        if scored is None:
            scored = await self._halves(plan, left)
        return replace(scored, failures=(*scored.failures, *failures))

    async def _survives(self, plan: Plan, items: Items) -> Scored | None:
        """What comes out of a micro-batch that is alone, or None if its process dies."""
        await self._prove()
        try:
            return await self._run(plan, items)
        except Lost:
            return None

    async def _prove(self) -> None:
        """Wait until an item of ours gets through: what dies next, dies of something else.

        It ends, since a stage whose processes die without any answer is given up.
        """
        while True:
            try:
                return await self._canary()
            except Lost:
                continue

    async def _try(self, plan: Plan, item: Item) -> _Guilty | None:
        stage = ""
        for _ in range(DEATHS):
            await self._prove()
            try:
                await self._probe(plan, Items(next(self._seqs), (item,)))
            except Lost as lost:
                stage = lost.stage
            else:
                return None
        log.error("an item ended its process twice and is given up", request_id=plan.query,
                  stage=stage, item=item.id)  # fmt: skip
        return _Guilty(item, stage)

    async def _halves(self, plan: Plan, items: Items) -> Scored:
        middle = len(items.items) // 2
        if not middle:
            lone = _Guilty(items.items[0], "")
            return Scored(items.seq, 0, (_failure(lone),))
        first = await self._settle(plan, replace(items, items=items.items[:middle]))
        # Under a number of its own: the scorer tells micro-batches apart by it.
        half = Items(next(self._seqs), items.items[middle:])
        second = await self._settle(plan, half)
        return Scored(
            items.seq,
            first.count + second.count,
            (*first.failures, *second.failures),
            {
                name: first.spent.get(name, Spent()) + second.spent.get(name, Spent())
                for name in {**first.spent, **second.spent}
            },
        )


def _failure(guilty: _Guilty) -> Failure:
    stages: dict[str, Stage] = {name: name for name in STAGES}
    return Failure(
        id=guilty.item.id,
        stage=stages.get(guilty.stage, "infer"),
        code=CODE,
        message="the process that worked on this item alone ended twice",
        uri=guilty.item.uri,
    )
