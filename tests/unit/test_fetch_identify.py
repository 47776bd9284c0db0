"""Addresses whose content is known without reading it, and those where it only seems so."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from web_peers import LOOPBACK, Exchange, Peer, hang, plain, run

from alaas.config import FetchSettings, LimitsSettings
from alaas.core.digest import digest
from alaas.core.sources import Known
from alaas.core.types import Items
from alaas.core.wire import Item
from alaas.data import files
from alaas.data.fetch import Fetcher

OLD = "Tue, 14 Nov 2023 20:00:00 GMT"


class Memory(dict[str, Known]):
    """An index of addresses for as long as a test lasts."""

    def lookup(self, addresses: Sequence[str]) -> dict[str, Known]:
        return {address: self[address] for address in addresses if address in self}

    def note(self, known: Mapping[str, Known]) -> None:
        self.update(known)


class Seen:
    """A fetcher, and the index that it notes in."""

    def __init__(self, settings: FetchSettings = LOOPBACK, **limits: float) -> None:
        self.memory = Memory()
        self.settings, self.limits = settings, LimitsSettings.model_validate(limits)

    async def fetch(self, *uris: str) -> list[bytes]:
        async with Fetcher(self.settings, self.limits, index=self.memory) as fetcher:
            got = await fetcher.fetch(_items(*uris))
            assert got.failures == ()
            return [raw.data for raw in got.raws]

    async def identify(self, *uris: str | Item) -> list[str | None]:
        async with Fetcher(self.settings, self.limits, index=self.memory) as fetcher:
            found = await fetcher.identify(_items(*uris))
        return [found.get(str(row)) for row in range(len(uris))]


def _items(*uris: str | Item) -> Items:
    return Items(
        0,
        tuple(
            Item(str(row), uri=uri) if isinstance(uri, str) else uri for row, uri in enumerate(uris)
        ),
    )


def folder_of(tmp_path: Path, **contents: bytes) -> FetchSettings:
    """A folder of files that have been at rest for an hour."""
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return LOOPBACK.model_copy(update={"roots": (tmp_path,)})


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that a test has just made count as being at rest: it is an hour later."""
    now = time.time
    monkeypatch.setattr("alaas.data.fetch.time.time", lambda: now() + 3600)


# ---- files


@pytest.mark.usefixtures("later")
def test_a_file_that_is_as_it_was_is_known(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen = Seen(folder_of(tmp_path, a=b"one", b=b"two"))
        paths = [str(tmp_path / "a"), (tmp_path / "b").as_uri()]
        assert await seen.identify(*paths) == [None, None]
        assert await seen.fetch(*paths) == [b"one", b"two"]
        assert await seen.identify(*paths) == [digest(b"one"), digest(b"two")]

    run(scenario())


def _rewrite(path: Path) -> None:
    before = path.stat()
    path.write_bytes(b"ONE")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _replace(path: Path) -> None:
    other = path.with_name("other")
    shutil.copy2(path, other)
    other.write_bytes(b"ONE")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_bytes(b"longer"), lambda path: path.write_bytes(b"ONE"),
        _rewrite, _replace, Path.unlink, lambda path: (path.unlink(), path.mkdir()),
        lambda path: (path.unlink(), os.mkfifo(path)),
    ],
)  # fmt: skip
def test_a_file_that_changed_is_not_known(tmp_path: Path, change: Any) -> None:
    """Not even where its size, and the time that it claims, are the same."""

    async def scenario() -> None:
        seen = Seen(folder_of(tmp_path, a=b"one", b=b"two"))
        paths = [str(tmp_path / "a"), str(tmp_path / "b")]
        await seen.fetch(*paths)
        change(tmp_path / "a")
        assert await seen.identify(*paths) == [None, digest(b"two")]

    run(scenario())


