"""What a live run leaves in its journal: minutes, waits, endpoints that drop out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from claude_batch.core.model.account import Limits
from claude_batch.core.model.events import Switched, Waited
from claude_batch.core.model.minutes import Minute, merged_counts, percentile_s
from claude_batch.core.model.requests import (
    FailureKind,
    LimitKind,
    LimitReading,
    Request,
    ResponseHeaders,
)
from claude_batch.core.scheduling.pool import EndpointSpec
from claude_batch.engine.live.run import NOTED_EVERY_S
from tests.support.fakes import ScriptedTransport, a_failure, a_reply
from tests.support.live_rig import Rig, some


def minutes_of(rig: Rig) -> list[Minute]:
    return [event for event in rig.log.events if isinstance(event, Minute)]


def test_minutes_add_up_to_the_run() -> None:
    rig = Rig(some(3_000), ceilings=Limits(requests=600), price=lambda _model, _usage: 0.25)
    rig.run()
    minutes = minutes_of(rig)
    assert sum(minute.succeeded for minute in minutes) == 3_000
    assert sum(minute.attempts for minute in minutes) == 3_000
    assert sum(minute.cost_usd or 0.0 for minute in minutes) == pytest.approx(750.0)
    assert sum(minute.seconds for minute in minutes) == pytest.approx(rig.took_s, abs=0.2)


def test_a_minute_says_what_held_the_run_back() -> None:
    plenty = LimitReading(
        kind=LimitKind.REQUESTS, limit_per_minute=6_000, remaining=5_000, full_at=None
    )
    reply = replace(a_reply(), headers=ResponseHeaders(limits=(plenty,)))
    rig = Rig(
        some(1_500),
        transport=ScriptedTransport(lambda _r, _t: reply),
        ceilings=Limits(requests=300),
    )
    rig.run()
    (lane,) = minutes_of(rig)[-3].lanes
    limited_s = sum(seconds for reason, seconds in lane.waits.items() if "requests" in reason)
    assert limited_s > 10
    assert (lane.limits[0].per_minute, lane.limits[0].source) == (300, "ceiling")


def test_a_minute_knows_the_latencies_of_answers() -> None:
    rig = Rig(some(100), transport=ScriptedTransport(latency_s=3.0))
    rig.run()
    latency = {bucket: n for minute in minutes_of(rig) for bucket, n in minute.latency.items()}
    assert percentile_s(latency, 0.5) == pytest.approx(3.0, rel=0.1)


def test_429s_and_retries_are_in_the_minutes() -> None:
    def script(_request: Request, tries: int) -> object:
        limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=1.0)
        return limited if tries == 1 else a_reply()

    rig = Rig(some(5), transport=ScriptedTransport(script))  # type: ignore[arg-type]  # terse
    rig.run()
    minutes = minutes_of(rig)
    assert merged_counts(minute.limited for minute in minutes) == {"": 5}
    assert sum(minute.retried for minute in minutes) == 5
    assert minutes[0].examples["rate_limited"].custom_id.startswith("line-")


def test_a_storm_of_pauses_is_not_a_storm_in_the_journal() -> None:
    def script(_request: Request, tries: int) -> object:
        limited = a_failure(FailureKind.RATE_LIMITED, retry_after_s=1.0 + tries / 10)
        return limited if tries < 20 else a_reply()

    rig = Rig(some(50), transport=ScriptedTransport(script))  # type: ignore[arg-type]  # terse
    rig.run()
    waits = [event for event in rig.log.events if isinstance(event, Waited)]
    assert 1 <= len(waits) <= rig.took_s / NOTED_EVERY_S + 1


def test_an_endpoint_that_drops_out_is_noted() -> None:
    refusing = ScriptedTransport(lambda _r, _t: a_failure(FailureKind.ENDPOINT_REJECTED))
    rig = Rig(
        some(50),
        others={"bad": refusing},
        endpoints=(EndpointSpec(name="default"), EndpointSpec(name="bad")),
    )
    rig.run()
    switches = [event for event in rig.log.events if isinstance(event, Switched)]
    assert [(event.endpoint, event.state) for event in switches] == [("bad", "out")]
