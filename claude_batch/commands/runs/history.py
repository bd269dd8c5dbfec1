"""`status --history`: a run minute by minute, as a table or as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from claude_batch.commands.find_run import journal_of
from claude_batch.commands.terminal import print_json
from claude_batch.core.history.minutes import bound_of, main_lane
from claude_batch.core.history.run import Session
from claude_batch.core.model.minutes import Minute, percentile_s
from claude_batch.storage.run.history import read_history
from claude_batch.storage.run.results import utc
from claude_batch.ui.tables.history import history_table
from claude_batch.ui.tables.tables import print_table


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReport:
    """A limit as --json prints it; `least` is the smallest headroom in the minute."""

    lane: str
    limit: str
    per_minute: float | None
    least: float | None
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class MinuteReport:
    """A minute as --json prints it; `at` is when it began, `process` counts from 1.

    `input_tokens` includes `cache_read_tokens`. `rate_limited` counts 429s by the limit they name.
    `limited_by` is what the busiest lane mostly waited for: a limit or a WaitKind; None: nothing.
    """

    at: str
    seconds: float
    process: int
    attempts: int
    retried: int
    succeeded: int
    failed: int
    cached: int
    input_tokens: int
    cache_read_tokens: int
    output_tokens: int
    cost_usd: float | None
    rate_limited: Mapping[str, int]
    failures: Mapping[str, int]
    latency_p50_s: float | None
    latency_p95_s: float | None
    latency_p99_s: float | None
    in_flight: int
    limited_by: str | None
    limits: tuple[LimitReport, ...]


def show_history(results: Path, *, as_json: bool) -> None:
    """Print a run minute by minute."""
    journal_of(results)
    print_history(read_history(results.absolute()).sessions, as_json=as_json)


def print_history(sessions: Sequence[Session], *, as_json: bool) -> None:
    """Print what processes did, minute by minute."""
    if not as_json:
        print_table(history_table(sessions), to_stdout=True)
        return
    print_json(
        [
            _report(minute, process)
            for process, session in enumerate(sessions, start=1)
            for minute in session.whole_minutes
        ]
    )


def _report(minute: Minute, process: int) -> MinuteReport:
    bound, lane = bound_of(minute), main_lane(minute)
    p50, p95, p99 = (percentile_s(minute.latency, share) for share in (0.5, 0.95, 0.99))
    return MinuteReport(
        at=utc(minute.at - minute.seconds),
        seconds=round(minute.seconds, 3),
        process=process,
        attempts=minute.attempts,
        retried=minute.retried,
        succeeded=minute.succeeded,
        failed=minute.failed,
        cached=minute.cached,
        input_tokens=minute.input_tokens,
        cache_read_tokens=sum(each.cache_read_tokens for each in minute.traffic),
        output_tokens=minute.output_tokens,
        cost_usd=minute.cost_usd,
        rate_limited={name or "unnamed": n for name, n in minute.limited.items()},
        failures=minute.failures,
        latency_p50_s=_rounded(p50),
        latency_p95_s=_rounded(p95),
        latency_p99_s=_rounded(p99),
        in_flight=lane.in_flight if lane else 0,
        limited_by=None if bound is None else bound.limit or bound.reason,
        limits=tuple(
            LimitReport(
                lane=each.lane,
                limit=limit.kind,
                per_minute=limit.per_minute,
                least=limit.least,
                source=limit.source,
            )
            for each in minute.lanes
            for limit in each.limits
        ),
    )


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
