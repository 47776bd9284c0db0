"""The seam between the client and the network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from alaas.client.address import Address
from alaas.client.call import Call
from alaas.client.progress import OnProgress
from alaas.core.wire import Item, PoolInfo, PushResponse, QueryResponse


class Transport(Protocol):
    """A way to ask one server. Several threads may use it at once.

    Every method raises errors of `alaas.core.errors` and no others, except what `items`
    itself raises. A call is broken off through its `Call`.
    """

    def query(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> QueryResponse:
        """Send a pool and wait for the selection."""
        ...

    def push(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> PushResponse:
        """Send a pool and wait until it is stored."""
        ...

    def pools(self, *, call: Call) -> list[PoolInfo]:
        """The pools that the server has stored."""
        ...

    def delete_pool(self, name: str, *, call: Call) -> None:
        """Have the server delete a stored pool."""
        ...

    def strategies(self, *, call: Call) -> list[dict[str, Any]]:
        """The strategies that the server offers."""
        ...

    def close(self) -> None:
        """Close its connections."""
        ...


def open_transport(
    address: Address, *, verify: bool | str, api_key: str | None = None
) -> Transport:
    """The transport of an address; its network library is imported here and nowhere else.

    Args:
        address: The server.
        verify: Which certificates to trust, as `alaas.client.tls.ssl_context` takes it.
        api_key: What to show the server; None for nothing.
    """
    if address.family == "http":
        from alaas.client.http import HttpTransport

        return HttpTransport(address, verify=verify, api_key=api_key)
    if address.family == "ws":
        from alaas.client.websocket import WebSocketTransport

        return WebSocketTransport(address, verify=verify, api_key=api_key)
    from alaas.client.grpc import GrpcTransport

    return GrpcTransport(address, verify=verify, api_key=api_key)
