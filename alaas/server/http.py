"""The HTTP API and its WebSocket, as a FastAPI application over a `Service`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request, Response, WebSocket, WebSocketDisconnect
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from alaas import __version__
from alaas.core.errors import (
    AlaasError,
    Internal,
    NotFound,
    UnsupportedMediaType,
    ValidationFailed,
)
from alaas.core.wire import Failure, Item, Pick, QueryResponse
from alaas.pipeline.query import Part
from alaas.server import schema
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.service import Service, whole

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": schema.Problem, "description": description}
    for status, description in {
        400: "The body is not JSON.",
        404: "No such strategy or endpoint.",
        415: "The body is not `application/json`.",
        422: "A field has a value that is not allowed, the pool is empty, or all items failed.",
        502: "All items failed, and the servers that hold them are to blame.",
        503: "The service cannot answer now.",
        504: "The query did not finish within its `timeout_s`.",
    }.items()
}


def create_app(service: Service) -> FastAPI:
    """Build the application.

    Args:
        service: What answers.
    """
    app = FastAPI(
        title="ALaaS",
        version=__version__,
        summary="Active Learning as a Service: post a pool and a budget, get back the items "
        "most worth labelling.",
    )
    app.middleware("http")(_account(service))
    app.add_exception_handler(AlaasError, _as_problem)
    app.add_exception_handler(HTTPException, _as_problem)
    app.add_exception_handler(Exception, _as_problem)
    _add_queries(app, service)
    _add_catalogue(app, service)
    _add_probes(app, service)
    _add_websocket(app, service)
    return app


def _account(
    service: Service,
) -> Callable[[Request, Callable[[Request], Awaitable[Response]]], Awaitable[Response]]:
    """Name each request, count it, and send its name back."""

    async def account(
        request: Request, answer: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        request.state.id = uuid.uuid4().hex
        started = perf_counter()
        response = await answer(request)
        route = request.scope.get("route")
        path = getattr(route, "path", "unknown")
        service.metrics.requests.labels(path, request.method, str(response.status_code)).inc()
        service.metrics.request_seconds.labels(path).observe(perf_counter() - started)
        response.headers["X-Request-ID"] = request.state.id
        return response

    return account


async def _as_problem(request: Request, error: Exception) -> Response:
    request_id = getattr(request.state, "id", "")
    if isinstance(error, HTTPException):
        document = {
            **problem(NotFound(f"there is nothing at {request.url.path}"), request_id),
            "status": error.status_code,
            "detail": str(error.detail),
        }
        if error.status_code != 404:
            document.update(code="http", title=str(error.detail), type="about:blank")
    else:
        known = error if isinstance(error, AlaasError) else Internal("an error of the service")
        document = problem(known, request_id)
    headers = {"Retry-After": "1"} if document["status"] == 503 else {}
    return JSONResponse(
        document, status_code=document["status"], media_type=PROBLEM_JSON, headers=headers
    )


def _add_queries(app: FastAPI, service: Service) -> None:
    body = {
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/QueryBody"}}},
        }
    }

    async def answer(request: Request, *, old_path: bool) -> Response:
        document = schema.read_json(await _json_body(request))
        if old_path:
            schema.read_endpoint(document)
        parameters, items = schema.read_query(document)
        work = service.query(parameters, whole(items), request_id=request.state.id)
        response = await _unless_gone(request, work)
        return JSONResponse(_with_blobs(response, items).to_json(parameters))

    @app.post(
        "/query",
        response_model=schema.Answer,
        responses=_PROBLEMS,
        openapi_extra=body,
        tags=["selection"],
        operation_id="query",
    )
    async def query(request: Request) -> Response:
        """Choose the items of a pool that are most worth labelling."""
        return await answer(request, old_path=False)

    @app.post(
        "/post",
        response_model=schema.Answer,
        responses=_PROBLEMS,
        openapi_extra=body,
        tags=["selection"],
        operation_id="post",
    )
    async def post(request: Request) -> Response:
        """The same, at the address and in the form of the Jina gateway of earlier releases."""
        return await answer(request, old_path=True)

    _describe_body(app)


def _describe_body(app: FastAPI) -> None:
    """Put the schema of the request into the OpenAPI document.

    The handlers read the body themselves, since malformed JSON is a 400 and not a 422.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            described = generate()
            body = schema.QueryBody.model_json_schema(
                ref_template="#/components/schemas/{model}", by_alias=True
            )
            definitions = body.pop("$defs", {})
            described["components"]["schemas"].update(definitions, QueryBody=body)
        return app.openapi_schema or described

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


async def _json_body(request: Request) -> bytes:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != "application/json":
        raise UnsupportedMediaType(
            f"the body must be application/json, got {given or 'no content type'}"
        )
    return await request.body()


