"""Describe a model from a process that must stay free of torch.

The model is loaded once in a child process, which checks all that can go wrong with it
(name, weights, network, number of classes) before any executor is started. The parent may
fork executors afterwards: torch was never in it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from alaas.config import ModelSettings
from alaas.core.errors import AlaasError, ModelUnavailable, SetupError, from_problem
from alaas.models.card import ModelCard

log = logging.getLogger(__name__)

POLL_S = 0.1
"""Seconds between two questions whether it is done."""


class Description:
    """A model that is being loaded in a child process, which is started at once.

    Progress of a download goes to standard error; which runtime was chosen, and why, to the
    log of this process. What takes long, a conversion for a runtime, is kept for those that
    load the model afterwards, with the `resolved` settings. The child ends with this process.

    Args:
        settings: The model section of the configuration.
    """

    def __init__(self, settings: ModelSettings) -> None:
        self._name = settings.name
        # A file, since nobody reads while the child writes.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed by `close`
        self._child = subprocess.Popen(
            [sys.executable, "-m", "alaas.models.describe"],
            stdin=subprocess.PIPE,
            stdout=self._said,
            text=True,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
        )
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it ended at once; its status says so
            # The pipe stays open: its end is how the child learns of its parent's.
            self._child.stdin.write(settings.model_dump_json() + "\n")
            self._child.stdin.flush()

    def card(self) -> ModelCard | None:
        """The card, or None while the model is being loaded.

        Raises:
            MissingExtra: The runtime that is asked for is not installed.
            ModelUnavailable: It cannot be loaded; the message says what to do.
        """
        status = self._child.poll()
        if status is None:
            return None
        self._said.seek(0)
        return _read(self._said.read(), status, self._name)

    def wait(self, seconds: float) -> None:
        """Wait until the child has ended, or some seconds have passed."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(seconds)

    def close(self) -> None:
        """End the child, if it has not ended."""
        self._child.kill()
        self._child.wait()
        assert self._child.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._child.stdin.close()
        self._said.close()


class Descriptions:
    """All the models of a server, each of which is loaded in a child process.

    Args:
        models: The settings of each, by the name under which a query asks for it.
    """

    def __init__(self, models: Mapping[str, ModelSettings]) -> None:
        self._all = {name: Description(settings) for name, settings in models.items()}
        self._known: dict[str, ModelCard] = {}

    def cards(self) -> dict[str, ModelCard] | None:
        """The cards by name, or None while one of the models is being loaded.

        Raises:
            MissingExtra: The runtime that is asked for is not installed.
            ModelUnavailable: One cannot be loaded; the message says what to do.
        """
        for name, one in self._all.items():
            if name not in self._known and (card := one.card()) is not None:
                self._known[name] = replace(card, served_as=name)
        complete = len(self._known) == len(self._all)
        return {name: self._known[name] for name in self._all} if complete else None

    def close(self) -> None:
        """End the children that have not ended."""
        for one in self._all.values():
            one.close()


def describe(settings: ModelSettings) -> ModelCard:
    """Load a model in a child process and return its card, as `Description` does.

    Args:
        settings: The model section of the configuration.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It cannot be loaded; the message says what to do.
    """
    with contextlib.closing(Description(settings)) as description:
        while (card := description.card()) is None:
            description.wait(POLL_S)
        return card


def _read(said: str, status: int, name: str) -> ModelCard:
    *_, last = said.splitlines() or [""]
    try:
        answer = json.loads(last)
    except ValueError:
        message = f"loading {name!r} ended with status {status} and no answer"
        raise ModelUnavailable(message) from None
    for level, line in answer["log"]:
        log.log(level, line)
    if "card" in answer:
        return ModelCard.from_json(answer["card"])
    error = from_problem(answer["problem"])
    raise error if isinstance(error, SetupError) else ModelUnavailable(error.detail)


def main() -> int:
    """Read settings from standard input, write the card or the problem to standard output."""
    return _answer(sys.stdin.readline())


def _answer(told: str) -> int:
    settings = ModelSettings.model_validate_json(told)
    said = _Said()
    logger = logging.getLogger("alaas.models")
    logger.addHandler(said)
    logger.setLevel(logging.INFO)
    try:
        answer: dict[str, Any] = {"card": _card(settings).to_json()}
    except AlaasError as error:
        answer = {"problem": error.problem()}
    finally:
        logger.removeHandler(said)
    answer["log"] = said.lines
    # On a line of its own, also where the operator's code has printed half a line.
    print("\n" + json.dumps(answer))
    return 0 if "card" in answer else 1


def _card(settings: ModelSettings) -> ModelCard:
    """The card of a model that is loaded on the CPU, as it will run on its own device."""
    from alaas.models.load import load, resolve_device
    from alaas.models.runtimes.choice import options

    choice = options(settings, resolve_device(settings.device))
    if choice.runtimes == ("torch",):
        settings = settings.model_copy(
            update={"runtime": "torch", "precision": choice.precision, "compile": False}
        )
    return load(settings, device="cpu").card


class _Said(logging.Handler):
    """Keeps the lines of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append((record.levelno, record.getMessage()))


def _end_with_the_parent() -> None:
    while os.read(0, 65536):
        pass
    os._exit(1)


if __name__ == "__main__":
    line = sys.stdin.readline()
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    sys.exit(_answer(line))
