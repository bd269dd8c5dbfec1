"""A server's token bucket: continuous refill, and outflows spread over time.

Output tokens are charged as they are generated: an answer is an outflow from its first token to
its last. Another program takes a share of the refill. The level is exact at every time; it may be
negative, since what is being generated is never refused.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass, field

SECONDS_PER_MINUTE = 60.0
_TINY = 1e-9


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A limit per minute, what it holds at most, and its level, true at time `at` (seconds).

    `windowed`: it is full again at every multiple of `burst_s`, and nothing drips in meanwhile.
    """

    per_minute: float
    burst_s: float
    level: float
    at: float = 0.0
    windowed: bool = False
    _outflow: float = 0.0
    _shared: float = 0.0
    _changes: list[tuple[float, float, float, float]] = field(default_factory=list)

    @property
    def capacity(self) -> float:
        """The capacity of the bucket: at least one."""
        return max(1.0, self.per_minute / SECONDS_PER_MINUTE * self.burst_s)

    @property
    def refill(self) -> float:
        """Refill per second."""
        if self.windowed:
            return 0.0
        return self.per_minute / SECONDS_PER_MINUTE

    def advance(self, now: float) -> float:
        """Bring the level up to `now` and return it. Time never runs backwards here."""
        if self.windowed and now // self.burst_s != self.at // self.burst_s:
            self.level = self.capacity
        while self._changes and self._changes[0][0] <= now:
            at, outflow, amount, shared = heapq.heappop(self._changes)
            self._step(at)
            self._outflow += outflow
            self._shared += shared
            self.level -= amount
        self._step(now)
        return self.level

    def _step(self, to: float) -> None:
        if to > self.at:
            net = self.refill * (1.0 - self._shared) - self._outflow
            self.level = min(self.capacity, self.level + net * (to - self.at))
            self.at = to

    def spend(self, amount: float, now: float) -> None:
        """Take `amount` at `now`; the level may become negative."""
        self.advance(now)
        self.level -= amount

    def drain(self, amount: float, *, start: float, end: float) -> None:
        """Take `amount` evenly between two times that are not in the past."""
        if end <= start:
            heapq.heappush(self._changes, (end, 0.0, amount, 0.0))
            return
        per_second = amount / (end - start)
        heapq.heappush(self._changes, (start, per_second, 0.0, 0.0))
        heapq.heappush(self._changes, (end, -per_second, 0.0, 0.0))

    def share(self, share: float, *, start: float, end: float) -> None:
        """Give a share of the refill to another program for a time; `end` may be infinite."""
        heapq.heappush(self._changes, (start, 0.0, 0.0, share))
        if end < math.inf:
            heapq.heappush(self._changes, (end, 0.0, 0.0, -share))

    def wait_s(self, amount: float, now: float) -> float:
        """Return the seconds until `amount` is available; 0 if it is.

        More than the capacity is there when the bucket is full: late rather than never.
        """
        missing = min(amount, self.capacity) - self.advance(now)
        if missing <= _TINY:
            return 0.0
        if self.windowed:
            return self.full_in_s(now)
        return missing / (self.refill * max(_TINY, 1.0 - self._shared))

    def full_in_s(self, now: float) -> float:
        """Return the seconds of refill until the bucket is full."""
        if self.windowed:
            return self.burst_s - now % self.burst_s
        return max(0.0, self.capacity - self.advance(now)) / self.refill

    def change(self, per_minute: float, now: float) -> None:
        """Apply a new limit from `now` on; the level is kept, up to the new capacity."""
        self.advance(now)
        self.per_minute = per_minute
        self.level = min(self.level, self.capacity)
