"""The next run of a process begins with what the last one has learned."""

from __future__ import annotations

from claude_batch.core.model.requests import FailureKind
from claude_batch.core.scheduling.decisions import Send
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings


def sent(scheduler: Scheduler, now: float, line: int = 1) -> Attempt:
    scheduler.add(a_request(line))
    decision = scheduler.next(now)
    assert isinstance(decision, Send)
    return decision.attempt


def test_the_next_run_has_the_lanes_of_the_last_one() -> None:
    first = Scheduler(scheduler_settings(), now=0.0)
    first.record_outcome(sent(first, 0.0), a_reply(), 1.0)
    second = Scheduler(scheduler_settings(), now=2.0, learned=first.learned)
    assert second.lanes == first.lanes
    assert sent(second, 2.0).lane is first.lanes[0]


def test_a_pause_that_was_asked_for_holds_the_next_run_back() -> None:
    first = Scheduler(scheduler_settings(), now=0.0)
    first.record_outcome(
        sent(first, 0.0), a_failure(FailureKind.RATE_LIMITED, retry_after_s=30.0), 1.0
    )
    second = Scheduler(scheduler_settings(), now=2.0, learned=first.learned)
    second.add(a_request(1))
    assert not isinstance(second.next(2.0), Send)


def test_the_share_of_limits_that_others_use_too_is_kept() -> None:
    first = Scheduler(scheduler_settings(shares_limits=True), now=0.0)
    first.add(a_request(1))
    first.next(0.0)
    (lane,) = first.lanes
    assert lane.sharing is not None
    lane.sharing.held = 0.25
    second = Scheduler(scheduler_settings(shares_limits=True), now=2.0, learned=first.learned)
    assert [each.sharing and each.sharing.held for each in second.lanes] == [0.25]
    alone = Scheduler(scheduler_settings(), now=2.0, learned=first.learned)
    assert alone.lanes == ()


def test_counts_begin_again() -> None:
    first = Scheduler(scheduler_settings(), now=0.0)
    first.record_outcome(sent(first, 0.0), a_reply(), 1.0)
    second = Scheduler(scheduler_settings(), now=2.0, learned=first.learned)
    assert [each.succeeded for each in second.status(2.0).endpoints] == [0]


def test_what_is_in_flight_is_not_handed_on() -> None:
    first = Scheduler(scheduler_settings(), now=0.0)
    sent(first, 0.0)
    second = Scheduler(scheduler_settings(), now=2.0, learned=first.learned)
    assert second.lanes == ()
