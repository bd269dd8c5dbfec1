"""The time axis of a run: the time in which it was worked on, in a few bins of equal meaning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from claude_batch.core.history.minutes import merged
from claude_batch.core.history.run import RunHistory
from claude_batch.core.model.minutes import Minute
from claude_batch.report.svg import BOTTOM, TOP, WIDTH, Scale, clock, percent, tag

MOST_BINS = 150
"""More than this cannot be distinguished on a page, nor tapped."""

_FINE_S = 360.0
"""A run that was worked on for less is shown by the finest figures that there are."""

_GAP = 0.02
"""Share of the axis between two processes that worked on a run at different times."""

_LONG_S = 12 * 3_600.0
"""From this length on, in seconds, the day stands before the time."""

_MOST_LABELS = 6
_TIMES = 5
"""Times of the day that are written below a plot."""


@dataclass(frozen=True, slots=True, eq=False)
class Bin:
    """Figures of one stretch of the axis, `x0` to `x1` in shares of it."""

    x0: float
    x1: float
    minute: Minute

    def per_minute(self, value: float) -> float:
        """Return a count as a rate per minute."""
        return value * 60.0 / max(self.minute.seconds, 1e-9)

    @property
    def x(self) -> float:
        """The middle."""
        return (self.x0 + self.x1) / 2


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The time of one process: wall time `begin` to `end` at `x0` to `x1`."""

    begin: float
    end: float
    x0: float
    x1: float


@dataclass(frozen=True, slots=True)
class TimeAxis:
    """The stretches in which a run was worked on, one after another, and their bins."""

    stretches: tuple[_Stretch, ...]
    bins: tuple[Bin, ...]

    @classmethod
    def of(cls, history: RunHistory) -> TimeAxis:
        """Return the axis of a run; without any minute it is empty."""
        sessions = [session for session in history.sessions if session.minutes]
        lengths = [max(1.0, each.end - each.begin) for each in sessions]
        if not sessions:
            return cls((), ())
        gap = _GAP if len(sessions) <= MOST_BINS // 10 else 0.0
        room = 1.0 - gap * (len(sessions) - 1)
        fine = sum(lengths) <= _FINE_S
        stretches, bins, x = [], [], 0.0
        for session, length in zip(sessions, lengths, strict=True):
            width = room * length / sum(lengths)
            stretch = _Stretch(session.begin, session.end, x, x + width)
            stretches.append(stretch)
            minutes = session.minutes if fine else session.whole_minutes
            bins += list(_binned(stretch, minutes, max(1, round(MOST_BINS * width))))
            x += width + gap
        return cls(tuple(stretches), tuple(bins))

    def x_of(self, wall: float) -> float:
        """Return where a moment is; one in which nothing worked is at the next stretch."""
        for stretch in self.stretches:
            if wall <= stretch.end:
                share = max(0.0, wall - stretch.begin) / (stretch.end - stretch.begin)
                return stretch.x0 + share * (stretch.x1 - stretch.x0)
        return 1.0

    def wall_of(self, x: float) -> float:
        """Return which moment is at a place."""
        for stretch in self.stretches:
            if x <= stretch.x1 + 1e-9:
                share = max(0.0, x - stretch.x0) / max(1e-9, stretch.x1 - stretch.x0)
                return stretch.begin + share * (stretch.end - stretch.begin)
        return self.stretches[-1].end

    def times(self, height: float) -> str:
        """Return the times of the day below a plot, and where processes resumed."""
        first, last = self.stretches[0].begin, self.stretches[-1].end
        day = last - first > _LONG_S
        seconds = last - first < 2 * _TIMES * 60
        y = TOP + height + BOTTOM - 6
        parts = []
        for n in range(_TIMES):
            x = n / (_TIMES - 1)
            anchor = "start" if not n else "end" if n == _TIMES - 1 else "middle"
            text = clock(self.wall_of(x), day=day, seconds=seconds)
            kind = "time" if n % 2 == 0 else "time more"
            parts.append(
                tag("text", text, x=percent(x), y=f"{y:g}", text_anchor=anchor, class_=kind)
            )
        for stretch in self.stretches[1:]:
            at = percent(stretch.x0)
            parts.append(
                tag("line", x1=at, x2=at, y1=TOP, y2=f"{TOP + height:g}", class_="resumed")
            )
        return "".join(parts)

    def resumed(self) -> str:
        """Return a label where each process but the first began; few enough to be read."""
        if len(self.stretches) > _MOST_LABELS:
            return ""
        return "".join(
            tag("text", "resumed", x=percent(each.x0), y=TOP - 6) for each in self.stretches[1:]
        )

    def hits(self, height: float, text: Callable[[Bin], str]) -> str:
        """Return what shows the figures of a bin under a pointer."""
        return "".join(
            tag(
                "rect",
                x=percent(each.x0),
                width=percent(each.x1 - each.x0),
                y=TOP,
                height=f"{height:g}",
                class_="hit",
                data_t=f"{self._when(each)}\n{text(each)}",
            )
            for each in self.bins
        )

    def _when(self, each: Bin) -> str:
        fine = each.minute.seconds < 59  # noqa: PLR2004  # less than a minute
        begin = each.minute.at - each.minute.seconds
        return f"{clock(begin, seconds=fine)} to {clock(each.minute.at, seconds=fine)}"


def _binned(stretch: _Stretch, minutes: Sequence[Minute], most: int) -> Iterable[Bin]:
    """Yield the minutes of a process, some together where there are more than `most`."""
    step = -(-len(minutes) // most)
    length = max(1e-9, stretch.end - stretch.begin)

    def x(wall: float) -> float:
        share = min(1.0, max(0.0, (wall - stretch.begin) / length))
        return stretch.x0 + share * (stretch.x1 - stretch.x0)

    for start in range(0, len(minutes), step):
        together = minutes[start : start + step]
        first = together[0]
        yield Bin(x(first.at - first.seconds), x(together[-1].at), merged(together))


# lines in the stretched picture


def steps(bins: Sequence[Bin], value: Callable[[Bin], float | None], scale: Scale) -> str:
    """Return the path of a line that keeps its value over each bin and breaks where it has none."""
    path: list[str] = []
    end = -1.0
    for each in bins:
        amount = value(each)
        if amount is None:
            end = -1.0
            continue
        y, x0, x1 = scale.y(amount), WIDTH * each.x0, WIDTH * each.x1
        joined = abs(end - x0) < WIDTH * 1e-3
        path.append(f"{'V' if joined else f'M{x0:.1f} '}{y:g}H{x1:.1f}")
        end = x1
    return "".join(path)


def area(
    bins: Sequence[Bin], value: Callable[[Bin], float], scale: Scale, *, floor: float | None = None
) -> str:
    """Return the path of what lies below `steps`, a rectangle for each bin."""
    bottom = scale.height if floor is None else floor
    return "".join(
        f"M{WIDTH * each.x0:.1f} {bottom:g}V{scale.y(height):g}H{WIDTH * each.x1:.1f}V{bottom:g}Z"
        for each in bins
        if (height := value(each)) > 0
    )


def climb(points: Sequence[tuple[float, float]], scale: Scale) -> str:
    """Return the path through points (share of the axis, value)."""
    return "M" + "L".join(f"{WIDTH * x:.1f} {scale.y(value):g}" for x, value in points)
