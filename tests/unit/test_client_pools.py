"""Pools that a server stores: the same over every transport, and never held whole here."""

from __future__ import annotations

import asyncio
import itertools
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from client_servers import SERVERS, STREAMS, WAIT_S, Service, describe

from alaas.client import Client, Item, PushResult
from alaas.core.errors import (
    AllItemsFailed,
    ConnectionFailed,
    EmptyInput,
    StoreDisabled,
    UnknownPool,
    UnknownStrategy,
    ValidationFailed,
)

DELETING = ("http", "grpc")  # a small WebSocket server takes no DELETE; a real one does
QUIET = pytest.mark.filterwarnings("ignore:one host was slow", "ignore:[0-9]+ items could not")
URIS = [f"http://a/{row}.png" for row in range(5)]


@pytest.fixture(params=SERVERS)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def service() -> Service:
    return Service()


@pytest.fixture
def client(family: str, service: Service) -> Iterator[Client]:
    with SERVERS[family](service) as address, Client(address) as client:
        yield client


def test_a_push_says_what_was_stored(client: Client, service: Service, tmp_path: Path) -> None:
    result = client.push(
        [*URIS, tmp_path / "gone"], "street", ttl_s=60, n_drop=4, seed=3, strategy="bald",
        on_item_error="skip", timeout_s=9.5, cache=False,
    )  # fmt: skip
    sent = [Item(str(row), uri=uri) for row, uri in enumerate(URIS)]
    assert service.stored == {"street": sent[1:]}
    assert service.pushed == [
        {"pool": "street", "ttl_s": 60, "n_drop": 4, "seed": 3, "strategy": "bald",
         "on_item_error": "skip", "timeout_s": 9.5, "cache": False}
    ]  # fmt: skip
    assert result.pool == describe("street", sent[1:], 60)
    assert [failure.code for failure in result.failures] == [
        "unreadable_file", "upstream_not_found",
    ]  # fmt: skip
    timing = result.timings.stages["infer"]
    assert (timing.wait_s, timing.bytes, timing.hits) == (0.25, 4096, 3)
    assert result.timings.bottleneck == "infer"
    assert [warning.code for warning in result.warnings] == ["slow_host"]
    assert result.request_id == "r-2"
    assert repr(result) == "<PushResult: 4 items as 'street' in 2.5 s, 2 failed>"
    assert PushResult(type(result.response).from_json(result.to_json())) == result


def test_a_query_chooses_from_it(client: Client, service: Service) -> None:
    client.push(URIS, "street")
    assert client.query(None, 2, pool="street").uris == [URIS[4], URIS[3]]
    client.query(None, 2, pool="street", cache=False)
    assert service.asked == [
        ({"budget": 2, "pool": "street"}, []),
        ({"budget": 2, "pool": "street", "cache": False}, []),
    ]
    with pytest.raises(UnknownPool, match="'avenue'"):
        client.query(None, 2, pool="avenue")


def test_pools_are_listed(client: Client) -> None:
    assert client.pools() == []
    client.push(URIS, "street")
    (pool,) = client.pools()
    assert (pool.name, pool.items, pool.views) == ("street", 4, {"probs": (2,), "draws": (4, 2)})


@pytest.mark.parametrize("family", DELETING)
@pytest.mark.parametrize("name", ["street", "a/b c?#%2F", "日本"])
def test_a_pool_is_deleted_whatever_its_name(client: Client, service: Service, name: str) -> None:
    client.push(URIS, name)
    client.delete_pool(name)
    assert service.deleted == [name]
    with pytest.raises(UnknownPool):
        client.delete_pool(name)


def test_a_server_that_stores_nothing(client: Client, service: Service) -> None:
    service.stored = None
    with pytest.raises(StoreDisabled):
        client.pools()
    with pytest.raises(StoreDisabled):
        client.push(URIS, "street")


def test_items_or_a_pool(client: Client, service: Service) -> None:
    with pytest.raises(ValidationFailed, match="got neither"):
        client.query(None, 1)
    with pytest.raises(ValidationFailed, match="got both"):
        client.query(URIS, 1, pool="street")
    assert service.asked == []


def test_nothing_to_push(client: Client, tmp_path: Path) -> None:
    with pytest.raises(EmptyInput):
        client.push([], "street")
    with pytest.raises(AllItemsFailed, match="none of 1 items can be read"):
        client.push([tmp_path / "gone"], "street")


def test_after_close(client: Client) -> None:
    client.close()
    asks = (lambda: client.push(URIS, "x"), client.pools, lambda: client.delete_pool("x"))
    for ask in asks:
        with pytest.raises(ConnectionFailed, match="is closed"):
            ask()


@pytest.mark.parametrize("family", DELETING)
def test_twins(client: Client) -> None:
    async def ask() -> None:
        assert (await client.apush(URIS, "street")).pool.items == 4
        assert [pool.name for pool in await client.apools()] == ["street"]
        assert (await client.aquery(None, 1, pool="street")).uris == [URIS[4]]
        await client.adelete_pool("street")
        assert await client.apools() == []

    asyncio.run(ask())


