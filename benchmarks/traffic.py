"""Requests of every kind to a service: good ones, mistakes, and what is meant to do harm.

    python -m benchmarks.traffic ADDRESSES --seconds 60 --rate 20

sends them at random moments, so many a second on average whatever becomes of them, and prints
a line of JSON for each that has ended; with ``--closed N`` N callers send one after the other.
ADDRESSES is JSON: where http, ws and grpc are spoken, and ``web``, a server with pictures
`0.png` to `99.png`. The seed decides what is sent when.
"""

from __future__ import annotations

import argparse
import base64
import json
import random
import socket
import struct
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any
from urllib.parse import urlsplit

import requests

from alaas.client import Client
from alaas.core.errors import AlaasError
from benchmarks.memory import png

PICTURES = 100
STORED = "soak"
WAIT_S = 60.0
CALLERS = 64
STRATEGIES = ("LeastConfidence", "MarginConfidence", "EntropySampling", "RandomSampling",
              "KCenterGreedy", "badge")  # fmt: skip
JSON = "application/json"
PRIVATE = ("http://10.0.0.1/a.png", "http://169.254.169.254/latest/meta-data",
           "http://[::ffff:10.0.0.1]/a.png", "http://167772161/a.png", "http://0xa.1/a.png",
           "http://100.64.0.1/a.png", "file:///etc/passwd")  # fmt: skip


