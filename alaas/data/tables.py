"""Pools that are written down: tables with a header, and lists of one item a line."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from alaas.core.errors import MissingExtra, ValidationFailed
from alaas.core.wire import Item, Label, item_from_json
from alaas.data.files import scheme_of

COLUMNS = ("uri", "file_name", "filepath", "image", "url", "path", "text")
"""Columns that can hold a pool, in the order in which they are looked for."""

SUFFIXES = (".csv", ".jsonl", ".parquet", ".tsv", ".txt")
"""Files that hold a pool."""


class _Tabs(csv.excel_tab):
    quoting = csv.QUOTE_NONE


@dataclass(frozen=True, slots=True)
class Row:
    """One item and where it stands.

    Attributes:
        item: The item.
        where: ``file:line``, for messages.
        named: Whether its id was given, and not made from its content or row number.
        label: Its label, where it has one.
    """

    item: Item
    where: str
    named: bool = False
    label: Label | None = None


@dataclass(frozen=True, slots=True)
class _Columns:
    """The columns of a table, as its header spells them."""

    content: str
    id: str | None
    group: str | None
    label: str | None

    def read(self, record: Mapping[str, Any], row: int, where: str, folder: Path) -> Row:
        """Read one record."""
        read = _cell(
            record[self.content],
            row,
            where,
            id_=record[self.id] if self.id else None,
            text=_is_text(self.content),
            folder=folder,
        )
        group = record[self.group] if self.group else None
        item = read.item if group in (None, "") else replace(read.item, group=str(group))
        return replace(read, item=item, label=as_label(record[self.label] if self.label else None))

    @property
    def wanted(self) -> list[str]:
        """Those that are there."""
        return [one for one in (self.content, self.id, self.group, self.label) if one]


def as_label(given: Any) -> Label | None:
    """A label as a table or a command line has it: a number where it reads as one.

    Example:
        >>> as_label("3"), as_label("0.5"), as_label("cat"), as_label("")
        (3, 0.5, 'cat', None)
    """
    if given is None or isinstance(given, int | float):
        return given
    text = str(given).strip()
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            continue
    return text or None


def rows(path: Path, *, column: str | None = None) -> Iterator[Row]:
    """Read a file of one of `SUFFIXES`; relative paths in it are relative to its folder.

    Args:
        path: The file. A ``.tsv`` has no quotes: each tab ends a cell.
        column: The column with the content; by default the first one of `COLUMNS`.

    Raises:
        ValidationFailed: It has no such column, or a row has no content.
        MissingExtra: It is a ``.parquet`` and pyarrow is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in (".txt", ".jsonl"):
        if column is not None:
            raise ValidationFailed(
                f"column={column!r} needs a table with a header, not {str(path)!r}"
            )
        with path.open(encoding="utf-8-sig") as file:
            yield from lines(file, str(path), folder=path.parent)
    elif suffix == ".parquet":
        yield from _parquet(path, column)
    else:
        yield from _csv(path, column, tabs=suffix == ".tsv")


def lines(file: Iterable[str], name: str, *, folder: Path | None = None) -> Iterator[Row]:
    """Read one item a line: an address, a path, or a JSON document of a request.

    Args:
        file: The lines; blank ones are passed over.
        name: What to call the file in messages.
        folder: What relative paths are relative to; by default the working directory.

    Raises:
        ValidationFailed: A line starts like a JSON document and is none.
    """
    filled = ((number, line.strip()) for number, line in enumerate(file, 1) if line.strip())
    for row, (number, line) in enumerate(filled):
        where = f"{name}:{number}"
        given: Any = line
        if line.startswith("{"):
            try:
                given = json.loads(line)
            except ValueError as error:
                raise ValidationFailed(f"{where}: not a JSON document: {error}") from None
        yield read(given, row, where, folder=folder)