@pytest.mark.parametrize("family", STREAMS)
def test_progress_of_a_push(client: Client) -> None:
    told: list[int] = []
    client.push(
        [f"u{row}" for row in range(600)], "street", on_progress=lambda p: told.append(p.done)
    )
    assert told == [512, 600]


@QUIET
class TestDivideMode:
    @pytest.mark.parametrize("family", DELETING)
    def test_stores_chooses_and_deletes(self, client: Client, service: Service) -> None:
        uris = [f"http://a/{row}.png" for row in range(1200)]
        assert client.query_by_uri(iter(uris), 2, divide_mode=True, n_drop=3) == [
            uris[1199], uris[1198],
        ]  # fmt: skip
        ((parameters, items),) = service.asked
        assert (parameters["budget"], parameters["n_drop"], items) == (2, 3, [])
        (pushed,) = service.pushed
        assert pushed == {"pool": parameters["pool"], "ttl_s": 3600, "n_drop": 3}
        assert service.deleted == [parameters["pool"]]
        assert sum(service.parts) == 1200
        assert max(service.parts) == 512

    def test_every_call(self, client: Client, tmp_path: Path) -> None:
        paths = [tmp_path / name for name in "abc"]
        for path in paths:
            path.write_bytes(b"pixels")
        assert client.query_by_text(["x", "y", "y"], 2, divide_mode=True) == ["y", "y"]
        assert client.query_by_images(paths, 1, divide_mode=True) == [paths[2]]
        assert client.query_by_images(iter(paths), 1, divide_mode=True) == [paths[2]]

    @pytest.mark.parametrize("family", DELETING)
    def test_is_cleaned_up_after_an_error(self, client: Client, service: Service) -> None:
        def refuse(*_: object) -> Any:
            raise UnknownStrategy("no such strategy")

        service.reply = refuse
        with pytest.raises(UnknownStrategy):
            client.query_by_uri(URIS, 1, divide_mode=True)
        assert service.stored == {}
        assert len(service.deleted) == 1

    def test_a_server_that_stores_nothing_gets_the_pool_with_the_query(
        self, client: Client, service: Service
    ) -> None:
        service.stored = None
        assert client.query_by_uri(iter(URIS), 1, divide_mode=True) == [URIS[4]]
        assert service.pushed == []

    def test_each_pool_has_a_name_of_its_own(self, client: Client, service: Service) -> None:
        for _ in range(2):
            client.query_by_uri(URIS, 1, divide_mode=True)
        assert len({parameters["pool"] for parameters in service.pushed}) == 2


class TestLines:
    """What HTTP does with a pool that is larger than one part."""

    def test_a_small_pool_is_one_document(self, service: Service) -> None:
        with SERVERS["http"](service) as address, Client(address) as client:
            client.query([f"u{row}" for row in range(512)], 1)
            client.query([bytes(700_000)], 1)
            client.query([f"u{row}" for row in range(513)], 1)
            client.push([bytes(700_000)] * 2, "street")
        document, lines = "application/json", "application/x-ndjson"
        assert service.bodies == [document, document, lines, lines]

    def test_a_pool_is_read_as_it_is_sent(self, service: Service) -> None:
        def pool() -> Iterator[str]:
            yield from (f"u{row}" for row in range(1024))
            assert service.arrived.wait(WAIT_S)
            yield "last"

        with SERVERS["http"](service) as address, Client(address) as client:
            assert client.query(pool(), 1).uris == ["last"]

    def test_an_early_refusal_ends_an_endless_pool(self, service: Service) -> None:
        service.refuse = ValidationFailed("the pool is larger than 512 items")
        pool = (f"http://a/{row}.png" for row in itertools.count())
        with (
            SERVERS["http"](service) as address,
            Client(address) as client,
            pytest.raises(ValidationFailed, match="larger than 512 items"),
        ):
            client.query(pool, 1)

    def test_an_error_of_a_long_pool_is_raised_as_it_is(self, service: Service) -> None:
        def pool() -> Iterator[str]:
            yield from (f"u{row}" for row in range(3000))
            raise OSError("the disk is gone")

        with (
            SERVERS["http"](service) as address,
            Client(address) as client,
            pytest.raises(OSError, match=r"^the disk is gone$"),
        ):
            client.query(pool(), 1)
        assert service.asked == []


@QUIET
@pytest.mark.parametrize(("ask", "divided"), [("query_by_uri", False), ("query_by_text", True)])
def test_memory_does_not_grow_with_the_pool(family: str, ask: str, divided: bool) -> None:
    took: list[int] = []
    with SERVERS[family](Service(memory=2)) as address, Client(address) as client:
        for size in (2_000, 16_000):
            pool = (f"https://example.com/{row:09}.jpg" for row in range(size))
            tracemalloc.start()
            chosen = getattr(client, ask)(pool, 1, divide_mode=divided)
            took.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
            assert chosen == [f"https://example.com/{size - 1:09}.jpg"]
    # Were they kept, 14,000 texts of 82 bytes would be 1.1 MB, before any list of them.
    assert took[1] < took[0] + 600_000
