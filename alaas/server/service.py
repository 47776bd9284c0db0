"""What the service can do, whatever the protocol: HTTP, WebSocket and gRPC call this."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog

from alaas.config import PushParameters, QueryParameters, Settings, parse_parameters, parse_push
from alaas.core.errors import AlaasError, Internal, NotReady, StoreDisabled
from alaas.core.types import Items, Plan
from alaas.core.wire import Item, PoolInfo, Progress, PushResponse, QueryResponse
from alaas.models.card import ModelCard
from alaas.pipeline import push, query
from alaas.pipeline.engine import Engine
from alaas.pipeline.ledger import OnProgress, Part
from alaas.pipeline.replay import Again, Replay
from alaas.server.metrics import Metrics
from alaas.strategies import registry

FRESH_S = 10.0
"""Seconds for which a micro-batch that went through every stage proves them alive."""

CANARY_S = 5.0
"""Seconds that a canary may take."""

log = structlog.get_logger()

P = TypeVar("P", PushParameters, QueryParameters)


class Service:
    """Answers queries and says whether it can.

    Args:
        engine: What runs the stages.
        settings: The configuration.
        card: The model.
        metrics: Where to count.
    """

    def __init__(
        self, engine: Engine, settings: Settings, card: ModelCard, metrics: Metrics
    ) -> None:
        self.engine = engine
        self.settings = settings
        self.card = card
        self.metrics = metrics
        self.stopping = False
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._proved = -FRESH_S
        self._probe = asyncio.Lock()

    async def query(
        self,
        parameters: Mapping[str, Any],
        source: AsyncIterable[Part],
        *,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> QueryResponse:
        """Answer one query.

        Args:
            parameters: As the caller sent them.
            source: The pool, in parts as they arrive.
            request_id: Id of the query; a new one where it has none.
            on_progress: Called after every micro-batch.

        Raises:
            AlaasError: Nothing else; an error that is not ours is logged and becomes `Internal`.
        """
        request_id = request_id or uuid.uuid4().hex
        with self._watched(request_id), _kept(source) as pool:
            response = await query.run(
                self.engine,
                self._limited(parse_parameters(parameters)),
                pool,
                defaults=self.settings.active_learning.strategy,
                request_id=request_id,
                on_progress=self._proving(on_progress),
            )
        self.metrics.answered(response)
        log.info(
            "answered",
            request_id=request_id,
            strategy=response.receipt.strategy,
            pool=response.receipt.pool_size,
            picked=len(response.picks),
            failed=len(response.failures),
            seconds=round(response.timings.total_s, 3),
        )
        return response

    async def push(
        self,
        parameters: Mapping[str, Any],
        source: AsyncIterable[Part],
        *,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResponse:
        """Store one pool under a name, for queries to choose from.

        Args:
            parameters: As the caller sent them.
            source: The pool, in parts as they arrive.
            request_id: Id of the push; a new one where it has none.
            on_progress: Called after every micro-batch.

        Raises:
            AlaasError: As `query` does.
        """
        request_id = request_id or uuid.uuid4().hex
        with self._watched(request_id), _kept(source) as pool:
            checked = self._limited(parse_push(parameters))
            await self.engine.pools()  # where nothing is stored, nothing is computed either
            response = await push.run(
                self.engine,
                checked,
                pool,
                defaults=self.settings.active_learning.strategy,
                request_id=request_id,
                on_progress=self._proving(on_progress),
            )
        self.metrics.pushed(response)
        log.info(
            "stored",
            request_id=request_id,
            pool=response.pool.name,
            items=response.pool.items,
            failed=len(response.failures),
            seconds=round(response.timings.total_s, 3),
        )
        return response

    async def pools(self) -> list[PoolInfo]:
        """The stored pools, by name.

        Raises:
            StoreDisabled: The service stores nothing.
        """
        with self._watched(uuid.uuid4().hex):
            pools = sorted(await self.engine.pools(), key=lambda pool: pool.name)
        self.metrics.listed(pools)
        return pools

    async def pool(self, name: str) -> PoolInfo:
        """A stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        with self._watched(uuid.uuid4().hex):
            (pool,) = await self.engine.pools(name)
        return pool

    async def delete_pool(self, name: str) -> None:
        """Delete a stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        request_id = uuid.uuid4().hex
        with self._watched(request_id):
            await self.engine.drop(name)
        self.metrics.deleted(name)
        log.info("deleted", request_id=request_id, pool=name)

    def _limited(self, parameters: P) -> P:
        """The parameters with no more time than the configuration allows."""
        longest = self.settings.limits.query_s
        if longest is None:
            return parameters
        given = parameters.timeout_s or longest
        return parameters.model_copy(update={"timeout_s": min(given, longest)})

    def _proving(self, on_progress: OnProgress | None) -> OnProgress:
        """Note that the stages are alive, and pass the news on."""

        def note(progress: Progress) -> None:
            if progress.done:
                self._proved = time.monotonic()
            if on_progress is not None:
                on_progress(progress)

        return note

    @contextmanager
    def held(self) -> Iterator[None]:
        """Make `drain` wait: a query is in flight until its answer has been sent."""
        self._running += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._running -= 1
            if not self._running:
                self._idle.set()

    @contextmanager
    def _watched(self, request_id: str) -> Iterator[None]:
        if self.stopping:
            raise NotReady("the service is stopping")
        with self.held(), self.metrics.in_flight.track_inprogress():
            try:
                yield
            except AlaasError as error:
                log.info("refused", request_id=request_id, code=error.code, detail=error.detail)
                raise
            except (asyncio.CancelledError, ConnectionError):  # the caller has gone
                log.info("cancelled", request_id=request_id)
                raise
            except Exception as error:
                log.exception("failed", request_id=request_id)
                raise Internal(
                    f"an error of the service; its log has the cause under {request_id}"
                ) from error

    async def drain(self, longest_s: float) -> None:
        """Refuse new queries, and wait until those in flight are answered.

        Args:
            longest_s: Seconds after which to wait no longer.
        """
        self.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), longest_s)
        except TimeoutError:
            log.warning("queries were cut off", count=self._running, after_s=longest_s)

    def strategies(self) -> list[dict[str, Any]]:
        """Every strategy, as `GET /strategies` lists it."""
        return [registry.to_json(strategy) for strategy in registry.strategies()]

    def models(self) -> list[dict[str, Any]]:
        """Every model that is loaded, as `GET /models` lists it."""
        return [self.card.to_json()]

    async def check(self) -> None:
        """Make sure that every stage answers.

        A query that was answered within the last seconds proves it; otherwise a canary,
        one drawn picture, goes through all of them.

        Raises:
            NotReady: The service is stopping, or a stage does not answer.
        """
        if self.stopping:
            raise NotReady("the service is stopping")
        async with self._probe:
            if time.monotonic() - self._proved < FRESH_S:
                return
            try:
                async with asyncio.timeout(CANARY_S):
                    await self._canary()
                    await self._count()
            except (AlaasError, TimeoutError) as error:
                raise NotReady(f"a stage does not answer: {str(error) or 'timeout'}") from error
            self._proved = time.monotonic()

    async def _canary(self) -> None:
        name = f"canary-{uuid.uuid4().hex}"
        plan = Plan(name, "least_confidence", {}, 0, 1, ("probs",), cache=False)
        try:
            scored = await self.engine.process(plan, Items(0, (Item("canary", blob=CANARY),)))
        finally:
            await self.engine.discard(plan)
        if scored.failures:
            raise NotReady(scored.failures[0].message)

    async def _count(self) -> None:
        """Learn of the pools that were there before this process was."""
        try:
            self.metrics.listed(await self.engine.pools())
        except StoreDisabled:
            self.metrics.listed(())


@contextmanager
def _kept(source: AsyncIterable[Part]) -> Iterator[Replay | Again]:
    """The pool so that it can be read again, should the process that keeps its books die."""
    pool = source if isinstance(source, Replay | Again) else Replay(source)
    try:
        yield pool
    finally:
        pool.close()


def _drawn() -> bytes:
    from io import BytesIO

    from PIL import Image

    stream = BytesIO()
    Image.linear_gradient("L").resize((16, 16)).save(stream, "PNG")
    return stream.getvalue()


CANARY: bytes = _drawn()
"""A picture that is within any limits: 16 x 16, grey, a gradient."""
