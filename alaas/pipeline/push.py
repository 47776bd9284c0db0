"""Putting a pool in store: the stages over all its items, and no choice at the end."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from dataclasses import replace
from time import perf_counter

from alaas.config import PushParameters, StrategySettings
from alaas.core.errors import DeadlineExceeded, ViewUnavailable
from alaas.core.types import Items, Notes, Plan
from alaas.core.wire import PoolInfo, PushResponse, Warn
from alaas.models.card import ModelCard
from alaas.pipeline import deadline
from alaas.pipeline.answer import cut, too_few
from alaas.pipeline.claims import ONE_PASS
from alaas.pipeline.engine import Engine
from alaas.pipeline.feed import ADMITTED, Feed, forget
from alaas.pipeline.ledger import Ledger, OnProgress, Part
from alaas.pipeline.measures import MEASURED, views_of
from alaas.pipeline.planning import check_views, passes
from alaas.pipeline.replay import persevere
from alaas.strategies import registry
from alaas.strategies.declaration import MODEL


async def run(
    engine: Engine,
    parameters: PushParameters,
    source: AsyncIterable[Part],
    *,
    defaults: StrategySettings,
    request_id: str | None = None,
    on_progress: OnProgress | None = None,
    fetched_bytes: int | None = None,
) -> PushResponse:
    """Store a pool under a name, with the views that strategies read most.

    Args:
        engine: What runs the stages.
        parameters: The name and the rest.
        source: The pool, in parts of any size, as they arrive.
        defaults: The configured strategy, which will choose from the pool where a query
            names no other.
        request_id: Id of the push; a new one where it has none.
        on_progress: Called after every micro-batch, on the event loop.
        fetched_bytes: Bytes that the items may have in all; None for any number.

    Raises:
        EmptyInput: The pool has no items.
        ValidationFailed: Two items have the same id, or a parameter is wrong.
        ViewUnavailable: The model cannot compute what the strategy reads.
        AllItemsFailed: No item could be predicted.
        ItemFailed: One item failed, and ``on_item_error`` is ``fail``.
        DeadlineExceeded: ``timeout_s`` passed.
        StoreDisabled: The service stores nothing.
        TooManyItems: The items have more bytes than `fetched_bytes`.
    """
    settled = plan(parameters, defaults, request_id or uuid.uuid4().hex, engine.card)
    started = perf_counter()

    async def attempt(number: int) -> tuple[PoolInfo, Ledger]:
        # Under another name, so that nothing which is still under way is taken for new.
        named = replace(settled, query=f"{settled.query}-{number}") if number else settled
        told = on_progress or (lambda _: None)
        ledger = Ledger(parameters.on_item_error, told, fetched_bytes=fetched_bytes)
        try:
            feed = Feed(engine, named, admitted=ledger.enter_known, scored=ledger.enter)
            await feed.run(ledger.admit(source))
            ledger.close()
            notes = Notes(ttl_s=parameters.ttl_s, items=ledger.done)
            return await engine.keep(named, notes), ledger
        except BaseException:
            await asyncio.shield(forget(engine, named))
            raise

    clock = asyncio.timeout(parameters.timeout_s)
    try:
        async with clock:
            info, ledger = await persevere(source, attempt)
    except TimeoutError:
        if not clock.expired():
            raise
        limit = parameters.timeout_s
        raise DeadlineExceeded(f"the push did not finish within {limit:g} s") from None
    return PushResponse(
        pool=info,
        failures=tuple(one for _, one in ledger.lost),
        timings=ledger.timings(perf_counter() - started),
        warnings=(*_warnings(parameters, settled, defaults, engine.card), *cut(ledger)),
        request_id=settled.query,
    )


def _warnings(
    parameters: PushParameters, settled: Plan, defaults: StrategySettings, card: ModelCard
) -> Iterator[Warn]:
    if settled.draws:
        yield from too_few(registry.get(parameters.strategy or defaults.type), settled)
    elif parameters.n_drop is not None:
        message = f"n_drop has no effect: {card.name} makes one prediction of an item"
        yield Warn("n_drop_ignored", message)


def plan(
    parameters: PushParameters, defaults: StrategySettings, query: str, card: ModelCard
) -> Plan:
    """Settle which views a push computes.

    Those of one pass, which serve most strategies, and beside them what the named strategy
    reads, or the configured one.

    Raises:
        UnknownStrategy: No strategy has that name.
        ViewUnavailable: The model cannot compute what the strategy reads.
    """
    strategy = registry.get(parameters.strategy or defaults.type)
    needs = dict.fromkeys((*sorted(ONE_PASS, reverse=True), *MODEL))
    needs = {name: None for name in needs if name in card.views}
    params = registry.check_params(strategy, None)
    try:
        reads = views_of(strategy, params, card)
    except ViewUnavailable:
        if parameters.strategy:
            raise
        reads = ()  # nobody has asked for the configured one yet
    if parameters.strategy:
        check_views(strategy, reads, card)
    needs |= {name: None for name in reads if name in card.views}
    if parameters.n_drop is not None and "draws" in card.views:
        needs["draws"] = None
    measured = not needs.keys().isdisjoint(MEASURED.values())
    return Plan(
        query=query,
        strategy="",
        params=params if measured else {},
        seed=parameters.seed,
        budget=1,
        needs=tuple(needs),
        n_drop=passes(parameters.n_drop, needs, card),
        cache=parameters.cache,
        pool=parameters.pool,
        measure=strategy.name if measured else "",
        reduction=card.reduction,
        model=card.served_as,
        digest=card.digest,
        space=card.space,
        deadline=deadline.after(parameters.timeout_s),
    )


async def stored(engine: Engine, name: str) -> AsyncIterator[Items]:
    """The items of a stored pool, for a query that reads what is not stored with it."""
    start = 0
    while (part := await engine.stored(name, start, ADMITTED)).items:
        yield part
        start += len(part.items)
