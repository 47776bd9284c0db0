"""What is counted comes back to nothing; whoever is slow but steady is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from fastapi import WebSocket
from test_bodies import Wire
from test_pipeline_engine import Toy

from alaas.config import LimitsSettings
from alaas.core.errors import Overloaded, QuotaExceeded, RequestTimeout
from alaas.server import bodies, limits, websocket
from alaas.server.bodies import Intake
from alaas.server.limits import Admission
from alaas.server.metrics import Metrics


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(limits, "monotonic", clock)
    monkeypatch.setattr(bodies, "monotonic", clock)
    return clock


def admission(**given: int) -> Admission:
    return Admission(LimitsSettings.model_validate(given), Metrics([Toy().card]))


def counted(books: Admission) -> tuple[int, int, int]:
    return books.requests, books.held_bytes, books.held_items


def test_a_place_is_given_back_once() -> None:
    books = admission(requests=2)
    with books.enter("a", size=5) as ticket:
        ticket.hold(size=7, items=2)
        ticket.hold(items=3)
        assert counted(books) == (1, 7, 3)
        with books.enter("b", size=1):
            assert counted(books) == (2, 8, 3)
        with ticket:
            pass
        assert counted(books) == (0, 0, 0)
    assert counted(books) == (0, 0, 0)


def test_what_is_refused_holds_nothing() -> None:
    books = admission(requests=3, requests_per_key=1, held_bytes=10, held_items=10)
    with books.enter("a", size=6) as first, books.enter("b") as second:
        first.hold(items=6)
        with pytest.raises(QuotaExceeded):
            books.enter("a")
        with pytest.raises(Overloaded):
            books.enter("c", size=5)
        with pytest.raises(Overloaded):
            second.hold(size=5)
        with pytest.raises(Overloaded):
            second.hold(items=5)
        assert counted(books) == (2, 6, 6)
        with books.enter("c", size=4), pytest.raises(Overloaded):
            books.enter("d")
    assert counted(books) == (0, 0, 0)


def test_less_may_be_held_while_all_is_full() -> None:
    books = admission(held_bytes=10)
    with books.enter("a", size=9) as ticket, books.enter("b", size=1):
        ticket.hold(size=4)
        assert books.held_bytes == 5


def test_the_wait_that_is_asked_for_is_the_time_between_answers(clock: Clock) -> None:
    books = admission(requests=1)
    assert books.retry_after_s() == 1
    for _ in range(100):
        with books.enter("a"):
            clock.now += 4
    assert books.retry_after_s() == 4
    with books.enter("a"), pytest.raises(Overloaded) as full:
        books.enter("b")
    assert full.value.retry_after_s == 4
    clock.now += 10_000
    assert books.retry_after_s() == 60


def slowly(clock: Clock, chunk: bytes, each_s: float, count: int = 100) -> Callable[[], Any]:
    wire = Wire([chunk] * count)

    async def receive() -> dict[str, Any]:
        clock.now += each_s
        return await wire()

    return receive


async def read(intake: Intake) -> int:
    size = 0
    while not intake.complete.is_set():
        size += len(await intake.chunk())
    return size


def test_a_body_may_be_slow_but_not_too_slow(clock: Clock) -> None:
    steady = slowly(clock, bytes(2048), each_s=2)
    assert asyncio.run(read(Intake(steady, 10, "silence_s"))) == 204_800
    assert clock.now == 200
    for chunk in (bytes(2000), b"x"):
        with pytest.raises(RequestTimeout):
            asyncio.run(read(Intake(slowly(clock, chunk, each_s=2.5), 10, "silence_s")))


def test_a_byte_a_second_is_given_up_after_the_silence(clock: Clock) -> None:
    with pytest.raises(RequestTimeout):
        asyncio.run(read(Intake(slowly(clock, b"x", each_s=1), 10, "silence_s")))
    assert clock.now == 11


def test_a_large_message_on_a_slow_line_is_no_silence() -> None:
    async def story(steps: int, size: int) -> Any:
        arrived, heard = asyncio.Event(), 0

        def count() -> int:
            nonlocal heard
            heard += size
            if heard >= steps * size:
                arrived.set()
            return heard

        async def receive() -> dict[str, Any]:
            await arrived.wait()
            return {"type": "websocket.receive", "text": "{}"}

        socket = SimpleNamespace(scope={"state": {"heard": count}}, receive=receive)
        return await websocket._heard(cast(WebSocket, socket), 0.01, "silence_s")

    assert asyncio.run(story(10, 2048))["text"] == "{}"
    with pytest.raises(RequestTimeout):
        asyncio.run(story(10, 5))


def test_what_a_client_has_sent_is_read_while_the_socket_is_closed() -> None:
    async def story() -> None:
        unread, drained = ["a", "b", "c"], asyncio.Event()

        async def receive() -> dict[str, Any]:
            if unread:
                return {"type": "websocket.receive", "text": unread.pop()}
            drained.set()
            return {"type": "websocket.disconnect"}

        # The client's farewell stands behind its messages: who does not read them waits for it.
        socket = SimpleNamespace(receive=receive, close=drained.wait)
        await asyncio.wait_for(websocket._close(cast(WebSocket, socket)), 60)
        assert unread == []

    asyncio.run(story())
