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
from dataclasses import asdict, astuple, dataclass, field, replace
from time import monotonic
from typing import Any

import numpy as np

from alaas.core.types import (
    Admitted,
    Batch,
    Calibrated,
    Items,
    Notes,
    Plan,
    Raw,
    Raws,
    Scored,
    Selection,
    Spent,
    Stored,
    Views,
)
from alaas.core.wire import Failure, Item, PoolInfo
from alaas.server import logs

# What the readers below raise for a frame that `encode` did not write; numpy parses the names
# of its types as Python does.
_BROKEN = (
    ArithmeticError, AttributeError, LookupError, RecursionError, SyntaxError, TypeError,
)  # fmt: skip

Content = Items | Admitted | Raws | Batch | Views | Scored | Notes | Selection | Stored | Calibrated


@dataclass(frozen=True, slots=True)
class Message:
    """A micro-batch on its way through the stages.

    Attributes:
        plan: The query that it belongs to.
        content: What the last stage made of it.
        spent: Stage name to what was spent on it.
        problem: The error that ended it, as a problem document.
        left: When the last stage passed it on, by the clock that processes of a machine share.
        request: Id of the request for which it is sent, for the logs of all processes.
    """

    plan: Plan
    content: Content
    spent: Mapping[str, Spent] = field(default_factory=dict)
    problem: Mapping[str, Any] | None = None
    left: float = 0.0
    request: str = field(default_factory=logs.current)

    def after(
        self, stage: str, content: Content, started: float, counts: Mapping[str, int] | None = None
    ) -> Message:
        """The message that `stage` passes on, which took it up at `started`."""
        busy, waited = monotonic() - started, max(0.0, started - self.left)
        counted = getattr(content, "counts", {}) if counts is None else counts
        spent = Spent(busy, waited, getattr(content, "size", 0), counted)
        return replace(self, content=content, spent={**self.spent, stage: spent})


def encode(message: Message) -> tuple[bytes, bytes]:
    """Write a message as header and payload."""
    kind = type(message.content).__name__
    fields, payload = _WRITERS[kind](message.content)
    header = {
        "plan": asdict(message.plan),
        "kind": kind,
        "seq": getattr(message.content, "seq", 0),
        "spent": {stage: astuple(spent) for stage, spent in message.spent.items()},
        "left": monotonic(),
        "request": message.request,
        "problem": message.problem,
        "failures": [
            failure.to_json() for failure in getattr(message.content, "failures", ())
        ],
        **fields,
    }  # fmt: skip
    return json.dumps(header).encode(), payload


def decode(header: bytes, payload: bytes) -> Message:
    """Read what `encode` wrote. Arrays share the payload's memory and are read-only.

    Raises:
        ValueError: Something else wrote it.
    """
    try:
        return _read(json.loads(header), payload)
    except _BROKEN as error:
        raise ValueError(f"this is no frame: {type(error).__name__}: {error}") from error


def _read(fields: dict[str, Any], payload: bytes) -> Message:
    plan = Plan(**{**fields["plan"], "needs": tuple(fields["plan"]["needs"])})
    content = _READERS[fields["kind"]](fields, memoryview(payload))
    if isinstance(content, Raws | Batch | Views | Scored):
        failures = tuple(Failure.from_json(one) for one in fields["failures"])
        content = replace(content, failures=failures)
    spent = {stage: Spent(*values) for stage, values in fields["spent"].items()}
    return Message(
        plan, content, spent, fields["problem"], fields["left"], fields["request"]
    )  # fmt: skip


def _write_items(items: Items) -> tuple[dict[str, Any], bytes]:
    rows = [
        [item.id, item.uri, item.text, None if item.blob is None else len(item.blob), item.group]
        for item in items.items
    ]
    fields = {"items": rows, "rows": items.rows, "digests": items.digests}
    return fields, b"".join(item.blob or b"" for item in items.items)


def _read_items(fields: dict[str, Any], payload: memoryview) -> Items:
    items, start = [], 0
    for name, uri, text, length, group in fields["items"]:
        blob = None if length is None else bytes(payload[start : start + length])
        start += length or 0
        items.append(Item(name, uri, text, blob, group))
    return Items(fields["seq"], tuple(items), tuple(fields["rows"]), tuple(fields["digests"]))


def _write_admitted(admitted: Admitted) -> tuple[dict[str, Any], bytes]:
    fields = {"missing": admitted.missing, "known": admitted.known, "corrupt": admitted.corrupt}
    return fields, b""


