"""What a log line is: one line, whatever is in it, with its moment, its process and its request."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from io import StringIO
from typing import Any, Literal
from uuid import uuid4

import pytest
import structlog

from alaas.config import LogSettings
from alaas.server import logs

EVIL = "one\ntwo\r\x1b[31mred\x00\u2028three\u202e\x85four\x7f"
SECRET = "s3nt1nel"

Level = Literal["debug", "info", "warning", "error"]


class Written:
    """What this process logs from now on, in one form."""

    def __init__(self, form: Literal["console", "json"], level: Level = "info") -> None:
        self.stream = StringIO()
        logs.configure(LogSettings(format=form, level=level), process="infer", stream=self.stream)

    @property
    def lines(self) -> list[str]:
        # Not `splitlines`: it takes signs for ends of lines that no reader of a file does.
        text = self.stream.getvalue()
        assert text.endswith("\n")
        return text.removesuffix("\n").split("\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


@pytest.fixture(autouse=True)
def _undone() -> Iterator[None]:
    """Leave the logging of this process as it was."""
    root, library = logging.getLogger(), logging.getLogger("alaas")
    before = root.handlers[:], root.level, library.level, logging.lastResort
    hooks = sys.excepthook, threading.excepthook
    yield
    root.handlers[:], root.level, library.level, logging.lastResort = before
    sys.excepthook, threading.excepthook = hooks
    logging.captureWarnings(False)
    structlog.reset_defaults()


def fail(text: str) -> None:
    raise ValueError(text)


def test_a_line_says_when_where_and_for_whom() -> None:
    written = Written("json")
    with logs.about("r-1", "abc"):
        structlog.get_logger().info("answered", pool=3)
    structlog.get_logger().info("stopped")
    first, last = written.events
    moment = datetime.fromisoformat(first.pop("timestamp"))
    assert moment.tzinfo == UTC
    assert first == {
        "event": "answered", "level": "info", "process": "infer", "pid": os.getpid(),
        "request_id": "r-1", "trace_id": "abc", "pool": 3,
    }  # fmt: skip
    assert "request_id" not in last
    assert re.search(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", written.lines[0])


def test_a_request_goes_with_its_tasks_and_not_with_others() -> None:
    written = Written("json")
    with logs.about("r-1"):
        kept = contextvars.copy_context()
        assert logs.current() == logs.request_id() == "r-1"
    assert logs.current() == ""
    assert len(logs.request_id()) == 32
    kept.run(logging.getLogger("alaas.store").warning, "later")
    thread = threading.Thread(target=structlog.get_logger().info, args=["elsewhere"])
    thread.start()
    thread.join()
    marks = {event["event"]: event.get("request_id") for event in written.events}
    assert marks == {"later": "r-1", "elsewhere": None}


def say_plainly(text: str) -> None:
    structlog.get_logger().info(text, id=text, ids=[text], more={text: text})


def say_as_a_library(text: str) -> None:
    logging.getLogger("alaas.store").info("a row of %s", text)


def say_as_a_quiet_library(text: str) -> None:
    """As Jina does: it hands its lines to nobody."""
    # One that is known to keep its lines to itself is given a handler by pytest.
    quiet = logging.getLogger(f"quiet.{uuid4().hex}")
    quiet.propagate = False
    quiet.warning("a row of %s", text)


def say_with_a_stack(text: str) -> None:
    try:
        fail(text)
    except ValueError:
        structlog.get_logger().exception("failed", id=text)


def say_with_a_stack_as_a_library(text: str) -> None:
    try:
        fail(text)
    except ValueError:
        logging.getLogger("anything").exception(text)


def warn(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn(text, stacklevel=1)


def end_a_thread(text: str) -> None:
    thread = threading.Thread(target=fail, args=[text])
    thread.start()
    thread.join()


SAYINGS = [
    say_plainly, say_as_a_library, say_as_a_quiet_library, say_with_a_stack,
    say_with_a_stack_as_a_library, warn, end_a_thread,
]  # fmt: skip


@pytest.mark.parametrize("say", SAYINGS)
def test_for_machines_a_record_is_a_line_of_json(say: Callable[[str], None]) -> None:
    written = Written("json")
    say(EVIL)
    (event,) = written.events
    assert (event["process"], event["pid"]) == ("infer", os.getpid())
    assert "three" in json.dumps(event)
    assert written.lines[0].isascii()
    assert written.lines[0].isprintable()


@pytest.mark.parametrize("say", SAYINGS)
def test_for_people_no_text_passes_for_a_line_or_a_colour(say: Callable[[str], None]) -> None:
    written = Written("console")
    say(EVIL)
    first, *stack = written.lines
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z \[(info|warning|error|critical) *\]", first)
    assert all(line.startswith("    | ") for line in stack)
    assert "three" in "".join(written.lines)
    assert all(line.isprintable() for line in written.lines)


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize("say", SAYINGS)
def test_secrets_are_not_written(
    say: Callable[[str], None], form: Literal["json", "console"]
) -> None:
    written = Written(form)
    say(f"https://me:{SECRET}@host/a.png?X-Amz-Signature={SECRET}")
    assert SECRET not in written.stream.getvalue()
    assert "https://host/a.png" in written.stream.getvalue()


def test_what_is_long_is_cut() -> None:
    written = Written("json")
    structlog.get_logger().info("a body", body="x" * 50_000, other=b"y" * 50_000)
    (event,) = written.events
    assert len(written.lines[0]) < 3 * logs.LONGEST
    assert event["body"].endswith("characters)")


def test_of_what_is_cut_no_half_of_a_secret_stays() -> None:
    written = Written("json")
    address = f"https://host/a?sig={SECRET * 10_000}"
    structlog.get_logger().info("x" * (logs.LONGEST - 10) + " " + address)
    assert SECRET[:4] not in written.stream.getvalue()


def test_levels_are_those_of_the_configuration() -> None:
    written = Written("json", level="warning")
    structlog.get_logger().info("no")
    logging.getLogger("alaas.store").info("no")
    logging.getLogger("anything").info("no")
    logging.getLogger("anything").warning("yes")
    structlog.get_logger().warning("yes")
    assert [event["event"] for event in written.events] == ["yes", "yes"]
    assert written.events[0]["logger"] == "anything"


def test_quiet_libraries_are_heard_from_warnings_on() -> None:
    """They hand their lines to nobody, and have levels of their own."""
    written = Written("json", level="debug")
    quiet = logging.getLogger(f"quiet.{uuid4().hex}")
    quiet.propagate = False
    quiet.setLevel(logging.DEBUG)
    quiet.info("no")
    quiet.warning("yes")
    logging.getLogger("alaas.store").debug("yes")
    assert [event["event"] for event in written.events] == ["yes", "yes"]


def test_a_process_that_is_configured_again_says_things_once() -> None:
    """As one that is forked is, which has inherited the configuration of its parent."""
    before = Written("json")
    written = Written("json")
    logging.getLogger("alaas.store").warning("once")
    assert len(written.events) == 1
    assert before.stream.getvalue() == ""


def test_what_nobody_catches_is_a_line_too() -> None:
    written = Written("json")
    sys.excepthook(ValueError, ValueError(EVIL), None)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    (event,) = written.events
    assert (event["event"], event["level"]) == ("uncaught", "critical")
