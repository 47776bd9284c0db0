"""What a user may name as a pool: folders, globs, tables, lists, standard input.

Every source gives `Item`s in a stable order: files in natural order (``img2`` before
``img10``), all others as they were given.

An item's id is that of the table's ``id`` column or of the `Item`; otherwise it is the
address or path as the user wrote it, and for a text or bytes the row number. An id that
was given twice is an error. An address that merely occurs twice is kept once, where it
came first, and a `UserWarning` says how many were left out.
"""

from __future__ import annotations

import csv
import glob
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from alaas.core.errors import EmptyInput, MissingExtra, ValidationFailed
from alaas.core.wire import Item, Label, Labelled
from alaas.data import tables
from alaas.data.files import scheme_of
from alaas.data.tables import Row

Source: TypeAlias = (
    str | os.PathLike[str] | Iterable[str | os.PathLike[str] | Item | Mapping[str, Any]]
)

Labels: TypeAlias = (
    str
    | os.PathLike[str]
    | Iterable[str | os.PathLike[str] | Item | Mapping[str, Any] | Labelled | tuple[Any, Label]]
)

IMAGE_SUFFIXES = (
    ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo", ".png", ".webp",
)  # fmt: skip

_DIGITS = re.compile(r"([0-9]+)")
_GLOB = re.compile(r"[*?\[]")


def items(source: Source, *, column: str | None = None) -> list[Item]:
    """Read a pool.

    Args:
        source: One of

            - a folder: the images below it, links followed once, hidden files left out;
            - a glob such as ``photos/**/*.jpg``: the files that it matches;
            - a folder of a bucket, ``s3://bucket/folder/`` or ``gs://bucket/``: the images
              in it;
            - one image file, or one address such as ``https://...``;
            - a ``.csv`` or ``.tsv`` table with a header, or a ``.parquet`` table. Its
              content is in the first column of uri, file_name, filepath, image, url, path
              and text that it has (``text`` holds texts, all others addresses or paths,
              and in Parquet also encoded images); ``id`` is optional;
            - a ``.txt`` or ``.jsonl`` file with one address, path or JSON document a line.
              A relative path in a table or list is relative to its file;
            - ``-``: such lines from standard input;
            - an iterable of addresses, paths, `Item`s and JSON documents as mappings.
        column: The table's column to read instead.

    Returns:
        At least one item; ids are unique.

    Raises:
        EmptyInput: There is nothing there.
        ValidationFailed: The source, its table or one of its rows is not of such a form.
        MissingExtra: The source is a ``.parquet`` table or a bucket, and what reads it is not
            installed.
    """
    name, rows = _opened(source, column)
    found, repeated = _unique(name, rows)
    if repeated:
        warnings.warn(f"{name}: {repeated} repeated addresses were left out", stacklevel=2)
    return [row.item for row in found]


def labelled_items(source: Labels, *, column: str | None = None) -> list[Labelled]:
    """Read what is labelled already.

    Args:
        source: As in `items`. A table has a column ``label``; a JSON document a key of that
            name; an iterable can also hold `Labelled`s, and pairs of an item and its label.
        column: The table's column with the addresses or texts.

    Raises:
        EmptyInput: There is nothing there.
        ValidationFailed: The source is of no such form, or an item has no label.
        MissingExtra: The source is a ``.parquet`` table and pyarrow is not installed.
    """
    rows: Iterable[Row]
    if isinstance(source, Iterable) and not isinstance(source, str | os.PathLike | bytes | Mapping):
        name, rows = "the iterable", [_pair(one, row) for row, one in enumerate(source)]
    else:
        name, rows = _opened(source, column)
    found, _ = _unique(name, rows)
    for row in found:
        if row.label is None:
            raise ValidationFailed(f"{row.where}: {row.item.id!r} has no label")
    return [Labelled(row.item, row.label) for row in found]


def _pair(given: Any, row: int) -> Row:
    where = f"item {row}"
    if isinstance(given, Labelled):
        return Row(given.item, where, named=True, label=given.label)
    if isinstance(given, tuple) and len(given) == 2:
        return replace(tables.read(given[0], row, where), label=given[1])
    return tables.read(given, row, where)


