"""What an engine keeps between queries, opened as the configuration says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from alaas.config import StoreSettings
from alaas.core.types import Items, Plan
from alaas.data.fetch import Fetcher

if TYPE_CHECKING:  # its library starts threads, which a process that forks must not have
    from alaas.store.features import FeatureStore
    from alaas.store.pools import Pools
    from alaas.store.sources import SourceIndex


@dataclass(frozen=True, slots=True)
class Kept:
    """The stores of one process; those that are None keep nothing.

    Attributes:
        features: Views of items by their content.
        pools: Named pools.
        addresses: What was last read at which address.
    """

    features: FeatureStore | None = None
    pools: Pools | None = None
    addresses: SourceIndex | None = None

    def close(self) -> None:
        """Write what waits, and close."""
        for store in (self.features, self.addresses):
            if store is not None:
                store.close()


def keep(settings: StoreSettings, *, features: bool = True, addresses: bool = True) -> Kept:
    """Open the stores of a process.

    Args:
        settings: Where they are; with ``cache: false`` none is opened.
        features: Whether this process scores, and so keeps views and pools.
        addresses: Whether this process fetches.
    """
    if not settings.cache:
        return Kept()
    from alaas.store.sources import SourceIndex

    url = location(settings)
    index = SourceIndex(_beside(url)) if addresses else None
    if not features:
        return Kept(addresses=index)
    # Its library is large: a process that does without it is back sooner.
    from alaas.store.features import FeatureStore
    from alaas.store.pools import Pools

    pools = Pools(url, memory_bytes=settings.memory_bytes)
    return Kept(FeatureStore(url, max_bytes=settings.max_bytes), pools, index)


def location(settings: StoreSettings) -> str:
    """Folder or URL of the store; by default below the user's data folder."""
    if settings.url is not None:
        return str(Path(settings.url).expanduser()) if "://" not in settings.url else settings.url
    from platformdirs import user_data_path

    return str(user_data_path("alaas") / "store")


def _beside(url: str) -> Path:
    """Where addresses are kept: in the store's folder, or for a remote one on this machine.

    Files are named by the paths of this machine, so their records stay on it.
    """
    if "://" not in url:
        return Path(url) / "addresses.sqlite"
    from platformdirs import user_data_path

    name = hashlib.blake2b(url.encode(), digest_size=8).hexdigest()
    return user_data_path("alaas") / f"addresses-{name}.sqlite"


async def identify(fetcher: Fetcher, plan: Plan, items: Items) -> Items:
    """The items with the names of those contents that are known without reading them."""
    if not plan.cache or not items.digests:
        return items
    known = await fetcher.identify(items)
    if not known:
        return items
    digests = tuple(
        name or known.get(item.id, "")
        for item, name in zip(items.items, items.digests, strict=True)
    )
    return replace(items, digests=digests)
