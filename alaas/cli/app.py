"""The ``alaas`` command and its sub-commands."""

from __future__ import annotations

from typing import Annotated

import typer

from alaas import __version__
from alaas.cli import (
    bench,
    catalogue,
    config,
    demo,
    doctor,
    jobs,
    keys,
    models,
    output,
    pools,
    query,
    serve,
)
from alaas.core.errors import AlaasError

app = typer.Typer(
    name="alaas",
    help="Active Learning as a Service: from a pool of unlabelled pictures, choose those that "
    "are most worth labelling.",
    epilog="Start with `alaas demo`, or with `alaas query FOLDER --budget 10` on pictures of "
    "your own. `alaas COMMAND --help` explains a command.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(query.query)
app.command()(pools.push)
app.command()(pools.pools)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(catalogue.strategies)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")
app.add_typer(jobs.app, name="jobs")
app.command()(doctor.doctor)
app.command()(bench.bench)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"alaas {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options that belong to no command."""


def run() -> int:
    """Run the command that this process was started with.

    Returns:
        The exit status for an `AlaasError`.

    Raises:
        SystemExit: The command ended otherwise; its code is the exit status.
    """
    try:
        app(prog_name="alaas")
    except AlaasError as error:
        output.complain(error)
        return output.exit_code(error)
    return 0
