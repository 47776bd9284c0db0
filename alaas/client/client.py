"""The client."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypeVar, cast

from alaas.client.address import parse_address
from alaas.client.answers import unlike_ours
from alaas.client.api_key import checked_key
from alaas.client.call import Call, in_thread
from alaas.client.divided import query_divided
from alaas.client.jobs import JobDesk, JobHandle, JobStatus
from alaas.client.parameters import as_json
from alaas.client.pool import Pool, labelled_documents, read_any, read_image, reader_of
from alaas.client.progress import OnProgress, progress_bar
from alaas.client.results import PushResult, QueryResult
from alaas.client.transport import open_transport
from alaas.core.errors import (
    AllItemsFailed,
    ConnectionFailed,
    EmptyInput,
    InvalidRequest,
    ValidationFailed,
)
from alaas.core.wire import Item, Pick, PoolInfo

if TYPE_CHECKING:
    from alaas.client.http import HttpTransport

_T = TypeVar("_T")
_PathT = TypeVar("_PathT", str, Path)

Given: TypeAlias = Item | str | Path | bytes | Mapping[str, Any]
"""What a pool may hold."""


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
        api_key: What the server asks for where it does not serve everybody; None takes the
            environment's ``ALAAS_API_KEY``, if there is one.

    Raises:
        ValueError: The address, the timeout, the bundle's path or the key is not a valid one.
    """

    def __init__(
        self,
        server: str,
        *,
        timeout: float | None = None,
        verify: bool | str = True,
        progress: bool | None = None,
        api_key: str | None = None,
    ) -> None:
        self._address = parse_address(server)
        if timeout is not None and timeout <= 0:
            raise ValueError(f"timeout must be more than 0 seconds or None, got {timeout}")
        if isinstance(verify, str) and not Path(verify).is_file():
            raise ValueError(f"verify must be True, False or a CA bundle, got no file {verify!r}")
        self._timeout = timeout
        self._progress = progress
        self._closed = False
        self._transport = open_transport(self._address, verify=verify, api_key=checked_key(api_key))

    def query(
        self,
        items: Iterable[Given] | None,
        budget: int,
        *,
        strategy: str | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        n_drop: int | None = None,
        labelled: Iterable[Any] | None = None,
        calibrate: Literal["temperature", "dirichlet"] | None = None,
        on_item_error: Literal["skip", "fail"] | None = None,
        timeout_s: float | None = None,
        pool: str | None = None,
        model: str | None = None,
        cache: bool | None = None,
        on_progress: OnProgress | None = None,
    ) -> QueryResult:
        """Choose the items most worth labelling.

        Args:
            items: The pool, which is read as it is sent; None where `pool` names one. A
                string is a URI that the server fetches; a `pathlib.Path` is read here and
                sent as bytes, with the path as its id; bytes are an encoded image; a
                mapping has one of ``uri``, ``text`` and ``blob`` and perhaps an ``id``.
                What has no id is named by its row.
            budget: Items to choose.
            strategy: Name or alias of a strategy; the server's own if None.
            params: Hyper-parameters of the strategy.
            seed: Seed of the random choices.
            n_drop: Stochastic passes of the model, for strategies that use them.
            labelled: What is labelled already, for strategies that learn from it: pairs of
                an item, as in `items`, and its label; or mappings with a ``label``. A label
                is a class number or a class that the model knows; in regression, a value.
            calibrate: How class probabilities are scaled, by the labelled items, before the
                strategy reads them.
            on_item_error: ``skip`` leaves out items that cannot be ranked and lists them
                in `QueryResult.failures`; ``fail`` raises for the first one.
            timeout_s: Seconds after which the server gives the query up.
            pool: Name of a pool that was pushed, to choose from without sending anything.
            model: Name or digest of one of the server's models; None for the default one or,
                with `pool`, the one that the pool was pushed for.
            cache: False computes everything anew, and keeps nothing of it in the server's store.
            on_progress: Is told how far the query has come, on gRPC and WebSocket; called
                on a thread of the client.

        Raises:
            AlaasError: Any of its classes with a status: `ValidationFailed`,
                `AllItemsFailed`, `ConnectionFailed`, `DeadlineExceeded` and so on.
        """
        given, parameters = _asked(
            items, budget=budget, strategy=strategy, params=params, seed=seed, n_drop=n_drop,
            labelled=labelled, calibrate=calibrate, on_item_error=on_item_error,
            timeout_s=timeout_s, pool=pool, model=model, cache=cache,
        )  # fmt: skip
        return self._query(given, parameters, on_progress)

    def submit(
        self,
        items: Iterable[Given] | None,
        budget: int,
        *,
        strategy: str | None = None,
        params: Mapping[str, Any] | None = None,
        seed: int | None = None,
        n_drop: int | None = None,
        labelled: Iterable[Any] | None = None,
        calibrate: Literal["temperature", "dirichlet"] | None = None,
        on_item_error: Literal["skip", "fail"] | None = None,
        timeout_s: float | None = None,
        pool: str | None = None,
        model: str | None = None,
        cache: bool | None = None,
    ) -> JobHandle:
        """Have the server choose as `query` does, in a job that goes on when this client has gone.

        Arguments are those of `query`. Once it returns, the server has the whole pool, and
        the job outlives its restarts.

        Raises:
            InvalidRequest: The server is not asked over http or https.
            QuotaExceeded: The caller has as many unfinished jobs as it may.
            AlaasError: As `query` does.
        """
        given, parameters = _asked(
            items, budget=budget, strategy=strategy, params=params, seed=seed, n_drop=n_drop,
            labelled=labelled, calibrate=calibrate, on_item_error=on_item_error,
            timeout_s=timeout_s, pool=pool, model=model, cache=cache,
        )  # fmt: skip
        desk, plain = self._desk(), as_json(parameters)
        with self._asking(given, None) as (call, _):
            job = desk.read(desk.transport.submit(plain, given, call=call))
        return JobHandle(desk, job.id, given.failures)

    def job(self, name: str) -> JobHandle:
        """A job of the server, by its id. Nothing is asked yet.

        Raises:
            InvalidRequest: The server is not asked over http or https.
        """
        return JobHandle(self._desk(), name)

    def jobs(self, *, limit: int = 100) -> list[JobStatus]:
        """The caller's jobs, newest first.

        Args:
            limit: How many at most.

        Raises:
            InvalidRequest: The server is not asked over http or https.
        """
        return self._desk().list(limit=limit)

    def push(
        self,
        items: Iterable[Given],
        pool: str,
        *,
        ttl_s: float | None = None,
        strategy: str | None = None,
        n_drop: int | None = None,
        seed: int | None = None,
        on_item_error: Literal["skip", "fail"] | None = None,
        timeout_s: float | None = None,
        model: str | None = None,
        cache: bool | None = None,
        on_progress: OnProgress | None = None,
    ) -> PushResult:
        """Store a pool on the server, for queries to choose from by its name.

        Args:
            items: The pool, as `query` takes it.
            pool: Its name; a pool of that name is replaced.
            ttl_s: Seconds after which the server deletes it; None keeps it.
            strategy: One that will choose from it, where it reads more than predictions
                and embeddings.
            n_drop: Stochastic passes of the model to store as well.
            seed: Seed of those passes.
            on_item_error: As in `query`.
            timeout_s: Seconds after which the server gives the push up.
            model: Name or digest of one of the server's models; None for the default one.
            cache: As in `query`.
            on_progress: As in `query`.

        Raises:
            AlaasError: As `query` does; and `StoreDisabled`, where the server stores nothing.
        """
        parameters = {
            "pool": pool,
            "ttl_s": ttl_s,
            "strategy": strategy,
            "n_drop": n_drop,
            "seed": seed,
            "on_item_error": on_item_error,
            "timeout_s": timeout_s,
            "model": model,
            "cache": cache,
        }
        given = Pool(items, read_any, strict=on_item_error == "fail")
        plain = as_json(parameters)
        with self._asking(given, on_progress) as (call, told):
            response = self._transport.push(plain, given, call=call, on_progress=told)
        return PushResult(replace(response, failures=(*given.failures, *response.failures)))

    def pools(self) -> list[PoolInfo]:
        """The pools that the server has stored, by name."""
        with self._calling() as call:
            return self._transport.pools(call=call)

    def delete_pool(self, name: str) -> None:
        """Have the server delete a stored pool.

        Raises:
            UnknownPool: There is none of that name.
        """
        with self._calling() as call:
            self._transport.delete_pool(name, call=call)

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
            divide_mode: Store the pool on the server first, under a name of its own, and
                choose from it then; the server deletes it afterwards.
            n_drop: Stochastic passes of the model, for strategies that use them.

        Returns:
            The chosen URIs, best first. What could not be ranked is told as a warning.
        """
        pool = Pool(input_uris, reader_of("uri"))
        return self._choose(pool, budget, n_drop, divide_mode, self._content)

    def query_by_text(
        self,
        texts: Iterable[str],
        budget: int,
        divide_mode: bool = False,
        n_drop: int | None = None,
    ) -> list[str]:
        """Choose from texts, otherwise as `query_by_uri`."""
        pool = Pool(texts, reader_of("text"))
        return self._choose(pool, budget, n_drop, divide_mode, self._content)

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
        # An answer has no bytes in it: paths that can be read only once are kept.
        kept: list[_PathT] = []
        paths = path_list if isinstance(path_list, Sequence) else kept
        pool = Pool(path_list, read_image, kept=None if paths is path_list else kept)
        return self._choose(pool, budget, n_drop, divide_mode, lambda pick: paths[int(pick.id)])

    def strategies(self) -> list[dict[str, Any]]:
        """The strategies that the server offers.

        Returns:
            For each its name, aliases, family, needs, cost, paper, params and summary.
        """
        with self._calling() as call:
            return self._transport.strategies(call=call)

    aquery = in_thread(query)
    asubmit = in_thread(submit)
    ajobs = in_thread(jobs)
    apush = in_thread(push)
    apools = in_thread(pools)
    adelete_pool = in_thread(delete_pool)
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
        self,
        pool: Pool,
        budget: int,
        n_drop: int | None,
        divide_mode: bool,
        own: Callable[[Pick], _T],
    ) -> list[_T]:
        """The caller's own objects that were chosen, best first."""
        result = self._query(pool, {"budget": budget, "n_drop": n_drop}, divided=divide_mode)
        _tell(result)
        return [own(pick) for pick in result]

    def _content(self, pick: Pick) -> str:
        content = pick.uri if pick.text is None else pick.text
        if content is None:
            raise unlike_ours(self._address, KeyError("uri"))
        return content

    def _query(
        self,
        pool: Pool,
        parameters: Mapping[str, Any],
        on_progress: OnProgress | None = None,
        *,
        divided: bool = False,
    ) -> QueryResult:
        given = as_json(parameters)
        ask = partial(query_divided, self._transport) if divided else self._transport.query
        with self._asking(pool, on_progress) as (call, told):
            response = ask(given, pool, call=call, on_progress=told)
        return QueryResult(replace(response, failures=(*pool.failures, *response.failures)))

    @contextmanager
    def _asking(
        self, pool: Pool, on_progress: OnProgress | None
    ) -> Iterator[tuple[Call, OnProgress]]:
        """One call that sends a pool: gives the call, and whom to tell of its progress."""
        try:
            with self._calling() as call, progress_bar(self._progress, on_progress) as told:
                yield call, told
        except EmptyInput as error:
            if not pool.failures:
                raise
            raise AllItemsFailed(
                f"none of {len(pool.failures)} items can be read; {pool.failures[0].message}"
            ) from error

    @contextmanager
    def _calling(self, timeout: float | EllipsisType | None = ...) -> Iterator[Call]:
        """One call; by default with the client's timeout."""
        self._check_open()
        call = Call.take()
        with call.within(self._timeout if timeout is ... else timeout):
            yield call

    def _desk(self) -> JobDesk:
        if self._address.family != "http":
            raise InvalidRequest(
                f"jobs are asked for over http or https, and this client asks {self._address}"
            )
        transport = cast("HttpTransport", self._transport)
        return JobDesk(self._address, transport, calling=self._calling, shows=self._progress)

    def _check_open(self) -> None:
        if self._closed:
            raise ConnectionFailed(f"this client of {self._address} is closed")


def _asked(
    items: Iterable[Given] | None, *, labelled: Iterable[Any] | None, **parameters: Any
) -> tuple[Pool, dict[str, Any]]:
    """The pool of a query, and its parameters."""
    if (items is None) == (parameters["pool"] is None):
        both = "neither" if items is None else "both"
        raise ValidationFailed(f"a query takes items or the name of a pool, got {both}")
    learnt = None if labelled is None else labelled_documents(labelled)
    strict = parameters["on_item_error"] == "fail"
    return Pool(items or (), read_any, strict=strict), {**parameters, "labelled": learnt}


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
