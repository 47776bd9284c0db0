"""Asking for a selection: the pipeline in this process, or a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from alaas.cli import output
from alaas.client import Client, JobHandle, QueryResult
from alaas.client.pool import Pool, read_file
from alaas.client.progress import progress_bar
from alaas.core.errors import AllItemsFailed, EmptyInput, ItemFailed
from alaas.core.wire import Failure, Item, Labelled

if TYPE_CHECKING:
    from alaas.config import Settings


@dataclass(frozen=True, slots=True)
class Question:
    """What the user asks of a pool.

    Attributes:
        budget: A number of items, or a share such as ``10%``.
        strategy: Its name; None takes the configured one.
        params: Its hyper-parameters.
        seed: Seed of the random generator.
        n_drop: Stochastic passes of the model.
        labelled: What is labelled already.
        calibrate: How class probabilities are scaled by that.
        on_item_error: What one bad item does.
        progress: Whether to show a bar; None shows it on a terminal.
        cache: Whether what is stored of items may be used, and new things stored.
        model: Which of a server's models predicts; None for the default one.
    """

    budget: str
    strategy: str | None
    params: Mapping[str, Any]
    seed: int
    n_drop: int | None
    labelled: Sequence[Labelled]
    on_item_error: Literal["skip", "fail"]
    progress: bool | None
    cache: bool = True
    calibrate: Literal["temperature", "dirichlet"] | None = None
    model: str | None = None


def local_settings(config: Path | None, overrides: Mapping[str, Any]) -> Settings:
    """The configuration of a selection in this process.

    It may read every file and reach every network, since its user can.

    Raises:
        ConfigError: A file, variable or flag is wrong.
        MissingExtra: ``alaas[local]`` is not installed.
    """
    from alaas.api import need_local

    need_local()
    from alaas.config import FetchSettings, load
    from alaas.strategies import registry

    choices = {"active_learning.strategy.type": registry.names()}
    settings = load(config, overrides=overrides, choices=choices).settings
    return settings.model_copy(update={"fetch": FetchSettings.anywhere()})


def without_store(settings: Settings) -> Settings:
    """The same configuration, by which nothing is stored."""
    store = settings.store.model_copy(update={"cache": False})
    return settings.model_copy(update={"store": store})


def select_here(pool: Sequence[Item], question: Question, *, settings: Settings) -> QueryResult:
    """Choose in this process.

    Raises:
        AlaasError: As `alaas.select` does.
    """
    from alaas.api import count, select
    from alaas.config import parse_parameters
    from alaas.pipeline.query import plan

    chosen = settings.active_learning.strategy
    strategy = question.strategy or chosen.type
    budget = count(question.budget, len(pool))
    given = {
        "budget": budget, "strategy": strategy, "params": question.params, "seed": question.seed,
        "n_drop": question.n_drop, "labelled": [one.to_json() for one in question.labelled],
        "calibrate": question.calibrate,
    }  # fmt: skip
    # A mistake is told before torch and the model are loaded, which takes a while.
    plan(parse_parameters(given), chosen, query="")
    if question.progress is None and sys.stderr.isatty():
        output.note(f"{len(pool)} items; loading {chosen.model.name} ...")
    if not question.cache:
        settings = without_store(settings)
    with progress_bar(question.progress) as on_progress:
        return select(
            pool,
            budget,
            strategy=strategy,
            params=question.params,
            seed=question.seed,
            n_drop=question.n_drop,
            labelled=question.labelled,
            calibrate=question.calibrate,
            on_item_error=question.on_item_error,
            settings=settings,
            on_progress=on_progress,
        )


def select_there(
    pool: Sequence[Item],
    question: Question,
    *,
    url: str,
    by_uri: bool,
    api_key: str | None = None,
) -> QueryResult:
    """Have a server choose.

    Args:
        pool: The items. Local files among them are read here, and sent.
        question: What is asked.
        url: Where the server is.
        by_uri: Send the paths of local files, for the server to read.
        api_key: What to show the server.

    Raises:
        AlaasError: As `Client.query` does.
    """
    from alaas.api import count

    budget = count(question.budget, len(pool))
    read = reader(by_uri=by_uri)
    sent = Pool(pool, read, strict=question.on_item_error == "fail")
    with connect(url, progress=question.progress, api_key=api_key) as client:
        try:
            result = client.query(sent, budget, **_arguments(question, read))
        except EmptyInput as error:
            if not sent.failures:
                raise
            raise AllItemsFailed(
                f"none of {len(pool)} items can be read; {sent.failures[0].message}"
            ) from error
    return _as_written(result, pool, sent.failures)


def submit_there(
    pool: Sequence[Item] | str,
    question: Question,
    *,
    url: str,
    by_uri: bool,
    api_key: str | None = None,
) -> JobHandle:
    """Have a server choose in a job; arguments are those of `select_there`.

    Args:
        pool: The items, or the name of a pool that the server has stored.
        question: As in `select_there`.
        url: As in `select_there`.
        by_uri: As in `select_there`.
        api_key: As in `select_there`.

    Raises:
        AlaasError: As `Client.submit` does.
    """
    from alaas.api import count

    read = reader(by_uri=by_uri)
    arguments = _arguments(question, read)
    with connect(url, progress=question.progress, api_key=api_key) as client:
        if isinstance(pool, str):
            size = next((one.items for one in client.pools() if one.name == pool), 0)
            return client.submit(None, count(question.budget, size), pool=pool, **arguments)
        sent = Pool(pool, read, strict=question.on_item_error == "fail")
        return client.submit(sent, count(question.budget, len(pool)), **arguments)


def _arguments(question: Question, read: Callable[[Item, int], Item | Failure]) -> dict[str, Any]:
    """What `Client.query` is told beside the pool and the budget."""
    return {
        "strategy": question.strategy,
        "params": question.params or None,
        "seed": question.seed,
        "n_drop": question.n_drop,
        "labelled": [_sent(one, read) for one in question.labelled] or None,
        "calibrate": question.calibrate,
        "on_item_error": question.on_item_error,
        "model": question.model,
        "cache": None if question.cache else False,
    }


def _sent(one: Labelled, read: Callable[[Item, int], Item | Failure]) -> Labelled:
    item = read(one.item, 0)
    if isinstance(item, Failure):
        raise ItemFailed(f"labelled item {item.id!r}: {item.message}")
    return replace(one, item=item)


def reader(*, by_uri: bool) -> Callable[[Item, int], Item | Failure]:
    """What makes of an item what a server gets: a local file's bytes, or its whole path."""
    return _as_address if by_uri else _with_content


