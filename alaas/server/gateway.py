"""The gateway: our HTTP and gRPC servers in front of the Flow, in one Jina process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import grpc as grpcio
import structlog
import uvicorn

from alaas.config import Settings, TLSSettings
from alaas.config.listeners import Listener
from alaas.core.errors import Internal, NoReplica, from_problem
from alaas.core.types import Admitted, Items, Notes, Plan, Scored, Selection, Stored
from alaas.core.wire import PoolInfo
from alaas.models.card import ModelCard
from alaas.pipeline.claims import Claims
from alaas.pipeline.engine import micro_batch
from alaas.server import frames, grpc, http, logs
from alaas.server.executors import Frames, pack, unpack
from alaas.server.metrics import Metrics
from alaas.server.process import settle
from alaas.server.service import Service

# `executors` has imported jina and docarray already, without torch.
from jina import Gateway as JinaGateway  # isort: skip
from jina.excepts import InternalNetworkError  # isort: skip
from jina.proto import jina_pb2  # isort: skip
from jina.types.request.data import DataRequest  # isort: skip

DRAIN_S = 30.0
"""Seconds that queries in flight get to finish when the server is asked to stop."""

FETCHING = "fetch|work"
"""The executors that fetch, whatever the layout."""

SEND_S = 5.0
"""Seconds that gRPC answers which are made get to be sent."""

log = structlog.get_logger()


class FlowEngine:
    """Sends micro-batches through the executors of a Flow.

    Jina's own prefetch would spin on the event loop when it is full, and counts per query;
    the window is a semaphore of ours, over all queries.

    Args:
        streamer: Jina's connection to the executors.
        card: The model that they run.
        batch_size: Items in a micro-batch.
        window: Micro-batches in flight.
    """

    def __init__(
        self, streamer: Any, card: ModelCard, *, batch_size: int, window: int
    ) -> None:  # fmt: skip
        self._streamer = streamer
        self.card = card
        self.batch_size = batch_size
        self.slots = asyncio.Semaphore(window)
        self.claims = Claims()

    async def admit(self, plan: Plan, items: Items) -> Admitted:
        """Have contents named where they can be without reading, and views recalled."""
        names = f"{FETCHING}|score" if plan.cache else "score"
        message = await self._send("/admit", frames.Message(plan, items), to=f"^({names})$")
        assert isinstance(message.content, Admitted)
        return replace(message.content, spent=message.spent)

    async def process(self, plan: Plan, items: Items) -> Scored:
        """Send one micro-batch through all executors."""
        message = await self._send("/score", frames.Message(plan, items))
        assert isinstance(message.content, Scored)
        return replace(message.content, spent=message.spent)

    async def select(self, plan: Plan, notes: Notes) -> Selection:
        """Have the scorer choose."""
        message = await self._send("/select", frames.Message(plan, notes), to="score")
        assert isinstance(message.content, Selection)
        return message.content

    async def discard(self, plan: Plan) -> None:
        """Have the scorer forget a query."""
        await self._send("/discard", frames.Message(plan, Items(0, ())), to="score")

    async def keep(self, plan: Plan, notes: Notes) -> PoolInfo:
        """Have the scorer store a pool."""
        message = await self._send("/keep", frames.Message(plan, notes), to="score")
        assert isinstance(message.content, Stored)
        (info,) = message.content.pools
        return info

    async def pools(self, name: str | None = None) -> list[PoolInfo]:
        """The pools that are stored, or the one of that name."""
        message = await self._send("/pools", frames.Message(_about(name), Notes()), to="score")
        assert isinstance(message.content, Stored)
        return list(message.content.pools)

    async def drop(self, name: str) -> None:
        """Delete a stored pool."""
        await self._send("/drop", frames.Message(_about(name), Notes()), to="score")

    async def stored(self, name: str, start: int, size: int) -> Items:
        """Some consecutive items of a stored pool, from a row on; none beyond its end."""
        asked = frames.Message(_about(name), Items(start, (), rows=(size,)))
        message = await self._send("/stored", asked, to="score")
        assert isinstance(message.content, Items)
        return message.content

    async def _send(self, endpoint: str, message: frames.Message, to: str = "") -> frames.Message:
        request = DataRequest()
        request.document_array_cls = Frames
        request.data.docs = pack(message)
        request.header.exec_endpoint = endpoint
        request.header.target_executor = to

        async def one() -> AsyncIterator[DataRequest]:
            yield request

        answers = []
        try:
            async for response in self._streamer.rpc_stream(
                request_iterator=one(), return_type=Frames
            ):
                answers.append(response)  # noqa: PERF401  # the stream must be read to its end
        except InternalNetworkError as error:
            raise NoReplica("a stage of the service has no living replica") from error
        (response,) = answers
        if response.status.code == jina_pb2.StatusProto.ERROR:
            fault = response.status.exception
            log.error("executor failed", executor=fault.executor, stack="".join(fault.stacks))
            raise Internal("a stage of the service failed; its log has the cause")
        answer = unpack(response.docs)
        if answer.problem is not None:
            raise from_problem(answer.problem)
        return answer


def _about(pool: str | None) -> Plan:
    """The plan of a message that belongs to no query."""
    return Plan(query="", strategy="", params={}, seed=0, budget=1, needs=(), pool=pool)


class Gateway(JinaGateway):
    """Opens the configured ports, and a private one for probes.

    Jina asks the private port, on loopback and in the clear, whether the gateway is up,
    and so does the supervisor: it works the same whatever the public protocols are.

    Args:
        settings: The configuration, as JSON.
        runtime: Folder by which the processes of this server tell each other what is going on.
        card: The model's card, as JSON.
        window: Micro-batches in flight.
    """

    def __init__(
        self, *, settings: str, runtime: str, card: dict[str, Any], window: int, **rest: Any
    ) -> None:
        super().__init__(**rest)
        settle()
        self._settings = Settings.model_validate_json(settings)
        self._card = ModelCard.from_json(card)
        self._window = window
        self._https: list[tuple[uvicorn.Server, socket.socket]] = []
        self._grpcs: list[grpcio.aio.Server] = []
        self._stopped = False

    async def setup_server(self) -> None:
        """Build the service and everything that listens."""
        logs.configure(self._settings.log)
        asyncio.get_running_loop().set_exception_handler(self._note)
        model = self._settings.active_learning.strategy.model
        engine = FlowEngine(
            self.streamer,
            self._card,
            batch_size=micro_batch(model, self._card.preprocessing),
            window=self._window,
        )
        self._service = Service(engine, self._settings, self._card, Metrics(self._card))
        self._app = http.create_app(self._service)
        try:
            await self._listen()
        except (OSError, RuntimeError) as error:
            log.error("cannot listen", reason=str(error))
            raise

    async def _listen(self) -> None:
        self._https = [self._http(host="127.0.0.1", port=self.ports[0])]
        worker = self._settings.active_learning.al_worker
        for listener in worker.listeners:
            if listener.kind == "http":
                tls = worker.tls if listener.tls else None
                self._https.append(self._http(host=listener.host, port=listener.port, tls=tls))
            else:
                self._grpcs.append(
                    await grpc.serve(self._service, listener, self._secret(listener))
                )

    def _http(
        self, *, host: str, port: int, tls: TLSSettings | None = None
    ) -> tuple[uvicorn.Server, socket.socket]:
        config = uvicorn.Config(
            self._app,
            loop="none",
            log_config=None,
            access_log=False,
            ws_max_size=2**30,
            # A client that is sending a large pool answers a ping only after it.
            ws_ping_timeout=None,
            ssl_certfile=str(tls.certificate) if tls else None,
            ssl_keyfile=str(tls.key) if tls else None,
        )
        # Bound here, where an error is an error: uvicorn would end the process with it.
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return _QuietServer(config), socket.create_server((host, port), family=family, backlog=2048)

    def _secret(self, listener: Listener) -> grpcio.ServerCredentials | None:
        tls = self._settings.active_learning.al_worker.tls
        if not listener.tls or tls is None:
            return None
        return grpcio.ssl_server_credentials([(tls.key.read_bytes(), tls.certificate.read_bytes())])

    def _note(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Log what nobody awaits, but for lost executors: their query has said so."""
        if not isinstance(context.get("exception"), InternalNetworkError):
            loop.default_exception_handler(context)

    async def run_server(self) -> None:
        """Serve until `shutdown`."""
        await asyncio.gather(*(server.serve([bound]) for server, bound in self._https))

    async def shutdown(self) -> None:
        """Finish what is in flight, then close the ports. Jina calls this twice."""
        if self._stopped:
            return
        self._stopped = True
        await self._service.drain(DRAIN_S)
        for server, _ in self._https:
            server.should_exit = True
        await asyncio.gather(*(server.stop(SEND_S) for server in self._grpcs))


class _QuietServer(uvicorn.Server):
    """A server whose process handles the signals itself."""

    def install_signal_handlers(self) -> None:
        """Leave SIGTERM to Jina's runtime, which calls `Gateway.shutdown`."""
