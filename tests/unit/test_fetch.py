"""The fetch stage against peers that are slow, lying, hostile or simply in order.

The peers are raw servers on loopback, which the tests list as a network that may be
reached. None of these tests waits for a time to pass, other than a limit of the fetcher
that is set to be short.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from ipaddress import ip_network
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from alaas.config.tree import FetchSettings, LimitsSettings
from alaas.core.types import Items, Raw, Raws
from alaas.core.wire import Failure, Item
from alaas.data import web
from alaas.data.fetch import Fetcher
from alaas.data.network import UNREACHABLE

LOOPBACK = FetchSettings(networks=(ip_network("127.0.0.0/8"),))


class Exchange:
    """One request that a peer got, and the means to answer it."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        line, *fields = head.decode("latin-1").split("\r\n")
        self.target = line.split(" ")[1]
        self.headers = {k.lower(): v for k, _, v in (f.partition(": ") for f in fields if f)}
        self.reader, self.writer = reader, writer

    async def answer(self, body: bytes = b"", *, status: int = 200, **fields: str) -> None:
        fields.setdefault("Content_Length", str(len(body)))
        lines = [
            f"HTTP/1.1 {status} X",
            *(f"{k.replace('_', '-')}: {v}" for k, v in fields.items()),
        ]
        self.writer.write("\r\n".join([*lines, "", ""]).encode() + body)
        await self.writer.drain()

    async def until_left(self) -> None:
        """Return when the client has closed its side."""
        await self.reader.read()


Handler = Callable[[Exchange], Awaitable[None]]


class Peer:
    """A server on a free port of a loopback address; counts what reaches it."""

    def __init__(
        self, handler: Handler, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> None:
        self.handler, self.host, self.tls = handler, host, tls
        self.connections = 0
        self.requests: list[Exchange] = []
        self.left = asyncio.Event()

    async def __aenter__(self) -> Self:
        self.server = await asyncio.start_server(self.serve, self.host, 0, ssl=self.tls)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: Any, trace: TracebackType | None
    ) -> None:
        self.server.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                exchange = Exchange(await reader.readuntil(b"\r\n\r\n"), reader, writer)
                self.requests.append(exchange)
                await self.handler(exchange)
        except (OSError, asyncio.IncompleteReadError):
            self.left.set()
        finally:
            writer.close()

    def uri(self, path: str = "/a.png", *, host: str | None = None) -> str:
        return f"http://{host or self.host}:{self.port}{path}"


class Names(AbstractResolver):
    """A name service with a table; a list of answers is used up one lookup at a time."""

    def __init__(self, table: Mapping[str, list[list[str]]]) -> None:
        self.table, self.lookups = table, Counter[str]()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in self.table:
            raise OSError("unknown name")
        answers = self.table[host][min(self.lookups[host], len(self.table[host]) - 1)]
        self.lookups[host] += 1
        return [
            ResolveResult(
                hostname=host, host=one, port=port, proto=0, flags=socket.AI_NUMERICHOST,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
            )
            for one in answers
        ]  # fmt: skip

    async def close(self) -> None:
        pass


def run(scenario: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(scenario, 60))


async def fetch(
    *uris: str | Item,
    settings: FetchSettings = LOOPBACK,
    resolver: AbstractResolver | None = None,
    **limits: float,
) -> Raws:
    items = [Item(str(i), uri=u) if isinstance(u, str) else u for i, u in enumerate(uris)]
    bounds = LimitsSettings.model_validate(limits)
    async with Fetcher(settings, bounds, resolver=resolver) as fetcher:
        return await fetcher.fetch(Items(7, tuple(items)))


async def failure(uri: str | Item, **arguments: Any) -> Failure:
    raws = await fetch(uri, **arguments)
    assert raws.raws == ()
    (failed,) = raws.failures
    assert failed.stage == "fetch"
    return failed


async def plain(exchange: Exchange) -> None:
    await exchange.answer(b"body of " + exchange.target.encode())


async def hang(exchange: Exchange) -> None:
    await exchange.until_left()


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
            Raw("t", "größe".encode(), is_text=True),
            Raw("h", b"body of /x"),
            Raw("f", b"file"),
            Raw("b", b"bytes"),
            Raw("u", b"file"),
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


async def expect(uri: str | Item, code: str, **arguments: Any) -> None:
    assert (await failure(uri, **arguments)).code == code