def connect(url: str, *, progress: bool | None = False, api_key: str | None = None) -> Client:
    """A client of the server that ``--server`` names, with the key of ``--api-key``."""
    try:
        return Client(url, progress=progress, api_key=api_key)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--server") from None


def _with_content(item: Item, _: int) -> Item | Failure:
    """A local file as its bytes; anything else as it is."""
    from alaas.data.files import path_of, scheme_of
    from alaas.data.problem import ItemError

    if item.uri is None or scheme_of(item.uri) not in ("", "file"):
        return item
    try:
        found = read_file(path_of(item.uri), name=item.id)
        return found if isinstance(found, Failure) else replace(found, group=item.group)
    except ItemError as error:
        return Failure(item.id, "fetch", error.code, error.message, uri=item.uri)


def _as_address(item: Item, _: int) -> Item:
    """A path from the root: the server may run in another folder."""
    from alaas.data.files import scheme_of

    if item.uri is None or scheme_of(item.uri):
        return item
    return replace(item, uri=os.path.abspath(item.uri))


def _as_written(
    result: QueryResult, pool: Sequence[Item], unread: Sequence[Failure]
) -> QueryResult:
    """The answer in the user's own words: addresses as they stood, failures in pool order."""
    rows = {item.id: row for row, item in enumerate(pool)}
    picks = tuple(
        replace(pick, uri=pool[rows[pick.id]].uri, text=pool[rows[pick.id]].text, blob=None)
        for pick in result
    )
    # What is labelled is no part of the pool, and comes last.
    lost = sorted((*unread, *result.failures), key=lambda one: rows.get(one.id, len(pool)))
    failures = tuple(
        replace(one, uri=pool[rows[one.id]].uri) if one.id in rows else one for one in lost
    )
    return QueryResult(replace(result.response, picks=picks, failures=failures))
