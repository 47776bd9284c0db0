"""What the twenty most dangerous inputs return, and whether the service is well afterwards.

    python tests/faults/dangerous.py

starts a server, sends them one after the other, asks an ordinary query after each, and prints
a table. The exit status is 1 if one returned something else than it should.
"""

from __future__ import annotations

import base64
import gzip
import json
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import requests
from evil_peer import MIB, evil
from faults import WAIT_S, Running, running
from PIL import Image

from benchmarks.traffic import BOMB

SILENCE_S = 2.0
HEAD = "POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
REPLACED = "; the process that it killed was replaced"


def picture(number: int, colour: bytes | None = None) -> dict[str, str]:
    """An item that is a picture of 8 by 8 pixels of one colour."""
    stream = BytesIO()
    drawn = tuple(colour or (number * 11 % 256, number * 7 % 256, 90))
    Image.new("RGB", (8, 8), drawn).save(stream, "PNG")
    return {"id": str(number), "blob": base64.b64encode(stream.getvalue()).decode()}


GOOD = [picture(number) for number in range(12)]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the inputs are sent, and what they name.

    Attributes:
        server: The server.
        web: URL of the web server that means harm.
        root: The folder that may be read.
        wanted: What an ordinary query picks.
    """

    server: Running
    web: str
    root: Path
    wanted: tuple[str, ...]


def told(answer: requests.Response) -> str:
    """The status of an answer with its code, or those of the items that failed."""
    document = answer.json()
    if answer.status_code != 200:
        return f"{answer.status_code} {document['code']}"
    lost = sorted({one["code"] for one in document.get("failures", ())})
    return " ".join(["200,", str(len(document.get("data", ()))), "picked,", *lost])


def body(text: str | bytes, **headers: str) -> Callable[[Place], str]:
    """Send a body to ``POST /query``."""

    def send(place: Place) -> str:
        headers.setdefault("Content-Type", "application/json")
        url = f"{place.server.url}/query"
        return told(requests.post(url, data=text, headers=headers, timeout=WAIT_S))

    return send


def query(data: list[Any], **parameters: Any) -> Callable[[Place], str]:
    """Send a query as JSON."""
    return body(json.dumps({"data": data, "parameters": {"budget": 3, **parameters}}))


def beside(item: Callable[[Place], dict[str, str]]) -> Callable[[Place], str]:
    """Send one item beside good ones."""
    return lambda place: query([{"id": "evil", **item(place)}, *GOOD])(place)


def raw(sent: bytes) -> Callable[[Place], str]:
    """Send bytes, and nothing more; the first thing that comes back."""

    def send(place: Place) -> str:
        with socket.create_connection(("127.0.0.1", place.server.ports[0]), WAIT_S) as connection:
            # It may hang up before the end, and has said why.
            with suppress(OSError):
                connection.sendall(sent)
            return first(connection)

    return send


def first(connection: socket.socket) -> str:
    """The status and the code of the answer that stands on a connection."""
    received = b""
    with suppress(ConnectionResetError):
        while b'"instance"' not in received and (part := connection.recv(65536)):
            received += part
    if not received:
        return "hung up"
    code = received.partition(b'"code":"')[2].partition(b'"')[0]
    return f"{received.split(b' ', 2)[1].decode()} {code.decode()}".strip()


def chunked(place: Place) -> str:
    """Send a body without a length and without an end."""
    part = b"100000\r\n" + b"[" * MIB + b"\r\n"
    return raw(f"{HEAD}Transfer-Encoding: chunked\r\n\r\n".encode() + part * 64)(place)


def trickle(place: Place) -> str:
    """Send a head, and one byte now and then, as long as it is taken."""
    with socket.create_connection(("127.0.0.1", place.server.ports[0]), 0.3) as connection:
        connection.sendall(b"POST /query HTTP/1.1\r\n")
        for _ in range(int(WAIT_S / 0.3)):
            try:
                connection.sendall(b"X")
                received = connection.recv(4096)
            except TimeoutError:
                continue
            except OSError:
                return "hung up"
            return received.split(b" ", 2)[1].decode() if received else "hung up"
    return "served for ever"


def link(place: Place) -> dict[str, str]:
    """A link that leads out of the folder that may be read."""
    path = place.root / "link.png"
    path.symlink_to("/etc/passwd")
    return {"uri": str(path)}


def pipe(place: Place) -> dict[str, str]:
    """A pipe, at whose other end nobody is."""
    path = place.root / "pipe.png"
    os.mkfifo(path)
    return {"uri": str(path)}


def uri(address: str) -> Callable[[Place], str]:
    """An address beside good items."""
    return beside(lambda _: {"uri": address})


def evil_uri(path: str) -> Callable[[Place], str]:
    """An address of the web server that means harm, beside good items."""
    return beside(lambda place: {"uri": f"{place.web}/{path}"})


@dataclass(frozen=True, slots=True)
class Input:
    """A dangerous input.

    Attributes:
        send: Sends it; what came back.
        returns: What should come back, one of these.
        after: What the service may have done, beside nothing.
    """

    send: Callable[[Place], str]
    returns: tuple[str, ...]
    after: str = ""


def lost(code: str) -> tuple[str, ...]:
    """One item is lost, and the others are ranked."""
    return (f"200, 3 picked, {code}",)


INPUTS: Mapping[str, Input] = {
    "a body of 1 GiB, announced": Input(
        raw(f"{HEAD}Content-Length: {2**30}\r\n\r\n".encode()), ("413 body_too_large",)
    ),
    "a body without a length or an end": Input(chunked, ("413 body_too_large", "hung up")),
    "a head that comes byte by byte": Input(trickle, ("408", "hung up")),
    "JSON 100,000 levels deep": Input(
        body('{"data":' + "[" * 100_000), ("400 malformed_json", "422 validation")
    ),
    "a number of a million digits": Input(
        body('{"data":["x"],"parameters":{"budget":' + "9" * 1_000_000 + "}}"),
        ("400 malformed_json", "422 validation"),
    ),
    "a body that unpacks to 1 GiB": Input(
        body(gzip.compress(bytes(1024 * MIB), 1), **{"Content-Encoding": "gzip"}),
        ("415 unsupported_media_type",),
    ),
    "10,001 items": Input(query(["x"] * 10_001), ("413 too_many_items",)),
    "a Host header with a path": Input(
        raw(b"GET /pools HTTP/1.1\r\nHost: a/livez?x=\r\n\r\n"), ("400 host_refused",)
    ),
    "a page of another origin that posts": Input(
        body('{"data":[]}', Origin="https://evil.example"), ("403 forbidden",)
    ),
    "the address of a cloud's secrets": Input(
        uri("http://169.254.169.254/latest/meta-data/iam"), lost("uri_blocked")
    ),
    "a private address in decimal": Input(uri("http://167772161/a.png"), lost("uri_blocked")),
    "a public server that redirects to a private one": Input(
        evil_uri("redirect.png"), lost("uri_blocked")
    ),
    "a link out of the folder that may be read": Input(beside(link), lost("uri_blocked")),
    "a pipe in it": Input(beside(pipe), lost("uri_blocked")),
    "a body without an end, fetched": Input(evil_uri("endless.png"), lost("object_too_large")),
    "a body that unpacks to 1 GiB, fetched": Input(evil_uri("packed.png"), lost("fetch_failed")),
    "HTML that is called a picture": Input(evil_uri("page.jpg"), lost("not_an_image")),
    "400 million pixels in 50 KB": Input(
        beside(lambda _: {"blob": BOMB}), lost("too_many_pixels")
    ),
    "an id with line breaks and escape sequences": Input(
        query([{**GOOD[0], "id": "a\n\x1b[31m{}\r\n"}, {**GOOD[1], "id": "b"}]),
        ("200, 2 picked,",),
    ),
    "a picture that kills whoever sees it": Input(
        beside(lambda _: {"blob": picture(0, b"\xff\0\0")["blob"]}),
        lost("item_crashed_worker"), REPLACED,
    ),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an input.

    Attributes:
        name: The input.
        returned: What came back.
        after: How the service was then.
        good: Whether both are as they should be.
    """

    name: str
    returned: str
    after: str
    good: bool


