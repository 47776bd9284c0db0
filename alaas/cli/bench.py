"""``alaas bench``."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from alaas.cli import extras, options, output
from alaas.core.wire import STAGES, Item

if TYPE_CHECKING:
    from alaas.cli.limit import Measured

_GENERATED = 200


def bench(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SOURCE]",
            help="A folder, a glob, a table or addresses, as for `alaas query`; without one, "
            f"{_GENERATED} pictures are drawn.",
        ),
    ] = None,
    *,
    budget: Annotated[
        str, typer.Option("--budget", "-b", metavar="N", help="How many to choose: 100, or 10%.")
    ] = "10%",
    rounds: Annotated[
        int, typer.Option(metavar="N", min=1, help="Queries that are timed; the middle one counts.")
    ] = 3,
    strategy: options.Strategy = None,
    as_json: options.Json = False,
    config: options.ConfigFile = None,
    model: options.Model = None,
    hub: options.Hub = None,
    weights: options.Weights = None,
    device: options.Device = None,
    more: options.More = None,
) -> None:
    """See where the time of a query goes on this machine, and what would make it faster.

    Runs your model on your pool in this process, with nothing kept from one round to the
    next, and in turns with it the bare model on random pixels, which is the limit.
    """
    extras.need("alaas bench", extras.LOCAL, extra="local")
    from alaas.cli.ask import local_settings
    from alaas.cli.limit import advice, measure

    overrides = options.model_overrides(
        model=model, hub=hub, weights=weights, device=device, more=more
    )
    settings = local_settings(config, overrides)
    with tempfile.TemporaryDirectory(prefix="alaas-bench-") as folder:
        pool = _read(source) if source else _drawn(Path(folder))
        output.note(f"timing {rounds + 1} queries of {len(pool)} items, the first to warm up")
        measured = measure(settings, pool, budget=budget, strategy=strategy, rounds=rounds)
    said = advice(measured)
    if as_json:
        output.show_json({**measured.to_json(), "advice": said})
    else:
        _show(measured, said)


def _read(sources: Sequence[str]) -> list[Item]:
    from alaas.data.sources import items

    return items([one for source in sources for one in items(source)])


def _drawn(folder: Path) -> list[Item]:
    """Pictures that compress as photographs do, written to a folder."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for row in range(_GENERATED):
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), np.uint8))
        picture = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC), np.int16)
        grain = rng.integers(-24, 25, picture.shape, np.int16)
        made = Image.fromarray((picture + grain).clip(0, 255).astype(np.uint8))
        made.save(folder / f"{row:03}.jpg", quality=92)
    return _read([str(folder)])


def _show(measured: Measured, said: str) -> None:
    table = output.table("stage", "busy s", "wait s", "items/s", "MB", "")
    for stage in STAGES:
        timing = measured.timings.stages[stage]
        table.add_row(
            stage,
            f"{timing.busy_s:.2f}",
            f"{timing.wait_s:.2f}",
            f"{timing.items / timing.busy_s:.0f}" if timing.busy_s else "",
            f"{timing.bytes / 1e6:.1f}" if timing.bytes else "",
            "the bottleneck" if stage == measured.timings.bottleneck else "",
        )
    output.show(table)
    for line in _lines(measured):
        output.note(line)
    output.note(said)


def _lines(measured: Measured) -> list[str]:
    card: Mapping[str, Any] = measured.model
    return [
        f"{measured.items} items in {measured.seconds:.2f} s: {measured.per_second:.1f} a second",
        f"{card['name']} alone, by {card['runtime']} in {card['precision']} on {card['device']}: "
        f"{measured.limit:.1f} a second, of which the query reaches {100 * measured.share:.0f} %",
    ]
