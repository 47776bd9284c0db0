"""The client."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from alaas.client.address import parse_address
from alaas.client.call import Call, in_thread
from alaas.client.pool import Pool, Reader, labelled_documents, read_any, read_image, reader_of
from alaas.client.progress import OnProgress, progress_bar
from alaas.client.results import QueryResult
from alaas.client.transport import open_transport
from alaas.core.errors import AllItemsFailed, ConnectionFailed, EmptyInput, ValidationFailed
from alaas.core.wire import Item

_T = TypeVar("_T")
_PathT = TypeVar("_PathT", str, Path)


class Client:
    """Asks a server which items of a pool are most worth labelling.

    Several threads may share one. The server's errors are raised as the classes of
    `alaas.core.errors` that have their code.

    Args:
        server: ``scheme://host[:port][/prefix]``; the scheme is one of http, https, ws,
            wss, websocket, websockets, grpc and grpcs.
        timeout: Seconds after which a call is given up with `DeadlineExceeded`, all
            told; None waits for as long as the connection lives.
        verify: Which certificates to trust: True for the well-known authorities, a path
            to a CA bundle for others, False for any at all (gRPC: for the one that the
            server presents at the first call, as long as it has not expired).
        progress: Whether queries show a progress bar on stderr; None shows it where
            stderr is a terminal. HTTP brings no news of a query, so it shows none.

    Raises:
        ValueError: The address, the timeout or the bundle's path is not a valid one.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float | None = None,
        verify: bool | str = True,
        progress: bool | None = None,
    ) -> None:
        self._address = parse_address(server)
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds or None, got {timeout}")
        if isinstance(verify, str) and not Path(verify).is_file():
            raise ValueError(f"verify must be True, False or a CA bundle, got no file {verify!r}")
        self._timeout = timeout
        self._progress = progress
        self._closed = False
        self._transport = open_transport(self._address, verify=verify)

    def query(
        self,
        items: Iterable[Item | str | Path | bytes | Mapping[str, Any]],
        budget: int,
        *,
        strategy: str | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        n_drop: int | None = None,
        labelled: Iterable[Any] | None = None,
        on_item_error: Literal["skip", "fail"] | None = None,
        timeout_s: float | None = None,
        on_progress: OnProgress | None = None,
    ) -> QueryResult:
        """Choose the items most worth labelling.

        Args:
            items: The pool, which gRPC and WebSocket read as they send it. A string is a
                URI that the server fetches; a `pathlib.Path` is read here and sent as
                bytes, with the path as its id; bytes are an encoded image; a mapping has
                one of ``uri``, ``text`` and ``blob`` and perhaps an ``id``. What has no
                id is named by its row.
            budget: Items to choose.
            strategy: Name or alias of a strategy; the server's own if None.
            params: Hyper-parameters of the strategy.
            seed: Seed of the random choices.
            n_drop: Stochastic passes of the model, for strategies that use them.
            labelled: What is labelled already, for strategies that learn from it: pairs of
                an item, as in `items`, and its label; or mappings with a ``label``. A label
                is a class number or a class that the model knows; in regression, a value.
            on_item_error: ``skip`` leaves out items that cannot be ranked and lists them
                in `QueryResult.failures`; ``fail`` raises for the first one.
            timeout_s: Seconds after which the server gives the query up.
            on_progress: Is told how far the query has come, on gRPC and WebSocket; called
                on a thread of the client.

        Raises:
            AlaasError: Any of its classes with a status: `ValidationFailed`,
                `AllItemsFailed`, `ConnectionFailed`, `DeadlineExceeded` and so on.
        """
        parameters = {
            "budget": budget,
            "strategy": strategy,
            "params": params,
            "seed": seed,
            "n_drop": n_drop,
            "labelled": None if labelled is None else labelled_documents(labelled),
            "on_item_error": on_item_error,
            "timeout_s": timeout_s,
        }
        pool = Pool(items, read_any, strict=on_item_error == "fail")
        return self._ask(pool, parameters, on_progress)

    def query_by_uri(
        self,
        input_uris: Iterable[str],
        budget: int,
        divide_mode: bool = False,
        n_drop: int | None = None,
    ) -> list[str]:
        """Choose from URIs that the server fetches, with its own strategy.

        Args:
            input_uris: The pool; a URI may stand in it more than once.
            budget: Items to choose.
            divide_mode: Taken for callers of earlier releases; changes nothing, since a
                large pool is sent in parts wherever the transport can.
            n_drop: Stochastic passes of the model, for strategies that use them.

        Returns:
            The chosen URIs, best first. What could not be ranked is told as a warning.
        """
        return self._choose(input_uris, reader_of("uri"), budget, n_drop)

    def query_by_text(
        self,
        texts: Iterable[str],
        budget: int,
        divide_mode: bool = False,
        n_drop: int | None = None,
    ) -> list[str]:
        """Choose from texts, otherwise as `query_by_uri`."""
        return self._choose(texts, reader_of("text"), budget, n_drop)

    def query_by_images(
        self,
        path_list: Iterable[_PathT],
        budget: int,
        divide_mode: bool = False,
        n_drop: int | None = None,
    ) -> list[_PathT]:
        """Choose from image files of this machine, which are read and sent as bytes.

        Otherwise as `query_by_uri`.

        Returns:
            The chosen paths as they were given, best first.
        """
        return self._choose(path_list, read_image, budget, n_drop)

    def strategies(self) -> list[dict[str, Any]]:
        """The strategies that the server offers.

        Returns:
            For each its name, aliases, family, needs, cost, paper, params and summary.
        """
        self._check_open()
        call = Call.take()
        with call.within(self._timeout):
            return self._transport.strategies(call=call)

    aquery = in_thread(query)
    aquery_by_uri = in_thread(query_by_uri)
    aquery_by_text = in_thread(query_by_text)
    aquery_by_images = in_thread(query_by_images)
    astrategies = in_thread(strategies)

    def close(self) -> None:
        """Close the connections. The client cannot be used any more."""
        self._closed = True
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({str(self._address)!r})"

    def _choose(
        self, given: Iterable[_T], read: Reader, budget: int, n_drop: int | None
    ) -> list[_T]:
        """The caller's own objects that were chosen, best first."""
        kept: list[_T] = []
        result = self._ask(Pool(given, read, kept=kept), {"budget": budget, "n_drop": n_drop})
        _tell(result)
        return [kept[int(pick.id)] for pick in result]

    def _ask(
        self, pool: Pool, parameters: Mapping[str, Any], on_progress: OnProgress | None = None
    ) -> QueryResult:
        self._check_open()
        given = _as_json(parameters)
        call = Call.take()
        try:
            with call.within(self._timeout), progress_bar(self._progress, on_progress) as told:
                response = self._transport.query(given, pool, call=call, on_progress=told)
        except EmptyInput as error:
            if not pool.failures:
                raise
            raise AllItemsFailed(
                f"none of {len(pool.failures)} items can be read; {pool.failures[0].message}"
            ) from error
        return QueryResult(replace(response, failures=(*pool.failures, *response.failures)))

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionFailed(f"this client of {self._address} is closed")


def _as_json(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that were given, as plain JSON values on every transport alike."""
    given = {key: value for key, value in parameters.items() if value is not None}
    try:
        plain: dict[str, Any] = json.loads(json.dumps(given, default=_plain, allow_nan=False))
    except (TypeError, ValueError) as error:
        raise ValidationFailed(f"/parameters: not a JSON value: {error}") from error
    return plain


def _plain(value: Any) -> Any:
    """A scalar or an array of a numerical library, or a mapping, as JSON has it."""
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"{value!r} is a {type(value).__name__}")


def _tell(result: QueryResult) -> None:
    """Warn of what a bare list of chosen items cannot say."""
    for warning in result.warnings:
        warnings.warn(warning.message, stacklevel=4)
    if result.failures:
        warnings.warn(
            f"{len(result.failures)} items could not be ranked, the first one: "
            f"{result.failures[0].message}. Client.query lists them all.",
            stacklevel=4,
        )
