"""The breaker of an endpoint: open after failures in a row, probed, closed by a sign of life."""

from __future__ import annotations

import math

from claude_batch.core.scheduling.pool import (
    BREAKER_FAILURES,
    MAX_OPEN_S,
    OPENS_AFTER_S,
    Breaker,
)
from tests.support.fakes import steady_draw


def fail(
    breaker: Breaker, now: float, *, launched_at: float | None = None, since: float = math.inf
) -> None:
    launched_at = now if launched_at is None else launched_at
    breaker.record_failure("no", launched_at=launched_at, since=since, now=now, rng=steady_draw)


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(BREAKER_FAILURES):
        fail(breaker, now)
    return breaker


def test_a_few_failures_do_not_open_it() -> None:
    breaker = Breaker()
    for _ in range(BREAKER_FAILURES - 1):
        fail(breaker, 0.0)
    assert breaker.ready_at(0.0, no_alternative=False) == 0.0


def test_failures_in_a_row_open_it() -> None:
    ready_at = opened().ready_at(0.0, no_alternative=False)
    assert ready_at is not None
    assert ready_at > 0.0


def test_two_failures_open_it_if_nothing_else_came_for_long() -> None:
    breaker = Breaker()
    fail(breaker, 60.0, since=60.0)
    assert not breaker.is_open
    fail(breaker, 60.0 + OPENS_AFTER_S, since=60.0)
    assert breaker.is_open


def test_a_success_between_failures_resets_the_count() -> None:
    breaker = Breaker()
    for _ in range(5 * BREAKER_FAILURES):
        fail(breaker, 0.0)
        breaker.record_response()
    assert not breaker.is_open


def test_one_probe_goes_at_a_time() -> None:
    breaker = opened()
    breaker.record_launch()
    assert breaker.ready_at(60.0, no_alternative=False) is None


def test_a_probe_that_succeeds_closes_it() -> None:
    breaker = opened()
    breaker.record_launch()
    breaker.record_response()
    assert breaker.ready_at(60.0, no_alternative=False) == 60.0


def test_waits_grow_to_a_bound() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(10):
        ready_at = breaker.ready_at(now, no_alternative=False)
        assert ready_at is not None
        waits.append(ready_at - now)
        now = ready_at
        breaker.record_launch()
        fail(breaker, now)
    assert waits == sorted(waits)
    assert max(waits) <= MAX_OPEN_S


def test_failures_launched_before_it_opened_do_not_prolong_the_wait() -> None:
    breaker = opened(now=10.0)
    before = breaker.ready_at(10.0, no_alternative=False)
    for _ in range(50):
        fail(breaker, 10.1, launched_at=9.0)
    assert breaker.ready_at(10.0, no_alternative=False) == before


def test_without_an_alternative_the_end_of_an_outage_is_noticed_within_seconds() -> None:
    breaker, now = opened(), 0.0
    for now in range(1, 10):
        breaker.record_launch()
        fail(breaker, float(now))
    ready_at = breaker.ready_at(float(now), no_alternative=True)
    assert ready_at is not None
    assert ready_at - now <= 2.0
