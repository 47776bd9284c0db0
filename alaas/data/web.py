"""Objects behind http and https addresses, under the address policy."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_address
from socket import AddressFamily
from urllib.parse import urljoin

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.sources import Known
from alaas.data import freshness, network
from alaas.data.http import RETRIES, Allowance, Getter, Page, Turns
from alaas.data.problem import ItemError

SCHEMES = ("https", "http")

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class CheckedResolver(AbstractResolver):
    """Resolves a name once, and only to addresses all of which may be dialled.

    The connection is made to the addresses returned here, so a name cannot point
    elsewhere between the check and the connection.

    Args:
        inner: What asks the name service.
        fetch: What the operator allows.
    """

    def __init__(self, inner: AbstractResolver, fetch: FetchSettings) -> None:
        self._inner = inner
        self._fetch = fetch

    async def resolve(
        self, host: str, port: int = 0, family: AddressFamily = AddressFamily.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of `host`.

        Raises:
            ItemError: ``uri_blocked``: one of them may not be dialled.
            OSError: The name is unknown.
        """
        try:
            answers = await self._inner.resolve(host, port, family)
        except UnicodeError as error:
            raise OSError("the name cannot be encoded") from error
        for answer in answers:
            address = ip_address(answer["host"])
            if not network.may_dial(address, port, self._fetch.networks, self._fetch.ports):
                raise ItemError("uri_blocked", network.UNREACHABLE)
        return answers

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()


class Web:
    """Reads objects over HTTP, inside one event loop.

    A redirect is followed by hand: each hop passes every check again.

    Args:
        fetch: What addresses may name.
        limits: What one object may cost.
        turns: How many may be read at once.
        resolver: What asks the name service; by default that of the system.
    """

    def __init__(
        self,
        fetch: FetchSettings,
        limits: LimitsSettings,
        turns: Turns,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._fetch = fetch
        self._schemes = tuple(scheme for scheme in fetch.schemes if scheme in SCHEMES)
        self._limits = limits
        self._turns = turns
        self._resolver = resolver
        self._getter: Getter | None = None

    async def read(self, uri: str) -> tuple[bytes, Page]:
        """Read one object: its content, and the answer that it came in.

        `LimitsSettings.fetch_s` covers all hops and retries, but not the wait for a turn.

        Raises:
            ItemError: With the code that `Fetcher.fetch` documents.
        """
        page = await self._ask(network.parse(uri, schemes=self._schemes), {}, retries=RETRIES)
        assert page.data is not None, "an answer to a plain request has a body"
        return page.data, page

    async def confirm(self, uri: str, known: Known) -> Known | None:
        """Ask the server whether an object is still the one that was read, unless it must be.

        Returns:
            The record brought up to date, or None where the content has to be read.

        Raises:
            ItemError: As for `read`; a busy server is not asked again.
        """
        url = network.parse(uri, schemes=self._schemes)
        if time.time() < known.fresh_until:
            self._check(url)
            return known
        condition = freshness.condition(known)
        page = await self._ask(url, condition, retries=0) if condition else None
        if page is None or not page.unchanged:
            return None
        return freshness.confirmed(known, page.headers, asked_at=page.asked_at, target=page.target)

    async def close(self) -> None:
        """Close the connections."""
        if self._getter is not None:
            await self._getter.close()

    async def _ask(self, url: URL, condition: Mapping[str, str], *, retries: int) -> Page:
        left = Allowance(self._limits.fetch_s, retries)
        for hops in range(self._limits.redirects + 1):
            self._check(url)
            answer = await self._opened().get(url, condition, left, conditional=bool(condition))
            if isinstance(answer, Page):
                return replace(answer, target=digest(str(url).encode())) if hops else answer
            if answer.status not in _REDIRECTS or "Location" not in answer.headers:
                raise answer.error()
            url = self._follow(url, answer.headers["Location"])
        raise ItemError("too_many_redirects", f"more than {self._limits.redirects} redirects")

    def _check(self, url: URL) -> None:
        network.check_literal(url, self._fetch.networks, self._fetch.ports)

    def _follow(self, url: URL, location: str) -> URL:
        try:
            return network.parse(urljoin(str(url), location), schemes=self._schemes)
        except (ItemError, ValueError):
            raise ItemError("uri_blocked", network.UNREACHABLE) from None

    def _opened(self) -> Getter:
        if self._getter is None:
            inner = self._resolver or aiohttp.ThreadedResolver()
            checked = CheckedResolver(inner, self._fetch)
            self._getter = Getter(self._limits, self._turns, resolver=checked)
        return self._getter
