"""Which queries are running, as several processes see it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from alaas.core.errors import DeadlineExceeded, Internal
from alaas.core.types import Plan
from alaas.server import leases
from alaas.server.leases import Leases


def plan(query: str = "q", *, leased: bool = True, deadline: float | None = None) -> Plan:
    return Plan(query, "entropy", {}, 0, 1, (), leased=leased, deadline=deadline)


def test_a_query_runs_from_its_first_frame_to_its_end(tmp_path: Path) -> None:
    gateway, executor = Leases(tmp_path), Leases(tmp_path)
    assert gateway.take("q")
    assert gateway.take("q")  # every micro-batch asks
    executor.check(plan())
    gateway.end("q")
    gateway.end("q")
    with pytest.raises(Internal):
        executor.check(plan())
    assert gateway.take("q")
    executor.check(plan())


def test_queries_do_not_end_each_other(tmp_path: Path) -> None:
    gateway = Leases(tmp_path)
    for query in ("a", "a-1", "b"):
        gateway.take(query)
    gateway.end("a")
    assert [gateway.runs(query) for query in ("a", "a-1", "b")] == [False, True, True]


@pytest.mark.parametrize("query", ["..", ".", "a/b", "../../x", "", "\0", "ü" * 40])
def test_no_id_leads_out_of_the_folder(tmp_path: Path, query: str) -> None:
    (runtime := tmp_path / "runtime").mkdir()
    gateway = Leases(runtime)
    assert gateway.take(query)
    assert gateway.runs(query)
    assert [path.parent for path in runtime.rglob("*.query")] == [runtime / leases.FOLDER]
    gateway.end(query)
    assert not gateway.runs(query)
    assert [*tmp_path.iterdir()] == [runtime]


def test_what_has_no_lease_is_not_asked_for_one(tmp_path: Path) -> None:
    Leases(tmp_path).take("another")
    Leases(tmp_path).check(plan(leased=False))


def test_an_executor_that_does_not_see_the_folder_works(tmp_path: Path) -> None:
    """One on another machine, or whose folder somebody has cleaned away."""
    Leases(tmp_path / "nowhere").check(plan())


def test_where_nothing_can_be_written_a_query_runs_unwatched(tmp_path: Path) -> None:
    (tmp_path / leases.FOLDER).write_text("a file in the way")
    gateway = Leases(tmp_path)
    assert not gateway.take("q")
    gateway.end("q")


def test_a_folder_that_was_cleaned_away_is_made_again(tmp_path: Path) -> None:
    gateway = Leases(tmp_path)
    gateway.take("first")
    gateway.end("first")
    os.rmdir(tmp_path / leases.FOLDER)
    assert gateway.take("second")
    Leases(tmp_path).check(plan("second"))


def test_a_deadline_is_a_moment_of_the_monotonic_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway = Leases(tmp_path)
    gateway.take("q")
    monkeypatch.setattr(leases, "monotonic", lambda: 100.0)
    gateway.check(plan(deadline=100.1))
    with pytest.raises(DeadlineExceeded):
        gateway.check(plan(deadline=100.0))
    with pytest.raises(DeadlineExceeded):  # also without a lease
        gateway.check(plan(deadline=99.0, leased=False))
