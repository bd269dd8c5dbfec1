"""Which request goes next, and what becomes of one that has been tried.

The scheduler is told what happened and what time it is, and answers with what to do. It never
waits, and everything that changes its state is a method here or of `Lane`. Times are seconds on
one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from claude_batch.core.decisions import (
    Decision,
    Ending,
    Finished,
    Idle,
    Ruling,
    Send,
    Sleep,
    Stop,
    StopKind,
)
from claude_batch.core.first_replies import FirstReplies
from claude_batch.core.lane import Attempt, Job, Lane
from claude_batch.core.limits import NO_LIMITS, LaneLimits, Limits
from claude_batch.core.model import Failure, FailureKind, Reply, Request
from claude_batch.core.retry import (
    COUNTED,
    FIRST_BACKOFF_S,
    LIMITED,
    MAX_BACKOFF_S,
    MAYBE_BILLED,
    PROBE_BACKOFF_S,
    full_jitter,
)
from claude_batch.core.spending import PriceOf, Spending
from claude_batch.core.window import Window

__all__ = [
    "Decision",
    "Ending",
    "Finished",
    "Idle",
    "Ruling",
    "Scheduler",
    "SchedulerSettings",
    "Send",
    "Sleep",
    "Stop",
    "StopKind",
]

READ_AHEAD_REQUESTS = 10_000
READ_AHEAD_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the user and the machine allow.

    `lane_of` names the lane of a model; `first_guess` gives a lane's limits before any header
    has told them; `concurrency` bounds all attempts in flight together. `spent_usd` is what the
    run has cost before, `price_of` what an attempt will probably cost.
    """

    lane_of: Callable[[str], str]
    draw: Callable[[], float]
    concurrency: int
    first_guess: Callable[[str], Limits] = lambda _: NO_LIMITS
    ceilings: Limits = NO_LIMITS
    share: float = 1.0
    max_attempts: int = 6
    patience_s: float = 3600.0
    max_cost_usd: float | None = None
    spent_usd: float = 0.0
    price_of: PriceOf = lambda _request, _output_tokens: 0.0


