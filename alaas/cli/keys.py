"""``alaas keys``: keys for callers, and what of them the configuration has."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from getpass import getpass
from typing import Annotated

import typer

from alaas.cli import extras, options, output
from alaas.client.api_key import VARIABLE
from alaas.core import keys

app = typer.Typer(
    help="Make API keys for those who may call a server, and check them.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Scope(StrEnum):
    """What a key opens."""

    QUERY = "query"
    ADMIN = "admin"


@app.command()
def new(
    name: Annotated[
        str, typer.Option("--name", metavar="NAME", help="Whose it is, for the log and for you.")
    ],
    scope: Annotated[
        list[Scope] | None,
        typer.Option(
            "--scope",
            metavar="query|admin",
            help="query asks and pushes; admin does all, deletes pools and reads the metrics; "
            "query by default; repeat it for both.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Make a key, and print it: this once, for it is kept nowhere.

    The key goes to its holder. The lines below it go into the configuration of the server,
    which has only a hash of the key and cannot give it away.
    """
    key = keys.make()
    scopes = [one.value for one in scope or [Scope.QUERY]]
    entry = {"name": name, "sha256": keys.digest(key), "scopes": scopes}
    if as_json:
        output.show_json({"key": key, **entry})
        return
    print(key)
    output.note("# The key is shown this once. For the configuration of the server:")
    # JSON is YAML, and quotes a name with signs in it.
    for line in ("auth:", "  keys:", f"    - {json.dumps(entry)}"):
        output.note(line)


@app.command()
def check(config: options.ConfigFile = None) -> None:
    """Say which key of a configuration a key is, and what it opens.

    The key is taken from the environment's ALAAS_API_KEY, or asked for. Exit status 1 says
    that it is none of them.
    """
    extras.need("alaas keys check", ("pydantic", "yaml"), extra="local")
    from alaas.config import load

    known = load(config).settings.auth.keys
    digest = keys.digest(_given())
    found = next((key for key in known if key.sha256 == digest), None)
    if found is None:
        output.note(f"it is none of the {len(known)} keys of this configuration")
        raise typer.Exit(output.RUNTIME)
    print(f"{output.printable(found.name)}: {', '.join(found.scopes)}")


def _given() -> str:
    if from_environment := os.environ.get(VARIABLE):
        return from_environment
    if sys.stdin.isatty():
        return getpass("API key: ").strip()
    return sys.stdin.readline().strip()
