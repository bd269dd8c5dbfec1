"""The scheduler: takes requests in, says when to launch which, and judges what comes back.

It is given events and the time, and returns what to do. It never waits. All its state changes in a
method here or in a part it owns: `Dispatch` chooses request and endpoint, `Pool` knows the
endpoints, `Lane` holds requests back. Times are seconds of one monotonic clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from claude_batch.core.caching.prefix_gate import PrefixGate
from claude_batch.core.model.account import Limits
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.raw_json import error_object
from claude_batch.core.model.requests import Failure, FailureKind, Reply, Request
from claude_batch.core.model.sharing import Claim, Grant
from claude_batch.core.model.snapshot import LaneView, WaitKind, WaitReason
from claude_batch.core.pacing.lane_limits import (
    Ceilings,
    LaneLimits,
    change_ceilings,
    make_ceilings,
)
from claude_batch.core.pacing.window import Window
from claude_batch.core.scheduling.decisions import (
    Decision,
    Finished,
    GiveUp,
    Idle,
    RequestOutcome,
    SchedulerStatus,
    Send,
    Sleep,
    Stop,
    StopKind,
    Verdict,
)
from claude_batch.core.scheduling.dispatch import Dispatch, Placing, Strategy
from claude_batch.core.scheduling.guards import (
    Backlog,
    FirstFailures,
    MostUsd,
    Spending,
    expense_of,
)
from claude_batch.core.scheduling.lane import Attempt, Job, Lane
from claude_batch.core.scheduling.pool import Endpoint, EndpointSpec, Pool
from claude_batch.core.scheduling.retry import COUNTED, DOUBT_SHARE, TRANSIENT, retry_delay_s
from claude_batch.core.scheduling.sharing import LaneSharing

_NOT_FOUND = 404
"""HTTP status of an unknown model."""

_SILENT_S = 5.0
"""Everything in flight is silent when nothing was heard for this long, in seconds ..."""

_SILENT_LATENCIES = 5.0
"""... and for this many times the mean latency."""

SPARE = 64
"""Attempts beyond the bound on concurrency that may be in flight while others are silent: there are
enough open files for these."""

_UNHEARD = frozenset({FailureKind.UNREACHABLE, FailureKind.TIMED_OUT})
"""Failures without a word from the endpoint."""

_DEAD_MESSAGE = "no answer, and later requests were answered: its connection is dead"
_DEAD = Failure(
    kind=FailureKind.TIMED_OUT,
    error=error_object("timeout_error", _DEAD_MESSAGE, None),
    error_type="timeout_error",
    message=_DEAD_MESSAGE,
)
"""The failure of an attempt that is given up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the user and the machine allow.

    `model_class_of` returns the model class of a model; `initial_limits` a lane's limits before any
    header has named them, where the endpoint has none of its own. `rng` returns numbers in [0, 1).
    `bounds` are the user's own, and may change while the run goes. `spent_usd` is what the run has
    cost before; `most_usd` returns the most that a request can cost, and is asked only where they
    bound the cost. `lost_marks` are the last lines that killed processes have launched: lines up to
    there without a result may have been answered. `has_succeeded`: there are successes already, so
    identical failures are the fault of their requests. `shares_limits`: lanes send nothing before a
    lease has granted them a share.
    """

    endpoints: tuple[EndpointSpec, ...]
    model_class_of: Callable[[str], str]
    initial_limits: Callable[[str], Limits]
    most_usd: MostUsd
    rng: Callable[[], float]
    bounds: Bounds
    strategy: Strategy = Strategy.HEADROOM
    fallback_after_s: float = 30.0
    max_attempts: int = 6
    patience_s: float = 3600.0
    spent_usd: float = 0.0
    shares_limits: bool = False
    lost_marks: tuple[int, ...] = ()
    has_succeeded: bool = False


@dataclass(slots=True)
class LaneOpener:
    """Opens lanes; those of one model class share the user's ceilings."""

    settings: SchedulerSettings
    _ceilings: dict[str, Ceilings] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def __call__(self, spec: EndpointSpec, model: str, now: float) -> Lane:
        """Return a new lane for an endpoint and a model."""
        settings = self.settings
        model_class = settings.model_class_of(model)
        if model_class not in self._ceilings:
            self._ceilings[model_class] = make_ceilings(settings.bounds.ceilings)
        limits = LaneLimits(
            guess=(spec.initial_limits or settings.initial_limits)(model),
            ceilings=self._ceilings[model_class],
            share=settings.bounds.share,
            now=now,
            lease_share=0.0 if settings.shares_limits else 1.0,
        )
        return Lane(
            name=model_class,
            model_class=model_class,
            limits=limits,
            window=Window(maximum=settings.bounds.concurrency),
            rng=settings.rng,
            sharing=LaneSharing(number=next(self._numbers)) if settings.shares_limits else None,
        )

    def adjust(self, settings: SchedulerSettings, now: float) -> None:
        """Keep to other bounds, in lanes yet to be opened, too."""
        if settings.bounds.ceilings != self.settings.bounds.ceilings:
            for ceilings in self._ceilings.values():
                change_ceilings(ceilings, settings.bounds.ceilings, now)
        self.settings = settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Learned:
    """What a run has found out about endpoints and limits, for the next one with the same clock."""

    pool: Pool
    opener: LaneOpener

    def fits(self, settings: SchedulerSettings) -> bool:
        """Return whether it is of use for a run: the same endpoints, and nothing in flight."""
        names = {each.name for each in settings.endpoints}
        is_idle = not any(lane.in_flight for lane in self.pool.lanes)
        shares = {lane.sharing is not None for lane in self.pool.lanes}
        is_alike = shares <= {settings.shares_limits}
        return is_idle and is_alike and names == self.pool.by_name.keys()


