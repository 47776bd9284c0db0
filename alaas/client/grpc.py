"""gRPC: the pool goes out in parts while progress comes in."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import Any

import grpc

from alaas.client.address import Address
from alaas.client.answers import lost
from alaas.client.call import Call
from alaas.client.parts import cut
from alaas.client.progress import OnProgress
from alaas.client.tls import presented_certificate
from alaas.core.errors import (
    AlaasError,
    BodyTooLarge,
    ConnectionFailed,
    DeadlineExceeded,
    Internal,
    InvalidRequest,
    NotFound,
    ValidationFailed,
    from_problem,
)
from alaas.core.wire import Item, PoolInfo, PushResponse, QueryResponse
from alaas.proto import convert, pools
from alaas.proto.alaas.v1 import active_learning_pb2 as pb
from alaas.proto.alaas.v1.active_learning_pb2_grpc import ActiveLearningStub

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A server that comes back is found within a second; the default waits up to two minutes.
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_STATUSES: dict[grpc.StatusCode, type[AlaasError]] = {
    grpc.StatusCode.UNAVAILABLE: ConnectionFailed,
    grpc.StatusCode.CANCELLED: ConnectionFailed,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNIMPLEMENTED: NotFound,
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    # The server has its own word for what it reads; this is said of what it does not read.
    grpc.StatusCode.RESOURCE_EXHAUSTED: BodyTooLarge,
}


class GrpcTransport:
    """Asks over gRPC, with TLS or without. One channel, opened by the first call."""

    def __init__(self, address: Address, *, verify: bool | str, api_key: str | None = None) -> None:
        self._address = address
        self._verify = verify
        shown = () if api_key is None else (("authorization", f"Bearer {api_key}"),)
        self._metadata: tuple[tuple[str, str], ...] = shown
        self._lock = Lock()
        self._channel: grpc.Channel | None = None

    def query(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> QueryResponse:
        """Send a pool in parts and wait for the selection."""
        with _as_parameters():
            first = pb.QueryPart(parameters=convert.parameters_to_message(parameters))
        ask = self._stub(call).QueryStream
        return convert.response_from_message(
            self._converse(ask, first, items, call=call, on_progress=on_progress)
        )

    def push(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> PushResponse:
        """Send a pool in parts and wait until it is stored."""
        with _as_parameters():
            first = pb.PushPart(parameters=pools.parameters_to_message(parameters))
        ask = self._stub(call).PushStream
        return pools.response_from_message(
            self._converse(ask, first, items, call=call, on_progress=on_progress)
        )

    def strategies(self, *, call: Call) -> list[dict[str, Any]]:
        """The strategies that the server offers."""
        answer = self._exchange("Strategies", pb.StrategiesRequest(), call)
        return [_strategy(one) for one in answer.strategies]

    def pools(self, *, call: Call) -> list[PoolInfo]:
        """The pools that the server has stored."""
        answer = self._exchange("Pools", pb.PoolsRequest(), call)
        return [pools.pool_from_message(one) for one in answer.pools]

    def delete_pool(self, name: str, *, call: Call) -> None:
        """Have the server delete a stored pool."""
        self._exchange("DeletePool", pb.DeletePoolRequest(name=name), call)

    def close(self) -> None:
        """Close the channel; calls under way end."""
        with self._lock:
            if self._channel is not None:
                self._channel.close()

    def _converse(
        self,
        ask: Callable[..., Any],
        first: pb.QueryPart | pb.PushPart,
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> Any:
        begun = Event()
        parts = _parts(first, items, call, begun)
        stream = ask(parts, timeout=call.remaining(), metadata=self._metadata)
        call.on_give_up(stream.cancel)
        begun.set()
        response = None
        try:
            for event in stream:
                if event.WhichOneof("event") == "response":
                    response = event.response
                else:
                    on_progress(convert.progress_from_message(event.progress))
        except grpc.RpcError as error:
            raise self._error(error) from error
        finally:
            stream.cancel()
        if response is None:
            raise lost(self._address, "the stream ended before the answer")
        return response

    def _exchange(self, method: str, request: Any, call: Call) -> Any:
        ask = getattr(self._stub(call), method)
        future = ask.future(request, timeout=call.remaining(), metadata=self._metadata)
        call.on_give_up(future.cancel)
        try:
            return future.result()
        except grpc.FutureCancelledError as error:
            raise lost(self._address, "the call was cancelled") from error
        except grpc.RpcError as error:
            raise self._error(error) from error

    def _stub(self, call: Call) -> Any:
        with self._lock:
            if self._channel is None:
                self._channel = self._open(call.open_timeout())
            return ActiveLearningStub(self._channel)  # type: ignore[no-untyped-call]

    def _open(self, timeout: float) -> grpc.Channel:
        target = self._address.target
        if not self._address.secure:
            return grpc.insecure_channel(target, options=_OPTIONS)
        if self._verify is not False:
            roots = Path(self._verify).read_bytes() if isinstance(self._verify, str) else None
            return grpc.secure_channel(
                target, grpc.ssl_channel_credentials(roots), options=_OPTIONS
            )
        # gRPC has no switch for this: what the server presents is taken for its own authority.
        try:
            certificate, name = presented_certificate(
                self._address.host, self._address.port, timeout=timeout
            )
        except OSError as error:
            raise lost(self._address, error) from error
        options = (*_OPTIONS, ("grpc.ssl_target_name_override", name))
        return grpc.secure_channel(
            target, grpc.ssl_channel_credentials(certificate), options=options
        )

    def _error(self, error: grpc.RpcError) -> AlaasError:
        for entry in error.trailing_metadata() or ():
            if entry.key == "alaas-problem-bin":
                return from_problem(json.loads(entry.value))
        kind = _STATUSES.get(error.code(), Internal)
        if kind is ConnectionFailed:
            return lost(self._address, error.details())
        return kind(f"{self._address}: {error.details()}")


@contextmanager
def _as_parameters() -> Iterator[None]:
    try:
        yield
    except (TypeError, ValueError) as error:
        raise ValidationFailed(f"/parameters: {error}") from error


def _parts(
    first: pb.QueryPart | pb.PushPart, items: Iterable[Item], call: Call, begun: Event
) -> Iterator[pb.QueryPart | pb.PushPart]:
    yield first
    # A pool that fails before the call can be broken off would look like one that is complete.
    begun.wait()
    try:
        for part in cut(items):
            yield type(first)(items=[convert.item_to_message(item) for item in part])
    except Exception as error:  # noqa: BLE001
        # This runs in a thread of gRPC's; what the caller's pool raises is raised in theirs.
        call.give_up(error)


def _strategy(message: pb.Strategy) -> dict[str, Any]:
    return {
        "name": message.name,
        "aliases": list(message.aliases),
        "family": message.family,
        "needs": list(message.needs),
        "labelled": list(message.labelled),
        "optional": list(message.optional),
        "cost": message.cost,
        "paper": message.paper,
        "params": convert.mapping(message.params),
        "summary": message.summary,
        "use": message.use,
        "scales": message.scales,
    }
