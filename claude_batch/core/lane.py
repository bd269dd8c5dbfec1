"""A lane: the requests of one limit group and model class, and when the next may be launched.

Strictly first come, first served: a request that is larger than what is left waits for its
bucket, and nothing passes it meanwhile. What drips in is not lost by that, since it is what the
large one will take; retries go before new requests, the oldest first.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from claude_batch.core.estimates import Estimates
from claude_batch.core.limits import NOTHING, Charge, Cost, LaneLimits
from claude_batch.core.model import Failure, FailureKind, Reply, Request
from claude_batch.core.retry import (
    EPISODES,
    FIRST_BACKOFF_S,
    LIMITED,
    MAX_BACKOFF_S,
    PROBE_BACKOFF_S,
    full_jitter,
    total_deadline_s,
)
from claude_batch.core.snapshot import LaneView
from claude_batch.core.window import Window

OUTAGE_STREAK = 8
"""So many failed attempts in a row, of a kind that hits everything, are an outage."""

_RECENT = 20
_CUT_SHARE = 0.25
"""The window is cut when this share of the recent attempts met an overload: one stray 529 is not
congestion."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request on its way: how often it was tried, and what speaks against it so far."""

    request: Request
    order: int
    tries: int = 0
    counted: int = 0
    uncounted: int = 0
    admitted_at: float | None = None
    launched_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One try: what to send, in which lane, what was charged for it, within which deadline.

    `expected_usd` is what it will probably cost, where a bound on that has been set.
    """

    job: Job
    lane: str
    charge: Charge
    timeout_s: float
    expected_usd: float = 0.0


@dataclass(slots=True, kw_only=True)
class Lane:
    """The queue of a lane and everything that can hold it back."""

    name: str
    limits: LaneLimits
    window: Window
    draw: Callable[[], float]
    estimates: Estimates = field(default_factory=Estimates)
    in_flight: int = 0
    waiting_for: str | None = None
    paused_until: float = -math.inf
    streak: int = 0
    refusals: int = 0
    _probing: bool = False
    _queue: deque[Job] = field(default_factory=deque)
    _again: list[tuple[int, Job]] = field(default_factory=list)
    _delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def queued(self) -> int:
        """Requests waiting, those that wait for a retry included."""
        return len(self._queue) + self.retrying

    @property
    def retrying(self) -> int:
        """Requests that have failed and wait for another attempt."""
        return len(self._again) + len(self._delayed)

    @property
    def head(self) -> Job | None:
        """The request that goes next; one that waits for its backoff is not in line yet."""
        if self._again:
            return self._again[0][1]
        return self._queue[0] if self._queue else None

    def pop(self) -> Job:
        """Take the head out of the line."""
        return heapq.heappop(self._again)[1] if self._again else self._queue.popleft()

    def add(self, job: Job) -> None:
        """Put a new request at the end of the queue."""
        self._queue.append(job)

    def again(self, job: Job, at: float) -> None:
        """Put a failed request back; it goes before new ones, from `at` on."""
        heapq.heappush(self._delayed, (at, job.order, job))

    def expect(self, request: Request) -> Cost:
        """Return what an attempt at `request` would probably cost."""
        return self.estimates.expect(request)

    def ready_at(self, now: float) -> float | None:
        """Return when the next attempt may be launched; None: not before something finishes."""
        delayed = self._delayed
        while delayed and delayed[0][0] <= now:
            _, order, job = heapq.heappop(delayed)
            heapq.heappush(self._again, (order, job))
        room_at = self.window.room_at(self.in_flight, now, paced=self.limits.known)
        if room_at is None:
            return None
        head = self.head
        if head is None:
            return max(delayed[0][0], self.paused_until, room_at) if delayed else None
        held_until = max(self.paused_until, room_at)
        if held_until > now:
            return held_until
        ready = self.limits.ready_at(self.estimates.expect(head.request), now)
        return min(ready, delayed[0][0]) if ready > now and delayed else ready

    def take(self, now: float, *, expected_usd: float = 0.0) -> Attempt:
        """Admit the next request. Call only when `ready_at(now)` is not after `now`."""
        job = self.pop()
        request = job.request
        charge = self.limits.charge(self.estimates.expect(request), now)
        self.in_flight += 1
        job.tries += 1
        job.launched_at = now
        if job.admitted_at is None:
            job.admitted_at = now
        deadline = total_deadline_s(
            max_tokens=request.max_tokens, input_tokens=request.input_tokens
        )
        return Attempt(
            job=job,
            lane=self.name,
            charge=charge,
            timeout_s=deadline,
            expected_usd=expected_usd,
        )

    def succeeded(self, attempt: Attempt, reply: Reply, now: float) -> None:
        """Settle a reply: true usage, what its headers say, and room for more."""
        self.limits.settle(attempt.charge, Cost.of_usage(reply.usage), now)
        self.limits.learn(reply.headers, attempt.charge, now)
        latency_s = now - attempt.charge.at
        self.limits.wrote(reply.usage.output_tokens, latency_s)
        self.estimates.learn(attempt.job.request, reply.usage)
        self.window.succeeded(self.in_flight, latency_s, paced=self.limits.known)
        self.in_flight -= 1
        if self.streak >= OUTAGE_STREAK:
            self._come_back(now)
        self.streak = self.refusals = 0
        self._recent.append(False)
        if self.paused_until <= now:
            self.waiting_for = None

    def failed(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Settle a failure, and hold the lane back if the failure is about more than itself."""
        used = NOTHING if failure.kind in LIMITED | EPISODES else attempt.charge.cost
        self.limits.settle(attempt.charge, used, now)
        self.limits.learn(failure.headers, attempt.charge, now)
        self.window.answered = True
        if failure.kind in LIMITED:
            self._refused(attempt, failure, now)
        elif failure.kind in EPISODES:
            self._troubled(attempt, failure, now)
        else:
            self._recent.append(False)
        self.in_flight -= 1

    def _refused(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Wait out a 429: the time it names, or one that grows while nothing succeeds."""
        if attempt.charge.at > self.paused_until:
            self.refusals += 1
        wait_s = failure.headers.retry_after_s
        why = "429: retry-after"
        if wait_s is None:
            wait_s = 1.0 + full_jitter(
                self.refusals, base_s=1.0, cap_s=MAX_BACKOFF_S, draw=self.draw
            )
            why = "429 without retry-after"
        if failure.kind is FailureKind.RAMP_LIMITED:
            self.limits.slow_down(now)
        else:
            self.limits.refuse(failure, attempt.charge, now)
        if failure.kind is FailureKind.RAMP_LIMITED or not self.limits.told:
            self.window.cut(self.in_flight, launched_at=attempt.charge.at, now=now)
        self._pause(now + wait_s, why)

    def _troubled(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Cut the window if overload is common; once everything fails, only probe."""
        self._recent.append(True)
        self.streak += 1
        if sum(self._recent) > _RECENT * _CUT_SHARE:
            self.window.cut(self.in_flight, launched_at=attempt.charge.at, now=now)
        if self.streak >= OUTAGE_STREAK:
            self.limits.calm(now)
            wait_s = full_jitter(
                self.streak - OUTAGE_STREAK + 1,
                base_s=FIRST_BACKOFF_S,
                cap_s=PROBE_BACKOFF_S,
                draw=self.draw,
            )
            self._pause(now + wait_s, f"{failure.error_type}: probing", probing=True)

    def _come_back(self, now: float) -> None:
        """Begin again after an outage: at the steady rate, with a part of what was in flight."""
        self.limits.calm(now)
        self.window.reopen(paced=self.limits.known)
        if self._probing:
            self.paused_until = now

    def _pause(self, until: float, why: str, *, probing: bool = False) -> None:
        if until > self.paused_until:
            self.paused_until = until
            self.waiting_for = why
            self._probing = probing

    def view(self, now: float) -> LaneView:
        """Return the lane as a screen shows it."""
        paused = self.paused_until > now
        return LaneView(
            name=self.name,
            gauges=self.limits.gauges(now),
            in_flight=self.in_flight,
            queued=self.queued,
            concurrency=self.window.limit,
            waiting_for=self.waiting_for if paused else None,
            waiting_s=self.paused_until - now if paused else None,
        )
