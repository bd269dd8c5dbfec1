"""How many attempts of a lane may be in flight.

Where limits are known, buckets pace the launches and the window only has to be wide enough: twice
what rate x latency (Little's law) puts in flight. Where no limits are known, the window itself
paces: slow start, additive increase, one cut per episode. After Jacobson, "Congestion Avoidance
and Control", 1988; growth after a cut follows Ha, Rhee, Xu, "CUBIC", 2008.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

FIRST_WINDOW = 16.0
"""Attempts in flight to begin with."""

_USED_SHARE = 0.8
"""The window grows only while at least this share of it is in flight: else it is not tested."""

_CUT = 0.5
"""Factor on the window at a cut."""

EPISODE_S = 10.0
"""Cuts less than this many seconds apart belong to one episode."""

COLD_START = 8
"""Attempts launched at once before anything has been answered, where nothing else paces."""

COLD_PER_S = 20.0
"""Further attempts per second before the first answer; the rate doubles each second."""

MAX_COLD = 128
"""The most in flight before the first answer."""

_SLOWED = 3.0
"""Replies this many times slower than at best mean that more in flight would only queue up."""

_LATENCY_WEIGHT = 0.05
"""Weight of the latest reply in the mean latency: about the last 20 replies count."""

_LATENCY_SAMPLES = 10
"""Replies before the mean latency is a measure at all."""

_LATENCY_DRIFT = 0.002
"""Share by which each reply moves the best latency towards the mean: other prompts may follow."""

_RECOVERY_SHARE = 16
"""With known limits, a window is back after at most about this many round trips."""


@dataclass(slots=True)
class _Latency:
    """Mean and best latency of replies, in seconds."""

    mean_s: float = 0.0
    best_s: float = math.inf
    count: int = 0

    def add(self, latency_s: float) -> None:
        self.count += 1
        weight = max(_LATENCY_WEIGHT, 1.0 / self.count)
        self.mean_s += (latency_s - self.mean_s) * weight
        if self.count >= _LATENCY_SAMPLES:
            drifted = self.best_s + (self.mean_s - self.best_s) * _LATENCY_DRIFT
            self.best_s = min(self.mean_s, drifted if self.count > _LATENCY_SAMPLES else math.inf)

    @property
    def has_slowed(self) -> bool:
        return self.mean_s > self.best_s * _SLOWED


@dataclass(slots=True, kw_only=True)
class Window:
    """The number of attempts a lane may have in flight, between 1 and `maximum`.

    Below `threshold` it grows by slow start. `before_cut` is what was in flight when the present
    episode of cuts began. `has_response`: whether anything has been answered yet. `share` is our
    part of a lane that other programs use, too: until then, launches are that much fewer.
    """

    maximum: int
    size: float = FIRST_WINDOW
    threshold: float = math.inf
    before_cut: float = 0.0
    cut_at: float = -math.inf
    cold_since: float | None = None
    has_response: bool = False
    share: float = 1.0
    _latency: _Latency = field(default_factory=_Latency)

    def __post_init__(self) -> None:
        self.size = min(self.size, float(self.maximum))

    @property
    def limit(self) -> int:
        """Attempts that may be in flight once anything has been answered."""
        return max(1, int(self.size))

    def room_at(self, in_flight: int, now: float, *, paced: bool) -> float | None:
        """Return when one more may be in flight; None: not before an attempt ends.

        `paced`: known limits spread the launches; until the first answer only they do.
        """
        if self.has_response:
            return now if in_flight < self.size or not in_flight else None
        if paced:
            return now if in_flight < self.maximum else None
        if in_flight >= min(max(1.0, MAX_COLD * self.share), self.maximum):
            return None
        if self.cold_since is None:
            self.cold_since = now
        # launches at COLD_PER_S * 2^t reach this number after log2(1 + waves) seconds
        waves = max(0.0, in_flight + 1 - COLD_START * self.share) * math.log(2.0)
        waves /= COLD_PER_S * self.share
        return max(now, self.cold_since + math.log2(1.0 + waves))

    def is_full(self, in_flight: int) -> bool:
        """Return whether nothing more may be in flight until an attempt ends."""
        return in_flight >= (self.size if self.has_response else self.maximum)

    @property
    def mean_latency_s(self) -> float:
        """The mean latency of replies, in seconds; 0 before the first."""
        return self._latency.mean_s

    def record_success(self, in_flight: int, latency_s: float, *, paced: bool) -> None:
        """Grow if the window was used, and more in flight still helps."""
        self.has_response = True
        self._latency.add(latency_s)
        if self._latency.has_slowed:
            return
        if paced and math.isinf(self.threshold):
            self.size = min(float(self.maximum), max(self.size, 2.0 * in_flight))
            return
        if in_flight < self.size * _USED_SHARE:
            return
        growth = 1.0
        if self.size >= self.threshold:
            least = self.before_cut / _RECOVERY_SHARE if paced else 1.0
            growth = max(1.0, (self.before_cut - self.size) / 4, least) / self.size
        self.size = min(float(self.maximum), self.size + growth)
        if paced and self.size >= self.before_cut:
            self.threshold = math.inf

    def cut(self, in_flight: int, *, launched_at: float, now: float) -> None:
        """Halve the window, unless the attempt that failed was launched before the last cut.

        The threshold stays where the first cut of a long outage put it, so that slow start
        restores the window quickly when the outage ends.
        """
        self.has_response = True
        if launched_at <= self.cut_at:
            return
        used = min(self.size, float(max(in_flight, 1)))
        if now - self.cut_at > EPISODE_S or used > self.before_cut:
            self.before_cut = used
        self.threshold = max(2.0, self.before_cut * _CUT)
        self.cut_at = now
        self.size = max(1.0, used * _CUT)

    def restart(self) -> None:
        """Allow at least as many as at the beginning."""
        self.size = max(self.size, min(FIRST_WINDOW, float(self.maximum)))

    def resize(self, maximum: int) -> None:
        """Allow another number of attempts in flight at most; a window that was full doubles."""
        if self.size >= self.maximum:
            self.size *= 2.0
        self.maximum = maximum
        self.size = min(self.size, float(maximum))

    def reopen(self, *, paced: bool) -> None:
        """Restore half of what was in flight before an outage.

        Where nothing else spreads launches, only as many at once as used to go in a second.
        """
        share = _CUT if paced else min(_CUT, 1.0 / max(self._latency.mean_s, 1e-3))
        self.size = max(self.size, min(float(self.maximum), self.before_cut * share))
