"""What each call needs. Nothing else can be called: what is not listed here is not there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from starlette.routing import compile_path

from alaas.core.errors import MethodNotAllowed, NotFound
from alaas.server.auth import ADMIN, QUERY

OPEN: Final = None
"""Needs no key: probes, which say nothing of what is done here and for whom."""

WEBSOCKET: Final = "WEBSOCKET"
"""What stands for the method where a WebSocket is opened."""

ROUTES: Final[Mapping[str, Mapping[str, str | None]]] = {
    "/livez": {"GET": OPEN},
    "/readyz": {"GET": OPEN},
    "/startupz": {"GET": OPEN},
    "/v2/health/live": {"GET": OPEN},
    "/v2/health/ready": {"GET": OPEN},
    "/": {"GET": QUERY},
    "/docs": {"GET": QUERY},
    "/docs/oauth2-redirect": {"GET": QUERY},
    "/redoc": {"GET": QUERY},
    "/openapi.json": {"GET": QUERY},
    "/info": {"GET": QUERY},
    "/strategies": {"GET": QUERY},
    "/models": {"GET": QUERY},
    "/query": {"POST": QUERY},
    "/push": {"POST": QUERY},
    "/post": {"POST": QUERY},
    "/ws": {WEBSOCKET: QUERY},
    "/pools": {"GET": QUERY},
    "/pools/{name:path}": {"GET": QUERY, "DELETE": ADMIN},
    "/jobs": {"GET": QUERY, "POST": QUERY},
    "/jobs/{name}": {"GET": QUERY},
    "/jobs/{name}/result": {"GET": QUERY},
    "/jobs/{name}/events": {"GET": QUERY},
    "/jobs/{name}/cancel": {"POST": QUERY},
    "/metrics": {"GET": ADMIN},
}
"""Path, as the router writes it, and method, to the scope that it needs."""

CALLS: Final[Mapping[str, str | None]] = {
    "/grpc.health.v1.Health/Check": OPEN,
    "/grpc.health.v1.Health/Watch": OPEN,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": QUERY,
    "/alaas.v1.ActiveLearning/Query": QUERY,
    "/alaas.v1.ActiveLearning/QueryStream": QUERY,
    "/alaas.v1.ActiveLearning/Push": QUERY,
    "/alaas.v1.ActiveLearning/PushStream": QUERY,
    "/alaas.v1.ActiveLearning/Strategies": QUERY,
    "/alaas.v1.ActiveLearning/Pools": QUERY,
    "/alaas.v1.ActiveLearning/DeletePool": ADMIN,
}
"""gRPC method to the scope that it needs."""

_PATTERNS = [(compile_path(path)[0], methods) for path, methods in ROUTES.items()]


def is_open(path: str) -> bool:
    """Whether everything at a path is open to everybody."""
    return all(scope is OPEN for scope in _methods(path).values()) and bool(_methods(path))


def needed(method: str, path: str) -> str | None:
    """The scope that a request needs; None if it is open to everybody.

    Args:
        method: Its HTTP method, or `WEBSOCKET`.
        path: Its path, unquoted.

    Raises:
        NotFound: There is nothing at that path.
        MethodNotAllowed: What is there takes other methods.
    """
    methods = _methods(path)
    if not methods:
        raise NotFound(f"there is nothing at {path}")
    if method not in methods:
        raise MethodNotAllowed(f"{path} does not take {method}")
    return methods[method]


def allowed(path: str) -> str:
    """The methods of a path, as the header ``Allow`` lists them."""
    return ", ".join(method for method in _methods(path) if method != WEBSOCKET)


def _methods(path: str) -> Mapping[str, str | None]:
    return next((methods for pattern, methods in _PATTERNS if pattern.match(path)), {})
