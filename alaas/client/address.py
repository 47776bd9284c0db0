"""Addresses of servers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

Family = Literal["http", "ws", "grpc"]

_SCHEMES: dict[str, tuple[Family, bool]] = {
    "http": ("http", False),
    "https": ("http", True),
    "ws": ("ws", False),
    "wss": ("ws", True),
    "websocket": ("ws", False),
    "websockets": ("ws", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens.

    Attributes:
        family: The transport.
        secure: Whether the connection is encrypted.
        host: A name or an IP address, without brackets.
        port: The TCP port.
        prefix: The path under which the server answers, without a slash at its end.
    """

    family: Family
    secure: bool
    host: str
    port: int
    prefix: str = ""

    @property
    def target(self) -> str:
        """Host and port, such as ``localhost:8081`` or ``[::1]:8081``."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def url(self, path: str = "") -> str:
        """The URL of a path below the prefix."""
        return f"{self.family}{'s' if self.secure else ''}://{self.target}{self.prefix}{path}"

    def __str__(self) -> str:
        return self.url()


def parse_address(server: str) -> Address:
    """Read ``scheme://host[:port][/prefix]``.

    Without a port it is 443 for an encrypted scheme and 80 for another.

    Raises:
        ValueError: The scheme is not a valid one, or the rest is not of that form.

    Example:
        >>> str(parse_address("websocket://localhost:8081/pool/"))
        'ws://localhost:8081/pool'
    """
    parts = urlsplit(server)
    if parts.scheme not in _SCHEMES:
        raise ValueError(
            f"{parts.scheme!r} is not a valid scheme, in {server!r}; "
            f"valid ones are {', '.join(_SCHEMES)}"
        )
    if not parts.hostname or parts.username or parts.query or parts.fragment:
        raise ValueError(f"{server!r} is not of the form scheme://host[:port][/prefix]")
    family, secure = _SCHEMES[parts.scheme]
    prefix = parts.path.rstrip("/")
    if family == "grpc" and prefix:
        raise ValueError(f"a gRPC address has no path, got {prefix!r} in {server!r}")
    port = parts.port or (443 if secure else 80)
    return Address(family, secure, parts.hostname, port, prefix)