async def _unless_gone(request: Request, work: Awaitable[QueryResponse]) -> QueryResponse:
    """Await a query, and cancel it when the client closes the connection."""
    task = asyncio.ensure_future(work)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        task.cancel()

    watcher = asyncio.create_task(watch())
    try:
        return await task
    finally:
        watcher.cancel()


def _with_blobs(response: QueryResponse, items: list[Item | Failure]) -> QueryResponse:
    """Give the chosen items back as they came: those that came as bytes, with their bytes."""
    blobs = {item.id: item.blob for item in items if isinstance(item, Item) and item.blob}
    if not blobs:
        return response
    picks = tuple(
        Pick(p.id, p.rank, p.score, p.uri, p.text, blobs.get(p.id)) for p in response.picks
    )
    return QueryResponse(
        picks, response.failures, response.timings, response.receipt,
        response.warnings, response.request_id,
    )  # fmt: skip


def _add_catalogue(app: FastAPI, service: Service) -> None:
    @app.get("/strategies", tags=["catalogue"], operation_id="strategies")
    async def strategies() -> dict[str, Any]:
        """Every strategy: its names, what it needs, what it costs, and its paper."""
        return {"strategies": service.strategies()}

    @app.get("/models", tags=["catalogue"], operation_id="models")
    async def models() -> dict[str, Any]:
        """The loaded model: its classes, its digest and its preprocessing."""
        return {"models": service.models()}


def _add_probes(app: FastAPI, service: Service) -> None:
    @app.get("/", include_in_schema=False)
    async def root() -> dict[str, Any]:
        return {"service": "ALaaS", "version": __version__, "docs": "/docs"}

    @app.get("/livez", tags=["operation"], operation_id="livez")
    async def livez() -> dict[str, str]:
        """Whether the gateway's event loop answers."""
        return {"status": "alive"}

    @app.get(
        "/readyz",
        tags=["operation"],
        operation_id="readyz",
        responses={503: {"model": schema.Problem, "description": "A stage does not answer."}},
    )
    async def readyz() -> dict[str, str]:
        """Whether every stage answers, proved by a query or by a canary of its own."""
        await service.check()
        return {"status": "ready"}

    @app.get("/metrics", tags=["operation"], operation_id="metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(
            service.metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8"
        )


def _add_websocket(app: FastAPI, service: Service) -> None:
    @app.websocket("/ws")
    async def ws(socket: WebSocket) -> None:
        await socket.accept()
        request_id = uuid.uuid4().hex
        try:
            await _converse(socket, service, request_id)
        except AlaasError as error:
            await _send(socket, {"type": "error", "problem": problem(error, request_id)})
        except WebSocketDisconnect:
            return
        await _close(socket)


async def _converse(socket: WebSocket, service: Service, request_id: str) -> None:
    """One query over a WebSocket: parameters, the pool in parts, progress, the answer."""
    first = await _frame(socket)
    if first.get("type") != "query":
        raise ValidationFailed("the first message must have the type 'query'")
    parameters, items = schema.read_query(first)
    news: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def source() -> AsyncIterator[Part]:
        row = len(items)
        if items:
            yield items
        while True:
            frame = await _frame(socket)
            if frame.get("type") == "end":
                return
            if frame.get("type") != "items" or not isinstance(frame.get("data"), list):
                raise ValidationFailed("after 'query' come messages of the types 'items' and 'end'")
            part = schema.read_items(frame["data"], row)
            row += len(part)
            yield part

    async def report() -> None:
        while True:
            await _send(socket, await news.get())

    reporter = asyncio.create_task(report())
    try:
        response = await service.query(
            parameters,
            source(),
            request_id=request_id,
            on_progress=lambda progress: news.put_nowait(
                {"type": "progress", **progress.to_json()}
            ),
        )
    finally:
        reporter.cancel()
    while not news.empty():
        await _send(socket, news.get_nowait())
    await _send(socket, {"type": "result", **response.to_json(parameters)})


async def _frame(socket: WebSocket) -> dict[str, Any]:
    """The next message: a JSON object.

    Raises:
        WebSocketDisconnect: The client has gone.
        MalformedJSON: It is not JSON.
        ValidationFailed: It is not an object.
    """
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1006))
    document = schema.read_json((message.get("text") or "").encode() or message.get("bytes") or b"")
    if not isinstance(document, dict):
        raise ValidationFailed(f"a message must be an object, got {type(document).__name__}")
    return document


async def _send(socket: WebSocket, event: dict[str, Any]) -> None:
    try:
        await socket.send_json(event)
    except (RuntimeError, WebSocketDisconnect):  # it closed while we were writing
        raise WebSocketDisconnect(1006) from None


async def _close(socket: WebSocket) -> None:
    try:
        await socket.close()
    except RuntimeError:  # the client closed first
        return
