"""What the long runs conclude from what they saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from benchmarks import processes, soak
from benchmarks.processes import MIB, Sample
from benchmarks.report import Target
from benchmarks.traffic import KINDS, Ended

MINUTE = 60


def ended(seconds: float = 0.1, kind: str = "blob", outcome: str = "200") -> list[Ended]:
    """One a second for three minutes."""
    return [Ended(kind, float(at), seconds, outcome) for at in range(3 * MINUTE)]


def samples(rss: float = 0, threads: int = 5, descriptors: float = 0) -> list[Sample]:
    """Those of every process for three minutes; what is given grows by so much a minute."""
    return [
        Sample(
            at, role, 7, int((100 + rss * at / MINUTE) * MIB), threads,
            int(20 + descriptors * at / MINUTE),
        )
        for at in range(0, 3 * MINUTE, 5) for role in soak.WATCHED
    ]  # fmt: skip


def missed(targets: list[Target]) -> list[str]:
    return [one.what.split(",")[0] for one in targets if one.verdict != "met"]


def test_a_service_that_stays_as_it_was_meets_all() -> None:
    assert missed(soak.targets(ended(), samples(), quiet=True)) == []


@pytest.mark.parametrize(
    ("requests", "watched", "what"),
    [
        (ended()[:-1] + ended(outcome="500 internal")[-1:], samples(),
         ["requests with another outcome than expected", "of these 5xx"]),
        (ended() + ended(kind="not JSON", outcome="200"), samples(),
         ["requests with another outcome than expected"]),
        (ended(), samples(rss=20), ["largest growth of a process"]),
        (ended(), samples(descriptors=20), ["largest growth of its descriptors"]),
        (ended(), [*samples(), Sample(180, "infer", 8, 1, 1, 1)], ["processes that were replaced"]),
        (ended()[:-60] + ended(0.5)[-60:], samples(), ["p99 of the last third"]),
    ],
    ids=["5xx", "accepted", "memory", "descriptors", "replaced", "slower"],
)  # fmt: skip
def test_what_changes_is_missed(
    requests: list[Ended], watched: list[Sample], what: list[str]
) -> None:
    assert missed(soak.targets(requests, watched, quiet=True)) == what


def test_an_intended_502_is_expected() -> None:
    assert soak.unexpected(ended(kind="all gone", outcome="502 all_items_failed")) == []


def test_the_capacity_leaves_the_beginning_out() -> None:
    slow = [Ended("blob", 0.0, 10.0, "200")]
    steady = [Ended("blob", at / 4, 0.0, "200") for at in range(4 * 10, 4 * 30)]
    assert soak.capacity(slow + steady) == pytest.approx(4, rel=0.05)


def test_minutes_tell_the_median_and_the_slowest() -> None:
    rows = soak.by_minute(ended() + ended(9.0)[:1] + ended(50.0, kind="byte by byte"))
    assert [row[0] for row in rows] == ["1", "2", "3"]
    assert rows[0] == ["1", "61", "0.100", "0.100"]


def test_growth_an_hour_leaves_the_beginning_out() -> None:
    warm = [Sample(at, "infer", 1, 0, 1, 1) for at in range(0, 60, 5)]
    steady = [Sample(60 + at, "infer", 1, at, 1, 1) for at in range(0, 120, 5)]
    assert processes.an_hour(warm + steady, lambda one: one.rss) == pytest.approx(3600)


def test_every_kind_is_sent_and_most_are_good() -> None:
    weights = dict.fromkeys(("good", "bad", "hostile"), 0.0)
    for kind in KINDS.values():
        assert kind.expected
        weights[kind.group] += kind.weight
    assert weights["good"] > 2 * weights["bad"] > 2 * weights["hostile"] > 0


def test_a_process_is_known_by_what_it_holds(tmp_path: Path) -> None:
    code = (
        "import os, socket, sys\n"
        f"file = open({str(tmp_path)!r} + '/infer-0.pulse', 'w')\n"
        "listening = [socket.create_server(('127.0.0.1', 0))]\n"
        "if os.fork() == 0:\n"
        "    file.close()\n"
        "    listening = [socket.create_server(('127.0.0.1', 0))]\n"
        "    print('child', listening[0].getsockname()[1], flush=True)\n"
        "sys.stdin.read()\n"
    )
    # A process that forks what holds the file, as the supervisor does.
    parent = f"import os, sys\nif os.fork() == 0:\n    exec({code!r})\nsys.stdin.read()\n"
    with subprocess.Popen(
        [sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as started:
        assert started.stdin is not None
        assert started.stdout is not None
        port = int(started.stdout.readline().split()[1])
        found = processes.roles(started.pid, [port])
        assert {role: len(each) for role, each in found.items()} == {
            "supervisor": 1, "infer": 1, "gateway": 1,
        }  # fmt: skip
        assert found["supervisor"] == [psutil.Process(started.pid)]
        started.stdin.close()
