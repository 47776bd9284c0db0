"""Made-up addresses, pictures, messages and stores: nothing is raised but what is declared.

``ALAAS_FUZZ_EXAMPLES=100000`` makes up more; `tests/fuzz/guided.py` lets the code that is
reached decide what to make up next.
"""

from __future__ import annotations

import json
import os
import random
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fetch_peers import dialled, run
from hypothesis import given, settings
from hypothesis import strategies as st
from test_decode_files import FILES
from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url
from web_peers import Names
from web_peers import fetch as fetched

from alaas.config import FetchSettings
from alaas.core.digest import digest
from alaas.core.types import Batch, Items, Notes, Plan, Raw, Raws, Scored, Views
from alaas.core.wire import Failure, Item
from alaas.data import objects
from alaas.data.decode import decode
from alaas.data.network import check_literal, may_dial, parse
from alaas.data.problem import ItemError
from alaas.server import frames
from alaas.store.features import FeatureStore
from alaas.store.rows import RowType

MORE = int(os.environ.get("ALAAS_FUZZ_EXAMPLES", "0"))


def fuzzed(examples: int) -> Any:
    """Settings of a test that makes up so many examples, or as many as are asked for."""
    return settings(max_examples=MORE or examples, deadline=None, database=None)


@contextmanager
def _refused(*codes: str) -> Iterator[list[str]]:
    """Takes an `ItemError` of one of these codes; what is given holds its code then."""
    refused: list[str] = []
    try:
        yield refused
    except ItemError as error:
        refused.append(error.code)
    assert set(refused) <= set(codes)


# ---- addresses

