"""The table of `status --history`: a run minute by minute."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from rich.console import RenderableType
from rich.text import Text

from claude_batch.core.history.minutes import LIMIT, Bound, bound_of, merged
from claude_batch.core.history.run import Session
from claude_batch.core.model.minutes import LIMIT_ORDER, Minute
from claude_batch.core.model.requests import LIMIT_NAMES, FailureKind, LimitKind
from claude_batch.core.model.snapshot import LimitSource, WaitKind
from claude_batch.core.model.units import dollars
from claude_batch.core.scheduling.minutes import LIMITED_KINDS
from claude_batch.ui.figures import count, short
from claude_batch.ui.messages import printable
from claude_batch.ui.tables.tables import plain_table, stacked
from claude_batch.ui.waiting import own_mark

_COLUMNS = (
    "minute",
    ">requests",
    ">in",
    ">out",
    ">429s",
    ">other failures",
    "limited by",
    ">cost",
)
_HELD_BY = {
    WaitKind.CONCURRENCY: "replies in flight",
    WaitKind.RATE_LIMITED: "429s",
    WaitKind.OUTAGE: "an outage",
    WaitKind.SILENCE: "silence",
    WaitKind.FINDING_PACE: "finding the pace",
    WaitKind.BUDGET: "--max-cost",
    WaitKind.DISK: "the disk",
    WaitKind.PAUSED: "your pause",
    WaitKind.SHARE: "other programs",
}
_NAMES = {kind.value: name for kind, name in LIMIT_NAMES.items()}


def history_table(sessions: Sequence[Session]) -> RenderableType:
    """Return what happened in each minute, and in all."""
    table = plain_table(*_COLUMNS)
    day = ""
    for session in sessions:
        for number, minute in enumerate(session.whole_minutes):
            then = time.localtime(minute.at - minute.seconds)
            today = time.strftime("%Y-%m-%d", then)
            new_day = "" if today == day else time.strftime("%a ", then)
            again = " resumed" if not number and session is not sessions[0] else ""
            day = today
            table.add_row(f"{new_day}{time.strftime('%H:%M', then)}{again}", *_cells(minute))
    minutes = [minute for session in sessions for minute in session.minutes]
    if not minutes:
        return Text("the journal has no minute of this run yet")
    table.add_row("in all", *_cells(merged(minutes)), style="bold")
    return stacked(table)


def _cells(minute: Minute) -> Iterator[str | Text]:
    limited = sum(minute.limited.values())
    others = _failures_text(minute)
    bound = bound_of(minute)
    yield count(minute.attempts)
    yield short(minute.input_tokens)
    yield short(minute.output_tokens)
    yield Text(_limited_text(minute), style="yellow" if limited else "")
    yield Text(others, style="red" if others else "")
    yield "" if bound is None else _bound_text(bound)
    yield "" if minute.cost_usd is None else dollars(minute.cost_usd)


def _limited_text(minute: Minute) -> str:
    """Return how many 429s named which limit: 12 ITPM, 3 unnamed."""
    counts = [(_NAMES.get(kind, "unnamed"), minute.limited.get(kind, 0)) for kind in LIMIT_ORDER]
    return ", ".join(f"{count(number)} {name}" for name, number in counts if number)


def _failures_text(minute: Minute) -> str:
    """Return the other failures by kind: 2 server error, 1 timed out."""
    others = {kind: n for kind, n in minute.failures.items() if kind not in set(LIMITED_KINDS)}
    return ", ".join(f"{count(n)} {_words(kind)}" for kind, n in others.items())


def _words(kind: str) -> str:
    return printable(kind.replace("_", " ") if kind in set(FailureKind) else kind)


def _bound_text(bound: Bound) -> str:
    """Return what held a minute back: ITPM 2.00M, or RPM 600 (your --rpm)."""
    if bound.reason != LIMIT:
        return _HELD_BY.get(WaitKind(bound.reason), "") if bound.reason in set(WaitKind) else ""
    name = _NAMES.get(bound.limit)
    if name is None:
        return ""
    mark = ""
    if bound.source in set(LimitSource):
        mark = own_mark(LimitSource(bound.source), LimitKind(bound.limit))
    return f"{name} {short(bound.per_minute)}" + (f" ({mark})" if mark else "")
