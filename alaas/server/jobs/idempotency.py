"""Requests that may be sent twice: the second one with an ``Idempotency-Key`` is not run again."""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
import zlib
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

from fastapi import Request, Response
from sqlalchemy import Connection, and_, delete, insert, select, update
from sqlalchemy.exc import IntegrityError
from starlette.types import Message, Receive

from alaas.core.errors import (
    AlaasError,
    FieldError,
    IdempotencyConflict,
    IdempotencyMismatch,
    Overloaded,
    StorageBusy,
    ValidationFailed,
)
from alaas.server.auth import caller_of
from alaas.server.bodies import read_body
from alaas.server.errors import PROBLEM_JSON, problem
from alaas.server.jobs.database import Database, now
from alaas.server.jobs.model import replies
from alaas.server.jobs.store import LEASE_S

KEY, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"

LONGEST = 255
"""Characters of a key."""

CONFLICT_RETRY_S = 2.0
"""Seconds after which it is worth asking again for an answer that is being made."""

_KEPT_HEADERS = ("content-type", "location")

Handler = Callable[[Request], Awaitable[Response]]


class Fingerprint:
    """What tells two requests apart: a digest of the path and of the body as it passes."""

    def __init__(self, path: str) -> None:
        self._hash = hashlib.sha256(path.encode() + b"\n")
        self.complete = False

    def of(self, receive: Receive) -> Receive:
        """The messages of a request, which this looks at as they pass."""

        async def passing() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                self._hash.update(message.get("body", b""))
                self.complete = not message.get("more_body")
            return message

        return passing

    def __str__(self) -> str:
        return self._hash.hexdigest()


