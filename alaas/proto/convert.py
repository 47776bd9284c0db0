"""Messages of the gRPC contract to and from the dataclasses of `alaas.core.wire`."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, cast

from google.protobuf.struct_pb2 import Struct, Value

from alaas.core.wire import (
    Failure,
    Item,
    Pick,
    Progress,
    QueryResponse,
    Receipt,
    Stage,
    StageTiming,
    Timings,
    Warn,
)
from alaas.proto.alaas.v1 import active_learning_pb2 as pb


def item_to_message(item: Item) -> pb.Item:
    """Write one item of a pool."""
    if item.blob is not None:
        return pb.Item(id=item.id, blob=item.blob, group=item.group)
    if item.text is not None:
        return pb.Item(id=item.id, text=item.text, group=item.group)
    return pb.Item(id=item.id, uri=item.uri, group=item.group)


def item_from_message(message: pb.Item, row: int) -> Item:
    """Read one item of a pool; `row` is the id of one that has none.

    A message without content gives an item without content, which the caller refuses.
    """
    kind = message.WhichOneof("content")
    content = {} if kind is None else {kind: getattr(message, kind)}
    group = message.group if message.HasField("group") else None
    return Item(id=message.id or str(row), group=group, **content)


def parameters_to_message(parameters: Mapping[str, Any]) -> pb.Parameters:
    """Write the parameters of a query; a value of None is left out.

    Raises:
        TypeError: A value has a type that its field cannot hold.
        ValueError: A key is not a parameter.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    params = given.pop("params", None)
    labelled = [_labelled_to_message(one) for one in given.pop("labelled", ())]
    message = pb.Parameters(**given, labelled=labelled)
    if params:
        message.params.CopyFrom(struct(params))
    return message


def parameters_from_message(message: pb.Parameters) -> dict[str, Any]:
    """Read the parameters of a query, as a JSON request would carry them."""
    given = {
        field.name: value
        for field, value in message.ListFields()
        if field.name not in ("params", "labelled")
    }
    if message.labelled:
        given["labelled"] = [_labelled_from_message(one) for one in message.labelled]
    if message.HasField("params"):
        given["params"] = mapping(message.params)
    return given


def _labelled_to_message(document: Mapping[str, Any]) -> pb.Labelled:
    """Write a labelled item as the parameters of a JSON request carry it."""
    content = {key: document[key] for key in ("id", "uri", "text", "group") if document.get(key)}
    if document.get("blob"):
        content["blob"] = base64.b64decode(document["blob"])
    label = document.get("label")
    kind = {} if label is None else {"name" if isinstance(label, str) else "number": label}
    return pb.Labelled(item=pb.Item(**content), **kind)


def _labelled_from_message(message: pb.Labelled) -> dict[str, Any]:
    document = item_from_message(message.item, 0).to_json()
    document["id"] = message.item.id
    kind = message.WhichOneof("label")
    return document if kind is None else {**document, "label": getattr(message, kind)}


def struct(values: Mapping[str, Any]) -> Struct:
    """Write a JSON object."""
    message = Struct()
    message.update(dict(values))
    return message


def mapping(message: Struct) -> dict[str, Any]:
    """Read a JSON object; a whole number comes back as an int, as it does from JSON."""
    return {key: _plain(value) for key, value in message.fields.items()}


def _plain(value: Value) -> Any:
    # Not `json_format`, which refuses NaN and infinity: whoever reads the values does it better.
    match value.WhichOneof("kind"):
        case "struct_value":
            return mapping(value.struct_value)
        case "list_value":
            return [_plain(one) for one in value.list_value.values]
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None


