"""Connections of HTTP and WebSocket that hold nobody's place for ever."""

from __future__ import annotations

import asyncio
import json
import re
import uuid
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from typing import Any, Literal, TypeAlias

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from websockets.exceptions import ConnectionClosed

from alaas.config import LimitsSettings
from alaas.core.errors import AlaasError, InvalidRequest
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.handshake import Handshake
from alaas.server.limits import silent
from alaas.server.presence import GONE, has_gone

DISCARDED, DISCARD_S = 64 * 2**20, 5.0
"""Bytes that are read of a body after its request was refused, and for how long at most.

A client that is still sending when the connection is closed would not see the answer.
"""

CUT = 2
"""A message of so many times the limit is not read to its end; up to there, the answer says why
it is refused."""

_TOO_BIG = 1009
_END = re.compile(rb"\n\r?\n")

_Wait: TypeAlias = Literal["head", "rest"]


class Connection(H11Protocol):
    """uvicorn's protocol, with an end to waiting.

    uvicorn waits for the head of a request as long as the client likes, and as long for what
    is left of a body that nobody wants. The bodies that are wanted are timed by who reads them.
    """

    limits: LimitsSettings = LimitsSettings()

    def connection_made(self, transport: Any) -> None:
        """Wait for the first request."""
        self._awaited: _Wait | None = None
        self._clock: asyncio.TimerHandle | None = None
        self._spare = DISCARDED
        super().connection_made(transport)
        self.app_state = {**self.app_state, GONE: partial(has_gone, transport)}
        self._expect("head")

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what came, unless it is too much."""
        if self.conn.their_state is h11.IDLE and self._is_too_long(data):
            self._refuse(
                "the head of the request has more than "
                f"{self.limits.header_bytes} bytes (limits.header_bytes)",
                HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
            )
            return
        if self._awaited == "rest":
            self._spare -= len(data)
            if self._spare < 0:
                self.transport.close()
                return
        super().data_received(data)
        self._expect(self._wanting())

    def on_response_complete(self) -> None:
        """Go on to the next request, or wait for the rest of this one."""
        super().on_response_complete()
        self._expect(self._wanting())

    def handle_websocket_upgrade(self, event: Any) -> None:
        """Give the connection away."""
        self._expect(None)
        super().handle_websocket_upgrade(event)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP."""
        self._refuse("the request is not HTTP/1.1 as it should be", HTTPStatus.BAD_REQUEST)

    def _wanting(self) -> _Wait | None:
        theirs, ours = self.conn.their_state, self.conn.our_state
        if theirs is h11.IDLE and self.conn.trailing_data[0]:
            return "head"
        if theirs is h11.SEND_BODY and ours in {h11.DONE, h11.MUST_CLOSE}:
            return "rest"
        return None

    def _expect(self, awaited: _Wait | None) -> None:
        if awaited == self._awaited:
            return
        self._awaited, self._spare = awaited, DISCARDED
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        if awaited is not None:
            silence_s = self.limits.silence_s
            seconds = silence_s if awaited == "head" else min(silence_s, DISCARD_S)
            self._clock = self.loop.call_later(seconds, self._give_up)

    def _give_up(self) -> None:
        if self.transport.is_closing():
            return
        if self._awaited == "head" and self.conn.trailing_data[0]:
            error = silent("silence_s")
            self._answer(error, HTTPStatus(error.status))
        else:
            self.transport.close()

    def _is_too_long(self, data: bytes) -> bool:
        """Whether the head is, with these bytes; h11 sees only that one is not complete."""
        most = self.limits.header_bytes
        head = self.conn.trailing_data[0] + data[: most + 4]
        end = _END.search(head)
        return (len(head) if end is None else end.end()) > most

    def _refuse(self, detail: str, status: HTTPStatus) -> None:
        error = InvalidRequest(detail)
        error.status = status
        self._answer(error, status)

    def _answer(self, error: AlaasError, status: HTTPStatus) -> None:
        """Say what is wrong with what never became a request, and close."""
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            body = json.dumps(problem(error, uuid.uuid4().hex)).encode()
            headers = [
                ("content-type", PROBLEM_JSON),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            response = h11.Response(
                status_code=status, headers=headers, reason=status.phrase.encode()
            )
            for event in (response, h11.Data(data=body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


class Conversation(Handshake):
    """The WebSocket of a connection. One that is closed for the size of a message says so.

    Its application can ask how many bytes have come, ``scope["state"]["heard"]()``: a large
    message on a slow line is no silence.
    """

    limits: LimitsSettings = LimitsSettings()
    _heard = 0

    def data_received(self, data: bytes) -> None:
        """Count what came."""
        self._heard += len(data)
        super().data_received(data)

    async def run_asgi(self) -> None:
        """Let the application ask for it."""
        self.scope["state"]["heard"] = lambda: self._heard
        self.scope["state"][GONE] = lambda: self.closed or has_gone(self.transport)
        await super().run_asgi()

    async def close(self, code: int = 1000, reason: str = "") -> None:
        """Close it, if the other side has not: that is nobody's error."""
        with suppress(ConnectionClosed):
            await super().close(code, reason)

    def fail_connection(self, code: int = 1006, reason: str = "") -> None:
        """Close it because of what came."""
        if code == _TOO_BIG and not reason:
            reason = f"a message has more than {self.limits.body_bytes} bytes (limits.body_bytes)"
        super().fail_connection(code, reason)


def uvicorn_options(limits: LimitsSettings) -> dict[str, Any]:
    """What makes uvicorn keep the limits.

    Args:
        limits: How large and how slow requests may be.
    """
    return {
        "http": type("Connection", (Connection,), {"limits": limits}),
        "ws": type("Conversation", (Conversation,), {"limits": limits}),
        "h11_max_incomplete_event_size": limits.header_bytes,
        "ws_max_size": CUT * limits.body_bytes,
        # Messages that are kept before they are asked for: each may be as large as a document.
        "ws_max_queue": 1,
    }
