"""``alaas query``."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from alaas.cli import answer, jobs, options, output, stored
from alaas.cli.ask import Question, local_settings, select_here, select_there
from alaas.core.wire import Item, Labelled


def query(
    source: options.Source = None,
    *,
    budget: Annotated[
        str,
        typer.Option(
            "--budget", "-b", metavar="N", help="How many to choose: 100, or 10% of the pool."
        ),
    ],
    strategy: options.Strategy = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="Hyper-parameter of the strategy; repeat it for more."
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(metavar="N", min=0, help="The same seed makes the same choice.")
    ] = 0,
    n_drop: Annotated[
        int | None,
        typer.Option(
            metavar="T", min=1, help="Stochastic passes, where the strategy reads several."
        ),
    ] = None,
    labelled: Annotated[
        str | None,
        typer.Option(
            metavar="TABLE",
            help="What is labelled already: a .csv, .tsv, .parquet or .jsonl with a column label.",
        ),
    ] = None,
    calibrate: options.Calibrate = None,
    pool: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Choose from what `alaas push` has stored under this name; takes no SOURCE.",
        ),
    ] = None,
    column: options.Column = None,
    on_error: options.OnItemError = options.OnError.SKIP,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            callback=answer.check_out,
            help="Write a .csv or .json file, or a .png with the chosen pictures; "
            "repeat it for more.",
        ),
    ] = None,
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
    job: options.Job = False,
) -> None:
    """Choose the items of a pool that are most worth labelling.

    A terminal gets a table; a pipe or a file gets CSV.
    Exit status 4 says that some items could not be ranked.
    """
    if bool(source) == (pool is not None):
        raise typer.BadParameter("give a SOURCE or --pool NAME", param_hint="SOURCE")
    question = Question(
        budget=budget,
        strategy=strategy,
        params=_read_params(param or []),
        seed=seed,
        n_drop=n_drop,
        labelled=_read_labelled(labelled),
        on_item_error=on_error.value,
        progress=False if no_progress else None,
        cache=not no_cache,
        calibrate=None if calibrate is None else calibrate.value,
        model=model if server is not None else None,
    )
    overrides = options.model_overrides(
        model=model if server is None else None, hub=hub, weights=weights, device=device, more=more
    )
    options.check_server(server, by_uri=by_uri, config=config, overrides=overrides, api_key=api_key)
    if job:
        asked = pool if pool is not None else read_pool(source or (), column)
        jobs.begin(asked, question, server=server, by_uri=by_uri, api_key=api_key)
        return
    if server is not None:
        result = (
            select_there(
                read_pool(source or (), column),
                question,
                url=server,
                by_uri=by_uri,
                api_key=api_key,
            )
            if pool is None
            else stored.query_there(pool, question, url=server, api_key=api_key)
        )
    else:
        settings = local_settings(config, overrides)
        result = (
            select_here(read_pool(source or (), column), question, settings=settings)
            if pool is None
            else stored.query_here(pool, question, settings=settings)
        )
    answer.write(result, out=out or [], as_json=as_json)
    if result.failures:
        raise typer.Exit(output.PARTIAL)


def _read_params(given: list[str]) -> dict[str, Any]:
    """Hyper-parameters as JSON has them; what is no JSON is a text."""
    params: dict[str, Any] = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign):
            raise typer.BadParameter(f"must be NAME=VALUE, got {text!r}", param_hint="--param")
        try:
            params[name] = json.loads(value)
        except ValueError:
            params[name] = value
    return params


def _read_labelled(source: str | None) -> Sequence[Labelled]:
    from alaas.data.sources import labelled_items

    return () if source is None else labelled_items(source)


def read_pool(sources: Sequence[str], column: str | None) -> list[Item]:
    """The pool: one source, or the many that a shell makes of a glob without quotes."""
    from alaas.data.sources import items

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        pool = [item for source in sources for item in items(source, column=column)]
        if len(sources) > 1:
            pool = items(pool)
    for one in told:
        output.warn(str(one.message))
    return pool
