"""Local models of one limit per minute: a token bucket, evenly spaced launches, and a ceiling.

The bucket refills continuously, as the API describes its limits (docs/claude-api.md#rate-limits).
The API may enforce a limit per minute by the second, so `Pace` spreads launches evenly. It lets
late launches catch up: an event loop is always a little late, and a limiter that forgets lost
time stays below its rate for good.
`Pace` follows the virtual scheduling algorithm of ATM Forum, "Traffic Management Specification
4.1", 1999.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

SECONDS_PER_MINUTE = 60.0

CATCH_UP_S = 0.05
"""Launches late by up to this many seconds are made up for: an event loop is rarely later."""

CEILING_CATCH_UP_S = 0.02
"""The same for a user's ceiling, in seconds: less, since a ceiling is never to be exceeded."""

CEILING_WINDOW_S = 60.25
"""The window of a ceiling, in seconds: a minute, plus slack because arrivals are not launches."""


@dataclass(slots=True, kw_only=True)
class Bucket:
    """A token bucket: `level` was right at time `at` (seconds); `capacity` is its size.

    The level may be negative: a debt, when a reply used more than expected. `drained_per_s` is
    what other clients of the same limit use per second.
    """

    limit_per_minute: float
    capacity: float
    level: float
    at: float
    drained_per_s: float = 0.0

    @property
    def refill_per_s(self) -> float:
        """Units refilled per second, minus what others use."""
        return self.limit_per_minute / SECONDS_PER_MINUTE - self.drained_per_s

    def level_at(self, now: float) -> float:
        """Return the level at `now`; negative means a debt."""
        refilled = self.level + (now - self.at) * (
            self.limit_per_minute / SECONDS_PER_MINUTE - self.drained_per_s
        )
        return refilled if refilled < self.capacity else self.capacity

    def spend(self, amount: float, now: float) -> None:
        """Take `amount`, into debt if needed; a negative amount gives back."""
        level = self.level_at(now) - amount
        self.level = level if level < self.capacity else self.capacity
        self.at = now if now > self.at else self.at

    def seconds_until_full(self, now: float) -> float:
        """Return how long the bucket takes to fill if nothing more is spent."""
        missing = self.capacity - self.level_at(now)
        return missing * SECONDS_PER_MINUTE / self.limit_per_minute


@dataclass(slots=True, kw_only=True)
class Pace:
    """Spreads spending evenly: nothing may be spent before `next_at`."""

    catch_up_s: float = CATCH_UP_S
    next_at: float = -math.inf

    def spend(self, amount: float, per_s: float, now: float, *, from_surplus: bool = False) -> None:
        """Spend `amount` at `per_s` units per second, and move `next_at` accordingly.

        `from_surplus`: time that passed without spending already paid for this amount, so it
        delays the next one only as far as that time does not cover it.
        """
        takes_s = amount / per_s
        late_s = takes_s if from_surplus and takes_s > self.catch_up_s else self.catch_up_s
        earliest = now - late_s
        self.next_at = (earliest if earliest > self.next_at else self.next_at) + takes_s


@dataclass(slots=True, kw_only=True)
class Ceiling:
    """A limit the user sets: kept in every window of a minute, not only on average.

    Only what was spent after `since` counts: a limit may be set in the middle of a run. `_spent`
    holds (time when it leaves the window, amount), oldest first.
    """

    limit_per_minute: float
    since: float = -math.inf
    _spent: deque[tuple[float, float]] = field(default_factory=deque)
    _sum: float = 0.0
    _pace: Pace = field(default_factory=lambda: Pace(catch_up_s=CEILING_CATCH_UP_S))

    def ready_at(self, amount: float, now: float) -> float:
        """Return a time before which `amount` must not be spent; ask again at that time."""
        self._drop_expired(now)
        if self._pace.next_at > now:
            return self._pace.next_at
        remaining = self.limit_per_minute - self._sum
        if not self._spent or min(amount, self.limit_per_minute) <= remaining:
            return now
        return self._spent[0][0]

    def change(self, limit_per_minute: float, now: float) -> None:
        """Keep to another limit from now on.

        Under a lower one counting starts again: what was spent under the old one might exceed
        it, and nothing could be spent for up to a minute.
        """
        if limit_per_minute < self.limit_per_minute:
            self._spent.clear()
            self._sum = 0.0
            self.since = now
        self.limit_per_minute = limit_per_minute
        self._pace.next_at = min(self._pace.next_at, now)

    def remaining(self, now: float) -> float:
        """Return what may still be spent in the current window."""
        self._drop_expired(now)
        return self.limit_per_minute - self._sum

    def seconds_until_full(self, now: float) -> float:
        """Return the seconds until nothing spent so far counts any more."""
        self._drop_expired(now)
        return self._spent[-1][0] - now if self._spent else 0.0

    def spend(self, amount: float, now: float) -> None:
        """Spend `amount` now."""
        self._pace.spend(amount, self.limit_per_minute / SECONDS_PER_MINUTE, now)
        self._count(amount, now)

    def correct(self, amount: float, now: float) -> None:
        """Count `amount` more (or less, if negative) than was expected when it was spent.

        Launches already waited for what was reserved and not used, so the next may go sooner.
        """
        if amount < 0:
            self._pace.next_at += amount * SECONDS_PER_MINUTE / self.limit_per_minute
        self._count(amount, now)

    def _count(self, amount: float, now: float) -> None:
        if amount:
            self._spent.append((now + CEILING_WINDOW_S, amount))
            self._sum += amount

    def seconds_for(self, amount: float) -> float:
        """Return how long it takes to spend `amount`, if nothing was spent before."""
        minutes = amount / self.limit_per_minute
        return minutes * SECONDS_PER_MINUTE + math.floor(minutes) * (
            CEILING_WINDOW_S - SECONDS_PER_MINUTE
        )

    def _drop_expired(self, now: float) -> None:
        spent = self._spent
        while spent and spent[0][0] <= now:
            self._sum -= spent.popleft()[1]
        if not spent:
            self._sum = 0.0
