"""The jobs in the database: who may see which, who runs which, and what became of them.

A job that runs has a *lease*: the server that runs it renews it every second, and another
one takes the job over when it has ended. Every taking counts the job's `attempt` up, and
whoever writes names the attempt that it writes for: a server that was thought dead and is
not can do no harm.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, case, delete, func, insert, literal, or_, select, update

from alaas.core.errors import QuotaExceeded
from alaas.core.wire import Progress
from alaas.pipeline.ledger import Part
from alaas.server.jobs import rows
from alaas.server.jobs.database import Database, now
from alaas.server.jobs.model import RECEIVING, Job, Kind, State, jobs, parts, replies, results
from alaas.server.jobs.pool import pack

LEASE_S = 15.0
"""Seconds without a sign of life after which another server takes a job over."""

QUOTA_RETRY_S = 10.0
"""Seconds after which a caller with too many jobs is told to ask again."""

_UNFINISHED = ("queued", "running", RECEIVING)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A job that somebody asks for.

    Attributes:
        id: Its name.
        caller: Who asks.
        kind: What it does.
        parameters: As they were sent.
        whole: Whether the pool comes in one document.
        model: Digest of the model that is asked for; empty until it is known.
    """

    id: str
    caller: str
    kind: Kind
    parameters: Mapping[str, Any]
    whole: bool
    model: str = ""


