"""A fallback takes over from a primary endpoint that is down, however many requests there are."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field

import pytest

from claude_batch.core.model.requests import Failure, FailureKind, Reply
from claude_batch.core.scheduling.decisions import Finished, GiveUp, Idle, Send, Sleep
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.pool import EndpointSpec, Role
from claude_batch.core.scheduling.scheduler import Learned, Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

MAIN = EndpointSpec(name="main")
STAND_IN = EndpointSpec(name="stand-in", host="localhost", role=Role.FALLBACK)
AFTER_S = 30.0
ANSWER_S = 1.0

REFUSED = a_failure(FailureKind.UNREACHABLE), 0.001
NO_ROUTE = a_failure(FailureKind.UNREACHABLE), 10.0
OVERLOADED = a_failure(FailureKind.OVERLOADED), 0.2
BROKEN = a_failure(FailureKind.SERVER_ERROR), 0.2
UNREADABLE = a_failure(FailureKind.INVALID_RESPONSE), 0.2
HUNG = a_failure(FailureKind.TIMED_OUT), 60.0
FULL = a_failure(FailureKind.RATE_LIMITED, retry_after_s=2.0), 0.1
FULL_FOR_LONG = a_failure(FailureKind.RATE_LIMITED, retry_after_s=600.0), 0.1
FULL_WITHOUT_A_TIME = a_failure(FailureKind.RATE_LIMITED), 0.1


@dataclass(slots=True)
class Course:
    """What became of a run whose primary endpoint is down."""

    scheduler: Scheduler
    began: float
    asked: list[tuple[float, str]] = field(default_factory=list)
    ended: list[Failure | Reply] = field(default_factory=list)
    now: float = 0.0

    @property
    def errored(self) -> int:
        return sum(isinstance(each, Failure) for each in self.ended)

    def first(self, endpoint: str) -> float:
        return min(at for at, asked in self.asked if asked == endpoint) - self.began

    def count(self, endpoint: str) -> int:
        return sum(asked == endpoint for _, asked in self.asked)


def course(
    requests: int,
    down: tuple[Failure, float],
    *,
    began: float = 0.0,
    learned: Learned | None = None,
    up_from: float = float("inf"),
    **changes: object,
) -> Course:
    """Let the fallback answer, and the primary fail until `up_from`; return what happens."""
    failure, took_s = down
    settings = scheduler_settings(
        endpoints=(MAIN, STAND_IN),
        fallback_after_s=AFTER_S,
        rng=random.Random(1).random,
        **changes,
    )
    scheduler = Scheduler(settings, now=began, learned=learned)
    for line in range(1, requests + 1):
        scheduler.add(a_request(line))
    scheduler.end_input()
    out = Course(scheduler, began, now=began)
    numbers = itertools.count()
    coming: list[tuple[float, int, Attempt, Failure | Reply]] = []
    while True:
        match scheduler.next(out.now):
            case Send(attempt):
                out.asked.append((out.now, attempt.endpoint))
                is_down = attempt.endpoint == "main" and out.now < up_from
                at = out.now + (took_s if is_down else ANSWER_S)
                outcome = failure if is_down else a_reply()
                heapq.heappush(coming, (at, next(numbers), attempt, outcome))
            case Sleep(until) | Idle(until) if coming and coming[0][0] <= until:
                out.now, _, attempt, outcome = heapq.heappop(coming)
                verdict = scheduler.record_outcome(attempt, outcome, out.now)
                out.ended += [each.outcome for each in verdict.ended]
            case Sleep(until) | Idle(until):
                out.now = until
            case GiveUp():
                raise AssertionError("nobody is silent")
            case Finished(stop):
                assert stop is None
                return out


@pytest.mark.parametrize("requests", [1, 2, 4, 8, 40])
@pytest.mark.parametrize(
    ("down", "within_s"),
    [
        pytest.param(REFUSED, AFTER_S + 1, id="refused"),
        pytest.param(NO_ROUTE, AFTER_S + 20, id="no route"),
        pytest.param(OVERLOADED, AFTER_S + 2, id="overloaded"),
        pytest.param(BROKEN, AFTER_S + 1, id="broken"),
        pytest.param(UNREADABLE, AFTER_S + 1, id="unreadable"),
        pytest.param(HUNG, 125.0, id="hung: known after two attempts of 60 s"),
        pytest.param(FULL, AFTER_S + 1, id="429 for 2 s, again and again"),
        pytest.param(FULL_FOR_LONG, AFTER_S + 1, id="429 for 10 min"),
        pytest.param(FULL_WITHOUT_A_TIME, AFTER_S + 1, id="429"),
    ],
)
def test_it_takes_over_as_soon_for_one_request_as_for_many(
    requests: int, down: tuple[Failure, float], within_s: float
) -> None:
    out = course(requests, down)
    assert AFTER_S <= out.first("stand-in") <= within_s
    assert (len(out.ended), out.errored) == (requests, 0)
    assert out.now <= within_s + ANSWER_S + 10.0  # the last ones do not wait for the primary


def test_the_countdown_to_it_never_goes_back() -> None:
    failure, took_s = REFUSED
    settings = scheduler_settings(endpoints=(MAIN, STAND_IN), fallback_after_s=AFTER_S)
    scheduler = Scheduler(settings, now=0.0)
    scheduler.add(a_request(1))
    now, left = 0.0, list[float]()
    while True:
        match scheduler.next(now):
            case Send(attempt) if attempt.degraded:
                break
            case Send(attempt):
                now += took_s
                scheduler.record_outcome(attempt, failure, now)
            case Sleep(until) | Idle(until):
                wait = scheduler.status(now).wait
                if wait is not None and wait.fallback_in_s is not None:
                    left.append(wait.fallback_in_s)
                now = until
            case _:
                raise AssertionError("one request is left")
    assert len(left) > 2
    assert left == sorted(left, reverse=True)


def test_a_request_at_fault_ends_after_its_attempts_though_there_is_a_fallback() -> None:
    settings = scheduler_settings(endpoints=(MAIN, STAND_IN), max_attempts=3)
    scheduler = Scheduler(settings, now=0.0)
    bad, asked = 1, list[str]()
    for line in range(1, 100):
        scheduler.add(a_request(line))
    now, ended = 0.0, list[int]()
    while bad not in ended:
        match scheduler.next(now):
            case Send(attempt):
                is_bad = attempt.job.request.line == bad
                asked += [attempt.endpoint] if is_bad else []
                outcome = a_failure(FailureKind.SERVER_ERROR) if is_bad else a_reply()
                verdict = scheduler.record_outcome(attempt, outcome, now)
                ended += [each.job.request.line for each in verdict.ended]
            case Sleep(until):
                now = until
            case Idle():
                now += 0.1
            case _:
                raise AssertionError("it does not end")
        now += 0.1
    assert asked == ["main"] * 3


def test_a_request_that_may_have_one_attempt_only_has_one() -> None:
    out = course(1, BROKEN, max_attempts=1)
    assert (out.count("main"), out.errored) == (1, 1)


def test_the_next_run_begins_with_the_fallback_in_charge() -> None:
    for down in (REFUSED, OVERLOADED, BROKEN, HUNG, FULL_FOR_LONG):
        first = course(20, down)
        second = course(20, down, began=first.now + 1.0, learned=first.scheduler.learned)
        assert second.first("stand-in") <= 0.1
        assert second.count("main") <= 2  # probes
        assert second.errored == 0


def test_the_next_run_leaves_the_fallback_when_the_primary_answers_again() -> None:
    first = course(20, REFUSED, concurrency=4)
    learned, back = first.scheduler.learned, first.now + 5.0
    second = course(200, REFUSED, began=first.now, learned=learned, up_from=back, concurrency=4)
    late = {endpoint for at, endpoint in second.asked if at > back + 20.0 + ANSWER_S}
    assert second.first("stand-in") == 0.0
    assert late == {"main"}
    assert second.scheduler.status(second.now).fallback is None
