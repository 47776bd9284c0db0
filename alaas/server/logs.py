"""What the service writes about itself: to standard error, for people or for machines.

Every process of a server calls `configure`, so that all of them, and the libraries that they
use, write the same kind of line: one a record, whatever is in its text, with the moment in
UTC, the process, and the id of the request that it is about. Secrets are taken out of it.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import uuid
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from alaas.config import LogSettings
from alaas.server.redaction import redact

LONGEST = 2_000
"""Characters of a value that are written; of a stack, ten times as many."""

_STACKS = frozenset({"exception", "stack"})
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]")


def configure(
    settings: LogSettings, *, process: str = "supervisor", stream: TextIO | None = None
) -> None:
    """Set the form and the level of every later log line of this process.

    Libraries are heard from `warning` on. One that hands its lines to nobody, as Jina's
    quiet loggers do, is heard in the same form.

    Args:
        settings: Form and level.
        process: What this process is, such as ``gateway`` or ``infer``.
        stream: Where to write; by default standard error.
    """
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    out = stream or sys.stderr
    marks: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _signed(process),
        structlog.processors.format_exc_info,
        _clean,
    ]
    shown = _shown(settings, out)
    structlog.configure(
        processors=[*marks, *shown],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _bridge(_Handler(out, marks, shown), level)


def current() -> str:
    """The id of the request that is being answered; empty outside of any."""
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))


def request_id() -> str:
    """The id of the request that is being answered, or a new one outside of any."""
    return current() or uuid.uuid4().hex


def about(request: str, trace: str = "") -> AbstractContextManager[None]:
    """Put the ids of a request and of its trace on every line that is written inside.

    Args:
        request: Empty for none.
        trace: Empty for none.
    """
    marks = {"request_id": request, "trace_id": trace}
    return structlog.contextvars.bound_contextvars(**{k: v for k, v in marks.items() if v})


class _Handler(logging.StreamHandler[TextIO]):
    """Gives the lines of libraries, which log as libraries do, the same form."""

    def __init__(self, out: TextIO, marks: list[Processor], shown: list[Processor]) -> None:
        super().__init__(out)
        self.addFilter(_heard)
        self.setFormatter(
            structlog.stdlib.ProcessorFormatter(
                processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *shown],
                foreign_pre_chain=[_named, *marks],
            )
        )


def _heard(record: logging.LogRecord) -> bool:
    """Whether a line of ours, which has its level already, or a serious one of others."""
    return record.name.startswith("alaas") or record.levelno >= logging.WARNING


def _bridge(handler: _Handler, level: int) -> None:
    root, library = logging.getLogger(), logging.getLogger("alaas")
    for old in [one for one in root.handlers if isinstance(one, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    library.setLevel(level)
    logging.lastResort = handler
    logging.captureWarnings(True)
    sys.excepthook = _note_uncaught
    threading.excepthook = _note_uncaught_of_thread


def _note_uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    if issubclass(kind, Exception):
        structlog.get_logger().critical("uncaught", exc_info=(kind, error, trace))
    elif not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)


def _note_uncaught_of_thread(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        _note_uncaught(arguments.exc_type, arguments.exc_value, arguments.exc_traceback)


def _signed(process: str) -> Processor:
    def sign(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("process", process)
        event["pid"] = os.getpid()
        return event

    return sign


def _named(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Note which library speaks."""
    record: logging.LogRecord = event["_record"]
    if not record.name.startswith("alaas"):
        event["logger"] = record.name
    return event


def _clean(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Take secrets out, and keep what is longer than anybody reads short."""
    for key, value in event.items():
        if key not in {"_record", "_from_structlog"}:
            event[key] = _cleaned(value, LONGEST * 10 if key in _STACKS else LONGEST)
    return event


def _cleaned(value: Any, most: int) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {_cleaned(str(key), most): _cleaned(one, most) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_cleaned(one, most) for one in value]
    # A secret that is cut in two is still one: first it goes, then the rest is cut.
    text = redact(str(value)[: most * 10])
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def _shown(settings: LogSettings, out: TextIO) -> list[Processor]:
    if settings.format == "json":
        return [structlog.processors.JSONRenderer()]
    colors = out.isatty() and "NO_COLOR" not in os.environ
    return [_flatten, structlog.dev.ConsoleRenderer(colors=colors)]


def _flatten(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """Spell control characters out, so that no text can pass for a line, or colour the screen.

    A stack has many lines, for people: each is set in, as no line of the log is.
    """
    for key, value in event.items():
        if key in _STACKS:
            lines = str(value).splitlines()
            event[key] = "\n".join(f"    | {_escape(line)}" for line in lines)
        elif not isinstance(value, bool | int | float | None):
            event[key] = _escape(str(value))
    return event


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