def test_content_at_its_limit_passes() -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            items = Item("t", text="ü" * 10), Item("b", blob=b"x" * 10), peer.uri("/1")
            got = await fetch(*items, text_chars=10, object_bytes=10)
            assert len(got.raws) == 3

    run(scenario())


# ---- what the server answers


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (404, "upstream_not_found"), (410, "upstream_not_found"), (401, "upstream_forbidden"),
        (403, "upstream_forbidden"), (400, "upstream_error"), (418, "upstream_error"),
        (304, "upstream_error"), (302, "upstream_error"),
    ],
)  # fmt: skip
def test_row27_a_refusal_has_its_code_and_is_not_retried(status: int, code: str) -> None:
    async def scenario() -> None:
        async with Peer(lambda exchange: exchange.answer(status=status)) as peer:
            failed = await failure(peer.uri("/a?token=s3cret"))
            assert (failed.code, str(status) in failed.message) == (code, True)
            assert failed.uri == peer.uri("/a?token=s3cret")
            assert len(peer.requests) == 1

    run(scenario())


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_row28_a_busy_server_is_asked_again_twice(
    status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "_BACKOFF_S", 0.0)

    async def scenario() -> None:
        async with Peer(lambda exchange: exchange.answer(status=status)) as peer:
            await expect(peer.uri(), "upstream_unavailable")
            assert len(peer.requests) == 3

    run(scenario())


def test_row28_the_third_answer_counts() -> None:
    async def scenario() -> None:
        async def third(exchange: Exchange) -> None:
            if len(peer.requests) < 3:
                await exchange.answer(status=503, Retry_After="0")
            else:
                await exchange.answer(b"at last")

        async with Peer(third) as peer:
            got = await fetch(peer.uri())
            assert [raw.data for raw in got.raws] == [b"at last"]

    run(scenario())


def test_row28_a_wait_longer_than_the_limit_is_not_begun() -> None:
    async def scenario() -> None:
        late = lambda exchange: exchange.answer(status=429, Retry_After="31")  # noqa: E731
        async with Peer(late) as peer:
            await expect(peer.uri(), "upstream_unavailable", fetch_s=30.0)
            assert len(peer.requests) == 1

    run(scenario())


# ---- slow, endless and broken answers


@pytest.mark.parametrize("limits", [{"read_s": 0.05}, {"fetch_s": 0.05}])
@pytest.mark.parametrize("start", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12"])
def test_row29_a_silent_server_is_given_up(limits: dict[str, float], start: bytes) -> None:
    async def scenario() -> None:
        async def stall(exchange: Exchange) -> None:
            exchange.writer.write(start)
            await exchange.until_left()

        async with Peer(stall) as peer:
            failed = await failure(peer.uri("/?token=s3cret"), **limits)
            assert failed.code == "fetch_timeout"
            assert "s3cret" not in failed.message

    run(scenario())


def test_row29_a_slow_connection_is_given_up() -> None:
    class Hanging(Names):
        async def resolve(self, *_: Any, **__: Any) -> list[ResolveResult]:
            await asyncio.Event().wait()
            raise AssertionError("unreachable")

    async def scenario() -> None:
        failed = await failure("http://slow.example/", resolver=Hanging({}), connect_s=0.05)
        assert (failed.code, failed.message) == ("fetch_timeout", UNREACHABLE)

    run(scenario())


def test_a_slow_host_holds_up_no_other() -> None:
    """Those who wait for a busy host must not take the places of those who could go on."""

    async def scenario() -> None:
        arrived = asyncio.Event()

        async def arrive(exchange: Exchange) -> None:
            arrived.set()
            await exchange.answer(b"x")

        async with Peer(hang, host="127.0.0.2") as slow, Peer(arrive) as quick:
            uris = [*(slow.uri(f"/{i}") for i in range(12)), quick.uri()]
            task = asyncio.create_task(fetch(*uris, fetch_per_host=2, fetch_concurrency=3))
            await arrived.wait()
            assert slow.connections <= 2
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    run(scenario())


def test_row30_an_endless_body_is_cut_off_and_the_connection_closed() -> None:
    async def scenario() -> None:
        async def endless(exchange: Exchange) -> None:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while True:
                exchange.writer.write(b"1000\r\n" + b"x" * 0x1000 + b"\r\n")
                await exchange.writer.drain()

        async with Peer(endless) as peer:
            await expect(peer.uri(), "object_too_large", object_bytes=50_000)
            await peer.left.wait()

    run(scenario())


def test_row30_a_body_without_length_is_read_to_its_end() -> None:
    async def scenario() -> None:
        async def close_delimited(exchange: Exchange) -> None:
            exchange.writer.write(b"HTTP/1.0 200 OK\r\n\r\nwhole body")
            await exchange.writer.drain()
            exchange.writer.close()

        async with Peer(close_delimited) as peer:
            assert (await fetch(peer.uri(), object_bytes=10)).raws[0].data == b"whole body"
            await expect(peer.uri(), "object_too_large", object_bytes=9)

    run(scenario())


def test_an_honest_length_over_the_limit_is_refused_before_the_body() -> None:
    async def scenario() -> None:
        async def announce(exchange: Exchange) -> None:
            await exchange.answer(Content_Length="51")
            await exchange.until_left()

        async with Peer(announce) as peer:
            await expect(peer.uri(), "object_too_large", object_bytes=50)

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000,
        b"SSH-2.0-OpenSSH_9.0\r\n",
        b"",
    ],
)
def test_row29_lying_and_broken_answers_fail(answer: bytes) -> None:
    async def scenario() -> None:
        async def lie(exchange: Exchange) -> None:
            exchange.writer.write(answer)
            await exchange.writer.drain()
            exchange.writer.close()

        async with Peer(lie) as peer:
            failed = await failure(peer.uri("/?token=s3cret"))
            assert failed.code == "fetch_failed"
            assert "s3cret" not in failed.message

    run(scenario())


