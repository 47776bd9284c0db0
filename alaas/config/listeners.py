"""Which sockets the service opens for the protocols and ports of its configuration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Protocol: TypeAlias = Literal["http", "https", "grpc", "grpcs", "ws", "wss"]
Kind: TypeAlias = Literal["http", "grpc"]

_HOMES: dict[Protocol, tuple[Kind, bool]] = {
    "http": ("http", False),
    "ws": ("http", False),
    "https": ("http", True),
    "wss": ("http", True),
    "grpc": ("grpc", False),
    "grpcs": ("grpc", True),
}


@dataclass(frozen=True, slots=True)
class Listener:
    """One port that the service listens on.

    Attributes:
        kind: The server that answers there; WebSocket is answered by ``http``.
        host: Address of the network interface, such as ``0.0.0.0`` for all of them.
        port: From 1 to 65535.
        tls: Whether what is sent is encrypted.
        protocols: The configured protocols that it answers.
    """

    kind: Kind
    host: str
    port: int
    tls: bool
    protocols: tuple[Protocol, ...]


def encrypted(protocols: Sequence[Protocol]) -> tuple[Protocol, ...]:
    """Those of `protocols` that need a certificate."""
    return tuple(protocol for protocol in protocols if _HOMES[protocol][1])


def listeners(
    protocols: Sequence[Protocol], *, host: str, ports: Sequence[int]
) -> tuple[Listener, ...]:
    """Give every protocol its port.

    Args:
        protocols: What is spoken. ``http`` and ``ws`` share a port, as do ``https`` and ``wss``.
        host: Address of the network interface.
        ports: One for each protocol; or one alone, from which the listeners count upwards.

    Raises:
        ValueError: The ports do not fit the protocols; the message says why.

    Example:
        >>> [(one.kind, one.port) for one in listeners(["http", "grpc"], host="::", ports=[8081])]
        [('http', 8081), ('grpc', 8082)]
    """
    groups: dict[tuple[int, Kind, bool], list[Protocol]] = {}
    for protocol, port in zip(protocols, _spread(protocols, ports), strict=True):
        spoken = groups.setdefault((port, *_HOMES[protocol]), [])
        if protocol not in spoken:
            spoken.append(protocol)
    taken: dict[int, Protocol] = {}
    for (port, _, _), spoken in groups.items():
        other = taken.setdefault(port, spoken[0])
        if other != spoken[0]:
            raise ValueError(f"{other} and {spoken[0]} cannot share port {port}: give each its own")
    return tuple(
        Listener(kind, host, port, tls, tuple(spoken))
        for (port, kind, tls), spoken in groups.items()
    )


def _spread(protocols: Sequence[Protocol], ports: Sequence[int]) -> Sequence[int]:
    """One port for each protocol."""
    if len(ports) == 1:
        homes = list(dict.fromkeys(_HOMES[protocol] for protocol in protocols))
        if ports[0] + len(homes) - 1 > 65535:
            raise ValueError(
                f"{len(homes)} listeners counted upwards from port {ports[0]} end above 65535"
            )
        return [ports[0] + homes.index(_HOMES[protocol]) for protocol in protocols]
    if len(ports) != len(protocols):
        raise ValueError(
            f"must be one port, or one for each protocol; "
            f"got {len(ports)} for {', '.join(protocols)}"
        )
    return ports
