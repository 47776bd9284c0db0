"""``alaas demo``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    out: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Where the digits and the picture go.")
    ] = Path("alaas-demo"),
    seeds: Annotated[int, typer.Option(metavar="N", min=1, help="How many times to try.")] = 5,
) -> None:
    """See active learning work on handwritten digits, in minutes; needs no network."""
    from rich.console import Console

    from alaas.demo import report, run

    result = run.run(out, seeds=seeds, console=Console(stderr=True))
    report.show(result, Console())
