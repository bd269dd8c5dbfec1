"""An event loop whose clock jumps to the next timer: an hour of waiting takes no time at all.

Real I/O still works, in zero loop time; threads are not waited for, so tests in virtual time use
fakes that need none.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

TURN_S = 1e-9
"""What one turn of the loop costs. Without it a wait too short for the clock never ends."""

DEADLOCK_S = 5.0
"""Real seconds without any timer or event after which a test counts as stuck."""


class _JumpingSelector(selectors.DefaultSelector):
    """Never waits for a timer: it reports the wait as done instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += TURN_S
        ready = super().select(0)
        if ready or timeout == 0:
            return ready
        if timeout is None:
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


def run_virtually(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` to its end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main)
