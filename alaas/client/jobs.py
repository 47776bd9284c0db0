"""Jobs: queries that run on when nobody waits for them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from alaas.client.address import Address
from alaas.client.answers import read_push, read_response, unlike_ours
from alaas.client.call import Call
from alaas.client.progress import OnProgress, progress_bar
from alaas.client.results import PushResult, QueryResult
from alaas.core.errors import AlaasError, JobCancelled, Unavailable, from_problem
from alaas.core.wire import Failure, Progress, StageTiming, Timings

if TYPE_CHECKING:
    from alaas.client.http import HttpTransport

SILENCE_S = 45.0
"""Seconds without a line after which a stream of events is dead: it says something every 15."""

LOOK_S = 2.0
"""Seconds between two looks at a job, where its events cannot be had."""

PATIENCE_S = 300.0
"""Seconds for which `JobHandle.wait` bears a server that does not answer: it may restart."""

ENDED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobStatus:
    """How a job stands.

    Attributes:
        id: Its name.
        type: What it does: ``query`` or ``push``.
        state: queued, running, succeeded, failed or cancelled.
        position: Jobs that wait before it, where it is queued.
        progress: How far it has come.
        stages: Stage to what it did so far.
        created: When it came, in ISO 8601.
        started: When it was begun.
        finished: When it ended.
        attempt: Times that it was begun: more than once where the server was interrupted.
        problem: Why it failed.
    """

    id: str
    type: str
    state: str
    position: int | None
    progress: Progress
    stages: Mapping[str, StageTiming]
    created: str
    started: str | None
    finished: str | None
    attempt: int
    problem: Mapping[str, Any] | None

    @property
    def over(self) -> bool:
        """Whether nothing will change any more."""
        return self.state in ENDED

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> JobStatus:
        """Read what the server says of a job."""
        done = document["progress"]
        total = done["total"]
        return cls(
            id=str(document["id"]),
            type=str(document["type"]),
            state=str(document["state"]),
            position=document["position"],
            progress=Progress(int(done["done"]), int(done["failed"]), total or 0, total),
            stages=Timings.from_json({"stages": document["stages"]}).stages,
            created=str(document["created"]),
            started=document["started"],
            finished=document["finished"],
            attempt=int(document["attempt"]),
            problem=document["problem"],
        )


class JobDesk:
    """What a client asks a server about jobs.

    Args:
        address: The server.
        transport: The way to it.
        calling: Opens a call, with a timeout or None for as long as it takes.
        shows: Whether waiting shows a progress bar; None does on a terminal.
    """

    def __init__(
        self,
        address: Address,
        transport: HttpTransport,
        *,
        calling: Callable[..., AbstractContextManager[Call]],
        shows: bool | None,
    ) -> None:
        self.address = address
        self.transport = transport
        self.calling = calling
        self.shows = shows

    def read(self, document: Mapping[str, Any]) -> JobStatus:
        """A job of the server's answer.

        Raises:
            ConnectionFailed: It is no such answer.
        """
        try:
            return JobStatus.from_json(document)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise unlike_ours(self.address, error) from error

    def list(self, *, limit: int) -> list[JobStatus]:
        """The caller's jobs, newest first."""
        found: list[JobStatus] = []
        before = ""
        with self.calling() as call:
            while len(found) < limit:
                path = f"?limit={min(limit - len(found), 500)}{before}"
                page = self.transport.job(path, call=call)
                found += [self.read(one) for one in page.get("jobs", ())]
                if not page.get("next"):
                    break
                before = f"&before={page['next']}"
        return found


class JobHandle:
    """A job of a server, and what can be done with it.

    It holds nothing but the job's id: `Client.job` makes another one of it, in another
    process too.
    """

    def __init__(self, desk: JobDesk, name: str, failures: Sequence[Failure] = ()) -> None:
        self.id = name
        self._desk = desk
        self._failures = tuple(failures)

    def status(self) -> JobStatus:
        """How the job stands.

        Raises:
            UnknownJob: The server has none of that id, or no longer.
        """
        with self._desk.calling() as call:
            return self._look(call)

    def progress(self) -> Progress:
        """How far it has come."""
        return self.status().progress

    def cancel(self) -> JobStatus:
        """End it, if it has not ended; its work stops within a micro-batch."""
        with self._desk.calling() as call:
            document = self._desk.transport.job(f"/{self.id}/cancel", call=call, method="POST")
        return self._desk.read(document)

    def result(self) -> QueryResult | PushResult:
        """Its answer.

        Raises:
            JobUnfinished: It has none yet.
            JobCancelled: It will have none.
            AlaasError: Why it failed.
        """
        with self._desk.calling() as call:
            return self._result(call)

    def wait(
        self, timeout: float | None = None, *, on_progress: OnProgress | None = None
    ) -> QueryResult | PushResult:
        """Wait for its end, also beyond a restart of the server, and give its answer.

        Args:
            timeout: Seconds after which to wait no longer; the job goes on.
            on_progress: Is told how far it has come.

        Raises:
            DeadlineExceeded: The timeout passed.
            ConnectionFailed: The server has not answered for five minutes.
            JobCancelled: The job was cancelled.
            AlaasError: Why it failed.
        """
        with (
            self._desk.calling(timeout) as call,
            progress_bar(self._desk.shows, on_progress) as tell,
        ):
            status = self._outlast(call, tell)
            if status.state == "cancelled":
                raise JobCancelled(f"the job {self.id} was cancelled")
            if status.problem is not None:
                raise from_problem(status.problem)
            return self._result(call)

    def _outlast(self, call: Call, tell: OnProgress) -> JobStatus:
        """The job at its end."""
        heard = time.monotonic()
        while True:
            try:
                # One look at it first: where events cannot be had, these looks are all.
                status = self._look(call)
                heard = time.monotonic()
                tell(status.progress)
                if status.over:
                    return status
                for status in self._events(call):
                    heard = time.monotonic()
                    tell(status.progress)
                    if status.over:
                        return status
            except Unavailable:
                if time.monotonic() - heard > PATIENCE_S:
                    raise
            except AlaasError as error:
                if not error.retryable:
                    raise
            call.pause(random.uniform(LOOK_S / 2, LOOK_S))  # noqa: S311  # it hides nothing

    def _events(self, call: Call) -> Iterator[JobStatus]:
        with self._desk.transport.events(self.id, call=call, silence_s=SILENCE_S) as lines:
            for line in lines:
                if line.startswith("data:"):
                    yield self._desk.read(_json(line.removeprefix("data:")))

    def _look(self, call: Call) -> JobStatus:
        return self._desk.read(self._desk.transport.job(f"/{self.id}", call=call))

    def _result(self, call: Call) -> QueryResult | PushResult:
        document = self._desk.transport.job(f"/{self.id}/result", call=call)
        if "pool" in document:
            push = read_push(document, self._desk.address)
            return PushResult(replace(push, failures=(*self._failures, *push.failures)))
        query = read_response(document, self._desk.address)
        return QueryResult(replace(query, failures=(*self._failures, *query.failures)))

    def __repr__(self) -> str:
        return f"<JobHandle {self.id} at {self._desk.address}>"


def _json(line: str) -> Any:
    try:
        return json.loads(line)
    except ValueError:
        return None
