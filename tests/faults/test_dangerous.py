"""The twenty most dangerous inputs return what they should, and the service stays well."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from dangerous import INPUTS, Place, judge, place

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with place(tmp_path_factory.mktemp("dangerous")) as target:
        yield target
        assert target.server.stop() == 0


def test_there_are_twenty() -> None:
    assert len(INPUTS) == 20


@pytest.mark.parametrize("name", INPUTS)
def test_a_dangerous_input_is_answered_and_does_no_harm(target: Place, name: str) -> None:
    outcome = judge(target, name)
    assert outcome.good, outcome