NOT_PUBLIC = [
    IPv4Network(one)
    for one in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16",
        "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
    )
]  # fmt: skip
"""What the registry of special addresses lists, written down once more."""


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """The judgement to compare with: what a packet to this address would reach is public."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in NOT_PUBLIC)
    number = int(address)
    if number >> 32 in (0, 0xFFFF, 0x0064FF9B << 64):  # compatible, mapped, NAT64
        return is_public(IPv4Address(number & 0xFFFFFFFF))
    if number >> 112 == 0x2002:
        return is_public(IPv4Address((number >> 80) & 0xFFFFFFFF))
    if number >> 96 == 0x20010000:
        server, client = (number >> 64) & 0xFFFFFFFF, ~number & 0xFFFFFFFF
        return is_public(IPv4Address(server)) and is_public(IPv4Address(client))
    special = ("2001::/23", "2001:db8::/32", "3fff::/20")
    return number >> 125 == 1 and not any(address in IPv6Network(one) for one in special)


EDGES = [int(edge) for one in NOT_PUBLIC for edge in (one[0], one[-1])]
V4 = st.one_of(
    st.integers(0, 2**32 - 1), st.sampled_from(EDGES),
    st.sampled_from(EDGES).map(lambda edge: (edge + 1) % 2**32),
    st.sampled_from(EDGES).map(lambda edge: (edge - 1) % 2**32),
)  # fmt: skip
V6 = st.one_of(
    st.integers(0, 2**128 - 1), V4, V4.map(lambda one: one | 0xFFFF << 32),
    V4.map(lambda one: one | 0x0064FF9B << 96), V4.map(lambda one: one << 80 | 0x2002 << 112),
    st.tuples(V4, V4).map(lambda two: 0x20010000 << 96 | two[0] << 64 | two[1]),
    st.integers(0, 2**125 - 1).map(lambda one: one | 1 << 125),
)  # fmt: skip
ADDRESSES = st.one_of(V4.map(IPv4Address), V6.map(IPv6Address))


@fuzzed(500)
@given(ADDRESSES, st.integers(0, 65535), st.sampled_from([(80, 443), (443,), (8080, 80)]))
def test_row16_18_an_address_is_judged_as_the_registries_say(
    address: IPv4Address | IPv6Address, port: int, ports: tuple[int, ...]
) -> None:
    if address == IPv4Address("168.63.129.16") or int(address) & 0xFFFFFFFF == 0xA83F8110:
        return  # public by the registries, and refused by us
    assert may_dial(address, 443, (), (443,)) == is_public(address)
    assert may_dial(address, port, (), ports) == (is_public(address) and port in ports)


def _spelled(number: int) -> list[str]:
    """An IPv4 address as the C library of many systems also reads it."""
    a, b, c, d = IPv4Address(number).packed
    return [
        str(number), hex(number), oct(number).replace("o", ""), f"{a}.{b}.{c}.{d}",
        f"{a}.{number & 0xFFFFFF}", f"{a}.{b}.{number & 0xFFFF}", f"0{a:o}.{b}.{c}.{d}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}", f"{a}.{b}.{c}.{d}.", f"[::ffff:{a}.{b}.{c}.{d}]",
    ]  # fmt: skip


HOSTS = st.one_of(
    V4.flatmap(lambda one: st.sampled_from(_spelled(one))),
    V6.map(lambda one: f"[{IPv6Address(one)}]"),
    st.sampled_from(["public.example", "private.example", "localhost", "①②⑦.0.0.1", "", "%31"]),
    st.text("abc012.:@[]%-_xX/\\?#&\t\n ", max_size=20),
)
URIS = st.one_of(
    st.builds(
        "{}{}{}{}{}{}".format,
        st.sampled_from(["http", "https", "HTTP", "file", "s3", "gopher", "", "ht tp"]),
        st.sampled_from(["://", ":/", ":", "://u@", "://u:p@", ":////", "://public.example\\@"]),
        HOSTS,
        st.sampled_from(["", ":80", ":443", ":0", ":99999", ":", ":80:80", ":22"]),
        st.sampled_from(["", "/", "\\", "?", "#", "/a@"]),
        st.text(max_size=8),
    ),
    st.text(max_size=40),
)


def _written(host: str | None) -> str:
    """A host in one of the ways in which it can be written."""
    plain = (host or "").strip("[]").lower()
    try:
        return ip_address(plain).exploded
    except ValueError:
        return plain


@fuzzed(1000)
@given(URIS)
def test_row17_21_what_is_accepted_is_read_alike_by_others(uri: str) -> None:
    """What passes, passes with a host that another parser sees too, and the C library."""
    with _refused("uri_invalid", "uri_blocked", "scheme_disabled") as refused:
        url = parse(uri, schemes=("http", "https"))
        check_literal(url, ())
    if refused:
        return
    host = url.raw_host or ""
    assert host
    assert not url.raw_user
    again = parse_url(str(url))
    assert _written(again.host) == _written(host)
    usual = {"http": 80, "https": 443}[url.scheme]
    assert (usual if again.port is None else again.port) == url.port
    if uri.isascii():
        with suppress(LocationParseError):
            assert _written(parse_url(uri).host) == _written(host), uri
    with suppress(OSError):
        assert is_public(IPv4Address(socket.inet_aton(host)))
    with suppress(ValueError):
        assert is_public(ip_address(host))


@fuzzed(25)
@given(st.lists(URIS, min_size=20, max_size=40), st.lists(ADDRESSES, min_size=1, max_size=3))
def test_row16_17_18_20_21_nobody_is_dialled_who_must_not_be(
    uris: list[str], answers: list[IPv4Address | IPv6Address]
) -> None:
    """With a name service that answers anything, at every door of the fetcher."""
    names = Names(
        {"public.example": [["1.1.1.1"]], "private.example": [[str(one) for one in answers]]}
    )

    async def scenario() -> None:
        with dialled() as seen:
            got = await fetched(*uris, settings=FetchSettings(), resolver=names)
        assert not [raw for raw in got.raws if raw.data]
        assert len(got.failures) == len(uris)
        for host, port in seen.addresses:
            assert port in (80, 443)
            assert is_public(ip_address(host)), host
        assert set(seen.names) <= {"localhost"}

    run(scenario())


@fuzzed(500)
@given(
    st.one_of(
        st.text(max_size=40).map(lambda key: f"s3://bucket/{key}"),
        st.lists(st.sampled_from(["..", ".", "", "a", "a?b", "%2e%2e", "listed", "#"]), max_size=6)
        .map("/".join).map(lambda key: f"s3://bucket/{key}"),
        st.builds("s3://{}/{}".format, HOSTS, st.text(max_size=10)),
    )
)  # fmt: skip
def test_row25_an_object_lies_where_its_address_says(uri: str) -> None:
    with _refused("uri_invalid", "uri_blocked") as refused:
        place = objects.parse(uri)
    if refused:
        return
    again = parse_url(f"http://store{place.path}")
    assert (again.host, again.query, again.fragment) == ("store", None, None)
    assert place.path.isascii()
    if objects.is_listed(place, ["s3://bucket/listed"]):
        path = os.path.normpath(uri.partition("://")[2]) + "/"
        assert path.startswith("bucket/listed/")


# ---- pictures

STARTS = [make()[:64] for make in FILES.values()]


@fuzzed(500)
@given(st.one_of(st.sampled_from(STARTS), st.binary(max_size=8)), st.binary(max_size=200))
def test_row33_34_any_bytes_are_a_picture_or_a_failure(start: bytes, rest: bytes) -> None:
    with _refused("not_an_image", "unsupported_format", "too_many_pixels", "undecodable"):
        image = decode(start + rest, max_pixels=10_000)
        assert image.width * image.height <= 10_000


# ---- messages between processes

PLAN = Plan("q", "s", {"k": 1}, 0, 1, ("probs",))
MESSAGES = [
    frames.encode(frames.Message(PLAN, content))
    for content in (
        Items(0, (Item("a", blob=b"bytes"), Item("b", uri="u")), (0, 1), ("", "")),
        Raws(0, (Raw("a", b"bytes"),), (Failure("b", "fetch", "c", "m"),)),
        Batch(0, ("a",), np.zeros((1, 2, 2, 3), np.uint8), digests=("d",)),
        Views(0, ("a",), {"probs": np.eye(2)}, "m", digests=("d",)),
        Scored(0, 1), Notes({"a": 1.0}),
    )
]  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


@fuzzed(500)
@given(st.sampled_from(MESSAGES), st.data())
def test_row72_a_message_that_nobody_wrote_is_no_frame(
    message: tuple[bytes, bytes], data: st.DataObject
) -> None:
    header, payload = message
    fields: dict[str, Any] = json.loads(header)
    for key in data.draw(st.lists(st.sampled_from(sorted(fields)), max_size=2, unique=True)):
        fields[key] = data.draw(JSON)
    kind = data.draw(st.sampled_from(["fields", "bytes", "short"]))
    header = data.draw(st.binary(max_size=40)) if kind == "bytes" else json.dumps(fields).encode()
    if kind == "short":
        payload = payload[: data.draw(st.integers(0, len(payload)))]
    with suppress(ValueError):
        frames.decode(header, payload)


@pytest.mark.parametrize("dtype", ["O", "|O8", "O,i4", "V9999999999", "U1", "no", ",", "(9,9)i8"])
def test_row72_an_array_of_objects_is_no_frame(dtype: str) -> None:
    header, payload = frames.encode(frames.Message(PLAN, Views(0, ("a",), {"probs": np.eye(2)})))
    fields = json.loads(header)
    fields["arrays"]["probs"][1] = dtype
    with suppress(ValueError):
        message = frames.decode(json.dumps(fields).encode(), payload)
        assert isinstance(message.content, Views)
        assert message.content.arrays["probs"].dtype.hasobject is False


# ---- what is stored


@fuzzed(300)
@given(JSON | st.fixed_dictionaries({"shape": JSON, "dtype": JSON | st.just("float32")}))
def test_row62_a_description_of_rows_is_read_or_refused(document: Any) -> None:
    with suppress(ValueError, KeyError, TypeError):
        kind = RowType.read(document)
        assert kind.nbytes > 0


DIGESTS = [digest(str(row).encode()) for row in range(300)]
ROWS = np.random.default_rng(0).random((300, 4), np.float32)


@cache
def _stored() -> dict[str, bytes]:
    """The files of a store, by their paths in it."""
    with tempfile.TemporaryDirectory() as folder:
        store = FeatureStore(folder)
        for start in range(0, 300, 100):
            store.put("space", "probs", DIGESTS[start : start + 100], ROWS[start : start + 100])
            store.flush()
        store.close()
        paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


@fuzzed(15)
@given(seed=st.integers(0, 2**32 - 1))
def test_row62_a_damaged_store_gives_right_rows_or_none(seed: int) -> None:
    draw, files = random.Random(seed), dict(_stored())
    for path in draw.sample([path for path in files if files[path]], draw.randint(1, 3)):
        data = bytearray(files[path])
        for _ in range(draw.choice((1, 4, 64))):
            data[draw.randrange(len(data))] = draw.randrange(256)
        files[path] = bytes(data[: draw.choice((len(data), draw.randrange(1, len(data) + 1)))])
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            (Path(folder) / path).parent.mkdir(parents=True, exist_ok=True)
            (Path(folder) / path).write_bytes(content)
        store = FeatureStore(folder)
        found, rows = store.get("space", "probs", DIGESTS)
        assert rows.reshape(-1, 4).tobytes() == ROWS[found].tobytes()
        store.put("space", "probs", DIGESTS, ROWS)
        assert store.get("space", "probs", DIGESTS)[1].tobytes() == ROWS.tobytes()
        store.close()
