"""The gateway: our HTTP and gRPC servers in front of the Flow, in one Jina process."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import grpc as grpcio
import structlog
import uvicorn
from starlette.types import ASGIApp

from alaas.config import DEFAULT, Settings, TLSSettings
from alaas.config.listeners import Listener
from alaas.core.errors import Internal
from alaas.models.card import ModelCard
from alaas.models.microbatch import micro_batch, whole_batches
from alaas.server import frames, grpc, handover, http, logs
from alaas.server.connections import uvicorn_options
from alaas.server.engine import FlowEngine
from alaas.server.executors import Frames, pack, unpack
from alaas.server.jobs.service import Jobs
from alaas.server.links import Links
from alaas.server.metrics import Metrics
from alaas.server.models import Models
from alaas.server.observed import TimedSlots
from alaas.server.probes import Door
from alaas.server.process import settle
from alaas.server.replicas import Replicas
from alaas.server.service import Service
from alaas.server.status import Status

# `executors` has imported jina and docarray already, without torch.
from jina import Gateway as JinaGateway  # isort: skip
from jina.proto import jina_pb2, jina_pb2_grpc  # isort: skip
from jina.types.request.data import DataRequest  # isort: skip

POLL_S = 0.05
"""Seconds between two looks at whether the model is known."""

SEND_S = 5.0
"""Seconds that gRPC answers which are made get to be sent."""

log = structlog.get_logger()


class _Wire:
    """Messages as Jina's executors take them and answer them."""

    def write(self, endpoint: str, message: frames.Message) -> DataRequest:
        """A message for an endpoint of the executors."""
        request = DataRequest()
        request.document_array_cls = Frames
        request.data.docs = pack(message)
        request.header.exec_endpoint = endpoint
        return request

    def check(self, answer: DataRequest) -> None:
        """Make sure that an executor has not failed over it.

        Raises:
            Internal: It has.
        """
        if answer.status.code == jina_pb2.StatusProto.ERROR:
            fault = answer.status.exception
            log.error("executor failed", executor=fault.executor, stack="".join(fault.stacks))
            raise Internal("a stage of the service failed; its log has the cause")

    def read(self, answer: DataRequest) -> frames.Message:
        """The message in an answer."""
        answer.document_array_cls = Frames
        return unpack(answer.docs)


def _stub(channel: grpcio.aio.Channel) -> Any:
    return jina_pb2_grpc.JinaSingleDataRequestRPCStub(channel).process_single_data


class Gateway(JinaGateway):
    """Opens the configured ports, and a private one for probes.

    The supervisor asks the private port, on loopback and in the clear, whether the gateway is
    up: it works the same whatever the public protocols are. The ports of HTTP are open before
    the model is known, and say so; those of gRPC when there is something to say.

    Args:
        settings: The configuration, as JSON.
        runtime: Folder by which the processes of this server tell each other what is going on.
        window: Micro-batches in flight.
    """

    def __init__(self, *, settings: str, runtime: str, window: int, **rest: Any) -> None:
        super().__init__(**rest)
        settle()
        self._settings = Settings.model_validate_json(settings)
        self._window = window
        self._runtime = Path(runtime)
        self._status = partial(Status.read, self._runtime)
        self._door, self._figures = Door(self._status), Door(self._status)
        self._service: Service | None = None
        self._https: list[tuple[uvicorn.Server, socket.socket]] = []
        self._grpcs: list[grpcio.aio.Server] = []
        self._stopped = False

    async def setup_server(self) -> None:
        """Open what says that the service starts."""
        logs.configure(self._settings.log, process="gateway")
        try:
            self._listen()
        except OSError as error:
            log.error("cannot listen", reason=str(error))
            raise

    async def run_server(self) -> None:
        """Serve until `shutdown`."""
        servers = (server.serve([bound]) for server, bound in self._https)
        await asyncio.gather(self._open(), *servers)

    async def _open(self) -> None:
        """Serve, as soon as the model is known."""
        while (cards := handover.read(self._runtime)) is None:
            if self._stopped:
                return
            await asyncio.sleep(POLL_S)  # another process tells, by a file
        self._settings = handover.settled(self._settings, cards)
        metrics = Metrics(list(cards.values()), others=[Replicas(self._runtime)])
        models = Models(self._engines(cards, metrics))
        service = Service(models, self._settings, metrics, status=self._status)
        app = http.create_app(service)
        self._jobs = app.state.jobs = Jobs(service, self._settings)
        await self._jobs.start()
        self._service = service
        self._door.app, self._figures.app = app, metrics.app()
        for listener in self._settings.active_learning.al_worker.listeners:
            if listener.kind == "grpc":
                self._grpcs.append(await grpc.serve(service, listener, self._secret(listener)))

    def _engines(self, cards: Mapping[str, ModelCard], metrics: Metrics) -> list[FlowEngine]:
        addresses = {
            stage: [host.removeprefix("grpc://") for host in hosts]
            for stage, hosts in json.loads(self.runtime_args.deployments_addresses).items()
        }
        self._links = Links(addresses, _stub)
        cut = micro_batch if "preprocess" in addresses else whole_batches
        served = self._settings.active_learning.strategy.served
        sizes = {name: cut(model, cards[name].preprocessing) for name, model in served.items()}
        engine = FlowEngine(
            self._links,
            _Wire(),
            cards[DEFAULT],
            batch_size=sizes[DEFAULT],
            window=self._window,
            status=self._status,
        )
        engine.slots = TimedSlots(self._window, spare=1, waits=metrics.queue_wait)
        return [engine.serving(cards[name], batch_size=size) for name, size in sizes.items()]

    def _listen(self) -> None:
        self._https = [self._http(host="127.0.0.1", port=self.ports[0])]
        own = self._settings.metrics
        if own.port is not None:
            self._https.append(self._http(host=own.host, port=own.port, app=self._figures))
        worker = self._settings.active_learning.al_worker
        for listener in worker.listeners:
            if listener.kind == "http":
                tls = worker.tls if listener.tls else None
                self._https.append(self._http(host=listener.host, port=listener.port, tls=tls))

    def _http(
        self, *, host: str, port: int, tls: TLSSettings | None = None, app: ASGIApp | None = None
    ) -> tuple[uvicorn.Server, socket.socket]:
        config = uvicorn.Config(
            app or self._door,
            loop="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            # Who calls is decided by the address that calls, not by one that a header names.
            proxy_headers=False,
            **uvicorn_options(self._settings.limits),
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

    async def shutdown(self) -> None:
        """Finish what is in flight, then close the ports. Jina calls this twice."""
        if self._stopped:
            return
        self._stopped = True
        if self._service is not None:
            self._service.readiness.stopping = True
            await self._jobs.stop()
            await self._service.drain(self._settings.shutdown.timeout_s)
        for server, _ in self._https:
            server.should_exit = True
        await asyncio.gather(*(server.stop(SEND_S) for server in self._grpcs))
        if self._service is not None:
            self._jobs.close()
            await self._links.close()
            await asyncio.to_thread(self._service.tracing.close)


class _QuietServer(uvicorn.Server):
    """A server whose process handles the signals itself."""

    def install_signal_handlers(self) -> None:
        """Leave SIGTERM to Jina's runtime, which calls `Gateway.shutdown`."""
