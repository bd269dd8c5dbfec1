"""Bounds that change while a run goes: what the scheduler launches from then on."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.adjustment import Adjustment, Bounds
from claude_batch.core.model.requests import FailureKind, LimitKind
from claude_batch.core.model.snapshot import LimitSource, WaitKind
from claude_batch.core.scheduling.decisions import Finished, Idle, Send, Sleep, StopKind
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

FREE = Bounds(concurrency=100)
AMPLE = Limits(requests=6_000, input_tokens=1e9, output_tokens=1e9)


def a_scheduler(count: int = 5_000, **changes: object) -> Scheduler:
    """Return a scheduler with requests, in a lane whose first reply has come."""
    settings = {"initial_limits": lambda _model: AMPLE} | changes
    scheduler = Scheduler(scheduler_settings(**settings), now=0.0)
    for line in range(1, count + 1):
        scheduler.add(a_request(line))
    scheduler.end_input()
    return scheduler


def adjust(scheduler: Scheduler, now: float, *, paused: bool = False, **changes: object) -> None:
    bounds = replace(FREE, **changes)  # type: ignore[arg-type]
    scheduler.adjust(Adjustment(bounds=bounds, is_paused=paused), now)


def launches(scheduler: Scheduler, start: float, end: float) -> list[float]:
    """Return when attempts are launched; each is answered at once."""
    now, times = start, []
    while now < end:
        match scheduler.next(now):
            case Send(attempt):
                times.append(now)
                scheduler.record_outcome(attempt, a_reply(), now)
            case Sleep(until):
                now = max(until, now + 1e-6)
            case _:
                break
    return times


def all_launched(scheduler: Scheduler, now: float) -> list[Attempt]:
    found = []
    while isinstance(decision := scheduler.next(now), Send):
        found.append(decision.attempt)
    return found


def test_a_lower_ceiling_spreads_launches_from_then_on() -> None:
    scheduler = a_scheduler(bounds=Bounds(concurrency=100))
    assert len(launches(scheduler, 0.0, 1.0)) > 50
    adjust(scheduler, 1.0, ceilings=Limits(requests=120))
    assert len(launches(scheduler, 1.0, 11.0)) == pytest.approx(20, abs=1)


def test_a_ceiling_below_what_the_last_minute_had_does_not_halt_the_run() -> None:
    scheduler = a_scheduler(ceilings=Limits(requests=1_200))
    launches(scheduler, 0.0, 10.0)
    adjust(scheduler, 10.0, ceilings=Limits(requests=60))
    assert launches(scheduler, 10.0, 12.0)


def test_a_higher_ceiling_counts_what_the_last_minute_had() -> None:
    scheduler = a_scheduler(ceilings=Limits(requests=60))
    before = launches(scheduler, 0.0, 30.0)
    adjust(scheduler, 30.0, ceilings=Limits(requests=120))
    after = launches(scheduler, 30.0, 60.0)
    assert 28 <= len(before) <= 31
    assert len(before) + len(after) <= 120


def test_no_ceiling_is_the_limit_of_the_api_again() -> None:
    scheduler = a_scheduler(ceilings=Limits(requests=60))
    launches(scheduler, 0.0, 2.0)
    adjust(scheduler, 2.0, ceilings=NO_LIMITS)
    assert len(launches(scheduler, 2.0, 3.0)) > 50
    (lane,) = scheduler.status(3.0).lanes
    assert {gauge.source for gauge in lane.gauges} == {LimitSource.ASSUMED}


@given(
    limits=st.lists(st.integers(30, 300), min_size=1, max_size=3),
    every_s=st.floats(0.5, 70.0),
)
def test_no_minute_under_one_ceiling_exceeds_it(limits: list[int], every_s: float) -> None:
    scheduler, now = a_scheduler(1_500), 0.0
    for limit in limits:
        adjust(scheduler, now, ceilings=Limits(requests=limit))
        times = launches(scheduler, now, now + every_s)
        minutes = (bisect_left(times, at + 60) - index for index, at in enumerate(times))
        assert max(minutes, default=0) <= limit
        now += every_s


def test_attempts_in_flight_at_a_change_give_nothing_back_to_the_new_ceiling() -> None:
    scheduler = a_scheduler(initial_limits=lambda _model: NO_LIMITS)
    in_flight = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.0, ceilings=Limits(output_tokens=600))
    for attempt in in_flight:
        scheduler.record_outcome(attempt, a_reply(output_tokens=1), 0.5)
    (lane,) = scheduler.status(0.5).lanes
    (gauge,) = [each for each in lane.gauges if each.kind is LimitKind.OUTPUT_TOKENS]
    assert gauge.available == pytest.approx(600)


def test_a_share_is_kept_in_lanes_that_are_there() -> None:
    scheduler = a_scheduler()
    launches(scheduler, 0.0, 1.0)
    adjust(scheduler, 1.0, share=0.1)
    assert len(launches(scheduler, 1.0, 7.0)) == pytest.approx(60, abs=2)
    adjust(scheduler, 7.0, share=1.0)
    assert len(launches(scheduler, 7.0, 8.0)) > 50


def test_fewer_in_flight_are_reached_by_waiting_and_more_at_once() -> None:
    scheduler = a_scheduler(concurrency=10)
    first = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.0, concurrency=4)
    for attempt in first[:6]:
        scheduler.record_outcome(attempt, a_reply(), 0.1)
        assert not isinstance(scheduler.next(0.1), Send) or scheduler.in_flight <= 4
    assert scheduler.in_flight == 4
    adjust(scheduler, 0.2, concurrency=20)
    now = 0.2
    while isinstance(decision := scheduler.next(now), Send | Sleep):
        now = decision.until if isinstance(decision, Sleep) else now
    assert scheduler.in_flight == 8


def test_a_first_bound_on_the_cost_waits_for_what_reserved_nothing() -> None:
    scheduler = a_scheduler(most_usd=lambda _request, _tokens: 1.0, concurrency=3, spent_usd=10.0)
    in_flight = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.0, max_cost_usd=14.0)
    assert not all_launched(scheduler, 0.1)
    for attempt in in_flight:
        scheduler.record_outcome(attempt, a_reply(), 0.2, cost_usd=1.0)
    (last,) = all_launched(scheduler, 0.2)
    scheduler.record_outcome(last, a_reply(), 0.3, cost_usd=1.0)
    decision = scheduler.next(0.4)
    assert isinstance(decision, Finished)
    assert decision.stop is not None
    assert (decision.stop.kind, decision.stop.spent_usd) == (StopKind.COST, 14.0)


def test_a_higher_bound_on_the_cost_lets_a_waiting_run_continue() -> None:
    scheduler = a_scheduler(most_usd=lambda _request, _tokens: 1.0, max_cost_usd=1.5)
    (first,) = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.1, max_cost_usd=2.5)
    (_second,) = all_launched(scheduler, 0.1)
    scheduler.record_outcome(first, a_reply(), 0.2, cost_usd=0.1)
    assert len(all_launched(scheduler, 0.2)) == 1


def test_a_pause_launches_nothing_and_keeps_what_is_in_flight() -> None:
    scheduler = a_scheduler(concurrency=3)
    in_flight = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.0, paused=True, concurrency=3)
    for attempt in in_flight:
        assert scheduler.record_outcome(attempt, a_reply(), 5.0).ended
    assert isinstance(scheduler.next(5.0), Idle)
    wait = scheduler.status(5.0).wait
    assert wait is not None
    assert wait.kind is WaitKind.PAUSED
    adjust(scheduler, 6.0, concurrency=3)
    assert isinstance(scheduler.next(6.0), Send)


def test_patience_stands_still_in_a_pause() -> None:
    scheduler = a_scheduler(patience_s=60.0)
    (first, *_) = all_launched(scheduler, 0.0)
    scheduler.record_outcome(first, a_failure(FailureKind.OVERLOADED), 10.0)
    adjust(scheduler, 10.0, paused=True)
    assert isinstance(scheduler.next(5_000.0), Idle)
    adjust(scheduler, 5_000.0)
    assert not isinstance(scheduler.next(5_049.0), Finished)
    decision = scheduler.next(5_051.0)
    assert isinstance(decision, Finished)
    assert decision.stop is not None
    assert decision.stop.kind is StopKind.PATIENCE


def test_a_paused_run_with_nothing_left_is_over() -> None:
    scheduler = a_scheduler(1)
    (only,) = all_launched(scheduler, 0.0)
    adjust(scheduler, 0.0, paused=True)
    scheduler.record_outcome(only, a_reply(), 1.0)
    assert scheduler.next(1.0) == Finished()
