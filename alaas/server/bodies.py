"""The bodies of HTTP requests: a JSON document, or lines of JSON worked on as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from fastapi import Request
from starlette.datastructures import Headers
from starlette.types import Receive

from alaas.config import LimitsSettings
from alaas.core.errors import FieldError, MalformedJSON, UnsupportedMediaType, ValidationFailed
from alaas.core.wire import Failure, Item, item_from_json
from alaas.pipeline.ledger import Part
from alaas.pipeline.replay import Again
from alaas.server import schema
from alaas.server.limits import RATE, Ticket, check_stream, silent, too_large, within

JSON, LINES = "application/json", "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Body:
    """A request, taken apart.

    Attributes:
        head: What it says beside the pool.
        parameters: Its parameters, not checked yet.
        source: The pool, in parts as they arrive.
        items: The pool, where it came in one piece; empty otherwise.
        lines: The lines, where the pool comes in lines.
    """

    head: dict[str, Any]
    parameters: dict[str, Any]
    source: AsyncIterable[Part]
    items: list[Item | Failure] = field(default_factory=list)
    lines: Lines | None = None


async def read_body(request: Request) -> Body:
    """Read a request up to where its pool begins.

    Args:
        request: What was taken on: its state has the `Ticket`.

    Raises:
        UnsupportedMediaType: It is neither JSON nor lines of it.
        BodyTooLarge: It has more bytes than it may.
        TooManyItems: It has more items than it may.
        RequestTimeout: It does not come to an end.
        MalformedJSON: It says that it is JSON and is not.
        ValidationFailed: A part of it is of another type.
        ConnectionResetError: The client has gone.
    """
    ticket: Ticket = request.state.ticket
    limits = ticket.limits
    if _kind(request.headers) == LINES:
        lines = Lines(request.receive, limits)
        head = await lines.head()
        return Body(head, schema.read_parameters(head), lines.parts(), lines=lines)
    document = schema.read_json(await _whole(request, ticket), depth=limits.depth)
    parameters, items = schema.read_query(document, limits)
    ticket.hold(items=len(items))
    return Body(document, parameters, Again(items), items)


def held_bytes(headers: Headers, limits: LimitsSettings) -> int:
    """How much memory a request says that it will take: a document all of it, lines next to none.

    Args:
        headers: Of the request.
        limits: A document that is larger is refused as such, however much is held.
    """
    lines = headers.get("content-type", "").startswith(LINES)
    return 0 if lines else min(_declared(headers), limits.body_bytes)


def _declared(headers: Headers) -> int:
    given = headers.get("content-length", "")
    return int(given) if given.isdecimal() else 0


def _kind(headers: Headers) -> str:
    coding = headers.get("content-encoding", "identity").strip().lower()
    if coding != "identity":
        raise UnsupportedMediaType("the body must be sent as it is, without a Content-Encoding")
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    if given not in {JSON, LINES}:
        raise UnsupportedMediaType(
            f"the body must be {JSON} or {LINES}, got {given or 'no content type'}"
        )
    return given


async def _whole(request: Request, ticket: Ticket) -> bytearray:
    """All of a document, but no more of it than a document may have."""
    limits = ticket.limits
    if (declared := _declared(request.headers)) > limits.body_bytes:
        raise too_large("the body", limits)
    intake, body = Intake(request.receive, limits.silence_s, "silence_s"), bytearray()
    while not intake.complete.is_set():
        body += await intake.chunk()
        if len(body) > limits.body_bytes:
            raise too_large("the body", limits)
        if len(body) > declared:
            ticket.hold(size=len(body))
    return body


class Intake:
    """The bytes of a request as they arrive, no slower than they may.

    Args:
        receive: Gives the messages of the request.
        silence_s: Seconds for which a caller may be silent, in all; each KiB gives one more.
        key: The limit that says so.

    Attributes:
        complete: All has been read.
    """

    def __init__(self, receive: Receive, silence_s: float, key: str) -> None:
        self._receive = receive
        self.complete = asyncio.Event()
        self.begin(silence_s, key)

    def begin(self, silence_s: float, key: str) -> None:
        """Forget how long it took so far."""
        self._silence_s, self._key = silence_s, key
        self._waited = 0.0
        self._received = 0

    async def chunk(self) -> bytes:
        """Some more bytes.

        Raises:
            RequestTimeout: They do not come.
            ConnectionResetError: The client has gone.
        """
        left = self._silence_s + self._received / RATE - self._waited
        if left <= 0:
            raise silent(self._key)
        started = monotonic()
        async with within(min(left, self._silence_s), self._key):
            message = await self._receive()
        self._waited += monotonic() - started
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client has gone")
        if not message.get("more_body"):
            self.complete.set()
        chunk: bytes = message.get("body", b"")
        self._received += len(chunk)
        return chunk


class Lines:
    """Lines of JSON: one with the parameters, then one an item.

    No more is read than is asked for, so that a client can send no faster than its items
    are worked on.

    Args:
        receive: Gives the messages of the request.
        limits: How large lines may be, how many, and how slow.
    """

    def __init__(self, receive: Receive, limits: LimitsSettings) -> None:
        self._limits = limits
        self._intake = Intake(receive, limits.silence_s, "silence_s")
        self._line = self._row = 0
        self._begun: list[bytes] = []
        self._size = 0
        self._ready: list[bytes] = []
        self.complete = self._intake.complete

    async def head(self) -> dict[str, Any]:
        """The first line: an object with ``parameters``."""
        while not self._ready and not self.complete.is_set():
            await self._read()
        document = self._parse(self._ready.pop(0)) if self._ready else None
        if not isinstance(document, dict) or "parameters" not in document:
            message = 'must be an object with "parameters"; the items come after it'
            raise ValidationFailed(f"/line/1: {message}", errors=[FieldError("/line/1", message)])
        return document

    async def parts(self) -> AsyncIterator[Part]:
        """The items of the other lines, as many at a time as have arrived."""
        while self._ready or not self.complete.is_set():
            if self._ready:
                lines, self._ready = self._ready, []
                items = [item for line in lines if (item := self._item(line)) is not None]
                if items:
                    yield items
            else:
                await self._read()

    async def _read(self) -> None:
        *ended, rest = (await self._intake.chunk()).split(b"\n")
        if ended:
            ended[0] = b"".join((*self._begun, ended[0]))
            self._ready += ended
            self._begun, self._size = [], 0
            self._intake.begin(self._limits.stream_silence_s, "stream_silence_s")
        self._begun.append(rest)
        self._size += len(rest)
        longest = max(self._size, *map(len, ended), 0)
        if longest > self._limits.body_bytes:
            raise too_large("a line", self._limits)
        if self.complete.is_set():
            self._ready.append(b"".join(self._begun))

    def _parse(self, line: bytes) -> Any:
        self._line += 1
        if not line.strip():
            return None
        try:
            return schema.read_json(line, depth=self._limits.depth)
        except (MalformedJSON, ValidationFailed) as error:
            pointer = f"/line/{self._line}"
            raise type(error)(
                f"{pointer}: {error.detail}", errors=[FieldError(pointer, error.detail)]
            ) from None

    def _item(self, line: bytes) -> Item | Failure | None:
        """The item of a line; None for an empty line."""
        document = self._parse(line)
        if document is None and not line.strip():
            return None
        try:
            item = item_from_json(document, self._row)
        except ValidationFailed as error:
            here, there = f"/data/{self._row}", f"/line/{self._line}"
            raise ValidationFailed(
                error.detail.replace(here, there, 1),
                errors=[
                    FieldError(one.pointer.replace(here, there, 1), one.message)
                    for one in error.errors
                ],
            ) from None
        self._row += 1
        check_stream(self._row, self._limits)
        return item