class Caller:
    """Sends one request of a kind, and says what became of it.

    Args:
        addresses: Where the protocols are spoken, and ``web``.
        seed: Of what is in the requests.
    """

    def __init__(self, addresses: Mapping[str, str], seed: int) -> None:
        self._addresses = addresses
        self._numbers = random.Random(seed)
        self._lock = threading.Lock()
        self._clients = {
            name: Client(addresses[name], progress=False) for name in ("http", "ws", "grpc")
        }

    def _number(self) -> int:
        with self._lock:
            return self._numbers.getrandbits(31)

    def _fresh(self, count: int) -> list[dict[str, Any]]:
        """Pictures that nobody has seen."""
        first = self._number()
        return [
            {"id": str(row), "blob": base64.b64encode(png(first + row)).decode()}
            for row in range(count)
        ]

    def _post(self, body: bytes | str, *, path: str = "/query") -> str:
        """Send a body on a connection of its own; the status, and the code of a problem."""
        answer = requests.post(
            self._addresses["http"] + path,
            data=body,
            headers={"Content-Type": JSON},
            timeout=WAIT_S,
        )
        document = answer.json()
        if answer.status_code != 200:
            return f"{answer.status_code} {document['code']}"
        lost = sorted({one["code"] for one in document["failures"]})
        return " ".join(["200", *lost])

    def _query(self, data: list[Any], **parameters: Any) -> str:
        return self._post(json.dumps({"data": data, "parameters": {"budget": 3, **parameters}}))

    def _raw(self, sent: bytes) -> socket.socket:
        at = urlsplit(self._addresses["http"])
        connection = socket.create_connection((at.hostname, at.port), timeout=WAIT_S)
        connection.sendall(sent)
        return connection

    def push(self) -> str:
        """Store the pool that `stored` chooses from."""
        body = {"data": self._fresh(PICTURES), "parameters": {"pool": STORED}}
        return self._post(json.dumps(body), path="/push")

    def uri(self) -> str:
        """20 addresses, which a web server has."""
        first = self._number()
        web = self._addresses["web"]
        return self._query([{"uri": f"{web}/{(first + row) % PICTURES}.png"} for row in range(20)])

    def blob(self) -> str:
        """8 pictures in one document."""
        return self._query(self._fresh(8))

    def lines(self) -> str:
        """32 pictures in lines, by the client, whose connections are kept."""
        return self._by(self._clients["http"])

    def stored(self) -> str:
        """A choice from a stored pool, by one of several strategies."""
        strategy = STRATEGIES[self._number() % len(STRATEGIES)]
        return self._query([], pool=STORED, strategy=strategy)

    def websocket(self) -> str:
        """32 pictures over WebSocket."""
        return self._by(self._clients["ws"])

    def grpc(self) -> str:
        """32 pictures over gRPC."""
        return self._by(self._clients["grpc"])

    def _by(self, client: Client) -> str:
        try:
            return "200" if len(client.query(self._fresh(32), 3)) == 3 else "200 too few"
        except AlaasError as error:
            return f"{error.status} {error.code}"

    def malformed(self) -> str:
        """A body that is not JSON."""
        return self._post('{"data": [')

    def invalid(self) -> str:
        """A budget of 0."""
        return self._query(self._fresh(1), budget=0)

    def unknown(self) -> str:
        """A strategy that nobody knows."""
        return self._query(self._fresh(1), strategy="LeastConfidense")

    def many(self) -> str:
        """More items than one document may have."""
        return self._query(["x"] * 10_001)

    def large(self) -> str:
        """The head of a body that is too large; the rest is never sent."""
        head = f"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {JSON}\r\n"
        with self._raw(f"{head}Content-Length: {2**30}\r\n\r\n".encode()) as connection:
            return _answered(connection)

    def noise(self) -> str:
        """Nothing but items that are no pictures."""
        return self._query([{"blob": base64.b64encode(b"noise" * row).decode()} for row in (1, 2)])

    def gone(self) -> str:
        """Nothing but addresses that the web server does not have."""
        return self._query([{"uri": f"{self._addresses['web']}/gone.png"}])

    def private(self) -> str:
        """Addresses that must not be reached, and a picture."""
        return self._query([*self._fresh(3), *({"uri": one} for one in PRIVATE)])

    def bomb(self) -> str:
        """A picture of 400 million pixels in 50 KB, and some of ours."""
        return self._query([{"id": "bomb", "blob": BOMB}, *self._fresh(3)])

    def deep(self) -> str:
        """Lists in lists."""
        return self._post('{"data": ' + "[" * 10_000 + "]" * 10_000 + "}")

    def slow(self) -> str:
        """A head that comes byte by byte, until the server has had enough."""
        head = b"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X-Slow: 1\r\n" * 8
        with self._raw(b"") as connection:
            connection.settimeout(0.5)
            for byte in head:
                try:
                    connection.send(bytes([byte]))
                    if found := connection.recv(4096):
                        return found.split(b" ", 2)[1].decode()
                    return "hung up"
                except TimeoutError:
                    continue
                except OSError:
                    return "hung up"
        return "still there"

    def aborted(self) -> str:
        """A query whose caller hangs up at once, with a reset."""
        body = json.dumps({"data": self._fresh(200), "parameters": {"budget": 3}})
        head = f"POST /query HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {JSON}\r\n"
        connection = self._raw(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        return "hung up"


def _answered(connection: socket.socket) -> str:
    """The status of an answer, and the code of the problem in it."""
    received = b""
    while part := connection.recv(65536):
        received += part
        if b'"instance"' in received:
            break
    code = received.partition(b'"code":"')[2].partition(b'"')[0]
    return f"{received.split(b' ', 2)[1].decode()} {code.decode()}"


def _bomb(edge: int) -> str:
    """A PNG of one colour, of so many pixels an edge."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + (edge + 7) // 8)) for _ in range(edge)) + rows.flush()
    parts = (b"IHDR", struct.pack(">IIBBBBB", edge, edge, 1, 0, 0, 0, 0)), (b"IDAT", data), (
        b"IEND", b"")  # fmt: skip
    made = b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )
    return base64.b64encode(made).decode()


BOMB = _bomb(20_000)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request.

    Attributes:
        send: Sends one.
        group: ``good``, ``bad`` or ``hostile``.
        weight: How often it comes, beside the others.
        expected: What may become of it.
    """

    send: Callable[[Caller], str]
    group: str
    weight: float
    expected: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "uri": Kind(Caller.uri, "good", 14, ("200",)),
    "blob": Kind(Caller.blob, "good", 14, ("200",)),
    "lines": Kind(Caller.lines, "good", 10, ("200",)),
    "websocket": Kind(Caller.websocket, "good", 10, ("200",)),
    "grpc": Kind(Caller.grpc, "good", 10, ("200",)),
    "stored pool": Kind(Caller.stored, "good", 14, ("200",)),
    "not JSON": Kind(Caller.malformed, "bad", 3, ("400 malformed_json",)),
    "budget 0": Kind(Caller.invalid, "bad", 3, ("422 validation",)),
    "unknown strategy": Kind(Caller.unknown, "bad", 3, ("404 unknown_strategy",)),
    "too many items": Kind(Caller.many, "bad", 1, ("413 too_many_items",)),
    "too large": Kind(Caller.large, "bad", 3, ("413 body_too_large",)),
    "no pictures": Kind(Caller.noise, "bad", 3, ("422 all_items_failed",)),
    "all gone": Kind(Caller.gone, "bad", 3, ("502 all_items_failed",)),
    "private addresses": Kind(
        Caller.private, "hostile", 3, ("200 scheme_disabled uri_blocked",)
    ),
    "pixel bomb": Kind(Caller.bomb, "hostile", 1, ("200 too_many_pixels",)),
    "deep JSON": Kind(Caller.deep, "hostile", 2, ("400 malformed_json", "422 validation")),
    "byte by byte": Kind(Caller.slow, "hostile", 1, ("408", "hung up")),
    "hung up": Kind(Caller.aborted, "hostile", 2, ("hung up",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ended:
    """A request that has ended.

    Attributes:
        kind: What it was.
        at: When it was due, in seconds since the first.
        seconds: From then to its end.
        outcome: What became of it.
    """

    kind: str
    at: float
    seconds: float
    outcome: str


def send(caller: Caller, kind: str, at: float, started: float) -> None:
    """Send one request and print what became of it. The time that it was late counts."""
    try:
        outcome = KINDS[kind].send(caller)
    except Exception as error:  # noqa: BLE001  # a caller of no kind may end the others
        outcome = f"{type(error).__name__}: {error}"[:200]
    ended = Ended(kind, at, time.monotonic() - started - at, outcome)
    sys.stdout.write(json.dumps(asdict(ended)) + "\n")
    sys.stdout.flush()


def drawn(rng: random.Random, groups: tuple[str, ...]) -> Iterator[str]:
    """Kinds at random, for ever."""
    names = [name for name, kind in KINDS.items() if kind.group in groups]
    weights = [KINDS[name].weight for name in names]
    while True:
        yield rng.choices(names, weights)[0]


def open_loop(caller: Caller, rng: random.Random, rate: float, seconds: float) -> None:
    """Send so many a second on average, at random moments, whatever becomes of them."""
    at, pause, started = 0.0, threading.Event(), time.monotonic()
    with ThreadPoolExecutor(CALLERS) as pool:
        for kind in drawn(rng, ("good", "bad", "hostile")):
            at += rng.expovariate(rate)
            if at > seconds:
                break
            pause.wait(max(0.0, started + at - time.monotonic()))
            pool.submit(send, caller, kind, at, started)


def closed_loop(caller: Caller, rng: random.Random, callers: int, seconds: float) -> None:
    """Let so many callers send good requests, each as soon as its last one has ended."""
    started, kinds, lock = time.monotonic(), drawn(rng, ("good", "bad")), threading.Lock()

    def call(_: int) -> None:
        while (at := time.monotonic() - started) < seconds:
            with lock:
                kind = next(kinds)
            send(caller, kind, at, started)

    with ThreadPoolExecutor(callers) as pool:
        list(pool.map(call, range(callers)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("addresses", type=json.loads)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=10.0, help="requests a second")
    parser.add_argument("--closed", type=int, metavar="N", help="callers, in place of a rate")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    caller, rng = Caller(arguments.addresses, arguments.seed), random.Random(arguments.seed)
    if (pushed := caller.push()) != "200":
        sys.exit(f"the pool could not be pushed: {pushed}")
    if arguments.closed:
        closed_loop(caller, rng, arguments.closed, arguments.seconds)
    else:
        open_loop(caller, rng, arguments.rate, arguments.seconds)


if __name__ == "__main__":
    main()
