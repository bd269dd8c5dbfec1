"""What a minute of the journal holds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.events import Failed
from claude_batch.core.model.minutes import FailureExample, LimitFigures
from claude_batch.core.model.requests import FailureKind, LimitKind, Usage
from claude_batch.core.model.snapshot import Gauge, LaneView, WaitKind, WaitReason
from claude_batch.core.scheduling.minutes import MOST_EXAMPLE, MinuteCounter
from claude_batch.core.scheduling.progress import NO_STATUS, Progress

USAGE = Usage(
    input_tokens=10,
    output_tokens=5,
    cache_creation_input_tokens=3,
    cache_read_input_tokens=100,
)
ANSWERED = AttemptRecord(
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
    usage=USAGE,
    cost_usd=0.5,
)
LIMITED = Failed(
    at=0,
    custom_id="a",
    line=1,
    kind=FailureKind.RATE_LIMITED,
    what="x" * 1_000,
    retry_in_s=1.0,
    limit=LimitKind.INPUT_TOKENS,
)


def a_lane(available: float, wait: WaitReason | None = None) -> LaneView:
    gauge = Gauge(
        kind=LimitKind.REQUESTS, limit_per_minute=60.0, available=available, full_in_s=0.0
    )
    unknown = Gauge(
        kind=LimitKind.OUTPUT_TOKENS, limit_per_minute=None, available=None, full_in_s=None
    )
    return LaneView(
        name="M", gauges=(gauge, unknown), in_flight=7, queued=1, concurrency=9, wait=wait
    )


def test_attempts_are_counted_by_lane_endpoint_and_model() -> None:
    counter = MinuteCounter()
    for ended in (ANSWERED, ANSWERED, ANSWERED._replace(endpoint="other", cost_usd=None)):
        counter.add_attempt(ended, "M")
    main, other = counter.traffic()
    assert (main.attempts, main.cost_usd, main.input_tokens) == (2, 1.0, 26)
    assert (main.cache_read_tokens, main.cache_write_tokens, main.output_tokens) == (200, 6, 10)
    assert (other.endpoint, other.cost_usd) == ("other", None)


def test_429s_are_counted_by_the_limit_they_name() -> None:
    counter = MinuteCounter()
    for failed in (LIMITED, replace(LIMITED, limit=None, retry_in_s=None)):
        counter.add_failure(failed)
    assert counter.limited == {"input_tokens": 1, "": 1}
    assert (counter.retried, counter.failures) == (1, {"rate_limited": 2})
    assert counter.examples == {
        "rate_limited": FailureExample(custom_id="a", what="x" * MOST_EXAMPLE)
    }


def test_the_least_headroom_of_the_minute_counts() -> None:
    counter = MinuteCounter()
    for available in (30.0, -2.0, 50.0):
        counter.sample([a_lane(available)], None, 0.125)
    (lane,) = counter.lanes()
    assert lane.limits == (
        LimitFigures(kind="requests", per_minute=60.0, least=-2.0, source="api"),
    )
    assert lane.in_flight == 7


def test_waits_are_added_up_by_reason() -> None:
    counter = MinuteCounter()
    pace = WaitReason(kind=WaitKind.PACE, limit=LimitKind.REQUESTS)
    for wait in (pace, pace, WaitReason(kind=WaitKind.OUTAGE), None):
        counter.sample([a_lane(1.0, wait)], None, 0.5)
    assert counter.lanes()[0].waits == {"pace:requests": 1.0, "outage": 0.5}


def test_what_the_whole_run_waits_for_comes_first() -> None:
    counter = MinuteCounter()
    pace = WaitReason(kind=WaitKind.PACE, limit=LimitKind.REQUESTS)
    for of_run in (WaitReason(kind=WaitKind.PAUSED), pace):
        counter.sample([a_lane(1.0, pace)], of_run, 0.5)
    assert counter.lanes()[0].waits == {"paused": 0.5, "pace:requests": 0.5}


def test_a_minute_ends_when_its_time_is_over() -> None:
    progress = Progress(started_at=100.0)
    times = [
        now for now in range(101, 461) if progress.sample(NO_STATUS, now=now, wall=now) is not None
    ]
    assert times[:13] == [*range(105, 165, 5), 175]
    assert times[-2:] == [400, 460]


def test_the_cost_of_a_minute_is_what_came_to_it() -> None:
    progress = Progress(started_at=0.0)
    assert progress.close_minute(now=60, wall=60).cost_usd is None
    progress.tally.cost_usd = 0.5
    assert progress.close_minute(now=120, wall=120).cost_usd == pytest.approx(0.5)
    assert progress.close_minute(now=180, wall=180).cost_usd == pytest.approx(0.0)
