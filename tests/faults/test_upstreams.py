"""Rows 27 to 32: servers that refuse, stall, lie, send without end, or send something else."""

from __future__ import annotations

import asyncio
import datetime
import gzip
import socket
import ssl
from collections.abc import Awaitable, Callable

import pytest
import trustme
from fetch_peers import asking, picture, run
from web_peers import Exchange, Names, Peer

from alaas.data import http
from alaas.data.network import UNREACHABLE

LISTED = {"networks": ["127.0.0.0/8"]}

Answer = Callable[[Exchange], Awaitable[None]]


def by_path(**answers: Answer) -> Answer:
    """A server with something else behind each path."""

    async def answer(exchange: Exchange) -> None:
        await answers[exchange.target[1:].partition("?")[0]](exchange)

    return answer


def status(number: int, **fields: str) -> Answer:
    return lambda exchange: exchange.answer(b"told: s3cret", status=number, **fields)


def raw(answer: bytes) -> Answer:
    """Sends these bytes and hangs up."""

    async def send(exchange: Exchange) -> None:
        exchange.writer.write(answer)
        await exchange.writer.drain()
        exchange.writer.close()

    return send


async def good(exchange: Exchange) -> None:
    await exchange.answer(picture())


def test_row27_a_refusal_is_not_asked_for_twice() -> None:
    expected = {
        404: "upstream_not_found", 410: "upstream_not_found", 401: "upstream_forbidden",
        403: "upstream_forbidden", 400: "upstream_error", 204: "not_an_image",
    }  # fmt: skip

    async def scenario() -> None:
        answers = {str(number): status(number) for number in expected}
        answers["204"] = raw(b"HTTP/1.1 204 No Content\r\n\r\n")
        async with Peer(by_path(**answers)) as peer, asking(LISTED) as asked:
            uris = {peer.uri(f"/{number}?token=s3cret"): number for number in expected}
            failures = await asked.fail(*uris)
            codes = {number: one["code"] for number, one in zip(expected, failures, strict=True)}
            assert codes == expected
            assert not any("s3cret" in one["message"] for one in failures)
            assert len(peer.requests) == len(expected)

    run(scenario())


def test_row28_a_busy_server_is_asked_three_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "_BACKOFF_S", 0.0)
    numbers = [429, 500, 502, 503, 504]

    async def scenario() -> None:
        async def third(exchange: Exchange) -> None:
            if sum(one.target == "/third" for one in peer.requests) < 3:
                await exchange.answer(status=429, Retry_After="0")
            else:
                await exchange.answer(picture())

        answers = {str(number): status(number) for number in numbers}
        late = status(429, Retry_After="3600")  # longer than an item may take
        async with Peer(by_path(third=third, late=late, **answers)) as peer:
            async with asking(LISTED) as asked:
                uris = [peer.uri(f"/{path}") for path in (*answers, "late", "third")]
                answer = await asked.query(*uris)
            failed = {int(one["id"]): one["code"] for one in answer["failures"]}
            assert failed == dict.fromkeys(range(len(numbers) + 1), "upstream_unavailable")
            asked_for = [one.target for one in peer.requests]
            assert asked_for.count("/late") == 1
            assert all(asked_for.count(f"/{n}") == 3 for n in (*numbers, "third"))

    run(scenario())


