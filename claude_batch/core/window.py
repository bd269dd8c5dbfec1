"""How many attempts of a lane may be in flight: slow start, additive increase, one cut an episode.

With rate headers the buckets bind and the window only has to be wide enough (rate x latency);
without them it is what paces. After: Jacobson, "Congestion Avoidance and Control", 1988.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

FIRST_WINDOW = 16.0
_USED = 0.8
_CUT = 0.5


@dataclass(slots=True, kw_only=True)
class Window:
    """The number of attempts a lane may have in flight, between 1 and `most`."""

    most: int
    size: float = FIRST_WINDOW
    threshold: float = math.inf
    cut_at: float = -math.inf

    def __post_init__(self) -> None:
        self.size = min(self.size, float(self.most))

    @property
    def limit(self) -> int:
        """Attempts that may be in flight now."""
        return max(1, int(self.size))

    def succeeded(self, in_flight: int) -> None:
        """Grow if the window was really used: one a reply, past the last cut one a round trip."""
        if in_flight < self.size * _USED:
            return
        growth = 1.0 if self.size < self.threshold else 1.0 / self.size
        self.size = min(float(self.most), self.size + growth)

    def cut(self, *, launched_at: float, now: float) -> None:
        """Halve, once an episode: an attempt launched before the last cut cuts nothing more.

        The threshold stays where the first cut of a long outage put it, so that slow start
        brings the lane back quickly once the outage is over.
        """
        if launched_at <= self.cut_at:
            return
        if math.isinf(self.threshold) or self.size > self.threshold:
            self.threshold = max(2.0, self.size * _CUT)
        self.cut_at = now
        self.size = max(1.0, self.size * _CUT)