def _opened(source: Any, column: str | None) -> tuple[str, Iterable[Row]]:
    """What to call a source in messages, and its rows."""
    if isinstance(source, str | os.PathLike):
        name = os.fsdecode(source)
        return name, _named(name, column)
    if isinstance(source, Iterable) and not isinstance(source, bytes | Mapping):
        _refuse_column(column, "the iterable")
        rows = (tables.read(one, row, f"item {row}") for row, one in enumerate(source))
        return "the iterable", rows
    kind = type(source).__name__
    raise ValidationFailed(f"a pool is a path, a glob, a table or an iterable, got {kind}")


def _unique(name: str, rows: Iterable[Row]) -> tuple[list[Row], int]:
    """The rows with each address once, and the number of rows that were left out."""
    first: dict[str, Row] = {}
    repeated = 0
    try:
        for row in rows:
            earlier = first.setdefault(row.item.id, row)
            if earlier is row:
                continue
            if row.named or earlier.named or row.item != earlier.item:
                raise ValidationFailed(
                    f"{row.where}: the id {row.item.id!r} stands at {earlier.where} too; "
                    "ids must be unique"
                )
            repeated += 1
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValidationFailed(f"{name}: not a list or table in UTF-8: {error}") from None
    except OSError as error:
        raise ValidationFailed(f"{name}: cannot be read: {error.strerror}") from None
    if not first:
        raise EmptyInput(f"{name} names no item")
    return list(first.values()), repeated


def _named(name: str, column: str | None) -> Iterable[Row]:
    path = Path(name).expanduser()
    if path.suffix.lower() in tables.SUFFIXES and not scheme_of(name):
        if not path.is_file():
            raise EmptyInput(f"there is no file {name!r}")
        return tables.rows(path, column=column)
    _refuse_column(column, repr(name))
    if name == "-":
        return tables.lines(sys.stdin, "standard input")
    if scheme_of(name) in ("s3", "gs") and name.endswith("/"):
        return (Row(Item(id=uri, uri=uri), uri) for uri in _objects(name))
    if scheme_of(name):
        return [Row(Item(id=name, uri=name), name)]
    return (Row(Item(id=file, uri=file), file) for file in _files(path, name))


def _files(path: Path, name: str) -> list[str]:
    if path.is_file():
        if path.suffix.lower() in IMAGE_SUFFIXES:
            return [str(path)]
        allowed = ", ".join(IMAGE_SUFFIXES + tables.SUFFIXES)
        raise ValidationFailed(f"{name!r} is neither an image nor a table by its suffix: {allowed}")
    if path.is_dir():
        found = list(_images_below(path))
        missing = f"no image below the folder {name!r}; looked for {', '.join(IMAGE_SUFFIXES)}"
    elif _GLOB.search(name):
        found = [file for file in glob.iglob(str(path), recursive=True) if os.path.isfile(file)]
        missing = f"no file matches {name!r}"
    else:
        found, missing = [], f"there is no file or folder {name!r}"
    if not found:
        raise EmptyInput(missing)
    return sorted(set(found), key=_natural)


def _objects(folder: str) -> list[str]:
    try:
        from alaas.data.listing import addresses_below
    except ModuleNotFoundError as error:
        message = f"to list a bucket needs {error.name}: pip install 'alaas[objects]'"
        raise MissingExtra(message) from None
    found = addresses_below(folder, IMAGE_SUFFIXES)
    if not found:
        raise EmptyInput(f"no image in {folder!r}; looked for {', '.join(IMAGE_SUFFIXES)}")
    return sorted(found, key=_natural)


def _images_below(folder: Path) -> Iterator[str]:
    seen: set[tuple[int, int]] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in seen:
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(one for one in folders if not one.startswith("."))
        for file in files:
            if not file.startswith(".") and file.lower().endswith(IMAGE_SUFFIXES):
                yield os.path.join(parent, file)


def _natural(path: str) -> tuple[list[tuple[str | int, ...]], str]:
    parts = [_DIGITS.split(part) for part in path.split(os.sep)]
    return [tuple(int(p) if i % 2 else p for i, p in enumerate(part)) for part in parts], path


def _refuse_column(column: str | None, what: str) -> None:
    if column is not None:
        raise ValidationFailed(f"column={column!r} needs a table with a header, not {what}")
