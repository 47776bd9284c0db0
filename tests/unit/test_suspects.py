"""Whose fault it was that a process died, over stages that are pretended."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import pytest

from alaas.core.errors import BooksLost, NoReplica
from alaas.core.types import Items, Plan, Scored
from alaas.core.wire import Item
from alaas.server.links import Lost
from alaas.server.suspects import CODE, Gate, Suspects

PLAN = Plan("q", "entropy", {}, 0, 1, ("probs",))


def batch(*names: str, seq: int = 3) -> Items:
    return Items(seq, tuple(Item(name, uri=f"http://host/{name}") for name in names))


class Stages:
    """A worker that dies of some items, and of whatever an operator's kill meets.

    Args:
        poison: Items that it dies of.
        kills: Deliveries, counted from 1, that a kill meets.
        most: Items that it can take at a time.
    """

    def __init__(
        self, poison: Iterable[str] = (), kills: Iterable[int] = (), most: int = 100
    ) -> None:
        self.poison, self.kills, self.most = set(poison), set(kills), most
        self.delivered: list[list[str]] = []
        self.taken: list[tuple[int, list[str]]] = []
        self.canaries = 0
        self.deaths = 0
        self.inside = 0
        self.crowds: list[int] = []

    async def compute(self, plan: Plan, items: Items) -> None:
        names = [item.id for item in items.items]
        self.delivered.append(names)
        number = len(self.delivered)
        self.inside += 1
        await asyncio.sleep(0)
        self.crowds.append(self.inside)
        await asyncio.sleep(0)
        self.inside -= 1
        if self.poison & set(names) or number in self.kills or len(names) > self.most:
            self.deaths += 1
            raise Lost("infer", delivered=True)

    async def run(self, plan: Plan, items: Items) -> Scored:
        await self.compute(plan, items)
        self.taken.append((items.seq, [item.id for item in items.items]))
        return Scored(items.seq, len(items.items))

    async def canary(self) -> None:
        self.canaries += 1

    def suspects(self) -> Suspects:
        return Suspects(self.run, self.compute, self.canary)

    def process(self, items: Items) -> Scored:
        return asyncio.run(self.suspects().process(PLAN, items))


def test_nothing_happens_where_nothing_dies() -> None:
    stages = Stages()
    assert stages.process(batch("a", "b")) == Scored(3, 2)
    assert (stages.delivered, stages.canaries) == ([["a", "b"]], 0)


def test_after_a_kill_the_whole_is_sent_again() -> None:
    stages = Stages(kills=[1])
    assert stages.process(batch("a", "b")) == Scored(3, 2)
    assert stages.delivered == [["a", "b"], ["a", "b"]]
    assert stages.canaries == 1


@pytest.mark.parametrize("kills", [[1, 2], [1, 2, 3], [1, 2, 3, 5], [1, 2, 4]])
def test_kills_never_cost_an_item_nor_change_its_company(kills: list[int]) -> None:
    stages = Stages(kills=kills)
    assert stages.process(batch("a", "b", "c")) == Scored(3, 3)
    # The same rows at a time give the same floats as without any kill.
    assert stages.taken == [(3, ["a", "b", "c"])]


def test_an_item_that_ends_its_process_twice_alone_is_given_up() -> None:
    stages = Stages(poison=["b"])
    scored = stages.process(batch("a", "b", "c"))
    assert (scored.seq, scored.count) == (3, 2)
    (failure,) = scored.failures
    assert (failure.id, failure.stage, failure.code) == ("b", "infer", CODE)
    assert failure.uri == "http://host/b"
    assert stages.taken == [(3, ["a", "c"])]
    assert stages.deaths == 4  # in the crowd, alone as a whole, and twice by itself
    assert stages.delivered[2:-1] == [["a"], ["b"], ["b"], ["c"]]


def test_two_bad_items_and_only_bad_items() -> None:
    scored = Stages(poison=["a", "b"]).process(batch("a", "b", "c"))
    assert (scored.count, {one.id for one in scored.failures}) == (1, {"a", "b"})
    scored = Stages(poison=["a"]).process(batch("a"))
    assert (scored.count, [one.id for one in scored.failures]) == (0, ["a"])


def test_a_canary_gets_through_before_each_suspect() -> None:
    stages = Stages(poison=["b"])
    stages.process(batch("a", "b"))
    # Once for each delivery after the first: what dies next is not the stage's fault.
    assert stages.canaries == len(stages.delivered) - 1


def test_what_dies_of_the_number_alone_goes_in_halves() -> None:
    stages = Stages(most=2)
    scored = stages.process(batch("a", "b", "c", "d", "e"))
    assert (scored.seq, scored.count, scored.failures) == (3, 5, ())
    assert sorted(name for _, names in stages.taken for name in names) == list("abcde")
    numbers = [seq for seq, _ in stages.taken]
    assert len(set(numbers)) == len(numbers), "the scorer would take one half for the other"
    assert numbers[0] == 3
    assert all(number < 0 for number in numbers[1:])


def test_a_canary_that_dies_is_no_proof() -> None:
    stages = Stages(kills=[1])
    left = [Lost("infer", delivered=True)] * 3

    async def canary() -> None:
        if left:
            raise left.pop()
        stages.canaries += 1

    suspects = Suspects(stages.run, stages.compute, canary)
    assert asyncio.run(suspects.process(PLAN, batch("a"))) == Scored(3, 1)
    assert stages.canaries == 1


@pytest.mark.parametrize("error", [BooksLost("gone"), NoReplica("given up")])
def test_what_ends_the_query_goes_through(error: Exception) -> None:
    stages = Stages(kills=[1])

    async def canary() -> None:
        raise error

    suspects = Suspects(stages.run, stages.compute, canary)
    with pytest.raises(type(error)):
        asyncio.run(suspects.process(PLAN, batch("a")))


def test_suspects_are_alone() -> None:
    stages = Stages(kills=[1, 2])

    async def both() -> list[Scored]:
        suspects = stages.suspects()
        batches = [batch("a", seq=0), batch("b", seq=1), batch("c", seq=2)]
        return list(await asyncio.gather(*(suspects.process(PLAN, one) for one in batches)))

    assert asyncio.run(both()) == [Scored(0, 1), Scored(1, 1), Scored(2, 1)]
    assert len(stages.crowds) == 5
    assert max(stages.crowds[:3]) == 3, "nothing is sent side by side"
    assert stages.crowds[3:] == [1, 1]


def test_whoever_is_cancelled_at_the_gate_holds_nobody_up() -> None:
    async def scenario() -> list[str]:
        gate, seen, hold = Gate(), list[str](), asyncio.Event()

        async def inside(name: str, *, alone: bool) -> None:
            async with gate.alone() if alone else gate.crowd():
                seen.append(name)
                await hold.wait()

        first = asyncio.create_task(inside("first", alone=False))
        await asyncio.sleep(0)
        lone = asyncio.create_task(inside("lone", alone=True))
        await asyncio.sleep(0)
        late = asyncio.create_task(inside("late", alone=False))
        await asyncio.sleep(0)
        assert seen == ["first"], "somebody came in beside one that wants to be alone"
        lone.cancel()
        await asyncio.wait([lone])
        hold.set()
        await asyncio.wait_for(asyncio.gather(first, late), 10)
        async with asyncio.timeout(10), gate.alone():
            seen.append("again")
        return seen

    assert asyncio.run(scenario()) == ["first", "late", "again"]
