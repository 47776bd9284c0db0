"""The probes over HTTP, and what stands in for the service until it has loaded its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from alaas.core.errors import AlaasError, NotReady
from alaas.server import schema
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.readiness import Readiness
from alaas.server.status import Status

ALIVE = ("/livez", "/v2/health/live")
READY = ("/readyz", "/v2/health/ready")
STARTED = ("/startupz",)

RETRY_S = 2.0
"""Seconds after which it is worth asking a service again that starts."""


def add_routes(app: FastAPI, readiness: Readiness) -> None:
    """Add the probes, each under its own name and that of the V2 inference protocol.

    Args:
        app: What to add them to.
        readiness: What they say.
    """
    refused: dict[int | str, dict[str, Any]] = {
        503: {"model": schema.Problem, "description": "It is not."}
    }

    async def livez() -> dict[str, str]:
        """Whether the gateway's event loop answers, and its processes are supervised."""
        readiness.check_alive()
        return {"status": "alive"}

    async def readyz() -> dict[str, str]:
        """Whether every stage answers, proved by a query or by a canary of its own."""
        await readiness.check()
        return {"status": "ready"}

    async def startupz() -> dict[str, str]:
        """Whether the service was ready once; until then, how far it has come."""
        readiness.check_started()
        return {"status": "started"}

    for handler, (first, *others) in ((livez, ALIVE), (readyz, READY), (startupz, STARTED)):
        name = handler.__name__
        app.add_api_route(
            first,
            handler,
            methods=["GET"],
            tags=["operation"],
            operation_id=name,
            responses=refused,
        )
        for path in others:
            app.add_api_route(path, handler, methods=["GET"], include_in_schema=False)


class Door:
    """Hands requests to the application, once there is one.

    Until then it says how far the start has come, to whoever asks for whatever.

    Args:
        status: What the supervisor knows.
    """

    def __init__(self, status: Callable[[], Status]) -> None:
        self._status = status
        self.app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if self.app is not None:
            await self.app(scope, receive, send)
        elif scope["type"] == "http":
            await self._answer(scope["path"])(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1013, "reason": "starting"})

    def _answer(self, path: str) -> JSONResponse:
        if path in ALIVE:
            return JSONResponse({"status": "alive"})
        error: AlaasError = NotReady(f"the service is starting: {self._status().progress}")
        headers = {"Retry-After": f"{RETRY_S:g}", "Connection": "close"}
        return JSONResponse(problem(error, ""), error.status, headers, media_type=PROBLEM_JSON)
