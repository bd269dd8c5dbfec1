"""Dead connections: an endpoint from which nothing is heard any more.

A network that forgets its connections reports nothing: what is in flight stays silent until its
deadline, which can be minutes away. So once far more is missing than chance explains, requests are
sent outside the window, on new connections. When one of these probes is answered, what is older and
still silent holds nothing back any more; a little later it is given up and sent again.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from claude_batch.core.scheduling.lane import Attempt

_LEAST_S = 5.0
"""A shorter silence means nothing, in seconds. By then no connection is idle: a probe opens one."""

_MISSING = 20.0
"""A silence is suspicious once this many replies are overdue ..."""

_MEANS = 5.0
"""... or once it has lasted this many times the mean latency ..."""

_OVERDUE = 1.5
"""... if half of what is in flight is older than this many times the mean latency."""

_CHECK_S = 1.0
"""Seconds between two looks at a silence that is not suspicious yet, or cannot be probed now."""

_PROBE_S, _LONGEST_PROBE_S = 2.0, 10.0
"""Seconds from the first probe to the second; they double with each one, up to the longest."""

_GRACE_S = 10.0
"""Seconds that silent attempts have left once a probe was answered: a network that was only away
delivers late what it has held back."""

_MANY = 8
"""That a probe overtakes this many older attempts is no coincidence."""

_SLOWEST = 2.0
"""Of many, an attempt is given up at this many times the latency of the slowest reply ..."""

_LONGEST = 3.0
"""... of a few, or the second time, at this many times what `max_tokens` of output would take."""

_LONG_TOKENS = 20_000
"""Longer answers are streamed; the transport notices itself when a stream is silent."""

_SAMPLES = 20
"""Replies before the slowest of them is a measure."""

_WEIGHT, _FADE = 0.05, 0.999
"""Weight of the latest reply in the means; factor on the slowest latency with each reply."""


@dataclass(slots=True, kw_only=True, eq=False)
class Silence:
    """What is in flight to one endpoint, oldest first, and whether anything is heard from there.

    `heard_at`: when something was heard last, or what is in flight began. `is_probing`: attempts
    are launched only to see if the endpoint is there; `_doubted` were in flight when that began.
    `released` are those of them that were still silent when a probe was answered: they hold nothing
    back any more.
    """

    heard_at: float = -math.inf
    is_probing: bool = False
    released: dict[Attempt, None] = field(default_factory=dict)
    _in_flight: dict[Attempt, None] = field(default_factory=dict)
    _doubted: dict[Attempt, None] = field(default_factory=dict)
    _look_at: float = -math.inf
    _wait_s: float = _PROBE_S
    _grace_until: float = -math.inf
    _overdue_at: float = math.inf
    _is_many: bool = False
    _replies: int = 0
    _mean_s: float = 0.0
    _mean_tokens: float = 0.0
    _slowest_s: float = 0.0

    @property
    def due_at(self) -> float:
        """When `needs_probe` and `overdue` should be asked again; inf: not before anything ends."""
        at = self._look_at
        if not self.is_probing:
            at = (
                max(at, self.heard_at + _LEAST_S) if self._in_flight and self._replies else math.inf
            )
        return min(at, self._overdue_at)

    def record_launch(self, attempt: Attempt, now: float) -> None:
        """Record that an attempt goes out."""
        if not self._in_flight and not self.is_probing:
            self.heard_at = now
        self._in_flight[attempt] = None

    def record_reply(self, attempt: Attempt, output_tokens: int, now: float) -> tuple[Attempt, ...]:
        """Record a reply and how long it took; return what is released by it."""
        latency_s = now - attempt.charge.at
        self._replies += 1
        weight = _WEIGHT if self._replies >= _SAMPLES else 1.0 / self._replies
        self._mean_s += (latency_s - self._mean_s) * weight
        self._mean_tokens += (output_tokens - self._mean_tokens) * weight
        self._slowest_s = max(latency_s, self._slowest_s * _FADE)
        if self.is_probing or self.released:
            return self.record_end(attempt, now, heard=True)
        self._in_flight.pop(attempt, None)
        self.heard_at = now
        return ()

    def record_end(self, attempt: Attempt, now: float, *, heard: bool) -> tuple[Attempt, ...]:
        """Record an attempt's end; return those that are released by it.

        `heard`: something has come from the endpoint.
        """
        is_new, was_released = attempt in self._in_flight, False
        if is_new:
            del self._in_flight[attempt]
        else:
            self._doubted.pop(attempt, None)
            was_released = attempt in self.released
            self.released.pop(attempt, None)
        if heard:
            self.heard_at = now
        if was_released and heard:  # the others may come, too
            self._give_time(now)
        if not self.is_probing or not heard:
            return ()
        self.is_probing = False
        doubted, self._doubted = self._doubted, {}
        if not is_new:  # they only take long
            self._in_flight = doubted | self._in_flight
            return ()
        hung = [each for each in self._in_flight if each.charge.at < attempt.charge.at]
        for each in hung:  # earlier probes
            doubted[each] = self._in_flight.pop(each)
        self._is_many = len(doubted) >= _MANY
        self.released |= doubted
        self._give_time(now)
        return tuple(doubted)

    def _give_time(self, now: float) -> None:
        self._grace_until = self._overdue_at = now + _GRACE_S

    def needs_probe(self, now: float) -> bool:
        """Return whether an attempt should go out now, outside the window."""
        if self.is_probing:
            return now >= self._look_at
        if not self._is_suspicious(now):
            self._look_at = now + _CHECK_S
            return False
        self.is_probing = True
        self._doubted, self._in_flight = self._in_flight, {}
        self._look_at, self._wait_s = now, _PROBE_S
        return True

    def _is_suspicious(self, now: float) -> bool:
        silent_s, in_flight = now - self.heard_at, len(self._in_flight)
        if silent_s < _LEAST_S or not in_flight or not self._replies:
            return False
        missing = in_flight * silent_s >= _MISSING * self._mean_s
        if not missing and silent_s < _MEANS * self._mean_s:
            return False
        launches = list(self._in_flight)
        return now - launches[in_flight // 2].charge.at >= _OVERDUE * self._mean_s

    def record_probe(self, now: float, *, sent: bool) -> None:
        """Record that a probe has been launched, or that none could be."""
        self._look_at = now + (self._wait_s if sent else _CHECK_S)
        if sent:
            self._wait_s = min(2 * self._wait_s, _LONGEST_PROBE_S)

    def overdue(self, now: float) -> Attempt | None:
        """Return a released attempt that is to be given up and sent again; None: none yet."""
        if now < self._overdue_at:
            return None
        self._overdue_at = math.inf
        for attempt in self.released:
            at = max(self._grace_until, self._dead_at(attempt))
            if at <= now:
                self._overdue_at = now
                return attempt
            self._overdue_at = min(self._overdue_at, at)
        return None

    def to_send_again(self, now: float) -> Attempt | None:
        """Return what is given up to be the probe, where no other request is left."""
        oldest = next(iter(self._doubted), None)
        self._is_many = len(self._doubted) >= _MANY
        return oldest if oldest is not None and self._dead_at(oldest) <= now else None

    def _dead_at(self, attempt: Attempt) -> float:
        """Return from when on an answer is not expected any more."""
        launched_at, job = attempt.charge.at, attempt.job
        max_tokens = job.request.max_tokens
        is_first = not job.given_up and max_tokens <= _LONG_TOKENS
        if self._is_many and is_first and self._replies >= _SAMPLES:
            return launched_at + max(_GRACE_S, _SLOWEST * self._slowest_s)
        if not self._mean_tokens:
            return math.inf  # its deadline ends it
        longest_s = max_tokens * self._mean_s / self._mean_tokens
        return launched_at + _LONGEST * max(_GRACE_S, self._slowest_s, longest_s)
