"""The index of addresses: what it keeps, shares, forgets and survives."""

from __future__ import annotations

import logging
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from alaas.core.sources import Known
from alaas.store import sources
from alaas.store.sources import SourceIndex

KNOWN = Known("0" * 32, 1.5, 7, 10**18 + 1, 10**18 + 2, 2**63 - 1, 5, 'W/"x"', "Mon", 9.25, "t")


def numbered(count: int, start: int = 0) -> dict[str, Known]:
    return {f"http://h/{i}": replace(KNOWN, size=i) for i in range(start, start + count)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "made" / "on" / "demand" / "sources.sqlite"


def test_what_is_noted_is_found_and_the_later_note_counts(path: Path) -> None:
    index = SourceIndex(path)
    assert index.lookup(["a"]) == {}
    index.note({"a": KNOWN, "\udcff/odd": replace(KNOWN, digest="1" * 32)})
    index.note({"a": replace(KNOWN, size=8)})
    index.note({})
    found = index.lookup(["a", "b", "\udcff/odd", "a"])
    assert found == {"a": replace(KNOWN, size=8), "\udcff/odd": replace(KNOWN, digest="1" * 32)}
    index.close()
    assert SourceIndex(path).lookup(["a"]) == {"a": replace(KNOWN, size=8)}


def test_more_addresses_than_fit_into_one_question(path: Path) -> None:
    index, many = SourceIndex(path), numbered(2_345)
    index.note(many)
    assert index.lookup([*many, "none"]) == many


def test_addresses_are_not_written_down(path: Path) -> None:
    index = SourceIndex(path)
    index.note({"http://h/a?token=s3cret": KNOWN})
    index.close()
    assert all(b"s3cret" not in file.read_bytes() for file in path.parent.iterdir())


def test_it_is_bounded_and_what_was_used_last_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000_000.0
    monkeypatch.setattr(sources.time, "time", lambda: now)
    index, many = SourceIndex(path, max_rows=100), numbered(100)
    index.note(many)
    now += 7200
    kept = dict(list(many.items())[:30])
    assert index.lookup(list(kept)) == kept
    now += 7200
    new = numbered(60, start=1000)
    index.note(new)
    left = index.lookup([*many, *new])
    assert len(left) == 90
    assert kept.items() <= left.items()
    assert new.items() <= left.items()


@pytest.mark.parametrize("content", [b"no database", b"", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_broken_file_is_moved_away_and_begun_anew(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    index = SourceIndex(path)
    index.note({"a": KNOWN})
    assert index.lookup(["a"]) == {"a": KNOWN}
    aside = [file for file in path.parent.iterdir() if ".broken-" in file.name]
    assert [file.read_bytes() for file in aside] == ([content] if content else [])
    assert len(caplog.records) == len(aside)


def test_a_file_that_breaks_while_it_is_open_is_replaced(path: Path) -> None:
    first, second = SourceIndex(path), SourceIndex(path)
    first.note(numbered(2_000))
    first.close()
    assert len(second.lookup(list(numbered(2_000)))) == 2_000
    second.close()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))
    for index in (first, second):
        index.note({"a": KNOWN})
        assert index.lookup(["a"]) == {"a": KNOWN}
    assert len([file for file in path.parent.iterdir() if ".broken-" in file.name]) == 1


def test_what_is_noted_again_counts_once(path: Path) -> None:
    index, many = SourceIndex(path, max_rows=100), numbered(100)
    for _ in range(3):
        index.note(many)
    assert SourceIndex(path).lookup(list(many)) == many
    index.note({"a": KNOWN})
    assert len(index.lookup([*many, "a"])) == 90


def test_a_later_version_is_left_alone_and_said_once(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir(parents=True)
    with sqlite3.connect(path) as later:
        later.execute("PRAGMA user_version = 99")
    index = SourceIndex(path)
    for _ in range(3):
        index.note({"a": KNOWN})
        assert index.lookup(["a"]) == {}
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    assert "later version" in caplog.text
    assert [file.name for file in path.parent.iterdir() if "broken" in file.name] == []


def test_a_place_that_cannot_be_written_is_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_bytes(b"")
    index = SourceIndex(tmp_path / "file" / "sources.sqlite")
    for _ in range(3):
        index.note({"a": KNOWN})
        assert index.lookup(["a"]) == {}
    assert len(caplog.records) == 1


def test_a_full_disk_loses_notes_and_nothing_else(path: Path) -> None:
    index = SourceIndex(path)
    index.note({"a": KNOWN})
    connection = index._opened()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    index.note(numbered(5_000))
    assert index.lookup(["a", "http://h/0"]) == {"a": KNOWN}
    index.note(numbered(5_000))
    assert len(index.lookup(list(numbered(5_000)))) == 5_000


def test_a_file_deleted_while_open_does_not_raise(path: Path) -> None:
    index = SourceIndex(path)
    index.note({"a": KNOWN})
    for file in path.parent.iterdir():
        file.unlink()
    index.note({"b": KNOWN})
    index.lookup(["b"])
    index.close()
    index.note({"c": KNOWN})
    assert index.lookup(["b", "c"]) == {"c": KNOWN}


def test_several_processes_write_and_read_at_once(path: Path) -> None:
    script = (
        "import sys\n"
        "from pathlib import Path\n"
        "from alaas.core.sources import Known\n"
        "from alaas.store.sources import SourceIndex\n"
        "index, me = SourceIndex(Path(sys.argv[1])), sys.argv[2]\n"
        "for part in range(20):\n"
        "    index.note({f'{me}/{part}/{i}': Known(me, 0.0, i) for i in range(50)})\n"
        "    found = index.lookup([f'{me}/{p}/{i}' for p in range(part + 1) for i in range(50)])\n"
        "    assert len(found) == 50 * (part + 1), len(found)\n"
    )
    commands = [[sys.executable, "-c", script, str(path), name] for name in ("x", "y", "z")]
    processes = [subprocess.Popen(command) for command in commands]
    assert [process.wait(60) for process in processes] == [0, 0, 0]
    index = SourceIndex(path)
    wanted = [f"{me}/{part}/{i}" for me in "xyz" for part in range(20) for i in range(50)]
    assert {address: known.digest for address, known in index.lookup(wanted).items()} == {
        address: address[0] for address in wanted
    }


def test_threads_may_share_it(path: Path) -> None:
    index = SourceIndex(path)
    threads = [Thread(target=index.note, args=(numbered(20, start=20 * i),)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert index.lookup(list(numbered(160))) == numbered(160)
