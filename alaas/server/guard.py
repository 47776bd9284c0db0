"""The guard of the HTTP routes and the WebSocket: it asks who calls before anything is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

from alaas.config.access import AuthSettings
from alaas.core.errors import AlaasError, HostRefused, MethodNotAllowed, NotFound, Unauthenticated
from alaas.server import scopes
from alaas.server.auth import (
    CHALLENGE,
    NOBODY,
    QUERY,
    Access,
    Caller,
    is_forwarded,
    is_loopback,
)
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.hosts import Hosts
from alaas.server.metrics import Metrics

_CLOSED = 4000
"""What is added to an HTTP status to close a WebSocket where it cannot be answered."""

_READING = ("GET", "HEAD", "OPTIONS")
"""Methods that change nothing."""

log = structlog.get_logger()


def protect(app: FastAPI, settings: AuthSettings, metrics: Metrics) -> None:
    """Let through what may come, and say in the OpenAPI document what that is.

    Args:
        app: The application. Middleware that is added later comes before the guard.
        settings: Who may call.
        metrics: Where refusals are counted.
    """
    app.add_middleware(_Guard, check=Callers(settings).check, metrics=metrics)
    if settings.origins:
        # Between the two: foreign pages do not get here, and listed ones may read a refusal.
        app.add_middleware(
            CORSMiddleware,
            allow_origins=[origin.lower() for origin in settings.origins],
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=("Authorization", "Content-Type", "Idempotency-Key", "X-Request-ID"),
            expose_headers=("Idempotent-Replayed", "Location", "Retry-After", "X-Request-ID"),
        )
    app.add_middleware(_Guard, check=Addresses(settings).check, metrics=metrics)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if not app.openapi_schema:
            _describe(generate())
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's own way to extend it


class Addresses:
    """Checks that requests are for this service, and from pages that may call it."""

    def __init__(self, settings: AuthSettings) -> None:
        self._hosts = Hosts(settings)

    def check(self, scope: Scope) -> None:
        """Check one request.

        Raises:
            HostRefused: Its host or its target is none of ours.
            Forbidden: A page of another site asks.
        """
        headers, path = Headers(scope=scope), scope["path"]
        if not path.startswith("/"):
            raise HostRefused("the request's target must be a path, such as /query")
        self._hosts.check_host(headers.getlist("host"), named=not scopes.is_open(path))
        preflight = "access-control-request-method" in headers
        if scope["type"] == "websocket" or preflight or scope["method"] not in _READING:
            self._hosts.check_origin(headers.getlist("origin"), headers["host"])


class Callers:
    """Checks that callers have what their requests need, and says who they are."""

    def __init__(self, settings: AuthSettings) -> None:
        self._access = Access(settings)

    def check(self, scope: Scope) -> None:
        """Check one request, and put its caller where `caller_of` finds it.

        Raises:
            Unauthenticated: It needs a key.
            Forbidden: It needs another key.
            NotFound: There is nothing at its path.
            MethodNotAllowed: What is there takes other methods.
        """
        path = scope["path"]
        method = scopes.WEBSOCKET if scope["type"] == "websocket" else scope["method"]
        caller = NOBODY if scopes.is_open(path) else self._identify(scope)
        if (needed := scopes.needed(method, path)) is not scopes.OPEN:
            caller.check(needed)
        scope.setdefault("state", {})["caller"] = caller

    def _identify(self, scope: Scope) -> Caller:
        headers = Headers(scope=scope)
        return self._access.identify(
            [value.encode("latin-1") for value in headers.getlist("authorization")],
            local=is_loopback(_peer(scope)) and not is_forwarded(headers.keys()),
        )


class _Guard:
    """Answers what a check refuses, and lets the rest through."""

    def __init__(self, app: ASGIApp, check: Callable[[Scope], None], metrics: Metrics) -> None:
        self._app = app
        self._check = check
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            try:
                self._check(scope)
            except AlaasError as error:
                self._note(error, scope)
                await _refuse(error, scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _note(self, error: AlaasError, scope: Scope) -> None:
        if not isinstance(error, MethodNotAllowed | NotFound):
            log.warning("refused", code=error.code, peer=_peer(scope))
            self._metrics.rejected.labels(error.code).inc()


def _peer(scope: Scope) -> str:
    """Address of the caller; empty where it is not known."""
    return str((scope.get("client") or ("",))[0])


async def _refuse(error: AlaasError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or the handshake of a WebSocket, with a problem."""
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        headers.update(CHALLENGE)
    if isinstance(error, MethodNotAllowed):
        headers["Allow"] = scopes.allowed(scope["path"])
    if scope["type"] == "websocket":
        if "websocket.http.response" not in scope.get("extensions", {}):
            await send({"type": "websocket.close", "code": _CLOSED + error.status})
            return
    elif "expect" in Headers(scope=scope):
        # Of a body that is on its way the connection takes the rest; this one need not come.
        headers["Connection"] = "close"
    document = problem(error, scope.get("state", {}).get("id", ""))
    answer = JSONResponse(document, error.status, headers, media_type=PROBLEM_JSON)
    await answer(scope, receive, send)


def _describe(document: dict[str, Any]) -> None:
    """Say in an OpenAPI document what needs a key, and what is answered without one."""
    components = document.setdefault("components", {})
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    answer = {"content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    told = {
        "400": "Not a host of this service.",
        "401": "No API key, or a wrong one.",
        "403": "The API key does not open this, or a page of another origin asks.",
    }
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            scope = scopes.ROUTES.get(path, {}).get(method.upper(), QUERY)
            if scope is scopes.OPEN:
                continue
            operation["security"] = [{"key": []}]
            for status, description in told.items():
                operation["responses"].setdefault(status, {"description": description, **answer})
