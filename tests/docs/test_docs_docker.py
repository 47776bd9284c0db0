"""The container files, read without a daemon."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from fences import ROOT

from alaas.config import Settings, load
from alaas.server.auth import served

DOCKER = ROOT / "docker"


def instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile with their arguments, comments left out."""
    lines = (ROOT / "Dockerfile").read_text().splitlines()
    text = "\n".join(line for line in lines if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n", " ", text)
    return [
        (word, rest.strip())
        for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)
    ]


def last_stage() -> dict[str, str]:
    """The last of each instruction in the image that is shipped."""
    found = instructions()
    start = max(row for row, (word, _) in enumerate(found) if word == "FROM")
    return dict(found[start:])


def settings() -> Settings:
    """What the image runs with."""
    return load(DOCKER / "config.yml", environ={}).settings


def test_what_runs_has_no_rights() -> None:
    assert last_stage()["USER"] not in {"root", "0"}
    words = [word for word, _ in instructions()]
    assert "RUN" not in words[len(words) - words[::-1].index("USER") :]


def test_it_starts_under_an_init_and_gets_its_signals() -> None:
    stage = last_stage()
    assert json.loads(stage["ENTRYPOINT"]) == ["tini", "--", "alaas"]
    assert json.loads(stage["CMD"]) == ["serve", "--config", "/server/config.yml"]
    assert stage["STOPSIGNAL"] == "SIGTERM"
    assert "tini" in stage["RUN"]


def test_it_is_healthy_when_it_is_ready() -> None:
    stage = last_stage()
    form, _, command = stage["HEALTHCHECK"].partition(" CMD ")
    assert "--start-period=" in form
    python, flag, program = json.loads(command)
    assert (python, flag) == ("python", "-c")
    compile(program, "HEALTHCHECK", "exec")
    (url,) = re.findall(r"HEALTH_URL=(\S+)", stage["ENV"])
    port = settings().active_learning.al_worker.port[0]
    assert url == f"http://127.0.0.1:{port}/readyz"
    assert "HEALTH_URL" in program


def test_the_weights_survive_the_container() -> None:
    stage = last_stage()
    assert f"TORCH_HOME={stage['VOLUME']}" in stage["ENV"]
    assert f"--owner {stage['USER']} {stage['VOLUME']}" in stage["RUN"]


def test_what_is_copied_exists_and_is_sent() -> None:
    sent = [line[1:] for line in (ROOT / ".dockerignore").read_text().split() if line[0] == "!"]
    for word, rest in instructions():
        if word == "COPY" and not rest.startswith("--from="):
            *sources, _ = rest.split()
            for source in sources:
                assert (ROOT / source).exists()
                assert source in sent


def test_the_device_chooses_the_wheels() -> None:
    arguments = [rest for word, rest in instructions() if word == "ARG"]
    assert "DEVICE=cpu" in arguments
    (install,) = [rest for word, rest in instructions() if word == "RUN" and "pip install" in rest]
    assert 'cpu) set -- --extra-index-url "$TORCH_CPU_INDEX" ;;' in install
    assert "-c requirements.lock" in install


def test_its_configuration_listens_where_it_is_published() -> None:
    worker = settings().active_learning.al_worker
    assert [str(port) for port in worker.port] == last_stage()["EXPOSE"].split()
    assert worker.host == "0.0.0.0"


def compose(name: str) -> dict[str, Any]:
    """The one service of a compose file."""
    document = yaml.safe_load((DOCKER / name).read_text())
    assert set(document) <= {"services", "volumes"}
    assert set(document["services"]) == {"alaas"}
    service: dict[str, Any] = document["services"]["alaas"]
    return service


def test_it_serves_everybody_and_says_so_first() -> None:
    environ = dict(re.findall(r"(ALAAS_\w+)=(\S+)", last_stage()["ENV"]))
    auth = load(DOCKER / "config.yml", environ=environ).settings.auth
    assert served(auth).startswith("everybody")


def test_compose_for_cpus() -> None:
    document = yaml.safe_load((DOCKER / "compose.yml").read_text())
    service = compose("compose.yml")
    assert (DOCKER / service["build"]["context"] / "Dockerfile").is_file()
    assert service["build"]["args"] == {"DEVICE": "cpu"}
    published = [port.rpartition(":")[2] for port in service["ports"]]
    assert published == last_stage()["EXPOSE"].split()
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert mounts.pop("./config.yml") == "/server/config.yml"
    assert mounts == {name: last_stage()["VOLUME"] for name in document["volumes"]}
    # More than the half minute that queries in flight get.
    assert int(service["stop_grace_period"].removesuffix("s")) > 30


def test_compose_for_gpus() -> None:
    service = compose("compose.cuda.yml")
    assert service["build"]["args"] == {"DEVICE": "cuda"}
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]


@pytest.mark.parametrize("path", [ROOT / "Dockerfile", *DOCKER.glob("*.yml")], ids=lambda p: p.name)
def test_no_secret_and_no_latest(path: Path) -> None:
    text = path.read_text()
    assert ":latest" not in text
    assert not re.search(r"(?i)(password|secret|token)\s*[=:]", text)
