"""A lane: the requests of one limit group and model class, and when the next may be launched."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from claude_batch.core.estimates import Estimates
from claude_batch.core.limits import Cost, LaneLimits
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
    """One try: what to send, in which lane, at what expected cost, within which deadline."""

    job: Job
    lane: str
    cost: Cost
    timeout_s: float
    admitted_at: float


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
    _queue: deque[Job] = field(default_factory=deque)
    _delayed: list[tuple[float, int, Job]] = field(default_factory=list)
    _recent: deque[bool] = field(default_factory=lambda: deque(maxlen=_RECENT))

    @property
    def queued(self) -> int:
        """Requests waiting, those that wait for a retry included."""
        return len(self._queue) + len(self._delayed)

    @property
    def retrying(self) -> int:
        """Requests that have failed and wait for another attempt."""
        return len(self._delayed) + sum(1 for job in self._head() if job.tries)

    def _head(self) -> list[Job]:
        """Return the front of the queue as far as retries can stand there."""
        head = []
        for job in self._queue:
            if not job.tries:
                break
            head.append(job)
        return head

    def add(self, job: Job) -> None:
        """Put a new request at the end of the queue."""
        self._queue.append(job)

    def again(self, job: Job, at: float) -> None:
        """Put a failed request back; it goes before new ones, from `at` on."""
        heapq.heappush(self._delayed, (at, job.order, job))

    def ready_at(self, now: float) -> float | None:
        """Return when the next attempt may be launched; None: not before something finishes."""
        while self._delayed and self._delayed[0][0] <= now:
            self._queue.appendleft(heapq.heappop(self._delayed)[2])
        if self.in_flight >= self.window.limit:
            return None
        if not self._queue:
            return max(self._delayed[0][0], self.paused_until) if self._delayed else None
        if self.paused_until > now:
            return self.paused_until
        cost = self.estimates.expect(self._queue[0].request)
        ready = self.limits.ready_at(cost, now)
        return min(ready, self._delayed[0][0]) if ready > now and self._delayed else ready

    def take(self, now: float) -> Attempt:
        """Admit the next request. Call only when `ready_at(now)` is not after `now`."""
        job = self._queue.popleft()
        cost = self.estimates.expect(job.request)
        self.limits.charge(cost, now)
        self.in_flight += 1
        job.tries += 1
        job.launched_at = now
        if job.admitted_at is None:
            job.admitted_at = now
        deadline = total_deadline_s(
            max_tokens=job.request.max_tokens, input_tokens=job.request.input_tokens
        )
        return Attempt(job=job, lane=self.name, cost=cost, timeout_s=deadline, admitted_at=now)

    def drop_if(self, unwanted: Callable[[Job], bool]) -> bool:
        """Drop the request at the head of the queue, if there is one and it is unwanted."""
        if self._queue and unwanted(self._queue[0]):
            self._queue.popleft()
            return True
        return False

    def untake(self, attempt: Attempt, now: float) -> None:
        """Take back an attempt that was never launched."""
        self.limits.settle(attempt.cost, None, now)
        self.in_flight -= 1
        attempt.job.tries -= 1
        self._queue.appendleft(attempt.job)

    def succeeded(self, attempt: Attempt, reply: Reply, now: float) -> None:
        """Settle a reply: true usage, what its headers say, and room for more."""
        self.limits.settle(attempt.cost, Cost.of_usage(reply.usage), now)
        self.limits.learn(reply.headers.limits, now)
        self.estimates.learn(attempt.job.request, reply.usage)
        self.window.succeeded(self.in_flight)
        self.in_flight -= 1
        self.streak = self.refusals = 0
        self._recent.append(False)
        if self.paused_until <= now:
            self.waiting_for = None

    def failed(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Settle a failure, and hold the lane back if the failure is about more than itself."""
        used = None if failure.kind in LIMITED | EPISODES else attempt.cost
        self.limits.settle(attempt.cost, used, now)
        self.limits.learn(failure.headers.limits, now)
        self.in_flight -= 1
        if failure.kind in LIMITED:
            self._refused(attempt, failure, now)
        elif failure.kind in EPISODES:
            self._troubled(attempt, failure, now)
        else:
            self._recent.append(False)

    def _refused(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Wait out a 429: the time it names, or one that grows while nothing succeeds."""
        if attempt.admitted_at > self.paused_until:
            self.refusals += 1
        wait_s = failure.headers.retry_after_s
        why = "429: retry-after"
        if wait_s is None:
            wait_s = 1.0 + full_jitter(
                self.refusals, base_s=1.0, cap_s=MAX_BACKOFF_S, draw=self.draw
            )
            why = "429 without retry-after"
        if failure.limit is not None:
            self.limits.empty(failure.limit, now)
        if failure.kind is FailureKind.RAMP_LIMITED or self.limits.requests_per_minute is None:
            self.window.cut(launched_at=attempt.admitted_at, now=now)
        self._pause(now + wait_s, why)

    def _troubled(self, attempt: Attempt, failure: Failure, now: float) -> None:
        """Cut the window if overload is common; once everything fails, only probe."""
        self._recent.append(True)
        self.streak += 1
        if sum(self._recent) > _RECENT * _CUT_SHARE:
            self.window.cut(launched_at=attempt.admitted_at, now=now)
        if self.streak >= OUTAGE_STREAK:
            wait_s = full_jitter(
                self.streak - OUTAGE_STREAK + 1,
                base_s=FIRST_BACKOFF_S,
                cap_s=PROBE_BACKOFF_S,
                draw=self.draw,
            )
            self._pause(now + wait_s, f"{failure.error_type}: probing")

    def _pause(self, until: float, why: str) -> None:
        if until > self.paused_until:
            self.paused_until = until
            self.waiting_for = why

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
