"""The stage that turns what a caller names into bytes."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from aiohttp.abc import AbstractResolver

from alaas.config.tree import FetchSettings, LimitsSettings
from alaas.core.types import Items, Raw, Raws
from alaas.core.wire import Failure, Item
from alaas.data import files
from alaas.data.network import disabled
from alaas.data.problem import ItemError
from alaas.data.web import Web


class Fetcher:
    """Fetches micro-batches: many items at once, each under the operator's limits.

    Belongs to the event loop that first runs `fetch`.

    Args:
        fetch: What addresses may name: schemes, folders, networks. Files can be read as
            soon as `fetch.roots` names a folder.
        limits: What one item may cost.
        resolver: What asks the name service; by default that of the system.
    """

    def __init__(
        self,
        fetch: FetchSettings,
        limits: LimitsSettings,
        *,
        resolver: AbstractResolver | None = None,
    ) -> None:
        self._roots = files.resolve_roots(fetch.roots)
        self._schemes = tuple(dict.fromkeys((*fetch.schemes, "file")))
        if not self._roots:
            self._schemes = tuple(scheme for scheme in fetch.schemes if scheme != "file")
        self._limits = limits
        self._web = Web(fetch, limits, resolver=resolver)

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

    async def fetch(self, items: Items) -> Raws:
        """Fetch a micro-batch; what cannot be had becomes a `Failure`, nothing raises.

        Codes: ``uri_invalid``, ``scheme_disabled``, ``uri_blocked``, ``not_found``,
        ``object_too_large``, ``text_too_long``, ``invalid_text``, ``fetch_timeout``,
        ``fetch_failed``, ``tls_invalid``, ``too_many_redirects``, ``upstream_not_found``,
        ``upstream_forbidden``, ``upstream_error``, ``upstream_unavailable``.

        Returns:
            The contents and the failures, each in pool order.
        """
        outcomes = await asyncio.gather(*map(self._outcome, items.items))
        return Raws(
            seq=items.seq,
            raws=tuple(one for one in outcomes if isinstance(one, Raw)),
            failures=tuple(one for one in outcomes if isinstance(one, Failure)),
        )

    async def _outcome(self, item: Item) -> Raw | Failure:
        try:
            if item.text is not None:
                return Raw(item.id, self._text(item.text), is_text=True)
            if item.blob is not None:
                return Raw(item.id, self._blob(item.blob))
            return Raw(item.id, await self._object(item.uri or ""))
        except ItemError as error:
            return Failure(item.id, "fetch", error.code, error.message, uri=item.uri)

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

    async def _object(self, uri: str) -> bytes:
        if not uri:
            raise ItemError("uri_invalid", "the item has no content")
        scheme = files.scheme_of(uri) or "file"
        if scheme not in self._schemes:
            raise ItemError("scheme_disabled", disabled(scheme, self._schemes))
        if scheme != "file":
            return await self._web.read(uri)
        path = files.path_of(uri)
        return await asyncio.to_thread(
            files.read, path, roots=self._roots, max_bytes=self._limits.object_bytes
        )
