"""Recognizes a server that counts per minute of its clock, by the second at which it opens."""

from __future__ import annotations

import math
from dataclasses import dataclass

MINUTE_S = 60.0

_ROUGH_S = 1.0
"""An opening known to the second is waited for; one known less well is also tried halfway."""

_LATE_S = 0.1
"""Seconds added to an opening: the server's clock may be a little behind."""


@dataclass(slots=True)
class MinuteWindow:
    """`_opens`: a time at which it was still shut, and one at which it was open, a minute apart."""

    _opens: tuple[float, float] | None = None
    _due: list[float] | None = None

    def record_opening(self, shut_at: float, open_at: float) -> None:
        """Narrow down when it opens: after `shut_at`, and not after `open_at`."""
        self._due = None
        if self._opens is not None:
            shift = round((open_at - self._opens[1]) / MINUTE_S) * MINUTE_S
            low, high = self._opens[0] + shift, self._opens[1] + shift
            if low <= open_at and shut_at <= high:
                shut_at, open_at = max(low, shut_at), min(high, open_at)
        self._opens = shut_at, open_at

    def forget_tries(self) -> None:
        """Begin to wait for an opening."""
        self._due = None

    def next_try(self, now: float) -> float | None:
        """Return when it may be open: halfway through what is known, then at its end.

        None: nothing is known, or it was still shut then, so that this is no such server.
        """
        if self._opens is None:
            return None
        if self._due is None:
            low, high = self._opens
            ahead = math.ceil((now - high) / MINUTE_S) * MINUTE_S
            self._due = [(low + high) / 2 + ahead] if high - low > _ROUGH_S else []
            self._due.append(high + ahead + _LATE_S)
        while self._due:
            at = self._due.pop(0)
            if at > now:
                return at
        self._opens = None
        return None
