"""How many processes each stage has, for Prometheus: what the supervisor wrote down last."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from alaas.server.status import Reason, Status

STATES = ("ready", "starting", "silent", "missing")
"""What a replica that there should be may be doing; one that is missing does not exist."""

REASONS: tuple[str, ...] = get_args(Reason)


class Replicas(Collector):
    """Reads the status of the server whenever its figures are read.

    Args:
        runtime: The runtime folder of the server.

    Attributes:
        LABELS: Name of every figure to the names of its labels.
    """

    LABELS: ClassVar[dict[str, tuple[str, ...]]] = {
        "alaas_replicas": ("stage", "state"),
        "alaas_replica_restarts_total": ("stage", "reason"),
    }

    def __init__(self, runtime: str | Path) -> None:
        self._runtime = runtime

    def describe(self) -> Iterable[Metric]:
        """The figures without their values."""
        return self._families()

    def collect(self) -> Iterator[Metric]:
        """The figures."""
        replicas, restarts = self._families()
        for name, stage in Status.read(self._runtime).stages.items():
            missing = max(0, stage.wanted - stage.alive)
            counts = (stage.ready, stage.starting, stage.silent, missing)
            for state, count in zip(STATES, counts, strict=True):
                replicas.add_metric([name, state], count)
            for reason, count in (dict.fromkeys(REASONS, 0) | {**stage.restarts}).items():
                restarts.add_metric([name, reason], count)
        yield replicas
        yield restarts

    @staticmethod
    def _families() -> tuple[GaugeMetricFamily, CounterMetricFamily]:
        (replicas, where), (restarts, why) = Replicas.LABELS.items()
        return (
            GaugeMetricFamily(replicas, "Processes of each stage by state.", labels=where),
            CounterMetricFamily(restarts, "Processes that were replaced, by reason.", labels=why),
        )
