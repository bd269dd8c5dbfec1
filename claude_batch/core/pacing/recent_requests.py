"""What a lane has sent lately and what was refused of it, in order of launch.

Refusals return at once and replies take their time, so what was taken is counted by launches:
launches minus refusals.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import deque
from dataclasses import dataclass, field

_LAUNCHES = 4096
"""Launches remembered: ten seconds' worth in a fast lane."""

_REFUSALS = 1024
"""Refusals remembered: more are never looked at."""


@dataclass(slots=True)
class RecentRequests:
    """Launch times of requests and of refused ones; `launched` and `refused` count them all."""

    launched: int = 0
    refused: int = 0
    _launches: deque[float] = field(default_factory=lambda: deque(maxlen=_LAUNCHES))
    _refusals: deque[float] = field(default_factory=lambda: deque(maxlen=_REFUSALS))

    def record_launch(self, now: float) -> None:
        """Count a launch."""
        self.launched += 1
        self._launches.append(now)

    def record_429(self, launched_at: float) -> None:
        """Count a refusal."""
        self.refused += 1
        self._refusals.append(launched_at)

    @property
    def first_at(self) -> float:
        """The time of the earliest launch that is remembered."""
        return self._launches[0]

    def at_most(self, count: int, since: float) -> float:
        """Return the time from which on at most `count` were launched, not before `since`."""
        if len(self._launches) > count:
            return max(since, self._launches[-count])
        return since

    def launched_since(self, at: float) -> int:
        """Return how many were launched from `at` on."""
        return len(self._launches) - bisect_left(self._launches, at)

    def refused_since(self, at: float) -> int:
        """Return how many of those launched from `at` on were refused."""
        return sum(1 for each in self._refusals if each >= at)

    def taken_before(self, at: float) -> int:
        """Return how many of those launched before `at` were not refused."""
        refused = self.refused - self.refused_since(at)
        return self.launched - self.launched_since(at) - refused

    def taken_per_s(self, since: float, until: float) -> float:
        """Return how many were taken per second of those launched within a span of time."""
        taken = self.taken_before(until) - self.taken_before(since)
        return taken / max(1e-3, until - since)

    def share_of_last(self, refusals: int, since: float) -> float:
        """Return the share of refusals among launches over the last `refusals` after `since`.

        0 where there are fewer.
        """
        times = sorted(each for each in self._refusals if each > since)[-refusals:]
        if len(times) < refusals:
            return 0.0
        launches = self._launches
        return refusals / (bisect_right(launches, times[-1]) - bisect_left(launches, times[0]))

    def latest_row(self, refusals: list[float]) -> list[float]:
        """Return the latest of some refusals that were launched in a row.

        Of several launched at the same time, the refused ones count as the latest.
        """
        times = sorted(refusals)
        launches = self._launches
        last = bisect_right(launches, times[-1])
        first = bisect_left(times, times[-1])
        while first:
            at = times[first - 1]
            if last - bisect_right(launches, at) != len(times) - first:
                break
            first = bisect_left(times, at)
        return times[first:]
