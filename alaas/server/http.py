"""The HTTP API and its WebSocket, as a FastAPI application over a `Service`."""

from __future__ import annotations

import uuid
from time import perf_counter
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alaas import __version__
from alaas.core.errors import AlaasError, Internal, MethodNotAllowed, NotFound
from alaas.server import schema, selection, websocket
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.metrics import Metrics
from alaas.server.service import Service
from alaas.strategies import registry


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
    selection.add_routes(app, service)
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
    if getattr(request.state, "unread", False):
        # What is left of the body will not be read: the client must not wait to send it.
        headers["Connection"] = "close"
    if known.status == 503:
        headers["Retry-After"] = "1"
    document = problem(known, getattr(request.state, "id", ""))
    return JSONResponse(document, known.status, headers, media_type=PROBLEM_JSON)


def _add_catalogue(app: FastAPI, service: Service) -> None:
    @app.get("/strategies", tags=["catalogue"], operation_id="strategies")
    async def strategies() -> dict[str, Any]:
        """Every strategy: its names, what it needs, what it costs, and its paper."""
        return {"strategies": service.strategies(), "common_params": registry.common_to_json()}

    @app.get("/models", tags=["catalogue"], operation_id="models")
    async def models() -> dict[str, Any]:
        """The loaded model: its classes, its digest and its preprocessing."""
        return {"models": service.models()}

    unknown: dict[int | str, dict[str, Any]] = {
        404: {"model": schema.Problem, "description": "No such pool."}
    }
    disabled: dict[int | str, dict[str, Any]] = {
        409: {"model": schema.Problem, "description": "The service stores nothing."}
    }

    @app.get(
        "/pools", tags=["pools"], operation_id="pools",
        response_model=schema.StoredPools, responses=disabled,
    )  # fmt: skip
    async def pools() -> Response:
        """The stored pools, by name."""
        return JSONResponse({"pools": [pool.to_json() for pool in await service.pools()]})

    # A name may have slashes in it.
    @app.get(
        "/pools/{name:path}", tags=["pools"], operation_id="pool",
        response_model=schema.StoredPool, responses={**unknown, **disabled},
    )  # fmt: skip
    async def pool(name: str) -> Response:
        """One stored pool."""
        return JSONResponse((await service.pool(name)).to_json())

    @app.delete(
        "/pools/{name:path}", tags=["pools"], operation_id="delete_pool",
        status_code=204, responses={**unknown, **disabled},
    )  # fmt: skip
    async def delete_pool(name: str) -> Response:
        """Delete a stored pool."""
        await service.delete_pool(name)
        return Response(status_code=204)


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
