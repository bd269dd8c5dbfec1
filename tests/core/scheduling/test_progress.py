"""Figures folded from events."""

from __future__ import annotations

import pytest

from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.events import Failed, Recorded
from claude_batch.core.model.requests import NO_USAGE, FailureKind, LimitKind, ResultType, Usage
from claude_batch.core.model.snapshot import Gauge, LaneView
from claude_batch.core.scheduling.progress import Progress, Tally

AN_ATTEMPT = AttemptRecord(
    at=0.0,
    custom_id="a",
    line=1,
    endpoint="main",
    model="m",
    attempt=1,
    status=200,
    kind=None,
    error_type=None,
    limit=None,
    latency_s=1.0,
    usage=NO_USAGE,
    cost_usd=0.5,
)


def recorded(at: float, kind: ResultType = ResultType.SUCCEEDED) -> Recorded:
    usage = Usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=2)
    return Recorded(at=at, type=kind, usage=usage, cost_usd=None)


def failed(kind: FailureKind) -> Failed:
    return Failed(at=0, custom_id="a", line=1, kind=kind, what="x", retry_in_s=None)


def test_results_are_counted_by_how_they_ended() -> None:
    progress = Progress(started_at=0)
    progress.apply(recorded(1))
    progress.apply(recorded(2, ResultType.ERRORED))
    assert progress.tally.ended == {ResultType.SUCCEEDED: 1, ResultType.ERRORED: 1}
    assert (progress.tally.input_tokens, progress.tally.output_tokens) == (24, 10)


def test_rates_look_back_one_minute() -> None:
    progress = Progress(started_at=0)
    for second in range(120):
        progress.apply(recorded(second))
    assert progress.rates(120).requests == pytest.approx(60, abs=1)


def test_rates_of_the_first_seconds_are_not_diluted() -> None:
    progress = Progress(started_at=0)
    for tenth in range(20):
        progress.apply(recorded(tenth / 10))
    assert progress.rates(2).requests == pytest.approx(600)


def test_the_time_left_is_unknown_while_nothing_is_done() -> None:
    assert Progress(started_at=0).eta_s(100, (), 10) is None


def test_the_time_left_follows_the_rate() -> None:
    progress = Progress(started_at=0)
    for second in range(60):
        progress.apply(recorded(second))
    assert progress.eta_s(120, (), 60) == pytest.approx(60)


def test_a_minute_holds_what_came_in_since_the_last() -> None:
    tally = Tally()
    tally.add(ResultType.SUCCEEDED, Usage(input_tokens=99), None)
    progress = Progress(started_at=0, tally=tally)
    progress.record_attempt(AN_ATTEMPT)
    progress.apply(recorded(1))
    progress.apply(failed(FailureKind.RATE_LIMITED))
    minute = progress.close_minute(now=60, wall=60)
    assert (minute.attempts, minute.succeeded, minute.input_tokens) == (1, 1, 12)
    assert minute.failures == {"rate_limited": 1}
    assert progress.close_minute(now=120, wall=120).succeeded == 0


def test_429s_are_counted_apart() -> None:
    progress = Progress(started_at=0)
    progress.apply(failed(FailureKind.RATE_LIMITED))
    progress.apply(failed(FailureKind.SERVER_ERROR))
    assert progress.rate_limited == 1


def test_the_projected_cost_follows_from_results_with_a_price() -> None:
    tally = Tally()
    for cost_usd in (0.1, 0.3, None):
        tally.add(ResultType.SUCCEEDED, Usage(), cost_usd)
    assert tally.projected_cost_usd(100) == pytest.approx(20.0)


def test_without_a_price_there_is_no_projected_cost() -> None:
    assert Tally().projected_cost_usd(100) is None


def a_lane(limit: float, available: float) -> LaneView:
    gauge = Gauge(
        kind=LimitKind.REQUESTS,
        limit_per_minute=limit,
        available=available,
        full_in_s=0.0,
    )
    return LaneView(name="a", gauges=(gauge,), in_flight=1, queued=9, concurrency=10)


def test_the_time_left_allows_for_limits_that_the_present_rate_outruns() -> None:
    progress = Progress(started_at=0)
    for second in range(60):
        progress.apply(recorded(second))
    lanes = (a_lane(limit=30, available=15),)
    assert progress.eta_s(120, lanes, 60) == pytest.approx((60 - 15) * 2)
