"""What the service can do, whatever the protocol: HTTP, WebSocket and gRPC call this."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from alaas import __version__
from alaas.config import PushParameters, QueryParameters, Settings, parse_parameters, parse_push
from alaas.core.errors import AlaasError, Internal, StoreDisabled
from alaas.core.wire import PoolInfo, Progress, PushResponse, QueryResponse
from alaas.pipeline import push, query
from alaas.pipeline.engine import Engine
from alaas.pipeline.ledger import OnProgress, Part
from alaas.pipeline.replay import Again, Replay
from alaas.server import logs
from alaas.server.limits import Admission
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.observed import Observed
from alaas.server.readiness import Readiness
from alaas.server.status import UNSUPERVISED, Status
from alaas.server.tracing import Tracing
from alaas.strategies import registry

log = structlog.get_logger()

P = TypeVar("P", PushParameters, QueryParameters)


class Service:
    """Answers queries and says whether it can.

    Args:
        models: What runs the stages for each model.
        settings: The configuration.
        metrics: Where to count.
        tracing: Where to draw spans; by default as the configuration says.
        status: What the supervisor knows; by default nobody supervises.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        metrics: Metrics,
        tracing: Tracing | None = None,
        *,
        status: Callable[[], Status] = lambda: UNSUPERVISED,
    ) -> None:
        self.models = models
        self.engine = models.default
        self.settings = settings
        self.metrics = metrics
        self.tracing = tracing or Tracing(settings.tracing, settings.name)
        self.admission = Admission(settings.limits, metrics)
        self.readiness = Readiness(
            self.engine, status=status, patience_s=settings.supervision.hang_s, proved=self._count
        )
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def query(
        self,
        parameters: Mapping[str, Any],
        source: AsyncIterable[Part],
        *,
        request_id: str | None = None,
        on_progress: OnProgress | None = None,
        is_job: bool = False,
    ) -> QueryResponse:
        """Answer one query.

        Args:
            parameters: As the caller sent them.
            source: The pool, in parts as they arrive.
            request_id: Id of the request; by default that of the call, or a new one.
            on_progress: Called after every micro-batch.
            is_job: Whether nobody waits for it, so that `limits.query_s` does not hold.

        Raises:
            AlaasError: Nothing else; an error that is not ours is logged and becomes `Internal`.
        """
        request_id = request_id or logs.request_id()
        with self._watched(request_id), _kept(source) as pool:
            checked = self._limited(parse_parameters(parameters), is_job)
            response = await query.run(
                self._observed(await self.engine_for(checked)),
                checked,
                pool,
                defaults=self.settings.active_learning.strategy,
                request_id=uuid.uuid4().hex,  # callers may use their own ids twice
                on_progress=self._proving(on_progress),
                fetched_bytes=self.settings.limits.fetched_bytes,
            )
        response = replace(response, request_id=request_id)
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
        is_job: bool = False,
    ) -> PushResponse:
        """Store one pool under a name, for queries to choose from.

        Args:
            parameters: As the caller sent them.
            source: The pool, in parts as they arrive.
            request_id: Id of the request; by default that of the call, or a new one.
            on_progress: Called after every micro-batch.
            is_job: Whether nobody waits for it, so that `limits.query_s` does not hold.

        Raises:
            AlaasError: As `query` does.
        """
        request_id = request_id or logs.request_id()
        with self._watched(request_id), _kept(source) as pool:
            checked = self._limited(parse_push(parameters), is_job)
            await self.engine.pools()  # where nothing is stored, nothing is computed either
            response = await push.run(
                self._observed(await self.engine_for(checked)),
                checked,
                pool,
                defaults=self.settings.active_learning.strategy,
                request_id=uuid.uuid4().hex,  # callers may use their own ids twice
                on_progress=self._proving(on_progress),
                fetched_bytes=self.settings.limits.fetched_bytes,
            )
        response = replace(response, request_id=request_id)
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
        with self._watched(logs.request_id()):
            pools = sorted(await self.engine.pools(), key=lambda pool: pool.name)
        self.metrics.listed(pools)
        return pools

    async def pool(self, name: str) -> PoolInfo:
        """A stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        with self._watched(logs.request_id()):
            (pool,) = await self.engine.pools(name)
        return pool

    async def delete_pool(self, name: str) -> None:
        """Delete a stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        request_id = logs.request_id()
        with self._watched(request_id):
            await self.engine.drop(name)
        self.metrics.deleted(name)
        log.info("deleted", request_id=request_id, pool=name)

    def _limited(self, parameters: P, is_job: bool) -> P:
        """The parameters with no more time than the configuration allows."""
        longest = self.settings.limits.query_s
        if longest is None or is_job:
            return parameters
        given = parameters.timeout_s or longest
        return parameters.model_copy(update={"timeout_s": min(given, longest)})

    async def engine_for(self, parameters: PushParameters | QueryParameters) -> Engine:
        """What runs the stages with the model that is asked for.

        A query of a stored pool that names none has that of the pool: its views are there.

        Raises:
            UnknownModel: There is none of that name.
            UnknownPool: The query names a pool that is not stored.
        """
        asks = isinstance(parameters, QueryParameters) and parameters.pool is not None
        if asks and not parameters.model and len(self.models.cards) > 1:
            (info,) = await self.engine.pools(parameters.pool)
            return self.models.of_space(info.space)
        return self.models.find(parameters.model)

    def _observed(self, engine: Engine) -> Observed:
        """An engine, counted and traced; probes go without."""
        return Observed(engine, self.metrics, self.tracing)

    def _proving(self, on_progress: OnProgress | None) -> OnProgress:
        """Note that the stages are alive, and pass the news on."""

        def note(progress: Progress) -> None:
            if progress.done:
                self.readiness.prove()
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
        self.readiness.check_admission()
        with (
            self.held(),
            self.metrics.in_flight.track_inprogress(),
            logs.about(request_id),
        ):
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
        self.readiness.stopping = True
        try:
            await asyncio.wait_for(self._idle.wait(), longest_s)
        except TimeoutError:
            log.warning("queries were cut off", count=self._running, after_s=longest_s)

    def strategies(self) -> list[dict[str, Any]]:
        """Every strategy, as `GET /strategies` lists it."""
        return [registry.to_json(strategy) for strategy in registry.strategies()]

    def cards(self) -> list[dict[str, Any]]:
        """Every model that is loaded, as `GET /models` lists it."""
        return [card.to_json() for card in self.models.cards]

    def info(self) -> dict[str, Any]:
        """What runs, how it can be asked, and what it takes, as `GET /info` says it."""
        return {
            "name": self.settings.name,
            "version": __version__,
            "protocols": list(self.settings.active_learning.al_worker.protocol),
            "models": [
                {"served_as": card.served_as, "name": card.name, "digest": card.digest}
                for card in self.models.cards
            ],
            "limits": self.settings.limits.model_dump(),
        }

    async def check(self) -> None:
        """Make sure that every stage answers, as `Readiness.check` does.

        Raises:
            NotReady: The service is starting or stopping, or a stage does not answer.
            NoReplica: A stage has no living process.
        """
        await self.readiness.check()

    @property
    def stopping(self) -> bool:
        """Whether new queries are refused."""
        return self.readiness.stopping

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
