"""Which addresses of the network may be dialled. Pure functions; nothing here connects.

The rule: global unicast addresses on the ports that the operator has listed, and whatever
else the operator has listed as a network. An IPv6 address that carries an IPv4 address inside
is judged by what it carries. A name is judged by every address that it resolves to.

A refusal tells the caller no more than a server that is down would, so that the service
is no scanner of the network it stands in.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias
from urllib.parse import urlsplit

from yarl import URL

from alaas.data.problem import ItemError

Address: TypeAlias = IPv4Address | IPv6Address
Network: TypeAlias = IPv4Network | IPv6Network

UNREACHABLE = "the address could not be reached"
"""The one message for an address that is refused, unknown, or does not answer."""

PUBLIC_PORTS = (80, 443)
"""The ports of the public network that are open unless the operator lists others."""

_GLOBAL_IPV6 = IPv6Network("2000::/3")
# Special-purpose ranges that `is_global` lets through in some release of Python.
_SPECIAL = (
    IPv4Network("168.63.129.16/32"),  # the host agent of Azure, from inside a machine there
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("2001:db8::/32"),
    IPv6Network("3fff::/20"),
)
_NAT64 = IPv6Network("64:ff9b::/96")
_COMPATIBLE = IPv6Network("::/96")

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\\]")
_NAME = re.compile(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")


def embedded(address: IPv6Address) -> tuple[IPv4Address, ...]:
    """The IPv4 addresses that packets to `address` end up at.

    Unwraps v4-mapped, v4-compatible, NAT64 (the well-known prefix), 6to4, and Teredo,
    which carries two: its server and its client.

    Example:
        >>> embedded(IPv6Address("::ffff:127.0.0.1"))
        (IPv4Address('127.0.0.1'),)
    """
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or address in _COMPATIBLE:
        return (IPv4Address(address.packed[-4:]),)
    return ()


def is_public(address: Address) -> bool:
    """Whether an address that carries no other is global unicast.

    Example:
        >>> is_public(ip_address("1.1.1.1")), is_public(ip_address("10.0.0.1"))
        (True, False)
    """
    if isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6:
        return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def may_dial(
    address: Address,
    port: int,
    networks: Sequence[Network] = (),
    ports: Collection[int] = PUBLIC_PORTS,
) -> bool:
    """Whether the policy lets a connection to this address and port be made.

    Args:
        address: Where the connection would go.
        port: 0 to 65535.
        networks: What the operator allows beside the public network, on any port.
        ports: What the operator allows of the public network.
    """
    if any(address in network for network in networks):
        return True
    inner = embedded(address) if isinstance(address, IPv6Address) else ()
    if inner:
        return all(may_dial(one, port, networks, ports) for one in inner)
    return port in ports and is_public(address)


@lru_cache(maxsize=4096)
def literal(host: str) -> Address | None:
    """The address that a host spells out, or None for a name.

    Args:
        host: A host in lower case, an IPv6 address without its brackets.

    Raises:
        ItemError: ``uri_blocked`` for an address in a form other than its canonical one,
            such as ``2130706433``, ``0x7f.1`` or ``0177.0.0.1``: programs differ in where
            they connect to then.
    """
    last = host.removesuffix(".").rpartition(".")[2]
    if ":" not in host and not _NUMBER.fullmatch(last):
        return None
    try:
        return ip_address(host)
    except ValueError:
        raise ItemError("uri_blocked", UNREACHABLE) from None


def parse(uri: str, *, schemes: Collection[str]) -> URL:
    """Read the address of an item as the one URL that is then checked and dialled.

    Args:
        uri: What the caller wrote. Where it is plain ASCII, its path and query are sent
            as they stand, since a signature may cover them.
        schemes: The schemes that are enabled.

    Raises:
        ItemError: ``uri_invalid`` or ``scheme_disabled``.
    """
    check_characters(uri)
    try:
        parts, url = urlsplit(uri), URL(uri)
    except ValueError:
        raise ItemError("uri_invalid", "the address is not a URL") from None
    if url.scheme not in schemes:
        raise ItemError("scheme_disabled", disabled(url.scheme, schemes))
    if "@" in parts.netloc:
        raise ItemError("uri_invalid", "the address has a user name in it; none is sent")
    host = url.raw_host or ""
    bracketed = "[" in parts.netloc
    if bracketed != (":" in host) or not (bracketed or _NAME.fullmatch(host)):
        raise ItemError("uri_invalid", "the address names no valid host")
    if uri.isascii() and " " not in uri:
        return URL.build(
            scheme=url.scheme,
            authority=url.raw_authority,
            path=parts.path,
            query_string=parts.query,
            encoded=True,
        )
    return url.with_fragment(None)


def check_characters(uri: str) -> None:
    """Refuse an address that programs might read differently.

    Raises:
        ItemError: ``uri_invalid``.
    """
    if _CONTROL.search(uri):
        raise ItemError("uri_invalid", "the address has control characters or backslashes in it")


def disabled(scheme: str, schemes: Collection[str]) -> str:
    """The message for a scheme that is not enabled."""
    allowed = ", ".join(schemes) or "none"
    return f"addresses of the scheme {scheme[:20]!r} are not enabled; enabled: {allowed}"


def check_literal(
    url: URL, networks: Sequence[Network], ports: Collection[int] = PUBLIC_PORTS
) -> None:
    """Refuse a URL that spells out an address which may not be dialled.

    Such a host is dialled without being resolved, so nothing else would look at it.

    Raises:
        ItemError: ``uri_blocked``.
    """
    address = literal(url.raw_host or "")
    if address is not None and not may_dial(address, url.port or 0, networks, ports):
        raise ItemError("uri_blocked", UNREACHABLE)
