"""An event loop whose clock jumps to the next timer: an hour of waiting takes no time at all.

Real I/O still works, in zero loop time, and so do threads of the loop's executor (the SDK asks for
the platform in one). Other threads are not waited for: tests in virtual time use fakes that need
none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple, Unpack

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

TURN_S = 1e-9
"""What one turn of the loop costs. Without it a wait too short for the clock never ends."""

DEADLOCK_S = 60.0
"""Real seconds without any timer or event after which a test counts as stuck."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: it reports the wait as done instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.threads = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += TURN_S
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None or self.threads:
            ready = super().select(DEADLOCK_S)
            if not ready:
                raise RuntimeError("nothing left to wait for: the test is stuck")
            return ready
        self.now += max(timeout, 0.0)
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A selector loop on virtual time, beginning at 0."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[Unpack[Ts]], T], *args: *Ts
    ) -> asyncio.Future[T]:
        """Run `func` in a thread; no timer ends while it works."""
        future: asyncio.Future[T] = super().run_in_executor(executor, func, *args)
        self._jumping.threads += 1
        future.add_done_callback(self._thread_done)
        return future

    def _thread_done(self, _future: asyncio.Future[Any]) -> None:
        self._jumping.threads -= 1


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
