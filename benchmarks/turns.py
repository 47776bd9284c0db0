"""What each way does when its turn comes in a round."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from alaas.client import Client
from alaas.config import Settings
from alaas.core.wire import Item
from alaas.server import Server
from benchmarks import environments
from benchmarks.photographs import Pool, free_port
from benchmarks.rounds import Meter
from benchmarks.ways import Runner, check_arithmetic, runner, settings

FIRST, SECOND, THIRD = "least_confidence", "margin_confidence", "entropy"
AGAIN = 5
"""Times that a query over stored views is repeated: it takes milliseconds."""


@dataclass(frozen=True, slots=True)
class Round:
    """What there is to choose from in a round: photographs that nobody has seen before.

    Attributes:
        pool: The pool.
        grown: The pool, and 1 % more.
    """

    pool: Pool
    grown: Pool


@dataclass(frozen=True, slots=True)
class Bench:
    """What all ways have in common.

    Attributes:
        meter: Takes their time.
        weights: Weights of the network.
        scratch: Folder for what is kept between queries.
        environments: Folder of the other projects' environments.
        budget: Photographs to choose.
    """

    meter: Meter
    weights: Path
    scratch: Path
    environments: Path
    budget: int


Turn = Callable[[Round], None]


@contextmanager
def limits(bench: Bench, *, precision: str = "fp32") -> Iterator[Turn]:
    """The bare network, the shortest loop, and what the CPU seconds of its parts allow."""
    check_arithmetic(precision)
    tag = "" if precision == "fp32" else f", {precision}"
    with runner("benchmarks.ideal", str(bench.weights), precision) as ideal:
        from benchmarks.ideal import CORES

        def turn(now: Round) -> None:
            count = len(now.pool)
            items = max(32, count // 32 * 32)
            nothing = Pool((), ())

            def bare() -> list[int]:
                ideal.ask(nothing, what="bare", items=items)
                return []

            bench.meter.lap(f"bare{tag}", items, bare)
            asked = partial(ideal.ask, now.pool, what="loop", budget=bench.budget)
            bench.meter.lap(f"ideal{tag}", count, asked)
            each = ideal.ask(now.pool.part(64), what="parts")
            seconds = sum(each.values()) * count / CORES
            bench.meter.note(f"computed{tag}", count, seconds, like=f"ideal{tag}")

        yield turn


@contextmanager
def local(bench: Bench) -> Iterator[Turn]:
    """The local engine on files; nothing is kept."""
    with _engine(bench, store=None) as engine:
        yield lambda now: _ask(bench, engine, now.pool, "local")


def _ask(bench: Bench, engine: Runner, pool: Pool, row: str, strategy: str = FIRST) -> None:
    asked = partial(engine.ask, pool, budget=bench.budget, strategy=strategy)
    bench.meter.lap(row, len(pool), asked)


@contextmanager
def _engine(bench: Bench, store: Path | None) -> Iterator[Runner]:
    tree = Settings.model_validate(settings(bench.weights, store))
    with runner("benchmarks.local", tree.model_dump_json()) as engine:
        yield engine


@contextmanager
def service(bench: Bench, *, precision: str = "fp32") -> Iterator[Turn]:
    """A server, asked over HTTP by address and with the bytes, and over gRPC; nothing is kept.

    In other precisions only by address.
    """
    check_arithmetic(precision)
    worker = {"protocol": ["http", "grpc"], "port": [free_port(), free_port()]}
    tree = settings(bench.weights, None, precision=precision, worker=worker)
    lap = bench.meter.lap
    with ExitStack() as open_until_end:
        server = open_until_end.enter_context(Server(Settings.model_validate(tree)))
        http, grpc = (
            open_until_end.enter_context(Client(server.urls[name], progress=False))
            for name in ("http", "grpc")
        )

        def turn(now: Round) -> None:
            count = len(now.pool)
            by_uri = partial(_choose, http, _by_uri(now.pool), bench.budget)
            if precision != "fp32":
                lap(f"http, {precision}", count, by_uri)
                return
            lap("http", count, by_uri)
            lap("blob", count, lambda: _choose(http, _by_blob(now.pool), bench.budget))
            lap("grpc", count, partial(_choose, grpc, _by_uri(now.pool), bench.budget))

        yield turn


def _by_uri(pool: Pool) -> list[Item]:
    return [Item(str(row), uri=uri) for row, uri in enumerate(pool.uris)]


def _by_blob(pool: Pool) -> list[Item]:
    return [Item(str(row), blob=Path(path).read_bytes()) for row, path in enumerate(pool.paths)]


def _choose(client: Client, items: list[Item], budget: int, strategy: str = FIRST) -> list[int]:
    return [int(pick.id) for pick in client.query(items, budget, strategy=strategy)]


def _choose_stored(client: Client, name: str, budget: int) -> list[int]:
    return [int(pick.id) for pick in client.query(None, budget, strategy=SECOND, pool=name)]


@contextmanager
def stored(bench: Bench) -> Iterator[Turn]:
    """First and second queries, where what was computed is kept."""
    with ExitStack() as open_until_end:
        enter = open_until_end.enter_context
        engine = enter(_engine(bench, bench.scratch / "store-local"))
        worker = {"port": free_port()}
        tree = settings(bench.weights, bench.scratch / "store-server", worker=worker)
        server = enter(Server(Settings.model_validate(tree)))
        client = enter(Client(server.urls["http"], progress=False))

        def turn(now: Round) -> None:
            _from_files(bench, engine, now)
            _from_server(bench, client, now)

        yield turn


def _from_files(bench: Bench, engine: Runner, now: Round) -> None:
    lap, count = bench.meter.lap, len(now.pool)
    _ask(bench, engine, now.pool, "first, files")
    second = partial(engine.ask, now.pool, budget=bench.budget, strategy=SECOND)
    lap("second, files", count, second, repeats=AGAIN)
    _ask(bench, engine, now.grown, "grown, files", THIRD)


def _from_server(bench: Bench, client: Client, now: Round) -> None:
    lap, count, budget = bench.meter.lap, len(now.pool), bench.budget
    items = _by_uri(now.pool)
    lap("first, http", count, lambda: _choose(client, items, budget))
    lap("second, http", count, lambda: _choose(client, items, budget, SECOND), repeats=AGAIN)
    name = f"round-{bench.meter.round}"
    client.push(items, name)
    lap("second, pool", count, partial(_choose_stored, client, name, budget), repeats=AGAIN)
    client.delete_pool(name)


@contextmanager
def script(bench: Bench, row: str, name: str, *arguments: str) -> Iterator[Turn]:
    """A script of `peers` in this environment."""
    with runner(name, str(bench.weights), *arguments) as asked:
        yield partial(_peer, bench, row, asked)


def _peer(bench: Bench, row: str, asked: Runner, now: Round) -> None:
    bench.meter.lap(row, len(now.pool), partial(asked.ask, now.pool, budget=bench.budget))


@contextmanager
def peer_library(bench: Bench, row: str, name: str, *arguments: str) -> Iterator[Turn]:
    """A script of `peers` in the environment of Baal and modAL."""
    python = environments.LIBRARIES.build(bench.environments)
    with runner(name, str(bench.weights), *arguments, python=python) as asked:
        yield partial(_peer, bench, row, asked)


@contextmanager
def upstream(bench: Bench, row: str, batch_size: int) -> Iterator[Turn]:
    """ALaaS 0.2.1 in its own environment."""
    python = environments.UPSTREAM.build(bench.environments)
    arguments = (str(bench.weights), str(batch_size), str(free_port()))
    with runner("upstream_service.py", *arguments, python=python) as asked:
        yield partial(_peer, bench, row, asked)
