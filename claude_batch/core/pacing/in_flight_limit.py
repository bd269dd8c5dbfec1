"""Finds a limit on requests in flight from 429s: most requests above it are refused, none below.

A rate limit looks like one for a moment, since launches that are refused also raise the number in
flight. So a limit is believed only after many requests on both sides of it, and tried again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

_SEEN = 8
"""A limit is believed after this many refusals above it, and as many launches below it."""

_MOST = 0.7
"""The least share of refusals among launches above a limit: a rate limit has fewer."""

_SMALLEST = 3
"""No smaller limit is believed: with so few in flight, it looks like a rate limit."""

_TRIED = 6
"""Launches above a known limit that show whether it still holds."""

_FIRST_TRY_S, _LONGEST_TRY_S = 3.0, 60.0
"""Seconds until more is tried than the limit found; doubled each time it turns out to hold."""

_WRONG = 3
"""This many refusals below a supposed limit show that there is none."""

_NOT_AGAIN_S = 60.0
"""A limit that was none is not believed again for this long, in seconds."""


@dataclass(slots=True)
class InFlightLimit:
    """`limit` is what may be in flight now: the limit found, or more to see whether it holds.

    `_least` is the smallest number in flight at which a request was refused; `_above` and
    `_refused` count launches and refusals from there on, `_below` the launches with fewer.
    """

    limit: int | None = None
    _found: int = 0
    _least: int | None = None
    _above: int = 0
    _refused: int = 0
    _below: int = 0
    _wrong: int = 0
    _step: int = 1
    _try_s: float = _FIRST_TRY_S
    _try_at: float = math.inf
    _not_before: float = -math.inf

    def is_full(self, in_flight: int) -> bool:
        """Return whether no more may be in flight."""
        return self.limit is not None and in_flight >= self.limit

    def record_launch(self, in_flight: int, now: float) -> None:
        """Count a launch; `in_flight` includes it."""
        if self.limit is not None:
            self._try_more(self.limit, in_flight, now)
        elif self._least is not None and in_flight < self._least:
            self._below += 1
        elif self._least is not None:
            self._above += 1
            if self._above > 2 * self._refused + _SEEN:  # most are accepted after all
                self._least = None

    def _try_more(self, limit: int, in_flight: int, now: float) -> None:
        """Allow a little more from time to time, and ever more while it is accepted."""
        self._above += in_flight > self._found
        if now < self._try_at:
            return
        if self._found == limit:
            self.limit = limit + self._step
            self._step *= 2
            self._above = self._refused = 0
            self._try_at = now + _FIRST_TRY_S
        elif self._above >= _TRIED:
            self._found = limit
            self._try_at = now

    def record_429(self, in_flight: int, now: float) -> bool:
        """Record a 429; return whether the number in flight explains it."""
        if self.limit is not None:
            return self._record_429_of_known(in_flight, now)
        if self._least is None:
            self._least, self._above, self._below, self._refused = in_flight, 1, 0, 1
        else:
            self._refused += 1
            if in_flight < self._least:
                self._least = in_flight
                self._above, self._below = self._above + self._below, 0
        if (
            min(self._refused, self._below) < _SEEN
            or self._refused < _MOST * self._above
            or self._least <= _SMALLEST
            or now < self._not_before
        ):
            return False
        self.limit = self._found = self._least - 1
        self._wrong, self._step, self._try_at = 0, 1, now + self._try_s
        return True

    def _record_429_of_known(self, in_flight: int, now: float) -> bool:
        if in_flight <= self._found:
            self._wrong += 1
            if self._wrong >= _WRONG:
                self.limit = self._least = None
                self._not_before = now + _NOT_AGAIN_S
            return False
        self._refused += 1
        if self._refused >= _TRIED / 2 and self.limit != self._found:
            self.limit, self._step = self._found, 1
            self._try_s = min(_LONGEST_TRY_S, 2.0 * self._try_s)
            self._try_at = now + self._try_s
        return True