def test_row29_a_reset_connection_fails() -> None:
    async def scenario() -> None:
        async def reset(exchange: Exchange) -> None:
            await exchange.answer(b"some", Content_Length="9")
            exchange.writer.transport.abort()

        async with Peer(reset) as peer:
            await expect(peer.uri(), "fetch_failed")

    run(scenario())


@pytest.mark.parametrize("encoding", ["gzip", "br", "deflate", "zstd", "identity, gzip"])
def test_row31_a_compressed_body_is_refused_unread(encoding: str) -> None:
    async def scenario() -> None:
        async def compressed(exchange: Exchange) -> None:
            await exchange.answer(Content_Encoding=encoding, Content_Length="9")
            await exchange.until_left()

        async with Peer(compressed) as peer:
            failed = await failure(peer.uri())
            assert failed.code == "fetch_failed"
            assert "content encoding" in failed.message

    run(scenario())


def test_row31_the_body_of_a_redirect_is_not_read() -> None:
    async def scenario() -> None:
        async def redirect(exchange: Exchange) -> None:
            if exchange.target == "/end":
                return await exchange.answer(b"end")
            await exchange.answer(
                status=302, Location="/end", Content_Encoding="gzip", Content_Length="999999999"
            )
            return await exchange.until_left()

        async with Peer(redirect) as peer:
            assert [raw.data for raw in (await fetch(peer.uri())).raws] == [b"end"]

    run(scenario())


def test_row29_a_certificate_that_nobody_trusts_is_refused() -> None:
    async def scenario() -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
        async with Peer(plain, tls=context) as peer:
            failed = await failure(peer.uri().replace("http", "https"))
            assert (failed.code, failed.message) == ("tls_invalid", UNREACHABLE)
            assert peer.requests == []

    run(scenario())


# ---- redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed(status: int) -> None:
    async def scenario() -> None:
        async def redirect(exchange: Exchange) -> None:
            if exchange.target == "/b/end?x=%2B":
                return await exchange.answer(b"end")
            return await exchange.answer(status=status, Location="../b/end?x=%2B")

        async with Peer(redirect) as peer:
            assert [raw.data for raw in (await fetch(peer.uri("/a/start"))).raws] == [b"end"]
            assert len(peer.requests) == 2

    run(scenario())


