"""One call to the server while it is under way: its deadline, and how it is given up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from threading import Event, RLock, Timer
from typing import Any, Concatenate, ParamSpec, TypeVar

from alaas.core.errors import ConnectionFailed, DeadlineExceeded

_P = ParamSpec("_P")
_Owner = TypeVar("_Owner")
_T = TypeVar("_T")

_handed: ContextVar[Call | None] = ContextVar("alaas_call", default=None)


class Call:
    """A call that another thread may give up.

    The transport says with `on_give_up` how the exchange is broken off. Breaking it off
    makes the transport fail in its own way, and `within` raises the reason instead.
    """

    def __init__(self) -> None:
        self._lock = RLock()
        self._break_off: Callable[[], object] | None = None
        self._reason: Exception | None = None
        self._deadline: float | None = None

    @staticmethod
    def take() -> Call:
        """The call that `in_thread` handed to this context, or a new one."""
        call = _handed.get() or Call()
        _handed.set(None)
        return call

    def on_give_up(self, break_off: Callable[[], object] | None) -> None:
        """Name what breaks the exchange off; runs at once if the call is given up already."""
        with self._lock:
            self._break_off = break_off
            if self._reason is not None and break_off is not None:
                break_off()

    def give_up(self, reason: Exception) -> None:
        """Break the exchange off. The first reason counts."""
        with self._lock:
            if self._reason is not None:
                return
            self._reason = reason
            if self._break_off is not None:
                self._break_off()

    def remaining(self) -> float | None:
        """Seconds until the deadline, always more than 0; None where there is none."""
        return None if self._deadline is None else max(self._deadline - time.monotonic(), 0.001)

    def open_timeout(self, at_most: float = 10.0) -> float:
        """Seconds that opening a connection may take."""
        remaining = self.remaining()
        return at_most if remaining is None else min(at_most, remaining)

    def pause(self, seconds: float) -> None:
        """Wait between two exchanges.

        Raises:
            ConnectionFailed: The call was given up; `within` raises the reason instead.
        """
        given_up = Event()
        self.on_give_up(given_up.set)
        try:
            if given_up.wait(seconds):
                raise ConnectionFailed("the call was given up")
        finally:
            self.on_give_up(None)

    @contextmanager
    def within(self, timeout: float | None) -> Iterator[None]:
        """Run the exchange, and give it up after `timeout` seconds.

        Raises:
            DeadlineExceeded: The time was up.
            Exception: The reason for which the call was given up.
        """
        if timeout is None:
            with self._settled():
                yield
            return
        late = DeadlineExceeded(f"no answer within {timeout:g} s, the timeout of this client")
        self._deadline = time.monotonic() + timeout
        timer = Timer(timeout, self.give_up, [late])
        timer.daemon = True
        timer.start()
        try:
            with self._settled():
                yield
        except ConnectionFailed:
            # Opening a connection has its own clock, which can run out a moment earlier.
            if time.monotonic() >= self._deadline:
                raise late from None
            raise
        finally:
            timer.cancel()

    @contextmanager
    def _settled(self) -> Iterator[None]:
        try:
            yield
        except Exception:
            if self._reason is not None:
                raise self._reason from None
            raise
        finally:
            self.on_give_up(None)
        if self._reason is not None:
            raise self._reason


def in_thread(
    work: Callable[Concatenate[_Owner, _P], _T],
) -> Callable[Concatenate[_Owner, _P], Coroutine[Any, Any, _T]]:
    """The awaitable twin of a method: it runs in a worker thread.

    When the awaiting task is cancelled, so is the method's exchange with the server.
    """

    @wraps(work)
    async def twin(self: _Owner, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        call = Call()
        token = _handed.set(call)
        try:
            return await asyncio.to_thread(work, self, *args, **kwargs)
        except asyncio.CancelledError:
            call.give_up(ConnectionFailed("the task that awaited the answer was cancelled"))
            raise
        finally:
            _handed.reset(token)

    name = getattr(work, "__name__", "")
    twin.__name__ = f"a{name}"
    twin.__qualname__ = work.__qualname__.replace(name, f"a{name}")
    twin.__doc__ = f"`{name}` in a worker thread; cancelling the task gives the call up."
    return twin