def response_to_message(response: QueryResponse) -> pb.QueryResponse:
    """Write an answer. Bytes that the caller sent are not sent back."""
    receipt = response.receipt
    return pb.QueryResponse(
        picks=[
            pb.Pick(id=p.id, rank=p.rank, score=p.score, uri=p.uri, text=p.text)
            for p in response.picks
        ],
        failures=failures_to_message(response.failures),
        timings=timings_to_message(response.timings),
        receipt=pb.Receipt(
            strategy=receipt.strategy,
            params=struct(receipt.params),
            seed=receipt.seed,
            budget=receipt.budget,
            model=receipt.model,
            version=receipt.version,
            pool_size=receipt.pool_size,
            n_drop=receipt.n_drop,
            labelled_size=receipt.labelled_size,
            calibrate=receipt.calibrate,
            calibration=struct(receipt.calibration) if receipt.calibration else None,
        ),
        warnings=warnings_to_message(response.warnings),
        request_id=response.request_id,
    )


def response_from_message(message: pb.QueryResponse) -> QueryResponse:
    """Read an answer."""
    receipt = message.receipt
    return QueryResponse(
        picks=tuple(
            Pick(p.id, p.rank, p.score, uri=_chosen(p, "uri"), text=_chosen(p, "text"))
            for p in message.picks
        ),
        failures=failures_from_message(message.failures),
        timings=timings_from_message(message.timings),
        receipt=Receipt(
            strategy=receipt.strategy,
            params=mapping(receipt.params),
            seed=receipt.seed,
            budget=receipt.budget,
            model=receipt.model,
            version=receipt.version,
            pool_size=receipt.pool_size,
            n_drop=receipt.n_drop,
            labelled_size=receipt.labelled_size,
            calibrate=receipt.calibrate,
            calibration=mapping(receipt.calibration),
        ),
        warnings=warnings_from_message(message.warnings),
        request_id=message.request_id,
    )


def _chosen(message: pb.Pick, name: str) -> str | None:
    return getattr(message, name) if message.WhichOneof("content") == name else None


def failures_to_message(failures: Sequence[Failure]) -> list[pb.Failure]:
    """Write items that were lost."""
    return [
        pb.Failure(id=f.id, stage=f.stage, code=f.code, message=f.message, uri=f.uri)
        for f in failures
    ]


def failures_from_message(messages: Iterable[pb.Failure]) -> tuple[Failure, ...]:
    """Read items that were lost."""
    return tuple(
        Failure(
            f.id,
            cast("Stage", f.stage),
            f.code,
            f.message,
            uri=f.uri if f.HasField("uri") else None,
        )
        for f in messages
    )


def timings_to_message(timings: Timings) -> pb.Timings:
    """Write where the time went."""
    return pb.Timings(
        total_s=timings.total_s,
        bottleneck=timings.bottleneck,
        stages={
            name: pb.StageTiming(
                busy_s=stage.busy_s,
                items=stage.items,
                wait_s=stage.wait_s,
                bytes=stage.bytes,
                hits=stage.hits,
            )
            for name, stage in timings.stages.items()
        },
    )


def timings_from_message(message: pb.Timings) -> Timings:
    """Read where the time went."""
    return Timings(
        total_s=message.total_s,
        stages={
            name: StageTiming(stage.busy_s, stage.items, stage.wait_s, stage.bytes, stage.hits)
            for name, stage in message.stages.items()
        },
    )


def warnings_to_message(warnings: Sequence[Warn]) -> list[pb.Warning]:
    """Write what the caller should know."""
    return [pb.Warning(code=one.code, message=one.message) for one in warnings]


def warnings_from_message(messages: Iterable[pb.Warning]) -> tuple[Warn, ...]:
    """Read what the caller should know."""
    return tuple(Warn(one.code, one.message) for one in messages)


def progress_to_message(progress: Progress) -> pb.Progress:
    """Write how far a query has come."""
    return pb.Progress(
        done=progress.done,
        failed=progress.failed,
        received=progress.received,
        total=progress.total,
    )


def progress_from_message(message: pb.Progress) -> Progress:
    """Read how far a query has come."""
    return Progress(
        done=message.done,
        failed=message.failed,
        received=message.received,
        total=message.total if message.HasField("total") else None,
    )