@pytest.mark.parametrize("most", [0, 3])
def test_row19_a_chain_of_redirects_ends(most: int) -> None:
    async def scenario() -> None:
        async with Peer(lambda exchange: exchange.answer(status=302, Location="/more")) as peer:
            await expect(peer.uri(), "too_many_redirects", redirects=most)
            assert len(peer.requests) == most + 1

    run(scenario())


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_row19_a_redirect_to_a_forbidden_address_is_blocked(status: int) -> None:
    async def scenario() -> None:
        async with Peer(plain, host="127.0.0.3") as inside:
            move = lambda exchange: exchange.answer(status=status, Location=inside.uri())  # noqa: E731
            async with Peer(move, host="127.0.0.2") as public:
                settings = FetchSettings(networks=(ip_network("127.0.0.2/32"),))
                failed = await failure(public.uri(), settings=settings)
            assert (failed.code, failed.message) == ("uri_blocked", UNREACHABLE)
            assert len(public.requests) == 1
            assert inside.connections == 0

    run(scenario())


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://u:p@127.0.0.1/",
        "//[::1",
        "data:,x",
    ],
)
def test_row19_a_redirect_elsewhere_is_blocked(location: str, tmp_path: Path) -> None:
    async def scenario() -> None:
        settings = LOOPBACK.model_copy(update={"roots": (Path("/"),)})
        async with Peer(lambda exchange: exchange.answer(status=302, Location=location)) as peer:
            await expect(peer.uri(), "uri_blocked", settings=settings)
            assert len(peer.requests) == 1

    run(scenario())


# ---- the address policy, at work


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "①②⑦.⓪.⓪.①",
        "127.0.0.1.", "[::ffff:127.0.0.1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]", "[::1]",
        "0.0.0.0",
    ],
)  # fmt: skip
def test_row16_row17_loopback_is_never_dialled(host: str) -> None:
    """With the resolver of the system; a listener counts what reaches it."""

    async def scenario() -> None:
        async with Peer(plain, host="0.0.0.0") as peer:
            failed = await failure(peer.uri(host=host), settings=FetchSettings())
            assert (failed.code, failed.message) == ("uri_blocked", UNREACHABLE)
            assert peer.connections == 0

    run(scenario())


@pytest.mark.parametrize(
    "answers", [["127.0.0.2", "127.0.0.3"], ["127.0.0.3", "127.0.0.2"], ["::1"]]
)
def test_row20_one_forbidden_answer_forbids_the_name(answers: list[str]) -> None:
    async def scenario() -> None:
        names = Names({"mixed.example": [answers]})
        settings = FetchSettings(networks=(ip_network("127.0.0.2/32"),))
        async with Peer(plain, host="0.0.0.0") as peer:
            uri = peer.uri(host="mixed.example")
            await expect(uri, "uri_blocked", settings=settings, resolver=names)
            assert peer.connections == 0
            assert names.lookups["mixed.example"] == 1

    run(scenario())


def test_row20_the_address_that_was_checked_is_the_one_dialled() -> None:
    async def scenario() -> None:
        names = Names({"rebind.example": [["127.0.0.2"], ["127.0.0.3"]]})
        settings = FetchSettings(networks=(ip_network("127.0.0.2/32"),))
        async with Peer(plain, host="127.0.0.2") as public:
            got = await fetch(public.uri(host="rebind.example"), settings=settings, resolver=names)
            assert [raw.data for raw in got.raws] == [b"body of /a.png"]
            assert names.lookups["rebind.example"] == 1
            host = public.requests[0].headers["host"]
            assert host == f"rebind.example:{public.port}"

    run(scenario())


def test_row21_a_public_address_is_reached_on_the_ports_of_the_web_only() -> None:
    run(
        expect(
            "http://a.example:8080/", "uri_blocked", resolver=Names({"a.example": [["1.1.1.1"]]})
        )
    )


def test_blocked_unknown_and_dead_addresses_look_the_same() -> None:
    async def scenario() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            dead = f"http://127.0.0.1:{unused.getsockname()[1]}/?token=s3cret"
            refused = await failure(dead)
        unknown = await failure("http://unknown.example/?token=s3cret", resolver=Names({}))
        blocked = await failure("http://10.0.0.1/?token=s3cret")
        overlong = await failure("http://" + ".".join(["a" * 60] * 9))
        codes = [one.code for one in (refused, unknown, blocked, overlong)]
        assert codes == ["fetch_failed", "fetch_failed", "uri_blocked", "fetch_failed"]
        assert {one.message for one in (refused, unknown, blocked, overlong)} == {UNREACHABLE}

    run(scenario())


# ---- what is not enabled


@pytest.mark.parametrize(
    ("uri", "settings", "code"),
    [
        ("file:///etc/passwd", FetchSettings(), "scheme_disabled"),
        ("/etc/passwd", FetchSettings(), "scheme_disabled"),
        ("a.png", FetchSettings(schemes=("https", "file")), "scheme_disabled"),
        ("data:image/png;base64,AA==", FetchSettings.anywhere(), "scheme_disabled"),
        ("s3://bucket/key", FetchSettings.anywhere(), "scheme_disabled"),
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
