"""When processes are replaced, and when a stage is given up; the processes are pretended."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, cast

import pytest

from alaas.config import SupervisionSettings
from alaas.server import fleet, replica
from alaas.server.fleet import Fleet
from alaas.server.pulse import _RECORD
from alaas.server.replica import Place
from alaas.server.status import StageStatus


class Clock:
    """Stands in for the monotonic clock."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Pretended:
    """A process that lives until a test ends it."""

    def __init__(self) -> None:
        self.exitcode: int | None = None
        self.pid = 0
        self.sentinel = os.open(os.devnull, os.O_RDONLY)
        self.killed = False

    def kill(self) -> None:
        self.killed, self.exitcode = True, -signal.SIGKILL

    terminate = kill

    def join(self, timeout: float) -> None:
        assert self.exitcode is not None, "joined while it lives"
        os.close(self.sentinel)


@dataclass
class World:
    """A fleet of two replicas of one stage, and all processes that were ever started."""

    folder: Path
    clock: Clock
    places: list[Place]
    started: list[tuple[Place, Pretended]] = field(default_factory=list)

    def __post_init__(self) -> None:
        rules = SupervisionSettings(hang_s=10, restarts=3, within_s=600)
        self.fleet = Fleet(self.places, self._start, rules, self.folder)

    def _start(self, place: Place) -> BaseProcess:
        process = Pretended()
        self.started.append((place, process))
        return cast("BaseProcess", process)

    def look(self, after_s: float = 0.0) -> StageStatus:
        self.clock.now += after_s
        self.fleet.look()
        return self.fleet.status()["infer"]

    def last(self, number: int) -> Pretended:
        return [process for place, process in self.started if place.number == number][-1]

    def beat(self, number: int, **figures: Any) -> None:
        """Let a replica beat now."""
        values = {"at": self.clock.now, "since": 0.0, "cpu_s": 0.0, "answered": 0, **figures}
        record = _RECORD.pack(*values.values())
        self.places[number].beats(self.folder).write_bytes(record)

    def be_ready(self, **figures: Any) -> StageStatus:
        self.look()
        for number in range(2):
            self.beat(number, **figures)
        return self.look()

    def die(self, number: int, status: int, after_s: float = 0.0) -> StageStatus:
        self.last(number).exitcode = status
        return self.look(after_s)


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    clock = Clock()
    for module in (fleet, replica):
        monkeypatch.setattr(module, "monotonic", clock)
    with (
        socket.create_server(("127.0.0.1", 0)) as one,
        socket.create_server(("127.0.0.1", 0)) as two,
    ):
        ports = [one.getsockname()[1], two.getsockname()[1]]
        places = [Place("infer", number, port) for number, port in enumerate(ports)]
        world = World(tmp_path, clock, places)
        yield world
        world.fleet.kill()


def test_all_are_started_and_ready_once_they_beat_and_accept(world: World) -> None:
    assert world.look() == StageStatus(wanted=2, starting=2)
    world.beat(0)
    assert world.look() == StageStatus(wanted=2, ready=1, starting=1)
    world.beat(1)
    assert world.look() == StageStatus(wanted=2, ready=2)


def test_one_that_dies_is_replaced_at_once_and_its_beat_is_not_taken_for_the_next_ones(
    world: World,
) -> None:
    world.be_ready(answered=7)
    before = len(world.started)
    status = world.die(0, -signal.SIGSEGV)
    assert (status.ready, status.restarts) == (1, {"died": 1})
    status = world.look()
    assert (status.ready, status.starting, len(world.started)) == (1, 1, before + 1)


@pytest.mark.parametrize(
    ("status", "reason"),
    [(-signal.SIGKILL, "killed"), (-signal.SIGTERM, "killed"), (0, "killed"), (3, "died")],
)
def test_why_it_died(world: World, status: int, reason: str) -> None:
    world.be_ready()
    assert world.die(1, status).restarts == {reason: 1}


def test_one_that_never_was_ready_and_ends_in_good_order_has_failed(world: World) -> None:
    world.look()
    assert world.die(0, 0).restarts == {"died": 1}


