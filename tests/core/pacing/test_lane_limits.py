"""Limits of a lane: guessed, told by headers, bounded by the user, shared with others."""

from __future__ import annotations

import pytest

from claude_batch.core.model.account import NO_LIMITS, Limits
from claude_batch.core.model.requests import (
    FailureKind,
    LimitKind,
    LimitReading,
    ResponseHeaders,
    Usage,
)
from claude_batch.core.pacing.lane_limits import MAX_BOOST, NO_COST, Cost, LaneLimits, make_ceilings
from tests.support.fakes import a_failure

TOKENS = LimitKind.INPUT_TOKENS
COST = Cost(input_tokens=100, output_tokens=10)


def lane_limits(
    *, guess: Limits = NO_LIMITS, ceilings: Limits = NO_LIMITS, share: float = 1.0
) -> LaneLimits:
    return LaneLimits(guess=guess, ceilings=make_ceilings(ceilings), share=share, now=0.0)


def headers(limit: int | None, remaining: int | None, kind: LimitKind = TOKENS) -> ResponseHeaders:
    reading = LimitReading(kind=kind, limit_per_minute=limit, remaining=remaining, full_at=None)
    return ResponseHeaders(limits=(reading,))


def learn(limits: LaneLimits, observation: ResponseHeaders, now: float = 0.0) -> None:
    """Launch an attempt that costs nothing, and take in the headers of its reply."""
    charge = limits.charge(NO_COST, now)
    limits.settle(charge, NO_COST, now)
    limits.learn(observation, charge, now)


def gauge(limits: LaneLimits, now: float = 0.0) -> tuple[float | None, float | None]:
    found = next(gauge for gauge in limits.gauges(now) if gauge.kind is TOKENS)
    return found.limit_per_minute, found.available


def test_without_known_limits_nothing_waits() -> None:
    assert lane_limits().ready_at(Cost(input_tokens=1e9, output_tokens=1e9), 5.0) == 5.0


def test_the_first_header_replaces_a_wrong_guess() -> None:
    limits = lane_limits(guess=Limits(input_tokens=100))
    learn(limits, headers(6_000, 4_321))
    assert gauge(limits) == (6_000, 4_321)


def test_a_ceiling_is_kept_whatever_the_api_allows() -> None:
    limits = lane_limits(ceilings=Limits(input_tokens=1_000))
    learn(limits, headers(6_000, 6_000))
    assert gauge(limits) == (1_000, 1_000)


def test_a_ceiling_above_what_the_api_allows_changes_nothing() -> None:
    limits = lane_limits(ceilings=Limits(requests=1_000))
    learn(limits, headers(60, 0, LimitKind.REQUESTS))
    assert limits.ready_at(COST, 0.0) > 0.9


def test_a_share_leaves_the_rest_to_others() -> None:
    limits = lane_limits(share=0.5)
    learn(limits, headers(6_000, 6_000))
    assert gauge(limits) == (3_000, 3_000)


def test_what_was_spent_before_the_limit_was_known_counts_for_the_share() -> None:
    limits = lane_limits(share=0.5)
    limits.charge(COST, 0.0)
    learn(limits, headers(6_000, 5_900))
    assert gauge(limits) == (3_000, 2_900)


def test_a_share_of_an_unknown_limit_is_not_shown() -> None:
    assert gauge(lane_limits(share=0.5)) == (None, None)


@pytest.mark.parametrize("absent", [headers(None, 5), headers(0, 0), ResponseHeaders()])
def test_headers_without_a_limit_change_nothing(absent: ResponseHeaders) -> None:
    limits = lane_limits(guess=Limits(input_tokens=100))
    learn(limits, absent)
    assert gauge(limits) == (100, 100)


def test_a_reply_is_charged_what_it_used() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    charge = limits.charge(COST, 0.0)
    usage = Usage(input_tokens=300, cache_creation_input_tokens=50, cache_read_input_tokens=9_999)
    limits.settle(charge, Cost.of_usage(usage), 0.0)
    assert gauge(limits) == (1_000, 650)


