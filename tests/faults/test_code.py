"""Rows 71 and 72: nothing runs that came from outside, and one door leads out for items."""

from __future__ import annotations

import ast
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import ROOT, running

HOUSE = ROOT / "alaas"
GENERATED = HOUSE / "proto" / "alaas"
MODULES = {
    path.relative_to(HOUSE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted(HOUSE.rglob("*.py"))
    if GENERATED not in path.parents
}


def imported(tree: ast.AST) -> Iterator[str]:
    """Full names of all that a module imports, also those that it asks `import_module` for."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and _called(node).endswith("import_module"):
            yield from (one.value for one in node.args if isinstance(one, ast.Constant))


def _called(call: ast.Call) -> str:
    """What is called, as it is written: ``torch.load``."""
    return ast.unparse(call.func) if isinstance(call.func, ast.Name | ast.Attribute) else ""


def calls(tree: ast.AST) -> Iterator[tuple[str, dict[str, str]]]:
    """What a module calls, and the keywords that it gives."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and (name := _called(node)):
            yield name, {one.arg or "**": ast.unparse(one.value) for one in node.keywords}


# ---- one door

TOOLS = (
    "aiohttp", "aiobotocore", "boto3", "botocore", "fsspec", "ftplib", "gcsfs", "google.auth",
    "http.client", "httpx", "huggingface_hub", "imaplib", "paramiko", "poplib", "pycurl",
    "requests", "s3fs", "smtplib", "telnetlib", "urllib.request", "urllib3", "xmlrpc",
)  # fmt: skip
"""Libraries whose purpose is to open connections."""

OPENINGS = {
    "ClientSession", "HTTPConnection", "HTTPSConnection", "TCPConnector", "connect", "connect_ex",
    "create_connection", "create_datagram_endpoint", "download_url_to_file", "getaddrinfo",
    "insecure_channel", "load_state_dict_from_url", "open_connection", "open_unix_connection",
    "secure_channel", "sendto", "sock_connect", "start_tls", "urlopen", "urlretrieve",
}  # fmt: skip
"""Functions that open one, whatever they belong to."""

DOORS = {
    "data/http.py": "the one door for items",
    "data/web.py": "types of aiohttp and its resolver; it asks through the door",
    "data/fetch.py": "a type of aiohttp; it asks through the door",
    "data/credentials.py": "an operator's credentials, from the vendor's own services",
    "models/reach.py": "whether the host of an operator's weights answers",
    "models/repository.py": "the download of an operator's model, without code",
    "models/timm.py": "the download of an operator's weights, without code",
    "models/weights.py": "the download of an operator's weights, with its hash",
    "server/links.py": "the stages of this server, on loopback",
    "server/replica.py": "whether a stage of this server listens, on loopback",
    "server/supervisor.py": "the gateway of this server, on loopback",
    "store/sources.py": "a file of SQLite",
    "store/tables.py": "the operator's own store",
}
"""Modules of the server and the library that could, and what for."""


def opened(tree: ast.AST) -> set[str]:
    """Libraries and functions of a module that could open a connection."""
    names = set(imported(tree))
    tools = {tool for tool in TOOLS for name in names if f"{name}.".startswith(f"{tool}.")}
    return tools | {
        name for call, _ in calls(tree) if (name := call.rpartition(".")[2]) in OPENINGS
    }


def test_row16_25_one_door_leads_out() -> None:
    """The client and the commands, which run with their user's rights, are left out."""
    found = {name: opened(tree) for name, tree in MODULES.items()}
    theirs = ("client/", "cli/")
    known = {name for name, tools in found.items() if tools and not name.startswith(theirs)}
    assert known == set(DOORS)


# ---- no code in what is read

FORBIDDEN_MODULES = (
    "cloudpickle", "code", "dill", "jsonpickle", "joblib", "marshal", "pandas.read_pickle",
    "pickle", "runpy", "shelve", "torch.package",
)  # fmt: skip
FORBIDDEN_CALLS = {
    "__import__", "builtins.eval", "builtins.exec", "compile", "eval", "exec", "np.fromfile",
    "np.memmap", "os.popen", "os.system", "torch.hub.load", "torch.jit.load", "yaml.full_load",
    "yaml.load", "yaml.load_all", "yaml.unsafe_load",
}  # fmt: skip


KNOWN_BY = {"models/weights.py": "pickle", "models/estimator.py": "joblib.hashing"}
"""Modules that use one name of what could read code."""


def test_row72_no_module_reads_what_could_run() -> None:
    for name, tree in MODULES.items():
        known = set(imported(tree)) - {KNOWN_BY.get(name)}
        bad = [
            one for one in known if f"{one}.".startswith(tuple(f"{m}." for m in FORBIDDEN_MODULES))
        ]
        assert not bad, (name, bad)
        for call, keywords in calls(tree):
            assert call not in FORBIDDEN_CALLS, (name, call)
            assert keywords.get("shell", "False") == "False", (name, call)
            # An operator allows code by that knob alone, and then the commit must be named.
            trusted = keywords.get("trust_remote_code", "False")
            assert trusted in {"False", "settings.allow_code"}, (name, call)
            if call == "torch.load":
                assert keywords.get("weights_only") == "True", name
            if call in {"np.load", "numpy.load"}:
                assert keywords.get("allow_pickle", "False") == "False", name


@pytest.mark.parametrize(
    ("name", "module", "only"),
    [
        # What torch raises for a file that wants to run code.
        ("models/weights.py", "pickle", "UnpicklingError"),
        # It writes what it hashes, and reads nothing.
        ("models/estimator.py", "joblib.hashing", "NumpyHasher"),
    ],
)
def test_row72_what_could_read_code_is_known_for_one_name_alone(
    name: str, module: str, only: str
) -> None:
    assert KNOWN_BY[name] == module
    used = [one for one in ast.walk(MODULES[name]) if isinstance(one, ast.Attribute)]
    assert {one.attr for one in used if ast.unparse(one.value) == module} == {only}


def test_row72_nothing_is_unpickled_between_processes() -> None:
    """A message of the Flow goes to bytes and back while every unpickler is out of order."""
    script = """
import pickle, _pickle
import numpy as np
from alaas.core.types import Plan, Views
from alaas.server import executors, frames
from docarray import DocList
from jina.types.request.data import DataRequest

def refuse(*_, **__):
    raise AssertionError("something was unpickled")

for module in (pickle, _pickle):
    module.load = module.loads = module.Unpickler = refuse
views = Views(0, ("a",), {"probs": np.eye(1)}, "m", digests=("d",))
plan = Plan("q", "s", {}, 0, 1, ("probs",))
sent = DataRequest()
sent.document_array_cls = DocList[executors.Frame]
sent.data.docs = executors.pack(frames.Message(plan, views))
got = DataRequest(sent.SerializePartialToString())
got.document_array_cls = DocList[executors.Frame]
message = executors.unpack(got.docs)
assert message.content.arrays["probs"].tolist() == [[1.0]], message
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


# ---- configuration


def served(config: Path, environment: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit status and standard error of `alaas serve` with this file."""
    done = subprocess.run(
        [sys.executable, "-m", "alaas", "serve", "--config", str(config)],
        cwd=ROOT, env={**os.environ, **(environment or {})},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 30)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("name: x\nversion: !!python/object/apply:os.system ['touch {marker}']\n",
                     "{file}:2: the tag", id="tag"),
        pytest.param("name: !!python/object/new:subprocess.Popen [['touch', '{marker}']]\n",
                     "{file}:1: the tag", id="new"),
        pytest.param(BOMB, "{file}: its aliases expand to more than", id="bomb"),
        pytest.param("limits:\n  pixel: 3\n",
                     "{file}:2: limits.pixel: unknown key; did you mean 'pixels'", id="key"),
        pytest.param("fetch:\n  buckets: [http://evil]\n", "{file}:2: fetch.buckets", id="value"),
        pytest.param("active_learning:\n  strategy:\n    model:\n      trust_remote_code: true\n",
                     "{file}:4: active_learning.strategy.model.trust_remote_code: unknown key",
                     id="trust"),
        pytest.param("active_learning:\n  strategy:\n    model:\n      hub: somebody/repository\n",
                     "{file}:4: active_learning.strategy.model.hub", id="hub"),
    ],
)  # fmt: skip
def test_row71_72_a_bad_configuration_ends_the_start(text: str, said: str, tmp_path: Path) -> None:
    file, marker = tmp_path / "config.yml", tmp_path / "marker"
    file.write_text(text.replace("{marker}", str(marker)))
    status, error = served(file)
    assert status == 2
    assert said.format(file=file) in error.replace("\n", " ").replace("  ", " "), error
    assert not marker.exists()


