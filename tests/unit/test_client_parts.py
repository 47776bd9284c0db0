"""The pure parts of the client: cutting, reading what callers give, giving up, the bar."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.client.call import Call
from alaas.client.parts import cut
from alaas.client.pool import Pool, read_any
from alaas.client.progress import progress_bar
from alaas.core.errors import ConnectionFailed, DeadlineExceeded, ValidationFailed
from alaas.core.wire import Failure, Item, Progress

WAIT_S = 30


@given(
    sizes=st.lists(st.integers(0, 300), max_size=60),
    max_items=st.integers(1, 9),
    max_bytes=st.integers(1, 900),
)
def test_cut_keeps_order_and_limits(sizes: list[int], max_items: int, max_bytes: int) -> None:
    items = [Item(str(row), blob=bytes(size)) for row, size in enumerate(sizes)]
    parts = list(cut(items, max_items=max_items, max_bytes=max_bytes))
    assert [item for part in parts for item in part] == items
    for part in parts:
        assert 1 <= len(part) <= max_items
        assert len(part) == 1 or sum(len(item.blob or b"") for item in part) <= max_bytes


def test_cut_fills_its_parts() -> None:
    items = [Item(str(row), uri="x") for row in range(1100)]
    assert [len(part) for part in cut(items)] == [512, 512, 76]
    images = [Item(str(row), blob=bytes(300_000)) for row in range(7)]
    assert [len(part) for part in cut(images)] == [3, 3, 1]


@pytest.mark.parametrize("item", [Item("0", text="é" * 100), Item("0", uri="é" * 100)])
def test_cut_counts_bytes_not_characters(item: Item) -> None:
    assert [len(part) for part in cut([item, item], max_bytes=300)] == [1, 1]


def test_cut_gives_a_full_part_before_it_asks_for_more() -> None:
    asked = []

    def pool() -> Iterator[Item]:
        for row in range(9):
            asked.append(row)
            yield Item(str(row), uri="x")

    parts = cut(pool(), max_items=3)
    next(parts)
    assert asked == [0, 1, 2]


@pytest.mark.parametrize(
    ("value", "item"),
    [
        ("http://a", Item("4", uri="http://a")),
        (b"\xff", Item("4", blob=b"\xff")),
        (bytearray(b"\xff"), Item("4", blob=b"\xff")),
        (Item("z", text="t"), Item("z", text="t")),
        ({"uri": "u"}, Item("4", uri="u")),
        ({"text": "t", "id": "a"}, Item("a", text="t")),
        ({"blob": b"\xff", "id": 0}, Item("0", blob=b"\xff")),
        ({"blob": "/w=="}, Item("4", blob=b"\xff")),
    ],
)
def test_read_any(value: object, item: Item) -> None:
    assert read_any(value, 4) == item


def test_read_any_of_what_cannot_be_read(tmp_path: Path) -> None:
    failure = read_any({"blob": "no base64"}, 4)
    assert isinstance(failure, Failure)
    assert failure.code == "invalid_blob"
    folder = read_any(tmp_path, 4)
    assert isinstance(folder, Failure)
    assert folder.id == folder.uri == str(tmp_path)
    with pytest.raises(ValidationFailed, match="got float"):
        read_any(1.5, 4)


def test_pool_leaves_out_failures_and_keeps_rows(tmp_path: Path) -> None:
    kept: list[object] = []
    pool = Pool(["a", tmp_path / "none", "b"], read_any, kept=kept)
    assert [item.id for item in pool] == ["0", "2"]
    assert [failure.id for failure in pool.failures] == [str(tmp_path / "none")]
    assert kept == ["a", tmp_path / "none", "b"]


class TestCall:
    def test_gives_up_from_another_thread(self) -> None:
        call, broken = Call(), Event()

        reason = ConnectionFailed("not wanted any more")
        thread = Thread(target=call.give_up, args=(reason,))

        def exchange() -> None:
            call.on_give_up(broken.set)
            thread.start()
            assert broken.wait(WAIT_S)
            raise OSError("the socket was closed")

        with pytest.raises(ConnectionFailed) as caught, call.within(None):
            exchange()
        thread.join()
        assert caught.value is reason

    def test_given_up_before_it_began(self) -> None:
        call, broken = Call(), Event()
        call.give_up(ConnectionFailed("too late"))
        with pytest.raises(ConnectionFailed, match="too late"), call.within(None):
            call.on_give_up(broken.set)
        assert broken.is_set()

    def test_deadline_breaks_off(self) -> None:
        call, broken = Call(), Event()
        call.on_give_up(broken.set)
        with pytest.raises(DeadlineExceeded, match=r"within 0\.01 s"), call.within(0.01):
            assert broken.wait(WAIT_S)

    def test_first_reason_counts(self) -> None:
        call = Call()
        call.give_up(ConnectionFailed("first"))
        call.give_up(ConnectionFailed("second"))
        with pytest.raises(ConnectionFailed, match="first"), call.within(None):
            pass

    def test_is_out_of_reach_once_it_has_ended(self) -> None:
        call, broken = Call(), Event()
        with call.within(60):
            call.on_give_up(broken.set)
        call.give_up(ConnectionFailed("too late"))
        assert not broken.is_set()

    def test_own_errors_pass(self) -> None:
        with pytest.raises(KeyError), Call().within(60):
            raise KeyError("x")


class TestProgressBar:
    def test_follows_the_news(self, monkeypatch: pytest.MonkeyPatch) -> None:
        stderr = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress_bar(True) as show:
            show(Progress(done=3, failed=0, received=5))
            show(Progress(done=7, failed=1, received=8, total=8))
        assert "100%" in stderr.getvalue()
        assert "8/8" in stderr.getvalue()
        assert "failed=1" in stderr.getvalue()

    @pytest.mark.parametrize(("terminal", "shown"), [(True, True), (False, False)])
    def test_shows_on_a_terminal(
        self, terminal: bool, shown: bool, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        stderr = io.StringIO()
        monkeypatch.setattr(stderr, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stderr", stderr)
        with progress_bar(None) as show:
            show(Progress(done=3, failed=0, received=5))
        assert bool(stderr.getvalue()) is shown