class Scheduler:
    """All requests of a run, and the verdict on every attempt.

    What was `learned` by the run before, in the same process, is in force from the start.
    """

    def __init__(
        self, settings: SchedulerSettings, *, now: float, learned: Learned | None = None
    ) -> None:
        self._settings = settings
        self._order = 0
        self._in_flight = 0
        self._released = 0
        self._has_failed = False
        self._backlog = Backlog()
        self._first_failures: FirstFailures[RequestOutcome] = FirstFailures(
            is_open=not settings.has_succeeded
        )
        self._unserved_models: set[str] = set()
        self._last_success_at = now
        self._heard_at = now
        self._over_budget: Stop | None = None
        self._paused_at: float | None = None
        self._spending = Spending(
            max_usd=settings.bounds.max_cost_usd,
            most_usd=settings.most_usd,
            spent_usd=settings.spent_usd,
        )
        if learned is not None and learned.fits(settings):
            self._opener, self._pool = learned.opener, learned.pool
            self._opener.adjust(settings, now)
            self._pool.renew(settings.endpoints)
        else:
            self._opener = LaneOpener(settings)
            self._pool = Pool(settings.endpoints, self._opener)
        gate = PrefixGate()
        self._dispatch = Dispatch(
            pool=self._pool,
            placing=Placing(
                pool=self._pool,
                gate=gate,
                rng=settings.rng,
                strategy=settings.strategy,
                fallback_after_s=settings.fallback_after_s,
            ),
            gate=gate,
            class_of=settings.model_class_of,
            reserve=self._reserve,
        )
        self.stop: Stop | None = None
        self._count_patience(now)

    @property
    def learned(self) -> Learned:
        """What is known of endpoints and limits by now."""
        return Learned(pool=self._pool, opener=self._opener)

    @property
    def in_flight(self) -> int:
        """Attempts launched and not ended."""
        return self._in_flight

    @property
    def bounds_cost(self) -> bool:
        """Whether there is a bound on the cost."""
        return self._spending.max_usd is not None

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes used so far."""
        return self._pool.lanes

    @property
    def wants_input(self) -> bool:
        """Whether more requests should be read from the input."""
        return self._backlog.has_room(self._in_flight)

    def status(self, now: float) -> SchedulerStatus:
        """Return lanes, endpoints and why nothing more is sent, for a screen."""
        dispatch = self._dispatch
        lanes = tuple(
            lane.view(
                now,
                queued=dispatch.queued(lane.model_class),
                wait=self._lane_wait_reason(lane, now),
            )
            for lane in self.lanes
        )
        return SchedulerStatus(
            lanes=lanes,
            endpoints=tuple(each.view() for each in self._pool.endpoints),
            fallback=self._pool.stand_in,
            retrying=dispatch.retrying,
            in_flight=self._in_flight,
            wait=self._wait_reason(lanes, now),
        )

    def _lane_wait_reason(self, lane: Lane, now: float) -> WaitReason | None:
        if self._paused_at is not None:
            return WaitReason(kind=WaitKind.PAUSED, in_flight=lane.in_flight)
        return self._dispatch.wait_reason(lane, now)

    def _wait_reason(self, lanes: tuple[LaneView, ...], now: float) -> WaitReason | None:
        """Return why nothing more is sent; silence is the better reason unless a lane is paused."""
        if self._paused_at is not None:
            return WaitReason(kind=WaitKind.PAUSED, in_flight=self._in_flight)
        busy = [each.silence for each in self._pool.by_name.values() if each.in_flight]
        if busy and all(each.is_probing for each in busy):
            silent_s = now - max(each.heard_at for each in busy)
            return WaitReason(
                kind=WaitKind.SILENCE, seconds=silent_s, in_flight=self._in_flight, probing=True
            )
        silent_s = now - self._heard_at
        mean_s = max((lane.window.mean_latency_s for lane in self.lanes), default=0.0)
        is_silent = silent_s > max(_SILENT_S, _SILENT_LATENCIES * mean_s)
        paused = any(lane.waiting_s is not None for lane in lanes)
        if self._in_flight and is_silent and not paused:
            return WaitReason(kind=WaitKind.SILENCE, seconds=silent_s, in_flight=self._in_flight)
        return self._reason_of(lanes)

    def _reason_of(self, lanes: tuple[LaneView, ...]) -> WaitReason | None:
        """Return what delays all lanes, or else the lane with the longest queue."""
        in_flight = self._in_flight
        if self._over_budget is not None and in_flight:
            return WaitReason(kind=WaitKind.BUDGET, in_flight=in_flight)
        waiting = [lane for lane in lanes if lane.queued]
        if not waiting and self._backlog.more_to_come:
            return WaitReason(kind=WaitKind.INPUT)
        if not waiting:
            last = WaitReason(kind=WaitKind.LAST_REPLIES, in_flight=in_flight)
            return last if in_flight else None
        if in_flight >= self._settings.bounds.concurrency:
            return WaitReason(kind=WaitKind.CONCURRENCY, in_flight=in_flight)
        longest = max(waiting, key=lambda lane: lane.queued)
        if longest.wait is None or len(waiting) == 1:
            return longest.wait
        return replace(longest.wait, lane=longest.name)

    def adjust(self, wanted: Adjustment, now: float) -> None:
        """Keep to other bounds from now on; pause, or continue."""
        bounds, settings = wanted.bounds, replace(self._settings, bounds=wanted.bounds)
        self._settings = settings
        self._opener.adjust(settings, now)
        for lane in self.lanes:
            lane.adjust(share=bounds.share, concurrency=bounds.concurrency, now=now)
        if bounds.max_cost_usd != self._spending.max_usd:
            self._spending.change(bounds.max_cost_usd, in_flight=self._in_flight, now=now)
        if wanted.is_paused and self._paused_at is None:
            self._paused_at = now
        elif not wanted.is_paused and self._paused_at is not None:
            self._continue(self._paused_at, now)

    def _continue(self, paused_at: float, now: float) -> None:
        """End a pause: patience has stood still, and launches begin at the refill rate."""
        self._paused_at = None
        self._count_patience(now - max(paused_at, self._last_success_at) + self._last_success_at)
        self._heard_at += now - max(paused_at, self._heard_at)
        self._dispatch.shift(now - paused_at)
        for lane in self.lanes:
            lane.limits.reset_boost(now)

    def claim(self, lane: Lane, sharing: LaneSharing, now: float) -> Claim | None:
        """Return what a lane claims of limits that other programs use, too; None if it is gone."""
        groups = (each for each in self._pool.groups if lane in each.lanes.values())
        group = next(groups, None)
        if group is None:
            return None
        launches = self.stop is None and self._paused_at is None
        demand = sharing.demand(
            lane.limits.used_share(lane.window.mean_latency_s),
            self._dispatch.wait_reason(lane, now),
            queued=self._dispatch.queued(lane.model_class) if launches else 0,
            more_to_come=self._backlog.more_to_come and launches,
        )
        return Claim(
            number=sharing.number,
            key=group.key(lane.model_class),
            weight=self._settings.bounds.share,
            demand=demand,
            held=sharing.held,
            facts=lane.limits.facts(),
        )

    def grant(self, lane: Lane, sharing: LaneSharing, grant: Grant, now: float) -> None:
        """Let a lane use the share that it was granted."""
        sharing.held, sharing.others, sharing.lost = grant.share, grant.others, False
        lane.limits.assume(grant.facts, now)
        lane.set_share(grant.share, now)

    def add(self, request: Request) -> None:
        """Take a request in, at the end of its queue."""
        self._order += 1
        self._backlog.add(request)
        lost = sum(request.line <= mark for mark in self._settings.lost_marks)
        job = Job(request=request, order=self._order, lost=lost)
        if not self._dispatch.enqueue(job):
            self._drop_unserved(job)

    def end_input(self) -> None:
        """Record that no more requests will be added."""
        self._backlog.more_to_come = False

    def stop_early(self, stop: Stop) -> None:
        """Launch nothing more; the first reason given is kept."""
        self.stop = self.stop or stop

    def next(self, now: float) -> Decision:
        """Return what to do at `now`."""
        if self._is_out_of_patience(now):
            self.stop = Stop(
                kind=StopKind.PATIENCE,
                message=self._last_failure,
                waited_s=self._settings.patience_s,
            )
        if self.stop is not None:
            return Finished(self.stop)
        if self._paused_at is not None and (self._backlog.count or self._backlog.more_to_come):
            return Idle()
        found = self._find(now)
        if isinstance(found, Attempt):
            if not self._in_flight:
                self._heard_at = now
            self._in_flight += 1
            return Send(found)
        listened = self._listen(now)
        if not isinstance(listened, float):
            return listened
        return self._wait(found, listened, now)

    def _wait(self, found: float, listened: float, now: float) -> Decision:
        """Return how long to wait: nothing can be launched before `found`, except for a silence."""
        patience_s = self._settings.patience_s
        if self._over_budget is not None and not self._in_flight:
            self.stop = self._over_budget
            return Finished(self.stop)
        if found < math.inf:
            gives_up_at = self._last_success_at + patience_s
            if found > gives_up_at and not (self._in_flight or self.wants_input):
                self.stop = Stop(
                    kind=StopKind.PATIENCE, message=self._last_failure, retry_in_s=found - now
                )
                return Finished(self.stop)
            return Sleep(min(found, gives_up_at, listened))
        if self._in_flight or self._backlog.more_to_come:
            return Idle(listened)
        return Finished(self._stop_for_unserved())

    def _count_patience(self, at: float) -> None:
        """Count the patience from `at` on; half of it is for the endpoints of first choice."""
        self._last_success_at = at
        self._dispatch.placing.last_chance_at = at + self._settings.patience_s / 2

    def _is_out_of_patience(self, now: float) -> bool:
        """Return whether nothing has succeeded for too long; an answer that takes long may come."""
        if self.stop is not None or self._paused_at is not None:
            return False
        is_waiting = self._in_flight and not self._has_failed
        return not is_waiting and now - self._last_success_at >= self._settings.patience_s

    def _listen(self, now: float) -> Decision | float:
        """Probe endpoints that are silent and give up what is dead there, or return when to."""
        wake = math.inf
        for endpoint in self._pool.by_name.values():
            silence = endpoint.silence
            if silence.due_at <= now:
                dead = silence.overdue(now)
                if dead is None and silence.needs_probe(now):
                    has_room = self._in_flight < self._settings.bounds.concurrency + SPARE
                    probe = self._dispatch.probe(endpoint, now) if has_room else None
                    silence.record_probe(now, sent=probe is not None)
                    if probe is not None:
                        self._in_flight += 1
                        return Send(probe)
                    if not self._dispatch.has_work_for(endpoint, now):
                        dead = silence.to_send_again(now)
                if dead is not None:
                    return self._give_up(endpoint, dead, now)
            wake = min(wake, silence.due_at)
        return wake

    def _give_up(self, endpoint: Endpoint, attempt: Attempt, now: float) -> GiveUp:
        """Queue the request of a dead attempt again; it may have been answered, and paid."""
        if attempt in endpoint.silence.released:
            self._released -= 1
        else:
            attempt.lane.release(attempt, now)
        endpoint.silence.record_end(attempt, now, heard=False)
        self._in_flight -= 1
        self._has_failed = True
        endpoint.in_flight -= 1
        endpoint.failed += 1
        attempt.job.given_up += 1
        expense = expense_of(attempt, _DEAD, None)
        self._spending.settle(attempt, _DEAD, None, expense)
        self._dispatch.record_outcome(attempt, _DEAD)
        if not self._dispatch.enqueue(attempt.job, at=now):
            self._drop_unserved(attempt.job)
        return GiveUp(attempt, _DEAD, Verdict(retry_at=now, expense=expense))

    def _hear(
        self, endpoint: Endpoint, attempt: Attempt, outcome: Reply | Failure, now: float
    ) -> Attempt:
        """Record what an outcome says of the endpoint's connections; return the attempt."""
        silence, found = endpoint.silence, attempt
        if attempt in silence.released:  # it is alive after all
            self._released -= 1
            found = attempt.lane.adopt(attempt, now)
        if isinstance(outcome, Reply):
            released = silence.record_reply(attempt, outcome.usage.output_tokens, now)
        else:
            heard = not outcome.never_sent and outcome.kind not in _UNHEARD
            released = silence.record_end(attempt, now, heard=heard)
        for each in released:
            each.lane.release(each, now)
            self._released += 1
        return found

    @property
    def _last_failure(self) -> str:
        return next((lane.last_failure for lane in self.lanes if lane.last_failure), "")

    def _find(self, now: float) -> Attempt | float:
        self._over_budget = None
        in_flight = self._in_flight - min(self._released, SPARE)
        if in_flight >= self._settings.bounds.concurrency:
            return math.inf
        return self._dispatch.next(now)

    def _reserve(self, job: Job) -> float | None:
        """Reserve and return the most that an attempt can cost (USD); None if it does not fit.

        Then it waits for what is in flight, which may cost less than that.
        """
        spending = self._spending
        most_usd = spending.reserve(job)
        if most_usd is None:
            self._over_budget = Stop(
                kind=StopKind.COST,
                spent_usd=spending.spent_usd,
                max_cost_usd=spending.max_usd,
                lost_answers=job.lost,
            )
        return most_usd

    def record_outcome(
        self,
        attempt: Attempt,
        outcome: Reply | Failure,
        now: float,
        *,
        cost_usd: float | None = None,
    ) -> Verdict:
        """Settle an attempt that has ended, and return what follows for its request.

        `cost_usd` is the price of the usage that the API reported; None: not known. Then the
        highest possible price counts, where the API may have charged anything.
        """
        endpoint = self._pool.by_name[attempt.endpoint]
        self._in_flight -= 1
        self._heard_at = now
        endpoint.in_flight -= 1
        attempt = self._hear(endpoint, attempt, outcome, now)
        expense = expense_of(attempt, outcome, cost_usd)
        self._spending.settle(attempt, outcome, cost_usd, expense)
        verdict = self._verdict(attempt, outcome, now, cost_usd)
        return verdict if expense is None else replace(verdict, expense=expense)

    def _verdict(
        self, attempt: Attempt, outcome: Reply | Failure, now: float, cost_usd: float | None
    ) -> Verdict:
        endpoint = self._pool.by_name[attempt.endpoint]
        attempt = self._pool.reassign(attempt, outcome.headers.organization_id, now)
        self._dispatch.record_outcome(attempt, outcome)
        if isinstance(outcome, Reply):
            endpoint.succeeded += 1
            endpoint.record_answer()
            self._has_failed = False
            self._count_patience(now)
            self._dispatch.record_reply(attempt, endpoint, now)
            attempt.lane.record_success(attempt, outcome, now)
            return self._finish(attempt, outcome, now, cost_usd)
        endpoint.failed += 1
        self._has_failed = True
        if outcome.kind is FailureKind.ENDPOINT_UNUSABLE and endpoint.succeeded:
            outcome = replace(outcome, kind=FailureKind.SERVER_ERROR)  # it can be used
        is_blamed = attempt.lane.blames_requests and outcome.kind in COUNTED
        is_own = False
        if outcome.kind in TRANSIENT and not is_blamed:
            at, rng = attempt.charge.at, self._settings.rng
            is_own = endpoint.record_failure(outcome, launched_at=at, now=now, rng=rng)
        else:
            endpoint.record_answer()
        attempt.lane.record_failure(
            attempt,
            outcome,
            now,
            is_own=is_own,
            untried=outcome.kind in COUNTED and self._has_untried(attempt.lane),
        )
        return self._judge(endpoint, attempt, outcome, now)

    def _judge(self, endpoint: Endpoint, attempt: Attempt, failure: Failure, now: float) -> Verdict:
        job, pool = attempt.job, self._pool
        model = job.request.model
        match failure.kind:
            case FailureKind.RUN_REFUSED:
                pool.take_account_out(endpoint, failure.message)
                return self._reroute(job, StopKind.REFUSED, now)
            case FailureKind.ENDPOINT_REJECTED:
                pool.take_out(endpoint, failure.message)
                return self._reroute(job, StopKind.ENDPOINT, now)
            case FailureKind.ENDPOINT_UNUSABLE:
                pool.take_out(endpoint, failure.message)
                return self._reroute(job, StopKind.UNUSABLE, now)
            case FailureKind.MODEL_FORBIDDEN:
                pool.refuse_model(endpoint, model, failure.message)
                return self._reroute(job, StopKind.MODEL, now)
            case FailureKind.REQUEST_REJECTED:
                others = any(each is not endpoint for each in pool.serving(model))
                if failure.status == _NOT_FOUND and others:
                    pool.refuse_model(endpoint, model, failure.message)
                    return self._reroute(job, StopKind.MODEL, now)
                return self._finish(attempt, failure, now)
            case _:
                return self._retry(attempt, failure, now)

    def _reroute(self, job: Job, kind: StopKind, now: float) -> Verdict:
        """Queue a request, and all that wait, again for the endpoints that are left."""
        if not self._pool.usable:
            self.stop_early(Stop(kind=kind, refusals=self._pool.refusals()))
            return Verdict()
        if not self._dispatch.enqueue(job, at=now):
            self._drop_unserved(job)
        for each in self._dispatch.reassign():
            self._drop_unserved(each)
        return Verdict()

    def release_held(self) -> tuple[RequestOutcome, ...]:
        """Return outcomes still held back when a run ends with too few of them to stop it."""
        return tuple(self._first_failures.release()) if self.stop is None else ()

    def _finish(
        self, attempt: Attempt, outcome: Reply | Failure, now: float, cost_usd: float | None = None
    ) -> Verdict:
        """Return the end of a request; it may be held back with other identical failures."""
        self._backlog.remove(attempt.job.request)
        ended = RequestOutcome(
            job=attempt.job,
            outcome=outcome,
            endpoint=attempt.endpoint,
            latency_s=now - attempt.job.launched_at,
            cost_usd=cost_usd,
            degraded=attempt.degraded,
        )
        all_ended = self._first_failures.add(ended, outcome)
        if isinstance(outcome, Failure) and self._first_failures.should_stop:
            cause = f"{outcome.error_type}: {outcome.message}"
            stop = Stop(kind=StopKind.IDENTICAL_FAILURES, message=outcome.message, cause=cause)
            self.stop_early(stop)
        return Verdict(ended=tuple(all_ended))

    def _retry(self, attempt: Attempt, failure: Failure, now: float) -> Verdict:
        """Queue a request for another attempt, or end it after its last."""
        job = attempt.job
        excused = self._is_excused(attempt, failure, now)
        waits = excused or self._waits_for_fallback(attempt)
        job.failed_at = attempt.charge.at
        counts = failure.kind in COUNTED and not waits
        if counts:
            attempt.lane.count_failure(attempt)
            if job.counted_failures >= self._settings.max_attempts:
                return self._finish(attempt, failure, now)
        else:
            job.uncounted_failures += 1
        only_endpoint = len(self._pool.serving(job.request.model)) == 1
        at = now + retry_delay_s(
            failure.kind,
            counts=counts,
            failures=job.counted_failures if counts else job.uncounted_failures,
            asked_s=failure.headers.retry_after_s,
            only_endpoint=only_endpoint,
            is_paused=attempt.lane.paused_until > now,
            rng=self._settings.rng,
        )
        if not self._dispatch.enqueue(job, at=at, last=excused):
            self._drop_unserved(job)
            return Verdict()
        return Verdict(retry_at=max(at, attempt.lane.paused_until) if only_endpoint else at)

    def _waits_for_fallback(self, attempt: Attempt) -> bool:
        """Return whether the last attempt of a request is kept for a fallback.

        That takes over some time after the first failure; without this, a request that fails faster
        would end before. One that fails while others are answered does not wait.
        """
        job, attempts = attempt.job, self._settings.max_attempts
        is_last = job.counted_failures == attempts - 1 > 0
        if not is_last or attempt.degraded or attempt.lane.suspects(job):
            return False
        return self._pool.has_fallback(job.request.model)

    def _is_excused(self, attempt: Attempt, failure: Failure, now: float) -> bool:
        """Return whether a failure is taken for that of an outage, whatever its kind.

        Once all have been tried, one of a request that failed while others succeeded is not; and
        after some time without any success the outage is doubted.
        """
        lane = attempt.lane
        if lane.is_healthy or failure.kind not in COUNTED:
            return False
        if self._has_untried(lane):
            return True
        if attempt.job.counted_failures or lane.suspects(attempt.job):
            return False
        if now < lane.unsure_since + DOUBT_SHARE * self._settings.patience_s:
            return True
        lane.blame_requests(now)
        self._pool.by_name[attempt.endpoint].breaker.record_response()
        return False

    def _has_untried(self, lane: Lane) -> bool:
        return self._backlog.more_to_come or self._dispatch.has_untried(lane.model_class)

    def _drop_unserved(self, job: Job) -> None:
        """Leave a request out that no endpoint serves: the run ends without a result for it."""
        self._unserved_models.add(job.request.model)
        self._backlog.remove(job.request)

    def _stop_for_unserved(self) -> Stop | None:
        models = sorted(self._unserved_models)
        refusals = tuple(each for model in models for each in self._pool.refusals(model))
        return Stop(kind=StopKind.MODEL, refusals=refusals) if models else None
