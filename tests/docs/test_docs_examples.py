"""Every example runs, and shows what it is there to show."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from fences import ROOT


def picks(count: int) -> Callable[[str], bool]:
    """Whether that many picks are listed, ranked from 0, best first."""

    def listed(output: str) -> bool:
        rows = re.findall(r"^(\d+) (\d{3})\.jpg (-?[\d.]+)$", output, re.MULTILINE)
        scores = [float(score) for _, _, score in rows]
        names = {name for _, name, _ in rows}
        return (
            [int(rank) for rank, _, _ in rows] == list(range(count))
            and scores == sorted(scores, reverse=True)
            and len(names) == count
        )

    return listed


def margin_beats_random(output: str) -> bool:
    """Whether the last accuracy of the first strategy exceeds that of the second."""
    last = [float(one) for one in re.findall(r"([\d.]+)%$", output, re.MULTILINE)]
    return len(last) == 2 and last[0] > last[1]


SHOWS: dict[str, list[Callable[[str], bool]]] = {
    "cifar_resnet": [lambda output: output == "269,722 parameters\n"],
    "learning_loop": [margin_beats_random],
    "own_model": [picks(5), lambda output: "chosen by the model" in output],
    "pictures": [lambda output: output == "40 pictures in photos\n"],
    "query_grpc": [lambda output: "5 of 40 items" in output, lambda output: ": True" in output],
    "query_http": [picks(5), lambda output: "not ranked: lost not_found" in output],
    "select_local": [picks(4), lambda output: "4 of 40 items" in output],
}
SERVERS = ("query_grpc", "query_http")


def test_every_example_is_run() -> None:
    assert set(SHOWS) == {path.stem for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", SHOWS)
def test_example(
    name: str,
    tmp_path: Path,
    environment: Mapping[str, str],
    free_ports: Callable[[int], list[int]],
) -> None:
    port = [str(free_ports(1)[0])] if name in SERVERS else []
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / f"{name}.py"), *port],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert all(shown(done.stdout) for shown in SHOWS[name]), done.stdout


def test_every_example_is_listed() -> None:
    text = (ROOT / "examples" / "README.md").read_text()
    assert set(re.findall(r"^\| `(\w+)\.py`", text, re.MULTILINE)) == set(SHOWS)
