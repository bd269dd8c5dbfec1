"""Limits of a lane: guessed, told by headers, bounded by the user, shared with others."""

from __future__ import annotations

import pytest

from claude_batch.core.limits import NO_LIMITS, Cost, LaneLimits, Limits
from claude_batch.core.model import LimitKind, LimitReading, Usage

TOKENS = LimitKind.INPUT_TOKENS


def lane_limits(
    *, guess: Limits = NO_LIMITS, ceilings: Limits = NO_LIMITS, share: float = 1.0
) -> LaneLimits:
    return LaneLimits(guess=guess, ceilings=ceilings, share=share, now=0.0)


def reading(limit: int | None, remaining: int | None) -> tuple[LimitReading, ...]:
    return (LimitReading(kind=TOKENS, limit_per_minute=limit, remaining=remaining, full_at=None),)


def gauge(limits: LaneLimits, now: float = 0.0) -> tuple[float | None, float | None]:
    found = next(gauge for gauge in limits.gauges(now) if gauge.kind is TOKENS)
    return found.limit_per_minute, found.available


COST = Cost(input_tokens=100, output_tokens=10)


def test_nobody_has_said_anything_so_nothing_waits() -> None:
    assert lane_limits().ready_at(Cost(input_tokens=1e9, output_tokens=1e9), 5.0) == 5.0


def test_the_first_header_replaces_a_wrong_guess() -> None:
    limits = lane_limits(guess=Limits(input_tokens=100))
    limits.learn(reading(6_000, 4_000), 0.0)
    assert gauge(limits) == (6_000, 4_000)


def test_what_is_in_flight_is_not_yet_in_the_servers_count() -> None:
    limits = lane_limits()
    limits.charge(COST, 0.0)
    limits.learn(reading(6_000, 4_000), 0.0)
    assert gauge(limits) == (6_000, 3_900)


def test_another_program_on_the_same_limit_is_noticed() -> None:
    limits = lane_limits()
    limits.learn(reading(6_000, 6_000), 0.0)
    limits.learn(reading(6_000, 1_000), 0.0)
    assert gauge(limits) == (6_000, 1_000)


def test_a_stale_higher_reading_does_not_fill_the_bucket() -> None:
    limits = lane_limits()
    limits.learn(reading(6_000, 2_000), 0.0)
    limits.learn(reading(6_000, 5_000), 0.0)
    assert gauge(limits) == (6_000, 2_000)


def test_a_limit_that_changes_midway_is_followed() -> None:
    limits = lane_limits()
    limits.learn(reading(6_000, 6_000), 0.0)
    limits.learn(reading(3_000, 500), 1.0)
    assert gauge(limits, 1.0) == (3_000, 500)


def test_a_ceiling_is_kept_whatever_the_api_allows() -> None:
    limits = lane_limits(ceilings=Limits(input_tokens=1_000))
    limits.learn(reading(6_000, 6_000), 0.0)
    assert gauge(limits) == (1_000, 1_000)


def test_a_share_leaves_the_rest_to_others() -> None:
    limits = lane_limits(share=0.5)
    limits.learn(reading(6_000, 6_000), 0.0)
    assert gauge(limits) == (3_000, 3_000)


@pytest.mark.parametrize("absent", [reading(None, 5), reading(0, 0), ()])
def test_headers_without_a_limit_change_nothing(absent: tuple[LimitReading, ...]) -> None:
    limits = lane_limits(guess=Limits(input_tokens=100))
    limits.learn(absent, 0.0)
    assert gauge(limits) == (100, 100)


def test_a_reply_is_charged_what_it_used() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    limits.charge(COST, 0.0)
    usage = Usage(input_tokens=300, cache_creation_input_tokens=50, cache_read_input_tokens=9_999)
    limits.settle(COST, Cost.of_usage(usage), 0.0)
    assert gauge(limits) == (1_000, 650)


def test_an_attempt_the_api_refused_costs_nothing() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    limits.charge(COST, 0.0)
    limits.settle(COST, None, 0.0)
    assert gauge(limits) == (1_000, 1_000)


def test_a_429_empties_the_bucket_it_names() -> None:
    limits = lane_limits(guess=Limits(input_tokens=1_000))
    limits.empty(TOKENS, 0.0)
    assert gauge(limits) == (1_000, 0)
