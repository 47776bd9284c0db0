"""A whole query over any engine: cut the pool, keep a window in flight, choose, answer."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable
from dataclasses import replace
from time import perf_counter

from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import DeadlineExceeded, FieldError, NoReplica, ViewUnavailable
from alaas.core.types import Items, Notes, Plan, Scored, Selection
from alaas.core.wire import Item, QueryResponse
from alaas.pipeline import labels
from alaas.pipeline.engine import Engine
from alaas.pipeline.labels import Known
from alaas.pipeline.ledger import Ledger, OnProgress, Part
from alaas.pipeline.planning import Preflight, plan
from alaas.strategies import registry

__all__ = ["OnProgress", "Part", "plan", "run"]

log = logging.getLogger(__name__)


async def run(
    engine: Engine,
    parameters: QueryParameters,
    source: AsyncIterable[Part],
    *,
    defaults: StrategySettings,
    request_id: str | None = None,
    on_progress: OnProgress | None = None,
) -> QueryResponse:
    """Choose from a pool.

    Args:
        engine: What runs the stages.
        parameters: Budget, strategy and the rest.
        source: The pool, in parts of any size, as they arrive.
        defaults: The strategy to run where the caller named none.
        request_id: Id of the query; a new one where it has none.
        on_progress: Called after every micro-batch, on the event loop.

    Raises:
        EmptyInput: The pool has no items.
        ValidationFailed: Two items have the same id, or a parameter is wrong.
        ViewUnavailable: The model cannot compute what the strategy reads.
        PoolTooLarge: The strategy would take more memory or time than there is.
        BudgetUnfillable: Quotas leave too few items.
        AllItemsFailed: No item could be ranked.
        ItemFailed: One item failed, and ``on_item_error`` is ``fail``.
        DeadlineExceeded: ``timeout_s`` passed.
    """
    settled = plan(parameters, defaults, request_id or uuid.uuid4().hex, engine.card)
    known = labels.read(parameters, registry.get(settled.strategy), settled.params, engine.card)
    watch = Preflight(settled, engine.card, len(known.items), parameters.timeout_s)
    ledger = Ledger(parameters, on_progress or (lambda _: None), watch)
    started = perf_counter()
    clock = asyncio.timeout(parameters.timeout_s)
    try:
        async with clock:
            await _learn(engine, settled, known, ledger)
            await _process(engine, settled, ledger.admit(source), ledger.enter)
            ledger.close()
            selection = await _select(engine, settled, known, ledger, watch)
    except BaseException as error:
        await asyncio.shield(_forget(engine, settled))
        if isinstance(error, TimeoutError) and clock.expired():
            limit = parameters.timeout_s
            raise DeadlineExceeded(f"the query did not finish within {limit:g} s") from None
        raise
    return ledger.answer(settled, selection, known, perf_counter() - started)


async def _learn(engine: Engine, settled: Plan, known: Known, ledger: Ledger) -> None:
    """Send what is labelled through the stages, for the views that the strategy reads of it."""
    ledger.lose_labelled(known.failures)
    if not known.needs or not known.items:
        return
    if lacking := [name for name in known.needs if name not in engine.card.views]:
        message = f"{settled.strategy} reads {lacking[0]} of labelled items; the model has none"
        raise ViewUnavailable(message, errors=[FieldError("/parameters/strategy", message)])

    async def whole() -> AsyncIterator[list[Item]]:
        yield list(known.items)

    marked = replace(settled, part="labelled", needs=known.needs)
    await _process(engine, marked, whole(), ledger.enter_labelled)


async def _select(
    engine: Engine, settled: Plan, known: Known, ledger: Ledger, watch: Preflight
) -> Selection:
    started = perf_counter()
    notes = Notes(known.labels, ledger.groups(), watch.left())
    selection = await engine.select(settled, notes)
    ledger.busy["score"] += perf_counter() - started
    if selection.pool_size != ledger.done:
        raise NoReplica(
            f"the scorer lost {ledger.done - selection.pool_size} of {ledger.done} items: "
            f"it was restarted while the query ran"
        )
    return selection


async def _forget(engine: Engine, settled: Plan) -> None:
    try:
        await engine.discard(settled)
    except Exception:
        # The error that ended the query is the one to tell; this one is its echo.
        log.debug("a query could not be discarded", exc_info=True)


async def _process(
    engine: Engine,
    settled: Plan,
    parts: AsyncIterable[list[Item]],
    enter: Callable[[Scored], None],
) -> None:
    """Send items through the engine, never more than its window at a time."""

    async def one(items: Items) -> None:
        enter(await engine.process(settled, items))

    try:
        async with asyncio.TaskGroup() as group:
            async for items in _cut(parts, engine.batch_size):
                await engine.slots.acquire()
                task = group.create_task(one(items))
                # Not in a `finally` of its own: a task that is cancelled early never enters it.
                task.add_done_callback(lambda _: engine.slots.release())
    except BaseExceptionGroup as many:
        # The first error is the cause; the others are its echo.
        first = many.exceptions[0]
        raise first from first.__cause__


async def _cut(parts: AsyncIterable[list[Item]], size: int) -> AsyncIterator[Items]:
    """Cut a pool into micro-batches of `size`, whatever the parts it arrives in."""
    waiting: list[Item] = []
    seq = 0
    async for part in parts:
        waiting += part
        while len(waiting) >= size:
            yield Items(seq, tuple(waiting[:size]))
            del waiting[:size]
            seq += 1
    if waiting:
        yield Items(seq, tuple(waiting))
