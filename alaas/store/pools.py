"""Named pools: items and what a model computed of them, kept under a name to choose from."""

from __future__ import annotations

import logging
import time
import unicodedata
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alaas.core.errors import (
    AlaasError,
    EmptyInput,
    Internal,
    PoolCorrupt,
    UnknownPool,
    ValidationFailed,
)
from alaas.core.wire import PoolInfo
from alaas.store.pool_table import (
    GROUPS,
    OF_MODEL,
    PoolItem,
    PoolItems,
    Record,
    batches,
    group_numbers,
    schema,
    sum_of,
)
from alaas.store.recent import Recent
from alaas.store.rows import RowType
from alaas.store.stored_pool import StoredPool
from alaas.store.tables import Database, Table, Unreadable

__all__ = ["PoolInfo", "PoolItem", "PoolItems", "Pools", "StoredPool"]

log = logging.getLogger(__name__)

_LONGEST_NAME = 128
_GRACE_S = 3600.0
"""Seconds that a query may still read a pool that was saved anew."""


class Pools:
    """The named pools of a folder or an object store, each immutable once it is saved.

    Args:
        url: A folder, or an address that LanceDB takes: ``s3://``, ``gs://``, ``memory://``.
        memory_bytes: Bytes of views that stay in memory once they are read and checked.
    """

    def __init__(self, url: str, *, memory_bytes: int = 0) -> None:
        self._database = Database(url, "pools")
        self._recent = Recent(memory_bytes)

    @property
    def bytes(self) -> int:
        """Bytes of the files of all pools."""
        return sum(info.bytes for info in self.list())

    def save(
        self,
        name: str,
        items: PoolItems,
        arrays: Mapping[str, NDArray[Any]],
        *,
        space: str,
        model: str,
        ttl_s: float | None = None,
    ) -> PoolInfo:
        """Keep a pool under a name, in place of the one that had it.

        All of it is there afterwards, or, whatever happens meanwhile, what was there before.

        Args:
            name: 1 to 128 characters, control characters excepted.
            items: The items, at least one.
            arrays: Name of a view to its rows, (N, ...); ``head`` is the model's own, (C, D + 1).
            space: The space that the views were computed in.
            model: Digest of the model.
            ttl_s: Seconds until it expires, > 0; None for never.

        Raises:
            ValidationFailed: The name or `ttl_s` is not allowed.
            EmptyInput: There are no items.
            ValueError: Columns or views differ in length.
        """
        table_name = _table_name(name)
        if ttl_s is not None and not ttl_s > 0:
            raise ValidationFailed(f"a pool lives for {ttl_s} s; more than 0 are allowed, or null")
        views = _views(name, items, arrays)
        now = time.time()
        info = PoolInfo(
            name=name,
            items=len(items.ids),
            views={view: rows.shape[1:] for view, rows in views.items() if view != GROUPS},
            space=space,
            model=model,
            created=now,
            expires=None if ttl_s is None else now + ttl_s,
        )
        single = {what: np.ascontiguousarray(arrays[what]) for what in OF_MODEL & arrays.keys()}
        record = Record(
            info,
            {view: RowType.of(rows) for view, rows in views.items()},
            {what: (RowType.of(one[None]), sum_of(one.tobytes())) for what, one in single.items()},
        )
        reader = pa.RecordBatchReader.from_batches(
            schema(record), batches(record, items, views, single)
        )
        try:
            before = self._present(table_name)
            if before is not None:
                _tidy(before)
            table = self._database.create(table_name, reader, replace=before is not None)
            return Record.read(table.metadata, nbytes=table.nbytes).info
        except Unreadable as cause:
            raise Internal(f"pool {name!r} could not be saved: {cause}") from cause

    def open(self, name: str) -> StoredPool:
        """The pool of that name.

        Raises:
            UnknownPool: There is none, or it has expired.
            PoolCorrupt: It cannot be read.
        """
        table_name = _table_name(name)
        try:
            table = self._database.open(table_name)
            record = Record.read(table.metadata, nbytes=table.nbytes) if table else None
        except (Unreadable, ValueError, KeyError) as cause:
            raise self._failure(name, str(cause)) from cause
        if table is None or record is None or _is_over(record.info, time.time()):
            raise _unknown(name)
        return StoredPool(
            record,
            table,
            failure=lambda detail: self._failure(name, detail),
            recent=self._recent,
        )

    def list(self) -> list[PoolInfo]:
        """All pools that can be read, by name."""
        infos = (self._info(table_name) for table_name in self._names())
        return sorted((info for info in infos if info), key=lambda info: info.name)

    def delete(self, name: str) -> bool:
        """Delete a pool, readable or not; whether there was one."""
        table_name = _table_name(name)
        try:
            there = table_name in self._database.names()
            self._database.drop(table_name)
        except Unreadable as cause:
            raise Internal(f"pool {name!r} could not be deleted: {cause}") from cause
        return there

    def expire(self, now: float | None = None) -> Sequence[str]:
        """Delete the pools that are over, and what is left of those that were saved anew.

        Args:
            now: Seconds since 1970; by default the present.

        Returns:
            Names of the pools that went.
        """
        moment = time.time() if now is None else now
        gone = []
        for table_name in self._names():
            info = self._info(table_name)
            if info and _is_over(info, moment):
                self.delete(info.name)
                gone.append(info.name)
            elif info and moment - info.created > _GRACE_S:
                table = self._present(table_name)
                if table is not None:
                    _tidy(table)
        return gone

    def _names(self) -> Sequence[str]:
        try:
            return [name for name in self._database.names() if name.startswith("pool-")]
        except Unreadable as cause:
            log.warning("pools of %s cannot be listed: %s", self._database.url, cause)
            return []

    def _info(self, table_name: str) -> PoolInfo | None:
        try:
            table = self._database.open(table_name)
            return Record.read(table.metadata, nbytes=table.nbytes).info if table else None
        except (Unreadable, ValueError, KeyError) as cause:
            log.warning("pool in %s/%s is damaged: %s", self._database.url, table_name, cause)
            return None

    def _present(self, table_name: str) -> Table | None:
        """The table to replace; a damaged one is deleted, since nothing of it can be read."""
        try:
            return self._database.open(table_name)
        except Unreadable as cause:
            if cause.passing:
                raise
            self._database.drop(table_name)
            return None

    def _failure(self, name: str, detail: str) -> AlaasError:
        try:
            if self._database.open(_table_name(name)) is None:
                return _unknown(name)
        except Unreadable as cause:
            detail = str(cause)
        return PoolCorrupt(f"pool {name!r} is damaged ({detail}); delete it and push it again")


