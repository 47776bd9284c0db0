"""Items of a pool as they travel between a client and the service, and those that are lost.

Standard library only, because the thin client imports this module.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal, TypeAlias

from alaas.core.errors import FieldError, ValidationFailed

Stage = Literal["fetch", "preprocess", "infer", "score"]
STAGES: tuple[Stage, ...] = ("fetch", "preprocess", "infer", "score")


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a pool: exactly one of `uri`, `text` and `blob` is set.

    Attributes:
        id: Unique in its pool.
        uri: An address or a path that the fetch stage can read.
        text: The item itself, when it is text.
        blob: The bytes of an encoded image.
        group: What it belongs to, such as a patient or a video, for `per_group` quotas.
    """

    id: str
    uri: str | None = None
    text: str | None = None
    blob: bytes | None = None
    group: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The item as a document of a request, a blob in base64."""
        group = {} if self.group is None else {"group": self.group}
        if self.blob is not None:
            return {"id": self.id, "blob": base64.b64encode(self.blob).decode("ascii"), **group}
        if self.text is not None:
            return {"id": self.id, "text": self.text, **group}
        return {"id": self.id, "uri": self.uri, **group}


Label: TypeAlias = int | float | str
"""A class number, the name of a class that the model knows, or a value in regression."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """One item that is labelled already.

    Attributes:
        item: The item.
        label: Its label, or None where only its content is known to be labelled.
    """

    item: Item
    label: Label | None = None

    def to_json(self) -> dict[str, Any]:
        """The item as it stands in the parameters of a request."""
        return {**self.item.to_json(), **({} if self.label is None else {"label": self.label})}


@dataclass(frozen=True, slots=True)
class Failure:
    """One item that could not be ranked.

    Attributes:
        id: The item's id.
        stage: The stage that gave up on it.
        code: A stable reason, such as ``upstream_not_found`` or ``undecodable``.
        message: One sentence for a person.
        uri: The item's address, if it has one.
    """

    id: str
    stage: Stage
    code: str
    message: str
    uri: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The failure as it stands in an answer."""
        shown = {
            "id": self.id, "stage": self.stage, "code": self.code, "message": self.message,
        }  # fmt: skip
        return shown if self.uri is None else {**shown, "uri": self.uri}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Failure:
        """Read what `to_json` wrote."""
        return cls(
            id=document["id"],
            stage=document["stage"],
            code=document["code"],
            message=document["message"],
            uri=document.get("uri"),
        )


_BROKEN = {"uri": "uri_invalid", "text": "invalid_text"}


def item_from_json(document: Any, row: int) -> Item | Failure:
    """Read one document of a request.

    Args:
        document: A mapping with one of ``uri``, ``text`` and ``blob`` (base64) and
            perhaps an ``id``; or a string, which is a URI. What is empty counts as
            missing, except a text or blob alone. Other keys are ignored.
        row: Position in the pool. It is the id of a document that has none.

    Returns:
        The item, or a failure where its blob is not base64: that is the fault of one
        item, and the rest of the pool can still be ranked.

    Raises:
        ValidationFailed: The document is of no such form.
    """
    if isinstance(document, str):
        return Item(id=str(row), uri=document)
    if not isinstance(document, Mapping):
        raise _invalid(row, "", f"must be an object or a string, got {type(document).__name__}")
    given = document.get("id")
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise _invalid(row, "/id", f"must be a string, got {type(given).__name__}")
    # Documents of older clients carry every key, the unused ones empty.
    content = {key: document[key] for key in ("uri", "text", "blob") if document.get(key)}
    if not content:
        # An empty text or file is the fault of one item, and not of its pool.
        empty = [key for key in ("text", "blob") if document.get(key) == ""]
        content = dict.fromkeys(empty[:1], "")
    if len(content) != 1:
        named = " and ".join(content) or "none of them"
        raise _invalid(row, "", f"must have exactly one of uri, text and blob; it has {named}")
    ((kind, value),) = content.items()
    if not isinstance(value, str):
        raise _invalid(row, f"/{kind}", f"must be a string, got {type(value).__name__}")
    name = str(row) if given in (None, "") else str(given)
    group = document.get("group")
    if group is not None and (isinstance(group, bool) or not isinstance(group, str | int)):
        raise _invalid(row, "/group", f"must be a string, got {type(group).__name__}")
    group = None if group is None else str(group)
    if not _is_unicode(name):
        raise _invalid(row, "/id", "must be valid Unicode; it has half a surrogate pair in it")
    if kind != "blob" and not _is_unicode(value):
        return Failure(name, "fetch", _BROKEN[kind], f"the {kind} is no valid Unicode")
    if kind == "uri":
        return Item(id=name, uri=value, group=group)
    if kind == "text":
        return Item(id=name, text=value, group=group)
    try:
        return Item(id=name, blob=base64.b64decode(value, validate=True), group=group)
    except (binascii.Error, ValueError):
        return Failure(name, "fetch", "invalid_blob", "the blob is not valid base64")


def _is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8. JSON can name halves of a surrogate pair."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def labelled_from_json(document: Any, row: int) -> Labelled | Failure:
    """Read one labelled item: a document of a request with a ``label``.

    Args:
        document: As `item_from_json` takes it; a mapping also has a label.
        row: Position among the labelled items. ``labelled/row`` is the id of one without.

    Raises:
        ValidationFailed: The document is of no such form.
    """
    label = document.get("label") if isinstance(document, Mapping) else None
    try:
        item = item_from_json(document, row)
        if isinstance(label, bool) or not isinstance(label, int | float | str | None):
            raise _invalid(row, "/label", f"must be a number or a string, got {label!r}")
    except ValidationFailed as error:
        raise _moved(error, "/data/", "/parameters/labelled/") from None
    named = isinstance(document, Mapping) and document.get("id") not in (None, "")
    if not named:
        item = replace(item, id=f"labelled/{row}")
    return item if isinstance(item, Failure) else Labelled(item, label)


def _moved(error: ValidationFailed, old: str, new: str) -> ValidationFailed:
    errors = [FieldError(e.pointer.replace(old, new, 1), e.message) for e in error.errors]
    return ValidationFailed("; ".join(f"{e.pointer}: {e.message}" for e in errors), errors=errors)


def _invalid(row: int, suffix: str, message: str) -> ValidationFailed:
    pointer = f"/data/{row}{suffix}"
    return ValidationFailed(f"{pointer}: {message}", errors=[FieldError(pointer, message)])


def in_parts(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Cut a pool into lists of at most `size` items.

    Example:
        >>> [len(part) for part in in_parts([Item("a", uri="x")] * 5, 2)]
        [2, 2, 1]
    """
    iterator = iter(items)
    while part := list(islice(iterator, size)):
        yield part
