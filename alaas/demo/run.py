"""The demo as a story: what will happen, how far it has come, what it left where."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from alaas.core.errors import ConfigError, MissingExtra
from alaas.demo.report import DemoResult, Trial

if TYPE_CHECKING:
    from alaas.demo.digits import Digits

NEEDED = ("jina", "numpy", "PIL", "pydantic", "safetensors", "sklearn", "torch")
"""Modules that the base installation lacks."""


def run(out: Path, *, seeds: int = 5, budget: int = 50, console: Console) -> DemoResult:
    """Play the demo.

    Everything that it starts has ended when it returns or raises. If it does not finish,
    it takes away a folder that it made.

    Args:
        out: Folder for the digits and the contact sheet; made if it is not there.
        seeds: Splits to try, >= 1, each with a network and a server of its own.
        budget: Digits to select, from 1 to the size of the pool.
        console: Where progress goes.

    Raises:
        MissingExtra: The dependencies of the server are not installed.
        ConfigError: `out`, `seeds` or `budget` is not allowed.
        Internal: HTTP and gRPC chose different digits.
    """
    if missing := [module for module in NEEDED if find_spec(module) is None]:
        raise MissingExtra(
            f"the demo needs {', '.join(missing)}: run `pip install 'alaas[server]'`"
        )
    started = monotonic()
    console.print(_promise(seeds, budget), highlight=False)
    # Loading torch takes seconds: it waits until the user knows what is going on.
    from alaas.demo import digits, sheet, trial

    data = digits.load()
    parts = digits.split(len(data), seed=0)
    _check(out, seeds=seeds, budget=budget, pool=len(parts.pool))
    with _folder(out.resolve()) as folder:
        picture = folder / "picked.png"
        trials = _play(data, folder / "digits", seeds=seeds, budget=budget, console=console)
        sheet.draw(trials[0], data.images, picture, pool=len(parts.pool), strategy=trial.STRATEGY)
    total_s = monotonic() - started
    console.print(f"Done in {total_s:.0f} s; every server has been stopped.", highlight=False)
    return DemoResult(
        trials=trials,
        strategy=trial.STRATEGY,
        labelled=len(parts.labelled),
        budget=budget,
        held_out=len(parts.held_out),
        sheet=picture,
        total_s=total_s,
    )


def _promise(seeds: int, budget: int) -> str:
    times = "" if seeds == 1 else f" Then again with other digits, {seeds} times in all."
    return (
        "This trains a small network on 100 handwritten digits, starts an ALaaS server with it, "
        f"asks which {budget} others are most worth labelling, and trains again with those."
        f"{times} It all stays on this machine and is stopped at the end, or by Ctrl-C.\n"
    )


def _check(out: Path, *, seeds: int, budget: int, pool: int) -> None:
    if seeds < 1:
        raise ConfigError(f"seeds must be 1 or more, got {seeds}")
    if not 1 <= budget <= pool:
        raise ConfigError(f"budget must be from 1 to {pool}, the size of the pool, got {budget}")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"out must be a folder, but {str(out)!r} is a file")


def _play(
    data: Digits, folder: Path, *, seeds: int, budget: int, console: Console
) -> tuple[Trial, ...]:
    """One trial a seed: the first asks over every protocol, the others take turns."""
    from alaas.demo import digits, trial

    protocols = trial.PROTOCOLS
    turns = [protocols, *((protocols[k % len(protocols)],) for k in range(1, seeds))]
    total = 1 + sum(map(trial.steps, turns))
    trials = []
    with (
        TemporaryDirectory(prefix="alaas-demo-") as scratch,
        _steps(console, total) as step,
    ):
        step(f"writing {len(data):,} PNG files")
        paths = digits.write(data, folder)

        def announce(turn: int, what: str) -> None:
            step(f"{turn} of {seeds}: {what}")

        for seed, asked in enumerate(turns):
            one = trial.attempt(
                data,
                paths,
                seed=seed,
                budget=budget,
                protocols=asked,
                weights=Path(scratch, f"{seed}.safetensors"),
                step=partial(announce, seed + 1),
            )
            trials.append(one)
    return tuple(trials)


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Make the folder; where the work in it fails, remove it if it is new."""
    new = not path.exists()
    path.mkdir(parents=True, exist_ok=True)
    try:
        yield path
    except BaseException:
        if new:
            shutil.rmtree(path)
        raise


@contextmanager
def _steps(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """A bar of `total` steps, or a line a step where the console is no terminal."""
    columns = (
        SpinnerColumn(),
        BarColumn(24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        # The step under way is not done yet, so the first one leaves the bar empty.
        task = progress.add_task("", total=total, completed=-1)

        def begin(what: str) -> None:
            progress.update(task, description=what, advance=1)
            if not console.is_terminal:
                console.print(what, highlight=False)

        yield begin
