"""Even launches: a lane that may send R requests a minute sends one every 60/R seconds.

The API may enforce its limit by the second (API-FACTS 1.1). aiolimiter only spaces launches;
whether a request may go at all is the core's decision.
"""

from __future__ import annotations

from aiolimiter import AsyncLimiter


class Pacing:
    """One limiter per lane, made anew when the lane's limit changes."""

    def __init__(self) -> None:
        self._limiters: dict[str, tuple[float, AsyncLimiter]] = {}

    async def turn(self, lane: str, requests_per_minute: float | None) -> None:
        """Return when the lane may launch its next attempt."""
        if requests_per_minute is None:
            return
        known = self._limiters.get(lane)
        if known is None or known[0] != requests_per_minute:
            known = (requests_per_minute, AsyncLimiter(1, 60.0 / requests_per_minute))
            self._limiters[lane] = known
        await known[1].acquire()
