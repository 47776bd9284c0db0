"""Plain English for what a value may be and what was got."""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from reprlib import Repr
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from alaas.config.values import LARGEST, OneOrMany, Phrase

_BASES = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    dict: "a mapping",
    Path: "a path",
    IPv4Network: "a network",
    IPv6Network: "a network",
    types.NoneType: "null",
}
_short = Repr()
_short.maxstring = _short.maxother = _short.maxlong = 80


def allowed(kind: Any, notes: Sequence[Any] = ()) -> str:
    """What a value of an annotated type may be.

    Args:
        kind: The type, as the field declares it.
        notes: Metadata of the field beside its type.

    Example:
        >>> from alaas.config.values import PositiveOrAuto
        >>> allowed(PositiveOrAuto)
        "a whole number > 0 or 'auto'"
    """
    if get_origin(kind) is Annotated:
        kind, *inner = get_args(kind)
        notes = (*_flat(inner), *notes)
    phrase = next((note.text for note in reversed(notes) if isinstance(note, Phrase)), None)
    if phrase is not None:
        return phrase
    if get_origin(kind) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(allowed(one) for one in get_args(kind)))
    if get_origin(kind) is Literal:
        return _one_of([repr(name) for name in get_args(kind)])
    if get_origin(kind) is tuple:
        item = allowed(get_args(kind)[0])
        many = any(isinstance(note, OneOrMany) for note in notes)
        return f"{item}, or a list of such" if many else f"a list, each {item}"
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return "a section of keys"
    return _BASES[kind] + _bounds(notes)


def names_in(kind: Any) -> list[str]:
    """The literal texts that a type allows, such as those of ``Literal["auto"] | int``."""
    if get_origin(kind) is Literal:
        return [name for name in get_args(kind) if isinstance(name, str)]
    return [name for inner in get_args(kind) for name in names_in(inner)]


def shown(value: Any) -> str:
    """A value as it was got: one line, shortened, in the words of YAML and JSON.

    Example:
        >>> print(shown(True), shown(None), shown("three"))
        true null 'three'
    """
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    try:
        return " ".join(_short.repr(value).split())
    except ValueError:  # Python refuses to write integers of thousands of digits
        return "a number too long to write"


def plain(name: str) -> str:
    """A name without case and separators, as names are compared.

    Example:
        >>> plain("Least-Confidence") == plain("least_confidence")
        True
    """
    return re.sub(r"[\s_-]+", "", name).casefold()


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The one of `names` that was probably meant, if any is close."""
    by_plain = {plain(one): one for one in names}
    found = difflib.get_close_matches(plain(name)[:100], by_plain, n=1)
    return by_plain[found[0]] if found else None


def did_you_mean(name: Any, names: Iterable[str]) -> str:
    """``; did you mean 'x'?``, or nothing where no name is close."""
    near = nearest(name, names) if isinstance(name, str) else None
    return "" if near is None else f"; did you mean {near!r}?"


def _flat(notes: Iterable[Any]) -> list[Any]:
    """Metadata as pydantic keeps it, where an alias still wraps it in a `FieldInfo`."""
    return [
        one for note in notes for one in (note.metadata if isinstance(note, FieldInfo) else (note,))
    ]


def _one_of(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"one of {', '.join(names)}"


def _bounds(notes: Iterable[Any]) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = {
        sign: "2**63 - 1" if bound == LARGEST else bound
        for note in notes
        for name, sign in signs.items()
        if (bound := getattr(note, name, None)) is not None
    }
    if ">=" in found and "<=" in found:
        return f" from {found['>=']} to {found['<=']}"
    return "".join(
        f"{' and' if number else ''} {sign} {bound}"
        for number, (sign, bound) in enumerate(found.items())
    )
