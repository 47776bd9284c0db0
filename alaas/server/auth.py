"""Who calls: the holders of API keys, callers on this machine, or anybody."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Final

from alaas.config.access import AuthSettings
from alaas.core import keys
from alaas.core.errors import Forbidden, Unauthenticated

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

ANONYMOUS: Final = "anonymous"
"""The name of callers without a key."""

QUERY: Final = "query"
ADMIN: Final = "admin"

CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
"""The headers of an answer 401."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever makes a call.

    Attributes:
        name: Name of the API key, or ``anonymous`` without one.
        scopes: What it opens: ``query``, ``admin``.
    """

    name: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether what needs `scope` is open to this caller; ``admin`` opens everything."""
        return scope in self.scopes or ADMIN in self.scopes

    def check(self, scope: str) -> None:
        """Refuse what is not open to this caller.

        Raises:
            Forbidden: It needs another scope.
        """
        if not self.may(scope):
            raise Forbidden(f"this needs an API key with the scope {scope!r}")


NOBODY: Final = Caller(ANONYMOUS, frozenset())
"""Who asks for what is open to everybody."""

CALLER: ContextVar[Caller] = ContextVar("alaas_caller")
"""The caller of the gRPC call that is being answered."""


def caller_of(connection: HTTPConnection) -> Caller:
    """The caller of an HTTP request or a WebSocket, as the guard has put it there."""
    caller: Caller = connection.scope["state"]["caller"]
    return caller


class Access:
    """Tells callers apart.

    Args:
        settings: Which keys there are, and who needs none.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._settings = settings
        self._callers = [
            (key.sha256, Caller(key.name, frozenset(key.scopes))) for key in settings.keys
        ]

    def identify(self, authorization: Sequence[bytes], *, local: bool) -> Caller:
        """Say who calls.

        Args:
            authorization: The values of all ``Authorization`` headers of the call.
            local: Whether it comes from this machine.

        Raises:
            Unauthenticated: It needs a key, or another one.
        """
        if not self._callers:
            return self._without_keys(local)
        if not authorization and self._settings.anonymous:
            return Caller(ANONYMOUS, frozenset({QUERY}))
        if (caller := self._holder(authorization)) is None:
            # The same words for no key and a wrong one: they must not help to find one.
            raise Unauthenticated(
                "an API key is needed: the header 'Authorization' with 'Bearer', then the key"
            )
        return caller

    def _without_keys(self, local: bool) -> Caller:
        if local:
            return Caller(ANONYMOUS, frozenset({QUERY, ADMIN}))
        if self._settings.anonymous:
            return Caller(ANONYMOUS, frozenset({QUERY}))
        raise Unauthenticated(
            "without an API key, callers on the machine of the service alone are served; its "
            "operator can make a key (`alaas keys new`), or serve everybody "
            "(auth: {anonymous: true})"
        )

    def _holder(self, authorization: Sequence[bytes]) -> Caller | None:
        scheme, _, key = (authorization[0] if len(authorization) == 1 else b"").partition(b" ")
        given = keys.digest(key.strip())
        found = None
        # Through all of them, whatever is found: the time must not tell which one it was.
        for known, caller in self._callers:
            if hmac.compare_digest(known, given):
                found = caller
        return found if scheme.lower() == b"bearer" else None


def served(settings: AuthSettings) -> str:
    """Who is served, in words, for the log of the start."""
    names = ", ".join(key.name for key in settings.keys)
    if names:
        keyed = f"callers with an API key: {names}"
        return f"everybody, for queries; {keyed}" if settings.anonymous else keyed
    if settings.anonymous:
        return "everybody, for queries, without a key (auth.anonymous)"
    return "callers on this machine only: no API key is configured"


def is_loopback(host: str) -> bool:
    """Whether an IP address is one of this machine's own, such as 127.0.0.1 or ::1."""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_loopback


_FORWARDED = ("forwarded", "via", "x-real-ip")


def is_forwarded(headers: Sequence[str]) -> bool:
    """Whether headers of these names, in lower case, say that a proxy passed a call on.

    It is a proxy on this machine then that looks like a local caller.
    """
    return any(name in _FORWARDED or name.startswith("x-forwarded-") for name in headers)
