"""``alaas serve``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated

import typer

from alaas.cli import extras, options, output

_NETWORK = "Network"
_MANY = "repeat it for more"


def serve(
    *,
    config: options.ConfigFile = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            rich_help_panel=_NETWORK,
            help="127.0.0.1 for this machine only, 0.0.0.0 for all networks.",
        ),
    ] = None,
    port: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PORT",
            rich_help_panel=_NETWORK,
            help=f"One a protocol ({_MANY}), or one alone to count up from; 8081 by default.",
        ),
    ] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            rich_help_panel=_NETWORK,
            help=f"http, grpc, ws, https, grpcs, wss; http by default; {_MANY}.",
        ),
    ] = None,
    strategy: options.Strategy = None,
    model: options.Model = None,
    hub: options.Hub = None,
    weights: options.Weights = None,
    device: options.Device = None,
    more: options.More = None,
    replicas: Annotated[
        str | None,
        typer.Option(
            metavar="N", rich_help_panel="Model", help="Copies that work side by side, or auto."
        ),
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FOLDER",
            rich_help_panel="What may be fetched",
            help=f"A folder from which the service may read files; {_MANY}.",
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CIDR",
            rich_help_panel="What may be fetched",
            help=f"A private network that it may reach, such as 10.0.0.0/8; {_MANY}.",
        ),
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(metavar="FORMAT", help="console for people, json for machines.")
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(metavar="LEVEL", help="debug, info, warning or error.")
    ] = None,
) -> None:
    """Start the service, and run it until Ctrl-C.

    When it answers, it prints one line: `ready`, and its addresses.
    """
    worker = "active_learning.al_worker"
    _run(
        config,
        {
            f"{worker}.host": host,
            f"{worker}.port": _each(port),
            f"{worker}.protocol": _each(protocol),
            f"{worker}.replicas": replicas,
            "active_learning.strategy.type": strategy,
            **options.model_overrides(
                model=model, hub=hub, weights=weights, device=device, more=more
            ),
            "fetch.roots": root or None,
            "fetch.networks": network or None,
            "log.format": log_format,
            "log.level": log_level,
        },
    )


def _each(given: list[str] | None) -> list[str] | None:
    """The values of an option that may be repeated, or have its values between commas."""
    return [one.strip() for text in given or () for one in text.split(",")] or None


def _run(config: options.ConfigFile, overrides: Mapping[str, object]) -> None:
    extras.need("alaas serve", extras.SERVER, extra="server")
    from alaas.config import load
    from alaas.server import supervisor
    from alaas.strategies import registry

    choices = {"active_learning.strategy.type": registry.names()}
    settings = load(config, overrides=overrides, choices=choices).settings
    # The supervisor keeps standard output from what it starts.
    out = sys.stdout

    def announce(urls: Mapping[str, str]) -> None:
        print("ready", *urls.values(), file=out, flush=True)
        if sys.stderr.isatty():
            first = next(iter(urls.values()))
            output.note(f"try `alaas query FOLDER --budget 10 --server {first}`; Ctrl-C stops it")

    supervisor.serve(settings, announce)
