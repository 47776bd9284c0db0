"""HTTP: one request with the pool, in one piece or in lines as they are read; one answer."""

from __future__ import annotations

import json
import re
import socket
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from itertools import chain
from typing import Any
from urllib.parse import quote

import requests
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from alaas.client.address import Address
from alaas.client.answers import (
    lost,
    read_pools,
    read_push,
    read_response,
    refusal,
    unlike_ours,
)
from alaas.client.call import Call
from alaas.client.parts import cut
from alaas.client.progress import OnProgress
from alaas.client.retry import insist
from alaas.core.errors import AlaasError
from alaas.core.wire import Item, PoolInfo, PushResponse, QueryResponse

_JSON, _LINES = "application/json", "application/x-ndjson"

_under_way: ContextVar[Call] = ContextVar("alaas_http_call")


class HttpTransport:
    """Asks over HTTP or HTTPS. Connections are kept alive between calls."""

    def __init__(self, address: Address, *, verify: bool | str, api_key: str | None = None) -> None:
        self._address = address
        self._verify = verify
        self._session = requests.Session()
        # As `auth` and not as a header, which a ~/.netrc would override.
        self._session.auth = None if api_key is None else _Bearer(api_key)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter())

    def query(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> QueryResponse:
        """Send a pool and wait for the selection; there is no news of it until then."""
        document = self._post("/query", parameters, items, call)
        return read_response(document, self._address)

    def push(
        self,
        parameters: Mapping[str, Any],
        items: Iterable[Item],
        *,
        call: Call,
        on_progress: OnProgress,
    ) -> PushResponse:
        """Send a pool and wait until it is stored; there is no news of it until then."""
        document = self._post("/push", parameters, items, call)
        return read_push(document, self._address)

    def pools(self, *, call: Call) -> list[PoolInfo]:
        """The pools that the server has stored."""
        return read_pools(self._exchange("GET", "/pools", call=call), self._address)

    def delete_pool(self, name: str, *, call: Call) -> None:
        """Have the server delete a stored pool."""
        self._exchange("DELETE", f"/pools/{quote(name, safe='')}", call=call)

    def strategies(self, *, call: Call) -> list[dict[str, Any]]:
        """The strategies that the server offers."""
        document = self._exchange("GET", "/strategies", call=call)
        try:
            return list(document["strategies"])
        except (KeyError, TypeError) as error:
            raise unlike_ours(self._address, error) from error

    def close(self) -> None:
        """Close the connections that were kept alive."""
        self._session.close()

    def submit(
        self, parameters: Mapping[str, Any], items: Iterable[Item], *, call: Call
    ) -> Mapping[str, Any]:
        """Send a pool, to be chosen from by a job; gives the job."""
        return self._mapping(self._post("/jobs", parameters, items, call))

    def job(self, path: str, *, call: Call, method: str = "GET") -> Mapping[str, Any]:
        """What the server says of jobs at a path below ``/jobs``."""
        return self._mapping(self._exchange(method, f"/jobs{path}", call=call))

    @contextmanager
    def events(self, name: str, *, call: Call, silence_s: float) -> Iterator[Iterator[str]]:
        """The lines of a job's stream of events.

        Args:
            name: Id of the job.
            call: The call; it breaks the stream off.
            silence_s: Seconds without a line after which the stream is taken for dead.
        """
        token = _under_way.set(call)
        try:
            with self._ask(
                "GET", f"/jobs/{name}/events", call=call, stream=True, silence_s=silence_s
            ) as answer:
                if answer.status_code != 200:
                    raise self._refusal(answer)
                yield answer.iter_lines(decode_unicode=True)
        except requests.RequestException as error:
            raise lost(self._address, _cause(error)) from error
        finally:
            _under_way.reset(token)
            call.on_give_up(None)

    def _post(
        self, path: str, parameters: Mapping[str, Any], items: Iterable[Item], call: Call
    ) -> Any:
        """Send a small pool as one JSON document, and a large one in lines as it is read.

        The document has a key, by which the server knows it when it comes again.
        """
        parts = cut(items)
        first, second = next(parts, []), next(parts, None)
        if second is None:
            key, body = uuid.uuid4().hex, _document(parameters, first)
            return self._exchange("POST", path, call=call, body=body, key=key)
        lines = _lines(parameters, chain((first, second), parts), call)
        return self._exchange("POST", path, call=call, body=lines, content_type=_LINES)

    def _exchange(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: bytes | Iterator[bytes] | None = None,
        content_type: str = _JSON,
        key: str | None = None,
    ) -> Any:
        """Ask once; or more often, where that is safe: what only reads, and what has a key."""
        headers = {"Content-Type": content_type} if body is not None else {}
        if key is not None:
            headers["Idempotency-Key"] = key
        once = partial(self._exchange_once, method, path, call=call, body=body, headers=headers)
        reads = method == "GET"
        answer = insist(once, call, reads=reads) if reads or key is not None else once()
        if answer.status_code == 204:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise unlike_ours(self._address, error) from error

    def _exchange_once(
        self, method: str, path: str, *, call: Call, **rest: Any
    ) -> requests.Response:
        token = _under_way.set(call)
        try:
            answer = self._ask(method, path, call=call, **rest)
        except requests.RequestException as error:
            raise lost(self._address, _cause(error)) from error
        finally:
            _under_way.reset(token)
            call.on_give_up(None)
        if answer.status_code not in (200, 202, 204):
            raise self._refusal(answer)
        return answer

    def _ask(
        self,
        method: str,
        path: str,
        *,
        call: Call,
        body: bytes | Iterator[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
        stream: bool = False,
        silence_s: Any = None,
    ) -> requests.Response:
        return self._session.request(
            method,
            self._address.url(path),
            data=body,
            headers=headers,
            stream=stream,
            timeout=(call.open_timeout(), silence_s),
            # Given by call, since REQUESTS_CA_BUNDLE overrides what a session says.
            verify=self._verify,
            allow_redirects=False,
        )

    def _refusal(self, answer: requests.Response) -> AlaasError:
        error = refusal(answer.status_code, answer.content, self._address)
        with suppress(ValueError):  # it may be a date
            error.retry_after_s = float(answer.headers.get("Retry-After", ""))
        return error

    def _mapping(self, document: Any) -> Mapping[str, Any]:
        if not isinstance(document, Mapping):
            raise unlike_ours(self._address, TypeError(f"{document!r:.50}"))
        return document


class _Bearer(AuthBase):
    """Shows an API key with every request."""

    def __init__(self, key: str) -> None:
        self._value = f"Bearer {key}"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        request.headers["Authorization"] = self._value
        return request


def _document(parameters: Mapping[str, Any], items: Iterable[Item]) -> bytes:
    documents = b",".join(json.dumps(item.to_json()).encode() for item in items)
    return b'{"parameters":%b,"data":[%b]}' % (json.dumps(parameters).encode(), documents)


def _lines(
    parameters: Mapping[str, Any], parts: Iterable[list[Item]], call: Call
) -> Iterator[bytes]:
    yield b'{"parameters":%b}\n' % json.dumps(parameters).encode()
    try:
        for part in parts:
            yield b"".join(b"%b\n" % json.dumps(item.to_json()).encode() for item in part)
    except Exception as error:
        # An OSError of the caller's pool would be taken for one of the connection.
        call.give_up(error)
        raise


# How a reason begins, in urllib3 1 and 2: with the repr of the connection.
_REPR = re.compile(r"^(<[^>]*>|\w+\([^)]*\)): ")


def _cause(error: requests.RequestException) -> str:
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    return _REPR.sub("", str(reason))


class _Connection(HTTPConnection):
    """A connection that the call it serves can break off."""

    def request(self, *args: Any, **kwargs: Any) -> None:
        with self._sending():
            super().request(*args, **kwargs)

    def request_chunked(self, *args: Any, **kwargs: Any) -> None:  # of urllib3 1
        with self._sending():
            super().request_chunked(*args, **kwargs)  # type: ignore[misc,unused-ignore]

    @contextmanager
    def _sending(self) -> Iterator[None]:
        if self.sock is None:
            self.connect()  # type: ignore[no-untyped-call,unused-ignore]
        # What is left of the time to connect would otherwise be the time to send the body.
        self.timeout = None
        self.sock.settimeout(None)
        _under_way.get().on_give_up(partial(_shut, self.sock))
        try:
            yield
        except ConnectionResetError as error:
            # A server that refuses a pool may close before it has read all of it. After a
            # broken pipe, but not after a reset, urllib3 goes on to read what it answered.
            raise BrokenPipeError(*error.args) from error


class _SecureConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    """Makes connections of the kinds above, with a proxy and without."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager: Any = super().proxy_manager_for(*args, **kwargs)  # type: ignore[no-untyped-call,unused-ignore]
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
        return manager


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):  # the server may have closed it
        # The plain socket's method: the TLS one would pull its session from under the reader.
        socket.socket.shutdown(sock, socket.SHUT_RDWR)