def judge(place: Place, name: str) -> Outcome:
    """Send an input, then an ordinary query, and see which processes are still there."""
    one, before = INPUTS[name], {process.pid for process in place.server.family()}
    try:
        returned = one.send(place)
    except (requests.RequestException, OSError) as error:
        returned = f"no answer: {type(error).__name__}"
    well = picks(place.server) == place.wanted
    after = "answers as before" if well else "does not answer as before"
    if before - {process.pid for process in place.server.family()}:
        after += REPLACED
    allowed = ("answers as before", f"answers as before{one.after}")
    return Outcome(name, returned.strip(" ,"), after, returned in one.returns and after in allowed)


def picks(server: Running) -> tuple[str, ...]:
    """What an ordinary query picks."""
    answer = server.post("/query", {"data": GOOD, "parameters": {"budget": 3}})
    return tuple(one["id"] for one in answer.json().get("data", ()))


@contextmanager
def place(folder: Path) -> Iterator[Place]:
    """A server of its own, and a web server that means harm."""
    root = folder / "root"
    root.mkdir()
    settings: dict[str, Any] = {
        "model": {"name": "faulty:poisoned"},
        "fetch": {"networks": ["127.0.0.0/8"], "roots": [str(root)]},
        "limits": {"silence_s": SILENCE_S},
    }
    with evil() as web, running(folder / "server", **settings) as server:
        yield Place(server, web, root, picks(server))


def main() -> int:
    """Print the table; 1 if something is not as it should be."""
    bad = 0
    print("| input | returned | the service afterwards | |\n| --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder, place(Path(folder)) as target:
        for name in INPUTS:
            one = judge(target, name)
            bad += not one.good
            verdict = "" if one.good else "WRONG"
            print(f"| {one.name} | {one.returned} | {one.after} | {verdict} |", flush=True)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
