"""The two clocks of a run: the event loop's for pacing, the wall's for what is stored."""

from __future__ import annotations

import asyncio


class LoopClock:
    """Monotonic seconds of the running loop; wall time counted on from one reading."""

    def __init__(self, *, wall: float) -> None:
        self._loop = asyncio.get_running_loop()
        self._offset = wall - self._loop.time()

    def now(self) -> float:
        """Return the loop's time in seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """Return seconds since 1970."""
        return self._loop.time() + self._offset
