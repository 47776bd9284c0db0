"""The HTTP API and its WebSocket, as a FastAPI application over a `Service`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Receive, Scope, Send

from alaas import __version__
from alaas.core.errors import AlaasError, Internal, MethodNotAllowed, NotFound, RequestTimeout
from alaas.server import guard, probes, schema, selection, websocket
from alaas.server.accounting import GONE, Accounting, Books
from alaas.server.auth import caller_of
from alaas.server.bodies import held_bytes
from alaas.server.errors import PROBLEM_JSON, problem, retry_after
from alaas.server.jobs import routes as jobs
from alaas.server.limits import Admission
from alaas.server.metrics import CONTENT_TYPE
from alaas.server.service import Service
from alaas.strategies import registry

POOLED = frozenset({"/query", "/push", "/post", "/jobs"})
"""Where a POST brings a pool, of which there may be so many at once."""

_SCHEMAS = "#/components/schemas/"
_PROBLEM = _SCHEMAS + "Problem"

_Handler: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]


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
    _describe_problems(app)
    as_problem = _problems(service.admission)
    app.add_middleware(_Admitting, admission=service.admission, as_problem=as_problem)
    guard.protect(app, service.settings.auth, service.metrics)
    app.add_middleware(Accounting, books=Books(service.metrics, service.tracing))
    for kind in (AlaasError, HTTPException, Exception):
        app.add_exception_handler(kind, as_problem)
    app.add_exception_handler(ConnectionResetError, _gone)
    selection.add_routes(app, service)
    jobs.add_routes(app)
    _add_catalogue(app, service)
    _add_probes(app, service)
    app.add_api_websocket_route("/ws", websocket.endpoint(service))
    return app


def _describe_problems(app: FastAPI) -> None:
    """Have the OpenAPI document say that errors are problems, of their own media type.

    FastAPI takes every model that is described for one of the route's media type, and its
    own form for that of a path that does not fit.
    """
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        document = generate()
        for path in document["paths"].values():
            for operation in path.values():
                for status, response in operation["responses"].items():
                    content = response.get("content", {})
                    if status[0] in "45" and content.pop("application/json", None):
                        content[PROBLEM_JSON] = {"schema": {"$ref": _PROBLEM}}
        schemas = document["components"]["schemas"]
        for name in ("HTTPValidationError", "ValidationError"):
            schemas.pop(name, None)
        schemas["Problem"] = schema.Problem.model_json_schema(ref_template=_SCHEMAS + "{model}")
        schemas |= schemas["Problem"].pop("$defs")
        return document

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


class _Admitting:
    """Takes on requests that bring a pool, or refuses them before they are read."""

    def __init__(self, app: ASGIApp, *, admission: Admission, as_problem: _Handler) -> None:
        self._app = app
        self._admission = admission
        self._as_problem = as_problem

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in POOLED:
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        size = held_bytes(request.headers, self._admission.limits)
        try:
            ticket = self._admission.enter(caller_of(request).name, size=size)
        except AlaasError as error:
            await (await self._as_problem(request, error))(scope, receive, send)
            return
        with ticket:
            request.state.ticket = ticket
            await self._app(scope, receive, send)


def _problems(admission: Admission) -> _Handler:
    """What answers errors."""

    async def as_problem(request: Request, error: Exception) -> Response:
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
        admission.refused(known)
        # Of a body that has not been read, the connection takes the rest; not so one that does
        # not come, or that waits for a word to come.
        if isinstance(known, RequestTimeout) or "expect" in request.headers:
            headers["Connection"] = "close"
        if (seconds := retry_after(known)) is not None:
            headers["Retry-After"] = seconds
        document = problem(known, getattr(request.state, "id", ""))
        return JSONResponse(document, known.status, headers, media_type=PROBLEM_JSON)

    return as_problem


async def _gone(request: Request, error: Exception) -> Response:
    """Nobody will read this: the client closed the connection before its request was complete."""
    return Response(status_code=int(GONE))


def _add_catalogue(app: FastAPI, service: Service) -> None:
    @app.get("/strategies", tags=["catalogue"], operation_id="strategies")
    async def strategies() -> dict[str, Any]:
        """Every strategy: its names, what it needs, what it costs, and its paper."""
        return {"strategies": service.strategies(), "common_params": registry.common_to_json()}

    @app.get("/models", tags=["catalogue"], operation_id="models")
    async def models() -> dict[str, Any]:
        """The loaded model: its classes, its digest and its preprocessing."""
        return {"models": service.cards()}

    @app.get("/info", tags=["catalogue"], operation_id="info", response_model=schema.Info)
    async def info() -> Response:
        """What runs here, how it can be asked, and what it takes."""
        return JSONResponse(service.info())

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

    probes.add_routes(app, service.readiness)

    @app.get("/metrics", tags=["operation"], operation_id="metrics", response_class=Response)
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.exposition(), media_type=CONTENT_TYPE)