def test_row71_a_variable_that_is_nearly_a_key_ends_the_start(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("name: x\n")
    status, error = served(tmp_path / "config.yml", {"ALAAS_LIMITS__PIXEL": "3"})
    assert status == 2
    assert "ALAAS_LIMITS__PIXEL: unknown key; did you mean" in error


# ---- weights


class Bomb:
    """Writes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = str(marker)

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (self.marker, "w")


def _bare(file: Path, bomb: Bomb) -> None:
    file.write_bytes(pickle.dumps({"head.weight": bomb}))


def _zipped(file: Path, bomb: Bomb) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"head.weight": bomb}, protocol=2))
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


def _array(file: Path, bomb: Bomb) -> None:
    with file.open("wb") as stream:
        np.save(stream, np.array([bomb], object), allow_pickle=True)


def test_row72_the_bombs_of_these_tests_go_off(tmp_path: Path) -> None:
    for row, make in enumerate((_bare, _array)):
        file, marker = tmp_path / f"{row}.bin", tmp_path / f"marker-{row}"
        make(file, Bomb(marker))
        assert not marker.exists()
        if make is _bare:
            pickle.loads(file.read_bytes())
        else:
            np.load(file, allow_pickle=True)
        assert marker.exists()


@pytest.mark.parametrize(
    ("name", "make"),
    [("w.pth", _bare), ("w.pt", _zipped), ("w.npy", _array), ("w.safetensors", _bare)],
)
def test_row72_weights_that_hold_code_end_the_start(name: str, make: Any, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    make(tmp_path / name, Bomb(marker))
    weights = {"weights": str(tmp_path / name)}
    with running(tmp_path / "server", ready=False, model=weights) as server:
        assert server.wait_end() == 2
        server.assert_gone()
        log = server.log()
    assert "Traceback" not in log
    assert name in log
    assert "holds other things than tensors" in log or "holds no readable weights" in log
    assert not marker.exists()


def test_row72_a_tampered_download_ends_the_start(tmp_path: Path) -> None:
    """What torchvision has downloaded before is read with the same care."""
    marker, folder = tmp_path / "marker", tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    _bare(folder / "resnet18-f37072fd.pth", Bomb(marker))
    model = {"hub": "torchvision", "name": "resnet18", "weights": "default", "preprocess": None}
    home = {"TORCH_HOME": str(tmp_path / "torch")}
    with running(tmp_path / "server", ready=False, model=model, environment=home) as server:
        assert server.wait_end() == 2
        log = server.log()
    assert "does not hold the weights of resnet18" in log
    assert not marker.exists()
