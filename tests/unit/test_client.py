"""The client against real servers: every transport gives the same answer and errors."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from client_servers import SERVERS, STRATEGIES, STREAMS, WAIT_S, Service, choose_last

from alaas.client import Client, Item
from alaas.core.errors import (
    AllItemsFailed,
    ConnectionFailed,
    DeadlineExceeded,
    EmptyInput,
    ItemFailed,
    UnknownStrategy,
    ValidationFailed,
)


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


@pytest.mark.filterwarnings("ignore:one host was slow", "ignore:[0-9]+ items could not")
class TestParity:
    def test_same_result(self, client: Client, service: Service) -> None:
        items: list[str | Item | dict[str, str]] = [
            "http://a/0.png",
            Item("b", uri="http://a/1.png"),
            {"text": "c"},
        ]
        result = client.query(
            items, 2, strategy="badge", params={"draws": 3}, seed=5, calibrate="dirichlet",
            on_item_error="skip",
        )  # fmt: skip
        parameters = {"budget": 2, "strategy": "badge", "params": {"draws": 3}, "seed": 5}
        sent = [Item("0", uri="http://a/0.png"), Item("b", uri="http://a/1.png")]
        assert result.response == choose_last(parameters, [*sent, Item("2", text="c")])
        assert service.asked == [
            (
                {**parameters, "calibrate": "dirichlet", "on_item_error": "skip"},
                [*sent, Item("2", text="c")],
            )
        ]

    def test_bytes_arrive(self, client: Client, service: Service, tmp_path: Path) -> None:
        path = tmp_path / "a.png"
        path.write_bytes(b"\x89PNG\x00")
        result = client.query([path, b"\xff\xd8", {"id": "m", "blob": b"\x00"}], 3)
        (_, items), *_ = service.asked
        assert items == [
            Item(str(path), blob=b"\x89PNG\x00"),
            Item("1", blob=b"\xff\xd8"),
            Item("m", blob=b"\x00"),
        ]
        assert result.ids == ["m", "1", str(path)]

    def test_error_of_the_server(self, client: Client, service: Service) -> None:
        def refuse(parameters: dict[str, Any], _: object) -> Any:
            raise UnknownStrategy(f"no strategy {parameters['strategy']!r}")

        service.reply = refuse
        with pytest.raises(UnknownStrategy, match="no strategy 'bdge'"):
            client.query(["http://a/0.png"], 1, strategy="bdge")

    def test_strategies(self, client: Client) -> None:
        assert client.strategies() == STRATEGIES

    def test_large_pool_arrives_whole(self, client: Client, service: Service) -> None:
        uris = [f"http://a/{row}.png" for row in range(2000)]
        assert client.query_by_uri(uris, 2) == ["http://a/1999.png", "http://a/1998.png"]
        (_, items), *_ = service.asked
        assert [item.uri for item in items] == uris

    def test_deadline(self, family: str, service: Service) -> None:
        service.hold = Event()
        with SERVERS[family](service) as address, Client(address, timeout=0.3) as client:
            try:
                with pytest.raises(DeadlineExceeded, match=r"within 0\.3 s|Deadline Exceeded"):
                    client.query(["http://a/0.png"], 1)
            finally:
                service.hold.set()

    def test_nobody_listens(self, family: str) -> None:
        with SERVERS[family](Service()) as address:
            pass
        with Client(address) as client:
            for ask in (lambda: client.query(["http://a/0.png"], 1), client.strategies):
                with pytest.raises(ConnectionFailed) as caught:
                    ask()
                port = address.rpartition(":")[2]
                assert f"localhost:{port}" in caught.value.detail
                assert "refused" in caught.value.detail.lower() or "111" in caught.value.detail

    def test_the_pools_own_error_is_raised_as_it_is(self, client: Client) -> None:
        def pool() -> Iterator[str]:
            yield "http://a/0.png"
            raise OSError("the disk is gone")

        with pytest.raises(OSError, match=r"^the disk is gone$"):
            client.query(pool(), 1)

    def test_bad_parameter(self, client: Client, service: Service) -> None:
        with pytest.raises(ValidationFailed, match="not a JSON value"):
            client.query(["http://a/0.png"], 1, params={"x": object()})
        with pytest.raises(ValidationFailed, match="not a JSON value"):
            client.query(["http://a/0.png"], 1, params={"x": float("nan")})
        assert service.asked == []

    def test_numbers_of_numerical_libraries(self, client: Client, service: Service) -> None:
        numpy = pytest.importorskip("numpy")
        client.query(["http://a/0.png"], numpy.int64(1), params={"w": numpy.arange(2)})
        (parameters, _), *_ = service.asked
        assert parameters == {"budget": 1, "params": {"w": [0, 1]}}

    def test_after_close(self, client: Client) -> None:
        client.close()
        with pytest.raises(ConnectionFailed, match="is closed"):
            client.query(["http://a/0.png"], 1)


@pytest.mark.filterwarnings("ignore:one host was slow", "ignore:[0-9]+ items could not")
class TestCallersOfEarlierReleases:
    def test_uris_may_repeat(self, client: Client) -> None:
        assert client.query_by_uri(["x", "y", "y"], budget=2, divide_mode=True) == ["y", "y"]

    def test_texts(self, client: Client, service: Service) -> None:
        assert client.query_by_text(("one", "two"), 1, n_drop=4) == ["two"]
        assert service.asked[0][0] == {"budget": 1, "n_drop": 4}

    def test_images_come_back_as_they_were_given(self, client: Client, tmp_path: Path) -> None:
        paths = [tmp_path / "a", tmp_path / "b"]
        for path in paths:
            path.write_bytes(b"pixels")
        assert client.query_by_images(paths, 1) == [paths[1]]
        assert client.query_by_images([str(path) for path in paths], 1) == [str(paths[1])]

    def test_what_a_list_cannot_say_is_a_warning(self, client: Client) -> None:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            client.query_by_uri(["x", "y"], 1)
        assert [str(one.message) for one in caught] == [
            "one host was slow",
            "1 items could not be ranked, the first one: gone. Client.query lists them all.",
        ]
        assert {one.filename for one in caught} == {__file__}


class TestUnreadableFiles:
    def test_are_failures(self, client: Client, tmp_path: Path) -> None:
        (tmp_path / "b").write_bytes(b"pixels")
        result = client.query([tmp_path / "a", tmp_path / "b"], 1)
        assert result.ids == [str(tmp_path / "b")]
        assert result.failures[0].id == str(tmp_path / "a")
        assert result.failures[0].code == "unreadable_file"
        assert "No such file" in result.failures[0].message

    def test_raise_where_asked(self, client: Client, service: Service, tmp_path: Path) -> None:
        with pytest.raises(ItemFailed, match="No such file"):
            client.query([tmp_path / "a"], 1, on_item_error="fail")
        assert service.parts == []

    def test_nothing_left(self, client: Client, tmp_path: Path) -> None:
        with pytest.raises(AllItemsFailed, match="none of 1 items can be read"):
            client.query([tmp_path / "a"], 1)

    def test_empty_pool_is_the_servers_to_judge(self, client: Client) -> None:
        with pytest.raises(EmptyInput, match=r"^the pool has no items$"):
            client.query([], 1)


@pytest.mark.parametrize("one", ["photos", b"\xff", Path("photos"), {"uri": "x"}, Item("x")])
def test_one_item_is_no_pool(one: Any) -> None:
    with Client("http://localhost:1") as client, pytest.raises(ValidationFailed, match="got one"):
        client.query(one, 1)


@pytest.mark.parametrize(("ask", "row"), [("query_by_uri", 3), ("query_by_images", 4)])
def test_wrong_types_name_their_row(ask: str, row: Any, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"pixels")
    with (
        Client("http://localhost:1") as client,
        pytest.raises(ValidationFailed, match=r"^/data/1: must be .* got int$"),
    ):
        getattr(client, ask)([str(tmp_path / "a"), row], 1)


@pytest.mark.parametrize("family", STREAMS)
class TestStreams:
    def test_the_pool_is_read_as_it_is_sent(self, family: str, service: Service) -> None:
        def pool() -> Iterator[str]:
            yield from (f"http://a/{row}.png" for row in range(512))
            assert service.arrived.wait(WAIT_S)
            yield "http://a/512.png"

        with SERVERS[family](service) as address, Client(address) as client:
            assert client.query(pool(), 1).ids == ["512"]
        assert service.parts == [512, 1]

    def test_an_early_refusal_ends_an_endless_pool(self, family: str, service: Service) -> None:
        service.refuse = ValidationFailed("the pool is larger than 512 items")
        pool = (f"http://a/{row}.png" for row in itertools.count())
        with (
            SERVERS[family](service) as address,
            Client(address) as client,
            pytest.raises(ValidationFailed, match="larger than 512 items"),
        ):
            client.query(pool, 1)

    def test_progress_is_shown(
        self, family: str, service: Service, capsys: pytest.CaptureFixture[str]
    ) -> None:
        uris = [f"http://a/{row}.png" for row in range(600)]
        with SERVERS[family](service) as address:
            Client(address, progress=True).query(uris, 1)
            assert "ranked: 600 items" in capsys.readouterr().err
            Client(address, progress=False).query(uris, 1)
            Client(address).query(uris, 1)
        assert capsys.readouterr().err == ""


def test_http_shows_no_progress(service: Service, capsys: pytest.CaptureFixture[str]) -> None:
    with SERVERS["http"](service) as address:
        Client(address, progress=True).query(["http://a/0.png"], 1)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("server", ["ftp://a", "localhost:8081", "a", "", "HTTP+unix://a"])
def test_bad_schemes(server: str) -> None:
    with pytest.raises(ValueError, match=r"is not a valid scheme.*http, https, ws, .*grpcs"):
        Client(server)


@pytest.mark.parametrize(
    "server", ["http://", "http://a:b@c", "http://a?b", "grpc://a/b", "http://a:99999"]
)
def test_bad_addresses(server: str) -> None:
    with pytest.raises(ValueError, match=r"scheme://|no path|0-65535"):
        Client(server)


@pytest.mark.parametrize(
    ("server", "shown"),
    [
        ("http://localhost:8081/", "http://localhost:8081"),
        ("https://a/b", "https://a:443/b"),
        ("websockets://a", "wss://a:443"),
        ("websocket://[::1]:9/x", "ws://[::1]:9/x"),
        ("grpcs://a:1", "grpcs://a:1"),
    ],
)
def test_addresses(server: str, shown: str) -> None:
    assert repr(Client(server)) == f"Client({shown!r})"


def test_bad_options(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="timeout must be more than 0"):
        Client("http://a", timeout=0)
    with pytest.raises(ValueError, match="got no file"):
        Client("https://a", verify=str(tmp_path / "none.pem"))
