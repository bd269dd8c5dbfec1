"""A lane: everything that limits one model class in one limit group, and its attempts."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.core.model.snapshot import LaneView, WaitKind, WaitReason
from claude_batch.core.pacing.estimates import Estimates
from claude_batch.core.pacing.lane_limits import NO_COST, Charge, Cost, LaneLimits
from claude_batch.core.pacing.rate_finder import RateFinder
from claude_batch.core.pacing.recent_failures import RecentFailures, RecentLaunches
from claude_batch.core.pacing.window import Window
from claude_batch.core.scheduling.retry import (
    COUNTED,
    FIRST_BACKOFF_S,
    LIMITED,
    MAX_BACKOFF_S,
    OUTAGES,
    PROBE_BACKOFF_S,
    SHORT_WAIT_S,
    backoff_s,
)
from claude_batch.core.scheduling.sharing import LaneSharing

OUTAGE_STREAK = 8
"""An outage: this many failures in a row that may hit every request ..."""

_OUTAGE_LAUNCHES = 2 * OUTAGE_STREAK
"""... among at most this many consecutive launches."""

_OVERLOADS, _OVERLOAD_LAUNCHES = 6, 20
"""The window is cut when 6 of the last 20 launches got a 529: a single one is no congestion."""

_CONGESTED = (8, 20), (15, 100)
"""This many 429s among this many launches mean congestion; fewer, with plenty left, are random.

