"""Counts 429s that come whatever the rate is, as some relays send them.

They are counted while launches are well below what the server takes, so that none is due to a
limit. Their share is then expected at any rate, and only more than that means a limit.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from claude_batch.core.pacing.recent_requests import RecentRequests

_COUNTED = 60
"""Launches per count: a few seconds' worth in a lane of 10 per second."""

_REMEMBERED = 300
"""Launches of earlier counts that still count: with them the share is known within 2 %."""

_RARE = 0.01
"""A smaller share than this is none."""

_WINDOW_S, _MOST = 20.0, 1_000
"""The share of refusals is measured over this many seconds, and this many launches at most."""

_FEWEST = 20
"""Fewer launches than this say nothing."""

_TOLERATED = 0.015
"""More refusals than expected, as a share of launches, that are put up with."""


@dataclass(slots=True)
class RandomRefusals:
    """`share` is their share of all launches; 0 while there are none."""

    share: float = 0.0
    _refused: float = 0.0
    _launched: float = 0.0
    _from: tuple[int, int] | None = None

    @property
    def is_counting(self) -> bool:
        """Whether the rate must stay as it is for now."""
        return self._from is not None

    def begin(self, requests: RecentRequests) -> None:
        """Count from now on."""
        self._from = requests.launched, requests.refused

    def cancel(self) -> None:
        """Discard a count: the refusals had another cause."""
        self._from = None

    def finish(self, requests: RecentRequests) -> bool:
        """Return whether enough has been counted, and learn the share from it."""
        if self._from is None or requests.launched - self._from[0] < _COUNTED:
            return False
        kept = min(1.0, _REMEMBERED / max(1.0, self._launched)) if self.share else 0.0
        self._launched = kept * self._launched + requests.launched - self._from[0]
        self._refused = kept * self._refused + requests.refused - self._from[1]
        self._from = None
        share = self._refused / self._launched
        self.share = share if share >= _RARE else 0.0
        return True

    def exceeded_since(self, at: float, requests: RecentRequests, now: float) -> float | None:
        """Return since when more was refused than expected, by more than chance; None if not.

        What was launched before `at`, at another rate, does not count.
        """
        since = requests.at_most(_MOST, max(at, now - _WINDOW_S))
        launched = requests.launched_since(since)
        expected = self.share * launched
        most = expected + math.sqrt(expected) + _TOLERATED * launched
        exceeded = launched >= _FEWEST and requests.refused_since(since) > most
        return since if exceeded else None
