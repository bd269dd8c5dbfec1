"""Which request goes next, and what becomes of one that has been tried.

The scheduler is told what happened and what time it is, and answers with what to do. It never
waits, and everything that changes its state is a method here or of `Lane`. Times are seconds on
one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from claude_batch.core.first_replies import FirstReplies
from claude_batch.core.lane import Attempt, Job, Lane
from claude_batch.core.limits import NO_LIMITS, LaneLimits, Limits
from claude_batch.core.model import Failure, FailureKind, Reply, Request
from claude_batch.core.retry import (
    COUNTED,
    FIRST_BACKOFF_S,
    LIMITED,
    MAX_BACKOFF_S,
    PROBE_BACKOFF_S,
    full_jitter,
)
from claude_batch.core.window import Window

READ_AHEAD_REQUESTS = 10_000
READ_AHEAD_BYTES = 64_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulerSettings:
    """What the user and the machine allow.

    `lane_of` names the lane of a model; `first_guess` gives a lane's limits before any header
    has told them; `concurrency` bounds all attempts in flight together.
    """

    lane_of: Callable[[str], str]
    draw: Callable[[], float]
    concurrency: int
    first_guess: Callable[[str], Limits] = lambda _: NO_LIMITS
    ceilings: Limits = NO_LIMITS
    share: float = 1.0
    max_attempts: int = 6
    patience_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Send:
    """Launch this attempt, and tell `launched` when it really went."""

    attempt: Attempt


@dataclass(frozen=True, slots=True)
class Sleep:
    """Nothing can be launched before `until`, unless something finishes or is added."""

    until: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Nothing can be launched before something finishes or is added."""


class StopKind(StrEnum):
    """Why a run ends before its time."""

    REFUSED = "refused"
    ENDPOINT = "endpoint"
    MODEL = "model"
    ALIKE = "alike"
    PATIENCE = "patience"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The end of a run that is not finished; `message` is the API's, where it gave one."""

    kind: StopKind
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing more is to be launched: all is done, or `stop` says why not."""

    stop: Stop | None = None


Decision = Send | Sleep | Idle | Finished


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """A request that will not be tried again, and what its last attempt brought."""

    job: Job
    outcome: Reply | Failure
    latency_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """What follows from an attempt: requests that ended, or when it will be tried again."""

    endings: tuple[Ending, ...] = ()
    retry_at: float | None = None


class Scheduler:
    """All lanes of a run, and the verdict on every attempt."""

    def __init__(self, settings: SchedulerSettings, *, now: float) -> None:
        self._settings = settings
        self._lanes: dict[str, Lane] = {}
        self._turn = 0
        self._order = 0
        self._queued_bytes = 0
        self._more_to_come = True
        self._first: FirstReplies[Ending] = FirstReplies()
        self._forbidden: dict[str, str] = {}
        self._last_success_at = now
        self.stop: Stop | None = None

    @property
    def in_flight(self) -> int:
        """Attempts admitted and not yet finished."""
        return sum(lane.in_flight for lane in self._lanes.values())

    @property
    def lanes(self) -> tuple[Lane, ...]:
        """The lanes seen so far, in order of appearance."""
        return tuple(self._lanes.values())

    @property
    def hungry(self) -> bool:
        """Whether more requests should be read from the input."""
        queued = sum(lane.queued for lane in self._lanes.values())
        return (
            self._more_to_come
            and queued < READ_AHEAD_REQUESTS
            and self._queued_bytes < READ_AHEAD_BYTES
        )

    def add(self, request: Request, now: float) -> None:
        """Take a request in, at the end of its lane."""
        self._order += 1
        self._queued_bytes += len(request.body)
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
        in_flight = self.in_flight
        wake: float | None = None
        if in_flight < self._settings.concurrency:
            for lane in self._in_turn():
                ready = self._ready_at(lane, now)
                if ready is not None and ready <= now:
                    self._turn += 1
                    return Send(lane.take(now))
                if ready is not None:
                    wake = ready if wake is None else min(wake, ready)
        if wake is not None:
            return Sleep(min(wake, self._last_success_at + self._settings.patience_s))
        if in_flight or self._more_to_come:
            return Idle()
        return Finished(self._unserved())

    def _in_turn(self) -> list[Lane]:
        """Return the lanes so that each comes first in its turn."""
        lanes = list(self._lanes.values())
        first = self._turn % max(1, len(lanes))
        return lanes[first:] + lanes[:first]

    def _ready_at(self, lane: Lane, now: float) -> float | None:
        """Return when `lane` can launch, after dropping what no endpoint will serve."""
        ready = lane.ready_at(now)
        while self._forbidden and ready is not None and lane.drop_if(self._is_forbidden):
            ready = lane.ready_at(now)
        return ready

    def _is_forbidden(self, job: Job) -> bool:
        return job.request.model in self._forbidden

    def launched(self, attempt: Attempt, now: float) -> None:
        """Note that an attempt really went out at `now`, after its turn in the pacing."""
        attempt.job.launched_at = now

    def launch_rate(self, attempt: Attempt) -> float | None:
        """Return the launches per minute its lane may make, evenly; None: as fast as it likes."""
        return self._lanes[attempt.lane].limits.requests_per_minute

    def take_back(self, attempt: Attempt, now: float) -> None:
        """Note that an attempt was never launched; its request goes back in line."""
        self._lanes[attempt.lane].untake(attempt, now)

    def finished(self, attempt: Attempt, outcome: Reply | Failure, now: float) -> Ruling:
        """Settle an attempt and say what becomes of its request."""
        lane = self._lanes[attempt.lane]
        if isinstance(outcome, Reply):
            self._last_success_at = now
            lane.succeeded(attempt, outcome, now)
            return self._ended(attempt, outcome, now)
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
                return Ruling()
            case FailureKind.REQUEST_REJECTED:
                return self._ended(attempt, outcome, now)
            case _:
                return self._retry(lane, attempt, outcome, now)

    def release(self) -> tuple[Ending, ...]:
        """Return endings still held back, once a run is over and they were too few to judge."""
        return tuple(self._first.release()) if self.stop is None else ()

    def _ended(self, attempt: Attempt, outcome: Reply | Failure, now: float) -> Ruling:
        self._queued_bytes -= len(attempt.job.request.body)
        latency_s = now - attempt.job.launched_at
        ending = Ending(job=attempt.job, outcome=outcome, latency_s=latency_s)
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
