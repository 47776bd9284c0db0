"""Time and memory of every strategy as its pool grows, beside what the machine could do.

    python -m benchmarks.strategies --sizes 10000,100000,1000000 --classes 10,1000

Each case is a process of its own on one thread, which maps its views from a file, so that
the memory counted is what the strategy takes beside them. `limit` is the time that the
arithmetic and the reads of the strategy's own estimate need at the rates measured here:
a matrix product, and a matrix-vector product over memory. `growth` is the exponent of the
time over the last two sizes. `benchmarks.rivals` compares with other libraries.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from time import perf_counter
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
LABELLED = 100
PASSES = 10
CLUSTERS = 1_000
LARGEST_VIEW = 5 * 2**30
"""Bytes of a view beyond which a case is left out: it is the view that does not fit."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sizes", default="10000,100000,1000000", help="items in the pool")
    parser.add_argument("--classes", default="10", help="classes of the model")
    parser.add_argument("--dim", type=int, default=512, help="dimensions of the embeddings")
    parser.add_argument("--budget", type=int, default=1_000)
    parser.add_argument("--names", default="", help="strategies, by default all")
    parser.add_argument("--limit-s", type=float, default=120, help="seconds a case may take")
    parser.add_argument("--out", type=Path, help="write the table as CSV, too")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.case:
        print(json.dumps(measure(**json.loads(asked.case))))
        return
    from alaas.strategies import get, strategies

    chosen = [get(name) for name in asked.names.split(",") if name] or list(strategies())
    rows: list[dict[str, Any]] = []
    for classes in map(int, asked.classes.split(",")):
        for size in map(int, asked.sizes.split(",")):
            with tempfile.TemporaryDirectory() as folder:
                wanted = {view for one in chosen for view in (*one.needs, *one.labelled)}
                lacking = write_views(Path(folder), size, classes, asked.dim, wanted)
                for one in chosen:
                    row = {"strategy": one.name, "C": classes, "N": size}
                    if lost := lacking & set(one.needs):
                        row |= {"outcome": f"no {', '.join(lost)}: too large to hold"}
                    else:
                        row |= in_a_process(one.name, folder, size, asked.budget, asked.limit_s)
                    row["growth"] = growth(rows, row)
                    rows.append(row)
                    show(row)
    if asked.out:
        names = list(dict.fromkeys(name for row in rows for name in row))
        with asked.out.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            writer.writerows(rows)


