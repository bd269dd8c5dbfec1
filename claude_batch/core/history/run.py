"""A run as its journal tells it: processes, their minutes, pauses, endpoints, batches."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from claude_batch.core.history.minutes import merged
from claude_batch.core.model.events import Switched, Waited
from claude_batch.core.model.minutes import Minute

_WHOLE_S = 59.0
"""Figures of as many seconds are a whole minute."""

_MINUTE_S = 60.0

_GAP_S = 2.0
"""Between figures that follow each other there is less than this, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """What one process did. Times are wall time; None: not known, or it has not ended.

    `state` is finished, interrupted or stopped; empty where the process was killed, or still works.
    """

    opened_at: float | None = None
    closed_at: float | None = None
    state: str = ""
    why: str = ""
    minutes: tuple[Minute, ...] = ()

    @property
    def begin(self) -> float:
        """When it began, as far as is known."""
        first = self.minutes[0].at - self.minutes[0].seconds if self.minutes else self.closed_at
        known = [at for at in (self.opened_at, first) if at is not None]
        return min(known, default=0.0)

    @property
    def end(self) -> float:
        """When it ended; of one that works or was killed, when it wrote figures last."""
        last = self.minutes[-1].at if self.minutes else self.opened_at
        known = [at for at in (self.closed_at, last) if at is not None]
        return max(known, default=0.0)

    @property
    def whole_minutes(self) -> tuple[Minute, ...]:
        """Its figures by whole minutes; the last one, and one before a gap, may be shorter."""
        whole: list[Minute] = []
        pieces: list[Minute] = []
        for piece in self.minutes:
            gap = bool(pieces) and piece.at - piece.seconds > pieces[-1].at + _GAP_S
            full = sum(each.seconds for each in pieces) >= _WHOLE_S
            if pieces and (gap or full):
                whole.append(merged(pieces))
                pieces = []
            pieces.append(piece)
        return (*whole, merged(pieces)) if pieces else tuple(whole)


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSpan:
    """One batch of a run on the time line. None: not known, or not yet."""

    chunk: int
    id: str | None
    requests: int
    state: str
    created_at: float | None = None
    ended_at: float | None = None
    collected_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Adjustment:
    """What the user changed while the run went; `pause` None: neither paused nor continued."""

    at: float
    changes: Mapping[str, float | None]
    pause: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunHistory:
    """Everything that a journal says about what happened when."""

    sessions: tuple[Session, ...] = ()
    pauses: tuple[Waited, ...] = ()
    switches: tuple[Switched, ...] = ()
    adjustments: tuple[Adjustment, ...] = ()
    batches: tuple[BatchSpan, ...] = ()

    @property
    def minutes(self) -> tuple[Minute, ...]:
        """The figures of all processes, as fine as they are."""
        return tuple(minute for session in self.sessions for minute in session.minutes)

    @property
    def whole_minutes(self) -> tuple[Minute, ...]:
        """The figures of all processes by whole minutes."""
        return tuple(minute for session in self.sessions for minute in session.whole_minutes)

    @property
    def active_s(self) -> float:
        """Seconds in which a process worked on the run."""
        return sum(session.end - session.begin for session in self.sessions)


def joined(histories: Iterable[RunHistory]) -> RunHistory:
    """Return what happened in several runs together, in the order of time.

    Where processes worked at the same time, their figures are added up, minute by minute.
    """
    all_of = [*histories]
    sessions = sorted(
        (each for run in all_of for each in run.sessions), key=lambda each: each.begin
    )
    ends_at = -math.inf
    for each in sessions:
        if each.begin < ends_at - _GAP_S:
            sessions = [_together(sessions)]
            break
        ends_at = each.end
    return RunHistory(
        sessions=tuple(sessions),
        pauses=tuple(sorted((each for run in all_of for each in run.pauses), key=_at)),
        switches=tuple(sorted((each for run in all_of for each in run.switches), key=_at)),
        adjustments=tuple(sorted((each for run in all_of for each in run.adjustments), key=_at)),
        batches=tuple(each for run in all_of for each in run.batches),
    )


def by_minute(history: RunHistory) -> tuple[Session, ...]:
    """Return what processes did, those that worked at the same time or soon after as one.

    Their figures are added up, minute by minute: shards may be shorter than a minute.
    """
    groups: list[list[Session]] = []
    ends_at = -math.inf
    for each in sorted(history.sessions, key=lambda each: each.begin):
        if each.begin > ends_at + _MINUTE_S:
            groups.append([])
        groups[-1].append(each)
        ends_at = max(ends_at, each.end)
    return tuple(_together(group) for group in groups)


def _at(event: Waited | Switched | Adjustment) -> float:
    return event.at


def _together(sessions: Sequence[Session]) -> Session:
    """Return several processes as if they were one; `sessions` are in the order of their begin."""
    begin = sessions[0].begin
    buckets: dict[int, list[Minute]] = {}
    for minute in (minute for each in sessions for minute in each.minutes):
        middle = minute.at - minute.seconds / 2
        buckets.setdefault(int((middle - begin) // _MINUTE_S), []).append(minute)
    minutes = []
    for _, pieces in sorted(buckets.items()):
        last = max(each.at for each in pieces)
        span = last - min(each.at - each.seconds for each in pieces)
        minutes.append(replace(merged(pieces), at=last, seconds=min(span, _MINUTE_S)))
    final = max(sessions, key=lambda each: each.end)
    return Session(
        opened_at=begin,
        closed_at=final.closed_at,
        state=final.state,
        why=final.why,
        minutes=tuple(minutes),
    )
