"""What can be done with jobs, whoever asks: routes call this."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection

from alaas.config import Settings, parse_parameters, parse_push
from alaas.core.errors import EmptyInput, JobCancelled, JobUnfinished, NotReady, from_problem
from alaas.pipeline import push, query
from alaas.pipeline.ledger import Part
from alaas.server.jobs.database import Database, location
from alaas.server.jobs.idempotency import Replies
from alaas.server.jobs.model import Job, State
from alaas.server.jobs.pool import cut
from alaas.server.jobs.runner import Runner
from alaas.server.jobs.store import JobStore, Wanted
from alaas.server.service import Service

PATIENCE_S = 60.0
"""Seconds beyond the silence that a stream may keep, after which its job is forgotten."""

EVENTS_S = 0.25
"""Seconds between two events of a job, at least."""

FRESH_S = 1.0
"""Seconds after which a job that another server runs is looked at again."""

UNFINISHED_RETRY_S = 5.0
"""Seconds after which it is worth asking for a result again."""

Also = Callable[[Connection, Job], None]


class Jobs:
    """The jobs of one server.

    Args:
        service: What answers queries and pushes.
        settings: The configuration; `database.prepare` has seen its database.
    """

    def __init__(self, service: Service, settings: Settings) -> None:
        self._service = service
        self._settings = settings
        self._database = Database(location(settings))
        owner = owner_of(settings)
        self.store = JobStore(self._database, owner)
        self.replies = Replies(self._database, owner, keep_s=settings.jobs.idempotency_s)
        self._runner = Runner(service, self.store, self.replies)

    async def start(self) -> None:
        """Go on with the jobs that were left; to be awaited before the first request comes."""
        await self._runner.start()

    async def stop(self) -> None:
        """Stop them all, for this server or another one to go on with, and end all streams."""
        await self._runner.close()

    def close(self) -> None:
        """Close the database, when nobody asks any more."""
        self._database.close()

    async def submit(
        self, wanted: Wanted, source: AsyncIterable[Part], *, also: Also = lambda *_: None
    ) -> Job:
        """Store a pool, and queue what is to be done with it.

        Args:
            wanted: What is asked for.
            source: The pool, in parts as they arrive.
            also: What else is to be written with the job or not at all.

        Raises:
            ValidationFailed: A parameter is wrong.
            EmptyInput: The pool has no items.
            QuotaExceeded: The caller has as many jobs as it may.
            Overloaded: The database holds as much as it may.
            NotReady: The service is stopping.
        """
        if self._service.stopping or self._runner.closing.is_set():
            raise NotReady("the service is stopping")
        wanted, stored = await self._checked(wanted)
        limits = self._settings.limits
        silence_s = limits.stream_silence_s + PATIENCE_S
        room = self._settings.jobs.max_bytes
        number = await self.store.begin(
            wanted, most=limits.jobs_per_key, room=room, silence_s=silence_s
        )
        try:
            seq = 0
            async for part in cut(source):
                await self.store.append(number, seq, part, silence_s=silence_s, room=room)
                seq += 1
            if not seq and not stored:
                raise EmptyInput("the pool is empty: send at least one item")
            job = await self.store.accept(number, also)
        except BaseException:
            with suppress(Exception):  # what ends it is the error to tell; time sweeps the rest
                await asyncio.shield(self.store.forget(number))
            raise
        self._runner.wake()
        return job

    async def _checked(self, wanted: Wanted) -> tuple[Wanted, bool]:
        """With its model, and whether it names a stored pool.

        What would be refused when it runs is refused at once.
        """
        defaults, pool = self._settings.active_learning.strategy, None
        if wanted.kind == "push":
            pushed = parse_push(wanted.parameters)
            card = (await self._service.engine_for(pushed)).card
            push.plan(pushed, defaults, wanted.id, card)
        else:
            asked = parse_parameters(wanted.parameters)
            card = (await self._service.engine_for(asked)).card
            pool = query.plan(asked, defaults, wanted.id, card).pool
        return replace(wanted, model=wanted.model or card.digest), pool is not None

    async def page(
        self, caller: str | None, *, limit: int, before: str | None, state: State | None
    ) -> list[Job]:
        """Jobs, newest first; as `JobStore.page`."""
        found = await self.store.page(caller, limit=limit, before=before, state=state)
        here = {job.id: self._runner.find(job.id) for job in found if job.state == "running"}
        return [one.shown() if (one := here.get(job.id)) else job for job in found]

    async def job(self, name: str, caller: str | None) -> Job:
        """A job as it stands now. Without a caller, anybody's.

        Raises:
            UnknownJob: There is none, or it is another caller's.
        """
        running = self._runner.find(name)
        if running is not None and caller in (None, running.job.caller):
            return running.shown()
        return await self.store.get(name, caller)

    async def result(self, name: str, caller: str | None) -> bytes:
        """The answer of a job, in JSON.

        Raises:
            UnknownJob: There is none, or it is another caller's.
            JobUnfinished: It has none yet.
            JobCancelled: It will have none.
            AlaasError: Why it failed.
        """
        job = await self.store.get(name, caller)
        if job.state == "cancelled":
            raise JobCancelled(f"the job {name} was cancelled")
        if job.problem is not None:
            raise from_problem(job.problem)
        body = await self.store.result(job.number)
        if body is None:
            error = JobUnfinished(f"the job {name} is {job.state}; it has no result yet")
            error.retry_after_s = UNFINISHED_RETRY_S
            raise error
        return body

    async def cancel(self, name: str, caller: str | None) -> Job:
        """End a job that is not finished.

        Raises:
            UnknownJob: There is none, or it is another caller's.
        """
        job = await self.store.cancel(name, caller)
        if running := self._runner.find(name):
            running.stop()
        self._runner.wake()
        return job

    async def follow(self, name: str, caller: str | None) -> AsyncIterator[Job | None]:
        """A job now, and whenever something of it has changed, to its end or the server's.

        None stands for a second without news.

        Raises:
            UnknownJob: There is none, or it is another caller's.
        """
        shown: Job | None = None
        while not self._runner.closing.is_set():
            running = self._runner.find(name)
            # Before the job is read, so that nothing passes in between.
            news = running.news if running else self._runner.closing
            job = await self.job(name, caller)
            yield job if job != shown else None
            shown = job
            if job.over:
                return
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), FRESH_S)
            if running:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._runner.closing.wait(), EVENTS_S)


def owner_of(settings: Settings) -> str:
    """The name of a server: where it listens, so that it is the same after a restart."""
    listener = settings.active_learning.al_worker.listeners[0]
    return f"{socket.gethostname()}/{listener.host}:{listener.port}"


def new_job(caller: str, **rest: Any) -> Wanted:
    """A job with a name of its own."""
    return Wanted(id=uuid.uuid4().hex, caller=caller, **rest)