def test_a_file_of_this_very_second_is_not_trusted(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen = Seen(folder_of(tmp_path, a=b"one"))
        assert await seen.fetch(str(tmp_path / "a")) == [b"one"]
        assert seen.memory == {}
        assert await seen.identify(str(tmp_path / "a")) == [None]

    run(scenario())


@pytest.mark.usefixtures("later")
def test_a_file_that_may_no_longer_be_read_is_not_known(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen = Seen(folder_of(tmp_path, a=b"one"))
        await seen.fetch(str(tmp_path / "a"))
        (tmp_path / "sub").mkdir()
        for roots in [(), (tmp_path / "sub",)]:
            seen.settings = LOOPBACK.model_copy(update={"roots": roots})
            assert await seen.identify(str(tmp_path / "a")) == [None]

    run(scenario())


@pytest.mark.usefixtures("later")
@pytest.mark.parametrize("swapped", ["file", "folder"])
def test_a_link_out_of_the_roots_in_the_place_of_a_file_is_not_known(
    tmp_path: Path, swapped: str
) -> None:
    """The very same file, with another name that must not be used."""

    async def scenario() -> None:
        pool, secret = tmp_path / "pool", tmp_path / "secret"
        (pool / "sub").mkdir(parents=True)
        seen = Seen(folder_of(pool / "sub", a=b"one"))
        await seen.fetch(str(pool / "sub" / "a"))
        (pool / "sub").rename(secret)
        if swapped == "folder":
            (pool / "sub").symlink_to(secret)
        else:
            (pool / "sub").mkdir()
            (pool / "sub" / "a").symlink_to(secret / "a")
        # The rename changed nothing of the file itself: only the way to it is forbidden.
        seen.settings = LOOPBACK.model_copy(update={"roots": (tmp_path,)})
        assert await seen.identify(str(pool / "sub" / "a")) == [digest(b"one")]
        seen.settings = LOOPBACK.model_copy(update={"roots": (pool,)})
        assert await seen.identify(str(pool / "sub" / "a")) == [None]

    run(scenario())


def test_nothing_is_known_without_an_index_or_an_address(tmp_path: Path) -> None:
    async def scenario() -> None:
        seen = Seen(folder_of(tmp_path, a=b"one"))
        odd = Item("1", blob=b"x"), Item("2", text="x"), Item("3"), Item("4", uri="")
        assert await seen.identify("http://[", *odd, "s3://b/k", "file:x") == [None] * 7
        async with Fetcher(seen.settings, seen.limits) as fetcher:
            assert await fetcher.identify(_items(str(tmp_path / "a"))) == {}
            await fetcher.fetch(_items(str(tmp_path / "a")))

    run(scenario())


# ---- the web


def versions(**fields: str) -> tuple[list[str], Any]:
    """A server of one object that answers conditional requests; its bodies, and its handler."""
    bodies = ["first"]

    async def serve(exchange: Exchange) -> None:
        etag = f'"{bodies[-1]}"'
        asked = exchange.headers.get("if-none-match"), exchange.headers.get("if-modified-since")
        same = asked[0] == etag if asked[0] else asked[1] == OLD and bodies == ["first"]
        named = {name: value.format(etag=etag) for name, value in fields.items()}
        if same:
            await exchange.answer(status=304, **named)
        else:
            await exchange.answer(bodies[-1].encode(), **named)

    return bodies, serve


@pytest.mark.parametrize(
    "fields",
    [
        {"ETag": "{etag}"},
        {"Last_Modified": OLD},
        {"ETag": "{etag}", "Cache_Control": "no-cache, max-age=60"},
        {"ETag": "{etag}", "Cache_Control": "max-age=0"},
    ],
)
def test_an_object_is_known_as_long_as_its_server_confirms_it(fields: dict[str, str]) -> None:
    async def scenario() -> None:
        bodies, serve = versions(**fields)
        async with Peer(serve) as peer:
            seen = Seen()
            assert await seen.identify(peer.uri()) == [None]
            assert peer.requests == []
            assert await seen.fetch(peer.uri()) == [b"first"]
            for _ in range(2):
                assert await seen.identify(peer.uri()) == [digest(b"first")]
            bodies.append("second")
            assert await seen.identify(peer.uri()) == [None]
            assert len(peer.requests) == 4
            assert await seen.fetch(peer.uri()) == [b"second"]

    run(scenario())


def test_a_fresh_object_is_known_without_a_request(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        _, serve = versions(ETag="{etag}", Cache_Control="max-age=60")
        async with Peer(serve) as peer:
            seen = Seen()
            await seen.fetch(peer.uri())
            assert await seen.identify(peer.uri()) == [digest(b"first")]
            assert len(peer.requests) == 1
            now = time.time
            monkeypatch.setattr("alaas.data.fetch.time.time", lambda: now() + 61)
            assert await seen.identify(peer.uri()) == [digest(b"first")]
            assert len(peer.requests) == 2  # and was fresh again for another minute
            assert seen.memory[peer.uri()].fresh_until > now() + 61 + 50
            assert await seen.identify(peer.uri()) == [digest(b"first")]
            assert len(peer.requests) == 2

    run(scenario())


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"ETag": "{etag}", "Cache_Control": "no-store"},
        {"Last_Modified": "Fri, 01 Jan 2100 00:00:00 GMT"},
    ],
)  # fmt: skip
def test_what_cannot_or_may_not_be_compared_is_not_known(fields: dict[str, str]) -> None:
    async def scenario() -> None:
        _, serve = versions(**fields)
        async with Peer(serve) as peer:
            seen = Seen()
            await seen.fetch(peer.uri())
            assert seen.memory == {}
            assert await seen.identify(peer.uri()) == [None]
            assert len(peer.requests) == 1

    run(scenario())


