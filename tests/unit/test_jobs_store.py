"""The jobs in a database, in SQLite and in PostgreSQL: who runs what, and who sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection, select, text, update
from sqlalchemy.engine import URL

from alaas.core.errors import Overloaded, QuotaExceeded, UnknownJob
from alaas.core.wire import Failure, Item, Progress, StageTiming
from alaas.pipeline.ledger import Part
from alaas.server.jobs.database import Database, now
from alaas.server.jobs.model import Job, jobs, metadata, parts
from alaas.server.jobs.pool import ITEMS, StoredPool, cut
from alaas.server.jobs.store import JobStore, Wanted

ROOM = 2**30
Story = Callable[[Database], Awaitable[None]]


def play(url: URL, story: Story) -> None:
    """Run a story with a database, which is closed afterwards."""

    async def whole() -> None:
        database = Database(url)
        try:
            await asyncio.wait_for(story(database), 60)
        finally:
            await asyncio.to_thread(database.close)

    asyncio.run(whole())


async def begin(store: JobStore, name: str, caller: str = "a", **more: Any) -> int:
    wanted = Wanted(name, caller, "query", {"budget": 1}, True, "m1")
    return await store.begin(wanted, **{"most": 100, "room": ROOM, "silence_s": 60.0, **more})


async def add(store: JobStore, name: str, caller: str = "a", part: Part = ()) -> Job:
    """A queued job."""
    number = await begin(store, name, caller)
    if part:
        await store.append(number, 0, part, room=ROOM, silence_s=60.0)
    return await store.accept(number)


async def claimed(store: JobStore) -> Job:
    job = await store.claim()
    assert job is not None
    return job


def lapse(name: str) -> Callable[[Connection], None]:
    """The lease of a job ends."""

    def work(connection: Connection) -> None:
        connection.execute(update(jobs).where(jobs.c.id == name).values(lease=now() - 1))

    return work


def test_the_changes_make_the_tables_that_the_code_reads(database_url: URL) -> None:
    async def story(database: Database) -> None:
        found = await database.read(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
        assert found == []
        # The comparison would see a difference.
        await database.write(lambda c: c.execute(text("ALTER TABLE jobs DROP COLUMN stages")))
        found = await database.read(
            lambda connection: compare_metadata(MigrationContext.configure(connection), metadata)
        )
        assert len(found) == 1

    play(database_url, story)


def test_the_clock_is_that_of_today(database_url: URL) -> None:
    async def story(database: Database) -> None:
        first, second = [
            await database.read(lambda connection: connection.scalar(select(now())))
            for _ in range(2)
        ]
        assert 1.7e9 < first <= second < first + 60

    play(database_url, story)


def test_jobs_are_taken_once_and_in_order(database_url: URL) -> None:
    async def story(database: Database) -> None:
        here, there = JobStore(database, "here"), JobStore(database, "there")
        for name in ("x", "y", "z"):
            await add(here, name)
        assert [(await here.get(name, "a")).position for name in "xyz"] == [0, 1, 2]
        taken = [await claimed(store) for store in (here, there, here)]
        assert [job.id for job in taken] == ["x", "y", "z"]
        assert {job.state for job in taken} == {"running"}
        assert await there.claim() is None

    play(database_url, story)


def test_many_servers_take_each_job_once(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        for row in range(12):
            await add(store, f"j{row}")
        others = [JobStore(Database(database_url), f"s{row}") for row in range(3)]

        async def take_all(one: JobStore) -> list[str]:
            taken = []
            while (job := await one.claim()) is not None:
                taken.append(job.id)
            one.database.close()
            return taken

        taken = await asyncio.gather(*map(take_all, others))
        assert sorted(name for names in taken for name in names) == sorted(
            f"j{row}" for row in range(12)
        )

    play(database_url, story)


def test_a_job_whose_lease_ends_is_taken_over_and_its_first_owner_can_do_no_harm(
    database_url: URL,
) -> None:
    async def story(database: Database) -> None:
        here, there = JobStore(database, "here"), JobStore(database, "there")
        await add(here, "x")
        first = await claimed(here)
        assert await there.claim() is None
        await database.write(lapse("x"))
        second = await claimed(there)
        assert (first.attempt, second.attempt) == (1, 2)
        assert await here.beat([(first, Progress(5, 0, 5))]) == [first]
        assert await there.beat([(second, Progress(3, 1, 4))]) == []
        assert not await here.finish(first, "failed", Progress(5, 0, 5), problem={})
        await here.release(first, in_order=True)
        seen = await here.get("x", "a")
        assert (seen.state, seen.done, seen.failed) == ("running", 3, 1)
        assert await there.finish(second, "succeeded", Progress(9, 0, 9), result=b"{}")
        assert await here.result(second.number) == b"{}"

    play(database_url, story)


def test_a_beat_keeps_the_lease(database_url: URL) -> None:
    async def story(database: Database) -> None:
        here, there = JobStore(database, "here"), JobStore(database, "there")
        await add(here, "x")
        job = await claimed(here)
        await database.write(lapse("x"))
        stages = {"infer": StageTiming(1.5, 7)}
        assert await here.beat([(job, Progress(7, 0, 7, stages=stages))]) == []
        assert await there.claim() is None
        assert (await here.get("x", "a")).stages == {"infer": stages["infer"].to_json()}

    play(database_url, story)


def test_a_server_that_comes_back_goes_on_with_its_own_jobs_only(database_url: URL) -> None:
    async def story(database: Database) -> None:
        here, there = JobStore(database, "here"), JobStore(database, "there")
        await add(here, "x")
        await add(here, "y")
        await claimed(here)
        await claimed(there)
        unarrived = await begin(here, "z")
        await here.recover()
        again = await claimed(here)
        assert (again.id, again.attempt) == ("x", 2)
        assert await here.claim() is None
        assert await database.read(
            lambda c: c.scalar(select(jobs.c.id).where(jobs.c.number == unarrived))
        ) is None  # fmt: skip

    play(database_url, story)


def test_attempts_that_get_no_further_are_counted(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        await add(store, "x")
        stalled = []
        for done in (0, 4, 4, 5):
            job = await claimed(store)
            stalled.append(job.stalled)
            await store.beat([(job, Progress(done, 0, done))])
            await store.release(job, in_order=False)
        assert stalled == [1, 2, 1, 2]
        job = await claimed(store)
        assert job.stalled == 1
        await store.release(job, in_order=True)  # a server that stops as it should is no fault
        assert (await claimed(store)).stalled == 1

    play(database_url, story)


def test_a_cancelled_job_is_taken_by_nobody(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        part = [Item("i", uri="u")]
        for name in ("x", "y"):
            await add(store, name, part=part)
        running = await claimed(store)
        for name in ("x", "y", "x"):
            assert (await store.cancel(name, "a")).state == "cancelled"
        assert await store.claim() is None
        assert await store.beat([(running, Progress(1, 0, 1))]) == [running]
        assert not await store.finish(running, "succeeded", Progress(1, 0, 1), result=b"{}")
        left = await database.read(lambda connection: connection.execute(select(parts)).all())
        assert left == []

    play(database_url, story)


def test_a_job_that_has_ended_is_not_cancelled(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        await add(store, "x")
        job = await claimed(store)
        problem = {"code": "internal", "detail": "d"}
        assert await store.finish(job, "failed", Progress(0, 0, 0), problem=problem)
        after = await store.cancel("x", "a")
        assert (after.state, after.problem) == ("failed", problem)
        assert after.over

    play(database_url, story)


def test_callers_see_their_own_jobs(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        for row in range(5):
            await add(store, f"a{row}")
        await add(store, "b0", "b")
        await begin(store, "a9")  # its pool is still arriving
        page = {"limit": 2, "before": None, "state": None}
        assert [job.id for job in await store.page("a", **page)] == ["a4", "a3"]
        more = await store.page("a", limit=9, before="a3", state=None)
        assert [job.id for job in more] == ["a2", "a1", "a0"]
        assert [job.id for job in await store.page(None, **page)] == ["b0", "a4"]
        assert await store.page("a", limit=9, before=None, state="running") == []
        for asked in (
            store.get("b0", "a"), store.cancel("b0", "a"), store.get("a9", "a"),
            store.page("a", limit=2, before="b0", state=None), store.get("\0", None),
        ):  # fmt: skip
            with pytest.raises(UnknownJob):
                await asked
        assert (await store.get("b0", None)).state == "queued"

    play(database_url, story)


def test_a_caller_has_so_many_unfinished_jobs_at_most(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        await add(store, "x")
        await begin(store, "y", most=2)
        with pytest.raises(QuotaExceeded, match=r"limits\.jobs_per_key") as refused:
            await begin(store, "z", most=2)
        assert refused.value.retry_after_s
        await begin(store, "other", "b", most=2)
        await store.cancel("x", "a")
        await begin(store, "z", most=2)

    play(database_url, story)


def test_the_database_holds_so_much_at_most(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        part = [Item("i", uri="u")]
        number = await begin(store, "x", room=1)
        await store.append(number, 0, part, room=1, silence_s=60.0)
        with pytest.raises(Overloaded, match=r"jobs\.max_bytes"):
            await store.append(number, 1, part, room=1, silence_s=60.0)
        with pytest.raises(Overloaded, match=r"jobs\.max_bytes"):
            await begin(store, "y", room=1)
        await store.forget(number)
        await begin(store, "y", room=1)

    play(database_url, story)


def test_what_is_kept_no_longer_is_deleted(database_url: URL) -> None:
    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        await add(store, "x", part=[Item("i", uri="u")])
        await add(store, "y")
        job = await claimed(store)
        await store.finish(job, "succeeded", Progress(1, 0, 1), result=b"{}")
        assert await store.sweep(keep_s=3600, replies_s=3600) > 0
        assert await store.counts() == {"succeeded": 1, "queued": 1}
        assert await store.sweep(keep_s=-1, replies_s=3600) == 0
        assert await store.counts() == {"queued": 1}
        assert await store.result(job.number) is None

    play(database_url, story)


def test_a_pool_comes_out_as_it_went_in(database_url: URL) -> None:
    pool: list[Item | Failure] = [
        Item("b", blob=bytes(range(256)), group="g"),
        Item("t", text="\u2028 \x00 \U0001f642"),
        Failure("f", "fetch", "invalid_blob", "no base64"),
        *(Item(f"u{row}", uri=f"https://e.org/{row}") for row in range(ITEMS)),
    ]

    async def arriving() -> AsyncIterator[Part]:
        for start in range(0, len(pool), 7):
            yield pool[start : start + 7]

    async def story(database: Database) -> None:
        store = JobStore(database, "here")
        number = await begin(store, "x")
        seq = 0
        async for part in cut(arriving()):
            await store.append(number, seq, part, room=ROOM, silence_s=60.0)
            seq += 1
        job = await store.accept(number)
        assert (seq, job.items) == (2, len(pool))
        stored = StoredPool(database, number)
        for _ in range(2):  # it can be read again
            assert [item async for part in stored for item in part] == pool
        assert await stored.blobs({"b", "t"}) == {"b": bytes(range(256))}

    play(database_url, story)
