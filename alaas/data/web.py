"""Objects behind http and https addresses, under limits and the address policy."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from socket import AddressFamily
from urllib.parse import urljoin
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.sources import Known
from alaas.data import freshness, network
from alaas.data.problem import ItemError

_RETRIES = 2
_BACKOFF_S = 0.2
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_REFUSALS = {
    401: "upstream_forbidden",
    403: "upstream_forbidden",
    404: "upstream_not_found",
    410: "upstream_not_found",
}
_SECONDS = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Page:
    """What an address gave at the end of its redirects.

    Attributes:
        data: The body; None where the server says that it is as it was, or where only that
            was asked.
        unchanged: Whether the server says that it is as it was.
        headers: Of the answer.
        asked_at: When the request began, in seconds since 1970.
        target: The name of the address that redirects led to; empty if there were none.
    """

    data: bytes | None
    unchanged: bool
    headers: freshness.Headers
    asked_at: float
    target: str = ""


@dataclass(frozen=True, slots=True)
class _Moved:
    """The server named another address."""

    location: str


@dataclass(frozen=True, slots=True)
class _Busy:
    """The server may answer later, perhaps in `after_s` seconds."""

    status: int
    after_s: float | None


class CheckedResolver(AbstractResolver):
    """Resolves a name once, and only to addresses all of which may be dialled.

    The connection is made to the addresses returned here, so a name cannot point
    elsewhere between the check and the connection.

    Args:
        inner: What asks the name service.
        networks: What the operator allows beside the public network.
    """

    def __init__(self, inner: AbstractResolver, networks: tuple[network.Network, ...]) -> None:
        self._inner = inner
        self._networks = networks

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
            if not network.may_dial(address, port, self._networks):
                raise ItemError("uri_blocked", network.UNREACHABLE)
        return answers

    async def close(self) -> None:
        """Close the resolver inside."""
        await self._inner.close()


class Web:
    """Reads objects over HTTP with keep-alive, inside one event loop.

    No proxy of the environment, no cookie and no compression is used, and a redirect is
    followed by hand: each hop passes every check again.

    Args:
        fetch: What addresses may name.
        limits: What one object may cost.
        resolver: What asks the name service; by default that of the system.
    """

    def __init__(
        self,
        fetch: FetchSettings,
        limits: LimitsSettings,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._schemes = tuple(scheme for scheme in fetch.schemes if scheme != "file")
        self._networks = fetch.networks
        self._limits = limits
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None
        self._all = asyncio.Semaphore(limits.fetch_concurrency)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    async def read(self, uri: str) -> tuple[bytes, Page]:
        """Read one object: its content, and the answer that it came in.

        `LimitsSettings.fetch_s` covers all hops and retries, but not the wait for a turn.

        Raises:
            ItemError: With the code that `Fetcher.fetch` documents.
        """
        url = network.parse(uri, schemes=self._schemes)
        page = await self._ask(url, {}, retries=_RETRIES)
        assert page.data is not None, "an answer to a plain request has a body"
        return page.data, page

    async def confirm(self, uri: str, known: Known) -> Known | None:
        """Ask the server whether an object is still the one that was read, unless it must be.

        The body of another one is not read: it may be large, and may not be wanted.

        Returns:
            The record brought up to date, or None where the content has to be read.

        Raises:
            ItemError: As for `read`; a busy server is not asked again.
        """
        url = network.parse(uri, schemes=self._schemes)
        if time.time() < known.fresh_until:
            network.check_literal(url, self._networks)
            return known
        condition = freshness.condition(known)
        page = await self._ask(url, condition, retries=0) if condition else None
        if page is None or not page.unchanged:
            return None
        return freshness.confirmed(known, page.headers, asked_at=page.asked_at, target=page.target)

    async def _ask(self, url: URL, condition: Mapping[str, str], *, retries: int) -> Page:
        left, hops, tries = self._limits.fetch_s, 0, 0
        clock = asyncio.get_running_loop().time
        while True:
            network.check_literal(url, self._networks)
            async with self._turns(url.raw_host or ""), self._all:
                started = clock()
                answer = await self._attempt(url, left, condition)
                left -= clock() - started
            if isinstance(answer, Page):
                return replace(answer, target=digest(str(url).encode())) if hops else answer
            if isinstance(answer, _Moved):
                hops += 1
                if hops > self._limits.redirects:
                    message = f"more than {self._limits.redirects} redirects"
                    raise ItemError("too_many_redirects", message)
                url = self._follow(url, answer.location)
                continue
            jitter = random.uniform(0.5, 1.5)  # noqa: S311
            wait = _BACKOFF_S * 2**tries * jitter if answer.after_s is None else answer.after_s
            if tries == retries or wait >= left:
                raise ItemError("upstream_unavailable", f"the server answered {answer.status}")
            tries += 1
            left -= wait
            await asyncio.sleep(wait)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    def _turns(self, host: str) -> asyncio.Semaphore:
        # Entries of hosts that nobody waits for vanish, so the table cannot grow for ever.
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = asyncio.Semaphore(self._limits.fetch_per_host)
        return found

    def _follow(self, url: URL, location: str) -> URL:
        try:
            return network.parse(urljoin(str(url), location), schemes=self._schemes)
        except (ItemError, ValueError):
            raise ItemError("uri_blocked", network.UNREACHABLE) from None

    async def _attempt(
        self, url: URL, seconds: float, condition: Mapping[str, str]
    ) -> Page | _Moved | _Busy:
        asked_at = time.time()
        try:
            async with (
                asyncio.timeout(seconds),
                self._opened().get(url, allow_redirects=False, headers=condition) as response,
            ):
                answer = await self._judge(response, conditional=bool(condition))
                if isinstance(answer, (_Moved, _Busy)):
                    return answer
                return Page(answer, response.status == 304, response.headers, asked_at)
        except (aiohttp.ClientSSLError, aiohttp.ClientConnectorCertificateError):
            raise ItemError("tls_invalid", network.UNREACHABLE) from None
        except aiohttp.ConnectionTimeoutError:
            raise ItemError("fetch_timeout", network.UNREACHABLE) from None
        except TimeoutError:
            raise ItemError("fetch_timeout", "the server did not answer in time") from None
        except aiohttp.ClientConnectorError:
            raise ItemError("fetch_failed", network.UNREACHABLE) from None
        except (aiohttp.ClientError, OSError, ValueError):
            raise ItemError("fetch_failed", "the server did not answer as HTTP demands") from None

    async def _judge(
        self, response: aiohttp.ClientResponse, *, conditional: bool
    ) -> bytes | _Moved | _Busy | None:
        status, headers = response.status, response.headers
        if status in _REDIRECTS and "Location" in headers:
            return _Moved(headers["Location"])
        if status == 429 or status >= 500:
            after = headers.get("Retry-After", "")
            return _Busy(status, float(after) if _SECONDS.fullmatch(after) else None)
        if conditional and (status == 304 or 200 <= status < 300):
            return None
        if not 200 <= status < 300:
            code = _REFUSALS.get(status, "upstream_error")
            raise ItemError(code, f"the server answered {status}")
        encoding = headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            # A small compressed body can become an endless one.
            message = (
                f"the server sent the content encoding {encoding[:20]!r}; only identity is read"
            )
            raise ItemError("fetch_failed", message)
        return await self._body(response)

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        most = self._limits.object_bytes
        size, chunks = response.content_length or 0, list[bytes]()
        if size <= most:
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > most:
                    break
                chunks.append(chunk)
        if size > most:  # leaving the response unread closes its connection
            raise ItemError("object_too_large", f"the object has more than {most} bytes")
        return b"".join(chunks)

    def _opened(self) -> aiohttp.ClientSession:
        # An aiohttp session belongs to the event loop that runs when it is made.
        if self._session is None:
            inner = self._resolver or aiohttp.ThreadedResolver()
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, resolver=CheckedResolver(inner, self._networks)
                ),
                timeout=aiohttp.ClientTimeout(
                    total=None, connect=self._limits.connect_s, sock_read=self._limits.read_s
                ),
                headers={"Accept-Encoding": "identity", "User-Agent": "alaas"},
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
            )
        return self._session
