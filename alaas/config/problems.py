"""What is wrong with given values: pydantic's errors, one sentence a key."""

from __future__ import annotations

import types
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from alaas.config.phrases import allowed, did_you_mean, names_in, nearest, shown

Path = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One key that is at fault.

    Attributes:
        path: Names of the sections down to the key, and the key.
        message: What was wrong, what is allowed, the value got.
    """

    path: Path
    message: str


def dotted(path: Path) -> str:
    """A path as people write it, on one line whatever its names hold.

    Example:
        >>> dotted(("fetch", "roots"))
        'fetch.roots'
    """
    return ".".join(part[:80] if part.isprintable() else repr(part)[:80] for part in path)


def section_of(kind: Any) -> type[BaseModel] | None:
    """The section that a field holds, also where it may be null instead."""
    if get_origin(kind) is Annotated:
        return section_of(get_args(kind)[0])
    if get_origin(kind) in (Union, types.UnionType):
        return next((found for one in get_args(kind) if (found := section_of(one))), None)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _entries_of(kind: Any) -> type[BaseModel] | None:
    """The section that each value of a mapping is, where they are sections."""
    if get_origin(kind) is Annotated:
        return _entries_of(get_args(kind)[0])
    return section_of(get_args(kind)[1]) if get_origin(kind) is dict else None


def _follow(
    root: type[BaseModel], path: Iterable[str]
) -> Iterator[tuple[str, FieldInfo | None, type[BaseModel] | None]]:
    """The parts of a path: the field that each belongs to, and the section below it."""
    section: type[BaseModel] | None = root
    entries: type[BaseModel] | None = None
    field: FieldInfo | None = None
    for part in path:
        if entries is not None:
            section, entries = entries, None
        elif section is not None:
            field = _field(section, part)
            section = section_of(field.annotation) if field else None
            entries = _entries_of(field.annotation) if field else None
        else:
            return
        yield part, field, section


def fields(root: type[BaseModel], above: Path = ()) -> Iterator[tuple[Path, FieldInfo]]:
    """Every field of a tree of sections, top down, the sections themselves included."""
    for name, field in root.model_fields.items():
        yield (*above, name), field
        section = section_of(field.annotation)
        if section is not None:
            yield from fields(section, (*above, name))


def settable(field: FieldInfo) -> bool:
    """Whether a field has a value of its own: all have but the sections that are always there."""
    return section_of(field.annotation) is None or field.default is None


def unknown_key(root: type[BaseModel], path: Path, *, full: bool = False) -> str:
    """Say that a tree has no such key, and which one was probably meant.

    Args:
        root: The tree.
        path: The key that it does not have.
        full: Whether to name the key meant with its sections, also where it is beside `path`.
    """
    *above, name = path
    section = [root, *(below for _, _, below in _follow(root, above))][-1]
    beside = nearest(name, section.model_fields) if section else None
    if beside is not None:
        meant = dotted((*above, beside)) if full else beside
        return f"unknown key; did you mean {meant!r}?"
    every = [one for one, _ in fields(root)]
    elsewhere = [one for one in every if one[-1] == name]
    if len(elsewhere) == 1:
        return f"unknown key; did you mean {dotted(elsewhere[0])!r}?"
    others = [dotted(one) for one in every if one != path[: len(one)]]
    return "unknown key" + (did_you_mean(dotted(path), others) if full else "")


def problems(error: ValidationError, root: type[BaseModel]) -> list[Problem]:
    """Turn what pydantic found into one sentence for every key at fault."""
    found: dict[Path, str] = {}
    for details in error.errors(include_url=False):
        path, field = _locate(root, details["loc"])
        context = details.get("ctx", {})
        if details["type"] == "misfit":
            path = (*path, context["key"])
        found.setdefault(path, _say(root, path, field, details))
    return [Problem(path, message) for path, message in found.items()]


def _locate(root: type[BaseModel], loc: tuple[int | str, ...]) -> tuple[Path, FieldInfo | None]:
    """The key that an error belongs to: `loc` goes on into list items and union members."""
    parts = [str(part) for part in loc]
    if "[key]" in parts:  # the name of an entry is at fault: it belongs to the mapping
        parts = parts[: parts.index("[key]") - 1]
    followed = [*_follow(root, parts)]
    return tuple(part for part, _, _ in followed), followed[-1][1] if followed else None


def _field(section: type[BaseModel] | None, name: str) -> FieldInfo | None:
    """A field by its name or its alias."""
    known = section.model_fields if section else {}
    return known.get(name) or next((one for one in known.values() if one.alias == name), None)


def _say(root: type[BaseModel], path: Path, field: FieldInfo | None, details: ErrorDetails) -> str:
    context = details.get("ctx", {})
    if details["type"] == "misfit":
        return str(context["message"])
    if details["type"] == "value_error":
        return str(context["error"])
    if field is None:
        return (
            unknown_key(root, path) if path else f"must be a mapping, got {shown(details['input'])}"
        )
    what = allowed(field.annotation, field.metadata)
    if details["type"] == "missing":
        return f"is required: {what}"
    got = details["input"]
    return f"must be {what}, got {shown(got)}{did_you_mean(got, names_in(field.annotation))}"
