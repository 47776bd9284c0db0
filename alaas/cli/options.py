"""Options that more than one command takes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

_MODEL = "Model"

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        metavar="FILE",
        help="YAML file with the configuration; flags and ALAAS_... variables go before it.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Strategy = Annotated[
    str | None,
    typer.Option(
        metavar="NAME", help="How items are chosen; `alaas strategies` lists what there is."
    ),
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        rich_help_panel=_MODEL,
        help="A classifier of torchvision (`alaas models`), or module:factory with --hub python.",
    ),
]
Hub = Annotated[
    str | None,
    typer.Option(metavar="HUB", rich_help_panel=_MODEL, help="torchvision or python."),
]
Weights = Annotated[
    str | None,
    typer.Option(
        metavar="NAME|FILE",
        rich_help_panel=_MODEL,
        help="default, a name of weights, a file, or none for random ones, to try things out.",
    ),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", rich_help_panel=_MODEL, help="auto, cpu, mps, cuda or cuda:N."),
]


def model_overrides(
    *, model: str | None, hub: str | None, weights: str | None, device: str | None
) -> Mapping[str, Any]:
    """The flags above as `alaas.config.load` takes them; None was not given."""
    section = "active_learning.strategy.model"
    return {
        f"{section}.name": model,
        f"{section}.hub": hub,
        f"{section}.weights": weights,
        f"{section}.device": device,
    }
