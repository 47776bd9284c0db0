"""How the commands speak: what to standard output, what to standard error, which exit code."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from alaas.core.errors import (
    AlaasError,
    ConfigError,
    InvalidRequest,
    ItemFailed,
    SetupError,
    StorageUnusable,
)

RUNTIME, USAGE, STORAGE, PARTIAL = 1, 2, 3, 4
"""Exit codes: it failed while running; it was asked for wrongly; a database cannot be used;
some items failed."""

_UNWRAPPED = 10_000  # columns where no terminal says how many: a line stays one line


def exit_code(error: AlaasError) -> int:
    """The exit code of a command that ended with an error.

    Example:
        >>> exit_code(ConfigError("port: must be 1 to 65535, got 0"))
        2
    """
    if isinstance(error, StorageUnusable):
        return STORAGE
    usage = isinstance(error, InvalidRequest | SetupError) and not isinstance(error, ItemFailed)
    return USAGE if usage else RUNTIME


def complain(error: AlaasError) -> None:
    """Tell an error on standard error: one line, or one for each problem of a configuration."""
    lines = error.detail.splitlines()
    if isinstance(error, ConfigError) and len(lines) > 1:
        _say("error", f"{len(lines)} problems [{error.code}]", "red")
        for line in lines:
            note(f"  {line}")
    else:
        _say("error", f"{_as_flags(' '.join(lines))} [{error.code}]", "red")


def _as_flags(message: str) -> str:
    """A message that points into a request, for somebody who typed flags."""
    return message.replace("/parameters/params/", "--param ").replace("/parameters/", "--")


def warn(message: str) -> None:
    """Tell something to look at, on standard error."""
    _say("warning", message, "yellow")


def note(message: str) -> None:
    """Tell something to know, on standard error."""
    _stderr().print(printable(message))


def show(what: Table) -> None:
    """Print data for a person on standard output."""
    width = None if sys.stdout.isatty() else _UNWRAPPED
    Console(width=width, highlight=False, markup=False).print(what)


def show_json(document: Any) -> None:
    """Print data for a program on standard output."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def table(*columns: str) -> Table:
    """An empty table without lines, which wraps its last column only."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns[:-1]:
        made.add_column(column, no_wrap=True)
    made.add_column(columns[-1], overflow="fold")
    return made


def printable(text: str) -> str:
    r"""A text without control characters, which could write over what the terminal shows.

    Example:
        >>> printable("a\x1b[2Jb")
        'a\ufffd[2Jb'
    """
    return "".join(one if one.isprintable() else "\ufffd" for one in text)


def _say(kind: str, message: str, style: str) -> None:
    _stderr().print(Text.assemble((f"{kind}:", f"bold {style}"), f" {printable(message)}"))


def _stderr() -> Console:
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)
