"""What becomes of messages whose process goes away: delivered or not, and who is asked."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
import pytest

from alaas.server.links import AHEAD, Call, Links, Lost

SERVER = """
import asyncio, sys
import grpc

class Echo(grpc.GenericRpcHandler):
    def service(self, details):
        async def answer(message, context):
            if message == b"hold":
                print("held", flush=True)
                await asyncio.Event().wait()
            return sys.argv[1].encode()
        return grpc.unary_unary_rpc_method_handler(answer)

async def main():
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((Echo(),))
    port = server.add_insecure_port("127.0.0.1:" + sys.argv[2])
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()

asyncio.run(main())
"""


class Echo:
    """A server in a process of its own that answers with its name."""

    def __init__(self, name: str, port: int = 0) -> None:
        command = [sys.executable, "-c", SERVER, name, str(port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.line())

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def end(self, how: signal.Signals = signal.SIGKILL) -> None:
        self.process.send_signal(how)
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@contextmanager
def running(*names: str) -> Iterator[list[Echo]]:
    servers = [Echo(name) for name in names]
    try:
        yield servers
    finally:
        for server in servers:
            if server.process.poll() is None:
                server.end()


def stub(channel: grpc.aio.Channel) -> Call:
    return channel.unary_unary("/test/Echo")


def links(*servers: Echo) -> Links:
    return Links({"infer": [f"127.0.0.1:{one.port}" for one in servers]}, stub)


async def ask(linked: Links, message: bytes = b"ask") -> Any:
    async with asyncio.timeout(60):
        return await linked.send("infer", message)


async def ask_until_answered(linked: Links) -> Any:
    async with asyncio.timeout(60):
        while True:
            try:
                return await linked.send("infer", b"ask")
            except Lost:
                await asyncio.sleep(0.01)


def test_nobody_there_means_not_delivered() -> None:
    with running("one") as (one,):
        one.end()

        async def scenario() -> None:
            linked = links(one)
            for _ in range(3):
                with pytest.raises(Lost) as lost:
                    await ask(linked)
                assert (lost.value.stage, lost.value.delivered) == ("infer", False)
            await linked.close()

        asyncio.run(scenario())


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_an_end_in_the_middle_means_delivered(how: signal.Signals) -> None:
    with running("one") as (one,):

        async def scenario() -> None:
            linked = links(one)
            held = asyncio.create_task(ask(linked, b"hold"))
            await asyncio.to_thread(one.line)
            one.end(how)
            with pytest.raises(Lost) as lost:
                await held
            assert lost.value.delivered
            await linked.close()

        asyncio.run(scenario())


def test_the_next_process_on_the_port_is_found() -> None:
    with running("one") as servers:

        async def scenario() -> bytes:
            linked = links(servers[0])
            assert await ask(linked) == b"one"
            servers[0].end()
            with pytest.raises(Lost):
                await ask(linked)
            servers.append(await asyncio.to_thread(Echo, "two", servers[0].port))
            answer: bytes = await ask_until_answered(linked)
            await linked.close()
            return answer

        assert asyncio.run(scenario()) == b"two"


def test_whoever_has_the_fewest_is_asked_and_equals_in_turns() -> None:
    with running("one", "two") as (one, two):

        async def scenario() -> None:
            linked = links(one, two)
            assert [await ask(linked) for _ in range(4)] == [b"one", b"two"] * 2
            held = asyncio.create_task(ask(linked, b"hold"))
            await asyncio.to_thread(one.line)
            assert [await ask(linked) for _ in range(3)] == [b"two"] * 3
            held.cancel()
            await asyncio.wait([held])
            assert {await ask(linked) for _ in range(2)} == {b"one", b"two"}
            await linked.close()

        asyncio.run(scenario())


def test_one_that_refuses_is_not_asked_again_and_again() -> None:
    with running("one", "two") as (one, two):
        one.end()

        async def scenario() -> None:
            linked = links(one, two)
            answers = [await asyncio.wait_for(_or_lost(linked), 60) for _ in range(5)]
            assert answers.count(b"two") == 4
            await linked.close()

        asyncio.run(scenario())


def test_one_that_refused_is_asked_before_all_wait_for_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It has started meanwhile, and would stand idle beside one that has everything."""
    monkeypatch.setattr("alaas.server.links.AVOIDED_S", 3_600)
    with running("one", "two") as servers:
        one, two = servers
        one.end()

        async def scenario() -> None:
            linked = links(one, two)
            assert {await _or_lost(linked) for _ in range(2)} == {None, b"two"}
            servers.append(await asyncio.to_thread(Echo, "three", one.port))
            held = [asyncio.create_task(ask(linked, b"hold")) for _ in range(AHEAD)]
            for _ in held:
                await asyncio.to_thread(two.line)
            async with asyncio.timeout(60):  # it may refuse until the connection is tried again
                while await _or_lost(linked) != b"three":
                    pass
            assert not any(task.done() for task in held)
            for task in held:
                task.cancel()
            await asyncio.wait(held)
            await linked.close()

        asyncio.run(scenario())


async def _or_lost(linked: Links) -> Any:
    try:
        return await ask(linked)
    except Lost:
        return None