@dataclass(slots=True)
class Claim:
    """The right to answer the first request of a key.

    Attributes:
        caller: Whose key it is.
        key: The key.
        fingerprint: Of the request.
        token: Tells this claim from a later one.
        settled: The answer has been written down.
    """

    caller: str
    key: str
    fingerprint: Fingerprint
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    settled: bool = False

    def settle(
        self, connection: Connection, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Write the answer down. With it the request's own work can be written."""
        packed = zlib.compress(body, level=1)
        answer = {
            "lease": None, "fingerprint": str(self.fingerprint), "status": status,
            "headers": json.dumps(dict(headers)), "body": packed, "bytes": len(packed),
        }  # fmt: skip
        connection.execute(update(replies).where(self.mine).values(answer))

    @property
    def mine(self) -> Any:
        """The row of this claim."""
        return and_(
            replies.c.caller == self.caller,
            replies.c.key == self.key,
            replies.c.claim == self.token,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was given before."""

    fingerprint: str
    status: int
    headers: Mapping[str, str]
    body: bytes


class Replies:
    """The answers to requests with a key.

    Args:
        database: Where they are kept.
        owner: Name of this server.
        keep_s: Seconds for which they are kept.

    Attributes:
        open: Requests that are being answered here.
        full: Whether the database holds as much as it may.
    """

    def __init__(self, database: Database, owner: str, *, keep_s: float) -> None:
        self._database = database
        self._owner = owner
        self._keep_s = keep_s
        self.open = 0
        self.full = False

    async def claim(self, claim: Claim) -> Reply | None:
        """Begin to answer; or the answer that was given before.

        Raises:
            IdempotencyConflict: It is being answered.
            Overloaded: The answer could not be kept.
        """
        if self.full:
            raise Overloaded("the database of the answers is full (jobs.max_bytes)")
        named = and_(replies.c.caller == claim.caller, replies.c.key == claim.key)
        columns = (replies, (replies.c.created < now() - self._keep_s).label("old"))
        asked = select(*columns, (replies.c.lease < now()).label("left"))

        def work(connection: Connection) -> Reply | None:
            row = connection.execute(asked.where(named)).mappings().first()
            if row is not None and not row["old"] and not row["left"]:
                if row["status"] is None:
                    raise _conflict()
                return Reply(
                    row["fingerprint"], row["status"], json.loads(row["headers"]),
                    zlib.decompress(row["body"]),
                )  # fmt: skip
            connection.execute(delete(replies).where(named))
            begun = {
                "caller": claim.caller, "key": claim.key, "claim": claim.token, "bytes": 0,
                "created": now(), "owner": self._owner, "lease": now() + LEASE_S,
            }  # fmt: skip
            connection.execute(insert(replies).values(begun))
            return None

        try:
            return await self._database.write(work)
        except IntegrityError:  # another server was quicker
            raise _conflict() from None

    async def settle(
        self, claim: Claim, status: int, headers: Mapping[str, str], body: bytes
    ) -> None:
        """Keep an answer."""
        await self._database.write(
            lambda connection: claim.settle(connection, status, headers, body)
        )
        claim.settled = True

    async def release(self, claim: Claim) -> None:
        """Keep no answer, if there is none: the same request may come again."""
        gone = delete(replies).where(claim.mine, replies.c.status.is_(None))
        try:
            await self._database.write(lambda connection: connection.execute(gone))
        except StorageBusy:
            return  # its lease ends by itself


def once(handler: Handler) -> Handler:
    """Have a handler answer a request with a key one time only.

    An answer is kept if it is one: a success, or a refusal that the same request would get
    again. The application's state has the `Jobs`, whose database keeps it; without them
    nothing is kept, and a key says nothing.
    """

    @wraps(handler)
    async def answer(request: Request) -> Response:
        key = request.headers.get(KEY)
        kept = _kept(request)
        if key is None or kept is None:
            return await handler(request)
        _check(key)
        fingerprint = Fingerprint(request.url.path)
        claim = Claim(caller_of(request).name, key, fingerprint)
        request = Request(request.scope, fingerprint.of(request.receive))
        known = await kept.claim(claim)
        if known is not None:
            return await _again(request, known, fingerprint)
        request.state.claim = claim
        kept.open += 1
        try:
            return await _first(request, handler, kept, claim)
        finally:
            kept.open -= 1
            if not claim.settled:
                await asyncio.shield(kept.release(claim))

    return answer


async def _first(request: Request, handler: Handler, kept: Replies, claim: Claim) -> Response:
    try:
        response = await handler(request)
    except AlaasError as error:
        if error.status < 500 and not error.retryable and claim.fingerprint.complete:
            document = json.dumps(problem(error, request.state.id)).encode()
            with suppress(StorageBusy):
                await kept.settle(claim, error.status, {"content-type": PROBLEM_JSON}, document)
        raise
    if response.status_code < 300 and not claim.settled:
        given = response.headers
        headers = {name: given[name] for name in _KEPT_HEADERS if name in given}
        with suppress(StorageBusy):  # an answer that cannot be kept is one nevertheless
            await kept.settle(claim, response.status_code, headers, bytes(response.body))
    return response


async def _again(request: Request, known: Reply, fingerprint: Fingerprint) -> Response:
    body = await read_body(request)
    async for _ in body.source:
        pass
    if str(fingerprint) != known.fingerprint:
        raise IdempotencyMismatch(
            f"another request was sent with this {KEY}; a new request needs a new key"
        )
    return Response(known.body, known.status, {**known.headers, REPLAYED: "true"})


def _kept(request: Request) -> Replies | None:
    jobs = getattr(request.app.state, "jobs", None)
    return None if jobs is None else jobs.replies


def claim_of(request: Request) -> Claim | None:
    """The claim under which a request is answered, where it has a key."""
    return getattr(request.state, "claim", None)


def _check(key: str) -> None:
    if not 0 < len(key) <= LONGEST or not key.isascii() or not key.isprintable():
        message = f"must have 1 to {LONGEST} printable ASCII characters"
        raise ValidationFailed(f"{KEY}: {message}", errors=[FieldError(f"/{KEY}", message)])


def _conflict() -> IdempotencyConflict:
    error = IdempotencyConflict(f"a request with this {KEY} is still being answered")
    error.retry_after_s = CONFLICT_RETRY_S
    return error
