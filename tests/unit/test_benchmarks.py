"""What the benchmarks measure with: the meter, the processes, the photographs, the report."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import environments, memory, photographs, report, rounds, ways
from benchmarks.environments import Environment, NotBuilt
from benchmarks.photographs import Pool
from benchmarks.report import Target
from benchmarks.rounds import Lap, Meter

WORK = "import time\nwhile time.process_time() < 0.5: pass"


def lap(row: str, number: int, seconds: float, *, foreign: float = 0.0, **more: object) -> Lap:
    return Lap(row, number, 10, seconds, 0.0, foreign, **more)  # type: ignore[arg-type]


def test_the_load_is_read_without_idle_time_and_interrupts(tmp_path: Path) -> None:
    stat = tmp_path / "stat"
    stat.write_text("cpu  100 20 30 4000 500 60 7 8 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert rounds.busy_s(stat) == pytest.approx((100 + 20 + 30 + 8) / 100)


def test_what_children_took_is_our_own_when_they_have_ended() -> None:
    before = rounds.own_s()
    subprocess.run([sys.executable, "-c", WORK], check=True)
    assert rounds.own_s() - before >= 0.4  # the kernel counts in hundredths


def test_the_round_to_warm_up_does_not_count() -> None:
    meter = Meter()
    meter.lap("a", 1, lambda: [0])
    assert not meter.laps
    meter.round = 1
    meter.lap("a", 1, lambda: [2, 1])
    assert [(one.round, one.picks) for one in meter.laps] == [(1, (2, 1))]


def test_a_short_job_is_repeated_until_the_load_can_be_told() -> None:
    meter, calls = Meter(round=1), []
    meter.lap("a", 1, lambda: calls.append(1) or [], repeats=2)  # type: ignore[func-returns-value]
    assert len(calls) > 2
    assert meter.laps[0].seconds < rounds.LONG_ENOUGH_S


def test_a_ratio_is_taken_within_rounds() -> None:
    laps = [lap("slow", 1, 4.0), lap("fast", 1, 2.0), lap("slow", 2, 9.0), lap("fast", 2, 3.0)]
    found = rounds.ratio([*laps, lap("fast", 3, 1.0)], "fast", "slow")
    assert found == {"min": 2, "median": 2.5, "max": 3, "rounds": 2, "quiet": True}
    assert rounds.ratio(laps, "fast", "nobody") is None


def test_busy_rounds_do_not_count_where_enough_are_quiet() -> None:
    laps = [lap("a", 1, 1.0), lap("b", 1, 2.0), lap("a", 2, 1.0, foreign=1.0), lap("b", 2, 9.0)]
    found = rounds.ratio(laps, "a", "b")
    assert found is not None
    assert (found["median"], found["quiet"]) == (2, True)
    laps[0] = lap("a", 1, 1.0, foreign=1.0)
    found = rounds.ratio(laps, "a", "b")
    assert found is not None
    assert (found["rounds"], found["quiet"]) == (2, False)


def test_the_overlap_is_that_of_the_worst_round() -> None:
    laps = [
        lap("a", 1, 1.0, picks=(1, 2)), lap("b", 1, 1.0, picks=(2, 1)),
        lap("a", 2, 1.0, picks=(1, 2)), lap("b", 2, 1.0, picks=(2, 3)),
    ]  # fmt: skip
    assert rounds.overlap(laps, "a", "b") == 0.5
    assert rounds.overlap(laps[:1], "a", "b") is None


def test_new_contents_have_the_same_pixels(tmp_path: Path) -> None:
    files, _ = photographs.encoded(None, 2)
    pools = [photographs.write(files, tmp_path / mark, "http://x", mark=mark) for mark in "ab"]
    first, second = (Path(pool.paths[0]) for pool in pools)
    assert first.read_bytes() != second.read_bytes()
    assert Image.open(first).tobytes() == Image.open(second).tobytes()
    assert pools[0].uris[1] == "http://x/000001.jpg"
    assert len(pools[0].part(1)) == 1


def test_more_photographs_than_there_are_differ(tmp_path: Path) -> None:
    one, _ = photographs.encoded(None, 1)
    (tmp_path / "one.jpg").write_bytes(one[0])
    files, origin = photographs.encoded(str(tmp_path), 4)
    assert len(set(files)) == 4
    assert origin.startswith("1 photographs")


def test_the_web_server_knows_what_has_not_changed(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.jpg").write_bytes(b"picture")
    (tmp_path / "secret").write_bytes(b"secret")
    with photographs.served(tmp_path / "in") as url:
        connection = HTTPConnection(url.removeprefix("http://"), timeout=20)

        def get(path: str, **headers: str) -> tuple[int, bytes, str]:
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            return answer.status, answer.read(), answer.getheader("ETag") or ""

        status, body, etag = get("/a.jpg?copy=1")
        assert (status, body) == (200, b"picture")
        assert get("/a.jpg", **{"If-None-Match": etag})[:2] == (304, b"")
        assert get("/a.jpg", **{"If-None-Match": '"other"'})[:2] == (200, b"picture")
        assert get("/b.jpg")[0] == 404
        assert get("/../secret")[0] == get("/%2e%2e/secret")[0] == 404
        connection.close()


def test_a_runner_answers_and_its_prints_are_kept_apart(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from benchmarks.peers.channel import answer\n"
        "def ask(question):\n"
        "    print('a library says')\n"
        "    return question['uris'].index('b')\n"
        "answer(ask)\n"
    )
    runner = ways.Runner(
        [sys.executable, str(script)], {**os.environ, "PYTHONPATH": str(ways.ROOT)}
    )
    pool = Pool(("x", "y"), ("a", "b"))
    assert [runner.ask(pool), runner.ask(pool)] == [1, 1]
    with pytest.raises(ways.Died, match="status 1"):
        runner.ask(Pool((), ()))
    runner.close()


def test_a_runner_that_does_not_start_says_so() -> None:
    with pytest.raises(ways.Died, match="status 3"):
        ways.Runner([sys.executable, "-c", "raise SystemExit(3)"])


def test_a_precision_that_the_processor_lacks_is_not_measured(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_text("flags : fpu avx2\n")
    new.write_text("flags : fpu avx512_bf16\n")
    ways.check_arithmetic("fp32", old)
    ways.check_arithmetic("bf16", new)
    with pytest.raises(ways.Unsupported, match="bf16"):
        ways.check_arithmetic("bf16", old)


def test_an_environment_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "PEERS", tmp_path)
    (tmp_path / "a.txt").write_text("")
    made = Environment("made", ("a.txt",))
    python = made.build(tmp_path / "cache")
    assert subprocess.run([python, "-c", ""], check=False).returncode == 0
    (python.parent / "mark").touch()
    assert made.build(tmp_path / "cache") == python
    assert (python.parent / "mark").exists()
    (tmp_path / "a.txt").write_text("./nowhere-1.0-py3-none-any.whl\n")
    with pytest.raises(NotBuilt, match="made: ERROR"):
        made.build(tmp_path / "cache")


@pytest.mark.parametrize(
    ("target", "verdict"),
    [
        (Target("a", 1.0, at_least=1.0), "met"),
        (Target("a", 0.9, at_least=1.0), "missed"),
        (Target("a", 1.1, at_most=1.0), "missed"),
        (Target("a", None, at_least=1.0), "not measured"),
    ],
)
def test_targets_are_met_or_missed(target: Target, verdict: str) -> None:
    assert target.verdict == verdict


def test_a_document_is_shown_and_inserted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    aims = [Target("speed", 0.5, at_least=2, quiet=False)]
    made = report.document("T", ["way", "n"], [["a", 1]], job="J.", targets=aims, notes=["N"])
    report.publish(made, tmp_path / "made.json")
    text = capsys.readouterr().out
    assert "| way | n |\n| --- | ---: |\n| a | 1 |" in text
    assert "| speed | >= 2 | 0.5 | missed, machine busy |" in text
    assert json.loads((tmp_path / "made.json").read_text())["notes"] == ["N"]
    page = report.insert(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n", text)
    assert page.startswith("before\n")
    assert page.endswith("\nafter\n")
    assert "| a | 1 |" in page
    assert "old" not in page
    with pytest.raises(ValueError, match="no lines"):
        report.insert("a page", text)


def test_tiny_pictures_open_and_differ() -> None:
    pictures = [Image.open(BytesIO(memory.png(row))) for row in range(300)]
    assert {picture.size for picture in pictures} == {(4, 4)}
    assert len({picture.tobytes() for picture in pictures}) == 300
