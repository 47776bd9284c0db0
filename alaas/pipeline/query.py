"""A whole query over any engine: cut the pool, keep a window in flight, choose, answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import replace
from time import perf_counter

from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import (
    DeadlineExceeded,
    FieldError,
    ValidationFailed,
    ViewUnavailable,
)
from alaas.core.types import Notes, Plan, Selection, Spent
from alaas.core.wire import QueryResponse
from alaas.pipeline import labels, push
from alaas.pipeline.answer import answer
from alaas.pipeline.claims import stored_names
from alaas.pipeline.engine import Engine
from alaas.pipeline.feed import Feed, Member, forget
from alaas.pipeline.labels import Known
from alaas.pipeline.ledger import Ledger, OnProgress, Part
from alaas.pipeline.planning import Preflight, plan
from alaas.pipeline.replay import persevere
from alaas.strategies import registry
from alaas.strategies.declaration import MODEL

__all__ = ["OnProgress", "Part", "plan", "run"]


async def run(
    engine: Engine,
    parameters: QueryParameters,
    source: AsyncIterable[Part],
    *,
    defaults: StrategySettings,
    request_id: str | None = None,
    on_progress: OnProgress | None = None,
    fetched_bytes: int | None = None,
) -> QueryResponse:
    """Choose from a pool.

    Args:
        engine: What runs the stages.
        parameters: Budget, strategy and the rest.
        source: The pool, in parts of any size, as they arrive. One that can be read again,
            `alaas.pipeline.replay`, survives the loss of its books.
        defaults: The strategy to run where the caller named none.
        request_id: Id of the query; a new one where it has none.
        on_progress: Called after every micro-batch, on the event loop.
        fetched_bytes: Bytes that the items may have in all; None for any number.

    Raises:
        EmptyInput: The pool has no items.
        ValidationFailed: Two items have the same id, or a parameter is wrong.
        ViewUnavailable: The model cannot compute what the strategy reads.
        PoolTooLarge: The strategy would take more memory or time than there is.
        BudgetUnfillable: Quotas leave too few items.
        AllItemsFailed: No item could be ranked.
        ItemFailed: One item failed, and ``on_item_error`` is ``fail``.
        DeadlineExceeded: ``timeout_s`` passed.
        UnknownPool: The query names a pool that is not stored.
        TooManyItems: The items have more bytes than `fetched_bytes`.
    """
    settled = plan(parameters, defaults, request_id or uuid.uuid4().hex, engine.card)
    known = labels.read(
        parameters, registry.get(settled.strategy), settled.params, engine.card,
        calibrate=settled.calibrate,
    )  # fmt: skip
    watch = Preflight(settled, engine.card, len(known.items), parameters.timeout_s)
    started = perf_counter()

    async def attempt(number: int) -> tuple[Selection, Ledger]:
        # Under another name, so that nothing which is still under way is taken for new.
        named = replace(settled, query=f"{settled.query}-{number}") if number else settled
        told = on_progress or (lambda _: None)
        ledger = Ledger(parameters.on_item_error, told, watch, fetched_bytes)
        try:
            await _learn(engine, named, known, ledger)
            await _receive(engine, named, ledger, source)
            ledger.close()
            return await _select(engine, named, known, ledger, watch), ledger
        except BaseException:
            await asyncio.shield(forget(engine, named))
            raise

    clock = asyncio.timeout(parameters.timeout_s)
    try:
        async with clock:
            selection, ledger = await persevere(source, attempt)
    except TimeoutError:
        if not clock.expired():
            raise
        limit = parameters.timeout_s
        raise DeadlineExceeded(f"the query did not finish within {limit:g} s") from None
    total_s = perf_counter() - started
    return answer(parameters, settled, selection, known=known, ledger=ledger, total_s=total_s)


async def _learn(engine: Engine, settled: Plan, known: Known, ledger: Ledger) -> None:
    """Send what is labelled through the stages, for the views that the strategy reads of it."""
    ledger.lose_labelled(known.failures)
    if not known.needs or not known.items:
        return
    if lacking := [name for name in known.needs if name not in engine.card.views]:
        message = f"{settled.strategy} reads {lacking[0]} of labelled items; the model has none"
        raise ViewUnavailable(message, errors=[FieldError("/parameters/strategy", message)])

    async def whole() -> AsyncIterator[list[Member]]:
        yield [Member(row, item) for row, item in enumerate(known.items)]

    feed = Feed(
        engine,
        replace(settled, part="labelled", needs=known.needs),
        admitted=lambda admitted, _: ledger.spend(admitted.spent),
        scored=lambda scored, _: ledger.enter_labelled(scored),
    )
    await feed.run(whole())
    if settled.calibrate:
        started = perf_counter()
        notes = Notes(known.labels, learnt=_learnt(known, ledger))
        ledger.calibrated = await engine.calibrate(settled, notes)
        ledger.spend({"score": Spent(perf_counter() - started)})


def _learnt(known: Known, ledger: Ledger) -> int:
    """Labelled items that are not lost."""
    return len(known.items) + len(known.failures) - len(ledger.unlearnt)


async def _receive(
    engine: Engine, settled: Plan, ledger: Ledger, source: AsyncIterable[Part]
) -> None:
    """Have the views of the whole pool in the scorer, or know that they are stored with it."""
    feed = Feed(engine, settled, admitted=ledger.enter_known, scored=ledger.enter)
    if settled.pool is None:
        await feed.run(ledger.admit(source))
        return
    async for part in source:
        if part:
            message = "must be empty where parameters.pool names a stored pool"
            raise ValidationFailed(f"/data: {message}", errors=[FieldError("/data", message)])
    (info,) = await engine.pools(settled.pool)
    wanted = [name for name in settled.needs if name not in MODEL]
    if info.space == engine.card.space and info.views.keys() >= {*stored_names(settled, wanted)}:
        ledger.take_stored(info)
    else:
        await feed.run(ledger.admit_stored(push.stored(engine, settled.pool)))


async def _select(
    engine: Engine, settled: Plan, known: Known, ledger: Ledger, watch: Preflight
) -> Selection:
    started = perf_counter()
    notes = Notes(
        known.labels,
        watch.left(),
        items=ledger.done,
        learnt=_learnt(known, ledger) if known.needs else None,
    )
    selection = await engine.select(settled, notes)
    ledger.spend({"score": Spent(perf_counter() - started)})
    return selection
