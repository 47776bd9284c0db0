"""The Flow: four executors behind our gateway, each in a process of its own."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alaas.config import Settings
from alaas.models.card import ModelCard
from alaas.server.devices import visible_gpus
from alaas.server.executors import Fetcher, Inferencer, Preprocessor, Scorer
from alaas.server.executors import Worker as Stages
from alaas.server.gateway import Gateway

# `executors` has imported jina already, without torch.
from jina import Flow  # isort: skip
from jina.excepts import RuntimeFailToStart  # isort: skip

__all__ = ["RuntimeFailToStart", "Worker", "build", "workers"]

LOOPBACK = "127.0.0.1"


def build(settings: Settings, card: ModelCard, runtime: Path) -> tuple[Flow, int]:
    """Describe the Flow; nothing is started.

    Args:
        settings: The configuration.
        card: The model that the executors will load.
        runtime: Folder by which the processes of this server tell each other what is going on.

    Returns:
        The Flow, and the private port of its gateway.
    """
    worker = settings.active_learning.al_worker
    gpus = visible_gpus() if settings.active_learning.strategy.model.device != "cpu" else 0
    replicas = max(1, gpus) if worker.replicas == "auto" else worker.replicas
    # Every hop passes through the gateway: pixels for GPUs would be too much for it.
    layout = ("fused" if gpus else "staged") if worker.layout == "auto" else worker.layout
    # Enough micro-batches to keep each stage busy while each replica has one more waiting.
    window = 4 + 2 * replicas if worker.window == "auto" else worker.window
    tree = settings.model_dump_json()
    common = {"settings": tree, "runtime": str(runtime)}
    control = _free_port()
    shared: dict[str, Any] = {"host": LOOPBACK, "timeout_ready": -1, "quiet": True}
    infers: dict[str, Any] = {
        "uses_with": {**common, "threads": max(1, (os.cpu_count() or 1) // replicas)},
        "replicas": replicas,
        **shared,
    }
    flow = Flow(name=settings.name, quiet=True).config_gateway(
        uses=Gateway,
        host=LOOPBACK,
        protocol=["http"],
        port=[control],
        uses_with={**common, "card": card.to_json(), "window": window},
        # Jina pings every 10 s, and its executors hang up on whoever pings that often.
        grpc_channel_options={"grpc.keepalive_time_ms": 2**31 - 1},
    )
    if layout == "fused":
        flow = flow.add(name="work", uses=Stages, allow_concurrent=True, **infers)
    else:
        pixels = {**common, "preprocessing": card.preprocessing.model_dump_json()}
        flow = (
            flow.add(
                name="fetch",
                uses=Fetcher,
                uses_with=common,
                allow_concurrent=True,
                **shared,
            )
            .add(name="preprocess", uses=Preprocessor, uses_with=pixels, **shared)
            .add(name="infer", uses=Inferencer, **infers)
        )
    flow = flow.add(
        name="score",
        uses=Scorer,
        uses_with={**common, "card": card.to_json()},
        # A long choice for one query must not hold up the others.
        allow_concurrent=True,
        **shared,
    )
    return flow, control


@dataclass(frozen=True, slots=True)
class Worker:
    """One process of a started Flow.

    Attributes:
        stage: The executor it runs, or ``gateway``.
        sentinel: What becomes readable when it ends, for `multiprocessing.connection.wait`.
        mark_ended: Tells Jina that it has ended; otherwise closing the Flow would wait a
            minute for its farewell.
    """

    stage: str
    sentinel: int
    mark_ended: Callable[[], None]


def workers(flow: Flow) -> list[Worker]:
    """The processes of a started Flow. Jina has no public way to ask for them."""
    found = []
    for name, deployment in flow:
        replicas = [pod for shard in deployment.shards.values() for pod in shard._pods]
        found += [
            Worker(name, pod.worker.sentinel, pod.is_shutdown.set)
            for pod in replicas or [deployment.gateway_pod]
        ]
    return found


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
