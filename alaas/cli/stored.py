"""Stored pools, of this machine's own store or of a server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from alaas.cli.ask import Question, connect, reader
from alaas.client import PushResult, QueryResult
from alaas.client.pool import Pool
from alaas.client.progress import progress_bar
from alaas.core.errors import AllItemsFailed, EmptyInput, StoreDisabled, UnknownPool
from alaas.core.wire import Item, PoolInfo

if TYPE_CHECKING:
    from alaas.config import Settings
    from alaas.pipeline.ledger import Part
    from alaas.store.pools import Pools


def query_there(
    name: str, question: Question, *, url: str, api_key: str | None = None
) -> QueryResult:
    """Have a server choose from a pool that it has stored.

    Raises:
        AlaasError: As `Client.query` does.
    """
    from alaas.api import count

    with connect(url, progress=question.progress, api_key=api_key) as client:
        budget = count(question.budget, _size(name, client.pools()))
        return client.query(
            None,
            budget,
            pool=name,
            strategy=question.strategy,
            params=question.params or None,
            seed=question.seed,
            n_drop=question.n_drop,
            labelled=question.labelled or None,
            calibrate=question.calibrate,
            on_item_error=question.on_item_error,
            cache=None if question.cache else False,
        )


def query_here(name: str, question: Question, *, settings: Settings) -> QueryResult:
    """Choose in this process from a pool of this machine's store.

    Raises:
        AlaasError: As `alaas.select` does; `UnknownPool`, where there is none of that name.
    """
    from alaas.api import count
    from alaas.config import parse_parameters
    from alaas.pipeline import query
    from alaas.pipeline.engine import LocalEngine

    chosen = settings.active_learning.strategy
    parameters = parse_parameters(
        {
            "budget": count(question.budget, _size(name, list_here(settings))),
            "pool": name,
            "strategy": question.strategy,
            "params": question.params,
            "seed": question.seed,
            "n_drop": question.n_drop,
            "labelled": [one.to_json() for one in question.labelled],
            "calibrate": question.calibrate,
            "on_item_error": question.on_item_error,
            "cache": question.cache,
        }
    )

    async def run() -> QueryResult:
        async with LocalEngine(settings) as engine:
            with progress_bar(question.progress) as told:
                answer = await query.run(
                    engine, parameters, _whole(()), defaults=chosen, on_progress=told
                )
        return QueryResult(answer)

    return asyncio.run(run())


def push_there(
    pool: Sequence[Item],
    parameters: dict[str, Any],
    *,
    url: str,
    by_uri: bool,
    progress: bool | None,
    api_key: str | None = None,
) -> PushResult:
    """Have a server store a pool; local files are read here and sent.

    Raises:
        AlaasError: As `Client.push` does.
    """
    sent = Pool(pool, reader(by_uri=by_uri), strict=parameters["on_item_error"] == "fail")
    with connect(url, progress=progress, api_key=api_key) as client:
        try:
            response = client.push(sent, **parameters).response
        except EmptyInput as error:
            if not sent.failures:
                raise
            raise AllItemsFailed(
                f"none of {len(pool)} items can be read; {sent.failures[0].message}"
            ) from error
    return PushResult(replace(response, failures=(*sent.failures, *response.failures)))


def push_here(
    pool: Sequence[Item],
    parameters: dict[str, Any],
    *,
    settings: Settings,
    progress: bool | None,
) -> PushResult:
    """Store a pool on this machine.

    Raises:
        AlaasError: As `alaas.select` does; `StoreDisabled`, where the configuration says so.
    """
    from alaas.config import parse_push
    from alaas.pipeline import push
    from alaas.pipeline.engine import LocalEngine

    checked = parse_push(parameters)
    if not settings.store.cache:
        raise StoreDisabled("the configuration says `store.cache: false`: no pools")

    async def run() -> PushResult:
        async with LocalEngine(settings) as engine:
            with progress_bar(progress) as told:
                answer = await push.run(
                    engine,
                    checked,
                    _whole(pool),
                    defaults=settings.active_learning.strategy,
                    on_progress=told,
                )
        return PushResult(answer)

    return asyncio.run(run())


def list_here(settings: Settings) -> list[PoolInfo]:
    """The pools of this machine's store."""
    pools = _opened(settings)
    pools.expire()
    return pools.list()


def delete_here(settings: Settings, name: str) -> None:
    """Delete a pool of this machine's store.

    Raises:
        UnknownPool: There is none of that name.
    """
    if not _opened(settings).delete(name):
        raise UnknownPool(f"no pool is stored under the name {name!r}")


def _opened(settings: Settings) -> Pools:
    if not settings.store.cache:
        raise StoreDisabled("the configuration says `store.cache: false`: no pools")
    from alaas.pipeline.keeping import location
    from alaas.store.pools import Pools

    return Pools(location(settings.store))


def _size(name: str, pools: Sequence[PoolInfo]) -> int:
    for pool in pools:
        if pool.name == name:
            return pool.items
    raise UnknownPool(f"no pool is stored under the name {name!r}")


async def _whole(pool: Sequence[Item]) -> AsyncIterator[Part]:
    if pool:
        yield pool
