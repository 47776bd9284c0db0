"""One object over HTTP, under limits. No other module opens a connection for an item."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

import aiohttp
from aiohttp.abc import AbstractResolver
from yarl import URL

from alaas.config import LimitsSettings
from alaas.data import freshness, network
from alaas.data.problem import ItemError

RETRIES = 2
"""Times that a busy server is asked again."""

_BACKOFF_S = 0.2
_UNHURRIED_S = 1.0
_REFUSALS = {
    401: "upstream_forbidden",
    403: "upstream_forbidden",
    404: "upstream_not_found",
    410: "upstream_not_found",
}
_SECONDS = re.compile(r"[0-9]{1,6}")


@dataclass(frozen=True, slots=True)
class Page:
    """What a server gave.

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
class Refused:
    """The server answered, and not with the object.

    Attributes:
        status: Neither 2xx nor one of a server that is busy.
        headers: Of the answer.
    """

    status: int
    headers: freshness.Headers

    def error(self) -> ItemError:
        """What is said of the item then."""
        code = _REFUSALS.get(self.status, "upstream_error")
        return ItemError(code, f"the server answered {self.status}")


@dataclass(frozen=True, slots=True)
class _Busy:
    """The server may answer later, perhaps in `after_s` seconds."""

    status: int
    after_s: float | None


@dataclass(slots=True)
class Allowance:
    """What one item may still cost; each request takes from it.

    Attributes:
        seconds: Of work, without the wait for a turn.
        retries: Times that a busy server may be asked again.
        tries: Times that one was.
    """

    seconds: float
    retries: int = RETRIES
    tries: int = 0

    def pause(self, answer: _Busy) -> float:
        """Seconds to wait before a busy server is asked again, which are taken from the rest.

        Raises:
            ItemError: ``upstream_unavailable``: nothing is left to ask it again.
        """
        jitter = random.uniform(0.5, 1.5)  # noqa: S311
        after_s = answer.after_s
        wait = _BACKOFF_S * 2**self.tries * jitter if after_s is None else after_s
        if self.tries == self.retries or wait >= self.seconds:
            raise ItemError("upstream_unavailable", f"the server answered {answer.status}")
        self.tries += 1
        self.seconds -= wait
        return wait


class Turns:
    """How many items are fetched at once: in all, and from one host.

    Args:
        limits: Says how many.
    """

    def __init__(self, limits: LimitsSettings) -> None:
        self._per_host = limits.fetch_per_host
        self._all = asyncio.Semaphore(limits.fetch_concurrency)
        self._hosts: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    @asynccontextmanager
    async def of(self, host: str) -> AsyncIterator[None]:
        """Wait for a turn at a host. Who waits for a slow one is in nobody else's way."""
        async with self._host(host), self._all:
            yield

    def _host(self, host: str) -> asyncio.Semaphore:
        # Entries of hosts that nobody waits for vanish, so the table cannot grow for ever.
        found = self._hosts.get(host)
        if found is None:
            found = self._hosts[host] = asyncio.Semaphore(self._per_host)
        return found


class Getter:
    """Gets objects over HTTP with keep-alive, inside one event loop.

    No proxy of the environment, no cookie and no compression is used, and no redirect is
    followed.

    Args:
        limits: What one object may cost.
        turns: How many may be got at once.
        resolver: What asks the name service; by default that of the system.
    """

    def __init__(
        self, limits: LimitsSettings, turns: Turns, *, resolver: AbstractResolver | None = None
    ) -> None:
        self._limits = limits
        self._turns = turns
        self._resolver = resolver
        self._session: aiohttp.ClientSession | None = None

    async def get(
        self, url: URL, headers: Mapping[str, str], left: Allowance, *, conditional: bool = False
    ) -> Page | Refused:
        """Get one object.

        Args:
            url: Where it is. It is sent as it stands.
            headers: To send beside our own.
            left: What may be spent, and is taken from.
            conditional: Whether `headers` ask for the body only if it is another one. The
                body of another one is not read: it may be large, and may not be wanted.

        Raises:
            ItemError: With the code that `alaas.data.fetch.Fetcher.fetch` documents.
        """
        clock = asyncio.get_running_loop().time
        while True:
            async with self._turns.of(url.raw_host or ""):
                started = clock()
                answer = await self._attempt(url, headers, left.seconds, conditional)
                left.seconds -= clock() - started
            if not isinstance(answer, _Busy):
                return answer
            await asyncio.sleep(left.pause(answer))

    async def close(self) -> None:
        """Close the connections. More are opened when they are needed."""
        if self._session is not None:
            session, self._session = self._session, None
            await session.close()

    async def _attempt(
        self, url: URL, headers: Mapping[str, str], seconds: float, conditional: bool
    ) -> Page | Refused | _Busy:
        asked_at = time.time()
        try:
            async with (
                asyncio.timeout(seconds),
                self._opened().get(url, allow_redirects=False, headers=headers) as response,
            ):
                status, found = response.status, response.headers
                if status == 429 or status >= 500:
                    after = found.get("Retry-After", "")
                    return _Busy(status, float(after) if _SECONDS.fullmatch(after) else None)
                if conditional and (status == 304 or 200 <= status < 300):
                    return Page(None, status == 304, found, asked_at)
                if not 200 <= status < 300:
                    return Refused(status, found)
                return Page(await self._body(response), False, found, asked_at)
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

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        encoding = response.headers.get("Content-Encoding", "identity").lower()
        if encoding != "identity":
            # A small compressed body can become an endless one.
            message = (
                f"the server sent the content encoding {encoding[:20]!r}; only identity is read"
            )
            raise ItemError("fetch_failed", message)
        most = self._limits.object_bytes
        size, chunks = response.content_length or 0, list[bytes]()
        clock = asyncio.get_running_loop().time
        started = clock()
        if size <= most:
            size = 0
            async for chunk in response.content.iter_any():
                size += len(chunk)
                if size > most:
                    break
                chunks.append(chunk)
                if not response.content.at_eof():
                    self._check_pace(size, clock() - started)
        if size > most:  # leaving the response unread closes its connection
            raise ItemError("object_too_large", f"the object has more than {most} bytes")
        return b"".join(chunks)

    def _check_pace(self, size: int, seconds: float) -> None:
        """Give up a server that keeps a connection busy with little."""
        rate = self._limits.fetch_rate
        if seconds > _UNHURRIED_S and size < rate * seconds:
            raise ItemError("fetch_timeout", f"the server sent less than {rate} bytes a second")

    def _opened(self) -> aiohttp.ClientSession:
        # An aiohttp session belongs to the event loop that runs when it is made.
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, resolver=self._resolver or aiohttp.ThreadedResolver()
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
