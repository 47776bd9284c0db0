"""Strategies beside those of other libraries: same arrays, same work, one thread, in turns.

    pip install baal==2.1.0 batchbald_redux==2.0.5 modAL-python==0.4.2.1 scikit-activeml==1.0.1
    python -m benchmarks.rivals --out rivals.json

The rivals want packages of other versions than a server does, so they belong into an
environment of their own; one that is not installed is left out. The sides take turns, and
the ratio is taken within each round: what else the machine does meets both alike. Where a
rival is given a smaller budget, its time is scaled up, since it grows in proportion to it.
"""

from __future__ import annotations

import os

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import argparse
import importlib
import json
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from alaas.strategies import get
from alaas.strategies.selection import best

Array = NDArray[np.float32]
BUDGET = 1_000


@dataclass(frozen=True)
class Match:
    """One piece of work for us and for another library.

    Attributes:
        what: The strategy and its sizes.
        rival: The other library.
        ours: Does the work.
        theirs: Does it, or `scale` times less of it.
        scale: What their seconds are multiplied by.
        target: How many times faster we mean to be.
        quality: What both results are worth, where that can differ.
    """

    what: str
    rival: str
    ours: Callable[[], Any]
    theirs: Callable[[], Any]
    scale: float = 1.0
    target: float = 1.0
    quality: Callable[[Any], float] | None = None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="part of the names of what to run")
    parser.add_argument("--out", type=Path, help="write the figures as JSON, too")
    asked = parser.parse_args()
    figures = []
    for matches in (top_k, bald, batch_bald, k_center, badge, k_means):
        if asked.only and asked.only not in matches.__name__:
            continue
        for match in matches():
            figures.append(play(match, asked.rounds))
            print(line(figures[-1]), flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(figures, indent=2) + "\n")


def play(match: Match, rounds: int) -> dict[str, Any]:
    ours, theirs, ratios, worth = [], [], [], (0.0, 0.0)
    for _ in range(rounds):
        mine, result = timed(match.ours)
        other, rival = timed(match.theirs)
        ours.append(mine)
        theirs.append(other * match.scale)
        ratios.append(theirs[-1] / mine)
        if match.quality is not None:
            worth = match.quality(result), match.quality(rival)
    return {
        "what": match.what, "rival": match.rival, "ours_s": statistics.median(ours),
        "theirs_s": statistics.median(theirs), "ratio": statistics.median(ratios),
        "least": min(ratios), "most": max(ratios), "target": match.target, "scale": match.scale,
        "quality": worth if match.quality else None,
    }  # fmt: skip


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = perf_counter()
    result = work()
    return perf_counter() - started, result


def line(figure: dict[str, Any]) -> str:
    text = (
        f"{figure['what']:<46} {figure['ours_s']:9.4g} s  {figure['rival']:<16} "
        f"{figure['theirs_s']:9.4g} s  {figure['ratio']:6.1f} times "
        f"({figure['least']:.1f} to {figure['most']:.1f}; target {figure['target']:g})"
    )
    if figure["scale"] != 1:
        text += f"  theirs scaled by {figure['scale']:g}"
    if figure["quality"]:
        text += "  inertia {:.4g}, theirs {:.4g}".format(*figure["quality"])
    return text


def there(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        print(f"{module} is not installed")
        return None


def clustered(n: int, dim: int, clusters: int) -> Array:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(clusters, dim)).astype(np.float32)
    return centres[rng.integers(clusters, size=n)] + 0.5 * rng.standard_normal((n, dim), np.float32)


def distributions(*shape: int) -> Array:
    weights = np.random.default_rng(1).exponential(size=shape).astype(np.float32)
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares


def top_k() -> Iterator[Match]:
    modal, modal_pick = there("modAL.uncertainty"), there("modAL.utils.selection")
    skactive = there("skactiveml.pool")
    names = {
        "least_confidence": ("_proba_uncertainty", 1, "least_confident"),
        "margin": ("_proba_margin", -1, "margin_sampling"),
        "entropy": ("_proba_entropy", 1, "entropy"),
    }
    for n, classes in ((1_000_000, 10), (100_000, 1_000)):
        probs = distributions(n, classes)
        for name, (formula, sign, method) in names.items():
            score = get(name).function

            def ours(score: Any = score, probs: Array = probs) -> Any:
                return best(score(probs), BUDGET)

            what = f"{name} top {BUDGET} of {n:,} x {classes}"
            if modal and modal_pick:
                their = getattr(modal, formula)

                def by_modal(their: Any = their, sign: int = sign, probs: Array = probs) -> Any:
                    return modal_pick.multi_argmax(sign * their(probs), BUDGET)

                yield Match(what, "modAL", ours, by_modal, target=2)
            if skactive:

                def by_skactive(method: str = method, probs: Array = probs) -> Any:
                    scores = skactive.uncertainty_scores(probs, method=method)
                    return np.argpartition(-scores, BUDGET)[:BUDGET]

                yield Match(what, "scikit-activeml", ours, by_skactive, target=2)