@pytest.mark.parametrize(("etag", "known"), [(None, True), ('"a"', True), ('"b"', False)])
def test_a_confirmation_counts_if_it_is_of_what_was_asked(etag: str | None, known: bool) -> None:
    async def scenario() -> None:
        async def serve(exchange: Exchange) -> None:
            if "if-none-match" in exchange.headers:
                await exchange.answer(status=304, **({"ETag": etag} if etag else {}))
            else:
                await exchange.answer(b"x", ETag='"a"')

        async with Peer(serve) as peer:
            seen = Seen()
            await seen.fetch(peer.uri())
            assert await seen.identify(peer.uri()) == [digest(b"x") if known else None]

    run(scenario())


def test_a_record_without_validators_is_of_no_use_to_a_server_that_confirms_all() -> None:
    async def scenario() -> None:
        async with Peer(lambda exchange: exchange.answer(status=304)) as peer:
            seen = Seen()
            seen.memory[peer.uri()] = Known("d", 1.0)
            assert await seen.identify(peer.uri()) == [None]
            assert peer.requests == []

    run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 404}, {"status": 500}, {"status": 429}, {"status": 302},
        {"status": 200, "Content_Length": "999999999999"}, {"status": 206},
    ],
)  # fmt: skip
def test_any_other_answer_means_not_known_and_is_asked_for_once(answer: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with Peer(lambda exchange: exchange.answer(**answer)) as peer:
            seen = Seen()
            seen.memory[peer.uri()] = Known("d", 1.0, etag='"1"')
            assert await seen.identify(peer.uri()) == [None]
            assert len(peer.requests) == 1

    run(scenario())


def test_a_server_that_does_not_answer_means_not_known() -> None:
    async def scenario() -> None:
        async with Peer(hang) as peer:
            seen = Seen(read_s=0.05)
            seen.memory[peer.uri()] = Known("d", 1.0, etag='"1"')
            assert await seen.identify(peer.uri()) == [None]

    run(scenario())


@pytest.mark.parametrize("fresh_until", [0.0, 4e9])
def test_a_blocked_address_is_not_known_and_not_asked(fresh_until: float) -> None:
    async def scenario() -> None:
        async with Peer(plain) as peer:
            record = Known("d", 1.0, etag='"1"', fresh_until=fresh_until)
            for settings in (FetchSettings(), FetchSettings(schemes=("https",))):
                seen = Seen(settings)
                uris = [peer.uri(), peer.uri().replace("//", "//u:p@"), "http://2130706433/"]
                seen.memory.update(dict.fromkeys(uris, record))
                assert await seen.identify(*uris) == [None, None, None]
            assert peer.connections == 0

    run(scenario())


# ---- redirects


def test_what_a_redirect_led_to_is_asked_again_at_every_hop() -> None:
    async def scenario() -> None:
        ends = ["/end"]

        async def serve(exchange: Exchange) -> None:
            if exchange.target == "/start":
                await exchange.answer(status=302, Location=ends[-1], Cache_Control="max-age=60")
            elif "if-none-match" in exchange.headers:
                await exchange.answer(status=304)
            else:
                await exchange.answer(b"x", ETag='"1"', Cache_Control="max-age=60")

        async with Peer(serve) as peer:
            seen = Seen()
            await seen.fetch(peer.uri("/start"))
            assert list(seen.memory) == [peer.uri("/start")]
            assert await seen.identify(peer.uri("/start")) == [digest(b"x")]
            assert [one.target for one in peer.requests] == ["/start", "/end"] * 2
            ends.append("/other")  # another object may have a version of the same name
            assert await seen.identify(peer.uri("/start")) == [None]
            assert await seen.fetch(peer.uri("/start")) == [b"x"]
            assert await seen.identify(peer.uri("/start")) == [digest(b"x")]

    run(scenario())


def test_a_redirect_to_a_forbidden_address_is_not_followed_to_ask() -> None:
    async def scenario() -> None:
        async with Peer(plain, host="127.0.0.3") as inside:
            move = lambda exchange: exchange.answer(status=302, Location=inside.uri())  # noqa: E731
            async with Peer(move, host="127.0.0.2") as public:
                seen = Seen(FetchSettings(networks=(ip_network("127.0.0.2/32"),)))
                target = digest(inside.uri().encode())
                seen.memory[public.uri()] = Known("d", 1.0, etag='"1"', target=target)
                assert await seen.identify(public.uri()) == [None]
                assert (len(public.requests), inside.connections) == (1, 0)

    run(scenario())


# ---- many


def test_many_are_asked_at_once_under_the_limits_of_a_host() -> None:
    async def scenario() -> None:
        _, serve = versions(ETag="{etag}")
        async with Peer(serve) as peer:
            seen = Seen(fetch_per_host=4)
            uris = [peer.uri(f"/{i}") for i in range(300)]
            seen.memory.update(dict.fromkeys(uris, Known("d", 1.0, etag='"first"')))
            assert await seen.identify(*uris) == ["d"] * 300
            assert peer.connections <= 4

    run(scenario())


@pytest.mark.usefixtures("later")
def test_many_files_are_read_and_looked_at_in_parts(tmp_path: Path) -> None:
    async def scenario() -> None:
        names = {f"f{i}": b"%d" % i for i in range(600)}
        seen = Seen(folder_of(tmp_path, **names))
        paths = [str(tmp_path / name) for name in names]
        assert await seen.fetch(*paths) == list(names.values())
        assert await seen.identify(*paths) == [digest(one) for one in names.values()]

    run(scenario())


def test_the_path_of_a_file_is_resolved_once_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path, **{f"f{i}": b"x" for i in range(20)})
    resolved: list[str] = []
    real = os.path.realpath
    monkeypatch.setattr(os.path, "realpath", lambda path: resolved.append(path) or real(path))
    with files.Reader([tmp_path]) as reader:
        for i in range(20):
            reader.look(str(tmp_path / f"f{i}"))
    assert resolved == [str(tmp_path)]
