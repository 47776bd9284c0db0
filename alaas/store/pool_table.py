"""How a named pool lies in a Lance table: its columns, and the record that describes them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from json.encoder import encode_basestring_ascii
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from alaas.core.wire import PoolInfo
from alaas.store.checks import checksums
from alaas.store.rows import RowType

FORMAT = 1
ITEM = ("id", "uri", "text", "group", "digest")
"""The columns of an item, in the order of `PoolItem`."""

GROUPS = "groups"
"""The view that holds the number of each item's group."""

OF_MODEL = frozenset({"head"})
"""Arrays of which the model has one, instead of a row for each item."""

_BATCH_BYTES = 4 * 2**20
_BATCH_ROWS = 8_192

Column: TypeAlias = Sequence[str | None] | pa.Array | pa.ChunkedArray


@dataclass(frozen=True, slots=True)
class PoolItem:
    """One item of a named pool, as the caller sent it.

    Attributes:
        id: The caller's name of it.
        uri: Its address, if it came by one.
        text: Its text, if it is one.
        group: The group that the caller put it in.
        digest: The name of its content.
    """

    id: str
    uri: str | None
    text: str | None
    group: str | None
    digest: str


@dataclass(frozen=True, slots=True)
class PoolItems:
    """The items of a pool, column by column: lists of texts or columns of pyarrow.

    Attributes:
        ids: (N,) the caller's names.
        digests: (N,) names of the contents.
        uris: (N,) addresses; None where no item came by one.
        texts: (N,) texts; None where no item is one.
        groups: (N,) groups; None where no item has one.
    """

    ids: Column
    digests: Column
    uris: Column | None = None
    texts: Column | None = None
    groups: Column | None = None

    def columns(self) -> tuple[Column | None, ...]:
        """The columns in the order of `ITEM`."""
        return (self.ids, self.uris, self.texts, self.groups, self.digests)


@dataclass(frozen=True, slots=True)
class Record:
    """What the table's metadata say.

    Attributes:
        info: What users see of it.
        types: Name of each kept view, the groups included, to the type of its rows.
        arrays: What the model has one of: its type, and a digest of its bytes.
    """

    info: PoolInfo
    types: Mapping[str, RowType]
    arrays: Mapping[str, tuple[RowType, str]] = field(default_factory=dict)

    def metadata(self) -> dict[str, str]:
        """The record as text, with a digest of it."""
        info = self.info
        document = {
            "format": FORMAT,
            "name": info.name,
            "items": info.items,
            "space": info.space,
            "model": info.model,
            "created": info.created,
            "expires": info.expires,
            "views": {name: kind.document() for name, kind in self.types.items()},
            "arrays": {
                name: {**kind.document(), "digest": digest}
                for name, (kind, digest) in self.arrays.items()
            },
        }
        text = json.dumps(document)
        return {"pool": text, "check": sum_of(text.encode())}

    @classmethod
    def read(cls, metadata: Mapping[str, str], *, nbytes: int) -> Record:
        """The inverse of `metadata`.

        Raises:
            ValueError: It is damaged, or from a later version.
        """
        text = metadata.get("pool", "")
        if metadata.get("check") != sum_of(text.encode()):
            raise ValueError("its description does not match its checksum")
        got: dict[str, Any] = json.loads(text)
        if got["format"] != FORMAT:
            raise ValueError(f"it has format {got['format']}; this version reads {FORMAT}")
        types = {name: RowType.read(one) for name, one in got["views"].items()}
        info = PoolInfo(
            name=got["name"],
            items=got["items"],
            views={name: kind.shape for name, kind in types.items() if name != GROUPS},
            space=got["space"],
            model=got["model"],
            created=got["created"],
            expires=got["expires"],
            bytes=nbytes,
        )
        arrays = {name: (RowType.read(one), one["digest"]) for name, one in got["arrays"].items()}
        return cls(info, types, arrays)


def sum_of(data: bytes | memoryview) -> str:
    """A checksum of bytes, 32 hexadecimal digits."""
    return blake2b(data, digest_size=16).hexdigest()


def item_check(row: int, fields: Sequence[str | None]) -> int:
    """A checksum of one item in its place, 64 bits."""
    # What `json.dumps` of the list gives, in a third of its time.
    words = ("null" if one is None else encode_basestring_ascii(one) for one in fields)
    text = f"[{', '.join((str(row), *words))}]"
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")


def row_checks(start: int, rows: NDArray[Any]) -> NDArray[np.uint64]:
    """(N,) checksums of rows of a view in their places, the first being row `start`."""
    return checksums(np.arange(start, start + len(rows), dtype="<i8"), rows)


def schema(record: Record) -> pa.Schema:
    """The columns of a pool's table."""
    fields = [pa.field(name, pa.string()) for name in ITEM]
    fields.append(pa.field("item_check", pa.uint64()))
    for name, kind in record.types.items():
        fields += [pa.field(f"view_{name}", kind.arrow), pa.field(f"check_{name}", pa.uint64())]
    fields += [pa.field(f"array_{name}", pa.large_binary()) for name in record.arrays]
    return pa.schema(fields, metadata=record.metadata())


def batches(
    record: Record,
    items: PoolItems,
    views: Mapping[str, NDArray[Any]],
    arrays: Mapping[str, NDArray[Any]],
) -> Iterator[pa.RecordBatch]:
    """The table's content, a few MiB at a time."""
    layout = schema(record)
    width = sum(kind.nbytes for kind in record.types.values())
    size = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(width, 1)))
    for start in range(0, record.info.items, size):
        stop = min(start + size, record.info.items)
        fields = [_texts(column, start, stop) for column in items.columns()]
        each = zip(*(column.to_pylist() for column in fields), strict=True)
        checks = [item_check(start + n, one) for n, one in enumerate(each)]
        columns: list[pa.Array] = [*fields, pa.array(checks, pa.uint64())]
        for name, kind in record.types.items():
            rows = np.ascontiguousarray(views[name][start:stop])
            columns += [kind.pack(rows), pa.array(row_checks(start, rows))]
        for name in record.arrays:
            first = [arrays[name].tobytes()] if start == 0 else []
            columns.append(
                pa.array(first + [None] * (stop - start - len(first)), pa.large_binary())
            )
        yield pa.RecordBatch.from_arrays(columns, schema=layout)


def _texts(column: Column | None, start: int, stop: int) -> pa.Array:
    if column is None:
        return pa.nulls(stop - start, pa.string())
    part = column[start:stop]
    if isinstance(part, pa.ChunkedArray):
        part = part.combine_chunks()
    return part.cast(pa.string()) if isinstance(part, pa.Array) else pa.array(part, pa.string())


def group_numbers(groups: Column) -> NDArray[np.int64]:
    """(N,) a number for each group; an item without one is a group of its own."""
    column = (
        groups if isinstance(groups, pa.Array | pa.ChunkedArray) else pa.array(groups, pa.string())
    )
    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    codes = column.cast(pa.string()).dictionary_encode()
    numbers = codes.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    alone = numbers < 0
    numbers[alone] = len(codes.dictionary) + np.arange(np.count_nonzero(alone))
    return np.asarray(numbers, np.int64)