def _table_name(name: str) -> str:
    wrong = [char for char in name if unicodedata.category(char) in ("Cc", "Cs")]
    if wrong or not 1 <= len(name) <= _LONGEST_NAME:
        raise ValidationFailed(
            f"{name!r} is no name of a pool; allowed are 1 to {_LONGEST_NAME} characters, "
            "control characters excepted"
        )
    return f"pool-{sum_of(name.encode())}"


def _unknown(name: str) -> AlaasError:
    return UnknownPool(f"there is no pool {name!r}")


def _is_over(info: PoolInfo, now: float) -> bool:
    return info.expires is not None and info.expires <= now


def _tidy(table: Table) -> None:
    """Delete the files of versions that came before."""
    try:
        table.compact(alone=False, keep=timedelta(0))
    except Unreadable as cause:
        log.warning("what a pool replaced could not be deleted: %s", cause)


def _views(
    name: str, items: PoolItems, arrays: Mapping[str, NDArray[Any]]
) -> dict[str, NDArray[Any]]:
    """The views and the numbers of the groups, all of the length of the items."""
    count = len(items.ids)
    if not count:
        raise EmptyInput(f"pool {name!r} has no items; at least one is needed")
    views = {what: rows for what, rows in arrays.items() if what not in OF_MODEL}
    lengths = {what: len(rows) for what, rows in views.items()}
    lengths |= {f"column {n}": len(one) for n, one in enumerate(items.columns()) if one is not None}
    if wrong := {what: length for what, length in lengths.items() if length != count}:
        raise ValueError(f"pool {name!r} has {count} ids, but {wrong}")
    if GROUPS in views:
        raise ValueError(f"{GROUPS!r} is no name of a view")
    if items.groups is not None:
        views[GROUPS] = group_numbers(items.groups)
    return views
