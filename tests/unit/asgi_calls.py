"""Calls of an ASGI application without a network, as a server on loopback would pass them on."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message

LOCAL = ("127.0.0.1", 50_000)


@dataclass(slots=True)
class Answer:
    """What came back.

    Attributes:
        status: Of an HTTP request; 0 where none came.
        headers: Of the answer, or of the handshake of a WebSocket.
        body: Of an HTTP request.
        texts: Messages of a WebSocket.
    """

    status: int = 0
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    texts: list[str] = field(default_factory=list)

    def take(self, message: Message) -> None:
        """Take in what the application sends."""
        if "headers" in message:
            self.headers = Headers(raw=list(message["headers"]))
        self.status = message.get("status", self.status)
        self.body += message.get("body", b"")
        if "text" in message:
            self.texts.append(message["text"])

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


def _scope(kind: str, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
    path, _, query = path.partition("?")
    given = {"host": "127.0.0.1", **{name.lower(): value for name, value in headers.items()}}
    return {
        "type": kind,
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": {"http": "http", "websocket": "ws"}[kind],
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
        "client": LOCAL,
        "server": ("127.0.0.1", 80),
        "state": {},
    }


async def request(
    app: ASGIApp,
    method: str,
    path: str,
    body: Any = None,
    *,
    content: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Send an HTTP request: JSON in `body`, or anything in `content`."""
    given, data = dict(headers or {}), content
    if body is not None:
        given, data = {"Content-Type": "application/json", **given}, json.dumps(body).encode()
    given["Content-Length"] = str(len(data))
    sent, answer = [{"type": "http.request", "body": data}], Answer()

    async def receive() -> Message:
        if sent:
            return sent.pop()
        await asyncio.Event().wait()  # it stays until it has its answer
        raise AssertionError

    async def send(message: Message) -> None:
        answer.take(message)

    await app({**_scope("http", path, given), "method": method}, receive, send)
    return answer


async def converse(
    app: ASGIApp, path: str, messages: Iterable[Any], *, headers: Mapping[str, str] | None = None
) -> Answer:
    """Connect a WebSocket, send messages, and leave when the application closes.

    ``None`` among the messages is the client's leave.
    """
    sent, answer = iter(messages), Answer()
    first = [{"type": "websocket.connect"}]

    async def receive() -> Message:
        if first:
            return first.pop()
        if (message := next(sent, ...)) is ...:
            await asyncio.Event().wait()
        if message is None:
            return {"type": "websocket.disconnect", "code": 1001}
        return {"type": "websocket.receive", "text": json.dumps(message)}

    async def send(message: Message) -> None:
        answer.take(message)

    await app({**_scope("websocket", path, headers or {}), "subprotocols": []}, receive, send)
    return answer
