"""Objects in the buckets that the operator has listed: s3:// and gs:// addresses.

Both stores speak HTTP, so that an object passes the same limits as one of the web. The
caller names a bucket and a key, and nothing else: where the store is and who asks it, the
configuration and the environment say. No redirect is followed.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import quote
from xml.etree import ElementTree

from yarl import URL

from alaas.config import FetchSettings, LimitsSettings
from alaas.config.tree import ObjectStoreSettings
from alaas.core.sources import Known
from alaas.data import freshness, network
from alaas.data.credentials import (
    AmazonCredentials,
    GoogleCredentials,
    default_endpoint,
    default_region,
    is_installed,
)
from alaas.data.http import RETRIES, Allowance, Getter, Page, Refused, Turns
from alaas.data.problem import ItemError

log = logging.getLogger(__name__)

SCHEMES = ("s3", "gs")

_ADDRESS = re.compile(r"(s3|gs)://([A-Za-z0-9][A-Za-z0-9._-]{1,221})/(.+)", re.IGNORECASE)
_LONGEST_KEY = 1024
_REGION = re.compile(r"[a-z0-9-]{1,40}")
_FORBIDDEN = (301, 302, 307, 308, 400, 401, 403)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object is.

    Attributes:
        scheme: s3 or gs.
        bucket: Its name.
        key: The object's name in it; empty for the bucket itself.
    """

    scheme: str
    bucket: str
    key: str

    @property
    def path(self) -> str:
        """The path of its URL, percent-encoded as signatures demand."""
        return f"/{self.bucket}/{quote(self.key, safe='/~')}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.key}"


class Credentials(Protocol):
    """What lets a request pass. Its methods block, and may be called from any thread."""

    def sign(self, url: str, region: str) -> dict[str, str]:
        """The headers to send.

        Raises:
            LookupError: There are no credentials.
        """


def parse(uri: str) -> Place:
    """Read the address of an object. Its key stands for itself: nothing in it is decoded.

    Example:
        >>> parse("s3://photos/2026/a b.png").path
        '/photos/2026/a%20b.png'

    Raises:
        ItemError: ``uri_invalid``, or ``uri_blocked`` for what would ask for more.
    """
    network.check_characters(uri)
    found = _ADDRESS.fullmatch(uri)
    if found is None:
        raise ItemError("uri_invalid", "the address must look like s3://bucket/key")
    place = Place(found[1].lower(), found[2], found[3])
    if "?" in place.key or not {".", ".."}.isdisjoint(place.key.split("/")):
        raise ItemError("uri_blocked", "the address names more than a bucket and a key")
    try:
        length = len(place.key.encode())
    except UnicodeEncodeError:
        raise ItemError("uri_invalid", "the address has half a surrogate pair in it") from None
    if length > _LONGEST_KEY:
        raise ItemError("uri_invalid", f"the key has {length} bytes; at most {_LONGEST_KEY}")
    return place


def is_listed(place: Place, buckets: Sequence[str]) -> bool:
    """Whether the operator has listed the bucket, or a folder in it that the object lies in.

    Example:
        >>> is_listed(parse("s3://photos/a/b.png"), ["s3://photos/a"])
        True
        >>> is_listed(parse("s3://photos/ab.png"), ["s3://photos/a"])
        False
    """
    for one in buckets:
        scheme, _, rest = one.partition("://")
        bucket, _, prefix = rest.partition("/")
        folder = prefix.rstrip("/") + "/" if prefix.strip("/") else ""
        if (scheme, bucket) in ((place.scheme, place.bucket), (place.scheme, "*")) and (
            place.key.startswith(folder)
        ):
            return True
    return False