def read(given: Any, row: int, where: str, *, folder: Path | None = None) -> Row:
    """Read one item as Python or JSON gives it.

    Args:
        given: An `Item`, an address, a path, or a mapping such as a request's document.
        row: Its position, the id of a text or bytes without one.
        where: What to call it in messages.
        folder: What a relative path is relative to.

    Raises:
        ValidationFailed: It is of no such form.
    """
    if isinstance(given, Item):
        return Row(given, where, named=True)
    if isinstance(given, Mapping):
        return _document(given, row, where, folder)
    if isinstance(given, str | os.PathLike):
        return _cell(os.fsdecode(given), row, where, folder=folder)
    kind = type(given).__name__
    raise ValidationFailed(f"{where}: must be an address, a path, a mapping or an Item, got {kind}")


def _document(given: Mapping[str, Any], row: int, where: str, folder: Path | None) -> Row:
    try:
        item = item_from_json(given, row)
    except ValidationFailed as error:
        raise ValidationFailed(f"{where}: {error.errors[0].message}") from None
    if not isinstance(item, Item):
        raise ValidationFailed(f"{where}: {item.message}")
    named = given.get("id") not in (None, "")
    if item.uri is not None:
        id_ = item.id if named else item.uri
        item = replace(item, id=id_, uri=_located(item.uri, folder))
    return Row(item, where, named=named, label=given.get("label"))


def _cell(
    value: Any,
    row: int,
    where: str,
    *,
    id_: Any = None,
    text: bool = False,
    folder: Path | None = None,
) -> Row:
    """One cell of a table: an address, a text, bytes, or bytes beside their path."""
    named = id_ not in (None, "")
    if text and isinstance(value, str | None):  # an empty one too: its model refuses it alone
        return Row(Item(str(id_ if named else row), text=value or ""), where, named)
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, str) and not text:
        value = value.strip()
    if not value or not isinstance(value, bytes if text else str | bytes):
        raise ValidationFailed(f"{where}: no {'text' if text else 'address'} here, got {value!r}")
    if isinstance(value, bytes):
        return Row(Item(str(id_ if named else row), blob=value), where, named)
    return Row(Item(str(id_ if named else value), uri=_located(value, folder)), where, named)


def _located(uri: str, folder: Path | None) -> str:
    return uri if folder is None or scheme_of(uri) else str(folder / uri)


def _csv(path: Path, column: str | None, *, tabs: bool) -> Iterator[Row]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, dialect=_Tabs if tabs else csv.excel)
        columns = _columns(path, reader.fieldnames or (), column)
        for row, record in enumerate(reader):
            yield columns.read(record, row, f"{path}:{reader.line_num}", path.parent)


def _parquet(path: Path, column: str | None) -> Iterator[Row]:
    try:
        from pyarrow import ArrowInvalid, parquet
    except ImportError:
        message = "reading a .parquet table needs pyarrow: pip install 'alaas[local]'"
        raise MissingExtra(message) from None
    try:
        file = parquet.ParquetFile(path)
    except ArrowInvalid as error:
        raise ValidationFailed(f"{path}: not a Parquet table: {error}") from None
    with file:
        columns = _columns(path, file.schema_arrow.names, column)
        row = 0
        for batch in file.iter_batches(columns=columns.wanted):
            for record in batch.to_pylist():
                yield columns.read(record, row, f"{path}: row {row}", path.parent)
                row += 1


def _is_text(column: str) -> bool:
    return column.strip().lower() == "text"


def _columns(path: Path, header: Sequence[str], column: str | None) -> _Columns:
    spelled = {name.strip().lower(): name for name in reversed(header)}
    wanted = COLUMNS if column is None else (column.strip().lower(),)
    content = next((spelled[name] for name in wanted if name in spelled), None)
    if content is None:
        raise ValidationFailed(
            f"{path} has no column {' or '.join(wanted)}; its columns are "
            f"{', '.join(header) or 'none'}"
        )
    others = (spelled.get(name) for name in ("id", "group", "label"))
    return _Columns(content, *(None if name == content else name for name in others))
