"""The Flow: four executors behind our gateway, each in a process of its own.

Jina describes the processes, and runs what is in them. Starting, watching and replacing them
is ours: Jina starts a Flow once, and whatever dies then stays dead.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import threading
from argparse import Namespace
from collections.abc import Mapping
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from alaas.config import Settings
from alaas.models.card import ModelCard
from alaas.server.devices import visible_gpus
from alaas.server.executors import Fetcher, Inferencer, Preprocessor, Scorer
from alaas.server.executors import Worker as Stages
from alaas.server.gateway import Gateway
from alaas.server.process import begin
from alaas.server.replica import Place

# `executors` has imported jina already, without torch.
from jina import Flow  # isort: skip
from jina.orchestrate.pods.helper import update_runtime_cls  # isort: skip
from jina.serve.executors.run import run  # isort: skip

LOOPBACK = "127.0.0.1"

GATEWAY = "gateway"


class Crew:
    """The processes of a server: who they are, and how each is started.

    Args:
        settings: The configuration.
        runtime: Folder by which the processes of this server tell each other what is going on.

    Attributes:
        gateway: Its place; the port is the private one, where the supervisor asks.
        places: Those of the executors, in the order of the work.
    """

    def __init__(self, settings: Settings, runtime: Path) -> None:
        self._runtime = runtime
        self._args: dict[Place, Namespace] = {}
        for name, deployment in _describe(settings, runtime).build():
            pods = deployment.pod_args["pods"][0]
            for number, args in enumerate(pods):
                self._args[Place(name, number, args.port[0])] = update_runtime_cls(args)
        (self.gateway,) = [place for place in self._args if place.stage == GATEWAY]
        self.places = tuple(place for place in self._args if place.stage != GATEWAY)

    def settle(self, settings: Settings, cards: Mapping[str, ModelCard]) -> None:
        """Say what the executors will load, once it is known. The gateway reads it by itself.

        Args:
            settings: The configuration with what ``auto`` came to.
            cards: The models, by the names under which queries ask for them.
        """
        # As text: of what Jina passes on, an empty string becomes None.
        inputs = {name: card.preprocessing.model_dump(mode="json") for name, card in cards.items()}
        known = {"settings": settings.model_dump_json(), "inputs": json.dumps(inputs)}
        for place in self.places:
            given = self._args[place].uses_with
            given.update({name: value for name, value in known.items() if name in given})

    def start(self, place: Place) -> BaseProcess:
        """Fork the process of a place."""
        name = f"{place.stage}-{place.number}"
        process = multiprocessing.get_context("fork").Process(
            target=_live,
            args=(name, self._args[place], os.getpid(), place.beats(self._runtime)),
            name=name,
        )
        process.start()
        return process


def _live(name: str, args: Namespace, parent: int, beats: Path) -> None:
    begin(name, parent, beats)
    # Nobody waits for them: the supervisor looks at the port and the pulse of a process.
    unused = threading.Event
    run(
        args,
        name=args.name,
        runtime_cls=args.runtime_cls,
        envs={},
        is_started=unused(),
        is_shutdown=unused(),
        is_ready=unused(),
        is_signal_handlers_installed=unused(),
    )


def _describe(settings: Settings, runtime: Path) -> Flow:
    worker = settings.active_learning.al_worker
    models = settings.active_learning.strategy.served.values()
    gpus = visible_gpus() if any(model.device != "cpu" for model in models) else 0
    replicas = max(1, gpus) if worker.replicas == "auto" else worker.replicas
    # Every hop passes through the gateway: pixels for GPUs would be too much for it.
    layout = ("fused" if gpus else "staged") if worker.layout == "auto" else worker.layout
    # Enough micro-batches to keep each stage busy while each replica has one more waiting.
    window = 4 + 2 * replicas if worker.window == "auto" else worker.window
    # What comes of the model, and an empty string here, is said by `Crew.settle`.
    common = {"settings": settings.model_dump_json(), "runtime": str(runtime)}
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
        port=[_free_port()],
        uses_with={**common, "window": window},
    )
    if layout == "fused":
        flow = flow.add(name="work", uses=Stages, allow_concurrent=True, **infers)
    else:
        pixels = {**common, "inputs": ""}
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
    return flow.add(
        name="score",
        uses=Scorer,
        uses_with=common,
        # A long choice for one query must not hold up the others.
        allow_concurrent=True,
        **shared,
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port
