"""The scheduler as a machine: whatever happens, each request ends once and bounds are kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from claude_batch.core.model.account import Limits
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.requests import Failure, FailureKind, Reply
from claude_batch.core.scheduling.decisions import Finished, GiveUp, Idle, Send, Sleep, StopKind
from claude_batch.core.scheduling.guards import READ_AHEAD_REQUESTS
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.scheduler import SPARE, Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

CONCURRENCY = 12
MAX_ATTEMPTS = 3
PASSING = [
    FailureKind.RATE_LIMITED,
    FailureKind.RAMP_LIMITED,
    FailureKind.OVERLOADED,
    FailureKind.UNREACHABLE,
    FailureKind.SERVER_ERROR,
    FailureKind.TIMED_OUT,
    FailureKind.INVALID_RESPONSE,
]


def a_scheduler(**changes: object) -> Scheduler:
    own = {"concurrency": CONCURRENCY, "max_attempts": MAX_ATTEMPTS}
    return Scheduler(scheduler_settings(**(own | changes)), now=0.0)


def sent(scheduler: Scheduler, now: float) -> Attempt:
    decision = scheduler.next(now)
    assert isinstance(decision, Send)
    return decision.attempt


class SchedulerMachine(RuleBasedStateMachine):
    """Adds, launches, answers and waits in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.added = 0
        self.in_flight: list[Attempt] = []
        self.ended: list[str] = []
        self.scheduler = a_scheduler(ceilings=Limits(requests=600, input_tokens=50_000))

    @rule(model=st.sampled_from(["a", "b"]), count=st.integers(1, 10))
    def add(self, model: str, count: int) -> None:
        for _ in range(count):
            self.added += 1
            self.scheduler.add(a_request(self.added, model=model))

    @rule()
    def step(self) -> None:
        match self.scheduler.next(self.now):
            case Send(attempt):
                self.in_flight.append(attempt)
            case Sleep(until):
                assert until > self.now
                self.now = min(until, self.now + 100)
            case GiveUp(attempt):
                self.in_flight.remove(attempt)
            case Idle():
                self.now += 0.1
            case Finished():
                raise AssertionError("more may come")

    @precondition(lambda self: self.in_flight)
    @rule(pick=st.integers(0, 100), kind=st.sampled_from([None, *PASSING]))
    def answer(self, pick: int, kind: FailureKind | None) -> None:
        attempt = self.in_flight.pop(pick % len(self.in_flight))
        outcome: Reply | Failure = a_reply() if kind is None else a_failure(kind)
        self._settle(attempt, outcome)

    @rule(
        rpm=st.sampled_from([None, 60, 600, 6_000]),
        share=st.sampled_from([0.1, 1.0]),
        max_cost_usd=st.sampled_from([None, 1e6]),
        is_paused=st.booleans(),
    )
    def adjust(
        self, rpm: int | None, share: float, max_cost_usd: float | None, *, is_paused: bool
    ) -> None:
        self._bound(
            ceilings=Limits(requests=rpm),
            share=share,
            max_cost_usd=max_cost_usd,
            is_paused=is_paused,
        )

    def _bound(self, *, is_paused: bool, **bounds: Any) -> None:
        wanted = Bounds(concurrency=CONCURRENCY, **bounds)
        self.scheduler.adjust(Adjustment(bounds=wanted, is_paused=is_paused), self.now)

    def _settle(self, attempt: Attempt, outcome: Reply | Failure) -> None:
        verdict = self.scheduler.record_outcome(attempt, outcome, self.now)
        self.ended += [ending.job.request.custom_id for ending in verdict.ended]

    @invariant()
    def no_request_ends_twice(self) -> None:
        assert len(self.ended) == len(set(self.ended))

    @invariant()
    def the_number_in_flight_is_bounded_and_true(self) -> None:
        assert self.scheduler.in_flight == len(self.in_flight) <= CONCURRENCY + SPARE

    def teardown(self) -> None:
        self._bound(is_paused=False)
        self.scheduler.end_input()
        for _ in range(100_000):
            match self.scheduler.next(self.now):
                case Send(attempt):
                    self.in_flight.append(attempt)
                case GiveUp(attempt):
                    self.in_flight.remove(attempt)
                case Sleep(until):
                    self.now = until
                case Idle():
                    for attempt in self.in_flight:
                        self._settle(attempt, a_reply())
                    self.in_flight.clear()
                case Finished(stop):
                    assert stop is None
                    break
        assert len(self.ended) == self.added


SchedulerMachine.TestCase.settings = settings(stateful_step_count=60)
TestScheduler = SchedulerMachine.TestCase


def test_requests_go_in_file_order() -> None:
    scheduler = a_scheduler()
    for line in (1, 2, 3):
        scheduler.add(a_request(line))
    assert [sent(scheduler, 0.0).job.request.line for _ in range(3)] == [1, 2, 3]


