"""Who calls, from where, and what is open to them."""

from __future__ import annotations

import asyncio
import hmac
import json
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import ValidationError
from starlette.routing import WebSocketRoute
from test_pipeline_engine import Toy
from test_service import service

from alaas.config import Settings, load
from alaas.config.access import AuthSettings
from alaas.core import keys
from alaas.core.errors import ConfigError, Forbidden, HostRefused, Unauthenticated
from alaas.server import http, scopes
from alaas.server.auth import Access, Caller, is_forwarded, is_loopback, served
from alaas.server.grpc_guard import is_local
from alaas.server.hosts import Hosts

ONE, OTHER = keys.make(), keys.make()


def settings(**more: Any) -> AuthSettings:
    return AuthSettings.model_validate(more)


def entry(name: str, key: str, *scopes: str) -> dict[str, Any]:
    return {"name": name, "sha256": keys.digest(key), "scopes": scopes or ("query",)}


KEYED = settings(keys=[entry("one", ONE), entry("other", OTHER, "query", "admin")])


def bearer(key: str) -> list[bytes]:
    return [f"Bearer {key}".encode()]


def test_a_key_is_new_long_and_known_by_its_looks() -> None:
    made = {keys.make() for _ in range(100)}
    assert len(made) == 100
    assert {len(key) for key in made} == {len("alaas_") + 43}
    assert all(key.startswith("alaas_") for key in made)


def test_a_holder_has_the_name_and_the_scopes_of_the_key() -> None:
    access = Access(KEYED)
    assert access.identify(bearer(ONE), local=False) == Caller("one", frozenset({"query"}))
    assert access.identify(bearer(OTHER), local=False).scopes == {"query", "admin"}
    assert access.identify([f"bEARER  {ONE} ".encode()], local=False).name == "one"


@pytest.mark.parametrize(
    "shown",
    [
        [],
        [b""],
        [b"Bearer"],
        [b"Bearer "],
        bearer(ONE[:-1]),
        bearer(ONE + "x"),
        bearer(keys.digest(ONE)),
        [f"Basic {ONE}".encode()],
        [ONE.encode()],
        [*bearer(ONE), *bearer(ONE)],
        [b"Bearer \xff\xfe"],
    ],
)
def test_whatever_is_wrong_the_words_are_the_same(shown: list[bytes]) -> None:
    for local in (True, False):
        with pytest.raises(Unauthenticated) as caught:
            Access(KEYED).identify(shown, local=local)
        with pytest.raises(Unauthenticated) as nothing:
            Access(KEYED).identify([], local=False)
        assert caught.value.detail == nothing.value.detail


def test_every_key_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared, real = [], hmac.compare_digest

    def compare(left: str, right: str) -> bool:
        compared.append(left)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    Access(KEYED).identify(bearer(ONE), local=True)
    assert compared == [key.sha256 for key in KEYED.keys]


def test_callers_without_a_key() -> None:
    both, query = frozenset({"query", "admin"}), frozenset({"query"})
    assert Access(settings()).identify([], local=True) == Caller("anonymous", both)
    with pytest.raises(Unauthenticated, match="anonymous: true"):
        Access(settings()).identify([], local=False)
    everybody = Access(settings(anonymous=True))
    assert everybody.identify([], local=True).scopes == both
    assert everybody.identify([], local=False).scopes == query
    # Somebody who shows a key, where none is known, is whoever they are without it.
    assert everybody.identify(bearer(ONE), local=False).name == "anonymous"


def test_with_keys_and_for_everybody() -> None:
    access = Access(settings(keys=[entry("one", ONE, "admin")], anonymous=True))
    for local in (True, False):
        assert access.identify([], local=local).scopes == {"query"}
        assert access.identify(bearer(ONE), local=local).name == "one"
        with pytest.raises(Unauthenticated):
            access.identify(bearer(OTHER), local=local)


def test_admin_opens_everything() -> None:
    Caller("a", frozenset({"admin"})).check("query")
    Caller("a", frozenset({"query"})).check("query")
    with pytest.raises(Forbidden, match="'admin'"):
        Caller("a", frozenset({"query"})).check("admin")


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("::ffff:127.0.0.1", True),
        ("::1%lo", True), ("10.0.0.1", False), ("0.0.0.0", False), ("::", False),
        ("fe80::1%eth0", False), ("::ffff:10.0.0.1", False), ("", False), ("localhost", False),
        ("::127.0.0.1", False), ("127.1", False),
    ],
)  # fmt: skip
def test_loopback(host: str, own: bool) -> None:
    assert is_loopback(host) == own


