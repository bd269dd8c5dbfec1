"""Finds the rate that a server accepts from its 429s alone, where no header reports a limit.

The evidence is what the server accepted. When it refuses several launches in a row it is
exhausted: what it took between two such moments is what it allows in that time, whether it keeps a
token bucket or a fixed window. While it takes nothing it is only shut, which says nothing about
its rate. Launches are paced just below the rate found; the rate then grows, slowly at first and
ever faster, until the server refuses again.

Files beside this one recognize other causes of refusals: a limit on requests in flight
(`in_flight_limit`), refusals at random (`random_refusals`). A server that counts per minute of its
clock is not asked before its minute is over (`minute_window`).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from claude_batch.core.pacing.bucket import Pace
from claude_batch.core.pacing.in_flight_limit import InFlightLimit
from claude_batch.core.pacing.minute_window import MINUTE_S, MinuteWindow
from claude_batch.core.pacing.random_refusals import RandomRefusals
from claude_batch.core.pacing.recent_requests import RecentRequests

_RATE_FACTOR = 0.98
"""Launch rate as a share of the rate found: a little below it, so that 429s stay rare."""

_SINGLE_CUT = 0.97
"""Factor on the launch rate after a single refusal among accepted requests."""

_DOUBTFUL = 0.85
"""Below this share of the rate found, refusals may be random: it was accepted before."""

_COUNTING = 0.93
"""Random refusals are counted at this share of the rate found: certainly below the limit."""

_MOST_RANDOM, _SAMPLE = 0.4, 6
"""The largest share of random refusals; the number of refusals it is measured over."""

_IN_A_ROW, _ONCE_IN = 3, 1e-5
"""Refusals in a row that mean the server is exhausted; more where such a row of single refusals
is not as improbable as this."""

_SINGLES_OF = 100
"""The share of single refusals is taken from this many launches."""

_LEAST_SHARE, _RAMP_SHARE = 0.01, 0.1
"""The share assumed at least; and at most while the rate is ramped up, when refusals are due."""

_FIRST_FEW = 6
"""Each of the first refusals of all holds launches back for as long as it took to come back:
if the server is exhausted, those sent in the meantime would be refused, too."""

_SPREAD, _SPREAD_OVER = 8, 2
"""So many launches after that are spread, this many over the same time."""

_FIRST_PROBE_S, _MAX_PROBE_S = 0.5, 6.0
"""Seconds between probes while the server is shut: doubled from the first to the second."""

_LONG_WAIT_S = 5.0
"""A server that asks for a longer wait than this, in seconds, is shut: one 429 is enough."""

_LONG_SHUT_S = 2.0
"""A server that was shut for longer than this, in seconds, may count per minute."""

_GROWTH_PER_S, _MAX_GROWTH_PER_S = 0.001, 0.04
"""Growth of the rate per second right after a refusal, and at most."""

_GROWTH_DOUBLES_IN_S, _GROWTH_DOUBLES_IN, _SLOWEST_S = 8.0, 20.0, 30.0
"""Growth doubles in this many seconds, and in no fewer launches than this, since in a slow lane a
single refusal weighs much; but within this many seconds in any lane."""

_GROWTH_AMONG_RANDOM_PER_S, _AMONG_RANDOM_DOUBLES_IN_S = 0.0015, 15.0
"""The same among random refusals, where it takes longer to see that a rate is too high."""

_FAST_START_S = 3 * _GROWTH_DOUBLES_IN_S
"""The first rate measured is rough: growth begins as if no refusal had come for this long."""

_RAMP_PER_LAUNCH = 1.25
"""Where the rate is unknown it doubles every second, but grows per launch by this at most."""

_RAMP_OVER, _RAMP_OVER_SHARE = 8, 0.6
"""The ramp has overshot when this many launches were refused, and this share of them."""

_RECENT_S = 10.0
"""What was taken in these last seconds counts, too: a rate that grew is above its average."""

_SURE = 20
"""A rate found from fewer requests than this is a rough measure."""

_ROUGH_CUT = 0.5
"""A rough measure cuts the rate by no more than this factor."""


@dataclass(slots=True)
class RateFinder:
    """Paces a lane without reported limits; `per_s` is None until a rate has been found.

    `_found` is the rate of accepted requests last measured. `_exhausted` holds when the server was
    exhausted, and what it had taken until then; `_opened` is the same for when it opened again.
    """

    per_s: float | None = None
    crowd: InFlightLimit = field(default_factory=InFlightLimit)
    _requests: RecentRequests = field(default_factory=RecentRequests)
    _random: RandomRefusals = field(default_factory=RandomRefusals)
    _minute: MinuteWindow = field(default_factory=MinuteWindow)
    _pace: Pace = field(default_factory=Pace)
    _found: float = math.inf
    _sure: bool = False
    _ramping: bool = False
    _grown_at: float = 0.0
    _calm_since: float = 0.0
    _singles: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _exhausted: deque[tuple[float, int]] = field(default_factory=deque)
    _exhausted_at: float = -math.inf
    _opened: tuple[float, int] | None = None
    _rough: bool = False
    _spread: int = 0
    _spread_s: float = 0.0
    _shut: bool = False
    _held_until: float = -math.inf
    _decided_at: float = -math.inf
    _probes: int = 0
    _probed_at: float = -math.inf

    def ready_at(self, now: float) -> float:
        """Return when the next request may be launched; infinity: not before a probe returns."""
        if self._held_until > now:
            return self._held_until
        return now if self.per_s is None else max(now, self._pace.next_at)

    def record_launch(self, in_flight: int, now: float) -> None:
        """Count a launch; `in_flight` includes it."""
        self.crowd.record_launch(in_flight, now)
        self._requests.record_launch(now)
        if self._shut:
            self._held_until = math.inf  # one probe at a time
        elif self.per_s is not None:
            if self._random.is_counting:
                self._finish_count(now)
            self._grow(self.per_s, now)
            if self.per_s is not None:
                self._pace.spend(1.0, self.per_s, now)
        elif self._spread:
            self._spread -= 1
            self._held_until = now + self._spread_s

    def _grow(self, per_s: float, now: float) -> None:
        """Raise the rate, unless something else than the rate holds launches back."""
        passed_s = min(1.0, max(0.0, now - self._grown_at))
        self._grown_at = now
        late_s = now - self._pace.next_at
        if self._random.is_counting or late_s > max(0.1, 1.0 / per_s):
            if self._ramping and late_s > 1.0:
                self.per_s, self._ramping = None, False  # the server takes all there is
            return
        if self._ramping:
            self.per_s = per_s * min(_RAMP_PER_LAUNCH, 2.0**passed_s)
            return
        growth = _GROWTH_PER_S
        doubles_in_s = min(_SLOWEST_S, max(_GROWTH_DOUBLES_IN_S, _GROWTH_DOUBLES_IN / per_s))
        if self._random.share:
            growth, doubles_in_s = _GROWTH_AMONG_RANDOM_PER_S, _AMONG_RANDOM_DOUBLES_IN_S
        doublings = min(10.0, max(0.0, now - self._calm_since) / doubles_in_s)
        self.per_s = per_s * (1.0 + min(_MAX_GROWTH_PER_S, growth * 2.0**doublings) * passed_s)

    def record_reply(self, launched_at: float, now: float) -> None:
        """Record that a request was accepted."""
        if self._shut and launched_at > self._decided_at:
            self._open(launched_at, now)

    def record_failure(self, launched_at: float, now: float) -> None:
        """Record that a request failed otherwise: if it was a probe, the next one may go."""
        if self._shut and launched_at > self._decided_at:
            self._held_until = now

    def record_429(
        self, launched_at: float, in_flight: int, now: float, *, wait_s: float | None
    ) -> bool:
        """Learn from a 429 that asked for `wait_s`; return whether the server is shut."""
        self._requests.record_429(launched_at)
        crowded = self.crowd.record_429(in_flight, now)
        if launched_at <= self._decided_at:
            return self._shut
        if not self._shut:
            if crowded:
                self._singles.clear()
                return False
            self._singles.append(launched_at)
            row = self._requests.latest_row(list(self._singles))
            asked_long = wait_s is not None and wait_s > _LONG_WAIT_S
            in_a_row = len(row) >= self._row_needed(len(row))
            if not in_a_row and not asked_long and not self._is_exhausted_by_single(now):
                self._hold_first_few(launched_at, now)
                return False
            self._exhaust(row, now)
        else:
            self._probes += 1
        self._probed_at = launched_at
        self._wait(now, wait_s)
        return True

    def reset_span(self) -> None:
        """Forget when the server was exhausted: it is not known what it has saved since."""
        self._exhausted.clear()

    def _hold_first_few(self, launched_at: float, now: float) -> None:
        if self.per_s is None and self._requests.refused <= _FIRST_FEW:
            took_s = now - launched_at
            self._held_until = max(self._held_until, now + took_s)
            self._spread, self._spread_s = _SPREAD, took_s / _SPREAD_OVER

    def _row_needed(self, row: int) -> int:
        """Return the refusals in a row that are no chance, given how common single ones are."""
        since = self._requests.at_most(_SINGLES_OF, -math.inf)
        singles = sum(1 for each in self._singles if each >= since) - row
        launched = min(_SINGLES_OF, self._requests.launched)
        share = max(self._random.share, (singles + 1) / (launched + 10))  # 1 in 10 to begin with
        share = min(_RAMP_SHARE if self._ramping else _MOST_RANDOM, max(_LEAST_SHARE, share))
        return max(_IN_A_ROW, math.ceil(math.log(_ONCE_IN) / math.log(share)))

    def _is_exhausted_by_single(self, now: float) -> bool:
        """Slow down a little after one refusal among accepted requests, unless it is random.

        Returns whether there are too many of them, so that the rate must be measured again.
        """
        if self._ramping:
            return self._requests.share_of_last(_RAMP_OVER, self._decided_at) > _RAMP_OVER_SHARE
        if self.per_s is None or self._random.is_counting:
            return False
        if self._random.share:
            since = self._random.exceeded_since(self._calm_since, self._requests, now)
            if since is not None:
                taken_per_s = self._requests.taken_per_s(since, now)
                self._found = min(self.per_s, max(taken_per_s, _SINGLE_CUT * self._found))
                self._count(self.per_s)
            return False
        if self.per_s > _DOUBTFUL * self._found:
            self.per_s *= _SINGLE_CUT
            self._calm_since = self._grown_at = now
            return False
        if not self._sure or self._requests.share_of_last(_SAMPLE, -math.inf) > _MOST_RANDOM:
            return True
        self._count(self.per_s)
        return False

    def _count(self, per_s: float) -> None:
        """Count random refusals, at a rate that causes none."""
        self.per_s = min(per_s, _COUNTING * self._found)
        self._random.begin(self._requests)

    def _finish_count(self, now: float) -> None:
        if self._random.finish(self._requests):
            self._set(self._found, now)

    def _exhaust(self, row: list[float], now: float) -> None:
        """Measure the rate: what was taken since the server was last exhausted, or opened."""
        at = row[0]
        taken = self._requests.taken_before(at)
        rate = self._measure(at, taken)
        self._exhausted.append((at, taken))
        self._exhausted_at = at
        if self._ramping:
            self._singles.clear()
        else:
            self._singles = deque((each for each in self._singles if each < at), maxlen=64)
        self._random.cancel()
        self._opened = None
        self._minute.forget_tries()
        self._rough = self._ramping
        self._shut, self._probes, self._ramping = True, 0, False
        if rate:
            self._set(rate, now)

    def _measure(self, at: float, taken: int) -> float:
        """Return the rate that the server allows, 0 if there is nothing to take it from."""
        rate = 0.0
        past = self._exhausted
        while len(past) > 1 and taken - past[1][1] >= _SURE:
            past.popleft()
        if past and at > past[0][0] and taken > past[0][1]:
            since, count = past[0][0], taken - past[0][1]
            rate = count / (at - since)
            self._sure = count >= _SURE
            if not self._sure and not self._ramping and self.per_s is not None:
                rate = max(rate, _ROUGH_CUT * self.per_s)
            if at - since > _RECENT_S:
                rate = max(rate, self._requests.taken_per_s(at - _RECENT_S, at))
        if self._opened is not None and at - self._opened[0] < MINUTE_S:
            rate = max(rate, (taken - self._opened[1]) / MINUTE_S)
        return rate

    def _set(self, rate: float, now: float) -> None:
        """Launch at a rate of accepted requests."""
        self._found = rate
        self.per_s = _RATE_FACTOR * rate / (1.0 - self._random.share)
        self._grown_at = self._calm_since = now

    def _wait(self, now: float, wait_s: float | None) -> None:
        """Stay shut: for the time asked for, until a known window opens, or for the next probe."""
        self._decided_at = now
        if not wait_s and (wait_s is None or self._probes):  # 0 means now, but not for ever
            wait_s = min(_MAX_PROBE_S, _FIRST_PROBE_S * 2.0 ** min(10, self._probes))
            opens_at = self._minute.next_try(now) if self._probes else None
            if opens_at is not None:
                wait_s = opens_at - now
        self._held_until = now + wait_s

    def _open(self, launched_at: float, now: float) -> None:
        """Resume: the server takes requests again."""
        self._shut, self._held_until = False, -math.inf
        shut_s = launched_at - self._exhausted_at
        taken = self._requests.taken_before(launched_at)
        if shut_s > _LONG_SHUT_S:
            self._minute.record_opening(self._probed_at, launched_at)
            self._opened = launched_at, taken
        if self.per_s is None:
            self._set_first_rate(shut_s, taken, now)
        self._grown_at = self._calm_since = self._pace.next_at = now
        if self._rough:
            self._calm_since -= _FAST_START_S

    def _set_first_rate(self, shut_s: float, taken: int, now: float) -> None:
        """Begin with the least rate that explains what was seen; ramp it up if that is little."""
        rate = max(taken / MINUTE_S, 1.0 / max(shut_s, _FIRST_PROBE_S))
        at = self._exhausted_at
        self._sure = shut_s <= _LONG_SHUT_S and self._requests.first_at < at - _RECENT_S
        if self._sure:
            rate = max(rate, self._requests.taken_per_s(at - _RECENT_S, at))
        self._set(rate, now)
        self._rough = not self._sure
        self._ramping = shut_s <= _LONG_WAIT_S and not self._sure
        if self._ramping:
            self._found = math.inf
