"""A whole query over any engine: cut the pool, keep a window in flight, choose, answer."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter

from alaas import __version__
from alaas.config import QueryParameters, StrategySettings
from alaas.core.errors import (
    AllItemsFailed,
    DeadlineExceeded,
    EmptyInput,
    FieldError,
    ItemFailed,
    NoReplica,
    ValidationFailed,
)
from alaas.core.types import Items, Plan, Scored, Selection
from alaas.core.wire import (
    STAGES,
    Failure,
    Item,
    Pick,
    Progress,
    QueryResponse,
    Receipt,
    StageTiming,
    Timings,
    Warn,
)
from alaas.pipeline.engine import Engine
from alaas.strategies import registry

log = logging.getLogger(__name__)

Part = Sequence[Item | Failure]
"""Some consecutive items of a pool; one that is already lost stands there as its failure."""

OnProgress = Callable[[Progress], None]

UPSTREAM = frozenset(
    {"upstream_forbidden", "upstream_not_found", "upstream_unavailable", "upstream_error",
     "fetch_timeout", "fetch_failed", "tls_invalid"}
)  # fmt: skip
"""Failures for which the servers that hold the items are to blame."""


def plan(parameters: QueryParameters, defaults: StrategySettings, query: str) -> Plan:
    """Settle what a query will run.

    Args:
        parameters: What the caller asked for.
        defaults: The strategy to run where the caller named none.
        query: Id of the query.

    Raises:
        UnknownStrategy: No strategy has that name.
        ValidationFailed: A hyper-parameter is unknown or out of range.
    """
    strategy = registry.get(parameters.strategy or defaults.type)
    # The operator's hyper-parameters belong to the operator's strategy.
    own = strategy.name == registry.get(defaults.type).name
    given = {**(defaults.params if own else {}), **parameters.params}
    return Plan(
        query=query,
        strategy=strategy.name,
        params=registry.check_params(strategy, given),
        seed=parameters.seed,
        budget=parameters.budget,
        needs=strategy.needs,
    )


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
        AllItemsFailed: No item could be ranked.
        ItemFailed: One item failed, and ``on_item_error`` is ``fail``.
        DeadlineExceeded: ``timeout_s`` passed.
    """
    settled = plan(parameters, defaults, request_id or uuid.uuid4().hex)
    ledger = _Ledger(parameters, on_progress or (lambda _: None))
    started = perf_counter()
    clock = asyncio.timeout(parameters.timeout_s)
    try:
        async with clock:
            await _process(engine, settled, source, ledger)
            selection = await _select(engine, settled, ledger)
    except BaseException as error:
        await asyncio.shield(_forget(engine, settled))
        if isinstance(error, TimeoutError) and clock.expired():
            limit = parameters.timeout_s
            raise DeadlineExceeded(f"the query did not finish within {limit:g} s") from None
        raise
    return ledger.answer(settled, selection, perf_counter() - started)


async def _select(engine: Engine, settled: Plan, ledger: _Ledger) -> Selection:
    started = perf_counter()
    selection = await engine.select(settled)
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
    engine: Engine, settled: Plan, source: AsyncIterable[Part], ledger: _Ledger
) -> None:
    """Send the pool through the engine, never more than its window at a time."""

    async def one(items: Items) -> None:
        ledger.enter(await engine.process(settled, items))

    try:
        async with asyncio.TaskGroup() as group:
            async for items in _cut(ledger.admit(source), engine.batch_size):
                await engine.slots.acquire()
                task = group.create_task(one(items))
                # Not in a `finally` of its own: a task that is cancelled early never enters it.
                task.add_done_callback(lambda _: engine.slots.release())
    except BaseExceptionGroup as many:
        # The first error is the cause; the others are its echo.
        first = many.exceptions[0]
        raise first from first.__cause__
    ledger.close()


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