def bald() -> Iterator[Match]:
    heuristics = there("baal.active.heuristics")
    draws = distributions(100_000, 20, 10)
    if heuristics:
        theirs = np.ascontiguousarray(draws.transpose(0, 2, 1))  # Baal's axes are N, C, T
        yield Match(
            "BALD of 100,000 x 20 x 10", "Baal",
            lambda: best(get("bald").function(draws), BUDGET),
            lambda: heuristics.BALD()(theirs)[:BUDGET], target=2,
        )  # fmt: skip


def batch_bald() -> Iterator[Match]:
    redux, torch = there("batchbald_redux.batchbald"), there("torch")
    if not redux:
        return
    torch.set_num_threads(1)
    picker = get("batch_bald")
    for n, samples in ((1_000, 1_000), (1_000, 10_000)):
        draws = distributions(n, 20, 10)
        logs = torch.from_numpy(np.log(draws)).double()
        yield Match(
            f"BatchBALD 10 of {n:,} x 20 x 10, {samples:,} samples", "batchbald_redux",
            lambda draws=draws, samples=samples: picker.function(  # type: ignore[misc]
                draws, 10, np.random.default_rng(0), samples=samples
            ),
            lambda logs=logs, samples=samples: redux.get_batchbald_batch(  # type: ignore[misc]
                logs, 10, samples, dtype=torch.double
            ),
            target=10,
        )  # fmt: skip


def k_center() -> Iterator[Match]:
    core_set = there("skactiveml.pool._core_set")
    if not core_set:
        return
    function = get("k_center_greedy").function
    rng = np.random.default_rng(0)
    small = 40
    for data, points in (
        ("clusters", clustered(50_000, 512, 1_000)),
        ("noise", rng.standard_normal((50_000, 512), np.float32)),
    ):
        first = np.full(len(points), np.nan)
        first[0] = 0.0  # it starts from what is labelled
        yield Match(
            f"k-center {BUDGET} of 50,000 x 512, {data}", "scikit-activeml",
            lambda points=points: function(points[1:], BUDGET, points[:1]),  # type: ignore[misc]
            lambda points=points, first=first: core_set.k_greedy_center(  # type: ignore[misc]
                points, first, batch_size=small, random_state=0
            ),
            scale=BUDGET / small, target=8,
        )  # fmt: skip


def badge() -> Iterator[Match]:
    cluster = there("sklearn.cluster")
    points, probs = clustered(20_000, 512, 1_000), distributions(20_000, 10)
    function, small = get("badge").function, 10
    factors = probs.copy()
    factors[np.arange(len(probs)), probs.argmax(axis=1)] -= 1

    def theirs() -> Any:
        gradients = (factors[:, :, None] * points[:, None, :]).reshape(len(points), -1)
        return cluster.kmeans_plusplus(gradients, small, random_state=0, n_local_trials=1)

    yield Match(
        "BADGE 500 of 20,000 x 512 x 10", "scikit-learn k-means++",
        lambda: function(probs, points, 500, np.random.default_rng(0)),
        theirs, scale=500 / small, target=3.5,
    )  # fmt: skip


def k_means() -> Iterator[Match]:
    cluster = there("sklearn.cluster")
    from alaas.strategies.clusters import k_means as ours

    n, dim, k = 50_000, 256, 500
    points = clustered(n, dim, k)
    yield Match(
        f"k-means {k} of {n:,} x {dim}, 10 iterations", "scikit-learn",
        lambda: ours(points, k, np.random.default_rng(0), iterations=10).inertia,
        lambda: cluster.KMeans(k, n_init=1, max_iter=10, random_state=0).fit(points).inertia_,
        target=1.7, quality=float,
    )  # fmt: skip


if __name__ == "__main__":
    main()
