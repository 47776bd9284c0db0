"""``alaas push`` and ``alaas pools``: pools that are stored, to be chosen from again and again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from alaas.cli import answer, options, output, stored
from alaas.cli.ask import connect, local_settings
from alaas.cli.query import read_pool
from alaas.core.wire import PoolInfo


def push(
    source: options.Source = None,
    *,
    pool: Annotated[
        str, typer.Option(metavar="NAME", help="Its name; a pool of that name is replaced.")
    ],
    ttl: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="Delete it after this time; otherwise it is kept."),
    ] = None,
    strategy: options.Strategy = None,
    n_drop: Annotated[
        int | None,
        typer.Option(metavar="T", min=1, help="Stochastic passes of the model to store as well."),
    ] = None,
    column: options.Column = None,
    on_error: options.OnItemError = options.OnError.SKIP,
    as_json: options.Json = False,
    no_progress: options.NoProgress = False,
    no_cache: options.NoCache = False,
    config: options.ConfigFile = None,
    model: options.Model = None,
    hub: options.Hub = None,
    weights: options.Weights = None,
    device: options.Device = None,
    more: options.More = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
    by_uri: options.ByUri = False,
) -> None:
    """Store a pool under a name, for `alaas query --pool NAME` to choose from at once.

    Exit status 4 says that some items could not be stored.
    """
    if not source:
        raise typer.BadParameter("name what to store", param_hint="SOURCE")
    overrides = options.model_overrides(
        model=model if server is None else None, hub=hub, weights=weights, device=device, more=more
    )
    options.check_server(server, by_uri=by_uri, config=config, overrides=overrides, api_key=api_key)
    progress = False if no_progress else None
    parameters = {
        "pool": pool, "ttl_s": ttl, "strategy": strategy, "n_drop": n_drop,
        "on_item_error": on_error.value, "cache": not no_cache,
        "model": model if server is not None else None,
    }  # fmt: skip
    items = read_pool(source, column)
    if server is None:
        settings = local_settings(config, overrides)
        result = stored.push_here(items, parameters, settings=settings, progress=progress)
    else:
        result = stored.push_there(
            items, parameters, url=server, by_uri=by_uri, progress=progress, api_key=api_key
        )
    if as_json:
        output.show_json(result.to_json())
    for warning in result.warnings:
        output.warn(warning.message)
    answer.tell_failures(result.failures, "stored")
    answer.tell_timings(result.timings)
    output.note(
        f"stored {result.pool.items} items as {result.pool.name!r} "
        f"in {result.timings.total_s:.1f} s"
    )
    if result.failures:
        raise typer.Exit(output.PARTIAL)


def pools(
    delete: Annotated[
        str | None, typer.Option(metavar="NAME", help="Delete this one; lists nothing.")
    ] = None,
    as_json: options.Json = False,
    config: options.ConfigFile = None,
    server: options.Server = None,
    api_key: options.ApiKey = None,
) -> None:
    """List the stored pools: those of this machine, or of a server."""
    options.check_server(server, by_uri=False, config=config, overrides={}, api_key=api_key)
    if server is not None:
        with connect(server, api_key=api_key) as client:
            if delete is not None:
                client.delete_pool(delete)
                return
            found = client.pools()
    else:
        settings = local_settings(config, {})
        if delete is not None:
            stored.delete_here(settings, delete)
            return
        found = stored.list_here(settings)
    if as_json:
        output.show_json([pool.to_json() for pool in found])
        return
    table = output.table("name", "items", "MB", "stored", "until", "views")
    for pool in found:
        table.add_row(*_row(pool))
    output.show(table)


def _row(pool: PoolInfo) -> tuple[str, ...]:
    return (
        output.printable(pool.name),
        str(pool.items),
        f"{pool.bytes / 1e6:.1f}",
        _local_time(pool.created),
        "" if pool.expires is None else _local_time(pool.expires),
        ", ".join(pool.views),
    )


def _local_time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M}"
