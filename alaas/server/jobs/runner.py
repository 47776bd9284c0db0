"""Running jobs: in order of arrival, a few at once, again after every interruption."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any, TypeVar

import structlog

from alaas.config import parse_parameters
from alaas.core.errors import AlaasError, Internal, NotReady, StorageBusy, Unavailable
from alaas.core.wire import Item, Progress, QueryResponse
from alaas.server.jobs.idempotency import Replies
from alaas.server.jobs.model import STATES, Job
from alaas.server.jobs.pool import StoredPool
from alaas.server.jobs.store import LEASE_S, JobStore
from alaas.server.service import Service

BEAT_S = 1.0
"""Seconds between two renewals of the leases."""

SWEEP_S = 30.0
"""Seconds between two looks at what is kept no longer."""

LOOK_S = 2.0
"""Seconds between two looks for jobs that another server took in or left."""

STALLED = 20
"""Attempts in a row that got no further than those before, after which a job is given up.

It may be what kills the service each time.
"""

log = structlog.get_logger()

T = TypeVar("T")


class Running:
    """A job that runs here.

    Attributes:
        job: The job, as it was when it was begun.
        progress: How far it has come.
        news: Set, and replaced by a new one, when that has changed.
        task: What runs it.
        stopped: It was told to stop; the database says how it stands.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.progress = Progress(0, 0, 0)
        self.news = asyncio.Event()
        self.task: asyncio.Task[None] | None = None
        self.stopped = False

    def note(self, progress: Progress) -> None:
        """Take in how far it has come."""
        self.progress = progress
        self.tell()

    def tell(self) -> None:
        """Wake whoever waits for news."""
        told, self.news = self.news, asyncio.Event()
        told.set()

    def stop(self) -> None:
        """Have it stop, within a micro-batch."""
        self.stopped = True
        if self.task is not None:
            self.task.cancel()

    def shown(self) -> Job:
        """The job with what is known here and not in the database yet."""
        stages = {name: timing.to_json() for name, timing in self.progress.stages.items()}
        return replace(
            self.job,
            done=self.progress.done,
            failed=self.progress.failed,
            items=self.job.items or self.progress.total or 0,
            stages=stages,
        )


