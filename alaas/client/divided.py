"""A query in two steps: the pool is stored on the server as it is read, then chosen from."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any

from alaas.client.call import Call
from alaas.client.progress import OnProgress
from alaas.client.transport import Transport
from alaas.core.errors import AlaasError, StoreDisabled
from alaas.core.wire import Item, QueryResponse

TTL_S = 3600.0
"""Seconds after which the server deletes a pool whose client did not live to do it."""

DELETE_S = 10.0
"""Seconds that deleting it may take."""


def query_divided(
    transport: Transport,
    parameters: Mapping[str, Any],
    items: Iterable[Item],
    *,
    call: Call,
    on_progress: OnProgress,
) -> QueryResponse:
    """Choose from a pool by way of a stored one, which is deleted afterwards.

    Where the server stores nothing, the pool goes with the query.

    Args:
        transport: The way to the server.
        parameters: Those of the query.
        items: The pool, which is read once.
        call: The call that all of this is.
        on_progress: Is told how far the stages have come.

    Raises:
        AlaasError: As `Transport.push` and `Transport.query` do.
    """
    try:
        transport.pools(call=call)
    except StoreDisabled:
        return transport.query(parameters, items, call=call, on_progress=on_progress)
    name = f"divided-{uuid.uuid4().hex}"
    stored = {"pool": name, "ttl_s": TTL_S}
    if "n_drop" in parameters:
        stored["n_drop"] = parameters["n_drop"]
    try:
        push = transport.push(stored, items, call=call, on_progress=on_progress)
        answer = transport.query(
            {**parameters, "pool": name}, (), call=call, on_progress=lambda _: None
        )
    finally:
        _delete(transport, name)
    return replace(
        answer,
        failures=(*push.failures, *answer.failures),
        warnings=(*push.warnings, *answer.warnings),
    )


def _delete(transport: Transport, name: str) -> None:
    # The answer, or what went wrong before, is what the caller wants; time ends the pool too.
    with suppress(AlaasError):
        call = Call()
        with call.within(DELETE_S):
            transport.delete_pool(name, call=call)
