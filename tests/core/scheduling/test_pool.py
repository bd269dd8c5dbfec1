"""Several endpoints: whose limits they draw on, and what becomes of those that fail."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.model.account import Limits
from claude_batch.core.model.requests import Failure, FailureKind, Reply, ResponseHeaders
from claude_batch.core.model.snapshot import EndpointState, WaitKind
from claude_batch.core.scheduling.decisions import (
    Finished,
    GiveUp,
    Idle,
    Refusal,
    Send,
    Sleep,
    StopKind,
)
from claude_batch.core.scheduling.dispatch import Strategy
from claude_batch.core.scheduling.lane import Attempt
from claude_batch.core.scheduling.pool import EndpointSpec, Role
from claude_batch.core.scheduling.scheduler import Scheduler
from tests.support.fakes import a_failure, a_reply, a_request, scheduler_settings

A, B, C = EndpointSpec(name="a"), EndpointSpec(name="b"), EndpointSpec(name="c")
OTHER = EndpointSpec(name="other", host="relay.example.com")
STAND_IN = EndpointSpec(name="stand-in", host="localhost", role=Role.FALLBACK)


def a_pool(*specs: EndpointSpec, requests: int = 100, **changes: object) -> Scheduler:
    scheduler = Scheduler(scheduler_settings(endpoints=specs, **changes), now=0.0)
    for line in range(1, requests + 1):
        scheduler.add(a_request(line))
    return scheduler


def sent(scheduler: Scheduler, now: float = 0.0) -> Attempt:
    decision = scheduler.next(now)
    assert isinstance(decision, Send)
    return decision.attempt


def some(scheduler: Scheduler, count: int, now: float = 0.0) -> list[Attempt]:
    return [sent(scheduler, now) for _ in range(count)]


def of(organization: str | None) -> Reply:
    return replace(a_reply(), headers=ResponseHeaders(organization_id=organization))


def lanes_of(scheduler: Scheduler) -> dict[str, str]:
    """Return the lane that each endpoint would use."""
    return {
        name: endpoint.group.lanes[a_request().model].name
        for name, endpoint in scheduler._pool.by_name.items()
    }


def introduce(scheduler: Scheduler, **organizations: str) -> None:
    """Let each endpoint answer once, and tell whose it is."""
    for attempt in some(scheduler, len(organizations)):
        scheduler.record_outcome(attempt, of(organizations[attempt.endpoint]), 1.0)


def test_the_first_requests_go_to_endpoints_that_are_not_known_yet() -> None:
    assert {attempt.endpoint for attempt in some(a_pool(A, B, C), 3)} == {"a", "b", "c"}


def test_before_any_headers_endpoints_at_one_host_share_their_limits() -> None:
    scheduler = a_pool(A, B)
    assert len({attempt.lane for attempt in some(scheduler, 8)}) == 1


def test_endpoints_of_two_organizations_have_limits_of_their_own() -> None:
    scheduler = a_pool(A, B)
    introduce(scheduler, a="org-1", b="org-2")
    assert {attempt.lane.name for attempt in some(scheduler, 8, 1.0)} == {
        "claude-haiku-5-5 @ a",
        "claude-haiku-5-5 @ b",
    }


def test_two_keys_of_one_organization_share_its_limits() -> None:
    scheduler = a_pool(A, B)
    introduce(scheduler, a="org-1", b="org-1")
    assert {attempt.lane.name for attempt in some(scheduler, 8, 1.0)} == {"claude-haiku-5-5"}


def test_a_relay_that_turns_out_to_share_an_organization_joins_its_lanes() -> None:
    scheduler = a_pool(A, OTHER)
    early = some(scheduler, 6)
    assert len({attempt.lane for attempt in early}) == 2
    for attempt in early[:2]:
        scheduler.record_outcome(attempt, of("org-1"), 1.0)
    assert len({attempt.lane for attempt in some(scheduler, 6, 1.0)}) == 1


def test_attempts_in_flight_settle_in_the_lane_of_their_organization() -> None:
    scheduler = a_pool(A, B)
    early = some(scheduler, 8)
    for attempt in early:
        scheduler.record_outcome(attempt, of(f"org-{attempt.endpoint}"), 1.0)
    assert [lane.in_flight for lane in scheduler.lanes] == [0, 0]


def test_a_limit_group_of_the_settings_is_kept() -> None:
    first, second = replace(A, limit_group="x"), replace(OTHER, limit_group="x")
    scheduler = a_pool(first, second)
    early = some(scheduler, 6)
    for attempt in early:
        scheduler.record_outcome(attempt, of(f"org-{attempt.endpoint}"), 1.0)
    assert len({attempt.lane for attempt in [*early, *some(scheduler, 6, 1.0)]}) == 1


def test_ceilings_hold_for_all_organizations_together() -> None:
    scheduler = a_pool(A, OTHER, ceilings=Limits(requests=60))
    sent(scheduler)
    decision = scheduler.next(0.1)
    assert isinstance(decision, Sleep)
    assert decision.until > 0.9


@pytest.mark.parametrize(
    ("strategy", "order"),
    [
        (Strategy.ROUND_ROBIN, ["a", "other", "a", "other"]),
        (Strategy.PRIORITY, ["a", "a", "a", "a"]),
        (Strategy.HEADROOM, ["a", "other", "a", "other"]),
        (Strategy.RANDOM, ["other", "other", "other", "other"]),
    ],
)
def test_a_strategy_chooses_among_endpoints_that_are_ready(
    strategy: Strategy, order: list[str]
) -> None:
    scheduler = a_pool(A, OTHER, strategy=strategy)
    assert [attempt.endpoint for attempt in some(scheduler, 4)] == order


def test_priority_overflows_to_the_next() -> None:
    scheduler = a_pool(A, OTHER, strategy=Strategy.PRIORITY)
    some(scheduler, 8)
    assert sent(scheduler).endpoint == "other"


def fail(scheduler: Scheduler, endpoint: str, kind: FailureKind, now: float = 1.0) -> Failure:
    """Let everything in flight at an endpoint fail, the rest succeed."""
    failure = a_failure(kind, message=f"{endpoint} says no")
    for attempt in some(scheduler, 8, now):
        outcome = failure if attempt.endpoint == endpoint else a_reply()
        scheduler.record_outcome(attempt, outcome, now)
    return failure


def test_a_rejected_key_takes_its_endpoint_out_and_nothing_else() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.ENDPOINT_REJECTED)
    assert {attempt.endpoint for attempt in some(scheduler, 8, 2.0)} == {"other"}


def test_an_endpoint_that_redirects_from_the_start_is_out() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.ENDPOINT_UNUSABLE)
    assert {attempt.endpoint for attempt in some(scheduler, 8, 2.0)} == {"other"}


def test_a_redirect_after_replies_is_a_failure_of_its_request() -> None:
    scheduler = a_pool(A, requests=2)
    first, second = some(scheduler, 2)
    scheduler.record_outcome(first, a_reply(), 1.0)
    scheduler.record_outcome(second, a_failure(FailureKind.ENDPOINT_UNUSABLE), 1.0)
    assert scheduler.stop is None
    assert second.job.counted_failures == 1


def test_what_an_endpoint_that_dropped_out_had_in_flight_goes_elsewhere() -> None:
    scheduler = a_pool(A, OTHER, requests=8)
    fail(scheduler, "a", FailureKind.ENDPOINT_REJECTED)
    scheduler.end_input()
    lines = {attempt.job.request.line for attempt in some(scheduler, 4, 2.0)}
    assert len(lines) == 4


def test_a_run_ends_when_no_endpoint_is_left_and_names_each() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.ENDPOINT_REJECTED)
    scheduler.record_outcome(
        sent(scheduler, 2.0), a_failure(FailureKind.RUN_REFUSED, message="spent"), 2.0
    )
    assert scheduler.stop is not None
    assert scheduler.stop.kind is StopKind.REFUSED
    assert scheduler.stop.refusals == (
        Refusal(endpoint="a", reason="a says no"),
        Refusal(endpoint="other", reason="spent"),
    )


def test_a_spent_account_takes_all_its_keys_out() -> None:
    scheduler = a_pool(A, B, OTHER)
    introduce(scheduler, a="org-1", b="org-1", other="org-2")
    for attempt in some(scheduler, 8, 1.0):
        spent = attempt.endpoint == "a"
        outcome = a_failure(FailureKind.RUN_REFUSED) if spent else a_reply()
        scheduler.record_outcome(attempt, outcome, 1.0)
    assert {attempt.endpoint for attempt in some(scheduler, 8, 2.0)} == {"other"}


def test_an_endpoint_whose_organization_is_not_known_does_not_fall_with_another() -> None:
    scheduler = a_pool(A, B)
    for attempt in some(scheduler, 2):
        spent = attempt.endpoint == "a"
        scheduler.record_outcome(
            attempt, a_failure(FailureKind.RUN_REFUSED) if spent else a_reply(), 1.0
        )
    assert sent(scheduler, 2.0).endpoint == "b"


def test_a_model_that_one_endpoint_forbids_goes_to_the_others() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.MODEL_FORBIDDEN)
    assert {attempt.endpoint for attempt in some(scheduler, 8, 2.0)} == {"other"}


def test_a_model_that_one_endpoint_does_not_know_goes_to_the_others() -> None:
    scheduler = a_pool(A, OTHER)
    unknown = replace(a_failure(FailureKind.REQUEST_REJECTED), status=404)
    for attempt in some(scheduler, 2):
        scheduler.record_outcome(attempt, unknown if attempt.endpoint == "a" else a_reply(), 1.0)
    assert {attempt.endpoint for attempt in some(scheduler, 8, 2.0)} == {"other"}


def test_what_was_in_flight_when_a_model_turned_out_unknown_goes_to_the_others_too() -> None:
    scheduler = a_pool(A, STAND_IN, requests=4)
    unknown = replace(a_failure(FailureKind.REQUEST_REJECTED), status=404)
    verdicts = [scheduler.record_outcome(attempt, unknown, 1.0) for attempt in some(scheduler, 4)]
    assert [verdict.ended for verdict in verdicts] == [()] * 4
    assert {attempt.endpoint for attempt in some(scheduler, 4, 1.0)} == {"stand-in"}


def test_requests_that_no_endpoint_serves_do_not_affect_others_and_are_reported() -> None:
    scheduler = a_pool(A, requests=1)
    scheduler.add(a_request(2, model="x"))
    scheduler.end_input()
    forbidden = a_failure(FailureKind.MODEL_FORBIDDEN, message="no x here")
    for attempt in some(scheduler, 2):
        is_x = attempt.job.request.model == "x"
        scheduler.record_outcome(attempt, forbidden if is_x else a_reply(), 1.0)
    decision = scheduler.next(1.0)
    assert isinstance(decision, Finished)
    assert decision.stop is not None
    assert decision.stop.refusals == (Refusal(model="x", reason="no x here"),)


def test_an_endpoint_with_repeated_failures_gets_no_requests() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.SERVER_ERROR)
    fail(scheduler, "a", FailureKind.SERVER_ERROR)
    assert {attempt.endpoint for attempt in some(scheduler, 6, 1.1)} == {"other"}
    assert scheduler.status(1.1).endpoints[0].state is EndpointState.FAILING


def test_after_a_while_it_is_probed_by_one_request() -> None:
    scheduler = a_pool(A, OTHER)
    fail(scheduler, "a", FailureKind.SERVER_ERROR)
    fail(scheduler, "a", FailureKind.SERVER_ERROR)
    names = [attempt.endpoint for attempt in some(scheduler, 8, 30.0)]
    assert names.count("a") == 1


def test_a_single_endpoint_always_gets_requests() -> None:
    scheduler = a_pool(A)
    for _ in range(4):
        fail(scheduler, "a", FailureKind.SERVER_ERROR)
    assert isinstance(scheduler.next(1.0), Send)


def test_a_fallback_gets_nothing_while_primaries_are_healthy() -> None:
    scheduler = a_pool(A, STAND_IN)
    assert {attempt.endpoint for attempt in some(scheduler, 8)} == {"a"}


def test_a_fallback_takes_over_when_no_primary_could_for_long_enough() -> None:
    scheduler = a_pool(A, STAND_IN, fallback_after_s=30.0)
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=90)
    scheduler.record_outcome(sent(scheduler), limited, 1.0)
    decision = scheduler.next(1.0)
    assert isinstance(decision, Sleep)
    assert decision.until == pytest.approx(31.0)
    attempt = sent(scheduler, 31.0)
    assert (attempt.endpoint, attempt.degraded) == ("stand-in", True)


def test_a_fallback_at_the_host_of_a_primary_does_not_wait_for_what_that_waits_for() -> None:
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=600.0)
    beside = replace(A, name="beside", role=Role.FALLBACK)
    scheduler = a_pool(A, beside, requests=1, fallback_after_s=5.0)
    scheduler.record_outcome(sent(scheduler), limited, 0.0)
    decision = scheduler.next(0.0)
    while isinstance(decision, Sleep):
        decision = scheduler.next(decision.until)
    assert isinstance(decision, Send)
    assert decision.attempt.endpoint == "beside"


def test_when_a_primary_is_back_the_fallback_is_left_again() -> None:
    scheduler = a_pool(A, STAND_IN, fallback_after_s=30.0)
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=90)
    scheduler.record_outcome(sent(scheduler), limited, 1.0)
    scheduler.next(1.0)
    scheduler.record_outcome(sent(scheduler, 31.0), a_reply(), 32.0)
    back = sent(scheduler, 91.0)
    assert (back.endpoint, sent(scheduler, 91.0).endpoint) == ("a", "stand-in")  # before it answers
    scheduler.record_outcome(back, a_reply(), 92.0)
    assert sent(scheduler, 92.0).endpoint == "a"
    assert not isinstance(scheduler.next(92.0), Send)


def test_probing_a_primary_does_not_keep_the_fallback_waiting() -> None:
    scheduler = a_pool(A, STAND_IN, fallback_after_s=30.0)
    now, used = 0.0, set()
    while now < 60.0:
        match scheduler.next(now):
            case Send(attempt):
                used.add(attempt.endpoint)
                down = attempt.endpoint == "a"
                outcome = a_failure(FailureKind.OVERLOADED) if down else a_reply()
                scheduler.record_outcome(attempt, outcome, now)
            case Sleep(until):
                now = until
            case Idle() | Finished() | GiveUp():
                break
    assert used == {"a", "stand-in"}


PATIENCE_S = 60.0


def answered_by(scheduler: Scheduler, failure: Failure, *, took_s: float = 0.0) -> set[str]:
    """Let the fallback answer and the primary fail; return the endpoints that were asked."""
    now, used = 0.0, set()
    while True:
        match scheduler.next(now):
            case Send(attempt):
                used.add(attempt.endpoint)
                primary = attempt.endpoint == "a"
                now += took_s if primary else 0.0
                scheduler.record_outcome(attempt, failure if primary else a_reply(), now)
            case Sleep(until):
                now = until
            case Idle() | GiveUp():
                raise AssertionError("everything is answered at once")
            case Finished(stop):
                assert stop is None
                return used


@pytest.mark.parametrize(
    ("failure", "took_s"),
    [
        (a_failure(FailureKind.OVERLOADED), 0.0),
        (a_failure(FailureKind.RATE_LIMITED, retry_after_s=7_200.0), 0.0),
        (a_failure(FailureKind.TIMED_OUT), 20.0),
    ],
    ids=lambda value: getattr(value, "error_type", value),
)
def test_a_fallback_is_asked_before_the_run_gives_up(failure: Failure, took_s: float) -> None:
    scheduler = a_pool(A, STAND_IN, requests=3, fallback_after_s=PATIENCE_S, patience_s=PATIENCE_S)
    scheduler.end_input()
    assert answered_by(scheduler, failure, took_s=took_s) == {"a", "stand-in"}


def test_it_is_known_that_a_fallback_has_taken_over_and_that_it_is_not_needed_any_more() -> None:
    scheduler = a_pool(A, STAND_IN, fallback_after_s=5.0)
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=20.0)
    scheduler.record_outcome(sent(scheduler), limited, 0.0)
    scheduler.next(0.0)
    before = scheduler.status(0.0).fallback
    attempt = sent(scheduler, 6.0)
    during = scheduler.status(6.0).fallback
    scheduler.record_outcome(attempt, a_reply(), 7.0)
    back = sent(scheduler, 25.0)
    scheduler.record_outcome(back, a_reply(), 26.0)
    after = scheduler.status(26.0).fallback
    assert (before, during, back.endpoint, after) == (None, "stand-in", "a", None)


def test_that_a_fallback_takes_over_is_announced_once_the_primary_is_stuck_for_long() -> None:
    scheduler = a_pool(A, STAND_IN, fallback_after_s=30.0)
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=90)
    scheduler.record_outcome(sent(scheduler), limited, 1.0)
    scheduler.next(1.0)
    announced = [
        None if (wait := scheduler.status(now).wait) is None else wait.fallback_in_s
        for now in (1.0, 5.0, 10.0, 30.0)
    ]
    assert announced == [None, None, pytest.approx(21.0), pytest.approx(1.0)]


def test_a_primary_that_paces_its_launches_announces_no_fallback() -> None:
    slow = replace(A, initial_limits=lambda _model: Limits(requests=60))
    scheduler = a_pool(slow, STAND_IN, requests=500, fallback_after_s=30.0)
    now, announced, reasons = 0.0, set(), set()
    while now < 100.0:
        match scheduler.next(now):
            case Send(attempt):
                scheduler.record_outcome(attempt, a_reply(), now)
            case Sleep(until) | Idle(until):
                wait = scheduler.status(now).wait
                announced.add(wait and wait.fallback_in_s)
                reasons.add(wait and wait.kind)
                now = until
            case _:
                raise AssertionError("everything is answered at once")
    assert reasons & {WaitKind.LIMIT, WaitKind.PACE}
    assert announced == {None}


def test_a_primary_is_back_though_its_limits_bind() -> None:
    slow = replace(A, initial_limits=lambda _model: Limits(requests=60))
    scheduler = a_pool(slow, STAND_IN, requests=500, fallback_after_s=5.0, concurrency=1000)
    limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=10.0)
    scheduler.record_outcome(sent(scheduler), limited, 0.0)
    now, fallbacks = 0.0, set()
    while now < 30.0:
        match scheduler.next(now):
            case Send(attempt):
                if attempt.endpoint == "a":  # the other one takes long
                    scheduler.record_outcome(attempt, a_reply(), now)
            case Sleep(until) | Idle(until):
                now = until
            case _:
                raise AssertionError("everything is answered at once")
        fallbacks.add(scheduler.status(now).fallback)
    assert fallbacks == {None, "stand-in"}
    assert scheduler.status(now).fallback is None


def test_an_endpoint_is_asked_only_for_models_that_it_serves() -> None:
    local = replace(OTHER, serves=lambda model: model == "qwen3")
    claude = replace(A, serves=lambda model: model != "qwen3")
    scheduler = a_pool(claude, local, requests=0)
    for line in range(1, 9):
        scheduler.add(a_request(line, model="qwen3" if line % 2 else "claude-haiku-5-5"))
    asked = {(each.endpoint, each.job.request.model) for each in some(scheduler, 8)}
    assert asked == {("other", "qwen3"), ("a", "claude-haiku-5-5")}


def test_a_fallback_takes_over_at_once_when_all_primaries_are_out() -> None:
    scheduler = a_pool(A, STAND_IN)
    scheduler.record_outcome(sent(scheduler), a_failure(FailureKind.ENDPOINT_REJECTED), 1.0)
    assert sent(scheduler, 1.0).degraded


def test_a_request_has_all_its_attempts_together_wherever_they_are_made() -> None:
    scheduler = a_pool(A, OTHER, requests=1, max_attempts=3)
    scheduler.end_input()
    now, tries = 0.0, 0
    while isinstance(decision := scheduler.next(now), Send | Sleep):
        if isinstance(decision, Sleep):
            now = decision.until
            continue
        tries += 1
        scheduler.record_outcome(decision.attempt, a_failure(FailureKind.SERVER_ERROR), now)
    assert tries == 3
