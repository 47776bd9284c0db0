"""What happens around every call, whatever the protocol: it gets an id, is counted and traced.

The id is the caller's own ``X-Request-ID`` where that is a plain word, or a new one. It comes
back with the answer and stands on every line that is logged about the call.
"""

from __future__ import annotations

import asyncio
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc
import structlog
from fastapi.responses import JSONResponse
from opentelemetry.trace import INVALID_SPAN, Span, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from alaas.core.errors import Internal
from alaas.server import interception, logs, scopes
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.interception import Context
from alaas.server.metrics import Metrics, Protocol
from alaas.server.tracing import Tracing, trace_id

UNKNOWN = "unknown"

GONE = "499"
"""The status of what nobody received: the client left before the answer."""

log = structlog.get_logger()

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def request_id(given: str | None) -> str:
    """The id of a call: the caller's, where it may be taken, or a new one.

    Example:
        >>> request_id("order-66"), len(request_id("no way"))
        ('order-66', 32)
    """
    return given if given is not None and _ID.fullmatch(given) else uuid.uuid4().hex


@dataclass(slots=True)
class Call:
    """One call, as is learnt of it.

    Attributes:
        id: Its id.
        route: Pattern of its route.
        method: What is asked of the route.
        status: Of the answer.
    """

    id: str
    route: str = UNKNOWN
    method: str = UNKNOWN
    status: str = UNKNOWN


class Books:
    """Where calls are entered.

    Args:
        metrics: Where to count.
        tracing: Where to draw spans.
    """

    def __init__(self, metrics: Metrics, tracing: Tracing) -> None:
        self._metrics = metrics
        self._tracing = tracing

    @contextmanager
    def entry(
        self, protocol: Protocol, name: str, headers: Mapping[str, str], *, is_probe: bool = False
    ) -> Iterator[Call]:
        """Enter one call: what is logged inside has `name`, and it is counted at the end.

        Args:
            protocol: How it came.
            name: Its id.
            headers: What it says of itself; names in lower case.
            is_probe: Whether it is one of many of which nobody wants a trace.
        """
        call, started = Call(name), monotonic()
        drawn = nullcontext(INVALID_SPAN) if is_probe else self._tracing.request(protocol, headers)
        with drawn as span, logs.about(name, trace_id()):
            try:
                yield call
            finally:
                seconds = monotonic() - started
                self._metrics.called(
                    protocol, call.route, call.method, call.status, seconds=seconds
                )
                _describe(span, call)


def _describe(span: Span, call: Call) -> None:
    span.update_name(f"{call.method} {call.route}")
    span.set_attributes({
        "alaas.request_id": call.id,
        "alaas.status": call.status,
        "http.route": call.route,
    })  # fmt: skip
    if call.status in {UNKNOWN, "UNKNOWN", "INTERNAL"} or call.status.startswith("5"):
        span.set_status(Status(StatusCode.ERROR))


class Accounting:
    """Enters HTTP requests and conversations by WebSocket, and sends their ids back.

    The id is ``scope["state"]["id"]`` for everything inside. A WebSocket notes there what it
    was asked for (``method``) and how that ended (``status``).

    Args:
        app: What answers.
        books: Where to enter them.
    """

    def __init__(self, app: ASGIApp, books: Books) -> None:
        self._app = app
        self._books = books

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request or one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        name = request_id(headers.get("x-request-id"))
        state = scope.setdefault("state", {})
        state["id"] = name
        is_probe = scopes.is_open(scope["path"])
        with self._books.entry(scope["type"], name, headers, is_probe=is_probe) as call:
            named = _naming(send, call)
            try:
                await self._app(scope, receive, named)
            except ClientDisconnect:
                call.status = GONE
            except Exception:
                log.exception("failed")
                if not await _apologise(scope, receive, named, call):
                    raise
            finally:
                call.route = _route(scope)
                if scope["type"] == "http":
                    call.method = scope["method"] if scope["method"] in _METHODS else UNKNOWN
                else:
                    call.method = state.get("method", UNKNOWN)
                    call.status = str(state.get("status", call.status))


async def _apologise(scope: Scope, receive: Receive, send: Send, call: Call) -> bool:
    """Answer what an error of ours has left without an answer. False if it is too late."""
    if scope["type"] == "websocket":
        scope["state"]["status"] = "500"
        await send({"type": "websocket.close", "code": 1011})
    elif call.status == UNKNOWN:
        document = problem(Internal("an error of the service; its log has the cause"), call.id)
        answer = JSONResponse(document, 500, media_type=PROBLEM_JSON)
        await answer(scope, receive, send)
    else:  # it was being sent: all that is left is to cut the connection
        return False
    return True


def _naming(send: Send, call: Call) -> Send:
    """Send with the id of the call, and note the status of its answer."""

    async def named(message: Message) -> None:
        kind = message["type"]
        if kind in {"http.response.start", "websocket.http.response.start"}:
            call.status = str(message["status"])
            MutableHeaders(scope=message)["X-Request-ID"] = call.id
        elif kind == "websocket.accept":
            message.setdefault("headers", [])
            MutableHeaders(scope=message)["X-Request-ID"] = call.id
        elif kind == "websocket.close" and call.status == UNKNOWN:
            call.status = "403"  # what a client is told that is refused before it is accepted
        await send(message)

    return named


def _route(scope: Scope) -> str:
    """The pattern of the route, never the path: a label must not hold what a caller wrote."""
    if "route" not in scope and "app" in scope:  # it was refused before it got there
        for route in scope["app"].router.routes:
            matched, _ = route.matches(scope)
            if matched is not Match.NONE:
                return getattr(route, "path", UNKNOWN)
    return getattr(scope.get("route"), "path", UNKNOWN)


class CallAccounting(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # in its stubs only
    """Enters gRPC calls.

    Args:
        books: Where to enter them.
    """

    def __init__(self, books: Books) -> None:
        self._books = books

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        details: grpc.HandlerCallDetails,
    ) -> Any:
        """Give the handler of a call, which is entered when it is made."""
        handler = await continuation(details)
        service, _, method = details.method.rpartition("/")

        @asynccontextmanager
        async def entered(context: Context) -> AsyncIterator[None]:
            headers = _texts(context)
            name = request_id(headers.get("x-request-id"))
            is_probe = scopes.CALLS.get(details.method, "") is scopes.OPEN
            with self._books.entry("grpc", name, headers, is_probe=is_probe) as call:
                call.route, call.method = service, method
                call.status = "UNKNOWN"  # what gRPC tells of an error that nobody catches
                try:
                    yield
                    call.status = _status(context, grpc.StatusCode.OK)
                except (asyncio.CancelledError, GeneratorExit):
                    left = context.time_remaining()
                    call.status = "CANCELLED" if left is None or left > 0 else "DEADLINE_EXCEEDED"
                    raise
                except Exception:
                    call.status = _status(context, grpc.StatusCode.UNKNOWN)
                    raise

        return interception.around(handler, entered)


def _texts(context: Context) -> dict[str, str]:
    metadata = context.invocation_metadata() or ()
    return {str(name): value for name, value in metadata if isinstance(value, str)}


_CODES = {code.value[0]: code.name for code in grpc.StatusCode}


def _status(context: Context, otherwise: grpc.StatusCode) -> str:
    """The name of the status that a call was ended with."""
    code: Any = context.code()  # a number or a member, or nothing
    return _CODES.get(getattr(code, "value", (code,))[0], otherwise.name)
