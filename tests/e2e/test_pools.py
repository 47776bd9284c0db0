"""Stored pools over every protocol: pushed, listed, chosen from, replaced, gone."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from local_servers import free_ports

from alaas.client import Client
from alaas.config import Settings, StoreSettings
from alaas.core import errors
from alaas.server import Server

PROTOCOLS = ("http", "ws", "grpc")
LINES = {"Content-Type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def server(
    make_settings: Callable[..., Settings], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """A server with a store of its own."""
    port, other = free_ports(2)
    settings = make_settings(protocol=list(PROTOCOLS), count=1)
    worker = settings.active_learning.al_worker.model_copy(update={"port": (port, port, other)})
    learning = settings.active_learning.model_copy(update={"al_worker": worker})
    store = StoreSettings(url=str(tmp_path_factory.mktemp("store")))
    changed = {"active_learning": learning, "store": store}
    with Server(settings.model_copy(update=changed)) as running:
        yield running


@pytest.fixture(scope="module")
def paths(photos: Path) -> list[str]:
    return [str(path) for path in sorted(photos.iterdir())]


@pytest.fixture(params=PROTOCOLS)
def client(request: pytest.FixtureRequest, server: Server) -> Iterator[Client]:
    with Client(server.urls[request.param]) as client:
        yield client
        for pool in client.pools():
            client.delete_pool(pool.name)


def test_push_choose_and_delete(client: Client, paths: list[str]) -> None:
    pool = paths[:300]
    pushed = client.push([*pool, "gone.png"], "street/one")
    assert (pushed.pool.name, pushed.pool.items) == ("street/one", 300)
    assert [failure.code for failure in pushed.failures] != []
    assert {"probs", "embeddings"} <= pushed.pool.views.keys()
    assert client.pools() == [pushed.pool]
    for strategy in ("entropy", "KCenterGreedy"):
        stored = client.query(None, 15, pool="street/one", strategy=strategy, seed=3)
        sent = client.query([*pool, "gone.png"], 15, strategy=strategy, seed=3)
        assert stored.uris == sent.uris, strategy
        assert stored.receipt == sent.receipt
        assert stored.timings.stages["infer"].hits == 300
        assert stored.timings.stages["fetch"].busy_s == 0  # nobody asks for what is stored with it
    client.delete_pool("street/one")
    assert client.pools() == []
    with pytest.raises(errors.UnknownPool):
        client.delete_pool("street/one")
    with pytest.raises(errors.UnknownPool):
        client.query(None, 15, pool="street/one")


def test_a_name_has_one_pool(client: Client, paths: list[str]) -> None:
    client.push(paths[:40], "street")
    client.push(paths[40:60], "street")
    (pool,) = client.pools()
    assert pool.items == 20
    assert set(client.query(None, 20, pool="street").uris) == set(paths[40:60])


def test_a_pool_whose_time_is_over(client: Client, paths: list[str]) -> None:
    kept = client.push(paths[:20], "kept", ttl_s=3600)
    assert kept.pool.expires == pytest.approx(kept.pool.created + 3600)
    client.push(paths[:20], "gone", ttl_s=1e-6)
    assert [pool.name for pool in client.pools()] == ["kept"]
    with pytest.raises(errors.UnknownPool):
        client.query(None, 1, pool="gone")


def test_what_a_push_refuses(client: Client, paths: list[str]) -> None:
    refusals: list[tuple[list[str], dict[str, Any], type[errors.AlaasError]]] = [
        ([], {"pool": "x"}, errors.EmptyInput),
        (paths[:2], {"pool": ""}, errors.ValidationFailed),
        (paths[:2], {"pool": "x", "ttl_s": -1}, errors.ValidationFailed),
        (paths[:2], {"pool": "x", "strategy": "Nothing"}, errors.UnknownStrategy),
        (["gone.png"], {"pool": "x"}, errors.AllItemsFailed),
    ]
    for items, asked, kind in refusals:
        with pytest.raises(kind):
            client.push(items, **asked)
    assert client.pools() == []


def test_divide_mode(client: Client, paths: list[str]) -> None:
    pool = paths[:700]
    assert client.query_by_uri(pool, 9, divide_mode=True) == client.query_by_uri(pool, 9)
    assert client.query_by_images(pool, 9, divide_mode=True) == client.query_by_uri(pool, 9)
    assert client.pools() == []


def test_divide_mode_of_texts(client: Client) -> None:
    with pytest.raises(errors.AllItemsFailed):
        client.query_by_text(["one", "two"], 1, divide_mode=True)
    assert client.pools() == []


def test_a_pool_of_bytes_is_chosen_from_by_any_strategy(client: Client, paths: list[str]) -> None:
    pool = [Path(path) for path in paths[:60]]
    client.push(pool, "bytes", n_drop=4)
    for strategy in ("entropy", "badge", "bald"):
        picked = client.query(None, 5, pool="bytes", strategy=strategy, n_drop=4)
        assert set(picked.ids) <= {str(path) for path in pool}
        assert len(picked) == 5


def test_http_addresses(server: Server, paths: list[str]) -> None:
    url = server.urls["http"]
    body = {"data": paths[:30], "parameters": {"pool": "a b/c", "ttlS": 60}}
    pushed = requests.post(f"{url}/push", json=body, timeout=60).json()
    assert pushed["pool"]["items"] == 30
    assert requests.get(f"{url}/pools", timeout=60).json() == {"pools": [pushed["pool"]]}
    assert requests.get(f"{url}/pools/a%20b/c", timeout=60).json() == pushed["pool"]
    asked = {"parameters": {"pool": "a b/c", "budget": 4}}
    answer = requests.post(f"{url}/query", json=asked, timeout=60).json()
    assert len(answer["data"]) == 4
    assert set(answer["timings"]["stages"]["infer"]) == {
        "busy_s", "wait_s", "items", "bytes", "hits",
    }  # fmt: skip
    figures = requests.get(f"{url}/metrics", timeout=60).text
    assert "alaas_pools 1.0" in figures
    assert 'alaas_cache_hits_total{stage="infer"}' in figures
    gone = requests.delete(f"{url}/pools/a%20b%2Fc", timeout=60)
    assert (gone.status_code, gone.content) == (204, b"")
    again = requests.get(f"{url}/pools/a%20b/c", timeout=60)
    assert (again.status_code, again.json()["code"]) == (404, "unknown_pool")
    both = requests.post(f"{url}/query", json={**asked, "data": paths[:2]}, timeout=60)
    assert (both.status_code, both.json()["errors"][0]["pointer"]) == (422, "/data")


def test_the_push_of_earlier_releases(server: Server, paths: list[str]) -> None:
    url = server.urls["http"]
    body = {"data": [{"uri": path} for path in paths[:10]], "execEndpoint": "/push"}
    answer = requests.post(f"{url}/post", json=body, timeout=60).json()
    assert answer["header"]["execEndpoint"] == "/push"
    assert (answer["pool"]["name"], answer["pool"]["items"]) == ("default", 10)
    assert requests.delete(f"{url}/pools/default", timeout=60).status_code == 204


def lines(parameters: dict[str, Any], items: Iterator[Any]) -> Iterator[bytes]:
    yield json.dumps({"parameters": parameters}).encode() + b"\n"
    for item in items:
        yield (item if isinstance(item, bytes) else json.dumps(item).encode()) + b"\n"


def test_a_pool_in_lines(server: Server, paths: list[str]) -> None:
    url = server.urls["http"]
    documents = ({"uri": path} for path in paths)
    answer = requests.post(
        f"{url}/query", data=lines({"budget": 7}, documents), headers=LINES, timeout=300
    ).json()
    assert answer["receipt"]["pool_size"] == len(paths)
    with Client(server.urls["grpc"]) as client:
        assert [pick["uri"] for pick in answer["data"]] == client.query(paths, 7).uris


@pytest.mark.parametrize(
    ("broken", "status", "pointer"),
    [
        (b'{"uri": ', 400, "/line/2502"),
        (b'{"uri": 7}', 422, "/line/2502/uri"),
        (b"7", 422, "/line/2502"),
    ],
)
@pytest.mark.parametrize("path", ["query", "push"])
def test_a_broken_line_is_named(
    server: Server, paths: list[str], path: str, broken: bytes, status: int, pointer: str
) -> None:
    documents = itertools.chain(paths[:2500], (broken,), paths[2500:])
    parameters = {"query": {"budget": 7}, "push": {"pool": "never"}}[path]
    answer = requests.post(
        f"{server.urls['http']}/{path}", data=lines(parameters, documents), headers=LINES,
        timeout=300,
    )  # fmt: skip
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer)
    assert pointer in answer.json()["detail"]
    assert requests.get(f"{server.urls['http']}/pools", timeout=60).json() == {"pools": []}


def test_a_refusal_ends_an_endless_pool(server: Server) -> None:
    pool = (f"x/{row}" for row in itertools.count())
    with Client(server.urls["http"]) as client, pytest.raises(errors.UnknownStrategy):
        client.query(pool, 1, strategy="Nothing")