class Runner:
    """Runs the jobs of a store through a service.

    Args:
        service: What answers queries and pushes.
        store: The jobs.
        replies: The answers to requests with a key, whose leases are renewed here too.
    """

    def __init__(self, service: Service, store: JobStore, replies: Replies) -> None:
        self._service = service
        self._store = store
        self._replies = replies
        self._settings = service.settings.jobs
        self._running: dict[str, Running] = {}
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._renewed = time.monotonic()
        self._counted: dict[str, int] | None = None
        self.closing = asyncio.Event()

    async def start(self) -> None:
        """Begin with the jobs that were left, as soon as the service is ready.

        Must be awaited before the first request comes: what this server held is let go of.
        """
        await self._patiently(self._store.recover)
        loops = (self._hire, self._tend)
        self._tasks = [asyncio.create_task(self._keep_up(loop)) for loop in loops]

    async def close(self) -> None:
        """Stop all jobs, so that they can go on elsewhere or later."""
        self.closing.set()
        self.wake()
        for running in list(self._running.values()):
            running.stop()
        jobs = [running.task for running in self._running.values() if running.task]
        await asyncio.gather(*jobs, return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def wake(self) -> None:
        """Look for jobs now, and not in two seconds."""
        self._counted = None
        self._wake.set()

    def find(self, name: str) -> Running | None:
        """The job of that id, if it runs here and is to go on."""
        running = self._running.get(name)
        return None if running is None or running.stopped else running

    async def _keep_up(self, loop: Callable[[], Awaitable[None]]) -> None:
        """Have a loop go on whatever happens in it: nobody else would notice its end."""
        while not self.closing.is_set():
            try:
                await loop()
            except Exception:
                log.exception("the jobs were interrupted")
                await self._pause(BEAT_S)

    async def _hire(self) -> None:
        """Begin jobs as long as there is room for them."""
        await self._ready()
        while not self.closing.is_set():
            self._wake.clear()
            if len(self._running) < self._settings.at_once and await self._begin_one():
                continue
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), LOOK_S)

    async def _begin_one(self) -> bool:
        try:
            job = await self._store.claim()
        except StorageBusy:
            return False
        if job is None:
            return False
        running = self._running[job.id] = Running(job)
        running.task = asyncio.create_task(self._run(running))
        # Not in a `finally` of its own: a task that is cancelled early never enters it.
        running.task.add_done_callback(lambda _: self._left(running))
        self._counted = None
        return True

    def _left(self, running: Running) -> None:
        del self._running[running.job.id]
        running.tell()
        self.wake()

    async def _ready(self) -> None:
        """Wait until every stage answers."""
        while not self.closing.is_set():
            try:
                await self._service.check()
            except AlaasError:
                await self._pause(0.5)
            else:
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.closing.wait(), seconds)

    async def _run(self, running: Running) -> None:
        """Run a job to its end or to its interruption; nothing is raised."""
        job = running.job
        log.info("job begins", job=job.id, kind=job.kind, items=job.items, attempt=job.attempt)
        try:
            if job.stalled > STALLED:
                raise Internal(f"the job was interrupted {STALLED} times and got no further")
            document = await self._work(running)
            await self._patiently(
                lambda: self._store.finish(
                    job, "succeeded", running.progress, result=json.dumps(document).encode()
                )
            )
            self._ended(job, "succeeded")
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(job, in_order=True))
        except Unavailable as error:
            log.warning("job interrupted", job=job.id, code=error.code, detail=error.detail)
            await self._give_back(job, in_order=isinstance(error, NotReady))
            await self._pause(BEAT_S)
            await self._ready()
        except AlaasError as error:
            problem = error.problem()
            await self._patiently(
                lambda: self._store.finish(job, "failed", running.progress, problem=problem)
            )
            self._ended(job, "failed")
        except Exception:
            log.exception("job interrupted", job=job.id)
            await self._give_back(job, in_order=False)
            await self._pause(BEAT_S)

    async def _work(self, running: Running) -> dict[str, Any]:
        """The answer to a job, as the HTTP API gives it."""
        job = running.job
        pool = StoredPool(self._store.database, job.number)
        asked: dict[str, Any] = {
            "request_id": job.id, "on_progress": running.note, "is_job": True,
        }  # fmt: skip
        with self._service.tracing.span(f"job {job.kind}"):
            if job.kind == "push":
                return (await self._service.push(job.parameters, pool, **asked)).to_json()
            parameters = job.parameters
            served = await self._service.engine_for(parse_parameters(parameters))
            if served.card.digest != job.model:
                # A restart has brought another model: the answer says so.
                parameters = {"model": job.model, **parameters}
            response = await self._service.query(parameters, pool, **asked)
        document = response.to_json(job.parameters)
        if job.whole:
            await _give_blobs(document, response, pool)
        return document

    def _ended(self, job: Job, state: str) -> None:
        seconds = time.time() - (job.started or job.created)
        self._service.metrics.job_seconds.observe(max(0.0, seconds))
        log.info("job ended", job=job.id, state=state)

    async def _give_back(self, job: Job, *, in_order: bool) -> None:
        """Let the job be run again. Where even that fails, its lease ends by itself."""
        with suppress(StorageBusy):
            await self._store.release(job, in_order=in_order)

    async def _patiently(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Do something until the database lets it; None if the service ends before."""
        while True:
            try:
                return await work()
            except StorageBusy:
                if self.closing.is_set():
                    return None
                await self._pause(BEAT_S)

    async def _tend(self) -> None:
        """Renew leases, stop what is ours no longer, sweep and count."""
        swept = -SWEEP_S
        while not self.closing.is_set():
            with suppress(StorageBusy):
                await self._beat()
                if time.monotonic() - swept >= SWEEP_S:
                    swept = time.monotonic()
                    await self._sweep()
                await self._count()
            if time.monotonic() - self._renewed > LEASE_S:
                # Somebody else may have them by now.
                for running in self._running.values():
                    running.stop()
            await asyncio.sleep(BEAT_S)

    async def _beat(self) -> None:
        asked = time.monotonic()
        here = [(running.job, running.progress) for running in self._running.values()]
        lost = await self._store.beat(here) if here or self._replies.open else []
        self._renewed = asked
        for job in lost:
            if (running := self._running.get(job.id)) and running.job.attempt == job.attempt:
                running.stop()

    async def _sweep(self) -> None:
        held = await self._store.sweep(
            keep_s=self._settings.keep_s, replies_s=self._settings.idempotency_s
        )
        self._replies.full = held >= self._settings.max_bytes
        self._counted = None

    async def _count(self) -> None:
        if self._counted is None:
            self._counted = await self._store.counts()
            for state in STATES:
                self._service.metrics.jobs.labels(state).set(self._counted.get(state, 0))


async def _give_blobs(document: dict[str, Any], response: QueryResponse, pool: StoredPool) -> None:
    """Give chosen items that came as bytes back with their bytes."""
    wanted = {pick.id for pick in response.picks if pick.uri is None and pick.text is None}
    if not wanted:
        return
    blobs = await pool.blobs(wanted)
    for pick in document["data"]:
        if pick["id"] in blobs:
            pick.update(Item(pick["id"], blob=blobs[pick["id"]]).to_json())
