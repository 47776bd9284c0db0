"""Time and memory of the stores, beside pyarrow reading the same columns.

    python -m benchmarks.store --items 100000 --rounds 7

The rows of the table are read in turns, round after round, so that a slow moment of the
machine meets all of them; each figure is the median, with the load of the machine beside
the table. `limit` is the fastest of pyarrow's files for the same view.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from alaas.core.digest import digest
from alaas.store.features import FeatureStore
from alaas.store.keys import KeyIndex, key_array
from alaas.store.pools import PoolItems, Pools

CLASSES, DIM, ASKED = 10, 512, 1_000
SPACE = "bench"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    asked = parser.parse_args()
    logging.getLogger("alaas.store").setLevel(logging.ERROR)  # there are two stores on purpose
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), asked.items, asked.rounds)
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f"{name:{width}} {value:12.4g}")
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=1))


def measure(folder: Path, n: int, rounds: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    views = {
        "probs": rng.dirichlet(np.ones(CLASSES), n).astype(np.float32),
        "embeddings": rng.standard_normal((n, DIM), np.float32),
    }
    digests = [digest(b"%d" % row) for row in range(n)]
    figures = fill(folder, views, digests)
    readers = readings(folder, views, digests)
    times: dict[str, list[float]] = {name: [] for name in readers}
    for _ in range(rounds):
        for name, read in readers.items():
            times[name].append(seconds(read))
    figures |= {f"{name}, ms": 1e3 * statistics.median(t) for name, t in times.items()}
    for view in views:
        limit = min(figures[f"{view}: {kind}, ms"] for kind in ("parquet", "ipc"))
        figures[f"{view}: pool / limit"] = figures[f"{view}: pool, ms"] / limit
        figures[f"{view}: pool / parquet"] = (
            figures[f"{view}: pool, ms"] / figures[f"{view}: parquet, ms"]
        )
    index = KeyIndex(key_array([bytes.fromhex(one) for one in digests]))
    figures["index, bytes a row"] = (index._keys.nbytes + index._rows.nbytes) / n
    figures["load of the machine"] = os.getloadavg()[0]
    return figures


def fill(folder: Path, views: dict[str, NDArray[Any]], digests: list[str]) -> dict[str, float]:
    """Write the stores and the files that they are compared with."""
    n = len(digests)
    store = FeatureStore(str(folder / "store"))

    def put() -> None:
        for start in range(0, n, 16):
            part = slice(start, start + 16)
            for view, rows in views.items():
                store.put(SPACE, view, digests[part], rows[part])
        store.close()

    items = PoolItems(ids=digests, digests=digests, uris=[f"/images/{one}.jpg" for one in digests])
    figures = {"put 16 rows and flush, us a row": 1e6 * seconds(put) / n}
    peak = Peak()
    with peak:
        took = seconds(
            lambda: Pools(str(folder / "store")).save("pool", items, views, space=SPACE, model="")
        )
    figures["save, us an item"] = 1e6 * took / n
    figures["save, bytes an item beside the arrays"] = peak.bytes / n
    for view, rows in views.items():
        values = pa.FixedSizeListArray.from_arrays(pa.array(rows.reshape(-1)), rows.shape[1])
        table = pa.table({view: values})
        pq.write_table(table, folder / f"{view}.parquet", compression="none")
        with (
            pa.OSFile(str(folder / f"{view}.arrow"), "wb") as file,
            pa.ipc.new_file(file, table.schema) as writer,
        ):
            writer.write_table(table)
    return figures


def readings(
    folder: Path, views: dict[str, NDArray[Any]], digests: list[str]
) -> dict[str, Callable[[], object]]:
    """What is timed; each gives the array as a strategy takes it, in memory of its own."""
    pools = Pools(str(folder / "store"))
    store = FeatureStore(str(folder / "store"))
    some = [digests[row] for row in np.random.default_rng(1).permutation(len(digests))[:ASKED]]

    def open_cold() -> None:
        cold = FeatureStore(str(folder / "store"))
        cold.has(SPACE, "probs", digests[:1])

    def parquet(view: str) -> NDArray[Any]:
        table = pq.read_table(folder / f"{view}.parquet")
        return flat(table[view], views[view].shape)

    def ipc(view: str) -> NDArray[Any]:
        with pa.OSFile(str(folder / f"{view}.arrow")) as file:
            return flat(pa.ipc.open_file(file).read_all()[view], views[view].shape)

    readers: dict[str, Callable[[], object]] = {"open and index": open_cold}
    for view in views:
        readers[f"{view}: get {ASKED}"] = lambda view=view: store.get(SPACE, view, some)
        readers[f"{view}: pool"] = lambda view=view: pools.open("pool").view(view)
        readers[f"{view}: parquet"] = lambda view=view: parquet(view)
        readers[f"{view}: ipc"] = lambda view=view: ipc(view)
    readers["pool: 100 items"] = lambda: pools.open("pool").items(range(0, len(digests), 1_000))
    return readers


def flat(column: pa.ChunkedArray, shape: tuple[int, ...]) -> NDArray[Any]:
    whole = column.combine_chunks() if column.num_chunks > 1 else column.chunk(0)
    return np.asarray(whole.flatten().to_numpy(zero_copy_only=True)).reshape(shape)


def seconds(act: Callable[[], object]) -> float:
    start = perf_counter()
    act()
    return perf_counter() - start


class Peak:
    """The most memory of this process inside a block, beyond what it had before."""

    bytes = 0

    def __enter__(self) -> None:
        self._before = resident()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.bytes = max(self.bytes, resident() - self._before)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
