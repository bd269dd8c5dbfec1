"""Counts what happens in a minute of a run, for the journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from claude_batch.core.model.attempts import AttemptRecord
from claude_batch.core.model.events import Failed
from claude_batch.core.model.minutes import (
    UNNAMED_LIMIT,
    FailureExample,
    LaneFigures,
    LimitFigures,
    Traffic,
    latency_bucket,
)
from claude_batch.core.model.requests import FailureKind
from claude_batch.core.model.snapshot import Gauge, LaneView, WaitKind, WaitReason

LIMITED_KINDS = frozenset({FailureKind.RATE_LIMITED, FailureKind.RAMP_LIMITED})
"""Failures that are 429s."""

_OF_ALL = frozenset(
    {WaitKind.SILENCE, WaitKind.BUDGET, WaitKind.INPUT, WaitKind.DISK, WaitKind.PAUSED}
)
"""What a whole run waits for, whatever its lanes might do."""

MOST_EXAMPLE = 200
"""Characters of a failure's message that the journal keeps as an example."""


@dataclass(slots=True)
class _Attempts:
    """Attempts of one lane, endpoint and model so far."""

    attempts: int = 0
    succeeded: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = None


@dataclass(slots=True)
class _LaneSamples:
    """What samples of a lane have shown so far."""

    in_flight: int = 0
    limits: dict[str, LimitFigures] = field(default_factory=dict)
    waits: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class MinuteCounter:
    """Counts attempts and failures of one minute, and samples what limits each lane."""

    attempts: int = 0
    retried: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    limited: Counter[str] = field(default_factory=Counter)
    latency: Counter[int] = field(default_factory=Counter)
    examples: dict[str, FailureExample] = field(default_factory=dict)
    _traffic: dict[tuple[str, str, str], _Attempts] = field(default_factory=dict)
    _lanes: dict[str, _LaneSamples] = field(default_factory=dict)

    def add_attempt(self, ended: AttemptRecord, lane: str) -> None:
        """Count an attempt that has ended."""
        self.attempts += 1
        succeeded = ended.kind is None
        key = lane, ended.endpoint, ended.model
        counted = self._traffic.get(key)
        if counted is None:
            counted = self._traffic[key] = _Attempts()
        counted.attempts += 1
        counted.succeeded += succeeded
        usage = ended.usage
        counted.input_tokens += usage.limited_input_tokens
        counted.output_tokens += usage.output_tokens
        counted.cache_read_tokens += usage.cache_read_input_tokens
        counted.cache_write_tokens += usage.cache_creation_input_tokens
        if ended.cost_usd is not None:
            counted.cost_usd = (counted.cost_usd or 0.0) + ended.cost_usd
        if succeeded and ended.batch_id is None:  # a batch answers all at once
            self.latency[latency_bucket(ended.latency_s)] += 1

    def add_failure(self, failed: Failed) -> None:
        """Count a failure by its kind; the first of a kind is kept as an example."""
        kind = failed.kind
        self.failures[kind.value] += 1
        self.retried += failed.retry_in_s is not None
        if kind in LIMITED_KINDS:
            self.limited[failed.limit.value if failed.limit else UNNAMED_LIMIT] += 1
        if kind.value not in self.examples:
            self.examples[kind.value] = FailureExample(
                custom_id=failed.custom_id, what=failed.what[:MOST_EXAMPLE]
            )

    def sample(self, lanes: Iterable[LaneView], wait: WaitReason | None, seconds: float) -> None:
        """Note the state of each lane, which lasted for `seconds`.

        `wait` is what the whole run waits for; it comes first where it concerns all lanes.
        """
        of_all = wait if wait is not None and wait.kind in _OF_ALL else None
        for lane in lanes:
            seen = self._lanes.setdefault(lane.name, _LaneSamples())
            seen.in_flight = max(seen.in_flight, lane.in_flight)
            if (waiting := of_all or lane.wait) is not None:
                reason = wait_name(waiting)
                seen.waits[reason] = seen.waits.get(reason, 0.0) + seconds
            for gauge in lane.gauges:
                if gauge.limit_per_minute is not None:
                    seen.limits[gauge.kind.value] = _lower(seen.limits.get(gauge.kind.value), gauge)

    def traffic(self) -> tuple[Traffic, ...]:
        """Return the attempts by lane, endpoint and model."""
        return tuple(
            Traffic(
                lane=lane,
                endpoint=endpoint,
                model=model,
                attempts=each.attempts,
                succeeded=each.succeeded,
                input_tokens=each.input_tokens,
                cache_read_tokens=each.cache_read_tokens,
                cache_write_tokens=each.cache_write_tokens,
                output_tokens=each.output_tokens,
                cost_usd=each.cost_usd,
            )
            for (lane, endpoint, model), each in self._traffic.items()
        )

    def lanes(self) -> tuple[LaneFigures, ...]:
        """Return what limited each lane."""
        return tuple(
            LaneFigures(
                lane=name,
                in_flight=seen.in_flight,
                limits=tuple(seen.limits.values()),
                waits={reason: round(seconds, 1) for reason, seconds in seen.waits.items()},
            )
            for name, seen in self._lanes.items()
        )


def wait_name(wait: WaitReason) -> str:
    """Return the name of a reason to wait, with the limit where there is one."""
    return f"{wait.kind.value}:{wait.limit.value}" if wait.limit else wait.kind.value


def _lower(before: LimitFigures | None, gauge: Gauge) -> LimitFigures:
    """Return a limit with the smaller headroom, of this sample or of those before."""
    least = None if before is None else before.least
    known = [each for each in (least, gauge.available) if each is not None]
    return LimitFigures(
        kind=gauge.kind.value,
        per_minute=gauge.limit_per_minute,
        least=round(min(known), 1) if known else None,
        source=gauge.source.value,
    )
