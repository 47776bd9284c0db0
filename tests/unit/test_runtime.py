"""The folder of a server, and what is left of servers that were killed."""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from pathlib import Path

import pytest

from alaas.server import runtime
from alaas.server.pulse import Beat, Pulse
from alaas.server.status import StageStatus, Status


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def stale(parent: Path, name: str, *, age_s: float) -> Path:
    folder = parent / f"{runtime.PREFIX}{name}"
    folder.mkdir()
    (folder / "status.json").write_text("{}")
    lock = folder / runtime.LOCK
    lock.touch()
    then = lock.stat().st_mtime - age_s
    os.utime(lock, (then, then))
    return folder


def test_it_is_nobody_elses_and_goes_with_the_server(temporary: Path) -> None:
    with runtime.folder() as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "x").touch()
    assert not list(temporary.iterdir())


def test_what_killed_servers_left_is_cleared_away(temporary: Path) -> None:
    old = stale(temporary, "old", age_s=3600)
    new = stale(temporary, "new", age_s=0)
    held = stale(temporary, "held", age_s=3600)
    other = temporary / "alaas-notes"
    other.mkdir()
    with (held / runtime.LOCK).open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with runtime.folder() as folder:
            there = set(temporary.iterdir())
    assert there == {folder, new, held, other}
    assert not old.exists()


def test_two_servers_leave_each_others_alone() -> None:
    with runtime.folder() as one:
        then = (one / runtime.LOCK).stat().st_mtime - 3600
        os.utime(one / runtime.LOCK, (then, then))
        with runtime.folder() as two:
            assert one.exists()
            assert one != two


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert Status.read(tmp_path) == Status("starting")
    stages = {
        "fetch": StageStatus(1, ready=1),
        "infer": StageStatus(2, starting=1, restarts={"hung": 2}, retry_at=12.5),
    }
    status = Status("ready", "going on", 7, stages)
    status.write(tmp_path)
    assert Status.read(tmp_path) == status
    assert status.down == ("infer",)
    assert stages["infer"].alive == 1


def test_a_pulse_tells_of_work_and_answers_at_once(tmp_path: Path) -> None:
    import asyncio

    path = tmp_path / "beats"
    assert Beat.read(path) is None

    async def scenario() -> None:
        pulse = Pulse(path)
        assert Beat.read(path) is None
        pulse.start()
        await asyncio.sleep(0)
        first = Beat.read(path)
        assert first is not None
        assert (first.since, first.answered) == (0, 0)
        with pulse.working():
            pulse.note_answer()
            at_work = Beat.read(path)
        assert at_work is not None
        assert first.at <= at_work.since <= at_work.at
        assert at_work.answered == 1
        pulse.note_answer()
        after = Beat.read(path)
        assert after is not None
        assert (after.since, after.answered) == (0, 2)

    asyncio.run(scenario())
