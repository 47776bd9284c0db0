"""Every knob of the service, declared once: type, default, unit, range and one line of help."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    StrictBool,
    WithJsonSchema,
    model_validator,
)

from alaas.config.access import AuthSettings, TLSSettings
from alaas.config.limits import LimitsSettings
from alaas.config.listeners import Listener, Protocol, encrypted, listeners
from alaas.config.model import DEFAULT, DIGEST, ModelSettings
from alaas.config.operation import (
    JobsSettings,
    LogSettings,
    MetricsSettings,
    ShutdownSettings,
    SupervisionSettings,
    TracingSettings,
)
from alaas.config.values import (
    Count,
    Folder,
    Network,
    OneOrMany,
    Params,
    Phrase,
    Port,
    Positive,
    PositiveOrAuto,
    Section,
    Text,
    none_is_empty,
    refuse,
)

_OLD_PROTOCOLS = {"websocket": "ws", "websockets": "wss"}


def _modern(protocol: Any) -> Any:
    return _OLD_PROTOCOLS.get(protocol, protocol) if isinstance(protocol, str) else protocol


SpokenProtocol: TypeAlias = Annotated[
    Protocol,
    BeforeValidator(_modern, json_schema_input_type=Protocol | Literal["websocket", "websockets"]),
]
Scheme: TypeAlias = Literal["https", "http", "file", "s3", "gs"]
Bucket: TypeAlias = Annotated[
    str,
    Field(pattern=r"^(s3|gs)://(\*|[A-Za-z0-9][A-Za-z0-9._-]{1,221}(/.*)?)$"),
    Phrase("s3://bucket or gs://bucket, and perhaps a folder in it, or s3://* for every bucket"),
]


_MODELS = (
    "a mapping of names (64 letters, digits and ._- at most, no digest, not 'default') to sections "
    "as `model` is one"
)


def _model_name(given: str) -> str:
    if given == DEFAULT or DIGEST.fullmatch(given):
        raise ValueError(f"must be no digest and not {DEFAULT!r}, got {given!r}")
    return given


ModelName: TypeAlias = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"), AfterValidator(_model_name)
]


class StrategySettings(Section):
    """How items are chosen."""

    type: Text = "LeastConfidence"
    """Any name or alias that `alaas strategies` lists."""

    params: Params = Field(default_factory=dict)
    """Hyper-parameters of the strategy, by name."""

    model: ModelSettings = ModelSettings()
    """The model whose predictions the strategy reads."""

    models: Annotated[
        dict[ModelName, ModelSettings], BeforeValidator(none_is_empty), Phrase(_MODELS)
    ] = Field(default_factory=dict)
    """Further models that a query may ask for, each by the name that stands before it here."""

    @property
    def served(self) -> dict[str, ModelSettings]:
        """All models, by the name under which a query asks for them; the default one first."""
        return {DEFAULT: self.model, **self.models}


class WorkerSettings(Section):
    """How the service is reached and how it spreads its work."""

    protocol: Annotated[tuple[SpokenProtocol, ...], OneOrMany(), Field(min_length=1)] = ("http",)
    """What is spoken: http, https, grpc, grpcs, ws, wss, or a list of them."""

    host: Text = "0.0.0.0"  # noqa: S104
    """Address of the network interface that is listened on; 0.0.0.0 is all of them."""

    port: Annotated[tuple[Port, ...], OneOrMany(), Field(min_length=1)] = (8081,)
    """From 1 to 65535: one a protocol, or one alone, from which further listeners count upwards."""

    replicas: PositiveOrAuto = "auto"
    """Copies of the model that work side by side, > 0, or auto."""

    layout: Literal["auto", "staged", "fused"] = "auto"
    """Which stages share a process: staged gives each its own, fused joins all but the last."""

    window: PositiveOrAuto = "auto"
    """Micro-batches that are under way at once, over all queries, > 0, or auto."""

    tls: TLSSettings | None = None
    """Certificate and key; https, wss and grpcs need it."""

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """The ports that the service opens, in the order of `protocol`."""
        return listeners(self.protocol, host=self.host, ports=self.port)

    @model_validator(mode="after")
    def _can_listen(self) -> WorkerSettings:
        try:
            listeners(self.protocol, host=self.host, ports=self.port)
        except ValueError as error:
            raise refuse("port", str(error)) from error
        secret = encrypted(self.protocol)
        if secret and self.tls is None:
            raise refuse("protocol", f"{secret[0]} needs 'tls' with a certificate and a key")
        if self.tls is not None and not secret:
            raise refuse("tls", "no protocol uses it: https, wss and grpcs would")
        return self


class ActiveLearningSettings(Section):
    """What is chosen, and by which processes."""

    strategy: StrategySettings = StrategySettings()
    """How items are chosen."""

    al_worker: WorkerSettings = WorkerSettings()
    """How the service is reached and how it spreads its work."""


class ObjectStoreSettings(Section):
    """Where an object store is, and who asks it."""

    endpoint: Text | None = None
    """URL of the service; null is the well-known one."""

    anonymous: StrictBool = False
    """Whether it is asked without credentials; otherwise by those of the environment."""


class FetchSettings(Section):
    """What an item's address may name. All that is not allowed here is refused."""

    schemes: Annotated[tuple[Scheme, ...], OneOrMany()] = ("https", "http")
    """Schemes that an address may have: https, http, file, s3, gs."""

    roots: Annotated[tuple[Folder, ...], OneOrMany()] = ()
    """Folders below which file:// addresses and plain paths may lie."""

    networks: Annotated[tuple[Network, ...], OneOrMany()] = ()
    """Private networks that may be reached, as CIDR; loopback too only if it is listed."""

    ports: Annotated[tuple[Port, ...], OneOrMany()] = (80, 443)
    """Ports of the public network that may be reached."""

    buckets: Annotated[tuple[Bucket, ...], OneOrMany()] = ()
    """Buckets that may be read, if their scheme is enabled: s3://name, s3://name/folder, gs://name."""

    s3: ObjectStoreSettings = ObjectStoreSettings()
    """Where the buckets of s3 are."""

    gs: ObjectStoreSettings = ObjectStoreSettings()
    """Where the buckets of gs are."""

    @classmethod
    def anywhere(cls) -> FetchSettings:
        """All that can be named: for a library call, where the caller is the user."""
        return cls(
            schemes=("https", "http", "file", "s3", "gs"),
            buckets=("s3://*", "gs://*"),
            roots=(Path("/"),),
            networks=(IPv4Network("0.0.0.0/0"), IPv6Network("::/0")),
        )


