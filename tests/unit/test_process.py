"""How a process of the server treats its parent, its memory and its imports."""

from __future__ import annotations

import ctypes
import json
import os
import platform
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import pytest

from alaas.server.process import keep_memory, without

WAIT_S = 60

CHILD = """
import os, signal, sys
from pathlib import Path
from alaas.server.process import begin
begin("child", os.getppid(), Path(os.devnull))
os.write(int(sys.argv[1]), f"{os.getpid()} {os.getpgid(0)}\\n".encode())
signal.pause()
"""
PARENT = """
import signal, subprocess, sys
subprocess.Popen([sys.executable, "-c", sys.argv[2], sys.argv[1]], pass_fds=[int(sys.argv[1])])
signal.pause()
"""


def read(end: int) -> bytes:
    """What somebody writes, or nothing once nobody is left who could."""
    assert select.select([end], [], [], WAIT_S)[0], "nothing came"
    return os.read(end, 100)


@pytest.fixture
def family() -> Iterator[tuple[subprocess.Popen[bytes], int, int, int]]:
    """A process whose child has begun; the child's id and group, and a pipe that it holds."""
    end, other = os.pipe()
    parent = subprocess.Popen([sys.executable, "-c", PARENT, str(other), CHILD], pass_fds=[other])
    os.close(other)
    child, group = map(int, read(end).split())
    try:
        yield parent, child, group, end
    finally:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        parent.kill()
        parent.wait()
        os.close(end)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_a_process_that_has_begun_ends_with_its_parent_and_has_a_group_of_its_own(
    family: tuple[subprocess.Popen[bytes], int, int, int],
) -> None:
    parent, child, group, end = family
    assert group == child != os.getpgid(parent.pid)
    parent.kill()  # with a signal that lets it tell nobody
    assert read(end) == b""


RESIDENT = """
import json, os, sys
from alaas.server.process import keep_memory

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

if sys.argv[1] == "keep":
    keep_memory()
before = resident()
batch = bytearray(100_000_000)
during = resident()
del batch
print(json.dumps([during - before, resident() - before]))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the advice is to glibc")
@pytest.mark.parametrize(("advice", "kept"), [("keep", True), ("none", False)])
def test_the_memory_of_a_batch_is_kept_for_the_next(advice: str, kept: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RESIDENT, advice], stdout=subprocess.PIPE, check=True
    )
    during, after = json.loads(done.stdout)
    assert (during > 90_000_000) or not kept
    assert (after > 90_000_000) is kept


def test_another_libc_needs_no_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> ctypes.CDLL:
        raise OSError(name)

    monkeypatch.setattr(ctypes, "CDLL", absent)
    keep_memory()


class TestWithout:
    @pytest.fixture(autouse=True)
    def not_imported(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """A module of the standard library that nothing here needs."""
        monkeypatch.delitem(sys.modules, "antigravity", raising=False)
        monkeypatch.delitem(sys.modules, "this", raising=False)

    def test_imports_fail_inside_and_work_after(self, capsys: pytest.CaptureFixture[str]) -> None:
        with without("this", "no_such_module"):
            with pytest.raises(ModuleNotFoundError):
                import this
            with pytest.raises(ModuleNotFoundError):
                import this.part  # type: ignore[import-not-found]
        assert "no_such_module" not in sys.modules
        import this

        assert this.s
        assert "Zen" in capsys.readouterr().out

    def test_what_is_loaded_stays(self) -> None:
        with without("json"):
            assert sys.modules["json"] is json
        assert sys.modules["json"] is json

    def test_one_in_another(self) -> None:
        with without("this"):
            with without("this", "antigravity"):
                assert sys.modules["antigravity"] is None
            assert "antigravity" not in sys.modules
            assert sys.modules["this"] is None
        assert "this" not in sys.modules

    def test_an_error_inside_passes(self) -> None:
        with pytest.raises(ZeroDivisionError), without("this"):
            raise ZeroDivisionError
        assert "this" not in sys.modules
