"""Deadlines that travel with the plan of a query."""

from __future__ import annotations

from time import monotonic

import pytest
from test_pipeline_engine import in_time
from test_pipeline_local import blobs, settings

from alaas.config import DEFAULT, PushParameters, QueryParameters, StrategySettings
from alaas.core.errors import DeadlineExceeded
from alaas.core.types import Items, Plan
from alaas.pipeline import deadline, planning, push
from alaas.pipeline.engine import LocalEngine


def plan(moment: float | None) -> Plan:
    return Plan("q", "entropy", {}, 0, 1, (), model=DEFAULT, deadline=moment)


def test_a_deadline_has_passed_in_its_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline, "monotonic", lambda: 100.0)
    deadline.check(plan(None))
    deadline.check(plan(deadline.after(0.1)))
    for moment in (100.0, 99.0):
        with pytest.raises(DeadlineExceeded):
            deadline.check(plan(moment))


@pytest.mark.parametrize(("timeout_s", "moment"), [(None, None), (7.5, 107.5)])
def test_queries_and_pushes_have_it_in_their_plans(
    monkeypatch: pytest.MonkeyPatch, timeout_s: float | None, moment: float | None
) -> None:
    monkeypatch.setattr(deadline, "monotonic", lambda: 100.0)
    defaults = StrategySettings()
    asked = QueryParameters(budget=1, timeout_s=timeout_s)
    assert planning.plan(asked, defaults, "q").deadline == moment

    async def card() -> None:
        async with LocalEngine(settings()) as engine:
            pushed = PushParameters(pool="p", timeout_s=timeout_s)
            assert push.plan(pushed, defaults, "q", engine.card).deadline == moment

    in_time(card())


def test_a_worker_begins_nothing_after_it() -> None:
    async def scenario() -> None:
        async with LocalEngine(settings()) as engine:
            work, item = engine._worker.work, Items(0, tuple(blobs(1)))
            await work(plan(None), item)
            fetched = list[Items]()
            engine._worker._fetcher.fetch = fetched.append  # type: ignore[method-assign,assignment]
            with pytest.raises(DeadlineExceeded):
                await work(plan(monotonic()), item)
            assert fetched == []

    in_time(scenario())


def test_a_worker_looks_again_before_each_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its threads may have been busy for long."""

    async def scenario() -> list[str]:
        async with LocalEngine(settings()) as engine:
            begun, moments = list[str](), iter([1.0, 2.0, 3.0])
            monkeypatch.setattr(deadline, "monotonic", lambda: next(moments))
            classifier = engine._worker._models[DEFAULT].classifier
            monkeypatch.setattr(classifier, "views", lambda *_, **__: begun.append("infer"))
            with pytest.raises(DeadlineExceeded):
                await engine._worker.work(plan(2.5), Items(0, tuple(blobs(1))))
            assert next(moments, None) is None
            return begun

    assert in_time(scenario()) == []
