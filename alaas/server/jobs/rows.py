"""What the statements about jobs have in common."""

from __future__ import annotations

import json
from typing import Any

from sqlalchemy import Connection, RowMapping, Select, and_, case, delete, func, select, update

from alaas.core.errors import Overloaded, UnknownJob
from alaas.core.wire import Progress
from alaas.server.jobs.model import RECEIVING, Job, jobs, parts, replies


def held(connection: Connection) -> int:
    """Bytes of all pools, results and answers."""
    sums = (select(func.sum(jobs.c.bytes)), select(func.sum(replies.c.bytes)))
    return sum(int(connection.scalar(one) or 0) for one in sums)


def check_room(connection: Connection, room: int) -> None:
    """Refuse more where the database holds as much as it may.

    Raises:
        Overloaded: It does.
    """
    if held(connection) >= room:
        raise Overloaded(
            f"the database of the jobs is full: it may hold {room} bytes (jobs.max_bytes)"
        )


def seen() -> Select[Any]:
    """The jobs that callers see, each with the number of those before it."""
    before = jobs.alias()
    ahead = (
        select(func.count())
        .select_from(before)
        .where(before.c.state == "queued", before.c.number < jobs.c.number)
        .scalar_subquery()
    )
    position = case((jobs.c.state == "queued", ahead)).label("position")
    return select(jobs, position).where(jobs.c.state != RECEIVING)


def named(name: str, caller: str | None) -> Select[Any]:
    """The job of an id, if it is that caller's; without a caller anybody's.

    Raises:
        UnknownJob: It is no id.
    """
    if not name.isalnum():  # a database may choke on it
        raise unknown(name)
    asked = seen().where(jobs.c.id == name)
    return asked if caller is None else asked.where(jobs.c.caller == caller)


def one(connection: Connection, asked: Select[Any]) -> Job | None:
    """The job that a statement finds, if it finds one."""
    row = connection.execute(asked).mappings().first()
    return None if row is None else job_of(row)


def job_of(row: RowMapping) -> Job:
    """The job of a row of `seen`."""
    return Job.from_row(row, row["position"])


def attempt_of(job: Job) -> Any:
    """The row of a job, as long as the attempt that is under way here is the present one."""
    return and_(
        jobs.c.number == job.number, jobs.c.attempt == job.attempt, jobs.c.state == "running"
    )


def figures(progress: Progress) -> dict[str, Any]:
    """What of a job's progress is written down."""
    stages = {name: timing.to_json() for name, timing in progress.stages.items()}
    return {"done": progress.done, "failed": progress.failed, "stages": json.dumps(stages)}


def drop_pool(connection: Connection, number: int) -> None:
    """Delete the pool of a job."""
    connection.execute(delete(parts).where(parts.c.job == number))
    connection.execute(update(jobs).where(jobs.c.number == number).values(bytes=0))


def unknown(name: str) -> UnknownJob:
    """The error for a job that a caller cannot see."""
    return UnknownJob(f"there is no job {name!r}, or not for you")