def test_an_attempt_the_api_refused_costs_nothing() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    limits.settle(limits.charge(COST, 0.0), NO_COST, 0.0)
    assert gauge(limits) == (1_000, 1_000)


def refused(limits: LaneLimits, limit: LimitKind | None, observation: ResponseHeaders) -> None:
    """Launch an attempt and have it refused with a 429."""
    charge = limits.charge(COST, 0.0)
    limits.settle(charge, NO_COST, 0.0)
    failure = a_failure(FailureKind.RATE_LIMITED, limit=limit, headers=observation)
    limits.record_429(failure, charge, 0.0)


def test_a_429_empties_the_bucket_it_names() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    refused(limits, TOKENS, ResponseHeaders())
    assert gauge(limits) == (1_000, 0)


def test_a_429_that_names_nothing_is_about_what_is_scarcest() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000, requests=50))
    refused(limits, None, headers(1_000, 7))
    assert gauge(limits) == (1_000, 7)


def seconds_for(limits: LaneLimits, count: int, now: float) -> float:
    """Return how long it takes to launch `count` attempts."""
    start = now
    for _ in range(count):
        now = limits.ready_at(COST, now)
        limits.charge(COST, now)
    return now - start


def test_a_surplus_is_used_at_a_multiple_of_the_limit() -> None:
    limits = lane_limits()
    learn(limits, headers(600, 600, LimitKind.REQUESTS))
    seconds_for(limits, 100, 0.0)
    assert seconds_for(limits, 30, 20.0) == pytest.approx(3.0 / MAX_BOOST, rel=0.1)


def test_after_an_outage_a_surplus_is_left_alone_at_first() -> None:
    limits = lane_limits()
    learn(limits, headers(600, 600, LimitKind.REQUESTS))
    seconds_for(limits, 100, 0.0)
    limits.reset_boost(60.0)
    assert seconds_for(limits, 10, 60.0) > 0.5


def test_after_a_ramp_limit_growth_takes_minutes() -> None:
    limits = lane_limits()
    learn(limits, headers(600, 600, LimitKind.REQUESTS))
    limits.slow_ramp(10.0)
    assert seconds_for(limits, 60, 10.0) == pytest.approx(11, abs=2)


def sharing(per_minute: int, share: float, part: float) -> LaneLimits:
    """Return limits of which a program that had no share is granted one."""
    limits = LaneLimits(
        guess=Limits(input_tokens=per_minute), ceilings={}, share=1.0, now=0.0, lease_share=0.0
    )
    limits.set_lease_share(share, 0.0, rng=lambda: part)
    return limits


@pytest.mark.parametrize("part", [0.0, 0.25, 0.75])
def test_a_newcomer_waits_for_a_part_of_the_time_between_two_of_its_launches(part: float) -> None:
    assert sharing(6_000, 0.25, part).ready_at(COST, 0.0) == part * 4.0  # 25 tokens a second


def test_a_newcomer_waits_no_longer_where_limits_are_tiny() -> None:
    assert sharing(60, 0.1, 1.0).ready_at(COST, 0.0) == 10.0


def test_a_newcomer_that_will_launch_often_waits_for_nothing() -> None:
    assert sharing(60_000, 0.25, 0.5).ready_at(COST, 0.0) == 0.0


def test_a_program_that_is_alone_waits_for_nothing() -> None:
    assert sharing(6_000, 1.0, 0.5).ready_at(COST, 0.0) == 0.0


def test_a_share_that_changes_is_no_newcomers() -> None:
    limits = sharing(6_000, 0.25, 0.0)
    limits.ready_at(COST, 0.0)
    limits.set_lease_share(0.5, 1.0, rng=lambda: 1.0)
    assert limits.ready_at(COST, 1.0) == 1.0
