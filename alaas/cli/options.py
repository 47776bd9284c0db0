"""Options that more than one command takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

_MODEL = "Model"
_ASKING = "Asking a server"


class OnError(StrEnum):
    """What one bad item does."""

    SKIP = "skip"
    FAIL = "fail"


class Scaling(StrEnum):
    """How class probabilities are scaled."""

    TEMPERATURE = "temperature"
    DIRICHLET = "dirichlet"


Calibrate = Annotated[
    Scaling | None,
    typer.Option(
        help="Scale class probabilities by the items of --labelled before the strategy reads them."
    ),
]

_OPTIONS = {"config": "config", "name": "model"} | {
    name: name for name in ("hub", "weights", "device")
}
"""The option of each key that has one of its own."""

Source = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="SOURCE",
        help="A folder, a glob such as 'photos/*.jpg', a .csv, .tsv, .parquet, .txt or .jsonl "
        "file, an address, or - for one address a line from standard input.",
    ),
]
Column = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The table's column with the addresses or texts."),
]
OnItemError = Annotated[
    OnError,
    typer.Option("--on-error", help="Leave out an item that cannot be read, or end there."),
]
NoProgress = Annotated[bool, typer.Option("--no-progress", help="Show no progress bar.")]
NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache", help="Compute everything anew, and store nothing of what is computed."
    ),
]
Server = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        rich_help_panel=_ASKING,
        help="Ask this server, such as http://localhost:8081 or grpc://..., and load no model "
        "here. Local files are read here and sent.",
    ),
]
ByUri = Annotated[
    bool,
    typer.Option(
        "--by-uri", rich_help_panel=_ASKING, help="Send paths only; the server reads the files."
    ),
]
Job = Annotated[
    bool,
    typer.Option(
        "--job",
        rich_help_panel=_ASKING,
        help="Only begin it and print the id of its job; `alaas jobs` has the rest.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        metavar="KEY",
        rich_help_panel=_ASKING,
        help="What the server asks for; better in the environment as ALAAS_API_KEY, where other "
        "users of this machine and the shell's history do not see it.",
    ),
]

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
        help="A classifier of torchvision (`alaas models`); with --hub another name, a folder, "
        "a file, or module:factory. With --server the name of one of its models.",
    ),
]
Hub = Annotated[
    str | None,
    typer.Option(
        metavar="HUB",
        rich_help_panel=_MODEL,
        help="torchvision, huggingface, timm, onnx, python, or owner/repository:commit.",
    ),
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


More = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        rich_help_panel=_MODEL,
        help="Any other key of the model section, such as tokenizer=FOLDER, output=sigmoid or "
        "'preprocess={size: 32, mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}'; repeat it for more.",
    ),
]


def check_server(
    server: str | None,
    *,
    by_uri: bool,
    config: Path | None,
    overrides: Mapping[str, Any],
    api_key: str | None = None,
) -> None:
    """Refuse options that do not go together.

    Args:
        server: The address of ``--server``.
        by_uri: ``--by-uri``, which needs a server.
        config: ``--config``, which goes with none.
        overrides: Flags about the model, which go with none either.
        api_key: ``--api-key``, which needs a server.

    Raises:
        typer.BadParameter: They do not.
    """
    if server is None:
        if by_uri:
            raise typer.BadParameter("needs --server", param_hint="--by-uri")
        if api_key is not None:
            raise typer.BadParameter("needs --server", param_hint="--api-key")
        return
    given = {"config": config, **{key.rpartition(".")[2]: to for key, to in overrides.items()}}
    for name, value in given.items():
        if value is not None:
            option = _OPTIONS.get(name, "set")
            raise typer.BadParameter(
                "does not go with --server, which has models of its own",
                param_hint=f"--{option}",
            )


def model_overrides(
    *,
    model: str | None,
    hub: str | None,
    weights: str | None,
    device: str | None,
    more: Sequence[str] | None = None,
) -> Mapping[str, Any]:
    """The flags above as `alaas.config.load` takes them; None was not given.

    Raises:
        typer.BadParameter: One of ``--set`` is not KEY=VALUE.
    """
    section = "active_learning.strategy.model"
    return {
        f"{section}.name": model,
        f"{section}.hub": hub,
        f"{section}.weights": weights,
        f"{section}.device": device,
        **{f"{section}.{key}": value for key, value in _settings(more or ())},
    }


def _settings(given: Sequence[str]) -> Iterator[tuple[str, Any]]:
    """Keys and values, each value as it is written or, where it holds more, as YAML."""
    for text in given:
        key, sign, value = text.partition("=")
        if not (key and sign):
            raise typer.BadParameter(f"must be KEY=VALUE, got {text!r}", param_hint="--set")
        yield key, _value(key, value)


def _value(key: str, value: str) -> Any:
    from alaas.config import ModelSettings
    from alaas.config.document import DocumentError, parse

    field = ModelSettings.model_fields.get(key)
    kinds = () if field is None else (field.annotation, *get_args(field.annotation))
    if any(getattr(kind, "__origin__", kind) is str for kind in kinds):
        return value
    try:
        return parse(value).value
    except DocumentError as error:
        raise typer.BadParameter(f"{key}: {error}", param_hint="--set") from error
