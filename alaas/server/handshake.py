"""WebSocket handshakes that can be refused with an answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from uvicorn.protocols.websockets.websockets_impl import WebSocketProtocol

_EXTENSION = "websocket.http.response"


class Handshake(WebSocketProtocol):
    """uvicorn's protocol, with the ASGI extension by which a refusal has status and body.

    Without it, every refused client gets 403 and no word of why.
    """

    _refusal: tuple[int, list[tuple[bytes, bytes]]]

    async def run_asgi(self) -> None:
        """Tell the application that it may answer."""
        scope: Any = self.scope
        scope.setdefault("extensions", {})[_EXTENSION] = {}
        await super().run_asgi()

    async def asgi_send(self, message: Any) -> None:
        """Keep an answer for the handshake; all else is as it was."""
        if message["type"] == f"{_EXTENSION}.start":
            self._refusal = message["status"], list(message.get("headers", ()))
        elif message["type"] == f"{_EXTENSION}.body":
            status, headers = self._refusal
            names = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
            self.initial_response = HTTPStatus(status), names, message.get("body", b"")
            self.handshake_started_event.set()
            self.closed_event.set()
        else:
            await super().asgi_send(message)
