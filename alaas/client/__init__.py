"""The thin client: asks a server over HTTP, WebSocket or gRPC.

    from alaas.client import Client

    with Client("grpc://localhost:8081") as client:
        for pick in client.query(uris, budget=100, strategy="badge"):
            print(pick.rank, pick.uri, pick.score)

Each transport's network library is imported when a client of that transport is made.
"""

from alaas.client.client import Client
from alaas.client.jobs import JobHandle, JobStatus
from alaas.client.results import PushResult, QueryResult
from alaas.core.wire import Item

__all__ = ["Client", "Item", "JobHandle", "JobStatus", "PushResult", "QueryResult"]
