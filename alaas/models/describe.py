"""Describe a model from a process that must stay free of torch.

The model is loaded once in a child process, which checks all that can go wrong with it
(name, weights, network, number of classes) before any server process is started. The
parent may fork executors afterwards: torch was never in it.
"""

from __future__ import annotations

import json
import subprocess
import sys

from alaas.config import ModelSettings
from alaas.core.errors import AlaasError, ModelUnavailable, SetupError, from_problem
from alaas.models.card import ModelCard


def describe(settings: ModelSettings) -> ModelCard:
    """Load the model in a child process and return its card.

    Progress of a download goes to standard error.

    Raises:
        ModelUnavailable: It cannot be loaded; the message says what to do.
    """
    child = subprocess.run(
        [sys.executable, "-m", "alaas.models.describe"],
        input=settings.model_dump_json(),
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    *_, last = child.stdout.splitlines() or [""]
    try:
        answer = json.loads(last)
    except ValueError:
        raise ModelUnavailable(
            f"loading {settings.name!r} ended with status {child.returncode} and no answer"
        ) from None
    if "card" in answer:
        return ModelCard.from_json(answer["card"])
    error = from_problem(answer["problem"])
    raise error if isinstance(error, SetupError) else ModelUnavailable(error.detail)


def main() -> int:
    """Read settings from standard input, write the card or the problem to standard output."""
    settings = ModelSettings.model_validate_json(sys.stdin.read())
    try:
        from alaas.models.load import load, resolve_device

        resolve_device(settings.device)
        answer = {"card": load(settings, device="cpu").card.to_json()}
    except AlaasError as error:
        answer = {"problem": error.problem()}
    # On a line of its own, also where the operator's code has printed half a line.
    print("\n" + json.dumps(answer))
    return 0 if "card" in answer else 1


if __name__ == "__main__":
    sys.exit(main())
