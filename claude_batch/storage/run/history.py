"""What happened in a run, read from its journal: whatever is odd in a record counts as absent."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from claude_batch.core.history.run import Adjustment, BatchSpan, RunHistory, Session
from claude_batch.core.model.events import Switched, Waited
from claude_batch.core.model.minutes import (
    FailureExample,
    LaneFigures,
    LimitFigures,
    Minute,
    Traffic,
)
from claude_batch.storage.run.journal import read_records

Record = Mapping[str, Any]
T = TypeVar("T")

_MOST = 1e15
"""A figure from here on is damage."""

_LATEST = 1e11
"""Seconds since 1970 until the year 5138."""

_LEAST_SECONDS, _MOST_SECONDS = 1e-3, 1e6
"""What a minute may cover, in seconds: a process that ends at once leaves a very short one."""

_MOST_BUCKET = 200
"""A latency of a year."""

_MOST_NAMES = 100
"""Lanes, endpoints and kinds of a minute that are read."""

_OLD_MINUTE_S = 60.0
"""How long a minute is where an older journal does not have it."""


def read_history(results: Path) -> RunHistory:
    """Return what the journal of `results` says happened. Raises CheckpointError."""
    folding = _Folding()
    for record in read_records(results):
        folding.add(record)
    return folding.history()


@dataclass(slots=True)
class _Folding:
    """The records so far."""

    sessions: list[Session] = field(default_factory=list)
    pauses: list[Waited] = field(default_factory=list)
    switches: list[Switched] = field(default_factory=list)
    adjustments: list[Adjustment] = field(default_factory=list)
    batches: dict[int, BatchSpan] = field(default_factory=dict)
    _minutes: list[Minute] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Take in the next record; kinds that are not known are passed over."""
        match record.get("type"):
            case "opened":
                self._end_session()
                self.sessions.append(Session(opened_at=_moment(record, "at")))
            case "closed" if self.sessions:
                self.sessions[-1] = replace(
                    self.sessions[-1],
                    closed_at=_moment(record, "at"),
                    state=_text(record, "state"),
                    why=_text(record, "why"),
                )
            case "minute" if _wall(record, "at"):
                self._minutes.append(_minute(record))
            case "waited":
                self.pauses.append(
                    Waited(
                        at=_wall(record, "at"),
                        lane=_text(record, "lane"),
                        why=_text(record, "why"),
                        until=_wall(record, "until"),
                    )
                )
            case "switched":
                self.switches.append(
                    Switched(
                        at=_wall(record, "at"),
                        endpoint=_text(record, "endpoint"),
                        state=_text(record, "state"),
                        why=_text(record, "why") or None,
                    )
                )
            case "adjusted":
                self.adjustments.append(_adjustment(record))
            case str(kind) if kind.startswith("batch_"):
                self._add_batch(kind, record)
            case _:
                pass

    def _end_session(self) -> None:
        minutes, self._minutes = tuple(self._minutes), []
        if self.sessions:
            self.sessions[-1] = replace(self.sessions[-1], minutes=minutes)

    def _add_batch(self, kind: str, record: Record) -> None:
        chunk = _count(record, "chunk")
        known = self.batches.get(chunk)
        if kind == "batch_intent":
            self.batches[chunk] = BatchSpan(
                chunk=chunk,
                id=None,
                requests=_count(record, "count"),
                state="unsettled",
                created_at=_wall_or_none(record, "at"),
            )
        elif known is None:
            return
        elif kind == "batch_created":
            created_at = _wall_or_none(record, "created_at")
            self.batches[chunk] = replace(
                known, id=_text(record, "id"), state="waiting", created_at=created_at
            )
        elif kind == "batch_collected":
            self.batches[chunk] = replace(
                known,
                state="collected",
                ended_at=_wall_or_none(record, "ended_at"),
                collected_at=_wall_or_none(record, "at"),
            )
        elif kind in {"batch_refused", "batch_lost"}:
            del self.batches[chunk]

    def history(self) -> RunHistory:
        """Return everything so far."""
        self._end_session()
        return RunHistory(
            sessions=tuple(self.sessions),
            pauses=tuple(self.pauses),
            switches=tuple(self.switches),
            adjustments=tuple(self.adjustments),
            batches=tuple(self.batches.values()),
        )


