"""An engine that is watched: its figures for Prometheus, and its part of a trace."""

from __future__ import annotations

from time import monotonic

from prometheus_client import Histogram

from alaas.core.types import Admitted, Calibrated, Items, Notes, Plan, Scored, Selection
from alaas.core.wire import PoolInfo
from alaas.pipeline.engine import Engine
from alaas.pipeline.slots import Slots
from alaas.server.metrics import Metrics
from alaas.server.tracing import Tracing


class Observed:
    """Does what another engine does, and counts what the stages spent, as it happens.

    Args:
        engine: What runs the stages.
        metrics: Where to count.
        tracing: Where to draw spans.
    """

    def __init__(self, engine: Engine, metrics: Metrics, tracing: Tracing) -> None:
        self._engine = engine
        self._metrics = metrics
        self._tracing = tracing
        self.card = engine.card
        self.batch_size = engine.batch_size
        self.slots = engine.slots
        self.claims = engine.claims

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        """Enter items in the books of a query, and take in what is stored of them."""
        started = monotonic()
        with self._tracing.span("admit", {"alaas.items": len(items.items)}) as span:
            admitted = await self._engine.admit(plan, items)
            span.set_attribute("alaas.missing", len(admitted.missing))
        self._metrics.admitted(admitted, seconds=monotonic() - started)
        return admitted

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through *fetch*, *preprocess*, *infer* and *score*."""
        about = {"alaas.items": len(items.items), "alaas.part": plan.part}
        with self._tracing.span("micro-batch", about) as span:
            scored = await self._engine.process(plan, items)
            span.set_attribute("alaas.failed", len(scored.failures))
            self._tracing.stages(scored.spent)
        self._metrics.spent(scored.spent)
        return scored

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Choose, once, from all micro-batches of the query, or from the pool it names."""
        started = monotonic()
        with self._tracing.span("select", {"alaas.strategy": plan.strategy}):
            selection = await self._engine.select(plan, notes)
        self._metrics.chosen(seconds=monotonic() - started)
        return selection

    async def calibrate(self, plan: Plan, notes: Notes) -> Calibrated:
        """Fit the scaling of a query to its labelled items, for all that is scored then."""
        with self._tracing.span("calibrate", {"alaas.calibrate": plan.calibrate}):
            return await self._engine.calibrate(plan, notes)

    async def discard(self, plan: Plan) -> None:
        """Forget a query that will not be finished."""
        await self._engine.discard(plan)

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Store all micro-batches of a push as the pool that the plan names."""
        with self._tracing.span("keep"):
            return await self._engine.keep(plan, notes)

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, or the one of that name."""
        return await self._engine.pools(name)

    async def drop(self, name: str) -> None:
        """Delete a stored pool."""
        await self._engine.drop(name)

    async def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool, from a row on; none beyond its end."""
        return await self._engine.stored(name, start, size)


class TimedSlots(Slots):
    """Slots that say how long micro-batches waited for one.

    Args:
        size: As for `Slots`.
        spare: As for `Slots`.
        waits: Takes the seconds.
    """

    def __init__(self, size: int, *, spare: int = 0, waits: Histogram) -> None:
        super().__init__(size, spare=spare)
        self._waits = waits

    async def acquire(self, query: str) -> None:
        """Wait for a place."""
        started = monotonic()
        await super().acquire(query)
        self._waits.observe(monotonic() - started)
