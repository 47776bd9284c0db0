"""Rows 16 to 24: addresses that must not be dialled, and files that must not be read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from fetch_peers import asking, dialled, picture, run
from web_peers import Exchange, Names, Peer, plain

from alaas.data.network import UNREACHABLE

LISTED = {"networks": ["127.0.0.2/32"]}
"""The one address that stands for the public network."""


async def _picture(exchange: Exchange) -> None:
    await exchange.answer(picture())


def test_dialling_is_seen() -> None:
    """Else the tests below would prove nothing."""

    async def scenario() -> None:
        async with Peer(_picture, host="127.0.0.2") as peer, asking(LISTED) as asked:
            with dialled() as seen:
                answer = await asked.query(peer.uri(), "http://localhost.invalid:1/")
            assert [one["id"] for one in answer["failures"]] == ["1"]
            assert seen.addresses == [("127.0.0.2", peer.port)]
            assert seen.names == ["localhost.invalid"]

    run(scenario())


PRIVATE = [
    "127.0.0.1", "0.0.0.0", "[::1]", "[::]", "10.0.0.1", "172.16.0.1", "192.168.0.1",
    "169.254.169.254", "169.254.170.2", "100.64.0.1", "100.100.100.200", "168.63.129.16",
    "[fd00:ec2::254]", "[fe80::1]", "192.0.0.192", "255.255.255.255", "224.0.0.1", "240.0.0.1",
]  # fmt: skip

SPELLED = [
    "2130706433", "0x7f000001", "0177.0.0.1", "127.1", "127.0.1", "0", "017700000001",
    "0x7f.0x0.0x0.0x1", "①②⑦.⓪.⓪.①", "127。0。0。1", "127.0.0.1.", "2852039166",
    "0xa9fea9fe", "LOCALHOST",
]  # fmt: skip

CARRIED = [
    "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::7f00:1]",
    "[64:ff9b::a9fe:a9fe]", "[2002:7f00:1::1]", "[2002:a00:1::1]",
    "[2001:0:808:808:0:0:80ff:fffe]", "[2001:0:7f00:1:0:0:f7f7:f7f7]", "[fec0::1]",
    "[ff02::1]", "[ff0e::1]", "[::ffff:0:127.0.0.1]", "[64:ff9b:1::7f00:1]", "[5f00::1]",
]  # fmt: skip


@pytest.mark.parametrize(
    "hosts",
    [
        pytest.param(PRIVATE, id="row16"),
        pytest.param(SPELLED, id="row17"),
        pytest.param(CARRIED, id="row18"),
    ],
)
def test_row16_17_18_private_addresses_are_blocked_and_nobody_is_dialled(hosts: list[str]) -> None:
    """On the port of a listener and on that of the web; names are asked of the system."""

    async def scenario() -> None:
        async with Peer(plain, host="0.0.0.0") as peer, asking() as asked:
            uris = [f"http://{host}:{port}/a.png" for host in hosts for port in (peer.port, 80)]
            with dialled() as seen:
                failures = await asked.fail(*uris)
            assert {(one["code"], one["message"]) for one in failures} == {
                ("uri_blocked", UNREACHABLE)
            }
            assert seen.addresses == []
            assert {name.lower() for name in seen.names} <= {"localhost"}
            assert peer.connections == 0

    run(scenario())


def test_row19_a_redirect_is_checked_at_every_hop(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(picture())
    moves = {
        f"/{status}/{name}": (status, target)
        for status in (301, 302, 303, 307, 308)
        for name, target in {
            "loopback": "http://127.0.0.3:{port}/a.png",
            "metadata": "http://169.254.169.254/latest/meta-data/",
            "name": "http://localhost:{port}/a.png",
            "file": (tmp_path / "a.png").as_uri(),
            "bucket": "s3://bucket/a.png",
            "user": "http://u:p@127.0.0.2:{port}/a.png",
        }.items()
    }

    async def scenario() -> None:
        async def move(exchange: Exchange) -> None:
            hop, _, rest = exchange.target.lstrip("/").partition("/")
            if hop.startswith("via"):  # a hop that is allowed goes before
                await exchange.answer(status=302, Location=f"/{rest}")
            else:
                status, target = moves[exchange.target]
                await exchange.answer(status=status, Location=target.format(port=peer.port))

        async with (
            Peer(move, host="127.0.0.2") as peer,
            Peer(plain, host="127.0.0.3") as inside,
            asking({**LISTED, "roots": [str(tmp_path)]}) as asked,
        ):
            moves["/302/inside"] = (302, inside.uri())
            uris = [peer.uri(path) for path in moves] + [peer.uri(f"/via{p}") for p in moves]
            with dialled() as seen:
                failures = await asked.fail(*uris)
            assert {(one["code"], one["message"]) for one in failures} == {
                ("uri_blocked", UNREACHABLE)
            }
            assert set(seen.addresses) == {("127.0.0.2", peer.port)}
            assert inside.connections == 0

    run(scenario())


def test_row19_a_chain_of_redirects_ends() -> None:
    async def scenario() -> None:
        async def on(exchange: Exchange) -> None:
            hops = int(exchange.target[1:])
            if hops:
                await exchange.answer(status=302, Location=f"/{hops - 1}")
            else:
                await exchange.answer(picture())

        async with Peer(on, host="127.0.0.2") as peer, asking(LISTED) as asked:
            answer = await asked.query(peer.uri("/3"), peer.uri("/4"), peer.uri("/999"))
            found = [(one["id"], one["code"]) for one in answer["failures"]]
            assert found == [("1", "too_many_redirects"), ("2", "too_many_redirects")]
            assert len(peer.requests) == 4 + 4 + 4

    run(scenario())


def test_row20_a_name_is_looked_up_once_and_what_was_checked_is_dialled() -> None:
    names = Names(
        {
            "rebinding.example": [["127.0.0.2"], ["127.0.0.3"]],
            "rebinding-back.example": [["127.0.0.3"], ["127.0.0.2"]],
            "mixed.example": [["127.0.0.2", "127.0.0.3"]],
            "mixed-6.example": [["127.0.0.2", "::1"]],
        }
    )

    async def scenario() -> None:
        async with (
            Peer(_picture, host="0.0.0.0") as peer,
            asking(LISTED, resolver=names) as asked,
        ):
            hosts = list(names.table)
            with dialled() as seen:
                answer = await asked.query(*[peer.uri(host=host) for host in hosts])
            found = {hosts[int(one["id"])]: one["code"] for one in answer["failures"]}
            assert found == dict.fromkeys(hosts[1:], "uri_blocked")
            assert names.lookups == dict.fromkeys(hosts, 1)
            assert seen.addresses == [("127.0.0.2", peer.port)]
            assert peer.requests[0].headers["host"] == f"rebinding.example:{peer.port}"

    run(scenario())


def test_row21_addresses_that_programs_read_differently_are_refused() -> None:
    invalid = [
        "http://user:s3cret@{at}/a.png", "http://user@{at}/a.png", "http://@{at}/a.png",
        "http://{at}\\@public.example/a.png", "http://public.example\\@{at}/a.png",
        "http://{at}/a.png\r\nX-Header: 1", "http://{at}\r\n/a.png", "http://{at}/\x00",
        "http://{at}\t/a.png", "http:/x", "http:{at}", "http:///{at}", "http://{at}:80/a.png",
        "http://public.example:80@{at}/", "http://public example/", "http://[127.0.0.1/",
        "http://%31%32%37.0.0.1/", "http://a..b/", "http://:80/",
    ]  # fmt: skip
    blocked = [
        "http://public.example:22/", "http://public.example:6379/", "http://public.example:0/",
        "http://public.example:8080/", "https://public.example:25/",
    ]  # fmt: skip
    names = Names({"public.example": [["1.1.1.1"]]})

    async def scenario() -> None:
        async with Peer(plain, host="127.0.0.2") as peer, asking(LISTED, resolver=names) as asked:
            at = f"127.0.0.2:{peer.port}"
            uris = [uri.format(at=at) for uri in invalid] + blocked
            with dialled() as seen:
                codes = await asked.codes(*uris)
            assert codes == {
                uri: "uri_invalid" if row < len(invalid) else "uri_blocked"
                for row, uri in enumerate(uris)
            }
            assert seen.addresses == []

    run(scenario())


def test_row21_the_operator_lists_the_ports_of_the_public_network() -> None:
    names = Names({"public.example": [["1.1.1.1"]]})

    async def scenario() -> None:
        async with asking({"ports": [443]}, resolver=names) as asked:
            uris = ["http://public.example/", "http://public.example:443/x"]
            with dialled() as seen:
                failures = await asked.fail(*uris)
            assert [one["code"] for one in failures] == ["uri_blocked", "fetch_failed"]
            assert {one["message"] for one in failures} == {UNREACHABLE}
            assert seen.addresses == [("1.1.1.1", 443)]

    run(scenario())


def test_row22_a_proxy_in_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scenario() -> None:
        async with Peer(plain, host="127.0.0.9") as proxy, Peer(_picture, host="127.0.0.2") as peer:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, f"http://127.0.0.9:{proxy.port}")
                monkeypatch.setenv(name.upper(), f"http://127.0.0.9:{proxy.port}")
            async with asking(LISTED) as asked:
                answer = await asked.query(peer.uri(), "http://10.0.0.1/", "https://10.0.0.1/")
            assert [one["code"] for one in answer["failures"]] == ["uri_blocked", "uri_blocked"]
            assert len(peer.requests) == 1
            assert proxy.connections == 0

    run(scenario())


def test_row23_files_are_disabled_unless_a_folder_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    file.write_bytes(picture())

    async def scenario() -> None:
        uris = [
            str(file),
            file.as_uri(),
            f"FILE://{file}",
            "file:///etc/passwd",
            "/etc/passwd",
            "x",
        ]
        async with asking({"schemes": ["http", "file"]}) as asked:
            assert set((await asked.codes(*uris)).values()) == {"scheme_disabled"}
        others = [
            "s3://bucket/key",
            "gs://b/k",
            "ftp://127.0.0.1/",
            "gopher://127.0.0.1:70/",
            "data:,x",
        ]
        async with asking({"roots": [str(tmp_path)]}) as asked:
            assert (await asked.query(*uris[:3]))["failures"] == []
            assert set((await asked.codes(*others)).values()) == {"scheme_disabled"}

    run(scenario())


def test_row24_nothing_but_files_below_the_roots_is_read(tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "rooted"
    (root / "sub").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.png").write_bytes(picture())
    (root / "out.png").symlink_to(outside / "secret.png")
    (root / "folder").symlink_to(outside)
    (root / "chain.png").symlink_to(root / "out.png")
    (root / "environment.png").symlink_to("/proc/self/environ")
    (root / "loop.png").symlink_to(root / "loop.png")
    (root / "zero.png").symlink_to("/dev/zero")
    os.mkfifo(root / "pipe.png")
    os.link(outside / "secret.png", root / "good.png")
    paths = [
        f"{root}/../rooted/secret.png", f"{root}/sub/../../rooted/secret.png",
        f"file://{root}/%2e%2e/rooted/secret.png", str(outside / "secret.png"),
        str(root / "out.png"), str(root / "chain.png"), str(root / "folder" / "secret.png"),
        str(root / "environment.png"), "/proc/self/environ", "/proc/self/root/etc/passwd",
        "/dev/zero", "/dev/stdin", str(root / "zero.png"), str(root / "pipe.png"),
        str(root / "sub"), str(root), "/", f"{root}/nowhere/../../rooted/secret.png",
    ]  # fmt: skip

    async def scenario() -> None:
        async with asking({"roots": [str(root)]}) as asked:
            answer = await asked.query(*paths, str(root / "loop.png"), str(root / "good.png"))
            found = {int(one["id"]): one for one in answer["failures"]}
            codes = {path: found[row]["code"] for row, path in enumerate(paths)}
            assert codes == dict.fromkeys(paths, "uri_blocked")
            assert found[len(paths)]["code"] in {"uri_blocked", "not_found", "fetch_failed"}
            assert sorted(found) == list(range(len(paths) + 1))
            said = " ".join(one["message"] for one in found.values())
            assert not any(word in said for word in ("secret", str(tmp_path), "passwd"))

    run(scenario())