class Scheduler:
    """All lanes of a run, and the verdict on every attempt."""

    def __init__(self, settings: SchedulerSettings, *, now: float) -> None:
        self._settings = settings
        self._lanes: dict[str, Lane] = {}
        self._turn = 0
        self._order = 0
        self._in_flight = 0
        self._unended = 0
        self._unended_bytes = 0
        self._more_to_come = True
        self._first: FirstReplies[Ending] = FirstReplies()
        self._forbidden: dict[str, str] = {}
        self._last_success_at = now
        self._over_budget: Stop | None = None
        self._spending: Spending | None = None
        if settings.max_cost_usd is not None:
            self._spending = Spending(
                most_usd=settings.max_cost_usd,
                price_of=settings.price_of,
                spent_usd=settings.spent_usd,
            )
        self.stop: Stop | None = None

    @property
    def in_flight(self) -> int:
        """Attempts admitted and not yet finished."""
        return self._in_flight

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes seen so far, in order of appearance."""
        return tuple(self._lanes.values())

    @property
    def hungry(self) -> bool:
        """Whether more requests should be read from the input."""
        return (
            self._more_to_come
            and self._unended - self._in_flight < READ_AHEAD_REQUESTS
            and self._unended_bytes < READ_AHEAD_BYTES
        )

    def add(self, request: Request, now: float) -> None:
        """Take a request in, at the end of its lane."""
        self._order += 1
        self._unended += 1
        self._unended_bytes += len(request.body)
        self._lane(request.model, now).add(Job(request=request, order=self._order))

    def no_more(self) -> None:
        """Note that the input has ended."""
        self._more_to_come = False

    def end(self, stop: Stop) -> None:
        """Launch nothing more; the first reason given stays."""
        self.stop = self.stop or stop

    def next(self, now: float) -> Decision:
        """Return what to do at `now`."""
        if self.stop is None and now - self._last_success_at >= self._settings.patience_s:
            self._lose_patience()
        if self.stop is not None:
            return Finished(self.stop)
        found = self._find(now) if self._in_flight < self._settings.concurrency else None
        if isinstance(found, Attempt):
            return Send(found)
        if self._over_budget is not None and not self._in_flight:
            self.end(self._over_budget)
            return Finished(self.stop)
        if found is not None:
            return Sleep(min(found, self._last_success_at + self._settings.patience_s))
        if self._in_flight or self._more_to_come:
            return Idle()
        return Finished(self._unserved())

    def _find(self, now: float) -> Attempt | float | None:
        """Return an attempt to launch now, or when there may be one without anything happening."""
        wake: float | None = None
        self._over_budget = None
        for lane in self._in_turn():
            ready = self._ready_at(lane, now)
            if ready is None:
                continue
            if ready > now:
                wake = ready if wake is None else min(wake, ready)
            elif (attempt := self._take(lane, now)) is not None:
                return attempt
        return wake

    def _take(self, lane: Lane, now: float) -> Attempt | None:
        """Admit the head of `lane`, unless it might cross the bound on costs.

        Then it waits for what is in flight, which may turn out cheaper than expected.
        """
        expected_usd = 0.0
        if self._spending is not None and lane.head is not None:
            request = lane.head.request
            price = self._spending.expect(request, lane.expect(request).output_tokens)
            if price is None:
                message = f"the next request might cost more than is left: {self._spending}"
                self._over_budget = Stop(kind=StopKind.COST, message=message)
                return None
            self._spending.began(price)
            expected_usd = price
        self._turn += 1
        self._in_flight += 1
        return lane.take(now, expected_usd=expected_usd)

    def _in_turn(self) -> list[Lane]:
        """Return the lanes so that each comes first in its turn."""
        lanes = list(self._lanes.values())
        first = self._turn % max(1, len(lanes))
        return lanes[first:] + lanes[:first]

    def _ready_at(self, lane: Lane, now: float) -> float | None:
        """Return when `lane` can launch, after dropping what no endpoint will serve."""
        ready = lane.ready_at(now)
        while self._forbidden and ready is not None and self._is_forbidden(lane.head):
            self._leave(lane.pop())
            ready = lane.ready_at(now)
        return ready

    def _is_forbidden(self, job: Job | None) -> bool:
        return job is not None and job.request.model in self._forbidden

    def _leave(self, job: Job) -> None:
        """Count a request as no longer ours to try."""
        self._unended -= 1
        self._unended_bytes -= len(job.request.body)

    def finished(
        self,
        attempt: Attempt,
        outcome: Reply | Failure,
        now: float,
        *,
        cost_usd: float | None = None,
    ) -> Ruling:
        """Settle an attempt and say what becomes of its request.

        `cost_usd` is what a reply cost; what it was expected to cost stands in where it is None.
        """
        lane = self._lanes[attempt.lane]
        self._in_flight -= 1
        self._pay(attempt, outcome, cost_usd)
        if isinstance(outcome, Reply):
            self._last_success_at = now
            lane.succeeded(attempt, outcome, now)
            return self._ended(attempt, outcome, now, cost_usd)
        lane.failed(attempt, outcome, now)
        match outcome.kind:
            case FailureKind.RUN_REFUSED:
                self.end(Stop(kind=StopKind.REFUSED, message=outcome.message))
                return Ruling()
            case FailureKind.ENDPOINT_REJECTED:
                self.end(Stop(kind=StopKind.ENDPOINT, message=outcome.message))
                return Ruling()
            case FailureKind.MODEL_FORBIDDEN:
                self._forbidden.setdefault(attempt.job.request.model, outcome.message)
                self._leave(attempt.job)
                return Ruling()
            case FailureKind.REQUEST_REJECTED:
                return self._ended(attempt, outcome, now)
            case _:
                return self._retry(lane, attempt, outcome, now)

    def _pay(self, attempt: Attempt, outcome: Reply | Failure, cost_usd: float | None) -> None:
        if self._spending is None:
            return
        expected_usd = attempt.expected_usd
        if isinstance(outcome, Reply):
            actual_usd = expected_usd if cost_usd is None else cost_usd
        else:
            actual_usd = expected_usd if outcome.kind in MAYBE_BILLED else 0.0
        self._spending.ended(expected_usd, actual_usd)

    def release(self) -> tuple[Ending, ...]:
        """Return endings still held back, once a run is over and they were too few to judge."""
        return tuple(self._first.release()) if self.stop is None else ()

    def _ended(
        self, attempt: Attempt, outcome: Reply | Failure, now: float, cost_usd: float | None = None
    ) -> Ruling:
        self._leave(attempt.job)
        latency_s = now - attempt.job.launched_at
        ending = Ending(job=attempt.job, outcome=outcome, latency_s=latency_s, cost_usd=cost_usd)
        endings = self._first.judge(ending, outcome)
        if self._first.all_alike and isinstance(outcome, Failure):
            self.end(Stop(kind=StopKind.ALIKE, message=outcome.message))
        return Ruling(endings=tuple(endings))

    def _retry(self, lane: Lane, attempt: Attempt, failure: Failure, now: float) -> Ruling:
        job = attempt.job
        if failure.kind in COUNTED:
            job.counted += 1
            if job.counted >= self._settings.max_attempts:
                return self._ended(attempt, failure, now)
            cap_s, tries = MAX_BACKOFF_S, job.counted
        else:
            job.uncounted += 1
            cap_s, tries = PROBE_BACKOFF_S, job.uncounted
        at = now
        if failure.kind not in LIMITED:
            backoff_s = full_jitter(
                tries, base_s=FIRST_BACKOFF_S, cap_s=cap_s, draw=self._settings.draw
            )
            at = now + max(backoff_s, failure.headers.retry_after_s or 0.0)
        lane.again(job, at)
        return Ruling(retry_at=max(at, lane.paused_until))

    def _lose_patience(self) -> None:
        waiting = [lane.waiting_for for lane in self._lanes.values() if lane.waiting_for]
        last = f"; last: {waiting[0]}" if waiting else ""
        minutes = self._settings.patience_s / 60
        self.end(
            Stop(kind=StopKind.PATIENCE, message=f"no success for {minutes:.4g} minutes{last}")
        )

    def _unserved(self) -> Stop | None:
        for model, message in self._forbidden.items():
            return Stop(kind=StopKind.MODEL, message=f"{model}: {message}")
        return None

    def _lane(self, model: str, now: float) -> Lane:
        name = self._settings.lane_of(model)
        lane = self._lanes.get(name)
        if lane is None:
            limits = LaneLimits(
                guess=self._settings.first_guess(model),
                ceilings=self._settings.ceilings,
                share=self._settings.share,
                now=now,
            )
            window = Window(most=self._settings.concurrency)
            lane = Lane(name=name, limits=limits, window=window, draw=self._settings.draw)
            self._lanes[name] = lane
        return lane
