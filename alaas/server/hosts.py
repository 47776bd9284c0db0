"""Under which names the service answers, and pages of which web origins may call it."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from alaas.config.access import AuthSettings
from alaas.core.errors import Forbidden, HostRefused

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_PORTS: Final = {"http": 80, "https": 443}


class Hosts:
    """Judges the headers ``Host`` and ``Origin``.

    A web page can make its visitor's browser call any address that the browser reaches.
    Where the page's own name is made to resolve to the service, the header ``Host`` still
    has that name; otherwise ``Origin`` has it.

    Args:
        settings: What is allowed.
    """

    def __init__(self, settings: AuthSettings) -> None:
        self._names = frozenset(name.lower() for name in settings.hosts)
        self._origins = frozenset(origin.lower() for origin in settings.origins)
        # Where a key is needed, such a page has none to send.
        self._any = not self._names and bool(settings.keys) and not settings.anonymous

    def check_host(self, headers: list[str], *, named: bool = True) -> None:
        """Refuse a request whose ``Host`` is not one, or none of ours.

        Args:
            headers: The values of all ``Host`` headers.
            named: Whether it must be one of ours.

        Raises:
            HostRefused: It is not.
        """
        found = _HOST.fullmatch(headers[0]) if len(headers) == 1 else None
        if found is None:
            raise HostRefused("the request must have one header 'Host', with a name or an address")
        name = found[1].lower().removesuffix(".")
        if not named or self._any or name in self._names or _is_own(name):
            return
        raise HostRefused(
            f"this service does not answer for {name[:100]!r}; by default it is called by its "
            "address or as localhost, and auth.hosts lists further names"
        )

    def check_origin(self, origins: list[str], host: str) -> None:
        """Refuse what a page of another site sends.

        Args:
            origins: The values of all ``Origin`` headers; none where no web page asks.
            host: The value of ``Host``.

        Raises:
            Forbidden: Pages of that origin may not call.
        """
        if not origins:
            return
        if len(origins) == 1:
            origin = origins[0].lower()
            if origin in self._origins or _is_same(origin, host.lower()):
                return
        raise Forbidden("pages of this web origin may not call; auth.origins lists which may")


def _is_own(name: str) -> bool:
    """Whether a name is one that nobody can make resolve to another address."""
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True


def _is_same(origin: str, host: str) -> bool:
    """Whether a page is of the host that it calls, be it behind a proxy that ends TLS."""
    try:
        parts = urlsplit(origin)
        usual = _PORTS.get(parts.scheme)
        mine = parts.hostname, parts.port or usual
    except ValueError:
        return False
    found = _HOST.fullmatch(host)
    if found is None or usual is None or parts.hostname is None:
        return False
    return mine == (found[1].strip("[]"), int(found[2] or usual))
