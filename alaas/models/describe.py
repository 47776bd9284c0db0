"""Describe a model from a process that must stay free of torch.

The model is loaded once in a child process, which checks all that can go wrong with it
(name, weights, network, number of classes) before any server process is started. The
parent may fork executors afterwards: torch was never in it.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from alaas.config import ModelSettings
from alaas.core.errors import AlaasError, ModelUnavailable, SetupError, from_problem
from alaas.models.card import ModelCard

log = logging.getLogger(__name__)

POLL_S = 0.2
"""Seconds between two questions whether to go on."""


def describe(
    settings: ModelSettings, *, stopped: Callable[[], bool] = lambda: False
) -> ModelCard | None:
    """Load the model in a child process and return its card.

    Progress of a download goes to standard error; which runtime was chosen, and why, to the
    log of this process. What takes long, a conversion for a runtime, is kept for those that
    load the model afterwards, with the `resolved` settings.

    Args:
        settings: The model section of the configuration.
        stopped: Asked several times a second; once it says True, the child is ended.

    Returns:
        The card, or None where `stopped` came first.

    Raises:
        MissingExtra: The runtime that is asked for is not installed.
        ModelUnavailable: It cannot be loaded; the message says what to do.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "alaas.models.describe"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C is for the parent, which then ends the child
    )
    told: str | None = settings.model_dump_json()
    while True:
        try:
            said, _ = child.communicate(told, timeout=POLL_S)
            return _read(said, child.returncode, settings.name)
        except subprocess.TimeoutExpired:
            told = None  # it has been sent
        except BaseException:
            child.kill()
            child.communicate()
            raise
        if stopped():
            child.kill()
            child.communicate()
            return None


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
    settings = ModelSettings.model_validate_json(sys.stdin.read())
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


if __name__ == "__main__":
    sys.exit(main())
