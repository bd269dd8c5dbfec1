"""A bound on costs is never exceeded, whatever attempts turn out to cost."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.requests import Failure, FailureKind, Reply, Usage
from claude_batch.core.scheduling.decisions import (
    Finished,
    GiveUp,
    Idle,
    Send,
    Sleep,
    Stop,
    StopKind,
)
from claude_batch.core.scheduling.guards import OVERHEAD_TOKENS, PROVING_REPLIES, InputBound
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

MOST = 0.01
"""The highest price of a request."""

NOTHING = 1e-9
"""Rounding of sums."""


@dataclass
class Work:
    """A run worked off: what the API charged, what the scheduler says of it, and why it ended."""

    charged: float = 0.0
    counted: float = 0.0
    stop: Stop | None = None
    in_flight: list[Attempt] = field(default_factory=list)


def a_scheduler(
    most: float, *, spent: float = 0.0, requests: int = 100, lost: tuple[int, ...] = ()
) -> Scheduler:
    settings = scheduler_settings(
        concurrency=8,
        max_cost_usd=most,
        spent_usd=spent,
        most_usd=lambda _request, _input_tokens: MOST,
        lost_marks=lost,
    )
    scheduler = Scheduler(settings, now=0.0)
    for line in range(1, requests + 1):
        scheduler.add(a_request(line))
    scheduler.end_input()
    return scheduler


Ended = tuple[Reply | Failure, float]
"""How an attempt ends, and what the API charges for it."""


def work(scheduler: Scheduler, ends: list[Ended], *, next_to_end: int = 0) -> Work:
    """Work the requests off; `next_to_end` is which of those in flight ends first."""
    done, now, tries = Work(), 0.0, 0
    while True:
        match scheduler.next(now):
            case Send(attempt):
                done.in_flight.append(attempt)
            case Sleep(until):
                now = until
            case Idle():
                now += 0.1
                attempt = done.in_flight.pop(next_to_end % len(done.in_flight))
                outcome, usd = ends[tries % len(ends)]
                tries += 1
                done.charged += usd
                known = usd if outcome.usage.is_reported else None
                verdict = scheduler.record_outcome(attempt, outcome, now, cost_usd=known)
                if isinstance(outcome, Reply):
                    done.counted += known or 0.0
                if verdict.expense is not None:
                    done.counted += verdict.expense.cost_usd or 0.0
                    done.counted += verdict.expense.at_most_usd
            case GiveUp():
                raise AssertionError("nothing is silent")
            case Finished(stop):
                done.stop = stop
                return done


def a_reply_of(usd: float) -> Ended:
    return a_reply(), usd


def test_a_run_stops_before_the_bound_is_crossed() -> None:
    done = work(a_scheduler(0.255), [a_reply_of(MOST)])
    assert 0.249 < done.charged <= 0.255
    assert done.stop is not None
    assert done.stop.kind is StopKind.COST


def test_what_the_run_has_cost_before_counts() -> None:
    assert 0.049 < work(a_scheduler(0.255, spent=0.2), [a_reply_of(MOST)]).charged <= 0.055


def test_a_run_that_fits_its_bound_is_finished() -> None:
    assert work(a_scheduler(1.001), [a_reply_of(MOST)]).stop is None


def test_a_bound_of_nothing_sends_nothing() -> None:
    assert isinstance(a_scheduler(0.0).next(0.0), Finished)


def test_replies_that_are_cheaper_than_they_might_be_make_room() -> None:
    assert work(a_scheduler(0.105), [a_reply_of(MOST / 5)], next_to_end=3).charged > 0.095


reported = Usage(input_tokens=20, output_tokens=5)
endings = st.one_of(
    st.floats(0, MOST).map(a_reply_of),
    st.floats(0, MOST).map(
        lambda usd: (replace(a_failure(FailureKind.INVALID_RESPONSE), usage=reported), usd)
    ),
    st.floats(0, MOST).map(lambda usd: (a_failure(FailureKind.TIMED_OUT), usd)),
    st.floats(0, MOST).map(lambda usd: (replace(a_reply(), usage=Usage()), usd)),
    st.sampled_from(
        [FailureKind.OVERLOADED, FailureKind.RATE_LIMITED, FailureKind.REQUEST_REJECTED]
    ).map(lambda kind: (a_failure(kind), 0.0)),
)


@given(
    most=st.floats(0, 0.5),
    spent=st.floats(0, 0.1),
    ends=st.lists(endings, min_size=1, max_size=30),
    next_to_end=st.integers(0, 7),
)
def test_a_bound_is_never_exceeded_whatever_attempts_cost(
    most: float, spent: float, ends: list[Ended], next_to_end: int
) -> None:
    done = work(a_scheduler(most, spent=spent), ends, next_to_end=next_to_end)
    assert done.charged <= done.counted + NOTHING
    in_flight = len(done.in_flight) * MOST  # where patience ended first
    assert spent + done.counted + in_flight <= max(most, spent) + NOTHING
    if done.stop is not None and done.stop.kind is StopKind.COST:
        assert most - spent - done.counted < MOST + NOTHING


def test_an_answer_that_never_came_whole_may_have_been_charged() -> None:
    scheduler = a_scheduler(0.015)
    attempt = sent(scheduler)
    verdict = scheduler.record_outcome(attempt, a_failure(FailureKind.INVALID_RESPONSE), 1.0)
    assert verdict.expense is not None
    assert (verdict.expense.unreported, verdict.expense.at_most_usd) == (1, MOST)
    assert isinstance(scheduler.next(60.0), Finished)


def test_what_a_discarded_answer_reported_is_counted_as_reported() -> None:
    scheduler = a_scheduler(0.015)
    failure = replace(a_failure(FailureKind.INVALID_RESPONSE), usage=reported)
    verdict = scheduler.record_outcome(sent(scheduler), failure, 1.0, cost_usd=0.001)
    assert verdict.expense is not None
    assert (verdict.expense.input_tokens, verdict.expense.output_tokens) == (20, 5)
    assert (verdict.expense.cost_usd, verdict.expense.unreported) == (0.001, 0)
    assert isinstance(scheduler.next(60.0), Send)


def test_an_attempt_that_was_refused_costs_nothing() -> None:
    scheduler = a_scheduler(0.015)
    scheduler.record_outcome(sent(scheduler), a_failure(FailureKind.OVERLOADED), 1.0)
    assert isinstance(scheduler.next(60.0), Send)


def test_an_answer_lost_with_its_process_costs_what_its_successor_does() -> None:
    done = work(a_scheduler(0.2, requests=5, lost=(2, 3)), [a_reply_of(0.002)])
    assert done.charged == 5 * 0.002
    assert abs(done.counted - 10 * 0.002) < NOTHING  # lines 1 and 2 were lost twice, line 3 once


def test_where_results_hold_successes_alike_failures_are_their_requests_fault() -> None:
    rejected: list[Ended] = [(a_failure(FailureKind.REQUEST_REJECTED), 0.0)]
    for has_succeeded, kind in ((False, StopKind.IDENTICAL_FAILURES), (True, None)):
        scheduler = Scheduler(scheduler_settings(has_succeeded=has_succeeded), now=0.0)
        for line in range(1, 31):
            scheduler.add(a_request(line))
        scheduler.end_input()
        stop = work(scheduler, rejected).stop
        assert (stop and stop.kind) == kind


def test_a_prompt_may_be_longer_than_estimated_until_replies_show_by_how_much() -> None:
    bound, request = InputBound(), replace(a_request(), input_tokens=1_000)
    assert bound.tokens(request) == 2_000 + OVERHEAD_TOKENS
    for _ in range(PROVING_REPLIES):
        bound.learn(1_000, Usage(input_tokens=1_200 + OVERHEAD_TOKENS, output_tokens=1))
    assert round(bound.tokens(request)) == 1_320 + OVERHEAD_TOKENS


def sent(scheduler: Scheduler) -> Attempt:
    decision = scheduler.next(0.0)
    assert isinstance(decision, Send)
    return decision.attempt
