"""The local engine, answering questions in a process of its own.

    python -m benchmarks.local SETTINGS

Beside ``paths`` and ``budget`` a question names the ``strategy``; the settings, as JSON, say
whether anything is kept. The engine stays open from one question to the next, as in a server.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence

from alaas.config import QueryParameters, Settings
from alaas.core.wire import Item
from alaas.pipeline import query
from alaas.pipeline.engine import LocalEngine
from alaas.pipeline.query import Part
from benchmarks.peers.channel import Question, answer


async def choose(engine: LocalEngine, settings: Settings, question: Question) -> list[int]:
    """Rows of the chosen photographs."""
    paths: Sequence[str] = question["paths"]

    async def whole() -> AsyncIterator[Part]:
        yield [Item(str(row), uri=path) for row, path in enumerate(paths)]

    response = await query.run(
        engine,
        QueryParameters(budget=question["budget"], strategy=question["strategy"]),
        whole(),
        defaults=settings.active_learning.strategy,
    )
    return [int(pick.id) for pick in response.picks]


def main() -> None:
    settings = Settings.model_validate_json(sys.argv[1])
    with asyncio.Runner() as runner:
        engine = LocalEngine(settings)
        answer(lambda question: runner.run(choose(engine, settings, question)))
        runner.run(engine.close())


if __name__ == "__main__":
    main()
