"""Who computes what: two queries that meet the same item compute it once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from alaas.core.types import Plan
from alaas.core.wire import Item
from alaas.pipeline.measures import MEASURED, stored_name

ONE_PASS = frozenset({"probs", "embeddings"})
"""Views that come out of the same pass of a model, so that they are computed together."""

Key = tuple[frozenset[str], str]


class Claims:
    """The items that are on their way through the stages of one engine, over all queries.

    A query claims an item before it sends it. Another one that wants the same views of the
    same content waits until the first one is done with it, and finds it in the store.
    """

    def __init__(self) -> None:
        self._running: dict[Key, asyncio.Future[None]] = {}

    def claim(self, key: Key) -> asyncio.Future[None] | None:
        """Claim an item. If it is claimed, what says when it is done."""
        running = self._running.get(key)
        if running is None:
            self._running[key] = asyncio.get_running_loop().create_future()
        return running

    def release(self, keys: Iterable[Key]) -> None:
        """Tell those who wait that the items are done, well or badly."""
        for key in keys:
            running = self._running.pop(key, None)
            if running is not None and not running.done():
                running.set_result(None)


def claimed(plan: Plan) -> frozenset[str]:
    """The views of a model that a query claims; none where nothing is kept for another one."""
    if not plan.cache or not plan.needs:
        return frozenset()
    names = stored_names(plan, computed(plan.needs, head=bool(plan.head_draws)))
    return frozenset(f"{plan.space}-{name}" for name in names)


def key_of(views: frozenset[str], item: Item, digest: str) -> Key | None:
    """What an item is claimed under: the views, and its content or else its address."""
    content = digest or item.uri
    return (views, content) if views and content else None


def computed(needs: Iterable[str], *, head: bool = False) -> tuple[str, ...]:
    """The views that a pass computes for a plan: what it needs, and what costs nothing more.

    Args:
        needs: What it needs.
        head: Whether draws come of embeddings and the head, which are then kept for them.

    Example:
        >>> computed(("probs",)), computed(("draws",))
        (('probs', 'embeddings'), ('draws',))
    """
    needs = tuple(needs)
    if ONE_PASS.isdisjoint(needs) and not (head and "draws" in needs):
        return needs
    free = (*sorted(ONE_PASS, reverse=True), *(("head",) if head else ()))
    return tuple(dict.fromkeys((*needs, *free)))


def stored_names(plan: Plan, views: Iterable[str]) -> tuple[str, ...]:
    """The names under which views are stored: draws differ with their number and seed.

    So do uncertainties, with the scorer that they come of.
    """
    return tuple(_stored_name(plan, view) for view in views)


def _stored_name(plan: Plan, view: str) -> str:
    if view in MEASURED.values():
        return stored_name(plan, view)
    return f"draws-{plan.n_drop}-{plan.seed}" if view == "draws" else view
