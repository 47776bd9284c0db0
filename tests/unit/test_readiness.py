"""What the probes say, whatever becomes of the stages."""

from __future__ import annotations

import asyncio
from typing import Any, cast

import pytest

from alaas.config import Preprocessing
from alaas.core.errors import NoReplica, NotReady
from alaas.core.types import Items, Plan, Scored
from alaas.core.wire import Failure
from alaas.models.card import ModelCard
from alaas.pipeline.engine import Engine
from alaas.pipeline.slots import Slots
from alaas.server import readiness
from alaas.server.readiness import Readiness
from alaas.server.status import StageStatus, Status

UP = StageStatus(1, ready=1)


class Toy:
    """An engine that counts canaries, and may be stuck or lose them."""

    def __init__(self, *, stuck: bool = False, failures: tuple[Failure, ...] = ()) -> None:
        spec = Preprocessing(size=(8, 8), mean=(0, 0, 0), std=(1, 1, 1))
        self.card = ModelCard("toy", "python", "none", "m1", 2, (), 0, spec, ("probs",))
        self.slots = Slots(1)
        self.canaries = 0
        self.forgotten = 0
        self._stuck = stuck
        self._failures = failures

    async def process(self, plan: Plan, items: Items) -> Scored:
        assert plan.query.startswith("canary-")
        self.canaries += 1
        if self._stuck:
            await asyncio.Event().wait()
        return Scored(0, len(items.items), self._failures)

    async def discard(self, plan: Plan) -> None:
        self.forgotten += 1


def made(toy: Toy, status: Status, **rest: Any) -> Readiness:
    async def proved() -> None:
        return

    return Readiness(cast("Engine", toy), status=lambda: status, proved=proved, **rest)


def check(toy: Toy, *stages: StageStatus, state: Any = "ready", progress: str = "") -> None:
    status = Status(state, progress, 1, {f"stage{row}": one for row, one in enumerate(stages)})
    asyncio.run(made(toy, status).check())


def test_a_canary_proves_it_for_a_while() -> None:
    async def scenario() -> int:
        toy = Toy()
        ready = made(toy, Status("ready", stages={"infer": UP}))
        for _ in range(3):
            await ready.check()
        assert toy.forgotten == toy.canaries
        return toy.canaries

    assert asyncio.run(scenario()) == 1


def test_a_query_proves_it_as_well() -> None:
    toy = Toy(stuck=True)
    ready = made(toy, Status("ready"))
    ready.prove()
    asyncio.run(ready.check())
    assert toy.canaries == 0


@pytest.mark.parametrize("stage", [StageStatus(2, starting=2), StageStatus(1, silent=1)])
def test_a_stage_without_a_living_process_needs_no_canary(stage: StageStatus) -> None:
    toy = Toy()
    with pytest.raises(NoReplica, match="stage1"):
        check(toy, UP, stage)
    assert toy.canaries == 0


def test_while_it_starts_it_says_how_far_it_has_come() -> None:
    with pytest.raises(NotReady, match="starting: half way"):
        check(Toy(), StageStatus(1, starting=1), state="starting", progress="half way")


def test_while_it_drains_it_is_not_ready_but_takes_queries() -> None:
    with pytest.raises(NotReady, match="stopping"):
        check(Toy(), UP, state="draining")
    ready = made(Toy(), Status("draining", stages={"infer": UP}))
    ready.check_admission()
    ready.stopping = True
    with pytest.raises(NotReady, match="stopping"):
        ready.check_admission()


def test_a_canary_that_fails_or_never_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    failure = Failure("canary", "infer", "oom", "too large")
    with pytest.raises(NotReady, match="too large"):
        check(Toy(failures=(failure,)), UP)
    monkeypatch.setattr(readiness, "CANARY_S", 0.01)
    with pytest.raises(NotReady, match="timeout"):
        check(Toy(stuck=True), UP)


def test_slow_work_before_a_canary_is_no_fault_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "CANARY_S", 0.01)
    monkeypatch.setattr(readiness, "FRESH_S", 0.0)

    async def scenario(patience_s: float) -> None:
        toy = Toy(stuck=True)
        await toy.slots.acquire("a query")
        ready = made(toy, Status("ready", stages={"infer": UP}), patience_s=patience_s)
        ready.prove()
        await ready.check()

    asyncio.run(scenario(3600))
    with pytest.raises(NotReady):
        asyncio.run(scenario(0))


def test_one_death_is_waited_for_and_a_row_of_them_is_told() -> None:
    away = StageStatus(1, starting=1, deaths=1)
    made(Toy(), Status("ready", stages={"infer": away})).check_admission()
    dying = StageStatus(1, starting=1, deaths=2)
    with pytest.raises(NoReplica) as refused:
        made(Toy(), Status("ready", stages={"infer": dying})).check_admission()
    assert refused.value.retry_after_s == readiness.RETRY_S
    half = StageStatus(2, ready=1, deaths=2)
    made(Toy(), Status("ready", stages={"infer": half})).check_admission()


def test_alive_and_started() -> None:
    ready = made(Toy(), Status("starting", "half way"))
    ready.check_alive()
    with pytest.raises(NotReady, match="half way"):
        ready.check_started()
    ended = made(Toy(), Status("failed", "infer died 6 times"))
    ended.check_started()
    with pytest.raises(NotReady, match="infer died 6 times"):
        ended.check_alive()
