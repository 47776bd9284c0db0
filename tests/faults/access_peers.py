"""Callers of every kind: with keys and without, from here and from elsewhere, honest and not."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import psutil
import pytest
from faults import WAIT_S
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from alaas.core import keys


@dataclass(frozen=True)
class Key:
    """An API key that a test has made."""

    name: str
    scope: str
    secret: str

    @property
    def header(self) -> dict[str, str]:
        """What an HTTP request shows."""
        return {"Authorization": f"Bearer {self.secret}"}

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What a gRPC call shows."""
        return (("authorization", f"Bearer {self.secret}"),)

    @property
    def entry(self) -> dict[str, str]:
        """What the configuration has of it."""
        return {"name": self.name, "sha256": keys.digest(self.secret), "scopes": self.scope}


def key(name: str, scope: str = "query") -> Key:
    """A new key."""
    return Key(name, scope, keys.make())


def elsewhere() -> str:
    """An IPv4 address of this machine beyond loopback: who calls it comes from there, too."""
    for addresses in psutil.net_if_addrs().values():
        for one in addresses:
            if one.family == socket.AF_INET and not one.address.startswith("127."):
                return one.address
    pytest.skip("this machine has no address beside loopback")


def raw(url: str, request: bytes) -> bytes:
    """Send bytes to a server; what comes back until the connection is closed."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), WAIT_S) as connection:
        connection.sendall(request)
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@contextmanager
def unanswered(url: str, request: bytes) -> Iterator[None]:
    """Send the beginning of a request, and nothing more until the context ends."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), WAIT_S) as connection:
        connection.sendall(request)
        yield


def handshake(**headers: str) -> dict[str, str]:
    """The headers of a request that opens a WebSocket."""
    return {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }


@contextmanager
def channel(target: str) -> Iterator[grpc.Channel]:
    """A gRPC channel in the clear, closed at the end."""
    with grpc.insecure_channel(target) as opened:
        yield opened


@dataclass(frozen=True)
class Outcome:
    """How a gRPC call ended: its status, and the code in its trailers."""

    status: str
    code: str | None


def call(opened: grpc.Channel, method: str, metadata: Any = ()) -> Outcome:
    """Call a gRPC method of any kind with one empty message, up to its first answer."""
    stream = opened.stream_stream(method)(iter([b""]), metadata=metadata, timeout=WAIT_S)
    try:
        next(stream, None)
    except grpc.RpcError as error:
        trailers = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
        return Outcome(error.code().name, trailers.get("alaas-code"))
    finally:
        stream.cancel()
    return Outcome("OK", None)


def methods(opened: grpc.Channel, metadata: Any = ()) -> list[str]:
    """Every method that a gRPC server says it has."""

    def ask(**question: str) -> Any:
        stub = reflection_pb2_grpc.ServerReflectionStub(opened)
        request = reflection_pb2.ServerReflectionRequest(**question)
        (answer,) = stub.ServerReflectionInfo(iter([request]), metadata=metadata, timeout=WAIT_S)
        return answer

    found = []
    for service in ask(list_services="").list_services_response.service:
        described = ask(file_containing_symbol=service.name).file_descriptor_response
        for serialized in described.file_descriptor_proto:
            file = FileDescriptorProto.FromString(serialized)
            found += [
                f"/{service.name}/{method.name}"
                for one in file.service
                if f"{file.package}.{one.name}" == service.name
                for method in one.method
            ]
    return found
