"""The stage that turns what a caller names into bytes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import Protocol, Self

from aiohttp.abc import AbstractResolver

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.sources import Known
from alaas.core.types import Items, Raw, Raws
from alaas.core.wire import Failure, Item
from alaas.data import files, freshness, objects
from alaas.data.http import Turns
from alaas.data.network import disabled
from alaas.data.objects import Buckets
from alaas.data.problem import ItemError
from alaas.data.web import Web

_FILES_A_HOP = 8
_LOOKS_A_HOP = 256
_SMALL = 1 << 20


class AddressIndex(Protocol):
    """Keeps what addresses were when they were read. It may forget; it does not raise."""

    def lookup(self, addresses: Sequence[str]) -> dict[str, Known]:
        """The records of those addresses that have one."""

    def note(self, known: Mapping[str, Known]) -> None:
        """Keep records, in the place of older ones."""


class Fetcher:
    """Fetches micro-batches: many items at once, each under the operator's limits.

    Belongs to the event loop that first runs `fetch`.

    Args:
        fetch: What addresses may name: schemes, folders, networks, buckets. Files can be read
            as soon as `fetch.roots` names a folder.
        limits: What one item may cost.
        resolver: What asks the name service; by default that of the system.
        index: Where it is noted what addresses were when they were read; by default nowhere.
    """

    def __init__(
        self,
        fetch: FetchSettings,
        limits: LimitsSettings,
        *,
        resolver: AbstractResolver | None = None,
        index: AddressIndex | None = None,
    ) -> None:
        self._roots = files.resolve_roots(fetch.roots)
        self._schemes = tuple(dict.fromkeys((*fetch.schemes, "file")))
        if not self._roots:
            self._schemes = tuple(scheme for scheme in fetch.schemes if scheme != "file")
        self._limits = limits
        self._index = index
        turns = Turns(limits)
        self._web = Web(fetch, limits, turns, resolver=resolver)
        self._buckets = Buckets(fetch, limits, turns)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._web.close()
        await self._buckets.close()

    async def fetch(self, items: Items) -> Raws:
        """Fetch a micro-batch; what cannot be had becomes a `Failure`, nothing raises.

        What the addresses were when they were read is noted in the index.

        Codes: ``uri_invalid``, ``scheme_disabled``, ``uri_blocked``, ``not_found``,
        ``object_too_large``, ``text_too_long``, ``invalid_text``, ``fetch_timeout``,
        ``fetch_failed``, ``tls_invalid``, ``too_many_redirects``, ``upstream_not_found``,
        ``upstream_forbidden``, ``upstream_error``, ``upstream_unavailable``.

        Returns:
            The contents and the failures, each in pool order.
        """
        noted: dict[str, Known] = {}
        # What came with the item needs no task of its own, which would cost more than it does.
        here = [item for item in items.items if _is_here(item)]
        rest = [item for item in items.items if not _is_here(item)]
        local = [item for item in rest if self._is_file(item)]
        parts = await asyncio.gather(
            asyncio.gather(*(self._other(i, noted) for i in rest if not self._is_file(i))),
            *(asyncio.to_thread(self._files, part, noted) for part in _cut(local, _FILES_A_HOP)),
        )
        await self._note(noted)
        place = {item.id: row for row, item in enumerate(items.items)}
        found = [*map(self._here, here), *(one for part in parts for one in part)]
        outcomes = sorted(found, key=lambda one: place[one.id])
        return Raws(
            seq=items.seq,
            raws=tuple(one for one in outcomes if isinstance(one, Raw)),
            failures=tuple(one for one in outcomes if isinstance(one, Failure)),
        )

    async def identify(self, items: Items) -> dict[str, str]:
        """The contents that are known without reading them; nothing raises.

        A file is known as long as it is, by all that the file system says, the one that was
        read, and had been left alone for a while then. An object of the web or of a bucket is
        known as long as its server said that it would hold, and after that if the server
        says, asked with the validators that it gave, that it still does. Every check and limit
        of `fetch` applies; what it would refuse is not known.

        Returns:
            Id to the digest of its content, of those items with an address that are known.
        """
        if self._index is None:
            return {}
        named = [item for item in items.items if _has_address(item)]
        known = await asyncio.to_thread(self._index.lookup, [item.uri or "" for item in named])
        named = [item for item in named if item.uri in known]
        local = [item for item in named if self._is_file(item)]
        noted: dict[str, Known] = {}
        parts = await asyncio.gather(
            asyncio.gather(
                *(self._confirm(i, known, noted) for i in named if not self._is_file(i))
            ),
            *(asyncio.to_thread(self._look, part, known) for part in _cut(local, _LOOKS_A_HOP)),
        )
        await self._note(noted)
        return {one.id: found for part in parts for one, found in part if found is not None}

    async def _confirm(
        self, item: Item, known: Mapping[str, Known], noted: dict[str, Known]
    ) -> tuple[Item, str | None]:
        uri = item.uri or ""
        record = known[uri]
        try:
            found = await self._home(uri).confirm(uri, record)
        except ItemError:
            return item, None
        if found is None:
            return item, None
        if found != record:
            noted[uri] = found
        return item, found.digest

    def _look(
        self, items: Iterable[Item], known: Mapping[str, Known]
    ) -> list[tuple[Item, str | None]]:
        """Which files are still what was read. Blocks."""
        outcomes: list[tuple[Item, str | None]] = []
        with files.Reader(self._roots) as reader:
            for item in items:
                record = known[item.uri or ""]
                try:
                    found = reader.look(self._path(item.uri or ""))
                except ItemError:
                    continue
                same = files.record(record.digest, found, noted_at=record.noted_at) == record
                outcomes.append((item, record.digest if same else None))
        return outcomes

    def _files(self, items: Iterable[Item], noted: dict[str, Known]) -> list[Raw | Failure]:
        """Read files. Blocks."""
        outcomes: list[Raw | Failure] = []
        with files.Reader(self._roots) as reader:
            for item in items:
                uri, asked_at = item.uri or "", time.time()
                try:
                    path = self._path(uri)
                    data, found = reader.read(path, max_bytes=self._limits.object_bytes)
                except ItemError as error:
                    outcomes.append(_failed(item, error))
                    continue
                raw = Raw(item.id, data, digest=digest(data))
                outcomes.append(raw)
                record = files.record(raw.digest, found, noted_at=asked_at)
                if record is not None:
                    noted[uri] = record
        return outcomes

    def _here(self, item: Item) -> Raw | Failure:
        """What came with an item, and is small."""
        try:
            if item.text is not None:
                data = self._text(item.text)
                return Raw(item.id, data, is_text=True, digest=digest(data, is_text=True))
            data = self._blob(item.blob or b"")
            return Raw(item.id, data, digest=digest(data))
        except ItemError as error:
            return _failed(item, error)

    async def _other(self, item: Item, noted: dict[str, Known]) -> Raw | Failure:
        try:
            if item.blob is not None:
                data = self._blob(item.blob)
                return Raw(item.id, data, digest=await _digest(data))
            return await self._object(item.id, item.uri or "", noted)
        except ItemError as error:
            return _failed(item, error)

    def _text(self, text: str) -> bytes:
        most = self._limits.text_chars
        if len(text) > most:
            message = f"the text has {len(text)} characters; at most {most} are allowed"
            raise ItemError("text_too_long", message)
        try:
            return text.encode()
        except UnicodeEncodeError:
            raise ItemError("invalid_text", "the text has half a surrogate pair in it") from None

    def _blob(self, blob: bytes) -> bytes:
        most = self._limits.object_bytes
        if len(blob) > most:
            message = f"the blob has {len(blob)} bytes; at most {most} are allowed"
            raise ItemError("object_too_large", message)
        return blob

    async def _object(self, id_: str, uri: str, noted: dict[str, Known]) -> Raw:
        if not uri:
            raise ItemError("uri_invalid", "the item has no content")
        data, page = await self._home(uri).read(uri)
        raw = Raw(id_, data, digest=await _digest(data))
        if self._index is not None:
            record = freshness.record(
                raw.digest, page.headers, asked_at=page.asked_at, target=page.target
            )
            if record is not None:
                noted[uri] = record
        return raw

    def _home(self, uri: str) -> Web | Buckets:
        """What reads an address that is not of a file."""
        scheme = files.scheme_of(uri)
        if scheme not in self._schemes:
            raise ItemError("scheme_disabled", disabled(scheme, self._schemes))
        return self._buckets if scheme in objects.SCHEMES else self._web

    def _path(self, uri: str) -> str:
        if "file" not in self._schemes:
            raise ItemError("scheme_disabled", disabled("file", self._schemes))
        return files.path_of(uri)

    @staticmethod
    def _is_file(item: Item) -> bool:
        return _has_address(item) and files.scheme_of(item.uri or "") in ("", "file")

    async def _note(self, noted: Mapping[str, Known]) -> None:
        if self._index is not None and noted:
            await asyncio.to_thread(self._index.note, noted)


def _has_address(item: Item) -> bool:
    return bool(item.uri) and item.text is None and item.blob is None


def _failed(item: Item, error: ItemError) -> Failure:
    return Failure(item.id, "fetch", error.code, error.message, uri=item.uri)


def _is_here(item: Item) -> bool:
    """Whether an item has come with its content, and that is small."""
    return item.text is not None or (item.blob is not None and len(item.blob) < _SMALL)


async def _digest(data: bytes) -> str:
    """The name of an image's content; a large one is no reason for all others to wait."""
    return digest(data) if len(data) < _SMALL else await asyncio.to_thread(digest, data)


def _cut(items: Sequence[Item], most: int) -> Iterable[list[Item]]:
    rest = iter(items)
    return iter(lambda: list(islice(rest, most)), [])
