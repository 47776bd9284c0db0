"""Whether the service lives, has started, and can answer: one truth for every protocol."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from alaas.core.errors import AlaasError, NoReplica, NotReady
from alaas.pipeline.engine import Engine
from alaas.server import canary
from alaas.server.status import UNSUPERVISED, Status

FRESH_S = 10.0
"""Seconds for which a micro-batch that went through every stage proves them alive."""

CANARY_S = 5.0
"""Seconds that a canary may take."""

RETRY_S = 2.0
"""Seconds after which it is worth asking a service again that has no process for a stage."""


class Readiness:
    """What the probes say.

    Args:
        engine: What runs the stages.
        status: What the supervisor knows; one that nobody supervises knows nothing.
        patience_s: Seconds for which micro-batches may hold a canary up.
        proved: Called when a canary has come through.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        status: Callable[[], Status] = lambda: UNSUPERVISED,
        patience_s: float = FRESH_S,
        proved: Callable[[], Awaitable[None]],
    ) -> None:
        self._engine = engine
        self._status = status
        self._patience_s = patience_s
        self._on_proved = proved
        self._proved = -patience_s - FRESH_S
        self._probe = asyncio.Lock()
        self.stopping = False

    def prove(self) -> None:
        """Note that a micro-batch went through every stage."""
        self._proved = monotonic()

    def check_alive(self) -> None:
        """Make sure that the supervisor goes on.

        Raises:
            NotReady: It has given up.
        """
        status = self._status()
        if status.state == "failed":
            raise NotReady(f"the service ends: {status.progress}")

    def check_started(self) -> None:
        """Make sure that the service was ready once.

        Raises:
            NotReady: It is starting; the message says how far it has come.
        """
        status = self._status()
        if status.state == "starting":
            raise NotReady(f"the service is starting: {status.progress}")

    def check_admission(self) -> None:
        """Make sure that a new query need not wait long for a stage that is away.

        For a process that died once it is waited; not where they die one after another.

        Raises:
            NotReady: The service has stopped taking queries.
            NoReplica: A stage has no living process, and its next one may not live, either.
        """
        if self.stopping:
            raise NotReady("the service is stopping")
        status, now = self._status(), monotonic()
        for name in status.down:
            stage = status.stages[name]
            if status.state == "failed" or stage.deaths > 1:
                refusal = NoReplica(f"{name} has no living process")
                refusal.retry_after_s = max(RETRY_S, (stage.retry_at or now) - now)
                raise refusal

    async def check(self) -> None:
        """Make sure that every stage answers.

        A query that was answered within the last seconds proves it; otherwise a canary,
        an item of ours, goes through all of them. Before either is asked, every stage must
        have a process that shows signs of life.

        Raises:
            NotReady: The service is starting or stopping, or a stage does not answer.
            NoReplica: A stage has no living process.
        """
        status = self._status()
        if self.stopping or status.state == "draining":
            raise NotReady("the service is stopping")
        if status.down:
            if status.state == "starting":
                raise NotReady(f"the service is starting: {status.progress}")
            raise NoReplica(f"{', '.join(status.down)}: no living process")
        async with self._probe:
            if monotonic() - self._proved < FRESH_S:
                return
            try:
                async with asyncio.timeout(CANARY_S):
                    await self._send()
                    await self._on_proved()
            except TimeoutError as error:
                # Slow micro-batches before it are no fault; that nothing gets through is.
                busy = self._engine.slots.locked()
                if not busy or monotonic() - self._proved > self._patience_s:
                    raise NotReady("a stage does not answer: timeout") from error
                return
            except AlaasError as error:
                raise NotReady(f"a stage does not answer: {error}") from error
            self.prove()

    async def _send(self) -> None:
        plan = canary.plan(self._engine.card)
        try:
            scored = await self._engine.process(plan, canary.items(self._engine.card))
        finally:
            await self._engine.discard(plan)
        if scored.failures:
            raise NotReady(scored.failures[0].message)
