"""How the service runs, ends, remembers and reports."""

from __future__ import annotations

from typing import Literal

from alaas.config.values import Count, Port, Positive, Seconds, Section, Text


class JobsSettings(Section):
    """Queries that run on after the request that started them."""

    url: Text | None = None
    """Database as SQLAlchemy names it; null is an SQLite file below the user's data folder."""

    at_once: Positive = 2
    """Jobs that run at once, > 0; the others wait in order."""

    keep_s: Seconds = 7 * 86_400
    """Seconds for which a finished job and its result are kept, > 0."""

    max_bytes: Positive = 20 * 2**30
    """Bytes of pools, results and answers that the database holds at most, > 0."""

    idempotency_s: Seconds = 86_400
    """Seconds for which the answer to an ``Idempotency-Key`` is kept, > 0."""


class SupervisionSettings(Section):
    """What happens to processes that die or hang."""

    hang_s: Seconds = 30.0
    """Seconds that a process may stay silent before it is replaced, > 0."""

    restarts: Count = 5
    """Times that processes of one stage are replaced within `within_s`, >= 0, before all ends."""

    within_s: Seconds = 600.0
    """Seconds in which `restarts` are counted, > 0."""


class ShutdownSettings(Section):
    """What happens between the signal to stop and the end."""

    grace_s: Seconds | Literal[0] = 0
    """Seconds for which new queries are still served after the signal, >= 0."""

    timeout_s: Seconds = 30.0
    """Seconds that queries in flight get to finish, > 0."""


class LogSettings(Section):
    """What the service writes about itself, to standard error."""

    format: Literal["console", "json"] = "console"
    """console for people, json for machines: one object a line."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important message that is written."""


class MetricsSettings(Section):
    """Where Prometheus reads the figures of the service."""

    host: Text = "127.0.0.1"
    """Address that `port` is opened on."""

    port: Port | None = None
    """A port of their own, without keys; null leaves them at /metrics of the service alone."""


class TracingSettings(Section):
    """Where traces are sent."""

    endpoint: Text | None = None
    """URL of an OpenTelemetry collector that takes OTLP over HTTP; null sends none."""
