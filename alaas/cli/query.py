"""``alaas query``."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from alaas.cli import answer, options, output
from alaas.cli.ask import Question, local_settings, select_here, select_there
from alaas.core.wire import Item, Labelled

_ASKING = "Asking a server"


class OnError(StrEnum):
    """What one bad item does."""

    SKIP = "skip"
    FAIL = "fail"


def _check_out(out: list[Path] | None) -> list[Path]:
    """Refuse a file that cannot be written before the pool is worked on, and not after."""
    for path in out or ():
        if path.suffix.lower() not in answer.WRITERS:
            raise typer.BadParameter(
                f"must end in {' or '.join(answer.WRITERS)}, got {str(path)!r}"
            )
        if not path.parent.is_dir():
            raise typer.BadParameter(f"there is no folder {str(path.parent)!r}")
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise typer.BadParameter(f"{str(path)!r} cannot be written")
    return out or []


def query(
    source: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="A folder, a glob such as 'photos/*.jpg', a .csv, .tsv, .parquet, .txt or .jsonl "
            "file, an address, or - for one address a line from standard input.",
        ),
    ],
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
    column: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The table's column with the addresses or texts."),
    ] = None,
    on_error: Annotated[
        OnError, typer.Option(help="Leave out an item that cannot be read, or end there.")
    ] = OnError.SKIP,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            callback=_check_out,
            help="Write a .csv or .json file, or a .png with the chosen pictures; "
            "repeat it for more.",
        ),
    ] = None,
    as_json: options.Json = False,
    no_progress: Annotated[
        bool, typer.Option("--no-progress", help="Show no progress bar.")
    ] = False,
    config: options.ConfigFile = None,
    model: options.Model = None,
    hub: options.Hub = None,
    weights: options.Weights = None,
    device: options.Device = None,
    server: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            rich_help_panel=_ASKING,
            help="Ask this server, such as http://localhost:8081 or grpc://..., and load no model "
            "here. Local files are read here and sent.",
        ),
    ] = None,
    by_uri: Annotated[
        bool,
        typer.Option(
            "--by-uri", rich_help_panel=_ASKING, help="Send paths only; the server reads the files."
        ),
    ] = False,
) -> None:
    """Choose the items of a pool that are most worth labelling.

    A terminal gets a table; a pipe or a file gets CSV.
    Exit status 4 says that some items could not be ranked.
    """
    question = Question(
        budget=budget,
        strategy=strategy,
        params=_read_params(param or []),
        seed=seed,
        n_drop=n_drop,
        labelled=_read_labelled(labelled),
        on_item_error=on_error.value,
        progress=False if no_progress else None,
    )
    if server is not None:
        _refuse(
            {"--config": config, "--model": model, "--hub": hub, "--weights": weights,
             "--device": device}
        )  # fmt: skip
        result = select_there(_read(source, column), question, url=server, by_uri=by_uri)
    elif by_uri:
        raise typer.BadParameter("needs --server", param_hint="--by-uri")
    else:
        overrides = options.model_overrides(model=model, hub=hub, weights=weights, device=device)
        settings = local_settings(config, overrides)
        result = select_here(_read(source, column), question, settings=settings)
    answer.write(result, out=out or [], as_json=as_json)
    if result.failures:
        raise typer.Exit(output.PARTIAL)


def _refuse(given: dict[str, object]) -> None:
    for option, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                "does not go with --server, which has a model of its own", param_hint=option
            )


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


def _read(sources: list[str], column: str | None) -> list[Item]:
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
