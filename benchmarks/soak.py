"""Whether a service stays as it was: good, bad and hostile requests at half load, for long.

    python -m benchmarks.soak --minutes 10 --json soak.json

The server, the web server of its pictures and the callers are processes of their own. First
callers that never rest find out how many requests a second the server answers; then half as
many are sent, whatever becomes of them, while its processes are watched.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from alaas.config import Settings
from alaas.server import Server
from benchmarks import photographs
from benchmarks.memory import png
from benchmarks.networks import model
from benchmarks.processes import MIB, Sample, Watch, an_hour, growth, roles
from benchmarks.report import Target, document, publish
from benchmarks.rounds import QUIET, busy_s, own_s
from benchmarks.traffic import KINDS, PICTURES, Ended
from benchmarks.ways import ROOT

CALLERS = 8
"""Callers that find out what the server can do."""

CALIBRATION_S = 30.0
WATCHED = ("supervisor", "gateway", "fetch", "preprocess", "infer", "score")


def configuration(ports: Sequence[int]) -> Settings:
    """A server of every protocol, with one process a stage and a network that costs nothing."""
    http, grpc = ports
    return Settings.model_validate(
        {
            "active_learning": {
                "strategy": {"model": model("small", size=4)},
                "al_worker": {
                    "host": "127.0.0.1",
                    "protocol": ["http", "ws", "grpc"],
                    "port": [http, http, grpc],
                    "layout": "staged",
                },
            },
            # Where the web server of the pictures is; other private networks stay blocked.
            "fetch": {"networks": ["127.0.0.0/8"]},
            # Most pictures are new, so that the stages work; what is kept of them, and the index
            # of it, would grow for as long as that goes on. Here the oldest go from early on.
            "store": {"max_bytes": 4 * MIB},
            "log": {"level": "error"},
        }
    )


def traffic(addresses: dict[str, str], *options: str) -> list[Ended]:
    """Send requests from a process of its own; all that ended."""
    command = [sys.executable, "-m", "benchmarks.traffic", json.dumps(addresses), *options]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return [Ended(**json.loads(line)) for line in done.stdout.splitlines()]


def capacity(ended: Sequence[Ended]) -> float:
    """Requests a second that were answered, the first third left out."""
    last = max(one.at + one.seconds for one in ended)
    counted = [one for one in ended if one.at + one.seconds > last / 3]
    return len(counted) / (last * 2 / 3)


def unexpected(ended: Sequence[Ended]) -> list[Ended]:
    """Those of which something else became than their kind expects."""
    return [one for one in ended if one.outcome not in KINDS[one.kind].expected]


def quantile(seconds: Sequence[float], share: float) -> float:
    """The time within which this share of them ended.

    Example:
        >>> quantile([3.0, 1.0, 2.0, 4.0], 0.5)
        2.0
    """
    ordered = sorted(seconds)
    return ordered[min(len(ordered) - 1, max(0, round(share * len(ordered)) - 1))]


def good(ended: Sequence[Ended], begin: float, end: float) -> list[float]:
    """The times of the good requests that were due in between."""
    return [
        one.seconds
        for one in ended
        if KINDS[one.kind].group == "good" and begin <= one.at < end
    ]  # fmt: skip


def by_minute(ended: Sequence[Ended]) -> list[list[str]]:
    """A row a minute: good requests, their median and the slowest hundredth."""
    last = max(one.at for one in ended)
    rows = []
    for minute in range(int(last // 60) + 1):
        seconds = good(ended, 60 * minute, 60 * (minute + 1))
        if seconds:
            half, most = quantile(seconds, 0.5), quantile(seconds, 0.99)
            rows.append([str(minute + 1), str(len(seconds)), f"{half:.3f}", f"{most:.3f}"])
    return rows


def processes(samples: Sequence[Sample]) -> list[list[str]]:
    """A row a process: what it took, and how that grew."""
    rows = []
    for role in WATCHED:
        own = [one for one in samples if one.role == role]
        if own:
            rows.append(
                [
                    role,
                    f"{statistics.median(one.rss for one in own) / MIB:.0f}",
                    f"{an_hour(own, lambda one: one.rss) / MIB:+.1f}",
                    f"{statistics.median(one.threads for one in own):.0f}",
                    f"{an_hour(own, lambda one: one.threads):+.1f}",
                    f"{statistics.median(one.descriptors for one in own):.0f}",
                    f"{an_hour(own, lambda one: one.descriptors):+.1f}",
                ]
            )
    return rows


def targets(ended: Sequence[Ended], samples: Sequence[Sample], *, quiet: bool) -> list[Target]:
    """What was aimed at, and what came out."""
    each = [[one for one in samples if one.role == role] for role in WATCHED]
    last = max(one.at for one in ended)
    before, after = good(ended, last / 3, 2 * last / 3), good(ended, 2 * last / 3, last + 1)
    errors = [one for one in unexpected(ended) if one.outcome.startswith("5")]
    replaced = sum(len({one.pid for one in own}) - 1 for own in each if own)
    return [
        Target("requests with another outcome than expected", len(unexpected(ended)), at_most=0),
        Target("of these 5xx", len(errors), at_most=0),
        Target("processes that were replaced", replaced, at_most=0),
        Target("largest growth of a process, MiB, last third over the one before",
               max(growth(own, lambda one: one.rss) for own in each) / MIB, at_most=8),
        Target("largest growth of its threads",
               max(growth(own, lambda one: one.threads) for own in each), at_most=1),
        Target("largest growth of its descriptors",
               max(growth(own, lambda one: one.descriptors) for own in each), at_most=8),
        Target("p99 of the last third, times that of the one before",
               quantile(after, 0.99) / quantile(before, 0.99), at_most=1.5, quiet=quiet),
    ]  # fmt: skip


def measure(
    scratch: Path, minutes: float, every_s: float, seed: int
) -> tuple[float, list[Ended], list[Sample], float]:
    """Capacity, requests, samples, and the cores that others used meanwhile."""
    (scratch / "web").mkdir()
    for row in range(PICTURES):
        (scratch / "web" / f"{row}.png").write_bytes(png(row))
    ports = [photographs.free_port() for _ in range(2)]
    with ExitStack() as stack:
        web = stack.enter_context(photographs.served(scratch / "web"))
        server = stack.enter_context(Server(configuration(ports)))
        pid = server.pid
        assert pid is not None
        addresses = {**server.urls, "web": web}
        found = capacity(
            traffic(addresses, "--closed", str(CALLERS), "--seconds", str(CALIBRATION_S))
        )
        print(f"{found:.1f} requests a second; now half as many", file=sys.stderr, flush=True)
        watch = stack.enter_context(Watch(lambda: roles(pid, ports), every_s))
        own, busy = own_s(), busy_s()
        options = ("--rate", str(found / 2), "--seconds", str(60 * minutes), "--seed", str(seed))
        ended = traffic(addresses, *options)
        foreign = max(0.0, busy_s() - busy - own_s() + own) / (60 * minutes)
    return found, ended, watch.samples, foreign


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--every", type=float, default=5.0, metavar="S", help="between samples")
    parser.add_argument("--seed", type=int, default=1, help="of what is sent when")
    parser.add_argument("--json", type=Path, metavar="FILE", help="file to write the figures to")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_DATA_HOME"] = str(Path(folder, "data"))
        os.environ["PYTHONPATH"] = str(ROOT)
        found, ended, samples, foreign = measure(
            Path(folder), arguments.minutes, arguments.every, arguments.seed
        )
    counts = Counter((one.kind, one.outcome) for one in ended)
    odd = Counter((one.kind, one.outcome) for one in unexpected(ended))
    made = document(
        "Half load, for long",
        ["process", "MiB", "MiB an hour", "threads", "an hour", "descriptors", "an hour"],
        processes(samples),
        job=f"{len(ended):,} requests in {arguments.minutes:g} minutes, half of the "
        f"{found:.1f} a second that the server answers {CALLERS} callers who never rest. "
        "Medians; growth by a straight line through the last two thirds.",
        targets=targets(ended, samples, quiet=foreign < QUIET),
        notes=[
            *(f"{kind} ({KINDS[kind].group}): {count} x {outcome}"
              + (", not expected" if odd[kind, outcome] else "")
              for (kind, outcome), count in sorted(counts.items())),
            *(f"minute {minute}: {count} good requests, median {half} s, p99 {most} s"
              for minute, count, half, most in by_minute(ended)),
            f"The rest of the machine used {foreign:.1f} cores.",
        ],
        raw={
            "requests": [[one.kind, one.at, one.seconds, one.outcome] for one in ended],
            "samples": [[one.seconds, one.role, one.pid, one.rss, one.threads, one.descriptors]
                        for one in samples],
        },
    )  # fmt: skip
    publish(made, arguments.json)


if __name__ == "__main__":
    main()
