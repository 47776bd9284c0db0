"""Messages about stored pools to and from the dataclasses of `alaas.core.wire`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from alaas.core.wire import PoolInfo, PushResponse
from alaas.proto import convert
from alaas.proto.alaas.v1 import active_learning_pb2 as pb


def parameters_to_message(parameters: Mapping[str, Any]) -> pb.PushParameters:
    """Write the parameters of a push; a value of None is left out.

    Raises:
        TypeError: A value has a type that its field cannot hold.
        ValueError: A key is not a parameter.
    """
    given = {key: value for key, value in parameters.items() if value is not None}
    return pb.PushParameters(**given)


def parameters_from_message(message: pb.PushParameters) -> dict[str, Any]:
    """Read the parameters of a push, as a JSON request would carry them."""
    return {field.name: value for field, value in message.ListFields()}


def pool_to_message(pool: PoolInfo) -> pb.PoolInfo:
    """Write what is known of a stored pool."""
    return pb.PoolInfo(
        name=pool.name,
        items=pool.items,
        views={name: pb.Shape(sizes=shape) for name, shape in pool.views.items()},
        space=pool.space,
        model=pool.model,
        created=pool.created,
        expires=pool.expires,
        bytes=pool.bytes,
    )


def pool_from_message(message: pb.PoolInfo) -> PoolInfo:
    """Read what is known of a stored pool."""
    return PoolInfo(
        name=message.name,
        items=message.items,
        views={name: tuple(shape.sizes) for name, shape in message.views.items()},
        space=message.space,
        model=message.model,
        created=message.created,
        expires=message.expires if message.HasField("expires") else None,
        bytes=message.bytes,
    )


def response_to_message(response: PushResponse) -> pb.PushResponse:
    """Write the answer to a push."""
    return pb.PushResponse(
        pool=pool_to_message(response.pool),
        failures=convert.failures_to_message(response.failures),
        timings=convert.timings_to_message(response.timings),
        warnings=convert.warnings_to_message(response.warnings),
        request_id=response.request_id,
    )


def response_from_message(message: pb.PushResponse) -> PushResponse:
    """Read the answer to a push."""
    return PushResponse(
        pool=pool_from_message(message.pool),
        failures=convert.failures_from_message(message.failures),
        timings=convert.timings_from_message(message.timings),
        warnings=convert.warnings_from_message(message.warnings),
        request_id=message.request_id,
    )