@dataclass(slots=True)
class _Ledger:
    """What is known of a query while it runs: who came, who is done, who was lost."""

    parameters: QueryParameters
    on_progress: OnProgress
    rows: dict[str, int] = field(default_factory=dict)
    kept: list[Item] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)
    busy: dict[str, float] = field(default_factory=lambda: dict.fromkeys(STAGES, 0.0))
    done: int = 0
    complete: bool = False

    async def admit(self, source: AsyncIterable[Part]) -> AsyncIterator[list[Item]]:
        """Note who arrives, and pass on the items that are still whole."""
        async for part in source:
            whole = [member for member in part if self._note(member)]
            if whole:
                yield whole  # type: ignore[misc]  # _note told the items apart

    def _note(self, member: Item | Failure) -> bool:
        row = len(self.kept)
        if self.rows.setdefault(member.id, row) != row:
            pointer = f"/data/{row}/id"
            message = f"ids must be unique; {member.id!r} came before, at {self.rows[member.id]}"
            raise ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])
        if isinstance(member, Failure):
            self.kept.append(Item(member.id))
            self._lose([member])
            return False
        # Bytes are on their way to the stages; only what the answer needs stays here.
        self.kept.append(Item(member.id, uri=member.uri, text=member.text))
        return True

    def _lose(self, failures: Sequence[Failure]) -> None:
        self.failures += failures
        if failures and self.parameters.on_item_error == "fail":
            first = failures[0]
            raise ItemFailed(f"item {first.id!r} failed in {first.stage}: {first.message}")

    def enter(self, scored: Scored) -> None:
        """Note what came out of the stages for one micro-batch."""
        self.done += scored.count
        for stage, seconds in scored.busy.items():
            self.busy[stage] += seconds
        self._lose([self._addressed(failure) for failure in scored.failures])
        self._tell()

    def _addressed(self, failure: Failure) -> Failure:
        """The failure with its item's address, which later stages do not know."""
        return replace(failure, uri=failure.uri or self.kept[self.rows[failure.id]].uri)

    def close(self) -> None:
        """Check that there is something to choose from.

        Raises:
            EmptyInput: Nothing came.
            AllItemsFailed: Nothing is left.
        """
        self.complete = True
        if not self.kept:
            raise EmptyInput("the pool is empty: send at least one item")
        self.failures.sort(key=lambda failure: self.rows[failure.id])
        if not self.done:
            first = self.failures[0]
            raise AllItemsFailed(
                f"all {len(self.kept)} items failed; the first in {first.stage}: {first.message}",
                errors=[
                    FieldError(f"/data/{self.rows[f.id]}", f"{f.code}: {f.message}")
                    for f in self.failures[:10]
                ],
                upstream=all(failure.code in UPSTREAM for failure in self.failures),
            )
        self._tell()

    def _tell(self) -> None:
        received = len(self.kept)
        self.on_progress(
            Progress(self.done, len(self.failures), received, received if self.complete else None)
        )

    def answer(self, settled: Plan, selection: Selection, total_s: float) -> QueryResponse:
        """Write the answer."""
        picks = []
        for rank, (name, score) in enumerate(zip(selection.ids, selection.scores, strict=True)):
            item = self.kept[self.rows[name]]
            picks.append(Pick(name, rank, float(score), uri=item.uri, text=item.text))
        lost = dict.fromkeys(STAGES, 0)
        for failure in self.failures:
            lost[failure.stage] += 1
        timings: dict[str, StageTiming] = {}
        left = len(self.kept)
        for stage in STAGES:
            left -= lost[stage]
            timings[stage] = StageTiming(self.busy[stage], left)
        return QueryResponse(
            picks=tuple(picks),
            failures=tuple(self.failures),
            timings=Timings(total_s, timings),
            receipt=Receipt(
                strategy=selection.strategy,
                params=selection.params,
                seed=selection.seed,
                budget=settled.budget,
                model=selection.model,
                version=__version__,
                pool_size=selection.pool_size,
            ),
            warnings=tuple(self._warnings(settled, selection)),
            request_id=settled.query,
        )

    def _warnings(self, settled: Plan, selection: Selection) -> Iterable[Warn]:
        if settled.budget > selection.pool_size:
            yield Warn(
                "budget_exceeds_pool",
                f"the budget {settled.budget} exceeds the {selection.pool_size} items that "
                f"could be ranked: all of them are returned",
            )
        if self.parameters.n_drop is not None and "draws" not in settled.needs:
            yield Warn(
                "n_drop_ignored",
                f"n_drop has no effect: {settled.strategy} reads one prediction an item",
            )
        asked = self.parameters.model
        if asked and selection.model and asked != selection.model:
            yield Warn(
                "model_differs",
                f"the receipt names model {asked}, and {selection.model} ran: "
                f"the selection may differ",
            )
