"""The fetch stage where all is in order, and what it refuses without asking anyone."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from web_peers import LOOPBACK, Exchange, Peer, expect, failure, fetch, plain, run

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.types import Items, Raw
from alaas.core.wire import Item
from alaas.data import web
from alaas.data.fetch import Fetcher

# ---- what works


def test_rows_keep_the_order_of_the_pool_and_failures_stand_apart(tmp_path: Path) -> None:
    async def scenario() -> None:
        (tmp_path / "c.png").write_bytes(b"file")
        settings = LOOPBACK.model_copy(update={"roots": (tmp_path,)})
        async with Peer(plain) as peer:
            got = await fetch(
                Item("t", text="größe"),
                Item("h", uri=peer.uri("/x")),
                Item("none", uri=str(tmp_path / "none.png")),
                Item("f", uri=str(tmp_path / "c.png")),
                Item("b", blob=b"bytes"),
                Item("u", uri=(tmp_path / "c.png").as_uri()),
                settings=settings,
            )
        assert got.seq == 7
        assert got.raws == (
            Raw("t", "größe".encode(), is_text=True, digest=digest("größe".encode(), is_text=True)),
            Raw("h", b"body of /x", digest=digest(b"body of /x")),
            Raw("f", b"file", digest=digest(b"file")),
            Raw("b", b"bytes", digest=digest(b"bytes")),
            Raw("u", b"file", digest=digest(b"file")),
        )
        assert [(f.id, f.code, f.uri) for f in got.failures] == [
            ("none", "not_found", str(tmp_path / "none.png"))
        ]

    run(scenario())


def test_connections_are_kept_alive_and_bounded_per_host() -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            got = await fetch(*[peer.uri(f"/{i}") for i in range(40)], fetch_per_host=4)
            assert [raw.data for raw in got.raws] == [b"body of /%d" % i for i in range(40)]
            assert len(peer.requests) == 40
            assert peer.connections <= 4

    run(scenario())


@pytest.mark.parametrize(
    "limits",
    [
        {"fetch_per_host": 2},
        {"fetch_concurrency": 2},
        {"fetch_concurrency": 3, "fetch_per_host": 1},
    ],
)
def test_as_many_requests_as_allowed_run_at_once_and_no_more(limits: dict[str, Any]) -> None:
    """A request is answered when as many as are allowed have met; more would be counted."""
    hosts = (
        ["127.0.0.1"] if limits == {"fetch_per_host": 2} else [f"127.0.0.{i}" for i in (1, 2, 3)]
    )
    expected = 3 if limits.get("fetch_concurrency") == 3 else 2

    async def scenario() -> None:
        meeting = asyncio.Barrier(expected)
        active = most = 0

        async def meet(exchange: Exchange) -> None:
            nonlocal active, most
            active += 1
            most = max(most, active)
            await meeting.wait()
            active -= 1
            await exchange.answer(b"x")

        async with Peer(meet, host="0.0.0.0") as peer:
            uris = [peer.uri(f"/{i}", host=host) for i in range(4) for host in hosts]
            got = await fetch(*uris[: len(uris) // expected * expected], **limits)
        assert got.failures == ()
        assert most == expected

    run(scenario())


def test_the_request_is_plain_and_its_target_is_as_written(monkeypatch: pytest.MonkeyPatch) -> None:
    """Row 22 too: a proxy of the environment is not used."""

    async def scenario() -> None:
        async def sets_cookie(exchange: Exchange) -> None:
            await exchange.answer(b"x", Set_Cookie="a=b; Path=/")

        async with Peer(plain, host="127.0.0.9") as proxy, Peer(sets_cookie) as peer:
            for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
                monkeypatch.setenv(name, f"http://127.0.0.9:{proxy.port}")
            settings, limits = LOOPBACK, LimitsSettings()
            async with Fetcher(settings, limits) as fetcher:
                for row in range(2):
                    item = Item("a", uri=peer.uri("/%7Ea%2fb?sig=%2B/&x"))
                    assert (await fetcher.fetch(Items(row, (item,)))).failures == ()
            for request in peer.requests:
                assert request.target == "/%7Ea%2fb?sig=%2B/&x"
                assert request.headers["accept-encoding"] == "identity"
                assert not {"cookie", "authorization", "referer"} & request.headers.keys()
            assert len(peer.requests) == 2
            assert proxy.connections == 0

    run(scenario())


def test_a_fetcher_can_be_closed_twice_and_used_again() -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            fetcher = Fetcher(LOOPBACK, LimitsSettings())
            for _ in range(2):
                got = await fetcher.fetch(Items(0, (Item("a", uri=peer.uri()),)))
                assert got.failures == ()
                await fetcher.close()
            await fetcher.close()

    run(scenario())


# ---- inline content


@pytest.mark.parametrize(
    ("item", "code"),
    [
        (Item("i", text="x" * 11), "text_too_long"),
        (Item("i", text="\ud800"), "invalid_text"),
        (Item("i", blob=b"x" * 11), "object_too_large"),
        (Item("i"), "uri_invalid"),
        (Item("i", uri=""), "uri_invalid"),
    ],
)
def test_inline_content_has_limits_too(item: Item, code: str) -> None:
    run(expect(item, code, text_chars=10, object_bytes=10))


def test_content_at_its_limit_passes() -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            items = Item("t", text="ü" * 10), Item("b", blob=b"x" * 10), peer.uri("/1")
            got = await fetch(*items, text_chars=10, object_bytes=10)
            assert len(got.raws) == 3

    run(scenario())


# ---- what is not enabled


@pytest.mark.parametrize(
    ("uri", "settings", "code"),
    [
        ("file:///etc/passwd", FetchSettings(), "scheme_disabled"),
        ("/etc/passwd", FetchSettings(), "scheme_disabled"),
        ("a.png", FetchSettings(schemes=("https", "file")), "scheme_disabled"),
        ("data:image/png;base64,AA==", FetchSettings.anywhere(), "scheme_disabled"),
        ("s3://bucket/key", FetchSettings(buckets=("s3://bucket",)), "scheme_disabled"),
        ("http://1.1.1.1/", FetchSettings(schemes=("https",)), "scheme_disabled"),
        ("/etc/passwd", FetchSettings(roots=(Path(__file__).parent,)), "uri_blocked"),
        ("http://u:p@1.1.1.1/?token=s3cret", FetchSettings(), "uri_invalid"),
        ("http://1.1.1.1\r\nX: y/", FetchSettings(), "uri_invalid"),
        ("http:/x", FetchSettings(), "uri_invalid"),
    ],
)
def test_row23_what_is_not_enabled_is_refused(uri: str, settings: FetchSettings, code: str) -> None:
    async def scenario() -> None:
        failed = await failure(uri, settings=settings)
        assert failed.code == code
        assert not any(secret in failed.message for secret in ("s3cret", "u:p", "passwd"))

    run(scenario())


def test_row24_a_pipe_below_a_root_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    settings = FetchSettings(roots=(tmp_path,))
    run(expect(str(tmp_path / "pipe.png"), "uri_blocked", settings=settings))


def test_the_default_resolver_is_the_systems() -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            got = await fetch(peer.uri(host="localhost"), settings=FetchSettings.anywhere())
            assert len(got.raws) == 1

    run(scenario())
    assert issubclass(web.CheckedResolver, aiohttp.abc.AbstractResolver)
