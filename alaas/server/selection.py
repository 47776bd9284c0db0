"""The HTTP endpoints that take a pool: to choose from it, and to store it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel

from alaas.core.wire import Failure, Item, QueryResponse
from alaas.server import schema
from alaas.server.bodies import JSON, LINES, Body, read_body
from alaas.server.jobs.idempotency import once
from alaas.server.presence import leaves_before
from alaas.server.service import Service

T = TypeVar("T")

GONE = 499
"""The status that nobody receives: the client closed the connection before the answer."""

UNNAMED = "default"
"""The name of a pool that a client of an earlier release pushes, which names none."""

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Problem, "description": description}
    for status, description in {
        400: "The body is not JSON.",
        404: "No such strategy, pool or endpoint.",
        408: "The request does not come to its end.",
        409: "The service stores nothing, and a pool is to be stored or read.",
        413: "The body has more bytes or items than it may.",
        415: f"The body is neither `{JSON}` nor `{LINES}`.",
        422: "A field has a value that is not allowed, the pool is empty, or all items failed.",
        429: "The API key has as many requests under way as it may.",
        502: "All items failed, and the servers that hold them are to blame.",
        503: "The service cannot answer now.",
        504: "The query did not finish within its `timeout_s`.",
    }.items()
}


def add_routes(app: FastAPI, service: Service) -> None:
    """Add `POST /query`, `POST /push` and `POST /post`.

    Args:
        app: What to add them to.
        service: What answers.
    """

    async def query(request: Request) -> Response:
        """Choose the items of a pool that are most worth labelling."""
        return await _query(service, request, await read_body(request))

    async def push(request: Request) -> Response:
        """Store a pool under a name, for queries to choose from."""
        return await _push(service, request, await read_body(request))

    async def post(request: Request) -> Response:
        """The same two, at the address and in the form of the gateway of earlier releases."""
        body = await read_body(request)
        if schema.read_endpoint(body.head) == "query":
            return await _query(service, request, body)
        named = {**body.parameters, "pool": body.parameters.get("pool") or UNNAMED}
        return await _push(service, request, replace(body, parameters=named), old_form=True)

    for handler, taken, given in (
        (query, schema.QueryBody, schema.Answer),
        (push, schema.PushBody, schema.PushAnswer),
        (post, schema.QueryBody, schema.Answer),
    ):
        content = {JSON: {"schema": {"$ref": f"#/components/schemas/{taken.__name__}"}}}
        content[LINES] = {"schema": {"type": "string"}}
        app.add_api_route(
            f"/{handler.__name__}",
            once(handler),
            methods=["POST"],
            response_model=given,
            responses=_PROBLEMS,
            openapi_extra={"requestBody": {"required": True, "content": content}},
            tags=["selection"],
            operation_id=handler.__name__,
        )
    _describe(app, schema.QueryBody, schema.PushBody)


async def _query(service: Service, request: Request, body: Body) -> Response:
    work = service.query(body.parameters, body.source, request_id=request.state.id)
    response = await _outcome(request, body, work)
    if response is None:
        return Response(status_code=GONE)
    return JSONResponse(_with_blobs(response, body.items).to_json(body.parameters))


async def _push(
    service: Service, request: Request, body: Body, *, old_form: bool = False
) -> Response:
    work = service.push(body.parameters, body.source, request_id=request.state.id)
    response = await _outcome(request, body, work)
    if response is None:
        return Response(status_code=GONE)
    if not old_form:
        return JSONResponse(response.to_json())
    header = {
        "requestId": response.request_id,
        "status": {"code": "SUCCESS", "description": "", "exception": None},
        "execEndpoint": "/push",
        "targetExecutor": "",
    }
    envelope = {"header": header, "parameters": body.parameters, "routes": [], "data": []}
    return JSONResponse({**envelope, **response.to_json()})


async def _outcome(request: Request, body: Body, work: Coroutine[Any, Any, T]) -> T | None:
    """Await an answer; None, and the work cancelled, when the client closes the connection."""
    task = asyncio.create_task(work)

    async def watch() -> None:
        # Until all lines have been read, what comes is for whoever reads them.
        if body.lines is not None and await leaves_before(body.lines.complete, request.scope):
            return
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watcher = asyncio.create_task(watch())
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        return await task if task.done() else None
    except ConnectionResetError:
        return None
    finally:
        watcher.cancel()
        task.cancel()


def _with_blobs(response: QueryResponse, items: list[Item | Failure]) -> QueryResponse:
    """Give the chosen items back as they came: those that came as bytes, with their bytes."""
    blobs = {item.id: item.blob for item in items if isinstance(item, Item) and item.blob}
    picks = [replace(pick, blob=blobs.get(pick.id)) for pick in response.picks]
    return replace(response, picks=picks)


def _describe(app: FastAPI, *bodies: type[BaseModel]) -> None:
    """Put the schemas of requests into the OpenAPI document.

    The handlers read the body themselves, since malformed JSON is a 400 and not a 422.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            schemas = generate()["components"]["schemas"]
            for kind in bodies:
                body = kind.model_json_schema(
                    ref_template="#/components/schemas/{model}", by_alias=True
                )
                schemas.update(body.pop("$defs", {}), **{kind.__name__: body})
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it
