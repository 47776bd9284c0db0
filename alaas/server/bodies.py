"""The bodies of HTTP requests: a JSON document, or lines of JSON worked on as they arrive."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.types import Receive

from alaas.core.errors import (
    AlaasError,
    FieldError,
    MalformedJSON,
    UnsupportedMediaType,
    ValidationFailed,
)
from alaas.core.wire import Failure, Item, item_from_json
from alaas.pipeline.ledger import Part
from alaas.pipeline.replay import Again
from alaas.server import schema

JSON, LINES = "application/json", "application/x-ndjson"

DISCARDED, DISCARD_S = 64 * 2**20, 5.0
"""Bytes that are read of a body after its request was refused, and for how long.

A client that is still sending when the connection is closed would not see the answer.
"""


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

    Raises:
        UnsupportedMediaType: It is neither JSON nor lines of it.
        MalformedJSON: It says so and is not.
        ValidationFailed: A part of it is of another type.
        ConnectionResetError: The client has gone.
    """
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given == JSON:
        document = schema.read_json(await request.body())
        parameters, items = schema.read_query(document)
        return Body(document, parameters, Again(items), items)
    if given != LINES:
        raise UnsupportedMediaType(
            f"the body must be {JSON} or {LINES}, got {given or 'no content type'}"
        )
    lines = Lines(request.receive)
    try:
        head = await lines.head()
        return Body(head, schema.read_parameters(head), lines.parts(), lines=lines)
    except AlaasError:
        request.state.unread = not await lines.discard()
        raise


class Lines:
    """Lines of JSON: one with the parameters, then one an item.

    No more is read than is asked for, so that a client can send no faster than its items
    are worked on.

    Args:
        receive: Gives the messages of the request.

    Attributes:
        complete: All has been read.
    """

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._line = self._row = 0
        self._begun: list[bytes] = []
        self._ready: list[bytes] = []
        self.complete = asyncio.Event()

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

    async def discard(self) -> bool:
        """Read on for a while, for nothing but to let the client finish; whether it has."""
        left = DISCARDED
        try:
            async with asyncio.timeout(DISCARD_S):
                while left > 0 and not self.complete.is_set():
                    left -= len(await self._chunk())
        except (TimeoutError, ConnectionResetError):
            return False
        return self.complete.is_set()

    async def _read(self) -> None:
        *ended, rest = (await self._chunk()).split(b"\n")
        if ended:
            ended[0] = b"".join((*self._begun, ended[0]))
            self._begun = []
            self._ready += ended
        self._begun.append(rest)
        if self.complete.is_set():
            self._ready.append(b"".join(self._begun))

    async def _chunk(self) -> bytes:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise ConnectionResetError("the client has gone")
        if not message.get("more_body"):
            self.complete.set()
        chunk: bytes = message.get("body", b"")
        return chunk

    def _parse(self, line: bytes) -> Any:
        self._line += 1
        if not line.strip():
            return None
        try:
            return schema.read_json(line)
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
        return item
