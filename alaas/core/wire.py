"""What travels between a client and the service, and how it is written as JSON.

`QueryParameters` are validated by `alaas.config.parameters`, on the server: a client
sends a plain mapping. Standard library only, because the thin client imports this module.

The JSON shape of an answer::

    {"header": {...}, "parameters": {...}, "routes": [],
     "data": [{"id", "uri" | "text" | "blob", "rank", "score"}, ...],   best first
     "failures": [{"id", "uri" | "text", "stage", "code", "message"}, ...],
     "timings": {"total_s", "bottleneck",
                 "stages": {name: {"busy_s", "wait_s", "items", "bytes", "hits"}}},
     "receipt": {"strategy", "params", "seed", "budget", "model", "version", "pool_size"},
     "warnings": [{"code", "message"}, ...]}

`header`, `parameters`, `routes` and the first keys of `data` are what clients of the
Jina gateway of earlier ALaaS releases read.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from alaas.core.items import (
    STAGES,
    Failure,
    Item,
    Label,
    Labelled,
    Stage,
    in_parts,
    item_from_json,
    labelled_from_json,
)

__all__ = [
    "STAGES",
    "Failure",
    "Item",
    "Label",
    "Labelled",
    "Pick",
    "PoolInfo",
    "Progress",
    "PushResponse",
    "QueryResponse",
    "Receipt",
    "Stage",
    "StageTiming",
    "Timings",
    "Warn",
    "in_parts",
    "item_from_json",
    "labelled_from_json",
]


@dataclass(frozen=True, slots=True)
class Pick:
    """One chosen item.

    Attributes:
        id: The item's id.
        rank: 0 for the most wanted.
        score: The strategy's score, higher = more wanted; for a strategy that picks a
            set, the score that the item had when it was picked.
        uri: The item's address, if it came as one.
        text: The item's text, if it came as text.
        blob: The item's bytes; only in the answer to an HTTP request that sent them.
    """

    id: str
    rank: int
    score: float
    uri: str | None = None
    text: str | None = None
    blob: bytes | None = None

    def to_json(self) -> dict[str, Any]:
        """The pick as a document of an answer."""
        content = Item(self.id, self.uri, self.text, self.blob).to_json()
        if content.get("uri", "") is None:
            del content["uri"]
        return {**content, "rank": self.rank, "score": self.score}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Pick:
        """Read what `to_json` wrote."""
        blob = document.get("blob")
        return cls(
            id=document["id"],
            rank=int(document["rank"]),
            score=float(document["score"]),
            uri=document.get("uri"),
            text=document.get("text"),
            blob=None if blob is None else base64.b64decode(blob),
        )


@dataclass(frozen=True, slots=True)
class StageTiming:
    """What one stage did for one query.

    Attributes:
        busy_s: Seconds of work, summed over micro-batches and replicas.
        items: Items that came out of the stage.
        wait_s: Seconds for which micro-batches waited for the stage, summed.
        bytes: Bytes that came out of the stage.
        hits: Items for which the stage had nothing to do: of *fetch* those whose content
            was known without reading it, of *infer* those whose views were stored.
    """

    busy_s: float = 0.0
    items: int = 0
    wait_s: float = 0.0
    bytes: int = 0
    hits: int = 0

    def to_json(self) -> dict[str, float | int]:
        """The timing as it stands in an answer."""
        return {
            "busy_s": self.busy_s, "wait_s": self.wait_s, "items": self.items,
            "bytes": self.bytes, "hits": self.hits,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a query went.

    Attributes:
        total_s: Wall-clock seconds from the first item to the answer. Stages overlap, so
            this is less than the sum of their `busy_s`.
        stages: Stage name to its timing.
    """

    total_s: float = 0.0
    stages: Mapping[str, StageTiming] = field(default_factory=dict)

    @property
    def bottleneck(self) -> str:
        """The stage in and before which micro-batches spent most of their time.

        Where stages take turns without waiting it is the slowest; where one is too slow,
        the others' work piles up before it. Empty if nothing was done.
        """
        spent = {name: stage.busy_s + stage.wait_s for name, stage in self.stages.items()}
        return max(spent, key=spent.__getitem__) if any(spent.values()) else ""

    def to_json(self) -> dict[str, Any]:
        """The timings as they stand in an answer."""
        return {
            "total_s": self.total_s,
            "bottleneck": self.bottleneck,
            "stages": {name: stage.to_json() for name, stage in self.stages.items()},
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Timings:
        """Read what `to_json` wrote."""
        stages = document.get("stages") or {}
        return cls(
            total_s=float(document.get("total_s", 0.0)),
            stages={
                name: StageTiming(
                    float(stage["busy_s"]),
                    int(stage["items"]),
                    float(stage.get("wait_s", 0)),
                    int(stage.get("bytes", 0)),
                    int(stage.get("hits", 0)),
                )
                for name, stage in stages.items()
            },
        )


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a selection was made with; posted back as parameters, it makes it again.

    Attributes:
        strategy: Name of the strategy.
        params: Its hyper-parameters, defaults filled in.
        seed: Seed of its random generator.
        budget: Items asked for.
        model: Digest of the model that ran, or an empty string where none did.
        version: Version of this library.
        pool_size: Items that were ranked: the pool less its failures.
        n_drop: Stochastic passes of the model; 0 where the strategy reads none.
        labelled_size: Labelled items that the strategy learnt from.
        calibrate: How class probabilities were scaled; empty where they were not.
        calibration: What that did to the labelled items: `items`, the `temperature`, and
            negative log-likelihood and expected calibration error `before` and `after`.
    """

    strategy: str
    params: Mapping[str, Any]
    seed: int
    budget: int
    model: str
    version: str
    pool_size: int
    n_drop: int = 0
    labelled_size: int = 0
    calibrate: str = ""
    calibration: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The receipt as it stands in an answer."""
        return {
            "strategy": self.strategy,
            "params": dict(self.params),
            "seed": self.seed,
            "budget": self.budget,
            "model": self.model,
            "version": self.version,
            "pool_size": self.pool_size,
            **({"n_drop": self.n_drop} if self.n_drop else {}),
            **({"labelled_size": self.labelled_size} if self.labelled_size else {}),
            **({"calibrate": self.calibrate} if self.calibrate else {}),
            **({"calibration": dict(self.calibration)} if self.calibration else {}),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Receipt:
        """Read what `to_json` wrote."""
        return cls(
            strategy=document["strategy"],
            params=dict(document["params"]),
            seed=int(document["seed"]),
            budget=int(document["budget"]),
            model=document["model"],
            version=document["version"],
            pool_size=int(document["pool_size"]),
            n_drop=int(document.get("n_drop") or 0),
            labelled_size=int(document.get("labelled_size") or 0),
            calibrate=document.get("calibrate") or "",
            calibration=dict(document.get("calibration") or {}),
        )


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that the caller should know of an answer that is otherwise good.

    Attributes:
        code: A stable reason, such as ``budget_exceeds_pool``.
        message: One sentence for a person.
    """

    code: str
    message: str

    def to_json(self) -> dict[str, str]:
        """The warning as it stands in an answer."""
        return {"code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a query has come.

    Attributes:
        done: Items that went through all stages.
        failed: Items that failed.
        received: Items that have arrived so far.
        total: Items of the whole pool, once all have arrived.
        stages: Stage to what it did so far. It stays where the query runs.
    """

    done: int
    failed: int
    received: int
    total: int | None = None
    stages: Mapping[str, StageTiming] = field(default_factory=dict, compare=False, repr=False)

    def to_json(self) -> dict[str, int | None]:
        """The progress as it stands in an event."""
        return {
            "done": self.done, "failed": self.failed,
            "received": self.received, "total": self.total,
        }  # fmt: skip

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Progress:
        """Read what `to_json` wrote."""
        return cls(
            done=int(document["done"]),
            failed=int(document["failed"]),
            received=int(document["received"]),
            total=document.get("total"),
        )


@dataclass(frozen=True, slots=True)
class QueryResponse:
    """The answer to a query.

    Attributes:
        picks: The chosen items, best first.
        failures: The items that could not be ranked, in pool order.
        timings: Where the time went.
        receipt: What the selection was made with.
        warnings: What the caller should know of it.
        request_id: The id under which the service logged the query.
    """

    picks: Sequence[Pick]
    failures: Sequence[Failure]
    timings: Timings
    receipt: Receipt
    warnings: Sequence[Warn] = ()
    request_id: str = ""

    def to_json(self, parameters: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The whole answer.

        Args:
            parameters: The request's parameters, which the answer repeats.
        """
        return {
            "header": {
                "requestId": self.request_id,
                "status": {"code": "SUCCESS", "description": "", "exception": None},
                "execEndpoint": "/query",
                "targetExecutor": "",
            },
            "parameters": dict(parameters or {}),
            "routes": [],
            "data": [pick.to_json() for pick in self.picks],
            "failures": [failure.to_json() for failure in self.failures],
            "timings": self.timings.to_json(),
            "receipt": self.receipt.to_json(),
            "warnings": [warning.to_json() for warning in self.warnings],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> QueryResponse:
        """Read what `to_json` wrote."""
        return cls(
            picks=tuple(Pick.from_json(pick) for pick in document["data"]),
            failures=tuple(Failure.from_json(failure) for failure in document["failures"]),
            timings=Timings.from_json(document["timings"]),
            receipt=Receipt.from_json(document["receipt"]),
            warnings=tuple(Warn(w["code"], w["message"]) for w in document["warnings"]),
            request_id=document["header"]["requestId"],
        )


@dataclass(frozen=True, slots=True)
class PoolInfo:
    """A stored pool.

    Attributes:
        name: Its name.
        items: Items in it.
        views: View name to the shape of one row.
        space: Where the numbers of its views are comparable: of the model, what it ran on
            and how pictures were prepared for it.
        model: Digest of the model that made them.
        created: When it was stored, in seconds since 1970.
        expires: When it will be deleted, or None.
        bytes: What it takes in the store.
    """

    name: str
    items: int
    views: Mapping[str, tuple[int, ...]]
    space: str
    model: str
    created: float
    expires: float | None = None
    bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """The pool as it stands in an answer."""
        return {
            "name": self.name,
            "items": self.items,
            "views": {name: list(shape) for name, shape in self.views.items()},
            "space": self.space,
            "model": self.model,
            "created": self.created,
            "expires": self.expires,
            "bytes": self.bytes,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PoolInfo:
        """Read what `to_json` wrote."""
        expires = document.get("expires")
        return cls(
            name=document["name"],
            items=int(document["items"]),
            views={name: tuple(map(int, shape)) for name, shape in document["views"].items()},
            space=document["space"],
            model=document["model"],
            created=float(document["created"]),
            expires=None if expires is None else float(expires),
            bytes=int(document.get("bytes") or 0),
        )


@dataclass(frozen=True, slots=True)
class PushResponse:
    """The answer to a push.

    Attributes:
        pool: What was stored.
        failures: The items that are not in it.
        timings: Where the time went.
        warnings: What else the caller should know.
        request_id: Id of the push, as in the service's log.
    """

    pool: PoolInfo
    failures: Sequence[Failure] = ()
    timings: Timings = field(default_factory=Timings)
    warnings: Sequence[Warn] = ()
    request_id: str = ""

    def to_json(self) -> dict[str, Any]:
        """The answer."""
        return {
            "pool": self.pool.to_json(),
            "failures": [failure.to_json() for failure in self.failures],
            "timings": self.timings.to_json(),
            "warnings": [warning.to_json() for warning in self.warnings],
            "requestId": self.request_id,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> PushResponse:
        """Read what `to_json` wrote."""
        return cls(
            pool=PoolInfo.from_json(document["pool"]),
            failures=tuple(Failure.from_json(one) for one in document["failures"]),
            timings=Timings.from_json(document["timings"]),
            warnings=tuple(Warn(one["code"], one["message"]) for one in document["warnings"]),
            request_id=document["requestId"],
        )