class Buckets:
    """Reads objects of the listed buckets, inside one event loop.

    Args:
        fetch: Which buckets, and where their stores are.
        limits: What one object may cost.
        turns: How many may be read at once.
    """

    def __init__(self, fetch: FetchSettings, limits: LimitsSettings, turns: Turns) -> None:
        self._fetch = fetch
        self._limits = limits
        # The operator names the store, so that it may be on a private network.
        self._getter = Getter(limits, turns)
        self._credentials: dict[str, Credentials] = {}
        self._regions: dict[str, str] = {}
        self._complained: set[str] = set()

    async def read(self, uri: str) -> tuple[bytes, Page]:
        """Read one object: its content, and the answer that it came in.

        Raises:
            ItemError: With the code that `Fetcher.fetch` documents.
        """
        page = await self._ask(self._listed(uri), {}, retries=RETRIES)
        assert page.data is not None, "an answer to a plain request has a body"
        return page.data, page

    async def confirm(self, uri: str, known: Known) -> Known | None:
        """Ask the store whether an object is still the one that was read, unless it must be.

        Returns:
            The record brought up to date, or None where the content has to be read.

        Raises:
            ItemError: As for `read`; a busy store is not asked again.
        """
        place = self._listed(uri)
        if time.time() < known.fresh_until:
            return known
        condition = freshness.condition(known)
        page = await self._ask(place, condition, retries=0) if condition else None
        if page is None or not page.unchanged:
            return None
        return freshness.confirmed(known, page.headers, asked_at=page.asked_at, target="")

    async def below(self, folder: Place) -> AsyncIterator[Place]:
        """The objects whose keys begin with that of `folder`, in the order of their keys.

        Raises:
            ItemError: As for `read`.
        """
        bucket, token = replace(folder, key=""), ""
        while True:
            query = f"list-type=2&prefix={quote(folder.key, safe='')}"
            query += f"&continuation-token={quote(token, safe='')}" if token else ""
            page = await self._ask(bucket, {}, retries=RETRIES, query=query)
            keys, token = _read_list(page.data or b"")
            for key in keys:
                yield replace(folder, key=key)
            if not token:
                return

    async def close(self) -> None:
        """Close the connections."""
        await self._getter.close()

    def _listed(self, uri: str) -> Place:
        place = parse(uri)
        if not is_listed(place, self._fetch.buckets):
            message = "the object does not lie in a bucket that may be read"
            raise ItemError("uri_blocked", message)
        return place

    async def _ask(
        self, place: Place, condition: Mapping[str, str], *, retries: int, query: str = ""
    ) -> Page:
        left = Allowance(self._limits.fetch_s, retries)
        answer = await self._get(place, condition, left, query)
        if isinstance(answer, Refused) and self._learn_region(place, answer):
            answer = await self._get(place, condition, left, query)
        if isinstance(answer, Page):
            return answer
        if answer.status in _FORBIDDEN:
            message = f"the object store answered {answer.status}"
            raise ItemError("upstream_forbidden", message)
        raise answer.error()

    async def _get(
        self, place: Place, condition: Mapping[str, str], left: Allowance, query: str
    ) -> Page | Refused:
        settings, region = self._store(place.scheme), self._region(place)
        base = settings.endpoint or default_endpoint(place.scheme, region)
        target = f"{place.path}?{query}" if query else place.path
        url = URL(base.rstrip("/") + target, encoded=True)
        signed: Mapping[str, str] = {}
        if not settings.anonymous:
            signed = await self._sign(place.scheme, str(url), region, left)
        return await self._getter.get(
            url, {**condition, **signed}, left, conditional=bool(condition)
        )

    def _store(self, scheme: str) -> ObjectStoreSettings:
        return self._fetch.s3 if scheme == "s3" else self._fetch.gs

    async def _sign(self, scheme: str, url: str, region: str, left: Allowance) -> Mapping[str, str]:
        if not is_installed(scheme):
            message = f"addresses of {scheme} need more: pip install 'alaas[objects]'"
            raise ItemError("scheme_disabled", message)
        credentials = self._credentials_of(scheme)
        try:
            async with asyncio.timeout(left.seconds):
                return await asyncio.to_thread(credentials.sign, url, region)
        except TimeoutError:
            raise ItemError("fetch_timeout", network.UNREACHABLE) from None
        except LookupError as error:
            if scheme not in self._complained:
                self._complained.add(scheme)
                log.warning("no credentials for %s: %s", scheme, error)
            message = f"the service has no credentials for {scheme}"
            raise ItemError("upstream_forbidden", message) from None

    def _credentials_of(self, scheme: str) -> Credentials:
        if scheme not in self._credentials:
            kind = AmazonCredentials if scheme == "s3" else GoogleCredentials
            self._credentials[scheme] = kind()
        return self._credentials[scheme]

    def _region(self, place: Place) -> str:
        if place.scheme != "s3":
            return ""
        return self._regions.get(place.bucket) or default_region()

    def _learn_region(self, place: Place, answer: Refused) -> bool:
        """Whether the store says that the bucket is in another region than it was asked in."""
        found = answer.headers.get("x-amz-bucket-region", "")
        if place.scheme != "s3" or found == self._region(place) or not _REGION.fullmatch(found):
            return False
        self._regions[place.bucket] = found
        return True


def _read_list(document: bytes) -> tuple[list[str], str]:
    """The keys on one page of a list, and what the next page is asked for with."""
    try:
        root = ElementTree.fromstring(document)  # noqa: S314  # expat bounds what entities expand to
    except ElementTree.ParseError:
        raise ItemError("fetch_failed", "the object store sent no list") from None
    texts = [(one.tag.rpartition("}")[2], one.text or "") for one in root.iter()]
    token = next((text for name, text in texts if name == "NextContinuationToken"), "")
    return [text for name, text in texts if name == "Key"], token
