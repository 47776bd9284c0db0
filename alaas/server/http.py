"""The HTTP API and its WebSocket, as a FastAPI application over a `Service`."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Coroutine
from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alaas import __version__
from alaas.core.errors import (
    AlaasError,
    Internal,
    MethodNotAllowed,
    NotFound,
    UnsupportedMediaType,
)
from alaas.core.wire import Failure, Item, Pick, QueryResponse
from alaas.server import schema, websocket
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.metrics import Metrics
from alaas.server.service import Service, whole
from alaas.strategies import registry

GONE = 499
"""The status that nobody receives: the client closed the connection before the answer."""

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
    app.add_middleware(_Accounting, metrics=service.metrics)
    app.add_exception_handler(AlaasError, _as_problem)
    app.add_exception_handler(HTTPException, _as_problem)
    app.add_exception_handler(Exception, _as_problem)
    _add_queries(app, service)
    _add_catalogue(app, service)
    _add_probes(app, service)
    app.add_api_websocket_route("/ws", websocket.endpoint(service))
    return app


class _Accounting:
    """Names each request, counts it, and sends its name back."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        scope.setdefault("state", {})["id"] = request_id
        status = 500
        started = perf_counter()

        async def named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        try:
            await self._app(scope, receive, named)
        finally:
            # The route's pattern, never the path: a label must not hold what a caller wrote.
            route = getattr(scope.get("route"), "path", "unknown")
            self._metrics.requests.labels(route, scope["method"], str(status)).inc()
            self._metrics.request_seconds.labels(route).observe(perf_counter() - started)


async def _as_problem(request: Request, error: Exception) -> Response:
    """Answer any error: ours as it is, the router's by its status, others without a word."""
    headers: dict[str, str] = {}
    if isinstance(error, HTTPException):
        headers.update(error.headers or {})
        method, path = request.method, request.url.path
        known: AlaasError = (
            MethodNotAllowed(f"{path} does not take {method}")
            if error.status_code == 405
            else NotFound(f"there is nothing at {path}")
        )
    else:
        known = error if isinstance(error, AlaasError) else Internal("an error of the service")
    if known.status == 503:
        headers["Retry-After"] = "1"
    document = problem(known, getattr(request.state, "id", ""))
    return JSONResponse(document, known.status, headers, media_type=PROBLEM_JSON)


def _add_queries(app: FastAPI, service: Service) -> None:
    async def answer(request: Request, *, old_path: bool) -> Response:
        document = schema.read_json(await _json_body(request))
        if old_path:
            schema.read_endpoint(document)
        parameters, items = schema.read_query(document)
        work = service.query(parameters, whole(items), request_id=request.state.id)
        response = await _unless_gone(request, work)
        if response is None:
            return Response(status_code=GONE)
        return JSONResponse(_with_blobs(response, items).to_json(parameters))

    async def query(request: Request) -> Response:
        """Choose the items of a pool that are most worth labelling."""
        return await answer(request, old_path=False)

    async def post(request: Request) -> Response:
        """The same, at the address and in the form of the Jina gateway of earlier releases."""
        return await answer(request, old_path=True)

    content = {"application/json": {"schema": {"$ref": "#/components/schemas/QueryBody"}}}
    for handler in (query, post):
        app.add_api_route(
            f"/{handler.__name__}",
            handler,
            methods=["POST"],
            response_model=schema.Answer,
            responses=_PROBLEMS,
            openapi_extra={"requestBody": {"required": True, "content": content}},
            tags=["selection"],
            operation_id=handler.__name__,
        )
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


async def _unless_gone(
    request: Request, work: Coroutine[Any, Any, QueryResponse]
) -> QueryResponse | None:
    """Await a query; None, and the query cancelled, when the client closes the connection."""
    task = asyncio.create_task(work)

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    watcher = asyncio.create_task(watch())
    try:
        await asyncio.wait((task, watcher), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        watcher.cancel()
        task.cancel()


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
        return {"strategies": service.strategies(), "common_params": registry.common_to_json()}

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
