"""The awaitable twins: the same answers, and cancelling the task gives the call up."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
from client_servers import SERVERS, STRATEGIES, WAIT_S, Service

from alaas.client import Client
from alaas.core.errors import EmptyInput

pytestmark = pytest.mark.filterwarnings("ignore:one host was slow", "ignore:1 items could not")
TWINS = (
    "query", "query_by_uri", "query_by_text", "query_by_images", "push", "pools", "delete_pool",
    "strategies",
)  # fmt: skip


@pytest.fixture(params=SERVERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_twins_answer_alike(family: str, tmp_path: Path) -> None:
    paths = [tmp_path / "a", tmp_path / "b"]
    for path in paths:
        path.write_bytes(b"pixels")

    async def ask(client: Client) -> None:
        assert (await client.aquery(["x", "y"], 1, seed=3)).uris == ["y"]
        assert await client.aquery_by_uri(["x", "y"], 1) == ["y"]
        assert await client.aquery_by_text(["x", "y"], budget=1) == ["y"]
        assert await client.aquery_by_images(paths, 1) == [paths[1]]
        assert await client.astrategies() == STRATEGIES
        with pytest.raises(EmptyInput):
            await client.aquery([], 1)

    with SERVERS[family](Service()) as address, Client(address) as client:
        asyncio.run(ask(client))


def test_many_at_once(family: str) -> None:
    async def ask(client: Client) -> list[list[str]]:
        pools = [[f"{pool}/{row}" for row in range(40)] for pool in range(8)]
        return await asyncio.gather(*(client.aquery_by_uri(pool, 1) for pool in pools))

    with SERVERS[family](Service()) as address, Client(address) as client:
        assert asyncio.run(ask(client)) == [[f"{pool}/39"] for pool in range(8)]


def test_cancelling_the_task_ends_the_call(family: str) -> None:
    service = Service(hold=Event())
    assert service.hold is not None

    async def ask(client: Client) -> None:
        task = asyncio.create_task(client.aquery(["x", "y"], 1))
        assert await asyncio.to_thread(service.arrived.wait, WAIT_S)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(service.gone.wait, WAIT_S)

    with SERVERS[family](service) as address, Client(address) as client:
        try:
            # Leaving the loop waits for its worker threads: the call must have ended.
            asyncio.run(ask(client))
        finally:
            service.hold.set()
        service.hold = None
        assert client.query(["x", "y"], 1).uris == ["y"]


def test_a_cancelled_call_leaves_others_alone(family: str) -> None:
    service = Service(hold=Event())
    assert service.hold is not None
    other = Service()

    async def ask(client: Client, witness: Client) -> None:
        task = asyncio.create_task(client.aquery(["x", "y"], 1))
        assert await asyncio.to_thread(service.arrived.wait, WAIT_S)

        def pool() -> Iterator[str]:
            yield "x"
            loop.call_soon_threadsafe(task.cancel)
            assert service.gone.wait(WAIT_S)
            yield "y"

        loop = asyncio.get_running_loop()
        assert (await witness.aquery(pool(), 1)).uris == ["y"]
        with pytest.raises(asyncio.CancelledError):
            await task

    with (
        SERVERS[family](service) as address,
        SERVERS[family](other) as elsewhere,
        Client(address) as client,
        Client(elsewhere) as witness,
    ):
        try:
            asyncio.run(ask(client, witness))
        finally:
            service.hold.set()


def test_works_inside_a_running_loop(family: str) -> None:
    async def ask(client: Client) -> list[str]:
        return client.query_by_uri(["x", "y"], 1)  # as a cell of a notebook does

    with SERVERS[family](Service()) as address, Client(address) as client:
        assert asyncio.run(ask(client)) == ["y"]


@pytest.mark.parametrize("name", TWINS)
def test_twins_have_the_same_signature(name: str) -> None:
    twin = getattr(Client, f"a{name}")
    assert inspect.iscoroutinefunction(twin)
    assert inspect.signature(twin).parameters == inspect.signature(getattr(Client, name)).parameters
    assert twin.__qualname__ == f"Client.a{name}"
