"""``alaas doctor``."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from alaas.cli import checks, options, output

_STYLES = {"ok": "green", "warning": "yellow", "problem": "bold red"}


def doctor(
    config: options.ConfigFile = None,
    model: options.Model = None,
    uri: Annotated[
        str | None,
        typer.Option(
            "--uri", metavar="URI", help="See whether the service could read this picture."
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Check that `alaas serve` would start here, and say what to do where it would not.

    Exit status 1 says that something has to be done.
    """
    found = []
    for check in checks.examine(config, model=model, uri=uri):
        found.append(check)
        if not as_json:
            _show(check)
    problems = sum(check.status == "problem" for check in found)
    if as_json:
        output.show_json({"ok": not problems, "checks": [asdict(check) for check in found]})
    if problems:
        raise typer.Exit(output.RUNTIME)


def _show(check: checks.Check) -> None:
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in (7, 11, None):
        grid.add_column(width=width, overflow="fold")
    status = Text(check.status, _STYLES[check.status])
    grid.add_row(status, check.name, output.printable(check.detail))
    if check.advice:
        grid.add_row("", "", output.printable(check.advice))
    output.show(grid)