def _read_admitted(fields: dict[str, Any], _: memoryview) -> Admitted:
    return Admitted(
        fields["seq"], tuple(fields["missing"]), fields["known"], corrupt=fields["corrupt"]
    )  # fmt: skip


def _write_raws(raws: Raws) -> tuple[dict[str, Any], bytes]:
    rows = [[raw.id, len(raw.data), raw.is_text, raw.digest] for raw in raws.raws]
    return {"raws": rows}, b"".join(raw.data for raw in raws.raws)


def _read_raws(fields: dict[str, Any], payload: memoryview) -> Raws:
    raws, start = [], 0
    for name, length, is_text, digest in fields["raws"]:
        raws.append(Raw(name, bytes(payload[start : start + length]), is_text, digest))
        start += length
    return Raws(fields["seq"], tuple(raws))


def _write_batch(batch: Batch) -> tuple[dict[str, Any], bytes]:
    fields = {
        "ids": batch.ids, "digests": batch.digests,
        "shape": batch.array.shape, "dtype": batch.array.dtype.str,
    }  # fmt: skip
    return fields, batch.array.tobytes()


def _read_batch(fields: dict[str, Any], payload: memoryview) -> Batch:
    array = np.frombuffer(payload, fields["dtype"]).reshape(fields["shape"])
    ids, digests = tuple(fields["ids"]), tuple(fields["digests"])
    return Batch(fields["seq"], ids, array, digests=digests)


def _write_views(views: Views) -> tuple[dict[str, Any], bytes]:
    arrays = {name: [array.shape, array.dtype.str] for name, array in views.arrays.items()}
    payload = b"".join(array.tobytes() for array in views.arrays.values())
    fields = {
        "ids": views.ids, "digests": views.digests, "arrays": arrays, "model": views.model,
    }  # fmt: skip
    return fields, payload


def _read_views(fields: dict[str, Any], payload: memoryview) -> Views:
    arrays, start = {}, 0
    for name, (shape, dtype) in fields["arrays"].items():
        count = math.prod(shape)
        end = start + count * np.dtype(dtype).itemsize
        arrays[name] = np.frombuffer(payload[start:end], dtype).reshape(shape)
        start = end
    ids, digests = tuple(fields["ids"]), tuple(fields["digests"])
    return Views(fields["seq"], ids, arrays, fields["model"], digests=digests)


def _write_scored(scored: Scored) -> tuple[dict[str, Any], bytes]:
    return {"count": scored.count}, b""


def _read_scored(fields: dict[str, Any], _: memoryview) -> Scored:
    return Scored(fields["seq"], fields["count"])


def _write_selection(selection: Selection) -> tuple[dict[str, Any], bytes]:
    fields = {
        "ids": selection.ids,
        "strategy": selection.strategy,
        "params": dict(selection.params),
        "seed": selection.seed,
        "pool_size": selection.pool_size,
        "model": selection.model,
        "items": [[item.id, item.uri, item.text, item.group] for item in selection.items],
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
        items=tuple(
            Item(name, uri, text, group=group) for name, uri, text, group in fields["items"]
        ),
    )


def _write_notes(notes: Notes) -> tuple[dict[str, Any], bytes]:
    return {"notes": asdict(notes)}, b""


def _read_notes(fields: dict[str, Any], _: memoryview) -> Notes:
    return Notes(**fields["notes"])


def _write_stored(stored: Stored) -> tuple[dict[str, Any], bytes]:
    return {"pools": [info.to_json() for info in stored.pools]}, b""


def _read_stored(fields: dict[str, Any], _: memoryview) -> Stored:
    return Stored(tuple(PoolInfo.from_json(info) for info in fields["pools"]))


_WRITERS: Mapping[str, Callable[[Any], tuple[dict[str, Any], bytes]]] = {
    "Admitted": _write_admitted,
    "Items": _write_items,
    "Raws": _write_raws,
    "Batch": _write_batch,
    "Views": _write_views,
    "Scored": _write_scored,
    "Notes": _write_notes,
    "Selection": _write_selection,
    "Stored": _write_stored,
    "Calibrated": lambda calibrated: ({"calibrated": asdict(calibrated)}, b""),
}
_READERS: Mapping[str, Callable[[dict[str, Any], memoryview], Content]] = {
    "Admitted": _read_admitted,
    "Items": _read_items,
    "Raws": _read_raws,
    "Batch": _read_batch,
    "Views": _read_views,
    "Scored": _read_scored,
    "Notes": _read_notes,
    "Selection": _read_selection,
    "Stored": _read_stored,
    "Calibrated": lambda fields, _: Calibrated(**fields["calibrated"]),
}