def _minute(record: Record) -> Minute:
    return Minute(
        at=_wall(record, "at"),
        seconds=_seconds(record),
        attempts=_count(record, "attempts"),
        retried=_count(record, "retried"),
        succeeded=_count(record, "succeeded"),
        failed=_count(record, "failed"),
        cached=_count(record, "cached"),
        input_tokens=_count(record, "input_tokens"),
        output_tokens=_count(record, "output_tokens"),
        cost_usd=_number_or_none(record, "cost_usd"),
        failures=dict(_counts(record, "failures")),
        limited=dict(_counts(record, "limited")),
        examples={name: _example(each) for name, each in _named(record, "examples")},
        latency=dict(_buckets(record)),
        traffic=tuple(map(_traffic, _records(record, "traffic"))),
        lanes=tuple(map(_lane, _records(record, "lanes"))),
    )


def _adjustment(record: Record) -> Adjustment:
    changes: Any = record.get("changes")
    pause = record.get("pause")
    return Adjustment(
        at=_wall(record, "at"),
        changes={name: _number_or_none(changes, name) for name in _names(changes)},
        pause=pause if isinstance(pause, bool) else None,
    )


def _seconds(record: Record) -> float:
    seconds = _number_or_none(record, "seconds")
    if seconds is None or not 0 <= seconds < _MOST_SECONDS:
        return _OLD_MINUTE_S
    return max(seconds, _LEAST_SECONDS)


def _traffic(record: Record) -> Traffic:
    return Traffic(
        lane=_text(record, "lane"),
        endpoint=_text(record, "endpoint"),
        model=_text(record, "model"),
        attempts=_count(record, "attempts"),
        succeeded=_count(record, "succeeded"),
        input_tokens=_count(record, "input_tokens"),
        cache_read_tokens=_count(record, "cache_read_tokens"),
        cache_write_tokens=_count(record, "cache_write_tokens"),
        output_tokens=_count(record, "output_tokens"),
        cost_usd=_number_or_none(record, "cost_usd"),
    )


def _lane(record: Record) -> LaneFigures:
    waits = record.get("waits")
    return LaneFigures(
        lane=_text(record, "lane"),
        in_flight=_count(record, "in_flight"),
        limits=tuple(map(_limit, _records(record, "limits"))),
        waits={name: _number(waits, name) for name in _names(waits)} if waits else {},
    )


def _limit(record: Record) -> LimitFigures:
    return LimitFigures(
        kind=_text(record, "kind"),
        per_minute=_number_or_none(record, "per_minute"),
        least=_number_or_none(record, "least"),
        source=_text(record, "source"),
    )


def _example(record: Record) -> FailureExample:
    return FailureExample(custom_id=_text(record, "custom_id"), what=_text(record, "what"))


def _buckets(record: Record) -> Iterator[tuple[int, int]]:
    for name, count in _counts(record, "latency"):
        if re.fullmatch(r"-?\d{1,3}", name, re.ASCII) and int(name) <= _MOST_BUCKET:
            yield int(name), count


def _counts(record: Record, name: str) -> Iterator[tuple[str, int]]:
    counts = record.get(name)
    for each in _names(counts):
        yield each, _count(counts, each)


def _named(record: Record, name: str) -> Iterator[tuple[str, Record]]:
    values: Any = record.get(name)
    for each in _names(values):
        if isinstance(values[each], dict):
            yield each, values[each]


def _names(value: Any) -> list[str]:
    return [*value][:_MOST_NAMES] if isinstance(value, dict) else []


def _records(record: Record, name: str) -> list[Record]:
    values = record.get(name)
    if not isinstance(values, list):
        return []
    return [each for each in values[:_MOST_NAMES] if isinstance(each, dict)]


def _one(record: Any, name: str, fits: Callable[[Any], bool], default: T) -> T:
    value = record.get(name)
    return value if fits(value) else default


def _count(record: Any, name: str) -> int:
    return _one(record, name, lambda value: type(value) is int and 0 <= value < _MOST, 0)


def _number(record: Any, name: str) -> float:
    return _number_or_none(record, name) or 0.0


def _number_or_none(record: Any, name: str) -> float | None:
    return _one(
        record,
        name,
        lambda value: type(value) in {int, float} and -_MOST < value < _MOST,
        None,
    )


def _text(record: Record, name: str) -> str:
    return _one(record, name, lambda value: isinstance(value, str), "")


def _moment(record: Record, name: str) -> float | None:
    """Return a time that is written as text."""
    try:
        at = datetime.fromisoformat(_text(record, name)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None
    return at if 0 <= at < _LATEST else None


def _wall(record: Record, name: str) -> float:
    return _wall_or_none(record, name) or 0.0


def _wall_or_none(record: Record, name: str) -> float | None:
    at = _number_or_none(record, name)
    return at if at is not None and 0 <= at < _LATEST else None