class StoreSettings(Section):
    """What is kept of items that were seen, so that nothing is computed twice."""

    url: Text | None = None
    """Folder or fsspec URL of the feature store; null is below the user's data folder."""

    cache: StrictBool = True
    """Whether views are kept and taken from the store; a query can leave it out."""

    max_bytes: Positive | None = 20 * 2**30
    """Bytes of kept views at most, > 0, beyond which the oldest go; null for no limit."""

    memory_bytes: Count = 512 * 2**20
    """Bytes of views of named pools that stay in memory between queries, >= 0."""


class Settings(Section):
    """The whole configuration.

    Example:
        >>> Settings().active_learning.al_worker.port
        (8081,)
    """

    name: Text = "default_app"
    """Name of this service, for people and logs."""

    version: Annotated[Text, WithJsonSchema({"type": ["string", "number"]})] = "1"
    """Version of this configuration, for people and logs; a number is taken as text."""

    active_learning: ActiveLearningSettings = ActiveLearningSettings()
    """What is chosen, and by which processes."""

    fetch: FetchSettings = FetchSettings()
    """What an item's address may name."""

    limits: LimitsSettings = LimitsSettings()
    """What one item, one query and one caller may cost."""

    store: StoreSettings = StoreSettings()
    """What is kept of items that were seen, so that nothing is computed twice."""

    auth: AuthSettings = AuthSettings()
    """Who may call."""

    jobs: JobsSettings = JobsSettings()
    """Queries that run on after the request that started them."""

    supervision: SupervisionSettings = SupervisionSettings()
    """What happens to processes that die or hang."""

    shutdown: ShutdownSettings = ShutdownSettings()
    """What happens between the signal to stop and the end."""

    log: LogSettings = LogSettings()
    """What the service writes about itself."""

    metrics: MetricsSettings = MetricsSettings()
    """Where Prometheus reads the figures of the service."""

    tracing: TracingSettings = TracingSettings()
    """Where traces are sent."""