def test_deaths_in_a_row_are_answered_more_and_more_slowly_and_then_given_up(world: World) -> None:
    world.look()
    waits = []
    for _ in range(3):
        started = len(world.started)
        status = world.die(0, 1)
        wait = 0.0 if status.retry_at is None else status.retry_at - world.clock.now
        waits.append(wait)
        if wait:
            assert len(world.started) == started
            world.look(wait / 2)
            assert len(world.started) == started, "started too early"
            world.look(wait / 2)
        assert world.look().deaths == len(waits)
        assert len(world.started) == started + 1
    assert waits == [0, 1, 2]
    assert world.fleet.lost is None
    world.die(0, 1)
    assert world.fleet.lost is not None
    assert "infer died 4 times within 600 s" in world.fleet.lost
    assert "supervision.restarts allows 3" in world.fleet.lost


def test_an_answer_in_between_begins_a_new_row(world: World) -> None:
    for answered in range(1, 10):
        world.be_ready(answered=answered)
        world.die(0, -signal.SIGSEGV)
        status = world.look()
        assert (status.retry_at, status.deaths) == (None, 1)
    assert world.fleet.lost is None
    assert world.look().restarts == {"died": 9}


def test_an_answer_of_its_neighbour_counts_as_well(world: World) -> None:
    for answered in range(1, 10):
        world.look(60)
        world.beat(1, answered=answered)
        world.look()
        world.die(0, 1)
    assert world.fleet.lost is None


def test_deaths_of_long_ago_are_forgotten(world: World) -> None:
    world.look()
    for _ in range(20):
        world.die(0, 1, after_s=400)
        world.look(30)
    assert world.fleet.lost is None


def test_an_operator_may_kill_processes_all_afternoon(world: World) -> None:
    for _ in range(20):
        world.be_ready(since=world.clock.now)
        world.die(0, -signal.SIGKILL)
        world.die(0, -signal.SIGKILL)  # and while they start
    assert world.fleet.lost is None
    assert world.look().restarts == {"killed": 40}


def test_the_kernel_may_not(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = tmp_path / "vmstat"
    monkeypatch.setattr(fleet, "VMSTAT", counter)
    world.look()
    for count in range(1, 5):
        counter.write_text(f"pgfault 12\noom_kill {count}\n")
        world.look(30)
        world.die(0, -signal.SIGKILL)
    assert world.fleet.lost is not None
    assert world.fleet.status()["infer"].restarts == {"oom": 4}


def test_one_that_beats_no_more_is_silent_and_then_ended(world: World) -> None:
    world.be_ready()
    status = world.look(1.4)
    assert (status.ready, status.silent) == (2, 0)
    status = world.look(0.2)
    assert (status.ready, status.silent) == (0, 2)
    world.beat(1)
    assert world.look().ready == 1
    for _ in range(9):
        world.beat(1)
        world.look(1)
    assert world.last(0).killed
    assert not world.last(1).killed
    assert world.look().restarts == {"hung": 1}


def test_one_at_work_without_computing_stalls_and_is_ended(world: World) -> None:
    world.be_ready()
    began = world.clock.now
    for second in range(1, 15):
        world.clock.now += 1
        world.beat(0, since=began)
        world.beat(1, since=began, cpu_s=second * 0.5)
        status = world.look()
        if 6 <= second <= 9:
            assert (status.ready, status.silent) == (1, 1)
        if second <= 10:
            assert not world.last(0).killed
    assert status.restarts == {"hung": 1}
    assert not world.last(1).killed, "slow work was taken for a hang"


def test_even_computing_has_an_end(world: World) -> None:
    world.be_ready()
    began = world.clock.now
    for second in range(1, 102):
        world.clock.now += 1
        world.beat(0, since=began, cpu_s=second)
        world.beat(1)
        world.look()
        if second <= 100:
            assert not world.last(0).killed
    assert world.look().restarts == {"hung": 1}


def test_one_that_starts_may_take_its_time(world: World) -> None:
    world.look()
    world.look(500)
    assert not world.last(0).killed
    world.look(101)
    assert world.last(0).killed


def test_all_are_ended_at_once(world: World) -> None:
    world.be_ready()
    world.fleet.kill()
    assert all(process.exitcode is not None for _, process in world.started)
    assert world.fleet.sentinels() == []
    assert not list(world.folder.iterdir())
