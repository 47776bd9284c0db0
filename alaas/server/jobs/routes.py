"""The HTTP endpoints of jobs."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from typing import Any, Literal, cast

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection

from alaas.config import PushParameters, QueryParameters
from alaas.core import wire
from alaas.core.errors import FieldError, NotReady, ValidationFailed
from alaas.server import schema
from alaas.server.auth import ADMIN, caller_of
from alaas.server.bodies import JSON, LINES, read_body
from alaas.server.jobs.idempotency import claim_of, once
from alaas.server.jobs.model import STATES, Job, Kind, State
from alaas.server.jobs.service import Jobs, new_job

HEARTBEAT_S = 15.0
"""Seconds of silence after which a stream of events says that it is still there."""

GONE = 499
"""The status that nobody receives: the client closed the connection before the answer."""

EVENTS = "text/event-stream"

PAGE, LONGEST_PAGE = 50, 500
"""Jobs of a list, and how many there can be."""


class JobBody(BaseModel):
    """A query or a push that is to run as a job."""

    type: Literal["query", "push"] = Field("query", description="What the job does.")
    data: list[schema.Document | str] | schema.Documents = Field(
        default_factory=list, description="The pool; empty where `parameters.pool` names one."
    )
    parameters: QueryParameters | PushParameters = Field(
        description="Those of `POST /query`, or of `POST /push`."
    )


class JobProgress(BaseModel):
    """How far a job has come: in its present attempt, where it was interrupted."""

    done: int = Field(description="Items that went through all stages.")
    failed: int = Field(description="Items that failed.")
    total: int | None = Field(description="Items of the pool, where that is known.")


class JobDocument(BaseModel):
    """A job."""

    id: str
    type: Kind
    state: State
    position: int | None = Field(description="Jobs that wait before it, where it is queued.")
    progress: JobProgress
    stages: dict[str, wire.StageTiming] = Field(description="What each stage did so far.")
    created: str = Field(description="ISO 8601, in UTC; so are the other moments.")
    started: str | None
    finished: str | None
    attempt: int = Field(description="Times that it was begun.")
    problem: dict[str, Any] | None = Field(description="Why it failed.")


class JobList(BaseModel):
    """Some jobs, newest first."""

    jobs: list[JobDocument]
    next: str | None = Field(description="What `before` must be to get those that come after.")


_UNKNOWN: dict[int | str, dict[str, Any]] = {
    404: {"model": schema.Problem, "description": "There is no such job, or not for you."},
    503: {"model": schema.Problem, "description": "The database of the jobs is busy."},
}
_REFUSED: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Problem, "description": description}
    for status, description in {
        400: "The body is not JSON.",
        404: "No such strategy.",
        409: "The same request is being answered.",
        413: "The body has too many items, or is too large.",
        415: f"The body is neither `{JSON}` nor `{LINES}`.",
        422: "A field has a value that is not allowed, or the pool is empty.",
        429: "You have as many jobs as you may.",
        503: "The service cannot take a job now.",
    }.items()
}
_LISTED: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    422: {"model": schema.Problem, "description": "A parameter has a value that is not allowed."},
}
_ENDED: dict[int | str, dict[str, Any]] = {
    **_UNKNOWN,
    409: {"model": schema.Problem, "description": "It has no result yet, or was cancelled."},
    **{
        status: {"model": schema.Problem, "description": "It failed, with the problem shown."}
        for status in (422, 500, 502, 504)
    },
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "description": "The events."},
    204: {"description": "The stream has ended; there is nothing to reconnect to."},
    **_UNKNOWN,
}


_PAGING = [
    {"name": name, "in": "query", "required": False, "schema": shape, "description": text}
    for name, shape, text in (
        (
            "limit",
            {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE},
            "How many at most.",
        ),
        ("before", {"type": "string"}, "Only those older than the job of this id."),
        ("state", {"type": "string", "enum": list(STATES)}, "Only those that stand so."),
    )
]
# The handlers read these themselves, so that a wrong one is a problem like any other.


def add_routes(app: FastAPI) -> None:
    """Add the endpoints. The application's state has the `Jobs`.

    Args:
        app: What to add them to.
    """
    content = {
        JSON: {"schema": JobBody.model_json_schema(ref_template="#/components/schemas/{model}")},
        LINES: {"schema": {"type": "string"}},
    }
    content[JSON]["schema"].pop("$defs", None)
    app.add_api_route(
        "/jobs", once(_submit), methods=["POST"], status_code=202, response_model=JobDocument,
        responses=_REFUSED, tags=["jobs"], operation_id="submit_job",
        openapi_extra={"requestBody": {"required": True, "content": content}},
    )  # fmt: skip
    app.add_api_route(
        "/jobs", _list, methods=["GET"], response_model=JobList, responses=_LISTED,
        openapi_extra={"parameters": _PAGING}, tags=["jobs"], operation_id="jobs",
    )  # fmt: skip
    app.add_api_route(
        "/jobs/{name}", _show, methods=["GET"], response_model=JobDocument,
        responses=_UNKNOWN, tags=["jobs"], operation_id="job",
    )  # fmt: skip
    app.add_api_route(
        "/jobs/{name}/result", _result, methods=["GET"], response_model=dict[str, Any],
        responses=_ENDED, tags=["jobs"], operation_id="job_result",
    )  # fmt: skip
    app.add_api_route(
        "/jobs/{name}/events", _events, methods=["GET"], responses=_STREAM,
        response_class=StreamingResponse, tags=["jobs"], operation_id="job_events",
    )  # fmt: skip
    app.add_api_route(
        "/jobs/{name}/cancel", _cancel, methods=["POST"], response_model=JobDocument,
        responses=_UNKNOWN, tags=["jobs"], operation_id="cancel_job",
    )  # fmt: skip


async def _submit(request: Request) -> Response:
    """Run a query or a push as a job, which goes on when you have gone."""
    jobs = _jobs(request)
    body = await read_body(request)
    claim, answers = claim_of(request), list[Response]()

    def accepted(connection: Connection, job: Job) -> None:
        answer = _accepted(job)
        if claim is not None:
            kept = {name: answer.headers[name] for name in ("content-type", "location")}
            claim.settle(connection, answer.status_code, kept, bytes(answer.body))
        answers.append(answer)

    wanted = new_job(
        caller_of(request).name,
        kind=_kind(body.head),
        parameters=body.parameters,
        whole=body.lines is None,
    )
    try:
        await jobs.submit(wanted, body.source, also=accepted)
    except ConnectionResetError:
        return Response(status_code=GONE)
    if claim is not None:
        claim.settled = True
    return answers[-1]


async def _list(request: Request) -> Response:
    """Your jobs, newest first."""
    given = request.query_params
    limit, state = _limit(given.get("limit")), _state(given.get("state"))
    found = await _jobs(request).page(
        _whose(request), limit=limit + 1, before=given.get("before") or None, state=state
    )
    more = found[limit - 1].id if len(found) > limit else None
    return JSONResponse({"jobs": [job.to_json() for job in found[:limit]], "next": more})


def _limit(given: str | None) -> int:
    if not given:
        return PAGE
    if given.isascii() and given.isdecimal() and 1 <= int(given[:9]) <= LONGEST_PAGE:
        return int(given)
    raise _invalid("/limit", f"must be from 1 to {LONGEST_PAGE}, got {given[:20]!r}")


def _state(given: str | None) -> State | None:
    if given and given not in STATES:
        raise _invalid("/state", f"must be one of {', '.join(STATES)}, got {given[:20]!r}")
    return given or None


async def _show(request: Request, name: str) -> Response:
    """How a job stands."""
    return JSONResponse((await _jobs(request).job(name, _whose(request))).to_json())


async def _result(request: Request, name: str) -> Response:
    """The answer of a job: what `POST /query` or `POST /push` would have answered."""
    return Response(await _jobs(request).result(name, _whose(request)), media_type=JSON)


async def _cancel(request: Request, name: str) -> Response:
    """End a job that is not finished. One that is stays as it is."""
    return JSONResponse((await _jobs(request).cancel(name, _whose(request))).to_json())


async def _events(request: Request, name: str) -> Response:
    """How a job stands, now and whenever that changes, as server-sent events.

    The events are `state`, `progress` and, as the last one, `end`; the data of each is the
    job. The first one is how it stands now, so that whoever reconnects has missed nothing.
    """
    if request.headers.get("last-event-id") == "end":
        return Response(status_code=204)
    jobs, caller = _jobs(request), _whose(request)
    await jobs.job(name, caller)  # an error must come before the stream begins
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_frames(jobs, name, caller), media_type=EVENTS, headers=headers)


async def _frames(jobs: Jobs, name: str, caller: str | None) -> AsyncIterator[str]:
    state, told = "", time.monotonic()
    async for job in jobs.follow(name, caller):
        if job is None:
            if time.monotonic() - told < HEARTBEAT_S:
                continue
            yield ": still here\n\n"
        else:
            kind = "end" if job.over else "progress" if job.state == state else "state"
            state = job.state
            ended = "id: end\n" if job.over else ""
            yield f"{ended}event: {kind}\ndata: {json.dumps(job.to_json())}\n\n"
        told = time.monotonic()


def _accepted(job: Job) -> JSONResponse:
    return JSONResponse(job.to_json(), 202, {"Location": f"/jobs/{job.id}"})


def _kind(head: dict[str, Any]) -> Kind:
    kind = head.get("type") or "query"
    if kind not in ("query", "push"):
        raise _invalid("/type", f"must be query or push, got {str(kind)[:20]!r}")
    return cast("Kind", kind)


def _invalid(pointer: str, message: str) -> ValidationFailed:
    return ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])


def _whose(request: Request) -> str | None:
    """Whose jobs a request may see: None stands for everybody's."""
    caller = caller_of(request)
    return None if caller.may(ADMIN) else caller.name


def _jobs(request: Request) -> Jobs:
    jobs: Jobs | None = getattr(request.app.state, "jobs", None)
    if jobs is None:
        raise NotReady("the service has no database of jobs yet")
    return jobs
