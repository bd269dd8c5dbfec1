"""The lanes of a run: what is in flight, and what is left of each limit."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.text import Text

from claude_batch.core.model.requests import LIMIT_NAMES
from claude_batch.core.model.snapshot import Gauge, LaneView, Snapshot
from claude_batch.ui.dashboard.lines import GAP, Room, bar, cut, foreign
from claude_batch.ui.figures import clock, count, percent, short
from claude_batch.ui.messages import printable
from claude_batch.ui.sharing import sharing_text
from claude_batch.ui.waiting import TROUBLES, own_mark, wait_text

_ROOMY = 80
"""From this width on there is room for words around the figures."""

_SIDE_BY_SIDE = 140
"""From this width on the three limits of a lane are in one line."""

_AMOUNT = 6
_NAME = 4
_FULL_AGAIN, _FULL_IN = "full again in ", "full in "
_CLOCK = len("00:00")
_LOW = 0.1
_LONGEST_NAME = 28
_LOAD = len("1,000 in flight (up to 1,000)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Frame:
    """What all lanes of a picture share; `to_go` are all requests not sent yet, where known."""

    room: Room
    name_width: int
    alone: bool
    to_go: int | None


def lane_lines(snapshot: Snapshot, room: Room, *, most: int) -> list[Text]:
    """Return the lanes in at most `most` lines: in full, else a line each, else as many as fit."""
    lanes = snapshot.lanes
    widest = max((cell_len(printable(lane.name)) for lane in lanes), default=0)
    to_go = None
    if snapshot.total is not None:
        to_go = max(0, snapshot.total - snapshot.done - snapshot.in_flight)
    frame = _Frame(
        room=room, name_width=min(_LONGEST_NAME, widest), alone=len(lanes) == 1, to_go=to_go
    )
    full = [line for lane in lanes for line in _full(lane, frame)]
    if len(full) <= most:
        return full
    brief = [_brief(lane, frame) for lane in lanes]
    if len(brief) <= most:
        return brief
    if most < 1:
        return []
    return [*brief[: most - 1], Text(f"and {len(lanes) - most + 1} more lanes", style="dim")]


def _full(lane: LaneView, frame: _Frame) -> list[Text]:
    """Return a lane with its limits; lines that come and go would make the rest jump."""
    room = frame.room
    lines = _header(lane, frame)
    if not frame.alone:  # of one lane the head of the dashboard says it
        lines.append(Text("  ").append_text(_wait(lane)))
    if lane.sharing is not None:
        lines.append(cut(Text(f"  {sharing_text(lane.sharing)}", style="dim"), room.width))
    if all(gauge.limit_per_minute is None for gauge in lane.gauges):
        return [*lines, Text("  no limit is known yet", style="dim")]
    if room.width >= _SIDE_BY_SIDE:
        width = (room.width - 2 - 2 * len(GAP)) // 3
        gauges = [_gauge(gauge, width, room, lead=_FULL_IN) for gauge in lane.gauges]
        return [*lines, Text("  ").append_text(Text(GAP).join(gauges))]
    return lines + [
        Text("  ").append_text(_gauge(gauge, room.width - 2, room, lead=_FULL_AGAIN))
        for gauge in lane.gauges
    ]


def _header(lane: LaneView, frame: _Frame) -> list[Text]:
    """Return name and load in a line, in two where the name is too long."""
    load = _load(lane)
    if frame.alone and frame.to_go is not None:
        number, what = frame.to_go, " to go"
    else:
        number, what = lane.queued, " queued"
    dot = ", " if frame.room.ascii_only else " · "
    load.append(dot, style="dim").append(count(number), style="bold").append(what, style="dim")
    if frame.name_width + 2 + load.cell_len <= frame.room.width:
        return [foreign(lane.name, frame.name_width, "bold").append("  ").append_text(load)]
    return [Text(printable(lane.name), style="bold"), Text("  ").append_text(load)]


def _load(lane: LaneView) -> Text:
    text = Text(count(lane.in_flight).rjust(5), style="bold").append(" in flight", style="dim")
    return text.append(f" (up to {count(lane.concurrency)})", style="dim")


def _wait(lane: LaneView) -> Text:
    if lane.wait is None:
        idle = "waiting for replies" if lane.in_flight else "nothing to send"
        return Text("sending" if lane.queued else idle, style="dim")
    style = "yellow" if lane.wait.kind in TROUBLES else "cyan"
    return Text(wait_text(lane.wait), style=style)


def _gauge(gauge: Gauge, width: int, room: Room, *, lead: str) -> Text:
    """Return what is left of one limit, in `width` cells; the bar drains as it is used."""
    name = Text(LIMIT_NAMES[gauge.kind].ljust(_NAME + 1), style="dim")
    limit, left = gauge.limit_per_minute, gauge.available
    if limit is None or left is None:
        return cut(name.append("no limit known"), width, pad=True)
    left = max(left, 0)  # requests that may have been admitted can exceed what was left
    share = left / limit if limit else 0.0
    amounts = Text.assemble(
        (short(left).rjust(_AMOUNT), "bold"), (" left of ", "dim"), short(limit).ljust(_AMOUNT)
    )
    full_in_s = gauge.full_in_s or 0.0
    full = f"{lead}{clock(full_in_s)}" if full_in_s >= 1 else "full"
    after = Text(full.rjust(len(lead) + _CLOCK), style="dim")
    mark = own_mark(gauge.source, gauge.kind)
    if mark:
        shown = Text(mark, style="magenta")
        after = shown.append(GAP).append_text(after) if room.width in _MARKED else shown
    width -= name.cell_len + amounts.cell_len + after.cell_len + 2
    drawn = bar(share, max(1, width), "green" if share > _LOW else "yellow", room)
    return Text(" ").join([name.append_text(drawn), amounts, after])


_MARKED = range(_ROOMY, _SIDE_BY_SIDE)
"""At these widths there is room for whose limit it is beside the time until it is full."""


def _brief(lane: LaneView, frame: _Frame) -> Text:
    """Return a lane in one line, for want of height."""
    text = foreign(lane.name, frame.name_width, "bold").append("  ")
    text.append_text(cut(_load(lane), _LOAD, pad=True))
    gauges = [gauge for gauge in lane.gauges if gauge.limit_per_minute]
    if gauges:
        text.append("  left:", style="dim")
    for gauge in gauges:
        left = percent(max(0.0, gauge.available or 0.0), gauge.limit_per_minute or 0.0)
        text.append(f" {LIMIT_NAMES[gauge.kind]}", style="dim").append(left.rjust(6))
    return cut(text.append("  ").append_text(_wait(lane)), frame.room.width)