def test_row29_servers_that_do_not_answer_as_they_should() -> None:
    """What cannot be reached says the same, whatever the reason is."""

    async def scenario() -> None:
        async def stall(exchange: Exchange) -> None:
            await exchange.until_left()

        async def half(exchange: Exchange) -> None:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nhalf")
            await exchange.until_left()

        async def reset(exchange: Exchange) -> None:
            await exchange.answer(b"some", Content_Length="99")
            exchange.writer.transport.abort()

        broken = {
            "short": raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nshort"),
            "chunks": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno\r\n"),
            "negative": raw(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"),
            "both": raw(
                b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
            ),
            "header": raw(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000),
            "other": raw(b"SSH-2.0-OpenSSH_9.0\r\n"),
            "nothing": raw(b""),
            "reset": reset,
        }
        names = Names({"known.example": [["127.0.0.1"]]})
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            refused = f"http://127.0.0.1:{unused.getsockname()[1]}/?token=s3cret"
            limits = {"read_s": 0.2, "connect_s": 1.0}
            async with (
                Peer(by_path(stall=stall, half=half, **broken)) as peer,
                asking(LISTED, resolver=names, limits=limits) as asked,
            ):
                uris = {
                    **{peer.uri(f"/{path}?token=s3cret"): "fetch_failed" for path in broken},
                    peer.uri("/stall"): "fetch_timeout",
                    peer.uri("/half"): "fetch_timeout",
                    refused: "fetch_failed",
                    "http://unknown.example/?token=s3cret": "fetch_failed",
                    "http://192.168.0.1/?token=s3cret": "uri_blocked",
                }
                failures = await asked.fail(*uris)
        codes = {uri: one["code"] for uri, one in zip(uris, failures, strict=True)}
        assert codes == uris
        assert not any("s3cret" in one["message"] for one in failures)
        # Who is told so learns nothing of the network that the service stands in.
        assert {one["message"] for one in failures[-3:]} == {UNREACHABLE}

    run(scenario())


def test_row29_certificates_that_are_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    issued = {
        "good.example": authority.issue_cert("good.example"),
        "unknown.example": stranger.issue_cert("unknown.example"),
        "expired.example": authority.issue_cert("expired.example", not_after=past),
        "other.example": authority.issue_cert("another.example"),
    }
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", trusting)

    async def scenario() -> None:
        peers = {}
        for row, (name, certificate) in enumerate(issued.items(), start=2):
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            peers[name] = Peer(good, host=f"127.0.0.{row}", tls=context)
        names = Names({name: [[peer.host]] for name, peer in peers.items()})
        async with asking(LISTED, resolver=names) as asked:
            for peer in peers.values():
                await peer.__aenter__()
            uris = [p.uri(host=name).replace("http", "https") for name, p in peers.items()]
            answer = await asked.query(*uris)
            for peer in peers.values():
                await peer.__aexit__(None, None, None)
        assert [(one["id"], one["code"], one["message"]) for one in answer["failures"]] == [
            (row, "tls_invalid", UNREACHABLE) for row in ("1", "2", "3")
        ]
        assert [len(peer.requests) for peer in peers.values()] == [1, 0, 0, 0]

    run(scenario())


def test_row30_a_server_that_sends_too_much_or_too_slowly_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "_UNHURRIED_S", 0.0)
    most, left = 50_000, asyncio.Event()

    async def scenario() -> None:
        async def endless(exchange: Exchange) -> None:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            await _for_ever(exchange)

        async def chunked(exchange: Exchange) -> None:
            exchange.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await _for_ever(exchange, b"1000\r\n", b"\r\n")

        async def announced(exchange: Exchange) -> None:
            await exchange.answer(Content_Length=str(most + 1))
            await exchange.until_left()

        async def trickling(exchange: Exchange) -> None:
            await exchange.answer(b"x", Content_Length="1000")
            await exchange.until_left()
            left.set()

        answer = by_path(endless=endless, chunked=chunked, announced=announced, good=good)
        async with Peer(answer) as peer, Peer(trickling) as slow:
            limits = {"object_bytes": most, "fetch_rate": 2**40}
            async with asking(LISTED, limits=limits) as asked:
                paths = ("endless", "chunked", "announced")
                uris = [peer.uri(f"/{path}") for path in paths]
                failures = await asked.fail(*uris, slow.uri())
                assert [one["code"] for one in failures] == [
                    *["object_too_large"] * 3, "fetch_timeout",
                ]  # fmt: skip
                assert "bytes a second" in failures[-1]["message"]
                await peer.left.wait()
                await left.wait()
                # What comes in one piece is not slow, whatever the rate.
                assert (await asked.query(peer.uri("/good")))["failures"] == []

    run(scenario())


async def _for_ever(exchange: Exchange, before: bytes = b"", after: bytes = b"") -> None:
    while True:
        exchange.writer.write(before + b"x" * 0x1000 + after)
        await exchange.writer.drain()


def test_row31_what_is_compressed_is_not_unpacked() -> None:
    bomb = gzip.compress(bytes(10_000_000))

    async def scenario() -> None:
        async def moved(exchange: Exchange) -> None:
            await exchange.answer(bomb, status=302, Location="/good", Content_Encoding="gzip")

        encodings = ("gzip", "GZIP", "br", "deflate", "zstd", "gzip, gzip", "identity, gzip")
        answers = {
            str(row): _encoded(bomb, encoding) for row, encoding in enumerate(encodings)
        }  # fmt: skip
        async with Peer(by_path(moved=moved, good=good, **answers)) as peer:
            async with asking(LISTED) as asked:
                failures = await asked.fail(*[peer.uri(f"/{row}") for row in answers])
                assert {one["code"] for one in failures} == {"fetch_failed"}
                assert all("content encoding" in one["message"] for one in failures)
                assert (await asked.query(peer.uri("/moved")))["failures"] == []
            assert {one.headers["accept-encoding"] for one in peer.requests} == {"identity"}

    run(scenario())


def _encoded(body: bytes, encoding: str) -> Answer:
    return lambda exchange: exchange.answer(body, Content_Encoding=encoding)


def test_row32_what_a_server_calls_a_picture_need_not_be_one() -> None:
    page = b"<!DOCTYPE html><html><script>alert(1)</script></html>"
    lies = {
        "page.jpg": page,
        "text.png": b"no picture, says this text",
        "archive.png": b"PK\3\4" + bytes(100),
        "program.gif": b"\x7fELF" + bytes(100),
        "empty.png": b"",
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    }

    async def scenario() -> None:
        async def lie(exchange: Exchange) -> None:
            await exchange.answer(lies[exchange.target[1:]], Content_Type="image/jpeg")

        async def honest(exchange: Exchange) -> None:
            await exchange.answer(picture(), Content_Type="text/html")

        async with Peer(lie) as peer, Peer(honest) as other, asking(LISTED) as asked:
            failures = await asked.fail(*[peer.uri(f"/{name}") for name in lies])
            assert [one["code"] for one in failures] == [
                *["not_an_image"] * (len(lies) - 1), "unsupported_format",
            ]  # fmt: skip
            assert not any("alert" in one["message"] for one in failures)
            assert (await asked.query(other.uri("/page.html")))["failures"] == []

    run(scenario())
