"""The database of the jobs: SQLite beside the other data, or PostgreSQL by its URL."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, Engine, Float, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from alaas.config import Settings
from alaas.core.errors import StorageBusy, StorageUnusable
from alaas.server.jobs.migrations import LaterRevision, upgrade

BUSY_S = 2.0
"""Seconds for which a statement waits for somebody else's lock."""

RETRY_S = 2.0
"""Seconds after which it is worth asking a busy database again."""

CHECKED_BYTES = 256 * 2**20
"""Largest SQLite file that is read through when the service starts: it takes about a second."""

THREADS = 4
"""Statements that are under way at once."""

T = TypeVar("T")

log = structlog.get_logger()


class now(FunctionElement[float]):  # noqa: N801  # it is used as SQL's own functions are
    """The database's own clock, in seconds since 1970: servers need not agree on theirs."""

    type = Float(53)
    inherit_cache = True


@compiles(now, "sqlite")
def _now_of_sqlite(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_of_postgresql(*_: Any, **__: Any) -> str:
    return "CAST(EXTRACT(EPOCH FROM clock_timestamp()) AS DOUBLE PRECISION)"


def location(settings: Settings) -> URL:
    """Where the jobs of a service are kept.

    By default a file named by the port, since a job is asked for by that address.

    Raises:
        StorageUnusable: `jobs.url` is no such address.
    """
    if settings.jobs.url is None:
        from platformdirs import user_data_path

        port = settings.active_learning.al_worker.listeners[0].port
        path = user_data_path("alaas") / "jobs" / f"{port}.sqlite"
        return URL.create("sqlite", database=str(path))
    try:
        url = make_url(settings.jobs.url)
    except ArgumentError:
        raise StorageUnusable(
            "jobs.url is no URL of a database, such as sqlite:///jobs.sqlite"
        ) from None
    if url.get_backend_name() not in ("sqlite", "postgresql"):
        raise StorageUnusable(f"jobs.url must name sqlite or postgresql, got {url.drivername!r}")
    return url.set(drivername="postgresql+psycopg") if url.drivername == "postgresql" else url


def prepare(url: URL) -> None:
    """Make sure that the database can be used: make it, check it, bring its tables up to date.

    Raises:
        StorageUnusable: It is damaged, of a later version, or cannot be reached; the message
            says where it is and what to do.
    """
    named = url.database if _is_file(url) else url.render_as_string(hide_password=True)
    engine = _open(url)
    try:
        with engine.execution_options(durable=True).begin() as connection:
            if _is_file(url) and Path(url.database or "").stat().st_size <= CHECKED_BYTES:
                _check(connection)
            upgrade(connection)
    except LaterRevision as error:
        raise StorageUnusable(
            f"the database of the jobs, {named}, was written by a later version of this service "
            f"(revision {error}): start that version, or name another database in jobs.url"
        ) from None
    except (SQLAlchemyError, OSError) as error:
        reason = str(getattr(error, "orig", error)).strip().partition("\n")[0]
        advice = (
            "move the file away to start without its jobs, or name another one in jobs.url"
            if _is_file(url)
            else "see that it runs and that jobs.url is right"
        )
        raise StorageUnusable(
            f"the database of the jobs, {named}, cannot be used ({reason}): {advice}"
        ) from None
    finally:
        engine.dispose()


class Database:
    """Runs functions in transactions, on threads of its own.

    Args:
        url: Where it is; `prepare` has seen it.
    """

    def __init__(self, url: URL) -> None:
        engine = _open(url)
        self._reading = engine.execution_options(reading=True)
        self._writing = engine
        self._durably = engine.execution_options(durable=True)
        self._threads = ThreadPoolExecutor(THREADS, "alaas-jobs")

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run a function that only reads.

        Raises:
            StorageBusy: The database does not answer now.
        """
        return await self._run(self._reading, work)

    async def write(self, work: Callable[[Connection], T], *, durable: bool = False) -> T:
        """Run a function that reads and writes, all of it or nothing.

        Args:
            work: The function; it may be called on any thread.
            durable: Return only when a loss of power could not undo it.

        Raises:
            StorageBusy: The database does not answer now.
        """
        return await self._run(self._durably if durable else self._writing, work)

    async def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        def transaction() -> T:
            with engine.begin() as connection:
                return work(connection)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, transaction)
        except (OperationalError, InterfaceError, PoolTimeout) as error:
            reason = error.orig if isinstance(error, DBAPIError) else error
            log.warning("the database of the jobs does not answer", reason=str(reason))
            busy = StorageBusy("the database of the jobs does not answer; try again")
            busy.retry_after_s = RETRY_S
            raise busy from error

    def close(self) -> None:
        """Close the connections."""
        self._threads.shutdown()
        self._writing.dispose()


def _is_file(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def _open(url: URL) -> Engine:
    if not _is_file(url):
        return create_engine(url, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    path = Path(url.database or "")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(0o600)  # pools and results are nobody else's business
    engine = create_engine(url, connect_args={"timeout": BUSY_S})

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _: Any) -> None:
        # Python's own way to begin transactions comes too late to read and write in one.
        connection.isolation_level = None
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("reading"):
            level = "FULL" if options.get("durable") else "NORMAL"
            connection.exec_driver_sql(f"PRAGMA synchronous = {level}")
        connection.exec_driver_sql("BEGIN" if options.get("reading") else "BEGIN IMMEDIATE")

    return engine


def _check(connection: Connection) -> None:
    (found,) = connection.exec_driver_sql("PRAGMA quick_check(1)").one()
    if found != "ok":
        raise SQLAlchemyError("the file is damaged")