class JobStore:
    """Reads and writes jobs.

    Args:
        database: Where they are.
        owner: Name of this server, the same after a restart and nobody else's.
    """

    def __init__(self, database: Database, owner: str) -> None:
        self.database = database
        self._owner = owner

    async def begin(self, wanted: Wanted, *, most: int, room: int, silence_s: float) -> int:
        """Make a job whose pool will arrive.

        Args:
            wanted: What is asked for.
            most: Unfinished jobs that its caller may have.
            room: Bytes that the database may hold.
            silence_s: Seconds for which the pool may stay away before the job is forgotten.

        Returns:
            Its number.

        Raises:
            QuotaExceeded: The caller has as many as it may.
            Overloaded: The database holds as much as it may.
        """

        def work(connection: Connection) -> int:
            rows.check_room(connection, room)
            unfinished = jobs.c.state.in_(_UNFINISHED)
            theirs = select(func.count()).where(jobs.c.caller == wanted.caller, unfinished)
            if int(connection.scalar(theirs) or 0) >= most:
                error = QuotaExceeded(
                    f"you have {most} jobs that are not finished, as many as you may "
                    "(limits.jobs_per_key)"
                )
                error.retry_after_s = QUOTA_RETRY_S
                raise error
            row = {
                "id": wanted.id, "caller": wanted.caller, "kind": wanted.kind,
                "state": RECEIVING, "parameters": json.dumps(wanted.parameters),
                "whole": int(wanted.whole), "model": wanted.model, "size": 0, "bytes": 0,
                "created": now(), "owner": self._owner, "lease": now() + silence_s,
            }  # fmt: skip
            made = connection.execute(insert(jobs).values(row)).inserted_primary_key
            assert made is not None
            return int(made[0])

        return await self.database.write(work)

    async def append(
        self, number: int, seq: int, part: Part, *, room: int, silence_s: float
    ) -> None:
        """Store a part of a pool that arrives.

        Args:
            number: The job.
            seq: Number of the part.
            part: The items.
            room: As for `begin`.
            silence_s: As for `begin`.

        Raises:
            Overloaded: The database holds as much as it may.
        """
        packed = pack(part)

        def work(connection: Connection) -> None:
            rows.check_room(connection, room)
            connection.execute(insert(parts).values(job=number, seq=seq, content=packed))
            more = {
                "size": jobs.c.size + len(part), "bytes": jobs.c.bytes + len(packed),
                "lease": now() + silence_s,
            }  # fmt: skip
            connection.execute(update(jobs).where(jobs.c.number == number).values(more))

        await self.database.write(work)

    async def accept(
        self, number: int, also: Callable[[Connection, Job], None] = lambda *_: None
    ) -> Job:
        """Queue a job whose pool has arrived, so that no loss of power can undo it.

        Args:
            number: The job.
            also: What else is to be written with it or not at all.
        """

        def work(connection: Connection) -> Job:
            ready = {"state": "queued", "owner": None, "lease": None}
            connection.execute(update(jobs).where(jobs.c.number == number).values(ready))
            job = rows.one(connection, rows.seen().where(jobs.c.number == number))
            assert job is not None
            also(connection, job)
            return job

        return await self.database.write(work, durable=True)

    async def forget(self, number: int) -> None:
        """Delete a job whose pool did not arrive."""
        # Not one that was queued after all, where only the word of it was lost.
        gone = delete(jobs).where(jobs.c.number == number, jobs.c.state == RECEIVING)
        await self.database.write(lambda connection: connection.execute(gone))

    async def get(self, name: str, caller: str | None) -> Job:
        """A job.

        Args:
            name: Its id.
            caller: Whose it must be; None sees everybody's.

        Raises:
            UnknownJob: There is none, or it is another caller's.
        """
        asked = rows.named(name, caller)
        job = await self.database.read(lambda connection: rows.one(connection, asked))
        if job is None:
            raise rows.unknown(name)
        return job

    async def page(
        self, caller: str | None, *, limit: int, before: str | None, state: State | None
    ) -> list[Job]:
        """Jobs, newest first.

        Args:
            caller: Whose; None lists everybody's.
            limit: How many at most.
            before: Only those that came before the one of this id.
            state: Only those that stand so.

        Raises:
            UnknownJob: There is no job `before`.
        """
        asked = rows.seen().order_by(jobs.c.number.desc()).limit(limit)
        if caller is not None:
            asked = asked.where(jobs.c.caller == caller)
        if state is not None:
            asked = asked.where(jobs.c.state == state)

        def work(connection: Connection) -> list[Job]:
            wanted = asked
            if before is not None:
                last = rows.one(connection, rows.named(before, caller))
                if last is None:
                    raise rows.unknown(before)
                wanted = asked.where(jobs.c.number < last.number)
            return [rows.job_of(row) for row in connection.execute(wanted).mappings()]

        return await self.database.read(work)

    async def result(self, number: int) -> bytes | None:
        """The answer of a job that succeeded, in JSON."""
        asked = select(results.c.body).where(results.c.job == number)
        packed = await self.database.read(lambda connection: connection.scalar(asked))
        return None if packed is None else zlib.decompress(packed)

    async def cancel(self, name: str, caller: str | None) -> Job:
        """End a job that is not finished; one that is stays as it is.

        Raises:
            UnknownJob: There is none, or it is another caller's.
        """

        def work(connection: Connection) -> Job | None:
            job = rows.one(connection, rows.named(name, caller))
            if job is None or job.over:
                return job
            open_one = and_(jobs.c.number == job.number, jobs.c.state.in_(("queued", "running")))
            end = {"state": "cancelled", "finished": now(), "owner": None, "lease": None}
            # Where another server runs it, that one finds its attempt void.
            if connection.execute(update(jobs).where(open_one).values(end)).rowcount:
                rows.drop_pool(connection, job.number)
            return rows.one(connection, rows.named(name, caller))

        job = await self.database.write(work)
        if job is None:
            raise rows.unknown(name)
        return job

    async def claim(self) -> Job | None:
        """Take the first job that waits, or that a dead server left; None where there is none."""
        free = or_(jobs.c.state == "queued", and_(jobs.c.state == "running", jobs.c.lease < now()))
        first = select(jobs.c.number).where(free).order_by(jobs.c.number).limit(1)
        if await self.database.read(lambda connection: connection.scalar(first)) is None:
            return None

        def work(connection: Connection) -> Job | None:
            number = connection.scalar(first.with_for_update(skip_locked=True))
            if number is None:
                return None
            taken = {
                "state": "running", "owner": self._owner, "lease": now() + LEASE_S,
                "attempt": jobs.c.attempt + 1, "stalled": jobs.c.stalled + 1,
                "started": func.coalesce(jobs.c.started, now()),
                "done": 0, "failed": 0, "stages": "{}",
            }  # fmt: skip
            connection.execute(update(jobs).where(jobs.c.number == number).values(taken))
            return rows.one(connection, rows.seen().where(jobs.c.number == number))

        return await self.database.write(work)

    async def beat(self, running: Sequence[tuple[Job, Progress]]) -> list[Job]:
        """Renew the leases of jobs and of answers, and write down how far the jobs have come.

        Returns:
            Those that are this server's no longer: cancelled, or taken over.
        """

        def work(connection: Connection) -> list[Job]:
            lost = []
            for job, progress in running:
                further = progress.done > jobs.c.furthest
                news = {
                    "lease": now() + LEASE_S,
                    **rows.figures(progress),
                    "furthest": case((further, progress.done), else_=jobs.c.furthest),
                    "stalled": case((further, 0), else_=jobs.c.stalled),
                }
                ours = update(jobs).where(rows.attempt_of(job)).values(news)
                if not connection.execute(ours).rowcount:
                    lost.append(job)
            answering = and_(replies.c.owner == self._owner, replies.c.lease.is_not(None))
            connection.execute(update(replies).where(answering).values(lease=now() + LEASE_S))
            return lost

        return await self.database.write(work)

    async def finish(
        self,
        job: Job,
        state: State,
        progress: Progress,
        *,
        result: bytes | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> bool:
        """End a job; whether it was still this server's to end."""
        packed = None if result is None else zlib.compress(result, level=1)
        end = {
            "state": state,
            "finished": now(),
            "lease": None,
            **rows.figures(progress),
            "problem": None if problem is None else json.dumps(problem),
            # The pool goes, and the result is what is held from here on.
            "bytes": len(packed or b""),
        }
        if not job.items:
            end["size"] = progress.received

        def work(connection: Connection) -> bool:
            if not connection.execute(
                update(jobs).where(rows.attempt_of(job)).values(end)
            ).rowcount:
                return False
            if packed is not None:
                connection.execute(insert(results).values(job=job.number, body=packed))
            connection.execute(delete(parts).where(parts.c.job == job.number))
            return True

        return await self.database.write(work, durable=True)

    async def release(self, job: Job, *, in_order: bool) -> None:
        """Give a job back, to be run again.

        Args:
            job: The job.
            in_order: Whether the server stops as it should, which is not the job's fault.
        """
        back = {
            "state": "queued", "owner": None, "lease": None,
            "stalled": job.stalled - 1 if in_order else jobs.c.stalled,
        }  # fmt: skip
        given = update(jobs).where(rows.attempt_of(job)).values(back)
        await self.database.write(lambda connection: connection.execute(given))

    async def recover(self) -> None:
        """Let go of what this server held when it died."""

        def work(connection: Connection) -> None:
            ours = jobs.c.owner == self._owner
            connection.execute(delete(jobs).where(ours, jobs.c.state == RECEIVING))
            connection.execute(
                update(jobs).where(ours, jobs.c.state == "running").values(lease=literal(0.0))
            )
            unanswered = and_(replies.c.owner == self._owner, replies.c.lease.is_not(None))
            connection.execute(delete(replies).where(unanswered))

        await self.database.write(work)

    async def sweep(self, *, keep_s: float, replies_s: float) -> int:
        """Delete what is kept no longer.

        Args:
            keep_s: Seconds for which finished jobs are kept.
            replies_s: Seconds for which answers to an ``Idempotency-Key`` are kept.

        Returns:
            Bytes that are left.
        """

        def work(connection: Connection) -> int:
            unarrived = and_(jobs.c.state == RECEIVING, jobs.c.lease < now())
            connection.execute(delete(jobs).where(or_(jobs.c.finished < now() - keep_s, unarrived)))
            connection.execute(delete(replies).where(replies.c.created < now() - replies_s))
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA incremental_vacuum(1000)")
            return rows.held(connection)

        return await self.database.write(work)

    async def counts(self) -> dict[str, int]:
        """State to the number of jobs that are in it."""
        asked = select(jobs.c.state, func.count().label("jobs")).group_by(jobs.c.state)

        def work(connection: Connection) -> dict[str, int]:
            return {row.state: row.jobs for row in connection.execute(asked)}

        return await self.database.read(work)