def test_a_large_request_is_not_passed_by_small_ones() -> None:
    scheduler = a_scheduler(initial_limits=lambda _: Limits(input_tokens=600))
    for line, tokens in enumerate((500, 590, 5, 5), start=1):
        scheduler.add(replace(a_request(line), input_tokens=tokens))
    now = 0.0
    order: list[int] = []
    while len(order) < 4:
        decision = scheduler.next(now)
        if isinstance(decision, Send):
            order.append(decision.attempt.job.request.line)
        else:
            assert isinstance(decision, Sleep)
            now = decision.until
    assert order == [1, 2, 3, 4]
    assert now < 60 + 60


def test_the_oldest_of_several_retries_goes_first() -> None:
    scheduler = a_scheduler()
    for line in (1, 2, 3):
        scheduler.add(a_request(line))
    for attempt in [sent(scheduler, 0.0) for _ in range(3)]:
        scheduler.record_outcome(attempt, a_failure(FailureKind.SERVER_ERROR), 1.0)
    assert [sent(scheduler, 60.0).job.request.line for _ in range(3)] == [1, 2, 3]


def test_a_file_that_waits_for_a_slow_run_is_not_read_ahead_without_end() -> None:
    scheduler = a_scheduler()
    line = 0
    while scheduler.wants_input:
        line += 1
        scheduler.add(a_request(line))
    assert line == READ_AHEAD_REQUESTS


def test_a_retry_goes_before_new_requests() -> None:
    scheduler = a_scheduler(concurrency=1)
    scheduler.add(a_request(1))
    scheduler.add(a_request(2))
    attempt = sent(scheduler, 0.0)
    scheduler.record_outcome(attempt, a_failure(FailureKind.SERVER_ERROR), 1.0)
    assert sent(scheduler, 60.0).job.request.line == 1


def test_a_mixed_file_uses_its_lanes_in_turn() -> None:
    scheduler = a_scheduler()
    for line in range(1, 9):
        scheduler.add(a_request(line, model="a" if line <= 4 else "b"))
    assert [sent(scheduler, 0.0).lane.name for _ in range(4)] == ["a", "b", "a", "b"]


def test_a_finished_scheduler_has_nothing_left() -> None:
    scheduler = a_scheduler()
    scheduler.end_input()
    assert scheduler.next(0.0) == Finished()


def test_an_empty_scheduler_waits_for_input() -> None:
    assert a_scheduler().next(0.0) == Idle()


def end_with_server_errors(scheduler: Scheduler, failing: Callable[[str], bool]) -> dict[str, int]:
    """Answer all that is sent, some by errors of the server; return the tries of each request."""
    now, tries = 0.0, {}
    while True:
        match scheduler.next(now):
            case Send(attempt):
                name = attempt.job.request.custom_id
                bad = failing(name)
                outcome = a_failure(FailureKind.SERVER_ERROR) if bad else a_reply()
                for ending in scheduler.record_outcome(attempt, outcome, now).ended:
                    tries[ending.job.request.custom_id] = ending.job.attempts
            case Sleep(until):
                now = until
            case Idle() | GiveUp():
                raise AssertionError("nothing is in flight")
            case Finished(stop):
                assert stop is None
                return tries


def test_requests_that_make_the_server_fail_end_even_if_they_are_the_last() -> None:
    scheduler = a_scheduler()
    for number in range(1, 31):
        scheduler.add(a_request(number))
    scheduler.end_input()
    tries = end_with_server_errors(scheduler, lambda name: int(name.split("-")[1]) > 10)
    assert len(tries) == 30
    assert max(tries.values()) >= MAX_ATTEMPTS


def test_requests_that_make_the_server_fail_among_others_are_not_excused() -> None:
    scheduler = a_scheduler()
    for number in range(1, 31):
        scheduler.add(a_request(number))
    scheduler.end_input()
    tries = end_with_server_errors(scheduler, lambda name: int(name.split("-")[1]) % 10 == 5)
    assert {tries[name] for name in ("line-5", "line-15", "line-25")} == {MAX_ATTEMPTS}


def test_a_wait_longer_than_the_patience_left_ends_the_run_at_once() -> None:
    scheduler = Scheduler(scheduler_settings(patience_s=3600.0), now=0.0)
    scheduler.add(a_request())
    scheduler.end_input()
    decision = scheduler.next(0.0)
    assert isinstance(decision, Send)
    failure = a_failure(FailureKind.RATE_LIMITED, retry_after_s=7200.0, message="later")
    scheduler.record_outcome(decision.attempt, failure, 1.0)
    ended = scheduler.next(1.0)
    assert isinstance(ended, Finished)
    assert ended.stop is not None
    assert (ended.stop.kind, ended.stop.message) == (StopKind.PATIENCE, "rate_limited: later")
    assert ended.stop.retry_in_s == pytest.approx(7200.0)
