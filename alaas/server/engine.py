"""The engine of the server: micro-batches go through processes that may die meanwhile.

Every message is sent to one stage after the other, each by a connection of ours: so it is
known which process has it, and only what that one was doing has to be done again. Jina's own
way through the Flow sends whatever fails to the next replica, and the next.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from typing import Any, Protocol

from alaas.core.errors import BooksLost, NoReplica, from_problem
from alaas.core.types import Admitted, Calibrated, Items, Notes, Plan, Scored, Selection, Stored
from alaas.core.wire import PoolInfo
from alaas.models.card import ModelCard
from alaas.pipeline.claims import Claims
from alaas.pipeline.slots import Slots
from alaas.server import canary, frames
from alaas.server.links import Links, Lost
from alaas.server.status import Status
from alaas.server.suspects import Suspects

SCORE = "score"

AGAIN_S = 0.1
"""Seconds between two tries to reach a stage whose processes are away."""

DELIVERIES = 3
"""Times that a message which changes nothing is given to a process that may die of it."""


class Wire(Protocol):
    """How a message looks on its way."""

    def write(self, endpoint: str, message: frames.Message) -> Any:
        """A message for an endpoint of the executors."""
        ...

    def check(self, answer: Any) -> None:
        """Make sure that an executor has not failed over it.

        Raises:
            Internal: It has.
        """
        ...

    def read(self, answer: Any) -> frames.Message:
        """The message in an answer."""
        ...


class FlowEngine:
    """Sends micro-batches through the executors of a Flow.

    Jina's own prefetch would spin on the event loop when it is full, and counts per query;
    the window is ours, and all queries share it.

    Args:
        links: The connections to the executors.
        wire: How messages are written.
        card: The model that they run, or the default one of several.
        batch_size: Items in a micro-batch.
        window: Micro-batches in flight.
        status: What the supervisor knows.
    """

    def __init__(
        self,
        links: Links,
        wire: Wire,
        card: ModelCard,
        *,
        batch_size: int,
        window: int,
        status: Callable[[], Status],
    ) -> None:
        self._links = links
        self._wire = wire
        self._status = status
        self._computing = [stage for stage in links.stages if stage != SCORE]
        self._suspects = Suspects(self._run, self._probe, self._prove)
        self.card = card
        self.batch_size = batch_size
        self.slots = Slots(window, spare=1)
        self.claims = Claims()

    def serving(self, card: ModelCard, *, batch_size: int) -> FlowEngine:
        """The same engine with another of its models: all queries share the processes.

        Args:
            card: The model.
            batch_size: Items in a micro-batch for it.
        """
        other = copy(self)
        other.card = card
        other.batch_size = batch_size
        return other

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        """Have contents named where they can be without reading, and views recalled."""
        request = self._wire.write("/admit", frames.Message(plan, items))
        if plan.cache:
            request = await self._repeat(self._computing[0], request)
        message = self._read(await self._ask_scorer(request))
        assert isinstance(message.content, Admitted)
        return replace(message.content, spent=message.spent)

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through all executors."""
        return await self._suspects.process(plan, items)

    async def _run(self, plan: Plan, items: Items) -> Scored:
        request = await self._compute(plan, items)
        try:
            answer = await self._hop(SCORE, request)
        except Lost as lost:
            # Its books are gone, and with them what this micro-batch is a part of.
            raise _books_lost() from lost
        message = self._read(answer)
        assert isinstance(message.content, Scored)
        return replace(message.content, spent=message.spent)

    async def _probe(self, plan: Plan, items: Items) -> None:
        await self._compute(plan, items)

    async def _compute(self, plan: Plan, items: Items) -> Any:
        request = self._wire.write("/score", frames.Message(plan, items))
        for stage in self._computing:
            request = await self._deliver(stage, request)
        return request

    async def _prove(self) -> None:
        plan = canary.plan(self.card)
        try:
            await self._run(plan, canary.items(self.card))
        finally:
            with contextlib.suppress(NoReplica):
                await self.discard(plan)

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Have the scorer choose."""
        message = await self._conclude("/select", plan, notes)
        assert isinstance(message.content, Selection)
        return message.content

    async def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        """Have the scorer fit the scaling of a query to its labelled items."""
        message = await self._conclude("/calibrate", plan, notes)
        assert isinstance(message.content, Calibrated)
        return message.content

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Have the scorer store a pool."""
        message = await self._conclude("/keep", plan, notes)
        assert isinstance(message.content, Stored)
        (info,) = message.content.pools
        return info

    async def _conclude(self, endpoint: str, plan: Plan, notes: Notes) -> frames.Message:
        request = self._wire.write(endpoint, frames.Message(plan, notes))
        try:
            answer = await self._hop(SCORE, request)
        except Lost as lost:
            raise _books_lost() from lost
        return self._read(answer)

    async def discard(self, plan: Plan) -> None:
        """Have the scorer forget a query; what others do for it ends with who asked them."""
        request = self._wire.write("/discard", frames.Message(plan, Items(0, ())))
        try:
            await self._hop(SCORE, request)
        except Lost as lost:  # one that has died has forgotten it, too
            raise _books_lost() from lost

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, or the one of that name."""
        message = await self._about("/pools", name, Notes())
        assert isinstance(message.content, Stored)
        return list(message.content.pools)

    async def drop(self, name: str) -> None:
        """Delete a stored pool."""
        await self._about("/drop", name, Notes())

    async def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool, from a row on; none beyond its end."""
        message = await self._about("/stored", name, Items(start, (), rows=(size,)))
        assert isinstance(message.content, Items)
        return message.content

    async def _about(
        self, endpoint: str, pool: str | None, content: Notes | Items
    ) -> frames.Message:
        """Ask the scorer something that belongs to no query."""
        plan = Plan(query="", strategy="", params={}, seed=0, budget=1, needs=(), pool=pool)
        request = self._wire.write(endpoint, frames.Message(plan, content))
        return self._read(await self._ask_scorer(request))

    async def _ask_scorer(self, request: Any) -> Any:
        try:
            return await self._deliver(SCORE, request)
        except Lost as lost:
            raise _books_lost() from lost

    async def _repeat(self, stage: str, request: Any) -> Any:
        """Send what changes nothing, also when it was delivered and its process died."""
        for _ in range(DELIVERIES):
            try:
                return await self._deliver(stage, request)
            except Lost as lost:
                last = lost
        raise NoReplica(f"{stage} died {DELIVERIES} times over the same items") from last

    async def _deliver(self, stage: str, request: Any) -> Any:
        """Send a message once, as soon as somebody is there to take it.

        Raises:
            Lost: It was delivered, and its process died.
            NoReplica: The stage was given up.
        """
        while True:
            try:
                return await self._hop(stage, request)
            except Lost as lost:
                if lost.delivered:
                    raise
                if self._status().state == "failed":
                    raise NoReplica(f"{stage} has no living process") from lost
            await asyncio.sleep(AGAIN_S)

    async def _hop(self, stage: str, request: Any) -> Any:
        answer = await self._links.send(stage, request)
        self._wire.check(answer)
        return answer

    def _read(self, answer: Any) -> frames.Message:
        message = self._wire.read(answer)
        if message.problem is not None:
            raise from_problem(message.problem)
        return message


def _books_lost() -> BooksLost:
    return BooksLost("the process that keeps the books of queries was replaced")
