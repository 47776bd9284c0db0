"""The tables of the jobs, and what a row of them means."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    RowMapping,
    Table,
    Text,
)

Kind: TypeAlias = Literal["query", "push"]
State: TypeAlias = Literal["queued", "running", "succeeded", "failed", "cancelled"]
STATES: tuple[State, ...] = ("queued", "running", "succeeded", "failed", "cancelled")

RECEIVING = "receiving"
"""The state of a job whose pool is still arriving: nobody sees it."""

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
    }
)

# SQLite counts rows up by themselves in a column of this very type only.
_number = BigInteger().with_variant(Integer, "sqlite")
_seconds = Float(53)


def _job_number(**rest: Any) -> Column[int]:
    return Column("job", _number, ForeignKey("jobs.number", ondelete="CASCADE"), **rest)


jobs = Table(
    "jobs",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", Text, nullable=False, unique=True),
    Column("caller", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("parameters", Text, nullable=False),  # as they were sent, in JSON
    Column("whole", Integer, nullable=False),  # whether the pool came in one document
    Column("model", Text, nullable=False),  # digest of the model at the time
    Column("size", BigInteger, nullable=False),
    Column("bytes", BigInteger, nullable=False),
    Column("created", _seconds, nullable=False),
    Column("started", _seconds),
    Column("finished", _seconds),
    Column("done", BigInteger, nullable=False, default=0),
    Column("failed", BigInteger, nullable=False, default=0),
    Column("stages", Text, nullable=False, default="{}"),
    Column("problem", Text),
    Column("attempt", Integer, nullable=False, default=0),
    Column("stalled", Integer, nullable=False, default=0),  # attempts that got no further
    Column("furthest", BigInteger, nullable=False, default=0),  # items done by any attempt
    Column("owner", Text),
    Column("lease", _seconds),
    Index(None, "caller", "number"),
    Index(None, "state", "number"),
)

parts = Table(
    "parts",
    metadata,
    _job_number(primary_key=True),
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("content", LargeBinary, nullable=False),
)

results = Table(
    "results",
    metadata,
    _job_number(primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)

replies = Table(
    "replies",
    metadata,
    Column("caller", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("claim", Text, nullable=False),
    Column("created", _seconds, nullable=False),
    Column("owner", Text, nullable=False),
    Column("lease", _seconds),  # as long as it is being answered
    Column("fingerprint", Text),  # from here on: once it is answered
    Column("status", Integer),
    Column("headers", Text),
    Column("bytes", BigInteger, nullable=False, default=0),
    Column("body", LargeBinary),
    Index(None, "created"),
)


@dataclass(frozen=True, slots=True)
class Job:
    """One job.

    Attributes:
        number: Its place in the order of arrival.
        id: Its name for callers.
        caller: Name of the API key that it came with.
        kind: What it does.
        state: How it stands.
        parameters: As they were sent.
        whole: Whether the pool came in one document, so that the answer gives blobs back.
        model: Digest of the model that was served when it came.
        items: Items of its pool.
        created: When it came, in seconds since 1970.
        started: When it was first run.
        finished: When it ended.
        done: Items that went through all stages, in the present attempt.
        failed: Items that failed, in the present attempt.
        stages: Stage to its figures so far, as in the timings of an answer.
        problem: Why it failed.
        attempt: How often it was begun: once more after each interruption.
        stalled: How often in a row that got no further than before.
        position: Jobs that are queued before it, where it is queued.
    """

    number: int
    id: str
    caller: str
    kind: Kind
    state: State
    parameters: Mapping[str, Any]
    whole: bool
    model: str
    items: int
    created: float
    started: float | None = None
    finished: float | None = None
    done: int = 0
    failed: int = 0
    stages: Mapping[str, Any] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None
    attempt: int = 0
    stalled: int = 0
    position: int | None = None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.finished is not None

    @classmethod
    def from_row(cls, row: RowMapping, position: int | None = None) -> Job:
        """The job of a row of the table."""
        return cls(
            number=row["number"],
            id=row["id"],
            caller=row["caller"],
            kind=row["kind"],
            state=row["state"],
            parameters=json.loads(row["parameters"]),
            whole=bool(row["whole"]),
            model=row["model"],
            items=row["size"],
            created=row["created"],
            started=row["started"],
            finished=row["finished"],
            done=row["done"],
            failed=row["failed"],
            stages=json.loads(row["stages"]),
            problem=json.loads(row["problem"]) if row["problem"] else None,
            attempt=row["attempt"],
            stalled=row["stalled"],
            position=position,
        )

    def to_json(self) -> dict[str, Any]:
        """The job as the HTTP API shows it."""
        return {
            "id": self.id,
            "type": self.kind,
            "state": self.state,
            "position": self.position,
            "progress": {
                "done": self.done,
                "failed": self.failed,
                # Of a stored pool the number is known once it has been opened.
                "total": self.items or None,
            },
            "stages": dict(self.stages),
            "created": moment(self.created),
            "started": moment(self.started),
            "finished": moment(self.finished),
            "attempt": self.attempt,
            "problem": None if self.problem is None else dict(self.problem),
        }


def moment(seconds: float | None) -> str | None:
    """A moment as ISO 8601 writes it, in UTC.

    Example:
        >>> moment(0.25)
        '1970-01-01T00:00:00.250Z'
    """
    if seconds is None:
        return None
    whole = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return whole.replace("+00:00", "Z")
