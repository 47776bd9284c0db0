"""A wall clock that somebody sets."""

from __future__ import annotations

import ast
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from test_pipeline_engine import in_time, source
from test_pipeline_local import blobs, settings

import alaas
from alaas.config import StrategySettings, parse_parameters
from alaas.pipeline import query
from alaas.pipeline.engine import LocalEngine

DAY_S = 86_400.0
WALL_CLOCK = {
    "data/fetch.py": "when a file was read, beside when it was changed",
    "data/http.py": "how long an answer holds, as its server says",
    "data/objects.py": "how long an answer holds, as its server says",
    "data/web.py": "how long an answer holds, as its server says",
    "pipeline/scorer.py": "how long a pool is kept",
    "server/jobs/runner.py": "how long a job took, which a restart may have interrupted",
    "server/metrics.py": "how long a pool is kept",
    "server/runtime.py": "how old a folder is that another server has left",
    "store/pools.py": "how long a pool is kept",
    "store/sources.py": "when an address was read last",
    "store/views.py": "when a view was used last",
}
"""Modules that may ask what time it is: for what outlives the process, or came from elsewhere."""


def test_row82_a_query_does_not_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock goes a day forth and two back, each time that somebody looks at it."""

    async def scenario() -> None:
        async with LocalEngine(settings()) as engine:
            looks = count()
            monkeypatch.setattr(time, "time", lambda: 1e9 + DAY_S * (-1) ** next(looks))
            started = time.monotonic()
            response = await query.run(
                engine,
                parse_parameters({"budget": 3, "timeout_s": 600}),
                source([blobs(12)]),
                defaults=StrategySettings(),
            )
            passed = time.monotonic() - started
            assert 0 < response.timings.total_s <= passed
            for stage in response.timings.stages.values():
                # At most so many micro-batches are at a stage, or wait for it, at once.
                assert 0 <= stage.busy_s <= 3 * passed
                assert 0 <= stage.wait_s <= 3 * passed

    in_time(scenario())


def test_row82_only_what_outlives_a_process_has_a_date() -> None:
    root = Path(alaas.__file__).parent
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if any(_asks_the_time(node) for node in ast.walk(ast.parse(path.read_text())))
    }
    assert found == WALL_CLOCK.keys()


def _asks_the_time(node: Any) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = ast.unparse(node.func)
    return called in {"time.time", "time", "datetime.now", "datetime.utcnow", "date.today"}