@pytest.mark.parametrize(
    ("peer", "own"),
    [
        ("ipv4:127.0.0.1:50051", True), ("ipv6:%5B::1%5D:50051", True), ("ipv6:[::1]:5", True),
        ("unix:", True), ("unix:/run/alaas.sock", True), ("unix-abstract:x", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:1", True), ("ipv4:10.0.0.1:50051", False),
        ("ipv6:%5Bfe80::1%25eth0%5D:1", False), ("", False), ("ipv4:", False), ("127.0.0.1", False),
    ],
)  # fmt: skip
def test_local_peers_of_grpc(peer: str, own: bool) -> None:
    assert is_local(peer) == own


def test_headers_of_proxies() -> None:
    assert is_forwarded(["host", "x-forwarded-proto"])
    assert not is_forwarded(["host", "x-forwarder", "x-request-id"])


@pytest.mark.parametrize(
    "origin", ["http://localhost:8081", "https://localhost", "HTTP://Localhost"]
)
def test_pages_of_the_same_host(origin: str) -> None:
    host = {"http://localhost:8081": "localhost:8081"}.get(origin, "localhost")
    Hosts(settings()).check_origin([origin], host)


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("null", "localhost"), ("", "localhost"), ("http://localhost:1", "localhost"),
        ("https://localhost", "localhost:80"), ("http://localhost.evil", "localhost"),
        ("http://localhost@evil", "localhost"), ("file://localhost", "localhost"),
        ("http://localhost:99999", "localhost"), ("http://[::1", "[::1"), ("http://a b", "a b"),
    ],
)  # fmt: skip
def test_pages_of_other_hosts(origin: str, host: str) -> None:
    with pytest.raises(Forbidden):
        Hosts(settings(origins="https://page.example")).check_origin([origin], host)


def test_a_listed_origin_is_one_exactly() -> None:
    hosts = Hosts(settings(origins=["https://page.example", "http://[::1]:3000"]))
    hosts.check_origin([], "a")
    hosts.check_origin(["https://page.example"], "a")
    hosts.check_origin(["http://[::1]:3000"], "a")
    for other in ("http://page.example", "https://page.example:444", "https://a.page.example"):
        with pytest.raises(Forbidden):
            hosts.check_origin([other], "a")
    with pytest.raises(Forbidden):
        hosts.check_origin(["https://page.example", "https://page.example"], "a")


def test_hosts_by_name() -> None:
    listed = Hosts(settings(hosts=["Alaas.example"], anonymous=True))
    for host in ("alaas.example", "ALAAS.example:8081", "alaas.example.", "10.0.0.1", "localhost"):
        listed.check_host([host])
    for other in ("a.alaas.example", "alaas", "2130706433"):
        with pytest.raises(HostRefused):
            listed.check_host([other])
    Hosts(KEYED).check_host(["whatever.example"])
    with pytest.raises(HostRefused):
        Hosts(settings(anonymous=True, keys=[entry("one", ONE)])).check_host(["whatever.example"])


@pytest.mark.parametrize(
    "headers",
    [[], ["a", "a"], [""], ["a/?x="], ["a b"], ["[::1"], ["a:b"], ["a:123456"], ["a@b"], ["a\n"]],
)
def test_what_is_no_host(headers: list[str]) -> None:
    for named in (True, False):
        with pytest.raises(HostRefused):
            Hosts(KEYED).check_host(headers, named=named)


def test_who_is_served_is_said_in_words() -> None:
    assert served(settings()).startswith("callers on this machine only")
    assert served(settings(anonymous=True)).startswith("everybody")
    assert served(KEYED) == "callers with an API key: one, other"
    assert "everybody" in served(settings(anonymous=True, keys=[entry("one", ONE)]))


def test_the_table_has_every_route_and_no_other() -> None:
    found: dict[str, set[str]] = {}
    for route in http.create_app(service(Toy())).routes:
        taken = (
            {scopes.WEBSOCKET}
            if isinstance(route, WebSocketRoute)
            else cast("Any", route).methods - {"HEAD"}
        )
        found.setdefault(cast("Any", route).path, set()).update(taken)
    assert found == {path: set(methods) for path, methods in scopes.ROUTES.items()}


def test_a_route_that_is_not_in_the_table_is_not_there() -> None:
    async def ask(app: Any, path: str) -> int:
        answers: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Any) -> None:
            answers.append(message)

        headers = [(b"host", b"localhost"), (b"authorization", bearer(OTHER)[0])]
        scope = {
            "type": "http", "method": "GET", "path": path, "raw_path": path.encode(),
            "query_string": b"", "headers": headers, "client": ("127.0.0.1", 1),
            "http_version": "1.1", "scheme": "http", "root_path": "", "server": ("localhost", 80),
        }  # fmt: skip
        await app(scope, receive, send)
        return int(answers[0]["status"])

    app = http.create_app(service(Toy()))

    @app.get("/new")
    async def new() -> str:
        return "open"

    assert asyncio.run(ask(app, "/strategies")) == 200
    assert asyncio.run(ask(app, "/new")) == 404


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": [{"name": "a", "sha256": "alaas_secret"}]},
        {"keys": [{"name": "a", "key": "alaas_secret"}]},
        {"keys": [{**entry("a", ONE), "alaas_secret": 1}]},
        {"keys": ["alaas_secret"]},
        {"keys": "alaas_secret"},
    ],
)
def test_a_key_in_the_wrong_place_is_not_repeated(wrong: Any, tmp_path: Path) -> None:
    file = tmp_path / "config.yml"
    file.write_text(json.dumps({"auth": wrong}))
    with pytest.raises(ConfigError, match="alaas keys new") as caught:
        load(file, environ={})
    assert "secret" not in caught.value.detail


@pytest.mark.parametrize(
    "wrong",
    [
        {"keys": [entry("a", ONE), entry("a", OTHER)]},
        {"keys": [entry("a", ONE), entry("b", ONE)]},
        {"keys": [entry("anonymous", ONE)]},
        {"keys": [{**entry("a", ONE), "scopes": []}]},
        {"origins": "*"}, {"origins": "null"}, {"origins": "https://page.example/"},
        {"origins": "page.example"}, {"hosts": "https://a"}, {"hosts": "a:80"}, {"hosts": "*"},
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"auth": wrong})
