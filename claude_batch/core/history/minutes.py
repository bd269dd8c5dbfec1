"""Minutes of a run added up, and what held each of them back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from claude_batch.core.model.minutes import (
    FailureExample,
    LaneFigures,
    LimitFigures,
    Minute,
    Traffic,
    merged_counts,
)

LIMIT, PACE = "limit", "pace"
"""Reasons to wait that name a limit: nothing is left of it, or launches are spread under it."""

_MOSTLY = 0.5
"""A minute was held back by what took more than this share of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """What held a minute back: `reason` is "limit", or another WaitKind.

    `limit` is its kind, `per_minute` its size and `source` whose it is, where it is one.
    """

    reason: str
    lane: str = ""
    limit: str = ""
    per_minute: float | None = None
    source: str = ""


def merged(minutes: Sequence[Minute]) -> Minute:
    """Return the figures of several minutes together. There has to be one."""
    if len(minutes) == 1:
        return minutes[0]
    costs = [each.cost_usd for each in minutes if each.cost_usd is not None]
    examples: dict[str, FailureExample] = {}
    latency: Counter[int] = Counter()
    for each in minutes:
        examples = {**each.examples, **examples}
        latency.update(each.latency)
    return Minute(
        at=minutes[-1].at,
        seconds=sum(each.seconds for each in minutes),
        attempts=sum(each.attempts for each in minutes),
        retried=sum(each.retried for each in minutes),
        succeeded=sum(each.succeeded for each in minutes),
        failed=sum(each.failed for each in minutes),
        cached=sum(each.cached for each in minutes),
        input_tokens=sum(each.input_tokens for each in minutes),
        output_tokens=sum(each.output_tokens for each in minutes),
        cost_usd=sum(costs) if costs else None,
        failures=merged_counts(each.failures for each in minutes),
        limited=merged_counts(each.limited for each in minutes),
        examples=examples,
        latency=latency,
        traffic=merged_traffic(traffic for each in minutes for traffic in each.traffic),
        lanes=_merged_lanes(lane for each in minutes for lane in each.lanes),
    )


def merged_traffic(traffic: Iterable[Traffic]) -> tuple[Traffic, ...]:
    """Return traffic added up by lane, endpoint and model."""
    sums: dict[tuple[str, str, str], Traffic] = {}
    for each in traffic:
        key = each.lane, each.endpoint, each.model
        sums[key] = each if key not in sums else added(sums[key], each)
    return tuple(sums.values())


def added(one: Traffic, other: Traffic) -> Traffic:
    """Return the sum of both, under the names of the first."""
    costs = [each.cost_usd for each in (one, other) if each.cost_usd is not None]
    return replace(
        one,
        attempts=one.attempts + other.attempts,
        succeeded=one.succeeded + other.succeeded,
        input_tokens=one.input_tokens + other.input_tokens,
        cache_read_tokens=one.cache_read_tokens + other.cache_read_tokens,
        cache_write_tokens=one.cache_write_tokens + other.cache_write_tokens,
        output_tokens=one.output_tokens + other.output_tokens,
        cost_usd=sum(costs) if costs else None,
    )


def _merged_lanes(lanes: Iterable[LaneFigures]) -> tuple[LaneFigures, ...]:
    sums: dict[str, LaneFigures] = {}
    for each in lanes:
        before = sums.get(each.lane)
        if before is None:
            sums[each.lane] = each
            continue
        waits = dict(before.waits)
        for reason, seconds in each.waits.items():
            waits[reason] = waits.get(reason, 0.0) + seconds
        sums[each.lane] = replace(
            each,
            in_flight=max(before.in_flight, each.in_flight),
            limits=_merged_limits(before.limits, each.limits),
            waits=waits,
        )
    return tuple(sums.values())


def _merged_limits(
    before: Sequence[LimitFigures], after: Sequence[LimitFigures]
) -> tuple[LimitFigures, ...]:
    """Return the limits that hold now, each with the least headroom of both."""
    least = {each.kind: each.least for each in before}
    newest = {each.kind: each for each in (*before, *after)}
    lowest = []
    for kind, each in newest.items():
        known = [value for value in (least.get(kind), each.least) if value is not None]
        lowest.append(replace(each, least=min(known) if known else None))
    return tuple(lowest)


def main_lane(minute: Minute) -> LaneFigures | None:
    """Return the lane with the most attempts; None in a minute without one."""
    attempts: Counter[str] = Counter()
    for traffic in minute.traffic:
        attempts[traffic.lane] += traffic.attempts
    lanes = [lane for lane in minute.lanes if lane.waits or attempts[lane.lane]]
    return max(lanes, key=lambda lane: attempts[lane.lane], default=None)


def bound_of(minute: Minute) -> Bound | None:
    """Return what the busiest lane waited for during most of a minute; None: nothing."""
    lane = main_lane(minute)
    if lane is None:
        return None
    seconds: dict[tuple[str, str], float] = {}
    for name, waited_s in lane.waits.items():
        reason, _, kind = name.partition(":")
        key = (LIMIT if reason == PACE else reason, kind)
        seconds[key] = seconds.get(key, 0.0) + waited_s
    if not seconds:
        return None
    (reason, kind), longest_s = max(seconds.items(), key=lambda item: item[1])
    if longest_s < _MOSTLY * minute.seconds:
        return None
    limit = next((each for each in lane.limits if each.kind == kind), LimitFigures())
    return Bound(
        reason=reason,
        lane=lane.lane,
        limit=kind,
        per_minute=limit.per_minute,
        source=limit.source,
    )


def bounds_of(minutes: Iterable[Minute]) -> dict[tuple[str, str, str], float]:
    """Return for how many seconds what held a run back, the longest first.

    By reason, kind of limit and its source; ("", "", "") means that nothing limited the run.
    Minutes in which only batches ended do not count.
    """
    seconds: dict[tuple[str, str, str], float] = {}
    for minute in minutes:
        if not minute.lanes:  # batches only
            continue
        bound = bound_of(minute)
        key = ("", "", "") if bound is None else (bound.reason, bound.limit, bound.source)
        seconds[key] = seconds.get(key, 0.0) + minute.seconds
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))
