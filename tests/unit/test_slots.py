"""Places that queries share: who gets the next one, and that none is lost."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_pipeline_engine import in_time

from alaas.pipeline.slots import Slots


async def settled() -> None:
    """Let everything run that can."""
    for _ in range(5):
        await asyncio.sleep(0)


class Crowd:
    """Tasks that wait for a place each, and keep it until they are told."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._ends: dict[str, list[asyncio.Event]] = {}

    async def come(self, *queries: str) -> None:
        """One more task for each of these queries, in this order."""
        for query in queries:
            self.tasks.append(asyncio.create_task(self._hold(query)))
        await settled()

    async def go(self, query: str) -> None:
        """The oldest place of a query is given back."""
        self._ends[query].pop(0).set()
        await settled()

    async def empty(self) -> None:
        """Give back place after place, in the order in which they were had."""
        while any(self._ends.values()):
            await self.go(next(query for query, ends in self._ends.items() if ends))

    async def _hold(self, query: str) -> None:
        async with self.slots.place(query):
            self.order.append(query)
            end = asyncio.Event()
            self._ends.setdefault(query, []).append(end)
            await end.wait()

    def free(self) -> bool:
        """Nobody has a place, nobody waits for one, and nothing is remembered of anybody."""
        slots = self.slots
        return not (slots._taken or slots._held or slots._waiting or slots._served)


def test_a_place_goes_to_whoever_has_the_fewest() -> None:
    async def scenario() -> None:
        crowd = Crowd(Slots(4))
        await crowd.come(*"LLLLLLLL", *"SSS")
        assert crowd.order == [*"LLLL"]
        for expected in "SS":  # until both have two
            await crowd.go("L")
            assert crowd.order[-1] == expected
        await crowd.go("L")  # one against two
        assert crowd.order[-1] == "L"
        await crowd.go("S")
        assert crowd.order[-1] == "S"
        await crowd.empty()
        assert Counter(crowd.order) == {"L": 8, "S": 3}
        assert crowd.free()

    in_time(scenario())


def test_with_one_place_queries_take_turns() -> None:
    async def scenario() -> None:
        crowd = Crowd(Slots(1))
        await crowd.come(*"AAAAA", *"BBB", *"C")
        while len(crowd.order) < 9:
            await crowd.go(crowd.order[-1])
        assert "".join(crowd.order) == "ABCABABAA"
        await crowd.empty()
        assert crowd.free()

    in_time(scenario())


def test_newcomers_do_not_starve_who_waits() -> None:
    """However many small ones come, one after another, a large one gets every second turn."""

    async def scenario() -> None:
        crowd = Crowd(Slots(1))
        await crowd.come(*"L" * 12)
        for number in range(10):
            if len(crowd.slots._waiting) == 1:  # the one before is being served, or has been
                await crowd.come(f"small {number}")
            await crowd.go(crowd.order[-1])
        assert crowd.order[::2] == [*"LLLLLL"]
        assert all(one.startswith("small") for one in crowd.order[1::2])
        await crowd.empty()
        assert crowd.free()

    in_time(scenario())


def test_within_a_query_who_came_first_is_first() -> None:
    async def scenario() -> None:
        slots, order = Slots(1), list[int]()

        async def one(number: int) -> None:
            async with slots.place("q"):
                order.append(number)

        await asyncio.gather(*(one(number) for number in range(9)))
        assert order == [*range(9)]

    in_time(scenario())


def test_a_spare_place_is_for_whoever_has_none() -> None:
    async def scenario() -> None:
        crowd = Crowd(Slots(2, spare=1))
        await crowd.come(*"LLLL")
        assert crowd.order == [*"LL"]
        await crowd.come(*"SS")
        assert crowd.order == [*"LLS"]  # at once, and one only
        await crowd.come("T")
        assert crowd.order == [*"LLS"]  # the spare one is taken
        await crowd.go("S")
        assert crowd.order == [*"LLST"]
        await crowd.go("T")
        assert crowd.order == [*"LLSTS"]  # it has none again
        await crowd.go("S")
        assert crowd.order == [*"LLSTS"]  # two are taken, and the third is for newcomers
        await crowd.go("L")
        assert crowd.order == [*"LLSTSL"]
        await crowd.empty()
        assert crowd.free()

    in_time(scenario())


def test_who_is_cancelled_in_the_moment_of_being_served_hands_it_on() -> None:
    async def scenario() -> None:
        slots = Slots(1)
        await slots.acquire("A")
        second, third = (asyncio.create_task(slots.acquire(query)) for query in "BC")
        await settled()
        # The place is B's already, who does not know it yet.
        slots.release("A")
        second.cancel()
        await settled()
        assert second.cancelled()
        assert third.done()
        assert slots._held == {"C": 1}

    in_time(scenario())


@settings(deadline=None, max_examples=200)
@given(
    size=st.integers(1, 4),
    spare=st.integers(0, 2),
    moves=st.lists(
        st.tuples(st.sampled_from(["come", "go", "cancel"]), st.integers(0, 3)), max_size=40
    ),
)
def test_no_place_is_lost_or_given_twice(
    size: int, spare: int, moves: list[tuple[str, int]]
) -> None:
    async def scenario() -> None:
        slots = Slots(size, spare=spare)
        crowd, held, most = Crowd(slots), Counter[str](), 0
        for move, which in moves:
            query = "ABCD"[which]
            if move == "come":
                await crowd.come(query)
            elif move == "go" and crowd._ends.get(query):
                await crowd.go(query)
            elif move == "cancel" and (alive := [one for one in crowd.tasks if not one.done()]):
                alive[which % len(alive)].cancel()
                await settled()
            held = Counter(slots._held)
            most = max(most, held.total())
            assert held.total() == slots._taken <= size + spare
            # A place is free only where nobody waits who may have it.
            waiting = [name for name in slots._waiting if slots._waiting[name]]
            if held.total() < size:
                assert not waiting
            if held.total() < size + spare:
                assert not [name for name in waiting if not held[name]]
        for task in crowd.tasks:
            task.cancel()
        await settled()
        assert crowd.free()

    in_time(scenario())


def test_locked_is_for_those_who_have_a_place() -> None:
    async def scenario() -> None:
        slots = Slots(1, spare=1)
        assert not slots.locked()
        await slots.acquire("a")
        assert slots.locked()
        slots.release("a")
        assert not slots.locked()

    in_time(scenario())


@pytest.mark.parametrize("large", [10, 1_000])
def test_a_small_query_waits_for_turns_and_not_for_the_queue(large: int) -> None:
    """Its last micro-batch is served after as many turns, whatever is queued before it."""

    async def scenario() -> int:
        slots, served = Slots(1), list[str]()

        async def one(query: str) -> None:
            async with slots.place(query):
                served.append(query)
                await asyncio.sleep(0)

        await asyncio.gather(*(one("L") for _ in range(large)), *(one("S") for _ in range(4)))
        return max(turn for turn, query in enumerate(served) if query == "S")

    assert in_time(scenario()) == 7
