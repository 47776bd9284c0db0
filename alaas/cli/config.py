"""``alaas config``: what is configured, and what can be."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer

from alaas.cli import extras, options, output

app = typer.Typer(
    help="Show the configuration, and what can be configured.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_NEEDED = ("pydantic", "yaml")


@app.command()
def show(
    config: options.ConfigFile = None,
    origin: Annotated[
        bool, typer.Option("--origin", help="Say of each value where it comes from.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Print the configuration that holds, from environment, file and defaults.

    Without --origin and --json it is YAML: `alaas config show > my.yml` is a file to start from.
    """
    extras.need("alaas config", _NEEDED, extra="local")
    from pydantic_core import to_jsonable_python

    from alaas.config import load

    loaded = load(config)
    if origin:
        rows = [
            {"key": key, "value": to_jsonable_python(value), "origin": source}
            for key, value, source in loaded.rows()
        ]
        output.show_json(rows) if as_json else _show_origins(rows)
        return
    tree = loaded.settings.model_dump(mode="json")
    if as_json:
        output.show_json(tree)
        return
    import yaml

    print(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True), end="")


@app.command()
def schema() -> None:
    """Print the JSON Schema of a configuration file, by which editors complete and check it."""
    extras.need("alaas config", _NEEDED, extra="local")
    from alaas.config import json_schema

    output.show_json(json_schema())


def _show_origins(rows: list[dict[str, Any]]) -> None:
    table = output.table("key", "origin", "value")
    for row in rows:
        value = row["value"]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        table.add_row(row["key"], row["origin"], output.printable(text))
    output.show(table)
