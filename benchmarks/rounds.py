"""Measuring several ways to do the same job: in turns, and with an eye on who else works."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

QUIET = 0.1
"""Cores that others may use while a figure still counts as taken on a quiet machine."""

LONG_ENOUGH_S = 0.3
"""The kernel counts what processes take in hundredths of a second."""

STAT = Path("/proc/stat")


def busy_s(stat: Path = STAT) -> float:
    """Seconds for which the machine's cores have worked since it started.

    Interrupts are left out, which belong to nobody; time that other guests of the same host
    stole counts as work.
    """
    _, user, nice, system, _, _, _, _, steal, *_ = stat.read_text().split("\n", 1)[0].split()
    return sum(map(int, (user, nice, system, steal))) / os.sysconf("SC_CLK_TCK")


def own_s() -> float:
    """CPU seconds of this process and all that it has started, ended ones too."""
    total = 0.0
    here = psutil.Process()
    for process in (here, *here.children(recursive=True)):
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue
    return total


@dataclass(frozen=True, slots=True)
class Lap:
    """One measurement.

    Attributes:
        row: What was measured.
        round: In which round.
        items: Items of the job.
        seconds: Wall-clock seconds; of several repeats, the median.
        cpu_s: CPU seconds of all processes of the benchmark, a repeat.
        foreign: Cores that everybody else used meanwhile.
        picks: Rows of the pool that were chosen.
    """

    row: str
    round: int
    items: int
    seconds: float
    cpu_s: float
    foreign: float
    picks: tuple[int, ...] = ()

    @property
    def quiet(self) -> bool:
        """Whether nobody else worked meanwhile."""
        return self.foreign < QUIET


@dataclass(slots=True)
class Meter:
    """Takes measurements, round by round.

    Attributes:
        round: The round that runs; what is measured in round 0 does not count.
        laps: What was measured.
    """

    round: int = 0
    laps: list[Lap] = field(default_factory=list)

    def lap(
        self, row: str, items: int, work: Callable[[], Sequence[int]], *, repeats: int = 1
    ) -> float:
        """Do something, and note how long it took.

        Args:
            row: What it is.
            items: Items of the job.
            work: Does it, and gives the rows of what it chose, if it chose anything.
            repeats: How often at least. A job that is repeated at all goes on for
                `LONG_ENOUGH_S`: milliseconds say nothing of the load.

        Returns:
            The seconds.
        """
        taken: list[float] = []
        picks: tuple[int, ...] = ()
        own, busy, started = own_s(), busy_s(), time.perf_counter()
        while len(taken) < repeats or (
            repeats > 1 and time.perf_counter() - started < LONG_ENOUGH_S
        ):
            before = time.perf_counter()
            picks = tuple(work())
            taken.append(time.perf_counter() - before)
        passed = time.perf_counter() - started
        own, busy = own_s() - own, busy_s() - busy
        seconds = statistics.median(taken)
        if self.round:
            foreign = max(0.0, busy - own) / passed
            self.laps.append(Lap(row, self.round, items, seconds, own / len(taken), foreign, picks))
        return seconds

    def note(self, row: str, items: int, seconds: float, *, like: str) -> None:
        """Note a figure that was computed from others, under the load of another row."""
        last = [lap for lap in self.laps if (lap.row, lap.round) == (like, self.round)]
        if last:
            self.laps.append(Lap(row, self.round, items, seconds, 0.0, last[-1].foreign))


def ratio(laps: Sequence[Lap], row: str, other: str) -> dict[str, Any] | None:
    """How many times as fast as another row one is, an item, round by round.

    Only rounds in which nobody else worked count, where they are half of all at least.

    Returns:
        The smallest, the median and the largest ratio, of how many rounds, and whether
        those were quiet; None where the rows never met.
    """
    mine, theirs = ({lap.round: lap for lap in laps if lap.row == name} for name in (row, other))
    met = [(mine[number], theirs[number]) for number in sorted(mine.keys() & theirs.keys())]
    quiet = [(one, two) for one, two in met if one.quiet and two.quiet]
    counted = quiet if quiet and 2 * len(quiet) >= len(met) else met
    if not counted:
        return None
    found = [two.seconds / two.items * one.items / one.seconds for one, two in counted]
    return {
        "min": min(found), "median": statistics.median(found), "max": max(found),
        "rounds": len(found), "quiet": counted is quiet,
    }  # fmt: skip


def overlap(laps: Sequence[Lap], row: str, other: str) -> float | None:
    """Smallest share of a row's picks that another row chose too, over all rounds."""
    mine, theirs = ({lap.round: lap.picks for lap in laps if lap.row == name}
                    for name in (row, other))  # fmt: skip
    shares = [
        len({*mine[number]} & {*theirs[number]}) / len(mine[number])
        for number in mine.keys() & theirs.keys()
        if mine[number] and theirs[number]
    ]
    return min(shares) if shares else None


def summary(laps: Sequence[Lap], row: str) -> dict[str, Any]:
    """The figures of one row: medians over its rounds."""
    own = [lap for lap in laps if lap.row == row]
    seconds = statistics.median(lap.seconds for lap in own)
    return {
        "items": own[0].items,
        "seconds": seconds,
        "per_second": statistics.median(lap.items / lap.seconds for lap in own),
        "cpu_ms_per_item": statistics.median(1e3 * lap.cpu_s / lap.items for lap in own),
        "foreign_cores": statistics.median(lap.foreign for lap in own),
        "rounds": len(own),
        "quiet_rounds": sum(lap.quiet for lap in own),
    }


def load(figures: dict[str, Any]) -> str:
    """The load of the rest of the machine, in words.

    Example:
        >>> load({"foreign_cores": 0.43, "quiet_rounds": 1, "rounds": 5})
        '0.4 cores busy'
        >>> load({"foreign_cores": 0.02, "quiet_rounds": 5, "rounds": 5})
        'quiet'
    """
    if figures["quiet_rounds"] == figures["rounds"]:
        return "quiet"
    if figures["foreign_cores"] < QUIET:
        return f"quiet in {figures['quiet_rounds']} of {figures['rounds']}"
    return f"{figures['foreign_cores']:.1f} cores busy"


def documents(laps: Sequence[Lap]) -> list[dict[str, Any]]:
    """The measurements as JSON has them."""
    return [asdict(lap) for lap in laps]