Random ones at a share of 1 in 25 get there once in millions of launches.
"""

_WAIT_WITHOUT_RETRY_AFTER_S = 1.0
"""The shortest wait after a 429 without retry-after, and the base of its backoff, in seconds."""


@dataclass(slots=True, kw_only=True, eq=False)
class Job:
    """A request and its attempts so far; `order` is its place in the queue.

    `counted_failures` count against it, `uncounted_failures` do not,
    `failed_at` is when the last attempt that failed was launched. `lost` attempts of earlier
    processes may have been answered when those were killed. `given_up` attempts were silent for so
    long that their connections are taken for dead.
    """

    request: Request
    order: int
    attempts: int = 0
    counted_failures: int = 0
    uncounted_failures: int = 0
    lost: int = 0
    given_up: int = 0
    failed_at: float = math.inf
    admitted_at: float | None = None
    launched_at: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Attempt:
    """One attempt: what to send, where, in which lane, what was charged, and its timeout.

    `most_usd` is the highest price, reserved where a bound on the cost is set; `degraded`: it goes
    to a fallback endpoint.
    """

    job: Job
    endpoint: str
    lane: Lane
    charge: Charge
    timeout_s: float
    most_usd: float = 0.0
    degraded: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Lane:
    """Limits, window, pauses and estimates for one model class in one limit group.

    `failure_streak` counts failures in a row that may hit every request, `streak_429` rounds of
    429s in a row. `_countable` holds (launch time, job) of failures counted against requests since
    the last success: an outage takes them back; `_failing` are the lines that failed since then.
    `blames_requests`: what seems to be an outage is taken for failures of its requests, until one
    succeeds. `unsure_since` is when the lane last succeeded, or failed as no request can make it
    fail. `sharing` is None where no lease is in force.
    """

    name: str
    model_class: str
    limits: LaneLimits
    window: Window
    rng: Callable[[], float]
    estimates: Estimates = field(default_factory=Estimates)
    waiting_for: str | None = None
    last_failure: str = ""
    paused_until: float = -math.inf
    failure_streak: int = 0
    streak_429: int = 0
    sharing: LaneSharing | None = None
    _probing: bool = False
    _asked_s: float | None = None
    _outage_kind: FailureKind | None = None
    _launches: RecentLaunches = field(default_factory=RecentLaunches)
    rate: RateFinder = field(default_factory=RateFinder)
    _finds_rate: bool = False
    _refusals: RecentFailures = field(init=False)
    _failures: RecentFailures = field(init=False)
    _overloads: RecentFailures = field(init=False)
    blames_requests: bool = False
    unsure_since: float = -math.inf
    _countable: list[tuple[float, Job]] = field(default_factory=list)
    _has_succeeded: bool = False
    _failing: set[int] = field(default_factory=set)
    _success_launched_at: float = -math.inf

    def __post_init__(self) -> None:
        self._refusals = RecentFailures(self._launches)
        self._failures = RecentFailures(self._launches)
        self._overloads = RecentFailures(self._launches)

    @property
    def in_flight(self) -> int:
        """Attempts launched and not ended."""
        return self.limits.output_in_flight.count

    @property
    def is_healthy(self) -> bool:
        """Whether there is no outage."""
        return self.failure_streak < OUTAGE_STREAK

    @property
    def _is_paced(self) -> bool:
        """Whether something else than the window spreads launches."""
        return self.limits.reported or self.rate.per_s is not None

    def ready_at(self, cost: Cost, now: float) -> float | None:
        """Return when an attempt of `cost` may be launched; None: not before an attempt ends."""
        limits = self.limits
        in_flight = limits.output_in_flight.count
        room_at = self.window.room_at(in_flight, now, paced=limits.known)
        if room_at is None:
            return None
        finds_rate = self._finds_rate or not limits.reported
        if finds_rate and self.rate.crowd.is_full(in_flight):
            return None
        held_until = max(self.paused_until, room_at)
        if held_until > now:
            return held_until
        ready_at = limits.ready_at(cost, now)
        if not finds_rate:
            return ready_at
        rate_at = self.rate.ready_at(now)
        if rate_at < math.inf:
            return max(ready_at, rate_at)
        return None if in_flight else ready_at

    def adjust(self, *, share: float, concurrency: int, now: float) -> None:
        """Keep to the user's bounds as they are now."""
        self.limits.adjust(share, now)
        self.window.resize(concurrency)

    def headroom(self, now: float) -> float:
        """Return the share that is left of the scarcest, be it a limit or the window."""
        return min(1.0 - self.in_flight / self.window.limit, self.limits.headroom(now))

    def launch(self, cost: Cost, now: float) -> Charge:
        """Charge an attempt. Call only when `ready_at(cost, now)` is not after `now`."""
        self._launches.add(now)
        charge = self.limits.charge(cost, now)
        if self._finds_rate or not self.limits.reported:
            self.rate.record_launch(charge.in_flight, now)
        return charge

    def release(self, attempt: Attempt, now: float) -> None:
        """Give up an attempt that turns out to be another lane's: it used nothing here."""
        self.limits.settle(attempt.charge, NO_COST, now)
        self.rate.record_failure(attempt.charge.at, now)

    def adopt(self, attempt: Attempt, now: float) -> Attempt:
        """Take over an attempt that another lane released."""
        return replace(attempt, lane=self, charge=self.limits.adopt(attempt.charge, now))

    def record_success(self, attempt: Attempt, reply: Reply, now: float) -> None:
        """Settle a reply: its usage, the limits in its headers, and a larger window."""
        in_flight = self.in_flight
        self.limits.settle(attempt.charge, Cost.of_usage(reply.usage), now)
        self.limits.learn(reply.headers, attempt.charge, now)
        latency_s = now - attempt.charge.at
        if reply.usage.prompt_tokens:  # some servers report no usage
            self.limits.output_in_flight.learn(reply.usage.output_tokens, latency_s)
            self.estimates.learn(attempt.job.request, reply.usage)
        if self._finds_rate or not self.limits.reported:
            self.rate.record_reply(attempt.charge.at, now)
        self.window.record_success(in_flight, latency_s, paced=self.limits.known)
        if self.failure_streak >= OUTAGE_STREAK:
            self._recover(now)
        self.failure_streak = self.streak_429 = 0
        self._has_succeeded = True
        self._success_launched_at = max(self._success_launched_at, attempt.charge.at)
        if self._failing:
            self._failing.clear()
        self.unsure_since = now
        if self.blames_requests:
            self.blames_requests = False
            self._uncount_failures()
        if self._countable:
            at = attempt.charge.at
            self._countable = [each for each in self._countable if each[0] > at]
        if self.paused_until <= now:
            self.waiting_for = None

    def record_failure(
        self, attempt: Attempt, failure: Failure, now: float, *, is_own: bool, untried: bool
    ) -> None:
        """Settle a failure, and hold the lane back if others would fail, too.

        `is_own`: it says nothing about other endpoints that use this lane. `untried`: requests wait
        that have not been tried.
        """
        in_flight = self.in_flight
        used = NO_COST if failure.kind in LIMITED | OUTAGES else attempt.charge.cost
        self.limits.settle(attempt.charge, used, now)
        self.limits.learn(failure.headers, attempt.charge, now)
        self.window.has_response = True
        if failure.kind in LIMITED:
            self._handle_429(attempt, failure, in_flight, now)
        else:
            self.rate.record_failure(attempt.charge.at, now)
            self._failures.add(attempt.charge.at)
            if self._may_hit_all(attempt.job, failure, is_own=is_own, untried=untried):
                self._handle_outage(attempt, failure, in_flight, now)
        self.last_failure = f"{failure.error_type}: {failure.message}"

    def _may_hit_all(self, job: Job, failure: Failure, *, is_own: bool, untried: bool) -> bool:
        """Return whether a failure may be one of all requests, and not of this one alone.

        Where others can be tried, each request counts once; else only those that never failed while
        others succeeded.
        """
        if is_own:
            return False
        if failure.kind in OUTAGES:
            return True
        if failure.kind not in COUNTED or not self._has_succeeded or self.blames_requests:
            return False
        if not untried:
            return not (job.counted_failures or self.suspects(job))
        is_new = job.request.line not in self._failing
        self._failing.add(job.request.line)
        return is_new

    def suspects(self, job: Job) -> bool:
        """Return whether a request has failed, and a later attempt of another has succeeded."""
        return job.failed_at < self._success_launched_at

    def blame_requests(self, now: float) -> None:
        """Take what seems to be an outage for failures of its requests: each has its attempts."""
        self.blames_requests = True
        self.failure_streak = 0
        self._recover(now)
        self.window.restart()

    def count_failure(self, attempt: Attempt) -> None:
        """Count a failure against its request, until an outage explains it."""
        attempt.job.counted_failures += 1
        if self._has_succeeded:
            self._countable.append((attempt.charge.at, attempt.job))

    def _uncount_failures(self) -> None:
        """Take back the failures counted since the last success: there is an outage."""
        for _, job in self._countable:
            job.counted_failures -= 1
        self._countable.clear()

    def _handle_429(self, attempt: Attempt, failure: Failure, in_flight: int, now: float) -> None:
        """Pause the lane for the time the 429 asks for, or one that grows while none succeeds."""
        launched_at = attempt.charge.at
        if launched_at > self.paused_until:
            self.streak_429 += 1
        wait_s = failure.headers.retry_after_s
        why = "429: retry-after"
        if wait_s is None:
            base_s = _WAIT_WITHOUT_RETRY_AFTER_S
            wait_s = base_s + backoff_s(
                self.streak_429, base_s=base_s, cap_s=MAX_BACKOFF_S, rng=self.rng
            )
            why = "429 without retry-after"
        ramp = failure.kind is FailureKind.RAMP_LIMITED
        if ramp:
            self.limits.slow_ramp(now)
        elif not self.limits.reported:
            self._learn_rate(attempt, failure.headers.retry_after_s, why, now)
            return
        elif not self._is_about_all(attempt, failure, wait_s, now):
            if self._finds_rate:
                self._learn_rate(attempt, failure.headers.retry_after_s, why, now)
            return
        if ramp or not self._is_paced:
            self.window.cut(in_flight, launched_at=launched_at, now=now)
        self._asked_s = failure.headers.retry_after_s
        self._pause(now + wait_s, why)

    def _learn_rate(self, attempt: Attempt, asked_s: float | None, why: str, now: float) -> None:
        """Learn from a 429 where no limits are reported, and pause if the server is shut."""
        charge = attempt.charge
        shut = self.rate.record_429(charge.at, charge.in_flight, now, wait_s=asked_s)
        until = self.rate.ready_at(now) if shut else now
        if shut and asked_s is not None:
            until = max(now + asked_s, until if until < math.inf else now)
        if now < until < math.inf:
            self._asked_s = asked_s
            self._pause(until, why)

    def _is_about_all(self, attempt: Attempt, failure: Failure, wait_s: float, now: float) -> bool:
        """Learn from a 429; return whether the lane should wait, not only this request."""
        launched_at = attempt.charge.at
        had_plenty = self.limits.record_429(failure, attempt.charge, now)
        self._refusals.add(launched_at)
        congested = any(self._refusals.is_common(*each) for each in _CONGESTED)
        if congested:
            self._refusals.clear()
            self._finds_rate = self._finds_rate or had_plenty
        if self._finds_rate and had_plenty:
            return False
        return not had_plenty or congested or wait_s > SHORT_WAIT_S

    def _handle_outage(
        self, attempt: Attempt, failure: Failure, in_flight: int, now: float
    ) -> None:
        """Cut the window if overload is common; in an outage, send only probes."""
        launched_at = attempt.charge.at
        last_step = self.failure_streak == OUTAGE_STREAK - 1
        if not last_step or self._failures.is_common(OUTAGE_STREAK, _OUTAGE_LAUNCHES):
            self.failure_streak += 1
        if failure.kind in OUTAGES:
            self._overloads.add(launched_at)
            self.unsure_since = now
        overloaded = self._overloads.is_common(_OVERLOADS, _OVERLOAD_LAUNCHES)
        if overloaded or not self.is_healthy:
            self.window.cut(in_flight, launched_at=launched_at, now=now)
        if self.is_healthy:
            return
        self._outage_kind = failure.kind
        self._uncount_failures()
        self.limits.reset_boost(now)
        wait_s = backoff_s(
            self.failure_streak - OUTAGE_STREAK + 1,
            base_s=FIRST_BACKOFF_S,
            cap_s=PROBE_BACKOFF_S,
            rng=self.rng,
        )
        self._pause(now + wait_s, f"{failure.error_type}: probing", probing=True)

    def _recover(self, now: float) -> None:
        """Start again after an outage: at the refill rate, with a part of the window."""
        self.limits.reset_boost(now)
        self.window.reopen(paced=self.limits.known)
        self.rate.reset_span()
        if self._probing:
            self.paused_until = now

    def _pause(self, until: float, why: str, *, probing: bool = False) -> None:
        if until > self.paused_until:
            self.paused_until = until
            self.waiting_for = why
            self._probing = probing

    def wait_reason(self, request: Request, now: float) -> WaitReason | None:
        """Return why `request` is not sent now; None if it can be."""
        in_flight, limits = self.in_flight, self.limits
        left_s = self.paused_until - now if self.paused_until > now else None
        if not self.is_healthy:
            return WaitReason(
                kind=WaitKind.OUTAGE, seconds=left_s, cause=self._outage_kind, in_flight=in_flight
            )
        if left_s is not None:
            return WaitReason(kind=WaitKind.RATE_LIMITED, seconds=left_s, asked_s=self._asked_s)
        if not limits.lease_share:
            return WaitReason(kind=WaitKind.SHARE)
        if not self.window.has_response and in_flight and not limits.reported:
            return WaitReason(kind=WaitKind.FIRST_REPLY, in_flight=in_flight)
        if not limits.known:
            return WaitReason(kind=WaitKind.FINDING_PACE, in_flight=in_flight)
        if self.window.is_full(in_flight):
            return WaitReason(kind=WaitKind.CONCURRENCY, in_flight=in_flight)
        cost = self.estimates.estimate(request)
        finds_rate = self._finds_rate or not limits.reported
        if finds_rate and self.rate.ready_at(now) > limits.ready_at(cost, now):
            return WaitReason(kind=WaitKind.FINDING_PACE, in_flight=in_flight)
        return limits.wait_reason(cost, now)

    @property
    def reports_nothing(self) -> bool:
        """Whether requests have succeeded and no reply has reported a limit."""
        return self._has_succeeded and not self.limits.reported

    def set_share(self, share: float, now: float) -> None:
        """Use this share of the limits from now on; 0: launch nothing."""
        self.limits.set_lease_share(share, now, rng=self.rng)
        self.window.share = share or 1.0

    def view(self, now: float, *, queued: int, wait: WaitReason | None = None) -> LaneView:
        """Return the lane for a screen; `queued` requests may go here, or to similar lanes."""
        paused = self.paused_until > now
        return LaneView(
            name=self.name,
            gauges=self.limits.gauges(now),
            in_flight=self.in_flight,
            queued=queued,
            concurrency=self.window.limit,
            waiting_for=self.waiting_for if paused else None,
            waiting_s=self.paused_until - now if paused else None,
            wait=wait,
            sharing=None if self.sharing is None else self.sharing.view(),
        )
