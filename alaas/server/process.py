"""How a process of the server behaves towards its parent, its terminal and its memory."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alaas.server import pulse

_PR_SET_PDEATHSIG, _PR_SET_NAME = 1, 15
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8


def begin(name: str, parent: int, beats: Path) -> None:
    """Make a process that was just forked one of a server's own.

    It dies with its parent: processes whose parent was killed would hold their ports for
    ever. It leaves the terminal's signals to the parent: Ctrl-C reaches a whole process
    group, and outside of it this process goes on until the parent has drained what is in
    flight. And it does not write where the parent's caller reads.

    Args:
        name: What it is, such as ``infer-0``, for whoever lists processes.
        parent: The process that it was forked from.
        beats: Where it shows that it lives.
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    os.setpgid(0, 0)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        ctypes.CDLL(None).prctl(_PR_SET_NAME, name.encode())
    if os.getppid() != parent:  # it died before this one asked to be told
        os._exit(1)
    os.dup2(2, 1)
    pulse.settle(beats, parent)


def settle() -> None:
    """Show that this process lives, from its event loop, which runs by now.

    And die of a wrong pointer: Jina takes SIGSEGV over, which Python cannot handle, so that
    the faulting instruction would be tried again for ever.
    """
    signal.signal(signal.SIGSEGV, signal.SIG_DFL)
    pulse.start()


def keep_memory() -> None:
    """Ask glibc to keep the memory of one batch for the next.

    Activations are large: by default each is a mapping of its own, given back to the
    kernel and cleared again for every batch, which costs a quarter of the inference time.
    """
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:  # another libc needs no such advice
        return
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    libc.mallopt(_M_TOP_PAD, 1 << 28)
    libc.mallopt(_M_ARENA_MAX, 1)


@contextmanager
def without(*modules: str) -> Iterator[None]:
    """Let imports inside believe that `modules` are not installed.

    docarray imports torch, tensorflow and jax wherever it finds them: half a gigabyte and
    three seconds in every process of a Flow, of which one alone needs torch. A module
    that is already loaded stays as it is, and one can be imported afterwards.
    """
    hidden = [name for name in modules if name not in sys.modules]
    for name in hidden:
        sys.modules[name] = None  # type: ignore[assignment]  # what `import` reads as absent
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
