"""How a micro-batch is written into the one message that Jina's executors exchange.

A frame is a JSON header and a payload of raw bytes. One frame carries a whole
micro-batch: pixels travel as one block of NHWC bytes, never one document a row. The
header also carries the plan of the query, seconds of work by stage, and an error that
ended the micro-batch; later stages pass such a frame on untouched.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from alaas.core.types import Batch, Items, Notes, Plan, Raw, Raws, Scored, Selection, Views
from alaas.core.wire import Failure, Item

Content = Items | Raws | Batch | Views | Scored | Notes | Selection


@dataclass(frozen=True, slots=True)
class Message:
    """A micro-batch on its way through the stages.

    Attributes:
        plan: The query that it belongs to.
        content: What the last stage made of it.
        busy: Stage name to seconds of work on it.
        problem: The error that ended it, as a problem document.
    """

    plan: Plan
    content: Content
    busy: Mapping[str, float] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None

    def after(self, stage: str, content: Content, seconds: float) -> Message:
        """The message that `stage` passes on."""
        return replace(self, content=content, busy={**self.busy, stage: seconds})


def encode(message: Message) -> tuple[bytes, bytes]:
    """Write a message as header and payload."""
    kind = type(message.content).__name__
    fields, payload = _WRITERS[kind](message.content)
    header = {
        "plan": asdict(message.plan),
        "kind": kind,
        "seq": getattr(message.content, "seq", 0),
        "busy": dict(message.busy),
        "problem": message.problem,
        "failures": [
            failure.to_json() for failure in getattr(message.content, "failures", ())
        ],
        **fields,
    }  # fmt: skip
    return json.dumps(header).encode(), payload


def decode(header: bytes, payload: bytes) -> Message:
    """Read what `encode` wrote. Arrays share the payload's memory and are read-only."""
    fields = json.loads(header)
    plan = Plan(**{**fields["plan"], "needs": tuple(fields["plan"]["needs"])})
    content = _READERS[fields["kind"]](fields, memoryview(payload))
    if isinstance(content, Raws | Batch | Views | Scored):
        failures = tuple(Failure.from_json(one) for one in fields["failures"])
        content = replace(content, failures=failures)
    return Message(plan, content, fields["busy"], fields["problem"])


def _write_items(items: Items) -> tuple[dict[str, Any], bytes]:
    rows = [
        [item.id, item.uri, item.text, None if item.blob is None else len(item.blob)]
        for item in items.items
    ]
    return {"items": rows}, b"".join(item.blob or b"" for item in items.items)


def _read_items(fields: dict[str, Any], payload: memoryview) -> Items:
    items, start = [], 0
    for name, uri, text, length in fields["items"]:
        blob = None if length is None else bytes(payload[start : start + length])
        start += length or 0
        items.append(Item(name, uri, text, blob))
    return Items(fields["seq"], tuple(items))


def _write_raws(raws: Raws) -> tuple[dict[str, Any], bytes]:
    rows = [[raw.id, len(raw.data), raw.is_text] for raw in raws.raws]
    return {"raws": rows}, b"".join(raw.data for raw in raws.raws)


def _read_raws(fields: dict[str, Any], payload: memoryview) -> Raws:
    raws, start = [], 0
    for name, length, is_text in fields["raws"]:
        raws.append(Raw(name, bytes(payload[start : start + length]), is_text))
        start += length
    return Raws(fields["seq"], tuple(raws))


def _write_batch(batch: Batch) -> tuple[dict[str, Any], bytes]:
    fields = {"ids": batch.ids, "shape": batch.array.shape, "dtype": batch.array.dtype.str}
    return fields, batch.array.tobytes()


def _read_batch(fields: dict[str, Any], payload: memoryview) -> Batch:
    array = np.frombuffer(payload, fields["dtype"]).reshape(fields["shape"])
    return Batch(fields["seq"], tuple(fields["ids"]), array)


def _write_views(views: Views) -> tuple[dict[str, Any], bytes]:
    arrays = {name: [array.shape, array.dtype.str] for name, array in views.arrays.items()}
    payload = b"".join(array.tobytes() for array in views.arrays.values())
    return {"ids": views.ids, "arrays": arrays, "model": views.model}, payload


def _read_views(fields: dict[str, Any], payload: memoryview) -> Views:
    arrays, start = {}, 0
    for name, (shape, dtype) in fields["arrays"].items():
        count = math.prod(shape)
        end = start + count * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(payload[start:end], dtype).reshape(shape)
        start = end
    return Views(fields["seq"], tuple(fields["ids"]), arrays, fields["model"])


def _write_scored(scored: Scored) -> tuple[dict[str, Any], bytes]:
    return {"count": scored.count}, b""


def _read_scored(fields: dict[str, Any], _: memoryview) -> Scored:
    return Scored(fields["seq"], fields["count"], busy=fields["busy"])


def _write_selection(selection: Selection) -> tuple[dict[str, Any], bytes]:
    fields = {
        "ids": selection.ids,
        "strategy": selection.strategy,
        "params": dict(selection.params),
        "seed": selection.seed,
        "pool_size": selection.pool_size,
        "model": selection.model,
    }
    return fields, np.asarray(selection.scores, np.float64).tobytes()


def _read_selection(fields: dict[str, Any], payload: memoryview) -> Selection:
    return Selection(
        ids=tuple(fields["ids"]),
        scores=np.frombuffer(payload, np.float64),
        strategy=fields["strategy"],
        params=fields["params"],
        seed=fields["seed"],
        pool_size=fields["pool_size"],
        model=fields["model"],
    )


def _write_notes(notes: Notes) -> tuple[dict[str, Any], bytes]:
    return {"notes": asdict(notes)}, b""


def _read_notes(fields: dict[str, Any], _: memoryview) -> Notes:
    return Notes(**fields["notes"])


_WRITERS: Mapping[str, Callable[[Any], tuple[dict[str, Any], bytes]]] = {
    "Items": _write_items,
    "Raws": _write_raws,
    "Batch": _write_batch,
    "Views": _write_views,
    "Scored": _write_scored,
    "Notes": _write_notes,
    "Selection": _write_selection,
}
_READERS: Mapping[str, Callable[[dict[str, Any], memoryview], Content]] = {
    "Items": _read_items,
    "Raws": _read_raws,
    "Batch": _read_batch,
    "Views": _read_views,
    "Scored": _read_scored,
    "Notes": _read_notes,
    "Selection": _read_selection,
}
