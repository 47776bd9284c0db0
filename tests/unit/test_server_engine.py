"""The server's engine over stages that are pretended: they answer, are away, or die."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from alaas.config import Preprocessing
from alaas.core.errors import BooksLost, Internal, NoReplica
from alaas.core.types import Admitted, Items, Notes, Plan, Scored, Stored
from alaas.core.wire import Item
from alaas.models.card import ModelCard
from alaas.server import engine, frames
from alaas.server.engine import FlowEngine
from alaas.server.links import Links, Lost
from alaas.server.status import UNSUPERVISED, Status

CARD = ModelCard(
    name="toy", hub="python", weights="none", digest="0" * 16, classes=2, categories=(), dim=2,
    preprocessing=Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1)), views=("probs",),
)  # fmt: skip
PLAN = Plan("q", "entropy", {}, 0, 1, ("probs",))
ITEMS = Items(0, (Item("a"), Item("b")), rows=(0, 1))

GONE, KILLED = Lost("", delivered=False), Lost("", delivered=True)


@dataclass
class Message:
    endpoint: str
    message: frames.Message
    fault: bool = False


class Wire:
    """Messages that stay in this process."""

    def write(self, endpoint: str, message: frames.Message) -> Message:
        return Message(endpoint, message)

    def check(self, answer: Message) -> None:
        if answer.fault:
            raise Internal("it failed")

    def read(self, answer: Message) -> frames.Message:
        return answer.message


@dataclass
class Stages:
    """Four stages; what is written down for one happens to its next messages, in order."""

    ahead: dict[str, list[Lost | str]] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    stages: tuple[str, ...] = ("fetch", "preprocess", "infer", "score")

    async def send(self, stage: str, message: Message) -> Message:
        if not message.message.plan.query.startswith("canary"):
            self.calls.append((stage, message.endpoint))
            if ahead := self.ahead.get(stage):
                happens = ahead.pop(0)
                if isinstance(happens, Lost):
                    raise Lost(stage, delivered=happens.delivered)
                return replace(message, fault=True)
        content: Any = message.message.content
        if stage == "score":
            count = len(content.items) if isinstance(content, Items) else 0
            content = {
                "/admit": Admitted(0, (0, 1)), "/score": Scored(content.seq, count)
                if isinstance(content, Items) else None, "/pools": Stored(()),
            }.get(message.endpoint, content)  # fmt: skip
        return replace(message, message=replace(message.message, content=content))


@pytest.fixture
def flow(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs something on an engine over such stages."""
    monkeypatch.setattr(engine, "AGAIN_S", 0.0)

    def run(
        stages: Stages,
        ask: Callable[[FlowEngine], Awaitable[Any]],
        status: Status = UNSUPERVISED,
    ) -> Any:
        async def scenario() -> Any:
            made = FlowEngine(
                cast("Links", stages), Wire(), CARD, batch_size=2, window=2, status=lambda: status,
            )  # fmt: skip
            async with asyncio.timeout(30):
                return await ask(made)

        return asyncio.run(scenario())

    return run


def process(one: FlowEngine) -> Awaitable[Scored]:
    return one.process(PLAN, ITEMS)


def admit(one: FlowEngine) -> Awaitable[Admitted]:
    return one.admit(PLAN, ITEMS)


def test_a_micro_batch_goes_through_every_stage(flow: Callable[..., Any]) -> None:
    stages = Stages()
    assert flow(stages, process) == Scored(0, 2)
    assert stages.calls == [(name, "/score") for name in stages.stages]


def test_what_was_not_delivered_is_sent_again_to_that_stage_alone(flow: Callable[..., Any]) -> None:
    stages = Stages({"infer": [GONE, GONE, GONE]})
    assert flow(stages, process) == Scored(0, 2)
    names = [name for name, _ in stages.calls]
    assert names == ["fetch", "preprocess", "infer", "infer", "infer", "infer", "score"]


def test_a_stage_that_is_given_up_is_not_waited_for(flow: Callable[..., Any]) -> None:
    with pytest.raises(NoReplica):
        flow(Stages({"infer": [GONE] * 9}), process, Status("failed"))


@pytest.mark.parametrize("how", [GONE, KILLED])
def test_a_scorer_that_goes_away_takes_the_books_along(flow: Callable[..., Any], how: Lost) -> None:
    with pytest.raises(BooksLost):
        flow(Stages({"score": [how]}), process)
    with pytest.raises(BooksLost):
        flow(Stages({"score": [how]}), lambda one: one.select(PLAN, Notes()))


def test_admission_waits_for_the_scorer_unless_it_had_the_items(flow: Callable[..., Any]) -> None:
    assert flow(Stages({"score": [GONE, GONE]}), admit) == Admitted(0, (0, 1))
    with pytest.raises(BooksLost):
        flow(Stages({"score": [KILLED]}), admit)


def test_naming_contents_survives_deaths_but_not_any_number(flow: Callable[..., Any]) -> None:
    assert flow(Stages({"fetch": [KILLED, GONE, KILLED]}), admit) == Admitted(0, (0, 1))
    with pytest.raises(NoReplica, match="fetch died 3 times"):
        flow(Stages({"fetch": [KILLED] * 3}), admit)


def test_a_query_without_the_store_asks_the_scorer_alone(flow: Callable[..., Any]) -> None:
    stages = Stages()
    flow(stages, lambda one: one.admit(replace(PLAN, cache=False), ITEMS))
    assert stages.calls == [("score", "/admit")]


def test_forgetting_a_query_never_waits(flow: Callable[..., Any]) -> None:
    stages = Stages({"score": [GONE] * 9})
    with pytest.raises(NoReplica):
        flow(stages, lambda one: one.discard(PLAN))
    assert len(stages.calls) == 1


def test_pools_are_listed_once_the_scorer_is_back(flow: Callable[..., Any]) -> None:
    assert flow(Stages({"score": [GONE]}), lambda one: one.pools()) == []


def test_an_executor_that_fails_ends_the_query_where_it_failed(flow: Callable[..., Any]) -> None:
    stages = Stages({"preprocess": ["fails"]})
    with pytest.raises(Internal):
        flow(stages, process)
    assert [name for name, _ in stages.calls] == ["fetch", "preprocess"]
