"""Jobs that are interrupted: by a stop, by a stage that is away, by their own doing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.engine import URL
from test_pipeline_engine import Toy, in_time, pool

from alaas.config import Settings
from alaas.core.errors import NoReplica
from alaas.core.types import Items
from alaas.pipeline.replay import Again
from alaas.server.jobs import runner
from alaas.server.jobs.database import now
from alaas.server.jobs.model import Job, jobs
from alaas.server.jobs.service import Jobs, new_job
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.service import Service


@pytest.fixture
def settings(database_url: URL) -> Settings:
    jobs = {"url": database_url.render_as_string(hide_password=False), "at_once": 1}
    return Settings.model_validate({"jobs": jobs, "log": {"level": "error"}})


class Office:
    """A service and its jobs, which lives as long as its context."""

    def __init__(self, settings: Settings, engine: Toy, port: int = 8081) -> None:
        worker = settings.active_learning.al_worker.model_copy(update={"port": (port,)})
        active = settings.active_learning.model_copy(update={"al_worker": worker})
        settings = settings.model_copy(update={"active_learning": active})
        self.service = Service(Models([engine]), settings, Metrics([engine.card]))
        self.jobs = Jobs(self.service, settings)

    async def __aenter__(self) -> Jobs:
        await self.jobs.start()
        return self.jobs

    async def __aexit__(self, *_: object) -> None:
        await self.jobs.stop()
        self.jobs.close()


async def submit(jobs: Jobs, size: int = 5, **parameters: Any) -> str:
    given = {"budget": 2, **parameters}
    wanted = new_job("a", kind="query", parameters=given, whole=True)
    return (await jobs.submit(wanted, Again(pool(size)))).id


async def end(jobs: Jobs, name: str) -> Job:
    """A job at its end."""
    async for job in jobs.follow(name, None):
        if job is not None and job.over:
            return job
    raise AssertionError("the server stopped before")


def when_real(work: Callable[[], Awaitable[None]]) -> Callable[[Items], Awaitable[None]]:
    """Done during every micro-batch but canaries."""

    async def during(items: Items) -> None:
        if items.items[0].id != "canary":
            await work()

    return during


def test_a_stop_interrupts_a_job_and_the_next_server_ends_it(settings: Settings) -> None:
    async def story() -> None:
        reached, gate = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await gate.wait()

        held = Office(settings, Toy(during=when_real(hold)))
        async with held as first:
            name = await submit(first)
            await reached.wait()
            assert (await first.job(name, "a")).state == "running"
        other = Office(settings, Toy(), port=8002)
        # It was given back: nobody has to wait until its lease ends.
        assert (await other.jobs.store.get(name, "a")).state == "queued"
        async with other as second:
            ended = await end(second, name)
        assert (ended.state, ended.attempt, ended.done) == ("succeeded", 2, 5)

    in_time(story())


def test_a_job_of_a_dead_server_goes_on_at_once_where_it_comes_back(settings: Settings) -> None:
    async def story() -> None:
        dead = Office(settings, Toy(), port=8001)
        number = await dead.jobs.store.begin(
            new_job("a", kind="query", parameters={"budget": 1}, whole=True, model="m1"),
            most=9, room=2**20, silence_s=60,
        )  # fmt: skip
        await dead.jobs.store.append(number, 0, pool(3), room=2**20, silence_s=60)
        name = (await dead.jobs.store.accept(number)).id
        assert await dead.jobs.store.claim() is not None
        dead.jobs.close()  # it is killed: nobody gives the job back
        async with Office(settings, Toy(), port=8002) as other:
            assert (await other.job(name, None)).state == "running"
            assert await other.store.claim() is None
        async with Office(settings, Toy(), port=8001) as same:
            ended = await end(same, name)
        assert (ended.state, ended.attempt) == ("succeeded", 2)

    in_time(story())


def test_another_server_takes_a_job_over_when_its_lease_ends(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing() -> None:
        """No job to be claimed."""

    async def story() -> None:
        reached, gate = asyncio.Event(), asyncio.Event()

        async def hold() -> None:
            reached.set()
            await gate.wait()

        slow = Toy(during=when_real(hold))
        async with Office(settings, slow, port=8001) as first:
            name = await submit(first)
            await reached.wait()
            # It may take the job again as soon as it has let it go, as any other server may.
            monkeypatch.setattr(first.store, "claim", nothing)
            async with Office(settings, Toy(), port=8002) as second:
                # As if it had been taken and left meanwhile, so that no beat of the first counts.
                late = update(jobs).where(jobs.c.id == name).values(lease=now() - 1, attempt=7)
                await second.store.database.write(lambda connection: connection.execute(late))
                ended = await end(second, name)
                assert (ended.state, ended.attempt) == ("succeeded", 8)
                # The first one finds that the job is not its own, and stops.
                while slow.running:  # noqa: ASYNC110  # it has no event for it
                    await asyncio.sleep(0)
                assert slow.cancelled
                assert (await end(first, name)).state == "succeeded"

    in_time(story())


def test_a_stage_that_is_away_is_waited_for(settings: Settings) -> None:
    async def story() -> None:
        failing = [NoReplica("infer has no living process")] * 2

        async def fail() -> None:
            if failing:
                raise failing.pop()

        async with Office(settings, Toy(batch_size=2, during=when_real(fail))) as office:
            ended = await end(office, await submit(office, 2))
        assert (ended.state, ended.attempt) == ("succeeded", 3)

    in_time(story())


def test_a_job_that_gets_no_further_is_given_up(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STALLED", 2)
    monkeypatch.setattr(runner, "BEAT_S", 0.01)

    async def story() -> None:
        async def fail() -> None:
            raise NoReplica("infer has no living process")

        async with Office(settings, Toy(during=when_real(fail))) as office:
            ended = await end(office, await submit(office))
            # What comes after it is not held up.
            assert ended.state == "failed"
            assert ended.problem is not None
            assert "interrupted 2 times" in ended.problem["detail"]

    in_time(story())


def test_a_job_that_another_model_answers_has_a_warning(settings: Settings) -> None:
    async def story() -> None:
        wanted = new_job("a", kind="query", parameters={"budget": 1}, whole=True, model="0" * 16)
        async with Office(settings, Toy()) as office:
            for _ in range(2):
                name = (await office.submit(wanted, Again(pool(3)))).id
                await end(office, name)
                answer = (await office.result(name, "a")).decode()
                assert ('"model_differs"' in answer) == (wanted.model == "0" * 16)
                wanted = new_job(
                    "a", kind="query", parameters={"budget": 1}, whole=True, model="m1"
                )

    in_time(story())


def test_a_job_may_take_longer_than_a_query(settings: Settings) -> None:
    async def story() -> None:
        limits = settings.limits.model_copy(update={"query_s": 1e-6})
        async with Office(settings.model_copy(update={"limits": limits}), Toy()) as office:
            assert (await end(office, await submit(office))).state == "succeeded"
            asked = await submit(office, timeout_s=1e-6)
            ended = await end(office, asked)
            assert ended.problem is not None
            assert ended.problem["code"] == "deadline"

    in_time(story())


def test_a_stopping_service_takes_no_jobs(settings: Settings) -> None:
    async def story() -> None:
        office = Office(settings, Toy())
        async with office as open_one:
            pass
        with pytest.raises(Exception, match="stopping"):
            await submit(open_one)

    in_time(story())


def test_a_pool_that_breaks_off_leaves_nothing(settings: Settings) -> None:
    async def story() -> None:
        async def broken() -> AsyncIterator[list[Any]]:
            yield pool(600)
            raise ConnectionResetError

        async with Office(settings, Toy()) as office:
            wanted = new_job("a", kind="query", parameters={"budget": 1}, whole=False, model="m1")
            with pytest.raises(ConnectionResetError):
                await office.submit(wanted, broken())
            assert await office.store.counts() == {}
            assert await office.store.sweep(keep_s=9, replies_s=9) == 0

    in_time(story())