def write_views(
    folder: Path, n: int, classes: int, dim: int, wanted: set[str]
) -> set[str]:  # fmt: skip
    """Write every view of a clustered pool; return those that are too large."""
    import numpy as np

    rng = np.random.default_rng(0)
    centres = rng.normal(size=(CLUSTERS, dim)).astype(np.float32)
    head = rng.normal(size=(classes, dim + 1)).astype(np.float32) * (6 / math.sqrt(dim))
    kind = np.float16 if 4 * n * classes > LARGEST_VIEW // 2 else np.float32
    shapes: dict[str, tuple[tuple[int, ...], Any]] = {
        "embeddings": ((n, dim), np.float32),
        "probs": ((n, classes), kind),
        "grads": ((n, classes), kind),
        "draws": ((n, PASSES, classes), np.float32),
        "margins": ((n,), np.float32),
        "predictions": ((n,), np.float32),
    }
    too_large = {
        name for name, (shape, kind) in shapes.items()
        if math.prod(shape) * np.dtype(kind).itemsize > LARGEST_VIEW
    }  # fmt: skip
    files = {
        name: np.lib.format.open_memmap(folder / f"{name}.npy", "w+", kind, shape)
        for name, (shape, kind) in shapes.items()
        if name in wanted | {"embeddings", "probs"} and name not in too_large
    }

    def fill(rows: slice, count: int) -> dict[str, Any]:
        member = rng.integers(CLUSTERS, size=count)
        points = centres[member] + 0.5 * rng.standard_normal((count, dim), np.float32)
        logits = points @ head[:, :-1].T + head[:, -1]
        probs = softmax(logits)
        made = {"embeddings": points, "probs": probs, "margins": probs.max(axis=1)}
        made["grads"] = np.sqrt(1 + (probs**2).sum(axis=1, keepdims=True) - 2 * probs) * 9
        made["predictions"] = logits[:, 0]
        if "draws" in files:
            noise = rng.standard_normal((count, PASSES, classes), np.float32)
            made["draws"] = softmax(logits[:, None] + noise)
        for name, file in files.items():
            file[rows] = made[name]
        return made

    step = max(1, min(n, 20_000_000 // max(dim, PASSES * classes)))
    for start in range(0, n, step):
        fill(slice(start, min(start + step, n)), min(step, n - start))
    known = fill(slice(0, LABELLED), LABELLED)
    np.save(folder / "head.npy", head)
    np.save(folder / "labelled_embeddings.npy", known["embeddings"])
    np.save(folder / "labelled_probs.npy", known["probs"])
    np.save(folder / "labels.npy", known["probs"].argmax(axis=1))
    np.save(folder / "targets.npy", known["predictions"].astype(np.float64))
    return too_large


def softmax(logits: Any) -> Any:
    import numpy as np

    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def in_a_process(name: str, folder: str, n: int, budget: int, limit_s: float) -> dict[str, Any]:
    case = json.dumps({"name": name, "folder": folder, "n": n, "budget": budget})
    try:
        done = subprocess.run(  # noqa: PLW1510
            [sys.executable, "-m", "benchmarks.strategies", "--case", case],
            env={**os.environ, **ONE_THREAD}, capture_output=True, text=True, timeout=limit_s,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"outcome": f"stopped after {limit_s:g} s"}
    if done.returncode:
        return {"outcome": (done.stderr.strip() or "no output").splitlines()[-1][:200]}
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def measure(name: str, folder: str, n: int, budget: int) -> dict[str, Any]:
    """Run one strategy once, as a query would, and watch its memory."""
    import numpy as np

    from alaas.core.errors import PoolTooLarge
    from alaas.strategies import check_params, get, run
    from alaas.strategies.cost import flop_rate, read_rate
    from alaas.strategies.preflight import sizes_of

    strategy = get(name)
    taken = (*strategy.needs, *strategy.labelled)
    views = {view: np.load(Path(folder) / f"{view}.npy", mmap_mode="r") for view in taken}
    flop_rate(), read_rate()
    for view in views.values():  # what is in memory already is not what is measured
        view.sum(dtype=np.float64)
    ids = range(n)
    try:
        # The first run imports what it needs, and starts its threads.
        small = {k: v[:200] if len(v) == n else v for k, v in views.items()}
        run(name, small, ids=range(200), budget=5)  # type: ignore[arg-type]
        with Watch() as watch:
            started = perf_counter()
            selection = run(name, views, ids=ids, budget=budget)  # type: ignore[arg-type]
            seconds = perf_counter() - started
    except PoolTooLarge as error:
        return {"outcome": f"refused: {error.detail.partition(';')[0]}"}
    assert len(set(selection.ids)) == budget
    work = strategy.work(sizes_of(views, n, budget), check_params(strategy, None))
    limit = max(work.flops / flop_rate(), work.reads / read_rate())
    return {
        "outcome": "ok", "seconds": seconds, "MiB": watch.peak / 2**20,
        "estimated MiB": work.memory / 2**20, "limit s": limit, "of limit": limit / seconds,
    }  # fmt: skip


class Watch:
    """The most anonymous memory that this process held, beyond what it had before."""

    peak = 0

    def __enter__(self) -> Watch:
        self._before = self._held()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            self.peak = max(self.peak, self._held() - self._before)

    def _held(self) -> int:
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0]) * 1024


def growth(rows: list[dict[str, Any]], row: dict[str, Any]) -> float | None:
    before = [
        one for one in rows
        if one["strategy"] == row["strategy"] and one["C"] == row["C"] and "seconds" in one
    ]  # fmt: skip
    if not before or "seconds" not in row:
        return None
    last = before[-1]
    return math.log(row["seconds"] / last["seconds"]) / math.log(row["N"] / last["N"])


def show(row: dict[str, Any]) -> None:
    head = f"{row['strategy']:<30} C={row['C']:<5} N={row['N']:<9,}"
    if row["outcome"] != "ok":
        print(head, row["outcome"], flush=True)
        return
    exponent = "" if row["growth"] is None else f"  growth N^{row['growth']:.2f}"
    print(
        f"{head} {row['seconds']:9.3f} s  {row['MiB']:8.0f} MiB (estimated "
        f"{row['estimated MiB']:.0f})  limit {row['limit s']:.3g} s{exponent}",
        flush=True,
    )


if __name__ == "__main__":
    main()
