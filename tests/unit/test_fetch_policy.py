"""The fetch stage against addresses and redirects that must not be followed."""

from __future__ import annotations

import socket
from ipaddress import ip_network
from pathlib import Path

import pytest
from web_peers import LOOPBACK, Exchange, Names, Peer, expect, failure, fetch, plain, run

from alaas.config import FetchSettings
from alaas.data.network import UNREACHABLE

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
