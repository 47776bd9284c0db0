"""The whole demo, with its real servers, and what is left of it when it is interrupted."""

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from uuid import uuid4

import numpy as np
import psutil
import pytest
from PIL import Image
from rich.console import Console

from alaas.demo import digits, network, report, run

MARK = "DEMO_UNDER_TEST"


@dataclass(frozen=True)
class Played:
    result: report.DemoResult
    progress: str
    left: list[psutil.Process]


def marked(value: str) -> list[psutil.Process]:
    """Processes that inherited the mark, whoever their parent is now."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == value:
                found.append(process)
        except psutil.Error:  # ended meanwhile, or somebody else's
            continue
    return found


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    progress, mark = StringIO(), uuid4().hex
    out = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, mark)
        result = run.run(out, seeds=2, console=Console(file=progress, width=200))
        return Played(result, progress.getvalue(), marked(mark))


def test_every_protocol_was_used(played: Played) -> None:
    assert [one.protocols for one in played.result.trials] == [("http", "grpc"), ("grpc",)]
    assert "1 of 2: asking for 50 of 1,197 digits over http" in played.progress
    assert "1 of 2: asking for 50 of 1,197 digits over grpc" in played.progress
    assert "2 of 2: asking for 50 of 1,197 digits over grpc" in played.progress


def test_it_stops_what_it_started(played: Played) -> None:
    assert played.left == []


@pytest.mark.parametrize("seed", [0, 1])
def test_the_server_chose_what_a_plain_loop_chooses(played: Played, seed: int) -> None:
    one, data = played.result.trials[seed], digits.load()
    parts = digits.split(len(data), seed=seed)
    first = network.train(data.images[parts.labelled], data.labels[parts.labelled], seed=seed)
    probs = network.predict(first, data.images[parts.pool])
    scores = 1 - probs.max(axis=1)
    order = np.argsort(-scores, kind="stable")[:50]
    assert [int(pick.id) for pick in one.picks] == parts.pool[order].tolist()
    np.testing.assert_allclose([pick.score for pick in one.picks], scores[order], atol=1e-5)
    assert list(one.predicted) == probs[order].argmax(axis=1).tolist()
    assert list(one.labels) == data.labels[parts.pool[order]].tolist()


def test_the_accuracies_are_those_of_the_networks(played: Played) -> None:
    one, data = played.result.trials[0], digits.load()
    parts = digits.split(len(data), seed=0)
    chosen = np.array([int(pick.id) for pick in one.picks])
    for rows, expected in (
        (parts.labelled, one.before),
        (np.concatenate([parts.labelled, chosen]), one.selected),
    ):
        trained = network.train(data.images[rows], data.labels[rows], seed=0)
        held_out = parts.held_out
        assert expected == network.accuracy(trained, data.images[held_out], data.labels[held_out])


def test_files_are_where_the_report_says(played: Played) -> None:
    sheet = played.result.sheet
    assert len(list((sheet.parent / "digits").glob("*.png"))) == 1797
    with Image.open(sheet) as image:
        image.verify()
    text = StringIO()
    report.show(played.result, Console(file=text))
    assert str(sheet) in text.getvalue()


# The demo alone; or with a server, which has four executors at the least.
@pytest.mark.parametrize(
    ("moment", "least"), [("training on", 1), ("starting the server", 1), ("over http", 6)]
)
def test_an_interrupt_leaves_nothing_behind(tmp_path: Path, moment: str, least: int) -> None:
    code = (
        "import signal, sys; from pathlib import Path; from rich.console import Console\n"
        # A shell that starts the tests in the background has them ignore SIGINT.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from alaas.demo.run import run\n"
        "run(Path(sys.argv[1]), seeds=1, console=Console(stderr=True))\n"
    )
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    scratch.mkdir()
    mark = uuid4().hex
    environment = {
        **os.environ,
        MARK: mark,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TMPDIR": str(scratch),
    }
    with subprocess.Popen(
        [sys.executable, "-c", code, str(out)], stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if moment in line:
                break
        else:
            pytest.fail(f"it ended before {moment!r}: {''.join(said)}")
        assert len(marked(mark)) >= least
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=90)
    assert process.returncode == -signal.SIGINT
    _, alive = psutil.wait_procs(marked(mark), timeout=10)
    assert alive == []
    assert not out.exists()
    assert list(scratch.glob("alaas-demo-*")) == []
