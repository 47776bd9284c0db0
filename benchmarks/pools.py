"""A query over a stored pool, beside reading its columns and the bare strategy.

    python -m benchmarks.pools --items 100000 --rounds 5 --json pools.json

The pool holds 10 probabilities and 512 dimensions an item, both random. No model runs: what
is left of a query is reading, checking, choosing, and looking up who was chosen.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import feather, parquet

from alaas.config import QueryParameters, Settings
from alaas.core.digest import digest
from alaas.pipeline import query
from alaas.pipeline.engine import LocalEngine
from alaas.pipeline.query import Part
from alaas.store.pools import PoolItems, Pools
from alaas.strategies.geometry import k_center_greedy
from benchmarks.networks import CLASSES, DIM, model
from benchmarks.report import Target, document, publish
from benchmarks.rounds import Meter, documents, load, ratio, summary

BUDGET = 1_000
NAME = "measured"
Arrays = dict[str, NDArray[np.float32]]


def views(count: int) -> Arrays:
    """Random probabilities and embeddings."""
    rng = np.random.default_rng(0)
    probs = rng.dirichlet(np.ones(CLASSES), count).astype(np.float32)
    return {"probs": probs, "embeddings": rng.standard_normal((count, DIM), np.float32)}


def save(folder: Path, arrays: Arrays, space: str) -> None:
    """Store the pool, and the same columns in files of pyarrow."""
    count = len(arrays["probs"])
    ids = [f"https://example.com/photographs/{row:07}.jpg" for row in range(count)]
    digests = [digest(one.encode()) for one in ids]
    items = PoolItems(ids=ids, digests=digests, uris=ids)
    Pools(str(folder / "store")).save(NAME, items, arrays, space=space, model="m", ttl_s=None)
    for name, rows in arrays.items():
        column = pa.FixedSizeListArray.from_arrays(rows.ravel(), rows.shape[1])
        table = pa.table({"id": ids, name: column})
        parquet.write_table(table, folder / f"{name}.parquet")
        feather.write_feather(table, folder / f"{name}.arrow", compression="uncompressed")


def chooser(
    engine: LocalEngine, settings: Settings, runner: asyncio.Runner, strategy: str
) -> Callable[[], list[int]]:
    """A query over the stored pool."""

    async def nothing() -> AsyncIterator[Part]:
        return
        yield []

    async def choose() -> list[int]:
        asked = QueryParameters(budget=BUDGET, strategy=strategy, pool=NAME)
        defaults = settings.active_learning.strategy
        response = await query.run(engine, asked, nothing(), defaults=defaults)
        return [int(pick.id[-11:-4]) for pick in response.picks]

    return lambda: runner.run(choose())


def measure(folder: Path, count: int, rounds: int) -> Meter:
    """Let everything take turns."""
    settings = Settings.model_validate(
        {
            "active_learning": {"strategy": {"model": model("means", size=8)}},
            "store": {"url": str(folder / "store")},
        }
    )
    arrays, meter = views(count), Meter()
    with asyncio.Runner() as runner:
        engine = LocalEngine(settings)
        save(folder, arrays, engine.card.space)
        least = chooser(engine, settings, runner, "least_confidence")
        centers = chooser(engine, settings, runner, "k_center_greedy")

        def read(name: str) -> Callable[[], list[int]]:
            path = folder / name
            reader = parquet.read_table if path.suffix == ".parquet" else feather.read_table

            def run() -> list[int]:
                table = reader(path)
                assert table.num_rows == count
                return []

            return run

        def bare() -> list[int]:
            return k_center_greedy(arrays["embeddings"], BUDGET).rows.tolist()  # type: ignore[no-any-return]

        for number in range(rounds + 1):
            meter.round = number
            meter.lap("parquet", count, read("probs.parquet"), repeats=5)
            meter.lap("arrow", count, read("probs.arrow"), repeats=5)
            meter.lap("least_confidence", count, least, repeats=5)
            meter.lap("k_center_greedy", count, centers)
            meter.lap("bare", count, bare)
        runner.run(engine.close())
    return meter


LABELS = {
    "parquet": "pyarrow reads id and probs, Parquet",
    "arrow": "pyarrow reads id and probs, Arrow IPC, memory-mapped",
    "least_confidence": f"query, LeastConfidence, budget {BUDGET}",
    "k_center_greedy": f"query, KCenterGreedy, budget {BUDGET}",
    "bare": "the bare function of KCenterGreedy on the same matrix",
}


def report(meter: Meter, count: int) -> dict[str, Any]:
    """Put what was found into a document."""
    rows = []
    for row, label in LABELS.items():
        own = summary(meter.laps, row)
        rows.append([label, f"{1e3 * own['seconds']:.4g}", load(own)])
    reading = ratio(meter.laps, "parquet", "least_confidence")
    bare = ratio(meter.laps, "bare", "k_center_greedy")
    assert reading is not None
    assert bare is not None
    last = {lap.row: lap.picks for lap in meter.laps}
    same = last["bare"] == last["k_center_greedy"]
    return document(
        "A query over a stored pool",
        ["what", "ms", "rest of the machine"],
        rows,
        job=f"{count:,} stored items, {CLASSES} probabilities and {DIM} dimensions each.",
        targets=[
            Target("LeastConfidence over pyarrow's reading of Parquet", reading["median"],
                   at_most=4, quiet=reading["quiet"]),
            Target("KCenterGreedy over the bare function", bare["median"], at_most=1.3,
                   quiet=bare["quiet"]),
        ],
        notes=[] if same else ["KCenterGreedy chose others from the stored pool!"],
        raw=documents(meter.laps),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = folder
        meter = measure(Path(folder), arguments.items, arguments.rounds)
    publish(report(meter, arguments.items), arguments.json)


if __name__ == "__main__":
    main()
