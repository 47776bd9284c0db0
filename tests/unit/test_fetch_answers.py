"""The fetch stage against servers that are busy, slow, lying or broken."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
import trustme
from aiohttp.abc import ResolveResult
from web_peers import Exchange, Names, Peer, expect, failure, fetch, hang, plain, run

from alaas.data import http
from alaas.data.network import UNREACHABLE

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
    monkeypatch.setattr(http, "_BACKOFF_S", 0.0)

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


def test_the_time_of_all_hops_and_retries_is_taken_from_one_limit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left: list[float] = []
    attempt = http.Getter._attempt

    async def record(
        self: http.Getter, url: Any, headers: Any, seconds: float, conditional: bool
    ) -> Any:
        left.append(seconds)
        return await attempt(self, url, headers, seconds, conditional)

    monkeypatch.setattr(http.Getter, "_attempt", record)

    async def scenario() -> None:
        async def step(exchange: Exchange) -> None:
            if len(peer.requests) == 1:
                await exchange.answer(status=302, Location="/busy")
            elif len(peer.requests) == 2:
                await exchange.answer(status=503, Retry_After="0")
            else:
                await exchange.answer(b"end")

        async with Peer(step) as peer:
            assert (await fetch(peer.uri(), fetch_s=30.0)).failures == ()

    run(scenario())
    first, second, third = left
    assert 30.0 == first > second > third


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
